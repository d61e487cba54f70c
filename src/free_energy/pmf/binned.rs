//! Weighted samples in bins.

use super::Axis;
use crate::error::{Error, Result};

/// The bin of each sample, once for many sets of weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Binned {
    axes: Vec<Axis>,
    bins: Vec<Option<u32>>,
}

impl Binned {
    /// Bins samples; `values` has one number per axis for each sample.
    pub fn new(axes: &[Axis], values: &[f64]) -> Result<Self> {
        if axes.is_empty() || axes.len() > 2 || !values.len().is_multiple_of(axes.len().max(1)) {
            return Err(Error::invalid(
                "samples of a potential of mean force",
                "one or two axes and as many numbers per sample",
                format!("{} axes and {} numbers", axes.len(), values.len()),
            ));
        }
        let bin = |sample: &[f64]| {
            sample.iter().zip(axes).try_fold(0, |index, (value, axis)| {
                axis.bin(*value).map(|bin| index * axis.n_bins() as u32 + bin as u32)
            })
        };
        Ok(Self { axes: axes.to_vec(), bins: values.chunks_exact(axes.len()).map(bin).collect() })
    }

    /// The axes.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// Number of samples.
    pub fn n_samples(&self) -> usize {
        self.bins.len()
    }

    /// Samples outside the axes.
    pub fn n_outside(&self) -> usize {
        self.bins.iter().filter(|bin| bin.is_none()).count()
    }

    /// Number of bins of all axes together.
    pub fn n_bins(&self) -> usize {
        self.axes.iter().map(Axis::n_bins).product()
    }

    /// Bin of each sample, counted as in a histogram; `None` outside.
    pub fn bins(&self) -> &[Option<u32>] {
        &self.bins
    }

    /// Width, or area, of each bin.
    pub fn volumes(&self) -> Vec<f64> {
        match &self.axes[..] {
            [x, y] => {
                let heights = y.widths();
                x.widths().iter().flat_map(|width| heights.iter().map(move |height| width * height)).collect()
            }
            axes => axes[0].widths(),
        }
    }

    /// Middle of each bin, one number per axis.
    pub fn centers(&self) -> Vec<Vec<f64>> {
        match &self.axes[..] {
            [x, y] => {
                let ys = y.centers();
                x.centers().iter().flat_map(|x| ys.iter().map(|y| vec![*x, *y])).collect()
            }
            axes => axes[0].centers().iter().map(|x| vec![*x]).collect(),
        }
    }

    /// Weight in each bin; each sample counts one without weights.
    pub fn histogram(&self, weights: Option<&[f64]>) -> Result<Vec<f64>> {
        self.check(weights)?;
        Ok(self.sums(|n| weights.map_or(1.0, |weights| weights[n])))
    }

    /// Sum of a number per sample in each bin.
    pub(super) fn sums(&self, of: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.n_bins()];
        for (n, bin) in self.bins.iter().enumerate() {
            if let Some(bin) = bin {
                sums[*bin as usize] += of(n);
            }
        }
        sums
    }

    /// Bins in which fewer than two blocks have weight.
    pub(super) fn seen_by_one_block(&self, weights: Option<&[f64]>, block_of: &[u32]) -> Vec<bool> {
        let mut first = vec![None; self.n_bins()];
        let mut single = vec![true; self.n_bins()];
        for (n, (bin, block)) in self.bins.iter().zip(block_of).enumerate() {
            if let (Some(bin), true) = (bin, weights.is_none_or(|weights| weights[n] > 0.0)) {
                let first = first[*bin as usize].get_or_insert(*block);
                single[*bin as usize] &= *first == *block;
            }
        }
        single
    }

    pub(super) fn check(&self, weights: Option<&[f64]>) -> Result<()> {
        match weights {
            Some(weights) if weights.len() != self.bins.len() => Err(Error::invalid(
                "weights of samples",
                self.bins.len().to_string(),
                weights.len().to_string(),
            )),
            Some(weights) if weights.iter().any(|w| !(w.is_finite() && *w >= 0.0)) => {
                Err(Error::invalid("weights of samples", "finite numbers ≥ 0", "another"))
            }
            _ => Ok(()),
        }
    }
}
