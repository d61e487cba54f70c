//! The files of an estimate: JSON with everything, tables, and the report.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{EstimateRequest, Outcome, id};
use crate::error::{Error, Result};
use crate::free_energy::alchemical::Estimator;
use crate::free_energy::alchemical::analysis::PathEstimate;
use crate::free_energy::reader::parquet::{column_name, write_frame};
use crate::run::directory::{write_atomic, write_json};
use crate::run::provenance::utc_now;

/// Writes all of them and returns the path of the report.
///
/// A directory that holds other things than an earlier estimate is refused.
pub fn write(directory: &Path, outcome: &Outcome, request: &EstimateRequest) -> Result<PathBuf> {
    let holds_other = std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
        && !directory.join("estimate.json").is_file();
    if holds_other {
        let hint = "choose a new directory; only the results of an earlier estimate are replaced".into();
        let message = "there are other files in it".into();
        return Err(Error::RunDirectory { path: directory.to_path_buf(), message, hint });
    }
    std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
    let mut everything = outcome.to_json();
    if let Some(object) = everything.as_object_mut() {
        object.insert(
            "state_names".into(),
            outcome.dataset.states.iter().map(|state| json!(state.name)).collect(),
        );
        object.insert("provenance".into(), provenance(request));
        if let Some(about) = &request.about {
            object.insert("about".into(), json!(about));
        }
    }
    write_json(&directory.join("estimate.json"), &everything)?;
    let table = |name: &str, text: String| write_atomic(&directory.join(name), text.as_bytes());
    table("free_energies.csv", free_energies(outcome))?;
    table("windows.csv", windows(outcome))?;
    if !outcome.analysis.overlap.is_empty() {
        table("overlap.csv", square(outcome, "overlap", &outcome.analysis.overlap))?;
    }
    if !outcome.analysis.convergence.is_empty() {
        table("convergence.csv", convergence(outcome))?;
    }
    matrices(directory, outcome)?;
    samples(directory, outcome)?;
    crate::report::alchemical::write_report(directory)
}

fn provenance(request: &EstimateRequest) -> Value {
    json!({
        "kirkwood_version": env!("CARGO_PKG_VERSION"),
        "command": request.command,
        "finished_utc": utc_now(),
        "seed": request.settings.seed,
        "decorrelation": request.settings.decorrelation,
        "ti_rule": request.settings.ti_rule,
        "files": request.read.files,
    })
}

/// Name of a state as a column of a table: its λ, in quotation marks where it has several components.
fn label(value: &Value) -> String {
    match value {
        Value::Array(components) => {
            let words: Vec<String> = components.iter().map(ToString::to_string).collect();
            format!("\"({})\"", words.join(", "))
        }
        other => other.to_string(),
    }
}

fn free_energies(outcome: &Outcome) -> String {
    let (unit, factor) = (outcome.unit, outcome.per_kt());
    let mut text = outcome.dataset.components.join(",");
    for one in &outcome.analysis.estimates {
        let name = id(one.estimator);
        let _ = write!(text, ",{name}_delta_f ({unit}),{name}_std_error ({unit}),{name}_n_samples");
    }
    text.push('\n');
    for (k, state) in outcome.dataset.states.iter().enumerate() {
        let words: Vec<String> = state.lambda.iter().map(ToString::to_string).collect();
        text += &words.join(",");
        for one in &outcome.analysis.estimates {
            let n = one.n_samples.get(k).copied().unwrap_or(0);
            let _ = write!(
                text,
                ",{},{},{n}",
                number(factor * one.delta_f[k]),
                number(factor * one.std_error[k])
            );
        }
        text.push('\n');
    }
    text
}

/// Empty where undetermined, as pandas expects a missing number.
fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

fn windows(outcome: &Outcome) -> String {
    let time = outcome.dataset.time_unit;
    let mut text = format!(
        "state,lambda,n_samples,n_equilibration,equilibrated_at ({time}),statistical_inefficiency,n_effective,series,files\n"
    );
    let lambdas = outcome.lambdas();
    for window in &outcome.analysis.windows {
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{},\"{}\",\"{}\"",
            window.state,
            label(&lambdas[window.state]),
            window.n_samples,
            window.n_equilibration,
            number(window.equilibrated_at),
            number(window.inefficiency),
            number(window.n_effective),
            window.series,
            window.sources.join("; ")
        );
    }
    text
}

fn convergence(outcome: &Outcome) -> String {
    let (unit, factor) = (outcome.unit, outcome.per_kt());
    let mut text = format!(
        "data_fraction,Forward ({unit}),Forward_Error ({unit}),Backward ({unit}),Backward_Error ({unit})\n"
    );
    for point in &outcome.analysis.convergence {
        let cells = [point.forward, point.forward_error, point.backward, point.backward_error];
        let cells: Vec<String> = cells.iter().map(|value| number(factor * value)).collect();
        let _ = writeln!(text, "{},{}", point.fraction, cells.join(","));
    }
    text
}

fn square(outcome: &Outcome, corner: &str, rows: &[Vec<f64>]) -> String {
    let labels: Vec<String> = outcome.lambdas().iter().map(label).collect();
    let mut text = format!("{corner},{}\n", labels.join(","));
    for (label, row) in labels.iter().zip(rows) {
        let cells: Vec<String> = row.iter().map(|value| number(*value)).collect();
        let _ = writeln!(text, "{label},{}", cells.join(","));
    }
    text
}

/// Differences between all pairs of states and their errors, as `delta_f_` and `d_delta_f_` of alchemlyb.
fn matrices(directory: &Path, outcome: &Outcome) -> Result<()> {
    let (unit, factor) = (outcome.unit, outcome.per_kt());
    let n = outcome.dataset.states.len();
    let main =
        |one: &&PathEstimate| matches!(one.estimator, Estimator::Mbar | Estimator::Bar | Estimator::Ti);
    for one in outcome.analysis.estimates.iter().filter(main).filter(|one| one.covariance.len() == n * n) {
        let covariance = |i: usize, j: usize| one.covariance[i * n + j];
        let of_pairs = |value: &dyn Fn(usize, usize) -> f64| -> Vec<Vec<f64>> {
            (0..n).map(|i| (0..n).map(|j| value(i, j)).collect()).collect()
        };
        let differences = of_pairs(&|i, j| factor * (one.delta_f[j] - one.delta_f[i]));
        let errors = of_pairs(&|i, j| {
            factor * (covariance(i, i) + covariance(j, j) - 2.0 * covariance(i, j)).max(0.0).sqrt()
        });
        let name = id(one.estimator);
        let corner = |what: &str| format!("{what} ({unit})");
        for (what, rows) in [("delta_f", differences), ("d_delta_f", errors)] {
            let text = square(outcome, &corner(what), &rows);
            write_atomic(&directory.join(format!("{name}_{what}.csv")), text.as_bytes())?;
            let lambdas = lambda_columns(outcome, 0..n);
            let index: Vec<(&str, &[f64])> = named(&outcome.dataset.components, &lambdas);
            let columns: Vec<Vec<f64>> = (0..n).map(|j| rows.iter().map(|row| row[j]).collect()).collect();
            let names = state_names(outcome, 0..n);
            let columns: Vec<(String, &[f64])> =
                names.into_iter().zip(columns.iter().map(Vec::as_slice)).collect();
            let path = directory.join(format!("{name}_{what}.parquet"));
            write_frame(&path, &index, &columns, &attributes(outcome, &unit.to_string()))?;
        }
    }
    Ok(())
}

/// λ of some states, one column per component.
fn lambda_columns(outcome: &Outcome, states: impl Iterator<Item = usize> + Clone) -> Vec<Vec<f64>> {
    let data = &outcome.dataset;
    (0..data.components.len()).map(|c| states.clone().map(|k| data.states[k].lambda[c]).collect()).collect()
}

fn named<'a>(names: &'a [String], columns: &'a [Vec<f64>]) -> Vec<(&'a str, &'a [f64])> {
    names.iter().map(String::as_str).zip(columns.iter().map(Vec::as_slice)).collect()
}

fn state_names(outcome: &Outcome, states: impl Iterator<Item = usize>) -> Vec<String> {
    states.map(|k| column_name(&outcome.dataset.states[k].lambda)).collect()
}

/// What alchemlyb keeps beside its tables.
fn attributes(outcome: &Outcome, unit: &str) -> BTreeMap<String, Value> {
    let mut attributes = BTreeMap::from([("energy_unit".to_string(), json!(unit))]);
    if outcome.dataset.temperature_k.is_finite() {
        attributes.insert("temperature".into(), json!(outcome.dataset.temperature_k));
    }
    attributes
}

/// The samples as they were joined, as `u_nk` and `dHdl` of alchemlyb.
fn samples(directory: &Path, outcome: &Outcome) -> Result<()> {
    let data = &outcome.dataset;
    let write = |name: &str, samples: &[usize], columns: Vec<(String, &[f64])>| {
        let time: Vec<f64> = samples.iter().map(|&n| data.time[n]).collect();
        let lambdas = lambda_columns(outcome, samples.iter().map(|&n| data.state_of[n]));
        let columns: Vec<(String, Vec<f64>)> = columns
            .into_iter()
            .map(|(name, values)| (name, samples.iter().map(|&n| values[n]).collect()))
            .collect();
        let columns: Vec<(String, &[f64])> =
            columns.iter().map(|(name, values)| (name.clone(), values.as_slice())).collect();
        let mut index = vec![("time", time.as_slice())];
        index.extend(named(&data.components, &lambdas));
        write_frame(&directory.join(name), &index, &columns, &attributes(outcome, "kT"))
    };
    let with_energies = data.samples_with_energies();
    if !with_energies.is_empty() {
        let states = || (0..data.states.len()).filter(|k| !data.void_states.contains(k));
        let columns = state_names(outcome, states()).into_iter().zip(states().map(|k| data.u_of_state(k)));
        write("u_nk.parquet", &with_energies, columns.collect())?;
    }
    if !data.dudl_kt.is_empty() {
        let known = |n: &usize| !data.dudl_of_component(0)[*n].is_nan();
        let with_derivatives: Vec<usize> = (0..data.n_samples()).filter(known).collect();
        let columns = data
            .components
            .iter()
            .enumerate()
            .map(|(c, name)| (name.trim_end_matches("-lambda").to_string(), data.dudl_of_component(c)));
        write("dHdl.parquet", &with_derivatives, columns.collect())?;
    }
    Ok(())
}
