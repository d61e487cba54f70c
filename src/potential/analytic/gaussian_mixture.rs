//! Mixtures of Gaussians and their exact laws under noise.
//!
//! p(x) = Σ_k w_k N(x; m_k, S_k) with S_k = v_k 1 or diagonal. Noise x_t = a x + g z turns it into the
//! mixture of N(a m_k, a² S_k + g²), so u_t = −log p_t, its gradient and its time derivative are known
//! exactly: with δ = x − a m_k, V = a² v + g² and responsibilities r_k,
//!
//! ∇u = Σ_k r_k δ/V,  ∂u/∂t = Σ_k r_k Σ_i [ V'/(2V) − δ²V'/(2V²) − a' δ m/V ].

use std::f64::consts::TAU;

use rand::Rng as _;
use rayon::prelude::*;
use serde::Deserialize;

use super::{ExactPotential, MIN_PER_TASK};
use crate::error::{Error, Result};
use crate::potential::{Noise, PotentialPath, ReducedPotential, Space, log_sum_exp};
use crate::random::Rng;
use crate::registry::Settings;

/// Variances of the components of a mixture.
#[derive(Debug, Clone, PartialEq)]
pub enum Variances {
    /// One number per component.
    Isotropic(Vec<f64>),
    /// One number per component and coordinate, `[component][coordinate]`; not on a centred space,
    /// where a diagonal covariance is not closed under projection.
    Diagonal(Vec<f64>),
}

/// A normalised mixture of Gaussians: log ∫ exp(−u) = 0.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianMixture {
    space: Space,
    log_weights: Vec<f64>,
    means: Vec<f64>,
    variances: Variances,
}

/// a, g² and their derivatives in t.
#[derive(Clone, Copy)]
struct Level {
    scale: f64,
    noise_variance: f64,
    scale_rate: f64,
    noise_variance_rate: f64,
}

const NOISELESS: Level = Level { scale: 1.0, noise_variance: 0.0, scale_rate: 0.0, noise_variance_rate: 0.0 };

impl GaussianMixture {
    /// A mixture with weights ∝ `weights` and `means` as `[component][coordinate]`, projected onto the space.
    pub fn new(space: Space, weights: &[f64], mut means: Vec<f64>, variances: Variances) -> Result<Self> {
        let (k, d) = (weights.len(), space.dimension());
        let (values, expected) = match &variances {
            Variances::Isotropic(values) => (values, k),
            Variances::Diagonal(values) => (values, k * d),
        };
        let fits = k > 0 && means.len() == k * d && values.len() == expected;
        if !fits || matches!((&variances, space), (Variances::Diagonal(_), Space::Centered { .. })) {
            return Err(Error::invalid(
                "Gaussian mixture",
                format!("for {k} components {} means and {expected} variances", k * d),
                format!("{} means and {} variances", means.len(), values.len()),
            ));
        }
        let positive = |values: &[f64]| values.iter().all(|v| *v > 0.0 && v.is_finite());
        if !positive(weights) || !positive(values) || !means.iter().all(|m| m.is_finite()) {
            return Err(Error::invalid(
                "Gaussian mixture",
                "positive weights and variances and finite means",
                format!("{weights:?}, {values:?}"),
            ));
        }
        means.chunks_exact_mut(d).for_each(|mean| space.project(mean));
        let total: f64 = weights.iter().sum();
        let log_weights = weights.iter().map(|w| (w / total).ln()).collect();
        Ok(Self { space, log_weights, means, variances })
    }

    /// How many components.
    pub fn n_components(&self) -> usize {
        self.log_weights.len()
    }

    /// Weights that sum to one.
    pub fn weights(&self) -> Vec<f64> {
        self.log_weights.iter().map(|w| w.exp()).collect()
    }

    /// Draws one point and tells its component.
    pub fn sample(&self, rng: &mut Rng, x: &mut [f64]) -> usize {
        let mut left: f64 = rng.random();
        let mut component = 0;
        while component + 1 < self.n_components() && left >= self.log_weights[component].exp() {
            left -= self.log_weights[component].exp();
            component += 1;
        }
        self.space.fill_normal(rng, x);
        for (i, x) in x.iter_mut().enumerate() {
            *x = self.mean(component)[i] + self.variance(component, i).sqrt() * *x;
        }
        component
    }

    /// The component with the largest posterior probability given x.
    pub fn assign(&self, x: &[f64]) -> usize {
        let mut logs = vec![0.0; self.n_components()];
        self.log_components(NOISELESS, x, &mut logs);
        (0..logs.len()).max_by(|&i, &j| logs[i].total_cmp(&logs[j])).unwrap_or(0)
    }

    /// The mean of one component.
    pub fn mean(&self, component: usize) -> &[f64] {
        &self.means[component * self.space.dimension()..][..self.space.dimension()]
    }

    fn variance(&self, component: usize, coordinate: usize) -> f64 {
        match &self.variances {
            Variances::Isotropic(values) => values[component],
            Variances::Diagonal(values) => values[component * self.space.dimension() + coordinate],
        }
    }

    /// log w_k N_k(x) of each component.
    fn log_components(&self, level: Level, x: &[f64], logs: &mut [f64]) {
        let Level { scale, noise_variance, .. } = level;
        for (k, log) in logs.iter_mut().enumerate() {
            let square = |(x, m): (&f64, &f64)| (x - scale * m).powi(2);
            let exponent = match &self.variances {
                Variances::Isotropic(values) => {
                    let variance = scale * scale * values[k] + noise_variance;
                    x.iter().zip(self.mean(k)).map(square).sum::<f64>() / variance
                        + self.space.degrees_of_freedom() as f64 * (TAU * variance).ln()
                }
                Variances::Diagonal(_) => (x.iter().zip(self.mean(k)).enumerate())
                    .map(|(i, pair)| {
                        let variance = scale * scale * self.variance(k, i) + noise_variance;
                        square(pair) / variance + (TAU * variance).ln()
                    })
                    .sum::<f64>(),
            };
            *log = self.log_weights[k] - 0.5 * exponent;
        }
    }

    /// −log p.
    fn energy(&self, level: Level, x: &[f64], logs: &mut [f64]) -> f64 {
        self.log_components(level, x, logs);
        -log_sum_exp(logs)
    }

    /// −log p and its gradient.
    fn energy_and_gradient(&self, level: Level, x: &[f64], logs: &mut [f64], gradient: &mut [f64]) -> f64 {
        let energy = self.energy(level, x, logs);
        gradient.fill(0.0);
        for (k, log) in logs.iter().enumerate() {
            let responsibility = (log + energy).exp();
            for (i, (g, (x, m))) in gradient.iter_mut().zip(x.iter().zip(self.mean(k))).enumerate() {
                let variance = level.scale * level.scale * self.variance(k, i) + level.noise_variance;
                *g += responsibility * (x - level.scale * m) / variance;
            }
        }
        energy
    }

    /// −∂ log p/∂t.
    fn time_derivative(&self, level: Level, x: &[f64], logs: &mut [f64]) -> f64 {
        let energy = self.energy(level, x, logs);
        let Level { scale, noise_variance, scale_rate, noise_variance_rate } = level;
        // On a centred space the log-determinant counts 3n − 3 directions out of 3n coordinates.
        let per_coordinate = self.space.degrees_of_freedom() as f64 / self.space.dimension() as f64;
        let mut derivative = 0.0;
        for (k, log) in logs.iter().enumerate() {
            let mut of_component = 0.0;
            for (i, (x, m)) in x.iter().zip(self.mean(k)).enumerate() {
                let variance = scale * scale * self.variance(k, i) + noise_variance;
                let rate = 2.0 * scale * scale_rate * self.variance(k, i) + noise_variance_rate;
                let difference = x - scale * m;
                of_component += 0.5 * rate / variance * (per_coordinate - difference * difference / variance)
                    - scale_rate * difference * m / variance;
            }
            derivative += (log + energy).exp() * of_component;
        }
        derivative
    }
}

impl ReducedPotential for GaussianMixture {
    fn space(&self) -> Space {
        self.space
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        u.par_iter_mut().zip(x.par_chunks(self.space.dimension())).with_min_len(MIN_PER_TASK).for_each_init(
            || vec![0.0; self.n_components()],
            |logs, (u, x)| *u = self.energy(NOISELESS, x, logs),
        );
        Ok(())
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        let d = self.space.dimension();
        u.par_iter_mut()
            .zip(x.par_chunks(d))
            .zip(gradient.par_chunks_mut(d))
            .with_min_len(MIN_PER_TASK)
            .for_each_init(
                || vec![0.0; self.n_components()],
                |logs, ((u, x), gradient)| *u = self.energy_and_gradient(NOISELESS, x, logs, gradient),
            );
        Ok(())
    }
}

impl ExactPotential for GaussianMixture {
    fn log_normalizer(&self) -> f64 {
        0.0
    }
}

/// The exact law of a mixture under noise, as a path over diffusion time.
///
/// u_t = −log p_t(x) + c (t − t_noise), so that log ∫ exp(−u_t) = −c (t − t_noise) is known and not zero:
/// an estimator that returns zero whatever it is given is caught.
#[derive(Debug, Clone, PartialEq)]
pub struct DiffusedMixture {
    /// The law of the data.
    pub mixture: GaussianMixture,
    /// How it is noised.
    pub noise: Noise,
    /// c in kT per unit of t.
    pub offset_rate_kt: f64,
}

impl DiffusedMixture {
    /// The path without a deliberate offset.
    pub fn new(mixture: GaussianMixture, noise: Noise) -> Self {
        Self { mixture, noise, offset_rate_kt: 0.0 }
    }

    /// log ∫ exp(−u_t), exact.
    pub fn log_normalizer(&self, t: f64) -> f64 {
        -self.offset(t)
    }

    /// Draws from p_t: a data point scaled and noised.
    pub fn sample(&self, t: f64, rng: &mut Rng, x: &mut [f64]) -> usize {
        let component = self.mixture.sample(rng, x);
        let mut z = vec![0.0; x.len()];
        self.mixture.space.fill_normal(rng, &mut z);
        let (scale, deviation) = (self.noise.scale(t), self.noise.deviation(t));
        x.iter_mut().zip(&z).for_each(|(x, z)| *x = scale * *x + deviation * z);
        component
    }

    fn offset(&self, t: f64) -> f64 {
        self.offset_rate_kt * (t - self.noise.time_range().1)
    }

    fn level(&self, t: f64) -> Level {
        Level {
            scale: self.noise.scale(t),
            noise_variance: self.noise.deviation(t).powi(2),
            scale_rate: self.noise.scale_rate(t),
            noise_variance_rate: self.noise.variance_rate(t),
        }
    }
}

impl PotentialPath for DiffusedMixture {
    fn space(&self) -> Space {
        self.mixture.space
    }

    fn range(&self) -> (f64, f64) {
        self.noise.time_range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        (u.par_iter_mut().zip(lambda).zip(x.par_chunks(self.mixture.space.dimension())))
            .with_min_len(MIN_PER_TASK)
            .for_each_init(
                || vec![0.0; self.mixture.n_components()],
                |logs, ((u, &t), x)| *u = self.mixture.energy(self.level(t), x, logs) + self.offset(t),
            );
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        let d = self.mixture.space.dimension();
        (u.par_iter_mut().zip(lambda).zip(x.par_chunks(d)).zip(gradient.par_chunks_mut(d)))
            .with_min_len(MIN_PER_TASK)
            .for_each_init(
                || vec![0.0; self.mixture.n_components()],
                |logs, (((u, &t), x), gradient)| {
                    *u = self.mixture.energy_and_gradient(self.level(t), x, logs, gradient) + self.offset(t);
                },
            );
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        (du_dlambda.par_iter_mut().zip(lambda).zip(x.par_chunks(self.mixture.space.dimension())))
            .with_min_len(MIN_PER_TASK)
            .for_each_init(
                || vec![0.0; self.mixture.n_components()],
                |logs, ((rate, &t), x)| {
                    *rate = self.mixture.time_derivative(self.level(t), x, logs) + self.offset_rate_kt;
                },
            );
        Ok(())
    }
}

/// Settings of a [`GaussianMixture`] in Rᵈ.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GaussianMixtureSettings {
    /// Relative weights.
    weights: Vec<f64>,
    /// One mean per component.
    means: Vec<Vec<f64>>,
    /// One variance per component.
    variances: Vec<f64>,
}

impl Settings<dyn ExactPotential, ()> for GaussianMixtureSettings {
    const SUMMARY: &'static str = "a normalised mixture of isotropic Gaussians";
    const EXAMPLE: &'static str =
        "weights = [0.8, 0.2]\nmeans = [[-1.0, 0.0], [2.0, 0.5]]\nvariances = [0.3, 0.1]";

    fn build(self, _: &()) -> Result<Box<dyn ExactPotential>> {
        let space = Space::Euclidean { dimension: self.means.first().map_or(0, Vec::len) };
        let variances = Variances::Isotropic(self.variances);
        Ok(Box::new(GaussianMixture::new(space, &self.weights, self.means.concat(), variances)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};

    fn paths() -> Vec<DiffusedMixture> {
        let flat = Space::Euclidean { dimension: 2 };
        let diagonal = Variances::Diagonal(vec![0.3, 0.05, 0.1, 0.6]);
        let centred = Space::Centered { n_particles: 3 };
        let means = (0..18).map(|i| (f64::from(i) * 0.7).sin()).collect();
        [
            GaussianMixture::new(flat, &[0.7, 0.3], vec![-1.0, 0.2, 1.5, -0.4], diagonal).unwrap(),
            GaussianMixture::new(centred, &[1.0, 3.0], means, Variances::Isotropic(vec![0.1, 0.4])).unwrap(),
        ]
        .into_iter()
        .flat_map(|mixture| {
            [Noise::default(), Noise::VarianceExploding { sigma_min: 0.01, sigma_max: 5.0 }]
                .map(|noise| DiffusedMixture { mixture: mixture.clone(), noise, offset_rate_kt: 2.5 })
        })
        .collect()
    }

    #[test]
    fn gradient_and_time_derivative_are_finite_differences() {
        for path in paths() {
            let d = path.space().dimension();
            let mut rng = Streams::new(11).stream(Purpose::Walker, 0);
            for t in [0.02, 0.3, 0.8] {
                let mut x = vec![0.0; d];
                path.sample(t, &mut rng, &mut x);
                let energy = |t: f64, x: &[f64]| {
                    let mut u = [0.0];
                    path.energies(&[t], x, &mut u).unwrap();
                    u[0]
                };
                let (mut u, mut gradient, mut rate) = ([0.0], vec![0.0; d], [0.0]);
                path.energies_and_gradients(&[t], &x, &mut u, &mut gradient).unwrap();
                path.lambda_derivatives(&[t], &x, &mut rate).unwrap();
                let h = 1e-6;
                let numerical = (energy(t + h, &x) - energy(t - h, &x)) / (2.0 * h);
                assert!(
                    (numerical - rate[0]).abs() < 1e-4 * (1.0 + rate[0].abs()),
                    "{numerical} {}",
                    rate[0]
                );
                let mut direction = vec![0.0; d];
                path.space().fill_normal(&mut rng, &mut direction);
                let moved =
                    |h: f64| -> Vec<f64> { x.iter().zip(&direction).map(|(x, e)| x + h * e).collect() };
                let numerical = (energy(t, &moved(h)) - energy(t, &moved(-h))) / (2.0 * h);
                let exact: f64 = gradient.iter().zip(&direction).map(|(g, e)| g * e).sum();
                assert!((numerical - exact).abs() < 1e-4 * (1.0 + exact.abs()));
                let mut projected = gradient.clone();
                path.space().project(&mut projected);
                assert!(projected.iter().zip(&gradient).all(|(p, g)| (p - g).abs() < 1e-9));
            }
        }
    }

    /// E[∂ log p/∂t] = 0 under p_t: a wrong dimension count of the centred space shows here.
    #[test]
    fn the_density_stays_normalised_along_the_path() {
        for path in paths() {
            let (t, n, d) = (0.4, 20_000, path.space().dimension());
            let mut rng = Streams::new(5).stream(Purpose::Walker, 1);
            let mut x = vec![0.0; n * d];
            x.chunks_exact_mut(d).for_each(|x| {
                path.sample(t, &mut rng, x);
            });
            let mut rates = vec![0.0; n];
            path.lambda_derivatives(&vec![t; n], &x, &mut rates).unwrap();
            let mean = rates.iter().sum::<f64>() / n as f64;
            let variance = rates.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n as f64;
            assert!((mean - 2.5).abs() < 4.0 * (variance / n as f64).sqrt(), "{mean} {variance}");
        }
    }
}
