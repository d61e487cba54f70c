//! Files that belong together, and files that do not.

use super::*;
use crate::free_energy::reader::{Format, Origin};

/// Samples of one state of a path 0, 0.5, 1 with u_k = sample number × λ_k.
fn series(name: &str, state: usize, time: &[f64]) -> Series {
    let lambdas = [0.0, 0.5, 1.0];
    Series {
        sources: vec![name.into()],
        format: Format::Gromacs,
        temperature_k: 300.0,
        components: vec!["fep-lambda".into()],
        states: lambdas.iter().map(|lambda| vec![*lambda]).collect(),
        time: time.to_vec(),
        time_unit: "ps",
        state_of: vec![state; time.len()],
        u_kt: (0..time.len()).flat_map(|n| lambdas.map(|lambda| time[n] + n as f64 * lambda)).collect(),
        computed: None,
        dudl_kt: (0..time.len()).map(|n| n as f64).collect(),
        origin: (0..time.len()).map(|n| Origin { source: 0, line: n as u32 + 10 }).collect(),
        warnings: Vec::new(),
    }
}

fn kinds(data: &Dataset) -> Vec<&str> {
    data.verdicts.iter().map(|verdict| verdict.kind.as_str()).collect()
}

#[test]
fn samples_are_sorted_by_state_and_keep_their_energies() {
    let data = Dataset::assemble(vec![
        series("b", 2, &[0.0, 1.0]),
        series("a", 0, &[0.0, 1.0, 2.0]),
        series("c", 1, &[5.0]),
    ])
    .unwrap();
    assert_eq!(data.state_of, [0, 0, 0, 1, 2, 2]);
    assert_eq!(data.u_of_state(2), [0.0, 2.0, 4.0, 5.0, 0.0, 2.0]);
    assert_eq!(data.dudl_of_component(0), [0.0, 1.0, 2.0, 0.0, 0.0, 1.0]);
    assert_eq!((data.windows.len(), data.states[1].name.as_str()), (3, "λ = 0.5"));
    assert!(data.verdicts.is_empty() && !data.has_holes);
}

#[test]
fn a_nan_is_named_in_a_sampled_state_and_voids_an_unsampled_one() {
    let mut bad = series("bad.xvg", 0, &[0.0, 1.0]);
    bad.u_kt[5] = f64::NAN;
    let data = Dataset::assemble(vec![bad.clone(), series("c", 1, &[0.0])]).unwrap();
    assert_eq!((data.void_states.as_slice(), kinds(&data)), (&[2][..], vec!["void_state"]));
    assert!(data.verdicts[0].message.contains("the first in `bad.xvg`, line 11"), "{:?}", data.verdicts);
    let error = Dataset::assemble(vec![bad, series("c", 2, &[0.0])]).unwrap_err().to_string();
    assert!(error.contains("bad.xvg") && error.contains("line 11") && error.contains("λ = 1"), "{error}");

    let mut bad = series("bad.xvg", 0, &[0.0, 1.0]);
    bad.u_kt[3] = f64::INFINITY;
    assert!(Dataset::assemble(vec![bad]).unwrap_err().to_string().contains("own state"));
}

#[test]
fn a_restart_replaces_what_it_repeats() {
    let data = Dataset::assemble(vec![series("a", 0, &[0.0, 1.0, 2.0, 3.0, 2.0, 3.0, 4.0])]).unwrap();
    assert_eq!(data.time, [0.0, 1.0, 2.0, 3.0, 4.0]);
    // Of the two samples at 2 the later one has number 4.
    assert_eq!(data.dudl_of_component(0)[2], 4.0);
    assert_eq!(kinds(&data), ["overlapping_times"]);
}

#[test]
fn a_run_appended_is_a_second_time_series() {
    let data = Dataset::assemble(vec![series("a", 0, &[0.0, 1.0, 2.0, 0.0, 1.0])]).unwrap();
    assert_eq!((data.windows.len(), data.n_samples()), (2, 5));
    assert_eq!(kinds(&data), ["several_runs"]);
}

#[test]
fn shuffled_times_are_sorted() {
    let time: Vec<f64> = (0..100).map(|n| f64::from(n * 37 % 100)).collect();
    let data = Dataset::assemble(vec![series("a", 0, &time)]).unwrap();
    assert!(data.time.windows(2).all(|pair| pair[1] > pair[0]) && data.n_samples() == 100);
    assert_eq!(kinds(&data), ["unsorted_times"]);
}

#[test]
fn a_long_restart_keeps_the_later_branch() {
    let time: Vec<f64> = (0..60).chain(40..100).map(f64::from).collect();
    let data = Dataset::assemble(vec![series("a", 0, &time)]).unwrap();
    assert_eq!((data.n_samples(), kinds(&data)), (100, vec!["overlapping_times"]));
    // The sample at 40 that was written later has number 60.
    assert_eq!(data.dudl_of_component(0)[40], 60.0);
}

#[test]
fn an_appended_copy_counts_once_and_a_shuffled_table_keeps_its_replicas() {
    let mut twice = series("a", 0, &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    for n in 0..3 {
        twice.dudl_kt[n + 3] = twice.dudl_kt[n];
        (0..3).for_each(|k| twice.u_kt[3 * (n + 3) + k] = twice.u_kt[3 * n + k]);
    }
    let data = Dataset::assemble(vec![twice]).unwrap();
    assert_eq!((data.n_samples(), kinds(&data)), (3, vec!["several_runs", "overlapping_times"]));

    // Two replicas of fifty samples, shuffled together.
    let time: Vec<f64> = (0..100).map(|n| f64::from(n * 37 % 50)).collect();
    let mut table = series("u.csv", 0, &time);
    table.format = Format::Table;
    let data = Dataset::assemble(vec![table]).unwrap();
    assert_eq!((data.n_samples(), data.windows.len(), kinds(&data)), (100, 2, vec!["unsorted_times"]));
}

#[test]
fn a_second_run_from_the_middle_of_the_first_is_said_to_overlap() {
    let (first, mut second) = (series("a", 0, &[0.0, 1.0, 2.0, 3.0]), series("b", 0, &[2.0, 3.0, 4.0]));
    second.u_kt.iter_mut().for_each(|u| *u += 1.0);
    let data = Dataset::assemble(vec![first, second]).unwrap();
    assert_eq!((data.n_samples(), kinds(&data)), (7, vec!["overlapping_times"]));
}

#[test]
fn energies_without_the_own_state_and_files_without_samples_are_named() {
    let mut lost = series("lost.csv", 1, &[0.0, 1.0]);
    lost.computed = Some(vec![true, false, true, true, false, true]);
    let error = Dataset::assemble(vec![lost]).unwrap_err().to_string();
    assert!(error.contains("lost.csv") && error.contains("own state λ = 0.5"), "{error}");
    let mut empty = series("empty.xvg", 1, &[]);
    empty.warnings.push("`empty.xvg` has no samples".into());
    let data = Dataset::assemble(vec![empty, series("a", 0, &[0.0])]).unwrap();
    assert_eq!(kinds(&data), ["input"]);
}

#[test]
fn continued_files_are_one_series_and_copies_count_once() {
    let (first, second) = (series("a1", 0, &[0.0, 1.0, 2.0]), series("a2", 0, &[3.0, 4.0]));
    let data = Dataset::assemble(vec![first.clone(), second.clone()]).unwrap();
    assert_eq!((data.windows.len(), data.windows[0].parts.as_slice()), (1, &[0..3, 3..5][..]));
    let data = Dataset::assemble(vec![first.clone(), series("copy", 0, &[0.0, 1.0, 2.0])]).unwrap();
    assert_eq!((data.n_samples(), kinds(&data)), (3, vec!["overlapping_times"]));
    // Another run with the same times but other energies is independent.
    let mut other = first.clone();
    other.u_kt.iter_mut().for_each(|u| *u += 1.0);
    assert_eq!(Dataset::assemble(vec![first, other]).unwrap().windows.len(), 2);
}

#[test]
fn energies_and_derivatives_of_two_files_are_joined() {
    let (mut energies, mut derivatives) = (series("u", 1, &[0.0, 1.0]), series("d", 1, &[0.0, 1.0]));
    energies.dudl_kt.clear();
    derivatives.u_kt.clear();
    derivatives.states = vec![vec![0.5]];
    derivatives.state_of = vec![0, 0];
    let data = Dataset::assemble(vec![energies, derivatives]).unwrap();
    assert_eq!((data.n_samples(), data.u_kt.len(), data.dudl_kt.len()), (2, 6, 2));
}

#[test]
fn a_derivative_without_energies_stays_a_sample_of_its_own() {
    let (mut energies, mut derivatives) =
        (series("a", 1, &[1.0, 2.0, 3.0]), series("a", 1, &[0.0, 1.0, 2.0]));
    energies.dudl_kt.clear();
    derivatives.u_kt.clear();
    let data = Dataset::assemble(vec![energies, derivatives]).unwrap();
    assert_eq!((data.time.as_slice(), data.windows.len()), (&[0.0, 1.0, 2.0, 3.0][..], 1));
    assert_eq!((data.has_holes, data.samples_with_energies()), (false, vec![1, 2, 3]));
    assert_eq!(data.dudl_of_component(0)[..3], [0.0, 1.0, 2.0]);
    assert!(data.dudl_of_component(0)[3].is_nan() && data.verdicts.is_empty());
}

#[test]
fn samples_with_a_derivative_that_is_no_number_are_left_out() {
    let mut bad = series("bad.xvg", 0, &[0.0, 1.0, 2.0]);
    bad.dudl_kt[1] = f64::NAN;
    let data = Dataset::assemble(vec![bad.clone()]).unwrap();
    assert_eq!((data.time.as_slice(), kinds(&data)), (&[0.0, 2.0][..], vec!["bad_derivatives"]));
    assert!(data.verdicts[0].message.contains("line 11"), "{}", data.verdicts[0].message);
    bad.dudl_kt.fill(f64::NAN);
    let data = Dataset::assemble(vec![bad.clone()]).unwrap();
    assert_eq!((data.dudl_kt.len(), data.u_kt.len(), kinds(&data)), (0, 9, vec!["bad_derivatives"]));
    bad.u_kt.clear();
    assert!(Dataset::assemble(vec![bad]).unwrap_err().to_string().contains("line 10"));
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let mut warm = series("warm", 1, &[0.0]);
    warm.temperature_k = 310.0;
    let error = Dataset::assemble(vec![series("a", 0, &[0.0]), warm]).unwrap_err().to_string();
    assert!(error.contains("warm") && error.contains("310 K"), "{error}");
    let mut other = series("other", 1, &[0.0]);
    other.components = vec!["vdw-lambda".into()];
    assert!(Dataset::assemble(vec![series("a", 0, &[0.0]), other]).is_err());
    assert!(Dataset::assemble(Vec::new()).is_err());
}

#[test]
fn the_path_is_that_of_the_files_or_rises() {
    let one = |states: Vec<Vec<f64>>| {
        let mut one = series("a", 0, &[0.0]);
        one.components = vec!["coul-lambda".into(), "vdw-lambda".into()];
        one.dudl_kt = vec![0.0, 0.0];
        one.u_kt = vec![0.0; states.len()];
        one.states = states;
        one
    };
    let path = |series: Vec<Series>| -> Vec<Vec<f64>> {
        Dataset::assemble(series).unwrap().states.into_iter().map(|state| state.lambda).collect()
    };
    let (a, b, c, d) = (vec![1.0, 0.0], vec![0.0, 0.0], vec![0.0, 1.0], vec![1.0, 1.0]);
    // A file that names all has the say, also against the rising order.
    let all = vec![c.clone(), b.clone(), a.clone()];
    assert_eq!(path(vec![one(vec![b.clone()]), one(all.clone())]), all);
    // Otherwise the rising one.
    let rising = [b.clone(), a.clone(), d.clone()];
    assert_eq!(path(vec![one(vec![d.clone(), a.clone()]), one(vec![b.clone()])]), rising);
    // Otherwise neighbours as in the files: off and on again.
    assert_eq!(path(vec![one(vec![a.clone(), b.clone()]), one(vec![b.clone(), c.clone()])]), [a, b, c]);
}

#[test]
fn columns_that_not_all_files_have_cost_mbar_only_when_needed() {
    let mut short = series("short", 0, &[0.0, 1.0]);
    short.states = vec![vec![0.0], vec![1.0]];
    short.u_kt = vec![0.0; 4];
    let data = Dataset::assemble(vec![short.clone(), series("long", 2, &[0.0])]).unwrap();
    assert!(!data.has_holes && data.void_states == [1], "nobody sampled 0.5");
    let data = Dataset::assemble(vec![short, series("long", 1, &[0.0])]).unwrap();
    assert!(data.has_holes && data.u_of_state(1)[0].is_nan() && data.void_states.is_empty());
}
