//! Persistent contrastive divergence at every noise level (Tieleman 2008): negatives are chains that go on from step to step
//! of training.
//!
//! L = u(x, t) − u(x⁻, t) + α (u(x, t) − u(x⁻, t))²
//!
//! with x⁻ from a buffer of `n_chains` chains for each place in the batch, that is for each stratum of diffusion times. Chains that are
//! old draw from the energy as it is, not only near data: energies whose law has drifted away from the data are seen, which
//! short chains do not. `refresh` of the chains start at data again. The buffer is part of every checkpoint.

use serde::{Deserialize, Serialize};

use super::contrastive_divergence::{check_penalty, contrast};
use super::{Cotangent, Coupling, Objective, Point};
use crate::error::{Error, Result};
use crate::registry::Settings;
use crate::training::chains::{ChainSettings, Chains, Start};

/// Settings of persistent contrastive divergence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PersistentContrastiveDivergence {
    /// The chains.
    pub chain: ChainSettings,
    /// Chains in the buffer for each place in the batch.
    pub n_chains: usize,
    /// Share of negatives that start at data again.
    pub refresh: f64,
    /// α.
    pub penalty: f64,
}

impl Default for PersistentContrastiveDivergence {
    fn default() -> Self {
        Self { chain: ChainSettings::default(), n_chains: 16, refresh: 0.05, penalty: 0.0 }
    }
}

impl Settings<dyn Objective, ()> for PersistentContrastiveDivergence {
    const SUMMARY: &'static str = "persistent contrastive divergence: noised data against chains that go on from step to step (n_times = 2)";
    const EXAMPLE: &'static str =
        "n_chains = 16\nrefresh = 0.05\nchain = { n_steps = 10, step = 1.0, width = 0.2 }";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        self.chain.validate()?;
        check_penalty(self.penalty)?;
        if self.n_chains == 0 || self.n_chains > 4096 {
            return Err(Error::config("n_chains", format!("must be 1 to 4096, found {}", self.n_chains), ""));
        }
        if !(0.0..=1.0).contains(&self.refresh) {
            return Err(Error::config(
                "refresh",
                format!("must be between 0 and 1, found {}", self.refresh),
                "",
            ));
        }
        Ok(Box::new(self))
    }
}

impl Objective for PersistentContrastiveDivergence {
    fn name(&self) -> &'static str {
        "persistent_contrastive_divergence"
    }

    fn needs_gradients(&self) -> bool {
        false
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn coupling(&self) -> Coupling {
        let start = Start::Persistent { n_chains: self.n_chains, refresh: self.refresh };
        Coupling::Chains(Chains { moves: self.chain, start })
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        contrast(point, [0, 1], self.penalty, weight, cotangent)
    }
}
