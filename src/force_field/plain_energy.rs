//! The energy of one conformation, written down as plainly as possible: what tests compare with.
//!
//! No cutoff, no periodic box, double loops over all pairs. The formulas are those of `parameters`.

use std::collections::HashMap;

use crate::force_field::parameters::{COULOMB, ImplicitSolvent, NonbondedMethod, Parameters};

/// Energies in kJ/mol.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct PlainEnergy {
    pub bond: f64,
    pub angle: f64,
    pub torsion: f64,
    pub cmap: f64,
    pub nonbonded: f64,
    pub implicit_solvent: f64,
}

impl PlainEnergy {
    pub fn total(self) -> f64 {
        self.bond + self.angle + self.torsion + self.cmap + self.nonbonded + self.implicit_solvent
    }
}

type Vector = [f64; 3];

fn minus(a: Vector, b: Vector) -> Vector {
    std::array::from_fn(|k| a[k] - b[k])
}

fn dot(a: Vector, b: Vector) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// `[atom][xyz]` in nm.
struct Positions<'a>(&'a [f64]);

impl Positions<'_> {
    fn at(&self, atom: usize) -> Vector {
        std::array::from_fn(|k| self.0[3 * atom + k])
    }

    fn distance(&self, i: usize, j: usize) -> f64 {
        let d = minus(self.at(i), self.at(j));
        dot(d, d).sqrt()
    }

    fn dihedral(&self, [i, j, k, l]: [usize; 4]) -> f64 {
        let (a, b, c) =
            (minus(self.at(j), self.at(i)), minus(self.at(k), self.at(j)), minus(self.at(l), self.at(k)));
        let (n, m) = (cross(a, b), cross(b, c));
        (dot(b, b).sqrt() * dot(a, m)).atan2(dot(n, m))
    }
}

/// The energy of the positions `[atom][xyz]` in nm.
pub(crate) fn plain_energy(parameters: &Parameters, positions_nm: &[f64]) -> PlainEnergy {
    let x = Positions(positions_nm);
    let mut energy = PlainEnergy::default();
    for bond in &parameters.bonds {
        energy.bond +=
            0.5 * bond.stiffness * (x.distance(bond.atoms[0], bond.atoms[1]) - bond.length_nm).powi(2);
    }
    for angle in &parameters.angles {
        let [i, j, k] = angle.atoms;
        let (a, b) = (minus(x.at(i), x.at(j)), minus(x.at(k), x.at(j)));
        let c = cross(a, b);
        let theta = dot(c, c).sqrt().atan2(dot(a, b));
        energy.angle += 0.5 * angle.stiffness * (theta - angle.angle_rad).powi(2);
    }
    for torsion in &parameters.torsions {
        let argument = f64::from(torsion.periodicity) * x.dihedral(torsion.atoms) - torsion.phase_rad;
        energy.torsion += torsion.barrier * (1.0 + argument.cos());
    }
    for torsion in &parameters.ryckaert_bellemans {
        let cosine = -x.dihedral(torsion.atoms).cos();
        energy.torsion +=
            torsion.coefficients.iter().enumerate().map(|(n, c)| c * cosine.powi(n as i32)).sum::<f64>();
    }
    for cmap in &parameters.cmaps {
        let grid = &parameters.cmap_grids[cmap.grid];
        // A spline along φ for every ψ of the grid, then one along ψ.
        let phi = x.dihedral(cmap.first);
        let along_psi: Vec<f64> =
            grid.energies.chunks(grid.size).map(|along_phi| periodic_spline(along_phi, phi)).collect();
        energy.cmap += periodic_spline(&along_psi, x.dihedral(cmap.second));
    }
    energy.nonbonded = nonbonded(parameters, &x);
    if let Some(solvent) = &parameters.implicit_solvent {
        energy.implicit_solvent = implicit_solvent(solvent, &x);
    }
    energy
}

/// The cubic spline of period 2π through values at 2π k/n.
fn periodic_spline(values: &[f64], angle: f64) -> f64 {
    let n = values.len();
    let h = std::f64::consts::TAU / n as f64;
    let mut matrix = nalgebra::DMatrix::<f64>::zeros(n, n);
    let mut right = nalgebra::DVector::<f64>::zeros(n);
    for k in 0..n {
        let (before, after) = ((k + n - 1) % n, (k + 1) % n);
        matrix[(k, k)] += 4.0;
        matrix[(k, before)] += 1.0;
        matrix[(k, after)] += 1.0;
        right[k] = 6.0 * (values[after] - 2.0 * values[k] + values[before]) / (h * h);
    }
    let second = matrix.lu().solve(&right).expect("diagonally dominant");
    let place = angle.rem_euclid(std::f64::consts::TAU) / h;
    let k = (place as usize) % n;
    let (b, after) = (place - place.floor(), (k + 1) % n);
    let a = 1.0 - b;
    a * values[k]
        + b * values[after]
        + ((a.powi(3) - a) * second[k] + (b.powi(3) - b) * second[after]) * h * h / 6.0
}

fn lennard_jones(sigma: f64, epsilon: f64, r: f64) -> f64 {
    4.0 * epsilon * ((sigma / r).powi(12) - (sigma / r).powi(6))
}

fn nonbonded(parameters: &Parameters, x: &Positions<'_>) -> f64 {
    let terms = &parameters.nonbonded;
    assert_eq!(terms.method, NonbondedMethod::NoCutoff);
    let exceptions: HashMap<[usize; 2], _> = terms
        .exceptions
        .iter()
        .map(|exception| {
            let [i, j] = exception.atoms;
            ([i.min(j), i.max(j)], exception)
        })
        .collect();
    assert_eq!(exceptions.len(), terms.exceptions.len(), "each exception once");
    let mut energy = 0.0;
    for i in 0..parameters.n_atoms() {
        for j in i + 1..parameters.n_atoms() {
            let r = x.distance(i, j);
            if let Some(exception) = exceptions.get(&[i, j]) {
                energy += COULOMB * exception.charge_product / r
                    + lennard_jones(exception.sigma_nm, exception.epsilon, r);
                continue;
            }
            energy += COULOMB * terms.charges[i] * terms.charges[j] / r;
            energy += match &terms.pair_table {
                Some(table) => {
                    let at = table.types[i] * table.n_types + table.types[j];
                    table.a[at] / r.powi(12) - table.b[at] / r.powi(6)
                }
                None => {
                    let sigma = 0.5 * (terms.sigma_nm[i] + terms.sigma_nm[j]);
                    lennard_jones(sigma, (terms.epsilon[i] * terms.epsilon[j]).sqrt(), r)
                }
            };
        }
    }
    energy
}

fn implicit_solvent(solvent: &ImplicitSolvent, x: &Positions<'_>) -> f64 {
    let n_atoms = solvent.atoms.len();
    let born: Vec<f64> = (0..n_atoms)
        .map(|i| {
            let integral: f64 =
                (0..n_atoms).filter(|&j| j != i).map(|j| descreening(solvent, i, j, x.distance(i, j))).sum();
            let atom = &solvent.atoms[i];
            let psi = integral * atom.offset_radius_nm;
            let reach = (atom.alpha * psi - atom.beta * psi.powi(2) + atom.gamma * psi.powi(3)).tanh();
            1.0 / (1.0 / atom.offset_radius_nm - reach / atom.radius_nm)
        })
        .collect();
    let mut energy = 0.0;
    for i in 0..n_atoms {
        for j in 0..n_atoms {
            let r = if i == j { 0.0 } else { x.distance(i, j) };
            let product = born[i] * born[j];
            let f = (r * r + product * (-r * r / (4.0 * product)).exp()).sqrt();
            let screening = 1.0 / solvent.solute_dielectric
                - (-solvent.kappa_per_nm * f).exp() / solvent.solvent_dielectric;
            energy -=
                0.5 * solvent.coulomb * screening * solvent.atoms[i].charge * solvent.atoms[j].charge / f;
        }
        if let Some(surface) = &solvent.surface_area {
            let radius = solvent.atoms[i].radius_nm;
            energy += surface.factor * (radius + surface.probe_nm).powi(2) * (radius / born[i]).powi(6);
        }
    }
    energy
}

/// What atom j takes from the solvent around atom i.
fn descreening(solvent: &ImplicitSolvent, i: usize, j: usize, r: f64) -> f64 {
    let (a, b) = (&solvent.atoms[i], &solvent.atoms[j]);
    let (radius, sphere) = (a.offset_radius_nm, b.scaled_radius_nm);
    let mut integral = 0.0;
    if r + sphere >= radius {
        let upper = r + sphere;
        let lower = radius.max((r - sphere).abs());
        integral += 0.5
            * (1.0 / lower - 1.0 / upper
                + 0.25 * (r - sphere * sphere / r) * (1.0 / upper.powi(2) - 1.0 / lower.powi(2))
                + 0.5 * (lower / upper).ln() / r);
        if solvent.fills_engulfed && radius < sphere - r {
            integral += 1.0 / radius - 1.0 / lower;
        }
    }
    if let Some(neck) = &solvent.neck
        && r < a.radius_nm + b.radius_nm + neck.cutoff_nm
    {
        let at = neck.classes[i] * neck.n_classes + neck.classes[j];
        let distance = r - neck.d0_nm[at];
        integral +=
            neck.scale * neck.m0_per_nm[at] / (1.0 + 100.0 * distance.powi(2) + 3e5 * distance.powi(6));
    }
    integral
}
