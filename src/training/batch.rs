//! A training batch: data points, each noised at its own diffusion times.

use rand::Rng as _;
use rayon::prelude::*;

use super::times::TimeSettings;
use crate::potential::{Noise, Space};
use crate::random::{Purpose, Streams};

/// Data points in reduced length, each at K times.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Data points.
    pub n_points: usize,
    /// K.
    pub n_times: usize,
    /// Noised conformations, `[point][k][bead][xyz]`.
    pub x: Vec<f64>,
    /// Their noise.
    pub noise: Vec<f64>,
    /// Their times, `[point][k]`.
    pub times: Vec<f64>,
    /// Their levels, where times lie on a grid.
    pub levels: Vec<usize>,
}

/// Points that share a stream of random numbers.
const BLOCK: usize = 64;

impl Batch {
    #[allow(clippy::too_many_arguments, reason = "data, law of the noise and address of the draw")]
    /// Draws the batch of one step; the same step gives the same batch whatever came before.
    pub fn draw(
        &mut self,
        data: &[f32],
        space: Space,
        noise: &Noise,
        times: &TimeSettings,
        n_points: usize,
        streams: &Streams,
        step: u64,
    ) {
        let (size, k) = (space.dimension(), times.n_times);
        let n_frames = data.len() / size;
        (self.n_points, self.n_times) = (n_points, k);
        self.x.resize(n_points * k * size, 0.0);
        self.noise.resize(n_points * k * size, 0.0);
        self.times.resize(n_points * k, 0.0);
        self.levels.resize(n_points * k, 0);
        let n_blocks = n_points.div_ceil(BLOCK) as u64;
        let blocks = self
            .x
            .par_chunks_mut(BLOCK * k * size)
            .zip(self.noise.par_chunks_mut(BLOCK * k * size))
            .zip(self.times.par_chunks_mut(BLOCK * k).zip(self.levels.par_chunks_mut(BLOCK * k)));
        blocks.enumerate().for_each(|(block, ((x, z), (t, levels)))| {
            let mut rng = streams.stream(Purpose::Batch, step * n_blocks + block as u64);
            let points = x.chunks_exact_mut(k * size).zip(z.chunks_exact_mut(k * size));
            let clocks = t.chunks_exact_mut(k).zip(levels.chunks_exact_mut(k));
            for (idx, ((x, z), (t, levels))) in points.zip(clocks).enumerate() {
                let quantile = ((block * BLOCK + idx) as f64 + rng.random::<f64>()) / n_points as f64;
                times.draw(noise, quantile, &mut rng, t, levels);
                let frame = &data[rng.random_range(0..n_frames) * size..][..size];
                for (time_idx, &t) in t.iter().enumerate() {
                    let at = time_idx * size;
                    if time_idx > 0 && times.shared_noise {
                        z.copy_within(..size, at);
                    } else {
                        space.fill_normal(&mut rng, &mut z[at..at + size]);
                    }
                    let (a, g) = (noise.scale(t), noise.deviation(t));
                    let rest = frame.iter().zip(&z[at..at + size]);
                    for (x, (&x0, z)) in x[at..at + size].iter_mut().zip(rest) {
                        *x = a * f64::from(x0) + g * z;
                    }
                }
            }
        });
    }
}
