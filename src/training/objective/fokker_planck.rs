//! The Fokker–Planck equation as a penalty (Lai et al. 2023; for energies of molecules Plainer et al. 2025, ScoreMD).
//!
//! Of u = −log p along dX = f X dt + √D dW, times dt/d log(g²/a²) = g²/D:
//!
//! R = ½ g² (|∇u|² − Δu) + (g²/D) (f x·∇u − f d + ∂u/∂t) = 0.
//!
//! Δu comes without second derivatives from gradients at twins x ± ε g ξ (Hutchinson's trace by central differences,
//! the weak residual): ξ·(∇u(x₊) − ∇u(x₋))/(2 ε g). Two independent ξ give L = R(ξ₁) R(ξ₂)/d, whose mean is R²/d without the
//! variance of the probes. ∂u/∂t is the difference to a close time. For modes that nothing joins, laws with
//! wrong weights satisfy the equation as well: the penalty is blind to them.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Coupling, Objective, Point};
use crate::error::{Error, Result};
use crate::registry::Settings;

/// Settings of the Fokker–Planck penalty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FokkerPlanck {
    /// ε: how far twins are apart, in units of the noise.
    pub epsilon: f64,
}

impl Default for FokkerPlanck {
    fn default() -> Self {
        Self { epsilon: 0.05 }
    }
}

impl Settings<dyn Objective, ()> for FokkerPlanck {
    const SUMMARY: &'static str =
        "the Fokker–Planck equation as a penalty, without second derivatives (n_times = 5)";
    const EXAMPLE: &'static str = "epsilon = 0.05";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        if !(self.epsilon > 0.0 && self.epsilon < 1.0) {
            let message = format!("must lie between 0 and 1, found {}", self.epsilon);
            return Err(Error::config("epsilon", message, ""));
        }
        Ok(Box::new(self))
    }
}

impl Objective for FokkerPlanck {
    fn name(&self) -> &'static str {
        "fokker_planck"
    }

    fn needs_gradients(&self) -> bool {
        true
    }

    fn needs_cross_energies(&self) -> bool {
        true
    }

    fn coupling(&self) -> Coupling {
        Coupling::Twins(self.epsilon)
    }

    fn needs_noise_end(&self) -> bool {
        true
    }

    fn ties_levels(&self) -> bool {
        true
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let n_times = point.times.len();
        let size = point.positions.len() / n_times;
        let d = point.degrees_of_freedom as f64;
        let (g, f) = (point.deviations[0], point.drifts[0]);
        let clock = g * g / point.diffusions[0];
        let later = n_times - 1;
        let h = point.times[later] - point.times[0];
        let vector = |values: &'_ [f64], k: usize, i: usize| values[k * size + i];
        // The distance of twins is 2 ε g ξ up to the normalisation of the pair.
        let spacing = self.epsilon * g / (1.0 + self.epsilon * self.epsilon).sqrt();
        let residual = |plus: usize, minus: usize| -> f64 {
            let (mut laplacian, mut square, mut along) = (0.0, 0.0, 0.0);
            for i in 0..size {
                let [x_plus, x_minus] = [plus, minus].map(|k| vector(point.positions, k, i));
                let [u_plus, u_minus] = [plus, minus].map(|k| vector(point.gradients, k, i));
                let mean = 0.5 * (u_plus + u_minus);
                laplacian += (x_plus - x_minus) * (u_plus - u_minus) / (4.0 * spacing * spacing);
                square += mean * mean;
                along += 0.5 * (x_plus + x_minus) * mean;
            }
            let rate: f64 = [plus, minus]
                .map(|k| point.energies[k * n_times + later] - point.energies[k * n_times + k])
                .iter()
                .sum::<f64>()
                / (2.0 * h);
            0.5 * g * g * (square - laplacian) + clock * (f * along - f * d + rate)
        };
        let pairs = [(0, 1), (2, 3)];
        let residuals = pairs.map(|(plus, minus)| residual(plus, minus));
        for (pair, (plus, minus)) in pairs.into_iter().enumerate() {
            let slope = weight * residuals[1 - pair] / d;
            for i in 0..size {
                let [x_plus, x_minus] = [plus, minus].map(|k| vector(point.positions, k, i));
                let mean = 0.5 * (vector(point.gradients, plus, i) + vector(point.gradients, minus, i));
                let common = 0.5 * g * g * mean + 0.25 * clock * f * (x_plus + x_minus);
                let twin = 0.5 * g * g * (x_plus - x_minus) / (4.0 * spacing * spacing);
                cotangent.gradients[plus * size + i] += slope * (common - twin);
                cotangent.gradients[minus * size + i] += slope * (common + twin);
            }
            for k in [plus, minus] {
                let slope = slope * clock / (2.0 * h);
                cotangent.energies[k * n_times + later] += slope;
                cotangent.energies[k * n_times + k] -= slope;
            }
        }
        residuals[0] * residuals[1] / d
    }
}
