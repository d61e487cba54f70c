//! Sequential Monte Carlo along a path (Del Moral, Doucet and Jasra 2006).
//!
//! Particles start as draws of a Gaussian, are weighted to u at the start of the route, and follow it
//! level by level: weight by exp(u_{k−1} − u_k), resample when the effective sample size of an island
//! falls below a fraction of it, move with a kernel that leaves exp(−u_k) invariant. The product of the
//! mean weights is an unbiased estimate of Z = ∫ exp(−u) at every level: absolute, because the Gaussian
//! is normalised.
//!
//! A pilot run with fewer particles places the levels, each step as large as a conditional effective
//! sample size (Zhou, Johansen and Aston 2016) allows, and adapts the step of the moves. The particles
//! that count use that schedule unchanged, so that nothing in their weights depends on themselves. They
//! are divided into islands that never exchange particles: the spread of the islands' Z is the error.
//!
//! Particles can also start as samples of the law at the start of the route ([`SequentialMonteCarlo::from_samples`]);
//! Z is then relative to that law. And along diffusion time they can be carried from level to level by reverse
//! diffusion instead of staying where they are ([`super::particle_diffusion()`]).

use super::kernel::{count_diverged, mean_acceptance};
use super::particle_diffusion::carry;
use super::particles::{ParticleSchedule, ParticleState, Population, SmcLevel, combine_islands};
use super::resampling::{effective_sample_size_log, systematic_resampling};
use super::{Bridge, Kernel, Progress, SequentialMonteCarloSettings, StepSizeAdapter, Walkers};
use crate::error::{Error, Result};
use crate::potential::{Noise, log_sum_exp};
use crate::random::{Purpose, Streams};

/// A run that proceeds level by level and can be stored in between.
pub struct SequentialMonteCarlo<'a> {
    bridge: Bridge<'a>,
    settings: SequentialMonteCarloSettings,
    streams: Streams,
    state: ParticleState,
    walkers: Walkers,
    kernel: Box<dyn Kernel>,
    /// The process whose reverse carries particles between levels with λ from 0 (noise) to 1 (data).
    carried_by: Option<Noise>,
}

impl<'a> SequentialMonteCarlo<'a> {
    /// Draws the first particles.
    pub fn start(
        bridge: Bridge<'a>,
        settings: SequentialMonteCarloSettings,
        streams: Streams,
    ) -> Result<Self> {
        settings.validate("sequential_monte_carlo")?;
        Self::start_unchecked(bridge, settings, streams)
    }

    /// As [`Self::start`], for a pilot run on one island as well.
    pub(super) fn start_unchecked(
        bridge: Bridge<'a>,
        settings: SequentialMonteCarloSettings,
        streams: Streams,
    ) -> Result<Self> {
        bridge.validate()?;
        let x = bridge.draw_reference(settings.n_particles, &streams, Purpose::Particle);
        Self::at(bridge, settings, streams, x, 0)
    }

    /// Starts from samples of the law at the start of the route, `[particle][coordinate]`; the first level of a
    /// schedule is then behind them. log Z is relative to that law.
    pub fn from_samples(
        bridge: Bridge<'a>,
        settings: SequentialMonteCarloSettings,
        streams: Streams,
        x: Vec<f64>,
    ) -> Result<Self> {
        settings.validate("sequential_monte_carlo")?;
        Self::from_samples_unchecked(bridge, settings, streams, x)
    }

    /// As [`Self::from_samples`], on one island as well.
    pub(super) fn from_samples_unchecked(
        bridge: Bridge<'a>,
        settings: SequentialMonteCarloSettings,
        streams: Streams,
        x: Vec<f64>,
    ) -> Result<Self> {
        bridge.validate()?;
        let wanted = settings.n_particles * bridge.path.space().dimension();
        if x.is_empty() || x.len() != wanted {
            return Err(Error::invalid(
                "samples to start from",
                format!("{wanted} numbers"),
                x.len().to_string(),
            ));
        }
        Self::at(bridge, settings, streams, x, 1)
    }

    fn at(
        bridge: Bridge<'a>,
        settings: SequentialMonteCarloSettings,
        streams: Streams,
        x: Vec<f64>,
        next_level: usize,
    ) -> Result<Self> {
        let n = settings.n_particles;
        let n_per_island = n / settings.n_islands;
        let state = ParticleState {
            next_level,
            x,
            log_weights: vec![-(n_per_island as f64).ln(); n],
            line_log_weights: vec![0.0; n],
            ancestors: (0..n).collect(),
            island_log_z: vec![0.0; settings.n_islands],
            levels: Vec::new(),
            n_energy_evaluations: if next_level > 0 { n as u64 } else { 0 },
        };
        Self::resume(bridge, settings, streams, state)
    }

    /// The same, with particles carried by the reverse of this process between levels with λ from 0 to 1.
    pub(super) fn carried_by(mut self, noise: Noise) -> Self {
        self.carried_by = Some(noise);
        self
    }

    /// Makes so many moves at the levels that follow.
    pub(super) fn set_n_moves(&mut self, n_moves: usize) {
        self.settings.n_moves = n_moves;
    }

    /// Continues from a stored state, with the settings and seed that it was made with.
    pub fn resume(
        bridge: Bridge<'a>,
        settings: SequentialMonteCarloSettings,
        streams: Streams,
        state: ParticleState,
    ) -> Result<Self> {
        let lambda = state.levels.last().map_or_else(|| bridge.route.lambda(0.0), |level| level.lambda);
        let lambda = vec![lambda; settings.n_particles];
        let walkers = Walkers::new(bridge.path, state.x.clone(), lambda, &streams, Purpose::Particle)?;
        let kernel = settings.local_move.kernel(&walkers);
        Ok(Self { bridge, settings, streams, state, walkers, kernel, carried_by: None })
    }

    /// What to store in order to continue later.
    pub fn state(&self) -> ParticleState {
        ParticleState { x: self.walkers.x.clone(), ..self.state.clone() }
    }

    /// Does one level of the schedule; false when there was none left.
    pub fn advance(&mut self, schedule: &ParticleSchedule) -> Result<bool> {
        let level = self.state.next_level;
        if level >= schedule.lambda.len() {
            return Ok(false);
        }
        let squared_score =
            level.checked_sub(1).and_then(|before| schedule.squared_scores.get(before).copied());
        self.do_level(schedule.lambda[level], squared_score, &mut |_| schedule.step_size[level])?;
        Ok(true)
    }

    /// The weighted particles of the last level done.
    pub fn finish(self) -> Population {
        let ParticleState { log_weights, line_log_weights, island_log_z, levels, .. } = self.state;
        let per_island = log_weights.len() / island_log_z.len();
        let total = log_sum_exp(&island_log_z);
        let log_weights =
            log_weights.iter().enumerate().map(|(i, w)| w + island_log_z[i / per_island] - total).collect();
        Population {
            x: self.walkers.x,
            log_weights,
            line_log_weights,
            log_z: combine_islands(&island_log_z, per_island),
            levels,
            n_energy_evaluations: self.state.n_energy_evaluations,
        }
    }

    /// Weights, resamples and moves. `step_size` is told the acceptance of the previous move (none
    /// before the first) and gives the step of the next.
    fn do_level(
        &mut self,
        lambda: f64,
        squared_score: Option<f64>,
        step_size: &mut dyn FnMut(Option<f64>) -> f64,
    ) -> Result<()> {
        let level = self.state.next_level;
        let before = self.walkers.n_energy_evaluations;
        self.weight(lambda, squared_score)?;
        let (ess, ess_without_resampling) =
            (self.effective_sample_size(), effective_sample_size_log(&self.state.line_log_weights));
        let resampled = self.resample(level);
        let per_island = self.settings.n_particles / self.settings.n_islands;
        let log_z = combine_islands(&self.state.island_log_z, per_island);

        self.walkers.reseed(&self.streams.derive(1 + level as u64), Purpose::Particle);
        let (mut acceptance, mut n_diverged) = (0.0, 0);
        let mut step = step_size(None);
        for _ in 0..self.settings.n_moves {
            let steps = vec![step; self.settings.n_particles];
            let outcomes = self.kernel.step(self.bridge.path, &mut self.walkers, &steps)?;
            let mean = mean_acceptance(outcomes);
            acceptance += mean / self.settings.n_moves as f64;
            n_diverged += count_diverged(outcomes);
            step = step_size(Some(mean));
        }
        let n_energy_evaluations = self.walkers.n_energy_evaluations - before;
        self.state.n_energy_evaluations += n_energy_evaluations;
        let mut ancestors = self.state.ancestors.clone();
        ancestors.sort_unstable();
        ancestors.dedup();
        self.state.levels.push(SmcLevel {
            level,
            lambda,
            ess,
            ess_without_resampling,
            unique_ancestors: ancestors.len(),
            log_z: log_z.value,
            log_z_std_error: log_z.std_error,
            acceptance,
            step_size: step,
            n_energy_evaluations,
            resampled,
            n_diverged,
        });
        self.state.next_level += 1;
        Ok(())
    }

    /// Takes the particles to λ and their weights with them.
    fn weight(&mut self, lambda: f64, squared_score: Option<f64>) -> Result<()> {
        let d = self.walkers.space().dimension();
        let old: Vec<f64> = if self.state.next_level == 0 {
            self.walkers.x.chunks_exact(d).map(|x| self.bridge.reference_energy(x)).collect()
        } else {
            self.walkers.u.clone()
        };
        let carried = match self.carried_by {
            Some(noise) if self.state.next_level > 0 => {
                let part = self.streams.derive(0x4341_0000 + self.state.next_level as u64);
                carry(&mut self.walkers, &noise, lambda, squared_score, &part)
            }
            _ => None,
        };
        self.walkers.lambda.fill(lambda);
        self.walkers.evaluate(self.bridge.path)?;
        let per_island = self.settings.n_particles / self.settings.n_islands;
        for (i, (old, new)) in old.iter().zip(&self.walkers.u).enumerate() {
            let log_kernels = carried.as_ref().map_or(0.0, |log_kernels| log_kernels[i]);
            // A particle whose energy is not a number has no weight, and one that was where it is infinite gets none
            // back.
            let is_lost = new.is_nan() || *old == f64::INFINITY;
            let increment = if is_lost { f64::NEG_INFINITY } else { old - new + log_kernels };
            self.state.log_weights[i] += increment;
            self.state.line_log_weights[i] += increment;
        }
        let islands = self.state.log_weights.chunks_exact_mut(per_island);
        for (log_weights, log_z) in islands.zip(&mut self.state.island_log_z) {
            let total = log_sum_exp(log_weights);
            *log_z += total;
            if total.is_finite() {
                log_weights.iter_mut().for_each(|w| *w -= total);
            }
        }
        Ok(())
    }

    /// Weighted mean of |∇u|² per degree of freedom.
    fn squared_score(&self) -> f64 {
        let space = self.walkers.space();
        let (mut sum, mut total) = (0.0, 0.0);
        for (gradient, w) in
            self.walkers.gradient.chunks_exact(space.dimension()).zip(&self.state.log_weights)
        {
            let square = gradient.iter().map(|g| g * g).sum::<f64>();
            if square.is_finite() {
                sum += w.exp() * square;
                total += w.exp();
            }
        }
        sum / (total * space.degrees_of_freedom() as f64)
    }

    fn effective_sample_size(&self) -> f64 {
        let per_island = self.settings.n_particles / self.settings.n_islands;
        let weights: Vec<f64> = (self.state.log_weights.iter().enumerate())
            .map(|(i, w)| w + self.state.island_log_z[i / per_island])
            .collect();
        effective_sample_size_log(&weights)
    }

    /// Resamples the islands that need it.
    fn resample(&mut self, level: usize) -> bool {
        let (n, n_islands) = (self.settings.n_particles, self.settings.n_islands);
        let per_island = n / n_islands;
        let mut indices: Vec<usize> = (0..n).collect();
        let mut resampled = false;
        for island in 0..n_islands {
            let range = island * per_island..(island + 1) * per_island;
            let log_weights = &mut self.state.log_weights[range.clone()];
            let ess = effective_sample_size_log(log_weights);
            // An island whose weights have all vanished has Z = 0 and stays as it is.
            if ess > 0.0 && ess < self.settings.resample_below * per_island as f64 {
                let weights: Vec<f64> = log_weights.iter().map(|w| w.exp()).collect();
                let mut rng = self.streams.stream(Purpose::Resampling, (level * n_islands + island) as u64);
                let chosen = systematic_resampling(&weights, per_island, &mut rng);
                indices[range.clone()].iter_mut().zip(chosen).for_each(|(idx, k)| *idx = range.start + k);
                log_weights.fill(-(per_island as f64).ln());
                resampled = true;
            }
        }
        if resampled {
            self.walkers.gather(&indices);
            self.state.ancestors = indices.iter().map(|&idx| self.state.ancestors[idx]).collect();
            self.state.line_log_weights =
                indices.iter().map(|&idx| self.state.line_log_weights[idx]).collect();
        }
        resampled
    }

    /// Conditional effective sample size, as a fraction, of a step from the present λ to another.
    fn conditional_ess(&mut self, lambda: f64, u: &mut [f64]) -> Result<f64> {
        let lambda = vec![lambda; u.len()];
        self.bridge.path.energies(&lambda, &self.walkers.x, u)?;
        self.walkers.n_energy_evaluations += u.len() as u64;
        let (mut first, mut second) = (Vec::with_capacity(u.len()), Vec::with_capacity(u.len()));
        for ((new, old), w) in u.iter().zip(&self.walkers.u).zip(&self.state.log_weights) {
            let is_lost = new.is_nan() || *old == f64::INFINITY;
            let increment = if is_lost { f64::NEG_INFINITY } else { old - new };
            first.push(w + increment);
            second.push(w + 2.0 * increment);
        }
        let value = (2.0 * log_sum_exp(&first) - log_sum_exp(&second)).exp();
        Ok(if value.is_nan() { 0.0 } else { value })
    }

    /// The longest step from distance s that keeps the conditional effective sample size; `guess` is
    /// the length of the step before.
    fn next_distance(&mut self, s: f64, guess: f64) -> Result<f64> {
        let target = self.settings.conditional_ess;
        let mut u = vec![0.0; self.settings.n_particles];
        let (mut low, mut high) = (0.0, f64::INFINITY);
        let mut step = guess.min(1.0 - s);
        for _ in 0..40 {
            let ess = self.conditional_ess(self.bridge.route.lambda(s + step), &mut u)?;
            if ess >= target {
                low = step;
                if s + step >= 1.0 || ess < target + 0.1 * (1.0 - target) {
                    break;
                }
            } else {
                high = step;
            }
            // A path with a jump in it is crossed with a step that the pilot's weights will show.
            if high < 1e-4 {
                low = low.max(high);
                break;
            }
            step = if high.is_infinite() { (2.0 * step).min(1.0 - s) } else { 0.5 * (low + high) };
        }
        Ok(if s + low >= 1.0 - 1e-9 { 1.0 } else { s + low.max(1e-4) })
    }
}

/// Places levels and adapts steps with a run of `n_pilot` particles.
pub fn pilot_schedule(
    bridge: Bridge<'_>,
    settings: &SequentialMonteCarloSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<ParticleSchedule> {
    let (settings, streams) = pilot_run(settings, streams);
    SequentialMonteCarlo::start_unchecked(bridge, settings, streams)?.pilot(None, progress)
}

/// Settings and streams of a pilot run.
pub(super) fn pilot_run(
    settings: &SequentialMonteCarloSettings,
    streams: &Streams,
) -> (SequentialMonteCarloSettings, Streams) {
    let settings = SequentialMonteCarloSettings { n_particles: settings.n_pilot, n_islands: 1, ..*settings };
    // Part 0x5043 of the streams: no number is shared with the run that counts.
    (settings, streams.derive(0x5043))
}

impl SequentialMonteCarlo<'_> {
    /// Follows the route to its end with levels where the conditional effective sample size wants them, or
    /// through these λ, and adapts the step of the moves at each.
    pub(super) fn pilot(
        mut self,
        lambda: Option<&[f64]>,
        progress: &mut Progress<'_>,
    ) -> Result<ParticleSchedule> {
        let target = self.settings.local_move.target_acceptance();
        let mut adapter = StepSizeAdapter::new(0.5 * self.bridge.reference_deviation, target);
        let mut schedule = ParticleSchedule {
            lambda: vec![],
            step_size: vec![],
            squared_scores: vec![],
            n_energy_evaluations: 0,
        };
        let (mut s, mut step) = (0.0, 0.01);
        loop {
            let level = schedule.lambda.len();
            let here = lambda.map_or_else(|| self.bridge.route.lambda(s), |lambda| lambda[level]);
            adapter.refresh();
            self.do_level(here, schedule.squared_scores.last().copied(), &mut |acceptance| {
                acceptance.into_iter().for_each(|acceptance| adapter.update(acceptance));
                adapter.step_size()
            })?;
            schedule.lambda.push(here);
            schedule.step_size.push(adapter.step_size());
            if self.carried_by.is_some() {
                schedule.squared_scores.push(self.squared_score());
            }
            match lambda {
                Some(lambda) => s = (level + 1) as f64 / lambda.len() as f64,
                None if s < 1.0 => {
                    progress(s)?;
                    let next = self.next_distance(s, step)?;
                    step = (next - s).max(1e-4);
                    s = next;
                    continue;
                }
                None => {}
            }
            progress(s)?;
            if s >= 1.0 {
                break;
            }
        }
        schedule.n_energy_evaluations = self.walkers.n_energy_evaluations;
        Ok(schedule)
    }
}

/// A pilot run and a run, from start to end.
pub fn sequential_monte_carlo(
    bridge: Bridge<'_>,
    settings: &SequentialMonteCarloSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<Population> {
    settings.validate("sequential_monte_carlo")?;
    let share = settings.n_pilot as f64 * 2.0;
    let share = share / (share + settings.n_particles as f64);
    let schedule = pilot_schedule(bridge, settings, streams, &mut |done| progress(share * done))?;
    let mut run = SequentialMonteCarlo::start(bridge, *settings, *streams)?;
    while run.advance(&schedule)? {
        let done = run.state.next_level as f64 / schedule.lambda.len() as f64;
        progress(share + (1.0 - share) * done)?;
    }
    Ok(run.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::PotentialPath as _;
    use crate::potential::Route;
    use crate::potential::analytic::{DoubleWell, ExactPotential as _, Harmonic};
    use crate::potential::{GeometricPath, Space};
    use crate::sampling::testing::{centred_mixture, with_threads};
    use crate::sampling::{LocalMove, LogNormalizer, silent};

    fn small() -> SequentialMonteCarloSettings {
        SequentialMonteCarloSettings { n_particles: 4096, n_moves: 2, n_pilot: 256, ..Default::default() }
    }

    #[test]
    fn log_z_and_mode_weights_of_a_diffused_mixture_are_exact() {
        let path = centred_mixture();
        let bridge = Bridge::diffusion(&path, path.noise, 0.4);
        for local_move in [LocalMove::default(), LocalMove::Hmc { n_leapfrog: 3, target_acceptance: 0.75 }] {
            let settings = SequentialMonteCarloSettings { local_move, ..small() };
            let result = sequential_monte_carlo(bridge, &settings, &Streams::new(21), &mut silent).unwrap();
            let exact = path.log_normalizer(path.range().0);
            assert!((exact - 3.0).abs() < 1e-3);
            let LogNormalizer { value, std_error, .. } = result.log_z;
            assert!((value - exact).abs() < 3.0 * std_error && std_error < 0.1, "{value} ± {std_error}");
            // Every level on the way is right as well, not only the end.
            for level in &result.levels {
                let exact = path.log_normalizer(level.lambda);
                assert!((level.log_z - exact).abs() < 5.0 * level.log_z_std_error + 1e-9, "{level:?}");
            }
            let per_island = settings.n_particles / settings.n_islands;
            let shares: Vec<f64> = (0..settings.n_islands)
                .map(|island| {
                    let range = island * per_island..(island + 1) * per_island;
                    let (mut first, mut all) = (0.0, 0.0);
                    for i in range {
                        let weight = result.log_weights[i].exp();
                        all += weight;
                        first += weight * (1.0 - path.mixture.assign(&result.x[9 * i..][..9]) as f64);
                    }
                    first / all
                })
                .collect();
            let (mean, std_error) = crate::sampling::testing::mean_and_error(shares.into_iter());
            assert!((mean - 0.7).abs() < 4.0 * std_error, "{mean} ± {std_error}");
        }
    }

    #[test]
    fn a_double_well_is_reached_from_a_gaussian() {
        let gaussian = Harmonic::new(Space::Euclidean { dimension: 3 }, 0.5, vec![0.0; 3]).unwrap();
        let well = DoubleWell { dimension: 3, barrier_kt: 8.0, tilt_kt: 0.7, stiffness: 5.0 };
        let path = GeometricPath::new(&gaussian, &well).unwrap();
        let route = Route::Linear { from: 0.0, to: 1.0 };
        let bridge = Bridge { path: &path, route, reference_deviation: 1.2 };
        let result = sequential_monte_carlo(bridge, &small(), &Streams::new(3), &mut silent).unwrap();
        let LogNormalizer { value, std_error, .. } = result.log_z;
        assert!((value - well.log_normalizer()).abs() < 3.0 * std_error, "{value} ± {std_error}");
        // The first level corrects for the Gaussian that was not quite the right one.
        let first = &result.levels[0];
        assert!((first.log_z - gaussian.log_normalizer()).abs() < 4.0 * first.log_z_std_error);
    }

    #[test]
    fn threads_and_interruptions_do_not_change_a_bit() {
        let path = centred_mixture();
        let bridge = Bridge::diffusion(&path, path.noise, 0.4);
        let settings = SequentialMonteCarloSettings { n_particles: 512, n_pilot: 64, ..small() };
        let streams = Streams::new(8);
        let run = || sequential_monte_carlo(bridge, &settings, &streams, &mut silent).unwrap();
        let one = with_threads(1, run);
        assert!(one == with_threads(2, run), "threads");

        let schedule = pilot_schedule(bridge, &settings, &streams, &mut silent).unwrap();
        let mut run = SequentialMonteCarlo::start(bridge, settings, streams).unwrap();
        for _ in 0..schedule.lambda.len() / 2 {
            run.advance(&schedule).unwrap();
        }
        // TOML keeps every bit of a number and knows infinity; JSON promises neither.
        let stored = toml::to_string(&run.state()).unwrap();
        let state: ParticleState = toml::from_str(&stored).unwrap();
        let mut run = SequentialMonteCarlo::resume(bridge, settings, streams, state).unwrap();
        while run.advance(&schedule).unwrap() {}
        assert!(one == run.finish(), "resume");
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let settings = SequentialMonteCarloSettings { n_particles: 1001, ..small() };
        let message = settings.validate("sample.smc").unwrap_err().to_string();
        assert!(message.contains("sample.smc.n_particles"), "{message}");
        assert!(toml::from_str::<SequentialMonteCarloSettings>("n_particle = 3").is_err());
    }
}
