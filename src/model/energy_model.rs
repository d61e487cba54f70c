//! u_θ(x, t): a network on top of the moment-matched Gaussian, on the space of centred conformations.
//!
//! u_θ(x, t) = |x|²/(2c²) + (d/2) log(2π c²) + u_net(x, t), c² = a² + g², d = 3n − 3,
//!
//! in reduced length, in which the data have unit variance per degree of freedom. With u_net = 0 it is
//! the normalised Gaussian with the second moment of x_t: log Z = 0 at every t, so that the offset that
//! DiffCLF learns starts where it is already right at the noise end.

use std::sync::Mutex;

use rayon::prelude::*;

use super::fused::{Direction, Weights, Workspace};
use super::network::Architecture;
use super::program::Program;
use super::time_table::TimeTable;
use crate::error::Result;
use crate::potential::{Noise, PotentialPath, Space};

/// Conformations per chunk: values of one chunk of the default network fill half of a 2 MiB L2 cache.
pub const LANES: usize = 64;

/// A time-dependent energy of a molecule.
pub struct EnergyModel {
    /// What the program depends on.
    pub architecture: Architecture,
    /// One unit of reduced length, nm.
    pub length_scale_nm: f64,
    /// The network.
    pub program: Program,
    /// What the network knows about time.
    pub time_table: TimeTable,
    /// Its parameters.
    pub weights: Weights,
    pool: Mutex<Vec<Workspace>>,
}

impl EnergyModel {
    /// A model of its parts.
    pub fn new(
        architecture: Architecture,
        length_scale_nm: f64,
        program: Program,
        time_table: TimeTable,
        weights: Weights,
    ) -> Self {
        Self { architecture, length_scale_nm, program, time_table, weights, pool: Mutex::new(vec![]) }
    }

    /// How data become noise.
    pub fn noise(&self) -> &Noise {
        &self.architecture.noise
    }

    /// Degrees of freedom, 3n − 3.
    pub fn degrees_of_freedom(&self) -> usize {
        3 * self.architecture.n_beads - 3
    }

    /// The Gaussian part of u: coefficient of |x|²/2 and constant.
    pub fn gaussian(&self, t: f64) -> (f64, f64) {
        let noise = self.noise();
        let variance = noise.scale(t).powi(2) + noise.deviation(t).powi(2);
        let log_normaliser = 0.5 * self.degrees_of_freedom() as f64 * (std::f64::consts::TAU * variance).ln();
        (1.0 / variance, log_normaliser)
    }

    /// A workspace from the pool, or a new one.
    pub fn take_workspace(&self) -> Workspace {
        let pooled = self.pool.lock().expect("no thread panics with the pool").pop();
        pooled.unwrap_or_else(|| Workspace::new(&self.program, LANES))
    }

    /// Gives a workspace back.
    pub fn return_workspace(&self, workspace: Workspace) {
        self.pool.lock().expect("no thread panics with the pool").push(workspace);
    }

    /// Loads a chunk of at most [`LANES`] conformations, `[conformation][bead][xyz]`; missing lanes
    /// repeat the first one.
    pub fn load<X: Copy + Into<f64>>(&self, workspace: &mut Workspace, t: &[f64], x: &[X]) {
        let size = 3 * self.architecture.n_beads;
        let mut row = vec![0.0_f32; self.time_table.n_rows()];
        for lane in 0..LANES {
            let source = if lane < t.len() { lane } else { 0 };
            let frame = &x[source * size..][..size];
            let coordinates = workspace.coordinates_mut();
            for (bead, xyz) in frame.chunks_exact(3).enumerate() {
                for (axis, &value) in xyz.iter().enumerate() {
                    let value: f64 = value.into();
                    coordinates[(axis * self.architecture.n_beads + bead) * LANES + lane] = value as f32;
                }
            }
            if lane == 0 || source == 0 || t[source] != t[source - 1] {
                self.time_table.fill(t[source], &mut row);
            }
            workspace.set_time(lane, &row);
        }
    }

    fn for_chunks(&self, lambda: &[f64], x: &[f64], u: &mut [f64], gradient: Option<&mut [f64]>, rate: bool) {
        let size = 3 * self.architecture.n_beads;
        let run = |t: &[f64], x: &[f64], u: &mut [f64], gradient: Option<&mut [f64]>| {
            let mut workspace = self.take_workspace();
            self.load(&mut workspace, t, x);
            workspace.forward(&self.program, &self.weights);
            if rate {
                self.rates(&mut workspace, t, x, u);
            } else {
                for (lane, (u, x)) in u.iter_mut().zip(x.chunks_exact(size)).enumerate() {
                    let (stiffness, constant) = self.gaussian(t[lane]);
                    let squares: f64 = x.iter().map(|x| x * x).sum();
                    *u = 0.5 * stiffness * squares + constant + f64::from(workspace.energies()[lane]);
                }
            }
            if let Some(gradient) = gradient {
                workspace.reverse(&self.program, &self.weights);
                self.unload_gradient(&workspace, t, x, gradient);
            }
            self.return_workspace(workspace);
        };
        let chunks = lambda.par_chunks(LANES).zip(x.par_chunks(LANES * size)).zip(u.par_chunks_mut(LANES));
        match gradient {
            None => chunks.for_each(|((t, x), u)| run(t, x, u, None)),
            Some(gradient) => chunks
                .zip(gradient.par_chunks_mut(LANES * size))
                .for_each(|(((t, x), u), gradient)| run(t, x, u, Some(gradient))),
        }
    }

    /// ∂u/∂x of a chunk after `reverse`, with the Gaussian part, `[conformation][bead][xyz]`.
    pub fn unload_gradient(&self, workspace: &Workspace, t: &[f64], x: &[f64], gradient: &mut [f64]) {
        let n_beads = self.architecture.n_beads;
        let network = workspace.coordinate_gradient();
        let frames = gradient.chunks_exact_mut(3 * n_beads).zip(x.chunks_exact(3 * n_beads));
        for (lane, (gradient, x)) in frames.enumerate() {
            let (stiffness, _) = self.gaussian(t[lane]);
            for bead in 0..n_beads {
                for axis in 0..3 {
                    gradient[3 * bead + axis] = stiffness * x[3 * bead + axis]
                        + f64::from(network[(axis * n_beads + bead) * LANES + lane]);
                }
            }
            // Rounding leaves a net component of 1e-7; the law lives on centred conformations.
            self.space().project(gradient);
        }
    }

    fn rates(&self, workspace: &mut Workspace, t: &[f64], x: &[f64], du_dt: &mut [f64]) {
        let (size, noise) = (3 * self.architecture.n_beads, self.noise());
        let mut row = vec![0.0_f32; self.time_table.n_rows()];
        for lane in 0..LANES {
            self.time_table.fill_rate(t[if lane < t.len() { lane } else { 0 }], &mut row);
            workspace.set_time_tangent(lane, &row);
        }
        workspace.tangent(&self.program, &self.weights, Direction::Time);
        let d = self.degrees_of_freedom() as f64;
        for (lane, (du_dt, x)) in du_dt.iter_mut().zip(x.chunks_exact(size)).enumerate() {
            let (stiffness, _) = self.gaussian(t[lane]);
            let rate = 2.0 * noise.scale(t[lane]) * noise.scale_rate(t[lane]) + noise.variance_rate(t[lane]);
            let squares: f64 = x.iter().map(|x| x * x).sum();
            *du_dt = 0.5 * stiffness * rate * (d - stiffness * squares)
                + f64::from(workspace.energy_tangents()[lane]);
        }
    }
}

impl PotentialPath for EnergyModel {
    fn space(&self) -> Space {
        Space::Centered { n_particles: self.architecture.n_beads }
    }

    fn range(&self) -> (f64, f64) {
        self.noise().time_range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        self.for_chunks(lambda, x, u, None, false);
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        self.for_chunks(lambda, x, u, Some(gradient), false);
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        self.for_chunks(lambda, x, du_dlambda, None, true);
        Ok(())
    }
}
