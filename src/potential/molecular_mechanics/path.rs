//! What λ and temperature do to a molecular-mechanics energy.

use serde::{Deserialize, Serialize};

use super::lane::Lane;
use super::{Factors, MolecularMechanics, Precision, TermEnergies};
use crate::error::{Error, Result};
use crate::force_field::parameters::Parameters;
use crate::potential::{PotentialPath, ReducedPotential, Space};
use crate::units::{GAS_CONSTANT, Temperature};

/// What λ multiplies; λ = 1 is the physical energy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AlchemicalPath {
    /// λ changes nothing.
    #[default]
    None,
    /// All charges of the generalised-Born energy: U = U₀ + λ² U_GB. Coulomb's law and the surface term stay.
    GbCharges,
    /// The whole implicit solvent, from the true vacuum: U = U₀ + λ² U_GB + λ U_surface.
    ImplicitSolvent,
    /// The charges of these atoms everywhere, 1-4 interactions and generalised Born included.
    Charges {
        /// Atoms, from 0.
        atoms: Vec<usize>,
    },
    /// Lennard-Jones of these atoms with all others, softened: λ 4ε (1/w² − 1/w), w = ½ (1 − λ) + (r/σ)⁶
    /// (Beutler et al. 1994).
    SoftCore {
        /// Atoms, from 0.
        atoms: Vec<usize>,
        /// Whether the interactions among the atoms themselves vanish as well.
        #[serde(default)]
        within: bool,
    },
}

impl AlchemicalPath {
    pub(super) fn check(&self, parameters: &Parameters) -> Result<()> {
        let n = parameters.n_atoms();
        let bad = |expected: String, found: String| Err(Error::invalid("alchemical path", expected, found));
        match self {
            Self::None => Ok(()),
            Self::GbCharges | Self::ImplicitSolvent if parameters.implicit_solvent.is_none() => {
                bad("an implicit solvent, which λ turns on".into(), "vacuum".into())
            }
            Self::GbCharges | Self::ImplicitSolvent => Ok(()),
            Self::Charges { atoms } | Self::SoftCore { atoms, .. } => {
                match atoms.iter().find(|atom| **atom >= n) {
                    Some(atom) => bad(format!("atoms from 0 to {}", n - 1), atom.to_string()),
                    None if atoms.is_empty() => bad("at least one atom".into(), "none".into()),
                    None => Ok(()),
                }
            }
        }
    }

    /// Which atoms it names.
    pub(super) fn selected(&self, n_atoms: usize) -> Vec<bool> {
        let mut selected = vec![false; n_atoms];
        if let Self::Charges { atoms } | Self::SoftCore { atoms, .. } = self {
            atoms.iter().for_each(|atom| selected[*atom] = true);
        }
        selected
    }

    #[inline(always)]
    pub(super) fn factors<L: Lane>(&self, lambda: &[f64]) -> Factors<L> {
        let one = L::constant(1.0);
        let lambda = L::from_f64(lambda);
        Factors {
            polar: if matches!(self, Self::GbCharges | Self::ImplicitSolvent) {
                lambda * lambda
            } else {
                one
            },
            surface: if matches!(self, Self::ImplicitSolvent) { lambda } else { one },
            charge: if matches!(self, Self::Charges { .. }) { lambda } else { one },
            lambda,
        }
    }
}

/// A molecular-mechanics energy at one temperature: u_λ(x) = U_λ(x)/kT with x in nm on the centred space.
///
/// As a [`ReducedPotential`] it is the physical state, λ = 1.
pub struct AtTemperature<'a> {
    /// U
    pub mechanics: &'a MolecularMechanics,
    /// T
    pub temperature: Temperature,
    /// Of energies and gradients.
    pub precision: Precision,
}

/// u = U/(R T(λ)) with T from the first temperature at λ = 0 to the last at λ = 1, geometrically; the
/// energy itself is the physical one.
pub struct TemperaturePath<'a> {
    /// U
    pub mechanics: &'a MolecularMechanics,
    /// T(0)
    pub first: Temperature,
    /// T(1)
    pub last: Temperature,
    /// Of energies and gradients.
    pub precision: Precision,
}

impl TemperaturePath<'_> {
    fn kt(&self, lambda: f64) -> f64 {
        let (first, last) = (self.first.as_kelvin(), self.last.as_kelvin());
        GAS_CONSTANT * first * (last / first).powf(lambda)
    }
}

fn totals(energies: &[TermEnergies], u: &mut [f64], kt: impl Fn(usize) -> f64) {
    for (idx, (u, terms)) in u.iter_mut().zip(energies).enumerate() {
        *u = terms.total() / kt(idx);
    }
}

/// Forces in kJ/(mol nm) become gradients in kT/nm.
fn gradients(gradient: &mut [f64], dimension: usize, kt: impl Fn(usize) -> f64) {
    for (idx, gradient) in gradient.chunks_exact_mut(dimension).enumerate() {
        let factor = -1.0 / kt(idx);
        gradient.iter_mut().for_each(|component| *component *= factor);
    }
}

impl PotentialPath for AtTemperature<'_> {
    fn space(&self) -> Space {
        Space::Centered { n_particles: self.mechanics.n_atoms() }
    }

    fn range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        let kt = GAS_CONSTANT * self.temperature.as_kelvin();
        totals(&self.mechanics.evaluate(self.precision, lambda, x, None), u, |_| kt);
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        let kt = GAS_CONSTANT * self.temperature.as_kelvin();
        totals(&self.mechanics.evaluate(self.precision, lambda, x, Some(gradient)), u, |_| kt);
        gradients(gradient, 3 * self.mechanics.n_atoms(), |_| kt);
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        let kt = GAS_CONSTANT * self.temperature.as_kelvin();
        for (slot, value) in du_dlambda.iter_mut().zip(self.mechanics.lambda_derivatives(lambda, x)) {
            *slot = value / kt;
        }
        Ok(())
    }
}

impl ReducedPotential for AtTemperature<'_> {
    fn space(&self) -> Space {
        PotentialPath::space(self)
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        PotentialPath::energies(self, &vec![1.0; u.len()], x, u)
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        PotentialPath::energies_and_gradients(self, &vec![1.0; u.len()], x, u, gradient)
    }
}

impl PotentialPath for TemperaturePath<'_> {
    fn space(&self) -> Space {
        Space::Centered { n_particles: self.mechanics.n_atoms() }
    }

    fn range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        totals(&self.mechanics.evaluate(self.precision, &[], x, None), u, |idx| self.kt(lambda[idx]));
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        let energies = self.mechanics.evaluate(self.precision, &[], x, Some(gradient));
        totals(&energies, u, |idx| self.kt(lambda[idx]));
        gradients(gradient, self.space().dimension(), |idx| self.kt(lambda[idx]));
        Ok(())
    }

    /// ∂u/∂λ = −u ln(T(1)/T(0)).
    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        self.energies(lambda, x, du_dlambda)?;
        let ratio = (self.last.as_kelvin() / self.first.as_kelvin()).ln();
        du_dlambda.iter_mut().for_each(|u| *u *= -ratio);
        Ok(())
    }
}
