//! Numbers that a conformation has: distances, angles, dihedrals and what is made of them.
//!
//! A collective variable ξ(x) takes the positions of one conformation in nm, `[particle][xyz]`, and
//! does not change when the conformation is rotated or translated. Particles are counted from 0 in
//! the topology that it was built for, usually that of the beads.

mod angle;
mod contacts;
mod dihedral;
mod distance;
mod linear_combination;
mod radius_of_gyration;
mod rmsd;

pub use angle::Angle;
pub use contacts::Contacts;
pub use dihedral::Dihedral;
pub use distance::Distance;
pub use linear_combination::LinearCombination;
pub use radius_of_gyration::RadiusOfGyration;
pub use rmsd::Rmsd;

use crate::error::{Error, Result};
use crate::registry::{Registry, entry};
use crate::system::topology::Topology;
use rayon::prelude::*;

/// A number that one conformation has.
pub trait CollectiveVariable: Send + Sync {
    /// What columns and axes call it, without the unit: `phi`.
    fn label(&self) -> &str;

    /// `rad`, `nm`, or empty for a pure number.
    fn unit(&self) -> &'static str;

    /// The period as the interval that values lie in, lower end included; `None` when not periodic.
    fn period(&self) -> Option<(f64, f64)> {
        None
    }

    /// How many particles a conformation must have at least.
    fn n_particles(&self) -> usize;

    /// The value for one conformation, `[particle][xyz]` in nm, of at least [`Self::n_particles`].
    fn value(&self, positions_nm: &[f64]) -> f64;

    /// The name of its column with the unit: `phi_rad`.
    fn column(&self) -> String {
        match self.unit() {
            "" => self.label().to_string(),
            unit => format!("{}_{unit}", self.label()),
        }
    }
}

impl dyn CollectiveVariable + '_ {
    /// The value for each of many conformations of `n_particles` particles.
    pub fn values(&self, n_particles: usize, positions_nm: &[f64]) -> Result<Vec<f64>> {
        if n_particles < self.n_particles() || !positions_nm.len().is_multiple_of(3 * n_particles) {
            return Err(Error::invalid(
                "positions for a collective variable",
                format!("conformations of at least {} particles", self.n_particles()),
                format!("{} numbers for conformations of {n_particles}", positions_nm.len()),
            ));
        }
        Ok(positions_nm.par_chunks_exact(3 * n_particles).with_min_len(256).map(|x| self.value(x)).collect())
    }
}

/// Every collective variable that a configuration can name.
pub static COLLECTIVE_VARIABLES: Registry<dyn CollectiveVariable, Topology> = Registry::new(
    "collective variable",
    &[
        entry::<distance::DistanceSettings, _, _>("distance"),
        entry::<angle::AngleSettings, _, _>("angle"),
        entry::<dihedral::DihedralSettings, _, _>("dihedral"),
        entry::<rmsd::RmsdSettings, _, _>("rmsd"),
        entry::<radius_of_gyration::RadiusOfGyrationSettings, _, _>("radius_of_gyration"),
        entry::<contacts::ContactsSettings, _, _>("contacts"),
        entry::<linear_combination::LinearCombinationSettings, _, _>("linear_combination"),
    ],
);

/// `label`, or the kind and its beads: `distance_0_1`.
fn label_or(label: Option<String>, kind: &str, beads: &[usize]) -> String {
    label.unwrap_or_else(|| {
        let beads: Vec<String> = beads.iter().map(usize::to_string).collect();
        format!("{kind}_{}", beads.join("_"))
    })
}

/// Errors unless all indices exist and differ.
fn check_beads(beads: &[usize], topology: &Topology) -> Result<()> {
    if let Some(missing) = beads.iter().find(|&&bead| bead >= topology.n_atoms()) {
        return Err(Error::config(
            "beads",
            format!("there is no bead {missing}"),
            format!("beads are counted from 0, there are {}", topology.n_atoms()),
        ));
    }
    if let Some(twice) = beads.iter().enumerate().find(|(i, bead)| beads[..*i].contains(bead)) {
        return Err(Error::config("beads", format!("bead {} is named twice", twice.1), String::new()));
    }
    Ok(())
}

/// The vector from particle `from` to particle `to`.
pub(super) fn between(positions: &[f64], from: usize, to: usize) -> [f64; 3] {
    std::array::from_fn(|axis| positions[3 * to + axis] - positions[3 * from + axis])
}

pub(super) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::system::topology::tests::atom;
    use nalgebra::{Rotation3, Vector3};

    /// Five connected beads, without any symmetry.
    pub(crate) const FIVE: [f64; 15] =
        [0.0, 0.0, 0.0, 0.132, 0.01, 0.0, 0.18, 0.145, 0.02, 0.33, 0.15, -0.03, 0.40, 0.07, 0.06];

    pub(crate) fn five_beads() -> Topology {
        let atoms = ["C", "N", "CA", "C", "N"].map(|name| atom(name, "ALA", 1)).to_vec();
        Topology::new(atoms, vec![[0, 1], [1, 2], [2, 3], [3, 4]])
    }

    pub(crate) fn build(text: &str) -> Result<Box<dyn CollectiveVariable>> {
        COLLECTIVE_VARIABLES.build("cv", text.parse().expect(text), &five_beads())
    }

    fn transformed(matrix: nalgebra::Matrix3<f64>, shift: [f64; 3]) -> Vec<f64> {
        FIVE.chunks(3)
            .flat_map(|x| {
                let moved: [f64; 3] = (matrix * Vector3::from_column_slice(x) + Vector3::from(shift)).into();
                moved
            })
            .collect()
    }

    #[test]
    fn every_example_builds_and_is_invariant_to_rotation_and_translation() {
        for entry in COLLECTIVE_VARIABLES.entries {
            let text = format!("kind = \"{}\"\n{}", entry.name, entry.example);
            let variable = build(&text).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
            let value = variable.value(&FIVE);
            assert!(value.is_finite(), "{}", entry.name);
            for step in 0..5 {
                let angle = 0.3 + f64::from(step);
                let rotation = Rotation3::from_euler_angles(angle, 2.0 * angle, -0.7 * angle);
                let moved = transformed(*rotation.matrix(), [10.0, -3.0, angle]);
                assert!((variable.value(&moved) - value).abs() < 1e-9, "{}", entry.name);
            }
            let many: Vec<f64> = FIVE.repeat(3);
            assert_eq!(variable.values(5, &many).expect("three frames"), vec![value; 3]);
            assert!(variable.values(variable.n_particles() - 1, &many).is_err());
        }
    }

    #[test]
    fn reflection_changes_the_sign_of_dihedrals_and_the_rmsd_and_nothing_else() {
        let mirrored = transformed(nalgebra::Matrix3::from_diagonal(&Vector3::new(1.0, 1.0, -1.0)), [0.0; 3]);
        for entry in COLLECTIVE_VARIABLES.entries {
            let variable = build(&format!("kind = \"{}\"\n{}", entry.name, entry.example)).expect(entry.name);
            let (value, image) = (variable.value(&FIVE), variable.value(&mirrored));
            match entry.name {
                "dihedral" => assert!((value + image).abs() < 1e-12 && value.abs() > 0.1),
                "rmsd" => assert!((value - image).abs() > 1e-4, "{value} {image}"),
                name => assert!((value - image).abs() < 1e-12, "{name}"),
            }
        }
    }

    #[test]
    fn wrong_beads_and_keys_are_named() {
        let text = build("kind = \"distance\"\nbeads = [0, 5]").err().expect("bead 5").to_string();
        assert!(text.contains("no bead 5") && text.contains("there are 5"), "{text}");
        assert!(build("kind = \"distance\"\nbeads = [1, 1]").is_err());
        assert!(build("kind = \"distance\"\nbeads = [0, 1]\ncolour = 1").is_err());
        let text = build("kind = \"dihedrl\"").err().expect("no such kind").to_string();
        assert!(text.contains("did you mean `dihedral`?"), "{text}");
    }
}
