//! MBAR against exact answers, Bennett's ratio, a plain fixed-point iteration and pymbar.

use super::bootstrap::{Resampling, bootstrap_free_energies};
use super::{Mbar, MbarSettings};
use crate::free_energy::bennett::bennett;
use crate::free_energy::bootstrap::{bootstrap_mbar, mbar_blocks};
use crate::free_energy::weights::log_sum_exp;
use crate::free_energy::{Estimate, ReducedEnergies};
use crate::random::{Purpose, Streams, fill_normal};

/// Harmonic oscillators u_k = ½ κ_k (x − a_k)² + b_k, with f_k − f_0 = ½ ln(κ_k/κ_0) + b_k − b_0.
struct Oscillators {
    kappa: Vec<f64>,
    center: Vec<f64>,
    shift: Vec<f64>,
}

impl Oscillators {
    fn ladder(n_states: usize) -> Self {
        let k = |i: usize| i as f64;
        Self {
            kappa: (0..n_states).map(|i| 1.0 + 0.7 * k(i)).collect(),
            center: (0..n_states).map(|i| 0.6 * k(i)).collect(),
            shift: (0..n_states).map(|i| 3.0 * k(i) - 1e4 * k(i % 2)).collect(),
        }
    }

    fn energy(&self, state: usize, x: f64) -> f64 {
        0.5 * self.kappa[state] * (x - self.center[state]).powi(2) + self.shift[state]
    }

    fn exact(&self, from: usize, to: usize) -> f64 {
        0.5 * (self.kappa[to] / self.kappa[from]).ln() + self.shift[to] - self.shift[from]
    }

    fn sample(&self, n_k: &[usize], seed: u64) -> (ReducedEnergies, Vec<f64>) {
        let (mut x, mut state_of) = (Vec::new(), Vec::new());
        for (state, &n) in n_k.iter().enumerate() {
            let mut z = vec![0.0; n];
            fill_normal(&mut Streams::new(seed).stream(Purpose::Walker, state as u64), &mut z);
            x.extend(z.iter().map(|z| self.center[state] + z / self.kappa[state].sqrt()));
            state_of.extend(std::iter::repeat_n(state, n));
        }
        let u = (0..n_k.len()).flat_map(|k| x.iter().map(move |&x| self.energy(k, x))).collect();
        (ReducedEnergies::new(n_k.len(), u, state_of).unwrap(), x)
    }
}

/// Σ of squared deviations in units of the claimed error.
fn z_squared(estimate: &Estimate, exact: f64) -> f64 {
    ((estimate.value - exact) / estimate.std_error).powi(2)
}

#[test]
fn oscillators_have_exact_answers_and_calibrated_errors() {
    let system = Oscillators::ladder(5);
    let repeats = 300;
    let mut sums = [0.0; 6];
    for seed in 0..repeats {
        let (energies, x) = system.sample(&[100, 80, 0, 120, 60], seed);
        let mbar = Mbar::new(&energies).unwrap();
        assert!(mbar.certificate().residual < 1e-10 && mbar.disconnection().is_none());
        sums[0] += z_squared(&mbar.difference(0, 4).unwrap(), system.exact(0, 4));
        sums[1] += z_squared(&mbar.difference(1, 3).unwrap(), system.exact(1, 3));
        sums[2] += z_squared(&mbar.difference(0, 2).unwrap(), system.exact(0, 2));
        let mean = mbar.expectation(&mbar.weights(3), &x, "nm").unwrap();
        sums[3] += z_squared(&mean, system.center[3]);
        // A target between states 1 and 3: κ = 2.5, a = 1, b = 0.
        let u: Vec<f64> = x.iter().map(|x| 1.25 * (x - 1.0).powi(2)).collect();
        let target = mbar.target(&u).unwrap();
        let exact = 0.5 * 2.5_f64.ln() - system.shift[0];
        sums[4] += z_squared(&mbar.difference_to_target(0, &target).unwrap(), exact);
        sums[5] += z_squared(&mbar.expectation(&target.weights, &x, "nm").unwrap(), 1.0);
    }
    // Each sum is χ² of 300 degrees of freedom, with a deviation of 24; finite samples add a little.
    for (i, sum) in sums.iter().enumerate() {
        assert!((sum - repeats as f64).abs() < 85.0, "number {i}: χ² = {sum} of {repeats}");
    }
}

#[test]
fn two_states_are_bennett() {
    let (energies, _) = Oscillators::ladder(2).sample(&[70, 45], 3);
    let mbar = Mbar::new(&energies).unwrap();
    let difference = mbar.difference(0, 1).unwrap();
    let exact = bennett(&energies.work(0, 1), &energies.work(1, 0)).unwrap();
    assert!((difference.value - exact.value).abs() < 1e-9);
    assert!((difference.std_error - exact.std_error).abs() < 1e-9, "{difference} {exact}");
}

/// The defining equations, iterated as they stand.
fn fixed_point(energies: &ReducedEnergies, n_iterations: usize) -> Vec<f64> {
    let (n_states, n_samples) = (energies.n_states(), energies.n_samples());
    let log_n: Vec<f64> = energies.n_k().iter().map(|&n| (n as f64).ln()).collect();
    let mut f = vec![0.0; n_states];
    for _ in 0..n_iterations {
        let denominators: Vec<f64> = (0..n_samples)
            .map(|n| {
                let terms: Vec<f64> = (0..n_states).map(|k| log_n[k] + f[k] - energies.at(k, n)).collect();
                log_sum_exp(&terms)
            })
            .collect();
        f = (0..n_states)
            .map(|k| {
                let terms: Vec<f64> = (0..n_samples).map(|n| -energies.at(k, n) - denominators[n]).collect();
                -log_sum_exp(&terms)
            })
            .collect();
        let origin = f[0];
        f.iter_mut().for_each(|f| *f -= origin);
    }
    f
}

#[test]
fn newton_and_the_fixed_point_iteration_meet() {
    let mut system = Oscillators::ladder(4);
    system.shift = vec![0.0, 2.0, -1.0, 4.0];
    let (energies, _) = system.sample(&[40, 50, 0, 60], 11);
    let slow = fixed_point(&energies, 3000);
    let mbar = Mbar::new(&energies).unwrap();
    for (fast, slow) in mbar.free_energies_kt().iter().zip(&slow) {
        assert!((fast - slow).abs() < 1e-9, "{fast} {slow}");
    }
}

#[test]
fn a_terrible_start_ends_in_the_same_place() {
    let (energies, _) = Oscillators::ladder(5).sample(&[50; 5], 4);
    let reference = Mbar::new(&energies).unwrap();
    let settings = MbarSettings { start_kt: Some(vec![0.0, 500.0, -3e4, 7.0, 90.0]), ..Default::default() };
    let mbar = Mbar::with_settings(&energies, &settings).unwrap();
    for (a, b) in mbar.free_energies_kt().iter().zip(reference.free_energies_kt()) {
        assert!((a - b).abs() < 1e-7, "{a} {b}");
    }
}

#[test]
fn disconnected_states_are_named_and_the_rest_is_kept() {
    // Two pairs of wells, 1000 apart.
    let system = Oscillators {
        kappa: vec![1.0, 2.0, 1.0, 3.0],
        center: vec![0.0, 0.3, 1000.0, 1000.2],
        shift: vec![0.0, 1.0, 2.0, 3.0],
    };
    let (energies, _) = system.sample(&[200; 4], 5);
    let names = ["a", "b", "c", "d"].map(String::from).to_vec();
    let energies = energies.with_names(names).unwrap();
    let mbar = Mbar::new(&energies).unwrap();
    assert_eq!(mbar.groups(), [vec![0, 1], vec![2, 3]]);
    let sentence = mbar.disconnection().unwrap();
    assert!(sentence.contains("{a, b}, {c, d}") && !sentence.contains("  "), "{sentence}");
    assert_eq!(mbar.missing_overlaps().len(), 1);
    assert!(mbar.difference(0, 2).is_none() && mbar.difference(3, 1).is_none());
    for (from, to) in [(0, 1), (2, 3)] {
        let difference = mbar.difference(from, to).unwrap();
        assert!(z_squared(&difference, system.exact(from, to)) < 16.0);
        let alone = bennett(&energies.work(from, to), &energies.work(to, from)).unwrap();
        assert!((difference.value - alone.value).abs() < 1e-9, "{difference} {alone}");
        assert!((difference.std_error - alone.std_error).abs() < 1e-9, "{difference} {alone}");
    }
}

#[test]
fn forbidden_conformations_have_weight_zero() {
    // A box of length 2 inside one of length 4: f = ln 2 if seen from both.
    let x: Vec<f64> = (0..400)
        .map(|i| (f64::from(i) + 0.5) / 100.0)
        .chain((0..200).map(|i| f64::from(i) / 100.0))
        .collect();
    let mut u = vec![0.0; 600];
    u.extend(x.iter().map(|&x| if x < 2.0 { 0.0 } else { f64::INFINITY }));
    let state_of = [vec![0; 400], vec![1; 200]].concat();
    let energies = ReducedEnergies::new(2, u.clone(), state_of.clone()).unwrap();
    let mbar = Mbar::new(&energies).unwrap();
    assert!((mbar.difference(0, 1).unwrap().value - 2.0_f64.ln()).abs() < 1e-9);
    assert_eq!(mbar.weights(1)[300], 0.0);
    let energies =
        ReducedEnergies::new(2, [vec![0.0; 600], u[600..].to_vec()].concat(), vec![0; 600]).unwrap();
    assert!((Mbar::new(&energies).unwrap().difference(0, 1).unwrap().value - 1.5_f64.ln()).abs() < 1e-9);
    // Two boxes that exclude each other.
    let apart: Vec<f64> = x.iter().map(|&x| if x < 2.0 { f64::INFINITY } else { 0.0 }).collect();
    let state_of: Vec<usize> = x.iter().map(|&x| usize::from(x < 2.0)).collect();
    let energies = ReducedEnergies::new(2, [apart, u[600..].to_vec()].concat(), state_of).unwrap();
    let mbar = Mbar::new(&energies).unwrap();
    assert!(mbar.difference(0, 1).is_none() && mbar.disconnection().is_some());
}

#[test]
fn pymbar_agrees() {
    let text = include_str!("../../../tests/data/mbar_pymbar.json");
    let data: serde_json::Value = serde_json::from_str(text).unwrap();
    let vector = |value: &serde_json::Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let matrix =
        |name: &str| -> Vec<Vec<f64>> { data[name].as_array().unwrap().iter().map(vector).collect() };
    let state_of: Vec<usize> = vector(&data["state"]).iter().map(|&k| k as usize).collect();
    let (x, u_target) = (vector(&data["x"]), vector(&data["u_target"]));
    let energies = ReducedEnergies::new(5, matrix("u_kn").concat(), state_of).unwrap();
    let mbar = Mbar::new(&energies).unwrap();
    let near = |a: f64, b: f64, what: &str| assert!((a - b).abs() < 1e-7, "{what}: {a} {b}");

    let (delta_f, errors, overlap) = (matrix("delta_f"), matrix("d_delta_f"), matrix("overlap"));
    let (means, mean_errors) = (vector(&data["x_mean"]), vector(&data["x_error"]));
    for i in 0..5 {
        for j in 0..5 {
            let difference = mbar.difference(i, j).unwrap();
            near(difference.value, delta_f[i][j], "difference");
            near(difference.std_error, errors[i][j], "error");
            near(mbar.overlap()[i][j], overlap[i][j], "overlap");
        }
        near(mbar.n_effective(i), vector(&data["n_effective"])[i], "effective samples");
        let mean = mbar.expectation(&mbar.weights(i), &x, "nm").unwrap();
        near(mean.value, means[i], "mean");
        near(mean.std_error, mean_errors[i], "error of the mean");
    }
    let target = mbar.target(&u_target).unwrap();
    let difference = mbar.difference_to_target(0, &target).unwrap();
    near(difference.value, data["target_delta_f"].as_f64().unwrap(), "target");
    near(difference.std_error, data["target_d_delta_f"].as_f64().unwrap(), "error of the target");
    let mean = mbar.expectation(&target.weights, &x, "nm").unwrap();
    near(mean.value, data["x_target_mean"].as_f64().unwrap(), "mean in the target");
    near(mean.std_error, data["x_target_error"].as_f64().unwrap(), "its error");
}

#[test]
fn the_bootstrap_sees_repeated_samples() {
    // Every sample stands four times: the asymptotic error is half of what it should be.
    let system = Oscillators::ladder(3);
    let (single, x) = system.sample(&[150; 3], 9);
    let honest = Mbar::new(&single).unwrap().difference(0, 2).unwrap().std_error;
    let repeat = |values: &[f64]| -> Vec<f64> { values.iter().flat_map(|v| [*v; 4]).collect() };
    let u: Vec<f64> = (0..3).flat_map(|k| repeat(&single.row(k))).collect();
    let state_of: Vec<usize> = single.state_of().iter().flat_map(|s| [*s; 4]).collect();
    let energies = ReducedEnergies::new(3, u, state_of).unwrap();
    let mbar = Mbar::new(&energies).unwrap();
    assert!((mbar.difference(0, 2).unwrap().std_error / honest - 0.5).abs() < 1e-6);

    let ids: Vec<usize> = (0..4 * x.len()).map(|n| n / 4).collect();
    let blocks = mbar_blocks(&energies, &ids).unwrap();
    let result = bootstrap_mbar(&mbar, &blocks, 300, &Streams::new(1), |mbar| {
        mbar.difference(0, 2).map(|difference| vec![difference.value])
    })
    .unwrap();
    assert_eq!(result.n_failed, 0);
    // 300 resamples determine a deviation to 4 %.
    assert!((result.std_errors[0] / honest - 1.0).abs() < 0.16, "{} {honest}", result.std_errors[0]);
}

#[test]
fn a_resample_equals_the_data_it_stands_for() {
    let (energies, x) = Oscillators::ladder(3).sample(&[20, 30, 25], 2);
    let counts: Vec<f64> = (0..75).map(|n| f64::from(n % 3)).collect();
    let kept: Vec<usize> = (0..75).flat_map(|n| vec![n; n % 3]).collect();
    let u: Vec<f64> =
        (0..3).flat_map(|k| kept.iter().map(move |&n| (k, n))).map(|(k, n)| energies.at(k, n)).collect();
    let copied = ReducedEnergies::new(3, u, kept.iter().map(|&n| energies.state_of()[n]).collect()).unwrap();
    let (copied, mbar) = (Mbar::new(&copied).unwrap(), Mbar::new(&energies).unwrap());
    let resampled = mbar.resampled(counts).unwrap();
    let (a, b) = (resampled.difference(0, 2).unwrap(), copied.difference(0, 2).unwrap());
    assert!((a.value - b.value).abs() < 1e-5 && (a.std_error - b.std_error).abs() < 1e-5, "{a} {b}");
    let x_kept: Vec<f64> = kept.iter().map(|&n| x[n]).collect();
    let a = resampled.expectation(&resampled.weights(1), &x, "nm").unwrap();
    let b = copied.expectation(&copied.weights(1), &x_kept, "nm").unwrap();
    assert!((a.value - b.value).abs() < 1e-5 && (a.std_error - b.std_error).abs() < 1e-5, "{a} {b}");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (energies, _) = Oscillators::ladder(6).sample(&[300; 6], 8);
    let solve = || {
        let mbar = Mbar::new(&energies).unwrap();
        let boot = bootstrap_free_energies(&mbar, Resampling::Samples, 9, &Streams::new(1)).unwrap();
        (mbar.free_energies_kt().to_vec(), mbar.covariance_matrix(), boot.replicates)
    };
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(alone.install(solve), solve());
}

#[test]
fn scarce_overlap_still_converges_and_is_judged() {
    for (spacing, seed) in (2..30).flat_map(|s| (0..5).map(move |seed| (f64::from(s), seed))) {
        let system = Oscillators {
            kappa: (0..8).map(|i| if i % 3 == 0 { 25.0 } else { 1.0 }).collect(),
            center: (0..8).map(|i| spacing * f64::from(i * 3 % 8)).collect(),
            shift: (0..8).map(|i| 100.0 * f64::from(i)).collect(),
        };
        let (energies, _) = system.sample(&[30; 8], seed);
        let mbar = Mbar::new(&energies).unwrap();
        assert!(mbar.certificate().residual <= 1e-10);
        for from in 0..8 {
            for to in 0..8 {
                let together = mbar.groups().iter().any(|g| g.contains(&from) && g.contains(&to));
                let difference = mbar.difference(from, to);
                assert_eq!(difference.is_some(), together, "{spacing} {from} {to}");
                assert!(difference.is_none_or(|d| d.value.is_finite() && d.std_error.is_finite()));
            }
        }
        assert_eq!(mbar.groups().len() > 1, mbar.disconnection().is_some());
        assert!(spacing < 12.0 || mbar.disconnection().is_some());
    }
}

/// Newton's method on the plain objective, one exponential after the other, with a damping that shrinks.
fn damped_newton(energies: &ReducedEnergies, mut f: Vec<f64>) -> Vec<f64> {
    let n_k: Vec<f64> = energies.n_k().iter().map(|&n| n as f64).collect();
    let k_max = n_k.len();
    for _ in 0..60 {
        let (mut gradient, mut hessian) = (vec![0.0; k_max], nalgebra::DMatrix::<f64>::zeros(k_max, k_max));
        for n in 0..energies.n_samples() {
            let term = |k: usize| n_k[k].ln() + f[k] - energies.at(k, n);
            let terms: Vec<f64> = (0..k_max).map(term).collect();
            let sum = log_sum_exp(&terms);
            let p: Vec<f64> = terms.iter().map(|t| (t - sum).exp()).collect();
            for i in 0..k_max {
                gradient[i] += p[i];
                hessian[(i, i)] += p[i];
                (0..k_max).for_each(|j| hessian[(i, j)] -= p[i] * p[j]);
            }
        }
        gradient.iter_mut().zip(&n_k).for_each(|(g, n)| *g -= n);
        let rest = hessian.view((1, 1), (k_max - 1, k_max - 1)).clone_owned();
        let right = nalgebra::DVector::from_iterator(k_max - 1, gradient[1..].iter().map(|g| -g));
        let step = rest.lu().solve(&right).unwrap();
        let scale = (1.0 / step.amax()).min(1.0);
        f[1..].iter_mut().zip(step.iter()).for_each(|(f, d)| *f += scale * d);
    }
    f
}

#[test]
fn an_independent_newton_iteration_meets_to_nine_digits() {
    let mut system = Oscillators::ladder(6);
    system.shift = (0..6).map(f64::from).collect();
    let (energies, _) = system.sample(&[700, 50, 300, 2000, 10, 400], 21);
    let independent = damped_newton(&energies, system.shift.clone());
    let mbar = Mbar::new(&energies).unwrap();
    assert!(mbar.certificate().residual < 1e-10);
    for (fast, slow) in mbar.free_energies_kt().iter().zip(&independent) {
        assert!((fast - slow).abs() < 1e-9, "{fast} {slow}");
    }
}

#[test]
fn the_covariance_matrix_holds_all_differences() {
    let (energies, _) = Oscillators::ladder(5).sample(&[100, 80, 0, 120, 60], 1);
    let mbar = Mbar::new(&energies).unwrap();
    let (covariance, errors) = (mbar.covariance_matrix(), mbar.std_errors());
    for (a, b) in (0..5).flat_map(|a| (0..5).map(move |b| (a, b))) {
        let variance = covariance[a * 5 + a] + covariance[b * 5 + b] - 2.0 * covariance[a * 5 + b];
        assert!((variance.max(0.0).sqrt() - errors[a][b]).abs() < 1e-9);
        assert_eq!(errors[a][b], mbar.difference(a, b).unwrap().std_error);
    }
}

/// The wells of `Oscillators::ladder(4)` with offsets of states and of samples.
fn with_offsets(state_kt: [f64; 4], sample_kt: f64) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut system = Oscillators::ladder(4);
    system.shift = vec![0.0; 4];
    let (energies, _) = system.sample(&[400, 300, 500, 200], 12);
    let n = energies.n_samples();
    let u = (0..4)
        .flat_map(|k| {
            let row = energies.row(k).to_vec();
            // Rounded to 2⁻²⁰ first, so that offsets below 2³⁰ are added without rounding.
            row.into_iter().enumerate().map(move |(i, u)| {
                let u = (u * 2_f64.powi(20)).round() / 2_f64.powi(20);
                u + state_kt[k] + if i % 3 == 0 { sample_kt } else { -0.5 * sample_kt }
            })
        })
        .collect::<Vec<f64>>();
    assert_eq!(u.len(), 4 * n);
    let energies = ReducedEnergies::new(4, u, energies.state_of().to_vec()).unwrap();
    let mbar = Mbar::new(&energies).unwrap();
    assert!(mbar.certificate().residual < 1e-10);
    let f = mbar.free_energies_kt().iter().zip(state_kt).map(|(f, offset)| f - (offset - state_kt[0]));
    (f.collect(), mbar.std_errors())
}

#[test]
fn offsets_of_a_thousand_million_kt_do_no_harm() {
    let (plain, errors) = with_offsets([0.0; 4], 0.0);
    for (state_kt, sample_kt) in
        [([1e9, -1e9, 0.0, 5e8], 0.0), ([0.0; 4], 1e9), ([-1e9, 1e9, 3.0, -7.0], 5e8)]
    {
        let (f, sigma) = with_offsets(state_kt, sample_kt);
        for k in 0..4 {
            // The answer itself, 1e9 + something, holds 2⁻²³.
            let digits = if state_kt == [0.0; 4] { 1e-9 } else { 5e-7 };
            assert!((f[k] - plain[k]).abs() < digits, "{f:?} {plain:?}");
            assert!((sigma[0][k] / errors[0][k] - 1.0).abs() < 1e-6 || k == 0, "{sigma:?} {errors:?}");
        }
    }
}

#[test]
fn a_state_twice_is_the_same_state() {
    let (energies, _) = Oscillators::ladder(3).sample(&[200, 150, 100], 6);
    let single = Mbar::new(&energies).unwrap();
    let u = [0, 1, 1, 2].iter().flat_map(|&k| energies.row(k).to_vec()).collect();
    // The samples of state 1 are dealt out to both copies.
    let state_of = energies.state_of().iter().enumerate().map(|(n, &k)| [0, 1 + n % 2, 3][k]).collect();
    let doubled = ReducedEnergies::new(4, u, state_of).unwrap();
    let doubled = Mbar::new(&doubled).unwrap();
    let twins = doubled.difference(1, 2).unwrap();
    assert!(twins.value.abs() < 1e-9 && twins.std_error < 1e-7, "{twins}");
    for (from, to, of) in [(0, 1, 1), (0, 2, 1), (0, 3, 2)] {
        let (a, b) = (doubled.difference(from, to).unwrap(), single.difference(from, of).unwrap());
        assert!((a.value - b.value).abs() < 1e-9 && (a.std_error - b.std_error).abs() < 1e-9, "{a} {b}");
    }
}

#[test]
fn very_unequal_counts_do_no_harm() {
    let system = Oscillators {
        kappa: vec![1.0; 4],
        center: vec![0.0, 0.5, 1.0, 1.5],
        shift: vec![0.0, 1.0, 2.0, 3.0],
    };
    let (energies, _) = system.sample(&[200_000, 1, 1, 1], 3);
    let mbar = Mbar::new(&energies).unwrap();
    assert!(mbar.certificate().residual < 1e-10);
    for k in 1..4 {
        let difference = mbar.difference(0, k).unwrap();
        // Nearly an exponential average: σ² = (exp(a²) − 1)/N.
        let exact = (system.center[k].powi(2).exp_m1() / 200_003.0).sqrt();
        assert!((difference.std_error / exact - 1.0).abs() < 0.1, "{difference} {exact}");
        assert!(z_squared(&difference, system.exact(0, k)) < 16.0, "{difference}");
    }
}

#[test]
fn one_sample_of_each_state_has_a_closed_answer() {
    // Two states, one sample each: Σ_n p_1n = 1 has the root of 1/(1+e^(w−f)) + 1/(1+e^(−w'−f)) = 1.
    let (w, back) = (1.5, 0.7);
    let energies = ReducedEnergies::new(2, vec![0.0, back, w, 0.0], vec![0, 1]).unwrap();
    let mbar = Mbar::new(&energies).unwrap();
    assert!((mbar.difference(0, 1).unwrap().value - 0.5 * (w - back)).abs() < 1e-9);
    // Three equal states: all zero, whatever the samples.
    let energies = ReducedEnergies::new(3, vec![4.0; 9], vec![0, 1, 2]).unwrap();
    let difference = Mbar::new(&energies).unwrap().difference(0, 2).unwrap();
    assert!(difference.value.abs() < 1e-12 && difference.std_error < 1e-9);
}

#[test]
fn a_void_state_costs_nothing_but_itself() {
    let (energies, x) = Oscillators::ladder(4).sample(&[100, 0, 80, 90], 5);
    let whole = Mbar::new(&energies).unwrap();
    let mut rows: Vec<Vec<f64>> = (0..4).map(|k| energies.row(k).to_vec()).collect();
    rows[1][37] = f64::NAN;
    let holed = ReducedEnergies::new(4, rows.concat(), energies.state_of().to_vec()).unwrap();
    let mbar = Mbar::new(&holed).unwrap();
    assert!(mbar.free_energies_kt()[1].is_nan() && mbar.difference(0, 1).is_none());
    assert!(mbar.std_errors()[1][0].is_nan() && mbar.covariance_matrix()[5].is_nan());
    assert_eq!(mbar.free_energies_kt()[3], whole.free_energies_kt()[3]);
    let (a, b) = (mbar.difference(0, 3).unwrap(), whole.difference(0, 3).unwrap());
    assert!((a.std_error - b.std_error).abs() < 1e-12);
    let a = mbar.expectation(&mbar.weights(2), &x, "nm").unwrap();
    let b = whole.expectation(&whole.weights(2), &x, "nm").unwrap();
    assert!((a.value - b.value).abs() < 1e-12 && (a.std_error - b.std_error).abs() < 1e-12);
}

#[test]
fn an_overflow_to_minus_infinity_is_no_weight_at_all() {
    let (energies, _) = Oscillators::ladder(3).sample(&[50, 60, 70], 5);
    let with = |value: f64| {
        let mut rows: Vec<Vec<f64>> = (0..3).map(|k| energies.row(k).to_vec()).collect();
        rows[2][10] = value;
        let energies = ReducedEnergies::new(3, rows.concat(), energies.state_of().to_vec()).unwrap();
        (Mbar::new(&energies).unwrap().free_energies_kt().to_vec(), energies.n_overflows())
    };
    let ((plus, none), (minus, one)) = (with(f64::INFINITY), with(f64::NEG_INFINITY));
    assert_eq!((plus, none, one), (minus, 0, 1));
}

#[test]
fn samples_that_count_half_are_worth_half() {
    let (single, x) = Oscillators::ladder(3).sample(&[120; 3], 9);
    let repeat = |values: &[f64]| -> Vec<f64> { values.iter().flat_map(|v| [*v; 2]).collect() };
    let u: Vec<f64> = (0..3).flat_map(|k| repeat(&single.row(k))).collect();
    let state_of: Vec<usize> = single.state_of().iter().flat_map(|s| [*s; 2]).collect();
    let doubled = ReducedEnergies::new(3, u, state_of).unwrap();
    let (one, half) = (Mbar::new(&single).unwrap(), Mbar::weighted(&doubled, vec![0.5; 720]).unwrap());
    let (a, b) = (one.difference(0, 2).unwrap(), half.difference(0, 2).unwrap());
    assert!((a.value - b.value).abs() < 1e-9 && (a.std_error - b.std_error).abs() < 1e-9, "{a} {b}");
    let a = one.expectation(&one.weights(1), &x, "nm").unwrap();
    let b = half.expectation(&half.weights(1), &repeat(&x), "nm").unwrap();
    assert!((a.value - b.value).abs() < 1e-9 && (a.std_error - b.std_error).abs() < 1e-9, "{a} {b}");
    assert_eq!(half.counts(), [120.0; 3]);
    for bad in [vec![1.0; 719], vec![-1.0; 720], vec![f64::NAN; 720], vec![0.0; 720]] {
        assert!(Mbar::weighted(&doubled, bad).is_err());
    }
}

#[test]
fn a_start_on_some_of_the_samples_ends_at_the_minimum_of_all() {
    // Enough samples for both starts, states out of order, one of them with few samples.
    let mut system = Oscillators::ladder(4);
    system.center = vec![1.8, 0.0, 1.2, 0.6];
    let (energies, _) = system.sample(&[4000, 9000, 130, 2500], 2);
    let mbar = Mbar::new(&energies).unwrap();
    let certificate = mbar.certificate();
    assert!(certificate.residual < 1e-10 && certificate.iterations <= 4, "{certificate:?}");
    let settings = MbarSettings { start_kt: Some(vec![0.0; 4]), ..Default::default() };
    let direct = Mbar::with_settings(&energies, &settings).unwrap();
    for (a, b) in mbar.free_energies_kt().iter().zip(direct.free_energies_kt()) {
        assert!((a - b).abs() < 1e-8, "{a} {b}");
    }
}

#[test]
fn intervals_cover_as_they_say() {
    let system =
        Oscillators { kappa: vec![1.0, 1.5, 2.0], center: vec![0.0, 0.8, 1.6], shift: vec![0.0, 1.0, -1.0] };
    let n_repeats = 300;
    let (mut asymptotic, mut resampled) = (0, 0);
    for seed in 0..n_repeats {
        let (energies, _) = system.sample(&[60, 40, 80], 1000 + seed);
        let mbar = Mbar::new(&energies).unwrap();
        let difference = mbar.difference(0, 2).unwrap();
        let off = (difference.value - system.exact(0, 2)).abs();
        asymptotic += usize::from(off < 1.96 * difference.std_error);
        let boot = bootstrap_free_energies(&mbar, Resampling::Samples, 100, &Streams::new(seed)).unwrap();
        resampled += usize::from(off < 1.96 * boot.std_errors[2]);
    }
    // 95 % of 300 is 285 with a deviation of 3.8; small samples take a per cent off.
    for covered in [asymptotic, resampled] {
        assert!((270..=297).contains(&covered), "{asymptotic} {resampled}");
    }
}
