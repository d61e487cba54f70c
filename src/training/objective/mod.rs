//! What training minimises; one file each.
//!
//! An objective looks at one data point at K diffusion times: the noised conformations x_1..x_K with
//! their noise, ∂u/∂x at (x_k, t_k), and the energies u(x_k, t_j). It returns its loss and the
//! derivatives of the loss with respect to these, from which the executor makes the gradient of the
//! parameters: a direction v for v·∇ₓu(x_k, t_k) and a weight e for each u(x_k, t_j).

pub mod denoising_score_matching;
pub mod diffusive_classification;
pub mod mirror_classification;
pub mod target_score_matching;
pub mod velocity_matching;

use crate::registry::{Registry, entry};

/// Every objective that a configuration can name.
pub static OBJECTIVES: Registry<dyn Objective, ()> = Registry::new(
    "objective",
    &[
        entry::<denoising_score_matching::DenoisingScoreMatching, _, _>("denoising_score_matching"),
        entry::<diffusive_classification::DiffusiveClassification, _, _>("diffusive_classification"),
        entry::<mirror_classification::MirrorClassification, _, _>("mirror_classification"),
        entry::<target_score_matching::TargetScoreMatching, _, _>("target_score_matching"),
        entry::<velocity_matching::VelocityMatching, _, _>(velocity_matching::NAME),
    ],
);

/// A data point at K diffusion times.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// 3n − 3.
    pub degrees_of_freedom: usize,
    /// t_k, K of them.
    pub times: &'a [f64],
    /// g(t_k).
    pub deviations: &'a [f64],
    /// The scale of the end that x_k is nearer to: a(t_k), or b(t_k) where that is larger.
    pub scales: &'a [f64],
    /// β(t_k), the squared diffusion coefficient of the noising process.
    pub diffusions: &'a [f64],
    /// z_k with x_k = a x₀ + g z_k, `[k][3n]`.
    pub noise: &'a [f64],
    /// Conditional scores of the data end, ∂ log p/∂x₀ / a(t_k), `[k][3n]`: empty where forces are not known.
    pub scores: &'a [f64],
    /// x₁ − x₀ − 2 b x_k/c² of the two ends, `[k][3n]`: empty where there is one.
    pub displacements: &'a [f64],
    /// ∂u/∂x at (x_k, t_k), `[k][3n]`; empty when no objective asks for it.
    pub gradients: &'a [f64],
    /// u(x_k, t_j) at `k * K + j`; only the diagonal is set when no objective asks for more.
    pub energies: &'a [f64],
    /// u(−x_k, t_k) of the mirror images, K of them; empty when no objective asks for them.
    pub mirrored: &'a [f64],
    /// Free offsets f_j of the log-densities at t_j, K of them; zero without a grid of levels.
    pub offsets: &'a [f64],
}

/// ∂loss/∂ of what a [`Point`] carries; contributions are added.
#[derive(Debug)]
pub struct Cotangent<'a> {
    /// ∂loss/∂(∂u/∂x), `[k][3n]`.
    pub gradients: &'a mut [f64],
    /// ∂loss/∂u(x_k, t_j) at `k * K + j`.
    pub energies: &'a mut [f64],
    /// ∂loss/∂u(−x_k, t_k).
    pub mirrored: &'a mut [f64],
    /// ∂loss/∂f_j.
    pub offsets: &'a mut [f64],
}

/// A loss per data point.
pub trait Objective: Send + Sync {
    /// The name in the registry and in `loss.csv`.
    fn name(&self) -> &'static str;

    /// Does it read ∂u/∂x?
    fn needs_gradients(&self) -> bool;

    /// Does it read energies at other times than the conformation's own?
    fn needs_cross_energies(&self) -> bool;

    /// Does it read energies of mirror images?
    fn needs_mirror_images(&self) -> bool {
        false
    }

    /// Does it read the forces of the training frames?
    fn needs_scores(&self) -> bool {
        false
    }

    /// Does it read displacements between two ensembles?
    fn needs_displacements(&self) -> bool {
        false
    }

    /// The loss of one data point; adds `weight` times its derivatives.
    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    /// Derivatives of every objective are finite differences of its loss.
    #[test]
    fn cotangents_are_derivatives() {
        let (k, n) = (3, 12);
        let mut rng = Streams::new(5).stream(Purpose::Walker, 0);
        let mut normal = |len: usize| {
            let mut buffer = vec![0.0; len];
            fill_normal(&mut rng, &mut buffer);
            buffer
        };
        let (noise, gradients, energies, offsets) = (normal(k * n), normal(k * n), normal(k * k), normal(k));
        let (scores, displacements, mirrored) = (normal(k * n), normal(k * n), normal(k));
        let scales = [0.9, 0.8, 0.4];
        let (times, deviations, diffusions) = ([0.01, 0.3, 0.7], [0.1, 0.5, 0.9], [0.3, 6.0, 14.0]);
        for entry in OBJECTIVES.entries {
            let mut table: toml::Table = entry.example.parse().unwrap();
            table.insert("kind".into(), entry.name.into());
            let objective = OBJECTIVES.build("objective", table, &()).unwrap();
            let loss = |[gradients, energies, offsets, mirrored]: [&[f64]; 4],
                        out: Option<[&mut [f64]; 4]>| {
                let point = Point {
                    degrees_of_freedom: n - 3,
                    times: &times,
                    deviations: &deviations,
                    scales: &scales,
                    diffusions: &diffusions,
                    noise: &noise,
                    scores: &scores,
                    displacements: &displacements,
                    gradients,
                    energies,
                    mirrored,
                    offsets,
                };
                let [mut a, mut b, mut c, mut d] = [k * n, k * k, k, k].map(|n| vec![0.0; n]);
                let out = out.unwrap_or([&mut a, &mut b, &mut c, &mut d]);
                let [gradients, energies, offsets, mirrored] = out;
                objective.add(&point, 1.0, &mut Cotangent { gradients, energies, mirrored, offsets })
            };
            let [mut v, mut e, mut f, mut m] = [k * n, k * k, k, k].map(|n| vec![0.0; n]);
            let all: [&[f64]; 4] = [&gradients, &energies, &offsets, &mirrored];
            loss(all, Some([&mut v, &mut e, &mut f, &mut m]));
            let h = 1e-5;
            let check = |which: usize, analytic: &[f64], base: &[f64]| {
                for idx in 0..base.len() {
                    let at = |step: f64| {
                        let mut moved = base.to_vec();
                        moved[idx] += step;
                        let mut inputs = all;
                        inputs[which] = &moved;
                        loss(inputs, None)
                    };
                    let difference = (at(h) - at(-h)) / (2.0 * h);
                    assert!((difference - analytic[idx]).abs() < 1e-8, "{} {which} {idx}", entry.name);
                }
            };
            check(0, &v, &gradients);
            check(1, &e, &energies);
            check(2, &f, &offsets);
            check(3, &m, &mirrored);
        }
    }
}
