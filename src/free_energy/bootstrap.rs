//! Errors of anything computed from correlated samples: whole blocks are drawn with replacement.
//!
//! A block holds what is correlated: a stretch of a trajectory longer than its correlation time, or
//! all states of one ladder of replica exchange, whose walkers visit each other's states (Künsch 1989;
//! Efron and Tibshirani 1993). Blocks that have states in common are exchangeable with each other;
//! groups of blocks that have none are resampled separately, so that every state keeps its samples.

use super::mbar::bootstrap::{Reference, Resampling};
use super::{Mbar, ReducedEnergies};
use crate::error::{Error, Result};
use crate::random::{Purpose, Rng, Streams};
use rand::{Rng as _, RngCore};
use rayon::prelude::*;
use std::ops::Range;

/// Which samples belong together, and which blocks may stand for each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocks {
    /// Block of each sample, renumbered 0, 1, ….
    block_of: Vec<usize>,
    strata: Vec<Vec<usize>>,
    n_blocks: usize,
}

impl Blocks {
    /// Blocks that may all stand for each other, from any identifiers (walker, ladder, stretch of time).
    pub fn new(block_ids: &[usize]) -> Result<Self> {
        let (block_of, n_blocks) = renumbered(block_ids);
        Self { block_of, strata: vec![(0..n_blocks).collect()], n_blocks }.checked()
    }

    /// Blocks of samples from several states, resampled within groups that have states in common.
    pub fn of_states(block_ids: &[usize], state_of: &[usize]) -> Result<Self> {
        if block_ids.len() != state_of.len() {
            return Err(Error::invalid(
                "block of each sample",
                state_of.len().to_string(),
                block_ids.len().to_string(),
            ));
        }
        let (block_of, n_blocks) = renumbered(block_ids);
        let n_states = state_of.iter().max().map_or(0, |max| max + 1);
        // Union of everything that is linked through a state: nodes are blocks, then states.
        let mut parent: Vec<usize> = (0..n_blocks + n_states).collect();
        for (&block, &state) in block_of.iter().zip(state_of) {
            let (a, b) = (root(&mut parent, block), root(&mut parent, n_blocks + state));
            parent[a.max(b)] = a.min(b);
        }
        let mut strata: Vec<Vec<usize>> = vec![Vec::new(); n_blocks];
        for block in 0..n_blocks {
            strata[root(&mut parent, block)].push(block);
        }
        strata.retain(|blocks| !blocks.is_empty());
        Self { block_of, strata, n_blocks }.checked()
    }

    /// `n_blocks` contiguous stretches of equal length (to one sample) of `n_samples` samples.
    pub fn contiguous(n_samples: usize, n_blocks: usize) -> Result<Self> {
        Self::new(&contiguous_ids(n_samples, n_blocks))
    }

    fn checked(self) -> Result<Self> {
        match self.strata.iter().find(|blocks| blocks.len() < 2) {
            Some(blocks) => Err(Error::invalid(
                "blocks of samples",
                "at least 2 blocks that can stand for each other",
                format!("{} ({} blocks in all)", blocks.len(), self.n_blocks),
            )),
            None => Ok(self),
        }
    }

    /// How many blocks there are.
    pub fn n_blocks(&self) -> usize {
        self.n_blocks
    }

    /// The block of each sample, numbered from 0.
    pub fn block_of(&self) -> &[usize] {
        &self.block_of
    }

    /// How often each block was drawn.
    pub fn draw(&self, rng: &mut Rng) -> Vec<f64> {
        let mut count = vec![0.0; self.n_blocks];
        for blocks in &self.strata {
            for _ in 0..blocks.len() {
                count[blocks[rng.random_range(0..blocks.len())]] += 1.0;
            }
        }
        count
    }

    /// The same per sample.
    pub fn per_sample(&self, count_of_block: &[f64]) -> Vec<f64> {
        self.block_of.iter().map(|&block| count_of_block[block]).collect()
    }

    /// √(B/(B − 1)): a resample of B blocks varies less than B new blocks would.
    ///
    /// Of several strata the one with fewest blocks decides, which errs on the large side.
    pub fn inflation(&self) -> f64 {
        let fewest = self.strata.iter().map(Vec::len).min().unwrap_or(2) as f64;
        (fewest / (fewest - 1.0)).sqrt()
    }
}

/// Identifiers of contiguous stretches of equal length.
pub fn contiguous_ids(n_samples: usize, n_blocks: usize) -> Vec<usize> {
    (0..n_samples).map(|n| n * n_blocks / n_samples).collect()
}

fn renumbered(ids: &[usize]) -> (Vec<usize>, usize) {
    let mut distinct = ids.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let place = |id| distinct.binary_search(id).expect("every identifier is in the list");
    (ids.iter().map(place).collect(), distinct.len())
}

fn root(parent: &mut [usize], mut node: usize) -> usize {
    while parent[node] != node {
        parent[node] = parent[parent[node]];
        node = parent[node];
    }
    node
}

/// Replicates of several numbers and their spread.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    /// `[resample][number]`, those resamples that could be evaluated.
    pub replicates: Vec<Vec<f64>>,
    /// Standard error of each number, over its finite replicates.
    pub std_errors: Vec<f64>,
    /// Resamples that could not be evaluated, for example because states were disconnected.
    pub n_failed: usize,
    /// What was done, for `error_method`.
    pub method: String,
}

/// Evaluates numbers on resamples; `evaluate` gets how often each block counts, `None` is a failure.
pub fn bootstrap(
    blocks: &Blocks,
    n_resamples: usize,
    streams: &Streams,
    evaluate: impl Fn(&[f64]) -> Option<Vec<f64>> + Sync,
) -> Bootstrap {
    let outcomes: Vec<Option<Vec<f64>>> = (0..n_resamples)
        .into_par_iter()
        .map(|resample| evaluate(&blocks.draw(&mut streams.stream(Purpose::Bootstrap, resample as u64))))
        .collect();
    summary(blocks, outcomes)
}

fn summary(blocks: &Blocks, outcomes: Vec<Option<Vec<f64>>>) -> Bootstrap {
    let n_resamples = outcomes.len();
    let replicates: Vec<Vec<f64>> = outcomes.into_iter().flatten().collect();
    let n_failed = n_resamples - replicates.len();
    let n_numbers = replicates.first().map_or(0, Vec::len);
    let std_errors = (0..n_numbers)
        .map(|i| blocks.inflation() * deviation(replicates.iter().map(|numbers| numbers[i])))
        .collect();
    let mut method = format!("block bootstrap ({n_resamples} resamples of {} blocks)", blocks.n_blocks());
    if n_failed > 0 {
        method += &format!(", {n_failed} of them without a solution and left out");
    }
    Bootstrap { replicates, std_errors, n_failed, method }
}

/// Resamples an MBAR analysis.
///
/// The resamples are solved together ([`super::mbar::bootstrap`]); what else `statistic` asks of each is summed
/// when it does.
pub fn bootstrap_mbar(
    mbar: &Mbar,
    blocks: &Blocks,
    n_resamples: usize,
    streams: &Streams,
    statistic: impl Fn(&Mbar) -> Option<Vec<f64>> + Sync,
) -> Result<Bootstrap> {
    let n_samples = mbar.energies().n_samples();
    if blocks.block_of().len() != n_samples {
        return Err(Error::invalid(
            "block of each sample",
            n_samples.to_string(),
            blocks.block_of().len().to_string(),
        ));
    }
    let reference = Reference::new(mbar, Resampling::Blocks(blocks));
    let batch = reference.batch(n_resamples);
    let mut outcomes = Vec::with_capacity(n_resamples);
    for first in (0..n_resamples).step_by(batch) {
        let drawn = reference.draw(first..(first + batch).min(n_resamples), streams);
        let solved = reference.solve(&drawn)?;
        let evaluated = solved.par_iter().zip(&drawn).map(|(solved, drawn)| {
            reference.analysis(solved, drawn).ok().and_then(|resampled| statistic(&resampled))
        });
        outcomes.extend(evaluated.collect::<Vec<_>>());
    }
    Ok(summary(blocks, outcomes))
}

/// Blocks of an MBAR analysis from identifiers.
pub fn mbar_blocks(energies: &ReducedEnergies, block_ids: &[usize]) -> Result<Blocks> {
    Blocks::of_states(block_ids, energies.state_of())
}

/// Draws as many samples as there are from those in `runs`, with replacement.
pub(super) fn draw_samples(runs: &[Range<usize>], rng: &mut Rng, count: &mut [u8]) {
    let n: usize = runs.iter().map(Range::len).sum();
    let mut add = |i: usize| {
        let mut i = i;
        for run in runs {
            if i < run.len() {
                // More than 255 of one sample have a probability below 1e-500.
                count[run.start + i] = count[run.start + i].saturating_add(1);
                return;
            }
            i -= run.len();
        }
    };
    let Ok(n_short) = u32::try_from(n) else {
        (0..n).for_each(|_| add(rng.random_range(0..n)));
        return;
    };
    // Lemire's method (2019) on words drawn by the hundred: exact, and a multiplication per sample.
    let rejected = n_short.wrapping_neg().checked_rem(n_short).unwrap_or(0);
    let mut bytes = [0_u8; 1024];
    let mut left = n;
    while left > 0 {
        rng.fill_bytes(&mut bytes);
        for word in bytes.as_chunks::<4>().0.iter().take(left.max(1)) {
            let product = u64::from(u32::from_le_bytes(*word)) * u64::from(n_short);
            if product as u32 >= rejected {
                add((product >> 32) as usize);
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
    }
}

/// Standard deviation of the finite values; NaN for fewer than two.
pub(crate) fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let finite = values.filter(|value| value.is_finite());
    let n = finite.clone().count() as f64;
    if n < 2.0 {
        return f64::NAN;
    }
    let mean = finite.clone().sum::<f64>() / n;
    (finite.map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::fill_normal;

    /// An AR(1) series with unit variance and correlation time τ: var of its mean is (1+a)/(1−a)/n.
    fn correlated(n: usize, a: f64, stream: u64) -> Vec<f64> {
        let mut x = vec![0.0; n];
        fill_normal(&mut Streams::new(5).stream(Purpose::Walker, stream), &mut x);
        for i in 1..n {
            x[i] = a * x[i - 1] + (1.0 - a * a).sqrt() * x[i];
        }
        x
    }

    fn mean_error(x: &[f64], n_blocks: usize) -> f64 {
        let blocks = Blocks::contiguous(x.len(), n_blocks).unwrap();
        bootstrap(&blocks, 200, &Streams::new(1), |count| {
            let c = blocks.per_sample(count);
            let sum: f64 = c.iter().sum();
            Some(vec![x.iter().zip(&c).map(|(x, c)| x * c).sum::<f64>() / sum])
        })
        .std_errors[0]
    }

    #[test]
    fn blocks_see_correlation_that_single_samples_hide() {
        let (n, a) = (20_000, 0.9);
        let exact = ((1.0_f64 + a) / (1.0 - a) / n as f64).sqrt();
        let mean_square = |n_blocks| {
            (0..20).map(|i| mean_error(&correlated(n, a, i), n_blocks).powi(2)).sum::<f64>() / 20.0
        };
        // 20 × 40 blocks determine a variance to 5 %; a block of 500 = 50 correlation times biases by 2 %.
        assert!((mean_square(40).sqrt() / exact - 1.0).abs() < 0.1);
        assert!(mean_error(&correlated(n, a, 0), n) < 0.3 * exact, "single samples should be too sure");
    }

    #[test]
    fn blocks_of_one_state_are_resampled_within_it() {
        // Blocks 0, 1 sample state 0; blocks 2, 3 state 1; blocks 4 and 5 both states 2 and 3.
        let ids = [0, 0, 1, 1, 2, 3, 4, 4, 5, 5];
        let states = [0, 0, 0, 0, 1, 1, 2, 3, 2, 3];
        let blocks = Blocks::of_states(&ids, &states).unwrap();
        assert_eq!(blocks.strata, [vec![0, 1], vec![2, 3], vec![4, 5]]);
        let drawn = blocks.draw(&mut Streams::new(0).stream(Purpose::Bootstrap, 0));
        assert!(drawn.chunks(2).all(|pair| pair[0] + pair[1] == 2.0));
        assert!(Blocks::of_states(&[0, 0, 1], &[0, 0, 1]).is_err());
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let x = correlated(500, 0.5, 0);
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(alone.install(|| mean_error(&x, 10)).to_bits(), mean_error(&x, 10).to_bits());
    }
}
