//! Blocks of correlated samples of several independent simulations, resampled within each.
//!
//! Each series is cut into B blocks of equal length, B = (N/g)^⅔ with g its statistical inefficiency, so that a
//! block is (N/g)^⅓ correlation times long: the length at which the bias of a block variance (shrinking as the
//! inverse length) and its noise (growing with the length) balance (Künsch 1989; Hall, Horowitz and Jing 1995).
//!
//! Of a series' B blocks, m = (B − 1) (1 − (g − 1/g)/2L) are drawn with replacement, each counting B/m times. The
//! variance of a resampled mean is then that of the mean itself: drawing B would lack a factor (B − 1)/B (Rao and Wu
//! 1988), and means of blocks of length L vary less than their share of the whole by (g − 1/g)/2L where correlation
//! decays exponentially. The fraction of m is a matter of chance in every resample.

use rand::Rng as _;

use crate::error::{Error, Result};
use crate::random::Rng;

/// Larger deficits of short blocks are not corrected: their size is a guess.
const LARGEST_DEFICIT: f64 = 0.3;

/// Blocks of consecutive samples, by series.
#[derive(Debug, Clone, PartialEq)]
pub struct Strata {
    block_of: Vec<u32>,
    /// Blocks of each series, and how many of them are drawn.
    series: Vec<(std::ops::Range<usize>, f64)>,
}

impl Strata {
    /// Series of given lengths, one after the other, each with its statistical inefficiency.
    pub fn new(lengths: &[usize], inefficiencies: &[f64]) -> Result<Self> {
        if lengths.len() != inefficiencies.len() || lengths.iter().sum::<usize>() == 0 {
            return Err(Error::invalid(
                "series of samples",
                "at least one sample, and an inefficiency for each series",
                format!("{} series and {} inefficiencies", lengths.len(), inefficiencies.len()),
            ));
        }
        let (mut block_of, mut series, mut first) = (Vec::new(), Vec::new(), 0);
        for (&n, &g) in lengths.iter().zip(inefficiencies) {
            let g = g.clamp(1.0, n.max(1) as f64);
            let n_blocks = n_blocks(n, g);
            block_of.extend((0..n).map(|sample| (first + sample * n_blocks / n) as u32));
            let length = n as f64 / n_blocks.max(1) as f64;
            let missing = ((g - 1.0 / g) / (2.0 * length)).clamp(0.0, LARGEST_DEFICIT);
            series.push((first..first + n_blocks, (n_blocks as f64 - 1.0) * (1.0 - missing)));
            first += n_blocks;
        }
        Ok(Self { block_of, series })
    }

    /// Number of blocks in all.
    pub fn n_blocks(&self) -> usize {
        self.series.last().map_or(0, |(blocks, _)| blocks.end)
    }

    /// Number of samples.
    pub fn n_samples(&self) -> usize {
        self.block_of.len()
    }

    /// Block of each sample.
    pub fn block_of(&self) -> &[u32] {
        &self.block_of
    }

    /// How often each sample counts in one resample.
    ///
    /// A series of a single block cannot be resampled and counts once.
    pub fn draw(&self, rng: &mut Rng) -> Vec<f64> {
        let mut count = vec![0.0; self.n_blocks()];
        for (blocks, wanted) in &self.series {
            if blocks.len() < 2 {
                count[blocks.clone()].fill(1.0);
                continue;
            }
            let n_drawn = ((wanted + rng.random::<f64>()) as usize).max(1);
            let each = blocks.len() as f64 / n_drawn as f64;
            (0..n_drawn).for_each(|_| count[rng.random_range(blocks.clone())] += each);
        }
        self.block_of.iter().map(|&block| count[block as usize]).collect()
    }

    /// What was done, for `error_method`.
    pub fn method(&self, n_resamples: usize) -> String {
        let within = match self.series.len() {
            1 => String::new(),
            n => format!(" within {n} series"),
        };
        format!("block bootstrap ({n_resamples} resamples of {} blocks{within})", self.n_blocks())
    }
}

/// At least five where there are as many samples: fewer give errors that are themselves unknown by half.
fn n_blocks(n: usize, inefficiency: f64) -> usize {
    let independent = n as f64 / inefficiency.max(1.0);
    (independent.powf(2.0 / 3.0).round() as usize).max(5).min(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};

    #[test]
    fn blocks_stay_within_their_series_and_longer_correlation_makes_longer_blocks() {
        let strata = Strata::new(&[1000, 1, 0, 1000], &[1.0, 1.0, 1.0, 50.0]).unwrap();
        let blocks: Vec<_> = strata.series.iter().map(|(blocks, _)| blocks.clone()).collect();
        assert_eq!(blocks, [0..100, 100..101, 101..101, 101..108]);
        assert!((strata.series[3].1 - 6.0 * (1.0 - 49.98 / (2.0 * 1000.0 / 7.0))).abs() < 1e-9);
        for index in 0..50 {
            let count = strata.draw(&mut Streams::new(0).stream(Purpose::Bootstrap, index));
            let sum = |range: std::ops::Range<usize>| count[range].iter().sum::<f64>();
            assert!((sum(0..1000) - 1000.0).abs() < 1e-6 && count[1000] == 1.0);
            assert!((sum(1001..2001) - 1000.0).abs() < 4.0, "blocks of 142 and 143 samples");
        }
        assert!(Strata::new(&[0], &[1.0]).is_err());
    }

    #[test]
    fn the_variance_of_a_mean_has_no_deficit() {
        // Six blocks of one sample: the variance of the mean is s²/6 with s² = 3.5, exactly.
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let strata = Strata { block_of: (0..6).collect(), series: vec![(0..6, 5.0)] };
        let mut sum = 0.0;
        let n = 40_000;
        for index in 0..n {
            let count = strata.draw(&mut Streams::new(1).stream(Purpose::Bootstrap, index));
            let mean = x.iter().zip(&count).map(|(x, c)| x * c).sum::<f64>() / 6.0;
            sum += (mean - 3.5_f64).powi(2);
        }
        // A variance from n normal numbers is known to √(2/n) = 0.7 %.
        assert!((sum / n as f64 / (3.5 / 6.0) - 1.0).abs() < 0.03, "{}", sum / n as f64);
    }
}
