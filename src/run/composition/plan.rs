//! A configuration with every default resolved, and the models of the runs that it names.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::{CompositionConfig, GuideSettings, How, PartSettings};
use super::law::Law;
use crate::error::{Error, Result, did_you_mean};
use crate::model::EnergyModel;
use crate::model::checkpoint::ModelCard;
use crate::potential::{PotentialPath as _, Restraint, Restraints, log_sum_exp};
use crate::run::Request;
use crate::run::beads::{Beads, bound};
use crate::run::learned_run::LearnedRun;
use crate::run::plan::Plan as RunPlan;
use crate::run::source::{Source, plan_json, run_directory};
use crate::training::objective::OBJECTIVES;
use crate::units::{EnergyUnit, Temperature};

/// A learned energy and the run that it is from.
pub struct Part {
    /// As in tables and figures.
    pub label: String,
    /// The run.
    pub run: RunPlan,
    /// Its energy.
    pub model: EnergyModel,
    /// Whether it was learned with an objective that gives all levels one constant.
    pub ties_levels: bool,
    /// Its power or share, with what a temperature does to it.
    pub weight: f64,
}

/// A restraint in kT.
#[derive(Debug, Clone, PartialEq)]
pub struct Guide {
    /// Which variable of the first part.
    pub variable: usize,
    /// In the unit of the variable.
    pub interval: (f64, f64),
    /// kT per square of the unit.
    pub stiffness_kt: f64,
}

/// What will be done.
pub struct Plan {
    /// The configuration with every default written out and absolute paths.
    pub config: CompositionConfig,
    /// Where the results go.
    pub out: PathBuf,
    /// The energies.
    pub parts: Vec<Part>,
    /// Restraints.
    pub guides: Vec<Guide>,
    source: Source,
    text: String,
}

impl Plan {
    /// Reads the configuration of a request, and the runs that it names.
    pub fn resolve(request: &Request) -> Result<Self> {
        let source = Source::of_request(request)?;
        if let Some(device) = request.device.as_deref().filter(|device| *device != "cpu") {
            let message = "compositions are drawn from on the processor";
            return Err(Error::config(format!("--device {device}"), message, "leave it out"));
        }
        let mut config: CompositionConfig = source.parse()?;
        let locate = |error| source.locate(error);
        config.validate().map_err(locate)?;
        let mut parts = Vec::new();
        for (idx, settings) in config.parts.iter_mut().enumerate() {
            let part = part(&source, &format!("parts[{idx}].run"), settings)?;
            if let Some(first) = parts.first() {
                fits(first, &part, &settings.run)?;
            }
            parts.push(part);
        }
        let first = parts[0].run.config.data.temperature;
        if config.temperature.is_none() {
            check_one_temperature(&config, &parts).map_err(locate)?;
        }
        if let Some(temperature) = config.temperature {
            for part in &mut parts {
                part.weight *= part.run.config.data.temperature.as_kelvin() / temperature.as_kelvin();
            }
        }
        let temperature = config.temperature.unwrap_or(first);
        let guides = (config.guides.iter().enumerate())
            .map(|(idx, settings)| {
                guide(&format!("guides[{idx}]"), settings, &parts[0].run.beads, temperature).map_err(locate)
            })
            .collect::<Result<_>>()?;
        let text = toml::to_string(&config)
            .map_err(|error| Error::config("", format!("the plan cannot be written: {error}"), ""))?;
        let out = run_directory(request, &config.name);
        let plan = Self { config, out, parts, guides, source, text };
        plan.law(&vec![0.0; plan.parts.len()])?.validate().map_err(|error| plan.source.locate(error))?;
        Ok(plan)
    }

    /// The composed law, where `log_z` are the logarithms of the normalisers of the parts.
    pub fn law(&self, log_z: &[f64]) -> Result<Law<'_>> {
        // Normalisers of parts can be hundreds of kT apart: only differences from the largest are taken out of the logarithm, and a
        // part that is then nothing stays as the least that there is.
        let log_share = |(part, own): (&Part, &f64)| part.weight.ln() - own;
        let largest = self.parts.iter().zip(log_z).map(log_share).fold(f64::NEG_INFINITY, f64::max);
        let weight = |pair: (&Part, &f64)| match self.config.how {
            How::Product => pair.0.weight,
            How::Mixture => (log_share(pair) - largest).exp().max(f64::MIN_POSITIVE),
        };
        let parts = self.parts.iter().zip(log_z).map(|pair| (&pair.0.model, weight(pair))).collect();
        let restraints = (self.guides.iter())
            .map(|guide| {
                let function = &*self.beads().variables[guide.variable].function;
                Restraint::new(function, guide.interval, guide.stiffness_kt)
            })
            .collect::<Result<_>>()?;
        let restraints = Restraints::new(self.parts[0].model.space(), restraints)?;
        Ok(Law { how: self.config.how, parts, confinement: self.config.confinement, restraints })
    }

    /// What log Z of [`Self::law`] lacks to be that of the composition of normalised parts.
    pub fn log_z_offset(&self, log_z: &[f64]) -> f64 {
        match self.config.how {
            How::Product => {
                -self.parts.iter().zip(log_z).map(|(part, log_z)| part.weight * log_z).sum::<f64>()
            }
            How::Mixture => {
                let total: f64 = self.parts.iter().map(|part| part.weight).sum();
                let log_share = |(part, own): (&Part, &f64)| (part.weight / total).ln() - own;
                log_sum_exp(&self.parts.iter().zip(log_z).map(log_share).collect::<Vec<_>>())
            }
        }
    }

    /// The beads of the first part, with the variables and states of its run.
    pub fn beads(&self) -> &Beads {
        &self.parts[0].run.beads
    }

    /// The plan as TOML, a valid configuration.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The configuration as it was written.
    pub fn written(&self) -> &str {
        self.source.text()
    }

    /// The models that are read.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let files = ["model.toml", "model.safetensors"];
        let runs = self.config.parts.iter().map(|part| part.run.join("train"));
        runs.flat_map(|train| files.map(|file| train.join(file))).collect()
    }

    /// What the plan is about, in one sentence.
    pub fn sentence(&self) -> String {
        let parts: Vec<String> = (self.parts.iter())
            .map(|part| format!("{} × {}", crate::report::number::plain(part.weight), part.label))
            .collect();
        let how = match self.config.how {
            How::Product => "product",
            How::Mixture => "mixture",
        };
        let guides = match self.guides.len() {
            0 => String::new(),
            1 => ", one restraint".into(),
            n => format!(", {n} restraints"),
        };
        format!(
            "{}: {how} of {}{guides}, {} beads; results in {}",
            self.config.name,
            parts.join(", "),
            self.beads().n_beads(),
            self.out.display()
        )
    }

    /// The plan as one JSON object.
    pub fn to_json(&self) -> Value {
        plan_json(&self.text, &self.out, &self.sentence())
    }
}

/// Reads a run; its path becomes absolute.
fn part(source: &Source, place: &str, settings: &mut PartSettings) -> Result<Part> {
    let path = source.directory().join(&settings.run);
    let named = || format!("the run directory that `{place}` of `{}` names", source.path().display());
    let found = |what: &str| Err(Error::file(&path, "", named(), what.to_string()));
    let Ok(run) = path.canonicalize() else { return found("no such directory") };
    if !run.join("plan.toml").is_file() {
        return found("no plan.toml in it");
    }
    let LearnedRun { plan, model, card } = LearnedRun::open(&run)?;
    check_card(&plan, &card, &run)?;
    let ties = |table: &toml::Table| {
        let mut table = table.clone();
        table.remove("weight");
        OBJECTIVES.build("objective", table, &()).is_ok_and(|objective| objective.ties_levels())
    };
    let ties_levels = plan.config.train.stages.iter().flat_map(|stage| &stage.objectives).any(ties);
    let own = || run.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let label = settings.label.clone().unwrap_or_else(own);
    settings.run = run;
    settings.label = Some(label.clone());
    Ok(Part { label, run: plan, model, ties_levels, weight: settings.weight })
}

/// The model is one of the beads of its run.
fn check_card(plan: &RunPlan, card: &ModelCard, run: &Path) -> Result<()> {
    let n_beads = plan.beads.n_beads();
    if card.bead_names.len() == n_beads {
        return Ok(());
    }
    let found = format!("a model of {} beads", card.bead_names.len());
    Err(Error::file(run.join("train/model.toml"), "bead_names", format!("{n_beads} beads"), found))
}

/// Errors where a part is not of the beads and the noise of the first.
fn fits(first: &Part, other: &Part, run: &Path) -> Result<()> {
    let names = |part: &Part| {
        let atoms = &part.run.beads.mapping.topology().atoms;
        let names =
            atoms.iter().map(|atom| format!("{} {}", atom.residue_name, atom.name).trim().to_string());
        names.collect::<Vec<_>>()
    };
    let (expected, found) = (names(first), names(other));
    let card = run.join("train/model.toml");
    if expected != found {
        let describe = |names: &[String]| format!("{} beads: {}", names.len(), names.join(", "));
        let expected = format!("{}, as in the first part", describe(&expected));
        return Err(Error::file(card, "bead_names", expected, describe(&found)));
    }
    let (expected, found) = (first.model.noise(), other.model.noise());
    if expected != found {
        let expected = format!("{expected:?}, as in the first part");
        return Err(Error::file(card, "noise", expected, format!("{found:?}")));
    }
    Ok(())
}

/// Without a temperature of its own a composition has that of its parts, where it needs one.
fn check_one_temperature(config: &CompositionConfig, parts: &[Part]) -> Result<()> {
    let first = parts[0].run.config.data.temperature;
    let Some(other) = parts.iter().map(|part| part.run.config.data.temperature).find(|t| *t != first) else {
        return Ok(());
    };
    if config.how == How::Product {
        let message = format!("is missing, and parts are of {first} and of {other}");
        let hint = "give that of the product: its parts become powers of themselves";
        return Err(Error::config("temperature", message, hint));
    }
    let in_energy = |guide: &GuideSettings| guide.unit.parse::<EnergyUnit>().ok() != Some(EnergyUnit::Kt);
    match config.guides.iter().position(in_energy) {
        None => Ok(()),
        Some(idx) => {
            let message = format!("parts are of {first} and of {other}: what this is in kT is not known");
            Err(Error::config(format!("guides[{idx}].unit"), message, "give the stiffness in kT"))
        }
    }
}

fn guide(place: &str, settings: &GuideSettings, beads: &Beads, temperature: Temperature) -> Result<Guide> {
    let names = || beads.variables.iter().map(|variable| variable.name.as_str());
    let variable = names().position(|name| name == settings.variable).ok_or_else(|| {
        let place = format!("{place}.variable = \"{}\"", settings.variable);
        let message = "is no collective variable of the first part";
        Error::config(place, message, did_you_mean(&settings.variable, names()))
    })?;
    let function = &*beads.variables[variable].function;
    let interval = match (&settings.center, settings.interval.as_ref().map(toml::Value::as_array)) {
        (Some(center), _) => {
            let center = bound(&format!("{place}.center"), center, function.unit())?;
            (center, center)
        }
        (None, Some(Some(ends))) if ends.len() == 2 => {
            let place = format!("{place}.interval");
            (bound(&place, &ends[0], function.unit())?, bound(&place, &ends[1], function.unit())?)
        }
        _ => {
            let message = "expected an interval [from, to]";
            return Err(Error::config(format!("{place}.interval"), message, ""));
        }
    };
    let unit: EnergyUnit = (settings.unit.parse())
        .map_err(|message: String| Error::config(format!("{place}.unit"), message, ""))?;
    let stiffness_kt = settings.stiffness / unit.per_kt(temperature.as_kelvin());
    Restraint::new(function, interval, stiffness_kt)
        .map_err(|error| Error::config(place, error.to_string(), ""))?;
    Ok(Guide { variable, interval, stiffness_kt })
}
