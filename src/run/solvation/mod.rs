//! Solvation free energies: f(solvent) − f(vacuum) of one molecule by several roads.

pub mod absolute;
pub mod classical;
#[cfg(test)]
mod closed_form_tests;
pub mod corrected;
pub mod counted;
pub mod ends;
pub mod grouped;
pub mod learned;
pub mod learning;
pub mod multistate;
pub mod region;
pub mod road;
pub mod switching;
pub mod windows;

pub use road::Road;
