//! Decorrelation by alchemlyb's definition, for comparison with that program.
//!
//! `decorrelate_u_nk(method = "dE", remove_burnin = True)` and `decorrelate_dhdl(remove_burnin = True)` of alchemlyb
//! 2.5 take, file by file, the beginning t₀ that maximises (N − t₀ + 1) / g(t₀) by pymbar's
//! `detect_equilibration` with its fast estimate of g, which samples the correlation function at lags 1, 2, 4, 7,
//! 11, …, and keep one sample in g after it. The program compares these numbers in single precision, and so does
//! this module, because the place of a maximum depends on it. Running sums over the ends of the series replace its
//! N²: time is N √N.

use std::cmp::Ordering;

/// What is kept of one series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Subsample {
    /// Sample at t₀.
    pub first: usize,
    /// g after t₀.
    pub inefficiency: f64,
    /// Places of the samples that are kept.
    pub kept: Vec<usize>,
}

/// Keeps what alchemlyb keeps of the samples of one file, given all times and the series that decides.
pub(super) fn subsample(samples: &[usize], time: &[f64], series: &[f64]) -> Subsample {
    // Of samples with one time the first is kept; then they are sorted by time.
    let mut order: Vec<usize> = (0..samples.len()).collect();
    let at = |place: usize| time[samples[place]];
    order.sort_by(|&a, &b| at(a).partial_cmp(&at(b)).unwrap_or(Ordering::Equal));
    order.dedup_by(|later, earlier| at(*later) == at(*earlier));
    let values: Vec<f64> = order.iter().map(|&place| series[place]).collect();
    let (start, inefficiency) = detect(&values);
    let rest = values.len() - start;
    let kept = (0..)
        .map(|k| (k as f32 * inefficiency).round_ties_even() as usize)
        .take_while(|&place| place < rest)
        .map(|place| samples[order[start + place]])
        .collect();
    Subsample { first: samples[order[start]], inefficiency: f64::from(inefficiency), kept }
}

/// t₀ and g(t₀).
fn detect(values: &[f64]) -> (usize, f32) {
    let n = values.len();
    if n < 2 || values.iter().all(|x| *x == values[0]) {
        return (0, 1.0);
    }
    // Sums about the mean of the second half cancel least, as a beginning far from equilibrium lies in the first.
    let origin = values[n / 2..].iter().sum::<f64>() / (n - n / 2) as f64;
    let y: Vec<f64> = values.iter().map(|x| x - origin).collect();
    let mut tail = vec![0.0; n + 1];
    for i in (0..n).rev() {
        tail[i] = tail[i + 1] + y[i];
    }
    let mut lags = Vec::new();
    let (mut lag, mut increment) = (1, 1);
    while lag < n - 1 {
        lags.push((lag, increment));
        lag += increment;
        increment += 1;
    }
    let mut products = vec![0.0; lags.len()];
    let mut squares = y[n - 1] * y[n - 1];
    let mut constant = true;
    // From the last beginning to the first, so that every sum grows by one term.
    let mut best = (n - 2, 1.0_f32, 0.0_f32);
    for start in (0..n - 1).rev() {
        squares += y[start] * y[start];
        constant &= values[start] == values[start + 1];
        for (product, &(lag, _)) in products.iter_mut().zip(&lags) {
            if start + lag >= n {
                break;
            }
            *product += y[start] * y[start + lag];
        }
        let length = n - start;
        let mean = tail[start] / length as f64;
        let variance = squares / length as f64 - mean * mean;
        let g = if constant || variance <= 0.0 {
            length as f64 + 1.0
        } else {
            let mut g = 1.0;
            for (product, &(lag, increment)) in products.iter().zip(&lags) {
                if lag >= length - 1 {
                    break;
                }
                let pairs = (length - lag) as f64;
                let ends = tail[start] - tail[n - lag] + tail[start + lag];
                let correlation = (product - mean * ends + mean * mean * pairs) / (pairs * variance);
                if correlation <= 0.0 && lag > 3 {
                    break;
                }
                g += 2.0 * correlation * (1.0 - lag as f64 / length as f64) * increment as f64;
            }
            g.max(1.0)
        };
        let g = g as f32;
        let worth = (length + 1) as f32 / g;
        // The first of equal maxima counts, and beginnings are visited backwards.
        if worth >= best.2 {
            best = (start, g, worth);
        }
    }
    (best.0, best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pymbar 4.0.3 gives t₀ = 8, g = 5.99446 and t₀ = 2, g = 2.564606 for these.
    #[test]
    fn the_other_program_is_followed() {
        let relaxing = |i: usize| {
            let x = i as f64;
            (x / 3.0).sin() + 0.5 * (x * x).sin() + 3.0 * (-x / 9.0).exp()
        };
        let relaxing: Vec<f64> = (0..200).map(relaxing).collect();
        let (start, g) = detect(&relaxing);
        assert!(start == 8 && (g - 5.994_46).abs() < 1e-5, "{start} {g}");
        let time: Vec<f64> = (0..200).map(f64::from).collect();
        let kept = subsample(&(0..200).collect::<Vec<_>>(), &time, &relaxing).kept;
        assert_eq!(kept[..8], [8, 14, 20, 26, 32, 38, 44, 50]);
        let periodic: Vec<f64> = (0..150).map(|i| f64::from((i * i / 9) % 7)).collect();
        let (start, g) = detect(&periodic);
        assert!(start == 2 && (g - 2.564_606).abs() < 1e-5, "{start} {g}");
        assert_eq!(detect(&[2.0; 9]), (0, 1.0));
    }

    #[test]
    fn equal_times_count_once_and_order_is_by_time() {
        let time = [9.0, 0.0, 2.0, 1.0, 1.0, 3.0];
        let series = [1.0, -1.0, 1.0, 7.0, 1.0];
        let subsample = subsample(&[1, 2, 3, 4, 5], &time, &series);
        assert!(subsample.kept.iter().all(|&n| n != 4), "{subsample:?}");
        assert!(subsample.kept.windows(2).all(|pair| time[pair[0]] < time[pair[1]]));
    }
}
