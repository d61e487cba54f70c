//! Absolute free energies, one end at a time: from noise to the physical energy.
//!
//! A diffusion model of one ensemble leads from the normal distribution, whose normaliser is known, to learned data;
//! a straight line leads from there to the physical energy. Particles that are carried by reverse diffusion and
//! weighted (Phillips et al. 2024, [`crate::sampling::particle_diffusion`]) give along this path
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
use crate::error::{Result, at_least};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::potential::{AtLambda, GeometricPath, Piece, ReducedPotential, Restricted, Route, Sequence};
use crate::random::Streams;
use crate::sampling::{
    LocalMove, LogNormalizer, ParticleDiffusionSettings, Progress, SequentialMonteCarloSettings, SmcLevel,
    particle_diffusion,
};

/// Settings of the absolute road.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AbsoluteSettings {
    /// Steps from noise to the learned data, at equal distances in log(a²/g²).
    pub n_steps: usize,
    /// Levels from there to the physical energy.
    pub n_levels: usize,
    /// Particles, resampling and moves; their `conditional_ess` plays no role.
    pub particles: SequentialMonteCarloSettings,
}

impl Default for AbsoluteSettings {
    fn default() -> Self {
        Self {
            n_steps: 400,
            n_levels: 8,
            particles: SequentialMonteCarloSettings {
                n_particles: 4096,
                n_islands: 16,
                n_pilot: 256,
                conditional_ess: 0.95,
                resample_below: 0.5,
                n_moves: 1,
                local_move: LocalMove::default(),
            },
        }
    }
}

impl AbsoluteSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        at_least(format!("{place}.n_levels"), self.n_levels, 1)?;
        self.diffusion().validate(place)
    }

    /// The levels: 0 to 1 along the model, 1 to 2 from the model to the physical energy.
    fn diffusion(&self) -> ParticleDiffusionSettings {
        let further_lambdas = (1..=self.n_levels).map(|k| 1.0 + k as f64 / self.n_levels as f64).collect();
        ParticleDiffusionSettings { n_steps: self.n_steps, further_lambdas, particles: self.particles }
    }
}

/// log Z of one physical state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    let end = ends.single(&learned.noise, "absolute free energy")?;
    let begun = Instant::now();
    let rescaled = ends.physical(0)?;
    let physical = Counted::new(&rescaled as &dyn ReducedPotential);
    let counted = Counted::new(learned.path);
    let (data_end, _) = learned.noise.time_range();
    let at_data = AtLambda { path: &counted, lambda: data_end };
    // Noise knows no isomers, and the model leads most particles to the right one: the region counts behind it.
    let restricted = Restricted { inner: &physical, region: &ends.region };
    let line = GeometricPath::new(&at_data, &restricted)?;
    let sequence = Sequence::new(vec![
        Piece { path: &counted, route: Route::LogSnr { noise: learned.noise } },
        Piece { path: &line, route: Route::Linear { from: 0.0, to: 1.0 } },
    ])?;
    // Reduced length makes the variance of the data one.
    let diffusion = settings.diffusion();
    let population =
        particle_diffusion(&sequence, learned.noise, 1.0, &diffusion, &streams.derive(1), progress)?;
    Ok(AbsoluteEnd {
        name: end.name.clone(),
        log_z: population.log_z,
        levels: population.levels,
        n_physical_evaluations: physical.n_evaluations(),
        n_model_evaluations: counted.n_evaluations(),
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// F₁ − F₀ from log Z of both: `absolute`. `known` is log Z of each with its error by paths in both directions, where
/// these were travelled: particles that come from noise alone do not know what they have not found.
pub fn absolute(first: &AbsoluteEnd, second: &AbsoluteEnd, known: &[(f64, f64)]) -> LearnedRoad {
    let mut verdicts = Vec::new();
    for (idx, end) in [first, second].into_iter().enumerate() {
        if let Some(&(value, std_error)) = known.get(idx) {
            let deviation = (end.log_z.value - value) / end.log_z.std_error.hypot(std_error);
            if deviation.abs() > 4.0 {
                let message = format!(
                    "{}: log Z is {deviation:.1} combined errors from {value:.2} ± {std_error:.2} by paths in both \
                     directions: typical particles are not where the ensemble is",
                    end.name
                );
                verdicts.push(Verdict::new(Severity::Untrustworthy, "missing_mass", message));
            }
        }
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
