//! MBAR over all states of a data set, with enthalpies and entropies.

use super::{Dataset, Estimator, PathEstimate};
use crate::error::Result;
use crate::free_energy::{Mbar, ReducedEnergies};
use nalgebra::{DMatrix, DVector};

/// Enthalpies are left out where the weights of all samples in all states would fill more than this many numbers.
const MAX_WEIGHTS: usize = 40_000_000;

/// Energies of the samples that count, in the states that have energies.
pub(super) struct Multistate {
    /// u_kn.
    pub energies: ReducedEnergies,
    /// State of each row.
    pub rows: Vec<usize>,
    /// Sample of each column.
    pub samples: Vec<usize>,
    n_states: usize,
}

impl Multistate {
    /// Of a data set with energies of all samples in all states.
    pub fn new(data: &Dataset, counts: &[f64]) -> Result<Self> {
        let n_states = data.states.len();
        let rows: Vec<usize> = (0..n_states).filter(|k| !data.void_states.contains(k)).collect();
        let samples: Vec<usize> =
            data.samples_with_energies().into_iter().filter(|&n| counts[n] > 0.0).collect();
        let mut u = Vec::with_capacity(rows.len() * samples.len());
        for &state in &rows {
            let row = data.u_of_state(state);
            u.extend(samples.iter().map(|&n| row[n]));
        }
        let mut row_of = vec![0; n_states];
        rows.iter().enumerate().for_each(|(row, &state)| row_of[state] = row);
        let state_of = samples.iter().map(|&n| row_of[data.state_of[n]]).collect();
        let names = rows.iter().map(|&k| data.states[k].name.clone()).collect();
        let energies = ReducedEnergies::new(rows.len(), u, state_of)?.with_names(names)?;
        Ok(Self { energies, rows, samples, n_states })
    }

    /// Counts of the samples that are columns here.
    pub fn counts(&self, counts: &[f64]) -> Vec<f64> {
        self.samples.iter().map(|&n| counts[n]).collect()
    }

    /// Solves with samples counted as given.
    pub fn solve(&self, counts: &[f64]) -> Result<Mbar<'_>> {
        let counts = self.counts(counts);
        if counts.iter().all(|count| *count == 1.0) {
            return Mbar::new(&self.energies);
        }
        Mbar::weighted(&self.energies, counts)
    }

    /// f_last − f_first and its error, NaN and ∞ where these are not linked.
    pub fn total(&self, mbar: &Mbar) -> (f64, f64) {
        let ends = self.row(0).zip(self.row(self.n_states - 1));
        let estimate = ends.and_then(|(first, last)| mbar.difference(first, last));
        estimate.map_or((f64::NAN, f64::INFINITY), |estimate| (estimate.value, estimate.std_error))
    }

    /// Row of a state, unless it is void.
    pub fn row(&self, state: usize) -> Option<usize> {
        self.rows.iter().position(|&k| k == state)
    }

    /// All states; enthalpies and entropies where they are asked for.
    pub fn path(&self, mbar: &Mbar, counts: &[f64], with_enthalpies: bool) -> PathEstimate {
        let n = self.n_states;
        let (f, sigma, rows_covariance) =
            (mbar.free_energies_kt(), mbar.std_errors(), mbar.covariance_matrix());
        let unknown = (f64::NAN, f64::INFINITY);
        let pair = |i: usize, j: usize| match (self.row(i), self.row(j)) {
            (Some(i), Some(j)) if sigma[i][j].is_finite() => (f[j] - f[i], sigma[i][j]),
            _ => unknown,
        };
        let mut path = PathEstimate::empty(Estimator::Mbar);
        (path.delta_f, path.std_error) = (0..n).map(|i| if i == 0 { (0.0, 0.0) } else { pair(0, i) }).unzip();
        (path.steps, path.step_errors) = (0..n - 1).map(|i| pair(i, i + 1)).unzip();
        path.covariance = vec![f64::NAN; n * n];
        if self.row(0).is_some() {
            for (a, &i) in self.rows.iter().enumerate() {
                for (b, &j) in self.rows.iter().enumerate() {
                    path.covariance[i * n + j] = rows_covariance[a * self.rows.len() + b];
                }
            }
        }
        path.error_method = "asymptotic covariance".into();
        path.max_gradient = Some(mbar.certificate().residual);
        if with_enthalpies {
            self.enthalpies(mbar, counts, &mut path);
        }
        path
    }

    /// ⟨u_i⟩_i − ⟨u_0⟩_0 and T ΔS = ΔH − ΔF, with their asymptotic errors.
    ///
    /// With w the weights and x_i = w_i (u_i − ⟨u_i⟩), the variance of a difference of averages is |x_i − x_0|² +
    /// dᵀ L⁻ d, d_k = N_k w_k · (x_i − x_0), as for free energies with w in place of x; that of TΔS has x + w.
    fn enthalpies(&self, mbar: &Mbar, counts: &[f64], path: &mut PathEstimate) {
        let (n_rows, n_samples) = (self.rows.len(), self.samples.len());
        if self.rows.first() != Some(&0) || n_rows * n_samples > MAX_WEIGHTS {
            return;
        }
        let counts = self.counts(counts);
        let mut w = DMatrix::zeros(n_samples, n_rows);
        let mut x = DMatrix::zeros(n_samples, n_rows);
        let mut mean = vec![0.0; n_rows];
        for row in 0..n_rows {
            let (weights, u) = (mbar.weights(row), self.energies.row(row));
            mean[row] =
                weights.iter().zip(u.iter()).filter(|(w, _)| **w > 0.0).map(|(w, u)| w * u).sum::<f64>();
            for n in (0..n_samples).filter(|&n| weights[n] > 0.0) {
                let root = weights[n] / counts[n].sqrt();
                w[(n, row)] = root;
                x[(n, row)] = root * (u[n] - mean[row]);
            }
        }
        let (ww, wx, xx) = (w.tr_mul(&w), w.tr_mul(&x), x.tr_mul(&x));
        let mut sampled = vec![0.0; n_rows];
        for (column, count) in counts.iter().enumerate() {
            sampled[self.energies.state_of()[column]] += count;
        }
        let Some(laplacian) = inverse_laplacian(&ww, &sampled) else { return };
        let variance = |i: usize, with_free_energy: f64| {
            let (s, o) = (with_free_energy, 0);
            let gram = |a: usize, b: usize| xx[(a, b)] + s * (wx[(a, b)] + wx[(b, a)]) + s * s * ww[(a, b)];
            let d = DVector::from_fn(n_rows, |k, _| {
                sampled[k] * (wx[(k, i)] - wx[(k, o)] + s * (ww[(k, i)] - ww[(k, o)]))
            });
            (gram(i, i) + gram(o, o) - 2.0 * gram(i, o) + d.dot(&(&laplacian * &d))).max(0.0)
        };
        let empty = vec![f64::NAN; self.n_states];
        path.delta_h.clone_from(&empty);
        path.delta_h_error.clone_from(&empty);
        path.delta_ts.clone_from(&empty);
        path.delta_ts_error = empty;
        for (row, &state) in self.rows.iter().enumerate() {
            path.delta_h[state] = mean[row] - mean[0];
            path.delta_ts[state] = mean[row] - mean[0] - path.delta_f[state];
            path.delta_h_error[state] = if row == 0 { 0.0 } else { variance(row, 0.0).sqrt() };
            path.delta_ts_error[state] = if row == 0 { 0.0 } else { variance(row, 1.0).sqrt() };
        }
    }
}

/// Pseudoinverse of the Laplacian of shared samples s_ij = N_i N_j w_i · w_j; `None` when it falls apart.
fn inverse_laplacian(ww: &DMatrix<f64>, counts: &[f64]) -> Option<DMatrix<f64>> {
    let n = counts.len();
    let mut laplacian = DMatrix::zeros(n, n);
    for i in 0..n {
        for j in 0..i {
            let shared = counts[i] * counts[j] * ww[(i, j)];
            laplacian[(i, j)] = -shared;
            laplacian[(j, i)] = -shared;
            laplacian[(i, i)] += shared;
            laplacian[(j, j)] += shared;
        }
    }
    // Unsampled states have empty rows; one sampled state is grounded.
    let sampled: Vec<usize> = (0..n).filter(|&k| counts[k] > 0.0).collect();
    let inner = DMatrix::from_fn(sampled.len() - 1, sampled.len() - 1, |i, j| {
        laplacian[(sampled[i + 1], sampled[j + 1])]
    });
    let solved = if sampled.len() > 1 { inner.cholesky()?.inverse() } else { DMatrix::zeros(0, 0) };
    let mut inverse = DMatrix::zeros(n, n);
    for i in 1..sampled.len() {
        for j in 1..sampled.len() {
            inverse[(sampled[i], sampled[j])] = solved[(i - 1, j - 1)];
        }
    }
    Some(inverse)
}
