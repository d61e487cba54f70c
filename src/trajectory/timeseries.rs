//! How many independent values a correlated series is worth.
//!
//! The statistical inefficiency g = 1 + 2 Σ_{t≥1} (1 − t/N) C(t), with C the normalised
//! autocorrelation, is how many successive values count as one. The sum ends where C first falls to
//! zero, beyond which it is noise (Chodera et al., J. Chem. Theory Comput. 3, 26, 2007, section 2.4).

use crate::error::{Error, Result};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Lags that are summed whatever their sign, so that an anticorrelated start does not end the sum.
const MINIMAL_LAG: usize = 3;

/// Lags that are summed directly before a Fourier transform pays.
const DIRECT_LAGS: usize = 48;

/// g ≥ 1 of a series in order of time; its effective sample size is N / g.
///
/// A series that never changes says nothing about its correlation time and counts as one value: g = N.
pub fn statistical_inefficiency(series: &[f64]) -> f64 {
    let n = series.len();
    let Some((mean, variance)) = moments(series) else { return (n as f64).max(1.0) };
    let mut g = 1.0;
    let about: Vec<f64> = series.iter().map(|x| x - mean).collect();
    let mut products = Vec::new();
    for lag in 1..n.saturating_sub(1) {
        let sum = if lag <= DIRECT_LAGS {
            about[lag..].iter().zip(&about).map(|(x, y)| x * y).sum()
        } else {
            if products.is_empty() {
                products = lagged_products(series, mean);
            }
            products[lag]
        };
        let value = sum / ((n - lag) as f64 * variance);
        if value <= 0.0 && lag > MINIMAL_LAG {
            break;
        }
        g += 2.0 * value * (1.0 - lag as f64 / n as f64);
    }
    g.max(1.0)
}

/// Mean and variance; `None` for a series that never changes, or of fewer than two values.
fn moments(series: &[f64]) -> Option<(f64, f64)> {
    let n = series.len() as f64;
    let mean = series.iter().sum::<f64>() / n;
    let variance = series.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let scale = series.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    (series.len() > 1 && variance.is_finite() && variance > (1e-14 * scale).powi(2))
        .then_some((mean, variance))
}

/// Σ_i (x_i − mean)(x_{i+t} − mean) for t = 0 … N − 1, by the theorem of Wiener and Khinchin.
fn lagged_products(series: &[f64], mean: f64) -> Vec<f64> {
    let n = series.len();
    // Zeros behind the data keep its end from meeting its start.
    let size = (2 * n).next_power_of_two();
    let mut buffer: Vec<Complex<f64>> = series.iter().map(|x| Complex::new(x - mean, 0.0)).collect();
    buffer.resize(size, Complex::default());
    let mut planner = FftPlanner::new();
    planner.plan_fft_forward(size).process(&mut buffer);
    buffer.iter_mut().for_each(|value| *value = Complex::new(value.norm_sqr(), 0.0));
    planner.plan_fft_inverse(size).process(&mut buffer);
    buffer[..n].iter().map(|value| value.re / size as f64).collect()
}

/// g of several series of one quantity in one state, from their pooled correlation about a common mean.
///
/// Runs that remain in different places see this in a g that none of them shows alone.
pub fn statistical_inefficiency_of_several(series: &[&[f64]]) -> f64 {
    let total: usize = series.iter().map(|series| series.len()).sum();
    let longest = series.iter().map(|series| series.len()).max().unwrap_or(0);
    let mean = series.iter().flat_map(|series| series.iter()).sum::<f64>() / total as f64;
    let square = series.iter().flat_map(|series| series.iter()).map(|x| (x - mean).powi(2)).sum::<f64>();
    let scale = series.iter().flat_map(|series| series.iter()).fold(0.0_f64, |top, x| top.max(x.abs()));
    if longest < 2 || square / total as f64 <= (1e-14 * scale).powi(2) {
        return (total as f64).max(1.0);
    }
    let sums: Vec<Vec<f64>> = series.iter().map(|series| lagged_products(series, mean)).collect();
    let mut g = 1.0;
    for lag in 1..longest - 1 {
        let pairs = series.iter().map(|series| series.len().saturating_sub(lag)).sum::<usize>() as f64;
        let products = sums.iter().filter_map(|sum| sum.get(lag)).sum::<f64>();
        let value = products / pairs / (square / total as f64);
        if value <= 0.0 && lag > MINIMAL_LAG {
            break;
        }
        // Each series has (1 − t/N) N pairs.
        g += 2.0 * value * pairs / total as f64;
    }
    g.max(1.0)
}

/// Indices of values that are g apart: 0, g, 2 g, … rounded, halves to even.
pub fn decorrelated_indices(n: usize, inefficiency: f64) -> Vec<usize> {
    let step = inefficiency.max(1.0);
    (0..).map(|k| (k as f64 * step).round_ties_even() as usize).take_while(|&idx| idx < n).collect()
}

/// Where equilibrium begins in a series, and what the rest is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Equilibration {
    /// Values before this one are left out.
    pub start: usize,
    /// Statistical inefficiency of the rest.
    pub inefficiency: f64,
    /// Independent values in the rest.
    pub n_effective: f64,
    /// By how many standard deviations the straight line through the rest rises from its beginning to its end.
    pub drift: f64,
    /// The same in standard errors of that rise.
    pub drift_significance: f64,
}

impl Equilibration {
    /// Whether the rest still drifts: a rise of more than one standard deviation that is no accident.
    pub fn drifts(&self) -> bool {
        self.drift.abs() > DRIFT_DEVIATIONS && self.drift_significance.abs() > DRIFT_SIGNIFICANCE
    }
}

/// Rise of a drift, in standard deviations about it.
const DRIFT_DEVIATIONS: f64 = 1.0;
/// Rise of a drift, in standard errors. High, because the correlation time of a short series is uncertain.
const DRIFT_SIGNIFICANCE: f64 = 5.0;
/// Values farther than this many deviations from the median are drawn in to there.
const CLIP_DEVIATIONS: f64 = 6.0;
/// A later beginning must be worth more effective samples than all by this many times the scatter of that number:
/// the largest of many noisy estimates is too large, and its g too small.
const WORTHWHILE_SCATTER: f64 = 2.0;

/// Relative standard deviation of an estimate of g from n values, √(2 (2 W + 1) / n) with a window of W ≈ g lags.
pub fn inefficiency_scatter(inefficiency: f64, n: usize) -> f64 {
    (2.0 * (2.0 * inefficiency + 1.0) / n as f64).sqrt()
}

/// Finds the beginning t₀ that maximises the number of independent values (N − t₀) / g(t₀) (Chodera, J. Chem. Theory
/// Comput. 12, 1799, 2016), on a coarse set of t₀ and then around the best.
///
/// Values far from the median, by the median of the absolute deviations, are drawn in first, so that one wild value
/// decides nothing; +∞ is such a value. A later t₀ is taken only if it is worth it. NaN and nothing at all are errors.
pub fn detect_equilibration(series: &[f64]) -> Result<Equilibration> {
    if let Some(place) = series.iter().position(|x| x.is_nan()) {
        return Err(Error::invalid("values of a series", "numbers", format!("NaN at place {place}")));
    }
    if series.is_empty() {
        return Err(Error::invalid("values of a series", "at least one", "none"));
    }
    let clipped = drawn_in(series);
    let n = clipped.len();
    let worth = |start: usize| (n - start) as f64 / statistical_inefficiency(&clipped[start..]);
    let whole = worth(0);
    let mut best = (0, whole);
    // Steps of a twentieth, then of a hundredth and a thousandth around the best.
    let (mut low, mut high, mut step) = (0, n * 19 / 20, n.div_ceil(20).max(1));
    loop {
        let mut start = low;
        while start <= high && start + 3 < n {
            let value = worth(start);
            if value > best.1 {
                best = (start, value);
            }
            start += step;
        }
        if step == 1 || n / step >= 500 {
            break;
        }
        (low, high) = (best.0.saturating_sub(step), (best.0 + step).min(n - 1));
        step = (step / 5).max(1);
    }
    let scatter = inefficiency_scatter((n - best.0) as f64 / best.1, n - best.0);
    let start = if best.1 > (1.0 + WORTHWHILE_SCATTER * scatter) * whole { best.0 } else { 0 };
    let rest = &clipped[start..];
    let inefficiency = statistical_inefficiency(rest);
    let (drift, drift_significance) = linear_drift(rest);
    Ok(Equilibration {
        start,
        inefficiency,
        n_effective: rest.len() as f64 / inefficiency,
        drift,
        drift_significance,
    })
}

/// The series with far values drawn in to [`CLIP_DEVIATIONS`] robust deviations from the median.
fn drawn_in(series: &[f64]) -> Vec<f64> {
    let middle = |mut values: Vec<f64>| {
        let place = values.len() / 2;
        *values.select_nth_unstable_by(place, f64::total_cmp).1
    };
    let median = middle(series.to_vec());
    if !median.is_finite() {
        return series.iter().map(|x| x.clamp(-f64::MAX.sqrt(), f64::MAX.sqrt())).collect();
    }
    let distances: Vec<f64> = series.iter().map(|x| (x - median).abs()).collect();
    // 1.4826 median absolute deviations are a standard deviation of a Gaussian.
    let mut reach = CLIP_DEVIATIONS * 1.4826 * middle(distances.clone());
    if reach == 0.0 {
        // More than half the values are equal: the others are judged among themselves.
        let others: Vec<f64> = distances.into_iter().filter(|d| *d > 0.0 && d.is_finite()).collect();
        let rare = others.len() * 50 < series.len();
        reach = if rare { 0.0 } else { CLIP_DEVIATIONS * middle(others) };
    }
    series.iter().map(|x| x.clamp(median - reach, median + reach)).collect()
}

/// Rise of the least-squares line from beginning to end, in deviations about the line and in standard errors.
fn linear_drift(series: &[f64]) -> (f64, f64) {
    let n = series.len() as f64;
    if n < 4.0 {
        return (0.0, 0.0);
    }
    let mean = series.iter().sum::<f64>() / n;
    let place = |i: usize| (i as f64 + 0.5) / n - 0.5;
    // Σ place² = (n² − 1) / 12 n.
    let slope = series.iter().enumerate().map(|(i, x)| place(i) * (x - mean)).sum::<f64>()
        / ((n * n - 1.0) / (12.0 * n));
    let about: Vec<f64> = series.iter().enumerate().map(|(i, x)| x - mean - slope * place(i)).collect();
    let deviation = (about.iter().map(|x| x * x).sum::<f64>() / n).sqrt();
    if slope.abs() <= 1e-12 * series.iter().fold(0.0_f64, |top, x| top.max(x.abs())) {
        return (0.0, 0.0);
    }
    let error = deviation * (12.0 * statistical_inefficiency(&about) / n).sqrt();
    (slope / deviation, slope / error)
}

/// A mean with the standard error that blocks give it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockAverage {
    /// Mean of all values.
    pub mean: f64,
    /// Standard deviation of the block means over √blocks; right when blocks are longer than the correlation.
    pub std_error: f64,
}

/// The mean of a series, with its standard error from contiguous blocks as equal as possible.
pub fn block_average(series: &[f64], n_blocks: usize) -> Result<BlockAverage> {
    let n = series.len();
    if n_blocks < 2 || n < n_blocks {
        return Err(Error::invalid(
            "blocks of a series",
            "at least 2, each with a value",
            format!("{n_blocks} blocks of {n} values"),
        ));
    }
    let mean = series.iter().sum::<f64>() / n as f64;
    let variance = (0..n_blocks)
        .map(|block| {
            let values = &series[block * n / n_blocks..(block + 1) * n / n_blocks];
            (values.iter().sum::<f64>() / values.len() as f64 - mean).powi(2)
        })
        .sum::<f64>()
        / (n_blocks - 1) as f64;
    Ok(BlockAverage { mean, std_error: (variance / n_blocks as f64).sqrt() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    /// x_{t+1} = ρ x_t + √(1 − ρ²) noise: C(t) = ρᵗ, so g = (1 + ρ) / (1 − ρ).
    fn autoregressive(rho: f64, n: usize, index: u64) -> Vec<f64> {
        let mut noise = vec![0.0; n];
        fill_normal(&mut Streams::new(5).stream(Purpose::Walker, index), &mut noise);
        let mut x = noise[0];
        noise
            .iter()
            .map(|z| {
                x = rho * x + (1.0 - rho * rho).sqrt() * z;
                x
            })
            .collect()
    }

    #[test]
    fn an_autoregressive_series_has_a_known_inefficiency() {
        for rho in [0.0, 0.5, 0.9] {
            let exact = (1.0 + rho) / (1.0 - rho);
            let estimates: Vec<f64> =
                (0..16).map(|i| statistical_inefficiency(&autoregressive(rho, 20_000, i))).collect();
            let average = block_average(&estimates, 16).expect("16 values");
            // Ending the sum at the first zero biases g by a few per cent.
            let tolerance = 4.0 * average.std_error + 0.04 * exact;
            assert!((average.mean - exact).abs() < tolerance, "{rho}: {average:?} {exact}");
        }
    }

    #[test]
    fn the_fourier_transform_gives_the_direct_sum() {
        let series = autoregressive(0.7, 257, 0);
        let n = series.len();
        let mean = series.iter().sum::<f64>() / n as f64;
        let covariance = |lag: usize| {
            (0..n - lag).map(|i| (series[i] - mean) * (series[i + lag] - mean)).sum::<f64>()
                / (n - lag) as f64
        };
        let products = lagged_products(&series, mean);
        for lag in [0, 1, 7, 200, 256] {
            assert!((products[lag] / (n - lag) as f64 - covariance(lag)).abs() < 1e-12);
        }
    }

    #[test]
    fn constants_and_short_series_do_not_fail() {
        assert_eq!(statistical_inefficiency(&[2.0; 50]), 50.0);
        assert_eq!(statistical_inefficiency(&[0.1; 3]), 3.0);
        assert_eq!(statistical_inefficiency(&[]), 1.0);
        assert_eq!(statistical_inefficiency(&[1.0]), 1.0);
        assert!(statistical_inefficiency(&[1.0, -1.0]) >= 1.0);
    }

    #[test]
    fn block_errors_see_correlation_that_the_naive_error_does_not() {
        let (rho, n) = (0.9, 40_000);
        let average = block_average(&autoregressive(rho, n, 3), 40).expect("enough");
        let exact = ((1.0 + rho) / (1.0 - rho) / n as f64).sqrt();
        // The standard error of a standard error from 40 blocks is 1/√78.
        assert!((average.std_error / exact - 1.0).abs() < 4.0 / 78_f64.sqrt(), "{average:?} {exact}");
        assert!(average.mean.abs() < 4.0 * exact);
        assert!(block_average(&[1.0], 2).is_err());
    }

    #[test]
    fn a_relaxation_is_left_out_and_noise_is_not() {
        let n = 2000;
        let noise = autoregressive(0.5, n, 1);
        let kept = detect_equilibration(&noise).expect("numbers");
        assert!(kept.start < n / 10 && !kept.drifts(), "{kept:?}");
        assert!((kept.inefficiency - 3.0).abs() < 1.0, "{kept:?}");

        let relaxing: Vec<f64> =
            noise.iter().enumerate().map(|(i, x)| x + 20.0 * (-(i as f64) / 60.0).exp()).collect();
        let found = detect_equilibration(&relaxing).expect("numbers");
        // 20 deviations fall to a quarter of one in 4.4 times 60 steps.
        assert!((100..700).contains(&found.start) && !found.drifts(), "{found:?}");
        assert!(found.inefficiency < 5.0, "{found:?}");
    }

    #[test]
    fn one_wild_first_point_decides_nothing() {
        let mut series = autoregressive(0.5, 1000, 2);
        let before = detect_equilibration(&series).expect("numbers");
        for wild in [1e6, -1e12, f64::INFINITY] {
            series[0] = wild;
            let after = detect_equilibration(&series).expect("numbers");
            assert!(after.start.abs_diff(before.start) <= 50, "{before:?} {after:?}");
            assert!((after.inefficiency / before.inefficiency - 1.0).abs() < 0.2, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_drift_over_the_whole_series_is_seen() {
        let n = 2000;
        let noise = autoregressive(0.3, n, 4);
        for rise in [2.0, 6.0] {
            let rising: Vec<f64> =
                noise.iter().enumerate().map(|(i, x)| x + rise * i as f64 / n as f64).collect();
            let found = detect_equilibration(&rising).expect("numbers");
            assert!(found.drifts() || found.start > n / 2, "{rise}: {found:?}");
        }
        let alarms =
            (10..40).filter(|&i| detect_equilibration(&autoregressive(0.9, n, i)).expect("numbers").drifts());
        assert_eq!(alarms.count(), 0);
    }

    #[test]
    fn constants_pairs_and_numbers_that_are_none() {
        let constant = detect_equilibration(&[3.0; 40]).expect("numbers");
        assert_eq!((constant.start, constant.inefficiency, constant.n_effective), (0, 40.0, 1.0));
        let mut nearly = [3.0; 400];
        nearly[0] = 1e9;
        assert_eq!(detect_equilibration(&nearly).expect("numbers").n_effective, 1.0);
        assert_eq!(detect_equilibration(&[1.0, 2.0]).expect("numbers").start, 0);
        assert!(detect_equilibration(&[5.0]).expect("numbers").n_effective == 1.0);
        assert!(detect_equilibration(&[1.0, f64::NAN]).is_err() && detect_equilibration(&[]).is_err());
    }

    #[test]
    fn runs_that_stay_apart_are_correlated() {
        let (a, b) = (autoregressive(0.5, 4000, 5), autoregressive(0.5, 4000, 6));
        let together = statistical_inefficiency_of_several(&[&a, &b]);
        assert!((together - 3.0).abs() < 0.6, "{together}");
        let alone = statistical_inefficiency(&a);
        assert!((statistical_inefficiency_of_several(&[&a]) / alone - 1.0).abs() < 1e-9);
        let shifted: Vec<f64> = b.iter().map(|x| x + 3.0).collect();
        assert!(statistical_inefficiency_of_several(&[&a, &shifted]) > 1000.0);
        assert_eq!(statistical_inefficiency_of_several(&[&[1.0; 3], &[1.0; 4]]), 7.0);
    }

    #[test]
    fn decorrelated_indices_are_g_apart() {
        assert_eq!(decorrelated_indices(10, 2.5), [0, 2, 5, 8]);
        assert_eq!(decorrelated_indices(3, 1.0), [0, 1, 2]);
        assert_eq!(decorrelated_indices(3, 100.0), [0]);
    }
}
