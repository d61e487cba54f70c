//! Umbrella windows on free energies that are known.

use super::{Mixture, Restraint, Window, examine};
use crate::free_energy::pmf::{Axis, Binned, Density, Method, Pmf, Reference};
use crate::free_energy::wham::{Grid, wham};
use crate::free_energy::{ReducedEnergies, Strata};
use crate::random::{Purpose, Rng, Streams};
use rand::Rng as _;

/// Draws from exp(−u) on a fine table between two ends.
struct Table {
    low: f64,
    step: f64,
    cumulative: Vec<f64>,
}

impl Table {
    fn new(low: f64, high: f64, u: impl Fn(f64) -> f64) -> Self {
        let n = 20_000;
        let step = (high - low) / n as f64;
        let mut sum = 0.0;
        let cumulative = (0..n)
            .map(|i| {
                sum += (-u(low + (i as f64 + 0.5) * step)).exp();
                sum
            })
            .collect();
        Self { low, step, cumulative }
    }

    fn draw(&self, rng: &mut Rng) -> f64 {
        let point = rng.random::<f64>() * self.cumulative[self.cumulative.len() - 1];
        let cell = self.cumulative.partition_point(|sum| *sum < point);
        self.low + (cell as f64 + rng.random::<f64>()) * self.step
    }
}

/// 5 (x² − 1)²: a barrier of 5 kT between wells at ±1.
fn double_well(x: f64) -> f64 {
    5.0 * (x * x - 1.0).powi(2)
}

fn windows(centers: &[f64], k: f64, n_samples: usize) -> Vec<Window> {
    centers
        .iter()
        .map(|center| Window {
            name: format!("window at {center}"),
            restraint: Restraint { center: vec![*center], force_constant_kt: vec![k] },
            n_samples,
            inefficiency: 1.0,
        })
        .collect()
}

fn samples(
    windows: &[Window],
    period: Option<f64>,
    u: fn(f64) -> f64,
    range: (f64, f64),
    seed: u64,
) -> Vec<f64> {
    let mut rng = Streams::new(seed).stream(Purpose::Walker, 0);
    let mut x = Vec::new();
    for window in windows {
        let table = Table::new(range.0, range.1, |s| u(s) + window.restraint.energy_kt(&[s], &[period]));
        x.extend((0..window.n_samples).map(|_| table.draw(&mut rng)));
    }
    x
}

fn profile(mixture: &Mixture, axes: &[Axis], x: &[f64], lengths: &[usize], reference: &Reference) -> Pmf {
    let mbar = mixture.solve().unwrap();
    let density = Density::histogram(Binned::new(axes, x).unwrap());
    let strata = Strata::new(lengths, &vec![1.0; lengths.len()]).unwrap();
    let weigh = |count: Option<&[f64]>| mixture.weights(&mbar, count);
    Pmf::estimate(&density, &weigh, reference, &strata, 50, &Streams::new(3)).unwrap()
}

/// −ln of the mean of exp(−u) over a bin.
fn mean_over(u: fn(f64) -> f64, low: f64, high: f64) -> f64 {
    let n = 200;
    let at = |i: usize| low + (high - low) * (i as f64 + 0.5) / n as f64;
    -((0..n).map(|i| (-u(at(i))).exp()).sum::<f64>() / n as f64).ln()
}

fn check(pmf: &Pmf, u: fn(f64) -> f64, zero: usize) {
    let edges = pmf.axes[0].edges();
    let exact: Vec<f64> = edges.windows(2).map(|pair| mean_over(u, pair[0], pair[1])).collect();
    let mut chi_squared = 0.0;
    let mut n = 0.0;
    for bin in (0..exact.len()).filter(|bin| *bin != zero && pmf.std_errors_kt[*bin].is_finite()) {
        let sigma = (pmf.values_kt[bin] - (exact[bin] - exact[zero])) / pmf.std_errors_kt[bin];
        assert!(sigma.abs() < 5.0, "bin {bin}: {sigma}");
        chi_squared += sigma * sigma;
        n += 1.0;
    }
    assert!(n >= 20.0 && chi_squared < 2.2 * n, "{chi_squared} of {n}");
}

#[test]
fn mbar_and_wham_find_a_double_well() {
    let windows = windows(&[-1.5, -1.2, -0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9, 1.2, 1.5], 40.0, 500);
    let x = samples(&windows, None, double_well, (-3.0, 3.0), 1);
    let lengths = [500; 11];
    let axis = Axis::new(-1.6, 1.6, 40, false).unwrap();
    let reference = Reference::Point(vec![0.01]);
    let mbar = Mixture::of_windows(&windows, &x, &[None]).unwrap();
    let by_mbar = profile(&mbar, std::slice::from_ref(&axis), &x, &lengths, &reference);
    check(&by_mbar, double_well, 20);
    let error = |width: f64| {
        let grid = Grid { origin: -1.6, width };
        let wham = wham(&windows, &x, &[None], &[grid]).unwrap();
        let by_wham = profile(&wham, std::slice::from_ref(&axis), &x, &lengths, &reference);
        let pairs = by_mbar.values_kt.iter().zip(&by_wham.values_kt).zip(&by_mbar.std_errors_kt);
        pairs
            .filter(|(_, error)| **error > 0.0)
            .map(|((a, b), error)| (a - b).abs() / error)
            .fold(0.0, f64::max)
    };
    let fine = Grid::fine(-1.6, 0.08, &windows, 0);
    assert!(fine.width < 0.04 && error(fine.width) < 0.4, "{} {}", fine.width, error(fine.width));
    assert!(error(0.001) < 0.01, "{}", error(0.001));
    let (reports, verdicts) = examine(&mbar, &windows, &x, &[None], &mbar.solve().unwrap());
    assert!(verdicts.is_empty(), "{verdicts:?}");
    assert_eq!(reports[10].next, None);
    assert!(
        reports
            .iter()
            .take(10)
            .enumerate()
            .all(|(k, report)| report.next.is_some_and(|(j, o)| j == k + 1 && o > 0.1))
    );
}

#[test]
fn windows_around_a_circle() {
    fn u(x: f64) -> f64 {
        2.0 * (x - 2.0).cos()
    }
    let turn = std::f64::consts::TAU;
    let centers: Vec<f64> = (0..12).map(|i| -3.1 + turn * f64::from(i) / 12.0).collect();
    let windows = windows(&centers, 10.0, 400);
    let pi = std::f64::consts::PI;
    let mut x = samples(&windows, Some(turn), u, (-pi, pi), 2);
    // Programs differ in where they cut the circle.
    x.iter_mut().step_by(3).for_each(|x| *x += turn);
    let (axis, reference) = (Axis::angle(30), Reference::Bin(3));
    let mixture = Mixture::of_windows(&windows, &x, &[Some(turn)]).unwrap();
    check(&profile(&mixture, std::slice::from_ref(&axis), &x, &[400; 12], &reference), u, 3);
    let grid = Grid::fine(-pi, turn / 30.0, &windows, 0);
    let mixture = wham(&windows, &x, &[Some(turn)], &[grid]).unwrap();
    check(&profile(&mixture, &[axis], &x, &[400; 12], &reference), u, 3);
}

#[test]
fn windows_that_do_not_meet_and_wrong_units_are_named() {
    let far = windows(&[-3.0, -2.7, 2.7, 3.0], 100.0, 100);
    let x = samples(&far, None, |_| 0.0, (-5.0, 5.0), 3);
    let mixture = Mixture::of_windows(&far, &x, &[None]).unwrap();
    let (_, verdicts) = examine(&mixture, &far, &x, &[None], &mixture.solve().unwrap());
    let found = verdicts.iter().find(|verdict| verdict.kind == "disconnected").unwrap();
    assert!(found.message.contains("{window at -3, window at -2.7}"), "{}", found.message);
    assert!(verdicts.iter().any(|v| v.kind == "low_overlap" && v.message.contains("add a window at 0.0000")));
    let wrong: Vec<Window> = far
        .iter()
        .map(|window| {
            let mut window = window.clone();
            window.restraint.force_constant_kt[0] *= 4.184;
            window
        })
        .collect();
    let mixture = Mixture::of_windows(&wrong, &x, &[None]).unwrap();
    let (_, verdicts) = examine(&mixture, &wrong, &x, &[None], &mixture.solve().unwrap());
    assert!(verdicts.iter().any(|verdict| verdict.kind == "force_constant_unit"), "{verdicts:?}");
}

#[test]
fn samples_of_lambda_states_give_the_profile_of_any_of_them() {
    // Wells ½ x² and ½ (x − 1)²: the first one's parabola from samples of both, and that of ½ (x − ½)² as well.
    let flat = windows(&[0.0, 1.0], 1.0, 4000);
    let x = samples(&flat, None, |_| 0.0, (-6.0, 7.0), 4);
    let u = |center: f64| x.iter().map(move |x| 0.5 * (x - center).powi(2));
    let u_kn: Vec<f64> = u(0.0).chain(u(1.0)).chain(u(0.5)).collect();
    let energies = ReducedEnergies::new(3, u_kn, (0..8000).map(|n| n / 4000).collect()).unwrap();
    let axis = Axis::new(-2.0, 2.0, 21, false).unwrap();
    for (target, u) in [(0, (|x| 0.5 * x * x) as fn(f64) -> f64), (2, |x| 0.5 * (x - 0.5) * (x - 0.5))] {
        let mixture = Mixture::of_states(energies.clone(), target, &[1.0; 8000]).unwrap();
        check(&profile(&mixture, std::slice::from_ref(&axis), &x, &[4000, 4000], &Reference::Bin(10)), u, 10);
    }
    assert!(Mixture::of_states(energies, 3, &[1.0; 8000]).is_err());
}

#[test]
fn a_biased_simulation_is_weighed_with_the_right_sign() {
    // Uniform samples are those of F = −V with V = F subtracted: their bias V = −F must be added back as exp(+V).
    let x = samples(&windows(&[0.0], 0.0, 20_000), None, |_| 0.0, (-1.5, 1.5), 6);
    let axis = Axis::new(-1.5, 1.5, 30, false).unwrap();
    let weights: Vec<f64> = x.iter().map(|x| (-double_well(*x)).exp()).collect();
    let density = Density::new(&Method::Histogram, &[axis], &x, &weights, &vec![1.0; x.len()]).unwrap();
    let strata = Strata::new(&[x.len()], &[1.0]).unwrap();
    let weigh = |count: Option<&[f64]>| {
        Some(weights.iter().enumerate().map(|(n, w)| w * count.map_or(1.0, |count| count[n])).collect())
    };
    let pmf = Pmf::estimate(&density, &weigh, &Reference::Bin(15), &strata, 100, &Streams::new(0)).unwrap();
    check(&pmf, double_well, 15);
}

#[test]
fn restraints_that_are_not_those_of_the_simulations_contradict_the_samples() {
    let right = windows(&[-1.5, -1.2, -0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9, 1.2, 1.5], 40.0, 500);
    let x = samples(&right, None, double_well, (-3.0, 3.0), 7);
    let kinds = |windows: &[Window], by_bins: bool| -> Vec<String> {
        let grid = Grid::fine(-1.6, 0.08, windows, 0);
        let mixture = if by_bins {
            wham(windows, &x, &[None], &[grid]).unwrap()
        } else {
            Mixture::of_windows(windows, &x, &[None]).unwrap()
        };
        let (_, verdicts) = examine(&mixture, windows, &x, &[None], &mixture.solve().unwrap());
        verdicts.into_iter().map(|verdict| verdict.kind).collect()
    };
    for factor in [4.184, 2.0, 0.5, 1.0 / 4.184] {
        let mut wrong = right.clone();
        wrong.iter_mut().for_each(|window| window.restraint.force_constant_kt[0] *= factor);
        assert!(kinds(&wrong, false).contains(&"inconsistent_windows".into()), "{factor}");
        assert!(kinds(&wrong, true).contains(&"inconsistent_windows".into()), "{factor}");
    }
    assert!(kinds(&right, false).is_empty() && kinds(&right, true).is_empty());
}
