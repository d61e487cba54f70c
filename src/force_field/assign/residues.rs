//! Which template each residue of a structure has, and which atoms are bonded.
//!
//! Residues are recognised by name and by the names of their atoms; their places in a chain by the
//! peptide bonds C–N. What does not fit is collected, so that one message names all of it.

use super::atom_names;
use super::force_field_file::{ForceField, Place, Template};
use crate::error::{Error, Result, did_you_mean};
use crate::system::{Atom, Topology};
use std::ops::Range;

/// Two residues of a chain are bonded when C and N are closer than this; 0.133 nm is usual.
const PEPTIDE_BOND_NM: f64 = 0.2;
/// Two sulfurs without hydrogen that are closer than this form a disulfide; 0.204 nm is usual.
const DISULFIDE_NM: f64 = 0.25;
/// How many residues a message names before it counts the rest.
const MAX_NAMED: usize = 6;

/// The template atom of every atom, and all bonds.
pub struct Assignment {
    /// One entry per atom.
    pub atoms: Vec<AssignedAtom>,
    /// Pairs of atom indices.
    pub bonds: Vec<[usize; 2]>,
}

/// What the template says about an atom.
#[derive(Debug, Clone, Copy, Default)]
pub struct AssignedAtom {
    /// Index of the residue and of the atom in the template.
    pub order: (usize, usize),
    /// Index of the class.
    pub class: usize,
    /// e
    pub charge: f64,
}

/// A residue on its way to its template.
struct Residue {
    atoms: Range<usize>,
    /// `ALA 5`, with the chain where the file has one.
    label: String,
    /// The name of the templates.
    template_name: String,
    chain: String,
    /// Translated names, one per atom.
    names: Vec<String>,
    place: Place,
}

impl Residue {
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    fn atom(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name).map(|idx| self.atoms.start + idx)
    }
}

/// Finds the template of every residue and the bonds within and between them.
pub fn assign(force_field: &ForceField, topology: &Topology, positions_nm: &[f64]) -> Result<Assignment> {
    let mut residues = residues_of(force_field, topology)?;
    let distance = |i: usize, j: usize| -> f64 {
        let square = |k: usize| (positions_nm[3 * i + k] - positions_nm[3 * j + k]).powi(2);
        (square(0) + square(1) + square(2)).sqrt()
    };
    let mut bonds = peptide_bonds(&mut residues, topology, distance)?;
    bonds.extend(disulfides(&mut residues, distance)?);
    decide_protonation(&mut residues)?;

    let mut assignment = Assignment { atoms: vec![AssignedAtom::default(); topology.n_atoms()], bonds };
    let mut problems = Vec::new();
    for (residue_idx, residue) in residues.iter_mut().enumerate() {
        match template_of(force_field, residue) {
            Ok(template) => {
                for (name, atom_idx) in residue.names.iter().zip(residue.atoms.clone()) {
                    let idx = template.position(name).expect("names were compared");
                    assignment.atoms[atom_idx] = AssignedAtom {
                        order: (residue_idx, idx),
                        class: template.atoms[idx].class,
                        charge: template.atoms[idx].charge,
                    };
                }
                let atom = |idx: usize| residue.atom(&template.atoms[idx].name).expect("names were compared");
                assignment.bonds.extend(template.bonds.iter().map(|&[i, j]| [atom(i), atom(j)]));
            }
            Err(problem) => problems.push(problem),
        }
    }
    fail(problems, "all atoms of its residues, hydrogens included, and no others")?;
    Ok(assignment)
}

fn fail(problems: Vec<String>, expected: &str) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let mut found = problems[..problems.len().min(MAX_NAMED)].join("; ");
    if problems.len() > MAX_NAMED {
        found += &format!("; and {} more", problems.len() - MAX_NAMED);
    }
    Err(Error::invalid("structure for a force field", expected, found))
}

/// Names of residues in other programs, and those of the templates.
const ALIASES: [(&str, &str); 22] = [
    ("HSD", "HID"),
    ("HSE", "HIE"),
    ("HSP", "HIP"),
    ("HISA", "HID"),
    ("HISB", "HIE"),
    ("HISD", "HID"),
    ("HISE", "HIE"),
    ("HISH", "HIP"),
    ("HIS1", "HIE"),
    ("ASPH", "ASH"),
    ("ASPP", "ASH"),
    ("GLUH", "GLH"),
    ("GLUP", "GLH"),
    ("LSN", "LYN"),
    ("LYSN", "LYN"),
    ("LYSH", "LYS"),
    ("LYP", "LYS"),
    ("CYSH", "CYS"),
    ("CYS2", "CYX"),
    ("NMA", "NME"),
    ("NAC", "NME"),
    ("NH2", "NHE"),
];

fn residues_of(force_field: &ForceField, topology: &Topology) -> Result<Vec<Residue>> {
    let same = |a: &Atom, b: &Atom| {
        a.residue_id == b.residue_id && a.residue_name == b.residue_name && a.chain == b.chain
    };
    let mut residues = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    let mut start = 0;
    for atoms in topology.atoms.chunk_by(same) {
        let first = &atoms[0];
        let in_chain =
            if first.chain.is_empty() { String::new() } else { format!(" of chain {}", first.chain) };
        let label = format!("{} {}{in_chain}", first.residue_name, first.residue_id);
        match template_name(force_field, &first.residue_name) {
            Some(template_name) => {
                let names: Vec<&str> = atoms.iter().map(|atom| atom.name.as_str()).collect();
                let names = atom_names::translate(&template_name, &names);
                let atoms = start..start + atoms.len();
                let chain = first.chain.clone();
                residues.push(Residue { atoms, label, template_name, chain, names, place: Place::Internal });
            }
            None => {
                let hint = did_you_mean(&first.residue_name, force_field.residue_names());
                let problem = match hint.strip_prefix("did") {
                    Some(_) => format!("`{}` ({hint})", label),
                    None => format!("`{label}`"),
                };
                problems.push(problem);
            }
        }
        start += atoms.len();
    }
    let known: Vec<&str> = force_field.residue_names().collect();
    fail(problems, &format!("residues of {} (HIS, {})", force_field.name, known.join(", ")))?;
    Ok(residues)
}

/// The name of the templates for a residue name; `HIS` is decided later by its hydrogens.
fn template_name(force_field: &ForceField, residue_name: &str) -> Option<String> {
    let name = residue_name.trim().to_uppercase();
    let known = |name: &str| name == "HIS" || force_field.residue(name).is_some();
    if known(&name) {
        return Some(name);
    }
    if let Some((_, alias)) = ALIASES.iter().find(|(other, _)| *other == name) {
        return Some(alias.to_string());
    }
    // AMBER's library names of terminal residues; the place in the chain is seen from the bonds.
    let rest = name.strip_prefix(['N', 'C'])?;
    (rest.len() == 3 && known(rest)).then(|| rest.to_string())
}

/// Bonds C–N between consecutive residues, and with them the place of every residue in its chain.
fn peptide_bonds(
    residues: &mut [Residue],
    topology: &Topology,
    distance: impl Fn(usize, usize) -> f64,
) -> Result<Vec<[usize; 2]>> {
    let mut bonds = Vec::new();
    let mut problems = Vec::new();
    let n_residues = residues.len();
    let (mut has_previous, mut has_next) = (vec![false; n_residues], vec![false; n_residues]);
    let mut first_of_chain = 0;
    for idx in 0..n_residues {
        let residue = &residues[idx];
        // A free acid ends a chain.
        let open_end = residue.atom("C").filter(|_| !residue.has("OXT"));
        let next = residues.get(idx + 1).filter(|next| next.chain == residue.chain);
        if let (Some(carbon), Some(nitrogen)) = (open_end, next.and_then(|next| next.atom("N"))) {
            let length = distance(carbon, nitrogen);
            if length < PEPTIDE_BOND_NM {
                bonds.push([carbon, nitrogen]);
                (has_next[idx], has_previous[idx + 1]) = (true, true);
                continue;
            }
            problems.push(format!(
                "{} and {} are {length:.3} nm apart",
                topology.atoms[carbon].describe(),
                topology.atoms[nitrogen].describe()
            ));
        }
        // The last residue of a cyclic peptide is bonded to the first.
        let start = residues[first_of_chain].atom("N");
        if let (Some(carbon), Some(nitrogen)) = (open_end, start)
            && idx > first_of_chain + 1
            && distance(carbon, nitrogen) < PEPTIDE_BOND_NM
        {
            bonds.push([carbon, nitrogen]);
            (has_next[idx], has_previous[first_of_chain]) = (true, true);
        }
        first_of_chain = idx + 1;
    }
    let expected =
        format!("chains without gaps: C and N of consecutive residues within {PEPTIDE_BOND_NM} nm");
    fail(problems, &expected)?;
    for (idx, residue) in residues.iter_mut().enumerate() {
        // Caps lack one of the two atoms and with it the place.
        residue.place = match (residue.has("N") && !has_previous[idx], residue.has("C") && !has_next[idx]) {
            (true, _) if has_next[idx] => Place::NTerminal,
            (_, true) if has_previous[idx] => Place::CTerminal,
            _ => Place::Internal,
        };
        if !has_previous[idx] && !has_next[idx] {
            refuse_lone(residue)?;
        }
    }
    Ok(bonds)
}

fn refuse_lone(residue: &Residue) -> Result<()> {
    let found = format!("{} is bonded to none", residue.label);
    fail(vec![found], "at least two residues in every chain (amino acids alone have no template)")
}

/// Bonds between cysteines without hydrogen at the sulfur, nearest pairs first; they become `CYX`.
fn disulfides(residues: &mut [Residue], distance: impl Fn(usize, usize) -> f64) -> Result<Vec<[usize; 2]>> {
    let is_candidate =
        |residue: &&Residue| matches!(residue.template_name.as_str(), "CYS" | "CYX") && !residue.has("HG");
    let sulfurs: Vec<usize> = residues.iter().filter(is_candidate).filter_map(|r| r.atom("SG")).collect();
    let mut pairs = Vec::new();
    for (i, &a) in sulfurs.iter().enumerate() {
        for &b in &sulfurs[i + 1..] {
            let length = distance(a, b);
            if length < DISULFIDE_NM {
                pairs.push((length, [a, b]));
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut bonds: Vec<[usize; 2]> = Vec::new();
    for (_, pair) in pairs {
        if !bonds.iter().flatten().any(|atom| pair.contains(atom)) {
            bonds.push(pair);
        }
    }
    let mut problems = Vec::new();
    for residue in residues {
        let Some(sulfur) = residue.atom("SG") else { continue };
        if bonds.iter().flatten().any(|&atom| atom == sulfur) {
            residue.template_name = "CYX".into();
        } else if residue.template_name == "CYX" {
            problems.push(format!("SG of {} has no such neighbour", residue.label));
        }
    }
    fail(problems, &format!("another SG without hydrogen within {DISULFIDE_NM} nm of every CYX"))?;
    Ok(bonds)
}

/// Histidines and acids whose name leaves the protonation open are decided by their hydrogens.
fn decide_protonation(residues: &mut [Residue]) -> Result<()> {
    let mut problems = Vec::new();
    for residue in residues {
        let decided = match residue.template_name.as_str() {
            "HIS" => match (residue.has("HD1"), residue.has("HE2")) {
                (true, true) => "HIP",
                (true, false) => "HID",
                (false, true) => "HIE",
                (false, false) => {
                    problems.push(format!("{} lacks both", residue.label));
                    continue;
                }
            },
            "ASP" if residue.has("HD2") => "ASH",
            "GLU" if residue.has("HE2") => "GLH",
            _ => continue,
        };
        residue.template_name = decided.into();
    }
    fail(problems, "HD1, HE2 or both in every HIS")
}

/// The template whose atoms are those of the residue, or what is wrong.
fn template_of<'a>(
    force_field: &'a ForceField,
    residue: &mut Residue,
) -> std::result::Result<&'a Template, String> {
    let name = &residue.template_name;
    let place = match residue.place {
        Place::Internal => "",
        Place::NTerminal => " (N-terminal)",
        Place::CTerminal => " (C-terminal)",
    };
    let forms =
        force_field.residue(name).ok_or_else(|| format!("{} has no template `{name}`", residue.label))?;
    let template = forms
        .at(residue.place)
        .ok_or_else(|| format!("{}{place} has no template: {name} has none of this form", residue.label))?;
    atom_names::fit(&mut residue.names, template);

    let missing: Vec<&str> = template
        .atoms
        .iter()
        .filter(|atom| !residue.has(&atom.name))
        .map(|atom| atom.name.as_str())
        .collect();
    let extra: Vec<&str> = residue
        .names
        .iter()
        .enumerate()
        .filter(|(idx, name)| template.position(name).is_none() || residue.names[..*idx].contains(name))
        .map(|(_, name)| name.as_str())
        .collect();
    let mut wrong = Vec::new();
    if !missing.is_empty() {
        wrong.push(format!("lacks {}", missing.join(", ")));
    }
    if !extra.is_empty() {
        wrong.push(format!("has {} too many", extra.join(", ")));
    }
    if wrong.is_empty() {
        return Ok(template);
    }
    let hint = match (name.as_str(), missing.as_slice()) {
        ("CYS", ["HG"]) => " (a thiolate is called CYM)",
        ("LYS", ["HZ1" | "HZ2" | "HZ3"]) => " (a neutral lysine is called LYN)",
        _ => "",
    };
    Err(format!("{}{place} {}{hint}", residue.label, wrong.join(" and ")))
}
