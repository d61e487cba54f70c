//! Paths between two ensembles that follow a learned velocity, with the probability of each way known.
//!
//! Along an interpolant x_t = a x₀ + b x₁ + g z a conformation at t tells, on average, the displacement η = ⟨x₁ − x₀ | x_t⟩
//! (see [`crate::training`], velocity matching) and the noise ⟨z | x_t⟩ = g ∇u of the score −∇u. A step from t to s
//! keeps a share c of the noise and draws the rest:
//!
//! ```text
//! x_s = x_t + (b_s − b_t) η − (g_t − c g_s) g_t ∇u + σ ξ,    c = exp(−|Δℓ|/2),    ℓ = log(a²/g²)
//! ```
//!
//! and is the same in both directions, each with drifts at its own beginning. Near an end, where g grows as the root of
//! a/b, it is the noising kernel on the way in and the posterior of denoising on the way back. σ² of each step is the
//! mean square of what the drift leaves open, from pairs of frames that carry the same noise from level to level.
//!
//! The works u₁(x₁) − u₀(x₀) + log F(path) − log R(path back) obey Crooks' relation for any velocity and score
//! (escorted free-energy simulations, Vaikuntanathan and Jarzynski 2008; Zhong, Kuznets-Speck and DeWeese 2024 with
//! learned ones): errors of learning cost dissipation, not correctness. Energies in between cancel.

use rayon::prelude::*;

use super::diffusion_paths::{Paths, moments, streams_of};
use super::walkers::evaluate;
use super::{MIN_PER_TASK, Progress};
use crate::error::{Error, Result};
use crate::potential::{Noise, PotentialPath, Space};
use crate::random::{Rng, Streams};

/// The steps between two ensembles along one score and one velocity.
pub struct EscortedPaths<'a> {
    score: &'a dyn PotentialPath,
    velocity: &'a dyn PotentialPath,
    levels: Vec<Level>,
    /// Of each step, towards the second end and towards the first.
    steps: Vec<[Kernel; 2]>,
    /// Evaluations of energies of both kinds that the widths of the steps took.
    pub n_energy_evaluations: u64,
}

/// What a time means.
#[derive(Debug, Clone, Copy)]
struct Level {
    t: f64,
    /// b.
    partner: f64,
    /// g.
    deviation: f64,
    /// 2 b/c²: what η has of x besides −∇φ.
    of_x: f64,
    log_snr: f64,
}

impl Level {
    fn new(noise: &Noise, t: f64) -> Self {
        let partner = noise.partner_scale(t);
        let of_x = 2.0 * partner / noise.total_variance(t);
        Self { t, partner, deviation: noise.deviation(t), of_x, log_snr: noise.log_snr(t) }
    }

    /// The share of the noise that a step to another level keeps.
    fn kept(&self, to: &Self) -> f64 {
        (-0.5 * (self.log_snr - to.log_snr).abs()).exp()
    }
}

/// A Gaussian step with the mean `of_x` x + `of_velocity` ∇φ + `of_score` ∇u.
#[derive(Debug, Clone, Copy)]
struct Kernel {
    of_x: f64,
    of_velocity: f64,
    of_score: f64,
    deviation: f64,
}

impl Kernel {
    /// Still without its width.
    fn new(from: &Level, to: &Level) -> Self {
        let along = to.partner - from.partner;
        let against = (from.deviation - from.kept(to) * to.deviation) * from.deviation;
        Self { of_x: 1.0 + along * from.of_x, of_velocity: -along, of_score: -against, deviation: 0.0 }
    }

    fn mean(&self, x: f64, velocity: f64, score: f64) -> f64 {
        self.of_x * x + self.of_velocity * velocity + self.of_score * score
    }

    /// Sum of the squares of x_s − mean(x_t).
    fn squares(&self, x_s: &[f64], x_t: &[f64], drift: Drift) -> f64 {
        let drifts = drift.velocity.iter().zip(drift.score);
        let pairs = x_s.iter().zip(x_t).zip(drifts);
        pairs.map(|((x_s, x_t), (v, s))| (x_s - self.mean(*x_t, *v, *s)).powi(2)).sum()
    }
}

/// ∇φ and ∇u at one conformation.
#[derive(Clone, Copy)]
struct Drift<'a> {
    velocity: &'a [f64],
    score: &'a [f64],
}

/// ∇φ and ∇u at many.
struct Drifts {
    u: Vec<f64>,
    velocity: Vec<f64>,
    score: Vec<f64>,
}

impl Drifts {
    fn new(n: usize, d: usize) -> Self {
        Self { u: vec![0.0; n], velocity: vec![0.0; n * d], score: vec![0.0; n * d] }
    }

    fn of(&self, idx: usize, d: usize) -> Drift<'_> {
        let at = idx * d..(idx + 1) * d;
        Drift { velocity: &self.velocity[at.clone()], score: &self.score[at] }
    }
}

impl<'a> EscortedPaths<'a> {
    /// `n_steps` steps at equal distances in log(a²/g²) along an interpolant. `score` is the energy of its laws and
    /// `velocity` φ, both by time. Pairs of frames of the two ends, `[pair][coordinate]`, paired as in training, tell how
    /// wide the steps are.
    pub fn new(
        score: &'a dyn PotentialPath,
        velocity: &'a dyn PotentialPath,
        noise: Noise,
        n_steps: usize,
        pairs: [&[f64]; 2],
        streams: &Streams,
    ) -> Result<Self> {
        let space = score.space();
        let d = space.dimension();
        let [first, second] = pairs;
        if !noise.has_two_ends() {
            let expected = "a process between two ensembles";
            return Err(Error::invalid("escorted paths", expected, format!("{noise:?}")));
        }
        if velocity.space() != space {
            let (expected, found) = (format!("{space:?}"), format!("{:?}", velocity.space()));
            return Err(Error::invalid("velocity of escorted paths", expected, found));
        }
        if n_steps == 0 || first.is_empty() || first.len() != second.len() || !first.len().is_multiple_of(d) {
            let found = format!("{n_steps} steps, {} and {} numbers", first.len(), second.len());
            return Err(Error::invalid("escorted paths", "steps and pairs of frames", found));
        }
        let mut times = noise.log_snr_grid(n_steps);
        times.reverse();
        let levels: Vec<Level> = times.iter().map(|&t| Level::new(&noise, t)).collect();
        let mut paths = Self { score, velocity, levels, steps: Vec::new(), n_energy_evaluations: 0 };
        paths.steps = paths.measured(first, second, streams)?;
        paths.n_energy_evaluations = (2 * (n_steps + 1) * first.len() / d) as u64;
        Ok(paths)
    }

    /// The kernels, as wide as noised pairs show them to be.
    fn measured(&self, first: &[f64], second: &[f64], streams: &Streams) -> Result<Vec<[Kernel; 2]>> {
        let space = self.score.space();
        let d = space.dimension();
        let n = first.len() / d;
        let mut rngs = streams_of(streams, n);
        let mut z = vec![0.0; first.len()];
        (z.chunks_exact_mut(d)).zip(&mut rngs).for_each(|(z, rng)| space.fill_normal(rng, z));
        let mut fresh = vec![0.0; d];
        let noised = |level: &Level, z: &[f64]| -> Vec<f64> {
            let of_pair = |((x0, x1), z): ((&f64, &f64), &f64)| {
                (1.0 - level.partner) * x0 + level.partner * x1 + level.deviation * z
            };
            first.iter().zip(second).zip(z).map(of_pair).collect()
        };
        let mut x = noised(&self.levels[0], &z);
        let (mut here, mut there) = (Drifts::new(n, d), Drifts::new(n, d));
        self.drifts(&self.levels[0], &x, &mut here)?;
        let mut steps = Vec::with_capacity(self.levels.len() - 1);
        for pair in self.levels.windows(2) {
            let kept = pair[0].kept(&pair[1]);
            let drawn = (1.0 - kept * kept).sqrt();
            for (z, rng) in z.chunks_exact_mut(d).zip(&mut rngs) {
                space.fill_normal(rng, &mut fresh);
                z.iter_mut().zip(&fresh).for_each(|(z, fresh)| *z = kept * *z + drawn * fresh);
            }
            let next = noised(&pair[1], &z);
            self.drifts(&pair[1], &next, &mut there)?;
            let mut kernels = [Kernel::new(&pair[0], &pair[1]), Kernel::new(&pair[1], &pair[0])];
            for (direction, kernel) in kernels.iter_mut().enumerate() {
                let (from, to, drifts) =
                    if direction == 0 { (&x, &next, &here) } else { (&next, &x, &there) };
                let conformations = from.chunks_exact(d).zip(to.chunks_exact(d)).enumerate();
                let sum: f64 =
                    conformations.map(|(idx, (from, to))| kernel.squares(to, from, drifts.of(idx, d))).sum();
                kernel.deviation = (sum / (n * space.degrees_of_freedom()) as f64).sqrt();
                if !(kernel.deviation > 0.0 && kernel.deviation.is_finite()) {
                    let found = format!("{} at t = {}", kernel.deviation, pair[0].t);
                    return Err(Error::invalid("width of an escorted step", "a positive number", found));
                }
            }
            steps.push(kernels);
            x = next;
            std::mem::swap(&mut here, &mut there);
        }
        Ok(steps)
    }

    fn drifts(&self, level: &Level, x: &[f64], out: &mut Drifts) -> Result<()> {
        let times = vec![level.t; out.u.len()];
        evaluate(self.velocity, &times, x, &mut out.u, &mut out.velocity)?;
        evaluate(self.score, &times, x, &mut out.u, &mut out.score)
    }

    /// Paths from samples of the first end to the second; `log_ratio` is log R − log F, so that the work is
    /// u₁ − u₀ − `log_ratio`.
    pub fn forward(&self, frames: &[f64], streams: &Streams, progress: &mut Progress<'_>) -> Result<Paths> {
        self.travel(frames, true, streams, progress)
    }

    /// Paths from samples of the second end to the first; `log_ratio` is log F − log R, so that the work is
    /// u₀ − u₁ − `log_ratio`.
    pub fn reverse(&self, frames: &[f64], streams: &Streams, progress: &mut Progress<'_>) -> Result<Paths> {
        self.travel(frames, false, streams, progress)
    }

    fn travel(
        &self,
        frames: &[f64],
        is_forward: bool,
        streams: &Streams,
        progress: &mut Progress<'_>,
    ) -> Result<Paths> {
        let space = self.score.space();
        let d = space.dimension();
        let n = frames.len() / d;
        let n_steps = self.steps.len();
        let mut rngs = streams_of(streams, n);
        let (mut x, mut before) = (frames.to_vec(), frames.to_vec());
        let (mut here, mut there) = (Drifts::new(n, d), Drifts::new(n, d));
        let (mut of_step, mut log_ratio) = (vec![0.0; n], vec![0.0; n]);
        let mut by_step = Vec::with_capacity(n_steps);
        let level = |k: usize| &self.levels[if is_forward { k } else { n_steps - k }];
        self.drifts(level(0), &x, &mut here)?;
        for k in 0..n_steps {
            let [forward, reverse] = &self.steps[if is_forward { k } else { n_steps - 1 - k }];
            let (own, opposite) = if is_forward { (forward, reverse) } else { (reverse, forward) };
            std::mem::swap(&mut x, &mut before);
            (x.par_chunks_exact_mut(d).zip(before.par_chunks_exact(d)))
                .zip((&mut rngs).into_par_iter().zip(&mut of_step))
                .enumerate()
                .with_min_len(MIN_PER_TASK)
                .for_each(|(idx, ((x, before), (rng, of_step)))| {
                    *of_step = draw(own, space, before, here.of(idx, d), rng, x);
                });
            self.drifts(level(k + 1), &x, &mut there)?;
            let ratio = space.degrees_of_freedom() as f64 * (own.deviation / opposite.deviation).ln();
            (of_step.par_iter_mut().zip(before.par_chunks_exact(d)).zip(x.par_chunks_exact(d)))
                .enumerate()
                .with_min_len(MIN_PER_TASK)
                .for_each(|(idx, ((of_step, before), x))| {
                    let back = opposite.squares(before, x, there.of(idx, d));
                    *of_step += ratio - 0.5 * back / opposite.deviation.powi(2);
                });
            log_ratio.iter_mut().zip(&of_step).for_each(|(all, of_step)| *all += of_step);
            by_step.push(moments(&of_step));
            std::mem::swap(&mut here, &mut there);
            progress((k + 1) as f64 / n_steps as f64)?;
        }
        if !is_forward {
            by_step.reverse();
        }
        Ok(Paths { x, log_ratio, by_step, n_energy_evaluations: (2 * n * (n_steps + 1)) as u64 })
    }
}

/// Draws where a step leads, and returns minus the exponent of its density.
fn draw(kernel: &Kernel, space: Space, from: &[f64], drift: Drift, rng: &mut Rng, x: &mut [f64]) -> f64 {
    space.fill_normal(rng, x);
    let mut squares = 0.0;
    for (i, x) in x.iter_mut().enumerate() {
        squares += *x * *x;
        *x = kernel.mean(from[i], drift.velocity[i], drift.score[i]) + kernel.deviation * *x;
    }
    0.5 * squares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;
    use crate::sampling::silent;
    use crate::sampling::testing::{mean_and_error, with_threads};

    const SPACE: Space = Space::Centered { n_particles: 4 };
    const NOISE: Noise = Noise::Interpolant { strength: 0.7, t_min: 1e-5 };
    const VARIANCES: [f64; 2] = [1.3, 0.4];

    /// Gradient k(t) x.
    struct Quadratic<F>(F);

    impl<F: Fn(f64) -> f64 + Sync> PotentialPath for Quadratic<F> {
        fn space(&self) -> Space {
            SPACE
        }

        fn range(&self) -> (f64, f64) {
            NOISE.time_range()
        }

        fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
            for ((u, x), &t) in u.iter_mut().zip(x.chunks_exact(12)).zip(lambda) {
                *u = 0.5 * (self.0)(t) * x.iter().map(|x| x * x).sum::<f64>();
            }
            Ok(())
        }

        fn energies_and_gradients(
            &self,
            lambda: &[f64],
            x: &[f64],
            u: &mut [f64],
            gradient: &mut [f64],
        ) -> Result<()> {
            self.energies(lambda, x, u)?;
            for ((gradient, x), &t) in gradient.chunks_exact_mut(12).zip(x.chunks_exact(12)).zip(lambda) {
                gradient.iter_mut().zip(x).for_each(|(gradient, x)| *gradient = (self.0)(t) * x);
            }
            Ok(())
        }

        fn lambda_derivatives(&self, _: &[f64], _: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
            du_dlambda.fill(0.0);
            Ok(())
        }
    }

    fn variance(t: f64) -> f64 {
        (1.0 - t).powi(2) * VARIANCES[0] + t * t * VARIANCES[1] + NOISE.deviation(t).powi(2)
    }

    /// Where η = (b v₁ − a v₀) x/C is the displacement of independent Gaussians.
    fn potential_of_velocity(t: f64) -> f64 {
        2.0 * t / NOISE.total_variance(t) - (t * VARIANCES[1] - (1.0 - t) * VARIANCES[0]) / variance(t)
    }

    fn frames(end: usize, n: usize) -> Vec<f64> {
        let mut rng = Streams::new(3).stream(Purpose::Start, end as u64);
        let mut x = vec![0.0; 12 * n];
        x.chunks_exact_mut(12).for_each(|x| SPACE.fill_normal(&mut rng, x));
        x.iter_mut().for_each(|x| *x *= VARIANCES[end].sqrt());
        x
    }

    /// Works of normalised ends in both directions.
    fn works(score: &dyn PotentialPath, velocity: &dyn PotentialPath, n_steps: usize) -> [Vec<f64>; 2] {
        let n = 4000;
        let (first, second) = (frames(0, n), frames(1, n));
        let pairs = [&first[..12 * 500], &second[..12 * 500]];
        let streams = Streams::new(11);
        let paths = EscortedPaths::new(score, velocity, NOISE, n_steps, pairs, &streams.derive(0)).unwrap();
        let u = |end: usize, x: &[f64]| -> Vec<f64> {
            let v = VARIANCES[end];
            x.chunks_exact(12)
                .map(|x| {
                    0.5 * x.iter().map(|x| x * x).sum::<f64>() / v + 4.5 * (std::f64::consts::TAU * v).ln()
                })
                .collect()
        };
        let work = |to: Vec<f64>, from: Vec<f64>, paths: &Paths| -> Vec<f64> {
            to.iter().zip(from).zip(&paths.log_ratio).map(|((to, from), a)| to - from - a).collect()
        };
        let forward = paths.forward(&first, &streams.derive(1), &mut silent).unwrap();
        let reverse = paths.reverse(&second, &streams.derive(2), &mut silent).unwrap();
        assert_eq!(forward.n_energy_evaluations, (2 * n * (n_steps + 1)) as u64);
        [work(u(1, &forward.x), u(0, &first), &forward), work(u(0, &reverse.x), u(1, &second), &reverse)]
    }

    /// ⟨exp −W⟩ is 1 in both directions for normalised ends: with the exact drifts, with a wrong score and with a wrong
    /// velocity. The exact ones dissipate next to nothing: a wrong sign, a lost factor or a drift at the wrong level
    /// shows there.
    #[test]
    fn works_obey_jarzynski_for_any_drift_and_the_exact_one_is_reversible() {
        let exact_score = Quadratic(|t| 1.0 / variance(t));
        let exact_velocity = Quadratic(potential_of_velocity);
        let wrong_score = Quadratic(|t| 1.15 / variance(t));
        let wrong_velocity = Quadratic(|t| potential_of_velocity(t) + 0.25);
        let cases: [(&dyn PotentialPath, &dyn PotentialPath, f64, f64); 3] = [
            (&exact_score, &exact_velocity, 0.0, 0.12),
            (&wrong_score, &exact_velocity, 0.03, 3.0),
            (&exact_score, &wrong_velocity, 0.03, 3.0),
        ];
        for (case, (score, velocity, least, most)) in cases.into_iter().enumerate() {
            for works in works(score, velocity, 200) {
                let (mean, error) = mean_and_error(works.iter().map(|w| (-w).exp()));
                assert!((mean - 1.0).abs() < 4.0 * error && error < 0.2, "{case}: {mean} ± {error}");
                let dissipated = works.iter().sum::<f64>() / works.len() as f64;
                assert!(dissipated > least && dissipated < most, "{case}: {dissipated}");
            }
        }
        // Of Gaussians every step is Gaussian, and the exact kernels are reversible however long it is.
        let works = works(&exact_score, &exact_velocity, 10);
        let dissipated = works.iter().flatten().sum::<f64>() / 8000.0;
        assert!(dissipated.abs() < 0.05, "{dissipated}");
    }

    #[test]
    fn threads_change_nothing_and_bad_input_is_named() {
        let (score, velocity) = (Quadratic(|t| 1.0 / variance(t)), Quadratic(potential_of_velocity));
        let run = || works(&score, &velocity, 8);
        assert!(with_threads(1, run) == with_threads(2, run));
        let x = frames(0, 4);
        let with = |noise, n_steps, second: &[f64]| {
            EscortedPaths::new(&score, &velocity, noise, n_steps, [&x, second], &Streams::new(1)).map(|_| ())
        };
        assert!(with(NOISE, 0, &x).is_err() && with(NOISE, 5, &x[12..]).is_err());
        let error = with(Noise::default(), 5, &x).unwrap_err().to_string();
        assert!(error.contains("between two ensembles"), "{error}");
    }
}
