//! An energy made of the logits of a classifier of states (JEM, Grathwohl et al. 2020).
//!
//! A network with an energy u₀ and K logits h_k on top of the same hidden layers has, with κ(t) the factor that vanishes at
//! the noise end and f_k = κ h_k + β_k,
//!
//! u(x, t) = κ u₀ − log Σ_k exp f_k + log Σ_k exp β_k,    p(y | x, t) = exp f_y / Σ_k exp f_k,
//!
//! and the energy of conformation and state together u(x, t, y) = u(x, t) − log p(y | x, t) = −f_y + what all states share,
//! so that u(x, t) = −log Σ_y exp(−u(x, t, y)). At the noise end nothing is known of the state: p(y | x, t) is exp β_y /
//! Σ exp β, for which training finds the shares of the states in the data, and u is the normalised Gaussian whatever the
//! weights are. Before training all logits are zero.
//!
//! Which energy is computed is decided by K rows of the time vector, all 0 for u(x, t) and 1 in place y for u(x, t, y):
//! differences of logits are subtracted from u as they are, however large, and no state is weighed down by a constant.

use crate::model::program::{Init, Program, Unary, Value};

/// The energy of `shared` = κ u₀ and these logits h, K rows; `strength` is κ.
pub(super) fn with_states(p: &mut Program, shared: Value, logits: Value, strength: Value) -> Value {
    let n_states = p.rows(logits);
    let scaled = p.multiply(logits, strength);
    let prior = p.bias(n_states, Init::Zero);
    let logits = p.add(scaled, prior);
    let [of_all, of_prior] = [logits, prior].map(|values| log_sum_exp(p, values));
    let together = p.add(shared, of_prior);
    let together = p.subtract(together, of_all);
    let log_probabilities = p.subtract(logits, of_all);
    let choice = p.choice_of_state(n_states);
    let chosen = p.dot(log_probabilities, choice);
    p.subtract(together, chosen)
}

/// log Σ exp over rows, by halves: log(eᵃ + eᵇ) = a + log(1 + exp(b − a)).
fn log_sum_exp(p: &mut Program, mut values: Value) -> Value {
    while p.rows(values) > 1 {
        let (n, half) = (p.rows(values), p.rows(values) / 2);
        let (a, b) = (p.slice_rows(values, 0, half), p.slice_rows(values, half, half));
        let difference = p.subtract(b, a);
        let rest = p.unary(difference, Unary::Softplus);
        let sum = p.add(a, rest);
        values = if n % 2 == 0 {
            sum
        } else {
            let last = p.slice_rows(values, n - 1, 1);
            p.concat(vec![sum, last])
        };
    }
    values
}

/// For serialisation: what is 0 is left out.
pub(super) fn is_none(n_states: &usize) -> bool {
    *n_states == 0
}
