//! What is refused, and how it is named. Energies are tested in `molecular_system`.

use super::*;
use crate::force_field::parameters::GeneralizedBorn;
use crate::trajectory::read_structure;

const OBC1: &str = include_str!("../../../tests/data/energies/aldp_obc1.xml");
const GBN2: &str = include_str!("../../../tests/data/energies/aldp_gbn2.xml");
const SALT: &str = include_str!("../../../tests/data/energies/aldp_obc2_salt.xml");

fn topology() -> Topology {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/aldp.pdb");
    read_structure(&path).expect("a good PDB").topology
}

fn parse_text(text: &str) -> Result<Parameters> {
    parse(Path::new("a.xml"), text, &topology())
}

fn error(text: &str, replaced: &str, by: &str) -> String {
    assert!(text.contains(replaced), "{replaced}");
    parse_text(&text.replace(replaced, by)).map(|_| ()).expect_err("not understood").to_string()
}

#[test]
fn constraints_masses_and_solvents_are_read() {
    let found = parse_text(OBC1).expect("a good file");
    assert_eq!(found.constraints.len(), 12, "bonds to hydrogen");
    assert!((found.topology.atoms[0].mass_da - 1.008).abs() < 1e-9);
    assert_eq!(found.topology.atoms[8].name, "CA");
    assert_eq!(found.box_vectors_nm, None, "the box that every System has means nothing");
    let solvent = found.implicit_solvent.expect("a solvent");
    assert_eq!(solvent.model, GeneralizedBorn::Obc1);
    assert_eq!(solvent.surface_area.map(|surface| surface.factor), Some(28.391_955_1));

    let solvent = parse_text(GBN2).expect("a good file").implicit_solvent.expect("a solvent");
    assert_eq!(
        (solvent.model, solvent.surface_area, solvent.solvent_dielectric),
        (GeneralizedBorn::Gbn2, None, 80.0)
    );
    let solvent = parse_text(SALT).expect("a good file").implicit_solvent.expect("a solvent");
    assert_eq!(
        (solvent.model, solvent.kappa_per_nm, solvent.solute_dielectric),
        (GeneralizedBorn::Obc2, 1.3, 2.0)
    );
}

#[test]
fn expressions_may_be_spaced_and_ordered_otherwise() {
    let text = OBC1
        .replace("U=r+sr2;L=max(or1, D);D=abs(r-sr2)", " D = abs(r - sr2); L=max(or1,D) ;U=r+sr2")
        .replace("psi=I*or; radius=or+offset; offset=0.009", "offset=9e-3;radius = or + offset;psi=I*or");
    assert_ne!(text, OBC1);
    assert_eq!(parse_text(&text).expect("the same system"), parse_text(OBC1).expect("a good file"));
}

#[test]
fn what_is_not_understood_is_quoted() {
    let text = error(OBC1, "2.909125*psi^3", "2.909125*psi^4");
    assert!(text.contains("psi^4") && text.contains("CustomGBForce") && text.contains("line"), "{text}");
    let text = error(OBC1, "2.909125*psi^3", "2.7*psi^3");
    assert!(text.contains("2.7*psi^3"), "{text}");
    let text = error(OBC1, "D=abs(r-sr2)", "D=abs(r-or2)");
    assert!(text.contains("abs(r-or2)"), "{text}");
    let text = error(OBC1, "radius=or+offset; solventDielectric", "radius=or+0.1; solventDielectric");
    assert!(text.contains("radius"), "{text}");
    let text = error(GBN2, "0.3*1000000", "0.4*1000000");
    assert!(text.contains("0.4*1000000"), "{text}");
    let text = error(SALT, "exp(-kappa*f)", "exp(-f)");
    assert!(text.contains("exp(-f)"), "{text}");
}

#[test]
fn other_forces_and_options_are_named() {
    let text = error(OBC1, "type=\"HarmonicAngleForce\"", "type=\"CustomAngleForce\"");
    assert!(text.contains("CustomAngleForce") && text.contains("not supported"), "{text}");
    let method = |number: &str| {
        error(
            OBC1,
            "method=\"0\" name=\"NonbondedForce\"",
            &format!("method=\"{number}\" name=\"NonbondedForce\""),
        )
    };
    assert!(method("3").contains("Ewald"));
    assert!(method("5").contains("LJPME"));
    let cutoff = OBC1.replace("method=\"0\" name=\"NonbondedForce\"", "method=\"1\" name=\"NonbondedForce\"");
    let found = parse_text(&cutoff).expect("a cutoff").nonbonded.method;
    let expected = NonbondedMethod::ReactionField {
        cutoff_nm: 1.0,
        dielectric: 1.0,
        periodic: false,
        switching_nm: None,
        dispersion_correction: false,
    };
    assert_eq!(found, expected);
    let offsets = "<ParticleOffsets><Offset eps=\"1\" parameter=\"a\" particle=\"0\" q=\"1\" sig=\"1\"/></ParticleOffsets>";
    assert!(error(OBC1, "<ParticleOffsets/>", offsets).contains("ParticleOffsets"));
    let text = error(OBC1, "usesPeriodic=\"0\"", "usesPeriodic=\"1\"");
    assert!(text.contains("usesPeriodic"), "{text}");
    let site =
        "<Particle mass=\"16\"><TwoParticleAverageSite p1=\"0\" p2=\"1\" w1=\".5\" w2=\".5\"/></Particle>";
    let text = error(OBC1, "<Particle mass=\"16\"/>", site);
    assert!(text.contains("TwoParticleAverageSite"), "{text}");
}

#[test]
fn broken_files_are_located() {
    let text = parse_text(&OBC1[..OBC1.len() / 2]).expect_err("half a file").to_string();
    assert!(text.contains("truncated") && text.contains("line"), "{text}");
    assert!(error(OBC1, "<Bond d=\".1229", "<Bond e=\".1229").contains("d=…"));
    let text = error(OBC1, "p1=\"4\" p2=\"5\"", "p1=\"4\" p2=\"22\"");
    assert!(text.contains("p2 below 22"), "{text}");
    let mut fewer = topology();
    fewer.atoms.pop();
    fewer.bonds.retain(|bond| bond[1] < 21);
    let text = parse(Path::new("a.xml"), OBC1, &fewer).expect_err("another molecule").to_string();
    assert!(text.contains("21") && text.contains("22"), "{text}");
    assert!(parse_text("<html></html>").expect_err("another format").to_string().contains("<System>"));
}
