//! Consistency of energies along a step of the process (RNE, He et al. 2025): the Radon–Nikodym derivative of the
//! forward path with respect to the learned reverse one is that of the energies at its ends.
//!
//! For x_s and x_t one step later, with q the noising kernel of variance v and mean c x_s, and r the Gaussian reverse kernel of the
//! learned score, (x_t − v ∇u(x_t, t))/c with variance v/c²,
//!
//! R = −u(x_t, t) + log r(x_s | x_t) + u(x_s, s) − log q(x_t | x_s)
//!
//! vanishes as the step does. The same expression of the Gaussian of the second moment of x_t, which vanishes as well, is
//! subtracted: it takes out most of the noise that is of the order of the step. L = R²/(d Δ²), Δ the step in
//! log(a²/g²); ∇u is held fixed, so that only energies learn. For steps that do not join modes it is as
//! blind as the Fokker–Planck equation, whose path-wise form it is.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Coupling, Objective, Point};
use crate::error::Result;
use crate::registry::Settings;

/// In log(a²/g²).
const LEAST_STEP: f64 = 0.01;

/// The Radon–Nikodym estimator has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RadonNikodym {}

impl Settings<dyn Objective, ()> for RadonNikodym {
    const SUMMARY: &'static str = "Radon–Nikodym estimator (RNE): energies that agree with a step and its reverse (n_times = 2, close neighbours)";
    const EXAMPLE: &'static str = "";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self))
    }
}

impl Objective for RadonNikodym {
    fn name(&self) -> &'static str {
        "radon_nikodym"
    }

    fn needs_gradients(&self) -> bool {
        true
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn coupling(&self) -> Coupling {
        Coupling::Transition
    }

    fn holds_gradients(&self) -> bool {
        true
    }

    fn needs_noise_end(&self) -> bool {
        true
    }

    fn ties_levels(&self) -> bool {
        true
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        // 0 is s, with less noise, 1 is t.
        let size = point.positions.len() / 2;
        let (x_s, x_t) = point.positions.split_at(size);
        let [g_s, g_t] = [point.deviations[0], point.deviations[1]];
        let c = point.scales[1] / point.scales[0];
        let v = g_t * g_t - c * c * g_s * g_s;
        let step = 2.0 * (point.scales[0] * g_t / (point.scales[1] * g_s)).ln();
        let d = point.degrees_of_freedom as f64;
        let [variance_s, variance_t] = [point.variances[0], point.variances[1]];
        // log r − log q of a score −∇u; both have the exponent |·|²/(2v) once r is written for c x_s.
        let log_ratio = |gradient: &dyn Fn(usize) -> f64| -> f64 {
            let difference = |i: usize| {
                let noised = x_t[i] - c * x_s[i];
                noised * noised - (noised - v * gradient(i)).powi(2)
            };
            (0..size).map(difference).sum::<f64>() / (2.0 * v) + d * c.ln()
        };
        let learned = log_ratio(&|i| point.gradients[size + i]);
        let reference = log_ratio(&|i| x_t[i] / variance_t);
        let squares = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        let gaussian = 0.5 * (squares(x_t) / variance_t - squares(x_s) / variance_s)
            + 0.5 * d * (variance_t / variance_s).ln();
        let residual = point.energies[0] - point.energies[3] + learned - (reference - gaussian);
        // Energies are single precision: steps that are shorter than this say nothing.
        let scale = 1.0 / (d * (step * step + LEAST_STEP * LEAST_STEP));
        let slope = 2.0 * weight * scale * residual;
        cotangent.energies[0] += slope;
        cotangent.energies[3] -= slope;
        scale * residual * residual
    }
}
