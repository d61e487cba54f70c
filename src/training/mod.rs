//! Objectives and the loop that minimises them.

pub mod amortised;
pub mod batch;
mod calibration;
pub mod chains;
mod conditions;
pub mod equilibrium_walkers;
pub mod gradient;
mod initialiser;
mod lines;
pub mod objective;
pub mod optimizer;
pub mod resume;
mod settings;
pub mod times;
mod trainer;

pub use initialiser::InitialiserState;
pub use settings::{StageSettings, TrainSettings};
pub use trainer::{StepReport, Trainer, TrainerState, validate};

#[cfg(test)]
mod tests;
