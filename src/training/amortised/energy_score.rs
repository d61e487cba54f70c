//! The energy score of conditional laws: generators from data alone, without an adversary.
//!
//! Of samples x̂ and x̂′ of a generator and x of the data, all given the same x_{i+1},
//!
//! ```text
//! S = E|x̂ − x|^β − ½ E|x̂ − x̂′|^β,    0 < β < 2
//! ```
//!
//! is least for the law of the data alone (Gneiting and Raftery 2007): it is a strictly proper scoring rule, and
//! generators of diffusion steps that minimise it are the distributional diffusion models of De Bortoli et al. (2025).
//! The excess over its least value is half of a squared distance of the two laws in which a wave of wave number k counts
//! |k|^{−d−β}; a smaller β sees finer details, with noisier gradients.

use super::generator::{Generators, Scale};
use super::settings::WarmStartSettings;
use super::step::{Chunk, Objective, Size, Student, gradient};
use crate::error::Result;
use crate::model::data::TrainingData;
use crate::random::Streams;
use crate::sampling::Progress;
use crate::training::optimizer::{AdamSettings, learning_rate};

/// The energy score with its exponent β.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EnergyScore {
    /// β
    pub exponent: f64,
}

/// Distances are softened by this, in units of the width of the law for Gaussian data.
const SOFTENING: f64 = 1e-3;

impl EnergyScore {
    /// The score of samples `[sample][coordinate]` against one point of the data, unbiased; adds its derivatives to `slopes`.
    pub fn add(&self, data: &[f64], samples: &[f64], slopes: &mut [f64]) -> f64 {
        let (d, m) = (data.len(), (samples.len() / data.len()) as f64);
        let (mut score, beta) = (0.0, self.exponent);
        let distance = |a: &[f64], b: &[f64]| -> (f64, f64) {
            let square = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() + SOFTENING * SOFTENING;
            let power = if beta == 1.0 { square.sqrt() } else { square.powf(0.5 * beta) };
            (power, beta * power / square)
        };
        let (to_data, to_others) = (1.0 / m, 1.0 / (m * (m - 1.0)));
        for (k, a) in samples.chunks_exact(d).enumerate() {
            let (power, slope) = distance(a, data);
            score += to_data * power;
            for i in 0..d {
                slopes[k * d + i] += to_data * slope * (a[i] - data[i]);
            }
            for (l, b) in samples.chunks_exact(d).enumerate().take(k) {
                let (power, slope) = distance(a, b);
                score -= to_others * power;
                for i in 0..d {
                    let pull = to_others * slope * (a[i] - b[i]);
                    slopes[k * d + i] -= pull;
                    slopes[l * d + i] += pull;
                }
            }
        }
        score
    }
}

impl Objective for EnergyScore {
    type Gathered = ();

    fn add(&self, _: &Scale, chunk: &mut Chunk, (): &mut ()) -> Result<f64> {
        let (d, all) = (chunk.d, chunk.n_each * chunk.d);
        let conditions = chunk.data.chunks_exact(d).zip(chunk.samples.chunks_exact(all));
        let each = conditions.zip(chunk.slopes.chunks_exact_mut(all));
        Ok(each.map(|((data, samples), slopes)| EnergyScore::add(self, data, samples, slopes)).sum())
    }
}

/// Trains every generator by the energy score of its conditional law, scale after scale; returns the score of each, mean of the
/// last tenth of its steps, in units of its width.
pub fn train_by_energy_score(
    generators: &mut Generators,
    data: &TrainingData,
    settings: &WarmStartSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<Vec<f64>> {
    data.validate()?;
    let objective = EnergyScore { exponent: settings.exponent };
    let (n, n_scales) = (settings.n_steps, generators.scales.len());
    let size = Size { n_conditions: settings.batch_size, n_each: settings.n_samples };
    let mut scores = Vec::with_capacity(n_scales);
    for (idx, (scale, network)) in generators.scales.iter().zip(&mut generators.networks).enumerate() {
        let own = streams.derive(idx as u64);
        let mut student = Student::new(network, AdamSettings::default(), settings.ema_decay);
        let (mut sum, mut count) = (0.0, 0_usize);
        for step in 0..n {
            let (score, slope, _) = gradient(&objective, (scale, network), data, size, &own, step as u64)?;
            let rate = learning_rate(step, n, 100.min(n / 10), settings.learning_rate, 0.0);
            student.descend(network, slope, rate);
            if 10 * step >= 9 * n {
                (sum, count) = (sum + score, count + 1);
            }
            progress((idx as f64 + (step + 1) as f64 / n as f64) / n_scales as f64)?;
        }
        network.set_weights(&student.average);
        scores.push(sum / count as f64);
    }
    Ok(scores)
}
