//! From a Gaussian to a law of interest: a path, the order in which its λ are visited, and the start.

use crate::error::{Error, Result};
use crate::potential::{Noise, PotentialPath, Route};
use crate::random::{Purpose, Streams};

/// A path to be travelled along a route from near a Gaussian N(0, σ²).
#[derive(Clone, Copy)]
pub struct Bridge<'a> {
    /// The energies.
    pub path: &'a dyn PotentialPath,
    /// The order of λ.
    pub route: Route,
    /// σ of the Gaussian that resembles the law at the start of the route.
    pub reference_deviation: f64,
}

impl<'a> Bridge<'a> {
    /// From the noise end to the data end of a diffusion, with the variance of the data per degree of freedom.
    pub fn diffusion(path: &'a dyn PotentialPath, noise: Noise, data_variance: f64) -> Self {
        let noise_end = noise.time_range().1;
        let variance = noise.scale(noise_end).powi(2) * data_variance + noise.deviation(noise_end).powi(2);
        Self { path, route: Route::LogSnr { noise }, reference_deviation: variance.sqrt() }
    }

    /// Checks that route and path fit together.
    pub fn validate(&self) -> Result<()> {
        let (low, high) = self.path.range();
        for s in [0.0, 1.0] {
            let lambda = self.route.lambda(s);
            if !(low..=high).contains(&lambda) {
                let expected = format!("λ between {low} and {high}");
                return Err(Error::invalid("route along a path", expected, lambda.to_string()));
            }
        }
        if !(self.reference_deviation > 0.0 && self.reference_deviation.is_finite()) {
            let found = self.reference_deviation.to_string();
            return Err(Error::invalid("reference deviation", "a positive number", found));
        }
        Ok(())
    }

    /// Draws `n` points of the Gaussian, each from its own stream.
    pub fn draw_reference(&self, n: usize, streams: &Streams, purpose: Purpose) -> Vec<f64> {
        let space = self.path.space();
        let mut x = vec![0.0; n * space.dimension()];
        for (idx, x) in x.chunks_exact_mut(space.dimension()).enumerate() {
            space.fill_normal(&mut streams.stream(purpose, idx as u64), x);
            x.iter_mut().for_each(|x| *x *= self.reference_deviation);
        }
        x
    }

    /// −log of the density of the Gaussian at x.
    pub fn reference_energy(&self, x: &[f64]) -> f64 {
        let variance = self.reference_deviation.powi(2);
        0.5 * x.iter().map(|x| x * x).sum::<f64>() / variance
            + 0.5 * self.path.space().degrees_of_freedom() as f64 * (std::f64::consts::TAU * variance).ln()
    }
}
