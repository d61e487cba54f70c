//! The minimum of the MBAR objective: Newton's method with a line search, from a start on a few samples.
//!
//! A sweep over all samples is what costs time. The start is therefore sought on about a hundred
//! samples of each state (Bennett's ratio between neighbours, then Newton's method), improved on an
//! eighth of all, and only then are all samples summed. Newton's method converges quadratically, so the
//! error of a step is about its length times the strain since its Hessian was taken; as long as
//! that is small an old Hessian serves, and the sweep brings only the gradient.

use super::covariance::grounded_laplacian;
use super::objective::{Objective, Order, Pass, Position};
use crate::error::{Error, Result};
use crate::free_energy::bennett;
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;
use std::ops::Range;

/// Longest step in one free energy before the objective has shown that longer ones are good, kT.
const FIRST_RADIUS: f64 = 10.0;
/// Residual above which self-consistent iterations are worth more than Newton steps.
const FAR: f64 = 0.5;
/// Strain in kT over which a Hessian still serves.
const REACH: f64 = 2e-3;
/// Strain in kT up to which the objective is taken for a parabola.
const LARGEST_STRAIN: f64 = 0.5;
/// Steps that hardly lessen the gradient after which the damping is never left out.
const PATIENCE: usize = 3;
/// Samples of a state in the first start.
const FEW: usize = 96;
/// Samples of a state in the second start.
const MANY: usize = 4096;

/// Where an iteration ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    /// Largest component of the gradient, per sample of its state.
    pub residual: f64,
    /// Length in kT of the step that would come next; not insisted on when rounding prevents it.
    pub step_kt: f64,
    /// Newton steps.
    pub max_iterations: usize,
}

/// Where the iteration ended.
pub(super) struct Minimum {
    pub at: Position,
    /// With the shared samples, unless the iteration failed.
    pub pass: Pass,
    pub iterations: usize,
    pub residual: f64,
    /// Length of the Newton step that would come next, kT.
    pub step_kt: f64,
    pub converged: bool,
}

impl Minimum {
    /// An error unless it is the minimum.
    pub fn checked(self, goal: &Goal) -> Result<Self> {
        if self.converged {
            return Ok(self);
        }
        Err(Error::mbar_not_converged(self.iterations, self.residual, goal.residual))
    }
}

impl Objective<'_> {
    /// Free energies near the minimum, from some of the samples.
    pub fn start(&self) -> Result<Position> {
        let mut few = self.some(|_| FEW)?;
        if few.objective().sampled.len() < self.sampled.len() {
            // Multiplicities of zero have left a state without samples.
            return Ok(self.neighbours());
        }
        let mut at = few.objective().neighbours();
        let eighth = |n: usize| (n / 8).clamp(FEW, MANY);
        let goal = Goal { residual: 0.1, step_kt: 0.02, max_iterations: 40 };
        let n_all = self.energies.n_samples();
        if 3 * few.energies.n_samples() < n_all {
            at = few.objective().minimize(at, &goal)?.at;
            let sizes = || self.sampled.iter().map(|&k| self.energies.n_k()[k]);
            let n_eighth: usize = sizes().map(|n| n.min(eighth(n))).sum();
            if 3 * n_eighth < n_all && n_eighth > 2 * few.energies.n_samples() {
                few = self.some(eighth)?;
                if few.objective().sampled.len() == self.sampled.len() {
                    at = few.objective().minimize(at, &goal)?.at;
                }
            }
        }
        Ok(at)
    }

    /// About `wanted` samples of each sampled state, in short stretches evenly over all.
    fn some(&self, wanted: impl Fn(usize) -> usize) -> Result<Subsample> {
        const STRETCH: usize = 16;
        let n_k = self.energies.n_k();
        let every: Vec<usize> = n_k.iter().map(|&n| (n / wanted(n).max(1)).max(1)).collect();
        let mut rank = vec![0; n_k.len()];
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (state, run) in self.energies.runs().into_iter().filter(|(k, _)| self.sampled.contains(k)) {
            if every[state] == 1 {
                ranges.push(run);
                continue;
            }
            // Stretch number s of a state is taken when s is a multiple of `every`.
            let mut n = run.start;
            while n < run.end {
                let here = rank[state] + (n - run.start);
                let (stretch, within) = (here / STRETCH, here % STRETCH);
                if stretch % every[state] == 0 {
                    let end = (n + STRETCH - within).min(run.end);
                    ranges.push(n..end);
                    n = end;
                } else {
                    n += (every[state] - stretch % every[state]) * STRETCH - within;
                }
            }
            rank[state] += run.len();
        }
        let energies = self.energies.subset(&self.sampled, &ranges)?;
        let multiplicity =
            self.multiplicity.map(|c| ranges.iter().flat_map(|r| c[r.clone()].to_vec()).collect());
        Ok(Subsample { energies, multiplicity })
    }

    /// Free energies of neighbouring sampled states by Bennett's ratio, where it has an answer.
    fn neighbours(&self) -> Position {
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
        Position::new(f)
    }

    /// The defining equations once.
    fn self_consistent(&self, at: &Position, pass: &Pass) -> Result<Position> {
        // The ratio is the whole answer unless a state is so far away that its share is rounded to zero.
        if pass.responsibility.iter().all(|r| *r > 1e-100) {
            let shares = pass.responsibility.iter().zip(&self.counts);
            return Ok(at.moved(&shares.map(|(r, count)| -(r / count).ln()).collect::<Vec<_>>(), 1.0));
        }
        Ok(Position::new(self.free_energies(at, &self.sampled)?))
    }

    /// A few self-consistent iterations, then Newton's method with a line search.
    pub fn minimize(&self, start: Position, goal: &Goal) -> Result<Minimum> {
        let mut at = start;
        let mut pass = self.pass(&at, Order::Hessian)?;
        for _ in 0..3 {
            if self.residual(&pass) < FAR {
                break;
            }
            at = self.self_consistent(&at, &pass)?;
            pass = self.pass(&at, Order::Hessian)?;
        }
        let mut residual = self.residual(&pass);
        let mut shared = pass.shared.clone();
        // By how much `at` is strained from where `shared` was summed.
        let mut age = 0.0_f64;
        let (mut radius, mut iterations, mut stalled, mut n_slow) = (FIRST_RADIUS, 0, false, 0);
        let (step_kt, converged) = loop {
            let gradient: Vec<f64> =
                pass.responsibility.iter().zip(&self.counts).map(|(r, n)| r - n).collect();
            let mut direction = newton_direction(&shared, &gradient, radius, n_slow < PATIENCE);
            let length = direction.iter().fold(0.0_f64, |max, d| max.max(d.abs()));
            let arrived = residual <= goal.residual && (length <= goal.step_kt || stalled);
            if arrived && age == 0.0 {
                break (length, true);
            }
            if iterations == goal.max_iterations || !length.is_finite() {
                break (length, residual <= goal.residual && age == 0.0);
            }
            iterations += 1;
            let step = length.min(radius);
            direction.iter_mut().for_each(|d| *d *= step / length.max(f64::MIN_POSITIVE));
            let slope: f64 = direction.iter().zip(&gradient).map(|(d, g)| d * g).sum();
            // The sweep that is likely to be the last brings the Hessian, for the covariance.
            let strain = strain(&shared, &direction);
            let left = step * (age + strain);
            let serves = age + strain < REACH && left > 0.3 * goal.step_kt && !arrived;
            let order = if serves { Order::Gradient } else { Order::Hessian };
            let mut scale = 1.0;
            let mut accepted = None;
            while scale > 1e-9 {
                let trial = at.moved(&direction, scale);
                let trial_pass = self.pass(&trial, order)?;
                let trial_residual = self.residual(&trial_pass);
                // Near the minimum the objective no longer resolves the step, but the gradient does.
                let descent = trial_pass.descent_from(&pass, trial.base == at.base);
                if descent <= 1e-4 * scale * slope || trial_residual < residual {
                    accepted = Some((trial, trial_pass, trial_residual));
                    break;
                }
                if residual <= goal.residual || age > 0.0 {
                    break;
                }
                scale *= 0.5;
            }
            let Some((trial, trial_pass, trial_residual)) = accepted else {
                if age > 0.0 {
                    pass = self.pass(&at, Order::Hessian)?;
                    (shared, age) = (pass.shared.clone(), 0.0);
                    stalled = residual <= goal.residual;
                    continue;
                }
                break (length, residual <= goal.residual);
            };
            if scale == 1.0 && length > 0.3 * radius {
                radius *= 4.0;
            } else if scale < 1.0 {
                radius = (2.0 * scale * step).max(FIRST_RADIUS);
            }
            stalled = trial_residual > 0.5 * residual;
            n_slow = if stalled { n_slow + 1 } else { 0 };
            (at, pass, residual) = (trial, trial_pass, trial_residual);
            age += scale * strain;
            if residual > FAR {
                // Where the objective is all kinks, between states without overlap, Newton's method
                // zigzags; the self-consistent step never ascends and jumps over any distance.
                at = self.self_consistent(&at, &pass)?;
                pass = self.pass(&at, Order::Hessian)?;
                residual = self.residual(&pass);
            }
            if pass.shared.nrows() > 0 {
                (shared, age) = (pass.shared.clone(), 0.0);
            }
        };
        Ok(Minimum { at, pass, iterations, residual, step_kt, converged })
    }
}

impl Pass {
    /// L − L of another place; of the large part that the bases contribute only where they differ.
    fn descent_from(&self, other: &Self, same_base: bool) -> f64 {
        let level = if same_base { 0.0 } else { self.level - other.level };
        self.value - other.value + level
    }
}

/// Some of the samples.
struct Subsample {
    energies: crate::free_energy::ReducedEnergies,
    multiplicity: Option<Vec<f64>>,
}

impl Subsample {
    fn objective(&self) -> Objective<'_> {
        Objective::new(&self.energies, self.multiplicity.as_deref())
    }
}

/// −(H + λ)⁻¹ g with the first free energy held.
///
/// λ is zero if that step stays within the radius and strains little (and is `bold`). Else λ = max |g| / radius keeps it
/// there, where states share nothing and H is all rounding.
fn newton_direction(shared: &DMatrix<f64>, gradient: &[f64], radius: f64, bold: bool) -> Vec<f64> {
    let members: Vec<usize> = (0..gradient.len()).collect();
    let right = DVector::from_iterator(gradient.len() - 1, gradient[1..].iter().map(|g| -g));
    let largest = gradient.iter().fold(0.0_f64, |max, g| max.max(g.abs()));
    let trace: f64 = (0..gradient.len()).map(|i| shared.row(i).sum() - shared[(i, i)]).sum();
    let rounding = 1e-15 * trace + f64::MIN_POSITIVE;
    let damped = largest / radius + rounding;
    let dampings = [rounding].into_iter().chain((0..20).map(|i| damped * 100_f64.powi(i)));
    for (attempt, damping) in dampings.enumerate() {
        let Some(cholesky) = grounded_laplacian(shared, &members, damping) else { continue };
        let solution = cholesky.solve(&right);
        if solution.iter().any(|d| !d.is_finite()) {
            continue;
        }
        let step = [&[0.0], solution.as_slice()].concat();
        if attempt > 0 || (bold && solution.amax() <= radius && strain(shared, &step) <= LARGEST_STRAIN) {
            return step;
        }
    }
    vec![0.0; gradient.len()]
}

/// How much a step changes responsibilities: the largest, over states, of the root mean square of the
/// step relative to the states with which samples are shared.
///
/// The whole chain may move by much while neighbours hardly move against each other.
fn strain(shared: &DMatrix<f64>, step: &[f64]) -> f64 {
    let of_state = |i: usize| {
        let others = step.iter().enumerate().filter(|(j, _)| *j != i);
        let pairs = others.map(|(j, d)| (shared[(i, j)], d - step[i]));
        let (sum, squares) = pairs.fold((0.0, 0.0), |(sum, squares), (s, d)| (sum + s, squares + s * d * d));
        if sum > 0.0 { (squares / sum).sqrt() } else { 0.0 }
    };
    (0..step.len()).map(of_state).fold(0.0, f64::max)
}
