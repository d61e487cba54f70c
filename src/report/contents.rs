//! What a run directory holds, as far as a report shows it.

use super::table::CsvTable;
use crate::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Sets of conformations in the order in which they are shown; others follow alphabetically.
const SETS: [&str; 7] = ["data", "train", "iid", "langevin", "equilibrium", "smc", "mbar"];

/// A number of `summary.json` or `diagnostics.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Quantity {
    /// The number; absent where it is infinite or not a number.
    pub value: Option<f64>,
    /// Its standard error.
    #[serde(default)]
    pub std_error: Option<f64>,
    /// Its unit; empty or `1` for pure numbers.
    #[serde(default)]
    pub unit: Option<String>,
    /// How value and error were obtained.
    #[serde(default)]
    pub method: Option<String>,
}

/// A road to the free energy of the path.
#[derive(Debug, Clone, Deserialize)]
pub struct Road {
    /// `smc`, `mbar` or `ti`.
    pub name: String,
    /// Its name in words.
    #[serde(default)]
    pub label: Option<String>,
    /// Free energy at the data end against the noise end.
    #[serde(rename = "value_kT")]
    pub value_kt: Option<f64>,
    /// Its standard error.
    #[serde(rename = "std_error_kT")]
    pub std_error_kt: Option<f64>,
    /// Conformations used.
    #[serde(default)]
    pub n_samples: Option<f64>,
    /// Energies evaluated.
    #[serde(default)]
    pub n_energy_evaluations: Option<f64>,
    /// Wall time.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// How value and error were obtained.
    #[serde(default)]
    pub method: Option<String>,
}

/// Whether two roads agree.
#[derive(Debug, Clone, Deserialize)]
pub struct Agreement {
    /// One road.
    pub a: String,
    /// The other.
    pub b: String,
    /// a − b.
    #[serde(rename = "difference_kT")]
    pub difference_kt: Option<f64>,
    /// Errors of both in quadrature.
    #[serde(rename = "combined_std_error_kT")]
    pub combined_std_error_kt: Option<f64>,
    /// Whether the difference is within two of these.
    pub within_2_sigma: bool,
}

/// `estimate/free_energy.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct FreeEnergy {
    /// The roads.
    #[serde(default)]
    pub roads: Vec<Road>,
    /// Every pair of them.
    #[serde(default)]
    pub agreement: Vec<Agreement>,
    /// What follows, in plain words.
    #[serde(default)]
    pub verdict: Option<String>,
    /// Whether the numbers can be used.
    #[serde(default)]
    pub trustworthy: Option<bool>,
}

/// A collective variable of the plan.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name in files, for example `phi`.
    pub name: String,
    /// Its kind, for example `dihedral`.
    pub kind: String,
}

/// What a run directory holds; what is missing is `None` or empty.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The directory.
    pub directory: PathBuf,
    /// Its last part, or the name of the variant.
    pub name: String,
    /// The resolved plan as it was written.
    pub plan_text: Option<String>,
    /// The resolved plan.
    pub plan: toml::Table,
    /// `provenance.json`.
    pub provenance: Option<serde_json::Value>,
    /// `summary.json`, in the order of the file.
    pub summary: Vec<(String, Quantity)>,
    /// `sample/diagnostics.json`.
    pub diagnostics: Vec<(String, Quantity)>,
    /// `sample/doubts.json`: why samples should not be trusted.
    pub doubts: Vec<String>,
    /// `estimate/free_energy.json`.
    pub free_energy: Option<FreeEnergy>,
    /// `train/loss.csv`.
    pub loss: Option<CsvTable>,
    /// `train/validation.csv`.
    pub validation: Option<CsvTable>,
    /// `sample/smc_levels.csv`.
    pub smc_levels: Option<CsvTable>,
    /// `sample/replica_exchange.csv`.
    pub replica_exchange: Option<CsvTable>,
    /// `estimate/path.csv`.
    pub path: Option<CsvTable>,
    /// `estimate/overlap.csv`.
    pub overlap: Option<CsvTable>,
    /// `estimate/pmf_*.csv` by the part of the name behind `pmf_`, in lower case.
    pub estimated_pmf: BTreeMap<String, CsvTable>,
    /// `compare/histogram_SET.csv` in the order of sets.
    pub histograms: Vec<(String, CsvTable)>,
    /// `compare/pmf_CV_SET.csv` by collective variable, in the order of sets.
    pub pmfs: BTreeMap<String, Vec<(String, CsvTable)>>,
    /// `compare/populations.csv`.
    pub populations: Option<CsvTable>,
    /// `compare/distances.csv`.
    pub distances: Option<CsvTable>,
    /// `compare/metrics.csv`.
    pub metrics: Option<CsvTable>,
    /// `variants/*`, by name.
    pub variants: Vec<Contents>,
}

impl Contents {
    /// Reads a run directory and its variants.
    pub fn read(directory: &Path) -> Result<Self> {
        if !directory.is_dir() {
            return Err(Error::RunDirectory {
                path: directory.to_path_buf(),
                message: "there is no such directory".into(),
                hint: "a report is made from the directory that `kirkwood run` wrote".into(),
            });
        }
        let contents = Self::read_one(directory)?;
        if contents.holds_nothing() {
            return Err(Error::RunDirectory {
                path: directory.to_path_buf(),
                message: "nothing in it can be reported".into(),
                hint: "is this the directory that `kirkwood run` wrote?".into(),
            });
        }
        Ok(contents)
    }

    fn read_one(directory: &Path) -> Result<Self> {
        let csv = |path: &str| CsvTable::read_if_exists(&directory.join(path));
        let plan_path = directory.join("plan.toml");
        let plan_text = read_text(&plan_path)?;
        let plan = match &plan_text {
            Some(text) => {
                text.parse().map_err(|error: toml::de::Error| broken_toml(&plan_path, text, &error))?
            }
            None => toml::Table::new(),
        };
        let mut variants = Vec::new();
        for path in directories(&directory.join("variants"))? {
            variants.push(Self::read_one(&path)?);
        }
        let mut pmfs: BTreeMap<String, Vec<(String, CsvTable)>> = BTreeMap::new();
        for (stem, table) in tables(&directory.join("compare"), "pmf_")? {
            // CV names may hold underscores; sets do not.
            if let Some((variable, set)) = stem.rsplit_once('_') {
                pmfs.entry(variable.to_string()).or_default().push((set.to_string(), table));
            }
        }
        pmfs.values_mut().for_each(|sets| sort_sets(sets));
        let mut histograms = tables(&directory.join("compare"), "histogram_")?;
        sort_sets(&mut histograms);
        let name = directory.canonicalize().ok();
        let name = name.as_deref().unwrap_or(directory).file_name();
        Ok(Self {
            directory: directory.to_path_buf(),
            name: name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            plan_text,
            plan,
            provenance: read_json(&directory.join("provenance.json"))?,
            summary: read_quantities(&directory.join("summary.json"))?,
            diagnostics: read_quantities(&directory.join("sample/diagnostics.json"))?,
            doubts: read_json(&directory.join("sample/doubts.json"))?.unwrap_or_default(),
            free_energy: read_json(&directory.join("estimate/free_energy.json"))?,
            loss: csv("train/loss.csv")?,
            validation: csv("train/validation.csv")?,
            smc_levels: csv("sample/smc_levels.csv")?,
            replica_exchange: csv("sample/replica_exchange.csv")?,
            path: csv("estimate/path.csv")?,
            overlap: csv("estimate/overlap.csv")?,
            estimated_pmf: tables(&directory.join("estimate"), "pmf_")?
                .into_iter()
                .map(|(stem, table)| (stem.to_lowercase(), table))
                .collect(),
            histograms,
            pmfs,
            populations: csv("compare/populations.csv")?,
            distances: csv("compare/distances.csv")?,
            metrics: csv("compare/metrics.csv")?,
            variants,
        })
    }

    fn holds_nothing(&self) -> bool {
        self.plan_text.is_none()
            && self.provenance.is_none()
            && self.summary.is_empty()
            && self.loss.is_none()
            && self.free_energy.is_none()
            && self.histograms.is_empty()
            && self.metrics.is_none()
    }

    /// A number of the summary, where it is there and finite.
    pub fn quantity(&self, name: &str) -> Option<&Quantity> {
        self.summary.iter().find(|(key, quantity)| key == name && quantity.value.is_some()).map(|(_, q)| q)
    }

    /// Collective variables of the plan.
    pub fn variables(&self) -> Vec<Variable> {
        let text = |table: &toml::Table, key: &str| {
            table.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_string()
        };
        let list = self.plan.get("collective_variables").and_then(toml::Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(toml::Value::as_table)
            .map(|table| Variable { name: text(table, "name"), kind: text(table, "kind") })
            .collect()
    }

    /// The name in words of a state of the plan.
    pub fn state_label(&self, name: &str) -> String {
        let list = self.plan.get("states").and_then(toml::Value::as_array);
        list.into_iter()
            .flatten()
            .find(|state| state.get("name").and_then(toml::Value::as_str) == Some(name))
            .and_then(|state| state.get("label").and_then(toml::Value::as_str))
            .map_or_else(|| name.replace('_', " "), String::from)
    }

    /// Whether the report is asked to show published numbers of a benchmark.
    pub fn literature(&self) -> Option<&str> {
        self.plan.get("report")?.get("literature")?.as_str()
    }
}

/// The place of a set in the usual order.
pub fn set_rank(set: &str) -> (usize, &str) {
    (SETS.iter().position(|name| *name == set).unwrap_or(SETS.len()), set)
}

fn sort_sets(sets: &mut [(String, CsvTable)]) {
    sets.sort_by(|a, b| set_rank(&a.0).cmp(&set_rank(&b.0)));
}

fn directories(parent: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = entries(parent)?.into_iter().filter(|path| path.is_dir()).collect();
    // A stage that is not finished is `NAME.partial`.
    found.retain(|path| path.extension().is_none_or(|extension| extension != "partial"));
    found.sort();
    Ok(found)
}

fn entries(parent: &Path) -> Result<Vec<PathBuf>> {
    if !parent.is_dir() {
        return Ok(Vec::new());
    }
    std::fs::read_dir(parent)
        .map_err(Error::io("read", parent))?
        .map(|entry| entry.map(|entry| entry.path()).map_err(Error::io("read", parent)))
        .collect()
}

/// Files `PREFIX*.csv` of a directory by the rest of their name, sorted.
fn tables(parent: &Path, prefix: &str) -> Result<Vec<(String, CsvTable)>> {
    let mut paths = entries(parent)?;
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(stem) = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".csv")) else {
            continue;
        };
        if let Some(table) = CsvTable::read_if_exists(&path)? {
            found.push((stem.to_string(), table));
        }
    }
    Ok(found)
}

fn read_text(path: &Path) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    std::fs::read_to_string(path).map(Some).map_err(Error::io("read", path))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Error::file(path, format!("line {}", error.line()), "the JSON of a run directory", error.to_string())
    })
}

fn read_quantities(path: &Path) -> Result<Vec<(String, Quantity)>> {
    let Some(object) = read_json::<serde_json::Map<String, serde_json::Value>>(path)? else {
        return Ok(Vec::new());
    };
    object
        .into_iter()
        .map(|(name, value)| {
            let quantity = serde_json::from_value(value).map_err(|error| {
                Error::file(path, format!("`{name}`"), "{value, std_error, unit, method}", error.to_string())
            })?;
            Ok((name, quantity))
        })
        .collect()
}

fn broken_toml(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    Error::file(path, format!("line {line}"), "a plan in TOML", error.message().to_string())
}
