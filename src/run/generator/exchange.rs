//! Replica exchange over diffusion time with the physical energy at the bottom, and MBAR over all levels.

use std::time::Instant;

use super::work::{Drawn, Energies, Learned, Record, Work};
use crate::error::Result;
use crate::free_energy::bootstrap::{bootstrap_mbar, mbar_blocks};
use crate::free_energy::{Mbar, ReducedEnergies};
use crate::potential::{PotentialPath as _, Sequence};
use crate::random::Purpose;
use crate::run::config::ReplicaSettings;
use crate::run::directory::write_atomic;
use crate::sampling::{
    Bridge, ReplicaBlock, ReplicaExchange, ReplicaState, effective_sample_size, systematic_resampling,
};

/// Samples of each level of a ladder that go into MBAR, at most: their energies are needed at every level.
const MBAR_SWEEPS: usize = 100;
/// Resamples of the ladders.
const N_RESAMPLES: usize = 50;
/// The first step of the moves, in reduced length.
const FIRST_STEP: f64 = 0.05;

/// Writes `replica_exchange/`.
pub fn run(work: &Work) -> Result<()> {
    let directory = work.layout.begin("replica_exchange")?;
    let begun = Instant::now();
    let learned = work.learned()?;
    let energies = learned.energies(work)?;
    let settings = &work.plan.config.replica_exchange;
    work.begin("replica exchange from noise to the physical energy", 1000);
    let (record, drawn, table) = energies.along(|sequence| {
        let start = starts(work, &learned, &energies, sequence)?;
        let bridge =
            Bridge { path: sequence, route: sequence.route(), reference_deviation: 2.0 * FIRST_STEP };
        let exchange = ReplicaExchange { bridge, settings: settings.sampler(), streams: work.streams(7) };
        let (state, block, n_evaluations) = sample(work, &exchange, start, settings)?;
        let mut record = Record { n_groups: settings.n_ladders, ..Record::default() };
        // Levels up to the data end know the learned energy alone; swaps move between both kinds.
        let physical = state.lambda.iter().filter(|lambda| **lambda > 1.0).count();
        let share = physical as f64 / state.lambda.len() as f64;
        record.n_physical_evaluations = (share * n_evaluations as f64) as u64;
        record.n_learned_evaluations = n_evaluations;
        note_exchange(&mut record, &state, &block);
        let (drawn, log_weights) = analyse(work, sequence, &state, &block, &mut record)?;
        let table = levels_table(sequence, &state, &block);
        let positions_nm = energies.positions_nm(&drawn);
        let log_weights = Some(log_weights);
        Ok((
            record,
            Drawn { positions_nm, log_weights, learned_log_weights: None, record: Record::default() },
            table,
        ))
    })?;
    write_atomic(&directory.join("levels.csv"), table.as_bytes())?;
    let record = Record { seconds: begun.elapsed().as_secs_f64(), ..record };
    Drawn { record, ..drawn }.save(work, &directory, "exchange")?;
    work.layout.finish("replica_exchange")?;
    Ok(())
}

/// Places levels, burns in and samples; with the number of evaluations of both.
fn sample(
    work: &Work,
    exchange: &ReplicaExchange,
    start: Vec<f64>,
    settings: &ReplicaSettings,
) -> Result<(ReplicaState, ReplicaBlock, u64)> {
    let n_adaptive: usize =
        (0..settings.n_placements).map(|round| settings.n_placement_sweeps << round).sum::<usize>()
            + settings.n_relaxation;
    let share = n_adaptive as f64 / (n_adaptive + settings.n_sweeps) as f64;
    let mut progress = work.fraction(1000);
    let mut state = exchange.start_at(start, &mut |done| progress(share * done))?;
    let block =
        exchange.block(&mut state, settings.n_sweeps, &mut |done| progress(share + (1.0 - share) * done))?;
    // Adaptation costs per sweep what sampling does.
    let per_sweep = block.n_energy_evaluations as f64 / settings.n_sweeps as f64;
    let n_evaluations = block.n_energy_evaluations + (per_sweep * n_adaptive as f64) as u64;
    Ok((state, block, n_evaluations))
}

/// Positions for the levels of all ladders: particles of the right isomer, drawn by their weights in the
/// learned law and noised to the time of the level; training frames where there is no such particle.
fn starts(work: &Work, learned: &Learned, energies: &Energies, sequence: &Sequence) -> Result<Vec<f64>> {
    let settings = &work.plan.config.replica_exchange;
    let particles = Drawn::require(work, "generate", "particles")?;
    let mut x = energies.reduced(&particles.positions_nm);
    let space = sequence.space();
    let d = space.dimension();
    let log_weights = particles.learned_log_weights.unwrap_or_default();
    let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut weights: Vec<f64> = log_weights
        .iter()
        .zip(x.chunks_exact(d))
        .map(|(w, x)| if energies.region.contains(x) { (w - largest).exp() } else { 0.0 })
        .collect();
    if effective_sample_size(&weights) == 0.0 {
        let sentence =
            "No particle is the stereoisomer of the frames: replica exchange starts at the frames.";
        work.control.progress().note(sentence);
        x = energies.reduced(learned.data.train().positions_nm());
        weights = vec![1.0; x.len() / d];
    }
    let (n_levels, n_ladders) = (settings.n_levels, settings.n_ladders);
    let streams = work.streams(6);
    let chosen =
        systematic_resampling(&weights, n_levels * n_ladders, &mut streams.stream(Purpose::Resampling, 0));
    let noise = energies.model.noise();
    let mut starts = vec![0.0; n_levels * n_ladders * d];
    for (slot, start) in starts.chunks_exact_mut(d).enumerate() {
        let (ladder, level) = (slot / n_levels, slot % n_levels);
        // Neighbours in the list of drawn walkers are alike: they go to different ladders.
        let from = chosen[level * n_ladders + ladder];
        let (piece, t) = sequence.locate(sequence.len() as f64 * level as f64 / (n_levels - 1) as f64);
        if piece == 0 {
            space.fill_normal(&mut streams.stream(Purpose::Start, slot as u64), start);
            let (a, g) = (noise.scale(t), noise.deviation(t));
            start.iter_mut().zip(&x[from * d..]).for_each(|(start, x)| *start = a * x + g * *start);
        } else {
            start.copy_from_slice(&x[from * d..][..d]);
        }
    }
    Ok(starts)
}

fn note_exchange(record: &mut Record, state: &ReplicaState, block: &ReplicaBlock) {
    let method = "journeys of a replica from noise to the physical energy and back";
    record.note("replica_exchange_round_trips", state.n_round_trips as f64, None, "", method);
    let least = block.swap_acceptance.iter().copied().fold(f64::INFINITY, f64::min);
    record.note("replica_exchange_least_swap_acceptance", least, None, "", "least over pairs of neighbours");
}

fn levels_table(sequence: &Sequence, state: &ReplicaState, block: &ReplicaBlock) -> String {
    let mut table =
        String::from("level,lambda,piece,lambda_of_piece,swap_acceptance,move_acceptance,step_size\n");
    for (level, &lambda) in state.lambda.iter().enumerate() {
        let (piece, own) = sequence.locate(lambda);
        let piece = ["diffusion", "to_physical"][piece.min(1)];
        let swap = block.swap_acceptance.get(level).map_or_else(String::new, f64::to_string);
        let (moves, step) = (block.move_acceptance[level], state.step_size[level]);
        table += &format!("{level},{lambda},{piece},{own},{swap},{moves},{step}\n");
    }
    table
}

/// MBAR over all levels: samples, `[ladder][level][sweep][coordinate]`, with their log-weights in the physical law.
fn analyse(
    work: &Work,
    sequence: &Sequence,
    state: &ReplicaState,
    block: &ReplicaBlock,
    record: &mut Record,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let d = sequence.space().dimension();
    let (n_levels, n_ladders) = (state.lambda.len(), work.plan.config.replica_exchange.n_ladders);
    let n_sweeps = block.samples[0].len() / (n_ladders * d);
    let every = n_sweeps.div_ceil(MBAR_SWEEPS);
    let kept: Vec<usize> = (0..n_sweeps).step_by(every).collect();
    let (mut x, mut level_of, mut ladder_of) = (Vec::new(), Vec::new(), Vec::new());
    for ladder in 0..n_ladders {
        for (level, samples) in block.samples.iter().enumerate() {
            for &sweep in &kept {
                x.extend_from_slice(&samples[(sweep * n_ladders + ladder) * d..][..d]);
                level_of.push(level);
                ladder_of.push(ladder);
            }
        }
    }
    let n = level_of.len();
    let mut u_kn = vec![0.0; n_levels * n];
    let mut progress = work.fraction(1000);
    for (k, u) in u_kn.chunks_exact_mut(n).enumerate() {
        sequence.energies(&vec![state.lambda[k]; n], &x, u)?;
        // What is not a number has no weight.
        u.iter_mut().filter(|u| u.is_nan()).for_each(|u| *u = f64::INFINITY);
        progress((k + 1) as f64 / n_levels as f64)?;
    }
    record.n_learned_evaluations += (n * n_levels) as u64;
    record.n_physical_evaluations += n as u64;
    let reduced = ReducedEnergies::new(n_levels, u_kn, level_of)?;
    let mbar = Mbar::new(&reduced)?;
    let last = n_levels - 1;
    let blocks = mbar_blocks(&reduced, &ladder_of)?;
    let bootstrap = bootstrap_mbar(&mbar, &blocks, N_RESAMPLES, &work.streams(8), |resampled| {
        let f = resampled.free_energies_kt();
        Some(vec![f[0] - f[last]])
    })?;
    let f = mbar.free_energies_kt();
    let method = format!(
        "MBAR over {n_levels} levels, {}, blocks are ladders; noise end normalised",
        bootstrap.method
    );
    record.note("log_z_physical_mbar", f[0] - f[last], Some(bootstrap.std_errors[0]), "", &method);
    let ess = mbar.n_effective(last) / n as f64;
    let method = "Kish of the MBAR weights of all levels' samples in the physical law";
    record.note("ess_fraction_exchange", ess, None, "", method);
    if let Some(sentence) = mbar.disconnection() {
        work.control.progress().note(&sentence);
    }
    let trips = state.n_round_trips;
    work.control.progress().end(&format!("{trips} round trips, MBAR over {n_levels} levels and {n} samples"));
    Ok((x, mbar.log_weights(last)))
}
