//! A configuration with every default resolved, and the physical states that it names.

use std::path::PathBuf;

use serde_json::Value;

use super::config::GeneratorConfig;
use crate::error::{Error, Result};
use crate::force_field::Parameters;
use crate::force_field::molecular_system::MolecularSystem;
use crate::potential::{AtTemperature, MolecularMechanics, Precision};
use crate::run::Request;
use crate::run::source::{Source, plan_json, run_directory};
use crate::units::Temperature;

/// A physical energy at a temperature.
pub struct State {
    /// How files and numbers are named: `300K`, `350K`, `obc2`.
    pub name: String,
    /// How figures name it.
    pub label: String,
    /// What determines the energy.
    pub parameters: Parameters,
    /// The energy.
    pub mechanics: MolecularMechanics,
    /// T
    pub temperature: Temperature,
}

impl State {
    /// The same with other terms.
    pub fn with(&self, parameters: Parameters) -> Result<Self> {
        state(&self.name, &self.label, parameters, self.temperature)
    }

    /// u = U/kT with x in nm.
    pub fn at(&self, precision: Precision) -> AtTemperature<'_> {
        AtTemperature { mechanics: &self.mechanics, temperature: self.temperature, precision }
    }
}

/// What will be done.
pub struct Plan {
    /// The configuration with every default written out and absolute paths.
    pub config: GeneratorConfig,
    /// Where the results go.
    pub out: PathBuf,
    /// What the molecule is called.
    pub molecule: String,
    /// Start positions, nm, where the topology or a structure has them.
    pub positions_nm: Option<Vec<f64>>,
    /// The state of the frames.
    pub base: State,
    /// States that are reached by reweighting.
    pub others: Vec<State>,
    source: Source,
    text: String,
}

impl Plan {
    /// Reads the configuration of a request and looks everything up.
    pub fn resolve(request: &Request) -> Result<Self> {
        let mut source = Source::of_request(request)?;
        if let Some(device) = &request.device {
            source.assign(&format!("device=\"{device}\""))?;
        }
        let mut config: GeneratorConfig = source.parse()?;
        let locate = |error| source.locate(error);
        config.validate().map_err(locate)?;
        resolve_paths(&source, &mut config)?;
        let temperature = config.data.temperature;
        let MolecularSystem { name, parameters, positions_nm, .. } = load(&config, None).map_err(locate)?;
        config.data.bias.validate_atoms("data.bias", parameters.n_atoms()).map_err(locate)?;
        let solvent = config.system.implicit_solvent.clone().unwrap_or_default();
        let label =
            if solvent.is_empty() { temperature.to_string() } else { format!("{solvent}, {temperature}") };
        let base = state(&temperature_name(temperature), &label, parameters, temperature)?;
        let mut others = Vec::new();
        for (idx, &other) in config.reweight.temperatures.iter().enumerate() {
            if other == temperature {
                let place = format!("reweight.temperatures[{idx}]");
                return Err(locate(Error::config(place, "is the temperature of the frames", "leave it out")));
            }
            let parameters = base.parameters.clone();
            others.push(state(&temperature_name(other), &other.to_string(), parameters, other)?);
        }
        for (idx, solvent) in config.reweight.implicit_solvents.iter().enumerate() {
            let place = format!("reweight.implicit_solvents[{idx}]");
            let parameters = load(&config, Some(solvent))
                .map_err(|error| locate(Error::config(&place, error.to_string(), "")))?
                .parameters;
            others.push(state(solvent, solvent, parameters, temperature)?);
        }
        let names: Vec<&str> = others.iter().map(|state| state.name.as_str()).collect();
        if let Some(twice) = (1..names.len()).find(|&idx| names[..idx].contains(&names[idx])) {
            let message = format!("has {} twice", names[twice]);
            return Err(locate(Error::config("reweight", message, "")));
        }
        if config.data.trajectory.is_empty() && positions_nm.is_none() {
            let message = "is missing: the topology says nothing about positions";
            let hint = "or give `data.trajectory`";
            return Err(locate(Error::config("system.structure", message, hint)));
        }
        let text = toml::to_string(&config)
            .map_err(|error| Error::config("", format!("the plan cannot be written: {error}"), ""))?;
        let out = run_directory(request, &config.name);
        Ok(Self { config, out, molecule: name, positions_nm, base, others, source, text })
    }

    /// The plan as TOML, a valid configuration.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The configuration as it was written.
    pub fn written(&self) -> &str {
        self.source.text()
    }

    /// An error of a setting with the file and line at which the setting stands.
    pub fn locate(&self, error: Error) -> Error {
        self.source.locate(error)
    }

    /// The state of the frames, then those that are reached by reweighting.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        std::iter::once(&self.base).chain(&self.others)
    }

    /// Files that are read besides the configuration.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let topology = PathBuf::from(&self.config.system.topology);
        let topology = topology.is_file().then_some(topology).into_iter();
        let structure = self.config.system.structure.clone();
        topology.chain(structure).chain(self.config.data.trajectory.clone()).collect()
    }

    /// What the plan is about, in one sentence.
    pub fn sentence(&self) -> String {
        let frames = match self.config.data.trajectory.is_empty() {
            true => format!("{} simulated frames", self.config.data.simulate.n_frames),
            false => "frames of a trajectory".into(),
        };
        let others: Vec<&str> = self.others.iter().map(|state| state.label.as_str()).collect();
        let others =
            if others.is_empty() { String::new() } else { format!(", reweighted to {}", others.join(", ")) };
        format!(
            "{}: {} with {} atoms at {}, learned from {frames}{others}; results in {}",
            self.config.name,
            self.molecule,
            self.base.parameters.n_atoms(),
            self.config.data.temperature,
            self.out.display()
        )
    }

    /// The plan as one JSON object.
    pub fn to_json(&self) -> Value {
        plan_json(&self.text, &self.out, &self.sentence())
    }
}

/// `350K`
fn temperature_name(temperature: Temperature) -> String {
    format!("{}K", temperature.as_kelvin())
}

fn resolve_paths(source: &Source, config: &mut GeneratorConfig) -> Result<()> {
    config.system.resolve_paths(source)?;
    for file in &mut config.data.trajectory {
        *file = source.existing("data.trajectory", file)?;
    }
    Ok(())
}

/// The molecule in its own or another solvent.
fn load(config: &GeneratorConfig, solvent: Option<&String>) -> Result<MolecularSystem> {
    let system = config.system.load(solvent.map(String::as_str))?;
    let parameters = &system.parameters;
    if !parameters.constraints.is_empty() {
        let message = "holds distances fixed, and such a law has no density in all coordinates";
        return Err(Error::config("system.topology", message, "use a topology without constraints"));
    }
    if parameters.box_vectors_nm.is_some() {
        let message = "is periodic; a generated molecule has no box";
        return Err(Error::config("system.topology", message, "use an implicit solvent or vacuum"));
    }
    if parameters.n_atoms() < 4 {
        let message = format!("has {} atoms; a conformation needs at least 4", parameters.n_atoms());
        return Err(Error::config("system.topology", message, ""));
    }
    if parameters.topology.molecules().iter().any(|molecule| *molecule != 0) {
        let message = "is several molecules, which drift apart and have no normaliser";
        return Err(Error::config("system.topology", message, ""));
    }
    Ok(system)
}

fn state(name: &str, label: &str, parameters: Parameters, temperature: Temperature) -> Result<State> {
    let mechanics = MolecularMechanics::new(&parameters)?;
    Ok(State { name: name.into(), label: label.into(), parameters, mechanics, temperature })
}
