//! Contrastive divergence at every noise level (Hinton 2002): data points go down, and what short chains make of them goes up.
//!
//! L = u(x, t) − u(x⁻, t) + α (u(x, t) − u(x⁻, t))²,    x ~ p_t,  x⁻ after `chain.n_steps` Langevin steps from x.
//!
//! Its gradient is that of the relative entropy but for what the law of the chain's end contributes. Chains of a few steps
//! do not leave a mode: as blind to weights of modes as score matching, of which it is the limit of short
//! steps (Hyvärinen 2007). The penalty is of differences, since nothing here fixes a constant; it keeps energies from running
//! away where negatives are far from data.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Coupling, Objective, Point};
use crate::error::{Result, not_negative};
use crate::registry::Settings;
use crate::training::chains::{ChainSettings, Chains, Start};

/// Settings of contrastive divergence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContrastiveDivergence {
    /// The chains.
    pub chain: ChainSettings,
    /// α.
    pub penalty: f64,
}

impl Settings<dyn Objective, ()> for ContrastiveDivergence {
    const SUMMARY: &'static str =
        "contrastive divergence: noised data against short Langevin chains that start there (n_times = 2)";
    const EXAMPLE: &'static str = "penalty = 0.01\nchain = { n_steps = 10, step = 1.0, width = 0.2 }";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        self.chain.validate()?;
        check_penalty(self.penalty)?;
        Ok(Box::new(self))
    }
}

impl Objective for ContrastiveDivergence {
    fn name(&self) -> &'static str {
        "contrastive_divergence"
    }

    fn needs_gradients(&self) -> bool {
        false
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn coupling(&self) -> Coupling {
        Coupling::Chains(Chains { moves: self.chain, start: Start::Data })
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        contrast(point, [0, 1], self.penalty, weight, cotangent)
    }
}

/// α must be a number that is not negative.
pub(super) fn check_penalty(penalty: f64) -> Result<()> {
    not_negative("penalty", penalty)
}

/// u⁺ − u⁻ + α (u⁺ − u⁻)² of a data point and a negative, by their places, each at its own time.
pub(super) fn contrast(
    point: &Point,
    [data, negative]: [usize; 2],
    penalty: f64,
    weight: f64,
    cotangent: &mut Cotangent,
) -> f64 {
    let k = point.times.len();
    let own = |idx: usize| idx * k + idx;
    let difference = point.energies[own(data)] - point.energies[own(negative)];
    let slope = weight * (1.0 + 2.0 * penalty * difference);
    cotangent.energies[own(data)] += slope;
    cotangent.energies[own(negative)] -= slope;
    difference + penalty * difference * difference
}
