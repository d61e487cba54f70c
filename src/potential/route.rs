//! The order in which λ of a path is visited: s ∈ [0, 1], the distance travelled, to λ.

use serde::{Deserialize, Serialize};

use super::Noise;

/// A monotone map from s ∈ [0, 1], the distance travelled, to λ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Route {
    /// λ = from + s (to − from).
    Linear {
        /// λ at the start.
        from: f64,
        /// λ at the end.
        to: f64,
    },
    /// Diffusion time from the noise end to the data end, s uniform in log(a²/g²).
    LogSnr {
        /// The process.
        noise: Noise,
    },
}

impl Route {
    /// λ at distance s.
    pub fn lambda(&self, s: f64) -> f64 {
        match *self {
            Self::Linear { from, to } => from + s.clamp(0.0, 1.0) * (to - from),
            Self::LogSnr { noise } => {
                let (data_end, noise_end) = noise.time_range();
                if s <= 0.0 {
                    noise_end
                } else if s >= 1.0 {
                    data_end
                } else {
                    let (low, high) = (noise.log_snr(noise_end), noise.log_snr(data_end));
                    noise.time_at_log_snr(low + s * (high - low))
                }
            }
        }
    }

    /// The distance at which the route passes λ; the inverse of [`Route::lambda`].
    pub fn distance(&self, lambda: f64) -> f64 {
        let s = match *self {
            Self::Linear { from, to } => (lambda - from) / (to - from),
            Self::LogSnr { noise } => {
                let (data_end, noise_end) = noise.time_range();
                let (low, high) = (noise.log_snr(noise_end), noise.log_snr(data_end));
                (noise.log_snr(lambda) - low) / (high - low)
            }
        };
        s.clamp(0.0, 1.0)
    }

    /// dλ/ds at λ: the factor that turns ∂u/∂λ into the integrand of thermodynamic integration over s,
    /// which varies slowly where ∂u/∂λ spans orders of magnitude.
    pub fn rate(&self, lambda: f64) -> f64 {
        match *self {
            Self::Linear { from, to } => to - from,
            Self::LogSnr { noise } => {
                let (data_end, noise_end) = noise.time_range();
                let span = noise.log_snr(data_end) - noise.log_snr(noise_end);
                // d log(a²/g²)/dt = 2 a'/a − (g²)'/g².
                let of_signal = 2.0 * noise.scale_rate(lambda) / noise.scale(lambda);
                span / (of_signal - noise.variance_rate(lambda) / noise.deviation(lambda).powi(2))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_inverts_lambda_and_rate_is_its_derivative() {
        for route in [
            Route::Linear { from: 0.2, to: 0.9 },
            Route::LogSnr { noise: Noise::default() },
            Route::LogSnr { noise: Noise::Edm { sigma_min: 1e-3, sigma_max: 20.0 } },
            Route::LogSnr { noise: Noise::VarianceExploding { sigma_min: 0.01, sigma_max: 50.0 } },
        ] {
            for k in 1..20 {
                let s = f64::from(k) / 20.0;
                let lambda = route.lambda(s);
                assert!((route.distance(lambda) - s).abs() < 1e-9, "{route:?} {s}");
                let numerical = (route.lambda(s + 1e-5) - route.lambda(s - 1e-5)) / 2e-5;
                assert!((numerical / route.rate(lambda) - 1.0).abs() < 1e-5, "{route:?} {s}");
            }
        }
    }
}
