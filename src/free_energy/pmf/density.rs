//! From weighted samples to a density in every bin.

use super::kernel::Kernel;
use super::spline::Spline;
use super::{Axis, Binned};
use crate::error::{Error, Result};

/// A density, and the same with kernels of half the width where it is made of kernels.
pub(super) type TwoWidths = (Vec<f64>, Option<Vec<f64>>);

/// How a density is estimated.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// Weight in a bin over its width: the mean density of the bin, without bias.
    Histogram,
    /// A sum of kernels, at the middle of every bin. Gaussian, or von Mises for periodic axes.
    Kernel {
        /// Standard deviation of the kernel per axis; the largest that hardly changes F when empty.
        bandwidth: Vec<f64>,
        /// Hard ends per axis beyond which the variable cannot be, as a distance below zero: kernels are reflected
        /// there. Infinite where there is none; may be empty.
        bounds: Vec<(f64, f64)>,
    },
    /// Likelihood maximised over cubic B-splines of F, at the middle of every bin.
    Spline {
        /// Polynomial pieces per axis; by Akaike's criterion when absent.
        n_intervals: Option<usize>,
    },
}

/// Samples prepared for many sets of weights.
#[derive(Debug, Clone)]
pub struct Density {
    binned: Binned,
    volumes: Vec<f64>,
    /// Bins with samples: smooth densities have values in these only.
    visited: Vec<bool>,
    smooth: Smooth,
    /// Mean of r² in every bin, by which densities are divided; empty for none.
    jacobian: Vec<f64>,
}

#[derive(Debug, Clone)]
enum Smooth {
    No,
    Kernel(Kernel),
    Spline(Spline),
}

impl Density {
    /// A histogram.
    pub fn histogram(binned: Binned) -> Self {
        let volumes = binned.volumes();
        Self { binned, volumes, visited: Vec::new(), smooth: Smooth::No, jacobian: Vec::new() }
    }

    /// Prepares samples, `[sample][axis]`, with the weights and statistical inefficiencies from which bandwidths
    /// and numbers of pieces are chosen.
    pub fn new(
        method: &Method,
        axes: &[Axis],
        values: &[f64],
        weights: &[f64],
        inefficiency_of: &[f64],
    ) -> Result<Self> {
        let binned = Binned::new(axes, values)?;
        binned.check(Some(weights))?;
        if inefficiency_of.len() != weights.len() || weights.iter().sum::<f64>() <= 0.0 {
            return Err(Error::invalid(
                "weights and inefficiencies of samples",
                format!("{} of each, and weights that are not all zero", binned.n_samples()),
                format!("{} and {}", weights.len(), inefficiency_of.len()),
            ));
        }
        let smooth = match method {
            Method::Histogram => Smooth::No,
            Method::Kernel { bandwidth, bounds } => {
                Smooth::Kernel(Kernel::new(axes, values, weights, inefficiency_of, bandwidth, bounds)?)
            }
            Method::Spline { n_intervals } => {
                Smooth::Spline(Spline::new(axes, values, weights, inefficiency_of, *n_intervals)?)
            }
        };
        let visited = binned.sums(|n| weights[n]).iter().map(|weight| *weight > 0.0).collect();
        Ok(Self { volumes: binned.volumes(), binned, visited, smooth, jacobian: Vec::new() })
    }

    /// Densities per volume of a spherical shell along an axis that is a distance r: −ln of it is F(r) + 2 ln r, which
    /// is flat for an ideal gas. Bins have the mean of r² over their width.
    pub fn without_jacobian(mut self, axis: usize) -> Result<Self> {
        let along = self.binned.axes().get(axis).filter(|along| along.low() >= 0.0 && !along.is_periodic());
        let Some(along) = along else {
            return Err(Error::invalid(
                "Jacobian of a distance",
                "an axis that is not periodic and begins at 0 or above",
                format!("axis {axis}"),
            ));
        };
        let mean = |pair: &[f64]| (pair[1].powi(3) - pair[0].powi(3)) / (3.0 * (pair[1] - pair[0]));
        let means: Vec<f64> = along.edges().windows(2).map(mean).collect();
        let stride = self.binned.axes()[axis + 1..].iter().map(Axis::n_bins).product::<usize>();
        self.jacobian = (0..self.binned.n_bins()).map(|bin| means[bin / stride % means.len()]).collect();
        Ok(self)
    }

    /// From densities back to weight in every bin, up to a common factor.
    pub(super) fn masses(&self, densities: &[f64]) -> Vec<f64> {
        let mut masses: Vec<f64> =
            densities.iter().zip(&self.volumes).map(|(d, volume)| d * volume).collect();
        masses.iter_mut().zip(&self.jacobian).for_each(|(mass, jacobian)| *mass *= jacobian);
        masses
    }

    /// The samples in their bins.
    pub fn binned(&self) -> &Binned {
        &self.binned
    }

    /// In words, for example `kernel density (bandwidth 0.12)`.
    pub fn description(&self) -> String {
        match &self.smooth {
            Smooth::No => "histogram".into(),
            Smooth::Kernel(kernel) => kernel.description(),
            Smooth::Spline(spline) => spline.description(),
        }
    }

    /// Density in every bin up to a common factor; 0 in bins without samples.
    pub fn evaluate(&self, weights: &[f64]) -> Vec<f64> {
        self.evaluate_at_two_widths(weights).0
    }

    /// The same, and for kernels also with half their bandwidth, which shows what smoothing does.
    pub(super) fn evaluate_at_two_widths(&self, weights: &[f64]) -> TwoWidths {
        let (mut densities, mut narrow) = match &self.smooth {
            Smooth::No => {
                let mut sums = self.binned.sums(|n| weights[n]);
                sums.iter_mut().zip(&self.volumes).for_each(|(sum, volume)| *sum /= volume);
                (sums, None)
            }
            Smooth::Kernel(kernel) => {
                let [wide, narrow] = kernel.evaluate(weights);
                (wide, Some(narrow))
            }
            Smooth::Spline(spline) => (spline.evaluate(weights), None),
        };
        for densities in std::iter::once(&mut densities).chain(&mut narrow) {
            for (density, visited) in densities.iter_mut().zip(&self.visited) {
                *density = if *visited { *density } else { 0.0 };
            }
            densities.iter_mut().zip(&self.jacobian).for_each(|(density, jacobian)| *density /= jacobian);
        }
        (densities, narrow)
    }
}

/// (Σ w)² / Σ g w²: Kish's number with each sample worth 1/g.
pub fn effective_samples(weights: &[f64], inefficiency_of: &[f64]) -> f64 {
    let sum: f64 = weights.iter().sum();
    let squares: f64 = weights.iter().zip(inefficiency_of).map(|(weight, g)| weight * weight * g).sum();
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}
