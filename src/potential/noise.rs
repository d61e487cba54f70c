//! Noise processes x_t = a(t) x₀ + b(t) x₁ + g(t) z, z ~ N(0, 1) on the space of x₀.
//!
//! b = 0 but for the interpolant, which joins two ensembles (Albergo, Boffi and Vanden-Eijnden 2023).
//!
//! | kind | a(t) | g(t)² |
//! |---|---|---|
//! | variance preserving (Song et al. 2021) | exp(−t β₀/2 − t²(β₁−β₀)/4) | 1 − a² |
//! | variance exploding | 1 | σ_min² (σ_max/σ_min)^{2t} |
//! | EDM (Karras et al. 2022) | 1 | t², t = σ |
//! | interpolant, b = t | 1 − t | γ² t (1 − t) |
//!
//! log(a²/g²) falls with t in all of them; for the interpolant it is log((1 − t)/t) − 2 log γ, which
//! resolves both ends alike.
//!
//! They stand here rather than beside the learned models because analytic systems have exact
//! noised laws as well, and samplers along diffusion time need a and g of either.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How data become noise, with time t in [`Noise::time_range`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Noise {
    /// Variance preserving: unit-variance data stay at unit variance.
    VariancePreserving {
        /// β at t = 0.
        #[serde(default = "defaults::beta_min")]
        beta_min: f64,
        /// β at t = 1.
        #[serde(default = "defaults::beta_max")]
        beta_max: f64,
        /// The data end.
        #[serde(default = "defaults::t_min")]
        t_min: f64,
    },
    /// Variance exploding, geometric in t.
    VarianceExploding {
        /// Noise at t = 0, in units of the data's standard deviation.
        #[serde(default = "defaults::ve_sigma_min")]
        sigma_min: f64,
        /// Noise at t = 1.
        #[serde(default = "defaults::ve_sigma_max")]
        sigma_max: f64,
    },
    /// t is the noise level σ itself.
    Edm {
        /// The data end.
        #[serde(default = "defaults::edm_sigma_min")]
        sigma_min: f64,
        /// The noise end.
        #[serde(default = "defaults::edm_sigma_max")]
        sigma_max: f64,
    },
    /// From one ensemble to another, with noise in between; times from `t_min` to 1 − `t_min`.
    Interpolant {
        /// γ: the noise half-way is γ/2, in units of the data's standard deviation.
        #[serde(default = "defaults::strength")]
        strength: f64,
        /// How far from the ends the path begins: the noise there is γ √t_min.
        #[serde(default = "defaults::interpolant_t_min")]
        t_min: f64,
    },
}

mod defaults {
    pub fn beta_min() -> f64 {
        0.1
    }
    pub fn beta_max() -> f64 {
        20.0
    }
    pub fn t_min() -> f64 {
        1e-5
    }
    pub fn ve_sigma_min() -> f64 {
        1e-3
    }
    pub fn ve_sigma_max() -> f64 {
        50.0
    }
    pub fn edm_sigma_min() -> f64 {
        1e-3
    }
    pub fn edm_sigma_max() -> f64 {
        20.0
    }
    pub fn strength() -> f64 {
        1.0
    }
    pub fn interpolant_t_min() -> f64 {
        1e-6
    }
}

impl Default for Noise {
    fn default() -> Self {
        Self::VariancePreserving {
            beta_min: defaults::beta_min(),
            beta_max: defaults::beta_max(),
            t_min: defaults::t_min(),
        }
    }
}

impl Noise {
    /// Checks the parameters; `place` is the key path for messages.
    pub fn validate(&self, place: &str) -> Result<()> {
        let ok = match *self {
            Self::VariancePreserving { beta_min, beta_max, t_min } => {
                beta_min > 0.0 && beta_max > beta_min && t_min > 0.0 && t_min < 1.0
            }
            Self::VarianceExploding { sigma_min, sigma_max } | Self::Edm { sigma_min, sigma_max } => {
                sigma_min > 0.0 && sigma_max > sigma_min && sigma_max.is_finite()
            }
            Self::Interpolant { strength, t_min } => {
                strength > 0.0 && strength.is_finite() && t_min > 1e-12 && t_min < 0.5
            }
        };
        let message = "needs 0 < beta_min < beta_max and 0 < t_min < 1, or 0 < sigma_min < sigma_max, or 0 < strength \
                       and 1e-12 < t_min < 0.5";
        if ok { Ok(()) } else { Err(Error::config(place, message, format!("found {self:?}"))) }
    }

    /// Times from the data end to the noise end.
    pub fn time_range(&self) -> (f64, f64) {
        match *self {
            Self::VariancePreserving { t_min, .. } => (t_min, 1.0),
            Self::VarianceExploding { .. } => (0.0, 1.0),
            Self::Edm { sigma_min, sigma_max } => (sigma_min, sigma_max),
            Self::Interpolant { t_min, .. } => (t_min, 1.0 - t_min),
        }
    }

    /// Whether the path leads from one ensemble to another instead of to pure noise.
    pub fn has_two_ends(&self) -> bool {
        matches!(self, Self::Interpolant { .. })
    }

    /// b(t), the scale of the other ensemble; 0 where there is none.
    pub fn partner_scale(&self, t: f64) -> f64 {
        if self.has_two_ends() { t } else { 0.0 }
    }

    /// db/dt.
    pub fn partner_scale_rate(&self) -> f64 {
        if self.has_two_ends() { 1.0 } else { 0.0 }
    }

    /// a² + b² + g²: the variance of x_t for independent ends of unit variance.
    pub fn total_variance(&self, t: f64) -> f64 {
        self.scale(t).powi(2) + self.partner_scale(t).powi(2) + self.deviation(t).powi(2)
    }

    /// d(a² + b² + g²)/dt.
    pub fn total_variance_rate(&self, t: f64) -> f64 {
        let of_data = self.scale(t) * self.scale_rate(t) + self.partner_scale(t) * self.partner_scale_rate();
        2.0 * of_data + self.variance_rate(t)
    }

    /// The order at which x_t differs from a Gaussian, as a function of log(a²/g²): a²/(a² + g²) where the path
    /// ends in noise, 1 where both ends are data.
    pub fn signal(&self, log_snr: f64) -> f64 {
        if self.has_two_ends() { 1.0 } else { 1.0 / (1.0 + (-log_snr).exp()) }
    }

    /// a(t), the scale of the data.
    pub fn scale(&self, t: f64) -> f64 {
        match *self {
            Self::VariancePreserving { .. } => self.log_scale(t).exp(),
            Self::VarianceExploding { .. } | Self::Edm { .. } => 1.0,
            Self::Interpolant { .. } => 1.0 - t,
        }
    }

    /// g(t), the standard deviation of the noise.
    pub fn deviation(&self, t: f64) -> f64 {
        match *self {
            Self::VariancePreserving { .. } => (-(2.0 * self.log_scale(t)).exp_m1()).sqrt(),
            Self::VarianceExploding { sigma_min, sigma_max } => sigma_min * (sigma_max / sigma_min).powf(t),
            Self::Edm { .. } => t,
            Self::Interpolant { strength, .. } => strength * (t * (1.0 - t)).sqrt(),
        }
    }

    /// log(a²/g²), which falls with t.
    pub fn log_snr(&self, t: f64) -> f64 {
        2.0 * (self.scale(t) / self.deviation(t)).ln()
    }

    /// The time at which log(a²/g²) has this value; clamped to [`Noise::time_range`].
    pub fn time_at_log_snr(&self, log_snr: f64) -> f64 {
        let (first, last) = self.time_range();
        let time = match *self {
            Self::VariancePreserving { beta_min, beta_max, .. } => {
                // a² = 1/(1 + e^{−logSNR}), so c = −log(a) = softplus(−logSNR)/2, a quadratic in t.
                let c = 0.5 * softplus(-log_snr);
                2.0 * c / (0.5 * beta_min + (0.25 * beta_min * beta_min + (beta_max - beta_min) * c).sqrt())
            }
            Self::VarianceExploding { sigma_min, sigma_max } => {
                ((-0.5 * log_snr).exp() / sigma_min).ln() / (sigma_max / sigma_min).ln()
            }
            Self::Edm { .. } => (-0.5 * log_snr).exp(),
            Self::Interpolant { strength, .. } => 1.0 / (1.0 + (log_snr + 2.0 * strength.ln()).exp()),
        };
        time.clamp(first, last)
    }

    /// da/dt.
    pub fn scale_rate(&self, t: f64) -> f64 {
        match *self {
            Self::VariancePreserving { .. } => -0.5 * self.beta(t) * self.scale(t),
            Self::VarianceExploding { .. } | Self::Edm { .. } => 0.0,
            Self::Interpolant { .. } => -1.0,
        }
    }

    /// d(g²)/dt.
    pub fn variance_rate(&self, t: f64) -> f64 {
        match *self {
            Self::VariancePreserving { .. } => self.beta(t) * self.scale(t).powi(2),
            Self::VarianceExploding { sigma_min, sigma_max } => {
                2.0 * (sigma_max / sigma_min).ln() * self.deviation(t).powi(2)
            }
            Self::Edm { .. } => 2.0 * t,
            Self::Interpolant { strength, .. } => strength * strength * (1.0 - 2.0 * t),
        }
    }

    /// The drift coefficient f of dX = f(t) X dt + √D(t) dW.
    pub fn drift(&self, t: f64) -> f64 {
        match *self {
            Self::VariancePreserving { .. } => -0.5 * self.beta(t),
            Self::VarianceExploding { .. } | Self::Edm { .. } => 0.0,
            Self::Interpolant { .. } => -1.0 / (1.0 - t),
        }
    }

    /// The squared diffusion coefficient D of dX = f(t) X dt + √D(t) dW: what the noise of the x₀ end does; the
    /// other end of an interpolant is not in it.
    pub fn diffusion(&self, t: f64) -> f64 {
        match *self {
            Self::VariancePreserving { .. } => self.beta(t),
            Self::Interpolant { strength, .. } => strength * strength,
            _ => self.variance_rate(t),
        }
    }

    /// n + 1 times from the noise end to the data end, uniform in log(a²/g²).
    pub fn log_snr_grid(&self, n: usize) -> Vec<f64> {
        let (first, last) = self.time_range();
        let (low, high) = (self.log_snr(last), self.log_snr(first));
        let mut times: Vec<f64> =
            (0..=n).map(|k| self.time_at_log_snr(low + (high - low) * k as f64 / n as f64)).collect();
        times[0] = last;
        times[n] = first;
        times
    }

    fn beta(&self, t: f64) -> f64 {
        match *self {
            Self::VariancePreserving { beta_min, beta_max, .. } => beta_min + t * (beta_max - beta_min),
            _ => 0.0,
        }
    }

    fn log_scale(&self, t: f64) -> f64 {
        match *self {
            Self::VariancePreserving { beta_min, beta_max, .. } => {
                -0.5 * t * beta_min - 0.25 * t * t * (beta_max - beta_min)
            }
            _ => 0.0,
        }
    }
}

/// log(1 + eˣ) without overflow.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::Space;
    use crate::random::{Purpose, Streams};

    fn all() -> [Noise; 4] {
        [
            Noise::default(),
            Noise::VarianceExploding { sigma_min: 0.01, sigma_max: 50.0 },
            Noise::Edm { sigma_min: 1e-3, sigma_max: 20.0 },
            Noise::Interpolant { strength: 1.3, t_min: 1e-6 },
        ]
    }

    #[test]
    fn time_and_log_snr_are_inverse_and_rates_are_derivatives() {
        for noise in all() {
            let (first, last) = noise.time_range();
            for k in 1..20 {
                let t = first + (last - first) * f64::from(k) / 20.0;
                assert!((noise.time_at_log_snr(noise.log_snr(t)) - t).abs() < 1e-9 * last, "{noise:?} {t}");
                let h = 1e-5 * last;
                let rate = |f: &dyn Fn(f64) -> f64| (f(t + h) - f(t - h)) / (2.0 * h);
                let variance = rate(&|t| noise.deviation(t).powi(2));
                let total = rate(&|t| noise.total_variance(t));
                assert!(
                    (variance - noise.variance_rate(t)).abs() < 1e-6 * (1.0 + variance.abs()),
                    "{noise:?} {t}"
                );
                assert!(
                    (total - noise.total_variance_rate(t)).abs() < 1e-6 * (1.0 + total.abs()),
                    "{noise:?} {t}"
                );
                assert!((rate(&|t| noise.scale(t)) - noise.scale_rate(t)).abs() < 1e-6, "{noise:?} {t}");
                // The SDE moves the moments as the table says: (g²)' = 2 f g² + D and a' = f a.
                let moments = 2.0 * noise.drift(t) * noise.deviation(t).powi(2) + noise.diffusion(t);
                assert!((moments - noise.variance_rate(t)).abs() < 1e-9 * (1.0 + moments.abs()));
                assert!((noise.drift(t) * noise.scale(t) - noise.scale_rate(t)).abs() < 1e-12);
            }
        }
    }

    /// a and g² once more, from the table of methods: x_t of one conformation has the mean a x₀ and, on
    /// the space of centred conformations, the total variance g² d.
    #[test]
    fn noised_conformations_have_the_moments_of_the_table() {
        let (n_particles, n) = (4, 100_000);
        let space = Space::Centered { n_particles };
        let (size, d) = (space.dimension(), space.degrees_of_freedom() as f64);
        assert_eq!(d, 9.0);
        let mut x0 = vec![0.9, -1.3, 0.2, 0.4, 2.0, -0.6, -1.1, 0.1, 0.8, 0.3, -0.5, 1.7];
        space.project(&mut x0);
        for (noise_idx, noise) in all().into_iter().enumerate() {
            for (time_idx, fraction) in [0.01, 0.3, 1.0].into_iter().enumerate() {
                let t = fraction * noise.time_range().1;
                let (a, g2): (f64, f64) = match noise_idx {
                    0 => {
                        let a = (-t * 0.1 / 2.0 - t * t * 19.9 / 4.0).exp();
                        (a, 1.0 - a * a)
                    }
                    1 => (1.0, 0.01_f64.powi(2) * 5000.0_f64.powf(2.0 * t)),
                    2 => (1.0, t * t),
                    _ => (1.0 - t, 1.69 * t * (1.0 - t)),
                };
                let mut rng = Streams::new(8).stream(Purpose::Batch, (3 * noise_idx + time_idx) as u64);
                let (mut mean, mut square, mut fourth) = (vec![0.0; size], 0.0, 0.0);
                let mut x = vec![0.0; size];
                for _ in 0..n {
                    space.fill_normal(&mut rng, &mut x);
                    x.iter_mut()
                        .zip(&x0)
                        .for_each(|(x, x0)| *x = noise.scale(t) * x0 + noise.deviation(t) * *x);
                    mean.iter_mut().zip(&x).for_each(|(mean, x)| *mean += x / f64::from(n));
                    let from_mean: f64 = x.iter().zip(&x0).map(|(x, x0)| (x - a * x0).powi(2)).sum();
                    square += from_mean / f64::from(n);
                    fourth += from_mean * from_mean / f64::from(n);
                    for axis in 0..3 {
                        assert!(x[axis..].iter().step_by(3).sum::<f64>().abs() < 1e-11 * (1.0 + g2));
                    }
                }
                let place = format!("{noise:?} at {t}");
                // Each component has the variance g² (1 − 1/n); |z|² is χ² with d degrees of freedom.
                let std_error = (g2 * 0.75 / f64::from(n)).sqrt();
                let far = mean.iter().zip(&x0).map(|(mean, x0)| (mean - a * x0).abs()).fold(0.0, f64::max);
                assert!(far < 4.0 * std_error, "{place}: {far} {std_error}");
                let std_error = g2 * (2.0 * d / f64::from(n)).sqrt();
                assert!((square - g2 * d).abs() < 4.0 * std_error, "{place}: {square} {}", g2 * d);
                assert!((fourth / (g2 * g2 * d * (d + 2.0)) - 1.0).abs() < 0.02, "{place}: {fourth}");
            }
        }
    }

    #[test]
    fn the_grid_runs_from_noise_to_data() {
        let times = Noise::default().log_snr_grid(100);
        assert_eq!((times[0], times[100]), (1.0, 1e-5));
        assert!(times.windows(2).all(|pair| pair[1] < pair[0]));
    }
}
