//! Thermodynamic states in a row, from which neighbours exchange walkers.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::units::Temperature;

/// A temperature and a point on an alchemical path.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ThermodynamicState {
    /// kT in kJ/mol.
    pub kt_kj_per_mol: f64,
    /// λ of the energy.
    pub lambda: f64,
}

impl ThermodynamicState {
    /// At this temperature and λ.
    pub fn new(temperature: Temperature, lambda: f64) -> Self {
        Self { kt_kj_per_mol: temperature.kt_kj_per_mol(), lambda }
    }

    /// T in K.
    pub fn temperature_k(&self) -> f64 {
        self.kt_kj_per_mol / crate::units::GAS_CONSTANT
    }
}

/// `n` temperatures in K whose neighbours have the same ratio, both ends included.
///
/// Where the heat capacity does not depend on temperature, all neighbours then exchange equally often
/// (Kofke 2002).
pub fn geometric_temperatures(lowest_k: f64, highest_k: f64, n: usize) -> Vec<f64> {
    let last = n.saturating_sub(1).max(1) as f64;
    let mut temperatures: Vec<f64> =
        (0..n).map(|k| lowest_k * (highest_k / lowest_k).powf(k as f64 / last)).collect();
    if let (true, Some(end)) = (n > 1, temperatures.last_mut()) {
        *end = highest_k;
    }
    temperatures
}

/// States in a row, along which either the temperature or λ changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ladder {
    states: Vec<ThermodynamicState>,
}

impl Ladder {
    /// Checks that there are at least two states and that one of kT and λ changes monotonically.
    pub fn new(states: Vec<ThermodynamicState>) -> Result<Self> {
        let ladder = Self { states };
        let distances = ladder.distances();
        let ascends = distances.windows(2).all(|pair| pair[1] > pair[0]);
        if ladder.states.len() < 2 || !ascends {
            return Err(Error::invalid(
                "ladder of replica exchange",
                "at least two states, along which the temperature or λ rises or falls",
                format!("{:?}", ladder.states),
            ));
        }
        Ok(ladder)
    }

    /// The states in order.
    pub fn states(&self) -> &[ThermodynamicState] {
        &self.states
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Never: a ladder has two states and more.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Whether the states differ in λ, so that exchanges need energies at other λ.
    pub fn changes_lambda(&self) -> bool {
        self.states.windows(2).any(|pair| pair[0].lambda != pair[1].lambda)
    }

    /// Where each state is between the first (0) and the last (1): along ln T, or along λ.
    fn distances(&self) -> Vec<f64> {
        let along = |state: &ThermodynamicState| match self.changes_lambda() {
            true => state.lambda,
            false => state.kt_kj_per_mol.ln(),
        };
        let (Some(first), Some(last)) = (self.states.first(), self.states.last()) else { return Vec::new() };
        let (first, span) = (along(first), along(last) - along(first));
        self.states.iter().map(|state| (along(state) - first) / span).collect()
    }

    /// The states moved so that all neighbours reject exchanges equally often, given how often they
    /// accept now; the ends stay (Syed et al. 2022).
    pub(super) fn placed_by(&self, acceptance: &[f64]) -> Self {
        let distances = self.distances();
        let placed = crate::sampling::replica_exchange::place_levels(&distances, acceptance);
        let log_kt: Vec<f64> = self.states.iter().map(|state| state.kt_kj_per_mol.ln()).collect();
        let lambda: Vec<f64> = self.states.iter().map(|state| state.lambda).collect();
        let between = |y: &[f64], s: f64| crate::sampling::replica_exchange::interpolate(&distances, y, s);
        let last = self.states.len() - 1;
        let states = placed.iter().enumerate().map(|(k, &s)| match k {
            // The ends keep their bits.
            k if k == 0 || k == last => self.states[k],
            _ => ThermodynamicState { kt_kj_per_mol: between(&log_kt, s).exp(), lambda: between(&lambda, s) },
        });
        Self { states: states.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_geometric_ladder_has_one_ratio_and_its_ends() {
        let temperatures = geometric_temperatures(300.0, 600.0, 5);
        assert_eq!((temperatures[0], temperatures[4]), (300.0, 600.0));
        for pair in temperatures.windows(2) {
            assert!((pair[1] / pair[0] - 2_f64.powf(0.25)).abs() < 1e-12);
        }
        assert_eq!(geometric_temperatures(300.0, 600.0, 1), [300.0]);
    }

    #[test]
    fn a_ladder_goes_one_way_and_moves_towards_pairs_that_reject() {
        let at = |kelvin, lambda| ThermodynamicState::new(Temperature::from_kelvin(kelvin).unwrap(), lambda);
        assert!(Ladder::new(vec![at(300.0, 1.0)]).is_err());
        assert!(Ladder::new(vec![at(300.0, 1.0), at(300.0, 1.0)]).is_err());
        assert!(Ladder::new(vec![at(300.0, 1.0), at(500.0, 1.0), at(400.0, 1.0)]).is_err());
        let down = Ladder::new(vec![at(300.0, 1.0), at(300.0, 0.5), at(300.0, 0.0)]).unwrap();
        assert!(down.changes_lambda());
        let placed = down.placed_by(&[0.9, 0.1]);
        // Lengths 0.1 and 0.9: half of the way is 4/9 into the second interval.
        assert!((placed.states()[1].lambda - (0.5 - 0.5 * 4.0 / 9.0)).abs() < 1e-12, "{placed:?}");
        let hot = Ladder::new(vec![at(300.0, 1.0), at(400.0, 1.0), at(600.0, 1.0)]).unwrap();
        // Pairs that accept equally often stay where they are.
        let same = hot.placed_by(&[0.5, 0.5]);
        let middle = same.states()[1].temperature_k();
        assert!((middle - 400.0).abs() < 1e-9, "{middle}");
        assert_eq!(same.states()[2], hot.states()[2]);
    }
}
