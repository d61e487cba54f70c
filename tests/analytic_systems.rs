//! Samplers on the analytic systems: normalisers and weights that are known without sampling.

use kirkwood::potential::analytic::{
    Checkerboard, DiffusedMixture, ExactPotential, Harmonic, KnownLennardJones, LennardJones, ManyModes,
};
use kirkwood::potential::{GeometricPath, Noise, ReducedPotential, Route, Space};
use kirkwood::random::Streams;
use kirkwood::sampling::{
    Bridge, Population, ReverseDiffusionSettings, SequentialMonteCarloSettings, reverse_diffusion,
    sequential_monte_carlo, silent,
};

/// Sequential Monte Carlo from a Gaussian of this deviation.
fn population(
    last: &dyn ReducedPotential,
    deviation: f64,
    settings: &SequentialMonteCarloSettings,
) -> Population {
    let space = last.space();
    let first = Harmonic::new(space, deviation.powi(-2), vec![0.0; space.dimension()]).unwrap();
    let path = GeometricPath::new(&first, last).unwrap();
    let route = Route::Linear { from: 0.0, to: 1.0 };
    let bridge = Bridge { path: &path, route, reference_deviation: deviation };
    sequential_monte_carlo(bridge, settings, &Streams::new(31), &mut silent).unwrap()
}

/// Three particles by quadrature; thirteen by Bennett's ratio over windows of growing particles, in another
/// program: two roads without a common line of code.
#[test]
fn lennard_jones_clusters_condense_with_their_known_normaliser() {
    for (n_particles, n_samples, largest_error) in [(3, 4096, 0.05), (13, 2048, 0.5)] {
        let cluster = LennardJones::new(n_particles, 1.0, 1.0, 1.0).unwrap();
        let cluster = KnownLennardJones::new(cluster).unwrap();
        let settings =
            SequentialMonteCarloSettings { n_particles: n_samples, n_pilot: 256, ..Default::default() };
        let found = population(&cluster, 1.0, &settings).log_z;
        let std_error = found.std_error.hypot(cluster.std_error);
        let difference = found.value - cluster.log_normalizer();
        assert!(difference.abs() < 4.0 * std_error, "LJ{n_particles}: {difference} ± {std_error}");
        assert!(std_error < largest_error, "LJ{n_particles}: ± {std_error}");
    }
}

#[test]
fn every_dark_square_of_a_checkerboard_gets_its_share() {
    let board = Checkerboard::new(4, 2.0, 0.05).unwrap();
    let settings = SequentialMonteCarloSettings { n_particles: 8192, n_pilot: 256, ..Default::default() };
    let found = population(&board, 2.5, &settings);
    let difference = found.log_z.value - board.log_normalizer();
    assert!(difference.abs() < 4.0 * found.log_z.std_error, "{difference} ± {}", found.log_z.std_error);

    // The shares of the squares in each island, whose spread is the error.
    let per_island = found.log_weights.len() / settings.n_islands;
    let mut shares = vec![[0.0; 8]; settings.n_islands];
    for (idx, (x, log_weight)) in found.x.chunks_exact(2).zip(&found.log_weights).enumerate() {
        if let Some([column, row]) = board.square(x) {
            shares[idx / per_island][2 * row + column / 2] += log_weight.exp() * settings.n_islands as f64;
        }
    }
    let n = shares.len() as f64;
    let outside: f64 = 1.0 - shares.iter().flatten().sum::<f64>() / n;
    assert!(outside > 0.01 && outside < 0.1, "{outside}");
    for square in 0..8 {
        let mean = shares.iter().map(|share| share[square]).sum::<f64>() / n;
        let variance = shares.iter().map(|share| (share[square] - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let expected = (1.0 - outside) / 8.0;
        assert!((mean - expected).abs() < 4.5 * (variance / n).sqrt(), "{square}: {mean} {expected}");
    }
}

/// With the exact score of 40 unequal modes in 128 dimensions, reverse diffusion finds all of them with their
/// weights, which no local move could.
#[test]
fn reverse_diffusion_with_the_exact_score_finds_forty_modes_with_their_weights() {
    let mixture = ManyModes::default().mixture().unwrap();
    let space = Space::Euclidean { dimension: 128 };
    assert_eq!(mixture.space(), space);
    let noise = Noise::default();
    let path = DiffusedMixture::new(mixture.clone(), noise);
    let n = 1000;
    let settings = ReverseDiffusionSettings { n_steps: 50, ..Default::default() };
    // Means uniform in [−1, 1] and modes of variance 0.04.
    let variance = 1.0 / 3.0 + 0.04;
    let result =
        reverse_diffusion(&path, &noise, variance, &settings, 0..n, &Streams::new(3), &mut silent).unwrap();
    assert!(result.diverged.is_empty());
    let mut counts = [0.0; 40];
    for x in result.x.chunks_exact(128) {
        counts[mixture.assign(x)] += 1.0;
    }
    let chi_square: f64 = counts
        .iter()
        .zip(mixture.weights())
        .map(|(count, weight)| (count - weight * n as f64).powi(2) / (weight * n as f64))
        .sum();
    // 39 degrees of freedom: mean 39, standard deviation 8.8.
    assert!(chi_square < 39.0 + 4.0 * 8.8, "{chi_square}");
    // Equal weights would give 1000 Σ (1/40 − w)²/w, which must be far away for the test to mean anything.
    let equal: f64 = mixture.weights().iter().map(|w| n as f64 * (0.025 - w).powi(2) / w).sum();
    assert!(equal > 300.0, "{equal}");
}
