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
use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::potential::{Noise, PotentialPath, Space};
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
        /// Whether they start at a reverse step of the learned score instead of what a Gaussian makes of the noisier point.
        from_reverse_step: bool,
    },
}

impl ChainSettings {
    /// Checks the values.
    pub fn validate(&self) -> Result<()> {
        if self.n_steps == 0 {
            return Err(Error::config("chain.n_steps", "must be at least 1", ""));
        }
        for (key, value) in [("step", self.step), ("width", self.width)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::config(
                    format!("chain.{key}"),
                    format!("must be positive, found {value}"),
                    "",
                ));
            }
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

    /// Replaces the last point of every data point of a batch by what a chain draws; `kept` is what chains leave for the
    /// next step, `NaN` where there has been none.
    pub fn draw(
        &self,
        model: &EnergyModel,
        batch: &mut Batch,
        kept: &mut [f32],
        streams: &Streams,
        step: u64,
    ) -> Result<()> {
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
        let x = match self.start {
            Start::Recovery { distance, from_reverse_step } => {
                let jump = Jump { distance, width: self.moves.width };
                let conditions = Conditions::draw(&noise, &times, &x, model.space(), jump, &streams);
                for ((length, &t), recall) in lengths.iter_mut().zip(&times).zip(&conditions.steps) {
                    // The two widths together; nothing moves where nothing is noisier.
                    let stiffness = width(t).powi(-2) + recall.scale.powi(2) / recall.variance;
                    *length = if recall.variance > 0.0 { self.moves.step / stiffness.sqrt() } else { 0.0 };
                }
                let start = conditions.start(model, &noise, &times, &x, from_reverse_step, &streams)?;
                let path = Recalled { path: model, conditions: &conditions };
                self.run(&path, start, times, &lengths, &streams)?
            }
            _ => self.run(model, x, times, &lengths, &streams)?,
        };
        for (x, at) in x.chunks_exact(size).zip(negatives()) {
            batch.x[at..at + size].copy_from_slice(x);
        }
        for (x, &slot) in x.chunks_exact(size).zip(&slots) {
            kept[slot..slot + size].iter_mut().zip(x).for_each(|(kept, x)| *kept = *x as f32);
        }
        Ok(())
    }

    fn run(
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

/// How a point becomes a noisier one: y = scale x + √variance ξ.
#[derive(Debug, Clone, Copy)]
struct Recall {
    t: f64,
    scale: f64,
    variance: f64,
}

/// How much noisier a version of a point is.
#[derive(Debug, Clone, Copy)]
struct Jump {
    /// At least, in log(a²/g²).
    distance: f64,
    /// And at least as noisy as modes of this width are wide, g ≥ a w: a point with less noise on it is recovered with no more doubt
    /// than that noise, which teaches nothing about modes.
    width: f64,
}

/// The noisier version of every point.
struct Conditions {
    steps: Vec<Recall>,
    y: Vec<f64>,
}

impl Conditions {
    fn draw(noise: &Noise, times: &[f64], x: &[f64], space: Space, jump: Jump, streams: &Streams) -> Self {
        let size = space.dimension();
        let least = noise.log_snr(noise.time_range().1);
        let mut y = vec![0.0; x.len()];
        let mut steps = Vec::with_capacity(times.len());
        for (idx, &here) in times.iter().enumerate() {
            let further = (noise.log_snr(here) - jump.distance).min(-2.0 * jump.width.ln());
            let t = noise.time_at_log_snr(further.max(least));
            let scale = noise.scale(t) / noise.scale(here);
            let variance = (noise.deviation(t).powi(2) - (scale * noise.deviation(here)).powi(2)).max(0.0);
            let out = &mut y[idx * size..][..size];
            space.fill_normal(&mut streams.stream(Purpose::ReverseDiffusion, idx as u64), out);
            let x = &x[idx * size..][..size];
            out.iter_mut().zip(x).for_each(|(y, x)| *y = scale * x + variance.sqrt() * *y);
            steps.push(Recall { t, scale, variance });
        }
        Self { steps, y }
    }

    /// Where chains start: at a draw from what y would have been if data were Gaussian, or of the reverse step that the learned
    /// score makes of it.
    fn start(
        &self,
        model: &EnergyModel,
        noise: &Noise,
        times: &[f64],
        x: &[f64],
        from_reverse_step: bool,
        streams: &Streams,
    ) -> Result<Vec<f64>> {
        let size = model.space().dimension();
        let mut start = x.to_vec();
        let mut gradient = vec![0.0; self.y.len()];
        if from_reverse_step {
            let later: Vec<f64> = self.steps.iter().map(|step| step.t).collect();
            let mut u = vec![0.0; later.len()];
            model.energies_and_gradients(&later, &self.y, &mut u, &mut gradient)?;
        }
        let mut z = vec![0.0; size];
        for (idx, (step, &t)) in self.steps.iter().zip(times).enumerate() {
            if step.variance <= 0.0 {
                continue;
            }
            let y = &self.y[idx * size..][..size];
            let out = &mut start[idx * size..][..size];
            model.space().fill_normal(&mut streams.stream(Purpose::Particle, idx as u64), &mut z);
            if from_reverse_step {
                // As if the score stayed what it is at y: mean (y + v s)/r and the variance of the bridge.
                let ratio = (noise.deviation(t) / noise.deviation(step.t)).powi(2);
                let deviation = (step.variance * ratio).sqrt();
                for (((out, y), g), z) in out.iter_mut().zip(y).zip(&gradient[idx * size..]).zip(&z) {
                    *out = (y - step.variance * g) / step.scale + deviation * z;
                }
            } else {
                let posterior = 1.0 / (1.0 / noise.total_variance(t) + step.scale.powi(2) / step.variance);
                let shrink = posterior * step.scale / step.variance;
                for ((out, y), z) in out.iter_mut().zip(y).zip(&z) {
                    *out = shrink * y + posterior.sqrt() * z;
                }
            }
        }
        Ok(start)
    }
}

/// u(x, s) + |y − r x|²/(2v) for walkers in the order of their conditions.
struct Recalled<'a> {
    path: &'a dyn PotentialPath,
    conditions: &'a Conditions,
}

impl Recalled<'_> {
    fn add(&self, x: &[f64], u: &mut [f64], mut gradient: Option<&mut [f64]>) {
        let size = self.path.space().dimension();
        for (idx, (x, u)) in x.chunks_exact(size).zip(u).enumerate() {
            let Recall { scale, variance, .. } = self.conditions.steps[idx];
            if variance <= 0.0 {
                continue;
            }
            for (k, (x, y)) in x.iter().zip(&self.conditions.y[idx * size..]).enumerate() {
                let miss = scale * x - y;
                *u += 0.5 * miss * miss / variance;
                if let Some(gradient) = gradient.as_deref_mut() {
                    gradient[idx * size + k] += scale * miss / variance;
                }
            }
        }
    }
}

impl PotentialPath for Recalled<'_> {
    fn space(&self) -> Space {
        self.path.space()
    }

    fn range(&self) -> (f64, f64) {
        self.path.range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        self.path.energies(lambda, x, u)?;
        self.add(x, u, None);
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        self.path.energies_and_gradients(lambda, x, u, gradient)?;
        self.add(x, u, Some(gradient));
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        self.path.lambda_derivatives(lambda, x, du_dlambda)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::{DiffusedMixture, GaussianMixture, Variances};

    /// Long chains under a condition draw from what the noisier point may have been: for a Gaussian, a Gaussian.
    #[test]
    fn recovered_points_have_the_law_of_the_posterior() {
        let space = Space::Euclidean { dimension: 2 };
        let mixture =
            GaussianMixture::new(space, &[1.0], vec![0.5, -1.0], Variances::Isotropic(vec![0.3])).unwrap();
        let noise = Noise::default();
        let path = DiffusedMixture::new(mixture, noise);
        let (n, t) = (4000, 0.2);
        let x = vec![0.4; 2 * n];
        let times = vec![t; n];
        let streams = Streams::new(3);
        let mut conditions =
            Conditions::draw(&noise, &times, &x, space, Jump { distance: 1.0, width: 0.1 }, &streams);
        // One condition for all.
        let y = [0.2, 0.1];
        conditions.y.chunks_exact_mut(2).for_each(|out| out.copy_from_slice(&y));
        let Recall { scale, variance, .. } = conditions.steps[0];
        let chains = Chains {
            moves: ChainSettings { n_steps: 200, step: 0.6, width: 0.5 },
            start: Start::Recovery { distance: 1.0, from_reverse_step: false },
        };
        let own = noise.deviation(t).powi(2) + 0.3 * noise.scale(t).powi(2);
        let posterior = 1.0 / (1.0 / own + scale * scale / variance);
        let lengths = vec![0.8 * posterior.sqrt(); n];
        let recalled = Recalled { path: &path, conditions: &conditions };
        let found = chains.run(&recalled, x, times, &lengths, &streams).unwrap();
        for k in 0..2 {
            let mean_of_data = noise.scale(t) * [0.5, -1.0][k];
            let expected = posterior * (mean_of_data / own + scale * y[k] / variance);
            let values: Vec<f64> = found.iter().skip(k).step_by(2).copied().collect();
            let mean = values.iter().sum::<f64>() / n as f64;
            let spread = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            assert!((mean - expected).abs() < 4.0 * (posterior / n as f64).sqrt(), "{mean} {expected}");
            assert!((spread / posterior - 1.0).abs() < 0.1, "{spread} {posterior}");
        }
        // Its gradient is that of its energy.
        let x = [0.3, -0.2];
        let energy = |x: &[f64]| {
            let mut u = [0.0];
            recalled.energies(&[t], x, &mut u).unwrap();
            u[0]
        };
        let (mut u, mut gradient) = ([0.0], [0.0; 2]);
        recalled.energies_and_gradients(&[t], &x, &mut u, &mut gradient).unwrap();
        for k in 0..2 {
            let h = 1e-5;
            let at = |step: f64| {
                let mut moved = x;
                moved[k] += step;
                energy(&moved)
            };
            assert!(((at(h) - at(-h)) / (2.0 * h) - gradient[k]).abs() < 1e-6);
        }
    }

    /// The noisier version of a point has the moments of the noising kernel, and none at the noise end.
    #[test]
    fn conditions_are_steps_of_the_process() {
        let space = Space::Euclidean { dimension: 1 };
        let noise = Noise::default();
        let (n, t) = (20_000, 0.3);
        let x = vec![0.7; n];
        let of = |t: f64| {
            let jump = Jump { distance: 2.0, width: 0.1 };
            Conditions::draw(&noise, &vec![t; n], &x, space, jump, &Streams::new(1))
        };
        let conditions = of(t);
        let later = conditions.steps[0].t;
        assert!((noise.log_snr(t) - noise.log_snr(later) - 2.0).abs() < 1e-9);
        let mean = conditions.y.iter().sum::<f64>() / n as f64;
        let expected = 0.7 * noise.scale(later) / noise.scale(t);
        let variance = conditions.y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n as f64;
        // A point that was noised twice has the variance of one that was noised once.
        let kept = noise.scale(later) / noise.scale(t) * noise.deviation(t);
        assert!((mean - expected).abs() < 4.0 * (variance / n as f64).sqrt());
        assert!(((variance + kept * kept) / noise.deviation(later).powi(2) - 1.0).abs() < 0.05);
        assert_eq!(of(noise.time_range().1).steps[0].variance, 0.0);
    }
}
