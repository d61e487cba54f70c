//! A system from the atoms of a protein and a force field of `force_fields/`.
//!
//! Every residue is recognised by its name and the names of its atoms (`residues`), its atoms get
//! classes and charges of a template (`force_field_file`), and the classes give bonds, angles, torsions
//! and nonbonded parameters (`terms`). Energies are those of OpenMM's `ForceField.createSystem` with
//! `NoCutoff` and without constraints. Implicit solvent is added by `implicit_solvent`.

mod atom_names;
mod force_field_file;
mod residues;
mod terms;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::force_field::Parameters;
use crate::system::Topology;
use force_field_file::ForceField;

/// The names of the force fields that [`assign`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    force_field_file::names()
}

/// The parameters of a protein: amino acids with all their hydrogens and caps, in vacuum.
///
/// `topology` names atoms and residues; its bonds are not used. `positions_nm`, `[atom][xyz]`, tell which
/// residues are bonded to each other: C–N of consecutive residues of a chain closer than 0.2 nm, SG–SG
/// closer than 0.25 nm where both sulfurs have no hydrogen. `force_field` is one of [`names`] or the path
/// of a `.toml` file in the format of `force_fields/README.md`. In the result the atoms keep their names
/// and order and have the elements, masses and bonds of the force field.
pub fn assign(topology: &Topology, positions_nm: &[f64], force_field: &str) -> Result<Parameters> {
    let force_field = ForceField::named(force_field)?;
    if positions_nm.len() != 3 * topology.n_atoms() {
        let expected = format!("{} coordinates", 3 * topology.n_atoms());
        return Err(Error::invalid("positions of a structure", expected, positions_nm.len().to_string()));
    }
    let assignment = residues::assign(&force_field, topology, positions_nm)?;
    terms::parameters(&force_field, topology, &assignment)
}
