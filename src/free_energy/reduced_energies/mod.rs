//! u_k(x_n): the reduced energy of every sample in every state, the input of MBAR.

pub mod npy;
pub mod parquet;
pub mod source;

use self::source::{EnergySource, Storage, Stretch, in_single_precision, stretch_length};
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A matrix u_kn in kT, `[state][sample]`, and the state from which each sample was drawn.
///
/// What numbers may be: +∞ in a state from which the sample does not come is a conformation that this
/// state forbids, weight zero. −∞ there can only be an overflow of the program that wrote it; it counts
/// as +∞ too, and [`Self::n_overflows`] says how often. A state without samples in which any energy is
/// NaN has no result ([`Self::void_states`]). All else that is not finite is an error that names sample
/// and state.
#[derive(Debug, Clone)]
pub struct ReducedEnergies {
    n_states: usize,
    n_samples: usize,
    storage: Storage,
    state_of: OnceLock<Vec<usize>>,
    n_k: Vec<usize>,
    names: Vec<String>,
    void_states: Vec<usize>,
    n_overflows: usize,
}

impl ReducedEnergies {
    /// Takes the energies row by row (all samples in state 0, then in state 1, …).
    pub fn new(n_states: usize, u_kn: Vec<f64>, state_of: Vec<usize>) -> Result<Self> {
        check_shape(n_states, state_of.len(), u_kn.len())?;
        let mut n_k = vec![0; n_states];
        for (sample, &state) in state_of.iter().enumerate() {
            if state >= n_states {
                return Err(Error::invalid(
                    "state of a sample",
                    format!("an index below {n_states}"),
                    format!("{state} for sample {sample}"),
                ));
            }
            n_k[state] += 1;
        }
        Self::assembled(n_k, Storage::Double(u_kn), Some(state_of))
    }

    /// Takes the energies row by row, of samples that stand in the order of their states: the first
    /// `n_k[0]` come from state 0, the next `n_k[1]` from state 1.
    pub fn ordered(n_k: Vec<usize>, u_kn: Vec<f64>) -> Result<Self> {
        check_shape(n_k.len(), n_k.iter().sum(), u_kn.len())?;
        Self::assembled(n_k, Storage::Double(u_kn), None)
    }

    /// Energies that are read whenever they are needed, of samples in the order of their states.
    pub fn streamed(n_k: Vec<usize>, source: Arc<dyn EnergySource>) -> Result<Self> {
        check_source(&n_k, &*source)?;
        Self::assembled(n_k, Storage::Streamed(source), None)
    }

    /// Energies kept in memory in single precision, of samples in the order of their states.
    ///
    /// Rounded are differences between states, after the median of each state is taken off, to a
    /// relative 6e-8; all sums over them are double precision.
    pub fn single_precision(n_k: Vec<usize>, source: &dyn EnergySource) -> Result<Self> {
        check_source(&n_k, source)?;
        Self::assembled(n_k, in_single_precision(source)?, None)
    }

    fn assembled(n_k: Vec<usize>, storage: Storage, state_of: Option<Vec<usize>>) -> Result<Self> {
        let names = (0..n_k.len()).map(|state| format!("state {state}")).collect();
        let mut energies = Self {
            n_states: n_k.len(),
            n_samples: n_k.iter().sum(),
            storage,
            state_of: state_of.map_or_else(OnceLock::new, OnceLock::from),
            n_k,
            names,
            void_states: Vec::new(),
            n_overflows: 0,
        };
        energies.check_numbers()?;
        Ok(energies)
    }

    /// Errors for numbers that no analysis can use; finds void states and overflows.
    fn check_numbers(&mut self) -> Result<()> {
        if let Storage::Double(values) = &self.storage {
            let finite =
                |piece: &[f64]| piece.iter().fold(true, |finite, u| finite & (u.abs() < f64::INFINITY));
            if values.par_chunks(1 << 15).all(finite) {
                return Ok(());
            }
        }
        let mut void = vec![false; self.n_states];
        let mut overflows = Vec::new();
        let mut scratch = Vec::new();
        let length = stretch_length(self.n_states);
        for start in (0..self.n_samples).step_by(length) {
            let samples = start..(start + length).min(self.n_samples);
            if let Storage::Streamed(source) = &self.storage {
                // Read here as it is, because a stretch has no −∞ any more.
                scratch.resize(self.n_states * samples.len(), 0.0);
                source.read(samples.clone(), &mut scratch[..self.n_states * samples.len()])?;
            }
            let stretch = match &self.storage {
                Storage::Streamed(_) => Stretch { values: &scratch, stride: samples.len() },
                storage => storage.stretch(self.n_states, self.n_samples, samples.clone(), &mut scratch)?,
            };
            for (state, void) in void.iter_mut().enumerate() {
                let row = &stretch.values[state * stretch.stride..][..samples.len()];
                if row.iter().fold(true, |finite, u| finite & (u.abs() < f64::INFINITY)) {
                    continue;
                }
                for (n, &u) in samples.clone().zip(row).filter(|(_, u)| !u.is_finite()) {
                    let own = self.state_of_sample(n) == state;
                    if own || (u.is_nan() && self.n_k[state] > 0) {
                        return Err(Error::invalid(
                            "reduced energies u_kn",
                            if own {
                                "a finite energy of each sample in the state that it was drawn from"
                            } else {
                                "numbers in all states that have samples"
                            },
                            format!("{u} for sample {n} in {}", self.names[state]),
                        ));
                    }
                    *void |= u.is_nan();
                    if u == f64::NEG_INFINITY {
                        overflows.push(state * self.n_samples + n);
                    }
                }
            }
        }
        self.n_overflows = overflows.len();
        match &mut self.storage {
            Storage::Double(values) => overflows.iter().for_each(|&at| values[at] = f64::INFINITY),
            Storage::Single { values, .. } => overflows.iter().for_each(|&at| values[at] = f32::INFINITY),
            Storage::Streamed(_) => {}
        }
        self.void_states = (0..self.n_states).filter(|&state| void[state]).collect();
        Ok(())
    }

    fn state_of_sample(&self, sample: usize) -> usize {
        self.state_of()[sample]
    }

    /// The same with states called by name in verdicts, for example `lambda 0.25`.
    pub fn with_names(mut self, names: Vec<String>) -> Result<Self> {
        if names.len() != self.n_states {
            return Err(Error::invalid(
                "names of states",
                self.n_states.to_string(),
                names.len().to_string(),
            ));
        }
        self.names = names;
        Ok(self)
    }

    /// Number of states K.
    pub fn n_states(&self) -> usize {
        self.n_states
    }

    /// Number of samples N from all states together.
    pub fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// Samples drawn from each state; may be zero.
    pub fn n_k(&self) -> &[usize] {
        &self.n_k
    }

    /// The state from which each sample was drawn.
    pub fn state_of(&self) -> &[usize] {
        // Samples in the order of their states need no list until somebody asks for it.
        self.state_of.get_or_init(|| {
            self.n_k.iter().enumerate().flat_map(|(state, &n)| std::iter::repeat_n(state, n)).collect()
        })
    }

    /// Stretches of consecutive samples from one state, in order.
    pub(super) fn runs(&self) -> Vec<(usize, Range<usize>)> {
        let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
        match self.state_of.get() {
            Some(state_of) => {
                for (n, &state) in state_of.iter().enumerate() {
                    match runs.last_mut() {
                        Some((last, run)) if *last == state => run.end = n + 1,
                        _ => runs.push((state, n..n + 1)),
                    }
                }
            }
            None => {
                let mut start = 0;
                for (state, &n) in self.n_k.iter().enumerate().filter(|(_, n)| **n > 0) {
                    runs.push((state, start..start + n));
                    start += n;
                }
            }
        }
        runs
    }

    /// Some samples in some states, in memory; `ranges` in order, every state with its own samples' state
    /// among `states`.
    pub(super) fn subset(&self, states: &[usize], ranges: &[Range<usize>]) -> Result<Self> {
        let n_samples: usize = ranges.iter().map(Range::len).sum();
        let mut values = vec![0.0; states.len() * n_samples];
        if let Storage::Double(all) = &self.storage {
            values.par_chunks_exact_mut(n_samples).zip(states).for_each(|(row, &state)| {
                let from = &all[state * self.n_samples..(state + 1) * self.n_samples];
                let mut filled = 0;
                for range in ranges {
                    row[filled..filled + range.len()].copy_from_slice(&from[range.clone()]);
                    filled += range.len();
                }
            });
        } else {
            self.gather(states, ranges, &mut values)?;
        }
        let (mut n_k, mut state_of) = (vec![0; states.len()], Vec::with_capacity(n_samples));
        let mut ranges = ranges.iter().peekable();
        for (state, run) in self.runs() {
            let place = states.iter().position(|&k| k == state);
            while let Some(range) = ranges.peek().filter(|range| range.start < run.end) {
                let taken = range.end.min(run.end) - range.start.max(run.start);
                let place = place.expect("samples of a state that is kept");
                n_k[place] += taken;
                state_of.extend(std::iter::repeat_n(place, taken));
                if range.end > run.end {
                    break;
                }
                ranges.next();
            }
        }
        Ok(Self {
            n_states: states.len(),
            n_samples,
            storage: Storage::Double(values),
            state_of: OnceLock::from(state_of),
            n_k,
            names: states.iter().map(|&k| self.names[k].clone()).collect(),
            void_states: Vec::new(),
            n_overflows: 0,
        })
    }

    /// Fills `values`, `[state][sample]`, from energies that come in stretches.
    fn gather(&self, states: &[usize], ranges: &[Range<usize>], values: &mut [f64]) -> Result<()> {
        let n_samples = values.len() / states.len();
        let length = stretch_length(self.n_states);
        let (mut scratch, mut filled, mut next) = (Vec::new(), 0, 0);
        for start in (0..self.n_samples).step_by(length) {
            let samples = start..(start + length).min(self.n_samples);
            let stretch = self.stretch(samples.clone(), &mut scratch)?;
            while let Some(range) = ranges.get(next).filter(|range| range.start < samples.end) {
                let here = range.start.max(samples.start)..range.end.min(samples.end);
                for (row, &state) in values.chunks_exact_mut(n_samples).zip(states) {
                    let from = &stretch.values[state * stretch.stride + (here.start - start)..][..here.len()];
                    row[filled..filled + here.len()].copy_from_slice(from);
                }
                filled += here.len();
                if range.end > samples.end {
                    break;
                }
                next += 1;
            }
        }
        Ok(())
    }

    /// What the states are called.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// States without samples whose energies are not all numbers: they have no free energy.
    pub fn void_states(&self) -> &[usize] {
        &self.void_states
    }

    /// How many energies were −∞, overflows that count as +∞.
    pub fn n_overflows(&self) -> usize {
        self.n_overflows
    }

    /// Energies of consecutive samples in all states, in memory or in `scratch`.
    pub(super) fn stretch<'a>(
        &'a self,
        samples: Range<usize>,
        scratch: &'a mut Vec<f64>,
    ) -> Result<Stretch<'a>> {
        self.storage.stretch(self.n_states, self.n_samples, samples, scratch)
    }

    /// Whether a stretch of any length costs nothing.
    pub(super) fn is_direct(&self) -> bool {
        self.storage.is_direct()
    }

    /// Whether energies are read whenever they are needed.
    pub(super) fn is_streamed(&self) -> bool {
        matches!(self.storage, Storage::Streamed(_))
    }

    /// u of every sample in one state; in single precision up to a number common to all states.
    ///
    /// Of energies that are streamed, those that can no longer be read are NaN.
    pub fn row(&self, state: usize) -> Cow<'_, [f64]> {
        let n = self.n_samples;
        if let Storage::Double(values) = &self.storage {
            return Cow::Borrowed(&values[state * n..(state + 1) * n]);
        }
        let (mut row, mut scratch) = (Vec::with_capacity(n), Vec::new());
        let length = stretch_length(self.n_states);
        for start in (0..n).step_by(length) {
            let len = length.min(n - start);
            match self.stretch(start..start + len, &mut scratch) {
                Ok(stretch) => row.extend_from_slice(&stretch.values[state * stretch.stride..][..len]),
                Err(_) => row.extend(std::iter::repeat_n(f64::NAN, len)),
            }
        }
        Cow::Owned(row)
    }

    /// u of one sample in one state, as in [`Self::row`].
    pub fn at(&self, state: usize, sample: usize) -> f64 {
        let mut scratch = Vec::new();
        let stretch = self.stretch(sample..sample + 1, &mut scratch);
        stretch.map_or(f64::NAN, |stretch| stretch.values[state * stretch.stride])
    }

    /// Work u_to − u_from of the samples drawn from `from`.
    pub fn work(&self, from: usize, to: usize) -> Vec<f64> {
        let (u_from, u_to) = (self.row(from), self.row(to));
        let of_state = self.runs().into_iter().filter(|(state, _)| *state == from);
        of_state.flat_map(|(_, run)| run.map(|n| u_to[n] - u_from[n]).collect::<Vec<_>>()).collect()
    }
}

fn check_shape(n_states: usize, n_samples: usize, n_numbers: usize) -> Result<()> {
    if n_states == 0 || n_samples == 0 {
        return Err(Error::invalid(
            "reduced energies",
            "at least one state and one sample",
            format!("{n_states} states and {n_samples} samples"),
        ));
    }
    if n_numbers != n_states * n_samples {
        return Err(Error::invalid(
            "reduced energies u_kn",
            format!("{n_states} states × {n_samples} samples = {} numbers", n_states * n_samples),
            n_numbers.to_string(),
        ));
    }
    Ok(())
}

fn check_source(n_k: &[usize], source: &dyn EnergySource) -> Result<()> {
    let n_samples: usize = n_k.iter().sum();
    if (n_k.len(), n_samples) != (source.n_states(), source.n_samples()) {
        return Err(Error::invalid(
            "reduced energies u_kn",
            format!("{} states and {n_samples} samples, as the counts of samples say", n_k.len()),
            format!("{} states and {} samples", source.n_states(), source.n_samples()),
        ));
    }
    check_shape(n_k.len(), n_samples, n_k.len() * n_samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_number_is_named_by_state_and_sample() {
        let u = vec![0.0, 1.0, 2.0, 3.0, f64::NAN, 5.0];
        let error = ReducedEnergies::new(2, u.clone(), vec![0, 0, 1]).unwrap_err().to_string();
        assert!(error.contains("NaN for sample 1 in state 1"), "{error}");
        // The same number in a state without samples costs only that state.
        assert_eq!(ReducedEnergies::new(2, u, vec![0, 0, 0]).unwrap().void_states(), [1]);

        for bad in [f64::INFINITY, f64::NEG_INFINITY] {
            let u = vec![0.0, bad, 2.0, 3.0, 4.0, 5.0];
            let error = ReducedEnergies::new(2, u.clone(), vec![0, 0, 1]).unwrap_err().to_string();
            assert!(error.contains("inf for sample 1 in state 0"), "{error}");
            let energies = ReducedEnergies::new(2, u, vec![0, 1, 1]).unwrap();
            assert_eq!(energies.at(0, 1), f64::INFINITY);
            assert_eq!(energies.n_overflows(), usize::from(bad < 0.0));
        }
    }

    #[test]
    fn shapes_must_fit() {
        assert!(ReducedEnergies::new(2, vec![0.0; 5], vec![0, 1, 1]).is_err());
        assert!(ReducedEnergies::new(2, vec![0.0; 6], vec![0, 1, 2]).is_err());
        assert!(ReducedEnergies::new(0, vec![], vec![]).is_err());
        assert!(ReducedEnergies::ordered(vec![2, 2], vec![0.0; 6]).is_err());
    }

    #[test]
    fn samples_in_the_order_of_states_need_no_list() {
        let u: Vec<f64> = (0..12).map(f64::from).collect();
        let ordered = ReducedEnergies::ordered(vec![1, 0, 3], u.clone()).unwrap();
        let runs = ordered.runs();
        assert_eq!(runs, [(0, 0..1), (2, 1..4)]);
        assert_eq!(ordered.state_of(), [0, 2, 2, 2]);
        let listed = ReducedEnergies::new(3, u, vec![0, 2, 2, 2]).unwrap();
        assert_eq!((listed.runs(), listed.work(2, 0)), (runs, vec![-8.0; 3]));
    }
}
