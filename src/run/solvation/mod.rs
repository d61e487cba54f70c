//! Solvation free energies: f(solvent) − f(vacuum) of one molecule by several roads.

pub mod ends;
pub mod learning;
pub mod region;
pub mod road;

pub use road::Road;
