//! Samples of several simulations in different ensembles, turned into samples of one (Torrie and Valleau 1977).
//!
//! Windows k are held by harmonic restraints u_k(s) = Σ ½ κ_k (s − s_k)², with κ in kT per square of the variable's
//! unit, around any periodic variable along the shortest way. MBAR weighs every sample by
//! 1 / Σ_k N_k exp(f_k − u_k(s_n)) (Shirts and Chodera 2008); [`super::wham`] does the same with bins in place of
//! samples. Each sample of a window counts 1/g, with g the statistical inefficiency there, so that a window whose
//! samples are correlated has the say of its independent ones.

mod metadata;
#[cfg(test)]
mod tests;

pub use metadata::{WindowFile, read_window_files};

use super::alchemical::{Severity, Verdict};
use super::{Mbar, ReducedEnergies};
use crate::error::{Error, Result};

/// Overlap of neighbours below which their difference is poorly known (Klimovich, Shirts and Mobley 2015).
const LOW_OVERLAP: f64 = 0.03;
/// Standard errors between a window's own mean and that from all windows beyond which they contradict each other.
const CONTRADICTION: f64 = 4.5;
/// Mean square of these differences over all windows beyond which their restraints are wrong.
const CONTRADICTION_OF_ALL: f64 = 3.0;
/// Independent samples that a window should have.
const FEW_SAMPLES: f64 = 20.0;

/// A harmonic restraint in one or more variables.
#[derive(Debug, Clone, PartialEq)]
pub struct Restraint {
    /// s_k, one number per variable.
    pub center: Vec<f64>,
    /// κ_k in kT per square of the variable's unit.
    pub force_constant_kt: Vec<f64>,
}

impl Restraint {
    /// Energy in kT of variables, whose periods are known where they have any.
    pub fn energy_kt(&self, variables: &[f64], periods: &[Option<f64>]) -> f64 {
        let terms = self.center.iter().zip(&self.force_constant_kt).zip(variables.iter().zip(periods));
        terms.map(|((center, k), (s, period))| 0.5 * k * distance(*center, *s, *period).powi(2)).sum()
    }
}

/// s − center along the shortest way.
pub(in crate::free_energy) fn distance(center: f64, s: f64, period: Option<f64>) -> f64 {
    let d = s - center;
    period.map_or(d, |period| d - period * (d / period).round())
}

/// One simulation with a restraint.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// The file, in messages.
    pub name: String,
    /// What held it.
    pub restraint: Restraint,
    /// Samples.
    pub n_samples: usize,
    /// Statistical inefficiency of its variables.
    pub inefficiency: f64,
}

/// Samples of several ensembles with the energies that MBAR needs.
#[derive(Debug, Clone)]
pub struct Mixture {
    energies: ReducedEnergies,
    /// The state whose weights are wanted.
    target: usize,
    /// Entry of the energies of each sample; absent when every sample is one.
    entry_of: Option<Vec<u32>>,
    /// What each sample counts: 1/g.
    base: Vec<f64>,
}

impl Mixture {
    /// All windows, with the unrestrained ensemble behind them; `variables` are `[sample][variable]`, by window.
    pub fn of_windows(windows: &[Window], variables: &[f64], periods: &[Option<f64>]) -> Result<Self> {
        let state_of = states(windows, variables, periods)?;
        let n_samples = state_of.len();
        let mut u = Vec::with_capacity((windows.len() + 1) * n_samples);
        for window in windows {
            let samples = variables.chunks_exact(periods.len());
            u.extend(samples.map(|sample| window.restraint.energy_kt(sample, periods)));
        }
        u.resize(u.len() + n_samples, 0.0);
        let energies = ReducedEnergies::new(windows.len() + 1, u, state_of)?.with_names(names(windows))?;
        Ok(Self { energies, target: windows.len(), entry_of: None, base: base(windows) })
    }

    /// Samples of any states, of which the energies are known in all; weights of one of them, sampled or not.
    ///
    /// `inefficiency_of` is that of each sample's series.
    pub fn of_states(energies: ReducedEnergies, target: usize, inefficiency_of: &[f64]) -> Result<Self> {
        let n_samples = energies.n_samples();
        if target >= energies.n_states() || inefficiency_of.len() != n_samples {
            return Err(Error::invalid(
                "state whose weights are wanted",
                format!("an index below {}, and {n_samples} inefficiencies", energies.n_states()),
                format!("{target} and {}", inefficiency_of.len()),
            ));
        }
        let base = inefficiency_of.iter().map(|g| 1.0 / g.max(1.0)).collect();
        Ok(Self { energies, target, entry_of: None, base })
    }

    pub(in crate::free_energy) fn of_entries(
        windows: &[Window],
        energies: ReducedEnergies,
        entry_of: Vec<u32>,
    ) -> Result<Self> {
        let energies = energies.with_names(names(windows))?;
        Ok(Self { energies, target: windows.len(), entry_of: Some(entry_of), base: base(windows) })
    }

    /// Number of samples.
    pub fn n_samples(&self) -> usize {
        self.base.len()
    }

    /// Solves for the free energies of all states.
    pub fn solve(&self) -> Result<Mbar<'_>> {
        Mbar::weighted(&self.energies, self.multiplicity(None))
    }

    /// Weight of each sample in the target state; `count` is how often each counts in a resample, whose solution
    /// starts from that of the full samples. `None` where there is no solution.
    pub fn weights(&self, solution: &Mbar<'_>, count: Option<&[f64]>) -> Option<Vec<f64>> {
        let resampled;
        let mbar = match count {
            Some(_) => {
                resampled = solution.resampled(self.multiplicity(count)).ok()?;
                &resampled
            }
            None => solution,
        };
        let of_entries = mbar.weights(self.target);
        Some(self.of_samples(&of_entries, count))
    }

    /// Weight of each sample in one of the states.
    fn weights_in(&self, solution: &Mbar<'_>, state: usize) -> Vec<f64> {
        self.of_samples(&solution.weights(state), None)
    }

    fn of_samples(&self, of_entries: &[f64], count: Option<&[f64]>) -> Vec<f64> {
        let Some(entry_of) = &self.entry_of else { return of_entries.to_vec() };
        let multiplicity = self.multiplicity(count);
        let weight = |(n, entry): (usize, &u32)| {
            let entry = *entry as usize;
            let own = self.base[n] * count.map_or(1.0, |count| count[n]);
            if own > 0.0 { own / multiplicity[entry] * of_entries[entry] } else { 0.0 }
        };
        entry_of.iter().enumerate().map(weight).collect()
    }

    fn multiplicity(&self, count: Option<&[f64]>) -> Vec<f64> {
        let own = |n: usize| self.base[n] * count.map_or(1.0, |count| count[n]);
        let Some(entry_of) = &self.entry_of else { return (0..self.base.len()).map(own).collect() };
        let mut multiplicity = vec![0.0; self.energies.n_samples()];
        for (n, entry) in entry_of.iter().enumerate() {
            multiplicity[*entry as usize] += own(n);
        }
        multiplicity
    }
}

/// Checks that samples and windows fit, and gives each sample its window.
pub(in crate::free_energy) fn states(
    windows: &[Window],
    variables: &[f64],
    periods: &[Option<f64>],
) -> Result<Vec<usize>> {
    let n_variables = periods.len();
    let n_samples: usize = windows.iter().map(|window| window.n_samples).sum();
    if n_variables == 0 || variables.len() != n_samples * n_variables || n_samples == 0 {
        return Err(Error::invalid(
            "samples of umbrella windows",
            format!("{n_variables} numbers for each of {n_samples} samples"),
            format!("{} numbers", variables.len()),
        ));
    }
    for window in windows {
        let restraint = &window.restraint;
        let fits = restraint.center.len() == n_variables && restraint.force_constant_kt.len() == n_variables;
        let valid = restraint.center.iter().all(|center| center.is_finite())
            && restraint.force_constant_kt.iter().all(|k| k.is_finite() && *k >= 0.0);
        if !(fits && valid) {
            return Err(Error::invalid(
                "restraint of an umbrella window",
                format!("{n_variables} finite centres and force constants of zero or more"),
                format!("{:?} and {:?} for {}", restraint.center, restraint.force_constant_kt, window.name),
            ));
        }
    }
    Ok(windows.iter().enumerate().flat_map(|(k, window)| std::iter::repeat_n(k, window.n_samples)).collect())
}

fn names(windows: &[Window]) -> Vec<String> {
    windows.iter().map(|window| window.name.clone()).chain(["no restraint".to_string()]).collect()
}

fn base(windows: &[Window]) -> Vec<f64> {
    let of_window =
        |window: &Window| std::iter::repeat_n(1.0 / window.inefficiency.max(1.0), window.n_samples);
    windows.iter().flat_map(of_window).collect()
}

/// What is known about a window.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowReport {
    /// The file.
    pub name: String,
    /// Samples.
    pub n_samples: usize,
    /// Statistical inefficiency.
    pub inefficiency: f64,
    /// Mean of each variable, from the centre along the shortest way.
    pub mean: Vec<f64>,
    /// The window with which it shares most, and the overlap: the probability that one of its samples is taken for
    /// one of that window's. Along one variable, it is the next one in the order of centres; none for the last.
    pub next: Option<(usize, f64)>,
}

/// Windows with their overlaps, and what must be known before trusting what comes of them.
///
/// Each window's mean is compared with what the samples of all of them say of it, weighted to that window (Zhu and
/// Hummer 2012): restraints that are not those of the simulations, and slow variables besides, show there.
pub fn examine(
    mixture: &Mixture,
    windows: &[Window],
    variables: &[f64],
    periods: &[Option<f64>],
    solution: &Mbar<'_>,
) -> (Vec<WindowReport>, Vec<Verdict>) {
    let overlap = solution.overlap();
    let mut order: Vec<usize> = (0..windows.len()).collect();
    order.sort_by(|a, b| {
        windows[*a].restraint.center[0].total_cmp(&windows[*b].restraint.center[0]).then(a.cmp(b))
    });
    let next_of = |k: usize| -> Option<usize> {
        if periods.len() == 1 {
            let place = order.iter().position(|other| *other == k)?;
            return order.get(place + 1).copied();
        }
        (0..windows.len())
            .filter(|other| *other != k)
            .max_by(|a, b| overlap[k][*a].total_cmp(&overlap[k][*b]))
    };
    let mut reports = Vec::new();
    let mut verdicts = Vec::new();
    let mut stiffness = Vec::new();
    let mut contradictions: Vec<(f64, String)> = Vec::new();
    let mut first = 0;
    for (k, window) in windows.iter().enumerate() {
        let samples = &variables[first * periods.len()..(first + window.n_samples) * periods.len()];
        first += window.n_samples;
        let mut mean = Vec::new();
        let expected = mixture.weights_in(solution, k);
        for (v, period) in periods.iter().enumerate() {
            let series: Vec<f64> = samples
                .iter()
                .skip(v)
                .step_by(periods.len())
                .map(|s| distance(window.restraint.center[v], *s, *period))
                .collect();
            let (average, variance) = moments(&series);
            mean.push(window.restraint.center[v] + average);
            let all = variables.iter().skip(v).step_by(periods.len()).zip(&expected);
            let moved = all.map(|(s, w)| w * distance(window.restraint.center[v], *s, *period)).sum::<f64>()
                / expected.iter().sum::<f64>();
            let error = (variance * window.inefficiency / window.n_samples.max(1) as f64).sqrt();
            let z = (average - moved).abs() / error;
            if z.is_finite() {
                let center = window.restraint.center[v];
                let text = format!(
                    "{} has its mean at {:.4}, and all windows together say {:.4} ({z:.1} standard errors)",
                    window.name,
                    center + average,
                    center + moved
                );
                contradictions.push((z, text));
            }
            stiffness.push(variance * window.restraint.force_constant_kt[v]);
        }
        let next = next_of(k).map(|other| (other, overlap[k][other]));
        reports.push(WindowReport {
            name: window.name.clone(),
            n_samples: window.n_samples,
            inefficiency: window.inefficiency,
            mean,
            next,
        });
    }
    if let Some(sentence) = solution.disconnection() {
        let advice = "add windows between them or make restraints softer";
        let message = format!("{sentence}; {advice}");
        verdicts.push(Verdict::new(Severity::Untrustworthy, "disconnected", message));
    }
    for (k, report) in reports.iter().enumerate() {
        let Some((other, _)) = report.next else { continue };
        // The share of the rarer window's samples decides: its neighbour may have many more.
        let shared = overlap[k][other].max(overlap[other][k]);
        if shared < LOW_OVERLAP {
            let between = |v: usize| {
                let (a, b) = (windows[k].restraint.center[v], windows[other].restraint.center[v]);
                a + 0.5 * distance(a, b, periods[v])
            };
            let place: Vec<String> = (0..periods.len()).map(|v| format!("{:.4}", between(v))).collect();
            let message = format!(
                "windows {} and {} hardly overlap ({shared:.1e}, less than {LOW_OVERLAP}): add a window at {}",
                report.name,
                windows[other].name,
                place.join(", ")
            );
            verdicts.push(Verdict::new(Severity::Warning, "low_overlap", message));
        }
    }
    verdicts.extend(few_samples(windows));
    verdicts.extend(wrong_unit(stiffness));
    verdicts.extend(inconsistent(contradictions));
    (reports, verdicts)
}

/// Of differences between means in standard errors, which are below one where all is well: a window is part of all.
fn inconsistent(mut differences: Vec<(f64, String)>) -> Option<Verdict> {
    differences.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (largest, worst) = differences.first()?;
    let mean_square = differences.iter().map(|(z, _)| z * z).sum::<f64>() / differences.len() as f64;
    let everywhere = differences.len() >= 4 && mean_square > CONTRADICTION_OF_ALL;
    if *largest < CONTRADICTION && !everywhere {
        return None;
    }
    // One window may be caught in a corner; many have restraints that are not theirs.
    let severity = if everywhere { Severity::Untrustworthy } else { Severity::Warning };
    let message = format!(
        "windows contradict each other, most of all where {worst}: centres or force constants (their unit?) are not \
         those of the simulations, or another slow variable differs between windows"
    );
    Some(Verdict::new(severity, "inconsistent_windows", message))
}

fn few_samples(windows: &[Window]) -> Option<Verdict> {
    let independent = |window: &&Window| window.n_samples as f64 / window.inefficiency.max(1.0);
    let few: Vec<&Window> = windows.iter().filter(|window| independent(window) < FEW_SAMPLES).collect();
    let worst = few.iter().copied().min_by(|a, b| independent(a).total_cmp(&independent(b)))?;
    let message = format!(
        "{} of {} windows have fewer than {FEW_SAMPLES} independent samples; {} has {:.1}",
        few.len(),
        windows.len(),
        worst.name,
        independent(&worst)
    );
    Some(Verdict::new(Severity::Warning, "few_samples", message))
}

/// κ var(s) is 1 where the free energy is flat, and within a factor of two or so where windows are narrow enough.
fn wrong_unit(mut stiffness: Vec<f64>) -> Option<Verdict> {
    stiffness.retain(|value| *value > 0.0 && value.is_finite());
    stiffness.sort_by(f64::total_cmp);
    let median = *stiffness.get(stiffness.len() / 2)?;
    if stiffness.len() < 3 || (0.1..2.5).contains(&median) {
        return None;
    }
    let message = format!(
        "samples spread {} than their restraints let them: force constant × variance is {median:.3} kT in the median \
         window and should be near 1; is the unit of the force constants right (kJ/mol or kcal/mol, per degree² or \
         radian², k or k/2)?",
        if median > 1.0 { "farther" } else { "less" }
    );
    Some(Verdict::new(Severity::Warning, "force_constant_unit", message))
}

fn moments(series: &[f64]) -> (f64, f64) {
    let n = series.len().max(1) as f64;
    let mean = series.iter().sum::<f64>() / n;
    (mean, series.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0))
}
