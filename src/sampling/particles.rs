//! What sequential Monte Carlo is told, keeps and returns.

use serde::{Deserialize, Serialize};

use super::LocalMove;
use crate::error::{Error, Result, at_least};
use crate::potential::log_sum_exp;

/// Settings of [`super::sequential_monte_carlo()`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SequentialMonteCarloSettings {
    /// Particles; a multiple of `n_islands`.
    pub n_particles: usize,
    /// Independent islands, for the error of log Z.
    pub n_islands: usize,
    /// Particles of the pilot run that places the levels.
    pub n_pilot: usize,
    /// Conditional effective sample size that a step along the path keeps, as a fraction.
    pub conditional_ess: f64,
    /// An island is resampled when its effective sample size falls below this fraction.
    pub resample_below: f64,
    /// Moves per level.
    pub n_moves: usize,
    /// The kernel of the moves.
    pub local_move: LocalMove,
}

impl Default for SequentialMonteCarloSettings {
    fn default() -> Self {
        Self {
            n_particles: 8192,
            n_islands: 16,
            n_pilot: 512,
            conditional_ess: 0.95,
            resample_below: 0.5,
            n_moves: 4,
            local_move: LocalMove::default(),
        }
    }
}

impl SequentialMonteCarloSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        let bad = |key: &str, message: String| Err(Error::config(format!("{place}.{key}"), message, ""));
        at_least(format!("{place}.n_islands"), self.n_islands, 2)?;
        at_least(format!("{place}.n_pilot"), self.n_pilot, 16)?;
        if self.n_particles < 2 * self.n_islands || !self.n_particles.is_multiple_of(self.n_islands) {
            let message = format!(
                "must be a multiple of n_islands = {} and at least twice it, found {}",
                self.n_islands, self.n_particles
            );
            return bad("n_particles", message);
        }
        if !(self.conditional_ess > 0.0 && self.conditional_ess < 1.0) {
            return bad(
                "conditional_ess",
                format!("must lie between 0 and 1, found {}", self.conditional_ess),
            );
        }
        if !(0.0..=1.0).contains(&self.resample_below) {
            return bad("resample_below", format!("must lie in [0, 1], found {}", self.resample_below));
        }
        self.local_move.validate(&format!("{place}.local_move"))
    }
}

/// Levels of a run: λ and step size at each, from the start of the route to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParticleSchedule {
    /// λ of each level.
    pub lambda: Vec<f64>,
    /// Step size of the moves at each level.
    pub step_size: Vec<f64>,
    /// Where particles are carried: mean of |∇u|² per degree of freedom at each level, which says how wide the law
    /// of the next level is around what reverse diffusion predicts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub squared_scores: Vec<f64>,
    /// Conformations that the pilot run evaluated.
    pub n_energy_evaluations: u64,
}

impl ParticleSchedule {
    /// The same levels with the same steps in the opposite order, so that works of both directions belong
    /// to one protocol.
    pub fn reversed(&self) -> Self {
        let backwards = |values: &[f64]| values.iter().rev().copied().collect();
        Self {
            lambda: backwards(&self.lambda),
            step_size: backwards(&self.step_size),
            squared_scores: backwards(&self.squared_scores),
            ..self.clone()
        }
    }
}

/// log Z with its error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogNormalizer {
    /// log ∫ exp(−u), dimensionless; the free energy in kT is its negative.
    pub value: f64,
    /// Standard error.
    pub std_error: f64,
    /// How both were obtained.
    pub method: String,
}

/// What happened at one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SmcLevel {
    /// Its number, 0 at the start of the route.
    pub level: usize,
    /// λ, the diffusion time of a learned path.
    pub lambda: f64,
    /// Effective sample size of all particles after weighting, before resampling.
    pub ess: f64,
    /// Effective sample size of the weights that each particle's ancestral line has gathered since
    /// the start, as if there had been no resampling.
    pub ess_without_resampling: f64,
    /// How many of the first particles have descendants.
    pub unique_ancestors: usize,
    /// log Z up to here.
    pub log_z: f64,
    /// Its standard error, from the islands.
    pub log_z_std_error: f64,
    /// Mean acceptance of the moves; 0 where none were made.
    pub acceptance: f64,
    /// Step size of the moves.
    pub step_size: f64,
    /// Conformations evaluated at this level.
    pub n_energy_evaluations: u64,
    /// Whether any island was resampled.
    pub resampled: bool,
    /// Proposals without a finite energy.
    pub n_diverged: u64,
}

/// Everything that a run needs to continue: particles, weights and the record so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParticleState {
    /// The level to do next.
    pub next_level: usize,
    /// Positions, `[particle][coordinate]`, islands one after the other.
    pub x: Vec<f64>,
    /// Log-weights, normalised within each island.
    pub log_weights: Vec<f64>,
    /// Log-weights gathered along each ancestral line.
    pub line_log_weights: Vec<f64>,
    /// The first particle of each line.
    pub ancestors: Vec<usize>,
    /// log Z of each island so far.
    pub island_log_z: Vec<f64>,
    /// Levels done.
    pub levels: Vec<SmcLevel>,
    /// Conformations evaluated so far.
    pub n_energy_evaluations: u64,
}

/// Weighted particles at the end of the route.
#[derive(Debug, Clone, PartialEq)]
pub struct Population {
    /// Positions, `[particle][coordinate]`.
    pub x: Vec<f64>,
    /// Log-weights whose exponentials sum to one; islands count in proportion to their Z.
    pub log_weights: Vec<f64>,
    /// Log-weights gathered along each ancestral line.
    pub line_log_weights: Vec<f64>,
    /// log ∫ exp(−u) at the end of the route.
    pub log_z: LogNormalizer,
    /// The record.
    pub levels: Vec<SmcLevel>,
    /// Conformations evaluated, without the pilot run.
    pub n_energy_evaluations: u64,
}

/// log of the mean of the islands' Z, with bias and error by the jackknife over islands.
///
/// Each island's Z is unbiased, so the mean is; its logarithm is biased by about −variance/2, which the
/// jackknife removes to first order.
pub(super) fn combine_islands(island_log_z: &[f64], per_island: usize) -> LogNormalizer {
    let k = island_log_z.len();
    let full = log_sum_exp(island_log_z) - (k as f64).ln();
    if k < 2 || !full.is_finite() {
        let method = format!("{k} island of {per_island} particles, no error");
        return LogNormalizer { value: full, std_error: f64::INFINITY, method };
    }
    let without: Vec<f64> = (0..k)
        .map(|left_out| {
            let others: Vec<f64> =
                (0..k).filter(|&i| i != left_out).map(|island| island_log_z[island]).collect();
            log_sum_exp(&others) - ((k - 1) as f64).ln()
        })
        .collect();
    let mean = without.iter().sum::<f64>() / k as f64;
    let spread = without.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    LogNormalizer {
        value: k as f64 * full - (k - 1) as f64 * mean,
        std_error: ((k - 1) as f64 / k as f64 * spread).sqrt(),
        method: format!("jackknife over {k} independent islands of {per_island} particles"),
    }
}
