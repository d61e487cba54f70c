//! Energies in one unit of length seen in another: u'(x) = u(ℓ x) − d ln ℓ.
//!
//! Models know lengths in units of the spread of their training data, force fields in nm. With ℓ = 1 reduced
//! length in nm, y = ℓ x and d degrees of freedom (3n − 3 for centred particles), dy = ℓᵈ dx. The constant
//! −d ln ℓ carries this Jacobian, so that exp(−u') is the density of the same law with respect to the reduced
//! coordinates, with the same normaliser:
//!
//! ```text
//! ∫ exp(−u'(x)) dx = ∫ exp(−u(y)) dy
//! ```
//!
//! log Z and every free energy obtained from u' are therefore those in nm. Without the constant they would be
//! off by d ln ℓ, about 130 kT for 22 atoms.

use super::{PotentialPath, ReducedPotential, Space};
use crate::error::{Error, Result};

/// A potential or a path whose coordinates are multiples of a length of its own.
#[derive(Debug, Clone, Copy)]
pub struct Rescaled<'a, P: ?Sized> {
    inner: &'a P,
    length_scale: f64,
}

impl<'a, P: ?Sized> Rescaled<'a, P> {
    /// One unit of the new coordinates is `length_scale` units of `inner`: its nm where that is in nm.
    pub fn new(inner: &'a P, length_scale: f64) -> Result<Self> {
        if length_scale > 0.0 && length_scale.is_finite() {
            return Ok(Self { inner, length_scale });
        }
        Err(Error::invalid("length scale", "a positive number", length_scale.to_string()))
    }

    /// Positions in the units of the inner energy.
    fn positions(&self, x: &[f64]) -> Vec<f64> {
        x.iter().map(|x| x * self.length_scale).collect()
    }

    /// Subtracts d ln ℓ.
    fn finish(&self, space: Space, u: &mut [f64]) {
        let jacobian = space.degrees_of_freedom() as f64 * self.length_scale.ln();
        u.iter_mut().for_each(|u| *u -= jacobian);
    }

    /// The chain rule: ∂u'/∂x = ℓ ∂u/∂y.
    fn finish_gradient(&self, gradient: &mut [f64]) {
        gradient.iter_mut().for_each(|gradient| *gradient *= self.length_scale);
    }
}

impl<P: ReducedPotential + ?Sized> ReducedPotential for Rescaled<'_, P> {
    fn space(&self) -> Space {
        self.inner.space()
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        self.inner.energies(&self.positions(x), u)?;
        self.finish(self.inner.space(), u);
        Ok(())
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        self.inner.energies_and_gradients(&self.positions(x), u, gradient)?;
        self.finish(self.inner.space(), u);
        self.finish_gradient(gradient);
        Ok(())
    }
}

impl<P: PotentialPath + ?Sized> PotentialPath for Rescaled<'_, P> {
    fn space(&self) -> Space {
        self.inner.space()
    }

    fn range(&self) -> (f64, f64) {
        self.inner.range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        self.inner.energies(lambda, &self.positions(x), u)?;
        self.finish(self.inner.space(), u);
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        self.inner.energies_and_gradients(lambda, &self.positions(x), u, gradient)?;
        self.finish(self.inner.space(), u);
        self.finish_gradient(gradient);
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        self.inner.lambda_derivatives(lambda, &self.positions(x), du_dlambda)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::{ExactPotential as _, Harmonic, HarmonicPath};

    /// k |y|²/2 in nm is k ℓ² |x|²/2 in reduced length, whose own log Z is lower by d ln ℓ; the constant
    /// makes up for it.
    #[test]
    fn the_normaliser_is_that_of_the_inner_energy() {
        let (space, stiffness, scale) = (Space::Centered { n_particles: 3 }, 700.0, 0.17);
        let center = vec![0.1, 0.0, 0.3, -0.2, 0.1, 0.0, 0.1, -0.1, -0.3];
        let inner = Harmonic::new(space, stiffness, center.clone()).unwrap();
        let rescaled = Rescaled::new(&inner, scale).unwrap();
        let reduced =
            Harmonic::new(space, stiffness * scale * scale, center.iter().map(|c| c / scale).collect())
                .unwrap();
        let mut x = vec![0.4, 0.2, -0.3, 1.0, 0.5, -0.2, 0.3, 0.1, 0.9];
        space.project(&mut x);
        let (mut u, mut gradient) = ([0.0], [0.0; 9]);
        let (mut expected, mut expected_gradient) = ([0.0], [0.0; 9]);
        rescaled.energies_and_gradients(&x, &mut u, &mut gradient).unwrap();
        reduced.energies_and_gradients(&x, &mut expected, &mut expected_gradient).unwrap();
        // −u' − log Z(inner) = −u_reduced − log Z(reduced): the same normalised density.
        assert!((u[0] + inner.log_normalizer() - expected[0] - reduced.log_normalizer()).abs() < 1e-11);
        assert!((inner.log_normalizer() - reduced.log_normalizer() - 6.0 * scale.ln()).abs() < 1e-12);
        assert!(gradient.iter().zip(&expected_gradient).all(|(a, b)| (a - b).abs() < 1e-10));
        let mut again = [0.0];
        rescaled.energies(&x, &mut again).unwrap();
        assert_eq!(u, again);
        assert!(Rescaled::new(&inner, 0.0).is_err() && Rescaled::new(&inner, f64::NAN).is_err());
    }

    #[test]
    fn a_path_keeps_its_range_and_its_derivative() {
        let space = Space::Centered { n_particles: 2 };
        let inner = HarmonicPath { space, first_stiffness: 2.0, last_stiffness: 90.0 };
        let path = Rescaled::new(&inner, 3.0).unwrap();
        assert_eq!(PotentialPath::range(&path), (0.0, 1.0));
        let x = [0.1, -0.2, 0.3, -0.1, 0.2, -0.3];
        let energy = |lambda: f64, shift: f64| {
            let mut u = [0.0];
            path.energies(&[lambda], &[x[0] + shift, x[1], x[2], x[3] - shift, x[4], x[5]], &mut u).unwrap();
            u[0]
        };
        let (mut u, mut gradient, mut rate) = ([0.0], [0.0; 6], [0.0]);
        path.energies_and_gradients(&[0.4], &x, &mut u, &mut gradient).unwrap();
        path.lambda_derivatives(&[0.4], &x, &mut rate).unwrap();
        assert!((rate[0] - (energy(0.4 + 1e-5, 0.0) - energy(0.4 - 1e-5, 0.0)) / 2e-5).abs() < 1e-7);
        let numerical = (energy(0.4, 1e-5) - energy(0.4, -1e-5)) / 2e-5;
        assert!((gradient[0] - gradient[3] - numerical).abs() < 1e-7);
    }
}
