//! The frames to learn from: checked where they are given, simulated where they are not.

use std::path::Path;
use std::time::Instant;

use super::plan::State;
use super::work::{BIAS, Drawn, FRAMES, Record, TOPOLOGY, Work};
use crate::error::{Error, Result};
use crate::run::directory::write_json;
use crate::run::ensemble::{SimulatedFrames, simulate_ensemble};
use crate::run::frames::{FramesOf, bond_energy_ratio};
use crate::run::simulate::molecule::read_frames;
use crate::trajectory::{Ensemble, read_first_frame, write_trajectory};

/// Writes `frames/`.
pub fn run(work: &Work) -> Result<()> {
    let directory = work.layout.begin("frames")?;
    let (plan, config) = (work.plan, &work.plan.config);
    let parameters = &plan.base.parameters;
    let n_atoms = parameters.n_atoms();
    if let Some(first) = config.data.trajectory.first() {
        let structure = match &plan.positions_nm {
            Some(positions_nm) => positions_nm.clone(),
            None => read_first_frame(first, n_atoms)?,
        };
        let structure = Ensemble::new(n_atoms, structure)?;
        write_trajectory(&directory.join(TOPOLOGY), &parameters.topology, &structure)?;
        for file in &config.data.trajectory {
            check(work, file)?;
        }
    } else {
        let settings = &config.data.simulate;
        let begun = Instant::now();
        let mut n_evaluations = 0;
        let mut biased = None;
        if !config.data.bias.torsions.is_empty() {
            let pilot = simulate(work, &plan.base, "frames without bias", 0x10)?;
            n_evaluations += pilot.n_energy_evaluations;
            let bias = config.data.bias.terms(n_atoms, &pilot.positions_nm, config.data.temperature);
            write_json(&directory.join(BIAS), &bias)?;
            biased = Some(plan.base.with(bias.added_to(parameters))?);
        }
        let frames = simulate(work, biased.as_ref().unwrap_or(&plan.base), "frames", 0)?;
        n_evaluations += frames.n_energy_evaluations;
        let ensemble = Ensemble::new(n_atoms, frames.positions_nm)?.centered();
        write_trajectory(&directory.join(TOPOLOGY), &parameters.topology, &ensemble.select(&[0]))?;
        let mut record = Record {
            n_groups: settings.n_walkers,
            n_physical_evaluations: n_evaluations,
            seconds: begun.elapsed().as_secs_f64(),
            ..Record::default()
        };
        let evaluations = n_evaluations as f64;
        record.note(
            "frames_energy_evaluations",
            evaluations,
            None,
            "",
            "to simulate the frames to learn from",
        );
        let n_frames = ensemble.n_frames();
        let positions_nm = ensemble.positions_nm().to_vec();
        let name = FRAMES.trim_end_matches(".dcd");
        let drawn = Drawn { positions_nm, log_weights: None, learned_log_weights: None, record };
        drawn.save(work, &directory, name)?;
        work.control.progress().end(&format!("{n_frames} frames"));
    }
    work.layout.finish("frames")?;
    Ok(())
}

/// Frames of a state.
fn simulate(work: &Work, state: &State, part: &str, streams: u64) -> Result<SimulatedFrames> {
    work.begin(part, 1000);
    simulate_ensemble(
        &state.parameters,
        &state.mechanics,
        work.plan.positions_nm.as_deref().unwrap_or_default(),
        1.0,
        state.temperature,
        &work.plan.config.data.simulate,
        work.streams(streams),
        &mut work.fraction(1000),
    )
}

/// Refuses frames that cannot be of this molecule at this energy and temperature.
fn check(work: &Work, file: &Path) -> Result<()> {
    let base = &work.plan.base;
    let frames = read_frames(file, base.parameters.n_atoms())?.centered();
    let state = FramesOf {
        name: &base.name,
        parameters: &base.parameters,
        potential: &base.mechanics,
        lambda: 1.0,
        temperature: base.temperature,
    };
    match bond_energy_ratio(&state, frames.positions_nm()) {
        Some(ratio) if !(0.8..1.25).contains(&ratio) => {
            let expected = format!(
                "frames of this molecule with its atoms in the order of the topology, at {}: kT/2 of energy in each bond",
                base.temperature
            );
            Err(Error::file(file, "", expected, format!("{ratio:.3e} times as much")))
        }
        _ => Ok(()),
    }
}
