//! What the configuration of a composition may say.
//!
//! Only `kind`, `name`, `how` and the `run` of each part have no default. A key that is not known is an error.
//! `examples/composition/` has configurations that work.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, at_least, not_negative, positive};
use crate::run::config::ReplicaSettings;
use crate::run::source::check_directory_name;
use crate::sampling::SequentialMonteCarloSettings;
use crate::units::{EnergyUnit, Temperature};

/// The value of `kind` by which this configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `composition`
    Composition,
}

/// How energies become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// u = Σ w_k u_k: each law to the power of its weight.
    Product,
    /// u = −ln Σ π_k exp(−u_k), with the weights as shares.
    Mixture,
}

/// A configuration of a composition. A plan is one as well, with every default written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompositionConfig {
    /// `composition`.
    pub kind: Kind,
    /// What the run is called; results go to `runs/NAME`.
    pub name: String,
    /// Seed of all random numbers.
    #[serde(default = "one")]
    pub seed: u64,
    /// Product or mixture.
    pub how: How,
    /// ½ k Σ|r|² of all beads, from their centre, is added: k in kT/nm². Negative weights need it.
    #[serde(default)]
    pub confinement: f64,
    /// Of a product: the weight of each part is multiplied by the temperature of its frames over this one. Absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
    /// Whether each part is drawn alone first, which normalises it, and reweighted to the composed law.
    #[serde(default = "yes")]
    pub normalize: bool,
    /// The energies.
    #[serde(default)]
    pub parts: Vec<PartSettings>,
    /// Restraints of the composed law.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guides: Vec<GuideSettings>,
    /// How the law is drawn from.
    #[serde(default)]
    pub sample: SampleSettings,
    /// Profiles and the report.
    #[serde(default)]
    pub report: ReportSettings,
}

fn one() -> u64 {
    1
}

fn unity() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

/// A learned energy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartSettings {
    /// A finished run directory of `kirkwood run`, or of one of its variants.
    pub run: PathBuf,
    /// Its power in a product, or its share of a mixture; shares need not sum to 1.
    #[serde(default = "unity")]
    pub weight: f64,
    /// What tables and figures call it; absent: the name of its directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A restraint ½ k d² of a collective variable of the first part, with d its distance from an interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuideSettings {
    /// The name of the variable.
    pub variable: String,
    /// Harmonic about this value: `"60 deg"`, `"0.3 nm"`, `0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub center: Option<toml::Value>,
    /// Or with a flat bottom from the first to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<toml::Value>,
    /// k in `unit` per rad², nm² or 1.
    pub stiffness: f64,
    /// kT, kJ/mol or kcal/mol; the latter at the temperature of the composition.
    #[serde(default = "kt")]
    pub unit: String,
}

fn kt() -> String {
    EnergyUnit::Kt.to_string()
}

/// Ways to draw from the composed law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// Weighted particles from the noise end to the data end.
    #[default]
    Smc,
    /// Replica exchange between them.
    ReplicaExchange,
}

/// How the law is drawn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleSettings {
    /// The way.
    pub sampler: Sampler,
    /// Settings of particles, also of those of each part alone.
    pub smc: SequentialMonteCarloSettings,
    /// Settings of replica exchange.
    pub replica_exchange: ReplicaSettings,
}

impl Default for SampleSettings {
    fn default() -> Self {
        Self {
            sampler: Sampler::Smc,
            smc: SequentialMonteCarloSettings::default(),
            replica_exchange: ReplicaSettings { n_ladders: 24, ..ReplicaSettings::default() },
        }
    }
}

/// Profiles and the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportSettings {
    /// The heading of the report; absent: the name of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Bins of a profile along one variable.
    pub n_bins: usize,
    /// Bins along each of two.
    pub n_bins_2d: usize,
    /// Resamples of blocks for the errors of profiles.
    pub n_bootstrap: usize,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self { title: None, n_bins: 72, n_bins_2d: 36, n_bootstrap: 50 }
    }
}

impl CompositionConfig {
    /// Checks what can be checked without opening another file.
    pub fn validate(&self) -> Result<()> {
        let bad = |place: String, message: &str, hint: &str| Err(Error::config(place, message, hint));
        check_directory_name("name", &self.name)?;
        if self.parts.is_empty() {
            let hint = "[[parts]] with `run`, a run directory of `kirkwood run`";
            return bad("parts".into(), "there is no energy to compose", hint);
        }
        not_negative("confinement", self.confinement)?;
        for (idx, part) in self.parts.iter().enumerate() {
            let place = format!("parts[{idx}].weight = {}", part.weight);
            if !part.weight.is_finite() || part.weight == 0.0 {
                return bad(place, "must be a number other than 0", "");
            }
            if self.how == How::Mixture && part.weight < 0.0 {
                return bad(place, "must be positive: it is the share of a mixture", "");
            }
            if part.weight < 0.0 && self.confinement == 0.0 {
                let message = "divides by a law, and nothing keeps what is left together";
                return bad(place, message, "give `confinement`, in kT/nm²");
            }
        }
        if self.how == How::Mixture && self.temperature.is_some() {
            let message = "only a product has one: its parts become powers of themselves";
            return bad("temperature".into(), message, "leave it out");
        }
        if self.how == How::Mixture && self.confinement > 0.0 {
            return bad("confinement".into(), "only a product has one", "leave it out");
        }
        for (idx, guide) in self.guides.iter().enumerate() {
            let place = format!("guides[{idx}]");
            if guide.center.is_some() == guide.interval.is_some() {
                return bad(place, "needs either `center` or `interval`", "");
            }
            positive(format!("{place}.stiffness"), guide.stiffness)?;
            guide.unit.parse::<EnergyUnit>().map_err(|message| {
                Error::config(format!("{place}.unit = \"{}\"", guide.unit), message, "")
            })?;
        }
        self.sample.smc.validate("sample.smc")?;
        let exchange = &self.sample.replica_exchange;
        let place = "sample.replica_exchange";
        for (key, value, least) in [
            ("keep_every", exchange.keep_every, 1),
            ("n_ladders", exchange.n_ladders, 2),
            ("n_sweeps", exchange.n_sweeps, 2 * exchange.keep_every),
        ] {
            at_least(format!("{place}.{key}"), value, least)?;
        }
        exchange.sampler().validate(place)?;
        at_least("report.n_bins", self.report.n_bins, 2)?;
        at_least("report.n_bins_2d", self.report.n_bins_2d, 2)?;
        at_least("report.n_bootstrap", self.report.n_bootstrap, 2)
    }
}
