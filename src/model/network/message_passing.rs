//! Message passing over pairs of beads, for larger or more general molecules.
//!
//! Every bead has a state h_i of `width` numbers, every pair the whitened squared distance
//! z_ij = (|x_i − x_j|² − μ_c(t))/s_c(t), c the class of the pair: the types of both beads and how many
//! bonds lie between them. In each layer, with sigmoids φ of z at several centres,
//!
//! m_ij = silu(A h_i + A h_j + B φ(z_ij) + b_c),   v_i^k = Σ_j (w^k·m_ij)(x_j − x_i)/√(a² + g²),
//!
//! S_i = all n^k·n^l and (n^k × n^l)·n^m, n = v/√(1 + |v|²), and
//!
//! h_i ← h_i + γ(t) C silu(D h_i + E Σ_j m_ij + F S_i + d(t)).
//!
//! Triple products change sign under reflection, so mirror images have different energies. Messages are
//! symmetric in i and j, so that each pair is computed once. The energy is
//!
//! u_net(x, t) = a²/(a² + g²) { c(t) + Σ_i e(h_i) + Σ_ij [ w_c(t) q(z_ij) + b_c(t) r(z_ij) ] },
//!
//! the last with q, r and w = softplus(ω) as in [`super::whitened`]: gradients carry the stiffness 1/s_c(t)
//! of a bond at any noise. As there, the factor in front makes the noise end the normalised Gaussian
//! whatever the weights are. Beads of equal type in equivalent places are treated alike.

use serde::{Deserialize, Serialize};

use super::{Architecture, Built, Context, Network, states};
use crate::error::{Error, Result, at_least};
use crate::model::program::{Init, Program, Unary, Value};
use crate::model::time_table::{TimeSplines, TimeTable};
use crate::registry::Settings;

/// Sizes of the message-passing network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MessagePassing {
    /// Numbers per bead and per message.
    pub width: usize,
    /// Rounds of messages.
    pub layers: usize,
    /// Vectors per bead and round; three or more see chirality.
    pub vectors: usize,
    /// Partners of each bead, where not all pairs are used (more than 24 beads): half of them the
    /// nearest along bonds, half spread over the rest of the molecule.
    pub neighbours: usize,
    /// Cubic B-splines in log(a²/g²) for everything that depends on time.
    pub time_splines: usize,
    /// States that the energy tells from each other (see [`states`]); 0: none.
    #[serde(skip_serializing_if = "states::is_none")]
    pub states: usize,
}

impl Default for MessagePassing {
    fn default() -> Self {
        Self { width: 64, layers: 2, vectors: 4, neighbours: 24, time_splines: 33, states: 0 }
    }
}

/// Up to here every pair of beads exchanges messages.
const ALL_PAIRS: usize = 24;

/// Pairs with more bonds between them than this are of one class.
const FAR: usize = 4;

/// Centres of the sigmoids of z.
const CENTRES: [f32; 7] = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0];

impl Settings<dyn Network, ()> for MessagePassing {
    const SUMMARY: &'static str =
        "Message passing with vectors and triple products; for larger molecules and equal beads";
    const EXAMPLE: &'static str = "width = 16\nlayers = 2\ntime_splines = 17";

    fn build(self, (): &()) -> Result<Box<dyn Network>> {
        for (key, value, least) in [
            ("width", self.width, 1),
            ("layers", self.layers, 1),
            ("vectors", self.vectors, 3),
            ("neighbours", self.neighbours, 2),
            ("time_splines", self.time_splines, 8),
        ] {
            at_least(format!("model.network.{key}"), value, least)?;
        }
        Ok(Box::new(self))
    }
}

/// Which pairs exchange messages, and of which class each is.
struct Pairs {
    pairs: Vec<[usize; 2]>,
    class_of: Vec<usize>,
    n_classes: usize,
    type_of: Vec<usize>,
    n_types: usize,
}

impl Pairs {
    fn new(architecture: &Architecture, neighbours: usize) -> Self {
        let n = architecture.n_beads;
        let bonds_between = bonds_between(architecture);
        let mut types = architecture.bead_types.clone();
        types.sort_unstable();
        types.dedup();
        let type_of: Vec<usize> =
            architecture.bead_types.iter().map(|t| types.partition_point(|other| other < t)).collect();

        let mut pairs = vec![];
        for (i, bonds_from) in bonds_between.iter().enumerate() {
            let mut partners: Vec<usize> = (0..n).filter(|&j| j != i).collect();
            if n > ALL_PAIRS && partners.len() > neighbours {
                partners.sort_by_key(|&j| (bonds_from[j], i.abs_diff(j), j));
                let near = neighbours.div_ceil(2);
                let far = neighbours - near;
                let rest = partners.split_off(near);
                partners.extend((0..far).map(|k| rest[(2 * k + 1) * rest.len() / (2 * far)]));
            }
            pairs.extend(partners.into_iter().map(|j| [i.min(j), i.max(j)]));
        }
        pairs.sort_unstable();
        pairs.dedup();

        let key = |&[i, j]: &[usize; 2]| {
            (type_of[i].min(type_of[j]), type_of[i].max(type_of[j]), bonds_between[i][j].min(FAR))
        };
        let mut classes: Vec<_> = pairs.iter().map(key).collect();
        classes.sort_unstable();
        classes.dedup();
        let class_of = pairs.iter().map(|pair| classes.partition_point(|other| *other < key(pair))).collect();
        Self { pairs, class_of, n_classes: classes.len(), type_of, n_types: types.len() }
    }
}

/// The number of bonds on the shortest path between any two beads; unconnected beads count as far apart.
fn bonds_between(architecture: &Architecture) -> Vec<Vec<usize>> {
    let n = architecture.n_beads;
    let mut distance = vec![vec![n; n]; n];
    for (start, distance) in distance.iter_mut().enumerate() {
        let (mut front, mut steps) = (vec![start], 0);
        distance[start] = 0;
        while !front.is_empty() {
            steps += 1;
            let mut next = vec![];
            for &[a, b] in &architecture.bonds {
                for (from, to) in [(a, b), (b, a)] {
                    if front.contains(&from) && distance[to] == n {
                        distance[to] = steps;
                        next.push(to);
                    }
                }
            }
            front = next;
        }
    }
    distance
}

impl Network for MessagePassing {
    fn program(&self, architecture: &Architecture) -> Result<Program> {
        architecture.require_molecule("message_passing")?;
        if architecture.n_beads < 2 {
            return Err(Error::config(
                "model.network.kind = \"message_passing\"",
                "needs at least two beads",
                "",
            ));
        }
        let Pairs { pairs, class_of, n_classes, type_of, n_types } =
            Pairs::new(architecture, self.neighbours);
        let (n, n_pairs, width) = (architecture.n_beads, pairs.len(), self.width);
        let mut p = Program::default();

        let splines = p.time(self.time_splines);
        let mean = p.time(n_classes);
        let inverse_deviation = p.time(n_classes);
        let signal = p.time(1);
        let inverse_length = p.time(1);
        // The start of h, a bias and a gate per layer, two coefficients per class, one per state, the constant.
        let n_of_time = (2 * self.layers + 2) * width + 2 * n_classes + self.states + 1;
        let of_time = p.linear(splines, n_of_time, None, Init::Zero);
        p.last_row_is_offset(of_time);
        let mut start = 0;
        let mut next = |p: &mut Program, rows: usize| {
            start += rows;
            p.slice_rows(of_time, start - rows, rows)
        };
        let of_class = |p: &mut Program, rows: Value| {
            let row = p.reshape(rows, 1, n_classes);
            p.gather(row, class_of.clone())
        };

        let x = p.coordinates(architecture.shape());
        let difference = p.gather_pairs(x, swapped(&pairs), -1.0);
        let squared = p.dot(difference, difference);
        let (mean, inverse_deviation) = (of_class(&mut p, mean), of_class(&mut p, inverse_deviation));
        let z = p.subtract(squared, mean);
        let z = p.multiply(z, inverse_deviation);
        let clipped = p.unary(z, Unary::SoftClip { bound: 5.0 });
        let square = p.unary(z, Unary::SaturatingSquare { bound: 20.0 });
        let mut radial = vec![clipped];
        for centre in CENTRES {
            let shifted = p.shift(z, -centre);
            radial.push(p.unary(shifted, Unary::SoftClip { bound: 0.7 }));
        }
        let radial = p.concat(radial);
        let direction = p.multiply(difference, inverse_length);

        let embedding = p.bias(width * n_types, Init::Normal(1.0));
        let embedding = p.reshape(embedding, width, n_types);
        let embedding = p.gather(embedding, type_of);
        let of_noise = next(&mut p, width);
        let mut state = p.add(embedding, of_noise);

        // A sum over partners is as large as one term.
        let mean_degree = 2.0 * n_pairs as f32 / n as f32;
        let per_partner = 1.0 / mean_degree.sqrt();
        let normal = |columns: usize| Init::Normal((1.0 / columns as f32).sqrt());
        for _ in 0..self.layers {
            let of_class = p.bias(width * n_classes, Init::Normal(0.5));
            let of_class = p.reshape(of_class, width, n_classes);
            let of_class = p.gather(of_class, class_of.clone());
            let of_beads = p.linear(state, width, None, normal(width));
            let of_beads = p.gather_pairs(of_beads, pairs.clone(), 1.0);
            let sum = p.add(of_beads, of_class);
            let sum = p.linear(radial, width, Some(sum), normal(CENTRES.len()));
            let message = p.unary(sum, Unary::Silu);

            let received = p.scatter_pairs(message, pairs.clone(), 1.0, n);
            let received = p.scale(received, per_partner);
            let invariants = self.invariants(&mut p, message, direction, &pairs, per_partner, n);

            let bias = next(&mut p, width);
            let hidden = p.linear(state, width, Some(bias), normal(2 * width));
            let hidden = p.linear(received, width, Some(hidden), normal(2 * width));
            let n_invariants = p.rows(invariants);
            let hidden = p.linear(invariants, width, Some(hidden), normal(n_invariants));
            let hidden = p.unary(hidden, Unary::Silu);
            let update = p.linear(hidden, width, None, normal(width));
            let gate = next(&mut p, width);
            let gate = p.shift(gate, 1.0);
            let update = p.multiply(update, gate);
            state = p.add(state, update);
        }
        let bias = next(&mut p, width);
        let hidden = p.linear(state, width, Some(bias), normal(width));
        let hidden = p.unary(hidden, Unary::Silu);
        let energies = p.linear(hidden, 1, None, Init::Zero);
        let energy = p.sum_items(energies);

        let stiffness = next(&mut p, n_classes);
        let stiffness = p.unary(stiffness, Unary::Softplus);
        let stiffness = of_class(&mut p, stiffness);
        let slope = next(&mut p, n_classes);
        let slope = of_class(&mut p, slope);
        let quadratic = p.multiply(square, stiffness);
        let linear = p.multiply(clipped, slope);
        let of_pairs = p.add(quadratic, linear);
        let of_pairs = p.sum_items(of_pairs);
        let energy = p.add(energy, of_pairs);
        let constant = p.slice_rows(of_time, n_of_time - 1, 1);
        let sum = p.add(energy, constant);
        // Noised data are Gaussian up to terms of order a²: so is the model, whatever the weights.
        let energy = p.multiply(sum, signal);
        if self.states > 0 {
            let bias = next(&mut p, self.states);
            let logits = p.linear(hidden, self.states, None, Init::Zero);
            let logits = p.sum_items(logits);
            let logits = p.add(logits, bias);
            states::with_states(&mut p, energy, logits, signal);
        }
        Ok(p)
    }

    fn build(&self, context: &Context) -> Result<Built> {
        let program = self.program(context.architecture)?;
        let pairs = Pairs::new(context.architecture, self.neighbours);
        let noise = context.architecture.noise;
        if noise.has_two_ends() {
            return Err(Error::config(
                "model.network.kind = \"message_passing\"",
                "knows only paths from data to noise",
                "use kind = \"whitened\" between two ensembles",
            ));
        }
        let moments =
            squared_distance_moments(&pairs, context.architecture.n_beads, context.data.first.frames);
        let splines = TimeSplines::new(&noise, self.time_splines);
        let (m, k) = (self.time_splines, pairs.n_classes);
        let time_table = TimeTable::new(noise, program.n_time_rows(), &|log_snr, out| {
            splines.fill(log_snr, out);
            let t = noise.time_at_log_snr(log_snr);
            let (a2, g2) = (noise.scale(t).powi(2), noise.deviation(t).powi(2));
            for (class, &(mean, variance)) in moments.iter().enumerate() {
                out[m + class] = a2 * mean + 6.0 * g2;
                let variance = a2 * a2 * variance + 8.0 * a2 * g2 * mean + 24.0 * g2 * g2;
                out[m + k + class] = 1.0 / variance.max(1e-12).sqrt();
            }
            // a²/(a² + g²) as a function of ℓ alone, also beyond the ends.
            out[m + 2 * k] = 1.0 / (1.0 + (-log_snr).exp());
            out[m + 2 * k + 1] = 1.0 / (a2 + g2).sqrt();
        });
        Ok(Built { program, time_table })
    }
}

impl MessagePassing {
    /// Scalar and triple products of the vectors of each bead.
    fn invariants(
        &self,
        p: &mut Program,
        message: Value,
        direction: Value,
        pairs: &[[usize; 2]],
        per_partner: f32,
        n: usize,
    ) -> Value {
        let (k, n_pairs) = (self.vectors, pairs.len());
        let init = Init::Normal((1.0 / self.width as f32).sqrt());
        // Vectors lie one after the other along items: item v n + i is vector v of bead i.
        let weights = p.linear(message, k, None, init);
        let weights = p.reshape(weights, 1, k * n_pairs);
        let repeated: Vec<usize> = (0..k * n_pairs).map(|item| item % n_pairs).collect();
        let terms = p.gather(direction, repeated);
        let terms = p.multiply(terms, weights);
        // x_j − x_i points away from i and, seen from j, towards i.
        let ends: Vec<[usize; 2]> =
            (0..k).flat_map(|v| pairs.iter().map(move |[i, j]| [v * n + i, v * n + j])).collect();
        let vectors = p.scatter_pairs(terms, ends, -1.0, k * n);
        let vectors = p.scale(vectors, per_partner);
        let squares = p.dot(vectors, vectors);
        let shifted = p.shift(squares, 1.0);
        let inverse = p.unary(shifted, Unary::InverseSqrt);
        let vectors = p.multiply(vectors, inverse);

        let beads_of = |vectors: Vec<usize>| -> Vec<usize> {
            vectors.into_iter().flat_map(|v| (0..n).map(move |i| v * n + i)).collect()
        };
        let couples: Vec<[usize; 2]> = (0..k).flat_map(|a| (a..k).map(move |b| [a, b])).collect();
        let [a, b] = [0, 1]
            .map(|side| p.gather(vectors, beads_of(couples.iter().map(|couple| couple[side]).collect())));
        let dots = p.dot(a, b);
        let dots = p.reshape(dots, couples.len(), n);

        let triples: Vec<[usize; 3]> =
            (0..k).flat_map(|a| (a + 1..k).flat_map(move |b| (b + 1..k).map(move |c| [a, b, c]))).collect();
        let [a, b, c] = [0, 1, 2]
            .map(|side| p.gather(vectors, beads_of(triples.iter().map(|triple| triple[side]).collect())));
        let normal = p.cross(a, b);
        let volumes = p.dot(normal, c);
        let volumes = p.reshape(volumes, triples.len(), n);

        p.concat(vec![dots, volumes])
    }
}

/// [j, i] for each [i, j], so that gathered differences are x_j − x_i.
fn swapped(pairs: &[[usize; 2]]) -> Vec<[usize; 2]> {
    pairs.iter().map(|&[i, j]| [j, i]).collect()
}

/// Mean and variance of the squared distances of each class over all its pairs and the data.
fn squared_distance_moments(pairs: &Pairs, n_beads: usize, data: &[f32]) -> Vec<(f64, f64)> {
    let mut moments = vec![(0.0, 0.0, 0.0); pairs.n_classes];
    for frame in data.chunks_exact(3 * n_beads) {
        for (&[i, j], &class) in pairs.pairs.iter().zip(&pairs.class_of) {
            let squared: f64 =
                (0..3).map(|axis| f64::from(frame[3 * i + axis] - frame[3 * j + axis]).powi(2)).sum();
            let (count, mean, squares) = &mut moments[class];
            // Welford: one pass without cancellation.
            *count += 1.0;
            let step = squared - *mean;
            *mean += step / *count;
            *squares += step * (squared - *mean);
        }
    }
    moments.into_iter().map(|(count, mean, squares)| (mean, squares / f64::max(count, 1.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::Noise;

    #[test]
    fn large_molecules_keep_bonds_and_distant_partners() {
        let bonds: Vec<[usize; 2]> = (1..100).map(|k| [k - 1, k]).collect();
        let architecture = Architecture::new(vec![0; 100], bonds.clone(), Noise::default());
        let found = Pairs::new(&architecture, 24);
        assert!(bonds.iter().all(|bond| found.pairs.contains(bond)));
        assert!(found.pairs.len() < 100 * 24 && found.pairs.iter().any(|[i, j]| j - i > 50));
        assert_eq!((found.n_types, found.n_classes), (1, 4));
        assert_eq!(bonds_between(&architecture)[3][10], 7);
    }

    #[test]
    fn few_beads_exchange_messages_in_all_pairs() {
        let architecture = Architecture::new(vec![7, 2, 7], vec![[0, 1], [1, 2]], Noise::default());
        let found = Pairs::new(&architecture, 24);
        assert_eq!(found.pairs, [[0, 1], [0, 2], [1, 2]]);
        assert_eq!((found.class_of, found.type_of), (vec![0, 1, 0], vec![1, 0, 1]));
    }
}
