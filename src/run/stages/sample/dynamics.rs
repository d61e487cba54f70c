//! Walkers at the data end: Langevin dynamics in physical units, and exact Monte Carlo.

use crate::error::Result;
use crate::run::stages::sample::starts::{self, round_trips};
use crate::run::stages::sample::{Draw, PartRecord, by_walker};
use crate::sampling::{self, Equilibrium, Langevin, LangevinUnits, rotatable_bonds};

/// Langevin dynamics of the beads with their masses.
pub fn langevin(draw: &Draw) -> Result<PartRecord> {
    let plan = draw.context.plan;
    let settings = &plan.config.sample.langevin;
    let n_walkers = settings.n_walkers.min(plan.config.sample.n_samples);
    let n_frames = plan.config.sample.n_samples.div_ceil(n_walkers);
    let steps = |span: f64| (span / settings.time_step.as_ps()).round() as usize;
    let n_relaxation = steps(settings.relaxation.as_ps());
    let n_production = steps(settings.duration.as_ps() - settings.relaxation.as_ps());
    let record_every = (n_production / n_frames).max(1);

    let units = LangevinUnits {
        kt_kj_per_mol: plan.config.data.temperature.kt_kj_per_mol(),
        length_scale_nm: draw.model.length_scale_nm,
        masses_da: plan.beads.mapping.topology().masses_da(),
    };
    let sampler = sampling::LangevinSettings {
        time_step_ps: settings.time_step.as_ps(),
        friction_per_ps: settings.friction.as_per_ps(),
        record_every,
    };
    let langevin = Langevin::new(draw.model, draw.data_end(), units, sampler, draw.streams)?;
    let mut state = langevin.start(starts::draw(draw, n_walkers)?);
    let total = (n_relaxation + record_every * n_frames) as u64;
    draw.context.begin("Langevin dynamics", total);
    let relaxation = langevin.block(&mut state, n_relaxation, &mut |fraction| {
        draw.context.control.progress().advance((fraction * n_relaxation as f64) as u64, "relaxation");
        draw.context.check_stop()
    })?;
    let block = langevin.block(&mut state, record_every * n_frames, &mut |fraction| {
        let done = fraction * (record_every * n_frames) as f64;
        draw.context.control.progress().advance(n_relaxation as u64 + done as u64, "");
        draw.context.check_stop()
    })?;

    let mut record = store(draw, "langevin", &block.x, n_walkers)?;
    record.n_energy_evaluations = relaxation.n_energy_evaluations + block.n_energy_evaluations;
    record.note(
        "langevin_kinetic_temperature_ratio",
        block.kinetic_temperature_ratio,
        "",
        "mean kinetic temperature over the bath's; 1 but for the time step",
    );
    let diverged = (relaxation.n_diverged + block.n_diverged) as f64;
    record.note("langevin_diverged", diverged, "", "walkers put back because their energy was not finite");
    draw.context.control.progress().end(&format!(
        "{} frames of {n_walkers} walkers, kinetic temperature {:.3} of the bath's",
        record.n_samples, block.kinetic_temperature_ratio
    ));
    Ok(record)
}

/// Torsion pivots and local moves: the stationary law of the learned energy itself.
pub fn equilibrium(draw: &Draw) -> Result<PartRecord> {
    let plan = draw.context.plan;
    let settings = &plan.config.sample.equilibrium;
    let n_walkers = settings.n_walkers.min(plan.config.sample.n_samples);
    let n_frames = plan.config.sample.n_samples.div_ceil(n_walkers);
    let record_every = (settings.n_cycles / n_frames).max(1);
    let beads = &plan.beads;
    let bonds: Vec<(usize, usize)> = beads.mapping.topology().bonds.iter().map(|&[i, j]| (i, j)).collect();
    let bonds = rotatable_bonds(beads.n_beads(), &bonds)?;
    let scale = draw.model.length_scale_nm;
    let label = |x: &[f64]| {
        let nm: Vec<f64> = x.iter().map(|x| x * scale).collect();
        let values: Vec<f64> = beads.variables.iter().map(|variable| variable.function.value(&nm)).collect();
        beads.states.iter().position(|state| state.contains(&values)).unwrap_or(beads.states.len())
    };
    let sampler = Equilibrium {
        path: draw.model,
        lambda: draw.data_end(),
        bonds: &bonds,
        label: &label,
        n_states: beads.states.len() + 1,
        settings: sampling::EquilibriumSettings {
            n_local_moves: settings.n_local_moves,
            n_burn_in: settings.n_relaxation,
            record_every,
            local_move: settings.local_move,
        },
        streams: draw.streams,
    };
    let n_cycles = record_every * n_frames;
    draw.context.begin("equilibrium", (settings.n_relaxation + n_cycles) as u64);
    let mut state = sampler.start(starts::draw(draw, n_walkers)?, &mut |fraction| {
        draw.context
            .control
            .progress()
            .advance((fraction * settings.n_relaxation as f64) as u64, "relaxation");
        draw.context.check_stop()
    })?;
    let block = sampler.block(&mut state, n_cycles, &mut |fraction| {
        let done = settings.n_relaxation as u64 + (fraction * n_cycles as f64) as u64;
        draw.context.control.progress().advance(done, "");
        draw.context.check_stop()
    })?;

    let mut record = store(draw, "equilibrium", &block.x, n_walkers)?;
    let per_cycle = settings.n_local_moves as u64 + u64::from(!bonds.is_empty());
    record.n_energy_evaluations =
        block.n_energy_evaluations + settings.n_relaxation as u64 * n_walkers as u64 * per_cycle;
    let mean = "mean over moves of the part that counts";
    record.note("equilibrium_local_acceptance", block.local_acceptance, "", mean);
    if !bonds.is_empty() {
        record.note("equilibrium_pivot_acceptance", block.pivot_acceptance, "", mean);
    }
    let trips = if beads.states.is_empty() {
        // Without states nothing is known, which is not the same as none.
        String::new()
    } else {
        let trips = state.round_trips.iter().sum::<u64>() as f64;
        let method = "returns of walkers to the state in which they began, looked up after every cycle";
        record.note("equilibrium_round_trips", trips, "", method);
        format!(", {trips} round trips")
    };
    let pivot = if bonds.is_empty() {
        "no bond to pivot about".to_string()
    } else {
        format!("{:.2} pivot", block.pivot_acceptance)
    };
    draw.context.control.progress().end(&format!(
        "{} frames of {n_walkers} walkers, acceptance {:.2} local, {pivot}{trips}",
        record.n_samples, block.local_acceptance
    ));
    Ok(record)
}

/// Writes frames walker by walker, and how often walkers came home.
fn store(draw: &Draw, name: &str, x: &[f64], n_walkers: usize) -> Result<PartRecord> {
    let beads = &draw.context.plan.beads;
    let x = by_walker(x, n_walkers, 3 * beads.n_beads());
    draw.write(name, &x)?;
    let n_samples = x.len() / (3 * beads.n_beads());
    let mut record = PartRecord { n_samples, n_groups: n_walkers, ..PartRecord::default() };
    if !beads.states.is_empty() {
        let values = beads.values(draw.ensemble(&x)?.positions_nm())?;
        let labels: Vec<usize> =
            beads.states_of(&values).into_iter().map(|state| state.unwrap_or(beads.states.len())).collect();
        let method = "returns of walkers to the state in which they began, between recorded frames";
        let trips = round_trips(&labels, n_walkers) as f64;
        record.note(&format!("{name}_round_trips"), trips, "", method);
    }
    Ok(record)
}
