//! Conditional noise-contrastive estimation (Ceylan and Gutmann 2018): which of two neighbours is the data point?
//!
//! x₀ ~ p_t, x₁ = x₀ + ε with a Gaussian ε of the root of the mean square `step` times the width of x_t; the kernel is
//! symmetric, so that
//!
//! L = softplus(u(x₀, t) − u(x₁, t)).
//!
//! Its minimum is the law up to a constant for each t and, where displacements do not lead from one mode to
//! another, for each mode: as blind as score matching, of which it is the limit of small steps.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Coupling, Objective, Point, softplus};
use crate::error::{Result, positive};
use crate::registry::Settings;

/// Settings of conditional noise-contrastive estimation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConditionalNoiseContrastive {
    /// The root of the mean squared displacement, in units of the width of x_t per degree of freedom.
    pub step: f64,
}

impl Default for ConditionalNoiseContrastive {
    fn default() -> Self {
        Self { step: 1.0 }
    }
}

impl Settings<dyn Objective, ()> for ConditionalNoiseContrastive {
    const SUMMARY: &'static str =
        "conditional noise-contrastive estimation: data points against displaced ones (n_times = 2)";
    const EXAMPLE: &'static str = "step = 1.0";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        positive("step", self.step)?;
        Ok(Box::new(self))
    }
}

impl Objective for ConditionalNoiseContrastive {
    fn name(&self) -> &'static str {
        "conditional_noise_contrastive"
    }

    fn needs_gradients(&self) -> bool {
        false
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn coupling(&self) -> Coupling {
        Coupling::Perturbed(self.step)
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let (loss, slope) = softplus(point.energies[0] - point.energies[3]);
        cotangent.energies[0] += weight * slope;
        cotangent.energies[3] -= weight * slope;
        loss
    }
}
