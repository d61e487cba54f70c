//! Free energies of solvation by every road.

pub mod ends;
pub mod learning;
pub mod region;
