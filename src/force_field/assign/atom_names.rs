//! The names that programs give to the atoms of a protein, translated to those of the templates.
//!
//! Templates use PDB version 3 names for amino acids and AMBER's for the caps. Older conventions put
//! the number of a hydrogen first (`1HB`), count methylene hydrogens from 1, or have names of their
//! own for termini and caps (CHARMM, GROMACS).

use super::force_field_file::Template;

/// Translates names of all atoms of a residue, as far as it does not depend on its place in the chain.
pub fn translate(residue_name: &str, names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| digit_last(&name.trim().to_uppercase())).collect();
    match residue_name {
        "ACE" => {
            rename(&mut names, &[("CY", "C"), ("CAY", "CH3"), ("CA", "CH3"), ("OY", "O")]);
            number(&mut names, &["H", "HY", "HA", "HB"], "HH3");
        }
        "NME" => {
            rename(&mut names, &[("NT", "N"), ("HNT", "H"), ("HN", "H")]);
            rename(&mut names, &[("CAT", "CH3"), ("CA", "CH3"), ("CT", "CH3"), ("C", "CH3")]);
            number(&mut names, &["H", "HT", "HA"], "HH3");
        }
        "NHE" => {
            rename(&mut names, &[("NT", "N")]);
            number(&mut names, &["H", "HT"], "HN");
        }
        _ => {
            rename(&mut names, &[("HN", "H")]);
            number(&mut names, &["HN", "HT"], "H");
            rename(&mut names, &[("O1", "O"), ("OT1", "O"), ("OC1", "O"), ("OCT1", "O"), ("O'", "O")]);
            rename(&mut names, &[("O2", "OXT"), ("OT2", "OXT"), ("OC2", "OXT"), ("OCT2", "OXT")]);
            rename(&mut names, &[("OT", "OXT"), ("O''", "OXT")]);
        }
    }
    match residue_name {
        "ILE" => {
            rename(&mut names, &[("CD", "CD1")]);
            number(&mut names, &["HD"], "HD1");
        }
        "SER" | "CYS" => rename(&mut names, &[("HG1", "HG")]),
        // The proton of an acid may be written at either oxygen; templates have it at the second.
        "ASP" | "ASH" => move_proton(&mut names, ["HD1", "HD2"], ["OD1", "OD2"]),
        "GLU" | "GLH" => move_proton(&mut names, ["HE1", "HE2"], ["OE1", "OE2"]),
        _ => {}
    }
    names
}

/// Completes the translation where the names of the template decide what is meant.
pub fn fit(names: &mut [String], template: &Template) {
    let in_template = |name: &str| template.position(name).is_some();
    if in_template("H1") && !in_template("H") {
        rename(names, &[("H", "H1")]);
    } else if in_template("H") && !in_template("H1") {
        rename(names, &[("H1", "H")]);
    }
    for atom in &template.atoms {
        let Some(stem) = atom.name.strip_suffix('2').filter(|stem| stem.starts_with('H')) else { continue };
        let numbered = |number: u8| format!("{stem}{number}");
        let has = |name: String| names.contains(&name);
        let two_of_a_methylene = in_template(&numbered(3)) && !in_template(&numbered(1));
        if two_of_a_methylene && has(numbered(1)) && has(numbered(2)) {
            rename(names, &[(&numbered(1), &numbered(3))]);
        }
    }
}

/// `1HG2` becomes `HG21`.
fn digit_last(name: &str) -> String {
    match name.chars().next() {
        Some(digit) if digit.is_ascii_digit() => format!("{}{digit}", &name[1..]),
        _ => name.to_string(),
    }
}

/// Renames the first of the pairs to the second where the second is not there yet.
fn rename(names: &mut [String], pairs: &[(&str, &str)]) {
    for (from, to) in pairs {
        if names.iter().any(|name| name == to) {
            continue;
        }
        if let Some(name) = names.iter_mut().find(|name| name == from) {
            *name = to.to_string();
        }
    }
}

/// Renames `H1`, `H2`, `H3` with one of the stems `from` to the same numbers with the stem `to`.
fn number(names: &mut [String], from: &[&str], to: &str) {
    for stem in from {
        for digit in 1..=3 {
            rename(names, &[(&format!("{stem}{digit}"), &format!("{to}{digit}"))]);
        }
    }
}

fn move_proton(names: &mut [String], protons: [&str; 2], oxygens: [&str; 2]) {
    if !names.iter().any(|name| name == protons[0]) || names.iter().any(|name| name == protons[1]) {
        return;
    }
    for name in names {
        if name == protons[0] {
            *name = protons[1].to_string();
        } else if let Some(idx) = oxygens.iter().position(|oxygen| name == oxygen) {
            *name = oxygens[1 - idx].to_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::force_field::assign::force_field_file::{ForceField, Place};

    fn fitted(residue: &str, place: Place, names: &str) -> bool {
        let force_field = ForceField::named("amber_ff14sb").unwrap();
        let template = force_field.residue(residue).unwrap().at(place).unwrap();
        let mut names = translate(residue, &names.split_whitespace().collect::<Vec<_>>());
        fit(&mut names, template);
        names.sort();
        let mut expected: Vec<String> = template.atoms.iter().map(|atom| atom.name.clone()).collect();
        expected.sort();
        names == expected
    }

    #[test]
    fn conventions_of_other_programs_mean_the_same_atoms() {
        use Place::{CTerminal, Internal, NTerminal};
        assert!(fitted("SER", Internal, "N HN CA HA CB HB1 HB2 OG HG1 C O"));
        assert!(fitted("SER", Internal, "N H CA HA CB 1HB 2HB OG HG C O"));
        assert!(fitted("GLY", NTerminal, "N HT1 HT2 HT3 CA HA1 HA2 C O"));
        assert!(fitted("GLY", NTerminal, "N H H2 H3 CA HA2 HA3 C O"));
        assert!(fitted("GLY", CTerminal, "N H CA HA2 HA3 C OT1 OT2"));
        assert!(fitted("GLY", CTerminal, "N H CA HA2 HA3 C O1 O2"));
        assert!(fitted("PRO", NTerminal, "N H1 H2 CD HD1 HD2 CG HG1 HG2 CB HB1 HB2 CA HA C O"));
        assert!(fitted(
            "ILE",
            Internal,
            "N H CA HA CB HB CG2 1HG2 2HG2 3HG2 CG1 1HG1 2HG1 CD HD1 HD2 HD3 C O"
        ));
        assert!(fitted("ASH", Internal, "N H CA HA CB HB2 HB3 CG OD1 OD2 HD1 C O"));
        assert!(fitted(
            "LYN",
            Internal,
            "N H CA HA CB HB1 HB2 CG HG1 HG2 CD HD1 HD2 CE HE1 HE2 NZ HZ1 HZ2 C O"
        ));
        assert!(fitted("ACE", Internal, "H1 CH3 H2 H3 C O"));
        assert!(fitted("ACE", Internal, "CAY HY1 HY2 HY3 CY OY"));
        assert!(fitted("NME", Internal, "N H C H1 H2 H3"));
        assert!(fitted("NME", Internal, "NT HNT CAT HT1 HT2 HT3"));
        assert!(fitted("NHE", Internal, "N H1 H2"));
        assert!(!fitted("SER", Internal, "N H CA HA CB HB1 OG HG C O"));
    }

    #[test]
    fn a_proton_moved_to_the_other_oxygen_takes_the_oxygens_along() {
        assert_eq!(translate("ASP", &["CG", "OD1", "OD2", "HD1"]), ["CG", "OD2", "OD1", "HD2"]);
        assert_eq!(translate("ASP", &["CG", "OD1", "OD2"]), ["CG", "OD1", "OD2"]);
    }
}
