//! A checkerboard in the plane, with edges that are steep and smooth.
//!
//! The law of a point that is uniform on the dark squares of a board, plus logistic noise of scale w in each
//! coordinate. A uniform number on [a, b] plus such noise has the density
//!
//! f(x) = [σ((x − a)/w) − σ((x − b)/w)]/(b − a) = sinh h / [(b − a) (cosh s + cosh h)],
//! h = (b − a)/2w, s = (x − (a + b)/2)/w, σ the logistic function,
//!
//! so p(x, y) = (1/K) Σ_dark f_i(x) f_j(y) is normalised exactly, can be drawn from exactly, is positive
//! everywhere and has gradients, of at most 1/w. Squares touch at their corners only.

use rand::Rng as _;
use serde::Deserialize;

use super::{ExactPotential, fill_energies, fill_gradients};
use crate::error::{Error, Result};
use crate::potential::{ReducedPotential, Space, log_sum_exp};
use crate::random::Rng;
use crate::registry::Settings;

/// A board of n × n squares around the origin; the one with the lowest coordinates is dark.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checkerboard {
    n_squares: usize,
    side: f64,
    edge_width: f64,
}

impl Checkerboard {
    /// `n_squares` along each axis, each of length `side`, edges of width w = `edge_width`.
    pub fn new(n_squares: usize, side: f64, edge_width: f64) -> Result<Self> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if n_squares == 0 || !positive(side) || !positive(edge_width) {
            return Err(Error::invalid(
                "checkerboard",
                "at least one square, a positive side and a positive edge width",
                format!("{n_squares}, {side}, {edge_width}"),
            ));
        }
        Ok(Self { n_squares, side, edge_width })
    }

    fn is_dark(&self, column: usize, row: usize) -> bool {
        (column + row).is_multiple_of(2)
    }

    fn n_dark(&self) -> usize {
        (self.n_squares * self.n_squares).div_ceil(2)
    }

    /// The middle of a column or row.
    fn middle(&self, index: usize) -> f64 {
        (index as f64 + 0.5 - 0.5 * self.n_squares as f64) * self.side
    }

    /// log f of one strip and d log f/dx.
    fn strip(&self, index: usize, x: f64) -> (f64, f64) {
        let s = (x - self.middle(index)) / self.edge_width;
        let h = 0.5 * self.side / self.edge_width;
        // Exponentials relative to the larger of |s| and h: either may be in the hundreds.
        let largest = s.abs().max(h);
        let (up, down) = ((s - largest).exp(), (-s - largest).exp());
        let (rise, fall) = ((h - largest).exp(), (-h - largest).exp());
        let sum = up + down + rise + fall;
        let log_sinh = h + (-(-2.0 * h).exp()).ln_1p();
        (log_sinh - largest - sum.ln() - self.side.ln(), -(up - down) / (sum * self.edge_width))
    }

    /// log Σ f and its slope over the even strips of an axis, and over the odd ones.
    fn parities(&self, x: f64) -> [(f64, f64); 2] {
        let mut found = [(f64::NEG_INFINITY, 0.0); 2];
        for index in 0..self.n_squares {
            let (log, slope) = self.strip(index, x);
            let (sum, mean) = &mut found[index % 2];
            let together = log_sum_exp(&[*sum, log]);
            // Slopes of logarithms average with the shares of their terms.
            *mean = (*sum - together).exp() * *mean + (log - together).exp() * slope;
            *sum = together;
        }
        found
    }

    /// u and its gradient. A square is dark where column and row are both even or both odd, so the sum over
    /// squares is a product of sums for each parity.
    fn evaluate(&self, x: &[f64], gradient: Option<&mut [f64]>) -> f64 {
        let (columns, rows) = (self.parities(x[0]), self.parities(x[1]));
        let logs = [columns[0].0 + rows[0].0, columns[1].0 + rows[1].0];
        let total = log_sum_exp(&logs);
        if let Some(gradient) = gradient {
            let shares = logs.map(|log| (log - total).exp());
            gradient[0] = -(shares[0] * columns[0].1 + shares[1] * columns[1].1);
            gradient[1] = -(shares[0] * rows[0].1 + shares[1] * rows[1].1);
        }
        (self.n_dark() as f64).ln() - total
    }

    fn dark(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let n = self.n_squares;
        (0..n)
            .flat_map(move |row| (0..n).map(move |column| (column, row)))
            .filter(|&(c, r)| self.is_dark(c, r))
    }

    /// Draws one point.
    pub fn sample(&self, rng: &mut Rng, x: &mut [f64]) {
        let chosen = rng.random_range(0..self.n_dark());
        let (column, row) = self.dark().nth(chosen).unwrap_or((0, 0));
        for (x, index) in x.iter_mut().zip([column, row]) {
            let uniform = self.middle(index) + self.side * (rng.random::<f64>() - 0.5);
            // Inverse of the logistic function; 1 − p lies in (0, 1].
            let p: f64 = rng.random_range(f64::MIN_POSITIVE..1.0);
            *x = uniform + self.edge_width * (p.ln() - (-p).ln_1p());
        }
    }

    /// The dark square that contains a point; `None` on light squares and off the board.
    pub fn square(&self, x: &[f64]) -> Option<[usize; 2]> {
        let index = |x: f64| {
            let position = (x / self.side + 0.5 * self.n_squares as f64).floor();
            (position >= 0.0 && position < self.n_squares as f64).then_some(position as usize)
        };
        let (column, row) = (index(x[0])?, index(x[1])?);
        self.is_dark(column, row).then_some([column, row])
    }
}

impl ReducedPotential for Checkerboard {
    fn space(&self) -> Space {
        Space::Euclidean { dimension: 2 }
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        fill_energies(2, x, u, |x| self.evaluate(x, None));
        Ok(())
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        fill_gradients(2, x, u, gradient, |x, gradient| self.evaluate(x, Some(gradient)));
        Ok(())
    }
}

impl ExactPotential for Checkerboard {
    fn log_normalizer(&self) -> f64 {
        0.0
    }
}

/// Settings of [`Checkerboard`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckerboardSettings {
    #[serde(default = "four")]
    n_squares: usize,
    #[serde(default = "two")]
    side: f64,
    #[serde(default = "narrow")]
    edge_width: f64,
}

fn four() -> usize {
    4
}

fn two() -> f64 {
    2.0
}

fn narrow() -> f64 {
    0.05
}

impl Settings<dyn ExactPotential, ()> for CheckerboardSettings {
    const SUMMARY: &'static str = "the dark squares of a checkerboard, with smooth edges";
    const EXAMPLE: &'static str = "n_squares = 4\nside = 2.0\nedge_width = 0.05";

    fn build(self, _: &()) -> Result<Box<dyn ExactPotential>> {
        Ok(Box::new(Checkerboard::new(self.n_squares, self.side, self.edge_width)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};

    /// Midpoint sums of exp(−u) g(x) over a square well beyond the board.
    fn integral(board: &Checkerboard, g: impl Fn(&[f64], f64) -> f64) -> f64 {
        let (n, half) = (600, 6.0);
        let h = 2.0 * half / f64::from(n);
        let at = |i| -half + (f64::from(i) + 0.5) * h;
        let mut sum = 0.0;
        for i in 0..n {
            for j in 0..n {
                let x = [at(i), at(j)];
                let u = board.evaluate(&x, None);
                sum += (-u).exp() * g(&x, u);
            }
        }
        sum * h * h
    }

    #[test]
    fn the_density_is_normalised_and_samples_follow_it() {
        let board = Checkerboard::new(4, 2.0, 0.05).unwrap();
        assert!((integral(&board, |_, _| 1.0) - 1.0).abs() < 1e-9);
        let entropy = integral(&board, |_, u| u);
        let dark = integral(&board, |x, _| f64::from(u8::from(board.square(x).is_some())));

        let n = 40_000;
        let mut rng = Streams::new(4).stream(Purpose::Walker, 0);
        let (mut u_sum, mut u_square, mut n_dark, mut per_column) = (0.0, 0.0, 0.0, [0.0; 4]);
        for _ in 0..n {
            let mut x = [0.0; 2];
            board.sample(&mut rng, &mut x);
            let u = board.evaluate(&x, None);
            u_sum += u;
            u_square += u * u;
            if let Some([column, _]) = board.square(&x) {
                n_dark += 1.0;
                per_column[column] += 1.0;
            }
        }
        let n = f64::from(n);
        let mean = u_sum / n;
        assert!((mean - entropy).abs() < 4.0 * ((u_square / n - mean * mean) / n).sqrt(), "{mean} {entropy}");
        assert!((n_dark / n - dark).abs() < 4.0 * (dark * (1.0 - dark) / n).sqrt(), "{} {dark}", n_dark / n);
        assert!(dark > 0.9 && dark < 0.99, "{dark}");
        for count in per_column {
            let expected = 0.25 * dark;
            assert!((count / n - expected).abs() < 4.0 * (expected * (1.0 - expected) / n).sqrt());
        }
    }

    #[test]
    fn steep_edges_and_far_points_stay_finite() {
        let board = Checkerboard::new(3, 1.0, 1e-3).unwrap();
        for x in [[0.0, 0.0], [0.999, 0.2], [1e4, -1e4], [-1.2, 7.0]] {
            let mut gradient = [0.0; 2];
            let u = board.evaluate(&x, Some(&mut gradient));
            assert!(
                u.is_finite() && gradient.iter().all(|g| g.abs() <= 1e3 + 1e-6),
                "{x:?} {u} {gradient:?}"
            );
        }
        // Deep inside a dark square the density is 1/(5 squares of area 1).
        assert!((board.evaluate(&[0.0, 0.0], None) - 5_f64.ln()).abs() < 1e-12);
    }
}
