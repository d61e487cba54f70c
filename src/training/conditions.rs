//! The conditions of the recovery likelihood: a noisier version y of every point, where chains start under it, and their
//! potential −log of exp(−u(x, s)) q(y | x).

use super::batch::Batch;
use crate::error::Result;
use crate::model::EnergyModel;
use crate::potential::{Noise, PotentialPath, Space};
use crate::random::{Purpose, Streams};

/// How a point becomes a noisier one: y = r x + √v ξ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recall {
    /// The time of y.
    pub t: f64,
    /// r
    pub scale: f64,
    /// v
    pub variance: f64,
}

/// How much noisier a version of a point is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jump {
    /// At least, in log(a²/g²).
    pub distance: f64,
    /// And at least as noisy as modes of this width are wide, g ≥ a w: a point with less noise on it is recovered with no more doubt
    /// than that noise, which teaches nothing about modes.
    pub width: f64,
}

/// The noisier version of every point.
pub(super) struct Conditions {
    /// How each came about.
    pub steps: Vec<Recall>,
    /// y
    pub y: Vec<f64>,
    space: Space,
}

impl Conditions {
    /// Draws them for points at `times`.
    pub fn draw(
        noise: &Noise,
        times: &[f64],
        x: &[f64],
        space: Space,
        jump: Jump,
        streams: &Streams,
    ) -> Self {
        let size = space.dimension();
        let least = noise.log_snr(noise.time_range().1);
        let mut y = vec![0.0; x.len()];
        let mut steps = Vec::with_capacity(times.len());
        for (idx, &here) in times.iter().enumerate() {
            let further = (noise.log_snr(here) - jump.distance).min(-2.0 * jump.width.ln());
            let t = noise.time_at_log_snr(further.max(least));
            let scale = noise.scale(t) / noise.scale(here);
            let variance = (noise.deviation(t).powi(2) - (scale * noise.deviation(here)).powi(2)).max(0.0);
            let out = &mut y[idx * size..][..size];
            space.fill_normal(&mut streams.stream(Purpose::ReverseDiffusion, idx as u64), out);
            let x = &x[idx * size..][..size];
            out.iter_mut().zip(x).for_each(|(y, x)| *y = scale * x + variance.sqrt() * *y);
            steps.push(Recall { t, scale, variance });
        }
        Self { steps, y, space }
    }

    /// Where chains start: at a draw from what y would have been if data were Gaussian, or of the reverse step that the score
    /// of `guide` makes of it.
    pub fn start(
        &self,
        guide: Option<&EnergyModel>,
        noise: &Noise,
        times: &[f64],
        x: &[f64],
        streams: &Streams,
    ) -> Result<Vec<f64>> {
        let size = self.space.dimension();
        let mut start = x.to_vec();
        let mut gradient = vec![0.0; self.y.len()];
        if let Some(guide) = guide {
            let later: Vec<f64> = self.steps.iter().map(|step| step.t).collect();
            let mut u = vec![0.0; later.len()];
            guide.energies_and_gradients(&later, &self.y, &mut u, &mut gradient)?;
        }
        let mut z = vec![0.0; size];
        for (idx, (step, &t)) in self.steps.iter().zip(times).enumerate() {
            if step.variance <= 0.0 {
                continue;
            }
            let y = &self.y[idx * size..][..size];
            let out = &mut start[idx * size..][..size];
            self.space.fill_normal(&mut streams.stream(Purpose::Particle, idx as u64), &mut z);
            if guide.is_some() {
                // As if the score stayed what it is at y: mean (y + v s)/r and the variance of the bridge.
                let ratio = (noise.deviation(t) / noise.deviation(step.t)).powi(2);
                let deviation = (step.variance * ratio).sqrt();
                for (((out, y), g), z) in out.iter_mut().zip(y).zip(&gradient[idx * size..]).zip(&z) {
                    *out = (y - step.variance * g) / step.scale + deviation * z;
                }
            } else {
                let posterior = 1.0 / (1.0 / noise.total_variance(t) + step.scale.powi(2) / step.variance);
                let shrink = posterior * step.scale / step.variance;
                for ((out, y), z) in out.iter_mut().zip(y).zip(&z) {
                    *out = shrink * y + posterior.sqrt() * z;
                }
            }
        }
        Ok(start)
    }

    /// What a second network learns from the points x where chains ended: a batch of denoising score matching at y with the
    /// noise z = (y − r x) g/v, for which z − g ∇u is g times the error of ∇u against the slope of −log q(y | x). Points that are
    /// nearer to their y than `distance`, at the noise end, are left out: their v is too small to learn from, and the law is
    /// Gaussian there.
    pub fn lesson(&self, noise: &Noise, times: &[f64], x: &[f64], distance: f64) -> Batch {
        let size = self.space.dimension();
        let mut batch = Batch { n_times: 1, ..Batch::default() };
        for (idx, (step, &t)) in self.steps.iter().zip(times).enumerate() {
            if noise.log_snr(t) - noise.log_snr(step.t) < 0.99 * distance {
                continue;
            }
            let of_point = idx * size..(idx + 1) * size;
            let factor = noise.deviation(step.t) / step.variance;
            let pairs = self.y[of_point.clone()].iter().zip(&x[of_point.clone()]);
            batch.noise.extend(pairs.map(|(y, x)| (y - step.scale * x) * factor));
            batch.x.extend_from_slice(&self.y[of_point]);
            batch.times.push(step.t);
        }
        batch.n_points = batch.times.len();
        batch.levels.resize(batch.n_points, 0);
        batch
    }
}

/// u(x, s) + |y − r x|²/(2v) for walkers in the order of their conditions.
pub(super) struct Recalled<'a> {
    /// u
    pub path: &'a dyn PotentialPath,
    /// y
    pub conditions: &'a Conditions,
}

impl Recalled<'_> {
    fn add(&self, x: &[f64], u: &mut [f64], mut gradient: Option<&mut [f64]>) {
        let size = self.path.space().dimension();
        for (idx, (x, u)) in x.chunks_exact(size).zip(u).enumerate() {
            let Recall { scale, variance, .. } = self.conditions.steps[idx];
            if variance <= 0.0 {
                continue;
            }
            for (k, (x, y)) in x.iter().zip(&self.conditions.y[idx * size..]).enumerate() {
                let miss = scale * x - y;
                *u += 0.5 * miss * miss / variance;
                if let Some(gradient) = gradient.as_deref_mut() {
                    gradient[idx * size + k] += scale * miss / variance;
                }
            }
        }
    }
}

impl PotentialPath for Recalled<'_> {
    fn space(&self) -> Space {
        self.path.space()
    }

    fn range(&self) -> (f64, f64) {
        self.path.range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        self.path.energies(lambda, x, u)?;
        self.add(x, u, None);
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        self.path.energies_and_gradients(lambda, x, u, gradient)?;
        self.add(x, u, Some(gradient));
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        self.path.lambda_derivatives(lambda, x, du_dlambda)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::{DiffusedMixture, GaussianMixture, Variances};
    use crate::training::chains::{ChainSettings, Chains, Proposal, Start};

    /// Long chains under a condition draw from what the noisier point may have been: for a Gaussian, a Gaussian.
    #[test]
    fn recovered_points_have_the_law_of_the_posterior() {
        let space = Space::Euclidean { dimension: 2 };
        let mixture =
            GaussianMixture::new(space, &[1.0], vec![0.5, -1.0], Variances::Isotropic(vec![0.3])).unwrap();
        let noise = Noise::default();
        let path = DiffusedMixture::new(mixture, noise);
        let (n, t) = (4000, 0.2);
        let x = vec![0.4; 2 * n];
        let times = vec![t; n];
        let streams = Streams::new(3);
        let mut conditions =
            Conditions::draw(&noise, &times, &x, space, Jump { distance: 1.0, width: 0.1 }, &streams);
        // One condition for all.
        let y = [0.2, 0.1];
        conditions.y.chunks_exact_mut(2).for_each(|out| out.copy_from_slice(&y));
        let Recall { scale, variance, .. } = conditions.steps[0];
        let chains = Chains {
            moves: ChainSettings { n_steps: 200, step: 0.6, width: 0.5 },
            start: Start::Recovery { distance: 1.0, proposal: Proposal::Gaussian },
        };
        let own = noise.deviation(t).powi(2) + 0.3 * noise.scale(t).powi(2);
        let posterior = 1.0 / (1.0 / own + scale * scale / variance);
        let lengths = vec![0.8 * posterior.sqrt(); n];
        let recalled = Recalled { path: &path, conditions: &conditions };
        let found = chains.run(&recalled, x, times, &lengths, &streams).unwrap();
        for k in 0..2 {
            let mean_of_data = noise.scale(t) * [0.5, -1.0][k];
            let expected = posterior * (mean_of_data / own + scale * y[k] / variance);
            let values: Vec<f64> = found.iter().skip(k).step_by(2).copied().collect();
            let mean = values.iter().sum::<f64>() / n as f64;
            let spread = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            assert!((mean - expected).abs() < 4.0 * (posterior / n as f64).sqrt(), "{mean} {expected}");
            assert!((spread / posterior - 1.0).abs() < 0.1, "{spread} {posterior}");
        }
        // Its gradient is that of its energy.
        let x = [0.3, -0.2];
        let energy = |x: &[f64]| {
            let mut u = [0.0];
            recalled.energies(&[t], x, &mut u).unwrap();
            u[0]
        };
        let (mut u, mut gradient) = ([0.0], [0.0; 2]);
        recalled.energies_and_gradients(&[t], &x, &mut u, &mut gradient).unwrap();
        for k in 0..2 {
            let h = 1e-5;
            let at = |step: f64| {
                let mut moved = x;
                moved[k] += step;
                energy(&moved)
            };
            assert!(((at(h) - at(-h)) / (2.0 * h) - gradient[k]).abs() < 1e-6);
        }
    }

    /// The noisier version of a point has the moments of the noising kernel, and none at the noise end.
    #[test]
    fn conditions_are_steps_of_the_process() {
        let space = Space::Euclidean { dimension: 1 };
        let noise = Noise::default();
        let (n, t) = (20_000, 0.3);
        let x = vec![0.7; n];
        let of = |t: f64| {
            let jump = Jump { distance: 2.0, width: 0.1 };
            Conditions::draw(&noise, &vec![t; n], &x, space, jump, &Streams::new(1))
        };
        let conditions = of(t);
        let later = conditions.steps[0].t;
        assert!((noise.log_snr(t) - noise.log_snr(later) - 2.0).abs() < 1e-9);
        let mean = conditions.y.iter().sum::<f64>() / n as f64;
        let expected = 0.7 * noise.scale(later) / noise.scale(t);
        let variance = conditions.y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n as f64;
        // A point that was noised twice has the variance of one that was noised once.
        let kept = noise.scale(later) / noise.scale(t) * noise.deviation(t);
        assert!((mean - expected).abs() < 4.0 * (variance / n as f64).sqrt());
        assert!(((variance + kept * kept) / noise.deviation(later).powi(2) - 1.0).abs() < 0.05);
        assert_eq!(of(noise.time_range().1).steps[0].variance, 0.0);
    }
}
