//! One constant for all times: what remains of log Z_θ(t) is taken out of the energy.
//!
//! Score matching leaves a function of time in u_θ open, and classification between neighbouring times moves
//! it by no more than a learning rate per step, which is slow where it is hundreds of kT. But it is known: on
//! noised data the acceptance ratio (Bennett 1976) gives log Z_θ between neighbouring levels, for which
//! the classification loss is least. The parameters that add a function of time to the energy are set to it
//! by least squares.

use nalgebra::{DMatrix, DVector};

use crate::error::Result;
use crate::model::EnergyModel;
use crate::model::data::{DataPoints, GROUP, TrainingData};
use crate::potential::PotentialPath as _;
use crate::random::{Purpose, Streams};

/// Noised conformations at each level.
const N_POINTS: usize = 2048;
/// Streams of this purpose begin here, beyond those of validation.
const FIRST_STREAM: u64 = 1 << 32;

/// Makes log Z_θ the same at all times, with the noise end, or the first end of two, as it was.
pub fn calibrate(model: &mut EnergyModel, data: &TrainingData, streams: &Streams) -> Result<()> {
    let Some(offsets) = model.program.offset_parameters() else { return Ok(()) };
    let noise = *model.noise();
    let (first, last) = noise.time_range();
    let decades = 0.5 * (noise.log_snr(first) - noise.log_snr(last));
    let n_levels = n_levels(model, decades).clamp(16.0, 512.0);
    let times = noise.log_snr_grid(n_levels as usize);
    calibrate_levels(model, data, streams, &times, &offsets.collect::<Vec<_>>())
}

/// Makes log Z_θ within `reach` of the data end in log(a²/g²) what it is where the reach ends, by parameters that act nowhere else.
pub fn calibrate_data_end(
    model: &mut EnergyModel,
    reach: f64,
    data: &TrainingData,
    streams: &Streams,
) -> Result<()> {
    let Some(offsets) = model.program.offset_parameters() else { return Ok(()) };
    let acts = model.parameters_within(reach);
    let offsets: Vec<usize> = offsets.filter(|&parameter| acts[parameter]).collect();
    let noise = *model.noise();
    let n_levels = n_levels(model, 0.5 * reach).max(4.0) as usize;
    let end = noise.log_snr(noise.time_range().0);
    let times: Vec<f64> = (0..=n_levels)
        .map(|k| noise.time_at_log_snr(end - reach * (1.0 - k as f64 / n_levels as f64)))
        .collect();
    calibrate_levels(model, data, streams, &times, &offsets)
}

/// Levels over so many units of log g whose neighbours are a standard deviation of their log-ratio apart.
fn n_levels(model: &EnergyModel, length: f64) -> f64 {
    (length * (2.0 * model.degrees_of_freedom() as f64).sqrt()).ceil()
}

/// Makes log Z_θ at all of these times what it is at the first of them, by these parameters.
fn calibrate_levels(
    model: &mut EnergyModel,
    data: &TrainingData,
    streams: &Streams,
    times: &[f64],
    offsets: &[usize],
) -> Result<()> {
    let size = model.space().dimension();

    let mut free_energies = vec![0.0];
    let mut examples = vec![];
    let mut previous: Option<[Vec<f64>; 2]> = None;
    for (level, &t) in times.iter().enumerate() {
        let x = noised(data, model, t, streams, FIRST_STREAM + level as u64);
        let at = |t: f64| -> Result<Vec<f64>> {
            let mut u = vec![0.0; N_POINTS];
            model.energies(&[t; N_POINTS], &x, &mut u)?;
            Ok(u)
        };
        let own = at(t)?;
        if let Some([own_before, across]) = previous.take() {
            let forward: Vec<f64> = across.iter().zip(&own_before).map(|(a, b)| a - b).collect();
            let backward: Vec<f64> = at(times[level - 1])?.iter().zip(&own).map(|(a, b)| a - b).collect();
            free_energies.push(free_energies[level - 1] + acceptance_ratio(&forward, &backward));
        }
        if let Some(&next) = times.get(level + 1) {
            previous = Some([own, at(next)?]);
        }
        examples.extend_from_slice(&x[..size]);
    }
    if free_energies.iter().any(|f| !f.is_finite()) {
        return Ok(());
    }

    // The energy is linear in these parameters: what each adds at each level is a difference.
    let weights = model.weights().values().to_vec();
    let mut base = vec![0.0; times.len()];
    model.energies(times, &examples, &mut base)?;
    let mut added = DMatrix::zeros(times.len(), offsets.len());
    for (column, &parameter) in offsets.iter().enumerate() {
        let mut changed = weights.clone();
        changed[parameter] += 1.0;
        model.set_weights(&changed)?;
        let mut u = vec![0.0; times.len()];
        model.energies(times, &examples, &mut u)?;
        (0..u.len()).for_each(|level| added[(level, column)] = u[level] - base[level]);
    }
    let wanted = -DVector::from_vec(free_energies);
    // Splines that no level reaches stay where they are.
    let normal = added.transpose() * &added + DMatrix::identity(offsets.len(), offsets.len()) * 1e-6;
    let change = normal.cholesky().map(|factors| factors.solve(&(added.transpose() * wanted)));
    let mut calibrated = weights;
    if let Some(change) = change {
        offsets.iter().zip(&change).for_each(|(&at, change)| calibrated[at] += *change as f32);
    }
    model.set_weights(&calibrated)
}

/// Training data at time t.
fn noised(data: &TrainingData, model: &EnergyModel, t: f64, streams: &Streams, stream: u64) -> Vec<f64> {
    let (space, noise) = (data.space, model.noise());
    let (a, b, g) = (noise.scale(t), noise.partner_scale(t), noise.deviation(t));
    let mut rng = streams.stream(Purpose::Validation, stream);
    let (mut x, mut z, mut ends) = (vec![], vec![0.0; space.dimension()], DataPoints::default());
    for _ in 0..N_POINTS / GROUP {
        data.draw(GROUP, &mut rng, &mut ends);
        for (point, x0) in ends.first.chunks_exact(z.len()).enumerate() {
            space.fill_normal(&mut rng, &mut z);
            let x1 = ends.second.get(point * z.len()..(point + 1) * z.len());
            let partner = |k: usize| x1.map_or(0.0, |x1| b * x1[k]);
            x.extend(x0.iter().zip(&z).enumerate().map(|(k, (x0, z))| a * x0 + partner(k) + g * z));
        }
    }
    x
}

/// f₁ − f₀ from as many forward works u₁ − u₀ on samples of 0 as backward works u₀ − u₁ on samples of 1.
fn acceptance_ratio(forward: &[f64], backward: &[f64]) -> f64 {
    let accepted = |works: &[f64], f: f64| works.iter().map(|w| 1.0 / (1.0 + (w - f).exp())).sum::<f64>();
    let all = || forward.iter().copied().chain(backward.iter().map(|w| -w));
    let (mut low, mut high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    for _ in 0..60 {
        let f = 0.5 * (low + high);
        if accepted(forward, f) < accepted(backward, -f) { low = f } else { high = f }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::tests::{chain, model, single, training_data};

    #[test]
    fn the_acceptance_ratio_finds_a_shift() {
        // Works of Gaussian states a distance 1 apart with f₁ − f₀ = 3: ±3 + 1/2, symmetric about them.
        let spread = [-1.5, -0.5, 0.0, 0.5, 1.5];
        let forward = spread.map(|z| 3.0 + 0.5 + z);
        let backward = spread.map(|z| -3.0 + 0.5 + z);
        assert!((acceptance_ratio(&forward, &backward) - 3.0).abs() < 1e-12);
    }

    /// Whatever function of time was added to an energy before, calibration ends in the same energy; and done
    /// again with other noise it changes it by no more than the errors of the ratios.
    #[test]
    fn calibration_takes_out_any_function_of_time() {
        let data = chain(500);
        let frames = single(&data);
        let (training, streams) = (training_data(&frames), Streams::new(1));
        let mut plain = model(&data, true);
        let mut shifted = model(&data, true);
        let mut weights = shifted.weights().values().to_vec();
        let offsets = shifted.program.offset_parameters().unwrap();
        weights[offsets.clone()].iter_mut().enumerate().for_each(|(k, w)| *w += 30.0 - 7.0 * k as f32);
        shifted.set_weights(&weights).unwrap();
        let energies = |model: &EnergyModel| {
            let times = model.noise().log_snr_grid(9);
            let mut u = vec![0.0; 10];
            model.energies(&times, &data[..120], &mut u).unwrap();
            u
        };
        let far = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far(&energies(&plain), &energies(&shifted)) > 10.0);
        calibrate(&mut plain, &training, &streams).unwrap();
        calibrate(&mut shifted, &training, &streams).unwrap();
        let calibrated = energies(&plain);
        assert!(far(&calibrated, &energies(&shifted)) < 1e-2);
        // Within a reach of the data end, whatever was added there alone.
        let acts = plain.parameters_within(4.2);
        let mut weights = plain.weights().values().to_vec();
        offsets.filter(|&k| acts[k]).for_each(|k| weights[k] -= 9.0);
        shifted.set_weights(&weights).unwrap();
        assert!(far(&calibrated, &energies(&shifted)) > 1.0);
        calibrate_data_end(&mut shifted, 4.2, &training, &streams).unwrap();
        let error = far(&calibrated, &energies(&shifted));
        assert!(error > 0.0 && error < 0.2, "{error}");

        calibrate(&mut plain, &training, &Streams::new(2)).unwrap();
        let error = far(&calibrated, &energies(&plain));
        assert!(error > 0.0 && error < 0.5, "{error}");
    }
}
