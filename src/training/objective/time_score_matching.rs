//! Time score matching (Choi et al. 2022): the slope of the energy in time.
//!
//! Like the score, ∂ log p/∂t at (x_t, t) is the mean of that of the transition kernel, ∂ log p(x_t | x₀)/∂t, over the x₀ that
//! could have become x_t. Here with differences between neighbouring times instead of derivatives: with
//! Δ = log(a²/g²) at t − that at s,
//!
//! L = E [ (u(x_t, s) − u(x_t, t)) − (log p(x_t | x₀, t) − log p(x_t | x₀, s)) ]² / (d Δ²).
//!
//! The difference of the kernels has the right mean up to terms of order Δ², so neighbours must be close
//! (`neighbour_step` of the stage, 0.1). Correct, and of high variance: that of |z|²/2, or d/2 per unit of time squared, everywhere.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Objective, Point};
use crate::error::Result;
use crate::registry::Settings;

/// In log(a²/g²).
const LEAST_STEP: f64 = 0.01;

/// Time score matching has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeScoreMatching {}

impl Settings<dyn Objective, ()> for TimeScoreMatching {
    const SUMMARY: &'static str =
        "time score matching: the slope of the energy in time (n_times = 2, close neighbours)";
    const EXAMPLE: &'static str = "";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self))
    }
}

impl Objective for TimeScoreMatching {
    fn name(&self) -> &'static str {
        "time_score_matching"
    }

    fn needs_gradients(&self) -> bool {
        false
    }

    fn needs_cross_energies(&self) -> bool {
        true
    }

    fn needs_noise_end(&self) -> bool {
        true
    }

    fn ties_levels(&self) -> bool {
        true
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let n_times = point.times.len();
        let size = point.noise.len() / n_times;
        let d = point.degrees_of_freedom as f64;
        let log_snr = |k: usize| 2.0 * (point.scales[k] / point.deviations[k]).ln();
        let n_terms = (n_times * (n_times - 1)) as f64;
        let mut loss = 0.0;
        for k in 0..n_times {
            let (a, g) = (point.scales[k], point.deviations[k]);
            let (x, z) = (&point.positions[k * size..][..size], &point.noise[k * size..][..size]);
            let own = 0.5 * z.iter().map(|z| z * z).sum::<f64>() + d * g.ln();
            for j in (0..n_times).filter(|&j| j != k) {
                let (a_other, g_other) = (point.scales[j], point.deviations[j]);
                // x − a_s x₀ with x₀ = (x − g z)/a.
                let rest = x.iter().zip(z).map(|(x, z)| (x - a_other / a * (x - g * z)).powi(2)).sum::<f64>();
                let other = 0.5 * rest / (g_other * g_other) + d * g_other.ln();
                // Energies are single precision: times that are closer than this say nothing.
                let squared_step = (log_snr(k) - log_snr(j)).powi(2) + LEAST_STEP * LEAST_STEP;
                let scale = 1.0 / (d * squared_step * n_terms);
                let found = point.energies[k * n_times + j] - point.energies[k * n_times + k];
                let residual = found - (other - own);
                loss += scale * residual * residual;
                let slope = 2.0 * weight * scale * residual;
                cotangent.energies[k * n_times + j] += slope;
                cotangent.energies[k * n_times + k] -= slope;
            }
        }
        loss
    }
}
