//! Potentials of mean force from tables of collective variables.

mod axes;
mod examine;
mod figure;
mod hills;
mod output;
mod page;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use axes::{AxisRequest, Periodicity};
pub use output::PmfOutcome;

use crate::error::{Error, Result};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::pmf::series::inefficiency;
use crate::free_energy::pmf::{Axis, Binned, Density, Method, Pmf, Reference, Weigh, effective_samples};
use crate::free_energy::umbrella::{Mixture, Restraint, Window, WindowFile, WindowReport, read_window_files};
use crate::free_energy::wham::{Grid, wham};
use crate::free_energy::{Mbar, ReducedEnergies, Strata, umbrella};
use crate::random::Streams;
use crate::run::series::{Distinct, Series, read_all};
use crate::units::{EnergyUnit, Temperature};

/// Where weights come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Samples of the ensemble itself: all weights are equal.
    Unbiased,
    /// Samples of a simulation with a bias, the sum of these columns: weights exp(+V/kT).
    Bias(Vec<String>),
    /// Windows in this list.
    Umbrella(PathBuf),
    /// Gaussians in this file, without samples.
    Hills(PathBuf),
    /// Each file is a simulation in one of several states, in order, and has the energies of its samples in all.
    States {
        /// One column of energies per state.
        columns: Vec<String>,
        /// The state, counted from 0, whose profile is wanted.
        target: usize,
    },
}

/// How several windows are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    /// By every sample.
    Mbar,
    /// By bins.
    Wham,
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct PmfRequest {
    /// One table per simulation; empty where a list names them.
    pub files: Vec<PathBuf>,
    /// One or two variables.
    pub axes: Vec<AxisRequest>,
    /// How the density is estimated.
    pub method: Method,
    /// Of the simulations; needed wherever energies are read or shown in a unit other than kT.
    pub temperature: Option<Temperature>,
    /// Where weights come from.
    pub source: Source,
    /// How windows are joined.
    pub joining: Joining,
    /// Where the zero lies.
    pub reference: Reference,
    /// Share of every file that is left out at the beginning.
    pub discard: f64,
    /// Resamples for errors.
    pub n_bootstrap: usize,
    /// Of the resamples.
    pub seed: u64,
    /// In which the result is shown.
    pub unit: EnergyUnit,
    /// Of biases, hills and force constants in files.
    pub energy_unit: EnergyUnit,
    /// Whether 2 ln r is added along the first variable, a distance.
    pub without_jacobian: bool,
    /// Where tables and figures are written.
    pub out: Option<PathBuf>,
}

impl PmfRequest {
    /// kT in the unit of energies of the files.
    fn per_kt(&self) -> Result<f64> {
        match (self.energy_unit, self.temperature) {
            (EnergyUnit::Kt, _) => Ok(1.0),
            (unit, Some(temperature)) => Ok(unit.per_kt(temperature.as_kelvin())),
            (unit, None) => Err(Error::config(
                "temperature",
                format!("energies of files are in {unit}, and the temperature is not known"),
                "give it with --temperature, for example --temperature 300, or --energy-unit kT",
            )),
        }
    }

    fn check(&self) -> Result<()> {
        if self.unit != EnergyUnit::Kt && self.temperature.is_none() {
            let message = format!("a result in {} needs the temperature", self.unit);
            return Err(Error::config("temperature", message, "give --temperature, or --unit kT"));
        }
        if self.axes.is_empty() || self.axes.len() > 2 {
            let message = format!("{} variables were given", self.axes.len());
            return Err(Error::config("cv", message, "give one, or two as --cv phi,psi"));
        }
        let of_axis = |axis: &AxisRequest| {
            axis.edges.as_ref().map_or(axis.n_bins, |edges| edges.len().saturating_sub(1))
        };
        let n_bins = self.axes.iter().map(of_axis).fold(1, usize::saturating_mul);
        if n_bins > MOST_BINS {
            let message = format!("{n_bins} bins in all, more than {MOST_BINS}");
            return Err(Error::config("bins", message, "give fewer; a bin needs samples to have a value"));
        }
        if self.without_jacobian
            && self
                .axes
                .iter()
                .any(|axis| axis.periodicity != Periodicity::FromFile && axis.periodicity != Periodicity::No)
        {
            return Err(Error::config(
                "distance",
                "a periodic variable is no distance",
                "leave --distance out",
            ));
        }
        Ok(())
    }
}

/// Bins of all variables together that fit into memory with their errors.
const MOST_BINS: usize = 10_000_000;

/// All samples, by simulation, with the weights that they get.
struct Samples {
    series: Vec<Series>,
    /// `[sample][axis]`.
    values: Vec<f64>,
    lengths: Vec<usize>,
    inefficiencies: Vec<f64>,
    /// For each file that was given, which simulation it is.
    place_of: Vec<usize>,
    /// What reading several files brought up.
    warnings: Vec<String>,
}

impl Samples {
    fn read(request: &PmfRequest, files: &[PathBuf]) -> Result<(Self, Vec<Axis>)> {
        let Distinct { series, place_of, warnings } = read_all(files, request.discard)?;
        let mut values = Vec::new();
        for series in &series {
            let columns: Result<Vec<&[f64]>> =
                request.axes.iter().map(|axis| series.column(&axis.column)).collect();
            let columns = columns?;
            values.extend((0..series.n_rows()).flat_map(|row| columns.iter().map(move |column| column[row])));
        }
        let n_axes = request.axes.len();
        let axes: Result<Vec<Axis>> = request
            .axes
            .iter()
            .enumerate()
            .map(|(index, axis)| {
                axis.axis(&series, &values.iter().skip(index).step_by(n_axes).copied().collect::<Vec<_>>())
            })
            .collect();
        let axes = axes?;
        let lengths: Vec<usize> = series.iter().map(Series::n_rows).collect();
        let mut samples = Self { series, values, lengths, inefficiencies: Vec::new(), place_of, warnings };
        let periods = periods(&axes);
        samples.inefficiencies =
            samples.by_series(n_axes).map(|values| inefficiency(values, &periods)).collect();
        Ok((samples, axes))
    }

    /// Values of each simulation.
    fn by_series(&self, n_axes: usize) -> impl Iterator<Item = &[f64]> {
        let mut first = 0;
        self.lengths.iter().map(move |n| {
            first += n * n_axes;
            &self.values[first - n * n_axes..first]
        })
    }

    fn inefficiency_of(&self) -> Vec<f64> {
        let of = |(n, g): (&usize, &f64)| std::iter::repeat_n(*g, *n);
        self.lengths.iter().zip(&self.inefficiencies).flat_map(of).collect()
    }
}

fn periods(axes: &[Axis]) -> Vec<Option<f64>> {
    axes.iter().map(|axis| axis.is_periodic().then(|| axis.span())).collect()
}

/// Reads, estimates, judges, and writes where asked to.
pub fn pmf(request: &PmfRequest) -> Result<PmfOutcome> {
    request.check()?;
    let outcome = match &request.source {
        Source::Hills(path) => hills::profile(request, path)?,
        Source::Umbrella(list) => of_windows(request, list)?,
        Source::Unbiased => of_weights(request, &[])?,
        Source::Bias(columns) => of_weights(request, columns)?,
        Source::States { columns, target } => of_states(request, columns, *target)?,
    };
    if let Some(directory) = &request.out {
        outcome.write(directory)?;
    }
    Ok(outcome)
}

/// Weights from a bias, or none.
fn of_weights(request: &PmfRequest, bias: &[String]) -> Result<PmfOutcome> {
    let (samples, axes) = Samples::read(request, &request.files)?;
    let mut verdicts = examine::column_names(&samples.series, &request.axes);
    let mut log_weights = Vec::new();
    if bias.is_empty() {
        verdicts.extend(examine::ignored_bias(&samples.series));
    } else {
        let per_kt = request.per_kt()?;
        let bias = examine::settled_bias(&samples.series, bias, &mut verdicts);
        for series in &samples.series {
            log_weights.extend(series.sum(&bias)?.iter().map(|v| v / per_kt));
        }
        verdicts.extend(examine::weights(&log_weights, &samples)?);
    }
    let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = match log_weights.is_empty() {
        true => vec![1.0; samples.lengths.iter().sum()],
        false => log_weights.iter().map(|w| (w - largest).exp()).collect(),
    };
    let weigh = |count: Option<&[f64]>| {
        Some(match count {
            Some(count) => weights.iter().zip(count).map(|(weight, count)| weight * count).collect(),
            None => weights.clone(),
        })
    };
    let pmf = estimate(request, &samples, &axes, &weights, &weigh)?;
    let n_effective = effective_samples(&weights, &samples.inefficiency_of());
    verdicts.extend(examine::sampling(&samples, &axes, n_effective));
    let windows = examine::series_reports(&samples);
    Ok(PmfOutcome::new(request, pmf, &axes, &samples, n_effective, windows, verdicts))
}

fn estimate(
    request: &PmfRequest,
    samples: &Samples,
    axes: &[Axis],
    weights: &[f64],
    weigh: &Weigh<'_>,
) -> Result<Pmf> {
    let mut density =
        Density::new(&request.method, axes, &samples.values, weights, &samples.inefficiency_of())?;
    if request.without_jacobian {
        density = density.without_jacobian(0)?;
    }
    let strata = Strata::new(&samples.lengths, &samples.inefficiencies)?;
    Pmf::estimate(
        &density,
        weigh,
        &request.reference,
        &strata,
        request.n_bootstrap,
        &Streams::new(request.seed),
    )
}

/// Weights of one of several states between which MBAR joins all samples.
fn of_states(request: &PmfRequest, columns: &[String], target: usize) -> Result<PmfOutcome> {
    let per_kt = request.per_kt()?;
    let (samples, axes) = Samples::read(request, &request.files)?;
    if let Some(warning) = samples.warnings.first() {
        let hint = "each file is a simulation in another state";
        return Err(Error::config("FILES", warning.clone(), hint));
    }
    if columns.len() < samples.series.len() || target >= columns.len() {
        let message = format!(
            "{} columns of energies for {} files and target state {target}",
            columns.len(),
            samples.series.len()
        );
        return Err(Error::config(
            "state-energies",
            message,
            "give one column per state, those of the files first; states are counted from 0",
        ));
    }
    let mut u_kn = Vec::new();
    for column in columns {
        for series in &samples.series {
            u_kn.extend(series.column(column)?.iter().map(|u| u / per_kt));
        }
    }
    let state_of = samples.lengths.iter().enumerate().flat_map(|(k, n)| std::iter::repeat_n(k, *n)).collect();
    let energies = ReducedEnergies::new(columns.len(), u_kn, state_of)?.with_names(columns.to_vec())?;
    let mixture = Mixture::of_states(energies, target, &samples.inefficiency_of())?;
    let solution = mixture.solve()?;
    let weights = mixture.weights(&solution, None).ok_or_else(unsolved)?;
    let weigh = |count: Option<&[f64]>| mixture.weights(&solution, count);
    let mut pmf = estimate(request, &samples, &axes, &weights, &weigh)?;
    pmf.error_method = format!("MBAR weights of state {}, {}", columns[target], pmf.error_method);
    mark_disconnected(&mut pmf, &axes, &samples, &weights, &solution)?;
    let n_effective = effective_samples(&weights, &samples.inefficiency_of());
    let mut verdicts: Vec<Verdict> = solution
        .disconnection()
        .map(|sentence| Verdict::new(Severity::Untrustworthy, "disconnected", sentence))
        .into_iter()
        .collect();
    verdicts.extend(examine::column_names(&samples.series, &request.axes));
    verdicts.extend(examine::sampling(&samples, &axes, n_effective));
    let windows = examine::series_reports(&samples);
    Ok(PmfOutcome::new(request, pmf, &axes, &samples, n_effective, windows, verdicts))
}

fn unsolved() -> Error {
    Error::invalid("windows", "weights in the wanted state", "none")
}

/// Names of files that tell them apart: without their directories where that is enough.
fn short_names(files: &[PathBuf]) -> Vec<String> {
    let short: Vec<String> = files
        .iter()
        .map(|file| file.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    let mut distinct = short.clone();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() == files.len() {
        short
    } else {
        files.iter().map(|file| file.display().to_string()).collect()
    }
}

/// Energies of every sample in every window beyond which MBAR is not run just to compare: 400 MB.
const LARGEST_COMPARISON: usize = 50_000_000;

/// Weights of umbrella windows.
fn of_windows(request: &PmfRequest, list: &Path) -> Result<PmfOutcome> {
    if !request.files.is_empty() {
        return Err(Error::config(
            "umbrella",
            "the list of windows names the files, and others were given as well",
            "leave the files out",
        ));
    }
    let rows = read_window_files(list, request.axes.len())?;
    let per_kt = request.per_kt()?;
    for row in &rows {
        if let (Some(found), Some(given)) = (row.temperature_k, request.temperature)
            && found > 0.0
            && (found - given.as_kelvin()).abs() > 0.01
        {
            return Err(Error::file(
                list,
                format!("line {}", row.line),
                format!("a window at {} K, the temperature given", given.as_kelvin()),
                format!("one at {found} K"),
            )
            .with_hint("windows of several temperatures cannot be joined without their energies"));
        }
    }
    let files: Vec<PathBuf> = rows.iter().map(|row| row.path.clone()).collect();
    let (samples, axes) = Samples::read(request, &files)?;
    let rows = distinct_rows(list, rows, &samples.place_of)?;
    let files: Vec<PathBuf> = rows.iter().map(|row| row.path.clone()).collect();
    let windows: Vec<Window> = rows
        .iter()
        .zip(short_names(&files))
        .zip(samples.lengths.iter().zip(&samples.inefficiencies))
        .map(|((row, name), (n_samples, inefficiency))| Window {
            name,
            restraint: Restraint {
                center: row.center.clone(),
                force_constant_kt: row.force_constant.iter().map(|k| k / per_kt).collect(),
            },
            n_samples: *n_samples,
            inefficiency: *inefficiency,
        })
        .collect();
    let periods = periods(&axes);
    let grids: Vec<Grid> = axes
        .iter()
        .enumerate()
        .map(|(v, axis)| Grid::fine(axis.low(), axis.span() / axis.n_bins() as f64, &windows, v))
        .collect();
    let join = |joining: Joining| match joining {
        Joining::Mbar => Mixture::of_windows(&windows, &samples.values, &periods),
        Joining::Wham => wham(&windows, &samples.values, &periods, &grids),
    };
    let mixture = join(request.joining)?;
    let solution = mixture.solve()?;
    let weights = mixture.weights(&solution, None).ok_or_else(unsolved)?;
    let weigh = |count: Option<&[f64]>| mixture.weights(&solution, count);
    let mut pmf = estimate(request, &samples, &axes, &weights, &weigh)?;
    let (other, by) = match request.joining {
        Joining::Mbar => (Joining::Wham, "MBAR"),
        Joining::Wham => (Joining::Mbar, "WHAM"),
    };
    pmf.error_method = format!("{by}, {}", pmf.error_method);
    let (reports, mut verdicts) = umbrella::examine(&mixture, &windows, &samples.values, &periods, &solution);
    mark_disconnected(&mut pmf, &axes, &samples, &weights, &solution)?;
    verdicts.extend(examine::drifts(&samples, &axes));
    verdicts.extend(examine::column_names(&samples.series, &request.axes));
    if other == Joining::Wham || windows.len() * mixture.n_samples() <= LARGEST_COMPARISON {
        let other = join(other)?;
        if let Some(others) = other.weights(&other.solve()?, None) {
            let histogram = Density::histogram(Binned::new(&axes, &samples.values)?);
            verdicts.extend(examine::disagreement(&pmf, &histogram, [&weights, &others]));
        }
    }
    let n_effective = effective_samples(&weights, &samples.inefficiency_of());
    verdicts.extend(examine::outside(&samples, &axes));
    Ok(PmfOutcome::new(request, pmf, &axes, &samples, n_effective, reports, verdicts))
}

/// Rows of a list without those whose samples an earlier row has, which must have the same restraint.
fn distinct_rows(list: &Path, rows: Vec<WindowFile>, place_of: &[usize]) -> Result<Vec<WindowFile>> {
    let mut kept: Vec<WindowFile> = Vec::new();
    for (row, place) in rows.into_iter().zip(place_of) {
        match kept.get(*place) {
            None => kept.push(row),
            Some(first) if first.center == row.center && first.force_constant == row.force_constant => {}
            Some(first) => {
                let expected = "samples that no other window has";
                let found = format!(
                    "those of `{}` (line {}) with another restraint",
                    first.path.display(),
                    first.line
                );
                return Err(Error::file(list, format!("line {}", row.line), expected, found));
            }
        }
    }
    Ok(kept)
}

/// Bins whose weight comes from windows that are not connected to those of the zero have infinite errors.
fn mark_disconnected(
    pmf: &mut Pmf,
    axes: &[Axis],
    samples: &Samples,
    weights: &[f64],
    solution: &Mbar<'_>,
) -> Result<()> {
    let groups = solution.groups();
    if groups.len() < 2 {
        return Ok(());
    }
    let group_of = |window: usize| groups.iter().position(|group| group.contains(&window)).unwrap_or(0);
    let of_samples: Vec<usize> =
        samples.lengths.iter().enumerate().flat_map(|(k, n)| std::iter::repeat_n(group_of(k), *n)).collect();
    pmf.mark_disconnected(&Binned::new(axes, &samples.values)?, weights, &of_samples);
    Ok(())
}
