//! Points that a learned energy or field generates, each sort in its own way.

use super::config::AssessSettings;
use crate::error::Result;
use crate::model::EnergyModel;
use crate::potential::PotentialPath as _;
use crate::random::{Purpose, Streams};
use crate::sampling::{
    LocalMove, Progress, ReverseDiffusionResult, ReverseDiffusionSettings, StepSizeAdapter, Walkers,
    reverse_diffusion,
};
use crate::training::objective::Learns;

/// Langevin steps at the data end, after the flow of a potential without time.
const N_RELAXATION: usize = 200;
/// Points from noise: by reverse diffusion along the energies of all times; by the flow of a potential and Langevin steps in it; or
/// down a field.
pub(super) fn generate(
    model: &EnergyModel,
    learns: Learns,
    settings: &AssessSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<ReverseDiffusionResult> {
    let (n, n_steps) = (settings.n_samples, settings.n_steps);
    if learns == Learns::Path {
        let diffusion = ReverseDiffusionSettings { n_steps, ..Default::default() };
        return reverse_diffusion(model, model.noise(), 1.0, &diffusion, 0..n, streams, progress);
    }
    let (space, t) = (model.space(), model.range().0);
    let size = space.dimension();
    let mut x = vec![0.0; n * size];
    for (idx, x) in x.chunks_exact_mut(size).enumerate() {
        space.fill_normal(&mut streams.stream(Purpose::Start, idx as u64), x);
    }
    // For a time of one; the field of equilibrium matching is four times as long as the way, and becomes short near data.
    let step = 1.0 / n_steps as f64;
    let (times, mut u, mut gradient) = (vec![t; n], vec![0.0; n], vec![0.0; n * size]);
    for k in 0..n_steps {
        model.energies_and_gradients(&times, &x, &mut u, &mut gradient)?;
        x.iter_mut().zip(&gradient).for_each(|(x, gradient)| *x -= step * gradient);
        progress(0.5 * (k + 1) as f64 / n_steps as f64)?;
    }
    let mut n_energy_evaluations = (n * n_steps) as u64;
    if learns == Learns::DataEnd {
        let mut walkers = Walkers::new(model, x, times, streams, Purpose::Walker)?;
        let local_move = LocalMove::default();
        let mut kernel = local_move.kernel(&walkers);
        let mut adapter = StepSizeAdapter::new(0.1, local_move.target_acceptance());
        for k in 0..N_RELAXATION {
            let outcomes = kernel.step(model, &mut walkers, &vec![adapter.step_size(); n])?;
            adapter.update(crate::sampling::kernel::mean_acceptance(outcomes));
            progress(0.5 + 0.5 * (k + 1) as f64 / N_RELAXATION as f64)?;
        }
        n_energy_evaluations += walkers.n_energy_evaluations;
        x = walkers.x;
    }
    let diverged: Vec<usize> = (x.chunks_exact(size).enumerate())
        .filter(|(_, x)| x.iter().any(|x| !x.is_finite()))
        .map(|(idx, _)| idx)
        .collect();
    Ok(ReverseDiffusionResult { x, diverged, acceptance: Vec::new(), n_energy_evaluations })
}
