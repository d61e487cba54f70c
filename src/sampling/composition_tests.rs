//! Composed laws are really sampled along their paths of energies, against quadrature in the plane.

use super::{Bridge, Population, SequentialMonteCarloSettings, sequential_monte_carlo, silent};
use crate::potential::analytic::{DiffusedMixture, GaussianMixture, Harmonic, Variances};
use crate::potential::{Guided, Mixture, Noise, PotentialPath, Product, Route, Space, log_sum_exp};
use crate::random::Streams;

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

/// log ∫ Π p_k^{w_k} exp(−½ k |x|²) and the share of x₀ < 0, by quadrature of the data laws.
fn exact(path: &dyn PotentialPath) -> (f64, f64) {
    let (h, n) = (0.02, 300);
    let points: Vec<f64> =
        (0..n * n).flat_map(|k| [(f64::from(k % n) - 149.5) * h, (f64::from(k / n) - 149.5) * h]).collect();
    let mut u = vec![0.0; points.len() / 2];
    path.energies(&vec![path.range().0; u.len()], &points, &mut u).unwrap();
    let logs: Vec<f64> = u.iter().map(|u| -u).collect();
    let log_z = log_sum_exp(&logs) + 2.0 * h.ln();
    let left: Vec<f64> =
        logs.iter().zip(points.chunks(2)).filter(|(_, x)| x[0] < 0.0).map(|(log, _)| *log).collect();
    (log_z, (log_sum_exp(&left) + 2.0 * h.ln() - log_z).exp())
}

fn sampled(path: &dyn PotentialPath, reference_variance: f64) -> Population {
    let settings = SequentialMonteCarloSettings { n_particles: 4096, n_pilot: 256, ..Default::default() };
    let route = Route::LogSnr { noise: Noise::default() };
    let bridge = Bridge { path, route, reference_deviation: reference_variance.sqrt() };
    sequential_monte_carlo(bridge, &settings, &Streams::new(7), &mut silent).unwrap()
}

/// log Z and the share of the left half of what is sampled, against quadrature.
fn agree(name: &str, path: &dyn PotentialPath, reference_variance: f64) {
    let (log_z, left) = exact(path);
    let found = sampled(path, reference_variance);
    let z = found.log_z;
    assert!((z.value - log_z).abs() < 4.0 * z.std_error && z.std_error < 0.1, "{name}: {z:?} {log_z}");
    let largest = found.log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = found.log_weights.iter().map(|w| (w - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let share =
        weights.iter().zip(found.x.chunks(2)).filter(|(_, x)| x[0] < 0.0).map(|(w, _)| w).sum::<f64>();
    assert!((share / total - left).abs() < 0.06, "{name}: {} {left}", share / total);
}

#[test]
fn products_tempered_guided_and_divided_laws_are_really_sampled() {
    let [first, second] = two();
    let product = Product::new(vec![(&first, 1.0), (&second, 1.0)], 0.0).unwrap();
    agree("product", &product, product.reference_variance(1.0));
    let tempered = Product::new(vec![(&first, 0.5)], 0.0).unwrap();
    agree("tempered", &tempered, tempered.reference_variance(1.0));
    // Twice the first over the second, held together.
    let divided = Product::new(vec![(&first, 2.0), (&second, -1.0)], 0.5).unwrap();
    agree("divided", &divided, divided.reference_variance(1.0));
    // A pull to the right that is there at the data end alone.
    let pull = Harmonic::new(PLANE, 0.8, vec![1.5, 0.0]).unwrap();
    let strength = |t: f64| ((1.0 - t).powi(2), -2.0 * (1.0 - t));
    let guided = Guided { path: &first, guide: &pull, strength };
    agree("guided", &guided, 1.0);
}

/// A mixture has the weights that were asked for if its parts have one constant for all times, and not where one of
/// them has another constant at the data end than at the noise end, as scores alone leave it.
#[test]
fn a_mixture_needs_energies_with_one_constant_for_all_times() {
    let left = law(&[1.0], &[[-1.5, 0.0]], &[0.1]);
    let right = law(&[1.0], &[[1.5, 0.0]], &[0.1]);
    let mixture = Mixture::new(vec![(&left, 3.0), (&right, 1.0)]).unwrap();
    let (log_z, share) = exact(&mixture);
    assert!(log_z.abs() < 1e-3 && (share - 0.75).abs() < 1e-3, "{log_z} {share}");
    agree("mixture", &mixture, 1.0);
    let shifted = DiffusedMixture { offset_rate_kt: 2.0, ..law(&[1.0], &[[1.5, 0.0]], &[0.1]) };
    let wrong = Mixture::new(vec![(&left, 3.0), (&shifted, 1.0)]).unwrap();
    // Its constant at the data end is −2 kT: e² times too much of it.
    let expected = 3.0 / (3.0 + 2.0_f64.exp());
    let (_, share) = exact(&wrong);
    assert!((share - expected).abs() < 1e-3, "{share} {expected}");
}
