//! Weights of an MBAR solution and what is averaged with them.
//!
//! The error of an average ⟨A⟩_a, with δ_n = w_an (A_n − ⟨A⟩) and d_k = Σ_n p_kn δ_n, is |δ|² + dᵀ L⁻ d.

use super::covariance::STRAY_WEIGHT;
use super::objective::{Rows, over_parts};
use super::{METHOD, Mbar};
use crate::error::{Error, Result};
use crate::free_energy::Estimate;
use crate::free_energy::weights::{effective_sample_size, log_sum_exp};

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

impl Mbar<'_> {
    /// Normalised weights of all samples in one state; samples of a resample with their multiplicity.
    pub fn weights(&self, state: usize) -> Vec<f64> {
        let u = self.energies.row(state);
        (0..u.len()).map(|n| self.count(n) * self.weight(self.f[state], u[n], n)).collect()
    }

    /// Normalised log-weights of all samples in one state.
    pub fn log_weights(&self, state: usize) -> Vec<f64> {
        self.log_weights_at(&self.energies.row(state), self.f[state])
    }

    fn log_weights_at(&self, u_n: &[f64], f: f64) -> Vec<f64> {
        u_n.iter()
            .enumerate()
            .map(|(n, u)| match self.count(n) {
                0.0 => f64::NEG_INFINITY,
                count => count.ln() + f - u - self.log_denominator()[n],
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
        let std_error = self
            .moments()
            .laplacian_form(&d, stray)
            .map_or(f64::INFINITY, |form| (own + form).max(0.0).sqrt());
        Ok(Estimate::new(mean, std_error, effective_sample_size(weights), unit, METHOD))
    }

    /// Σ_n p_kn x_n over the sampled states, for several x.
    fn responsible_sums(&self, columns: &[&[f64]]) -> Vec<Vec<f64>> {
        let n_sampled = self.sampled.len();
        let offset: Vec<f64> = self.counts.iter().zip(&self.at.rest).map(|(n, rest)| n.ln() + rest).collect();
        let rows = Rows {
            states: &self.sampled,
            n_sampled,
            base: &self.at.base,
            offset: &offset,
            multiplicity: None,
        };
        let partial = over_parts(self.energies, n_sampled, |scratch, part| {
            rows.prepare(scratch, part.block);
            let mut sums = vec![vec![0.0; n_sampled]; columns.len()];
            let mut totals = vec![0.0; n_sampled];
            part.for_each(&mut scratch.reader, |block| {
                let p = rows.responsibilities(block, &mut scratch.p, &mut scratch.sample, &mut totals);
                for (sums, column) in sums.iter_mut().zip(columns) {
                    let column = &column[block.samples.clone()];
                    for (sum, p) in sums.iter_mut().zip(p.chunks_exact(block.len)) {
                        *sum += p.iter().zip(column).map(|(p, x)| p * x).sum::<f64>();
                    }
                }
            })?;
            Ok(sums)
        });
        let mut total = vec![vec![0.0; n_sampled]; columns.len()];
        match partial {
            Ok(partial) => {
                for part in partial {
                    for (total, part) in total.iter_mut().flatten().zip(part.iter().flatten()) {
                        *total += part;
                    }
                }
            }
            Err(_) => total.iter_mut().flatten().for_each(|total| *total = f64::NAN),
        }
        total
    }

    /// f_target − f_from; `None` without overlap.
    pub fn difference_to_target(&self, from: usize, target: &Target) -> Option<Estimate> {
        let weights_from = self.weights(from);
        let overlap = (0..weights_from.len())
            .filter(|&n| self.count(n) > 0.0)
            .map(|n| (target.weights[n] - weights_from[n]).powi(2) / self.count(n))
            .sum();
        let c_from = self.moments().c_of_state(from);
        let variance = self.moments().variance_between(overlap, &c_from, &target.c, STRAY_WEIGHT)?;
        let n_effective = target.n_effective.min(self.n_effective(from));
        Some(Estimate::new(target.free_energy_kt - self.f[from], variance.sqrt(), n_effective, "kT", METHOD))
    }

    /// Weight of one sample under a potential with energy `u` there and free energy `f`, counted once.
    fn weight(&self, f: f64, u: f64, n: usize) -> f64 {
        if u == f64::INFINITY || self.count(n) == 0.0 || !f.is_finite() {
            return 0.0;
        }
        (f - u - self.log_denominator()[n]).exp()
    }

    fn count(&self, n: usize) -> f64 {
        self.multiplicity().map_or(1.0, |c| c[n])
    }
}
