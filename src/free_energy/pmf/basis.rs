//! Uniform cubic B-splines on an axis, periodic or not.

use super::Axis;

/// Pieces of equal length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Basis {
    low: f64,
    width: f64,
    n_intervals: usize,
    periodic: bool,
}

impl Basis {
    pub(super) fn new(axis: &Axis, n_intervals: usize) -> Self {
        let n_intervals = n_intervals.max(if axis.is_periodic() { 4 } else { 1 });
        let (low, width) = (axis.low(), axis.span() / n_intervals as f64);
        Self { low, width, n_intervals, periodic: axis.is_periodic() }
    }

    pub(super) fn n_coefficients(&self) -> usize {
        if self.periodic { self.n_intervals } else { self.n_intervals + 3 }
    }

    /// The four functions that are not zero at x, and their values, whose sum is one.
    pub(super) fn at(&self, x: f64) -> [(usize, f64); 4] {
        let place = (x - self.low) / self.width;
        let piece = (place.max(0.0) as usize).min(self.n_intervals - 1);
        let u = place - piece as f64;
        let v = 1.0 - u;
        let values = [
            v * v * v / 6.0,
            (3.0 * u * u * u - 6.0 * u * u + 4.0) / 6.0,
            (3.0 * v * v * v - 6.0 * v * v + 4.0) / 6.0,
            u * u * u / 6.0,
        ];
        std::array::from_fn(|i| ((piece + i) % self.n_coefficients(), values[i]))
    }

    /// Triples of neighbouring coefficients, whose second differences measure bending.
    pub(super) fn triples(&self) -> Vec<[usize; 3]> {
        let n = self.n_coefficients();
        let n_triples = if self.periodic { n } else { n - 2 };
        (0..n_triples).map(|i| [i, (i + 1) % n, (i + 2) % n]).collect()
    }
}
