//! Everything that a network needs to know about time, as one vector per conformation.
//!
//! Rows are smooth functions of the log signal-to-noise ratio ℓ = log(a²/g²): a time embedding, means
//! and inverse deviations of features, coefficients. They are tabulated once on a uniform grid in ℓ and
//! interpolated by cubic Hermite polynomials; so a conformation costs four multiply-adds per row, and
//! the rate with time is the exact derivative of the interpolant.

use crate::potential::Noise;

/// Rows tabulated over ℓ.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeTable {
    noise: Noise,
    n_rows: usize,
    first: f64,
    spacing: f64,
    /// `[grid point][value or slope × spacing][row]`.
    table: Vec<f32>,
}

/// Grid points of a table; the interpolation error of a function that varies over Δℓ ≈ 1 is 1e-7.
const N_GRID: usize = 769;

impl TimeTable {
    /// Tabulates `rows(ℓ)`, which fills one vector.
    pub fn new(noise: Noise, n_rows: usize, rows: &dyn Fn(f64, &mut [f64])) -> Self {
        let (t_first, t_last) = noise.time_range();
        let (first, last) = (noise.log_snr(t_last), noise.log_snr(t_first));
        let spacing = (last - first) / (N_GRID - 1) as f64;
        // Slopes by fourth-order differences, which reach two points beyond the ends.
        let values: Vec<Vec<f64>> = (0..N_GRID + 4)
            .map(|k| {
                let mut row = vec![0.0; n_rows];
                rows(first + (k as f64 - 2.0) * spacing, &mut row);
                row
            })
            .collect();
        let mut table = Vec::with_capacity(2 * N_GRID * n_rows);
        for k in 2..N_GRID + 2 {
            table.extend(values[k].iter().map(|&value| value as f32));
            table.extend((0..n_rows).map(|row| {
                let v = |offset: isize| values[(k as isize + offset) as usize][row];
                ((8.0 * (v(1) - v(-1)) - (v(2) - v(-2))) / 12.0) as f32
            }));
        }
        Self { noise, n_rows, first, spacing, table }
    }

    /// A table as it was stored; `None` where the numbers do not fit.
    pub fn from_stored(noise: Noise, n_rows: usize, table: Vec<f32>) -> Option<Self> {
        let (t_first, t_last) = noise.time_range();
        let (first, last) = (noise.log_snr(t_last), noise.log_snr(t_first));
        let spacing = (last - first) / (N_GRID - 1) as f64;
        (table.len() == Self::stored_length(n_rows)).then_some(Self { noise, n_rows, first, spacing, table })
    }

    /// How many numbers are stored for a table of `n_rows`.
    pub fn stored_length(n_rows: usize) -> usize {
        2 * N_GRID * n_rows
    }

    /// The numbers to store.
    pub fn stored(&self) -> &[f32] {
        &self.table
    }

    /// Length of the time vector.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Whether a row is zero wherever log(a²/g²) is at most this.
    pub fn vanishes_up_to(&self, log_snr: f64, row: usize) -> bool {
        let n_points = ((log_snr - self.first) / self.spacing).floor() as usize + 1;
        (0..n_points.min(N_GRID)).all(|k| self.table[2 * k * self.n_rows + row] == 0.0)
    }

    /// The time vector at t.
    pub fn fill(&self, t: f64, out: &mut [f32]) {
        let (k, s) = self.locate(t);
        let (s, s2, s3) = (s, s * s, s * s * s);
        let weights = [2.0 * s3 - 3.0 * s2 + 1.0, s3 - 2.0 * s2 + s, 3.0 * s2 - 2.0 * s3, s3 - s2];
        self.combine(k, weights, out);
    }

    /// d/dt of the time vector at t.
    pub fn fill_rate(&self, t: f64, out: &mut [f32]) {
        let (k, s) = self.locate(t);
        let variance = self.noise.deviation(t).powi(2);
        let rate = 2.0 * self.noise.drift(t) - self.noise.variance_rate(t) / variance;
        let factor = rate / self.spacing;
        let weights = [
            6.0 * s * s - 6.0 * s,
            3.0 * s * s - 4.0 * s + 1.0,
            6.0 * s - 6.0 * s * s,
            3.0 * s * s - 2.0 * s,
        ];
        self.combine(k, weights.map(|w| w * factor), out);
    }

    fn locate(&self, t: f64) -> (usize, f64) {
        let position = (self.noise.log_snr(t) - self.first) / self.spacing;
        let k = (position.floor().max(0.0) as usize).min(N_GRID - 2);
        (k, position - k as f64)
    }

    fn combine(&self, k: usize, weights: [f64; 4], out: &mut [f32]) {
        let n = self.n_rows;
        let four = &self.table[2 * k * n..2 * (k + 2) * n];
        let weights = weights.map(|w| w as f32);
        for (row, out) in out[..n].iter_mut().enumerate() {
            *out = weights[0] * four[row]
                + weights[1] * four[n + row]
                + weights[2] * four[2 * n + row]
                + weights[3] * four[3 * n + row];
        }
    }
}

/// Cubic B-splines as a time embedding: local, twice differentiable, and a linear layer on top of them
/// is already a general function of time, so that no time network needs to be trained or evaluated.
#[derive(Debug, Clone, Copy)]
pub struct TimeSplines {
    first: f64,
    spacing: f64,
    /// How many splines.
    pub n: usize,
}

impl TimeSplines {
    /// `n` splines over the whole range of ℓ.
    pub fn new(noise: &Noise, n: usize) -> Self {
        let (t_first, t_last) = noise.time_range();
        let (first, last) = (noise.log_snr(t_last), noise.log_snr(t_first));
        Self { first, spacing: (last - first) / (n - 3) as f64, n }
    }

    /// Values at ℓ; inside the range they sum to one.
    pub fn fill(&self, log_snr: f64, out: &mut [f64]) {
        for (k, out) in out[..self.n].iter_mut().enumerate() {
            let distance = ((log_snr - self.first) / self.spacing - (k as f64 - 1.0)).abs();
            *out = if distance < 1.0 {
                2.0 / 3.0 - distance * distance + 0.5 * distance.powi(3)
            } else {
                (2.0 - distance).max(0.0).powi(3) / 6.0
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_interpolates_values_and_rates() {
        for noise in [Noise::default(), Noise::Edm { sigma_min: 1e-3, sigma_max: 20.0 }] {
            let splines = TimeSplines::new(&noise, 33);
            let table = TimeTable::new(noise, 35, &|log_snr, out| {
                splines.fill(log_snr, out);
                out[33] = (0.3 * log_snr).sin();
                out[34] = 0.1 * log_snr;
            });
            let (first, last) = noise.time_range();
            let (mut values, mut rates, mut expected) = ([0.0; 35], [0.0; 35], [0.0; 33]);
            for k in 1..60 {
                let t = noise.time_at_log_snr(
                    noise.log_snr(last) + (noise.log_snr(first) - noise.log_snr(last)) * f64::from(k) / 60.0,
                );
                let log_snr = noise.log_snr(t);
                table.fill(t, &mut values);
                table.fill_rate(t, &mut rates);
                splines.fill(log_snr, &mut expected);
                let sum: f32 = values[..33].iter().sum();
                assert!((sum - 1.0).abs() < 1e-5, "{sum}");
                assert!(values.iter().zip(&expected).all(|(v, e)| (f64::from(*v) - e).abs() < 1e-5));
                assert!((f64::from(values[33]) - (0.3 * log_snr).sin()).abs() < 1e-6);
                let h = 1e-5 * t;
                let rate = (noise.log_snr(t + h) - noise.log_snr(t - h)) / (2.0 * h);
                let expected = 0.3 * (0.3 * log_snr).cos() * rate;
                assert!((f64::from(rates[33]) - expected).abs() < 1e-3 * rate.abs().max(1.0), "{t}");
                assert!((f64::from(rates[34]) / (0.1 * rate) - 1.0).abs() < 1e-3);
            }
        }
    }
}
