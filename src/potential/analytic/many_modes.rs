//! Mixtures of many Gaussians at random places, of any dimension: 40 modes in 128 dimensions.
//!
//! In two dimensions, 40 equal modes of variance log²(1 + e) in [−40, 40]² are the `GMM40` of Midgley et al.
//! (Flow annealed importance sampling bootstrap, ICLR 2023), with other places; in 128 dimensions modes are so
//! far apart that no local sampler passes from one to another, and what a sampler says of their weights is
//! what it was told or has learned. Weights may be unequal, so that a sampler that visits all modes alike is
//! caught.

use rand::Rng as _;
use serde::Deserialize;

use super::{ExactPotential, GaussianMixture, Variances};
use crate::error::{Error, Result};
use crate::potential::Space;
use crate::random::{Purpose, Streams};
use crate::registry::Settings;

/// How modes are placed.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManyModes {
    /// How many.
    pub n_modes: usize,
    /// Of the space.
    pub dimension: usize,
    /// Means are uniform in [−half_width, half_width] along each axis.
    pub half_width: f64,
    /// Variance of every mode along each axis.
    pub variance: f64,
    /// The weight of the first mode over that of the last; those between are spaced geometrically.
    pub weight_ratio: f64,
    /// Of the places.
    pub seed: u64,
}

impl Default for ManyModes {
    fn default() -> Self {
        Self { n_modes: 40, dimension: 128, half_width: 1.0, variance: 0.04, weight_ratio: 10.0, seed: 0 }
    }
}

impl ManyModes {
    /// The mixture; the same places for the same seed, whatever the other numbers but the dimension.
    pub fn mixture(&self) -> Result<GaussianMixture> {
        let &Self { n_modes, dimension, half_width, variance, weight_ratio, seed } = self;
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if n_modes == 0 || dimension == 0 || !positive(half_width) || !positive(weight_ratio) {
            return Err(Error::invalid(
                "mixture of many modes",
                "at least one mode and dimension, a positive width and ratio of weights",
                format!("{n_modes}, {dimension}, {half_width}, {weight_ratio}"),
            ));
        }
        let streams = Streams::new(seed);
        let mut means = Vec::with_capacity(n_modes * dimension);
        for mode in 0..n_modes {
            let mut rng = streams.stream(Purpose::Start, mode as u64);
            means.extend((0..dimension).map(|_| half_width * (2.0 * rng.random::<f64>() - 1.0)));
        }
        let last = (n_modes - 1).max(1) as f64;
        let weights: Vec<f64> = (0..n_modes).map(|mode| weight_ratio.powf(-(mode as f64) / last)).collect();
        let space = Space::Euclidean { dimension };
        GaussianMixture::new(space, &weights, means, Variances::Isotropic(vec![variance; n_modes]))
    }
}

/// Settings of [`ManyModes`].
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct ManyModesSettings(ManyModes);

impl Settings<dyn ExactPotential, ()> for ManyModesSettings {
    const SUMMARY: &'static str = "many Gaussians at random places, by default 40 in 128 dimensions";
    const EXAMPLE: &'static str = "n_modes = 40\ndimension = 128\nhalf_width = 1.0\nvariance = 0.04\n\
        weight_ratio = 10.0\nseed = 0";

    fn build(self, _: &()) -> Result<Box<dyn ExactPotential>> {
        Ok(Box::new(self.0.mixture()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_where_the_seed_says_with_their_weights_and_far_apart() {
        let modes = ManyModes::default();
        let mixture = modes.mixture().unwrap();
        assert_eq!(mixture, modes.mixture().unwrap());
        assert_ne!(mixture, ManyModes { seed: 1, ..modes }.mixture().unwrap());
        let weights = mixture.weights();
        assert!((weights[0] / weights[39] - 10.0).abs() < 1e-9);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);

        // Samples fall to the mode they were drawn from, with the frequencies of the weights.
        let n = 20_000;
        let mut rng = Streams::new(2).stream(Purpose::Walker, 0);
        let (mut x, mut counts) = (vec![0.0; 128], vec![0.0; 40]);
        for _ in 0..n {
            let mode = mixture.sample(&mut rng, &mut x);
            assert_eq!(mixture.assign(&x), mode);
            counts[mode] += 1.0;
        }
        let chi_square: f64 = (counts.iter().zip(&weights))
            .map(|(count, w)| (count - w * f64::from(n)).powi(2) / (w * f64::from(n)))
            .sum();
        // 39 degrees of freedom: mean 39, standard deviation 8.8.
        assert!(chi_square < 39.0 + 4.0 * 8.8, "{chi_square}");
    }
}
