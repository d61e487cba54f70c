//! An energy that is infinite outside a region of conformations.
//!
//! Molecular dynamics never changes chirality or cis and trans, a generator can. What it draws of another
//! stereoisomer is another molecule, whose energy may be low; averages and free energies mean something
//! only if both ends of a path have the same region.

use super::{ReducedPotential, Space};
use crate::error::Result;
use crate::system::Stereochemistry;

/// u(x) of the inner potential within the region, +∞ outside. The gradient is that of the inner one
/// everywhere.
#[derive(Clone, Copy)]
pub struct Restricted<'a> {
    /// The energy within.
    pub inner: &'a dyn ReducedPotential,
    /// The region; it does not depend on the unit of length.
    pub region: &'a Stereochemistry,
}

impl Restricted<'_> {
    fn exclude(&self, x: &[f64], u: &mut [f64]) {
        for (u, x) in u.iter_mut().zip(x.chunks_exact(self.inner.space().dimension())) {
            if !self.region.contains(x) {
                *u = f64::INFINITY;
            }
        }
    }
}

impl ReducedPotential for Restricted<'_> {
    fn space(&self) -> Space {
        self.inner.space()
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        self.inner.energies(x, u)?;
        self.exclude(x, u);
        Ok(())
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        self.inner.energies_and_gradients(x, u, gradient)?;
        self.exclude(x, u);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::Harmonic;

    #[test]
    fn the_mirror_image_has_no_weight_and_the_rest_is_as_before() {
        let x = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, -1.0, -1.0, -1.0];
        let mirrored: Vec<f64> = x.iter().map(|x| -x).collect();
        let bonds = [[0, 1], [0, 2], [0, 3], [0, 4]];
        let region = Stereochemistry::from_frames(5, &bonds, &x).unwrap();
        let inner = Harmonic::new(Space::Centered { n_particles: 5 }, 2.0, vec![0.0; 15]).unwrap();
        let restricted = Restricted { inner: &inner, region: &region };
        let both: Vec<f64> = x.iter().chain(&mirrored).copied().collect();
        let (mut u, mut gradient) = ([0.0; 2], [0.0; 30]);
        restricted.energies_and_gradients(&both, &mut u, &mut gradient).unwrap();
        assert!(u[0].is_finite() && u[1] == f64::INFINITY && gradient[18] != 0.0);
        let mut again = [0.0; 2];
        restricted.energies(&both, &mut again).unwrap();
        assert_eq!(u, again);
    }
}
