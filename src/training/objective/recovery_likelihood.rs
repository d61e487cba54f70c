//! Diffusion recovery likelihood (Gao et al. 2021): the energy at every noise level, by how well noised data are recovered from
//! noisier versions of themselves.
//!
//! For x ~ p_s and y a version of it that is noisier by `distance` in log(a²/g²),
//!
//! L = u(x, s) − u(x⁻, s),    x⁻ ~ exp(−u(x, s) − |y − r x|²/(2v))
//!
//! which is the relative entropy of the conditional laws, since their normalisers have the same gradient. The condition
//! makes the law so narrow that a short chain draws from it, and modes are joined where y could have come from several: the chain
//! must cross between them for their weights to be learned. Chains that are too short to forget their start leave a bias,
//! since it is not at data. `initialiser` says where they start: `gaussian` at a draw from what y would have been if data
//! were Gaussian, `reverse_step` at a reverse step of the learned score from y, `network` at that of a second network
//! which learns from where chains ended, for one more gradient and one more step of score matching per point (cooperative
//! diffusion recovery likelihood, Zhu et al. 2024; `training::initialiser`).

use serde::{Deserialize, Serialize};

use super::contrastive_divergence::{check_penalty, contrast};
use super::{Cotangent, Coupling, Objective, Point};
use crate::error::{Result, positive};
use crate::registry::Settings;
use crate::training::chains::{ChainSettings, Chains, Proposal, Start};

/// Settings of the recovery likelihood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecoveryLikelihood {
    /// The chains.
    pub chain: ChainSettings,
    /// How much noisier y is, in log(a²/g²); where that is less noise than modes are wide, it has as much as they are.
    pub distance: f64,
    /// Where chains start.
    pub initialiser: Proposal,
    /// α of the penalty on (u(x) − u(x⁻))².
    pub penalty: f64,
}

impl Default for RecoveryLikelihood {
    fn default() -> Self {
        let chain = ChainSettings { n_steps: 20, ..ChainSettings::default() };
        Self { chain, distance: 1.0, initialiser: Proposal::default(), penalty: 0.0 }
    }
}

impl Settings<dyn Objective, ()> for RecoveryLikelihood {
    const SUMMARY: &'static str = "diffusion recovery likelihood: noised data against chains under a noisier version of them (n_times = 2)";
    const EXAMPLE: &'static str =
        "distance = 1.0\ninitialiser = 'reverse_step'\nchain = { n_steps = 10, step = 1.0, width = 0.2 }";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        self.chain.validate()?;
        check_penalty(self.penalty)?;
        positive("distance", self.distance)?;
        Ok(Box::new(self))
    }
}

impl Objective for RecoveryLikelihood {
    fn name(&self) -> &'static str {
        "recovery_likelihood"
    }

    fn needs_gradients(&self) -> bool {
        false
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn needs_noise_end(&self) -> bool {
        true
    }

    fn coupling(&self) -> Coupling {
        let start = Start::Recovery { distance: self.distance, proposal: self.initialiser };
        Coupling::Chains(Chains { moves: self.chain, start })
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        contrast(point, [0, 1], self.penalty, weight, cotangent)
    }
}
