//! Settings of dynamics and of minimisation.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Settings of [`Dynamics`](super::Dynamics).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicsSettings {
    /// Time step in ps.
    pub time_step_ps: f64,
    /// Friction in 1/ps; 0 is velocity Verlet at constant energy.
    pub friction_per_ps: f64,
    /// Steps between recorded frames.
    pub record_every: u64,
    /// Steps between attempted pivots of every walker; 0: none.
    pub pivot_every: u64,
}

impl Default for DynamicsSettings {
    fn default() -> Self {
        Self { time_step_ps: 0.002, friction_per_ps: 1.0, record_every: 500, pivot_every: 0 }
    }
}

impl DynamicsSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        if !(self.time_step_ps > 0.0 && self.time_step_ps.is_finite()) {
            let message = format!("must be positive, found {}", self.time_step_ps);
            return Err(Error::config(format!("{place}.time_step_ps"), message, ""));
        }
        if !(self.friction_per_ps >= 0.0 && self.friction_per_ps.is_finite()) {
            let message = format!("must not be negative, found {}", self.friction_per_ps);
            return Err(Error::config(format!("{place}.friction_per_ps"), message, ""));
        }
        if self.record_every == 0 {
            return Err(Error::config(format!("{place}.record_every"), "must be at least 1", ""));
        }
        Ok(())
    }
}

/// Settings of [`Dynamics::minimize`](super::Dynamics::minimize).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MinimizeSettings {
    /// Done when no atom feels a larger force (constraint forces not counted), in kJ/(mol nm).
    pub tolerance_kj_per_mol_nm: f64,
    /// Steps at most.
    pub max_steps: usize,
    /// No atom moves further in a step, in nm.
    pub max_displacement_nm: f64,
}

impl Default for MinimizeSettings {
    fn default() -> Self {
        Self { tolerance_kj_per_mol_nm: 10.0, max_steps: 5000, max_displacement_nm: 0.01 }
    }
}

impl MinimizeSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        let positive = [
            ("tolerance_kj_per_mol_nm", self.tolerance_kj_per_mol_nm),
            ("max_displacement_nm", self.max_displacement_nm),
        ];
        for (key, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                let message = format!("must be positive, found {value}");
                return Err(Error::config(format!("{place}.{key}"), message, ""));
            }
        }
        Ok(())
    }
}
