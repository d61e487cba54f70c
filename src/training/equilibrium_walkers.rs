//! Walkers that stay at equilibrium with the data end of an energy while it is trained.
//!
//! They begin at training frames when the stage begins and move with the energy as it is, after every so many steps of
//! training: local moves, torsion pivots where there are bonds, and a way through noise and back ([`Renoising`]). Every move
//! leaves exp(−u_θ) at the data end invariant, and ways through noise join modes that no short chain joins; so the walkers' shares
//! of the modes are those of the energy. Widths of the ways are measured once, when the stage begins: no width makes the law wrong.
//!
//! Walkers follow the energy with a delay, and training that is fast against it makes shares of modes swing. On chignolin at a learning rate
//! of 1e-3, 1,024 walkers that moved every 25 steps swung by 4 kT with a period of 400 steps, and a training ended with 51 % folded where data
//! have 32 %; 256 walkers that move every 5 steps, at the same cost, and a rate of 3e-4 do not swing. Few walkers that move often are better than many that
//! move rarely.
//!
//! [`Renoising`]: crate::sampling::Renoising

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use crate::error::{Result, at_least};
use crate::model::EnergyModel;
use crate::model::data::{DataPoints, GROUP, TrainingData};
use crate::potential::{PotentialPath as _, Space};
use crate::random::{Purpose, Streams};
use crate::sampling::{
    DiffusionPaths, Equilibrium, EquilibriumSettings, EquilibriumState, LocalMove, rotatable_bonds, silent,
};

/// How walkers move.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EquilibriumWalkers {
    /// How many.
    pub n_walkers: usize,
    /// Cycles before the first step of training, while the length of local moves is adapted.
    pub n_relaxation: usize,
    /// Steps of training between two moves through noise of all walkers.
    pub every: usize,
    /// Cycles of local moves and a pivot that come before each of these.
    pub n_cycles: usize,
    /// Local moves of a cycle.
    pub n_local_moves: usize,
    /// Steps from the data end to the noise end; a way turns back at any of them.
    pub n_steps: usize,
}

impl Default for EquilibriumWalkers {
    fn default() -> Self {
        Self { n_walkers: 256, n_relaxation: 100, every: 5, n_cycles: 4, n_local_moves: 5, n_steps: 200 }
    }
}

/// Where walkers are, and how long their moves are.
#[derive(Debug, Clone, PartialEq)]
pub struct WalkerState {
    /// Positions, `[walker][coordinate]`, rounded as they are stored.
    pub x: Vec<f32>,
    /// Length of local moves.
    pub step_size: f64,
    /// Mean |∇u|² per degree of freedom of noised data at each level, from which widths of ways come.
    pub squared_scores: Vec<f64>,
}

impl EquilibriumWalkers {
    /// Checks the values.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("n_walkers", self.n_walkers),
            ("every", self.every),
            ("n_cycles", self.n_cycles),
            ("n_local_moves", self.n_local_moves),
            ("n_steps", self.n_steps),
        ];
        counts.into_iter().try_for_each(|(key, value)| at_least(key, value, 1))
    }

    /// Walkers that begin at data and have relaxed.
    pub fn start(&self, model: &EnergyModel, data: &TrainingData, streams: &Streams) -> Result<WalkerState> {
        let widths: Vec<f64> = frames(data, DiffusionPaths::width_frames(data.n_frames(), 1024));
        let noise = *model.noise();
        let paths = DiffusionPaths::new(model, noise, self.n_steps, 1.0, &widths, &streams.derive(0))?;
        let squared_scores = paths.squared_scores().to_vec();
        let mut rng = streams.stream(Purpose::Start, 0);
        let (mut x, mut points) = (vec![], DataPoints::default());
        for first in (0..self.n_walkers).step_by(GROUP) {
            data.draw(GROUP.min(self.n_walkers - first), &mut rng, &mut points);
            x.append(&mut points.first);
        }
        let streams = streams.derive(1);
        let state = self.with_sampler(model, &paths, streams, |sampler| sampler.start(x, &mut silent))?;
        Ok(WalkerState { x: rounded(&state.x), step_size: state.step_size, squared_scores })
    }

    /// Moves walkers, where it is time to.
    pub fn advance(
        &self,
        model: &EnergyModel,
        state: &mut WalkerState,
        streams: &Streams,
        step: u64,
    ) -> Result<()> {
        if !step.is_multiple_of(self.every as u64) {
            return Ok(());
        }
        let paths =
            DiffusionPaths::with_squared_scores(model, *model.noise(), 1.0, state.squared_scores.clone())?;
        let x = state.x.iter().map(|x| f64::from(*x)).collect();
        let mut moving = EquilibriumState::resumed(x, self.n_walkers, state.step_size);
        self.with_sampler(model, &paths, streams.derive(2 + step), |sampler| {
            sampler.block(&mut moving, self.n_cycles, &mut silent)
        })?;
        state.x = rounded(&moving.x);
        Ok(())
    }

    /// Puts walkers in the place of the last point of every data point: as many different ones as there are.
    pub fn fill(&self, state: &WalkerState, batch: &mut Batch, size: usize, streams: &Streams, step: u64) {
        let first = streams.derive(2 + step).stream(Purpose::Start, 0).random_range(0..self.n_walkers);
        for point in 0..batch.n_points {
            let walker = (first + point) % self.n_walkers;
            let at = (point * batch.n_times + batch.n_times - 1) * size;
            let positions = state.x[walker * size..][..size].iter().map(|x| f64::from(*x));
            batch.x[at..at + size].iter_mut().zip(positions).for_each(|(x, walker)| *x = walker);
        }
    }

    fn with_sampler<T>(
        &self,
        model: &EnergyModel,
        paths: &DiffusionPaths,
        streams: Streams,
        run: impl FnOnce(&Equilibrium) -> Result<T>,
    ) -> Result<T> {
        let bonds = match model.space() {
            Space::Centered { n_particles } => {
                let bonds: Vec<(usize, usize)> =
                    model.architecture.bonds.iter().map(|&[i, j]| (i, j)).collect();
                rotatable_bonds(n_particles, &bonds)?
            }
            Space::Euclidean { .. } => vec![],
        };
        run(&Equilibrium {
            path: model,
            lambda: model.noise().time_range().0,
            bonds: &bonds,
            renoising: Some((paths, self.n_cycles)),
            label: &|_| 0,
            n_states: 1,
            settings: EquilibriumSettings {
                n_local_moves: self.n_local_moves,
                n_burn_in: self.n_relaxation,
                record_every: self.n_cycles,
                local_move: LocalMove::default(),
            },
            streams,
        })
    }
}

fn frames(data: &TrainingData, chosen: impl Iterator<Item = usize>) -> Vec<f64> {
    let size = data.space.dimension();
    chosen.flat_map(|idx| &data.first.frames[idx * size..][..size]).map(|x| f64::from(*x)).collect()
}

fn rounded(x: &[f64]) -> Vec<f32> {
    x.iter().map(|x| *x as f32).collect()
}
