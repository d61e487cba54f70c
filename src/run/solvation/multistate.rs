//! All levels of a learned path and the two physical states at once: replica exchange and MBAR.
//!
//! Ladders of replicas stand on levels of the path from one physical energy to the other. They begin at frames (at the
//! physical levels), and at frames that were noised as the interpolant does it (at the learned ones), so that a good
//! model has little to relax; moves and exchanges make the samples those of the path. Ladders are independent, and
//! errors are those of resampled ladders.

use serde::{Deserialize, Serialize};

use super::corrected::Cost;
use super::ends::Ends;
use super::grouped::LearnedRoad;
use crate::error::{Error, Result};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::bootstrap::{Blocks, bootstrap_mbar};
use crate::free_energy::{Mbar, ReducedEnergies};
use crate::model::EnergyModel;
use crate::model::data::{DataPoints, End, GROUP, Pairing, TrainingData};
use crate::potential::{PotentialPath, Route};
use crate::random::{Purpose, Streams};
use crate::sampling::{
    Bridge, LocalMove, ParticleSchedule, Progress, ReplicaExchange, ReplicaExchangeSettings, ReplicaState,
};

/// Settings of the ladders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultistateSettings {
    /// Of the levels of the switching processes, every so many-th is a level here.
    pub every_level: usize,
    /// Independent ladders.
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
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
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
            if value < least {
                let message = format!("must be at least {least}, found {value}");
                return Err(Error::config(format!("{place}.{key}"), message, ""));
            }
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
    /// Its standard error by resampled ladders, or the asymptotic one where that is larger.
    pub std_error_kt: f64,
    /// F₁ − F₀ of the second half of the sweeps minus that of the first, kT.
    pub drift_kt: f64,
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
        let tolerance = 4.0 * self.std_error_kt;
        if self.drift_kt.abs() > tolerance || self.drift_kt.is_nan() {
            let message = format!(
                "the two halves of the sweeps differ by {:.2} kT: the ladders were not yet at equilibrium",
                self.drift_kt
            );
            let severity = if self.drift_kt.abs() > 2.0 * tolerance {
                Severity::Untrustworthy
            } else {
                Severity::Warning
            };
            verdicts.push(Verdict::new(severity, "not_converged", message));
        }
        let least = self.swap_acceptance.iter().copied().fold(f64::INFINITY, f64::min);
        let message = format!(
            "{} levels, {} samples; neighbours exchange with a probability of at least {least:.2}; the halves differ by \
             {:.3} kT",
            self.lambda.len(),
            self.n_samples,
            self.drift_kt
        );
        verdicts.push(Verdict::new(Severity::Note, "levels", message));
        let method =
            "replica exchange on all levels of the learned path and both physical states, MBAR".into();
        cost.road("corrected_mbar", method, (self.value_kt, self.std_error_kt), verdicts)
    }
}

/// Samples levels of a path whose λ = 0 is the second end, and solves for their free energies.
#[expect(clippy::too_many_arguments, reason = "each of them is a different thing")]
pub(super) fn multistate(
    ends: &Ends,
    pairing: Pairing,
    model: &EnergyModel,
    path: &dyn PotentialPath,
    schedule: &ParticleSchedule,
    settings: &MultistateSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<Multistate> {
    let last = schedule.lambda.len() - 1;
    let mut chosen: Vec<usize> = (0..last).step_by(settings.every_level).collect();
    chosen.push(last);
    let lambda: Vec<f64> = chosen.iter().map(|&level| schedule.lambda[level]).collect();
    let (n_levels, n_ladders, d) = (lambda.len(), settings.n_ladders, ends.space.dimension());
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
        x: starts(ends, pairing, model, &lambda, n_ladders, streams),
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
    let n_records = n_per_level / n_ladders;
    let half = |second: bool| {
        let counted = (0..n_samples).map(|n| {
            let is_second = 2 * ((n % n_per_level) / n_ladders) >= n_records;
            f64::from(u8::from(is_second == second))
        });
        let mbar = mbar.resampled(counted.collect());
        mbar.ok().and_then(|mbar| difference(&mbar)).map_or(f64::NAN, |estimate| estimate.value)
    };
    progress(1.0)?;
    Ok(Multistate {
        free_energies_kt: mbar.free_energies_kt().to_vec(),
        value_kt: found.as_ref().map_or(f64::NAN, |estimate| estimate.value),
        std_error_kt: found.as_ref().map_or(f64::INFINITY, |estimate| estimate.std_error.max(resampled)),
        drift_kt: half(true) - half(false),
        swap_acceptance: block.swap_acceptance,
        move_acceptance: block.move_acceptance,
        n_samples,
        disconnection: mbar.disconnection(),
        lambda,
    })
}

/// Positions near the law of each level, `[ladder][level][coordinate]`.
fn starts(
    ends: &Ends,
    pairing: Pairing,
    model: &EnergyModel,
    lambdas: &[f64],
    n_ladders: usize,
    streams: &Streams,
) -> Vec<f64> {
    let (space, noise) = (ends.space, *model.noise());
    let d = space.dimension();
    let clock = Route::LogSnr { noise };
    let frames: Vec<Vec<f32>> =
        ends.ends.iter().map(|end| end.held_out.iter().map(|x| *x as f32).collect()).collect();
    let end = |k: usize| End { frames: &frames[k], scores: &[] };
    let data = TrainingData { space, first: end(0), second: Some(end(1)), pairing };
    let mut points = DataPoints::default();
    let mut x = vec![0.0; n_ladders * lambdas.len() * d];
    for (level, &lambda) in lambdas.iter().enumerate() {
        let mut rng = streams.stream(Purpose::Start, level as u64);
        for first in (0..n_ladders).step_by(GROUP) {
            let n = GROUP.min(n_ladders - first);
            data.draw(n, &mut rng, &mut points);
            for k in 0..n {
                let (x0, x1) = (&points.first[k * d..][..d], &points.second[k * d..][..d]);
                let x = &mut x[((first + k) * lambdas.len() + level) * d..][..d];
                if lambda <= 1.0 {
                    x.copy_from_slice(x1);
                } else if lambda >= 2.0 {
                    x.copy_from_slice(x0);
                } else {
                    let t = clock.lambda(lambda - 1.0);
                    let (a, b, g) = (noise.scale(t), noise.partner_scale(t), noise.deviation(t));
                    space.fill_normal(&mut rng, x);
                    for ((x, x0), x1) in x.iter_mut().zip(x0).zip(x1) {
                        *x = a * x0 + b * x1 + g * *x;
                    }
                }
            }
        }
    }
    x
}
