//! Metropolis-adjusted Langevin (Roberts and Tweedie 1996).
//!
//! Proposal x' = x − (h²/2) ∇u(x) + h z, accepted with
//! min(1, exp[u(x) − u(x') + log q(x|x') − log q(x'|x)]), where −log q(x'|x) = |x' − x + (h²/2) ∇u(x)|²/(2h²).

use rayon::prelude::*;

use super::{Kernel, Outcome, Proposals};
use crate::error::Result;
use crate::potential::PotentialPath;
use crate::sampling::{MIN_PER_TASK, Walkers};

/// MALA on a batch; the gradient at the present position is the one of the last accepted proposal.
#[derive(Debug, Clone)]
pub struct Mala {
    proposals: Proposals,
    #[cfg(test)]
    without_hastings: bool,
}

impl Mala {
    /// Buffers for these walkers.
    pub fn new(walkers: &Walkers) -> Self {
        Self {
            proposals: Proposals::new(walkers),
            #[cfg(test)]
            without_hastings: false,
        }
    }

    /// A deliberately wrong kernel, which tests of invariance must catch.
    #[cfg(test)]
    pub fn without_hastings(walkers: &Walkers) -> Self {
        Self { without_hastings: true, ..Self::new(walkers) }
    }
}

impl Kernel for Mala {
    fn step(
        &mut self,
        path: &dyn PotentialPath,
        walkers: &mut Walkers,
        step_sizes: &[f64],
    ) -> Result<&[Outcome]> {
        let (space, d) = (walkers.space(), walkers.space().dimension());
        (self.proposals.x.par_chunks_exact_mut(d))
            .zip(walkers.x.par_chunks_exact(d))
            .zip(walkers.gradient.par_chunks_exact(d))
            .zip(&mut walkers.rngs)
            .zip(step_sizes)
            .with_min_len(MIN_PER_TASK)
            .for_each(|((((new_x, x), gradient), rng), h)| {
                space.fill_normal(rng, new_x);
                for ((new_x, x), g) in new_x.iter_mut().zip(x).zip(gradient) {
                    *new_x = x - 0.5 * h * h * g + h * *new_x;
                }
            });
        self.proposals.evaluate(path, walkers)?;
        let Proposals { x: new_x, gradient: new_gradient, log_correction, .. } = &mut self.proposals;
        (log_correction.par_iter_mut())
            .zip(walkers.x.par_chunks_exact(d))
            .zip(walkers.gradient.par_chunks_exact(d))
            .zip(new_x.par_chunks_exact(d))
            .zip(new_gradient.par_chunks_exact(d))
            .zip(step_sizes)
            .with_min_len(MIN_PER_TASK)
            .for_each(|(((((correction, x), g), new_x), new_g), h)| {
                let drift = 0.5 * h * h;
                let (mut forward, mut backward) = (0.0, 0.0);
                for i in 0..d {
                    forward += (new_x[i] - x[i] + drift * g[i]).powi(2);
                    backward += (x[i] - new_x[i] + drift * new_g[i]).powi(2);
                }
                *correction = (forward - backward) / (2.0 * h * h);
            });
        #[cfg(test)]
        if self.without_hastings {
            log_correction.fill(0.0);
        }
        self.proposals.decide(walkers);
        Ok(&self.proposals.outcomes)
    }
}
