//! From one ensemble to the other with a learned velocity: escorted Jarzynski, and Bennett's ratio of both directions.
//!
//! The energies of `learning` give the score of the interpolant between the two ensembles, a second network its velocity
//! ([`crate::training`], velocity matching). Conformations follow both with exact works
//! ([`crate::sampling::EscortedPaths`]), so that ΔF is exact whatever was learned (Vaikuntanathan and Jarzynski
//! 2008; He, Du et al. 2025, FEAT, with both from one interpolant). Only the physical energies of both ends enter.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Road;
use super::both_ways::without_forbidden;
use super::ends::{Ends, N_GROUPS};
use super::grouped::{LearnedRoad, Works, bennett_by_groups, overlap_verdict};
use super::learning::{LearnedPath, LearningSettings};
use crate::error::{Error, Result, at_least};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::nonequilibrium::{Crooks, crooks};
use crate::model::data::{DataPoints, GROUP, Pairing};
use crate::potential::{PotentialPath, ReducedPotential as _, Restricted};
use crate::random::{Purpose, Streams};
use crate::sampling::{EscortedPaths, Progress};
use crate::training::times::TimeSettings;
use crate::training::{StageSettings, TrainSettings};

/// Settings of the escorted road.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EscortedSettings {
    /// Steps between the two ensembles, at equal distances in log(a²/g²).
    pub n_steps: usize,
    /// Paths in each direction.
    pub n_paths: usize,
    /// The network of the velocity, with its `kind`.
    pub network: toml::Table,
    /// Its training.
    pub train: TrainSettings,
}

impl Default for EscortedSettings {
    fn default() -> Self {
        let objective = [("kind".to_string(), "velocity_matching".into())].into_iter().collect();
        let stage = StageSettings {
            name: "velocity".into(),
            n_steps: 4000,
            batch_size: 512,
            // The displacement of independent pairs scatters by as much as its mean: gradients are nearly all noise.
            learning_rate: 2e-3,
            final_learning_rate: None,
            warmup_steps: 200,
            times: TimeSettings::default(),
            calibrate: false,
            objectives: vec![objective],
        };
        let mut network = LearningSettings::default().network;
        network.insert("confining".into(), false.into());
        Self {
            n_steps: 800,
            n_paths: 4096,
            network,
            train: TrainSettings { stages: vec![stage], gradient_clip: 1.0, ..TrainSettings::of_atoms() },
        }
    }
}

/// Pairs of training frames that tell how wide the steps are.
const N_WIDTHS: usize = 4 * GROUP;

impl EscortedSettings {
    /// Checks the settings; `place` is their key path. `learning` is that of the energies.
    pub fn validate(&self, place: &str, learning: &LearningSettings) -> Result<()> {
        at_least(format!("{place}.n_steps"), self.n_steps, 1)?;
        at_least(format!("{place}.n_paths"), self.n_paths, 4 * N_GROUPS)?;
        let learning = self.learning(learning);
        learning.validate(place)?;
        if learning.learns_energies() {
            let message = "must have `velocity_matching` as their only objective";
            return Err(Error::config(format!("{place}.train.stages"), message, ""));
        }
        Ok(())
    }

    /// What is learned of the velocity: along the same path, between the same pairs.
    pub fn learning(&self, energies: &LearningSettings) -> LearningSettings {
        let (mut network, train) = (self.network.clone(), self.train.clone());
        // A velocity rises nowhere by itself.
        if network.get("kind").and_then(toml::Value::as_str) == Some("whitened") {
            network.entry("confining").or_insert(false.into());
        }
        LearningSettings { noise: energies.noise, pairing: energies.pairing, network, train }
    }
}

/// What the paths gave.
#[derive(Debug, Clone, PartialEq)]
pub struct EscortedRoad {
    /// Bennett's ratio on the works: `escorted_bar`.
    pub bar: LearnedRoad,
    /// The works, from the first end and from the second, kT.
    pub works: [Works; 2],
    /// What they tell.
    pub crooks: Crooks,
}

/// Follows `velocity` and the score of `learned` from held-out frames of each end to the other.
pub fn escorted(
    ends: &Ends,
    pairing: Pairing,
    learned: LearnedPath,
    velocity: &dyn PotentialPath,
    settings: &EscortedSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<EscortedRoad> {
    ends.check_pair(&learned.noise, "escorted paths")?;
    let begun = Instant::now();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let (data, mut points) = (ends.training_data(pairing), DataPoints::default());
    let mut rng = streams.stream(Purpose::Split, 0);
    for _ in 0..N_WIDTHS / GROUP {
        data.draw(GROUP, &mut rng, &mut points);
        first.append(&mut points.first);
        second.append(&mut points.second);
    }
    let pairs = [&first[..], &second[..]];
    let paths = EscortedPaths::new(
        learned.path,
        velocity,
        learned.noise,
        settings.n_steps,
        pairs,
        &streams.derive(1),
    )?;
    let mut n_model_evaluations = paths.n_energy_evaluations;
    let mut n_physical_evaluations = 0;
    let mut energies = |end: usize, x: &[f64]| -> Result<Vec<f64>> {
        let rescaled = ends.physical(end)?;
        let physical = Restricted { inner: &rescaled, region: &ends.region };
        let mut u = vec![0.0; x.len() / ends.space.dimension()];
        physical.energies(x, &mut u)?;
        n_physical_evaluations += u.len() as u64;
        Ok(u)
    };
    let mut works = Vec::with_capacity(2);
    for from in 0..2 {
        let (frames, groups) = ends.ends[from].chosen(settings.n_paths);
        let own = streams.derive(2 + from as u64);
        let mut part = |f| progress(0.5 * (from as f64 + f));
        let travelled = match from {
            0 => paths.forward(&frames, &own, &mut part)?,
            _ => paths.reverse(&frames, &own, &mut part)?,
        };
        n_model_evaluations += travelled.n_energy_evaluations;
        let (before, after) = (energies(from, &frames)?, energies(1 - from, &travelled.x)?);
        let ends = after.iter().zip(&before).zip(&travelled.log_ratio);
        let kt = without_forbidden(ends.map(|((after, before), log_ratio)| after - before - log_ratio));
        works.push(Works { kt, groups });
    }
    let works: [Works; 2] =
        works.try_into().map_err(|_| Error::invalid("works", "two directions", "another number"))?;
    let (value_kt, std_error_kt) = bennett_by_groups(&works[0], &works[1], N_GROUPS);
    let found = crooks(&works[0].kt, &works[1].kt)?;
    let mut verdicts: Vec<Verdict> =
        overlap_verdict("works along the learned velocity", found.overlap).into_iter().collect();
    let message = format!(
        "{:.1} and {:.1} kT are dissipated in the two directions (medians)",
        works[0].median() - value_kt,
        works[1].median() + value_kt
    );
    verdicts.push(Verdict::new(Severity::Note, "dissipation", message));
    let road = Road {
        name: "escorted_bar".into(),
        method: format!(
            "escorted by a learned velocity and score from each ensemble to the other, {} and {} paths in {} steps, Bennett's \
             ratio",
            works[0].kt.len(),
            works[1].kt.len(),
            settings.n_steps
        ),
        value_kt,
        std_error_kt,
        n_energy_evaluations: n_physical_evaluations,
        wall_seconds: begun.elapsed().as_secs_f64(),
        verdicts,
    };
    Ok(EscortedRoad { bar: LearnedRoad { road, n_model_evaluations }, works, crooks: found })
}
