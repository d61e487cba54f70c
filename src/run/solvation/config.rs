//! What the configuration of a solvation free energy by several roads may say.
//!
//! Only `kind`, `name` and `system.topology` have no default. The files in `examples/solvation` work as they stand.

use serde::{Deserialize, Serialize};

use super::absolute::AbsoluteSettings;
use super::annealed::AnnealedSettings;
use super::both_ways::BothWaysSettings;
use super::classical::ClassicalSettings;
use super::escorted::EscortedSettings;
use super::learned::IntegrationSettings;
use super::learning::{LearningSettings, short_training};
use crate::error::{Error, Result};
use crate::model::data::Pairing;
use crate::potential::{AlchemicalPath, Noise};
use crate::run::ensemble::EnsembleSettings;
use crate::run::frames::FrameFiles;
use crate::run::simulate::config::SystemSettings;
use crate::run::source::check_directory_name;
use crate::training::TrainSettings;
use crate::units::Temperature;

/// A configuration of `kirkwood run` with `kind = "solvation"`. A plan is one as well, with every default written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SolvationConfig {
    /// `solvation`.
    pub kind: Kind,
    /// What the run is called; results go to `runs/NAME`.
    pub name: String,
    /// Seed of all random numbers.
    #[serde(default = "one")]
    pub seed: u64,
    /// Of both ensembles.
    #[serde(default = "room_temperature")]
    pub temperature: Temperature,
    /// What the molecule gains on its way into the solvent.
    #[serde(default)]
    pub process: Process,
    /// Which roads are travelled.
    #[serde(default = "all_roads")]
    pub roads: Vec<RoadKind>,
    /// How many models are trained for the learned roads, each from weights and batches of its own.
    #[serde(default = "three")]
    pub n_models: usize,
    /// The molecule, in its implicit solvent.
    pub system: SystemSettings,
    /// The ensembles at both ends.
    #[serde(default)]
    pub frames: EndsSettings,
    /// Windows, replica exchange and switching of the physical energy.
    #[serde(default)]
    pub classical: ClassicalSettings,
    /// The energies between the two ensembles.
    #[serde(default)]
    pub learning: LearningSettings,
    /// Thermodynamic integration and the direct estimate along them.
    #[serde(default)]
    pub integration: IntegrationSettings,
    /// The velocity between the two ensembles, and paths along it.
    #[serde(default)]
    pub escorted: EscortedSettings,
    /// Switching, sequential Monte Carlo and replica exchange along them.
    #[serde(default)]
    pub annealed: AnnealedSettings,
    /// The energies between each ensemble and noise.
    #[serde(default)]
    pub diffusion: DiffusionSettings,
    /// Paths along them in both directions.
    #[serde(default)]
    pub corrected: BothWaysSettings,
    /// Particles along them, from noise to each end.
    #[serde(default)]
    pub absolute: AbsoluteSettings,
}

/// Energies between each ensemble and noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionSettings {
    /// How data become noise.
    pub noise: Noise,
    /// `kind` of the network and its settings.
    pub network: toml::Table,
    /// How the energies are learned.
    pub train: TrainSettings,
}

impl Default for DiffusionSettings {
    fn default() -> Self {
        let network = [("kind".to_string(), "whitened".into())].into_iter().collect();
        Self { noise: Noise::default(), network, train: short_training() }
    }
}

impl DiffusionSettings {
    /// What is learned of each end.
    pub fn learning(&self) -> LearningSettings {
        let (network, train) = (self.network.clone(), self.train.clone());
        LearningSettings { noise: self.noise, pairing: Pairing::default(), network, train }
    }
}

fn one() -> u64 {
    1
}

fn three() -> usize {
    3
}

fn room_temperature() -> Temperature {
    Temperature::from_kelvin(300.0).expect("a positive constant")
}

/// The value of `kind` by which this configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `solvation`
    Solvation,
}

/// What changes between the two ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// The charges of the generalised-Born energy; the surface term is there at both ends.
    #[default]
    GbCharges,
    /// The whole implicit solvent: from the true vacuum.
    ImplicitSolvent,
}

impl Process {
    /// The path of the physical energy.
    pub fn path(self) -> AlchemicalPath {
        match self {
            Self::GbCharges => AlchemicalPath::GbCharges,
            Self::ImplicitSolvent => AlchemicalPath::ImplicitSolvent,
        }
    }

    /// The free energy in words.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::GbCharges => {
                "charging free energy in implicit solvent; the surface term is there at both ends"
            }
            Self::ImplicitSolvent => "solvation free energy in implicit solvent, from vacuum, 1 M to 1 M",
        }
    }
}

/// A road, or several that share their data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoadKind {
    /// Windows along λ (MBAR, BAR, TI) and switching (Crooks) of the physical energy.
    Classical,
    /// Thermodynamic integration and the direct estimate along energies learned with classification.
    Learned,
    /// The same without classification.
    Scores,
    /// Paths between each ensemble and noise along energies learned of it, in both directions.
    Corrected,
    /// Paths from each ensemble to the other along a learned velocity and the scores of the first of the energies
    /// between the ensembles.
    Escorted,
    /// Annealing, sequential Monte Carlo and replica exchange along the first of the energies between the ensembles.
    Annealed,
    /// Particles from noise to each end.
    Absolute,
    /// Those of `corrected`, `escorted` and `annealed` that are travelled, along energies that nobody trained.
    Untrained,
}

fn all_roads() -> Vec<RoadKind> {
    use RoadKind::{Absolute, Annealed, Classical, Corrected, Escorted, Learned, Scores, Untrained};
    vec![Classical, Learned, Scores, Corrected, Escorted, Annealed, Absolute, Untrained]
}

/// Frames of both ends; those that are not given are simulated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndsSettings {
    /// Frames at λ = 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vacuum: Option<FrameFiles>,
    /// Frames at λ = 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solvent: Option<FrameFiles>,
    /// The share of the frames that models do not see and estimates use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<f64>,
    /// How frames are simulated.
    pub simulation: EnsembleSettings,
}

impl EndsSettings {
    /// The share of held-out frames.
    pub fn held_out(&self) -> f64 {
        self.held_out.unwrap_or(0.3)
    }
}

impl SolvationConfig {
    /// Checks what can be checked without opening another file.
    pub fn validate(&self) -> Result<()> {
        check_directory_name("name", &self.name)?;
        if self.roads.is_empty() {
            return Err(Error::config("roads", "names no road", "leave it out for all of them"));
        }
        if let Some(twice) = self.roads.iter().enumerate().find(|(k, road)| self.roads[..*k].contains(road)) {
            return Err(Error::config("roads", format!("has {:?} twice", twice.1), ""));
        }
        for (kind, name) in [(RoadKind::Annealed, "annealed"), (RoadKind::Escorted, "escorted")] {
            if self.takes(kind) && !self.takes(RoadKind::Learned) {
                let message = format!("has `{name}` without `learned`: it follows a learned path");
                return Err(Error::config("roads", message, "add \"learned\""));
            }
        }
        if self.n_models == 0 || self.n_models > 100 {
            return Err(Error::config("n_models", format!("must be 1 to 100, found {}", self.n_models), ""));
        }
        let held_out = self.frames.held_out();
        if !(0.05..=0.9).contains(&held_out) {
            let message = format!("must lie between 0.05 and 0.9, found {held_out}");
            return Err(Error::config("frames.held_out", message, ""));
        }
        self.frames.simulation.validate("frames.simulation")?;
        self.learning.validate("learning")?;
        if !self.learning.learns_energies() {
            let message = "learns no energy";
            return Err(Error::config(
                "learning.train.stages",
                message,
                "a velocity belongs to `escorted.train`",
            ));
        }
        if !self.learning.noise.has_two_ends() {
            let message = "leads from data to noise, and there are two ensembles to join";
            return Err(Error::config("learning.noise.kind", message, "use kind = \"interpolant\""));
        }
        self.integration.validate("integration")?;
        self.escorted.validate("escorted", &self.learning)?;
        self.annealed.validate("annealed")?;
        self.corrected.validate("corrected")?;
        self.diffusion.learning().validate("diffusion")?;
        if self.diffusion.noise.has_two_ends() {
            let message = "joins two ensembles, and each end leads to noise";
            let hint = "known here: variance_preserving, variance_exploding, edm";
            return Err(Error::config("diffusion.noise.kind = \"interpolant\"", message, hint));
        }
        self.absolute.validate("absolute")
    }

    /// Whether a road is travelled.
    pub fn takes(&self, road: RoadKind) -> bool {
        self.roads.contains(&road)
    }

    /// Whether any road needs frames of both ends.
    pub fn needs_frames(&self) -> bool {
        self.roads.iter().any(|road| *road != RoadKind::Classical)
    }
}
