//! A multilayer perceptron with SiLU units, forwards and backwards, on chunks of the fused layout `[row][lane]`.

use rand_distr::{Distribution as _, StandardNormal};

use crate::model::kernels::{Matrix, Shape, Start, multiply, transpose, unary_first, unary_value};
use crate::model::program::Unary;
use crate::random::Rng;

/// The layers with their weights: of each, W `[output][input]` and then its bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Perceptron {
    widths: Vec<usize>,
    weights: Vec<f32>,
    /// Wᵀ of each layer, where W is in `weights`.
    transposed: Vec<f32>,
}

/// Every intermediate value of one chunk.
#[derive(Debug, Clone)]
pub struct Activations {
    lanes: usize,
    /// What enters each layer; the first is the input.
    inputs: Vec<Vec<f32>>,
    /// W x + b of each layer; the last is the output.
    sums: Vec<Vec<f32>>,
    auxiliary: Vec<Vec<f32>>,
    /// Adjoints of what enters each layer, and of the output.
    adjoints: Vec<Vec<f32>>,
    turned: Vec<f32>,
}

impl Perceptron {
    /// Hidden layers of normal weights that keep the size of what passes, and a last layer of zeros.
    pub fn initial(n_inputs: usize, hidden: &[usize], n_outputs: usize, rng: &mut Rng) -> Self {
        let widths: Vec<usize> =
            std::iter::once(n_inputs).chain(hidden.iter().copied()).chain([n_outputs]).collect();
        let mut weights = Vec::new();
        for (layer, pair) in widths.windows(2).enumerate() {
            let deviation = (2.0 / pair[0] as f32).sqrt();
            let is_last = layer == hidden.len();
            weights.extend((0..pair[0] * pair[1]).map(|_| {
                let normal: f32 = StandardNormal.sample(rng);
                if is_last { 0.0 } else { deviation * normal }
            }));
            weights.extend(std::iter::repeat_n(0.0, pair[1]));
        }
        let mut perceptron = Self { widths, transposed: vec![0.0; weights.len()], weights };
        perceptron.turn();
        perceptron
    }

    /// All weights.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Replaces all weights.
    pub fn set_weights(&mut self, weights: &[f32]) {
        self.weights.copy_from_slice(weights);
        self.turn();
    }

    /// Inputs.
    pub fn n_inputs(&self) -> usize {
        self.widths[0]
    }

    /// Memory for chunks of so many lanes.
    pub fn activations(&self, lanes: usize) -> Activations {
        let rows = |widths: &[usize]| -> Vec<Vec<f32>> {
            widths.iter().map(|width| vec![0.0; width * lanes]).collect()
        };
        let n = self.widths.len();
        let widest = self.widths.iter().max().copied().unwrap_or(0);
        Activations {
            lanes,
            inputs: rows(&self.widths[..n - 1]),
            sums: rows(&self.widths[1..]),
            auxiliary: rows(&self.widths[1..]),
            adjoints: rows(&self.widths),
            turned: vec![0.0; widest * lanes],
        }
    }

    /// Fills [`Activations::output`] from [`Activations::input_mut`].
    pub fn forward(&self, of: &mut Activations) {
        let (lanes, n_layers) = (of.lanes, self.widths.len() - 1);
        for (layer, at) in self.layers().enumerate() {
            let (n_in, n_out) = (self.widths[layer], self.widths[layer + 1]);
            let bias = &self.weights[at + n_in * n_out..][..n_out];
            of.sums[layer].chunks_exact_mut(lanes).zip(bias).for_each(|(row, bias)| row.fill(*bias));
            let shape = Shape { m: n_out, n: lanes, k: n_in };
            let w = Matrix { data: &self.weights[at..][..n_in * n_out], stride: n_in };
            let x = Matrix { data: &of.inputs[layer], stride: lanes };
            multiply(shape, w, x, Start::Kept, &mut of.sums[layer], lanes);
            if layer + 1 < n_layers {
                let auxiliary = &mut of.auxiliary[layer];
                unary_value(Unary::Silu, &of.sums[layer], &mut of.inputs[layer + 1], auxiliary);
            }
        }
    }

    /// Adds to `gradient` the derivatives with respect to the weights of Σ output · [`Activations::slope_mut`], and leaves
    /// those with respect to the input in [`Activations::input_slope`].
    pub fn reverse(&self, of: &mut Activations, gradient: &mut [f32]) {
        let (lanes, n_layers) = (of.lanes, self.widths.len() - 1);
        let starts: Vec<usize> = self.layers().collect();
        for layer in (0..n_layers).rev() {
            let (n_in, n_out, at) = (self.widths[layer], self.widths[layer + 1], starts[layer]);
            if layer + 1 < n_layers {
                // From the adjoint of silu(sum) to that of the sum, by way of the memory for transposition.
                let turned = &mut of.turned[..n_out * lanes];
                let (sums, auxiliary) = (&of.sums[layer], &of.auxiliary[layer]);
                unary_first(Unary::Silu, sums, auxiliary, &of.adjoints[layer + 1], turned, true);
                of.adjoints[layer + 1].copy_from_slice(turned);
            }
            let (before, after) = of.adjoints.split_at_mut(layer + 1);
            let slope = Matrix { data: &after[0], stride: lanes };
            transpose(n_in, lanes, &of.inputs[layer], &mut of.turned, n_in);
            let x = Matrix { data: &of.turned, stride: n_in };
            let (w, bias) = gradient[at..][..(n_in + 1) * n_out].split_at_mut(n_in * n_out);
            multiply(Shape { m: n_out, n: n_in, k: lanes }, slope, x, Start::Kept, w, n_in);
            let rows = after[0].chunks_exact(lanes);
            bias.iter_mut().zip(rows).for_each(|(bias, row)| *bias += row.iter().sum::<f32>());
            let w = Matrix { data: &self.transposed[at..][..n_in * n_out], stride: n_out };
            let shape = Shape { m: n_in, n: lanes, k: n_out };
            multiply(shape, w, slope, Start::Zero, &mut before[layer], lanes);
        }
    }

    /// Where the weights of each layer begin.
    fn layers(&self) -> impl Iterator<Item = usize> + '_ {
        self.widths.windows(2).scan(0, |at, pair| {
            let here = *at;
            *at += (pair[0] + 1) * pair[1];
            Some(here)
        })
    }

    fn turn(&mut self) {
        let starts: Vec<usize> = self.layers().collect();
        for (pair, at) in self.widths.windows(2).zip(starts) {
            let n = pair[0] * pair[1];
            transpose(pair[1], pair[0], &self.weights[at..][..n], &mut self.transposed[at..][..n], pair[1]);
        }
    }
}

impl Activations {
    /// Samples of the chunk.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Rows of the input, `[row][lane]`.
    pub fn input_mut(&mut self) -> &mut [f32] {
        &mut self.inputs[0]
    }

    /// The output, `[row][lane]`.
    pub fn output(&self) -> &[f32] {
        self.sums.last().map_or(&[], Vec::as_slice)
    }

    /// The factors of the output for [`Perceptron::reverse`], `[row][lane]`.
    pub fn slope_mut(&mut self) -> &mut [f32] {
        self.adjoints.last_mut().map_or(&mut [], Vec::as_mut_slice)
    }

    /// Derivatives with respect to the input, `[row][lane]`.
    pub fn input_slope(&self) -> &[f32] {
        &self.adjoints[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    #[test]
    fn derivatives_are_finite_differences() {
        let mut rng = Streams::new(1).stream(Purpose::Weights, 0);
        let mut net = Perceptron::initial(5, &[18, 7], 3, &mut rng);
        let normal = |n: usize, rng: &mut Rng| -> Vec<f32> {
            let mut x = vec![0.0; n];
            fill_normal(rng, &mut x);
            x.iter().map(|x| *x as f32).collect()
        };
        let weights: Vec<f32> = normal(net.weights().len(), &mut rng).iter().map(|w| 0.4 * w).collect();
        net.set_weights(&weights);
        let lanes = 16;
        let (x, slope) = (normal(5 * lanes, &mut rng), normal(3 * lanes, &mut rng));
        let mut of = net.activations(lanes);
        let mut value = |net: &Perceptron, x: &[f32]| -> f64 {
            of.input_mut().copy_from_slice(x);
            net.forward(&mut of);
            of.output().iter().zip(&slope).map(|(y, s)| f64::from(*y) * f64::from(*s)).sum()
        };
        let h = 1e-2;
        let mut expected_w = Vec::new();
        for idx in (0..weights.len()).step_by(7) {
            let mut moved = weights.clone();
            let mut at = |shift: f32| {
                moved[idx] = weights[idx] + shift;
                net.set_weights(&moved);
                value(&net, &x)
            };
            expected_w.push((idx, (at(h) - at(-h)) / (2.0 * f64::from(h))));
        }
        net.set_weights(&weights);
        let mut expected_x = Vec::new();
        for idx in (0..x.len()).step_by(9) {
            let mut moved = x.clone();
            let mut at = |shift: f32| {
                moved[idx] = x[idx] + shift;
                value(&net, &moved)
            };
            expected_x.push((idx, (at(h) - at(-h)) / (2.0 * f64::from(h))));
        }
        of.input_mut().copy_from_slice(&x);
        net.forward(&mut of);
        of.slope_mut().copy_from_slice(&slope);
        let mut gradient = vec![0.0; weights.len()];
        net.reverse(&mut of, &mut gradient);
        for (idx, expected) in expected_w {
            let found = f64::from(gradient[idx]);
            assert!((found - expected).abs() < 2e-2 * (1.0 + expected.abs()), "w {idx}: {found} {expected}");
        }
        for (idx, expected) in expected_x {
            let found = f64::from(of.input_slope()[idx]);
            assert!((found - expected).abs() < 2e-2 * (1.0 + expected.abs()), "x {idx}: {found} {expected}");
        }
    }
}
