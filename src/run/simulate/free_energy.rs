//! The free energy along λ of a finished simulation, by MBAR and by thermodynamic integration.
//!
//! Frames are thinned to the statistical inefficiency of ∂u/∂λ first, so that errors are those of
//! independent samples.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::free_energy::thermodynamic_integration::{Node, integrate};
use crate::free_energy::{Mbar, ReducedEnergies};
use crate::run::directory::write_atomic;
use crate::run::simulate::summary::Average;
use crate::run::summary::entry;
use crate::sampling::ThermodynamicState;
use crate::trajectory::decorrelated_indices;

/// The rows of one `u_kn_NAME.csv`.
struct Window {
    state: usize,
    /// ∂u/∂λ in kT.
    derivatives: Vec<f64>,
    /// `[frame][state]`.
    u: Vec<Vec<f64>>,
}

/// Writes `free_energy.csv` and returns the entries of the summary; `files` are `[state][walker]`.
pub fn along_lambda(
    directory: &Path,
    states: &[ThermodynamicState],
    files: &[std::path::PathBuf],
) -> Result<Map<String, Value>> {
    let per_state = files.len() / states.len();
    let windows: Vec<Window> = files
        .iter()
        .enumerate()
        .map(|(idx, path)| read(path, idx / per_state, states.len()))
        .collect::<Result<_>>()?;
    // From the lowest λ to the highest, whatever the direction of the ladder.
    let mut order: Vec<usize> = (0..states.len()).collect();
    order.sort_by(|&a, &b| states[a].lambda.total_cmp(&states[b].lambda));
    let (first, last) = (order[0], order[order.len() - 1]);

    let mut nodes = Vec::new();
    let (mut rows, mut state_of) = (Vec::new(), Vec::new());
    for &state in &order {
        let of_state = windows.iter().filter(|window| window.state == state);
        let average = Average::of(of_state.clone().map(|window| &window.derivatives[..]));
        nodes.push(Node {
            lambda: states[state].lambda,
            mean: average.mean,
            std_error: if average.std_error.is_finite() { average.std_error } else { 0.0 },
        });
        // A derivative that never changes, as at λ = 0 of a parabola, says nothing about correlation.
        let constant =
            of_state.clone().all(|window| window.derivatives.iter().all(|d| *d == window.derivatives[0]));
        let own: Vec<Vec<f64>> =
            of_state.clone().map(|window| window.u.iter().map(|u| u[last] - u[first]).collect()).collect();
        let inefficiency = match constant {
            true => Average::of(own.iter().map(|own| &own[..])).inefficiency,
            false => average.inefficiency,
        };
        for window in of_state {
            for idx in decorrelated_indices(window.u.len(), inefficiency) {
                rows.push(&window.u[idx]);
                state_of.push(state);
            }
        }
    }
    let u_kn = (0..states.len()).flat_map(|k| rows.iter().map(move |u| u[k])).collect();
    let energies = ReducedEnergies::new(states.len(), u_kn, state_of)?;
    let mbar = Mbar::new(&energies)?;
    let mut entries = Map::new();
    let span = format!("λ {} → {}", states[first].lambda, states[last].lambda);
    let n = energies.n_samples();
    let (value, error) =
        mbar.difference(first, last).map_or((f64::NAN, f64::NAN), |found| (found.value, found.std_error));
    let method = format!("MBAR of {n} decorrelated frames, {span}");
    entries.insert("free_energy_mbar".into(), entry(value, Some(error), "kT", &method));
    let integral = integrate(&nodes)?;
    let method = format!(
        "thermodynamic integration, cubic spline through {} windows, {span}; trapezoid differs by {:.3} kT",
        nodes.len(),
        integral.discretisation_kt
    );
    let (value, error) = (integral.spline.value, integral.spline.std_error);
    entries.insert("free_energy_ti".into(), entry(value, Some(error), "kT", &method));

    let mut table = String::from(
        "state,lambda,free_energy_kT,std_error_kT,dU_dlambda_kT,dU_dlambda_std_error_kT,frames\n",
    );
    for (&state, node) in order.iter().zip(&nodes) {
        let (value, error) = match state == first {
            true => (0.0, 0.0),
            false => mbar
                .difference(first, state)
                .map_or((f64::NAN, f64::NAN), |found| (found.value, found.std_error)),
        };
        let n = energies.n_k()[state];
        table += &format!("{state},{},{value},{error},{},{},{n}\n", node.lambda, node.mean, node.std_error);
    }
    write_atomic(&directory.join("free_energy.csv"), table.as_bytes())?;
    Ok(entries)
}

fn read(path: &Path, state: usize, n_states: usize) -> Result<Window> {
    let damaged = |found: String| Error::file(path, "", "a table that kirkwood writes", found);
    let mut reader = csv::Reader::from_path(path).map_err(|error| damaged(error.to_string()))?;
    let mut window = Window { state, derivatives: Vec::new(), u: Vec::new() };
    for row in reader.deserialize::<Vec<f64>>() {
        let row = row.map_err(|error| damaged(error.to_string()))?;
        if row.len() != n_states + 2 {
            return Err(damaged(format!("{} columns", row.len())));
        }
        window.derivatives.push(row[1]);
        window.u.push(row[2..].to_vec());
    }
    if window.u.is_empty() {
        return Err(damaged("no row".into()));
    }
    Ok(window)
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
            let entries = along_lambda(home.path(), &states, &files).unwrap();
            let exact = 0.5 * 4_f64.ln();
            for name in ["free_energy_mbar", "free_energy_ti"] {
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
