//! A configuration with every default resolved, and the molecule that it names.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result, did_you_mean};
use crate::force_field::molecular_system::MolecularSystem;
use crate::force_field::{amber_prmtop, shipped};
use crate::potential::{
    AlchemicalPath, BlockPotential, BlockWorkspace, LANES, MolecularMechanics, Precision,
};
use crate::run::Request;
use crate::run::simulate::config::{ExchangeSettings, LambdaPath, SimulationConfig};
use crate::run::simulate::molecule::{AlchemicalPotential, Molecule};
use crate::run::simulate::schedule::Schedule;
use crate::run::source::{Source, has_table, plan_json, run_directory};
use crate::system::select;

/// What will be done.
pub struct Plan {
    /// The configuration with every default written out and absolute paths.
    pub config: SimulationConfig,
    /// When things happen.
    pub schedule: Schedule,
    /// The molecule.
    pub molecule: Molecule,
    /// Where the results go.
    pub out: PathBuf,
    source: Source,
    text: String,
}

impl Plan {
    /// Reads the configuration of a request, or makes one for a shipped system, and looks everything up.
    pub fn resolve(request: &Request) -> Result<Self> {
        let source = if is_name(&request.config) {
            let name = request.config.to_string_lossy();
            // There is no configuration whose line could be at fault.
            shipped::find(&name)?;
            let text = format!("name = \"{name}\"\n\n[system]\ntopology = \"{name}\"\n");
            Source::from_text(&request.config, text)?.overlaid(request)?
        } else {
            Source::of_request(request)?
        };
        source.refuse_unless_for("simulate")?;
        let mut config: SimulationConfig = source.parse()?;
        let locate = |error| source.locate(error);
        config.validate().map_err(locate)?;
        let schedule = Schedule::new(&config).map_err(locate)?;
        resolve_paths(&source, &mut config)?;
        resolve_defaults(&mut config);
        let molecule = load(&config).map_err(locate)?;
        let text = toml::to_string(&config)
            .map_err(|error| Error::config("", format!("the plan cannot be written: {error}"), ""))?;
        let out = run_directory(request, &config.name);
        Ok(Self { config, schedule, molecule, out, source, text })
    }

    /// The plan as TOML, a valid configuration.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The configuration as it was written.
    pub fn written(&self) -> &str {
        self.source.text()
    }

    /// What the plan is about, in one sentence.
    pub fn sentence(&self) -> String {
        let config = &self.config;
        let n_states = config.start_states().len();
        let n_walkers = n_states * config.n_walkers_per_state();
        let states = match (&config.replica_exchange, &config.lambda_windows) {
            (Some(_), _) => format!("exchanging among {n_states} states"),
            (None, Some(_)) => format!("in {n_states} windows"),
            (None, None) => format!("at {}", config.dynamics.temperature),
        };
        format!(
            "{}: {} with {} atoms, {n_walkers} walkers {states}, {} each after {}; results in {}",
            config.name,
            self.molecule.name,
            self.molecule.topology.n_atoms(),
            config.dynamics.duration,
            config.dynamics.equilibration,
            self.out.display()
        )
    }

    /// The plan as one JSON object.
    pub fn to_json(&self) -> Value {
        plan_json(&self.text, &self.out, &self.sentence())
    }
}

/// Whether a configuration, or that of a run directory, is one of a simulation: it has a `[system]`, or is the name
/// of a shipped system.
pub fn is_simulation(config: &Path) -> bool {
    if is_name(config) {
        return shipped::find(&config.to_string_lossy()).is_ok();
    }
    has_table(config, "system") && !has_table(config, "data")
}

/// Whether an argument is the name of a shipped system rather than a configuration file.
fn is_name(path: &Path) -> bool {
    !path.exists() && path.extension().is_none() && path.components().count() == 1
}

/// Makes paths absolute; a topology that is no file is left to be a name.
fn resolve_paths(source: &Source, config: &mut SimulationConfig) -> Result<()> {
    config.system.resolve_paths(source)?;
    for (idx, file) in config.start.structures.iter_mut().enumerate() {
        *file = source.existing(&format!("start.structures[{idx}]"), file)?;
    }
    Ok(())
}

/// Writes out the defaults that depend on other settings.
fn resolve_defaults(config: &mut SimulationConfig) {
    config.dynamics.constraints = Some(config.constraints());
    config.dynamics.n_walkers = Some(config.n_walkers_per_state());
    let temperature = config.dynamics.temperature;
    if let Some(exchange) = &mut config.replica_exchange {
        exchange.adapt = Some(exchange.adapts());
        let ExchangeSettings { lowest, highest, n_replicas, .. } = exchange;
        if highest.is_some() {
            *lowest = lowest.or(Some(temperature));
            *n_replicas = n_replicas.or(Some(super::config::DEFAULT_REPLICAS));
        }
    }
}

fn load(config: &SimulationConfig) -> Result<Molecule> {
    let settings = &config.system;
    if let Some(solvent) = &settings.implicit_solvent {
        let known = ["none", "obc1", "obc2", "gbn2"];
        if !known.contains(&solvent.as_str()) {
            let place = format!("system.implicit_solvent = \"{solvent}\"");
            return Err(Error::config(place, "there is no such model", did_you_mean(solvent, known)));
        }
    }
    let MolecularSystem { name, parameters, positions_nm, source } = settings.load(None)?;
    // An AMBER topology does not say how interactions end in its box; all pairs without images would be a droplet.
    if parameters.box_vectors_nm.is_some()
        && std::fs::read_to_string(&source).is_ok_and(|text| amber_prmtop::is_prmtop(&text))
    {
        let message = "the topology has a periodic box, but does not say how interactions end in it";
        let hint = "give a serialised OpenMM System with its non-bonded method, or a topology without box";
        return Err(Error::config("system.topology", message, hint));
    }
    let section = if config.replica_exchange.is_some() { "replica_exchange" } else { "lambda_windows" };
    let path = match config.lambda_path() {
        None => AlchemicalPath::None,
        Some((path, atoms)) => {
            let place = format!("{section}.atoms");
            let selected = select(&place, atoms, &parameters.topology)?;
            if selected.is_empty() {
                return Err(Error::config(format!("{place} = \"{atoms}\""), "matches no atom", ""));
            }
            match path {
                LambdaPath::GbCharges => AlchemicalPath::GbCharges,
                LambdaPath::ImplicitSolvent => AlchemicalPath::ImplicitSolvent,
                LambdaPath::Charges => AlchemicalPath::Charges { atoms: selected },
                LambdaPath::SoftCore => AlchemicalPath::SoftCore { atoms: selected, within: true },
            }
        }
    };
    let mechanics =
        MolecularMechanics::along(&parameters, path).map_err(|error| match config.lambda_path() {
            Some(_) if matches!(error, Error::Invalid { .. }) => {
                Error::config(format!("{section}.path"), error.to_string(), "")
            }
            _ => error,
        })?;
    Molecule::new(config, name, &parameters, Box::new(Mechanics(mechanics)), positions_nm)
}

/// Molecular mechanics as simulations see it.
pub(super) struct Mechanics(pub MolecularMechanics);

impl BlockPotential for Mechanics {
    fn n_atoms(&self) -> usize {
        self.0.n_atoms()
    }

    fn workspace(&self) -> BlockWorkspace {
        self.0.workspace()
    }

    fn energies_and_forces(
        &self,
        lambda: &[f64; LANES],
        x: &[f64],
        energies: &mut [f64; LANES],
        forces: &mut [f64],
        workspace: &mut BlockWorkspace,
    ) {
        self.0.energies_and_forces(lambda, x, energies, forces, workspace);
    }
}

impl AlchemicalPotential for Mechanics {
    fn energies_in_full(
        &self,
        lambda: &[f64],
        positions_nm: &[f64],
        energies: &mut [f64],
        forces: Option<&mut [f64]>,
    ) {
        let terms = self.0.evaluate(Precision::Double, lambda, positions_nm, forces);
        energies.iter_mut().zip(&terms).for_each(|(energy, terms)| *energy = terms.total());
    }

    fn lambda_derivatives(&self, lambda: &[f64], positions_nm: &[f64]) -> Vec<f64> {
        self.0.lambda_derivatives(lambda, positions_nm)
    }

    fn blocks(&self) -> &dyn BlockPotential {
        &self.0
    }
}
