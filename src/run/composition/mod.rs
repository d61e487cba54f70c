//! `kirkwood run` with `kind = "composition"`: learned energies of the same beads, multiplied, mixed, tempered and guided.
//!
//! ```text
//! runs/NAME/
//!   config.toml  plan.toml  provenance.json  log.jsonl  summary.json  verdict.json
//!   frames_1/ …         populations and profiles of the frames that each part learned from
//!   part_1/ …           conformations of each part alone, and its log Z
//!   composed/           conformations of the composed law: samples.dcd, weights.csv, levels.csv
//!   reweighted_1/ …     the same law by weights of the conformations of part_1 (of a product)
//!   pooled/             the same law by weights of the conformations of all parts (of a mixture)
//!   report/report.html  report/populations.csv
//! ```
//!
//! Every directory of conformations holds `pmf_VARIABLE.csv`, `surface.csv` and `examined.json`. Weights of parts that are drawn alone
//! are a second way to the same numbers wherever the parts overlap with the composition; a composition that
//! differs from them is not to be trusted.

pub mod config;
pub mod draw;
pub mod examine;
pub mod law;
mod page;
pub mod plan;
#[cfg(test)]
mod tests;
mod verdict;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::config::{How, SampleSettings, Sampler};
use self::draw::{Drawn, draw};
use self::examine::{Examination, Set};
use self::law::Law;
use self::plan::Plan;
use crate::error::Result;
use crate::free_energy::weights::normalized_weights;
use crate::potential::ReducedPotential as _;
use crate::random::Streams;
use crate::run::control::Control;
use crate::run::directory::{read_json, write_json};
use crate::run::parts::{self, Description, Parts, fractions};
use crate::run::source::is_of_kind;
use crate::run::stages::load::Data;
use crate::run::summary::read_rows;
use crate::run::{Outcome, Request};
use crate::system::MappingSettings;
use crate::trajectory::{self, FrameRange, LengthUnit, TrajectoryFiles};

/// Stretches of frames that are taken as independent.
const N_BLOCKS: usize = 20;
/// The file in which a drawn set says how it went.
const DRAWN: &str = "drawn.json";

/// Whether a configuration, or that of a run directory, is one of a composition.
pub fn is_composition(config: &Path) -> bool {
    is_of_kind(config, "composition")
}

/// Resolves the plan and reads the models; writes nothing.
pub fn check(request: &Request) -> Result<Plan> {
    Plan::resolve(request)
}

/// What is kept of [`Drawn`] besides its conformations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    /// Of the law as it was drawn from.
    log_z: Option<f64>,
    std_error: Option<f64>,
    method: String,
    numbers: Map<String, Value>,
    reasons: Vec<String>,
}

impl Record {
    fn of(drawn: &Drawn) -> Self {
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        Self {
            log_z: finite(drawn.log_z.0),
            std_error: finite(drawn.log_z.1),
            method: drawn.method.clone(),
            numbers: drawn.numbers.clone(),
            reasons: drawn.reasons.clone(),
        }
    }

    fn read(directory: &Path) -> Result<Self> {
        read_json(&directory.join(DRAWN))
    }
}

/// Does everything, or what is left.
pub fn run(request: &Request, control: &Control) -> Result<Outcome> {
    let plan = Plan::resolve(request)?;
    let about = Description {
        out: &plan.out,
        plan: plan.text(),
        written: plan.written(),
        inputs: plan.inputs(),
        seed: plan.config.seed,
        device: "cpu",
        system: plan.sentence(),
    };
    let Some(mut parts) = Parts::begin(request, &about, control)? else {
        return parts::outcome(&plan.out, "already_finished");
    };
    let found = perform(&plan, &mut parts)?;
    parts.part("report", |directory, _| {
        found.write_table(directory)?;
        page::write(&plan, &found, directory.parent().unwrap_or(directory), directory)
    })?;
    let (sentence, trustworthy) = found.verdict();
    parts.finish(&found.summary(), &sentence, trustworthy)?;
    parts::outcome(&plan.out, "finished")
}

fn perform(plan: &Plan, parts: &mut Parts) -> Result<verdict::Found> {
    let frames =
        (plan.parts.iter()).map(|part| Ok(Data::load(&part.run)?.frames)).collect::<Result<Vec<_>>>()?;
    let all: Vec<&[f64]> = frames.iter().map(trajectory::Ensemble::positions_nm).collect();
    let streams = Streams::new(plan.config.seed);
    let examination = Examination::new(plan.beads(), &plan.config.report, streams.derive(0x4558), &all)?;
    let mut found = verdict::Found::default();

    for (idx, part) in plan.parts.iter().enumerate() {
        let name = format!("frames_{}", idx + 1);
        let label = format!("frames of {}", part.label);
        let set = Set { name: &name, label, positions_nm: all[idx], weights: None, n_groups: N_BLOCKS };
        let directory = parts.part(&name, |directory, _| examination.examine(&set, directory).map(drop))?;
        found.add(&directory)?;
    }

    let by_particles = SampleSettings { sampler: Sampler::Smc, ..plan.config.sample.clone() };
    let mut log_z = vec![0.0; plan.parts.len()];
    let mut samples = Vec::new();
    if plan.config.normalize {
        for (idx, part) in plan.parts.iter().enumerate() {
            let name = format!("part_{}", idx + 1);
            let law = Law::of_one(&part.model)?;
            let about = About {
                name: &name,
                label: part.label.clone(),
                streams: streams.derive(0x5000 + idx as u64),
            };
            let directory = draw_part(&law, &by_particles, &about, &examination, parts)?;
            let record = Record::read(&directory)?;
            log_z[idx] = record.log_z.unwrap_or(f64::NAN);
            found.add(&directory)?;
            found.parts.push(record);
            samples.push(Sample::read(&directory)?);
        }
    }
    found.judge_parts(plan);
    if log_z.iter().any(|log_z| log_z.is_nan()) {
        let place = "parts";
        let message = "one of the energies has no log Z: nothing of it reached the data end";
        return Err(crate::error::Error::config(place, message, "train it longer, or `normalize = false`"));
    }

    let law = plan.law(&log_z)?;
    let about = About { name: "composed", label: "composed".into(), streams: streams.derive(0x4357) };
    let directory = draw_part(&law, &plan.config.sample, &about, &examination, parts)?;
    found.add(&directory)?;
    found.set_composed(plan, &log_z, Record::read(&directory)?);

    let reweighted: Vec<(String, String, Sample)> = match plan.config.how {
        _ if samples.is_empty() => Vec::new(),
        How::Mixture => {
            let label = "all parts, weighted".to_string();
            vec![("pooled".into(), label, pooled(plan, &law, &samples)?)]
        }
        How::Product => (samples.iter().zip(&plan.parts).enumerate())
            .filter(|(_, (_, part))| part.weight > 0.0)
            .map(|(idx, (sample, part))| {
                let sample = sample.reweighted(&law, &Law::of_one(&part.model)?)?;
                Ok((format!("reweighted_{}", idx + 1), format!("{}, reweighted", part.label), sample))
            })
            .collect::<Result<_>>()?,
    };
    for (name, label, sample) in reweighted {
        let weights = normalized_weights(&sample.log_weights);
        let directory = parts.part(&name, |directory, _| {
            let n_groups = plan.config.sample.smc.n_islands;
            let positions_nm = &sample.positions_nm;
            let set = Set { name: &name, label, positions_nm, weights: Some(&weights), n_groups };
            examination.examine(&set, directory).map(drop)
        })?;
        found.add(&directory)?;
    }
    found.seconds = found.sets.iter().map(|set| (set.name.clone(), parts.seconds(&set.name))).collect();
    found.compare();
    Ok(found)
}

/// What a drawn set is called, and its random numbers.
struct About<'a> {
    name: &'a str,
    label: String,
    streams: Streams,
}

/// Draws and examines a set unless it is there.
fn draw_part(
    law: &Law,
    settings: &SampleSettings,
    about: &About,
    examination: &Examination,
    parts: &mut Parts,
) -> Result<std::path::PathBuf> {
    let run = parts.path().to_path_buf();
    parts.part(about.name, |directory, control| {
        let mut progress = fractions(control, &run, &about.label);
        let drawn = draw(law, settings, &about.streams, &mut progress)?;
        let topology = examination.beads.mapping.topology();
        drawn.write(directory, topology)?;
        write_json(&directory.join(DRAWN), &Record::of(&drawn))?;
        let weights = draw::weights(drawn.log_weights.as_deref());
        let set = Set {
            name: about.name,
            label: about.label.clone(),
            positions_nm: &drawn.positions_nm,
            weights: weights.as_deref(),
            n_groups: drawn.n_groups,
        };
        examination.examine(&set, directory)?;
        let (value, error) = drawn.log_z;
        control.progress().end(&format!("log Z = {}", crate::report::number::with_error(value, Some(error))));
        Ok(())
    })
}

/// Weighted conformations, groups one after the other.
struct Sample {
    positions_nm: Vec<f64>,
    log_weights: Vec<f64>,
}

/// A row of `weights.csv`.
#[derive(Deserialize)]
struct Weight {
    log_weight: f64,
}

impl Sample {
    /// What [`Drawn::write`] wrote.
    fn read(directory: &Path) -> Result<Self> {
        let files = TrajectoryFiles {
            topology: Some(directory.join("beads.pdb")),
            trajectories: vec![directory.join("samples.dcd")],
            frames: FrameRange::default(),
            array_unit: LengthUnit::default(),
        };
        let ensemble = trajectory::load(&files, "sample", &MappingSettings::default())?.ensemble.centered();
        let rows: Vec<Weight> = read_rows(&directory.join("weights.csv"))?;
        let log_weights = rows.into_iter().map(|row| row.log_weight).collect();
        Ok(Self { positions_nm: ensemble.positions_nm().to_vec(), log_weights })
    }

    /// With weights of another law; an energy that is not a number has none.
    fn reweighted(&self, to: &Law, from: &Law) -> Result<Self> {
        let (new, old) = (to.energies(&self.positions_nm)?, from.energies(&self.positions_nm)?);
        let weight = |((w, new), old): ((&f64, &f64), &f64)| {
            let weight = w + old - new;
            if weight.is_nan() { f64::NEG_INFINITY } else { weight }
        };
        let log_weights = self.log_weights.iter().zip(&new).zip(&old).map(weight).collect();
        Ok(Self { positions_nm: self.positions_nm.clone(), log_weights })
    }
}

/// Conformations of all parts with their shares and the weights of the restraints, group by group.
fn pooled(plan: &Plan, law: &Law, samples: &[Sample]) -> Result<Sample> {
    let n_groups = plan.config.sample.smc.n_islands;
    let size = 3 * plan.beads().n_beads();
    let (mut positions_nm, mut log_weights) = (Vec::new(), Vec::new());
    for group in 0..n_groups {
        for (sample, part) in samples.iter().zip(&plan.parts) {
            let per_group = sample.log_weights.len() / n_groups;
            let range = group * per_group..(group + 1) * per_group;
            positions_nm.extend_from_slice(&sample.positions_nm[range.start * size..range.end * size]);
            log_weights.extend(sample.log_weights[range].iter().map(|w| w + part.weight.ln()));
        }
    }
    let mut v = vec![0.0; log_weights.len()];
    law.restraints.energies(&positions_nm, &mut v)?;
    log_weights.iter_mut().zip(&v).for_each(|(w, v)| *w -= v);
    Ok(Sample { positions_nm, log_weights })
}
