//! Diffusion recovery likelihood with amortised sampling (Gao et al. 2021; variational: VDRME).
//!
//! With the energy u_θ(x, t) of every noise scale, x_i given x_{i+1} has the energy
//!
//! ```text
//! Ec(x_i | x_{i+1}) = u_θ(x_i, t_i) + |r x_i − x_{i+1}|²/(2v)
//! ```
//!
//! up to a constant: far smoother than u_θ(x, 0), because x_{i+1} says where x_i is. The generators G_φ draw from it, the energy
//! is compared with them,
//!
//! ```text
//! min_θ max_φ Σ_i E[Ec(x_i | x_{i+1})] − E_z[Ec(G_φ | x_{i+1})] + λ H[q_φ(· | x_{i+1})]
//! ```
//!
//! and the inner problem is the reverse relative entropy of the generator's law and that of Ec (λ = 1). A frozen energy turns
//! a trained diffusion into K steps. Derivatives of u with respect to x come from the executor of the model and multiply
//! the generator's output; those with respect to θ are of Σ e u.

use rayon::prelude::*;

use super::entropy::{Contrast, Discriminator, log_jacobian, nearest_neighbour, neighbouring_latents};
use super::generator::{Generators, Scale};
use super::settings::{Entropy, RecoverySettings};
use super::step::{CONDITIONS, Chunk, Objective, Size, Student, gradient};
use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::model::data::TrainingData;
use crate::model::fused::Direction;
use crate::potential::PotentialPath;
use crate::random::{Rng, Streams};
use crate::sampling::Progress;
use crate::training::optimizer::{self, Adam, AdamSettings, learning_rate};

/// Means over the last tenth of the steps.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveryReport {
    /// Of each scale: −λ H + E Ec of samples, kT, up to a constant.
    pub losses: Vec<f64>,
    /// Of each scale: mean u of the data less that of samples, kT; 0 where the energy cannot tell them apart. Empty with
    /// a frozen energy.
    pub contrasts: Vec<f64>,
}

/// The energy to which generators are drawn.
pub enum Energy<'a> {
    /// As it is.
    Frozen(&'a dyn PotentialPath),
    /// Compared with the generators, at `energy_rate`.
    Learned(&'a mut EnergyModel),
}

impl Energy<'_> {
    fn path(&self) -> &dyn PotentialPath {
        match self {
            Self::Frozen(path) => *path,
            Self::Learned(model) => *model,
        }
    }
}

/// What the chunks of one group leave.
#[derive(Default)]
struct Gathered {
    contrast: Contrast,
    /// Real points and, of each condition, one sample.
    real: Vec<f64>,
    generated: Vec<f64>,
}

struct Recovery<'a> {
    energy: &'a dyn PotentialPath,
    entropy: Entropy,
    entropy_weight: f64,
    discriminator: Option<&'a Discriminator>,
    keeps_points: bool,
}

impl Recovery<'_> {
    /// Every so many samples of a condition count as samples; the rest are neighbours.
    fn stride(&self, d: usize) -> usize {
        if self.entropy == (Entropy::Jacobian {}) { d + 1 } else { 1 }
    }
}

impl Objective for Recovery<'_> {
    type Gathered = Gathered;

    fn latents(&self, chunk: &mut Chunk, rng: &mut Rng) {
        if self.entropy == (Entropy::Jacobian {}) {
            neighbouring_latents(chunk.d, &mut chunk.latents, rng);
        } else {
            crate::random::fill_normal(rng, &mut chunk.latents);
        }
    }

    fn add(&self, scale: &Scale, chunk: &mut Chunk, gathered: &mut Gathered) -> Result<f64> {
        let (d, m) = (chunk.d, chunk.n_each);
        let stride = self.stride(d);
        let restored = chunk.restored(scale);
        let x: Vec<f64> = restored.chunks_exact(d).step_by(stride).flatten().copied().collect();
        let n = x.len() / d;
        let (mut u, mut gradient) = (vec![0.0; n], vec![0.0; n * d]);
        self.energy.energies_and_gradients(&vec![scale.t; n], &x, &mut u, &mut gradient)?;
        let per_condition = m / stride;
        let (mut loss, share) = (0.0, 1.0 / per_condition as f64);
        for (k, (u, gradient)) in u.iter().zip(gradient.chunks_exact(d)).enumerate() {
            let before = &chunk.before[k / per_condition * d..][..d];
            let slopes = &mut chunk.slopes[k * stride * d..][..d];
            loss += share * u;
            for i in 0..d {
                let apart = scale.ratio * x[k * d + i] - before[i];
                loss += share * 0.5 * apart * apart / scale.variance;
                slopes[i] += share * scale.width * (gradient[i] + scale.ratio * apart / scale.variance);
            }
        }
        let weight = self.entropy_weight;
        if let Some(discriminator) = self.discriminator {
            let before = gathered.contrast.bound;
            discriminator.add(scale, chunk, -weight, &mut gathered.contrast);
            loss -= weight * (gathered.contrast.bound - before);
        } else {
            let all = chunk.samples.chunks_exact(m * d).zip(chunk.latents.chunks_exact(m * d));
            for ((samples, latents), slopes) in all.zip(chunk.slopes.chunks_exact_mut(m * d)) {
                loss -= weight
                    * match self.entropy {
                        Entropy::Jacobian {} => log_jacobian(d, latents, samples, -weight, slopes),
                        _ => nearest_neighbour(d, samples, -weight, slopes),
                    };
            }
        }
        if self.keeps_points {
            let mut real = chunk.data.clone();
            real.chunks_exact_mut(d)
                .zip(chunk.before.chunks_exact(d))
                .for_each(|(x, before)| scale.restore(before, x));
            gathered.real.extend(real);
            gathered.generated.extend(restored.chunks_exact(m * d).flat_map(|x| &x[..d]));
        }
        Ok(loss)
    }
}

/// Draws all generators to the law of the energy, and the energy to the data where it is learned.
pub fn recover(
    generators: &mut Generators,
    energy: &mut Energy<'_>,
    data: &TrainingData,
    settings: &RecoverySettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<RecoveryReport> {
    data.validate()?;
    let (d, n_scales) = (generators.space.dimension(), generators.scales.len());
    if energy.path().space() != generators.space {
        let expected = format!("an energy of {d} coordinates, as the generators");
        return Err(Error::invalid("recovery", expected, format!("{:?}", energy.path().space())));
    }
    let is_jacobian = settings.entropy == Entropy::Jacobian {};
    let n_each = if is_jacobian { settings.n_samples.next_multiple_of(d + 1) } else { settings.n_samples };
    let size = Size { n_conditions: settings.batch_size, n_each };
    let constants = AdamSettings { beta1: 0.3, ..AdamSettings::default() };
    let student = |network| Student::new(network, constants, settings.ema_decay);
    let mut students: Vec<Student> = generators.networks.iter().map(student).collect();
    let mut critics = critics(generators, settings, streams, constants);
    let mut learner = match energy {
        Energy::Frozen(_) => None,
        Energy::Learned(model) => Some(EnergyLearner::new(model, settings)),
    };
    let mut report = RecoveryReport {
        losses: vec![0.0; n_scales],
        contrasts: if learner.is_some() { vec![0.0; n_scales] } else { vec![] },
    };
    let (n, mut count) = (settings.n_steps, 0.0);
    for step in 0..n {
        let fade = learning_rate(step, n, 20.min(n / 10), 1.0, 0.0);
        let is_last = 10 * step >= 9 * n;
        count += f64::from(u8::from(is_last));
        for (idx, student) in students.iter_mut().enumerate() {
            let (scale, network) = (&generators.scales[idx], &mut generators.networks[idx]);
            let objective = Recovery {
                energy: energy.path(),
                entropy: settings.entropy,
                entropy_weight: settings.entropy_weight,
                discriminator: critics.get(idx).map(|(critic, ..)| critic),
                keeps_points: learner.is_some(),
            };
            let own = streams.derive(idx as u64);
            let (loss, slope, groups) =
                gradient(&objective, (scale, network), data, size, &own, step as u64)?;
            student.descend(network, slope, fade * settings.learning_rate);
            if let Some((critic, optimiser, rate)) = critics.get_mut(idx) {
                let mut ascent = vec![0.0; critic.network.weights().len()];
                for group in &groups {
                    ascent.iter_mut().zip(&group.contrast.gradient).for_each(|(sum, part)| {
                        *sum -= part / size.n_conditions.next_multiple_of(CONDITIONS) as f32
                    });
                }
                optimiser.descend(&mut critic.network, ascent, fade * *rate);
            }
            if is_last {
                report.losses[idx] += loss;
            }
            if let (Some(learner), Energy::Learned(model)) = (&mut learner, &*energy) {
                let contrast = learner.add(model, scale, &groups)?;
                if is_last {
                    report.contrasts[idx] += contrast;
                }
            }
        }
        if let (Some(learner), Energy::Learned(model)) = (&mut learner, &mut *energy) {
            learner.descend(model, fade * settings.energy_rate)?;
        }
        progress((step + 1) as f64 / n as f64)?;
    }
    for (network, student) in generators.networks.iter_mut().zip(&students) {
        network.set_weights(&student.average);
    }
    if let (Some(learner), Energy::Learned(model)) = (&learner, energy) {
        model.set_weights(&learner.average)?;
    }
    report.losses.iter_mut().chain(&mut report.contrasts).for_each(|sum| *sum /= count);
    Ok(report)
}

/// A discriminator of each scale with its optimiser and rate, where the entropy needs one.
fn critics(
    generators: &Generators,
    settings: &RecoverySettings,
    streams: &Streams,
    constants: AdamSettings,
) -> Vec<(Discriminator, Student, f64)> {
    let Entropy::MutualInformation { hidden, learning_rate } = settings.entropy else { return Vec::new() };
    let d = generators.space.dimension();
    let of = |(idx, scale): (usize, &Scale)| {
        let critic = Discriminator::initial(scale, d, hidden, idx as u64, streams);
        let student = Student::new(&critic.network, constants, 0.0);
        (critic, student, learning_rate)
    };
    generators.scales.iter().enumerate().map(of).collect()
}

/// The energy in training: E u(data) − E u(samples) of all scales, with a penalty on g² |∇u|².
struct EnergyLearner {
    weights: Vec<f32>,
    average: Vec<f32>,
    gradient: Vec<f32>,
    adam: Adam,
    penalty: f64,
    decay: f64,
}

impl EnergyLearner {
    fn new(model: &EnergyModel, settings: &RecoverySettings) -> Self {
        let weights = model.weights().values().to_vec();
        Self {
            average: weights.clone(),
            gradient: vec![0.0; weights.len()],
            adam: Adam::new(weights.len()),
            weights,
            penalty: settings.gradient_penalty,
            decay: settings.ema_decay,
        }
    }

    /// Adds the derivatives of one scale; returns E u(data) − E u(samples).
    fn add(&mut self, model: &EnergyModel, scale: &Scale, groups: &[Gathered]) -> Result<f64> {
        let mut x: Vec<f64> = groups.iter().flat_map(|group| &group.real).copied().collect();
        let n_real = x.len();
        x.extend(groups.iter().flat_map(|group| &group.generated));
        let d = model.space().dimension();
        let (n, n_each) = (x.len() / d, (n_real / d) as f64);
        let t = vec![scale.t; n];
        let (mut u, mut gradient) = (vec![0.0; n], vec![0.0; n * d]);
        model.energies_and_gradients(&t, &x, &mut u, &mut gradient)?;
        let e: Vec<f64> = (0..n).map(|k| if k * d < n_real { 1.0 } else { -1.0 } / n_each).collect();
        let contrast = u.iter().zip(&e).map(|(u, e)| u * e).sum();
        // The penalty is on real points only.
        let factor = 2.0 * self.penalty * scale.deviation * scale.deviation / n_each;
        gradient.iter_mut().for_each(|v| *v *= factor);
        gradient[n_real..].fill(0.0);
        let v = if self.penalty > 0.0 { Some(gradient.as_slice()) } else { None };
        energy_gradient(model, &t, &x, &e, v, &mut self.gradient)?;
        Ok(contrast)
    }

    fn descend(&mut self, model: &mut EnergyModel, rate: f64) -> Result<()> {
        if optimizer::clip(&mut self.gradient, 1.0).is_finite() {
            let constants = AdamSettings { beta1: 0.0, ..AdamSettings::default() };
            let step = self.adam.n_steps;
            self.adam.step(&constants, rate, &self.gradient, &mut self.weights);
            optimizer::average(&mut self.average, &self.weights, self.decay, step);
            model.set_weights(&self.weights)?;
        }
        self.gradient.fill(0.0);
        Ok(())
    }
}

/// Adds to `gradient` ∂/∂θ of Σ e u(x, t) + v·∇u(x, t) over points, the same for any number of threads.
pub fn energy_gradient(
    model: &EnergyModel,
    t: &[f64],
    x: &[f64],
    e: &[f64],
    v: Option<&[f64]>,
    gradient: &mut [f32],
) -> Result<()> {
    const N_GROUPS: usize = 8;
    let d = model.space().dimension();
    if let Some(device) = model.device() {
        let none = vec![0.0; x.len()];
        let part = device.parameter_gradient(&model.upload(device, t, x)?, v.unwrap_or(&none), e)?;
        gradient.iter_mut().zip(part).for_each(|(sum, part)| *sum += part as f32);
        return Ok(());
    }
    let (program, weights, lanes) = (&model.program, model.weights(), model.lanes());
    let n_chunks = t.len().div_ceil(lanes);
    let group = |group: usize| {
        let mut sum = vec![0.0_f32; gradient.len()];
        let mut workspace = model.take_workspace();
        let mut slopes = vec![0.0_f32; lanes];
        for chunk in (n_chunks * group / N_GROUPS)..(n_chunks * (group + 1) / N_GROUPS) {
            let points = chunk * lanes..((chunk + 1) * lanes).min(t.len());
            let vectors = points.start * d..points.end * d;
            model.load(&mut workspace, &t[points.clone()], &x[vectors.clone()]);
            workspace.forward(program, weights);
            // Lanes beyond the last point repeat the first one and count for nothing.
            slopes.fill(0.0);
            slopes.iter_mut().zip(&e[points]).for_each(|(slope, e)| *slope = *e as f32);
            match v {
                None => workspace.reverse_energy(program, weights, &slopes, &mut sum),
                Some(v) => {
                    workspace.reverse(program, weights);
                    let tangent = workspace.coordinate_tangent_mut();
                    tangent.fill(0.0);
                    for (lane, v) in v[vectors].chunks_exact(d).enumerate() {
                        model.scatter(lane, v, tangent);
                    }
                    workspace.tangent(program, weights, Direction::Coordinates);
                    workspace.reverse_tangent(program, weights, &slopes, &mut sum);
                }
            }
        }
        model.return_workspace(workspace);
        sum
    };
    let sums: Vec<Vec<f32>> = (0..N_GROUPS).into_par_iter().map(group).collect();
    for sum in sums {
        gradient.iter_mut().zip(&sum).for_each(|(sum, part)| *sum += part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::{DiffusedMixture, GaussianMixture, Variances};
    use crate::potential::{Noise, Space};
    use crate::random::{Purpose, fill_normal};
    use crate::training::amortised::AmortisedSettings;

    /// ∂u/∂x times the output stands for the derivative of the whole: conditional energy and entropy, of every kind.
    #[test]
    fn slopes_of_the_recovery_are_finite_differences() {
        let space = Space::Euclidean { dimension: 2 };
        let variances = Variances::Isotropic(vec![0.3, 0.1]);
        let mixture = GaussianMixture::new(space, &[0.7, 0.3], vec![0.5, 0.0, -1.0, 0.4], variances).unwrap();
        let noise = Noise::default();
        let path = DiffusedMixture::new(mixture, noise);
        let streams = Streams::new(4);
        let generators = Generators::initial(&AmortisedSettings::default(), space, noise, &streams).unwrap();
        let scale = &generators.scales[2];
        let normal = |n: usize, stream: u64| {
            let mut z = vec![0.0; n];
            fill_normal(&mut streams.stream(Purpose::Walker, stream), &mut z);
            z
        };
        let mut critic = Discriminator::initial(scale, 2, 12, 0, &streams);
        let weights = normal(critic.network.weights().len(), 0);
        critic.network.set_weights(&weights.iter().map(|w| 0.4 * *w as f32).collect::<Vec<f32>>());
        let mutual = Entropy::MutualInformation { hidden: 12, learning_rate: 1e-3 };
        for entropy in [Entropy::NearestNeighbour {}, Entropy::Jacobian {}, mutual] {
            let objective = Recovery {
                energy: &path,
                entropy,
                entropy_weight: 0.6,
                discriminator: (entropy == mutual).then_some(&critic),
                keeps_points: false,
            };
            let (n, n_each) = (2, 6);
            let mut chunk = Chunk { d: 2, n_each, before: normal(2 * n, 1), ..Chunk::default() };
            (chunk.data, chunk.latents) = (normal(2 * n, 2), vec![0.0; 2 * n * n_each]);
            objective.latents(&mut chunk, &mut streams.stream(Purpose::Walker, 3));
            chunk.samples = chunk.latents.iter().map(|z| z + 0.2 * z.sin()).collect();
            let of = |chunk: &Chunk| {
                let mut chunk = Chunk { slopes: vec![0.0; chunk.samples.len()], ..chunk.clone() };
                let loss = objective.add(scale, &mut chunk, &mut Gathered::default()).unwrap();
                (loss, chunk.slopes)
            };
            let (_, slopes) = of(&chunk);
            // The discriminator is in single precision.
            let (h, tolerance) = if entropy == mutual { (1e-2, 1e-2) } else { (1e-6, 1e-4) };
            for (idx, slope) in slopes.iter().enumerate() {
                let at = |shift: f64| {
                    let mut moved = chunk.clone();
                    moved.samples[idx] += shift;
                    of(&moved).0
                };
                let expected = (at(h) - at(-h)) / (2.0 * h);
                let error = (slope - expected).abs();
                assert!(error < tolerance * (1.0 + expected.abs()), "{entropy:?} {idx}: {slope} {expected}");
            }
        }
    }
}
