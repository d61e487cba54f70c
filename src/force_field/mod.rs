//! Which parameters the atoms get, and from which paper.
//!
//! Readers of other programs' files and the assignment of force fields all end in one type,
//! [`Parameters`]: what `potential` needs to compute an energy, in nm, kJ/mol, e and rad.

pub mod amber_prmtop;
pub mod assign;
pub mod implicit_solvent;
pub mod molecular_system;
mod neck_integrals;
pub mod openmm_xml;
pub mod parameters;
#[cfg(test)]
pub(crate) mod plain_energy;
pub mod shipped;

pub use parameters::{
    BornAtom, Cmap, CmapGrid, DistanceConstraint, Exception, GeneralizedBorn, HarmonicAngle, HarmonicBond,
    ImplicitSolvent, Neck, Nonbonded, NonbondedMethod, PairTable, Parameters, PeriodicTorsion,
    RyckaertBellemansTorsion, SurfaceArea,
};
