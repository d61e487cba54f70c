//! What a configuration says about few-step generators.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::potential::Noise;

/// Generators of K noise scales and how they are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AmortisedSettings {
    /// K, the network calls of a sample.
    pub n_scales: usize,
    /// log(a²/g²) of the scale with the most noise, where samples start as Gaussian, and of the one before the data end.
    /// Those between are at equal distances.
    pub log_snr: [f64; 2],
    /// Widths of the hidden layers of each generator.
    pub hidden: Vec<usize>,
    /// Waves of each coordinate that a generator sees; the shortest has the wave length π g/a.
    pub n_frequencies: usize,
    /// Training by the energy score.
    pub warm_start: WarmStartSettings,
    /// Diffusion recovery likelihood after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoverySettings>,
}

/// Training by the energy score, see [`super::EnergyScore`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmStartSettings {
    /// Steps of each scale.
    pub n_steps: usize,
    /// Conditions per step.
    pub batch_size: usize,
    /// Samples of each condition.
    pub n_samples: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// β of |x − y|^β, between 0 and 2.
    pub exponent: f64,
    /// Decay of the average of weights; the average is what is used.
    pub ema_decay: f64,
}

/// Diffusion recovery likelihood with amortised sampling, see [`super::recover`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecoverySettings {
    /// Steps; each trains all scales.
    pub n_steps: usize,
    /// Conditions per step and scale.
    pub batch_size: usize,
    /// Samples of each condition.
    pub n_samples: usize,
    /// Learning rate of the generators at its peak.
    pub learning_rate: f64,
    /// Learning rate of the energy; 0: it stays as it is.
    pub energy_rate: f64,
    /// Weight of g² |∇u|² on real points in the energy's objective.
    pub gradient_penalty: f64,
    /// λ, the weight of the entropy; 1 for the law of the energy itself.
    pub entropy_weight: f64,
    /// How the entropy is estimated.
    pub entropy: Entropy,
    /// Decay of the average of weights.
    pub ema_decay: f64,
}

/// Estimates of the entropy of a generator's samples of one condition.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Entropy {
    /// d ⟨log distance to the nearest of the other samples⟩ (Kozachenko and Leonenko 1987): few dimensions. With two samples it
    /// is that of the published method, whose optimum is not the law of the energy but a Coulomb gas in it (a disc for
    /// a harmonic energy on the plane); with more samples it comes closer to the law.
    NearestNeighbour {},
    /// ⟨log det ∂x/∂z⟩ by d + 1 samples of neighbouring latents: few dimensions, and exact for a map that does not fold.
    Jacobian {},
    /// A lower bound of the mutual information of samples and latents by a discriminator of this hidden width and
    /// learning rate: many dimensions.
    MutualInformation {
        /// Units of its two hidden layers.
        #[serde(default = "sixty_four")]
        hidden: usize,
        /// Its learning rate.
        #[serde(default = "thousandth")]
        learning_rate: f64,
    },
}

fn sixty_four() -> usize {
    64
}

fn thousandth() -> f64 {
    1e-3
}

impl Default for AmortisedSettings {
    fn default() -> Self {
        Self {
            n_scales: 5,
            log_snr: [-2.0, 5.5],
            hidden: vec![128, 128, 128],
            n_frequencies: 5,
            warm_start: WarmStartSettings::default(),
            recovery: None,
        }
    }
}

impl Default for WarmStartSettings {
    fn default() -> Self {
        Self {
            n_steps: 5000,
            batch_size: 256,
            n_samples: 6,
            learning_rate: 4e-3,
            exponent: 0.5,
            ema_decay: 0.999,
        }
    }
}

impl Default for RecoverySettings {
    fn default() -> Self {
        Self {
            n_steps: 1000,
            batch_size: 128,
            n_samples: 16,
            learning_rate: 2e-4,
            energy_rate: 0.0,
            gradient_penalty: 0.01,
            entropy_weight: 1.0,
            entropy: Entropy::NearestNeighbour {},
            ema_decay: 0.99,
        }
    }
}

impl AmortisedSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        let bad = |key: &str, message: &str| Err(Error::config(format!("{place}.{key}"), message, ""));
        if !(1..=64).contains(&self.n_scales) {
            return bad("n_scales", "must be from 1 to 64");
        }
        let [most_noise, least_noise] = self.log_snr;
        if !(most_noise < least_noise && most_noise.is_finite() && least_noise.is_finite()) {
            return bad("log_snr", "must be two ascending numbers");
        }
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            return bad("hidden", "needs at least one layer of at least one unit");
        }
        if self.n_frequencies > 32 {
            return bad("n_frequencies", "must be at most 32");
        }
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let warm = &self.warm_start;
        if warm.n_samples < 2 || warm.batch_size == 0 {
            return bad("warm_start", "needs n_samples of at least 2 and batch_size of at least 1");
        }
        if !(positive(warm.exponent) && warm.exponent < 2.0 && positive(warm.learning_rate)) {
            return bad("warm_start", "needs an exponent between 0 and 2 and a positive learning_rate");
        }
        let decays = [Some(warm.ema_decay), self.recovery.map(|recovery| recovery.ema_decay)];
        if !decays.into_iter().flatten().all(|decay| (0.0..1.0).contains(&decay)) {
            return bad("ema_decay", "must be in [0, 1)");
        }
        if let Some(recovery) = &self.recovery {
            if recovery.n_samples < 2 || recovery.batch_size == 0 {
                return bad("recovery", "needs n_samples of at least 2 and batch_size of at least 1");
            }
            let not_negative = |value: f64| value >= 0.0 && value.is_finite();
            let rates = [recovery.energy_rate, recovery.gradient_penalty, recovery.entropy_weight];
            if !positive(recovery.learning_rate) || !rates.into_iter().all(not_negative) {
                return bad(
                    "recovery",
                    "needs a positive learning_rate; the other numbers must not be negative",
                );
            }
            if let Entropy::MutualInformation { hidden, learning_rate } = recovery.entropy
                && (hidden == 0 || !positive(learning_rate))
            {
                return bad("recovery.entropy", "needs units and a positive learning_rate");
            }
        }
        Ok(())
    }

    /// Times of the scales, from the data end to the one with the most noise: one more than there are network calls.
    pub fn times(&self, noise: &Noise) -> Vec<f64> {
        let ([most_noise, least_noise], n) = (self.log_snr, self.n_scales);
        let step = (least_noise - most_noise) / (n.max(2) - 1) as f64;
        let log_snr = |k: usize| most_noise + step * (n - k) as f64;
        std::iter::once(noise.time_range().0)
            .chain((1..=n).map(|k| noise.time_at_log_snr(log_snr(k))))
            .collect()
    }
}
