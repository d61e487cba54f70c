//! The distance r = |r_b − r_a| of two beads.

use super::{CollectiveVariable, between, check_beads, dot, label_or};
use crate::error::Result;
use crate::registry::Settings;
use crate::system::topology::Topology;
use serde::Deserialize;

/// A distance, in nm.
pub struct Distance {
    label: String,
    beads: [usize; 2],
}

impl Distance {
    /// Between two particles.
    pub fn new(label: impl Into<String>, beads: [usize; 2]) -> Self {
        Self { label: label.into(), beads }
    }
}

impl CollectiveVariable for Distance {
    fn label(&self) -> &str {
        &self.label
    }

    fn unit(&self) -> &'static str {
        "nm"
    }

    fn n_particles(&self) -> usize {
        self.beads[0].max(self.beads[1]) + 1
    }

    fn value(&self, positions_nm: &[f64]) -> f64 {
        let vector = between(positions_nm, self.beads[0], self.beads[1]);
        dot(vector, vector).sqrt()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DistanceSettings {
    beads: [usize; 2],
    label: Option<String>,
}

impl Settings<dyn CollectiveVariable, Topology> for DistanceSettings {
    const SUMMARY: &'static str = "Distance of two beads, nm.";
    const EXAMPLE: &'static str = "beads = [0, 4]\nlabel = \"end_to_end\"";

    fn build(self, topology: &Topology) -> Result<Box<dyn CollectiveVariable>> {
        check_beads(&self.beads, topology)?;
        Ok(Box::new(Distance::new(label_or(self.label, "distance", &self.beads), self.beads)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_pythagoras() {
        let value = Distance::new("r", [1, 0]).value(&[1.0, 2.0, 3.0, 1.3, 2.4, 4.2]);
        assert!((value - 1.3).abs() < 1e-14);
    }
}
