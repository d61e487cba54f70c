//! The multistate Bennett acceptance ratio (Shirts and Chodera 2008; Kong et al. 2003).
//!
//! f_i = −ln Σ_n exp(−u_in) / Σ_k N_k exp(f_k − u_kn), solved for all sampled states together by
//! Newton's method on the convex objective of which it is the minimum.
//!
//! Errors are the asymptotic ones. Let w_an be the normalised weight of sample n in state (or target
//! potential) a, p_kn = N_k w_kn, c_a = Σ_n p_·n w_an, and L the Laplacian of the shared samples
//! s_ij = Σ_n p_in p_jn. Then the covariance of Kong et al. is, for differences,
//! var(f_a − f_b) = |w_a − w_b|² + (c_a − c_b)ᵀ L⁻ (c_a − c_b), and for an average ⟨A⟩_a with
//! δ_n = w_an (A_n − ⟨A⟩) it is |δ|² + dᵀ L⁻ d with d_k = Σ_n p_kn δ_n. No gauge enters, and the
//! Laplacian is solved without cancellation however small the overlap. Samples count as independent;
//! for correlated ones use [`super::bootstrap`].

mod averages;
pub mod bootstrap;
mod covariance;
mod extrapolation;
pub(super) mod kernel;
mod newton;
mod objective;
#[cfg(test)]
mod tests;

use self::covariance::Moments;
use self::newton::Goal;
use self::objective::{Objective, Order, Position, Rows};
use super::{Estimate, ReducedEnergies};
use crate::error::{Error, Result};
use nalgebra::DMatrix;
use std::sync::OnceLock;

pub use self::averages::Target;
pub use self::covariance::MissingOverlap;
pub use self::extrapolation::{Extrapolation, Reach};

pub(super) const METHOD: &str = "MBAR asymptotic covariance (independent samples)";

/// How far to iterate, and from where.
#[derive(Debug, Clone, PartialEq)]
pub struct MbarSettings {
    /// Largest |Σ_n w_kn − 1| over the sampled states at which the iteration ends.
    pub tolerance: f64,
    /// Newton steps before giving up.
    pub max_iterations: usize,
    /// Free energies to start from, one per state; Bennett's ratio between neighbours otherwise.
    pub start_kt: Option<Vec<f64>>,
}

impl Default for MbarSettings {
    fn default() -> Self {
        Self { tolerance: 1e-10, max_iterations: 500, start_kt: None }
    }
}

/// What certifies the solution: the equations are satisfied, whatever way led there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Certificate {
    /// max_k |Σ_n w_kn − 1|: the largest component of the gradient, per sample of its state.
    pub residual: f64,
    /// Largest change of a free energy in the Newton step that would come next, kT.
    pub last_step_kt: f64,
    /// Newton steps taken.
    pub iterations: usize,
}

/// The solution, with everything that follows from it.
pub struct Mbar<'a> {
    pub(super) energies: &'a ReducedEnergies,
    multiplicity: Option<Vec<f64>>,
    /// f of the sampled states as it was solved for, in a gauge of its own.
    at: Position,
    /// f of all states relative to the first.
    pub(super) f: Vec<f64>,
    /// f of the first state in the gauge of `at`; 0 when it has none.
    origin: f64,
    pub(super) sampled: Vec<usize>,
    pub(super) counts: Vec<f64>,
    /// Summed when they are asked for: a resample is often wanted for its free energies alone.
    log_denominator: OnceLock<Vec<f64>>,
    moments: OnceLock<Moments>,
    certificate: Certificate,
}

impl<'a> Mbar<'a> {
    /// Solves with default settings.
    pub fn new(energies: &'a ReducedEnergies) -> Result<Self> {
        Self::with_settings(energies, &MbarSettings::default())
    }

    /// Solves.
    pub fn with_settings(energies: &'a ReducedEnergies, settings: &MbarSettings) -> Result<Self> {
        Self::solve(energies, None, settings)
    }

    /// Solves with sample n counted `multiplicity[n]` times, any number ≥ 0.
    ///
    /// A sample of a series with statistical inefficiency g counts 1/g: all of them are used, and the
    /// covariance is that of the independent samples that they are worth.
    pub fn weighted(energies: &'a ReducedEnergies, multiplicity: Vec<f64>) -> Result<Self> {
        Self::solve(energies, Some(multiplicity), &MbarSettings::default())
    }

    /// Solves with sample n counted `multiplicity[n]` times, starting from this solution.
    ///
    /// A bootstrap resample, solved to a residual of 1e-6, far below its statistical error; states that lose all their samples become unsampled ones.
    pub fn resampled(&self, multiplicity: Vec<f64>) -> Result<Self> {
        let settings =
            MbarSettings { tolerance: 1e-6, start_kt: Some(self.f.clone()), ..MbarSettings::default() };
        Self::solve(self.energies, Some(multiplicity), &settings)
    }

    fn solve(
        energies: &'a ReducedEnergies,
        multiplicity: Option<Vec<f64>>,
        settings: &MbarSettings,
    ) -> Result<Self> {
        if let Some(c) = &multiplicity {
            let usable = c.len() == energies.n_samples()
                && c.iter().all(|c| c.is_finite() && *c >= 0.0)
                && c.iter().any(|c| *c > 0.0);
            if !usable {
                return Err(Error::invalid(
                    "multiplicities of samples",
                    format!("{} numbers ≥ 0, not all zero", energies.n_samples()),
                    format!("{} numbers", c.len()),
                ));
            }
        }
        let objective = Objective::new(energies, multiplicity.as_deref());
        if let Some(&state) = objective.sampled.iter().find(|k| energies.void_states().contains(k)) {
            let name = &energies.names()[state];
            return Err(Error::invalid("multiplicities of samples", "none of a void state", name.clone()));
        }
        let start = match &settings.start_kt {
            Some(start) if start.len() == energies.n_states() => {
                Position::new(objective.sampled.iter().map(|&k| start[k]).collect())
            }
            Some(start) => {
                return Err(Error::invalid(
                    "starting free energies of MBAR",
                    energies.n_states().to_string(),
                    start.len().to_string(),
                ));
            }
            None => objective.start()?,
        };
        let goal = Goal {
            residual: settings.tolerance,
            step_kt: settings.tolerance,
            max_iterations: settings.max_iterations,
        };
        let minimum = objective.minimize(start, &goal)?.checked(&goal)?;
        let certificate = Certificate {
            residual: minimum.residual,
            last_step_kt: minimum.step_kt,
            iterations: minimum.iterations,
        };
        let Objective { sampled, counts, .. } = objective;
        let mbar = Self::at_solution(energies, multiplicity, (sampled, counts), minimum.at, certificate)?;
        let moments = mbar.moments_from(minimum.pass.shared)?;
        let _ = mbar.moments.set(moments);
        Ok(mbar)
    }

    /// A solution that was found elsewhere; what else follows from it is summed when it is asked for.
    fn at_solution(
        energies: &'a ReducedEnergies,
        multiplicity: Option<Vec<f64>>,
        (sampled, counts): (Vec<usize>, Vec<f64>),
        at: Position,
        certificate: Certificate,
    ) -> Result<Self> {
        let void = energies.void_states();
        let unsampled: Vec<usize> =
            (0..energies.n_states()).filter(|k| !sampled.contains(k) && !void.contains(k)).collect();
        let mut f = vec![f64::NAN; energies.n_states()];
        let relative = at.relative();
        let gauge = at.base[0] + at.rest[0];
        for (&k, value) in sampled.iter().zip(&relative) {
            f[k] = *value;
        }
        if !unsampled.is_empty() {
            let objective = Objective {
                energies,
                sampled: sampled.clone(),
                counts: counts.clone(),
                multiplicity: multiplicity.as_deref(),
            };
            let found = objective.free_energies(&at, &unsampled)?;
            unsampled.iter().zip(found).for_each(|(&k, found)| f[k] = found - gauge);
        }
        let first = if f[0].is_finite() { f[0] } else { 0.0 };
        f.iter_mut().for_each(|f| *f -= first);
        Ok(Self {
            energies,
            multiplicity,
            at,
            f,
            origin: gauge + first,
            sampled,
            counts,
            log_denominator: OnceLock::new(),
            moments: OnceLock::new(),
            certificate,
        })
    }

    /// Products of the weights of all states, from those of the sampled states when these are all.
    fn moments_from(&self, shared: DMatrix<f64>) -> Result<Moments> {
        let n_states = self.energies.n_states();
        let mut gram = DMatrix::from_element(n_states, n_states, f64::NAN);
        for k in (0..n_states).filter(|&k| self.f[k].is_infinite()) {
            gram.row_mut(k).fill(0.0);
            gram.column_mut(k).fill(0.0);
        }
        let (states, counts, base, offset) = self.rows();
        let products = if states.len() == self.sampled.len() {
            shared.clone()
        } else {
            let rows = Rows {
                states: &states,
                n_sampled: self.sampled.len(),
                base: &base,
                offset: &offset,
                multiplicity: self.multiplicity.as_deref(),
            };
            rows.pass(self.energies, Order::Hessian)?.shared
        };
        for (i, &a) in states.iter().enumerate() {
            for (j, &b) in states.iter().enumerate() {
                gram[(a, b)] = products[(i, j)] / (counts[i] * counts[j]);
            }
        }
        Ok(Moments::new(&self.sampled, &self.counts, gram, shared))
    }

    /// States with free energies (the sampled ones first), their N_k, bases and offsets; a state without samples
    /// is given the mean number.
    pub(super) fn rows(&self) -> (Vec<usize>, Vec<f64>, Vec<f64>, Vec<f64>) {
        let mut states = self.sampled.clone();
        states.extend((0..self.f.len()).filter(|k| !self.sampled.contains(k) && self.f[*k].is_finite()));
        let mut counts = self.counts.clone();
        counts.resize(states.len(), self.counts.iter().sum::<f64>() / self.counts.len() as f64);
        let mut base = self.at.base.clone();
        base.extend(states[self.sampled.len()..].iter().map(|&k| self.f[k] + self.origin));
        let rests = self.at.rest.iter().copied().chain(std::iter::repeat(0.0));
        let offset = counts.iter().zip(rests).map(|(count, rest)| count.ln() + rest).collect();
        (states, counts, base, offset)
    }

    pub(super) fn sampled(&self) -> &[usize] {
        &self.sampled
    }

    fn position(&self) -> &Position {
        &self.at
    }

    pub(super) fn multiplicity(&self) -> Option<&[f64]> {
        self.multiplicity.as_deref()
    }

    /// The Newton step for a gradient, with the Hessian of this solution.
    pub(super) fn reference_step(&self, gradient: &[f64], step: &mut [f64]) {
        self.moments().step(gradient, step);
    }

    /// Whether each state has a free energy relative to the first.
    pub(super) fn linked_to_first(&self) -> Vec<bool> {
        let moments = self.moments();
        let finite = |k: usize| self.f[k].is_finite();
        (0..self.f.len()).map(|k| finite(k) && finite(0) && moments.variance(0, k).is_some()).collect()
    }

    fn moments(&self) -> &Moments {
        self.moments.get_or_init(|| {
            let objective = self.objective();
            let summed =
                objective.pass(&self.at, Order::Hessian).and_then(|pass| self.moments_from(pass.shared));
            // Energies that can no longer be read say nothing about overlap.
            summed.unwrap_or_else(|_| {
                let (n, all) = (self.sampled.len(), self.energies.n_states());
                let gram = DMatrix::from_element(all, all, f64::NAN);
                Moments::new(&self.sampled, &self.counts, gram, DMatrix::zeros(n, n))
            })
        })
    }

    fn objective(&self) -> Objective<'_> {
        Objective {
            energies: self.energies,
            sampled: self.sampled.clone(),
            counts: self.counts.clone(),
            multiplicity: self.multiplicity.as_deref(),
        }
    }

    /// ln Σ_k N_k exp(f_k − u_kn) of each sample, in the gauge of `f`.
    pub(super) fn log_denominator(&self) -> &[f64] {
        self.log_denominator.get_or_init(|| {
            let mut found = self
                .objective()
                .log_denominators(&self.at)
                .unwrap_or_else(|_| vec![f64::NAN; self.energies.n_samples()]);
            found.iter_mut().for_each(|d| *d -= self.origin);
            found
        })
    }

    /// The energies that were analysed.
    pub fn energies(&self) -> &'a ReducedEnergies {
        self.energies
    }

    /// Free energies in kT relative to state 0; meaningful between states of one group only.
    pub fn free_energies_kt(&self) -> &[f64] {
        &self.f
    }

    /// How well the equations are satisfied.
    pub fn certificate(&self) -> Certificate {
        self.certificate
    }

    /// How often each state was sampled, in multiplicities; in the order of states.
    pub fn counts(&self) -> Vec<f64> {
        let mut counts = vec![0.0; self.energies.n_states()];
        self.sampled.iter().zip(&self.counts).for_each(|(&k, count)| counts[k] = *count);
        counts
    }

    /// Sampled states in groups that share samples; one group when everything is connected.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        let groups = self.moments().groups.iter();
        groups.map(|group| group.iter().map(|&i| self.sampled[i]).collect()).collect()
    }

    /// For each group but one, the pair of states at which an overlap with the others is missing.
    pub fn missing_overlaps(&self) -> Vec<MissingOverlap> {
        self.moments().missing_overlaps()
    }

    /// A sentence that names the groups when states are disconnected; `None` when all are connected.
    pub fn disconnection(&self) -> Option<String> {
        let groups = self.groups();
        if groups.len() == 1 {
            return None;
        }
        let names = self.energies.names();
        let lists: Vec<String> = groups
            .iter()
            .map(|group| {
                let names: Vec<&str> = group.iter().map(|&k| names[k].as_str()).collect();
                format!("{{{}}}", names.join(", "))
            })
            .collect();
        let missing: Vec<String> = self
            .missing_overlaps()
            .iter()
            .map(|gap| {
                let (a, b) = (&names[gap.states.0], &names[gap.states.1]);
                format!("{a} and {b} ({:.0e} samples in common)", gap.shared_samples)
            })
            .collect();
        Some(format!(
            "the states fall into {} groups that share no samples, so free energies between them are \
             undetermined: {}; the overlap is missing between {}",
            groups.len(),
            lists.join(", "),
            missing.join(", ")
        ))
    }

    /// f_to − f_from; `None` when the two are not connected by overlap.
    pub fn difference(&self, from: usize, to: usize) -> Option<Estimate> {
        if !(self.f[from].is_finite() && self.f[to].is_finite()) {
            return None;
        }
        if from == to {
            return Some(Estimate::new(0.0, 0.0, self.n_effective(to), "kT", METHOD));
        }
        let variance = self.moments().variance(from, to)?;
        let n_effective = self.n_effective(from).min(self.n_effective(to));
        Some(Estimate::new(self.f[to] - self.f[from], variance.sqrt(), n_effective, "kT", METHOD))
    }

    /// σ(f_to − f_from) of all pairs, `[from][to]`; infinite between states that nothing links, NaN for
    /// states without a free energy.
    pub fn std_errors(&self) -> Vec<Vec<f64>> {
        let (n, moments) = (self.energies.n_states(), self.moments());
        let sigma = |a: usize, b: usize| match moments.variance(a, b) {
            _ if !(self.f[a].is_finite() && self.f[b].is_finite()) => f64::NAN,
            _ if a == b => 0.0,
            Some(variance) => variance.sqrt(),
            None => f64::INFINITY,
        };
        (0..n).map(|a| (0..n).map(|b| sigma(a, b)).collect()).collect()
    }

    /// cov(f_a − f_0, f_b − f_0), `[a][b]` of all states in one list.
    ///
    /// A state that nothing links to state 0 has an infinite variance and covariances NaN; a state without a
    /// free energy has NaN everywhere.
    pub fn covariance_matrix(&self) -> Vec<f64> {
        let (n, mut covariance) = (self.f.len(), self.moments().covariance());
        // A state that forbids all samples has weights, all zero, but no free energy.
        for k in (0..n).filter(|&k| !self.f[k].is_finite()) {
            let every = if k == 0 { 0..n * n } else { k * n..(k + 1) * n };
            covariance[every].fill(f64::NAN);
            (0..n).for_each(|other| covariance[other * n + k] = f64::NAN);
        }
        covariance
    }

    /// Kish's effective sample size of the weights of a state.
    pub fn n_effective(&self, state: usize) -> f64 {
        let squares = self.moments().gram[(state, state)];
        if squares > 0.0 { 1.0 / squares } else { 0.0 }
    }

    /// The probability that a sample of state i, by its energies alone, is taken for one of state j.
    ///
    /// `[i][j]` over all states; rows sum to one. Neighbours below 0.03 are a warning
    /// (Klimovich, Shirts and Mobley 2015).
    pub fn overlap(&self) -> Vec<Vec<f64>> {
        let (counts, gram) = (self.counts(), &self.moments().gram);
        (0..counts.len()).map(|i| (0..counts.len()).map(|j| gram[(i, j)] * counts[j]).collect()).collect()
    }

    /// The number of samples that two sampled states share: Σ_n p_in p_jn; 0 for unsampled states.
    pub fn shared_samples(&self, i: usize, j: usize) -> f64 {
        let place = |state| self.sampled.iter().position(|&k| k == state);
        match (place(i), place(j)) {
            (Some(i), Some(j)) => self.moments().shared[(i, j)],
            _ => 0.0,
        }
    }
}
