//! From weighted samples to a density in every bin.

use super::kernel::Kernel;
use super::spline::Spline;
use super::{Axis, Binned};
use crate::error::{Error, Result};

/// How a density is estimated.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// Weight in a bin over its width: the mean density of the bin, without bias.
    Histogram,
    /// A sum of kernels, at the middle of every bin. Gaussian, or von Mises for periodic axes; see [`Kernel`].
    Kernel {
        /// Standard deviation of the kernel per axis; by rule of thumb when empty.
        bandwidth: Vec<f64>,
        /// Hard ends per axis beyond which the variable cannot be, as a distance below zero: kernels are reflected
        /// there. Infinite where there is none; may be empty.
        bounds: Vec<(f64, f64)>,
    },
    /// Likelihood maximised over cubic B-splines of F, at the middle of every bin; see [`Spline`].
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
        Self { binned, volumes, visited: Vec::new(), smooth: Smooth::No }
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
        if inefficiency_of.len() != weights.len() || !(weights.iter().sum::<f64>() > 0.0) {
            return Err(Error::invalid(
                "weights and inefficiencies of samples",
                format!("{} of each, and weights that are not all zero", binned.n_samples()),
                format!("{} and {}", weights.len(), inefficiency_of.len()),
            ));
        }
        let smooth = match method {
            Method::Histogram => Smooth::No,
            Method::Kernel { bandwidth, bounds } => {
                let n_effective = effective_samples(weights, inefficiency_of);
                Smooth::Kernel(Kernel::new(axes, values, weights, n_effective, bandwidth, bounds)?)
            }
            Method::Spline { n_intervals } => {
                Smooth::Spline(Spline::new(axes, values, weights, inefficiency_of, *n_intervals)?)
            }
        };
        let visited = binned.sums(|n| weights[n]).iter().map(|weight| *weight > 0.0).collect();
        Ok(Self { volumes: binned.volumes(), binned, visited, smooth })
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
        let smooth = match &self.smooth {
            Smooth::No => {
                let mut sums = self.binned.sums(|n| weights[n]);
                sums.iter_mut().zip(&self.volumes).for_each(|(sum, volume)| *sum /= volume);
                return sums;
            }
            Smooth::Kernel(kernel) => kernel.evaluate(weights),
            Smooth::Spline(spline) => spline.evaluate(weights),
        };
        smooth
            .iter()
            .zip(&self.visited)
            .map(|(density, visited)| if *visited { *density } else { 0.0 })
            .collect()
    }
}

/// (Σ w)² / Σ g w²: Kish's number with each sample worth 1/g.
pub(crate) fn effective_samples(weights: &[f64], inefficiency_of: &[f64]) -> f64 {
    let sum: f64 = weights.iter().sum();
    let squares: f64 = weights.iter().zip(inefficiency_of).map(|(weight, g)| weight * weight * g).sum();
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}
