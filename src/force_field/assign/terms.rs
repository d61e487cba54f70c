//! The terms of the energy from bonds and atom classes.
//!
//! Angles and proper torsions are all paths of two and three bonds. An improper torsion belongs to an
//! atom with three neighbours; in which order the four atoms enter changes the energy of a molecule
//! that is not planar, and follows OpenMM here, see [`improper_torsions`].

use super::force_field_file::{Class, ForceField, Improper, ImproperOrder, TorsionTerm};
use super::residues::{AssignedAtom, Assignment};
use crate::error::{Error, Result};
use crate::force_field::parameters::{
    Exception, HarmonicAngle, HarmonicBond, Nonbonded, NonbondedMethod, Parameters, PeriodicTorsion,
};
use crate::system::Topology;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The parameters of a topology whose atoms have classes.
pub fn parameters(
    force_field: &ForceField,
    topology: &Topology,
    assignment: &Assignment,
) -> Result<Parameters> {
    let class_of = |atom: usize| &force_field.classes[assignment.atoms[atom].class];
    let mut atoms = topology.atoms.clone();
    for (idx, atom) in atoms.iter_mut().enumerate() {
        atom.element.clone_from(&class_of(idx).element);
        atom.mass_da = class_of(idx).mass_da;
    }
    let topology = Topology::new(atoms, assignment.bonds.clone());
    let mut neighbours = topology.neighbours();
    neighbours.iter_mut().for_each(|list| list.sort_unstable());
    let paths = Paths::new(&topology.bonds, &neighbours);
    let builder =
        Builder { force_field, topology: &topology, atoms: &assignment.atoms, neighbours: &neighbours };
    let mut torsions = builder.proper_torsions(&paths.torsions)?;
    torsions.extend(builder.improper_torsions());
    Ok(Parameters {
        bonds: builder.bonds()?,
        angles: builder.angles(&paths.angles)?,
        torsions,
        nonbonded: builder.nonbonded(&paths),
        topology,
        ..Parameters::default()
    })
}

/// All paths of two and three bonds, each once, sorted, the smaller end first.
struct Paths {
    angles: BTreeSet<[usize; 3]>,
    torsions: BTreeSet<[usize; 4]>,
}

impl Paths {
    fn new(bonds: &[[usize; 2]], neighbours: &[Vec<usize>]) -> Self {
        let mut paths = Self { angles: BTreeSet::new(), torsions: BTreeSet::new() };
        for (apex, around) in neighbours.iter().enumerate() {
            for (n, &i) in around.iter().enumerate() {
                paths.angles.extend(around[n + 1..].iter().map(|&k| [i, apex, k]));
            }
        }
        for &[j, k] in bonds {
            for &i in neighbours[j].iter().filter(|&&i| i != k) {
                for &l in neighbours[k].iter().filter(|&&l| l != j && l != i) {
                    paths.torsions.insert(if i < l { [i, j, k, l] } else { [l, k, j, i] });
                }
            }
        }
        paths
    }
}

struct Builder<'a> {
    force_field: &'a ForceField,
    topology: &'a Topology,
    atoms: &'a [AssignedAtom],
    /// Sorted.
    neighbours: &'a [Vec<usize>],
}

impl Builder<'_> {
    fn classes<const N: usize>(&self, atoms: [usize; N]) -> [usize; N] {
        atoms.map(|atom| self.atoms[atom].class)
    }

    fn class(&self, atom: usize) -> &Class {
        &self.force_field.classes[self.atoms[atom].class]
    }

    fn missing(&self, term: &str, atoms: &[usize]) -> Error {
        let classes: Vec<&str> = atoms.iter().map(|&atom| self.class(atom).name.as_str()).collect();
        let names: Vec<String> = atoms.iter().map(|&atom| self.topology.atoms[atom].describe()).collect();
        Error::invalid(
            "force field",
            format!("parameters for every {term} in {}", self.force_field.name),
            format!("none for {} ({})", classes.join("-"), names.join(", ")),
        )
    }

    fn bonds(&self) -> Result<Vec<HarmonicBond>> {
        let bond = |&atoms: &[usize; 2]| {
            let found = self.force_field.bond(self.classes(atoms));
            let found = found.ok_or_else(|| self.missing("bond", &atoms))?;
            Ok(HarmonicBond { atoms, length_nm: found.equilibrium, stiffness: found.stiffness })
        };
        self.topology.bonds.iter().map(bond).collect()
    }

    fn angles(&self, angles: &BTreeSet<[usize; 3]>) -> Result<Vec<HarmonicAngle>> {
        let angle = |&atoms: &[usize; 3]| {
            let found = self.force_field.angle(self.classes(atoms));
            let found = found.ok_or_else(|| self.missing("angle", &atoms))?;
            Ok(HarmonicAngle { atoms, angle_rad: found.equilibrium, stiffness: found.stiffness })
        };
        angles.iter().map(angle).collect()
    }

    fn proper_torsions(&self, paths: &BTreeSet<[usize; 4]>) -> Result<Vec<PeriodicTorsion>> {
        let mut torsions = Vec::new();
        for &atoms in paths {
            let terms = self.force_field.torsion(self.classes(atoms));
            let terms = terms.ok_or_else(|| self.missing("torsion", &atoms))?;
            torsions.extend(terms.iter().map(|term| periodic(atoms, term)));
        }
        Ok(torsions)
    }

    /// Improper torsions in the order of atoms that OpenMM's `ForceField` gives them.
    ///
    /// Files say which of the four classes is central and leave the rest to a rule, two of which are
    /// known here ([`ImproperOrder`]). In the reference the first improper of a sequence of classes
    /// (neighbours by index) decides the order for all others of that sequence; energies of
    /// phenylalanine whose ring atoms stand in another order than in its template depend on it.
    fn improper_torsions(&self) -> Vec<PeriodicTorsion> {
        let mut torsions = Vec::new();
        let mut decided = HashMap::<[usize; 4], Option<(&Improper, [usize; 4])>>::new();
        for (center, around) in self.neighbours.iter().enumerate() {
            for triple in triples(around) {
                let candidate = [center, triple[0], triple[1], triple[2]];
                let decision = *decided
                    .entry(self.classes(candidate))
                    .or_insert_with(|| self.matching_improper(candidate));
                if let Some((improper, order)) = decision {
                    let atoms = order.map(|idx| candidate[idx]);
                    torsions.extend(improper.terms.iter().map(|term| periodic(atoms, term)));
                }
            }
        }
        torsions
    }

    /// The improper of four atoms, the central one first, and the order in which they enter.
    fn matching_improper(&self, candidate: [usize; 4]) -> Option<(&Improper, [usize; 4])> {
        const PERMUTATIONS: [[usize; 3]; 6] =
            [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];
        let fits = |class: Option<usize>, idx: usize| {
            class.is_none_or(|class| class == self.atoms[candidate[idx]].class)
        };
        let mut found = None;
        for improper in &self.force_field.impropers {
            let [center, second, third, fourth] = improper.classes;
            let generic = improper.classes.contains(&None);
            // The first generic definition holds unless a specific one follows; of these the last.
            if (found.is_some() && generic) || !fits(center, 0) {
                continue;
            }
            let permutation =
                PERMUTATIONS.iter().find(|[b, c, d]| fits(second, *b) && fits(third, *c) && fits(fourth, *d));
            if let Some(&permutation) = permutation {
                let outer = match self.force_field.improper_order {
                    ImproperOrder::Element => self.ordered_by_element(candidate, permutation),
                    ImproperOrder::Template => self.ordered_by_template(candidate, permutation, generic),
                };
                found = Some((improper, [outer[0], outer[1], 0, outer[2]]));
            }
        }
        found
    }

    fn ordered_by_element(&self, candidate: [usize; 4], [mut b, mut c, d]: [usize; 3]) -> [usize; 3] {
        let (first, second) = (self.class(candidate[b]), self.class(candidate[c]));
        let is_carbon = |class: &Class| class.element == "C";
        let swapped = if first.element == second.element && candidate[b] > candidate[c] {
            true
        } else {
            !is_carbon(first) && (is_carbon(second) || first.mass_da < second.mass_da)
        };
        if swapped {
            std::mem::swap(&mut b, &mut c);
        }
        [b, c, d]
    }

    fn ordered_by_template(
        &self,
        candidate: [usize; 4],
        [mut b, mut c, mut d]: [usize; 3],
        generic: bool,
    ) -> [usize; 3] {
        let alike = |i: usize, j: usize| {
            let (first, second) = (candidate[i], candidate[j]);
            if generic {
                self.class(first).element == self.class(second).element
            } else {
                self.atoms[first].class == self.atoms[second].class
            }
        };
        let later = |i: usize, j: usize| self.atoms[candidate[i]].order > self.atoms[candidate[j]].order;
        // Which places hold equal atoms is asked before anything is exchanged.
        let (alike_bd, alike_cd, alike_bc) = (alike(b, d), alike(c, d), generic || alike(b, c));
        if alike_bd && later(b, d) {
            std::mem::swap(&mut b, &mut d);
        }
        if alike_cd && later(c, d) {
            std::mem::swap(&mut c, &mut d);
        }
        if alike_bc && later(b, c) {
            std::mem::swap(&mut b, &mut c);
        }
        [b, c, d]
    }

    fn nonbonded(&self, paths: &Paths) -> Nonbonded {
        let mut exceptions = BTreeMap::<[usize; 2], Exception>::new();
        let ordered = |i: usize, j: usize| [i.min(j), i.max(j)];
        let excluded = |atoms| Exception { atoms, charge_product: 0.0, sigma_nm: 0.0, epsilon: 0.0 };
        let ends_of_angles = paths.angles.iter().map(|&[i, _, k]| ordered(i, k));
        for atoms in self.topology.bonds.iter().copied().chain(ends_of_angles) {
            exceptions.insert(atoms, excluded(atoms));
        }
        for &[i, _, _, l] in &paths.torsions {
            let atoms = ordered(i, l);
            exceptions.entry(atoms).or_insert_with(|| Exception {
                atoms,
                charge_product: self.force_field.coulomb_14 * self.atoms[i].charge * self.atoms[l].charge,
                sigma_nm: 0.5 * (self.class(i).sigma_nm + self.class(l).sigma_nm),
                epsilon: self.force_field.lennard_jones_14
                    * (self.class(i).epsilon * self.class(l).epsilon).sqrt(),
            });
        }
        let n_atoms = self.atoms.len();
        Nonbonded {
            charges: self.atoms.iter().map(|atom| atom.charge).collect(),
            sigma_nm: (0..n_atoms).map(|atom| self.class(atom).sigma_nm).collect(),
            epsilon: (0..n_atoms).map(|atom| self.class(atom).epsilon).collect(),
            pair_table: None,
            exceptions: exceptions.into_values().collect(),
            method: NonbondedMethod::NoCutoff,
        }
    }
}

fn periodic(atoms: [usize; 4], term: &TorsionTerm) -> PeriodicTorsion {
    PeriodicTorsion { atoms, periodicity: term.periodicity, phase_rad: term.phase_rad, barrier: term.barrier }
}

/// All choices of three, in lexicographic order.
fn triples(atoms: &[usize]) -> impl Iterator<Item = [usize; 3]> + '_ {
    let n = atoms.len();
    (0..n).flat_map(move |i| {
        (i + 1..n).flat_map(move |j| (j + 1..n).map(move |k| [atoms[i], atoms[j], atoms[k]]))
    })
}
