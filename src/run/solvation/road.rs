//! One row of a table of solvation free energies: a value, its error, what it cost and what to know about it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::free_energy::alchemical::{Severity, Verdict};
use crate::report::number;
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

    /// Whether there is a number: an error of more than 100 kT says nothing about the value.
    fn is_determined(&self) -> bool {
        const LARGEST_ERROR_KT: f64 = 100.0;
        self.value_kt.is_finite() && self.std_error_kt < LARGEST_ERROR_KT
    }

    /// The same with NaN and an infinite error where it is not determined, whatever number came out.
    pub fn determined(mut self) -> Self {
        if !self.is_determined() {
            (self.value_kt, self.std_error_kt) = (f64::NAN, f64::INFINITY);
        }
        self
    }

    /// Value and error, or that there are none.
    pub fn words(&self) -> String {
        if self.is_determined() {
            number::two_digits(self.value_kt, self.std_error_kt).replace('-', "−")
        } else {
            "not determined".into()
        }
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
        let again: Road =
            serde_json::from_str(&serde_json::to_string(&road(f64::NAN, f64::INFINITY)).unwrap()).unwrap();
        assert!(again.value_kt.is_nan() && again.std_error_kt == f64::INFINITY && !again.is_trustworthy());
        assert_eq!(again.entry().0, "delta_f_direct");
        assert!(again.entry().1["value"].is_null());
    }

    /// Bennett's ratio of works without overlap is 0 with an infinite error, or any number with an error of 1e17 kT.
    #[test]
    fn a_value_without_an_error_is_no_value() {
        for (value, std_error) in [(0.0, f64::INFINITY), (-72.0, 1.2e17), (1.0, f64::NAN), (f64::NAN, 0.1)] {
            let road = road(value, std_error).determined();
            assert_eq!(road.words(), "not determined");
            let (_, entry) = road.entry();
            assert!(entry["value"].is_null() && entry["std_error"].is_null(), "{entry}");
        }
        let sound = road(-35.9, 0.12);
        assert_eq!(sound.clone().determined(), sound);
        assert_eq!(sound.words(), "−35.90 ± 0.12");
    }

    fn road(value_kt: f64, std_error_kt: f64) -> Road {
        Road {
            name: "direct".into(),
            method: "one constant for all t".into(),
            value_kt,
            std_error_kt,
            n_energy_evaluations: 3,
            wall_seconds: 0.5,
            verdicts: vec![Verdict::new(Severity::Untrustworthy, "no_overlap", "no overlap")],
        }
    }
}
