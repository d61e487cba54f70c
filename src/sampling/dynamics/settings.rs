//! Settings of dynamics and of minimisation.

use serde::{Deserialize, Serialize};

use crate::error::{Result, at_least, not_negative, positive};

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
        positive(format!("{place}.time_step_ps"), self.time_step_ps)?;
        not_negative(format!("{place}.friction_per_ps"), self.friction_per_ps)?;
        at_least(format!("{place}.record_every"), self.record_every, 1)
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
        let lengths = [
            ("tolerance_kj_per_mol_nm", self.tolerance_kj_per_mol_nm),
            ("max_displacement_nm", self.max_displacement_nm),
        ];
        for (key, value) in lengths {
            positive(format!("{place}.{key}"), value)?;
        }
        Ok(())
    }
}
