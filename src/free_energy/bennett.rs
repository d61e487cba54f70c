//! Bennett's acceptance ratio (1976): the least-variance free energy between two sampled states.
//!
//! With M = ln(n₀/n₁) and f(x) = 1/(1 + eˣ), Δf solves Σ₀ f(M + w₀ − Δf) = Σ₁ f(−M + w₁ + Δf),
//! where w₀ = u₁ − u₀ on samples of state 0 and w₁ = u₀ − u₁ on samples of state 1 (Shirts, Bair,
//! Hooker and Pande 2003). The asymptotic variance is 1/s − 1/n₀ − 1/n₁ with s = Σ f (1 − f) over all
//! samples, the number of samples that the two states share.

use super::Estimate;
use super::exponential_averaging::check_work;
use super::mbar_kernel::add_fermi;
use crate::error::Result;

/// f₁ − f₀ from forward and reverse works.
///
/// Without any finite work in one direction the answer is ±∞, without any at all NaN, both with
/// an infinite error: outcomes of the physics.
pub fn bennett(forward_kt: &[f64], reverse_kt: &[f64]) -> Result<Estimate> {
    check_work(forward_kt)?;
    check_work(reverse_kt)?;
    let log_ratio = (forward_kt.len() as f64 / reverse_kt.len() as f64).ln();
    let value = root(forward_kt, reverse_kt, log_ratio);
    let shared = if value.is_finite() { imbalance(forward_kt, reverse_kt, log_ratio, value).1 } else { 0.0 };
    let variance = 1.0 / shared - 1.0 / forward_kt.len() as f64 - 1.0 / reverse_kt.len() as f64;
    // Between equal states every sample is shared by a quarter.
    Ok(Estimate::new(
        value,
        variance.max(0.0).sqrt(),
        4.0 * shared,
        "kT",
        "asymptotic variance of the acceptance ratio",
    ))
}

/// Σ₀ f − Σ₁ f, which increases with Δf, and its derivative.
fn imbalance(forward_kt: &[f64], reverse_kt: &[f64], log_ratio: f64, delta: f64) -> (f64, f64) {
    let (mut ahead, mut back) = ([0.0; 2], [0.0; 2]);
    add_fermi(forward_kt, log_ratio - delta, &mut ahead);
    add_fermi(reverse_kt, delta - log_ratio, &mut back);
    (ahead[0] - back[0], ahead[1] + back[1])
}

/// Newton's iteration kept inside a bracket; bisection where it leaves it.
pub(super) fn root(forward_kt: &[f64], reverse_kt: &[f64], log_ratio: f64) -> f64 {
    let finite = |work: &[f64]| {
        work.iter().copied().filter(|w| w.is_finite()).fold(None, |range: Option<(f64, f64)>, w| {
            Some(range.map_or((w, w), |(low, high)| (low.min(w), high.max(w))))
        })
    };
    let ((ahead_low, ahead_high), (back_low, back_high)) = match (finite(forward_kt), finite(reverse_kt)) {
        (Some(ahead), Some(back)) => (ahead, back),
        (None, Some(_)) => return f64::INFINITY,
        (Some(_), None) => return f64::NEG_INFINITY,
        (None, None) => return f64::NAN,
    };
    let margin = 50.0 + log_ratio.abs() + ((forward_kt.len() + reverse_kt.len()) as f64).ln();
    let mut low = ahead_low.min(-back_high) - margin;
    let mut high = ahead_high.max(-back_low) + margin;
    let mut delta = 0.5 * (low + high);
    for _ in 0..400 {
        let (difference, derivative) = imbalance(forward_kt, reverse_kt, log_ratio, delta);
        if difference == 0.0 {
            break;
        }
        if difference > 0.0 {
            high = delta;
        } else {
            low = delta;
        }
        let newton = delta - difference / derivative;
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        let step = (next - delta).abs();
        delta = next;
        if step <= 1e-14 * (1.0 + delta.abs()) {
            break;
        }
    }
    delta
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    /// Works between harmonic wells u₀ = x²/2 and u₁ = k (x − a)²/2, with f₁ − f₀ = ½ ln k.
    fn harmonic(k: f64, a: f64, n: (usize, usize), seed: u64) -> (Vec<f64>, Vec<f64>) {
        let streams = Streams::new(seed);
        let (mut x0, mut x1) = (vec![0.0; n.0], vec![0.0; n.1]);
        fill_normal(&mut streams.stream(Purpose::Walker, 0), &mut x0);
        fill_normal(&mut streams.stream(Purpose::Walker, 1), &mut x1);
        let w = |x: f64| 0.5 * k * (x - a).powi(2) - 0.5 * x * x;
        (x0.iter().map(|&x| w(x)).collect(), x1.iter().map(|&z| -w(a + z / k.sqrt())).collect())
    }

    #[test]
    fn harmonic_wells_come_out_with_calibrated_errors() {
        let exact = 0.5 * 4.0_f64.ln();
        let mut chi_squared = 0.0;
        for seed in 0..200 {
            let (ahead, back) = harmonic(4.0, 1.0, (300, 700), seed);
            let estimate = bennett(&ahead, &back).unwrap();
            chi_squared += ((estimate.value - exact) / estimate.std_error).powi(2);
        }
        // A χ² of 200 has a deviation of 20.
        assert!((chi_squared - 200.0).abs() < 70.0, "{chi_squared}");
    }

    #[test]
    fn one_sided_and_absent_overlap_are_values() {
        let estimate = bennett(&[f64::INFINITY], &[1.0]).unwrap();
        assert_eq!((estimate.value, estimate.std_error), (f64::INFINITY, f64::INFINITY));
        assert!(bennett(&[f64::INFINITY], &[f64::INFINITY]).unwrap().value.is_nan());
        // Constant works of 1e5 with no spread: the answer is exact.
        assert!((bennett(&[1e5; 4], &[-1e5; 4]).unwrap().value - 1e5).abs() < 1e-6);
    }
}
