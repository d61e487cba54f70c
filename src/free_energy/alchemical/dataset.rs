//! The samples of all simulations along one path of λ.
//!
//! Assembling decides what belongs together: which λ vectors are one state, in which order they lie, which
//! samples are one time series. What was repaired on the way is said in verdicts; what cannot be repaired
//! is an error that names file and line.

use super::{Severity, Verdict};
use crate::error::{Error, Result};
use crate::free_energy::reader::{Origin, Series};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// λ vectors closer than this in every component are one state.
const SAME_LAMBDA: f64 = 1e-6;
/// Temperatures closer than this are one temperature, K.
const SAME_TEMPERATURE_K: f64 = 0.01;

/// One λ vector of the path.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// One number per component.
    pub lambda: Vec<f64>,
    /// `λ = 0.25` or `λ = (0.5, 0)`, for people.
    pub name: String,
}

/// Consecutive samples of one simulation in one state: one time series.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Index into [`Dataset::states`].
    pub state: usize,
    /// Samples, as a range of [`Dataset`]'s samples; in order of time.
    pub samples: Range<usize>,
    /// The stretches of it that stood in different files, where a simulation was continued in another file.
    pub parts: Vec<Range<usize>>,
    /// Where they come from.
    pub sources: Vec<PathBuf>,
}

/// Samples of all states, sorted by state, then simulation, then time.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// K; NaN when neither the files nor the user said it, which is enough for results in kT.
    pub temperature_k: f64,
    /// Names of the components of λ.
    pub components: Vec<String>,
    /// λ vectors along the path.
    pub states: Vec<State>,
    /// Time series; samples of one state may come from several.
    pub windows: Vec<Window>,
    /// State of each sample.
    pub state_of: Vec<usize>,
    /// Time of each sample in `time_unit`.
    pub time: Vec<f64>,
    /// `ps` or `step`.
    pub time_unit: &'static str,
    /// `[state][sample]` in kT; NaN where it was not computed. Empty when no file holds energies.
    pub u_kt: Vec<f64>,
    /// `[component][sample]` in kT per unit of λ; NaN where missing. Empty when no file holds derivatives.
    pub dudl_kt: Vec<f64>,
    /// Whether some energies were not computed (NAMD, files with neighbours only), so that MBAR is impossible.
    pub has_holes: bool,
    /// Unsampled states with energies that are not numbers, which have no result.
    pub void_states: Vec<usize>,
    /// What was noticed while reading and joining.
    pub verdicts: Vec<Verdict>,
}

impl Dataset {
    /// Number of samples.
    pub fn n_samples(&self) -> usize {
        self.state_of.len()
    }

    /// Samples drawn from each state.
    pub fn n_k(&self) -> Vec<usize> {
        let mut n_k = vec![0; self.states.len()];
        for &state in &self.state_of {
            n_k[state] += 1;
        }
        n_k
    }

    /// Energies of all samples in one state, kT.
    pub fn u_of_state(&self, state: usize) -> &[f64] {
        let n = self.n_samples();
        &self.u_kt[state * n..(state + 1) * n]
    }

    /// Samples of which there are energies; the others have derivatives only.
    pub fn samples_with_energies(&self) -> Vec<usize> {
        if self.u_kt.is_empty() {
            return Vec::new();
        }
        let own = |n: &usize| !self.u_kt[self.state_of[*n] * self.n_samples() + n].is_nan();
        (0..self.n_samples()).filter(own).collect()
    }

    /// Derivatives by one component of all samples, kT.
    pub fn dudl_of_component(&self, component: usize) -> &[f64] {
        let n = self.n_samples();
        &self.dudl_kt[component * n..(component + 1) * n]
    }

    /// Joins what the readers found.
    pub fn assemble(series: Vec<Series>) -> Result<Self> {
        let mut unusable = Vec::new();
        let series: Vec<Series> = series
            .into_iter()
            .map(|series| with_finite_derivatives(series, &mut unusable))
            .collect::<Result<_>>()?;
        let series: Vec<Series> = joined(series).into_iter().filter(|s| s.n_samples() > 0).collect();
        let Some(first) = series.first() else {
            return Err(Error::invalid("alchemical data", "samples in at least one file", "none"));
        };
        let mut verdicts: Vec<Verdict> = series
            .iter()
            .flat_map(|series| &series.warnings)
            .map(|text| Verdict::new(Severity::Warning, "input", text))
            .chain(unusable)
            .collect();
        same_components(first, &series)?;
        let temperature_k = same_temperature(&series)?;
        let lambdas = path(&series, &mut verdicts);
        let maps: Vec<Vec<usize>> = series
            .iter()
            .map(|series| series.states.iter().map(|state| position(&lambdas, state)).collect())
            .collect();
        let runs = time_series(&series, &maps, lambdas.len(), &mut verdicts);
        let mut data = Self {
            temperature_k,
            components: first.components.clone(),
            states: lambdas.into_iter().map(State::new).collect(),
            windows: Vec::new(),
            state_of: Vec::new(),
            time: Vec::new(),
            time_unit: first.time_unit,
            u_kt: Vec::new(),
            dudl_kt: Vec::new(),
            has_holes: false,
            void_states: Vec::new(),
            verdicts,
        };
        data.fill(&series, &maps, &runs)?;
        Ok(data)
    }

    /// Copies samples in their final order.
    fn fill(&mut self, series: &[Series], maps: &[Vec<usize>], runs: &[Run]) -> Result<()> {
        let order: Vec<(usize, usize)> = runs.iter().flat_map(|run| run.samples.iter().copied()).collect();
        let (n, n_states, n_components) = (order.len(), self.states.len(), self.components.len());
        let mut start = 0;
        for run in runs {
            let end = start + run.samples.len();
            let mut parts: Vec<Range<usize>> = Vec::new();
            let mut sources: Vec<PathBuf> = Vec::new();
            for (place, &(s, sample)) in (start..end).zip(&run.samples) {
                let source = &series[s].sources[series[s].origin[sample].source as usize];
                if sources.last() == Some(source) {
                    let part = parts.last_mut().expect("there is a part for each source");
                    part.end = place + 1;
                } else {
                    sources.push(source.clone());
                    parts.push(place..place + 1);
                }
            }
            sources.dedup();
            self.windows.push(Window { state: run.state, samples: start..end, parts, sources });
            self.state_of.extend(std::iter::repeat_n(run.state, run.samples.len()));
            start = end;
        }
        self.time = order.iter().map(|&(s, sample)| series[s].time[sample]).collect();

        let n_k = self.n_k();
        let with_energies = series.iter().any(|series| !series.u_kt.is_empty());
        let with_derivatives = series.iter().any(|series| !series.dudl_kt.is_empty());
        if with_energies {
            // A NaN that stands in a file, and a value that was not computed, are both NaN here.
            self.u_kt = vec![f64::NAN; n_states * n];
            let mut computed = vec![false; n_states * n];
            for (place, &(s, sample)) in order.iter().enumerate() {
                let series = &series[s];
                let width = series.states.len();
                if series.u_kt.is_empty() {
                    continue;
                }
                for (column, &state) in maps[s].iter().enumerate() {
                    let at = sample * width + column;
                    if series.computed.as_ref().is_none_or(|computed| computed[at]) {
                        let u = series.u_kt[at];
                        check_energy(
                            series,
                            sample,
                            u,
                            &self.states[state].name,
                            state == self.state_of[place],
                            n_k[state],
                        )?;
                        self.u_kt[state * n + place] = u;
                        computed[state * n + place] = true;
                    }
                }
            }
            self.judge_columns(&computed, &n_k);
        }
        if with_derivatives {
            self.dudl_kt = vec![f64::NAN; n_components * n];
            for (place, &(s, sample)) in order.iter().enumerate() {
                let series = &series[s];
                if series.dudl_kt.is_empty() {
                    continue;
                }
                for component in 0..n_components {
                    let value = series.dudl_kt[sample * n_components + component];
                    self.dudl_kt[component * n + place] = value;
                }
            }
        }
        Ok(())
    }

    /// Which columns are void, which are not there for all samples, and which states nobody sampled.
    ///
    /// Samples without any energy, of which there is a derivative only, say nothing here.
    fn judge_columns(&mut self, computed: &[bool], n_k: &[usize]) {
        let n = self.n_samples();
        let mut n_with = vec![0; n_k.len()];
        for sample in (0..n).filter(|&sample| (0..n_k.len()).any(|k| computed[k * n + sample])) {
            n_with[self.state_of[sample]] += 1;
        }
        let with_energies: usize = n_with.iter().sum();
        let mut partial = Vec::new();
        for state in 0..self.states.len() {
            let column = &self.u_kt[state * n..(state + 1) * n];
            let known = &computed[state * n..(state + 1) * n];
            let n_known = known.iter().filter(|known| **known).count();
            let n_nan = column.iter().zip(known).filter(|(u, known)| **known && u.is_nan()).count();
            let name = self.states[state].name.clone();
            if n_nan > 0 {
                self.void_states.push(state);
                self.verdicts.push(Verdict::new(
                    Severity::Warning,
                    "void_state",
                    format!(
                        "{name} has no samples, and {n_nan} of its energies are not numbers: it has no result"
                    ),
                ));
            }
            if n_known < with_energies {
                partial.push(state);
            }
        }
        // A state that nobody sampled and that some files do not know is not worth losing MBAR for.
        let superfluous: Vec<usize> = partial.iter().copied().filter(|&state| n_with[state] == 0).collect();
        let needed = partial.len() - superfluous.len();
        if needed == 0 {
            for &state in superfluous.iter().filter(|state| !self.void_states.contains(state)) {
                self.verdicts.push(Verdict::new(
                    Severity::Warning,
                    "different_states",
                    format!(
                        "{} has no samples with energies, and other files do not evaluate it: MBAR and BAR leave it out",
                        self.states[state].name
                    ),
                ));
            }
            self.void_states.extend(superfluous);
            self.void_states.sort_unstable();
            self.void_states.dedup();
        } else {
            self.has_holes = true;
        }
    }
}

impl State {
    fn new(lambda: Vec<f64>) -> Self {
        let words: Vec<String> = lambda.iter().map(|value| short(*value)).collect();
        let name = if words.len() == 1 {
            format!("λ = {}", words[0])
        } else {
            format!("λ = ({})", words.join(", "))
        };
        Self { lambda, name }
    }
}

/// Six decimals at most: files write 0.2 as 0.200000003.
fn short(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn same(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= SAME_LAMBDA)
}

fn position(lambdas: &[Vec<f64>], state: &[f64]) -> usize {
    lambdas.iter().position(|lambda| same(lambda, state)).expect("the path was made of these states")
}

fn bad_number(series: &Series, sample: usize, expected: String, found: f64) -> Error {
    let (path, place) = series.place(sample);
    let hint =
        "leave out the sample, or look at the simulation: a step that went wrong writes such numbers".into();
    Error::File { path, place, expected, found: found.to_string(), hint }
}

/// NaN in a sampled state, and anything infinite in the state that the sample came from, cannot be used.
fn check_energy(
    series: &Series,
    sample: usize,
    u: f64,
    name: &str,
    own: bool,
    n_of_state: usize,
) -> Result<()> {
    if own && !u.is_finite() {
        let expected = format!("a finite energy of sample {} in its own state {name}", sample + 1);
        return Err(bad_number(series, sample, expected, u));
    }
    if u.is_nan() && n_of_state > 0 {
        let expected = format!("an energy of sample {} in {name}", sample + 1);
        return Err(bad_number(series, sample, expected, u));
    }
    Ok(())
}

fn first_source(series: &Series) -> &Path {
    series.sources.first().map_or(Path::new("?"), PathBuf::as_path)
}

fn same_components(first: &Series, series: &[Series]) -> Result<()> {
    let Some(other) = series.iter().find(|series| series.components != first.components) else {
        return Ok(());
    };
    Err(Error::File {
        path: first_source(other).to_path_buf(),
        place: String::new(),
        expected: format!("λ of {}, as in `{}`", first.components.join(", "), first_source(first).display()),
        found: format!("λ of {}", other.components.join(", ")),
        hint: "analyse files of one path together".into(),
    })
}

fn same_temperature(series: &[Series]) -> Result<f64> {
    let mut known = series.iter().filter(|series| series.temperature_k.is_finite());
    let Some(first) = known.next() else { return Ok(f64::NAN) };
    match known.find(|other| (other.temperature_k - first.temperature_k).abs() > SAME_TEMPERATURE_K) {
        None => Ok(first.temperature_k),
        Some(other) => Err(Error::File {
            path: first_source(other).to_path_buf(),
            place: String::new(),
            expected: format!("{} K, as in `{}`", first.temperature_k, first_source(first).display()),
            found: format!("{} K", other.temperature_k),
            hint: "reduced energies of different temperatures cannot be put together from such files".into(),
        }),
    }
}

/// The series without samples whose derivative is no number.
///
/// They are left out of everything, as other programs do: what wrote such a number may have gone wrong
/// elsewhere. Where no derivative at all is a number, it is the derivatives that are left out.
fn with_finite_derivatives(series: Series, verdicts: &mut Vec<Verdict>) -> Result<Series> {
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
fn joined(series: Vec<Series>) -> Vec<Series> {
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

/// All λ vectors in the order of the path.
///
/// The order of a file that names them all; otherwise the one in which every component rises, when there is
/// such; otherwise neighbours as the files have them.
fn path(series: &[Series], verdicts: &mut Vec<Verdict>) -> Vec<Vec<f64>> {
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

/// One time series, as (series, sample) in order of time.
struct Run {
    state: usize,
    samples: Vec<(usize, usize)>,
}

/// Sorts samples into time series; names what was out of order or twice there.
fn time_series(
    series: &[Series],
    maps: &[Vec<usize>],
    n_states: usize,
    verdicts: &mut Vec<Verdict>,
) -> Vec<Run> {
    let mut of_state: Vec<Vec<Run>> = (0..n_states).map(|_| Vec::new()).collect();
    let mut copies = Copies::new();
    for (s, one) in series.iter().enumerate() {
        let mut by_state: Vec<Vec<usize>> = vec![Vec::new(); n_states];
        for (sample, &state) in one.state_of.iter().enumerate() {
            by_state[maps[s][state]].push(sample);
        }
        for (state, samples) in by_state.into_iter().enumerate().filter(|(_, samples)| !samples.is_empty()) {
            for samples in stretches(one, samples, verdicts) {
                let run = Run { state, samples: samples.into_iter().map(|n| (s, n)).collect() };
                add_run(&mut of_state[state], run, series, &mut copies);
            }
        }
    }
    for ((name, other), n) in copies {
        let message = format!("`{name}`: {n} samples stand in `{other}` as well and were left out");
        verdicts.push(Verdict::new(Severity::Warning, "overlapping_times", message));
    }
    of_state.into_iter().flatten().collect()
}

/// How many samples of a file stand in another one as well.
type Copies = BTreeMap<(String, String), usize>;

/// The samples of one state in one series, divided where the time starts anew, without what a restart repeated.
fn stretches(series: &Series, samples: Vec<usize>, verdicts: &mut Vec<Verdict>) -> Vec<Vec<usize>> {
    let time = |n: usize| series.time[n];
    let mut stretches: Vec<Vec<usize>> = Vec::new();
    let (mut n_replaced, mut n_anew) = (0, 0);
    for n in samples {
        match stretches.last_mut() {
            Some(current) if current.last().is_none_or(|&last| time(n) > time(last)) => current.push(n),
            // A restart from a checkpoint: what was written after it is written again.
            Some(current) if time(n) > time(current[0]) => {
                while current.last().is_some_and(|&last| time(last) >= time(n)) {
                    current.pop();
                    n_replaced += 1;
                }
                current.push(n);
            }
            Some(current) if current.len() == 1 && time(n) == time(current[0]) => {
                n_replaced += 1;
                current[0] = n;
            }
            Some(_) => {
                n_anew += 1;
                stretches.push(vec![n]);
            }
            None => stretches.push(vec![n]),
        }
    }
    let file = first_source(series).display();
    let unit = series.time_unit;
    // Samples without any order of time are one series that was shuffled, not many simulations.
    let total: usize = stretches.iter().map(Vec::len).sum();
    if n_replaced + n_anew > 10 && (n_replaced + n_anew) * 10 > total {
        let mut all: Vec<usize> = (0..series.n_samples())
            .filter(|&n| series.state_of[n] == series.state_of[stretches[0][0]])
            .collect();
        all.sort_by(|&a, &b| time(a).total_cmp(&time(b)));
        let before = all.len();
        all.dedup_by(|a, b| time(*a) == time(*b));
        verdicts.push(Verdict::new(
            Severity::Warning,
            "unsorted_times",
            format!(
                "`{file}`: the times are in no order; they were sorted, and {} samples with a time that was there \
                 before were left out",
                before - all.len()
            ),
        ));
        return vec![all];
    }
    if n_replaced > 0 {
        verdicts.push(Verdict::new(
            Severity::Warning,
            "overlapping_times",
            format!(
                "`{file}`: {n_replaced} samples stand there again after a restart; the later ones were taken"
            ),
        ));
    }
    if n_anew > 0 {
        let first = stretches.last().map_or(0.0, |stretch| time(stretch[0]));
        verdicts.push(Verdict::new(
            Severity::Warning,
            "several_runs",
            format!(
                "`{file}`: the time starts anew {n_anew} times (last at {first} {unit}); the runs were taken as \
                 independent simulations of one state"
            ),
        ));
    }
    stretches
}

/// Joins a run to the one that it continues; drops what another file already holds.
fn add_run(runs: &mut Vec<Run>, mut run: Run, series: &[Series], copies: &mut Copies) {
    let time = |&(s, n): &(usize, usize)| series[s].time[n];
    let file = |run: &Run| first_source(&series[run.samples[0].0]).display().to_string();
    for other in runs.iter_mut() {
        let (s, t) = (run.samples[0].0, other.samples[0].0);
        if s == t || series[s].time_unit != series[t].time_unit {
            continue;
        }
        let last = time(&other.samples[other.samples.len() - 1]);
        if time(&run.samples[0]) > last && time(&run.samples[0]) > 0.0 && continues(&run, other, series) {
            other.samples.append(&mut run.samples);
            return;
        }
        let n_before = run.samples.len();
        let name = file(&run);
        run.samples.retain(|sample| {
            let place = other.samples.binary_search_by(|probe| time(probe).total_cmp(&time(sample)));
            place.map_or(true, |place| !equal(series, *sample, other.samples[place]))
        });
        let n_dropped = n_before - run.samples.len();
        if n_dropped > 0 {
            *copies.entry((name, file(other))).or_default() += n_dropped;
            if run.samples.is_empty() {
                return;
            }
            if time(&run.samples[0]) > last {
                other.samples.append(&mut run.samples);
                return;
            }
        }
    }
    runs.push(run);
}

/// Whether the gap between two runs is about as long as the interval of samples: then one continues the other.
fn continues(run: &Run, other: &Run, series: &[Series]) -> bool {
    let time = |&(s, n): &(usize, usize)| series[s].time[n];
    let interval = |run: &Run| match run.samples.as_slice() {
        [.., a, b] => time(b) - time(a),
        _ => 0.0,
    };
    let gap = time(&run.samples[0]) - time(&other.samples[other.samples.len() - 1]);
    gap <= 3.0 * interval(run).max(interval(other))
}

/// The same energies and derivatives in every digit.
fn equal(series: &[Series], (s, n): (usize, usize), (t, m): (usize, usize)) -> bool {
    let row = |s: usize, n: usize, values: &[f64]| -> Vec<u64> {
        let width = values.len() / series[s].n_samples();
        values[n * width..(n + 1) * width].iter().map(|value| value.to_bits()).collect()
    };
    row(s, n, &series[s].u_kt) == row(t, m, &series[t].u_kt)
        && row(s, n, &series[s].dudl_kt) == row(t, m, &series[t].dudl_kt)
}

#[cfg(test)]
mod tests {
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
}
