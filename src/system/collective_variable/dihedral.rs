//! The dihedral φ ∈ [−π, π) of four beads in the sign convention of IUPAC (1970).
//!
//! Looking from the second bead to the third, φ is the clockwise angle from the first to the fourth;
//! cis is 0. So the α-helix of L-amino acids has negative φ and ψ. With b₁ = r₂ − r₁, b₂ = r₃ − r₂ and
//! b₃ = r₄ − r₃: φ = atan2(|b₂| b₁·(b₂ × b₃), (b₁ × b₂)·(b₂ × b₃)) (Blondel and Karplus, J. Comput. Chem.
//! 17, 1132, 1996).

use super::{CollectiveVariable, between, check_beads, cross, dot, label_or};
use crate::error::Result;
use crate::registry::Settings;
use crate::system::topology::Topology;
use serde::Deserialize;
use std::f64::consts::PI;

/// A dihedral, in rad, with period 2π.
pub struct Dihedral {
    label: String,
    beads: [usize; 4],
}

impl Dihedral {
    /// About the axis from the second to the third of four particles.
    pub fn new(label: impl Into<String>, beads: [usize; 4]) -> Self {
        Self { label: label.into(), beads }
    }
}

impl CollectiveVariable for Dihedral {
    fn label(&self) -> &str {
        &self.label
    }

    fn unit(&self) -> &'static str {
        "rad"
    }

    fn period(&self) -> Option<(f64, f64)> {
        Some((-PI, PI))
    }

    fn n_particles(&self) -> usize {
        self.beads.iter().max().map_or(0, |largest| largest + 1)
    }

    fn value(&self, positions_nm: &[f64]) -> f64 {
        let [a, b, c, d] = self.beads;
        let (b1, b2, b3) =
            (between(positions_nm, a, b), between(positions_nm, b, c), between(positions_nm, c, d));
        let (n1, n2) = (cross(b1, b2), cross(b2, b3));
        let angle = (dot(b2, b2).sqrt() * dot(b1, n2)).atan2(dot(n1, n2));
        if angle >= PI { angle - 2.0 * PI } else { angle }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DihedralSettings {
    beads: [usize; 4],
    label: Option<String>,
}

impl Settings<dyn CollectiveVariable, Topology> for DihedralSettings {
    const SUMMARY: &'static str = "Dihedral angle of four beads, rad, in the IUPAC sign convention.";
    const EXAMPLE: &'static str = "beads = [0, 1, 2, 3]\nlabel = \"phi\"";

    fn build(self, topology: &Topology) -> Result<Box<dyn CollectiveVariable>> {
        check_beads(&self.beads, topology)?;
        Ok(Box::new(Dihedral::new(label_or(self.label, "dihedral", &self.beads), self.beads)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dihedral(x: &[f64]) -> f64 {
        Dihedral::new("phi", [0, 1, 2, 3]).value(x)
    }

    #[test]
    fn clockwise_seen_along_the_axis_is_positive() {
        // The axis points along +z, away from the viewer, who stands at negative z. With x pointing
        // up, +y lies to the right for a viewer looking along +z: clockwise from x to y.
        let at = |angle: f64| {
            dihedral(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, angle.cos(), angle.sin(), 1.0])
        };
        for degrees in [-179, -120, -57, 0, 30, 90, 179] {
            let angle = f64::from(degrees).to_radians();
            assert!((at(angle) - angle).abs() < 1e-14, "{degrees}");
        }
        // Trans is the lower end of the half-open interval.
        assert!((at(PI) + PI).abs() < 1e-14);
    }

    #[test]
    fn the_ideal_right_handed_helix_has_a_positive_dihedral_of_its_alpha_carbons() {
        // α-helix: 1.5 Å rise and 100° per residue, radius 2.3 Å, right-handed. The dihedral of four
        // consecutive Cα is +50°; in a left-handed one it is −50° (Levitt, J. Mol. Biol. 104, 59, 1976).
        let helix: Vec<f64> = (0..4)
            .flat_map(|i| {
                let turn = f64::from(i) * 100_f64.to_radians();
                [0.23 * turn.cos(), 0.23 * turn.sin(), 0.15 * f64::from(i)]
            })
            .collect();
        let degrees = dihedral(&helix).to_degrees();
        assert!((degrees - 50.0).abs() < 2.0, "{degrees}");
    }
}
