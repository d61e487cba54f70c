//! Absolute free energies, one end at a time: from noise to the physical energy.
//!
//! A diffusion model of one ensemble leads from the normal distribution, whose normaliser is known, to learned data;
//! a straight line leads from there to the physical energy. Sequential Monte Carlo along this path gives
//!
//! ```text
//! log Z = log ∫ exp(−u(y)) dy,  over 3n − 3 coordinates in nm and one stereoisomer
//! ```
//!
//! itself, and the difference of two such numbers is a free energy of solvation that uses no pair of states. Each
//! end has a reduced length of its own; [`crate::potential::Rescaled`] carries the Jacobian.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Road;
use super::counted::Counted;
use super::ends::Ends;
use super::grouped::LearnedRoad;
use super::learning::LearnedPath;
use super::region::{Within, blurred_times};
use crate::error::{Error, Result};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::model::data::Pairing;
use crate::potential::{AtLambda, GeometricPath, Piece, ReducedPotential, Route, Sequence};
use crate::random::Streams;
use crate::sampling::{
    Bridge, LocalMove, LogNormalizer, Progress, SequentialMonteCarloSettings, SmcLevel,
    sequential_monte_carlo,
};

/// Settings of the absolute road.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AbsoluteSettings {
    /// Sequential Monte Carlo from noise to the physical energy.
    pub particles: SequentialMonteCarloSettings,
}

impl Default for AbsoluteSettings {
    fn default() -> Self {
        Self {
            particles: SequentialMonteCarloSettings {
                n_particles: 4096,
                n_islands: 16,
                n_pilot: 256,
                conditional_ess: 0.95,
                resample_below: 0.5,
                n_moves: 2,
                local_move: LocalMove::Hmc { n_leapfrog: 4, target_acceptance: 0.75 },
            },
        }
    }
}

impl AbsoluteSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        self.particles.validate(&format!("{place}.particles"))
    }
}

/// log Z of one physical state.
#[derive(Debug, Clone, PartialEq)]
pub struct AbsoluteEnd {
    /// Which.
    pub name: String,
    /// log ∫ exp(−u) over the stereoisomer, coordinates in nm.
    pub log_z: LogNormalizer,
    /// The record by level.
    pub levels: Vec<SmcLevel>,
    /// λ in these: 0 to 1 along the model, 1 to 2 from the model to the physical energy.
    pub n_physical_evaluations: u64,
    /// Evaluations of the learned energy.
    pub n_model_evaluations: u64,
    /// Wall clock.
    pub seconds: f64,
}

/// log Z of the one end of `ends`, along a model of it.
pub fn absolute_end(
    ends: &Ends,
    learned: LearnedPath,
    settings: &AbsoluteSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<AbsoluteEnd> {
    settings.validate("absolute")?;
    let ([end], false) = (&ends.ends[..], learned.noise.has_two_ends()) else {
        let found = format!("{} ends, {:?}", ends.ends.len(), learned.noise);
        return Err(Error::invalid("absolute free energy", "one ensemble and a path to noise", found));
    };
    let begun = Instant::now();
    let rescaled = ends.physical(0)?;
    let physical = Counted::new(&rescaled as &dyn ReducedPotential);
    let counted = Counted::new(learned.path);
    let (data_end, noise_end) = learned.noise.time_range();
    let at_data = AtLambda { path: &counted, lambda: data_end };
    let line = GeometricPath::new(&at_data, &physical)?;
    let clock = Route::LogSnr { noise: learned.noise };
    let sequence = Sequence::new(vec![
        Piece { path: &counted, route: clock },
        Piece { path: &line, route: Route::Linear { from: 0.0, to: 1.0 } },
    ])?;
    let data = ends.training_data(Pairing::Independent);
    let blurred = blurred_times(&data, &learned.noise, &ends.region, &streams.derive(0));
    // From the noise end on: the Gaussian there knows no isomers.
    let free = blurred.map(|(from, _)| (-1.0, clock.distance(from)));
    let path = Within { path: &sequence, region: &ends.region, free };
    let variance = learned.noise.total_variance(noise_end);
    let bridge = Bridge { path: &path, route: sequence.route(), reference_deviation: variance.sqrt() };
    let population = sequential_monte_carlo(bridge, &settings.particles, &streams.derive(1), progress)?;
    Ok(AbsoluteEnd {
        name: end.name.clone(),
        log_z: population.log_z,
        levels: population.levels,
        n_physical_evaluations: physical.n_evaluations(),
        n_model_evaluations: counted.n_evaluations(),
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// F₁ − F₀ from log Z of both: `absolute`.
pub fn absolute(first: &AbsoluteEnd, second: &AbsoluteEnd) -> LearnedRoad {
    let mut verdicts = Vec::new();
    for end in [first, second] {
        let n_ancestors = end.levels.last().map_or(0, |level| level.unique_ancestors);
        let message = format!(
            "{}: log Z = {:.2} ± {:.2} in {} levels; {n_ancestors} first particles have descendants",
            end.name,
            end.log_z.value,
            end.log_z.std_error,
            end.levels.len()
        );
        let severity = match (end.log_z.std_error.is_finite(), n_ancestors) {
            (false, _) => Severity::Untrustworthy,
            (true, n) if n < 32 => Severity::Warning,
            _ => Severity::Note,
        };
        verdicts.push(Verdict::new(severity, "log_z", message));
    }
    verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.severity));
    let road = Road {
        name: "absolute".into(),
        method: format!("log Z of each end from noise, sequential Monte Carlo; {}", first.log_z.method),
        value_kt: first.log_z.value - second.log_z.value,
        std_error_kt: first.log_z.std_error.hypot(second.log_z.std_error),
        n_energy_evaluations: first.n_physical_evaluations + second.n_physical_evaluations,
        wall_seconds: first.seconds + second.seconds,
        verdicts,
    };
    LearnedRoad { road, n_model_evaluations: first.n_model_evaluations + second.n_model_evaluations }
}
