//! Free energy from work in one direction: Δf = −ln⟨exp(−w)⟩ (Zwanzig 1954, Jarzynski 1997).

use super::Estimate;
use crate::error::{Error, Result};

/// Fewer effective samples than this have no error: the spread of a few weights does not show those that are missing.
pub(super) const MIN_EFFECTIVE: f64 = 3.0;

/// f₁ − f₀ from works w = u₁ − u₀ (or nonequilibrium works 0 → 1) of samples of state 0.
///
/// The error is that of the mean of exp(−w) through the logarithm; it is trustworthy only while
/// `n_effective` is large, and infinite below three.
pub fn forward(work_kt: &[f64]) -> Result<Estimate> {
    average(work_kt, None, 1.0)
}

/// f₁ − f₀ from works w = u₀ − u₁ (or nonequilibrium works 1 → 0) of samples of state 1.
pub fn reverse(work_kt: &[f64]) -> Result<Estimate> {
    average(work_kt, None, -1.0)
}

/// Either of the two; sample n counts `counts[n]` times.
pub(super) fn average(work_kt: &[f64], counts: Option<&[f64]>, sign: f64) -> Result<Estimate> {
    check_work(work_kt)?;
    let count = |n: usize| counts.map_or(1.0, |counts| counts[n]);
    let total: f64 = (0..work_kt.len()).map(count).sum();
    let lowest =
        (0..work_kt.len()).filter(|&n| count(n) > 0.0).map(|n| work_kt[n]).fold(f64::INFINITY, f64::min);
    let (mut sum, mut squares) = (0.0, 0.0);
    if lowest.is_finite() {
        for (n, work) in work_kt.iter().enumerate() {
            let weight = (lowest - work).exp();
            sum += count(n) * weight;
            squares += count(n) * weight * weight;
        }
    }
    let value = sign * (lowest - (sum / total).ln());
    let n_effective = if sum > 0.0 { sum * sum / squares } else { 0.0 };
    // var(e^−w)/⟨e^−w⟩² = n/n_eff − 1, with the unbiased n − 1 below.
    let variance = (total / n_effective - 1.0).max(0.0) / (total - 1.0);
    // Equal works have no error; a few among others tell nothing about theirs.
    let std_error = if n_effective >= MIN_EFFECTIVE { variance.sqrt() } else { f64::INFINITY };
    let value = if sum > 0.0 { value } else { sign * f64::INFINITY };
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
    fn counts_are_copies_and_equal_works_have_no_error() {
        let copies = forward(&[1.0, 1.0, 1.0, 1.0, 2.0, 4.0]).unwrap();
        let counted = average(&[1.0, 2.0, 4.0, -9.0], Some(&[4.0, 1.0, 1.0, 0.0]), 1.0).unwrap();
        assert!(
            (copies.value - counted.value).abs() < 1e-12
                && (copies.std_error - counted.std_error).abs() < 1e-12
        );
        assert_eq!(forward(&[1e5; 7]).unwrap().std_error, 0.0);
    }

    #[test]
    fn a_few_samples_among_many_have_no_error() {
        let mut work = vec![50.0; 1000];
        (work[3], work[8]) = (0.1, 0.0);
        let two = forward(&work).unwrap();
        assert!(two.std_error == f64::INFINITY && two.n_effective < 2.1 && two.value.is_finite(), "{two:?}");
        (work[10], work[20]) = (0.05, 0.0);
        let four = forward(&work).unwrap();
        assert!(four.std_error < 1.0 && four.n_effective > 3.9, "{four:?}");
        assert_eq!(forward(&[1.0]).unwrap().std_error, f64::INFINITY);
    }

    #[test]
    fn impossible_work_counts_as_weight_zero() {
        let estimate = forward(&[0.0, f64::INFINITY]).unwrap();
        assert!((estimate.value - 2.0_f64.ln()).abs() < 1e-12);
        assert!(forward(&[0.0, f64::NAN]).is_err());
        assert_eq!(reverse(&[f64::INFINITY; 3]).unwrap().value, f64::NEG_INFINITY);
        assert_eq!(forward(&[f64::INFINITY; 3]).unwrap().std_error, f64::INFINITY);
    }
}
