//! Standard errors from groups of samples that are independent of each other, and rows of learned roads.

use serde::{Deserialize, Serialize};

use super::Road;
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::bennett::bennett;

/// A road along which a learned energy was evaluated as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedRoad {
    /// The row of the table; its evaluations are those of physical energies.
    pub road: Road,
    /// Conformations of which the learned energy was computed, training not counted.
    pub n_model_evaluations: u64,
}

impl LearnedRoad {
    /// The same with [`Road::determined`].
    pub fn determined(self) -> Self {
        Self { road: self.road.determined(), ..self }
    }
}

/// A number and its standard error by the jackknife over groups: `statistic` is given the group to leave out.
pub fn jackknife(n_groups: usize, statistic: impl Fn(Option<usize>) -> f64) -> (f64, f64) {
    let value = statistic(None);
    let without: Vec<f64> = (0..n_groups).map(|group| statistic(Some(group))).collect();
    let mean = without.iter().sum::<f64>() / n_groups as f64;
    let spread: f64 = without.iter().map(|value| (value - mean).powi(2)).sum();
    let std_error = (spread * (n_groups as f64 - 1.0) / n_groups as f64).sqrt();
    (value, if std_error.is_finite() { std_error } else { f64::INFINITY })
}

/// Works of samples with the group of each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Works {
    /// kT.
    pub kt: Vec<f64>,
    /// Below the number of groups.
    pub groups: Vec<usize>,
}

impl Works {
    /// Without those of one group.
    pub fn without(&self, group: Option<usize>) -> Vec<f64> {
        let kept = self.kt.iter().zip(&self.groups).filter(|(_, of)| Some(**of) != group);
        kept.map(|(work, _)| *work).collect()
    }

    /// Their mean without one group.
    pub fn mean(&self, group: Option<usize>) -> f64 {
        let kept = self.without(group);
        kept.iter().sum::<f64>() / kept.len() as f64
    }

    /// Their median, the upper of two; not a number without any.
    pub fn median(&self) -> f64 {
        let mut sorted = self.kt.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Standard deviation.
    pub fn deviation(&self) -> f64 {
        let mean = self.mean(None);
        let sum: f64 = self.kt.iter().map(|work| (work - mean).powi(2)).sum();
        (sum / (self.kt.len() as f64 - 1.0)).sqrt()
    }
}

/// Bennett's ratio with the error by groups, or the asymptotic one where that is larger.
pub fn bennett_by_groups(forward: &Works, reverse: &Works, n_groups: usize) -> (f64, f64) {
    let ratio = |group| {
        bennett(&forward.without(group), &reverse.without(group)).map_or(f64::NAN, |estimate| estimate.value)
    };
    let (value, std_error) = jackknife(n_groups, ratio);
    let asymptotic = bennett(&forward.kt, &reverse.kt).map_or(f64::INFINITY, |estimate| estimate.std_error);
    (value, std_error.max(asymptotic))
}

/// What a reader is told about the two ends of a process that share a fraction of their samples.
pub fn overlap_verdict(place: &str, overlap: f64) -> Option<Verdict> {
    let percent = 100.0 * overlap;
    let (severity, remark) = if overlap.is_nan() || overlap < 0.003 {
        (Severity::Untrustworthy, "the number is not determined by these samples")
    } else if overlap < 0.03 {
        (Severity::Warning, "the error may be too small")
    } else {
        return None;
    };
    let message =
        format!("{place}: the two directions have {percent:.2} % of their samples in common; {remark}");
    Some(Verdict::new(severity, "low_overlap", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jackknife_of_a_mean_is_its_standard_error() {
        let works = Works { kt: vec![1.0, 2.0, 4.0, 9.0], groups: vec![0, 1, 2, 3] };
        let (mean, std_error) = jackknife(4, |group| works.mean(group));
        assert!((mean - 4.0).abs() < 1e-12 && (std_error - works.deviation() / 2.0).abs() < 1e-12);
        // Two copies of each sample in one group say no more than one.
        let twice = Works { kt: works.kt.repeat(2), groups: works.groups.repeat(2) };
        let again = jackknife(4, |group| twice.mean(group)).1;
        assert!((again - std_error).abs() < 1e-12);
        assert_eq!(jackknife(4, |_| f64::NAN).1, f64::INFINITY);
    }

    #[test]
    fn little_overlap_is_said() {
        let severity = |overlap| overlap_verdict("here", overlap).map(|verdict| verdict.severity);
        assert_eq!(severity(0.2), None);
        assert_eq!(severity(0.01), Some(Severity::Warning));
        assert_eq!(severity(f64::NAN), Some(Severity::Untrustworthy));
    }
}
