//! Driven processes from given samples: annealed importance sampling between two laws of a path (Neal 2001;
//! Jarzynski 1997; Crooks 1999).
//!
//! A walker begins as a sample of the law at the first λ of a schedule. At each of the following λ its work
//! grows by u_k(x) − u_{k−1}(x), and it then makes moves that leave exp(−u_k) invariant. With Δf the difference of
//! free energies in kT,
//!
//! ```text
//! E[exp(−w)] = exp(−Δf),    E[exp(−w) A(x)] / E[exp(−w)] = average of A at the end
//! ```
//!
//! whatever the number of levels and moves. With the reversed schedule from samples of the other end the works
//! obey Crooks' relation, so that Bennett's ratio applies to the two sets. This holds only if the moves at one λ
//! are the same in both directions: their steps come from a pilot run and are part of the schedule.
//!
//! Walkers are independent; what is resampled along the way is
//! [`SequentialMonteCarlo::from_samples`](super::SequentialMonteCarlo::from_samples).

use serde::{Deserialize, Serialize};

use super::sequential_monte_carlo::pilot_run;
use super::{
    Bridge, LocalMove, ParticleSchedule, Progress, SequentialMonteCarlo, SequentialMonteCarloSettings,
    SmcLevel,
};
use crate::error::{Error, Result, positive};
use crate::potential::{PotentialPath, Route};
use crate::random::Streams;

/// Settings of [`switch`] and [`switching_schedule`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SwitchingSettings {
    /// Moves at each level.
    pub n_moves: usize,
    /// Whether walkers also move at the last λ. The works do not depend on it; the walkers forget where they
    /// came from.
    pub moves_at_end: bool,
    /// The kernel of the moves.
    pub local_move: LocalMove,
    /// Samples of the pilot run.
    pub n_pilot: usize,
    /// Where levels are not given, the conditional effective sample size that a step keeps, as a fraction.
    pub conditional_ess: f64,
    /// The step with which adaptation begins, in the unit of the coordinates.
    pub first_step: f64,
}

impl Default for SwitchingSettings {
    fn default() -> Self {
        Self {
            n_moves: 2,
            moves_at_end: false,
            local_move: LocalMove::default(),
            n_pilot: 256,
            conditional_ess: 0.9,
            first_step: 0.05,
        }
    }
}

impl SwitchingSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        positive(format!("{place}.first_step"), self.first_step)?;
        self.particles(2).validate(place)
    }

    fn particles(&self, n: usize) -> SequentialMonteCarloSettings {
        SequentialMonteCarloSettings {
            n_particles: n.max(4),
            n_islands: 2,
            n_pilot: self.n_pilot,
            conditional_ess: self.conditional_ess,
            resample_below: 0.0,
            n_moves: self.n_moves,
            local_move: self.local_move,
        }
    }
}

/// Walkers at the end of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Switched {
    /// Positions, `[walker][coordinate]`.
    pub x: Vec<f64>,
    /// Work of each walker in kT; −work is its log-weight at the end. +∞ where an energy was.
    pub work_kt: Vec<f64>,
    /// The record by level, from the second λ.
    pub levels: Vec<SmcLevel>,
    /// Conformations evaluated.
    pub n_energy_evaluations: u64,
}

/// Through which λ a switching process goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SwitchingLevels<'l> {
    /// These.
    At(&'l [f64]),
    /// Those that the conditional effective sample size wants along a route.
    Along(Route),
}

/// Adapts the steps of the moves, and places the levels where they are not given, with a run from some of the
/// samples of the law at the first λ.
pub fn switching_schedule(
    path: &dyn PotentialPath,
    levels: SwitchingLevels<'_>,
    settings: &SwitchingSettings,
    samples: &[f64],
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<ParticleSchedule> {
    settings.validate("switching")?;
    let (route, lambdas) = match levels {
        SwitchingLevels::At(lambdas @ [from, .., to]) => {
            (Route::Linear { from: *from, to: *to }, Some(lambdas))
        }
        SwitchingLevels::At(_) => {
            return Err(Error::invalid("λ of a switching process", "at least two", "fewer"));
        }
        SwitchingLevels::Along(route) => (route, None),
    };
    let d = path.space().dimension();
    let n_samples = samples.len() / d;
    if n_samples == 0 {
        return Err(Error::invalid("samples to switch from", "at least one", "none"));
    }
    // Samples at equal distances; with fewer than the pilot run wants, some are taken more than once.
    let chosen = (0..settings.n_pilot).map(|k| k * n_samples / settings.n_pilot);
    let x: Vec<f64> = chosen.flat_map(|idx| &samples[idx * d..][..d]).copied().collect();
    let mut particles = settings.particles(settings.n_pilot);
    // Few moves at few levels would not bring the steps to their target. Weights of a pilot run that is never
    // resampled would count a single particle at its end.
    particles.n_moves = particles.n_moves.max(PILOT_MOVES);
    particles.resample_below = 0.5;
    let (pilot, part) = pilot_run(&particles, streams);
    // Nothing is drawn from the Gaussian of the bridge; half its deviation is where adaptation begins.
    let bridge = Bridge { path, route, reference_deviation: 2.0 * settings.first_step };
    let mut run = SequentialMonteCarlo::from_samples_unchecked(bridge, pilot, part, x)?;
    if settings.n_moves == 0 {
        run.set_n_moves(0);
    }
    run.pilot(lambdas, progress)
}

/// Moves of a pilot run at each level.
const PILOT_MOVES: usize = 20;

/// Takes all samples, `[walker][coordinate]`, of the law at the first λ of a schedule through it.
pub fn switch(
    path: &dyn PotentialPath,
    schedule: &ParticleSchedule,
    settings: &SwitchingSettings,
    samples: &[f64],
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<Switched> {
    settings.validate("switching")?;
    let [from, .., to] = schedule.lambda[..] else {
        return Err(Error::invalid("λ of a switching process", "at least two", "fewer"));
    };
    let n = samples.len() / path.space().dimension();
    let particles = SequentialMonteCarloSettings { n_particles: n, n_islands: 1, ..settings.particles(n) };
    let bridge = Bridge { path, route: Route::Linear { from, to }, reference_deviation: 1.0 };
    let mut run =
        SequentialMonteCarlo::from_samples_unchecked(bridge, particles, *streams, samples.to_vec())?;
    let last = schedule.lambda.len() - 1;
    for level in 1..=last {
        if level == last && !settings.moves_at_end {
            run.set_n_moves(0);
        }
        run.advance(schedule)?;
        progress(level as f64 / last as f64)?;
    }
    let population = run.finish();
    Ok(Switched {
        x: population.x,
        work_kt: population.line_log_weights.iter().map(|w| -w).collect(),
        levels: population.levels,
        n_energy_evaluations: population.n_energy_evaluations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::Space;
    use crate::potential::analytic::HarmonicPath;
    use crate::random::Purpose;
    use crate::sampling::testing::{centred_mixture, mean_and_error, sample_many, with_threads};
    use crate::sampling::{effective_sample_size, silent};

    const SPACE: Space = Space::Centered { n_particles: 4 };

    fn harmonic() -> HarmonicPath {
        HarmonicPath { space: SPACE, first_stiffness: 1.0, last_stiffness: 20.0 }
    }

    fn gaussian(n: usize, stiffness: f64, seed: u64) -> Vec<f64> {
        let mut x = vec![0.0; 12 * n];
        for (idx, x) in x.chunks_exact_mut(12).enumerate() {
            SPACE.fill_normal(&mut Streams::new(seed).stream(Purpose::Start, idx as u64), x);
            x.iter_mut().for_each(|x| *x /= stiffness.sqrt());
        }
        x
    }

    /// Bennett's ratio of equally many works in each direction, by bisection, with the error of its variance.
    fn bennett(forward: &[f64], reverse: &[f64]) -> (f64, f64) {
        let fermi = |x: f64| 1.0 / (1.0 + x.exp());
        let excess = |f: f64| {
            forward.iter().map(|w| fermi(w - f)).sum::<f64>()
                - reverse.iter().map(|w| fermi(w + f)).sum::<f64>()
        };
        let (mut low, mut high) = (-100.0, 100.0);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if excess(middle) > 0.0 { high = middle } else { low = middle }
        }
        let of = |works: &[f64], sign: f64| {
            let values = || works.iter().map(|w| fermi(w + sign * low));
            let (mean, error) = mean_and_error(values());
            (error / mean).powi(2)
        };
        (low, (of(forward, -1.0) + of(reverse, 1.0)).sqrt())
    }

    #[test]
    fn works_of_both_directions_give_the_exact_free_energy() {
        let path = harmonic();
        let exact = path.log_normalizer(0.0) - path.log_normalizer(1.0);
        let (n, streams) = (3000, Streams::new(7));
        let lambdas: Vec<f64> = (0..=48).map(|k| f64::from(k) / 48.0).collect();
        for local_move in [LocalMove::default(), LocalMove::Hmc { n_leapfrog: 3, target_acceptance: 0.75 }] {
            let settings = SwitchingSettings { local_move, first_step: 0.3, ..Default::default() };
            let (first, last) = (gaussian(n, 1.0, 1), gaussian(n, 20.0, 2));
            let levels = SwitchingLevels::At(&lambdas);
            let schedule =
                switching_schedule(&path, levels, &settings, &first, &streams, &mut silent).unwrap();
            assert_eq!((schedule.lambda.len(), schedule.step_size.len()), (49, 49));
            let forward = switch(&path, &schedule, &settings, &first, &streams, &mut silent).unwrap();
            let backwards = schedule.reversed();
            let reverse = switch(&path, &backwards, &settings, &last, &streams, &mut silent).unwrap();
            for (works, sign) in [(&forward.work_kt, 1.0), (&reverse.work_kt, -1.0)] {
                let scaled = works.iter().map(|w| (sign * exact - w).exp());
                let (mean, error) = mean_and_error(scaled);
                assert!((mean - 1.0).abs() < 4.0 * error && error < 0.3, "{local_move:?} {mean} ± {error}");
            }
            let (value, error) = bennett(&forward.work_kt, &reverse.work_kt);
            assert!((value - exact).abs() < 4.0 * error && error < 0.1, "{value} ± {error}, exact {exact}");
            // Adapted steps: the moves between the ends are accepted as often as they should be.
            let inner = &forward.levels[..forward.levels.len() - 1];
            let mean = inner.iter().map(|level| level.acceptance).sum::<f64>() / inner.len() as f64;
            assert!((mean - local_move.target_acceptance()).abs() < 0.1, "{mean}");
            assert_eq!(forward.levels[47].acceptance, 0.0);
            let per_move = if let LocalMove::Hmc { n_leapfrog, .. } = local_move { n_leapfrog } else { 1 };
            assert_eq!(forward.n_energy_evaluations, (n * (1 + 48 + 47 * 2 * per_move)) as u64);
        }
    }

    #[test]
    fn weighted_walkers_follow_the_law_at_the_end_and_its_modes() {
        let path = centred_mixture();
        let (t_start, t_end) = (0.25, path.range().0);
        let exact = path.log_normalizer(t_start) - path.log_normalizer(t_end);
        let n = 4000;
        let samples = sample_many(&path, t_start, n, 3);
        let settings = SwitchingSettings { moves_at_end: true, conditional_ess: 0.97, ..Default::default() };
        let levels = SwitchingLevels::Along(Route::Linear { from: t_start, to: t_end });
        let streams = Streams::new(4);
        let schedule = switching_schedule(&path, levels, &settings, &samples, &streams, &mut silent).unwrap();
        assert_eq!(schedule.lambda[0], t_start);
        assert!((schedule.lambda[schedule.lambda.len() - 1] - t_end).abs() < 1e-12);
        let run = || switch(&path, &schedule, &settings, &samples, &streams, &mut silent).unwrap();
        let result = run();
        assert!(result == with_threads(1, run));
        let weights: Vec<f64> = result.work_kt.iter().map(|w| (exact - w).exp()).collect();
        let (mean, error) = mean_and_error(weights.iter().copied());
        assert!((mean - 1.0).abs() < 4.0 * error && error < 0.1, "{mean} ± {error}");
        // E[w A] for the first mode (0.7), and for the mean square radius of all.
        let modes = weights.iter().zip(result.x.chunks_exact(9));
        let (share, error) = mean_and_error(modes.map(|(w, x)| w * (1.0 - path.mixture.assign(x) as f64)));
        assert!((share - 0.7).abs() < 4.0 * error, "{share} ± {error}");
        let reference = sample_many(&path, t_end, 40_000, 9);
        let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        let (expected, reference_error) = mean_and_error(reference.chunks_exact(9).map(square));
        let (value, error) =
            mean_and_error(weights.iter().zip(result.x.chunks_exact(9)).map(|(w, x)| w * square(x)));
        assert!((value - expected).abs() < 4.0 * error.hypot(reference_error), "{value} {expected}");
        assert!(effective_sample_size(&weights) > 500.0);
    }

    #[test]
    fn nothing_to_switch_is_an_error() {
        let (path, settings, streams) = (harmonic(), SwitchingSettings::default(), Streams::new(1));
        let schedule = ParticleSchedule {
            lambda: vec![0.0, 1.0],
            step_size: vec![0.1; 2],
            squared_scores: vec![],
            n_energy_evaluations: 0,
        };
        assert!(switch(&path, &schedule, &settings, &[], &streams, &mut silent).is_err());
        let one = ParticleSchedule { lambda: vec![0.0], ..schedule };
        assert!(switch(&path, &one, &settings, &[0.0; 12], &streams, &mut silent).is_err());
    }
}
