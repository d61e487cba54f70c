//! kirkwood: molecular free energies from learned and classical energies.
//!
//! > A run reads a **system** and its **trajectory**, assigns a **force field**, evaluates
//! > **potentials**, draws ensembles by **sampling**, learns a time-dependent **model** by
//! > **training**, estimates **free energies**, and writes a **report**.
//!
//! The words in bold are the modules below, in that order. A module imports only from those before
//! it and from five foundations of one file each ([`error`], [`units`], [`random`], [`registry`], [`simd`]).

pub mod error;
pub mod random;
pub mod registry;
pub mod simd;
pub mod units;

pub mod system;

pub mod trajectory;

pub mod force_field;

pub mod potential;

pub mod sampling;

pub mod model;

pub mod training;

pub mod free_energy;

pub mod comparison;

pub mod report;

pub mod run;

pub use error::{Error, Result};
