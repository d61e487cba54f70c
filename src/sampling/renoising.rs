//! Moves that lead walkers at the data end through noise and back, and leave their law as it is.
//!
//! A walker x takes the steps q of the process to a noise level and comes back to y by Gaussian steps r of a score, as in
//! [`DiffusionPaths`]. With A of a way the sum of log q − log r of its steps, both ways through the same noised point,
//!
//! ```text
//! min{1, exp[u(x) − u(y) + A(y) − A(x)]}
//! ```
//!
//! accepts y with the law exp(−u) invariant, whatever the score: a candidate of nonequilibrium candidate Monte Carlo
//! (Nilmeier et al. 2011) whose protocol is the diffusion. Modes that no local move joins are joined by noise, and a
//! score that is exact has an acceptance that tends to 1 with more steps.

use super::kernel::Proposals;
use super::{DiffusionPaths, Outcome, Walkers};
use crate::error::Result;
use crate::potential::PotentialPath;

/// The moves of a batch.
pub struct Renoising<'a> {
    paths: &'a DiffusionPaths<'a>,
    proposals: Proposals,
}

impl<'a> Renoising<'a> {
    /// Moves along these paths, whose data end is where the walkers are.
    pub fn new(paths: &'a DiffusionPaths<'a>, walkers: &Walkers) -> Self {
        Self { paths, proposals: Proposals::new(walkers) }
    }

    /// Proposes to every walker a way over `depth` steps towards noise and back; more than there are lead to the noise
    /// end.
    pub fn step(
        &mut self,
        path: &dyn PotentialPath,
        walkers: &mut Walkers,
        depth: usize,
    ) -> Result<&[Outcome]> {
        let level = self.paths.n_steps().saturating_sub(depth);
        let Proposals { x, log_correction, .. } = &mut self.proposals;
        x.copy_from_slice(&walkers.x);
        log_correction.fill(0.0);
        self.paths.walk_to_noise(level, x, &mut walkers.rngs, log_correction, &mut |_| Ok(()))?;
        log_correction.iter_mut().for_each(|a| *a = -*a);
        self.paths.walk_to_data(level, x, &mut walkers.rngs, log_correction, &mut |_| Ok(()))?;
        walkers.n_energy_evaluations += (2 * (self.paths.n_steps() - level) * walkers.len()) as u64;
        self.proposals.evaluate(path, walkers)?;
        self.proposals.decide(walkers);
        Ok(&self.proposals.outcomes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::{GaussianMixture, Variances};
    use crate::random::{Purpose, Streams};
    use crate::sampling::kernel::mean_acceptance;
    use crate::sampling::testing::{centred_mixture, moments_agree, sample_many, with_threads};

    /// Moves with the score of another mixture leave the law as it is, at any depth; shares of modes are found from
    /// walkers that all begin in one.
    #[test]
    fn the_law_stays_whatever_the_score_and_modes_are_joined() {
        let law = centred_mixture();
        let mut other = centred_mixture();
        let mean = [1.2, 0.3, -0.5, -0.9, 0.4, 0.1, -0.3, -0.7, 0.4];
        let means = mean.iter().map(|m| 0.93 * m).chain(mean.iter().map(|m| -0.85 * m)).collect();
        let variances = Variances::Isotropic(vec![0.15, 0.07]);
        other.mixture = GaussianMixture::new(other.space(), &[0.5, 0.5], means, variances).unwrap();
        let (n, data_end) = (8192, law.range().0);
        let frames = sample_many(&law, data_end, n, 1);
        let streams = Streams::new(3);
        for (score, depths, least) in [(&law, [20, 80], 0.6), (&other, [20, 80], 0.1)] {
            let paths = DiffusionPaths::new(score, law.noise, 80, 0.4, &frames[..512 * 9], &streams).unwrap();
            let run = || {
                let lambda = vec![data_end; n];
                let mut walkers =
                    Walkers::new(&law, frames.clone(), lambda, &streams, Purpose::Walker).unwrap();
                let mut moves = Renoising::new(&paths, &walkers);
                let mut acceptance = 0.0;
                for k in 0..10 {
                    let outcomes = moves.step(&law, &mut walkers, depths[k % 2]).unwrap();
                    acceptance += mean_acceptance(outcomes) / 10.0;
                }
                (walkers.x, acceptance)
            };
            let (x, acceptance) = run();
            moments_agree(&law, data_end, &x, 0.0).unwrap();
            assert!(acceptance > least, "{acceptance}");
        }
        // All walkers in the mode of weight 0.3: after some moves through noise three in ten are there.
        let paths = DiffusionPaths::new(&law, law.noise, 80, 0.4, &frames[..512 * 9], &streams).unwrap();
        let of_one: Vec<f64> = (frames.chunks_exact(9).filter(|x| law.mixture.assign(x) == 1))
            .take(2048)
            .flatten()
            .copied()
            .collect();
        let run = || {
            let n = of_one.len() / 9;
            let lambda = vec![data_end; n];
            let mut walkers = Walkers::new(&law, of_one.clone(), lambda, &streams, Purpose::Walker).unwrap();
            let mut moves = Renoising::new(&paths, &walkers);
            for _ in 0..8 {
                moves.step(&law, &mut walkers, 1000).unwrap();
            }
            assert_eq!(walkers.n_energy_evaluations, (n * (1 + 8 * 161)) as u64);
            walkers.x
        };
        let x = with_threads(1, run);
        let share =
            x.chunks_exact(9).filter(|x| law.mixture.assign(x) == 1).count() as f64 / (x.len() / 9) as f64;
        let error = (0.3 * 0.7 / (x.len() / 9) as f64).sqrt();
        assert!((share - 0.3).abs() < 4.0 * error, "{share} ± {error}");
        assert!(x == with_threads(2, run));
    }
}
