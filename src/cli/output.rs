//! Results as text and as JSON.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use kirkwood::free_energy::alchemical::{Severity, Verdict};
use serde_json::{Value, json};

/// What `--json` prints when something failed.
pub fn error_object(kind: &str, message: &str, file: Option<&Path>, place: &str) -> String {
    let file = file.map(|file| file.display().to_string());
    let place = (!place.is_empty()).then_some(place);
    pretty(&json!({ "error": { "kind": kind, "message": message, "file": file, "place": place } }))
}

/// Warnings on standard error, a result on standard output.
pub fn show(warnings: &[String], text: &str) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    // Who reads only the beginning of a long output closes the pipe, which is no error.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// One line per verdict, the gravest first.
pub fn verdict_lines(verdicts: &[Verdict]) -> String {
    let word = |severity: Severity| match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Untrustworthy => "not to be trusted",
    };
    verdicts.iter().map(|verdict| format!("{}: {}\n", word(verdict.severity), verdict.message)).collect()
}

/// Indented JSON.
pub fn pretty(value: &Value) -> String {
    // A `Value` has text keys and finite numbers only, so it can always be written.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// The headline numbers as lines `name  value ± error unit`.
pub fn table(summary: &Value) -> String {
    let mut text = String::new();
    let Some(entries) = summary.as_object() else { return text };
    let width = entries.keys().map(String::len).max().unwrap_or(0);
    for (name, entry) in entries {
        let Some(value) = entry.get("value").and_then(Value::as_f64) else { continue };
        let error = entry.get("std_error").and_then(Value::as_f64);
        let unit = entry.get("unit").and_then(Value::as_str).unwrap_or_default();
        let _ = writeln!(text, "{name:<width$}  {} {unit}", with_error(value, error));
    }
    text
}

/// A value with as many digits as its error allows.
fn with_error(value: f64, error: Option<f64>) -> String {
    match error {
        Some(error) if error > 0.0 && error.is_finite() => {
            let digits = (1.0 - error.log10().floor()).clamp(0.0, 8.0) as usize;
            format!("{value:.digits$} ± {error:.digits$}")
        }
        _ if value != 0.0 && value.abs() < 0.1 => format!("{value:.6}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_shows_two_digits_of_its_error() {
        assert_eq!(with_error(0.116_23, Some(0.003_11)), "0.1162 ± 0.0031");
        assert_eq!(with_error(3.0, Some(0.25)), "3.00 ± 0.25");
        assert_eq!(with_error(41.26, None), "41.260");
    }
}
