//! `kirkwood run` with `kind = "boltzmann_generator"`: exact Boltzmann averages from a learned energy that is
//! corrected by the physical one.
//!
//! ```text
//! runs/NAME/
//!   config.toml  plan.toml  provenance.json  log.jsonl  summary.json
//!   frames/             frames of all atoms, simulated or checked
//!   train/              the learned energy u(x, t)
//!   generate/           reverse diffusion, particles, annealed walkers: the learned energy alone
//!   correct/            annealed from the learned to the physical energy
//!   replica_exchange/   from noise to the physical energy, MBAR over all levels
//!   reference/          direct simulations of every state; plain dynamics, parallel tempering
//!   compare/            metrics, populations, energies, costs
//!   report/report.html
//! ```
//!
//! A stage that was interrupted is done again when the run is resumed; training goes on from its checkpoint, and
//! sets of conformations that were finished within a stage are kept.
//!
//! Every generated set carries weights that make its averages exact: w = p_physical / p_drawn along everything that
//! was done to a walker. Isomers that the frames do not have are no conformations of the molecule; the physical
//! energy is infinite for them.

pub mod bias;
mod compare;
pub mod config;
mod correct;
mod exchange;
mod frames;
mod generate;
mod page;
pub mod plan;
mod reference;
#[cfg(test)]
mod tests;
mod work;

use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::model::compute::Compute;
use crate::potential::{PotentialPath as _, Precision};
use crate::run::control::Control;
use crate::run::directory::{read_json, write_json};
use crate::run::parts::{self, Description};
use crate::run::provenance::{Provenance, peak_memory_mib, utc_now};
use crate::run::source::is_of_kind;
use crate::run::stages::train;
use crate::run::summary::entry;
use crate::run::{Outcome, Request};
use plan::Plan;
use work::Work;

/// The stages, in order.
pub const STAGES: [&str; 8] =
    ["frames", "train", "generate", "correct", "replica_exchange", "reference", "compare", "report"];

/// Whether a configuration, or that of a run directory, is one of a Boltzmann generator.
pub fn is_generator(config: &Path) -> bool {
    is_of_kind(config, "boltzmann_generator")
}

/// Resolves the plan and reads the molecule; writes nothing.
pub fn check(request: &Request) -> Result<Plan> {
    let plan = Plan::resolve(request)?;
    Compute::parse(&plan.config.device).map_err(|error| plan.locate(error))?;
    Ok(plan)
}

/// Runs all stages, or what is left of them.
pub fn run(request: &Request, control: &Control) -> Result<Outcome> {
    let plan = check(request)?;
    let about = Description {
        out: &plan.out,
        plan: plan.text(),
        written: plan.written(),
        inputs: plan.inputs(),
        seed: plan.config.seed,
        device: &plan.config.device,
        system: plan.sentence(),
    };
    let Some((directory, mut provenance)) = parts::open(request, &about)? else {
        return outcome(&plan, "already_finished");
    };
    let path = directory.path().join("provenance.json");

    let work = Work { plan: &plan, layout: directory.main(), run: &directory, control };
    for stage in STAGES {
        if work.layout.is_finished(stage) {
            continue;
        }
        control.check(directory.path())?;
        directory.log("stage_begins", json!({ "stage": stage }));
        if stage == "report" {
            summarize(&work, &provenance)?;
        }
        let begun = Instant::now();
        let result = perform(&work, stage);
        *provenance.seconds.entry(stage.into()).or_insert(0.0) += begun.elapsed().as_secs_f64();
        provenance.peak_memory_mib = provenance.peak_memory_mib.max(peak_memory_mib());
        write_json(&path, &provenance)?;
        let said = result.as_ref().map_or_else(|error| error.to_string(), |()| "done".into());
        directory.log("stage_ends", json!({ "stage": stage, "outcome": said }));
        result?;
    }
    provenance.finished_utc = Some(utc_now());
    write_json(&path, &provenance)?;
    outcome(&plan, "finished")
}

fn perform(work: &Work, stage: &str) -> Result<()> {
    match stage {
        "frames" => frames::run(work),
        "train" => {
            let learned = work.learned()?;
            for warning in &learned.data.warnings {
                work.control.progress().note(warning);
            }
            train::check(&learned.plan)?;
            train::run_with_scores(&learned.context(work), |positions_nm| scores(work, positions_nm))
        }
        "generate" => generate::run(work),
        "correct" => correct::run(work),
        "replica_exchange" => exchange::run(work),
        "reference" => reference::run(work),
        "compare" => compare::run(work),
        _ => page::run(work),
    }
}

/// −∂u/∂x of the energy of the frames in 1/nm: what target score matching learns from.
fn scores(work: &Work, positions_nm: &[f64]) -> Result<Vec<f64>> {
    let biased = work.biased()?;
    let state = biased.as_ref().unwrap_or(&work.plan.base);
    let mut u = vec![0.0; positions_nm.len() / (3 * state.parameters.n_atoms())];
    let mut gradient = vec![0.0; positions_nm.len()];
    state.at(Precision::Double).energies_and_gradients(
        &vec![1.0; u.len()],
        positions_nm,
        &mut u,
        &mut gradient,
    )?;
    gradient.iter_mut().for_each(|gradient| *gradient = -*gradient);
    Ok(gradient)
}

/// Gathers the numbers of all stages in `summary.json`.
fn summarize(work: &Work, provenance: &Provenance) -> Result<()> {
    let mut entries = Map::new();
    let training = work.layout.finished("train")?.join("diagnostics.json");
    if training.is_file() {
        entries.extend(read_json::<Map<String, Value>>(&training)?);
    }
    for stage in ["frames", "generate", "correct", "replica_exchange", "reference"] {
        for numbers in work::numbers(&work.layout.finished(stage)?)? {
            entries.extend(numbers);
        }
    }
    entries.extend(read_json::<Map<String, Value>>(&work.layout.finished("compare")?.join("numbers.json"))?);
    let wall = "wall clock, summed over resumed parts";
    for (stage, seconds) in &provenance.seconds {
        entries.insert(format!("{stage}_seconds"), entry(*seconds, None, "s", wall));
    }
    let total: f64 = provenance.seconds.iter().filter(|(stage, _)| *stage != "report").map(|(_, s)| s).sum();
    entries.insert("total_seconds".into(), entry(total, None, "s", wall));
    let memory = provenance.peak_memory_mib.max(peak_memory_mib());
    let method = "largest resident set of the process";
    entries.insert("peak_memory_mib".into(), entry(memory, None, "MiB", method));
    write_json(&work.layout.root().join("summary.json"), &Value::Object(entries))
}

/// What a finished run directory says.
fn outcome(plan: &Plan, status: &'static str) -> Result<Outcome> {
    let verdict: Value = read_json(&plan.out.join("compare").join("verdict.json"))?;
    let state = if status == "finished" { "finished" } else { "this run was already finished" };
    let report = plan.out.join("report").join("report.html");
    let sentence = verdict["verdict"].as_str().unwrap_or_default();
    Ok(Outcome {
        directory: plan.out.clone(),
        status,
        sentence: format!("{state} in {}; report: {}. {sentence}", plan.out.display(), report.display()),
        trustworthy: verdict["trustworthy"].as_bool().unwrap_or(true),
        summary: read_json(&plan.out.join("summary.json"))?,
    })
}
