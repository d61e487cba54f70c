//! AMBER topology files: `%FLAG` sections of fixed-width columns (the `prmtop` format of AMBER 7 and later).
//!
//! ```text
//! %FLAG ATOM_NAME
//! %FORMAT(20a4)
//! HH31CH3 HH32HH33C   O   N   H
//! ```
//!
//! [`Prmtop`] keeps every section with its line numbers and hands out typed values;
//! [`Prmtop::topology`] takes from it what the atoms are. Files of CHAMBER hold CHARMM terms under the
//! same names and are refused.

use crate::error::{Error, Result, did_you_mean};
use crate::system::elements;
use crate::system::topology::{Atom, Topology};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file as sections.
#[derive(Debug, Clone)]
pub struct Prmtop {
    path: PathBuf,
    sections: BTreeMap<String, Section>,
}

/// One `%FLAG`: its format and its lines.
#[derive(Debug, Clone)]
pub struct Section {
    /// Line of the flag, counted from 1.
    pub line: usize,
    /// `a`, `I`, `E` or `F`, as an upper-case letter.
    pub kind: char,
    /// Columns per value.
    pub width: usize,
    /// Line number and text.
    lines: Vec<(usize, String)>,
}

impl Prmtop {
    /// Reads the sections of a file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::file(path, "", "an AMBER topology", "bytes that are not text"))?;
        Self::parse(path, &text)
    }

    /// Splits text into sections; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let mut sections = BTreeMap::<String, Section>::new();
        let mut current: Option<String> = None;
        for (line, content) in text.lines().enumerate().map(|(idx, content)| (idx + 1, content.trim_end())) {
            if let Some(flag) = content.strip_prefix("%FLAG") {
                let flag = flag.trim().to_string();
                let section = Section { line, kind: ' ', width: 0, lines: Vec::new() };
                if sections.insert(flag.clone(), section).is_some() {
                    return Err(Error::file(
                        path,
                        format!("line {line}"),
                        "each flag once",
                        format!("{flag} again"),
                    ));
                }
                current = Some(flag);
            } else if let Some(format) = content.strip_prefix("%FORMAT") {
                let section = current.as_ref().and_then(|flag| sections.get_mut(flag)).ok_or_else(|| {
                    Error::file(path, format!("line {line}"), "%FLAG before %FORMAT", content.to_string())
                })?;
                (section.kind, section.width) = parse_format(format).ok_or_else(|| {
                    Error::file(
                        path,
                        format!("line {line}"),
                        "a format like %FORMAT(10I8)",
                        content.to_string(),
                    )
                })?;
            } else if !content.starts_with('%')
                && let Some(section) = current.as_ref().and_then(|flag| sections.get_mut(flag))
            {
                section.lines.push((line, content.to_string()));
            }
        }
        if sections.is_empty() {
            return Err(Error::file(path, "", "an AMBER topology with %FLAG sections", "none")
                .with_hint("topologies of AMBER 6 and older are not read"));
        }
        if let Some(section) = sections.get("CTITLE") {
            let place = format!("line {}", section.line);
            return Err(Error::file(
                path,
                place,
                "AMBER force-field terms",
                "CHARMM terms written by CHAMBER",
            ));
        }
        if let Some((flag, section)) = sections.iter().find(|(_, section)| section.width == 0) {
            let place = format!("line {}, section {flag}", section.line);
            return Err(Error::file(path, place, "a %FORMAT line", "none"));
        }
        Ok(Self { path: path.to_path_buf(), sections })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is such a section.
    pub fn contains(&self, flag: &str) -> bool {
        self.sections.contains_key(flag)
    }

    /// The names of all sections.
    pub fn flags(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// The section of a flag.
    pub fn section(&self, flag: &str) -> Result<&Section> {
        self.sections.get(flag).ok_or_else(|| {
            let hint = did_you_mean(flag, self.flags());
            let error = Error::file(&self.path, "", format!("a section {flag}"), "none");
            if hint.starts_with("known") { error } else { error.with_hint(hint) }
        })
    }

    /// The values of a section as text, trimmed.
    pub fn texts(&self, flag: &str) -> Result<Vec<String>> {
        self.values(flag, "text", |text| Some(text.to_string()))
    }

    /// The values of a section as whole numbers.
    pub fn integers(&self, flag: &str) -> Result<Vec<i64>> {
        self.values(flag, "a whole number", |text| text.parse().ok())
    }

    /// The values of a section as real numbers, finite, in the units of the file.
    pub fn reals(&self, flag: &str) -> Result<Vec<f64>> {
        let finite = |text: &str| text.replace(['D', 'd'], "E").parse().ok().filter(|x: &f64| x.is_finite());
        self.values(flag, "a real number", finite)
    }

    /// The values of a section as whole numbers, errors unless there are `count`.
    pub fn counted_integers(&self, flag: &str, count: usize) -> Result<Vec<i64>> {
        let values = self.integers(flag)?;
        self.expect_count(flag, count, values.len())?;
        Ok(values)
    }

    /// The values of a section as real numbers, errors unless there are `count`.
    pub fn counted_reals(&self, flag: &str, count: usize) -> Result<Vec<f64>> {
        let values = self.reals(flag)?;
        self.expect_count(flag, count, values.len())?;
        Ok(values)
    }

    /// An error about a section as a whole.
    pub fn error(&self, flag: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        let line =
            self.sections.get(flag).map_or_else(String::new, |section| format!("line {}, ", section.line));
        Error::file(&self.path, format!("{line}section {flag}"), expected, found)
    }

    /// Errors unless a section has this many values.
    pub fn expect_count(&self, flag: &str, expected: usize, found: usize) -> Result<()> {
        if expected == found {
            return Ok(());
        }
        let line = self.section(flag)?.line;
        let place = format!("line {line}, section {flag}");
        Err(Error::file(&self.path, place, format!("{expected} values"), found.to_string())
            .with_hint("the file may be truncated"))
    }

    fn values<T>(&self, flag: &str, what: &str, convert: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
        let section = self.section(flag)?;
        let mut values = Vec::new();
        for (line, content) in &section.lines {
            let bad = |found: &str| {
                Error::file(&self.path, format!("line {line}, section {flag}"), what, format!("`{found}`"))
            };
            if !content.is_ascii() {
                return Err(bad(content));
            }
            for start in (0..content.len()).step_by(section.width) {
                let field = content[start..content.len().min(start + section.width)].trim();
                // A text may be blank in the middle of a line; numbers may not.
                values.push(convert(field).ok_or_else(|| bad(field))?);
            }
        }
        Ok(values)
    }

    /// What the atoms are. Residues are numbered from 1; AMBER files have no chains.
    pub fn topology(&self) -> Result<Topology> {
        let pointers = self.integers("POINTERS")?;
        if pointers.len() < 30 {
            self.expect_count("POINTERS", 31, pointers.len())?;
        }
        let count = |pointer: usize, what: &str| {
            usize::try_from(pointers[pointer]).map_err(|_| {
                let found = pointers[pointer].to_string();
                Error::file(&self.path, "section POINTERS", format!("a number of {what}"), found)
            })
        };
        let (n_atoms, n_residues) = (count(0, "atoms")?, count(11, "residues")?);
        if n_atoms == 0 {
            return Err(Error::file(&self.path, "section POINTERS", "at least one atom", "0"));
        }

        let names = self.texts("ATOM_NAME")?;
        self.expect_count("ATOM_NAME", n_atoms, names.len())?;
        let masses_da = self.reals("MASS")?;
        self.expect_count("MASS", n_atoms, masses_da.len())?;
        let numbers =
            if self.contains("ATOMIC_NUMBER") { self.integers("ATOMIC_NUMBER")? } else { Vec::new() };
        if !numbers.is_empty() {
            self.expect_count("ATOMIC_NUMBER", n_atoms, numbers.len())?;
        }
        let labels = self.texts("RESIDUE_LABEL")?;
        self.expect_count("RESIDUE_LABEL", n_residues, labels.len())?;
        let starts = self.integers("RESIDUE_POINTER")?;
        self.expect_count("RESIDUE_POINTER", n_residues, starts.len())?;
        if starts.first() != Some(&1)
            || starts.windows(2).any(|pair| pair[0] >= pair[1])
            || starts.last().is_some_and(|&last| last > n_atoms as i64)
        {
            let place = format!("line {}, section RESIDUE_POINTER", self.section("RESIDUE_POINTER")?.line);
            let expected = format!("first atoms of residues, ascending from 1 to at most {n_atoms}");
            return Err(Error::file(&self.path, place, expected, format!("{starts:?}")));
        }

        // Masses name elements, unless mass was moved from heavy atoms to hydrogens.
        let is_heavy_hydrogen = |(name, &mass_da): (&String, &f64)| {
            name.starts_with('H')
                && elements::by_mass(mass_da).is_none_or(|element| element.symbol == "He")
                && (1.3..4.1).contains(&mass_da)
        };
        let repartitioned = names.iter().zip(&masses_da).any(is_heavy_hydrogen);

        let mut residue = 0;
        let mut atoms = Vec::with_capacity(n_atoms);
        for (idx, name) in names.into_iter().enumerate() {
            while starts.get(residue + 1).is_some_and(|&start| start <= idx as i64 + 1) {
                residue += 1;
            }
            let element = match numbers.get(idx) {
                Some(&number) => elements::by_number(number),
                None => {
                    let by_name = elements::by_atom_name(&name, &labels[residue]);
                    let by_mass = elements::by_mass(masses_da[idx]);
                    if repartitioned { by_name.or(by_mass) } else { by_mass.or(by_name) }
                }
            };
            atoms.push(Atom {
                name,
                element: element.map_or("X", |element| element.symbol).to_string(),
                residue_name: labels[residue].clone(),
                residue_id: residue as i64 + 1,
                chain: String::new(),
                mass_da: masses_da[idx],
            });
        }
        Ok(Topology::new(atoms, self.bonds(n_atoms)?))
    }

    fn bonds(&self, n_atoms: usize) -> Result<Vec<[usize; 2]>> {
        let mut bonds = Vec::new();
        for flag in ["BONDS_INC_HYDROGEN", "BONDS_WITHOUT_HYDROGEN"] {
            let values = self.integers(flag)?;
            for triple in values.chunks(3) {
                // Atoms are stored as the index of their x coordinate, three times the atom index.
                let atom = |value: i64| {
                    usize::try_from(value / 3)
                        .ok()
                        .filter(|idx| value % 3 == 0 && value >= 0 && *idx < n_atoms)
                };
                match triple {
                    [i, j, _] if atom(*i).is_some() && atom(*j).is_some() => {
                        bonds.extend(atom(*i).zip(atom(*j)).map(|(i, j)| [i, j]));
                    }
                    other => {
                        let place = format!("line {}, section {flag}", self.section(flag)?.line);
                        let expected = format!("3 i, 3 j, type with i, j < {n_atoms}");
                        return Err(Error::file(&self.path, place, expected, format!("{other:?}")));
                    }
                }
            }
        }
        Ok(bonds)
    }
}

/// `(10I8)` → (`I`, 8); counts and precisions do not matter for reading.
fn parse_format(text: &str) -> Option<(char, usize)> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    // Tables of CMAP have the format (8(F9.5)).
    let letters = inner.trim_start_matches(|c: char| c.is_ascii_digit() || c == '(').trim_end_matches(')');
    let kind = letters.chars().next()?.to_ascii_uppercase();
    let width = letters.get(1..)?.split('.').next()?.parse().ok()?;
    ("AIEF".contains(kind) && width > 0).then_some((kind, width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::topology::tests::alanine_dipeptide;

    const FILE: &str = include_str!("../../tests/data/aldp.prmtop");

    fn error(text: &str) -> String {
        let parsed = Prmtop::parse(Path::new("a.prmtop"), text).and_then(|file| file.topology());
        parsed.expect_err("a broken file").to_string()
    }

    #[test]
    fn alanine_dipeptide_has_its_atoms_masses_and_bonds() {
        let file = Prmtop::parse(Path::new("aldp.prmtop"), FILE).expect("a good file");
        let topology = file.topology().expect("a good file");
        let expected = alanine_dipeptide();
        assert_eq!(topology.bonds, expected.bonds);
        for (found, expected) in topology.atoms.iter().zip(&expected.atoms) {
            assert_eq!(found.element, expected.element);
            assert_eq!(found.residue_name, expected.residue_name);
            assert_eq!(found.residue_id, expected.residue_id);
            assert!((found.mass_da - expected.mass_da).abs() < 0.01);
        }
        assert_eq!(topology.atoms[0].name, "HH31");
        assert_eq!(topology.atoms[8].name, "CA");
        let charge: f64 = file.reals("CHARGE").expect("charges").iter().sum();
        assert!((charge / 18.2223).abs() < 1e-6, "a neutral molecule");
        assert_eq!(file.integers("POINTERS").expect("pointers").len(), 31);
    }

    #[test]
    fn repartitioned_masses_do_not_name_elements() {
        let older = FILE.replace("%FLAG ATOMIC_NUMBER", "%FLAG OTHER");
        let section = older.find("%FLAG MASS").expect("in the file");
        // With 3 Da of each hydrogen, oxygen would weigh as nitrogen does, and nitrogen as carbon.
        let (head, tail) = older.split_at(section);
        let end = tail[1..].find("%FLAG").expect("another section") + 1;
        let moved = tail[..end]
            .replace("1.00800000E+00", "3.02400000E+00")
            .replace("1.60000000E+01", "1.39840000E+01")
            .replace("1.40100000E+01", "1.19940000E+01");
        assert_ne!(moved, tail[..end]);
        let text = format!("{head}{moved}{}", &tail[end..]);
        let elements = |text: &str| -> Vec<String> {
            let file = Prmtop::parse(Path::new("a.prmtop"), text).expect("a good file");
            file.topology().expect("a good file").atoms.into_iter().map(|atom| atom.element).collect()
        };
        assert_eq!(elements(&text), elements(FILE));
        assert_eq!(elements(&older), elements(FILE));
    }

    #[test]
    fn broken_files_are_located() {
        assert!(error("hello").contains("%FLAG"));
        assert!(error(&FILE.replace("%FLAG TITLE", "%FLAG CTITLE")).contains("CHAMBER"));
        let text = error(&FILE.replace("%FLAG MASS ", "%FLAG MOSS "));
        assert!(text.contains("MASS") && text.contains("did you mean `MOSS`?"), "{text}");
        let cut = &FILE[..FILE.find("%FLAG MASS").expect("in the file") + 400];
        let text = error(cut);
        assert!(text.contains("section MASS") && text.contains("22 values"), "{text}");
        let text = error(&FILE.replace("1.20100000E+01", "1.2010000xE+01"));
        assert!(text.contains("line 2") && text.contains("1.2010000xE+01"), "{text}");
        let text = error(&FILE.replace("%FORMAT(20a4)", "%FORMAT(20 4)"));
        assert!(text.contains("line 3"), "{text}");
    }
}
