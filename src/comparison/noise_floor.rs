//! What a metric says of two independent samples of one ensemble: its floor.
//!
//! All metrics here are dominated by counting noise when two ensembles are close, so a number means
//! nothing without the number that equal ensembles of the same sizes would give. The floor is measured
//! by splitting decorrelated frames of one ensemble at random, without replacement, again and again.

use super::grid::Sample;
use super::metric::Metric;
use crate::error::{Error, Result};
use crate::free_energy::Estimate;
use crate::free_energy::bootstrap::deviation;
use crate::random::{Purpose, Streams};
use nalgebra::{DMatrix, DVector};
use rand::Rng as _;
use rayon::prelude::*;

/// Fewer splits than this do not determine a spread.
pub const MIN_SPLITS: usize = 20;
/// Fewer frames than this in one half say nothing about a surface.
const MIN_FRAMES: usize = 50;
/// Sizes of the halves, as shares of all frames, from which a floor is extrapolated.
const SHARES: [f64; 5] = [0.5, 0.4, 0.3, 0.22, 0.16];

/// The floor of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseFloor {
    /// Which metric.
    pub metric: Metric,
    /// Mean over the splits; `std_error` is the standard deviation of a single split, that is, of one
    /// comparison of two equal ensembles, and not of the mean. `error_method` says how it was obtained.
    pub floor: Estimate,
    /// There were too few frames for these sizes, and the floor was extrapolated from smaller ones.
    pub extrapolated: bool,
}

impl NoiseFloor {
    /// How much a measured value lies above the floor.
    ///
    /// The error of the value and the spread of the floor are added in quadrature. Both contain the
    /// counting noise of the compared samples, so the error is on the large side.
    pub fn excess(&self, value: &Estimate) -> Estimate {
        let mut excess = value.minus(&self.floor);
        excess.error_method = format!("{}; floor: {}", value.error_method, self.floor.error_method);
        excess
    }
}

/// Floors of several metrics for samples of `n` and `m` frames.
///
/// `pooled` holds frames of one ensemble; those of `decorrelated` (all without it) are split. Where they
/// are fewer than n + m, equal halves of several smaller sizes are compared, and ln floor, fitted as a
/// quadratic in ln 1/n, is read at the harmonic mean of n and m. (A straight line in 1/n does worse:
/// bins go on being discovered as n grows. From 20,000 frames of alanine dipeptide it predicts a JS
/// floor of 0.0155 and a PMF error of −0.02 for 50,000 + 50,000, where the truth is 0.0095 and 0.11 and
/// the quadratic gives 0.0092 and 0.10.) Where they are too few even for that, the floor is not a number.
pub fn noise_floor(
    metrics: &[Metric],
    pooled: &Sample,
    decorrelated: Option<&[usize]>,
    n: usize,
    m: usize,
    n_splits: usize,
    streams: &Streams,
) -> Result<Vec<NoiseFloor>> {
    if n_splits < MIN_SPLITS {
        return Err(Error::invalid(
            "splits for a noise floor",
            format!("at least {MIN_SPLITS}"),
            n_splits.to_string(),
        ));
    }
    let all: Vec<usize>;
    let frames = match decorrelated {
        Some(frames) => frames,
        None => {
            all = (0..pooled.n_frames()).collect();
            &all
        }
    };
    if let Some(frame) = frames.iter().find(|frame| **frame >= pooled.n_frames()) {
        return Err(Error::invalid(
            "decorrelated frames",
            format!("indices below {}", pooled.n_frames()),
            frame.to_string(),
        ));
    }
    let smallest = (SHARES[SHARES.len() - 1] * frames.len() as f64) as usize;
    if n == 0 || m == 0 {
        return Err(Error::invalid("sizes for a noise floor", "at least one frame", format!("{n} and {m}")));
    }
    if frames.len() < n + m && smallest < MIN_FRAMES {
        let method = format!(
            "not known: {} decorrelated frames, at least {} are needed to extrapolate from",
            frames.len(),
            (MIN_FRAMES as f64 / SHARES[SHARES.len() - 1]).ceil()
        );
        return Ok(assembled(metrics, n.min(m), &method, false, |_| (f64::NAN, f64::NAN)));
    }
    if frames.len() >= n + m {
        let values = splits(metrics, pooled, frames, n, m, n_splits, streams);
        let method = format!(
            "mean ± standard deviation of {n_splits} random splits of {} decorrelated frames into {n} and {m}",
            frames.len()
        );
        return Ok(assembled(metrics, n.min(m), &method, false, |i| spread(&values, i)));
    }

    let sizes: Vec<usize> = SHARES.iter().map(|share| (share * frames.len() as f64) as usize).collect();
    let by_size: Vec<Vec<Vec<f64>>> = sizes
        .iter()
        .enumerate()
        .map(|(part, &size)| {
            splits(metrics, pooled, frames, size, size, n_splits, &streams.derive(part as u64))
        })
        .collect();
    let harmonic = 2.0 / (1.0 / n as f64 + 1.0 / m as f64);
    let method = format!(
        "extrapolated in 1/n to {n} and {m} frames (ln floor as a quadratic in ln 1/n) from {n_splits} random \
         splits each of {} decorrelated frames into equal halves of {sizes:?}",
        frames.len()
    );
    Ok(assembled(metrics, n.min(m), &method, true, |i| {
        let spreads: Vec<(f64, f64)> = by_size.iter().map(|values| spread(values, i)).collect();
        extrapolate(&sizes, &spreads, harmonic)
    }))
}

fn assembled(
    metrics: &[Metric],
    n_effective: usize,
    method: &str,
    extrapolated: bool,
    floor: impl Fn(usize) -> (f64, f64),
) -> Vec<NoiseFloor> {
    let each = metrics.iter().enumerate().map(|(i, metric)| {
        let (mean, deviation) = floor(i);
        let floor = Estimate::new(mean, deviation, n_effective as f64, metric.unit(), method);
        NoiseFloor { metric: *metric, floor, extrapolated }
    });
    each.collect()
}

/// `[split][metric]`.
fn splits(
    metrics: &[Metric],
    pooled: &Sample,
    frames: &[usize],
    n: usize,
    m: usize,
    n_splits: usize,
    streams: &Streams,
) -> Vec<Vec<f64>> {
    (0..n_splits)
        .into_par_iter()
        .map(|split| {
            let mut rng = streams.stream(Purpose::Floor, split as u64);
            let mut order: Vec<u32> = frames.iter().map(|&frame| frame as u32).collect();
            for i in 0..(n + m).min(order.len() - 1) {
                let other = rng.random_range(i..order.len());
                order.swap(i, other);
            }
            let (first, second) = (part(pooled, &order[..n]), part(pooled, &order[n..n + m]));
            metrics.iter().map(|metric| metric.of_samples(&first.sample(), &second.sample())).collect()
        })
        .collect()
}

/// Copies of some frames.
struct Part {
    values: Vec<f64>,
    weights: Option<Vec<f64>>,
}

impl Part {
    fn sample(&self) -> Sample<'_> {
        let sample = Sample::new(&self.values).expect("frames of a valid sample are valid");
        match &self.weights {
            Some(weights) => sample.with_weights(weights).unwrap_or(sample),
            None => sample,
        }
    }
}

fn part(pooled: &Sample, order: &[u32]) -> Part {
    let values = order.iter().flat_map(|&frame| pooled.frame(frame as usize)).collect();
    let weights =
        pooled.weights().map(|weights| order.iter().map(|&frame| weights[frame as usize]).collect());
    Part { values, weights }
}

/// Mean and standard deviation of one metric over splits.
fn spread(values: &[Vec<f64>], metric: usize) -> (f64, f64) {
    let of_metric = values.iter().map(|split| split[metric]);
    (of_metric.clone().sum::<f64>() / values.len() as f64, deviation(of_metric))
}

/// Reads ln floor, a quadratic in ln n, at another size.
///
/// The spread of a single comparison is taken to stay the same share of the floor; to it is added, in
/// quadrature, how much a straight line in place of the quadratic would change the result.
fn extrapolate(sizes: &[usize], spreads: &[(f64, f64)], size: f64) -> (f64, f64) {
    let read = |degree: i32| {
        let x: Vec<f64> = sizes.iter().map(|n| (*n as f64 / size).ln()).collect();
        let design = DMatrix::from_fn(x.len(), degree as usize + 1, |i, j| x[i].powi(j as i32));
        let values = DVector::from_iterator(x.len(), spreads.iter().map(|(mean, _)| mean.ln()));
        // At the size itself ln n is 0, so that the first coefficient is the answer.
        design.svd(true, true).solve(&values, 1e-12).map_or(f64::NAN, |fit| fit[0].exp())
    };
    let (quadratic, straight) = (read(2), read(1));
    let relative = spreads[0].1 / spreads[0].0;
    (quadratic, (relative * quadratic).hypot(quadratic - straight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::fill_normal;

    fn gaussian(n: usize) -> Vec<f64> {
        let mut values = vec![0.0; 2 * n];
        fill_normal(&mut Streams::new(23).stream(Purpose::Walker, 0), &mut values);
        values.iter().map(|z| 0.5 * z).collect()
    }

    #[test]
    fn a_few_bins_have_the_floor_of_chi_squared() {
        // Sixteen equal cells, at the centres of as many bins: E[JS] = 15/8 (1/n + 1/m).
        let n = 40_000;
        let values: Vec<f64> =
            (0..n).flat_map(|i| [f64::from(i % 4) * 0.5, f64::from(i / 4 % 4) * 0.5]).collect();
        let pooled = Sample::new(&values).unwrap();
        let metrics = [Metric::JensenShannonPeriodic];
        let floor =
            &noise_floor(&metrics, &pooled, None, 3000, 9000, 400, &Streams::new(0)).unwrap()[0].floor;
        // Drawn without replacement from a pool, two parts are still multinomial relative to each other.
        let exact = 15.0 / 8.0 * (1.0 / 3000.0 + 1.0 / 9000.0);
        let exact_deviation = exact * (2.0_f64 / 15.0).sqrt();
        assert!((floor.value - exact).abs() < 4.0 * exact_deviation / 20.0, "{floor}");
        assert!((floor.std_error / exact_deviation - 1.0).abs() < 0.15, "{floor}");
    }

    #[test]
    fn the_extrapolated_floor_is_the_measured_one() {
        let values = gaussian(40_000);
        let pooled = Sample::new(&values).unwrap();
        let few: Vec<usize> = (0..16_000).collect();
        let streams = Streams::new(1);
        let measured = noise_floor(&Metric::ALL, &pooled, None, 20_000, 20_000, 20, &streams).unwrap();
        let guessed = noise_floor(&Metric::ALL, &pooled, Some(&few), 20_000, 20_000, 20, &streams).unwrap();
        for (measured, guessed) in measured.iter().zip(&guessed) {
            assert!(!measured.extrapolated && guessed.extrapolated);
            assert!(guessed.floor.error_method.contains("extrapolated in 1/n"));
            let ratio = guessed.floor.value / measured.floor.value;
            assert!(
                (ratio - 1.0).abs() < 0.08,
                "{:?}: {} {}",
                measured.metric,
                guessed.floor,
                measured.floor
            );
        }
    }

    #[test]
    fn the_excess_of_equal_ensembles_is_nothing() {
        let values = gaussian(12_000);
        let pooled = Sample::new(&values).unwrap();
        let metrics = [Metric::JensenShannon];
        let floor = &noise_floor(&metrics, &pooled, None, 6000, 6000, 20, &Streams::new(2)).unwrap()[0];
        let (a, b) = (Sample::new(&values[..12_000]).unwrap(), Sample::new(&values[12_000..]).unwrap());
        let value = Estimate::new(metrics[0].of_samples(&a, &b), 0.0, 6000.0, "1", "none");
        let excess = floor.excess(&value);
        assert!(excess.value.abs() < 4.0 * excess.std_error, "{excess}");
    }

    #[test]
    fn too_little_has_no_floor_and_threads_change_nothing() {
        let values = gaussian(3000);
        let pooled = Sample::new(&values).unwrap();
        let floor = |n, splits| noise_floor(&Metric::ALL, &pooled, None, n, n, splits, &Streams::new(3));
        assert!(floor(1000, 5).is_err() && floor(0, 20).is_err());
        let few: Vec<usize> = (0..100).collect();
        let unknown = noise_floor(&Metric::ALL, &pooled, Some(&few), 90, 90, 20, &Streams::new(3)).unwrap();
        let known = |floor: &NoiseFloor| !floor.floor.value.is_nan();
        assert!(
            !unknown.iter().any(known) && unknown[0].floor.error_method.contains("100 decorrelated frames")
        );
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(alone.install(|| floor(1000, 20).unwrap()), floor(1000, 20).unwrap());
    }
}
