//! One row of a table of solvation free energies: a value, its error, what it cost and what to know about it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::free_energy::alchemical::{Severity, Verdict};
use crate::run::summary::{entry, finite, or_nan};

/// What one road to a free energy came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Road {
    /// For programs: `mbar`, `crooks`, `learned_ti`, ….
    pub name: String,
    /// For people: the estimator and the data that it had, in a few words.
    pub method: String,
    /// f(solvent) − f(vacuum) in kT; NaN where undetermined, `null` in JSON.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub value_kt: f64,
    /// One standard error in kT; infinite where undetermined, `null` in JSON.
    #[serde(serialize_with = "finite", deserialize_with = "or_infinite")]
    pub std_error_kt: f64,
    /// Conformations of which a molecular-mechanics energy (with or without forces) was computed, everything that
    /// the road needs included.
    pub n_energy_evaluations: u64,
    /// Wall clock of everything that the road needs.
    pub wall_seconds: f64,
    /// In order of importance.
    pub verdicts: Vec<Verdict>,
}

impl Road {
    /// Whether no verdict says not to trust the number.
    pub fn is_trustworthy(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.severity < Severity::Untrustworthy)
    }

    /// The same for `summary.json`, where it is called `delta_f_NAME`.
    pub fn entry(&self) -> (String, Value) {
        let value = entry(self.value_kt, Some(self.std_error_kt), "kT", &self.method);
        (format!("delta_f_{}", self.name), value)
    }
}

pub(super) fn or_infinite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undetermined_survives_json() {
        let road = Road {
            name: "direct".into(),
            method: "one constant for all t".into(),
            value_kt: f64::NAN,
            std_error_kt: f64::INFINITY,
            n_energy_evaluations: 3,
            wall_seconds: 0.5,
            verdicts: vec![Verdict::new(Severity::Untrustworthy, "no_overlap", "no overlap")],
        };
        let again: Road = serde_json::from_str(&serde_json::to_string(&road).unwrap()).unwrap();
        assert!(again.value_kt.is_nan() && again.std_error_kt == f64::INFINITY && !again.is_trustworthy());
        assert_eq!(again.entry().0, "delta_f_direct");
        assert!(again.entry().1["value"].is_null());
    }
}
