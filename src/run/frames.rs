//! Frames at equilibrium: trajectories of the user, or simulated here.
//!
//! Learned energies are those of all coordinates at one temperature. So frames are checked: their atoms against
//! the molecule, and the energy of their bonds against what equipartition demands, which tells another
//! temperature, constrained bonds and coordinates of too few digits from an ensemble of this force field.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, at_least};
use crate::force_field::Parameters;
use crate::potential::{MolecularMechanics, Precision};
use crate::random::Streams;
use crate::run::control::Control;
use crate::run::directory::{read_json, write_json};
use crate::run::ensemble::{EnsembleSettings, simulate_ensemble};
use crate::run::parts::fractions;
use crate::run::simulate::molecule::read_frames;
use crate::run::source::Source;
use crate::trajectory::{DcdWriter, Ensemble, write_trajectory};
use crate::units::Temperature;

/// Frames of one ensemble, where they are not simulated here. Paths are relative to the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameFiles {
    /// One file or several, read one after the other; all atoms of the molecule, in its order.
    pub trajectory: Vec<PathBuf>,
    /// The temperature of the simulation that made them; absent: that of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
    /// Every so many frames are kept.
    #[serde(default = "one")]
    pub stride: usize,
}

fn one() -> usize {
    1
}

impl FrameFiles {
    /// Checks the settings against the run and makes paths absolute.
    pub fn resolve(&mut self, place: &str, source: &Source, temperature: Temperature) -> Result<()> {
        if self.trajectory.is_empty() {
            let hint = "leave the table out to have the frames simulated";
            return Err(Error::config(format!("{place}.trajectory"), "names no file", hint));
        }
        for file in &mut self.trajectory {
            *file = source.existing(&format!("{place}.trajectory"), file)?;
        }
        if let Some(own) = self.temperature
            && (own.as_kelvin() - temperature.as_kelvin()).abs() > 1e-6
        {
            let message = format!("is not the temperature of the run, {temperature}");
            let hint = "both ensembles must be at one temperature";
            return Err(Error::config(format!("{place}.temperature = \"{own}\""), message, hint));
        }
        at_least(format!("{place}.stride"), self.stride, 1)
    }
}

/// Of what there shall be frames.
#[derive(Clone, Copy)]
pub struct FramesOf<'a> {
    /// What it is called: the names of its files.
    pub name: &'a str,
    /// The molecule.
    pub parameters: &'a Parameters,
    /// Its energy.
    pub potential: &'a MolecularMechanics,
    /// Which λ of it.
    pub lambda: f64,
    /// The temperature.
    pub temperature: Temperature,
}

/// Frames that are at hand.
#[derive(Debug, Clone)]
pub struct Frames {
    /// nm, `[frame][atom][xyz]`, centroid at the origin.
    pub positions_nm: Vec<f64>,
    /// Frames that follow each other in time.
    pub walkers: Vec<Range<usize>>,
    /// Energies that it took to make them; 0 for the user's own.
    pub n_energy_evaluations: u64,
    /// Wall clock of making them.
    pub wall_seconds: f64,
}

/// What is stored beside the frames.
#[derive(Debug, Serialize, Deserialize)]
struct Card {
    walkers: Vec<Range<usize>>,
    n_energy_evaluations: u64,
    wall_seconds: f64,
    bond_energy_ratio: Option<f64>,
}

/// Writes `NAME.dcd` and `NAME.json`: the frames of the settings, or simulated ones.
pub fn make(
    directory: &Path,
    state: &FramesOf,
    given: Option<&FrameFiles>,
    simulation: &EnsembleSettings,
    start_nm: &[f64],
    streams: Streams,
    control: &Control,
) -> Result<()> {
    let path = directory.join(format!("{}.dcd", state.name));
    let card_path = directory.join(format!("{}.json", state.name));
    if card_path.is_file() {
        return Ok(());
    }
    let n_atoms = state.parameters.n_atoms();
    let (frames, interval_ps) = match given {
        Some(given) => (read(given, state)?, 1.0),
        None => {
            let part = format!("simulate {}", state.name);
            let simulated = simulate_ensemble(
                state.parameters,
                state.potential,
                start_nm,
                state.lambda,
                state.temperature,
                simulation,
                streams,
                &mut fractions(control, directory, &part),
            )?;
            let sentence = format!("{} frames at {}", simulation.n_frames, state.temperature);
            control.progress().end(&sentence);
            let frames = Frames {
                positions_nm: simulated.positions_nm,
                walkers: simulated.walkers,
                n_energy_evaluations: simulated.n_energy_evaluations,
                wall_seconds: simulated.wall_seconds,
            };
            (frames, simulation.every.as_ps())
        }
    };
    let bond_energy_ratio = bond_energy_ratio(state, &frames.positions_nm);
    if let Some(ratio) = bond_energy_ratio
        && !(0.8..1.25).contains(&ratio)
    {
        let found = format!("{ratio:.2} times as much");
        let expected =
            format!("kT/2 of energy in each bond at {}, as equipartition has it", state.temperature);
        let mut error = Error::invalid("bonds of the frames", expected, found);
        if let Some(given) = given {
            let file = &given.trajectory[0];
            error = Error::file(
                file,
                "",
                error.to_string(),
                "another temperature, constrained bonds, another force field, or coordinates of few digits",
            );
        }
        return Err(error);
    }
    let ensemble = Ensemble::new(n_atoms, frames.positions_nm)?.centered();
    let mut writer = DcdWriter::create(&path, n_atoms, interval_ps)?;
    for frame in ensemble.frames() {
        writer.append(frame)?;
    }
    writer.sync()?;
    write_trajectory(
        &directory.join(format!("{}.pdb", state.name)),
        &state.parameters.topology,
        &ensemble.select(&[0]),
    )?;
    let Frames { walkers, n_energy_evaluations, wall_seconds, .. } = frames;
    write_json(&card_path, &Card { walkers, n_energy_evaluations, wall_seconds, bond_energy_ratio })
}

/// Reads what [`make`] wrote: a resumed run and the first one see the same single-precision numbers.
pub fn load(directory: &Path, state: &FramesOf) -> Result<Frames> {
    let card: Card = read_json(&directory.join(format!("{}.json", state.name)))?;
    let path = directory.join(format!("{}.dcd", state.name));
    let ensemble = read_frames(&path, state.parameters.n_atoms())?.centered();
    Ok(Frames {
        positions_nm: ensemble.positions_nm().to_vec(),
        walkers: card.walkers,
        n_energy_evaluations: card.n_energy_evaluations,
        wall_seconds: card.wall_seconds,
    })
}

fn read(given: &FrameFiles, state: &FramesOf) -> Result<Frames> {
    let n_atoms = state.parameters.n_atoms();
    let (mut positions_nm, mut walkers) = (Vec::new(), Vec::new());
    for file in &given.trajectory {
        let frames = read_frames(file, n_atoms)?;
        let first = positions_nm.len() / (3 * n_atoms);
        let kept: Vec<usize> = (0..frames.n_frames()).step_by(given.stride).collect();
        positions_nm.extend_from_slice(frames.select(&kept).positions_nm());
        walkers.push(first..first + kept.len());
    }
    Ok(Frames { positions_nm, walkers, n_energy_evaluations: 0, wall_seconds: 0.0 })
}

/// Mean energy of bonds over kT/2 for each; `None` without bonds, or where a topology holds them fixed.
pub(in crate::run) fn bond_energy_ratio(state: &FramesOf, positions_nm: &[f64]) -> Option<f64> {
    let n_bonds = state.parameters.bonds.len();
    if n_bonds == 0 || !state.parameters.constraints.is_empty() {
        return None;
    }
    let size = 3 * state.parameters.n_atoms();
    let n_frames = positions_nm.len() / size;
    let stride = n_frames.div_ceil(4000).max(1);
    let some: Vec<f64> =
        positions_nm.chunks_exact(size).step_by(stride).flat_map(|frame| frame.iter().copied()).collect();
    let lambda = vec![state.lambda; some.len() / size];
    let terms = state.potential.evaluate(Precision::Double, &lambda, &some, None);
    let mean = terms.iter().map(|terms| terms.bond).sum::<f64>() / terms.len().max(1) as f64;
    Some(mean / (0.5 * state.temperature.kt_kj_per_mol() * n_bonds as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::force_field::molecular_system::{SystemRequest, load as load_system};
    use crate::potential::AlchemicalPath;
    use crate::units::Time;

    #[test]
    fn simulated_frames_are_read_back_and_others_are_checked() {
        let request = SystemRequest { topology: "alanine_dipeptide_obc1".into(), ..Default::default() };
        let system = load_system(&request).unwrap();
        let mechanics = MolecularMechanics::along(&system.parameters, AlchemicalPath::GbCharges).unwrap();
        let home = tempfile::tempdir().unwrap();
        let temperature = Temperature::from_kelvin(300.0).unwrap();
        let state = FramesOf {
            name: "solvent",
            parameters: &system.parameters,
            potential: &mechanics,
            lambda: 1.0,
            temperature,
        };
        let settings = EnsembleSettings {
            n_frames: 320,
            every: Time::from_ps(0.1).unwrap(),
            equilibration: Time::from_ps(5.0).unwrap(),
            n_walkers: 32,
            ..Default::default()
        };
        let start = system.positions_nm.clone().unwrap();
        let control = Control::default();
        make(home.path(), &state, None, &settings, &start, Streams::new(1), &control).unwrap();
        let frames = load(home.path(), &state).unwrap();
        assert_eq!((frames.positions_nm.len(), frames.walkers.len()), (320 * 66, 32));

        // The same frames as those of the user: accepted at their temperature, refused at another one.
        let given =
            FrameFiles { trajectory: vec![home.path().join("solvent.dcd")], temperature: None, stride: 2 };
        let other = tempfile::tempdir().unwrap();
        let again = |state: &FramesOf| {
            make(other.path(), state, Some(&given), &settings, &start, Streams::new(1), &control)
        };
        let hot = Temperature::from_kelvin(450.0).unwrap();
        let message = again(&FramesOf { temperature: hot, ..state }).unwrap_err().to_string();
        assert!(message.contains("equipartition") && message.contains("another temperature"), "{message}");
        again(&state).unwrap();
        let kept = load(other.path(), &state).unwrap();
        assert_eq!(kept.positions_nm.len(), 160 * 66);
        let far = kept.positions_nm.iter().zip(&frames.positions_nm).map(|(a, b)| (a - b).abs());
        assert!(far.take(66).fold(0.0, f64::max) < 1e-6);

        let request = SystemRequest { topology: "n_methylacetamide".into(), ..Default::default() };
        let small = load_system(&request).unwrap();
        let potential = MolecularMechanics::new(&small.parameters).unwrap();
        let message =
            again(&FramesOf { name: "other", parameters: &small.parameters, potential: &potential, ..state });
        assert!(message.unwrap_err().to_string().contains("12 atoms"));
    }
}
