//! Diffusive classification (DiffCLF, arXiv 2601.21025): from which time does a noised point come?
//!
//! L = −(1/K) Σ_k log softmax_j(l_j(x_k))_k with l_j(x) = −u(x, t_j) + f_j. For K = 2 this is the binary
//! form, the mean of two softplus terms. At the optimum log p_θ(x, t) − log p(x, t) does not depend on t,
//! so relative weights of modes, which separate only at small t, are tied to the noise end where there is
//! one mode: what score matching alone cannot see. With fixed energies and only f free, −K L is the
//! log-likelihood that MBAR maximises (Shirts and Chodera 2008) for equal sample sizes.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Objective, Point};
use crate::error::Result;
use crate::registry::Settings;

/// Diffusive classification has no settings of its own: how many times, and which, is said where times
/// are drawn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusiveClassification {}

impl Settings<dyn Objective, ()> for DiffusiveClassification {
    const SUMMARY: &'static str =
        "diffusive classification (DiffCLF): the relative weights of separated modes";
    const EXAMPLE: &'static str = "";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self))
    }
}

impl Objective for DiffusiveClassification {
    fn name(&self) -> &'static str {
        "diffusive_classification"
    }

    fn needs_gradients(&self) -> bool {
        false
    }

    fn needs_cross_energies(&self) -> bool {
        true
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let n_times = point.times.len();
        let mut loss = 0.0;
        for k in 0..n_times {
            let range = k * n_times..(k + 1) * n_times;
            let energies = &point.energies[range.clone()];
            let log_density = |j: usize| point.offsets[j] - energies[j];
            let largest = (0..n_times).map(log_density).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..n_times).map(|j| (log_density(j) - largest).exp()).sum();
            loss += (largest + sum.ln() - log_density(k)) / n_times as f64;
            for (j, out) in cotangent.energies[range].iter_mut().enumerate() {
                let posterior = (log_density(j) - largest).exp() / sum;
                let slope = weight * (f64::from(u8::from(j == k)) - posterior) / n_times as f64;
                *out += slope;
                cotangent.offsets[j] -= slope;
            }
        }
        loss
    }
}
