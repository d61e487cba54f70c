//! Which stereoisomer a conformation is: the handedness of tetrahedral centres, and cis or trans of bonds.
//!
//! Both are signs of polynomials of the coordinates, so they depend neither on rotations nor on the unit
//! of length, and no conformation lies between:
//!
//! - centre with neighbours a, b, c and d: the sign of (r_b − r_a) × (r_c − r_a) · (r_d − r_a); with three
//!   neighbours the centre itself stands in for a;
//! - bond j–k with neighbours i and l: the sign of (b₁ × b₂)·(b₂ × b₃), that of the cosine of the dihedral.
//!
//! What counts is what the frames show: a centre that is flat on average or has either sign (a pyramidal
//! nitrogen that inverts) and a bond that turns belong to no isomer. Atoms are labelled, so a methyl group whose
//! hydrogens are mirrored is another labelled isomer, as dynamics never makes.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::system::collective_variable::{between, cross, dot};

/// A centre is flat where |volume| is on average below this fraction of the product of the three edges;
/// 0.71 for a regular tetrahedron, 0.77 for three of its bonds.
const FLAT: f64 = 0.3;

/// A bond is rigid where |cos| of its dihedrals is on average above this: within about 37° of cis or trans.
const RIGID: f64 = 0.8;

/// A sign that four atoms have in every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handedness {
    /// The atoms, in the order of the formulas above.
    pub atoms: [usize; 4],
    /// Whether the polynomial is positive.
    pub is_positive: bool,
}

/// The region of conformations that are one stereoisomer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stereochemistry {
    /// One for each tetrahedral centre.
    pub centers: Vec<Handedness>,
    /// All dihedrals about bonds that never turn; positive is cis.
    pub rigid_dihedrals: Vec<Handedness>,
}

impl Stereochemistry {
    /// The isomer that all `frames`, `[frame][atom][xyz]` in any unit of length, have in common.
    ///
    /// For several ensembles that are to have one region, give all their frames together.
    pub fn from_frames(n_atoms: usize, bonds: &[[usize; 2]], frames: &[f64]) -> Result<Self> {
        if n_atoms == 0 || frames.is_empty() || !frames.len().is_multiple_of(3 * n_atoms) {
            let expected = format!("frames of 3 × {n_atoms} numbers");
            return Err(Error::invalid("frames of a stereoisomer", expected, frames.len().to_string()));
        }
        if let Some(bond) = bonds.iter().find(|[i, j]| *i >= n_atoms || *j >= n_atoms) {
            let expected = format!("atoms from 0 to {}", n_atoms - 1);
            return Err(Error::invalid("bonds of a stereoisomer", expected, format!("{bond:?}")));
        }
        let mut neighbours = vec![Vec::new(); n_atoms];
        for &[i, j] in bonds {
            neighbours[i].push(j);
            neighbours[j].push(i);
        }
        neighbours.iter_mut().for_each(|of_atom| of_atom.sort_unstable());
        let common = |atoms: [usize; 4], measure: fn(&[f64], [usize; 4]) -> f64, least: f64| {
            let (mut sum, mut n_positive) = (0.0, 0);
            let n_frames = frames.len() / (3 * n_atoms);
            for x in frames.chunks_exact(3 * n_atoms) {
                let value = measure(x, atoms);
                sum += value.abs() / n_frames as f64;
                n_positive += usize::from(value > 0.0);
            }
            let is_one = n_positive == 0 || n_positive == n_frames;
            (is_one && sum > least).then_some(Handedness { atoms, is_positive: n_positive > 0 })
        };
        let centers = neighbours.iter().enumerate().filter_map(|(center, of_center)| match of_center[..] {
            [a, b, c, d] => common([a, b, c, d], relative_volume, FLAT),
            [a, b, c] => common([center, a, b, c], relative_volume, FLAT),
            _ => None,
        });
        let rigid_dihedrals = bonds.iter().flat_map(|&[j, k]| {
            // Where either end has four neighbours the bond is single; where it turns, some dihedral shows it.
            let ends = [(j, k), (k, j)].map(|(own, other)| {
                neighbours[own].iter().copied().filter(|&i| i != other).collect::<Vec<usize>>()
            });
            if ends.iter().any(|end| end.is_empty() || end.len() > 2) {
                return Vec::new();
            }
            let quadruples = ends[0].iter().flat_map(|&i| ends[1].iter().map(move |&l| [i, j, k, l]));
            let found: Vec<_> =
                quadruples.filter(|[i, _, _, l]| i != l).map(|atoms| common(atoms, cosine, RIGID)).collect();
            found.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default()
        });
        Ok(Self { centers: centers.collect(), rigid_dihedrals: rigid_dihedrals.collect() })
    }

    /// Whether a conformation, `[atom][xyz]` in any unit of length, is this isomer.
    pub fn contains(&self, x: &[f64]) -> bool {
        let agrees = |sign: &Handedness, value: f64| value != 0.0 && (value > 0.0) == sign.is_positive;
        self.centers.iter().all(|center| agrees(center, volume(x, center.atoms)))
            && self.rigid_dihedrals.iter().all(|dihedral| agrees(dihedral, cosine(x, dihedral.atoms)))
    }
}

/// (r_b − r_a) × (r_c − r_a) · (r_d − r_a).
fn volume(x: &[f64], [a, b, c, d]: [usize; 4]) -> f64 {
    dot(cross(between(x, a, b), between(x, a, c)), between(x, a, d))
}

/// The volume relative to a box with the same edges.
fn relative_volume(x: &[f64], atoms: [usize; 4]) -> f64 {
    let [a, b, c, d] = atoms;
    let edges = [b, c, d].map(|other| between(x, a, other)).map(|edge| dot(edge, edge).sqrt());
    let product: f64 = edges.iter().product();
    if product > 0.0 { volume(x, atoms) / product } else { 0.0 }
}

/// The cosine of a dihedral.
fn cosine(x: &[f64], [i, j, k, l]: [usize; 4]) -> f64 {
    let (b1, b2, b3) = (between(x, i, j), between(x, j, k), between(x, k, l));
    let (n1, n2) = (cross(b1, b2), cross(b2, b3));
    let product = (dot(n1, n1) * dot(n2, n2)).sqrt();
    if product > 0.0 { dot(n1, n2) / product } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::topology::tests::alanine_dipeptide;

    /// Frames of alanine dipeptide as the tests of force fields have it, in nm.
    fn frame() -> Vec<f64> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/aldp.pdb");
        let text = std::fs::read_to_string(path).unwrap();
        let atoms = text.lines().filter(|line| line.starts_with("ATOM") || line.starts_with("HETATM"));
        atoms
            .flat_map(|line| {
                [30..38, 38..46, 46..54].map(|at| line[at].trim().parse::<f64>().unwrap() / 10.0)
            })
            .collect()
    }

    /// Turns what lies beyond the bond by an angle.
    fn turned(x: &[f64], [j, k]: [usize; 2], beyond: &[usize], angle: f64) -> Vec<f64> {
        let axis = between(x, j, k);
        let length = dot(axis, axis).sqrt();
        let axis = axis.map(|a| a / length);
        let mut turned = x.to_vec();
        for &atom in beyond {
            let v = between(x, j, atom);
            let (along, across) = (dot(axis, v), cross(axis, v));
            for i in 0..3 {
                let perpendicular = v[i] - along * axis[i];
                turned[3 * atom + i] =
                    x[3 * j + i] + along * axis[i] + angle.cos() * perpendicular + angle.sin() * across[i];
            }
        }
        turned
    }

    #[test]
    fn alanine_dipeptide_has_four_centres_and_two_peptide_bonds() {
        let topology = alanine_dipeptide();
        let x = frame();
        let n = topology.n_atoms();
        assert_eq!(x.len(), 3 * n);
        // Frames with other φ and ψ, as dynamics would show them.
        let (after_phi, after_psi): (Vec<usize>, Vec<usize>) = ((9..n).collect(), (15..n).collect());
        let mut frames = x.clone();
        for k in 1..12 {
            let angle = f64::from(k) * 0.52;
            let one = turned(&x, [6, 8], &after_phi, angle);
            frames.extend(turned(&one, [8, 14], &after_psi, 2.0 * angle));
        }
        let region = Stereochemistry::from_frames(n, &topology.bonds, &frames).unwrap();
        // CH3, CA, CB and the methyl of NME; both C–N bonds with four dihedrals each.
        assert_eq!((region.centers.len(), region.rigid_dihedrals.len()), (4, 8));
        assert!(frames.chunks_exact(3 * n).all(|x| region.contains(x)));

        let mirrored: Vec<f64> = x.iter().map(|x| -x).collect();
        assert!(!region.contains(&mirrored));
        let larger: Vec<f64> = x.iter().map(|x| 7.0 * x).collect();
        assert!(region.contains(&larger));
        let exchanged = |a: usize, b: usize| {
            let mut x = x.clone();
            (0..3).for_each(|i| x.swap(3 * a + i, 3 * b + i));
            region.contains(&x)
        };
        // Two hydrogens of a methyl group, two substituents of CA, and two atoms of which none is a centre.
        assert!(!exchanged(0, 2) && !exchanged(9, 10) && !exchanged(11, 12));
        let isomerised = turned(&x, [4, 6], &(7..n).collect::<Vec<_>>(), std::f64::consts::PI);
        assert!(!region.contains(&isomerised));
        let twisted = turned(&x, [4, 6], &(7..n).collect::<Vec<_>>(), 0.6);
        assert!(region.contains(&twisted));
        let stored = toml::to_string(&region).unwrap();
        assert_eq!(toml::from_str::<Stereochemistry>(&stored).unwrap(), region);
    }

    #[test]
    fn what_inverts_and_what_is_flat_has_no_handedness() {
        let pyramid = [0.0, 0.0, 0.4, 1.0, 0.0, 0.0, -0.5, 0.8, 0.0, -0.5, -0.8, 0.0];
        let inverted: Vec<f64> =
            pyramid.iter().enumerate().map(|(i, x)| if i == 2 { -x } else { *x }).collect();
        let bonds = [[0, 1], [0, 2], [0, 3]];
        let one = Stereochemistry::from_frames(4, &bonds, &pyramid).unwrap();
        assert_eq!(one.centers.len(), 1);
        let both = [&pyramid[..], &inverted[..]].concat();
        assert_eq!(Stereochemistry::from_frames(4, &bonds, &both).unwrap(), Stereochemistry::default());
        let mut flat = pyramid;
        flat[2] = 0.05;
        assert_eq!(Stereochemistry::from_frames(4, &bonds, &flat).unwrap(), Stereochemistry::default());
        assert!(Stereochemistry::from_frames(4, &bonds, &flat[1..]).is_err());
        assert!(Stereochemistry::from_frames(4, &[[0, 9]], &flat).is_err());
    }
}
