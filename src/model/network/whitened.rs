//! The noise-whitened invariant network: fast on a CPU, exact symmetries, chirality included.
//!
//! With z the features of [`crate::model::features`], whitened at the noise level,
//!
//! u_net(x, t) = σ(t) { c(t) + Σ_k [ w_k(t) q(z_k) + b_k(t) r(z_k) ] + MLP(r(z), t) },
//!
//! q(z) = z²/(2(1 + z²/400)), r(z) = z/√(1 + z²/25), w_k = softplus(ω_k). The factor σ = a²/(a² + g²) is the
//! order at which data of zero mean and unit variance make x_t differ from a Gaussian: so the noise end is the
//! normalised Gaussian whatever the weights are. Between two ensembles it is 1. All functions of time are linear in cubic B-splines of
//! log(a²/g²), which also bias each hidden layer. Gradients carry the stiffness 1/s_k(t) of each feature,
//! so a stiff bond needs no large weights.

use serde::{Deserialize, Serialize};

use super::{Architecture, Built, Context, Network};
use crate::error::{Error, Result};
use crate::model::features::{FeatureMoments, FeatureSet};
use crate::model::program::{Init, Program, Unary};
use crate::model::time_table::{TimeSplines, TimeTable};
use crate::registry::Settings;

/// Sizes of the noise-whitened invariant network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Whitened {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Cubic B-splines in log(a²/g²) for everything that depends on time.
    pub time_splines: usize,
}

impl Default for Whitened {
    fn default() -> Self {
        Self { hidden: vec![128, 128, 128], time_splines: 33 }
    }
}

/// Above this, pair features alone make the network slower than message passing.
const MAX_BEADS: usize = 40;

impl Settings<dyn Network, ()> for Whitened {
    const SUMMARY: &'static str =
        "MLP on noise-whitened distances, signed volumes and dihedrals; for up to 40 beads";
    const EXAMPLE: &'static str = "hidden = [32, 32]\ntime_splines = 17";

    fn build(self, (): &()) -> Result<Box<dyn Network>> {
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            return Err(Error::config(
                "model.network.hidden",
                "needs at least one layer of at least one unit",
                "",
            ));
        }
        if self.time_splines < 8 {
            return Err(Error::config("model.network.time_splines", "must be at least 8", ""));
        }
        Ok(Box::new(self))
    }
}

impl Network for Whitened {
    fn program(&self, architecture: &Architecture) -> Result<Program> {
        if architecture.n_beads > MAX_BEADS {
            return Err(Error::config(
                "model.network.kind = \"whitened\"",
                format!("is made for at most {MAX_BEADS} beads, found {}", architecture.n_beads),
                "use kind = \"message_passing\"",
            ));
        }
        let features = FeatureSet::new(architecture.n_beads, architecture.dihedrals.clone());
        let n_features = features.len();
        let mut p = Program::default();

        let splines = p.time(self.time_splines);
        let mean = p.time(n_features);
        let inverse_deviation = p.time(n_features);
        let signal = p.time(1);
        let smoothing = p.time(1);

        let x = p.coordinates(architecture.n_beads);
        let f = features.program(&mut p, x, smoothing);
        let f = p.subtract(f, mean);
        let z = p.multiply(f, inverse_deviation);
        let clipped = p.unary(z, Unary::SoftClip { bound: 5.0 });
        let square = p.unary(z, Unary::SaturatingSquare { bound: 20.0 });

        let n_hidden: usize = self.hidden.iter().sum();
        let of_time = p.linear(splines, n_hidden + 2 * n_features + 1, None, Init::Zero);

        let (mut hidden, mut start) = (clipped, 0);
        for &width in &self.hidden {
            let bias = p.slice_rows(of_time, start, width);
            let init = Init::Normal((1.0 / p.rows(hidden) as f32).sqrt());
            let sum = p.linear(hidden, width, Some(bias), init);
            hidden = p.unary(sum, Unary::Silu);
            start += width;
        }
        let mlp = p.linear(hidden, 1, None, Init::Zero);

        let stiffness = p.slice_rows(of_time, start, n_features);
        let stiffness = p.unary(stiffness, Unary::Softplus);
        let slope = p.slice_rows(of_time, start + n_features, n_features);
        let constant = p.slice_rows(of_time, start + 2 * n_features, 1);
        let quadratic = p.dot(square, stiffness);
        let linear = p.dot(clipped, slope);
        let sum = p.add(mlp, quadratic);
        let sum = p.add(sum, linear);
        let sum = p.add(sum, constant);
        // Noised data are Gaussian up to terms of order a²: so is the model, whatever the weights.
        p.multiply(sum, signal);
        Ok(p)
    }

    fn build(&self, context: &Context) -> Result<Built> {
        let program = self.program(context.architecture)?;
        let features = FeatureSet::new(context.architecture.n_beads, context.architecture.dihedrals.clone());
        let noise = context.architecture.noise;
        let moments = FeatureMoments::measure(&features, &noise, context.data, context.streams);
        let splines = TimeSplines::new(&noise, self.time_splines);
        let (m, k) = (self.time_splines, features.len());
        let time_table = TimeTable::new(noise, m + 2 * k + 2, &|log_snr, out| {
            splines.fill(log_snr, out);
            let (mean, rest) = out[m..].split_at_mut(k);
            moments.fill(log_snr, mean, &mut rest[..k]);
            // a²/(a² + g²) and g² = (a² + g²) − a² as functions of ℓ alone, also beyond the ends.
            rest[k] = noise.signal(log_snr);
            let t = noise.time_at_log_snr(log_snr);
            rest[k + 1] = FeatureSet::smoothing(noise.deviation(t));
        });
        Ok(Built { program, time_table })
    }
}
