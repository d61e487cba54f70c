//! Solvation free energies: f(solvent) − f(vacuum) of one molecule by several roads.

pub mod classical;
pub mod road;
pub mod switching;
pub mod windows;

pub use road::Road;
