//! A number that can be quoted alone: value, standard error, unit, method.

use serde::{Deserialize, Serialize};

/// A result with the error that belongs to it and how that error was obtained.
///
/// NaN stands for what could not be determined (a free energy between states without overlap);
/// an infinite error for a number that nothing holds in place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value, in `unit`.
    pub value: f64,
    /// One standard error, in `unit`.
    pub std_error: f64,
    /// How many independent equally weighted samples would carry the same information.
    pub n_effective: f64,
    /// `kT`, `nm`, or `1` for pure numbers.
    pub unit: String,
    /// How the error was obtained, for example `block bootstrap (200 resamples of 40 blocks)`.
    pub error_method: String,
}

impl Estimate {
    /// An estimate with everything that belongs to it.
    pub fn new(
        value: f64,
        std_error: f64,
        n_effective: f64,
        unit: impl Into<String>,
        error_method: impl Into<String>,
    ) -> Self {
        Self { value, std_error, n_effective, unit: unit.into(), error_method: error_method.into() }
    }

    /// `self − other` for independent estimates; the errors add in quadrature.
    pub fn minus(&self, other: &Self) -> Self {
        Self {
            value: self.value - other.value,
            std_error: self.std_error.hypot(other.std_error),
            n_effective: self.n_effective.min(other.n_effective),
            unit: self.unit.clone(),
            error_method: if self.error_method == other.error_method {
                self.error_method.clone()
            } else {
                format!("{}; {}", self.error_method, other.error_method)
            },
        }
    }

    /// The same with the error obtained in another way.
    pub fn with_error(mut self, std_error: f64, error_method: impl Into<String>) -> Self {
        self.std_error = std_error;
        self.error_method = error_method.into();
        self
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Two significant digits of the error decide how many digits of the value are worth reading.
        let digits = if self.std_error.is_finite() && self.std_error > 0.0 {
            (1.0 - self.std_error.log10().floor()).clamp(0.0, 12.0) as usize
        } else {
            6
        };
        let unit = if self.unit == "1" { String::new() } else { format!(" {}", self.unit) };
        write!(f, "{:.digits$} ± {:.digits$}{unit}", self.value, self.std_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_independent_estimates_adds_variances() {
        let a = Estimate::new(5.0, 0.3, 100.0, "kT", "a");
        let b = Estimate::new(3.0, 0.4, 50.0, "kT", "b");
        let difference = a.minus(&b);
        assert_eq!((difference.value, difference.n_effective), (2.0, 50.0));
        assert!((difference.std_error - 0.5).abs() < 1e-15);
        assert_eq!(difference.to_string(), "2.00 ± 0.50 kT");
    }
}
