//! What can be told from the samples alone, before any free energy.

use super::decorrelation::{Sampling, direction, next, previous};
use super::{Dataset, Severity, Verdict};

/// Total energies fluctuate by more than this in kT: a single harmonic degree of freedom does by √½. The pV of a
/// simulation at constant pressure, which GROMACS writes next to energy differences, fluctuates by far less.
const FLUCTUATION_KT: f64 = 0.5;

/// Values further than this from the median of their series are no part of its distribution: in standard deviations of
/// its middle, by the median of the distances, and in kT.
const FAR_DEVIATIONS: f64 = 50.0;
const FAR_KT: f64 = 50.0;
/// The standard deviation of a normal distribution in units of the median distance from its median.
const DEVIATION_PER_MEDIAN: f64 = 1.4826;
/// Series named in one verdict; the others are counted.
const MAX_NAMED: usize = 3;
/// More harmless values than these in one series are its tail, not accidents.
const ACCIDENTS: usize = 3;

/// Whether energies are known only relative to the own state of each sample, as files hold them that list
/// differences: then the energy of a sample in its own state never changes.
///
/// Decided by most samples, as a state without interactions has a constant energy in its own right.
pub(super) fn has_relative_energies(data: &Dataset) -> bool {
    if data.u_kt.is_empty() {
        return false;
    }
    let (mut n_constant, mut n_all) = (0, 0);
    for window in &data.windows {
        let own = &data.u_of_state(window.state)[window.samples.clone()];
        let known: Vec<f64> = own.iter().copied().filter(|u| u.is_finite()).collect();
        let n = known.len() as f64;
        let mean = known.iter().sum::<f64>() / n;
        let square: f64 = known.iter().map(|u| (u - mean).powi(2)).sum();
        n_all += known.len();
        if square <= FLUCTUATION_KT * FLUCTUATION_KT * n {
            n_constant += known.len();
        }
    }
    2 * n_constant > n_all
}

/// Values that are far from all others of their series.
///
/// Means, such as those of ∂u/∂λ, and exponential averages follow a single one of them. One that only raises the energy
/// of another state has no weight there, as where atoms that do not interact lie on each other: that is a note, and so
/// is one that does not count. `raised_counts` says that somebody wants averages of energies that are not weighted.
pub(super) fn outliers(
    data: &Dataset,
    sampling: &Sampling,
    raised_counts: bool,
    verdicts: &mut Vec<Verdict>,
) {
    let (mut harmful, mut harmless) = (Vec::new(), Vec::new());
    let void = |state: usize| data.void_states.contains(&state);
    for window in &data.windows {
        let samples = window.samples.clone();
        let mut look = |name: String, series: Vec<f64>, counts: &[f64], raised_counts: bool| {
            let (places, median) = far(&series);
            let Some(&first) = places.first() else { return };
            let harms = |&place: &usize| {
                counts[samples.start + place] > 0.0 && (raised_counts || series[place] < median)
            };
            let file =
                window.sources.first().map_or_else(String::new, |path| format!("`{}`, ", path.display()));
            let number = match places.len() {
                1 => "one value".to_string(),
                n => format!("{n} values, the first"),
            };
            let said = format!(
                "{file}{}: {name} has {number} at {} {}, {:+.3e} kT from the median",
                data.states[window.state].name,
                data.time[samples.start + first],
                data.time_unit,
                series[first] - median
            );
            if places.iter().any(harms) {
                harmful.push(said);
            } else if places.len() <= ACCIDENTS {
                // Many high energies are atoms that are not there yet; they have no weight.
                harmless.push(said);
            }
        };
        if !data.u_kt.is_empty() {
            let own = &data.u_of_state(window.state)[samples.clone()];
            let neighbours = [next(data, window.state), previous(data, window.state)];
            for other in (0..data.states.len()).filter(|&other| other != window.state) {
                let there = &data.u_of_state(other)[samples.clone()];
                let series = || there.iter().zip(own).map(|(there, own)| there - own);
                // Of the other states, only energies that are far too low matter, to MBAR.
                if !neighbours.contains(&Some(other)) && (void(other) || !has_low(series())) {
                    continue;
                }
                let name = format!("the energy in {} less that in its own state", data.states[other].name);
                look(name, series().collect(), &sampling.energy_counts, raised_counts);
            }
        }
        if !data.dudl_kt.is_empty() {
            let moving = direction(data, window.state).into_iter().enumerate().filter(|(_, d)| *d != 0.0);
            for (c, _) in moving {
                let series = data.dudl_of_component(c)[samples.clone()].to_vec();
                let name = if data.components.len() == 1 {
                    "∂u/∂λ".into()
                } else {
                    format!("∂u/∂λ of {}", data.components[c])
                };
                look(name, series, &sampling.slope_counts, true);
            }
        }
    }
    let listed = |all: &[String]| {
        let named = all[..all.len().min(MAX_NAMED)].join("; ");
        match all.len().saturating_sub(MAX_NAMED) {
            0 => named,
            1 => format!("{named}; and one more series"),
            n => format!("{named}; and {n} more series"),
        }
    };
    if !harmful.is_empty() {
        verdicts.push(Verdict::new(
            Severity::Warning,
            "outliers",
            format!(
                "Single values lie far outside of everything else in their series, and averages follow them: {}. Look \
                 at these frames, and leave them out if they are accidents.",
                listed(&harmful)
            ),
        ));
    }
    if !harmless.is_empty() {
        verdicts.push(Verdict::new(
            Severity::Note,
            "outliers",
            format!(
                "Single values lie far outside of everything else in their series, but have no weight or were left \
                 out: {}.",
                listed(&harmless)
            ),
        ));
    }
}

/// Whether the lowest value may be far below the others, by their mean, which costs less than the median.
fn has_low(series: impl Iterator<Item = f64>) -> bool {
    let (mut n, mut sum, mut lowest) = (0.0, 0.0, f64::INFINITY);
    for x in series.filter(|x| x.is_finite()) {
        n += 1.0;
        sum += x;
        lowest = lowest.min(x);
    }
    n > 1.0 && sum / n - lowest > 0.5 * FAR_KT
}

/// Places of the finite values that are far from the median, and the median.
fn far(series: &[f64]) -> (Vec<usize>, f64) {
    let mut values: Vec<f64> = series.iter().copied().filter(|x| x.is_finite()).collect();
    if values.is_empty() {
        return (Vec::new(), f64::NAN);
    }
    let median = median(&mut values);
    values.iter_mut().for_each(|x| *x = (*x - median).abs());
    let limit = FAR_KT.max(FAR_DEVIATIONS * DEVIATION_PER_MEDIAN * self::median(&mut values));
    let is_far = |x: f64| x.is_finite() && (x - median).abs() > limit;
    ((0..series.len()).filter(|&place| is_far(series[place])).collect(), median)
}

/// The upper median, which is one of the values.
fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Infinite energies: a state in which a sample is impossible.
pub(super) fn infinite_energies(data: &Dataset, verdicts: &mut Vec<Verdict>) {
    let n = data.u_kt.iter().filter(|u| u.is_infinite()).count();
    if n == 0 {
        return;
    }
    let n_overflows = data.u_kt.iter().filter(|u| **u == f64::NEG_INFINITY).count();
    let overflows = match n_overflows {
        0 => String::new(),
        n => format!(" −∞ ({n} of them) is taken for an overflow."),
    };
    let what = if n == 1 { "One energy is".into() } else { format!("{n} energies are") };
    verdicts.push(Verdict::new(
        Severity::Note,
        "infinite_energies",
        format!("{what} infinite: these samples are impossible in those states and have no weight there.{overflows}"),
    ));
}
