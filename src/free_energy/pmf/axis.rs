//! Bins along one collective variable.

use crate::error::{Error, Result};

/// Bins between ascending edges, equal or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    edges: Vec<f64>,
    periodic: bool,
    /// Bins per unit when all have the same width, which saves the search.
    per_unit: Option<f64>,
}

impl Axis {
    /// Equal bins between two finite ends.
    ///
    /// A periodic axis has the period `high − low`: values outside are images of values inside.
    pub fn new(low: f64, high: f64, n_bins: usize, periodic: bool) -> Result<Self> {
        if !(low.is_finite() && high.is_finite() && low < high && n_bins > 0) {
            return Err(Error::invalid(
                "axis of a histogram",
                "finite low < high and at least one bin",
                format!("{low} to {high} in {n_bins} bins"),
            ));
        }
        Ok(Self::equal(low, high, n_bins, periodic))
    }

    fn equal(low: f64, high: f64, n_bins: usize, periodic: bool) -> Self {
        let width = (high - low) / n_bins as f64;
        let mut edges: Vec<f64> = (0..=n_bins).map(|i| low + i as f64 * width).collect();
        edges[n_bins] = high;
        Self { edges, periodic, per_unit: Some(1.0 / width) }
    }

    /// Bins between given edges; those of a periodic axis span one period.
    pub fn with_edges(edges: Vec<f64>, periodic: bool) -> Result<Self> {
        if edges.len() < 2 || edges.iter().any(|edge| !edge.is_finite()) {
            return Err(Error::invalid(
                "edges of a histogram",
                "at least two finite numbers",
                format!("{edges:?}"),
            ));
        }
        if let Some(pair) = edges.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(Error::invalid(
                "edges of a histogram",
                "ascending numbers",
                format!("{} before {}", pair[0], pair[1]),
            ));
        }
        Ok(Self { edges, periodic, per_unit: None })
    }

    /// A full turn from −π to π, periodic.
    pub fn angle(n_bins: usize) -> Self {
        Self::equal(-std::f64::consts::PI, std::f64::consts::PI, n_bins.max(1), true)
    }

    /// Lower end of the first bin.
    pub fn low(&self) -> f64 {
        self.edges[0]
    }

    /// Upper end of the last bin.
    pub fn high(&self) -> f64 {
        self.edges[self.edges.len() - 1]
    }

    /// From one end to the other.
    pub fn span(&self) -> f64 {
        self.high() - self.low()
    }

    /// How many bins.
    pub fn n_bins(&self) -> usize {
        self.edges.len() - 1
    }

    /// Whether values outside are images of values inside.
    pub fn is_periodic(&self) -> bool {
        self.periodic
    }

    /// One more than there are bins.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Middle of each bin.
    pub fn centers(&self) -> Vec<f64> {
        self.edges.windows(2).map(|pair| 0.5 * (pair[0] + pair[1])).collect()
    }

    /// Width of each bin.
    pub fn widths(&self) -> Vec<f64> {
        self.edges.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// The image of a value inside the axis when it is periodic, the value itself when not.
    pub fn wrapped(&self, value: f64) -> f64 {
        if !self.periodic {
            return value;
        }
        let fraction = (value - self.low()) / self.span();
        (value - fraction.floor() * self.span()).clamp(self.low(), self.high())
    }

    /// b − a along the shortest way.
    pub fn difference(&self, a: f64, b: f64) -> f64 {
        if !self.periodic {
            return b - a;
        }
        let span = self.span();
        (b - a) - span * ((b - a) / span).round()
    }

    /// The bin of a value; `None` outside an axis that is not periodic, and for NaN.
    ///
    /// An edge belongs to the bin above it, and the last one to the last bin, as in every common histogram.
    pub fn bin(&self, value: f64) -> Option<usize> {
        let value = self.wrapped(value);
        if !(value >= self.low() && value <= self.high()) {
            return None;
        }
        let last = self.n_bins() - 1;
        let Some(per_unit) = self.per_unit else {
            return Some(self.edges.partition_point(|edge| *edge <= value).saturating_sub(1).min(last));
        };
        // The quotient may round to the other side of an edge.
        let mut bin = (((value - self.low()) * per_unit) as usize).min(last);
        if bin > 0 && value < self.edges[bin] {
            bin -= 1;
        } else if bin < last && value >= self.edges[bin + 1] {
            bin += 1;
        }
        Some(bin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_belongs_to_the_bin_above_it_whatever_rounding_says() {
        for n_bins in 1..60 {
            let axis = Axis::new(-0.3, 0.7, n_bins, false).unwrap();
            for bin in 0..n_bins {
                assert_eq!(axis.bin(axis.edges()[bin]), Some(bin));
                assert_eq!(axis.bin(axis.edges()[bin + 1].next_down()), Some(bin));
            }
            assert_eq!(axis.bin(0.7), Some(n_bins - 1));
            assert_eq!((axis.bin(0.700001), axis.bin(-0.300001), axis.bin(f64::NAN)), (None, None, None));
        }
    }

    #[test]
    fn unequal_bins_and_images_are_found() {
        let axis = Axis::with_edges(vec![0.0, 1.0, 4.0, 10.0], true).unwrap();
        assert_eq!(
            [0.0, 1.0, 3.9, 4.0, 10.0, -0.5, 11.5].map(|x| axis.bin(x).unwrap()),
            [0, 1, 1, 2, 0, 2, 1]
        );
        assert_eq!(axis.difference(9.0, 1.0), 2.0);
        assert_eq!(axis.widths(), [1.0, 3.0, 6.0]);
        assert!(Axis::with_edges(vec![0.0, 2.0, 1.0], false).unwrap_err().to_string().contains("2 before 1"));
        assert!(
            Axis::with_edges(vec![0.0, f64::NAN], false).is_err() && Axis::new(0.0, 1.0, 0, false).is_err()
        );
    }
}
