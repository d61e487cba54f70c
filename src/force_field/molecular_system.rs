//! From what a command line names to a system whose energy can be computed.
//!
//! A topology is an AMBER topology file, a serialised OpenMM System with a structure beside it, a PDB file with the
//! name of a force field, or the name of a system that is shipped with the program.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::force_field::parameters::{GeneralizedBorn, Parameters};
use crate::force_field::{amber_prmtop, implicit_solvent, openmm_xml};
use crate::system::amber_prmtop::Prmtop;
use crate::trajectory::{read_first_frame, read_structure};

/// A system with its parameters and, where a file has them, start positions.
#[derive(Debug, Clone, PartialEq)]
pub struct MolecularSystem {
    /// The name of a shipped system, or that of the file without its extension.
    pub name: String,
    /// What determines the energy.
    pub parameters: Parameters,
    /// The positions of the structure, `[atom][xyz]`, nm.
    pub positions_nm: Option<Vec<f64>>,
    /// The file that the parameters are from.
    pub source: PathBuf,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SystemRequest {
    /// A file, or the name of a shipped system.
    pub topology: PathBuf,
    /// Names, elements and positions of the atoms where the topology has none; otherwise start positions.
    pub structure: Option<PathBuf>,
    /// `none`, `obc1`, `obc2` or `gbn2`; absent: what the topology has, which for files of AMBER is none.
    pub implicit_solvent: Option<String>,
    /// Whether implicit solvent has its surface term; absent: yes.
    pub surface_area: Option<bool>,
    /// The force field of a PDB file.
    pub force_field: Option<String>,
}

impl SystemRequest {
    fn model(&self) -> Result<Option<GeneralizedBorn>> {
        self.implicit_solvent.as_deref().map_or(Ok(None), implicit_solvent::by_name)
    }

    fn wants_surface_area(&self) -> bool {
        self.surface_area.unwrap_or(true)
    }

    fn refuse_force_field(&self, what: &str) -> Result<()> {
        match &self.force_field {
            Some(name) => Err(Error::config(
                format!("force_field = {name}"),
                format!("{what} has its own parameters"),
                "leave the force field out, or give a PDB file",
            )),
            None => Ok(()),
        }
    }
}

/// Reads whatever the topology turns out to be.
pub fn load(request: &SystemRequest) -> Result<MolecularSystem> {
    // A wrong name of a model is said before any file is opened.
    request.model()?;
    let path = &request.topology;
    if !path.exists() {
        return shipped(request);
    }
    let beginning = beginning_of(path)?;
    let parameters = if amber_prmtop::is_prmtop(&beginning) {
        of_prmtop(path, request)?
    } else if openmm_xml::is_xml(&beginning) {
        of_xml(path, request)?
    } else if is_structure(path) {
        return of_structure(path, request);
    } else {
        let found = format!(
            "`{}`",
            beginning.lines().next().unwrap_or_default().chars().take(60).collect::<String>()
        );
        return Err(Error::file(
            path,
            "line 1",
            "an AMBER topology, a serialised OpenMM System, or a PDB file",
            found,
        ));
    };
    let positions_nm = match &request.structure {
        Some(structure) => Some(read_first_frame(structure, parameters.n_atoms())?),
        None => None,
    };
    Ok(MolecularSystem { name: name_of(path), parameters, positions_nm, source: path.clone() })
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_structure(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ["pdb", "ent", "cif", "mmcif", "gro"].contains(&extension.as_str())
}

fn beginning_of(path: &Path) -> Result<String> {
    if path.is_dir() {
        return Err(Error::file(path, "", "a topology", "a directory"));
    }
    let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
    let mut bytes = Vec::new();
    file.take(4096).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.is_empty() {
        return Err(Error::file(path, "", "a topology", "an empty file"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn of_prmtop(path: &Path, request: &SystemRequest) -> Result<Parameters> {
    request.refuse_force_field("an AMBER topology")?;
    let file = Prmtop::read(path)?;
    let mut parameters = amber_prmtop::parameters(&file)?;
    if let Some(model) = request.model()? {
        let solvent = implicit_solvent::of_prmtop(&file, &parameters, model, request.wants_surface_area())?;
        parameters.implicit_solvent = Some(solvent);
    }
    Ok(parameters)
}

fn of_xml(path: &Path, request: &SystemRequest) -> Result<Parameters> {
    request.refuse_force_field("a serialised System")?;
    if let Some(model) = &request.implicit_solvent {
        let message = "a serialised System has its own solvent";
        return Err(Error::config(format!("implicit_solvent = {model}"), message, "leave it out"));
    }
    let Some(structure) = &request.structure else {
        let message = "a serialised System has no elements and names";
        return Err(Error::config("structure", message, "give a PDB file of its atoms with --structure"));
    };
    let mut parameters = openmm_xml::read(path, &read_structure(structure)?.topology)?;
    if request.surface_area == Some(false)
        && let Some(solvent) = &mut parameters.implicit_solvent
    {
        solvent.surface_area = None;
    }
    Ok(parameters)
}

/// Parameters for the atoms of a structure.
fn of_structure(path: &Path, request: &SystemRequest) -> Result<MolecularSystem> {
    let Some(force_field) = &request.force_field else {
        let message = format!("`{}` names atoms, but no parameters", path.display());
        return Err(Error::config(
            "force_field",
            message,
            "name a force field with --force-field, for example ff14SB",
        ));
    };
    let structure = read_structure(path)?;
    let mut parameters = assign(force_field, &structure.topology)?;
    if let Some(model) = request.model()? {
        let solvent = implicit_solvent::of_topology(&parameters, model, request.wants_surface_area())?;
        parameters.implicit_solvent = Some(solvent);
    }
    let positions_nm = match &request.structure {
        Some(other) => Some(read_first_frame(other, parameters.n_atoms())?),
        None => structure.positions_nm,
    };
    Ok(MolecularSystem { name: name_of(path), parameters, positions_nm, source: path.to_path_buf() })
}

/// The parameters that a force field gives to these atoms.
fn assign(force_field: &str, _topology: &crate::system::Topology) -> Result<Parameters> {
    Err(Error::config(format!("force_field = {force_field}"), "there is no such force field", ""))
}

/// A system of the catalogue.
fn shipped(request: &SystemRequest) -> Result<MolecularSystem> {
    let path = &request.topology;
    Err(Error::file(path, "", "a topology file or the name of a shipped system", "neither"))
}

#[cfg(test)]
#[path = "molecular_system_tests.rs"]
mod tests;
