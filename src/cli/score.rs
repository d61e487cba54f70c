//! `kirkwood score`: what can be typed, and how its result is shown.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kirkwood::Result;
use kirkwood::run::score::{ScoreRequest, score};

use super::output;

/// A model and frames.
#[derive(Debug, Args)]
pub struct OfScore {
    /// The run directory of a trained model
    pub run: PathBuf,

    /// Frames: whatever `kirkwood run` reads
    #[arg(required = true)]
    pub trajectory: Vec<PathBuf>,

    /// The atoms of the frames [default: those of the run]
    #[arg(long, value_name = "FILE")]
    pub topology: Option<PathBuf>,

    /// The atoms that are beads [default: as in the run]
    #[arg(long, value_name = "SELECTION")]
    pub selection: Option<String>,

    /// Score the mirror image of every frame in its place
    #[arg(long)]
    pub mirror: bool,

    /// Displace every coordinate by a normal number of this deviation first, for example "0.01 nm"
    #[arg(long, value_name = "LENGTH", default_value = "0 nm")]
    pub displace: kirkwood::units::Length,

    /// A frame is foreign if so few of the held-out frames are as far out, or fewer
    #[arg(long, value_name = "P", default_value_t = 0.001)]
    pub threshold: f64,

    /// Write a table with a row per frame
    #[arg(long, value_name = "FILE.csv")]
    pub output: Option<PathBuf>,

    /// Threads of the processor; results do not depend on it [default: all]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub threads: Option<usize>,
}

/// Scores and prints; exit code 3 where more frames are foreign than chance makes.
pub fn perform(of_score: &OfScore, json: bool) -> Result<ExitCode> {
    super::use_threads(of_score.threads);
    let scores = score(&ScoreRequest {
        run: of_score.run.clone(),
        trajectory: of_score.trajectory.clone(),
        topology: of_score.topology.clone(),
        selection: of_score.selection.clone(),
        mirror: of_score.mirror,
        displace_nm: of_score.displace.as_nm(),
        threshold: of_score.threshold,
    })?;
    if let Some(path) = &of_score.output {
        scores.write_csv(path)?;
    }
    let text = if json { output::pretty(&scores.to_json()) } else { scores.sentence() };
    output::show(&scores.warnings, &text);
    Ok(super::code(scores.is_familiar()))
}
