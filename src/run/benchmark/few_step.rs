//! Samples against network calls: few-step generators beside the diffusion of the energy that they belong to.
//!
//! On the plane the Jensen–Shannon divergence is that of histograms of 64 × 64 bins over the extremes of exact points, with
//! one more bin on either side for all that lies further out; its floor is that of a second set of as many exact points.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::table::worst;
use super::{Plan, Trained};
use crate::comparison::grid::{Grid, Sample};
use crate::comparison::jensen_shannon::jensen_shannon;
use crate::error::Result;
use crate::model::EnergyModel;
use crate::model::data::TrainingData;
use crate::potential::{Piece, PotentialPath as _, Route, Sequence};
use crate::random::Streams;
use crate::report::figure::Color;
use crate::report::figure::lines::{Line, LineChart, rows_of_charts};
use crate::report::page::{self, Section};
use crate::run::directory::write_atomic;
use crate::run::summary::{all_finite, all_or_nan, finite, or_nan};
use crate::sampling::{
    ParticleDiffusionSettings, Progress, ReverseDiffusionSettings, particle_diffusion, reverse_diffusion,
};
use crate::training::amortised::{AmortisedSettings, Energy, Generators, recover, train_by_energy_score};

/// Points by one sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// For people.
    pub sampler: String,
    /// Network calls per point.
    pub n_calls: usize,
    /// Divergence from exact points; not a number but on the plane.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub jensen_shannon: f64,
    /// The same of exact points.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub noise_floor: f64,
    /// Weights of the modes among the points.
    #[serde(serialize_with = "all_finite", deserialize_with = "all_or_nan")]
    pub weights: Vec<f64>,
    /// Their largest error.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub weight_error: f64,
    /// Wall clock of the points.
    pub seconds: f64,
}

/// Points of each sampler, times those of the assessment: of 100,000 a divergence of 0.01 above the floor is seen to 3 %.
pub const POINTS_PER_SAMPLE: usize = 25;
/// Steps of the reverse diffusion.
const N_STEPS: [usize; 5] = [5, 10, 20, 50, 100];
/// Particles need memory for all of them at once.
const MOST_PARTICLES: usize = 65_536;
/// Bins along each axis over the extremes of exact points.
const N_BINS: usize = 64;

/// Trains generators after an energy, and compares `n` of their points with those of its reverse diffusion.
pub fn compare(
    problem: &Problem,
    mut model: EnergyModel,
    frames: &[f32],
    settings: &AmortisedSettings,
    n: usize,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<Vec<Sampled>> {
    let noise = *model.noise();
    let exact = problem.sample(n, &streams.derive(1));
    let other = problem.sample(n, &streams.derive(2));
    let d = problem.dimension();
    let weighted = |sampler: &str, n_calls: usize, seconds: f64, x: &[f64], shares: Option<&[f64]>| {
        // What is no number is in no mode.
        let points = || x.chunks_exact(d).enumerate().filter(|(_, x)| x.iter().all(|x| x.is_finite()));
        let share = |idx: usize| shares.map_or(1.0, |shares| shares[idx]);
        let total: f64 = points().map(|(idx, _)| share(idx)).sum();
        let mut weights = vec![0.0; problem.modes.len()];
        points().for_each(|(idx, x)| weights[problem.mode(x)] += share(idx) / total);
        // Resampled particles stand at one place several times, and weighted ones count as fewer.
        let n_effective = shares.map_or(x.len() / d, |shares| effective_number(x, d, shares));
        let errors = weights.iter().zip(&problem.weights).map(|(a, b)| (a - b).abs());
        Ok::<_, crate::error::Error>(Sampled {
            sampler: sampler.into(),
            n_calls,
            jensen_shannon: divergence(&exact, x, shares, d)?,
            noise_floor: divergence(&exact, &other[..n_effective * d], None, d)?,
            weight_error: worst(errors),
            weights,
            seconds,
        })
    };
    let against =
        |sampler: &str, n_calls: usize, seconds: f64, x: &[f64]| weighted(sampler, n_calls, seconds, x, None);
    let mut all = Vec::new();
    for (idx, n_steps) in N_STEPS.into_iter().enumerate() {
        let start = Instant::now();
        let diffusion = ReverseDiffusionSettings { n_steps, ..Default::default() };
        let own = streams.derive(10 + idx as u64);
        let drawn = reverse_diffusion(&model, &noise, 1.0, &diffusion, 0..n, &own, &mut |f| {
            progress(0.2 * (idx as f64 + f) / N_STEPS.len() as f64)
        })?;
        all.push(against("reverse diffusion", n_steps, start.elapsed().as_secs_f64(), &drawn.x)?);
    }
    // The same steps as proposals, with weights that correct them.
    let sequence = Sequence::new(vec![Piece { path: &model, route: Route::LogSnr { noise } }])?;
    for (idx, n_steps) in N_STEPS.into_iter().take(4).enumerate() {
        let start = Instant::now();
        let mut diffusion = ParticleDiffusionSettings { n_steps, ..Default::default() };
        let n_islands = diffusion.particles.n_islands;
        diffusion.particles.n_particles = (n.min(MOST_PARTICLES) / n_islands).max(1) * n_islands;
        diffusion.particles.n_moves = 0;
        let own = streams.derive(20 + idx as u64);
        let drawn = particle_diffusion(&sequence, noise, 1.0, &diffusion, &own, &mut |_| progress(0.2))?;
        let largest = drawn.log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = drawn.log_weights.iter().map(|w| (w - largest).exp()).collect();
        let seconds = start.elapsed().as_secs_f64();
        all.push(weighted("particles with weights", n_steps + 1, seconds, &drawn.x, Some(&shares))?);
    }
    drop(sequence);
    let data = TrainingData::of_frames(model.space(), frames);
    let mut generators = Generators::initial(settings, model.space(), noise, &streams.derive(3))?;
    let last = if settings.recovery.is_some() { 0.6 } else { 1.0 };
    let warm = &settings.warm_start;
    train_by_energy_score(&mut generators, &data, warm, &streams.derive(4), &mut |f| {
        progress(0.2 + (last - 0.2) * f)
    })?;
    let points = |name: &str, generators: &Generators| {
        let start = Instant::now();
        let x = generators.sample(n, &streams.derive(5));
        against(name, generators.n_calls(), start.elapsed().as_secs_f64(), &x)
    };
    all.push(points("generators, energy score", &generators)?);
    if let Some(settings) = &settings.recovery {
        let is_learned = settings.energy_rate > 0.0;
        let name = if is_learned { "generators, recovery" } else { "generators, recovery of the energy" };
        let mut energy = if is_learned { Energy::Learned(&mut model) } else { Energy::Frozen(&model) };
        let own = streams.derive(6);
        recover(&mut generators, &mut energy, &data, settings, &own, &mut |f| progress(0.6 + 0.4 * f))?;
        all.push(points(name, &generators)?);
    }
    Ok(all)
}

/// How many different points a weighted set is worth: Kish's number, and not more than there are places.
fn effective_number(x: &[f64], d: usize, shares: &[f64]) -> usize {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    let mut places: Vec<u64> = x.iter().step_by(d).map(|x| x.to_bits()).collect();
    places.sort_unstable();
    places.dedup();
    ((sum * sum / squares) as usize).clamp(1, places.len().max(1))
}

/// Of exact points and others on the plane, which may have weights.
fn divergence(exact: &[f64], x: &[f64], shares: Option<&[f64]>, dimension: usize) -> Result<f64> {
    if dimension != 2 || shares.is_some_and(|shares| shares.iter().any(|share| !share.is_finite())) {
        return Ok(f64::NAN);
    }
    let mut ranges = [(f64::INFINITY, f64::NEG_INFINITY); 2];
    for point in exact.chunks_exact(2) {
        for (range, x) in ranges.iter_mut().zip(point) {
            *range = (range.0.min(*x), range.1.max(*x));
        }
    }
    let step = ranges.map(|(low, high)| (high - low) / N_BINS as f64);
    let wide = [0, 1].map(|axis| (ranges[axis].0 - step[axis], ranges[axis].1 + step[axis]));
    let grid = Grid::spanning(wide, N_BINS + 2);
    // What is further out, or is no number, is in the outermost bins.
    let inside = |x: &[f64]| -> Vec<f64> {
        let place = |(idx, x): (usize, &f64)| {
            let (low, high) = wide[idx % 2];
            if x.is_finite() { x.clamp(low, high) } else { low }
        };
        x.iter().enumerate().map(place).collect()
    };
    let (exact, x) = (inside(exact), inside(x));
    let (exact, mut x) = (Sample::new(&exact)?, Sample::new(&x)?);
    if let Some(shares) = shares {
        x = x.with_weights(shares)?;
    }
    Ok(jensen_shannon(&grid.histogram(&exact), &grid.histogram(&x)))
}

/// Writes `few_step.csv`, where any method has generators.
pub(super) fn write_csv(all: &[Trained], directory: &Path) -> Result<()> {
    let mut csv = String::from(
        "problem,method,seed,sampler,n_calls,jensen_shannon,noise_floor,excess,weight_error,seconds\n",
    );
    let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
    let mut is_empty = true;
    for row in all {
        for found in row.assessment.iter().flat_map(|assessment| &assessment.few_step) {
            is_empty = false;
            let excess = found.jensen_shannon - found.noise_floor;
            let numbers =
                [found.jensen_shannon, found.noise_floor, excess, found.weight_error, found.seconds];
            let numbers = numbers.map(number).join(",");
            // Names of samplers have commas.
            let _ = writeln!(
                csv,
                "{},{},{},\"{}\",{},{numbers}",
                row.problem, row.method, row.seed, found.sampler, found.n_calls
            );
        }
    }
    if is_empty { Ok(()) } else { write_atomic(&directory.join("few_step.csv"), csv.as_bytes()) }
}

/// A figure and a table of the first seed of each method that has generators.
pub(super) fn show(section: &mut Section, plan: &Plan, all: &[Trained], problem: &str) {
    let header = ["Method", "sampler", "calls", "JS", "floor", "excess", "weights", "time / s"];
    let caption = "Points against network calls, first seed";
    let mut cells = page::Table::new(caption, header).with_words(0).with_words(1);
    let mut chart = LineChart::new(
        "Divergence above the floor",
        "network calls per point",
        "excess of the JS divergence",
    );
    let of_problem = || all.iter().filter(|row| row.problem == problem && row.seed == 1);
    for (idx, method) in plan.config.methods.iter().enumerate() {
        let Some(row) = of_problem().find(|row| row.method == method.name) else { continue };
        let Some(assessment) = row.assessment.as_ref().filter(|found| !found.few_step.is_empty()) else {
            continue;
        };
        let mut samplers: Vec<&str> =
            assessment.few_step.iter().map(|found| found.sampler.as_str()).collect();
        samplers.dedup();
        for (k, sampler) in samplers.into_iter().enumerate() {
            let of = assessment.few_step.iter().filter(|found| found.sampler == sampler);
            let excess = |found: &Sampled| found.jensen_shannon - found.noise_floor;
            let points: Vec<(f64, f64)> = of
                .map(|found| (found.n_calls as f64, excess(found)))
                .filter(|(_, excess)| excess.is_finite())
                .collect();
            if !points.is_empty() {
                let label = format!("{}: {sampler}", method.label);
                chart.lines.push(Line::new(label, points, Color::Series(4 * idx + k)).with_dots());
            }
        }
        for found in &assessment.few_step {
            let number = |value: f64| if value.is_finite() { format!("{value:.4}") } else { "–".into() };
            cells.rows.push(vec![
                method.label.clone(),
                found.sampler.clone(),
                found.n_calls.to_string(),
                number(found.jensen_shannon),
                number(found.noise_floor),
                number(found.jensen_shannon - found.noise_floor),
                number(found.weight_error),
                format!("{:.1}", found.seconds),
            ]);
        }
    }
    if cells.rows.is_empty() {
        return;
    }
    if !chart.is_empty() {
        let figure =
            rows_of_charts(&format!("few_step_{problem}"), "Divergence against network calls", &[chart], 1);
        section.figure(
            figure,
            "Of the first seed. Reverse diffusion by the energy, the same steps as proposals of particles with weights, and generators of few calls.",
        );
    }
    section.table(cells);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::benchmark::problem::ProblemSettings;

    #[test]
    fn the_divergence_is_at_the_floor_for_the_law_and_not_for_a_gaussian() {
        let problem =
            ProblemSettings::Checkerboard { n_squares: 4 }.problems("problems[0]").unwrap().remove(0);
        let [a, b] = [1, 2].map(|seed| problem.sample(50_000, &Streams::new(seed)));
        let floor = divergence(&a, &b, None, 2).unwrap();
        // Counting noise of about 2600 occupied bins: (2600 − 1)/8 · 2/50,000.
        assert!((floor - 0.013).abs() < 0.003, "{floor}");
        let mut z = vec![0.0; 100_000];
        crate::random::fill_normal(&mut Streams::new(3).stream(crate::random::Purpose::Start, 0), &mut z);
        z[7] = f64::NAN;
        let far = divergence(&a, &z, None, 2).unwrap();
        assert!(far > 0.2, "{far}");
        assert!(divergence(&a, &z, None, 4).unwrap().is_nan());
        // Weights of one and nothing are half of the points.
        let shares: Vec<f64> = (0..50_000).map(|k| f64::from(k % 2)).collect();
        let half: Vec<f64> = b.chunks_exact(2).skip(1).step_by(2).flatten().copied().collect();
        let [by_weight, alone] = [divergence(&a, &b, Some(&shares), 2), divergence(&a, &half, None, 2)];
        assert!((by_weight.unwrap() - alone.unwrap()).abs() < 1e-12);
        assert_eq!(effective_number(&b, 2, &shares), 25_000);
        assert_eq!(effective_number(&[1.0, 0.0, 1.0, 0.0], 2, &[1.0, 1.0]), 1);
    }
}
