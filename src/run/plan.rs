//! A configuration with every default resolved and every name looked up.
//!
//! A plan is stored as `plan.toml` and is a valid configuration: its own plan is itself. Two runs
//! with the same plan compute the same numbers, whatever the number of threads.

use std::path::PathBuf;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::run::Request;
use crate::run::beads::{Beads, default_variables};
use crate::run::config::Config;
use crate::run::source::{Source, plan_json, run_directory};
use crate::run::stages::load;
use crate::system::Topology;

/// What will be done.
pub struct Plan {
    /// The configuration with every default written out and absolute paths.
    pub config: Config,
    /// Where the results go.
    pub out: PathBuf,
    /// The atoms of the trajectory.
    pub atoms: Topology,
    /// The particles of the model.
    pub beads: Beads,
    /// Configurations that run beside the main one, by name.
    pub variants: Vec<(String, Plan)>,
    source: Source,
    text: String,
}

impl Plan {
    /// Reads the configuration of a request, with what overlays it, and looks everything up.
    pub fn resolve(request: &Request) -> Result<Self> {
        let mut source = Source::of_request(request)?;
        source.refuse_kind()?;
        source.refuse_unless_for("run")?;
        if let Some(device) = &request.device {
            source.assign(&format!("device=\"{device}\""))?;
        }
        let mut plan = Self::of_source(&source)?;
        plan.check_forces()?;
        plan.out = run_directory(request, &plan.config.name);
        for name in source.variants() {
            let variant = Self::of_source(&source.variant(&name)?)?;
            variant.check_forces()?;
            if variant.config.data != plan.config.data
                || variant.config.collective_variables != plan.config.collective_variables
            {
                let message = "a variant cannot change `data` or `collective_variables`: its results stand beside \
                               those of the main configuration";
                return Err(source.locate(Error::config(format!("variants.{name}"), message, "")));
            }
            plan.variants.push((name, variant));
        }
        Ok(plan)
    }

    /// The plan of one configuration without its variants.
    pub(in crate::run) fn of_source(source: &Source) -> Result<Self> {
        let locate = |error| source.locate(error);
        let mut config: Config = source.parse()?;
        config.validate().map_err(locate)?;
        if let Some(topology) = &mut config.data.topology {
            *topology = source.existing("data.topology", topology)?;
        }
        for file in &mut config.data.trajectory {
            *file = source.existing("data.trajectory", file)?;
        }
        if let Some(file) = &mut config.data.weights {
            *file = source.existing("data.weights", file)?;
        }
        let atoms = load::atoms(&config.data).map_err(locate)?;
        if config.collective_variables.is_empty() {
            let beads =
                Beads::new(&Config { states: Vec::new(), ..config.clone() }, &atoms).map_err(locate)?;
            config.collective_variables = default_variables(beads.mapping.topology());
        }
        let beads = Beads::new(&config, &atoms).map_err(locate)?;
        if config.train.needs_states() {
            set_states(&mut config, &beads).map_err(locate)?;
        }
        let text = toml::to_string(&config)
            .map_err(|error| Error::config("", format!("the plan cannot be written: {error}"), ""))?;
        Ok(Self {
            config,
            out: PathBuf::new(),
            atoms,
            beads,
            variants: Vec::new(),
            source: source.clone(),
            text,
        })
    }

    /// Trajectories that are read here come without forces.
    fn check_forces(&self) -> Result<()> {
        let Some(name) = self.config.train.needs_scores() else { return Ok(()) };
        let message = format!("`{name}` needs the forces of the training frames, and `[data]` has none");
        let hint = "`denoising_score_matching` needs none; `kind = \"boltzmann_generator\"` knows the forces";
        Err(self.locate(Error::config("train.stages", message, hint)))
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

    /// What the plan is about, in one sentence.
    pub fn sentence(&self) -> String {
        let names: Vec<&str> = self.beads.variables.iter().map(|variable| variable.name.as_str()).collect();
        format!(
            "{}: {} atoms as {} beads at {}; variables {}; results in {}",
            self.config.name,
            self.atoms.n_atoms(),
            self.beads.n_beads(),
            self.config.data.temperature,
            names.join(", "),
            self.out.display()
        )
    }

    /// The plan as one JSON object.
    pub fn to_json(&self) -> Value {
        plan_json(&self.text, &self.out, &self.sentence())
    }
}

/// How conformations in none of the named states are called.
pub const ELSEWHERE: &str = "elsewhere";

/// Gives the network as many states as there are named ones, and one for conformations in none of them.
fn set_states(config: &mut Config, beads: &Beads) -> Result<()> {
    if beads.states.is_empty() {
        let message = "`state_classification` needs named states, and there are none";
        return Err(Error::config("states", message, "name regions of collective variables in `[[states]]`"));
    }
    // Columns of tables of frames have these names already.
    let taken = [ELSEWHERE, "energy", "force"];
    if let Some(state) = beads.states.iter().find(|state| taken.contains(&state.name.as_str())) {
        let message = format!("the name `{}` is taken where states are classified", state.name);
        return Err(Error::config("states", message, "rename the state"));
    }
    let n_states = beads.states.len() as i64 + 1;
    let found = config.model.network.entry("states").or_insert(n_states.into());
    if found.as_integer() == Some(n_states) {
        return Ok(());
    }
    let message = format!("must be {n_states}, the named states and one for all else, found {found}");
    Err(Error::config("model.network.states", message, "it may be left out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Atom;

    fn planned(text: &str) -> Result<Config> {
        let atom = |name: &str| Atom {
            name: name.to_string(),
            element: name[..1].to_string(),
            residue_name: "ALA".into(),
            residue_id: 1,
            chain: String::new(),
            mass_da: 12.0,
        };
        let atoms = ["C", "N", "CA", "C", "N"].map(atom).to_vec();
        let atoms = Topology::new(atoms, vec![[0, 1], [1, 2], [2, 3], [3, 4]]);
        let data = "name = 'a'\n[data]\ntrajectory = 'a.dcd'\ntemperature = '300 K'\n";
        let mut config: Config = toml::from_str(&format!("{data}{text}")).unwrap();
        config.collective_variables = default_variables(&atoms);
        let beads = Beads::new(&config, &atoms)?;
        if config.train.needs_states() {
            set_states(&mut config, &beads)?;
        }
        Ok(config)
    }

    const JEM: &str = "[[train.stages]]
        name = 'both'
        n_steps = 2
        learning_rate = 1e-3
        objectives = [{ kind = 'denoising_score_matching' }, { kind = 'state_classification' }]\n";

    #[test]
    fn a_network_gets_states_where_they_are_classified_and_nowhere_else() {
        let states = "[[states]]\nname = 'alpha'\nphi = ['-180 deg', '0 deg']\n
                      [[states]]\nname = 'left'\nphi = ['0 deg', '90 deg']\n";
        let plain = planned(states).unwrap();
        assert!(!toml::to_string(&plain).unwrap().contains("states ="));
        let with = planned(&format!("{states}{JEM}")).unwrap();
        assert_eq!(with.model.network["states"].as_integer(), Some(3));
        // A plan is its own plan.
        let again: Config = toml::from_str(&toml::to_string(&with).unwrap()).unwrap();
        assert_eq!(again, with);

        let message = |text: &str| planned(text).unwrap_err().to_string();
        assert!(message(JEM).contains("there are none"));
        let wrong = format!("{states}{JEM}[model.network]\nkind = 'whitened'\nstates = 2");
        assert!(message(&wrong).contains("must be 3"));
        let taken = format!("[[states]]\nname = 'elsewhere'\nphi = ['0 deg', '90 deg']\n{JEM}");
        assert!(message(&taken).contains("is taken"));
    }
}
