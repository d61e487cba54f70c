//! From what a command line names to a system whose energy can be computed.
//!
//! A topology is an AMBER topology file, a serialised OpenMM System with a structure beside it, a PDB file with the
//! name of a force field, or the name of a system that is shipped with the program.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::force_field::parameters::{GeneralizedBorn, Parameters};
use crate::force_field::{amber_prmtop, assign, implicit_solvent, openmm_xml, shipped};
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
    /// `none`, `obc1`, `obc2` or `gbn2`; absent: what the topology has: none for files of AMBER, that of its name for a
    /// shipped system.
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
    if !path.is_file() {
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
        let names: Vec<&str> = assign::names().collect();
        let hint = format!("name a force field with --force-field: {}", names.join(", "));
        return Err(Error::config("force_field", message, hint));
    };
    let structure = read_structure(path)?;
    let positions_nm = structure.positions_nm.unwrap_or_default();
    let mut parameters = assign::assign(&structure.topology, &positions_nm, force_field)?;
    if let Some(model) = request.model()? {
        let solvent = implicit_solvent::of_topology(&parameters, model, request.wants_surface_area())?;
        parameters.implicit_solvent = Some(solvent);
    }
    let positions_nm = match &request.structure {
        Some(other) => Some(read_first_frame(other, parameters.n_atoms())?),
        None => Some(positions_nm),
    };
    Ok(MolecularSystem { name: name_of(path), parameters, positions_nm, source: path.to_path_buf() })
}

/// A system of the catalogue, in the solvent that its name says unless the request says another.
fn shipped(request: &SystemRequest) -> Result<MolecularSystem> {
    let path = &request.topology;
    let name = path.to_string_lossy();
    if path.is_dir() && !shipped::names().iter().any(|known| *known == name) {
        return Err(Error::file(path, "", "a topology", "a directory"));
    }
    if path.exists() && !path.is_dir() {
        return Err(Error::file(path, "", "a regular file", "a device or a pipe"));
    }
    if path.extension().is_some() || name.contains(['/', '\\']) {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(Error::io("read", path)(missing));
    }
    request.refuse_force_field("a shipped system")?;
    let found = shipped::find(&name)?;
    let source = Path::new("systems").join(path);
    let file = Prmtop::parse(&source, found.topology)?;
    let mut parameters = amber_prmtop::parameters(&file)?;
    let model = if request.implicit_solvent.is_some() { request.model()? } else { found.implicit_solvent };
    if let Some(model) = model {
        let solvent = implicit_solvent::of_prmtop(&file, &parameters, model, request.wants_surface_area())?;
        parameters.implicit_solvent = Some(solvent);
    }
    let n_atoms = parameters.n_atoms();
    let positions_nm = match &request.structure {
        Some(structure) => read_first_frame(structure, n_atoms)?,
        None => positions_of_pdb(&source, found.structure_pdb, n_atoms)?,
    };
    Ok(MolecularSystem { name: found.name, parameters, positions_nm: Some(positions_nm), source })
}

/// The positions of the atoms of a PDB text, `[atom][xyz]`, nm.
fn positions_of_pdb(source: &Path, text: &str, n_atoms: usize) -> Result<Vec<f64>> {
    let is_atom = |line: &&str| line.starts_with("ATOM  ") || line.starts_with("HETATM");
    let mut positions_nm = Vec::with_capacity(3 * n_atoms);
    for line in text.lines().filter(is_atom) {
        for start in [30, 38, 46] {
            let field = line.get(start..start + 8).unwrap_or_default().trim();
            let angstrom: f64 = field.parse().map_err(|_| {
                Error::file(source, "start structure", "coordinates in Å", format!("`{line}`"))
            })?;
            positions_nm.push(0.1 * angstrom);
        }
    }
    if positions_nm.len() != 3 * n_atoms {
        let found = format!("{} atoms", positions_nm.len() / 3);
        return Err(Error::file(source, "start structure", format!("{n_atoms} atoms"), found));
    }
    Ok(positions_nm)
}

#[cfg(test)]
#[path = "molecular_system_tests.rs"]
mod tests;
