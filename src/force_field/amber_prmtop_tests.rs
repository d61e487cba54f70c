//! What the sections mean, and what is refused. Energies are tested in `molecular_system`.

use super::*;

const FILE: &str = include_str!("../../tests/data/aldp.prmtop");

fn read_text(text: &str) -> Result<Parameters> {
    parameters(&Prmtop::parse(Path::new("a.prmtop"), text)?)
}

fn error(text: &str) -> String {
    read_text(text).map(|_| ()).expect_err("a broken file").to_string()
}

/// The file with a line of a section replaced.
fn with_line(flag: &str, line: usize, content: &str) -> String {
    let start = FILE.find(&format!("%FLAG {flag} ")).expect("the section");
    let mut lines: Vec<&str> = FILE[start..].lines().collect();
    lines[line] = content;
    format!("{}{}\n", &FILE[..start], lines.join("\n"))
}

#[test]
fn sections_become_terms_in_internal_units() {
    let found = read_text(FILE).expect("a good file");
    assert_eq!((found.bonds.len(), found.angles.len()), (21, 36));
    let charge: f64 = found.nonbonded.charges.iter().sum();
    assert!(charge.abs() < 1e-6, "{charge}");
    // C=O of the acetyl group: 570 kcal/(mol Å²), 1.229 Å.
    let carbonyl = found.bonds.iter().find(|bond| bond.atoms == [4, 5]).expect("a carbonyl");
    assert!(
        (carbonyl.stiffness - 2.0 * 570.0 * 418.4).abs() < 1e-6
            && (carbonyl.length_nm - 0.1229).abs() < 1e-12
    );
    // Alanine's α-carbon: σ = 3.39967 Å, ε = 0.1094 kcal/mol.
    assert!((found.nonbonded.sigma_nm[8] - 0.339_967).abs() < 1e-6);
    assert!((found.nonbonded.epsilon[8] - 0.1094 * 4.184).abs() < 1e-6);
    assert_eq!(found.nonbonded.pair_table, None);
    // Bonds and angles exclude 57 pairs; 41 pairs are scaled.
    let scaled = found.nonbonded.exceptions.iter().filter(|exception| exception.epsilon != 0.0).count();
    assert_eq!((found.nonbonded.exceptions.len(), scaled), (98, 41));
    assert_eq!((found.box_vectors_nm, found.implicit_solvent), (None, None));
}

#[test]
fn a_pair_off_the_combining_rules_keeps_the_table() {
    let text = include_str!("../../tests/data/energies/aldp_nbfix.prmtop");
    let found = read_text(text).expect("a good file").nonbonded;
    let table = found.pair_table.expect("a table");
    assert_eq!(table.a.len(), table.n_types * table.n_types);
    assert!(table.types.iter().all(|&kind| kind < table.n_types));
    assert!(
        (0..table.n_types)
            .all(|i| (0..i).all(|j| table.a[i * table.n_types + j] == table.a[j * table.n_types + i]))
    );
}

#[test]
fn truncated_and_inconsistent_files_are_located() {
    for flag in
        ["BOND_FORCE_CONSTANT", "LENNARD_JONES_BCOEF", "DIHEDRALS_INC_HYDROGEN", "EXCLUDED_ATOMS_LIST"]
    {
        let start = FILE.find(&format!("%FLAG {flag} ")).expect("the section");
        let header = FILE[start..].match_indices('\n').nth(1).expect("two lines").0;
        let text = error(&FILE[..start + header + 50]);
        assert!(text.contains(flag) || text.contains("section"), "{flag}: {text}");
        let line = FILE[..start].lines().count() + 1;
        assert!(text.contains(&format!("line {line}")) || text.contains("no"), "{flag}: {text}");
    }
    let text = error(&with_line("CHARGE", 2, ""));
    assert!(text.contains("section CHARGE") && text.contains("22 values"), "{text}");
    let text = error(&with_line(
        "BONDS_WITHOUT_HYDROGEN",
        2,
        "      12      66       1      12      15       2      18      24       3",
    ));
    assert!(text.contains("BONDS_WITHOUT_HYDROGEN"), "{text}");
    let text = error(&with_line(
        "ATOM_TYPE_INDEX",
        2,
        "       1       2       1       1       3       4       5       6       2      77",
    ));
    assert!(text.contains("ATOM_TYPE_INDEX") && text.contains("77"), "{text}");
}

#[test]
fn other_kinds_of_force_fields_are_refused_by_name() {
    let with = |section: &str| error(&format!("{FILE}\n{section}\n"));
    assert!(error(&FILE.replace("%FLAG TITLE", "%FLAG CTITLE")).contains("CHAMBER"));
    assert!(with("%FLAG CHARMM_UREY_BRADLEY_COUNT\n%FORMAT(2I8)\n       1       1").contains("CHAMBER"));
    assert!(with("%FLAG LENNARD_JONES_CCOEF\n%FORMAT(5E16.8)\n  1.00000000E+00").contains("12-6-4"));
    assert!(with("%FLAG IPOL\n%FORMAT(1I8)\n       1").contains("polarisable"));
    assert!(read_text(&format!("{FILE}\n%FLAG IPOL\n%FORMAT(1I8)\n       0\n")).is_ok());
}

#[test]
fn constants_and_missing_scales_are_read_as_openmm_does() {
    let found = read_text(FILE).expect("a good file");
    let charges = &found.nonbonded.charges;
    let exception = found.nonbonded.exceptions[0];
    let [i, j] = exception.atoms;
    // Without a section SCEE_SCALE_FACTOR the divisor is 1.2.
    assert!(
        FILE.contains("SCEE_SCALE_FACTOR")
            || (exception.charge_product - charges[i] * charges[j] / 1.2).abs() < 1e-15
    );
    assert!(found.torsions.iter().all(|torsion| torsion.periodicity > 0 && torsion.barrier != 0.0));
}
