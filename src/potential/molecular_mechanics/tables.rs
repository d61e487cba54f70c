//! Parameters as the kernels want them: one precision, one record per interaction, in the order of use.

use super::AlchemicalPath;
use super::lane::Lane;
use crate::error::{Error, Result};
use crate::force_field::parameters::{COULOMB, NonbondedMethod, Parameters};

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
}

/// Everything in one precision.
pub struct Tables<T> {
    pub n_atoms: usize,
    pub bonds: Vec<Bond<T>>,
    pub angles: Vec<Angle<T>>,
    pub torsions: Vec<Torsion<T>>,
    /// Rows i of pairs i < j, one after the other; empty with a cutoff.
    pub pairs: Vec<Pair<T>>,
    pub cutoff: Option<Cutoff<T>>,
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
            pairs: Vec::new(),
            cutoff: None,
            born: None,
            born_charges: Vec::new(),
            scaled: None,
            alchemical: Vec::new(),
        };
        let selected = path.selected(parameters.n_atoms());
        match parameters.nonbonded.method {
            NonbondedMethod::NoCutoff => tables.add_pairs::<L>(parameters, path, &selected),
            NonbondedMethod::ReactionField { .. } => {
                if parameters.implicit_solvent.is_some() {
                    return Err(Error::invalid(
                        "non-bonded method",
                        "no cutoff together with generalised Born",
                        "a reaction field",
                    ));
                }
                if !matches!(path, AlchemicalPath::None) {
                    return Err(Error::invalid(
                        "alchemical path",
                        "interactions without cutoff",
                        "a reaction field",
                    ));
                }
                tables.cutoff = Some(cutoff::<L>(parameters)?);
            }
            NonbondedMethod::ParticleMeshEwald { .. } => {
                return Err(Error::invalid(
                    "non-bonded method",
                    "no cutoff, or a cutoff with reaction field",
                    "particle-mesh Ewald, which this version does not compute",
                ));
            }
        }
        tables.add_born::<L>(parameters, path, selected);
        Ok(tables)
    }

    fn add_pairs<L: Lane<Scalar = T>>(
        &mut self,
        parameters: &Parameters,
        path: &AlchemicalPath,
        selected: &[bool],
    ) {
        let t = L::scalar;
        let (n, nonbonded) = (self.n_atoms, &parameters.nonbonded);
        let exceptions: std::collections::HashMap<[usize; 2], usize> = (nonbonded.exceptions.iter())
            .enumerate()
            .map(|(idx, exception)| (sorted(exception.atoms), idx))
            .collect();
        let born = parameters.implicit_solvent.as_ref().map(|solvent| &solvent.atoms);
        self.pairs.reserve(n * (n.saturating_sub(1)) / 2);
        for i in 0..n {
            for j in i + 1..n {
                let exception = exceptions.get(&[i, j]).map(|&idx| &nonbonded.exceptions[idx]);
                let charge_product =
                    exception.map_or(nonbonded.charges[i] * nonbonded.charges[j], |e| e.charge_product);
                let (a, b) = match exception {
                    Some(e) => powers(e.sigma_nm, e.epsilon),
                    None => lennard_jones(nonbonded, i, j),
                };
                let mut pair = [COULOMB * charge_product, a, b];
                let n_selected = usize::from(selected[i]) + usize::from(selected[j]);
                match path {
                    AlchemicalPath::Charges { .. } if n_selected > 0 && pair[0] != 0.0 => {
                        let coulomb = t(std::mem::take(&mut pair[0]));
                        let kind = AlchemicalInteraction::Coulomb { coulomb, power: n_selected };
                        self.alchemical.push(AlchemicalPair { atoms: [i, j], kind });
                    }
                    AlchemicalPath::SoftCore { within, .. }
                        if (n_selected == 1 || (n_selected == 2 && *within)) && a > 0.0 && b > 0.0 =>
                    {
                        let kind = AlchemicalInteraction::SoftCore {
                            inverse_sigma6: t(b / a),
                            four_epsilon: t(b * b / a),
                        };
                        (pair[1], pair[2]) = (0.0, 0.0);
                        self.alchemical.push(AlchemicalPair { atoms: [i, j], kind });
                    }
                    _ => {}
                }
                let (apart, far) = born.map_or((0.0, 0.0), |atoms| {
                    let (p, q) = (&atoms[i], &atoms[j]);
                    let touch = (p.offset_radius_nm + q.scaled_radius_nm)
                        .max(q.offset_radius_nm + p.scaled_radius_nm)
                        .max(p.scaled_radius_nm.max(q.scaled_radius_nm) / 0.6);
                    let far = (4.0 * p.scaled_radius_nm.max(q.scaled_radius_nm)).max(touch);
                    (touch * touch, far * far)
                });
                let [coulomb, a, b] = pair.map(t);
                self.pairs.push(Pair { coulomb, a, b, apart: t(apart), far: t(far) });
            }
        }
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

fn lennard_jones(nonbonded: &crate::force_field::parameters::Nonbonded, i: usize, j: usize) -> (f64, f64) {
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

fn cutoff<L: Lane>(parameters: &Parameters) -> Result<Cutoff<L::Scalar>> {
    let t = L::scalar;
    let nonbonded = &parameters.nonbonded;
    let NonbondedMethod::ReactionField { cutoff_nm, dielectric, periodic, switching_nm } = nonbonded.method
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
    })
}
