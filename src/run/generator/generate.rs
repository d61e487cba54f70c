//! Ensembles of the learned energy alone; the physical energy is evaluated once, for their weights.

use std::path::Path;
use std::time::Instant;

use super::config::N_BLOCKS;
use super::correct::delta_method;
use super::work::{Drawn, Energies, Record, Work, is_saved};
use crate::error::Result;
use crate::run::directory::write_json;
use crate::sampling::{
    Bridge, ReverseDiffusionMethod, ReverseDiffusionSettings, annealed_importance, effective_sample_size_log,
    particle_diffusion, reverse_diffusion,
};

/// Variance per degree of freedom of the data in reduced length.
const DATA_VARIANCE: f64 = 1.0;

/// Writes `generate/`: one set after the other, of which finished ones are kept when a run is resumed.
pub fn run(work: &Work) -> Result<()> {
    let directory = work.layout.begin("generate")?;
    let learned = work.learned()?;
    let energies = learned.energies(work)?;
    write_json(&directory.join("region.json"), &energies.region)?;
    let settings = &work.plan.config.generate;
    let by_diffusion = |name: &str, n: usize, settings: ReverseDiffusionSettings, part: u64| {
        if n == 0 || is_saved(&directory, name) {
            return Ok(());
        }
        reverse(work, &energies, &directory, name, n, settings, part)
    };
    by_diffusion("generated", settings.n_samples, settings.reverse_diffusion, 1)?;
    let method = ReverseDiffusionMethod::Corrected { n_inner: 1 };
    let corrected = ReverseDiffusionSettings { method, ..settings.reverse_diffusion };
    by_diffusion("corrected", settings.n_corrected, corrected, 2)?;
    if !is_saved(&directory, "particles") {
        particles(work, &energies, &directory)?;
    }
    if !is_saved(&directory, "annealed") {
        annealed(work, &energies, &directory)?;
    }
    work.layout.finish("generate")?;
    Ok(())
}

/// Conformations by reverse diffusion, weighted as if they were exact samples of the learned law.
fn reverse(
    work: &Work,
    energies: &Energies,
    directory: &Path,
    name: &str,
    n: usize,
    settings: ReverseDiffusionSettings,
    part: u64,
) -> Result<()> {
    let begun = Instant::now();
    work.begin(&format!("reverse diffusion ({name})"), 1000);
    let model = &energies.model;
    let noise = model.noise();
    let streams = work.streams(part);
    let result =
        reverse_diffusion(model, noise, DATA_VARIANCE, &settings, 0..n, &streams, &mut work.fraction(1000))?;
    let log_weights = energies.to_physical(&result.x, None)?;
    let mut record = Record {
        n_groups: N_BLOCKS,
        n_learned_evaluations: result.n_energy_evaluations + n as u64,
        n_physical_evaluations: n as u64,
        ..Record::default()
    };
    let within = energies.share_within(&result.x);
    let same = "share of conformations that are the stereoisomer of the frames";
    record.note(&format!("same_isomer_{name}"), within, None, "", same);
    let ess = effective_sample_size_log(&log_weights) / n as f64;
    let method =
        "Kish, weights exp(u_learned − u_physical) as if the samples were exact draws of the learned law";
    record.note(&format!("ess_fraction_{name}"), ess, None, "", method);
    if !result.acceptance.is_empty() {
        let mean = result.acceptance.iter().sum::<f64>() / result.acceptance.len() as f64;
        record.note(&format!("acceptance_{name}"), mean, None, "", "mean over the steps");
    }
    let diverged = result.diverged.len() as f64;
    record.note(&format!("n_diverged_{name}"), diverged, None, "", "walkers whose step was not finite");
    record.seconds = begun.elapsed().as_secs_f64();
    let positions_nm = energies.positions_nm(&result.x);
    let drawn = Drawn { positions_nm, log_weights: Some(log_weights), learned_log_weights: None, record };
    drawn.save(work, directory, name)?;
    work.control.progress().end(&format!(
        "{:.1} % the same isomer, ESS {:.2} %",
        100.0 * within,
        100.0 * ess
    ));
    Ok(())
}

/// Particles carried by reverse diffusion, with exact weights.
fn particles(work: &Work, energies: &Energies, directory: &Path) -> Result<()> {
    let begun = Instant::now();
    work.begin("particle diffusion", 1000);
    let settings = &work.plan.config.generate.particle_diffusion;
    let noise = *energies.model.noise();
    let mut population = energies.along(|sequence| {
        let mut progress = work.fraction(1000);
        particle_diffusion(sequence, noise, DATA_VARIANCE, settings, &work.streams(3), &mut progress)
    })?;
    let n = settings.particles.n_particles;
    // A particle that went astray has no weight; a trajectory file has no place for where it is.
    let d = 3 * energies.model.architecture.n_beads;
    for (x, weight) in population.x.chunks_exact_mut(d).zip(&mut population.log_weights) {
        if x.iter().any(|x| !x.is_finite()) {
            x.fill(0.0);
            *weight = f64::NEG_INFINITY;
        }
    }
    let log_weights = energies.to_physical(&population.x, Some(&population.log_weights))?;
    let mut record = Record {
        n_groups: settings.particles.n_islands,
        n_learned_evaluations: population.n_energy_evaluations + n as u64,
        n_physical_evaluations: n as u64,
        ..Record::default()
    };
    let share = |weights: &[f64]| effective_sample_size_log(weights) / n as f64;
    let n_resampled = population.levels.iter().filter(|level| level.resampled).count();
    let gathered = match n_resampled {
        0 => "gathered without resampling".to_string(),
        n => format!("resampled at {n} levels on the way"),
    };
    let method = format!(
        "Kish, weights of particle diffusion from noise to the physical energy, {gathered}; no move at the physical energy"
    );
    record.note("ess_fraction", share(&log_weights), None, "", &method);
    let per_sample = record.n_learned_evaluations as f64 / n as f64;
    record.note(
        "learned_evaluations_per_sample",
        per_sample,
        None,
        "",
        "of particle diffusion, pilot run included",
    );
    if let Some(last) = population.levels.last() {
        let ancestors = last.unique_ancestors as f64;
        record.note("unique_ancestors_particles", ancestors, None, "", "first particles with descendants");
    }
    let (value, error) = (population.log_z.value, population.log_z.std_error);
    record.note("log_z_learned_particles", value, Some(error), "", &population.log_z.method);
    record.seconds = begun.elapsed().as_secs_f64();
    let ess = share(&log_weights);
    let drawn = Drawn {
        positions_nm: energies.positions_nm(&population.x),
        log_weights: Some(log_weights),
        learned_log_weights: Some(population.log_weights),
        record,
    };
    drawn.save(work, directory, "particles")?;
    work.control.progress().end(&format!("log Z = {value:.2} ± {error:.2}, ESS {:.2} %", 100.0 * ess));
    Ok(())
}

/// Walkers annealed along the learned energies; their weights are gathered without resampling.
fn annealed(work: &Work, energies: &Energies, directory: &Path) -> Result<()> {
    let begun = Instant::now();
    work.begin("diffusion annealing", 1000);
    let settings = &work.plan.config.generate.annealed;
    let model = &energies.model;
    let bridge = Bridge::diffusion(model, *model.noise(), DATA_VARIANCE);
    let result = annealed_importance(bridge, settings, &work.streams(4), &mut work.fraction(1000))?;
    let n = settings.n_walkers;
    let log_weights = energies.to_physical(&result.x, Some(&result.log_weights))?;
    let mut record = Record {
        n_groups: N_BLOCKS,
        n_learned_evaluations: result.n_energy_evaluations + n as u64,
        n_physical_evaluations: n as u64,
        ..Record::default()
    };
    let ess = effective_sample_size_log(&log_weights) / n as f64;
    let method = "Kish, weights from noise to the physical energy gathered without resampling; no move at the \
                  physical energy; all walkers are ancestors of themselves";
    record.note("ess_fraction_annealed", ess, None, "", method);
    let method = "Kish, weights from noise to the learned energy at the data end, without resampling";
    record.note("ess_fraction_learned_annealed", result.ess / n as f64, None, "", method);
    let per_sample = record.n_learned_evaluations as f64 / n as f64;
    record.note("learned_evaluations_per_sample_annealed", per_sample, None, "", "of the annealed walkers");
    let (value, error) = (result.log_z.value, delta_method(result.ess, n));
    record.note("log_z_learned_annealed", value, Some(error), "", &result.log_z.method);
    record.seconds = begun.elapsed().as_secs_f64();
    let drawn = Drawn {
        positions_nm: energies.positions_nm(&result.x),
        log_weights: Some(log_weights),
        learned_log_weights: Some(result.log_weights),
        record,
    };
    drawn.save(work, directory, "annealed")?;
    work.control.progress().end(&format!("log Z = {value:.2} ± {error:.2}, ESS {:.2} %", 100.0 * ess));
    Ok(())
}
