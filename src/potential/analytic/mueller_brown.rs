//! The Müller–Brown surface (Müller and Brown, Theor. Chim. Acta 53, 75, 1979), scaled to kT.
//!
//! u(x, y) = s Σ_k A_k exp[a_k (x − X_k)² + b_k (x − X_k)(y − Y_k) + c_k (y − Y_k)²], three minima
//! joined by a curved path. The published A_k are of the order of 100; s brings them to kT.

use serde::Deserialize;

use super::{ExactPotential, fill_energies, fill_gradients};
use crate::error::{Error, Result};
use crate::potential::{ReducedPotential, Space};
use crate::registry::Settings;

/// A, a, b, c, X, Y of the four terms.
const TERMS: [[f64; 6]; 4] = [
    [-200.0, -1.0, 0.0, -10.0, 1.0, 0.0],
    [-100.0, -1.0, 0.0, -10.0, 0.0, 0.5],
    [-170.0, -6.5, 11.0, -6.5, -0.5, 1.5],
    [15.0, 0.7, 0.6, 0.7, -1.0, 1.0],
];

/// The surface times a scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MuellerBrown {
    /// s, kT per unit of the published surface.
    pub scale_kt: f64,
}

impl MuellerBrown {
    fn evaluate(&self, x: &[f64], gradient: Option<&mut [f64]>) -> f64 {
        let (mut u, mut du) = (0.0, [0.0; 2]);
        for [amplitude, a, b, c, x0, y0] in TERMS {
            let (dx, dy) = (x[0] - x0, x[1] - y0);
            let term = self.scale_kt * amplitude * (a * dx * dx + b * dx * dy + c * dy * dy).exp();
            u += term;
            du[0] += term * (2.0 * a * dx + b * dy);
            du[1] += term * (b * dx + 2.0 * c * dy);
        }
        if let Some(gradient) = gradient {
            gradient.copy_from_slice(&du);
        }
        u
    }

    /// log ∫ exp(−u) over the part of the plane where `inside`, by the midpoint rule on a grid of 0.005.
    ///
    /// The integrand is smooth and vanishes at the border, so the rule converges faster than any power.
    pub fn log_integral(&self, inside: impl Fn(f64, f64) -> bool) -> f64 {
        let h = 0.005;
        // The exponential of the positive fourth term confines; −146.7 is the depth of the surface.
        let lowest = -146.7 * self.scale_kt;
        let mut sum = 0.0;
        for i in 0..1400 {
            for j in 0..1200 {
                let (x, y) = (-4.0 + (f64::from(i) + 0.5) * h, -2.5 + (f64::from(j) + 0.5) * h);
                if inside(x, y) {
                    sum += (lowest - self.evaluate(&[x, y], None)).exp();
                }
            }
        }
        sum.ln() + 2.0 * h.ln() - lowest
    }
}

impl ReducedPotential for MuellerBrown {
    fn space(&self) -> Space {
        Space::Euclidean { dimension: 2 }
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        fill_energies(2, x, u, |x| self.evaluate(x, None));
        Ok(())
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        fill_gradients(2, x, u, gradient, |x, gradient| self.evaluate(x, Some(gradient)));
        Ok(())
    }
}

impl ExactPotential for MuellerBrown {
    fn log_normalizer(&self) -> f64 {
        self.log_integral(|_, _| true)
    }
}

/// Settings of [`MuellerBrown`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MuellerBrownSettings {
    #[serde(rename = "scale_kT")]
    scale_kt: f64,
}

impl Settings<dyn ExactPotential, ()> for MuellerBrownSettings {
    const SUMMARY: &'static str = "the Müller–Brown surface in two dimensions, three minima";
    const EXAMPLE: &'static str = "scale_kT = 0.05";

    fn build(self, _: &()) -> Result<Box<dyn ExactPotential>> {
        if !(self.scale_kt > 0.0 && self.scale_kt.is_finite()) {
            return Err(Error::invalid("scale_kT", "a positive number", self.scale_kt.to_string()));
        }
        Ok(Box::new(MuellerBrown { scale_kt: self.scale_kt }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_minimum_is_the_published_one() {
        let surface = MuellerBrown { scale_kt: 1.0 };
        let mut gradient = [0.0; 2];
        let u = surface.evaluate(&[-0.558_223_634_6, 1.441_725_841_8], Some(&mut gradient));
        assert!((u + 146.699_517).abs() < 1e-5, "{u}");
        assert!(gradient.iter().all(|g| g.abs() < 1e-3), "{gradient:?}");
    }
}
