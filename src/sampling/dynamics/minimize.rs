//! Energy minimisation of a block of walkers by FIRE (Bitzek et al. 2006), with constraints.
//!
//! Dynamics of particles of 1 Da whose velocities turn towards the forces and stop where the power becomes
//! negative. Each walker has its own time step. No atom moves further in a step than a given distance,
//! so overlapping atoms, whose forces are astronomic, part in small steps.

#![allow(clippy::needless_range_loop, reason = "one index runs over the lanes of several arrays")]

use super::constraints::Constraints;
use super::integrator::Block;
use super::settings::MinimizeSettings;
use super::state::Minimization;
use crate::potential::{BlockPotential, LANES};
use crate::simd::vectorised;

const FIRST_TIME_STEP: f64 = 0.0002;
const LARGEST_TIME_STEP: f64 = 0.002;
const SMALLEST_TIME_STEP: f64 = 1e-7;
const MIXING: f64 = 0.1;

/// Where the minimisation of a block stands.
pub(super) struct Fire<'a> {
    pub(super) block: Block,
    constraints: &'a Constraints,
    time_step: [f64; LANES],
    mixing: [f64; LANES],
    /// Steps since the power was last negative.
    n_downhill: [usize; LANES],
    n_steps: [usize; LANES],
    largest: [f64; LANES],
    before: [f64; LANES],
    active: [bool; LANES],
    reference: Vec<f64>,
    violation: [f64; LANES],
}

impl<'a> Fire<'a> {
    /// `constraints` are those of particles of 1 Da; velocities of the block are taken as zero.
    pub(super) fn new(
        mut block: Block,
        constraints: &'a Constraints,
        potential: &dyn BlockPotential,
    ) -> Self {
        block.v.fill(0.0);
        block.evaluate(potential);
        let before = block.energies;
        let mut fire = Self {
            block,
            constraints,
            time_step: [FIRST_TIME_STEP; LANES],
            mixing: [MIXING; LANES],
            n_downhill: [0; LANES],
            n_steps: [0; LANES],
            largest: [0.0; LANES],
            before,
            active: [true; LANES],
            reference: vec![0.0; constraints.reference_len()],
            violation: [0.0; LANES],
        };
        project_forces(&mut fire);
        fire
    }

    /// At most `n_steps` more; true when every walker has converged or cannot go on.
    pub(super) fn run(
        &mut self,
        potential: &dyn BlockPotential,
        settings: &MinimizeSettings,
        n_steps: usize,
    ) -> bool {
        for step in 0..=n_steps {
            for lane in 0..LANES {
                let can_go_on = self.block.energies[lane].is_finite()
                    && self.largest[lane].is_finite()
                    && self.violation[lane] <= 1e-8;
                self.active[lane] = can_go_on && self.largest[lane] > settings.tolerance_kj_per_mol_nm;
            }
            let done = !self.active[..self.block.n_used].contains(&true);
            if done || step == n_steps {
                return done;
            }
            descend(self, settings.max_displacement_nm);
            self.block.evaluate(potential);
            project_forces(self);
        }
        false
    }

    /// What a lane came to.
    pub(super) fn result(&self, lane: usize, settings: &MinimizeSettings) -> Minimization {
        Minimization {
            energy_before: self.before[lane],
            energy_after: self.block.energies[lane],
            largest_force: self.largest[lane],
            n_steps: self.n_steps[lane],
            converged: self.block.energies[lane].is_finite()
                && self.largest[lane] <= settings.tolerance_kj_per_mol_nm,
        }
    }
}

vectorised! {
    /// Removes constraint forces and finds the largest force on an atom.
    fn project_forces(fire: &mut Fire) {
        fire.constraints.project(&fire.block.x, &mut fire.block.forces);
        fire.largest = longest(&fire.block.forces);
    }
}

vectorised! {
    /// One step of the lanes that are active.
    fn descend(fire: &mut Fire, max_displacement: f64) {
        let block = &mut fire.block;
        let (mut power, mut speed, mut force) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for (v, f) in block.v.chunks_exact(LANES).zip(block.forces.chunks_exact(LANES)) {
            for lane in 0..LANES {
                power[lane] += v[lane] * f[lane];
                speed[lane] += v[lane] * v[lane];
                force[lane] += f[lane] * f[lane];
            }
        }
        // v becomes own · v + push · f.
        let (mut own, mut push) = ([0.0; LANES], [0.0; LANES]);
        for lane in 0..LANES {
            if !fire.active[lane] {
                continue;
            }
            fire.n_steps[lane] += 1;
            if power[lane] > 0.0 {
                own[lane] = 1.0 - fire.mixing[lane];
                push[lane] = fire.mixing[lane] * (speed[lane] / force[lane]).sqrt();
                fire.n_downhill[lane] += 1;
                if fire.n_downhill[lane] > 5 {
                    fire.time_step[lane] = (1.1 * fire.time_step[lane]).min(LARGEST_TIME_STEP);
                    fire.mixing[lane] *= 0.99;
                }
            } else {
                if speed[lane] > 0.0 {
                    fire.time_step[lane] = (0.5 * fire.time_step[lane]).max(SMALLEST_TIME_STEP);
                }
                fire.mixing[lane] = MIXING;
                fire.n_downhill[lane] = 0;
            }
            push[lane] += fire.time_step[lane];
        }
        for (v, f) in block.v.chunks_exact_mut(LANES).zip(block.forces.chunks_exact(LANES)) {
            for lane in 0..LANES {
                // A lane that cannot go on may have forces that are not numbers.
                let pushed = own[lane] * v[lane] + push[lane] * f[lane];
                v[lane] = if fire.active[lane] { pushed } else { 0.0 };
            }
        }
        let mut shorten = longest(&block.v);
        for lane in 0..LANES {
            let displacement = shorten[lane] * fire.time_step[lane];
            shorten[lane] = if displacement > max_displacement { max_displacement / displacement } else { 1.0 };
        }
        fire.constraints.remember(&block.x, &mut fire.reference);
        for (x, v) in block.x.chunks_exact_mut(LANES).zip(block.v.chunks_exact_mut(LANES)) {
            for lane in 0..LANES {
                v[lane] *= shorten[lane];
                x[lane] += fire.time_step[lane] * v[lane];
            }
        }
        // The velocities need no correction but the projection.
        fire.constraints.shake(&mut block.x, &mut block.v, &fire.reference, 0.0, &mut fire.violation);
        fire.constraints.project(&block.x, &mut block.v);
    }
}

/// Length of the longest vector of each lane; NaN is passed on.
#[inline(always)]
fn longest(vectors: &[f64]) -> [f64; LANES] {
    let mut squares = [0.0_f64; LANES];
    for vector in vectors.chunks_exact(3 * LANES) {
        for lane in 0..LANES {
            let (x, y, z) = (vector[lane], vector[LANES + lane], vector[2 * LANES + lane]);
            let square = x * x + y * y + z * z;
            squares[lane] =
                if square <= squares[lane] || squares[lane].is_nan() { squares[lane] } else { square };
        }
    }
    squares.map(f64::sqrt)
}
