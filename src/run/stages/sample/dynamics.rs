//! Walkers at the data end: Langevin dynamics in physical units, and exact Monte Carlo.

use crate::error::Result;
use crate::run::stages::sample::starts::{self, round_trips};
use crate::run::stages::sample::{Draw, PartRecord, by_walker};
use crate::run::summary::entry;
use crate::sampling::{self, DiffusionPaths, Equilibrium, Langevin, LangevinUnits, rotatable_bonds};

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
    let (x, basins) = starts::draw(draw, n_walkers)?;
    let mut state = langevin.start(x);
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

    let mut record = store(draw, "langevin", &block.x, &basins)?;
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
    let ways = match settings.renoising {
        None => None,
        Some(renoising) => Some((ways_through_noise(draw, renoising.n_steps)?, renoising.every)),
    };
    let sampler = Equilibrium {
        path: draw.model,
        lambda: draw.data_end(),
        bonds: &bonds,
        renoising: ways.as_ref().map(|(paths, every)| (paths, *every)),
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
    let (x, basins) = starts::draw(draw, n_walkers)?;
    let mut state = sampler.start(x, &mut |fraction| {
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

    let mut record = store(draw, "equilibrium", &block.x, &basins)?;
    let of_widths = ways.as_ref().map_or(0, |(paths, _)| paths.n_energy_evaluations);
    record.n_energy_evaluations = state.n_energy_evaluations + of_widths;
    let mean = "mean over moves of the part that counts";
    record.note("equilibrium_local_acceptance", block.local_acceptance, "", mean);
    if !bonds.is_empty() {
        record.note("equilibrium_pivot_acceptance", block.pivot_acceptance, "", mean);
    }
    if settings.renoising.is_some() {
        record.note("equilibrium_renoising_acceptance", block.renoising_acceptance, "", mean);
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
    let noise = match settings.renoising {
        None => String::new(),
        Some(_) => format!(", {:.2} through noise", block.renoising_acceptance),
    };
    let pivot = if bonds.is_empty() {
        "no bond to pivot about".to_string()
    } else {
        format!("{:.2} pivot", block.pivot_acceptance)
    };
    draw.context.control.progress().end(&format!(
        "{} frames of {n_walkers} walkers, acceptance {:.2} local, {pivot}{noise}{trips}",
        record.n_samples, block.local_acceptance
    ));
    Ok(record)
}

/// What to do about walkers that remember their start.
fn remedy(draw: &Draw, name: &str) -> &'static str {
    let settings = &draw.context.plan.config.sample.equilibrium;
    match name {
        "equilibrium" if settings.renoising.is_none() => {
            "Join the states through noise: [sample.equilibrium.renoising]."
        }
        "equilibrium" => "Use more cycles and a longer relaxation, or more ways through noise.",
        _ => "Use a longer duration, or the part \"equilibrium\", which need not cross barriers.",
    }
}

/// Ways from the data end to noise and back along the learned score.
fn ways_through_noise<'a>(draw: &Draw<'a>, n_steps: usize) -> Result<DiffusionPaths<'a>> {
    let frames = draw.context.data.train();
    let chosen: Vec<usize> = DiffusionPaths::width_frames(frames.n_frames(), 1024).collect();
    let scale = draw.model.length_scale_nm;
    let x: Vec<f64> = frames.select(&chosen).positions_nm().iter().map(|x| x / scale).collect();
    let streams = draw.streams.derive(0x5741);
    DiffusionPaths::new(draw.model, *draw.model.noise(), n_steps, 1.0, &x, &streams)
}

/// Writes frames walker by walker, how often walkers came home, and what they remember of it.
fn store(draw: &Draw, name: &str, x: &[f64], basins: &[usize]) -> Result<PartRecord> {
    let (beads, n_walkers) = (&draw.context.plan.beads, basins.len());
    let x = by_walker(x, n_walkers, 3 * beads.n_beads());
    draw.write(name, &x)?;
    let n_samples = x.len() / (3 * beads.n_beads());
    let mut record = PartRecord { n_samples, n_groups: n_walkers, ..PartRecord::default() };
    if !beads.states.is_empty() {
        let values = beads.values(draw.ensemble(&x)?.positions_nm())?;
        let labels = beads.basins_of(&values);
        let method = "returns of walkers to the state in which they began, between recorded frames";
        let trips = round_trips(&labels, n_walkers) as f64;
        record.note(&format!("{name}_round_trips"), trips, "", method);
        if let Some(memory) = starts::memory(&labels, basins, beads.states.len() + 1) {
            let of = |state: usize| beads.states.get(state).map_or("no state", |state| state.name.as_str());
            let (start, state) = (of(memory.start), of(memory.state));
            let method = format!(
                "share of {state} of walkers that began in {start}, less that of all others: of all such differences the \
                 largest in standard errors"
            );
            let value = entry(memory.difference(), Some(memory.std_error), "", &method);
            record.diagnostics.insert(format!("{name}_memory"), value);
            if memory.is_significant() {
                let [here, elsewhere] = memory.shares.map(|share| 100.0 * share);
                record.doubts.push(format!(
                    "Walkers of {name} remember where they began: those that began in {start} have {here:.1} % of their \
                     frames in {state}, the others {elsewhere:.1} %. Its populations are those of the start as \
                     much as those of the energy. {}",
                    remedy(draw, name)
                ));
            }
        }
    }
    Ok(record)
}
