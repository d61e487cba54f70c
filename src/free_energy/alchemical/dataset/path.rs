//! The λ vectors of all files, in the order of the path.

use super::{SAME_LAMBDA, Severity, State, Verdict, first_source, position, same};
use crate::free_energy::reader::Series;

/// All λ vectors in the order of the path.
///
/// The order of a file that names them all; otherwise the one in which every component rises, when there is
/// such; otherwise neighbours as the files have them.
pub(super) fn path(series: &[Series], verdicts: &mut Vec<Verdict>) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<f64>> = Vec::new();
    for state in series.iter().flat_map(|series| &series.states) {
        if !all.iter().any(|other| same(other, state)) {
            all.push(state.clone());
        }
    }
    for series in series {
        let repeated = (1..series.states.len())
            .find(|&i| series.states[..i].iter().any(|other| same(other, &series.states[i])));
        if let Some(i) = repeated {
            verdicts.push(Verdict::new(
                Severity::Note,
                "duplicate_state",
                format!(
                    "`{}` has {} twice; the two are one state",
                    first_source(series).display(),
                    State::new(series.states[i].clone()).name
                ),
            ));
        }
    }
    let complete =
        series.iter().find(|series| all.iter().all(|state| series.states.iter().any(|s| same(s, state))));
    if let Some(series) = complete.filter(|_| all.len() > 1) {
        let mut order: Vec<Vec<f64>> = Vec::new();
        for state in &series.states {
            if !order.iter().any(|other| same(other, state)) {
                order.push(state.clone());
            }
        }
        return order;
    }
    let mut sorted = all.clone();
    let sum = |state: &Vec<f64>| state.iter().sum::<f64>();
    sorted.sort_by(|a, b| {
        sum(a).total_cmp(&sum(b)).then_with(|| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    });
    let rises = |pair: &[Vec<f64>]| pair[0].iter().zip(&pair[1]).all(|(a, b)| *b >= a - SAME_LAMBDA);
    if sorted.windows(2).all(rises) {
        return sorted;
    }
    merged(series, &all)
}

/// An order in which each state comes after those that stand before it in some file; first seen first where the
/// files leave a choice or contradict each other.
fn merged(series: &[Series], all: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut before = vec![Vec::new(); all.len()];
    for series in series {
        let places: Vec<usize> = series.states.iter().map(|state| position(all, state)).collect();
        for pair in places.windows(2).filter(|pair| pair[0] != pair[1]) {
            before[pair[1]].push(pair[0]);
        }
    }
    let mut order: Vec<usize> = Vec::new();
    while order.len() < all.len() {
        let left = |i: &usize| !order.contains(i);
        let ready = (0..all.len()).filter(left).find(|&i| before[i].iter().all(|j| order.contains(j)));
        let next = ready.or_else(|| (0..all.len()).find(left)).expect("the loop ends when none is left");
        order.push(next);
    }
    order.into_iter().map(|i| all[i].clone()).collect()
}
