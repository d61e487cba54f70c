//! The gradient of objectives over a batch, on the fused executor or on a device.
//!
//! Energies at a conformation's own time need ∂u/∂x and so all passes; energies at the other times of a
//! data point need only value and gradient of the parameters. A chunk holds data points with all their
//! times, so that an objective finds everything of a point in one place; one that has more of them than
//! [`EnergyModel::lanes`] is evaluated in several pieces.

use rayon::prelude::*;

use super::batch::Batch;
use super::objective::{Cotangent, Objective, Point};
use super::times::Coupling;
use crate::error::Result;
use crate::model::EnergyModel;
use crate::model::fused::{Direction, Workspace};
use crate::model::tensor::TensorProgram;
use crate::potential::PotentialPath as _;

/// An objective with its weight in the sum.
pub struct Weighted {
    /// The objective.
    pub objective: Box<dyn Objective>,
    /// Its weight.
    pub weight: f64,
}

/// How these objectives want the points of a data point to belong together; the first that cares decides.
pub fn coupling(objectives: &[Weighted]) -> Coupling {
    let all = objectives.iter().map(|o| o.objective.coupling());
    all.into_iter().find(|coupling| *coupling != Coupling::Independent).unwrap_or_default()
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
    ) -> Result<Losses> {
        gradient.fill(0.0);
        let mut losses =
            Losses { by_objective: vec![0.0; objectives.len()], offset_gradient: vec![0.0; offsets.len()] };
        if let Some(device) = model.device() {
            let lanes = Lanes::new(model, batch, 0..batch.n_points, objectives, offsets);
            let Losses { by_objective, offset_gradient } = &mut losses;
            evaluate_on_device(&lanes, device, by_objective, offset_gradient, gradient)?;
        } else {
            self.evaluate_fused(model, batch, objectives, offsets);
            for group in &self.groups {
                gradient.iter_mut().zip(&group.gradient).for_each(|(sum, part)| *sum += part);
                losses.by_objective.iter_mut().zip(&group.losses).for_each(|(sum, part)| *sum += part);
                let offsets = losses.offset_gradient.iter_mut().zip(&group.offset_gradient);
                offsets.for_each(|(sum, part)| *sum += part);
            }
        }
        losses.by_objective.iter_mut().for_each(|loss| *loss /= batch.n_points as f64);
        Ok(losses)
    }

    fn evaluate_fused(
        &mut self,
        model: &EnergyModel,
        batch: &Batch,
        objectives: &[Weighted],
        offsets: &[f64],
    ) {
        let points_per_chunk = (model.lanes() / batch.n_times).max(1);
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
                group.add_chunk(&Lanes::new(model, batch, first..last, objectives, offsets));
            }
        });
    }
}

/// Lanes of a batch that are evaluated together, and what is known about them.
struct Lanes<'a> {
    model: &'a EnergyModel,
    coupling: Coupling,
    objectives: &'a [Weighted],
    offsets: &'a [f64],
    n_points: usize,
    n_times: usize,
    x: &'a [f64],
    noise: &'a [f64],
    scores: &'a [f64],
    displacements: &'a [f64],
    progress: &'a [f64],
    times: &'a [f64],
    levels: &'a [usize],
    /// Of each data point; empty where unknown.
    states: &'a [usize],
}

/// Derivatives of the weighted sum of objectives with respect to what an executor computes.
struct Slopes {
    /// v of each lane; empty when no objective reads gradients.
    directions: Vec<f64>,
    /// e of u(x_k, t_j), `[lane][j]`.
    energies: Vec<f64>,
    /// e of u(−x_k, t_k) of each lane; empty when no objective reads them.
    mirrored: Vec<f64>,
    /// e of u(x_k, t_k, y) of each lane; empty when no objective reads them.
    of_state: Vec<f64>,
}

/// Energies of each lane besides u(x_k, t_j); empty when no objective reads them.
#[derive(Default)]
struct Others {
    /// u(−x_k, t_k).
    mirrored: Vec<f64>,
    /// u(x_k, t_k, y).
    of_state: Vec<f64>,
}

impl<'a> Lanes<'a> {
    fn new(
        model: &'a EnergyModel,
        batch: &'a Batch,
        points: std::ops::Range<usize>,
        objectives: &'a [Weighted],
        offsets: &'a [f64],
    ) -> Self {
        let (k, size) = (batch.n_times, model.space().dimension());
        let lanes = points.start * k..points.end * k;
        let vectors = lanes.start * size..lanes.end * size;
        Self {
            model,
            coupling: coupling(objectives),
            objectives,
            offsets,
            n_points: batch.n_points,
            n_times: k,
            x: &batch.x[vectors.clone()],
            noise: &batch.noise[vectors.clone()],
            scores: batch.scores.get(vectors.clone()).unwrap_or_default(),
            displacements: batch.displacements.get(vectors).unwrap_or_default(),
            progress: batch.progress.get(lanes.clone()).unwrap_or_default(),
            times: &batch.times[lanes.clone()],
            levels: &batch.levels[lanes],
            states: batch.states.get(points).unwrap_or_default(),
        }
    }

    fn n_lanes(&self) -> usize {
        self.times.len()
    }

    fn needs_gradients(&self) -> bool {
        self.objectives.iter().any(|o| o.objective.needs_gradients())
    }

    fn needs_mirror_images(&self) -> bool {
        self.objectives.iter().any(|o| o.objective.needs_mirror_images())
    }

    fn needs_states(&self) -> bool {
        self.objectives.iter().any(|o| o.objective.needs_states())
    }

    /// The state of each lane.
    fn states_of_lanes(&self) -> Vec<usize> {
        (0..self.n_lanes()).map(|lane| self.states[lane / self.n_times]).collect()
    }

    /// −x of all lanes.
    fn mirror_images(&self) -> Vec<f64> {
        self.x.iter().map(|x| -x).collect()
    }

    /// u of each lane from what the network gives, also for mirror images: their Gaussian part is that of x.
    fn with_gaussian<U: Copy + Into<f64>>(&self, network: &[U]) -> Vec<f64> {
        let size = self.x.len() / self.n_lanes();
        let lanes = self.x.chunks_exact(size).zip(self.times).zip(network);
        lanes.map(|((x, &t), &network)| self.model.gaussian_energy(t, x) + network.into()).collect()
    }

    /// At how many other times each conformation is evaluated.
    fn n_shifts(&self) -> usize {
        self.objectives.iter().map(|o| o.objective.n_shifts(self.n_times)).max().unwrap_or(0)
    }

    /// The lane `shift` places further within the same data point.
    fn partner(&self, lane: usize, shift: usize) -> usize {
        lane - lane % self.n_times + (lane % self.n_times + shift) % self.n_times
    }

    /// Times of the partners.
    fn partner_times(&self, shift: usize) -> Vec<f64> {
        (0..self.n_lanes()).map(|lane| self.times[self.partner(lane, shift)]).collect()
    }

    /// Stores u of the network at the partners' times in `[lane][j]`, with the Gaussian part.
    fn store<U: Copy + Into<f64>>(&self, shift: usize, network: &[U], energies: &mut [f64]) {
        let size = self.x.len() / self.n_lanes();
        for (lane, x) in self.x.chunks_exact(size).enumerate() {
            let at = self.partner(lane, shift);
            energies[lane * self.n_times + at % self.n_times] =
                self.model.gaussian_energy(self.times[at], x) + network[lane].into();
        }
    }

    /// e of each lane at the partners' times.
    fn slopes_at<'b>(&'b self, shift: usize, energies: &'b [f64]) -> impl Iterator<Item = f64> + 'b {
        let k = self.n_times;
        (0..self.n_lanes()).map(move |lane| energies[lane * k + self.partner(lane, shift) % k])
    }

    /// Evaluates the objectives, point by point.
    fn slopes(
        &self,
        gradients: &[f64],
        energies: &[f64],
        others: &Others,
        losses: &mut [f64],
        offset_gradient: &mut [f64],
    ) -> Slopes {
        let (k, size) = (self.n_times, self.x.len() / self.n_lanes());
        let noise = self.model.noise();
        let deviations: Vec<f64> = self.times.iter().map(|&t| noise.deviation(t)).collect();
        let scale = |&t: &f64| noise.scale(t).max(noise.partner_scale(t));
        let scales: Vec<f64> = self.times.iter().map(scale).collect();
        let diffusions: Vec<f64> = self.times.iter().map(|&t| noise.diffusion(t)).collect();
        let drifts: Vec<f64> = self.times.iter().map(|&t| noise.drift(t)).collect();
        let variances: Vec<f64> = self.times.iter().map(|&t| noise.total_variance(t)).collect();
        let offset = |&level: &usize| self.offsets.get(level).copied().unwrap_or(0.0);
        let offsets: Vec<f64> = self.levels.iter().map(offset).collect();
        let mut slopes = Slopes {
            directions: vec![0.0; gradients.len()],
            energies: vec![0.0; energies.len()],
            mirrored: vec![0.0; others.mirrored.len()],
            of_state: vec![0.0; others.of_state.len()],
        };
        let mut offset_slopes = vec![0.0; k];
        for lane in (0..self.n_lanes()).step_by(k) {
            let lanes = lane..lane + k;
            let matrix = lane * k..(lane + k) * k;
            let vectors = if gradients.is_empty() { 0..0 } else { lane * size..(lane + k) * size };
            let point = Point {
                degrees_of_freedom: self.model.degrees_of_freedom(),
                times: &self.times[lanes.clone()],
                deviations: &deviations[lanes.clone()],
                scales: &scales[lanes.clone()],
                diffusions: &diffusions[lanes.clone()],
                drifts: &drifts[lanes.clone()],
                variances: &variances[lanes.clone()],
                n_data: self.coupling.n_data(k),
                positions: &self.x[lane * size..(lane + k) * size],
                noise: &self.noise[lane * size..(lane + k) * size],
                scores: self.scores.get(lane * size..(lane + k) * size).unwrap_or_default(),
                displacements: self.displacements.get(lane * size..(lane + k) * size).unwrap_or_default(),
                progress: self.progress.get(lanes.clone()).unwrap_or_default(),
                gradients: &gradients[vectors.clone()],
                energies: &energies[matrix.clone()],
                mirrored: others.mirrored.get(lanes.clone()).unwrap_or_default(),
                of_state: others.of_state.get(lanes.clone()).unwrap_or_default(),
                offsets: &offsets[lanes.clone()],
            };
            offset_slopes.fill(0.0);
            let mut cotangent = Cotangent {
                gradients: &mut slopes.directions[vectors],
                energies: &mut slopes.energies[matrix],
                mirrored: slopes.mirrored.get_mut(lanes.clone()).unwrap_or_default(),
                of_state: slopes.of_state.get_mut(lanes.clone()).unwrap_or_default(),
                offsets: &mut offset_slopes,
            };
            for (weighted, loss) in self.objectives.iter().zip(losses.iter_mut()) {
                let weight = weighted.weight / self.n_points as f64;
                *loss += weighted.objective.add(&point, weight, &mut cotangent);
            }
            for (level, slope) in self.levels[lanes].iter().zip(&offset_slopes) {
                if let Some(sum) = offset_gradient.get_mut(*level) {
                    *sum += slope;
                }
            }
        }
        slopes
    }
}

impl Group {
    /// One chunk on the fused executor, in pieces of at most [`EnergyModel::lanes`] conformations.
    fn add_chunk(&mut self, lanes: &Lanes) {
        let model = lanes.model;
        let (program, weights) = (&model.program, model.weights());
        let (x, t, size, width) = (lanes.x, lanes.times, model.space().dimension(), model.lanes());
        let n_shifts = lanes.n_shifts();
        // From the pool, so that a thread works in the same memory, still in cache, chunk after chunk.
        let evaluate_with = |t: &[f64], x: &[f64], states: Option<&[usize]>| -> Vec<Workspace> {
            let pieces = t.chunks(width).zip(x.chunks(width * size)).enumerate();
            let evaluate = |(piece, (t, x)): (usize, (&[f64], &[f64]))| {
                let mut workspace = model.take_workspace();
                match states {
                    None => model.load(&mut workspace, t, x),
                    Some(states) => {
                        let states = &states[piece * width..][..t.len()];
                        model.load_with_states(&mut workspace, t, x, states);
                    }
                }
                workspace.forward(program, weights);
                workspace
            };
            pieces.map(evaluate).collect()
        };
        let evaluate = |t: &[f64], x: &[f64]| evaluate_with(t, x, None);
        let energies_of = |pieces: &[Workspace]| -> Vec<f32> {
            pieces.iter().flat_map(|workspace| workspace.energies().iter().copied()).collect()
        };

        let mut own = evaluate(t, x);
        let mut gradients = vec![];
        if lanes.needs_gradients() {
            gradients.resize(x.len(), 0.0);
            let pieces = t.chunks(width).zip(x.chunks(width * size)).zip(gradients.chunks_mut(width * size));
            for (own, ((t, x), gradients)) in own.iter_mut().zip(pieces) {
                own.reverse(program, weights);
                model.unload_gradient(own, t, x, gradients);
            }
        }
        let mut energies = vec![0.0; lanes.n_lanes() * lanes.n_times];
        lanes.store(0, &energies_of(&own), &mut energies);
        let mut cross = Vec::with_capacity(n_shifts);
        for shift in 1..=n_shifts {
            let pieces = evaluate(&lanes.partner_times(shift), x);
            lanes.store(shift, &energies_of(&pieces), &mut energies);
            cross.push(pieces);
        }
        let mirror = lanes.needs_mirror_images().then(|| evaluate(t, &lanes.mirror_images()));
        let of_state = lanes.needs_states().then(|| evaluate_with(t, x, Some(&lanes.states_of_lanes())));
        let others_of = |pieces: &Option<Vec<Workspace>>| {
            pieces.as_deref().map_or_else(Vec::new, |pieces| lanes.with_gaussian(&energies_of(pieces)))
        };
        let others = Others { mirrored: others_of(&mirror), of_state: others_of(&of_state) };

        let (losses, offset_gradient) = (&mut self.losses, &mut self.offset_gradient);
        let slopes = lanes.slopes(&gradients, &energies, &others, losses, offset_gradient);

        // Lanes beyond the last data point repeat the first one and count for nothing.
        let mut e = vec![0.0_f32; own.len() * width];
        let fill = |e: &mut [f32], shift: usize| {
            e.iter_mut()
                .zip(lanes.slopes_at(shift, &slopes.energies))
                .for_each(|(e, slope)| *e = slope as f32);
        };
        fill(&mut e, 0);
        if lanes.needs_gradients() {
            let pieces = slopes.directions.chunks(width * size).zip(e.chunks(width));
            for (mut own, (directions, e)) in own.into_iter().zip(pieces) {
                let tangent = own.coordinate_tangent_mut();
                tangent.fill(0.0);
                for (lane, direction) in directions.chunks_exact(size).enumerate() {
                    model.scatter(lane, direction, tangent);
                }
                own.tangent(program, weights, Direction::Coordinates);
                own.reverse_tangent(program, weights, e, &mut self.gradient);
                model.return_workspace(own);
            }
        } else {
            self.reverse_energies(model, own, &e);
        }
        for (shift, cross) in (1..=n_shifts).zip(cross) {
            fill(&mut e, shift);
            self.reverse_energies(model, cross, &e);
        }
        for (other, slopes) in [(mirror, &slopes.mirrored), (of_state, &slopes.of_state)] {
            if let Some(other) = other {
                e.iter_mut().zip(slopes).for_each(|(e, slope)| *e = *slope as f32);
                self.reverse_energies(model, other, &e);
            }
        }
    }

    /// Adds the gradient of Σ e u of evaluated pieces.
    fn reverse_energies(&mut self, model: &EnergyModel, pieces: Vec<Workspace>, e: &[f32]) {
        for (mut workspace, e) in pieces.into_iter().zip(e.chunks(model.lanes())) {
            workspace.reverse_energy(&model.program, model.weights(), e, &mut self.gradient);
            model.return_workspace(workspace);
        }
    }
}

/// A whole batch on a device: the same, through tensors.
fn evaluate_on_device(
    lanes: &Lanes,
    device: &TensorProgram,
    losses: &mut [f64],
    offset_gradient: &mut [f64],
    gradient: &mut [f32],
) -> Result<()> {
    let model = lanes.model;
    let (x, t) = (lanes.x, lanes.times);
    let own = model.upload(device, t, x)?;
    let mut energies = vec![0.0; lanes.n_lanes() * lanes.n_times];
    let mut gradients = vec![];
    if lanes.needs_gradients() {
        let (network, network_gradients) = device.evaluate(&own)?;
        lanes.store(0, &network, &mut energies);
        gradients = network_gradients;
        model.add_gaussian_gradient(t, x, &mut gradients);
    } else {
        lanes.store(0, &device.energies(&own)?, &mut energies);
    }
    let mut cross = vec![];
    for shift in 1..=lanes.n_shifts() {
        let batch = model.upload(device, &lanes.partner_times(shift), x)?;
        lanes.store(shift, &device.energies(&batch)?, &mut energies);
        cross.push(batch);
    }
    let (mut mirror, mut of_state, mut others) = (None, None, Others::default());
    if lanes.needs_mirror_images() {
        let batch = model.upload(device, t, &lanes.mirror_images())?;
        others.mirrored = lanes.with_gaussian(&device.energies(&batch)?);
        mirror = Some(batch);
    }
    if lanes.needs_states() {
        let batch = model.upload_with_states(device, t, x, &lanes.states_of_lanes())?;
        others.of_state = lanes.with_gaussian(&device.energies(&batch)?);
        of_state = Some(batch);
    }
    let slopes = lanes.slopes(&gradients, &energies, &others, losses, offset_gradient);
    let none = vec![0.0; x.len()];
    for (shift, batch) in std::iter::once(&own).chain(&cross).enumerate() {
        let v = if shift == 0 && lanes.needs_gradients() { &slopes.directions } else { &none };
        let e: Vec<f64> = lanes.slopes_at(shift, &slopes.energies).collect();
        let part = device.parameter_gradient(batch, v, &e)?;
        gradient.iter_mut().zip(part).for_each(|(sum, part)| *sum += part as f32);
    }
    for (other, e) in [(mirror, &slopes.mirrored), (of_state, &slopes.of_state)] {
        if let Some(batch) = other {
            let part = device.parameter_gradient(&batch, &none, e)?;
            gradient.iter_mut().zip(part).for_each(|(sum, part)| *sum += part as f32);
        }
    }
    Ok(())
}
