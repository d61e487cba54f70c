//! Learning a path: from two ensembles an interpolant between them, from one a diffusion to noise.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ends::{Ends, Molecule};
use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::model::checkpoint::{self, ModelCard, bead_types};
use crate::model::data::{End, Pairing, TrainingData};
use crate::model::network::{Architecture, NETWORKS};
use crate::potential::{Noise, PotentialPath};
use crate::random::Streams;
use crate::run::control::Control;
use crate::run::training::{Training, seconds_trained};
use crate::training::objective::OBJECTIVES;
use crate::training::objective::velocity_matching::NAME as VELOCITY;
use crate::training::{TrainSettings, Trainer};

/// What is learned and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearningSettings {
    /// The path: an interpolant between two ensembles, a diffusion from one.
    pub noise: Noise,
    /// How frames of two ensembles are paired.
    pub pairing: Pairing,
    /// The network, with its `kind`.
    pub network: toml::Table,
    /// Training.
    pub train: TrainSettings,
}

impl Default for LearningSettings {
    fn default() -> Self {
        let network = [("kind", "whitened".into()), ("time_splines", 49.into())];
        Self {
            noise: Noise::Interpolant { strength: 1.0, t_min: 1e-6 },
            pairing: Pairing::Independent,
            network: network
                .into_iter()
                .map(|(key, value): (&str, toml::Value)| (key.into(), value))
                .collect(),
            train: short_training(),
        }
    }
}

/// Training on all atoms with half of the usual data points: several models are learned in one run.
pub fn short_training() -> TrainSettings {
    let mut train = TrainSettings::of_atoms();
    for (stage, n_steps) in train.stages.iter_mut().zip([6000, 3000]) {
        (stage.n_steps, stage.batch_size) = (n_steps, 512);
    }
    train
}

impl LearningSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        self.noise.validate(&format!("{place}.noise"))?;
        self.train.validate(&format!("{place}.train"))?;
        if self.learns_energies() && self.kinds().any(|kind| kind == Some(VELOCITY)) {
            let message =
                "has `velocity_matching` among objectives of energies: a velocity has a model of its own";
            return Err(Error::config(format!("{place}.train.stages"), message, ""));
        }
        NETWORKS.build(&format!("{place}.network"), self.network.clone(), &()).map(|_| ())
    }

    /// The same steps of score matching alone, without what ties levels to each other.
    pub fn scores_alone(&self) -> Self {
        let mut alone = self.clone();
        for stage in &mut alone.train.stages {
            stage.objectives.retain(|objective| !ties_levels(objective));
        }
        alone.train.stages.retain(|stage| !stage.objectives.is_empty());
        alone
    }

    /// Whether the model will be an energy, and not a velocity.
    pub fn learns_energies(&self) -> bool {
        self.kinds().any(|kind| kind != Some(VELOCITY))
    }

    /// The kinds of all objectives.
    fn kinds(&self) -> impl Iterator<Item = Option<&str>> {
        let objectives = self.train.stages.iter().flat_map(|stage| &stage.objectives);
        objectives.map(|objective| objective.get("kind").and_then(toml::Value::as_str))
    }

    /// Conformations at which training evaluates the network.
    pub fn n_training_evaluations(&self) -> u64 {
        let of_stage = |stage: &crate::training::StageSettings| {
            (stage.n_steps * stage.batch_size * stage.times.n_times) as u64
        };
        self.train.stages.iter().map(of_stage).sum()
    }
}

/// Whether an objective finds more than scores: the constant of each level, or its slope in time.
fn ties_levels(objective: &toml::Table) -> bool {
    let mut settings = objective.clone();
    settings.remove("weight");
    OBJECTIVES.build("objective", settings, &()).is_ok_and(|objective| objective.ties_levels())
}

/// An energy that depends on time, and the process whose laws it describes: a model, or in tests a formula.
#[derive(Clone, Copy)]
pub struct LearnedPath<'a> {
    /// u_θ(x, t) in reduced length; λ is t.
    pub path: &'a dyn PotentialPath,
    /// The process.
    pub noise: Noise,
}

impl<'a> From<&'a EnergyModel> for LearnedPath<'a> {
    fn from(model: &'a EnergyModel) -> Self {
        Self { path: model, noise: *model.noise() }
    }
}

/// What training gave.
pub struct Learned {
    /// The energies, or the potential of the velocity.
    pub model: EnergyModel,
    /// Wall clock of the training, over all of its sessions.
    pub seconds: f64,
}

/// The model before its first step.
pub fn untrained(
    ends: &Ends,
    molecule: &Molecule,
    settings: &LearningSettings,
    streams: &Streams,
) -> Result<EnergyModel> {
    let data = ends.training_data(settings.pairing);
    let types = bead_types(&molecule.atom_names);
    let architecture = Architecture::new(types, molecule.bonds.clone(), settings.noise);
    let network = NETWORKS.build("network", settings.network.clone(), &())?;
    EnergyModel::initial(&*network, architecture, ends.length_scale_nm, &data, streams)
}

/// Trains in `directory`, from where an interrupted training goes on; a finished one is read.
#[expect(clippy::too_many_arguments, reason = "each of them is a different thing")]
pub fn learn(
    ends: &Ends,
    molecule: &Molecule,
    settings: &LearningSettings,
    directory: &Path,
    run: &Path,
    part: &str,
    streams: Streams,
    control: &Control,
) -> Result<Learned> {
    let size = ends.space.dimension();
    let held_out: Vec<Vec<f32>> =
        ends.ends.iter().map(|end| end.held_out.iter().map(|x| *x as f32).collect()).collect();
    let held_out_end = |k: usize| held_out.get(k).map(|frames| End { frames, ..End::default() });
    let data = ends.training_data(settings.pairing);
    let of_held_out =
        TrainingData { first: held_out_end(0).unwrap_or_default(), second: held_out_end(1), ..data };
    debug_assert!(of_held_out.first.frames.len() >= size);
    let model = if directory.join("model.toml").is_file() {
        checkpoint::load(directory)?.0
    } else {
        std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let initial = untrained(ends, molecule, settings, &streams)?;
        let trainer = Trainer::new(initial, &settings.train, data, streams)?;
        let training = Training {
            settings: &settings.train,
            // Scores are what the held-out loss is about.
            held_out: settings.learns_energies().then_some(of_held_out),
            streams,
            directory,
            run,
            control,
            part,
        };
        let model = training.run(trainer)?;
        let card = ModelCard {
            length_scale_nm: ends.length_scale_nm,
            temperature_kelvin: molecule.temperature_kelvin,
            bead_names: molecule.atom_names.clone(),
            bead_types: model.architecture.bead_types.clone(),
            bonds: model.architecture.bonds.clone(),
            n_time_rows: model.time_table.n_rows(),
            noise: settings.noise,
            network: settings.network.clone(),
        };
        checkpoint::save(directory, &model, &card)?;
        model
    };
    Ok(Learned { model, seconds: seconds_trained(directory) })
}
