//! Sums of exponentials, statistical weights and how many samples they are worth.

/// ln Σ exp(x), without overflow; −∞ for nothing.
///
/// Works on differences from the largest term: reduced energies of clashing conformations reach
/// 1e5, where `exp` alone is already infinite.
pub fn log_sum_exp(x: &[f64]) -> f64 {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return largest;
    }
    largest + x.iter().map(|value| (value - largest).exp()).sum::<f64>().ln()
}

/// Weights that sum to one from unnormalised log-weights; all zero when every log-weight is −∞.
pub fn normalized_weights(log_weights: &[f64]) -> Vec<f64> {
    let log_sum = log_sum_exp(log_weights);
    if log_sum == f64::NEG_INFINITY {
        return vec![0.0; log_weights.len()];
    }
    log_weights.iter().map(|log_weight| (log_weight - log_sum).exp()).collect()
}

/// Kish's effective sample size (Σ w)² / Σ w²: N for equal weights, 1 when one sample has them all.
pub fn effective_sample_size(weights: &[f64]) -> f64 {
    let sum: f64 = weights.iter().sum();
    let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// Kish's effective sample size from unnormalised log-weights.
pub fn effective_sample_size_log(log_weights: &[f64]) -> f64 {
    effective_sample_size(&normalized_weights(log_weights))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_sum_exp_survives_clashes_and_emptiness() {
        assert!((log_sum_exp(&[-1e5, -1e5]) - (-1e5 + 2.0_f64.ln())).abs() < 1e-9);
        assert_eq!(log_sum_exp(&[f64::NEG_INFINITY, 0.0]), 0.0);
        assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
    }

    #[test]
    fn kish_counts_samples() {
        assert!((effective_sample_size(&[0.2; 5]) - 5.0).abs() < 1e-12);
        assert!((effective_sample_size_log(&[0.0, -1000.0, f64::NEG_INFINITY]) - 1.0).abs() < 1e-12);
        assert!((effective_sample_size(&[2.0, 1.0]) - 9.0 / 5.0).abs() < 1e-12);
    }
}
