//! The Fokker–Planck equation as a penalty (Lai et al. 2023; for energies of molecules Plainer et al. 2025, ScoreMD).
//!
//! Of u = −log p along dX = f X dt + √D dW, times dt/d log(g²/a²) = g²/D:
//!
//! R = ½ g² (|∇u|² − Δu) + (g²/D) (f x·∇u − f d + ∂u/∂t) = 0.
//!
//! Δu comes without second derivatives from gradients at twins x ± ε g ξ, by central differences:
//! ξ·(∇u(x₊) − ∇u(x₋))/(2 ε g) is the second derivative along ξ. `trace` says along which:
//!
//! * `weak`: two normal ξ, and every other term of R a mean over the twins as well. L = R(ξ₁) R(ξ₂)/d, whose mean is R²/d without
//!   the variance of the probes, up to ε²;
//! * `hutchinson`: two ξ of ±1 in every coordinate, whose variance is that of off-diagonal elements alone; the other terms
//!   are those of x itself. The same product;
//! * `exact`: the sum over all axes, projected onto the space; L = R²/d has no variance but that of x.
//!
//! A data point costs 5 points with the energy at 4 other times, 6 with it at one, or 2 n + 2 with it at one, for n numbers
//! that store x. More points than a chunk has lanes are evaluated in several pieces.
//!
//! Twins that are far apart see fourth derivatives, which goes as ε², and close ones the rounding of f32, as 1/ε. Measured as the
//! root of the mean square of g² (Δ_ε u − Δu)/d over times and points, against the same network in f64 with ε = 10⁻³, for networks
//! with random weights (vectors of 2 and 16 dimensions, four beads):
//!
//! | ε | 0.05 | 0.02 | 0.01 | 0.005 | 0.002 | 0.0005 |
//! |---|---|---|---|---|---|---|
//! | exact, 2 | 2.5e-4 | 4.0e-5 | 1.7e-5 | 2.6e-5 | 6.4e-5 | 3.4e-4 |
//! | exact, 16 | 3.7e-6 | 2.9e-6 | 4.8e-6 | 9.3e-6 | 3.0e-5 | 1.2e-4 |
//! | exact, beads | 1.1e-3 | 1.8e-4 | 4.5e-5 | 2.5e-5 | 5.5e-5 | 2.4e-4 |
//! | hutchinson, 2 | 4.0e-4 | 6.4e-5 | 2.2e-5 | 2.6e-5 | 7.8e-5 | 3.6e-4 |
//! | hutchinson, 16 | 1.5e-4 | 2.4e-5 | 8.1e-6 | 1.0e-5 | 2.6e-5 | 9.6e-5 |
//! | hutchinson, beads | 9.5e-3 | 1.8e-3 | 4.6e-4 | 1.2e-4 | 7.2e-5 | 1.0e-3 |
//!
//! The noise of weak twins in f32 is 5e-6 at most at ε = 0.05, which is kept.
//!
//! ∂u/∂t is the difference to a close time. For modes that nothing joins, laws with
//! wrong weights satisfy the equation as well: the penalty is blind to them.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Coupling, Objective, Point};
use crate::error::{Error, Result};
use crate::registry::Settings;
use crate::training::times::Trace;

/// Settings of the Fokker–Planck penalty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FokkerPlanck {
    /// Along which directions second derivatives are taken.
    pub trace: Trace,
    /// ε: how far twins are apart, in units of the noise; absent: 0.05, 0.005 and 0.01 for weak, hutchinson and exact.
    pub epsilon: Option<f64>,
}

impl FokkerPlanck {
    fn epsilon(&self) -> f64 {
        self.epsilon.unwrap_or(match self.trace {
            Trace::Weak => 0.05,
            Trace::Hutchinson => 0.005,
            Trace::Exact => 0.01,
        })
    }
}

impl Settings<dyn Objective, ()> for FokkerPlanck {
    const SUMMARY: &'static str = "the Fokker–Planck equation as a penalty, without second derivatives (n_times = 5, or 2 where `trace` is hutchinson or exact)";
    const EXAMPLE: &'static str = "epsilon = 0.05";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        let epsilon = self.epsilon();
        if !(epsilon > 0.0 && epsilon < 1.0) {
            let message = format!("must lie between 0 and 1, found {epsilon}");
            return Err(Error::config("epsilon", message, ""));
        }
        Ok(Box::new(self))
    }
}

impl Objective for FokkerPlanck {
    fn name(&self) -> &'static str {
        "fokker_planck"
    }

    fn needs_gradients(&self) -> bool {
        true
    }

    fn needs_cross_energies(&self) -> bool {
        true
    }

    fn n_shifts(&self, n_points: usize) -> usize {
        match self.trace {
            // The other time comes last.
            Trace::Weak => n_points - 1,
            // It comes next.
            Trace::Hutchinson | Trace::Exact => 1,
        }
    }

    fn coupling(&self) -> Coupling {
        Coupling::Twins { trace: self.trace, epsilon: self.epsilon() }
    }

    fn needs_noise_end(&self) -> bool {
        true
    }

    fn ties_levels(&self) -> bool {
        true
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        match self.trace {
            Trace::Weak => self.add_weak(point, weight, cotangent),
            Trace::Hutchinson | Trace::Exact => self.add_centred(point, weight, cotangent),
        }
    }
}

impl FokkerPlanck {
    /// Twins alone: two pairs and a point at the other time.
    fn add_weak(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let n_times = point.times.len();
        let size = point.positions.len() / n_times;
        let d = point.degrees_of_freedom as f64;
        let (g, f) = (point.deviations[0], point.drifts[0]);
        let clock = g * g / point.diffusions[0];
        let later = n_times - 1;
        let h = point.times[later] - point.times[0];
        let vector = |values: &'_ [f64], k: usize, i: usize| values[k * size + i];
        // The distance of twins is 2 ε g ξ up to the normalisation of the pair.
        let epsilon = self.epsilon();
        let spacing = epsilon * g / (1.0 + epsilon * epsilon).sqrt();
        let residual = |plus: usize, minus: usize| -> f64 {
            let (mut laplacian, mut square, mut along) = (0.0, 0.0, 0.0);
            for i in 0..size {
                let [x_plus, x_minus] = [plus, minus].map(|k| vector(point.positions, k, i));
                let [u_plus, u_minus] = [plus, minus].map(|k| vector(point.gradients, k, i));
                let mean = 0.5 * (u_plus + u_minus);
                laplacian += (x_plus - x_minus) * (u_plus - u_minus) / (4.0 * spacing * spacing);
                square += mean * mean;
                along += 0.5 * (x_plus + x_minus) * mean;
            }
            let rate: f64 = [plus, minus]
                .map(|k| point.energies[k * n_times + later] - point.energies[k * n_times + k])
                .iter()
                .sum::<f64>()
                / (2.0 * h);
            0.5 * g * g * (square - laplacian) + clock * (f * along - f * d + rate)
        };
        let pairs = [(0, 1), (2, 3)];
        let residuals = pairs.map(|(plus, minus)| residual(plus, minus));
        for (pair, (plus, minus)) in pairs.into_iter().enumerate() {
            let slope = weight * residuals[1 - pair] / d;
            for i in 0..size {
                let [x_plus, x_minus] = [plus, minus].map(|k| vector(point.positions, k, i));
                let mean = 0.5 * (vector(point.gradients, plus, i) + vector(point.gradients, minus, i));
                let common = 0.5 * g * g * mean + 0.25 * clock * f * (x_plus + x_minus);
                let twin = 0.5 * g * g * (x_plus - x_minus) / (4.0 * spacing * spacing);
                cotangent.gradients[plus * size + i] += slope * (common - twin);
                cotangent.gradients[minus * size + i] += slope * (common + twin);
            }
            for k in [plus, minus] {
                let slope = slope * clock / (2.0 * h);
                cotangent.energies[k * n_times + later] += slope;
                cotangent.energies[k * n_times + k] -= slope;
            }
        }
        residuals[0] * residuals[1] / d
    }

    /// A point, one at the other time, and pairs about the first.
    fn add_centred(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let n_points = point.times.len();
        let size = point.positions.len() / n_points;
        let n_pairs = n_points / 2 - 1;
        let d = point.degrees_of_freedom as f64;
        let (g, f) = (point.deviations[0], point.drifts[0]);
        let clock = g * g / point.diffusions[0];
        let h = point.times[1] - point.times[0];
        // Twins are 2 ε g ξ apart, and ξ·∇∇u·ξ is their product with the difference of gradients over (2 ε g)².
        let per_square = (2.0 * self.epsilon() * g).powi(-2);
        let (here, gradient) = (&point.positions[..size], &point.gradients[..size]);
        let pair = |pair: usize| {
            let [plus, minus] = [2 * pair + 2, 2 * pair + 3].map(|k| k * size);
            let apart = move |i: usize| point.positions[plus + i] - point.positions[minus + i];
            (plus, minus, apart)
        };
        let curvature = |idx: usize| -> f64 {
            let (plus, minus, apart) = pair(idx);
            let of = |i: usize| apart(i) * (point.gradients[plus + i] - point.gradients[minus + i]);
            (0..size).map(of).sum::<f64>() * per_square
        };
        let square: f64 = gradient.iter().map(|u| u * u).sum();
        let along: f64 = here.iter().zip(gradient).map(|(x, u)| x * u).sum();
        let rate = (point.energies[1] - point.energies[0]) / h;
        let residual =
            |laplacian: f64| 0.5 * g * g * (square - laplacian) + clock * (f * along - f * d + rate);
        let residuals = match self.trace {
            Trace::Exact => [residual((0..n_pairs).map(curvature).sum()); 2],
            _ => [residual(curvature(0)), residual(curvature(1))],
        };
        let both = weight * (residuals[0] + residuals[1]) / d;
        for i in 0..size {
            cotangent.gradients[i] += both * (g * g * gradient[i] + clock * f * here[i]);
        }
        for idx in 0..n_pairs {
            let slope = match self.trace {
                Trace::Exact => both,
                _ => weight * residuals[1 - idx] / d,
            };
            let (plus, minus, apart) = pair(idx);
            for i in 0..size {
                let twin = 0.5 * g * g * slope * per_square * apart(i);
                cotangent.gradients[plus + i] -= twin;
                cotangent.gradients[minus + i] += twin;
            }
        }
        cotangent.energies[1] += both * clock / h;
        cotangent.energies[0] -= both * clock / h;
        residuals[0] * residuals[1] / d
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EnergyModel;
    use crate::model::compute::Compute;
    use crate::model::data::TrainingData;
    use crate::model::network::{Architecture, NETWORKS};
    use crate::potential::analytic::{DiffusedMixture, GaussianMixture, Variances};
    use crate::potential::{Noise, PotentialPath, Space};
    use crate::random::{Purpose, Streams};
    use crate::training::batch::Batch;
    use crate::training::tests::{chain, model};
    use crate::training::times::TimeSettings;

    /// α: an energy that is so much too steep.
    const STEEPNESS: f64 = 2.0;

    fn mixture(space: Space) -> DiffusedMixture {
        let means = (0..2 * space.dimension()).map(|i| (0.7 * (i * i) as f64).sin()).collect();
        let variances = Variances::Isotropic(vec![0.3, 0.5]);
        DiffusedMixture::new(
            GaussianMixture::new(space, &[0.6, 0.4], means, variances).unwrap(),
            Noise::default(),
        )
    }

    fn batch(objective: &FokkerPlanck, space: Space, noise: &Noise, n_points: usize) -> Batch {
        let mut rng = Streams::new(5).stream(Purpose::Walker, 0);
        let mut x = vec![0.0; space.dimension()];
        let mut frames = vec![];
        for _ in 0..500 {
            space.fill_normal(&mut rng, &mut x);
            frames.extend(x.iter().map(|x| *x as f32));
        }
        let coupling = objective.coupling();
        let times = TimeSettings { n_times: coupling.n_times().unwrap(), ..TimeSettings::default() };
        let mut batch = Batch::default();
        let data = TrainingData::of_frames(space, &frames);
        batch.draw(&data, noise, &times, coupling, n_points, &Streams::new(6), 0);
        batch
    }

    /// Of every data point the loss of α u, for the energy u of a mixture, and what R²/d is at its middle:
    /// R = (α − 1) (½ g² α |∇u|² + (g²/D) f d), with the error of the difference in time.
    fn losses(objective: &FokkerPlanck, space: Space, n_points: usize) -> Vec<[f64; 2]> {
        let path = mixture(space);
        let noise = path.noise;
        let batch = batch(objective, space, &noise, n_points);
        let (k, size) = (batch.n_times, space.dimension());
        let d = space.degrees_of_freedom() as f64;
        let of = |point: usize| {
            let times = &batch.times[point * k..(point + 1) * k];
            let x = &batch.x[point * k * size..(point + 1) * k * size];
            let (mut u, mut gradients) = (vec![0.0; k], vec![0.0; k * size]);
            path.energies_and_gradients(times, x, &mut u, &mut gradients).unwrap();
            gradients.iter_mut().for_each(|u| *u *= STEEPNESS);
            let mut energies = vec![0.0; k * k];
            let energy = |t: f64, x: &[f64]| {
                let mut u = [0.0];
                path.energies(&[t], x, &mut u).unwrap();
                u[0]
            };
            for (i, x) in x.chunks_exact(size).enumerate() {
                // What the engine does not evaluate is not a number here.
                for shift in 0..k {
                    let j = (i + shift) % k;
                    let value = if shift <= objective.n_shifts(k) { energy(times[j], x) } else { f64::NAN };
                    energies[i * k + j] = STEEPNESS * value;
                }
            }
            let all = |of: &dyn Fn(f64) -> f64| times.iter().map(|&t| of(t)).collect::<Vec<f64>>();
            let [deviations, scales] = [all(&|t| noise.deviation(t)), all(&|t| noise.scale(t))];
            let [diffusions, drifts] = [all(&|t| noise.diffusion(t)), all(&|t| noise.drift(t))];
            let zeros = vec![0.0; k * size];
            let data = Point {
                degrees_of_freedom: space.degrees_of_freedom(),
                times,
                deviations: &deviations,
                scales: &scales,
                diffusions: &diffusions,
                drifts: &drifts,
                variances: &zeros[..k],
                n_data: objective.coupling().n_data(k),
                positions: x,
                noise: &zeros,
                scores: &[],
                displacements: &[],
                progress: &[],
                gradients: &gradients,
                energies: &energies,
                of_state: &[],
                mirrored: &[],
                offsets: &zeros[..k],
            };
            let (mut v, mut e, mut none) = (zeros.clone(), vec![0.0; k * k], vec![0.0; k]);
            let cotangent = &mut Cotangent {
                gradients: &mut v,
                energies: &mut e,
                mirrored: &mut [],
                of_state: &mut [],
                offsets: &mut none,
            };
            let loss = objective.add(&data, 1.0, cotangent);

            let (t, g, clock) = (times[0], deviations[0], deviations[0].powi(2) / diffusions[0]);
            let middle: Vec<f64> = match objective.trace {
                Trace::Weak => (0..size).map(|i| 0.5 * (x[i] + x[size + i])).collect(),
                _ => x[..size].to_vec(),
            };
            let (mut u, mut gradient, mut rate) = ([0.0], vec![0.0; size], [0.0]);
            path.energies_and_gradients(&[t], &middle, &mut u, &mut gradient).unwrap();
            path.lambda_derivatives(&[t], &middle, &mut rate).unwrap();
            let later = times[if objective.trace == Trace::Weak { 4 } else { 1 }];
            let difference = (energy(later, &middle) - u[0]) / (later - t) - rate[0];
            let square: f64 = gradient.iter().map(|u| u * u).sum();
            let residual = (STEEPNESS - 1.0) * (0.5 * g * g * STEEPNESS * square + clock * drifts[0] * d)
                + STEEPNESS * clock * difference;
            [loss, residual * residual / d]
        };
        (0..n_points).map(of).collect()
    }

    const SPACES: [Space; 2] = [Space::Euclidean { dimension: 3 }, Space::Centered { n_particles: 3 }];

    fn of(trace: Trace) -> FokkerPlanck {
        FokkerPlanck { trace, epsilon: None }
    }

    #[test]
    fn the_residual_of_all_axes_is_that_of_a_known_energy() {
        for space in SPACES {
            for [loss, exact] in losses(&of(Trace::Exact), space, 300) {
                // ε² of fourth derivatives.
                let error = loss.sqrt() - exact.sqrt();
                assert!(error.abs() < 1e-3, "{space:?}: {loss} {exact}");
            }
        }
        // In one dimension any direction is all of them.
        let line = Space::Euclidean { dimension: 1 };
        for [loss, exact] in losses(&of(Trace::Hutchinson), line, 300) {
            assert!((loss.sqrt() - exact.sqrt()).abs() < 1e-3, "{loss} {exact}");
        }
    }

    /// The mean of R(ξ₁) R(ξ₂) − R², within four standard errors and the bias of twins that are ε apart.
    #[test]
    fn the_product_of_two_probes_is_the_square_in_the_mean() {
        for space in SPACES {
            for (trace, bias) in [(Trace::Weak, 3e-3), (Trace::Hutchinson, 1e-3)] {
                let n = 20_000;
                let pairs = losses(&of(trace), space, n);
                let mean = |of: &dyn Fn(&[f64; 2]) -> f64| pairs.iter().map(of).sum::<f64>() / n as f64;
                let error = mean(&|[loss, exact]| loss - exact);
                let spread = mean(&|[loss, exact]| (loss - exact - error).powi(2)).sqrt();
                let size = mean(&|[_, exact]| *exact);
                let tolerance = 4.0 * spread / (n as f64).sqrt() + bias * size;
                assert!(error.abs() < tolerance, "{space:?} {trace:?}: {error} {spread} {size}");
            }
        }
    }

    /// A network for vectors with weights far from their start.
    fn vectors(dimension: usize) -> EnergyModel {
        let architecture = Architecture::of_vectors(dimension, Noise::default());
        let table = "kind = 'vector'\nhidden = [64, 64]".parse().unwrap();
        let network = NETWORKS.build("network", table, &()).unwrap();
        let frames = vec![0.0; dimension];
        let data = TrainingData::of_frames(architecture.space, &frames);
        let streams = Streams::new(4);
        let mut model = EnergyModel::initial(&*network, architecture, 1.0, &data, &streams).unwrap();
        let mut z = vec![0.0; model.program.n_parameters()];
        crate::random::fill_normal(&mut streams.stream(Purpose::Weights, 1 << 20), &mut z);
        let moved: Vec<f32> =
            model.weights().values().iter().zip(&z).map(|(w, z)| w + 0.1 * *z as f32).collect();
        model.set_weights(&moved).unwrap();
        model
    }

    /// Root mean square of g² (Δ_ε u − Δu)/d of an energy in f32, with Δ along the same directions in f64 by twins 10⁻³ g apart.
    fn error_of_step(single: &EnergyModel, double: &EnergyModel, trace: Trace, epsilon: f64) -> f64 {
        let space = single.space();
        let estimate = |model: &EnergyModel, epsilon: f64| -> Vec<f64> {
            let objective = FokkerPlanck { trace, epsilon: Some(epsilon) };
            let batch = batch(&objective, space, model.noise(), 200);
            let (k, size) = (batch.n_times, space.dimension());
            let (mut u, mut gradients) = (vec![0.0; batch.times.len()], vec![0.0; batch.x.len()]);
            model.energies_and_gradients(&batch.times, &batch.x, &mut u, &mut gradients).unwrap();
            let points = batch.x.chunks_exact(k * size).zip(gradients.chunks_exact(k * size));
            let of = |(x, gradients): (&[f64], &[f64])| -> f64 {
                let pair = |idx: usize| -> f64 {
                    let (plus, minus) = (2 * idx * size, (2 * idx + 1) * size);
                    let along = |i: usize| {
                        (x[plus + i] - x[minus + i]) * (gradients[plus + i] - gradients[minus + i])
                    };
                    (0..size).map(along).sum()
                };
                let last = if trace == Trace::Exact { k / 2 } else { 2 };
                (1..last).map(pair).sum::<f64>()
                    / (4.0 * epsilon * epsilon * space.degrees_of_freedom() as f64)
            };
            points.map(of).collect()
        };
        let (found, exact) = (estimate(single, epsilon), estimate(double, 1e-3));
        let sum: f64 = found.iter().zip(&exact).map(|(found, exact)| (found - exact).powi(2)).sum();
        (sum / found.len() as f64).sqrt()
    }

    /// At the default step; twins ten times as far apart and twenty times as close are worse.
    #[test]
    fn steps_are_between_rounding_and_fourth_derivatives() {
        let beads = chain(50);
        let models: [&dyn Fn() -> EnergyModel; 2] = [&|| vectors(2), &|| model(&beads, true)];
        for make in models {
            let (single, double) = (make(), make().on(&Compute::cpu().in_f64()).unwrap());
            for (trace, tolerance) in [(Trace::Hutchinson, 3e-4), (Trace::Exact, 1e-4)] {
                let default = of(trace).epsilon();
                let [far, here, close] =
                    [10.0, 1.0, 0.05].map(|k| error_of_step(&single, &double, trace, k * default));
                assert!(here < tolerance && far > 4.0 * here && close > 4.0 * here, "{far} {here} {close}");
            }
        }
    }
}
