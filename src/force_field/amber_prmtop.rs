//! Force-field parameters of AMBER topology files.
//!
//! AMBER writes kcal/mol, Å and charges times 18.2223; bonds and angles are k (x − x₀)². Lennard-Jones
//! stands as A/r¹² − B/r⁶ for pairs of types. Where these pairs follow the combining rules, each atom gets
//! σ and ε; where they do not (NBFIX), the table itself is kept. A dihedral with positive third and fourth
//! atom also makes its ends a 1-4 pair, whose Coulomb energy is divided by SCEE (1.2 where the file has no
//! such section) and whose Lennard-Jones energy by SCNB (2.0). Bonds within water are rigid. All of this is
//! read as OpenMM 8.6 reads it, so that energies agree to rounding.

use std::collections::HashSet;
use std::path::Path;

use crate::error::{Error, Result};
use crate::force_field::parameters::{
    Cmap, CmapGrid, DistanceConstraint, Exception, HarmonicAngle, HarmonicBond, LARGEST_ANGLE_RAD, Nonbonded,
    PairTable, Parameters, PeriodicTorsion, RyckaertBellemansTorsion,
};
use crate::system::amber_prmtop::Prmtop;
use crate::system::{Topology, box_vectors_nm};

/// kJ per kcal.
const KJ: f64 = 4.184;
/// nm per Å.
const NM: f64 = 0.1;
/// Charges of the file per elementary charge: the root of Coulomb's constant in kcal Å/(mol e²).
const CHARGE_UNIT: f64 = 18.2223;
/// Residues of water, which OpenMM holds rigid.
const WATER: [&str; 5] = ["WAT", "HOH", "TP4", "TP5", "T4E"];

/// Parameters of a file.
pub fn read(path: &Path) -> Result<Parameters> {
    parameters(&Prmtop::read(path)?)
}

/// Whether a text is an AMBER topology, judged by its first lines.
pub fn is_prmtop(beginning: &str) -> bool {
    beginning.lines().take(5).any(|line| line.starts_with("%VERSION") || line.starts_with("%FLAG"))
}

/// Parameters from the sections of a file.
pub fn parameters(file: &Prmtop) -> Result<Parameters> {
    let sizes = Sizes::read(file)?;
    refuse_other_models(file, &sizes)?;
    let topology = file.topology()?;
    let charges: Vec<f64> =
        file.counted_reals("CHARGE", sizes.n_atoms)?.into_iter().map(|charge| charge / CHARGE_UNIT).collect();
    let dihedrals = Dihedrals::read(file, &sizes)?;
    let lennard_jones = LennardJones::read(file, &sizes)?;
    let (bonds, constraints) = bonds(file, &sizes, &topology)?;
    let (torsions, ryckaert_bellemans) = dihedrals.torsions(file)?;
    let (cmap_grids, cmaps) = cmaps(file, sizes.n_atoms)?;
    let exceptions = exceptions(file, &sizes, &topology, &dihedrals, &lennard_jones, &charges)?;
    let (sigma_nm, epsilon, pair_table) = match lennard_jones.of_atoms() {
        Some(of_atoms) => {
            (of_atoms.iter().map(|atom| atom.0).collect(), of_atoms.iter().map(|atom| atom.1).collect(), None)
        }
        None => (vec![1.0; sizes.n_atoms], vec![0.0; sizes.n_atoms], Some(lennard_jones.pair_table())),
    };
    Ok(Parameters {
        bonds,
        angles: angles(file, &sizes)?,
        torsions,
        ryckaert_bellemans,
        cmap_grids,
        cmaps,
        nonbonded: Nonbonded { charges, sigma_nm, epsilon, pair_table, exceptions, ..Nonbonded::default() },
        constraints,
        box_vectors_nm: periodic_box(file, &sizes)?,
        topology,
        ..Parameters::default()
    })
}

/// The numbers of section POINTERS that are needed.
struct Sizes {
    n_atoms: usize,
    n_types: usize,
    bonds: [usize; 2],
    angles: [usize; 2],
    dihedrals: [usize; 2],
    n_excluded: usize,
    n_bond_types: usize,
    n_angle_types: usize,
    n_dihedral_types: usize,
    n_hydrogen_bond_types: usize,
    has_perturbation: bool,
    has_box: bool,
    has_cap: bool,
}

impl Sizes {
    fn read(file: &Prmtop) -> Result<Self> {
        let pointers = file.integers("POINTERS")?;
        if pointers.len() < 30 {
            file.expect_count("POINTERS", 31, pointers.len())?;
        }
        if let Some(negative) = pointers.iter().find(|&&value| value < 0) {
            return Err(file.error("POINTERS", "numbers that are not negative", negative.to_string()));
        }
        let at = |idx: usize| pointers[idx] as usize;
        Ok(Self {
            n_atoms: at(0),
            n_types: at(1),
            bonds: [at(2), at(12)],
            angles: [at(4), at(13)],
            dihedrals: [at(6), at(14)],
            n_excluded: at(10),
            n_bond_types: at(15),
            n_angle_types: at(16),
            n_dihedral_types: at(17),
            n_hydrogen_bond_types: at(19),
            has_perturbation: at(20) > 0,
            has_box: at(27) > 0,
            has_cap: at(29) > 0,
        })
    }
}

/// Names what the file holds that no term here computes.
fn refuse_other_models(file: &Prmtop, sizes: &Sizes) -> Result<()> {
    let refuse = |flag: &str, found: &str| Err(file.error(flag, "additive AMBER force-field terms", found));
    if let Some(flag) = file.flags().find(|flag| flag.starts_with("CHARMM_")) {
        return refuse(flag, "CHARMM terms written by CHAMBER");
    }
    if let Some(flag) = file.flags().find(|flag| flag.starts_with("AMOEBA_")) {
        return refuse(flag, "terms of AMOEBA");
    }
    for flag in ["LENNARD_JONES_CCOEF", "LENNARD_JONES_DCOEF", "LENNARD_JONES_ECOEF"] {
        if file.contains(flag) {
            return refuse(flag, "12-6-4 Lennard-Jones terms");
        }
    }
    let polarisable = match file.contains("IPOL") {
        true => file.integers("IPOL")?.iter().any(|&value| value != 0),
        false => file.contains("POLARIZABILITY"),
    };
    if polarisable {
        let flag = if file.contains("IPOL") { "IPOL" } else { "POLARIZABILITY" };
        return refuse(flag, "polarisable atoms");
    }
    if sizes.has_perturbation {
        return refuse("POINTERS", "perturbed atoms (IFPERT)");
    }
    if sizes.has_cap {
        return refuse("POINTERS", "a cap of water (IFCAP)");
    }
    for flag in ["HBOND_ACOEF", "HBOND_BCOEF"] {
        if sizes.n_hydrogen_bond_types > 0
            && file.counted_reals(flag, sizes.n_hydrogen_bond_types)?.iter().any(|&value| value != 0.0)
        {
            return refuse(flag, "10-12 hydrogen-bond terms");
        }
    }
    Ok(())
}

/// Rows of N atoms, stored as three times their index, and the index of a type, stored from 1.
fn rows<const N: usize>(
    file: &Prmtop,
    flag: &str,
    n_rows: usize,
    n_atoms: usize,
    n_types: usize,
) -> Result<Vec<([i64; N], usize)>> {
    let values = file.counted_integers(flag, n_rows * (N + 1))?;
    values
        .chunks_exact(N + 1)
        .map(|row| {
            let stored: [i64; N] = std::array::from_fn(|k| row[k]);
            // The signs of the third and fourth atom of a dihedral have a meaning of their own.
            let good = |(k, &value): (usize, &i64)| {
                (value >= 0 || k >= 2 && N == 4)
                    && value % 3 == 0
                    && value.unsigned_abs() < 3 * n_atoms as u64
            };
            let kind = usize::try_from(row[N] - 1).ok().filter(|&kind| kind < n_types);
            match kind {
                Some(kind) if stored.iter().enumerate().all(good) => Ok((stored, kind)),
                _ => {
                    let expected = format!("{N} times 3 × an atom below {n_atoms}, a type of 1 to {n_types}");
                    Err(file.error(flag, expected, format!("{row:?}")))
                }
            }
        })
        .collect()
}

fn atom_indices<const N: usize>(stored: [i64; N]) -> [usize; N] {
    stored.map(|value| value.unsigned_abs() as usize / 3)
}

fn bonds(
    file: &Prmtop,
    sizes: &Sizes,
    topology: &Topology,
) -> Result<(Vec<HarmonicBond>, Vec<DistanceConstraint>)> {
    let stiffness = file.counted_reals("BOND_FORCE_CONSTANT", sizes.n_bond_types)?;
    let length = file.counted_reals("BOND_EQUIL_VALUE", sizes.n_bond_types)?;
    let (mut bonds, mut constraints) = (Vec::new(), Vec::new());
    let is_water = |atom: usize| WATER.contains(&topology.atoms[atom].residue_name.as_str());
    for (part, flag) in ["BONDS_INC_HYDROGEN", "BONDS_WITHOUT_HYDROGEN"].into_iter().enumerate() {
        for (stored, kind) in rows::<2>(file, flag, sizes.bonds[part], sizes.n_atoms, sizes.n_bond_types)? {
            let atoms = atom_indices(stored);
            let length_nm = length[kind] * NM;
            if part == 0 && atoms.iter().all(|&atom| is_water(atom)) {
                if atoms.iter().all(|&atom| topology.atoms[atom].element != "X") {
                    constraints.push(DistanceConstraint { atoms, length_nm });
                }
                continue;
            }
            // 1 kcal/(mol Å²) is 418.4 kJ/(mol nm²).
            bonds.push(HarmonicBond { atoms, length_nm, stiffness: 2.0 * stiffness[kind] * (KJ * 100.0) });
        }
    }
    Ok((bonds, constraints))
}

fn angles(file: &Prmtop, sizes: &Sizes) -> Result<Vec<HarmonicAngle>> {
    let stiffness = file.counted_reals("ANGLE_FORCE_CONSTANT", sizes.n_angle_types)?;
    let angle = file.counted_reals("ANGLE_EQUIL_VALUE", sizes.n_angle_types)?;
    if let Some(bad) = angle.iter().find(|&&angle| !(0.0..=LARGEST_ANGLE_RAD).contains(&angle)) {
        return Err(file.error("ANGLE_EQUIL_VALUE", "angles of 0 to π", bad.to_string()));
    }
    let mut angles = Vec::new();
    for (part, flag) in ["ANGLES_INC_HYDROGEN", "ANGLES_WITHOUT_HYDROGEN"].into_iter().enumerate() {
        for (stored, kind) in rows::<3>(file, flag, sizes.angles[part], sizes.n_atoms, sizes.n_angle_types)? {
            let atoms = atom_indices(stored);
            let stiffness = 2.0 * stiffness[kind] * KJ;
            angles.push(HarmonicAngle { atoms, angle_rad: angle[kind], stiffness });
        }
    }
    Ok(angles)
}

/// Dihedrals as they are stored.
struct Dihedrals {
    rows: Vec<([i64; 4], usize)>,
    n_types: usize,
}

impl Dihedrals {
    fn read(file: &Prmtop, sizes: &Sizes) -> Result<Self> {
        let mut all = Vec::new();
        for (part, flag) in ["DIHEDRALS_INC_HYDROGEN", "DIHEDRALS_WITHOUT_HYDROGEN"].into_iter().enumerate() {
            let n_types = sizes.n_dihedral_types;
            all.extend(rows::<4>(file, flag, sizes.dihedrals[part], sizes.n_atoms, n_types)?);
        }
        Ok(Self { rows: all, n_types: sizes.n_dihedral_types })
    }

    /// Torsions whose energy is not zero; those of periodicity 0 are constants, which polynomials can be.
    fn torsions(&self, file: &Prmtop) -> Result<(Vec<PeriodicTorsion>, Vec<RyckaertBellemansTorsion>)> {
        let barrier = file.counted_reals("DIHEDRAL_FORCE_CONSTANT", self.n_types)?;
        let phase = file.counted_reals("DIHEDRAL_PHASE", self.n_types)?;
        let periodicity = file.counted_reals("DIHEDRAL_PERIODICITY", self.n_types)?;
        if let Some(bad) = periodicity.iter().find(|&&n| !(0.0..100.0).contains(&n)) {
            return Err(file.error("DIHEDRAL_PERIODICITY", "periodicities from 0", bad.to_string()));
        }
        let (mut torsions, mut constants) = (Vec::new(), Vec::new());
        for &(stored, kind) in &self.rows {
            let atoms = atom_indices(stored);
            let (barrier, phase_rad) = (barrier[kind] * KJ, phase[kind]);
            match (periodicity[kind] + 0.5) as u32 {
                _ if barrier == 0.0 => {}
                0 => {
                    let constant = barrier * (1.0 + phase_rad.cos());
                    let coefficients = [constant, 0.0, 0.0, 0.0, 0.0, 0.0];
                    constants.push(RyckaertBellemansTorsion { atoms, coefficients });
                }
                periodicity => torsions.push(PeriodicTorsion { atoms, periodicity, phase_rad, barrier }),
            }
        }
        Ok((torsions, constants))
    }
}

/// A/r¹² − B/r⁶ between types, in kcal/mol and Å.
struct LennardJones {
    n_types: usize,
    /// Type of each atom.
    types: Vec<usize>,
    /// A and B of `[type][type]`; none for pairs that once had 10-12 terms.
    pairs: Vec<Option<(f64, f64)>>,
}

impl LennardJones {
    fn read(file: &Prmtop, sizes: &Sizes) -> Result<Self> {
        let n_types = sizes.n_types;
        let n_pairs = n_types * (n_types + 1) / 2;
        let a = file.counted_reals("LENNARD_JONES_ACOEF", n_pairs)?;
        let b = file.counted_reals("LENNARD_JONES_BCOEF", n_pairs)?;
        let mut pairs = Vec::with_capacity(n_types * n_types);
        for index in file.counted_integers("NONBONDED_PARM_INDEX", n_types * n_types)? {
            // Zero and negative numbers point to 10-12 terms, which are all zero here.
            let pair = usize::try_from(index - 1).ok();
            if pair.is_some_and(|pair| pair >= n_pairs) {
                let expected = format!("numbers up to {n_pairs}");
                return Err(file.error("NONBONDED_PARM_INDEX", expected, index.to_string()));
            }
            pairs.push(pair.map(|pair| (a[pair], b[pair])));
        }
        let mut types = Vec::with_capacity(sizes.n_atoms);
        for stored in file.counted_integers("ATOM_TYPE_INDEX", sizes.n_atoms)? {
            let kind = usize::try_from(stored - 1).ok().filter(|&kind| kind < n_types).ok_or_else(|| {
                file.error("ATOM_TYPE_INDEX", format!("types of 1 to {n_types}"), stored.to_string())
            })?;
            if pairs[kind * n_types + kind].is_none() {
                let found = format!("a 10-12 term of type {stored} with itself");
                return Err(file.error("NONBONDED_PARM_INDEX", "Lennard-Jones terms", found));
            }
            types.push(kind);
        }
        Ok(Self { n_types, types, pairs })
    }

    /// Distance of the minimum in Å and depth in kcal/mol of a pair; 1 and 0 where there is no minimum.
    fn minimum((a, b): (f64, f64)) -> (f64, f64) {
        if a == 0.0 || b == 0.0 { (1.0, 0.0) } else { ((2.0 * a / b).powf(1.0 / 6.0), 0.25 * b * b / a) }
    }

    /// σ in nm and ε in kJ/mol of each atom; none where some pair does not follow the combining rules.
    fn of_atoms(&self) -> Option<Vec<(f64, f64)>> {
        let mut of_types = vec![(0.0, 0.0); self.n_types];
        for &kind in &self.types {
            let (minimum, depth) = Self::minimum(self.pairs[kind * self.n_types + kind]?);
            of_types[kind] = (minimum / 2.0, depth);
        }
        for i in 0..self.n_types {
            for j in 0..self.n_types {
                let Some((a, b)) = self.pairs[i * self.n_types + j] else { continue };
                let minimum = of_types[i].0 + of_types[j].0;
                let depth = (of_types[i].1 * of_types[j].1).sqrt();
                let follows = if a == 0.0 || b == 0.0 {
                    a == 0.0 && b == 0.0 && (depth == 0.0 || minimum == 0.0)
                } else {
                    ((a - depth * minimum.powi(12)) / a).abs() <= 1e-6
                        && ((b - 2.0 * depth * minimum.powi(6)) / b).abs() <= 1e-6
                };
                if !follows {
                    return None;
                }
            }
        }
        // σ = 2^(-1/6) r_min, and of_types holds r_min / 2.
        let sigma_per_half = 2.0 * 2_f64.powf(-1.0 / 6.0) * NM;
        Some(
            self.types
                .iter()
                .map(|&kind| (of_types[kind].0 * sigma_per_half, of_types[kind].1 * KJ))
                .collect(),
        )
    }

    fn pair_table(&self) -> PairTable {
        let convert = |take: fn((f64, f64)) -> f64, factor: f64| {
            self.pairs.iter().map(|pair| pair.map_or(0.0, |pair| take(pair) * factor)).collect()
        };
        PairTable {
            types: self.types.clone(),
            n_types: self.n_types,
            a: convert(|pair| pair.0, KJ * 1e-12),
            b: convert(|pair| pair.1, KJ * 1e-6),
        }
    }
}

/// The 1-4 pairs, then the excluded pairs.
fn exceptions(
    file: &Prmtop,
    sizes: &Sizes,
    topology: &Topology,
    dihedrals: &Dihedrals,
    lennard_jones: &LennardJones,
    charges: &[f64],
) -> Result<Vec<Exception>> {
    let scale = |flag: &str, default: f64| match file.contains(flag) {
        true => file.counted_reals(flag, sizes.n_dihedral_types),
        false => Ok(vec![default; sizes.n_dihedral_types]),
    };
    let (coulomb_scale, lennard_jones_scale) =
        (scale("SCEE_SCALE_FACTOR", 1.2)?, scale("SCNB_SCALE_FACTOR", 2.0)?);
    let mut known = HashSet::new();
    let mut exceptions = Vec::new();
    for &(stored, kind) in &dihedrals.rows {
        if stored[2] <= 0 || stored[3] <= 0 {
            continue;
        }
        let [i, _, _, j] = atom_indices(stored);
        let pair =
            lennard_jones.pairs[lennard_jones.types[i] * lennard_jones.n_types + lennard_jones.types[j]];
        let Some(pair) = pair else { continue };
        if !known.insert([i.min(j), i.max(j)]) {
            let [a, b] = [i, j].map(|atom| topology.atoms[atom].describe());
            let found = format!("the pair of {a} and {b} twice");
            return Err(file.error("DIHEDRALS_INC_HYDROGEN", "each 1-4 pair once", found));
        }
        for (flag, factor) in
            [("SCEE_SCALE_FACTOR", coulomb_scale[kind]), ("SCNB_SCALE_FACTOR", lennard_jones_scale[kind])]
        {
            if factor == 0.0 {
                return Err(file.error(flag, "divisors of 1-4 pairs", "0"));
            }
        }
        let (minimum, depth) = LennardJones::minimum(pair);
        exceptions.push(Exception {
            atoms: [i, j],
            charge_product: charges[i] * charges[j] / coulomb_scale[kind],
            sigma_nm: minimum * NM * 2_f64.powf(-1.0 / 6.0),
            epsilon: depth * KJ / lennard_jones_scale[kind],
        });
    }

    let counts = file.counted_integers("NUMBER_EXCLUDED_ATOMS", sizes.n_atoms)?;
    let excluded = file.counted_integers("EXCLUDED_ATOMS_LIST", sizes.n_excluded)?;
    let total: i64 = counts.iter().sum();
    if counts.iter().any(|&count| count < 0) || total != excluded.len() as i64 {
        let expected = format!("numbers that sum to {} as in POINTERS", excluded.len());
        return Err(file.error("NUMBER_EXCLUDED_ATOMS", expected, total.to_string()));
    }
    let mut listed = HashSet::new();
    let mut start = 0;
    for (i, &count) in counts.iter().enumerate() {
        let end = start + count as usize;
        for &stored in &excluded[start..end] {
            // A zero says that there is none.
            let Some(j) = usize::try_from(stored - 1).ok() else { continue };
            if j >= sizes.n_atoms || i == j {
                let expected = format!("other atoms of 1 to {}", sizes.n_atoms);
                return Err(file.error(
                    "EXCLUDED_ATOMS_LIST",
                    expected,
                    format!("{stored} for atom {}", i + 1),
                ));
            }
            if !listed.insert([i.min(j), i.max(j)]) {
                let found = format!("atoms {} and {} twice", i + 1, j + 1);
                return Err(file.error("EXCLUDED_ATOMS_LIST", "each pair once", found));
            }
            if known.insert([i.min(j), i.max(j)]) {
                exceptions.push(Exception {
                    atoms: [i, j],
                    charge_product: 0.0,
                    sigma_nm: 0.1,
                    epsilon: 0.0,
                });
            }
        }
        start = end;
    }
    Ok(exceptions)
}

/// The maps of ff19SB. The file starts at −180° and runs fastest along ψ; here they start at 0 along φ.
fn cmaps(file: &Prmtop, n_atoms: usize) -> Result<(Vec<CmapGrid>, Vec<Cmap>)> {
    if !file.contains("CMAP_COUNT") {
        return Ok((Vec::new(), Vec::new()));
    }
    let counts: Vec<usize> =
        file.counted_integers("CMAP_COUNT", 2)?.into_iter().map(|count| count.max(0) as usize).collect();
    let (n_terms, n_grids) = (counts[0], counts[1]);
    let mut grids = Vec::new();
    for (idx, size) in file.counted_integers("CMAP_RESOLUTION", n_grids)?.into_iter().enumerate() {
        let size = usize::try_from(size)
            .ok()
            .filter(|size| (2..=1000).contains(size))
            .ok_or_else(|| file.error("CMAP_RESOLUTION", "points along each angle", size.to_string()))?;
        let stored = file.counted_reals(&format!("CMAP_PARAMETER_{:02}", idx + 1), size * size)?;
        let shifted = |i: usize| (i + size / 2) % size;
        let energies =
            (0..size * size).map(|at| KJ * stored[size * shifted(at % size) + shifted(at / size)]).collect();
        grids.push(CmapGrid { size, energies });
    }
    let mut cmaps = Vec::new();
    for row in file.counted_integers("CMAP_INDEX", 6 * n_terms)?.chunks_exact(6) {
        let atom = |k: usize| usize::try_from(row[k] - 1).ok().filter(|&atom| atom < n_atoms);
        let grid = usize::try_from(row[5] - 1).ok().filter(|&grid| grid < n_grids);
        let (Some(a), Some(b), Some(c), Some(d), Some(e), Some(grid)) =
            (atom(0), atom(1), atom(2), atom(3), atom(4), grid)
        else {
            let expected = format!("five atoms of 1 to {n_atoms} and a map of 1 to {n_grids}");
            return Err(file.error("CMAP_INDEX", expected, format!("{row:?}")));
        };
        cmaps.push(Cmap { first: [a, b, c, d], second: [b, c, d, e], grid });
    }
    Ok((grids, cmaps))
}

fn periodic_box(file: &Prmtop, sizes: &Sizes) -> Result<Option<[[f64; 3]; 3]>> {
    if !sizes.has_box || !file.contains("BOX_DIMENSIONS") {
        return Ok(None);
    }
    let values = file.counted_reals("BOX_DIMENSIONS", 4)?;
    let edges_nm = [values[1] * NM, values[2] * NM, values[3] * NM];
    box_vectors_nm(edges_nm, [values[0]; 3])
        .map(Some)
        .ok_or_else(|| file.error("BOX_DIMENSIONS", "an angle and three edges", format!("{values:?}")))
}

/// An error about an atom of a section that has one value per atom.
pub(crate) fn atom_error(
    file: &Prmtop,
    flag: &str,
    topology: &Topology,
    atom: usize,
    expected: &str,
    found: &str,
) -> Error {
    let place = format!("section {flag}, atom {} ({})", atom + 1, topology.atoms[atom].describe());
    Error::file(file.path(), place, expected, found)
}

#[cfg(test)]
#[path = "amber_prmtop_tests.rs"]
mod tests;
