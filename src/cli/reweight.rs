//! `kirkwood reweight`: what can be typed after it, and how its result is shown.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kirkwood::force_field::molecular_system::SystemRequest;
use kirkwood::run::reweight::{Energies, ResampleRequest, ReweightRequest, Temperatures, reweight};
use kirkwood::units::EnergyUnit;
use kirkwood::{Error, Result};

use super::output;
use super::pmf::temperature;

/// Frames, their energies, and the ensemble that they are weighted to.
#[derive(Debug, Args)]
pub struct OfReweight {
    /// One table per simulation with a row per frame: COLVAR, CSV, xvg, plain columns, npy
    #[arg(value_name = "FILES")]
    pub files: Vec<PathBuf>,

    /// Of the simulations, in K: one number, one for each table (300,320,340), or the column that has it; frames of
    /// several temperatures are weighted together by MBAR
    #[arg(
        long,
        value_name = "K[,K]|COLUMN",
        value_delimiter = ',',
        required = true,
        allow_hyphen_values = true
    )]
    pub temperature: Vec<String>,

    /// Of the target, in K [default: the same]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub to_temperature: Option<f64>,

    /// Columns whose sum is the energy of the simulation, without its bias
    #[arg(long, value_name = "COLUMN[,COLUMN]", value_delimiter = ',', conflicts_with = "from_system")]
    pub energy: Vec<String>,

    /// Columns whose sum is the energy of the target [default: that of the simulation]
    #[arg(long, value_name = "COLUMN[,COLUMN]", value_delimiter = ',', conflicts_with = "to_system")]
    pub to_energy: Vec<String>,

    /// Columns whose sum is a bias that acted in the simulation and does not in the target
    #[arg(long, value_name = "COLUMN[,COLUMN]", value_delimiter = ',')]
    pub bias: Vec<String>,

    /// The system of the simulation, whose energy is computed for every frame: an AMBER topology, a serialised OpenMM
    /// System, a PDB file, or the name of a shipped system
    #[arg(long, value_name = "TOPOLOGY")]
    pub from_system: Option<PathBuf>,

    /// The system of the target
    #[arg(long, value_name = "TOPOLOGY")]
    pub to_system: Option<PathBuf>,

    /// Implicit solvent of --from-system: none, obc1, obc2 or gbn2
    #[arg(long, value_name = "MODEL", requires = "from_system")]
    pub from_implicit_solvent: Option<String>,

    /// Implicit solvent of --to-system
    #[arg(long, value_name = "MODEL", requires = "to_system")]
    pub to_implicit_solvent: Option<String>,

    /// Force field of PDB files
    #[arg(long, value_name = "NAME")]
    pub force_field: Option<String>,

    /// Unit of energies in tables: kJ/mol, kcal/mol or kT of the simulation
    #[arg(long, value_name = "UNIT", default_value = "kJ/mol")]
    pub energy_unit: EnergyUnit,

    /// Columns to average; may be given several times
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub observable: Vec<String>,

    /// Frames, one file for each table
    #[arg(long, value_name = "FILE")]
    pub trajectory: Vec<PathBuf>,

    /// What the atoms of the frames are [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub topology: Option<PathBuf>,

    /// Draw N frames in proportion to their weights and write them: dcd, xtc, pdb, …
    #[arg(long, value_names = ["N", "FILE"], num_args = 2)]
    pub resample: Vec<String>,

    /// Share of every file that is left out at the beginning
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true)]
    pub discard: f64,

    /// Resamples for errors
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub bootstrap: usize,

    /// Seed of the resamples and of drawn frames
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Directory for weights.csv and reweight.json
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Threads of the processor; results do not depend on it [default: all]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub threads: Option<usize>,
}

impl OfReweight {
    fn request(&self) -> Result<ReweightRequest> {
        let energies =
            |columns: &Vec<String>, system: &Option<PathBuf>, solvent: &Option<String>| match system {
                Some(topology) => Some(Energies::System(SystemRequest {
                    topology: topology.clone(),
                    implicit_solvent: solvent.clone(),
                    force_field: self.force_field.clone(),
                    ..SystemRequest::default()
                })),
                None if columns.is_empty() => None,
                None => Some(Energies::Columns(columns.clone())),
            };
        let resample = match &self.resample[..] {
            [n, path] => Some(ResampleRequest {
                n_frames: n.parse().map_err(|_| {
                    Error::config(
                        "resample",
                        format!("`{n}` is not a number of frames"),
                        "for example --resample 500 out.dcd",
                    )
                })?,
                path: path.into(),
                topology: self.topology.clone(),
            }),
            _ => None,
        };
        Ok(ReweightRequest {
            files: self.files.clone(),
            trajectories: self.trajectory.clone(),
            temperature: temperatures(&self.temperature)?,
            to_temperature: temperature("to-temperature", self.to_temperature)?,
            energy: energies(&self.energy, &self.from_system, &self.from_implicit_solvent),
            to_energy: energies(&self.to_energy, &self.to_system, &self.to_implicit_solvent),
            bias: self.bias.clone(),
            energy_unit: self.energy_unit,
            observables: self.observable.clone(),
            discard: self.discard,
            n_bootstrap: self.bootstrap,
            seed: self.seed,
            resample,
            out: self.out.clone(),
        })
    }
}

/// Numbers in K, with or without the unit, or the name of a column.
fn temperatures(given: &[String]) -> Result<Temperatures> {
    let number = |text: &str| text.trim().trim_end_matches('K').trim_end().parse::<f64>().ok();
    let kelvins: Vec<Option<f64>> = given.iter().map(|text| number(text)).collect();
    if let ([None], [column]) = (&kelvins[..], given) {
        return Ok(Temperatures::Column(column.clone()));
    }
    let each = given.iter().zip(kelvins).map(|(text, kelvin)| {
        temperature("temperature", kelvin)?.ok_or_else(|| {
            let message = format!("`{text}` is not a number of kelvins");
            Error::config("temperature", message, "for example 300,320,340, or the name of one column")
        })
    });
    Ok(Temperatures::OfTables(each.collect::<Result<Vec<_>>>()?))
}

/// Computes and prints.
pub fn perform(of_reweight: &OfReweight, json: bool) -> Result<ExitCode> {
    super::use_threads(of_reweight.threads);
    let outcome = reweight(&of_reweight.request()?)?;
    let text = match json {
        true => output::pretty(&outcome.to_json()),
        false => outcome.table() + &output::verdict_lines(&outcome.verdicts),
    };
    output::show(&outcome.warnings, &text);
    Ok(super::code(outcome.is_trustworthy()))
}
