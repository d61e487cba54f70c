//! The outcome as text for a terminal.

use std::fmt::Write;

use super::Outcome;
use crate::free_energy::alchemical::Severity;
use crate::report::number::{short_error, two_digits};

impl Outcome {
    /// Totals, contributions of the steps and what to know about them.
    pub fn table(&self) -> String {
        let (factor, unit) = (self.per_kt(), self.unit);
        let data = &self.dataset;
        let mut text = String::new();
        let n_files: std::collections::BTreeSet<_> =
            data.windows.iter().flat_map(|window| &window.sources).collect();
        let temperature = match data.temperature_k {
            t if t.is_finite() => format!("{t} K"),
            _ => "unknown temperature".into(),
        };
        let _ = writeln!(
            text,
            "{} samples of {} states from {} files, {temperature}, along {}",
            data.n_samples(),
            data.states.len(),
            n_files.len(),
            data.components.join(", ")
        );
        let (Some(first), Some(last)) = (data.states.first(), data.states.last()) else { return text };
        let _ = writeln!(text, "\nfree energy from {} to {} in {unit}", first.name, last.name);
        for one in &self.analysis.estimates {
            let value = one.delta_f.last().map_or(f64::NAN, |value| factor * value);
            let error = one.std_error.last().map_or(f64::NAN, |error| factor * error);
            let bootstrap = match one.bootstrap_error.last() {
                Some(error) => format!("   bootstrap ± {}", short_error(factor * error)),
                None => String::new(),
            };
            let _ = writeln!(text, "  {:<17} {}{bootstrap}", one.estimator.name(), value_error(value, error));
        }
        self.steps(&mut text, factor);
        if !self.analysis.verdicts.is_empty() {
            text.push('\n');
        }
        for verdict in &self.analysis.verdicts {
            let mark = match verdict.severity {
                Severity::Note => "note",
                Severity::Warning => "warning",
                Severity::Untrustworthy => "DO NOT TRUST",
            };
            let _ = writeln!(text, "{mark}: {}", verdict.message);
        }
        text
    }

    fn steps(&self, text: &mut String, factor: f64) {
        let states = &self.dataset.states;
        if states.len() < 3 || self.analysis.estimates.is_empty() {
            return;
        }
        let _ = write!(text, "\ncontribution of each step\n  {:<33}", "");
        for one in &self.analysis.estimates {
            let _ = write!(text, " {:>19}", one.estimator.name());
        }
        text.push('\n');
        for (k, pair) in states.windows(2).enumerate() {
            let from = pair[0].name.trim_start_matches("λ = ");
            let to = pair[1].name.trim_start_matches("λ = ");
            let _ = write!(text, "  {:<33}", format!("{from} → {to}"));
            for one in &self.analysis.estimates {
                let (value, error) = (one.steps.get(k), one.step_errors.get(k));
                let cell = value_error(
                    factor * value.copied().unwrap_or(f64::NAN),
                    factor * error.copied().unwrap_or(f64::NAN),
                );
                let _ = write!(text, " {cell:>19}");
            }
            text.push('\n');
        }
    }
}

/// A value without a finite error holds nothing in place, and is not shown.
fn value_error(value: f64, error: f64) -> String {
    if value.is_finite() && error.is_finite() { two_digits(value, error) } else { "undetermined".into() }
}
