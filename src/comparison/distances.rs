//! Distances between particles, frame by frame: bonds, and all pairs.

use super::wasserstein::wasserstein_1;
use crate::error::{Error, Result};

/// Positions of an ensemble with the weights of its frames.
#[derive(Debug, Clone, Copy)]
pub struct Frames<'a> {
    /// Particles per frame.
    pub n_particles: usize,
    /// `[frame][particle][xyz]`, nm.
    pub positions_nm: &'a [f64],
    /// One weight ≥ 0 per frame; equal without.
    pub weights: Option<&'a [f64]>,
}

/// How one distance differs between two ensembles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DistanceComparison {
    /// The two particles.
    pub pair: (usize, usize),
    /// Weighted mean in the first ensemble, nm.
    pub mean_a_nm: f64,
    /// Weighted mean in the second, nm.
    pub mean_b_nm: f64,
    /// Wasserstein-1 distance of the two distributions, nm.
    pub wasserstein_nm: f64,
}

/// The distance of one pair in every frame, nm.
pub fn pair_distances(frames: &Frames, pair: (usize, usize)) -> Result<Vec<f64>> {
    let size = 3 * frames.n_particles;
    if size == 0 || !frames.positions_nm.len().is_multiple_of(size) {
        return Err(Error::invalid(
            "positions of an ensemble",
            format!("a multiple of 3 × {} numbers", frames.n_particles),
            frames.positions_nm.len().to_string(),
        ));
    }
    if pair.0.max(pair.1) >= frames.n_particles {
        return Err(Error::invalid(
            "pair of particles",
            format!("indices below {}", frames.n_particles),
            format!("{pair:?}"),
        ));
    }
    let distance = |frame: &[f64]| {
        (0..3).map(|i| (frame[3 * pair.0 + i] - frame[3 * pair.1 + i]).powi(2)).sum::<f64>().sqrt()
    };
    Ok(frames.positions_nm.chunks_exact(size).map(distance).collect())
}

/// All pairs i < j of n particles.
pub fn all_pairs(n_particles: usize) -> Vec<(usize, usize)> {
    (0..n_particles).flat_map(|i| (i + 1..n_particles).map(move |j| (i, j))).collect()
}

/// Compares the distributions of the given distances, of bonds or of [`all_pairs`].
pub fn compare_distances(
    a: &Frames,
    b: &Frames,
    pairs: &[(usize, usize)],
) -> Result<Vec<DistanceComparison>> {
    pairs
        .iter()
        .map(|&pair| {
            let (of_a, of_b) = (pair_distances(a, pair)?, pair_distances(b, pair)?);
            let wasserstein_nm = wasserstein_1(&of_a, a.weights, &of_b, b.weights)?;
            let (mean_a_nm, mean_b_nm) = (mean(&of_a, a.weights), mean(&of_b, b.weights));
            Ok(DistanceComparison { pair, mean_a_nm, mean_b_nm, wasserstein_nm })
        })
        .collect()
}

fn mean(values: &[f64], weights: Option<&[f64]>) -> f64 {
    let weight = |n: usize| weights.map_or(1.0, |weights| weights[n]);
    let sum: f64 = (0..values.len()).map(weight).sum();
    values.iter().enumerate().map(|(n, value)| weight(n) * value).sum::<f64>() / sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretched_bond_is_found_and_the_others_are_left_alone() {
        let a = [0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.1, 0.2, 0.0].repeat(3);
        let b = [1.0, 0.0, 0.0, 1.1, 0.0, 0.0, 1.1, 0.25, 0.0].repeat(2);
        let frames = |positions_nm| Frames { n_particles: 3, positions_nm, weights: None };
        let result = compare_distances(&frames(&a), &frames(&b), &all_pairs(3)).unwrap();
        assert_eq!(result.iter().map(|r| r.pair).collect::<Vec<_>>(), [(0, 1), (0, 2), (1, 2)]);
        assert!(result[0].wasserstein_nm.abs() < 1e-12);
        assert!((result[2].wasserstein_nm - 0.05).abs() < 1e-12);
        assert!((result[2].mean_b_nm - 0.25).abs() < 1e-12);
        assert!(compare_distances(&frames(&a), &frames(&b), &[(0, 3)]).is_err());
        assert!(pair_distances(&frames(&a[1..]), (0, 1)).is_err());
    }
}
