//! The elements that occur in molecules of life and their solvents: mass and covalent radius.
//!
//! Masses are the abridged standard atomic weights (IUPAC 2021), radii those of Cordero et al.,
//! Dalton Trans. 2008, 2832 (the low-spin value where there are two).

/// One element.
#[derive(Debug, PartialEq)]
pub struct Element {
    /// `H`, `Cl`.
    pub symbol: &'static str,
    /// Z
    pub atomic_number: u8,
    /// Da
    pub mass_da: f64,
    /// Single-bond covalent radius, nm.
    pub covalent_radius_nm: f64,
}

const fn element(symbol: &'static str, atomic_number: u8, mass_da: f64, covalent_radius_nm: f64) -> Element {
    Element { symbol, atomic_number, mass_da, covalent_radius_nm }
}

/// The elements known here.
pub static ELEMENTS: [Element; 29] = [
    element("H", 1, 1.008, 0.031),
    element("D", 1, 2.014, 0.031),
    element("He", 2, 4.0026, 0.028),
    element("Li", 3, 6.94, 0.128),
    element("B", 5, 10.81, 0.084),
    element("C", 6, 12.011, 0.076),
    element("N", 7, 14.007, 0.071),
    element("O", 8, 15.999, 0.066),
    element("F", 9, 18.998, 0.057),
    element("Ne", 10, 20.180, 0.058),
    element("Na", 11, 22.990, 0.166),
    element("Mg", 12, 24.305, 0.141),
    element("Al", 13, 26.982, 0.121),
    element("Si", 14, 28.085, 0.111),
    element("P", 15, 30.974, 0.107),
    element("S", 16, 32.06, 0.105),
    element("Cl", 17, 35.45, 0.102),
    element("Ar", 18, 39.95, 0.106),
    element("K", 19, 39.098, 0.203),
    element("Ca", 20, 40.078, 0.176),
    element("Mn", 25, 54.938, 0.139),
    element("Fe", 26, 55.845, 0.132),
    element("Cu", 29, 63.546, 0.132),
    element("Zn", 30, 65.38, 0.122),
    element("Se", 34, 78.971, 0.120),
    element("Br", 35, 79.904, 0.120),
    element("Rb", 37, 85.468, 0.220),
    element("I", 53, 126.904, 0.139),
    element("Cs", 55, 132.905, 0.244),
];

/// The element of a symbol, in any case.
pub fn by_symbol(symbol: &str) -> Option<&'static Element> {
    ELEMENTS.iter().find(|element| element.symbol.eq_ignore_ascii_case(symbol))
}

/// The element of an atomic number.
pub fn by_number(atomic_number: i64) -> Option<&'static Element> {
    ELEMENTS.iter().find(|element| i64::from(element.atomic_number) == atomic_number)
}

/// The element whose standard mass is within 0.3 Da; repartitioned hydrogen masses have none.
pub fn by_mass(mass_da: f64) -> Option<&'static Element> {
    ELEMENTS
        .iter()
        .map(|element| ((element.mass_da - mass_da).abs(), element))
        .filter(|(difference, _)| *difference < 0.3)
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, element)| element)
}

/// The element that the name of an atom means where a file states none.
///
/// `CA` is carbon in a residue and calcium when the residue is itself called `CA`; `Cl` with a
/// small letter, and names that begin with `CL` or `BR` outside of amino acids, are halogens.
pub fn by_atom_name(atom_name: &str, residue_name: &str) -> Option<&'static Element> {
    let letters: String = atom_name.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).into();
    let letters: String = letters.chars().take_while(char::is_ascii_alphabetic).collect();
    let two = letters.get(..2);
    let is_ion = residue_name.trim_end_matches(['+', '-', '2', '3']).eq_ignore_ascii_case(&letters);
    if is_ion && let Some(element) = by_symbol(&letters) {
        return Some(element);
    }
    if let Some(two) = two {
        let lower_second = two.as_bytes()[1].is_ascii_lowercase() && two.as_bytes()[0].is_ascii_uppercase();
        let halogen = ["CL", "BR"].contains(&two) && !is_amino_acid(residue_name);
        if (lower_second || halogen) && by_symbol(two).is_some() {
            return by_symbol(two);
        }
    }
    by_symbol(letters.get(..1)?)
}

/// Residues that make up proteins, with the protonation states and caps of the usual force fields.
pub fn is_amino_acid(residue_name: &str) -> bool {
    const NAMES: [&str; 46] = [
        "ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE", "LEU", "LYS", "MET", "PHE",
        "PRO", "SER", "THR", "TRP", "TYR", "VAL", "ACE", "NME", "NMA", "NH2", "NHE", "ASH", "CYM", "CYX",
        "GLH", "HID", "HIE", "HIP", "HSD", "HSE", "HSP", "HYP", "LYN", "MSE", "SEC", "PYL", "SEP", "TPO",
        "PTR", "CYSH", "LYSH", "HISH",
    ];
    NAMES.contains(&residue_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alpha_carbon_is_not_calcium() {
        let symbol = |atom, residue| by_atom_name(atom, residue).map(|element| element.symbol);
        assert_eq!(symbol("CA", "ALA"), Some("C"));
        assert_eq!(symbol("CA", "CA"), Some("Ca"));
        assert_eq!(symbol("NA", "HEM"), Some("N"));
        assert_eq!(symbol("NA", "NA+"), Some("Na"));
        assert_eq!(symbol("1HB", "ALA"), Some("H"));
        assert_eq!(symbol("CL1", "LIG"), Some("Cl"));
        assert_eq!(symbol("Na", ""), Some("Na"));
        assert_eq!(symbol("", ""), None);
    }

    #[test]
    fn masses_of_hydrogen_repartitioning_are_not_mistaken_for_helium() {
        assert_eq!(by_mass(12.01).map(|e| e.symbol), Some("C"));
        assert_eq!(by_mass(3.024), None);
    }
}
