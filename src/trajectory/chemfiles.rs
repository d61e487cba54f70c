//! Trajectories and topologies of every format that the chemfiles library reads.
//!
//! This is the only file that names chemfiles; its positions are in Å. It reads truncated DCD and TRR
//! files without complaint, takes text for an empty PDB, and prints warnings to standard error. So
//! here frame counts are compared with headers and file sizes, every frame is checked, and warnings
//! are collected for the caller.

use super::collector::{Collector, check_frame};
use super::load::Structure;
use crate::error::{Error, Result};
use crate::system::{Atom, Topology, box_vectors_nm, elements};
use crate::trajectory::ensemble::Ensemble;
use chemfiles::{Frame, Trajectory};
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Once;

const NM_PER_ANGSTROM: f64 = 0.1;

thread_local! {
    static WARNINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Warnings of the library on this thread since the last call, each once.
pub(super) fn take_warnings() -> Vec<String> {
    WARNINGS.with(|warnings| warnings.take())
}

fn warn(message: &str) {
    // The table of residues of the library lacks atoms; bonds are completed by distance anyway.
    if message.contains("non-standard atom") || message.contains("non-standard residue") {
        return;
    }
    WARNINGS.with(|warnings| {
        let mut warnings = warnings.borrow_mut();
        if !warnings.iter().any(|known| known == message) {
            warnings.push(message.to_string());
        }
    });
}

/// The extensions of files that can be read, in alphabetical order.
pub fn known_extensions() -> Vec<String> {
    let mut extensions: Vec<String> = chemfiles::formats_list()
        .into_iter()
        .filter(|format| format.read)
        .filter_map(|format| format.extension.map(str::to_string))
        .chain([".npy", ".npz", ".pt", ".h5", ".prmtop", ".inpcrd", ".rst7"].map(String::from))
        .collect();
    extensions.sort();
    extensions.dedup();
    extensions
}

fn open(path: &Path, mode: char) -> Result<Trajectory> {
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| chemfiles::set_warning_callback(warn));
    if is_netcdf_restart(path) {
        return Trajectory::open_with_format(path, mode, "Amber Restart")
            .map_err(|error| unreadable(path, "", &error));
    }
    require_known_format(path)?;
    Trajectory::open(path, mode).map_err(|error| unreadable(path, "", &error))
}

/// Whether a file with an extension of AMBER restarts is NetCDF, not text.
pub(super) fn is_netcdf_restart(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut magic = [0_u8; 3];
    super::amber_coordinates::EXTENSIONS.contains(&extension.as_str())
        && File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && &magic == b"CDF"
}

fn require_known_format(path: &Path) -> Result<()> {
    if path.to_str().is_none() {
        return Err(Error::file(path, "", "a path in Unicode", "other bytes"));
    }
    if chemfiles::guess_format(path).is_err() {
        let found = format!("the extension `{}`", path.extension().unwrap_or_default().to_string_lossy());
        return Err(Error::file(path, "", "a file of a known format", found)
            .with_hint(format!("known: {}", known_extensions().join(" "))));
    }
    Ok(())
}

fn unreadable(path: &Path, place: &str, error: &chemfiles::Error) -> Error {
    // A damaged length makes the library ask for absurd amounts of memory.
    let found = match error.message.trim() {
        "std::bad_alloc" | "std::length_error" => "damaged data",
        message => message,
    };
    let format = path.extension().unwrap_or_default().to_string_lossy().to_uppercase();
    Error::file(path, place, format!("readable {format} data"), found)
}

/// An opened file and how many whole frames it has.
struct Opened {
    trajectory: Trajectory,
    n_frames: usize,
}

impl Opened {
    fn new(path: &Path) -> Result<Self> {
        let promised = if is_netcdf_restart(path) {
            None
        } else {
            require_known_format(path)?;
            promised_frames(path)?
        };
        let mut trajectory = open(path, 'r')?;
        let n_frames = trajectory.nsteps();
        let size = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
        // A DCD cut within its first frame wraps around to an absurd count.
        let n_frames = if n_frames as u64 > size { 0 } else { n_frames };
        if let Some(promised) = promised.filter(|&promised| promised > n_frames) {
            let found = format!("{n_frames} whole frames");
            return Err(Error::file(path, "", format!("{promised} frames as its headers say"), found)
                .with_hint("the file is truncated; write it again, or keep its whole frames in a new file"));
        }
        if n_frames == 0 {
            return Err(Error::file(path, "", "at least one frame", "none"));
        }
        Ok(Self { trajectory, n_frames })
    }

    fn read(&mut self, path: &Path, frame_idx: usize, frame: &mut Frame) -> Result<()> {
        self.trajectory
            .read_step(frame_idx, frame)
            .map_err(|error| unreadable(path, &format!("frame {frame_idx} of {}", self.n_frames), &error))
    }
}

/// Frames of a file; its first and last one are read and checked.
pub(super) fn inspect(path: &Path, n_atoms: usize) -> Result<usize> {
    let mut opened = Opened::new(path)?;
    let mut frame = Frame::new();
    let mut positions_nm = Vec::new();
    // What is wrong with every frame is said of the first.
    for frame_idx in [0, opened.n_frames - 1] {
        opened.read(path, frame_idx, &mut frame)?;
        positions_in_nm(&frame, &mut positions_nm);
        check_frame(path, frame_idx, n_atoms, &positions_nm)?;
    }
    Ok(opened.n_frames)
}

/// Passes all frames of a file to the collector.
pub(super) fn read(path: &Path, collector: &mut Collector<'_>) -> Result<usize> {
    let mut opened = Opened::new(path)?;
    let mut frame = Frame::new();
    let mut positions_nm = Vec::new();
    for frame_idx in 0..opened.n_frames {
        if collector.wants_next() {
            opened.read(path, frame_idx, &mut frame)?;
            positions_in_nm(&frame, &mut positions_nm);
            collector.push(path, frame_idx, &positions_nm)?;
        } else {
            collector.skip();
        }
    }
    Ok(opened.n_frames)
}

/// Box vectors of each frame in nm; `None` where a frame has no box.
pub(super) fn read_boxes(path: &Path) -> Result<Option<Vec<[[f64; 3]; 3]>>> {
    // Files of structures without a crystal have a box of 1 Å.
    const SMALLEST_ANGSTROM: f64 = 1.5;
    let mut opened = Opened::new(path)?;
    let mut frame = Frame::new();
    let mut boxes = Vec::with_capacity(opened.n_frames);
    for frame_idx in 0..opened.n_frames {
        opened.read(path, frame_idx, &mut frame)?;
        let cell = frame.cell();
        let (edges, angles) = (cell.lengths(), cell.angles());
        let found = (edges.iter().all(|&edge| edge > SMALLEST_ANGSTROM))
            .then(|| box_vectors_nm(edges.map(|edge| edge * NM_PER_ANGSTROM), angles))
            .flatten();
        let Some(vectors) = found else { return Ok(None) };
        boxes.push(vectors);
    }
    Ok(Some(boxes))
}

fn positions_in_nm(frame: &Frame, positions_nm: &mut Vec<f64>) {
    positions_nm.clear();
    positions_nm.extend(frame.positions().as_flattened().iter().map(|x| x * NM_PER_ANGSTROM));
}

/// The atoms and positions of the first frame of a file that names its atoms.
///
/// Bonds are those of the file and, for standard residues of a PDB, of the residue table of the
/// library. Where some atom then has no bond, bonds judged by distance are added.
pub(super) fn read_structure(path: &Path) -> Result<Structure> {
    let mut opened = Opened::new(path)?;
    let mut frame = Frame::new();
    opened.read(path, 0, &mut frame)?;
    let mut positions_nm = Vec::new();
    positions_in_nm(&frame, &mut positions_nm);
    let n_atoms = frame.size();
    if n_atoms == 0 {
        return Err(Error::file(path, "", "a topology with atoms", "no atoms"));
    }
    check_frame(path, 0, n_atoms, &positions_nm)?;

    let source = frame.topology();
    let mut atoms: Vec<Atom> = (0..n_atoms)
        .map(|idx| {
            let atom = source.atom(idx);
            Atom {
                name: atom.name(),
                element: atom.atomic_type(),
                residue_name: String::new(),
                residue_id: 0,
                chain: String::new(),
                mass_da: 0.0,
            }
        })
        .collect();
    if atoms.iter().all(|atom| atom.name.is_empty()) {
        return Err(Error::file(path, "", "a file that names its atoms", "positions alone")
            .with_hint("give a topology: PDB, GRO, prmtop, …"));
    }
    for residue_idx in 0..source.residues_count() as usize {
        let Some(residue) = source.residue(residue_idx) else { continue };
        let chain = match residue.get("chainid") {
            Some(chemfiles::Property::String(chain)) => chain.trim().to_string(),
            _ => String::new(),
        };
        let (name, id) = (residue.name(), residue.id());
        for idx in residue.atoms() {
            atoms[idx].residue_name.clone_from(&name);
            atoms[idx].residue_id = id.unwrap_or(residue_idx as i64 + 1);
            atoms[idx].chain.clone_from(&chain);
        }
    }
    for atom in &mut atoms {
        // Without an element column the library takes the name for the element.
        let stated = if atom.element == atom.name { None } else { elements::by_symbol(&atom.element) };
        let element = stated.or_else(|| elements::by_atom_name(&atom.name, &atom.residue_name));
        atom.element = element.map_or("X", |element| element.symbol).to_string();
        atom.mass_da = element.map_or(0.0, |element| element.mass_da);
    }
    let mut topology = Topology::new(atoms, source.bonds());
    if n_atoms > 1 && topology.neighbours().iter().any(Vec::is_empty) {
        let guessed = topology.guess_bonds(&positions_nm);
        topology = Topology::new(topology.atoms, [topology.bonds, guessed].concat());
    }
    Ok(Structure { topology, positions_nm: Some(positions_nm) })
}

/// Writes all frames with the names of `topology`; the extension decides on the format.
///
/// The file appears under its name only when it is complete and has been read back with the right
/// number of frames. DCD holds f32 in Å, PDB three decimals of Å, XTC 0.001 nm.
pub fn write_trajectory(path: &Path, topology: &Topology, ensemble: &Ensemble) -> Result<()> {
    if topology.n_atoms() != ensemble.n_particles() {
        return Err(Error::invalid(
            "topology of a trajectory to write",
            format!("{} atoms", ensemble.n_particles()),
            topology.n_atoms().to_string(),
        ));
    }
    if ensemble.n_frames() == 0 {
        return Err(Error::invalid("trajectory to write", "at least one frame", "none"));
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    // The extension stays last, because it chooses the format.
    let partial = path.with_extension(format!("partial.{extension}"));
    let written = write_frames(&partial, topology, ensemble).and_then(|()| {
        let n_frames = inspect(&partial, topology.n_atoms())?;
        if n_frames != ensemble.n_frames() {
            let expected = format!("{} frames after writing", ensemble.n_frames());
            return Err(
                Error::file(&partial, "", expected, n_frames.to_string()).with_hint("is the disk full?")
            );
        }
        File::open(&partial).and_then(|file| file.sync_all()).map_err(Error::io("write", &partial))?;
        std::fs::rename(&partial, path).map_err(Error::io("write", path))
    });
    take_warnings();
    if written.is_err() {
        // The reason why writing failed matters more than a left-over file.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

fn write_frames(path: &Path, topology: &Topology, ensemble: &Ensemble) -> Result<()> {
    // The library words a missing directory as a format error; the system says it plainly.
    File::create(path).map_err(Error::io("write", path))?;
    let cannot = |error: chemfiles::Error| Error::file(path, "", "to write this format", error.message);
    let mut trajectory = open(path, 'w')?;
    let mut frame = Frame::new();
    frame.resize(topology.n_atoms());
    frame.set_topology(&library_topology(topology)?).map_err(cannot)?;
    for positions_nm in ensemble.frames() {
        for (to, from) in frame.positions_mut().as_flattened_mut().iter_mut().zip(positions_nm) {
            *to = from / NM_PER_ANGSTROM;
        }
        trajectory.write(&frame).map_err(cannot)?;
    }
    Ok(())
}

fn library_topology(topology: &Topology) -> Result<chemfiles::Topology> {
    let mut result = chemfiles::Topology::new();
    for atom in &topology.atoms {
        let mut added = chemfiles::Atom::new(atom.name.as_str());
        added.set_atomic_type(atom.element.as_str());
        added.set_mass(atom.mass_da);
        result.add_atom(&added);
    }
    let mut start = 0;
    let same = |a: &Atom, b: &Atom| {
        a.residue_id == b.residue_id && a.residue_name == b.residue_name && a.chain == b.chain
    };
    for group in topology.atoms.chunk_by(same) {
        let mut residue = chemfiles::Residue::with_id(group[0].residue_name.as_str(), group[0].residue_id);
        residue.set("chainid", group[0].chain.as_str());
        // Beads are not the atoms of standard residues: their bonds have to be written out.
        residue.set("is_standard_pdb", false);
        (start..start + group.len()).for_each(|idx| residue.add_atom(idx));
        start += group.len();
        result
            .add_residue(&residue)
            .map_err(|error| Error::invalid("residues to write", "each atom in one", error.message))?;
    }
    topology.bonds.iter().for_each(|&[i, j]| result.add_bond(i, j));
    Ok(result)
}

/// How many frames the file itself says it has, for the formats where the library would not notice
/// that some are missing.
fn promised_frames(path: &Path) -> Result<Option<usize>> {
    const BINARY: [&str; 9] = ["nc", "ncrst", "mmtf", "tng", "tpr", "trj", "gz", "bz2", "xz"];
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut file = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
    let promised = match extension.as_str() {
        "dcd" => frames_of_dcd_header(file),
        "trr" => frames_begun(&mut file, size_of_trr_frame),
        "xtc" => frames_begun(&mut file, size_of_xtc_frame),
        other if BINARY.contains(&other) => Ok(None),
        _ => return models_of_text(path, file),
    };
    promised.map_err(Error::io("read", path))
}

/// NSET of the first record; 0, which programs write that never go back to the header, says nothing.
fn frames_of_dcd_header(mut file: impl Read) -> std::io::Result<Option<usize>> {
    let mut bytes = [0_u8; 16];
    if let Err(error) = file.read_exact(&mut bytes) {
        // Too short for a header: the library is left to say so.
        return if error.kind() == std::io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    // Record markers have 4 or 8 bytes, in either byte order: 84 0 0 0 C O R D, 0 0 0 84 C O R D, …
    let at = if &bytes[4..8] == b"CORD" { 8 } else { 12 };
    let number: [u8; 4] = std::array::from_fn(|i| bytes[at + i]);
    let n_frames = if bytes[0] == 84 { u32::from_le_bytes(number) } else { u32::from_be_bytes(number) };
    Ok((n_frames > 0).then_some(n_frames as usize))
}

/// Frames that begin in a file, whole or not, given how long each says it is.
fn frames_begun(
    file: &mut BufReader<File>,
    size_of_frame: fn(&mut BufReader<File>) -> std::io::Result<Option<u64>>,
) -> std::io::Result<Option<usize>> {
    let size = file.get_ref().metadata()?.len();
    let (mut at, mut n_frames) = (0, 0);
    while at < size {
        n_frames += 1;
        // A relative seek keeps what is buffered.
        let here = file.stream_position()?;
        file.seek_relative(at as i64 - here as i64)?;
        at += match size_of_frame(file) {
            Ok(Some(size)) => size,
            // The header is cut or damaged: the library is left to say so.
            Ok(None) => break,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        };
    }
    Ok(Some(n_frames))
}

/// TRR: magic number 1993, two string lengths, `GMX_trn_file`, then thirteen big-endian integers.
fn size_of_trr_frame(file: &mut BufReader<File>) -> std::io::Result<Option<u64>> {
    let mut header = [0_u8; 76];
    file.read_exact(&mut header)?;
    let integer = |idx: usize| u64::from(big_endian(&header, 24 + 4 * idx));
    let n_atoms = integer(10);
    if big_endian(&header, 0) != 1993 || n_atoms == 0 {
        return Ok(None);
    }
    // Box, positions, velocities or forces tell whether reals have 4 or 8 bytes.
    let real = [(2, 9), (7, 3 * n_atoms), (8, 3 * n_atoms), (9, 3 * n_atoms)]
        .into_iter()
        .find_map(|(idx, count)| (integer(idx) > 0).then(|| integer(idx) / count))
        .unwrap_or(4);
    Ok(Some(76 + 2 * real + (0..10).map(integer).sum::<u64>()))
}

/// XTC: magic number 1995, atoms, step, time, box, atoms again; nine atoms and fewer are stored plainly,
/// more follow compressed after 32 bytes of parameters and their number of bytes.
fn size_of_xtc_frame(file: &mut BufReader<File>) -> std::io::Result<Option<u64>> {
    let mut header = [0_u8; 56];
    file.read_exact(&mut header)?;
    let n_atoms = u64::from(big_endian(&header, 4));
    if big_endian(&header, 0) != 1995 || n_atoms == 0 {
        return Ok(None);
    }
    if n_atoms <= 9 {
        return Ok(Some(56 + 12 * n_atoms));
    }
    let mut rest = [0_u8; 36];
    file.read_exact(&mut rest)?;
    Ok(Some(92 + u64::from(big_endian(&rest, 32)).next_multiple_of(4)))
}

fn big_endian(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Models that begin in a text file; `None` where there are no MODEL records.
///
/// The library's names of atoms must be Unicode, so all of the text must be.
fn models_of_text(path: &Path, mut file: impl BufRead) -> Result<Option<usize>> {
    let (mut n_models, mut line, mut number) = (0, Vec::new(), 0);
    while file.read_until(b'\n', &mut line).map_err(Error::io("read", path))? > 0 {
        number += 1;
        if std::str::from_utf8(&line).is_err() || line.contains(&0) {
            return Err(Error::file(path, format!("line {number}"), "text in UTF-8", "other bytes"));
        }
        n_models += usize::from(line.starts_with(b"MODEL "));
        line.clear();
    }
    Ok((n_models > 0).then_some(n_models))
}
