//! The root-mean-square distance to a reference after the best proper rotation (module `alignment`).

use super::{CollectiveVariable, check_beads};
use crate::error::{Error, Result};
use crate::registry::Settings;
use crate::system::alignment::rmsd_nm;
use crate::system::topology::Topology;
use serde::Deserialize;

/// Distance to a reference conformation, in nm. Mirror images are not brought to coincide.
pub struct Rmsd {
    label: String,
    beads: Vec<usize>,
    reference_nm: Vec<f64>,
}

impl Rmsd {
    /// Of these particles to `reference_nm`, which holds three numbers for each of them, in the same order.
    pub fn new(label: impl Into<String>, beads: Vec<usize>, reference_nm: Vec<f64>) -> Result<Self> {
        if beads.is_empty() || reference_nm.len() != 3 * beads.len() {
            return Err(Error::invalid(
                "reference of an RMSD",
                format!("3 × {} numbers for at least one bead", beads.len()),
                reference_nm.len().to_string(),
            ));
        }
        Ok(Self { label: label.into(), beads, reference_nm })
    }
}

impl CollectiveVariable for Rmsd {
    fn label(&self) -> &str {
        &self.label
    }

    fn unit(&self) -> &'static str {
        "nm"
    }

    fn n_particles(&self) -> usize {
        self.beads.iter().max().map_or(0, |largest| largest + 1)
    }

    fn value(&self, positions_nm: &[f64]) -> f64 {
        let chosen: Vec<f64> =
            self.beads.iter().flat_map(|&bead| &positions_nm[3 * bead..][..3]).copied().collect();
        rmsd_nm(&chosen, &self.reference_nm)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RmsdSettings {
    /// All beads when left out.
    beads: Option<Vec<usize>>,
    /// Positions of these beads in nm.
    reference_nm: Vec<[f64; 3]>,
    label: Option<String>,
}

impl Settings<dyn CollectiveVariable, Topology> for RmsdSettings {
    const SUMMARY: &'static str = "Root-mean-square distance to a reference after alignment, nm.";
    const EXAMPLE: &'static str = "beads = [0, 1, 2, 3]\n\
        reference_nm = [[0.0, 0.0, 0.0], [0.13, 0.0, 0.0], [0.18, 0.14, 0.0], [0.32, 0.15, 0.09]]";

    fn build(self, topology: &Topology) -> Result<Box<dyn CollectiveVariable>> {
        let beads = self.beads.unwrap_or_else(|| (0..topology.n_atoms()).collect());
        check_beads(&beads, topology)?;
        if beads.is_empty() || self.reference_nm.len() != beads.len() {
            return Err(Error::config(
                "reference_nm",
                format!(
                    "expected a position for each of {} beads, found {}",
                    beads.len(),
                    self.reference_nm.len()
                ),
                "",
            ));
        }
        Ok(Box::new(Rmsd::new(
            self.label.unwrap_or_else(|| "rmsd".into()),
            beads,
            self.reference_nm.concat(),
        )?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretching_a_pair_has_a_closed_form() {
        // Two points 0.2 nm apart against 0.3 nm: each is 0.05 nm off after alignment.
        let rmsd = Rmsd::new("rmsd", vec![2, 0], vec![0.0, 0.0, 0.0, 0.0, 0.3, 0.0]).expect("two points");
        let value = rmsd.value(&[0.2, 1.0, 1.0, 9.0, 9.0, 9.0, 0.4, 1.0, 1.0]);
        assert!((value - 0.05).abs() < 1e-12, "{value}");
    }
}
