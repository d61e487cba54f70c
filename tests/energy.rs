//! `kirkwood energy` against OpenMM, and what it says to broken input.

use std::fs;
use std::path::{Path, PathBuf};

use kirkwood::force_field::molecular_system::{SystemRequest, load};
use kirkwood::force_field::shipped;
use kirkwood::potential::MolecularMechanics;
use serde_json::Value;

use crate::common::{json, root, run};

fn data() -> PathBuf {
    root().join("tests/data/energies")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The error object of a request that cannot be met.
fn error_of(arguments: &[&str]) -> (String, i32) {
    let output = run(&[&["energy", "--json"], arguments].concat());
    let message = json(&output)["error"]["message"].as_str().unwrap_or_default().to_string();
    (message, output.status.code().unwrap_or_default())
}

fn values(forces: &Value) -> Vec<f64> {
    let atoms = forces.as_array().expect("forces");
    atoms
        .iter()
        .flat_map(|force| force.as_array().expect("xyz"))
        .map(|x| x.as_f64().expect("a number"))
        .collect()
}

#[test]
fn every_term_and_force_agrees_with_openmm() {
    let reference: Value =
        serde_json::from_str(&fs::read_to_string(data().join("reference.json")).unwrap()).unwrap();
    for case in reference["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let path = |key: &str| case[key].as_str().map(|file| text(&data().join(file)));
        let mut arguments: Vec<String> =
            ["energy", "--terms", "--forces", "--json"].map(String::from).to_vec();
        arguments.extend(path("topology"));
        arguments.extend(path("positions"));
        if let Some(structure) = path("structure") {
            arguments.extend(["--structure".into(), structure]);
        }
        if let Some(model) = case["implicit_solvent"].as_str() {
            arguments.extend(["--implicit-solvent".into(), model.into()]);
        }
        if case["surface_area"] == false {
            arguments.push("--no-surface-area".into());
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        for (precision, relative, absolute) in [("double", 1e-8, 1e-9), ("single", 1e-7, 1e-3)] {
            let output = run(&[arguments.as_slice(), &["--precision", precision]].concat());
            assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stdout));
            let found = json(&output);
            assert_eq!(found["unit"], "kJ/mol");
            let frames = case["frames"].as_array().unwrap();
            assert_eq!(found["frames"].as_array().unwrap().len(), frames.len());
            for (found, frame) in found["frames"].as_array().unwrap().iter().zip(frames) {
                assert_eq!(found.get("cmap").is_some(), frame.get("cmap").is_some());
                for (term, expected) in
                    frame.as_object().unwrap().iter().filter(|(_, value)| value.is_number())
                {
                    let expected = expected.as_f64().unwrap();
                    let energy = found[term].as_f64().unwrap();
                    let allowed = relative * expected.abs() + absolute;
                    assert!(
                        (energy - expected).abs() < allowed,
                        "{name}, {precision}, {term}: {energy}, {expected}"
                    );
                }
                if precision == "double" && frame.get("forces").is_some() {
                    let (found, expected) = (values(&found["forces"]), values(&frame["forces"]));
                    let largest = expected.iter().fold(0.0_f64, |largest, force| largest.max(force.abs()));
                    for (found, expected) in found.iter().zip(&expected) {
                        assert!(
                            (found - expected).abs() < 1e-8 * largest,
                            "{name}: {found} instead of {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn trajectories_of_other_formats_give_the_same_and_threads_do_not_matter() {
    let topology = text(&root().join("tests/data/aldp.prmtop"));
    let total = |file: &Path, threads: &str| {
        let output = run(&[
            "energy",
            &topology,
            &text(file),
            "--implicit-solvent",
            "obc2",
            "--json",
            "--threads",
            threads,
        ]);
        json(&output)["frames"].clone()
    };
    let inpcrd = total(&data().join("aldp.inpcrd"), "1")[0]["total"].as_f64().unwrap();
    let npy = total(&data().join("aldp.npy"), "1")[0]["total"].as_f64().unwrap();
    // Seven decimals of Å.
    assert!((inpcrd - npy).abs() < 1e-3, "{inpcrd} {npy}");
    let dcd = root().join("tests/data/aldp_200.dcd");
    let one = total(&dcd, "1");
    assert_eq!(one.as_array().unwrap().len(), 200);
    assert_eq!(one, total(&dcd, "3"));
}

#[test]
fn a_table_has_units_columns_and_a_foot() {
    let topology = text(&root().join("tests/data/aldp.prmtop"));
    let output = run(&["energy", &topology, &text(&data().join("aldp.npy")), "--terms"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("kJ/mol")
            && table.contains("nonbonded")
            && table.contains("mean")
            && table.contains("sd")
    );
    assert_eq!(table.lines().count(), 14, "{table}");
}

#[test]
fn atoms_at_the_same_place_are_named_and_other_frames_still_have_energies() {
    let home = tempfile::tempdir().unwrap();
    let pdb = fs::read_to_string(root().join("tests/data/aldp.pdb")).unwrap();
    let atoms: Vec<&str> =
        pdb.lines().filter(|line| line.starts_with("ATOM") || line.starts_with("HETATM")).collect();
    let mut overlapping = atoms.clone();
    let moved = format!("{}{}{}", &atoms[21][..30], &atoms[0][30..54], &atoms[21][54..]);
    overlapping[21] = &moved;
    let models = [&overlapping, &atoms].map(|atoms| format!("MODEL\n{}\nENDMDL\n", atoms.join("\n")));
    let path = home.path().join("two.pdb");
    fs::write(&path, models.concat() + "END\n").unwrap();
    let topology = text(&root().join("tests/data/aldp.prmtop"));
    for model in ["none", "obc1", "gbn2"] {
        let output =
            run(&["energy", &topology, &text(&path), "--implicit-solvent", model, "--forces", "--json"]);
        let found = json(&output);
        let verdict = found["frames"][0]["verdict"].as_str().expect("a verdict");
        assert!(verdict.contains("atom 0") && verdict.contains("atom 21"), "{verdict}");
        assert!(verdict.contains("0.000e0 nm"), "{verdict}");
        // Enormous, or not finite and null; never an energy that could be believed.
        let total = found["frames"][0]["total"].as_f64();
        assert!(total.is_none_or(|total| total > 1e9) && found["frames"][0]["bond"].is_number());
        assert_eq!(output.status.code(), Some(if total.is_some() { 0 } else { 3 }));
        assert!(found["frames"][1]["total"].as_f64().is_some_and(|total| total.abs() < 1e4));
        assert!(found["frames"][1].get("verdict").is_none());
    }
}

#[test]
fn broken_input_is_located() {
    let home = tempfile::tempdir().unwrap();
    let topology = root().join("tests/data/aldp.prmtop");
    let positions = text(&data().join("aldp.npy"));
    let file = |name: &str, content: &str| {
        let path = home.path().join(name);
        fs::write(&path, content).unwrap();
        text(&path)
    };
    let prmtop = fs::read_to_string(&topology).unwrap();
    let topology = text(&topology);

    let (message, code) = error_of(&[&file("cut.prmtop", &prmtop[..prmtop.len() / 2]), &positions]);
    assert!(message.contains("section") && code == 2, "{message}");
    let (message, _) =
        error_of(&[&file("chamber.prmtop", &prmtop.replace("%FLAG TITLE", "%FLAG CTITLE")), &positions]);
    assert!(message.contains("CHAMBER"), "{message}");
    let without = prmtop.replace("%FLAG RADII ", "%FLAG OTHER ");
    let (message, _) = error_of(&[&file("bare.prmtop", &without), &positions, "--implicit-solvent", "obc1"]);
    assert!(message.contains("RADII"), "{message}");

    let other = text(&data().join("cb7_guest.npy"));
    let (message, _) = error_of(&[&topology, &other]);
    assert!(message.contains("[frames, 22, 3]"), "{message}");
    let inpcrd = fs::read_to_string(data().join("aldp.inpcrd")).unwrap();
    let (message, _) = error_of(&[&topology, &file("cut.inpcrd", &inpcrd[..400])]);
    assert!(message.contains("line") && message.contains("22 atoms"), "{message}");
    let number = inpcrd.lines().nth(3).unwrap()[..12].to_string();
    let (message, _) =
        error_of(&[&topology, &file("nan.inpcrd", &inpcrd.replacen(&number, "         NaN", 1))]);
    assert!(message.contains("line 4") && message.contains("NaN"), "{message}");

    let xml = fs::read_to_string(data().join("aldp_obc2.xml")).unwrap();
    let pdb = text(&root().join("tests/data/aldp.pdb"));
    let strange = file("strange.xml", &xml.replace("type=\"GBSAOBCForce\"", "type=\"AmoebaVdwForce\""));
    let (message, _) = error_of(&[&strange, &positions, "--structure", &pdb]);
    assert!(message.contains("AmoebaVdwForce"), "{message}");
    let good = file("good.xml", &xml);
    let (message, _) = error_of(&[&good, &positions]);
    assert!(message.contains("--structure"), "{message}");
    let (message, _) = error_of(&[&good, &positions, "--structure", &pdb, "--implicit-solvent", "obc1"]);
    assert!(message.contains("own solvent"), "{message}");
    let (message, _) = error_of(&["alanine_dipeptid", &positions]);
    assert!(message.contains("alanine_dipeptid"), "{message}");
}

/// `systems/NAME/energies.csv` holds OpenMM's energies of the start structure, a line per solvent.
#[test]
fn every_shipped_system_has_its_reference_energies() {
    let names = shipped::names();
    let molecules: Vec<&String> =
        names.iter().filter(|name| root().join("systems").join(name).is_dir()).collect();
    assert_eq!(molecules.len(), 9);
    for name in &names {
        let request = SystemRequest { topology: name.into(), ..SystemRequest::default() };
        let system = load(&request).unwrap();
        let molecule =
            molecules.iter().filter(|molecule| name.starts_with(**molecule)).max_by_key(|m| m.len());
        let table = root().join("systems").join(molecule.unwrap()).join("energies.csv");
        let table = fs::read_to_string(table).unwrap();
        let solvent = system
            .parameters
            .implicit_solvent
            .as_ref()
            .map_or_else(|| "vacuum".to_string(), |solvent| format!("{:?}", solvent.model).to_lowercase());
        let line = table.lines().find(|line| line.starts_with(&solvent)).unwrap();
        let expected: Vec<f64> = line.split(',').skip(1).map(|value| value.parse().unwrap()).collect();
        let mechanics = MolecularMechanics::new(&system.parameters).unwrap();
        let terms = mechanics.energies(&system.positions_nm.unwrap(), None)[0];
        let found =
            [terms.total(), terms.bond, terms.angle, terms.torsion, terms.nonbonded, terms.implicit_solvent];
        assert_eq!(expected.len(), found.len());
        for (found, expected) in found.iter().zip(&expected) {
            let allowed = 1e-8 * expected.abs().max(1e-2);
            assert!((found - expected).abs() <= allowed, "{name}: {found} instead of {expected}");
        }
    }
}

#[test]
fn what_openmm_refuses_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let refused = |name: &str, content: &str, arguments: &[&str]| {
        let path = home.path().join(name);
        fs::write(&path, content).unwrap();
        let (topology, positions) = (text(&path), text(&data().join("aldp_2.npy")));
        let (message, code) = error_of(&[&[topology.as_str(), &positions], arguments].concat());
        assert_eq!(code, 2, "{message}");
        message
    };
    let xml = fs::read_to_string(data().join("aldp_obc2.xml")).unwrap();
    let pdb = text(&root().join("tests/data/aldp.pdb"));
    let exception = xml.lines().find(|line| line.contains("<Exception ")).unwrap();
    let message = refused(
        "twice.xml",
        &xml.replacen(exception, &format!("{exception}\n{exception}"), 1),
        &["--structure", &pdb],
    );
    assert!(message.contains("each pair once") && message.contains("NonbondedForce"), "{message}");

    let prmtop = fs::read_to_string(root().join("tests/data/aldp.prmtop")).unwrap();
    let start = prmtop.find("%FLAG EXCLUDED_ATOMS_LIST").unwrap();
    let (head, tail) = prmtop.split_at(start);
    let twice = format!("{head}{}", tail.replacen("       2       3", "       2       2", 1));
    let message = refused("twice.prmtop", &twice, &[]);
    assert!(message.contains("EXCLUDED_ATOMS_LIST") && message.contains("twice"), "{message}");

    let start = prmtop.find("%FLAG SCREEN").unwrap();
    let (head, tail) = prmtop.split_at(start);
    let zero = format!("{head}{}", tail.replacen("8.50000000E-01", "0.00000000E+00", 1));
    let message = refused("zero.prmtop", &zero, &["--implicit-solvent", "obc2"]);
    assert!(message.contains("SCREEN") && message.contains("atom 1"), "{message}");
}
