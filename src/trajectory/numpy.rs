//! NumPy arrays `[frame][atom][xyz]` or `[frame][3 atom + axis]`, f32 or f64, `.npy` and `.npz`.
//!
//! Of an archive the array `positions`, `xyz` or `coordinates` is taken, or else the only one with three axes.

use super::collector::Collector;
use super::load::LengthUnit;
use crate::error::{Error, Result};
use npyz::npz::NpzArchive;
use npyz::{NpyFile, NpyHeader, Order, TypeChar};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

const NAMES: [&str; 3] = ["positions", "xyz", "coordinates"];

fn open(path: &Path) -> Result<NpyFile<BufReader<File>>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    NpyFile::new(BufReader::new(file))
        .map_err(|error| Error::file(path, "header", "a NumPy array", error.to_string()))
}

/// Frames in a `.npy`, checked against its size.
pub(super) fn inspect(path: &Path, n_atoms: usize) -> Result<usize> {
    let file = open(path)?;
    let n_frames = frames_of(path, "header", file.header(), n_atoms)?;
    let npyz::DType::Plain(kind) = file.dtype() else { return Ok(n_frames) };
    let promised = file.len().saturating_mul(kind.size_field());
    let mut data = file.into_inner();
    let start = std::io::Seek::stream_position(&mut data).map_err(Error::io("read", path))?;
    let size = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    if size < start.saturating_add(promised) {
        let found = format!("{} bytes", size - start.min(size));
        return Err(Error::file(path, "", format!("{promised} bytes of data as its header says"), found)
            .with_hint("the file is truncated"));
    }
    Ok(n_frames)
}

/// Passes all frames of a `.npy` to the collector.
pub(super) fn read(path: &Path, unit: LengthUnit, collector: &mut Collector<'_>) -> Result<usize> {
    collect(path, "", open(path)?, unit, collector)
}

/// Frames in the array of positions of a `.npz`.
pub(super) fn inspect_archive(path: &Path, n_atoms: usize) -> Result<usize> {
    let (mut archive, name) = open_archive(path)?;
    frames_of(path, &format!("array `{name}`"), array(path, &mut archive, &name)?.header(), n_atoms)
}

/// Passes all frames of a `.npz` to the collector.
pub(super) fn read_archive(path: &Path, unit: LengthUnit, collector: &mut Collector<'_>) -> Result<usize> {
    let (mut archive, name) = open_archive(path)?;
    let array = array(path, &mut archive, &name)?;
    // Decompression gives small pieces; values are read one by one.
    let header = array.header().clone();
    let buffered = NpyFile::with_header(header, BufReader::new(array.into_inner()));
    collect(path, &format!("array `{name}`, "), buffered, unit, collector)
}

type Archive = NpzArchive<BufReader<File>>;

fn open_archive(path: &Path) -> Result<(Archive, String)> {
    let mut archive = NpzArchive::open(path)
        .map_err(|error| Error::file(path, "", "a NumPy archive", error.to_string()))?;
    let mut names: Vec<String> = archive.array_names().map(String::from).collect();
    names.sort();
    if let Some(name) = NAMES.iter().find(|name| names.iter().any(|found| found == *name)) {
        return Ok((archive, (*name).to_string()));
    }
    let mut candidates = Vec::new();
    for name in &names {
        if array(path, &mut archive, name)?.shape().len() == 3 {
            candidates.push(name.clone());
        }
    }
    match candidates.as_slice() {
        [name] => Ok((archive, name.clone())),
        _ => Err(Error::file(
            path,
            "",
            format!("one array with three axes, or one called {}", NAMES.join(", ")),
            format!("arrays {}", names.join(", ")),
        )),
    }
}

fn array<'a>(
    path: &Path,
    archive: &'a mut Archive,
    name: &str,
) -> Result<NpyFile<npyz::zip::read::ZipFile<'a>>> {
    let place = format!("array `{name}`");
    archive
        .by_name(name)
        .map_err(|error| Error::file(path, &place, "a NumPy array", error.to_string()))?
        .ok_or_else(|| Error::file(path, &place, "this array", "none"))
}

/// Errors unless the array has the axes, order and type that positions of `n_atoms` atoms have.
fn frames_of(path: &Path, place: &str, header: &NpyHeader, n_atoms: usize) -> Result<usize> {
    let shape: Vec<usize> = header.shape().iter().map(|&n| n as usize).collect();
    let n_frames = frames_of_shape(path, place, &shape, n_atoms)?;
    if header.order() != Order::C {
        return Err(Error::file(path, place, "an array in C order", "Fortran order")
            .with_hint("save it with numpy.ascontiguousarray"));
    }
    match header.dtype() {
        npyz::DType::Plain(kind)
            if kind.type_char() == TypeChar::Float && [4, 8].contains(&kind.size_field()) =>
        {
            Ok(n_frames)
        }
        other => Err(Error::file(path, place, "f32 or f64 numbers", other.descr())),
    }
}

/// Frames of an array of this shape; errors unless each frame has `n_atoms` atoms.
pub(super) fn frames_of_shape(path: &Path, place: &str, shape: &[usize], n_atoms: usize) -> Result<usize> {
    let n_frames = match *shape {
        [n_frames, atoms, 3] if atoms == n_atoms => n_frames,
        [n_frames, columns] if columns == 3 * n_atoms => n_frames,
        _ => {
            let expected = format!("shape [frames, {n_atoms}, 3] or [frames, {}]", 3 * n_atoms);
            return Err(Error::file(path, place, expected, format!("{shape:?}"))
                .with_hint("do the topology and the trajectory belong together?"));
        }
    };
    if n_frames == 0 {
        return Err(Error::file(path, place, "at least one frame", "none"));
    }
    Ok(n_frames)
}

fn collect<R: Read>(
    path: &Path,
    place: &str,
    file: NpyFile<R>,
    unit: LengthUnit,
    collector: &mut Collector<'_>,
) -> Result<usize> {
    let shape = file.shape().to_vec();
    let n_frames = shape[0] as usize;
    let size = shape[1..].iter().product::<u64>() as usize;
    let bad = |error: String| Error::file(path, place.trim_end_matches(", "), "f32 or f64 numbers", error);
    match file.try_data::<f32>() {
        Ok(values) => {
            let values = values.map(|value| value.map(f64::from));
            push_all(path, place, values, n_frames, size, unit, collector)?;
        }
        Err(file) => {
            let values = file.data::<f64>().map_err(|error| bad(error.to_string()))?;
            push_all(path, place, values, n_frames, size, unit, collector)?;
        }
    }
    Ok(n_frames)
}

/// Passes frames of `size` numbers to the collector.
pub(super) fn push_all(
    path: &Path,
    place: &str,
    mut values: impl Iterator<Item = std::io::Result<f64>>,
    n_frames: usize,
    size: usize,
    unit: LengthUnit,
    collector: &mut Collector<'_>,
) -> Result<()> {
    let mut positions_nm = vec![0.0; size];
    for frame_idx in 0..n_frames {
        for position in &mut positions_nm {
            let cut = |found: String| {
                Error::file(path, format!("{place}frame {frame_idx}"), format!("{n_frames} frames"), found)
                    .with_hint("the file is truncated")
            };
            let value = values.next().ok_or_else(|| cut("the end of the data".into()))?;
            *position = unit.in_nm() * value.map_err(|error| cut(error.to_string()))?;
        }
        if collector.wants_next() {
            collector.push(path, frame_idx, &positions_nm)?;
        } else {
            collector.skip();
        }
    }
    Ok(())
}
