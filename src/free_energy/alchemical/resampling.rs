//! Bootstrap of everything at once: stretches of the time series, longer than their correlation, drawn anew.
//!
//! The samples of a state form a ring, of which stretches of b samples are drawn from random places (Politis and
//! Romano 1992). The mean of a stretch varies less than it should, because what lies before and after it is
//! correlated with it: for a correlation that decays as ρ^t by the factor 1 − (g² − 1)(1 − ρ^b) / 2 b g. And resamples
//! vary about the mean of the sample, by 1 − b/N less than samples vary about the truth. Both are made up for by
//! drawing that many samples fewer.

use super::Dataset;
use crate::random::{Purpose, Rng, Streams};
use rand::Rng as _;

/// Length of a stretch in statistical inefficiencies, each of which is two correlation times. With longer ones there
/// are so few that their spread is uncertain, and intervals cover less often.
const STRETCH: f64 = 1.0;

/// Stretches not drawn: one as the mean is that of the sample, and (1.96² + 1) / 2 because the spread of ν stretches is
/// uncertain, where Student's t is wider than a Gaussian by that share of 1 / ν.
const LOST_STRETCHES: f64 = 3.4;

/// The rings of all states.
#[derive(Debug, Clone)]
pub(super) struct Rings {
    rings: Vec<Ring>,
    counts: Vec<f64>,
}

#[derive(Debug, Clone)]
struct Ring {
    samples: Vec<usize>,
    stretch: usize,
    /// Samples to draw.
    n_drawn: usize,
}

impl Rings {
    /// From what samples count and the inefficiency of each window.
    pub fn new(data: &Dataset, counts: &[f64], inefficiency: &[f64]) -> Self {
        let mut rings = Vec::new();
        for state in 0..data.states.len() {
            let mut samples = Vec::new();
            let mut g = 1.0_f64;
            for (window, inefficiency) in data.windows.iter().zip(inefficiency) {
                if window.state == state {
                    samples.extend(window.samples.clone().filter(|&n| counts[n] > 0.0));
                    g = g.max(*inefficiency);
                }
            }
            if samples.is_empty() {
                continue;
            }
            let n = samples.len();
            let stretch = if g > 1.0 { ((STRETCH * g).ceil() as usize).clamp(1, n.div_ceil(4)) } else { 1 };
            let (b, rho) = (stretch as f64, (g - 1.0) / (g + 1.0));
            let edges = 1.0 - (g * g - 1.0) * (1.0 - rho.powf(b)) / (2.0 * b * g);
            let n_drawn = (((n as f64 - LOST_STRETCHES * b) * edges).round() as usize).max(1);
            rings.push(Ring { samples, stretch, n_drawn });
        }
        Self { rings, counts: counts.to_vec() }
    }

    /// Counts of all samples in one resample; every state keeps its total.
    pub fn draw(&self, rng: &mut Rng) -> Vec<f64> {
        let mut drawn = vec![0.0; self.counts.len()];
        for ring in &self.rings {
            let n = ring.samples.len();
            let mut left = ring.n_drawn;
            let (mut total, mut before) = (0.0, 0.0);
            for &sample in &ring.samples {
                before += self.counts[sample];
            }
            while left > 0 {
                let start = rng.random_range(0..n);
                for place in 0..ring.stretch.min(left) {
                    let sample = ring.samples[(start + place) % n];
                    drawn[sample] += self.counts[sample];
                    total += self.counts[sample];
                }
                left -= ring.stretch.min(left);
            }
            for &sample in &ring.samples {
                drawn[sample] *= before / total;
            }
        }
        drawn
    }

    /// What was done, for people.
    pub fn method(&self, n_resamples: usize) -> String {
        let longest = self.rings.iter().map(|ring| ring.stretch).max().unwrap_or(1);
        match longest {
            1 => format!("bootstrap ({n_resamples} resamples)"),
            _ => format!("bootstrap ({n_resamples} resamples of stretches of up to {longest} samples)"),
        }
    }
}

/// The stream of one resample.
pub(super) fn stream(seed: u64, resample: usize) -> Rng {
    Streams::new(seed).stream(Purpose::Bootstrap, resample as u64)
}
