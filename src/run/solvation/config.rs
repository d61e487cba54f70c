//! What the configuration of a solvation free energy by several roads may say.
//!
//! Only `kind`, `name` and `system.topology` have no default. The files in `examples/solvation` work as they stand.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::data::Pairing;
use crate::potential::{AlchemicalPath, Noise};
use crate::run::ensemble::EnsembleSettings;
use crate::run::frames::FrameFiles;
use crate::run::simulate::config::SystemSettings;
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
    /// The molecule, in its implicit solvent.
    pub system: SystemSettings,
    /// Of both ensembles.
    #[serde(default)]
    pub temperature: Temperature,
    /// What the molecule gains on its way into the solvent.
    #[serde(default)]
    pub process: Process,
    /// Which roads are travelled; absent: all.
    #[serde(default = "all_roads")]
    pub roads: Vec<RoadName>,
    /// The ensembles at both ends.
    #[serde(default)]
    pub frames: FramesSettings,
    /// Windows, replica exchange and switching of the physical energy.
    #[serde(default)]
    pub classical: super::classical::ClassicalSettings,
    /// The energy between the two ensembles.
    #[serde(default)]
    pub model: ModelSettings,
    /// How the energies are learned, with classification; without it the same steps are score matching alone.
    #[serde(default)]
    pub train: TrainSettings,
    /// Thermodynamic integration and the direct estimator.
    #[serde(default)]
    pub learned: LearnedRoads,
    /// Switching, sequential Monte Carlo and MBAR along the learned energies.
    #[serde(default)]
    pub corrected: super::corrected::CorrectedSettings,
    /// From the noise to each end.
    #[serde(default)]
    pub absolute: super::absolute::AbsoluteSettings,
}
