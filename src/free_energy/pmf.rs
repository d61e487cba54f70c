//! Potentials of mean force F(s) = −ln p(s) in one or two collective variables, in kT.
//!
//! Samples carry weights (of MBAR, of sequential Monte Carlo, or none). A bin that nothing visited has
//! no value: NaN, never zero. Errors come from resampling blocks; where the weights themselves depend
//! on the sample, as those of MBAR do, MBAR is solved anew for every resample ([`Pmf::from_mbar`]).

use super::Mbar;
use super::bootstrap::{Blocks, bootstrap, bootstrap_mbar};
use crate::error::{Error, Result};
use crate::random::Streams;
use serde::{Deserialize, Serialize};

/// Equal bins along one collective variable.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// Lower end of the first bin.
    pub low: f64,
    /// Upper end of the last bin.
    pub high: f64,
    /// How many bins.
    pub n_bins: usize,
    /// Whether values outside are images of values inside, with the period `high − low`.
    pub periodic: bool,
}

impl Axis {
    /// Bins between two finite ends.
    pub fn new(low: f64, high: f64, n_bins: usize, periodic: bool) -> Result<Self> {
        if low.is_finite() && high.is_finite() && low < high && n_bins > 0 {
            return Ok(Self { low, high, n_bins, periodic });
        }
        Err(Error::invalid(
            "axis of a histogram",
            "finite low < high and at least one bin",
            format!("{low} to {high} in {n_bins} bins"),
        ))
    }

    /// A full turn from −π to π, periodic.
    pub fn angle(n_bins: usize) -> Self {
        Self { low: -std::f64::consts::PI, high: std::f64::consts::PI, n_bins: n_bins.max(1), periodic: true }
    }

    /// The bin of a value; `None` outside an axis that is not periodic, and for NaN.
    pub fn bin(&self, value: f64) -> Option<usize> {
        let mut fraction = (value - self.low) / (self.high - self.low);
        if self.periodic {
            fraction -= fraction.floor();
        }
        // The upper end belongs to the last bin, as in every common histogram.
        let inside = (0.0..=1.0).contains(&fraction);
        inside.then(|| ((fraction * self.n_bins as f64) as usize).min(self.n_bins - 1))
    }

    /// Middle of each bin.
    pub fn centers(&self) -> Vec<f64> {
        let width = (self.high - self.low) / self.n_bins as f64;
        (0..self.n_bins).map(|i| self.low + (i as f64 + 0.5) * width).collect()
    }
}

/// Where the zero of a potential of mean force lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reference {
    /// At the lowest bin of the full data; that bin has no error.
    Minimum,
    /// At a bin, counted as in `values_kt`.
    Bin(usize),
    /// Nowhere: −ln of the probability of each bin, whose sum over bins is one.
    Probability,
}

/// A potential of mean force with errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Pmf {
    /// One or two axes.
    pub axes: Vec<Axis>,
    /// F in kT, `[bin]` or `[bin of axis 0][bin of axis 1]`; NaN where nothing was seen.
    pub values_kt: Vec<f64>,
    /// Standard errors in kT; NaN where nothing was seen, and where a single block did.
    pub std_errors_kt: Vec<f64>,
    /// Share of the weight inside the axes.
    pub coverage: f64,
    /// How the errors were obtained.
    pub error_method: String,
}

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
                axis.bin(*value).map(|bin| index * axis.n_bins as u32 + bin as u32)
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

    /// Number of bins of all axes together.
    pub fn n_bins(&self) -> usize {
        self.axes.iter().map(|axis| axis.n_bins).product()
    }

    /// Weight in each bin; each sample counts one without weights.
    pub fn histogram(&self, weights: Option<&[f64]>) -> Result<Vec<f64>> {
        self.check(weights)?;
        let mut histogram = vec![0.0; self.n_bins()];
        for (n, bin) in self.bins.iter().enumerate() {
            if let Some(bin) = bin {
                histogram[*bin as usize] += weights.map_or(1.0, |weights| weights[n]);
            }
        }
        Ok(histogram)
    }

    /// Bins in which fewer than two blocks have weight.
    fn seen_by_one_block(&self, weights: Option<&[f64]>, blocks: &Blocks) -> Vec<bool> {
        let mut first = vec![None; self.n_bins()];
        let mut single = vec![true; self.n_bins()];
        for (n, (bin, block)) in self.bins.iter().zip(blocks.block_of()).enumerate() {
            if let (Some(bin), true) = (bin, weights.is_none_or(|weights| weights[n] > 0.0)) {
                let first = first[*bin as usize].get_or_insert(*block);
                single[*bin as usize] &= *first == *block;
            }
        }
        single
    }

    fn check(&self, weights: Option<&[f64]>) -> Result<()> {
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

impl Pmf {
    /// Weights are given once and for all; errors from resampling blocks.
    pub fn new(
        binned: &Binned,
        weights: Option<&[f64]>,
        reference: Reference,
        blocks: &Blocks,
        n_resamples: usize,
        streams: &Streams,
    ) -> Result<Self> {
        binned.check(weights)?;
        if blocks.block_of().len() != binned.n_samples() {
            return Err(Error::invalid(
                "block of each sample",
                binned.n_samples().to_string(),
                blocks.block_of().len().to_string(),
            ));
        }
        // One sparse histogram per block; a resample is then a sum over blocks.
        let n_bins = binned.n_bins();
        let mut by_block: Vec<Vec<(u32, f64)>> = vec![Vec::new(); blocks.n_blocks()];
        for (n, (bin, &block)) in binned.bins.iter().zip(blocks.block_of()).enumerate() {
            let weight = weights.map_or(1.0, |weights| weights[n]);
            if let (Some(bin), true) = (bin, weight > 0.0) {
                by_block[block].push((*bin, weight));
            }
        }
        for block in &mut by_block {
            block.sort_unstable_by_key(|(bin, _)| *bin);
            block.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                if same {
                    kept.1 += next.1;
                }
                same
            });
        }
        let histogram = binned.histogram(weights)?;
        let zero = zero_bin(&histogram, reference)?;
        let result = bootstrap(blocks, n_resamples, streams, |count| {
            let mut histogram = vec![0.0; n_bins];
            for (block, count) in by_block.iter().zip(count).filter(|(_, count)| **count > 0.0) {
                for (bin, weight) in block {
                    histogram[*bin as usize] += count * weight;
                }
            }
            Some(free_energies(&histogram, zero))
        });
        let single = binned.seen_by_one_block(weights, blocks);
        Ok(Self::assembled(binned, weights, &histogram, zero, &single, result.std_errors, result.method))
    }

    /// Weights of an MBAR solution, of a state or a target; errors from resampled solutions.
    ///
    /// Several variables share the resamples, whose solutions are what costs time.
    pub fn from_mbar(
        mbar: &Mbar,
        weights_of: impl Fn(&Mbar) -> Option<Vec<f64>> + Sync,
        binned: &[&Binned],
        reference: Reference,
        blocks: &Blocks,
        n_resamples: usize,
        streams: &Streams,
    ) -> Result<Vec<Self>> {
        let undetermined =
            || Error::invalid("weights of an MBAR solution", "some for the wanted state", "none");
        let weights = weights_of(mbar).ok_or_else(undetermined)?;
        let histograms: Result<Vec<Vec<f64>>> = binned.iter().map(|b| b.histogram(Some(&weights))).collect();
        let histograms = histograms?;
        let zeros: Result<Vec<Option<usize>>> = histograms.iter().map(|h| zero_bin(h, reference)).collect();
        let zeros = zeros?;
        let result = bootstrap_mbar(mbar, blocks, n_resamples, streams, |mbar| {
            let weights = weights_of(mbar)?;
            let curve = |(binned, zero): (&&Binned, &Option<usize>)| {
                Some(free_energies(&binned.histogram(Some(&weights)).ok()?, *zero))
            };
            Some(binned.iter().zip(&zeros).map(curve).collect::<Option<Vec<_>>>()?.concat())
        })?;
        let mut errors = result.std_errors.as_slice();
        let mut pmfs = Vec::new();
        for ((binned, histogram), zero) in binned.iter().zip(&histograms).zip(&zeros) {
            let (of_this, rest) = errors.split_at(binned.n_bins().min(errors.len()));
            errors = rest;
            let method = format!("{}, MBAR solved for each", result.method);
            let single = binned.seen_by_one_block(Some(&weights), blocks);
            let (weights, errors) = (Some(weights.as_slice()), of_this.to_vec());
            pmfs.push(Self::assembled(binned, weights, histogram, *zero, &single, errors, method));
        }
        Ok(pmfs)
    }

    fn assembled(
        binned: &Binned,
        weights: Option<&[f64]>,
        histogram: &[f64],
        zero: Option<usize>,
        single: &[bool],
        mut std_errors_kt: Vec<f64>,
        error_method: String,
    ) -> Self {
        let values_kt = free_energies(histogram, zero);
        std_errors_kt.resize(values_kt.len(), f64::NAN);
        for ((error, value), single) in std_errors_kt.iter_mut().zip(&values_kt).zip(single) {
            if value.is_nan() || *single {
                *error = f64::NAN;
            }
        }
        let total: f64 = weights.map_or(binned.n_samples() as f64, |weights| weights.iter().sum());
        let coverage = histogram.iter().sum::<f64>() / total;
        Self { axes: binned.axes.clone(), values_kt, std_errors_kt, coverage, error_method }
    }
}

/// The bin whose free energy is subtracted.
fn zero_bin(histogram: &[f64], reference: Reference) -> Result<Option<usize>> {
    let largest = histogram.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Err(Error::invalid("samples of a potential of mean force", "some inside the axes", "none"));
    }
    match reference {
        Reference::Minimum => Ok(histogram.iter().position(|weight| *weight == largest)),
        Reference::Probability => Ok(None),
        Reference::Bin(bin) if histogram.get(bin).is_some_and(|weight| *weight > 0.0) => Ok(Some(bin)),
        Reference::Bin(bin) => Err(Error::invalid(
            "reference bin of a potential of mean force",
            format!("a visited bin below {}", histogram.len()),
            bin.to_string(),
        )),
    }
}

fn free_energies(histogram: &[f64], zero: Option<usize>) -> Vec<f64> {
    let reference = zero.map_or_else(|| histogram.iter().sum::<f64>(), |bin| histogram[bin]);
    let value = |weight: &f64| {
        if *weight > 0.0 && reference > 0.0 { -(weight / reference).ln() } else { f64::NAN }
    };
    histogram.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, fill_normal};

    fn normal(n: usize, stream: u64) -> Vec<f64> {
        let mut x = vec![0.0; n];
        fill_normal(&mut Streams::new(3).stream(Purpose::Walker, stream), &mut x);
        x
    }

    #[test]
    fn a_gaussian_has_a_parabola() {
        let (n, axis) = (200_000, Axis::new(-3.0, 3.0, 31, false).unwrap());
        let binned = Binned::new(&[axis], &normal(n, 0)).unwrap();
        let blocks = Blocks::contiguous(n, 50).unwrap();
        let pmf = Pmf::new(&binned, None, Reference::Bin(15), &blocks, 200, &Streams::new(0)).unwrap();
        let width = 6.0 / 31.0;
        let mut chi_squared = 0.0;
        for (center, (value, error)) in
            axis.centers().iter().zip(pmf.values_kt.iter().zip(&pmf.std_errors_kt))
        {
            if *value == 0.0 {
                assert_eq!(*error, 0.0);
                continue;
            }
            // The mean of the density over a bin differs from its middle by h²/24 (x² − 1) of it.
            let middle = |x: f64| 0.5 * x * x - (width * width / 24.0 * (x * x - 1.0)).ln_1p();
            chi_squared += ((value - (middle(*center) - middle(0.0))) / error).powi(2);
        }
        assert!(chi_squared < 30.0 * 2.2, "{chi_squared}");
        assert!((pmf.coverage - 0.9973).abs() < 5e-4);
    }

    #[test]
    fn weights_turn_one_law_into_another() {
        // Uniform angles weighted by exp(cos φ) have F = −cos φ; two periods of images fold back.
        let n = 90_000;
        let phi: Vec<f64> = (0..n)
            .map(|i| 30.0 * (f64::from(i) * 0.618_033_988_749_895).fract())
            .map(|x| x * std::f64::consts::TAU / 10.0)
            .collect();
        let weights: Vec<f64> = phi.iter().map(|phi| phi.cos().exp()).collect();
        let binned = Binned::new(&[Axis::angle(36)], &phi).unwrap();
        let blocks = Blocks::contiguous(n as usize, 10).unwrap();
        let pmf =
            Pmf::new(&binned, Some(&weights), Reference::Minimum, &blocks, 20, &Streams::new(0)).unwrap();
        for (center, value) in Axis::angle(36).centers().iter().zip(&pmf.values_kt) {
            assert!((value - (0.5_f64.to_radians().cos() - center.cos())).abs() < 0.015, "{center} {value}");
        }
    }

    #[test]
    fn mbar_weights_bring_errors_of_their_own() {
        // Wells ½ x² and ½ (x − 1)²: the first one's parabola from samples of both.
        use crate::free_energy::{ReducedEnergies, bootstrap::mbar_blocks};
        let n = 4000;
        let x: Vec<f64> = [normal(n, 1), normal(n, 2).iter().map(|x| x + 1.0).collect()].concat();
        let u = [0.0, 1.0].iter().flat_map(|a| x.iter().map(move |x| 0.5 * (x - a).powi(2))).collect();
        let energies = ReducedEnergies::new(2, u, (0..2 * n).map(|i| i / n).collect()).unwrap();
        let mbar = Mbar::new(&energies).unwrap();
        let ids: Vec<usize> = (0..2 * n).map(|i| i / 100).collect();
        let blocks = mbar_blocks(&energies, &ids).unwrap();
        let axis = Axis::new(-2.0, 2.0, 21, false).unwrap();
        let (once, twice) = (Binned::new(&[axis], &x).unwrap(), Binned::new(&[axis], &x).unwrap());
        let weights = |mbar: &Mbar| Some(mbar.weights(0));
        let reference = Reference::Bin(10);
        let pmfs =
            Pmf::from_mbar(&mbar, weights, &[&once, &twice], reference, &blocks, 100, &Streams::new(0))
                .unwrap();
        assert_eq!(pmfs[0].values_kt, pmfs[1].values_kt);
        let mut chi_squared = 0.0;
        for (bin, x) in axis.centers().iter().enumerate().filter(|(bin, _)| *bin != 10) {
            let error = pmfs[1].std_errors_kt[bin];
            assert!(error > 0.01 && error < 0.2, "{error}");
            chi_squared += ((pmfs[0].values_kt[bin] - 0.5 * x * x) / error).powi(2);
        }
        assert!(chi_squared < 20.0 * 2.5, "{chi_squared}");
    }

    #[test]
    fn what_nothing_visited_is_nan_and_never_zero() {
        let axes = [Axis::new(0.0, 2.0, 2, false).unwrap(), Axis::new(0.0, 3.0, 3, false).unwrap()];
        let samples = [0.5, 0.5, 0.5, 0.5, 1.5, 2.5, 9.0, 0.5, f64::NAN, 0.0, 0.5, 3.0];
        let binned = Binned::new(&axes, &samples).unwrap();
        let blocks = Blocks::new(&[0, 1, 1, 1, 1, 1]).unwrap();
        let pmf = Pmf::new(&binned, None, Reference::Probability, &blocks, 50, &Streams::new(0)).unwrap();
        assert!((pmf.values_kt[0] - 2.0_f64.ln()).abs() < 1e-12);
        assert!((pmf.values_kt[5] - 4.0_f64.ln()).abs() < 1e-12);
        assert!((pmf.values_kt[2] - 4.0_f64.ln()).abs() < 1e-12, "the upper end belongs to the last bin");
        assert!([1, 3, 4].iter().all(|&bin| pmf.values_kt[bin].is_nan() && pmf.std_errors_kt[bin].is_nan()));
        assert!(pmf.std_errors_kt[5].is_nan(), "a single block says nothing about its spread");
        assert!((pmf.coverage - 4.0 / 6.0).abs() < 1e-12);
    }
}
