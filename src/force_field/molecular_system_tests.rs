//! Every kind of topology against energies that OpenMM computed, by the plain evaluation.

use super::*;
use crate::force_field::plain_energy::plain_energy;
use crate::trajectory::{LengthUnit, read_in_blocks};
use serde_json::Value;
use std::num::NonZeroUsize;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/energies");

fn reference() -> Value {
    let text = std::fs::read_to_string(Path::new(DATA).join("reference.json")).expect("the reference");
    serde_json::from_str(&text).expect("JSON")
}

fn request(case: &Value) -> SystemRequest {
    SystemRequest {
        topology: Path::new(DATA).join(case["topology"].as_str().expect("a name")),
        structure: case["structure"].as_str().map(|name| Path::new(DATA).join(name)),
        implicit_solvent: case["implicit_solvent"].as_str().map(String::from),
        surface_area: case["surface_area"].as_bool(),
        force_field: None,
    }
}

#[test]
fn all_terms_agree_with_openmm_to_eight_digits() {
    let (mut largest, mut n_frames) = (0.0_f64, 0);
    for case in reference()["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let system = load(&request(case)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut positions_nm = Vec::new();
        let mut keep = |block: &[f64]| {
            positions_nm.extend_from_slice(block);
            Ok(())
        };
        let path = Path::new(DATA).join(case["positions"].as_str().expect("a name"));
        let n_atoms = system.parameters.n_atoms();
        read_in_blocks(&path, n_atoms, LengthUnit::Nm, NonZeroUsize::MIN, &mut keep).expect(name);
        let frames = case["frames"].as_array().expect("frames");
        assert_eq!(positions_nm.len(), frames.len() * 3 * n_atoms);
        for (frame, x) in frames.iter().zip(positions_nm.chunks(3 * n_atoms)) {
            let energy = plain_energy(&system.parameters, x);
            for (term, found) in [
                ("bond", energy.bond),
                ("angle", energy.angle),
                ("torsion", energy.torsion),
                ("cmap", energy.cmap),
                ("nonbonded", energy.nonbonded),
                ("implicit_solvent", energy.implicit_solvent),
                ("total", energy.total()),
            ] {
                let expected = frame[term].as_f64().unwrap_or(0.0);
                let deviation = (found - expected).abs() / expected.abs().max(1e-3);
                assert!(deviation < 1e-8, "{name}, {term}: {found} instead of {expected}");
                largest = largest.max(deviation);
            }
            n_frames += 1;
        }
    }
    assert!(n_frames > 100, "{n_frames} frames, largest deviation {largest:.1e}");
    assert!(largest < 5e-10, "{largest:.1e}");
}

fn error(request: &SystemRequest) -> String {
    load(request).expect_err("a wrong request").to_string()
}

#[test]
fn requests_that_make_no_sense_are_told_so() {
    let xml = Path::new(DATA).join("aldp_obc2.xml");
    let pdb = Path::new(DATA).join("../aldp.pdb");
    let prmtop = Path::new(DATA).join("../aldp.prmtop");
    let with = |topology: &Path| SystemRequest { topology: topology.into(), ..SystemRequest::default() };
    assert!(error(&with(&xml)).contains("--structure"));
    let solvent = |topology: &Path, name: &str| SystemRequest {
        implicit_solvent: Some(name.into()),
        structure: Some(pdb.clone()),
        ..with(topology)
    };
    assert!(error(&solvent(&xml, "obc1")).contains("its own solvent"));
    assert!(error(&solvent(&prmtop, "obc")).contains("did you mean `obc1`?"));
    assert!(error(&with(&pdb)).contains("force-field"));
    let forced = SystemRequest { force_field: Some("ff14SB".into()), ..with(&prmtop) };
    assert!(error(&forced).contains("its own parameters"));
    assert!(error(&with(&Path::new(DATA).join("aldp.npy"))).contains("AMBER topology"));
    assert!(error(&with(Path::new("alanine_dipeptid"))).contains("alanine_dipeptid"));
    let other = SystemRequest { structure: Some(Path::new(DATA).join("aldp.inpcrd")), ..with(&xml) };
    assert!(error(&other).contains("names its atoms"), "{}", error(&other));
    let small = Path::new(DATA).join("aromatic_ligand.prmtop");
    let other = SystemRequest { structure: Some(pdb.clone()), ..with(&small) };
    assert!(error(&other).contains("22 atoms"), "{}", error(&other));
}

#[test]
fn start_positions_come_from_the_structure() {
    let request = SystemRequest {
        topology: Path::new(DATA).join("../aldp.prmtop"),
        structure: Some(Path::new(DATA).join("aldp.inpcrd")),
        ..SystemRequest::default()
    };
    let system = load(&request).expect("a good system");
    let positions_nm = system.positions_nm.expect("a structure was given");
    assert_eq!(positions_nm.len(), 66);
    assert_eq!(system.name, "aldp");
    let first = read_first_frame(&Path::new(DATA).join("aldp.npy"), 22).expect("positions");
    assert!(first.iter().zip(&positions_nm).all(|(a, b)| (a - b).abs() < 1e-8));
}

#[test]
fn shipped_systems_have_their_solvent_and_start() {
    let with = |name: &str, solvent: Option<&str>| {
        let topology = name.into();
        let request = SystemRequest {
            topology,
            implicit_solvent: solvent.map(String::from),
            ..SystemRequest::default()
        };
        load(&request).expect("a shipped system")
    };
    for name in crate::force_field::shipped::names() {
        let system = with(&name, None);
        let positions_nm = system.positions_nm.expect("a start");
        let energy = plain_energy(&system.parameters, &positions_nm);
        assert!(energy.total().is_finite() && energy.bond < 500.0, "{name}: {energy:?}");
        let expected = crate::force_field::shipped::find(&name).expect("a name").implicit_solvent;
        assert_eq!(system.parameters.implicit_solvent.map(|solvent| solvent.model), expected, "{name}");
    }
    let model =
        |name: &str, solvent| with(name, solvent).parameters.implicit_solvent.map(|solvent| solvent.model);
    assert_eq!(model("chignolin", Some("obc2")), Some(GeneralizedBorn::Obc2));
    assert_eq!(model("chignolin", Some("none")), None);
}

#[test]
fn a_pdb_gets_the_parameters_of_a_force_field_and_radii() {
    let request = SystemRequest {
        topology: Path::new(DATA).join("../assign/chignolin.pdb"),
        implicit_solvent: Some("gbn2".into()),
        force_field: Some("amber_ff99sb_ildn".into()),
        ..SystemRequest::default()
    };
    let assigned = load(&request).expect("a protein");
    let shipped = load(&SystemRequest { topology: "chignolin_gbn2".into(), ..SystemRequest::default() });
    let shipped = shipped.expect("a shipped system").parameters;
    let solvents = [&assigned.parameters, &shipped].map(|parameters| parameters.implicit_solvent.as_ref());
    let [Some(found), Some(expected)] = solvents else { panic!("two solvents") };
    for (idx, (found, expected)) in found.atoms.iter().zip(&expected.atoms).enumerate() {
        assert!(
            (found.radius_nm - expected.radius_nm).abs() < 1e-9,
            "{}",
            shipped.topology.atoms[idx].describe()
        );
        assert!((found.scaled_radius_nm - expected.scaled_radius_nm).abs() < 1e-9);
    }
}
