//! The file format of `force_fields/NAME/parameters.toml`, described in `force_fields/README.md`.
//!
//! The files keep the units of the AMBER publications (Å, kcal/mol, degrees, Rmin/2, and k (r − r₀)²
//! without the ½); they become those of [`crate::force_field::Parameters`] here.

use crate::error::{Error, Result, did_you_mean};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const KJ_PER_KCAL: f64 = 4.184;
const NM_PER_ANGSTROM: f64 = 0.1;
/// Stands for any class in torsions and impropers.
const WILDCARD: &str = "X";

/// The force fields of this program, embedded in it.
static CATALOGUE: [(&str, &str); 3] = [
    ("amber_ff14sb", include_str!("../../../force_fields/amber_ff14sb/parameters.toml")),
    ("amber_ff99sb_ildn", include_str!("../../../force_fields/amber_ff99sb_ildn/parameters.toml")),
    ("amber_ff96", include_str!("../../../force_fields/amber_ff96/parameters.toml")),
];

/// The names that [`ForceField::named`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    CATALOGUE.iter().map(|(name, _)| *name)
}

/// Templates of residues and the parameters of their atom classes, in internal units.
#[derive(Debug)]
pub struct ForceField {
    /// The name by which it was asked for.
    pub name: String,
    /// Rule for the order of the atoms of an improper torsion.
    pub improper_order: ImproperOrder,
    /// Factor of Coulomb interactions between atoms three bonds apart.
    pub coulomb_14: f64,
    /// Factor of Lennard-Jones interactions between atoms three bonds apart.
    pub lennard_jones_14: f64,
    /// Atom classes; everything else points here.
    pub classes: Vec<Class>,
    /// Improper torsions in the order of the file, which matters.
    pub impropers: Vec<Improper>,
    bonds: HashMap<[usize; 2], Stretch>,
    angles: HashMap<[usize; 3], Stretch>,
    torsions: HashMap<[Option<usize>; 4], Vec<TorsionTerm>>,
    residues: BTreeMap<String, Forms>,
}

/// What atoms of one kind share.
#[derive(Debug)]
pub struct Class {
    /// `CT`
    pub name: String,
    /// `C`
    pub element: String,
    /// Da
    pub mass_da: f64,
    /// σ in nm.
    pub sigma_nm: f64,
    /// ε in kJ/mol.
    pub epsilon: f64,
}

/// A harmonic bond or angle: ½ k (x − x₀)², x in nm or rad.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// x₀
    pub equilibrium: f64,
    /// k in kJ/mol per nm² or rad².
    pub stiffness: f64,
}

/// k (1 + cos(n φ − φ₀)).
#[derive(Debug, Clone, Copy)]
pub struct TorsionTerm {
    /// n
    pub periodicity: u32,
    /// φ₀ in rad.
    pub phase_rad: f64,
    /// k in kJ/mol.
    pub barrier: f64,
}

/// An improper torsion; the central class comes first, none is any class.
#[derive(Debug)]
pub struct Improper {
    /// Central class and its three neighbours.
    pub classes: [Option<usize>; 4],
    /// The terms of its energy.
    pub terms: Vec<TorsionTerm>,
}

/// How the three neighbours of an improper's central atom are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImproperOrder {
    /// By element and index (ff96 and ff99SB in OpenMM).
    Element,
    /// By residue and place in the template, as tleap does (ff14SB in OpenMM).
    Template,
}

/// Where in a chain a residue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Bonded to both neighbours, or a cap.
    Internal,
    /// First of a chain, with a free amine.
    NTerminal,
    /// Last of a chain, with a free acid.
    CTerminal,
}

/// The forms of a residue.
#[derive(Debug)]
pub struct Forms([Option<Template>; 3]);

impl Forms {
    /// The form at a place of the chain.
    pub fn at(&self, place: Place) -> Option<&Template> {
        self.0[place as usize].as_ref()
    }
}

/// The atoms and bonds of a residue.
#[derive(Debug)]
pub struct Template {
    /// In the order of the publication, which some impropers depend on.
    pub atoms: Vec<TemplateAtom>,
    /// Pairs of indices into `atoms`.
    pub bonds: Vec<[usize; 2]>,
}

impl Template {
    /// The index of an atom by its name.
    pub fn position(&self, atom_name: &str) -> Option<usize> {
        self.atoms.iter().position(|atom| atom.name == atom_name)
    }
}

/// An atom of a template.
#[derive(Debug)]
pub struct TemplateAtom {
    /// `CA`
    pub name: String,
    /// Index of its class.
    pub class: usize,
    /// e
    pub charge: f64,
}

impl ForceField {
    /// A force field of the catalogue, or the file whose path ends in `.toml`.
    pub fn named(name: &str) -> Result<Self> {
        if let Some((_, text)) = CATALOGUE.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, Path::new(&format!("force_fields/{name}/parameters.toml")), text);
        }
        if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
            let path = Path::new(name);
            let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
            return Self::parse(name, path, &text);
        }
        Err(Error::config(
            "force_field",
            format!("unknown force field `{name}`"),
            did_you_mean(name, names()),
        ))
    }

    /// The force field that a text in the format of this module describes.
    pub fn parse(name: &str, path: &Path, text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(String::new(), |span| {
                format!("line {}", text[..span.start.min(text.len())].lines().count().max(1))
            });
            Error::file(path, line, "a force field (force_fields/README.md)", error.message())
        })?;
        file.into_force_field(name, path)
    }

    /// The forms of a residue.
    pub fn residue(&self, name: &str) -> Option<&Forms> {
        self.residues.get(name)
    }

    /// The names of all residues in alphabetical order.
    pub fn residue_names(&self) -> impl Iterator<Item = &str> {
        self.residues.keys().map(String::as_str)
    }

    /// Bond between two classes.
    pub fn bond(&self, classes: [usize; 2]) -> Option<Stretch> {
        self.bonds.get(&canonical(classes)).copied()
    }

    /// Angle of three classes, the apex in the middle.
    pub fn angle(&self, classes: [usize; 3]) -> Option<Stretch> {
        self.angles.get(&canonical(classes)).copied()
    }

    /// Terms of a proper torsion: those of the four classes, or else of the two in the middle.
    pub fn torsion(&self, classes: [usize; 4]) -> Option<&[TorsionTerm]> {
        let [_, second, third, _] = classes;
        self.torsions
            .get(&canonical(classes.map(Some)))
            .or_else(|| self.torsions.get(&canonical([None, Some(second), Some(third), None])))
            .map(Vec::as_slice)
    }
}

/// The smaller of a sequence of classes and its reverse, which mean the same.
fn canonical<T: Ord + Copy, const N: usize>(classes: [T; N]) -> [T; N] {
    let mut reversed = classes;
    reversed.reverse();
    classes.min(reversed)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "title")]
    _title: String,
    improper_order: ImproperOrder,
    coulomb_14: f64,
    lennard_jones_14: f64,
    classes: BTreeMap<String, (String, f64, f64, f64)>,
    terms: Terms,
    residues: BTreeMap<String, FormsInFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Terms {
    bonds: Vec<(String, String, f64, f64)>,
    angles: Vec<(String, String, String, f64, f64)>,
    torsions: Vec<TorsionInFile>,
    impropers: Vec<TorsionInFile>,
}

type TorsionInFile = (String, String, String, String, Vec<(u32, f64, f64)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FormsInFile {
    internal: Option<TemplateInFile>,
    n_terminal: Option<TemplateInFile>,
    c_terminal: Option<TemplateInFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateInFile {
    atoms: Vec<(String, String, f64)>,
    bonds: String,
}

impl File {
    fn into_force_field(self, name: &str, path: &Path) -> Result<ForceField> {
        let class_names: Vec<String> = self.classes.keys().cloned().collect();
        let class = |place: &str, name: &str| {
            class_names.binary_search_by(|known| known.as_str().cmp(name)).map_err(|_| {
                let hint = did_you_mean(name, class_names.iter().map(String::as_str));
                Error::file(path, place, "classes of the table `classes`", format!("`{name}`"))
                    .with_hint(hint)
            })
        };
        let class_or_any =
            |place: &str, name: &str| if name == WILDCARD { Ok(None) } else { class(place, name).map(Some) };

        let mut bonds = HashMap::new();
        for (a, b, k, length) in &self.terms.bonds {
            let classes = [class("bonds", a)?, class("bonds", b)?];
            let stiffness = 2.0 * k * KJ_PER_KCAL / (NM_PER_ANGSTROM * NM_PER_ANGSTROM);
            bonds.insert(canonical(classes), Stretch { equilibrium: length * NM_PER_ANGSTROM, stiffness });
        }
        let mut angles = HashMap::new();
        for (a, b, c, k, degrees) in &self.terms.angles {
            let classes = [class("angles", a)?, class("angles", b)?, class("angles", c)?];
            let stretch = Stretch { equilibrium: degrees.to_radians(), stiffness: 2.0 * k * KJ_PER_KCAL };
            angles.insert(canonical(classes), stretch);
        }
        let torsion = |place: &str, (a, b, c, d, terms): &TorsionInFile| -> Result<_> {
            let classes = [
                class_or_any(place, a)?,
                class_or_any(place, b)?,
                class_or_any(place, c)?,
                class_or_any(place, d)?,
            ];
            let term = |&(periodicity, degrees, k): &(u32, f64, f64)| TorsionTerm {
                periodicity,
                phase_rad: degrees.to_radians(),
                barrier: k * KJ_PER_KCAL,
            };
            Ok((classes, terms.iter().map(term).collect::<Vec<_>>()))
        };
        let mut torsions = HashMap::new();
        for line in &self.terms.torsions {
            let (classes, terms) = torsion("torsions", line)?;
            let n_any = classes.iter().filter(|class| class.is_none()).count();
            if n_any != 0 && (n_any != 2 || classes[0].is_some() || classes[3].is_some()) {
                let found = format!("{}-{}-{}-{}", line.0, line.1, line.2, line.3);
                return Err(Error::file(path, "torsions", "four classes, or X at both ends", found));
            }
            torsions.insert(canonical(classes), terms);
        }
        let mut impropers = Vec::new();
        for line in &self.terms.impropers {
            let (classes, terms) = torsion("impropers", line)?;
            impropers.push(Improper { classes, terms });
        }
        let mut residues = BTreeMap::new();
        for (residue_name, forms) in self.residues {
            let template = |form: Option<TemplateInFile>| {
                form.map(|form| form.into_template(path, &residue_name, class)).transpose()
            };
            let forms = [template(forms.internal)?, template(forms.n_terminal)?, template(forms.c_terminal)?];
            residues.insert(residue_name, Forms(forms));
        }
        let classes = self
            .classes
            .into_iter()
            .map(|(name, (element, mass_da, half_minimum, epsilon))| Class {
                name,
                element,
                mass_da,
                // The minimum lies at 2^(1/6) σ.
                sigma_nm: 2.0 * half_minimum * NM_PER_ANGSTROM * 2.0_f64.powf(-1.0 / 6.0),
                epsilon: epsilon * KJ_PER_KCAL,
            })
            .collect();
        Ok(ForceField {
            name: name.to_string(),
            improper_order: self.improper_order,
            coulomb_14: self.coulomb_14,
            lennard_jones_14: self.lennard_jones_14,
            classes,
            impropers,
            bonds,
            angles,
            torsions,
            residues,
        })
    }
}

impl TemplateInFile {
    fn into_template(
        self,
        path: &Path,
        residue_name: &str,
        class: impl Fn(&str, &str) -> Result<usize>,
    ) -> Result<Template> {
        let place = format!("residue {residue_name}");
        let mut template = Template { atoms: Vec::new(), bonds: Vec::new() };
        for (name, class_name, charge) in self.atoms {
            let class = class(&place, &class_name)?;
            template.atoms.push(TemplateAtom { name, class, charge });
        }
        for bond in self.bonds.split_whitespace() {
            let ends =
                bond.split_once('-').and_then(|(a, b)| Some([template.position(a)?, template.position(b)?]));
            let Some(ends) = ends else {
                return Err(Error::file(
                    path,
                    place,
                    "bonds `A-B` between atoms of the residue",
                    format!("`{bond}`"),
                ));
            };
            template.bonds.push(ends);
        }
        Ok(template)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_numbers_arrive_in_internal_units() {
        let force_field = ForceField::named("amber_ff96").unwrap();
        let class = |name: &str| force_field.classes.iter().position(|class| class.name == name).unwrap();
        // Cornell et al. 1995: CT-CT 310 kcal/(mol A^2), 1.526 A; CT Rmin/2 = 1.908 A, 0.1094 kcal/mol.
        let bond = force_field.bond([class("CT"), class("CT")]).unwrap();
        assert!((bond.stiffness - 259_408.0).abs() < 1e-9 && (bond.equilibrium - 0.1526).abs() < 1e-15);
        let carbon = &force_field.classes[class("CT")];
        assert!((carbon.sigma_nm - 0.339_966_950_842).abs() < 1e-12);
        assert!((carbon.epsilon - 0.457_729_6).abs() < 1e-12);
        // X-CT-CT-X is the fallback of torsions about CT-CT, HC-CT-CT-HC (ff99) is not in ff96.
        let torsion = force_field.torsion(["HC", "CT", "CT", "HC"].map(class)).unwrap();
        assert_eq!((torsion.len(), torsion[0].periodicity), (1, 3));
    }

    #[test]
    fn charges_of_a_residue_add_up_to_an_integer_and_its_bonds_connect_it() {
        for name in names() {
            let force_field = ForceField::named(name).unwrap();
            for (residue, forms) in &force_field.residues {
                for template in forms.0.iter().flatten() {
                    let charge: f64 = template.atoms.iter().map(|atom| atom.charge).sum();
                    assert!((charge - charge.round()).abs() < 1.1e-3, "{name} {residue}: {charge}");
                    let rings = match residue.as_str() {
                        "TRP" => 2,
                        "PRO" | "HYP" | "HID" | "HIE" | "HIP" | "PHE" | "TYR" => 1,
                        _ => 0,
                    };
                    assert_eq!(template.bonds.len(), template.atoms.len() - 1 + rings, "{name} {residue}");
                }
            }
        }
    }

    #[test]
    fn an_unknown_force_field_and_an_unknown_class_are_named_with_the_nearest() {
        let error = ForceField::named("amber_ff14s").unwrap_err().to_string();
        assert!(error.contains("`amber_ff14s`") && error.contains("did you mean `amber_ff14sb`?"), "{error}");
        let text = CATALOGUE[2].1.replacen("[\"HB2\", \"HC\", 0.0603]", "[\"HB2\", \"HCC\", 0.0603]", 1);
        let error = ForceField::parse("mine", Path::new("mine.toml"), &text).unwrap_err().to_string();
        assert!(error.contains("`mine.toml`, residue ALA") && error.contains("`HCC`"), "{error}");
        let error = ForceField::parse("mine", Path::new("mine.toml"), "title = 1").unwrap_err().to_string();
        assert!(error.contains("`mine.toml`, line 1"), "{error}");
    }
}
