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

use super::lanes::{Pack, Vector, WIDTH, dot};
use crate::error::{Error, Result};
use crate::force_field::DistanceConstraint;
use crate::potential::LANES;

/// Largest relative error of a squared distance at the end of a drift; of the distance it is half.
const TOLERANCE: f64 = 1e-10;
/// Newton converges in three iterations or not at all.
const STAR_ITERATIONS: usize = 30;
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
    #[inline(always)]
    pub(super) fn shake(
        &self,
        x: &mut [f64],
        v: &mut [f64],
        reference: &[f64],
        inverse_duration: f64,
        violation: &mut [f64; LANES],
    ) {
        for half in [0, WIDTH] {
            let mut worst = Pack::splat(0.0);
            macro_rules! each {
                ($($stars:ident)*) => {
                    $(for star in &self.$stars {
                        star.shake(x, v, reference, inverse_duration, half, &mut worst);
                    })*
                };
            }
            each!(stars1 stars2 stars3 stars4);
            for range in &self.general {
                self.shake_general(range.clone(), (x, v), reference, inverse_duration, half, &mut worst);
            }
            for lane in 0..WIDTH {
                // Not `max`, which forgets NaN.
                if !(worst.0[lane] <= violation[half + lane]) {
                    violation[half + lane] = worst.0[lane];
                }
            }
        }
    }

    #[inline(always)]
    fn shake_general(
        &self,
        range: std::ops::Range<usize>,
        (x, v): (&mut [f64], &mut [f64]),
        reference: &[f64],
        inverse_duration: f64,
        half: usize,
        worst: &mut Pack,
    ) {
        let mut error = Pack::splat(0.0);
        for _ in 0..GENERAL_ITERATIONS {
            error = Pack::splat(0.0);
            for idx in range.clone() {
                let bond = &self.all[idx];
                let r = vector(reference, idx, half);
                let s = difference(x, bond.b, bond.a, half);
                let excess = dot(&s, &s) - Pack::splat(bond.square);
                error = excess.scaled(1.0 / bond.square).abs_max(error);
                let slope = dot(&s, &r).scaled(2.0 * (bond.inverse_a + bond.inverse_b));
                let factor = excess * slope.reciprocal();
                for axis in 0..3 {
                    let push = factor * r[axis];
                    shift(x, bond.a, axis, half, push.scaled(bond.inverse_a));
                    shift(x, bond.b, axis, half, push.scaled(-bond.inverse_b));
                    shift(v, bond.a, axis, half, push.scaled(bond.inverse_a * inverse_duration));
                    shift(v, bond.b, axis, half, push.scaled(-bond.inverse_b * inverse_duration));
                }
            }
            if error.all_at_most(TOLERANCE) {
                return;
            }
        }
        *worst = error.abs_max(*worst);
    }

    /// Removes from velocities (or any vectors, as M⁻¹ F) what would change a distance.
    #[inline(always)]
    pub(super) fn project(&self, x: &[f64], v: &mut [f64]) {
        for half in [0, WIDTH] {
            macro_rules! each {
                ($($stars:ident)*) => { $(for star in &self.$stars { star.project(x, v, half); })* };
            }
            each!(stars1 stars2 stars3 stars4);
            for range in &self.general {
                for _ in 0..GENERAL_ITERATIONS {
                    let (mut error, mut scale) = (Pack::splat(0.0), Pack::splat(1e-300));
                    for idx in range.clone() {
                        let bond = &self.all[idx];
                        let s = difference(x, bond.b, bond.a, half);
                        let u = difference(v, bond.b, bond.a, half);
                        let rate = dot(&s, &u);
                        error = rate.abs_max(error);
                        scale = (dot(&u, &u).scaled(bond.square)).abs_max(scale);
                        let metric = dot(&s, &s).scaled(bond.inverse_a + bond.inverse_b);
                        let factor = rate * metric.reciprocal();
                        for axis in 0..3 {
                            let push = factor * s[axis];
                            shift(v, bond.a, axis, half, push.scaled(bond.inverse_a));
                            shift(v, bond.b, axis, half, push.scaled(-bond.inverse_b));
                        }
                    }
                    if (error * error * scale.reciprocal()).all_at_most(1e-20) {
                        break;
                    }
                }
            }
        }
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
    #[inline(always)]
    fn shake(
        &self,
        x: &mut [f64],
        v: &mut [f64],
        reference: &[f64],
        inverse_duration: f64,
        half: usize,
        worst: &mut Pack,
    ) {
        let r: [Vector; K] = std::array::from_fn(|k| vector(reference, self.first + k, half));
        let mut s: [Vector; K] = std::array::from_fn(|k| difference(x, self.leaves[k], self.centre, half));
        let mut lambda = [Pack::splat(0.0); K];
        let mut error = Pack::splat(0.0);
        for _ in 0..STAR_ITERATIONS {
            let excess: [Pack; K] = std::array::from_fn(|k| Pack::splat(self.squares[k]) - dot(&s[k], &s[k]));
            error = Pack::splat(0.0);
            for k in 0..K {
                error = excess[k].scaled(1.0 / self.squares[k]).abs_max(error);
            }
            if error.all_at_most(TOLERANCE) {
                break;
            }
            let matrix = std::array::from_fn(|k| {
                std::array::from_fn(|l| {
                    let own = if k == l { self.inverse_leaves[k] } else { 0.0 };
                    dot(&s[k], &r[l]).scaled(2.0 * (self.inverse_centre + own))
                })
            });
            let change = solve(matrix, excess);
            for axis in 0..3 {
                let mut common = Pack::splat(0.0);
                for k in 0..K {
                    common += change[k] * r[k][axis];
                }
                common = common.scaled(self.inverse_centre);
                for k in 0..K {
                    s[k][axis] += common + (change[k] * r[k][axis]).scaled(self.inverse_leaves[k]);
                }
            }
            for k in 0..K {
                lambda[k] += change[k];
            }
        }
        if !error.all_at_most(TOLERANCE) {
            *worst = error.abs_max(*worst);
        }
        for axis in 0..3 {
            let mut recoil = Pack::splat(0.0);
            for k in 0..K {
                let push = lambda[k] * r[k][axis];
                recoil += push;
                let push = push.scaled(self.inverse_leaves[k]);
                shift(x, self.leaves[k], axis, half, push);
                shift(v, self.leaves[k], axis, half, push.scaled(inverse_duration));
            }
            let recoil = recoil.scaled(-self.inverse_centre);
            shift(x, self.centre, axis, half, recoil);
            shift(v, self.centre, axis, half, recoil.scaled(inverse_duration));
        }
    }

    #[inline(always)]
    fn project(&self, x: &[f64], v: &mut [f64], half: usize) {
        let s: [Vector; K] = std::array::from_fn(|k| difference(x, self.leaves[k], self.centre, half));
        let rates = std::array::from_fn(|k| dot(&s[k], &difference(v, self.leaves[k], self.centre, half)));
        let matrix = std::array::from_fn(|k| {
            std::array::from_fn(|l| {
                let own = if k == l { self.inverse_leaves[k] } else { 0.0 };
                dot(&s[k], &s[l]).scaled(self.inverse_centre + own)
            })
        });
        let lambda: [Pack; K] = solve(matrix, rates);
        for axis in 0..3 {
            let mut recoil = Pack::splat(0.0);
            for k in 0..K {
                let push = lambda[k] * s[k][axis];
                recoil += push;
                shift(v, self.leaves[k], axis, half, push.scaled(-self.inverse_leaves[k]));
            }
            shift(v, self.centre, axis, half, recoil.scaled(self.inverse_centre));
        }
    }
}

/// Gauss elimination without exchange of rows: the matrices are nearly symmetric and positive definite.
#[inline(always)]
fn solve<const K: usize>(mut matrix: [[Pack; K]; K], mut right: [Pack; K]) -> [Pack; K] {
    let mut inverse = [Pack::splat(0.0); K];
    for pivot in 0..K {
        inverse[pivot] = matrix[pivot][pivot].reciprocal();
        for row in pivot + 1..K {
            let factor = matrix[row][pivot] * inverse[pivot];
            for column in pivot + 1..K {
                let product = factor * matrix[pivot][column];
                matrix[row][column] -= product;
            }
            let product = factor * right[pivot];
            right[row] -= product;
        }
    }
    for row in (0..K).rev() {
        for column in row + 1..K {
            let product = matrix[row][column] * right[column];
            right[row] -= product;
        }
        right[row] = right[row] * inverse[row];
    }
    right
}

#[inline(always)]
fn vector(values: &[f64], idx: usize, half: usize) -> Vector {
    let values = &values[3 * LANES * idx..][..3 * LANES];
    std::array::from_fn(|axis| Pack::load(&values[axis * LANES + half..]))
}

#[inline(always)]
fn difference(values: &[f64], to: usize, from: usize, half: usize) -> Vector {
    let (to, from) = (vector(values, to, half), vector(values, from, half));
    std::array::from_fn(|axis| to[axis] - from[axis])
}

#[inline(always)]
fn shift(values: &mut [f64], atom: usize, axis: usize, half: usize, by: Pack) {
    let values = &mut values[(3 * atom + axis) * LANES + half..][..WIDTH];
    (Pack::load(values) + by).store(values);
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
