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
use crate::run::directory::{Found, RunDirectory, SIMULATION, read_json, write_json};
use crate::run::provenance::{Input, Provenance, peak_memory_mib, utc_now};
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
    match RunDirectory::inspect(&plan.out, plan.text())? {
        Found::Finished => return outcome(&plan, "already_finished"),
        Found::Unfinished if !request.resume => {
            return Err(Error::RunDirectory {
                path: plan.out.clone(),
                message: "holds an unfinished simulation of this plan".into(),
                hint: "continue it with `--resume`".into(),
            });
        }
        Found::Unfinished | Found::Nothing => {}
    }
    let inputs = plan.config.inputs().iter().map(|path| Input::of(path)).collect::<Result<Vec<_>>>()?;
    let (directory, _) = RunDirectory::open(&plan.out, plan.text(), plan.written())?;
    let path = directory.path().join("provenance.json");
    let mut provenance = match path.is_file() {
        true => read_json::<Provenance>(&path)?,
        false => Provenance::begin(&request.command, plan.text()),
    };
    if !provenance.inputs.is_empty() && provenance.inputs != inputs {
        return Err(Error::RunDirectory {
            path: plan.out.clone(),
            message: "was begun with other input files".into(),
            hint: "choose another --out, or restore the files".into(),
        });
    }
    provenance.inputs = inputs;
    provenance.seed = plan.config.seed;
    provenance.device = "cpu".into();
    provenance.threads = rayon::current_num_threads();
    provenance.system = plan.sentence();
    write_json(&path, &provenance)?;
    directory.log("begin", json!({ "command": request.command, "resume": request.resume }));

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
