//! The gradient of objectives over a batch, on the fused executor.
//!
//! Energies at a conformation's own time need ∂u/∂x and so all passes; energies at the other times of a
//! data point need only value and gradient of the parameters. A chunk holds data points with all their
//! times, so that an objective finds everything of a point in one place.

use rayon::prelude::*;

use super::batch::Batch;
use super::objective::{Cotangent, Objective, Point};
use crate::model::fused::{Direction, Workspace};
use crate::model::{EnergyModel, LANES};
use crate::potential::PotentialPath as _;

/// An objective with its weight in the sum.
pub struct Weighted {
    /// The objective.
    pub objective: Box<dyn Objective>,
    /// Its weight.
    pub weight: f64,
}

/// Chunks are dealt to so many groups, each with its own sum, so that the order of summation does not
/// depend on the number of threads.
const N_GROUPS: usize = 8;

/// Memory of [`GradientEngine::evaluate`], kept between steps.
#[derive(Default)]
pub struct GradientEngine {
    groups: Vec<Group>,
}

#[derive(Default)]
struct Group {
    gradient: Vec<f32>,
    offset_gradient: Vec<f64>,
    losses: Vec<f64>,
    cross: Vec<Workspace>,
}

/// What one evaluation gives besides the gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Losses {
    /// Mean over data points of each objective, without its weight.
    pub by_objective: Vec<f64>,
    /// Derivative of the weighted sum with respect to the offsets of levels.
    pub offset_gradient: Vec<f64>,
}

impl GradientEngine {
    /// Mean loss over the batch of each objective, and the gradient of their weighted sum.
    pub fn evaluate(
        &mut self,
        model: &EnergyModel,
        batch: &Batch,
        objectives: &[Weighted],
        offsets: &[f64],
        gradient: &mut [f32],
    ) -> Losses {
        let k = batch.n_times;
        let points_per_chunk = LANES / k;
        let n_chunks = batch.n_points.div_ceil(points_per_chunk);
        self.groups.resize_with(N_GROUPS, Group::default);
        self.groups.par_iter_mut().enumerate().for_each(|(group_idx, group)| {
            group.gradient.clear();
            group.gradient.resize(model.program.n_parameters(), 0.0);
            group.offset_gradient.clear();
            group.offset_gradient.resize(offsets.len(), 0.0);
            group.losses.clear();
            group.losses.resize(objectives.len(), 0.0);
            for chunk in (n_chunks * group_idx / N_GROUPS)..(n_chunks * (group_idx + 1) / N_GROUPS) {
                let first = chunk * points_per_chunk;
                let last = (first + points_per_chunk).min(batch.n_points);
                group.add_chunk(model, batch, first..last, objectives, offsets);
            }
        });
        gradient.fill(0.0);
        let mut losses =
            Losses { by_objective: vec![0.0; objectives.len()], offset_gradient: vec![0.0; offsets.len()] };
        let n = batch.n_points as f64;
        for group in &self.groups {
            gradient.iter_mut().zip(&group.gradient).for_each(|(sum, part)| *sum += part);
            losses.by_objective.iter_mut().zip(&group.losses).for_each(|(sum, part)| *sum += part / n);
            let offsets = losses.offset_gradient.iter_mut().zip(&group.offset_gradient);
            offsets.for_each(|(sum, part)| *sum += part);
        }
        losses
    }
}

impl Group {
    fn add_chunk(
        &mut self,
        model: &EnergyModel,
        batch: &Batch,
        points: std::ops::Range<usize>,
        objectives: &[Weighted],
        offsets: &[f64],
    ) {
        let (k, size) = (batch.n_times, model.space().dimension());
        let d = model.degrees_of_freedom();
        let (first, n_lanes) = (points.start * k, points.len() * k);
        let x = &batch.x[first * size..][..n_lanes * size];
        let z = &batch.noise[first * size..][..n_lanes * size];
        let t = &batch.times[first..first + n_lanes];
        let levels = &batch.levels[first..first + n_lanes];
        let needs_gradients = objectives.iter().any(|o| o.objective.needs_gradients());
        let n_cross = if objectives.iter().any(|o| o.objective.needs_cross_energies()) { k - 1 } else { 0 };
        let (program, weights) = (&model.program, &model.weights);

        // Energies: at the own time in `own`, at the time `shift` places further in `cross[shift − 1]`.
        let mut own = model.take_workspace();
        model.load(&mut own, t, x);
        own.forward(program, weights);
        let gaussian = |lane: usize, t: f64| {
            let (stiffness, constant) = model.gaussian(t);
            let squares: f64 = x[lane * size..][..size].iter().map(|x| x * x).sum();
            0.5 * stiffness * squares + constant
        };
        let mut gradients = vec![];
        if needs_gradients {
            own.reverse(program, weights);
            gradients.resize(n_lanes * size, 0.0);
            model.unload_gradient(&own, t, x, &mut gradients);
        }
        while self.cross.len() < n_cross {
            self.cross.push(model.take_workspace());
        }
        let mut energies = vec![0.0; n_lanes * k];
        for lane in 0..n_lanes {
            energies[lane * k + lane % k] = gaussian(lane, t[lane]) + f64::from(own.energies()[lane]);
        }
        let partner = |lane: usize, shift: usize| lane - lane % k + (lane % k + shift) % k;
        for (shift, cross) in (1..=n_cross).zip(&mut self.cross) {
            let partner_times: Vec<f64> = (0..n_lanes).map(|lane| t[partner(lane, shift)]).collect();
            model.load(cross, &partner_times, x);
            cross.forward(program, weights);
            for lane in 0..n_lanes {
                let at = partner(lane, shift);
                energies[lane * k + at % k] = gaussian(lane, t[at]) + f64::from(cross.energies()[lane]);
            }
        }

        // Objectives, point by point.
        let noise = model.noise();
        let deviations: Vec<f64> = t.iter().map(|&t| noise.deviation(t)).collect();
        let diffusions: Vec<f64> = t.iter().map(|&t| noise.diffusion(t)).collect();
        let lane_offsets: Vec<f64> =
            levels.iter().map(|&level| offsets.get(level).copied().unwrap_or(0.0)).collect();
        let mut directions = vec![0.0; gradients.len()];
        let mut energy_slopes = vec![0.0; n_lanes * k];
        let mut offset_slopes = vec![0.0; k];
        for lane in (0..n_lanes).step_by(k) {
            let lanes = lane..lane + k;
            let vectors = if needs_gradients { lane * size..(lane + k) * size } else { 0..0 };
            let point = Point {
                degrees_of_freedom: d,
                times: &t[lanes.clone()],
                deviations: &deviations[lanes.clone()],
                diffusions: &diffusions[lanes.clone()],
                noise: &z[lane * size..(lane + k) * size],
                gradients: &gradients[vectors.clone()],
                energies: &energies[lane * k..(lane + k) * k],
                offsets: &lane_offsets[lanes],
            };
            offset_slopes.fill(0.0);
            let mut cotangent = Cotangent {
                gradients: &mut directions[vectors],
                energies: &mut energy_slopes[lane * k..(lane + k) * k],
                offsets: &mut offset_slopes,
            };
            for (weighted, loss) in objectives.iter().zip(&mut self.losses) {
                let weight = weighted.weight / batch.n_points as f64;
                *loss += weighted.objective.add(&point, weight, &mut cotangent);
            }
            for (idx, slope) in offset_slopes.iter().enumerate() {
                if let Some(sum) = self.offset_gradient.get_mut(levels[lane + idx]) {
                    *sum += slope;
                }
            }
        }

        // Gradient of the parameters.
        let mut slopes = [0.0_f32; LANES];
        for (lane, slope) in slopes[..n_lanes].iter_mut().enumerate() {
            *slope = energy_slopes[lane * k + lane % k] as f32;
        }
        if needs_gradients {
            let n_beads = model.architecture.n_beads;
            let tangent = own.coordinate_tangent_mut();
            tangent.fill(0.0);
            for (lane, direction) in directions.chunks_exact(size).enumerate() {
                for (bead, xyz) in direction.chunks_exact(3).enumerate() {
                    for (axis, &v) in xyz.iter().enumerate() {
                        tangent[(axis * n_beads + bead) * LANES + lane] = v as f32;
                    }
                }
            }
            own.tangent(program, weights, Direction::Coordinates);
            own.reverse_tangent(program, weights, &slopes, &mut self.gradient);
        } else {
            own.reverse_energy(program, weights, &slopes, &mut self.gradient);
        }
        model.return_workspace(own);
        for (shift, cross) in (1..=n_cross).zip(&mut self.cross) {
            let mut slopes = [0.0_f32; LANES];
            for (lane, slope) in slopes[..n_lanes].iter_mut().enumerate() {
                *slope = energy_slopes[lane * k + partner(lane, shift) % k] as f32;
            }
            cross.reverse_energy(program, weights, &slopes, &mut self.gradient);
        }
    }
}
