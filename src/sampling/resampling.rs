//! Weights of particles: effective numbers, and drawing particles in proportion to them.

use rand::Rng as _;

use crate::random::Rng;

/// Kish's effective sample size (Σw)²/Σw², from weights.
pub fn effective_sample_size(weights: &[f64]) -> f64 {
    let (sum, squares) = weights.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// Kish's effective sample size from log-weights, which need not be normalised.
pub fn effective_sample_size_log(log_weights: &[f64]) -> f64 {
    let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_infinite() {
        return 0.0;
    }
    effective_sample_size(&log_weights.iter().map(|w| (w - largest).exp()).collect::<Vec<_>>())
}

/// Systematic resampling (Kitagawa 1996): one uniform number, n equidistant points on the cumulative
/// weights. Particle i is drawn ⌊n w_i⌋ or ⌈n w_i⌉ times.
pub fn systematic_resampling(weights: &[f64], n: usize, rng: &mut Rng) -> Vec<usize> {
    let offset: f64 = rng.random();
    pick(weights, (0..n).map(|k| (k as f64 + offset) / n as f64))
}

/// Multinomial resampling: n independent draws, in the order of the particles.
pub fn multinomial_resampling(weights: &[f64], n: usize, rng: &mut Rng) -> Vec<usize> {
    let mut points: Vec<f64> = (0..n).map(|_| rng.random()).collect();
    points.sort_by(f64::total_cmp);
    pick(weights, points.into_iter())
}

/// For ascending points in [0, 1), the particle in whose share of the total weight each lies.
fn pick(weights: &[f64], points: impl Iterator<Item = f64>) -> Vec<usize> {
    let total: f64 = weights.iter().sum();
    let last = weights.iter().rposition(|w| *w > 0.0).unwrap_or(0);
    let (mut idx, mut cumulative) = (0, weights.first().copied().unwrap_or(0.0));
    points
        .map(|point| {
            while idx < last && cumulative <= point * total {
                idx += 1;
                cumulative += weights[idx];
            }
            idx
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};

    #[test]
    fn counts_are_proportional_to_weights() {
        let weights = [0.0, 0.1, 0.25, 0.0, 0.65, 0.0];
        let mut rng = Streams::new(2).stream(Purpose::Resampling, 0);
        let (n, mut multinomial) = (1000, [0.0; 6]);
        for _ in 0..50 {
            let mut systematic = [0.0; 6];
            systematic_resampling(&weights, n, &mut rng).iter().for_each(|&idx| systematic[idx] += 1.0);
            for (count, weight) in systematic.iter().zip(weights) {
                assert!((count - weight * n as f64).abs() < 1.0 + 1e-9, "{systematic:?}");
            }
            multinomial_resampling(&weights, n, &mut rng).iter().for_each(|&idx| multinomial[idx] += 1.0);
        }
        for (count, weight) in multinomial.iter().zip(weights) {
            let (total, expected) = (50_000.0, weight * 50_000.0);
            let std_error = (total * weight * (1.0 - weight)).sqrt();
            assert!((count - expected).abs() <= 4.0 * std_error, "{multinomial:?}");
        }
    }

    #[test]
    fn equal_weights_count_fully_and_one_weight_counts_once() {
        assert!((effective_sample_size_log(&[1e4; 7]) - 7.0).abs() < 1e-12);
        assert!((effective_sample_size_log(&[0.0, -1e5, -1e5]) - 1.0).abs() < 1e-12);
        assert_eq!(effective_sample_size_log(&[f64::NEG_INFINITY; 3]), 0.0);
    }
}
