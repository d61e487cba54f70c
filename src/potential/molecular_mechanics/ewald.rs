//! Non-bonded interactions in a periodic box, in double precision, one conformation at a time.
//!
//! Coulomb is a smooth particle-mesh Ewald sum (Essmann et al. 1995): erfc(α r)/r within the cutoff, the rest on a
//! mesh, less the interaction of each charge with itself, and less erf(α r)/r of excluded pairs. A net charge is
//! neutralised by a uniform background, −π C Q²/(2 V α²). Or it is a reaction field. Lennard-Jones ends at the
//! cutoff, switched off before it or not, with or without its mean beyond it. Exceptions interact by themselves,
//! without cutoff and not through the box, as in OpenMM.
//!
//! Where the parameters leave it open, α = √(−ln 2τ)/r_c and the mesh has ⌈2 α L/(3 τ^⅕)⌉ points along a box vector,
//! for a tolerance τ: OpenMM's choice, so energies agree to rounding and not only to τ. The mesh belongs to the box
//! of the parameters and stays the same when a frame has another one.

mod cell;
mod direct;
mod dispersion;
mod mesh;
mod screening;
#[cfg(test)]
mod tests;

pub use self::cell::Cell;
pub use self::dispersion::dispersion;

use self::direct::{Atoms, DirectMemory};
use self::mesh::{Mesh, MeshMemory};
use self::screening::{Gaussian, ReactionField};
use crate::error::{Error, Result};
use crate::force_field::parameters::{COULOMB, NonbondedMethod, Parameters};

/// Squares of distances below this, in nm², are taken as this: overlapping atoms have a finite energy.
const SMALLEST_SQUARE: f64 = 1e-12;

/// Lennard-Jones and Coulomb in a box.
pub struct Periodic {
    atoms: Atoms,
    coulomb: Coulomb,
    exceptions: Vec<Exception>,
    cell: Cell,
    /// Of the Lennard-Jones energy beyond the cutoff: V U.
    dispersion: f64,
}

enum Coulomb {
    Ewald {
        gaussian: Gaussian,
        mesh: Mesh,
        /// What charges have with themselves, and with the background at unit volume.
        own: f64,
        background: f64,
    },
    ReactionField(ReactionField),
}

/// A pair with its own parameters.
struct Exception {
    atoms: [usize; 2],
    /// C qq of the atoms, which the reciprocal sum contains.
    excluded: f64,
    /// C qq of the exception.
    coulomb: f64,
    a: f64,
    b: f64,
}

/// Memory for one conformation.
#[derive(Default)]
pub struct PeriodicMemory {
    x: Vec<[f64; 3]>,
    forces: [Vec<[f64; 3]>; 2],
    direct: DirectMemory,
    mesh: MeshMemory,
}

impl Periodic {
    /// `None` where interactions are not periodic.
    pub fn new(parameters: &Parameters) -> Result<Option<Self>> {
        let nonbonded = &parameters.nonbonded;
        let (cutoff_nm, switching_nm, has_dispersion) = match nonbonded.method {
            NonbondedMethod::ParticleMeshEwald { cutoff_nm, switching_nm, dispersion_correction, .. }
            | NonbondedMethod::ReactionField {
                cutoff_nm,
                switching_nm,
                dispersion_correction,
                periodic: true,
                ..
            } => (cutoff_nm, switching_nm, dispersion_correction),
            _ => return Ok(None),
        };
        let refuse = |expected: &str, found: &str| Err(Error::invalid("periodic system", expected, found));
        if nonbonded.pair_table.is_some() {
            return refuse("Lennard-Jones from the atoms", "pair-specific Lennard-Jones");
        }
        if !(cutoff_nm.is_finite() && cutoff_nm > 0.0) {
            return refuse("a cutoff above 0", &format!("{cutoff_nm} nm"));
        }
        if let Some(begin) = switching_nm.filter(|begin| !(0.0..cutoff_nm).contains(begin)) {
            return refuse("switching to begin within the cutoff", &format!("{begin} nm"));
        }
        let Some(vectors) = parameters.box_vectors_nm else { return refuse("a box", "none") };
        let cell = Cell::new(vectors, cutoff_nm)?;

        let root = COULOMB.sqrt();
        let charges: Vec<f64> = nonbonded.charges.iter().map(|charge| root * charge).collect();
        let coulomb = match nonbonded.method {
            NonbondedMethod::ParticleMeshEwald { tolerance, splitting, .. } => {
                let (alpha, points) = match splitting {
                    Some(splitting) => (splitting.alpha_per_nm, splitting.mesh),
                    None => mesh_of(&cell, cutoff_nm, tolerance)?,
                };
                // More than this is a slip, and the Fourier transform would fill the memory.
                let fits = points.iter().all(|n| (6..=4096).contains(n))
                    && points.iter().product::<usize>() <= 1 << 29;
                if !(alpha.is_finite() && alpha > 0.0 && fits) {
                    return refuse(
                        "6 to 4096 mesh points along each axis",
                        &format!("{points:?}, α = {alpha}/nm"),
                    );
                }
                let squares: f64 = charges.iter().map(|charge| charge * charge).sum();
                let net: f64 = charges.iter().sum();
                Coulomb::Ewald {
                    gaussian: Gaussian::new(alpha),
                    mesh: Mesh::new(points, alpha),
                    own: -alpha / std::f64::consts::PI.sqrt() * squares,
                    background: -std::f64::consts::PI * net * net / (2.0 * alpha * alpha),
                }
            }
            NonbondedMethod::ReactionField { dielectric, .. } => Coulomb::ReactionField(ReactionField {
                field: (dielectric - 1.0) / (2.0 * dielectric + 1.0) / cutoff_nm.powi(3),
                shift: 3.0 * dielectric / (2.0 * dielectric + 1.0) / cutoff_nm,
            }),
            NonbondedMethod::NoCutoff => return Ok(None),
        };

        let mut excluded = vec![Vec::new(); charges.len()];
        let mut exceptions = Vec::new();
        for exception in &nonbonded.exceptions {
            let [i, j] = exception.atoms;
            excluded[i].push(j as u32);
            excluded[j].push(i as u32);
            let sixth = exception.sigma_nm.powi(6);
            let b = 4.0 * exception.epsilon * sixth;
            exceptions.push(Exception {
                atoms: exception.atoms,
                excluded: charges[i] * charges[j],
                coulomb: COULOMB * exception.charge_product,
                a: b * sixth,
                b,
            });
        }
        let mut starts = vec![0];
        for partners in &excluded {
            starts.push(starts[starts.len() - 1] + partners.len());
        }
        let dispersion = if has_dispersion { dispersion(nonbonded, cutoff_nm, switching_nm) } else { 0.0 };
        let atoms = Atoms {
            charges,
            half_sigma: nonbonded.sigma_nm.iter().map(|sigma| 0.5 * sigma).collect(),
            depth: nonbonded.epsilon.iter().map(|epsilon| 2.0 * epsilon.sqrt()).collect(),
            starts,
            partners: excluded.concat(),
            cutoff_nm,
            switching: switching_nm.map(|begin| [begin, 1.0 / (cutoff_nm - begin)]),
        };
        Ok(Some(Self { atoms, coulomb, exceptions, cell, dispersion }))
    }

    /// The box of the parameters.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// The box of a frame, if it is wide enough for the cutoff.
    pub fn cell_of(&self, vectors_nm: [[f64; 3]; 3]) -> Result<Cell> {
        Cell::new(vectors_nm, self.atoms.cutoff_nm)
    }

    /// The energy in kJ/mol of positions in nm; forces in kJ/(mol nm) are added to `forces`, if there are any.
    ///
    /// Direct and reciprocal sums run side by side, each on all threads; results do not depend on how many.
    pub fn energy(
        &self,
        cell: &Cell,
        x: &[f64],
        forces: Option<&mut [f64]>,
        memory: &mut PeriodicMemory,
    ) -> f64 {
        let PeriodicMemory { x: positions, forces: halves, direct, mesh: of_mesh } = memory;
        positions.clear();
        positions.extend_from_slice(x.as_chunks::<3>().0);
        let positions = &positions[..];
        let wants_forces = forces.is_some();
        let [mut near, mut far] = halves.each_mut().map(|half| {
            half.clear();
            half.resize(if wants_forces { positions.len() } else { 0 }, [0.0; 3]);
            wants_forces.then_some(&mut half[..])
        });
        let (charges, exceptions) = (&self.atoms.charges, &self.exceptions);
        let mut energy = self.dispersion / cell.volume;
        energy += match &self.coulomb {
            Coulomb::Ewald { gaussian, mesh, own, background } => {
                let (first, second) = rayon::join(
                    || self.atoms.energy(gaussian, cell, positions, near.as_deref_mut(), direct),
                    || mesh.energy(charges, cell, positions, far.as_deref_mut(), of_mesh),
                );
                let excluded = pairs(exceptions, positions, near, |exception, square| {
                    let [value, slope] = gaussian.reciprocal_pair(square);
                    let [own, own_slope] = exception.plain(square);
                    [own - exception.excluded * value, own_slope - exception.excluded * slope]
                });
                first + second + excluded + own + background / cell.volume
            }
            Coulomb::ReactionField(field) => {
                let first = self.atoms.energy(field, cell, positions, near.as_deref_mut(), direct);
                first + pairs(exceptions, positions, near, Exception::plain)
            }
        };
        if let Some(forces) = forces {
            let [near, far] = &*halves;
            for (force, (near, far)) in
                forces.iter_mut().zip(near.as_flattened().iter().zip(far.as_flattened()))
            {
                *force += near + far;
            }
        }
        energy
    }
}

impl Exception {
    /// The energy of the exception itself, and its slope divided by the distance.
    fn plain(&self, square: f64) -> [f64; 2] {
        if self.coulomb == 0.0 && self.b == 0.0 {
            return [0.0; 2];
        }
        let square = square.max(SMALLEST_SQUARE);
        let inverse_square = 1.0 / square;
        let sixth = inverse_square * inverse_square * inverse_square;
        let (a, coulomb) = (self.a * sixth, self.coulomb * inverse_square.sqrt());
        let value = (a - self.b) * sixth + coulomb;
        [value, ((6.0 * self.b - 12.0 * a) * sixth - coulomb) * inverse_square]
    }
}

/// The sum over exceptions; they are few, and added in order.
fn pairs(
    exceptions: &[Exception],
    x: &[[f64; 3]],
    mut forces: Option<&mut [[f64; 3]]>,
    pair: impl Fn(&Exception, f64) -> [f64; 2],
) -> f64 {
    let mut energy = 0.0;
    for exception in exceptions {
        let [i, j] = exception.atoms;
        let d: [f64; 3] = std::array::from_fn(|axis| x[i][axis] - x[j][axis]);
        let [value, slope] = pair(exception, d.iter().map(|d| d * d).sum());
        energy += value;
        if let Some(forces) = &mut forces {
            for axis in 0..3 {
                forces[i][axis] -= slope * d[axis];
                forces[j][axis] += slope * d[axis];
            }
        }
    }
    energy
}

/// α and mesh points for a tolerance of the forces.
fn mesh_of(cell: &Cell, cutoff_nm: f64, tolerance: f64) -> Result<(f64, [usize; 3])> {
    if !(tolerance > 0.0 && tolerance < 0.5) {
        return Err(Error::invalid(
            "tolerance of Ewald",
            "a number between 0 and 0.5",
            tolerance.to_string(),
        ));
    }
    let alpha = (-(2.0 * tolerance).ln()).sqrt() / cutoff_nm;
    let points = std::array::from_fn(|k| {
        let wanted = 2.0 * alpha * cell.vectors[k][k] / (3.0 * tolerance.powf(0.2));
        (wanted.ceil() as usize).max(6)
    });
    Ok((alpha, points))
}
