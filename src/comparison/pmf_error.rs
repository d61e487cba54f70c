//! Mean squared difference of two free-energy surfaces, in (kT)²; the published "PMF error".
//!
//! Over the bins that either histogram occupies, Σ w (ln p − ln q)² with w = (p + q)/2, renormalised
//! over those bins. An empty bin counts as a probability of 1e-6, in the logarithm and in the weight.
//! There is no square root. The published grid is [`super::Grid::with_outliers`] with 64 bins.

/// The probability that stands for an empty bin.
pub const EMPTY: f64 = 1e-6;

/// Both averages over the occupied bins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SurfaceError {
    /// Σ w (ln p − ln q)², (kT)².
    pub pmf_error: f64,
    /// Σ w ½ (p/m ln p/m + q/m ln q/m): the Jensen–Shannon divergence, but for the filled bins ("MJS").
    pub mean_jensen_shannon: f64,
}

/// Compares two histograms of weights ≥ 0, each normalised first; NaN if one is empty.
pub fn surface_error(p: &[f64], q: &[f64]) -> SurfaceError {
    let (p_sum, q_sum): (f64, f64) = (p.iter().sum(), q.iter().sum());
    if !(p_sum > 0.0 && q_sum > 0.0) {
        return SurfaceError { pmf_error: f64::NAN, mean_jensen_shannon: f64::NAN };
    }
    let filled = |x: f64| if x > 0.0 { x } else { EMPTY };
    let (mut weight, mut squared, mut shannon) = (0.0, 0.0, 0.0);
    for (p, q) in p.iter().zip(q).filter(|(p, q)| **p > 0.0 || **q > 0.0) {
        let (p, q) = (filled(p / p_sum), filled(q / q_sum));
        let m = 0.5 * (p + q);
        weight += m;
        squared += m * (p / q).ln().powi(2);
        shannon += 0.5 * (p * (p / m).ln() + q * (q / m).ln());
    }
    SurfaceError { pmf_error: squared / weight, mean_jensen_shannon: shannon / weight }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_bins_are_filled_and_bins_empty_in_both_do_not_count() {
        let error = surface_error(&[1.0, 1.0, 0.0], &[1.0, 0.0, 0.0]);
        let weights = [0.75, 0.5 * (0.5 + 1e-6)];
        let squares = [2.0_f64.ln().powi(2), (0.5 / 1e-6_f64).ln().powi(2)];
        let exact = (weights[0] * squares[0] + weights[1] * squares[1]) / (weights[0] + weights[1]);
        assert!((error.pmf_error - exact).abs() < 1e-12);
        assert_eq!(surface_error(&[2.0, 4.0], &[1.0, 2.0]).pmf_error, 0.0);
    }
}
