//! Does the answer depend on which part of the samples is used?

use super::workflow::Work;
use super::{BlockPoint, ConvergencePoint, Estimator};
use rayon::prelude::*;
use std::ops::Range;

/// Blocks of every window whose free energies are compared.
const N_BLOCKS: usize = 5;

/// Free energy of the whole path from the first and from the last part of every window, equilibration left out.
pub(super) fn convergence(work: &Work, estimator: Estimator) -> Vec<ConvergencePoint> {
    let n = work.settings.n_convergence;
    (1..=n)
        .into_par_iter()
        .map(|point| {
            let fraction = point as f64 / n as f64;
            let length = |n: usize| ((fraction * n as f64).round() as usize).clamp(1, n);
            let (forward, forward_error) = part(work, estimator, |n| 0..length(n));
            let (backward, backward_error) = if point == n {
                (forward, forward_error)
            } else {
                part(work, estimator, |n| n - length(n)..n)
            };
            ConvergencePoint { fraction, forward, forward_error, backward, backward_error }
        })
        .collect()
}

/// Free energy of the whole path from consecutive blocks of every window.
pub(super) fn blocks(work: &Work, estimator: Estimator) -> Vec<BlockPoint> {
    (0..N_BLOCKS)
        .into_par_iter()
        .map(|block| {
            let range = |n: usize| {
                let (first, last) = (block * n / N_BLOCKS, (block + 1) * n / N_BLOCKS);
                // Windows with fewer samples than blocks give their nearest sample.
                if last > first { first..last } else { first.min(n - 1)..first.min(n - 1) + 1 }
            };
            let (delta_f, std_error) = part(work, estimator, range);
            BlockPoint { fraction: (block as f64 + 0.5) / N_BLOCKS as f64, delta_f, std_error }
        })
        .collect()
}

/// With only the samples of each window that `range` takes of those that count.
fn part(work: &Work, estimator: Estimator, range: impl Fn(usize) -> Range<usize>) -> (f64, f64) {
    let masked = |counts: &[f64]| {
        let mut result = vec![0.0; counts.len()];
        for window in &work.data.windows {
            let used: Vec<usize> = window.samples.clone().filter(|&n| counts[n] > 0.0).collect();
            if !used.is_empty() {
                used[range(used.len())].iter().for_each(|&n| result[n] = counts[n]);
            }
        }
        result
    };
    work.total(estimator, &masked(&work.sampling.energy_counts), &masked(&work.sampling.slope_counts))
}
