//! Energies that count how often they are asked.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::potential::{PotentialPath, ReducedPotential, Space};

/// An energy or a path with the number of conformations that it was evaluated on, with gradient or without.
pub struct Counted<'a, P: ?Sized> {
    inner: &'a P,
    n_evaluations: AtomicU64,
}

impl<'a, P: ?Sized> Counted<'a, P> {
    /// Counts from zero.
    pub fn new(inner: &'a P) -> Self {
        Self { inner, n_evaluations: AtomicU64::new(0) }
    }

    /// Conformations so far.
    pub fn n_evaluations(&self) -> u64 {
        self.n_evaluations.load(Ordering::Relaxed)
    }

    fn add(&self, n: usize) {
        self.n_evaluations.fetch_add(n as u64, Ordering::Relaxed);
    }
}

impl<P: ReducedPotential + ?Sized> ReducedPotential for Counted<'_, P> {
    fn space(&self) -> Space {
        self.inner.space()
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        self.add(u.len());
        self.inner.energies(x, u)
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        self.add(u.len());
        self.inner.energies_and_gradients(x, u, gradient)
    }
}

impl<P: PotentialPath + ?Sized> PotentialPath for Counted<'_, P> {
    fn space(&self) -> Space {
        self.inner.space()
    }

    fn range(&self) -> (f64, f64) {
        self.inner.range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        self.add(u.len());
        self.inner.energies(lambda, x, u)
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        self.add(u.len());
        self.inner.energies_and_gradients(lambda, x, u, gradient)
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        self.add(du_dlambda.len());
        self.inner.lambda_derivatives(lambda, x, du_dlambda)
    }
}
