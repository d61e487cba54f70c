//! The molecules that come with the program, inside the program: `systems/NAME`, one folder each.
//!
//! A name chooses a molecule and a solvent: `chignolin` is chignolin in the solvent that its folder
//! calls the first, `chignolin_obc2` the same molecule in OBC2, `chignolin_vacuum` without solvent. The
//! surface-area term belongs to every implicit solvent here, as in OpenMM. Names, temperatures and time
//! steps stand in `systems/NAME/system.toml`, reference energies in `systems/NAME/energies.csv`.

use serde::Deserialize;

use super::GeneralizedBorn;
use crate::error::{Error, Result, did_you_mean};
use crate::units::{Temperature, Time};

/// A molecule in a solvent, ready to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct ShippedSystem {
    /// As it was asked for: `chignolin` or `chignolin_obc2`.
    pub name: String,
    /// One sentence on the molecule and its force field.
    pub summary: String,
    /// Text of an AMBER prmtop.
    pub topology: &'static str,
    /// The start structure as text of a PDB file.
    pub structure_pdb: &'static str,
    /// Further starts: a name and the text of a PDB file.
    pub other_starts: &'static [(&'static str, &'static str)],
    /// The generalised-Born model; none: vacuum.
    pub implicit_solvent: Option<GeneralizedBorn>,
    /// Whether the surface-area term belongs to it.
    pub surface_area: bool,
    /// Where its reference results were obtained.
    pub temperature: Temperature,
    /// The largest time step that conserves energy well with physical masses and without constraints.
    pub time_step: Time,
}

impl ShippedSystem {
    /// The start structure, `[atom][xyz]`, nm.
    pub fn positions_nm(&self) -> Vec<f64> {
        positions_nm(self.structure_pdb)
    }

    /// The further start called `name` in [`Self::other_starts`].
    pub fn other_positions_nm(&self, name: &str) -> Option<Vec<f64>> {
        self.other_starts.iter().find(|(start, _)| *start == name).map(|(_, pdb)| positions_nm(pdb))
    }
}

/// Columns 31 to 54 of the atoms of a PDB file of this catalogue, whose atoms a test counts.
fn positions_nm(pdb: &str) -> Vec<f64> {
    let is_atom = |line: &&str| line.starts_with("ATOM") || line.starts_with("HETATM");
    let coordinate = |line: &str, k: usize| line.get(30 + 8 * k..38 + 8 * k)?.trim().parse::<f64>().ok();
    pdb.lines()
        .filter(is_atom)
        .flat_map(|line| (0..3).filter_map(move |k| coordinate(line, k)))
        .map(|angstrom| angstrom / 10.0)
        .collect()
}

/// Beads without a force field: what a learned energy is made for.
#[derive(Debug, Clone, PartialEq)]
pub struct CoarseGraining {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    pub summary: String,
    /// The beads in a reference structure, as text of a PDB file.
    pub structure_pdb: &'static str,
    /// Slow coordinates, as [`crate::trajectory::Tica`] writes them.
    pub tica: &'static str,
}

/// One folder of `systems/`.
struct Folder {
    name: &'static str,
    settings: &'static str,
    topology: &'static str,
    structure_pdb: &'static str,
    other_starts: &'static [(&'static str, &'static str)],
}

/// What `system.toml` says to the program; the rest of it is for readers.
#[derive(Deserialize)]
struct SystemSettings {
    summary: String,
    /// The first one is meant where the name says none.
    solvents: Vec<Solvent>,
    temperature: Temperature,
    time_step: Time,
}

/// What a coarse-graining's `system.toml` says to the program.
#[derive(Deserialize)]
struct CoarseGrainingSettings {
    summary: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Solvent {
    Vacuum,
    Obc1,
    Obc2,
    Gbn2,
}

impl Solvent {
    fn name(self) -> &'static str {
        match self {
            Self::Vacuum => "vacuum",
            Self::Obc1 => "obc1",
            Self::Obc2 => "obc2",
            Self::Gbn2 => "gbn2",
        }
    }

    fn model(self) -> Option<GeneralizedBorn> {
        match self {
            Self::Vacuum => None,
            Self::Obc1 => Some(GeneralizedBorn::Obc1),
            Self::Obc2 => Some(GeneralizedBorn::Obc2),
            Self::Gbn2 => Some(GeneralizedBorn::Gbn2),
        }
    }
}

/// The text of a file of a folder.
macro_rules! text {
    ($folder:literal, $file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/systems/", $folder, "/", $file))
    };
}

/// One line of the catalogue: the folder, its topology, its start structure, further starts.
macro_rules! folder {
    ($folder:literal, $topology:literal, $structure:literal $(, $start:literal)*) => {
        Folder {
            name: $folder,
            settings: text!($folder, "system.toml"),
            topology: text!($folder, $topology),
            structure_pdb: text!($folder, $structure),
            other_starts: &[$(($start, text!($folder, $start))),*],
        }
    };
}

/// Every molecule, in the order of their size.
static FOLDERS: &[Folder] = &[
    folder!("methanol", "methanol.prmtop", "methanol.pdb"),
    folder!("n_methylacetamide", "n_methylacetamide.prmtop", "n_methylacetamide.pdb"),
    folder!("benzene", "benzene.prmtop", "benzene.pdb"),
    folder!("toluene", "toluene.prmtop", "toluene.pdb"),
    folder!("aromatic_ligand", "aromatic_ligand.prmtop", "aromatic_ligand.pdb"),
    folder!("alanine_dipeptide", "aldp.prmtop", "aldp.pdb"),
    folder!("cb7_guest", "cb7_guest.prmtop", "cb7_guest.pdb"),
    folder!("alanine_tetrapeptide", "alanine_tetrapeptide.prmtop", "alanine_tetrapeptide.pdb"),
    folder!(
        "chignolin",
        "chignolin.prmtop",
        "chignolin.pdb",
        "unfolded_extended.pdb",
        "unfolded_compact.pdb"
    ),
];

/// One molecule with the names under which it can be asked for, for `kirkwood list`.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The bare name, which means the first solvent.
    pub name: &'static str,
    /// One sentence.
    pub summary: String,
    /// The names that state a solvent; empty for a coarse-graining.
    pub variants: Vec<String>,
}

/// Every name that [`find`] knows: each molecule alone, then with each solvent.
pub fn names() -> Vec<String> {
    FOLDERS
        .iter()
        .flat_map(|folder| std::iter::once(folder.name.to_string()).chain(variants(folder)))
        .collect()
}

/// Molecules and coarse-grainings with their summaries.
pub fn listings() -> Vec<Listing> {
    let coarse = coarse_grainings();
    FOLDERS
        .iter()
        .map(|folder| Listing {
            name: folder.name,
            summary: settings(folder).map(|settings| settings.summary).unwrap_or_default(),
            variants: variants(folder),
        })
        .chain(coarse.into_iter().map(|beads| Listing {
            name: beads.name,
            summary: beads.summary,
            variants: Vec::new(),
        }))
        .collect()
}

/// The system called `name`, or an error that suggests the nearest one.
pub fn find(name: &str) -> Result<ShippedSystem> {
    for folder in FOLDERS {
        let Some(rest) = name.strip_prefix(folder.name) else { continue };
        let SystemSettings { summary, solvents, temperature, time_step } = settings(folder)?;
        let wanted = if rest.is_empty() {
            solvents.first()
        } else {
            solvents.iter().find(|solvent| rest.strip_prefix('_') == Some(solvent.name()))
        };
        if let Some(solvent) = wanted {
            return Ok(ShippedSystem {
                name: name.to_string(),
                summary,
                topology: folder.topology,
                structure_pdb: folder.structure_pdb,
                other_starts: folder.other_starts,
                implicit_solvent: solvent.model(),
                surface_area: solvent.model().is_some(),
                temperature,
                time_step,
            });
        }
    }
    if coarse_grainings().iter().any(|beads| beads.name == name) {
        let message = format!("`{name}` is a coarse-graining without a force field; its energy is learned");
        return Err(Error::config("topology", message, "`kirkwood run` learns it from a trajectory"));
    }
    let names = names();
    let hint = did_you_mean(name, names.iter().map(String::as_str));
    Err(Error::config("topology", format!("neither a file nor a shipped system is called `{name}`"), hint))
}

/// The coarse-grainings.
pub fn coarse_grainings() -> Vec<CoarseGraining> {
    let summary = toml::from_str::<CoarseGrainingSettings>(text!("chignolin_ca", "system.toml"))
        .map(|settings| settings.summary)
        .unwrap_or_default();
    vec![CoarseGraining {
        name: "chignolin_ca",
        summary,
        structure_pdb: text!("chignolin_ca", "chignolin_ca.pdb"),
        tica: text!("chignolin_ca", "tica.toml"),
    }]
}

fn variants(folder: &Folder) -> Vec<String> {
    let solvents = settings(folder).map(|settings| settings.solvents).unwrap_or_default();
    solvents.iter().map(|solvent| format!("{}_{}", folder.name, solvent.name())).collect()
}

fn settings(folder: &Folder) -> Result<SystemSettings> {
    toml::from_str(folder.settings).map_err(|error| {
        Error::file(
            format!("systems/{}/system.toml", folder.name),
            "",
            "a summary, solvents, a temperature and a time step",
            error.message(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_with_its_own_solvent() {
        let names = names();
        assert!(names.len() >= 6 * 5, "{names:?}");
        for name in &names {
            let system = find(name).unwrap();
            assert_eq!(&system.name, name);
            assert!(system.topology.starts_with("%VERSION"), "{name}");
            assert_eq!(system.surface_area, system.implicit_solvent.is_some());
            assert!(!system.summary.is_empty());
            let solvent = name.rsplit('_').next().unwrap();
            let expected = match solvent {
                "obc1" => Some(GeneralizedBorn::Obc1),
                "obc2" => Some(GeneralizedBorn::Obc2),
                "gbn2" => Some(GeneralizedBorn::Gbn2),
                "vacuum" => None,
                _ => continue,
            };
            assert_eq!(system.implicit_solvent, expected, "{name}");
        }
        // The bare names mean the solvent in which the reference results were obtained.
        assert_eq!(find("alanine_dipeptide").unwrap().implicit_solvent, Some(GeneralizedBorn::Obc1));
        assert_eq!(find("chignolin").unwrap().implicit_solvent, Some(GeneralizedBorn::Gbn2));
    }

    #[test]
    fn structures_have_the_atoms_of_their_topologies() {
        for folder in FOLDERS {
            let after_flag = folder.topology.split("%FLAG POINTERS").nth(1).unwrap();
            let n_atoms: usize = after_flag.split_whitespace().nth(1).unwrap().parse().unwrap();
            let system = find(folder.name).unwrap();
            assert_eq!(system.positions_nm().len(), 3 * n_atoms, "{}", folder.name);
            for (start, _) in folder.other_starts {
                assert_eq!(system.other_positions_nm(start).unwrap().len(), 3 * n_atoms, "{start}");
            }
        }
        // CH3 of ACE in alanine dipeptide stands at 2.000, 2.090, 0.000 Å.
        let positions = find("alanine_dipeptide").unwrap().positions_nm();
        assert_eq!(positions[3..6], [0.2, 0.209, 0.0]);
    }

    #[test]
    fn strangers_are_told_the_nearest_name_and_beads_that_they_have_no_force_field() {
        let message = |name: &str| find(name).err().unwrap().to_string();
        assert!(message("chignolin_ob2").contains("did you mean `chignolin_obc2`?"));
        assert!(message("chignolin_ca").contains("its energy is learned"));
    }
}
