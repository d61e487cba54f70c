//! Markov kernels that leave exp(−u_λ) invariant, on batches of walkers.

mod hmc;
mod mala;
mod step_size;

pub use hmc::Hmc;
pub use mala::Mala;
pub use step_size::StepSizeAdapter;

use rand::Rng as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{MIN_PER_TASK, Walkers};
use crate::error::{Error, Result, at_least};
use crate::potential::PotentialPath;

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The walker moved.
    Accepted,
    /// It stayed.
    Rejected,
    /// It stayed because the proposal's energy was infinite or not a number.
    Diverged,
}

/// A step and the probability that it had of being accepted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// What happened.
    pub step: Step,
    /// min(1, ratio): averages of it have less noise than counts.
    pub probability: f64,
}

/// A Markov kernel on batches; `step_sizes` has one entry per walker.
pub trait Kernel: Send {
    /// Moves every walker once and returns what became of each.
    fn step(
        &mut self,
        path: &dyn PotentialPath,
        walkers: &mut Walkers,
        step_sizes: &[f64],
    ) -> Result<&[Outcome]>;
}

/// Which local move to make.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LocalMove {
    /// Metropolis-adjusted Langevin: one gradient per move.
    Mala {
        /// Acceptance to which the step is adapted; 0.574 is optimal in many dimensions
        /// (Roberts and Rosenthal 1998).
        #[serde(default = "mala_target")]
        target_acceptance: f64,
    },
    /// Hamiltonian Monte Carlo: `n_leapfrog` gradients per move.
    Hmc {
        /// Leapfrog steps of a trajectory.
        #[serde(default = "hmc_leapfrog")]
        n_leapfrog: usize,
        /// Acceptance to which the step is adapted; 0.651 is optimal in many dimensions
        /// (Beskos et al. 2013), more is safer.
        #[serde(default = "hmc_target")]
        target_acceptance: f64,
    },
}

fn mala_target() -> f64 {
    0.574
}

fn hmc_leapfrog() -> usize {
    8
}

fn hmc_target() -> f64 {
    0.75
}

impl Default for LocalMove {
    fn default() -> Self {
        Self::Mala { target_acceptance: mala_target() }
    }
}

impl LocalMove {
    /// The kernel, with buffers for these walkers.
    pub fn kernel(&self, walkers: &Walkers) -> Box<dyn Kernel> {
        match *self {
            Self::Mala { .. } => Box::new(Mala::new(walkers)),
            Self::Hmc { n_leapfrog, .. } => Box::new(Hmc::new(walkers, n_leapfrog)),
        }
    }

    /// The acceptance to adapt to.
    pub fn target_acceptance(&self) -> f64 {
        match *self {
            Self::Mala { target_acceptance } | Self::Hmc { target_acceptance, .. } => target_acceptance,
        }
    }

    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        let target = self.target_acceptance();
        if !(target > 0.0 && target < 1.0) {
            return Err(Error::config(
                format!("{place}.target_acceptance"),
                format!("must lie between 0 and 1, found {target}"),
                String::new(),
            ));
        }
        match *self {
            Self::Hmc { n_leapfrog, .. } => at_least(format!("{place}.n_leapfrog"), n_leapfrog, 1),
            _ => Ok(()),
        }
    }
}

/// Mean acceptance probability.
pub fn mean_acceptance(outcomes: &[Outcome]) -> f64 {
    outcomes.iter().map(|outcome| outcome.probability).sum::<f64>() / outcomes.len().max(1) as f64
}

/// How many proposals had no finite energy.
pub fn count_diverged(outcomes: &[Outcome]) -> u64 {
    outcomes.iter().filter(|outcome| outcome.step == Step::Diverged).count() as u64
}

/// Proposals of a batch and what became of them.
#[derive(Debug, Clone)]
pub(super) struct Proposals {
    pub x: Vec<f64>,
    pub u: Vec<f64>,
    pub gradient: Vec<f64>,
    /// What stands in log(acceptance) besides the difference of energies.
    pub log_correction: Vec<f64>,
    pub outcomes: Vec<Outcome>,
}

impl Proposals {
    pub fn new(walkers: &Walkers) -> Self {
        let n = walkers.len();
        Self {
            x: vec![0.0; walkers.x.len()],
            u: vec![0.0; n],
            gradient: vec![0.0; walkers.x.len()],
            log_correction: vec![0.0; n],
            outcomes: vec![Outcome { step: Step::Rejected, probability: 0.0 }; n],
        }
    }

    /// Computes energies and gradients of the proposals at the walkers' λ.
    pub fn evaluate(&mut self, path: &dyn PotentialPath, walkers: &mut Walkers) -> Result<()> {
        super::walkers::evaluate(path, &walkers.lambda, &self.x, &mut self.u, &mut self.gradient)?;
        walkers.n_energy_evaluations += walkers.len() as u64;
        Ok(())
    }

    /// Accepts each with min(1, exp(u − u' + log_correction)), by one uniform number of its walker.
    pub fn decide(&mut self, walkers: &mut Walkers) {
        let d = walkers.space().dimension();
        let proposals = self.x.par_chunks_exact(d).zip(self.gradient.par_chunks_exact(d)).zip(&self.u);
        (walkers.x.par_chunks_exact_mut(d))
            .zip(walkers.gradient.par_chunks_exact_mut(d))
            .zip(&mut walkers.u)
            .zip(&mut walkers.rngs)
            .zip(proposals)
            .zip(&self.log_correction)
            .zip(&mut self.outcomes)
            .with_min_len(MIN_PER_TASK)
            .for_each(
                |((((((x, gradient), u), rng), ((new_x, new_gradient), new_u)), correction), outcome)| {
                    let uniform: f64 = rng.random();
                    *outcome = if !new_u.is_finite() {
                        Outcome { step: Step::Diverged, probability: 0.0 }
                    } else {
                        let log_ratio = *u - new_u + correction;
                        let probability = match log_ratio.is_nan() {
                            // A walker that starts where its energy is not a number takes the first finite one.
                            true if u.is_nan() => 1.0,
                            // What has no probability is not accepted; `min` would make it 1.
                            true => 0.0,
                            false => log_ratio.min(0.0).exp(),
                        };
                        let accepted = uniform < probability;
                        Outcome { step: if accepted { Step::Accepted } else { Step::Rejected }, probability }
                    };
                    if outcome.step == Step::Accepted {
                        x.copy_from_slice(new_x);
                        gradient.copy_from_slice(new_gradient);
                        *u = *new_u;
                    }
                },
            );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::Space;
    use crate::random::{Purpose, Streams};
    use crate::sampling::testing::{centred_mixture, moments_agree, sample_many};

    /// Runs a kernel from exact samples; an invariant law stays.
    fn stays(
        mut make: impl FnMut(&Walkers) -> Box<dyn Kernel>,
        step: f64,
    ) -> std::result::Result<(), String> {
        let path = centred_mixture();
        let (n, t) = (8192, 0.05);
        let x = sample_many(&path, t, n, 1);
        let mut walkers = Walkers::new(&path, x, vec![t; n], &Streams::new(9), Purpose::Walker).unwrap();
        let mut kernel = make(&walkers);
        for _ in 0..60 {
            kernel.step(&path, &mut walkers, &vec![step; n]).unwrap();
        }
        moments_agree(&path, t, &walkers.x, 0.0)
    }

    #[test]
    fn mala_and_hmc_leave_a_mixture_invariant_and_a_wrong_kernel_is_caught() {
        stays(|walkers| Box::new(Mala::new(walkers)), 0.4).unwrap();
        stays(|walkers| Box::new(Hmc::new(walkers, 4)), 0.25).unwrap();
        let wrong = stays(|walkers| Box::new(Mala::without_hastings(walkers)), 0.4);
        assert!(wrong.is_err(), "a kernel without its Hastings term was not caught");
    }

    /// A proposal whose probability is not a number stays out, although its energy is finite; a walker whose own energy is
    /// not a number takes it.
    #[test]
    fn a_ratio_that_is_not_a_number_is_not_accepted() {
        let path = centred_mixture();
        let (n, t) = (4, 0.05);
        let x = sample_many(&path, t, n, 1);
        let mut walkers =
            Walkers::new(&path, x.clone(), vec![t; n], &Streams::new(9), Purpose::Walker).unwrap();
        walkers.u[3] = f64::NAN;
        let mut proposals = Proposals::new(&walkers);
        proposals.x.copy_from_slice(&x);
        proposals.evaluate(&path, &mut walkers).unwrap();
        proposals.log_correction = vec![f64::NAN, 0.0, f64::NEG_INFINITY, f64::NAN];
        proposals.decide(&mut walkers);
        let probabilities: Vec<f64> = proposals.outcomes.iter().map(|outcome| outcome.probability).collect();
        assert_eq!(probabilities, [0.0, 1.0, 0.0, 1.0]);
        assert!(proposals.outcomes[0].step == Step::Rejected && walkers.u[3].is_finite());
    }

    #[test]
    fn hmc_with_one_leapfrog_step_is_mala() {
        let path = centred_mixture();
        let (n, t) = (64, 0.1);
        let x = sample_many(&path, t, n, 2);
        let make = || Walkers::new(&path, x.clone(), vec![t; n], &Streams::new(4), Purpose::Walker).unwrap();
        let (mut first, mut second) = (make(), make());
        let (mut mala, mut hmc) = (Mala::new(&first), Hmc::new(&second, 1));
        for _ in 0..5 {
            mala.step(&path, &mut first, &vec![0.3; n]).unwrap();
            hmc.step(&path, &mut second, &vec![0.3; n]).unwrap();
        }
        assert!(first.x.iter().zip(&second.x).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn steps_adapt_to_the_target_and_stay_on_the_space() {
        let path = centred_mixture();
        for local_move in [LocalMove::default(), LocalMove::Hmc { n_leapfrog: 4, target_acceptance: 0.75 }] {
            let (n, t) = (256, 0.02);
            let x = sample_many(&path, t, n, 3);
            let mut walkers = Walkers::new(&path, x, vec![t; n], &Streams::new(5), Purpose::Walker).unwrap();
            let mut kernel = local_move.kernel(&walkers);
            let mut adapter = StepSizeAdapter::new(10.0, local_move.target_acceptance());
            let mut late = 0.0;
            for k in 0..120 {
                let outcomes = kernel.step(&path, &mut walkers, &vec![adapter.step_size(); n]).unwrap();
                let acceptance = mean_acceptance(outcomes);
                adapter.update(acceptance);
                if k >= 80 {
                    late += acceptance / 40.0;
                }
            }
            assert!((late - local_move.target_acceptance()).abs() < 0.05, "{local_move:?} {late}");
            let Space::Centered { n_particles } = path.space() else { unreachable!() };
            for x in walkers.x.chunks_exact(3 * n_particles) {
                assert!(x.iter().step_by(3).sum::<f64>().abs() < 1e-9);
            }
        }
    }
}
