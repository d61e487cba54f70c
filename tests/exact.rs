//! Objectives, samplers and estimators together, on laws whose free energies are known in closed form.

use kirkwood::free_energy::thermodynamic_integration::{Node, integrate};
use kirkwood::free_energy::{Mbar, ReducedEnergies};
use kirkwood::potential::analytic::{DiffusedMixture, GaussianMixture, Variances};
use kirkwood::potential::{Noise, PotentialPath, Route, Space};
use kirkwood::random::{Purpose, Streams, fill_normal};
use kirkwood::sampling::{
    Bridge, ReplicaExchange, ReplicaExchangeSettings, SequentialMonteCarloSettings, sequential_monte_carlo,
    silent,
};
use kirkwood::training::objective::{Cotangent, OBJECTIVES, Point};

/// methods: with fixed energies and one free offset per level, the optimum of diffusive classification is
/// the MBAR estimate.
#[test]
fn the_fixed_point_of_diffusive_classification_is_mbar() {
    let (n_levels, n) = (4, 150);
    let stiffness = [1.0_f64, 2.5, 6.0, 15.0];
    let mut rng = Streams::new(12).stream(Purpose::Walker, 0);
    let mut x = vec![0.0; n_levels * n];
    fill_normal(&mut rng, &mut x);
    let level_of = |sample: usize| sample % n_levels;
    for (sample, x) in x.iter_mut().enumerate() {
        *x = *x / stiffness[level_of(sample)].sqrt() + 0.3 * level_of(sample) as f64;
    }
    let energy = |level: usize, x: f64| 0.5 * stiffness[level] * (x - 0.3 * level as f64).powi(2);

    // Samples in groups of four, one from each level: a data point at K = 4 times.
    let energies: Vec<f64> =
        x.iter().flat_map(|&x| (0..n_levels).map(move |level| energy(level, x))).collect();
    let mut table = toml::Table::new();
    table.insert("kind".into(), "diffusive_classification".into());
    let objective = OBJECTIVES.build("objective", table, &()).unwrap();
    let slope = |offsets: &[f64]| {
        let mut sum = vec![0.0; n_levels];
        for group in 0..n {
            let mut unused = vec![0.0; n_levels * n_levels];
            let mut cotangent = Cotangent {
                gradients: &mut [],
                energies: &mut unused,
                mirrored: &mut [],
                of_state: &mut [],
                offsets: &mut sum,
            };
            let point = Point {
                progress: &[],
                drifts: &[-1.0; 16],
                variances: &[1.0; 16],
                n_data: 4,
                positions: &[],
                degrees_of_freedom: 1,
                times: &[0.1, 0.2, 0.3, 0.4],
                deviations: &[1.0; 4],
                scales: &[1.0; 4],
                diffusions: &[1.0; 4],
                noise: &[],
                displacements: &[],
                scores: &[],
                gradients: &[],
                energies: &energies[group * n_levels * n_levels..][..n_levels * n_levels],
                mirrored: &[],
                of_state: &[],
                offsets,
            };
            objective.add(&point, 1.0 / n as f64, &mut cotangent);
        }
        sum
    };
    // Plain gradient descent on a convex function: slow, and independent of the MBAR solver.
    let mut offsets = vec![0.0; n_levels];
    for _ in 0..4000 {
        let step = slope(&offsets);
        offsets.iter_mut().zip(&step).for_each(|(offset, slope)| *offset -= 3.0 * slope);
    }
    assert!(slope(&offsets).iter().all(|slope| slope.abs() < 1e-9));

    let u_kn = (0..n_levels).flat_map(|level| x.iter().map(move |&x| energy(level, x))).collect();
    let state_of = (0..x.len()).map(level_of).collect();
    let reduced = ReducedEnergies::new(n_levels, u_kn, state_of).unwrap();
    let mbar = Mbar::new(&reduced).unwrap();
    let f = mbar.free_energies_kt();
    for level in 1..n_levels {
        // l_j = −u_j + f_j is a normalised log-density where f_j is the free energy −log Z_j.
        let difference = offsets[level] - offsets[0];
        assert!((difference - (f[level] - f[0])).abs() < 1e-6, "{difference} {}", f[level] - f[0]);
    }
}

/// Two modes of unequal weight on centred conformations of four beads, with a free energy that is not zero.
fn path() -> (DiffusedMixture, Noise) {
    let space = Space::Centered { n_particles: 4 };
    let mut means = vec![0.0; 2 * 12];
    for (idx, mean) in means.chunks_exact_mut(12).enumerate() {
        let side = if idx == 0 { 1.0 } else { -1.0 };
        for (bead, xyz) in mean.chunks_exact_mut(3).enumerate() {
            xyz.copy_from_slice(&[bead as f64 - 1.5, side * [0.7, -0.7, 0.7, -0.7][bead], 0.0]);
        }
    }
    let mixture =
        GaussianMixture::new(space, &[0.75, 0.25], means, Variances::Isotropic(vec![0.02, 0.03])).unwrap();
    let noise = Noise::default();
    let mut path = DiffusedMixture::new(mixture, noise);
    path.offset_rate_kt = 2.0;
    (path, noise)
}

#[test]
fn three_roads_lead_to_the_known_free_energy_of_a_diffusion_path() {
    let (path, noise) = path();
    let (first, last) = noise.time_range();
    let exact = -(path.log_normalizer(first) - path.log_normalizer(last));
    assert!((exact.abs() - 2.0).abs() < 1e-4, "the offset makes the path a known one: {exact}");
    let bridge = || Bridge::diffusion(&path, noise, 1.0);

    let settings = SequentialMonteCarloSettings { n_particles: 4096, ..Default::default() };
    let population = sequential_monte_carlo(bridge(), &settings, &Streams::new(21), &mut silent).unwrap();
    let smc = -population.log_z.value + path.log_normalizer(last);
    assert!((smc - exact).abs() < 4.0 * population.log_z.std_error, "{smc} {exact}");
    assert!(population.log_z.std_error < 0.15);

    let settings = ReplicaExchangeSettings { n_levels: 24, n_ladders: 16, ..Default::default() };
    let exchange = ReplicaExchange { bridge: bridge(), settings, streams: Streams::new(22) };
    let mut state = exchange.start(&mut silent).unwrap();
    let block = exchange.block(&mut state, 400, &mut silent).unwrap();
    let (mut x, mut state_of, mut nodes) = (vec![], vec![], vec![]);
    let route = Route::LogSnr { noise };
    for (level, samples) in block.samples.iter().enumerate() {
        let n = samples.len() / 12;
        let t = state.lambda[level];
        let mut rates = vec![0.0; n];
        path.lambda_derivatives(&vec![t; n], samples, &mut rates).unwrap();
        // A ladder is independent of the others: its means are the data of the standard error.
        let mut ladders = [0.0; 16];
        rates
            .iter()
            .enumerate()
            .for_each(|(k, rate)| ladders[k % 16] += rate * route.rate(t) * 16.0 / n as f64);
        let mean = ladders.iter().sum::<f64>() / 16.0;
        let variance = ladders.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (15.0 * 16.0);
        nodes.push(Node { lambda: route.distance(t), mean, std_error: variance.sqrt() });
        x.extend(samples);
        state_of.extend(vec![level; n]);
    }
    let integral = integrate(&nodes).unwrap();
    let tolerance = 4.0 * integral.spline.std_error + integral.discretisation_kt;
    assert!((integral.spline.value - exact).abs() < tolerance, "{:?} {exact}", integral.spline);
    assert!(tolerance < 1.5, "{tolerance} {:?} {}", integral.spline, integral.discretisation_kt);

    let n = state_of.len();
    let mut u_kn = vec![0.0; state.lambda.len() * n];
    for (row, &t) in u_kn.chunks_exact_mut(n).zip(&state.lambda) {
        path.energies(&vec![t; n], &x, row).unwrap();
    }
    let energies = ReducedEnergies::new(state.lambda.len(), u_kn, state_of).unwrap();
    let mbar = Mbar::new(&energies).unwrap();
    let difference = mbar.difference(0, state.lambda.len() - 1).unwrap();
    // Sweeps are correlated: allow for a statistical inefficiency of 9.
    assert!((difference.value - exact).abs() < 3.0 * 4.0 * difference.std_error, "{difference} {exact}");
    assert!((difference.value - exact).abs() < 0.3, "{difference} {exact}");

    // The weights of the two modes at the data end, from all levels.
    let weights = mbar.weights(state.lambda.len() - 1);
    let minor: f64 =
        x.chunks_exact(12).zip(&weights).filter(|(x, _)| path.mixture.assign(x) == 1).map(|(_, w)| w).sum();
    assert!((minor - 0.25).abs() < 0.06, "{minor}");
}
