//! What time series of collective variables tell about their simulations.

use crate::trajectory::statistical_inefficiency;

/// Statistical inefficiency of the slowest of several variables, `[sample][variable]`.
///
/// Variables with a period enter by sine and cosine, which know no seam.
pub fn inefficiency(values: &[f64], periods: &[Option<f64>]) -> f64 {
    let n_variables = periods.len().max(1);
    let mut slowest: f64 = 1.0;
    for (variable, period) in periods.iter().enumerate() {
        for series in unseamed(values.iter().skip(variable).step_by(n_variables).copied(), *period) {
            slowest = slowest.max(statistical_inefficiency(&series));
        }
    }
    slowest
}

fn unseamed(series: impl Iterator<Item = f64>, period: Option<f64>) -> Vec<Vec<f64>> {
    match period {
        Some(period) => {
            let angles: Vec<f64> = series.map(|x| std::f64::consts::TAU * x / period).collect();
            let of = |of: fn(f64) -> f64| angles.iter().map(|x| of(*x)).collect::<Vec<_>>();
            // A coordinate that hardly moves has no correlation worth measuring.
            let moves = |series: &Vec<f64>| spread(series) > 0.05;
            let both = vec![of(f64::cos), of(f64::sin)];
            if both.iter().any(moves) { both.into_iter().filter(moves).collect() } else { both }
        }
        None => vec![series.collect()],
    }
}

fn spread(series: &[f64]) -> f64 {
    let n = series.len().max(1) as f64;
    let mean = series.iter().sum::<f64>() / n;
    (series.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// Largest difference between the means of the first and the second half of the variables, in standard errors.
///
/// Zero where a half has fewer than five independent samples, of which none can tell.
pub fn drift(values: &[f64], periods: &[Option<f64>]) -> f64 {
    let n_variables = periods.len().max(1);
    let mut largest: f64 = 0.0;
    for (variable, period) in periods.iter().enumerate() {
        for series in unseamed(values.iter().skip(variable).step_by(n_variables).copied(), *period) {
            let (first, second) = series.split_at(series.len() / 2);
            let half = |series: &[f64]| {
                let n = series.len().max(1) as f64;
                let independent = n / statistical_inefficiency(series);
                (series.iter().sum::<f64>() / n, spread(series).powi(2) / independent, independent)
            };
            let (a, b) = (half(first), half(second));
            if a.2 >= 5.0 && b.2 >= 5.0 && a.1 + b.1 > 0.0 {
                largest = largest.max((a.0 - b.0).abs() / (a.1 + b.1).sqrt());
            }
        }
    }
    largest
}

/// How often a series goes from its lowest to its highest fifth or back.
pub fn transitions(series: &[f64]) -> usize {
    let mut sorted: Vec<f64> = series.iter().copied().filter(|x| x.is_finite()).collect();
    if sorted.len() < 5 {
        return 0;
    }
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted[sorted.len() / 5], sorted[sorted.len() * 4 / 5]);
    let (mut side, mut n) = (0, 0);
    for x in series {
        let now = if *x >= high { 1 } else { -i32::from(*x <= low) };
        if now != 0 && low < high {
            n += usize::from(side == -now);
            side = now;
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    fn noise(n: usize, stream: u64) -> Vec<f64> {
        let mut x = vec![0.0; n];
        fill_normal(&mut Streams::new(2).stream(Purpose::Walker, stream), &mut x);
        x
    }

    #[test]
    fn a_drift_is_seen_and_noise_is_not_one() {
        let still: Vec<f64> = (0..50).map(|i| drift(&noise(400, i), &[None])).collect();
        assert!(still.iter().filter(|z| **z > 3.0).count() <= 2, "{still:?}");
        let moving: Vec<f64> = noise(400, 0).iter().enumerate().map(|(i, x)| x + i as f64 / 200.0).collect();
        assert!(drift(&moving, &[None]) > 5.0);
        // A seam is no drift: noise around ±π, of which the halves would differ.
        let seam: Vec<f64> = noise(400, 1)
            .iter()
            .map(|x| 3.1 + 0.3 * x)
            .map(|x| if x > std::f64::consts::PI { x - std::f64::consts::TAU } else { x })
            .collect();
        assert!(drift(&seam, &[Some(std::f64::consts::TAU)]) < 3.5);
        assert!(inefficiency(&seam, &[Some(std::f64::consts::TAU)]) < 1.6);
    }

    #[test]
    fn transitions_are_counted_between_the_ends() {
        let series: Vec<f64> = (0..100).map(|i| if i / 25 % 2 == 0 { 0.0 } else { 1.0 }).collect();
        assert_eq!(transitions(&series), 3);
        assert_eq!(transitions(&[1.0; 50]), 0);
    }
}
