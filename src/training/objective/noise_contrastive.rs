//! Noise-contrastive estimation at every noise level (Gutmann and Hyvärinen 2010): is this point noised data, or from
//! the Gaussian of the same second moment?
//!
//! With G(x) = −u(x, t) − log q_t(x), q_t the normalised Gaussian of variance c² per degree of freedom,
//!
//! L = softplus(−G(x₀)) + softplus(G(x₁)),    x₀ ~ p_t,  x₁ ~ q_t.
//!
//! At its minimum exp(−u) is p_t with its normaliser. Where p_t and q_t hardly overlap, at small noise and in many
//! dimensions, almost every point is classified without doubt and nothing is learned.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Coupling, Objective, Point, softplus};
use crate::error::Result;
use crate::registry::Settings;

/// Noise-contrastive estimation has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseContrastive {}

impl Settings<dyn Objective, ()> for NoiseContrastive {
    const SUMMARY: &'static str =
        "noise-contrastive estimation: noised data against a Gaussian (n_times = 2)";
    const EXAMPLE: &'static str = "";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self))
    }
}

impl Objective for NoiseContrastive {
    fn name(&self) -> &'static str {
        "noise_contrastive"
    }

    fn needs_gradients(&self) -> bool {
        false
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn coupling(&self) -> Coupling {
        Coupling::Gaussian
    }

    fn ties_levels(&self) -> bool {
        true
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let size = point.positions.len() / 2;
        let mut loss = 0.0;
        for (k, sign) in [(0, -1.0), (1, 1.0)] {
            let variance = point.variances[k];
            let square: f64 = point.positions[k * size..][..size].iter().map(|x| x * x).sum();
            let log_q = -0.5 * square / variance
                - 0.5 * point.degrees_of_freedom as f64 * (std::f64::consts::TAU * variance).ln();
            let (value, slope) = softplus(sign * (-point.energies[k * 2 + k] - log_q));
            loss += 0.5 * value;
            cotangent.energies[k * 2 + k] -= 0.5 * weight * sign * slope;
        }
        loss
    }
}
