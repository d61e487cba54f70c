//! Estimators that go from state to state: Bennett's ratio, exponential averages, Gaussian cumulants.
//!
//! Each link joins two neighbouring sampled states; beyond the last sampled state at either end, where Bennett's
//! ratio has works in one direction only, the exponential average stands in and is labelled so. Steps that use
//! samples of the same state are correlated; with the influence φ_n of a sample on a step, cov = Σ_n φ_n φ'_n.

use super::{Dataset, Estimator, PathEstimate};
use crate::error::Result;
use crate::free_energy::bennett::{Solution, Works, solve};
use crate::free_energy::{cumulants, exponential_averaging};

/// Fewer shared samples than this leave the difference of two states undetermined.
const MIN_SHARED_SAMPLES: f64 = 0.1;

/// Works between two neighbouring sampled states, or from a sampled state to an end that is not sampled.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// Earlier state on the path.
    pub from: usize,
    /// Later state.
    pub to: usize,
    /// Samples of `from` and their works u_to − u_from.
    pub forward: Direction,
    /// Samples of `to` and their works u_from − u_to.
    pub reverse: Direction,
}

/// Works in one direction.
#[derive(Debug, Clone, Default)]
pub(super) struct Direction {
    /// Samples.
    pub samples: Vec<usize>,
    /// In kT.
    pub work_kt: Vec<f64>,
}

impl Direction {
    fn new(data: &Dataset, of_state: &[Vec<usize>], from: usize, to: usize) -> Self {
        let (own, other) = (data.u_of_state(from), data.u_of_state(to));
        let samples: Vec<usize> = of_state[from].iter().copied().filter(|&n| !other[n].is_nan()).collect();
        // −∞ is an overflow, of atoms that lie on each other, and counts as +∞ does.
        let work =
            |n: usize| Some(other[n] - own[n]).filter(|w| *w != f64::NEG_INFINITY).unwrap_or(f64::INFINITY);
        let work_kt = samples.iter().map(|&n| work(n)).collect();
        Self { samples, work_kt }
    }

    /// How often each work counts.
    pub fn counts(&self, counts: &[f64]) -> Vec<f64> {
        self.samples.iter().map(|&n| counts[n]).collect()
    }
}

/// What a link gives.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// f_to − f_from.
    pub value: f64,
    /// Its variance; infinite where undetermined.
    pub variance: f64,
    /// Samples that the two states share, for Bennett's ratio; Kish's effective size otherwise.
    pub shared: f64,
    /// Effective samples of both states.
    pub n_effective: (f64, f64),
    /// Whether the exponential average stands in for Bennett's ratio.
    pub is_fallback: bool,
    solution: Option<Solution>,
}

/// All links of the path.
#[derive(Debug, Clone)]
pub(super) struct Links {
    /// In order.
    pub links: Vec<Link>,
    n_states: usize,
    n_samples: usize,
}

impl Links {
    /// Works between neighbouring sampled states; empty when there are no energies.
    pub fn new(data: &Dataset) -> Self {
        let (n_states, n_samples) = (data.states.len(), data.n_samples());
        let mut links = Vec::new();
        if !data.u_kt.is_empty() {
            let mut of_state = vec![Vec::new(); n_states];
            for n in data.samples_with_energies() {
                of_state[data.state_of[n]].push(n);
            }
            let mut ends: Vec<usize> = (0..n_states).filter(|&k| !of_state[k].is_empty()).collect();
            let usable = |state: &usize| !data.void_states.contains(state);
            if ends.first() != Some(&0) && usable(&0) {
                ends.insert(0, 0);
            }
            if ends.last() != Some(&(n_states - 1)) && usable(&(n_states - 1)) {
                ends.push(n_states - 1);
            }
            for pair in ends.windows(2) {
                let (from, to) = (pair[0], pair[1]);
                let forward = Direction::new(data, &of_state, from, to);
                let reverse = Direction::new(data, &of_state, to, from);
                links.push(Link { from, to, forward, reverse });
            }
        }
        Self { links, n_states, n_samples }
    }

    /// Whether any link has works.
    pub fn is_empty(&self) -> bool {
        self.links.iter().all(|link| link.forward.samples.is_empty() && link.reverse.samples.is_empty())
    }

    /// Steps by one estimator, samples counted as given.
    pub fn steps(&self, estimator: Estimator, counts: &[f64]) -> Result<Vec<Step>> {
        self.links.iter().map(|link| link.step(estimator, counts)).collect()
    }

    /// The path of one estimator.
    ///
    /// With `independent_steps` the error of a sum of steps is the root of their summed squares, as those who use
    /// alchemlyb add them; otherwise samples that two steps share count in both.
    pub fn path(
        &self,
        estimator: Estimator,
        steps: &[Step],
        counts: &[f64],
        independent_steps: bool,
    ) -> PathEstimate {
        let shared = self.covariances(estimator, steps, counts);
        let (mut independent, mut total) = (Chain::new(self.n_states), Chain::new(self.n_states));
        for (place, (link, step)) in self.links.iter().zip(steps).enumerate() {
            let covariance = if place == 0 { 0.0 } else { shared[place - 1] };
            total.push(link, step, covariance);
            independent.push(link, step, 0.0);
        }
        let correlated_error = total.std_error();
        let chosen = if independent_steps { independent } else { total };
        let mut path = chosen.finish(estimator);
        path.error_method = match estimator {
            Estimator::Bar if independent_steps => {
                let last = correlated_error.last().copied().unwrap_or(f64::NAN);
                format!(
                    "asymptotic variance of each step, steps taken as independent; with the samples that \
                     neighbouring steps share, the error of the whole path is {last:.4} kT"
                )
            }
            Estimator::Bar => "asymptotic variance, with the samples that neighbouring steps share".into(),
            Estimator::ExpForward | Estimator::ExpReverse => {
                "standard errors of the exponential averages".into()
            }
            _ => "propagated from the means and the variances of the works".into(),
        };
        if estimator == Estimator::Bar && steps.iter().any(|step| step.is_fallback) {
            path.error_method += "; exponential averages where a state has no samples";
        }
        path
    }

    /// Covariance of each step with the next.
    fn covariances(&self, estimator: Estimator, steps: &[Step], counts: &[f64]) -> Vec<f64> {
        if estimator != Estimator::Bar {
            // Each step uses samples of one state, and no other step does.
            return vec![0.0; self.links.len().saturating_sub(1)];
        }
        let mut influence = vec![0.0; self.n_samples];
        (1..self.links.len())
            .map(|place| {
                let (left, right) = (&self.links[place - 1], &self.links[place]);
                for (&n, phi) in
                    left.reverse.samples.iter().zip(steps[place - 1].influence(left, false, counts))
                {
                    influence[n] = phi;
                }
                let phi = steps[place].influence(right, true, counts);
                let covariance = right
                    .forward
                    .samples
                    .iter()
                    .zip(phi)
                    .map(|(&n, phi)| counts[n] * phi * influence[n])
                    .sum::<f64>();
                left.reverse.samples.iter().for_each(|&n| influence[n] = 0.0);
                if covariance.is_finite() { covariance } else { 0.0 }
            })
            .collect()
    }
}

impl Link {
    fn step(&self, estimator: Estimator, counts: &[f64]) -> Result<Step> {
        let forward = self.forward.counts(counts);
        let reverse = self.reverse.counts(counts);
        let n_effective = (forward.iter().sum::<f64>(), reverse.iter().sum::<f64>());
        let step = |value: f64, variance: f64, shared: f64| Step {
            value,
            variance,
            shared,
            n_effective,
            is_fallback: false,
            solution: None,
        };
        let undetermined = step(f64::NAN, f64::INFINITY, 0.0);
        let exponential = |direction: &Direction, counts: &[f64], sign: f64| -> Result<Step> {
            if counts.iter().sum::<f64>() <= 0.0 {
                return Ok(undetermined.clone());
            }
            let estimate = exponential_averaging::average(&direction.work_kt, Some(counts), sign)?;
            Ok(step(estimate.value, estimate.std_error.powi(2), estimate.n_effective))
        };
        let gaussian = |direction: &Direction, counts: &[f64], sign: f64| -> Result<Step> {
            let possible =
                counts.iter().sum::<f64>() > 0.0 && direction.work_kt.iter().all(|w| w.is_finite());
            if !possible {
                return Ok(undetermined.clone());
            }
            let estimate = cumulants::second_order(&direction.work_kt, Some(counts), sign)?;
            Ok(step(estimate.value, estimate.std_error.powi(2), estimate.n_effective))
        };
        match estimator {
            Estimator::ExpForward => exponential(&self.forward, &forward, 1.0),
            Estimator::ExpReverse => exponential(&self.reverse, &reverse, -1.0),
            Estimator::GaussianForward => gaussian(&self.forward, &forward, 1.0),
            Estimator::GaussianReverse => gaussian(&self.reverse, &reverse, -1.0),
            _ => {
                let fallback = |step: Step| Step { is_fallback: true, ..step };
                match (n_effective.0 > 0.0, n_effective.1 > 0.0) {
                    (false, false) => Ok(undetermined),
                    (true, false) => exponential(&self.forward, &forward, 1.0).map(fallback),
                    (false, true) => exponential(&self.reverse, &reverse, -1.0).map(fallback),
                    (true, true) => Ok(self.bennett(&forward, &reverse, step)),
                }
            }
        }
    }

    fn bennett(&self, forward: &[f64], reverse: &[f64], step: impl Fn(f64, f64, f64) -> Step) -> Step {
        let solution = solve(
            Works { kt: &self.forward.work_kt, counts: Some(forward) },
            Works { kt: &self.reverse.work_kt, counts: Some(reverse) },
        );
        let (n, m) = (forward.iter().sum::<f64>(), reverse.iter().sum::<f64>());
        let alone = |counts: &[f64]| counts.iter().filter(|count| **count > 0.0).count() < 2;
        let variance = if solution.shared < MIN_SHARED_SAMPLES {
            f64::INFINITY
        } else if alone(forward) || alone(reverse) {
            // One sample has no spread; the variance that its acceptance promises stands in.
            (1.0 / solution.shared - 1.0 / n - 1.0 / m).max(solution.variance(n, m))
        } else {
            solution.variance(n, m)
        };
        Step { solution: Some(solution), ..step(solution.value, variance, solution.shared) }
    }
}

impl Step {
    /// By how much each sample of a direction moves the step, per count.
    fn influence(&self, link: &Link, forward: bool, counts: &[f64]) -> Vec<f64> {
        let direction = if forward { &link.forward } else { &link.reverse };
        let counts = direction.counts(counts);
        let total: f64 = counts.iter().sum();
        let values: Vec<f64> = match &self.solution {
            Some(solution) if self.variance.is_finite() => {
                direction.work_kt.iter().map(|w| solution.acceptance(*w, forward)).collect()
            }
            None if self.is_fallback && self.variance.is_finite() && total > 0.0 => {
                // Relative to the value, the weights of an exponential average have the mean one.
                let sign = if forward { 1.0 } else { -1.0 };
                direction.work_kt.iter().map(|w| (sign * self.value - w).exp()).collect()
            }
            _ => return vec![0.0; counts.len()],
        };
        let sum: f64 = values.iter().zip(&counts).map(|(value, count)| value * count).sum();
        let sign = if forward { -1.0 } else { 1.0 };
        values.iter().map(|value| sign * (value / sum - 1.0 / total)).collect()
    }
}

/// Free energies and their covariance, grown link by link.
struct Chain {
    delta_f: Vec<f64>,
    covariance: Vec<f64>,
    steps: Vec<f64>,
    step_errors: Vec<f64>,
}

impl Chain {
    fn new(n_states: usize) -> Self {
        let mut delta_f = vec![f64::NAN; n_states];
        let mut covariance = vec![f64::NAN; n_states * n_states];
        delta_f[0] = 0.0;
        covariance[0] = 0.0;
        Self {
            delta_f,
            covariance,
            steps: vec![f64::NAN; n_states - 1],
            step_errors: vec![f64::NAN; n_states - 1],
        }
    }

    /// Adds f_to = f_from + step, whose covariance with the step before is given.
    fn push(&mut self, link: &Link, step: &Step, covariance: f64) {
        let n = self.delta_f.len();
        if link.to == link.from + 1 {
            self.steps[link.from] = step.value;
            self.step_errors[link.from] = step.variance.sqrt();
        }
        self.delta_f[link.to] = self.delta_f[link.from] + step.value;
        // Of the states reached before, only the last moves with the samples that the two links share.
        let covariance = if link.from > 0 { covariance } else { 0.0 };
        for i in 0..n {
            let known = self.covariance[i * n + link.from];
            if i == link.to || known.is_nan() {
                continue;
            }
            let value = if i == link.from { known + covariance } else { known };
            self.covariance[i * n + link.to] = value;
            self.covariance[link.to * n + i] = value;
        }
        self.covariance[link.to * n + link.to] =
            self.covariance[link.from * n + link.from] + step.variance + 2.0 * covariance;
    }

    /// Infinite where nothing is known.
    fn std_error(&self) -> Vec<f64> {
        let n = self.delta_f.len();
        let variances = (0..n).map(|i| self.covariance[i * n + i]);
        variances.map(|v| if v.is_nan() { f64::INFINITY } else { v.max(0.0).sqrt() }).collect()
    }

    fn finish(self, estimator: Estimator) -> PathEstimate {
        let std_error = self.std_error();
        PathEstimate {
            delta_f: self.delta_f,
            std_error,
            steps: self.steps,
            step_errors: self.step_errors,
            covariance: self.covariance,
            ..PathEstimate::empty(estimator)
        }
    }
}
