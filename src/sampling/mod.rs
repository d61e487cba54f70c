//! Markov kernels and algorithms along a path of potentials.
//!
//! Energies come in batches: every algorithm hands all of its walkers to the path at once, and the
//! path is parallel inside. Random numbers come from one stream per walker and block (or level), so a
//! run is a function of the seed alone: it does not depend on the number of threads, and it continues
//! from positions and a block number as if it had not been interrupted.
//!
//! Long algorithms take a callback with the fraction done; an error that it returns stops them.

mod annealed_importance;
mod bridge;
#[cfg(test)]
mod composition_tests;
mod diffusion_paths;
pub mod dynamics;
mod equilibrium;
mod escorted_paths;
mod exchange;
pub mod kernel;
mod langevin;
mod particle_diffusion;
mod particles;
mod renoising;
mod replica_exchange;
mod resampling;
mod reverse_diffusion;
mod sequential_monte_carlo;
mod switching;
mod torsion_pivot;
mod walkers;

pub use annealed_importance::{AnnealedImportanceSettings, AnnealedWalkers, annealed_importance};
pub use bridge::Bridge;
pub use diffusion_paths::{DiffusionPaths, Paths};
pub use equilibrium::{Equilibrium, EquilibriumBlock, EquilibriumSettings, EquilibriumState};
pub use escorted_paths::EscortedPaths;
pub use exchange::{Exchange, Journey, Ladder, PairTally, Swap, ThermodynamicState, geometric_temperatures};
pub use kernel::{Kernel, LocalMove, Outcome, Step, StepSizeAdapter};
pub use langevin::{Langevin, LangevinBlock, LangevinSettings, LangevinState, LangevinUnits};
pub use particle_diffusion::{ParticleDiffusionSettings, particle_diffusion};
pub use particles::{
    LogNormalizer, ParticleSchedule, ParticleState, Population, SequentialMonteCarloSettings, SmcLevel,
};
pub use renoising::Renoising;
pub use replica_exchange::{ReplicaBlock, ReplicaExchange, ReplicaExchangeSettings, ReplicaState};
pub use resampling::{
    effective_sample_size, effective_sample_size_log, multinomial_resampling, systematic_resampling,
};
pub use reverse_diffusion::{
    ReverseDiffusionGrid, ReverseDiffusionMethod, ReverseDiffusionResult, ReverseDiffusionSettings,
    reverse_diffusion,
};
pub use sequential_monte_carlo::{SequentialMonteCarlo, pilot_schedule, sequential_monte_carlo};
pub use switching::{Switched, SwitchingLevels, SwitchingSettings, switch, switching_schedule};
pub use torsion_pivot::{PivotBond, TorsionPivot, rotatable_bonds};
pub use walkers::Walkers;

use crate::error::Result;

/// Told the fraction done of the present call, in [0, 1]; its error stops the algorithm.
pub type Progress<'a> = dyn FnMut(f64) -> Result<()> + 'a;

/// A progress callback that does nothing.
pub fn silent(_: f64) -> Result<()> {
    Ok(())
}

/// Walkers per task of the thread pool: drawing the noise of this many takes about 10 microseconds.
const MIN_PER_TASK: usize = 64;

#[cfg(test)]
mod testing;
