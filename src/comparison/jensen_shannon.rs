//! Jensen–Shannon divergence of two histograms, ½ KL(p‖m) + ½ KL(q‖m) with m = (p + q)/2.
//!
//! Natural logarithm; the divergence itself, not its square root (the "distance"). It lies between 0
//! and ln 2. Counting noise alone gives about (occupied bins − 1)/8 · (1/n + 1/m).

/// The divergence of two histograms of weights ≥ 0, each normalised first; NaN if one is empty.
pub fn jensen_shannon(p: &[f64], q: &[f64]) -> f64 {
    let (p_sum, q_sum): (f64, f64) = (p.iter().sum(), q.iter().sum());
    if !(p_sum > 0.0 && q_sum > 0.0) {
        return f64::NAN;
    }
    let total: f64 = p.iter().zip(q).map(|(p, q)| contribution(p / p_sum, q / q_sum)).sum();
    total.max(0.0)
}

/// ½ p ln(p/m) + ½ q ln(q/m).
fn contribution(p: f64, q: f64) -> f64 {
    let m = 0.5 * (p + q);
    let term = |x: f64| if x > 0.0 { 0.5 * x * (x / m).ln() } else { 0.0 };
    term(p) + term(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_one_value_by_hand() {
        assert_eq!(jensen_shannon(&[1.0, 3.0], &[2.0, 6.0]), 0.0);
        assert!((jensen_shannon(&[1.0, 0.0], &[0.0, 5.0]) - 2.0_f64.ln()).abs() < 1e-15);
        assert!(jensen_shannon(&[0.0], &[1.0]).is_nan());
        // p = (½, ½), q = (1, 0): ½ (½ ln ⅔ + ½ ln 2) + ½ ln 4/3.
        let exact = 0.25 * ((2.0_f64 / 3.0).ln() + 2.0_f64.ln()) + 0.5 * (4.0_f64 / 3.0).ln();
        assert!((jensen_shannon(&[1.0, 1.0], &[3.0, 0.0]) - exact).abs() < 1e-15);
    }
}
