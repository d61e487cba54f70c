//! Lennard-Jones and Coulomb with a cutoff and a reaction field: U = qq (1/r + k r² − c), k and c such that
//! U vanishes at the cutoff (Tironi et al. 1995). Exceptions interact without either, as in OpenMM.
//!
//! All pairs are looked at: meant for molecules and small boxes.

use super::bonded::{Vector, dot, push, smallest_square, subtract};
use super::lane::Lane;
use super::tables::Cutoff;

#[inline(always)]
pub fn nonbonded<L: Lane, const FORCES: bool>(
    terms: &Cutoff<L::Scalar>,
    x: &[Vector<L>],
    forces: &mut [Vector<L>],
) -> L {
    let (one, two, six, twelve) = (L::constant(1.0), L::constant(2.0), L::constant(6.0), L::constant(12.0));
    let (field, shift, limit) =
        (L::splat(terms.reaction_field), L::splat(terms.shift), L::splat(terms.square));
    let mut energy = L::zero();
    for i in 0..x.len() {
        let mut excluded = terms.excluded[i].iter().peekable();
        let (charge, half_sigma) = (L::splat(terms.charges[i]), L::splat(terms.half_sigma[i]));
        let epsilon = L::splat(terms.epsilon[i]);
        let mut sum = L::zero();
        for j in i + 1..x.len() {
            if excluded.next_if(|partner| **partner == j).is_some() {
                continue;
            }
            let mut d = subtract(x[i], x[j]);
            if let Some(cell) = &terms.cell {
                for (d, [length, inverse]) in d.iter_mut().zip(cell) {
                    *d = nearest_image(*d, L::splat(*length), L::splat(*inverse));
                }
            }
            let square = dot(d, d).max(smallest_square());
            let within = square.less(limit);
            if !L::any(within) {
                continue;
            }
            let inverse = square.rsqrt();
            let inverse_square = inverse * inverse;
            let sigma = half_sigma + L::splat(terms.half_sigma[j]);
            let ratio = sigma * sigma * inverse_square;
            let sixth = ratio * ratio * ratio;
            let depth = epsilon * L::splat(terms.epsilon[j]);
            let mut lennard_jones = depth * sixth * (sixth - one);
            let mut slope = depth * sixth * (six - twelve * sixth) * inverse_square;
            if let Some([begin, per_width]) = terms.switching {
                // 1 − 10 x³ + 15 x⁴ − 6 x⁵ from the switching distance to the cutoff.
                let t = ((square * inverse - L::splat(begin)) * L::splat(per_width)).max(L::zero());
                let switch = one + t * t * t * (t * (L::constant(15.0) - six * t) - L::constant(10.0));
                let change = t
                    * t
                    * (t * (L::constant(60.0) - L::constant(30.0) * t) - L::constant(30.0))
                    * L::splat(per_width);
                slope = slope * switch + lennard_jones * change * inverse;
                lennard_jones = lennard_jones * switch;
            }
            let product = charge * L::splat(terms.charges[j]);
            let value = lennard_jones + product * (inverse + field * square - shift);
            let s = slope + product * (two * field - inverse * inverse_square);
            sum = sum + L::select(within, value, L::zero());
            if FORCES {
                let s = L::select(within, s, L::zero());
                push(&mut forces[i], -s, d);
                push(&mut forces[j], s, d);
            }
        }
        energy = energy + sum;
    }
    for (i, j, pair) in &terms.exceptions {
        let d = subtract(x[*i], x[*j]);
        let inverse = dot(d, d).max(smallest_square()).rsqrt();
        let inverse_square = inverse * inverse;
        let sixth = inverse_square * inverse_square * inverse_square;
        let (a, b, coulomb) = (L::splat(pair.a) * sixth, L::splat(pair.b), L::splat(pair.coulomb) * inverse);
        energy = energy + (a - b) * sixth + coulomb;
        if FORCES {
            let s = ((six * b - twelve * a) * sixth - coulomb) * inverse_square;
            push(&mut forces[*i], -s, d);
            push(&mut forces[*j], s, d);
        }
    }
    energy
}

/// Adding and subtracting 1.5 · 2ⁿ rounds to the nearest whole number.
#[inline(always)]
fn nearest_image<L: Lane>(d: L, length: L, inverse: L) -> L {
    let round = L::constant(if L::SINGLE { 12_582_912.0 } else { 6_755_399_441_055_744.0 });
    let images = (d * inverse + round) - round;
    d - images * length
}
