//! The parameters of generalised Born models: intrinsic radii, screening, and the constants of each model.
//!
//! Three models, as AMBER numbers them and OpenMM 8.6 computes them: OBC1 (`igb = 2`) and OBC2 (`igb = 5`) of
//! Onufriev, Bashford and Case, Proteins 2004, 55, 383; GBn2 (`igb = 8`) of Nguyen, Roe and Simmerling,
//! J. Chem. Theory Comput. 2013, 9, 2020, whose parameters for nucleic acids are those of Nguyen, Pérez,
//! Bermeo and Simmerling, J. Chem. Theory Comput. 2015, 11, 3714.
//!
//! From an AMBER topology ([`of_prmtop`]) the radii are those of its section RADII, whatever the model, and the
//! screening factors of OBC1 and OBC2 those of SCREEN; GBn2 has its own. For other systems ([`of_topology`])
//! [`assign_radii`] gives mbondi2 radii for OBC1 and OBC2 and mbondi3 radii for GBn2.

use crate::error::{Error, Result};
use crate::force_field::amber_prmtop::atom_error;
use crate::force_field::neck_integrals::{HEIGHT_PER_ANGSTROM, POSITION_ANGSTROM, SIZE};
use crate::force_field::parameters::{
    BornAtom, COULOMB, COULOMB_CUSTOM_GB, GeneralizedBorn, ImplicitSolvent, Neck, Parameters, SurfaceArea,
};
use crate::system::amber_prmtop::Prmtop;
use crate::system::{Topology, elements};

/// ε_out of all models.
const SOLVENT_DIELECTRIC: f64 = 78.5;
/// Radius of the probe of the surface term, nm.
const PROBE_NM: f64 = 0.14;
/// 4π times 0.0054 kcal/(mol Å²), as it stands in the expressions of OpenMM, kJ/(mol nm²).
const CUSTOM_SURFACE_FACTOR: f64 = 28.391_955_1;
/// The surface tension of OpenMM's `GBSAOBCForce`, kJ/(mol nm²).
pub const OBC_SURFACE_TENSION: f64 = 2.259_36;

/// The names of the models on the command line, with what stands for no model at all.
pub const NAMES: [&str; 4] = ["none", "obc1", "obc2", "gbn2"];

/// The model of a name; `None` for `none`.
pub fn by_name(name: &str) -> Result<Option<GeneralizedBorn>> {
    match name {
        "none" => Ok(None),
        "obc1" => Ok(Some(GeneralizedBorn::Obc1)),
        "obc2" => Ok(Some(GeneralizedBorn::Obc2)),
        "gbn2" => Ok(Some(GeneralizedBorn::Gbn2)),
        _ => {
            let hint = crate::error::did_you_mean(name, NAMES);
            Err(Error::config(format!("implicit_solvent = {name}"), "there is no such model", hint))
        }
    }
}

/// An intrinsic radius and a screening factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Radius {
    /// ρ in nm.
    pub radius_nm: f64,
    /// s, by which ρ̃ is scaled where the atom descreens others.
    pub screening: f64,
}

/// The solvent of an AMBER topology with the charges of `parameters`, which were read from it.
///
/// OBC2 is what OpenMM computes with its built-in `GBSAOBCForce`, the others are custom expressions; they
/// differ in Coulomb's constant, in the last digits of the surface term, and for atoms within others.
pub fn of_prmtop(
    file: &Prmtop,
    parameters: &Parameters,
    model: GeneralizedBorn,
    surface_area: bool,
) -> Result<ImplicitSolvent> {
    let n_atoms = parameters.n_atoms();
    let topology = &parameters.topology;
    if !file.contains("RADII") {
        let found = "none: its atoms have no radii for generalised Born";
        return Err(Error::file(file.path(), "", "a section RADII", found)
            .with_hint("`changeRadii mbondi2` (mbondi3 for GBn2) of ParmEd adds it"));
    }
    let radii_nm: Vec<f64> =
        file.counted_reals("RADII", n_atoms)?.into_iter().map(|radius| radius / 10.0).collect();
    let screening = match model {
        GeneralizedBorn::Obc1 | GeneralizedBorn::Obc2 => file.counted_reals("SCREEN", n_atoms)?,
        GeneralizedBorn::Gbn2 => (0..n_atoms).map(|atom| screening(topology, atom, model)).collect(),
    };
    for (atom, radius_nm) in radii_nm.iter().enumerate() {
        if let Some(expected) = unfit(*radius_nm, model) {
            let found = format!("{} Å", 10.0 * radius_nm);
            return Err(atom_error(file, "RADII", topology, atom, expected, &found));
        }
    }
    if model == GeneralizedBorn::Obc2
        && let Some(atom) = screening.iter().position(|&factor| factor <= 0.0)
    {
        let found = screening[atom].to_string();
        return Err(atom_error(file, "SCREEN", topology, atom, "a factor above 0", &found));
    }
    let radii: Vec<Radius> = radii_nm
        .into_iter()
        .zip(screening)
        .map(|(radius_nm, screening)| Radius { radius_nm, screening })
        .collect();
    let mut solvent = build(parameters, model, surface_area, &radii);
    if model == GeneralizedBorn::Obc2 {
        solvent.coulomb = COULOMB;
        solvent.fills_engulfed = true;
        if let Some(surface) = &mut solvent.surface_area {
            surface.factor = 4.0 * std::f64::consts::PI * OBC_SURFACE_TENSION;
        }
    }
    Ok(solvent)
}

/// The solvent of a system that comes without radii, as OpenMM's `implicit/obc1.xml`, `obc2.xml` and `gbn2.xml`
/// make it: custom expressions for all three models.
pub fn of_topology(
    parameters: &Parameters,
    model: GeneralizedBorn,
    surface_area: bool,
) -> Result<ImplicitSolvent> {
    let radii = assign_radii(&parameters.topology, model)?;
    Ok(build(parameters, model, surface_area, &radii))
}

/// Radii by element, bonds and residue: mbondi2 for OBC1 and OBC2, mbondi3 for GBn2 (Nguyen et al. 2013).
///
/// mbondi2 is Bondi's set with hydrogens on nitrogen of 0.13 nm instead of 0.12; mbondi3 has besides smaller
/// oxygens of carboxylates (0.14 nm) and smaller hydrogens of the guanidinium of arginine (0.117 nm).
/// Elements without a radius of their own get 0.15 nm and the factors of OpenMM for such atoms.
pub fn assign_radii(topology: &Topology, model: GeneralizedBorn) -> Result<Vec<Radius>> {
    let neighbours = topology.neighbours();
    let element = |atom: usize| topology.atoms[atom].element.as_str();
    let mut radii = Vec::with_capacity(topology.n_atoms());
    for (idx, atom) in topology.atoms.iter().enumerate() {
        if elements::by_symbol(&atom.element).is_none() {
            return Err(Error::Invalid {
                what: "atom for a generalised Born radius",
                expected: "a known element".into(),
                found: format!("`{}` of {}", atom.element, atom.describe()),
            });
        }
        let mut radius_nm = match atom.element.as_str() {
            "H" | "D" if neighbours[idx].first().is_some_and(|&other| element(other) == "N") => 0.13,
            "H" | "D" => 0.12,
            "C" | "Cl" => 0.17,
            "N" => 0.155,
            "Si" => 0.21,
            "P" => 0.185,
            "S" => 0.18,
            _ => 0.15,
        };
        if model == GeneralizedBorn::Gbn2 {
            let name = atom.name.trim_start_matches(|c: char| c.is_ascii_digit());
            if is_carboxylate_oxygen(topology, &neighbours, idx) {
                radius_nm = 0.14;
            } else if atom.residue_name == "ARG" && (name.starts_with("HH") || name.starts_with("HE")) {
                radius_nm = 0.117;
            }
        }
        if let Some(expected) = unfit(radius_nm, model) {
            return Err(Error::Invalid {
                what: "radius for generalised Born",
                expected: expected.into(),
                found: format!("{} Å of {}", 10.0 * radius_nm, atom.describe()),
            });
        }
        radii.push(Radius { radius_nm, screening: screening(topology, idx, model) });
    }
    Ok(radii)
}

/// An oxygen with one neighbour, a carbon with three of which another is oxygen too: also of acids and esters.
fn is_carboxylate_oxygen(topology: &Topology, neighbours: &[Vec<usize>], atom: usize) -> bool {
    let element = |atom: usize| topology.atoms[atom].element.as_str();
    match neighbours[atom][..] {
        [carbon] if element(atom) == "O" && element(carbon) == "C" && neighbours[carbon].len() == 3 => {
            neighbours[carbon].iter().any(|&other| other != atom && element(other) == "O")
        }
        _ => false,
    }
}

/// What a radius has to be, where it is not.
fn unfit(radius_nm: f64, model: GeneralizedBorn) -> Option<&'static str> {
    let offset_nm = offset_nm(model);
    match model {
        // The comparison of OpenMM, with its rounding.
        GeneralizedBorn::Gbn2 if !(0.1..=0.2).contains(&(radius_nm - offset_nm + offset_nm)) => {
            Some("a radius of 1 to 2 Å, for which the neck of GBn2 is tabulated")
        }
        _ if radius_nm <= offset_nm => Some("a radius for generalised Born, above 0.09 Å"),
        _ => None,
    }
}

/// ρ − ρ̃.
fn offset_nm(model: GeneralizedBorn) -> f64 {
    match model {
        GeneralizedBorn::Obc1 | GeneralizedBorn::Obc2 => 0.009,
        GeneralizedBorn::Gbn2 => 0.019_514_1,
    }
}

/// The screening factor of an atom by its element and, for GBn2, by whether it is part of a nucleic acid.
fn screening(topology: &Topology, atom: usize, model: GeneralizedBorn) -> f64 {
    let atom = &topology.atoms[atom];
    let element = atom.element.as_str();
    match model {
        GeneralizedBorn::Obc1 | GeneralizedBorn::Obc2 => match element {
            "H" | "D" | "O" => 0.85,
            "C" => 0.72,
            "N" => 0.79,
            "F" => 0.88,
            "P" => 0.86,
            "S" => 0.96,
            _ => 0.8,
        },
        GeneralizedBorn::Gbn2 if is_nucleic_acid(&atom.residue_name) => match element {
            "H" | "D" => 1.696_538,
            "C" => 1.268_902,
            "N" => 1.425_972_8,
            "O" => 0.184_009_8,
            "P" => 1.545_059_7,
            "S" => 0.05,
            _ => 0.5,
        },
        GeneralizedBorn::Gbn2 => match element {
            "H" | "D" => 1.425_952,
            "C" => 1.058_554,
            "N" => 0.733_599,
            "O" => 1.061_039,
            "S" => -0.703_469,
            _ => 0.5,
        },
    }
}

/// α, β and γ of tanh(α ψ − β ψ² + γ ψ³).
fn rescaling(topology: &Topology, atom: usize, model: GeneralizedBorn) -> [f64; 3] {
    let atom = &topology.atoms[atom];
    let element = atom.element.as_str();
    match model {
        GeneralizedBorn::Obc1 => [0.8, 0.0, 2.909_125],
        GeneralizedBorn::Obc2 => [1.0, 0.8, 4.85],
        GeneralizedBorn::Gbn2 if is_nucleic_acid(&atom.residue_name) => match element {
            "H" | "D" => [0.537_050, 0.362_861, 0.116_704],
            "C" => [0.331_670, 0.196_842, 0.093_422],
            "N" => [0.686_311, 0.463_189, 0.138_722],
            "O" | "S" => [0.606_344, 0.463_006, 0.142_262],
            "P" => [0.418_365, 0.290_054, 0.106_424_5],
            _ => [1.0, 0.8, 4.851],
        },
        GeneralizedBorn::Gbn2 => match element {
            "H" | "D" => [0.788_440, 0.798_699, 0.437_334],
            "C" => [0.733_756, 0.506_378, 0.205_844],
            "N" => [0.503_364, 0.316_828, 0.192_915],
            "O" | "S" => [0.867_814, 0.876_635, 0.387_882],
            _ => [1.0, 0.8, 4.851],
        },
    }
}

/// Nucleotides under the names that OpenMM takes for them, those at the ends of strands among them.
fn is_nucleic_acid(residue_name: &str) -> bool {
    const NAMES: [&str; 32] = [
        "A", "ADE", "A3", "A5", "G", "GUA", "G3", "G5", "C", "CYT", "C3", "C5", "U", "URA", "U3", "U5", "DA",
        "DAD", "DA3", "DA5", "DG", "DGU", "DG3", "DG5", "DC", "DCY", "DC3", "DC5", "DT", "THY", "DT3", "DT5",
    ];
    NAMES.contains(&residue_name)
}

fn build(
    parameters: &Parameters,
    model: GeneralizedBorn,
    surface_area: bool,
    radii: &[Radius],
) -> ImplicitSolvent {
    let offset_nm = offset_nm(model);
    let charges = &parameters.nonbonded.charges;
    let atoms: Vec<BornAtom> = radii
        .iter()
        .zip(charges)
        .enumerate()
        .map(|(idx, (radius, &charge))| {
            let offset_radius_nm = radius.radius_nm - offset_nm;
            let [alpha, beta, gamma] = rescaling(&parameters.topology, idx, model);
            BornAtom {
                charge,
                radius_nm: offset_radius_nm + offset_nm,
                offset_radius_nm,
                scaled_radius_nm: radius.screening * offset_radius_nm,
                alpha,
                beta,
                gamma,
            }
        })
        .collect();
    ImplicitSolvent {
        model,
        solute_dielectric: 1.0,
        solvent_dielectric: SOLVENT_DIELECTRIC,
        kappa_per_nm: 0.0,
        coulomb: COULOMB_CUSTOM_GB,
        neck: (model == GeneralizedBorn::Gbn2).then(|| neck(&atoms)),
        atoms,
        surface_area: surface_area
            .then_some(SurfaceArea { factor: CUSTOM_SURFACE_FACTOR, probe_nm: PROBE_NM }),
        fills_engulfed: false,
    }
}

/// The neck tables for the radii that occur, between the tabulated ones by linear interpolation.
fn neck(atoms: &[BornAtom]) -> Neck {
    let mut radii_nm: Vec<f64> = atoms.iter().map(|atom| atom.radius_nm).collect();
    radii_nm.sort_by(f64::total_cmp);
    radii_nm.dedup();
    let class = |radius_nm: f64| radii_nm.iter().position(|&known| known == radius_nm).unwrap_or(0);
    // Row of the table, and the weight of the next row.
    let places: Vec<(usize, f64)> = radii_nm
        .iter()
        .map(|radius_nm| {
            let place = ((radius_nm - 0.1) * 200.0).clamp(0.0, (SIZE - 1) as f64);
            let row = (place.floor() as usize).min(SIZE - 2);
            (row, place - row as f64)
        })
        .collect();
    let interpolate =
        |table: &[[f64; SIZE]; SIZE], (row, by_row): (usize, f64), (column, by_column): (usize, f64)| {
            (1.0 - by_row) * (1.0 - by_column) * table[row][column]
                + (1.0 - by_row) * by_column * table[row][column + 1]
                + by_row * (1.0 - by_column) * table[row + 1][column]
                + by_row * by_column * table[row + 1][column + 1]
        };
    let n_classes = radii_nm.len();
    let (mut d0_nm, mut m0_per_nm) = (Vec::new(), Vec::new());
    for &descreened in &places {
        for &neighbour in &places {
            d0_nm.push(interpolate(&POSITION_ANGSTROM, neighbour, descreened) * 0.1);
            m0_per_nm.push(interpolate(&HEIGHT_PER_ANGSTROM, neighbour, descreened) * 10.0);
        }
    }
    Neck {
        classes: atoms.iter().map(|atom| class(atom.radius_nm)).collect(),
        n_classes,
        d0_nm,
        m0_per_nm,
        scale: 0.826_836,
        cutoff_nm: 0.68,
    }
}

#[cfg(test)]
#[path = "implicit_solvent_tests.rs"]
mod tests;
