//! Several roads to one number: do they meet within their errors?

use super::Estimate;
use serde::{Deserialize, Serialize};

/// Pairs within this many combined standard errors agree.
pub const AGREEMENT_SIGMA: f64 = 2.0;

/// Beyond this many, the roads as a whole do not. Of three good estimates, one pair is more than 2 apart in
/// every ninth run, by chance alone, and more than 3 apart in one of a hundred and thirty (equal errors).
pub const DISAGREEMENT_SIGMA: f64 = 3.0;

/// One estimate and the road that led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Road {
    /// For example `MBAR over 24 levels`.
    pub name: String,
    /// Where it led.
    pub estimate: Estimate,
}

/// Two roads compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// One road.
    pub first: String,
    /// The other.
    pub second: String,
    /// First minus second, with the combined error of independent estimates.
    pub difference: Estimate,
    /// |difference| / combined error.
    pub n_sigma: f64,
    /// Within [`AGREEMENT_SIGMA`].
    pub agrees: bool,
}

/// All pairs and what they amount to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// The roads, as given.
    pub roads: Vec<Road>,
    /// Every pair.
    pub pairs: Vec<Pair>,
    /// No pair is more than [`DISAGREEMENT_SIGMA`] apart.
    pub agrees: bool,
    /// In a sentence.
    pub verdict: String,
}

/// Compares independent estimates of the same quantity.
pub fn agreement(roads: Vec<Road>) -> Agreement {
    let mut pairs = Vec::new();
    for (i, first) in roads.iter().enumerate() {
        for second in &roads[i + 1..] {
            let difference = first.estimate.minus(&second.estimate);
            let n_sigma =
                if difference.value == 0.0 { 0.0 } else { difference.value.abs() / difference.std_error };
            // NaN and an infinite error are no agreement: nothing was determined.
            let agrees = difference.std_error.is_finite() && n_sigma <= AGREEMENT_SIGMA;
            let (first, second) = (first.name.clone(), second.name.clone());
            pairs.push(Pair { first, second, difference, n_sigma, agrees });
        }
    }
    let agrees = pairs.iter().all(|pair| pair.agrees || pair.n_sigma <= DISAGREEMENT_SIGMA);
    let verdict = verdict(&roads, &pairs, agrees);
    Agreement { roads, pairs, agrees, verdict }
}

fn verdict(roads: &[Road], pairs: &[Pair], agrees: bool) -> String {
    if pairs.is_empty() {
        return "There is nothing to compare: fewer than two estimates.".into();
    }
    if agrees {
        let widest = pairs.iter().map(|pair| pair.n_sigma).fold(0.0, f64::max);
        let (limit, remark) = if widest <= AGREEMENT_SIGMA {
            (AGREEMENT_SIGMA, "")
        } else {
            (DISAGREEMENT_SIGMA, "; more than 2 is rare, but not a contradiction")
        };
        return format!(
            "The {} estimates agree within {limit} combined standard errors (largest difference: \
             {widest:.1}{remark}).",
            roads.len()
        );
    }
    let apart: Vec<String> = pairs
        .iter()
        .filter(|pair| !pair.agrees)
        .map(|pair| {
            if pair.n_sigma.is_finite() && pair.difference.std_error.is_finite() {
                format!(
                    "{} and {} differ by {} ({:.1} combined standard errors)",
                    pair.first, pair.second, pair.difference, pair.n_sigma
                )
            } else {
                format!("{} and {} cannot be compared, one is undetermined", pair.first, pair.second)
            }
        })
        .collect();
    format!("The estimates do not agree: {}.", apart.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn road(name: &str, value: f64, error: f64) -> Road {
        Road { name: name.into(), estimate: Estimate::new(value, error, 100.0, "kT", "given") }
    }

    #[test]
    fn roads_that_meet_are_said_to_meet() {
        let result =
            agreement(vec![road("SMC", 0.10, 0.03), road("MBAR", 0.13, 0.04), road("TI", 0.05, 0.05)]);
        assert!(result.agrees && result.pairs.len() == 3, "{}", result.verdict);
        assert!((result.pairs[0].n_sigma - 0.6).abs() < 1e-12);
    }

    #[test]
    fn a_pair_between_two_and_three_errors_apart_is_marked_and_not_condemned() {
        let result = agreement(vec![road("SMC", 0.0, 0.3), road("MBAR", 1.25, 0.4)]);
        assert!(result.agrees && !result.pairs[0].agrees);
        assert!(result.verdict.contains("within 3 combined") && result.verdict.contains("2.5; more than 2"));
    }

    #[test]
    fn the_pair_that_does_not_meet_is_named() {
        let result =
            agreement(vec![road("SMC", 1.0, 0.1), road("MBAR", 0.0, 0.1), road("TI", f64::NAN, 0.1)]);
        assert!(!result.agrees);
        assert!(result.verdict.contains("SMC and MBAR differ by 1.00 ± 0.14 kT (7.1"), "{}", result.verdict);
        assert!(result.verdict.contains("MBAR and TI cannot be compared"), "{}", result.verdict);
    }
}
