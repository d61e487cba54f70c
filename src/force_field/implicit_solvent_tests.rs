//! Parameters of each atom against those of OpenMM. Energies are tested in `molecular_system`.

use std::path::Path;

use super::*;
use crate::force_field::amber_prmtop;
use crate::system::Atom;

const FILE: &str = include_str!("../../tests/data/aldp.prmtop");

fn solvent(text: &str, model: GeneralizedBorn) -> Result<ImplicitSolvent> {
    let file = Prmtop::parse(Path::new("a.prmtop"), text)?;
    of_prmtop(&file, &amber_prmtop::parameters(&file)?, model, true)
}

#[test]
fn the_methyl_carbon_has_the_radius_and_factors_of_each_model() {
    let found = |model| solvent(FILE, model).expect("a good file");
    for model in [GeneralizedBorn::Obc1, GeneralizedBorn::Obc2] {
        let carbon = found(model).atoms[1];
        assert!((carbon.radius_nm - 0.17).abs() < 1e-12 && (carbon.offset_radius_nm - 0.161).abs() < 1e-12);
        assert!((carbon.scaled_radius_nm - 0.72 * 0.161).abs() < 1e-12);
        assert!((carbon.charge + 0.3662).abs() < 1e-9);
    }
    assert_eq!(found(GeneralizedBorn::Obc1).atoms[1].gamma, 2.909_125);
    assert_eq!(found(GeneralizedBorn::Obc1).coulomb, COULOMB_CUSTOM_GB);
    assert!(found(GeneralizedBorn::Obc2).fills_engulfed && !found(GeneralizedBorn::Gbn2).fills_engulfed);
    assert_eq!(found(GeneralizedBorn::Obc2).coulomb, COULOMB);

    let neck_model = found(GeneralizedBorn::Gbn2);
    let carbon = neck_model.atoms[1];
    assert!((carbon.scaled_radius_nm - 1.058_554 * (0.17 - 0.019_514_1)).abs() < 1e-12);
    assert_eq!([carbon.alpha, carbon.beta, carbon.gamma], [0.733_756, 0.506_378, 0.205_844]);
    let neck = neck_model.neck.expect("a neck");
    // Radii of 1.2, 1.3, 1.5, 1.55 and 1.7 Å.
    assert_eq!(neck.n_classes, 5);
    // Two carbons: row and column 14 of the tables.
    let carbons = neck.classes[1] * neck.n_classes + neck.classes[1];
    assert!(
        (neck.d0_nm[carbons] - 0.369_995).abs() < 1e-9 && (neck.m0_per_nm[carbons] - 0.151_413).abs() < 1e-9
    );
}

#[test]
fn atoms_without_a_radius_are_named() {
    let start = FILE.find("%FLAG RADII ").expect("the section");
    let end = start + FILE[start + 1..].find("%FLAG").expect("a next section") + 1;
    let without = format!("{}{}", &FILE[..start], &FILE[end..]);
    let text = solvent(&without, GeneralizedBorn::Obc1).expect_err("no radii").to_string();
    assert!(text.contains("RADII"), "{text}");
    let with_carbon = |radius: &str| {
        let section = FILE[start..end].replacen("1.70000000E+00", radius, 1);
        format!("{}{section}{}", &FILE[..start], &FILE[end..])
    };
    let text = solvent(&with_carbon("0.00000000E+00"), GeneralizedBorn::Obc2).expect_err("none").to_string();
    assert!(text.contains("CH3 of ACE 1"), "{text}");
    let text = solvent(&with_carbon("2.10000000E+00"), GeneralizedBorn::Gbn2).expect_err("large").to_string();
    assert!(text.contains("1 to 2 Å"), "{text}");
    assert!(solvent(&with_carbon("2.10000000E+00"), GeneralizedBorn::Obc2).is_ok());
}

fn atom(name: &str, element: &str, residue: &str) -> Atom {
    Atom {
        name: name.into(),
        element: element.into(),
        residue_name: residue.into(),
        residue_id: 1,
        chain: String::new(),
        mass_da: 1.0,
    }
}

#[test]
fn radii_of_mbondi2_and_mbondi3_follow_bonds_and_residues() {
    // N–H of the guanidinium of arginine, C–H, and a carboxylate.
    let atoms = vec![
        atom("NH1", "N", "ARG"),
        atom("HH11", "H", "ARG"),
        atom("HE", "H", "ARG"),
        atom("CA", "C", "ARG"),
        atom("HA", "H", "ARG"),
        atom("CG", "C", "ASP"),
        atom("OD1", "O", "ASP"),
        atom("OD2", "O", "ASP"),
        atom("CL", "Cl", "LIG"),
    ];
    let bonds = vec![[0, 1], [0, 2], [3, 4], [5, 6], [5, 7], [3, 5], [0, 3]];
    let topology = Topology::new(atoms, bonds);
    let radii = |model| -> Vec<f64> {
        let radii = assign_radii(&topology, model).expect("known elements");
        radii.iter().map(|radius| (radius.radius_nm * 1e4).round() / 1e4).collect()
    };
    assert_eq!(radii(GeneralizedBorn::Obc2), [0.155, 0.13, 0.13, 0.17, 0.12, 0.17, 0.15, 0.15, 0.17]);
    assert_eq!(radii(GeneralizedBorn::Gbn2), [0.155, 0.117, 0.117, 0.17, 0.12, 0.17, 0.14, 0.14, 0.17]);

    let strange = Topology::new(vec![atom("EP", "X", "WAT")], Vec::new());
    let text = assign_radii(&strange, GeneralizedBorn::Obc1).expect_err("no element").to_string();
    assert!(text.contains("EP of WAT 1"), "{text}");
    let silicon = Topology::new(vec![atom("SI", "Si", "LIG")], Vec::new());
    assert!(assign_radii(&silicon, GeneralizedBorn::Gbn2).is_err(), "2.1 Å is beyond the tables of the neck");
}
