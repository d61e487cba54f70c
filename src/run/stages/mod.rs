//! What a run does: one file per stage.

pub mod compare;
pub mod estimate;
mod frame_weights;
pub mod load;
pub mod report;
pub mod sample;
pub mod train;

use crate::error::Result;
use crate::random::Streams;
use crate::run::control::Control;
use crate::run::directory::{Layout, RunDirectory};
use crate::run::plan::Plan;
use load::Data;

/// What every stage receives.
pub struct Context<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// The frames.
    pub data: &'a Data,
    /// Where the stages of this configuration stand.
    pub layout: &'a Layout,
    /// Progress, and the wish to stop.
    pub control: &'a Control,
    /// The run that the stage belongs to.
    pub run: &'a RunDirectory,
    /// The name of the variant; empty for the main configuration.
    pub label: &'a str,
}

impl Context<'_> {
    /// All random numbers of the run. A variant uses the same: what differs is then its settings.
    pub fn streams(&self) -> Streams {
        Streams::new(self.plan.config.seed)
    }

    /// Shows that a part of the stage begins.
    pub fn begin(&self, part: &str, length: u64) {
        let dot = if self.label.is_empty() { "" } else { ": " };
        self.control.progress().begin(&format!("{}{dot}{part}", self.label), length);
    }

    /// Errors once the user wants to stop.
    pub fn check_stop(&self) -> Result<()> {
        self.control.check(self.run.path())
    }

    /// A callback for long algorithms: shows the fraction done and passes on the wish to stop.
    pub fn fraction<'c>(&'c self, length: u64) -> impl FnMut(f64) -> Result<()> + 'c {
        move |fraction| {
            self.control.progress().advance((fraction * length as f64) as u64, "");
            self.check_stop()
        }
    }
}
