//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use kirkwood::Result;
use kirkwood::run::{Request, Variants};

use super::benchmark::OfBenchmark;
use super::energy::OfEnergy;
use super::estimate::OfEstimate;
use super::pmf::OfPmf;
use super::reweight::OfReweight;
use super::score::OfScore;
use super::solvate::OfSolvate;

/// Molecular free energies from learned and classical energies.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Print one JSON object on standard output
    #[arg(long, global = true)]
    pub json: bool,

    /// Show no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole job: train, sample, estimate, compare, report, and the same for each variant
    Run(OfRun),
    /// Learn the energy u(x, t) from the trajectory
    Train(OfRun),
    /// Draw ensembles from the learned energy
    Sample(OfRun),
    /// Free energies from output files of GROMACS, AMBER, NAMD, GOMC or from tables; or of the learned path of a run
    Estimate(Box<OfEstimate>),
    /// Potentials of mean force from unbiased, umbrella or metadynamics data
    Pmf(Box<OfPmf>),
    /// Weights of frames at another temperature, with another potential, or without the bias
    Reweight(Box<OfReweight>),
    /// Compare the ensembles with held-out frames
    Compare(OfRun),
    /// Draw report.html again from the run directory
    Report(OfRun),
    /// Resolve and print the plan, look at the inputs, write nothing
    Check(OfRun),
    /// Energies and forces of conformations from a molecular-mechanics force field
    Energy(OfEnergy),
    /// Molecular dynamics or Monte Carlo, with replica exchange and λ windows
    Simulate(OfSimulation),
    /// The free energy of bringing a molecule from vacuum into an implicit solvent
    Solvate(OfSolvate),
    /// Is each frame one that the training ensemble of a run could contain?
    Score(OfScore),
    /// Ways to learn energies, side by side on problems with known answers
    Benchmark(OfBenchmark),
    /// What a configuration can name, with examples
    List {
        /// One kind of thing, for example `network`
        kind: Option<String>,
    },
}

/// A configuration and what overlays it.
#[derive(Debug, Args)]
pub struct OfRun {
    /// The configuration (TOML), or a run directory, which holds its own plan
    pub config: PathBuf,

    /// Where the results go [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Where tensors live: cpu, cuda, cuda:1
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,

    /// Threads of the processor; results do not depend on it [default: all]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub threads: Option<usize>,

    /// Seed of all random numbers
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Change one key of the configuration, for example train.batch_size=512
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub assignments: Vec<String>,

    /// Go on where an earlier run of the same plan stopped
    #[arg(long)]
    pub resume: bool,

    /// Which [variants.NAME] to run as well: all, none or a name
    #[arg(long, value_name = "NAME", default_value = "all")]
    pub variant: String,
}

/// A simulation and what overlays its configuration.
#[derive(Debug, Args)]
pub struct OfSimulation {
    /// The configuration (TOML), a run directory, which holds its own plan, or the name of a shipped system
    pub config: PathBuf,

    /// Where the results go [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Threads of the processor; results do not depend on it [default: all]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub threads: Option<usize>,

    /// Seed of all random numbers
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Change one key of the configuration, for example "dynamics.duration=10 ns"
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub assignments: Vec<String>,

    /// Go on where an earlier run of the same plan stopped
    #[arg(long)]
    pub resume: bool,
}

impl OfSimulation {
    /// The same for the library.
    pub fn request(&self) -> Request {
        let command: Vec<String> = std::env::args().collect();
        Request {
            config: self.config.clone(),
            out: self.out.clone(),
            device: None,
            seed: self.seed,
            assignments: self.assignments.clone(),
            resume: self.resume,
            variants: Variants::None,
            command: command.join(" "),
        }
    }
}

impl OfRun {
    /// The same for the library.
    pub fn request(&self) -> Result<Request> {
        let command: Vec<String> = std::env::args().collect();
        Ok(Request {
            config: self.config.clone(),
            out: self.out.clone(),
            device: self.device.clone(),
            seed: self.seed,
            assignments: self.assignments.clone(),
            resume: self.resume,
            variants: match self.variant.as_str() {
                "all" => Variants::All,
                "none" => Variants::None,
                name => Variants::One(name.to_string()),
            },
            command: command.join(" "),
        })
    }
}
