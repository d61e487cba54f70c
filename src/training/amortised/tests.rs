//! Generators reach laws that are known in closed form; without training they do not.

use super::energy_score::EnergyScore;
use super::*;
use crate::model::EnergyModel;
use crate::model::data::TrainingData;
use crate::model::network::{Architecture, NETWORKS};
use crate::potential::analytic::{DiffusedMixture, GaussianMixture, Variances};
use crate::potential::{Noise, PotentialPath as _, Space};
use crate::random::{Purpose, Streams, fill_normal};
use crate::sampling::silent;

const PLANE: Space = Space::Euclidean { dimension: 2 };

fn small(n_scales: usize, n_steps: usize) -> AmortisedSettings {
    AmortisedSettings {
        n_scales,
        log_snr: [-3.0, 3.0],
        hidden: vec![32, 32],
        n_frequencies: 1,
        warm_start: WarmStartSettings {
            n_steps,
            batch_size: 128,
            n_samples: 4,
            learning_rate: 5e-3,
            ema_decay: 0.98,
            ..WarmStartSettings::default()
        },
        recovery: None,
    }
}

fn normal(n: usize, stream: u64) -> Vec<f64> {
    let mut z = vec![0.0; n];
    fill_normal(&mut Streams::new(5).stream(Purpose::Walker, stream), &mut z);
    z
}

/// Mean and covariance of points on the plane: mean x and y, variance of x and y, covariance.
fn moments(x: &[f64]) -> [f64; 5] {
    let n = (x.len() / 2) as f64;
    let mut sums = [0.0; 5];
    for x in x.chunks_exact(2) {
        for (sum, term) in sums.iter_mut().zip([x[0], x[1], x[0] * x[0], x[1] * x[1], x[0] * x[1]]) {
            *sum += term / n;
        }
    }
    let [mx, my, xx, yy, xy] = sums;
    [mx, my, xx - mx * mx, yy - my * my, xy - mx * my]
}

/// Before training x̂_i given x_{i+1} is the law for Gaussian data of unit variance, whose moments follow from the joint
/// Gaussian of x_i and x_{i+1}.
#[test]
fn the_skip_is_exact_for_gaussian_data() {
    for noise in [Noise::default(), Noise::Edm { sigma_min: 1e-3, sigma_max: 20.0 }] {
        let generators = Generators::initial(&small(4, 0), PLANE, noise, &Streams::new(1)).unwrap();
        assert_eq!(generators.n_calls(), 4);
        for (idx, scale) in generators.scales.iter().enumerate() {
            let (a, g) = (noise.scale(scale.t), noise.deviation(scale.t));
            let (a_before, g_before) = (noise.scale(scale.t_before), noise.deviation(scale.t_before));
            // Cov(x_i, x_{i+1}) = a a′ + r g², Var x = a² + g²; x_{i+1} is at a fixed point.
            let covariance = a * a_before + a_before / a * g * g;
            let (own, before) = (a * a + g * g, a_before * a_before + g_before * g_before);
            let y = [0.7, -1.2];
            let x = generators.sample_given(idx, &y, 20_000, &Streams::new(2));
            let [mx, my, xx, yy, xy] = moments(&x);
            let variance = own - covariance * covariance / before;
            let error = 4.0 * (variance / 20_000.0).sqrt();
            assert!((mx - covariance / before * y[0]).abs() < error, "{idx}: {mx}");
            assert!((my - covariance / before * y[1]).abs() < error, "{idx}: {my}");
            assert!((xx / variance - 1.0).abs() < 0.05 && (yy / variance - 1.0).abs() < 0.05);
            assert!((xy / variance).abs() < 0.04);
            // And the way back.
            let mut f = x[..2].to_vec();
            scale.standardise(&y, &mut f);
            scale.restore(&y, &mut f);
            assert!((f[0] - x[0]).abs() < 1e-12);
        }
        let x = generators.sample(20_000, &Streams::new(3));
        let [.., xx, yy, xy] = moments(&x);
        assert!((xx - 1.0).abs() < 0.05 && (yy - 1.0).abs() < 0.05 && xy.abs() < 0.04, "{xx} {yy} {xy}");
    }
}

#[test]
fn slopes_of_the_energy_score_are_finite_differences_and_it_is_least_at_the_law() {
    for exponent in [1.0, 0.5] {
        let score = EnergyScore { exponent };
        let (data, samples) = (normal(3, 0), normal(15, 1));
        let mut slopes = vec![0.0; 15];
        score.add(&data, &samples, &mut slopes);
        for idx in 0..15 {
            let at = |shift: f64| {
                let mut moved = samples.clone();
                moved[idx] += shift;
                score.add(&data, &moved, &mut [0.0; 15])
            };
            let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((slopes[idx] - expected).abs() < 1e-6, "{idx}: {} {expected}", slopes[idx]);
        }
        // Of N(0, s²) against N(0, 1): least at s = 1.
        let mean = |s: f64| -> f64 {
            let (data, samples) = (normal(20_000, 2), normal(160_000, 3));
            let each = data.iter().zip(samples.chunks_exact(8));
            each.map(|(data, z)| {
                let samples: Vec<f64> = z.iter().map(|z| s * z).collect();
                score.add(&[*data], &samples, &mut [0.0; 8]) / 20_000.0
            })
            .sum()
        };
        let [narrow, right, wide] = [0.7, 1.0, 1.4].map(mean);
        assert!(right < narrow - 0.005 && right < wide - 0.005, "{narrow} {right} {wide}");
    }
}

/// A Gaussian of unit mean variance, long along one axis: x_i given x_{i+1} is Gaussian with a formula for each axis.
fn long() -> GaussianMixture {
    let variances = Variances::Diagonal(vec![1.8, 0.2]);
    GaussianMixture::new(PLANE, &[1.0], vec![0.3, -0.1], variances).unwrap()
}

fn two_modes() -> GaussianMixture {
    // Unit variance: 0.8 · 0.2 · 2.2² + 0.2256.
    let means = vec![-0.2 * 2.2, 0.0, 0.8 * 2.2, 0.0];
    GaussianMixture::new(PLANE, &[0.8, 0.2], means, Variances::Isotropic(vec![0.1; 2])).unwrap()
}

fn frames(mixture: &GaussianMixture, n: usize) -> Vec<f32> {
    let mut x = vec![0.0; 2 * n];
    for (idx, x) in x.chunks_exact_mut(2).enumerate() {
        mixture.sample(&mut Streams::new(8).stream(Purpose::Start, idx as u64), x);
    }
    x.iter().map(|x| *x as f32).collect()
}

/// The largest error of the conditional mean, in widths, and of the variance, relative, over scales and conditions.
fn conditional_error(generators: &Generators) -> f64 {
    let noise = generators.noise;
    let mut worst = 0.0_f64;
    for (idx, scale) in generators.scales.iter().enumerate() {
        let (a, g) = (noise.scale(scale.t), noise.deviation(scale.t));
        for shift in [-0.6, 0.6] {
            let y: Vec<f64> = [(0.3, 1.8), (-0.1, 0.2)]
                .iter()
                .map(|&(mean, variance): &(f64, f64)| {
                    let before: f64 = scale.ratio.powi(2) * (a * a * variance + g * g) + scale.variance;
                    scale.ratio * a * mean + shift * before.sqrt()
                })
                .collect();
            let [mx, my, xx, yy, _] = moments(&generators.sample_given(idx, &y, 4000, &Streams::new(4)));
            for (y, mean, variance, found, spread) in [(y[0], 0.3, 1.8, mx, xx), (y[1], -0.1, 0.2, my, yy)] {
                let own = a * a * variance + g * g;
                let before = scale.ratio.powi(2) * own + scale.variance;
                let gain = scale.ratio * own / before;
                let expected = a * mean + gain * (y - scale.ratio * a * mean);
                let left = own * scale.variance / before;
                worst = worst.max((found - expected).abs() / left.sqrt()).max((spread / left).ln().abs());
            }
        }
    }
    worst
}

#[test]
fn the_energy_score_finds_the_conditional_law() {
    let frames = frames(&long(), 20_000);
    let data = TrainingData::of_frames(PLANE, &frames);
    let settings = small(3, 500);
    let noise = Noise::default();
    let mut generators = Generators::initial(&settings, PLANE, noise, &Streams::new(1)).unwrap();
    let before = conditional_error(&generators);
    let warm = &settings.warm_start;
    let scores = train_by_energy_score(&mut generators, &data, warm, &Streams::new(2), &mut silent).unwrap();
    let after = conditional_error(&generators);
    assert!(before > 0.8 && after < 0.22, "{before} {after}");
    assert_eq!(scores.len(), 3);

    // The same seed, the same numbers, on one thread as on several.
    let again = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let mut generators = Generators::initial(&settings, PLANE, noise, &Streams::new(1)).unwrap();
        let warm = WarmStartSettings { n_steps: 10, ..settings.warm_start };
        pool.install(|| {
            train_by_energy_score(&mut generators, &data, &warm, &Streams::new(2), &mut silent).unwrap();
            (generators.sample(100, &Streams::new(3)), generators)
        })
    };
    let (one, three) = (again(1), again(3));
    assert!(one == three);
    assert!(one.0[..20] == one.1.sample(10, &Streams::new(3)));
}

#[test]
fn two_modes_get_their_weights_in_three_calls() {
    let frames = frames(&two_modes(), 20_000);
    let data = TrainingData::of_frames(PLANE, &frames);
    let settings = small(3, 1500);
    let mut generators = Generators::initial(&settings, PLANE, Noise::default(), &Streams::new(1)).unwrap();
    let share = |generators: &Generators| {
        let x = generators.sample(16_000, &Streams::new(6));
        // Of points, and of points in the gap between the modes.
        let of = |is: &dyn Fn(f64) -> bool| x.iter().step_by(2).filter(|x| is(**x)).count() as f64 / 16_000.0;
        (of(&|x| x > 0.66), of(&|x| (0.4..0.9).contains(&x)))
    };
    let (_, before) = share(&generators);
    let warm = &settings.warm_start;
    train_by_energy_score(&mut generators, &data, warm, &Streams::new(2), &mut silent).unwrap();
    let (second, gap) = share(&generators);
    assert!((second - 0.2).abs() < 0.03, "{second}");
    assert!(before > 0.1 && gap < 0.06, "{before} {gap}");
}

/// From an untrained generator to the law of a known energy, without data but for the conditions.
#[test]
fn recovery_finds_the_law_of_an_energy() {
    let mixture = long();
    let frames = frames(&mixture, 20_000);
    let data = TrainingData::of_frames(PLANE, &frames);
    let noise = Noise::default();
    let exact = DiffusedMixture::new(mixture, noise);
    let settings = AmortisedSettings { log_snr: [-3.0, 1.0], ..small(2, 0) };
    let of = |entropy, n_samples| {
        let mut generators = Generators::initial(&settings, PLANE, noise, &Streams::new(1)).unwrap();
        let recovery = RecoverySettings {
            n_steps: 400,
            batch_size: 64,
            n_samples,
            learning_rate: 5e-3,
            entropy,
            ema_decay: 0.98,
            ..RecoverySettings::default()
        };
        let mut energy = Energy::Frozen(&exact);
        recover(&mut generators, &mut energy, &data, &recovery, &Streams::new(2), &mut silent).unwrap();
        conditional_error(&generators)
    };
    let untrained =
        conditional_error(&Generators::initial(&settings, PLANE, noise, &Streams::new(1)).unwrap());
    let jacobian = of(Entropy::Jacobian {}, 6);
    let neighbours = of(Entropy::NearestNeighbour {}, 16);
    assert!(untrained > 0.8, "{untrained}");
    assert!(jacobian < 0.2, "jacobian {jacobian}");
    // What is left is the bias of 16 samples.
    assert!(neighbours < 0.35, "nearest neighbours {neighbours}");
}

/// The discriminator keeps samples apart that the energy alone would put into one point.
#[test]
fn mutual_information_keeps_samples_apart() {
    let mixture = long();
    let frames = frames(&mixture, 5000);
    let data = TrainingData::of_frames(PLANE, &frames);
    let noise = Noise::default();
    let exact = DiffusedMixture::new(mixture, noise);
    let settings = AmortisedSettings { log_snr: [-3.0, 1.0], ..small(1, 0) };
    let spread = |entropy_weight| {
        let mut generators = Generators::initial(&settings, PLANE, noise, &Streams::new(1)).unwrap();
        let entropy = Entropy::MutualInformation { hidden: 32, learning_rate: 5e-3 };
        let recovery = RecoverySettings {
            n_steps: 200,
            batch_size: 64,
            n_samples: 4,
            learning_rate: 5e-3,
            entropy,
            entropy_weight,
            ema_decay: 0.98,
            ..RecoverySettings::default()
        };
        let mut energy = Energy::Frozen(&exact);
        recover(&mut generators, &mut energy, &data, &recovery, &Streams::new(2), &mut silent).unwrap();
        moments(&generators.sample_given(0, &[0.5, 0.5], 2000, &Streams::new(3)))[2]
    };
    let (with, without) = (spread(1.0), spread(0.0));
    assert!(with > 5.0 * without && with > 0.1, "{with} {without}");
}

fn model(data: &TrainingData) -> EnergyModel {
    let table: toml::Table = "kind = 'vector'\nhidden = [16]\ntime_splines = 9".parse().unwrap();
    let network = NETWORKS.build("network", table, &()).unwrap();
    let architecture = Architecture::of_vectors(2, Noise::default());
    EnergyModel::initial(&*network, architecture, 1.0, data, &Streams::new(1)).unwrap()
}

#[test]
fn gradients_of_sums_of_energies_are_finite_differences() {
    let frames = frames(&two_modes(), 100);
    let data = TrainingData::of_frames(PLANE, &frames);
    let mut model = model(&data);
    let n = 70;
    let weights: Vec<f32> = normal(model.program.n_parameters(), 0).iter().map(|w| 0.3 * *w as f32).collect();
    model.set_weights(&weights).unwrap();
    let (x, e, v) = (normal(2 * n, 1), normal(n, 2), normal(2 * n, 3));
    let t: Vec<f64> = (0..n).map(|k| 0.05 + 0.01 * k as f64).collect();
    for v in [None, Some(v.as_slice())] {
        let mut gradient = vec![0.0; weights.len()];
        energy_gradient(&model, &t, &x, &e, v, &mut gradient).unwrap();
        let mut value = |idx: usize, shift: f32| -> f64 {
            let mut moved = weights.clone();
            moved[idx] += shift;
            model.set_weights(&moved).unwrap();
            let (mut u, mut slope) = (vec![0.0; n], vec![0.0; 2 * n]);
            model.energies_and_gradients(&t, &x, &mut u, &mut slope).unwrap();
            let of_u: f64 = u.iter().zip(&e).map(|(u, e)| u * e).sum();
            of_u + v.map_or(0.0, |v| v.iter().zip(&slope).map(|(v, s)| v * s).sum())
        };
        for idx in (0..weights.len()).step_by(17) {
            let expected = (value(idx, 1e-2) - value(idx, -1e-2)) / 2e-2;
            let found = f64::from(gradient[idx]);
            assert!((found - expected).abs() < 2e-2 * (1.0 + expected.abs()), "{idx}: {found} {expected}");
        }
        model.set_weights(&weights).unwrap();
    }
}

/// From the Gaussian that an untrained energy is, with exact generators of another law: the energy must tell them apart.
#[test]
fn a_learned_energy_falls_where_data_are_and_samples_are_not() {
    let mixture = two_modes();
    let frames = frames(&mixture, 5000);
    let data = TrainingData::of_frames(PLANE, &frames);
    let mut model = model(&data);
    let settings = small(3, 0);
    let noise = Noise::default();
    let mut generators = Generators::initial(&settings, PLANE, noise, &Streams::new(1)).unwrap();
    let barrier = |model: &EnergyModel| {
        let (t, mut u) = (generators_time(), [0.0; 2]);
        model.energies(&[t; 2], &[0.66, 0.0, -0.44, 0.0], &mut u).unwrap();
        u[0] - u[1]
    };
    let before = barrier(&model);
    let recovery = RecoverySettings {
        n_steps: 300,
        batch_size: 64,
        n_samples: 3,
        entropy: Entropy::Jacobian {},
        learning_rate: 2e-3,
        energy_rate: 5e-3,
        ema_decay: 0.98,
        ..RecoverySettings::default()
    };
    let mut energy = Energy::Learned(&mut model);
    let report =
        recover(&mut generators, &mut energy, &data, &recovery, &Streams::new(2), &mut silent).unwrap();
    assert_eq!(report.contrasts.len(), 3);
    let after = barrier(&model);
    assert!(after > before + 1.0, "{before} {after}");
}

fn generators_time() -> f64 {
    Noise::default().time_at_log_snr(3.0)
}

#[test]
fn molecules_and_wrong_settings_are_named() {
    let of = |settings: &AmortisedSettings, space, noise| {
        Generators::initial(settings, space, noise, &Streams::new(1)).unwrap_err().to_string()
    };
    let (noise, good) = (Noise::default(), AmortisedSettings::default());
    assert!(of(&good, Space::Centered { n_particles: 5 }, noise).contains("a molecule"));
    let interpolant = Noise::Interpolant { strength: 1.0, t_min: 1e-6 };
    assert!(of(&good, PLANE, interpolant).contains("two ensembles"));
    let bad = AmortisedSettings { log_snr: [5.0, -3.0], ..good.clone() };
    assert!(of(&bad, PLANE, noise).contains("few_step.log_snr"));
    let bad = AmortisedSettings { n_scales: 0, ..good };
    assert!(of(&bad, PLANE, noise).contains("few_step.n_scales"));
}
