//! u_k(x_n): the reduced energy of every sample in every state, the input of MBAR.

use crate::error::{Error, Result};

/// A matrix u_kn in kT, `[state][sample]`, and the state from which each sample was drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct ReducedEnergies {
    n_states: usize,
    u_kn: Vec<f64>,
    state_of: Vec<usize>,
    n_k: Vec<usize>,
    names: Vec<String>,
}

impl ReducedEnergies {
    /// Takes the energies row by row (all samples in state 0, then in state 1, …).
    ///
    /// +∞ is allowed: a conformation that a state forbids. NaN, −∞, and +∞ in the very state that a
    /// sample came from are errors that name state and sample.
    pub fn new(n_states: usize, u_kn: Vec<f64>, state_of: Vec<usize>) -> Result<Self> {
        let n_samples = state_of.len();
        if n_states == 0 || n_samples == 0 {
            return Err(Error::invalid(
                "reduced energies",
                "at least one state and one sample",
                format!("{n_states} states and {n_samples} samples"),
            ));
        }
        if u_kn.len() != n_states * n_samples {
            return Err(Error::invalid(
                "reduced energies u_kn",
                format!("{n_states} states × {n_samples} samples = {} numbers", n_states * n_samples),
                u_kn.len().to_string(),
            ));
        }
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
            let own = u_kn[state * n_samples + sample];
            if own == f64::INFINITY {
                return Err(Error::invalid(
                    "reduced energies u_kn",
                    "a finite energy of each sample in the state that it was drawn from",
                    format!("+inf for sample {sample} in state {state}"),
                ));
            }
        }
        if let Some(place) = u_kn.iter().position(|u| u.is_nan() || *u == f64::NEG_INFINITY) {
            return Err(Error::invalid(
                "reduced energies u_kn",
                "finite numbers or +inf",
                format!("{} for sample {} in state {}", u_kn[place], place % n_samples, place / n_samples),
            ));
        }
        let names = (0..n_states).map(|state| format!("state {state}")).collect();
        Ok(Self { n_states, u_kn, state_of, n_k, names })
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
        self.state_of.len()
    }

    /// Samples drawn from each state; may be zero.
    pub fn n_k(&self) -> &[usize] {
        &self.n_k
    }

    /// The state from which each sample was drawn.
    pub fn state_of(&self) -> &[usize] {
        &self.state_of
    }

    /// What the states are called.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// u of every sample in one state.
    pub fn row(&self, state: usize) -> &[f64] {
        let n = self.n_samples();
        &self.u_kn[state * n..(state + 1) * n]
    }

    /// u of one sample in one state.
    pub fn at(&self, state: usize, sample: usize) -> f64 {
        self.u_kn[state * self.n_samples() + sample]
    }

    /// Work u_to − u_from of the samples drawn from `from`.
    pub fn work(&self, from: usize, to: usize) -> Vec<f64> {
        let (u_from, u_to) = (self.row(from), self.row(to));
        (0..self.n_samples()).filter(|&n| self.state_of[n] == from).map(|n| u_to[n] - u_from[n]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_number_is_named_by_state_and_sample() {
        let u = vec![0.0, 1.0, 2.0, 3.0, f64::NAN, 5.0];
        let error = ReducedEnergies::new(2, u, vec![0, 0, 1]).unwrap_err().to_string();
        assert!(error.contains("NaN for sample 1 in state 1"), "{error}");

        let u = vec![0.0, f64::INFINITY, 2.0, 3.0, 4.0, 5.0];
        let error = ReducedEnergies::new(2, u.clone(), vec![0, 0, 1]).unwrap_err().to_string();
        assert!(error.contains("+inf for sample 1 in state 0"), "{error}");
        assert!(ReducedEnergies::new(2, u, vec![0, 1, 1]).is_ok());
    }

    #[test]
    fn shapes_must_fit() {
        assert!(ReducedEnergies::new(2, vec![0.0; 5], vec![0, 1, 1]).is_err());
        assert!(ReducedEnergies::new(2, vec![0.0; 6], vec![0, 1, 2]).is_err());
        assert!(ReducedEnergies::new(0, vec![], vec![]).is_err());
    }
}
