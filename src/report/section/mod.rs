//! The sections of a report, one file each; every one shows what is there and leaves out the rest.

pub mod accuracy;
pub mod distances;
pub mod free_energy;
pub mod headline;
pub mod path;
pub mod populations;
pub mod profiles;
pub mod provenance;
pub mod sampling;
pub mod surfaces;
pub mod training;
pub mod variants;

use super::contents::{Contents, Quantity, Variable};
use super::figure::Color;
use super::figure::axis::Kind;
use super::number;

/// A set of conformations in words.
pub fn set_label(set: &str) -> String {
    match set {
        "data" => "Data".into(),
        "train" => "Training".into(),
        "iid" => "IID".into(),
        "langevin" => "Langevin".into(),
        "equilibrium" => "Equilibrium".into(),
        "smc" => "SMC".into(),
        "mbar" => "MBAR".into(),
        "ti" => "TI".into(),
        other => other.replace('_', " "),
    }
}

/// The colour of a set, the same in all figures.
pub fn set_color(set: &str) -> Color {
    match set {
        "data" => Color::Ink,
        "train" => Color::Muted,
        "iid" | "ti" => Color::Series(0),
        "langevin" => Color::Series(1),
        "equilibrium" => Color::Series(2),
        "smc" => Color::Series(3),
        "mbar" => Color::Series(4),
        _ => Color::Series(5),
    }
}

/// A collective variable's symbol: Greek letters for the dihedrals of proteins.
pub fn symbol(variable: &str) -> String {
    let (stem, digits) = variable.split_at(variable.trim_end_matches(|c: char| c.is_ascii_digit()).len());
    let letter = match stem {
        "phi" => "φ",
        "psi" => "ψ",
        "omega" => "ω",
        "chi" => "χ",
        "theta" => "θ",
        _ => return variable.replace('_', " "),
    };
    format!("{letter}{digits}")
}

/// How a column of a collective variable is shown: axis, label, and factor from the file's unit.
pub struct VariableAxis {
    /// Of the axis.
    pub kind: Kind,
    /// With unit.
    pub label: String,
    /// From the unit of the file to that of the axis.
    pub factor: f64,
}

impl VariableAxis {
    /// From a column such as `phi_rad` and what the plan says of the variable.
    pub fn of_column(column: &str, variables: &[Variable]) -> Self {
        let (name, unit) = match column.rsplit_once('_') {
            Some((name, unit @ ("rad" | "nm" | "deg"))) => (name, unit),
            _ => (column, ""),
        };
        let symbol = symbol(name);
        let dihedral = variables
            .iter()
            .find(|variable| variable.name.eq_ignore_ascii_case(name))
            .is_none_or(|variable| variable.kind == "dihedral");
        let degrees = if dihedral { Kind::Degrees } else { Kind::Linear };
        match unit {
            "rad" => Self {
                kind: degrees,
                label: format!("{symbol} / degrees"),
                factor: 180.0 / std::f64::consts::PI,
            },
            "deg" => Self { kind: degrees, label: format!("{symbol} / degrees"), factor: 1.0 },
            "" => Self { kind: Kind::Linear, label: symbol, factor: 1.0 },
            unit => Self { kind: Kind::Linear, label: format!("{symbol} / {unit}"), factor: 1.0 },
        }
    }
}

/// A number of the summary with its error and unit.
pub fn quantity_text(name: &str, quantity: &Quantity) -> (String, String) {
    let value = quantity.value.unwrap_or(f64::NAN);
    let unit = quantity.unit.as_deref().unwrap_or_default();
    let pure = matches!(unit, "" | "1" | "-" | "none" | "fraction" | "probability");
    if name.starts_with("population_") && pure {
        return (number::percent(value, quantity.std_error), String::new());
    }
    let unit = if pure { "" } else { unit };
    (number::with_error(value, quantity.std_error), unit.replace("^2", "²").replace("^-1", "⁻¹"))
}

/// A metric of a set, from the table of metrics or else from the summary.
pub fn metric(contents: &Contents, set: &str, metric: &str) -> Option<(f64, Option<f64>)> {
    let from_summary = || {
        let alone = contents.quantity(&format!("{metric}_{set}"));
        let floor = || metric.ends_with("_floor").then(|| contents.quantity(metric)).flatten();
        let quantity = alone.or_else(floor)?;
        Some((quantity.value?, quantity.std_error))
    };
    metric_from_table(contents, set, metric).or_else(from_summary)
}

fn metric_from_table(contents: &Contents, set: &str, metric: &str) -> Option<(f64, Option<f64>)> {
    let table = contents.metrics.as_ref()?;
    let (sets, metrics) = (table.texts("set").ok()?, table.texts("metric").ok()?);
    let values = table.numbers("value").ok()?;
    let errors = table.numbers("std_error").ok();
    let row = (0..sets.len()).find(|&i| sets[i] == set && metrics[i] == metric && values[i].is_finite())?;
    Some((values[row], errors.map(|errors| errors[row])))
}

/// A value of a table, or an en dash.
pub fn cell(value: Option<(f64, Option<f64>)>) -> String {
    value.map_or_else(|| "–".into(), |(value, error)| number::with_error(value, error))
}
