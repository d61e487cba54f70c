//! Estimates of the entropy of samples of one condition, with derivatives; constants are left out.

use nalgebra::DMatrix;
use rand::Rng as _;

use super::generator::Scale;
use super::perceptron::{Activations, Perceptron};
use super::step::Chunk;
use crate::potential::noise::softplus;
use crate::random::{Purpose, Rng, Streams, fill_normal};

/// (d/m) Σ_j log |f_j − f_k(j)| with k(j) the nearest of the other samples; adds `weight` times its derivatives to `slopes`.
pub(super) fn nearest_neighbour(d: usize, samples: &[f64], weight: f64, slopes: &mut [f64]) -> f64 {
    let n = samples.len() / d;
    let squared = |k: usize, l: usize| -> f64 {
        (0..d).map(|i| (samples[k * d + i] - samples[l * d + i]).powi(2)).sum::<f64>().max(1e-12)
    };
    let (mut sum, factor) = (0.0, d as f64 / n as f64);
    for k in 0..n {
        let others = (0..n).filter(|l| *l != k).map(|l| (squared(k, l), l));
        let Some((square, l)) = others.min_by(|a, b| a.0.total_cmp(&b.0)) else { continue };
        sum += 0.5 * factor * square.ln();
        for i in 0..d {
            let push = weight * factor * (samples[k * d + i] - samples[l * d + i]) / square;
            slopes[k * d + i] += push;
            slopes[l * d + i] -= push;
        }
    }
    sum
}

/// Distance of the latents of neighbouring samples.
const STEP: f64 = 0.03;
/// Below this determinant its logarithm goes on as a straight line, so that folds are driven out.
const LEAST_DETERMINANT: f64 = 0.02;

/// Latents in groups of d + 1: one, and its neighbours along each coordinate.
pub(super) fn neighbouring_latents(d: usize, latents: &mut [f64], rng: &mut Rng) {
    for group in latents.chunks_exact_mut((d + 1) * d) {
        let (first, rest) = group.split_at_mut(d);
        fill_normal(rng, first);
        // To either side, so that the neighbours as a whole are not displaced.
        let step = if rng.random::<bool>() { STEP } else { -STEP };
        for (axis, z) in rest.chunks_exact_mut(d).enumerate() {
            z.copy_from_slice(first);
            z[axis] += step;
        }
    }
}

/// ⟨log det ∂f/∂z⟩ over such groups, by finite differences; adds `weight` times its derivatives to `slopes`.
pub(super) fn log_jacobian(
    d: usize,
    latents: &[f64],
    samples: &[f64],
    weight: f64,
    slopes: &mut [f64],
) -> f64 {
    let size = (d + 1) * d;
    let n_groups = (samples.len() / size) as f64;
    let mut sum = 0.0;
    for ((z, f), slopes) in
        latents.chunks_exact(size).zip(samples.chunks_exact(size)).zip(slopes.chunks_exact_mut(size))
    {
        let step = z[d] - z[0];
        let jacobian = DMatrix::from_fn(d, d, |i, axis| (f[(axis + 1) * d + i] - f[i]) / step);
        let determinant = jacobian.determinant();
        let Some(inverse) = jacobian.try_inverse() else { continue };
        // ∂ log det/∂J = J⁻ᵀ; of the straight line, (det/least) J⁻ᵀ.
        let factor = if determinant > LEAST_DETERMINANT {
            sum += determinant.ln() / n_groups;
            1.0
        } else {
            let relative = determinant / LEAST_DETERMINANT;
            sum += (LEAST_DETERMINANT.ln() + relative - 1.0) / n_groups;
            relative
        };
        for axis in 0..d {
            for i in 0..d {
                let push = weight * factor * inverse[(axis, i)] / (step * n_groups);
                slopes[(axis + 1) * d + i] += push;
                slopes[i] -= push;
            }
        }
    }
    sum
}

/// T(f, z, x_{i+1}), which tells samples with their own latents from samples with those of another sample of the same
/// condition: E[−softplus(−T)] − E′[softplus(T)] ≤ twice their Jensen–Shannon divergence, less log 4.
pub(super) struct Discriminator {
    pub network: Perceptron,
}

/// Memory of a discriminator, with the derivatives of its loss.
#[derive(Default)]
pub(super) struct Contrast {
    activations: Option<Activations>,
    pub gradient: Vec<f32>,
    pub bound: f64,
}

impl Discriminator {
    pub fn initial(scale: &Scale, d: usize, hidden: usize, index: u64, streams: &Streams) -> Self {
        let mut rng = streams.stream(Purpose::Weights, index);
        Self { network: Perceptron::initial(2 * d + scale.n_rows(d), &[hidden, hidden], 1, &mut rng) }
    }

    /// The bound, mean over a chunk; adds `weight` times its derivatives with respect to samples, summed over conditions, to the
    /// slopes of the chunk, and its derivatives with respect to T, summed as well, to those of `contrast`.
    pub fn add(&self, scale: &Scale, chunk: &mut Chunk, weight: f64, contrast: &mut Contrast) {
        let (d, m) = (chunk.d, chunk.n_each);
        let n = chunk.samples.len() / d;
        let activations = contrast.activations.get_or_insert_with(|| self.network.activations(2 * n));
        contrast.gradient.resize(self.network.weights().len(), 0.0);
        let rows = activations.input_mut();
        let (vectors, rest) = rows.split_at_mut(2 * d * 2 * n);
        for lane in 0..2 * n {
            let sample = lane % n;
            // The latent of the next sample of the same condition in the second half.
            let of = if lane < n { sample } else { sample - sample % m + (sample + 1) % m };
            for i in 0..d {
                vectors[i * 2 * n + lane] = chunk.samples[sample * d + i] as f32;
                vectors[(d + i) * 2 * n + lane] = chunk.latents[of * d + i] as f32;
            }
        }
        for (idx, before) in chunk.before.chunks_exact(d).enumerate() {
            scale.describe(before, idx * m..(idx + 1) * m, 2 * n, rest);
            scale.describe(before, n + idx * m..n + (idx + 1) * m, 2 * n, rest);
        }
        self.network.forward(activations);
        let logits: Vec<f64> = activations.output().iter().map(|t| f64::from(*t)).collect();
        let slope = activations.slope_mut();
        for (lane, &t) in logits.iter().enumerate() {
            let is_own = lane < n;
            contrast.bound -= softplus(if is_own { -t } else { t }) / m as f64;
            let sigmoid = 1.0 / (1.0 + (-t).exp());
            slope[lane] = (if is_own { 1.0 - sigmoid } else { -sigmoid } / m as f64) as f32;
        }
        self.network.reverse(activations, &mut contrast.gradient);
        let slopes = activations.input_slope();
        for lane in 0..2 * n {
            for i in 0..d {
                chunk.slopes[lane % n * d + i] += weight * f64::from(slopes[i * 2 * n + lane]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(n: usize, stream: u64) -> Vec<f64> {
        let mut z = vec![0.0; n];
        fill_normal(&mut Streams::new(5).stream(Purpose::Walker, stream), &mut z);
        z
    }

    /// Kozachenko and Leonenko: H = d⟨log ρ⟩ + log V_d + log(n − 1) + γ, for N(0, s²) in d dimensions (d/2) log(2πe s²).
    #[test]
    fn the_entropy_of_a_gaussian_is_found_from_nearest_neighbours() {
        for (d, log_volume) in [(1, 2.0_f64.ln()), (2, std::f64::consts::PI.ln())] {
            for s in [0.3, 2.0] {
                let (n, repeats) = (64, 200);
                let found: f64 = (0..repeats)
                    .map(|stream| {
                        let x: Vec<f64> = normal(n * d, stream).iter().map(|z| s * z).collect();
                        nearest_neighbour(d, &x, 0.0, &mut vec![0.0; n * d]) / repeats as f64
                    })
                    .sum();
                let entropy = found + log_volume + ((n - 1) as f64).ln() + 0.577_215_66;
                let exact = 0.5 * d as f64 * (std::f64::consts::TAU * std::f64::consts::E * s * s).ln();
                assert!((entropy - exact).abs() < 0.05, "{d} {s}: {entropy} {exact}");
            }
        }
    }

    #[test]
    fn log_determinants_are_those_of_the_map() {
        let (d, n) = (3, 12);
        let mut z = vec![0.0; n * d];
        neighbouring_latents(d, &mut z, &mut Streams::new(1).stream(Purpose::Walker, 0));
        // A linear map with determinant 2 · 3 · 0.5 − 0 = 3.
        let f: Vec<f64> =
            z.chunks_exact(3).flat_map(|z| [2.0 * z[0] + z[2], 3.0 * z[1], 0.5 * z[2]]).collect();
        let found = log_jacobian(d, &z, &f, 0.0, &mut vec![0.0; n * d]);
        assert!((found - 3.0_f64.ln()).abs() < 1e-9, "{found}");
    }

    #[test]
    fn slopes_of_entropies_are_finite_differences() {
        let (d, n) = (2, 9);
        let mut z = vec![0.0; n * d];
        neighbouring_latents(d, &mut z, &mut Streams::new(2).stream(Purpose::Walker, 0));
        let f: Vec<f64> = z.chunks_exact(2).flat_map(|z| [z[0] + 0.3 * z[1].sin(), z[1] * 1.4]).collect();
        let independent = normal(n * d, 7);
        type Of<'a> = &'a dyn Fn(&[f64], &mut [f64]) -> f64;
        let cases: [(&[f64], Of); 2] = [
            (&independent, &|x, slopes| nearest_neighbour(d, x, 0.7, slopes)),
            (&f, &|x, slopes| log_jacobian(d, &z, x, 0.7, slopes)),
        ];
        for (x, of) in cases {
            let mut slopes = vec![0.0; n * d];
            of(x, &mut slopes);
            for idx in 0..n * d {
                let at = |shift: f64| {
                    let mut x = x.to_vec();
                    x[idx] += shift;
                    of(&x, &mut vec![0.0; n * d])
                };
                let expected = 0.7 * (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((slopes[idx] - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{idx}");
            }
        }
    }
}
