//! HDF5 trajectories of mdtraj: `/coordinates` in nm, `[frame][atom][xyz]`, and `/topology` as JSON.
//!
//! Compiled with the cargo feature `hdf5`.

use super::collector::Collector;
use super::load::Structure;
use super::numpy::frames_of_shape;
use crate::error::{Error, Result};
use crate::system::{Atom, Topology, elements};
use hdf5_metno::types::FixedAscii;
use hdf5_metno::{Dataset, File};
use serde::Deserialize;
use std::path::Path;

/// The longest topology that is read; one atom takes about 60 bytes of JSON.
const LONGEST_TOPOLOGY: usize = 1 << 24;

fn unreadable(path: &Path, place: &str) -> impl Fn(hdf5_metno::Error) -> Error {
    move |error| Error::file(path, place, "an HDF5 file of mdtraj", error.to_string())
}

fn coordinates(path: &Path) -> Result<Dataset> {
    let file = File::open(path).map_err(unreadable(path, ""))?;
    file.dataset("coordinates").map_err(unreadable(path, "/coordinates"))
}

/// Frames of a file; its first and last frame are read.
pub(super) fn inspect(path: &Path, n_atoms: usize) -> Result<usize> {
    let coordinates = coordinates(path)?;
    let n_frames = frames_of_shape(path, "/coordinates", &coordinates.shape(), n_atoms)?;
    for frame_idx in [0, n_frames - 1] {
        frame(path, &coordinates, frame_idx)?;
    }
    Ok(n_frames)
}

/// Passes all frames to the collector.
pub(super) fn read(path: &Path, collector: &mut Collector<'_>) -> Result<usize> {
    let coordinates = coordinates(path)?;
    let n_frames = coordinates.shape()[0];
    for frame_idx in 0..n_frames {
        if collector.wants_next() {
            collector.push(path, frame_idx, &frame(path, &coordinates, frame_idx)?)?;
        } else {
            collector.skip();
        }
    }
    Ok(n_frames)
}

fn frame(path: &Path, coordinates: &Dataset, frame_idx: usize) -> Result<Vec<f64>> {
    let place = format!("/coordinates, frame {frame_idx}");
    let wrong_type = |error: hdf5_metno::Error| unreadable(path, &place)(error);
    if coordinates.ndim() == 2 {
        return Ok(coordinates.read_slice_1d::<f64, _>((frame_idx, ..)).map_err(wrong_type)?.to_vec());
    }
    let values = coordinates.read_slice_2d::<f64, _>((frame_idx, .., ..)).map_err(wrong_type)?;
    Ok(values.iter().copied().collect())
}

#[derive(Deserialize)]
struct JsonTopology {
    chains: Vec<JsonChain>,
    bonds: Vec<(usize, usize)>,
}

#[derive(Deserialize)]
struct JsonChain {
    residues: Vec<JsonResidue>,
}

#[derive(Deserialize)]
struct JsonResidue {
    name: String,
    #[serde(rename = "resSeq")]
    number: i64,
    atoms: Vec<JsonAtom>,
}

#[derive(Deserialize)]
struct JsonAtom {
    index: usize,
    name: String,
    element: String,
}

/// The atoms and the positions of the first frame.
pub(super) fn read_structure(path: &Path) -> Result<Structure> {
    const PLACE: &str = "/topology";
    let file = File::open(path).map_err(unreadable(path, ""))?;
    let dataset = file.dataset("topology").map_err(|_| {
        Error::file(path, "", "a file that names its atoms", "no /topology").with_hint("give a topology file")
    })?;
    let size = dataset.dtype().map_err(unreadable(path, PLACE))?.size();
    if size > LONGEST_TOPOLOGY {
        return Err(Error::file(path, PLACE, format!("at most {LONGEST_TOPOLOGY} bytes"), size.to_string()));
    }
    // Only ever behind a reference: moving a text of this size would overflow the stack.
    let texts = dataset.read_raw::<FixedAscii<LONGEST_TOPOLOGY>>().map_err(unreadable(path, PLACE))?;
    let bad = |found: String| Error::file(path, PLACE, "a topology of mdtraj as JSON", found);
    let text = texts.first().map(|text| text.as_str()).ok_or_else(|| bad("nothing".into()))?;
    let json: JsonTopology = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;

    let mut atoms = Vec::new();
    for (chain_idx, chain) in json.chains.into_iter().enumerate() {
        // mdtraj numbers chains; letters make them look like those of a PDB.
        let letter = char::from(b'A' + (chain_idx % 26) as u8).to_string();
        for residue in chain.residues {
            for atom in residue.atoms {
                let element = elements::by_symbol(&atom.element)
                    .or_else(|| elements::by_atom_name(&atom.name, &residue.name));
                let described = Atom {
                    name: atom.name,
                    element: element.map_or("X", |element| element.symbol).to_string(),
                    residue_name: residue.name.clone(),
                    residue_id: residue.number,
                    chain: letter.clone(),
                    mass_da: element.map_or(0.0, |element| element.mass_da),
                };
                atoms.push((atom.index, described));
            }
        }
    }
    atoms.sort_by_key(|(index, _)| *index);
    if atoms.is_empty() || atoms.iter().enumerate().any(|(expected, (index, _))| *index != expected) {
        return Err(bad("atoms that are not numbered from 0 without gaps".into()));
    }
    if json.bonds.iter().any(|&(i, j)| i.max(j) >= atoms.len()) {
        return Err(bad("a bond to an atom that is not there".into()));
    }
    let bonds = json.bonds.into_iter().map(|(i, j)| [i, j]).collect();
    let topology = Topology::new(atoms.into_iter().map(|(_, atom)| atom).collect(), bonds);
    let coordinates = coordinates(path)?;
    frames_of_shape(path, "/coordinates", &coordinates.shape(), topology.n_atoms())?;
    let positions_nm = frame(path, &coordinates, 0)?;
    Ok(Structure { topology, positions_nm: Some(positions_nm) })
}
