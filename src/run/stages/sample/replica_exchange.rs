//! Replica exchange over the levels of the learned path: samples of the model's own laws.
//!
//! `replica_exchange.npy` keeps them in nm as `[level][sweep][ladder][bead][xyz]`; ladders are
//! independent of each other.

use std::path::Path;

use npyz::WriterBuilder;

use crate::error::{Error, Result};
use crate::run::directory::write_atomic;
use crate::run::stages::sample::{Draw, PartRecord};
use crate::sampling::{Bridge, ReplicaExchange};

pub(super) fn draw(draw: &Draw) -> Result<PartRecord> {
    let settings = &draw.context.plan.config.sample.replica_exchange;
    let noise = *draw.model.noise();
    let exchange = ReplicaExchange {
        bridge: Bridge::diffusion(draw.model, noise, 1.0),
        settings: settings.sampler(),
        streams: draw.streams,
    };
    let n_adaptive: usize =
        (0..settings.n_placements).map(|round| settings.n_placement_sweeps << round).sum::<usize>()
            + settings.n_relaxation;
    draw.context.begin("replica exchange", (n_adaptive + settings.n_sweeps) as u64);
    let mut state = exchange.start(&mut |fraction| {
        draw.context
            .control
            .progress()
            .advance((fraction * n_adaptive as f64) as u64, "levels and relaxation");
        draw.context.check_stop()
    })?;
    let block = exchange.block(&mut state, settings.n_sweeps, &mut |fraction| {
        let done = n_adaptive as u64 + (fraction * settings.n_sweeps as f64) as u64;
        draw.context.control.progress().advance(done, "");
        draw.context.check_stop()
    })?;

    let n_kept = settings.n_sweeps / settings.keep_every;
    let n_beads = draw.context.plan.beads.n_beads();
    let shape = [settings.n_levels, n_kept, settings.n_ladders, n_beads, 3].map(|n| n as u64);
    let scale = draw.model.length_scale_nm;
    let values = block.samples.iter().flatten().map(|x| (x * scale) as f32);
    let path = draw.directory.join("replica_exchange.npy");
    write_array(&path, &shape, values)?;

    let mut table = String::from("level,t,log_snr,swap_acceptance,move_acceptance,step_size\n");
    for (level, t) in state.lambda.iter().enumerate() {
        // The last level has no neighbour above it.
        let swap = block.swap_acceptance.get(level).map_or_else(String::new, f64::to_string);
        let (moves, step) = (block.move_acceptance[level], state.step_size[level]);
        table += &format!("{level},{t},{},{swap},{moves},{step}\n", noise.log_snr(*t));
    }
    write_atomic(&draw.directory.join("replica_exchange.csv"), table.as_bytes())?;

    let n_walkers = (settings.n_levels * settings.n_ladders) as u64;
    // A swap evaluates both members of half of the pairs.
    let per_sweep = n_walkers * (settings.n_local_moves as u64 + 1);
    let mut record = PartRecord {
        n_samples: settings.n_levels * n_kept * settings.n_ladders,
        n_groups: settings.n_ladders,
        n_energy_evaluations: block.n_energy_evaluations + n_adaptive as u64 * per_sweep,
        ..PartRecord::default()
    };
    let trips = state.n_round_trips as f64;
    let method = "journeys of a replica from the noise end to the data end and back";
    record.note("replica_exchange_round_trips", trips, "", method);
    let least = block.swap_acceptance.iter().copied().fold(f64::INFINITY, f64::min);
    record.note("replica_exchange_least_swap_acceptance", least, "", "least over pairs of neighbours");
    draw.context.control.progress().end(&format!("{trips} round trips, least swap acceptance {least:.2}"));
    Ok(record)
}

/// Writes an array of single precision.
fn write_array(path: &Path, shape: &[u64], values: impl Iterator<Item = f32>) -> Result<()> {
    let mut bytes = Vec::new();
    let write = |bytes: &mut Vec<u8>| -> std::io::Result<()> {
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(bytes).begin_nd()?;
        writer.extend(values)?;
        writer.finish()
    };
    write(&mut bytes).map_err(Error::io("write", path))?;
    write_atomic(path, &bytes)
}

/// Reads what `draw` kept: shape `[level, sweep, ladder, bead, 3]` and values in nm.
pub fn read_samples(path: &Path) -> Result<([usize; 5], Vec<f64>)> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let bad =
        |error: std::io::Error| Error::file(path, "", "an array that kirkwood writes", error.to_string());
    let file = npyz::NpyFile::new(&bytes[..]).map_err(bad)?;
    let shape: Vec<usize> = file.shape().iter().map(|n| *n as usize).collect();
    let shape: [usize; 5] = shape
        .try_into()
        .map_err(|shape| Error::file(path, "", "five dimensions", format!("shape {shape:?}")))?;
    let values: Vec<f32> = file.into_vec().map_err(bad)?;
    Ok((shape, values.into_iter().map(f64::from).collect()))
}
