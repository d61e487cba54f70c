//! `kirkwood solvate`: what can be typed after it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kirkwood::run::solvate::solute::Radii;
use kirkwood::run::solvate::{SolvateRequest, wall_seconds};
use kirkwood::units::{Energy, Temperature};

/// A molecule, a solvent, and how well its free energy is to be known.
#[derive(Debug, Args)]
pub struct OfSolvate {
    /// An AMBER topology of one molecule, a PDB file (with --force-field), a serialised OpenMM System with implicit
    /// solvent (and its PDB as COORDINATES), or the name of a shipped system
    pub molecule: PathBuf,

    /// Start positions: inpcrd, rst7, PDB, … [default: the file of the topology's name, or those of a PDB or name]
    pub coordinates: Option<PathBuf>,

    /// Generalised Born with its surface term: obc1, obc2 or gbn2 [default: obc2, or what a System or name has]
    #[arg(long, value_name = "MODEL")]
    pub solvent: Option<String>,

    /// Force field of a PDB file, for example amber_ff14sb
    #[arg(long, value_name = "NAME")]
    pub force_field: Option<String>,

    /// Born radii: those of the topology, or the standard ones by element (mbondi2, for gbn2 mbondi3)
    #[arg(long, value_enum, default_value = "topology", value_name = "SET")]
    pub radii: OfRadii,

    /// Temperature of both ends
    #[arg(long, value_name = "T", default_value = "300 K")]
    pub temperature: Temperature,

    /// Standard error at which sampling is enough
    #[arg(long, value_name = "ENERGY", default_value = "0.1 kcal/mol")]
    pub error: Energy,

    /// Wall clock at most; what was found until then is reported with the error that it has
    #[arg(long, value_name = "TIME", default_value = "1 h", value_parser = wall_seconds)]
    pub max_time: f64,

    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Where the results go [default: runs/solvate_NAME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Threads of the processor; results do not depend on it [default: all]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub threads: Option<usize>,

    /// Go on where an earlier run of the same plan stopped
    #[arg(long)]
    pub resume: bool,
}

/// Where Born radii come from.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OfRadii {
    /// Those of the topology, where it has them
    Topology,
    /// By element and bonds
    Standard,
}

impl OfSolvate {
    /// The same for the library.
    pub fn request(&self) -> SolvateRequest {
        let command: Vec<String> = std::env::args().collect();
        SolvateRequest {
            molecule: self.molecule.clone(),
            coordinates: self.coordinates.clone(),
            force_field: self.force_field.clone(),
            solvent: self.solvent.clone(),
            radii: match self.radii {
                OfRadii::Topology => Radii::Topology,
                OfRadii::Standard => Radii::Standard,
            },
            temperature: self.temperature,
            error: self.error,
            seed: self.seed,
            max_seconds: self.max_time,
            out: self.out.clone(),
            resume: self.resume,
            command: command.join(" "),
        }
    }
}
