//! Maximum likelihood at the data end: the law that is sampled in the end is compared with the data.
//!
//! L = u(x, t₀) − u(x⁻, t₀),    x ~ p_{t₀},  x⁻ ~ exp(−u_θ(·, t₀)) by [`EquilibriumWalkers`]
//!
//! Its gradient is that of the relative entropy of the data and exp(−u_θ)/Z, when walkers are at equilibrium. Classification
//! and the equations between levels see an energy where noised data are; what they leave wrong elsewhere, for example a basin of
//! false weight that hardly any frame is in, they hardly see, and walkers fall into. Here it is walkers who tell.
//!
//! It is the last of the stages, and trains those parameters alone that act within `reach` of the data end and nowhere else: noise there
//! is narrower than anything in the data, and scores at all wider levels, with all that is sampled by them, stay as they are. Trained
//! with all parameters, the noise of the likelihood spoils the scores: on chignolin (`examples/chignolin`) the held-out loss of score
//! matching rose from 0.624 to 0.631 with a weight of 0.02, to 0.680 with 0.2. When the stage ends log Z of the data end is set to that
//! of the level where the reach ends, by Bennett's ratio.
//!
//! Persistent contrastive divergence (Tieleman 2008) with chains of Langevin steps has the same gradient as long as these
//! mix, which they do not where modes are apart.

use serde::{Deserialize, Serialize};

use super::contrastive_divergence::contrast;
use super::{Cotangent, Coupling, Learns, Objective, Point};
use crate::error::{Result, positive};
use crate::registry::Settings;
use crate::training::equilibrium_walkers::EquilibriumWalkers;

/// Settings of maximum likelihood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaximumLikelihood {
    /// How walkers move.
    pub walkers: EquilibriumWalkers,
    /// How far from the data end in log(a²/g²) parameters may act that are trained.
    pub reach: f64,
}

impl Default for MaximumLikelihood {
    fn default() -> Self {
        Self { walkers: EquilibriumWalkers::default(), reach: 3.5 }
    }
}

impl Settings<dyn Objective, ()> for MaximumLikelihood {
    const SUMMARY: &'static str = "maximum likelihood at the data end, against walkers at equilibrium; last, in a stage of its own (n_times = 2)";
    const EXAMPLE: &'static str = "walkers = { n_walkers = 256, every = 5 }\nreach = 3.5";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        self.walkers.validate()?;
        positive("reach", self.reach)?;
        Ok(Box::new(self))
    }
}

impl Objective for MaximumLikelihood {
    fn name(&self) -> &'static str {
        "maximum_likelihood"
    }

    fn needs_gradients(&self) -> bool {
        false
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn coupling(&self) -> Coupling {
        Coupling::Equilibrium { walkers: self.walkers, reach: self.reach }
    }

    fn learns(&self) -> Learns {
        Learns::Refinement
    }

    fn needs_noise_end(&self) -> bool {
        true
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        contrast(point, [0, 1], 0.0, weight, cotangent)
    }
}
