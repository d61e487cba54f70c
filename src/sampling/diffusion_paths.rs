//! Paths between noise and data that can be travelled either way, with the probability of each way known.
//!
//! Towards noise a conformation takes the steps q(x_t | x_s) of the process; towards data it takes Gaussian steps
//! r(x_s | x_t) of the learned score (as in [`super::particle_diffusion()`]). Of a path X from noise x_T to data x_0
//!
//! ```text
//! A(X) = log Π q(x_t | x_s) − log Π r(x_s | x_t) − log N(x_T; 0, σ²)
//! ```
//!
//! is all that matters: paths from noise have the weight exp(A − u(x_0)) in the law exp(−u) of data, whatever the
//! score, and paths from samples of that law are the reverse process. So A − u is minus the work of a switch
//! from noise, of known normaliser, to data, and Bennett's ratio of both directions gives log ∫ exp(−u)
//! (Crooks 1999; Vaikuntanathan and Jarzynski 2008 for the escorted form). Energies between the two ends cancel:
//! scores alone matter.

use rayon::prelude::*;

use super::particle_diffusion::StepKernels;
use super::reverse_diffusion::At;
use super::walkers::evaluate;
use super::{Bridge, MIN_PER_TASK, Progress};
use crate::error::{Error, Result};
use crate::potential::{Noise, PotentialPath};
use crate::random::{Purpose, Rng, Streams};

/// The steps between noise and data along one model.
pub struct DiffusionPaths<'a> {
    path: &'a dyn PotentialPath,
    bridge: Bridge<'a>,
    /// Times from noise to data, and the kernels of each step.
    times: Vec<f64>,
    kernels: Vec<StepKernels>,
    squared_scores: Vec<f64>,
    /// Evaluations of the energy that the widths of the kernels took.
    pub n_energy_evaluations: u64,
}

/// Where paths end, and A of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Paths {
    /// Conformations at the end that was travelled to, `[path][coordinate]`.
    pub x: Vec<f64>,
    /// A, without the energy at the ends.
    pub log_ratio: Vec<f64>,
    /// Mean and variance of the part of A of each step, in one order whatever the direction.
    pub by_step: Vec<[f64; 2]>,
    /// Evaluations of the learned energy.
    pub n_energy_evaluations: u64,
}

impl<'a> DiffusionPaths<'a> {
    /// At most so many of the frames of the data, at equal distances, for [`Self::new`]: the mean square of 27 normal scores in each
    /// of 1024 is known to a hundredth.
    pub fn width_frames(n_frames: usize, at_most: usize) -> impl Iterator<Item = usize> {
        (0..n_frames).step_by(n_frames.div_ceil(at_most).max(1))
    }

    /// `n_steps` steps at equal distances in log(a²/g²) along `path`, whose λ is the time of `noise`. Noised `frames`
    /// of the data, `[frame][coordinate]`, tell how wide the steps towards data are; [`Self::width_frames`] chooses some.
    pub fn new(
        path: &'a dyn PotentialPath,
        noise: Noise,
        n_steps: usize,
        data_variance: f64,
        frames: &[f64],
        streams: &Streams,
    ) -> Result<Self> {
        let space = path.space();
        let d = space.dimension();
        if n_steps == 0 || frames.is_empty() || !frames.len().is_multiple_of(d) {
            let found = format!("{n_steps} steps, {} numbers", frames.len());
            return Err(Error::invalid("paths to noise", "steps and frames of the data", found));
        }
        let times = Self::times(&Bridge::diffusion(path, noise, data_variance), noise, n_steps)?;
        let n = frames.len() / d;
        let mut rngs = streams_of(streams, n);
        let (mut x, mut u, mut gradient) = (frames.to_vec(), vec![0.0; n], vec![0.0; frames.len()]);
        let mut squared_scores = Vec::with_capacity(n_steps);
        for &time in &times[..n_steps] {
            let from = At::new(&noise, time);
            let deviation = from.variance.sqrt();
            for ((x, frame), rng) in x.chunks_exact_mut(d).zip(frames.chunks_exact(d)).zip(&mut rngs) {
                space.fill_normal(rng, x);
                x.iter_mut().zip(frame).for_each(|(x, frame)| *x = from.scale * frame + deviation * *x);
            }
            evaluate(path, &vec![time; n], &x, &mut u, &mut gradient)?;
            let sum: f64 = gradient.iter().map(|g| g * g).sum();
            squared_scores.push(sum / (n * space.degrees_of_freedom()) as f64);
        }
        let paths = Self::with_squared_scores(path, noise, data_variance, squared_scores)?;
        Ok(Self { n_energy_evaluations: (n * n_steps) as u64, ..paths })
    }

    /// As many steps as there are means of |∇u_t|² per degree of freedom over noised data, from the noise end on, that tell how wide
    /// steps towards data are: those of [`Self::squared_scores`].
    pub fn with_squared_scores(
        path: &'a dyn PotentialPath,
        noise: Noise,
        data_variance: f64,
        squared_scores: Vec<f64>,
    ) -> Result<Self> {
        let (space, bridge) = (path.space(), Bridge::diffusion(path, noise, data_variance));
        let times = Self::times(&bridge, noise, squared_scores.len())?;
        let steps = times.windows(2).zip(&squared_scores).map(|(pair, &squared_score)| {
            let (from, to) = (At::new(&noise, pair[0]), At::new(&noise, pair[1]));
            StepKernels::new(&from, &to, squared_score.is_finite().then_some(squared_score), space)
        });
        let kernels = steps.collect();
        Ok(Self { path, bridge, times, kernels, squared_scores, n_energy_evaluations: 0 })
    }

    /// Times from noise to data.
    fn times(bridge: &Bridge, noise: Noise, n_steps: usize) -> Result<Vec<f64>> {
        if noise.has_two_ends() {
            let expected = "a process that ends in noise";
            return Err(Error::invalid("paths to noise", expected, format!("{noise:?}")));
        }
        Ok((0..=n_steps).map(|k| bridge.route.lambda(k as f64 / n_steps as f64)).collect())
    }

    /// Means of |∇u_t|² per degree of freedom over noised data, from the noise end on.
    pub fn squared_scores(&self) -> &[f64] {
        &self.squared_scores
    }

    /// Paths from noise to data.
    pub fn towards_data(&self, n: usize, streams: &Streams, progress: &mut Progress<'_>) -> Result<Paths> {
        let mut x = self.bridge.draw_reference(n, streams, Purpose::Start);
        let d = self.path.space().dimension();
        let mut log_ratio: Vec<f64> = x.chunks_exact(d).map(|x| self.bridge.reference_energy(x)).collect();
        let mut by_step = Vec::with_capacity(self.kernels.len());
        let mut rngs = streams_of(streams, n);
        self.walk_to_data(0, &mut x, &mut rngs, &mut log_ratio, &mut |of_step| {
            by_step.push(moments(of_step));
            progress(by_step.len() as f64 / self.kernels.len() as f64)
        })?;
        let n_energy_evaluations = (n * self.kernels.len()) as u64;
        Ok(Paths { x, log_ratio, by_step, n_energy_evaluations })
    }

    /// Paths from these conformations, samples of the law of the data, to noise.
    pub fn towards_noise(
        &self,
        frames: &[f64],
        streams: &Streams,
        progress: &mut Progress<'_>,
    ) -> Result<Paths> {
        let d = self.path.space().dimension();
        let n = frames.len() / d;
        let (mut x, mut log_ratio) = (frames.to_vec(), vec![0.0; n]);
        let mut by_step = Vec::with_capacity(self.kernels.len());
        let mut rngs = streams_of(streams, n);
        self.walk_to_noise(0, &mut x, &mut rngs, &mut log_ratio, &mut |of_step| {
            by_step.push(moments(of_step));
            progress(by_step.len() as f64 / self.kernels.len() as f64)
        })?;
        by_step.reverse();
        for (log_ratio, x) in log_ratio.iter_mut().zip(x.chunks_exact(d)) {
            *log_ratio += self.bridge.reference_energy(x);
        }
        let n_energy_evaluations = (n * self.kernels.len()) as u64;
        Ok(Paths { x, log_ratio, by_step, n_energy_evaluations })
    }

    /// Steps between noise and data.
    pub(super) fn n_steps(&self) -> usize {
        self.kernels.len()
    }

    /// Moves a batch from noise level `first` to the data end; log q − log r of every step is added, and handed to
    /// `each`.
    pub(super) fn walk_to_data(
        &self,
        first: usize,
        x: &mut [f64],
        rngs: &mut [Rng],
        log_ratio: &mut [f64],
        each: &mut dyn FnMut(&[f64]) -> Result<()>,
    ) -> Result<()> {
        let (space, n) = (self.path.space(), rngs.len());
        let d = space.dimension();
        let (mut u, mut gradient, mut of_step) = (vec![0.0; n], vec![0.0; n * d], vec![0.0; n]);
        for (kernels, &time) in self.kernels.iter().zip(&self.times).skip(first) {
            evaluate(self.path, &vec![time; n], x, &mut u, &mut gradient)?;
            (x.par_chunks_exact_mut(d))
                .zip(gradient.par_chunks_exact(d))
                .zip(&mut *rngs)
                .zip(&mut of_step)
                .with_min_len(MIN_PER_TASK)
                .for_each_init(
                    || vec![0.0; d],
                    |z, (((x, gradient), rng), of_step)| {
                        *of_step = kernels.towards_data(space, x, gradient, rng, z);
                    },
                );
            log_ratio.iter_mut().zip(&of_step).for_each(|(all, of_step)| *all += of_step);
            each(&of_step)?;
        }
        Ok(())
    }

    /// Moves a batch from the data end to noise level `last`; log q − log r of every step is added, and handed to
    /// `each`.
    pub(super) fn walk_to_noise(
        &self,
        last: usize,
        x: &mut [f64],
        rngs: &mut [Rng],
        log_ratio: &mut [f64],
        each: &mut dyn FnMut(&[f64]) -> Result<()>,
    ) -> Result<()> {
        let (space, n) = (self.path.space(), rngs.len());
        let d = space.dimension();
        let mut before = vec![0.0; x.len()];
        let (mut u, mut gradient, mut of_step) = (vec![0.0; n], vec![0.0; n * d], vec![0.0; n]);
        for (kernels, &time) in self.kernels.iter().zip(&self.times[..self.kernels.len()]).skip(last).rev() {
            before.copy_from_slice(x);
            (x.par_chunks_exact_mut(d))
                .zip(before.par_chunks_exact(d))
                .zip(&mut *rngs)
                .with_min_len(MIN_PER_TASK)
                .for_each(|((x, before), rng)| kernels.towards_noise(space, before, rng, x));
            evaluate(self.path, &vec![time; n], x, &mut u, &mut gradient)?;
            (of_step.par_iter_mut().zip(before.par_chunks_exact(d)))
                .zip(x.par_chunks_exact(d).zip(gradient.par_chunks_exact(d)))
                .with_min_len(MIN_PER_TASK)
                .for_each(|((of_step, before), (x, gradient))| {
                    *of_step = kernels.log_ratio(before, x, gradient);
                });
            log_ratio.iter_mut().zip(&of_step).for_each(|(all, of_step)| *all += of_step);
            each(&of_step)?;
        }
        Ok(())
    }
}

/// The stream of each path.
pub(super) fn streams_of(streams: &Streams, n: usize) -> Vec<Rng> {
    (0..n).map(|idx| streams.stream(Purpose::Particle, idx as u64)).collect()
}

/// Mean and variance of what is finite.
pub(super) fn moments(values: &[f64]) -> [f64; 2] {
    let finite = || values.iter().filter(|value| value.is_finite());
    let n = finite().count().max(1) as f64;
    let mean = finite().sum::<f64>() / n;
    [mean, finite().map(|value| (value - mean).powi(2)).sum::<f64>() / n]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::{DiffusedMixture, GaussianMixture, Variances};
    use crate::potential::log_sum_exp;
    use crate::sampling::testing::{centred_mixture, mean_and_error, sample_many, with_threads};
    use crate::sampling::{effective_sample_size_log, silent};

    #[test]
    fn widths_are_told_by_frames_from_all_of_the_data() {
        let chosen = |n: usize| DiffusionPaths::width_frames(n, 1024).collect::<Vec<_>>();
        assert_eq!(chosen(0), [0; 0]);
        assert_eq!(chosen(3), [0, 1, 2]);
        assert_eq!(chosen(1024).len(), 1024);
        assert_eq!((chosen(1025).len(), chosen(1025)[512]), (513, 1024));
        assert_eq!((chosen(100_000).len(), chosen(100_000)[1]), (1021, 98));
    }

    /// log Z of the mixture at its data end, by paths whose scores are those of another mixture.
    fn both_ways(score: &DiffusedMixture, n_steps: usize) -> [Vec<f64>; 2] {
        let law = centred_mixture();
        let data_end = law.range().0;
        let (frames, streams) = (sample_many(&law, data_end, 8192, 5), Streams::new(8));
        let paths =
            DiffusionPaths::new(score, law.noise, n_steps, 0.4, &frames[..512 * 9], &streams).unwrap();
        let energies = |x: &[f64]| {
            let mut u = vec![0.0; x.len() / 9];
            law.energies(&vec![data_end; u.len()], x, &mut u).unwrap();
            u
        };
        let log_weights = |paths: &Paths, x: &[f64]| -> Vec<f64> {
            paths.log_ratio.iter().zip(energies(x)).map(|(a, u)| a - u).collect()
        };
        let to_data = paths.towards_data(8192, &streams.derive(1), &mut silent).unwrap();
        let to_noise = paths.towards_noise(&frames, &streams.derive(2), &mut silent).unwrap();
        assert_eq!(to_data.n_energy_evaluations, 8192 * n_steps as u64);
        assert_eq!(to_noise.by_step.len(), n_steps);
        let exact = law.log_normalizer(data_end);
        [log_weights(&to_data, &to_data.x), log_weights(&to_noise, &frames)]
            .map(|weights| weights.into_iter().map(|w| w - exact).collect())
    }

    /// ⟨exp w⟩ of paths to data is Z and ⟨exp −w⟩ of paths from data is 1/Z, whatever the score: both of a score
    /// that is exact and of one with other modes at other places. A sign, a factor or a missing Jacobian in
    /// either kernel breaks one of the two.
    #[test]
    fn both_directions_give_the_normaliser_for_any_score() {
        let good = centred_mixture();
        let mut wrong = centred_mixture();
        let mean = [1.2, 0.3, -0.5, -0.9, 0.4, 0.1, -0.3, -0.7, 0.4];
        let means = mean.iter().map(|m| 0.93 * m).chain(mean.iter().map(|m| -0.85 * m)).collect();
        let variances = Variances::Isotropic(vec![0.15, 0.07]);
        wrong.mixture = GaussianMixture::new(wrong.space(), &[0.5, 0.5], means, variances).unwrap();
        for (score, least, largest_error) in [(&good, 0.7, 0.02), (&wrong, 0.05, 0.1)] {
            let [to_data, to_noise] = both_ways(score, 120);
            let inverse: Vec<f64> = to_noise.iter().map(|w| -w).collect();
            for (name, weights) in [("to data", &to_data), ("to noise", &inverse)] {
                let (mean, error) = mean_and_error(weights.iter().map(|w| w.exp()));
                assert!((mean - 1.0).abs() < 4.0 * error, "{name}: {mean} ± {error}");
                assert!(error < largest_error, "{name}: {error}");
            }
            let ess = effective_sample_size_log(&to_data) / 8192.0;
            assert!(ess > least, "{ess}");
            // Jensen: paths to data lie below log Z on average, paths from it above.
            let mean = |weights: &[f64]| weights.iter().sum::<f64>() / 8192.0;
            assert!(mean(&to_data) < 0.0 && mean(&to_noise) > 0.0);
            assert!(log_sum_exp(&to_data).is_finite());
        }
    }

    #[test]
    fn widths_that_were_measured_before_give_the_same_paths() {
        let law = centred_mixture();
        let (frames, streams) = (sample_many(&law, law.range().0, 64, 5), Streams::new(8));
        let measured = DiffusionPaths::new(&law, law.noise, 20, 0.4, &frames, &streams).unwrap();
        let known = measured.squared_scores().to_vec();
        let again = DiffusionPaths::with_squared_scores(&law, law.noise, 0.4, known).unwrap();
        assert_eq!((measured.n_energy_evaluations, again.n_energy_evaluations), (64 * 20, 0));
        let run = |paths: &DiffusionPaths| paths.towards_data(64, &streams, &mut silent).unwrap();
        assert_eq!(run(&measured), run(&again));
    }

    #[test]
    fn threads_change_nothing_and_bad_input_is_named() {
        let law = centred_mixture();
        let run = || both_ways(&law, 10);
        assert!(with_threads(1, run) == with_threads(2, run));
        let streams = Streams::new(1);
        let frames = sample_many(&law, law.range().0, 4, 5);
        let with = |noise, n_steps, frames: &[f64]| {
            DiffusionPaths::new(&law, noise, n_steps, 0.4, frames, &streams).map(|_| ())
        };
        assert!(with(law.noise, 0, &frames).is_err() && with(law.noise, 9, &frames[..10]).is_err());
        let interpolant = Noise::Interpolant { strength: 1.0, t_min: 1e-6 };
        assert!(with(interpolant, 9, &frames).unwrap_err().to_string().contains("ends in noise"));
    }
}
