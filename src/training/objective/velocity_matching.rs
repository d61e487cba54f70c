//! Velocity matching between two ensembles: the model is the potential of a flow, not the energy of a law.
//!
//! Along x_t = a x₀ + b x₁ + g z the displacement ⟨x₁ − x₀ | x_t⟩, with the mean noise, carries the law of t to that of
//! t + dt (flow matching, Lipman et al. 2023; stochastic interpolants, Albergo, Boffi and Vanden-Eijnden 2023). It is
//! taken for
//!
//! ```text
//! η(x, t) = 2 b x/c² − ∇φ(x, t),    c² = a² + b² + g²
//! ```
//!
//! where φ is what the model gives: with the Gaussian that stands beneath every model (φ = |x|²/(2c²) + …) and nothing
//! learned this is (b − a) x/c², which is right for independent ends of unit variance. A gradient is enough: what
//! it cannot represent moves no probability. L = E |x₁ − x₀ − η(x_t, t)|² / d; the conditional mean is its minimum.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Objective, Point};
use crate::error::Result;
use crate::registry::Settings;

/// The name in the registry.
pub const NAME: &str = "velocity_matching";

/// Velocity matching has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VelocityMatching {}

impl Settings<dyn Objective, ()> for VelocityMatching {
    const SUMMARY: &'static str =
        "the displacement between two ensembles as the gradient of a potential; alone, and not for energies";
    const EXAMPLE: &'static str = "";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self))
    }
}

impl Objective for VelocityMatching {
    fn name(&self) -> &'static str {
        NAME
    }

    fn needs_gradients(&self) -> bool {
        true
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn needs_displacements(&self) -> bool {
        true
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let scale = 1.0 / (point.degrees_of_freedom * point.times.len()) as f64;
        let mut loss = 0.0;
        let rest = point.gradients.iter().zip(&mut *cotangent.gradients);
        for (displacement, (gradient, out)) in point.displacements.iter().zip(rest) {
            let residual = displacement + gradient;
            loss += scale * residual * residual;
            *out += 2.0 * weight * scale * residual;
        }
        loss
    }
}
