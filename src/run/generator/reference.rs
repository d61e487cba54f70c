//! Direct simulations of every state, and what plain dynamics and parallel tempering cost.

use std::path::Path;
use std::time::Instant;

use super::plan::State;
use super::work::{Drawn, Record, Work, is_saved};
use crate::error::{Error, Result};
use crate::potential::{PotentialPath as _, Precision, Route, TemperaturePath};
use crate::run::ensemble::{EnsembleSettings, simulate_ensemble};
use crate::sampling::{Bridge, ReplicaExchange};
use crate::trajectory::Ensemble;

/// Writes `reference/`: one simulation after the other, of which finished ones are kept when a run is resumed.
pub fn run(work: &Work) -> Result<()> {
    let directory = work.layout.begin("reference")?;
    let settings = &work.plan.config.reference;
    let start = start(work)?;
    for (idx, state) in work.plan.states().enumerate() {
        dynamics(work, &directory, &state.name, state, &settings.ensemble, &start, 0x10 + idx as u64)?;
    }
    dynamics(work, &directory, "plain", &work.plan.base, &settings.plain, &start, 9)?;
    if settings.tempering.enabled && !is_saved(&directory, "tempering") {
        tempering(work, &directory)?;
    }
    work.layout.finish("reference")?;
    Ok(())
}

/// The structure of the system, or the first frame.
fn start(work: &Work) -> Result<Vec<f64>> {
    match &work.plan.positions_nm {
        Some(positions_nm) => Ok(positions_nm.clone()),
        None => Ok(work.learned()?.data.frames.frame(0).to_vec()),
    }
}

fn dynamics(
    work: &Work,
    directory: &Path,
    name: &str,
    state: &State,
    settings: &EnsembleSettings,
    start: &[f64],
    part: u64,
) -> Result<()> {
    if is_saved(directory, name) {
        return Ok(());
    }
    work.begin(&format!("dynamics ({name})"), 1000);
    let begun = Instant::now();
    let frames = simulate_ensemble(
        &state.parameters,
        &state.mechanics,
        start,
        1.0,
        state.temperature,
        settings,
        work.streams(part),
        &mut work.fraction(1000),
    )?;
    let ensemble = Ensemble::new(state.parameters.n_atoms(), frames.positions_nm)?.centered();
    let record = Record {
        n_groups: settings.n_walkers,
        n_physical_evaluations: frames.n_energy_evaluations,
        seconds: begun.elapsed().as_secs_f64(),
        ..Record::default()
    };
    let positions_nm = ensemble.positions_nm().to_vec();
    Drawn { positions_nm, log_weights: None, learned_log_weights: None, record }
        .save(work, directory, name)?;
    work.control.progress().end(&format!("{} frames", settings.n_frames));
    Ok(())
}

/// Monte Carlo of all atoms along a ladder of temperatures, from frames of the reference; the lowest level is kept.
fn tempering(work: &Work, directory: &Path) -> Result<()> {
    let settings = &work.plan.config.reference.tempering;
    let exchange = &settings.exchange;
    let base = &work.plan.base;
    work.begin("parallel tempering", 1000);
    let begun = Instant::now();
    let path = TemperaturePath {
        mechanics: &base.mechanics,
        first: base.temperature,
        last: settings.highest,
        precision: Precision::Single,
    };
    let frames = Drawn::load(work, directory, &base.name)?
        .ok_or_else(|| Error::invalid("start of parallel tempering", "reference frames", "none"))?;
    let d = path.space().dimension();
    let (n_slots, n_frames) = (exchange.n_levels * exchange.n_ladders, frames.positions_nm.len() / d);
    let chosen = (0..n_slots).map(|slot| slot * n_frames / n_slots);
    let x: Vec<f64> = chosen.flat_map(|frame| &frames.positions_nm[frame * d..][..d]).copied().collect();
    // From the highest temperature down, so that the last level is the one that counts. 0.001 nm is the first step.
    let route = Route::Linear { from: 1.0, to: 0.0 };
    let bridge = Bridge { path: &path, route, reference_deviation: 0.002 };
    let sampler = ReplicaExchange { bridge, settings: exchange.sampler(), streams: work.streams(0x30) };
    let n_adaptive: usize =
        (0..exchange.n_placements).map(|round| exchange.n_placement_sweeps << round).sum::<usize>()
            + exchange.n_relaxation;
    let share = n_adaptive as f64 / (n_adaptive + exchange.n_sweeps) as f64;
    let mut progress = work.fraction(1000);
    let mut state = sampler.start_at(x, &mut |done| progress(share * done))?;
    let block =
        sampler.block(&mut state, exchange.n_sweeps, &mut |done| progress(share + (1.0 - share) * done))?;
    // From [sweep][ladder] to [ladder][sweep]: a ladder is a group.
    let coldest = &block.samples[exchange.n_levels - 1];
    let n_sweeps = coldest.len() / (exchange.n_ladders * d);
    let by_ladder = (0..exchange.n_ladders).flat_map(|ladder| {
        (0..n_sweeps).flat_map(move |sweep| &coldest[(sweep * exchange.n_ladders + ladder) * d..][..d])
    });
    let mut record = Record {
        n_groups: exchange.n_ladders,
        n_physical_evaluations: block.n_energy_evaluations,
        seconds: begun.elapsed().as_secs_f64(),
        ..Record::default()
    };
    let trips = state.n_round_trips as f64;
    record.note(
        "tempering_round_trips",
        trips,
        None,
        "",
        "from the highest temperature to the lowest and back",
    );
    let positions_nm = by_ladder.copied().collect();
    let drawn = Drawn { positions_nm, log_weights: None, learned_log_weights: None, record };
    drawn.save(work, directory, "tempering")?;
    work.control.progress().end(&format!("{trips} round trips"));
    Ok(())
}
