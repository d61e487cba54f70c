//! Denoising score matching: L = E w(t) |g s_θ(x_t, t) + z|² / d (Vincent 2011; Song et al. 2021).
//!
//! With s = −∂u/∂x its minimum is the score of the noised law at every t. It is blind to the relative
//! mass of modes that the noise at t does not connect.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Objective, Point};
use crate::error::{Error, Result};
use crate::registry::Settings;

/// Settings of denoising score matching.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DenoisingScoreMatching {
    /// w(t).
    pub weighting: Weighting,
}

/// How much each time counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// w = 1.
    #[default]
    Plain,
    /// w = β/g²: the loss bounds the likelihood. Its variance is large at small t.
    Likelihood,
    /// The times below and above m get the same total weight.
    EqualWeight(f64),
}

impl Weighting {
    fn at(self, point: &Point, k: usize) -> f64 {
        match self {
            Self::Plain => 1.0,
            Self::Likelihood => point.diffusions[k] / point.deviations[k].powi(2),
            Self::EqualWeight(m) if point.times[k] <= m => 0.5 / m,
            Self::EqualWeight(m) => 0.5 / (1.0 - m),
        }
    }
}

impl Settings<dyn Objective, ()> for DenoisingScoreMatching {
    const SUMMARY: &'static str = "denoising score matching: the slope of the energy at every noise level";
    const EXAMPLE: &'static str = "weighting = { equal_weight = 0.3 }";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        if let Weighting::EqualWeight(m) = self.weighting
            && !(m > 0.0 && m < 1.0)
        {
            return Err(Error::config(
                "weighting.equal_weight",
                format!("must lie between 0 and 1, found {m}"),
                "",
            ));
        }
        Ok(Box::new(self))
    }
}

impl Objective for DenoisingScoreMatching {
    fn name(&self) -> &'static str {
        "denoising_score_matching"
    }

    fn needs_gradients(&self) -> bool {
        true
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let n_times = point.times.len();
        let size = point.noise.len() / n_times;
        let mut loss = 0.0;
        for k in 0..point.n_data {
            let scale = self.weighting.at(point, k) / (point.degrees_of_freedom * point.n_data) as f64;
            let g = point.deviations[k];
            let range = k * size..(k + 1) * size;
            let rest = point.gradients[range.clone()].iter().zip(&mut cotangent.gradients[range.clone()]);
            for (z, (gradient, out)) in point.noise[range].iter().zip(rest) {
                let residual = z - g * gradient;
                loss += scale * residual * residual;
                *out -= 2.0 * weight * scale * g * residual;
            }
        }
        loss
    }
}
