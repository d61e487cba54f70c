//! Learned energies u_θ(x, t), invariant to rotation and translation but not to reflection.
//!
//! A [`network`] is written once, as a [`program::Program`]; [`fused`] runs it on the CPU, in cache and
//! with hand-written derivatives, and [`tensor`] through candle on any device. An [`EnergyModel`] joins a
//! program, its weights and the moment-matched Gaussian to a [`crate::potential::PotentialPath`] over
//! diffusion time, which is all that samplers and estimators see.

pub mod atomic_features;
pub mod checkpoint;
pub mod compute;
pub mod data;
mod energy_model;
pub mod features;
pub mod fused;
pub mod kernels;
pub mod network;
pub mod program;
mod state_energy;
pub mod tensor;
pub mod time_table;

pub use energy_model::EnergyModel;
pub use state_energy::StateEnergy;

#[cfg(test)]
mod state_energy_tests;
#[cfg(test)]
mod tests;
