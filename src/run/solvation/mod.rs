//! `kirkwood run` with `kind = "solvation"`: one free energy by every road, side by side.
//!
//! ```text
//! runs/NAME/
//!   config.toml  plan.toml  provenance.json  log.jsonl  summary.json  verdict.json
//!   frames/             vacuum.dcd, solvent.dcd: the ensembles at both ends
//!   classical/          windows and switching of the physical energy
//!   learning_1/ …       energies learned with classification, one for each model
//!   learning_scores_1/ …  the same steps without it
//!   learned_1/ …        integration along them
//!   learning_velocity/  the velocity that belongs to the first of them
//!   escorted/           paths along both
//!   annealed/           exact roads along the first of them
//!   diffusion_vacuum/  diffusion_solvent/   energies between each ensemble and noise
//!   corrected_vacuum/ …  corrected/   paths between them in both directions
//!   absolute_vacuum/ …   absolute/    particles from noise
//!   …_untrained/        the same along energies that nobody trained
//!   report/report.html  report/roads.csv
//! ```
//!
//! Every part holds `roads.json`, its rows of the table. A part that was interrupted is done again when the run is
//! resumed; training and windows go on from their checkpoints.

pub mod absolute;
pub mod annealed;
pub mod both_ways;
pub mod classical;
#[cfg(test)]
mod closed_form_tests;
pub mod config;
pub mod counted;
pub mod ends;
pub mod escorted;
pub mod grouped;
pub mod learned;
pub mod learning;
pub mod multistate;
mod page;
mod placing;
pub mod plan;
pub mod region;
pub mod road;
pub mod switching;
mod table;
mod travel;
pub mod windows;

use std::path::Path;

use crate::error::Result;
use crate::run::control::Control;
use crate::run::parts::{self, Description, Parts};
use crate::run::source::is_of_kind;
use crate::run::{Outcome, Request};
use plan::Plan;
pub use road::Road;

/// Whether a configuration, or that of a run directory, is one of solvation by several roads.
pub fn is_solvation(config: &Path) -> bool {
    is_of_kind(config, "solvation")
}

/// Resolves the plan and reads the molecule; writes nothing.
pub fn check(request: &Request) -> Result<Plan> {
    Plan::resolve(request)
}

/// Travels all roads, or those that are left.
pub fn run(request: &Request, control: &Control) -> Result<Outcome> {
    let plan = Plan::resolve(request)?;
    let about = Description {
        out: &plan.out,
        plan: plan.text(),
        written: plan.written(),
        inputs: plan.inputs.clone(),
        seed: plan.config.seed,
        device: "cpu",
        system: plan.sentence(),
    };
    let Some(mut parts) = Parts::begin(request, &about, control)? else {
        return parts::outcome(&plan.out, "already_finished");
    };
    travel::travel(&plan, &mut parts)?;
    let table = table::Table::gather(&plan, &parts.layout())?;
    parts.part("report", |directory, _| {
        table.write(directory)?;
        page::write(&table, &plan, parts_root(directory), directory)
    })?;
    let (sentence, trustworthy) = table.verdict();
    let summary = table.summary();
    parts.finish(&summary, &sentence, trustworthy)?;
    parts::outcome(&plan.out, "finished")
}

/// The run directory of a part that is being written.
fn parts_root(directory: &Path) -> &Path {
    directory.parent().unwrap_or(directory)
}
