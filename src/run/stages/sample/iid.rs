//! Independent samples by reverse diffusion.

use crate::error::Result;
use crate::run::stages::sample::{Draw, PartRecord};
use crate::sampling::reverse_diffusion;

/// Walkers per batch: enough to keep all cores busy, few enough for a progress bar that moves.
const BATCH: usize = 4096;

pub(super) fn draw(draw: &Draw) -> Result<PartRecord> {
    let settings = &draw.context.plan.config.sample;
    let n = settings.n_samples;
    draw.context.begin("reverse diffusion", n as u64);
    let (mut x, mut record) = (Vec::new(), PartRecord::default());
    let (mut n_diverged, mut first) = (0, 0);
    while first < n {
        let walkers = first..(first + BATCH).min(n);
        let size = walkers.len() as f64;
        let done = reverse_diffusion(
            draw.model,
            draw.model.noise(),
            1.0,
            &settings.reverse_diffusion,
            walkers.clone(),
            &draw.streams,
            &mut |fraction| {
                draw.context.control.progress().advance((first as f64 + fraction * size) as u64, "");
                draw.context.check_stop()
            },
        )?;
        // What diverged is not a conformation; the others are still independent samples.
        let dimension = done.x.len() / walkers.len();
        for (idx, x_of_walker) in done.x.chunks_exact(dimension).enumerate() {
            if !done.diverged.contains(&idx) {
                x.extend_from_slice(x_of_walker);
            }
        }
        n_diverged += done.diverged.len();
        record.n_energy_evaluations += done.n_energy_evaluations;
        first = walkers.end;
    }
    draw.write("iid", &x)?;
    record.n_samples = n - n_diverged;
    record.n_groups = record.n_samples;
    record.note("iid_samples", record.n_samples as f64, "", "independent samples");
    record.note("iid_diverged", n_diverged as f64, "", "walkers left out because a step was not finite");
    draw.context.control.progress().end(&format!("{} independent samples", record.n_samples));
    Ok(record)
}
