//! The space on which a density lives, and its dimension.
//!
//! A translation-invariant energy of n particles has no normaliser on R³ⁿ. Its density lives on the
//! subspace of zero centroid, of 3n − 3 dimensions, with Lebesgue measure there. Noise and moves
//! must stay on it: whatever leaves it silently changes normalisers and temperatures.

use crate::random::{Rng, fill_normal};

/// A linear space of conformations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// All of Rᵈ.
    Euclidean {
        /// d
        dimension: usize,
    },
    /// n particles in three dimensions with their centroid at the origin, `[particle][xyz]`.
    Centered {
        /// n
        n_particles: usize,
    },
}

impl Space {
    /// How many numbers store one point.
    pub fn dimension(&self) -> usize {
        match *self {
            Self::Euclidean { dimension } => dimension,
            Self::Centered { n_particles } => 3 * n_particles,
        }
    }

    /// The dimension of the space itself: 3n − 3 for centred particles.
    pub fn degrees_of_freedom(&self) -> usize {
        match *self {
            Self::Euclidean { dimension } => dimension,
            Self::Centered { n_particles } => 3 * n_particles - 3,
        }
    }

    /// Projects one vector onto the space, orthogonally.
    pub fn project(&self, vector: &mut [f64]) {
        if let Self::Centered { n_particles } = *self {
            for axis in 0..3 {
                let mean = vector[axis..].iter().step_by(3).sum::<f64>() / n_particles as f64;
                vector[axis..].iter_mut().step_by(3).for_each(|value| *value -= mean);
            }
        }
    }

    /// Draws one standard normal vector of the space.
    pub fn fill_normal(&self, rng: &mut Rng, vector: &mut [f64]) {
        fill_normal(rng, vector);
        self.project(vector);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};

    #[test]
    fn noise_on_a_centred_space_has_3n_minus_3_degrees_of_freedom() {
        let space = Space::Centered { n_particles: 5 };
        let mut rng = Streams::new(7).stream(Purpose::Walker, 0);
        let (n, mut sum) = (20_000, 0.0);
        let mut z = vec![0.0; space.dimension()];
        for _ in 0..n {
            space.fill_normal(&mut rng, &mut z);
            sum += z.iter().map(|z| z * z).sum::<f64>();
        }
        let d = space.degrees_of_freedom() as f64;
        let std_error = (2.0 * d / n as f64).sqrt();
        assert!((sum / n as f64 - d).abs() < 4.0 * std_error);
    }
}
