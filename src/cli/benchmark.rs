//! `kirkwood benchmark`: what can be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kirkwood::run::benchmark::SUITES;
use kirkwood::run::{Request, Variants};
use kirkwood::{Error, Result};

/// A benchmark.
#[derive(Debug, Args)]
pub struct OfBenchmark {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Objectives that learn energies, on problems whose law is known
    Energies(OfEnergies),
}

#[derive(Debug, Args)]
struct OfEnergies {
    /// A configuration (TOML) of your own, or a run directory, which holds its plan
    #[arg(conflicts_with = "suite")]
    config: Option<PathBuf>,

    /// A suite that is built in: mixtures, mixtures_small, few_step, molecules
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,

    /// Where the results go [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Threads of the processor; results do not depend on it [default: all]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    threads: Option<usize>,

    /// Seed of all random numbers
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Change one key of the configuration, for example n_training=5000
    #[arg(long = "set", value_name = "KEY=VALUE")]
    assignments: Vec<String>,

    /// Go on where an earlier run of the same plan stopped
    #[arg(long)]
    resume: bool,
}

impl OfBenchmark {
    /// Threads that were asked for.
    pub fn threads(&self) -> Option<usize> {
        let What::Energies(of) = &self.what;
        of.threads
    }

    /// The same for the library, and the suite.
    pub fn request(&self) -> Result<(Request, Option<&str>)> {
        let What::Energies(of) = &self.what;
        let command: Vec<String> = std::env::args().collect();
        let suite = of.suite.as_deref();
        let config = match (&of.config, suite) {
            (Some(config), _) => config.clone(),
            (None, Some(suite)) => PathBuf::from(format!("suite {suite}")),
            (None, None) => {
                let known = SUITES.map(|(name, _)| name).join(", ");
                let hint = format!("a file, or `--suite` with one of {known}");
                return Err(Error::config("benchmark energies", "has nothing to do", hint));
            }
        };
        let request = Request {
            config,
            out: of.out.clone(),
            device: None,
            seed: of.seed,
            assignments: of.assignments.clone(),
            resume: of.resume,
            variants: Variants::None,
            command: command.join(" "),
        };
        Ok((request, suite))
    }
}
