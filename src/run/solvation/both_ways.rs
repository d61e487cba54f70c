//! Each ensemble joined to noise in both directions, and by that to the other one.
//!
//! Frames of an ensemble are carried to noise by the process of its diffusion model, and conformations are drawn from
//! noise by the reverse of it. The two are the same switch run forwards and backwards, with works that are known
//! for any score ([`crate::sampling::DiffusionPaths`]), escorted by the learned drift in the sense of Vaikuntanathan
//! and Jarzynski (2008). Bennett's ratio gives log Z of the physical energy, over 3n − 3 coordinates in nm and one
//! stereoisomer; the ensemble, not the model, says which conformations belong to it, so that modes which the model
//! rarely finds cost precision and not correctness.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Road;
use super::ends::{Ends, N_GROUPS};
use super::grouped::{LearnedRoad, Works, bennett_by_groups, overlap_verdict};
use super::learning::LearnedPath;
use super::road::or_infinite;
use crate::error::{Result, at_least};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::bootstrap::contiguous_ids;
use crate::free_energy::nonequilibrium::crooks;
use crate::potential::{ReducedPotential as _, Restricted};
use crate::random::Streams;
use crate::run::summary::{finite, or_nan};
use crate::sampling::{DiffusionPaths, Progress};

/// Settings of the paths between ensembles and noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BothWaysSettings {
    /// Steps between noise and data, at equal distances in log(a²/g²).
    pub n_steps: usize,
    /// Paths in each direction, of each ensemble.
    pub n_paths: usize,
}

impl Default for BothWaysSettings {
    fn default() -> Self {
        Self { n_steps: 800, n_paths: 4096 }
    }
}

/// The work of a path that ends where the molecule cannot be: without any weight, and a number that files can hold.
const FORBIDDEN_KT: f64 = 1e9;

/// Works in which such paths have this number.
pub(super) fn without_forbidden(works: impl Iterator<Item = f64>) -> Vec<f64> {
    works.map(|work| if work.is_nan() { FORBIDDEN_KT } else { work.min(FORBIDDEN_KT) }).collect()
}

impl BothWaysSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        at_least(format!("{place}.n_steps"), self.n_steps, 1)?;
        at_least(format!("{place}.n_paths"), self.n_paths, 4 * N_GROUPS)
    }
}

/// One ensemble and noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BothWays {
    /// Which ensemble.
    pub name: String,
    /// log ∫ exp(−u); not a number where the two directions have nothing in common.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub log_z: f64,
    /// Its standard error.
    #[serde(serialize_with = "finite", deserialize_with = "or_infinite")]
    pub log_z_std_error: f64,
    /// Works of paths from noise to data, kT.
    pub to_data: Works,
    /// Works of paths from data to noise, kT.
    pub to_noise: Works,
    /// Median dissipated on the way to data, kT.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub dissipated_to_data_kt: f64,
    /// Mean dissipated on the way to noise, kT.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub dissipated_to_noise_kt: f64,
    /// Share of samples that both directions have in common, up to ½.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub overlap: f64,
    /// Evaluations of the physical energy.
    pub n_physical_evaluations: u64,
    /// Evaluations of the learned energy.
    pub n_model_evaluations: u64,
    /// Wall clock.
    pub seconds: f64,
}

/// Joins the one end of `ends` to noise along a model of it.
pub fn both_ways(
    ends: &Ends,
    learned: LearnedPath,
    settings: &BothWaysSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<BothWays> {
    settings.validate("corrected")?;
    let end = ends.single(&learned.noise, "paths to noise")?;
    let begun = Instant::now();
    let size = ends.space.dimension();
    let widths: Vec<f64> = DiffusionPaths::width_frames(end.training.len() / size, 256)
        .flat_map(|idx| &end.training[idx * size..][..size])
        .map(|x| f64::from(*x))
        .collect();
    // Reduced length makes the variance of the data one.
    let paths =
        DiffusionPaths::new(learned.path, learned.noise, settings.n_steps, 1.0, &widths, &streams.derive(1))?;
    let (frames, groups) = end.chosen(settings.n_paths);
    let up = paths.towards_noise(&frames, &streams.derive(2), &mut |f| progress(0.5 * f))?;
    let down = paths.towards_data(settings.n_paths, &streams.derive(3), &mut |f| progress(0.5 + 0.5 * f))?;

    let rescaled = ends.physical(0)?;
    let physical = Restricted { inner: &rescaled, region: &ends.region };
    let (mut u_up, mut u_down) = (vec![0.0; groups.len()], vec![0.0; settings.n_paths]);
    physical.energies(&frames, &mut u_up)?;
    physical.energies(&down.x, &mut u_down)?;
    let kt = |u: &[f64], log_ratio: &[f64], sign: f64| {
        without_forbidden(u.iter().zip(log_ratio).map(|(u, log_ratio)| sign * (u - log_ratio)))
    };
    let groups_down = contiguous_ids(settings.n_paths, N_GROUPS);
    let to_data = Works { kt: kt(&u_down, &down.log_ratio, 1.0), groups: groups_down };
    let to_noise = Works { kt: kt(&u_up, &up.log_ratio, -1.0), groups };
    let (value, std_error) = bennett_by_groups(&to_data, &to_noise, N_GROUPS);
    let found = crooks(&to_data.kt, &to_noise.kt)?;
    Ok(BothWays {
        name: end.name.clone(),
        log_z: -value,
        log_z_std_error: std_error,
        // The median: some paths end where the molecule cannot be.
        dissipated_to_data_kt: to_data.median() - value,
        dissipated_to_noise_kt: found.dissipated_reverse_kt,
        overlap: found.overlap,
        n_physical_evaluations: (u_up.len() + u_down.len()) as u64,
        n_model_evaluations: paths.n_energy_evaluations + up.n_energy_evaluations + down.n_energy_evaluations,
        seconds: begun.elapsed().as_secs_f64(),
        to_data,
        to_noise,
    })
}

/// F₁ − F₀ through noise: `corrected_bar`.
pub fn through_noise(first: &BothWays, second: &BothWays, settings: &BothWaysSettings) -> LearnedRoad {
    let mut verdicts = Vec::new();
    for end in [first, second] {
        let place = format!("{}, paths to and from noise", end.name);
        verdicts.extend(overlap_verdict(&place, end.overlap));
        let message = format!(
            "{}: {:.1} kT are dissipated on the way from noise, {:.1} kT on the way to it",
            end.name, end.dissipated_to_data_kt, end.dissipated_to_noise_kt
        );
        verdicts.push(Verdict::new(Severity::Note, "dissipation", message));
    }
    verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.severity));
    let road = Road {
        name: "corrected_bar".into(),
        method: format!(
            "works between each ensemble and noise along its learned diffusion, {} paths each way in {} steps, \
             Bennett's ratio",
            settings.n_paths, settings.n_steps
        ),
        value_kt: first.log_z - second.log_z,
        std_error_kt: first.log_z_std_error.hypot(second.log_z_std_error),
        n_energy_evaluations: first.n_physical_evaluations + second.n_physical_evaluations,
        wall_seconds: first.seconds + second.seconds,
        verdicts,
    };
    LearnedRoad { road, n_model_evaluations: first.n_model_evaluations + second.n_model_evaluations }
}
