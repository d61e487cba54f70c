//! Energies of assigned systems against OpenMM's `ForceField` (`tests/data/assign/generate.py`), and what
//! is said about structures that do not fit.

use super::*;
use crate::force_field::parameters::COULOMB;
use crate::system::Atom;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    let folder = if name == "aldp" { "tests/data" } else { "tests/data/assign" };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(format!("{name}.pdb"))
}

fn read(name: &str) -> (Topology, Vec<f64>) {
    let structure = crate::trajectory::read_structure(&file(name)).unwrap();
    (structure.topology, structure.positions_nm.unwrap())
}

type Vector = [f64; 3];

fn minus(a: Vector, b: Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The energies straight from the definitions in `Parameters`: bond, angle, torsion, nonbonded.
fn energies(parameters: &Parameters, positions_nm: &[f64]) -> [f64; 4] {
    let at = |i: usize| -> Vector { [positions_nm[3 * i], positions_nm[3 * i + 1], positions_nm[3 * i + 2]] };
    let distance = |i: usize, j: usize| dot(minus(at(i), at(j)), minus(at(i), at(j))).sqrt();
    let bond = parameters
        .bonds
        .iter()
        .map(|bond| 0.5 * bond.stiffness * (distance(bond.atoms[0], bond.atoms[1]) - bond.length_nm).powi(2));
    let angle = parameters.angles.iter().map(|angle| {
        let [i, j, k] = angle.atoms.map(at);
        let (a, b) = (minus(i, j), minus(k, j));
        let theta = dot(cross(a, b), cross(a, b)).sqrt().atan2(dot(a, b));
        0.5 * angle.stiffness * (theta - angle.angle_rad).powi(2)
    });
    let torsion = parameters.torsions.iter().map(|torsion| {
        let [i, j, k, l] = torsion.atoms.map(at);
        let (b1, b2, b3) = (minus(j, i), minus(k, j), minus(l, k));
        let (n1, n2) = (cross(b1, b2), cross(b2, b3));
        let phi = (dot(b2, b2).sqrt() * dot(b1, n2)).atan2(dot(n1, n2));
        torsion.barrier * (1.0 + (f64::from(torsion.periodicity) * phi - torsion.phase_rad).cos())
    });
    let pair = |r: f64, charge_product: f64, sigma: f64, epsilon: f64| {
        let s6 = (sigma / r).powi(6);
        COULOMB * charge_product / r + 4.0 * epsilon * (s6 * s6 - s6)
    };
    let nonbonded = &parameters.nonbonded;
    let mut pairs = 0.0;
    let exceptions: BTreeSet<[usize; 2]> = nonbonded.exceptions.iter().map(|e| e.atoms).collect();
    assert_eq!(exceptions.len(), nonbonded.exceptions.len());
    for exception in &nonbonded.exceptions {
        let r = distance(exception.atoms[0], exception.atoms[1]);
        pairs += pair(r, exception.charge_product, exception.sigma_nm, exception.epsilon);
    }
    for i in 0..parameters.n_atoms() {
        for j in i + 1..parameters.n_atoms() {
            if !exceptions.contains(&[i, j]) {
                let sigma = 0.5 * (nonbonded.sigma_nm[i] + nonbonded.sigma_nm[j]);
                let epsilon = (nonbonded.epsilon[i] * nonbonded.epsilon[j]).sqrt();
                pairs += pair(distance(i, j), nonbonded.charges[i] * nonbonded.charges[j], sigma, epsilon);
            }
        }
    }
    [bond.sum(), angle.sum(), torsion.sum(), pairs]
}

#[test]
fn energies_of_every_residue_and_terminus_are_those_of_openmm() {
    let text = std::fs::read_to_string(file("x").with_file_name("openmm_energies.json")).unwrap();
    let reference: BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>> =
        serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for (structure, by_force_field) in &reference {
        let (topology, positions_nm) = read(structure);
        for (force_field, expected) in by_force_field {
            let parameters = assign(&topology, &positions_nm, force_field).unwrap();
            let counts = [
                ("n_atoms", parameters.n_atoms()),
                ("n_bond", parameters.bonds.len()),
                ("n_angle", parameters.angles.len()),
                ("n_torsion", parameters.torsions.len()),
                ("n_nonbonded", parameters.nonbonded.exceptions.len()),
            ];
            for (name, count) in counts {
                assert_eq!(count as f64, expected[name], "{structure}, {force_field}: {name}");
            }
            let mass: f64 = parameters.topology.masses_da().iter().sum();
            assert!((mass - expected["mass_da"]).abs() < 1e-6, "{structure}, {force_field}");
            let found = energies(&parameters, &positions_nm);
            for (name, found) in ["bond", "angle", "torsion", "nonbonded"].into_iter().zip(found) {
                let deviation = (found - expected[name]).abs() / expected[name].abs();
                // Files hold angles and phases of ff96 and ff99SB with 12 digits.
                assert!(
                    deviation < 1e-9,
                    "{structure}, {force_field}: {name} {found}, deviation {deviation:.1e}"
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 4 * 13);
}

fn message(topology: &Topology, positions_nm: &[f64]) -> String {
    assign(topology, positions_nm, "amber_ff14sb").unwrap_err().to_string()
}

/// The structure without the atoms that `removed` selects.
fn without(name: &str, removed: impl Fn(&Atom) -> bool) -> (Topology, Vec<f64>) {
    let (topology, positions_nm) = read(name);
    let (mut atoms, mut kept_nm) = (Vec::new(), Vec::new());
    for (atom, position) in topology.atoms.into_iter().zip(positions_nm.chunks(3)) {
        if !removed(&atom) {
            atoms.push(atom);
            kept_nm.extend_from_slice(position);
        }
    }
    (Topology::new(atoms, Vec::new()), kept_nm)
}

#[test]
fn missing_hydrogens_are_named() {
    let (topology, x) = without("aldp", |atom| atom.name == "HA" || atom.name == "HB2");
    assert!(
        message(&topology, &x).ends_with("found ALA 2 of chain A lacks HA, HB2"),
        "{}",
        message(&topology, &x)
    );
    let (topology, x) = without("chignolin", |atom| atom.element == "H");
    let text = message(&topology, &x);
    assert!(text.contains("TYR 1 of chain A (N-terminal) lacks H1, H2, H3, HA, HB2"), "{text}");
    assert!(text.ends_with("; and 4 more"), "{text}");
    let (topology, x) = without("all_residues", |atom| atom.residue_id == 20 && atom.name == "HZ1");
    assert!(message(&topology, &x).contains("LYS 20 of chain A lacks HZ1 (a neutral lysine is called LYN)"));
    let (topology, x) = without("all_residues", |atom| atom.residue_name == "HIS" && atom.name == "HE2");
    // HIP without HE2 is HID; HIE without it is nothing.
    assert!(
        message(&topology, &x).ends_with("HD1, HE2 or both in every HIS, found HIS 15 of chain A lacks both")
    );
}

#[test]
fn atoms_and_residues_that_do_not_belong_are_named() {
    let (mut topology, x) = read("aldp");
    topology.atoms[11].name = "HX".into();
    assert!(message(&topology, &x).ends_with("found ALA 2 of chain A lacks HB1 and has HX too many"));
    // An alternate location doubles an atom.
    topology.atoms[11].name = "HB2".into();
    assert!(message(&topology, &x).ends_with("lacks HB1 and has HB2 too many"), "{}", message(&topology, &x));

    let (mut topology, x) = read("aldp");
    topology.atoms[6..16].iter_mut().for_each(|atom| atom.residue_name = "ALQ".into());
    let text = message(&topology, &x);
    assert!(text.contains("residues of amber_ff14sb (HIS, ACE, ALA, ARG"), "{text}");
    assert!(text.ends_with("found `ALQ 2 of chain A` (did you mean `ALA`?)"), "{text}");

    let text = assign(&topology, &x, "amber_ff99").unwrap_err().to_string();
    assert!(text.contains("unknown force field `amber_ff99`"), "{text}");
    assert!(
        assign(&topology, &x[3..], "amber_ff96").unwrap_err().to_string().contains("expected 66 coordinates")
    );

    let (topology, x) = read("hydroxyproline");
    let text = assign(&topology, &x, "amber_ff96").unwrap_err().to_string();
    assert!(text.contains("found `HYP 2 of chain A`"), "{text}");
}

#[test]
fn a_gap_in_a_chain_is_an_error_and_two_chains_are_not() {
    let (topology, x) = without("chignolin", |atom| atom.residue_id == 5);
    let text = message(&topology, &x);
    assert!(text.contains("C of PRO 4 and N of THR 6 are 0."), "{text}");
    // A cap has no acid: without its neighbour the chain would end in the middle.
    let (topology, x) = without("aldp", |atom| atom.residue_name == "NME");
    assert!(message(&topology, &x).ends_with("ALA 2 of chain A (C-terminal) lacks OXT"));
    let (topology, x) = without("chignolin", |atom| atom.residue_id > 1);
    assert!(message(&topology, &x).contains("TYR 1 of chain A is bonded to none"));
    // Peptides one after the other in one chain, each with its free acid, are separate molecules.
    let (mut topology, x) = read("termini");
    let n_molecules = topology_of(&topology, &x).molecules().into_iter().max();
    topology.atoms.iter_mut().for_each(|atom| atom.chain.clear());
    assert_eq!(topology_of(&topology, &x).molecules().into_iter().max(), n_molecules);
    assert_eq!(n_molecules, Some(23));
}

fn topology_of(topology: &Topology, positions_nm: &[f64]) -> Topology {
    assign(topology, positions_nm, "amber_ff14sb").unwrap().topology
}

#[test]
fn cysteines_are_bonded_where_their_sulfurs_are_close_and_bare() {
    let (topology, mut x) = read("all_residues");
    let assigned = topology_of(&topology, &x);
    let sulfurs: Vec<[usize; 2]> = (assigned.bonds.iter().copied())
        .filter(|bond| bond.iter().all(|&atom| assigned.atoms[atom].name == "SG"))
        .collect();
    assert_eq!(sulfurs.len(), 1);
    x[3 * sulfurs[0][0]] += 0.5;
    let text = message(&topology, &x);
    assert!(text.contains("CYS 9 of chain A lacks HG (a thiolate is called CYM)"), "{text}");
}

#[test]
fn a_ring_of_residues_has_no_ends() {
    // Three glycines with their atoms on a circle, where C of each comes close to N of the next.
    let names = ["N", "H", "CA", "HA2", "HA3", "C", "O"];
    let (mut atoms, mut x) = (Vec::new(), Vec::new());
    for residue_idx in 0..3 {
        for (idx, name) in names.iter().enumerate() {
            atoms.push(crate::system::Atom {
                name: name.to_string(),
                element: name[..1].into(),
                residue_name: "GLY".into(),
                residue_id: residue_idx + 1,
                chain: String::new(),
                mass_da: 1.0,
            });
            let phi = std::f64::consts::TAU * (residue_idx as f64 * 7.0 + idx as f64) / 21.0;
            x.extend([0.25 * phi.cos(), 0.25 * phi.sin(), 0.1 * (idx % 2) as f64]);
        }
    }
    let assigned = topology_of(&Topology::new(atoms, Vec::new()), &x);
    assert_eq!(assigned.bonds.len(), 3 * 6 + 3);
    assert!(assigned.bonds.contains(&[0, 19]));
}

#[test]
fn names_of_other_programs_give_the_same_parameters() {
    let (topology, x) = read("chignolin");
    let mut renamed = topology.clone();
    for atom in &mut renamed.atoms {
        atom.name = match atom.name.as_str() {
            "H" if atom.residue_id == 1 => "HT1".into(),
            "H" => "HN".into(),
            "HB3" => "1HB".into(),
            "HB2" => "2HB".into(),
            "OXT" => "OT2".into(),
            other => other.into(),
        };
    }
    for force_field in names() {
        let mut parameters = assign(&renamed, &x, force_field).unwrap();
        let expected = assign(&topology, &x, force_field).unwrap();
        assert_eq!(parameters.topology.atoms[0].name, topology.atoms[0].name);
        parameters.topology = expected.topology.clone();
        assert!(parameters == expected, "{force_field}");
    }
}
