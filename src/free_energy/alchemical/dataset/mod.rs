//! The samples of all simulations along one path of λ.
//!
//! Assembling decides what belongs together: which λ vectors are one state, in which order they lie, which
//! samples are one time series. What was repaired on the way is said in verdicts; what cannot be repaired
//! is an error that names file and line.

mod halves;
mod path;
#[cfg(test)]
mod tests;
mod time_series;

use super::{Severity, Verdict};
use crate::error::{Error, Result};
use crate::free_energy::reader::{Series, common_temperature};
use halves::{joined, with_finite_derivatives};
use path::path;
use std::ops::Range;
use std::path::{Path, PathBuf};
use time_series::{Run, time_series};

/// λ vectors closer than this in every component are one state.
const SAME_LAMBDA: f64 = 1e-6;

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
        let mut series = joined(series);
        let mut verdicts: Vec<Verdict> = series
            .iter()
            .flat_map(|series| &series.warnings)
            .map(|text| Verdict::new(Severity::Warning, "input", text))
            .chain(first_few(unusable))
            .collect();
        series.retain(|series| series.n_samples() > 0);
        let Some(first) = series.first() else {
            return Err(Error::invalid("alchemical data", "samples in at least one file", "none"));
        };
        same_components(first, &series)?;
        let temperature_k = common_temperature(&series)?;
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
                check_own_column(series, sample, &self.states[self.state_of[place]].name)?;
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
            let place_of = |place: usize| {
                let (s, sample) = order[place];
                let (file, line) = series[s].place(sample);
                format!("`{}`, {line}", file.display())
            };
            self.judge_columns(&computed, &n_k, place_of);
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
    fn judge_columns(&mut self, computed: &[bool], n_k: &[usize], place_of: impl Fn(usize) -> String) {
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
            let nan: Vec<usize> = (0..n).filter(|&sample| known[sample] && column[sample].is_nan()).collect();
            let name = &self.states[state].name;
            if let Some(first) = nan.first() {
                self.void_states.push(state);
                self.verdicts.push(Verdict::new(
                    Severity::Warning,
                    "void_state",
                    format!(
                        "{name} has no samples, and {} of its energies are not numbers, the first in {}: it has no result",
                        nan.len(),
                        place_of(*first)
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

/// What is said of many files is said of three, and how many more there are.
fn first_few(mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let more = verdicts.len().saturating_sub(3);
    if more > 0 {
        verdicts.truncate(3);
        verdicts[2].message += &format!(" ({more} more files are like it)");
    }
    verdicts
}

/// A sample with energies needs one of the state that it came from.
fn check_own_column(series: &Series, sample: usize, name: &str) -> Result<()> {
    let Some(computed) = &series.computed else { return Ok(()) };
    let width = series.states.len();
    let row = &computed[sample * width..(sample + 1) * width];
    if row[series.state_of[sample]] || row.iter().all(|known| !known) {
        return Ok(());
    }
    let (path, place) = series.place(sample);
    Err(Error::File {
        path,
        place,
        expected: format!("an energy of this sample in its own state {name}"),
        found: "energies in other states only".into(),
        hint: "add a column for that state, or leave its samples out".into(),
    })
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
