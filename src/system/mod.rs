//! What the atoms are: topology, selections, coarse-grained beads, collective variables.
//!
//! A [`Topology`] names atoms and bonds. A [`Mapping`] says which atoms become the particles (beads)
//! of a model, and a [`CollectiveVariable`] is a number that one conformation of these has.

mod alignment;
pub mod amber_prmtop;
pub mod collective_variable;
pub mod elements;
mod mapping;
mod periodic_box;
mod selection;
mod stereochemistry;
mod topology;

pub use alignment::{aligned_to, rmsd_nm};
pub use collective_variable::{COLLECTIVE_VARIABLES, CollectiveVariable};
pub use mapping::{CenterSettings, CenterWeights, Mapping, MappingSettings};
pub use periodic_box::box_vectors_nm;
pub use selection::{Selection, select};
pub use stereochemistry::{Handedness, Stereochemistry};
pub use topology::{Atom, Topology};
