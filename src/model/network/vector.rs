//! A network for vectors without any symmetry: problems with known answers.
//!
//! With z = x/c, c² = a² + g² the variance of data of unit variance,
//!
//! u_net(x, t) = κ(t) { c(t) + e(t) |z|²/2 + F(z, t)·z + MLP(z, t) },    κ = a²/(a² w² + g²)
//!
//! where F and MLP are linear in the last hidden layer. κ is how strongly modes of width w bend the energy where the
//! noise is g: it vanishes at the noise end, where the law is Gaussian whatever the weights are, and rises to 1/w² at
//! the data end (as σ⁻¹ in the preconditioning of Karras et al. 2022, but bounded). All functions of time are linear in
//! cubic B-splines of log(a²/g²), which also bias each hidden layer. Everything starts at the normalised Gaussian of
//! the moments of x_t.

use serde::{Deserialize, Serialize};

use super::{Architecture, Built, Context, Network, states};
use crate::error::{Error, Result, at_least, positive};
use crate::model::program::{Init, Program, Unary};
use crate::model::time_table::{TimeSplines, TimeTable};
use crate::potential::Space;
use crate::registry::Settings;

/// Sizes of the network for vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vector {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Cubic B-splines in log(a²/g²) for everything that depends on time.
    pub time_splines: usize,
    /// w: the width of the narrowest modes, in units of the standard deviation of the data.
    pub width: f64,
    /// States that the energy tells from each other (see [`states`]); 0: none.
    #[serde(skip_serializing_if = "states::is_none")]
    pub states: usize,
}

impl Default for Vector {
    fn default() -> Self {
        Self { hidden: vec![64, 64, 64], time_splines: 17, width: 0.3, states: 0 }
    }
}

impl Settings<dyn Network, ()> for Vector {
    const SUMMARY: &'static str = "MLP on vectors without any symmetry, for problems with known answers";
    const EXAMPLE: &'static str = "hidden = [32, 32]\ntime_splines = 9";

    fn build(self, (): &()) -> Result<Box<dyn Network>> {
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            let message = "needs at least one layer of at least one unit";
            return Err(Error::config("model.network.hidden", message, ""));
        }
        at_least("model.network.time_splines", self.time_splines, 8)?;
        positive("model.network.width", self.width)?;
        Ok(Box::new(self))
    }
}

impl Network for Vector {
    fn program(&self, architecture: &Architecture) -> Result<Program> {
        let Space::Euclidean { dimension } = architecture.space else {
            return Err(Error::config(
                "model.network.kind = \"vector\"",
                "has no symmetry, and this is a molecule",
                "use kind = \"whitened\" or kind = \"message_passing\"",
            ));
        };
        let mut p = Program::default();
        let splines = p.time(self.time_splines);
        let scale = p.time(1);
        let strength = p.time(1);
        let x = p.coordinates(architecture.shape());
        let z = p.multiply(x, scale);
        let n_hidden: usize = self.hidden.iter().sum();
        let of_time = p.linear(splines, n_hidden + self.states + 2, None, Init::Zero);
        p.last_row_is_offset(of_time);
        let (mut hidden, mut start) = (z, 0);
        for &width in &self.hidden {
            let bias = p.slice_rows(of_time, start, width);
            let init = Init::Normal((2.0 / p.rows(hidden) as f32).sqrt());
            let sum = p.linear(hidden, width, Some(bias), init);
            hidden = p.unary(sum, Unary::Silu);
            start += width;
        }
        let mlp = p.linear(hidden, 1, None, Init::Zero);
        let vector = p.linear(hidden, dimension, None, Init::Zero);
        let along = p.dot(vector, z);
        let square = p.dot(z, z);
        let square = p.scale(square, 0.5);
        let stiffness = p.slice_rows(of_time, start, 1);
        let quadratic = p.multiply(square, stiffness);
        let constant = p.slice_rows(of_time, start + 1 + self.states, 1);
        let sum = p.add(mlp, along);
        let sum = p.add(sum, quadratic);
        let sum = p.add(sum, constant);
        let energy = p.multiply(sum, strength);
        if self.states > 0 {
            let bias = p.slice_rows(of_time, start + 1, self.states);
            let along = p.linear(z, self.states, Some(bias), Init::Zero);
            let logits = p.linear(hidden, self.states, Some(along), Init::Zero);
            states::with_states(&mut p, energy, logits, strength);
        }
        Ok(p)
    }

    fn build(&self, context: &Context) -> Result<Built> {
        let program = self.program(context.architecture)?;
        let noise = context.architecture.noise;
        let (splines, m) = (TimeSplines::new(&noise, self.time_splines), self.time_splines);
        let time_table = TimeTable::new(noise, program.n_time_rows(), &|log_snr, out| {
            splines.fill(log_snr, out);
            let t = noise.time_at_log_snr(log_snr);
            out[m] = noise.total_variance(t).powf(-0.5);
            out[m + 1] = 1.0 / (self.width * self.width + (-log_snr).exp());
        });
        Ok(Built { program, time_table })
    }
}
