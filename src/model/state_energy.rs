//! What a model with states says of each of them: the energy of one, and which of them a conformation belongs to.

use super::energy_model::EnergyModel;
use crate::error::{Error, Result};
use crate::potential::{PotentialPath, Space, log_sum_exp};

/// u(x, t, y) = −log p(x, y; t) of one state y: up to a constant the energy of its conformations, p(x | y; t).
///
/// At the noise end it is the Gaussian minus the logarithm of the share of the state, as samplers along the path need it.
#[derive(Clone, Copy)]
pub struct StateEnergy<'a> {
    model: &'a EnergyModel,
    state: usize,
}

impl EnergyModel {
    /// The energy of one state.
    pub fn of_state(&self, state: usize) -> Result<StateEnergy<'_>> {
        if state < self.n_states() {
            return Ok(StateEnergy { model: self, state });
        }
        let expected = format!("less than the {} states of the model", self.n_states());
        Err(Error::invalid("state", expected, state.to_string()))
    }

    /// p(y | x, t) of conformations and every state, `[conformation][state]`; empty for a model without states.
    pub fn state_probabilities(&self, t: &[f64], x: &[f64]) -> Result<Vec<f64>> {
        let n_states = self.n_states();
        let mut found = vec![0.0; t.len() * n_states];
        let mut u = vec![0.0; t.len()];
        for state in 0..n_states {
            self.energies_of(Some(state), t, x, &mut u)?;
            found.iter_mut().skip(state).step_by(n_states).zip(&u).for_each(|(log_p, u)| *log_p = -u);
        }
        for log_p in found.chunks_exact_mut(n_states.max(1)) {
            let sum = log_sum_exp(log_p);
            log_p.iter_mut().for_each(|log_p| *log_p = (*log_p - sum).exp());
        }
        Ok(found)
    }
}

impl PotentialPath for StateEnergy<'_> {
    fn space(&self) -> Space {
        self.model.space()
    }

    fn range(&self) -> (f64, f64) {
        self.model.range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        self.model.energies_of(Some(self.state), lambda, x, u)
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        self.model.energies_and_gradients_of(Some(self.state), lambda, x, u, gradient)
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        self.model.lambda_derivatives_of(Some(self.state), lambda, x, du_dlambda)
    }
}
