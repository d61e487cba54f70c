//! The vectors of a periodic box, and what follows from them.

use crate::error::{Error, Result};

/// A box with a along x and b in the xy plane, reduced: no vector leans over more than half of another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Rows a, b, c, nm.
    pub vectors: [[f64; 3]; 3],
    /// Columns are the reciprocal vectors, 1/nm: fractional coordinates are x · `inverse`.
    pub inverse: [[f64; 3]; 3],
    /// nm³
    pub volume: f64,
}

impl Cell {
    /// A box in which every pair has at most one image within the cutoff.
    pub fn new(vectors_nm: [[f64; 3]; 3], cutoff_nm: f64) -> Result<Self> {
        let [a, mut b, mut c] = vectors_nm;
        let (ax, by, cz) = (a[0], b[1], c[2]);
        let is_triangular = a[1] == 0.0 && a[2] == 0.0 && b[2] == 0.0;
        // Written so that NaN fails as well.
        let is_wide = [ax, by, cz].iter().all(|&length| length.is_finite() && length >= 2.0 * cutoff_nm);
        if !is_triangular || !is_wide || !vectors_nm.as_flattened().iter().all(|value| value.is_finite()) {
            let expected = format!(
                "a along x, b in the xy plane, and a box at least twice the cutoff of {cutoff_nm} nm wide"
            );
            return Err(Error::invalid("periodic box", expected, format!("{vectors_nm:?} nm")));
        }
        let subtract = |from: &mut [f64; 3], what: &[f64; 3], axis: usize| {
            // Exactly one half is reduced already.
            let times = (from[axis] / what[axis] * (1.0 - 1e-9)).round();
            from.iter_mut().zip(what).for_each(|(value, other)| *value -= times * other);
        };
        subtract(&mut c, &b, 1);
        subtract(&mut c, &a, 0);
        subtract(&mut b, &a, 0);
        let inverse = [
            [1.0 / ax, 0.0, 0.0],
            [-b[0] / (ax * by), 1.0 / by, 0.0],
            [(b[0] * c[1] - by * c[0]) / (ax * by * cz), -c[1] / (by * cz), 1.0 / cz],
        ];
        Ok(Self { vectors: [a, b, c], inverse, volume: ax * by * cz })
    }

    /// Coordinates in units of the vectors, in [0, 1).
    #[inline]
    pub fn fractional(&self, x: [f64; 3]) -> [f64; 3] {
        let r = &self.inverse;
        let s = [
            x[0] * r[0][0] + x[1] * r[1][0] + x[2] * r[2][0],
            x[1] * r[1][1] + x[2] * r[2][1],
            x[2] * r[2][2],
        ];
        // A tiny negative number becomes 1 by rounding.
        s.map(|s| s - s.floor()).map(|s| if s < 1.0 { s } else { s - 1.0 })
    }

    /// From units of the vectors to nm.
    #[inline]
    pub fn cartesian(&self, s: [f64; 3]) -> [f64; 3] {
        let [a, b, c] = &self.vectors;
        [s[0] * a[0] + s[1] * b[0] + s[2] * c[0], s[1] * b[1] + s[2] * c[1], s[2] * c[2]]
    }

    /// Distances between opposite faces in nm.
    pub fn widths(&self) -> [f64; 3] {
        std::array::from_fn(|k| 1.0 / (0..3).map(|j| self.inverse[j][k].powi(2)).sum::<f64>().sqrt())
    }
}
