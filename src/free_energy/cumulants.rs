//! Free energy from the first two cumulants of the work in one direction: Δf ≈ ⟨w⟩ − ½ var(w).
//!
//! Exact when the work is Gaussian, as it nearly is when many weak interactions change. The third cumulant, which is
//! left out, shows in the difference between forward and reverse.

use super::Estimate;
use super::exponential_averaging::check_work;
use crate::error::{Error, Result};

/// f₁ − f₀ from works w = u₁ − u₀ of samples of state 0, and its error.
pub fn forward(work_kt: &[f64]) -> Result<Estimate> {
    second_order(work_kt, None, 1.0)
}

/// f₁ − f₀ from works w = u₀ − u₁ of samples of state 1, and its error.
pub fn reverse(work_kt: &[f64]) -> Result<Estimate> {
    second_order(work_kt, None, -1.0)
}

/// Either of the two; sample n counts `counts[n]` times.
///
/// The error propagates the fluctuations of both cumulants, whatever the distribution: sample n moves the result by
/// (d − (d² − v)/2) / N with d = w − ⟨w⟩ and v the variance.
pub(super) fn second_order(work_kt: &[f64], counts: Option<&[f64]>, sign: f64) -> Result<Estimate> {
    check_work(work_kt)?;
    if work_kt.contains(&f64::INFINITY) {
        return Err(Error::invalid("works of a cumulant expansion", "finite numbers", "+inf"));
    }
    let count = |n: usize| counts.map_or(1.0, |counts| counts[n]);
    let total: f64 = (0..work_kt.len()).map(count).sum();
    let mean = work_kt.iter().enumerate().map(|(n, w)| count(n) * w).sum::<f64>() / total;
    let square: f64 = work_kt.iter().enumerate().map(|(n, w)| count(n) * (w - mean).powi(2)).sum();
    // One sample has no variance, however often it counts.
    let has_spread = total > 1.0 && (0..work_kt.len()).filter(|&n| count(n) > 0.0).count() > 1;
    let variance = if has_spread { square / (total - 1.0) } else { f64::NAN };
    let fluctuation: f64 = work_kt
        .iter()
        .enumerate()
        .map(|(n, w)| {
            let d = w - mean;
            count(n) * (d - 0.5 * (d * d - variance)).powi(2)
        })
        .sum();
    let std_error = if has_spread { (fluctuation / (total * (total - 1.0))).sqrt() } else { f64::INFINITY };
    let value = sign * (mean - 0.5 * variance);
    Ok(Estimate::new(value, std_error, total, "kT", "propagated from the mean and the variance of the work"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    #[test]
    fn gaussian_work_comes_out_with_calibrated_errors() {
        let (mean, deviation, n, seeds) = (2.0, 1.5, 400, 300);
        let (mut chi_squared, mut average) = (0.0, 0.0);
        for seed in 0..seeds {
            let mut noise = vec![0.0; n];
            fill_normal(&mut Streams::new(seed).stream(Purpose::Walker, 0), &mut noise);
            let work: Vec<f64> = noise.iter().map(|z| mean + deviation * z).collect();
            let estimate = forward(&work).unwrap();
            let exact = mean - deviation * deviation / 2.0;
            chi_squared += ((estimate.value - exact) / estimate.std_error).powi(2) / seeds as f64;
            average += estimate.std_error.powi(2) / seeds as f64;
            assert_eq!(reverse(&work).unwrap().value, -estimate.value);
        }
        assert!((chi_squared - 1.0).abs() < 4.0 * (2.0 / seeds as f64).sqrt(), "{chi_squared}");
        // σ²/N + σ⁴/2N.
        let exact = (deviation.powi(2) + deviation.powi(4) / 2.0) / n as f64;
        assert!((average / exact - 1.0).abs() < 0.1);
    }

    #[test]
    fn counts_are_copies() {
        let copies = second_order(&[1.0, 1.0, 2.0, 4.0], None, 1.0).unwrap();
        let counted = second_order(&[1.0, 2.0, 4.0, 9.0], Some(&[2.0, 1.0, 1.0, 0.0]), 1.0).unwrap();
        assert!((copies.value - counted.value).abs() < 1e-12);
        assert!((copies.std_error - counted.std_error).abs() < 1e-12);
        assert!(forward(&[f64::INFINITY]).is_err());
        for one in [forward(&[1.0]).unwrap(), second_order(&[1.0, 2.0], Some(&[3.0, 0.0]), 1.0).unwrap()] {
            assert!(one.value.is_nan() && one.std_error == f64::INFINITY, "{one:?}");
        }
    }
}
