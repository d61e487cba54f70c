//! Which method is closest to the held-out frames of a molecule, and by how much the others are farther.
//!
//! Runs of one seed share their held-out frames, whose noise is most of the error of a metric and none of that of a difference:
//! differences are taken block by block (`compare/replicates.csv`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use super::Learned;
use super::molecule_table::ENSEMBLES;
use crate::comparison::Compared;
use crate::error::Result;
use crate::run::summary::{or_nan, read_rows};

/// A row of `compare/replicates.csv`.
#[derive(Debug, Deserialize)]
struct Replicate {
    set: String,
    metric: String,
    #[serde(deserialize_with = "or_nan")]
    value: f64,
    #[serde(deserialize_with = "or_nan")]
    own_std_error: f64,
    #[serde(deserialize_with = "or_nan")]
    value_without_block: f64,
}

/// The metric that methods are compared by: on bins that do not depend on what was drawn.
const METRIC: &str = "js_periodic";

/// The Jensen–Shannon divergence of each set of a run from the held-out frames.
pub(super) fn read(directory: &Path) -> Result<BTreeMap<String, Compared>> {
    let mut found: BTreeMap<String, Compared> = BTreeMap::new();
    for row in read_rows::<Replicate>(&directory.join("compare/replicates.csv"))? {
        if row.metric == METRIC {
            let (value, own_variance) = (row.value, row.own_std_error.powi(2));
            let new = || Compared { value, own_variance, without_block: Vec::new() };
            found.entry(row.set).or_insert_with(new).without_block.push(row.value_without_block);
        }
    }
    Ok(found)
}

/// The methods at one molecule, by one of its sets.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ranking {
    pub set: &'static str,
    /// The label of the closest.
    pub best: String,
    /// Label, how much farther, standard error; in the order of distance.
    pub others: Vec<(String, f64, f64)>,
}

impl Ranking {
    /// The runs of one molecule, by the seeds that all its methods have; `None` unless there are two methods and such a seed.
    pub fn new(set: &'static str, runs: &[&Learned]) -> Option<Self> {
        let runs = runs.iter().filter_map(|run| Some((run, run.compared.get(set)?)));
        let runs = runs.map(|(run, compared)| Drawn {
            method: &run.method.name,
            label: &run.method.label,
            seed: run.seed,
            compared,
        });
        Self::of(set, runs.collect())
    }

    fn of(set: &'static str, runs: Vec<Drawn>) -> Option<Self> {
        let mut names: Vec<&str> = Vec::new();
        for run in &runs {
            if !names.contains(&run.method) {
                names.push(run.method);
            }
        }
        let find = |name: &str, seed: u64| runs.iter().find(|run| run.method == name && run.seed == seed);
        let mut seeds: Vec<u64> = runs.iter().map(|run| run.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        seeds.retain(|seed| names.iter().all(|name| find(name, *seed).is_some()));
        let mut methods: Vec<Vec<&Drawn>> =
            names.iter().map(|name| seeds.iter().filter_map(|seed| find(name, *seed)).collect()).collect();
        if seeds.is_empty() || methods.len() < 2 {
            return None;
        }
        let total = |of: &[&Drawn]| of.iter().map(|run| run.compared.value).sum::<f64>();
        methods.sort_by(|a, b| total(a).total_cmp(&total(b)));
        let others = methods[1..].iter().map(|of| {
            let (value, error) = difference(of, &methods[0]);
            (of[0].label.to_string(), value, error)
        });
        Some(Self { set, best: methods[0][0].label.to_string(), others: others.collect() })
    }

    /// How its set was drawn.
    pub fn title(&self) -> &'static str {
        ENSEMBLES.iter().find(|(set, _)| *set == self.set).map_or(self.set, |(_, title)| title)
    }

    /// One sentence.
    pub fn sentence(&self, molecule: &str) -> String {
        let mut text = format!("{molecule}, {}: {} is closest", self.title(), self.best);
        for (label, difference, error) in &self.others {
            let resolved = if *difference > 2.0 * error { "" } else { ", not resolved" };
            let _ = write!(text, "; {label} {difference:.4} ± {error:.4} farther{resolved}");
        }
        text + "."
    }
}

/// A set of one run, as it is compared.
struct Drawn<'a> {
    method: &'a str,
    label: &'a str,
    seed: u64,
    compared: &'a Compared,
}

/// The mean over seeds of how much farther one method is than another, and its standard error: of the frames, or the spread
/// of the seeds, which hold out other frames, where that is larger. Not a number where held-out frames differ.
fn difference(of: &[&Drawn], best: &[&Drawn]) -> (f64, f64) {
    let both = of.iter().zip(best);
    let pairs: Vec<(f64, f64)> = both
        .map(|(of, best)| of.compared.farther_than(best.compared).unwrap_or((f64::NAN, f64::NAN)))
        .collect();
    let n = pairs.len() as f64;
    let mean = pairs.iter().map(|(difference, _)| difference).sum::<f64>() / n;
    let within = pairs.iter().map(|(_, error)| error * error).sum::<f64>() / (n * n);
    let squares: f64 = pairs.iter().map(|(difference, _)| (difference - mean).powi(2)).sum();
    let between = if pairs.len() > 1 { squares / (n - 1.0) / n } else { 0.0 };
    (mean, within.max(between).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(value: f64, noise: &[f64], own: f64) -> Compared {
        let without_block = noise.iter().map(|noise| value + noise).collect();
        Compared { value, own_variance: own * own, without_block }
    }

    fn drawn<'a>(method: &'a str, seed: u64, compared: &'a Compared) -> Drawn<'a> {
        Drawn { method, label: method, seed, compared }
    }

    /// Noise that both have drops out; what is left is the noise of each, or the spread of seeds.
    #[test]
    fn common_noise_is_not_in_a_difference() {
        let noise = [0.5, -0.5, 0.3, -0.3];
        let (near, far) = (compared(0.10, &noise, 3e-3), compared(0.12, &noise, 4e-3));
        let rank = |runs| Ranking::of("iid", runs);
        let one = rank(vec![drawn("far", 1, &far), drawn("near", 1, &near)]).unwrap();
        assert_eq!(one.best, "near");
        let (label, value, error) = &one.others[0];
        assert!(label == "far" && (value - 0.02).abs() < 1e-12 && (error - 5e-3).abs() < 1e-9, "{one:?}");

        // Two seeds that agree halve the variance; two that do not have their spread.
        let two = |other| {
            let runs = [("far", 1, &far), ("far", 2, other), ("near", 1, &near), ("near", 2, &near)];
            rank(runs.map(|(method, seed, of)| drawn(method, seed, of)).into()).unwrap().others[0].clone()
        };
        assert!((two(&far).2 - 5e-3 / 2.0_f64.sqrt()).abs() < 1e-9);
        let farther = compared(0.16, &noise, 4e-3);
        let (_, value, error) = two(&farther);
        assert!((value - 0.04).abs() < 1e-12 && (error - 0.02).abs() < 1e-9, "{value} {error}");
    }

    /// A method that has fewer seeds is compared by these; one that has none in common is not.
    #[test]
    fn only_common_seeds_count() {
        let [easy, hard, close] = [0.10, 0.50, 0.09].map(|value| compared(value, &[0.1, -0.1], 1e-3));
        let runs = || vec![drawn("a", 1, &easy), drawn("b", 1, &close), drawn("b", 2, &hard)];
        let ranking = Ranking::of("iid", runs()).unwrap();
        assert!(ranking.best == "b" && (ranking.others[0].1 - 0.01).abs() < 1e-12, "{ranking:?}");
        let mut apart = runs();
        apart[0].seed = 3;
        assert_eq!(Ranking::of("iid", apart), None);
        assert_eq!(Ranking::of("iid", vec![drawn("a", 1, &easy)]), None);
        let fewer = compared(0.2, &[0.1], 1e-3);
        let ranking = Ranking::of("iid", vec![drawn("a", 1, &easy), drawn("b", 1, &fewer)]).unwrap();
        assert!(ranking.others[0].1.is_nan());
    }

    #[test]
    fn a_sentence_says_what_is_not_resolved() {
        let others = vec![("RNE".into(), 0.001, 0.002), ("DSM".into(), 0.02, 0.001)];
        let ranking = Ranking { set: "equilibrium", best: "DiffCLF".into(), others };
        let expected = "chignolin, equilibrium: DiffCLF is closest; RNE 0.0010 ± 0.0020 farther, not resolved; \
                        DSM 0.0200 ± 0.0010 farther.";
        assert_eq!(ranking.sentence("chignolin"), expected);
    }
}
