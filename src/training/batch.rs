//! A training batch: data points, each noised at its own diffusion times.

use rand::Rng as _;
use rayon::prelude::*;

use super::times::{Coupling, TimeSettings, Trace};
use crate::model::data::{DataPoints, GROUP, TrainingData};
use crate::potential::{Noise, Space};
use crate::random::{Purpose, Rng, Streams};

/// Data points in reduced length, each at K times.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Data points.
    pub n_points: usize,
    /// K, with points that are displaced from noised data ([`Coupling::n_points`]).
    pub n_times: usize,
    /// Noised conformations, `[point][k][bead][xyz]`.
    pub x: Vec<f64>,
    /// Their noise.
    pub noise: Vec<f64>,
    /// ∂ log p/∂x at the end that x_t is nearer to, divided by that end's scale, `[point][k][bead][xyz]`: its mean
    /// over the data points that could have become x_t is the score there. Empty where forces are not known.
    pub scores: Vec<f64>,
    /// x₁ − x₀ − 2 b x_t/c² of the two ends, `[point][k][bead][xyz]`; on lines x₀ − z; empty where there is one end and no line.
    pub displacements: Vec<f64>,
    /// How far along its line from noise to data each conformation is, `[point][k]`; empty where they are not on lines.
    pub progress: Vec<f64>,
    /// Their times, `[point][k]`.
    pub times: Vec<f64>,
    /// Their levels, where times lie on a grid.
    pub levels: Vec<usize>,
    /// The state of each data point; empty where unknown.
    pub states: Vec<usize>,
}

impl Batch {
    /// Draws the batch of one step; the same step gives the same batch whatever came before.
    #[expect(clippy::too_many_arguments, reason = "each of them is a different thing")]
    pub fn draw(
        &mut self,
        data: &TrainingData,
        noise: &Noise,
        times: &TimeSettings,
        coupling: Coupling,
        n_points: usize,
        streams: &Streams,
        step: u64,
    ) {
        if let Coupling::Line(chains) = coupling {
            return self.draw_lines(data, noise, chains.is_some(), n_points, streams, step);
        }
        self.progress.clear();
        let (space, size) = (data.space, data.space.dimension());
        let k = coupling.n_points(times.n_times, space);
        (self.n_points, self.n_times) = (n_points, k);
        self.x.resize(n_points * k * size, 0.0);
        self.noise.resize(n_points * k * size, 0.0);
        self.scores.resize(if data.has_scores() { n_points * k * size } else { 0 }, 0.0);
        self.displacements.resize(if data.second.is_some() { n_points * k * size } else { 0 }, 0.0);
        self.times.resize(n_points * k, 0.0);
        self.levels.resize(n_points * k, 0);
        self.states.resize(if data.first.states.is_empty() { 0 } else { n_points }, 0);
        let n_groups = n_points.div_ceil(GROUP);
        // Without any, every group gets an empty slice.
        let in_groups = |values| {
            let mut groups: Vec<&mut [f64]> = <[f64]>::chunks_mut(values, GROUP * k * size).collect();
            groups.resize_with(n_groups, Default::default);
            groups
        };
        let (scores, displacements) = (in_groups(&mut self.scores), in_groups(&mut self.displacements));
        let mut states: Vec<&mut [usize]> = self.states.chunks_mut(GROUP).collect();
        states.resize_with(n_groups, Default::default);
        let groups = self
            .x
            .par_chunks_mut(GROUP * k * size)
            .zip(self.noise.par_chunks_mut(GROUP * k * size))
            .zip(self.times.par_chunks_mut(GROUP * k).zip(self.levels.par_chunks_mut(GROUP * k)))
            .zip(scores.into_par_iter().zip(displacements).zip(states));
        groups.enumerate().for_each(|(group, (((x, z), (t, levels)), ((scores, displacements), states)))| {
            let mut rng = streams.stream(Purpose::Batch, step * n_groups as u64 + group as u64);
            let mut ends = DataPoints::default();
            if data.second.is_some() {
                data.draw(t.len() / k, &mut rng, &mut ends);
            }
            for point in 0..t.len() / k {
                let clock = point * k..(point + 1) * k;
                let quantile = ((group * GROUP + point) as f64 + rng.random::<f64>()) / n_points as f64;
                let drawn = clock.start..clock.start + times.n_times;
                times.draw(noise, quantile, &mut rng, &mut t[drawn.clone()], &mut levels[drawn]);
                coupling.arrange(noise, &mut t[clock.clone()]);
                let end = if data.second.is_some() {
                    point * size..(point + 1) * size
                } else {
                    data.draw(1, &mut rng, &mut ends);
                    0..size
                };
                if let Some(state) = states.get_mut(point) {
                    *state = ends.states[end.start / size];
                }
                for idx in clock.clone() {
                    let at = idx * size;
                    let (before, here) = z.split_at_mut(at);
                    let (before, here) = (&before[clock.start * size..], &mut here[..size]);
                    if coupling.is_displaced(idx - clock.start) {
                        displace(coupling, space, &mut rng, before, here);
                    } else {
                        space.fill_normal(&mut rng, here);
                        couple(coupling, noise, &t[clock.start..=idx], before, here);
                    }
                    let t = t[idx];
                    let (a, b, g) = (noise.scale(t), noise.partner_scale(t), noise.deviation(t));
                    let x = &mut x[at..at + size];
                    if idx > clock.start && coupling == Coupling::Gaussian {
                        let width = noise.total_variance(t).sqrt();
                        x.iter_mut().zip(&z[at..at + size]).for_each(|(x, z)| *x = width * z);
                        continue;
                    }
                    let rest = ends.first[end.clone()].iter().zip(&z[at..at + size]);
                    x.iter_mut().zip(rest).for_each(|(x, (x0, z))| *x = a * x0 + g * z);
                    if let Some(second) = ends.second.get(end.clone()) {
                        x.iter_mut().zip(second).for_each(|(x, x1)| *x += b * x1);
                    }
                    if !displacements.is_empty() {
                        let of_x = 2.0 * b / noise.total_variance(t);
                        let pairs = ends.first[end.clone()].iter().zip(&ends.second[end.clone()]);
                        let out = displacements[at..at + size].iter_mut().zip(pairs);
                        out.zip(&*x).for_each(|((out, (x0, x1)), x)| *out = x1 - x0 - of_x * x);
                    }
                    if !scores.is_empty() {
                        let (near, scale) =
                            if b > a { (&ends.second_scores, b) } else { (&ends.first_scores, a) };
                        let near = near[end.clone()].iter();
                        scores[at..at + size].iter_mut().zip(near).for_each(|(s, near)| *s = near / scale);
                    }
                }
            }
        });
    }
}

/// Makes the fresh noise of a point, the last of `times`, what the coupling wants; `before` holds the noise of the
/// points before it.
fn couple(coupling: Coupling, noise: &Noise, times: &[f64], before: &[f64], z: &mut [f64]) {
    let (size, k) = (z.len(), times.len() - 1);
    if k == 0 {
        return;
    }
    let first = &before[..size];
    match coupling {
        Coupling::Independent | Coupling::Gaussian | Coupling::Line(_) => {}
        Coupling::Twins { trace: Trace::Hutchinson | Trace::Exact, .. } => {}
        // Chains start at the data point; a walker takes the place of the other.
        Coupling::Chains(_) | Coupling::Equilibrium { .. } => z.copy_from_slice(first),
        Coupling::Transition => {
            let (earlier, t) = (times[k - 1], times[k]);
            let (g, g_before) = (noise.deviation(t), noise.deviation(earlier));
            let kept = noise.scale(t) / noise.scale(earlier) * g_before / g;
            let drawn = (1.0 - kept * kept).max(0.0).sqrt();
            let last = &before[(k - 1) * size..];
            z.iter_mut().zip(last).for_each(|(z, before)| *z = kept * before + drawn * *z);
        }
        Coupling::Perturbed(size_of_step) => {
            let width = noise.total_variance(times[0]).sqrt() / noise.deviation(times[0]);
            let step = size_of_step * width / (size as f64).sqrt();
            z.iter_mut().zip(first).for_each(|(z, first)| *z = first + step * *z);
        }
        // Points 0 and 1 are z ± ε ξ, as 2 and 3; each is normal as a whole.
        Coupling::Twins { trace: Trace::Weak, epsilon } => {
            let norm = (1.0 + epsilon * epsilon).sqrt();
            match k {
                // Point 0 is z + ε ξ: of the two, given their sum, the difference is drawn here.
                1 => twin(first, epsilon, norm, z),
                2 => {
                    // The middle of the first pair, displaced anew.
                    let second = &before[size..2 * size];
                    for ((z, a), b) in z.iter_mut().zip(first).zip(second) {
                        *z = 0.5 * (a + b) + epsilon / norm * *z;
                    }
                }
                3 => {
                    let (second, third) = (&before[size..2 * size], &before[2 * size..3 * size]);
                    for (((z, a), b), c) in z.iter_mut().zip(first).zip(second).zip(third) {
                        *z = a + b - c;
                    }
                }
                _ => {}
            }
        }
    }
}

/// The noise of a displaced point: pairs z ± ε ξ about that of the first point, the noise of the points before it.
fn displace(coupling: Coupling, space: Space, rng: &mut Rng, before: &[f64], z: &mut [f64]) {
    let Coupling::Twins { trace, epsilon } = coupling else { return };
    let size = z.len();
    let (first, k) = (&before[..size], before.len() / size);
    if k % 2 == 1 {
        let twin = &before[(k - 1) * size..];
        z.iter_mut().zip(first).zip(twin).for_each(|((z, first), twin)| *z = 2.0 * first - twin);
        return;
    }
    z.fill(0.0);
    match trace {
        Trace::Exact => z[(k - 2) / 2] = 1.0,
        _ => z.iter_mut().for_each(|z| *z = if rng.random() { 1.0 } else { -1.0 }),
    }
    space.project(z);
    z.iter_mut().zip(first).for_each(|(z, first)| *z = first + epsilon * *z);
}

/// z₋ of a pair (z ± ε ξ)/√(1 + ε²) given z₊: regression on z₊, and what it leaves open.
fn twin(plus: &[f64], epsilon: f64, norm: f64, minus: &mut [f64]) {
    let correlation = (1.0 - epsilon * epsilon) / (norm * norm);
    let open = (1.0 - correlation * correlation).sqrt();
    minus.iter_mut().zip(plus).for_each(|(minus, plus)| *minus = correlation * plus + open * *minus);
}
