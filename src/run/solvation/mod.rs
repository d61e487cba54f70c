//! Solvation free energies: f(solvent) − f(vacuum) of one molecule by several roads.

pub mod road;

pub use road::Road;
