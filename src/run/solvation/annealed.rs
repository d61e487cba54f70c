//! Learned paths made exact: what is learned proposes, physical energies at both ends decide.
//!
//! One path leads from the first physical energy to the learned one beside it, along the learned energies to the
//! other end, and from there to the second physical energy:
//!
//! ```text
//! u₀ —line→ u_θ(·, t_min) —clock→ u_θ(·, t_max) —line→ u₁
//! ```
//!
//! No physical energy is scaled on the way. Whatever u_θ is, F₁ − F₀ between the two ends of this path is that of the
//! physical energies; a better u_θ makes processes along the path more reversible, and so errors smaller. Three
//! estimates from frames of both ends:
//!
//! - works of processes in both directions, without resampling (annealed importance sampling, Neal 2001), by Bennett's
//!   ratio (Crooks 1999; Shirts et al. 2003);
//! - sequential Monte Carlo, that is the same with resampling, in each direction;
//! - samples of all levels by replica exchange, by MBAR ([`super::multistate`]).
//!
//! Internally λ runs from 0 at the *second* end to 3 at the first, because learned time is travelled that way.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Road;
use super::counted::Counted;
use super::ends::{Ends, N_GROUPS};
use super::grouped::{LearnedRoad, Works, bennett_by_groups, overlap_verdict};
use super::learning::LearnedPath;
use super::multistate::{Multistate, MultistateSettings, multistate};
use super::placing::Pilot;
use super::region::Within;
use crate::error::{Error, Result, at_least};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::nonequilibrium::{Crooks, crooks};
use crate::model::data::Pairing;
use crate::potential::{AtLambda, GeometricPath, Piece, PotentialPath, ReducedPotential, Route, Sequence};
use crate::random::{Purpose, Streams};
use crate::sampling::{
    Bridge, LocalMove, LogNormalizer, ParticleSchedule, Population, Progress, SequentialMonteCarlo,
    SequentialMonteCarloSettings, SwitchingSettings, switch, systematic_resampling,
};

/// Settings of the annealed roads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnnealedSettings {
    /// Processes in each direction.
    pub n_walkers: usize,
    /// Moves at each level.
    pub n_moves: usize,
    /// The moves.
    pub local_move: LocalMove,
    /// Walkers of the pilot run, which places the levels.
    pub n_pilot: usize,
    /// Conditional effective sample size that a step along the path keeps in the pilot run, as a fraction.
    pub conditional_ess: f64,
    /// Parts into which the steps of the pilot run are divided. The spread of works falls with the root of their
    /// number: at c parts of steps with conditional effective sample size e, it is at best that of n (1/e − 1)/c kT².
    pub n_parts: usize,
    /// Particles of sequential Monte Carlo in each direction, a multiple of 16; 0: not done.
    pub n_particles: usize,
    /// An island is resampled when its effective sample size falls below this fraction.
    pub resample_below: f64,
    /// Samples of all levels; without ladders not done.
    pub multistate: MultistateSettings,
}

impl Default for AnnealedSettings {
    fn default() -> Self {
        Self {
            n_walkers: 1024,
            n_moves: 1,
            local_move: LocalMove::Hmc { n_leapfrog: 4, target_acceptance: 0.75 },
            n_pilot: 256,
            conditional_ess: 0.9,
            n_parts: 8,
            n_particles: 1024,
            resample_below: 0.5,
            multistate: MultistateSettings::default(),
        }
    }
}

impl AnnealedSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        let bad = |key: &str, message: String| Err(Error::config(format!("{place}.{key}"), message, ""));
        at_least(format!("{place}.n_walkers"), self.n_walkers, 4 * N_GROUPS)?;
        at_least(format!("{place}.n_parts"), self.n_parts, 1)?;
        if !self.n_particles.is_multiple_of(N_GROUPS) {
            let message = format!("must be a multiple of {N_GROUPS}, found {}", self.n_particles);
            return bad("n_particles", message);
        }
        self.multistate.validate(&format!("{place}.multistate"))?;
        if self.multistate.n_ladders > 0 && self.n_particles == 0 {
            return bad("n_particles", "must not be 0: the ladders begin at these particles".into());
        }
        self.particles(4 * N_GROUPS).validate(place)
    }

    fn switching(&self) -> SwitchingSettings {
        SwitchingSettings {
            n_moves: self.n_moves,
            moves_at_end: false,
            local_move: self.local_move,
            n_pilot: self.n_pilot,
            conditional_ess: self.conditional_ess,
            first_step: 0.02,
        }
    }

    fn particles(&self, n: usize) -> SequentialMonteCarloSettings {
        SequentialMonteCarloSettings {
            n_particles: n,
            n_islands: N_GROUPS,
            n_pilot: self.n_pilot,
            conditional_ess: self.conditional_ess,
            resample_below: self.resample_below,
            n_moves: self.n_moves,
            local_move: self.local_move,
        }
    }
}

/// What processes along the path gave.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnealedRoads {
    /// Bennett's ratio on the works: `annealed_bar`.
    pub bar: LearnedRoad,
    /// The works, from the first end and from the second, kT.
    pub works: [Works; 2],
    /// What they tell.
    pub crooks: Crooks,
    /// Sequential Monte Carlo: `smc`.
    pub smc: Option<LearnedRoad>,
    /// F₁ − F₀ by sequential Monte Carlo from the first end and from the second, with errors, kT.
    pub smc_directions: Option<[(f64, f64); 2]>,
    /// All levels: `corrected_mbar`.
    pub mbar: Option<(LearnedRoad, Multistate)>,
    /// Levels and steps, from the second end.
    pub schedule: ParticleSchedule,
}

/// Evaluations so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub physical: u64,
    pub model: u64,
    pub seconds: f64,
}

impl Cost {
    fn since(&self, before: &Self) -> Self {
        Self {
            physical: self.physical - before.physical,
            model: self.model - before.model,
            seconds: self.seconds - before.seconds,
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            physical: self.physical + other.physical,
            model: self.model + other.model,
            seconds: self.seconds + other.seconds,
        }
    }

    /// A row of a road that cost this.
    pub(super) fn road(
        &self,
        name: &str,
        method: String,
        (value_kt, std_error_kt): (f64, f64),
        verdicts: Vec<Verdict>,
    ) -> LearnedRoad {
        let road = Road {
            name: name.into(),
            method,
            value_kt,
            std_error_kt,
            n_energy_evaluations: self.physical,
            wall_seconds: self.seconds,
            verdicts,
        };
        LearnedRoad { road, n_model_evaluations: self.model }
    }
}

/// All annealed roads along one learned path; an untrained model gives the same roads without learning.
pub fn annealed(
    ends: &Ends,
    pairing: Pairing,
    learned: LearnedPath,
    settings: &AnnealedSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<AnnealedRoads> {
    settings.validate("annealed")?;
    ends.check_pair(&learned.noise, "annealed roads")?;
    let begun = Instant::now();
    let rescaled = [ends.physical(0)?, ends.physical(1)?];
    let physical = [
        Counted::new(&rescaled[0] as &dyn ReducedPotential),
        Counted::new(&rescaled[1] as &dyn ReducedPotential),
    ];
    let counted = Counted::new(learned.path);
    let cost = || Cost {
        physical: physical[0].n_evaluations() + physical[1].n_evaluations(),
        model: counted.n_evaluations(),
        seconds: begun.elapsed().as_secs_f64(),
    };
    let (t_min, t_max) = learned.noise.time_range();
    let first = AtLambda { path: &counted, lambda: t_min };
    let second = AtLambda { path: &counted, lambda: t_max };
    let (to_learned, to_physical) =
        (GeometricPath::new(&physical[1], &second)?, GeometricPath::new(&first, &physical[0])?);
    let straight = Route::Linear { from: 0.0, to: 1.0 };
    let clock = Route::LogSnr { noise: learned.noise };
    let sequence = Sequence::new(vec![
        Piece { path: &to_learned, route: straight },
        Piece { path: &counted, route: clock },
        Piece { path: &to_physical, route: straight },
    ])?;
    // Not only at the ends: where a region stops to count, samples from within do not show what was added, and
    // walkers that leave it under strong noise would rarely come back.
    let path = Within { path: &sequence, region: &ends.region, free: None };

    // Levels and steps.
    let switching = settings.switching();
    let pilot = Pilot {
        ends,
        pairing,
        noise: learned.noise,
        n_walkers: settings.n_pilot,
        conditional_ess: settings.conditional_ess,
        local_move: settings.local_move,
        streams: streams.derive(1),
    };
    // Without the region: noised frames lie outside of it.
    let coarse = pilot.run(&sequence, &mut |f| progress(0.15 * f))?;
    let schedule = divided(&coarse, settings.n_parts);
    let of_pilot = cost();

    // Works in both directions.
    let mut works = [Works::default(), Works::default()];
    let backwards = schedule.reversed();
    for (end, schedule) in [(1, &schedule), (0, &backwards)] {
        let (x, groups) = ends.ends[end].chosen(settings.n_walkers);
        let of_end = streams.derive(2 + end as u64);
        let (from, share) = (0.15 + 0.15 * end as f64, 0.15);
        let switched = switch(&path, schedule, &switching, &x, &of_end, &mut |f| progress(from + share * f))?;
        works[end] = Works { kt: switched.work_kt, groups };
    }
    let found = crooks(&works[0].kt, &works[1].kt)?;
    let mut verdicts: Vec<Verdict> = Vec::new();
    verdicts.extend(overlap_verdict("works along the learned path", found.overlap));
    let message = format!(
        "{} levels; {:.1} and {:.1} kT are dissipated in the two directions",
        schedule.lambda.len(),
        found.dissipated_forward_kt,
        found.dissipated_reverse_kt
    );
    verdicts.push(Verdict::new(Severity::Note, "dissipation", message));
    let of_works = cost();
    let method = format!(
        "annealed importance sampling along the learned path, {} processes each way, Bennett's ratio",
        settings.n_walkers
    );
    let estimate = bennett_by_groups(&works[0], &works[1], N_GROUPS);
    let bar = of_works.road("annealed_bar", method, estimate, verdicts);

    // With resampling.
    let mut smc = None;
    let mut of_smc = of_pilot;
    let mut smc_directions = None;
    let mut starts = [Vec::new(), Vec::new()];
    if settings.n_particles > 0 {
        let mut directions = [(0.0, 0.0); 2];
        let mut n_ancestors = [0; 2];
        let last = schedule.lambda.len() - 1;
        let ladder: Vec<usize> =
            settings.multistate.levels(coarse.lambda.len()).iter().map(|k| k * settings.n_parts).collect();
        for (end, schedule, sign) in [(1, &schedule, 1.0), (0, &backwards, -1.0)] {
            let (x, _) = ends.ends[end].chosen(settings.n_particles);
            let of_end = streams.derive(4 + end as u64);
            let (from, share) = (0.45 + 0.15 * end as f64, 0.15);
            let levels: Vec<usize> = match end {
                1 => ladder.clone(),
                _ => ladder.iter().rev().map(|level| last - level).collect(),
            };
            let n_kept = settings.multistate.n_ladders.div_ceil(2);
            let journey = travel(&path, settings, schedule, x, (&levels, n_kept), of_end, &mut |f| {
                progress(from + share * f)
            })?;
            // log Z of where the particles arrive relative to where they began.
            let LogNormalizer { value, std_error, .. } = journey.population.log_z;
            directions[end] = (sign * value, std_error);
            let levels = journey.population.levels.iter();
            n_ancestors[end] = levels.map(|level| level.unique_ancestors).min().unwrap_or(0);
            starts[end] = journey.on_the_way;
        }
        // In the order of the levels from the second end.
        starts[0].reverse();
        of_smc = of_pilot.plus(&cost().since(&of_works));
        smc = Some(smc_road(&of_smc, settings, &directions, n_ancestors));
        smc_directions = Some(directions);
    }

    let mut mbar = None;
    if settings.multistate.n_ladders > 0 {
        let before = cost();
        let streams = streams.derive(6);
        let run = multistate(&path, &coarse, &settings.multistate, &starts, &streams, &mut |f| {
            progress(0.75 + 0.25 * f)
        })?;
        let of_mbar = of_smc.plus(&cost().since(&before));
        mbar = Some((run.road(&of_mbar), run));
    }
    Ok(AnnealedRoads { bar, works, crooks: found, smc, smc_directions, mbar, schedule })
}

/// Every step of a schedule divided into equal parts; steps of the moves in between are geometric means.
fn divided(schedule: &ParticleSchedule, n_parts: usize) -> ParticleSchedule {
    let (mut lambda, mut step_size) = (vec![schedule.lambda[0]], vec![schedule.step_size[0]]);
    let steps = schedule.lambda.windows(2).zip(schedule.step_size.windows(2));
    for (lambdas, sizes) in steps {
        for part in 1..n_parts {
            let f = part as f64 / n_parts as f64;
            lambda.push(lambdas[0] + f * (lambdas[1] - lambdas[0]));
            step_size.push(sizes[0].powf(1.0 - f) * sizes[1].powf(f));
        }
        lambda.push(lambdas[1]);
        step_size.push(sizes[1]);
    }
    ParticleSchedule { lambda, step_size, squared_scores: Vec::new(), ..*schedule }
}

/// Sequential Monte Carlo through a schedule from samples of its first law.
struct Journey {
    population: Population,
    /// Unweighted particles of some levels, in the order of the schedule.
    on_the_way: Vec<Vec<f64>>,
}

/// `keep` says of how many levels of the schedule, in ascending order, how many particles are kept.
fn travel(
    path: &dyn PotentialPath,
    settings: &AnnealedSettings,
    schedule: &ParticleSchedule,
    mut x: Vec<f64>,
    keep: (&[usize], usize),
    streams: Streams,
    progress: &mut Progress<'_>,
) -> Result<Journey> {
    let d = path.space().dimension();
    let n = x.len() / d / N_GROUPS * N_GROUPS;
    x.truncate(n * d);
    let last = schedule.lambda.len() - 1;
    let route = Route::Linear { from: schedule.lambda[0], to: schedule.lambda[last] };
    let (levels, n_kept) = keep;
    let drawn = |x: &[f64], log_weights: &[f64], level: usize| -> Vec<f64> {
        let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = log_weights.iter().map(|w| (w - largest).exp()).collect();
        let mut rng = streams.derive(1).stream(Purpose::Resampling, level as u64);
        let chosen = systematic_resampling(&weights, n_kept, &mut rng);
        chosen.into_iter().flat_map(|idx| x[idx * d..][..d].to_vec()).collect()
    };
    let mut on_the_way = Vec::with_capacity(levels.len());
    if levels.first() == Some(&0) {
        on_the_way.push(drawn(&x, &vec![0.0; n], 0));
    }
    let bridge = Bridge { path, route, reference_deviation: 1.0 };
    let mut run = SequentialMonteCarlo::from_samples(bridge, settings.particles(n), streams, x)?;
    let mut level = 0;
    while run.advance(schedule)? {
        level += 1;
        if levels.binary_search(&level).is_ok() {
            let state = run.state();
            let per_island = n / N_GROUPS;
            let of_islands = state.log_weights.iter().enumerate();
            let log_weights: Vec<f64> =
                of_islands.map(|(k, weight)| weight + state.island_log_z[k / per_island]).collect();
            on_the_way.push(drawn(&state.x, &log_weights, level));
        }
        progress(level as f64 / last as f64)?;
    }
    Ok(Journey { population: run.finish(), on_the_way })
}

/// Both directions, each with the weight of its error.
fn smc_road(
    cost: &Cost,
    settings: &AnnealedSettings,
    directions: &[(f64, f64); 2],
    n_ancestors: [usize; 2],
) -> LearnedRoad {
    let [(first, first_error), (second, second_error)] = *directions;
    let weights = [first_error, second_error].map(|error| 1.0 / (error * error).max(1e-12));
    let total = weights[0] + weights[1];
    let value = (weights[0] * first + weights[1] * second) / total;
    let combined = first_error.hypot(second_error);
    let n_sigma = (first - second).abs() / combined;
    // Directions that differ by more than their errors show that these are too small: scaled up to what is seen.
    let std_error = (1.0 / total).sqrt() * n_sigma.max(1.0);
    let mut verdicts = Vec::new();
    if !n_sigma.is_finite() || n_sigma > 4.0 {
        let message = format!(
            "from one end {first:.2} ± {first_error:.2} kT, from the other {second:.2} ± {second_error:.2} kT: \
             the two do not agree"
        );
        verdicts.push(Verdict::new(Severity::Untrustworthy, "directions_disagree", message));
    } else if n_sigma > 2.0 {
        let message =
            format!("the two directions are {n_sigma:.1} combined errors apart; the error contains this");
        verdicts.push(Verdict::new(Severity::Warning, "directions_disagree", message));
    }
    let message = format!(
        "from one end {first:.3} ± {first_error:.3} kT, from the other {second:.3} ± {second_error:.3} kT; {} \
         and {} of {} frames have descendants",
        n_ancestors[0], n_ancestors[1], settings.n_particles
    );
    verdicts.push(Verdict::new(Severity::Note, "directions", message));
    let method = format!(
        "sequential Monte Carlo along the learned path, {} particles each way, weighted mean of both directions",
        settings.n_particles
    );
    cost.road("smc", method, (value, std_error), verdicts)
}
