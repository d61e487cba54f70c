//! Problems with known answers: mixtures of Gaussians whose law, also when noised, is a formula.
//!
//! Laws on the plane that are not mixtures, the checkerboard and the Müller–Brown surface, are mixtures of narrow Gaussians
//! on a grid: what is then learned and compared with is that mixture, to the last digit.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::potential::analytic::{DiffusedMixture, GaussianMixture, ManyModes, MuellerBrown, Variances};
use crate::potential::{Noise, ReducedPotential as _, Space};
use crate::random::{Purpose, Streams};

/// A problem, or a family of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProblemSettings {
    /// Two Gaussians of unit deviation for every dimension and separation.
    TwoModes {
        /// Dimensions.
        dimensions: Vec<usize>,
        /// Distances of the modes in units of their deviation.
        separations: Vec<f64>,
        /// The weight of the first.
        #[serde(default = "four_fifths")]
        weight: f64,
    },
    /// Gaussians at random places, of unequal weights.
    ManyModes {
        /// How many.
        n_modes: usize,
        /// Of the space.
        dimension: usize,
        /// The largest weight over the least.
        #[serde(default = "ten")]
        weight_ratio: f64,
    },
    /// A product of wells with two minima of unequal depth along the first coordinates.
    ManyWell {
        /// Wells; modes are two to this power.
        n_wells: usize,
        /// Of the space.
        dimension: usize,
        /// Distance of the minima in units of the width of a mode.
        separation: f64,
        /// The weight of the first minimum of each well.
        #[serde(default = "two_thirds")]
        weight: f64,
    },
    /// Dark squares of a board, all of the same weight.
    Checkerboard {
        /// Squares along each side.
        n_squares: usize,
    },
    /// The surface of Müller and Brown with its three minima.
    MuellerBrown {
        /// kT per unit of the published surface.
        scale_kt: f64,
    },
}

fn four_fifths() -> f64 {
    0.8
}

fn ten() -> f64 {
    10.0
}

fn two_thirds() -> f64 {
    2.0 / 3.0
}

/// One law, of zero mean and unit variance per coordinate.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// For files and rows.
    pub name: String,
    /// The law.
    pub mixture: GaussianMixture,
    /// The law of each mode, normalised.
    pub modes: Vec<GaussianMixture>,
    /// Their weights.
    pub weights: Vec<f64>,
    /// The mode of each component.
    mode_of: Vec<usize>,
}

/// Components of a law before it is centred and scaled.
struct Components {
    weights: Vec<f64>,
    means: Vec<f64>,
    variances: Vec<f64>,
    mode_of: Vec<usize>,
}

/// Cells of a grid along each side of the plane.
const N_CELLS: usize = 64;
/// Cells with less of the law than this are left out.
const LEAST_WEIGHT: f64 = 1e-6;

impl ProblemSettings {
    /// The problems of the family, with names that tell them apart.
    pub fn problems(&self, place: &str) -> Result<Vec<Problem>> {
        let bad = |message: &str| Err(Error::config(place, message, ""));
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let share = |value: f64| value > 0.0 && value < 1.0;
        match self {
            Self::TwoModes { dimensions, separations, weight } => {
                if dimensions.contains(&0) || !separations.iter().all(|s| positive(*s)) || !share(*weight) {
                    return bad(
                        "needs dimensions of at least 1, positive separations and a weight between 0 and 1",
                    );
                }
                let mut all = Vec::new();
                for &dimension in dimensions {
                    for &separation in separations {
                        let mut means = vec![0.0; 2 * dimension];
                        (means[0], means[dimension]) = (-0.5 * separation, 0.5 * separation);
                        let components = Components {
                            weights: vec![*weight, 1.0 - weight],
                            means,
                            variances: vec![1.0; 2],
                            mode_of: vec![0, 1],
                        };
                        all.push(
                            components
                                .problem(format!("two_modes_{dimension}d_{separation}sigma"), dimension)?,
                        );
                    }
                }
                Ok(all)
            }
            Self::ManyModes { n_modes, dimension, weight_ratio } => {
                let settings = ManyModes {
                    n_modes: *n_modes,
                    dimension: *dimension,
                    weight_ratio: *weight_ratio,
                    ..ManyModes::default()
                };
                let mixture = settings.mixture()?;
                let components = Components {
                    weights: mixture.weights(),
                    means: (0..*n_modes).flat_map(|k| mixture.mean(k).to_vec()).collect(),
                    variances: vec![settings.variance; *n_modes],
                    mode_of: (0..*n_modes).collect(),
                };
                Ok(vec![components.problem(format!("{n_modes}_modes_{dimension}d"), *dimension)?])
            }
            Self::ManyWell { n_wells, dimension, separation, weight } => {
                if *n_wells == 0
                    || n_wells > dimension
                    || *n_wells > 10
                    || !positive(*separation)
                    || !share(*weight)
                {
                    return bad(
                        "needs 1 to 10 wells, as many dimensions, a positive separation and a weight between 0 and 1",
                    );
                }
                let n = 1 << n_wells;
                let is_second = |mode: usize, well: usize| mode >> well & 1 == 1;
                let weight_of = |mode: usize| -> f64 {
                    (0..*n_wells)
                        .map(|well| if is_second(mode, well) { 1.0 - weight } else { *weight })
                        .product()
                };
                let mut means = vec![0.0; n * dimension];
                for (mode, mean) in means.chunks_exact_mut(*dimension).enumerate() {
                    for (well, m) in mean.iter_mut().take(*n_wells).enumerate() {
                        *m = if is_second(mode, well) { 0.5 } else { -0.5 } * separation;
                    }
                }
                let components = Components {
                    weights: (0..n).map(weight_of).collect(),
                    means,
                    variances: vec![1.0; n],
                    mode_of: (0..n).collect(),
                };
                Ok(vec![components.problem(format!("many_well_{dimension}d"), *dimension)?])
            }
            Self::Checkerboard { n_squares } => {
                if !(2..=8).contains(n_squares) {
                    return bad("needs 2 to 8 squares along each side");
                }
                let n = *n_squares;
                let components = on_grid([-1.0, 1.0], [-1.0, 1.0], N_CELLS.next_multiple_of(n), |x, y| {
                    let index = |x: f64| ((0.5 * (x + 1.0) * n as f64) as usize).min(n - 1);
                    let (column, row) = (index(x), index(y));
                    let is_dark = (column + row).is_multiple_of(2);
                    is_dark.then_some((1.0, row * n + column))
                });
                Ok(vec![components.problem("checkerboard".into(), 2)?])
            }
            Self::MuellerBrown { scale_kt } => {
                if !positive(*scale_kt) {
                    return bad("needs a positive scale_kt");
                }
                const MINIMA: [[f64; 2]; 3] = [[-0.558, 1.442], [0.623, 0.028], [-0.050, 0.467]];
                let surface = MuellerBrown { scale_kt: *scale_kt };
                let components = on_grid([-1.7, 1.3], [-0.5, 2.1], N_CELLS, |x, y| {
                    let mut u = [0.0];
                    surface.energies(&[x, y], &mut u).ok()?;
                    let distance = |m: &[f64; 2]| (x - m[0]).powi(2) + (y - m[1]).powi(2);
                    let nearest =
                        (0..3).min_by(|a, b| distance(&MINIMA[*a]).total_cmp(&distance(&MINIMA[*b])));
                    Some(((-u[0] - 146.7 * scale_kt).exp(), nearest.unwrap_or(0)))
                });
                Ok(vec![components.problem("mueller_brown".into(), 2)?])
            }
        }
    }
}

/// Gaussians of half a cell's width in those cells of a rectangle where there is a weight, with their modes.
fn on_grid(
    x: [f64; 2],
    y: [f64; 2],
    n_cells: usize,
    weight: impl Fn(f64, f64) -> Option<(f64, usize)>,
) -> Components {
    let step = [(x[1] - x[0]) / n_cells as f64, (y[1] - y[0]) / n_cells as f64];
    let mut found = Vec::new();
    for i in 0..n_cells {
        for j in 0..n_cells {
            let at = [x[0] + (i as f64 + 0.5) * step[0], y[0] + (j as f64 + 0.5) * step[1]];
            if let Some((weight, mode)) = weight(at[0], at[1]) {
                found.push((weight, at, mode));
            }
        }
    }
    let total: f64 = found.iter().map(|(weight, ..)| weight).sum();
    found.retain(|(weight, ..)| *weight > LEAST_WEIGHT * total);
    let variance = 0.25 * step[0] * step[1];
    Components {
        weights: found.iter().map(|(weight, ..)| *weight).collect(),
        means: found.iter().flat_map(|(_, at, _)| *at).collect(),
        variances: vec![variance; found.len()],
        mode_of: found.iter().map(|(.., mode)| *mode).collect(),
    }
}

impl Components {
    /// Zero mean, unit variance per coordinate.
    fn problem(mut self, name: String, dimension: usize) -> Result<Problem> {
        let total: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|weight| *weight /= total);
        let d = dimension;
        let mut centre = vec![0.0; d];
        for (weight, mean) in self.weights.iter().zip(self.means.chunks_exact(d)) {
            centre.iter_mut().zip(mean).for_each(|(centre, m)| *centre += weight * m);
        }
        self.means
            .chunks_exact_mut(d)
            .for_each(|mean| mean.iter_mut().zip(&centre).for_each(|(m, c)| *m -= c));
        let spread = |(weight, (mean, variance)): (&f64, (&[f64], &f64))| {
            weight * (mean.iter().map(|m| m * m).sum::<f64>() / d as f64 + variance)
        };
        let rest = self.means.chunks_exact(d).zip(&self.variances);
        let variance: f64 = self.weights.iter().zip(rest).map(spread).sum();
        self.means.iter_mut().for_each(|m| *m /= variance.sqrt());
        self.variances.iter_mut().for_each(|v| *v /= variance);

        // Modes by their order of appearance.
        let mut known = Vec::new();
        for mode in &self.mode_of {
            if !known.contains(mode) {
                known.push(*mode);
            }
        }
        let mode_of: Vec<usize> =
            self.mode_of.iter().map(|mode| known.iter().position(|k| k == mode).unwrap_or(0)).collect();
        let space = Space::Euclidean { dimension };
        let of = |chosen: &dyn Fn(usize) -> bool| {
            let components: Vec<usize> = (0..mode_of.len()).filter(|&k| chosen(mode_of[k])).collect();
            let weights: Vec<f64> = components.iter().map(|&k| self.weights[k]).collect();
            let means = components.iter().flat_map(|&k| self.means[k * d..][..d].to_vec()).collect();
            let variances = components.iter().map(|&k| self.variances[k]).collect();
            let mixture = GaussianMixture::new(space, &weights, means, Variances::Isotropic(variances));
            mixture.map(|mixture| (mixture, weights.iter().sum::<f64>()))
        };
        let (mixture, _) = of(&|_| true)?;
        let mut modes = Vec::new();
        let mut weights = Vec::new();
        for mode in 0..known.len() {
            let (mixture, weight) = of(&|k| k == mode)?;
            modes.push(mixture);
            weights.push(weight);
        }
        Ok(Problem { name, mixture, modes, weights, mode_of })
    }
}

impl Problem {
    /// Coordinates.
    pub fn dimension(&self) -> usize {
        self.mixture.space().dimension()
    }

    /// The law when it is noised.
    pub fn path(&self, noise: Noise) -> DiffusedMixture {
        DiffusedMixture::new(self.mixture.clone(), noise)
    }

    /// The mode to which a point most likely belongs.
    pub fn mode(&self, x: &[f64]) -> usize {
        self.mode_of[self.mixture.assign(x)]
    }

    /// ∂ log p/∂x at points.
    pub fn scores(&self, frames: &[f32]) -> Result<Vec<f32>> {
        let x: Vec<f64> = frames.iter().map(|x| f64::from(*x)).collect();
        let (mut u, mut gradient) = (vec![0.0; x.len() / self.dimension()], vec![0.0; x.len()]);
        self.mixture.energies_and_gradients(&x, &mut u, &mut gradient)?;
        Ok(gradient.iter().map(|gradient| -gradient as f32).collect())
    }

    /// Independent points.
    pub fn sample(&self, n: usize, streams: &Streams) -> Vec<f64> {
        self.sample_with_modes(n, streams).0
    }

    /// Independent points and the mode from which each was drawn.
    pub fn sample_with_modes(&self, n: usize, streams: &Streams) -> (Vec<f64>, Vec<usize>) {
        let d = self.dimension();
        let mut x = vec![0.0; n * d];
        let draw = |(idx, x): (usize, &mut [f64])| {
            self.mode_of[self.mixture.sample(&mut streams.stream(Purpose::Start, idx as u64), x)]
        };
        let modes = x.chunks_exact_mut(d).enumerate().map(draw).collect();
        (x, modes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_have_unit_variance_and_modes_with_the_weights_that_were_asked_for() {
        let families = [
            ProblemSettings::TwoModes { dimensions: vec![2, 16], separations: vec![4.0, 16.0], weight: 0.8 },
            ProblemSettings::ManyModes { n_modes: 40, dimension: 128, weight_ratio: 10.0 },
            ProblemSettings::ManyWell { n_wells: 4, dimension: 8, separation: 6.0, weight: 0.7 },
            ProblemSettings::Checkerboard { n_squares: 4 },
            ProblemSettings::MuellerBrown { scale_kt: 0.1 },
        ];
        let problems: Vec<Problem> =
            families.iter().flat_map(|family| family.problems("here").unwrap()).collect();
        let n_modes: Vec<usize> = problems.iter().map(|problem| problem.modes.len()).collect();
        assert_eq!(n_modes, [2, 2, 2, 2, 40, 16, 8, 3]);
        for problem in &problems {
            let n = 4000;
            let (x, d) = (problem.sample(n, &Streams::new(4)), problem.dimension());
            let mean_square = x.iter().map(|x| x * x).sum::<f64>() / (n * d) as f64;
            assert!((mean_square - 1.0).abs() < 0.12, "{}: {mean_square}", problem.name);
            assert!((problem.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            // Points fall into modes as often as weights say.
            let mut counts = vec![0.0; problem.modes.len()];
            x.chunks_exact(d).for_each(|x| counts[problem.mode(x)] += 1.0 / n as f64);
            for (count, weight) in counts.iter().zip(&problem.weights) {
                let error = (weight * (1.0 - weight) / n as f64).sqrt();
                // Modes of the surface overlap a little.
                assert!((count - weight).abs() < 5.0 * error + 0.01, "{}: {count} {weight}", problem.name);
            }
        }
        assert_eq!(problems[0].weights, [0.8, 1.0 - 0.8]);
        assert!((problems[5].weights[15] - 0.3_f64.powi(4)).abs() < 1e-12);
        let bad = ProblemSettings::TwoModes { dimensions: vec![0], separations: vec![1.0], weight: 0.5 };
        assert!(bad.problems("problems[0]").unwrap_err().to_string().contains("problems[0]"));
    }
}
