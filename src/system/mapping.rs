//! From atoms to beads: R_b = Σ_i w_bi r_i with Σ_i w_bi = 1.
//!
//! A bead is one atom, or the weighted centre of several. The map is linear and normalised, so it
//! commutes with rotations and translations, and a bead has the mass of its atoms (Noid et al.,
//! J. Chem. Phys. 128, 244114, 2008, section II).

use crate::error::{Error, Result};
use crate::system::selection::select;
use crate::system::topology::{Atom, Topology};
use serde::{Deserialize, Serialize};

/// Which beads stand for the atoms. Nothing given: every atom is a bead.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MappingSettings {
    /// One bead per selected atom, for example `name C N CA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<String>,
    /// One bead per entry: weighted centres of groups of atoms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub centers: Vec<CenterSettings>,
}

/// A bead that is the centre of several atoms.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CenterSettings {
    /// Name of the bead.
    pub name: String,
    /// The atoms whose centre it is.
    pub selection: String,
    /// How they are weighted.
    #[serde(default)]
    pub weights: CenterWeights,
}

/// Weights of the atoms of a centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CenterWeights {
    /// Centre of mass.
    #[default]
    Mass,
    /// Centroid.
    Equal,
}

/// A linear map from the atoms of a topology to beads.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    n_atoms: usize,
    /// Atom indices and weights of each bead.
    beads: Vec<Vec<(usize, f64)>>,
    bead_topology: Topology,
}

impl Mapping {
    /// The map that the settings at key path `place` describe for these atoms.
    pub fn new(place: &str, settings: &MappingSettings, topology: &Topology) -> Result<Self> {
        if settings.selection.is_some() && !settings.centers.is_empty() {
            return Err(Error::config(
                place,
                "both `selection` and `centers` are given",
                "keep one: beads are single atoms or centres",
            ));
        }
        let mut beads = Vec::new();
        let mut atoms = Vec::new();
        if settings.centers.is_empty() {
            let indices = match &settings.selection {
                Some(expression) => select(&format!("{place}.selection"), expression, topology)?,
                None => (0..topology.n_atoms()).collect(),
            };
            for idx in indices {
                beads.push(vec![(idx, 1.0)]);
                atoms.push(topology.atoms[idx].clone());
            }
        } else {
            for (center_idx, center) in settings.centers.iter().enumerate() {
                let place = format!("{place}.centers[{center_idx}]");
                let indices = select(&format!("{place}.selection"), &center.selection, topology)?;
                let (bead, weights) = center_bead(&place, center, &indices, topology)?;
                beads.push(indices.into_iter().zip(weights).collect());
                atoms.push(bead);
            }
        }
        if let Some(unknown) = atoms.iter().find(|atom| atom.mass_da <= 0.0) {
            return Err(Error::config(
                place,
                format!("the mass of {} is not known (element `{}`)", unknown.describe(), unknown.element),
                "use a topology that states elements or masses, or leave the atom out",
            ));
        }
        let bonds = bead_bonds(topology, &beads, &atoms);
        Ok(Self { n_atoms: topology.n_atoms(), beads, bead_topology: Topology::new(atoms, bonds) })
    }

    /// The atoms it maps from.
    pub fn n_atoms(&self) -> usize {
        self.n_atoms
    }

    /// The beads it maps to.
    pub fn n_beads(&self) -> usize {
        self.beads.len()
    }

    /// The beads as a topology: names, masses in Da, bonds.
    ///
    /// Two beads are bonded when an atom of one is bonded to an atom of the other. Where this leaves
    /// the beads of a molecule unconnected (a chain of α-carbons), consecutive beads of the same
    /// molecule and chain are bonded as well until it is connected.
    pub fn topology(&self) -> &Topology {
        &self.bead_topology
    }

    /// Atom indices and weights of a bead.
    pub fn atoms_of(&self, bead_idx: usize) -> &[(usize, f64)] {
        &self.beads[bead_idx]
    }

    /// Positions of the beads of one frame; both `[particle][xyz]`, in the same unit.
    pub fn apply(&self, atom_positions: &[f64], bead_positions: &mut [f64]) -> Result<()> {
        if atom_positions.len() != 3 * self.n_atoms || bead_positions.len() != 3 * self.n_beads() {
            return Err(Error::invalid(
                "positions to map",
                format!("3 × {} to 3 × {} numbers", self.n_atoms, self.n_beads()),
                format!("{} to {}", atom_positions.len(), bead_positions.len()),
            ));
        }
        for (bead, position) in self.beads.iter().zip(bead_positions.chunks_exact_mut(3)) {
            for (axis, value) in position.iter_mut().enumerate() {
                *value = bead.iter().map(|&(atom, weight)| weight * atom_positions[3 * atom + axis]).sum();
            }
        }
        Ok(())
    }
}

fn center_bead(
    place: &str,
    center: &CenterSettings,
    indices: &[usize],
    topology: &Topology,
) -> Result<(Atom, Vec<f64>)> {
    let members: Vec<&Atom> = indices.iter().map(|&idx| &topology.atoms[idx]).collect();
    let mass_da: f64 = members.iter().map(|atom| atom.mass_da).sum();
    let weights = match center.weights {
        CenterWeights::Equal => vec![1.0 / members.len() as f64; members.len()],
        CenterWeights::Mass if mass_da > 0.0 => members.iter().map(|atom| atom.mass_da / mass_da).collect(),
        CenterWeights::Mass => {
            return Err(Error::config(
                place,
                "the selected atoms have no known mass",
                "use `weights = \"equal\"`, or a topology that states elements",
            ));
        }
    };
    // The element of a bead is that of its heaviest atom, so that viewers show something sensible.
    let heaviest = members.iter().max_by(|a, b| a.mass_da.total_cmp(&b.mass_da)).unwrap_or(&members[0]);
    let bead = Atom { name: center.name.clone(), mass_da, ..(*heaviest).clone() };
    Ok((bead, weights))
}

fn bead_bonds(topology: &Topology, beads: &[Vec<(usize, f64)>], bead_atoms: &[Atom]) -> Vec<[usize; 2]> {
    let mut beads_of_atom = vec![Vec::new(); topology.n_atoms()];
    for (bead_idx, members) in beads.iter().enumerate() {
        for &(atom, _) in members {
            beads_of_atom[atom].push(bead_idx);
        }
    }
    let mut bonds = Vec::new();
    for &[i, j] in &topology.bonds {
        for &a in &beads_of_atom[i] {
            bonds.extend(beads_of_atom[j].iter().filter(|&&b| b != a).map(|&b| [a.min(b), a.max(b)]));
        }
    }

    let molecule_of_atom = topology.molecules();
    let mut component = Topology::new(bead_atoms.to_vec(), bonds.clone()).molecules();
    for right in 1..beads.len() {
        let left = right - 1;
        let same_molecule = topology.bonds.is_empty()
            || molecule_of_atom[beads[left][0].0] == molecule_of_atom[beads[right][0].0];
        let same_chain = bead_atoms[left].chain == bead_atoms[right].chain;
        if component[left] != component[right] && same_molecule && same_chain {
            bonds.push([left, right]);
            let (kept, merged) = (component[left], component[right]);
            component.iter_mut().filter(|c| **c == merged).for_each(|c| *c = kept);
        }
    }
    bonds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::topology::tests::{alanine_dipeptide, atom};

    fn settings(text: &str) -> MappingSettings {
        toml::from_str(text).expect(text)
    }

    fn mapping(text: &str, topology: &Topology) -> Mapping {
        Mapping::new("beads", &settings(text), topology).expect(text)
    }

    #[test]
    fn five_backbone_beads_are_a_bonded_chain_with_the_masses_of_their_atoms() {
        let mapping = mapping("selection = 'index 4 6 8 14 16'", &alanine_dipeptide());
        let names: Vec<&str> = mapping.topology().atoms.iter().map(|atom| atom.name.as_str()).collect();
        assert_eq!(names, ["C", "N", "CA", "C", "N"]);
        assert_eq!(mapping.topology().masses_da(), [12.011, 14.007, 12.011, 12.011, 14.007]);
        assert_eq!(mapping.topology().bonds, [[0, 1], [1, 2], [2, 3], [3, 4]]);
        let atoms: Vec<f64> = (0..66).map(f64::from).collect();
        let mut beads = vec![0.0; 15];
        mapping.apply(&atoms, &mut beads).expect("sizes fit");
        assert_eq!(beads[..6], [12.0, 13.0, 14.0, 18.0, 19.0, 20.0]);
        assert!(mapping.apply(&atoms[1..], &mut beads).is_err());
    }

    #[test]
    fn nothing_given_means_every_atom() {
        let topology = alanine_dipeptide();
        assert_eq!(mapping("", &topology).topology(), &topology);
    }

    #[test]
    fn centres_of_mass_and_centroids_have_unit_weight_and_inherit_bonds() {
        let topology = alanine_dipeptide();
        let text = "centers = [{name = 'A', selection = 'resid 1'},
            {name = 'B', selection = 'resid 2', weights = 'equal'}, {name = 'C', selection = 'resid 3'}]";
        let mapping = mapping(text, &topology);
        for bead in 0..3 {
            let sum: f64 = mapping.atoms_of(bead).iter().map(|(_, weight)| weight).sum();
            assert!((sum - 1.0).abs() < 1e-14);
        }
        let total: f64 = topology.masses_da().iter().sum();
        assert!((mapping.topology().masses_da().iter().sum::<f64>() - total).abs() < 1e-9);
        assert_eq!(mapping.topology().bonds, [[0, 1], [1, 2]]);
        let carbon = mapping.atoms_of(0).iter().find(|(atom, _)| *atom == 1).expect("CH3");
        assert!((carbon.1 - 12.011 / (2.0 * 12.011 + 15.999 + 3.0 * 1.008)).abs() < 1e-12);
    }

    #[test]
    fn beads_that_no_bond_connects_follow_the_chain_but_never_join_molecules() {
        // N-CA-C-N-CA-C, then another molecule of one CA.
        let names = ["N", "CA", "C", "N", "CA", "C", "CA"];
        let atoms: Vec<Atom> = (0_i64..7).map(|i| atom(names[i as usize], "GLY", 1 + i / 3)).collect();
        let topology = Topology::new(atoms.clone(), vec![[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]);
        assert_eq!(mapping("selection = 'name CA'", &topology).topology().bonds, [[0, 1]]);
        // Without any bonds, the chain decides.
        let bare = Topology::new(atoms, Vec::new());
        assert_eq!(mapping("selection = 'name CA'", &bare).topology().bonds, [[0, 1], [1, 2]]);
    }

    #[test]
    fn contradictory_or_unknown_settings_are_named() {
        let topology = alanine_dipeptide();
        let both = settings("selection = 'all'\ncenters = [{name = 'A', selection = 'all'}]");
        assert!(Mapping::new("beads", &both, &topology).is_err());
        assert!(toml::from_str::<MappingSettings>("selecton = 'all'").is_err());
        let nothing = settings("centers = [{name = 'A', selection = 'resname LYS'}]");
        let text = Mapping::new("beads", &nothing, &topology).expect_err("no lysine").to_string();
        assert!(text.contains("beads.centers[0].selection"), "{text}");
    }
}
