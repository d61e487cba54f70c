//! Solvation free energies: f(solvent) − f(vacuum) of one molecule by several roads.

pub mod classical;
pub mod counted;
pub mod ends;
pub mod grouped;
pub mod learned;
pub mod learning;
pub mod region;
pub mod road;
pub mod switching;
pub mod windows;

pub use road::Road;
