//! One step of g-BAOAB for a block of walkers.
//!
//! Kick, drift, friction and noise, drift, kick: B A O A B (Leimkuhler and Matthews 2016). With constraints
//! each drift ends with SHAKE, and velocities are projected after every part, so that each part is a map
//! of the constrained phase space to itself. The forces at the end of a step serve the next one.
//!
//! Sums and products are rounded one by one, without fused multiply-add: every instruction set gives the
//! same bits.

use super::constraints::Constraints;
use super::noise::LaneNoise;
use super::state::BlowUpReason;
use crate::error::Result;
use crate::force_field::DistanceConstraint;
use crate::potential::{BlockPotential, BlockWorkspace, LANES};
use crate::random::{Purpose, Streams};
use crate::simd::vectorised;

/// No coordinate of an atom changes by more in a step: a hydrogen at 1000 K and 5 fs would do so once in
/// 10³⁰ steps.
const MAX_DISPLACEMENT_NM: f64 = 0.2;
/// Largest relative error of a squared constrained distance.
const MAX_VIOLATION: f64 = 1e-8;

/// What a step needs to know of the molecule and of the settings.
pub(super) struct Mechanics {
    pub(super) n_atoms: usize,
    pub(super) masses: Vec<f64>,
    inverse_masses: Vec<f64>,
    /// 1/√m
    inverse_roots: Vec<f64>,
    total_mass: f64,
    pub(super) constraints: Constraints,
    time_step: f64,
    /// exp(−γ dt), what friction leaves of a velocity.
    keep: f64,
    /// √(1 − keep²)
    refresh: f64,
}

impl Mechanics {
    pub(super) fn new(
        masses: &[f64],
        constraints: &[DistanceConstraint],
        time_step: f64,
        friction: f64,
    ) -> Result<Self> {
        let keep = (-friction * time_step).exp();
        Ok(Self {
            n_atoms: masses.len(),
            masses: masses.to_vec(),
            inverse_masses: masses.iter().map(|m| 1.0 / m).collect(),
            inverse_roots: masses.iter().map(|m| 1.0 / m.sqrt()).collect(),
            total_mass: masses.iter().sum(),
            constraints: Constraints::new(constraints, masses)?,
            time_step,
            keep,
            refresh: (-f64::exp_m1(-2.0 * friction * time_step)).sqrt(),
        })
    }
}

/// Sixteen walkers side by side; unused lanes repeat the last walker.
pub(super) struct Block {
    /// How many lanes are in use.
    pub(super) n_used: usize,
    /// nm, `[atom][xyz][lane]`, as are the following.
    pub(super) x: Vec<f64>,
    /// nm/ps
    pub(super) v: Vec<f64>,
    /// kJ/(mol nm)
    pub(super) forces: Vec<f64>,
    pub(super) energies: [f64; LANES],
    pub(super) lambda: [f64; LANES],
    pub(super) kt: [f64; LANES],
    /// Twice the kinetic energy between the drifts of a measured step, in kJ/mol.
    pub(super) twice_kinetic: [f64; LANES],
    pub(super) walkers: [u64; LANES],
    pub(super) workspace: BlockWorkspace,
    /// Positions and velocities to which a blow-up returns.
    pub(super) good: (Vec<f64>, Vec<f64>),
    noise: LaneNoise,
    pub(super) velocity_noise: LaneNoise,
    normal: Vec<f32>,
    reference: Vec<f64>,
    /// Largest change of a coordinate of each lane in a drift of this step, per time.
    fastest: [f64; LANES],
    violation: [f64; LANES],
}

/// A step that could not be done.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) lane: usize,
    pub(super) step: u64,
    pub(super) atoms: Vec<usize>,
    pub(super) reason: BlowUpReason,
}

impl Block {
    /// Lanes from walkers `first` and following; `x` and `v` hold only these, `[walker][atom][xyz]`.
    pub(super) fn new(
        mechanics: &Mechanics,
        potential: &dyn BlockPotential,
        streams: &Streams,
        first: usize,
        (x, v): (&[f64], &[f64]),
        (kt, lambda): (&[f64], &[f64]),
    ) -> Self {
        let n_used = kt.len();
        let of = |lane: usize| lane.min(n_used - 1);
        let walkers = std::array::from_fn(|lane| (first + of(lane)) as u64);
        let n = 3 * mechanics.n_atoms;
        let mut block = Self {
            n_used,
            x: vec![0.0; n * LANES],
            v: vec![0.0; n * LANES],
            forces: vec![0.0; n * LANES],
            energies: [0.0; LANES],
            lambda: std::array::from_fn(|lane| lambda[of(lane)]),
            kt: std::array::from_fn(|lane| kt[of(lane)]),
            twice_kinetic: [0.0; LANES],
            walkers,
            workspace: potential.workspace(),
            good: (vec![0.0; n * LANES], vec![0.0; n * LANES]),
            noise: LaneNoise::new(streams, Purpose::Dynamics, walkers),
            velocity_noise: LaneNoise::new(streams, Purpose::DynamicsVelocity, walkers),
            normal: vec![0.0; n * LANES],
            reference: vec![0.0; mechanics.constraints.reference_len()],
            fastest: [0.0; LANES],
            violation: [0.0; LANES],
        };
        for lane in 0..LANES {
            for idx in 0..n {
                block.x[idx * LANES + lane] = x[of(lane) * n + idx];
                block.v[idx * LANES + lane] = v[of(lane) * n + idx];
            }
        }
        block
    }

    /// Copies used lanes of `[coordinate][lane]` to `[walker][coordinate]`.
    pub(super) fn unpack(&self, lanes: &[f64], walkers: &mut [f64]) {
        let n = lanes.len() / LANES;
        for (lane, walker) in walkers.chunks_exact_mut(n).enumerate() {
            walker.iter_mut().zip(lanes[lane..].iter().step_by(LANES)).for_each(|(to, from)| *to = *from);
        }
    }

    /// Energies and forces at the present positions.
    pub(super) fn evaluate(&mut self, potential: &dyn BlockPotential) {
        potential.energies_and_forces(
            &self.lambda,
            &self.x,
            &mut self.energies,
            &mut self.forces,
            &mut self.workspace,
        );
    }

    /// One step; forces must be those at the present positions.
    pub(super) fn step(
        &mut self,
        mechanics: &Mechanics,
        potential: &dyn BlockPotential,
        step: u64,
        measure: bool,
    ) -> Option<Failure> {
        propagate(mechanics, self, step, measure);
        for lane in 0..self.n_used {
            let displacement = self.fastest[lane] * mechanics.time_step;
            let (holds, moderate) =
                (self.violation[lane] <= MAX_VIOLATION, displacement <= MAX_DISPLACEMENT_NM);
            if !holds || !moderate {
                return Some(self.failure(mechanics, lane, step, !holds));
            }
        }
        self.evaluate(potential);
        finish(mechanics, self);
        let lane = (0..self.n_used).find(|&lane| !self.energies[lane].is_finite())?;
        let atoms = self.most_stressed(lane);
        Some(Failure { lane, step, atoms, reason: BlowUpReason::Energy { energy: self.energies[lane] } })
    }

    fn failure(&self, mechanics: &Mechanics, lane: usize, step: u64, violated: bool) -> Failure {
        if violated && let Some((residual, atoms)) = mechanics.constraints.worst(&self.x, lane) {
            let reason = BlowUpReason::Constraint { residual };
            return Failure { lane, step, atoms: atoms.to_vec(), reason };
        }
        let displacement_nm = self.fastest[lane] * mechanics.time_step;
        let atoms = largest(&self.v, lane);
        Failure { lane, step, atoms, reason: BlowUpReason::Displacement { displacement_nm } }
    }

    /// The atoms with the largest forces; where no force is a number, the two that are closest.
    fn most_stressed(&self, lane: usize) -> Vec<usize> {
        let force_is_number = |row: &[f64]| row[lane].is_finite();
        if self.forces.chunks_exact(LANES).any(force_is_number) {
            return largest(&self.forces, lane);
        }
        let n_atoms = self.x.len() / (3 * LANES);
        let coordinate = |atom: usize, axis: usize| self.x[(3 * atom + axis) * LANES + lane];
        let square = |a: usize, b: usize| -> f64 {
            (0..3).map(|axis| (coordinate(a, axis) - coordinate(b, axis)).powi(2)).sum()
        };
        (0..n_atoms)
            .flat_map(|a| (0..a).map(move |b| [b, a]))
            .min_by(|p, q| square(p[0], p[1]).total_cmp(&square(q[0], q[1])))
            .map_or(Vec::new(), |pair| pair.to_vec())
    }
}

/// The three atoms of a lane with the longest vectors; what is not a number counts as infinite.
fn largest(vectors: &[f64], lane: usize) -> Vec<usize> {
    let mut lengths: Vec<(f64, usize)> = vectors
        .chunks_exact(3 * LANES)
        .enumerate()
        .map(|(atom, vector)| {
            let square: f64 = vector[lane..].iter().step_by(LANES).map(|c| c * c).sum();
            (if square.is_nan() { f64::INFINITY } else { square }, atom)
        })
        .collect();
    lengths.sort_by(|p, q| q.0.total_cmp(&p.0).then(p.1.cmp(&q.1)));
    lengths.iter().take(3).map(|(_, atom)| *atom).collect()
}

vectorised! {
    /// The parts of a step before its forces: B A O A.
    fn propagate(mechanics: &Mechanics, block: &mut Block, step: u64, measure: bool) {
        block.fastest = [0.0; LANES];
        block.violation = [0.0; LANES];
        kick(mechanics, block);
        drift(mechanics, block);
        if !block.violation.iter().all(|error| *error <= MAX_VIOLATION) {
            // A second drift could hide which constraint is violated.
            return;
        }
        if mechanics.refresh > 0.0 {
            block.noise.fill(step, &mut block.normal);
            let mut scale = block.kt;
            scale.iter_mut().for_each(|kt| *kt = mechanics.refresh * kt.sqrt());
            for ((v, normal), root) in block.v.chunks_exact_mut(3 * LANES)
                .zip(block.normal.chunks_exact(3 * LANES))
                .zip(&mechanics.inverse_roots)
            {
                for (v, normal) in v.chunks_exact_mut(LANES).zip(normal.chunks_exact(LANES)) {
                    for lane in 0..LANES {
                        v[lane] = mechanics.keep * v[lane] + root * scale[lane] * f64::from(normal[lane]);
                    }
                }
            }
        }
        // One projection serves the drift and the noise; that of the next kick serves the second drift.
        mechanics.constraints.project(&block.x, &mut block.v);
        subtract_mean(mechanics, &mut block.v);
        if measure {
            block.twice_kinetic = twice_kinetic(mechanics, &block.v);
        }
        drift(mechanics, block);
        subtract_mean(mechanics, &mut block.x);
    }
}

vectorised! {
    /// The last kick of a step, with its new forces.
    fn finish(mechanics: &Mechanics, block: &mut Block) {
        kick(mechanics, block);
    }
}

vectorised! {
    /// Draws velocities from Maxwell's law given constraints and no total momentum; `step` addresses them.
    pub(super) fn draw_velocities(
        mechanics: &Mechanics,
        noise: &LaneNoise,
        step: u64,
        x: &[f64],
        kt: &[f64; LANES],
        v: &mut [f64],
    ) {
        let mut normal = vec![0.0; v.len()];
        noise.fill(step, &mut normal);
        for ((v, normal), root) in v.chunks_exact_mut(3 * LANES)
            .zip(normal.chunks_exact(3 * LANES))
            .zip(&mechanics.inverse_roots)
        {
            for (idx, (v, normal)) in v.iter_mut().zip(normal).enumerate() {
                *v = root * kt[idx % LANES].sqrt() * f64::from(*normal);
            }
        }
        mechanics.constraints.project(x, v);
        subtract_mean(mechanics, v);
    }
}

/// Half a kick.
#[inline(always)]
fn kick(mechanics: &Mechanics, block: &mut Block) {
    let half = 0.5 * mechanics.time_step;
    for ((v, force), inverse_mass) in block
        .v
        .chunks_exact_mut(3 * LANES)
        .zip(block.forces.chunks_exact(3 * LANES))
        .zip(&mechanics.inverse_masses)
    {
        let factor = half * inverse_mass;
        for (v, force) in v.iter_mut().zip(force) {
            *v += factor * force;
        }
    }
    mechanics.constraints.project(&block.x, &mut block.v);
}

/// Half a drift; velocities must be projected thereafter.
#[inline(always)]
fn drift(mechanics: &Mechanics, block: &mut Block) {
    let half = 0.5 * mechanics.time_step;
    let constraints = &mechanics.constraints;
    constraints.remember(&block.x, &mut block.reference);
    let mut fastest = block.fastest;
    for (x, v) in block.x.chunks_exact_mut(LANES).zip(block.v.chunks_exact(LANES)) {
        for lane in 0..LANES {
            x[lane] += half * v[lane];
            let speed = v[lane].abs();
            fastest[lane] = if speed > fastest[lane] { speed } else { fastest[lane] };
        }
    }
    block.fastest = fastest;
    if !constraints.is_empty() {
        constraints.shake(&mut block.x, &mut block.v, &block.reference, 1.0 / half, &mut block.violation);
    }
}

/// Subtracts the mean weighted with masses: of velocities, that of the centre of mass.
#[inline(always)]
pub(super) fn subtract_mean(mechanics: &Mechanics, values: &mut [f64]) {
    let mut sums = [0.0; 3 * LANES];
    for (value, mass) in values.chunks_exact(3 * LANES).zip(&mechanics.masses) {
        for idx in 0..3 * LANES {
            sums[idx] += mass * value[idx];
        }
    }
    let inverse = 1.0 / mechanics.total_mass;
    sums.iter_mut().for_each(|sum| *sum *= inverse);
    for value in values.chunks_exact_mut(3 * LANES) {
        for idx in 0..3 * LANES {
            value[idx] -= sums[idx];
        }
    }
}

/// Σ m v² of each lane in kJ/mol.
#[inline(always)]
pub(super) fn twice_kinetic(mechanics: &Mechanics, v: &[f64]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for (v, mass) in v.chunks_exact(3 * LANES).zip(&mechanics.masses) {
        for v in v.chunks_exact(LANES) {
            for lane in 0..LANES {
                sums[lane] += mass * v[lane] * v[lane];
            }
        }
    }
    sums
}
