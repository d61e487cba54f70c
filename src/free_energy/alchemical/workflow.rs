//! The way from a data set to an analysis.

use super::data_checks::has_relative_energies;
use super::decorrelation::{Sampling, sampling};
use super::diagnostics::{blocks, convergence};
use super::integration::{NodeMean, Nodes, Rule};
use super::judgement::judge;
use super::links::{Links, Step};
use super::multistate::Multistate;
use super::resampling::{Rings, stream};
use super::{
    Analysis, AnalysisSettings, Dataset, Decorrelation, Estimator, PathEstimate, Severity, TiRule, Verdict,
};
use crate::error::{Error, Result};
use crate::free_energy::Mbar;
use crate::free_energy::bootstrap::deviation;
use rayon::prelude::*;

/// All estimators, best first.
pub(super) const ALL: [Estimator; 7] = [
    Estimator::Mbar,
    Estimator::Bar,
    Estimator::Ti,
    Estimator::ExpForward,
    Estimator::ExpReverse,
    Estimator::GaussianForward,
    Estimator::GaussianReverse,
];

/// Those that are tried where none is named. Cumulants of the second order are biased wherever energies are not
/// Gaussian, and have to be asked for.
const BY_DEFAULT: [Estimator; 5] =
    [Estimator::Mbar, Estimator::Bar, Estimator::Ti, Estimator::ExpForward, Estimator::ExpReverse];

/// Everything that estimators and diagnostics work on.
pub(super) struct Work<'a> {
    pub data: &'a Dataset,
    pub settings: &'a AnalysisSettings,
    pub sampling: Sampling,
    pub links: Links,
    pub nodes: Option<Nodes>,
    pub rule: Option<Rule>,
    pub multistate: Option<&'a Multistate>,
    pub mbar: Option<Mbar<'a>>,
    /// Means of the derivatives of all states that have them.
    pub means: Vec<NodeMean>,
    /// Steps of Bennett's ratio, where there are energies.
    pub bar: Vec<Step>,
}

/// All estimators that the data allow, or those that the settings name, with diagnostics and verdicts.
///
/// Estimators that are named and impossible are errors that say what the data lack.
pub fn analyse(data: &Dataset, settings: &AnalysisSettings) -> Result<Analysis> {
    if data.states.len() < 2 || data.n_samples() == 0 {
        return Err(Error::invalid(
            "alchemical data",
            "samples and at least two states",
            format!("{} samples, {} states", data.n_samples(), data.states.len()),
        ));
    }
    let sampling = sampling(data, settings.decorrelation)?;
    let links = Links::new(data);
    let nodes = Nodes::new(data);
    let mut wanted = wanted(data, settings, &links, nodes.as_ref())?;
    let mut unsolved = None;
    let multistate = if wanted.contains(&Estimator::Mbar) {
        Some(Multistate::new(data, &sampling.energy_counts)?)
    } else {
        None
    };
    let rule = match &nodes {
        Some(nodes) if wanted.contains(&Estimator::Ti) => Some(nodes.rule(settings.ti_rule, data)?),
        _ => None,
    };
    let mbar = match multistate.as_ref().map(|all| all.solve(&sampling.energy_counts)) {
        // Energies that have no solution cost only MBAR, unless it was asked for.
        Some(Err(error @ Error::NotConverged { .. })) if settings.estimators.is_empty() => {
            wanted.retain(|&one| one != Estimator::Mbar);
            unsolved =
                Some(Verdict::new(Severity::Untrustworthy, "mbar_unsolved", format!("No MBAR: {error}.")));
            None
        }
        solved => solved.transpose()?,
    };
    let means = nodes.as_ref().map_or_else(Vec::new, |nodes| nodes.means(data, &sampling.slope_counts));
    let bar =
        if links.is_empty() { Vec::new() } else { links.steps(Estimator::Bar, &sampling.energy_counts)? };
    let multistate = multistate.as_ref();
    let mut work = Work { data, settings, sampling, links, nodes, rule, multistate, mbar, means, bar };
    mean_derivatives(&mut work);

    let mut estimates =
        wanted.iter().map(|&estimator| work.estimate(estimator)).collect::<Result<Vec<PathEstimate>>>()?;
    if settings.n_bootstrap > 0 {
        work.bootstrap(&mut estimates);
    }
    let convergence_estimator = wanted.first().copied();
    let (convergence, blocks) = match convergence_estimator {
        Some(estimator) if settings.n_convergence > 0 => {
            (convergence(&work, estimator), blocks(&work, estimator))
        }
        _ => (Vec::new(), Vec::new()),
    };
    let (overlap, groups) = work.overlap();
    let mut analysis = Analysis {
        estimates,
        windows: work.sampling.windows.clone(),
        overlap,
        groups,
        convergence,
        convergence_estimator,
        blocks,
        verdicts: data.verdicts.iter().cloned().chain(unsolved).collect(),
    };
    judge(&work, &mut analysis);
    Ok(analysis)
}

/// Estimators to be used, best first.
fn wanted(
    data: &Dataset,
    settings: &AnalysisSettings,
    links: &Links,
    nodes: Option<&Nodes>,
) -> Result<Vec<Estimator>> {
    let lacks = |estimator: Estimator| match estimator {
        Estimator::Mbar if !data.u_kt.is_empty() && !data.has_holes => None,
        Estimator::Mbar if data.u_kt.is_empty() => Some("energies of the samples in the other states"),
        Estimator::Mbar => {
            Some("energies of all samples in all states (use BAR, which needs only neighbours)")
        }
        Estimator::Ti if nodes.is_some() => None,
        Estimator::Ti => Some("derivatives of the energy by λ in at least two sampled states"),
        _ if links.is_empty() => Some("energies of the samples in neighbouring states"),
        _ => None,
    };
    if settings.estimators.is_empty() {
        let mut possible: Vec<Estimator> =
            BY_DEFAULT.into_iter().filter(|&one| lacks(one).is_none()).collect();
        // Nodes that are not those of Gauss and Legendre are an error only where TI is asked for.
        if let (TiRule::Gauss, Some(nodes)) = (settings.ti_rule, nodes) {
            nodes.rule(TiRule::Gauss, data)?;
        }
        possible.dedup();
        return if possible.is_empty() {
            Err(Error::invalid("alchemical data", "energies or derivatives", "neither"))
        } else {
            Ok(possible)
        };
    }
    let wanted: Vec<Estimator> = ALL.into_iter().filter(|one| settings.estimators.contains(one)).collect();
    match wanted.iter().find_map(|&one| lacks(one).map(|lack| (one, lack))) {
        Some((estimator, lack)) => Err(Error::invalid(
            "data for the estimator",
            format!("{lack}, for {}", estimator.name()),
            "files without them",
        )),
        None => Ok(wanted),
    }
}

impl Work<'_> {
    /// Whether errors follow the definitions of alchemlyb, to be compared with it.
    pub fn plain_errors(&self) -> bool {
        self.settings.decorrelation != Decorrelation::Weights
    }

    fn estimate(&self, estimator: Estimator) -> Result<PathEstimate> {
        let counts = &self.sampling.energy_counts;
        let mut path = match estimator {
            Estimator::Mbar => match (&self.multistate, &self.mbar) {
                (Some(multistate), Some(mbar)) => {
                    // Differences from the energy of the own state have no mean that belongs to a state alone.
                    let meaningful = self.plain_errors() || !has_relative_energies(self.data);
                    multistate.path(mbar, counts, meaningful)
                }
                _ => PathEstimate::empty(estimator),
            },
            Estimator::Ti => match (&self.nodes, &self.rule) {
                (Some(nodes), Some(rule)) => nodes.path(rule, &self.means, !self.plain_errors()),
                _ => PathEstimate::empty(estimator),
            },
            Estimator::Bar => self.links.path(estimator, &self.bar, counts, self.plain_errors()),
            _ => {
                let steps = self.links.steps(estimator, counts)?;
                self.links.path(estimator, &steps, counts, self.plain_errors())
            }
        };
        path = path.determined();
        let counts = if estimator == Estimator::Ti { &self.sampling.slope_counts } else { counts };
        path.n_samples =
            Sampling::per_state(counts, self.data).into_iter().map(|n| n.round() as usize).collect();
        path.error_method += match self.settings.decorrelation {
            Decorrelation::Weights => "; samples count 1/g",
            Decorrelation::Alchemlyb => "; one sample in g",
            Decorrelation::None => "; samples taken as independent",
        };
        Ok(path)
    }

    /// Free energies of all states with samples counted as given; NaN where undetermined.
    fn values(&self, estimator: Estimator, energy_counts: &[f64], slope_counts: &[f64]) -> Option<Vec<f64>> {
        match estimator {
            Estimator::Mbar => {
                let (multistate, mbar) = (self.multistate?, self.mbar.as_ref()?);
                let again = mbar.resampled(multistate.counts(energy_counts)).ok()?;
                let f = again.free_energies_kt();
                let first = f[multistate.row(0)?];
                Some(
                    (0..self.data.states.len())
                        .map(|k| multistate.row(k).map_or(f64::NAN, |row| f[row] - first))
                        .collect(),
                )
            }
            Estimator::Ti => {
                let (nodes, rule) = (self.nodes.as_ref()?, self.rule.as_ref()?);
                Some(nodes.path(rule, &nodes.means(self.data, slope_counts), false).delta_f)
            }
            _ => {
                let steps = self.links.steps(estimator, energy_counts).ok()?;
                Some(self.links.path(estimator, &steps, energy_counts, true).delta_f)
            }
        }
    }

    /// f_last − f_first and its error with samples counted as given.
    pub fn total(&self, estimator: Estimator, energy_counts: &[f64], slope_counts: &[f64]) -> (f64, f64) {
        let unknown = (f64::NAN, f64::INFINITY);
        let total = match estimator {
            Estimator::Mbar => match (self.multistate, &self.mbar) {
                (Some(multistate), Some(mbar)) => mbar
                    .resampled(multistate.counts(energy_counts))
                    .map_or(unknown, |again| multistate.total(&again)),
                _ => unknown,
            },
            Estimator::Ti => match (&self.nodes, &self.rule) {
                (Some(nodes), Some(rule)) => {
                    nodes.total_with_error(rule, &nodes.means(self.data, slope_counts))
                }
                _ => unknown,
            },
            _ => self.links.steps(estimator, energy_counts).map_or(unknown, |steps| {
                self.links.path(estimator, &steps, energy_counts, self.plain_errors()).total()
            }),
        };
        if total.0.is_finite() && total.1.is_finite() { total } else { unknown }
    }

    fn bootstrap(&self, estimates: &mut [PathEstimate]) {
        let energies =
            Rings::new(self.data, &self.sampling.energy_counts, &self.sampling.energy_inefficiency);
        let slopes = Rings::new(self.data, &self.sampling.slope_counts, &self.sampling.slope_inefficiency);
        let kinds: Vec<Estimator> = estimates.iter().map(|path| path.estimator).collect();
        // [resample][estimator][state].
        let replicates: Vec<Vec<Option<Vec<f64>>>> = (0..self.settings.n_bootstrap)
            .into_par_iter()
            .map(|resample| {
                let by_energy = energies.draw(&mut stream(self.settings.seed, resample));
                let by_slope = slopes.draw(&mut stream(self.settings.seed, resample));
                kinds.iter().map(|&kind| self.values(kind, &by_energy, &by_slope)).collect()
            })
            .collect();
        for (place, path) in estimates.iter_mut().enumerate() {
            path.bootstrap_error = (0..path.delta_f.len())
                .map(|state| {
                    // What the whole sample does not determine, a lucky resample does not either.
                    if !path.std_error[state].is_finite() {
                        return f64::INFINITY;
                    }
                    let values = replicates.iter().filter_map(|one| one[place].as_ref()).map(|f| f[state]);
                    if state == 0 { 0.0 } else { deviation(values.clone()) }
                })
                .collect();
            let rings = if path.estimator == Estimator::Ti { &slopes } else { &energies };
            path.error_method += &format!("; {}", rings.method(self.settings.n_bootstrap));
        }
    }

    /// MBAR's overlap and linked groups, by states of the data set.
    fn overlap(&self) -> (Vec<Vec<f64>>, Vec<Vec<usize>>) {
        let (Some(multistate), Some(mbar)) = (self.multistate, &self.mbar) else {
            return (Vec::new(), Vec::new());
        };
        let n = self.data.states.len();
        let small = mbar.overlap();
        let mut overlap = vec![vec![0.0; n]; n];
        for (i, &a) in multistate.rows.iter().enumerate() {
            for (j, &b) in multistate.rows.iter().enumerate() {
                overlap[a][b] = small[i][j];
            }
        }
        let states = |group: Vec<usize>| group.into_iter().map(|row| multistate.rows[row]).collect();
        (overlap, mbar.groups().into_iter().map(states).collect())
    }
}

/// Mean derivatives of every window.
fn mean_derivatives(work: &mut Work) {
    let data = work.data;
    if data.dudl_kt.is_empty() {
        return;
    }
    for (window, statistics) in data.windows.iter().zip(&mut work.sampling.windows) {
        let counts = &work.sampling.slope_counts[window.samples.clone()];
        let total: f64 = counts.iter().sum();
        for c in 0..data.components.len() {
            let slopes = &data.dudl_of_component(c)[window.samples.clone()];
            let mean = slopes.iter().zip(counts).map(|(x, count)| x * count).sum::<f64>() / total;
            let square: f64 = slopes.iter().zip(counts).map(|(x, count)| count * (x - mean).powi(2)).sum();
            let variance = if total > 1.0 { square / (total - 1.0) / total } else { f64::INFINITY };
            statistics.mean_dudl.push(mean);
            statistics.mean_dudl_error.push(variance.sqrt());
        }
    }
}
