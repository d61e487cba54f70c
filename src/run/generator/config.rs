//! What the configuration of a Boltzmann generator may say.
//!
//! Only `kind`, `name` and `system.topology` have no default. A key that is not known is an error.
//! `examples/boltzmann_generator/alanine_dipeptide.toml` is a configuration that works.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::bias::BiasSettings;
use crate::error::{Error, Result, at_least};
use crate::run::config::{ModelSettings, NamedSettings, ReplicaSettings, StateSettings, one_or_many};
use crate::run::ensemble::EnsembleSettings;
use crate::run::simulate::config::SystemSettings;
use crate::run::source::check_directory_name;
use crate::sampling::{
    AnnealedImportanceSettings, LocalMove, ParticleDiffusionSettings, ReverseDiffusionSettings,
    SequentialMonteCarloSettings, SwitchingSettings,
};
use crate::training::TrainSettings;
use crate::trajectory::{FrameRange, LengthUnit, SplitSettings};
use crate::units::{Temperature, Time};

/// Blocks into which independent conformations are divided for errors.
pub(super) const N_BLOCKS: usize = 32;

/// The value of `kind` by which this configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `boltzmann_generator`
    BoltzmannGenerator,
}

/// A configuration of a Boltzmann generator. A plan is one as well, with every default written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorConfig {
    /// `boltzmann_generator`.
    pub kind: Kind,
    /// What the run is called; results go to `runs/NAME`.
    pub name: String,
    /// Seed of all random numbers.
    #[serde(default = "one")]
    pub seed: u64,
    /// Where the network is evaluated: `cpu`, `cuda`, `cuda:1`.
    #[serde(default = "cpu")]
    pub device: String,
    /// The molecule and its physical energy.
    pub system: SystemSettings,
    /// The frames to learn from.
    #[serde(default)]
    pub data: FrameSettings,
    /// Collective variables of populations and surfaces; the first two span the surface. Absent: φ and ψ
    /// and the other dihedrals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collective_variables: Vec<NamedSettings>,
    /// Regions of the collective variables whose populations are reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<StateSettings>,
    /// The learned energy.
    #[serde(default)]
    pub model: ModelSettings,
    /// How it is learned; forces of the frames are known.
    #[serde(default = "TrainSettings::of_atoms")]
    pub train: TrainSettings,
    /// What is drawn from the learned energy.
    #[serde(default)]
    pub generate: GenerateSettings,
    /// Annealing from the learned to the physical energy.
    #[serde(default)]
    pub correct: CorrectSettings,
    /// Replica exchange from noise to the physical energy, for MBAR.
    #[serde(default = "exchange")]
    pub replica_exchange: ReplicaSettings,
    /// Other states to which the corrected ensemble is reweighted.
    #[serde(default)]
    pub reweight: ReweightSettings,
    /// Direct simulations that everything is compared with.
    #[serde(default)]
    pub reference: ReferenceSettings,
}

fn one() -> u64 {
    1
}

fn cpu() -> String {
    "cpu".into()
}

/// Frames at equilibrium, read or simulated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FrameSettings {
    /// The temperature of the frames and of the physical energy.
    pub temperature: Temperature,
    /// All atoms in the order of the topology; absent: simulated here.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub trajectory: Vec<PathBuf>,
    /// The length unit of files that do not state one.
    pub array_unit: LengthUnit,
    /// Which frames of the files are kept.
    pub frames: FrameRange,
    /// Which share the model learns from, which watches it, and which is left.
    pub split: SplitSettings,
    /// How frames are simulated where no file is given.
    pub simulate: EnsembleSettings,
    /// Terms on torsions that make rare conformations less rare in simulated frames.
    pub bias: BiasSettings,
}

impl Default for FrameSettings {
    fn default() -> Self {
        Self {
            temperature: Temperature::from_kelvin(300.0).expect("a positive constant"),
            trajectory: Vec::new(),
            array_unit: LengthUnit::default(),
            frames: FrameRange::default(),
            split: SplitSettings::default(),
            simulate: EnsembleSettings::default(),
            bias: BiasSettings::default(),
        }
    }
}

/// What is drawn from the learned energy alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateSettings {
    /// Conformations by reverse diffusion.
    pub n_samples: usize,
    /// How they are drawn.
    pub reverse_diffusion: ReverseDiffusionSettings,
    /// The same with a Metropolis–Hastings correction of every step; 0: left out.
    pub n_corrected: usize,
    /// Weighted particles, carried by reverse diffusion and resampled on the way.
    pub particle_diffusion: ParticleDiffusionSettings,
    /// Weighted walkers, annealed along the learned energies and never resampled: what is corrected afterwards.
    pub annealed: AnnealedImportanceSettings,
}

impl Default for GenerateSettings {
    fn default() -> Self {
        Self {
            n_samples: 20_000,
            reverse_diffusion: ReverseDiffusionSettings::default(),
            n_corrected: 4096,
            annealed: AnnealedImportanceSettings::default(),
            particle_diffusion: ParticleDiffusionSettings {
                n_steps: 400,
                further_lambdas: Vec::new(),
                particles: SequentialMonteCarloSettings { n_moves: 1, ..Default::default() },
            },
        }
    }
}

/// Annealed importance sampling of the annealed walkers from the learned energy at the data end to the physical one, along
/// u = (1 − λ) u_learned + λ u_physical.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorrectSettings {
    /// Levels from λ = 0 to λ = 1 at equal distances, both ends included.
    pub n_levels: usize,
    /// Moves at the levels.
    pub switching: SwitchingSettings,
}

impl Default for CorrectSettings {
    fn default() -> Self {
        let local_move = LocalMove::Hmc { n_leapfrog: 5, target_acceptance: 0.75 };
        let switching =
            SwitchingSettings { n_moves: 1, local_move, first_step: 0.02, ..SwitchingSettings::default() };
        Self { n_levels: 17, switching }
    }
}

fn exchange() -> ReplicaSettings {
    ReplicaSettings {
        n_levels: 40,
        n_ladders: 16,
        n_sweeps: 1000,
        n_local_moves: 1,
        local_move: LocalMove::Hmc { n_leapfrog: 5, target_acceptance: 0.75 },
        ..ReplicaSettings::default()
    }
}

/// States that are reached by weights alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReweightSettings {
    /// Other temperatures of the same energy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<Temperature>,
    /// Other solvents at the temperature of the frames: `none`, `obc1`, `obc2` or `gbn2`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub implicit_solvents: Vec<String>,
}

/// Simulations of the physical energy, of every state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReferenceSettings {
    /// Dynamics with rotations about bonds: what the generated ensembles are compared with.
    pub ensemble: EnsembleSettings,
    /// Dynamics without rotations, to compare its cost.
    pub plain: EnsembleSettings,
    /// Parallel tempering, to compare its cost.
    pub tempering: TemperingSettings,
}

impl Default for ReferenceSettings {
    fn default() -> Self {
        let time = |ps| Time::from_ps(ps).expect("a positive constant");
        let plain = EnsembleSettings {
            n_frames: 20_000,
            every: time(1.0),
            n_walkers: 32,
            pivots: false,
            ..EnsembleSettings::default()
        };
        Self { ensemble: EnsembleSettings::default(), plain, tempering: TemperingSettings::default() }
    }
}

/// Parallel tempering with Monte Carlo moves of all atoms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemperingSettings {
    /// Whether it is done.
    pub enabled: bool,
    /// The highest temperature.
    pub highest: Temperature,
    /// Ladders and sweeps.
    pub exchange: ReplicaSettings,
}

impl Default for TemperingSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            highest: Temperature::from_kelvin(700.0).expect("a positive constant"),
            exchange: ReplicaSettings {
                n_levels: 8,
                n_ladders: 32,
                n_local_moves: 5,
                n_placements: 3,
                n_sweeps: 1000,
                local_move: LocalMove::Hmc { n_leapfrog: 8, target_acceptance: 0.75 },
                ..ReplicaSettings::default()
            },
        }
    }
}

impl GeneratorConfig {
    /// Checks what can be checked without opening another file.
    pub fn validate(&self) -> Result<()> {
        check_directory_name("name", &self.name)?;
        self.model.noise.validate("model.noise")?;
        if self.model.noise.has_two_ends() {
            let message = "joins two ensembles, and there is one";
            let hint = "known here: variance_preserving, variance_exploding, edm";
            return Err(Error::config("model.noise.kind = \"interpolant\"", message, hint));
        }
        self.train.validate("train")?;
        self.data.simulate.validate("data.simulate")?;
        self.data.bias.validate("data.bias")?;
        if !self.data.bias.torsions.is_empty() && !self.data.trajectory.is_empty() {
            let message = "is for frames that are simulated, and `data.trajectory` is given";
            return Err(Error::config("data.bias.torsions", message, "leave one of the two out"));
        }
        at_least("generate.n_samples", self.generate.n_samples, 2 * N_BLOCKS)?;
        self.generate.reverse_diffusion.validate("generate.reverse_diffusion")?;
        self.generate.particle_diffusion.validate("generate.particle_diffusion")?;
        if !self.generate.particle_diffusion.further_lambdas.is_empty() {
            let message = "the physical energy is reached in `correct`; the particles end at the data end";
            return Err(Error::config(
                "generate.particle_diffusion.further_lambdas",
                message,
                "leave it out",
            ));
        }
        self.generate.annealed.validate("generate.annealed")?;
        at_least("generate.annealed.n_walkers", self.generate.annealed.n_walkers, 2 * N_BLOCKS)?;
        if self.generate.n_corrected > 0 {
            at_least("generate.n_corrected", self.generate.n_corrected, 2 * N_BLOCKS)?;
        }
        at_least("correct.n_levels", self.correct.n_levels, 2)?;
        self.correct.switching.validate("correct.switching")?;
        for (place, exchange, enabled) in [
            ("replica_exchange", &self.replica_exchange, true),
            (
                "reference.tempering.exchange",
                &self.reference.tempering.exchange,
                self.reference.tempering.enabled,
            ),
        ] {
            if enabled {
                at_least(format!("{place}.keep_every"), exchange.keep_every, 1)?;
                exchange.sampler().validate(place)?;
                at_least(format!("{place}.n_ladders"), exchange.n_ladders, 2)?;
                at_least(format!("{place}.n_sweeps"), exchange.n_sweeps, 2 * exchange.keep_every)?;
            }
        }
        self.reference.ensemble.validate("reference.ensemble")?;
        self.reference.plain.validate("reference.plain")?;
        for (place, ensemble) in
            [("reference.ensemble", &self.reference.ensemble), ("reference.plain", &self.reference.plain)]
        {
            // The spread over walkers is the error.
            at_least(format!("{place}.n_walkers"), ensemble.n_walkers, 2)?;
        }
        if self.reference.tempering.enabled && self.reference.tempering.highest <= self.data.temperature {
            let message = format!("must be above the {} of the frames", self.data.temperature);
            return Err(Error::config("reference.tempering.highest", message, ""));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> GeneratorConfig {
        let head =
            "kind = \"boltzmann_generator\"\nname = \"a\"\n[system]\ntopology = \"alanine_dipeptide\"\n";
        toml::from_str(&format!("{head}{text}")).unwrap()
    }

    #[test]
    fn three_keys_suffice_and_what_is_written_reads_back() {
        let config = parse("[reweight]\ntemperatures = [\"350 K\"]\nimplicit_solvents = [\"obc2\"]\n");
        config.validate().unwrap();
        let again: GeneratorConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        let kinds = config.train.stages.iter().map(|stage| stage.objectives[0]["kind"].as_str());
        assert!(kinds.into_iter().all(|kind| kind == Some("target_score_matching")));
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        for (text, place) in [
            ("[generate]\nn_samples = 0", "generate.n_samples"),
            ("[correct]\nn_levels = 1", "correct.n_levels"),
            ("[correct.switching]\nfirst_step = 0.0", "correct.switching.first_step"),
            ("[generate.particle_diffusion]\nfurther_lambdas = [2.0]", "further_lambdas"),
            ("[reference.tempering]\nhighest = \"250 K\"", "reference.tempering.highest"),
        ] {
            let message = parse(text).validate().unwrap_err().to_string();
            assert!(message.contains(place), "{place}: {message}");
        }
    }
}
