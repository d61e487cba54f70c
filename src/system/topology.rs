//! What the atoms are and which of them are bonded.

use crate::system::elements;

/// An atom, or a bead that stands for several.
#[derive(Debug, Clone, PartialEq)]
pub struct Atom {
    /// `CA`
    pub name: String,
    /// `C`; `X` where nothing says what it is.
    pub element: String,
    /// `ALA`
    pub residue_name: String,
    /// The number in the file.
    pub residue_id: i64,
    /// Empty where the file has no chains.
    pub chain: String,
    /// Mass in Da; 0 where nothing says what the atom is.
    pub mass_da: f64,
}

impl Atom {
    /// Name and residue as messages show them: `CA of ALA 2`.
    pub fn describe(&self) -> String {
        format!("{} of {} {}", self.name, self.residue_name, self.residue_id)
    }
}

/// The atoms of a system in the order of its files, and its bonds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Topology {
    /// In the order in which trajectories store positions.
    pub atoms: Vec<Atom>,
    /// Pairs of atom indices, the smaller first, sorted, each once.
    pub bonds: Vec<[usize; 2]>,
}

impl Topology {
    /// Atoms and bonds; the bonds are put in order.
    pub fn new(atoms: Vec<Atom>, mut bonds: Vec<[usize; 2]>) -> Self {
        bonds.iter_mut().for_each(|bond| bond.sort_unstable());
        bonds.sort_unstable();
        bonds.dedup();
        Self { atoms, bonds }
    }

    /// How many atoms.
    pub fn n_atoms(&self) -> usize {
        self.atoms.len()
    }

    /// Masses in Da.
    pub fn masses_da(&self) -> Vec<f64> {
        self.atoms.iter().map(|atom| atom.mass_da).collect()
    }

    /// The bonded neighbours of each atom.
    pub fn neighbours(&self) -> Vec<Vec<usize>> {
        let mut neighbours = vec![Vec::new(); self.n_atoms()];
        for &[i, j] in &self.bonds {
            neighbours[i].push(j);
            neighbours[j].push(i);
        }
        neighbours
    }

    /// For each atom the number of its molecule: atoms that bonds connect have the same.
    pub fn molecules(&self) -> Vec<usize> {
        let neighbours = self.neighbours();
        let mut molecule = vec![usize::MAX; self.n_atoms()];
        let mut n_molecules = 0;
        for start in 0..self.n_atoms() {
            if molecule[start] != usize::MAX {
                continue;
            }
            let mut to_visit = vec![start];
            while let Some(atom) = to_visit.pop() {
                if molecule[atom] == usize::MAX {
                    molecule[atom] = n_molecules;
                    to_visit.extend(&neighbours[atom]);
                }
            }
            n_molecules += 1;
        }
        molecule
    }

    /// Bonds judged by distance: atoms closer than 1.25 times the sum of their covalent radii.
    ///
    /// Meant for files that state no bonds, or only some. `positions_nm` is `[atom][xyz]`. Atoms of
    /// unknown element get no bonds, two hydrogens none with each other. Cells of the size of the
    /// longest bond make the search linear in the number of atoms.
    pub fn guess_bonds(&self, positions_nm: &[f64]) -> Vec<[usize; 2]> {
        const TOLERANCE: f64 = 1.25;
        let radii: Vec<Option<f64>> = self
            .atoms
            .iter()
            .map(|atom| elements::by_symbol(&atom.element).map(|element| element.covalent_radius_nm))
            .collect();
        let largest = radii.iter().flatten().copied().fold(0.0, f64::max);
        let cell_size = (2.0 * TOLERANCE * largest).max(0.05);
        let cell_of = |atom: usize| {
            [0, 1, 2]
                .map(|axis| (positions_nm[3 * atom + axis] / cell_size).floor().clamp(-1e15, 1e15) as i64)
        };
        let mut cells = std::collections::HashMap::<[i64; 3], Vec<usize>>::new();
        let mut bonds = Vec::new();
        for i in 0..self.n_atoms() {
            let Some(radius_i) = radii[i] else { continue };
            let [x, y, z] = cell_of(i);
            for shift in 0..27 {
                let cell = [x + shift % 3 - 1, y + shift / 3 % 3 - 1, z + shift / 9 - 1];
                for &j in cells.get(&cell).into_iter().flatten() {
                    let both_hydrogen = self.atoms[i].mass_da < 3.5 && self.atoms[j].mass_da < 3.5;
                    let limit = TOLERANCE * (radius_i + radii[j].unwrap_or(0.0));
                    let square: f64 =
                        (0..3).map(|k| (positions_nm[3 * i + k] - positions_nm[3 * j + k]).powi(2)).sum();
                    if !both_hydrogen && square < limit * limit && square > 1e-6 {
                        bonds.push([j, i]);
                    }
                }
            }
            cells.entry([x, y, z]).or_default().push(i);
        }
        bonds.sort_unstable();
        bonds
    }

    /// The different atom names in order of appearance, at most `limit` of them, for messages.
    pub fn atom_names(&self, limit: usize) -> String {
        let mut names: Vec<&str> = Vec::new();
        for atom in &self.atoms {
            if !names.contains(&atom.name.as_str()) {
                if names.len() == limit {
                    names.push("…");
                    break;
                }
                names.push(&atom.name);
            }
        }
        names.join(", ")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn atom(name: &str, residue_name: &str, residue_id: i64) -> Atom {
        let element = elements::by_atom_name(name, residue_name).expect("a known element");
        Atom {
            name: name.into(),
            element: element.symbol.into(),
            residue_name: residue_name.into(),
            residue_id,
            chain: "A".into(),
            mass_da: element.mass_da,
        }
    }

    /// The 22 atoms of ACE-ALA-NME with all 21 bonds, as in `tests/data/aldp.pdb`.
    pub(crate) fn alanine_dipeptide() -> Topology {
        let residues = [
            ("ACE", 1, vec!["H1", "CH3", "H2", "H3", "C", "O"]),
            ("ALA", 2, vec!["N", "H", "CA", "HA", "CB", "HB1", "HB2", "HB3", "C", "O"]),
            ("NME", 3, vec!["N", "H", "C", "H1", "H2", "H3"]),
        ];
        let atoms = residues
            .into_iter()
            .flat_map(|(residue, id, names)| names.into_iter().map(move |name| atom(name, residue, id)))
            .collect();
        let bonds = vec![
            [0, 1],
            [1, 2],
            [1, 3],
            [1, 4],
            [4, 5],
            [4, 6],
            [6, 7],
            [6, 8],
            [8, 9],
            [8, 10],
            [8, 14],
            [10, 11],
            [10, 12],
            [10, 13],
            [14, 15],
            [14, 16],
            [16, 17],
            [16, 18],
            [18, 19],
            [18, 20],
            [18, 21],
        ];
        Topology::new(atoms, bonds)
    }

    #[test]
    fn water_beside_water_gets_two_bonds_each_and_no_bond_between_them() {
        let atoms: Vec<Atom> =
            (1..=2).flat_map(|id| ["O", "H1", "H2"].map(|name| atom(name, "HOH", id))).collect();
        let topology = Topology::new(atoms, Vec::new());
        let mut positions_nm = vec![0.0, 0.0, 0.0, 0.0957, 0.0, 0.0, -0.024, 0.0927, 0.0];
        // A hydrogen bond of 0.18 nm to the next oxygen.
        let second: Vec<f64> = positions_nm.chunks(3).flat_map(|r| [r[0] + 0.276, r[1], r[2]]).collect();
        positions_nm.extend(second);
        let guessed = topology.guess_bonds(&positions_nm);
        assert_eq!(guessed, vec![[0, 1], [0, 2], [3, 4], [3, 5]]);
        let bonded = Topology::new(topology.atoms, guessed);
        assert_eq!(bonded.molecules(), vec![0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn negative_coordinates_fall_into_neighbouring_cells() {
        let topology = Topology::new(vec![atom("C1", "LIG", 1), atom("C2", "LIG", 1)], Vec::new());
        assert_eq!(topology.guess_bonds(&[-0.01, -0.02, -0.001, 0.14, -0.02, 0.001]), vec![[0, 1]]);
    }

    #[test]
    fn bonds_are_ordered_and_kept_once() {
        let atoms = ["C1", "C2", "C3"].map(|name| atom(name, "LIG", 1)).to_vec();
        assert_eq!(Topology::new(atoms, vec![[2, 1], [1, 0], [1, 2]]).bonds, vec![[0, 1], [1, 2]]);
    }
}
