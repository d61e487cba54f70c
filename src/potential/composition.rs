//! Laws made of other laws: products, mixtures, tempering, guidance and, confined, quotients.
//!
//! A product of energies u = Σ_k w_k u_k along diffusion time is not the diffusion of the product of the data laws: its score
//! is not that of noised data, and reverse diffusion along it draws from no law in particular (Du et al. 2023). But it
//! is a path of energies from a Gaussian to the law that is wanted, and sequential Monte Carlo or replica
//! exchange along it draw from exactly that. w = 1/T tempers; an extra potential guides; a negative w divides, and has
//! a normaliser only where the rest confines.
//!
//! A mixture −log Σ_k π_k exp(−u_k) has the weights π_k only if every exp(−u_k) has the same normaliser at every time: of learned
//! energies, those with one constant for all times (diffusive classification). Another constant c_k multiplies π_k by exp(−c_k).

use super::{PotentialPath, ReducedPotential, Space, log_sum_exp};
use crate::error::{Error, Result};

/// Σ_k w_k u_k(x, t), and ½ k |x|² of a confinement.
pub struct Product<'a> {
    parts: Vec<(&'a dyn PotentialPath, f64)>,
    stiffness: f64,
}

impl<'a> Product<'a> {
    /// A product of laws on one space and over one range of λ, each to the power of its weight.
    ///
    /// Negative weights need the confinement ½ `stiffness` |x|²; whether it is enough depends on the energies.
    pub fn new(parts: Vec<(&'a dyn PotentialPath, f64)>, stiffness: f64) -> Result<Self> {
        check(parts.iter().map(|(part, _)| *part))?;
        if parts.iter().any(|(_, weight)| !weight.is_finite()) || !(stiffness >= 0.0 && stiffness.is_finite())
        {
            let found = format!("{:?}, stiffness {stiffness}", weights_of(&parts));
            return Err(Error::invalid("product of energies", "finite weights and a stiffness ≥ 0", found));
        }
        if stiffness == 0.0 && parts.iter().any(|(_, weight)| *weight < 0.0) {
            let expected = "a confinement where a weight is negative: the law has no normaliser without";
            return Err(Error::invalid("product of energies", expected, format!("{:?}", weights_of(&parts))));
        }
        Ok(Self { parts, stiffness })
    }

    /// The variance of the Gaussian at the noise end, where each part is one of variance `noise_variance`: what a
    /// [`crate::sampling::Bridge`] starts from. Not positive where nothing confines.
    pub fn reference_variance(&self, noise_variance: f64) -> f64 {
        let sum: f64 = self.parts.iter().map(|(_, weight)| weight).sum();
        1.0 / (sum / noise_variance + self.stiffness)
    }
}

fn weights_of(parts: &[(&dyn PotentialPath, f64)]) -> Vec<f64> {
    parts.iter().map(|(_, weight)| *weight).collect()
}

/// Checks that paths have a space and a range in common.
fn check<'a>(mut paths: impl Iterator<Item = &'a dyn PotentialPath>) -> Result<()> {
    let Some(first) = paths.next() else {
        return Err(Error::invalid("composition of energies", "at least one energy", "none"));
    };
    let expected = (first.space(), first.range());
    match paths.map(|path| (path.space(), path.range())).find(|found| *found != expected) {
        None => Ok(()),
        Some(found) => {
            let (expected, found) = (format!("{expected:?}, as the first"), format!("{found:?}"));
            Err(Error::invalid("space and range of a composed energy", expected, found))
        }
    }
}

impl PotentialPath for Product<'_> {
    fn space(&self) -> Space {
        self.parts[0].0.space()
    }

    fn range(&self) -> (f64, f64) {
        self.parts[0].0.range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        let d = self.space().dimension();
        for (u, x) in u.iter_mut().zip(x.chunks_exact(d)) {
            *u = 0.5 * self.stiffness * x.iter().map(|x| x * x).sum::<f64>();
        }
        let mut of_part = vec![0.0; u.len()];
        for (part, weight) in &self.parts {
            part.energies(lambda, x, &mut of_part)?;
            u.iter_mut().zip(&of_part).for_each(|(u, part)| *u = add(*u, times(*weight, *part)));
        }
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        let d = self.space().dimension();
        for ((u, x), gradient) in u.iter_mut().zip(x.chunks_exact(d)).zip(gradient.chunks_exact_mut(d)) {
            *u = 0.5 * self.stiffness * x.iter().map(|x| x * x).sum::<f64>();
            gradient.iter_mut().zip(x).for_each(|(gradient, x)| *gradient = self.stiffness * x);
        }
        let (mut of_part, mut slope) = (vec![0.0; u.len()], vec![0.0; gradient.len()]);
        for (part, weight) in &self.parts {
            part.energies_and_gradients(lambda, x, &mut of_part, &mut slope)?;
            u.iter_mut().zip(&of_part).for_each(|(u, part)| *u = add(*u, times(*weight, *part)));
            gradient.iter_mut().zip(&slope).for_each(|(gradient, slope)| *gradient += times(*weight, *slope));
        }
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        du_dlambda.fill(0.0);
        let mut of_part = vec![0.0; du_dlambda.len()];
        for (part, weight) in &self.parts {
            part.lambda_derivatives(lambda, x, &mut of_part)?;
            du_dlambda.iter_mut().zip(&of_part).for_each(|(sum, part)| *sum += weight * part);
        }
        Ok(())
    }
}

/// −log Σ_k π_k exp(−u_k(x, t)).
pub struct Mixture<'a> {
    parts: Vec<&'a dyn PotentialPath>,
    log_weights: Vec<f64>,
}

impl<'a> Mixture<'a> {
    /// A mixture of laws on one space and over one range of λ; weights are positive and normalised here.
    pub fn new(parts: Vec<(&'a dyn PotentialPath, f64)>) -> Result<Self> {
        check(parts.iter().map(|(part, _)| *part))?;
        let total: f64 = parts.iter().map(|(_, weight)| weight).sum();
        if !total.is_finite() || parts.iter().any(|(_, weight)| *weight <= 0.0 || weight.is_nan()) {
            let found = format!("{:?}", weights_of(&parts));
            return Err(Error::invalid("weights of a mixture of energies", "positive numbers", found));
        }
        let log_weights = parts.iter().map(|(_, weight)| (weight / total).ln()).collect();
        Ok(Self { parts: parts.into_iter().map(|(part, _)| part).collect(), log_weights })
    }

    /// log π_k − u_k of each part, `[part][conformation]`, from what `evaluate` gives for u_k.
    fn logs(
        &self,
        n: usize,
        mut evaluate: impl FnMut(usize, &mut [f64]) -> Result<()>,
    ) -> Result<Vec<Vec<f64>>> {
        (0..self.parts.len())
            .map(|part| {
                let mut logs = vec![0.0; n];
                evaluate(part, &mut logs)?;
                logs.iter_mut().for_each(|log| *log = self.log_weights[part] - *log);
                Ok(logs)
            })
            .collect()
    }
}

/// −log Σ exp of one conformation, and the share of each part.
fn shares(logs: &[Vec<f64>], idx: usize) -> (f64, Vec<f64>) {
    let own: Vec<f64> = logs.iter().map(|logs| logs[idx]).collect();
    let sum = log_sum_exp(&own);
    (-sum, own.iter().map(|log| (log - sum).exp()).collect())
}

impl PotentialPath for Mixture<'_> {
    fn space(&self) -> Space {
        self.parts[0].space()
    }

    fn range(&self) -> (f64, f64) {
        self.parts[0].range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        let logs = self.logs(u.len(), |part, u| self.parts[part].energies(lambda, x, u))?;
        u.iter_mut().enumerate().for_each(|(idx, u)| *u = shares(&logs, idx).0);
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        let d = self.space().dimension();
        let mut slopes = vec![vec![0.0; gradient.len()]; self.parts.len()];
        let logs = self.logs(u.len(), |part, u| {
            self.parts[part].energies_and_gradients(lambda, x, u, &mut slopes[part])
        })?;
        gradient.fill(0.0);
        for (idx, (u, gradient)) in u.iter_mut().zip(gradient.chunks_exact_mut(d)).enumerate() {
            let (energy, share) = shares(&logs, idx);
            *u = energy;
            for (slopes, share) in slopes.iter().zip(share) {
                let slope = &slopes[idx * d..][..d];
                gradient.iter_mut().zip(slope).for_each(|(gradient, slope)| *gradient += share * slope);
            }
        }
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        let n = du_dlambda.len();
        let logs = self.logs(n, |part, u| self.parts[part].energies(lambda, x, u))?;
        let mut rates = vec![vec![0.0; n]; self.parts.len()];
        for (part, rates) in self.parts.iter().zip(&mut rates) {
            part.lambda_derivatives(lambda, x, rates)?;
        }
        for (idx, rate) in du_dlambda.iter_mut().enumerate() {
            let share = shares(&logs, idx).1;
            *rate = rates.iter().zip(share).map(|(rates, share)| share * rates[idx]).sum();
        }
        Ok(())
    }
}

/// u + v, where any part that is infinite makes the sum so: a conformation that one of them forbids is forbidden.
fn add(u: f64, v: f64) -> f64 {
    if u.is_finite() && v.is_finite() { u + v } else { f64::INFINITY }
}

/// c v, and nothing where c is 0 even if v is infinite.
fn times(factor: f64, value: f64) -> f64 {
    if factor == 0.0 { 0.0 } else { factor * value }
}

/// u(x, t) + s(t) v(x): a path with a potential that is switched on along it.
pub struct Guided<'a, S: Fn(f64) -> (f64, f64) + Sync> {
    /// The path.
    pub path: &'a dyn PotentialPath,
    /// v.
    pub guide: &'a dyn ReducedPotential,
    /// s(λ) and ds/dλ; for a Gaussian at the noise end s vanishes there.
    pub strength: S,
}

impl<S: Fn(f64) -> (f64, f64) + Sync> PotentialPath for Guided<'_, S> {
    fn space(&self) -> Space {
        self.path.space()
    }

    fn range(&self) -> (f64, f64) {
        self.path.range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        let mut guide = vec![0.0; u.len()];
        self.guide.energies(x, &mut guide)?;
        self.path.energies(lambda, x, u)?;
        let rest = guide.iter().zip(lambda);
        u.iter_mut()
            .zip(rest)
            .for_each(|(u, (guide, &lambda))| *u += times((self.strength)(lambda).0, *guide));
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        let (mut guide, mut slope) = (vec![0.0; u.len()], vec![0.0; gradient.len()]);
        self.guide.energies_and_gradients(x, &mut guide, &mut slope)?;
        self.path.energies_and_gradients(lambda, x, u, gradient)?;
        let d = self.space().dimension();
        for (idx, &lambda) in lambda.iter().enumerate() {
            let strength = (self.strength)(lambda).0;
            u[idx] += times(strength, guide[idx]);
            let range = idx * d..(idx + 1) * d;
            let slopes = gradient[range.clone()].iter_mut().zip(&slope[range]);
            slopes.for_each(|(gradient, slope)| *gradient += times(strength, *slope));
        }
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        let mut guide = vec![0.0; du_dlambda.len()];
        self.guide.energies(x, &mut guide)?;
        self.path.lambda_derivatives(lambda, x, du_dlambda)?;
        let rest = guide.iter().zip(lambda);
        du_dlambda.iter_mut().zip(rest).for_each(|(rate, (guide, &lambda))| {
            *rate += times((self.strength)(lambda).1, *guide);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::Noise;
    use crate::potential::analytic::{DiffusedMixture, GaussianMixture, Harmonic, Variances};
    use crate::random::{Purpose, Streams};

    const PLANE: Space = Space::Euclidean { dimension: 2 };

    fn law(weights: &[f64], means: &[[f64; 2]], variances: &[f64]) -> DiffusedMixture {
        let mixture =
            GaussianMixture::new(PLANE, weights, means.concat(), Variances::Isotropic(variances.to_vec()));
        DiffusedMixture::new(mixture.unwrap(), Noise::default())
    }

    fn two() -> [DiffusedMixture; 2] {
        [
            law(&[0.6, 0.4], &[[-1.2, 0.0], [1.0, 0.3]], &[0.1, 0.15]),
            law(&[0.3, 0.7], &[[-1.0, 0.5], [1.3, -0.2]], &[0.2, 0.12]),
        ]
    }

    #[test]
    fn gradients_and_rates_are_finite_differences() {
        let [first, second] = two();
        let product = Product::new(vec![(&first, 1.5), (&second, -0.5)], 0.7).unwrap();
        let mixture = Mixture::new(vec![(&first, 0.2), (&second, 0.8)]).unwrap();
        let pull = Harmonic::new(PLANE, 0.8, vec![1.5, 0.0]).unwrap();
        let guided = Guided { path: &second, guide: &pull, strength: |t: f64| (1.0 - t, -1.0) };
        let paths: [&dyn PotentialPath; 3] = [&product, &mixture, &guided];
        let mut rng = Streams::new(2).stream(Purpose::Walker, 0);
        for path in paths {
            for t in [0.1, 0.4, 0.8] {
                let (mut x, mut e) = ([0.0; 2], [0.0; 2]);
                PLANE.fill_normal(&mut rng, &mut x);
                PLANE.fill_normal(&mut rng, &mut e);
                let energy = |t: f64, step: f64| {
                    let mut u = [0.0];
                    path.energies(&[t], &[x[0] + step * e[0], x[1] + step * e[1]], &mut u).unwrap();
                    u[0]
                };
                let (mut u, mut gradient, mut rate) = ([0.0], [0.0; 2], [0.0]);
                path.energies_and_gradients(&[t], &x, &mut u, &mut gradient).unwrap();
                path.lambda_derivatives(&[t], &x, &mut rate).unwrap();
                let h = 1e-5;
                let along = (energy(t, h) - energy(t, -h)) / (2.0 * h);
                let found = gradient[0] * e[0] + gradient[1] * e[1];
                assert!((along - found).abs() < 1e-6 * (1.0 + found.abs()), "{along} {found}");
                let in_time = (energy(t + h, 0.0) - energy(t - h, 0.0)) / (2.0 * h);
                assert!((in_time - rate[0]).abs() < 1e-5 * (1.0 + rate[0].abs()), "{in_time} {}", rate[0]);
                assert!((u[0] - energy(t, 0.0)).abs() < 1e-12);
            }
        }
        assert!(Product::new(vec![(&first, -1.0)], 0.0).is_err() && Product::new(vec![], 0.0).is_err());
        assert!(Mixture::new(vec![(&first, 0.0)]).is_err());
        let other =
            DiffusedMixture::new(first.mixture.clone(), Noise::Edm { sigma_min: 0.01, sigma_max: 5.0 });
        let error = Mixture::new(vec![(&first, 1.0), (&other, 1.0)]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("range"), "{error}");
    }
}
