//! Weights and averages as JSON and tables.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Ensembles, ReweightRequest, Samples};
use crate::error::{Error, Result};
use crate::free_energy::Estimate;
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::reweighting::{Average, Reweighted};
use crate::run::directory::{write_atomic, write_json};

/// An average with the name of what was averaged.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedAverage {
    /// `energy`, `target_energy`, or the name of a column.
    pub name: String,
    /// With and without weights.
    pub average: Average,
}

/// Weighted frames with what is needed to judge them.
#[derive(Debug, Clone)]
pub struct ReweightOutcome {
    /// Weights of all samples.
    pub reweighted: Reweighted,
    /// Free energy of the target relative to the source, kT of each.
    pub free_energy: Estimate,
    /// Of energies and observables.
    pub averages: Vec<NamedAverage>,
    /// Samples of the frames that were drawn, and where they were written.
    pub resampled: Option<(Vec<usize>, PathBuf)>,
    /// Simulations: file, frames that are used, frames left out at the beginning.
    pub simulations: Vec<(PathBuf, usize, usize)>,
    /// The temperatures of the simulations.
    pub ensembles: Ensembles,
    /// T₂ in K.
    pub to_temperature_k: f64,
    /// In order of importance.
    pub verdicts: Vec<Verdict>,
    /// What the readers noticed.
    pub warnings: Vec<String>,
}

impl ReweightOutcome {
    pub(super) fn new(
        request: &ReweightRequest,
        samples: Samples,
        ensembles: Ensembles,
        reweighted: Reweighted,
        free_energy: Estimate,
        averages: Vec<NamedAverage>,
        resampled: Option<Vec<usize>>,
    ) -> Self {
        let files = if request.files.is_empty() { &request.trajectories } else { &request.files };
        let mut verdicts = reweighted.verdicts();
        if let (Some(drawn), true) = (&resampled, reweighted.efficiency() < 1.0) {
            let mut distinct = drawn.clone();
            distinct.dedup();
            let message = format!("{} drawn frames are {} different ones", drawn.len(), distinct.len());
            verdicts.push(Verdict::new(Severity::Note, "resampled", message));
        }
        verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.severity));
        let target = request.to_temperature.unwrap_or(ensembles.temperatures[0]);
        Self {
            reweighted,
            free_energy,
            averages,
            resampled: resampled.zip(request.resample.as_ref().map(|resample| resample.path.clone())),
            simulations: files
                .iter()
                .zip(samples.lengths.iter().zip(&samples.discarded))
                .map(|(file, (used, discarded))| (file.clone(), *used, *discarded))
                .collect(),
            to_temperature_k: target.as_kelvin(),
            ensembles,
            verdicts,
            warnings: samples.warnings,
        }
    }

    /// Whether no verdict says not to trust the numbers.
    pub fn is_trustworthy(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.severity < Severity::Untrustworthy)
    }

    /// One object.
    pub fn to_json(&self) -> Value {
        let estimate = |estimate: &Estimate| {
            json!({
                "value": estimate.value,
                "std_error": estimate.std_error,
                "n_effective": estimate.n_effective,
                "unit": estimate.unit,
                "error_method": estimate.error_method,
            })
        };
        let averages = self.averages.iter().map(|named| {
            let mut object = estimate(&named.average.reweighted);
            object["name"] = json!(named.name);
            object["unweighted"] = estimate(&named.average.plain);
            object
        });
        let simulations = self.simulations.iter().map(|(file, used, discarded)| {
            json!({ "file": file.display().to_string(), "n": used, "n_discarded": discarded })
        });
        let ensembles =
            self.temperatures().map(|(kelvin, n)| json!({ "temperature_K": kelvin, "n_samples": n }));
        let (sample, weight) = self.reweighted.largest();
        json!({
            "n_samples": self.reweighted.log_weights().len(),
            "n_effective": self.reweighted.n_effective(),
            "efficiency": self.reweighted.efficiency(),
            "largest_weight": { "sample": sample, "weight": weight },
            "ensembles": ensembles.collect::<Vec<_>>(),
            "to_temperature_K": self.to_temperature_k,
            "free_energy": estimate(&self.free_energy),
            "averages": averages.collect::<Vec<_>>(),
            "simulations": simulations.collect::<Vec<_>>(),
            "resampled": self.resampled.as_ref().map(|(drawn, path)| {
                json!({ "path": path.display().to_string(), "samples": drawn })
            }),
            "verdicts": self.verdicts,
            "warnings": self.warnings,
        })
    }

    /// Every temperature of the simulations in K, and how many samples there are of it.
    fn temperatures(&self) -> impl Iterator<Item = (f64, usize)> {
        self.ensembles.temperatures.iter().map(|t| t.as_kelvin()).zip(self.ensembles.counts())
    }

    /// A line per frame: simulation and frame counted from 0, ln w and w with Σ w = 1.
    pub fn csv(&self) -> String {
        let mut text = String::from("simulation,frame,log_weight,weight\n");
        let mut weights = self.reweighted.log_weights().iter();
        for (simulation, (_, used, discarded)) in self.simulations.iter().enumerate() {
            for (frame, weight) in (*discarded..used + discarded).zip(&mut weights) {
                let _ = writeln!(text, "{simulation},{frame},{weight},{}", weight.exp());
            }
        }
        text
    }

    /// For people.
    pub fn table(&self) -> String {
        let n = self.reweighted.log_weights().len();
        let relative = match self.ensembles.single() {
            Some(_) => String::new(),
            None => format!(", relative to {}", self.ensembles.temperatures[0]),
        };
        let mut text = format!(
            "{n} frames are worth {:.1} ({:.2} %)\nfree energy of the target{relative}: {}\n",
            self.reweighted.n_effective(),
            100.0 * self.reweighted.efficiency(),
            self.free_energy
        );
        if self.ensembles.single().is_none() {
            let each: Vec<String> =
                self.temperatures().map(|(kelvin, n)| format!("{n} at {kelvin} K")).collect();
            let _ = writeln!(text, "frames: {}", each.join(", "));
        }
        let width = self.averages.iter().map(|named| named.name.len()).max().unwrap_or(0);
        for NamedAverage { name, average } in &self.averages {
            let _ =
                writeln!(text, "{name:<width$}  {}   without weights {}", average.reweighted, average.plain);
        }
        if let Some((drawn, path)) = &self.resampled {
            let _ = writeln!(text, "{} frames in `{}`", drawn.len(), path.display());
        }
        text
    }

    /// `weights.csv` and `reweight.json` in a directory.
    pub fn write(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        write_atomic(&directory.join("weights.csv"), self.csv().as_bytes())?;
        write_json(&directory.join("reweight.json"), &self.to_json())
    }
}
