//! Where reduced energies are kept: in memory, in half of it, or in a file larger than memory.
//!
//! Everything that sums over samples asks for the energies of consecutive samples and gets them as
//! `[state][sample]`: of a matrix in memory the numbers themselves, of anything else a copy in the
//! caller's scratch. The sums are the same to the last bit, whichever it is.

use crate::error::Result;
use std::ops::Range;
use std::sync::Arc;

/// Energies u_kn in kT that can be read by stretches of samples.
pub trait EnergySource: Send + Sync {
    /// Number of states.
    fn n_states(&self) -> usize;
    /// Number of samples.
    fn n_samples(&self) -> usize;
    /// Fills `out`, `[state][sample of the range]`.
    fn read(&self, samples: Range<usize>, out: &mut [f64]) -> Result<()>;
}

/// Energies of some consecutive samples in all states.
#[derive(Clone, Copy)]
pub(in crate::free_energy) struct Stretch<'a> {
    pub values: &'a [f64],
    /// From a state to the next in `values`.
    pub stride: usize,
}

/// The ways to keep a matrix.
#[derive(Clone)]
pub(in crate::free_energy) enum Storage {
    /// `[state][sample]`.
    Double(Vec<f64>),
    /// u_kn − shift_k − (what all states have in common in sample n), `[state][sample]`.
    Single { values: Vec<f32>, shift: Vec<f64> },
    /// Read when needed.
    Streamed(Arc<dyn EnergySource>),
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Double(_) => "in double precision",
            Self::Single { .. } => "in single precision",
            Self::Streamed(_) => "streamed",
        })
    }
}

/// Samples read from a source at a time: a few MiB for all states together.
pub(in crate::free_energy) fn stretch_length(n_states: usize) -> usize {
    ((1 << 19) / n_states.max(1)).clamp(256, 16_384) & !255
}

impl Storage {
    /// Energies of `samples`, `n_samples` being those of the whole matrix.
    pub fn stretch<'a>(
        &'a self,
        n_states: usize,
        n_samples: usize,
        samples: Range<usize>,
        scratch: &'a mut Vec<f64>,
    ) -> Result<Stretch<'a>> {
        let stride = samples.len();
        match self {
            Self::Double(values) => {
                return Ok(Stretch { values: &values[samples.start..], stride: n_samples });
            }
            Self::Single { values, shift } => {
                scratch.clear();
                for (row, shift) in values.chunks_exact(n_samples).zip(shift) {
                    scratch.extend(row[samples.clone()].iter().map(|&u| f64::from(u) + shift));
                }
            }
            Self::Streamed(source) => {
                scratch.resize(n_states * stride, 0.0);
                source.read(samples, &mut scratch[..n_states * stride])?;
                // An overflow of the other program: no weight rather than all of it.
                for u in scratch.iter_mut().filter(|u| **u == f64::NEG_INFINITY) {
                    *u = f64::INFINITY;
                }
            }
        }
        Ok(Stretch { values: scratch, stride })
    }

    /// Whether a stretch costs nothing.
    pub fn is_direct(&self) -> bool {
        matches!(self, Self::Double(_))
    }
}

/// Subtracts from every sample what all states have in common, so that single precision is spent on
/// differences between states; `stretch` is `[state][sample]`, already without the shift of each state.
fn subtract_common(stretch: &mut [f64], len: usize) {
    let mut lowest = vec![f64::INFINITY; len];
    for row in stretch.chunks_exact(len) {
        for (lowest, u) in lowest.iter_mut().zip(row) {
            *lowest = if *u < *lowest { *u } else { *lowest };
        }
    }
    for row in stretch.chunks_exact_mut(len) {
        for (u, lowest) in row.iter_mut().zip(&lowest) {
            *u -= if lowest.is_finite() { *lowest } else { 0.0 };
        }
    }
}

/// The matrix of a source in single precision.
///
/// Differences between the states of a sample keep seven digits, whatever offset the sample or a state
/// as a whole has.
pub(in crate::free_energy) fn in_single_precision(source: &dyn EnergySource) -> Result<Storage> {
    let (n_states, n_samples) = (source.n_states(), source.n_samples());
    let mut values = vec![0.0_f32; n_states * n_samples];
    let mut shift = Vec::new();
    let length = stretch_length(n_states);
    let mut scratch = vec![0.0; n_states * length.min(n_samples)];
    for start in (0..n_samples).step_by(length) {
        let end = (start + length).min(n_samples);
        let len = end - start;
        let stretch = &mut scratch[..n_states * len];
        source.read(start..end, stretch)?;
        if shift.is_empty() {
            shift = stretch.chunks_exact(len).map(median).collect();
        }
        for (row, shift) in stretch.chunks_exact_mut(len).zip(&shift) {
            row.iter_mut().for_each(|u| *u -= shift);
        }
        subtract_common(stretch, len);
        for (row, kept) in stretch.chunks_exact(len).zip(values.chunks_exact_mut(n_samples)) {
            for (u, kept) in row.iter().zip(&mut kept[start..end]) {
                *kept = *u as f32;
            }
        }
    }
    Ok(Storage::Single { values, shift })
}

/// Median of the finite values; 0 without any.
fn median(values: &[f64]) -> f64 {
    let mut finite: Vec<f64> = values.iter().copied().filter(|u| u.is_finite()).collect();
    if finite.is_empty() {
        return 0.0;
    }
    let middle = finite.len() / 2;
    *finite.select_nth_unstable_by(middle, f64::total_cmp).1
}
