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

/// What is kept of a frame.
enum Keep<'a> {
    Beads(&'a Mapping),
    AllAtoms(usize),
}

/// Where frames go that need not be kept: a number of them, and who takes them.
type Blocks<'a> = (usize, &'a mut dyn FnMut(&[f64]) -> Result<()>);

/// Takes frames of all atoms one after the other and keeps the beads of those within a range.
pub(super) struct Collector<'a> {
    keep: Keep<'a>,
    range: FrameRange,
    n_seen: usize,
    positions_nm: Vec<f64>,
    blocks: Option<Blocks<'a>>,
}

impl<'a> Collector<'a> {
    pub fn new(mapping: &'a Mapping, range: FrameRange) -> Self {
        Self { keep: Keep::Beads(mapping), range, n_seen: 0, positions_nm: Vec::new(), blocks: None }
    }

    /// Keeps no frame for long: hands all atoms of `n_frames` at a time to `take`.
    pub fn in_blocks(
        n_atoms: usize,
        range: FrameRange,
        n_frames: usize,
        take: &'a mut dyn FnMut(&[f64]) -> Result<()>,
    ) -> Self {
        let blocks = Some((n_frames, take));
        Self { keep: Keep::AllAtoms(n_atoms), range, n_seen: 0, positions_nm: Vec::new(), blocks }
    }

    fn n_atoms(&self) -> usize {
        match self.keep {
            Keep::Beads(mapping) => mapping.n_atoms(),
            Keep::AllAtoms(n_atoms) => n_atoms,
        }
    }

    fn n_beads(&self) -> usize {
        match self.keep {
            Keep::Beads(mapping) => mapping.n_beads(),
            Keep::AllAtoms(n_atoms) => n_atoms,
        }
    }

    /// Room for the frames that will be kept of `n_frames`.
    pub fn reserve(&mut self, n_frames: usize) {
        self.positions_nm.reserve_exact(self.range.count(n_frames) * 3 * self.n_beads());
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
        check_frame(path, frame_idx, self.n_atoms(), atom_positions_nm)?;
        match self.keep {
            Keep::Beads(mapping) => {
                let start = self.positions_nm.len();
                self.positions_nm.resize(start + 3 * mapping.n_beads(), 0.0);
                mapping.apply(atom_positions_nm, &mut self.positions_nm[start..])?;
            }
            Keep::AllAtoms(_) => self.positions_nm.extend_from_slice(atom_positions_nm),
        }
        self.n_seen += 1;
        let size = 3 * self.n_beads();
        if let Some((n_frames, take)) = &mut self.blocks
            && self.positions_nm.len() >= *n_frames * size
        {
            take(&self.positions_nm)?;
            self.positions_nm.clear();
        }
        Ok(())
    }

    /// The beads of all frames that were kept.
    pub fn finish(self) -> Result<Ensemble> {
        Ensemble::new(self.n_beads(), self.positions_nm)
    }

    /// Hands out the last frames.
    pub fn finish_blocks(mut self) -> Result<()> {
        match &mut self.blocks {
            Some((_, take)) if !self.positions_nm.is_empty() => take(&self.positions_nm),
            _ => Ok(()),
        }
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
