//! u_kn in a NumPy file `.npy`, read by stretches of samples or as a whole.
//!
//! The array is `[state][sample]`, f64 or f32, in either order of axes and bytes. It is read at positions, not
//! mapped: what is not wanted at the moment takes no memory.

use super::source::{EnergySource, stretch_length};
use crate::error::{Error, Result};
use npyz::{DType, Endianness, NpyFile, Order, TypeChar};
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufReader, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A matrix of reduced energies in a `.npy`.
pub struct NpyEnergies {
    path: PathBuf,
    file: File,
    /// First byte of the numbers.
    start: u64,
    n_states: usize,
    n_samples: usize,
    order: Order,
    size: usize,
    decode: fn(&[u8]) -> f64,
}

/// An opened array: shape, order, type and where its numbers begin.
struct Array {
    file: File,
    start: u64,
    shape: Vec<usize>,
    order: Order,
    kind: TypeChar,
    size: usize,
    big_endian: bool,
    descr: String,
}

fn open(path: &Path) -> Result<Array> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let found = NpyFile::new(BufReader::new(file))
        .map_err(|error| Error::file(path, "header", "a NumPy array", error.to_string()))?;
    let shape: Vec<usize> = found.shape().iter().map(|&n| n as usize).collect();
    let (order, descr) = (found.order(), found.dtype().descr());
    let DType::Plain(kind) = found.dtype() else {
        return Err(Error::file(path, "header", "an array of numbers", descr));
    };
    let size = kind.size_field() as usize;
    let promised = shape.iter().fold(size as u64, |bytes, &n| bytes.saturating_mul(n as u64));
    let mut reader = found.into_inner();
    let start = reader.stream_position().map_err(Error::io("read", path))?;
    let file = reader.into_inner();
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    if length < start.saturating_add(promised) {
        let found = format!("{} bytes", length.saturating_sub(start));
        return Err(Error::file(path, "", format!("{promised} bytes of data as its header says"), found)
            .with_hint("the file is truncated"));
    }
    let big_endian = kind.endianness() == Endianness::Big;
    Ok(Array { file, start, shape, order, kind: kind.type_char(), size, big_endian, descr })
}

impl NpyEnergies {
    /// Opens the file; errors unless it holds a matrix of floating-point numbers.
    pub fn open(path: &Path) -> Result<Self> {
        let array = open(path)?;
        let [n_states, n_samples] = array.shape[..] else {
            let expected = "two axes, [states, samples]";
            return Err(Error::file(path, "header", expected, format!("shape {:?}", array.shape)));
        };
        let decode: fn(&[u8]) -> f64 = match (array.kind, array.size, array.big_endian) {
            (TypeChar::Float, 8, false) => |b| f64::from_le_bytes(b.try_into().unwrap_or_default()),
            (TypeChar::Float, 8, true) => |b| f64::from_be_bytes(b.try_into().unwrap_or_default()),
            (TypeChar::Float, 4, false) => |b| f32::from_le_bytes(b.try_into().unwrap_or_default()).into(),
            (TypeChar::Float, 4, true) => |b| f32::from_be_bytes(b.try_into().unwrap_or_default()).into(),
            _ => return Err(Error::file(path, "header", "f32 or f64 numbers", array.descr)),
        };
        let Array { file, start, order, size, .. } = array;
        Ok(Self { path: path.to_path_buf(), file, start, n_states, n_samples, order, size, decode })
    }

    /// Memory that the matrix takes in double precision, in bytes.
    pub fn n_bytes(&self) -> usize {
        self.n_states * self.n_samples * size_of::<f64>()
    }

    /// All energies, `[state][sample]`.
    pub fn load(&self) -> Result<Vec<f64>> {
        const PIECE: usize = 1 << 15;
        let mut values = vec![0.0; self.n_states * self.n_samples];
        if self.order == Order::C {
            values.par_chunks_mut(PIECE).enumerate().try_for_each_init(Vec::new, |bytes, (i, piece)| {
                self.read_numbers(i * PIECE, piece, bytes)
            })?;
            return Ok(values);
        }
        let length = stretch_length(self.n_states);
        let mut stretch = Vec::new();
        for start in (0..self.n_samples).step_by(length) {
            let len = length.min(self.n_samples - start);
            stretch.resize(self.n_states * len, 0.0);
            self.read(start..start + len, &mut stretch[..self.n_states * len])?;
            for (row, from) in values.chunks_exact_mut(self.n_samples).zip(stretch.chunks_exact(len)) {
                row[start..start + len].copy_from_slice(from);
            }
        }
        Ok(values)
    }

    /// Numbers as they follow each other in the file.
    fn read_numbers(&self, first: usize, out: &mut [f64], bytes: &mut Vec<u8>) -> Result<()> {
        bytes.resize(out.len() * self.size, 0);
        let at = self.start + (first * self.size) as u64;
        read_exact_at(&self.file, bytes, at).map_err(Error::io("read", &self.path))?;
        if self.size == 8 && cfg!(target_endian = "little") && (self.decode)(&1.0_f64.to_le_bytes()) == 1.0 {
            // The usual case in a loop that the compiler sees through.
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *out = f64::from_le_bytes(*bytes);
            }
        } else {
            for (out, bytes) in out.iter_mut().zip(bytes.chunks_exact(self.size)) {
                *out = (self.decode)(bytes);
            }
        }
        Ok(())
    }
}

impl EnergySource for NpyEnergies {
    fn n_states(&self) -> usize {
        self.n_states
    }

    fn n_samples(&self) -> usize {
        self.n_samples
    }

    fn read(&self, samples: Range<usize>, out: &mut [f64]) -> Result<()> {
        let (len, mut bytes) = (samples.len(), Vec::new());
        if len == 0 {
            return Ok(());
        }
        if self.order == Order::C {
            for (state, row) in out.chunks_exact_mut(len).enumerate() {
                self.read_numbers(state * self.n_samples + samples.start, row, &mut bytes)?;
            }
            return Ok(());
        }
        let mut by_sample = vec![0.0; len * self.n_states];
        self.read_numbers(samples.start * self.n_states, &mut by_sample, &mut bytes)?;
        for (n, sample) in by_sample.chunks_exact(self.n_states).enumerate() {
            for (state, u) in sample.iter().enumerate() {
                out[state * len + n] = *u;
            }
        }
        Ok(())
    }
}

/// Numbers of samples N_k in a `.npy` of one axis; integers, or floating-point numbers that are integers.
pub fn read_counts(path: &Path) -> Result<Vec<usize>> {
    let array = open(path)?;
    if array.shape.len() != 1 {
        return Err(Error::file(path, "header", "one axis, [states]", format!("shape {:?}", array.shape)));
    }
    let mut bytes = vec![0; array.shape[0] * array.size];
    read_exact_at(&array.file, &mut bytes, array.start).map_err(Error::io("read", path))?;
    let whole =
        |value: f64| (value >= 0.0 && value.fract() == 0.0 && value < 2_f64.powi(53)).then_some(value);
    bytes
        .chunks_exact(array.size.max(1))
        .enumerate()
        .map(|(state, bytes)| {
            // Eight bytes, least significant first, with the sign carried on.
            let mut low_first: Vec<u8> = bytes.to_vec();
            if array.big_endian {
                low_first.reverse();
            }
            let negative = low_first.last().is_some_and(|byte| byte & 0x80 != 0);
            let fill = if array.kind == TypeChar::Int && negative { 0xff } else { 0 };
            let mut word = [fill; 8];
            if low_first.len() <= 8 {
                word[..low_first.len()].copy_from_slice(&low_first);
            }
            let (found, count) = match (array.kind, array.size) {
                (TypeChar::Int, 1 | 2 | 4 | 8) => {
                    let count = i64::from_le_bytes(word);
                    (count.to_string(), usize::try_from(count).ok())
                }
                (TypeChar::Uint, 1 | 2 | 4 | 8) => {
                    let count = u64::from_le_bytes(word);
                    (count.to_string(), usize::try_from(count).ok())
                }
                (TypeChar::Float, 8) => {
                    let count = f64::from_le_bytes(word);
                    (count.to_string(), whole(count).map(|count| count as usize))
                }
                (TypeChar::Float, 4) => {
                    let count = f32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                    (count.to_string(), whole(count.into()).map(|count| count as usize))
                }
                _ => return Err(Error::file(path, "header", "integers", array.descr.clone())),
            };
            count.ok_or_else(|| {
                Error::file(path, format!("state {state}"), "a number of samples, an integer ≥ 0", found)
            })
        })
        .collect()
}

/// Fills the buffer from a position of the file, without moving where others read.
#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

/// Writes at a position of the file.
#[cfg(unix)]
pub(super) fn write_all_at(file: &File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

/// Fills the buffer from a position of the file.
#[cfg(windows)]
pub(super) fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[n..];
        at += n as u64;
    }
    Ok(())
}

/// Writes at a position of the file.
#[cfg(windows)]
pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        bytes = &bytes[n..];
        at += n as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder;

    /// Writes numbers of any kind as a `.npy`.
    fn write<T: npyz::AutoSerialize + Copy>(path: &Path, order: Order, shape: &[u64], values: &[T]) {
        let mut writer = npyz::WriteOptions::new()
            .default_dtype()
            .shape(shape)
            .order(order)
            .writer(File::create(path).unwrap())
            .begin_nd()
            .unwrap();
        writer.extend(values.iter().copied()).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn either_order_and_precision_is_the_same_matrix() {
        let folder = tempfile::tempdir().unwrap();
        let (path, n_states, n_samples) = (folder.path().join("u.npy"), 3, 700);
        let u = |k: usize, n: usize| (k * 1000 + n) as f64 * 0.25;
        let rows: Vec<f64> = (0..n_states).flat_map(|k| (0..n_samples).map(move |n| u(k, n))).collect();
        let columns: Vec<f64> = (0..n_samples).flat_map(|n| (0..n_states).map(move |k| u(k, n))).collect();
        let shape = [n_states as u64, n_samples as u64];
        for (order, values) in [(Order::C, &rows), (Order::Fortran, &columns)] {
            for single in [false, true] {
                if single {
                    let values: Vec<f32> = values.iter().map(|&u| u as f32).collect();
                    write(&path, order, &shape, &values);
                } else {
                    write(&path, order, &shape, values);
                }
                let source = NpyEnergies::open(&path).unwrap();
                assert_eq!(source.load().unwrap(), rows);
                let mut stretch = vec![0.0; 3 * 17];
                source.read(600..617, &mut stretch).unwrap();
                assert_eq!((stretch[0], stretch[17], stretch[50]), (u(0, 600), u(1, 600), u(2, 616)));
            }
        }
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let error = NpyEnergies::open(&path).err().unwrap().to_string();
        assert!(error.contains("truncated"), "{error}");
        write(&path, Order::C, &[4], &[1.0, 2.0, 3.0, 4.0]);
        let error = NpyEnergies::open(&path).err().unwrap().to_string();
        assert!(error.contains("[4]") && error.contains("two axes"), "{error}");
    }

    #[test]
    fn counts_are_integers_of_any_kind_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n.npy");
        let read = |path: &Path| read_counts(path).map_err(|error| error.to_string());
        write(&path, Order::C, &[3], &[5_i64, 0, 7]);
        assert_eq!(read(&path).unwrap(), [5, 0, 7]);
        write(&path, Order::C, &[2], &[200_u8, 3]);
        assert_eq!(read(&path).unwrap(), [200, 3]);
        write(&path, Order::C, &[2], &[5.0_f32, 6.0]);
        assert_eq!(read(&path).unwrap(), [5, 6]);
        write(&path, Order::C, &[2], &[5_i32, -6]);
        assert!(
            read(&path)
                .unwrap_err()
                .contains("state 1: expected a number of samples, an integer ≥ 0, found -6")
        );
        write(&path, Order::C, &[2], &[5.5, 6.0]);
        assert!(read(&path).unwrap_err().contains("found 5.5"));
        write(&path, Order::C, &[2], &[f64::NAN, 6.0]);
        assert!(read(&path).unwrap_err().contains("found NaN"));
    }
}
