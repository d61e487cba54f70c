//! State classification: to which metastable state does the conformation belong that was noised? With an energy beside it,
//! a joint energy-based model (JEM, Grathwohl et al. 2020).
//!
//! L = −(1/K) Σ_k log p(y | x_k, t_k) = (1/K) Σ_k [u(x_k, t_k, y) − u(x_k, t_k)], the cross entropy of a network whose
//! energy is that of its logits, u(x, t) = −log Σ_y exp(−u(x, t, y)) ([`crate::model::network::states`]). y is the state of
//! the data point x₀, so that the minimum is p(y | x_t, t) = E[1(x₀ ∈ y) | x_t]: the state itself at the data end, the share of
//! the state in the data at the noise end, and in between how likely x_t came from it.
//!
//! It says nothing of u(x, t): a function of x added to all logits changes no p(y | x, t). What trains the energy stands
//! beside it (score matching, contrastive divergence, `diffusive_classification`).
//!
//! The weights of separated states are not fixed by it. Where states overlap, p(y | x, t) says what each weighs; but there
//! scores say it as well. Where they do not, p(y | x, t) is 0 or 1 at all points that data have, whatever constant is
//! added to one of the logits: the loss e^(−gap) sees none of it. Nothing here ties the logits of one time to those of
//! another. Diffusive classification does.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Learns, Objective, Point};
use crate::error::Result;
use crate::registry::Settings;

/// State classification has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateClassification {}

impl Settings<dyn Objective, ()> for StateClassification {
    const SUMMARY: &'static str =
        "classification of noised data by their states, with an energy made of the logits (JEM)";
    const EXAMPLE: &'static str = "";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self))
    }
}

impl Objective for StateClassification {
    fn name(&self) -> &'static str {
        "state_classification"
    }

    fn needs_gradients(&self) -> bool {
        false
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn needs_noise_end(&self) -> bool {
        true
    }

    fn needs_states(&self) -> bool {
        true
    }

    fn learns(&self) -> Learns {
        Learns::Beside
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let n_times = point.times.len();
        let slope = weight / point.n_data as f64;
        let mut loss = 0.0;
        for k in 0..point.n_data {
            let own = k * n_times + k;
            loss += (point.of_state[k] - point.energies[own]) / point.n_data as f64;
            cotangent.of_state[k] += slope;
            cotangent.energies[own] -= slope;
        }
        loss
    }
}
