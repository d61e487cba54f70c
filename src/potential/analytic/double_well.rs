//! A double well: u(x) = B (x₀² − 1)² + A x₀ + ½ k Σ_{i≥1} x_i², in kT.
//!
//! Two basins near x₀ = ±1, separated by about B kT and tilted by 2A kT, and harmonic otherwise. Its
//! normaliser is a one-dimensional integral.

use serde::Deserialize;

use super::{ExactPotential, fill_energies, fill_gradients};
use crate::error::{Error, Result};
use crate::potential::{ReducedPotential, Space};
use crate::registry::Settings;

/// Two basins along the first coordinate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DoubleWell {
    /// Dimension, at least 1.
    pub dimension: usize,
    /// B, kT.
    pub barrier_kt: f64,
    /// A, kT: half of what the well at −1 lies below the one at +1.
    pub tilt_kt: f64,
    /// k of the other coordinates, kT.
    pub stiffness: f64,
}

impl DoubleWell {
    fn profile(&self, x: f64) -> f64 {
        self.barrier_kt * (x * x - 1.0).powi(2) + self.tilt_kt * x
    }

    /// The probability of x₀ < 0.
    pub fn left_population(&self) -> f64 {
        let left = self.integral(-6.0, 0.0);
        left / (left + self.integral(0.0, 6.0))
    }

    /// ∫ exp(−profile) by Simpson's rule on 4000 intervals, accurate to better than 1e-10.
    fn integral(&self, from: f64, to: f64) -> f64 {
        let n = 4000;
        let h = (to - from) / f64::from(n);
        let weight = |k| if k == 0 || k == n { 1.0 } else { 2.0 + 2.0 * f64::from(k % 2) };
        h / 3.0 * (0..=n).map(|k| weight(k) * (-self.profile(from + f64::from(k) * h)).exp()).sum::<f64>()
    }
}

impl ReducedPotential for DoubleWell {
    fn space(&self) -> Space {
        Space::Euclidean { dimension: self.dimension }
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        fill_energies(self.dimension, x, u, |x| {
            self.profile(x[0]) + 0.5 * self.stiffness * x[1..].iter().map(|x| x * x).sum::<f64>()
        });
        Ok(())
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        fill_gradients(self.dimension, x, u, gradient, |x, gradient| {
            gradient[0] = 4.0 * self.barrier_kt * x[0] * (x[0] * x[0] - 1.0) + self.tilt_kt;
            gradient[1..].iter_mut().zip(&x[1..]).for_each(|(g, x)| *g = self.stiffness * x);
            self.profile(x[0]) + 0.5 * self.stiffness * x[1..].iter().map(|x| x * x).sum::<f64>()
        });
        Ok(())
    }
}

impl ExactPotential for DoubleWell {
    fn log_normalizer(&self) -> f64 {
        let others = 0.5 * (self.dimension - 1) as f64 * (std::f64::consts::TAU / self.stiffness).ln();
        self.integral(-6.0, 6.0).ln() + others
    }
}

/// Settings of [`DoubleWell`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DoubleWellSettings {
    #[serde(default = "two")]
    dimension: usize,
    #[serde(rename = "barrier_kT")]
    barrier_kt: f64,
    #[serde(rename = "tilt_kT", default)]
    tilt_kt: f64,
    #[serde(default = "one")]
    stiffness: f64,
}

fn two() -> usize {
    2
}

fn one() -> f64 {
    1.0
}

impl Settings<dyn ExactPotential, ()> for DoubleWellSettings {
    const SUMMARY: &'static str = "two basins along one coordinate, harmonic in the others";
    const EXAMPLE: &'static str = "dimension = 2\nbarrier_kT = 4.0\ntilt_kT = 0.5\nstiffness = 1.0";

    fn build(self, _: &()) -> Result<Box<dyn ExactPotential>> {
        let Self { dimension, barrier_kt, tilt_kt, stiffness } = self;
        if dimension == 0 || !(barrier_kt > 0.0 && stiffness > 0.0 && tilt_kt.is_finite()) {
            let found = format!("{dimension}, {barrier_kt}, {stiffness}");
            return Err(Error::invalid("double well", "positive dimension, barrier and stiffness", found));
        }
        Ok(Box::new(DoubleWell { dimension, barrier_kt, tilt_kt, stiffness }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_wells_have_the_populations_of_their_tilt() {
        let well = DoubleWell { dimension: 1, barrier_kt: 60.0, tilt_kt: 0.5, stiffness: 1.0 };
        let odds = well.left_population() / (1.0 - well.left_population());
        assert!((odds.ln() - 1.0).abs() < 0.01, "{odds}");
        // Each well is a Gaussian of stiffness 8B in the limit of a high barrier.
        let harmonic = (std::f64::consts::TAU / 480.0).sqrt().ln() + (0.5_f64.exp() + (-0.5_f64).exp()).ln();
        assert!((well.log_normalizer() - harmonic).abs() < 0.01);
    }
}
