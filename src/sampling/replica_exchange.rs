//! Replica exchange over the levels of a path (Swendsen and Wang 1986; Hukushima and Nemoto 1996).
//!
//! Each ladder has one walker per level. Between local moves, neighbours i and j exchange positions with
//! probability min(1, exp[u_i(x_i) + u_j(x_j) − u_i(x_j) − u_j(x_i)]), even and odd pairs in turn (the
//! non-reversible scheme of Okabe et al. 2001); normalisers cancel. Level 0 is the start of the route,
//! the noise end of a diffusion.
//!
//! Levels are placed so that all pairs reject equally often: with r_k the rejection of pair k, the sum of the
//! r is a distance along the path that hardly depends on where the levels are, and levels are put at
//! equal distances (Syed et al. 2022).

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::kernel::count_diverged;
use super::walkers::evaluate;
use super::{Bridge, LocalMove, Progress, StepSizeAdapter, Walkers};
use crate::error::{Error, Result, at_least};
use crate::random::{Purpose, Rng, Streams};

/// Settings of [`ReplicaExchange`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicaExchangeSettings {
    /// Levels of a ladder.
    pub n_levels: usize,
    /// Independent ladders.
    pub n_ladders: usize,
    /// Local moves between swaps.
    pub n_local_moves: usize,
    /// Rounds in which levels are placed anew.
    pub n_placements: usize,
    /// Sweeps of the first round; each round has twice as many as the one before.
    pub n_placement_sweeps: usize,
    /// Sweeps that are dropped after the last placement; steps adapt until their end.
    pub n_burn_in: usize,
    /// Sweeps between recorded samples.
    pub record_every: usize,
    /// The kernel of the local moves.
    pub local_move: LocalMove,
}

impl Default for ReplicaExchangeSettings {
    fn default() -> Self {
        Self {
            n_levels: 32,
            n_ladders: 16,
            n_local_moves: 5,
            n_placements: 4,
            n_placement_sweeps: 15,
            n_burn_in: 200,
            record_every: 1,
            local_move: LocalMove::default(),
        }
    }
}

impl ReplicaExchangeSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        for (key, value, least) in [
            ("n_levels", self.n_levels, 2),
            ("n_ladders", self.n_ladders, 1),
            ("n_local_moves", self.n_local_moves, 1),
            ("n_placement_sweeps", self.n_placement_sweeps, 2),
            ("record_every", self.record_every, 1),
        ] {
            at_least(format!("{place}.{key}"), value, least)?;
        }
        self.local_move.validate(&format!("{place}.local_move"))
    }
}

/// Everything that a run needs to continue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaState {
    /// Blocks done.
    pub block: u64,
    /// Sweeps done since the burn-in.
    pub n_sweeps: u64,
    /// λ of each level.
    pub lambda: Vec<f64>,
    /// Step size at each level.
    pub step_size: Vec<f64>,
    /// Positions, `[ladder][level][coordinate]`.
    pub x: Vec<f64>,
    /// Which replica is where, `[ladder][level]`.
    pub replicas: Vec<usize>,
    /// The end where each replica was last, `[ladder][replica]`: 0 none, 1 first level, 2 last level after
    /// the first.
    pub ends: Vec<u8>,
    /// Journeys of a replica from the first level to the last and back.
    pub n_round_trips: u64,
}

/// What one block recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaBlock {
    /// Samples of each level, `[level]` of `[sweep][ladder][coordinate]`.
    pub samples: Vec<Vec<f64>>,
    /// Mean swap acceptance of each pair of neighbours.
    pub swap_acceptance: Vec<f64>,
    /// Mean acceptance of the local moves at each level.
    pub move_acceptance: Vec<f64>,
    /// Conformations evaluated.
    pub n_energy_evaluations: u64,
    /// Proposals without a finite energy.
    pub n_diverged: u64,
}

/// Replica exchange along a bridge.
pub struct ReplicaExchange<'a> {
    /// The path and its route.
    pub bridge: Bridge<'a>,
    /// Settings.
    pub settings: ReplicaExchangeSettings,
    /// Random numbers.
    pub streams: Streams,
}

/// Sums over sweeps.
struct Tally {
    swaps: Vec<f64>,
    n_swaps: Vec<f64>,
    moves: Vec<f64>,
    n_moves: f64,
    n_diverged: u64,
}

impl Tally {
    fn new(n_levels: usize) -> Self {
        Self {
            swaps: vec![0.0; n_levels - 1],
            n_swaps: vec![0.0; n_levels - 1],
            moves: vec![0.0; n_levels],
            n_moves: 0.0,
            n_diverged: 0,
        }
    }

    fn swap_acceptance(&self) -> Vec<f64> {
        self.swaps.iter().zip(&self.n_swaps).map(|(sum, n)| sum / n.max(1.0)).collect()
    }
}

impl ReplicaExchange<'_> {
    /// Anneals from the Gaussian, places the levels, adapts the steps and burns in.
    pub fn start(&self, progress: &mut Progress<'_>) -> Result<ReplicaState> {
        self.settings.validate("replica_exchange")?;
        self.bridge.validate()?;
        let (state, adapters) = self.anneal(&self.first_distances(), &self.part(0))?;
        self.settle(state, adapters, progress)
    }

    /// As [`Self::start`], from these positions, `[ladder][level][coordinate]`, for levels at equal distances
    /// along the route, instead of annealing.
    pub fn start_at(&self, x: Vec<f64>, progress: &mut Progress<'_>) -> Result<ReplicaState> {
        self.settings.validate("replica_exchange")?;
        self.bridge.validate()?;
        let n_slots = self.settings.n_ladders * self.settings.n_levels;
        let wanted = n_slots * self.bridge.path.space().dimension();
        if x.len() != wanted {
            let found = x.len().to_string();
            return Err(Error::invalid("positions of replicas", format!("{wanted} numbers"), found));
        }
        let target = self.settings.local_move.target_acceptance();
        let adapter = StepSizeAdapter::new(0.5 * self.bridge.reference_deviation, target);
        let distances = self.first_distances();
        let state = self.state_of(distances.iter().map(|&s| self.bridge.route.lambda(s)).collect(), x);
        self.settle(state, vec![adapter; self.settings.n_levels], progress)
    }

    /// Levels at equal distances.
    fn first_distances(&self) -> Vec<f64> {
        let last = self.settings.n_levels - 1;
        (0..=last).map(|k| k as f64 / last as f64).collect()
    }

    /// Parts 0x5245_0000 and on of the streams are those before the samples that count.
    fn part(&self, k: u64) -> Streams {
        self.streams.derive(0x5245_0000 + k)
    }

    /// Places the levels, adapts the steps and burns in.
    fn settle(
        &self,
        mut state: ReplicaState,
        mut adapters: Vec<StepSizeAdapter>,
        progress: &mut Progress<'_>,
    ) -> Result<ReplicaState> {
        let part = |k: u64| self.part(k);
        let mut distances = self.first_distances();
        let total: usize = (0..self.settings.n_placements)
            .map(|round| self.settings.n_placement_sweeps << round)
            .sum::<usize>()
            + self.settings.n_burn_in;
        let mut done = 0;
        for round in 0..self.settings.n_placements {
            let n_sweeps = self.settings.n_placement_sweeps << round;
            let tally =
                self.sweeps(&mut state, n_sweeps, &part(1 + round as u64), Some(&mut adapters), &mut |_| {
                    done += 1;
                    progress(done as f64 / total as f64)
                })?;
            let placed = place_levels(&distances, &tally.swap_acceptance());
            let log_steps: Vec<f64> = adapters.iter().map(|a| a.step_size().ln()).collect();
            let target = self.settings.local_move.target_acceptance();
            adapters = placed
                .iter()
                .map(|&s| StepSizeAdapter::new(interpolate(&distances, &log_steps, s).exp(), target))
                .collect();
            state.lambda = placed.iter().map(|&s| self.bridge.route.lambda(s)).collect();
            distances = placed;
        }
        let burn_in = part(1 + self.settings.n_placements as u64);
        self.sweeps(&mut state, self.settings.n_burn_in, &burn_in, Some(&mut adapters), &mut |_| {
            done += 1;
            progress(done as f64 / total as f64)
        })?;
        state.step_size = adapters.iter().map(StepSizeAdapter::step_size).collect();
        state.n_sweeps = 0;
        state.n_round_trips = 0;
        Ok(state)
    }

    /// Does `n_sweeps` sweeps and records every `record_every`-th.
    pub fn block(
        &self,
        state: &mut ReplicaState,
        n_sweeps: usize,
        progress: &mut Progress<'_>,
    ) -> Result<ReplicaBlock> {
        let (n_levels, d) = (self.settings.n_levels, self.bridge.path.space().dimension());
        let mut samples = vec![Vec::new(); n_levels];
        let (mut sweep, mut n_energy_evaluations) = (0, 0);
        let streams = self.streams.derive(1 + state.block);
        let tally = self.sweeps(state, n_sweeps, &streams, None, &mut |walkers| {
            sweep += 1;
            if sweep % self.settings.record_every == 0 {
                for (slot, x) in walkers.x.chunks_exact(d).enumerate() {
                    samples[slot % n_levels].extend_from_slice(x);
                }
            }
            n_energy_evaluations = walkers.n_energy_evaluations;
            progress(sweep as f64 / n_sweeps as f64)
        })?;
        state.block += 1;
        Ok(ReplicaBlock {
            samples,
            swap_acceptance: tally.swap_acceptance(),
            move_acceptance: tally.moves.iter().map(|sum| sum / tally.n_moves).collect(),
            n_energy_evaluations,
            n_diverged: tally.n_diverged,
        })
    }

    /// Takes walkers from the Gaussian along the route and leaves a copy at each level.
    fn anneal(&self, distances: &[f64], streams: &Streams) -> Result<(ReplicaState, Vec<StepSizeAdapter>)> {
        let (n_levels, n_ladders) = (self.settings.n_levels, self.settings.n_ladders);
        let d = self.bridge.path.space().dimension();
        let lambda: Vec<f64> = distances.iter().map(|&s| self.bridge.route.lambda(s)).collect();
        let start = self.bridge.draw_reference(n_ladders, streams, Purpose::Start);
        let at_start = vec![lambda[0]; n_ladders];
        let mut walkers = Walkers::new(self.bridge.path, start, at_start, streams, Purpose::Replica)?;
        let mut kernel = self.settings.local_move.kernel(&walkers);
        let target = self.settings.local_move.target_acceptance();
        let mut adapter = StepSizeAdapter::new(0.5 * self.bridge.reference_deviation, target);
        let mut x = vec![0.0; n_ladders * n_levels * d];
        let mut adapters = Vec::with_capacity(n_levels);
        for (level, &lambda) in lambda.iter().enumerate() {
            walkers.lambda.fill(lambda);
            walkers.evaluate(self.bridge.path)?;
            adapter.refresh();
            for _ in 0..30 {
                let steps = vec![adapter.step_size(); n_ladders];
                let outcomes = kernel.step(self.bridge.path, &mut walkers, &steps)?;
                adapter.update(super::kernel::mean_acceptance(outcomes));
            }
            adapters.push(adapter);
            for (ladder, position) in walkers.x.chunks_exact(d).enumerate() {
                x[(ladder * n_levels + level) * d..][..d].copy_from_slice(position);
            }
        }
        let mut state = self.state_of(lambda, x);
        state.step_size = adapters.iter().map(StepSizeAdapter::step_size).collect();
        Ok((state, adapters))
    }

    /// Replicas that have not moved yet.
    fn state_of(&self, lambda: Vec<f64>, x: Vec<f64>) -> ReplicaState {
        let (n_levels, n_ladders) = (self.settings.n_levels, self.settings.n_ladders);
        ReplicaState {
            block: 0,
            n_sweeps: 0,
            step_size: vec![0.5 * self.bridge.reference_deviation; n_levels],
            lambda,
            x,
            replicas: (0..n_ladders * n_levels).map(|slot| slot % n_levels).collect(),
            ends: vec![0; n_ladders * n_levels],
            n_round_trips: 0,
        }
    }

    /// Sweeps of local moves and one swap each; `after` sees the walkers after every sweep.
    fn sweeps(
        &self,
        state: &mut ReplicaState,
        n_sweeps: usize,
        streams: &Streams,
        mut adapters: Option<&mut Vec<StepSizeAdapter>>,
        after: &mut dyn FnMut(&Walkers) -> Result<()>,
    ) -> Result<Tally> {
        let (n_levels, n_ladders) = (self.settings.n_levels, self.settings.n_ladders);
        let per_slot = |values: &[f64]| -> Vec<f64> {
            (0..n_ladders * n_levels).map(|slot| values[slot % n_levels]).collect()
        };
        let (x, lambda) = (state.x.clone(), per_slot(&state.lambda));
        let mut walkers = Walkers::new(self.bridge.path, x, lambda, streams, Purpose::Replica)?;
        let mut kernel = self.settings.local_move.kernel(&walkers);
        let mut swap_rngs: Vec<Rng> =
            (0..n_ladders).map(|ladder| streams.stream(Purpose::Swap, ladder as u64)).collect();
        let mut tally = Tally::new(n_levels);
        let mut steps = per_slot(&state.step_size);
        for _ in 0..n_sweeps {
            for _ in 0..self.settings.n_local_moves {
                if let Some(adapters) = &adapters {
                    let now: Vec<f64> = adapters.iter().map(StepSizeAdapter::step_size).collect();
                    steps = per_slot(&now);
                }
                let outcomes = kernel.step(self.bridge.path, &mut walkers, &steps)?;
                tally.n_diverged += count_diverged(outcomes);
                tally.n_moves += 1.0;
                let mut means = vec![0.0; n_levels];
                for (slot, outcome) in outcomes.iter().enumerate() {
                    means[slot % n_levels] += outcome.probability / n_ladders as f64;
                }
                for (level, mean) in means.iter().enumerate() {
                    tally.moves[level] += mean;
                    if let Some(adapters) = &mut adapters {
                        adapters[level].update(*mean);
                    }
                }
            }
            self.swap(&mut walkers, state, &mut swap_rngs, &mut tally)?;
            after(&walkers)?;
        }
        state.x = walkers.x;
        Ok(tally)
    }

    /// Offers an exchange to every second pair of neighbours of every ladder.
    fn swap(
        &self,
        walkers: &mut Walkers,
        state: &mut ReplicaState,
        rngs: &mut [Rng],
        tally: &mut Tally,
    ) -> Result<()> {
        let (n_levels, d) = (self.settings.n_levels, walkers.space().dimension());
        let parity = (state.n_sweeps % 2) as usize;
        state.n_sweeps += 1;
        let lower: Vec<usize> = (0..walkers.len())
            .filter(|slot| (slot % n_levels) % 2 == parity && slot % n_levels + 1 < n_levels)
            .collect();
        // Proposals come in pairs: the lower slot with the upper position, and the reverse.
        let slots: Vec<usize> = lower.iter().flat_map(|&slot| [slot, slot + 1]).collect();
        let partners = lower.iter().flat_map(|&slot| [slot + 1, slot]);
        let lambda: Vec<f64> = slots.iter().map(|&slot| walkers.lambda[slot]).collect();
        let x: Vec<f64> = partners.flat_map(|slot| &walkers.x[slot * d..][..d]).copied().collect();
        let (mut u, mut gradient) = (vec![0.0; slots.len()], vec![0.0; x.len()]);
        evaluate(self.bridge.path, &lambda, &x, &mut u, &mut gradient)?;
        walkers.n_energy_evaluations += slots.len() as u64;
        for (pair, &slot) in lower.iter().enumerate() {
            let log_ratio = walkers.u[slot] + walkers.u[slot + 1] - u[2 * pair] - u[2 * pair + 1];
            let probability = if log_ratio.is_nan() { 0.0 } else { log_ratio.min(0.0).exp() };
            tally.swaps[slot % n_levels] += probability;
            tally.n_swaps[slot % n_levels] += 1.0;
            if rngs[slot / n_levels].random::<f64>() < probability {
                let (from, to) = (2 * pair * d..2 * (pair + 1) * d, slot * d..(slot + 2) * d);
                walkers.x[to.clone()].copy_from_slice(&x[from.clone()]);
                walkers.gradient[to].copy_from_slice(&gradient[from]);
                walkers.u[slot..slot + 2].copy_from_slice(&u[2 * pair..2 * pair + 2]);
                state.replicas.swap(slot, slot + 1);
            }
        }
        for ladder in 0..self.settings.n_ladders {
            let first = ladder * n_levels;
            let at_start = &mut state.ends[first + state.replicas[first]];
            state.n_round_trips += u64::from(*at_start == 2);
            *at_start = 1;
            let at_end = &mut state.ends[first + state.replicas[first + n_levels - 1]];
            if *at_end == 1 {
                *at_end = 2;
            }
        }
        Ok(())
    }
}

/// Puts levels at equal shares of the cumulative rejection.
pub(super) fn place_levels(distances: &[f64], swap_acceptance: &[f64]) -> Vec<f64> {
    let mut cumulative = vec![0.0];
    for acceptance in swap_acceptance {
        // At least 1 %: pairs that always swap keep some length, so that no interval vanishes.
        cumulative.push(cumulative[cumulative.len() - 1] + (1.0 - acceptance).max(0.01));
    }
    let last = distances.len() - 1;
    let mut placed: Vec<f64> = (0..=last)
        .map(|k| interpolate(&cumulative, distances, cumulative[last] * k as f64 / last as f64))
        .collect();
    (placed[0], placed[last]) = (0.0, 1.0);
    placed
}

/// Piecewise linear through ascending `x`.
pub(super) fn interpolate(x: &[f64], y: &[f64], at: f64) -> f64 {
    let right = x.partition_point(|x| *x < at).clamp(1, x.len() - 1);
    let (x0, x1) = (x[right - 1], x[right]);
    let share = if x1 > x0 { ((at - x0) / (x1 - x0)).clamp(0.0, 1.0) } else { 0.0 };
    y[right - 1] + share * (y[right] - y[right - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::PotentialPath as _;
    use crate::sampling::silent;
    use crate::sampling::testing::{centred_mixture, mean_and_error, with_threads};

    #[test]
    fn populations_are_exact_and_levels_swap_equally() {
        let path = centred_mixture();
        let exchange = ReplicaExchange {
            bridge: Bridge::diffusion(&path, path.noise, 0.4),
            settings: ReplicaExchangeSettings {
                n_levels: 8,
                n_ladders: 64,
                n_local_moves: 3,
                n_placement_sweeps: 10,
                n_burn_in: 60,
                ..Default::default()
            },
            streams: Streams::new(17),
        };
        let run = |interrupted: bool| {
            let mut state = exchange.start(&mut silent).unwrap();
            let mut blocks = Vec::new();
            for _ in 0..3 {
                blocks.push(exchange.block(&mut state, 100, &mut silent).unwrap());
                if interrupted {
                    state = toml::from_str(&toml::to_string(&state).unwrap()).unwrap();
                }
            }
            (state, blocks)
        };
        let (state, blocks) = with_threads(1, || run(false));
        assert!((state.clone(), blocks.clone()) == with_threads(2, || run(true)));

        assert!(state.n_round_trips > 500, "{}", state.n_round_trips);
        assert_eq!((state.lambda[0], state.lambda[7]), (path.range().1, path.range().0));
        let swaps = &blocks[2].swap_acceptance;
        let mean = swaps.iter().sum::<f64>() / 7.0;
        assert!(mean > 0.4 && swaps.iter().all(|s| (s - mean).abs() < 0.1), "{swaps:?}");
        assert!(blocks[2].move_acceptance.iter().all(|a| (a - 0.574).abs() < 0.08));

        // Ladders are independent: their means give honest errors, at the data end and in between.
        for level in [7, 4] {
            let t = state.lambda[level];
            let per_ladder = |observable: &dyn Fn(&[f64]) -> f64| {
                mean_and_error((0..64).map(|ladder| {
                    let (mut sum, mut n) = (0.0, 0.0);
                    for block in &blocks {
                        for x in block.samples[level].chunks_exact(9).skip(ladder).step_by(64) {
                            sum += observable(x);
                            n += 1.0;
                        }
                    }
                    sum / n
                }))
            };
            let exact = crate::sampling::testing::sample_many(&path, t, 40_000, 5);
            for observable in
                [(&|x: &[f64]| path.mixture.assign(x) as f64) as &dyn Fn(&[f64]) -> f64, &|x: &[f64]| {
                    x.iter().map(|x| x * x).sum::<f64>()
                }]
            {
                let (value, std_error) = per_ladder(observable);
                let (reference, reference_error) = mean_and_error(exact.chunks_exact(9).map(observable));
                let std_error = std_error.hypot(reference_error);
                assert!((value - reference).abs() < 4.0 * std_error, "{value} {reference} ± {std_error}");
            }
        }
    }

    /// From diffusion time on to another energy, from positions that are given: the ends are what they should be.
    #[test]
    fn a_sequence_is_sampled_from_given_positions() {
        use crate::potential::analytic::{ExactPotential as _, Harmonic};
        use crate::potential::{AtLambda, GeometricPath, Piece, Route, Sequence};
        use crate::sampling::testing::sample_many;
        let path = centred_mixture();
        let data_end = AtLambda { path: &path, lambda: path.range().0 };
        let target = Harmonic::new(path.space(), 2.0, vec![0.0; 9]).unwrap();
        assert!(target.log_normalizer() > 0.0);
        let line = GeometricPath::new(&data_end, &target).unwrap();
        let sequence = Sequence::new(vec![
            Piece { path: &path, route: Route::LogSnr { noise: path.noise } },
            Piece { path: &line, route: Route::Linear { from: 0.0, to: 1.0 } },
        ])
        .unwrap();
        let settings = ReplicaExchangeSettings {
            n_levels: 12,
            n_ladders: 48,
            n_local_moves: 3,
            n_placement_sweeps: 10,
            n_burn_in: 100,
            ..Default::default()
        };
        let bridge = Bridge { path: &sequence, route: sequence.route(), reference_deviation: 1.0 };
        let exchange = ReplicaExchange { bridge, settings, streams: Streams::new(3) };
        let x = sample_many(&path, path.range().0, 12 * 48, 1);
        assert!(exchange.start_at(x[9..].to_vec(), &mut silent).is_err());
        let mut state = exchange.start_at(x, &mut silent).unwrap();
        let block = exchange.block(&mut state, 200, &mut silent).unwrap();
        assert_eq!((state.lambda[0], state.lambda[11]), (0.0, 2.0));
        assert!(state.n_round_trips > 100, "{}", state.n_round_trips);
        // 6 degrees of freedom of variance ½ at the end, of variance 1 (all but) at the noise end.
        for (level, expected) in [(11, 3.0), (0, 6.0)] {
            let (mean, error) = mean_and_error((0..48).map(|ladder| {
                let of_ladder = block.samples[level].chunks_exact(9).skip(ladder).step_by(48);
                of_ladder.map(|x| x.iter().map(|x| x * x).sum::<f64>()).sum::<f64>() / 200.0
            }));
            assert!((mean - expected).abs() < 4.0 * error, "level {level}: {mean} ± {error}");
        }
    }

    #[test]
    fn levels_move_to_where_swaps_are_rejected() {
        let placed = place_levels(&[0.0, 0.5, 1.0], &[0.9, 0.1]);
        assert!((placed[1] - 0.722).abs() < 0.001, "{placed:?}");
        let same = place_levels(&[0.0, 0.3, 1.0], &[0.4, 0.4]);
        assert!((same[1] - 0.3).abs() < 1e-12);
    }
}
