//! Bonds, angles and torsions.
//!
//! Angles come from atan2(|u × v|, u·v) and torsions from cosine and sine, so that no force has a
//! singular factor where θ or φ is 0 or π. Torsion forces: Blondel and Karplus 1996, eq. 27.

use super::lane::Lane;
use super::tables::{Angle, Bond, Torsion};

pub type Vector<L> = [L; 3];

#[inline(always)]
pub fn subtract<L: Lane>(a: Vector<L>, b: Vector<L>) -> Vector<L> {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

#[inline(always)]
pub fn dot<L: Lane>(a: Vector<L>, b: Vector<L>) -> L {
    a[0].mul_add(b[0], a[1].mul_add(b[1], a[2] * b[2]))
}

#[inline(always)]
fn cross<L: Lane>(a: Vector<L>, b: Vector<L>) -> Vector<L> {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// force += factor × vector
#[inline(always)]
pub fn push<L: Lane>(force: &mut Vector<L>, factor: L, vector: Vector<L>) {
    for (force, component) in force.iter_mut().zip(vector) {
        *force = factor.mul_add(component, *force);
    }
}

/// Squares of lengths below this are taken as this: an energy of overlapping atoms stays finite.
#[inline(always)]
pub fn smallest_square<L: Lane>() -> L {
    // 1e-3 nm, where r⁻¹² still fits single precision, and 1e-6 nm.
    L::constant(if L::SINGLE { 1e-6 } else { 1e-12 })
}

#[inline(always)]
pub fn bonds<L: Lane, const FORCES: bool>(
    terms: &[Bond<L::Scalar>],
    x: &[Vector<L>],
    forces: &mut [Vector<L>],
) -> L {
    let mut energy = L::zero();
    for bond in terms {
        let [i, j] = bond.atoms;
        let d = subtract(x[i], x[j]);
        let square = dot(d, d).max(smallest_square());
        let inverse = square.rsqrt();
        let stretch = square * inverse - L::splat(bond.length);
        let pull = L::splat(bond.stiffness) * stretch;
        energy = (pull * L::constant(0.5)).mul_add(stretch, energy);
        if FORCES {
            let s = pull * inverse;
            push(&mut forces[i], -s, d);
            push(&mut forces[j], s, d);
        }
    }
    energy
}

#[inline(always)]
pub fn angles<L: Lane, const FORCES: bool>(
    terms: &[Angle<L::Scalar>],
    x: &[Vector<L>],
    forces: &mut [Vector<L>],
) -> L {
    let tiny = L::constant(if L::SINGLE { 1e-18 } else { 1e-36 });
    let mut energy = L::zero();
    for angle in terms {
        let [i, j, k] = angle.atoms;
        let (u, v) = (subtract(x[i], x[j]), subtract(x[k], x[j]));
        let normal = cross(u, v);
        let square = dot(normal, normal).max(tiny);
        let inverse = square.rsqrt();
        let bend = L::angle(square * inverse, dot(u, v)) - L::splat(angle.angle);
        let torque = L::splat(angle.stiffness) * bend;
        energy = (torque * L::constant(0.5)).mul_add(bend, energy);
        if FORCES {
            let s = torque * inverse;
            let along_i = -s * dot(u, u).max(tiny).reciprocal();
            let along_k = -s * dot(v, v).max(tiny).reciprocal();
            let (away_i, away_k) = (cross(u, normal), cross(normal, v));
            push(&mut forces[i], along_i, away_i);
            push(&mut forces[k], along_k, away_k);
            push(&mut forces[j], -along_i, away_i);
            push(&mut forces[j], -along_k, away_k);
        }
    }
    energy
}

/// What a dihedral angle is made of.
pub struct Dihedral<L> {
    f: Vector<L>,
    g: Vector<L>,
    h: Vector<L>,
    a: Vector<L>,
    b: Vector<L>,
    inverse_a: L,
    inverse_b: L,
    inverse_g: L,
    pub cos: L,
    pub sin: L,
}

impl<L: Lane> Dihedral<L> {
    #[inline(always)]
    pub fn new(atoms: [usize; 4], x: &[Vector<L>]) -> Self {
        let tiny = L::constant(if L::SINGLE { 1e-18 } else { 1e-36 });
        let [i, j, k, l] = atoms;
        let (f, g, h) = (subtract(x[i], x[j]), subtract(x[j], x[k]), subtract(x[l], x[k]));
        let (a, b) = (cross(f, g), cross(h, g));
        let inverse_a = dot(a, a).max(tiny).rsqrt();
        let inverse_b = dot(b, b).max(tiny).rsqrt();
        let inverse_g = dot(g, g).max(tiny).rsqrt();
        let scale = inverse_a * inverse_b;
        let cos = dot(a, b) * scale;
        let sin = dot(cross(b, a), g) * scale * inverse_g;
        Self { f, g, h, a, b, inverse_a, inverse_b, inverse_g, cos, sin }
    }

    /// Adds the forces of a torque −dU/dφ.
    #[inline(always)]
    pub fn push_forces(&self, atoms: [usize; 4], slope: L, forces: &mut [Vector<L>]) {
        let [i, j, k, l] = atoms;
        let length = dot(self.g, self.g) * self.inverse_g;
        let per_a = slope * self.inverse_a * self.inverse_a;
        let per_b = slope * self.inverse_b * self.inverse_b;
        let (end_a, end_b) = (per_a * length, per_b * length);
        let middle_a = per_a * dot(self.f, self.g) * self.inverse_g;
        let middle_b = per_b * dot(self.h, self.g) * self.inverse_g;
        push(&mut forces[i], end_a, self.a);
        push(&mut forces[j], -(end_a + middle_a), self.a);
        push(&mut forces[j], middle_b, self.b);
        push(&mut forces[k], middle_a, self.a);
        push(&mut forces[k], end_b - middle_b, self.b);
        push(&mut forces[l], -end_b, self.b);
    }
}

#[inline(always)]
pub fn torsions<L: Lane, const FORCES: bool>(
    terms: &[Torsion<L::Scalar>],
    x: &[Vector<L>],
    forces: &mut [Vector<L>],
) -> L {
    let mut energy = L::zero();
    for torsion in terms {
        let dihedral = Dihedral::new(torsion.atoms, x);
        // cos nφ and sin nφ by the addition theorem.
        let (mut cos, mut sin) = (dihedral.cos, dihedral.sin);
        let mut value = L::splat(torsion.constant);
        let mut slope = L::zero();
        let mut n = 1.0;
        for [a, b] in &torsion.series {
            let (a, b) = (L::splat(*a), L::splat(*b));
            value = a.mul_add(cos, b.mul_add(sin, value));
            if FORCES {
                slope = L::constant(n).mul_add(b * cos - a * sin, slope);
            }
            n += 1.0;
            (cos, sin) = (cos * dihedral.cos - sin * dihedral.sin, sin * dihedral.cos + cos * dihedral.sin);
        }
        energy = energy + value;
        if FORCES {
            dihedral.push_forces(torsion.atoms, slope, forces);
        }
    }
    energy
}
