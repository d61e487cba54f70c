//! `kirkwood simulate`: dynamics and Monte Carlo of a molecule, with replica exchange and λ windows.
//!
//! ```text
//! runs/NAME/
//!   config.toml  plan.toml  provenance.json  log.jsonl  summary.json
//!   simulation/            simulation.partial/ while it runs, with checkpoint.toml
//!     topology.pdb  last.pdb  NAME.dcd  frames.csv  energies.csv  u_kn_NAME.csv
//!     states.csv  exchange.csv  round_trips.csv  free_energy.csv  summary.json  verdict.json
//! ```
//!
//! A run is a function of its plan: neither the number of threads nor an interruption changes a bit of
//! what it records.

pub mod config;
mod free_energy;
pub mod molecule;
pub(in crate::run) mod mover;
pub(in crate::run) mod output;
pub mod plan;
mod records;
pub mod schedule;
pub mod stage;
mod summary;
#[cfg(test)]
mod tests;

use std::time::Instant;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::run::control::Control;
use crate::run::directory::{SIMULATION, read_json, write_json};
use crate::run::parts::{self, Description};
use crate::run::provenance::{peak_memory_mib, utc_now};
use crate::run::{Outcome, Request};
use plan::Plan;
use stage::{CHECKPOINT, Simulation};

/// Resolves the plan and reads the molecule; writes nothing.
pub fn check(request: &Request) -> Result<Plan> {
    Plan::resolve(request)
}

/// Runs a simulation, or what is left of it.
pub fn simulate(request: &Request, control: &Control) -> Result<Outcome> {
    let plan = Plan::resolve(request)?;
    let about = Description {
        out: &plan.out,
        plan: plan.text(),
        written: plan.written(),
        inputs: plan.config.inputs(),
        seed: plan.config.seed,
        device: "cpu",
        system: plan.sentence(),
    };
    let Some((directory, mut provenance)) = parts::open(request, &about)? else {
        return outcome(&plan, "already_finished");
    };
    let path = directory.path().join("provenance.json");

    let layout = directory.main();
    if !layout.is_finished(SIMULATION) {
        let begin = Instant::now();
        let simulation = Simulation {
            config: &plan.config,
            schedule: plan.schedule,
            molecule: &plan.molecule,
            directory: layout.begin(SIMULATION)?,
            run: &directory,
            control,
        };
        let result = simulation.run();
        *provenance.seconds.entry(SIMULATION.into()).or_insert(0.0) += begin.elapsed().as_secs_f64();
        provenance.peak_memory_mib = provenance.peak_memory_mib.max(peak_memory_mib());
        write_json(&path, &provenance)?;
        let said = result.as_ref().map_or_else(|error| error.to_string(), |()| "done".into());
        directory.log("end", json!({ "outcome": said }));
        result?;
        layout.finish(SIMULATION)?;
    }
    let finished = layout.finished(SIMULATION)?;
    let mut unneeded = vec![finished.join(CHECKPOINT)];
    unneeded.extend(stage::converted(&plan.config, &finished));
    for path in unneeded.iter().filter(|path| path.is_file()) {
        std::fs::remove_file(path).map_err(Error::io("remove", path))?;
    }
    let summary: Value = read_json(&finished.join("summary.json"))?;
    write_json(&directory.path().join("summary.json"), &summary)?;
    provenance.finished_utc = Some(utc_now());
    write_json(&path, &provenance)?;
    outcome(&plan, "finished")
}

/// What a finished run directory says.
fn outcome(plan: &Plan, status: &'static str) -> Result<Outcome> {
    let verdict: Value = read_json(&plan.out.join(SIMULATION).join("verdict.json"))?;
    let state = if status == "finished" { "finished" } else { "this run was already finished" };
    let sentence = verdict["verdict"].as_str().unwrap_or_default();
    Ok(Outcome {
        directory: plan.out.clone(),
        status,
        sentence: format!("{state} in {}. {sentence}", plan.out.display()),
        trustworthy: verdict["trustworthy"].as_bool().unwrap_or(true),
        summary: read_json(&plan.out.join("summary.json"))?,
    })
}
