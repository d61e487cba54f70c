//! The generators, one for each noise scale, and what passes between them.

use rayon::prelude::*;

use super::perceptron::{Activations, Perceptron};
use super::settings::AmortisedSettings;
use crate::error::{Error, Result};
use crate::potential::{Noise, Space};
use crate::random::{Purpose, Rng, Streams, fill_normal};

/// Samples that are generated together.
const LANES: usize = 64;

/// The step from x_{i+1} to x_i: what is known of it before anything is learned.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// The time of x_i.
    pub t: f64,
    /// The time of x_{i+1}, with more noise.
    pub t_before: f64,
    /// a_i and g_i.
    pub scale: f64,
    /// g_i
    pub deviation: f64,
    /// r: x_{i+1} = r x_i + √v ε.
    pub ratio: f64,
    /// v
    pub variance: f64,
    /// The mean of x_i for Gaussian data of unit variance is this times x_{i+1}.
    pub skip: f64,
    /// The standard deviation of x_i given x_{i+1} for such data.
    pub width: f64,
    /// 1/c_{i+1}, by which x_{i+1} enters the network.
    input: f64,
    /// Angular frequencies at which it enters as well, in these units.
    frequencies: Vec<f64>,
}

impl Scale {
    fn new(noise: &Noise, t: f64, t_before: f64, n_frequencies: usize) -> Self {
        let (scale, deviation) = (noise.scale(t), noise.deviation(t));
        let (here, before) = (noise.total_variance(t), noise.total_variance(t_before));
        let g_before = noise.deviation(t_before);
        let ratio = noise.scale(t_before) / scale;
        let variance = g_before * g_before - ratio * ratio * deviation * deviation;
        let finest = before.sqrt() / g_before;
        Self {
            t,
            t_before,
            scale,
            deviation,
            ratio,
            variance,
            skip: ratio * here / before,
            width: (here * variance / before).sqrt(),
            input: 1.0 / before.sqrt(),
            frequencies: (0..n_frequencies).map(|k| 2.0 * finest * 0.5_f64.powi(k as i32)).collect(),
        }
    }

    /// x_i of a standardised one, in place: `skip` x_{i+1} + `width` f.
    pub fn restore(&self, before: &[f64], f: &mut [f64]) {
        f.iter_mut().zip(before).for_each(|(f, before)| *f = self.skip * before + self.width * *f);
    }

    /// The same backwards.
    pub fn standardise(&self, before: &[f64], x: &mut [f64]) {
        x.iter_mut().zip(before).for_each(|(x, before)| *x = (*x - self.skip * before) / self.width);
    }

    /// Rows of a network that says something of x_{i+1}: itself and its waves.
    pub(super) fn n_rows(&self, dimension: usize) -> usize {
        dimension * (1 + 2 * self.frequencies.len())
    }

    /// Writes these rows for lanes `lanes` of a chunk, all of the same x_{i+1}.
    pub(super) fn describe(
        &self,
        before: &[f64],
        lanes: std::ops::Range<usize>,
        n_lanes: usize,
        rows: &mut [f32],
    ) {
        let mut rows = rows.chunks_exact_mut(n_lanes);
        let mut put = |value: f64| {
            if let Some(row) = rows.next() {
                row[lanes.clone()].fill(value as f32);
            }
        };
        for &x in before {
            put(x * self.input);
            for frequency in &self.frequencies {
                let (sin, cos) = (frequency * self.input * x).sin_cos();
                put(sin);
                put(cos);
            }
        }
    }
}

/// The generators of all scales: samples in as many network calls as there are scales.
#[derive(Debug, Clone, PartialEq)]
pub struct Generators {
    /// Where samples live.
    pub space: Space,
    /// How data become noise.
    pub noise: Noise,
    /// The steps, the last one to the data end first.
    pub scales: Vec<Scale>,
    /// What is learned of each.
    pub networks: Vec<Perceptron>,
}

impl Generators {
    /// Generators before their first step: those of Gaussian data of unit variance, to the last digit.
    pub fn initial(
        settings: &AmortisedSettings,
        space: Space,
        noise: Noise,
        streams: &Streams,
    ) -> Result<Self> {
        settings.validate("few_step")?;
        let Space::Euclidean { dimension } = space else {
            return Err(Error::invalid(
                "few-step generators",
                "vectors, `Space::Euclidean`: the perceptrons know nothing of rotations",
                "a molecule".to_string(),
            ));
        };
        if noise.has_two_ends() {
            let expected = "a path that ends in noise";
            return Err(Error::invalid(
                "few-step generators",
                expected,
                "one between two ensembles".to_string(),
            ));
        }
        let times = settings.times(&noise);
        if times.windows(2).any(|t| t[0] >= t[1]) {
            let (first, last) = noise.time_range();
            let message =
                format!("must lie between {:.2} and {:.2}", noise.log_snr(last), noise.log_snr(first));
            return Err(Error::config("few_step.log_snr", message, "the ends of this noise"));
        }
        let scales: Vec<Scale> =
            times.windows(2).map(|t| Scale::new(&noise, t[0], t[1], settings.n_frequencies)).collect();
        let of = |(idx, scale): (usize, &Scale)| {
            let mut rng = streams.stream(Purpose::Weights, idx as u64);
            let n_inputs = dimension + scale.n_rows(dimension);
            Perceptron::initial(n_inputs, &settings.hidden, dimension, &mut rng)
        };
        let networks = scales.iter().enumerate().map(of).collect();
        Ok(Self { space, noise, scales, networks })
    }

    /// Network calls per sample.
    pub fn n_calls(&self) -> usize {
        self.scales.len()
    }

    /// Independent samples of the data end, `[sample][coordinate]`: from N(0, c²) at the noise end through all scales. A
    /// sample depends on the seed and its index alone.
    pub fn sample(&self, n: usize, streams: &Streams) -> Vec<f64> {
        let d = self.space.dimension();
        let mut x = vec![0.0; n * d];
        x.par_chunks_mut(LANES * d).enumerate().for_each(|(chunk, x)| {
            let n = x.len() / d;
            let first = (chunk * LANES) as u64;
            let mut rngs: Vec<Rng> =
                (0..n as u64).map(|k| streams.stream(Purpose::ReverseDiffusion, first + k)).collect();
            let end =
                self.scales.last().map_or(1.0, |scale| self.noise.total_variance(scale.t_before).sqrt());
            x.chunks_exact_mut(d).zip(&mut rngs).for_each(|(x, rng)| {
                fill_normal(rng, x);
                x.iter_mut().for_each(|x| *x *= end);
            });
            let mut z = vec![0.0; n * d];
            for (scale, network) in self.scales.iter().zip(&self.networks).rev() {
                z.chunks_exact_mut(d).zip(&mut rngs).for_each(|(z, rng)| fill_normal(rng, z));
                let mut activations = network.activations(n);
                draw(scale, network, x, 1, &mut z, &mut activations);
                scale.restore(x, &mut z);
                x.copy_from_slice(&z);
            }
        });
        x
    }

    /// Samples of x_i given x_{i+1}, `n_each` of every condition, `[condition][sample][coordinate]`; i is 0 at the data end.
    pub fn sample_given(&self, i: usize, before: &[f64], n_each: usize, streams: &Streams) -> Vec<f64> {
        let d = self.space.dimension();
        let mut x = vec![0.0; before.len() * n_each];
        let (scale, network) = (&self.scales[i], &self.networks[i]);
        let mut activations = network.activations(n_each);
        for (idx, (x, before)) in x.chunks_exact_mut(n_each * d).zip(before.chunks_exact(d)).enumerate() {
            fill_normal(&mut streams.stream(Purpose::ReverseDiffusion, idx as u64), x);
            draw(scale, network, before, n_each, x, &mut activations);
            x.chunks_exact_mut(d).for_each(|x| scale.restore(before, x));
        }
        x
    }
}

/// Turns latents `[condition][sample][coordinate]` into standardised samples f = z + network(x_{i+1}, z), in place; the
/// lanes of `activations` are as many.
pub(super) fn draw(
    scale: &Scale,
    network: &Perceptron,
    before: &[f64],
    n_each: usize,
    z: &mut [f64],
    activations: &mut Activations,
) {
    let n_lanes = activations.lanes();
    let d = z.len() / n_lanes;
    let (latents, rest) = activations.input_mut().split_at_mut(d * n_lanes);
    for (lane, z) in z.chunks_exact(d).enumerate() {
        z.iter().enumerate().for_each(|(row, z)| latents[row * n_lanes + lane] = *z as f32);
    }
    for (idx, before) in before.chunks_exact(d).enumerate() {
        scale.describe(before, idx * n_each..(idx + 1) * n_each, n_lanes, rest);
    }
    network.forward(activations);
    let output = activations.output();
    for (lane, z) in z.chunks_exact_mut(d).enumerate() {
        z.iter_mut().enumerate().for_each(|(row, z)| *z += f64::from(output[row * n_lanes + lane]));
    }
}
