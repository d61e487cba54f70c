//! `kirkwood estimate FILES`: from output files of simulation programs to free energies.
//!
//! Read, join, analyse; what comes out is one [`Outcome`], shown as JSON or as a table, and written as
//! files ([`files`]) with a report.

pub mod files;
mod shown;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::free_energy::alchemical::analysis::PathEstimate;
use crate::free_energy::alchemical::{
    Analysis, AnalysisSettings, Dataset, Estimator, Severity, Verdict, analyse,
};
use crate::free_energy::reader::{ReadOptions, read};
use crate::report::alchemical::About;
use crate::units::EnergyUnit;

/// Verdicts that are about states without overlap, which the user may have asked for.
const ABOUT_OVERLAP: [&str; 3] = ["disconnected", "low_overlap", "bar_without_overlap"];

/// What to read, what to do with it and how to show it.
#[derive(Debug, Clone, Default)]
pub struct EstimateRequest {
    /// Files, their format and the temperature that they lack.
    pub read: ReadOptions,
    /// What to do.
    pub settings: AnalysisSettings,
    /// Of the results.
    pub unit: EnergyUnit,
    /// Whether states that share no samples are what the user wants.
    pub allow_disconnected: bool,
    /// Where tables, figures and the report go, if anywhere.
    pub out: Option<PathBuf>,
    /// The command, for the report.
    pub command: String,
    /// What the samples were made for, for the report.
    pub about: Option<About>,
}

/// Everything that was found.
#[derive(Debug)]
pub struct Outcome {
    /// The samples.
    pub dataset: Dataset,
    /// What they say.
    pub analysis: Analysis,
    /// Of the results.
    pub unit: EnergyUnit,
    /// Whether no verdict says not to trust the numbers.
    pub trustworthy: bool,
    /// The report, when one was written.
    pub report: Option<PathBuf>,
}

/// Does all of it.
pub fn estimate(request: &EstimateRequest) -> Result<Outcome> {
    let dataset = Dataset::assemble(read(&request.read)?)?;
    if request.unit != EnergyUnit::Kt && !dataset.temperature_k.is_finite() {
        let message = format!("energies in {} need a temperature, and the files hold none", request.unit);
        return Err(Error::config("unit", message, "give --temperature, or ask for kT"));
    }
    let analysis = analyse(&dataset, &request.settings)?;
    let forgiven =
        |verdict: &Verdict| request.allow_disconnected && ABOUT_OVERLAP.contains(&verdict.kind.as_str());
    let trustworthy = analysis
        .verdicts
        .iter()
        .all(|verdict| verdict.severity < Severity::Untrustworthy || forgiven(verdict));
    let mut outcome = Outcome { dataset, analysis, unit: request.unit, trustworthy, report: None };
    if let Some(directory) = &request.out {
        outcome.report = Some(files::write(directory, &outcome, request)?);
    }
    Ok(outcome)
}

/// Name of an estimator for programs, as on the command line.
pub fn id(estimator: Estimator) -> &'static str {
    match estimator {
        Estimator::Mbar => "mbar",
        Estimator::Bar => "bar",
        Estimator::Ti => "ti",
        Estimator::ExpForward => "exp_forward",
        Estimator::ExpReverse => "exp_reverse",
        Estimator::GaussianForward => "gaussian_forward",
        Estimator::GaussianReverse => "gaussian_reverse",
    }
}

impl Outcome {
    /// How many of the unit of the results are one kT.
    pub fn per_kt(&self) -> f64 {
        self.unit.per_kt(self.dataset.temperature_k)
    }

    /// λ of each state: a number, or a list where λ has several components.
    pub fn lambdas(&self) -> Vec<Value> {
        let states = self.dataset.states.iter();
        states
            .map(|state| if let [one] = state.lambda[..] { json!(one) } else { json!(state.lambda) })
            .collect()
    }

    /// The estimates and verdicts; what is not finite is null, and a verdict says why.
    pub fn to_json(&self) -> Value {
        let estimates: Vec<Value> =
            self.analysis.estimates.iter().map(|one| self.estimate_json(one)).collect();
        json!({
            "temperature_K": self.dataset.temperature_k,
            "components": self.dataset.components,
            "n_samples": self.dataset.n_k(),
            "estimates": estimates,
            "verdicts": self.analysis.verdicts,
            "trustworthy": self.trustworthy,
            "groups": self.analysis.groups,
            "overlap": self.analysis.overlap,
            "windows": self.analysis.windows,
            "convergence": self.convergence_json(),
            "blocks": self.blocks_json(),
            "report": self.report,
        })
    }

    fn estimate_json(&self, one: &PathEstimate) -> Value {
        let factor = self.per_kt();
        let scaled = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| factor * value).collect() };
        let last = |values: &[f64]| values.last().map_or(f64::NAN, |value| factor * value);
        let mut object = json!({
            "estimator": id(one.estimator),
            "delta_f": last(&one.delta_f),
            "std_error": last(&one.std_error),
            "unit": self.unit.to_string(),
            "states": self.lambdas(),
            "delta_f_row0": scaled(&one.delta_f),
            "std_error_row0": scaled(&one.std_error),
            "n_samples": one.n_samples,
            "steps": scaled(&one.steps),
            "step_errors": scaled(&one.step_errors),
            "error_method": one.error_method,
        });
        let mut add = |name: &str, value: Value| {
            if let Some(object) = object.as_object_mut() {
                object.insert(name.into(), value);
            }
        };
        if !one.bootstrap_error.is_empty() {
            add("bootstrap_error", json!(last(&one.bootstrap_error)));
            add("bootstrap_error_row0", json!(scaled(&one.bootstrap_error)));
        }
        if let Some(gradient) = one.max_gradient {
            add("max_gradient", json!(gradient));
        }
        if !one.delta_h.is_empty() {
            add("delta_h_row0", json!(scaled(&one.delta_h)));
            add("delta_h_error_row0", json!(scaled(&one.delta_h_error)));
            add("delta_ts_row0", json!(scaled(&one.delta_ts)));
            add("delta_ts_error_row0", json!(scaled(&one.delta_ts_error)));
        }
        object
    }

    fn convergence_json(&self) -> Value {
        let factor = self.per_kt();
        let points = self.analysis.convergence.iter().map(|point| {
            json!({
                "fraction": point.fraction,
                "forward": factor * point.forward,
                "forward_error": factor * point.forward_error,
                "backward": factor * point.backward,
                "backward_error": factor * point.backward_error,
            })
        });
        json!({
            "estimator": self.analysis.convergence_estimator.map(id),
            "unit": self.unit.to_string(),
            "points": points.collect::<Vec<_>>(),
        })
    }

    fn blocks_json(&self) -> Value {
        let factor = self.per_kt();
        let blocks = self.analysis.blocks.iter();
        blocks
            .map(|block| {
                json!({
                    "fraction": block.fraction,
                    "delta_f": factor * block.delta_f,
                    "std_error": factor * block.std_error,
                })
            })
            .collect()
    }
}
