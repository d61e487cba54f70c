//! What a model is trained on: conformations of one ensemble, or of two that a path joins.
//!
//! All in reduced length, centred, `[frame][bead][xyz]`. Between two ensembles a data point is a pair
//! (x₀, x₁); how pairs are made decides the law of x_t in between, never its ends.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::potential::Space;
use crate::random::{Rng, fill_normal};

/// Conformations of one ensemble.
#[derive(Debug, Clone, Copy, Default)]
pub struct End<'a> {
    /// Conformations.
    pub frames: &'a [f32],
    /// ∂ log p/∂x at each of them, that is forces in kT per unit of reduced length; empty where unknown.
    pub scores: &'a [f32],
    /// The state of each of them; empty where unknown.
    pub states: &'a [usize],
}

/// How conformations of two ensembles are paired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Any with any, turned against each other at random: x₀ and x₁ are independent, which target score matching
    /// needs.
    #[default]
    Independent,
    /// Any with any, in the orientations in which they are given: all aligned to one conformation.
    Aligned,
    /// As `Aligned`, and within groups of 64 those are paired that make the sum of squared distances least.
    OptimalTransport,
}

/// What a model is trained on.
#[derive(Debug, Clone, Copy)]
pub struct TrainingData<'a> {
    /// Where conformations live.
    pub space: Space,
    /// The ensemble at the data end, t = 0.
    pub first: End<'a>,
    /// The ensemble at t = 1 of an interpolant.
    pub second: Option<End<'a>>,
    /// How the two are paired.
    pub pairing: Pairing,
}

/// Data points of a group: pairs, or conformations of the one ensemble.
#[derive(Debug, Clone, Default)]
pub struct DataPoints {
    /// x₀, `[point][bead][xyz]`.
    pub first: Vec<f64>,
    /// x₁; empty where there is one ensemble.
    pub second: Vec<f64>,
    /// ∂ log p₀/∂x at x₀; empty where unknown.
    pub first_scores: Vec<f64>,
    /// ∂ log p₁/∂x at x₁; empty where unknown.
    pub second_scores: Vec<f64>,
    /// The state of x₀; empty where unknown.
    pub states: Vec<usize>,
}

/// Most points that are drawn together, and among which an optimal pairing is sought.
pub const GROUP: usize = 64;

impl<'a> TrainingData<'a> {
    /// One ensemble without forces.
    pub fn of_frames(space: Space, frames: &'a [f32]) -> Self {
        let first = End { frames, ..End::default() };
        Self { space, first, second: None, pairing: Pairing::default() }
    }

    /// Checks that the numbers fit together.
    pub fn validate(&self) -> Result<()> {
        let size = self.space.dimension();
        for end in [Some(self.first), self.second].into_iter().flatten() {
            if end.frames.is_empty() || !end.frames.len().is_multiple_of(size) {
                let expected = format!("conformations of {size} numbers, at least one");
                return Err(Error::invalid("training frames", expected, end.frames.len().to_string()));
            }
            let n_frames = end.frames.len() / size;
            if !end.states.is_empty() && end.states.len() != n_frames {
                let expected = format!("{n_frames}, one for each, or none");
                return Err(Error::invalid(
                    "states of training frames",
                    expected,
                    end.states.len().to_string(),
                ));
            }
            if !end.scores.is_empty() && end.scores.len() != end.frames.len() {
                let expected = format!("{}, as many as coordinates, or none", end.frames.len());
                return Err(Error::invalid(
                    "forces of training frames",
                    expected,
                    end.scores.len().to_string(),
                ));
            }
        }
        Ok(())
    }

    /// How many conformations the first ensemble has.
    pub fn n_frames(&self) -> usize {
        self.first.frames.len() / self.space.dimension()
    }

    /// Whether ∂ log p/∂x is known at every end, and means what target score matching takes it for.
    pub fn has_scores(&self) -> bool {
        let known = |end: &End| !end.scores.is_empty();
        known(&self.first) && self.second.as_ref().is_none_or(known) && !self.is_coupled()
    }

    /// Whether x₀ and x₁ depend on each other.
    pub fn is_coupled(&self) -> bool {
        self.second.is_some() && self.pairing != Pairing::Independent
    }

    /// Draws at most [`GROUP`] points.
    pub fn draw(&self, n: usize, rng: &mut Rng, points: &mut DataPoints) {
        debug_assert!(n <= GROUP, "points are drawn in groups");
        let chosen: Vec<usize> = (0..n).map(|_| rng.random_range(0..self.n_frames())).collect();
        self.collect(&chosen, rng, points);
    }

    /// The points with these frames as x₀, and partners that are drawn.
    pub fn collect(&self, chosen: &[usize], rng: &mut Rng, points: &mut DataPoints) {
        let size = self.space.dimension();
        gather(self.first.frames, chosen, size, &mut points.first);
        gather(self.first.scores, chosen, size, &mut points.first_scores);
        points.states.clear();
        if !self.first.states.is_empty() {
            points.states.extend(chosen.iter().map(|&idx| self.first.states[idx]));
        }
        points.second.clear();
        points.second_scores.clear();
        let Some(second) = self.second else { return };
        let n_frames = second.frames.len() / size;
        let mut partners: Vec<usize> = chosen.iter().map(|_| rng.random_range(0..n_frames)).collect();
        if self.pairing == Pairing::OptimalTransport {
            let frame = |frames: &'a [f32], idx: usize| &frames[idx * size..][..size];
            let cost = |i: usize, j: usize| {
                let (a, b) = (frame(self.first.frames, chosen[i]), frame(second.frames, partners[j]));
                a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
            };
            partners = assignment(chosen.len(), &cost).into_iter().map(|j| partners[j]).collect();
        }
        gather(second.frames, &partners, size, &mut points.second);
        gather(second.scores, &partners, size, &mut points.second_scores);
        if self.pairing == Pairing::Independent && matches!(self.space, Space::Centered { .. }) {
            for point in 0..chosen.len() {
                let rotation = random_rotation(rng);
                rotate(&rotation, &mut points.second[point * size..][..size]);
                if !points.second_scores.is_empty() {
                    rotate(&rotation, &mut points.second_scores[point * size..][..size]);
                }
            }
        }
    }
}

fn gather(frames: &[f32], chosen: &[usize], size: usize, out: &mut Vec<f64>) {
    out.clear();
    if !frames.is_empty() {
        out.extend(chosen.iter().flat_map(|&idx| &frames[idx * size..][..size]).map(|&x| f64::from(x)));
    }
}

/// A rotation drawn uniformly: a normalised Gaussian quaternion.
pub fn random_rotation(rng: &mut Rng) -> [[f64; 3]; 3] {
    let mut q = [0.0; 4];
    fill_normal(rng, &mut q);
    let norm = q.iter().map(|q| q * q).sum::<f64>().sqrt();
    let [w, x, y, z] = q.map(|q| q / norm);
    [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ]
}

fn rotate(rotation: &[[f64; 3]; 3], vectors: &mut [f64]) {
    for v in vectors.chunks_exact_mut(3) {
        let old = [v[0], v[1], v[2]];
        for (row, v) in rotation.iter().zip(v) {
            *v = row[0] * old[0] + row[1] * old[1] + row[2] * old[2];
        }
    }
}

/// The permutation that makes Σ cost(i, π(i)) least: shortest augmenting paths (Jonker and Volgenant 1987).
pub fn assignment(n: usize, cost: &dyn Fn(usize, usize) -> f64) -> Vec<usize> {
    let costs: Vec<f64> = (0..n * n).map(|k| cost(k / n, k % n)).collect();
    // Row 0 and column 0 are virtual: `row_of[0]` is the row that is being placed.
    let (mut u, mut v) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let mut row_of = vec![0; n + 1];
    for row in 1..=n {
        row_of[0] = row;
        let mut column = 0;
        let mut least = vec![f64::INFINITY; n + 1];
        let mut from = vec![0; n + 1];
        let mut done = vec![false; n + 1];
        while row_of[column] != 0 {
            done[column] = true;
            let i = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for j in (1..=n).filter(|&j| !done[j]) {
                let reduced = costs[(i - 1) * n + j - 1] - u[i] - v[j];
                if reduced < least[j] {
                    (least[j], from[j]) = (reduced, column);
                }
                if least[j] < step {
                    (step, next) = (least[j], j);
                }
            }
            for j in 0..=n {
                if done[j] {
                    u[row_of[j]] += step;
                    v[j] -= step;
                } else {
                    least[j] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            let before = from[column];
            row_of[column] = row_of[before];
            column = before;
        }
    }
    let mut columns = vec![0; n];
    (1..=n).for_each(|j| columns[row_of[j] - 1] = j - 1);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};

    #[test]
    fn the_assignment_is_the_best_of_all_permutations() {
        let mut rng = Streams::new(1).stream(Purpose::Walker, 0);
        for _ in 0..200 {
            let costs: Vec<f64> = (0..16).map(|_| rng.random::<f64>() - 0.3).collect();
            let found = assignment(4, &|i, j| costs[4 * i + j]);
            let sum = |p: &[usize]| (0..4).map(|i| costs[4 * i + p[i]]).sum::<f64>();
            let mut best = f64::INFINITY;
            for code in 0..256 {
                let p = [code % 4, code / 4 % 4, code / 16 % 4, code / 64];
                if (0..4).all(|k| p.contains(&k)) {
                    best = best.min(sum(&p));
                }
            }
            assert!((sum(&found) - best).abs() < 1e-12);
        }
    }

    /// A rotation keeps lengths and handedness, and its mean is zero.
    #[test]
    fn rotations_are_proper_and_uniform() {
        let mut rng = Streams::new(2).stream(Purpose::Walker, 0);
        let (n, mut mean, mut squares) = (20_000, [[0.0; 3]; 3], [[0.0; 3]; 3]);
        for _ in 0..n {
            let r = random_rotation(&mut rng);
            let m = nalgebra::Matrix3::from_fn(|i, j| r[i][j]);
            assert!((m * m.transpose() - nalgebra::Matrix3::identity()).norm() < 1e-12);
            assert!((m.determinant() - 1.0).abs() < 1e-12);
            for i in 0..3 {
                for j in 0..3 {
                    mean[i][j] += r[i][j] / f64::from(n);
                    squares[i][j] += r[i][j].powi(2) / f64::from(n);
                }
            }
        }
        // Each entry of a uniform rotation has mean 0 and mean square 1/3.
        assert!(mean.iter().flatten().all(|m| m.abs() < 4.0 * (1.0 / 3.0 / f64::from(n)).sqrt()));
        assert!(squares.iter().flatten().all(|s| (s - 1.0 / 3.0).abs() < 4.0 * 0.3 / f64::from(n).sqrt()));
    }

    #[test]
    fn partners_are_turned_with_their_scores_or_paired_closely() {
        let space = Space::Centered { n_particles: 2 };
        let frames: Vec<f32> = (0..80).flat_map(|k| [k as f32, 0.0, 0.0, -(k as f32), 0.0, 0.0]).collect();
        let scores: Vec<f32> = frames.iter().map(|x| -2.0 * x).collect();
        let end = End { frames: &frames, scores: &scores, ..End::default() };
        let data = |pairing| TrainingData { space, first: end, second: Some(end), pairing };
        let mut points = DataPoints::default();
        let mut rng = Streams::new(3).stream(Purpose::Batch, 0);
        data(Pairing::Independent).draw(40, &mut rng, &mut points);
        assert!(points.second.iter().zip(&points.second_scores).all(|(x, s)| (s + 2.0 * x).abs() < 1e-6));
        assert!(points.second.chunks(6).filter(|x| x[1].abs() > 0.1).count() > 30);
        assert!(data(Pairing::Independent).has_scores() && !data(Pairing::Aligned).has_scores());

        let distance = |points: &DataPoints| -> f64 {
            points.first.iter().zip(&points.second).map(|(a, b)| (a - b).powi(2)).sum()
        };
        data(Pairing::Aligned).draw(40, &mut rng, &mut points);
        let random = distance(&points);
        data(Pairing::OptimalTransport).draw(40, &mut rng, &mut points);
        assert!(distance(&points) < 0.2 * random);
    }
}
