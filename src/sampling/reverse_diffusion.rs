//! Reverse diffusion: from noise to data along diffusion time, by the score s = −∇u_t.
//!
//! Each method takes a grid of times from the noise end to the data end; the prior is the moment-matched
//! Gaussian N(0, a² v + g²) at the noise end, and the last law is the one at the data end (no further
//! denoising). With t > s two neighbouring times and Δ = t − s:
//!
//! - `sde`: x ← x − (f x − D s_t) Δ + √(D Δ) z (Euler–Maruyama; Song et al. 2021);
//! - `ode`: dx/dt = f x − D s_t/2 by Heun's method (Karras et al. 2022);
//! - `posterior`: x̂₀ = (x + g_t² s_t)/a_t, then x ~ N(a_s x̂₀ + √(g_s² − ς²) (x − a_t x̂₀)/g_t, ς²) with
//!   ς² = η² (g_t² − r² g_s²) g_s²/g_t², r = a_t/a_s (Song, Meng and Ermon 2021); η = 1 is the exact Gaussian
//!   posterior, η = 0 is deterministic;
//! - `corrected`: the posterior with η = 1, and after it Langevin moves at s, accepted by Metropolis and Hastings
//!   with the ratio of u_s and of the proposals. They leave the law at s invariant and take out what the step
//!   missed within a mode; the weights of modes remain those of the posterior. With the posterior itself as
//!   the proposal, a walker that was rejected stays behind at the noise of the level above: of alanine
//!   dipeptide with all atoms none arrived. For weights use sequential Monte Carlo.
//!
//! `ode` is of second order in the step. `sde` and η = 1 are of first order and miss the variance of stiff
//! degrees of freedom by about half a step in log(a²/g²), `sde` above and the posterior below.

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::kernel::{Mala, mean_acceptance};
use super::walkers::evaluate;
use super::{Kernel as _, MIN_PER_TASK, Progress, Walkers};
use crate::error::{Error, Result, at_least};
use crate::potential::{Noise, PotentialPath, Space};
use crate::random::{Purpose, Rng, Streams};

/// How a step is made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReverseDiffusionMethod {
    /// Euler–Maruyama on the reverse stochastic differential equation.
    Sde {},
    /// Heun's method on the probability-flow ordinary differential equation.
    Ode {},
    /// The Gaussian posterior given the denoised conformation.
    Posterior {
        /// η from 0 (deterministic) to 1 (the exact posterior).
        #[serde(default = "one")]
        eta: f64,
    },
    /// The posterior, and after it moves with a Metropolis–Hastings correction.
    Corrected {
        /// Moves per step.
        #[serde(default = "once")]
        n_inner: usize,
    },
}

fn one() -> f64 {
    1.0
}

fn once() -> usize {
    1
}

/// Where the times of the grid lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReverseDiffusionGrid {
    /// Uniform in log(a²/g²): as good as 1000 uniform times with a quarter of them.
    LogSnr,
    /// Uniform in t, as in the published protocols.
    Uniform,
}

/// Settings of [`reverse_diffusion`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReverseDiffusionSettings {
    /// Steps from noise to data.
    pub n_steps: usize,
    /// Where the times lie.
    pub grid: ReverseDiffusionGrid,
    /// How a step is made.
    pub method: ReverseDiffusionMethod,
}

impl Default for ReverseDiffusionSettings {
    fn default() -> Self {
        Self {
            n_steps: 250,
            grid: ReverseDiffusionGrid::LogSnr,
            method: ReverseDiffusionMethod::Posterior { eta: 1.0 },
        }
    }
}

impl ReverseDiffusionSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        at_least(format!("{place}.n_steps"), self.n_steps, 1)?;
        match self.method {
            ReverseDiffusionMethod::Posterior { eta } if !(0.0..=1.0).contains(&eta) => {
                let message = format!("must lie in [0, 1], found {eta}");
                Err(Error::config(format!("{place}.method.eta"), message, ""))
            }
            ReverseDiffusionMethod::Corrected { n_inner } => {
                at_least(format!("{place}.method.n_inner"), n_inner, 1)
            }
            _ => Ok(()),
        }
    }

    /// The times from the noise end to the data end.
    pub fn times(&self, noise: &Noise) -> Vec<f64> {
        match self.grid {
            ReverseDiffusionGrid::LogSnr => noise.log_snr_grid(self.n_steps),
            ReverseDiffusionGrid::Uniform => {
                let ((first, last), n) = (noise.time_range(), self.n_steps);
                (0..=n).map(|k| last + (first - last) * k as f64 / n as f64).collect()
            }
        }
    }
}

/// Samples of the data end.
#[derive(Debug, Clone, PartialEq)]
pub struct ReverseDiffusionResult {
    /// Positions, `[walker][coordinate]`.
    pub x: Vec<f64>,
    /// Walkers, by their place in `x`, that stopped early because a step was not finite.
    pub diverged: Vec<usize>,
    /// Mean acceptance of each step of the corrected method; empty for the others.
    pub acceptance: Vec<f64>,
    /// Conformations evaluated.
    pub n_energy_evaluations: u64,
}

/// a, g² and the coefficients of the stochastic differential equation at one time.
#[derive(Clone, Copy)]
pub(super) struct At {
    t: f64,
    pub scale: f64,
    pub variance: f64,
    drift: f64,
    diffusion: f64,
}

impl At {
    pub fn new(noise: &Noise, t: f64) -> Self {
        Self {
            t,
            scale: noise.scale(t),
            variance: noise.deviation(t).powi(2),
            drift: noise.drift(t),
            diffusion: noise.diffusion(t),
        }
    }

    /// Coefficients of the posterior at `to` given x here, mean = c_x x + c_u ∇u, and its deviation.
    pub fn posterior(&self, to: &At, eta: f64) -> (f64, f64, f64) {
        let ratio = self.scale / to.scale;
        let variance =
            eta * eta * (self.variance - ratio * ratio * to.variance) * to.variance / self.variance;
        let along = ((to.variance - variance).max(0.0) / self.variance).sqrt();
        // x̂₀ = (x − g² ∇u)/a enters with the weight a_s − along a_t.
        let denoised = (to.scale - along * self.scale) / self.scale;
        (denoised + along, -denoised * self.variance, variance.max(0.0).sqrt())
    }
}

/// A batch on its way.
struct Batch<'a> {
    path: &'a dyn PotentialPath,
    space: Space,
    x: Vec<f64>,
    new_x: Vec<f64>,
    u: Vec<f64>,
    gradient: Vec<f64>,
    lambda: Vec<f64>,
    rngs: Vec<Rng>,
    diverged: Vec<bool>,
    n_energy_evaluations: u64,
}

/// Draws the walkers with these indices; a walker depends on the seed and its index alone, so a large
/// sample can be made in parts.
pub fn reverse_diffusion(
    path: &dyn PotentialPath,
    noise: &Noise,
    data_variance: f64,
    settings: &ReverseDiffusionSettings,
    walkers: Range<usize>,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<ReverseDiffusionResult> {
    settings.validate("reverse_diffusion")?;
    let (space, n) = (path.space(), walkers.len());
    let d = space.dimension();
    let times = settings.times(noise);
    let start = At::new(noise, times[0]);
    let deviation = (start.scale.powi(2) * data_variance + start.variance).sqrt();
    let rngs = walkers.map(|idx| streams.stream(Purpose::ReverseDiffusion, idx as u64)).collect();
    let mut batch = Batch::new(path, rngs);
    (batch.x.par_chunks_exact_mut(d)).zip(&mut batch.rngs).with_min_len(MIN_PER_TASK).for_each(|(x, rng)| {
        space.fill_normal(rng, x);
        x.iter_mut().for_each(|x| *x *= deviation);
    });
    let mut acceptance = Vec::new();
    for (k, pair) in times.windows(2).enumerate() {
        let (from, to) = (At::new(noise, pair[0]), At::new(noise, pair[1]));
        match settings.method {
            ReverseDiffusionMethod::Sde {} => {
                let step = from.t - to.t;
                let deviation = (from.diffusion * step).sqrt();
                batch.step(from, (1.0 - from.drift * step, -from.diffusion * step, deviation))?;
            }
            ReverseDiffusionMethod::Ode {} => batch.heun(from, to)?,
            ReverseDiffusionMethod::Posterior { eta } => batch.step(from, from.posterior(&to, eta))?,
            ReverseDiffusionMethod::Corrected { n_inner } => {
                batch.step(from, from.posterior(&to, 1.0))?;
                acceptance.push(batch.metropolis(to, n_inner)?);
            }
        }
        progress((k + 1) as f64 / settings.n_steps as f64)?;
    }
    Ok(ReverseDiffusionResult {
        diverged: (0..n).filter(|&idx| batch.diverged[idx]).collect(),
        x: batch.x,
        acceptance,
        n_energy_evaluations: batch.n_energy_evaluations,
    })
}

impl<'a> Batch<'a> {
    /// Walkers at the origin with these streams.
    fn new(path: &'a dyn PotentialPath, rngs: Vec<Rng>) -> Self {
        let (n, space) = (rngs.len(), path.space());
        let n_numbers = n * space.dimension();
        Self {
            path,
            space,
            x: vec![0.0; n_numbers],
            new_x: vec![0.0; n_numbers],
            u: vec![0.0; n],
            gradient: vec![0.0; n_numbers],
            lambda: vec![0.0; n],
            rngs,
            diverged: vec![false; n],
            n_energy_evaluations: 0,
        }
    }

    /// u and ∇u at the positions `x` or `new_x`.
    fn evaluate(&mut self, at: At, of_new: bool) -> Result<()> {
        self.lambda.fill(at.t);
        let x = if of_new { &self.new_x } else { &self.x };
        evaluate(self.path, &self.lambda, x, &mut self.u, &mut self.gradient)?;
        self.n_energy_evaluations += self.lambda.len() as u64;
        Ok(())
    }

    /// x ← c_x x + c_u ∇u_t(x) + deviation z.
    fn step(&mut self, from: At, (of_x, of_gradient, deviation): (f64, f64, f64)) -> Result<()> {
        self.evaluate(from, false)?;
        self.propose(of_x, of_gradient, deviation);
        self.keep_finite();
        Ok(())
    }

    /// new_x = c_x x + c_u ∇u + deviation z, with the gradients at hand.
    fn propose(&mut self, of_x: f64, of_gradient: f64, deviation: f64) {
        let (space, d) = (self.space, self.space.dimension());
        (self.new_x.par_chunks_exact_mut(d))
            .zip(self.x.par_chunks_exact(d))
            .zip(self.gradient.par_chunks_exact(d))
            .zip(&mut self.rngs)
            .with_min_len(MIN_PER_TASK)
            .for_each(|(((new_x, x), g), rng)| {
                if deviation > 0.0 {
                    space.fill_normal(rng, new_x);
                } else {
                    new_x.fill(0.0);
                }
                for i in 0..d {
                    new_x[i] = of_x * x[i] + of_gradient * g[i] + deviation * new_x[i];
                }
            });
    }

    /// Moves every walker to its new position, unless that is not finite: then it stops for good.
    fn keep_finite(&mut self) {
        let d = self.space.dimension();
        (self.x.par_chunks_exact_mut(d))
            .zip(self.new_x.par_chunks_exact(d))
            .zip(&mut self.diverged)
            .with_min_len(4 * MIN_PER_TASK)
            .for_each(|((x, new_x), diverged)| {
                *diverged |= !new_x.iter().all(|x| x.is_finite());
                if !*diverged {
                    x.copy_from_slice(new_x);
                }
            });
    }

    /// Heun's method: the mean of the slopes at both ends of the step.
    fn heun(&mut self, from: At, to: At) -> Result<()> {
        let step = from.t - to.t;
        self.evaluate(from, false)?;
        // dx/dt = f x + (D/2) ∇u, backwards in t.
        self.propose(1.0 - from.drift * step, -0.5 * from.diffusion * step, 0.0);
        let first = self.gradient.clone();
        self.evaluate(to, true)?;
        (self.new_x.par_iter_mut()).zip(&self.x).zip(&first).zip(&self.gradient).with_min_len(4096).for_each(
            |(((new_x, x), first), second)| {
                let slope_from = from.drift * x + 0.5 * from.diffusion * first;
                let slope_to = to.drift * *new_x + 0.5 * to.diffusion * second;
                *new_x = x - 0.5 * step * (slope_from + slope_to);
            },
        );
        self.keep_finite();
        Ok(())
    }

    /// Moves that leave the law at `at` invariant: Langevin proposals of a length that suits a curvature of at most
    /// 1/g², accepted by Metropolis and Hastings. Returns the mean acceptance.
    fn metropolis(&mut self, at: At, n_moves: usize) -> Result<f64> {
        // Roberts and Rosenthal 1998: 1.65 d^(−1/6) standard deviations.
        let degrees_of_freedom = self.space.degrees_of_freedom() as f64;
        let deviation = 1.65 * degrees_of_freedom.powf(-1.0 / 6.0) * at.variance.sqrt();
        self.lambda.fill(at.t);
        let (x, rngs) = (std::mem::take(&mut self.x), std::mem::take(&mut self.rngs));
        let mut walkers = Walkers::with_streams(self.path, x, self.lambda.clone(), rngs)?;
        let mut kernel = Mala::new(&walkers);
        let step_sizes = vec![deviation; self.lambda.len()];
        let mut total = 0.0;
        for _ in 0..n_moves {
            total += mean_acceptance(kernel.step(self.path, &mut walkers, &step_sizes)?) / n_moves as f64;
        }
        self.n_energy_evaluations += walkers.n_energy_evaluations;
        (self.x, self.rngs) = (walkers.x, walkers.rngs);
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::DiffusedMixture;
    use crate::sampling::silent;
    use crate::sampling::testing::{centred_mixture, moments_agree, sample_many, with_threads};

    fn draw(path: &DiffusedMixture, settings: ReverseDiffusionSettings, n: usize) -> ReverseDiffusionResult {
        let streams = Streams::new(31);
        reverse_diffusion(path, &path.noise, 0.4, &settings, 0..n, &streams, &mut silent).unwrap()
    }

    #[test]
    fn every_method_reproduces_the_mixture() {
        let n = 4000;
        for noise in [Noise::default(), Noise::Edm { sigma_min: 1e-3, sigma_max: 20.0 }] {
            let path = DiffusedMixture { noise, ..centred_mixture() };
            // Stochastic methods of first order miss the variances by half a step in log-SNR: 0.055 at
            // 200 steps over 22, times half of 6 degrees of freedom in the mean energy.
            for (method, n_steps, allowance) in [
                (ReverseDiffusionMethod::Posterior { eta: 1.0 }, 400, 0.083),
                (ReverseDiffusionMethod::Posterior { eta: 0.0 }, 200, 0.0),
                (ReverseDiffusionMethod::Ode {}, 100, 0.0),
                (ReverseDiffusionMethod::Sde {}, 400, 0.083),
            ] {
                let grid = ReverseDiffusionGrid::LogSnr;
                let result = draw(&path, ReverseDiffusionSettings { n_steps, grid, method }, n);
                assert!(result.diverged.is_empty());
                moments_agree(&path, path.range().0, &result.x, allowance)
                    .unwrap_or_else(|message| panic!("{noise:?} {method:?}: {message}"));
            }
        }
        let path = centred_mixture();
        let method = ReverseDiffusionMethod::Sde {};
        let uniform = ReverseDiffusionSettings { n_steps: 500, grid: ReverseDiffusionGrid::Uniform, method };
        moments_agree(&path, path.range().0, &draw(&path, uniform, n).x, 0.1).unwrap();
    }

    /// From x_t of one conformation, by its score, back to x_s: the law at s, and with η = 1 the joint law of
    /// noising to s and from there to t.
    #[test]
    fn the_posterior_undoes_the_transition_between_two_times() {
        let edm = Noise::Edm { sigma_min: 1e-3, sigma_max: 20.0 };
        let exploding = Noise::VarianceExploding { sigma_min: 0.01, sigma_max: 50.0 };
        for noise in [Noise::default(), exploding, edm] {
            let last = noise.time_range().1;
            for (t, s) in [(1.0, 0.6), (0.5, 0.45), (0.02, 0.005)] {
                let (from, to) = (At::new(&noise, t * last), At::new(&noise, s * last));
                let ratio = from.scale / to.scale;
                let noise_between = from.variance - ratio * ratio * to.variance;
                for eta in [0.0, 0.4, 1.0] {
                    let (of_x, of_gradient, deviation) = from.posterior(&to, eta);
                    // ∇u = (x_t − a_t x₀)/g_t² makes the step x_s = A x_t + B x₀ + ς z.
                    let along = of_x + of_gradient / from.variance;
                    let start = -of_gradient / from.variance * from.scale;
                    let mean = along * from.scale + start;
                    let variance = along * along * from.variance + deviation * deviation;
                    assert!((mean / to.scale - 1.0).abs() < 1e-9, "{noise:?} {t} {s} {eta}: {mean}");
                    assert!(
                        (variance / to.variance - 1.0).abs() < 1e-9,
                        "{noise:?} {t} {s} {eta}: {variance}"
                    );
                    if eta == 1.0 {
                        // Bayes: precisions add up.
                        let precision = 1.0 / to.variance + ratio * ratio / noise_between;
                        assert!((deviation * deviation * precision - 1.0).abs() < 1e-9);
                        assert!((along * precision * noise_between / ratio - 1.0).abs() < 1e-9);
                        assert!((start * precision * to.variance / to.scale - 1.0).abs() < 1e-9);
                        assert!((along * from.variance / (ratio * to.variance) - 1.0).abs() < 1e-9);
                    }
                }
            }
        }
    }

    /// The correction leaves the law invariant: from exact samples it stays there.
    #[test]
    fn corrected_steps_leave_the_law_of_the_lower_level_invariant() {
        let path = centred_mixture();
        let to = At::new(&path.noise, 0.1);
        let n = 6000;
        let streams = Streams::new(4);
        let rngs = (0..n).map(|idx| streams.stream(Purpose::ReverseDiffusion, idx)).collect();
        let mut batch = Batch::new(&path, rngs);
        batch.x = sample_many(&path, to.t, n as usize, 6);
        let acceptance = batch.metropolis(to, 40).unwrap();
        assert!((0.2..0.95).contains(&acceptance), "{acceptance}");
        moments_agree(&path, to.t, &batch.x, 0.0).unwrap();
    }

    #[test]
    fn the_corrected_method_finds_both_modes() {
        let path = centred_mixture();
        let method = ReverseDiffusionMethod::Corrected { n_inner: 2 };
        let settings = ReverseDiffusionSettings { n_steps: 150, method, ..Default::default() };
        let result = draw(&path, settings, 2000);
        assert!(result.acceptance.iter().all(|acceptance| *acceptance > 0.3), "{:?}", result.acceptance);
        let share = result.x.chunks_exact(9).map(|x| path.mixture.assign(x) as f64).sum::<f64>() / 2000.0;
        assert!((share - 0.3).abs() < 0.1, "{share}");
    }

    #[test]
    fn threads_and_parts_do_not_change_a_bit() {
        let path = centred_mixture();
        let settings = ReverseDiffusionSettings { n_steps: 20, ..Default::default() };
        let whole = with_threads(1, || draw(&path, settings, 300));
        assert!(whole == with_threads(2, || draw(&path, settings, 300)));
        let streams = Streams::new(31);
        let part =
            reverse_diffusion(&path, &path.noise, 0.4, &settings, 100..300, &streams, &mut silent).unwrap();
        assert!(whole.x[100 * 9..] == part.x);
    }
}
