//! The frames to learn from: checked where they are given, simulated where they are not.

use std::path::Path;
use std::time::Instant;

use super::work::{Drawn, FRAMES, Record, TOPOLOGY, Work};
use crate::error::{Error, Result};
use crate::run::ensemble::simulate_ensemble;
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
        let start = plan.positions_nm.as_deref().unwrap_or_default();
        let settings = &config.data.simulate;
        work.begin("frames", 1000);
        let begun = Instant::now();
        let frames = simulate_ensemble(
            parameters,
            &plan.base.mechanics,
            start,
            1.0,
            config.data.temperature,
            settings,
            work.streams(0),
            &mut work.fraction(1000),
        )?;
        let ensemble = Ensemble::new(n_atoms, frames.positions_nm)?.centered();
        write_trajectory(&directory.join(TOPOLOGY), &parameters.topology, &ensemble.select(&[0]))?;
        let mut record = Record {
            n_groups: settings.n_walkers,
            n_physical_evaluations: frames.n_energy_evaluations,
            seconds: begun.elapsed().as_secs_f64(),
            ..Record::default()
        };
        let evaluations = frames.n_energy_evaluations as f64;
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
