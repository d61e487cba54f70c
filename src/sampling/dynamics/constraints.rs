//! Distances held fixed: |x_b − x_a|² = d².
//!
//! Constraint forces act along the bonds at the start of a drift, so that positions meet the constraints
//! at its end (SHAKE: Ryckaert, Ciccotti and Berendsen 1977); velocities are projected, in the metric of the
//! masses, onto those that change no distance (RATTLE: Andersen 1983). An atom with the hydrogens bonded
//! to it is a star: its equations are solved by Newton's method, whose matrix has at most four rows.
//! Other clusters (rigid triangles, chains) are solved one constraint at a time until all hold.
//!
//! The law that such dynamics keeps has the density exp(−U/kT) √det Z on the constrained positions, with
//! Z = J M⁻¹ Jᵀ: the law of rigid bonds, not that of stiff ones (Fixman 1974). For bonds to hydrogen, Z
//! depends on nothing but the angles H–X–H.

#![allow(clippy::needless_range_loop, reason = "one index runs over the lanes of several arrays")]

use crate::error::{Error, Result};
use crate::force_field::DistanceConstraint;
use crate::potential::LANES;
use crate::simd::vectorised;

/// Largest relative error of a squared distance at the end of a drift; of the distance it is half.
const TOLERANCE: f64 = 1e-10;
/// Newton converges in three iterations or not at all.
const STAR_ITERATIONS: usize = 30;
/// An error from which Newton's next step leads far below [`TOLERANCE`], as it squares.
const LAST_STEP: f64 = 1e-6;
const GENERAL_ITERATIONS: usize = 2000;

/// All constraints of a molecule, by cluster.
#[derive(Debug, Clone, Default)]
pub(super) struct Constraints {
    /// Clusters as lists of atoms.
    clusters: Vec<Vec<usize>>,
    all: Vec<Bond>,
    stars1: Vec<Star<1>>,
    stars2: Vec<Star<2>>,
    stars3: Vec<Star<3>>,
    stars4: Vec<Star<4>>,
    general: Vec<std::ops::Range<usize>>,
}

/// One fixed distance.
#[derive(Debug, Clone, Copy)]
struct Bond {
    a: usize,
    b: usize,
    square: f64,
    inverse_a: f64,
    inverse_b: f64,
}

/// An atom at fixed distances from K others.
#[derive(Debug, Clone, Copy)]
struct Star<const K: usize> {
    /// Number of its first constraint.
    first: usize,
    centre: usize,
    leaves: [usize; K],
    squares: [f64; K],
    inverse_centre: f64,
    inverse_leaves: [f64; K],
}

impl Constraints {
    pub(super) fn new(constraints: &[DistanceConstraint], masses: &[f64]) -> Result<Self> {
        let n_atoms = masses.len();
        for (idx, constraint) in constraints.iter().enumerate() {
            let [a, b] = constraint.atoms;
            let found = format!("{a}-{b} at {} nm", constraint.length_nm);
            if a >= n_atoms || b >= n_atoms || a == b {
                let expected = format!("two different atoms below {n_atoms}");
                return Err(Error::invalid("constraint", expected, found));
            }
            if !(constraint.length_nm > 0.0 && constraint.length_nm.is_finite()) {
                return Err(Error::invalid("constraint", "a positive length", found));
            }
            let repeated = |other: &DistanceConstraint| other.atoms == [a, b] || other.atoms == [b, a];
            if constraints[..idx].iter().any(repeated) {
                return Err(Error::invalid("constraints", "every pair of atoms once", found));
            }
        }
        let mut result = Self::default();
        for members in components(constraints, n_atoms) {
            let mut atoms: Vec<usize> = members.iter().flat_map(|&idx| constraints[idx].atoms).collect();
            atoms.sort_unstable();
            atoms.dedup();
            let centre = atoms
                .iter()
                .copied()
                .find(|atom| members.iter().all(|&idx| constraints[idx].atoms.contains(atom)));
            let first = result.all.len();
            for &idx in &members {
                let [mut a, mut b] = constraints[idx].atoms;
                if centre == Some(b) {
                    std::mem::swap(&mut a, &mut b);
                }
                let square = constraints[idx].length_nm.powi(2);
                result.all.push(Bond {
                    a,
                    b,
                    square,
                    inverse_a: 1.0 / masses[a],
                    inverse_b: 1.0 / masses[b],
                });
            }
            let bonds = &result.all[first..];
            match (centre, members.len()) {
                (Some(_), 1) => result.stars1.push(Star::new(first, bonds)),
                (Some(_), 2) => result.stars2.push(Star::new(first, bonds)),
                (Some(_), 3) => result.stars3.push(Star::new(first, bonds)),
                (Some(_), 4) => result.stars4.push(Star::new(first, bonds)),
                _ => result.general.push(first..first + members.len()),
            }
            result.clusters.push(atoms);
        }
        Ok(result)
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The atoms of each cluster.
    pub(super) fn clusters(&self) -> &[Vec<usize>] {
        &self.clusters
    }

    /// Numbers that [`Constraints::remember`] needs per block.
    pub(super) fn reference_len(&self) -> usize {
        self.all.len() * 3 * LANES
    }

    /// Stores the bond vectors x_b − x_a, along which the constraint forces of the next drift act.
    #[inline(always)]
    pub(super) fn remember(&self, x: &[f64], reference: &mut [f64]) {
        for (bond, reference) in self.all.iter().zip(reference.chunks_exact_mut(3 * LANES)) {
            let (a, b) = (&x[3 * LANES * bond.a..][..3 * LANES], &x[3 * LANES * bond.b..][..3 * LANES]);
            for idx in 0..3 * LANES {
                reference[idx] = b[idx] - a[idx];
            }
        }
    }

    /// Moves atoms along the remembered bond vectors so that all distances hold, and changes velocities
    /// by the same displacements divided by the duration of the drift.
    ///
    /// `violation` becomes at least the relative error of lanes in which some distance cannot be met.
    pub(super) fn shake(
        &self,
        x: &mut [f64],
        v: &mut [f64],
        reference: &[f64],
        inverse_duration: f64,
        violation: &mut [f64; LANES],
    ) {
        shake(self, x, v, reference, inverse_duration, violation);
    }

    /// Removes from velocities (or any vectors, as M⁻¹ F) what would change a distance.
    pub(super) fn project(&self, x: &[f64], v: &mut [f64]) {
        project(self, x, v);
    }

    /// Brings all distances to their lengths, by repeated SHAKE along the present bonds; otherwise the
    /// lane, relative error and atoms of a distance that cannot be met.
    pub(super) fn satisfy(&self, x: &mut [f64], n_used: usize) -> Option<(usize, f64, [usize; 2])> {
        let mut reference = vec![0.0; self.reference_len()];
        let mut unused = vec![0.0; x.len()];
        for _ in 0..10 {
            let mut violation = [0.0; LANES];
            self.remember(x, &mut reference);
            self.shake(x, &mut unused, &reference, 0.0, &mut violation);
            if violation[..n_used].iter().all(|error| *error <= TOLERANCE) {
                return None;
            }
        }
        (0..n_used).find_map(|lane| {
            let (error, atoms) = self.worst(x, lane)?;
            (error > TOLERANCE).then_some((lane, error, atoms))
        })
    }

    /// The worst relative error of a squared distance of one lane, and its atoms.
    pub(super) fn worst(&self, x: &[f64], lane: usize) -> Option<(f64, [usize; 2])> {
        let error = |bond: &Bond| {
            let square: f64 = (0..3)
                .map(|axis| {
                    (x[(3 * bond.b + axis) * LANES + lane] - x[(3 * bond.a + axis) * LANES + lane]).powi(2)
                })
                .sum();
            let error = (square / bond.square - 1.0).abs();
            (if error.is_nan() { f64::INFINITY } else { error }, [bond.a, bond.b])
        };
        self.all.iter().map(error).max_by(|p, q| p.0.total_cmp(&q.0))
    }
}

impl<const K: usize> Star<K> {
    fn new(first: usize, bonds: &[Bond]) -> Self {
        Self {
            first,
            centre: bonds[0].a,
            leaves: std::array::from_fn(|k| bonds[k].b),
            squares: std::array::from_fn(|k| bonds[k].square),
            inverse_centre: bonds[0].inverse_a,
            inverse_leaves: std::array::from_fn(|k| bonds[k].inverse_b),
        }
    }

    /// With forces λ_k along r_k: s_k(λ) = s_k + λ_k r_k/m_k + Σ_l λ_l r_l/m₀, and |s_k(λ)|² = d_k².
    ///
    /// Loops over lanes have long bodies, as the compiler turns those into vectors.
    #[inline(always)]
    fn shake(
        &self,
        x: &mut [f64],
        v: &mut [f64],
        reference: &[f64],
        inverse_duration: f64,
        violation: &mut [f64; LANES],
    ) {
        let r: [&Lanes3; K] = std::array::from_fn(|k| of(reference, self.first + k));
        let centre = *of(x, self.centre);
        let mut s: [Lanes3; K] = std::array::from_fn(|k| *of(x, self.leaves[k]));
        for s in &mut s {
            subtract(s, &centre);
        }
        let mut lambda = [[0.0; LANES]; K];
        let mut error = [0.0; LANES];
        for _ in 0..STAR_ITERATIONS {
            for lane in 0..LANES {
                let at = |s: &Lanes3| [s[lane], s[LANES + lane], s[2 * LANES + lane]];
                let rl: [[f64; 3]; K] = std::array::from_fn(|k| at(r[k]));
                let mut sl: [[f64; 3]; K] = std::array::from_fn(|k| at(&s[k]));
                let excess: [f64; K] = std::array::from_fn(|k| self.squares[k] - dot(&sl[k], &sl[k]));
                let mut worst = 0.0;
                for k in 0..K {
                    worst = larger(excess[k].abs() * (1.0 / self.squares[k]), worst);
                }
                error[lane] = worst;
                let matrix = std::array::from_fn(|k| {
                    std::array::from_fn(|l| {
                        let own = if k == l { self.inverse_leaves[k] } else { 0.0 };
                        dot(&sl[k], &rl[l]) * (2.0 * (self.inverse_centre + own))
                    })
                });
                let change: [f64; K] = solve(matrix, excess);
                for axis in 0..3 {
                    let mut common = 0.0;
                    for k in 0..K {
                        common += change[k] * rl[k][axis];
                    }
                    for k in 0..K {
                        sl[k][axis] +=
                            common * self.inverse_centre + change[k] * rl[k][axis] * self.inverse_leaves[k];
                        s[k][axis * LANES + lane] = sl[k][axis];
                    }
                }
                for k in 0..K {
                    lambda[k][lane] += change[k];
                }
            }
            if all_at_most(&error, LAST_STEP) {
                break;
            }
        }
        for lane in 0..LANES {
            let error = if error[lane] <= LAST_STEP { 0.0 } else { error[lane] };
            violation[lane] = larger(error, violation[lane]);
        }
        let mut recoil = [0.0; 3 * LANES];
        for k in 0..K {
            let inverse = self.inverse_leaves[k];
            let (x, v) = (of_mut(x, self.leaves[k]), of_mut(v, self.leaves[k]));
            for axis in 0..3 {
                for lane in 0..LANES {
                    let idx = axis * LANES + lane;
                    let push = lambda[k][lane] * r[k][idx];
                    recoil[idx] += push;
                    x[idx] += push * inverse;
                    v[idx] += push * (inverse * inverse_duration);
                }
            }
        }
        let (x, v) = (of_mut(x, self.centre), of_mut(v, self.centre));
        for idx in 0..3 * LANES {
            x[idx] -= recoil[idx] * self.inverse_centre;
            v[idx] -= recoil[idx] * (self.inverse_centre * inverse_duration);
        }
    }

    #[inline(always)]
    fn project(&self, x: &[f64], v: &mut [f64]) {
        let (x0, mut v0) = (of(x, self.centre), *of(v, self.centre));
        let xs: [&Lanes3; K] = std::array::from_fn(|k| of(x, self.leaves[k]));
        let mut vs: [Lanes3; K] = std::array::from_fn(|k| *of(v, self.leaves[k]));
        for lane in 0..LANES {
            let at = |s: &Lanes3| [s[lane], s[LANES + lane], s[2 * LANES + lane]];
            let (x0, u0) = (at(x0), at(&v0));
            let s: [[f64; 3]; K] = std::array::from_fn(|k| minus(at(xs[k]), x0));
            let rates = std::array::from_fn(|k| dot(&s[k], &minus(at(&vs[k]), u0)));
            let matrix = std::array::from_fn(|k| {
                std::array::from_fn(|l| {
                    let own = if k == l { self.inverse_leaves[k] } else { 0.0 };
                    dot(&s[k], &s[l]) * (self.inverse_centre + own)
                })
            });
            let lambda: [f64; K] = solve(matrix, rates);
            for axis in 0..3 {
                let mut recoil = 0.0;
                for k in 0..K {
                    let push = lambda[k] * s[k][axis];
                    recoil += push;
                    vs[k][axis * LANES + lane] -= push * self.inverse_leaves[k];
                }
                v0[axis * LANES + lane] += recoil * self.inverse_centre;
            }
        }
        *of_mut(v, self.centre) = v0;
        for k in 0..K {
            *of_mut(v, self.leaves[k]) = vs[k];
        }
    }
}

vectorised! {
    fn shake(
        constraints: &Constraints,
        x: &mut [f64],
        v: &mut [f64],
        reference: &[f64],
        inverse_duration: f64,
        violation: &mut [f64; LANES],
    ) {
        constraints.stars1.iter().for_each(|star| star.shake(x, v, reference, inverse_duration, violation));
        constraints.stars2.iter().for_each(|star| star.shake(x, v, reference, inverse_duration, violation));
        constraints.stars3.iter().for_each(|star| star.shake(x, v, reference, inverse_duration, violation));
        constraints.stars4.iter().for_each(|star| star.shake(x, v, reference, inverse_duration, violation));
        for range in &constraints.general {
            let mut error = [0.0; LANES];
            for _ in 0..GENERAL_ITERATIONS {
                error = [0.0; LANES];
                for idx in range.clone() {
                    constraints.all[idx].shake(x, v, of(reference, idx), inverse_duration, &mut error);
                }
                if all_at_most(&error, TOLERANCE) {
                    break;
                }
            }
            for lane in 0..LANES {
                let error = if error[lane] <= TOLERANCE { 0.0 } else { error[lane] };
                violation[lane] = larger(error, violation[lane]);
            }
        }
    }
}

vectorised! {
    fn project(constraints: &Constraints, x: &[f64], v: &mut [f64]) {
        constraints.stars1.iter().for_each(|star| star.project(x, v));
        constraints.stars2.iter().for_each(|star| star.project(x, v));
        constraints.stars3.iter().for_each(|star| star.project(x, v));
        constraints.stars4.iter().for_each(|star| star.project(x, v));
        for range in &constraints.general {
            for _ in 0..GENERAL_ITERATIONS {
                let mut error = [0.0; LANES];
                for idx in range.clone() {
                    constraints.all[idx].project(x, v, &mut error);
                }
                if all_at_most(&error, TOLERANCE) {
                    break;
                }
            }
        }
    }
}

impl Bond {
    #[inline(always)]
    fn shake(
        &self,
        x: &mut [f64],
        v: &mut [f64],
        r: &Lanes3,
        inverse_duration: f64,
        error: &mut [f64; LANES],
    ) {
        let (mut xa, mut xb) = (*of(x, self.a), *of(x, self.b));
        let (mut va, mut vb) = (*of(v, self.a), *of(v, self.b));
        for lane in 0..LANES {
            let at = |s: &Lanes3| [s[lane], s[LANES + lane], s[2 * LANES + lane]];
            let (r, s) = (at(r), minus(at(&xb), at(&xa)));
            let excess = dot(&s, &s) - self.square;
            error[lane] = larger(excess.abs() * (1.0 / self.square), error[lane]);
            let factor = excess / (dot(&s, &r) * (2.0 * (self.inverse_a + self.inverse_b)));
            for axis in 0..3 {
                let push = factor * r[axis];
                xa[axis * LANES + lane] += push * self.inverse_a;
                xb[axis * LANES + lane] -= push * self.inverse_b;
                va[axis * LANES + lane] += push * (self.inverse_a * inverse_duration);
                vb[axis * LANES + lane] -= push * (self.inverse_b * inverse_duration);
            }
        }
        *of_mut(x, self.a) = xa;
        *of_mut(x, self.b) = xb;
        *of_mut(v, self.a) = va;
        *of_mut(v, self.b) = vb;
    }

    /// `error` becomes at least the cosine between relative velocity and bond.
    #[inline(always)]
    fn project(&self, x: &[f64], v: &mut [f64], error: &mut [f64; LANES]) {
        let (xa, xb) = (of(x, self.a), of(x, self.b));
        let (mut va, mut vb) = (*of(v, self.a), *of(v, self.b));
        for lane in 0..LANES {
            let at = |s: &Lanes3| [s[lane], s[LANES + lane], s[2 * LANES + lane]];
            let (s, u) = (minus(at(xb), at(xa)), minus(at(&vb), at(&va)));
            let (rate, square) = (dot(&s, &u), dot(&s, &s));
            error[lane] = larger(rate.abs() / (square * dot(&u, &u) + 1e-200).sqrt(), error[lane]);
            let factor = rate / (square * (self.inverse_a + self.inverse_b));
            for axis in 0..3 {
                let push = factor * s[axis];
                va[axis * LANES + lane] += push * self.inverse_a;
                vb[axis * LANES + lane] -= push * self.inverse_b;
            }
        }
        *of_mut(v, self.a) = va;
        *of_mut(v, self.b) = vb;
    }
}

/// The three coordinates of an atom, or of a bond, in all lanes.
type Lanes3 = [f64; 3 * LANES];

#[inline(always)]
fn of(values: &[f64], idx: usize) -> &Lanes3 {
    values[3 * LANES * idx..].first_chunk().expect("coordinates of every atom")
}

#[inline(always)]
fn of_mut(values: &mut [f64], idx: usize) -> &mut Lanes3 {
    values[3 * LANES * idx..].first_chunk_mut().expect("coordinates of every atom")
}

#[inline(always)]
fn subtract(from: &mut Lanes3, other: &Lanes3) {
    from.iter_mut().zip(other).for_each(|(from, other)| *from -= other);
}

#[inline(always)]
fn minus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

#[inline(always)]
fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The larger of two numbers; NaN where one of them is.
#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    if a <= b || b.is_nan() { b } else { a }
}

#[inline(always)]
fn all_at_most(values: &[f64; LANES], limit: f64) -> bool {
    values.iter().fold(true, |all, value| all & (*value <= limit))
}

/// Gauss elimination without exchange of rows: the matrices are nearly symmetric and positive definite.
#[inline(always)]
fn solve<const K: usize>(mut matrix: [[f64; K]; K], mut right: [f64; K]) -> [f64; K] {
    let mut inverse = [0.0; K];
    for pivot in 0..K {
        inverse[pivot] = 1.0 / matrix[pivot][pivot];
        for row in pivot + 1..K {
            let factor = matrix[row][pivot] * inverse[pivot];
            for column in pivot + 1..K {
                matrix[row][column] -= factor * matrix[pivot][column];
            }
            right[row] -= factor * right[pivot];
        }
    }
    for row in (0..K).rev() {
        for column in row + 1..K {
            right[row] -= matrix[row][column] * right[column];
        }
        right[row] *= inverse[row];
    }
    right
}

/// Constraints that share atoms, directly or through others, by number.
fn components(constraints: &[DistanceConstraint], n_atoms: usize) -> Vec<Vec<usize>> {
    let mut group: Vec<usize> = (0..n_atoms).collect();
    fn root(group: &[usize], mut atom: usize) -> usize {
        while group[atom] != atom {
            atom = group[atom];
        }
        atom
    }
    for constraint in constraints {
        let [a, b] = constraint.atoms.map(|atom| root(&group, atom));
        group[a.max(b)] = a.min(b);
    }
    let mut found: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
    for (idx, constraint) in constraints.iter().enumerate() {
        found.entry(root(&group, constraint.atoms[0])).or_default().push(idx);
    }
    found.into_values().collect()
}
