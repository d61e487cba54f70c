//! Sequential Monte Carlo from the noise end to the data end.

use crate::error::Result;
use crate::run::directory::{write_atomic, write_json};
use crate::run::stages::sample::{Draw, PartRecord};
use crate::sampling::{Bridge, Population, sequential_monte_carlo};
use serde::{Deserialize, Serialize};

/// What the estimates read: log Z of the learned law at the data end, absolute, and along the path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathNormalizer {
    /// Diffusion time of each level.
    pub t: Vec<f64>,
    /// log Z at each level.
    pub log_z: Vec<f64>,
    /// Its standard error.
    pub std_error: Vec<f64>,
    /// Effective sample size as a fraction, from weights accumulated without resampling.
    pub ess_without_resampling: f64,
    /// Particles at the noise end that have descendants at the data end.
    pub unique_ancestors: usize,
    /// How the errors were obtained.
    pub method: String,
}

pub(super) fn draw(draw: &Draw) -> Result<PartRecord> {
    let settings = &draw.context.plan.config.sample.smc;
    let noise = *draw.model.noise();
    let bridge = Bridge::diffusion(draw.model, noise, 1.0);
    draw.context.begin("sequential Monte Carlo", 1000);
    let population =
        sequential_monte_carlo(bridge, settings, &draw.streams, &mut draw.context.fraction(1000))?;
    draw.write("smc", &population.x)?;

    let mut weights = String::from("particle,log_weight,weight\n");
    for (particle, log_weight) in population.log_weights.iter().enumerate() {
        weights += &format!("{particle},{log_weight},{}\n", log_weight.exp());
    }
    write_atomic(&draw.directory.join("smc_weights.csv"), weights.as_bytes())?;
    let levels = levels_table(&population, |t| noise.log_snr(t));
    write_atomic(&draw.directory.join("smc_levels.csv"), levels.as_bytes())?;

    let n = settings.n_particles;
    let last = population.levels.last();
    let normalizer = PathNormalizer {
        t: population.levels.iter().map(|level| level.lambda).collect(),
        log_z: population.levels.iter().map(|level| level.log_z).collect(),
        std_error: population.levels.iter().map(|level| level.log_z_std_error).collect(),
        ess_without_resampling: last.map_or(0.0, |level| level.ess_without_resampling / n as f64),
        unique_ancestors: last.map_or(0, |level| level.unique_ancestors),
        method: population.log_z.method.clone(),
    };
    write_json(&draw.directory.join("smc_log_z.json"), &normalizer)?;

    let mut record = PartRecord {
        n_samples: n,
        n_groups: settings.n_islands,
        n_energy_evaluations: population.n_energy_evaluations,
        ..PartRecord::default()
    };
    let ess = 1.0 / population.log_weights.iter().map(|w| (2.0 * w).exp()).sum::<f64>();
    record.note("ess_smc", ess, "particles", "Kish, weights at the data end");
    let without = normalizer.ess_without_resampling * n as f64;
    let method = "Kish, weights accumulated along ancestral lines without resampling";
    record.note("ess_smc_without_resampling", without, "particles", method);
    let method = "particles at the noise end with descendants at the data end";
    record.note("smc_unique_ancestors", normalizer.unique_ancestors as f64, "particles", method);
    record.note("smc_levels", population.levels.len() as f64, "", "placed by a pilot run");
    draw.context.control.progress().end(&format!(
        "{} levels, effective sample size {ess:.0} of {n}, {} ancestors",
        population.levels.len(),
        normalizer.unique_ancestors
    ));
    Ok(record)
}

fn levels_table(population: &Population, log_snr: impl Fn(f64) -> f64) -> String {
    let mut table = String::from(
        "level,t,log_snr,ess,ess_without_resampling,unique_ancestors,log_z_kT,std_error_kT,acceptance,\
         step_size,n_energy_evaluations,resampled\n",
    );
    for level in &population.levels {
        table += &format!(
            "{},{},{},{},{},{},{},{},{},{},{},{}\n",
            level.level,
            level.lambda,
            log_snr(level.lambda),
            level.ess,
            level.ess_without_resampling,
            level.unique_ancestors,
            level.log_z,
            level.log_z_std_error,
            level.acceptance,
            level.step_size,
            level.n_energy_evaluations,
            level.resampled
        );
    }
    table
}
