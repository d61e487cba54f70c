//! Correction maps U(φ, ψ): bicubic interpolation whose slopes at the grid points are those of periodic
//! cubic splines (MacKerell, Feig and Brooks 2004, as OpenMM does it).
//!
//! Few atoms have them, so the conformations of a block are taken one by one, in double precision.

use super::bonded::{Dihedral, Vector};
use super::lane::Lane;
use crate::force_field::parameters::{Cmap, CmapGrid};
use std::f64::consts::TAU;

/// Maps and the torsions that they correct.
pub struct Cmaps {
    terms: Vec<Cmap>,
    grids: Vec<Grid>,
}

/// Values, slopes along both angles and the mixed derivative at every point, per grid spacing.
struct Grid {
    size: usize,
    points: Vec<[f64; 4]>,
}

impl Cmaps {
    pub fn new(terms: &[Cmap], grids: &[CmapGrid]) -> Self {
        Self { terms: terms.to_vec(), grids: grids.iter().map(Grid::new).collect() }
    }

    /// Adds to the energies of each lane.
    #[inline(always)]
    pub fn accumulate<L: Lane, const FORCES: bool>(
        &self,
        x: &[Vector<L>],
        forces: &mut [Vector<L>],
        energies: &mut [f64],
    ) {
        for term in &self.terms {
            let pair = [Dihedral::new(term.first, x), Dihedral::new(term.second, x)];
            let mut angles = [[0.0; 16]; 2];
            for (dihedral, angles) in pair.iter().zip(&mut angles) {
                let (mut sin, mut cos) = ([0.0; 16], [0.0; 16]);
                dihedral.sin.to_f64(&mut sin);
                dihedral.cos.to_f64(&mut cos);
                for lane in 0..L::WIDTH {
                    angles[lane] = sin[lane].atan2(cos[lane]).rem_euclid(TAU);
                }
            }
            let mut slopes = [[0.0; 16]; 2];
            for lane in 0..L::WIDTH {
                let (value, slope) = self.grids[term.grid].value(angles[0][lane], angles[1][lane]);
                energies[lane] += value;
                (slopes[0][lane], slopes[1][lane]) = slope;
            }
            if FORCES {
                pair[0].push_forces(term.first, L::from_f64(&slopes[0]), forces);
                pair[1].push_forces(term.second, L::from_f64(&slopes[1]), forces);
            }
        }
    }
}

impl Grid {
    fn new(grid: &CmapGrid) -> Self {
        let n = grid.size;
        let along = |values: &[f64], first: bool| {
            let mut slopes = vec![0.0; n * n];
            for line in 0..n {
                let at = |k: usize| if first { k + n * line } else { line + n * k };
                let column: Vec<f64> = (0..n).map(|k| values[at(k)]).collect();
                for (k, slope) in periodic_spline_slopes(&column).into_iter().enumerate() {
                    slopes[at(k)] = slope;
                }
            }
            slopes
        };
        let first = along(&grid.energies, true);
        let second = along(&grid.energies, false);
        let mixed = along(&first, false);
        let points = (0..n * n).map(|k| [grid.energies[k], first[k], second[k], mixed[k]]).collect();
        Self { size: n, points }
    }

    /// U and its derivatives with respect to both angles in rad.
    fn value(&self, first: f64, second: f64) -> (f64, (f64, f64)) {
        let n = self.size;
        let cell = |angle: f64| {
            let position = angle / TAU * n as f64;
            let idx = (position.floor().max(0.0) as usize).min(n - 1);
            (idx, position - idx as f64)
        };
        let ((i, s), (j, t)) = (cell(first), cell(second));
        // Hermite polynomials: values and slopes at both ends.
        let basis = |t: f64| {
            [
                (1.0 + 2.0 * t) * (1.0 - t) * (1.0 - t),
                t * t * (3.0 - 2.0 * t),
                t * (1.0 - t) * (1.0 - t),
                t * t * (t - 1.0),
            ]
        };
        let slope = |t: f64| {
            [6.0 * t * (t - 1.0), 6.0 * t * (1.0 - t), (1.0 - t) * (1.0 - 3.0 * t), t * (3.0 * t - 2.0)]
        };
        let (a, b, da, db) = (basis(s), basis(t), slope(s), slope(t));
        let (mut value, mut d_first, mut d_second) = (0.0, 0.0, 0.0);
        for p in 0..2 {
            for q in 0..2 {
                let [u, u1, u2, u12] = self.points[(i + p) % n + n * ((j + q) % n)];
                let mut add = |a: f64, b: f64, da: f64, db: f64, c: f64| {
                    value += a * b * c;
                    d_first += da * b * c;
                    d_second += a * db * c;
                };
                add(a[p], b[q], da[p], db[q], u);
                add(a[2 + p], b[q], da[2 + p], db[q], u1);
                add(a[p], b[2 + q], da[p], db[2 + q], u2);
                add(a[2 + p], b[2 + q], da[2 + p], db[2 + q], u12);
            }
        }
        let per_radian = n as f64 / TAU;
        (value, (d_first * per_radian, d_second * per_radian))
    }
}

/// Slopes m of the periodic cubic spline through values at distance 1:
/// mₖ₋₁ + 4 mₖ + mₖ₊₁ = 3 (yₖ₊₁ − yₖ₋₁).
///
/// Gauss–Seidel contracts by a factor of three and more per sweep; 60 sweeps reach rounding.
fn periodic_spline_slopes(y: &[f64]) -> Vec<f64> {
    let n = y.len();
    let (before, after) = (|k: usize| (k + n - 1) % n, |k: usize| (k + 1) % n);
    let mut m = vec![0.0; n];
    for _ in 0..60 {
        for k in 0..n {
            m[k] = 0.25 * (3.0 * (y[after(k)] - y[before(k)]) - m[before(k)] - m[after(k)]);
        }
    }
    m
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smooth_map_is_interpolated_with_its_slopes() {
        let size = 24;
        let map = |a: f64, b: f64| (a - 0.3).sin() * (2.0 * b).cos() + 0.5 * b.sin();
        let angle = |k: usize| TAU * k as f64 / size as f64;
        let energies = (0..size * size).map(|k| map(angle(k % size), angle(k / size))).collect();
        let grid = Grid::new(&CmapGrid { size, energies });
        for (a, b) in [(0.1, 6.2), (3.0, 1.234), (6.27, 0.001), (5.0, 4.0)] {
            let (value, (d_a, d_b)) = grid.value(a, b);
            assert!((value - map(a, b)).abs() < 2e-4, "{value} {}", map(a, b));
            let h = 1e-5;
            let numeric = (grid.value(a + h, b).0 - grid.value(a - h, b).0) / (2.0 * h);
            assert!(
                (d_a - numeric).abs() < 1e-8
                    && (d_b + 2.0 * (a - 0.3).sin() * (2.0 * b).sin() - 0.5 * b.cos()).abs() < 4e-3
            );
        }
    }
}
