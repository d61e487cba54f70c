//! The noise-whitened invariant network: fast on a CPU, exact symmetries, chirality included.
//!
//! With z the features of [`crate::model::features`], whitened at the noise level,
//!
//! u_net(x, t) = σ(t) { c(t) + Σ_k [ w_k(t) q(z_k) + b_k(t) r(z_k) ] + MLP(r(z), t) },
//!
//! q(z) = z²/(2(1 + z²/400)), r(z) = z/√(1 + z²/25), w_k = softplus(ω_k). The factor σ = a²/(a² + g²) is the
//! order at which data of zero mean and unit variance make x_t differ from a Gaussian: so the noise end is the
//! normalised Gaussian whatever the weights are. Between two ensembles it is 1. All functions of time are
//! linear in cubic B-splines of log(a²/g²), which also bias each hidden layer. Gradients carry the stiffness
//! 1/s_k(t) of each feature, so a stiff bond needs no large weights.
//!
//! With all atoms the features are those of [`crate::model::atomic_features`], in which a force field is
//! nearly Σ_k w_k z_k²/2 + b_k z_k: w_k has either sign and starts at 1 for bonds and angles and ¼ for volumes,
//! r(z) is linear up to 20 standard deviations, q of all others is bounded as r of beads, and powers of distances
//! and multiples of dihedrals enter Σ b_k r(z_k) alone. Where noise outweighs the width of bonds and angles, their deviations are correlated because they share atoms:
//! so squares Σ_m [ d_m(t) + (D h)_m ] q((A z)_m + a_m(t)) of learned combinations are added, with h the last hidden
//! layer: how deviations are correlated depends on how groups are turned against each other. Held-out loss of
//! alanine dipeptide after 4,000 steps of 512: 0.5429 without D, 0.5411 with 128 squares, 0.5383 with 512 (109
//! instead of 51 s on two cores), 0.5385 with 256 and layers of 256 units.

use serde::{Deserialize, Serialize};

use super::{Architecture, Built, Context, Network, states};
use crate::error::{Error, Result, at_least};
use crate::model::atomic_features::AtomicFeatures;
use crate::model::features::{FeatureMoments, FeatureSet, Features, spread};
use crate::model::program::{Init, Program, Unary, Value};
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
    /// What describes a conformation.
    pub features: FeatureKind,
    /// Linear combinations of features whose squares enter the energy; absent: four times as many as the first
    /// layer has units where features are those of atoms, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub squares: Option<usize>,
    /// Whether the energy rises away from the data before anything is learned: stiffnesses that are positive or start
    /// so, and the fence around bonds and angles. The potential of a velocity must be free of both.
    pub confining: bool,
    /// States that the energy tells from each other (see [`states`]); 0: none.
    #[serde(skip_serializing_if = "states::is_none")]
    pub states: usize,
}

/// Which features describe a conformation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// Those of atoms where bonds branch and form one molecule, as with all atoms; otherwise those of beads.
    #[default]
    Automatic,
    /// Squared distances, signed volumes and smooth dihedrals.
    Beads,
    /// Lengths, angles, dihedrals and powers of inverse distances.
    Atoms,
}

impl Default for Whitened {
    fn default() -> Self {
        Self {
            hidden: vec![128, 128, 128],
            time_splines: 33,
            features: FeatureKind::Automatic,
            squares: None,
            confining: true,
            states: 0,
        }
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
        at_least("model.network.time_splines", self.time_splines, 8)?;
        Ok(Box::new(self))
    }
}

impl Network for Whitened {
    fn program(&self, architecture: &Architecture) -> Result<Program> {
        architecture.require_molecule("whitened")?;
        if architecture.n_beads > MAX_BEADS {
            return Err(Error::config(
                "model.network.kind = \"whitened\"",
                format!("is made for at most {MAX_BEADS} beads, found {}", architecture.n_beads),
                "use kind = \"message_passing\"",
            ));
        }
        let features = self.feature_set(architecture);
        let n_features = features.all().len();
        // Features that the hidden layers see; the others enter linearly.
        let n_inputs = features.n_inputs();
        let mut p = Program::default();

        let splines = p.time(self.time_splines);
        let mean = p.time(n_features);
        let inverse_deviation = p.time(n_features);
        let signal = p.time(1);
        let smoothing = p.time(1);

        let x = p.coordinates(architecture.shape());
        let f = features.program(&mut p, x, smoothing);
        let f = p.subtract(f, mean);
        let z = p.multiply(f, inverse_deviation);
        let inputs = p.slice_rows(z, 0, n_inputs);
        let clipped = p.unary(inputs, Unary::SoftClip { bound: 5.0 });
        // What is linear, what is squared, what squares of combinations see, and what a fence surrounds.
        let (line, square, wide, mut fenced) = match &features {
            Described::Beads(_) => {
                let square = p.unary(inputs, Unary::SaturatingSquare { bound: 20.0 });
                (clipped, square, clipped, vec![])
            }
            Described::Atoms(atoms) => {
                let (stiff, n_soft) = (atoms.n_stiff(), n_inputs - atoms.n_stiff());
                let line = p.unary(z, Unary::SoftClip { bound: 20.0 });
                let stiff_inputs = p.slice_rows(inputs, 0, stiff);
                let widths = p.slice_rows(inputs, 0, atoms.n_bonds + atoms.angles.len());
                let mut squares = vec![p.unary(stiff_inputs, Unary::SaturatingSquare { bound: 20.0 })];
                let mut wide = vec![p.slice_rows(line, 0, stiff)];
                if n_soft > 0 {
                    let soft = p.slice_rows(inputs, stiff, n_soft);
                    squares.push(p.unary(soft, Unary::SaturatingSquare { bound: 5.0 }));
                    wide.push(p.slice_rows(clipped, stiff, n_soft));
                }
                (line, p.concat(squares), p.concat(wide), vec![widths])
            }
        };

        let n_hidden: usize = self.hidden.iter().sum();
        let n_squares = self.squares.unwrap_or(match features {
            Described::Beads(_) => 0,
            Described::Atoms(_) => 4 * self.hidden[0],
        });
        let n_of_time = 2 * n_squares + n_hidden + n_inputs + n_features + self.states + 1;
        let of_time = p.linear(splines, n_of_time, None, Init::Zero);
        p.last_row_is_offset(of_time);

        let mut start = 0;
        let mut squares = None;
        if n_squares > 0 {
            let bias = p.slice_rows(of_time, 0, n_squares);
            let weight = p.slice_rows(of_time, n_squares, n_squares);
            let init = Init::Normal((1.0 / n_inputs as f32).sqrt());
            let combined = p.linear(wide, n_squares, Some(bias), init);
            fenced.push(p.scale(combined, FENCE / 20.0));
            let combined = p.unary(combined, Unary::SaturatingSquare { bound: 20.0 });
            squares = Some((combined, weight));
            start = 2 * n_squares;
        }
        let mut hidden = clipped;
        for &width in &self.hidden {
            let bias = p.slice_rows(of_time, start, width);
            let init = Init::Normal((1.0 / p.rows(hidden) as f32).sqrt());
            let sum = p.linear(hidden, width, Some(bias), init);
            hidden = p.unary(sum, Unary::Silu);
            start += width;
        }
        let mlp = p.linear(hidden, 1, None, Init::Zero);

        let stiffness = features.stiffness(&mut p, of_time, start, self.confining);
        let slope = p.slice_rows(of_time, start + n_inputs, n_features);
        let constant = p.slice_rows(of_time, n_of_time - 1, 1);
        let quadratic = p.dot(square, stiffness);
        let linear = p.dot(line, slope);
        let sum = p.add(mlp, quadratic);
        let sum = p.add(sum, linear);
        let sum = p.add(sum, constant);
        let sum = match squares {
            None => sum,
            Some((combined, of_time)) => {
                let weight = p.linear(hidden, n_squares, Some(of_time), Init::Zero);
                let squares = p.dot(combined, weight);
                p.add(sum, squares)
            }
        };
        let sum = match features {
            Described::Atoms(_) if self.confining => {
                let fence = fence(&mut p, fenced);
                p.add(sum, fence)
            }
            _ => sum,
        };
        // Noised data are Gaussian up to terms of order a²: so is the model, whatever the weights.
        let energy = p.multiply(sum, signal);
        if self.states > 0 {
            let bias = p.slice_rows(of_time, start + n_inputs + n_features, self.states);
            let along = p.linear(clipped, self.states, Some(bias), Init::Zero);
            let logits = p.linear(hidden, self.states, Some(along), Init::Zero);
            states::with_states(&mut p, energy, logits, signal);
        }
        Ok(p)
    }

    fn build(&self, context: &Context) -> Result<Built> {
        let program = self.program(context.architecture)?;
        let described = self.feature_set(context.architecture);
        let features = described.all();
        let noise = context.architecture.noise;
        let moments = FeatureMoments::measure(features, &noise, context.data, context.streams);
        let splines = TimeSplines::new(&noise, self.time_splines);
        let (m, k) = (self.time_splines, features.len());
        let time_table = TimeTable::new(noise, program.n_time_rows(), &|log_snr, out| {
            splines.fill(log_snr, out);
            let (mean, rest) = out[m..].split_at_mut(k);
            moments.fill(log_snr, mean, &mut rest[..k]);
            // a²/(a² + g²) and g² = (a² + g²) − a² as functions of ℓ alone, also beyond the ends.
            rest[k] = noise.signal(log_snr);
            let t = noise.time_at_log_snr(log_snr);
            rest[k + 1] = described.smoothing(spread(&noise, t));
        });
        Ok(Built { program, time_table })
    }
}

impl Whitened {
    fn feature_set(&self, architecture: &Architecture) -> Described {
        let n = architecture.n_beads;
        let atoms = match self.features {
            FeatureKind::Automatic => {
                let degree =
                    |atom: usize| architecture.bonds.iter().filter(|bond| bond.contains(&atom)).count();
                architecture.bonds.len() + 1 >= n && (0..n).any(|atom| degree(atom) > 2)
            }
            FeatureKind::Beads => false,
            FeatureKind::Atoms => true,
        };
        match atoms {
            true => Described::Atoms(AtomicFeatures::new(n, &architecture.bonds, &architecture.dihedrals)),
            false => Described::Beads(FeatureSet::new(n, architecture.dihedrals.clone())),
        }
    }
}

/// Where the fence stands, in standard deviations.
const FENCE: f32 = 12.0;

/// Σ log(1 + exp κ(z²/B² − 1)): nothing where data are, and a steep wall at |z| = B.
///
/// Where no frame has ever been, an energy that is a sum of many saturating terms may have holes of thousands of
/// kT. Reverse diffusion never looks there; particles that are moved thousands of times do, and fall in. Only bonds
/// and angles are fenced, which noise makes no more than normally distributed: the inverse distance of two atoms
/// that nearly meet is tens of standard deviations away, and rare conformations and noised ones are found there.
fn fence(p: &mut Program, values: Vec<Value>) -> Value {
    const STEEPNESS: f32 = 100.0;
    let z = p.concat(values);
    let square = p.multiply(z, z);
    let scaled = p.scale(square, STEEPNESS / (FENCE * FENCE));
    let shifted = p.shift(scaled, -STEEPNESS);
    let walls = p.unary(shifted, Unary::Softplus);
    p.sum_rows(walls)
}

/// Either kind of features.
enum Described {
    Beads(FeatureSet),
    Atoms(AtomicFeatures),
}

impl Described {
    fn all(&self) -> &dyn Features {
        match self {
            Self::Beads(features) => features,
            Self::Atoms(features) => features,
        }
    }

    fn n_inputs(&self) -> usize {
        match self {
            Self::Beads(features) => features.len(),
            Self::Atoms(features) => features.n_inputs(),
        }
    }

    /// The time row that keeps features smooth.
    fn smoothing(&self, spread: f64) -> f64 {
        match self {
            Self::Beads(_) => FeatureSet::smoothing(spread),
            Self::Atoms(_) => spread * spread,
        }
    }

    fn program(&self, p: &mut Program, x: Value, smoothing: Value) -> Value {
        match self {
            Self::Beads(features) => features.program(p, x, smoothing),
            Self::Atoms(features) => features.program(p, x, smoothing),
        }
    }

    /// w_k of every input, from the rows of a function of time that begin at `start`.
    fn stiffness(&self, p: &mut Program, of_time: Value, start: usize, confining: bool) -> Value {
        match self {
            Self::Beads(features) => {
                let rows = p.slice_rows(of_time, start, features.len());
                if confining { p.unary(rows, Unary::Softplus) } else { rows }
            }
            Self::Atoms(features) => {
                let (n, n_stiff) = (features.n_bonds + features.angles.len(), features.n_stiff());
                let stiff = p.slice_rows(of_time, start, n);
                let stiff = if confining { p.shift(stiff, 1.0) } else { stiff };
                // A tetrahedral centre has four volumes. Mirror images differ in nothing else that is stiff.
                let volumes = p.slice_rows(of_time, start + n, n_stiff - n);
                let volumes = if confining { p.shift(volumes, 0.25) } else { volumes };
                let soft = p.slice_rows(of_time, start + n_stiff, features.n_inputs() - n_stiff);
                p.concat(vec![stiff, volumes, soft])
            }
        }
    }
}
