//! What a configuration file may say.
//!
//! Every key but `name` and a few of `[data]` has a default, so a short file works; a key or name
//! that is not known is an error. What each part computes with its settings stands in the module of
//! that part; here stand the settings of the stages of `kirkwood run` as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::comparison::noise_floor::MIN_SPLITS;
use crate::error::{Error, Result, at_least};
use crate::potential::Noise;
use crate::run::source::check_directory_name;
use crate::sampling::{
    LocalMove, ReplicaExchangeSettings, ReverseDiffusionSettings, SequentialMonteCarloSettings,
};
use crate::training::TrainSettings;
use crate::trajectory::{FrameRange, LengthUnit, SplitSettings};
use crate::units::{Rate, Temperature, Time};

/// A configuration. A plan is one as well, with every default written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the run is called; results go to `runs/NAME`.
    pub name: String,
    /// Seed of all random numbers.
    #[serde(default = "one")]
    pub seed: u64,
    /// Where tensors live: `cpu`, `cuda`, `cuda:1`.
    #[serde(default = "cpu")]
    pub device: String,
    /// The trajectory to learn from.
    pub data: DataSettings,
    /// Collective variables of profiles and histograms: the first two span the surface. Absent: the
    /// dihedral angles along the chain of beads, or distances where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collective_variables: Vec<NamedSettings>,
    /// Regions of the collective variables whose populations are reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<StateSettings>,
    /// The learned energy.
    #[serde(default)]
    pub model: ModelSettings,
    /// How it is learned.
    #[serde(default)]
    pub train: TrainSettings,
    /// What is drawn from it.
    #[serde(default)]
    pub sample: SampleSettings,
    /// Free energies.
    #[serde(default)]
    pub estimate: EstimateSettings,
    /// Comparison with held-out frames.
    #[serde(default)]
    pub compare: CompareSettings,
    /// The report.
    #[serde(default)]
    pub report: ReportSettings,
    /// Tables that overlay this configuration, each a run of its own beside the main one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variants: BTreeMap<String, toml::Table>,
}

fn one() -> u64 {
    1
}

fn cpu() -> String {
    "cpu".into()
}

/// The learned energy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// How data become noise.
    pub noise: Noise,
    /// `kind` of the network and its settings.
    pub network: toml::Table,
}

impl Default for ModelSettings {
    fn default() -> Self {
        let network = [("kind".to_string(), toml::Value::String("whitened".into()))];
        Self { noise: Noise::default(), network: network.into_iter().collect() }
    }
}

/// The trajectory to learn from. Paths are relative to the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// Atoms and bonds: PDB, prmtop, GRO, …; may be absent where the trajectory states its atoms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<PathBuf>,
    /// One file or several, read one after the other.
    #[serde(deserialize_with = "one_or_many")]
    pub trajectory: Vec<PathBuf>,
    /// A table with a row for each frame and a column `log_weight` or `weight`, as `kirkwood reweight --out` writes it:
    /// frames are drawn in proportion, for data with a bias or of several temperatures. Absent: all weigh the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// The temperature of the simulation that made the frames, or to which the weights bring them.
    pub temperature: Temperature,
    /// One bead per atom of this selection, for example `name C N CA`; absent: every atom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<String>,
    /// One bead per entry, as weighted centre of several atoms; instead of `selection`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub centers: Vec<crate::system::CenterSettings>,
    /// The length unit of files that do not state one (`.npy`, `.npz`, `.pt`).
    #[serde(default)]
    pub array_unit: LengthUnit,
    /// Which frames are kept, counted over all files.
    #[serde(default)]
    pub frames: FrameRange,
    /// Which share of the frames the model learns from, which watches it, and which tests it.
    #[serde(default)]
    pub split: SplitSettings,
}

impl DataSettings {
    /// All files that are read.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.topology.iter().chain(&self.trajectory).chain(&self.weights)
    }
}

/// A name and the settings of what it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedSettings {
    /// How columns and files are named after it.
    pub name: String,
    /// `kind` and the settings of that kind.
    #[serde(flatten)]
    pub settings: toml::Table,
}

/// A region: an interval `[from, to]` for each collective variable that matters.
///
/// The interval of an angle may cross ±180 degrees: `["120 deg", "-120 deg"]` contains 180 degrees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateSettings {
    /// How its population is called in `summary.json`.
    pub name: String,
    /// How it is called in figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Name of a collective variable → its interval.
    #[serde(flatten)]
    pub bounds: toml::Table,
}

/// The parts of the sampling stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Independent samples by reverse diffusion.
    Iid,
    /// Langevin dynamics at the data end, in physical units.
    Langevin,
    /// Exact equilibrium of the learned energy at the data end, by Monte Carlo.
    Equilibrium,
    /// Sequential Monte Carlo along the learned path.
    Smc,
    /// Replica exchange over the levels of the learned path.
    ReplicaExchange,
}

impl Part {
    /// All parts, in the order in which they run.
    pub const ALL: [Self; 5] =
        [Self::Iid, Self::Langevin, Self::Equilibrium, Self::Smc, Self::ReplicaExchange];

    /// As in configurations and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iid => "iid",
            Self::Langevin => "langevin",
            Self::Equilibrium => "equilibrium",
            Self::Smc => "smc",
            Self::ReplicaExchange => "replica_exchange",
        }
    }
}

/// What is drawn from the learned energy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleSettings {
    /// Which parts run.
    pub parts: Vec<Part>,
    /// How many conformations each ensemble has.
    pub n_samples: usize,
    /// Independent samples: time runs backwards from noise to data.
    pub reverse_diffusion: ReverseDiffusionSettings,
    /// Langevin dynamics at the data end.
    pub langevin: LangevinSettings,
    /// Monte Carlo at the data end.
    pub equilibrium: EquilibriumSettings,
    /// Sequential Monte Carlo from the noise end to the data end.
    pub smc: SequentialMonteCarloSettings,
    /// Replica exchange between noise end and data end.
    pub replica_exchange: ReplicaSettings,
}

impl Default for SampleSettings {
    fn default() -> Self {
        Self {
            parts: Part::ALL.to_vec(),
            n_samples: 50_000,
            reverse_diffusion: ReverseDiffusionSettings { n_steps: 400, ..Default::default() },
            langevin: LangevinSettings::default(),
            equilibrium: EquilibriumSettings::default(),
            smc: SequentialMonteCarloSettings { n_particles: 50_000, ..Default::default() },
            replica_exchange: ReplicaSettings::default(),
        }
    }
}

/// Langevin dynamics of the beads with their masses on the learned energy at the data end.
///
/// Walkers start equally in every state, whatever its population, and what they do before
/// `relaxation` is dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LangevinSettings {
    /// Time step; beads of heavy atoms want at most 2 fs.
    pub time_step: Time,
    /// Friction.
    pub friction: Rate,
    /// Independent walkers.
    pub n_walkers: usize,
    /// Simulated time of one walker, with relaxation.
    pub duration: Time,
    /// The first part of it, which is dropped.
    pub relaxation: Time,
}

impl Default for LangevinSettings {
    fn default() -> Self {
        let time = |ps| Time::from_ps(ps).expect("a positive constant");
        Self {
            time_step: time(0.002),
            friction: Rate::from_per_ps(1.0).expect("a positive constant"),
            n_walkers: 384,
            duration: time(250.0),
            relaxation: time(100.0),
        }
    }
}

/// Torsion-pivot Monte Carlo with local moves on the learned energy at the data end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EquilibriumSettings {
    /// Independent walkers, started equally in every state.
    pub n_walkers: usize,
    /// Cycles that are dropped; the step adapts during the first of them.
    pub n_relaxation: usize,
    /// Cycles of each walker that count: local moves, then one pivot.
    pub n_cycles: usize,
    /// Local moves per cycle.
    pub n_local_moves: usize,
    /// The kernel of the local moves.
    pub local_move: LocalMove,
    /// Ways through noise and back, which join states that neither local moves nor pivots join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renoising: Option<RenoisingSettings>,
}

/// Ways of walkers at the data end through noise and back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RenoisingSettings {
    /// Steps from data to noise at equal distances in log(a²/g²); a way turns at one of them.
    pub n_steps: usize,
    /// Cycles between two ways.
    pub every: usize,
}

impl Default for RenoisingSettings {
    fn default() -> Self {
        Self { n_steps: 100, every: 20 }
    }
}

impl Default for EquilibriumSettings {
    fn default() -> Self {
        Self {
            n_walkers: 1024,
            n_relaxation: 300,
            n_cycles: 1000,
            n_local_moves: 5,
            local_move: LocalMove::default(),
            renoising: None,
        }
    }
}

/// Replica exchange over levels of the path, whose samples go into MBAR and thermodynamic integration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplicaSettings {
    /// Levels, the two ends included.
    pub n_levels: usize,
    /// Independent ladders: their spread is the standard error.
    pub n_ladders: usize,
    /// Local moves at every level between two swaps.
    pub n_local_moves: usize,
    /// Rounds in which the levels are placed anew.
    pub n_placements: usize,
    /// Sweeps of the first round; each round has twice as many as the one before.
    pub n_placement_sweeps: usize,
    /// Sweeps that are dropped after the last placement.
    pub n_relaxation: usize,
    /// Sweeps that count.
    pub n_sweeps: usize,
    /// Every how many sweeps a conformation of every level is kept.
    pub keep_every: usize,
    /// The kernel of the local moves.
    pub local_move: LocalMove,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        let defaults = ReplicaExchangeSettings::default();
        Self {
            n_levels: defaults.n_levels,
            n_ladders: 48,
            n_local_moves: defaults.n_local_moves,
            n_placements: defaults.n_placements,
            n_placement_sweeps: defaults.n_placement_sweeps,
            n_relaxation: defaults.n_burn_in,
            n_sweeps: 1000,
            keep_every: 5,
            local_move: defaults.local_move,
        }
    }
}

impl ReplicaSettings {
    /// The same for the sampler.
    pub fn sampler(&self) -> ReplicaExchangeSettings {
        ReplicaExchangeSettings {
            n_levels: self.n_levels,
            n_ladders: self.n_ladders,
            n_local_moves: self.n_local_moves,
            n_placements: self.n_placements,
            n_placement_sweeps: self.n_placement_sweeps,
            n_burn_in: self.n_relaxation,
            record_every: self.keep_every,
            local_move: self.local_move,
        }
    }
}

/// Free energies along the path and profiles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EstimateSettings {
    /// Every how many kept sweeps of replica exchange go into MBAR; thermodynamic integration uses all.
    pub mbar_every: usize,
    /// Resamples of the block bootstrap.
    pub n_bootstrap: usize,
    /// Bins of a profile along one collective variable.
    pub n_bins: usize,
    /// Bins along each of two collective variables.
    pub n_bins_2d: usize,
}

impl Default for EstimateSettings {
    fn default() -> Self {
        Self { mbar_every: 4, n_bootstrap: 50, n_bins: 72, n_bins_2d: 36 }
    }
}

/// Comparison with held-out frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompareSettings {
    /// Bins along each collective variable of histograms and profiles; metrics have 64, as published.
    pub n_bins: usize,
    /// Random splits of the data from which the noise floor is taken.
    pub n_floor_splits: usize,
    /// Blocks of samples behind standard errors.
    pub n_blocks: usize,
}

impl Default for CompareSettings {
    fn default() -> Self {
        Self { n_bins: 64, n_floor_splits: 20, n_blocks: 20 }
    }
}

/// The report.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportSettings {
    /// Its heading; absent: the name of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the main configuration is called beside its variants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Published numbers that are shown beside those of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub literature: Option<Literature>,
}

/// Systems with published numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Literature {
    /// Five backbone beads of alanine dipeptide (arXiv 2601.21025).
    AlanineDipeptide,
}

impl Config {
    /// Checks what can be checked without opening another file.
    pub fn validate(&self) -> Result<()> {
        for (place, name) in std::iter::once(("name".to_string(), &self.name))
            .chain(self.variants.keys().map(|name| (format!("variants.{name}"), name)))
        {
            check_directory_name(&place, name)?;
        }
        if self.data.trajectory.is_empty() {
            return Err(Error::config("data.trajectory", "names no file", ""));
        }
        self.model.noise.validate("model.noise")?;
        if self.model.noise.has_two_ends() {
            let message = "joins two ensembles, and there is one";
            let hint = "known here: variance_preserving, variance_exploding, edm";
            return Err(Error::config("model.noise.kind = \"interpolant\"", message, hint));
        }
        self.train.validate("train")?;
        self.sample.validate()?;
        let n_kept = self.sample.replica_exchange.n_sweeps / self.sample.replica_exchange.keep_every;
        if self.estimate.mbar_every == 0 || self.estimate.mbar_every > n_kept {
            let place = format!("estimate.mbar_every = {}", self.estimate.mbar_every);
            let message = format!("must be from 1 to the {n_kept} sweeps that replica exchange keeps");
            return Err(Error::config(place, message, ""));
        }
        at_least("estimate.n_bootstrap", self.estimate.n_bootstrap, 2)?;
        at_least("estimate.n_bins", self.estimate.n_bins, 2)?;
        at_least("estimate.n_bins_2d", self.estimate.n_bins_2d, 2)?;
        at_least("compare.n_bins", self.compare.n_bins, 2)?;
        at_least("compare.n_floor_splits", self.compare.n_floor_splits, MIN_SPLITS)?;
        at_least("compare.n_blocks", self.compare.n_blocks, 2)
    }
}

impl SampleSettings {
    fn validate(&self) -> Result<()> {
        at_least("sample.n_samples", self.n_samples, 2)?;
        self.reverse_diffusion.validate("sample.reverse_diffusion")?;
        let langevin = &self.langevin;
        at_least("sample.langevin.n_walkers", langevin.n_walkers, 2)?;
        if langevin.time_step.as_ps() == 0.0 {
            return Err(Error::config("sample.langevin.time_step", "must be more than 0", ""));
        }
        if langevin.duration <= langevin.relaxation {
            let message = format!("must be more than the relaxation of {}", langevin.relaxation);
            return Err(Error::config(
                format!("sample.langevin.duration = \"{}\"", langevin.duration),
                message,
                "",
            ));
        }
        let equilibrium = &self.equilibrium;
        at_least("sample.equilibrium.n_walkers", equilibrium.n_walkers, 2)?;
        at_least("sample.equilibrium.n_cycles", equilibrium.n_cycles, 1)?;
        at_least("sample.equilibrium.n_local_moves", equilibrium.n_local_moves, 1)?;
        equilibrium.local_move.validate("sample.equilibrium.local_move")?;
        if let Some(renoising) = equilibrium.renoising {
            at_least("sample.equilibrium.renoising.n_steps", renoising.n_steps, 1)?;
            at_least("sample.equilibrium.renoising.every", renoising.every, 1)?;
            if 2 * renoising.every > equilibrium.n_cycles {
                return Err(Error::config(
                    format!("sample.equilibrium.renoising.every = {}", renoising.every),
                    format!("must be at most half of n_cycles = {}", equilibrium.n_cycles),
                    "otherwise no walker goes through noise while frames are recorded",
                ));
            }
        }
        self.smc.validate("sample.smc")?;
        let exchange = &self.replica_exchange;
        // Under the name that it has here; the sampler calls it `record_every`.
        at_least("sample.replica_exchange.keep_every", exchange.keep_every, 1)?;
        exchange.sampler().validate("sample.replica_exchange")?;
        at_least("sample.replica_exchange.n_ladders", exchange.n_ladders, 2)?;
        at_least("sample.replica_exchange.n_sweeps", exchange.n_sweeps, 2 * exchange.keep_every)
    }
}

/// Reads `"file"` and `["file", "file"]`.
pub(in crate::run) fn one_or_many<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<PathBuf>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<PathBuf>;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a file name or a list of file names")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Self::Value, E> {
            Ok(vec![text.into()])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            mut sequence: A,
        ) -> std::result::Result<Self::Value, A::Error> {
            let mut files = Vec::new();
            while let Some(file) = sequence.next_element::<PathBuf>()? {
                files.push(file);
            }
            Ok(files)
        }
    }
    deserializer.deserialize_any(Visitor)
}
