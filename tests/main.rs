//! The tests of the whole program, as one binary: linking it once is what takes the time.

mod analytic_systems;
mod architecture;
mod bad_input;
mod benchmark;
mod common;
mod composition;
mod config;
mod energy;
mod estimate;
mod exact;
mod periodic;
mod pmf;
mod reproducibility;
mod reweight;
mod score;
mod simulate;
mod solvate;
mod solvation;
