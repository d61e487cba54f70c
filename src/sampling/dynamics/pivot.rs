//! Torsion pivots between steps of dynamics: rigid rotations about bonds, accepted with
//! min(1, exp(−ΔU/kT)).
//!
//! A pivot preserves volume, and it is as likely as its inverse: the angle is uniform, and several bonds
//! are turned in either order. Without constraints positions and velocities are independent, so
//! velocities stay as they are. With constraints the velocities of an accepted pivot would change
//! distances; they are drawn anew from Maxwell's law.
//!
//! Constrained positions have the density exp(−U/kT) √det Z (see `constraints`). A pivot leaves Z as it is
//! if every cluster of constraints turns rigidly or stays, which is required: so Metropolis' rule needs no
//! Fixman factor. Constraints on bonds to hydrogen always satisfy this; for constraints on all bonds,
//! where the angles at the axis do change det Z, pivots are refused.

use rand::Rng as _;

use super::PivotMove;
use super::integrator::{Block, Mechanics, draw_velocities, subtract_mean};
use super::state::PivotCount;
use crate::error::{Error, Result};
use crate::potential::{BlockPotential, LANES};
use crate::random::{Purpose, Rng, Streams};
use crate::sampling::PivotBond;

/// The moves among which every attempt chooses one.
pub(super) struct Pivots {
    pub(super) moves: Vec<PivotMove>,
    streams: Streams,
    /// 32-bit words of a walker's stream for each attempt.
    words: u128,
}

/// Buffers of one block.
pub(super) struct Trial {
    x: Vec<f64>,
    v: Vec<f64>,
    forces: Vec<f64>,
    pub(super) counts: Vec<PivotCount>,
}

impl Pivots {
    pub(super) fn new(moves: Vec<PivotMove>, mechanics: &Mechanics, streams: Streams) -> Result<Self> {
        for pivot in &moves {
            if pivot.bonds.is_empty() {
                return Err(Error::invalid(
                    "pivot move",
                    "one bond or more",
                    format!("`{}` without", pivot.name),
                ));
            }
            for bond in &pivot.bonds {
                check(pivot, bond, mechanics)?;
            }
        }
        let most = moves.iter().map(|pivot| pivot.bonds.len()).max().unwrap_or(0);
        // Two words for each angle, for the choice of the move, for the order and for acceptance.
        Ok(Self { moves, streams, words: 2 * (most as u128 + 3) })
    }

    pub(super) fn trial(&self, mechanics: &Mechanics) -> Trial {
        let n = 3 * mechanics.n_atoms * LANES;
        let counts = vec![PivotCount::default(); self.moves.len()];
        Trial { x: vec![0.0; n], v: vec![0.0; n], forces: vec![0.0; n], counts }
    }

    /// Proposes a pivot to every walker of a block; `attempt` counts from the start of the run.
    pub(super) fn attempt(
        &self,
        block: &mut Block,
        trial: &mut Trial,
        mechanics: &Mechanics,
        potential: &dyn BlockPotential,
        (attempt, step): (u64, u64),
    ) {
        trial.x.copy_from_slice(&block.x);
        let mut chosen = [0; LANES];
        let mut log_uniform = [0.0; LANES];
        for lane in 0..LANES {
            let mut rng = self.streams.stream(Purpose::DynamicsPivot, block.walkers[lane]);
            rng.set_word_pos(u128::from(attempt) * self.words);
            chosen[lane] = (uniform(&mut rng) * self.moves.len() as f64) as usize;
            let reversed = uniform(&mut rng) < 0.5;
            log_uniform[lane] = (1.0 - uniform(&mut rng)).ln();
            let bonds = &self.moves[chosen[lane]].bonds;
            for k in 0..bonds.len() {
                let bond = if reversed { &bonds[bonds.len() - 1 - k] } else { &bonds[k] };
                rotate(&mut trial.x, lane, bond, std::f64::consts::TAU * uniform(&mut rng));
            }
        }
        subtract_mean(mechanics, &mut trial.x);
        let mut energies = [0.0; LANES];
        potential.energies_and_forces(
            &block.lambda,
            &trial.x,
            &mut energies,
            &mut trial.forces,
            &mut block.workspace,
        );
        // False for an energy that is not a number.
        let accepted: [bool; LANES] = std::array::from_fn(|lane| {
            energies[lane] - block.energies[lane] <= -log_uniform[lane] * block.kt[lane]
        });
        let redraw = !mechanics.constraints.is_empty() && accepted.contains(&true);
        if redraw {
            draw_velocities(mechanics, &block.velocity_noise, step, &trial.x, &block.kt, &mut trial.v);
        }
        for lane in 0..LANES {
            if lane < block.n_used {
                trial.counts[chosen[lane]].attempted += 1;
                trial.counts[chosen[lane]].accepted += u64::from(accepted[lane]);
            }
            if accepted[lane] {
                block.energies[lane] = energies[lane];
                for idx in (lane..block.x.len()).step_by(LANES) {
                    block.x[idx] = trial.x[idx];
                    block.forces[idx] = trial.forces[idx];
                    if redraw {
                        block.v[idx] = trial.v[idx];
                    }
                }
            }
        }
    }
}

/// In [0, 1); two words of the stream.
fn uniform(rng: &mut Rng) -> f64 {
    rng.random::<f64>()
}

fn check(pivot: &PivotMove, bond: &PivotBond, mechanics: &Mechanics) -> Result<()> {
    let axis = [bond.from, bond.to];
    let in_range = axis.iter().chain(&bond.moved).all(|&atom| atom < mechanics.n_atoms);
    if !in_range || bond.from == bond.to || axis.iter().any(|atom| bond.moved.contains(atom)) {
        return Err(Error::invalid(
            "pivot move",
            format!("atoms below {} and an axis that does not move", mechanics.n_atoms),
            format!("{bond:?} in `{}`", pivot.name),
        ));
    }
    for cluster in mechanics.constraints.clusters() {
        let turns = |atom: &usize| bond.moved.contains(atom);
        let rigid = cluster.iter().all(|atom| turns(atom) || axis.contains(atom));
        if cluster.iter().any(turns) && !rigid {
            return Err(Error::invalid(
                "pivot move",
                "constraints that turn as a whole or stay, as those on bonds to hydrogen do",
                format!(
                    "`{}` about atoms {}-{} through the cluster {cluster:?}",
                    pivot.name, bond.from, bond.to
                ),
            ));
        }
    }
    Ok(())
}

/// Rotates the moved atoms of one lane about the axis by Rodrigues' formula.
fn rotate(x: &mut [f64], lane: usize, bond: &PivotBond, angle: f64) {
    let at = |x: &[f64], atom: usize| -> [f64; 3] {
        std::array::from_fn(|axis| x[(3 * atom + axis) * LANES + lane])
    };
    let (origin, tip) = (at(x, bond.from), at(x, bond.to));
    let mut axis: [f64; 3] = std::array::from_fn(|k| tip[k] - origin[k]);
    let length = axis.iter().map(|a| a * a).sum::<f64>().sqrt();
    axis.iter_mut().for_each(|a| *a /= length);
    let (sin, cos) = angle.sin_cos();
    for &atom in &bond.moved {
        let p = at(x, atom);
        let v: [f64; 3] = std::array::from_fn(|k| p[k] - origin[k]);
        let along = (axis[0] * v[0] + axis[1] * v[1] + axis[2] * v[2]) * (1.0 - cos);
        for i in 0..3 {
            let (j, k) = ((i + 1) % 3, (i + 2) % 3);
            let across = axis[j] * v[k] - axis[k] * v[j];
            x[(3 * atom + i) * LANES + lane] = origin[i] + v[i] * cos + across * sin + axis[i] * along;
        }
    }
}
