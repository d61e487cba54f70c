//! The radius of gyration: R_g² = Σ_i m_i |r_i − r_com|² / Σ_i m_i.

use super::{CollectiveVariable, check_beads};
use crate::error::{Error, Result};
use crate::registry::Settings;
use crate::system::topology::Topology;
use serde::Deserialize;

/// The mass-weighted radius of gyration, in nm.
pub struct RadiusOfGyration {
    label: String,
    /// Particles and their share of the mass.
    beads: Vec<(usize, f64)>,
}

impl RadiusOfGyration {
    /// Of particles with these masses in Da.
    pub fn new(label: impl Into<String>, beads: Vec<(usize, f64)>) -> Result<Self> {
        let mass_da: f64 = beads.iter().map(|(_, mass)| mass).sum();
        if beads.iter().any(|(_, mass)| *mass < 0.0) || mass_da.is_nan() || mass_da <= 0.0 {
            return Err(Error::invalid(
                "masses of a radius of gyration",
                "positive masses",
                mass_da.to_string(),
            ));
        }
        let beads = beads.into_iter().map(|(bead, mass)| (bead, mass / mass_da)).collect();
        Ok(Self { label: label.into(), beads })
    }
}

impl CollectiveVariable for RadiusOfGyration {
    fn label(&self) -> &str {
        &self.label
    }

    fn unit(&self) -> &'static str {
        "nm"
    }

    fn n_particles(&self) -> usize {
        self.beads.iter().map(|(bead, _)| bead + 1).max().unwrap_or(0)
    }

    fn value(&self, positions_nm: &[f64]) -> f64 {
        (0..3)
            .map(|axis| {
                let at = |bead: usize| positions_nm[3 * bead + axis];
                let mean: f64 = self.beads.iter().map(|&(bead, weight)| weight * at(bead)).sum();
                self.beads.iter().map(|&(bead, weight)| weight * (at(bead) - mean).powi(2)).sum::<f64>()
            })
            .sum::<f64>()
            .sqrt()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RadiusOfGyrationSettings {
    /// All beads when left out.
    beads: Option<Vec<usize>>,
    label: Option<String>,
}

impl Settings<dyn CollectiveVariable, Topology> for RadiusOfGyrationSettings {
    const SUMMARY: &'static str = "Mass-weighted radius of gyration, nm.";
    const EXAMPLE: &'static str = "";

    fn build(self, topology: &Topology) -> Result<Box<dyn CollectiveVariable>> {
        let beads = self.beads.unwrap_or_else(|| (0..topology.n_atoms()).collect());
        check_beads(&beads, topology)?;
        let beads = beads.into_iter().map(|bead| (bead, topology.atoms[bead].mass_da)).collect();
        let label = self.label.unwrap_or_else(|| "radius_of_gyration".into());
        Ok(Box::new(RadiusOfGyration::new(label, beads)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_masses_have_the_reduced_mass_form() {
        // R_g² = m₁ m₂ / (m₁ + m₂)² r²
        let gyration = RadiusOfGyration::new("rg", vec![(0, 1.0), (1, 3.0)]).expect("masses");
        let value = gyration.value(&[0.0, 0.0, 0.0, 0.0, 0.4, 0.3]);
        assert!((value - (3.0_f64 / 16.0).sqrt() * 0.5).abs() < 1e-15);
    }
}
