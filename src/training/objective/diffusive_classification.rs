//! Diffusive classification (DiffCLF, arXiv 2601.21025): from which time does a noised point come?
//!
//! L = −(1/K) Σ_k log softmax_j(l_j(x_k))_k with l_j(x) = −u(x, t_j) + f_j. For K = 2 this is the binary
//! form, the mean of two softplus terms. At the optimum log p_θ(x, t) − log p(x, t) does not depend on t,
//! so relative weights of modes, which separate only at small t, are tied to the noise end where there is
//! one mode: what score matching alone cannot see. With fixed energies and only f free, −K L is the
//! log-likelihood that MBAR maximises (Shirts and Chodera 2008) for equal sample sizes.

//!
//! Other losses have the same minimum. Every strictly convex function φ gives one, by its Bregman divergence: of the
//! posterior r = softmax l from the true one, −(φ(r) − ∇φ(r)·r) − ∂_k φ(r) (negative entropy: the loss above; |r|²: Brier's
//! score), or, for two times, of the ratio ρ = p_t/p_s, E_s[φ'(ρ) ρ − φ(ρ)] − E_t[φ'(ρ)] (Sugiyama, Suzuki and Kanamori
//! 2012). The latter contain ρ and 1/ρ themselves, so that their gradients are unbounded and times must be close.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Objective, Point};
use crate::error::Result;
use crate::registry::Settings;

/// Settings of diffusive classification. How many times, and which, is said where times are drawn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusiveClassification {
    /// φ.
    pub generator: Generator,
}

/// The convex function of the Bregman divergence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// Σ r log r: the logistic loss, whose divergence between two densities is that of Jensen and Shannon.
    #[default]
    CrossEntropy,
    /// |r|².
    Brier,
    /// ρ log ρ, of pairs of the K times.
    Kl,
    /// (ρ − 1)²/2, of pairs of the K times.
    LeastSquares,
    /// −log ρ, of pairs of the K times.
    ItakuraSaito,
}

/// Ratios beyond e to this power are linearised: the loss stays convex and its slope bounded.
const LARGEST_LOG_RATIO: f64 = 3.0;

impl Generator {
    /// Of log ρ at a point of the density in the numerator and at one of that in the denominator: −φ'(ρ) and φ'(ρ)ρ − φ(ρ),
    /// each with its slope in log ρ.
    fn of_ratio(self, log_ratio: f64, is_numerator: bool) -> (f64, f64) {
        // eʸ and its continuation by a straight line.
        let exp = |y: f64| {
            let inside = y.min(LARGEST_LOG_RATIO).exp();
            (inside * (1.0 + (y - LARGEST_LOG_RATIO).max(0.0)), inside)
        };
        match (self, is_numerator) {
            (Self::Kl, true) => (-log_ratio - 1.0, -1.0),
            (Self::Kl, false) => exp(log_ratio),
            (Self::LeastSquares, true) => {
                let (value, slope) = exp(log_ratio);
                (1.0 - value, -slope)
            }
            (Self::LeastSquares, false) => {
                let (value, slope) = exp(2.0 * log_ratio);
                (0.5 * (value - 1.0), slope)
            }
            (Self::ItakuraSaito, true) => {
                let (value, slope) = exp(-log_ratio);
                (value, -slope)
            }
            (Self::ItakuraSaito, false) => (log_ratio - 1.0, 1.0),
            (Self::CrossEntropy | Self::Brier, _) => (0.0, 0.0),
        }
    }

    /// Whether it is about ratios of two densities.
    fn is_of_ratios(self) -> bool {
        !matches!(self, Self::CrossEntropy | Self::Brier)
    }
}

impl Settings<dyn Objective, ()> for DiffusiveClassification {
    const SUMMARY: &'static str =
        "diffusive classification (DiffCLF): the relative weights of separated modes";
    const EXAMPLE: &'static str = "generator = \"cross_entropy\"";

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
        if self.generator.is_of_ratios() {
            let n_pairs = (n_times * (n_times - 1)) as f64;
            for k in 0..n_times {
                for j in (0..n_times).filter(|&j| j != k) {
                    // ρ = p_first/p_second; x_k belongs to one of the two.
                    let (first, second) = (k.min(j), k.max(j));
                    let log_density = |j: usize| point.offsets[j] - point.energies[k * n_times + j];
                    let log_ratio = log_density(first) - log_density(second);
                    let (value, slope) = self.generator.of_ratio(log_ratio, k == first);
                    loss += value / n_pairs;
                    let slope = weight * slope / n_pairs;
                    cotangent.energies[k * n_times + first] -= slope;
                    cotangent.energies[k * n_times + second] += slope;
                    cotangent.offsets[first] += slope;
                    cotangent.offsets[second] -= slope;
                }
            }
            return loss;
        }
        for k in 0..n_times {
            let range = k * n_times..(k + 1) * n_times;
            let energies = &point.energies[range.clone()];
            let log_density = |j: usize| point.offsets[j] - energies[j];
            let largest = (0..n_times).map(log_density).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..n_times).map(|j| (log_density(j) - largest).exp()).sum();
            let posterior = |j: usize| (log_density(j) - largest).exp() / sum;
            // Brier: Σ r² − 2 r_k, whose slope in l_j is 2 r_j (r_j − Σ r²) − 2 r_k (δ_jk − r_j).
            let squares: f64 = match self.generator {
                Generator::Brier => (0..n_times).map(|j| posterior(j).powi(2)).sum(),
                _ => 0.0,
            };
            loss += match self.generator {
                Generator::Brier => (squares - 2.0 * posterior(k)) / n_times as f64,
                _ => (largest + sum.ln() - log_density(k)) / n_times as f64,
            };
            for (j, out) in cotangent.energies[range].iter_mut().enumerate() {
                let (r, is_own) = (posterior(j), f64::from(u8::from(j == k)));
                let of_energy = match self.generator {
                    Generator::Brier => 2.0 * posterior(k) * (is_own - r) - 2.0 * r * (r - squares),
                    _ => is_own - r,
                };
                let slope = weight * of_energy / n_times as f64;
                *out += slope;
                cotangent.offsets[j] -= slope;
            }
        }
        loss
    }
}
