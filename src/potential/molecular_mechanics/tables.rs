//! Parameters as the kernels want them: one precision, one record per interaction, in the order of use.

use super::AlchemicalPath;
use super::ewald::dispersion;
use super::lane::Lane;
use crate::error::{Error, Result};
use crate::force_field::parameters::{BornAtom, COULOMB, Nonbonded, NonbondedMethod, Parameters};

/// Two atoms and ½ k (r − r₀)².
pub struct Bond<T> {
    pub atoms: [usize; 2],
    pub length: T,
    pub stiffness: T,
}

/// Three atoms and ½ k (θ − θ₀)².
pub struct Angle<T> {
    pub atoms: [usize; 3],
    pub angle: T,
    pub stiffness: T,
}

/// All torsions of the same four atoms: U = c₀ + Σ (aₙ cos nφ + bₙ sin nφ), n = 1 ….
///
/// So one angle is computed per quadruple, never an inverse function, and Ryckaert–Bellemans
/// polynomials are Fourier series like the rest.
pub struct Torsion<T> {
    pub atoms: [usize; 4],
    pub constant: T,
    /// aₙ and bₙ for n = 1 …
    pub series: Vec<[T; 2]>,
}

/// A pair i < j without cutoff: U = A/r¹² − B/r⁶ + C qq/r.
#[derive(Clone, Copy)]
pub struct Pair<T> {
    pub coulomb: T,
    pub a: T,
    pub b: T,
    /// Squared distance from which neither sphere of descreening touches the other atom nor exceeds 0.6 r.
    pub apart: T,
    /// Squared distance from which the spheres do not exceed r/4.
    pub far: T,
}

impl Pair<f64> {
    fn rounded<T>(&self, t: fn(f64) -> T) -> Pair<T> {
        Pair { coulomb: t(self.coulomb), a: t(self.a), b: t(self.b), apart: t(self.apart), far: t(self.far) }
    }
}

/// All pairs without cutoff, as rows i of pairs i < j.
///
/// N (N − 1)/2 pairs are too many to be stored for a large protein; then each row is made when it is needed.
pub struct Pairs<T> {
    n_atoms: usize,
    /// One row after the other; empty with a cutoff, or if rows are made.
    stored: Vec<Pair<T>>,
    recipe: Recipe,
    pub makes_rows: bool,
    /// Whether what the first pass over the pairs finds is kept for the last, or computed twice.
    pub keeps_slopes: bool,
}

impl<T: Copy> Pairs<T> {
    /// Pairs of 2,900 atoms: 240 MB in both precisions.
    const STORED: usize = 1 << 22;
    /// Pairs of 510 atoms: 25 MB for each thread. Computing twice is faster than going to memory beyond the caches.
    const KEPT: usize = 1 << 17;

    fn new(parameters: &Parameters, path: &AlchemicalPath) -> Self {
        let n_atoms = parameters.n_atoms();
        let n_pairs = n_atoms * n_atoms.saturating_sub(1) / 2;
        let plain = matches!(
            path,
            AlchemicalPath::None | AlchemicalPath::GbCharges | AlchemicalPath::ImplicitSolvent
        );
        Self {
            n_atoms,
            stored: Vec::new(),
            recipe: Recipe::new(parameters),
            makes_rows: n_pairs > Self::STORED && plain,
            keeps_slopes: n_pairs <= Self::KEPT,
        }
    }

    /// How many pairs.
    pub fn count(&self) -> usize {
        self.n_atoms * self.n_atoms.saturating_sub(1) / 2
    }

    /// Partners j = i + 1 … of atom i, perhaps made in memory of the caller.
    #[inline(always)]
    pub fn row<'a, L: Lane<Scalar = T>>(&'a self, i: usize, made: &'a mut RowMemory<T>) -> &'a [Pair<T>] {
        if self.makes_rows {
            self.make_row::<L>(i, made);
            return &made.rounded;
        }
        let start = i * (2 * self.n_atoms - i - 1) / 2;
        &self.stored[start..start + self.n_atoms - i - 1]
    }

    #[inline(never)]
    fn make_row<L: Lane<Scalar = T>>(&self, i: usize, made: &mut RowMemory<T>) {
        self.recipe.row(i, &mut made.exact);
        made.rounded.clear();
        made.rounded.extend(made.exact.iter().map(|pair| pair.rounded(L::scalar)));
    }

    /// Takes the ways of large molecules.
    #[cfg(test)]
    pub fn forget(&mut self) {
        self.stored = Vec::new();
        (self.makes_rows, self.keeps_slopes) = (true, false);
    }
}

/// Where a row of pairs is made.
pub struct RowMemory<T> {
    exact: Vec<Pair<f64>>,
    rounded: Vec<Pair<T>>,
}

impl<T: Copy> RowMemory<T> {
    pub fn new(pairs: &Pairs<T>) -> Self {
        let n = if pairs.makes_rows { pairs.n_atoms } else { 0 };
        Self { exact: Vec::with_capacity(n), rounded: Vec::with_capacity(n) }
    }
}

/// What pairs are made from.
struct Recipe {
    nonbonded: Nonbonded,
    /// Partners j > i of each atom i that are exceptions and the index of the exception, sorted by j.
    exceptions: Vec<Vec<(usize, usize)>>,
    born: Option<Vec<BornAtom>>,
}

impl Recipe {
    fn new(parameters: &Parameters) -> Self {
        let mut exceptions = vec![Vec::new(); parameters.n_atoms()];
        for (idx, exception) in parameters.nonbonded.exceptions.iter().enumerate() {
            let [i, j] = sorted(exception.atoms);
            exceptions[i].push((j, idx));
        }
        exceptions.iter_mut().for_each(|partners| partners.sort_unstable());
        let born = parameters.implicit_solvent.as_ref().map(|solvent| solvent.atoms.clone());
        Self { nonbonded: parameters.nonbonded.clone(), exceptions, born }
    }

    /// Partners j = i + 1 … of atom i.
    fn row(&self, i: usize, row: &mut Vec<Pair<f64>>) {
        let nonbonded = &self.nonbonded;
        let mut exceptions = self.exceptions[i].iter().peekable();
        row.clear();
        row.extend((i + 1..nonbonded.charges.len()).map(|j| {
            let exception =
                exceptions.next_if(|(partner, _)| *partner == j).map(|&(_, idx)| &nonbonded.exceptions[idx]);
            let charge_product =
                exception.map_or(nonbonded.charges[i] * nonbonded.charges[j], |e| e.charge_product);
            let (a, b) = match exception {
                Some(e) => powers(e.sigma_nm, e.epsilon),
                None => lennard_jones(nonbonded, i, j),
            };
            let (apart, far) = self.born.as_ref().map_or((0.0, 0.0), |atoms| {
                let (p, q) = (&atoms[i], &atoms[j]);
                let touch = (p.offset_radius_nm + q.scaled_radius_nm)
                    .max(q.offset_radius_nm + p.scaled_radius_nm)
                    .max(p.scaled_radius_nm.max(q.scaled_radius_nm) / 0.6);
                let far = (4.0 * p.scaled_radius_nm.max(q.scaled_radius_nm)).max(touch);
                (touch * touch, far * far)
            });
            Pair { coulomb: COULOMB * charge_product, a, b, apart, far }
        }));
    }
}

/// Generalised-Born constants of an atom.
#[derive(Clone, Copy)]
pub struct Born<T> {
    /// ρ̃
    pub offset_radius: T,
    pub inverse_offset_radius: T,
    /// Radius of the descreening sphere.
    pub scaled_radius: T,
    pub inverse_radius: T,
    pub alpha: T,
    pub beta: T,
    pub gamma: T,
    /// f (ρ + probe)² ρ⁶ of the surface term.
    pub surface: T,
    /// ρ
    pub radius: T,
}

/// Neck constants of a pair of classes, for i and for j.
#[derive(Clone, Copy)]
pub struct NeckPair<T> {
    pub d0: T,
    pub m0: T,
}

/// The necks of all pairs of classes.
pub struct Necks<T> {
    pub classes: Vec<usize>,
    pub n_classes: usize,
    /// `[class][class]`: the neck that the second gives to the first.
    pub pairs: Vec<NeckPair<T>>,
    /// Added to both radii: the distance at which necks end.
    pub cutoff: T,
}

pub struct GeneralizedBorn<T> {
    pub atoms: Vec<Born<T>>,
    pub neck: Option<Necks<T>>,
    /// C/ε_in and C/ε_out.
    pub inner: T,
    pub outer: T,
    pub kappa: T,
    pub has_salt: bool,
    pub fills_engulfed: bool,
}

/// A pair whose interaction depends on λ.
pub struct AlchemicalPair<T> {
    pub atoms: [usize; 2],
    pub kind: AlchemicalInteraction<T>,
}

pub enum AlchemicalInteraction<T> {
    /// C qq λᵖ/r
    Coulomb { coulomb: T, power: usize },
    /// λ 4ε (1/w² − 1/w), w = ½ (1 − λ) + (r/σ)⁶
    SoftCore { inverse_sigma6: T, four_epsilon: T },
}

/// Interactions with a cutoff, pair by pair.
pub struct Cutoff<T> {
    pub charges: Vec<T>,
    pub half_sigma: Vec<T>,
    /// 2 √ε, whose products are 4 ε.
    pub epsilon: Vec<T>,
    /// Partners j > i that do not interact as their atoms, sorted.
    pub excluded: Vec<Vec<usize>>,
    pub exceptions: Vec<(usize, usize, Pair<T>)>,
    pub square: T,
    pub reaction_field: T,
    pub shift: T,
    /// Box lengths and their inverses.
    pub cell: Option<[[T; 2]; 3]>,
    /// Begin and 1/(end − begin) of the switching of Lennard-Jones.
    pub switching: Option<[T; 2]>,
    /// The mean Lennard-Jones energy beyond the cutoff in kJ/mol.
    pub beyond: f64,
}

/// Everything in one precision.
pub struct Tables<T> {
    pub n_atoms: usize,
    pub bonds: Vec<Bond<T>>,
    pub angles: Vec<Angle<T>>,
    pub torsions: Vec<Torsion<T>>,
    pub pairs: Pairs<T>,
    pub cutoff: Option<Cutoff<T>>,
    /// Whether non-bonded interactions are computed frame by frame, by `Periodic`, and not here.
    pub is_periodic: bool,
    pub born: Option<GeneralizedBorn<T>>,
    /// Charges in the generalised-Born energy.
    pub born_charges: Vec<T>,
    /// Atoms whose charges λ multiplies, if that is the path.
    pub scaled: Option<Vec<bool>>,
    pub alchemical: Vec<AlchemicalPair<T>>,
}

impl<T: Copy> Tables<T> {
    pub fn new<L: Lane<Scalar = T>>(parameters: &Parameters, path: &AlchemicalPath) -> Result<Self> {
        let t = L::scalar;
        let bonds = (parameters.bonds.iter())
            .map(|bond| Bond { atoms: bond.atoms, length: t(bond.length_nm), stiffness: t(bond.stiffness) })
            .collect();
        let angles = (parameters.angles.iter())
            .map(|angle| Angle {
                atoms: angle.atoms,
                angle: t(angle.angle_rad),
                stiffness: t(angle.stiffness),
            })
            .collect();
        let mut tables = Self {
            n_atoms: parameters.n_atoms(),
            bonds,
            angles,
            torsions: torsions::<L>(parameters),
            pairs: Pairs::new(parameters, path),
            cutoff: None,
            is_periodic: false,
            born: None,
            born_charges: Vec::new(),
            scaled: None,
            alchemical: Vec::new(),
        };
        let selected = path.selected(parameters.n_atoms());
        match parameters.nonbonded.method {
            NonbondedMethod::NoCutoff if tables.pairs.makes_rows => {}
            NonbondedMethod::NoCutoff => tables.add_pairs::<L>(path, &selected),
            method => {
                let is_ewald = matches!(method, NonbondedMethod::ParticleMeshEwald { .. });
                let found = if is_ewald { "particle-mesh Ewald" } else { "a reaction field" };
                if parameters.implicit_solvent.is_some() {
                    let expected = "no cutoff together with generalised Born";
                    return Err(Error::invalid("non-bonded method", expected, found));
                }
                if !matches!(path, AlchemicalPath::None) {
                    return Err(Error::invalid("alchemical path", "interactions without cutoff", found));
                }
                // Lanes see all pairs: in single precision that is faster where the box is small.
                let in_lanes = match method {
                    NonbondedMethod::ReactionField { periodic, .. } => {
                        !periodic || (L::SINGLE && is_small_and_rectangular(parameters))
                    }
                    _ => false,
                };
                if in_lanes {
                    tables.cutoff = Some(cutoff::<L>(parameters)?);
                } else {
                    tables.is_periodic = true;
                }
            }
        }
        tables.add_born::<L>(parameters, path, selected);
        Ok(tables)
    }

    fn add_pairs<L: Lane<Scalar = T>>(&mut self, path: &AlchemicalPath, selected: &[bool]) {
        let t = L::scalar;
        let n = self.n_atoms;
        let mut stored = Vec::with_capacity(n * (n.saturating_sub(1)) / 2);
        let mut row = Vec::with_capacity(n);
        for i in 0..n {
            self.pairs.recipe.row(i, &mut row);
            for (j, pair) in (i + 1..n).zip(&mut row) {
                let n_selected = usize::from(selected[i]) + usize::from(selected[j]);
                match path {
                    AlchemicalPath::Charges { .. } if n_selected > 0 && pair.coulomb != 0.0 => {
                        let coulomb = t(std::mem::take(&mut pair.coulomb));
                        let kind = AlchemicalInteraction::Coulomb { coulomb, power: n_selected };
                        self.alchemical.push(AlchemicalPair { atoms: [i, j], kind });
                    }
                    AlchemicalPath::SoftCore { within, .. }
                        if (n_selected == 1 || (n_selected == 2 && *within))
                            && pair.a > 0.0
                            && pair.b > 0.0 =>
                    {
                        let kind = AlchemicalInteraction::SoftCore {
                            inverse_sigma6: t(pair.b / pair.a),
                            four_epsilon: t(pair.b * pair.b / pair.a),
                        };
                        (pair.a, pair.b) = (0.0, 0.0);
                        self.alchemical.push(AlchemicalPair { atoms: [i, j], kind });
                    }
                    _ => {}
                }
                stored.push(pair.rounded(t));
            }
        }
        self.pairs.stored = stored;
    }

    fn add_born<L: Lane<Scalar = T>>(
        &mut self,
        parameters: &Parameters,
        path: &AlchemicalPath,
        selected: Vec<bool>,
    ) {
        let t = L::scalar;
        if matches!(path, AlchemicalPath::Charges { .. }) {
            self.scaled = Some(selected);
        }
        let Some(solvent) = &parameters.implicit_solvent else { return };
        let surface = |radius: f64| {
            solvent.surface_area.map_or(0.0, |area| {
                area.factor * (radius + area.probe_nm) * (radius + area.probe_nm) * radius.powi(6)
            })
        };
        let atoms = (solvent.atoms.iter())
            .map(|atom| Born {
                offset_radius: t(atom.offset_radius_nm),
                inverse_offset_radius: t(1.0 / atom.offset_radius_nm),
                scaled_radius: t(atom.scaled_radius_nm),
                inverse_radius: t(1.0 / atom.radius_nm),
                alpha: t(atom.alpha),
                beta: t(atom.beta),
                gamma: t(atom.gamma),
                surface: t(surface(atom.radius_nm)),
                radius: t(atom.radius_nm),
            })
            .collect();
        let neck = solvent.neck.as_ref().map(|neck| {
            let pairs = (neck.d0_nm.iter().zip(&neck.m0_per_nm))
                .map(|(d0, m0)| NeckPair { d0: t(*d0), m0: t(m0 * neck.scale) })
                .collect();
            Necks {
                classes: neck.classes.clone(),
                n_classes: neck.n_classes,
                pairs,
                cutoff: t(neck.cutoff_nm),
            }
        });
        self.born_charges = solvent.atoms.iter().map(|atom| t(atom.charge)).collect();
        self.born = Some(GeneralizedBorn {
            atoms,
            neck,
            inner: t(solvent.coulomb / solvent.solute_dielectric),
            outer: t(solvent.coulomb / solvent.solvent_dielectric),
            kappa: t(solvent.kappa_per_nm),
            has_salt: solvent.kappa_per_nm != 0.0,
            fills_engulfed: solvent.fills_engulfed,
        });
    }
}

fn sorted(atoms: [usize; 2]) -> [usize; 2] {
    [atoms[0].min(atoms[1]), atoms[0].max(atoms[1])]
}

/// A = 4 ε σ¹² and B = 4 ε σ⁶.
fn powers(sigma: f64, epsilon: f64) -> (f64, f64) {
    let sixth = sigma.powi(6);
    (4.0 * epsilon * sixth * sixth, 4.0 * epsilon * sixth)
}

fn lennard_jones(nonbonded: &Nonbonded, i: usize, j: usize) -> (f64, f64) {
    match &nonbonded.pair_table {
        Some(table) => {
            let at = table.types[i] * table.n_types + table.types[j];
            (table.a[at], table.b[at])
        }
        None => powers(
            0.5 * (nonbonded.sigma_nm[i] + nonbonded.sigma_nm[j]),
            (nonbonded.epsilon[i] * nonbonded.epsilon[j]).sqrt(),
        ),
    }
}

/// Gathers the torsions of the same four atoms, in the order of their first appearance.
fn torsions<L: Lane>(parameters: &Parameters) -> Vec<Torsion<L::Scalar>> {
    let mut order = std::collections::HashMap::new();
    let mut gathered: Vec<([usize; 4], f64, Vec<[f64; 2]>)> = Vec::new();
    let mut add = |atoms: [usize; 4], constant: f64, terms: &[(usize, [f64; 2])]| {
        let idx = *order.entry(atoms).or_insert_with(|| {
            gathered.push((atoms, 0.0, Vec::new()));
            gathered.len() - 1
        });
        let (_, sum, series) = &mut gathered[idx];
        *sum += constant;
        for &(n, [a, b]) in terms {
            if series.len() < n {
                series.resize(n, [0.0; 2]);
            }
            series[n - 1][0] += a;
            series[n - 1][1] += b;
        }
    };
    for torsion in &parameters.torsions {
        let (sin, cos) = torsion.phase_rad.sin_cos();
        let term = [torsion.barrier * cos, torsion.barrier * sin];
        add(torsion.atoms, torsion.barrier, &[(torsion.periodicity as usize, term)]);
    }
    for torsion in &parameters.ryckaert_bellemans {
        // cos ψ = −cos φ; powers of cos φ as sums of cos nφ.
        let c: [f64; 6] =
            std::array::from_fn(|n| torsion.coefficients[n] * if n % 2 == 1 { -1.0 } else { 1.0 });
        let cosines = [
            c[1] + 0.75 * c[3] + 0.625 * c[5],
            0.5 * c[2] + 0.5 * c[4],
            0.25 * c[3] + 0.3125 * c[5],
            0.125 * c[4],
            0.0625 * c[5],
        ];
        let terms: Vec<_> = (1..).zip(cosines.map(|a| [a, 0.0])).collect();
        add(torsion.atoms, c[0] + 0.5 * c[2] + 0.375 * c[4], &terms);
    }
    (gathered.into_iter())
        .filter(|(_, constant, series)| *constant != 0.0 || series.iter().any(|term| *term != [0.0; 2]))
        .map(|(atoms, constant, series)| Torsion {
            atoms,
            constant: L::scalar(constant),
            series: series.into_iter().map(|term| term.map(L::scalar)).collect(),
        })
        .collect()
}

/// Whether the box has right angles and at most 3000 atoms, above which a list of cells is faster.
fn is_small_and_rectangular(parameters: &Parameters) -> bool {
    parameters.n_atoms() <= 3000
        && parameters
            .box_vectors_nm
            .is_some_and(|vectors| (0..3).all(|i| (0..3).all(|j| i == j || vectors[i][j] == 0.0)))
}

fn cutoff<L: Lane>(parameters: &Parameters) -> Result<Cutoff<L::Scalar>> {
    let t = L::scalar;
    let nonbonded = &parameters.nonbonded;
    let NonbondedMethod::ReactionField {
        cutoff_nm,
        dielectric,
        periodic,
        switching_nm,
        dispersion_correction,
    } = nonbonded.method
    else {
        unreachable!("called for reaction fields only")
    };
    if nonbonded.pair_table.is_some() {
        return Err(Error::invalid(
            "non-bonded method",
            "no cutoff with pair-specific Lennard-Jones",
            "a cutoff",
        ));
    }
    let cell = match (periodic, parameters.box_vectors_nm) {
        (false, _) => None,
        (true, None) => {
            return Err(Error::invalid("periodic cutoff", "a box", "none"));
        }
        (true, Some(vectors)) => {
            let skewed = (0..3).any(|i| (0..3).any(|j| i != j && vectors[i][j] != 0.0));
            let lengths = [vectors[0][0], vectors[1][1], vectors[2][2]];
            if skewed || lengths.iter().any(|length| *length < 2.0 * cutoff_nm) {
                let expected = format!("a rectangular box at least twice the cutoff of {cutoff_nm} nm wide");
                return Err(Error::invalid("box of a periodic cutoff", expected, format!("{vectors:?} nm")));
            }
            Some(lengths.map(|length| [t(length), t(1.0 / length)]))
        }
    };
    let beyond = match parameters.box_vectors_nm {
        Some([a, b, c]) if periodic && dispersion_correction => {
            dispersion(nonbonded, cutoff_nm, switching_nm) / (a[0] * b[1] * c[2])
        }
        _ => 0.0,
    };
    let mut excluded = vec![Vec::new(); parameters.n_atoms()];
    let mut exceptions = Vec::new();
    for exception in &nonbonded.exceptions {
        let [i, j] = sorted(exception.atoms);
        excluded[i].push(j);
        if exception.charge_product != 0.0 || exception.epsilon != 0.0 {
            let (a, b) = powers(exception.sigma_nm, exception.epsilon);
            let coulomb = t(COULOMB * exception.charge_product);
            let pair = Pair { coulomb, a: t(a), b: t(b), apart: t(0.0), far: t(0.0) };
            exceptions.push((i, j, pair));
        }
    }
    excluded.iter_mut().for_each(|partners| partners.sort_unstable());
    // Tironi et al. 1995: the field vanishes at the cutoff for an infinite dielectric.
    let field = (dielectric - 1.0) / (2.0 * dielectric + 1.0) / cutoff_nm.powi(3);
    let shift = 3.0 * dielectric / (2.0 * dielectric + 1.0) / cutoff_nm;
    let root = COULOMB.sqrt();
    Ok(Cutoff {
        charges: nonbonded.charges.iter().map(|q| t(root * q)).collect(),
        half_sigma: nonbonded.sigma_nm.iter().map(|sigma| t(0.5 * sigma)).collect(),
        epsilon: nonbonded.epsilon.iter().map(|epsilon| t(2.0 * epsilon.sqrt())).collect(),
        excluded,
        exceptions,
        square: t(cutoff_nm * cutoff_nm),
        reaction_field: t(field),
        shift: t(shift),
        cell,
        switching: switching_nm.map(|begin| [t(begin), t(1.0 / (cutoff_nm - begin))]),
        beyond,
    })
}
