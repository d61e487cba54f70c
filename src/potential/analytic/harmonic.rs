//! Harmonic wells u(x) = ½ k |x − c|², with log Z = (d/2) log(2π/k) in d degrees of freedom.

use serde::Deserialize;

use super::{ExactPotential, fill_energies, fill_gradients};
use crate::error::{Error, Result};
use crate::potential::{PotentialPath, ReducedPotential, Space};
use crate::registry::Settings;

/// An isotropic harmonic well.
#[derive(Debug, Clone, PartialEq)]
pub struct Harmonic {
    space: Space,
    stiffness: f64,
    center: Vec<f64>,
}

impl Harmonic {
    /// A well of stiffness k > 0 at `center`, which is projected onto the space.
    pub fn new(space: Space, stiffness: f64, mut center: Vec<f64>) -> Result<Self> {
        if center.len() != space.dimension() || !(stiffness > 0.0 && stiffness.is_finite()) {
            return Err(Error::invalid(
                "harmonic well",
                format!("a positive stiffness and a centre of {} numbers", space.dimension()),
                format!("stiffness {stiffness} and {} numbers", center.len()),
            ));
        }
        space.project(&mut center);
        Ok(Self { space, stiffness, center })
    }
}

/// ½ |x − c|².
fn half_square(x: &[f64], center: &[f64]) -> f64 {
    0.5 * x.iter().zip(center).map(|(x, c)| (x - c) * (x - c)).sum::<f64>()
}

impl ReducedPotential for Harmonic {
    fn space(&self) -> Space {
        self.space
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        fill_energies(self.space.dimension(), x, u, |x| self.stiffness * half_square(x, &self.center));
        Ok(())
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        fill_gradients(self.space.dimension(), x, u, gradient, |x, gradient| {
            for ((g, x), c) in gradient.iter_mut().zip(x).zip(&self.center) {
                *g = self.stiffness * (x - c);
            }
            self.stiffness * half_square(x, &self.center)
        });
        Ok(())
    }
}

impl ExactPotential for Harmonic {
    fn log_normalizer(&self) -> f64 {
        0.5 * self.space.degrees_of_freedom() as f64 * (std::f64::consts::TAU / self.stiffness).ln()
    }
}

/// An isotropic harmonic well in Rᵈ at the origin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HarmonicSettings {
    /// d
    dimension: usize,
    /// k in kT per square of the length unit.
    stiffness: f64,
}

impl Settings<dyn ExactPotential, ()> for HarmonicSettings {
    const SUMMARY: &'static str = "isotropic harmonic well, u = k |x|²/2";
    const EXAMPLE: &'static str = "dimension = 3\nstiffness = 4.0";

    fn build(self, _: &()) -> Result<Box<dyn ExactPotential>> {
        let space = Space::Euclidean { dimension: self.dimension };
        Ok(Box::new(Harmonic::new(space, self.stiffness, vec![0.0; self.dimension])?))
    }
}

/// A well that stiffens along λ ∈ [0, 1]: u_λ = ½ k₀ (k₁/k₀)^λ |x|², so that
/// −log Z(λ) rises by (d/2) log(k₁/k₀) from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HarmonicPath {
    /// Where it lives.
    pub space: Space,
    /// k₀
    pub first_stiffness: f64,
    /// k₁
    pub last_stiffness: f64,
}

impl HarmonicPath {
    /// k(λ).
    pub fn stiffness(&self, lambda: f64) -> f64 {
        self.first_stiffness * (self.last_stiffness / self.first_stiffness).powf(lambda)
    }

    /// log ∫ exp(−u_λ).
    pub fn log_normalizer(&self, lambda: f64) -> f64 {
        0.5 * self.space.degrees_of_freedom() as f64 * (std::f64::consts::TAU / self.stiffness(lambda)).ln()
    }
}

impl PotentialPath for HarmonicPath {
    fn space(&self) -> Space {
        self.space
    }

    fn range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        for ((u, x), &lambda) in u.iter_mut().zip(x.chunks_exact(self.space.dimension())).zip(lambda) {
            *u = 0.5 * self.stiffness(lambda) * x.iter().map(|x| x * x).sum::<f64>();
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
        let d = self.space.dimension();
        self.energies(lambda, x, u)?;
        for ((gradient, x), &lambda) in gradient.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(lambda) {
            let stiffness = self.stiffness(lambda);
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g = stiffness * x);
        }
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        self.energies(lambda, x, du_dlambda)?;
        let rate = (self.last_stiffness / self.first_stiffness).ln();
        du_dlambda.iter_mut().for_each(|value| *value *= rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_has_its_derivative_and_its_free_energy() {
        let path = HarmonicPath {
            space: Space::Centered { n_particles: 2 },
            first_stiffness: 1.0,
            last_stiffness: 50.0,
        };
        let x = [0.1, -0.2, 0.3, -0.1, 0.2, -0.3];
        let energy = |lambda| {
            let mut u = [0.0];
            path.energies(&[lambda], &x, &mut u).unwrap();
            u[0]
        };
        let mut rate = [0.0];
        path.lambda_derivatives(&[0.4], &x, &mut rate).unwrap();
        assert!((rate[0] - (energy(0.4 + 1e-5) - energy(0.4 - 1e-5)) / 2e-5).abs() < 1e-8);
        let free_energy = path.log_normalizer(0.0) - path.log_normalizer(1.0);
        assert!((free_energy - 1.5 * 50_f64.ln()).abs() < 1e-12);
    }
}
