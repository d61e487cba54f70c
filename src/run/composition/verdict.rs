//! All sets side by side, the headline numbers, and whether to believe them.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::Record;
use super::config::How;
use super::draw::LARGEST_ERROR;
use super::examine::{Examined, Population};
use super::plan::Plan;
use crate::error::Result;
use crate::report::number;
use crate::run::directory::{read_json, write_atomic};
use crate::run::summary::entry;

/// Effective share from which weights of a part are a second opinion.
const LEAST_SHARE: f64 = 0.05;
/// Standard errors by which two ways to one population may differ.
const CHANCE: f64 = 4.0;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Frames, parts, composition, second opinions.
    pub sets: Vec<Examined>,
    /// Of each part alone, where it was drawn.
    pub parts: Vec<Record>,
    /// Of the composition.
    pub composed: Option<Record>,
    /// log Z of the composition of normalised parts, or of the energies as they are, with its standard error.
    pub log_z: (f64, f64),
    /// Wall clock of each set.
    pub seconds: Vec<(String, f64)>,
    /// What speaks against it.
    pub reasons: Vec<String>,
}

impl Found {
    /// Reads a set that was examined.
    pub fn add(&mut self, directory: &Path) -> Result<()> {
        self.sets.push(read_json(&directory.join("examined.json"))?);
        Ok(())
    }

    /// Objects to parts that were drawn badly, and to a mixture of energies whose constants nobody knows.
    pub fn judge_parts(&mut self, plan: &Plan) {
        if plan.config.how == How::Mixture && !plan.config.normalize {
            for part in plan.parts.iter().filter(|part| !part.ties_levels) {
                self.reasons.push(format!(
                    "{} was learned without an objective that gives all levels one constant, which multiplies its \
                     weight by an arbitrary factor: set `normalize = true`",
                    part.label
                ));
            }
        }
        for (part, record) in plan.parts.iter().zip(&self.parts) {
            self.reasons.extend(record.reasons.iter().map(|reason| format!("{}: {reason}", part.label)));
        }
    }

    /// Adds the composition.
    pub fn set_composed(&mut self, plan: &Plan, log_z: &[f64], record: Record) {
        let value = record.log_z.unwrap_or(f64::NAN) + plan.log_z_offset(log_z);
        let total: f64 = plan.parts.iter().map(|part| part.weight).sum();
        let of_parts = self.parts.iter().zip(&plan.parts).map(|(record, part)| {
            let factor = if plan.config.how == How::Mixture { part.weight / total } else { part.weight };
            (factor * record.std_error.unwrap_or(f64::NAN)).powi(2)
        });
        let squares = record.std_error.unwrap_or(f64::NAN).powi(2) + of_parts.sum::<f64>();
        self.log_z = (value, squares.sqrt());
        let of_composition = record.std_error.is_some_and(|error| error <= LARGEST_ERROR);
        if of_composition && self.log_z.1 > LARGEST_ERROR {
            let error = self.log_z.1;
            self.reasons.push(format!(
                "the error of log Z is {error:.2} with those of the parts, more than {LARGEST_ERROR}"
            ));
        }
        self.reasons.extend(record.reasons.iter().cloned());
        self.composed = Some(record);
    }

    /// The set of this name.
    pub fn set(&self, name: &str) -> Option<&Examined> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// Objects where weights of the parts give other populations.
    pub fn compare(&mut self) {
        let Some(composed) = self.set("composed").cloned() else { return };
        let opinions = self.sets.iter().filter(|set| {
            (set.name == "pooled" || set.name.starts_with("reweighted")) && set.ess_fraction >= LEAST_SHARE
        });
        let mut reasons = Vec::new();
        for opinion in opinions {
            for (own, other) in composed.populations.iter().zip(&opinion.populations) {
                let Some(error) = combined(own, other) else { continue };
                let deviation = (own.value - other.value) / error;
                if deviation.abs() > CHANCE {
                    reasons.push(format!(
                        "the population of {} is {}, and {} by weights of {}",
                        own.state,
                        number::percent(own.value, own.std_error),
                        number::percent(other.value, other.std_error),
                        opinion.label
                    ));
                }
            }
        }
        self.reasons.extend(reasons);
    }

    /// A sentence, and whether nothing speaks against the result.
    pub fn verdict(&self) -> (String, bool) {
        let (value, error) = self.log_z;
        let log_z = format!("log Z = {}", number::with_error(value, Some(error)));
        match self.reasons.is_empty() {
            true => (format!("{log_z}."), true),
            false => (format!("{log_z}, not to be trusted: {}.", self.reasons.join("; ")), false),
        }
    }

    /// Populations of all sets as a table.
    pub fn write_table(&self, directory: &Path) -> Result<()> {
        let mut table = String::from("set,state,population,std_error\n");
        for set in &self.sets {
            for Population { state, value, std_error } in &set.populations {
                let error = std_error.map_or_else(String::new, |error| error.to_string());
                let _ = writeln!(table, "{},{state},{value},{error}", set.name);
            }
        }
        write_atomic(&directory.join("populations.csv"), table.as_bytes())
    }

    /// The headline numbers.
    pub fn summary(&self) -> Map<String, Value> {
        let mut summary = Map::new();
        let composed = self.composed.as_ref();
        let method = composed.map_or("", |record| &record.method);
        let method = match self.parts.is_empty() {
            true => format!("{method}; energies as they are"),
            false => format!("{method}; of normalised parts"),
        };
        summary.insert("log_z".into(), entry(self.log_z.0, Some(self.log_z.1), "", &method));
        summary.extend(composed.map(|record| record.numbers.clone()).unwrap_or_default());
        for (idx, record) in self.parts.iter().enumerate() {
            let (value, error) = (record.log_z.unwrap_or(f64::NAN), record.std_error);
            let name = |number: &str| format!("{number}_part_{}", idx + 1);
            summary.insert(name("log_z"), entry(value, error, "", &record.method));
            for (number, value) in &record.numbers {
                summary.insert(name(number), value.clone());
            }
        }
        for set in &self.sets {
            for population in &set.populations {
                let name = format!("population_{}_{}", population.state, set.name);
                let method = "share of weights; error from blocks of frames, islands or ladders";
                summary.insert(name, entry(population.value, population.std_error, "", method));
            }
            if set.name == "pooled" || set.name.starts_with("reweighted") {
                let method = "Kish, of weights of parts drawn alone";
                summary
                    .insert(format!("ess_fraction_{}", set.name), entry(set.ess_fraction, None, "", method));
            }
        }
        for (name, seconds) in &self.seconds {
            summary.insert(format!("{name}_seconds"), entry(*seconds, None, "s", "wall clock"));
        }
        summary
    }
}

/// The standard error of a difference.
fn combined(a: &Population, b: &Population) -> Option<f64> {
    Some(a.std_error?.hypot(b.std_error?)).filter(|error| *error > 0.0)
}
