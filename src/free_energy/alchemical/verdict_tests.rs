//! What must be said is said, and nothing else.

use super::tests::{Chain, kinds, only, total};
use super::*;

/// As files hold energies that list differences: relative to the own state of each sample.
fn relative(mut data: Dataset) -> Dataset {
    let n = data.n_samples();
    for sample in 0..n {
        let own = data.u_kt[data.state_of[sample] * n + sample];
        (0..data.states.len()).for_each(|state| data.u_kt[state * n + sample] -= own);
    }
    data
}

#[test]
fn enthalpies_need_energies_with_a_common_origin() {
    let chain = Chain { n: vec![4000, 400, 400, 400, 400], ..Chain::new(0, 0.0, 12) };
    let mbar = only(&[Estimator::Mbar]);
    // Every state of one degree of freedom has the mean energy of half a kT.
    let absolute = analyse(&chain.dataset(), &mbar).unwrap();
    let (value, error) = (absolute.estimates[0].delta_h[4], absolute.estimates[0].delta_h_error[4]);
    assert!(value.abs() < 4.0 * error && error < 0.1, "{value} ± {error}");
    let data = relative(chain.dataset());
    let analysis = analyse(&data, &mbar).unwrap();
    assert!(analysis.estimates[0].delta_h.is_empty() && analysis.estimates[0].delta_ts_error.is_empty());
    assert!((analysis.estimates[0].delta_f[4] - absolute.estimates[0].delta_f[4]).abs() < 1e-6);
    assert!(kinds(&analysis, Severity::Note).is_empty(), "{:?}", analysis.verdicts);
    // Where numbers are to be compared with those of other programs they are given, with a note.
    let plain = AnalysisSettings { decorrelation: Decorrelation::None, ..mbar };
    let analysis = analyse(&data, &plain).unwrap();
    assert!((analysis.estimates[0].delta_h[4] - value).abs() > 4.0 * error, "{:?}", analysis.estimates[0]);
    assert_eq!(kinds(&analysis, Severity::Note), ["relative_energies"]);
    assert!(kinds(&analyse(&chain.dataset(), &plain).unwrap(), Severity::Note).is_empty());
    // pV fluctuates a little.
    let mut data = data;
    let n = data.n_samples();
    (0..5 * n).for_each(|place| data.u_kt[place] += 4.0 + 0.01 * (place % n % 7) as f64);
    assert!(analyse(&data, &only(&[Estimator::Mbar])).unwrap().estimates[0].delta_h.is_empty());
}

fn severity(analysis: &Analysis, kind: &str) -> Option<Severity> {
    analysis.verdicts.iter().find(|verdict| verdict.kind == kind).map(|verdict| verdict.severity)
}

fn message<'a>(analysis: &'a Analysis, kind: &str) -> &'a str {
    let found = analysis.verdicts.iter().find(|verdict| verdict.kind == kind);
    &found.unwrap_or_else(|| panic!("no {kind}: {:?}", analysis.verdicts)).message
}

#[test]
fn what_is_undetermined_is_said_with_its_reason() {
    let chain = Chain { n: vec![500, 500, 500, 500, 0], ..Chain::new(0, 0.0, 4) };
    let analysis = analyse(&chain.dataset(), &only(&[Estimator::Ti])).unwrap();
    assert_eq!(severity(&analysis, "undetermined"), Some(Severity::Untrustworthy));
    let said = message(&analysis, "undetermined");
    assert!(said.starts_with("TI does not") && said.contains("no samples of ∂u/∂λ in λ = 1,"), "{said}");
    // Others reach the end, and nobody asked for TI.
    let analysis = analyse(&chain.dataset(), &only(&[])).unwrap();
    assert_eq!(severity(&analysis, "undetermined"), Some(Severity::Warning));
    assert!(analysis.is_trustworthy(), "{:?}", analysis.verdicts);
    let complete = analyse(&Chain::new(500, 0.0, 4).dataset(), &only(&[])).unwrap();
    assert_eq!(severity(&complete, "undetermined"), None);

    // Two sets of λ between which nothing was computed.
    let chain = Chain::new(500, 0.0, 4);
    let mut data = chain.dataset();
    let n = data.n_samples();
    for sample in 0..n {
        for state in 0..5 {
            if (state < 2) != (data.state_of[sample] < 2) {
                data.u_kt[state * n + sample] = f64::NAN;
            }
        }
    }
    data.has_holes = true;
    data.dudl_kt.clear();
    let analysis = analyse(&data, &only(&[])).unwrap();
    assert_eq!(severity(&analysis, "undetermined"), Some(Severity::Untrustworthy));
    let said = message(&analysis, "undetermined");
    let expected = "BAR does not determine the free energy: there are no energies between λ = 0.25 and λ = 0.5 in `1.xvg`, \
                    `2.xvg`.";
    assert_eq!(said, expected);
}

#[test]
fn energies_in_one_direction_only_are_said_to_be() {
    let chain = Chain::new(2000, 0.0, 4);
    let mut data = chain.dataset();
    let n = data.n_samples();
    // The energies of λ = 0.25 were not computed for the samples of λ = 0.5.
    for sample in (0..n).filter(|&sample| data.state_of[sample] == 2) {
        data.u_kt[n + sample] = f64::NAN;
    }
    data.has_holes = true;
    let analysis = analyse(&data, &only(&[])).unwrap();
    assert_eq!(severity(&analysis, "one_sided"), Some(Severity::Warning));
    let said = message(&analysis, "one_sided");
    assert!(said.starts_with("Energies were not computed of samples of λ = 0.5 in λ = 0.25 ("), "{said}");
    let (value, error) = total(&analysis, Estimator::Bar);
    assert!((value - chain.exact()).abs() < 4.0 * error, "{value} ± {error}");
    assert_eq!(severity(&analyse(&chain.dataset(), &only(&[])).unwrap(), "one_sided"), None);
    // As with a state without samples.
    let chain = Chain { n: vec![2000, 2000, 2000, 2000, 0], ..chain };
    let analysis = analyse(&chain.dataset(), &only(&[Estimator::Bar])).unwrap();
    assert_eq!(severity(&analysis, "unsampled_state"), Some(Severity::Warning));
}

#[test]
fn derivatives_alone_raise_no_alarm() {
    let mut data = Chain::new(2000, 0.0, 4).dataset();
    data.u_kt.clear();
    let analysis = analyse(&data, &AnalysisSettings::default()).unwrap();
    assert_eq!(analysis.estimates.len(), 1);
    let warnings: Vec<_> = analysis.verdicts.iter().filter(|v| v.severity > Severity::Note).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn one_wild_value_is_not_silent() {
    let chain = Chain::new(500, 0.0, 13);
    let clean = chain.dataset();
    let n = clean.n_samples();
    // A derivative in the middle of the window of λ = 0.5.
    let mut data = clean.clone();
    data.dudl_kt[1250] = 1e5;
    let analysis = analyse(&data, &only(&[])).unwrap();
    assert_eq!(severity(&analysis, "outliers"), Some(Severity::Warning));
    let said = message(&analysis, "outliers");
    assert!(said.contains("`2.xvg`, λ = 0.5: ∂u/∂λ has one value at 250 ps, +1.0"), "{said}");
    assert_eq!(severity(&analysis, "noisy_estimator"), Some(Severity::Warning));
    let said = message(&analysis, "noisy_estimator");
    assert!(said.starts_with("The error of TI is") && said.contains("times that of MBAR"), "{said}");
    // An energy of a neighbour that is far too low draws the exponential averages, one too high has no weight.
    for (change, expected) in [(-1e4, Severity::Warning), (1e4, Severity::Note)] {
        let mut data = clean.clone();
        data.u_kt[n + 1250] += change;
        let analysis = analyse(&data, &only(&[Estimator::Bar])).unwrap();
        assert_eq!(severity(&analysis, "outliers"), Some(expected), "{:?}", analysis.verdicts);
    }
    // Far from its own state, only one that is far too low matters, to MBAR.
    for (change, expected) in [(-1e4, Some(Severity::Warning)), (1e4, None)] {
        let mut data = clean.clone();
        data.u_kt[4 * n + 1250] += change;
        assert_eq!(severity(&analyse(&data, &only(&[])).unwrap(), "outliers"), expected);
    }
    let analysis = analyse(&clean, &only(&[])).unwrap();
    assert!(severity(&analysis, "outliers").is_none() && severity(&analysis, "noisy_estimator").is_none());
    // Two windows say it twice in one verdict.
    let mut data = clean;
    (data.dudl_kt[250], data.dudl_kt[1250], data.dudl_kt[1251]) = (900.0, 1e5, 1e5);
    let analysis = analyse(&data, &only(&[Estimator::Ti])).unwrap();
    let said = message(&analysis, "outliers");
    assert!(said.contains("`0.xvg`") && said.contains("2 values, the first at 250 ps"), "{said}");
}

#[test]
fn infinite_energies_are_counted() {
    let mut data = Chain::new(200, 0.0, 1).dataset();
    assert_eq!(severity(&analyse(&data, &only(&[])).unwrap(), "infinite_energies"), None);
    data.u_kt[4 * 1000] = f64::INFINITY;
    assert!(message(&analyse(&data, &only(&[])).unwrap(), "infinite_energies").starts_with("One energy is"));
    data.u_kt[4 * 1000 + 1] = f64::INFINITY;
    let analysis = analyse(&data, &only(&[])).unwrap();
    assert!(message(&analysis, "infinite_energies").starts_with("2 energies are infinite"));
    // −∞ for a neighbour is the same, and named.
    let mut negative = data.clone();
    (data.u_kt[1000], negative.u_kt[1000]) = (f64::INFINITY, f64::NEG_INFINITY);
    let (positive, negative) = (analyse(&data, &only(&[])).unwrap(), analyse(&negative, &only(&[])).unwrap());
    assert_eq!(total(&positive, Estimator::Bar), total(&negative, Estimator::Bar));
    assert!(message(&negative, "infinite_energies").contains("−∞ (1 of them)"));
    assert!(analysis.is_trustworthy());
}

#[test]
fn contradictions_are_not_trusted() {
    let chain = Chain::new(3000, 0.0, 14);
    let shifted = |by: f64| {
        let mut data = chain.dataset();
        data.dudl_kt.iter_mut().for_each(|slope| *slope += by);
        analyse(&data, &only(&[])).unwrap()
    };
    assert_eq!(severity(&shifted(0.0), "estimators_disagree"), None);
    assert_eq!(severity(&shifted(0.4), "estimators_disagree"), Some(Severity::Warning));
    let analysis = shifted(1.0);
    assert_eq!(severity(&analysis, "estimators_disagree"), Some(Severity::Untrustworthy));
    assert!(!analysis.is_trustworthy());
    // Too few nodes for a curved integrand are a contradiction that is understood.
    let chain = Chain { spread: 0.0, stiffness: 60.0, ..chain };
    let analysis = analyse(&chain.dataset(), &only(&[])).unwrap();
    let ((ti, _), (mbar, _)) = (total(&analysis, Estimator::Ti), total(&analysis, Estimator::Mbar));
    assert!(ti - mbar > 1.0, "{ti} {mbar}");
    assert_eq!(severity(&analysis, "estimators_disagree"), Some(Severity::Warning));
    assert_eq!(severity(&analysis, "strong_curvature"), Some(Severity::Warning));
}

#[test]
fn few_samples_are_not_called_distance() {
    let single = Chain { n: vec![1; 5], spread: 0.1, ..Chain::new(1, 0.0, 1) };
    let analysis = analyse(&single.dataset(), &only(&[])).unwrap();
    assert_eq!(severity(&analysis, "low_overlap"), None, "{:?}", analysis.verdicts);
    let said = message(&analysis, "few_shared_samples");
    assert!(said.starts_with("1.0 independent samples of λ = 0 and 1.0 of λ = 0.25"), "{said}");
    // A window that never changes has one independent sample, and TI no error there, unless nothing can change.
    let mut data = Chain::new(400, 0.0, 15).dataset();
    let n = data.n_samples();
    for sample in 801..1200 {
        (0..5).for_each(|state| data.u_kt[state * n + sample] = data.u_kt[state * n + 800]);
        data.dudl_kt[sample] = data.dudl_kt[800];
    }
    let analysis = analyse(&data, &only(&[])).unwrap();
    assert_eq!(severity(&analysis, "low_overlap"), None, "{:?}", analysis.verdicts);
    assert_eq!(severity(&analysis, "few_samples"), Some(Severity::Untrustworthy));
    assert!(message(&analysis, "few_samples").contains("λ = 0.5 (1.0 of 400)"));
    let mut data = Chain::new(400, 0.0, 15).dataset();
    data.dudl_kt[..400].fill(0.0);
    let (value, error) = total(&analyse(&data, &only(&[Estimator::Ti])).unwrap(), Estimator::Ti);
    assert!(value.is_finite() && error.is_finite(), "{value} ± {error}");
}
