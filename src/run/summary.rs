//! `summary.json`: every headline number with its error, unit and method, gathered from the stages.
//!
//! Nothing is computed here; a number that a stage did not write is not in the summary.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize as _, Serializer};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::run::directory::{Layout, read_json, write_json};
use crate::run::plan::Plan;
use crate::run::provenance::Provenance;

/// Writes a number that is not finite as `null`, which JSON has in its place.
pub(super) fn finite<S: Serializer>(value: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    value.is_finite().then_some(*value).serialize(serializer)
}

/// Reads `null` as what is not a number.
pub(super) fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// The same of a list.
pub(super) fn all_finite<S: Serializer>(
    values: &[f64],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let values: Vec<Option<f64>> = values.iter().map(|value| value.is_finite().then_some(*value)).collect();
    values.serialize(serializer)
}

/// The same of a list.
pub(super) fn all_or_nan<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<f64>, D::Error> {
    let values = Vec::<Option<f64>>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

/// A row of `compare/metrics.csv`.
#[derive(Debug, Deserialize)]
struct Metric {
    set: String,
    metric: String,
    value: f64,
    std_error: Option<f64>,
    #[serde(default)]
    method: String,
}

/// A row of `compare/populations.csv`.
#[derive(Debug, Deserialize)]
struct Population {
    state: String,
    set: String,
    value: f64,
    std_error: Option<f64>,
}

/// Writes the summary of the main configuration.
pub fn write(plan: &Plan, layout: &Layout, provenance: &Provenance) -> Result<()> {
    let mut entries = of_stages(layout.root(), plan.config.seed)?;
    let seconds = |keep: &dyn Fn(&str) -> bool| -> f64 {
        provenance.seconds.iter().filter(|(stage, _)| keep(stage)).map(|(_, seconds)| seconds).sum()
    };
    let wall = "wall clock, summed over resumed parts";
    insert(&mut entries, "train_seconds", seconds(&|stage| stage == "train"), None, "s", wall);
    let main = seconds(&|stage| !stage.starts_with("variants/") && stage != "report");
    let total = format!("{wall}, without variants and without drawing the report");
    insert(&mut entries, "total_seconds", main, None, "s", &total);
    let with_variants = seconds(&|stage| stage != "report");
    let total = format!("{wall}, with variants, without drawing the report");
    insert(&mut entries, "total_seconds_with_variants", with_variants, None, "s", &total);
    let memory = provenance.peak_memory_mib.max(super::provenance::peak_memory_mib());
    insert(&mut entries, "peak_memory_mib", memory, None, "MiB", "largest resident set of the process");
    write_json(&layout.root().join("summary.json"), &Value::Object(entries))
}

/// Writes the summary of a variant.
pub fn write_variant(plan: &Plan, layout: &Layout, provenance: &Provenance, name: &str) -> Result<()> {
    let mut entries = of_stages(layout.root(), plan.config.seed)?;
    let seconds = provenance.seconds.get(&format!("variants/{name}/train")).copied().unwrap_or(0.0);
    insert(&mut entries, "train_seconds", seconds, None, "s", "wall clock, summed over resumed parts");
    write_json(&layout.root().join("summary.json"), &Value::Object(entries))
}

/// The numbers of the stages that stand in a directory.
fn of_stages(root: &Path, seed: u64) -> Result<Map<String, Value>> {
    let mut entries = Map::new();
    let seed = format!("one training, seed {seed}");
    for metric in read_rows::<Metric>(&root.join("compare/metrics.csv"))? {
        // The floor depends on the sizes alone, and sets of equal size share it. Weighted particles count
        // as fewer, and have a floor of their own.
        let is_floor = metric.metric.ends_with("_floor");
        let first = entries.get(&metric.metric).map(|entry: &Value| entry["value"].as_f64());
        let same = first == Some(Some(metric.value)) || (first == Some(None) && !metric.value.is_finite());
        if is_floor && same {
            continue;
        }
        let shared = is_floor && first.is_none();
        let name = if shared { metric.metric.clone() } else { format!("{}_{}", metric.metric, metric.set) };
        let unit = if metric.metric.starts_with("pmf_error") { "kT^2" } else { "nat" };
        let method = if is_floor { metric.method } else { joined(&metric.method, &seed) };
        insert(&mut entries, &name, metric.value, metric.std_error, unit, &method);
    }
    for population in read_rows::<Population>(&root.join("compare/populations.csv"))? {
        let name = format!("population_{}_{}", population.state, population.set);
        let method = "fraction of frames; error from blocks of frames or walkers";
        let method = if population.set == "data" { method.to_string() } else { joined(method, &seed) };
        insert(&mut entries, &name, population.value, population.std_error, "", &method);
    }
    let free_energy = root.join("estimate/free_energy.json");
    if free_energy.is_file() {
        let free_energy: Value = read_json(&free_energy)?;
        for road in free_energy["roads"].as_array().into_iter().flatten() {
            let name = format!("path_free_energy_{}", road["name"].as_str().unwrap_or_default());
            let method = joined(road["method"].as_str().unwrap_or_default(), &seed);
            let value = road["value_kT"].as_f64().unwrap_or(f64::NAN);
            insert(&mut entries, &name, value, road["std_error_kT"].as_f64(), "kT", &method);
        }
    }
    for stage in ["sample", "estimate", "train"] {
        let diagnostics = root.join(stage).join("diagnostics.json");
        if diagnostics.is_file() {
            let diagnostics: Map<String, Value> = read_json(&diagnostics)?;
            entries.extend(diagnostics);
        }
    }
    Ok(entries)
}

fn joined(method: &str, more: &str) -> String {
    if method.is_empty() { more.to_string() } else { format!("{method}; {more}") }
}

fn insert(
    entries: &mut Map<String, Value>,
    name: &str,
    value: f64,
    std_error: Option<f64>,
    unit: &str,
    method: &str,
) {
    entries.insert(name.to_string(), entry(value, std_error, unit, method));
}

/// One number as it stands in `summary.json` and `diagnostics.json`.
pub fn entry(value: f64, std_error: Option<f64>, unit: &str, method: &str) -> Value {
    // JSON has no infinity and no NaN: such a number is `null`, and a verdict says why.
    json!({
        "value": value.is_finite().then_some(value),
        "std_error": std_error.filter(|error| error.is_finite()),
        "unit": unit,
        "method": method,
    })
}

/// All rows of a table; none where there is no such file, because its stage did not run.
pub fn read_rows<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let mut reader = csv::Reader::from_path(path).map_err(|error| of_table(path, &error))?;
    reader.deserialize().collect::<std::result::Result<_, _>>().map_err(|error| of_table(path, &error))
}

fn of_table(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map_or_else(String::new, |position| format!("line {}", position.line()));
    Error::file(path, line, "a table that kirkwood writes", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_cannot_hold_are_null() {
        let entry = entry(f64::INFINITY, Some(f64::NAN), "kT", "");
        assert_eq!(entry, json!({ "value": null, "std_error": null, "unit": "kT", "method": "" }));
    }

    #[test]
    fn weighted_particles_have_a_floor_of_their_own() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("compare")).unwrap();
        let rows = "iid,js_floor,0.01,,a\nlangevin,js_floor,0.01,,a\nsmc,js_floor,0.02,,b\nsmc,js,0.03,,c\n";
        let table = format!("set,metric,value,std_error,method\n{rows}");
        std::fs::write(home.path().join("compare/metrics.csv"), table).unwrap();
        let entries = of_stages(home.path(), 1).unwrap();
        let value = |name: &str| entries.get(name).and_then(|entry| entry["value"].as_f64());
        assert_eq!((value("js_floor"), value("js_floor_smc")), (Some(0.01), Some(0.02)));
        assert_eq!((value("js_floor_langevin"), value("js_smc")), (None, Some(0.03)));
    }

    #[test]
    fn an_empty_cell_is_no_error_bar() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("metrics.csv");
        std::fs::write(&path, "set,metric,value,std_error,method\niid,js,0.01,,histogram\n").unwrap();
        let rows = read_rows::<Metric>(&path).unwrap();
        assert_eq!((rows[0].value, rows[0].std_error), (0.01, None));
        assert!(read_rows::<Metric>(&home.path().join("none.csv")).unwrap().is_empty());
    }
}
