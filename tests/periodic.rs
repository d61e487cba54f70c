//! `kirkwood energy` of periodic systems against OpenMM.

use std::fs;

use serde_json::Value;

use crate::common::{json, root, run};

#[test]
fn periodic_energies_and_forces_agree_with_openmm() {
    let data = root().join("tests/data/pme");
    let text = |file: &str| data.join(file).display().to_string();
    let reference: Value =
        serde_json::from_str(&fs::read_to_string(data.join("reference.json")).unwrap()).unwrap();
    for case in reference["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let topology = text(case["topology"].as_str().unwrap());
        let (trajectory, structure) = (text("aldp_2.dcd"), text("../aldp.pdb"));
        let mut arguments = vec!["energy", &topology, &trajectory, "--forces", "--json"];
        // The box, which OpenMM changes with every frame, is that of the trajectory.
        match name.strip_suffix("_of_prmtop") {
            Some(method) => arguments.extend(["--nonbonded", method, "--cutoff", "1.0"]),
            None => arguments.extend(["--structure", &structure]),
        }
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stdout));
        let found = json(&output);
        let frames = case["frames"].as_array().unwrap();
        assert_eq!(found["frames"].as_array().unwrap().len(), frames.len());
        for (found, expected) in found["frames"].as_array().unwrap().iter().zip(frames) {
            let (total, reference) = (found["total"].as_f64().unwrap(), expected["total"].as_f64().unwrap());
            assert!((total - reference).abs() < 1e-8 * reference.abs(), "{name}: {total} {reference}");
            let values = |frame: &Value| -> Vec<f64> {
                let rows = frame["forces"].as_array().unwrap();
                rows.iter().flat_map(|row| row.as_array().unwrap()).map(|x| x.as_f64().unwrap()).collect()
            };
            let (found, expected) = (values(found), values(expected));
            let largest = expected.iter().fold(0.0_f64, |largest, force| largest.max(force.abs()));
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-8 * largest, "{name}: {found} {expected} of {largest}");
            }
        }
    }
}

#[test]
fn what_a_periodic_system_lacks_is_named() {
    let data = root().join("tests/data");
    let text = |file: &str| data.join(file).display().to_string();
    let (prmtop, dcd, xml, pdb) =
        (text("aldp.prmtop"), text("pme/aldp_2.dcd"), text("pme/pme_switched.xml"), text("aldp.pdb"));
    let positions = text("energies/aldp_2.npy");
    let error_of = |arguments: &[&str]| {
        let output = run(&[&["energy", "--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
        json(&output)["error"]["message"].as_str().unwrap_or_default().to_string()
    };
    let message = error_of(&[&prmtop, &positions, "--nonbonded", "pme"]);
    assert!(message.contains("aldp_2.npy`: expected a periodic box"), "{message}");
    let message = error_of(&[&prmtop, &dcd, "--nonbonded", "pme", "--cutoff", "1.2"]);
    assert!(message.contains("twice the cutoff of 1.2 nm"), "{message}");
    let message = error_of(&[&prmtop, &dcd, "--nonbonded", "pme", "--implicit-solvent", "obc1"]);
    assert!(message.contains("generalised Born"), "{message}");
    let message = error_of(&[&xml, &dcd, "--structure", &pdb, "--nonbonded", "pme"]);
    assert!(message.contains("its own"), "{message}");
}
