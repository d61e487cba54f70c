//! How much of an ensemble lies in a region.

use crate::free_energy::bootstrap::Blocks;
use crate::free_energy::weights::effective_sample_size;

/// Population of a region, Σ w inside / Σ w, and its standard error over blocks.
///
/// The error of this ratio is that of the block residuals A_b − p W_b, which also accounts for blocks of
/// unequal weight. A region that was never seen, or never left, is not known better than to one frame.
pub fn population(inside: &[bool], weights: Option<&[f64]>, blocks: &Blocks) -> (f64, f64) {
    let n_blocks = blocks.n_blocks();
    let (mut of_block, mut within) = (vec![0.0; n_blocks], vec![0.0; n_blocks]);
    for (frame, &block) in blocks.block_of().iter().enumerate() {
        let weight = weights.map_or(1.0, |weights| weights[frame]);
        of_block[block] += weight;
        within[block] += if inside[frame] { weight } else { 0.0 };
    }
    let total: f64 = of_block.iter().sum();
    let value = within.iter().sum::<f64>() / total;
    let squares: f64 = within.iter().zip(&of_block).map(|(a, w)| (a - value * w).powi(2)).sum();
    let error = (squares * n_blocks as f64 / (n_blocks as f64 - 1.0)).sqrt() / total;
    let least = weights.map_or(inside.len() as f64, effective_sample_size);
    (value, if value == 0.0 || value == 1.0 { 1.0 / least } else { error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};
    use rand::Rng as _;

    #[test]
    fn errors_over_blocks_are_binomial_for_independent_frames() {
        let mut rng = Streams::new(4).stream(Purpose::Walker, 0);
        let n = 40_000;
        let inside: Vec<bool> = (0..n).map(|_| rng.random::<f64>() < 0.0625).collect();
        let blocks = Blocks::contiguous(n, 200).unwrap();
        let (value, error) = population(&inside, None, &blocks);
        let exact_error = (0.0625 * 0.9375 / n as f64).sqrt();
        assert!((value - 0.0625).abs() < 4.0 * exact_error);
        assert!((error / exact_error - 1.0).abs() < 0.2);

        // Weights that double what is inside.
        let weights: Vec<f64> = inside.iter().map(|inside| if *inside { 2.0 } else { 1.0 }).collect();
        let (weighted, _) = population(&inside, Some(&weights), &blocks);
        assert!((weighted - 2.0 * value / (1.0 + value)).abs() < 1e-12);
    }

    #[test]
    fn the_error_is_the_spread_of_the_blocks_and_nothing_inside_is_not_certainty() {
        // Blocks of two frames with populations 1, 0.5 and 0: mean 0.5, spread 0.5, error 0.5/√3.
        let blocks = Blocks::contiguous(6, 3).unwrap();
        let (value, error) = population(&[true, true, true, false, false, false], None, &blocks);
        assert!((value - 0.5).abs() < 1e-15 && (error - 0.5 / 3.0_f64.sqrt()).abs() < 1e-12, "{error}");
        let (value, error) = population(&[false; 6], None, &blocks);
        assert_eq!((value, error), (0.0, 1.0 / 6.0));
    }
}
