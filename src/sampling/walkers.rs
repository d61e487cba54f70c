//! Many conformations that move side by side, each with its λ and its random stream.

use rayon::prelude::*;

use super::MIN_PER_TASK;
use crate::error::{Error, Result};
use crate::potential::{PotentialPath, Space};
use crate::random::{Purpose, Rng, Streams};

/// A batch of walkers with their energies and gradients, which belong to x and λ at all times.
#[derive(Debug, Clone)]
pub struct Walkers {
    space: Space,
    /// Positions, `[walker][coordinate]`.
    pub x: Vec<f64>,
    /// λ of each walker.
    pub lambda: Vec<f64>,
    /// u_λ(x) in kT.
    pub u: Vec<f64>,
    /// ∂u/∂x, projected onto the space.
    pub gradient: Vec<f64>,
    /// The stream of each walker.
    pub(super) rngs: Vec<Rng>,
    /// How many conformations have been evaluated, with or without gradient.
    pub n_energy_evaluations: u64,
}

impl Walkers {
    /// Places walkers and evaluates them; `lambda` has one entry per walker.
    pub fn new(
        path: &dyn PotentialPath,
        x: Vec<f64>,
        lambda: Vec<f64>,
        streams: &Streams,
        purpose: Purpose,
    ) -> Result<Self> {
        let rngs = (0..lambda.len()).map(|idx| streams.stream(purpose, idx as u64)).collect();
        Self::with_streams(path, x, lambda, rngs)
    }

    /// The same with streams that go on from where they are.
    pub(super) fn with_streams(
        path: &dyn PotentialPath,
        x: Vec<f64>,
        lambda: Vec<f64>,
        rngs: Vec<Rng>,
    ) -> Result<Self> {
        let space = path.space();
        if x.len() != lambda.len() * space.dimension() {
            return Err(Error::invalid(
                "positions of walkers",
                format!("{} × {} numbers", lambda.len(), space.dimension()),
                x.len().to_string(),
            ));
        }
        let n = lambda.len();
        let gradient = vec![0.0; x.len()];
        let u = vec![0.0; n];
        let mut walkers = Self { space, x, lambda, u, gradient, rngs, n_energy_evaluations: 0 };
        walkers.evaluate(path)?;
        Ok(walkers)
    }

    /// How many walkers.
    pub fn len(&self) -> usize {
        self.lambda.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lambda.is_empty()
    }

    /// Their space.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Position of one walker.
    pub fn position(&self, walker_idx: usize) -> &[f64] {
        let d = self.space.dimension();
        &self.x[walker_idx * d..][..d]
    }

    /// Gives every walker the start of its stream: at the beginning of a block, so that the block is
    /// a function of the positions at its start.
    pub fn reseed(&mut self, streams: &Streams, purpose: Purpose) {
        self.rngs = (0..self.lambda.len()).map(|idx| streams.stream(purpose, idx as u64)).collect();
    }

    /// Computes u and its gradient afresh, after x or λ were changed.
    pub fn evaluate(&mut self, path: &dyn PotentialPath) -> Result<()> {
        evaluate(path, &self.lambda, &self.x, &mut self.u, &mut self.gradient)?;
        self.n_energy_evaluations += self.lambda.len() as u64;
        Ok(())
    }

    /// Replaces each walker by the one with this index; λ and random streams stay where they are.
    pub fn gather(&mut self, indices: &[usize]) {
        let d = self.space.dimension();
        self.x = indices.iter().flat_map(|&idx| &self.x[idx * d..][..d]).copied().collect();
        self.gradient = indices.iter().flat_map(|&idx| &self.gradient[idx * d..][..d]).copied().collect();
        self.u = indices.iter().map(|&idx| self.u[idx]).collect();
    }
}

/// Energies and gradients of a batch, with the gradients projected onto the space.
///
/// Learned gradients are single precision and leave a centred space by about 1e-7 of their length; a
/// walker that follows them would drift away over millions of steps.
pub(super) fn evaluate(
    path: &dyn PotentialPath,
    lambda: &[f64],
    x: &[f64],
    u: &mut [f64],
    gradient: &mut [f64],
) -> Result<()> {
    path.energies_and_gradients(lambda, x, u, gradient)?;
    let space = path.space();
    if matches!(space, Space::Centered { .. }) {
        gradient
            .par_chunks_exact_mut(space.dimension())
            .with_min_len(4 * MIN_PER_TASK)
            .for_each(|gradient| space.project(gradient));
    }
    Ok(())
}
