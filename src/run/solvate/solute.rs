//! The molecule whose solvation is wanted: one molecule, alone, in an implicit solvent.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::force_field::implicit_solvent::{assign_radii, by_name, of_topology};
use crate::force_field::molecular_system::{MolecularSystem, SystemRequest, load};
use crate::force_field::parameters::{GeneralizedBorn, NonbondedMethod};
use crate::force_field::{Parameters, amber_prmtop, shipped};
use crate::run::solvate::SolvateRequest;
use crate::system::Topology;

/// A molecule that can be solvated.
#[derive(Debug, Clone)]
pub struct Solute {
    /// What it is called.
    pub name: String,
    /// Its energy, with the implicit solvent.
    pub parameters: Parameters,
    /// Where it begins, nm.
    pub start_nm: Vec<f64>,
    /// The solvent, for people: `OBC2`.
    pub solvent: &'static str,
    /// Files that were read.
    pub inputs: Vec<PathBuf>,
    /// What was decided for the user, one sentence each.
    pub notes: Vec<String>,
}

/// Where radii of generalised Born come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Radii {
    /// The topology, where it has them.
    #[default]
    Topology,
    /// Elements and bonds: mbondi2 for OBC1 and OBC2, mbondi3 for GBn2.
    Standard,
}

/// The solvent of files that say none.
const DEFAULT_SOLVENT: &str = "obc2";

impl Solute {
    /// Reads the molecule, and refuses what has no solvation free energy in implicit solvent.
    pub fn read(request: &SolvateRequest) -> Result<Self> {
        let mut notes = Vec::new();
        if request.solvent.as_deref() == Some("none") {
            let message = "a solvation free energy needs a solvent";
            return Err(Error::config("--solvent none", message, "known: obc1, obc2, gbn2"));
        }
        if let Some(solvent) = &request.solvent {
            by_name(solvent).map_err(|error| match error {
                Error::Config { message, hint, .. } => {
                    Error::config(format!("--solvent {solvent}"), message, hint)
                }
                other => other,
            })?;
        }
        let molecule = &request.molecule;
        let coordinates = match &request.coordinates {
            Some(coordinates) => Some(coordinates.clone()),
            None => beside(molecule),
        };
        let text = beginning(molecule);
        let is_prmtop = amber_prmtop::is_prmtop(&text);
        let is_structure = molecule.is_file() && request.force_field.is_some();
        let mut system_request = SystemRequest {
            topology: molecule.clone(),
            structure: coordinates.clone(),
            implicit_solvent: request.solvent.clone(),
            surface_area: None,
            force_field: request.force_field.clone(),
        };
        // Explicit solvent is refused before radii are missed.
        if is_prmtop {
            let bare = SystemRequest { implicit_solvent: None, structure: None, ..system_request.clone() };
            refuse(molecule, &load(&bare)?.parameters)?;
        }
        let has_radii =
            !is_prmtop || std::fs::read_to_string(molecule).is_ok_and(|text| text.contains("%FLAG RADII"));
        let standard = request.radii == Radii::Standard || !has_radii;
        let says_solvent = shipped_solvent(molecule);
        if system_request.implicit_solvent.is_none()
            && (is_prmtop || is_structure || says_solvent == Some(false))
        {
            system_request.implicit_solvent = Some(DEFAULT_SOLVENT.into());
        }
        let wanted = system_request.implicit_solvent.clone();
        if standard && is_prmtop {
            system_request.implicit_solvent = None;
        }
        let MolecularSystem { name, mut parameters, positions_nm, .. } = load(&system_request)?;
        refuse(molecule, &parameters)?;
        let model = match &wanted {
            Some(wanted) => by_name(wanted)?,
            None => parameters.implicit_solvent.as_ref().map(|solvent| solvent.model),
        };
        let Some(model) = model else {
            let message = "holds no implicit solvent";
            let hint = "serialise a System with implicit solvent, or give an AMBER topology and --solvent";
            return Err(Error::config(molecule.display().to_string(), message, hint));
        };
        if standard && (is_prmtop || !molecule.is_file()) {
            parameters.implicit_solvent = Some(of_topology(&parameters, model, true)?);
            if !has_radii {
                let set = radius_set(model);
                notes.push(format!("The topology has no Born radii; those of {set} were assigned."));
            }
        } else {
            notes.extend(unusual_radii(&parameters, model));
        }
        let Some(start_nm) = positions_nm else {
            let message = "is missing: the topology says nothing about positions";
            let hint = "give inpcrd, rst7, PDB or another structure as the second argument";
            return Err(Error::config("COORDINATES", message, hint));
        };
        if coordinates.is_some()
            && request.coordinates.is_none()
            && let Some(found) = &coordinates
        {
            notes.push(format!("Positions are from `{}`.", found.display()));
        }
        let inputs = [Some(molecule.clone()).filter(|path| path.is_file()), coordinates];
        Ok(Self {
            name,
            parameters,
            start_nm,
            solvent: title(model),
            inputs: inputs.into_iter().flatten().collect(),
            notes,
        })
    }
}

fn title(model: GeneralizedBorn) -> &'static str {
    match model {
        GeneralizedBorn::Obc1 => "OBC1",
        GeneralizedBorn::Obc2 => "OBC2",
        GeneralizedBorn::Gbn2 => "GBn2",
    }
}

fn radius_set(model: GeneralizedBorn) -> &'static str {
    if model == GeneralizedBorn::Gbn2 { "mbondi3" } else { "mbondi2" }
}

/// The first kilobytes of a file, or nothing.
fn beginning(path: &Path) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    if path.is_file()
        && let Ok(file) = std::fs::File::open(path)
    {
        // What cannot be read is refused by who reads it.
        let _ = file.take(4096).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Coordinates with the name of the topology, where there are any.
fn beside(molecule: &Path) -> Option<PathBuf> {
    let is_prmtop = amber_prmtop::is_prmtop(&beginning(molecule));
    let paths = ["inpcrd", "rst7", "crd", "pdb"].map(|extension| molecule.with_extension(extension));
    paths.into_iter().find(|path| is_prmtop && path != molecule && path.is_file())
}

/// Whether the name of a shipped system says its solvent (or has one by default); none for files.
fn shipped_solvent(molecule: &Path) -> Option<bool> {
    if molecule.is_file() {
        return None;
    }
    let found = shipped::find(&molecule.to_string_lossy()).ok()?;
    Some(found.implicit_solvent.is_some())
}

/// What has no solvation free energy in implicit solvent.
fn refuse(molecule: &Path, parameters: &Parameters) -> Result<()> {
    let place = molecule.display().to_string();
    let topology = &parameters.topology;
    let molecules = molecules(topology);
    let n_waters = molecules.iter().filter(|atoms| is_water(topology, atoms)).count();
    if molecules.len() > 1 && n_waters > 0 {
        let message = format!(
            "holds {n_waters} molecules of water: solvation is computed with an implicit solvent, without any explicit one"
        );
        return Err(Error::config(place, message, "give the topology of the solute alone, in vacuum"));
    }
    if molecules.len() > 1 {
        let single = molecules.iter().filter(|atoms| atoms.len() == 1).count();
        let ions =
            if single > 0 { format!(", {single} of them single atoms or ions") } else { String::new() };
        let message = format!(
            "holds {} molecules{ions}: a solvation free energy is that of one molecule, and several would drift apart",
            molecules.len()
        );
        return Err(Error::config(place, message, "give the topology of one molecule"));
    }
    let has_cutoff = parameters.nonbonded.method != NonbondedMethod::NoCutoff;
    if parameters.box_vectors_nm.is_some() || has_cutoff {
        let message =
            "has a periodic box or a cutoff, which a molecule in vacuum and in implicit solvent has not";
        return Err(Error::config(place, message, "give the topology of the solute without box"));
    }
    Ok(())
}

/// Atoms of each molecule: what bonds connect.
fn molecules(topology: &Topology) -> Vec<Vec<usize>> {
    let neighbours = topology.neighbours();
    let mut seen = vec![false; topology.n_atoms()];
    let mut molecules = Vec::new();
    for first in 0..topology.n_atoms() {
        if seen[first] {
            continue;
        }
        seen[first] = true;
        let (mut atoms, mut next) = (vec![first], 0);
        while next < atoms.len() {
            for &other in &neighbours[atoms[next]] {
                if !seen[other] {
                    seen[other] = true;
                    atoms.push(other);
                }
            }
            next += 1;
        }
        molecules.push(atoms);
    }
    molecules
}

/// Water by its atoms: an oxygen, two hydrogens and perhaps sites without element.
fn is_water(topology: &Topology, atoms: &[usize]) -> bool {
    let count = |element: &str| {
        atoms.iter().filter(|&&atom| topology.atoms[atom].element.eq_ignore_ascii_case(element)).count()
    };
    count("O") == 1 && count("H") == 2 && atoms.len() <= 5
}

/// A note where radii of a file are not those with which its solvent model was made.
fn unusual_radii(parameters: &Parameters, model: GeneralizedBorn) -> Option<String> {
    const UNUSUAL_NM: f64 = 0.0051;
    let standard = assign_radii(&parameters.topology, model).ok()?;
    let own = &parameters.implicit_solvent.as_ref()?.atoms;
    let differences: Vec<f64> =
        own.iter().zip(&standard).map(|(a, b)| (a.radius_nm - b.radius_nm).abs()).collect();
    let n = differences.iter().filter(|difference| **difference > UNUSUAL_NM).count();
    let (worst, largest) =
        differences.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
    (n > 0).then(|| {
        let set = radius_set(model);
        format!(
            "{n} of {} Born radii of the topology differ from {set}, most that of {} by {:.2} Å; `--radii standard` takes \
             those of {set}.",
            own.len(),
            parameters.topology.atoms[worst].describe(),
            10.0 * largest
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Atom;

    fn request(molecule: &str) -> SolvateRequest {
        SolvateRequest { molecule: molecule.into(), ..SolvateRequest::default() }
    }

    fn topology(residues: &[(&str, &[&str])]) -> Topology {
        let (mut atoms, mut bonds) = (Vec::new(), Vec::new());
        for (id, (name, elements)) in residues.iter().enumerate() {
            let first = atoms.len();
            for element in *elements {
                atoms.push(Atom {
                    name: (*element).into(),
                    element: (*element).into(),
                    residue_name: (*name).into(),
                    residue_id: id as i64 as _,
                    chain: String::new(),
                    mass_da: 1.0,
                });
            }
            bonds.extend((first + 1..atoms.len()).map(|atom| [first, atom]));
        }
        Topology::new(atoms, bonds)
    }

    #[test]
    fn explicit_solvent_ions_and_boxes_are_refused() {
        let message = |residues: &[(&str, &[&str])]| {
            let parameters = Parameters { topology: topology(residues), ..Parameters::default() };
            refuse(Path::new("a.prmtop"), &parameters).err().map(|error| error.to_string())
        };
        let water: (&str, &[&str]) = ("WAT", &["O", "H", "H"]);
        assert_eq!(message(&[water]), None);
        assert!(message(&[("MOL", &["C", "H"]), water, water]).unwrap().contains("2 molecules of water"));
        assert!(message(&[("MOL", &["C", "H"]), ("NA", &["Na"])]).unwrap().contains("single atoms or ions"));
        let mut parameters = Parameters { topology: topology(&[("MOL", &["C", "H"])]), ..Default::default() };
        parameters.box_vectors_nm = Some([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        assert!(refuse(Path::new("a"), &parameters).unwrap_err().to_string().contains("periodic box"));
    }

    #[test]
    fn names_and_options_choose_the_solvent() {
        let solvent = |request: &SolvateRequest| Solute::read(request).unwrap().solvent;
        assert_eq!(solvent(&request("alanine_dipeptide")), "OBC1");
        assert_eq!(solvent(&request("benzene")), "OBC2");
        assert_eq!(solvent(&request("aromatic_ligand_vacuum")), "OBC2");
        let other = SolvateRequest { solvent: Some("gbn2".into()), ..request("benzene") };
        assert_eq!(solvent(&other), "GBn2");
        let none = SolvateRequest { solvent: Some("none".into()), ..request("benzene") };
        assert!(Solute::read(&none).unwrap_err().to_string().contains("needs a solvent"));
        let wrong = SolvateRequest { solvent: Some("obc3".into()), ..request("benzene") };
        assert!(Solute::read(&wrong).unwrap_err().to_string().contains("--solvent obc3"));
        assert!(Solute::read(&request("benzen")).unwrap_err().to_string().contains("`benzene`"));
    }

    #[test]
    fn radii_are_those_of_the_topology_or_assigned() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("systems/benzene/benzene.prmtop");
        let text = std::fs::read_to_string(data).unwrap();
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("benzene.prmtop");
        let without: String = text
            .split("%FLAG ")
            .filter(|section| !section.starts_with("RADII") && !section.starts_with("SCREEN"))
            .collect::<Vec<_>>()
            .join("%FLAG ");
        std::fs::write(&path, without).unwrap();
        let pdb = Path::new(env!("CARGO_MANIFEST_DIR")).join("systems/benzene/benzene.pdb");
        let request = SolvateRequest { coordinates: Some(pdb), ..request(&path.display().to_string()) };
        let solute = Solute::read(&request).unwrap();
        assert!(solute.notes[0].contains("mbondi2"), "{:?}", solute.notes);
        let own = Solute::read(&SolvateRequest { molecule: "benzene".into(), ..Default::default() }).unwrap();
        let radii = |solute: &Solute| -> Vec<f64> {
            let solvent = solute.parameters.implicit_solvent.as_ref().unwrap();
            solvent.atoms.iter().map(|atom| atom.radius_nm).collect()
        };
        assert!(radii(&solute).iter().zip(radii(&own)).all(|(a, b)| (a - b).abs() < 1e-9));
        // The same file with radii that no set has.
        std::fs::write(&path, text.replace("  1.70000000E+00", "  1.50000000E+00")).unwrap();
        let odd = Solute::read(&request).unwrap();
        assert!(odd.notes[0].contains("6 of 12 Born radii"), "{:?}", odd.notes);
        let standard = Solute::read(&SolvateRequest { radii: Radii::Standard, ..request.clone() }).unwrap();
        assert_eq!(radii(&standard), radii(&solute));
        let lost = SolvateRequest { coordinates: None, ..request };
        assert!(Solute::read(&lost).unwrap_err().to_string().contains("COORDINATES"));
    }
}
