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
use super::multistate::{Multistate, MultistateSettings, multistate};
use super::region::{Within, blurred_times};
use crate::error::{Error, Result};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::nonequilibrium::{Crooks, crooks};
use crate::model::EnergyModel;
use crate::model::data::Pairing;
use crate::potential::{AtLambda, GeometricPath, Piece, PotentialPath, ReducedPotential, Route, Sequence};
use crate::random::Streams;
use crate::sampling::{
    Bridge, LocalMove, LogNormalizer, ParticleSchedule, Population, Progress, SequentialMonteCarlo,
    SequentialMonteCarloSettings, SwitchingLevels, SwitchingSettings, switch, switching_schedule,
};

/// Settings of the corrected roads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorrectedSettings {
    /// Processes in each direction.
    pub n_walkers: usize,
    /// Moves at each level.
    pub n_moves: usize,
    /// The moves.
    pub local_move: LocalMove,
    /// Frames that place the levels.
    pub n_pilot: usize,
    /// Conditional effective sample size that a step along the path keeps, as a fraction.
    pub conditional_ess: f64,
    /// Particles of sequential Monte Carlo in each direction, a multiple of 16; 0: not done.
    pub n_particles: usize,
    /// An island is resampled when its effective sample size falls below this fraction.
    pub resample_below: f64,
    /// Samples of all levels; absent: not done.
    pub multistate: Option<MultistateSettings>,
}

impl Default for CorrectedSettings {
    fn default() -> Self {
        Self {
            n_walkers: 2048,
            n_moves: 2,
            local_move: LocalMove::Hmc { n_leapfrog: 4, target_acceptance: 0.75 },
            n_pilot: 256,
            conditional_ess: 0.95,
            n_particles: 2048,
            resample_below: 0.5,
            multistate: Some(MultistateSettings::default()),
        }
    }
}

impl CorrectedSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        let bad = |key: &str, message: String| Err(Error::config(format!("{place}.{key}"), message, ""));
        if self.n_walkers < 4 * N_GROUPS {
            return bad("n_walkers", format!("must be at least {}, found {}", 4 * N_GROUPS, self.n_walkers));
        }
        if !self.n_particles.is_multiple_of(N_GROUPS) {
            let message = format!("must be a multiple of {N_GROUPS}, found {}", self.n_particles);
            return bad("n_particles", message);
        }
        if let Some(multistate) = &self.multistate {
            multistate.validate(&format!("{place}.multistate"))?;
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
pub struct CorrectedRoads {
    /// Bennett's ratio on the works: `corrected_bar`.
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

/// All corrected roads along one learned path; an untrained model gives the same roads without learning.
pub fn corrected(
    ends: &Ends,
    pairing: Pairing,
    model: &EnergyModel,
    settings: &CorrectedSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<CorrectedRoads> {
    settings.validate("corrected")?;
    if ends.ends.len() != 2 || !model.noise().has_two_ends() {
        let found = format!("{} ends, {:?}", ends.ends.len(), model.noise());
        return Err(Error::invalid("corrected roads", "two ensembles and a path between them", found));
    }
    let begun = Instant::now();
    let rescaled = [ends.physical(0)?, ends.physical(1)?];
    let physical = [
        Counted::new(&rescaled[0] as &dyn ReducedPotential),
        Counted::new(&rescaled[1] as &dyn ReducedPotential),
    ];
    let counted = Counted::new(model as &dyn PotentialPath);
    let cost = || Cost {
        physical: physical[0].n_evaluations() + physical[1].n_evaluations(),
        model: counted.n_evaluations(),
        seconds: begun.elapsed().as_secs_f64(),
    };
    let (t_min, t_max) = model.noise().time_range();
    let first = AtLambda { path: &counted, lambda: t_min };
    let second = AtLambda { path: &counted, lambda: t_max };
    let (to_learned, to_physical) =
        (GeometricPath::new(&physical[1], &second)?, GeometricPath::new(&first, &physical[0])?);
    let straight = Route::Linear { from: 0.0, to: 1.0 };
    let clock = Route::LogSnr { noise: *model.noise() };
    let sequence = Sequence::new(vec![
        Piece { path: &to_learned, route: straight },
        Piece { path: &counted, route: clock },
        Piece { path: &to_physical, route: straight },
    ])?;
    let blurred =
        blurred_times(&ends.training_data(pairing), model.noise(), &ends.region, &streams.derive(0));
    let free = blurred.map(|(from, to)| (1.0 + clock.distance(to), 1.0 + clock.distance(from)));
    let path = Within { path: &sequence, region: &ends.region, free };

    // Levels and steps.
    let switching = settings.switching();
    let (pilot_frames, _) = ends.ends[1].chosen(settings.n_pilot);
    let schedule = switching_schedule(
        &path,
        SwitchingLevels::Along(sequence.route()),
        &switching,
        &pilot_frames,
        &streams.derive(1),
        &mut |f| progress(0.15 * f),
    )?;
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
    let bar = of_works.road("corrected_bar", method, estimate, verdicts);

    // With resampling.
    let mut smc = None;
    let mut smc_directions = None;
    if settings.n_particles > 0 {
        let mut directions = [(0.0, 0.0); 2];
        let mut worst = f64::INFINITY;
        for (end, schedule, sign) in [(1, &schedule, 1.0), (0, &backwards, -1.0)] {
            let (x, _) = ends.ends[end].chosen(settings.n_particles);
            let of_end = streams.derive(4 + end as u64);
            let (from, share) = (0.45 + 0.15 * end as f64, 0.15);
            let population =
                particles(&path, settings, schedule, x, of_end, &mut |f| progress(from + share * f))?;
            // log Z of where the particles arrive relative to where they began.
            let LogNormalizer { value, std_error, .. } = population.log_z;
            directions[end] = (sign * value, std_error);
            let least = population.levels.iter().map(|level| level.unique_ancestors).min().unwrap_or(0);
            worst = worst.min(least as f64);
        }
        let of_smc = of_pilot.plus(&cost().since(&of_works));
        smc = Some(smc_road(&of_smc, settings, &directions, worst));
        smc_directions = Some(directions);
    }

    let mbar = match &settings.multistate {
        None => None,
        Some(multistate_settings) => {
            let before = cost();
            let run = multistate(
                ends,
                pairing,
                model,
                &path,
                &schedule,
                multistate_settings,
                &streams.derive(6),
                &mut |f| progress(0.75 + 0.25 * f),
            )?;
            let of_mbar = of_pilot.plus(&cost().since(&before));
            Some((run.road(&of_mbar), run))
        }
    };
    Ok(CorrectedRoads { bar, works, crooks: found, smc, smc_directions, mbar, schedule })
}

fn particles(
    path: &dyn PotentialPath,
    settings: &CorrectedSettings,
    schedule: &ParticleSchedule,
    x: Vec<f64>,
    streams: Streams,
    progress: &mut Progress<'_>,
) -> Result<Population> {
    let n = x.len() / path.space().dimension() / N_GROUPS * N_GROUPS;
    let x = x[..n * path.space().dimension()].to_vec();
    let (from, to) = (schedule.lambda[0], schedule.lambda[schedule.lambda.len() - 1]);
    let bridge = Bridge { path, route: Route::Linear { from, to }, reference_deviation: 1.0 };
    let mut run = SequentialMonteCarlo::from_samples(bridge, settings.particles(n), streams, x)?;
    let mut n_done = 0;
    while run.advance(schedule)? {
        n_done += 1;
        progress((n_done as f64 / schedule.lambda.len() as f64).min(1.0))?;
    }
    Ok(run.finish())
}

/// Both directions, each with the weight of its error.
fn smc_road(
    cost: &Cost,
    settings: &CorrectedSettings,
    directions: &[(f64, f64); 2],
    least_ancestors: f64,
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
        "from one end {first:.3} ± {first_error:.3} kT, from the other {second:.3} ± {second_error:.3} kT; at least \
         {least_ancestors} of {} frames have descendants",
        settings.n_particles
    );
    verdicts.push(Verdict::new(Severity::Note, "directions", message));
    let method = format!(
        "sequential Monte Carlo along the learned path, {} particles each way, weighted mean of both directions",
        settings.n_particles
    );
    cost.road("smc", method, (value, std_error), verdicts)
}
