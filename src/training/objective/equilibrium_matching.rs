//! Equilibrium matching (Wang and Du 2025): a field without time that points from noise to data and vanishes at them.
//!
//! L = |∇E(x_l) − c(l) (z − x₀)|²/d,    x_l = (1 − l) z + l x₀,  c = 4 min(1, (1 − l)/(1 − a))
//!
//! Descending E from noise ends at data. It is a generator and no density: E is flat at data whatever their weight is, and exp(−E)
//! is not their law at any temperature. It is refused where an energy is asked for.

use serde::{Deserialize, Serialize};

use super::energy_matching::match_line;
use super::{Cotangent, Coupling, Learns, Objective, Point};
use crate::error::{Error, Result};
use crate::registry::Settings;

/// c where nothing is truncated.
const STRENGTH: f64 = 4.0;

/// Settings of equilibrium matching.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EquilibriumMatching {
    /// a: from here on the field falls to zero.
    pub decay_from: f64,
}

impl Default for EquilibriumMatching {
    fn default() -> Self {
        Self { decay_from: 0.8 }
    }
}

impl Settings<dyn Objective, ()> for EquilibriumMatching {
    const SUMMARY: &'static str =
        "equilibrium matching: a field that leads from noise to data; a generator, no density (n_times = 1)";
    const EXAMPLE: &'static str = "decay_from = 0.8";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        if !(0.0..1.0).contains(&self.decay_from) {
            return Err(Error::config(
                "decay_from",
                format!("must be in [0, 1), found {}", self.decay_from),
                "",
            ));
        }
        Ok(Box::new(self))
    }
}

impl Objective for EquilibriumMatching {
    fn name(&self) -> &'static str {
        "equilibrium_matching"
    }

    fn needs_gradients(&self) -> bool {
        true
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn needs_noise_end(&self) -> bool {
        true
    }

    fn coupling(&self) -> Coupling {
        Coupling::Line(None)
    }

    fn learns(&self) -> Learns {
        Learns::Generator
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let strength = STRENGTH * ((1.0 - point.progress[0]) / (1.0 - self.decay_from)).min(1.0);
        match_line(point, strength, weight, cotangent)
    }
}
