//! The convex objective whose minimum is the MBAR solution, its derivatives, and its minimiser.
//!
//! L(f) = Σ_n c_n ln Σ_k N_k exp(f_k − u_kn) − Σ_k N_k f_k over the sampled states, where c_n is how
//! often sample n counts (1, or its multiplicity in a bootstrap resample). With the responsibilities
//! p_kn = N_k exp(f_k − u_kn) / Σ_j N_j exp(f_j − u_jn) the gradient is Σ_n c_n p_kn − N_k, and the
//! Hessian is the Laplacian of a graph with edges s_ij = Σ_n c_n p_in p_jn: the number of samples that
//! two states share. Only off-diagonal elements are summed, so that small overlaps keep their digits.

use super::ReducedEnergies;
use super::bennett;
use super::weights::{exp_nonpositive, log_sum_exp};
use crate::error::{Error, Result};
use nalgebra::{Cholesky, DMatrix, DMatrixView, DVector, Dyn};
use rayon::prelude::*;

/// Samples treated together: rows of this length stay in cache for a hundred states.
const BLOCK: usize = 256;
/// Partial sums, in a fixed number so that results do not depend on the number of threads.
const PARTS: usize = 64;
/// Longest step in one free energy before the objective has shown that longer ones are good, kT.
const FIRST_RADIUS: f64 = 10.0;

/// Residual above which self-consistent iterations are worth more than Newton steps.
const FAR: f64 = 0.5;

/// The samples as sums over blocks see them.
pub(super) struct Objective<'a> {
    pub energies: &'a ReducedEnergies,
    /// States with samples, in order.
    pub sampled: Vec<usize>,
    /// N_k of the sampled states, from the multiplicities.
    pub counts: Vec<f64>,
    pub multiplicity: Option<&'a [f64]>,
}

/// Value and derivatives at one f.
pub(super) struct Pass {
    value: f64,
    /// Σ_n c_n p_kn.
    pub responsibility: Vec<f64>,
    /// s_ij.
    pub shared: DMatrix<f64>,
}

/// Where the iteration ended.
pub(super) struct Minimum {
    pub f: Vec<f64>,
    pub pass: Pass,
    pub iterations: usize,
    pub residual: f64,
    pub step_kt: f64,
}

/// Ranges of samples, one per partial sum.
pub(super) fn parts(n_samples: usize) -> Vec<std::ops::Range<usize>> {
    let length = n_samples.div_ceil(PARTS).next_multiple_of(BLOCK);
    (0..n_samples.div_ceil(length)).map(|i| i * length..((i + 1) * length).min(n_samples)).collect()
}

/// Blocks of a part.
pub(super) fn blocks(part: std::ops::Range<usize>) -> impl Iterator<Item = std::ops::Range<usize>> {
    let end = part.end;
    part.step_by(BLOCK).map(move |start| start..(start + BLOCK).min(end))
}

impl<'a> Objective<'a> {
    pub fn new(energies: &'a ReducedEnergies, multiplicity: Option<&'a [f64]>) -> Self {
        let mut counts = vec![0.0; energies.n_states()];
        for (n, &state) in energies.state_of().iter().enumerate() {
            counts[state] += multiplicity.map_or(1.0, |c| c[n]);
        }
        let sampled: Vec<usize> = (0..counts.len()).filter(|&k| counts[k] > 0.0).collect();
        let counts = sampled.iter().map(|&k| counts[k]).collect();
        Self { energies, sampled, counts, multiplicity }
    }

    fn count_of_sample(&self, n: usize) -> f64 {
        self.multiplicity.map_or(1.0, |c| c[n])
    }

    /// Fills `p` (`[sampled state][sample of block]`) with responsibilities and `log_denominator`.
    ///
    /// Samples that count zero times and have no energy in any sampled state get zeros.
    pub fn responsibilities(
        &self,
        f: &[f64],
        block: std::ops::Range<usize>,
        p: &mut [f64],
        log_denominator: &mut [f64],
    ) {
        let len = block.len();
        let mut largest = [f64::NEG_INFINITY; BLOCK];
        for (k, row) in p.chunks_exact_mut(len).enumerate() {
            let offset = self.counts[k].ln() + f[k];
            let u = &self.energies.row(self.sampled[k])[block.clone()];
            for ((p, u), largest) in row.iter_mut().zip(u).zip(&mut largest) {
                *p = offset - u;
                *largest = if *p > *largest { *p } else { *largest };
            }
        }
        let mut sum = [0.0; BLOCK];
        for largest in &mut largest[..len] {
            *largest = if *largest == f64::NEG_INFINITY { 0.0 } else { *largest };
        }
        for row in p.chunks_exact_mut(len) {
            for (p, largest) in row.iter_mut().zip(&largest) {
                *p -= largest;
            }
            exp_nonpositive(row);
            for (sum, p) in sum.iter_mut().zip(&*row) {
                *sum += p;
            }
        }
        for ((log_denominator, largest), sum) in log_denominator.iter_mut().zip(&largest).zip(&sum) {
            *log_denominator = largest + sum.ln();
        }
        let mut inverse = [0.0; BLOCK];
        for (inverse, sum) in inverse.iter_mut().zip(&sum) {
            *inverse = if *sum > 0.0 { 1.0 / sum } else { 0.0 };
        }
        for row in p.chunks_exact_mut(len) {
            for (p, inverse) in row.iter_mut().zip(&inverse) {
                *p *= inverse;
            }
        }
    }

    /// ln Σ_k N_k exp(f_k − u_kn) for each sample.
    pub fn log_denominators(&self, f: &[f64]) -> Vec<f64> {
        let partial: Vec<Vec<f64>> = parts(self.energies.n_samples())
            .into_par_iter()
            .map(|part| {
                let mut values = vec![0.0; part.len()];
                let mut buffer = vec![0.0; self.sampled.len() * BLOCK];
                let start = part.start;
                for block in blocks(part) {
                    let out = &mut values[block.start - start..block.end - start];
                    let p = &mut buffer[..self.sampled.len() * block.len()];
                    self.responsibilities(f, block, p, out);
                }
                values
            })
            .collect();
        partial.concat()
    }

    /// −ln Σ_n c_n exp(−u_n) / Σ_k N_k exp(f_k − u_kn): the free energy of any potential.
    pub fn free_energy(&self, u_n: &[f64], log_denominator: &[f64]) -> f64 {
        let terms: Vec<f64> = u_n
            .iter()
            .zip(log_denominator)
            .enumerate()
            .map(|(n, (u, denominator))| match self.count_of_sample(n) {
                0.0 => f64::NEG_INFINITY,
                count => count.ln() - u - denominator,
            })
            .collect();
        -log_sum_exp(&terms)
    }

    /// The defining equations once; in logarithms, so that no start is too far away.
    fn self_consistent(&self, f: &[f64]) -> Vec<f64> {
        let log_denominator = self.log_denominators(f);
        let new = self.sampled.par_iter().map(|&k| self.free_energy(self.energies.row(k), &log_denominator));
        new.collect()
    }

    /// Value, gradient and shared samples.
    fn pass(&self, f: &[f64]) -> Pass {
        let n_sampled = self.sampled.len();
        let partial: Vec<Pass> = parts(self.energies.n_samples())
            .into_par_iter()
            .map(|part| {
                let mut pass = Pass {
                    value: 0.0,
                    responsibility: vec![0.0; n_sampled],
                    shared: DMatrix::zeros(n_sampled, n_sampled),
                };
                let mut buffer = vec![0.0; n_sampled * BLOCK];
                let mut log_denominator = [0.0; BLOCK];
                for block in blocks(part) {
                    let len = block.len();
                    let p = &mut buffer[..n_sampled * len];
                    self.responsibilities(f, block.clone(), p, &mut log_denominator[..len]);
                    match self.multiplicity {
                        None => pass.value += log_denominator[..len].iter().sum::<f64>(),
                        Some(c) => {
                            for (c, log_denominator) in c[block.clone()].iter().zip(&log_denominator) {
                                if *c > 0.0 {
                                    pass.value += c * log_denominator;
                                }
                            }
                        }
                    }
                    for (total, row) in pass.responsibility.iter_mut().zip(p.chunks_exact_mut(len)) {
                        match self.multiplicity {
                            None => *total += row.iter().sum::<f64>(),
                            Some(c) => {
                                for (p, c) in row.iter_mut().zip(&c[block.clone()]) {
                                    *total += c * *p;
                                    *p *= c.sqrt();
                                }
                            }
                        }
                    }
                    add_gram(&mut pass.shared, p, len);
                }
                pass
            })
            .collect();
        let mut partial = partial.into_iter();
        let mut total = partial.next().expect("there is at least one sample");
        for part in partial {
            total.value += part.value;
            total.responsibility.iter_mut().zip(&part.responsibility).for_each(|(sum, value)| *sum += value);
            total.shared += part.shared;
        }
        total.value -= self.counts.iter().zip(f).map(|(count, f)| count * f).sum::<f64>();
        total
    }

    /// max_k |Σ_n c_n p_kn / N_k − 1|: the gradient, relative to the samples of each state.
    fn residual(&self, pass: &Pass) -> f64 {
        pass.responsibility
            .iter()
            .zip(&self.counts)
            .map(|(r, count)| (r / count - 1.0).abs())
            .fold(0.0, f64::max)
    }

    /// Free energies of neighbouring sampled states by Bennett's ratio, where it has an answer.
    pub fn start(&self) -> Vec<f64> {
        let steps: Vec<f64> = self
            .sampled
            .par_windows(2)
            .map(|pair| {
                let (ahead, back) =
                    (self.energies.work(pair[0], pair[1]), self.energies.work(pair[1], pair[0]));
                let delta = bennett::root(&ahead, &back, (ahead.len() as f64 / back.len() as f64).ln());
                if delta.is_finite() { delta } else { 0.0 }
            })
            .collect();
        let mut f = vec![0.0; self.sampled.len()];
        for (k, step) in steps.iter().enumerate() {
            f[k + 1] = f[k] + step;
        }
        f
    }

    /// A few self-consistent iterations, then Newton's method with a line search.
    ///
    /// To polish is to go on below the tolerance while steps still halve the gradient.
    pub fn minimize(
        &self,
        mut f: Vec<f64>,
        tolerance: f64,
        max_iterations: usize,
        polish: bool,
    ) -> Result<Minimum> {
        let mut pass = self.pass(&f);
        for _ in 0..3 {
            if self.residual(&pass) < FAR {
                break;
            }
            f = self.self_consistent(&f);
            pass = self.pass(&f);
        }
        let mut residual = self.residual(&pass);
        let (mut radius, mut step_kt) = (FIRST_RADIUS, 0.0);
        let mut iterations = 0;
        while iterations < max_iterations && (polish || residual > tolerance) {
            iterations += 1;
            let gradient: Vec<f64> =
                pass.responsibility.iter().zip(&self.counts).map(|(r, n)| r - n).collect();
            let mut direction = newton_direction(&pass.shared, &gradient, radius);
            let length = direction.iter().fold(0.0_f64, |max, d| max.max(d.abs()));
            if length > radius {
                direction.iter_mut().for_each(|d| *d *= radius / length);
            }
            let slope: f64 = direction.iter().zip(&gradient).map(|(d, g)| d * g).sum();
            let mut scale = 1.0;
            let mut accepted = None;
            while scale > 1e-9 {
                let trial: Vec<f64> = f.iter().zip(&direction).map(|(f, d)| f + scale * d).collect();
                let trial_pass = self.pass(&trial);
                let trial_residual = self.residual(&trial_pass);
                // Near the minimum the objective no longer resolves the step, but the gradient does.
                if trial_pass.value <= pass.value + 1e-4 * scale * slope || trial_residual < residual {
                    accepted = Some((trial, trial_pass, trial_residual));
                    break;
                }
                if residual <= tolerance {
                    break;
                }
                scale *= 0.5;
            }
            let Some((trial, trial_pass, trial_residual)) = accepted else { break };
            step_kt = scale * length.min(radius);
            if scale == 1.0 && length > 0.3 * radius {
                radius *= 4.0;
            } else if scale < 1.0 {
                radius = (2.0 * scale * length.min(radius)).max(FIRST_RADIUS);
            }
            let progress = trial_residual / residual;
            (f, pass, residual) = (trial, trial_pass, trial_residual);
            if residual > FAR {
                // Where the objective is all kinks, between states without overlap, Newton's method
                // zigzags; the self-consistent step never ascends and jumps over any distance.
                f = self.self_consistent(&f);
                pass = self.pass(&f);
                residual = self.residual(&pass);
            }
            if residual <= tolerance && (!polish || progress > 0.5 || residual <= 1e-4 * tolerance) {
                break;
            }
        }
        if residual > tolerance {
            return Err(Error::NotConverged { method: "MBAR", iterations, residual, tolerance });
        }
        Ok(Minimum { f, pass, iterations, residual, step_kt })
    }
}

/// Adds p pᵀ, with p stored `[row][sample]`.
///
/// The transposed copy is deliberate: with nalgebra 0.35 a strided view of fewer than six rows ended in
/// a corrupted heap, and the copy costs little beside the product.
pub(super) fn add_gram(gram: &mut DMatrix<f64>, p: &[f64], len: usize) {
    let n_rows = p.len() / len;
    let by_sample = DMatrixView::from_slice(p, len, n_rows);
    gram.gemm(1.0, &by_sample.transpose(), &by_sample, 1.0);
}

/// The Laplacian of a graph without its first row and column, factorised.
///
/// `damping` is added to the diagonal.
pub(super) fn grounded_laplacian(
    shared: &DMatrix<f64>,
    members: &[usize],
    damping: f64,
) -> Option<Cholesky<f64, Dyn>> {
    let rest = &members[1..];
    let mut laplacian = DMatrix::zeros(rest.len(), rest.len());
    for (row, &i) in rest.iter().enumerate() {
        for (column, &j) in rest.iter().enumerate() {
            laplacian[(row, column)] = -shared[(i, j)];
        }
        let degree: f64 = members.iter().filter(|&&j| j != i).map(|&j| shared[(i, j)]).sum();
        laplacian[(row, row)] = degree + damping;
    }
    Cholesky::new(laplacian)
}

/// −(H + λ)⁻¹ g with the first free energy held.
///
/// λ = max |g| / radius keeps a step from leaving the radius where states share nothing and H is all
/// rounding; it vanishes with the gradient, so that the convergence stays quadratic.
fn newton_direction(shared: &DMatrix<f64>, gradient: &[f64], radius: f64) -> Vec<f64> {
    let members: Vec<usize> = (0..gradient.len()).collect();
    let right = DVector::from_iterator(gradient.len() - 1, gradient[1..].iter().map(|g| -g));
    let largest = gradient.iter().fold(0.0_f64, |max, g| max.max(g.abs()));
    let trace: f64 = (0..gradient.len()).map(|i| shared.row(i).sum() - shared[(i, i)]).sum();
    let mut damping = largest / radius + 1e-15 * trace + f64::MIN_POSITIVE;
    for _ in 0..20 {
        if let Some(cholesky) = grounded_laplacian(shared, &members, damping) {
            let solution = cholesky.solve(&right);
            if solution.iter().all(|d| d.is_finite()) {
                return [&[0.0], solution.as_slice()].concat();
            }
        }
        damping *= 100.0;
    }
    vec![0.0; gradient.len()]
}
