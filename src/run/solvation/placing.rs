//! Levels of a path between two ensembles, and steps of the moves at each, found before anything that counts.
//!
//! At each level the pilot begins anew, at frames (beside the physical ends) or at frames that are noised as the
//! interpolant does it, lets them move, and takes the longest step along the path that keeps a conditional effective
//! sample size (Zhou, Johansen and Aston 2016). Walkers that were driven along would end in the few deepest places of
//! a learned energy, and steps that suit those are wrong for all others.

use super::ends::Ends;
use crate::error::Result;
use crate::model::data::{DataPoints, End, GROUP, Pairing, TrainingData};
use crate::potential::{Noise, PotentialPath, Route};
use crate::random::{Purpose, Streams};
use crate::sampling::kernel::mean_acceptance;
use crate::sampling::{LocalMove, ParticleSchedule, Progress, StepSizeAdapter, Walkers};

/// Moves at each level.
const N_MOVES: usize = 16;
/// Shortest step in λ.
const LEAST: f64 = 1e-4;

/// What the pilot is told.
pub(super) struct Pilot<'a> {
    /// The ensembles.
    pub ends: &'a Ends<'a>,
    /// How frames are paired.
    pub pairing: Pairing,
    /// The process.
    pub noise: Noise,
    /// Walkers.
    pub n_walkers: usize,
    /// Conditional effective sample size that a step keeps, as a fraction.
    pub conditional_ess: f64,
    /// The moves.
    pub local_move: LocalMove,
    /// Random numbers.
    pub streams: Streams,
}

impl Pilot<'_> {
    /// Levels of a path whose λ is 0 to 1 beside the second end, 1 to 2 along the clock, and 2 to 3 beside the first.
    pub fn run(&self, path: &dyn PotentialPath, progress: &mut Progress<'_>) -> Result<ParticleSchedule> {
        let (first, last) = path.range();
        let mut schedule = ParticleSchedule {
            lambda: Vec::new(),
            step_size: Vec::new(),
            squared_scores: Vec::new(),
            n_energy_evaluations: 0,
        };
        let mut adapter = StepSizeAdapter::new(0.02, self.local_move.target_acceptance());
        let (mut lambda, mut stride) = (first, 0.05);
        loop {
            let level = schedule.lambda.len() as u64;
            let x = self.draw(lambda, level);
            let n = self.n_walkers;
            let streams = self.streams.derive(level);
            let mut walkers = Walkers::new(path, x, vec![lambda; n], &streams, Purpose::Particle)?;
            let mut kernel = self.local_move.kernel(&walkers);
            adapter.refresh();
            for _ in 0..N_MOVES {
                let outcomes = kernel.step(path, &mut walkers, &vec![adapter.step_size(); n])?;
                adapter.update(mean_acceptance(outcomes));
            }
            schedule.lambda.push(lambda);
            schedule.step_size.push(adapter.step_size());
            schedule.n_energy_evaluations += walkers.n_energy_evaluations;
            progress((lambda - first) / (last - first))?;
            if lambda >= last {
                return Ok(schedule);
            }
            stride = self.stride(path, &walkers, lambda, last, stride)?;
            lambda = if lambda + stride > last - LEAST { last } else { lambda + stride };
        }
    }

    /// The longest step from λ that is allowed; `guess` is the one before.
    fn stride(
        &self,
        path: &dyn PotentialPath,
        walkers: &Walkers,
        lambda: f64,
        last: f64,
        guess: f64,
    ) -> Result<f64> {
        let target = self.conditional_ess;
        let mut u = vec![0.0; walkers.len()];
        let (mut low, mut high) = (0.0, f64::INFINITY);
        let mut step = guess.min(last - lambda);
        for _ in 0..40 {
            path.energies(&vec![lambda + step; u.len()], &walkers.x, &mut u)?;
            let ess = conditional_ess(&walkers.u, &u);
            if ess >= target {
                low = step;
                if lambda + step >= last || ess < target + 0.1 * (1.0 - target) {
                    break;
                }
            } else {
                high = step;
            }
            if high < LEAST {
                break;
            }
            step = if high.is_infinite() { (2.0 * step).min(last - lambda) } else { 0.5 * (low + high) };
        }
        Ok(low.max(LEAST))
    }

    /// Conformations near the law of a level.
    fn draw(&self, lambda: f64, level: u64) -> Vec<f64> {
        let (space, noise) = (self.ends.space, self.noise);
        let d = space.dimension();
        let mut rng = self.streams.stream(Purpose::Start, level);
        let frames: Vec<Vec<f32>> = [0, 1].map(|end| self.chosen(end)).to_vec();
        let end = |k: usize| End { frames: &frames[k], ..End::default() };
        let data = TrainingData { space, first: end(0), second: Some(end(1)), pairing: self.pairing };
        let mut points = DataPoints::default();
        let mut x = Vec::with_capacity(self.n_walkers * d);
        while x.len() < self.n_walkers * d {
            let n = GROUP.min(self.n_walkers - x.len() / d);
            data.draw(n, &mut rng, &mut points);
            for (x0, x1) in points.first.chunks_exact(d).zip(points.second.chunks_exact(d)) {
                if lambda <= 1.0 {
                    x.extend_from_slice(x1);
                } else if lambda >= 2.0 {
                    x.extend_from_slice(x0);
                } else {
                    let t = Route::LogSnr { noise }.lambda(lambda - 1.0);
                    let (a, b, g) = (noise.scale(t), noise.partner_scale(t), noise.deviation(t));
                    let mut z = vec![0.0; d];
                    space.fill_normal(&mut rng, &mut z);
                    x.extend(z.iter().zip(x0).zip(x1).map(|((z, x0), x1)| a * x0 + b * x1 + g * z));
                }
            }
        }
        x
    }

    fn chosen(&self, end: usize) -> Vec<f32> {
        let (frames, _) = self.ends.ends[end].chosen(4 * self.n_walkers);
        frames.into_iter().map(|x| x as f32).collect()
    }
}

/// (Σ w)²/(n Σ w²) of w = exp(u − u').
fn conditional_ess(old: &[f64], new: &[f64]) -> f64 {
    let increments: Vec<f64> = old.iter().zip(new).map(|(old, new)| old - new).collect();
    let largest = increments.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = increments.iter().map(|i| (i - largest).exp()).collect();
    let (sum, squares) = weights.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    let value = sum * sum / (squares * weights.len() as f64);
    if value.is_nan() { 0.0 } else { value }
}
