//! How many pairs of beads touch: Σ_pairs 1 / (1 + (r / r₀)⁶), a smooth count.
//!
//! The sum is the rational switching function (1 − ρ⁶) / (1 − ρ¹²) without its removable singularity
//! at r = r₀, where a pair counts one half.

use super::{CollectiveVariable, between, check_beads, dot};
use crate::error::{Error, Result};
use crate::registry::Settings;
use crate::system::topology::Topology;
use serde::Deserialize;

/// A smooth number of contacts.
pub struct Contacts {
    label: String,
    pairs: Vec<[usize; 2]>,
    distance_nm: f64,
}

impl Contacts {
    /// Of these pairs of particles; a pair at `distance_nm` counts one half.
    pub fn new(label: impl Into<String>, pairs: Vec<[usize; 2]>, distance_nm: f64) -> Result<Self> {
        if pairs.is_empty() || distance_nm.is_nan() || distance_nm <= 0.0 {
            return Err(Error::invalid(
                "contacts",
                "at least one pair and a positive distance",
                format!("{} pairs, {distance_nm} nm", pairs.len()),
            ));
        }
        Ok(Self { label: label.into(), pairs, distance_nm })
    }
}

impl CollectiveVariable for Contacts {
    fn label(&self) -> &str {
        &self.label
    }

    fn unit(&self) -> &'static str {
        ""
    }

    fn n_particles(&self) -> usize {
        self.pairs.iter().flatten().max().map_or(0, |largest| largest + 1)
    }

    fn value(&self, positions_nm: &[f64]) -> f64 {
        let scale = 1.0 / (self.distance_nm * self.distance_nm);
        self.pairs
            .iter()
            .map(|&[i, j]| {
                let vector = between(positions_nm, i, j);
                1.0 / (1.0 + (dot(vector, vector) * scale).powi(3))
            })
            .sum()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContactsSettings {
    /// All pairs at least three bonds (or, without bonds, three places) apart when left out.
    pairs: Option<Vec<[usize; 2]>>,
    distance_nm: f64,
    label: Option<String>,
}

impl Settings<dyn CollectiveVariable, Topology> for ContactsSettings {
    const SUMMARY: &'static str = "Smooth number of pairs of beads within a distance.";
    const EXAMPLE: &'static str = "distance_nm = 0.45\npairs = [[0, 3], [0, 4], [1, 4]]";

    fn build(self, topology: &Topology) -> Result<Box<dyn CollectiveVariable>> {
        let pairs = self.pairs.unwrap_or_else(|| distant_pairs(topology));
        pairs.iter().try_for_each(|pair| check_beads(pair, topology))?;
        if self.distance_nm.is_nan() || self.distance_nm <= 0.0 {
            return Err(Error::config("distance_nm", format!("{} is not positive", self.distance_nm), ""));
        }
        if pairs.is_empty() {
            return Err(Error::config("pairs", "no two beads are three bonds apart", "name the pairs"));
        }
        let label = self.label.unwrap_or_else(|| "contacts".into());
        Ok(Box::new(Contacts::new(label, pairs, self.distance_nm)?))
    }
}

/// Pairs that are not within two bonds of each other; places along the chain where there are no bonds.
fn distant_pairs(topology: &Topology) -> Vec<[usize; 2]> {
    let neighbours = topology.neighbours();
    let near = |i: usize, j: usize| {
        if topology.bonds.is_empty() {
            return j - i < 3;
        }
        neighbours[i].iter().any(|&k| k == j || neighbours[k].contains(&j))
    };
    let n = topology.n_atoms();
    (0..n).flat_map(|i| (i + 1..n).map(move |j| [i, j])).filter(|&[i, j]| !near(i, j)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::collective_variable::tests::five_beads;

    #[test]
    fn a_pair_at_the_distance_counts_one_half_and_farther_ones_fade() {
        let contacts = Contacts::new("c", vec![[0, 1], [0, 2]], 0.5).expect("two pairs");
        let value = contacts.value(&[0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert!((value - (0.5 + 1.0 / 65.0)).abs() < 1e-14);
    }

    #[test]
    fn pairs_left_out_are_those_three_bonds_apart() {
        assert_eq!(distant_pairs(&five_beads()), vec![[0, 3], [0, 4], [1, 4]]);
    }
}
