//! Estimates with errors and diagnostics.
//!
//! A [`ReducedEnergies`] matrix u_kn goes into [`Mbar`] (or, for two states, into [`bennett`]); the
//! weights that come out make averages and a [`pmf::Pmf`]. [`thermodynamic_integration`] is the road
//! that needs only ∂u/∂λ. [`agreement`] says whether the roads meet. All energies are in kT.

pub mod agreement;
pub mod alchemical;
pub mod bennett;
pub mod bootstrap;
pub mod cumulants;
pub mod estimate;
pub mod exponential_averaging;
pub mod mbar;
pub mod nonequilibrium;
pub mod pmf;
pub mod reader;
pub mod reduced_energies;
pub mod reweighting;
pub mod strata;
pub mod thermodynamic_integration;
pub mod umbrella;
pub mod weights;
pub mod wham;

pub use agreement::Agreement;
pub use estimate::Estimate;
pub use mbar::Mbar;
pub use reduced_energies::ReducedEnergies;
pub use strata::Strata;
