//! Lennard-Jones, Coulomb and generalised Born over all pairs, in three passes.
//!
//! 1. Every pair: Lennard-Jones and Coulomb, and its two descreening integrals
//!    H(r; ρ̃, s) = ½ [1/L − 1/U + ¼ (r − s²/r)(1/U² − 1/L²) + ½ ln(L/U)/r], U = r + s, L = max(ρ̃, |r − s|)
//!    (Hawkins, Cramer and Truhlar 1996), whose sums are the Iᵢ.
//! 2. Born radii from Iᵢ, then every pair's −C qq/f, and ∂U/∂Bᵢ.
//! 3. Forces of everything at once. Pass 1 leaves dH/dr of both directions and dU/dr of each pair behind, so
//!    the logarithms are taken once and forces are added up once. For large molecules, where this takes too much
//!    memory, each pass adds its forces, and the third is the first once more.
//!
//! Where neither sphere touches the other atom, H = ½ [s/(r² − s²) + ½ ln((r − s)/(r + s))/r]; with x = s/r
//! this is Σ k/(2k + 1) x²ᵏ⁺¹/r. In single precision it is a polynomial, one for x ≤ ¼ and one for x ≤ 0.6, of the
//! least relative error: neither logarithm nor division, and no cancellation.

use super::Factors;
use super::bonded::{Vector, dot, push, smallest_square, subtract};
use super::lane::Lane;
use super::tables::{AlchemicalInteraction, Born, GeneralizedBorn, NeckPair, Pair, Pairs, RowMemory, Tables};

/// Memory of the pair loops: what one pass leaves for the next.
pub struct PairMemory<L: Lane> {
    row: RowMemory<L::Scalar>,
    /// (dU/dr)/r, and (dH/dr)/r of the first and of the second atom; empty if they are not kept.
    pairs: Vec<Vector<L>>,
    /// Iᵢ in 1/nm.
    integrals: Vec<L>,
    /// Bᵢ in nm.
    radii: Vec<L>,
    inverse_radii: Vec<L>,
    /// ∂U/∂Bᵢ, then ∂U/∂Iᵢ.
    slopes: Vec<L>,
    /// Charges of the generalised-Born energy at each lane's λ.
    charges: Vec<L>,
}

impl<L: Lane> PairMemory<L> {
    pub fn new(tables: &Tables<L::Scalar>) -> Self {
        let n = tables.n_atoms;
        let per_atom = || vec![L::zero(); if tables.born.is_some() { n } else { 0 }];
        let keeps = tables.born.is_some() && tables.pairs.keeps_slopes;
        Self {
            row: RowMemory::new(&tables.pairs),
            pairs: vec![[L::zero(); 3]; if keeps { tables.pairs.count() } else { 0 }],
            integrals: per_atom(),
            radii: per_atom(),
            inverse_radii: per_atom(),
            slopes: per_atom(),
            charges: per_atom(),
        }
    }
}

/// H and dH/dr with every case.
#[inline(always)]
fn descreening_near<L: Lane>(
    r: L,
    inverse: L,
    offset_radius: L,
    scaled_radius: L,
    fills_engulfed: bool,
) -> (L, L) {
    let (zero, half, quarter) = (L::zero(), L::constant(0.5), L::constant(0.25));
    let upper = r + scaled_radius;
    let gap = r - scaled_radius;
    let reaches = offset_radius.less(gap.abs());
    let lower = L::select(reaches, gap.abs(), offset_radius);
    let (inverse_lower, inverse_upper) = (lower.reciprocal(), upper.reciprocal());
    let ratio = scaled_radius * inverse;
    let log = (lower * inverse_upper).ln() * inverse;
    let squares = inverse_upper * inverse_upper - inverse_lower * inverse_lower;
    let lens = quarter * (r - scaled_radius * ratio);
    let mut value = half * (inverse_lower - inverse_upper + lens.mul_add(squares, half * log));
    // ∂H/∂U and, for L = r − s, ∂H/∂L vanish identically, so only r itself counts. Inside the other sphere,
    // where L = s − r, ∂H/∂L dL/dr = 1/L² comes in.
    let one = L::constant(1.0);
    let mut slope = half * (quarter * ratio.mul_add(ratio, one) * squares - half * log * inverse);
    let inside = L::and(reaches, gap.less(zero));
    if L::any(inside) {
        if fills_engulfed {
            let full = L::select(inside, offset_radius.reciprocal() - inverse_lower, zero);
            value = value + full;
        } else {
            slope = slope + L::select(inside, inverse_lower * inverse_lower, zero);
        }
    }
    // An atom that swallows the other one's sphere is not descreened by it.
    let touched = (-upper).less(-offset_radius);
    (L::select(touched, value, zero), L::select(touched, slope, zero))
}

/// H and (dH/dr)/r where the spheres do not touch the other atom.
#[inline(always)]
fn descreening_apart<L: Lane>(r: L, square: L, inverse: L, scaled_radius: L) -> (L, L) {
    let (half, two) = (L::constant(0.5), L::constant(2.0));
    let between = (square - scaled_radius * scaled_radius).reciprocal();
    let gap = r - scaled_radius;
    let log = (gap * gap * between).ln() * inverse;
    let share = scaled_radius * between;
    let value = half * half.mul_add(log, share);
    // −2 r s/(r² − s²)² + s/(r (r² − s²)) − ½ ln/r²
    let slope = inverse * (share - half * log) - two * r * share * between;
    (value, half * slope * inverse)
}

/// The same in single precision from polynomials in (s/r)², highest power first, of H and of its slope.
#[inline(always)]
fn descreening_series<L: Lane, const N: usize>(
    inverse: L,
    inverse_square: L,
    scaled_radius: L,
    series: &[[f64; N]; 2],
) -> (L, L) {
    let x = scaled_radius * inverse;
    let square = x * x;
    let leading = square * x * inverse;
    let value = leading * horner(&series[0], square);
    let slope = -(leading * inverse_square) * horner(&series[1], square);
    (value, slope)
}

/// A polynomial, highest power first.
#[inline(always)]
fn horner<L: Lane, const N: usize>(coefficients: &[f64; N], z: L) -> L {
    let mut sum = L::constant(coefficients[0]);
    for c in &coefficients[1..] {
        sum = sum.mul_add(z, L::constant(*c));
    }
    sum
}

/// Σ k/(2k + 1) zᵏ⁻¹ and Σ k (2k + 2)/(2k + 1) zᵏ⁻¹ with relative errors below 6e-7 for z ≤ 1/16.
const FAR: [[f64; 4]; 2] = [
    [0.506_568_886, 0.426_080_434, 0.400_031_425, 0.333_333_272],
    [5.200_038_04, 3.398_214_85, 2.400_382_22, 1.333_332_59],
];

/// The same for z ≤ 0.36.
const APART: [[f64; 8]; 2] = [
    [
        2.555_285_2,
        -1.129_588_72,
        1.013_994_18,
        0.354_390_571,
        0.454_013_501,
        0.428_131_111,
        0.400_007_604,
        0.333_333_312,
    ],
    [
        55.418_786_3,
        -28.907_815_3,
        19.047_522_8,
        3.186_429_71,
        4.658_933_97,
        3.418_842_48,
        2.400_164_87,
        1.333_332_88,
    ],
];

/// The neck integral that class q gives to class p, and (d/dr)/r of it.
#[inline(always)]
fn neck<L: Lane>(r: L, inverse: L, constants: &NeckPair<L::Scalar>, within: L::Mask) -> (L, L) {
    let x = r - L::splat(constants.d0);
    let square = x * x;
    let fourth = square * square;
    let denominator =
        (fourth * square).mul_add(L::constant(0.3e6), square.mul_add(L::constant(100.0), L::constant(1.0)));
    let quotient = denominator.reciprocal();
    let value = L::select(within, L::splat(constants.m0) * quotient, L::zero());
    let slope = -(value * quotient) * x * fourth.mul_add(L::constant(1.8e6), L::constant(200.0)) * inverse;
    (value, slope)
}

/// Lennard-Jones and Coulomb without solvent.
#[inline(always)]
pub fn vacuum<L: Lane, const FORCES: bool>(
    pairs: &Pairs<L::Scalar>,
    x: &[Vector<L>],
    forces: &mut [Vector<L>],
    memory: &mut PairMemory<L>,
    energies: &mut [f64],
) {
    energies.fill(0.0);
    for i in 0..x.len() {
        let (head, tail) = forces.split_at_mut(i + 1);
        let row = pairs.row::<L>(i, &mut memory.row);
        let (xi, mut own, mut sum) = (x[i], [L::zero(); 3], L::zero());
        for ((pair, xj), force) in row.iter().zip(&x[i + 1..]).zip(tail) {
            let d = subtract(xi, *xj);
            let inverse = dot(d, d).max(smallest_square()).rsqrt();
            let (value, s) = pair_energy(pair, inverse, inverse * inverse);
            sum = sum + value;
            if FORCES {
                push(&mut own, -s, d);
                push(force, s, d);
            }
        }
        sum.add_to(energies);
        if FORCES {
            push(&mut head[i], L::constant(1.0), own);
        }
    }
}

/// Energy and (dU/dr)/r.
#[inline(always)]
fn pair_energy<L: Lane>(pair: &Pair<L::Scalar>, inverse: L, inverse_square: L) -> (L, L) {
    let sixth = inverse_square * inverse_square * inverse_square;
    let repulsion = L::splat(pair.a) * sixth;
    let attraction = L::splat(pair.b);
    let coulomb = L::splat(pair.coulomb) * inverse;
    let value = (repulsion - attraction).mul_add(sixth, coulomb);
    let twelve = L::constant(12.0);
    let slope = L::constant(6.0).mul_add(attraction * sixth, -(twelve * repulsion * sixth)) - coulomb;
    (value, slope * inverse_square)
}

/// What a pass does with its slopes: keeps them for the last pass, adds up the forces of its own energy, or those
/// that the change of Born radii exerts.
mod pass {
    pub const KEEPS: u8 = 0;
    pub const PUSHES: u8 = 1;
    pub const PUSHES_RADII: u8 = 2;
}

/// Everything between pairs in implicit solvent: Lennard-Jones and Coulomb, the generalised-Born energy and
/// the surface term, in kJ/mol by lane. Rows are summed in double precision.
#[inline(always)]
pub fn solvated<L: Lane, const FORCES: bool, const NECK: bool>(
    tables: &Tables<L::Scalar>,
    born: &GeneralizedBorn<L::Scalar>,
    factors: &Factors<L>,
    x: &[Vector<L>],
    forces: &mut [Vector<L>],
    memory: &mut PairMemory<L>,
    [nonbonded, polar, surface]: [&mut [f64]; 3],
) {
    nonbonded.fill(0.0);
    if tables.pairs.keeps_slopes {
        first_pass::<L, FORCES, NECK, { pass::KEEPS }>(tables, born, x, forces, memory, nonbonded);
    } else {
        first_pass::<L, FORCES, NECK, { pass::PUSHES }>(tables, born, x, forces, memory, nonbonded);
    }
    for (idx, charge) in memory.charges.iter_mut().enumerate() {
        let own = L::splat(tables.born_charges[idx]);
        let scaled = tables.scaled.as_ref().is_some_and(|scaled| scaled[idx]);
        *charge = if scaled { own * factors.charge } else { own };
    }
    let (own, area) = radii(born, memory, factors.polar, factors.surface);
    own.to_f64(polar);
    area.to_f64(surface);
    let scale = factors.polar;
    match (born.has_salt, tables.pairs.keeps_slopes) {
        (false, true) => {
            second_pass::<L, FORCES, false, { pass::KEEPS }>(born, x, forces, memory, scale, polar)
        }
        (true, true) => {
            second_pass::<L, FORCES, true, { pass::KEEPS }>(born, x, forces, memory, scale, polar)
        }
        (false, false) => {
            second_pass::<L, FORCES, false, { pass::PUSHES }>(born, x, forces, memory, scale, polar)
        }
        (true, false) => {
            second_pass::<L, FORCES, true, { pass::PUSHES }>(born, x, forces, memory, scale, polar)
        }
    }
    if FORCES {
        integrals_from_radii(born, memory);
        if tables.pairs.keeps_slopes {
            third_pass(x, forces, memory);
        } else {
            first_pass::<L, FORCES, NECK, { pass::PUSHES_RADII }>(tables, born, x, forces, memory, &mut []);
        }
    }
}

#[inline(always)]
fn first_pass<L: Lane, const FORCES: bool, const NECK: bool, const PASS: u8>(
    tables: &Tables<L::Scalar>,
    born: &GeneralizedBorn<L::Scalar>,
    x: &[Vector<L>],
    forces: &mut [Vector<L>],
    memory: &mut PairMemory<L>,
    energies: &mut [f64],
) {
    let n = x.len();
    let mut start = 0;
    memory.integrals.iter_mut().for_each(|integral| *integral = L::zero());
    for i in 0..n {
        let (head, tail) = memory.integrals.split_at_mut(i + 1);
        let row = tables.pairs.row::<L>(i, &mut memory.row);
        let n_kept = if PASS == pass::KEEPS { tail.len() } else { 0 };
        let kept = &mut memory.pairs[start..start + n_kept];
        start += n_kept;
        let (xi, own, mut force) = (x[i], &born.atoms[i], [L::zero(); 3]);
        let (offset_i, scaled_i) = (L::splat(own.offset_radius), L::splat(own.scaled_radius));
        let (mut sum, mut integral) = (L::zero(), L::zero());
        let others = born.atoms[i + 1..].iter().zip(&x[i + 1..]).zip(tail);
        for (k, (((other, xj), integral_j), pair)) in others.zip(row).enumerate() {
            let d = subtract(xi, *xj);
            let square = dot(d, d).max(smallest_square());
            let inverse = square.rsqrt();
            let inverse_square = inverse * inverse;
            let r = square * inverse;
            let (value, s) = pair_energy(pair, inverse, inverse_square);
            sum = sum + value;
            let (offset_j, scaled_j) = (L::splat(other.offset_radius), L::splat(other.scaled_radius));
            let (mut to_i, mut to_j, mut slope_i, mut slope_j);
            if L::SINGLE && !L::any(square.less(L::splat(pair.far))) {
                (to_i, slope_i) = descreening_series(inverse, inverse_square, scaled_j, &FAR);
                (to_j, slope_j) = descreening_series(inverse, inverse_square, scaled_i, &FAR);
            } else if L::SINGLE && !L::any(square.less(L::splat(pair.apart))) {
                (to_i, slope_i) = descreening_series(inverse, inverse_square, scaled_j, &APART);
                (to_j, slope_j) = descreening_series(inverse, inverse_square, scaled_i, &APART);
            } else if !L::any(square.less(L::splat(pair.apart))) {
                (to_i, slope_i) = descreening_apart(r, square, inverse, scaled_j);
                (to_j, slope_j) = descreening_apart(r, square, inverse, scaled_i);
            } else {
                let fills = born.fills_engulfed;
                (to_i, slope_i) = descreening_near(r, inverse, offset_i, scaled_j, fills);
                (to_j, slope_j) = descreening_near(r, inverse, offset_j, scaled_i, fills);
                slope_i = slope_i * inverse;
                slope_j = slope_j * inverse;
            }
            if NECK && let Some(necks) = &born.neck {
                let reach = L::splat(own.radius) + L::splat(other.radius) + L::splat(necks.cutoff);
                let within = r.less(reach);
                if L::any(within) {
                    let (p, q) = (necks.classes[i], necks.classes[i + 1 + k]);
                    let (value, slope) = neck(r, inverse, &necks.pairs[p * necks.n_classes + q], within);
                    to_i = to_i + value;
                    slope_i = slope_i + slope;
                    let (value, slope) = neck(r, inverse, &necks.pairs[q * necks.n_classes + p], within);
                    to_j = to_j + value;
                    slope_j = slope_j + slope;
                }
            }
            integral = integral + to_i;
            *integral_j = *integral_j + to_j;
            if FORCES && PASS == pass::KEEPS {
                kept[k] = [s, slope_i, slope_j];
            } else if FORCES {
                let s = match PASS {
                    pass::PUSHES => s,
                    _ => memory.slopes[i].mul_add(slope_i, memory.slopes[i + 1 + k] * slope_j),
                };
                push(&mut force, -s, d);
                push(&mut forces[i + 1 + k], s, d);
            }
        }
        if PASS != pass::PUSHES_RADII {
            sum.add_to(energies);
        }
        head[i] = head[i] + integral;
        if FORCES && PASS != pass::KEEPS {
            push(&mut forces[i], L::constant(1.0), force);
        }
    }
}

/// Born radii, and the energies of single atoms: −½ τ q²/B and the surface term.
#[inline(always)]
fn radii<L: Lane>(
    born: &GeneralizedBorn<L::Scalar>,
    memory: &mut PairMemory<L>,
    polar_scale: L,
    surface_scale: L,
) -> (L, L) {
    let (mut polar, mut surface) = (L::zero(), L::zero());
    let (inner, outer) = (L::splat(born.inner), L::splat(born.outer));
    for (idx, atom) in born.atoms.iter().enumerate() {
        let psi = memory.integrals[idx] * L::splat(atom.offset_radius);
        let t = (psi * polynomial(atom, psi)).tanh();
        // B = 1/(1/ρ̃ − t/ρ) loses nothing: t < 1 and ρ > ρ̃.
        let inverse = L::splat(atom.inverse_offset_radius) - t * L::splat(atom.inverse_radius);
        let radius = inverse.reciprocal();
        memory.inverse_radii[idx] = inverse;
        memory.radii[idx] = radius;
        let charge = memory.charges[idx];
        let half_square = L::constant(0.5) * charge * charge * polar_scale;
        let mut slope;
        if born.has_salt {
            let screened = outer * (-(L::splat(born.kappa) * radius)).exp();
            polar = polar - half_square * (inner - screened) * inverse;
            slope = half_square * inverse * ((inner - screened) * inverse - L::splat(born.kappa) * screened);
        } else {
            polar = polar - half_square * (inner - outer) * inverse;
            slope = half_square * (inner - outer) * inverse * inverse;
        }
        let square = inverse * inverse;
        let area = L::splat(atom.surface) * square * square * square * surface_scale;
        surface = surface + area;
        slope = slope - L::constant(6.0) * area * inverse;
        memory.slopes[idx] = slope;
    }
    (polar, surface)
}

/// α − β ψ + γ ψ²
#[inline(always)]
fn polynomial<L: Lane>(atom: &Born<L::Scalar>, psi: L) -> L {
    L::splat(atom.gamma).mul_add(psi, -L::splat(atom.beta)).mul_add(psi, L::splat(atom.alpha))
}

#[inline(always)]
fn second_pass<L: Lane, const FORCES: bool, const SALT: bool, const PASS: u8>(
    born: &GeneralizedBorn<L::Scalar>,
    x: &[Vector<L>],
    forces: &mut [Vector<L>],
    memory: &mut PairMemory<L>,
    polar_scale: L,
    energies: &mut [f64],
) {
    let n = x.len();
    let (inner, outer) = (L::splat(born.inner), L::splat(born.outer));
    let (half, quarter, one, two) = (L::constant(0.5), L::constant(0.25), L::constant(1.0), L::constant(2.0));
    let mut start = 0;
    for i in 0..n {
        let (head, slopes) = memory.slopes.split_at_mut(i + 1);
        let n_kept = if PASS == pass::KEEPS { slopes.len() } else { 0 };
        let kept = &mut memory.pairs[start..start + n_kept];
        start += n_kept;
        let (xi, radius_i, mut force) = (x[i], memory.radii[i], [L::zero(); 3]);
        let quarter_i = quarter * memory.inverse_radii[i];
        let charge_i = memory.charges[i] * polar_scale * if SALT { one } else { inner - outer };
        let (mut sum, mut slope) = (L::zero(), L::zero());
        let others = memory.radii[i + 1..]
            .iter()
            .zip(&memory.inverse_radii[i + 1..])
            .zip(&memory.charges[i + 1..])
            .zip(&x[i + 1..]);
        for (k, ((((radius_j, inverse_j), charge_j), xj), slope_j)) in
            others.zip(slopes.iter_mut()).enumerate()
        {
            let d = subtract(xi, *xj);
            let square = dot(d, d).max(smallest_square());
            let reduced = square * quarter_i * *inverse_j;
            let screen = (-reduced).exp();
            let inverse = (radius_i * *radius_j).mul_add(screen, square).rsqrt();
            let charges = charge_i * *charge_j;
            // U = −charges τ(f)/f, and h = dU/d(f²).
            let (value, h);
            if SALT {
                let f = (radius_i * *radius_j).mul_add(screen, square) * inverse;
                let screened = outer * (-(L::splat(born.kappa) * f)).exp();
                value = charges * (inner - screened) * inverse;
                let bare = charges * L::splat(born.kappa) * screened * inverse;
                h = half * (value * inverse * inverse - bare * inverse);
            } else {
                value = charges * inverse;
                h = half * value * inverse * inverse;
            }
            sum = sum - value;
            if FORCES {
                if PASS == pass::KEEPS {
                    kept[k][0] = h.mul_add(two - half * screen, kept[k][0]);
                } else {
                    let s = h * (two - half * screen);
                    push(&mut force, -s, d);
                    push(&mut forces[i + 1 + k], s, d);
                }
                let t = h * screen * (one + reduced);
                slope = t.mul_add(*radius_j, slope);
                *slope_j = t.mul_add(radius_i, *slope_j);
            }
        }
        sum.add_to(energies);
        head[i] = head[i] + slope;
        if FORCES && PASS != pass::KEEPS {
            push(&mut forces[i], L::constant(1.0), force);
        }
    }
}

/// ∂U/∂I = ∂U/∂B · B² (1 − t²)/ρ · (α − 2 β ψ + 3 γ ψ²) ρ̃
#[inline(always)]
fn integrals_from_radii<L: Lane>(born: &GeneralizedBorn<L::Scalar>, memory: &mut PairMemory<L>) {
    for (idx, atom) in born.atoms.iter().enumerate() {
        let offset = L::splat(atom.offset_radius);
        let psi = memory.integrals[idx] * offset;
        let t = (psi * polynomial(atom, psi)).tanh();
        let derivative = L::constant(3.0)
            .mul_add(L::splat(atom.gamma) * psi, -(L::constant(2.0) * L::splat(atom.beta)))
            .mul_add(psi, L::splat(atom.alpha));
        let radius = memory.radii[idx];
        let slope = radius * radius * (L::constant(1.0) - t * t) * L::splat(atom.inverse_radius);
        memory.slopes[idx] = memory.slopes[idx] * slope * derivative * offset;
    }
}

#[inline(always)]
fn third_pass<L: Lane>(x: &[Vector<L>], forces: &mut [Vector<L>], memory: &PairMemory<L>) {
    let mut start = 0;
    for i in 0..x.len() {
        let (head, tail) = forces.split_at_mut(i + 1);
        let kept = &memory.pairs[start..start + tail.len()];
        start += tail.len();
        let (xi, slope_i, mut own) = (x[i], memory.slopes[i], [L::zero(); 3]);
        let others = memory.slopes[i + 1..].iter().zip(&x[i + 1..]);
        for (((slope_j, xj), force), [s, to_i, to_j]) in others.zip(tail).zip(kept) {
            let d = subtract(xi, *xj);
            let total = slope_i.mul_add(*to_i, slope_j.mul_add(*to_j, *s));
            push(&mut own, -total, d);
            push(force, total, d);
        }
        push(&mut head[i], L::constant(1.0), own);
    }
}

/// The pairs whose interaction depends on λ: energy, and ∂U/∂λ of the soft-core part.
#[inline(always)]
pub fn alchemical<L: Lane, const FORCES: bool>(
    tables: &Tables<L::Scalar>,
    x: &[Vector<L>],
    forces: &mut [Vector<L>],
    lambda: L,
) -> (L, L) {
    let one = L::constant(1.0);
    let half = L::constant(0.5);
    let powers = [one, lambda, lambda * lambda];
    let (mut energy, mut derivative) = (L::zero(), L::zero());
    for pair in &tables.alchemical {
        let [i, j] = pair.atoms;
        let d = subtract(x[i], x[j]);
        let square = dot(d, d).max(smallest_square());
        let s;
        match &pair.kind {
            AlchemicalInteraction::Coulomb { coulomb, power } => {
                let inverse = square.rsqrt();
                let value = L::splat(*coulomb) * powers[*power] * inverse;
                energy = energy + value;
                s = -(value * inverse * inverse);
            }
            AlchemicalInteraction::SoftCore { inverse_sigma6, four_epsilon } => {
                let ratio = square * square * square * L::splat(*inverse_sigma6);
                let quotient = half.mul_add(one - lambda, ratio).reciprocal();
                let four_epsilon = L::splat(*four_epsilon);
                let full = four_epsilon * quotient * (quotient - one);
                // −d(full)/dw
                let steepness = four_epsilon * quotient * quotient * (L::constant(2.0) * quotient - one);
                energy = lambda.mul_add(full, energy);
                derivative = derivative + full + half * lambda * steepness;
                s = -(lambda * steepness * L::constant(6.0) * ratio * square.reciprocal());
            }
        }
        if FORCES {
            push(&mut forces[i], -s, d);
            push(&mut forces[j], s, d);
        }
    }
    (energy, derivative)
}
