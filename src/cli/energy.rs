//! `kirkwood energy`: what can be typed after it, and how its result is shown.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kirkwood::force_field::molecular_system::SystemRequest;
use kirkwood::force_field::parameters::NonbondedMethod;
use kirkwood::potential::Precision;
use kirkwood::run::energy::{EnergyRequest, evaluate};
use kirkwood::{Error, Result};

use super::output;

/// A system and the frames whose energies are wanted.
#[derive(Debug, Args)]
pub struct OfEnergy {
    /// An AMBER topology, a serialised OpenMM System (with --structure), a PDB file (with --force-field), or the
    /// name of a shipped system
    pub topology: PathBuf,

    /// Conformations: DCD, XTC, NetCDF, PDB, inpcrd, rst7, npy (frames, atoms, 3) in nm, …
    pub trajectory: PathBuf,

    /// Names and elements of the atoms of a serialised System
    #[arg(long, value_name = "FILE")]
    pub structure: Option<PathBuf>,

    /// Generalised Born: none, obc1, obc2 or gbn2 [default: none, or what a System or shipped system has]
    #[arg(long, value_name = "MODEL")]
    pub implicit_solvent: Option<String>,

    /// Leave out the surface term of the implicit solvent
    #[arg(long)]
    pub no_surface_area: bool,

    /// Force field of a PDB file, for example amber_ff14sb
    #[arg(long, value_name = "NAME")]
    pub force_field: Option<String>,

    /// What happens at long distance: pme and reaction_field are in the box of the trajectory or of the topology,
    /// with the mean Lennard-Jones energy beyond the cutoff [default: no_cutoff, or what a System has]
    #[arg(long, value_enum, value_name = "METHOD")]
    pub nonbonded: Option<LongRange>,

    /// Cutoff of --nonbonded in nm
    #[arg(long, value_name = "NM", default_value_t = 1.0, requires = "nonbonded")]
    pub cutoff: f64,

    /// Show a column per term (JSON has them always)
    #[arg(long)]
    pub terms: bool,

    /// Forces as well, in kJ/mol/nm (in JSON)
    #[arg(long)]
    pub forces: bool,

    /// Of the arithmetic: double agrees with other programs to rounding, single to 0.001 kJ/mol
    #[arg(long, value_enum, default_value = "double")]
    pub precision: OfArithmetic,

    /// Threads of the processor; results do not depend on it [default: all]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub threads: Option<usize>,
}

/// What happens to pairs at long distance.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum LongRange {
    /// All pairs interact; no box
    NoCutoff,
    /// Particle-mesh Ewald with the tolerance 0.0005
    Pme,
    /// Coulomb ends at the cutoff, with a dielectric constant of 78.3 beyond
    ReactionField,
}

/// How numbers are held.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OfArithmetic {
    /// f64
    Double,
    /// f32
    Single,
}

impl OfEnergy {
    fn nonbonded(&self) -> Result<Option<NonbondedMethod>> {
        let cutoff_nm = self.cutoff;
        if !(cutoff_nm.is_finite() && cutoff_nm > 0.0) {
            return Err(Error::config("cutoff", format!("{cutoff_nm} nm is not a distance"), "try 1.0"));
        }
        let (switching_nm, dispersion_correction) = (None, true);
        Ok(self.nonbonded.map(|method| match method {
            LongRange::NoCutoff => NonbondedMethod::NoCutoff,
            LongRange::Pme => NonbondedMethod::ParticleMeshEwald {
                cutoff_nm,
                tolerance: 5e-4,
                switching_nm,
                dispersion_correction,
                splitting: None,
            },
            LongRange::ReactionField => NonbondedMethod::ReactionField {
                cutoff_nm,
                dielectric: 78.3,
                periodic: true,
                switching_nm,
                dispersion_correction,
            },
        }))
    }

    fn request(&self) -> Result<EnergyRequest> {
        Ok(EnergyRequest {
            system: SystemRequest {
                topology: self.topology.clone(),
                structure: self.structure.clone(),
                implicit_solvent: self.implicit_solvent.clone(),
                surface_area: self.no_surface_area.then_some(false),
                force_field: self.force_field.clone(),
            },
            trajectory: self.trajectory.clone(),
            forces: self.forces,
            nonbonded: self.nonbonded()?,
            precision: match self.precision {
                OfArithmetic::Double => Precision::Double,
                OfArithmetic::Single => Precision::Single,
            },
        })
    }
}

/// Computes and prints.
pub fn perform(of_energy: &OfEnergy, json: bool) -> Result<ExitCode> {
    super::use_threads(of_energy.threads);
    let energies = evaluate(&of_energy.request()?)?;
    let text = if json { energies.json_text() } else { energies.table(of_energy.terms) };
    output::show(&energies.warnings, &text);
    Ok(super::code(energies.is_finite()))
}
