//! Annealed importance sampling (Neal 2001; Jarzynski 1997).
//!
//! Independent walkers follow the route as in sequential Monte Carlo and are never resampled: the mean
//! of exp(log-weight) is an unbiased estimate of Z with independent terms, so its error is elementary.

use serde::{Deserialize, Serialize};

use super::particles::LogNormalizer;
use super::resampling::effective_sample_size_log;
use super::sequential_monte_carlo::pilot_schedule;
use super::{Bridge, LocalMove, Progress, SequentialMonteCarlo, SequentialMonteCarloSettings, SmcLevel};
use crate::error::{Error, Result};
use crate::potential::log_sum_exp;
use crate::random::Streams;

/// Settings of [`annealed_importance`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnnealedImportanceSettings {
    /// Independent walkers.
    pub n_walkers: usize,
    /// Particles of the pilot run that places the levels.
    pub n_pilot: usize,
    /// Conditional effective sample size that a step along the path keeps, as a fraction.
    pub conditional_ess: f64,
    /// Moves per level.
    pub n_moves: usize,
    /// The kernel of the moves.
    pub local_move: LocalMove,
}

impl Default for AnnealedImportanceSettings {
    fn default() -> Self {
        Self {
            n_walkers: 4096,
            n_pilot: 512,
            conditional_ess: 0.98,
            n_moves: 4,
            local_move: LocalMove::default(),
        }
    }
}

impl AnnealedImportanceSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        if self.n_walkers < 4 || self.n_walkers % 2 == 1 {
            let message = format!("must be even and at least 4, found {}", self.n_walkers);
            return Err(Error::config(format!("{place}.n_walkers"), message, ""));
        }
        self.as_particles().validate(place)
    }

    fn as_particles(&self) -> SequentialMonteCarloSettings {
        SequentialMonteCarloSettings {
            n_particles: self.n_walkers,
            n_islands: 2,
            n_pilot: self.n_pilot,
            conditional_ess: self.conditional_ess,
            resample_below: 0.0,
            n_moves: self.n_moves,
            local_move: self.local_move,
        }
    }
}

/// Independent weighted walkers at the end of the route.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnealedWalkers {
    /// Positions, `[walker][coordinate]`.
    pub x: Vec<f64>,
    /// log of each walker's unbiased estimate of Z; minus the work in kT.
    pub log_weights: Vec<f64>,
    /// log ∫ exp(−u) at the end of the route.
    pub log_z: LogNormalizer,
    /// Effective sample size of the weights.
    pub ess: f64,
    /// The record by level.
    pub levels: Vec<SmcLevel>,
    /// Conformations evaluated, without the pilot run.
    pub n_energy_evaluations: u64,
}

/// Places levels with a pilot run, which resamples, and anneals.
pub fn annealed_importance(
    bridge: Bridge<'_>,
    settings: &AnnealedImportanceSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<AnnealedWalkers> {
    settings.validate("annealed_importance")?;
    let particles = settings.as_particles();
    let resampled = SequentialMonteCarloSettings { resample_below: 0.5, ..particles };
    let schedule = pilot_schedule(bridge, &resampled, streams, &mut |done| progress(0.2 * done))?;
    let mut run = SequentialMonteCarlo::start(bridge, particles, *streams)?;
    let mut n_done = 0;
    while run.advance(&schedule)? {
        n_done += 1;
        progress(0.2 + 0.8 * f64::from(n_done) / schedule.lambda.len() as f64)?;
    }
    let population = run.finish();
    let n = settings.n_walkers as f64;
    let ess = effective_sample_size_log(&population.line_log_weights);
    // Delta method: the relative variance of a mean of n weights is 1/ESS − 1/n.
    let std_error = if ess > 0.0 { (1.0 / ess - 1.0 / n).max(0.0).sqrt() } else { f64::INFINITY };
    let log_z = LogNormalizer {
        value: log_sum_exp(&population.line_log_weights) - n.ln(),
        std_error,
        method: format!("mean of {} independent weights, delta method", settings.n_walkers),
    };
    Ok(AnnealedWalkers {
        x: population.x,
        log_weights: population.line_log_weights,
        log_z,
        ess,
        levels: population.levels,
        n_energy_evaluations: population.n_energy_evaluations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::Route;
    use crate::potential::analytic::HarmonicPath;
    use crate::potential::{PotentialPath as _, Space};
    use crate::sampling::silent;
    use crate::sampling::testing::centred_mixture;

    #[test]
    fn log_z_is_exact_on_a_diffused_mixture_and_on_a_stiffening_well() {
        let mixture = centred_mixture();
        let harmonic = HarmonicPath {
            space: Space::Centered { n_particles: 4 },
            first_stiffness: 1.0,
            last_stiffness: 400.0,
        };
        let route = Route::Linear { from: 0.0, to: 1.0 };
        let settings = AnnealedImportanceSettings { n_walkers: 2048, n_pilot: 256, ..Default::default() };
        for (bridge, exact) in [
            (Bridge::diffusion(&mixture, mixture.noise, 0.4), mixture.log_normalizer(mixture.range().0)),
            (Bridge { path: &harmonic, route, reference_deviation: 1.0 }, harmonic.log_normalizer(1.0)),
        ] {
            let result = annealed_importance(bridge, &settings, &Streams::new(5), &mut silent).unwrap();
            let LogNormalizer { value, std_error, .. } = result.log_z;
            assert!((value - exact).abs() < 3.0 * std_error, "{value} ± {std_error}, exact {exact}");
            assert!(std_error < 0.1 && result.levels.iter().all(|level| !level.resampled));
        }
    }
}
