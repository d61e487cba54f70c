//! The frames that are kept, and the beads of each.

use crate::error::{Error, Result};
use crate::system::Mapping;
use crate::trajectory::ensemble::Ensemble;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::path::Path;

/// Every `stride`-th frame from `start` up to, but not including, `stop`, counted over all files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FrameRange {
    /// The first frame kept, counted from 0.
    pub start: usize,
    /// The first frame no longer kept; to the end when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<usize>,
    /// 1 keeps every frame.
    pub stride: NonZeroUsize,
}

impl Default for FrameRange {
    fn default() -> Self {
        Self { start: 0, stop: None, stride: NonZeroUsize::MIN }
    }
}

impl FrameRange {
    /// Whether a frame is kept.
    pub fn contains(&self, frame_idx: usize) -> bool {
        frame_idx >= self.start
            && self.stop.is_none_or(|stop| frame_idx < stop)
            && (frame_idx - self.start).is_multiple_of(self.stride.get())
    }

    /// How many of `n_frames` frames are kept.
    pub fn count(&self, n_frames: usize) -> usize {
        let stop = self.stop.map_or(n_frames, |stop| stop.min(n_frames));
        stop.saturating_sub(self.start).div_ceil(self.stride.get())
    }
}

/// Takes frames of all atoms one after the other and keeps the beads of those within a range.
pub(super) struct Collector<'a> {
    mapping: &'a Mapping,
    range: FrameRange,
    n_seen: usize,
    positions_nm: Vec<f64>,
}

impl<'a> Collector<'a> {
    pub fn new(mapping: &'a Mapping, range: FrameRange) -> Self {
        Self { mapping, range, n_seen: 0, positions_nm: Vec::new() }
    }

    /// Room for the frames that will be kept of `n_frames`.
    pub fn reserve(&mut self, n_frames: usize) {
        self.positions_nm.reserve_exact(self.range.count(n_frames) * 3 * self.mapping.n_beads());
    }

    /// Whether the next frame is kept; one that is not may be passed over with [`Self::skip`].
    pub fn wants_next(&self) -> bool {
        self.range.contains(self.n_seen)
    }

    /// Passes over the next frame.
    pub fn skip(&mut self) {
        self.n_seen += 1;
    }

    /// Keeps the next frame, frame `frame_idx` of the file at `path`, all atoms, `[atom][xyz]` in nm.
    pub fn push(&mut self, path: &Path, frame_idx: usize, atom_positions_nm: &[f64]) -> Result<()> {
        check_frame(path, frame_idx, self.mapping.n_atoms(), atom_positions_nm)?;
        let size = 3 * self.mapping.n_beads();
        let start = self.positions_nm.len();
        self.positions_nm.resize(start + size, 0.0);
        self.mapping.apply(atom_positions_nm, &mut self.positions_nm[start..])?;
        self.n_seen += 1;
        Ok(())
    }

    /// The beads of all frames that were kept.
    pub fn finish(self) -> Result<Ensemble> {
        Ensemble::new(self.mapping.n_beads(), self.positions_nm)
    }
}

/// Errors unless the frame has the atoms of the topology, at finite places.
pub(super) fn check_frame(path: &Path, frame_idx: usize, n_atoms: usize, positions_nm: &[f64]) -> Result<()> {
    let place = format!("frame {frame_idx}");
    if positions_nm.len() != 3 * n_atoms {
        let found = format!("{} atoms", positions_nm.len() / 3);
        return Err(Error::file(path, place, format!("{n_atoms} atoms as in the topology"), found)
            .with_hint("do the topology and the trajectory belong together?"));
    }
    if let Some(at) = positions_nm.iter().position(|x| !x.is_finite()) {
        let place = format!("{place}, atom {}", at / 3);
        return Err(Error::file(path, place, "finite coordinates", positions_nm[at].to_string()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_agrees_with_contains() {
        for start in [0, 1, 5, 20] {
            for stop in [None, Some(0), Some(7), Some(100)] {
                for stride in [1, 2, 3, 50] {
                    let range = FrameRange { start, stop, stride: NonZeroUsize::new(stride).expect("not 0") };
                    for n_frames in [0, 1, 6, 10] {
                        let kept = (0..n_frames).filter(|&idx| range.contains(idx)).count();
                        assert_eq!(range.count(n_frames), kept, "{range:?} of {n_frames}");
                    }
                }
            }
        }
    }
}
