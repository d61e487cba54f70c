//! Molecular dynamics of many conformations at once, in physical units.
//!
//! m dv = F dt − γ m v dt + √(2 γ m kT) dW with F = −∂U/∂x and distances that may be held fixed. Units: nm,
//! ps, Da, kJ/mol = Da nm²/ps². Each walker has its own kT and its own λ. The splitting is BAOAB
//! (Leimkuhler and Matthews 2013), one evaluation of the forces per step; with constraints it is g-BAOAB
//! (Leimkuhler and Matthews 2016). Without friction it is velocity Verlet (RATTLE), which keeps the energy.
//!
//! The centre of mass rests at the origin at all times, as if the noise were drawn given no total
//! momentum: a law of 3N − 3 − (number of constraints) degrees of freedom. The total force of a molecule
//! in vacuum vanishes, so nothing else changes.
//!
//! Noise is addressed by walker and step, pivots by walker and attempt. So a run is a function of the
//! seed and the start alone: not of the number of threads, nor of how its steps are divided into calls.

mod hydrogen_mass;
mod settings;
mod state;

pub use hydrogen_mass::{hydrogen_bond_constraints, repartition_hydrogen_mass};
pub use settings::{DynamicsSettings, MinimizeSettings};
pub use state::{BlowUp, BlowUpReason, DynamicsOutcome, DynamicsState, Minimization, PivotCount, Segment};

use super::{PivotBond, Progress};
use crate::error::{Error, Result};
use crate::force_field::DistanceConstraint;
use crate::potential::{BlockPotential, LANES};
use crate::random::{Purpose, Streams, fill_normal};

/// A Monte Carlo move: rotations about these bonds, in this order, each by its own uniform angle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PivotMove {
    /// How acceptance is reported: `phi of ALA 2`.
    pub name: String,
    /// The axes, one or more.
    pub bonds: Vec<PivotBond>,
}

/// Dynamics of a molecule with a potential: what does not change during a run.
pub struct Dynamics<'a> {
    potential: &'a dyn BlockPotential,
    masses_da: Vec<f64>,
    constraints: Vec<DistanceConstraint>,
    pivots: Vec<PivotMove>,
    settings: DynamicsSettings,
    streams: Streams,
}

impl<'a> Dynamics<'a> {
    /// Checks that masses, constraints and pivots fit the potential and each other.
    pub fn new(
        potential: &'a dyn BlockPotential,
        masses_da: Vec<f64>,
        constraints: &[DistanceConstraint],
        pivots: Vec<PivotMove>,
        settings: DynamicsSettings,
        streams: Streams,
    ) -> Result<Self> {
        settings.validate("dynamics")?;
        let n_atoms = potential.n_atoms();
        if masses_da.len() != n_atoms || !masses_da.iter().all(|m| *m > 0.0 && m.is_finite()) {
            let found = format!(
                "{} masses, the least {:?}",
                masses_da.len(),
                masses_da.iter().copied().reduce(f64::min)
            );
            return Err(Error::invalid("masses of dynamics", format!("{n_atoms} positive numbers"), found));
        }
        Ok(Self { potential, masses_da, constraints: constraints.to_vec(), pivots, settings, streams })
    }

    /// 3N − 3 − (number of constraints).
    pub fn degrees_of_freedom(&self) -> usize {
        3 * self.masses_da.len() - 3 - self.constraints.len()
    }

    /// The settings.
    pub fn settings(&self) -> &DynamicsSettings {
        &self.settings
    }

    /// Centres positions in nm, `[walker][atom][xyz]`, brings constrained distances to their lengths and
    /// draws Maxwell velocities; `kt_kj_per_mol` and `lambda` have one entry per walker.
    pub fn start(
        &self,
        positions_nm: Vec<f64>,
        kt_kj_per_mol: Vec<f64>,
        lambda: Vec<f64>,
    ) -> Result<DynamicsState> {
        let n = 3 * self.masses_da.len();
        self.check(&positions_nm, kt_kj_per_mol.len())?;
        self.check(&positions_nm, lambda.len())?;
        let mut velocities = vec![0.0; positions_nm.len()];
        for (walker, v) in velocities.chunks_exact_mut(n).enumerate() {
            fill_normal(&mut self.streams.stream(Purpose::Start, walker as u64), v);
            v.iter_mut()
                .enumerate()
                .for_each(|(i, v)| *v *= (kt_kj_per_mol[walker] / self.masses_da[i / 3]).sqrt());
        }
        Ok(DynamicsState { step: 0, positions_nm, velocities, kt_kj_per_mol, lambda })
    }

    /// Does `n_steps` steps and records where the number of the step is a multiple of `record_every`.
    ///
    /// After a blow-up `state` is the last good one and the segment says what happened.
    pub fn advance(
        &self,
        state: &mut DynamicsState,
        n_steps: u64,
        progress: &mut Progress<'_>,
    ) -> Result<Segment> {
        let _ = (&self.pivots, state, n_steps, progress);
        Err(Error::invalid("dynamics", "an integrator", "none yet"))
    }

    /// U in kJ/mol of positions in nm, `[walker][atom][xyz]`.
    pub fn energies(&self, positions_nm: &[f64], lambda: &[f64]) -> Result<Vec<f64>> {
        self.check(positions_nm, lambda.len())?;
        let n = 3 * self.masses_da.len();
        let mut workspace = self.potential.workspace();
        let (mut x, mut forces) = (vec![0.0; n * LANES], vec![0.0; n * LANES]);
        let mut energies = Vec::new();
        for (positions, lambda) in positions_nm.chunks(n * LANES).zip(lambda.chunks(LANES)) {
            let (mut lane_energies, mut lane_lambda) = ([0.0; LANES], [lambda[0]; LANES]);
            lane_lambda[..lambda.len()].copy_from_slice(lambda);
            for lane in 0..LANES {
                let from = &positions[lane.min(lambda.len() - 1) * n..][..n];
                from.iter().enumerate().for_each(|(i, from)| x[i * LANES + lane] = *from);
            }
            self.potential.energies_and_forces(
                &lane_lambda,
                &x,
                &mut lane_energies,
                &mut forces,
                &mut workspace,
            );
            energies.extend_from_slice(&lane_energies[..lambda.len()]);
        }
        Ok(energies)
    }

    /// Brings every walker near a minimum of its energy, with the constraints kept.
    pub fn minimize(
        &self,
        positions_nm: &mut [f64],
        lambda: &[f64],
        settings: &MinimizeSettings,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Minimization>> {
        self.check(positions_nm, lambda.len())?;
        let _ = (settings, progress);
        Err(Error::invalid("minimization", "an implementation", "none yet"))
    }

    fn check(&self, positions_nm: &[f64], n_walkers: usize) -> Result<()> {
        let expected = n_walkers * 3 * self.masses_da.len();
        if n_walkers == 0 || positions_nm.len() != expected || !positions_nm.iter().all(|x| x.is_finite()) {
            let expected = format!("{expected} finite coordinates of {n_walkers} walkers, one or more");
            return Err(Error::invalid(
                "positions of dynamics",
                expected,
                format!("{} numbers", positions_nm.len()),
            ));
        }
        Ok(())
    }
}
