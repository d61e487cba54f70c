//! Conformations of a composed law, with log Z and what tells whether to believe it.
//!
//! Particles give log Z of the law absolutely, as they start from a Gaussian. Replica exchange gives it by MBAR over all
//! levels and one state more: that Gaussian, with draws of its own.

use std::path::Path;

use serde_json::{Map, Value};

use super::config::{SampleSettings, Sampler};
use super::law::Law;
use crate::error::{Error, Result};
use crate::free_energy::bootstrap::{bootstrap_mbar, mbar_blocks};
use crate::free_energy::{Mbar, ReducedEnergies};
use crate::potential::Noise;
use crate::random::{Purpose, Streams};
use crate::run::config::ReplicaSettings;
use crate::run::directory::write_atomic;
use crate::run::summary::entry;
use crate::sampling::{
    Bridge, Population, ReplicaBlock, ReplicaExchange, SequentialMonteCarloSettings, sequential_monte_carlo,
};
use crate::system::Topology;
use crate::trajectory::{Ensemble, write_trajectory};

/// Samples of each level of a ladder that go into MBAR, at most.
const MBAR_SWEEPS: usize = 100;
/// Resamples of the ladders.
const N_RESAMPLES: usize = 50;
/// Effective share of particles below which a population is not to be trusted.
const LEAST_ESS: f64 = 0.1;
/// Standard error of log Z beyond which islands or ladders have not seen the same law.
pub(super) const LARGEST_ERROR: f64 = 0.3;
/// Swap acceptance below which neighbouring levels hardly overlap.
const LEAST_SWAP: f64 = 0.1;

/// Conformations at the data end.
pub struct Drawn {
    /// In nm, independent groups of equal size one after the other.
    pub positions_nm: Vec<f64>,
    /// Normalised; `None`: all count the same.
    pub log_weights: Option<Vec<f64>>,
    /// Islands or ladders.
    pub n_groups: usize,
    /// log ∫ exp(−u) dr with r in nm, and its standard error.
    pub log_z: (f64, f64),
    /// How it was obtained.
    pub method: String,
    /// Numbers for `summary.json`.
    pub numbers: Map<String, Value>,
    /// What speaks against them.
    pub reasons: Vec<String>,
    /// One row per level.
    pub levels: String,
}

/// Draws from a law.
pub fn draw(
    law: &Law,
    settings: &SampleSettings,
    streams: &Streams,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<Drawn> {
    let noise = law.parts[0].0.noise();
    law.along(|bridge| match settings.sampler {
        Sampler::Smc => particles(bridge, noise, &settings.smc, streams, progress),
        Sampler::ReplicaExchange => replicas(bridge, noise, &settings.replica_exchange, streams, progress),
    })
}

/// Weights that sum to 1; `None`: all count the same.
pub fn weights(log_weights: Option<&[f64]>) -> Option<Vec<f64>> {
    log_weights.map(crate::free_energy::weights::normalized_weights)
}

impl Drawn {
    /// Writes `samples.dcd`, `beads.pdb`, `weights.csv` and `levels.csv`.
    pub fn write(&self, directory: &Path, topology: &Topology) -> Result<()> {
        let path = directory.join("samples.dcd");
        let size = 3 * topology.n_atoms();
        if let Some(bad) = self.positions_nm.iter().position(|x| !x.is_finite()) {
            let expected = "finite positions; the composed law may have no normaliser";
            return Err(Error::file(path, format!("frame {}", bad / size), expected, "another number"));
        }
        let ensemble = Ensemble::new(topology.n_atoms(), self.positions_nm.clone())?;
        write_trajectory(&directory.join("beads.pdb"), topology, &ensemble.select(&[0]))?;
        write_trajectory(&path, topology, &ensemble)?;
        let uniform = -(ensemble.n_frames() as f64).ln();
        let mut table = String::from("frame,group,log_weight,weight\n");
        let per_group = ensemble.n_frames() / self.n_groups;
        for frame in 0..ensemble.n_frames() {
            let log_weight = self.log_weights.as_ref().map_or(uniform, |log_weights| log_weights[frame]);
            table += &format!("{frame},{},{log_weight},{}\n", frame / per_group, log_weight.exp());
        }
        write_atomic(&directory.join("weights.csv"), table.as_bytes())?;
        write_atomic(&directory.join("levels.csv"), self.levels.as_bytes())
    }

    fn note(&mut self, name: &str, value: f64, method: &str) {
        self.numbers.insert(name.into(), entry(value, None, "", method));
    }

    fn check_log_z(&mut self) {
        let (value, error) = self.log_z;
        if !value.is_finite() {
            self.reasons.push("log Z is not a number: no particle was left".into());
        } else if error.is_nan() || error > LARGEST_ERROR {
            self.reasons.push(format!("the error of log Z is {error:.2}, more than {LARGEST_ERROR}"));
        }
    }
}

fn particles(
    bridge: Bridge,
    noise: &Noise,
    settings: &SequentialMonteCarloSettings,
    streams: &Streams,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<Drawn> {
    let Population { x, log_weights, log_z, levels, n_energy_evaluations, .. } =
        sequential_monte_carlo(bridge, settings, streams, progress)?;
    let n = settings.n_particles as f64;
    let mut table = String::from(
        "level,t,log_snr,ess_fraction,unique_ancestors,log_z_kT,std_error_kT,acceptance,step_size_nm\n",
    );
    for level in &levels {
        table += &format!(
            "{},{},{},{},{},{},{},{},{}\n",
            level.level,
            level.lambda,
            noise.log_snr(level.lambda),
            level.ess / n,
            level.unique_ancestors,
            level.log_z,
            level.log_z_std_error,
            level.acceptance,
            level.step_size
        );
    }
    let ess = log_weights.iter().map(|w| (2.0 * w).exp()).sum::<f64>().recip() / n;
    let ancestors = levels.last().map_or(0, |level| level.unique_ancestors);
    let n_groups = settings.n_islands;
    let mut drawn = Drawn {
        positions_nm: x,
        log_weights: Some(log_weights),
        n_groups,
        log_z: (log_z.value, log_z.std_error),
        method: format!("sequential Monte Carlo, {}", log_z.method),
        numbers: Map::new(),
        reasons: Vec::new(),
        levels: table,
    };
    drawn.note("ess_fraction", ess, "Kish, weights at the data end");
    let method = "particles at the noise end with descendants at the data end";
    drawn.note("unique_ancestors", ancestors as f64, method);
    drawn.note("n_levels", levels.len() as f64, "placed by a pilot run");
    drawn.note("energy_evaluations", n_energy_evaluations as f64, "conformations evaluated");
    drawn.check_log_z();
    if ess.is_nan() || ess < LEAST_ESS {
        drawn.reasons.push(format!("only {:.1} % of the particles count", 100.0 * ess));
    }
    if ancestors < 2 * n_groups {
        let sentence =
            format!("all particles descend from {ancestors} of {n}, fewer than two for each island");
        drawn.reasons.push(sentence);
    }
    Ok(drawn)
}

fn replicas(
    bridge: Bridge,
    noise: &Noise,
    settings: &ReplicaSettings,
    streams: &Streams,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<Drawn> {
    let exchange = ReplicaExchange { bridge, settings: settings.sampler(), streams: *streams };
    let n_adaptive: usize =
        (0..settings.n_placements).map(|round| settings.n_placement_sweeps << round).sum::<usize>()
            + settings.n_relaxation;
    // The rest is MBAR.
    let share = 0.9 * n_adaptive as f64 / (n_adaptive + settings.n_sweeps) as f64;
    let mut state = exchange.start(&mut |done| progress(share * done))?;
    let mut block =
        exchange.block(&mut state, settings.n_sweeps, &mut |done| progress(share + (0.9 - share) * done))?;
    let mut table = String::from("level,t,log_snr,swap_acceptance,move_acceptance,step_size_nm\n");
    for (level, &t) in state.lambda.iter().enumerate() {
        // The last level has no neighbour above it.
        let swap = block.swap_acceptance.get(level).map_or_else(String::new, f64::to_string);
        let (moves, step) = (block.move_acceptance[level], state.step_size[level]);
        table += &format!("{level},{t},{},{swap},{moves},{step}\n", noise.log_snr(t));
    }
    let (log_z, method, disconnection) = by_mbar(&bridge, &state.lambda, &block, settings, streams)?;
    progress(1.0)?;
    let last = block.samples.pop().unwrap_or_default();
    let d = bridge.path.space().dimension();
    let (n_ladders, n_frames) = (settings.n_ladders, last.len() / (settings.n_ladders * d));
    let frames = (0..n_ladders)
        .flat_map(|ladder| (0..n_frames).map(move |frame| (frame * n_ladders + ladder) * d))
        .flat_map(|place| &last[place..place + d]);
    let mut drawn = Drawn {
        positions_nm: frames.copied().collect(),
        log_weights: None,
        n_groups: n_ladders,
        log_z,
        method,
        numbers: Map::new(),
        reasons: disconnection.into_iter().collect(),
        levels: table,
    };
    let least = block.swap_acceptance.iter().copied().fold(f64::INFINITY, f64::min);
    let trips = state.n_round_trips;
    drawn.note("least_swap_acceptance", least, "least over pairs of neighbours");
    drawn.note("round_trips", trips as f64, "journeys of a replica from noise to data and back");
    drawn.note("energy_evaluations", block.n_energy_evaluations as f64, "conformations evaluated");
    drawn.check_log_z();
    if least.is_nan() || least < LEAST_SWAP {
        drawn.reasons.push(format!("two neighbouring levels swap with probability {least:.3}"));
    }
    if (trips as usize) < n_ladders {
        drawn.reasons.push(format!("{trips} round trips, fewer than one for each of {n_ladders} ladders"));
    }
    Ok(drawn)
}

/// log Z at the last level from all levels and draws of the reference Gaussian; a sentence where they do not overlap.
fn by_mbar(
    bridge: &Bridge,
    lambda: &[f64],
    block: &ReplicaBlock,
    settings: &ReplicaSettings,
    streams: &Streams,
) -> Result<((f64, f64), String, Option<String>)> {
    let d = bridge.path.space().dimension();
    let (n_levels, n_ladders) = (lambda.len(), settings.n_ladders);
    let n_sweeps = block.samples[0].len() / (n_ladders * d);
    let kept: Vec<usize> = (0..n_sweeps).step_by(n_sweeps.div_ceil(MBAR_SWEEPS).max(1)).collect();
    let n_reference = n_ladders * kept.len();
    let mut x = bridge.draw_reference(n_reference, &streams.derive(0x4d42), Purpose::Start);
    let mut state_of = vec![0; n_reference];
    let mut ladder_of: Vec<usize> = (0..n_reference).map(|idx| idx / kept.len()).collect();
    for (level, samples) in block.samples.iter().enumerate() {
        for ladder in 0..n_ladders {
            for &sweep in &kept {
                x.extend_from_slice(&samples[(sweep * n_ladders + ladder) * d..][..d]);
                state_of.push(level + 1);
                ladder_of.push(ladder);
            }
        }
    }
    let n = state_of.len();
    let mut u_kn = vec![0.0; (n_levels + 1) * n];
    let (reference, levels) = u_kn.split_at_mut(n);
    reference.iter_mut().zip(x.chunks_exact(d)).for_each(|(u, x)| *u = bridge.reference_energy(x));
    for (u, &lambda) in levels.chunks_exact_mut(n).zip(lambda) {
        bridge.path.energies(&vec![lambda; n], &x, u)?;
        // What is not a number has no weight.
        u.iter_mut().filter(|u| u.is_nan()).for_each(|u| *u = f64::INFINITY);
    }
    let energies = ReducedEnergies::new(n_levels + 1, u_kn, state_of)?;
    let mbar = Mbar::new(&energies)?;
    let blocks = mbar_blocks(&energies, &ladder_of)?;
    let bootstrap = bootstrap_mbar(&mbar, &blocks, N_RESAMPLES, &streams.derive(0x424f), |resampled| {
        let f = resampled.free_energies_kt();
        Some(vec![f[0] - f[n_levels]])
    })?;
    let f = mbar.free_energies_kt();
    let method = format!("MBAR over a Gaussian and {n_levels} levels, {}", bootstrap.method);
    Ok(((f[0] - f[n_levels], bootstrap.std_errors[0]), method, mbar.disconnection()))
}
