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

mod constraints;
mod hydrogen_mass;
mod integrator;
mod minimize;
mod noise;
mod pivot;
mod settings;
mod state;

pub use hydrogen_mass::{hydrogen_bond_constraints, repartition_hydrogen_mass};
pub use settings::{DynamicsSettings, MinimizeSettings};
pub use state::{BlowUp, BlowUpReason, DynamicsOutcome, DynamicsState, Minimization, PivotCount, Segment};

use rayon::prelude::*;

use self::constraints::Constraints;
use self::integrator::{Block, Failure, Mechanics, draw_velocities, subtract_mean, twice_kinetic};
use self::minimize::Fire;
use self::pivot::{Pivots, Trial};
use super::{PivotBond, Progress};
use crate::error::{Error, Result};
use crate::force_field::DistanceConstraint;
use crate::potential::{BlockPotential, LANES};
use crate::random::Streams;

/// A Monte Carlo move: rotations about these bonds, in this order, each by its own uniform angle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PivotMove {
    /// How acceptance is reported: `phi of ALA 2`.
    pub name: String,
    /// The axes, one or more.
    pub bonds: Vec<PivotBond>,
}

/// Steps after which threads meet and progress is told, at most.
const MAX_CHUNK: u64 = 1000;

/// Dynamics of a molecule with a potential: what does not change during a run.
pub struct Dynamics<'a> {
    potential: &'a dyn BlockPotential,
    mechanics: Mechanics,
    /// Those of particles of 1 Da, for minimisation.
    unit_constraints: Constraints,
    pivots: Pivots,
    settings: DynamicsSettings,
    streams: Streams,
}

impl<'a> Dynamics<'a> {
    /// Checks that masses, constraints and pivots fit the potential and each other.
    pub fn new(
        potential: &'a dyn BlockPotential,
        masses_da: &[f64],
        constraints: &[DistanceConstraint],
        pivots: Vec<PivotMove>,
        settings: DynamicsSettings,
        streams: Streams,
    ) -> Result<Self> {
        settings.validate("dynamics")?;
        let n_atoms = potential.n_atoms();
        if masses_da.len() != n_atoms || !masses_da.iter().all(|m| *m > 0.0 && m.is_finite()) {
            let least = masses_da.iter().copied().fold(f64::INFINITY, f64::min);
            let found = format!("{}, the least {least}", masses_da.len());
            return Err(Error::invalid("masses of dynamics", format!("{n_atoms} positive numbers"), found));
        }
        if 3 * n_atoms <= 3 + constraints.len() {
            let expected = "more degrees of freedom than those of the centre of mass and of constraints";
            let found = format!("{n_atoms} atoms and {} constraints", constraints.len());
            return Err(Error::invalid("dynamics", expected, found));
        }
        if settings.pivot_every > 0 && pivots.is_empty() {
            return Err(Error::invalid("dynamics", "pivot moves, as `pivot_every` is not 0", "none"));
        }
        let mechanics =
            Mechanics::new(masses_da, constraints, settings.time_step_ps, settings.friction_per_ps)?;
        let pivots = Pivots::new(pivots, &mechanics, streams)?;
        let unit_constraints = Constraints::new(constraints, &vec![1.0; n_atoms])?;
        Ok(Self { potential, mechanics, unit_constraints, pivots, settings, streams })
    }

    /// 3N − 3 − (number of constraints).
    pub fn degrees_of_freedom(&self) -> usize {
        3 * self.mechanics.n_atoms - 3 - self.mechanics.constraints.len()
    }

    /// The settings.
    pub fn settings(&self) -> &DynamicsSettings {
        &self.settings
    }

    /// The moves of which [`Segment::pivots`] counts the acceptance.
    pub fn pivot_moves(&self) -> &[PivotMove] {
        &self.pivots.moves
    }

    /// Centres positions in nm, `[walker][atom][xyz]`, brings constrained distances to their lengths and
    /// draws Maxwell velocities; `kt_kj_per_mol` and `lambda` have one entry per walker.
    pub fn start(
        &self,
        mut positions_nm: Vec<f64>,
        kt_kj_per_mol: Vec<f64>,
        lambda: Vec<f64>,
    ) -> Result<DynamicsState> {
        self.check(&positions_nm, &kt_kj_per_mol, &lambda)?;
        let mut velocities = vec![0.0; positions_nm.len()];
        let mut blocks = self.blocks(&positions_nm, &velocities, &kt_kj_per_mol, &lambda);
        self.satisfy(&mut blocks, &self.mechanics.constraints)?;
        let n = self.block_len();
        (blocks.par_iter_mut())
            .zip(positions_nm.par_chunks_mut(n))
            .zip(velocities.par_chunks_mut(n))
            .for_each(|((block, x), v)| {
                subtract_mean(&self.mechanics, &mut block.x);
                let noise = &block.velocity_noise;
                draw_velocities(&self.mechanics, noise, 0, &block.x, &block.kt, &mut block.v);
                block.unpack(&block.x, x);
                block.unpack(&block.v, v);
            });
        Ok(DynamicsState { step: 0, positions_nm, velocities, kt_kj_per_mol, lambda })
    }

    /// Does `n_steps` steps and records where the number of the step is a multiple of `record_every`.
    ///
    /// After a blow-up `state` is the last good one (that of the last recorded frame or later) and the
    /// segment says what happened. After an error, as of `progress`, `state` is as before the call.
    pub fn advance(
        &self,
        state: &mut DynamicsState,
        n_steps: u64,
        progress: &mut Progress<'_>,
    ) -> Result<Segment> {
        self.check(&state.positions_nm, &state.kt_kj_per_mol, &state.lambda)?;
        self.check(&state.velocities, &state.kt_kj_per_mol, &state.lambda)?;
        let mut blocks: Vec<(Block, Trial)> = self
            .blocks(&state.positions_nm, &state.velocities, &state.kt_kj_per_mol, &state.lambda)
            .into_iter()
            .map(|block| (block, self.pivots.trial(&self.mechanics)))
            .collect();
        blocks.par_iter_mut().for_each(|(block, _)| block.evaluate(self.potential));
        let n_walkers = state.n_walkers();
        let every = self.settings.record_every;
        let mut segment = Segment {
            outcome: DynamicsOutcome::Completed,
            steps: Vec::new(),
            positions_nm: Vec::new(),
            potential_energies: Vec::new(),
            kinetic_temperature_ratios: Vec::new(),
            pivots: vec![PivotCount::default(); self.pivots.moves.len()],
            n_force_evaluations: n_walkers as u64,
        };
        let (first, last) = (state.step, state.step + n_steps);
        let mut step = first;
        while step < last {
            let end = last.min((step / every + 1) * every).min(step + MAX_CHUNK);
            let failures: Vec<Option<Failure>> =
                blocks.par_iter_mut().map(|pair| self.chunk(pair, step, end)).collect();
            let failed = failures.into_iter().enumerate().filter_map(|(idx, failure)| Some((idx, failure?)));
            if let Some((idx, failure)) = failed.min_by_key(|(_, failure)| failure.step) {
                segment.outcome = DynamicsOutcome::BlownUp(BlowUp {
                    walker: idx * LANES + failure.lane,
                    step: failure.step,
                    atoms: failure.atoms,
                    reason: failure.reason,
                });
                for (block, _) in &mut blocks {
                    block.x.copy_from_slice(&block.good.0);
                    block.v.copy_from_slice(&block.good.1);
                }
                break;
            }
            segment.n_force_evaluations += n_walkers as u64 * (end - step);
            step = end;
            for (_, trial) in &mut blocks {
                for (sum, count) in segment.pivots.iter_mut().zip(&mut trial.counts) {
                    segment.n_force_evaluations += count.attempted;
                    sum.attempted += count.attempted;
                    sum.accepted += count.accepted;
                    *count = PivotCount::default();
                }
            }
            if step % every == 0 {
                self.record(&mut blocks, step, n_walkers, &mut segment);
            }
            progress((step - first) as f64 / n_steps as f64)?;
        }
        let n = self.block_len();
        (blocks.par_iter_mut())
            .zip(state.positions_nm.par_chunks_mut(n))
            .zip(state.velocities.par_chunks_mut(n))
            .for_each(|(((block, _), x), v)| {
                block.unpack(&block.x, x);
                block.unpack(&block.v, v);
            });
        state.step = step;
        Ok(segment)
    }

    /// Steps `from + 1` to `to` of one block.
    fn chunk(&self, (block, trial): &mut (Block, Trial), from: u64, to: u64) -> Option<Failure> {
        block.good.0.copy_from_slice(&block.x);
        block.good.1.copy_from_slice(&block.v);
        let pivot_every = self.settings.pivot_every;
        for step in from + 1..=to {
            let failure = block.step(&self.mechanics, self.potential, step, step == to);
            if failure.is_some() {
                return failure;
            }
            if pivot_every > 0 && step % pivot_every == 0 {
                let address = (step / pivot_every, step);
                self.pivots.attempt(block, trial, &self.mechanics, self.potential, address);
            }
        }
        None
    }

    fn record(&self, blocks: &mut [(Block, Trial)], step: u64, n_walkers: usize, segment: &mut Segment) {
        segment.steps.push(step);
        let from = segment.positions_nm.len();
        segment.positions_nm.resize(from + n_walkers * 3 * self.mechanics.n_atoms, 0.0);
        (blocks.par_iter_mut())
            .zip(segment.positions_nm[from..].par_chunks_mut(self.block_len()))
            .for_each(|((block, _), x)| block.unpack(&block.x, x));
        let dof = self.degrees_of_freedom() as f64;
        for (block, _) in blocks {
            segment.potential_energies.extend_from_slice(&block.energies[..block.n_used]);
            let ratio = |lane: usize| block.twice_kinetic[lane] / (dof * block.kt[lane]);
            segment.kinetic_temperature_ratios.extend((0..block.n_used).map(ratio));
        }
    }

    /// U in kJ/mol of positions in nm, `[walker][atom][xyz]`.
    pub fn energies(&self, positions_nm: &[f64], lambda: &[f64]) -> Result<Vec<f64>> {
        let kt = vec![1.0; lambda.len()];
        self.check(positions_nm, &kt, lambda)?;
        let mut blocks = self.blocks(positions_nm, positions_nm, &kt, lambda);
        blocks.par_iter_mut().for_each(|block| block.evaluate(self.potential));
        Ok(blocks.iter().flat_map(|block| block.energies[..block.n_used].to_vec()).collect())
    }

    /// Kinetic energies in kJ/mol of the velocities of a state, at the end of a step.
    ///
    /// Of a harmonic vibration ω their mean is smaller than kT/2 by (ω dt)²/4, as BAOAB is exact for
    /// positions; [`Segment::kinetic_temperature_ratios`] has the velocities between the drifts, which
    /// follow Maxwell's law.
    pub fn kinetic_energies(&self, state: &DynamicsState) -> Result<Vec<f64>> {
        self.check(&state.velocities, &state.kt_kj_per_mol, &state.lambda)?;
        let blocks = self.blocks(&state.positions_nm, &state.velocities, &state.kt_kj_per_mol, &state.lambda);
        let of = |block: &Block| twice_kinetic(&self.mechanics, &block.v)[..block.n_used].to_vec();
        Ok(blocks.iter().flat_map(of).map(|twice| 0.5 * twice).collect())
    }

    /// Brings every walker near a minimum of its energy, with constraints kept; positions are centred.
    pub fn minimize(
        &self,
        positions_nm: &mut [f64],
        lambda: &[f64],
        settings: &MinimizeSettings,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Minimization>> {
        const STEPS_PER_CHUNK: usize = 50;
        settings.validate("minimize")?;
        let kt = vec![1.0; lambda.len()];
        self.check(positions_nm, &kt, lambda)?;
        let mut blocks = self.blocks(positions_nm, positions_nm, &kt, lambda);
        self.satisfy(&mut blocks, &self.unit_constraints)?;
        let mut fires: Vec<Fire> = (blocks.into_par_iter())
            .map(|block| Fire::new(block, &self.unit_constraints, self.potential))
            .collect();
        let mut done = 0;
        while done < settings.max_steps {
            let n_steps = STEPS_PER_CHUNK.min(settings.max_steps - done);
            let finished: Vec<bool> =
                fires.par_iter_mut().map(|fire| fire.run(self.potential, settings, n_steps)).collect();
            done += n_steps;
            if !finished.contains(&false) {
                break;
            }
            progress(done as f64 / settings.max_steps as f64)?;
        }
        for (fire, x) in fires.iter_mut().zip(positions_nm.chunks_mut(self.block_len())) {
            subtract_mean(&self.mechanics, &mut fire.block.x);
            fire.block.unpack(&fire.block.x, x);
        }
        progress(1.0)?;
        let results = |fire: &Fire| -> Vec<Minimization> {
            (0..fire.block.n_used).map(|lane| fire.result(lane, settings)).collect()
        };
        Ok(fires.iter().flat_map(results).collect())
    }

    /// Brings constrained distances to their lengths, or says which cannot be.
    fn satisfy(&self, blocks: &mut [Block], constraints: &Constraints) -> Result<()> {
        let failed: Vec<Option<(usize, f64, [usize; 2])>> =
            blocks.par_iter_mut().map(|block| constraints.satisfy(&mut block.x, block.n_used)).collect();
        let failed = failed.into_iter().enumerate().find_map(|(idx, failed)| Some((idx, failed?)));
        if let Some((idx, (lane, residual, [a, b]))) = failed {
            let walker = idx * LANES + lane;
            return Err(Error::invalid(
                "start of dynamics",
                "positions near the constrained distances",
                format!("walker {walker} with a relative error of {residual:.1e} of atoms {a}-{b}"),
            ));
        }
        Ok(())
    }

    /// Coordinates of a full block.
    fn block_len(&self) -> usize {
        LANES * 3 * self.mechanics.n_atoms
    }

    fn blocks(&self, x: &[f64], v: &[f64], kt: &[f64], lambda: &[f64]) -> Vec<Block> {
        let n = self.block_len();
        (x.par_chunks(n))
            .zip(v.par_chunks(n))
            .zip(kt.par_chunks(LANES).zip(lambda.par_chunks(LANES)))
            .enumerate()
            .map(|(idx, ((x, v), (kt, lambda)))| {
                let first = idx * LANES;
                Block::new(&self.mechanics, self.potential, &self.streams, first, (x, v), (kt, lambda))
            })
            .collect()
    }

    fn check(&self, coordinates: &[f64], kt: &[f64], lambda: &[f64]) -> Result<()> {
        let n_walkers = kt.len();
        let n = n_walkers * 3 * self.mechanics.n_atoms;
        if n_walkers == 0 || coordinates.len() != n || !coordinates.iter().all(|x| x.is_finite()) {
            let expected = format!("{n} finite coordinates of {n_walkers} walkers, one or more");
            let found = match coordinates.iter().position(|x| !x.is_finite()) {
                Some(idx) => format!("{} as number {idx}", coordinates[idx]),
                None => format!("{} numbers", coordinates.len()),
            };
            return Err(Error::invalid("positions or velocities of dynamics", expected, found));
        }
        if lambda.len() != n_walkers || !kt.iter().all(|kt| *kt > 0.0 && kt.is_finite()) {
            let expected = format!("{n_walkers} positive kT and as many λ");
            return Err(Error::invalid("walkers of dynamics", expected, format!("{kt:?} and {lambda:?}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
