//! What each sample counts: equilibration and correlation of every time series.
//!
//! By default the samples of a window after its equilibration count 1/g each, so that together they are as many as
//! the independent samples that they are worth, and none is thrown away. The series that decides is the worst of
//! three: the energy differences to the next and to the previous state, and the derivative along the path.

use super::subsampling::subsample;
use super::{Dataset, Decorrelation, WindowStatistics};
use crate::error::Result;
use crate::trajectory::timeseries::{
    Equilibration, detect_equilibration, inefficiency_scatter, statistical_inefficiency_of_several,
};
use rayon::prelude::*;

/// Margins of the excess g − 1 for what is not known about it: in its relative scatter √(2 (2 g + 1) / N), and in g / N
/// for its bias, as the mean about which correlation is measured is that of the same samples.
///
/// An error that is too small as often as too large covers too seldom. With these margins 95 % intervals of 2,000
/// harmonic chains of five states cover in 94 % to 97 % of all cases for MBAR, BAR and TI, from 20 independent samples
/// in each window (200 with g = 9) to 500.
const SCATTER_MARGIN: f64 = 1.0;
const BIAS_MARGIN: f64 = 4.0;

/// Counts of all samples and what they rest on.
#[derive(Debug, Clone)]
pub(super) struct Sampling {
    /// One per window.
    pub windows: Vec<WindowStatistics>,
    /// By how many deviations the rest of a window still drifts, if it does; one per window.
    pub drift: Vec<Option<f64>>,
    /// How often each sample counts for estimators that use energies; 0 for samples without.
    pub energy_counts: Vec<f64>,
    /// How often each sample counts for averages of derivatives; 0 for samples without.
    pub slope_counts: Vec<f64>,
    /// Statistical inefficiency of what is left of each window, for energies: 1 where correlated samples were removed.
    pub energy_inefficiency: Vec<f64>,
    /// The same for derivatives.
    pub slope_inefficiency: Vec<f64>,
}

impl Sampling {
    /// Effective samples of each state.
    pub fn per_state(counts: &[f64], data: &Dataset) -> Vec<f64> {
        let mut total = vec![0.0; data.states.len()];
        for (count, &state) in counts.iter().zip(&data.state_of) {
            total[state] += count;
        }
        total
    }
}

/// Decides what each sample counts.
pub(super) fn sampling(data: &Dataset, decorrelation: Decorrelation) -> Result<Sampling> {
    let mut looked_at: Vec<Looked> =
        (0..data.windows.len()).into_par_iter().map(|window| look(data, window)).collect::<Result<_>>()?;
    pool(data, &mut looked_at);
    let n = data.n_samples();
    let mut with_energies = vec![0.0; n];
    data.samples_with_energies().into_iter().for_each(|n| with_energies[n] = 1.0);
    let has_slopes = |n: usize| {
        !data.dudl_kt.is_empty()
            && (0..data.components.len()).all(|c| data.dudl_of_component(c)[n].is_finite())
    };
    let with_slopes = (0..n).map(|n| f64::from(u8::from(has_slopes(n)))).collect();
    let mut result = Sampling {
        windows: looked_at
            .iter()
            .enumerate()
            .map(|(window, looked)| looked.statistics(data, window))
            .collect(),
        drift: looked_at.iter().map(Looked::drift).collect(),
        energy_counts: with_energies,
        slope_counts: with_slopes,
        energy_inefficiency: vec![1.0; data.windows.len()],
        slope_inefficiency: vec![1.0; data.windows.len()],
    };
    match decorrelation {
        Decorrelation::Weights => result.weigh(data, &looked_at),
        Decorrelation::Alchemlyb => result.thin(data),
        Decorrelation::None => {
            for (window, statistics) in data.windows.iter().zip(&mut result.windows) {
                statistics.n_equilibration = 0;
                statistics.equilibrated_at = data.time[window.samples.start];
                statistics.n_effective = statistics.n_samples as f64;
            }
        }
    }
    Ok(result)
}

impl Sampling {
    /// Samples after the equilibration of their window count 1/g.
    fn weigh(&mut self, data: &Dataset, looked_at: &[Looked]) {
        let of_energies = drawn_together(looked_at.iter().map(|looked| looked.energies.as_ref()));
        let of_slopes = drawn_together(looked_at.iter().map(|looked| looked.slopes.as_ref()));
        for (place, (window, looked)) in data.windows.iter().zip(looked_at).enumerate() {
            let sets = [
                (
                    &looked.energies,
                    of_energies[place],
                    &mut self.energy_counts,
                    &mut self.energy_inefficiency,
                ),
                (&looked.slopes, of_slopes[place], &mut self.slope_counts, &mut self.slope_inefficiency),
            ];
            for (worst, g, counts, inefficiency) in sets {
                let Some(worst) = worst else { continue };
                let first = window.samples.start + worst.start;
                let rest = (first..window.samples.end).filter(|&n| counts[n] > 0.0).count();
                let g = cautious(g, rest);
                inefficiency[place] = g;
                for n in window.samples.clone() {
                    counts[n] = if n < first { 0.0 } else { counts[n] / g };
                }
            }
            let shown = if looked.shows_energies() { &self.energy_counts } else { &self.slope_counts };
            self.windows[place].n_effective = shown[window.samples.clone()].iter().sum();
        }
    }

    /// Keeps the samples that alchemlyb keeps, file by file.
    fn thin(&mut self, data: &Dataset) {
        let (energies, slopes) = (self.energy_counts.clone(), self.slope_counts.clone());
        self.energy_counts.fill(0.0);
        self.slope_counts.fill(0.0);
        for (window, statistics) in data.windows.iter().zip(&mut self.windows) {
            // A window of several files is described by its last.
            for part in &window.parts {
                let with =
                    |counts: &[f64]| -> Vec<usize> { part.clone().filter(|&n| counts[n] > 0.0).collect() };
                let mut by_slopes = None;
                let samples = with(&slopes);
                if !samples.is_empty() {
                    let sum =
                        |n: &usize| (0..data.components.len()).map(|c| data.dudl_of_component(c)[*n]).sum();
                    let series: Vec<f64> = samples.iter().map(sum).collect();
                    let kept = subsample(&samples, &data.time, &finite(series));
                    kept.kept.iter().for_each(|&n| self.slope_counts[n] = 1.0);
                    by_slopes = Some(("sum of ∂u/∂λ", kept));
                }
                let samples = with(&energies);
                let by_energies = other_series(data, window.state, &samples).map(|(name, series)| {
                    let kept = subsample(&samples, &data.time, &finite(series));
                    kept.kept.iter().for_each(|&n| self.energy_counts[n] = 1.0);
                    (name, kept)
                });
                if by_energies.is_none() {
                    // Without a neighbour whose energies are known nothing tells which samples to leave out.
                    samples.iter().for_each(|&n| self.energy_counts[n] = 1.0);
                }
                if let Some((name, kept)) = by_energies.or(by_slopes) {
                    statistics.n_equilibration = kept.first - window.samples.start;
                    statistics.equilibrated_at = data.time[kept.first];
                    statistics.inefficiency = kept.inefficiency;
                    statistics.series = name.into();
                }
            }
            let kept = |counts: &[f64]| counts[window.samples.clone()].iter().sum::<f64>();
            let by_energies = kept(&self.energy_counts);
            statistics.n_effective = if by_energies > 0.0 { by_energies } else { kept(&self.slope_counts) };
        }
    }
}

/// g of all windows, each drawn towards the others by as much as its scatter exceeds the differences among them.
///
/// Windows of one path relax alike, and the g of a short one is uncertain; where windows truly differ, as some that
/// are stuck do from others, the differences exceed the scatter and each keeps its own (Efron and Morris 1975).
fn drawn_together<'a>(series: impl Iterator<Item = Option<&'a Series>>) -> Vec<f64> {
    let known: Vec<Option<(f64, f64)>> = series
        .map(|series| {
            let scatter = |series: &Series| inefficiency_scatter(series.inefficiency, series.rest.len());
            series.map(|series| (series.inefficiency.ln(), scatter(series).min(1.0).powi(2)))
        })
        .collect();
    let used: Vec<(f64, f64)> = known.iter().flatten().copied().collect();
    let n = used.len() as f64;
    let mean = used.iter().map(|(log_g, _)| log_g).sum::<f64>() / n;
    let spread = used.iter().map(|(log_g, _)| (log_g - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let between = (spread - used.iter().map(|(_, variance)| variance).sum::<f64>() / n).max(0.0);
    known
        .into_iter()
        .map(|known| match known {
            // Two windows do not show how much windows differ.
            Some((log_g, variance)) if used.len() > 2 => {
                (log_g + (mean - log_g) * variance / (variance + between)).exp()
            }
            Some((log_g, _)) => log_g.exp(),
            None => 1.0,
        })
        .collect()
}

/// g with a margin for what is not known about it.
fn cautious(g: f64, n: usize) -> f64 {
    let scatter = inefficiency_scatter(g, n).min(1.0);
    let margin = SCATTER_MARGIN * scatter + BIAS_MARGIN * g / n as f64;
    (1.0 + (g - 1.0) * (1.0 + margin)).min(n as f64)
}

/// A series of a window and what was found in it.
#[derive(Debug, Clone)]
struct Series {
    name: &'static str,
    /// After equilibration.
    rest: Vec<f64>,
    /// Sample within the window at which equilibrium begins.
    start: usize,
    /// Whether it never changes.
    is_constant: bool,
    inefficiency: f64,
    found: Equilibration,
}

/// The worst series of a window, for energies and for derivatives.
#[derive(Debug, Clone)]
struct Looked {
    energies: Option<Series>,
    slopes: Option<Series>,
}

impl Looked {
    fn shows_energies(&self) -> bool {
        self.energies.is_some()
    }

    fn shown(&self) -> Option<&Series> {
        self.energies.as_ref().or(self.slopes.as_ref())
    }

    fn drift(&self) -> Option<f64> {
        let mut drifting = [&self.energies, &self.slopes].into_iter().flatten();
        drifting.find(|series| series.found.drifts()).map(|series| series.found.drift)
    }

    fn statistics(&self, data: &Dataset, window: usize) -> WindowStatistics {
        let window = &data.windows[window];
        let sources = window.sources.iter().map(|path| path.display().to_string()).collect();
        let (start, inefficiency, name) =
            self.shown().map_or((0, 1.0, "none"), |shown| (shown.start, shown.inefficiency, shown.name));
        WindowStatistics {
            state: window.state,
            sources,
            n_samples: window.samples.len(),
            n_equilibration: start,
            equilibrated_at: data.time[window.samples.start + start],
            inefficiency,
            n_effective: (window.samples.len() - start) as f64 / inefficiency,
            series: name.into(),
            mean_dudl: Vec::new(),
            mean_dudl_error: Vec::new(),
        }
    }
}

/// Looks at every series of a window.
///
/// For averages of derivatives their own series decides, for energies the worst of all where all samples have both.
fn look(data: &Dataset, window: usize) -> Result<Looked> {
    let (state, samples) = (data.windows[window].state, data.windows[window].samples.clone());
    let mut energies: Option<Series> = None;
    if !data.u_kt.is_empty() {
        let own = data.u_of_state(state);
        for (name, other) in [("u(next) − u", next(data, state)), ("u(previous) − u", previous(data, state))]
        {
            let Some(other) = other else { continue };
            let other = data.u_of_state(other);
            energies = worse(energies, examined(name, samples.clone().map(|n| other[n] - own[n]))?);
        }
    }
    let mut slopes = None;
    if !data.dudl_kt.is_empty() {
        let direction = direction(data, state);
        let slope = |n: usize| -> f64 {
            let moving = direction.iter().enumerate().filter(|(_, d)| **d != 0.0);
            moving.map(|(c, d)| d * data.dudl_of_component(c)[n]).sum()
        };
        slopes = examined("∂u/∂λ", samples.clone().map(slope))?;
    }
    let complete = |n: usize| {
        let energy = data.u_kt.is_empty() || !data.u_of_state(state)[n].is_nan();
        energy && (data.dudl_kt.is_empty() || !data.dudl_of_component(0)[n].is_nan())
    };
    if energies.is_some() && samples.clone().all(complete) {
        energies = worse(energies, slopes.clone());
    }
    Ok(Looked { energies, slopes })
}

/// What is found in a series; nothing in one without numbers, or of a state and its copy, which do not differ.
fn examined(name: &'static str, series: impl Iterator<Item = f64>) -> Result<Option<Series>> {
    // Energies that were not computed are no part of the series.
    let known = series.enumerate().filter(|(_, x)| !x.is_nan());
    // −∞ is an overflow and counts as +∞ does.
    let (places, values): (Vec<usize>, Vec<f64>) =
        known.map(|(place, x)| (place, if x == f64::NEG_INFINITY { f64::INFINITY } else { x })).unzip();
    if values.iter().all(|x| *x == 0.0) {
        return Ok(None);
    }
    let found = detect_equilibration(&values)?;
    Ok(Some(Series {
        name,
        is_constant: values.iter().all(|x| *x == values[0]),
        start: places[found.start],
        inefficiency: found.inefficiency,
        rest: values[found.start..].to_vec(),
        found,
    }))
}

/// The series with fewer independent samples; a constant only where there is nothing else.
fn worse(a: Option<Series>, b: Option<Series>) -> Option<Series> {
    let (Some(first), Some(second)) = (&a, &b) else { return a.or(b) };
    let second_is_worse = match (first.is_constant, second.is_constant) {
        (false, true) => false,
        (true, false) => true,
        _ => second.found.n_effective < first.found.n_effective,
    };
    if second_is_worse { b } else { a }
}

/// Windows of one state are judged together as well: runs that stay in different places see it only so.
fn pool(data: &Dataset, looked_at: &mut [Looked]) {
    for state in 0..data.states.len() {
        let members: Vec<usize> = (0..looked_at.len()).filter(|&w| data.windows[w].state == state).collect();
        if members.len() < 2 {
            continue;
        }
        for of_energies in [true, false] {
            let together = {
                let series: Vec<&Series> = members
                    .iter()
                    .filter_map(|&w| {
                        let looked = &looked_at[w];
                        if of_energies { looked.energies.as_ref() } else { looked.slopes.as_ref() }
                    })
                    .collect();
                let same = series.iter().all(|one| one.name == series[0].name);
                let finite = series.iter().all(|one| one.rest.iter().all(|x| x.is_finite()));
                if series.len() < 2 || !same || !finite {
                    continue;
                }
                let rests: Vec<&[f64]> = series.iter().map(|one| one.rest.as_slice()).collect();
                statistical_inefficiency_of_several(&rests)
            };
            for &w in &members {
                let looked = &mut looked_at[w];
                let series = if of_energies { looked.energies.as_mut() } else { looked.slopes.as_mut() };
                if let Some(series) = series {
                    series.inefficiency = series.inefficiency.max(together);
                }
            }
        }
    }
}

/// The next state that has energies.
pub(super) fn next(data: &Dataset, state: usize) -> Option<usize> {
    (state + 1..data.states.len()).find(|other| !data.void_states.contains(other))
}

/// The previous state that has energies.
pub(super) fn previous(data: &Dataset, state: usize) -> Option<usize> {
    (0..state).rev().find(|other| !data.void_states.contains(other))
}

/// Along which components the path runs before and after a state.
pub(super) fn direction(data: &Dataset, state: usize) -> Vec<f64> {
    let last = data.states.len() - 1;
    let (before, after) = (&data.states[state.saturating_sub(1)], &data.states[(state + 1).min(last)]);
    let own = &data.states[state];
    (0..data.components.len())
        .map(|c| (after.lambda[c] - own.lambda[c]).abs() + (own.lambda[c] - before.lambda[c]).abs())
        .collect()
}

/// The series by which alchemlyb decorrelates energies: to the next state, of the last to the one before.
fn other_series(data: &Dataset, state: usize, samples: &[usize]) -> Option<(&'static str, Vec<f64>)> {
    if data.u_kt.is_empty() || samples.is_empty() {
        return None;
    }
    let own = data.u_of_state(state);
    let candidates = [
        ("u(next) − u", (state + 1 < data.states.len()).then_some(state + 1)),
        ("u(previous) − u", state.checked_sub(1)),
    ];
    candidates.into_iter().find_map(|(name, other)| {
        let other = data.u_of_state(other?);
        let series: Vec<f64> = samples.iter().map(|&n| other[n] - own[n]).collect();
        series.iter().all(|x| !x.is_nan()).then_some((name, series))
    })
}

/// Infinities become the largest finite number of the series.
fn finite(series: Vec<f64>) -> Vec<f64> {
    let top = series.iter().copied().filter(|x| x.is_finite()).fold(0.0_f64, |top, x| top.max(x.abs()));
    series.into_iter().map(|x| x.clamp(-top, top)).collect()
}
