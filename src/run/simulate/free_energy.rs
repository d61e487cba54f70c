//! The free energy along λ of a finished simulation: MBAR, Bennett's ratio and thermodynamic integration.
//!
//! The windows go the same way as files of other programs: what is not at equilibrium is left out, samples count by
//! their statistical inefficiency, and verdicts say where states do not overlap or roads do not meet.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::free_energy::alchemical::analysis::PathEstimate;
use crate::free_energy::alchemical::{
    Analysis, AnalysisSettings, Dataset, Estimator, Severity, TiRule, Verdict, analyse,
};
use crate::free_energy::reader::{Format, Origin, Series};
use crate::run::directory::write_atomic;
use crate::run::summary::entry;
use crate::sampling::ThermodynamicState;

/// What is to be said about the free energy of a path.
pub struct AlongLambda {
    /// Entries of the summary.
    pub entries: Map<String, Value>,
    /// Warnings and worse, in order of importance.
    pub verdicts: Vec<Verdict>,
}

/// Writes `free_energy.csv` and returns what belongs into the summary; `files` are `[state][walker]`.
pub fn along_lambda(
    directory: &Path,
    states: &[ThermodynamicState],
    files: &[std::path::PathBuf],
) -> Result<AlongLambda> {
    let per_state = files.len() / states.len();
    // From the lowest λ to the highest, whatever the direction of the ladder.
    let mut order: Vec<usize> = (0..states.len()).collect();
    order.sort_by(|&a, &b| states[a].lambda.total_cmp(&states[b].lambda));
    let series = files
        .iter()
        .enumerate()
        .map(|(idx, path)| read(path, idx / per_state, states, &order))
        .collect::<Result<Vec<Series>>>()?;
    let data = Dataset::assemble(series)?;
    let settings = AnalysisSettings {
        estimators: vec![Estimator::Mbar, Estimator::Bar, Estimator::Ti],
        ti_rule: TiRule::Spline,
        ..AnalysisSettings::default()
    };
    let analysis = analyse(&data, &settings)?;
    let span = format!("λ {} → {}", states[order[0]].lambda, states[order[order.len() - 1]].lambda);
    let mut entries = Map::new();
    for (name, estimator, road) in [
        ("free_energy_mbar", Estimator::Mbar, "MBAR"),
        ("free_energy_bar", Estimator::Bar, "Bennett's ratio between neighbours"),
        ("free_energy_ti", Estimator::Ti, "thermodynamic integration, cubic spline"),
    ] {
        let Some(path) = of(&analysis, estimator) else { continue };
        let (value, error) = path.total();
        let n: usize = path.n_samples.iter().sum();
        let method = format!("{road}, {} windows, {n} independent samples, {span}", order.len());
        entries.insert(name.into(), entry(value, Some(error), "kT", &method));
    }
    write_atomic(&directory.join("free_energy.csv"), table(&data, &analysis, &order).as_bytes())?;
    let verdicts =
        analysis.verdicts.into_iter().filter(|verdict| verdict.severity > Severity::Note).collect();
    Ok(AlongLambda { entries, verdicts })
}

fn of(analysis: &Analysis, estimator: Estimator) -> Option<&PathEstimate> {
    analysis.estimates.iter().find(|path| path.estimator == estimator)
}

/// A row for each state, from the lowest λ to the highest.
fn table(data: &Dataset, analysis: &Analysis, order: &[usize]) -> String {
    let mut text = String::from(
        "state,lambda,free_energy_kT,std_error_kT,dU_dlambda_kT,dU_dlambda_std_error_kT,frames\n",
    );
    let mbar = of(analysis, Estimator::Mbar);
    let n_k = data.n_k();
    for (place, &state) in order.iter().enumerate() {
        let value = |values: Option<&Vec<f64>>| values.map_or(f64::NAN, |values| values[place]);
        // Windows of one state weigh by their independent samples.
        let (mut sum, mut weight, mut variance) = (0.0, 0.0, 0.0);
        for window in analysis.windows.iter().filter(|window| window.state == place) {
            if let (Some(mean), Some(error)) = (window.mean_dudl.first(), window.mean_dudl_error.first()) {
                sum += window.n_effective * mean;
                weight += window.n_effective;
                variance += (window.n_effective * error).powi(2);
            }
        }
        text += &format!(
            "{state},{},{},{},{},{},{}\n",
            data.states[place].lambda[0],
            value(mbar.map(|path| &path.delta_f)),
            value(mbar.map(|path| &path.std_error)),
            sum / weight,
            variance.sqrt() / weight,
            n_k[place]
        );
    }
    text
}

/// The rows of one `u_kn_NAME.csv`, with the states in the order given.
fn read(path: &Path, state: usize, states: &[ThermodynamicState], order: &[usize]) -> Result<Series> {
    let damaged = |found: String| Error::file(path, "", "a table that kirkwood writes", found);
    let mut reader = csv::Reader::from_path(path).map_err(|error| damaged(error.to_string()))?;
    let place = order.iter().position(|&k| k == state).unwrap_or(state);
    let mut series = Series {
        sources: vec![path.to_path_buf()],
        format: Format::Table,
        // Reduced energies of states with temperatures of their own need none here.
        temperature_k: f64::NAN,
        components: vec!["lambda".into()],
        states: order.iter().map(|&k| vec![states[k].lambda]).collect(),
        time: Vec::new(),
        time_unit: "ps",
        state_of: Vec::new(),
        u_kt: Vec::new(),
        computed: None,
        dudl_kt: Vec::new(),
        origin: Vec::new(),
        warnings: Vec::new(),
    };
    for (idx, row) in reader.deserialize::<Vec<f64>>().enumerate() {
        let row = row.map_err(|error| damaged(error.to_string()))?;
        if row.len() != states.len() + 2 {
            return Err(damaged(format!("{} columns", row.len())));
        }
        series.time.push(row[0]);
        series.state_of.push(place);
        series.dudl_kt.push(row[1]);
        series.u_kt.extend(order.iter().map(|&k| row[2 + k]));
        series.origin.push(Origin { source: 0, line: idx as u32 + 2 });
    }
    if series.time.is_empty() {
        return Err(damaged("no row".into()));
    }
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    /// u_λ = ½ (1 + 3 λ) x²: f(1) − f(0) = ½ ln 4, ∂u/∂λ = 3/2 x².
    #[test]
    fn harmonic_windows_give_the_exact_difference_in_either_direction() {
        for lambdas in [[0.0, 0.25, 0.5, 0.75, 1.0], [1.0, 0.75, 0.5, 0.25, 0.0]] {
            let home = tempfile::tempdir().unwrap();
            let states = lambdas.map(|lambda| ThermodynamicState { kt_kj_per_mol: 2.5, lambda });
            let mut files = Vec::new();
            for (idx, lambda) in lambdas.iter().enumerate() {
                let mut x = vec![0.0; 4000];
                fill_normal(&mut Streams::new(1).stream(Purpose::Walker, idx as u64), &mut x);
                let mut text = String::from("time_ps,dU_dlambda_kT,u_0,u_1,u_2,u_3,u_4\n");
                for (row, z) in x.iter().enumerate() {
                    let square = z * z / (1.0 + 3.0 * lambda);
                    text += &format!("{row},{}", 1.5 * square);
                    lambdas.iter().for_each(|l| text += &format!(",{}", 0.5 * (1.0 + 3.0 * l) * square));
                    text += "\n";
                }
                files.push(home.path().join(format!("{idx}.csv")));
                std::fs::write(&files[idx], text).unwrap();
            }
            let found = along_lambda(home.path(), &states, &files).unwrap();
            let entries = found.entries;
            assert!(found.verdicts.is_empty(), "{:?}", found.verdicts);
            let exact = 0.5 * 4_f64.ln();
            for name in ["free_energy_mbar", "free_energy_bar", "free_energy_ti"] {
                let value = entries[name]["value"].as_f64().unwrap();
                let error = entries[name]["std_error"].as_f64().unwrap();
                // The spline through five nodes is 0.002 off.
                assert!(
                    (value - exact).abs() < 4.0 * error + 0.003 && error < 0.02,
                    "{name} {value} ± {error}"
                );
            }
            let table = std::fs::read_to_string(home.path().join("free_energy.csv")).unwrap();
            assert_eq!(table.lines().count(), 6);
        }
    }
}
