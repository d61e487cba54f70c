//! Exact equilibrium of one law of a path: local moves interleaved with torsion pivots and ways through noise.
//!
//! A cycle is a number of local moves and one pivot of every walker; after every so many, all walkers are led through
//! noise and back ([`Renoising`]). Between cycles each walker's state
//! (a label given by the caller, for example its basin) is looked up: how often walkers travel between
//! states, and return, says whether the populations can be trusted.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::kernel::{count_diverged, mean_acceptance};
use super::{
    DiffusionPaths, LocalMove, PivotBond, Progress, Renoising, StepSizeAdapter, TorsionPivot, Walkers,
};
use crate::error::{Result, at_least};
use crate::potential::PotentialPath;
use crate::random::{Purpose, Rng, Streams};

/// Settings of [`Equilibrium`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EquilibriumSettings {
    /// Local moves per cycle; one pivot follows.
    pub n_local_moves: usize,
    /// Cycles that are dropped, during which the step is adapted.
    pub n_burn_in: usize,
    /// Cycles between recorded frames.
    pub record_every: usize,
    /// The kernel of the local moves.
    pub local_move: LocalMove,
}

impl Default for EquilibriumSettings {
    fn default() -> Self {
        Self { n_local_moves: 10, n_burn_in: 200, record_every: 10, local_move: LocalMove::default() }
    }
}

impl EquilibriumSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        let counts = [("n_local_moves", self.n_local_moves), ("record_every", self.record_every)];
        for (key, value) in counts {
            at_least(format!("{place}.{key}"), value, 1)?;
        }
        self.local_move.validate(&format!("{place}.local_move"))
    }
}

/// Everything that a run needs to continue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EquilibriumState {
    /// Blocks done.
    pub block: u64,
    /// Step size of the local moves, frozen after the burn-in.
    pub step_size: f64,
    /// Positions, `[walker][coordinate]`.
    pub x: Vec<f64>,
    /// State of each walker now.
    pub labels: Vec<usize>,
    /// State of each walker after the burn-in.
    pub homes: Vec<usize>,
    /// How often a walker went from one state to another between two cycles, `[from][to]`.
    pub transitions: Vec<Vec<u64>>,
    /// How often walkers came back to the state where they began, by that state.
    pub round_trips: Vec<u64>,
    /// Conformations evaluated so far.
    pub n_energy_evaluations: u64,
}

impl EquilibriumState {
    /// Walkers of one state at these positions, whose step has been adapted before.
    pub fn resumed(x: Vec<f64>, n_walkers: usize, step_size: f64) -> Self {
        Self {
            block: 0,
            step_size,
            x,
            labels: vec![0; n_walkers],
            homes: vec![0; n_walkers],
            transitions: vec![vec![0]],
            round_trips: vec![0],
            n_energy_evaluations: 0,
        }
    }
}

/// What one block recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct EquilibriumBlock {
    /// Positions, `[frame][walker][coordinate]`.
    pub x: Vec<f64>,
    /// Mean acceptance of the local moves.
    pub local_acceptance: f64,
    /// Mean acceptance of the pivots; not a number when there are none.
    pub pivot_acceptance: f64,
    /// Mean acceptance of the ways through noise; not a number when there are none.
    pub renoising_acceptance: f64,
    /// Proposals without a finite energy.
    pub n_diverged: u64,
}

/// Equilibrium Monte Carlo of exp(−u_λ) at one λ.
pub struct Equilibrium<'a> {
    /// The energies.
    pub path: &'a dyn PotentialPath,
    /// Which law.
    pub lambda: f64,
    /// Bonds to pivot about; without any, only local moves are made.
    pub bonds: &'a [PivotBond],
    /// Ways through noise, and the number of cycles after which each walker is led one of them.
    pub renoising: Option<(&'a DiffusionPaths<'a>, usize)>,
    /// The state of a conformation, below `n_states`.
    pub label: &'a (dyn Fn(&[f64]) -> usize + Sync),
    /// How many states there are.
    pub n_states: usize,
    /// Settings.
    pub settings: EquilibriumSettings,
    /// Random numbers.
    pub streams: Streams,
}

impl Equilibrium<'_> {
    /// Burns in from these positions and adapts the step.
    pub fn start(&self, x: Vec<f64>, progress: &mut Progress<'_>) -> Result<EquilibriumState> {
        self.settings.validate("equilibrium")?;
        let n = x.len() / self.path.space().dimension();
        let streams = self.streams.derive(0);
        let mut walkers = Walkers::new(self.path, x, vec![self.lambda; n], &streams, Purpose::Equilibrium)?;
        let mut adapter = StepSizeAdapter::new(0.05, self.settings.local_move.target_acceptance());
        let mut kernel = self.settings.local_move.kernel(&walkers);
        let mut pivot = self.pivot(&walkers)?;
        let mut ways = self.ways(&walkers, &streams);
        for cycle in 0..self.settings.n_burn_in {
            for _ in 0..self.settings.n_local_moves {
                let steps = vec![adapter.step_size(); n];
                adapter.update(mean_acceptance(kernel.step(self.path, &mut walkers, &steps)?));
            }
            if let Some(pivot) = &mut pivot {
                pivot.step(self.path, &mut walkers)?;
            }
            if let Some(ways) = &mut ways {
                ways.step(self.path, &mut walkers, cycle)?;
            }
            progress((cycle + 1) as f64 / self.settings.n_burn_in as f64)?;
        }
        let labels = self.labels(&walkers);
        Ok(EquilibriumState {
            block: 0,
            step_size: adapter.step_size(),
            n_energy_evaluations: walkers.n_energy_evaluations,
            x: walkers.x,
            homes: labels.clone(),
            labels,
            transitions: vec![vec![0; self.n_states]; self.n_states],
            round_trips: vec![0; self.n_states],
        })
    }

    /// Does `n_cycles` cycles and records every `record_every`-th.
    pub fn block(
        &self,
        state: &mut EquilibriumState,
        n_cycles: usize,
        progress: &mut Progress<'_>,
    ) -> Result<EquilibriumBlock> {
        let n = state.labels.len();
        let streams = self.streams.derive(1 + state.block);
        let lambda = vec![self.lambda; n];
        let mut walkers = Walkers::new(self.path, state.x.clone(), lambda, &streams, Purpose::Equilibrium)?;
        let mut kernel = self.settings.local_move.kernel(&walkers);
        let mut pivot = self.pivot(&walkers)?;
        let mut ways = self.ways(&walkers, &streams);
        let steps = vec![state.step_size; n];
        let mut frames = Vec::new();
        let (mut local, mut pivots, mut n_diverged) = (0.0, 0.0, 0);
        for cycle in 0..n_cycles {
            for _ in 0..self.settings.n_local_moves {
                let outcomes = kernel.step(self.path, &mut walkers, &steps)?;
                local += mean_acceptance(outcomes);
                n_diverged += count_diverged(outcomes);
            }
            if let Some(pivot) = &mut pivot {
                let outcomes = pivot.step(self.path, &mut walkers)?;
                pivots += mean_acceptance(outcomes);
                n_diverged += count_diverged(outcomes);
            }
            if let Some(ways) = &mut ways {
                n_diverged += ways.step(self.path, &mut walkers, cycle)?;
            }
            for (walker, new) in self.labels(&walkers).into_iter().enumerate() {
                let old = std::mem::replace(&mut state.labels[walker], new);
                if old != new {
                    state.transitions[old][new] += 1;
                    state.round_trips[new] += u64::from(new == state.homes[walker]);
                }
            }
            if (cycle + 1) % self.settings.record_every == 0 {
                frames.extend_from_slice(&walkers.x);
            }
            progress((cycle + 1) as f64 / n_cycles as f64)?;
        }
        state.block += 1;
        state.n_energy_evaluations += walkers.n_energy_evaluations;
        state.x = walkers.x;
        Ok(EquilibriumBlock {
            x: frames,
            local_acceptance: local / (n_cycles * self.settings.n_local_moves) as f64,
            pivot_acceptance: if pivot.is_some() { pivots / n_cycles as f64 } else { f64::NAN },
            renoising_acceptance: ways.map_or(f64::NAN, |ways| ways.acceptance / ways.n_moves as f64),
            n_diverged,
        })
    }

    fn pivot(&self, walkers: &Walkers) -> Result<Option<TorsionPivot>> {
        if self.bonds.is_empty() {
            return Ok(None);
        }
        TorsionPivot::new(self.bonds.to_vec(), walkers).map(Some)
    }

    fn ways(&self, walkers: &Walkers, streams: &Streams) -> Option<Ways<'_>> {
        self.renoising.map(|(paths, every)| Ways {
            moves: Renoising::new(paths, walkers),
            n_steps: paths.n_steps(),
            every,
            // The stream behind those of the walkers.
            rng: streams.stream(Purpose::Equilibrium, walkers.len() as u64),
            acceptance: 0.0,
            n_moves: 0,
        })
    }

    /// The state of each walker; a label out of range counts as the last state.
    fn labels(&self, walkers: &Walkers) -> Vec<usize> {
        let last = self.n_states.saturating_sub(1);
        (0..walkers.len()).map(|idx| (self.label)(walkers.position(idx)).min(last)).collect()
    }
}

/// Ways through noise of all walkers at once, as deep as a die says.
struct Ways<'a> {
    moves: Renoising<'a>,
    n_steps: usize,
    every: usize,
    rng: Rng,
    acceptance: f64,
    n_moves: usize,
}

impl Ways<'_> {
    /// A move after this cycle, where one is due; how many proposals had no finite energy.
    fn step(&mut self, path: &dyn PotentialPath, walkers: &mut Walkers, cycle: usize) -> Result<u64> {
        if !(cycle + 1).is_multiple_of(self.every) {
            return Ok(0);
        }
        let depth = self.rng.random_range(1..=self.n_steps);
        let outcomes = self.moves.step(path, walkers, depth)?;
        self.acceptance += mean_acceptance(outcomes);
        self.n_moves += 1;
        Ok(count_diverged(outcomes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::testing::{mean_and_error, with_threads};
    use crate::sampling::torsion_pivot::tests::{Butane, dihedral, distance};
    use crate::sampling::{rotatable_bonds, silent};

    #[test]
    fn pivots_and_local_moves_together_sample_chain_and_states_are_counted() {
        let path = Butane { barrier_kt: 6.0 };
        let bonds = rotatable_bonds(4, &[(0, 1), (1, 2), (2, 3)]).unwrap();
        let label = |x: &[f64]| usize::from(dihedral(x).sin() > 0.0);
        let equilibrium = Equilibrium {
            path: &path,
            lambda: 0.0,
            bonds: &bonds,
            renoising: None,
            label: &label,
            n_states: 2,
            settings: EquilibriumSettings {
                n_local_moves: 2,
                n_burn_in: 60,
                record_every: 5,
                ..Default::default()
            },
            streams: Streams::new(13),
        };
        let x: Vec<f64> = (0..200).flat_map(|k| Butane::conformation(f64::from(k))).collect();
        let run = |interrupted: bool| {
            let mut state = equilibrium.start(x.clone(), &mut silent).unwrap();
            let mut frames = equilibrium.block(&mut state, 40, &mut silent).unwrap().x;
            if interrupted {
                let stored = toml::to_string(&state).unwrap();
                state = toml::from_str(&stored).unwrap();
            }
            let block = equilibrium.block(&mut state, 40, &mut silent).unwrap();
            frames.extend(block.x);
            assert!((block.local_acceptance - 0.574).abs() < 0.1, "{}", block.local_acceptance);
            (state, frames)
        };
        let (state, frames) = with_threads(1, || run(false));
        assert!((state.clone(), frames.clone()) == with_threads(2, || run(true)));
        // Every walker crosses in turn, so it has come back about half as often as it has crossed.
        let crossings = state.transitions[0][1] + state.transitions[1][0];
        let trips: u64 = state.round_trips.iter().sum();
        assert!(crossings > 400 && trips <= crossings / 2 && trips + 200 > crossings / 2);

        // In bond lengths, 1–3 distances and the dihedral the volume element is r₀₁ r₂₃ d₀₂ d₁₃, so with
        // k = 400 the length r = 1 + δ has E[δ] = 1/k and E[δ²] = 1/k exactly. The population of sin φ > 0
        // is ½ by symmetry. Walkers are independent of each other.
        let per_walker = |observable: &dyn Fn(&[f64]) -> f64| {
            let n_frames = frames.len() / (200 * 12);
            mean_and_error((0..200).map(|walker| {
                (0..n_frames)
                    .map(|frame| observable(&frames[(frame * 200 + walker) * 12..][..12]) / n_frames as f64)
                    .sum()
            }))
        };
        let (population, std_error) = per_walker(&|x| label(x) as f64);
        assert!((population - 0.5).abs() < 4.0 * std_error, "{population} ± {std_error}");
        for power in [1, 2] {
            let (moment, std_error) = per_walker(&|x| 400.0 * (distance(x, 0, 1) - 1.0).powi(power));
            assert!((moment - 1.0).abs() < 4.0 * std_error, "{power}: {moment} ± {std_error}");
        }
    }
}
