//! What training minimises; one file each.
//!
//! An objective looks at one data point at K diffusion times: the noised conformations x_1..x_K with
//! their noise, ∂u/∂x at (x_k, t_k), and the energies u(x_k, t_j). It returns its loss and the
//! derivatives of the loss with respect to these, from which the executor makes the gradient of the
//! parameters: a direction v for v·∇ₓu(x_k, t_k) and a weight e for each u(x_k, t_j).

pub mod conditional_noise_contrastive;
pub mod contrastive_divergence;
pub mod denoising_score_matching;
pub mod diffusive_classification;
pub mod energy_matching;
pub mod equilibrium_matching;
pub mod fokker_planck;
pub mod maximum_likelihood;
pub mod mirror_classification;
pub mod noise_contrastive;
pub mod persistent_contrastive_divergence;
pub mod radon_nikodym;
pub mod recovery_likelihood;
pub mod state_classification;
pub mod target_score_matching;
pub mod time_score_matching;
pub mod velocity_matching;

use super::times::Coupling;
use crate::registry::{Registry, entry};

/// Every objective that a configuration can name.
pub static OBJECTIVES: Registry<dyn Objective, ()> = Registry::new(
    "objective",
    &[
        entry::<conditional_noise_contrastive::ConditionalNoiseContrastive, _, _>(
            "conditional_noise_contrastive",
        ),
        entry::<contrastive_divergence::ContrastiveDivergence, _, _>("contrastive_divergence"),
        entry::<denoising_score_matching::DenoisingScoreMatching, _, _>("denoising_score_matching"),
        entry::<diffusive_classification::DiffusiveClassification, _, _>("diffusive_classification"),
        entry::<energy_matching::EnergyMatching, _, _>("energy_matching"),
        entry::<equilibrium_matching::EquilibriumMatching, _, _>("equilibrium_matching"),
        entry::<fokker_planck::FokkerPlanck, _, _>("fokker_planck"),
        entry::<maximum_likelihood::MaximumLikelihood, _, _>("maximum_likelihood"),
        entry::<mirror_classification::MirrorClassification, _, _>("mirror_classification"),
        entry::<noise_contrastive::NoiseContrastive, _, _>("noise_contrastive"),
        entry::<persistent_contrastive_divergence::PersistentContrastiveDivergence, _, _>(
            "persistent_contrastive_divergence",
        ),
        entry::<radon_nikodym::RadonNikodym, _, _>("radon_nikodym"),
        entry::<recovery_likelihood::RecoveryLikelihood, _, _>("recovery_likelihood"),
        entry::<state_classification::StateClassification, _, _>("state_classification"),
        entry::<target_score_matching::TargetScoreMatching, _, _>("target_score_matching"),
        entry::<time_score_matching::TimeScoreMatching, _, _>("time_score_matching"),
        entry::<velocity_matching::VelocityMatching, _, _>(velocity_matching::NAME),
    ],
);

/// A data point at K diffusion times.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// 3n − 3.
    pub degrees_of_freedom: usize,
    /// t_k, K of them, with points that are displaced from noised data.
    pub times: &'a [f64],
    /// g(t_k).
    pub deviations: &'a [f64],
    /// The scale of the end that x_k is nearer to: a(t_k), or b(t_k) where that is larger.
    pub scales: &'a [f64],
    /// β(t_k), the squared diffusion coefficient of the noising process.
    pub diffusions: &'a [f64],
    /// f(t_k) of dX = f X dt + √β dW.
    pub drifts: &'a [f64],
    /// c² = a² + b² + g² at t_k: the variance per degree of freedom of x_k for data of unit variance.
    pub variances: &'a [f64],
    /// How many of the K points are noised data; these come first ([`Coupling`]).
    pub n_data: usize,
    /// x_k, `[k][3n]`.
    pub positions: &'a [f64],
    /// z_k with x_k = a x₀ + g z_k, `[k][3n]`.
    pub noise: &'a [f64],
    /// Conditional scores of the data end, ∂ log p/∂x₀ / a(t_k), `[k][3n]`: empty where forces are not known.
    pub scores: &'a [f64],
    /// x₁ − x₀ − 2 b x_k/c² of the two ends, `[k][3n]`; on lines x₀ − z; empty where there is one end and no line.
    pub displacements: &'a [f64],
    /// l of (1 − l) z + l x₀, K of them: empty where points are not on lines.
    pub progress: &'a [f64],
    /// ∂u/∂x at (x_k, t_k), `[k][3n]`; empty when no objective asks for it.
    pub gradients: &'a [f64],
    /// u(x_k, t_j) at `k * K + j`; only the diagonal is set when no objective asks for more.
    pub energies: &'a [f64],
    /// u(−x_k, t_k) of the mirror images, K of them; empty when no objective asks for them.
    pub mirrored: &'a [f64],
    /// u(x_k, t_k, y) with the state y of the data point, K of them; empty when no objective asks for them.
    pub of_state: &'a [f64],
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
    /// ∂loss/∂u(x_k, t_k, y).
    pub of_state: &'a mut [f64],
    /// ∂loss/∂f_j.
    pub offsets: &'a mut [f64],
}

/// What an objective makes of u_θ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Learns {
    /// An energy at every time.
    #[default]
    Path,
    /// An energy at the data end alone.
    DataEnd,
    /// A field that generates, and no energy.
    Generator,
    /// Part of an energy, the rest of which another objective must train.
    Beside,
    /// The data end of an energy that earlier stages have trained at every time.
    Refinement,
}

/// A loss per data point.
pub trait Objective: Send + Sync {
    /// The name in the registry and in `loss.csv`.
    fn name(&self) -> &'static str;

    /// Does it read ∂u/∂x?
    fn needs_gradients(&self) -> bool;

    /// Does it read energies at other times than the conformation's own?
    fn needs_cross_energies(&self) -> bool;

    /// How many of the points after its own, in turn, lend every point their times: all, or those it reads u(x_k, t_j) at.
    fn n_shifts(&self, n_points: usize) -> usize {
        if self.needs_cross_energies() { n_points - 1 } else { 0 }
    }

    /// How the K points must belong together.
    fn coupling(&self) -> Coupling {
        Coupling::Independent
    }

    /// What it makes of u_θ.
    fn learns(&self) -> Learns {
        Learns::Path
    }

    /// Is it about a process that ends in noise, and not about one between two ensembles?
    fn needs_noise_end(&self) -> bool {
        false
    }

    /// Does its minimum have one constant for all times, and so the weights of modes?
    fn ties_levels(&self) -> bool {
        false
    }

    /// Are slopes of the loss with respect to ∂u/∂x left out on purpose?
    fn holds_gradients(&self) -> bool {
        false
    }

    /// Does it read energies of mirror images?
    fn needs_mirror_images(&self) -> bool {
        false
    }

    /// Does it read energies of the state of the data point?
    fn needs_states(&self) -> bool {
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

/// log(1 + eˣ) and its slope, without overflow.
fn softplus(x: f64) -> (f64, f64) {
    (x.max(0.0) + (-x.abs()).exp().ln_1p(), 1.0 / (1.0 + (-x).exp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::Space;
    use crate::random::{Purpose, Streams, fill_normal};

    /// Derivatives of every objective are finite differences of its loss.
    #[test]
    fn cotangents_are_derivatives() {
        let (most, n) = (26, 12);
        let space = Space::Centered { n_particles: 4 };
        let mut rng = Streams::new(5).stream(Purpose::Walker, 0);
        let mut normal = |len: usize| {
            let mut buffer = vec![0.0; len];
            fill_normal(&mut rng, &mut buffer);
            buffer
        };
        let [noise, gradients, scores, displacements, positions] = [(); 5].map(|()| normal(most * n));
        let energies = normal(most * most);
        let [offsets, mirrored, of_state] = [(); 3].map(|()| normal(most));
        // The first three are distinct, and so are the later ones, which are closer.
        let time = |k: usize| [0.01, 0.3, 0.7].get(k).copied().unwrap_or(0.7 + 0.01 * k as f64);
        let times: Vec<f64> = (0..most).map(time).collect();
        let deviations: Vec<f64> = times.iter().map(|t| (0.2 + 0.7 * t).sqrt()).collect();
        let scales: Vec<f64> = deviations.iter().map(|g: &f64| (1.0 - g * g).sqrt()).collect();
        let progress: Vec<f64> = (0..most).map(|k| (0.9 + 0.3 * k as f64) % 1.0).collect();
        let diffusions: Vec<f64> = times.iter().map(|t| 0.1 + 19.9 * t).collect();
        let drifts: Vec<f64> = diffusions.iter().map(|diffusion| -0.5 * diffusion).collect();
        let variances = vec![1.0; most];
        let named = OBJECTIVES.entries.iter().map(|entry| (entry.name, entry.example.to_string()));
        let generators = ["brier", "kl", "least_squares", "itakura_saito"]
            .map(|generator| ("diffusive_classification", format!("generator = '{generator}'")));
        // Steps of differences must be small against ε.
        let traces = ["weak", "hutchinson", "exact"].map(|trace| format!("trace = '{trace}'\nepsilon = 0.1"));
        let traces = traces.map(|settings| ("fokker_planck", settings));
        for (name, settings) in named.chain(generators).chain(traces) {
            let mut table: toml::Table = settings.parse().unwrap();
            table.insert("kind".into(), name.into());
            let objective = OBJECTIVES.build("objective", table, &()).unwrap();
            let coupling = objective.coupling();
            let k = coupling.n_points(coupling.n_times().unwrap_or(3), space);
            let loss = |[gradients, energies, offsets, mirrored, of_state]: [&[f64]; 5],
                        out: Option<[&mut [f64]; 5]>| {
                let point = Point {
                    degrees_of_freedom: n - 3,
                    times: &times[..k],
                    deviations: &deviations[..k],
                    scales: &scales[..k],
                    diffusions: &diffusions[..k],
                    drifts: &drifts[..k],
                    variances: &variances[..k],
                    n_data: coupling.n_data(k),
                    positions: &positions[..k * n],
                    noise: &noise[..k * n],
                    scores: &scores[..k * n],
                    displacements: &displacements[..k * n],
                    progress: &progress[..k],
                    gradients,
                    energies,
                    mirrored,
                    of_state,
                    offsets,
                };
                let mut unused = [k * n, k * k, k, k, k].map(|n| vec![0.0; n]);
                let out = out.unwrap_or(unused.each_mut().map(Vec::as_mut_slice));
                let [gradients, energies, offsets, mirrored, of_state] = out;
                objective.add(
                    &point,
                    1.0,
                    &mut Cotangent { gradients, energies, mirrored, of_state, offsets },
                )
            };
            let [mut v, mut e, mut f, mut m, mut s] = [k * n, k * k, k, k, k].map(|n| vec![0.0; n]);
            let all: [&[f64]; 5] =
                [&gradients[..k * n], &energies[..k * k], &offsets[..k], &mirrored[..k], &of_state[..k]];
            loss(all, Some([&mut v, &mut e, &mut f, &mut m, &mut s]));
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
                    let tolerance = 1e-6 * (1.0 + difference.abs());
                    let place = format!("{name} {settings} {which} {idx}");
                    assert!(
                        (difference - analytic[idx]).abs() < tolerance,
                        "{place}: {difference} {}",
                        analytic[idx]
                    );
                }
            };
            if objective.holds_gradients() {
                assert!(v.iter().all(|v| *v == 0.0));
            } else {
                check(0, &v, all[0]);
            }
            check(1, &e, all[1]);
            check(2, &f, all[2]);
            check(3, &m, all[3]);
            check(4, &s, all[4]);
            assert_eq!(objective.needs_states(), s.iter().any(|s| *s != 0.0), "{name}");
        }
    }
}
