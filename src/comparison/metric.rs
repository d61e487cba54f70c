//! The metrics by name, and their errors from blocks of frames.

use super::grid::{Grid, Sample};
use super::jensen_shannon::jensen_shannon;
use super::pmf_error::surface_error;
use crate::error::{Error, Result};
use crate::free_energy::Estimate;
use crate::free_energy::bootstrap::Blocks;
use crate::free_energy::weights::effective_sample_size;
use serde::{Deserialize, Serialize};

/// Bins along each variable in every published number.
pub const N_BINS: usize = 64;

/// A distance between two samples of two collective variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Jensen–Shannon divergence on 64 × 64 bins between the extremes of the pooled data: as published.
    JensenShannon,
    /// The same on 64 × 64 bins of the full turn, so that bins do not depend on the data.
    JensenShannonPeriodic,
    /// Squared difference of the free-energy surfaces, (kT)².
    PmfError,
    /// Mean Jensen–Shannon contribution on the grid of the PMF error.
    MeanJensenShannon,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 4] =
        [Self::JensenShannon, Self::JensenShannonPeriodic, Self::PmfError, Self::MeanJensenShannon];

    /// The grid on which two samples are counted.
    pub fn grid(self, a: &Sample, b: &Sample) -> Grid {
        match self {
            Self::JensenShannon => Grid::pooled(&[a, b], N_BINS),
            Self::JensenShannonPeriodic => Grid::periodic(N_BINS),
            Self::PmfError | Self::MeanJensenShannon => Grid::with_outliers(N_BINS),
        }
    }

    /// The number from two histograms.
    pub fn of_histograms(self, p: &[f64], q: &[f64]) -> f64 {
        match self {
            Self::JensenShannon | Self::JensenShannonPeriodic => jensen_shannon(p, q),
            Self::PmfError => surface_error(p, q).pmf_error,
            Self::MeanJensenShannon => surface_error(p, q).mean_jensen_shannon,
        }
    }

    /// The number from two samples; symmetric in them.
    pub fn of_samples(self, a: &Sample, b: &Sample) -> f64 {
        let grid = self.grid(a, b);
        self.of_histograms(&grid.histogram(a), &grid.histogram(b))
    }

    /// `(kT)^2` or `nat`.
    pub fn unit(self) -> &'static str {
        if self == Self::PmfError { "(kT)^2" } else { "nat" }
    }

    /// The number with its standard error by the delete-one-block jackknife, over blocks of both samples; with the comparison
    /// that it is made of.
    ///
    /// Blocks must be longer than the correlation time, or hold whole walkers. Bins stay where the full
    /// data put them: where the extremes of the data set the edges, how those vary is not in the error.
    /// The jackknife carries the counting noise of both samples. Where the two laws are equal, the
    /// metric is quadratic in the noise and the jackknife claims about √2 too much: it errs on the safe
    /// side. (A bootstrap is no better there: resampling adds its own counting noise.)
    pub fn with_block_errors(
        self,
        a: &Sample,
        blocks_a: &Blocks,
        b: &Sample,
        blocks_b: &Blocks,
    ) -> Result<(Estimate, Compared)> {
        let compared = self.compare((a, blocks_a), (b, blocks_b))?;
        let kish = |sample: &Sample| sample.weights().map_or(sample.n_frames() as f64, effective_sample_size);
        let method = format!(
            "delete-one-block jackknife ({} and {} blocks)",
            blocks_a.n_blocks(),
            blocks_b.n_blocks()
        );
        let std_error = (compared.own_variance + jackknife(&compared.without_block)).sqrt();
        let n_effective = kish(a).min(kish(b));
        Ok((Estimate::new(compared.value, std_error, n_effective, self.unit(), method), compared))
    }

    /// How much farther `a` is from `reference` than `other` is, where both are compared with the same frames; with the
    /// comparison of `a`.
    ///
    /// Each comparison has the grid that it has alone. `a` should have as many frames as `other`: a metric of fewer frames is
    /// larger.
    pub fn excess_with_block_errors(
        self,
        a: (&Sample, &Blocks),
        other: (&Sample, &Blocks),
        reference: (&Sample, &Blocks),
    ) -> Result<(Estimate, Compared)> {
        let (first, second) = (self.compare(a, reference)?, self.compare(other, reference)?);
        let (difference, std_error) = first.farther_than(&second)?;
        let n_frames = a.0.n_frames().min(other.0.n_frames()).min(reference.0.n_frames());
        let n_blocks = first.without_block.len();
        let method =
            format!("delete-one-block jackknife of the difference ({n_blocks} blocks of the reference)");
        Ok((Estimate::new(difference, std_error, n_frames as f64, self.unit(), method), first))
    }

    /// The number of a sample against a reference, with what its error is made of.
    pub fn compare(self, a: (&Sample, &Blocks), reference: (&Sample, &Blocks)) -> Result<Compared> {
        let grid = self.grid(a.0, reference.0);
        let (own, of_reference) = (by_block(&grid, a.0, a.1)?, by_block(&grid, reference.0, reference.1)?);
        let (mut p, mut q) = (sum(&own, grid.n_bins()), sum(&of_reference, grid.n_bins()));
        Ok(Compared {
            value: self.of_histograms(&p, &q),
            own_variance: jackknife(&replicates(&own, &mut p, |p| self.of_histograms(p, &q))),
            without_block: replicates(&of_reference, &mut q, |q| self.of_histograms(&p, q)),
        })
    }
}

/// A metric of a sample against a reference that others are compared with as well.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The metric.
    pub value: f64,
    /// Variance from the frames of the sample, by the jackknife over its blocks.
    pub own_variance: f64,
    /// The metric without each of the blocks of the reference.
    pub without_block: Vec<f64>,
}

impl Compared {
    /// How much farther this sample is from the reference than another, and the standard error.
    ///
    /// The noise of the reference is in both numbers, and the jackknife over its blocks takes the difference.
    pub fn farther_than(&self, other: &Self) -> Result<(f64, f64)> {
        let [own, others] = [self, other].map(|compared| compared.without_block.len());
        if own != others {
            return Err(Error::invalid("blocks of the reference", own.to_string(), others.to_string()));
        }
        let both = self.without_block.iter().zip(&other.without_block);
        let differences: Vec<f64> = both.map(|(own, other)| own - other).collect();
        let variance = self.own_variance + other.own_variance + jackknife(&differences);
        Ok((self.value - other.value, variance.sqrt()))
    }
}

/// Occupied bins of one block.
type Sparse = Vec<(u32, f64)>;

fn by_block(grid: &Grid, sample: &Sample, blocks: &Blocks) -> Result<Vec<Sparse>> {
    if blocks.block_of().len() != sample.n_frames() {
        return Err(Error::invalid(
            "block of each frame",
            sample.n_frames().to_string(),
            blocks.block_of().len().to_string(),
        ));
    }
    let mut by_block: Vec<Sparse> = vec![Vec::new(); blocks.n_blocks()];
    for (n, &block) in blocks.block_of().iter().enumerate() {
        if let Some(bin) = grid.bin(sample.frame(n)) {
            by_block[block].push((bin as u32, sample.weight(n)));
        }
    }
    Ok(by_block)
}

fn sum(by_block: &[Sparse], n_bins: usize) -> Vec<f64> {
    let mut total = vec![0.0; n_bins];
    by_block.iter().flatten().for_each(|(bin, weight)| total[*bin as usize] += weight);
    total
}

/// θ₋ᵦ, the value without each of the blocks; `rest` comes and goes as the sum over all of them.
fn replicates(by_block: &[Sparse], rest: &mut [f64], value: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let full = rest.to_vec();
    let without = |block: &Sparse| {
        block.iter().for_each(|(bin, weight)| rest[*bin as usize] -= weight);
        // A bin that only this block filled must be exactly empty, not full of rounding.
        for bin in block.iter().map(|(bin, _)| *bin as usize) {
            if rest[bin] < 1e-12 * full[bin] {
                rest[bin] = 0.0;
            }
        }
        let value = value(rest);
        block.iter().for_each(|(bin, _)| rest[*bin as usize] = full[*bin as usize]);
        value
    };
    by_block.iter().map(without).collect()
}

/// (B − 1)/B Σ (θ₋ᵦ − θ̄)², the variance of θ.
fn jackknife(replicates: &[f64]) -> f64 {
    let n = replicates.len() as f64;
    let mean = replicates.iter().sum::<f64>() / n;
    (n - 1.0) / n * replicates.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    fn vector(value: &serde_json::Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    #[test]
    fn the_published_definitions_give_the_same_numbers() {
        let text = include_str!("../../tests/data/comparison_reference.json");
        let data: serde_json::Value = serde_json::from_str(text).unwrap();
        let (a, b, weights) = (vector(&data["a"]), vector(&data["b"]), vector(&data["weights_b"]));
        let (a, plain) = (Sample::new(&a).unwrap(), Sample::new(&b).unwrap());
        for (case, b) in [("plain", plain), ("weighted", plain.with_weights(&weights).unwrap())] {
            for (metric, name) in
                Metric::ALL.iter().zip(["js", "js_periodic", "pmf_error", "mean_jensen_shannon"])
            {
                let expected = data[case][name].as_f64().unwrap();
                let found = metric.of_samples(&a, &b);
                assert!((found / expected - 1.0).abs() < 1e-12, "{case} {name}: {found} {expected}");
                assert!((metric.of_samples(&b, &a) / expected - 1.0).abs() < 1e-12);
            }
        }
    }

    fn sample(n: usize, center: f64, stream: u64) -> Vec<f64> {
        let mut values = vec![0.0; 2 * n];
        fill_normal(&mut Streams::new(17).stream(Purpose::Walker, stream), &mut values);
        values.iter().map(|z| center + 0.4 * z).collect()
    }

    /// Mean claimed error over the real spread of repeats.
    fn calibration(metric: Metric, center: f64) -> f64 {
        let n = 4000;
        let blocks = Blocks::contiguous(n, 40).unwrap();
        let estimates: Vec<Estimate> = (0..60)
            .map(|i| {
                let (a, b) = (sample(n, 0.0, 2 * i), sample(n, center, 2 * i + 1));
                let (a, b) = (Sample::new(&a).unwrap(), Sample::new(&b).unwrap());
                metric.with_block_errors(&a, &blocks, &b, &blocks).unwrap().0
            })
            .collect();
        let spread = crate::free_energy::bootstrap::deviation(estimates.iter().map(|e| e.value));
        let claimed = estimates.iter().map(|e| e.std_error.powi(2)).sum::<f64>() / 60.0;
        claimed.sqrt() / spread
    }

    /// The noise of the reference is common to both: the difference of two equal laws is zero within its error, which is
    /// what repeats scatter by, and a law that differs shows.
    #[test]
    fn the_excess_over_another_sample_is_paired() {
        let n = 4000;
        let blocks = Blocks::contiguous(n, 40).unwrap();
        let metric = Metric::JensenShannonPeriodic;
        let excess = |center: f64, i: u64| {
            let [a, b, c] =
                [(center, 0), (0.0, 1), (0.0, 2)].map(|(center, k)| sample(n, center, 900 + 3 * i + k));
            let [a, b, c] = [&a, &b, &c].map(|values| Sample::new(values).unwrap());
            metric.excess_with_block_errors((&a, &blocks), (&b, &blocks), (&c, &blocks)).unwrap().0
        };
        let equal: Vec<Estimate> = (0..40).map(|i| excess(0.0, i)).collect();
        let mean = equal.iter().map(|e| e.value).sum::<f64>() / 40.0;
        let spread = crate::free_energy::bootstrap::deviation(equal.iter().map(|e| e.value));
        let claimed = (equal.iter().map(|e| e.std_error.powi(2)).sum::<f64>() / 40.0).sqrt();
        assert!(mean.abs() < 4.0 * spread / 40.0_f64.sqrt(), "{mean} {spread}");
        assert!(claimed > 0.75 * spread && claimed < 2.5 * spread, "{claimed} {spread}");
        let other = excess(0.3, 0);
        assert!(other.value > 5.0 * other.std_error, "{other:?}");
    }

    #[test]
    fn block_errors_are_right_for_different_laws_and_safe_for_equal_ones() {
        // 60 repeats determine a spread to 9 %.
        for metric in [Metric::JensenShannonPeriodic, Metric::PmfError] {
            let (different, equal) = (calibration(metric, 0.5), calibration(metric, 0.0));
            assert!((0.75..1.5).contains(&different), "{metric:?} {different}");
            assert!((0.8..1.9).contains(&equal), "{metric:?} {equal}");
        }
    }
}
