//! From files to an ensemble of beads.

use super::collector::{Collector, FrameRange};
use super::{AmberCoordinates, amber_coordinates, chemfiles, numpy, pytorch};
use crate::error::{Error, Result};
use crate::system::amber_prmtop::Prmtop;
use crate::system::{Mapping, MappingSettings, Topology};
use crate::trajectory::ensemble::Ensemble;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The unit of length of files that do not state one: NumPy and PyTorch arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LengthUnit {
    /// Nanometre.
    #[default]
    Nm,
    /// 0.1 nm.
    Angstrom,
}

impl LengthUnit {
    /// One of these in nm.
    pub fn in_nm(self) -> f64 {
        match self {
            Self::Nm => 1.0,
            Self::Angstrom => 0.1,
        }
    }
}

/// Which files, and which of their frames.
#[derive(Debug, Clone, PartialEq)]
pub struct TrajectoryFiles {
    /// What the atoms are: PDB, GRO, prmtop, …; the first trajectory itself when left out.
    pub topology: Option<PathBuf>,
    /// Read one after the other.
    pub trajectories: Vec<PathBuf>,
    /// Which frames are kept, counted over all files.
    pub frames: FrameRange,
    /// The unit of arrays.
    pub array_unit: LengthUnit,
}

/// A topology, and positions where the file has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Structure {
    /// What the atoms are.
    pub topology: Topology,
    /// Where they are in the first frame, `[atom][xyz]`.
    pub positions_nm: Option<Vec<f64>>,
}

/// What is known before any long work.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// All atoms.
    pub topology: Topology,
    /// Each file.
    pub files: Vec<InspectedFile>,
    /// Frames that loading will keep.
    pub n_frames: usize,
    /// What the readers found odd.
    pub warnings: Vec<String>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedFile {
    /// The file.
    pub path: PathBuf,
    /// Whole frames in it.
    pub n_frames: usize,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// All atoms.
    pub topology: Topology,
    /// From atoms to beads; it has the topology of the beads.
    pub mapping: Mapping,
    /// The beads of the frames that were kept.
    pub ensemble: Ensemble,
    /// What the readers found odd.
    pub warnings: Vec<String>,
}

/// The readers of trajectories.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    Chemfiles,
    AmberCoordinates,
    Numpy,
    NumpyArchive,
    PyTorch,
    Hdf5,
}

impl Format {
    fn of(path: &Path) -> Self {
        match extension(path).as_str() {
            "npy" => Self::Numpy,
            "npz" => Self::NumpyArchive,
            "pt" | "pth" => Self::PyTorch,
            "h5" | "hdf5" | "lh5" => Self::Hdf5,
            other
                if amber_coordinates::EXTENSIONS.contains(&other) && !chemfiles::is_netcdf_restart(path) =>
            {
                Self::AmberCoordinates
            }
            _ => Self::Chemfiles,
        }
    }
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Reads what the atoms of a file are, and where.
pub fn read_structure(path: &Path) -> Result<Structure> {
    require_content(path)?;
    if matches!(extension(path).as_str(), "prmtop" | "parm7") {
        return Ok(Structure { topology: Prmtop::read(path)?.topology()?, positions_nm: None });
    }
    match Format::of(path) {
        Format::Chemfiles => chemfiles::read_structure(path),
        Format::Hdf5 => hdf5_structure(path),
        _ => Err(Error::file(path, "", "a file that names its atoms", "positions alone")
            .with_hint("give a topology: PDB, GRO, prmtop, …")),
    }
}

/// Checks files without reading them whole: existence, headers, numbers of atoms and frames.
///
/// First and last frames are read, so a cut at the end and a wrong number of atoms are found here.
pub fn inspect(files: &TrajectoryFiles) -> Result<Inspection> {
    chemfiles::take_warnings();
    let topology = topology_of(files)?;
    let n_atoms = topology.n_atoms();
    let mut inspected = Vec::new();
    for path in &files.trajectories {
        inspected.push(InspectedFile { path: path.clone(), n_frames: inspect_file(path, n_atoms)? });
    }
    let n_in_files = inspected.iter().map(|file| file.n_frames).sum();
    let n_frames = files.frames.count(n_in_files);
    if n_frames == 0 {
        return Err(Error::config(
            "frames",
            format!("no frame is left of the {n_in_files} in the files"),
            "lower `start` or raise `stop`",
        ));
    }
    Ok(Inspection { topology, files: inspected, n_frames, warnings: chemfiles::take_warnings() })
}

/// Reads the beads of all frames; `place` is the key path of the mapping settings, for messages.
pub fn load(files: &TrajectoryFiles, place: &str, mapping: &MappingSettings) -> Result<Loaded> {
    let Inspection { topology, files: inspected, mut warnings, .. } = inspect(files)?;
    let mapping = Mapping::new(place, mapping, &topology)?;
    let mut collector = Collector::new(&mapping, files.frames);
    collector.reserve(inspected.iter().map(|file| file.n_frames).sum());
    for file in &inspected {
        let path = &file.path;
        let n_frames = read_file(path, files.array_unit, &mut collector)?;
        if n_frames != file.n_frames {
            return Err(Error::file(path, "", format!("{} frames", file.n_frames), n_frames.to_string())
                .with_hint("did the file change while it was read?"));
        }
    }
    let ensemble = collector.finish()?;
    for warning in chemfiles::take_warnings() {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    warnings.extend(broken_molecule(&mapping, &ensemble));
    Ok(Loaded { topology, mapping, ensemble, warnings })
}

/// Reads all atoms of a file and hands `n_frames` frames at a time to `take`, so that no more are in memory.
///
/// Positions come as `[frame][atom][xyz]` in nm, in the precision of the file; `unit` is that of arrays.
/// Returns how many frames there were, and what the reader found odd.
pub fn read_in_blocks(
    path: &Path,
    n_atoms: usize,
    unit: LengthUnit,
    n_frames: NonZeroUsize,
    take: &mut dyn FnMut(&[f64]) -> Result<()>,
) -> Result<(usize, Vec<String>)> {
    chemfiles::take_warnings();
    inspect_file(path, n_atoms)?;
    let mut collector = Collector::in_blocks(n_atoms, FrameRange::default(), n_frames.get(), take);
    let n_frames = read_file(path, unit, &mut collector)?;
    collector.finish_blocks()?;
    Ok((n_frames, chemfiles::take_warnings()))
}

/// Box vectors of each frame, rows a, b, c in nm; `None` where the file has none, or not for every frame.
///
/// The file is read once more for them, since few callers want boxes. NumPy, PyTorch and HDF5 arrays have none here.
pub fn read_boxes(path: &Path) -> Result<Option<Vec<[[f64; 3]; 3]>>> {
    require_content(path)?;
    match Format::of(path) {
        Format::Chemfiles => chemfiles::read_boxes(path),
        Format::AmberCoordinates => {
            Ok(AmberCoordinates::read(path)?.box_vectors_nm.map(|vectors| vec![vectors]))
        }
        Format::Numpy | Format::NumpyArchive | Format::PyTorch | Format::Hdf5 => Ok(None),
    }
}

/// The positions of the first frame of a file, `[atom][xyz]` in nm; arrays are in nm.
pub fn read_first_frame(path: &Path, n_atoms: usize) -> Result<Vec<f64>> {
    inspect_file(path, n_atoms)?;
    let mut first = Vec::new();
    let mut take = |positions_nm: &[f64]| {
        first = positions_nm.to_vec();
        Ok(())
    };
    let range = FrameRange { stop: Some(1), ..FrameRange::default() };
    let mut collector = Collector::in_blocks(n_atoms, range, 1, &mut take);
    read_file(path, LengthUnit::Nm, &mut collector)?;
    Ok(first)
}

/// Frames in a file, whose first and last one are checked.
fn inspect_file(path: &Path, n_atoms: usize) -> Result<usize> {
    require_content(path)?;
    match Format::of(path) {
        Format::Chemfiles => chemfiles::inspect(path, n_atoms),
        Format::AmberCoordinates => amber_coordinates::inspect(path, n_atoms),
        Format::Numpy => numpy::inspect(path, n_atoms),
        Format::NumpyArchive => numpy::inspect_archive(path, n_atoms),
        Format::PyTorch => pytorch::inspect(path, n_atoms),
        Format::Hdf5 => hdf5_inspect(path, n_atoms),
    }
}

/// Passes all frames of a file to the collector.
fn read_file(path: &Path, unit: LengthUnit, collector: &mut Collector<'_>) -> Result<usize> {
    match Format::of(path) {
        Format::Chemfiles => chemfiles::read(path, collector),
        Format::AmberCoordinates => amber_coordinates::read(path, collector),
        Format::Numpy => numpy::read(path, unit, collector),
        Format::NumpyArchive => numpy::read_archive(path, unit, collector),
        Format::PyTorch => pytorch::read(path, unit, collector),
        Format::Hdf5 => hdf5_read(path, collector),
    }
}

/// A warning when bonded atoms are farther apart than any bond is long, as they are when a program
/// has put atoms back into a periodic box one by one.
fn broken_molecule(mapping: &Mapping, ensemble: &Ensemble) -> Option<String> {
    // Consecutive α-carbons, which count as bonded, are 0.38 nm apart.
    const LONGEST_NM: f64 = 0.6;
    let is_atom = |bead: usize| mapping.atoms_of(bead).len() == 1;
    let bonds = mapping.topology().bonds.iter().filter(|[i, j]| is_atom(*i) && is_atom(*j));
    for &[i, j] in bonds {
        for (frame_idx, frame) in ensemble.frames().enumerate() {
            let square: f64 = (0..3).map(|axis| (frame[3 * i + axis] - frame[3 * j + axis]).powi(2)).sum();
            if square > LONGEST_NM * LONGEST_NM {
                let [a, b] = [i, j].map(|bead| mapping.topology().atoms[bead].describe());
                return Some(format!(
                    "{a} and {b} are bonded but {:.2} nm apart in kept frame {frame_idx}: make molecules whole \
                     across periodic boundaries, and check the unit of length",
                    square.sqrt()
                ));
            }
        }
    }
    None
}

fn topology_of(files: &TrajectoryFiles) -> Result<Topology> {
    match (&files.topology, files.trajectories.first()) {
        (_, None) => Err(Error::config("trajectories", "no trajectory is named", "name at least one file")),
        (Some(path), _) | (None, Some(path)) => Ok(read_structure(path)?.topology),
    }
}

/// Errors unless the path is a file with something in it.
fn require_content(path: &Path) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if metadata.is_dir() {
        return Err(Error::file(path, "", "a file", "a directory"));
    }
    if metadata.len() == 0 {
        return Err(Error::file(path, "", "a topology or trajectory", "an empty file"));
    }
    // A file without permission to read should say so before a library words it in its own way.
    std::fs::File::open(path).map_err(Error::io("read", path)).map(|_| ())
}

#[cfg(feature = "hdf5")]
use super::hdf5::{inspect as hdf5_inspect, read as hdf5_read, read_structure as hdf5_structure};

#[cfg(not(feature = "hdf5"))]
fn without_hdf5(path: &Path) -> Error {
    Error::file(path, "", "a format that this build reads", "HDF5")
        .with_hint("build with `cargo build --release --features hdf5`")
}

#[cfg(not(feature = "hdf5"))]
fn hdf5_structure(path: &Path) -> Result<Structure> {
    Err(without_hdf5(path))
}

#[cfg(not(feature = "hdf5"))]
fn hdf5_inspect(path: &Path, _n_atoms: usize) -> Result<usize> {
    Err(without_hdf5(path))
}

#[cfg(not(feature = "hdf5"))]
fn hdf5_read(path: &Path, _collector: &mut Collector<'_>) -> Result<usize> {
    Err(without_hdf5(path))
}
