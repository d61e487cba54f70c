//! Where the atoms were: trajectories, weighted ensembles, splits, correlation times.

mod ensemble;

pub use ensemble::Ensemble;
