//! Free energy from work in one direction: Δf = −ln⟨exp(−w)⟩ (Zwanzig 1954, Jarzynski 1997).

use super::Estimate;
use super::weights::{effective_sample_size_log, log_sum_exp};
use crate::error::{Error, Result};

/// f₁ − f₀ from works w = u₁ − u₀ (or nonequilibrium works 0 → 1) of samples of state 0.
///
/// The error is that of the mean of exp(−w) through the logarithm; it is trustworthy only while
/// `n_effective` is large.
pub fn forward(work_kt: &[f64]) -> Result<Estimate> {
    average(work_kt, 1.0)
}

/// f₁ − f₀ from works w = u₀ − u₁ (or nonequilibrium works 1 → 0) of samples of state 1.
pub fn reverse(work_kt: &[f64]) -> Result<Estimate> {
    average(work_kt, -1.0)
}

fn average(work_kt: &[f64], sign: f64) -> Result<Estimate> {
    check_work(work_kt)?;
    let n = work_kt.len() as f64;
    let log_weights: Vec<f64> = work_kt.iter().map(|w| -w).collect();
    let value = -sign * (log_sum_exp(&log_weights) - n.ln());
    let n_effective = effective_sample_size_log(&log_weights);
    // var(e^−w)/⟨e^−w⟩² = n/n_eff − 1, with the unbiased n − 1 below.
    let std_error = ((n / n_effective - 1.0).max(0.0) / (n - 1.0)).sqrt();
    let std_error = if n_effective > 0.0 { std_error } else { f64::INFINITY };
    Ok(Estimate::new(value, std_error, n_effective, "kT", "standard error of the exponential average"))
}

/// Errors for no work at all, NaN and −∞.
pub(super) fn check_work(work_kt: &[f64]) -> Result<()> {
    if work_kt.is_empty() {
        return Err(Error::invalid("work values", "at least one", "none"));
    }
    match work_kt.iter().position(|w| w.is_nan() || *w == f64::NEG_INFINITY) {
        Some(n) => {
            Err(Error::invalid("work values", "numbers or +inf", format!("{} for sample {n}", work_kt[n])))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    #[test]
    fn gaussian_work_has_a_closed_form_both_ways() {
        let (mean, deviation, n) = (3.0, 1.0, 20_000);
        let mut noise = vec![0.0; n];
        fill_normal(&mut Streams::new(1).stream(Purpose::Walker, 0), &mut noise);
        let work: Vec<f64> = noise.iter().map(|z| mean + deviation * z).collect();

        let exact = mean - deviation * deviation / 2.0;
        let exact_error = (f64::exp_m1(deviation * deviation) / n as f64).sqrt();
        let ahead = forward(&work).unwrap();
        assert!((ahead.value - exact).abs() < 4.0 * exact_error);
        assert!((ahead.std_error / exact_error - 1.0).abs() < 0.1);
        assert!((reverse(&work).unwrap().value + exact).abs() < 4.0 * exact_error);
    }

    #[test]
    fn impossible_work_counts_as_weight_zero() {
        let estimate = forward(&[0.0, f64::INFINITY]).unwrap();
        assert!((estimate.value - 2.0_f64.ln()).abs() < 1e-12);
        assert!(forward(&[0.0, f64::NAN]).is_err());
        assert_eq!(forward(&[f64::INFINITY; 3]).unwrap().std_error, f64::INFINITY);
    }
}
