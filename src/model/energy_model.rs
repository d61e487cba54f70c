//! u_θ(x, t): a network on top of the moment-matched Gaussian, on the space of centred conformations.
//!
//! u_θ(x, t) = |x|²/(2c²) + (d/2) log(2π c²) + u_net(x, t), c² = a² + b² + g², d = 3n − 3,
//!
//! in reduced length, in which the data have unit variance per degree of freedom. With u_net = 0 it is
//! the normalised Gaussian with the second moment of x_t: log Z = 0 at every t, so that the offset that
//! DiffCLF learns starts where it is already right at the noise end.

use std::sync::Mutex;

use rayon::prelude::*;

use super::compute::Compute;
use super::data::TrainingData;
use super::fused::{self, Direction, Weights, Workspace};
use super::network::{Architecture, Context, Network};
use super::program::Program;
use super::tensor::{Batch, TensorProgram};
use super::time_table::TimeTable;
use crate::error::Result;
use crate::potential::{Noise, PotentialPath, Space};
use crate::random::Streams;

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
    weights: Weights,
    lanes: usize,
    pool: Mutex<Vec<Workspace>>,
    /// The same program on a device; `None`: the fused executor on the host.
    device: Option<TensorProgram>,
}

/// Conformations that are on a device at one time.
const DEVICE_BATCH: usize = 32_768;

impl EnergyModel {
    /// A model of its parts.
    pub fn new(
        architecture: Architecture,
        length_scale_nm: f64,
        program: Program,
        time_table: TimeTable,
        weights: Weights,
    ) -> Self {
        let (lanes, pool) = (fused::lanes_for(&program), Mutex::new(vec![]));
        Self { architecture, length_scale_nm, program, time_table, weights, lanes, pool, device: None }
    }

    /// The model of a network before its first step, with statistics of the data and weights from their streams.
    pub fn initial(
        network: &dyn Network,
        architecture: Architecture,
        length_scale_nm: f64,
        data: &TrainingData,
        streams: &Streams,
    ) -> Result<Self> {
        let built = network.build(&Context { architecture: &architecture, data, streams })?;
        let weights = Weights::initial(&built.program, streams);
        Ok(Self::new(architecture, length_scale_nm, built.program, built.time_table, weights))
    }

    /// The same model on a device. The host has the fused executor, every other device tensors.
    pub fn on(mut self, compute: &Compute) -> Result<Self> {
        self.device = match compute.is_fused() {
            true => None,
            false => Some(TensorProgram::new(&self.program, compute, self.weights.values())?),
        };
        Ok(self)
    }

    /// Another model of the same program on the same device, with these parameters.
    pub fn with_weights(&self, values: &[f32]) -> Result<Self> {
        let mut weights = self.weights.clone();
        weights.update(&self.program, |weights| weights.copy_from_slice(values));
        let (architecture, program) = (self.architecture.clone(), self.program.clone());
        let other = Self::new(architecture, self.length_scale_nm, program, self.time_table.clone(), weights);
        match &self.device {
            None => Ok(other),
            Some(device) => other.on(device.compute()),
        }
    }

    /// Conformations per chunk of the fused executor, so many that a chunk stays in cache: 64, 32 or 16.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// The parameters.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Replaces the parameters, wherever they are.
    pub fn set_weights(&mut self, values: &[f32]) -> Result<()> {
        self.weights.update(&self.program, |weights| weights.copy_from_slice(values));
        match &mut self.device {
            None => Ok(()),
            Some(device) => device.set_weights(values),
        }
    }

    /// The program on the device, unless the host is the device.
    pub fn device(&self) -> Option<&TensorProgram> {
        self.device.as_ref()
    }

    /// Conformations with their times, on the device.
    pub fn upload(&self, device: &TensorProgram, t: &[f64], x: &[f64]) -> Result<Batch> {
        device.batch(x, &self.time_rows(t, TimeTable::fill))
    }

    /// Conformations with their times and the state of each of which the energy is asked for, on the device.
    pub fn upload_with_states(
        &self,
        device: &TensorProgram,
        t: &[f64],
        x: &[f64],
        states: &[usize],
    ) -> Result<Batch> {
        let mut rows = self.time_rows(t, TimeTable::fill);
        let first = self.program.states().start;
        let of_lanes = rows.chunks_exact_mut(self.time_table.n_rows()).zip(states);
        of_lanes.for_each(|(row, state)| row[first + state] = 1.0);
        device.batch(x, &rows)
    }

    fn upload_of(&self, device: &TensorProgram, state: Option<usize>, t: &[f64], x: &[f64]) -> Result<Batch> {
        match state {
            None => self.upload(device, t, x),
            Some(state) => self.upload_with_states(device, t, x, &vec![state; t.len()]),
        }
    }

    fn time_rows(&self, t: &[f64], fill: impl Fn(&TimeTable, f64, &mut [f32])) -> Vec<f32> {
        let n_rows = self.time_table.n_rows();
        let mut rows = vec![0.0; t.len() * n_rows];
        rows.chunks_exact_mut(n_rows).zip(t).for_each(|(row, &t)| fill(&self.time_table, t, row));
        rows
    }

    /// Which parameters act nowhere but within `reach` of the data end in log(a²/g²): those of splines that begin there.
    pub fn parameters_within(&self, reach: f64) -> Vec<bool> {
        let end = self.noise().log_snr(self.noise().time_range().0);
        let mut acts = vec![false; self.program.n_parameters()];
        for (matrix, first_row) in self.program.functions_of_time() {
            let begins: Vec<bool> = (0..matrix.columns)
                .map(|column| self.time_table.vanishes_up_to(end - reach, first_row + column))
                .collect();
            for row in acts[matrix.offset..][..matrix.len()].chunks_exact_mut(matrix.columns) {
                row.copy_from_slice(&begins);
            }
        }
        acts
    }

    /// How data become noise.
    pub fn noise(&self) -> &Noise {
        &self.architecture.noise
    }

    /// States that the energy tells from each other; 0 for most networks.
    pub fn n_states(&self) -> usize {
        self.program.states().len()
    }

    /// Degrees of freedom, 3n − 3.
    pub fn degrees_of_freedom(&self) -> usize {
        self.space().degrees_of_freedom()
    }

    /// The Gaussian part of u: coefficient of |x|²/2 and constant.
    pub fn gaussian(&self, t: f64) -> (f64, f64) {
        let variance = self.noise().total_variance(t);
        let log_normaliser = 0.5 * self.degrees_of_freedom() as f64 * (std::f64::consts::TAU * variance).ln();
        (1.0 / variance, log_normaliser)
    }

    /// A workspace from the pool, or a new one.
    pub fn take_workspace(&self) -> Workspace {
        let pooled = self.pool.lock().expect("no thread panics with the pool").pop();
        pooled.unwrap_or_else(|| Workspace::new(&self.program, self.lanes))
    }

    /// Gives a workspace back.
    pub fn return_workspace(&self, workspace: Workspace) {
        self.pool.lock().expect("no thread panics with the pool").push(workspace);
    }

    /// Writes a vector `[item][coordinate]` of one lane into a chunk, `[coordinate][item][lane]`.
    pub fn scatter<X: Copy + Into<f64>>(&self, lane: usize, vector: &[X], chunk: &mut [f32]) {
        let (n_coordinates, n_items) = self.architecture.shape();
        for (item, coordinates) in vector.chunks_exact(n_coordinates).enumerate() {
            for (coordinate, &value) in coordinates.iter().enumerate() {
                let value: f64 = value.into();
                chunk[(coordinate * n_items + item) * self.lanes + lane] = value as f32;
            }
        }
    }

    /// Loads a chunk of at most [`EnergyModel::lanes`] conformations, `[conformation][bead][xyz]`; missing lanes
    /// repeat the first one.
    pub fn load<X: Copy + Into<f64>>(&self, workspace: &mut Workspace, t: &[f64], x: &[X]) {
        let size = self.space().dimension();
        for lane in 0..self.lanes {
            let source = if lane < t.len() { lane } else { 0 };
            self.scatter(lane, &x[source * size..][..size], workspace.coordinates_mut());
        }
        let n_rows = self.time_table.n_rows();
        let mut rows = vec![0.0_f32; n_rows];
        self.time_table.fill(t[0], &mut rows);
        if t.iter().any(|&other| other != t[0]) {
            rows.resize(self.lanes * n_rows, 0.0);
            for lane in 1..self.lanes {
                let (before, here) = rows.split_at_mut(lane * n_rows);
                match t.get(lane) {
                    Some(&time) if time != t[lane - 1] => self.time_table.fill(time, &mut here[..n_rows]),
                    Some(_) => here[..n_rows].copy_from_slice(&before[(lane - 1) * n_rows..]),
                    None => here[..n_rows].copy_from_slice(&before[..n_rows]),
                }
            }
        }
        workspace.set_times(&rows);
    }

    /// Loads a chunk and asks for the energy of one state of each conformation.
    pub fn load_with_states<X: Copy + Into<f64>>(
        &self,
        workspace: &mut Workspace,
        t: &[f64],
        x: &[X],
        states: &[usize],
    ) {
        self.load(workspace, t, x);
        workspace.choose(self.program.states(), states);
    }

    /// The Gaussian part of u.
    pub fn gaussian_energy(&self, t: f64, x: &[f64]) -> f64 {
        let (stiffness, constant) = self.gaussian(t);
        0.5 * stiffness * squares(x) + constant
    }

    /// The Gaussian part of ∂u/∂t.
    fn gaussian_rate(&self, t: f64, x: &[f64]) -> f64 {
        let d = self.degrees_of_freedom() as f64;
        let (stiffness, _) = self.gaussian(t);
        let rate = self.noise().total_variance_rate(t);
        0.5 * stiffness * rate * (d - stiffness * squares(x))
    }

    /// Adds the Gaussian part to ∂u/∂x of conformations.
    pub fn add_gaussian_gradient(&self, t: &[f64], x: &[f64], gradient: &mut [f64]) {
        let size = self.space().dimension();
        let frames = gradient.chunks_exact_mut(size).zip(x.chunks_exact(size));
        for ((gradient, x), &t) in frames.zip(t) {
            let (stiffness, _) = self.gaussian(t);
            gradient.iter_mut().zip(x).for_each(|(gradient, x)| *gradient += stiffness * x);
            // Rounding leaves a net component of 1e-7; the law lives on centred conformations.
            self.space().project(gradient);
        }
    }

    /// ∂u/∂x of a chunk after `reverse`, with the Gaussian part, `[conformation][bead][xyz]`.
    pub fn unload_gradient(&self, workspace: &Workspace, t: &[f64], x: &[f64], gradient: &mut [f64]) {
        let (n_coordinates, n_items) = self.architecture.shape();
        let network = workspace.coordinate_gradient();
        for (lane, gradient) in gradient.chunks_exact_mut(n_coordinates * n_items).enumerate() {
            for (item, coordinates) in gradient.chunks_exact_mut(n_coordinates).enumerate() {
                for (coordinate, gradient) in coordinates.iter_mut().enumerate() {
                    *gradient = network[(coordinate * n_items + item) * self.lanes + lane].into();
                }
            }
        }
        self.add_gaussian_gradient(t, x, gradient);
    }

    /// Calls `run` on chunks of u, with the matching times, conformations and gradients, of one state or of all together.
    fn for_chunks<'a>(
        &self,
        state: Option<usize>,
        lambda: &'a [f64],
        x: &'a [f64],
        u: &'a mut [f64],
        gradient: Option<&'a mut [f64]>,
        run: impl Fn(&mut Workspace, &[f64], &[f64], &mut [f64], Option<&mut [f64]>) + Sync,
    ) {
        let size = self.space().dimension();
        let run = |t: &[f64], x: &[f64], u: &mut [f64], gradient: Option<&mut [f64]>| {
            let mut workspace = self.take_workspace();
            match state {
                None => self.load(&mut workspace, t, x),
                Some(state) => self.load_with_states(&mut workspace, t, x, &[state]),
            }
            workspace.forward(&self.program, &self.weights);
            run(&mut workspace, t, x, u, gradient);
            self.return_workspace(workspace);
        };
        let lanes = self.lanes;
        let chunks = lambda.par_chunks(lanes).zip(x.par_chunks(lanes * size)).zip(u.par_chunks_mut(lanes));
        match gradient {
            None => chunks.for_each(|((t, x), u)| run(t, x, u, None)),
            Some(gradient) => chunks
                .zip(gradient.par_chunks_mut(lanes * size))
                .for_each(|(((t, x), u), gradient)| run(t, x, u, Some(gradient))),
        }
    }

    fn add_gaussian_energies(&self, t: &[f64], x: &[f64], u: &mut [f64]) {
        let frames = x.chunks_exact(self.space().dimension());
        u.iter_mut().zip(t).zip(frames).for_each(|((u, &t), x)| *u += self.gaussian_energy(t, x));
    }

    /// u(x, t, y) of one state, or u(x, t).
    pub(super) fn energies_of(
        &self,
        state: Option<usize>,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
    ) -> Result<()> {
        if let Some(device) = &self.device {
            let size = self.space().dimension();
            let parts = lambda.chunks(DEVICE_BATCH).zip(x.chunks(DEVICE_BATCH * size));
            for ((t, x), u) in parts.zip(u.chunks_mut(DEVICE_BATCH)) {
                u.copy_from_slice(&device.energies(&self.upload_of(device, state, t, x)?)?);
            }
        } else {
            self.for_chunks(state, lambda, x, u, None, |workspace, _, _, u, _| {
                copy_lanes(workspace.energies(), u)
            });
        }
        self.add_gaussian_energies(lambda, x, u);
        Ok(())
    }

    /// The same with ∂u/∂x.
    pub(super) fn energies_and_gradients_of(
        &self,
        state: Option<usize>,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        if let Some(device) = &self.device {
            let size = self.space().dimension();
            let parts = lambda.chunks(DEVICE_BATCH).zip(x.chunks(DEVICE_BATCH * size));
            let results = u.chunks_mut(DEVICE_BATCH).zip(gradient.chunks_mut(DEVICE_BATCH * size));
            for ((t, x), (u, gradient)) in parts.zip(results) {
                let (energies, gradients) = device.evaluate(&self.upload_of(device, state, t, x)?)?;
                u.copy_from_slice(&energies);
                gradient.copy_from_slice(&gradients);
                self.add_gaussian_gradient(t, x, gradient);
            }
        } else {
            self.for_chunks(state, lambda, x, u, Some(gradient), |workspace, t, x, u, gradient| {
                copy_lanes(workspace.energies(), u);
                if let Some(gradient) = gradient {
                    workspace.reverse(&self.program, &self.weights);
                    self.unload_gradient(workspace, t, x, gradient);
                }
            });
        }
        self.add_gaussian_energies(lambda, x, u);
        Ok(())
    }

    /// ∂u/∂t of one state, or of all together.
    pub(super) fn lambda_derivatives_of(
        &self,
        state: Option<usize>,
        lambda: &[f64],
        x: &[f64],
        du_dlambda: &mut [f64],
    ) -> Result<()> {
        let size = self.space().dimension();
        if let Some(device) = &self.device {
            let parts = lambda.chunks(DEVICE_BATCH).zip(x.chunks(DEVICE_BATCH * size));
            for ((t, x), du_dt) in parts.zip(du_dlambda.chunks_mut(DEVICE_BATCH)) {
                let rates = self.time_rows(t, TimeTable::fill_rate);
                let batch = self.upload_of(device, state, t, x)?;
                du_dt.copy_from_slice(&device.tangent(&batch, Direction::Time, &rates)?);
            }
        } else {
            let n_rows = self.time_table.n_rows();
            self.for_chunks(state, lambda, x, du_dlambda, None, |workspace, t, _, du_dt, _| {
                let rates = self.time_rows(t, TimeTable::fill_rate);
                for lane in 0..self.lanes {
                    let source = if lane < t.len() { lane } else { 0 };
                    workspace.set_time_tangent(lane, &rates[source * n_rows..][..n_rows]);
                }
                workspace.tangent(&self.program, &self.weights, Direction::Time);
                copy_lanes(workspace.energy_tangents(), du_dt);
            });
        }
        let frames = x.chunks_exact(size).zip(lambda);
        du_dlambda.iter_mut().zip(frames).for_each(|(du_dt, (x, &t))| *du_dt += self.gaussian_rate(t, x));
        Ok(())
    }
}

fn squares(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

fn copy_lanes(lanes: &[f32], u: &mut [f64]) {
    u.iter_mut().zip(lanes).for_each(|(u, &lane)| *u = lane.into());
}

impl PotentialPath for EnergyModel {
    fn space(&self) -> Space {
        self.architecture.space
    }

    fn range(&self) -> (f64, f64) {
        self.noise().time_range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        self.energies_of(None, lambda, x, u)
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        self.energies_and_gradients_of(None, lambda, x, u, gradient)
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        self.lambda_derivatives_of(None, lambda, x, du_dlambda)
    }
}
