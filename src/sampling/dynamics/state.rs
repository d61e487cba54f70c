//! Where the walkers are, and what a segment of dynamics reports.

use serde::{Deserialize, Serialize};

/// Everything that a run needs to continue, to the bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DynamicsState {
    /// Steps done.
    pub step: u64,
    /// nm, `[walker][atom][xyz]`, centre of mass at the origin.
    pub positions_nm: Vec<f64>,
    /// nm/ps, `[walker][atom][xyz]`, no total momentum.
    pub velocities: Vec<f64>,
    /// kT of each walker in kJ/mol; change it with [`DynamicsState::set_temperature`].
    pub kt_kj_per_mol: Vec<f64>,
    /// λ of each walker.
    pub lambda: Vec<f64>,
}

impl DynamicsState {
    /// How many walkers.
    pub fn n_walkers(&self) -> usize {
        self.kt_kj_per_mol.len()
    }

    /// Puts a walker at another temperature: velocities are scaled by √(T′/T), which turns one Maxwell
    /// law into the other, as replica exchange needs.
    pub fn set_temperature(&mut self, walker: usize, kt_kj_per_mol: f64) {
        let n = self.velocities.len() / self.n_walkers();
        let factor = (kt_kj_per_mol / self.kt_kj_per_mol[walker]).sqrt();
        self.velocities[walker * n..(walker + 1) * n].iter_mut().for_each(|v| *v *= factor);
        self.kt_kj_per_mol[walker] = kt_kj_per_mol;
    }

    /// Positions of one walker in nm, `[atom][xyz]`.
    pub fn position(&self, walker: usize) -> &[f64] {
        let n = self.positions_nm.len() / self.n_walkers();
        &self.positions_nm[walker * n..(walker + 1) * n]
    }
}

/// What one call of [`Dynamics::advance`](super::Dynamics::advance) recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Whether all steps were done.
    pub outcome: DynamicsOutcome,
    /// Number of the step of each frame.
    pub steps: Vec<u64>,
    /// nm, `[frame][walker][atom][xyz]`.
    pub positions_nm: Vec<f64>,
    /// U in kJ/mol at the walker's λ, `[frame][walker]`.
    pub potential_energies: Vec<f64>,
    /// Kinetic temperature as a multiple of the walker's, `[frame][walker]`.
    pub kinetic_temperature_ratios: Vec<f64>,
    /// Of each pivot move in the order given to `Dynamics::new`.
    pub pivots: Vec<PivotCount>,
    /// Conformations of which energies and forces were computed.
    pub n_force_evaluations: u64,
}

impl Segment {
    /// Mean kinetic temperature over frames and walkers as a multiple of the bath's; NaN without frames.
    pub fn mean_kinetic_temperature_ratio(&self) -> f64 {
        self.kinetic_temperature_ratios.iter().sum::<f64>() / self.kinetic_temperature_ratios.len() as f64
    }
}

/// How a segment ended.
#[derive(Debug, Clone, PartialEq)]
pub enum DynamicsOutcome {
    /// All steps were done.
    Completed,
    /// A walker blew up; the state is the last good one.
    BlownUp(BlowUp),
}

/// Which walker blew up, where and when.
#[derive(Debug, Clone, PartialEq)]
pub struct BlowUp {
    /// The walker; the first of several.
    pub walker: usize,
    /// Number of the step that failed.
    pub step: u64,
    /// The atoms with the largest forces (or displacements, or violated constraints), worst first.
    pub atoms: Vec<usize>,
    /// What was noticed.
    pub reason: BlowUpReason,
}

/// What makes a step a blow-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BlowUpReason {
    /// The energy became infinite or not a number.
    Energy {
        /// kJ/mol
        energy: f64,
    },
    /// An atom moved further in a step than any atom does.
    Displacement {
        /// nm, of the atom that moved furthest.
        displacement_nm: f64,
    },
    /// The constraints could not be met.
    Constraint {
        /// Largest relative error of a squared distance.
        residual: f64,
    },
}

/// How often a pivot was tried and accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PivotCount {
    /// Tried, over all walkers.
    pub attempted: u64,
    /// Accepted.
    pub accepted: u64,
}

/// What minimising one walker came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Minimization {
    /// kJ/mol at the start, after constraints were applied.
    pub energy_before: f64,
    /// kJ/mol at the end.
    pub energy_after: f64,
    /// Largest force on an atom at the end, in kJ/(mol nm), constraint forces not counted.
    pub largest_force: f64,
    /// Steps taken.
    pub n_steps: usize,
    /// Whether the tolerance was reached.
    pub converged: bool,
}
