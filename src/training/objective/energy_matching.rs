//! Energy matching (Balcerak et al. 2025): one potential without time, that carries noise to data far from the data and is
//! the energy of their law near them.
//!
//! L = |∇V(x_l) + x₀ − z|²/d + λ (V(x) − V(x⁻)),    x_l = (1 − l) z + l x₀
//!
//! z and x₀ are paired by optimal transport within groups, so that lines hardly cross; x is a data point and x⁻ where a chain
//! from it at temperature 1 ends. V is u_θ at the data end. The first term says how much of the noise flows into which mode, the second makes
//! the stationary law of V that of the data within each. Where noise and data lie on the
//! same places the two contradict each other, and λ decides: on two modes three widths apart the variance of log p_θ − log p
//! falls from 0.28 to 0.07 kT² with λ = 8, and not at all with λ = 1. Where λ = 0 only the first is there: flow matching.

use serde::{Deserialize, Serialize};

use super::contrastive_divergence::contrast;
use super::{Cotangent, Coupling, Learns, Objective, Point};
use crate::error::{Result, not_negative};
use crate::registry::Settings;
use crate::training::chains::{ChainSettings, Chains, Start};

/// Settings of energy matching.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnergyMatching {
    /// λ.
    pub contrast: f64,
    /// The chains.
    pub chain: ChainSettings,
}

impl Default for EnergyMatching {
    fn default() -> Self {
        Self { contrast: 8.0, chain: ChainSettings::default() }
    }
}

impl Settings<dyn Objective, ()> for EnergyMatching {
    const SUMMARY: &'static str = "energy matching: one potential without time, by flow matching and contrastive divergence (n_times = 3; 1 with contrast = 0)";
    const EXAMPLE: &'static str = "contrast = 8.0\nchain = { n_steps = 10, step = 1.0, width = 0.2 }";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        self.chain.validate()?;
        not_negative("contrast", self.contrast)?;
        Ok(Box::new(self))
    }
}

impl Objective for EnergyMatching {
    fn name(&self) -> &'static str {
        "energy_matching"
    }

    fn needs_gradients(&self) -> bool {
        true
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn needs_noise_end(&self) -> bool {
        true
    }

    fn coupling(&self) -> Coupling {
        let chains = Chains { moves: self.chain, start: Start::Data };
        Coupling::Line((self.contrast > 0.0).then_some(chains))
    }

    fn learns(&self) -> Learns {
        // The potential of a flow alone is no energy.
        if self.contrast > 0.0 { Learns::DataEnd } else { Learns::Generator }
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let mut loss = match_line(point, 1.0, weight, cotangent);
        if point.times.len() == 3 {
            loss += self.contrast * contrast(point, [1, 2], 0.0, weight * self.contrast, cotangent);
        }
        loss
    }
}

/// |∇u + c (x₀ − z)|²/d of the first point, which lies on a line.
pub(super) fn match_line(point: &Point, strength: f64, weight: f64, cotangent: &mut Cotangent) -> f64 {
    let size = point.positions.len() / point.times.len();
    let d = point.degrees_of_freedom as f64;
    let mut loss = 0.0;
    for k in 0..size {
        let miss = point.gradients[k] + strength * point.displacements[k];
        loss += miss * miss / d;
        cotangent.gradients[k] += weight * 2.0 * miss / d;
    }
    loss
}
