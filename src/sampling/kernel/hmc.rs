//! Hamiltonian Monte Carlo (Duane et al. 1987) with unit masses and leapfrog steps.
//!
//! A momentum p ~ N(0, 1) on the space, L leapfrog steps of size h, accepted with min(1, exp(−ΔH)),
//! H = u + |p|²/2. For L > 1 the step of each trajectory is h times a uniform number in [0.8, 1.2],
//! so that no trajectory length is a multiple of the period of a stiff mode.

use rand::Rng as _;
use rayon::prelude::*;

use super::{Kernel, Outcome, Proposals};
use crate::error::Result;
use crate::potential::PotentialPath;
use crate::sampling::{MIN_PER_TASK, Walkers};

/// HMC on a batch.
#[derive(Debug, Clone)]
pub struct Hmc {
    n_leapfrog: usize,
    proposals: Proposals,
    momenta: Vec<f64>,
    steps: Vec<f64>,
}

impl Hmc {
    /// Trajectories of `n_leapfrog` ≥ 1 steps.
    pub fn new(walkers: &Walkers, n_leapfrog: usize) -> Self {
        Self {
            n_leapfrog: n_leapfrog.max(1),
            proposals: Proposals::new(walkers),
            momenta: vec![0.0; walkers.x.len()],
            steps: vec![0.0; walkers.len()],
        }
    }
}

impl Kernel for Hmc {
    fn step(
        &mut self,
        path: &dyn PotentialPath,
        walkers: &mut Walkers,
        step_sizes: &[f64],
    ) -> Result<&[Outcome]> {
        let (space, d, n_leapfrog) = (walkers.space(), walkers.space().dimension(), self.n_leapfrog);
        (self.proposals.log_correction.par_iter_mut())
            .zip(self.momenta.par_chunks_exact_mut(d))
            .zip(&mut self.steps)
            .zip(&mut walkers.rngs)
            .zip(step_sizes)
            .with_min_len(MIN_PER_TASK)
            .for_each(|((((correction, p), step), rng), h)| {
                space.fill_normal(rng, p);
                *step = if n_leapfrog > 1 { h * rng.random_range(0.8..1.2) } else { *h };
                *correction = 0.5 * p.iter().map(|p| p * p).sum::<f64>();
            });
        self.proposals.x.copy_from_slice(&walkers.x);
        self.proposals.gradient.copy_from_slice(&walkers.gradient);
        for k in 0..n_leapfrog {
            // Half a kick ends the previous step and half a kick begins this one.
            let kick = if k == 0 { 0.5 } else { 1.0 };
            (self.proposals.x.par_chunks_exact_mut(d))
                .zip(self.momenta.par_chunks_exact_mut(d))
                .zip(self.proposals.gradient.par_chunks_exact(d))
                .zip(&self.steps)
                .with_min_len(MIN_PER_TASK)
                .for_each(|(((x, p), g), h)| {
                    for i in 0..d {
                        p[i] -= kick * h * g[i];
                        x[i] += h * p[i];
                    }
                });
            self.proposals.evaluate(path, walkers)?;
        }
        let Proposals { gradient, log_correction, .. } = &mut self.proposals;
        (log_correction.par_iter_mut())
            .zip(self.momenta.par_chunks_exact(d))
            .zip(gradient.par_chunks_exact(d))
            .zip(&self.steps)
            .with_min_len(MIN_PER_TASK)
            .for_each(|(((correction, p), g), h)| {
                *correction -= 0.5 * p.iter().zip(g).map(|(p, g)| (p - 0.5 * h * g).powi(2)).sum::<f64>();
            });
        self.proposals.decide(walkers);
        Ok(&self.proposals.outcomes)
    }
}
