//! Frames of simulations weighted to another temperature, another potential, or to the ensemble without a bias.
//!
//! ln w = (U₁ + V)/kT₁ − U₂/kT₂, with whichever of the parts are given: U₁ and U₂ from columns or from systems that
//! are evaluated here, the bias V from columns. U₁ does not contain the bias. Frames of several temperatures T₁, those
//! of replica exchange for example, are weighted together by MBAR.

mod ensembles;
mod frames;
mod output;

use std::path::PathBuf;

pub use ensembles::{Ensembles, Temperatures};
pub use output::{NamedAverage, ReweightOutcome};

use crate::error::{Error, Result};
use crate::force_field::molecular_system::SystemRequest;
use crate::free_energy::reweighting::Reweighted;
use crate::random::Streams;
use crate::run::series::{Series, read_all};
use crate::units::{EnergyUnit, GAS_CONSTANT, Temperature};

/// Where energies of frames come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Energies {
    /// The sum of these columns.
    Columns(Vec<String>),
    /// This system, evaluated for every frame of the trajectories.
    System(SystemRequest),
}

/// A trajectory of frames drawn in proportion to their weights.
#[derive(Debug, Clone, PartialEq)]
pub struct ResampleRequest {
    /// How many frames.
    pub n_frames: usize,
    /// Where to; the extension decides on the format.
    pub path: PathBuf,
    /// What the atoms are; that of a system when absent.
    pub topology: Option<PathBuf>,
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct ReweightRequest {
    /// Tables with one row per frame, one per simulation; none where systems give all that is needed.
    pub files: Vec<PathBuf>,
    /// Frames of these tables, one file for each.
    pub trajectories: Vec<PathBuf>,
    /// T₁.
    pub temperature: Temperatures,
    /// T₂, the same when absent.
    pub to_temperature: Option<Temperature>,
    /// U₁.
    pub energy: Option<Energies>,
    /// U₂, the same when absent.
    pub to_energy: Option<Energies>,
    /// V, the sum of these columns.
    pub bias: Vec<String>,
    /// Of columns.
    pub energy_unit: EnergyUnit,
    /// Columns to average.
    pub observables: Vec<String>,
    /// Share of every file that is left out at the beginning.
    pub discard: f64,
    /// Resamples for errors.
    pub n_bootstrap: usize,
    /// Of all random numbers.
    pub seed: u64,
    /// Frames to draw.
    pub resample: Option<ResampleRequest>,
    /// Where tables are written.
    pub out: Option<PathBuf>,
}

impl ReweightRequest {
    fn check(&self) -> Result<()> {
        let changes = self.to_energy.is_some() || self.to_temperature.is_some() || !self.bias.is_empty();
        if !changes {
            return Err(Error::config(
                "reweight",
                "nothing says what the target is",
                "give --to-temperature, --to-energy or --to-system, or --bias",
            ));
        }
        if self.energy.is_none() && (self.to_energy.is_some() || self.to_temperature.is_some()) {
            return Err(Error::config(
                "energy",
                "the energies of the simulation are not known",
                "give their column with --energy, or the system with --from-system",
            ));
        }
        let needs_frames = self.resample.is_some()
            || [&self.energy, &self.to_energy]
                .iter()
                .any(|energy| matches!(energy, Some(Energies::System(_))));
        if needs_frames && self.trajectories.is_empty() {
            let message = "systems and resampling need the frames";
            return Err(Error::config("trajectory", message, "give them with --trajectory FILE"));
        }
        if !self.files.is_empty()
            && !self.trajectories.is_empty()
            && self.files.len() != self.trajectories.len()
        {
            let message = format!("{} trajectories for {} tables", self.trajectories.len(), self.files.len());
            return Err(Error::config("trajectory", message, "give one for each table, in the same order"));
        }
        let needs_tables = !self.bias.is_empty()
            || !self.observables.is_empty()
            || matches!(self.temperature, Temperatures::Column(_))
            || [&self.energy, &self.to_energy]
                .iter()
                .any(|energy| matches!(energy, Some(Energies::Columns(_))));
        if needs_tables && self.files.is_empty() {
            return Err(Error::config("FILES", "columns need a table", "give one per simulation"));
        }
        Ok(())
    }

    /// How many kJ/mol an energy of a column is.
    fn kj_per_unit(&self) -> Result<f64> {
        let kelvin = match (&self.temperature, self.energy_unit) {
            (Temperatures::OfTables(all), _) if all.len() == 1 => all[0].as_kelvin(),
            (_, EnergyUnit::Kt) => {
                let message = "energies in kT, and more than one temperature";
                return Err(Error::config("energy-unit", message, "give energies in kJ/mol or kcal/mol"));
            }
            // Of these units kT drops out.
            _ => 1.0,
        };
        Ok(GAS_CONSTANT * kelvin / self.energy_unit.per_kt(kelvin))
    }
}

/// Tables and frames of all simulations.
struct Samples {
    series: Vec<Series>,
    lengths: Vec<usize>,
    /// Frames that are left out at the beginning of each simulation.
    discarded: Vec<usize>,
    /// What the readers noticed.
    warnings: Vec<String>,
}

/// Reads, weighs, averages, and writes where asked to.
pub fn reweight(request: &ReweightRequest) -> Result<ReweightOutcome> {
    request.check()?;
    let (series, mut warnings) = match request.files.is_empty() {
        true => (Vec::new(), Vec::new()),
        false => {
            let read = read_all(&request.files, request.discard)?;
            if let (false, Some(warning)) = (request.trajectories.is_empty(), read.warnings.first()) {
                let hint = "give every simulation once, with its trajectory";
                return Err(Error::config("FILES", warning.clone(), hint));
            }
            (read.series, read.warnings)
        }
    };
    warnings.extend(series.iter().flat_map(|series| series.warnings().iter().cloned()));
    let mut samples = Samples {
        lengths: series.iter().map(Series::n_rows).collect(),
        discarded: series.iter().map(Series::n_discarded).collect(),
        series,
        warnings,
    };
    let energy = energies(request, request.energy.as_ref(), &mut samples)?;
    let to_energy = match &request.to_energy {
        None => energy.clone(),
        some => energies(request, some.as_ref(), &mut samples)?,
    };
    let ensembles = Ensembles::new(request, &samples)?;
    let reweighted = match ensembles.single() {
        Some(temperature) => of_one_ensemble(request, &samples, temperature, &energy, &to_energy)?,
        None => {
            let (from, to, target) = of_several(request, &energy, &to_energy)?;
            ensembles.weights(&samples, from, to, target)?
        }
    };
    let averages = averages(request, &samples, &reweighted, [energy, to_energy])?;
    let free_energy = reweighted.free_energy(request.n_bootstrap, &Streams::new(request.seed))?;
    let resampled = match &request.resample {
        Some(resample) => Some(frames::resample(request, resample, &samples, &reweighted)?),
        None => None,
    };
    let outcome =
        ReweightOutcome::new(request, samples, ensembles, reweighted, free_energy, averages, resampled);
    if let Some(directory) = &request.out {
        outcome.write(directory)?;
    }
    Ok(outcome)
}

/// Weights of samples of one ensemble.
fn of_one_ensemble(
    request: &ReweightRequest,
    samples: &Samples,
    temperature: Temperature,
    energy: &Option<Vec<f64>>,
    to_energy: &Option<Vec<f64>>,
) -> Result<Reweighted> {
    let mut log_weights = vec![0.0; samples.lengths.iter().sum()];
    if !request.bias.is_empty() {
        let scale = request.kj_per_unit()? / temperature.kt_kj_per_mol();
        let mut first = 0;
        for series in &samples.series {
            let bias = series.sum(&request.bias)?;
            log_weights[first..first + bias.len()].iter_mut().zip(&bias).for_each(|(w, v)| *w += scale * v);
            first += bias.len();
        }
    }
    if let (Some(from), Some(to)) = (energy, to_energy) {
        let target = request.to_temperature.unwrap_or(temperature);
        let (beta_from, beta_to) = (1.0 / temperature.kt_kj_per_mol(), 1.0 / target.kt_kj_per_mol());
        for (weight, (from, to)) in log_weights.iter_mut().zip(from.iter().zip(to)) {
            *weight += beta_from * from - beta_to * to;
        }
    }
    Reweighted::new(log_weights, &samples.lengths)
}

/// What weights of samples of several temperatures need.
fn of_several<'a>(
    request: &ReweightRequest,
    energy: &'a Option<Vec<f64>>,
    to_energy: &'a Option<Vec<f64>>,
) -> Result<(&'a [f64], &'a [f64], Temperature)> {
    if !request.bias.is_empty() {
        let message = "a bias, and simulations at several temperatures";
        return Err(Error::config("bias", message, "reweight the simulations of one temperature at a time"));
    }
    let Some(target) = request.to_temperature else {
        let message = "the simulations are at several temperatures, and that of the target is not known";
        return Err(Error::config("to-temperature", message, "give --to-temperature, in K"));
    };
    match (energy, to_energy) {
        (Some(from), Some(to)) => Ok((from, to, target)),
        _ => {
            let message = "the energies of the simulations are not known";
            Err(Error::config("energy", message, "give their column with --energy"))
        }
    }
}

/// Energies of all samples in kJ/mol.
fn energies(
    request: &ReweightRequest,
    of: Option<&Energies>,
    samples: &mut Samples,
) -> Result<Option<Vec<f64>>> {
    match of {
        None => Ok(None),
        Some(Energies::Columns(columns)) => {
            let scale = request.kj_per_unit()?;
            let mut energies = Vec::new();
            for series in &samples.series {
                energies.extend(series.sum(columns)?.iter().map(|u| scale * u));
            }
            Ok(Some(energies))
        }
        Some(Energies::System(system)) => frames::energies(request, system, samples).map(Some),
    }
}

/// Averages of energies, where they are known, and of observables.
fn averages(
    request: &ReweightRequest,
    samples: &Samples,
    reweighted: &Reweighted,
    energies: [Option<Vec<f64>>; 2],
) -> Result<Vec<NamedAverage>> {
    let streams = Streams::new(request.seed);
    let mut columns: Vec<(String, &str, Vec<f64>)> = Vec::new();
    let [energy, to_energy] = energies;
    let has_target = request.to_energy.is_some();
    let known = [("energy", energy), ("target_energy", to_energy.filter(|_| has_target))];
    for (name, values) in known {
        // A frame that the target forbids has no weight, and an infinite energy has no average.
        if let Some(values) = values.filter(|values| values.iter().all(|value| value.is_finite())) {
            columns.push((name.into(), "kJ/mol", values));
        }
    }
    for name in &request.observables {
        let mut values = Vec::new();
        for series in &samples.series {
            values.extend_from_slice(series.column(name)?);
        }
        columns.push((name.clone(), "", values));
    }
    columns
        .into_iter()
        .map(|(name, unit, values)| {
            let average = reweighted.average(&values, unit, request.n_bootstrap, &streams)?;
            Ok(NamedAverage { name, average })
        })
        .collect()
}
