//! From the learned to the physical energy by annealed importance sampling of the particles, without resampling.

use std::time::Instant;

use super::config::N_BLOCKS;
use super::work::{Drawn, Record, Work};
use crate::error::Result;
use crate::potential::log_sum_exp;
use crate::run::directory::write_atomic;
use crate::sampling::{SwitchingLevels, effective_sample_size_log, switch, switching_schedule};

/// Effective walkers below which the delta method sees no more than one of them and claims an error of about 1.
const LEAST_EFFECTIVE: f64 = 20.0;

/// Standard error of the logarithm of a mean of `n` weights that are worth `ess`; infinite where that is too few.
pub fn delta_method(ess: f64, n: usize) -> f64 {
    if ess < LEAST_EFFECTIVE { f64::INFINITY } else { (1.0 / ess - 1.0 / n as f64).max(0.0).sqrt() }
}

/// log Z where log-weights are `after`, from that of the law in which they were `before`, up to a common constant.
fn carried_on(log_z: f64, before: &[f64], after: &[f64]) -> f64 {
    log_z + log_sum_exp(after) - log_sum_exp(before)
}

/// Writes `correct/`.
pub fn run(work: &Work) -> Result<()> {
    let directory = work.layout.begin("correct")?;
    let begun = Instant::now();
    let learned = work.learned()?;
    let energies = learned.energies(work)?;
    let start = Drawn::require(work, "generate", "particles")?;
    let number = &start.record.numbers["log_z_learned_particles"];
    let learned_log_z = ["value", "std_error"].map(|what| number[what].as_f64().unwrap_or(f64::INFINITY));
    let before = start.learned_log_weights.unwrap_or_default();
    let x = energies.reduced(&start.positions_nm);
    let settings = &work.plan.config.correct;
    let last = settings.n_levels - 1;
    let lambdas: Vec<f64> = (0..=last).map(|k| 1.0 + k as f64 / last as f64).collect();
    work.begin("annealing to the physical energy", 1000);
    let mut progress = work.fraction(1000);
    let (schedule, result) = energies.along(|sequence| {
        let (levels, streams) = (SwitchingLevels::At(&lambdas), work.streams(5));
        let schedule =
            switching_schedule(sequence, levels, &settings.switching, &x, &streams, &mut |_| progress(0.0))?;
        let result = switch(sequence, &schedule, &settings.switching, &x, &streams, &mut progress)?;
        Ok((schedule, result))
    })?;
    let n = before.len();
    let log_weights: Vec<f64> = before
        .iter()
        .zip(&result.work_kt)
        .map(|(before, work)| if work.is_finite() { before - work } else { f64::NEG_INFINITY })
        .collect();
    // Both energies are evaluated at every level behind the first, once per walker and once per move.
    let n_evaluations = schedule.n_energy_evaluations + result.n_energy_evaluations;
    let mut record = Record {
        n_groups: N_BLOCKS,
        n_learned_evaluations: start.record.n_learned_evaluations + n_evaluations,
        n_physical_evaluations: n_evaluations,
        ..Record::default()
    };
    let ess = effective_sample_size_log(&log_weights);
    let method = format!(
        "Kish, particles from noise to the learned energy, annealed from there to the physical one in {} levels without \
         resampling",
        settings.n_levels
    );
    record.note("ess_fraction_ais", ess / n as f64, None, "", &method);
    let per_sample = n_evaluations as f64 / n as f64;
    let method = "from the learned to the physical energy, pilot run included; each with both energies";
    record.note("physical_evaluations_per_sample_ais", per_sample, None, "", method);
    // Weights in the learned law are normalised; its log Z stands beside them.
    let log_z = carried_on(learned_log_z[0], &before, &log_weights);
    let error = delta_method(ess, n).max(learned_log_z[1]);
    let method = "log Z of the learned law by particles and the mean weight from there to the physical energy, in \
                  nm^(3n − 3); delta method, or the spread of islands where that is larger";
    record.note("log_z_physical", log_z, Some(error), "", method);
    record.seconds = begun.elapsed().as_secs_f64();
    let mut table =
        String::from("lambda,ess_fraction,acceptance,step_size,n_energy_evaluations,n_diverged\n");
    for level in &result.levels {
        let share = level.ess_without_resampling / n as f64;
        table += &format!(
            "{},{share},{},{},{},{}\n",
            level.lambda - 1.0,
            level.acceptance,
            level.step_size,
            level.n_energy_evaluations,
            level.n_diverged
        );
    }
    write_atomic(&directory.join("levels.csv"), table.as_bytes())?;
    let drawn = Drawn {
        positions_nm: energies.positions_nm(&result.x),
        log_weights: Some(log_weights),
        learned_log_weights: Some(before),
        record,
    };
    drawn.save(work, &directory, "reweighted")?;
    work.layout.finish("correct")?;
    let share = 100.0 * ess / n as f64;
    work.control.progress().end(&format!("ESS {share:.1} % at {per_sample:.0} evaluations per sample"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work of 2 kT for everyone changes log Z by −2, however many walkers there are and however weights are normalised.
    #[test]
    fn log_z_is_carried_on_without_the_number_of_walkers() {
        for (n, constant) in [(3, 0.0), (4096, -8.3), (16, 5.0)] {
            let before: Vec<f64> = (0..n).map(|k| constant + 0.1 * f64::from(k % 7)).collect();
            let after: Vec<f64> = before.iter().map(|w| w - 2.0).collect();
            assert!((carried_on(-3.3, &before, &after) + 5.3).abs() < 1e-12);
        }
        assert_eq!(delta_method(10.0, 4096), f64::INFINITY);
        assert!((delta_method(100.0, 400) - 0.75_f64.sqrt() / 10.0).abs() < 1e-12);
    }
}
