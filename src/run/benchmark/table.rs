//! All trainings in one table: means and spreads over seeds.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::assess::Assessment;
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
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        Self { mean, deviation }
    }
}

/// What the table says of each training.
type Column = (&'static str, &'static str, fn(&Assessment) -> f64);

/// Name, heading and value of each column, besides how long training took.
pub(super) const COLUMNS: [Column; 13] = [
    ("weight_error", "weights, energy", |found| found.weight_error),
    ("joint_variance", "var(log p_θ − log p)", |found| found.joint_variance),
    ("variance_within_levels", "within levels", |found| found.variance_within_levels),
    ("ess", "ESS", |found| mean_over_levels(found, |level| level.ess)),
    ("least_ess", "least ESS", |found| {
        let less = |least: f64, ess: f64| if ess.is_nan() || ess < least { ess } else { least };
        found.levels.iter().map(|level| level.ess).reduce(less).unwrap_or(f64::NAN)
    }),
    ("fisher_divergence", "Fisher", |found| mean_over_levels(found, |level| level.fisher_divergence)),
    ("log_z", "log Z", |found| found.log_z),
    ("sample_weight_error", "weights, samples", |found| found.sample_weight_error),
    ("n_modes_found", "modes found", |found| found.n_modes_found as f64),
    ("n_diverged", "diverged walkers", |found| found.n_diverged as f64),
    ("kl_of_modes", "KL of modes", |found| found.kl_of_modes),
    ("mmd_squared", "MMD²", |found| found.mmd_squared),
    ("sliced_wasserstein", "sliced W₁", |found| found.sliced_wasserstein),
];

fn mean_over_levels(found: &Assessment, value: impl Fn(&super::assess::Level) -> f64) -> f64 {
    found.levels.iter().map(value).sum::<f64>() / found.levels.len() as f64
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
    /// Wall clock of a training.
    pub seconds: Spread,
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
                // A training that diverged makes the mean of its method what is not a number.
                let spread = |(_, _, value): &Column| {
                    let of_row = |row: &&Trained| row.assessment.as_ref().map_or(f64::NAN, value);
                    Spread::of(&of.iter().map(of_row).collect::<Vec<f64>>())
                };
                let seconds: Vec<f64> = of.iter().map(|row| row.training_seconds).collect();
                rows.push(Row {
                    problem: problem.name.clone(),
                    method: method.name.clone(),
                    label: method.label.clone(),
                    n_seeds: of.len(),
                    n_modes: problem.modes.len(),
                    values: COLUMNS.iter().map(spread).collect(),
                    seconds: Spread::of(&seconds),
                });
            }
        }
        Self { rows }
    }

    /// Writes `table.csv` and `table.md`, where there is anything.
    pub fn write(&self, directory: &Path) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
        let mut csv = String::from("problem,method,n_seeds,n_modes");
        COLUMNS.iter().for_each(|(name, ..)| {
            let _ = write!(csv, ",{name},{name}_std_dev");
        });
        csv += ",training_seconds,training_seconds_std_dev\n";
        for row in &self.rows {
            let _ = write!(csv, "{},{},{},{}", row.problem, row.method, row.n_seeds, row.n_modes);
            for value in row.values.iter().chain([&row.seconds]) {
                let _ = write!(csv, ",{},{}", number(value.mean), number(value.deviation));
            }
            csv.push('\n');
        }
        write_atomic(&directory.join("table.csv"), csv.as_bytes())?;
        let mut text = String::from("| problem | method |");
        COLUMNS.iter().for_each(|(_, heading, _)| {
            let _ = write!(text, " {heading} |");
        });
        text += " training / s |\n|---|---|";
        text += &"---|".repeat(COLUMNS.len() + 1);
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "| {} | {} |", row.problem, row.label);
            for value in row.values.iter().chain([&row.seconds]) {
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
                let worst = worst(values.iter().copied());
                let how = format!("largest over {} problems, each the mean of its seeds", values.len());
                entries.insert(format!("worst_{column}_{method}"), entry(worst, None, "", &how));
            }
            let seconds = of().map(|row| row.seconds.mean).sum::<f64>() / of().count() as f64;
            let how = "mean wall clock of one training";
            entries.insert(format!("training_seconds_{method}"), entry(seconds, None, "s", how));
        }
        entries
    }

    /// What the benchmark shows, in one sentence.
    pub fn verdict(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut said = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for row in &self.rows {
            if seen.contains(&row.method.as_str()) {
                continue;
            }
            seen.push(&row.method);
            let of = || self.rows.iter().filter(|other| other.method == row.method);
            let worst = worst(of().map(|row| row.get("weight_error").mean));
            let worst = if worst.is_finite() { format!("{worst:.3}") } else { "not determined".into() };
            let n = of().count();
            said.push(format!("{} {worst} ({n} {})", row.label, if n == 1 { "problem" } else { "problems" }));
        }
        format!("Largest error of the weights of modes by the energy: {}.", said.join(", "))
    }
}

/// The largest, or what is not a number if there is any.
pub(super) fn worst(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::NEG_INFINITY, |worst, value| if value.is_nan() || value > worst { value } else { worst })
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

    fn of_levels(ess: &[f64]) -> Assessment {
        let level = |ess: &f64| {
            serde_json::json!({
                "t": 0.5, "log_snr": 0.0, "ess": ess, "fisher_divergence": null, "mean_difference": null,
            })
        };
        let nothing =
            ["joint_variance", "variance_within_levels", "weight_error", "log_z", "sample_weight_error"];
        let nothing = nothing.into_iter().chain(["kl_of_modes", "mmd_squared", "sliced_wasserstein"]);
        let mut found: Value = nothing.map(|name| (name, Value::Null)).collect();
        found["levels"] = ess.iter().map(level).collect();
        found["weights"] = Value::Array(Vec::new());
        found["sample_weights"] = Value::Array(Vec::new());
        found["n_modes_by_energy"] = 0.into();
        found["n_modes_found"] = 0.into();
        serde_json::from_value(found).unwrap()
    }

    /// What generates without a density has no levels: the least of nothing is no 1.
    #[test]
    fn a_generator_has_no_least_share() {
        let (.., least) = COLUMNS.into_iter().find(|(name, ..)| *name == "least_ess").unwrap();
        assert_eq!(least(&of_levels(&[0.5, 0.25, 0.75])), 0.25);
        assert!(least(&of_levels(&[0.5, f64::NAN])).is_nan() && least(&of_levels(&[])).is_nan());
    }

    #[test]
    fn a_closing_sentence_counts_its_problems() {
        let row = |problem: &str, value| Row {
            problem: problem.into(),
            method: "dsm".into(),
            label: "DSM".into(),
            n_seeds: 1,
            n_modes: 2,
            values: COLUMNS.iter().map(|_| Spread::of(&[value])).collect(),
            seconds: Spread::of(&[1.0]),
        };
        let said = |rows| Table { rows }.verdict();
        assert!(said(vec![row("a", 0.25)]).ends_with("DSM 0.250 (1 problem)."));
        let diverged = said(vec![row("a", 0.25), row("b", f64::NAN)]);
        assert!(diverged.ends_with("DSM not determined (2 problems)."), "{diverged}");
    }
}
