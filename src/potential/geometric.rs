//! The straight line between two reduced energies, u_λ = (1 − λ) u₀ + λ u₁.
//!
//! The laws are geometric averages of the two ends. With a Gaussian at λ = 0 it leads from a known
//! normaliser to any potential on the same space.

use crate::error::{Error, Result};
use crate::potential::{PotentialPath, ReducedPotential, Space};

/// u_λ = (1 − λ) u₀ + λ u₁ for λ ∈ [0, 1].
pub struct GeometricPath<'a> {
    first: &'a dyn ReducedPotential,
    last: &'a dyn ReducedPotential,
}

impl<'a> GeometricPath<'a> {
    /// A path between two potentials on the same space.
    pub fn new(first: &'a dyn ReducedPotential, last: &'a dyn ReducedPotential) -> Result<Self> {
        if first.space() != last.space() {
            return Err(Error::invalid(
                "ends of a path",
                format!("one space, {:?}", first.space()),
                format!("{:?}", last.space()),
            ));
        }
        Ok(Self { first, last })
    }

    /// The end at which all conformations are: the other one need not be evaluated.
    fn common_end(&self, lambda: &[f64]) -> Option<&'a dyn ReducedPotential> {
        if lambda.iter().all(|lambda| *lambda == 0.0) {
            Some(self.first)
        } else if lambda.iter().all(|lambda| *lambda == 1.0) {
            Some(self.last)
        } else {
            None
        }
    }
}

impl PotentialPath for GeometricPath<'_> {
    fn space(&self) -> Space {
        self.first.space()
    }

    fn range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        if let Some(end) = self.common_end(lambda) {
            return end.energies(x, u);
        }
        let mut first = vec![0.0; u.len()];
        self.first.energies(x, &mut first)?;
        self.last.energies(x, u)?;
        for ((u, first), lambda) in u.iter_mut().zip(&first).zip(lambda) {
            *u = blend(*first, *u, *lambda);
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
        if let Some(end) = self.common_end(lambda) {
            return end.energies_and_gradients(x, u, gradient);
        }
        let (mut first, mut first_gradient) = (vec![0.0; u.len()], vec![0.0; gradient.len()]);
        self.first.energies_and_gradients(x, &mut first, &mut first_gradient)?;
        self.last.energies_and_gradients(x, u, gradient)?;
        let d = self.space().dimension();
        for (idx, &lambda) in lambda.iter().enumerate() {
            u[idx] = blend(first[idx], u[idx], lambda);
            let range = idx * d..(idx + 1) * d;
            for (g, first) in gradient[range.clone()].iter_mut().zip(&first_gradient[range]) {
                *g = blend(*first, *g, lambda);
            }
        }
        Ok(())
    }

    fn lambda_derivatives(&self, _: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        let mut first = vec![0.0; du_dlambda.len()];
        self.first.energies(x, &mut first)?;
        self.last.energies(x, du_dlambda)?;
        du_dlambda.iter_mut().zip(&first).for_each(|(rate, first)| *rate -= first);
        Ok(())
    }
}

/// (1 − λ) a + λ b, where an end with weight zero does not count even if it is infinite.
fn blend(first: f64, last: f64, lambda: f64) -> f64 {
    if lambda == 0.0 {
        first
    } else if lambda == 1.0 {
        last
    } else {
        (1.0 - lambda) * first + lambda * last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::{DoubleWell, Harmonic};

    /// Refuses to be evaluated.
    struct Unavailable;

    impl ReducedPotential for Unavailable {
        fn space(&self) -> Space {
            Space::Euclidean { dimension: 2 }
        }

        fn energies(&self, _: &[f64], _: &mut [f64]) -> Result<()> {
            Err(Error::invalid("energy", "no evaluation", "one"))
        }

        fn energies_and_gradients(&self, _: &[f64], _: &mut [f64], _: &mut [f64]) -> Result<()> {
            Err(Error::invalid("energy", "no evaluation", "one"))
        }
    }

    #[test]
    fn an_end_is_evaluated_only_where_it_counts() {
        let well = Harmonic::new(Space::Euclidean { dimension: 2 }, 3.0, vec![0.0; 2]).unwrap();
        let x = [0.4, -0.7, 1.0, 2.0];
        for (path, end) in [
            (GeometricPath::new(&well, &Unavailable).unwrap(), 0.0),
            (GeometricPath::new(&Unavailable, &well).unwrap(), 1.0),
        ] {
            let (mut u, mut gradient) = ([0.0; 2], [0.0; 4]);
            path.energies_and_gradients(&[end; 2], &x, &mut u, &mut gradient).unwrap();
            assert!((u[1] - 7.5).abs() < 1e-12 && (gradient[3] - 6.0).abs() < 1e-12);
            path.energies(&[end; 2], &x, &mut u).unwrap();
            assert!(path.energies(&[end, 0.5], &x, &mut u).is_err());
        }
    }

    #[test]
    fn derivatives_are_finite_differences() {
        let first = Harmonic::new(Space::Euclidean { dimension: 2 }, 1.0, vec![0.0; 2]).unwrap();
        let last = DoubleWell { dimension: 2, barrier_kt: 3.0, tilt_kt: 0.2, stiffness: 2.0 };
        let path = GeometricPath::new(&first, &last).unwrap();
        let energy = |lambda: f64, x: [f64; 2]| {
            let mut u = [0.0];
            path.energies(&[lambda], &x, &mut u).unwrap();
            u[0]
        };
        let (x, lambda, h) = ([0.4, -0.7], 0.3, 1e-6);
        let (mut u, mut gradient, mut rate) = ([0.0], [0.0; 2], [0.0]);
        path.energies_and_gradients(&[lambda], &x, &mut u, &mut gradient).unwrap();
        path.lambda_derivatives(&[lambda], &x, &mut rate).unwrap();
        assert!((rate[0] - (energy(lambda + h, x) - energy(lambda - h, x)) / (2.0 * h)).abs() < 1e-8);
        let numerical = (energy(lambda, [x[0] + h, x[1]]) - energy(lambda, [x[0] - h, x[1]])) / (2.0 * h);
        assert!((gradient[0] - numerical).abs() < 1e-8);
        assert!((u[0] - energy(lambda, x)).abs() < 1e-12);
        let other = Harmonic::new(Space::Euclidean { dimension: 3 }, 1.0, vec![0.0; 3]).unwrap();
        assert!(GeometricPath::new(&first, &other).is_err());
    }
}
