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

/// g ≥ 1 of a series in order of time; its effective sample size is N / g.
///
/// A series that never changes says nothing about its correlation time and counts as one value: g = N.
pub fn statistical_inefficiency(series: &[f64]) -> f64 {
    let n = series.len();
    let correlation = autocorrelation(series);
    if n < 2 || correlation.is_empty() {
        return (n as f64).max(1.0);
    }
    let mut g = 1.0;
    for (lag, value) in correlation.iter().enumerate().skip(1).take(n - 2) {
        if *value <= 0.0 && lag > MINIMAL_LAG {
            break;
        }
        g += 2.0 * value * (1.0 - lag as f64 / n as f64);
    }
    g.max(1.0)
}

/// C(t) for t = 0 … N − 1 without bias from the number of pairs; empty when the series is constant.
fn autocorrelation(series: &[f64]) -> Vec<f64> {
    let n = series.len();
    let mean = series.iter().sum::<f64>() / n as f64;
    let variance = series.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
    let scale = series.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    if !variance.is_finite() || variance <= (1e-14 * scale).powi(2) {
        return Vec::new();
    }
    // Wiener and Khinchin; zeros behind the data keep its end from meeting its start.
    let size = (2 * n).next_power_of_two();
    let mut buffer: Vec<Complex<f64>> = series.iter().map(|x| Complex::new(x - mean, 0.0)).collect();
    buffer.resize(size, Complex::default());
    let mut planner = FftPlanner::new();
    planner.plan_fft_forward(size).process(&mut buffer);
    buffer.iter_mut().for_each(|value| *value = Complex::new(value.norm_sqr(), 0.0));
    planner.plan_fft_inverse(size).process(&mut buffer);
    buffer[..n]
        .iter()
        .enumerate()
        .map(|(lag, value)| value.re / (size as f64 * (n - lag) as f64 * variance))
        .collect()
}

/// Indices of values that are g apart: 0, g, 2 g, … rounded.
pub fn decorrelated_indices(n: usize, inefficiency: f64) -> Vec<usize> {
    let step = inefficiency.max(1.0);
    (0..).map(|k| (k as f64 * step).round() as usize).take_while(|&idx| idx < n).collect()
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
        let correlation = autocorrelation(&series);
        for lag in [0, 1, 7, 200, 256] {
            assert!((correlation[lag] - covariance(lag) / covariance(0)).abs() < 1e-12);
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
    fn decorrelated_indices_are_g_apart() {
        assert_eq!(decorrelated_indices(10, 2.5), [0, 3, 5, 8]);
        assert_eq!(decorrelated_indices(3, 1.0), [0, 1, 2]);
        assert_eq!(decorrelated_indices(3, 100.0), [0]);
    }
}
