//! Energies as functions of coordinates: U(x) in kJ/mol, u(x) = U/kT, and paths u_λ(x).
//!
//! Samplers and estimators know energies only through [`ReducedPotential`] and [`PotentialPath`]:
//! temperature, an alchemical λ and the diffusion time of a learned model are the same kind of
//! thing. All calls are over batches: `x` holds conformations one after the other, each
//! `space().dimension()` numbers, `[conformation][particle][xyz]` for molecules.

pub mod analytic;
mod composition;
mod geometric;
pub mod molecular_mechanics;
pub mod noise;
mod rescaled;
mod restraint;
mod restricted;
mod route;
mod sequence;
mod space;

pub use composition::{Guided, Mixture, Product};
pub use geometric::GeometricPath;
pub use molecular_mechanics::{
    AlchemicalPath, AtTemperature, MolecularMechanics, Precision, TemperaturePath, TermEnergies,
};
pub use noise::Noise;
pub use rescaled::Rescaled;
pub use restraint::{Restraint, Restraints};
pub use restricted::Restricted;
pub use route::Route;
pub use sequence::{Piece, Sequence};
pub use space::Space;

use crate::error::Result;

/// A reduced energy u(x) in kT, defined up to a constant; the law is exp(−u) on its space.
pub trait ReducedPotential: Sync {
    /// The space on which exp(−u) is a density.
    fn space(&self) -> Space;

    /// u in kT for each conformation.
    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()>;

    /// u in kT and ∂u/∂x for each conformation; on a centred space the gradient has no net component.
    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()>;
}

/// A family u_λ(x), differentiable in λ: each conformation of a batch has its own λ.
pub trait PotentialPath: Sync {
    /// The space on which every exp(−u_λ) is a density.
    fn space(&self) -> Space;

    /// The closed interval of λ.
    fn range(&self) -> (f64, f64);

    /// u_λ in kT; `lambda` and `u` have one entry per conformation.
    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()>;

    /// u_λ in kT and ∂u/∂x.
    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()>;

    /// ∂u/∂λ at fixed x, in kT per unit of λ.
    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()>;
}

/// Conformations of a block of [`BlockPotential`], side by side.
pub const LANES: usize = 16;

/// An energy in kJ/mol of [`LANES`] conformations at once, `[atom][xyz][lane]`: what dynamics calls.
///
/// One SIMD register holds the same coordinate of several conformations, so everything runs over
/// contiguous memory and nothing is allocated. Each lane has its own λ.
pub trait BlockPotential: Sync {
    /// How many atoms.
    fn n_atoms(&self) -> usize;

    /// Memory for one block; every thread needs its own.
    fn workspace(&self) -> BlockWorkspace;

    /// U in kJ/mol and forces −∂U/∂x in kJ/(mol nm) of a block.
    ///
    /// `x` in nm and `forces` have `n_atoms × 3 × LANES` numbers. An energy that is not finite is
    /// reported as it is.
    fn energies_and_forces(
        &self,
        lambda: &[f64; LANES],
        x: &[f64],
        energies: &mut [f64; LANES],
        forces: &mut [f64],
        workspace: &mut BlockWorkspace,
    );
}

/// Scratch memory of a [`BlockPotential`], opaque to its callers.
pub struct BlockWorkspace(pub Box<dyn std::any::Any + Send>);

/// One λ of a path, as a potential.
pub struct AtLambda<'a, P: PotentialPath + ?Sized> {
    /// The path.
    pub path: &'a P,
    /// Where on it.
    pub lambda: f64,
}

impl<P: PotentialPath + ?Sized> ReducedPotential for AtLambda<'_, P> {
    fn space(&self) -> Space {
        self.path.space()
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        self.path.energies(&vec![self.lambda; u.len()], x, u)
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        self.path.energies_and_gradients(&vec![self.lambda; u.len()], x, u, gradient)
    }
}

/// log Σ exp(x), without overflow; −∞ for an empty or vanishing sum.
///
/// Works on differences from the largest term: reduced energies of clashing conformations reach
/// 1e5, where `exp` alone is already infinite.
pub fn log_sum_exp(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_infinite() {
        return largest;
    }
    largest + values.iter().map(|value| (value - largest).exp()).sum::<f64>().ln()
}
