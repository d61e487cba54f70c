//! The angle θ ∈ [0, π] at the middle one of three beads.

use super::{CollectiveVariable, between, check_beads, cross, dot, label_or};
use crate::error::Result;
use crate::registry::Settings;
use crate::system::topology::Topology;
use serde::Deserialize;

/// An angle, in rad.
pub struct Angle {
    label: String,
    beads: [usize; 3],
}

impl Angle {
    /// At the second of three particles.
    pub fn new(label: impl Into<String>, beads: [usize; 3]) -> Self {
        Self { label: label.into(), beads }
    }
}

impl CollectiveVariable for Angle {
    fn label(&self) -> &str {
        &self.label
    }

    fn unit(&self) -> &'static str {
        "rad"
    }

    fn n_particles(&self) -> usize {
        self.beads.iter().max().map_or(0, |largest| largest + 1)
    }

    fn value(&self, positions_nm: &[f64]) -> f64 {
        let [a, b, c] = self.beads;
        let (u, v) = (between(positions_nm, b, a), between(positions_nm, b, c));
        // The arc tangent stays accurate near 0 and π, where the arc cosine loses half of the digits.
        let normal = cross(u, v);
        dot(normal, normal).sqrt().atan2(dot(u, v))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AngleSettings {
    beads: [usize; 3],
    label: Option<String>,
}

impl Settings<dyn CollectiveVariable, Topology> for AngleSettings {
    const SUMMARY: &'static str = "Angle at the second of three beads, rad.";
    const EXAMPLE: &'static str = "beads = [1, 2, 3]\nlabel = \"tau\"";

    fn build(self, topology: &Topology) -> Result<Box<dyn CollectiveVariable>> {
        check_beads(&self.beads, topology)?;
        Ok(Box::new(Angle::new(label_or(self.label, "angle", &self.beads), self.beads)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    #[test]
    fn straight_right_and_tetrahedral_angles() {
        let angle = |x: &[f64]| Angle::new("a", [0, 1, 2]).value(x);
        assert!((angle(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0]) - PI / 2.0).abs() < 1e-15);
        assert!((angle(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -3.0, 0.0, 0.0]) - PI).abs() < 1e-15);
        let tetrahedral = angle(&[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, -1.0, -1.0]);
        assert!((tetrahedral - (-1.0_f64 / 3.0).acos()).abs() < 1e-15);
        // 1e-9 away from straight, which an arc cosine cannot see.
        assert!((PI - angle(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 1e-9, 0.0]) - 1e-9).abs() < 1e-15);
    }
}
