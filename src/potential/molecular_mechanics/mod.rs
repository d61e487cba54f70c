//! Molecular mechanics: U(x) in kJ/mol from [`Parameters`], term by term, for many conformations at once.
//!
//! Every term is written once over `lane::Lane`. In double precision it agrees with OpenMM's reference
//! platform to rounding; in single precision 16 conformations fill one AVX-512 register, and energies are
//! summed in double precision row by row. Positions are taken relative to the first atom before they
//! are rounded, so a molecule far from the origin loses nothing.

mod bonded;
mod cmap;
mod cutoff;
mod ewald;
mod lane;
mod pairs;
mod path;
mod tables;
#[cfg(test)]
mod tests;

pub use path::{AlchemicalPath, AtTemperature, TemperaturePath};

use rayon::prelude::*;

use self::cmap::Cmaps;
use self::ewald::{Cell, Periodic, PeriodicMemory};
use self::lane::{Lane, Plain};
use self::pairs::PairMemory;
use self::tables::Tables;
use super::{BlockPotential, BlockWorkspace, LANES};
use crate::error::{Error, Result};
use crate::force_field::parameters::Parameters;
use crate::simd::{Simd, simd};

/// The precision of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f64: agrees with other programs to rounding.
    #[default]
    Double,
    /// f32 with sums in f64: errors of about 1e-4 kJ/mol, 20 to 50 times faster.
    Single,
}

/// Energies of one conformation in kJ/mol.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TermEnergies {
    /// Harmonic bonds.
    pub bond: f64,
    /// Harmonic angles.
    pub angle: f64,
    /// Proper, improper and Ryckaert–Bellemans torsions.
    pub torsion: f64,
    /// Correction maps.
    pub cmap: f64,
    /// Lennard-Jones and Coulomb, exceptions included.
    pub nonbonded: f64,
    /// Generalised Born and surface area.
    pub implicit_solvent: f64,
    /// The part of `implicit_solvent` that is the surface term.
    pub surface_area: f64,
}

impl TermEnergies {
    /// U in kJ/mol.
    pub fn total(&self) -> f64 {
        self.bond + self.angle + self.torsion + self.cmap + self.nonbonded + self.implicit_solvent
    }
}

/// The energy of a molecule or of several, and its derivatives.
pub struct MolecularMechanics {
    double: Tables<f64>,
    single: Tables<f32>,
    cmaps: Cmaps,
    periodic: Option<Periodic>,
    path: AlchemicalPath,
}

/// Conformations of a task of the thread pool in double precision.
const DOUBLE_WIDTH: usize = 8;

/// What λ does to the energy of each lane.
struct Factors<L> {
    polar: L,
    surface: L,
    charge: L,
    lambda: L,
}

/// Memory for one block of conformations.
struct Workspace<L: Lane> {
    x: Vec<[L; 3]>,
    forces: Vec<[L; 3]>,
    pairs: PairMemory<L>,
    /// By term and lane.
    energies: [[f64; LANES]; N_TERMS],
    /// ∂U/∂λ of the soft-core interactions.
    soft_core: [f64; LANES],
    /// Positions and forces of one lane, and memory, where frames are looked at one by one.
    lane: [Vec<f64>; 2],
    periodic: PeriodicMemory,
}

const N_TERMS: usize = 7;

impl<L: Lane> Workspace<L> {
    fn new(tables: &Tables<L::Scalar>) -> Self {
        Self {
            x: vec![[L::zero(); 3]; tables.n_atoms],
            forces: vec![[L::zero(); 3]; tables.n_atoms],
            pairs: PairMemory::new(tables),
            energies: [[0.0; LANES]; N_TERMS],
            soft_core: [0.0; LANES],
            lane: [Vec::new(), Vec::new()],
            periodic: PeriodicMemory::default(),
        }
    }
}

impl MolecularMechanics {
    /// The physical energy; errors name what is not supported.
    pub fn new(parameters: &Parameters) -> Result<Self> {
        Self::along(parameters, AlchemicalPath::None)
    }

    /// The energy with an alchemical λ; λ = 1 is the physical energy.
    pub fn along(parameters: &Parameters, path: AlchemicalPath) -> Result<Self> {
        check(parameters)?;
        path.check(parameters)?;
        Ok(Self {
            double: Tables::new::<Double>(parameters, &path)?,
            single: Tables::new::<Plain<f32, LANES>>(parameters, &path)?,
            cmaps: Cmaps::new(&parameters.cmaps, &parameters.cmap_grids),
            periodic: Periodic::new(parameters)?,
            path,
        })
    }

    /// How many atoms.
    pub fn n_atoms(&self) -> usize {
        self.double.n_atoms
    }

    /// The path whose λ it takes.
    pub fn path(&self) -> &AlchemicalPath {
        &self.path
    }

    /// Energies and, if asked for, forces −∂U/∂x in kJ/(mol nm), in double precision.
    ///
    /// `x_nm` and `forces` are `[frame][atom][xyz]`.
    pub fn energies(&self, x_nm: &[f64], forces: Option<&mut [f64]>) -> Vec<TermEnergies> {
        self.evaluate(Precision::Double, &[], x_nm, forces)
    }

    /// The same in single precision.
    pub fn single_precision_energies(&self, x_nm: &[f64], forces: Option<&mut [f64]>) -> Vec<TermEnergies> {
        self.evaluate(Precision::Single, &[], x_nm, forces)
    }

    /// The same in either precision, with λ for each frame; none: λ = 1.
    pub fn evaluate(
        &self,
        precision: Precision,
        lambda: &[f64],
        x_nm: &[f64],
        forces: Option<&mut [f64]>,
    ) -> Vec<TermEnergies> {
        match precision {
            Precision::Double => self.frames::<Double>(&self.double, lambda, x_nm, &[], forces, double()).0,
            Precision::Single => match simd() {
                #[cfg(target_arch = "x86_64")]
                Simd::Avx512 => {
                    self.frames::<lane::Avx512>(&self.single, lambda, x_nm, &[], forces, avx512_single).0
                }
                #[cfg(target_arch = "x86_64")]
                Simd::Avx2 => {
                    self.frames::<lane::Avx2>(&self.single, lambda, x_nm, &[], forces, avx2_single).0
                }
                Simd::Baseline => {
                    self.frames::<Plain<f32, LANES>>(&self.single, lambda, x_nm, &[], forces, plain_single).0
                }
            },
        }
    }

    /// Whether interactions go through a periodic box.
    pub fn is_periodic(&self) -> bool {
        self.periodic.is_some()
    }

    /// Energies and forces in double precision of frames that each have a box, rows a, b, c in nm.
    ///
    /// An error names the frame whose box is too narrow for the cutoff. Without periodic interactions boxes mean
    /// nothing.
    pub fn energies_in_boxes(
        &self,
        x_nm: &[f64],
        boxes_nm: &[[[f64; 3]; 3]],
        forces: Option<&mut [f64]>,
    ) -> Result<Vec<TermEnergies>> {
        let Some(periodic) = &self.periodic else { return Ok(self.energies(x_nm, forces)) };
        let n_frames = x_nm.len() / (3 * self.n_atoms());
        if boxes_nm.len() != n_frames {
            let expected = format!("{n_frames}, one per frame");
            return Err(Error::invalid("boxes", expected, boxes_nm.len().to_string()));
        }
        let cells =
            (boxes_nm.iter()).map(|vectors| periodic.cell_of(*vectors)).collect::<Result<Vec<_>>>()?;
        Ok(self.frames::<Double>(&self.double, &[], x_nm, &cells, forces, double()).0)
    }

    /// ∂U/∂λ in kJ/mol of each frame, in double precision.
    pub fn lambda_derivatives(&self, lambda: &[f64], x_nm: &[f64]) -> Vec<f64> {
        match self.lambda_polynomials(x_nm) {
            Some(polynomials) => {
                let pairs = polynomials.iter().zip(lambda);
                pairs.map(|([_, first, second], lambda)| first + 2.0 * second * lambda).collect()
            }
            None => self.frames::<Double>(&self.double, lambda, x_nm, &[], None, double()).1,
        }
    }

    /// U₀, U₁ and U₂ of U = U₀ + U₁ λ + U₂ λ² in kJ/mol of each frame, in double precision; none for the soft core.
    ///
    /// Charges enter the energy as polynomials of degree 2 in λ, and so do generalised Born with scaled charges and
    /// the surface term with a factor λ.
    pub fn lambda_polynomials(&self, x_nm: &[f64]) -> Option<Vec<[f64; 3]>> {
        let n = x_nm.len() / (3 * self.n_atoms());
        let at = |value: f64| self.evaluate(Precision::Double, &vec![value; n], x_nm, None);
        let totals = |value: f64| -> Vec<f64> { at(value).iter().map(TermEnergies::total).collect() };
        match self.path {
            AlchemicalPath::None => Some(totals(1.0).into_iter().map(|total| [total, 0.0, 0.0]).collect()),
            AlchemicalPath::GbCharges | AlchemicalPath::ImplicitSolvent => {
                let has_surface = self.path == AlchemicalPath::ImplicitSolvent;
                let split = |terms: &TermEnergies| {
                    let surface = if has_surface { terms.surface_area } else { 0.0 };
                    let polar = terms.implicit_solvent - terms.surface_area;
                    let rest = TermEnergies { implicit_solvent: terms.surface_area - surface, ..*terms };
                    [rest.total(), surface, polar]
                };
                Some(at(1.0).iter().map(split).collect())
            }
            AlchemicalPath::Charges { .. } => {
                let (plus, zero, minus) = (totals(1.0), totals(0.0), totals(-1.0));
                let parts = plus.into_iter().zip(zero).zip(minus);
                let split = |((plus, zero), minus): ((f64, f64), f64)| {
                    [zero, 0.5 * (plus - minus), 0.5 * (plus + minus) - zero]
                };
                Some(parts.map(split).collect())
            }
            AlchemicalPath::SoftCore { .. } => None,
        }
    }

    /// Blocks of frames over the thread pool: energies, and ∂U/∂λ of the soft core. Without `cells` every frame
    /// has the box of the parameters.
    fn frames<L: Lane>(
        &self,
        tables: &Tables<L::Scalar>,
        lambda: &[f64],
        x_nm: &[f64],
        cells: &[Cell],
        forces: Option<&mut [f64]>,
        compiled: Compiled<L, L::Scalar>,
    ) -> (Vec<TermEnergies>, Vec<f64>) {
        let dimension = 3 * tables.n_atoms;
        let n_frames = x_nm.len() / dimension;
        let mut energies = vec![TermEnergies::default(); n_frames];
        let mut derivatives = vec![0.0; n_frames];
        let wants_forces = forces.is_some();
        let mut none = Vec::new();
        let forces = forces.unwrap_or_else(|| {
            none.resize(n_frames, 0.0);
            &mut none
        });
        let per_frame = if wants_forces { dimension } else { 1 };
        (x_nm.par_chunks(L::WIDTH * dimension))
            .zip(energies.par_chunks_mut(L::WIDTH))
            .zip(derivatives.par_chunks_mut(L::WIDTH))
            .zip(forces.par_chunks_mut(L::WIDTH * per_frame))
            .enumerate()
            .for_each_init(
                || {
                    let lanes = || vec![0.0; L::WIDTH * dimension];
                    (Workspace::<L>::new(tables), lanes(), lanes())
                },
                |(workspace, input, output), (chunk, (((x, energies), derivatives), forces))| {
                    let n = energies.len();
                    let mut lambdas = [1.0; LANES];
                    for (lane, lambda) in lambda.iter().skip(chunk * L::WIDTH).take(n).enumerate() {
                        lambdas[lane] = *lambda;
                    }
                    for lane in 0..L::WIDTH {
                        let frame = &x[lane.min(n - 1) * dimension..][..dimension];
                        let values = input[lane..].iter_mut().step_by(L::WIDTH);
                        values.zip(frame).for_each(|(value, x)| *value = *x);
                    }
                    let factors = self.path.factors(&lambdas);
                    compiled(
                        self,
                        tables,
                        &factors,
                        input,
                        wants_forces.then_some(&mut output[..]),
                        workspace,
                    );
                    for (lane, energies) in energies.iter_mut().enumerate() {
                        let [bond, angle, torsion, cmap, nonbonded, polar, surface_area] =
                            workspace.energies.map(|term| term[lane]);
                        let implicit_solvent = polar + surface_area;
                        *energies = TermEnergies {
                            bond,
                            angle,
                            torsion,
                            cmap,
                            nonbonded,
                            implicit_solvent,
                            surface_area,
                        };
                    }
                    derivatives.copy_from_slice(&workspace.soft_core[..n]);
                    if wants_forces {
                        for (lane, frame) in forces.chunks_exact_mut(dimension).enumerate() {
                            let values = output[lane..].iter().step_by(L::WIDTH);
                            values.zip(frame).for_each(|(value, force)| *force = *value);
                        }
                    }
                    let Some(periodic) = self.periodic.as_ref().filter(|_| tables.is_periodic) else {
                        return;
                    };
                    let frames = x.chunks_exact(dimension).zip(forces.chunks_mut(per_frame));
                    for (lane, ((x, forces), energies)) in frames.zip(energies).enumerate() {
                        let cell = cells.get(chunk * L::WIDTH + lane).unwrap_or(periodic.cell());
                        let forces = wants_forces.then_some(forces);
                        energies.nonbonded = periodic.energy(cell, x, forces, &mut workspace.periodic);
                    }
                },
            );
        (energies, derivatives)
    }
}

/// Positions relative to the first atom, `[atom][xyz][lane]`, rounded.
///
/// This and [`store`] are compiled with the loops between them: a conversion between precisions is one
/// instruction there, and a function call anywhere else.
#[inline(always)]
fn load<L: Lane>(x: &[f64], positions: &mut [[L; 3]]) {
    let first = &x[..3 * L::WIDTH];
    for (position, values) in positions.iter_mut().zip(x.chunks_exact(3 * L::WIDTH)) {
        for (axis, component) in position.iter_mut().enumerate() {
            let lanes = axis * L::WIDTH..(axis + 1) * L::WIDTH;
            let mut relative = [0.0; LANES];
            for (value, (own, first)) in
                relative.iter_mut().zip(values[lanes.clone()].iter().zip(&first[lanes]))
            {
                *value = own - first;
            }
            *component = L::from_f64(&relative);
        }
    }
}

#[inline(always)]
fn store<L: Lane>(forces: &[[L; 3]], values: &mut [f64]) {
    for (force, values) in forces.as_flattened().iter().zip(values.chunks_exact_mut(L::WIDTH)) {
        force.to_f64(values);
    }
}

/// All terms of one block; energies, and forces if `FORCES`, are left in the workspace.
#[inline(always)]
fn evaluate<L: Lane, const FORCES: bool>(
    mechanics: &MolecularMechanics,
    tables: &Tables<L::Scalar>,
    factors: &Factors<L>,
    workspace: &mut Workspace<L>,
) {
    let Workspace { x, forces, pairs, energies, soft_core, .. } = workspace;
    forces.iter_mut().for_each(|force| *force = [L::zero(); 3]);
    let [bond, angle, torsion, cmap, nonbonded, polar, surface] = energies;
    bonded::bonds::<L, FORCES>(&tables.bonds, x, forces).to_f64(bond);
    bonded::angles::<L, FORCES>(&tables.angles, x, forces).to_f64(angle);
    bonded::torsions::<L, FORCES>(&tables.torsions, x, forces).to_f64(torsion);
    *cmap = [0.0; LANES];
    mechanics.cmaps.accumulate::<L, FORCES>(x, forces, cmap);
    *soft_core = [0.0; LANES];
    L::zero().to_f64(polar);
    L::zero().to_f64(surface);
    match (&tables.cutoff, &tables.born) {
        _ if tables.is_periodic => L::zero().to_f64(nonbonded),
        (Some(cutoff), _) => {
            cutoff::nonbonded::<L, FORCES>(cutoff, x, forces).to_f64(nonbonded);
            nonbonded.iter_mut().for_each(|energy| *energy += cutoff.beyond);
        }
        (None, None) => pairs::vacuum::<L, FORCES>(&tables.pairs, x, forces, pairs, nonbonded),
        (None, Some(born)) => {
            let sums = [&mut nonbonded[..], &mut polar[..], &mut surface[..]];
            if born.neck.is_some() {
                pairs::solvated::<L, FORCES, true>(tables, born, factors, x, forces, pairs, sums);
            } else {
                pairs::solvated::<L, FORCES, false>(tables, born, factors, x, forces, pairs, sums);
            }
        }
    }
    if !tables.alchemical.is_empty() {
        let (energy, derivative) = pairs::alchemical::<L, FORCES>(tables, x, forces, factors.lambda);
        energy.add_to(nonbonded);
        derivative.to_f64(soft_core);
    }
}

/// `evaluate` compiled for one kind of lanes with these instructions.
macro_rules! compiled {
    ($name:ident, $lane:ty, $scalar:ty $(, $feature:literal)?) => {
        fn $name(
            mechanics: &MolecularMechanics,
            tables: &Tables<$scalar>,
            factors: &Factors<$lane>,
            x: &[f64],
            forces: Option<&mut [f64]>,
            workspace: &mut Workspace<$lane>,
        ) {
            $(#[target_feature(enable = $feature)])?
            fn compiled<const FORCES: bool>(
                mechanics: &MolecularMechanics,
                tables: &Tables<$scalar>,
                factors: &Factors<$lane>,
                x: &[f64],
                forces: &mut [f64],
                workspace: &mut Workspace<$lane>,
            ) {
                load(x, &mut workspace.x);
                evaluate::<$lane, FORCES>(mechanics, tables, factors, workspace);
                if FORCES {
                    store(&workspace.forces, forces);
                }
            }
            #[allow(unused_unsafe, reason = "without features nothing is unsafe")]
            // SAFETY: chosen by `simd`, which has found the instructions on this machine.
            unsafe {
                match forces {
                    Some(forces) => compiled::<true>(mechanics, tables, factors, x, forces, workspace),
                    None => compiled::<false>(mechanics, tables, factors, x, &mut [], workspace),
                }
            }
        }
    };
}

/// The best version in double precision.
fn double() -> Compiled<Double, f64> {
    #[cfg(target_arch = "x86_64")]
    if simd() != Simd::Baseline {
        return avx2_double;
    }
    plain_double
}

type Double = Plain<f64, DOUBLE_WIDTH>;
compiled!(plain_single, Plain<f32, LANES>, f32);
compiled!(plain_double, Double, f64);
#[cfg(target_arch = "x86_64")]
compiled!(avx2_single, lane::Avx2, f32, "avx2,fma");
#[cfg(target_arch = "x86_64")]
compiled!(avx2_double, Double, f64, "avx2");
#[cfg(target_arch = "x86_64")]
compiled!(avx512_single, lane::Avx512, f32, "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma");

impl BlockPotential for MolecularMechanics {
    fn n_atoms(&self) -> usize {
        self.single.n_atoms
    }

    fn workspace(&self) -> BlockWorkspace {
        BlockWorkspace(match simd() {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => Box::new(Workspace::<lane::Avx512>::new(&self.single)),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => Box::new(Workspace::<lane::Avx2>::new(&self.single)),
            Simd::Baseline => Box::new(Workspace::<Plain<f32, LANES>>::new(&self.single)),
        })
    }

    fn energies_and_forces(
        &self,
        lambda: &[f64; LANES],
        x: &[f64],
        energies: &mut [f64; LANES],
        forces: &mut [f64],
        workspace: &mut BlockWorkspace,
    ) {
        let memory = workspace.0.as_mut();
        match simd() {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => self.block(avx512_single, lambda, x, energies, forces, memory),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => self.block(avx2_single, lambda, x, energies, forces, memory),
            Simd::Baseline => self.block(plain_single, lambda, x, energies, forces, memory),
        }
    }
}

/// Energies of a block, and forces if there is where to put them; both arrays are `[atom][xyz][lane]`.
type Compiled<L, T> =
    fn(&MolecularMechanics, &Tables<T>, &Factors<L>, &[f64], Option<&mut [f64]>, &mut Workspace<L>);

impl MolecularMechanics {
    /// One block of a [`BlockPotential`] in single precision.
    fn block<L: Lane<Scalar = f32> + 'static>(
        &self,
        compiled: Compiled<L, f32>,
        lambda: &[f64; LANES],
        x: &[f64],
        energies: &mut [f64; LANES],
        forces: &mut [f64],
        memory: &mut dyn std::any::Any,
    ) {
        let Some(workspace) = memory.downcast_mut::<Workspace<L>>() else {
            unreachable!("the workspace was made by this potential")
        };
        compiled(self, &self.single, &self.path.factors(lambda), x, Some(&mut *forces), workspace);
        for (lane, energy) in energies.iter_mut().enumerate() {
            *energy = workspace.energies.iter().map(|term| term[lane]).sum();
        }
        if let Some(periodic) = self.periodic.as_ref().filter(|_| self.single.is_periodic) {
            add_periodic(periodic, x, energies, forces, workspace);
        }
    }
}

/// Adds the interactions in a box to a block, lane by lane in double precision: correct, not fast.
///
/// Lanes that repeat the one before them, as unused ones do, are not computed again.
fn add_periodic<L: Lane>(
    periodic: &Periodic,
    x: &[f64],
    energies: &mut [f64; LANES],
    forces: &mut [f64],
    workspace: &mut Workspace<L>,
) {
    let [own, pull] = &mut workspace.lane;
    let mut energy = 0.0;
    for lane in 0..LANES {
        let repeats = lane > 0 && x.chunks_exact(LANES).all(|values| values[lane] == values[lane - 1]);
        if !repeats {
            own.clear();
            own.extend(x.iter().skip(lane).step_by(LANES));
            pull.clear();
            pull.resize(own.len(), 0.0);
            energy = periodic.energy(periodic.cell(), own, Some(pull), &mut workspace.periodic);
        }
        energies[lane] += energy;
        for (force, pull) in forces.iter_mut().skip(lane).step_by(LANES).zip(&*pull) {
            *force += pull;
        }
    }
}

/// What cannot be computed, named before anything is.
fn check(parameters: &Parameters) -> Result<()> {
    let n = parameters.n_atoms();
    let nonbonded = &parameters.nonbonded;
    let counts = [
        ("charges", nonbonded.charges.len()),
        ("Lennard-Jones radii", nonbonded.sigma_nm.len()),
        ("Lennard-Jones depths", nonbonded.epsilon.len()),
        ("generalised-Born atoms", parameters.implicit_solvent.as_ref().map_or(n, |gb| gb.atoms.len())),
    ];
    for (what, found) in counts {
        if found != n {
            return Err(Error::invalid(what, format!("{n}, one per atom"), found.to_string()));
        }
    }
    if n == 0 {
        return Err(Error::invalid("molecular mechanics", "at least one atom", "none"));
    }
    Ok(())
}
