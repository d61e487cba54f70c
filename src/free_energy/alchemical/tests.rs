//! Harmonic chains u_λ(x) = ½ K(λ) (x − a λ)² with K = 1 + (s − 1) λ, whose free energy is ½ ln K(λ).

use super::workflow::ALL;
use super::*;
use crate::random::{Purpose, Streams, fill_normal};
use std::path::PathBuf;

/// What a chain is made of.
#[derive(Clone)]
pub(super) struct Chain {
    pub lambda: Vec<f64>,
    pub n: Vec<usize>,
    pub rho: f64,
    pub spread: f64,
    pub stiffness: f64,
    pub seed: u64,
}

impl Chain {
    pub fn new(n: usize, rho: f64, seed: u64) -> Self {
        let lambda = vec![0.0, 0.25, 0.5, 0.75, 1.0];
        Self { lambda, n: vec![n; 5], rho, spread: 1.5, stiffness: 2.0, seed }
    }

    fn force(&self, lambda: f64) -> f64 {
        1.0 + (self.stiffness - 1.0) * lambda
    }

    pub fn exact(&self) -> f64 {
        let (first, last) = (self.lambda[0], self.lambda[self.lambda.len() - 1]);
        0.5 * (self.force(last) / self.force(first)).ln()
    }

    /// What the trapezoid makes of the exact means ½ K' / K.
    fn trapezoid(&self) -> f64 {
        let mean = |l: f64| 0.5 * (self.stiffness - 1.0) / self.force(l);
        self.lambda.windows(2).map(|pair| 0.5 * (pair[1] - pair[0]) * (mean(pair[0]) + mean(pair[1]))).sum()
    }

    pub fn dataset(&self) -> Dataset {
        let (n_states, total) = (self.lambda.len(), self.n.iter().sum::<usize>());
        let mut data = Dataset {
            temperature_k: 300.0,
            components: vec!["fep-lambda".into()],
            states: self
                .lambda
                .iter()
                .map(|l| State { lambda: vec![*l], name: format!("λ = {l}") })
                .collect(),
            windows: Vec::new(),
            state_of: Vec::new(),
            time: Vec::new(),
            time_unit: "ps",
            u_kt: vec![0.0; n_states * total],
            dudl_kt: vec![0.0; total],
            has_holes: false,
            void_states: Vec::new(),
            verdicts: Vec::new(),
        };
        let mut start = 0;
        for (state, (&lambda, &n)) in self.lambda.iter().zip(&self.n).enumerate() {
            let mut x = vec![0.0; n];
            fill_normal(&mut Streams::new(self.seed).stream(Purpose::Walker, state as u64), &mut x);
            for i in 1..n {
                x[i] = self.rho * x[i - 1] + (1.0 - self.rho * self.rho).sqrt() * x[i];
            }
            for (i, z) in x.iter().enumerate() {
                let x = self.spread * lambda + z / self.force(lambda).sqrt();
                for (k, &other) in self.lambda.iter().enumerate() {
                    data.u_kt[k * total + start + i] =
                        0.5 * self.force(other) * (x - self.spread * other).powi(2);
                }
                let distance = x - self.spread * lambda;
                data.dudl_kt[start + i] = 0.5 * (self.stiffness - 1.0) * distance * distance
                    - self.force(lambda) * self.spread * distance;
                data.state_of.push(state);
                data.time.push(i as f64);
            }
            if n > 0 {
                data.windows.push(Window {
                    state,
                    samples: start..start + n,
                    parts: std::iter::once(start..start + n).collect(),
                    sources: vec![PathBuf::from(format!("{state}.xvg"))],
                });
            }
            start += n;
        }
        data
    }
}

pub(super) fn only(estimators: &[Estimator]) -> AnalysisSettings {
    AnalysisSettings { estimators: estimators.to_vec(), n_convergence: 0, ..AnalysisSettings::default() }
}

pub(super) fn total(analysis: &Analysis, estimator: Estimator) -> (f64, f64) {
    analysis.estimates.iter().find(|path| path.estimator == estimator).expect("it was possible").total()
}

pub(super) fn kinds(analysis: &Analysis, at_least: Severity) -> Vec<&str> {
    analysis.verdicts.iter().filter(|v| v.severity >= at_least).map(|v| v.kind.as_str()).collect()
}

#[test]
fn all_roads_lead_to_the_closed_form_without_alarms() {
    let chain = Chain::new(2000, 0.5, 1);
    assert_eq!(analyse(&chain.dataset(), &AnalysisSettings::default()).unwrap().estimates.len(), 5);
    let settings = AnalysisSettings { estimators: ALL.to_vec(), ..AnalysisSettings::default() };
    let analysis = analyse(&chain.dataset(), &settings).unwrap();
    assert_eq!(analysis.estimates.len(), 7);
    for path in &analysis.estimates {
        let exact = if path.estimator == Estimator::Ti { chain.trapezoid() } else { chain.exact() };
        let (value, error) = path.total();
        // The second cumulant is not all there is when springs stiffen; 0.02 kT each way.
        let gaussian = matches!(path.estimator, Estimator::GaussianForward | Estimator::GaussianReverse);
        let bias = if gaussian { 0.05 } else { 0.0 };
        assert!(
            (value - exact).abs() < 4.0 * error + bias,
            "{:?}: {value} ± {error}, {exact}",
            path.estimator
        );
        assert!(error > 0.005 && error < 0.2, "{:?}: {error}", path.estimator);
        assert_eq!((path.delta_f[0], path.std_error[0]), (0.0, 0.0));
        assert!((path.covariance[24] - error * error).abs() < 1e-9);
        assert!((path.steps.iter().sum::<f64>() - value).abs() < 1e-9);
    }
    assert_eq!(kinds(&analysis, Severity::Warning), Vec::<&str>::new(), "{:?}", analysis.verdicts);
    assert!(analysis.is_trustworthy() && analysis.groups.len() == 1);
    let last = analysis.convergence.last().unwrap();
    assert!(
        (last.forward - total(&analysis, Estimator::Mbar).0).abs() < 1e-6 && last.forward == last.backward
    );
    assert_eq!((analysis.convergence.len(), analysis.blocks.len()), (10, 5));
    for window in &analysis.windows {
        assert!((1.5..5.0).contains(&window.inefficiency) && window.mean_dudl.len() == 1, "{window:?}");
    }
}

#[test]
fn intervals_of_correlated_chains_cover() {
    use rayon::prelude::*;
    let n_seeds = 300;
    let all = [Estimator::Mbar, Estimator::Bar, Estimator::Ti];
    let covered: Vec<[bool; 3]> = (0..n_seeds)
        .into_par_iter()
        .map(|seed| {
            let chain = Chain::new(200, if seed % 2 == 0 { 0.0 } else { 0.5 }, seed);
            let analysis = analyse(&chain.dataset(), &only(&all)).unwrap();
            all.map(|estimator| {
                let exact = if estimator == Estimator::Ti { chain.trapezoid() } else { chain.exact() };
                let (value, error) = total(&analysis, estimator);
                (value - exact).abs() < 1.96 * error
            })
        })
        .collect();
    for (place, estimator) in all.iter().enumerate() {
        let share = covered.iter().filter(|one| one[place]).count() as f64 / n_seeds as f64;
        // Four standard deviations of a share of 0.95 among 300.
        assert!((share - 0.95).abs() < 0.05, "{estimator:?} {share}");
    }
}

#[test]
fn bootstrap_and_asymptotic_errors_agree_and_threads_do_not_matter() {
    let chain = Chain::new(500, 0.5, 3);
    let settings = AnalysisSettings {
        n_bootstrap: 100,
        seed: 5,
        ..only(&[Estimator::Mbar, Estimator::Bar, Estimator::Ti])
    };
    let analysis = analyse(&chain.dataset(), &settings).unwrap();
    for path in &analysis.estimates {
        let ratio = path.bootstrap_error[4] / path.std_error[4];
        // 100 resamples determine a deviation to 7 %.
        assert!((ratio - 1.0).abs() < 0.3 && path.bootstrap_error[0] == 0.0, "{:?} {ratio}", path.estimator);
    }
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(alone.install(|| analyse(&chain.dataset(), &settings).unwrap()), analysis);
}

#[test]
fn an_exponential_average_of_two_samples_has_no_error() {
    // The end is so far away that single samples carry the average.
    let chain = Chain {
        lambda: vec![0.0, 1.0],
        n: vec![500; 2],
        spread: 8.0,
        stiffness: 1.0,
        ..Chain::new(0, 0.0, 2)
    };
    let data = chain.dataset();
    for asked in [false, true] {
        let estimators = if asked { vec![Estimator::ExpForward] } else { Vec::new() };
        let analysis = analyse(&data, &only(&estimators)).unwrap();
        let (value, error) = total(&analysis, Estimator::ExpForward);
        assert!(value.is_nan() && error == f64::INFINITY, "{value} ± {error}");
        let said = analysis.verdicts.iter().find(|v| v.kind == "exp_dominated").unwrap();
        assert!(said.message.contains("too few for a value"), "{}", said.message);
        assert_eq!(said.severity, if asked { Severity::Warning } else { Severity::Note });
    }
}

#[test]
fn two_clusters_are_named_and_nothing_is_said_between_them() {
    let chain =
        Chain { lambda: vec![0.0, 0.05, 0.95, 1.0], n: vec![300; 4], spread: 28.0, ..Chain::new(0, 0.0, 1) };
    let analysis = analyse(&chain.dataset(), &AnalysisSettings::default()).unwrap();
    assert_eq!(analysis.groups, [vec![0, 1], vec![2, 3]]);
    let (value, error) = total(&analysis, Estimator::Mbar);
    assert!(value.is_nan() && error == f64::INFINITY);
    assert_eq!(total(&analysis, Estimator::Bar).1, f64::INFINITY);
    let said = kinds(&analysis, Severity::Untrustworthy);
    for kind in ["disconnected", "low_overlap", "bar_without_overlap"] {
        assert!(said.contains(&kind), "{kind} {:?}", analysis.verdicts);
    }
    assert!(!analysis.is_trustworthy());
    let first = &analysis.verdicts[0].message;
    assert!(first.contains("{λ = 0; λ = 0.05} and {λ = 0.95; λ = 1}"), "{first}");
    assert!(first.contains("between λ = 0.05 and λ = 0.95"), "{first}");
    let bounds = analysis.verdicts.iter().find(|v| v.kind == "bar_without_overlap").unwrap();
    assert!(bounds.message.contains("EXP reverse"), "{}", bounds.message);
}

#[test]
fn a_missing_window_is_asked_for_by_name() {
    let chain = Chain {
        lambda: vec![0.0, 0.3, 1.0],
        n: vec![3000; 3],
        spread: 7.0,
        stiffness: 1.0,
        ..Chain::new(0, 0.0, 2)
    };
    let analysis = analyse(&chain.dataset(), &only(&[Estimator::Mbar])).unwrap();
    let low = analysis.verdicts.iter().find(|v| v.kind == "low_overlap").unwrap();
    assert_eq!(low.severity, Severity::Warning);
    assert!(low.message.starts_with("States 2 and 3 hardly overlap (0.0"), "{}", low.message);
    assert!(low.message.contains("add a window between λ = 0.3 and λ = 1"), "{}", low.message);
    assert_eq!(kinds(&analysis, Severity::Warning), ["low_overlap"]);
}

#[test]
fn states_without_samples_are_bridged_or_said_to_be_missing() {
    // The last is not sampled, as in GROMACS runs that end early.
    let chain = Chain { n: vec![3000, 3000, 3000, 3000, 0], ..Chain::new(0, 0.0, 4) };
    let analysis = analyse(&chain.dataset(), &AnalysisSettings::default()).unwrap();
    for estimator in [Estimator::Mbar, Estimator::Bar] {
        let (value, error) = total(&analysis, estimator);
        assert!(
            (value - chain.exact()).abs() < 4.0 * error && error < 0.1,
            "{estimator:?}: {value} ± {error}"
        );
    }
    assert!(total(&analysis, Estimator::Ti).0.is_nan());
    let bar = analysis.estimates.iter().find(|path| path.estimator == Estimator::Bar).unwrap();
    assert!(bar.error_method.contains("exponential averages where"), "{}", bar.error_method);
    assert!(
        analysis.verdicts.iter().any(|v| v.kind == "unsampled_state" && v.message.contains("λ = 1 has no"))
    );

    // One in the middle: Bennett's ratio and integration pass over it.
    let chain = Chain { n: vec![3000, 3000, 0, 3000, 3000], ..chain };
    let analysis = analyse(&chain.dataset(), &AnalysisSettings::default()).unwrap();
    let middle = Chain { lambda: vec![0.0, 0.25, 0.75, 1.0], ..chain.clone() };
    for (estimator, exact) in [
        (Estimator::Mbar, chain.exact()),
        (Estimator::Bar, chain.exact()),
        (Estimator::Ti, middle.trapezoid()),
    ] {
        let (value, error) = total(&analysis, estimator);
        assert!((value - exact).abs() < 4.0 * error, "{estimator:?}: {value} ± {error}, {exact}");
    }
    let path = |estimator| analysis.estimates.iter().find(|path| path.estimator == estimator).unwrap();
    assert!(path(Estimator::Bar).delta_f[2].is_nan() && path(Estimator::Ti).delta_f[2].is_nan());
    assert!(path(Estimator::Mbar).std_error[2] < 0.1);

    // A state whose energies are no numbers has no result, and spoils no other.
    let mut data = chain.dataset();
    let n = data.n_samples();
    data.u_kt[2 * n + 7] = f64::NAN;
    data.void_states = vec![2];
    let analysis = analyse(&data, &AnalysisSettings::default()).unwrap();
    let mbar = &analysis.estimates[0];
    assert!(mbar.delta_f[2].is_nan() && (mbar.delta_f[4] - chain.exact()).abs() < 4.0 * mbar.std_error[4]);
}

#[test]
fn small_and_strange_data_have_closed_answers() {
    // One sample each.
    let chain = Chain { n: vec![1; 5], ..Chain::new(1, 0.0, 1) };
    let analysis =
        analyse(&chain.dataset(), &AnalysisSettings { n_bootstrap: 5, ..AnalysisSettings::default() });
    let analysis = analysis.unwrap();
    assert!(
        total(&analysis, Estimator::Bar).0.is_finite() && total(&analysis, Estimator::Ti).1.is_infinite()
    );
    assert!(kinds(&analysis, Severity::Untrustworthy).contains(&"one_sample"));

    // Constant differences: all works equal.
    let mut data = Chain { lambda: vec![0.0, 1.0], n: vec![40, 60], ..Chain::new(0, 0.0, 1) }.dataset();
    for n in 0..100 {
        data.u_kt[100 + n] = data.u_kt[n] + 2.5;
    }
    let analysis = analyse(&data, &only(&[Estimator::Mbar, Estimator::Bar])).unwrap();
    for estimator in [Estimator::Mbar, Estimator::Bar] {
        let (value, error) = total(&analysis, estimator);
        assert!((value - 2.5).abs() < 1e-9 && error < 1e-5, "{estimator:?}: {value} ± {error}");
    }

    // Offsets of 1e9 kT, uneven counts and a state given twice do no harm.
    let chain = Chain { lambda: vec![0.0, 0.5, 0.5, 1.0], n: vec![20_000, 1, 1, 1], ..Chain::new(0, 0.0, 9) };
    let plain = analyse(&chain.dataset(), &only(&[Estimator::Mbar])).unwrap();
    let mut data = chain.dataset();
    let n = data.n_samples();
    data.u_kt.iter_mut().enumerate().for_each(|(place, u)| *u += [1e9, 0.0, 0.0, -1e9][place / n]);
    let shifted = analyse(&data, &only(&[Estimator::Mbar])).unwrap();
    let ((a, error), (b, _)) = (total(&plain, Estimator::Mbar), total(&shifted, Estimator::Mbar));
    assert!((b - a + 2e9).abs() < 0.01 * error && (a - chain.exact()).abs() < 4.0 * error, "{a} {b} {error}");
    let steps = &plain.estimates[0].steps;
    assert!(steps[1].abs() < 1e-9, "{steps:?}");

    // An impossible foreign energy is a sample of no weight.
    let mut data = Chain::new(200, 0.0, 1).dataset();
    data.u_kt[4 * 1000] = f64::INFINITY;
    let analysis = analyse(&data, &AnalysisSettings::default()).unwrap();
    assert!(total(&analysis, Estimator::Mbar).1 < 0.3 && total(&analysis, Estimator::Bar).1 < 0.3);
}

#[test]
fn energies_of_neighbours_suffice_for_all_but_mbar() {
    let chain = Chain::new(1000, 0.0, 6);
    let mut data = chain.dataset();
    let n = data.n_samples();
    for sample in 0..n {
        for state in 0..5_usize {
            if state.abs_diff(data.state_of[sample]) > 1 {
                data.u_kt[state * n + sample] = f64::NAN;
            }
        }
    }
    data.has_holes = true;
    let analysis = analyse(&data, &AnalysisSettings::default()).unwrap();
    assert!(analysis.estimates.iter().all(|path| path.estimator != Estimator::Mbar));
    assert_eq!(analysis.convergence_estimator, Some(Estimator::Bar));
    let complete = analyse(&chain.dataset(), &AnalysisSettings::default()).unwrap();
    assert_eq!(total(&analysis, Estimator::Bar), total(&complete, Estimator::Bar));
    let error = analyse(&data, &only(&[Estimator::Mbar])).unwrap_err().to_string();
    assert!(
        error.contains("MBAR") && error.contains("use BAR") && error.contains("files without them"),
        "{error}"
    );
    data.dudl_kt.clear();
    assert!(analyse(&data, &only(&[Estimator::Ti])).unwrap_err().to_string().contains("derivatives"));
}

#[test]
fn samples_without_energies_cost_no_samples_of_derivatives() {
    let chain = Chain::new(2000, 0.8, 7);
    let mut data = chain.dataset();
    let n = data.n_samples();
    for sample in (0..n).filter(|sample| sample % 20 != 0) {
        (0..5).for_each(|state| data.u_kt[state * n + sample] = f64::NAN);
    }
    let settings =
        AnalysisSettings { estimators: vec![Estimator::Mbar, Estimator::Ti], ..AnalysisSettings::default() };
    let (sparse, full) = (analyse(&data, &settings).unwrap(), analyse(&chain.dataset(), &settings).unwrap());
    let ratio = total(&sparse, Estimator::Ti).1 / total(&full, Estimator::Ti).1;
    assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
    // One in 20 of samples with a correlation time of 4.5 is nearly independent, but 100 of them hardly show it.
    let mbar = &sparse.estimates[0];
    assert!(mbar.n_samples.iter().all(|n| (30..=100).contains(n)), "{:?}", mbar.n_samples);
    assert!(
        (total(&sparse, Estimator::Mbar).0 - chain.exact()).abs() < 4.0 * total(&sparse, Estimator::Mbar).1
    );
    let other = AnalysisSettings { decorrelation: Decorrelation::Alchemlyb, ..settings };
    let thinned = analyse(&data, &other).unwrap();
    assert!(thinned.estimates.iter().all(|path| path.total().1 < 0.5), "{thinned:?}");
}

#[test]
fn runs_that_are_too_short_are_said_to_be() {
    // The energies of the next state drift by 3 deviations.
    let chain = Chain { stiffness: 1.0, ..Chain::new(1000, 0.0, 8) };
    let mut data = chain.dataset();
    let n = data.n_samples();
    for sample in 0..n {
        let rise = 3.0 * data.time[sample] / 1000.0 - 1.5;
        for (state, lambda) in chain.lambda.iter().enumerate() {
            // u_λ(x + rise) with K = 1, up to what all states have in common.
            data.u_kt[state * n + sample] -= rise * chain.spread * lambda;
        }
        data.dudl_kt[sample] -= rise * chain.spread;
    }
    let analysis = analyse(&data, &AnalysisSettings::default()).unwrap();
    let said = kinds(&analysis, Severity::Warning);
    assert!(said.contains(&"drift") || said.contains(&"not_equilibrated"), "{:?}", analysis.verdicts);

    let correlated = Chain::new(1000, 0.9, 9).dataset();
    let plain = AnalysisSettings { decorrelation: Decorrelation::None, ..only(&[Estimator::Mbar]) };
    assert_eq!(kinds(&analyse(&correlated, &plain).unwrap(), Severity::Warning), ["correlated"]);
    let few = Chain::new(30, 0.0, 9).dataset();
    assert_eq!(kinds(&analyse(&few, &only(&[Estimator::Mbar])).unwrap(), Severity::Warning), ["few_samples"]);
}

#[test]
fn other_definitions_of_errors_are_smaller_only_where_they_leave_something_out() {
    let chain = Chain::new(500, 0.0, 11);
    let with = |decorrelation| {
        let settings =
            AnalysisSettings { decorrelation, ..only(&[Estimator::Mbar, Estimator::Bar, Estimator::Ti]) };
        analyse(&chain.dataset(), &settings).unwrap()
    };
    let (plain, weighted) = (with(Decorrelation::None), with(Decorrelation::Weights));
    let bar = |analysis: &Analysis| total(analysis, Estimator::Bar).1;
    // Neighbouring steps share samples, and their errors add up rather than in quadrature.
    assert!(bar(&plain) < 0.9 * bar(&weighted));
    let path = &plain.estimates[1];
    let squares: f64 = path.step_errors.iter().map(|error| error * error).sum();
    assert!((squares.sqrt() - bar(&plain)).abs() < 1e-12 && path.error_method.contains("whole path is"));
    assert_eq!(plain.estimates[0].n_samples, [500; 5]);
}

#[test]
fn an_unknown_value_has_an_infinite_error_whatever_is_missing() {
    use rand::Rng as _;
    for seed in 0..200 {
        let mut rng = Streams::new(seed).stream(Purpose::Split, 0);
        let n = (0..5).map(|_| [0, 1, 2, 5, 30][rng.random_range(0..5)]).collect();
        let chain = Chain { n, spread: [0.0, 1.0, 30.0][rng.random_range(0..3)], ..Chain::new(0, 0.0, seed) };
        let data = chain.dataset();
        let decorrelation =
            [Decorrelation::Weights, Decorrelation::Alchemlyb, Decorrelation::None][rng.random_range(0..3)];
        let settings =
            AnalysisSettings { decorrelation, n_bootstrap: 2, n_convergence: 2, ..Default::default() };
        let Ok(analysis) = analyse(&data, &settings) else {
            assert!(data.n_samples() == 0, "{:?}", chain.n);
            continue;
        };
        for path in &analysis.estimates {
            for (value, error) in path.delta_f.iter().zip(&path.std_error) {
                let known = value.is_finite() && error.is_finite() && *error >= 0.0;
                assert!(
                    known || value.is_nan() && *error == f64::INFINITY,
                    "{:?} {:?}: {value} ± {error}",
                    chain.n,
                    path.estimator
                );
            }
            assert_eq!((path.delta_f.len(), path.steps.len(), path.n_samples.len()), (5, 4, 5));
        }
    }
}
