//! Tensors saved by `torch.save`: `[frame][atom][xyz]` or `[frame][3 atom + axis]`, f32 or f64.
//!
//! The file may hold one tensor, or a dictionary with one of suitable shape. It is a ZIP archive with a
//! pickle that describes the tensors and a raw file for each storage. The pickle is read by candle's
//! interpreter, which executes nothing; this is the one place outside of `model` and `training` that
//! names candle.

use super::collector::Collector;
use super::load::LengthUnit;
use super::numpy::{frames_of_shape, push_all};
use crate::error::{Error, Result};
use candle_core::DType;
use candle_core::pickle::{Object, Stack, TensorInfo};
use npyz::zip::ZipArchive;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

type Archive = ZipArchive<BufReader<File>>;

/// Frames in the tensor of a file.
pub(super) fn inspect(path: &Path, n_atoms: usize) -> Result<usize> {
    let (mut archive, tensor) = open(path)?;
    let shape = tensor.layout.dims();
    let n_frames = frames_of_shape(path, "", shape, n_atoms)?;
    let width = tensor.dtype.size_in_bytes();
    let promised = ((tensor.layout.start_offset() + tensor.layout.shape().elem_count()) * width) as u64;
    let found = storage(path, &mut archive, &tensor)?.size();
    if found < promised {
        return Err(Error::file(path, "", format!("{promised} bytes of data"), found.to_string())
            .with_hint("the file is truncated"));
    }
    Ok(n_frames)
}

/// Passes all frames of the tensor to the collector.
pub(super) fn read(path: &Path, unit: LengthUnit, collector: &mut Collector<'_>) -> Result<usize> {
    let (mut archive, tensor) = open(path)?;
    let dims = tensor.layout.dims();
    let (n_frames, size) = (dims[0], dims[1..].iter().product());
    // The offset of a layout made by the pickle reader counts bytes for its use in `get`; a tensor that
    // is a view into a larger storage is refused in `open`, so that it is zero here.
    let mut data = BufReader::new(storage(path, &mut archive, &tensor)?);
    let is_f32 = tensor.dtype == DType::F32;
    let values = std::iter::from_fn(move || {
        let mut bytes = [0_u8; 8];
        let width = if is_f32 { 4 } else { 8 };
        Some(data.read_exact(&mut bytes[..width]).map(|()| {
            if is_f32 {
                f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            } else {
                f64::from_le_bytes(bytes)
            }
        }))
    });
    push_all(path, "", values, n_frames, size, unit, collector)?;
    Ok(n_frames)
}

fn storage<'a>(
    path: &Path,
    archive: &'a mut Archive,
    tensor: &TensorInfo,
) -> Result<npyz::zip::read::ZipFile<'a>> {
    archive
        .by_name(&tensor.path)
        .map_err(|error| Error::file(path, "", format!("the storage `{}`", tensor.path), error.to_string()))
}

fn open(path: &Path) -> Result<(Archive, TensorInfo)> {
    let not_saved = |found: String| {
        Error::file(path, "", "a file of torch.save", found)
            .with_hint("files of PyTorch before 1.6 have to be saved again")
    };
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| not_saved(error.to_string()))?;
    let Some(pickle) = archive.file_names().find(|name| name.ends_with("data.pkl")).map(String::from) else {
        return Err(not_saved("an archive without data.pkl".into()));
    };
    let directory = PathBuf::from(pickle.trim_end_matches(".pkl"));
    let reader = archive.by_name(&pickle).map_err(|error| not_saved(error.to_string()))?;
    let mut stack = Stack::empty();
    stack.read_loop(&mut BufReader::new(reader)).map_err(|error| not_saved(error.to_string()))?;
    let object = stack.finalize().map_err(|error| not_saved(error.to_string()))?;

    let named = match object {
        Object::Dict(entries) => entries,
        single => vec![(Object::Unicode("tensor".into()), single)],
    };
    let mut tensors = Vec::new();
    for (name, value) in named {
        if let Ok(Some(tensor)) = value.into_tensor_info(name, &directory) {
            tensors.push(tensor);
        }
    }
    let described: Vec<String> =
        tensors.iter().map(|tensor| format!("`{}` {:?}", tensor.name, tensor.layout.dims())).collect();
    if tensors.len() > 1 {
        tensors.retain(|tensor| tensor.layout.dims().len() == 3);
    }
    let [tensor] = <[TensorInfo; 1]>::try_from(tensors).map_err(|_| {
        let found = if described.is_empty() { "no tensor".into() } else { described.join(", ") };
        Error::file(path, "", "one tensor of positions", found)
    })?;
    let place = format!("tensor `{}`", tensor.name);
    if !matches!(tensor.dtype, DType::F32 | DType::F64) {
        return Err(Error::file(path, place, "f32 or f64 numbers", format!("{:?}", tensor.dtype)));
    }
    if !tensor.layout.is_contiguous() || tensor.layout.start_offset() != 0 {
        return Err(Error::file(path, place, "a contiguous tensor", "a view")
            .with_hint("save it with .contiguous().clone()"));
    }
    Ok((archive, tensor))
}
