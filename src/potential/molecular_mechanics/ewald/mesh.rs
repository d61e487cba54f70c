//! The reciprocal sum on a mesh: smooth particle-mesh Ewald (Essmann et al. 1995) with B-splines of order 5.
//!
//! U = ½ Σ_{m ≠ 0} C exp(−π² m²/α²)/(π V m²) B(m) |F[Q](m)|², Q being the charges spread on the mesh and F the
//! discrete Fourier transform. The mean field of a net charge is not in it.

use std::f64::consts::PI;
use std::sync::Arc;

use rayon::prelude::*;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use super::cell::Cell;

const ORDER: usize = 5;

/// Everything that does not depend on the box.
pub struct Mesh {
    n: [usize; 3],
    alpha: f64,
    forward: [Arc<dyn Fft<f64>>; 3],
    backward: [Arc<dyn Fft<f64>>; 3],
    /// |Σ M₅(k + 1) exp(2πi m k/n)|² for each axis and m.
    moduli: [Vec<f64>; 3],
}

/// Where an atom's charge goes along each axis, and with which weights.
#[derive(Clone, Copy, Default)]
struct Spread {
    first: [usize; 3],
    weights: [[f64; ORDER]; 3],
    slopes: [[f64; ORDER]; 3],
}

/// Memory of the reciprocal sum.
#[derive(Default)]
pub struct MeshMemory {
    grid: Vec<Complex<f64>>,
    turned: Vec<Complex<f64>>,
    spread: Vec<Spread>,
}

impl Mesh {
    /// A mesh of `n` points along the box vectors.
    pub fn new(n: [usize; 3], alpha: f64) -> Self {
        let mut planner = FftPlanner::new();
        Self {
            n,
            alpha,
            forward: n.map(|n| planner.plan_fft_forward(n)),
            backward: n.map(|n| planner.plan_fft_inverse(n)),
            moduli: n.map(moduli),
        }
    }

    /// Points along each axis.
    #[cfg(test)]
    pub fn points(&self) -> [usize; 3] {
        self.n
    }

    /// The energy in kJ/mol of charges √C q; forces are added to `forces`, if there are any.
    pub fn energy(
        &self,
        charges: &[f64],
        cell: &Cell,
        x: &[[f64; 3]],
        forces: Option<&mut [[f64; 3]]>,
        memory: &mut MeshMemory,
    ) -> f64 {
        let [_, ny, nz] = self.n;
        let n_points = self.n.iter().product();
        let MeshMemory { grid, turned, spread } = memory;
        spread.resize(x.len(), Spread::default());
        spread.par_iter_mut().zip(x).for_each(|(spread, x)| *spread = self.spread(cell, *x));

        grid.clear();
        grid.resize(n_points, Complex::default());
        turned.resize(n_points, Complex::default());
        for (spread, charge) in spread.iter().zip(charges) {
            for (i, weight) in self.points_of(spread, 0).into_iter().zip(spread.weights[0]) {
                for (j, other) in self.points_of(spread, 1).into_iter().zip(spread.weights[1]) {
                    let (row, weight) = ((i * ny + j) * nz, charge * weight * other);
                    for (k, last) in self.points_of(spread, 2).into_iter().zip(spread.weights[2]) {
                        grid[row + k].re += weight * last;
                    }
                }
            }
        }
        transform(grid, turned, self.n, &self.forward);
        let energy = self.convolve(cell, grid);
        let Some(forces) = forces else { return energy };
        transform(grid, turned, self.n, &self.backward);
        let grid = &*grid;
        forces.par_iter_mut().zip(spread).zip(charges).for_each(|((force, spread), charge)| {
            let mut slope = [0.0; 3];
            let planes = self.points_of(spread, 0);
            let rows = self.points_of(spread, 1);
            let columns = self.points_of(spread, 2);
            for a in 0..ORDER {
                for b in 0..ORDER {
                    let row = (planes[a] * ny + rows[b]) * nz;
                    let (mut value, mut along) = (0.0, 0.0);
                    for c in 0..ORDER {
                        let potential = grid[row + columns[c]].re;
                        value += spread.weights[2][c] * potential;
                        along += spread.slopes[2][c] * potential;
                    }
                    slope[0] += spread.slopes[0][a] * spread.weights[1][b] * value;
                    slope[1] += spread.weights[0][a] * spread.slopes[1][b] * value;
                    slope[2] += spread.weights[0][a] * spread.weights[1][b] * along;
                }
            }
            for (axis, force) in force.iter_mut().enumerate() {
                let gradient: f64 = (0..3).map(|k| cell.inverse[axis][k] * self.n[k] as f64 * slope[k]).sum();
                *force -= charge * gradient;
            }
        });
        energy
    }

    fn points_of(&self, spread: &Spread, axis: usize) -> [usize; ORDER] {
        let n = self.n[axis];
        std::array::from_fn(|point| {
            let index = spread.first[axis] + point;
            if index < n { index } else { index - n }
        })
    }

    /// Cardinal B-splines at the mesh points about an atom, by their recursion.
    fn spread(&self, cell: &Cell, x: [f64; 3]) -> Spread {
        let s = cell.fractional(x);
        let mut spread = Spread::default();
        for axis in 0..3 {
            let at = s[axis] * self.n[axis] as f64;
            let first = (at as usize).min(self.n[axis] - 1);
            spread.first[axis] = first;
            (spread.weights[axis], spread.slopes[axis]) = splines(at - first as f64);
        }
        spread
    }

    /// Multiplies by the influence function; half of the sum of what it weighs is the energy.
    fn convolve(&self, cell: &Cell, grid: &mut [Complex<f64>]) -> f64 {
        let [nx, ny, nz] = self.n;
        let exponent = PI * PI / (self.alpha * self.alpha);
        let r = &cell.inverse;
        let frequency = |k: usize, n: usize| if k < n.div_ceil(2) { k as f64 } else { k as f64 - n as f64 };
        let energies: Vec<f64> = (grid.par_chunks_mut(ny * nz).enumerate())
            .map(|(i, plane)| {
                let mut energy = 0.0;
                let mx = frequency(i, nx);
                for (j, row) in plane.chunks_exact_mut(nz).enumerate() {
                    let my = frequency(j, ny);
                    let x = mx * r[0][0];
                    let y = mx * r[1][0] + my * r[1][1];
                    let partial = PI * cell.volume * self.moduli[0][i] * self.moduli[1][j];
                    for (k, value) in row.iter_mut().enumerate() {
                        let z = mx * r[2][0] + my * r[2][1] + frequency(k, nz) * r[2][2];
                        let square = x * x + y * y + z * z;
                        if i + j + k == 0 {
                            *value = Complex::default();
                            continue;
                        }
                        let weight = (-exponent * square).exp() / (square * partial * self.moduli[2][k]);
                        energy += weight * value.norm_sqr();
                        *value *= weight;
                    }
                }
                energy
            })
            .collect();
        debug_assert_eq!(energies.len(), nx);
        0.5 * energies.iter().sum::<f64>()
    }
}

/// M₅ at w, w + 1, … w + 4, counted from the last, and its slope, 0 ≤ w < 1.
fn splines(w: f64) -> ([f64; ORDER], [f64; ORDER]) {
    let mut values = [0.0; ORDER];
    (values[0], values[1]) = (1.0 - w, w);
    let raise = |values: &mut [f64; ORDER], order: usize| {
        let per_order = 1.0 / (order - 1) as f64;
        for k in (0..order).rev() {
            let from_left = if k > 0 { (w + (order - 1 - k) as f64) * values[k - 1] } else { 0.0 };
            let own = if k < order - 1 { (k as f64 + 1.0 - w) * values[k] } else { 0.0 };
            values[k] = per_order * (from_left + own);
        }
    };
    raise(&mut values, 3);
    raise(&mut values, 4);
    let slopes = std::array::from_fn(|k| {
        let left = if k > 0 { values[k - 1] } else { 0.0 };
        left - if k < ORDER - 1 { values[k] } else { 0.0 }
    });
    raise(&mut values, 5);
    (values, slopes)
}

/// |Σ M₅(k + 1) exp(2πi m k/n)|²; where it vanishes, the mean of its neighbours (at m = n/2 for even n).
fn moduli(n: usize) -> Vec<f64> {
    let (values, _) = splines(0.0);
    let mut moduli: Vec<f64> = (0..n)
        .map(|m| {
            let sum: Complex<f64> = (values.iter().enumerate())
                .map(|(k, value)| Complex::from_polar(*value, 2.0 * PI * (m * k) as f64 / n as f64))
                .sum();
            sum.norm_sqr()
        })
        .collect();
    for m in 1..n.saturating_sub(1) {
        if moduli[m] < 1e-7 {
            moduli[m] = 0.5 * (moduli[m - 1] + moduli[m + 1]);
        }
    }
    moduli
}

/// A transform over three axes: each time along the last one, which then becomes the first; after three
/// times the order is the old one.
fn transform(
    grid: &mut Vec<Complex<f64>>,
    turned: &mut Vec<Complex<f64>>,
    n: [usize; 3],
    plans: &[Arc<dyn Fft<f64>>; 3],
) {
    for axis in [2, 1, 0] {
        let (length, plan) = (n[axis], &plans[axis]);
        let n_rows = grid.len() / length;
        grid.par_chunks_mut(length * n_rows.div_ceil(16)).for_each_init(
            || vec![Complex::default(); plan.get_inplace_scratch_len()],
            |scratch, rows| plan.process_with_scratch(rows, scratch),
        );
        let source = &*grid;
        turned.par_chunks_mut(4 * n_rows).enumerate().for_each(|(block, rows)| {
            let width = rows.len() / n_rows;
            for row in 0..n_rows {
                let values = &source[row * length + 4 * block..][..width];
                values.iter().enumerate().for_each(|(k, value)| rows[k * n_rows + row] = *value);
            }
        });
        std::mem::swap(grid, turned);
    }
}
