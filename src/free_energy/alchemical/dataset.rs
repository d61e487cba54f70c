//! The samples of all simulations along one path of λ.

use super::Verdict;
use std::path::PathBuf;

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
    pub samples: std::ops::Range<usize>,
    /// Where they come from.
    pub sources: Vec<PathBuf>,
}

/// Samples of all states, sorted by state, then simulation, then time.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// K.
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

    /// Energies of all samples in one state, kT.
    pub fn u_of_state(&self, state: usize) -> &[f64] {
        let n = self.n_samples();
        &self.u_kt[state * n..(state + 1) * n]
    }

    /// Derivatives by one component of all samples, kT.
    pub fn dudl_of_component(&self, component: usize) -> &[f64] {
        let n = self.n_samples();
        &self.dudl_kt[component * n..(component + 1) * n]
    }
}
