//! Points that the energy itself draws while it is trained: the other side of contrastive objectives.
//!
//! Every negative is a short Markov chain at the diffusion time of its data point: Metropolis-adjusted Langevin steps, so that
//! whatever the step its law is exp(−u_θ). Its step is `step` times √(g² + a² w²), the width at that time of modes that
//! have the width w in the data. Where chains start decides what the objective can see:
//!
//! * at the data point (contrastive divergence, Hinton 2002): chains need not mix, but what lies far from data is never seen;
//! * where a chain of an earlier step ended (persistent contrastive divergence, Tieleman 2008), with some that start at data
//!   again: the longer training lasts the more of the law is seen;
//! * under the condition of a noisier version y of the data point (diffusion recovery likelihood, Gao et al. 2021): the law
//!   exp(−u_θ(x, s)) q(y | x) of what y may have been is so narrow that a short chain draws from it.
//!
//! Random numbers belong to the step of training and the point, so that a resumed training draws the same.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::conditions::{Conditions, Jump, Recalled};
use crate::error::{Result, at_least, positive};
use crate::model::EnergyModel;
use crate::potential::PotentialPath;
use crate::random::{Purpose, Streams};
use crate::sampling::{LocalMove, Walkers};

/// Chains that draw negatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chains {
    /// Steps of each.
    pub moves: ChainSettings,
    /// Where they start.
    pub start: Start,
}

/// Steps of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChainSettings {
    /// How many.
    pub n_steps: usize,
    /// The length of one in units of the width of modes at that time.
    pub step: f64,
    /// w: the width of modes in the data, in units of the standard deviation of the data.
    pub width: f64,
}

impl Default for ChainSettings {
    fn default() -> Self {
        Self { n_steps: 10, step: 1.0, width: 0.2 }
    }
}

/// Where chains start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// At the data point.
    Data,
    /// Where one of so many chains of this place in the batch ended, or, in this share of cases, at the data point.
    Persistent {
        /// Chains of each place in the batch; places belong to diffusion times.
        n_chains: usize,
        /// Share of chains that start anew.
        refresh: f64,
    },
    /// Under the condition of a point that is so much noisier, in log(a²/g²), and at least as noisy as modes are wide.
    Recovery {
        /// The distance in log(a²/g²).
        distance: f64,
        /// Where they start under it.
        proposal: Proposal,
    },
}

/// Where chains start under the condition of a noisier point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proposal {
    /// At a draw from what the noisier point would have been if data were Gaussian.
    #[default]
    Gaussian,
    /// At a reverse step of the learned score from it.
    ReverseStep,
    /// At a reverse step of a second network, which learns from where chains ended.
    Network,
}

impl ChainSettings {
    /// Checks the values.
    pub fn validate(&self) -> Result<()> {
        at_least("chain.n_steps", self.n_steps, 1)?;
        for (key, value) in [("step", self.step), ("width", self.width)] {
            positive(format!("chain.{key}"), value)?;
        }
        Ok(())
    }
}

impl Chains {
    /// How many numbers chains of a batch keep from step to step.
    pub fn n_kept(&self, n_points: usize, dimension: usize) -> usize {
        match self.start {
            Start::Persistent { n_chains, .. } => n_points * n_chains * dimension,
            _ => 0,
        }
    }

    /// Whether a second network says where they start.
    pub fn needs_network(&self) -> bool {
        matches!(self.start, Start::Recovery { proposal: Proposal::Network, .. })
    }

    /// Replaces the last point of every data point of a batch by what a chain draws; `kept` is what chains leave for the
    /// next step, `NaN` where there has been none. Where a second network, `initialiser`, says where they start, what it learns
    /// from where they ended comes back.
    pub fn draw(
        &self,
        model: &EnergyModel,
        initialiser: Option<&EnergyModel>,
        batch: &mut Batch,
        kept: &mut [f32],
        streams: &Streams,
        step: u64,
    ) -> Result<Option<Batch>> {
        let (size, k) = (model.space().dimension(), batch.n_times);
        let times: Vec<f64> = batch.times.iter().skip(k - 1).step_by(k).copied().collect();
        let mut x = Vec::with_capacity(times.len() * size);
        let n_points = times.len();
        let negatives = || (0..n_points).map(|point| (point * k + k - 1) * size);
        negatives().for_each(|at| x.extend_from_slice(&batch.x[at..at + size]));
        let streams = streams.derive(step);
        let mut slots = Vec::new();
        if let Start::Persistent { n_chains, refresh } = self.start {
            for (point, x) in x.chunks_exact_mut(size).enumerate() {
                let mut rng = streams.stream(Purpose::Start, point as u64);
                let slot = (point * n_chains + rng.random_range(0..n_chains)) * size;
                slots.push(slot);
                let last = &kept[slot..slot + size];
                let is_new = last[0].is_nan() || rng.random::<f64>() < refresh;
                if !is_new {
                    x.iter_mut().zip(last).for_each(|(x, last)| *x = f64::from(*last));
                }
            }
        }
        let noise = *model.noise();
        let width = |t: f64| {
            (noise.deviation(t).powi(2)
                + (noise.scale(t).max(noise.partner_scale(t)) * self.moves.width).powi(2))
            .sqrt()
        };
        let mut lengths: Vec<f64> = times.iter().map(|&t| self.moves.step * width(t)).collect();
        let mut lesson = None;
        let x = match self.start {
            Start::Recovery { distance, proposal } => {
                let jump = Jump { distance, width: self.moves.width };
                let conditions = Conditions::draw(&noise, &times, &x, model.space(), jump, &streams);
                for ((length, &t), recall) in lengths.iter_mut().zip(&times).zip(&conditions.steps) {
                    // The two widths together; nothing moves where nothing is noisier.
                    let stiffness = width(t).powi(-2) + recall.scale.powi(2) / recall.variance;
                    *length = if recall.variance > 0.0 { self.moves.step / stiffness.sqrt() } else { 0.0 };
                }
                let guide = match proposal {
                    Proposal::Gaussian => None,
                    Proposal::ReverseStep => Some(model),
                    Proposal::Network => {
                        debug_assert!(
                            initialiser.is_some(),
                            "the trainer makes the network before the first step"
                        );
                        initialiser
                    }
                };
                let start = conditions.start(guide, &noise, &times, &x, &streams)?;
                let path = Recalled { path: model, conditions: &conditions };
                let x = self.run(&path, start, times.clone(), &lengths, &streams)?;
                lesson = self.needs_network().then(|| conditions.lesson(&noise, &times, &x, distance));
                x
            }
            _ => self.run(model, x, times, &lengths, &streams)?,
        };
        for (x, at) in x.chunks_exact(size).zip(negatives()) {
            batch.x[at..at + size].copy_from_slice(x);
        }
        for (x, &slot) in x.chunks_exact(size).zip(&slots) {
            kept[slot..slot + size].iter_mut().zip(x).for_each(|(kept, x)| *kept = *x as f32);
        }
        Ok(lesson)
    }

    /// Where chains from these points end.
    pub(super) fn run(
        &self,
        path: &dyn PotentialPath,
        x: Vec<f64>,
        times: Vec<f64>,
        lengths: &[f64],
        streams: &Streams,
    ) -> Result<Vec<f64>> {
        let mut walkers = Walkers::new(path, x, times, streams, Purpose::Walker)?;
        let mut kernel = LocalMove::default().kernel(&walkers);
        for _ in 0..self.moves.n_steps {
            kernel.step(path, &mut walkers, lengths)?;
        }
        Ok(walkers.x)
    }
}
