//! Results as text and as JSON.

use std::fmt::{Display, Write as _};
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
        remark(format_args!("warning: {warning}"));
    }
    print(text);
}

/// A result on standard output, to the end of its last line.
pub fn print(text: &str) {
    // Who reads only the beginning of a long output closes the pipe, which is no error.
    let _ = writeln!(std::io::stdout().lock(), "{}", text.strip_suffix('\n').unwrap_or(text));
}

/// A line on standard error.
pub fn remark(line: impl Display) {
    // As above.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
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
        let Some(value) = entry.get("value") else { continue };
        let error = entry.get("std_error").and_then(Value::as_f64);
        let unit = entry.get("unit").and_then(Value::as_str).unwrap_or_default();
        let number = match value.as_f64() {
            Some(value) => format!("{} {unit}", with_error(value, error)),
            None => "not determined".into(),
        };
        let _ = writeln!(text, "{name:<width$}  {number}");
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
    fn what_has_no_value_is_named_all_the_same() {
        let summary = json!({
            "delta_f_mbar": { "value": -1.5, "std_error": 0.25, "unit": "kT" },
            "delta_f_bar": { "value": null, "std_error": null, "unit": "kT" },
        });
        assert_eq!(table(&summary), "delta_f_mbar  -1.50 ± 0.25 kT\ndelta_f_bar   not determined\n");
    }

    #[test]
    fn a_value_shows_two_digits_of_its_error() {
        assert_eq!(with_error(0.116_23, Some(0.003_11)), "0.1162 ± 0.0031");
        assert_eq!(with_error(3.0, Some(0.25)), "3.00 ± 0.25");
        assert_eq!(with_error(41.26, None), "41.260");
    }
}
