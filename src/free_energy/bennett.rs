//! Bennett's acceptance ratio (1976): the least-variance free energy between two sampled states.
//!
//! With M = ln(n₀/n₁) and f(x) = 1/(1 + eˣ), Δf solves Σ₀ f(M + w₀ − Δf) = Σ₁ f(−M + w₁ + Δf),
//! where w₀ = u₁ − u₀ on samples of state 0 and w₁ = u₀ − u₁ on samples of state 1 (Shirts, Bair,
//! Hooker and Pande 2003). The asymptotic variance is 1/s − 1/n₀ − 1/n₁ with s = Σ f (1 − f) over all
//! samples, the number of samples that the two states share.

use super::Estimate;
use super::exponential_averaging::{self, check_work};
use super::mbar::kernel::add_fermi;
use crate::error::Result;

/// f₁ − f₀ from forward and reverse works.
///
/// Without any finite work in one direction the answer is ±∞, without any at all NaN, both with
/// an infinite error: outcomes of the physics.
pub fn bennett(forward_kt: &[f64], reverse_kt: &[f64]) -> Result<Estimate> {
    check_work(forward_kt)?;
    check_work(reverse_kt)?;
    let solution = solve(Works::all(forward_kt), Works::all(reverse_kt));
    let variance = 1.0 / solution.shared - 1.0 / forward_kt.len() as f64 - 1.0 / reverse_kt.len() as f64;
    // Between equal states every sample is shared by a quarter.
    Ok(Estimate::new(
        solution.value,
        variance.max(0.0).sqrt(),
        4.0 * solution.shared,
        "kT",
        "asymptotic variance of the acceptance ratio",
    ))
}

/// The same where one direction may be missing: then the exponential average of the other, and so labelled.
pub fn bennett_or_exponential(forward_kt: &[f64], reverse_kt: &[f64]) -> Result<Estimate> {
    match (forward_kt.is_empty(), reverse_kt.is_empty()) {
        (false, false) => bennett(forward_kt, reverse_kt),
        (false, true) => labelled(exponential_averaging::forward(forward_kt)?, "reverse"),
        (true, _) => labelled(exponential_averaging::reverse(reverse_kt)?, "forward"),
    }
}

fn labelled(estimate: Estimate, missing: &str) -> Result<Estimate> {
    let method = format!("{}, as there are no {missing} works for Bennett's ratio", estimate.error_method);
    let error = estimate.std_error;
    Ok(estimate.with_error(error, method))
}

/// Works in one direction, each counted as often as `counts` says, once without.
#[derive(Debug, Clone, Copy)]
pub(super) struct Works<'a> {
    /// In kT.
    pub kt: &'a [f64],
    /// How often each counts.
    pub counts: Option<&'a [f64]>,
}

impl<'a> Works<'a> {
    /// Each once.
    pub fn all(kt: &'a [f64]) -> Self {
        Self { kt, counts: None }
    }

    fn count(&self, n: usize) -> f64 {
        self.counts.map_or(1.0, |counts| counts[n])
    }

    /// How many there are.
    pub fn total(&self) -> f64 {
        self.counts.map_or(self.kt.len() as f64, |counts| counts.iter().sum())
    }
}

/// The solution of Bennett's equation and what its error is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Solution {
    /// Δf.
    pub value: f64,
    /// Σ f (1 − f): the number of samples that the states share.
    pub shared: f64,
    /// ln(n₀/n₁).
    pub log_ratio: f64,
    /// Σ₀ f.
    pub accepted_forward: f64,
    /// Σ₁ f.
    pub accepted_reverse: f64,
    /// Σ₀ f².
    pub squares_forward: f64,
    /// Σ₁ f².
    pub squares_reverse: f64,
}

impl Solution {
    /// Acceptance of one forward work, and of one reverse work.
    pub fn acceptance(&self, work: f64, forward: bool) -> f64 {
        let shift = self.log_ratio - self.value;
        fermi(if forward { work + shift } else { work - shift })
    }

    /// Variance by Bennett's equation 10a: relative variances of the two mean acceptances, added.
    ///
    /// It is the variance of the given samples, as pymbar's `bar` reports it.
    pub fn variance(&self, n_forward: f64, n_reverse: f64) -> f64 {
        let forward = self.squares_forward / self.accepted_forward.powi(2) - 1.0 / n_forward;
        let reverse = self.squares_reverse / self.accepted_reverse.powi(2) - 1.0 / n_reverse;
        forward.max(0.0) + reverse.max(0.0)
    }
}

/// Solves Bennett's equation; ±∞ or NaN when a direction has no finite work.
pub(super) fn solve(forward: Works, reverse: Works) -> Solution {
    let log_ratio = (forward.total() / reverse.total()).ln();
    let value = root_of(forward, reverse, log_ratio);
    let mut solution = Solution {
        value,
        shared: 0.0,
        log_ratio,
        accepted_forward: 0.0,
        accepted_reverse: 0.0,
        squares_forward: 0.0,
        squares_reverse: 0.0,
    };
    if !value.is_finite() {
        return solution;
    }
    for (n, work) in forward.kt.iter().enumerate() {
        let (f, count) = (solution.acceptance(*work, true), forward.count(n));
        solution.shared += count * f * (1.0 - f);
        solution.accepted_forward += count * f;
        solution.squares_forward += count * f * f;
    }
    for (n, work) in reverse.kt.iter().enumerate() {
        let (f, count) = (solution.acceptance(*work, false), reverse.count(n));
        solution.shared += count * f * (1.0 - f);
        solution.accepted_reverse += count * f;
        solution.squares_reverse += count * f * f;
    }
    solution
}

/// Σ₀ f − Σ₁ f, which increases with Δf, and its derivative.
fn imbalance(forward: Works, reverse: Works, log_ratio: f64, delta: f64) -> (f64, f64) {
    let (mut ahead, mut back) = ([0.0; 2], [0.0; 2]);
    add_fermi(forward.kt, forward.counts, log_ratio - delta, &mut ahead);
    add_fermi(reverse.kt, reverse.counts, delta - log_ratio, &mut back);
    (ahead[0] - back[0], ahead[1] + back[1])
}

fn fermi(x: f64) -> f64 {
    if x > 0.0 {
        let e = (-x).exp();
        e / (1.0 + e)
    } else {
        1.0 / (1.0 + x.exp())
    }
}

/// Δf of works that count once each, with any ln(n₀/n₁).
pub(super) fn root(forward_kt: &[f64], reverse_kt: &[f64], log_ratio: f64) -> f64 {
    root_of(Works::all(forward_kt), Works::all(reverse_kt), log_ratio)
}

/// Newton's iteration kept inside a bracket; bisection where it leaves it.
fn root_of(forward: Works, reverse: Works, log_ratio: f64) -> f64 {
    let finite = |works: Works| {
        let used = works.kt.iter().enumerate().filter(|(n, w)| w.is_finite() && works.count(*n) > 0.0);
        used.fold(None, |range: Option<(f64, f64)>, (_, &w)| {
            Some(range.map_or((w, w), |(low, high)| (low.min(w), high.max(w))))
        })
    };
    let ((ahead_low, ahead_high), (back_low, back_high)) = match (finite(forward), finite(reverse)) {
        (Some(ahead), Some(back)) => (ahead, back),
        (None, Some(_)) => return f64::INFINITY,
        (Some(_), None) => return f64::NEG_INFINITY,
        (None, None) => return f64::NAN,
    };
    let margin = 50.0 + log_ratio.abs() + ((forward.kt.len() + reverse.kt.len()) as f64).ln();
    let mut low = ahead_low.min(-back_high) - margin;
    let mut high = ahead_high.max(-back_low) + margin;
    let mut delta = 0.5 * (low + high);
    for _ in 0..400 {
        let (difference, derivative) = imbalance(forward, reverse, log_ratio, delta);
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
    fn counts_are_copies() {
        let (ahead, back) = ([1.0, 1.0, 2.0, 0.5], [-0.2, -0.2, -0.2]);
        let copies = solve(Works::all(&ahead), Works::all(&back));
        let forward = Works { kt: &[1.0, 2.0, 0.5, 7.0], counts: Some(&[2.0, 1.0, 1.0, 0.0]) };
        let counted = solve(forward, Works { kt: &[-0.2], counts: Some(&[3.0]) });
        assert!((copies.value - counted.value).abs() < 1e-12);
        assert!((copies.variance(4.0, 3.0) - counted.variance(4.0, 3.0)).abs() < 1e-12);
    }

    #[test]
    fn closed_answers_and_a_labelled_fallback() {
        // One sample each: f(w₀ − Δ) = f(w₁ + Δ).
        assert!((bennett(&[3.0], &[-1.0]).unwrap().value - 2.0).abs() < 1e-12);
        let equal = bennett(&[2.5; 30], &[-2.5; 7]).unwrap();
        assert!((equal.value - 2.5).abs() < 1e-12 && equal.std_error < 1e-6, "{equal:?}");
        let fallback = bennett_or_exponential(&[1.0, 2.0], &[]).unwrap();
        assert!(fallback.error_method.contains("no reverse works"));
        assert_eq!(fallback.value, exponential_averaging::forward(&[1.0, 2.0]).unwrap().value);
        assert!(bennett_or_exponential(&[], &[]).is_err());
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
