//! What moves the walkers between two events: Langevin dynamics, or Monte Carlo of the same energies.

use rayon::prelude::*;

use crate::error::Result;
use crate::potential::{BlockPotential, BlockWorkspace, LANES, PotentialPath, Space};
use crate::random::{Purpose, Streams};
use crate::sampling::dynamics::{Dynamics, DynamicsOutcome, DynamicsState, PivotCount, PivotMove, Segment};
use crate::sampling::kernel::mean_acceptance;
use crate::sampling::{
    LocalMove, Outcome, PivotBond, Step, StepSizeAdapter, ThermodynamicState, TorsionPivot, Walkers, silent,
};

/// Moves all walkers by a number of steps.
pub trait Mover {
    /// Does `n_steps` steps and records where the number of the step is a multiple of the interval that
    /// the mover was made with; `places` says in which of `states` each walker is.
    fn advance(
        &mut self,
        walkers: &mut DynamicsState,
        places: &[usize],
        states: &[ThermodynamicState],
        n_steps: u64,
    ) -> Result<Segment>;

    /// Ends the adaptation of steps, before samples count.
    fn freeze(&mut self);

    /// What a checkpoint must keep besides the walkers.
    fn adapters(&self) -> Vec<StepSizeAdapter>;

    /// Sum of the acceptance of moves since they were frozen, and their number; none for dynamics.
    fn acceptance(&self) -> [f64; 2];
}

/// Energies in kJ/mol, and forces in kJ/(mol nm) where they are wanted, of conformations in nm,
/// `[conformation][atom][xyz]`; blocks of lanes are shared among threads.
pub fn evaluate(
    potential: &dyn BlockPotential,
    lambda: &[f64],
    positions_nm: &[f64],
    energies: &mut [f64],
    forces: Option<&mut [f64]>,
) {
    let n = 3 * potential.n_atoms();
    let buffers = || (potential.workspace(), vec![0.0; n * LANES], vec![0.0; n * LANES]);
    let one = |(workspace, x, f): &mut (BlockWorkspace, Vec<f64>, Vec<f64>),
               lambda: &[f64],
               positions: &[f64],
               energies: &mut [f64],
               forces: Option<&mut [f64]>| {
        let count = lambda.len();
        let (mut lane_lambda, mut lane_energies) = ([lambda[0]; LANES], [0.0; LANES]);
        lane_lambda[..count].copy_from_slice(lambda);
        // Lanes without a walker repeat the last one.
        for lane in 0..LANES {
            let from = &positions[lane.min(count - 1) * n..][..n];
            from.iter().enumerate().for_each(|(i, from)| x[i * LANES + lane] = *from);
        }
        potential.energies_and_forces(&lane_lambda, x, &mut lane_energies, f, workspace);
        energies.copy_from_slice(&lane_energies[..count]);
        if let Some(forces) = forces {
            for (lane, to) in forces.chunks_exact_mut(n).enumerate() {
                to.iter_mut().enumerate().for_each(|(i, to)| *to = f[i * LANES + lane]);
            }
        }
    };
    let blocks =
        lambda.par_chunks(LANES).zip(positions_nm.par_chunks(n * LANES)).zip(energies.par_chunks_mut(LANES));
    match forces {
        None => blocks.for_each_init(buffers, |buffers, ((lambda, x), u)| one(buffers, lambda, x, u, None)),
        Some(forces) => blocks
            .zip(forces.par_chunks_mut(n * LANES))
            .for_each_init(buffers, |buffers, (((lambda, x), u), f)| one(buffers, lambda, x, u, Some(f))),
    }
}

/// Molecular dynamics.
pub struct LangevinMover<'a> {
    /// The integrator.
    pub dynamics: Dynamics<'a>,
}

impl Mover for LangevinMover<'_> {
    fn advance(
        &mut self,
        walkers: &mut DynamicsState,
        _: &[usize],
        _: &[ThermodynamicState],
        n_steps: u64,
    ) -> Result<Segment> {
        self.dynamics.advance(walkers, n_steps, &mut silent)
    }

    fn freeze(&mut self) {}

    fn adapters(&self) -> Vec<StepSizeAdapter> {
        Vec::new()
    }

    fn acceptance(&self) -> [f64; 2] {
        [0.0, 0.0]
    }
}

/// Hamiltonian Monte Carlo or MALA with unit masses; one step size for each thermodynamic state.
pub struct MonteCarloMover<'a> {
    potential: &'a dyn BlockPotential,
    local_move: LocalMove,
    /// Time steps that a move counts as: its gradients.
    steps_per_move: u64,
    record_every: u64,
    pivot_every: u64,
    pivots: Vec<PivotBond>,
    streams: Streams,
    adapters: Vec<StepSizeAdapter>,
    adapts: bool,
    acceptance: [f64; 2],
}

/// What a [`MonteCarloMover`] is made of.
pub struct MonteCarloSettings {
    /// The kernel.
    pub local_move: LocalMove,
    /// Time steps that a move counts as.
    pub steps_per_move: u64,
    /// Time steps between records, a multiple of it. Random numbers are addressed by records.
    pub record_every: u64,
    /// Time steps between pivots, a multiple of `steps_per_move`; 0: none.
    pub pivot_every: u64,
    /// Length in nm of the first step, before adaptation.
    pub first_step_nm: f64,
}

impl<'a> MonteCarloMover<'a> {
    /// Adapters and acceptance are those of a checkpoint, or none at the beginning.
    pub fn new(
        potential: &'a dyn BlockPotential,
        settings: &MonteCarloSettings,
        pivots: &[PivotMove],
        n_states: usize,
        (adapters, acceptance): (Vec<StepSizeAdapter>, [f64; 2]),
        streams: Streams,
    ) -> Self {
        let target = settings.local_move.target_acceptance();
        let fresh = || vec![StepSizeAdapter::new(settings.first_step_nm, target); n_states];
        let mut bonds: Vec<PivotBond> = Vec::new();
        for bond in pivots.iter().flat_map(|pivot| &pivot.bonds) {
            if !bonds.contains(bond) {
                bonds.push(bond.clone());
            }
        }
        Self {
            potential,
            local_move: settings.local_move,
            steps_per_move: settings.steps_per_move,
            record_every: settings.record_every,
            pivot_every: settings.pivot_every,
            pivots: bonds,
            streams,
            adapters: if adapters.len() == n_states { adapters } else { fresh() },
            adapts: true,
            acceptance,
        }
    }

    /// One record interval; energies in kJ/mol at its end.
    fn block(
        &mut self,
        walkers: &mut DynamicsState,
        places: &[usize],
        states: &[ThermodynamicState],
        pivots: &mut PivotCount,
    ) -> Result<(Vec<f64>, u64)> {
        let path = StatePath { potential: self.potential, states };
        let lambda = places.iter().map(|&place| place as f64).collect();
        let mut x = std::mem::take(&mut walkers.positions_nm);
        x.chunks_exact_mut(path.space().dimension()).for_each(|x| path.space().project(x));
        let streams = self.streams.derive(walkers.step);
        let mut batch = Walkers::new(&path, x, lambda, &streams, Purpose::Walker)?;
        let mut kernel = self.local_move.kernel(&batch);
        let mut pivot = match self.pivots.is_empty() || self.pivot_every == 0 {
            true => None,
            false => Some(TorsionPivot::new(self.pivots.clone(), &batch)?),
        };
        for _ in 0..self.record_every / self.steps_per_move {
            let steps: Vec<f64> = places.iter().map(|&place| self.adapters[place].step_size()).collect();
            let outcomes = kernel.step(&path, &mut batch, &steps)?;
            if !self.adapts {
                self.acceptance[0] += mean_acceptance(outcomes);
                self.acceptance[1] += 1.0;
            } else {
                adapt(&mut self.adapters, outcomes, places);
            }
            walkers.step += self.steps_per_move;
            if let Some(pivot) = pivot.as_mut().filter(|_| walkers.step.is_multiple_of(self.pivot_every)) {
                let outcomes = pivot.step(&path, &mut batch)?;
                pivots.attempted += outcomes.len() as u64;
                pivots.accepted +=
                    outcomes.iter().filter(|outcome| outcome.step == Step::Accepted).count() as u64;
            }
        }
        let energies =
            batch.u.iter().zip(places).map(|(u, &place)| u * states[place].kt_kj_per_mol).collect();
        walkers.positions_nm = batch.x;
        Ok((energies, batch.n_energy_evaluations))
    }
}

/// Each state learns from the walkers in it.
fn adapt(adapters: &mut [StepSizeAdapter], outcomes: &[Outcome], places: &[usize]) {
    for (state, adapter) in adapters.iter_mut().enumerate() {
        let of_state = outcomes.iter().zip(places).filter(|(_, place)| **place == state);
        let (sum, n) = of_state.fold((0.0, 0), |(sum, n), (outcome, _)| (sum + outcome.probability, n + 1));
        if n > 0 {
            adapter.update(sum / f64::from(n));
        }
    }
}

impl Mover for MonteCarloMover<'_> {
    fn advance(
        &mut self,
        walkers: &mut DynamicsState,
        places: &[usize],
        states: &[ThermodynamicState],
        n_steps: u64,
    ) -> Result<Segment> {
        let mut segment = Segment {
            outcome: DynamicsOutcome::Completed,
            steps: Vec::new(),
            positions_nm: Vec::new(),
            potential_energies: Vec::new(),
            kinetic_temperature_ratios: Vec::new(),
            pivots: Vec::new(),
            n_force_evaluations: 0,
        };
        let mut pivots = PivotCount::default();
        for _ in 0..n_steps / self.record_every {
            let (energies, n) = self.block(walkers, places, states, &mut pivots)?;
            segment.steps.push(walkers.step);
            segment.positions_nm.extend_from_slice(&walkers.positions_nm);
            segment.potential_energies.extend(energies);
            segment.n_force_evaluations += n;
        }
        if pivots.attempted > 0 {
            segment.pivots.push(pivots);
        }
        Ok(segment)
    }

    fn freeze(&mut self) {
        self.adapts = false;
    }

    fn adapters(&self) -> Vec<StepSizeAdapter> {
        self.adapters.clone()
    }

    fn acceptance(&self) -> [f64; 2] {
        self.acceptance
    }
}

/// Thermodynamic states as a path: λ of the path is the number of a state.
struct StatePath<'a> {
    potential: &'a dyn BlockPotential,
    states: &'a [ThermodynamicState],
}

impl StatePath<'_> {
    fn state(&self, number: f64) -> ThermodynamicState {
        self.states[number as usize]
    }
}

impl PotentialPath for StatePath<'_> {
    fn space(&self) -> Space {
        Space::Centered { n_particles: self.potential.n_atoms() }
    }

    fn range(&self) -> (f64, f64) {
        (0.0, (self.states.len() - 1) as f64)
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        let own: Vec<f64> = lambda.iter().map(|&number| self.state(number).lambda).collect();
        evaluate(self.potential, &own, x, u, None);
        u.iter_mut().zip(lambda).for_each(|(u, &number)| *u /= self.state(number).kt_kj_per_mol);
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        let own: Vec<f64> = lambda.iter().map(|&number| self.state(number).lambda).collect();
        evaluate(self.potential, &own, x, u, Some(gradient));
        let n = 3 * self.potential.n_atoms();
        for ((u, gradient), &number) in u.iter_mut().zip(gradient.chunks_exact_mut(n)).zip(lambda) {
            let kt = self.state(number).kt_kj_per_mol;
            *u /= kt;
            gradient.iter_mut().for_each(|g| *g /= -kt);
        }
        Ok(())
    }

    fn lambda_derivatives(&self, _: &[f64], _: &[f64], _: &mut [f64]) -> Result<()> {
        Err(crate::Error::invalid("path of thermodynamic states", "no derivative along it", "a request"))
    }
}
