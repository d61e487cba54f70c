//! A second network that proposes where chains of the recovery likelihood start (Zhu et al. 2024, cooperative diffusion
//! recovery likelihood).
//!
//! It has the architecture of the energy and begins as a copy of it at the start of the stage. For y, a noisier version of a
//! point x, the gradient of its u_φ at y is a reverse step (Tweedie's formula): with y = r x + √v ξ,
//!
//! E[x | y] = (y − v ∇u_φ(y))/r.
//!
//! In every step of training chains start at Gaussians about that, and it learns from where they ended, x⁻, under the same y:
//!
//! L = (1/(1 − e^{−Δ})) |(y − r x⁻)/√v − √v ∇u_φ(y)|²/d,    Δ the distance of the two times in log(a²/g²),
//!
//! denoising score matching of the chains' points. So it forgets the bias of its starts as fast as chains do,
//! while the energy is trained on data against the same points. It is part of the state of training, and not of the model.
//!
//! After 500 steps on two overlapping modes on the plane, the means of starts are off by 0.10 standard deviations of the law of x
//! given y, those of a Gaussian by 0.25, and those of a reverse step of the energy, trained by the same steps, by 0.10.

use super::batch::Batch;
use super::gradient::{GradientEngine, Weighted};
use super::objective::denoising_score_matching::DenoisingScoreMatching;
use super::optimizer::{self, Adam, AdamSettings};
use crate::error::{Error, Result};
use crate::model::EnergyModel;

/// All of the network that changes in training.
#[derive(Debug, Clone, PartialEq)]
pub struct InitialiserState {
    /// Weights.
    pub weights: Vec<f32>,
    /// State of its optimiser.
    pub adam: Adam,
}

impl InitialiserState {
    /// Before the first step.
    pub fn new(weights: Vec<f32>) -> Self {
        Self { adam: Adam::new(weights.len()), weights }
    }

    /// Checks that it fits a model with so many parameters.
    pub fn check(&self, n_parameters: usize) -> Result<()> {
        let lengths = [self.weights.len(), self.adam.first.len(), self.adam.second.len()];
        match lengths.iter().find(|length| **length != n_parameters) {
            None => Ok(()),
            Some(found) => {
                let expected = format!("{n_parameters} parameters of the initialiser");
                Err(Error::invalid("checkpoint", expected, found.to_string()))
            }
        }
    }
}

/// The network at work.
pub struct Initialiser {
    /// u_φ with its current weights.
    pub model: EnergyModel,
    engine: GradientEngine,
    objective: [Weighted; 1],
    gradient: Vec<f32>,
    is_finite: bool,
}

impl Initialiser {
    /// A network of the architecture of `energy`, where its training stands.
    pub fn new(energy: &EnergyModel, state: &InitialiserState) -> Result<Self> {
        let objective = Weighted { objective: Box::new(DenoisingScoreMatching::default()), weight: 1.0 };
        Ok(Self {
            model: energy.with_weights(&state.weights)?,
            engine: GradientEngine::default(),
            objective: [objective],
            gradient: vec![0.0; state.weights.len()],
            is_finite: false,
        })
    }

    /// The gradient of what chains teach, clipped.
    pub fn learn(&mut self, lesson: &Batch, clip: f64) -> Result<()> {
        self.is_finite = false;
        if lesson.n_points > 0 {
            self.engine.evaluate(&self.model, lesson, &self.objective, &[], &mut self.gradient)?;
            self.is_finite = optimizer::clip(&mut self.gradient, clip).is_finite();
        }
        Ok(())
    }

    /// A step down that gradient; none where there was nothing to learn.
    pub fn step(&mut self, settings: &AdamSettings, rate: f64, state: &mut InitialiserState) -> Result<()> {
        if self.is_finite {
            state.adam.step(settings, rate, &self.gradient, &mut state.weights);
            self.model.set_weights(&state.weights)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::model::EnergyModel;
    use crate::model::data::TrainingData;
    use crate::model::network::{Architecture, NETWORKS};
    use crate::potential::analytic::{DiffusedMixture, GaussianMixture, Variances};
    use crate::potential::{Noise, Space};
    use crate::random::{Purpose, Streams};
    use crate::training::conditions::{Conditions, Jump, Recall};
    use crate::training::{TrainSettings, Trainer};

    const WEIGHTS: [f64; 2] = [0.8, 0.2];
    const MEANS: [f64; 4] = [-0.4, 0.0, 1.6, 0.0];
    const VARIANCE: f64 = 0.2;

    /// Mean of x given y, and the trace of its covariance.
    fn posterior(noise: &Noise, t: f64, step: &Recall, y: &[f64]) -> ([f64; 2], f64) {
        let own = noise.scale(t).powi(2) * VARIANCE + noise.deviation(t).powi(2);
        let variance = 1.0 / (1.0 / own + step.scale.powi(2) / step.variance);
        let (mut total, mut mean, mut square) = (0.0, [0.0; 2], 0.0);
        for (weight, center) in WEIGHTS.iter().zip(MEANS.chunks_exact(2)) {
            let center = [0, 1].map(|i| noise.scale(t) * center[i]);
            let miss: f64 = (0..2).map(|i| (y[i] - step.scale * center[i]).powi(2)).sum();
            let share = weight * (-0.5 * miss / (step.scale.powi(2) * own + step.variance)).exp();
            let at = [0, 1].map(|i| variance * (center[i] / own + step.scale * y[i] / step.variance));
            total += share;
            (0..2).for_each(|i| mean[i] += share * at[i]);
            square += share * (2.0 * variance + at[0] * at[0] + at[1] * at[1]);
        }
        let mean = mean.map(|mean| mean / total);
        (mean, square / total - mean[0] * mean[0] - mean[1] * mean[1])
    }

    /// How far the mean of starts is from that of the law which they are to be of, in units of its standard deviation, root
    /// of the mean square over points of the law at three noise levels.
    fn error(path: &DiffusedMixture, guide: Option<&EnergyModel>) -> f64 {
        let (noise, n, space) = (path.noise, 2000, Space::Euclidean { dimension: 2 });
        let (mut sum, mut scale) = (0.0, 0.0);
        for (idx, log_snr) in [2.0, 0.5, -1.0].into_iter().enumerate() {
            let t = noise.time_at_log_snr(log_snr);
            let streams = Streams::new(50 + idx as u64);
            let mut rng = streams.stream(Purpose::Batch, 0);
            let (mut x, times) = (vec![0.0; 2 * n], vec![t; n]);
            x.chunks_exact_mut(2).for_each(|x| _ = path.sample(t, &mut rng, x));
            let jump = Jump { distance: 1.0, width: 0.2 };
            let conditions = Conditions::draw(&noise, &times, &x, space, jump, &streams);
            let starts = conditions.start(guide, &noise, &times, &x, &streams).unwrap();
            let step = conditions.steps[0];
            // What starts scatter about their mean.
            let scatter = match guide {
                Some(_) => step.variance * (noise.deviation(t) / noise.deviation(step.t)).powi(2),
                None => 1.0 / (1.0 / noise.total_variance(t) + step.scale.powi(2) / step.variance),
            };
            for (start, y) in starts.chunks_exact(2).zip(conditions.y.chunks_exact(2)) {
                let (mean, spread) = posterior(&noise, t, &step, y);
                sum += (0..2).map(|i| (start[i] - mean[i]).powi(2)).sum::<f64>() - 2.0 * scatter;
                scale += spread;
            }
        }
        (sum.max(0.0) / scale).sqrt()
    }

    #[test]
    fn learned_starts_are_nearer_to_what_points_were_than_those_of_a_gaussian() {
        let space = Space::Euclidean { dimension: 2 };
        let variances = Variances::Isotropic(vec![VARIANCE; 2]);
        let mixture = GaussianMixture::new(space, &WEIGHTS, MEANS.to_vec(), variances).unwrap();
        let path = DiffusedMixture::new(mixture, Noise::default());
        let mut rng = Streams::new(1).stream(Purpose::Walker, 0);
        let mut frames = vec![];
        for _ in 0..4000 {
            let mut x = [0.0; 2];
            path.mixture.sample(&mut rng, &mut x);
            frames.extend(x.map(|x| x as f32));
        }
        let architecture = Architecture::of_vectors(2, path.noise);
        let data = TrainingData::of_frames(space, &frames);
        let table = "kind = 'vector'\nhidden = [32, 32]\ntime_splines = 9".parse().unwrap();
        let network = NETWORKS.build("network", table, &()).unwrap();
        let streams = Streams::new(2);
        let model = EnergyModel::initial(&*network, architecture, 1.0, &data, &streams).unwrap();
        let settings: TrainSettings = toml::from_str(
            "[[stages]]
             name = 'recovery'
             n_steps = 500
             batch_size = 256
             learning_rate = 5e-3
             warmup_steps = 20
             times = { n_times = 2 }
             objectives = [{ kind = 'recovery_likelihood', initialiser = 'network', chain = { width = 0.3 } }]",
        )
        .unwrap();
        let gaussian = error(&path, None);
        let untrained = error(&path, Some(&model));
        let mut trainer = Trainer::new(model, &settings, data, streams).unwrap();
        while trainer.step().unwrap().is_some() {}
        let weights = trainer.state().initialiser.clone().unwrap().weights;
        let learned = error(&path, Some(&trainer.model.with_weights(&weights).unwrap()));
        let energy = error(&path, Some(&trainer.model));
        assert!(
            learned < 0.5 * gaussian && learned < 0.5 * untrained,
            "{gaussian} {untrained} {learned} {energy}"
        );
    }
}
