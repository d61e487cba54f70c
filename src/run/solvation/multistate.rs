//! All levels of a learned path and the two physical states at once: replica exchange and MBAR.
//!
//! Ladders of replicas stand on levels of the path from one physical energy to the other. Half of them begin at
//! particles that sequential Monte Carlo has brought from the first end to each level, half at particles from the
//! second, so that what has not relaxed shows as a difference between the halves; moves and exchanges relax it
//! further. Errors are those of resampled ladders.

use serde::{Deserialize, Serialize};

use super::annealed::Cost;
use super::grouped::LearnedRoad;
use crate::error::{Result, at_least};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::bootstrap::{Blocks, bootstrap_mbar};
use crate::free_energy::{Mbar, ReducedEnergies};
use crate::potential::{PotentialPath, Route};
use crate::random::Streams;
use crate::sampling::{
    Bridge, LocalMove, ParticleSchedule, Progress, ReplicaExchange, ReplicaExchangeSettings, ReplicaState,
};

/// Settings of the ladders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultistateSettings {
    /// Of the levels of the pilot run, every so many-th is a level here.
    pub every_level: usize,
    /// Independent ladders; 0: none of this is done.
    pub n_ladders: usize,
    /// Sweeps that are dropped.
    pub n_burn_in: usize,
    /// Sweeps that count.
    pub n_sweeps: usize,
    /// Sweeps between samples.
    pub record_every: usize,
    /// Moves between exchanges.
    pub n_moves: usize,
    /// The moves.
    pub local_move: LocalMove,
    /// Resamples of the ladders for the error.
    pub n_resamples: usize,
}

impl Default for MultistateSettings {
    fn default() -> Self {
        Self {
            every_level: 3,
            n_ladders: 32,
            n_burn_in: 20,
            n_sweeps: 60,
            record_every: 6,
            n_moves: 2,
            local_move: LocalMove::Hmc { n_leapfrog: 4, target_acceptance: 0.75 },
            n_resamples: 100,
        }
    }
}

impl MultistateSettings {
    /// Which of so many levels have replicas: the ends and every so many-th.
    pub(super) fn levels(&self, n_levels: usize) -> Vec<usize> {
        let mut chosen: Vec<usize> = (0..n_levels - 1).step_by(self.every_level.max(1)).collect();
        chosen.push(n_levels - 1);
        chosen
    }

    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        if self.n_ladders == 0 {
            return Ok(());
        }
        let least = [
            ("every_level", self.every_level, 1),
            ("n_ladders", self.n_ladders, 8),
            ("n_burn_in", self.n_burn_in, 1),
            ("record_every", self.record_every, 1),
            ("n_sweeps", self.n_sweeps, 2 * self.record_every),
            ("n_moves", self.n_moves, 1),
            ("n_resamples", self.n_resamples, 20),
        ];
        for (key, value, least) in least {
            at_least(format!("{place}.{key}"), value, least)?;
        }
        self.local_move.validate(&format!("{place}.local_move"))
    }
}

/// What all levels together gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Multistate {
    /// λ of the levels, from the second end.
    pub lambda: Vec<f64>,
    /// F of each level relative to the second end, kT.
    pub free_energies_kt: Vec<f64>,
    /// F₁ − F₀, kT.
    pub value_kt: f64,
    /// Its standard error: by resampled ladders, or the asymptotic one, or half the distance of the two halves of the
    /// ladders, whichever is largest.
    pub std_error_kt: f64,
    /// F₁ − F₀ of the ladders that began at particles from the first end, and from the second, kT.
    pub from_ends_kt: [f64; 2],
    /// How many of their combined errors these two are apart; half of their distance is in the error of the whole.
    pub n_sigma: f64,
    /// Exchanges between neighbours.
    pub swap_acceptance: Vec<f64>,
    /// Acceptance of the moves by level.
    pub move_acceptance: Vec<f64>,
    /// Samples.
    pub n_samples: usize,
    /// Why there is no number, where there is none.
    pub disconnection: Option<String>,
}

impl Multistate {
    /// The row of the table.
    pub(super) fn road(&self, cost: &Cost) -> LearnedRoad {
        let mut verdicts = Vec::new();
        if let Some(why) = &self.disconnection {
            verdicts.push(Verdict::new(Severity::Untrustworthy, "disconnected", why.clone()));
        }
        let ([first, second], n_sigma) = (self.from_ends_kt, self.n_sigma);
        if n_sigma.is_nan() || n_sigma > 2.0 {
            let message = format!(
                "ladders that began at the first end give {first:.2} kT, those from the second {second:.2} kT: they were \
                 not yet at equilibrium"
            );
            let severity = if n_sigma > 4.0 { Severity::Untrustworthy } else { Severity::Warning };
            verdicts.push(Verdict::new(severity, "not_converged", message));
        }
        let least = self.swap_acceptance.iter().copied().fold(f64::INFINITY, f64::min);
        let message = format!(
            "{} levels, {} samples; neighbours exchange with a probability of at least {least:.2}; from one end \
             {first:.3}, from the other {second:.3} kT",
            self.lambda.len(),
            self.n_samples
        );
        verdicts.push(Verdict::new(Severity::Note, "levels", message));
        let method =
            "replica exchange on all levels of the learned path and both physical states, MBAR".into();
        cost.road("corrected_mbar", method, (self.value_kt, self.std_error_kt), verdicts)
    }
}

/// Samples levels of a path whose λ = 0 is the second end, and solves for their free energies.
///
/// `starts` are positions, `[end][level][ladder][coordinate]`: particles that came from the first end, and from the second.
pub(super) fn multistate(
    path: &dyn PotentialPath,
    schedule: &ParticleSchedule,
    settings: &MultistateSettings,
    starts: &[Vec<Vec<f64>>; 2],
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<Multistate> {
    let chosen = settings.levels(schedule.lambda.len());
    let lambda: Vec<f64> = chosen.iter().map(|&level| schedule.lambda[level]).collect();
    let (n_levels, d) = (lambda.len(), path.space().dimension());
    // The first half of the ladders begins at particles from the first end.
    let per_end = settings.n_ladders.div_ceil(2);
    let n_ladders = 2 * per_end;
    let mut x = vec![0.0; n_ladders * n_levels * d];
    for (slot, x) in x.chunks_exact_mut(d).enumerate() {
        let (ladder, level) = (slot / n_levels, slot % n_levels);
        x.copy_from_slice(&starts[ladder / per_end][level][(ladder % per_end) * d..][..d]);
    }
    let exchange = ReplicaExchange {
        bridge: Bridge {
            path,
            route: Route::Linear { from: lambda[0], to: lambda[n_levels - 1] },
            reference_deviation: 1.0,
        },
        settings: ReplicaExchangeSettings {
            n_levels,
            n_ladders,
            n_local_moves: settings.n_moves,
            record_every: settings.record_every,
            local_move: settings.local_move,
            ..Default::default()
        },
        streams: *streams,
    };
    let mut state = ReplicaState {
        block: 0,
        n_sweeps: 0,
        step_size: chosen.iter().map(|&level| schedule.step_size[level]).collect(),
        x,
        lambda: lambda.clone(),
        replicas: (0..n_ladders * n_levels).map(|slot| slot % n_levels).collect(),
        ends: vec![0; n_ladders * n_levels],
        n_round_trips: 0,
    };
    let share = settings.n_burn_in as f64 / (settings.n_burn_in + settings.n_sweeps) as f64;
    exchange.block(&mut state, settings.n_burn_in, &mut |f| progress(0.6 * share * f))?;
    let block = exchange
        .block(&mut state, settings.n_sweeps, &mut |f| progress(0.6 * (share + (1.0 - share) * f)))?;

    // Samples level by level, `[record][ladder]` within.
    let x = block.samples.concat();
    let n_per_level = block.samples[0].len() / d;
    let n_samples = x.len() / d;
    let mut u_kn = vec![0.0; n_levels * n_samples];
    for (level, u) in u_kn.chunks_exact_mut(n_samples).enumerate() {
        path.energies(&vec![lambda[level]; n_samples], &x, u)?;
        // A sample without a finite energy at another level has no weight there.
        u.iter_mut().filter(|u| u.is_nan()).for_each(|u| *u = f64::INFINITY);
        progress(0.6 + 0.3 * (level + 1) as f64 / n_levels as f64)?;
    }
    let energies = ReducedEnergies::ordered(vec![n_per_level; n_levels], u_kn)?;
    let mbar = Mbar::new(&energies)?;
    // λ = 0 is the second end.
    let difference = |mbar: &Mbar| mbar.difference(n_levels - 1, 0);
    let found = difference(&mbar);
    let ladders: Vec<usize> = (0..n_samples).map(|n| (n % n_per_level) % n_ladders).collect();
    let bootstrap = bootstrap_mbar(&mbar, &Blocks::new(&ladders)?, settings.n_resamples, streams, |mbar| {
        difference(mbar).map(|estimate| vec![estimate.value])
    })?;
    let resampled = bootstrap.std_errors.first().copied().unwrap_or(f64::INFINITY);
    let from_end = |end: usize| {
        let counted = ladders.iter().map(|ladder| f64::from(u8::from(ladder / per_end == end)));
        let mbar = mbar.resampled(counted.collect());
        mbar.ok().and_then(|mbar| difference(&mbar)).map_or(f64::NAN, |estimate| estimate.value)
    };
    let from_ends_kt = [from_end(0), from_end(1)];
    let distance = (from_ends_kt[0] - from_ends_kt[1]).abs();
    let std_error = found.as_ref().map_or(f64::INFINITY, |estimate| estimate.std_error.max(resampled));
    progress(1.0)?;
    Ok(Multistate {
        free_energies_kt: mbar.free_energies_kt().to_vec(),
        value_kt: found.as_ref().map_or(f64::NAN, |estimate| estimate.value),
        std_error_kt: if distance.is_finite() { std_error.max(0.5 * distance) } else { f64::INFINITY },
        from_ends_kt,
        // Each half has √2 times the error of the whole.
        n_sigma: distance / (2.0 * std_error),
        swap_acceptance: block.swap_acceptance,
        move_acceptance: block.move_acceptance,
        n_samples,
        disconnection: mbar.disconnection(),
        lambda,
    })
}
