//! Particle denoising diffusion sampler (Phillips et al. 2024): sequential Monte Carlo whose particles are
//! carried by reverse diffusion.
//!
//! From time t to s < t a particle is drawn from the Gaussian posterior r(x_s | x_t) of the learned score and
//! weighted against the noising kernel q(x_t | x_s) of the process:
//!
//! ```text
//! w = p(x_s, s) q(x_t | x_s) / (p(x_t, t) r(x_s | x_t))
//! ```
//!
//! r has the mean of the posterior given the denoised conformation, and a variance that also holds what denoising
//! leaves open (Bao et al. 2022): with m = ⟨|∇u_t|²⟩ per degree of freedom, taken from the pilot run,
//!
//! ```text
//! σ² = q g_s²/g_t² + (a_s q/g_t²)² (g_t²/a_t²) (1 − g_t² m),    q = g_t² − c² g_s², c = a_t/a_s
//! ```
//!
//! which is right where all degrees of freedom are alike. With stiff and soft ones and steps of h in log(a²/g²),
//! log w spreads by about h/3 times the square root of their number at every step. The weights are exact for any
//! score: the energies in them are those of the path, and an error of the score only widens their spread.
//!
//! The path is a sequence whose first piece, λ from 0 to 1, is the diffusion from noise to data by log(a²/g²).
//! Along the pieces behind it, for example to the physical energy, particles stay and are weighted as in
//! [`super::sequential_monte_carlo()`].

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::reverse_diffusion::At;
use super::sequential_monte_carlo::pilot_run;
use super::{
    Bridge, MIN_PER_TASK, Population, Progress, SequentialMonteCarlo, SequentialMonteCarloSettings, Walkers,
};
use crate::error::{Error, Result, at_least};
use crate::potential::{Noise, Route, Sequence, Space};
use crate::random::{Purpose, Rng, Streams};

/// Settings of [`particle_diffusion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParticleDiffusionSettings {
    /// Steps of the diffusion, at equal distances in log(a²/g²).
    pub n_steps: usize,
    /// λ of the levels behind the diffusion, ascending above 1.
    pub further_lambdas: Vec<f64>,
    /// Particles, resampling and moves; `conditional_ess` plays no role, because the levels are given.
    pub particles: SequentialMonteCarloSettings,
}

impl Default for ParticleDiffusionSettings {
    fn default() -> Self {
        let particles = SequentialMonteCarloSettings { n_moves: 1, ..Default::default() };
        Self { n_steps: 100, further_lambdas: Vec::new(), particles }
    }
}

impl ParticleDiffusionSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        at_least(format!("{place}.n_steps"), self.n_steps, 1)?;
        let before = std::iter::once(&1.0).chain(&self.further_lambdas);
        if !before.zip(&self.further_lambdas).all(|(before, lambda)| before < lambda) {
            let message = "must ascend from above 1";
            return Err(Error::config(format!("{place}.further_lambdas"), message, ""));
        }
        self.particles.validate(&format!("{place}.particles"))
    }

    /// λ of all levels.
    fn lambdas(&self) -> Vec<f64> {
        let diffusion = (0..=self.n_steps).map(|k| k as f64 / self.n_steps as f64);
        diffusion.chain(self.further_lambdas.iter().copied()).collect()
    }
}

/// A pilot run that adapts the steps of the moves, and a run, along a sequence that begins with the diffusion
/// of data with this variance per degree of freedom.
pub fn particle_diffusion(
    sequence: &Sequence<'_>,
    noise: Noise,
    data_variance: f64,
    settings: &ParticleDiffusionSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<Population> {
    settings.validate("particle_diffusion")?;
    let lambda = settings.lambdas();
    let reference_deviation = Bridge::diffusion(sequence, noise, data_variance).reference_deviation;
    let route = Route::Linear { from: 0.0, to: lambda[lambda.len() - 1] };
    let bridge = Bridge { path: sequence, route, reference_deviation };
    let particles = &settings.particles;
    let share = particles.n_pilot as f64 / (particles.n_pilot + particles.n_particles) as f64;
    let (pilot, part) = pilot_run(particles, streams);
    let schedule = SequentialMonteCarlo::start_unchecked(bridge, pilot, part)?
        .carried_by(noise)
        .pilot(Some(&lambda), &mut |done| progress(share * done))?;
    let mut run = SequentialMonteCarlo::start(bridge, *particles, *streams)?.carried_by(noise);
    let mut n_done = 0;
    while run.advance(&schedule)? {
        n_done += 1;
        progress(share + (1.0 - share) * f64::from(n_done) / lambda.len() as f64)?;
    }
    Ok(run.finish())
}

/// The two kernels between neighbouring levels t (more noise) and s: q(x_t | x_s) of the process, r(x_s | x_t) of a
/// score.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepKernels {
    /// Mean of r: `of_x` x_t + `of_gradient` ∇u_t(x_t).
    of_x: f64,
    of_gradient: f64,
    /// Standard deviation of r.
    deviation: f64,
    /// Mean of q: `ratio` x_s.
    ratio: f64,
    /// Variance of q.
    noise_between: f64,
    /// log q − log r beside the exponents.
    constant: f64,
}

impl StepKernels {
    /// Between two levels; `squared_score` is the mean of |∇u_t|² per degree of freedom, where it is known.
    pub fn new(from: &At, to: &At, squared_score: Option<f64>, space: Space) -> Self {
        let (of_x, of_gradient, given_denoised) = from.posterior(to, 1.0);
        let ratio = from.scale / to.scale;
        let noise_between = from.variance - ratio * ratio * to.variance;
        let left_open = squared_score.map_or(0.0, |m| (1.0 - from.variance * m).clamp(0.0, 1.0));
        let variance =
            given_denoised * given_denoised + (noise_between / ratio).powi(2) / from.variance * left_open;
        let constant = 0.5 * space.degrees_of_freedom() as f64 * (variance / noise_between).ln();
        Self { of_x, of_gradient, deviation: variance.sqrt(), ratio, noise_between, constant }
    }

    /// Draws x_s given x_t, in its place, and returns log q(x_t | x_s) − log r(x_s | x_t).
    pub fn towards_data(
        &self,
        space: Space,
        x: &mut [f64],
        gradient: &[f64],
        rng: &mut Rng,
        z: &mut [f64],
    ) -> f64 {
        space.fill_normal(rng, z);
        let (mut drawn, mut noised) = (0.0, 0.0);
        for i in 0..x.len() {
            let new = self.of_x * x[i] + self.of_gradient * gradient[i] + self.deviation * z[i];
            drawn += z[i] * z[i];
            noised += (x[i] - self.ratio * new).powi(2);
            x[i] = new;
        }
        self.constant + 0.5 * drawn - 0.5 * noised / self.noise_between
    }

    /// Draws x_t given x_s.
    pub fn towards_noise(&self, space: Space, x_s: &[f64], rng: &mut Rng, x_t: &mut [f64]) {
        space.fill_normal(rng, x_t);
        let deviation = self.noise_between.sqrt();
        x_t.iter_mut().zip(x_s).for_each(|(x_t, x_s)| *x_t = self.ratio * x_s + deviation * *x_t);
    }

    /// log q(x_t | x_s) − log r(x_s | x_t) of two given positions.
    pub fn log_ratio(&self, x_s: &[f64], x_t: &[f64], gradient: &[f64]) -> f64 {
        let (mut denoised, mut noised) = (0.0, 0.0);
        for i in 0..x_t.len() {
            denoised += (x_s[i] - self.of_x * x_t[i] - self.of_gradient * gradient[i]).powi(2);
            noised += (x_t[i] - self.ratio * x_s[i]).powi(2);
        }
        self.constant + 0.5 * denoised / (self.deviation * self.deviation) - 0.5 * noised / self.noise_between
    }
}

/// Draws every walker at distance `lambda` of the diffusion given where it is now, and returns
/// log q(x_t | x_s) − log r(x_s | x_t), r with the mean of |∇u|² per degree of freedom where it is known; `None`, and
/// nothing is moved, behind the diffusion.
pub(super) fn carry(
    walkers: &mut Walkers,
    noise: &Noise,
    lambda: f64,
    squared_score: Option<f64>,
    streams: &Streams,
) -> Option<Vec<f64>> {
    let old = walkers.lambda.first().copied()?;
    if !(old < lambda && lambda <= 1.0) {
        return None;
    }
    let route = Route::LogSnr { noise: *noise };
    let (from, to) = (At::new(noise, route.lambda(old)), At::new(noise, route.lambda(lambda)));
    let space = walkers.space();
    let kernels = StepKernels::new(&from, &to, squared_score, space);
    let d = space.dimension();
    walkers.reseed(streams, Purpose::Particle);
    let mut log_kernels = vec![0.0; walkers.len()];
    (walkers.x.par_chunks_exact_mut(d))
        .zip(walkers.gradient.par_chunks_exact(d))
        .zip(&mut walkers.rngs)
        .zip(&mut log_kernels)
        .with_min_len(MIN_PER_TASK)
        .for_each_init(
            || vec![0.0; d],
            |z, (((x, gradient), rng), log_kernel)| {
                *log_kernel = kernels.towards_data(space, x, gradient, rng, z);
            },
        );
    Some(log_kernels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::{ExactPotential as _, Harmonic};
    use crate::potential::{AtLambda, GeometricPath, Piece, PotentialPath as _};
    use crate::sampling::testing::{centred_mixture, with_threads};
    use crate::sampling::{LogNormalizer, effective_sample_size_log, silent};

    fn settings(n_steps: usize, n_moves: usize) -> ParticleDiffusionSettings {
        let particles =
            SequentialMonteCarloSettings { n_particles: 4096, n_moves, n_pilot: 256, ..Default::default() };
        ParticleDiffusionSettings { n_steps, further_lambdas: vec![], particles }
    }

    #[test]
    fn log_z_and_modes_are_exact_at_every_level_with_and_without_moves() {
        let path = centred_mixture();
        let piece = Piece { path: &path, route: Route::LogSnr { noise: path.noise } };
        let sequence = Sequence::new(vec![piece]).unwrap();
        for n_moves in [0, 1] {
            let settings = settings(150, n_moves);
            let run = || {
                let streams = Streams::new(12);
                particle_diffusion(&sequence, path.noise, 0.4, &settings, &streams, &mut silent).unwrap()
            };
            let result = run();
            for level in result.levels.iter().skip(1) {
                let (_, t) = sequence.locate(level.lambda);
                let exact = path.log_normalizer(t);
                assert!((level.log_z - exact).abs() < 4.5 * level.log_z_std_error, "{level:?} {exact}");
            }
            let LogNormalizer { value, std_error, .. } = result.log_z;
            assert!((value - path.log_normalizer(path.range().0)).abs() < 3.0 * std_error);
            assert!(std_error < 0.1, "{std_error}");
            let (mut share, mut all) = (0.0, 0.0);
            for (x, w) in result.x.chunks_exact(9).zip(&result.log_weights) {
                all += w.exp();
                share += w.exp() * path.mixture.assign(x) as f64;
            }
            // 4096 particles are worth at least five hundred.
            assert!((all - 1.0).abs() < 1e-9 && (share - 0.3).abs() < 4.0 * 0.0205, "{share}");
            if n_moves == 1 {
                assert!(with_threads(1, run) == with_threads(2, run));
            }
        }
    }

    /// Without moves, particles that stay where they are lose all weight on the way; carried ones keep theirs.
    #[test]
    fn carried_particles_keep_their_weights() {
        let path = centred_mixture();
        let piece = Piece { path: &path, route: Route::LogSnr { noise: path.noise } };
        let sequence = Sequence::new(vec![piece]).unwrap();
        let unresampled = |n_steps: usize| {
            let mut settings = settings(n_steps, 0);
            settings.particles.resample_below = 0.0;
            settings
        };
        let ess = |n_steps: usize| {
            let settings = unresampled(n_steps);
            let streams = Streams::new(2);
            let population =
                particle_diffusion(&sequence, path.noise, 0.4, &settings, &streams, &mut silent).unwrap();
            assert_eq!(population.n_energy_evaluations, 4096 * (n_steps as u64 + 1));
            effective_sample_size_log(&population.line_log_weights)
        };
        let (coarse, fine) = (ess(60), ess(240));
        // Without the part of the variance that denoising leaves open it was 75 and 279 of 4096.
        assert!(coarse > 2000.0 && fine > 3500.0, "{coarse} {fine}");
        let bridge = Bridge { path: &sequence, route: sequence.route(), reference_deviation: 1.0 };
        let lambda: Vec<f64> = (0..=60).map(|k| f64::from(k) / 60.0).collect();
        let schedule = crate::sampling::ParticleSchedule {
            step_size: vec![0.1; 61],
            lambda,
            squared_scores: vec![],
            n_energy_evaluations: 0,
        };
        let mut run =
            SequentialMonteCarlo::start(bridge, unresampled(60).particles, Streams::new(2)).unwrap();
        while run.advance(&schedule).unwrap() {}
        let staying = effective_sample_size_log(&run.finish().line_log_weights);
        assert!(staying < 20.0, "{staying}");
    }

    #[test]
    fn the_last_target_may_be_another_energy() {
        let path = centred_mixture();
        let data_end = AtLambda { path: &path, lambda: path.range().0 };
        let target = Harmonic::new(path.space(), 2.0, vec![0.0; 9]).unwrap();
        let line = GeometricPath::new(&data_end, &target).unwrap();
        let straight = Route::Linear { from: 0.0, to: 1.0 };
        let sequence = Sequence::new(vec![
            Piece { path: &path, route: Route::LogSnr { noise: path.noise } },
            Piece { path: &line, route: straight },
        ])
        .unwrap();
        let settings =
            ParticleDiffusionSettings { further_lambdas: vec![1.25, 1.5, 1.75, 2.0], ..settings(100, 1) };
        let result =
            particle_diffusion(&sequence, path.noise, 0.4, &settings, &Streams::new(5), &mut silent).unwrap();
        let LogNormalizer { value, std_error, .. } = result.log_z;
        assert!((value - target.log_normalizer()).abs() < 3.5 * std_error, "{value} ± {std_error}");
        assert!(std_error < 0.3, "{std_error}");
        let bad = ParticleDiffusionSettings { further_lambdas: vec![1.5, 1.2], ..settings.clone() };
        assert!(bad.validate("pdds").unwrap_err().to_string().contains("pdds.further_lambdas"));
    }
}
