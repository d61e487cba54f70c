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

use super::mbar_objective::{Objective, add_gram, blocks, grounded_laplacian, parts};
use super::weights::{effective_sample_size, log_sum_exp};
use super::{Estimate, ReducedEnergies};
use crate::error::{Error, Result};
use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use rayon::prelude::*;

/// Two states are linked when they share at least this many samples: with fewer, the standard error
/// of their difference exceeds 3 kT and rests on less than one sample.
const MIN_SHARED_SAMPLES: f64 = 0.1;
/// A target potential whose weight lies in several unlinked groups of states to more than this share
/// has no free energy relative to any of them.
const STRAY_WEIGHT: f64 = 0.05;
const METHOD: &str = "MBAR asymptotic covariance (independent samples)";

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
    /// Largest change of a free energy in the last Newton step, kT.
    pub last_step_kt: f64,
    /// Newton steps taken.
    pub iterations: usize,
}

/// The solution, with everything that follows from it.
pub struct Mbar<'a> {
    energies: &'a ReducedEnergies,
    multiplicity: Option<Vec<f64>>,
    f: Vec<f64>,
    sampled: Vec<usize>,
    counts: Vec<f64>,
    log_denominator: Vec<f64>,
    /// Σ_n c_n w_an w_bn over all states.
    gram: DMatrix<f64>,
    shared: DMatrix<f64>,
    /// Linked groups of sampled states, as positions in `sampled`.
    groups: Vec<Vec<usize>>,
    laplacians: Vec<Option<Cholesky<f64, Dyn>>>,
    certificate: Certificate,
}

/// A potential of which there are no samples, reached by the weights of those that there are.
#[derive(Debug, Clone)]
pub struct Target {
    /// f of the target in the gauge of [`Mbar::free_energies_kt`].
    pub free_energy_kt: f64,
    /// Normalised weight of every sample.
    pub weights: Vec<f64>,
    /// Kish's effective sample size of these weights.
    pub n_effective: f64,
    /// Σ_n p_kn w_n over the sampled states.
    c: Vec<f64>,
}

impl<'a> Mbar<'a> {
    /// Solves with default settings.
    pub fn new(energies: &'a ReducedEnergies) -> Result<Self> {
        Self::with_settings(energies, &MbarSettings::default())
    }

    /// Solves.
    pub fn with_settings(energies: &'a ReducedEnergies, settings: &MbarSettings) -> Result<Self> {
        Self::solve(energies, None, settings, true)
    }

    /// Solves with sample n counted `multiplicity[n]` times, starting from this solution.
    ///
    /// A bootstrap resample, solved to a residual of 1e-6, far below its statistical error; states that lose all their samples become unsampled ones.
    pub fn resampled(&self, multiplicity: Vec<f64>) -> Result<Self> {
        let settings =
            MbarSettings { tolerance: 1e-6, start_kt: Some(self.f.clone()), ..MbarSettings::default() };
        Self::solve(self.energies, Some(multiplicity), &settings, false)
    }

    fn solve(
        energies: &'a ReducedEnergies,
        multiplicity: Option<Vec<f64>>,
        settings: &MbarSettings,
        polish: bool,
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
        let start = match &settings.start_kt {
            Some(start) if start.len() == energies.n_states() => {
                objective.sampled.iter().map(|&k| if start[k].is_finite() { start[k] } else { 0.0 }).collect()
            }
            Some(start) => {
                return Err(Error::invalid(
                    "starting free energies of MBAR",
                    energies.n_states().to_string(),
                    start.len().to_string(),
                ));
            }
            None => objective.start(),
        };
        let minimum = objective.minimize(start, settings.tolerance, settings.max_iterations, polish)?;
        let certificate = Certificate {
            residual: minimum.residual,
            last_step_kt: minimum.step_kt,
            iterations: minimum.iterations,
        };

        let log_denominator = objective.log_denominators(&minimum.f);
        let mut f = vec![0.0; energies.n_states()];
        for (&k, value) in objective.sampled.iter().zip(&minimum.f) {
            f[k] = *value;
        }
        let unsampled: Vec<usize> = (0..f.len()).filter(|k| !objective.sampled.contains(k)).collect();
        for &k in &unsampled {
            f[k] = objective.free_energy(energies.row(k), &log_denominator);
        }
        let origin = f[0];
        if origin.is_finite() {
            f.iter_mut().for_each(|f| *f -= origin);
        }
        let log_denominator: Vec<f64> =
            log_denominator.iter().map(|d| if origin.is_finite() { d - origin } else { *d }).collect();

        let shared = minimum.pass.shared;
        let groups = linked_groups(&shared);
        let laplacians = groups
            .iter()
            .map(|group| if group.len() > 1 { grounded_laplacian(&shared, group, 0.0) } else { None })
            .collect();
        let (sampled, counts) = (objective.sampled, objective.counts);
        let mut mbar = Self {
            energies,
            multiplicity,
            f,
            sampled,
            counts,
            log_denominator,
            gram: DMatrix::zeros(0, 0),
            shared,
            groups,
            laplacians,
            certificate,
        };
        mbar.gram = mbar.gram_matrix(!unsampled.is_empty());
        Ok(mbar)
    }

    /// w_a · w_b over all states; from the shared samples alone when every state has samples.
    fn gram_matrix(&self, with_unsampled: bool) -> DMatrix<f64> {
        let n_states = self.energies.n_states();
        if !with_unsampled {
            return DMatrix::from_fn(n_states, n_states, |i, j| {
                self.shared[(i, j)] / (self.counts[i] * self.counts[j])
            });
        }
        let scale = self.counts.iter().sum::<f64>();
        let partial: Vec<DMatrix<f64>> = parts(self.energies.n_samples())
            .into_par_iter()
            .map(|part| {
                let mut gram = DMatrix::zeros(n_states, n_states);
                let mut buffer = Vec::new();
                for block in blocks(part) {
                    buffer.clear();
                    for k in 0..n_states {
                        let u = &self.energies.row(k)[block.clone()];
                        buffer.extend(u.iter().zip(block.clone()).map(|(u, n)| {
                            let weight = self.weight(self.f[k], *u, n);
                            scale * weight * self.multiplicity.as_ref().map_or(1.0, |c| c[n].sqrt())
                        }));
                    }
                    add_gram(&mut gram, &buffer, block.len());
                }
                gram
            })
            .collect();
        let total = partial.into_iter().reduce(|sum, part| sum + part);
        total.map_or_else(|| DMatrix::zeros(n_states, n_states), |total| total / (scale * scale))
    }

    /// Weight of one sample under a potential with energy `u` there and free energy `f`, counted once.
    fn weight(&self, f: f64, u: f64, n: usize) -> f64 {
        if u == f64::INFINITY || self.count(n) == 0.0 || !f.is_finite() {
            return 0.0;
        }
        (f - u - self.log_denominator[n]).exp()
    }

    fn count(&self, n: usize) -> f64 {
        self.multiplicity.as_ref().map_or(1.0, |c| c[n])
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

    /// Sampled states in groups that share samples; one group when everything is connected.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        self.groups.iter().map(|group| group.iter().map(|&i| self.sampled[i]).collect()).collect()
    }

    /// A sentence that names the groups when states are disconnected; `None` when all are connected.
    pub fn disconnection(&self) -> Option<String> {
        if self.groups.len() == 1 {
            return None;
        }
        let names = self.energies.names();
        let groups: Vec<String> = self
            .groups()
            .iter()
            .map(|group| {
                let names: Vec<&str> = group.iter().map(|&k| names[k].as_str()).collect();
                format!("{{{}}}", names.join(", "))
            })
            .collect();
        Some(format!(
            "the states fall into {} groups that share no samples, so free energies between them are \
             undetermined: {}",
            groups.len(),
            groups.join(", ")
        ))
    }

    /// f_to − f_from; `None` when the two are not connected by overlap.
    pub fn difference(&self, from: usize, to: usize) -> Option<Estimate> {
        if from == to {
            return Some(Estimate::new(0.0, 0.0, self.n_effective(to), "kT", METHOD));
        }
        let overlap = self.gram[(from, from)] + self.gram[(to, to)] - 2.0 * self.gram[(from, to)];
        let stray = match (self.group_of(from), self.group_of(to)) {
            (Some(a), Some(b)) if a != b => return None,
            (Some(_), Some(_)) => f64::INFINITY,
            _ => STRAY_WEIGHT,
        };
        let (c_from, c_to) = (self.c_of_state(from), self.c_of_state(to));
        let variance = self.variance_of_difference(overlap, &c_from, &c_to, stray)?;
        let n_effective = self.n_effective(from).min(self.n_effective(to));
        Some(Estimate::new(self.f[to] - self.f[from], variance.sqrt(), n_effective, "kT", METHOD))
    }

    /// f_target − f_from; `None` without overlap.
    pub fn difference_to_target(&self, from: usize, target: &Target) -> Option<Estimate> {
        let weights_from = self.weights(from);
        let overlap = (0..weights_from.len())
            .filter(|&n| self.count(n) > 0.0)
            .map(|n| (target.weights[n] - weights_from[n]).powi(2) / self.count(n))
            .sum();
        let c_from = self.c_of_state(from);
        let variance = self.variance_of_difference(overlap, &c_from, &target.c, STRAY_WEIGHT)?;
        let n_effective = target.n_effective.min(self.n_effective(from));
        Some(Estimate::new(target.free_energy_kt - self.f[from], variance.sqrt(), n_effective, "kT", METHOD))
    }

    /// The group of a sampled state.
    fn group_of(&self, state: usize) -> Option<usize> {
        let place = self.sampled.iter().position(|&k| k == state)?;
        self.groups.iter().position(|group| group.contains(&place))
    }

    fn variance_of_difference(&self, overlap: f64, c_from: &[f64], c_to: &[f64], stray: f64) -> Option<f64> {
        if c_from.iter().chain(c_to).any(|c| !c.is_finite()) {
            return None;
        }
        let d: Vec<f64> = c_to.iter().zip(c_from).map(|(to, from)| to - from).collect();
        Some((overlap + self.laplacian_form(&d, stray)?).max(0.0))
    }

    /// dᵀ L⁻ d; `None` when d has a net weight in a group, which nothing there holds in place.
    ///
    /// `stray` is the net weight that is still taken for none.
    fn laplacian_form(&self, d: &[f64], stray: f64) -> Option<f64> {
        let mut total = 0.0;
        for (group, laplacian) in self.groups.iter().zip(&self.laplacians) {
            let net: f64 = group.iter().map(|&i| d[i]).sum();
            if self.groups.len() > 1 && net.abs() > stray {
                return None;
            }
            if group.len() > 1 {
                let right = DVector::from_iterator(group.len() - 1, group[1..].iter().map(|&i| d[i]));
                total += right.dot(&laplacian.as_ref()?.solve(&right));
            }
        }
        Some(total)
    }

    /// Σ_n p_kn w_an over the sampled states k.
    fn c_of_state(&self, state: usize) -> Vec<f64> {
        let valid = self.f[state].is_finite();
        self.sampled
            .iter()
            .zip(&self.counts)
            .map(|(&k, count)| if valid { count * self.gram[(k, state)] } else { f64::NAN })
            .collect()
    }

    /// Kish's effective sample size of the weights of a state.
    pub fn n_effective(&self, state: usize) -> f64 {
        let squares = self.gram[(state, state)];
        if squares > 0.0 { 1.0 / squares } else { 0.0 }
    }

    /// Normalised weights of all samples in one state; samples of a resample with their multiplicity.
    pub fn weights(&self, state: usize) -> Vec<f64> {
        let u = self.energies.row(state);
        (0..u.len()).map(|n| self.count(n) * self.weight(self.f[state], u[n], n)).collect()
    }

    /// Normalised log-weights of all samples in one state.
    pub fn log_weights(&self, state: usize) -> Vec<f64> {
        self.log_weights_at(self.energies.row(state), self.f[state])
    }

    fn log_weights_at(&self, u_n: &[f64], f: f64) -> Vec<f64> {
        u_n.iter()
            .enumerate()
            .map(|(n, u)| match self.count(n) {
                0.0 => f64::NEG_INFINITY,
                count => count.ln() + f - u - self.log_denominator[n],
            })
            .collect()
    }

    /// Reweights to a potential of which the energy of every sample is known, in kT.
    pub fn target(&self, u_n: &[f64]) -> Result<Target> {
        let n_samples = self.energies.n_samples();
        if u_n.len() != n_samples {
            return Err(Error::invalid(
                "energies of a target potential",
                n_samples.to_string(),
                u_n.len().to_string(),
            ));
        }
        if let Some(n) = u_n.iter().position(|u| u.is_nan() || *u == f64::NEG_INFINITY) {
            let found = format!("{} for sample {n}", u_n[n]);
            return Err(Error::invalid("energies of a target potential", "finite numbers or +inf", found));
        }
        let free_energy_kt = -log_sum_exp(&self.log_weights_at(u_n, 0.0));
        let weights: Vec<f64> =
            (0..n_samples).map(|n| self.count(n) * self.weight(free_energy_kt, u_n[n], n)).collect();
        let n_effective = effective_sample_size(&weights);
        let c = self.responsible_sums(&[&weights]).remove(0);
        Ok(Target { free_energy_kt, weights, n_effective, c })
    }

    /// Averages of an observable with weights from [`Self::weights`] or [`Target`], in its own unit.
    pub fn expectation(&self, weights: &[f64], observable: &[f64], unit: &str) -> Result<Estimate> {
        let n_samples = self.energies.n_samples();
        if weights.len() != n_samples || observable.len() != n_samples {
            return Err(Error::invalid(
                "weights and observable",
                format!("{n_samples} of each"),
                format!("{} and {}", weights.len(), observable.len()),
            ));
        }
        let sum: f64 = weights.iter().sum();
        let used = || weights.iter().zip(observable).filter(|(weight, _)| **weight > 0.0);
        let mean = used().map(|(weight, value)| weight * value).sum::<f64>() / sum;
        let delta: Vec<f64> = weights
            .iter()
            .zip(observable)
            .map(|(weight, value)| if *weight > 0.0 { weight / sum * (value - mean) } else { 0.0 })
            .collect();
        let own: f64 =
            (0..n_samples).filter(|&n| self.count(n) > 0.0).map(|n| delta[n].powi(2) / self.count(n)).sum();
        let d = self.responsible_sums(&[&delta]).remove(0);
        let stray = STRAY_WEIGHT * delta.iter().map(|x| x.abs()).sum::<f64>();
        let std_error =
            self.laplacian_form(&d, stray).map_or(f64::INFINITY, |form| (own + form).max(0.0).sqrt());
        Ok(Estimate::new(mean, std_error, effective_sample_size(weights), unit, METHOD))
    }

    /// Σ_n p_kn x_n over the sampled states, for several x.
    fn responsible_sums(&self, columns: &[&[f64]]) -> Vec<Vec<f64>> {
        let n_sampled = self.sampled.len();
        let partial: Vec<Vec<Vec<f64>>> = parts(self.energies.n_samples())
            .into_par_iter()
            .map(|part| {
                let mut sums = vec![vec![0.0; n_sampled]; columns.len()];
                for (i, (&k, count)) in self.sampled.iter().zip(&self.counts).enumerate() {
                    let u = self.energies.row(k);
                    for n in part.clone() {
                        let p = count * self.weight(self.f[k], u[n], n);
                        for (sum, column) in sums.iter_mut().zip(columns) {
                            sum[i] += p * column[n];
                        }
                    }
                }
                sums
            })
            .collect();
        let mut total = vec![vec![0.0; n_sampled]; columns.len()];
        for part in partial {
            for (total, part) in total.iter_mut().flatten().zip(part.iter().flatten()) {
                *total += part;
            }
        }
        total
    }

    /// The probability that a sample of state i, by its energies alone, is taken for one of state j.
    ///
    /// `[i][j]` over all states; rows sum to one. Neighbours below 0.03 are a warning
    /// (Klimovich, Shirts and Mobley 2015).
    pub fn overlap(&self) -> Vec<Vec<f64>> {
        let mut counts = vec![0.0; self.energies.n_states()];
        for (&k, count) in self.sampled.iter().zip(&self.counts) {
            counts[k] = *count;
        }
        (0..counts.len())
            .map(|i| (0..counts.len()).map(|j| self.gram[(i, j)] * counts[j]).collect())
            .collect()
    }

    /// The number of samples that two sampled states share: Σ_n p_in p_jn; 0 for unsampled states.
    pub fn shared_samples(&self, i: usize, j: usize) -> f64 {
        let place = |state| self.sampled.iter().position(|&k| k == state);
        match (place(i), place(j)) {
            (Some(i), Some(j)) => self.shared[(i, j)],
            _ => 0.0,
        }
    }
}

/// Connected components of the graph of states that share enough samples.
fn linked_groups(shared: &DMatrix<f64>) -> Vec<Vec<usize>> {
    let n = shared.nrows();
    let mut group_of: Vec<Option<usize>> = vec![None; n];
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for seed in 0..n {
        if group_of[seed].is_some() {
            continue;
        }
        let group = groups.len();
        group_of[seed] = Some(group);
        let (mut members, mut next) = (vec![seed], 0);
        while next < members.len() {
            let i = members[next];
            for j in 0..n {
                if group_of[j].is_none() && shared[(i, j)] >= MIN_SHARED_SAMPLES {
                    group_of[j] = Some(group);
                    members.push(j);
                }
            }
            next += 1;
        }
        members.sort_unstable();
        groups.push(members);
    }
    groups
}
