//! The frames to learn from: checked where they are given, simulated where they are not.

use std::time::Instant;

use super::work::{Drawn, FRAMES, Record, TOPOLOGY, Work};
use crate::error::{Error, Result};
use crate::potential::{PotentialPath as _, Precision};
use crate::run::ensemble::simulate_ensemble;
use crate::run::simulate::molecule::read_frames;
use crate::trajectory::{Ensemble, read_first_frame, write_trajectory};

/// Frames whose energy is looked at.
const N_CHECKED: usize = 1000;
/// kT per atom above which a frame does not belong to this energy; equipartition gives 3/2.
const STRANGE_KT_PER_ATOM: f64 = 50.0;

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

/// Refuses frames that cannot be of this molecule at this energy.
fn check(work: &Work, file: &std::path::Path) -> Result<()> {
    let state = &work.plan.base;
    let n_atoms = state.parameters.n_atoms();
    let frames = read_frames(file, n_atoms)?;
    let stride = frames.n_frames().div_ceil(N_CHECKED);
    let chosen: Vec<usize> = (0..frames.n_frames()).step_by(stride.max(1)).collect();
    let chosen = frames.select(&chosen).centered();
    let mut u = vec![0.0; chosen.n_frames()];
    let n = u.len();
    state.at(Precision::Double).energies(&vec![1.0; n], chosen.positions_nm(), &mut u)?;
    let least = u.iter().copied().fold(f64::INFINITY, f64::min);
    let limit = least + STRANGE_KT_PER_ATOM * n_atoms as f64;
    let strange: Vec<usize> = (0..n).filter(|&idx| u[idx].is_nan() || u[idx] > limit).collect();
    if let Some(&first) = strange.first().filter(|_| 100 * strange.len() > n) {
        let found = format!(
            "{} of {n} frames have energies more than {STRANGE_KT_PER_ATOM} kT per atom above the least; frame {} \
             has {:.3e} kT",
            strange.len(),
            first * stride,
            u[first]
        );
        let expected = "frames of this molecule, with its atoms in the order of the topology";
        return Err(Error::file(file, "", expected, found));
    }
    Ok(())
}
