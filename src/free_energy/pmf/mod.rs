//! Potentials of mean force F(s) = −ln p(s) in one or two collective variables, in kT.
//!
//! Samples carry weights: none of an unbiased simulation, exp(+V/kT) of one with a bias V, those of MBAR or WHAM
//! ([`super::umbrella`]) for several. [`Density`] turns weighted samples into a density: a histogram, a kernel
//! estimate or a spline. Errors come from resampling blocks ([`Strata`]), for which weights that depend on the
//! samples, as those of MBAR do, are computed anew. A bin that nothing visited has no value: NaN, never zero; one
//! that a single block visited has no error.

mod axis;
mod basis;
mod binned;
mod density;
mod kernel;
pub mod series;
mod spline;
#[cfg(test)]
mod tests;

pub use axis::Axis;
pub use binned::Binned;
use density::TwoWidths;
pub use density::{Density, Method, effective_samples};

use rayon::prelude::*;

use super::Strata;
use super::bootstrap::{Blocks, deviation};
use crate::error::{Error, Result};
use crate::random::{Purpose, Streams};

/// Standard errors of a difference up to which it may be chance.
const CHANCE: f64 = 2.0;
/// Standard errors of a difference beyond which it is none in any of some fifty bins.
const NO_CHANCE: f64 = 4.0;

/// Where the zero of a potential of mean force lies.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    /// At the lowest bin of the full data; that bin has no error.
    Minimum,
    /// At a bin, counted as in `values_kt`.
    Bin(usize),
    /// At the bin that holds a point, one number per axis; that of smooth densities at its middle.
    Point(Vec<f64>),
    /// At the free energy of ranges, one per axis: −ln of the mean density of all visited bins whose middles lie there,
    /// which is not the mean of F.
    Region(Vec<(f64, f64)>),
    /// Nowhere: −ln of the probability of each bin, whose sum over bins is one.
    Probability,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = |parts: Vec<String>| parts.join(", ");
        match self {
            Self::Minimum => f.write_str("the minimum"),
            Self::Bin(bin) => write!(f, "bin {bin}"),
            Self::Point(point) => f.write_str(&all(point.iter().map(f64::to_string).collect())),
            Self::Region(ranges) => {
                f.write_str(&all(ranges.iter().map(|(low, high)| format!("{low} to {high}")).collect()))
            }
            Self::Probability => f.write_str("unit probability"),
        }
    }
}

/// Weight of every sample from how often each counts in a resample, which the weights include, or for the samples as
/// they are; weights need not be normalised. `None` where there is no solution.
pub type Weigh<'a> = dyn Fn(Option<&[f64]>) -> Option<Vec<f64>> + Sync + 'a;

/// A potential of mean force with errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Pmf {
    /// One or two axes.
    pub axes: Vec<Axis>,
    /// F in kT, `[bin]` or `[bin of axis 0][bin of axis 1]`; NaN where nothing was seen.
    pub values_kt: Vec<f64>,
    /// Standard errors in kT; NaN where nothing was seen, and where a single block did. They contain, in quadrature,
    /// what a kernel's width visibly does to F.
    pub std_errors_kt: Vec<f64>,
    /// The bin in which a kernel's width changes F by most statistical errors, and by how many kT, where this is more
    /// than one error and cannot be chance.
    pub oversmoothed: Option<(usize, f64)>,
    /// Probability of each bin among those of the axes.
    pub probability: Vec<f64>,
    /// Share of the weight inside the axes.
    pub coverage: f64,
    /// How the density and its errors were obtained.
    pub error_method: String,
}

impl Pmf {
    /// A histogram whose weights are given once and for all; errors from resampling blocks.
    pub fn new(
        binned: &Binned,
        weights: Option<&[f64]>,
        reference: Reference,
        blocks: &Blocks,
        n_resamples: usize,
        streams: &Streams,
    ) -> Result<Self> {
        binned.check(weights)?;
        let block_of: Vec<u32> = blocks.block_of().iter().map(|block| *block as u32).collect();
        let weights_or_one = weights.map_or_else(|| vec![1.0; binned.n_samples()], <[f64]>::to_vec);
        let density = Density::histogram(binned.clone());
        let weigh = |count: Option<&[f64]>| {
            Some(match count {
                Some(count) => {
                    weights_or_one.iter().zip(count).map(|(weight, count)| weight * count).collect()
                }
                None => weights_or_one.clone(),
            })
        };
        let resampling = Resampling {
            block_of: &block_of,
            draw: &|index| {
                let count = blocks.draw(&mut streams.stream(Purpose::Bootstrap, index));
                blocks.per_sample(&count)
            },
            inflation: blocks.inflation(),
            n_resamples,
            method: format!("block bootstrap ({n_resamples} resamples of {} blocks)", blocks.n_blocks()),
        };
        Self::resampled(&density, &weigh, &reference, &resampling)
    }

    /// Any density estimate and any weights.
    ///
    /// `weigh` gives a weight to every sample, which need not be normalised, from how often each counts (its result
    /// includes that) or for the samples as they are; `None` where there is no solution.
    pub fn estimate(
        density: &Density,
        weigh: &Weigh<'_>,
        reference: &Reference,
        strata: &Strata,
        n_resamples: usize,
        streams: &Streams,
    ) -> Result<Self> {
        let resampling = Resampling {
            block_of: strata.block_of(),
            draw: &|index| strata.draw(&mut streams.stream(Purpose::Bootstrap, index)),
            inflation: 1.0,
            n_resamples,
            method: strata.method(n_resamples),
        };
        Self::resampled(density, weigh, reference, &resampling)
    }

    fn resampled(
        density: &Density,
        weigh: &Weigh<'_>,
        reference: &Reference,
        resampling: &Resampling<'_>,
    ) -> Result<Self> {
        let binned = density.binned();
        if resampling.block_of.len() != binned.n_samples() {
            return Err(Error::invalid(
                "block of each sample",
                binned.n_samples().to_string(),
                resampling.block_of.len().to_string(),
            ));
        }
        let weights = weigh(None)
            .ok_or_else(|| Error::invalid("weights of samples", "some for the wanted state", "none"))?;
        binned.check(Some(&weights))?;
        let (full, narrow) = density.evaluate_at_two_widths(&weights);
        let zero = Zero::new(binned, &full, reference)?;
        let replicates: Vec<Option<TwoWidths>> = (0..resampling.n_resamples as u64)
            .into_par_iter()
            .map(|index| {
                weigh(Some(&(resampling.draw)(index))).map(|weights| density.evaluate_at_two_widths(&weights))
            })
            .collect();
        let (replicates, narrower): (Vec<Vec<f64>>, Vec<Option<Vec<f64>>>) =
            replicates.into_iter().flatten().unzip();
        let single = binned.seen_by_one_block(Some(&weights), resampling.block_of);
        let values_kt = zero.free_energies(&full);
        let errors = zero.std_errors(&full, &replicates);
        let mut std_errors_kt: Vec<f64> = values_kt
            .iter()
            .zip(errors)
            .zip(single)
            .map(
                |((value, error), single)| {
                    if value.is_nan() || single { f64::NAN } else { error * resampling.inflation }
                },
            )
            .collect();
        let narrower: Vec<Vec<f64>> = narrower.into_iter().flatten().collect();
        let oversmoothed = narrow.and_then(|narrow| {
            zero.add_smoothing((&full, &narrow), (&replicates, &narrower), &mut std_errors_kt)
        });
        let mut error_method = format!("{}, {}", density.description(), resampling.method);
        let n_failed = resampling.n_resamples - replicates.len();
        if n_failed > 0 {
            error_method += &format!(", {n_failed} of them without a solution and left out");
        }
        let inside = binned.sums(|n| weights[n]).iter().sum::<f64>();
        let mass = density.masses(&full);
        let total: f64 = mass.iter().sum();
        Ok(Self {
            axes: binned.axes().to_vec(),
            values_kt,
            std_errors_kt,
            oversmoothed,
            probability: mass.iter().map(|mass| mass / total).collect(),
            coverage: inside / weights.iter().sum::<f64>(),
            error_method,
        })
    }

    /// From densities that come from elsewhere; errors are the spread of `snapshots`.
    pub fn from_densities(
        binned: &Binned,
        full: &[f64],
        snapshots: &[Vec<f64>],
        reference: &Reference,
    ) -> Result<Self> {
        let zero = Zero::new(binned, full, reference)?;
        let total = zero.total(full);
        let values_kt = zero.free_energies(full);
        let errors = zero.std_errors(full, snapshots);
        let std_errors_kt = values_kt
            .iter()
            .zip(errors)
            .map(|(value, error)| if value.is_nan() { f64::NAN } else { error })
            .collect();
        Ok(Self {
            axes: binned.axes().to_vec(),
            values_kt,
            std_errors_kt,
            oversmoothed: None,
            probability: full
                .iter()
                .zip(&zero.volumes)
                .map(|(density, volume)| density * volume / total)
                .collect(),
            coverage: 1.0,
            error_method: String::new(),
        })
    }

    /// Gives infinite errors to bins whose samples are not connected to those where F is zero.
    ///
    /// `group_of` is the connected group of each sample; a bin belongs to the group with most of its weight.
    pub fn mark_disconnected(&mut self, binned: &Binned, weights: &[f64], group_of: &[usize]) {
        let n_groups = group_of.iter().max().map_or(0, |max| max + 1);
        let by_group: Vec<Vec<f64>> = (0..n_groups)
            .map(|group| binned.sums(|n| if group_of[n] == group { weights[n] } else { 0.0 }))
            .collect();
        let group = |bin: usize| (0..n_groups).max_by(|a, b| by_group[*a][bin].total_cmp(&by_group[*b][bin]));
        let distance = |bin: &usize| self.values_kt[*bin].abs();
        let visited = (0..self.values_kt.len()).filter(|bin| self.values_kt[*bin].is_finite());
        let Some(zero) = visited.min_by(|a, b| distance(a).total_cmp(&distance(b))).and_then(group) else {
            return;
        };
        for bin in 0..self.values_kt.len() {
            if self.values_kt[bin].is_finite() && group(bin) != Some(zero) {
                self.std_errors_kt[bin] = f64::INFINITY;
            }
        }
    }
}

/// How samples are drawn again.
struct Resampling<'a> {
    block_of: &'a [u32],
    draw: &'a (dyn Fn(u64) -> Vec<f64> + Sync),
    inflation: f64,
    n_resamples: usize,
    method: String,
}

/// The bins whose mean density is the zero; none for probabilities.
struct Zero {
    bins: Option<Vec<usize>>,
    volumes: Vec<f64>,
}

impl Zero {
    fn new(binned: &Binned, density: &[f64], reference: &Reference) -> Result<Self> {
        let volumes = binned.volumes();
        let largest = density.iter().copied().fold(0.0, f64::max);
        if largest == 0.0 {
            return Err(Error::invalid(
                "samples of a potential of mean force",
                "some inside the axes",
                "none",
            ));
        }
        let visited = |bin: &usize| density[*bin] > 0.0;
        let bins = match reference {
            Reference::Probability => None,
            Reference::Minimum => {
                Some((0..density.len()).filter(|bin| density[*bin] == largest).take(1).collect())
            }
            Reference::Bin(bin) => Some(vec![*bin].into_iter().filter(|bin| *bin < density.len()).collect()),
            Reference::Point(point) if point.len() == binned.axes().len() => Some(
                Binned::new(binned.axes(), point)?.bins().iter().flatten().map(|bin| *bin as usize).collect(),
            ),
            Reference::Region(ranges) if ranges.len() == binned.axes().len() => {
                let inside =
                    |center: &[f64]| center.iter().zip(ranges).all(|(x, (low, high))| x >= low && x <= high);
                let centers = binned.centers();
                Some((0..centers.len()).filter(|bin| inside(&centers[*bin])).collect::<Vec<_>>())
            }
            Reference::Point(_) | Reference::Region(_) => Some(Vec::new()),
        };
        let bins = bins.map(|bins: Vec<usize>| bins.into_iter().filter(visited).collect::<Vec<_>>());
        if bins.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid(
                "reference of a potential of mean force",
                "a point or region with samples, inside the axes, with one number or range per axis",
                reference.to_string(),
            ));
        }
        Ok(Self { bins, volumes })
    }

    fn density(&self, density: &[f64]) -> f64 {
        match self.bins.as_deref() {
            // Exactly, so that F of the bin is zero.
            Some([bin]) => density[*bin],
            Some(bins) => {
                let volume: f64 = bins.iter().map(|bin| self.volumes[*bin]).sum();
                bins.iter().map(|bin| density[*bin] * self.volumes[*bin]).sum::<f64>() / volume
            }
            None => self.total(density),
        }
    }

    fn total(&self, density: &[f64]) -> f64 {
        density.iter().zip(&self.volumes).map(|(density, volume)| density * volume).sum()
    }

    fn free_energies(&self, density: &[f64]) -> Vec<f64> {
        let zero = self.density(density);
        let value = |(density, volume): (&f64, &f64)| {
            let measure = if self.bins.is_some() { 1.0 } else { *volume };
            if *density > 0.0 && zero > 0.0 { 0.0 - (density * measure / zero).ln() } else { f64::NAN }
        };
        density.iter().zip(&self.volumes).map(value).collect()
    }

    /// Spread of F over replicates; where some of them are empty, that of δρ/ρ − δρ₀/ρ₀, to which F is linear.
    fn std_errors(&self, full: &[f64], replicates: &[Vec<f64>]) -> Vec<f64> {
        let curves: Vec<Vec<f64>> = replicates.iter().map(|density| self.free_energies(density)).collect();
        let (zero, total) = (self.density(full), self.total(full));
        let relative_zero: Vec<f64> = replicates
            .iter()
            .map(|density| match self.bins {
                Some(_) => self.density(density) / zero * total / self.total(density),
                None => 1.0,
            })
            .collect();
        let scale: Vec<f64> = replicates.iter().map(|density| total / self.total(density)).collect();
        (0..full.len())
            .map(|bin| {
                if curves.iter().all(|curve| curve[bin].is_finite()) {
                    return deviation(curves.iter().map(|curve| curve[bin]));
                }
                let linear = (0..replicates.len())
                    .map(|r| replicates[r][bin] / full[bin] * scale[r] - relative_zero[r]);
                deviation(linear)
            })
            .collect()
    }

    /// Adds what a bandwidth h does to F in quadrature, where it is more than chance: 4/3 of the difference between h
    /// and h/2, less twice the error of that difference. Gives the bin where it is the largest part of the error.
    fn add_smoothing(
        &self,
        (full, narrow): (&[f64], &[f64]),
        (replicates, narrower): (&[Vec<f64>], &[Vec<f64>]),
        std_errors: &mut [f64],
    ) -> Option<(usize, f64)> {
        let difference = |(wide, narrow): (&[f64], &[f64])| -> Vec<f64> {
            self.free_energies(wide).iter().zip(self.free_energies(narrow)).map(|(a, b)| a - b).collect()
        };
        let found = difference((full, narrow));
        let pairs = replicates.iter().zip(narrower);
        let spread: Vec<Vec<f64>> = pairs.map(|(wide, narrow)| difference((wide, narrow))).collect();
        let mut worst: Option<(usize, f64, f64)> = None;
        for (bin, error) in std_errors.iter_mut().enumerate() {
            // A bin that some resamples miss is known too little to tell.
            let known = found[bin].is_finite() && spread.iter().all(|curve| curve[bin].is_finite());
            if !(known && *error > 0.0 && *error < 0.5) {
                continue;
            }
            let chance = deviation(spread.iter().map(|curve| curve[bin]));
            if chance > 0.5 {
                continue;
            }
            let bias = 4.0 / 3.0 * (found[bin].powi(2) - (CHANCE * chance).powi(2)).max(0.0).sqrt();
            let relative = bias / *error;
            if found[bin].abs() > NO_CHANCE * chance && relative > worst.map_or(1.0, |worst| worst.2) {
                worst = Some((bin, 4.0 / 3.0 * found[bin].abs(), relative));
            }
            *error = error.hypot(bias);
        }
        worst.map(|(bin, bias, _)| (bin, bias))
    }
}
