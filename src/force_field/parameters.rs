//! The parameters of a molecular-mechanics energy, whoever wrote them.
//!
//! Units: nm, kJ/mol, rad, elementary charges, Da. Conventions, in which programs differ:
//!
//! - bonds and angles are ½ k (r − r₀)², as in OpenMM and GROMACS (AMBER files store k without the ½);
//! - torsions are k (1 + cos(n φ − φ₀)); impropers are torsions;
//! - Lennard-Jones is 4 ε ((σ/r)¹² − (σ/r)⁶);
//! - Ryckaert–Bellemans is Σ cₙ cosⁿ(φ − 180°), φ = 180° being trans (IUPAC), as in OpenMM.

use crate::system::Topology;

/// Coulomb's constant in kJ nm/(mol e²) of Lennard-Jones and Coulomb interactions, as in OpenMM 8.
pub const COULOMB: f64 = 138.935_457_644_381_98;

/// The constant in the generalised-Born expressions that OpenMM writes for OBC1 and GBn2.
pub const COULOMB_CUSTOM_GB: f64 = 138.935_485;

/// The largest θ₀ of an angle in rad: π as files round it.
pub const LARGEST_ANGLE_RAD: f64 = 1.000_001 * std::f64::consts::PI;

/// Everything that determines the energy of a conformation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    /// The atoms; their masses are those of dynamics.
    pub topology: Topology,
    /// Harmonic bonds.
    pub bonds: Vec<HarmonicBond>,
    /// Harmonic angles.
    pub angles: Vec<HarmonicAngle>,
    /// Periodic torsions, proper and improper.
    pub torsions: Vec<PeriodicTorsion>,
    /// Torsions as polynomials of a cosine.
    pub ryckaert_bellemans: Vec<RyckaertBellemansTorsion>,
    /// The tables to which [`Cmap::grid`] points.
    pub cmap_grids: Vec<CmapGrid>,
    /// Corrections for pairs of torsions.
    pub cmaps: Vec<Cmap>,
    /// Lennard-Jones and Coulomb.
    pub nonbonded: Nonbonded,
    /// Generalised Born and surface area; none: vacuum.
    pub implicit_solvent: Option<ImplicitSolvent>,
    /// Distances that the file itself holds fixed (a serialised System may).
    pub constraints: Vec<DistanceConstraint>,
    /// Box vectors in nm, rows a, b, c, where the file has a box.
    pub box_vectors_nm: Option<[[f64; 3]; 3]>,
}

/// U = ½ k (r − r₀)².
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HarmonicBond {
    /// The two atoms.
    pub atoms: [usize; 2],
    /// r₀ in nm.
    pub length_nm: f64,
    /// k in kJ/(mol nm²).
    pub stiffness: f64,
}

/// U = ½ k (θ − θ₀)².
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HarmonicAngle {
    /// The three atoms, the apex in the middle.
    pub atoms: [usize; 3],
    /// θ₀ in rad.
    pub angle_rad: f64,
    /// k in kJ/(mol rad²).
    pub stiffness: f64,
}

/// U = k (1 + cos(n φ − φ₀)).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeriodicTorsion {
    /// The four atoms; φ is the IUPAC dihedral angle about the middle pair.
    pub atoms: [usize; 4],
    /// n, at least 1.
    pub periodicity: u32,
    /// φ₀ in rad.
    pub phase_rad: f64,
    /// k in kJ/mol, of either sign.
    pub barrier: f64,
}

/// U = Σ cₙ cosⁿ ψ, ψ = φ − 180°.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RyckaertBellemansTorsion {
    /// The four atoms.
    pub atoms: [usize; 4],
    /// c₀ … c₅ in kJ/mol.
    pub coefficients: [f64; 6],
}

/// A correction U(φ, ψ) for two torsions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cmap {
    /// Atoms of φ.
    pub first: [usize; 4],
    /// Atoms of ψ.
    pub second: [usize; 4],
    /// Index of the table.
    pub grid: usize,
}

/// Energies on a regular periodic grid of two angles.
#[derive(Debug, Clone, PartialEq)]
pub struct CmapGrid {
    /// Points along each angle.
    pub size: usize,
    /// kJ/mol; value `i + size * j` stands at φ = 2π i/size, ψ = 2π j/size (angles from 0, as in OpenMM).
    pub energies: Vec<f64>,
}

/// Lennard-Jones and Coulomb between all pairs but the exceptions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Nonbonded {
    /// e
    pub charges: Vec<f64>,
    /// σ in nm; combined as arithmetic means.
    pub sigma_nm: Vec<f64>,
    /// ε in kJ/mol; combined as geometric means.
    pub epsilon: Vec<f64>,
    /// Where pairs of types have their own values (NBFIX), instead of `sigma_nm` and `epsilon`.
    pub pair_table: Option<PairTable>,
    /// Pairs with their own parameters: exclusions (all zero) and scaled 1-4 interactions.
    pub exceptions: Vec<Exception>,
    /// What happens at long distance.
    pub method: NonbondedMethod,
}

/// Lennard-Jones parameters by pairs of types: U = A/r¹² − B/r⁶.
#[derive(Debug, Clone, PartialEq)]
pub struct PairTable {
    /// Type of each atom.
    pub types: Vec<usize>,
    /// Number of types.
    pub n_types: usize,
    /// A in kJ nm¹²/mol, `[type][type]`.
    pub a: Vec<f64>,
    /// B in kJ nm⁶/mol.
    pub b: Vec<f64>,
}

/// A pair whose interaction is not the combination of its atoms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exception {
    /// The two atoms.
    pub atoms: [usize; 2],
    /// q₁ q₂, scaled, in e².
    pub charge_product: f64,
    /// σ in nm.
    pub sigma_nm: f64,
    /// ε in kJ/mol, scaled.
    pub epsilon: f64,
}

/// What happens to pairs at long distance.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum NonbondedMethod {
    /// All pairs interact.
    #[default]
    NoCutoff,
    /// Coulomb with a reaction field, qq (1/r + k_rf r² − c_rf), and Lennard-Jones up to the cutoff
    /// (Tironi et al. 1995); exceptions without cutoff or reaction field.
    ReactionField {
        /// nm
        cutoff_nm: f64,
        /// Dielectric constant beyond the cutoff.
        dielectric: f64,
        /// Whether nearest images are taken in the box.
        periodic: bool,
        /// Where Lennard-Jones begins to be switched off, in nm.
        switching_nm: Option<f64>,
        /// Whether the mean Lennard-Jones energy beyond the cutoff is added; in a box only.
        dispersion_correction: bool,
    },
    /// Particle-mesh Ewald in the box (Essmann et al. 1995), and Lennard-Jones up to the cutoff.
    ParticleMeshEwald {
        /// nm
        cutoff_nm: f64,
        /// Relative error of the forces that is aimed at; says nothing where `splitting` is given.
        tolerance: f64,
        /// Where Lennard-Jones begins to be switched off, in nm.
        switching_nm: Option<f64>,
        /// Whether the mean Lennard-Jones energy beyond the cutoff is added.
        dispersion_correction: bool,
        /// What is summed where; none: follows from cutoff and tolerance.
        splitting: Option<EwaldSplitting>,
    },
}

/// The two parts of an Ewald sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EwaldSplitting {
    /// α: the direct sum is erfc(α r)/r, in 1/nm.
    pub alpha_per_nm: f64,
    /// Mesh points along the box vectors.
    pub mesh: [usize; 3],
}

/// Generalised Born: U = −½ C (1/ε_in − 1/ε_out) Σᵢⱼ qᵢ qⱼ / f(rᵢⱼ), f = √(r² + BᵢBⱼ exp(−r²/4BᵢBⱼ)),
/// 1/Bᵢ = 1/ρ̃ᵢ − tanh(α ψ − β ψ² + γ ψ³)/ρᵢ with ψ = Iᵢ ρ̃ᵢ and Iᵢ the pairwise descreening integral of
/// Hawkins, Cramer and Truhlar 1996 (Onufriev, Bashford and Case 2004; Nguyen, Roe and Simmerling 2013).
#[derive(Debug, Clone, PartialEq)]
pub struct ImplicitSolvent {
    /// The name of the model; what is computed stands in the numbers below.
    pub model: GeneralizedBorn,
    /// ε_in
    pub solute_dielectric: f64,
    /// ε_out
    pub solvent_dielectric: f64,
    /// Inverse Debye length in 1/nm: 1/ε_out becomes exp(−κ f)/ε_out.
    pub kappa_per_nm: f64,
    /// C in kJ nm/(mol e²).
    pub coulomb: f64,
    /// One entry per atom.
    pub atoms: Vec<BornAtom>,
    /// The neck correction of GBn2.
    pub neck: Option<Neck>,
    /// The nonpolar term; none: off.
    pub surface_area: Option<SurfaceArea>,
    /// Whether an atom that lies inside another one's sphere gets its full integral, as OpenMM's
    /// `GBSAOBCForce` does and its custom expressions do not; matters for overlapping atoms only.
    pub fills_engulfed: bool,
}

/// The published generalised-Born models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneralizedBorn {
    /// Onufriev, Bashford and Case 2004, set I (`igb = 2`).
    Obc1,
    /// The same, set II (`igb = 5`).
    Obc2,
    /// Nguyen, Roe and Simmerling 2013 (`igb = 8`).
    Gbn2,
}

/// What generalised Born knows about an atom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BornAtom {
    /// e
    pub charge: f64,
    /// ρ, the intrinsic radius, in nm.
    pub radius_nm: f64,
    /// ρ̃ = ρ − offset in nm.
    pub offset_radius_nm: f64,
    /// s ρ̃ in nm: the sphere with which this atom descreens others.
    pub scaled_radius_nm: f64,
    /// α
    pub alpha: f64,
    /// β, to be subtracted: tanh(α ψ − β ψ² + γ ψ³).
    pub beta: f64,
    /// γ
    pub gamma: f64,
}

/// The neck integral of GBn2: m₀/(1 + 100 (r − d₀)² + 3·10⁵ (r − d₀)⁶) for r < ρᵢ + ρⱼ + cutoff.
#[derive(Debug, Clone, PartialEq)]
pub struct Neck {
    /// Class of each atom.
    pub classes: Vec<usize>,
    /// Number of classes.
    pub n_classes: usize,
    /// d₀ in nm, of atom i (descreened) of class p and j of class q, as `d0[p * n_classes + q]`.
    pub d0_nm: Vec<f64>,
    /// m₀ in 1/nm, the same order.
    pub m0_per_nm: Vec<f64>,
    /// Factor of the neck integral.
    pub scale: f64,
    /// nm
    pub cutoff_nm: f64,
}

/// The ACE approximation: U = f Σ (ρ + probe)² (ρ/B)⁶ (Schaefer, Bartels and Karplus 1998).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SurfaceArea {
    /// f = 4π times the surface tension, in kJ/(mol nm²).
    pub factor: f64,
    /// nm
    pub probe_nm: f64,
}

/// A distance that dynamics holds fixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DistanceConstraint {
    /// The two atoms.
    pub atoms: [usize; 2],
    /// nm
    pub length_nm: f64,
}

impl Parameters {
    /// How many atoms.
    pub fn n_atoms(&self) -> usize {
        self.topology.n_atoms()
    }
}
