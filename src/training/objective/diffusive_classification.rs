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

/// Where ρ would make a slope larger than e to this power, both terms go on with other slopes: B of the denominator as a
/// straight line, A of the numerator so that B' = ρ |A'| still holds, of which the minimum at the true ratio follows.
const LARGEST_LOG_SLOPE: f64 = 3.0;

impl Generator {
    /// Of log ρ at a point of the density in the numerator and at one of that in the denominator: −φ'(ρ) and φ'(ρ)ρ − φ(ρ),
    /// each with its slope in log ρ.
    fn of_ratio(self, log_ratio: f64, is_numerator: bool) -> (f64, f64) {
        const C: f64 = LARGEST_LOG_SLOPE;
        let y = log_ratio;
        match (self, is_numerator) {
            (Self::Kl, true) if y <= C => (-y - 1.0, -1.0),
            (Self::Kl, true) => (-C - 2.0 + (C - y).exp(), -(C - y).exp()),
            (Self::Kl, false) if y <= C => (y.exp(), y.exp()),
            (Self::Kl, false) => (C.exp() * (1.0 + y - C), C.exp()),
            (Self::LeastSquares, true) if 2.0 * y <= C => (1.0 - y.exp(), -y.exp()),
            (Self::LeastSquares, true) => (1.0 - 2.0 * (0.5 * C).exp() + (C - y).exp(), -(C - y).exp()),
            (Self::LeastSquares, false) if 2.0 * y <= C => (0.5 * ((2.0 * y).exp() - 1.0), (2.0 * y).exp()),
            (Self::LeastSquares, false) => (0.5 * (C.exp() - 1.0) + C.exp() * (y - 0.5 * C), C.exp()),
            (Self::ItakuraSaito, true) if -y <= C => ((-y).exp(), -(-y).exp()),
            (Self::ItakuraSaito, true) => (C.exp() * (1.0 - y - C), -C.exp()),
            (Self::ItakuraSaito, false) if -y <= C => (y - 1.0, 1.0),
            (Self::ItakuraSaito, false) => (-C - 2.0 + (C + y).exp(), (C + y).exp()),
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

    fn ties_levels(&self) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the true ratio of two densities at a point, the expected loss is least there: also where slopes are
    /// bounded.
    #[test]
    fn the_minimum_of_every_loss_of_ratios_is_the_true_ratio() {
        for generator in [Generator::Kl, Generator::LeastSquares, Generator::ItakuraSaito] {
            for truth in [-6.0, -2.0, -0.3, 0.0, 0.8, 1.7, 2.5, 6.0] {
                // p_t = e^L p_s, up to a common factor that keeps both of the order of one.
                let (p_t, p_s) = (f64::exp(0.5 * truth), f64::exp(-0.5 * truth));
                let loss =
                    |y: f64| p_t * generator.of_ratio(y, true).0 + p_s * generator.of_ratio(y, false).0;
                let least =
                    (-1200..=1200).map(|k| 0.01 * f64::from(k)).min_by(|a, b| loss(*a).total_cmp(&loss(*b)));
                assert!((least.unwrap() - truth).abs() < 0.02, "{generator:?} {truth}: {least:?}");
                // Values are continuous and belong to the slopes.
                for y in [-3.0001, -2.9999, 1.4999, 1.5001, 2.9999, 3.0001, truth] {
                    for side in [true, false] {
                        let h = 1e-5;
                        let at = |y| generator.of_ratio(y, side).0;
                        let slope = generator.of_ratio(y, side).1;
                        assert!(
                            ((at(y + h) - at(y - h)) / (2.0 * h) - slope).abs() < 1e-4 * (1.0 + slope.abs())
                        );
                    }
                }
            }
        }
    }
}
