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

/// The Jensen–Shannon divergence of each set of a run from the held-out frames.
pub(super) fn read(directory: &Path) -> Result<BTreeMap<String, Compared>> {
    let mut found: BTreeMap<String, Compared> = BTreeMap::new();
    for row in read_rows::<Replicate>(&directory.join("compare/replicates.csv"))? {
        if row.metric == "js" {
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
    /// The runs of one molecule; `None` unless two methods have the set for the same seed.
    pub fn new(set: &'static str, runs: &[&Learned]) -> Option<Self> {
        let mut methods: Vec<(&str, BTreeMap<u64, &Compared>)> = Vec::new();
        for run in runs {
            let Some(compared) = run.compared.get(set) else { continue };
            match methods.iter_mut().find(|(label, _)| *label == run.method.label) {
                Some((_, of)) => drop(of.insert(run.seed, compared)),
                None => methods.push((&run.method.label, BTreeMap::from([(run.seed, compared)]))),
            }
        }
        let mean = |of: &BTreeMap<u64, &Compared>| {
            of.values().map(|compared| compared.value).sum::<f64>() / of.len() as f64
        };
        methods.sort_by(|(_, a), (_, b)| mean(a).total_cmp(&mean(b)));
        let [(best, of_best), others @ ..] = &methods[..] else { return None };
        let others: Vec<(String, f64, f64)> = others
            .iter()
            .filter_map(|(label, of)| {
                let (difference, error) = difference(of, of_best)?;
                Some((label.to_string(), difference, error))
            })
            .collect();
        (!others.is_empty()).then(|| Self { set, best: best.to_string(), others })
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

/// The mean over common seeds of how much farther one method is than another. The noise of held-out frames is taken to be
/// common to all seeds; what seeds add is their spread.
fn difference(of: &BTreeMap<u64, &Compared>, best: &BTreeMap<u64, &Compared>) -> Option<(f64, f64)> {
    let pairs: Vec<(f64, f64)> = of
        .iter()
        .filter_map(|(seed, compared)| {
            let other = best.get(seed)?;
            let comparable = compared.without_block.len() == other.without_block.len();
            comparable.then(|| compared.farther_than(other))
        })
        .collect();
    let n = pairs.len() as f64;
    if pairs.is_empty() {
        return None;
    }
    let mean = pairs.iter().map(|(difference, _)| difference).sum::<f64>() / n;
    let within = pairs.iter().map(|(_, error)| error * error).sum::<f64>() / n;
    let squares: f64 = pairs.iter().map(|(difference, _)| (difference - mean).powi(2)).sum();
    let between = if pairs.len() > 1 { squares / (n - 1.0) / n } else { 0.0 };
    Some((mean, (within + between).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(value: f64, noise: &[f64], own: f64) -> Compared {
        let without_block = noise.iter().map(|noise| value + noise).collect();
        Compared { value, own_variance: own * own, without_block }
    }

    /// Noise that both have drops out; what is left is the noise of each, and the spread of seeds.
    #[test]
    fn common_noise_is_not_in_a_difference() {
        let noise = [0.5, -0.5, 0.3, -0.3];
        let (near, far) = (compared(0.10, &noise, 3e-3), compared(0.12, &noise, 4e-3));
        let one = |compared| BTreeMap::from([(1, compared)]);
        let (value, error) = difference(&one(&far), &one(&near)).unwrap();
        assert!((value - 0.02).abs() < 1e-12 && (error - 5e-3).abs() < 1e-9, "{value} {error}");
        let farther = compared(0.16, &noise, 4e-3);
        let (of, best) =
            (BTreeMap::from([(1, &far), (2, &farther)]), BTreeMap::from([(1, &near), (2, &near)]));
        let (value, error) = difference(&of, &best).unwrap();
        let expected = (25e-6_f64 + 0.5 * 2.0 * 0.02 * 0.02).sqrt();
        assert!((value - 0.04).abs() < 1e-12 && (error - expected).abs() < 1e-9, "{value} {error}");
        assert_eq!(difference(&one(&far), &BTreeMap::from([(2, &near)])), None);
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
