//! Training, selection and test frames, by contiguous blocks.
//!
//! Frames that follow each other are correlated: were they dealt out one by one, test frames would be
//! near copies of training frames. So the trajectory is cut into blocks, and whole blocks are dealt.

use crate::error::{Error, Result};
use crate::random::{Purpose, Streams};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

/// What share of the frames each part gets; the shares add up to one.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitSettings {
    /// What the model learns from.
    pub train: f64,
    /// What chooses between models.
    pub selection: f64,
    /// What is opened once, for the report.
    pub test: f64,
    /// Into how many blocks the trajectory is cut.
    pub n_blocks: usize,
}

impl Default for SplitSettings {
    fn default() -> Self {
        Self { train: 0.45, selection: 0.05, test: 0.5, n_blocks: 40 }
    }
}

/// Frame indices of each part, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What the model learns from.
    pub train: Vec<usize>,
    /// What chooses between models.
    pub selection: Vec<usize>,
    /// What is opened once.
    pub test: Vec<usize>,
}

impl Split {
    /// Deals `n_blocks` contiguous blocks, as equal as possible, in an order drawn with the seed.
    ///
    /// Each part is within one block of its share, and a part with a share has at least one block.
    /// `place` is the key path of the settings, for messages.
    pub fn new(place: &str, settings: &SplitSettings, n_frames: usize, streams: &Streams) -> Result<Self> {
        let n_blocks = settings.n_blocks;
        let shares = [settings.train, settings.selection, settings.test];
        if shares.iter().any(|share| !(0.0..=1.0).contains(share))
            || (shares.iter().sum::<f64>() - 1.0).abs() > 1e-6
        {
            return Err(Error::config(
                place,
                format!("the shares {shares:?} of train, selection and test do not add up to 1"),
                "",
            ));
        }
        let n_parts = shares.iter().filter(|share| **share > 0.0).count();
        if n_blocks < n_parts {
            return Err(Error::config(
                format!("{place}.n_blocks = {n_blocks}"),
                format!("too few for {n_parts} parts"),
                "",
            ));
        }
        if n_frames < n_blocks {
            return Err(Error::config(
                place,
                format!("{n_frames} frames are too few for {n_blocks} blocks of at least one frame"),
                format!(
                    "{n_blocks} frames are needed; use a longer trajectory, a smaller stride or fewer blocks"
                ),
            ));
        }

        let counts = block_counts(shares, n_blocks);
        let mut order: Vec<usize> = (0..n_blocks).collect();
        order.shuffle(&mut streams.stream(Purpose::Split, 0));
        let (train, rest) = order.split_at(counts[0]);
        let (selection, test) = rest.split_at(counts[1]);
        let frames_of = |blocks: &[usize]| {
            let mut blocks = blocks.to_vec();
            blocks.sort_unstable();
            let start = |block: usize| (block as u128 * n_frames as u128 / n_blocks as u128) as usize;
            blocks.into_iter().flat_map(|block| start(block)..start(block + 1)).collect()
        };
        Ok(Self { train: frames_of(train), selection: frames_of(selection), test: frames_of(test) })
    }
}

/// Blocks of each part: whole shares first, the remaining ones to the largest remainders.
fn block_counts(shares: [f64; 3], n_blocks: usize) -> [usize; 3] {
    let exact = shares.map(|share| share * n_blocks as f64);
    // A share that is a whole number of blocks but for rounding is taken as such.
    let mut counts = exact.map(|share| (share + 1e-6).floor() as usize);
    for part in 0..3 {
        if counts[part] == 0 && shares[part] > 0.0 {
            counts[part] = 1;
        }
    }
    let total = |counts: &[usize; 3]| counts.iter().sum::<usize>();
    let lack = |counts: &[usize; 3], part: usize| exact[part] - counts[part] as f64;
    while total(&counts) < n_blocks {
        let neediest = (0..3).max_by(|&a, &b| lack(&counts, a).total_cmp(&lack(&counts, b))).unwrap_or(0);
        counts[neediest] += 1;
    }
    while total(&counts) > n_blocks {
        let richest = (0..3)
            .filter(|&part| counts[part] > 1)
            .min_by(|&a, &b| lack(&counts, a).total_cmp(&lack(&counts, b)))
            .unwrap_or(0);
        counts[richest] -= 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(n_frames: usize, seed: u64) -> Split {
        Split::new("split", &SplitSettings::default(), n_frames, &Streams::new(seed)).expect("enough frames")
    }

    #[test]
    fn every_frame_is_in_exactly_one_part_and_shares_hold_to_one_block() {
        for n_frames in [40, 41, 1003, 100_000] {
            let split = split(n_frames, 3);
            let mut all = [split.train.clone(), split.selection.clone(), split.test.clone()].concat();
            all.sort_unstable();
            assert_eq!(all, (0..n_frames).collect::<Vec<_>>());
            let block = n_frames as f64 / 40.0;
            for (part, share) in [(&split.train, 0.45), (&split.selection, 0.05), (&split.test, 0.5)] {
                assert!((part.len() as f64 - share * n_frames as f64).abs() <= block + 1.0);
                assert!(part.is_sorted());
            }
        }
    }

    #[test]
    fn parts_consist_of_whole_blocks_and_depend_on_the_seed_alone() {
        let first = split(400, 1);
        for block in first.test.chunks(10) {
            assert!(block[0] % 10 == 0 && block.windows(2).all(|pair| pair[1] == pair[0] + 1));
        }
        assert_eq!(first, split(400, 1));
        assert_ne!(first, split(400, 2));
    }

    #[test]
    fn small_shares_still_get_a_block() {
        assert_eq!(block_counts([0.98, 0.01, 0.01], 10), [8, 1, 1]);
        assert_eq!(block_counts([0.5, 0.0, 0.5], 3).iter().sum::<usize>(), 3);
        assert_eq!(block_counts([0.5, 0.0, 0.5], 4), [2, 0, 2]);
        assert_eq!(block_counts([0.6, 0.1, 0.3], 10), [6, 1, 3]);
    }

    #[test]
    fn too_few_frames_say_how_many_are_needed() {
        let error = Split::new("split", &SplitSettings::default(), 39, &Streams::new(1));
        let text = error.expect_err("39 < 40").to_string();
        assert!(text.contains("39 frames") && text.contains("40 frames are needed"), "{text}");
        let bad = SplitSettings { train: 0.9, ..SplitSettings::default() };
        assert!(Split::new("split", &bad, 1000, &Streams::new(1)).is_err());
    }
}
