//! Molecules: every method is a whole `kirkwood run` of the molecule's configuration with other training stages.
//!
//! Split of the frames, network, initial weights and samplers are those of the configuration and of the seed, the same for all
//! methods; only what is minimised differs. What is said of a method is what the summary of its run says.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::Method;
use crate::error::{Error, Result};
use crate::run::Request;
use crate::run::control::Control;
use crate::run::directory::read_json;
use crate::run::plan::Plan;
use crate::run::source::{Source, is_of_another_kind};

/// A molecule to which methods are put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoleculeSettings {
    /// For files and rows.
    pub name: String,
    /// For people.
    pub label: String,
    /// A configuration of `kirkwood run`.
    pub config: PathBuf,
    /// What replaces parts of it, key by key: for example less sampling.
    #[serde(default)]
    pub settings: toml::Table,
}

/// A molecule that was looked up.
pub struct Molecule {
    /// What the configuration says.
    pub settings: MoleculeSettings,
    /// 3n − 3 of n beads.
    pub degrees_of_freedom: usize,
    /// Named states, with their labels.
    pub states: Vec<[String; 2]>,
}

/// A number of a summary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    pub value: f64,
    pub std_error: f64,
}

impl Molecule {
    /// Resolves the plan of the molecule, so that what is wrong is said before any long work.
    pub fn look_up(settings: &MoleculeSettings, place: &str) -> Result<Self> {
        if is_of_another_kind(&settings.config) {
            let message = "must be a configuration of `kirkwood run` that learns an energy of beads";
            return Err(Error::config(format!("{place}.config"), message, ""));
        }
        let plan = Plan::resolve(&request(settings, Vec::new(), 1, Path::new("unused"), ""))?;
        Ok(Self {
            settings: settings.clone(),
            degrees_of_freedom: 3 * plan.beads.n_beads() - 3,
            states: plan.beads.states.iter().map(|s| [s.name.clone(), s.label.clone()]).collect(),
        })
    }

    /// The assignments that make a run of the molecule one of a method.
    fn assignments(&self, method: &Method) -> Result<Vec<String>> {
        let train = toml::Value::try_from(method.train(self.degrees_of_freedom))
            .map_err(|error| Error::config("methods", format!("cannot be written as TOML: {error}"), ""))?;
        Ok(vec![format!("train={train}")])
    }

    /// Checks that a method can be put to the molecule.
    pub fn check(&self, method: &Method) -> Result<()> {
        let request = request(&self.settings, self.assignments(method)?, 1, Path::new("unused"), "");
        Plan::resolve(&request).map(|_| ())
    }

    /// Trains, samples and compares in a directory, or goes on there.
    pub fn run(
        &self,
        method: &Method,
        seed: u64,
        directory: &Path,
        command: &str,
        control: &Control,
    ) -> Result<()> {
        let request = request(&self.settings, self.assignments(method)?, seed, directory, command);
        crate::run::run(&request, control).map(|_| ())
    }
}

/// A run of the molecule's own configuration with these changes.
fn request(
    settings: &MoleculeSettings,
    more: Vec<String>,
    seed: u64,
    directory: &Path,
    command: &str,
) -> Request {
    let mut assignments = Vec::new();
    flatten("", &settings.settings, &mut assignments);
    assignments.extend(more);
    Request {
        out: Some(directory.to_path_buf()),
        seed: Some(seed),
        assignments,
        resume: true,
        command: command.to_string(),
        ..Request::of(&settings.config)
    }
}

/// `key.path=value` for every value that is not a table.
fn flatten(place: &str, table: &toml::Table, found: &mut Vec<String>) {
    for (key, value) in table {
        let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&place, inner, found),
            value => found.push(format!("{place}={value}")),
        }
    }
}

/// A number of the summary of a run; not a number where it is not there.
pub(super) fn number(summary: &Value, key: &str) -> Number {
    let read = |what: &str| summary[key][what].as_f64().unwrap_or(f64::NAN);
    Number { value: read("value"), std_error: read("std_error") }
}

/// What a finished run has stored; nothing where its training diverged.
pub(super) fn stored(directory: &Path, file: &str) -> Result<Value> {
    let path = directory.join(file);
    if path.is_file() { read_json(&path) } else { Ok(Value::Null) }
}

/// Makes the paths of molecules absolute.
pub(super) fn resolve(
    molecules: &mut [MoleculeSettings],
    source: &Source,
    suite: Option<&str>,
) -> Result<()> {
    for (idx, molecule) in molecules.iter_mut().enumerate() {
        // A suite that is built in is a file of the examples, and paths start from there.
        let from = suite.map_or(PathBuf::new(), |_| PathBuf::from("examples/benchmark"));
        let found = source.existing(&format!("molecules[{idx}].config"), &from.join(&molecule.config));
        molecule.config = match (found, suite) {
            (Err(_), Some(suite)) => {
                let missing = from.join(&molecule.config);
                let missing = missing.display();
                let message = format!("needs the data of the examples, and `{missing}` is not here");
                let hint = "run it in a checkout of the repository, or give a configuration of your own";
                return Err(Error::config(format!("--suite {suite}"), message, hint));
            }
            (found, _) => found?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_become_assignments() {
        let table: toml::Table = "a = 1\n[b]\nc = ['x', 'y']\n[b.d]\ne = 0.5".parse().unwrap();
        let mut found = Vec::new();
        flatten("", &table, &mut found);
        assert_eq!(found, ["a=1", "b.c=[\"x\", \"y\"]", "b.d.e=0.5"]);
    }

    #[test]
    fn numbers_that_are_not_there_are_not_numbers() {
        let summary: Value = serde_json::json!({ "a": { "value": 2.0, "std_error": null } });
        assert_eq!(number(&summary, "a").value, 2.0);
        assert!(number(&summary, "a").std_error.is_nan() && number(&summary, "b").value.is_nan());
    }
}
