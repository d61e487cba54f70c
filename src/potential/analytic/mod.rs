//! Systems with known laws, for tests and teaching.
//!
//! Every entry of [`POTENTIALS`] knows log ∫ exp(−u) exactly or to the accuracy of a quadrature, so
//! that samplers and estimators can be compared with a number rather than with each other. The paths
//! ([`DiffusedMixture`], [`HarmonicPath`]) know it at each λ.

mod checkerboard;
mod double_well;
mod gaussian_mixture;
mod harmonic;
mod lennard_jones;
mod many_modes;
mod mueller_brown;

pub use checkerboard::Checkerboard;
pub use double_well::DoubleWell;
pub use gaussian_mixture::{DiffusedMixture, GaussianMixture, Variances};
pub use harmonic::{Harmonic, HarmonicPath};
pub use lennard_jones::{KnownLennardJones, LennardJones};
pub use many_modes::ManyModes;
pub use mueller_brown::MuellerBrown;

use rayon::prelude::*;

use crate::potential::ReducedPotential;
use crate::registry::{Registry, entry};

/// A reduced energy whose normaliser is known.
pub trait ExactPotential: ReducedPotential {
    /// log ∫ exp(−u(x)) dx over the space.
    fn log_normalizer(&self) -> f64;
}

/// Every analytic potential that a configuration can name.
pub static POTENTIALS: Registry<dyn ExactPotential, ()> = Registry::new(
    "potential",
    &[
        entry::<harmonic::HarmonicSettings, _, _>("harmonic"),
        entry::<double_well::DoubleWellSettings, _, _>("double_well"),
        entry::<mueller_brown::MuellerBrownSettings, _, _>("mueller_brown"),
        entry::<gaussian_mixture::GaussianMixtureSettings, _, _>("gaussian_mixture"),
        entry::<many_modes::ManyModesSettings, _, _>("many_modes"),
        entry::<checkerboard::CheckerboardSettings, _, _>("checkerboard"),
        entry::<lennard_jones::LennardJonesSettings, _, _>("lennard_jones"),
    ],
);

/// Conformations per task of the thread pool: enough to outweigh its start of about a microsecond.
const MIN_PER_TASK: usize = 64;

/// Fills `u` from one function of a conformation, in parallel.
fn fill_energies(dimension: usize, x: &[f64], u: &mut [f64], energy: impl Fn(&[f64]) -> f64 + Sync) {
    u.par_iter_mut()
        .zip(x.par_chunks(dimension))
        .with_min_len(MIN_PER_TASK)
        .for_each(|(u, x)| *u = energy(x));
}

/// Fills `u` and `gradient` from one function of a conformation, in parallel.
fn fill_gradients(
    dimension: usize,
    x: &[f64],
    u: &mut [f64],
    gradient: &mut [f64],
    energy: impl Fn(&[f64], &mut [f64]) -> f64 + Sync,
) {
    u.par_iter_mut()
        .zip(x.par_chunks(dimension))
        .zip(gradient.par_chunks_mut(dimension))
        .with_min_len(MIN_PER_TASK)
        .for_each(|((u, x), gradient)| *u = energy(x, gradient));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};

    /// Builds every entry from its example.
    fn examples() -> impl Iterator<Item = (&'static str, Box<dyn ExactPotential>)> {
        POTENTIALS.entries.iter().map(|entry| {
            let mut table: toml::Table = entry.example.parse().unwrap();
            table.insert("kind".to_string(), entry.name.into());
            (entry.name, POTENTIALS.build("potential", table, &()).unwrap())
        })
    }

    #[test]
    fn gradients_are_finite_differences_and_a_second_call_gives_the_same_bits() {
        for (name, potential) in examples() {
            let (space, n) = (potential.space(), 5);
            let d = space.dimension();
            let mut rng = Streams::new(3).stream(Purpose::Walker, 0);
            let mut x = vec![0.0; n * d];
            x.chunks_exact_mut(d).for_each(|x| space.fill_normal(&mut rng, x));
            let (mut u, mut gradient) = (vec![0.0; n], vec![0.0; n * d]);
            potential.energies_and_gradients(&x, &mut u, &mut gradient).unwrap();
            let (mut again, mut gradient_again) = (vec![0.0; n], vec![0.0; n * d]);
            potential.energies_and_gradients(&x, &mut again, &mut gradient_again).unwrap();
            assert_eq!((&u, &gradient), (&again, &gradient_again), "{name}");
            potential.energies(&x, &mut again).unwrap();
            let h = 1e-5;
            for frame in 0..n {
                assert!((again[frame] - u[frame]).abs() < 1e-12 * (1.0 + u[frame].abs()), "{name}");
                let mut direction = vec![0.0; d];
                space.fill_normal(&mut rng, &mut direction);
                let at = |step: f64| {
                    let moved: Vec<f64> =
                        x[frame * d..][..d].iter().zip(&direction).map(|(x, e)| x + step * e).collect();
                    let mut u = [0.0];
                    potential.energies(&moved, &mut u).unwrap();
                    u[0]
                };
                let numerical = (at(h) - at(-h)) / (2.0 * h);
                let exact: f64 = gradient[frame * d..][..d].iter().zip(&direction).map(|(g, e)| g * e).sum();
                assert!(
                    (numerical - exact).abs() < 1e-5 * (1.0 + exact.abs()),
                    "{name}: {numerical} {exact}"
                );
            }
        }
    }

    #[test]
    fn settings_reject_unknown_keys() {
        let table: toml::Table = "kind = \"double_well\"\nbarier_kT = 3.0".parse().unwrap();
        let message = POTENTIALS.build("potential", table, &()).err().unwrap().to_string();
        assert!(message.contains("barier_kT"), "{message}");
    }
}
