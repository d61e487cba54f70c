//! A configuration with every default resolved, and the molecule that it names.

use std::path::PathBuf;

use serde_json::Value;

use super::config::SolvationConfig;
use crate::error::{Error, Result};
use crate::force_field::Parameters;
use crate::potential::MolecularMechanics;
use crate::run::Request;
use crate::run::source::{Source, plan_json, run_directory};

/// What will be done.
pub struct Plan {
    /// The configuration with every default written out and absolute paths.
    pub config: SolvationConfig,
    /// Where the results go.
    pub out: PathBuf,
    /// The molecule in its solvent.
    pub parameters: Parameters,
    /// Its energy along the process.
    pub mechanics: MolecularMechanics,
    /// Its structure, nm.
    pub start_nm: Vec<f64>,
    /// Files that were read for it.
    pub inputs: Vec<PathBuf>,
    source: Source,
    text: String,
}

impl Plan {
    /// Reads the configuration of a request and looks everything up.
    pub fn resolve(request: &Request) -> Result<Self> {
        let source = Source::of_request(request)?;
        if let Some(device) = request.device.as_deref().filter(|device| *device != "cpu") {
            let message = "these roads are travelled on the processor";
            return Err(Error::config(format!("--device {device}"), message, "leave it out"));
        }
        let mut config: SolvationConfig = source.parse()?;
        let locate = |error| source.locate(error);
        config.validate().map_err(locate)?;
        config.system.resolve_paths(&source)?;
        let temperature = config.temperature;
        for (place, end) in
            [("frames.vacuum", &mut config.frames.vacuum), ("frames.solvent", &mut config.frames.solvent)]
        {
            if let Some(files) = end {
                files.resolve(place, &source, temperature).map_err(locate)?;
            }
        }
        let system = config.system.load(None).map_err(locate)?;
        if system.parameters.implicit_solvent.is_none() {
            let message = "is missing: there is no solvent to go into";
            let hint = "obc1, obc2 or gbn2";
            return Err(locate(Error::config("system.implicit_solvent", message, hint)));
        }
        if system.parameters.box_vectors_nm.is_some() {
            let message = "has a periodic box: these roads are for one molecule in implicit solvent";
            return Err(locate(Error::config("system.topology", message, "a topology of the solute alone")));
        }
        let Some(start_nm) = system.positions_nm else {
            let message = "is missing: the topology says nothing about positions";
            return Err(locate(Error::config("system.structure", message, "")));
        };
        if system.parameters.n_atoms() < 2 {
            let message = "is a single atom: there is nothing to learn";
            return Err(locate(Error::config("system.topology", message, "use `kirkwood solvate`")));
        }
        let mechanics = MolecularMechanics::along(&system.parameters, config.process.path())?;
        let text = toml::to_string(&config)
            .map_err(|error| Error::config("", format!("the plan cannot be written: {error}"), ""))?;
        let out = run_directory(request, &config.name);
        let mut inputs: Vec<PathBuf> =
            [system.source.clone()].into_iter().filter(|path| path.is_file()).collect();
        inputs.extend(config.system.structure.clone());
        let files = [&config.frames.vacuum, &config.frames.solvent];
        inputs.extend(files.into_iter().flatten().flat_map(|files| files.trajectory.clone()));
        let parameters = system.parameters;
        Ok(Self { config, out, parameters, mechanics, start_nm, inputs, source, text })
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
        format!(
            "{}: {} atoms at {}, {}; results in {}",
            self.config.name,
            self.parameters.n_atoms(),
            self.config.temperature,
            self.config.process.sentence(),
            self.out.display()
        )
    }

    /// The plan as one JSON object.
    pub fn to_json(&self) -> Value {
        plan_json(&self.text, &self.out, &self.sentence())
    }
}
