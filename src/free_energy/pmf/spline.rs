//! Densities exp(−F(s)) with F a cubic spline, by maximum likelihood.
//!
//! ln p(s) = Σ_j a_j B_j(s) with uniform cubic B-splines (products of them in two dimensions). On a fine grid with
//! weights W_b per cell of volume v the coefficients maximise the quasi-likelihood of Poisson numbers,
//! Σ_b c_b [W_b ln p_b − v p_b], where c_b = Σw / Σ g w² of the samples around cell b converts weight to the number of
//! independent samples there: so a barrier that umbrella windows sampled well counts as such, although its weight is
//! e^(−F). For unweighted samples c is constant and this is the likelihood of the density itself. The problem is
//! convex; Newton's method with step halving solves it. The number of pieces is the one above that which minimises
//! Akaike's criterion −2 ln L + 2 parameters, among a few: at the minimum bias is as large as the statistical error,
//! which then does not cover it. Second differences of coefficients are held back with a strength of 10⁻³
//! samples, which matters only where there are none.

use nalgebra::{Cholesky, DMatrix, DVector};

use super::basis::Basis;
use super::{Axis, Binned};
use crate::error::{Error, Result};

/// Strength with which second differences are held back.
const RIDGE: f64 = 1e-3;
/// Cells along an axis, of one and of two.
const CELLS: [usize; 2] = [400, 60];
/// Numbers of pieces that are tried.
const PIECES: [&[usize]; 2] = [&[2, 4, 6, 8, 12, 16, 24, 32, 48, 64], &[2, 4, 6, 8, 12, 16]];

/// Samples in cells, and the spline of their full weights.
#[derive(Debug, Clone)]
pub(super) struct Spline {
    cells: Binned,
    volume: f64,
    /// c_b.
    per_weight: Vec<f64>,
    design: Design,
    coefficients: DVector<f64>,
    /// Values of the basis at the middles of the bins.
    at_bins: Vec<Vec<(usize, f64)>>,
    n_intervals: usize,
}

/// The basis at every cell.
#[derive(Debug, Clone)]
struct Design {
    n_coefficients: usize,
    rows: Vec<Vec<(usize, f64)>>,
    penalty: DMatrix<f64>,
}

impl Spline {
    pub(super) fn new(
        axes: &[Axis],
        values: &[f64],
        weights: &[f64],
        inefficiency_of: &[f64],
        n_intervals: Option<usize>,
    ) -> Result<Self> {
        if n_intervals
            .is_some_and(|n| n == 0 || n > PIECES[axes.len() - 1].iter().copied().fold(0, usize::max))
        {
            return Err(Error::invalid(
                "pieces of a spline",
                format!("1 to {}", PIECES[axes.len() - 1].iter().copied().fold(0, usize::max)),
                format!("{n_intervals:?}"),
            ));
        }
        let n_cells = CELLS[axes.len() - 1];
        let fine: Result<Vec<Axis>> =
            axes.iter().map(|axis| Axis::new(axis.low(), axis.high(), n_cells, axis.is_periodic())).collect();
        let cells = Binned::new(&fine?, values)?;
        let total: f64 = weights.iter().sum();
        let share = cells.sums(|n| weights[n] / total);
        let squares = cells.sums(|n| inefficiency_of[n] * (weights[n] / total).powi(2));
        let per_weight = samples_per_weight(cells.axes(), &share, &squares);
        let volume = cells.volumes()[0];
        let centers = cells.centers();
        let fit = |n: usize| {
            let design = Design::new(axes, &centers, n);
            let start = design.start(&share, &per_weight, volume);
            let (coefficients, likelihood) = design.maximize(start, &share, &per_weight, volume, 1e-7);
            (design, coefficients, likelihood)
        };
        let n_intervals = n_intervals.unwrap_or_else(|| {
            let candidates = PIECES[axes.len() - 1];
            let mut best = (f64::INFINITY, 0);
            for (index, n) in candidates.iter().enumerate() {
                let (design, _, likelihood) = fit(*n);
                let criterion = -2.0 * likelihood + 2.0 * design.n_coefficients as f64;
                if criterion < best.0 {
                    best = (criterion, index);
                } else if index > best.1 + 2 {
                    break;
                }
            }
            candidates[(best.1 + 1).min(candidates.len() - 1)]
        });
        if share.iter().sum::<f64>() == 0.0 {
            return Err(Error::invalid("samples of a spline", "some inside the axes", "none"));
        }
        let (design, coefficients, _) = fit(n_intervals);
        let bins = Binned::new(axes, &[])?.centers();
        let at_bins = Design::new(axes, &bins, n_intervals).rows;
        Ok(Self { cells, volume, per_weight, design, coefficients, at_bins, n_intervals })
    }

    pub(super) fn description(&self) -> String {
        format!("maximum-likelihood cubic spline of {} pieces per axis", self.n_intervals)
    }

    pub(super) fn evaluate(&self, weights: &[f64]) -> Vec<f64> {
        let total: f64 = weights.iter().sum();
        let share = self.cells.sums(|n| weights[n] / total);
        let start = self.coefficients.clone();
        let (coefficients, _) = self.design.maximize(start, &share, &self.per_weight, self.volume, 1e-4);
        self.at_bins.iter().map(|row| value(row, &coefficients).exp()).collect()
    }
}

fn value(row: &[(usize, f64)], coefficients: &DVector<f64>) -> f64 {
    row.iter().map(|(j, b)| b * coefficients[*j]).sum::<f64>().clamp(-700.0, 700.0)
}

impl Design {
    fn new(axes: &[Axis], points: &[Vec<f64>], n_intervals: usize) -> Self {
        let bases: Vec<Basis> = axes.iter().map(|axis| Basis::new(axis, n_intervals)).collect();
        let n_last = bases.last().map_or(1, Basis::n_coefficients);
        let row = |point: &Vec<f64>| match &bases[..] {
            [x, y] => {
                let ys = y.at(point[1]);
                x.at(point[0])
                    .iter()
                    .flat_map(|(i, a)| ys.iter().map(move |(j, b)| (i * n_last + j, a * b)))
                    .collect()
            }
            bases => bases[0].at(point[0]).to_vec(),
        };
        let n_coefficients = bases.iter().map(Basis::n_coefficients).product();
        let mut penalty = DMatrix::zeros(n_coefficients, n_coefficients);
        let mut add = |triple: [usize; 3]| {
            for (i, a) in triple.iter().zip([1.0, -2.0, 1.0]) {
                for (j, b) in triple.iter().zip([1.0, -2.0, 1.0]) {
                    penalty[(*i, *j)] += RIDGE * a * b;
                }
            }
        };
        match &bases[..] {
            [x, y] => {
                let (n_x, n_y) = (x.n_coefficients(), y.n_coefficients());
                for triple in x.triples() {
                    (0..n_y).for_each(|j| add(triple.map(|i| i * n_y + j)));
                }
                for triple in y.triples() {
                    (0..n_x).for_each(|i| add(triple.map(|j| i * n_y + j)));
                }
            }
            bases => bases[0].triples().into_iter().for_each(add),
        }
        // A trace of it on the coefficients themselves keeps planes finite.
        (0..n_coefficients).for_each(|i| penalty[(i, i)] += 1e-6 * RIDGE);
        Self { n_coefficients, rows: points.iter().map(row).collect(), penalty }
    }

    /// Least squares of ln(W/v), each cell counting its samples.
    fn start(&self, share: &[f64], per_weight: &[f64], volume: f64) -> DVector<f64> {
        let mut matrix = self.penalty.clone();
        let mut right = DVector::zeros(self.n_coefficients);
        for ((row, share), c) in self.rows.iter().zip(share).zip(per_weight) {
            if *share > 0.0 {
                let (count, target) = (share * c, (share / volume).ln());
                for (i, a) in row {
                    right[*i] += count * a * target;
                    row.iter().for_each(|(j, b)| matrix[(*i, *j)] += count * a * b);
                }
            }
        }
        Cholesky::new(matrix).map_or(right.clone(), |factor| factor.solve(&right))
    }

    fn likelihood(&self, a: &DVector<f64>, share: &[f64], per_weight: &[f64], volume: f64) -> f64 {
        let mut sum = -0.5 * a.dot(&(&self.penalty * a));
        for ((row, share), c) in self.rows.iter().zip(share).zip(per_weight) {
            let eta = value(row, a);
            sum += c * (share * eta - volume * eta.exp());
        }
        sum
    }

    /// Newton's method; ends when a full step would gain less than `tolerance`.
    fn maximize(
        &self,
        mut a: DVector<f64>,
        share: &[f64],
        per_weight: &[f64],
        volume: f64,
        tolerance: f64,
    ) -> (DVector<f64>, f64) {
        let mut likelihood = self.likelihood(&a, share, per_weight, volume);
        for _ in 0..60 {
            let mut hessian = self.penalty.clone();
            let mut gradient = -(&self.penalty * &a);
            for ((row, share), c) in self.rows.iter().zip(share).zip(per_weight) {
                let mass = volume * value(row, &a).exp();
                for (i, b) in row {
                    gradient[*i] += c * (share - mass) * b;
                }
                if c * mass > 1e-12 {
                    for (i, b) in row {
                        row.iter().for_each(|(j, d)| hessian[(*i, *j)] += c * mass * b * d);
                    }
                }
            }
            let Some(factor) = Cholesky::new(hessian) else { break };
            let step = factor.solve(&gradient);
            let gain = gradient.dot(&step);
            let mut length = 1.0;
            let better = loop {
                let trial = &a + &step * length;
                let at_trial = self.likelihood(&trial, share, per_weight, volume);
                if at_trial >= likelihood + 1e-4 * length * gain {
                    break Some((trial, at_trial));
                }
                length *= 0.5;
                if length < 1e-6 {
                    break None;
                }
            };
            let Some((trial, at_trial)) = better else { break };
            (a, likelihood) = (trial, at_trial);
            if gain < tolerance {
                break;
            }
        }
        (a, likelihood)
    }
}

/// c_b from the samples of cells around b: a window that grows until it has some.
fn samples_per_weight(axes: &[Axis], share: &[f64], squares: &[f64]) -> Vec<f64> {
    let n_columns = axes.get(1).map_or(1, Axis::n_bins);
    let n_rows = axes[0].n_bins();
    let reach = if axes.len() == 1 { 8 } else { 2 };
    let place = |axis: &Axis, i: usize, offset: isize| -> Option<usize> {
        let (n, at) = (axis.n_bins() as isize, i as isize + offset);
        if axis.is_periodic() {
            Some(at.rem_euclid(n) as usize)
        } else {
            (0..n).contains(&at).then_some(at as usize)
        }
    };
    let around = |cell: usize, reach: isize| {
        let (row, column) = (cell / n_columns, cell % n_columns);
        let mut sums = (0.0, 0.0);
        for i in (-reach..=reach).filter_map(|offset| place(&axes[0], row, offset)) {
            match axes.get(1) {
                Some(axis) => {
                    for j in (-reach..=reach).filter_map(|offset| place(axis, column, offset)) {
                        sums.0 += share[i * n_columns + j];
                        sums.1 += squares[i * n_columns + j];
                    }
                }
                None => sums = (sums.0 + share[i], sums.1 + squares[i]),
            }
        }
        sums
    };
    (0..n_rows * n_columns)
        .map(|cell| {
            let mut reach = reach;
            loop {
                let (share, squares) = around(cell, reach);
                if squares > 0.0 {
                    return share / squares;
                }
                if reach as usize > n_rows.max(n_columns) {
                    return 1.0;
                }
                reach *= 2;
            }
        })
        .collect()
}
