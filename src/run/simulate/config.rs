//! What the configuration of a simulation may say.
//!
//! Only `name` and `system.topology` have no default. A key that is not known is an error. The whole
//! file of `examples/simulate/parallel_tempering.toml` is a configuration that works.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, at_least};
use crate::force_field::molecular_system::{self, MolecularSystem, SystemRequest};
use crate::run::source::{Source, check_directory_name};
use crate::sampling::geometric_temperatures;
use crate::units::{Mass, Rate, Temperature, Time};

/// A configuration of `kirkwood simulate`. A plan is one as well, with every default written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulationConfig {
    /// What the run is called; results go to `runs/NAME`.
    pub name: String,
    /// Seed of all random numbers.
    #[serde(default = "one")]
    pub seed: u64,
    /// What is simulated.
    pub system: SystemSettings,
    /// Where walkers start.
    #[serde(default)]
    pub start: StartSettings,
    /// How walkers move.
    #[serde(default)]
    pub dynamics: MotionSettings,
    /// Monte Carlo rotations about bonds, besides the dynamics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pivots: Option<PivotSettings>,
    /// Exchanges along a ladder of temperatures or of λ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_exchange: Option<ExchangeSettings>,
    /// Independent simulations at several λ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda_windows: Option<WindowSettings>,
    /// What is written.
    #[serde(default)]
    pub output: OutputSettings,
    /// When the result is called trustworthy.
    #[serde(default)]
    pub verdict: VerdictSettings,
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

/// What is simulated. Paths are relative to the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemSettings {
    /// The name of a shipped system, an AMBER prmtop, a serialised OpenMM System, or a PDB with
    /// `force_field`.
    pub topology: String,
    /// Positions: PDB, inpcrd, rst7, …; absent: those that belong to the topology, or `start.structures`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structure: Option<PathBuf>,
    /// `none`, `obc1`, `obc2` or `gbn2`; absent: that of the topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implicit_solvent: Option<String>,
    /// Whether implicit solvent has its surface-area term.
    #[serde(default = "yes")]
    pub surface_area: bool,
    /// For a PDB: a force field of `kirkwood list force_fields`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_field: Option<String>,
}

impl SystemSettings {
    /// Makes paths absolute; a topology that is no file is left to be a name.
    pub fn resolve_paths(&mut self, source: &Source) -> Result<()> {
        let topology = PathBuf::from(&self.topology);
        if source.directory().join(&topology).is_file() || topology.extension().is_some() {
            self.topology = source.existing("system.topology", &topology)?.display().to_string();
        }
        if let Some(structure) = &mut self.structure {
            *structure = source.existing("system.structure", structure)?;
        }
        Ok(())
    }

    /// The molecule; its solvent may be replaced.
    pub fn load(&self, solvent: Option<&str>) -> Result<MolecularSystem> {
        let request = SystemRequest {
            topology: self.topology.clone().into(),
            structure: self.structure.clone(),
            implicit_solvent: solvent.map(str::to_string).or_else(|| self.implicit_solvent.clone()),
            surface_area: Some(self.surface_area),
            force_field: self.force_field.clone(),
        };
        molecular_system::load(&request).map_err(|mut error| {
            // The same error with the key path that a configuration has.
            if let Error::Config { place, .. } = &mut error {
                *place = format!("system.{place}");
            }
            error
        })
    }
}

/// Where walkers start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartSettings {
    /// Whether energies are minimised before dynamics.
    pub minimize: bool,
    /// Structures and trajectories over whose frames the walkers are dealt in turn; empty: the structure
    /// of the system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub structures: Vec<PathBuf>,
}

impl Default for StartSettings {
    fn default() -> Self {
        Self { minimize: true, structures: Vec::new() }
    }
}

/// What moves the walkers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Integrator {
    /// BAOAB Langevin dynamics (Leimkuhler and Matthews 2013).
    Langevin,
    /// Hamiltonian Monte Carlo, exact for any step. Its time counts gradients: a move of L leapfrog steps
    /// counts as L time steps; the true step is adapted to the acceptance during equilibration.
    Hmc,
    /// Metropolis-adjusted Langevin, exact for any step. A move counts as one time step.
    Mala,
}

/// Distances that are held fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraints {
    /// None but those that the topology itself states.
    None,
    /// Bonds to hydrogen as well.
    HydrogenBonds,
}

/// How walkers move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MotionSettings {
    /// `langevin`, `hmc` or `mala`.
    pub integrator: Integrator,
    /// Temperature; a ladder of temperatures begins with it.
    pub temperature: Temperature,
    /// Time step. 2 fs want constraints on bonds to hydrogen, 4 fs heavier hydrogens besides.
    pub time_step: Time,
    /// Friction of Langevin dynamics.
    pub friction: Rate,
    /// `none` or `hydrogen_bonds`; absent: `hydrogen_bonds` for Langevin dynamics, `none` for Monte Carlo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraints: Option<Constraints>,
    /// Mass of every hydrogen, taken from the atom it is bonded to; absent: as in the topology.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hydrogen_mass: Option<Mass>,
    /// Leapfrog steps of a move of `hmc`.
    pub n_leapfrog: usize,
    /// Walkers in each state: ladders of replica exchange, walkers of a window; absent: 16 of a single
    /// state, 1 of each of several. Sixteen walkers share the registers of one core, so 16 × cores of
    /// them, all states together, fill the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_walkers: Option<usize>,
    /// Time of each walker that is not recorded; ladders and steps adapt in it.
    pub equilibration: Time,
    /// Time of each walker that is recorded.
    pub duration: Time,
    /// Time between recorded frames and energies.
    pub record_every: Time,
}

impl Default for MotionSettings {
    fn default() -> Self {
        let time = |ps| Time::from_ps(ps).expect("a positive constant");
        Self {
            integrator: Integrator::Langevin,
            temperature: Temperature::from_kelvin(300.0).expect("a positive constant"),
            time_step: time(0.002),
            friction: Rate::from_per_ps(1.0).expect("a positive constant"),
            constraints: None,
            hydrogen_mass: None,
            n_leapfrog: 8,
            n_walkers: None,
            equilibration: time(100.0),
            duration: time(1000.0),
            record_every: time(1.0),
        }
    }
}

/// Rotations of one side of a bond by a uniform angle, accepted by Metropolis' rule.
///
/// They cross barriers of torsions quickly; averages stay exact, but the sequence of frames is no
/// physical motion any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PivotSettings {
    /// Time between attempts of each walker.
    pub every: Time,
    /// `backbone` (φ and ψ), `all` (every rotatable bond but peptide bonds and those that only turn
    /// hydrogens), or pairs of atoms counted from 0. Two of them that share an atom are also turned together.
    #[serde(default)]
    pub bonds: PivotBonds,
}

/// About which bonds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"backbone\", \"all\" or a list of pairs of atoms such as [[6, 8], [8, 14]]"
)]
pub enum PivotBonds {
    /// By a word.
    Named(NamedBonds),
    /// One by one.
    Pairs(Vec<[usize; 2]>),
}

impl Default for PivotBonds {
    fn default() -> Self {
        Self::Named(NamedBonds::Backbone)
    }
}

/// Bonds by a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedBonds {
    /// N–CA and CA–C of amino acids.
    Backbone,
    /// Every single bond whose turning moves heavy atoms.
    All,
}

/// Which energy terms λ turns on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LambdaPath {
    /// λ multiplies the charges of generalised Born.
    GbCharges,
    /// λ turns on the whole implicit solvent with its surface term.
    ImplicitSolvent,
    /// λ multiplies the charges of `atoms`.
    Charges,
    /// λ turns on Lennard-Jones of `atoms` with a soft core.
    SoftCore,
}

/// Along what a ladder goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LadderKind {
    /// Parallel tempering.
    Temperature,
    /// Hamiltonian replica exchange.
    Lambda,
}

/// Exchanges along a ladder of temperatures or of λ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeSettings {
    /// `temperature` or `lambda`.
    pub kind: LadderKind,
    /// Lowest of a geometric ladder; absent: `dynamics.temperature`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest: Option<Temperature>,
    /// Highest of a geometric ladder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<Temperature>,
    /// States of a geometric ladder of temperatures, or of λ at equal distances from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_replicas: Option<usize>,
    /// The temperatures one by one, instead of `lowest`, `highest` and `n_replicas`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<Temperature>,
    /// Of a ladder of λ: `gb_charges`, `charges` or `soft_core`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<LambdaPath>,
    /// Of a ladder of λ: its values one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lambdas: Vec<f64>,
    /// Which atoms `charges` and `soft_core` act on; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atoms: Option<String>,
    /// Time between attempted exchanges.
    #[serde(default = "one_ps")]
    pub every: Time,
    /// Whether inner states are moved during equilibration until all neighbours exchange equally often.
    /// Absent: yes, unless the states are given one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapt: Option<bool>,
}

fn one_ps() -> Time {
    Time::from_ps(1.0).expect("a positive constant")
}

/// Independent simulations at several λ, for free energies by MBAR and thermodynamic integration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSettings {
    /// `gb_charges`, `charges` or `soft_core`.
    pub path: LambdaPath,
    /// Which atoms `charges` and `soft_core` act on; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atoms: Option<String>,
    /// λ of each window.
    pub lambdas: Vec<f64>,
}

/// Formats of trajectories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrajectoryFormat {
    /// Single precision.
    Dcd,
    /// 0.001 nm, compressed.
    Xtc,
    /// Text, 0.0001 nm.
    Pdb,
}

impl TrajectoryFormat {
    /// The extension of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Dcd => "dcd",
            Self::Xtc => "xtc",
            Self::Pdb => "pdb",
        }
    }
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSettings {
    /// `dcd`, `xtc` or `pdb`.
    pub format: TrajectoryFormat,
    /// Which atoms trajectories have, for example `name CA`.
    pub selection: String,
    /// Wall time between checkpoints.
    pub checkpoint_every_seconds: f64,
}

impl Default for OutputSettings {
    fn default() -> Self {
        Self { format: TrajectoryFormat::Dcd, selection: "all".into(), checkpoint_every_seconds: 60.0 }
    }
}

/// When the result is called trustworthy; where it is not, the exit code is 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerdictSettings {
    /// Least number of effective samples of the potential energy in each state.
    pub min_effective_samples: f64,
    /// Least number of round trips along the ladder, of all walkers together.
    pub min_round_trips: u64,
}

impl Default for VerdictSettings {
    fn default() -> Self {
        Self { min_effective_samples: 100.0, min_round_trips: 1 }
    }
}

impl SimulationConfig {
    /// Checks what can be checked without opening another file.
    pub fn validate(&self) -> Result<()> {
        check_directory_name("name", &self.name)?;
        self.dynamics.validate()?;
        if let Some(pivots) = &self.pivots {
            positive("pivots.every", pivots.every)?;
        }
        if let Some(exchange) = &self.replica_exchange {
            exchange.validate(self.dynamics.temperature)?;
            if self.lambda_windows.is_some() {
                let message = "windows do not exchange: give them as `replica_exchange` of kind \"lambda\", or leave \
                               `replica_exchange` out";
                return Err(Error::config("lambda_windows", message, ""));
            }
        }
        if let Some(windows) = &self.lambda_windows {
            require_lambdas("lambda_windows.lambdas", &windows.lambdas, 1)?;
            require_atoms("lambda_windows", windows.path, windows.atoms.is_some())?;
        }
        let seconds = self.output.checkpoint_every_seconds;
        if !(seconds >= 0.0 && seconds.is_finite()) {
            let place = format!("output.checkpoint_every_seconds = {seconds}");
            return Err(Error::config(place, "must be finite and not negative", ""));
        }
        Ok(())
    }
}

impl MotionSettings {
    fn validate(&self) -> Result<()> {
        positive("dynamics.time_step", self.time_step)?;
        positive("dynamics.duration", self.duration)?;
        positive("dynamics.record_every", self.record_every)?;
        if self.record_every > self.duration {
            let place = format!("dynamics.record_every = \"{}\"", self.record_every);
            return Err(Error::config(
                place,
                format!("must not exceed the duration of {}", self.duration),
                "",
            ));
        }
        at_least("dynamics.n_leapfrog", self.n_leapfrog, 1)?;
        if let Some(n) = self.n_walkers {
            at_least("dynamics.n_walkers", n, 1)?;
        }
        if self.integrator != Integrator::Langevin {
            if self.constraints == Some(Constraints::HydrogenBonds) {
                let message = "Monte Carlo moves every atom: constraints are for Langevin dynamics";
                return Err(Error::config("dynamics.constraints = \"hydrogen_bonds\"", message, ""));
            }
            if self.hydrogen_mass.is_some() {
                let message = "Monte Carlo knows no masses";
                return Err(Error::config("dynamics.hydrogen_mass", message, "leave it out"));
            }
        } else if self.friction.as_per_ps() == 0.0 {
            let message = "must be more than 0: without friction the energy, not the temperature, is kept";
            return Err(Error::config("dynamics.friction", message, ""));
        }
        Ok(())
    }
}

impl ExchangeSettings {
    fn validate(&self, temperature: Temperature) -> Result<()> {
        positive("replica_exchange.every", self.every)?;
        let foreign = |place: &str, given: bool, belongs: &str| {
            if !given {
                return Ok(());
            }
            let message = format!("belongs to a ladder of {belongs}");
            Err(Error::config(format!("replica_exchange.{place}"), message, "leave it out, or change `kind`"))
        };
        if let Some(n) = self.n_replicas {
            at_least("replica_exchange.n_replicas", n, 2)?;
        }
        match self.kind {
            LadderKind::Temperature => {
                foreign("path", self.path.is_some(), "λ")?;
                foreign("lambdas", !self.lambdas.is_empty(), "λ")?;
                foreign("atoms", self.atoms.is_some(), "λ")?;
                if self.temperatures.is_empty() {
                    let Some(highest) = self.highest else {
                        let message = "is missing: a ladder of temperatures needs it, or `temperatures`";
                        return Err(Error::config("replica_exchange.highest", message, ""));
                    };
                    let lowest = self.lowest.unwrap_or(temperature);
                    if highest <= lowest {
                        let place = format!("replica_exchange.highest = \"{highest}\"");
                        return Err(Error::config(place, format!("must be above the lowest, {lowest}"), ""));
                    }
                } else {
                    let given = [self.lowest.is_some(), self.highest.is_some(), self.n_replicas.is_some()];
                    let names = ["lowest", "highest", "n_replicas"];
                    if let Some((name, _)) = names.iter().zip(given).find(|(_, given)| *given) {
                        let message = "says again what `temperatures` says";
                        return Err(Error::config(
                            format!("replica_exchange.{name}"),
                            message,
                            "leave one out",
                        ));
                    }
                    let ascends = self.temperatures.windows(2).all(|pair| pair[0] < pair[1]);
                    if self.temperatures.len() < 2 || !ascends {
                        let message = "must be at least two temperatures that rise";
                        return Err(Error::config("replica_exchange.temperatures", message, ""));
                    }
                }
            }
            LadderKind::Lambda => {
                foreign("lowest", self.lowest.is_some(), "temperatures")?;
                foreign("highest", self.highest.is_some(), "temperatures")?;
                foreign("temperatures", !self.temperatures.is_empty(), "temperatures")?;
                let Some(path) = self.path else {
                    let message = "is missing: a ladder of λ needs it";
                    let hint = "known: gb_charges, implicit_solvent, charges, soft_core";
                    return Err(Error::config("replica_exchange.path", message, hint));
                };
                require_atoms("replica_exchange", path, self.atoms.is_some())?;
                if self.lambdas.is_empty() {
                    if self.n_replicas.is_none() {
                        let message = "is missing: a ladder of λ needs it, or `n_replicas`";
                        return Err(Error::config("replica_exchange.lambdas", message, ""));
                    }
                } else {
                    require_lambdas("replica_exchange.lambdas", &self.lambdas, 2)?;
                    let rises = self.lambdas.windows(2).all(|pair| pair[0] < pair[1]);
                    let falls = self.lambdas.windows(2).all(|pair| pair[0] > pair[1]);
                    if !rises && !falls {
                        let message = "must rise, or fall, along the ladder";
                        return Err(Error::config("replica_exchange.lambdas", message, ""));
                    }
                }
            }
        }
        Ok(())
    }

    /// The temperatures in K with which a ladder of temperatures begins.
    pub fn start_temperatures_k(&self, temperature: Temperature) -> Vec<f64> {
        if !self.temperatures.is_empty() {
            return self.temperatures.iter().map(|t| t.as_kelvin()).collect();
        }
        let lowest = self.lowest.unwrap_or(temperature).as_kelvin();
        let highest = self.highest.map_or(lowest, Temperature::as_kelvin);
        geometric_temperatures(lowest, highest, self.n_replicas.unwrap_or(DEFAULT_REPLICAS))
    }

    /// The λ with which a ladder of λ begins.
    pub fn start_lambdas(&self) -> Vec<f64> {
        if !self.lambdas.is_empty() {
            return self.lambdas.clone();
        }
        let last = self.n_replicas.unwrap_or(DEFAULT_REPLICAS).max(2) - 1;
        (0..=last).map(|k| k as f64 / last as f64).collect()
    }

    /// Whether the ladder is adapted during equilibration.
    pub fn adapts(&self) -> bool {
        self.adapt.unwrap_or(self.temperatures.is_empty() && self.lambdas.is_empty())
    }
}

/// States of a ladder of which only the ends are given.
pub const DEFAULT_REPLICAS: usize = 8;

fn positive(place: &str, time: Time) -> Result<()> {
    if time.as_ps() > 0.0 {
        return Ok(());
    }
    Err(Error::config(format!("{place} = \"{time}\""), "must be more than 0", ""))
}

fn require_lambdas(place: &str, lambdas: &[f64], least: usize) -> Result<()> {
    if lambdas.len() < least {
        return Err(Error::config(place, format!("must have at least {least} values"), ""));
    }
    let twice = (1..lambdas.len()).find(|&idx| lambdas[..idx].contains(&lambdas[idx]));
    if let Some(idx) = twice {
        let message = format!("has {} twice", lambdas[idx]);
        return Err(Error::config(place, message, "use `dynamics.n_walkers` for several walkers of a state"));
    }
    match lambdas.iter().find(|lambda| !(0.0..=1.0).contains(*lambda)) {
        Some(lambda) => Err(Error::config(place, format!("must lie between 0 and 1, found {lambda}"), "")),
        None => Ok(()),
    }
}

fn require_atoms(place: &str, path: LambdaPath, has_atoms: bool) -> Result<()> {
    if matches!(path, LambdaPath::GbCharges | LambdaPath::ImplicitSolvent) && has_atoms {
        let message = "implicit solvent acts on every atom";
        return Err(Error::config(format!("{place}.atoms"), message, "leave it out"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SimulationConfig {
        toml::from_str(&format!("name = \"a\"\n[system]\ntopology = \"x.prmtop\"\n{text}")).unwrap()
    }

    fn refusal(text: &str) -> String {
        parse(text).validate().unwrap_err().to_string()
    }

    #[test]
    fn two_keys_suffice_and_what_is_written_reads_back() {
        let config = parse("");
        config.validate().unwrap();
        assert_eq!(config.dynamics.time_step.as_ps(), 0.002);
        let full = parse(
            "[pivots]\nevery = \"20 fs\"\nbonds = [[4, 6]]\n[replica_exchange]\nkind = \"temperature\"\n\
             highest = \"600 K\"\n[dynamics]\nhydrogen_mass = \"4 Da\"\nn_walkers = 2",
        );
        full.validate().unwrap();
        let again: SimulationConfig = toml::from_str(&toml::to_string(&full).unwrap()).unwrap();
        assert_eq!(again, full);
        let exchange = full.replica_exchange.unwrap();
        assert!(exchange.adapts());
        assert_eq!(exchange.start_temperatures_k(full.dynamics.temperature).len(), DEFAULT_REPLICAS);
    }

    #[test]
    fn settings_that_contradict_each_other_say_so() {
        let ladder = "[replica_exchange]\nkind = \"temperature\"\n";
        assert!(refusal(ladder).contains("highest"));
        assert!(refusal(&format!("{ladder}highest = \"200 K\"")).contains("must be above the lowest, 300 K"));
        assert!(refusal(&format!("{ladder}highest = \"400 K\"\nlambdas = [0.0]")).contains("ladder of λ"));
        let lambda = "[replica_exchange]\nkind = \"lambda\"\n";
        assert!(refusal(lambda).contains("gb_charges"));
        assert!(refusal(&format!("{lambda}path = \"charges\"\nlambdas = [0.0, 0.5, 0.2]")).contains("rise"));
        assert!(refusal("[lambda_windows]\npath = \"charges\"\nlambdas = [0.0, 1.5]").contains("1.5"));
        let hmc = "[dynamics]\nintegrator = \"hmc\"\n";
        assert!(refusal(&format!("{hmc}constraints = \"hydrogen_bonds\"")).contains("moves every atom"));
        assert!(refusal("[dynamics]\nduration = \"0 ps\"").contains("more than 0"));
        assert!(refusal("[dynamics]\nfriction = \"0 /ps\"").contains("friction"));
    }
}
