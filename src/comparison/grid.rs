//! Samples of two collective variables and the grids on which they are counted.

use crate::error::{Error, Result};
use std::f64::consts::PI;

/// Two collective variables of each frame, `[frame][variable]`, and the weights of the frames.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    values: &'a [f64],
    weights: Option<&'a [f64]>,
}

impl<'a> Sample<'a> {
    /// Equally weighted frames; errors for none, an odd count of numbers and anything not finite.
    pub fn new(values: &'a [f64]) -> Result<Self> {
        if values.is_empty() || !values.len().is_multiple_of(2) {
            return Err(Error::invalid(
                "sample of two collective variables",
                "two numbers per frame and at least one frame",
                format!("{} numbers", values.len()),
            ));
        }
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::invalid(
                "sample of two collective variables",
                "finite numbers",
                format!("{} in frame {}", values[place], place / 2),
            ));
        }
        Ok(Self { values, weights: None })
    }

    /// The same frames with weights ≥ 0, in any normalisation.
    pub fn with_weights(self, weights: &'a [f64]) -> Result<Self> {
        let usable = weights.len() == self.n_frames()
            && weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0)
            && weights.iter().any(|weight| *weight > 0.0);
        if !usable {
            return Err(Error::invalid(
                "weights of a sample",
                format!("{} finite numbers ≥ 0, not all zero", self.n_frames()),
                format!("{} numbers", weights.len()),
            ));
        }
        Ok(Self { weights: Some(weights), ..self })
    }

    /// How many frames.
    pub fn n_frames(&self) -> usize {
        self.values.len() / 2
    }

    /// `[frame][variable]`.
    pub fn values(&self) -> &'a [f64] {
        self.values
    }

    /// Both variables of one frame.
    pub fn frame(&self, frame_idx: usize) -> [f64; 2] {
        [self.values[2 * frame_idx], self.values[2 * frame_idx + 1]]
    }

    /// The weight of one frame, one without weights.
    pub fn weight(&self, frame_idx: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[frame_idx])
    }

    /// The weights, unless all are equal.
    pub fn weights(&self) -> Option<&'a [f64]> {
        self.weights
    }
}

/// Equal bins in each of two variables.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    edges: [Vec<f64>; 2],
    rule: Rule,
}

/// What happens at and beyond the ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// Bins include their lower edge, the last one both; beyond lies nothing. As `numpy.histogram2d`.
    Closed,
    /// As `Closed`, after angles have been folded into one period.
    Periodic,
    /// One more bin below the first edge, and one at and above the last. As `numpy.digitize`.
    Outliers,
}

impl Grid {
    /// Bins from the least to the largest value in all samples together.
    pub fn pooled(samples: &[&Sample], n_bins: usize) -> Self {
        let range = |variable: usize| {
            let values = samples.iter().flat_map(|s| s.values[variable..].iter().step_by(2));
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)))
        };
        Self::spanning([range(0), range(1)], n_bins)
    }

    /// Closed bins over two ranges; a range without extent is widened by ½ on both sides, as numpy does.
    pub fn spanning(ranges: [(f64, f64); 2], n_bins: usize) -> Self {
        let widened =
            |(low, high): (f64, f64)| if low < high { (low, high) } else { (low - 0.5, high + 0.5) };
        Self { edges: ranges.map(|range| linspace(widened(range), n_bins.max(1) + 1)), rule: Rule::Closed }
    }

    /// A full turn in both variables, −π to π, whatever the data.
    pub fn periodic(n_bins: usize) -> Self {
        let edges = linspace((-PI, PI), n_bins.max(1) + 1);
        Self { edges: [edges.clone(), edges], rule: Rule::Periodic }
    }

    /// `n_bins − 1` edges from −π to π in both variables, so `n_bins − 2` bins inside and two of outliers.
    pub fn with_outliers(n_bins: usize) -> Self {
        let edges = linspace((-PI, PI), n_bins.max(3) - 1);
        Self { edges: [edges.clone(), edges], rule: Rule::Outliers }
    }

    /// Bins along one variable, outliers included.
    fn n_along(&self, variable: usize) -> usize {
        let inside = self.edges[variable].len() - 1;
        if self.rule == Rule::Outliers { inside + 2 } else { inside }
    }

    /// Bins in all.
    pub fn n_bins(&self) -> usize {
        self.n_along(0) * self.n_along(1)
    }

    /// Edges of the bins inside, for each variable.
    pub fn edges(&self) -> &[Vec<f64>; 2] {
        &self.edges
    }

    /// Index `bin₀ · n₁ + bin₁`; `None` outside a grid without outlier bins.
    pub fn bin(&self, frame: [f64; 2]) -> Option<usize> {
        Some(self.along(0, frame[0])? * self.n_along(1) + self.along(1, frame[1])?)
    }

    fn along(&self, variable: usize, mut value: f64) -> Option<usize> {
        let edges = &self.edges[variable];
        let n = edges.len() - 1;
        let (low, high) = (edges[0], edges[n]);
        if self.rule == Rule::Periodic && !(low..=high).contains(&value) {
            value -= (high - low) * ((value - low) / (high - low)).floor();
        }
        if self.rule == Rule::Outliers {
            if value < low {
                return Some(0);
            }
            if value >= high {
                return Some(n + 1);
            }
        } else if !(low..=high).contains(&value) {
            return None;
        }
        // The division may round across an edge; the edges themselves decide.
        let mut bin = (((value - low) / (high - low) * n as f64) as usize).min(n - 1);
        if value < edges[bin] {
            bin -= 1;
        } else if bin + 1 < n && value >= edges[bin + 1] {
            bin += 1;
        }
        Some(if self.rule == Rule::Outliers { bin + 1 } else { bin })
    }

    /// Weight in each bin, as numpy's histogram of counts.
    pub fn histogram(&self, sample: &Sample) -> Vec<f64> {
        let mut histogram = vec![0.0; self.n_bins()];
        for n in 0..sample.n_frames() {
            if let Some(bin) = self.bin(sample.frame(n)) {
                histogram[bin] += sample.weight(n);
            }
        }
        histogram
    }
}

/// Equally spaced numbers with both ends, rounded as `numpy.linspace` rounds them.
fn linspace((low, high): (f64, f64), n: usize) -> Vec<f64> {
    let step = (high - low) / (n - 1) as f64;
    let mut values: Vec<f64> = (0..n).map(|i| i as f64 * step + low).collect();
    values[n - 1] = high;
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_belong_where_numpy_puts_them() {
        let closed = Grid::spanning([(0.0, 1.0), (0.0, 1.0)], 2);
        assert_eq!(closed.bin([0.0, 0.5]), Some(1));
        assert_eq!(closed.bin([1.0, 1.0]), Some(3));
        assert_eq!(closed.bin([1.1, 0.0]), None);

        let outliers = Grid::with_outliers(64);
        assert_eq!(outliers.n_bins(), 64 * 64);
        assert_eq!(outliers.bin([-4.0, -PI]), Some(1));
        assert_eq!(outliers.bin([PI, 4.0]), Some(63 * 64 + 63));

        let periodic = Grid::periodic(64);
        assert_eq!(periodic.bin([PI + 0.01, -PI]), periodic.bin([-PI + 0.01, -PI]));
    }

    #[test]
    fn bad_samples_are_errors_that_name_the_frame() {
        let error = Sample::new(&[0.0, 0.0, f64::NAN, 0.0]).unwrap_err().to_string();
        assert!(error.contains("NaN in frame 1"), "{error}");
        assert!(Sample::new(&[]).is_err() && Sample::new(&[1.0]).is_err());
        assert!(Sample::new(&[0.0, 0.0]).unwrap().with_weights(&[0.0]).is_err());
    }
}
