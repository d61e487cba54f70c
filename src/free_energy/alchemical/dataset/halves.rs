//! Energies and derivatives of one simulation that stand apart, and derivatives that are no numbers.

use super::{SAME_LAMBDA, Severity, Verdict, bad_number, same};
use crate::error::Result;
use crate::free_energy::reader::{Origin, Series};
use std::collections::{HashMap, HashSet};

/// The series without samples whose derivative is no number.
///
/// They are left out of everything, as other programs do: what wrote such a number may have gone wrong
/// elsewhere. Where no derivative at all is a number, it is the derivatives that are left out.
pub(super) fn with_finite_derivatives(series: Series, verdicts: &mut Vec<Verdict>) -> Result<Series> {
    let (width, n_components) = (series.states.len(), series.components.len());
    if series.dudl_kt.is_empty() {
        return Ok(series);
    }
    let bad = |n: usize| {
        series.dudl_kt[n * n_components..(n + 1) * n_components].iter().position(|x| !x.is_finite())
    };
    let n_samples = series.n_samples();
    let kept: Vec<usize> = (0..n_samples).filter(|&n| bad(n).is_none()).collect();
    let Some((first, component)) = (0..n_samples).find_map(|n| Some((n, bad(n)?))) else { return Ok(series) };
    let (path, place) = series.place(first);
    let name = &series.components[component];
    let n_bad = n_samples - kept.len();
    let said = format!("`{}`, {place}: the derivative by {name} is not a finite number", path.display());
    if kept.is_empty() {
        if series.u_kt.is_empty() {
            let value = series.dudl_kt[first * n_components + component];
            return Err(bad_number(&series, first, format!("a finite derivative by {name}"), value));
        }
        let message = format!("{said}, and so are all others: no thermodynamic integration");
        verdicts.push(Verdict::new(Severity::Warning, "bad_derivatives", message));
        return Ok(Series { dudl_kt: Vec::new(), ..series });
    }
    let message = format!("{said}; {n_bad} samples like it, of {n_samples}, were left out");
    verdicts.push(Verdict::new(Severity::Warning, "bad_derivatives", message));
    let n_columns = if series.u_kt.is_empty() { 0 } else { width };
    Ok(chosen(&series, &kept, n_columns))
}

/// Some samples of a series, in the order given; `n_columns` is 0 where it holds no energies.
fn chosen(series: &Series, samples: &[usize], n_columns: usize) -> Series {
    let rows = |values: &[f64], width: usize| -> Vec<f64> {
        samples.iter().flat_map(|&n| values[n * width..(n + 1) * width].iter().copied()).collect()
    };
    Series {
        time: samples.iter().map(|&n| series.time[n]).collect(),
        state_of: samples.iter().map(|&n| series.state_of[n]).collect(),
        u_kt: rows(&series.u_kt, n_columns),
        computed: series.computed.as_ref().map(|computed| {
            samples
                .iter()
                .flat_map(|&n| computed[n * n_columns..(n + 1) * n_columns].iter().copied())
                .collect()
        }),
        dudl_kt: rows(&series.dudl_kt, if series.dudl_kt.is_empty() { 0 } else { series.components.len() }),
        origin: samples.iter().map(|&n| series.origin[n]).collect(),
        sources: series.sources.clone(),
        states: series.states.clone(),
        components: series.components.clone(),
        warnings: series.warnings.clone(),
        ..*series
    }
}

/// Energies and derivatives of one simulation that stand apart become one series, joined by their times.
///
/// Samples at which only one of the two was written stay in it, without the other.
pub(super) fn joined(series: Vec<Series>) -> Vec<Series> {
    let mut joined: Vec<Series> = Vec::new();
    for next in series {
        match joined.iter().position(|other| are_halves(other, &next)) {
            Some(place) => {
                let other = &joined[place];
                joined[place] = if other.u_kt.is_empty() { join(&next, other) } else { join(other, &next) };
            }
            None => joined.push(next),
        }
    }
    joined
}

/// State and time of a sample, as something to look up.
fn key(series: &Series, sample: usize) -> (Vec<i64>, u64) {
    let lambda =
        series.states[series.state_of[sample]].iter().map(|x| (x / SAME_LAMBDA).round() as i64).collect();
    (lambda, (series.time[sample] + 0.0).to_bits())
}

/// Whether one series holds the energies and the other the derivatives of one simulation.
fn are_halves(a: &Series, b: &Series) -> bool {
    let complementary =
        a.u_kt.is_empty() != b.u_kt.is_empty() && a.dudl_kt.is_empty() != b.dudl_kt.is_empty();
    if !complementary || a.components != b.components || a.time_unit != b.time_unit {
        return false;
    }
    let of_a: HashSet<_> = (0..a.n_samples()).map(|n| key(a, n)).collect();
    let n_shared = (0..b.n_samples()).filter(|&n| of_a.contains(&key(b, n))).count();
    // Times that repeat cannot be told apart.
    of_a.len() == a.n_samples() && 2 * n_shared > a.n_samples().min(b.n_samples())
}

fn join(energies: &Series, derivatives: &Series) -> Series {
    let place: HashMap<_, usize> = (0..derivatives.n_samples()).map(|n| (key(derivatives, n), n)).collect();
    let (n_components, width) = (energies.components.len(), energies.states.len());
    let row = |n: usize| &derivatives.dudl_kt[n * n_components..(n + 1) * n_components];
    let mut joined = energies.clone();
    joined.warnings.extend(derivatives.warnings.iter().cloned());
    let mut used = vec![false; derivatives.n_samples()];
    for n in 0..energies.n_samples() {
        match place.get(&key(energies, n)) {
            Some(&m) => {
                used[m] = true;
                joined.dudl_kt.extend(row(m));
            }
            None => joined.dudl_kt.extend(std::iter::repeat_n(f64::NAN, n_components)),
        }
    }
    let first_source = joined.sources.len() as u32;
    joined.sources.extend(derivatives.sources.iter().cloned());
    let alone: Vec<usize> = (0..used.len()).filter(|&m| !used[m]).collect();
    if alone.is_empty() {
        return joined;
    }
    let mut computed = joined.computed.take().unwrap_or_else(|| vec![true; joined.u_kt.len()]);
    for m in alone {
        let lambda = &derivatives.states[derivatives.state_of[m]];
        let Some(state) = joined.states[..width].iter().position(|other| same(other, lambda)) else {
            continue;
        };
        joined.time.push(derivatives.time[m]);
        joined.state_of.push(state);
        joined.u_kt.extend(std::iter::repeat_n(f64::NAN, width));
        computed.extend(std::iter::repeat_n(false, width));
        joined.dudl_kt.extend(row(m));
        let origin = derivatives.origin[m];
        joined.origin.push(Origin { source: origin.source + first_source, ..origin });
    }
    joined.computed = Some(computed);
    sorted_by_time(&joined)
}

/// The same samples in order of time; what was added at the end goes where it belongs.
fn sorted_by_time(series: &Series) -> Series {
    let mut order: Vec<usize> = (0..series.n_samples()).collect();
    order.sort_by(|&a, &b| series.time[a].total_cmp(&series.time[b]));
    chosen(series, &order, series.states.len())
}
