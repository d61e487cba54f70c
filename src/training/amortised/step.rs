//! One step of training of one generator: conditions and samples in chunks, an objective of each, the sum of gradients.

use rayon::prelude::*;

use super::generator::{Scale, draw};
use super::perceptron::{Activations, Perceptron};
use crate::error::Result;
use crate::model::data::{DataPoints, GROUP, TrainingData};
use crate::random::{Purpose, Rng, Streams, fill_normal};
use crate::training::optimizer::{self, Adam, AdamSettings};

/// Conditions of a chunk.
pub(super) const CONDITIONS: usize = 16;
/// Chunks are dealt to so many groups, each with its own sum, whatever the number of threads.
const N_GROUPS: usize = 8;

/// Conditions, samples of them, and what an objective says of these, in units of the standardised sample
/// f = (x_i − skip x_{i+1})/width.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    /// Coordinates.
    pub d: usize,
    /// Samples of each condition.
    pub n_each: usize,
    /// x_{i+1}, `[condition][coordinate]`.
    pub before: Vec<f64>,
    /// The f of the data, `[condition][coordinate]`.
    pub data: Vec<f64>,
    /// z, `[condition][sample][coordinate]`.
    pub latents: Vec<f64>,
    /// f, `[condition][sample][coordinate]`.
    pub samples: Vec<f64>,
    /// Derivatives of the loss, summed over conditions, with respect to f.
    pub slopes: Vec<f64>,
}

/// What a generator is trained for.
pub(super) trait Objective: Sync {
    /// What a group of chunks gathers besides the gradient of the generator.
    type Gathered: Default + Send;

    /// Draws latents; the samples of a condition are independent unless it says otherwise.
    fn latents(&self, chunk: &mut Chunk, rng: &mut Rng) {
        fill_normal(rng, &mut chunk.latents);
    }

    /// The loss summed over conditions, with its derivatives in `slopes`, which are zero before.
    fn add(&self, scale: &Scale, chunk: &mut Chunk, gathered: &mut Self::Gathered) -> Result<f64>;
}

/// A generator in training.
pub(super) struct Student {
    /// Weights with their average.
    pub average: Vec<f32>,
    weights: Vec<f32>,
    adam: Adam,
    constants: AdamSettings,
    decay: f64,
}

impl Student {
    pub fn new(network: &Perceptron, constants: AdamSettings, decay: f64) -> Self {
        let weights = network.weights().to_vec();
        Self { average: weights.clone(), adam: Adam::new(weights.len()), weights, constants, decay }
    }

    /// Goes down a gradient, unless it is not finite.
    pub fn descend(&mut self, network: &mut Perceptron, mut gradient: Vec<f32>, rate: f64) {
        // Of a loss of order one; rare batches of far larger gradients spoil the moments of many steps.
        if !optimizer::clip(&mut gradient, 1.0).is_finite() {
            return;
        }
        let step = self.adam.n_steps;
        self.adam.step(&self.constants, rate, &gradient, &mut self.weights);
        optimizer::average(&mut self.average, &self.weights, self.decay, step);
        network.set_weights(&self.weights);
    }
}

/// How many conditions and samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub n_conditions: usize,
    pub n_each: usize,
}

/// Mean loss over the conditions of one step with its gradient, and what the groups gathered in their order; the same for any
/// number of threads.
pub(super) fn gradient<O: Objective>(
    objective: &O,
    (scale, network): (&Scale, &Perceptron),
    data: &TrainingData,
    size: Size,
    streams: &Streams,
    step: u64,
) -> Result<(f64, Vec<f32>, Vec<O::Gathered>)> {
    let n_chunks = size.n_conditions.div_ceil(CONDITIONS);
    let n = (n_chunks * CONDITIONS) as f64;
    let group = |group: usize| -> Result<(f64, Vec<f32>, O::Gathered)> {
        let (mut loss, mut gradient) = (0.0, vec![0.0; network.weights().len()]);
        let mut gathered = O::Gathered::default();
        let mut activations = network.activations(CONDITIONS * size.n_each);
        let mut chunk = Chunk { d: data.space.dimension(), n_each: size.n_each, ..Chunk::default() };
        for idx in (n_chunks * group / N_GROUPS)..(n_chunks * (group + 1) / N_GROUPS) {
            let mut rng = streams.stream(Purpose::Batch, step * n_chunks as u64 + idx as u64);
            chunk.draw_data(scale, data, &mut rng);
            objective.latents(&mut chunk, &mut rng);
            chunk.draw_samples(scale, network, &mut activations);
            loss += objective.add(scale, &mut chunk, &mut gathered)? / n;
            chunk.reverse(network, &mut activations, 1.0 / n, &mut gradient);
        }
        Ok((loss, gradient, gathered))
    };
    let groups: Result<Vec<_>> = (0..N_GROUPS).into_par_iter().map(group).collect();
    let (mut loss, mut sum, mut gathered) = (0.0, vec![0.0; network.weights().len()], Vec::new());
    for (part, gradient, of_group) in groups? {
        loss += part;
        sum.iter_mut().zip(&gradient).for_each(|(sum, part)| *sum += part);
        gathered.push(of_group);
    }
    Ok((loss, sum, gathered))
}

impl Chunk {
    /// x_i and x_{i+1} of data, one after the other along the process.
    pub fn draw_data(&mut self, scale: &Scale, data: &TrainingData, rng: &mut Rng) {
        const { assert!(CONDITIONS <= GROUP) };
        let mut points = DataPoints::default();
        data.draw(CONDITIONS, rng, &mut points);
        let n = points.first.len();
        self.data = points.first;
        self.before.resize(n, 0.0);
        fill_normal(rng, &mut self.before);
        self.data.iter_mut().zip(&self.before).for_each(|(x, z)| *x = scale.scale * *x + scale.deviation * z);
        fill_normal(rng, &mut self.before);
        let step = scale.variance.sqrt();
        self.before.iter_mut().zip(&self.data).for_each(|(y, x)| *y = scale.ratio * x + step * *y);
        scale.standardise(&self.before, &mut self.data);
        self.latents.resize(n * self.n_each, 0.0);
    }

    /// Samples of all latents.
    pub fn draw_samples(&mut self, scale: &Scale, network: &Perceptron, activations: &mut Activations) {
        self.samples.clone_from(&self.latents);
        draw(scale, network, &self.before, self.n_each, &mut self.samples, activations);
        self.slopes.clear();
        self.slopes.resize(self.samples.len(), 0.0);
    }

    fn reverse(
        &self,
        network: &Perceptron,
        activations: &mut Activations,
        factor: f64,
        gradient: &mut [f32],
    ) {
        let n_lanes = activations.lanes();
        let slope = activations.slope_mut();
        for (lane, slopes) in self.slopes.chunks_exact(self.d).enumerate() {
            for (row, value) in slopes.iter().enumerate() {
                slope[row * n_lanes + lane] = (factor * value) as f32;
            }
        }
        network.reverse(activations, gradient);
    }

    /// x_i of all samples, `[condition][sample][coordinate]`.
    pub fn restored(&self, scale: &Scale) -> Vec<f64> {
        let mut x = self.samples.clone();
        for (x, before) in x.chunks_exact_mut(self.n_each * self.d).zip(self.before.chunks_exact(self.d)) {
            x.chunks_exact_mut(self.d).for_each(|x| scale.restore(before, x));
        }
        x
    }
}
