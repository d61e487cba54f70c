//! The parts of the run, in order.

use std::path::Path;

use serde_json::{Value, json};

use super::absolute::{AbsoluteEnd, absolute_end};
use super::both_ways::{BothWays, both_ways, through_noise};
use super::config::RoadKind;
use super::ends::{EndState, Ends, Molecule};
use super::grouped::{LearnedRoad, Works};
use super::learning::{learn, untrained};
use super::plan::Plan;
use super::{absolute, annealed, classical, escorted, learned};
use crate::error::Result;
use crate::potential::{AtLambda, AtTemperature, Precision};
use crate::random::Streams;
use crate::run::control::Control;
use crate::run::directory::{read_json, write_json};
use crate::run::frames::{self, Frames, FramesOf};
use crate::run::parts::{Parts, fractions};

/// The file of each part with its rows of the table.
pub(super) const ROADS: &str = "roads.json";

/// Parts of the random numbers; an own one for everything that must be independent.
mod streams_of {
    pub const VACUUM: u64 = 1;
    pub const SOLVENT: u64 = 2;
    pub const CLASSICAL: u64 = 3;
    pub const ANNEALED: u64 = 4;
    pub const UNTRAINED: u64 = 5;
    /// And the next one.
    pub const DIFFUSION: u64 = 6;
    pub const VELOCITY: u64 = 8;
    pub const ESCORTED: u64 = 9;
    pub const MODEL: u64 = 100;
    pub const INTEGRATION: u64 = 10_000;
}

/// Does all parts that are not there.
pub(super) fn travel(plan: &Plan, parts: &mut Parts) -> Result<()> {
    let config = &plan.config;
    let streams = Streams::new(config.seed);
    let run = parts.path().to_path_buf();
    let of = |name, lambda| FramesOf {
        name,
        parameters: &plan.parameters,
        potential: &plan.mechanics,
        lambda,
        temperature: config.temperature,
    };
    let (vacuum, solvent) = (of("vacuum", 0.0), of("solvent", 1.0));
    if config.needs_frames() {
        parts.part("frames", |directory, control| {
            let all = [
                (&vacuum, &config.frames.vacuum, streams_of::VACUUM),
                (&solvent, &config.frames.solvent, streams_of::SOLVENT),
            ];
            for (state, given, part) in all {
                let (simulation, own) = (&config.frames.simulation, streams.derive(part));
                frames::make(directory, state, given.as_ref(), simulation, &plan.start_nm, own, control)?;
            }
            Ok(())
        })?;
    }
    if config.takes(RoadKind::Classical) {
        parts.part("classical", |directory, control| {
            let own = streams.derive(streams_of::CLASSICAL);
            let found = classical::classical(
                &plan.parameters,
                &plan.mechanics,
                &plan.start_nm,
                config.temperature,
                &config.classical,
                own,
                directory,
                control,
            )?;
            found.sampled.write_tables(directory)?;
            store(
                directory,
                found.roads.into_iter().map(|road| LearnedRoad { road, n_model_evaluations: 0 }),
            )?;
            let switched = found.switched.as_ref().map(
                |switched| json!({ "forward_kt": switched.forward_kt, "reverse_kt": switched.reverse_kt }),
            );
            let exchange = found.sampled.acceptance;
            write_json(
                &directory.join("details.json"),
                &json!({ "pilot": found.pilot, "exchange_acceptance": exchange, "works": switched }),
            )
        })?;
    }
    if !config.needs_frames() {
        return Ok(());
    }

    let directory = parts.layout().finished("frames")?;
    let both: [Frames; 2] = [frames::load(&directory, &vacuum)?, frames::load(&directory, &solvent)?];
    let cost_of_frames: u64 = both.iter().map(|frames| frames.n_energy_evaluations).sum();
    let seconds_of_frames: f64 = both.iter().map(|frames| frames.wall_seconds).sum();
    let physical = AtTemperature {
        mechanics: &plan.mechanics,
        temperature: config.temperature,
        precision: Precision::Single,
    };
    let at = [0.0, 1.0].map(|lambda| AtLambda { path: &physical, lambda });
    let states: Vec<EndState> = (both.iter().zip(&at).zip([vacuum.name, solvent.name]))
        .map(|((frames, potential), name)| EndState {
            name,
            potential,
            frames_nm: &frames.positions_nm,
            walkers: &frames.walkers,
        })
        .collect();
    let topology = &plan.parameters.topology;
    let molecule = Molecule {
        atom_names: topology.atoms.iter().map(|atom| atom.describe()).collect(),
        bonds: topology.bonds.clone(),
        temperature_kelvin: config.temperature.as_kelvin(),
    };
    let ends = Ends::prepare(&molecule, &states, config.frames.held_out())?;
    let with_frames = |mut row: LearnedRoad, training_seconds: f64| {
        row.road.n_energy_evaluations += cost_of_frames + ends.n_physical_evaluations;
        row.road.wall_seconds += seconds_of_frames + training_seconds;
        row
    };

    let kinds = [
        (RoadKind::Learned, "", config.learning.clone()),
        (RoadKind::Scores, "scores_", config.learning.scores_alone()),
    ];
    for model in 1..=config.n_models {
        for (kind, prefix, learning) in &kinds {
            if !config.takes(*kind) {
                continue;
            }
            let own = streams.derive(streams_of::MODEL + model as u64);
            let name = format!("learning_{prefix}{model}");
            let trained = |directory: &Path, control: &Control| {
                learn(&ends, &molecule, learning, directory, &run, &name.replace('_', " "), own, control)
            };
            let directory =
                parts.part(&name, |directory, control| trained(directory, control).map(|_| ()))?;
            parts.part(&format!("learned_{prefix}{model}"), |part, control| {
                let learned = trained(&directory, control)?;
                let mut progress = fractions(control, &run, &format!("integration {prefix}{model}"));
                let found = learned::learned_integration(
                    &ends,
                    learning.pairing,
                    (&learned.model).into(),
                    &config.integration,
                    &streams.derive(streams_of::INTEGRATION + model as u64),
                    &mut progress,
                )?;
                control.progress().end(&format!(
                    "free energy / kT: {}; direct {}",
                    found.integration.road.words(),
                    found.direct.road.words()
                ));
                write_json(&part.join("details.json"), &found)?;
                let rows = [found.integration, found.direct].map(|mut row| {
                    if *kind == RoadKind::Scores {
                        row.road.name += "_dsm";
                    }
                    with_frames(row, learned.seconds)
                });
                store(part, rows)
            })?;
        }
    }

    // Whether energies are trained, and how the names of parts and rows end.
    let variants = match config.takes(RoadKind::Untrained) {
        true => &[(true, ""), (false, "_untrained")][..],
        false => &[(true, "")],
    };
    if config.takes(RoadKind::Escorted) {
        let (learning, of_velocity) = (&config.learning, config.escorted.learning(&config.learning));
        let own = streams.derive(streams_of::VELOCITY);
        let trained = |directory: &Path, control: &Control| {
            learn(&ends, &molecule, &of_velocity, directory, &run, "learning velocity", own, control)
        };
        let velocity =
            parts.part("learning_velocity", |directory, control| trained(directory, control).map(|_| ()))?;
        let layout = parts.layout();
        for &(is_trained, suffix) in variants {
            let name = format!("escorted{suffix}");
            parts.part(&name, |directory, control| {
                let of_model = streams.derive(streams_of::MODEL + 1);
                let (model, velocity, seconds) = if is_trained {
                    let energies = layout.finished("learning_1")?;
                    let part = "learning 1";
                    let energies =
                        learn(&ends, &molecule, learning, &energies, &run, part, of_model, control)?;
                    let velocity = trained(&velocity, control)?;
                    (energies.model, velocity.model, energies.seconds + velocity.seconds)
                } else {
                    let energies = untrained(&ends, &molecule, learning, &of_model)?;
                    (energies, untrained(&ends, &molecule, &of_velocity, &own)?, 0.0)
                };
                let mut progress = fractions(control, &run, &name.replace('_', " "));
                let found = escorted::escorted(
                    &ends,
                    learning.pairing,
                    (&model).into(),
                    &velocity,
                    &config.escorted,
                    &streams.derive(streams_of::ESCORTED).derive(u64::from(is_trained)),
                    &mut progress,
                )?;
                control.progress().end(&format!("free energy / kT: {}", found.bar.road.words()));
                write_works(directory, &found.works, json!({}))?;
                let mut row = found.bar;
                row.road.name += suffix;
                store(directory, [with_frames(row, seconds)])
            })?;
        }
    }
    let annealed_variants = if config.takes(RoadKind::Annealed) { variants } else { &[] };
    for &(is_trained, suffix) in annealed_variants {
        let layout = parts.layout();
        let name = format!("annealed{suffix}");
        parts.part(&name, |directory, control| {
            let own = streams.derive(streams_of::MODEL + 1);
            let (model, seconds) = if is_trained {
                let trained = layout.finished("learning_1")?;
                let learned =
                    learn(&ends, &molecule, &config.learning, &trained, &run, "learning 1", own, control)?;
                (learned.model, learned.seconds)
            } else {
                (untrained(&ends, &molecule, &config.learning, &own)?, 0.0)
            };
            let mut progress = fractions(control, &run, &name.replace('_', " "));
            let part = if is_trained { streams_of::ANNEALED } else { streams_of::UNTRAINED };
            let found = annealed::annealed(
                &ends,
                config.learning.pairing,
                (&model).into(),
                &config.annealed,
                &streams.derive(part),
                &mut progress,
            )?;
            control.progress().end(&format!("free energy / kT: {}", found.bar.road.words()));
            let levels = found.schedule.lambda.len();
            let more = json!({ "smc_directions_kt": found.smc_directions, "levels": levels });
            write_works(directory, &found.works, more)?;
            let mbar = found.mbar.map(|(row, _)| row);
            let rows = [Some(found.bar), found.smc, mbar].into_iter().flatten();
            store(
                directory,
                rows.map(|mut row| {
                    row.road.name += suffix;
                    with_frames(row, seconds)
                }),
            )
        })?;
    }

    if !config.takes(RoadKind::Corrected) && !config.takes(RoadKind::Absolute) {
        return Ok(());
    }
    let learning = config.diffusion.learning();
    let mut particles = Vec::new();
    // Of each variant.
    let mut paths = vec![Vec::new(); variants.len()];
    for (idx, state) in states.iter().enumerate() {
        let own = streams.derive(streams_of::DIFFUSION + idx as u64);
        let end = Ends::prepare(&molecule, std::slice::from_ref(state), config.frames.held_out())?;
        let of = |what: &str| format!("{what}_{}", state.name);
        let trained = |directory: &Path, control: &Control| {
            let part = format!("learning {}", state.name);
            learn(&end, &molecule, &learning, directory, &run, &part, own, control)
        };
        let model_directory =
            parts.part(&of("diffusion"), |directory, control| trained(directory, control).map(|_| ()))?;
        let n_forces = end.n_physical_evaluations;
        if config.takes(RoadKind::Corrected) {
            for (&(is_trained, suffix), paths) in variants.iter().zip(&mut paths) {
                let name = of("corrected") + suffix;
                let directory = parts.part(&name, |directory, control| {
                    let (model, seconds) = if is_trained {
                        let learned = trained(&model_directory, control)?;
                        (learned.model, learned.seconds)
                    } else {
                        (untrained(&end, &molecule, &learning, &own)?, 0.0)
                    };
                    let mut progress = fractions(control, &run, &format!("paths {}", name.replace('_', " ")));
                    let part = if is_trained { 2 } else { 3 };
                    let own = own.derive(part);
                    let mut found = both_ways(&end, (&model).into(), &config.corrected, &own, &mut progress)?;
                    found.seconds += seconds;
                    found.n_physical_evaluations += n_forces;
                    control
                        .progress()
                        .end(&format!("log Z = {:.3} ± {:.3}", found.log_z, found.log_z_std_error));
                    write_json(&directory.join("end.json"), &found)
                })?;
                paths.push(read_json::<BothWays>(&directory.join("end.json"))?);
            }
        }
        if config.takes(RoadKind::Absolute) {
            let directory = parts.part(&of("absolute"), |directory, control| {
                let learned = trained(&model_directory, control)?;
                let mut progress = fractions(control, &run, &format!("particles {}", state.name));
                let path = (&learned.model).into();
                let mut found = absolute_end(&end, path, &config.absolute, &own.derive(1), &mut progress)?;
                found.seconds += learned.seconds;
                found.n_physical_evaluations += n_forces;
                let log_z = (found.log_z.value, found.log_z.std_error);
                control.progress().end(&format!("log Z = {:.2} ± {:.2}", log_z.0, log_z.1));
                write_json(&directory.join("end.json"), &found)
            })?;
            particles.push(read_json::<AbsoluteEnd>(&directory.join("end.json"))?);
        }
    }
    let mut finish = |name: &str, suffix: &str, mut row: LearnedRoad| {
        row.road.n_energy_evaluations += cost_of_frames;
        row.road.wall_seconds += seconds_of_frames;
        row.road.name += suffix;
        parts.part(&format!("{name}{suffix}"), |directory, _| store(directory, [row])).map(|_| ())
    };
    for ((_, suffix), paths) in variants.iter().zip(&paths) {
        if let [first, second] = &paths[..] {
            finish("corrected", suffix, through_noise(first, second, &config.corrected))?;
        }
    }
    if let [first, second] = &particles[..] {
        let known: Vec<(f64, f64)> = paths[0].iter().map(|path| (path.log_z, path.log_z_std_error)).collect();
        finish("absolute", "", absolute::absolute(first, second, &known))?;
    }
    Ok(())
}

/// Stores works in both directions, and what else there is to say, for the report.
fn write_works(directory: &Path, works: &[Works; 2], mut details: Value) -> Result<()> {
    details["works"] = json!({ "forward_kt": works[0].kt, "reverse_kt": works[1].kt });
    write_json(&directory.join("details.json"), &details)
}

/// Stores the rows of a part, with numbers only where they are determined.
fn store(directory: &Path, rows: impl IntoIterator<Item = LearnedRoad>) -> Result<()> {
    let rows: Vec<LearnedRoad> = rows.into_iter().map(LearnedRoad::determined).collect();
    write_json(&directory.join(ROADS), &rows)
}
