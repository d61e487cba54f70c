//! How good a learned energy is where the law is known.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::config::AssessSettings;
use super::few_step::Sampled;
use super::generate::generate;
use super::problem::Problem;
use super::table::worst;
use crate::comparison::wasserstein::wasserstein_1;
use crate::error::Result;
use crate::model::EnergyModel;
use crate::potential::analytic::DiffusedMixture;
use crate::potential::{PotentialPath, log_sum_exp};
use crate::random::{Purpose, Streams, fill_normal};
use crate::run::summary::{all_finite, all_or_nan, finite, or_nan};
use crate::sampling::{Progress, effective_sample_size_log};
use crate::training::objective::Learns;

/// What is said of one training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// By noise level, from the data end.
    pub levels: Vec<Level>,
    /// Variance of log p_θ − log p over points and levels together, kT²: 0 for an energy with one constant for all times.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub joint_variance: f64,
    /// The same without its part between levels: what score matching leaves even within one level.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub variance_within_levels: f64,
    /// Weights of the modes by the energy at the data end.
    #[serde(serialize_with = "all_finite", deserialize_with = "all_or_nan")]
    pub weights: Vec<f64>,
    /// The largest error of these weights.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub weight_error: f64,
    /// Modes with at least a fifth and at most five times of their weight by the energy.
    pub n_modes_by_energy: usize,
    /// log ∫ exp(−u_θ) at the data end, which is 0 for the law itself.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub log_z: f64,
    /// Weights of the modes among points of reverse diffusion.
    #[serde(serialize_with = "all_finite", deserialize_with = "all_or_nan")]
    pub sample_weights: Vec<f64>,
    /// The largest error of these weights.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub sample_weight_error: f64,
    /// Walkers of the reverse diffusion whose step was not finite; they are not among the points.
    #[serde(default)]
    pub n_diverged: usize,
    /// Modes with at least a fifth of their share of the points.
    pub n_modes_found: usize,
    /// Relative entropy of the weights of the modes, of points from the law to those generated, nat.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub kl_of_modes: f64,
    /// Squared maximum mean discrepancy of generated and exact points, unbiased.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub mmd_squared: f64,
    /// Mean Wasserstein-1 distance along random directions.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub sliced_wasserstein: f64,
    /// Samples in few network calls; none where the method has no generators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub few_step: Vec<Sampled>,
}

impl Assessment {
    /// Whether training left nothing of a law: no walker stayed finite, or the energy is wrong by more than 1000 kT, when even
    /// one that learned nothing is wrong by some tens.
    pub fn is_diverged(&self, n_samples: usize) -> bool {
        const LARGEST_VARIANCE: f64 = 1e6;
        // What generates without a density has neither levels nor a variance.
        let is_wrong = self.joint_variance.is_nan() || self.joint_variance > LARGEST_VARIANCE;
        self.n_diverged >= n_samples || (is_wrong && !self.levels.is_empty())
    }
}

/// One noise level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// t.
    pub t: f64,
    /// log(a²/g²).
    pub log_snr: f64,
    /// E|s_θ − s|²/d, times the variance c² of x_t per coordinate.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub fisher_divergence: f64,
    /// Kish's effective share of exact points with the weights p_θ/p.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub ess: f64,
    /// Mean of log p_θ − log p.
    #[serde(serialize_with = "finite", deserialize_with = "or_nan")]
    pub mean_difference: f64,
}

/// Directions of the sliced distance.
const N_DIRECTIONS: usize = 64;
/// Points of each set in the discrepancy, which costs their number squared.
const N_DISCREPANCY: usize = 1000;

/// Compares a learned energy with the law of a problem.
///
/// An energy of the data end alone has only that level; what generates without a density has points and nothing else.
pub fn assess(
    problem: &Problem,
    model: &EnergyModel,
    learns: Learns,
    settings: &AssessSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<Assessment> {
    let noise = *model.noise();
    let exact = problem.path(noise);
    let (d, n) = (problem.dimension(), settings.n_points);
    let mut times = noise.log_snr_grid(settings.n_levels - 1);
    times.reverse();
    // Without time there is the data end alone.
    if learns != Learns::Path {
        times.truncate(1);
    }
    let (mut u, mut gradient) = ([vec![0.0; n], vec![0.0; n]], [vec![0.0; n * d], vec![0.0; n * d]]);
    let mut levels = Vec::with_capacity(times.len());
    let mut variances = Vec::with_capacity(times.len());
    for (level, &t) in times.iter().enumerate() {
        let own = streams.derive(level as u64);
        let mut x = vec![0.0; n * d];
        for (idx, x) in x.chunks_exact_mut(d).enumerate() {
            exact.sample(t, &mut own.stream(Purpose::Validation, idx as u64), x);
        }
        let paths: [&dyn PotentialPath; 2] = [model, &exact];
        for ((path, u), gradient) in paths.into_iter().zip(&mut u).zip(&mut gradient) {
            path.energies_and_gradients(&vec![t; n], &x, u, gradient)?;
        }
        let squares: f64 = gradient[0].iter().zip(&gradient[1]).map(|(a, b)| (a - b).powi(2)).sum();
        let differences: Vec<f64> = u[1].iter().zip(&u[0]).map(|(exact, learned)| exact - learned).collect();
        let mean = differences.iter().sum::<f64>() / n as f64;
        variances.push(differences.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64);
        levels.push(Level {
            t,
            log_snr: noise.log_snr(t),
            fisher_divergence: noise.total_variance(t) * squares / (n * d) as f64,
            ess: effective_sample_size_log(&differences) / n as f64,
            mean_difference: mean,
        });
        progress(0.5 * (level + 1) as f64 / times.len() as f64)?;
    }
    let n_levels = levels.len() as f64;
    let mean = levels.iter().map(|level| level.mean_difference).sum::<f64>() / n_levels;
    let between = levels.iter().map(|level| (level.mean_difference - mean).powi(2)).sum::<f64>() / n_levels;
    let variance_within_levels = variances.iter().sum::<f64>() / n_levels;

    // The mass of a mode, ∫ exp(−u_θ) r_k with r_k = w_k p_k/p its share of the law at each point, by points of the mode:
    // where modes overlap, exp(−u_θ)/p_k would give the mass of all of them.
    let data_end = times[0];
    let own = streams.derive(1000);
    let mut log_masses = Vec::with_capacity(problem.modes.len());
    for (idx, mode) in problem.modes.iter().enumerate() {
        let mut x = vec![0.0; n * d];
        let own = own.derive(idx as u64);
        let noised = DiffusedMixture::new(mode.clone(), noise);
        for (point, x) in x.chunks_exact_mut(d).enumerate() {
            noised.sample(data_end, &mut own.stream(Purpose::Validation, point as u64), x);
        }
        model.energies(&vec![data_end; n], &x, &mut u[0])?;
        exact.energies(&vec![data_end; n], &x, &mut u[1])?;
        let log_weights: Vec<f64> = u[1].iter().zip(&u[0]).map(|(exact, learned)| exact - learned).collect();
        log_masses.push(problem.weights[idx].ln() + log_sum_exp(&log_weights) - (n as f64).ln());
    }
    let log_z = log_sum_exp(&log_masses);
    let weights: Vec<f64> = log_masses.iter().map(|log| (log - log_z).exp()).collect();

    let own = streams.derive(2000);
    let drawn = generate(model, learns, settings, &own, &mut |f| progress(0.5 + 0.4 * f))?;
    let mut samples = Vec::with_capacity(drawn.x.len());
    for (idx, x) in drawn.x.chunks_exact(d).enumerate() {
        // A walker whose step was not finite stands where it was, on the way.
        if !drawn.diverged.contains(&idx) {
            samples.extend_from_slice(x);
        }
    }
    let n_samples = (samples.len() / d).max(1) as f64;
    let mut sample_weights = vec![0.0; problem.modes.len()];
    samples.chunks_exact(d).for_each(|x| sample_weights[problem.mode(x)] += 1.0 / n_samples);
    let reference = problem.sample(settings.n_samples, &streams.derive(3000));
    let error = |found: &[f64]| worst(found.iter().zip(&problem.weights).map(|(a, b)| (a - b).abs()));
    let within = |found: &[f64], most: f64| {
        let is_there = |(found, weight): &(&f64, &f64)| **found > 0.2 * **weight && **found < most * **weight;
        found.iter().zip(&problem.weights).filter(is_there).count()
    };
    // A mode without any point counts as one with half a point.
    let kl = |(weight, found): (&f64, &f64)| weight * (weight / found.max(0.5 / n_samples)).ln();
    let mmd_squared = discrepancy(&samples, &reference, d);
    let sliced_wasserstein = sliced(&samples, &reference, d, &streams.derive(4000))?;
    progress(1.0)?;
    let mut found = Assessment {
        joint_variance: variance_within_levels + between,
        variance_within_levels,
        weight_error: error(&weights),
        n_modes_by_energy: within(&weights, 5.0),
        weights,
        log_z,
        sample_weight_error: error(&sample_weights),
        n_modes_found: within(&sample_weights, f64::INFINITY),
        kl_of_modes: problem.weights.iter().zip(&sample_weights).map(kl).sum(),
        sample_weights,
        n_diverged: drawn.diverged.len(),
        mmd_squared,
        sliced_wasserstein,
        few_step: Vec::new(),
        levels,
    };
    // What generates without a density has no numbers of one.
    if learns == Learns::Generator {
        found.levels.clear();
        found.weights.clear();
        found.n_modes_by_energy = 0;
        for value in [
            &mut found.joint_variance,
            &mut found.variance_within_levels,
            &mut found.weight_error,
            &mut found.log_z,
        ] {
            *value = f64::NAN;
        }
    }
    Ok(found)
}

/// Unbiased squared maximum mean discrepancy (Gretton et al. 2012) with a Gaussian kernel of the width of the data.
fn discrepancy(a: &[f64], b: &[f64], d: usize) -> f64 {
    let points =
        |x: &[f64]| -> Vec<Vec<f64>> { x.chunks_exact(d).take(N_DISCREPANCY).map(<[f64]>::to_vec).collect() };
    let (a, b) = (points(a), points(b));
    if a.len() < 2 || b.len() < 2 {
        return f64::NAN;
    }
    // Pairs of points of unit variance are 2 d apart, squared.
    let kernel = |x: &[f64], y: &[f64]| {
        let square: f64 = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum();
        (-square / (2.0 * d as f64)).exp()
    };
    let within = |points: &[Vec<f64>]| {
        let n = points.len();
        let sum: f64 = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| kernel(&points[i], &points[j]))
            .sum();
        2.0 * sum / (n * (n - 1)) as f64
    };
    let across: f64 = a.iter().flat_map(|x| b.iter().map(move |y| (x, y))).map(|(x, y)| kernel(x, y)).sum();
    within(&a) + within(&b) - 2.0 * across / (a.len() * b.len()) as f64
}

/// Mean Wasserstein-1 distance of projections onto random directions.
fn sliced(a: &[f64], b: &[f64], d: usize, streams: &Streams) -> Result<f64> {
    if a.is_empty() {
        return Ok(f64::NAN);
    }
    let mut rng = streams.stream(Purpose::Validation, 0);
    let mut sum = 0.0;
    for _ in 0..N_DIRECTIONS {
        let mut direction = vec![0.0; d];
        fill_normal(&mut rng, &mut direction);
        let norm = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
        let along = |x: &[f64]| -> Vec<f64> {
            let dot = |x: &[f64]| x.iter().zip(&direction).map(|(x, e)| x * e).sum::<f64>() / norm;
            x.chunks_exact(d).map(dot).collect()
        };
        sum += wasserstein_1(&along(a), None, &along(b), None)?;
        // So that one direction more or less changes no other.
        let _: f64 = rng.random();
    }
    Ok(sum / N_DIRECTIONS as f64)
}
