//! All trainings in one table: means and spreads over seeds.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::{Plan, Trained};
use crate::error::Result;
use crate::run::directory::write_atomic;
use crate::run::summary::entry;

/// A number with its standard deviation over seeds; not a number with one seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub mean: f64,
    pub deviation: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        Self { mean, deviation }
    }
}

/// What the table says of each training.
type Column = (&'static str, &'static str, fn(&Trained) -> f64);

/// Name, heading and value of each column.
pub(super) const COLUMNS: [Column; 13] = [
    ("weight_error", "weights, energy", |row| row.assessment.weight_error),
    ("joint_variance", "var(log p_θ − log p)", |row| row.assessment.joint_variance),
    ("variance_within_levels", "within levels", |row| row.assessment.variance_within_levels),
    ("ess", "ESS", |row| mean_over_levels(row, |level| level.ess)),
    ("least_ess", "least ESS", |row| row.assessment.levels.iter().map(|l| l.ess).fold(1.0, f64::min)),
    ("fisher_divergence", "Fisher", |row| mean_over_levels(row, |level| level.fisher_divergence)),
    ("log_z", "log Z", |row| row.assessment.log_z),
    ("sample_weight_error", "weights, samples", |row| row.assessment.sample_weight_error),
    ("n_modes_found", "modes found", |row| row.assessment.n_modes_found as f64),
    ("kl_of_modes", "KL of modes", |row| row.assessment.kl_of_modes),
    ("mmd_squared", "MMD²", |row| row.assessment.mmd_squared),
    ("sliced_wasserstein", "sliced W₁", |row| row.assessment.sliced_wasserstein),
    ("training_seconds", "training / s", |row| row.training_seconds),
];

fn mean_over_levels(row: &Trained, value: impl Fn(&super::assess::Level) -> f64) -> f64 {
    let levels = &row.assessment.levels;
    levels.iter().map(value).sum::<f64>() / levels.len() as f64
}

/// One problem and method.
pub(super) struct Row {
    pub problem: String,
    pub method: String,
    pub label: String,
    pub n_seeds: usize,
    pub n_modes: usize,
    /// In the order of [`COLUMNS`].
    pub values: Vec<Spread>,
}

impl Row {
    pub fn get(&self, column: &str) -> Spread {
        let idx = COLUMNS.iter().position(|(name, ..)| *name == column);
        idx.map_or(Spread { mean: f64::NAN, deviation: f64::NAN }, |idx| self.values[idx])
    }
}

/// All rows, by problem.
pub(super) struct Table {
    pub rows: Vec<Row>,
}

impl Table {
    pub fn new(plan: &Plan, all: &[Trained]) -> Self {
        let mut rows = Vec::new();
        for problem in &plan.problems {
            for method in &plan.config.methods {
                let of: Vec<&Trained> = all
                    .iter()
                    .filter(|row| row.problem == problem.name && row.method == method.name)
                    .collect();
                if of.is_empty() {
                    continue;
                }
                let spread = |(_, _, value): &Column| {
                    Spread::of(&of.iter().map(|row| value(row)).collect::<Vec<f64>>())
                };
                rows.push(Row {
                    problem: problem.name.clone(),
                    method: method.name.clone(),
                    label: method.label.clone(),
                    n_seeds: of.len(),
                    n_modes: problem.modes.len(),
                    values: COLUMNS.iter().map(spread).collect(),
                });
            }
        }
        Self { rows }
    }

    /// Writes `table.csv` and `table.md`.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
        let mut csv = String::from("problem,method,n_seeds,n_modes");
        COLUMNS.iter().for_each(|(name, ..)| {
            let _ = write!(csv, ",{name},{name}_std_dev");
        });
        csv.push('\n');
        for row in &self.rows {
            let _ = write!(csv, "{},{},{},{}", row.problem, row.method, row.n_seeds, row.n_modes);
            for value in &row.values {
                let _ = write!(csv, ",{},{}", number(value.mean), number(value.deviation));
            }
            csv.push('\n');
        }
        write_atomic(&directory.join("table.csv"), csv.as_bytes())?;
        let mut text = String::from("| problem | method |");
        COLUMNS.iter().for_each(|(_, heading, _)| {
            let _ = write!(text, " {heading} |");
        });
        text += "\n|---|---|";
        text += &"---|".repeat(COLUMNS.len());
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "| {} | {} |", row.problem, row.label);
            for value in &row.values {
                let _ = write!(text, " {} |", words(*value));
            }
            text.push('\n');
        }
        write_atomic(&directory.join("table.md"), text.as_bytes())
    }

    /// The headline numbers: of each method, the worst and the mean over its problems.
    pub fn summary(&self) -> Map<String, Value> {
        let mut entries = Map::new();
        let mut methods: Vec<&str> = self.rows.iter().map(|row| row.method.as_str()).collect();
        methods.dedup();
        for (idx, method) in methods.iter().enumerate() {
            if methods[..idx].contains(method) {
                continue;
            }
            let of = || self.rows.iter().filter(|row| row.method == *method);
            for column in ["weight_error", "joint_variance", "sample_weight_error"] {
                let values: Vec<f64> = of().map(|row| row.get(column).mean).collect();
                let worst = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let how = format!("largest over {} problems, each the mean of its seeds", values.len());
                entries.insert(format!("worst_{column}_{method}"), entry(worst, None, "", &how));
            }
            let seconds = of().map(|row| row.get("training_seconds").mean).sum::<f64>() / of().count() as f64;
            let how = "mean wall clock of one training";
            entries.insert(format!("training_seconds_{method}"), entry(seconds, None, "s", how));
        }
        entries
    }

    /// What the benchmark shows, in one sentence; benchmarks are always to be believed.
    pub fn verdict(&self) -> (String, bool) {
        let mut said = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for row in &self.rows {
            if seen.contains(&row.method.as_str()) {
                continue;
            }
            seen.push(&row.method);
            let of = || self.rows.iter().filter(|other| other.method == row.method);
            let worst = of().map(|row| row.get("weight_error").mean).fold(0.0, f64::max);
            said.push(format!("{} {worst:.3} ({} problems)", row.label, of().count()));
        }
        (format!("Largest error of the weights of modes by the energy: {}.", said.join(", ")), true)
    }
}

/// Mean and spread with as many digits as they deserve.
pub(super) fn words(value: Spread) -> String {
    let plain = |x: f64| match x.abs() {
        x if !x.is_finite() => "–".to_string(),
        0.0 => "0".into(),
        size if !(1e-4..1e4).contains(&size) => format!("{x:.1e}"),
        size if size >= 100.0 => format!("{x:.0}"),
        size if size >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.4}"),
    };
    if value.deviation.is_finite() {
        format!("{} ± {}", plain(value.mean), plain(value.deviation))
    } else {
        plain(value.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_standard_deviations_over_seeds() {
        let spread = Spread::of(&[1.0, 2.0, 3.0]);
        assert_eq!((spread.mean, spread.deviation), (2.0, 1.0));
        assert_eq!(words(spread), "2.00 ± 1.00");
        assert_eq!(words(Spread::of(&[0.25])), "0.2500");
        assert_eq!(words(Spread { mean: f64::NAN, deviation: f64::NAN }), "–");
    }
}
