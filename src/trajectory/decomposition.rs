//! Directions in which a trajectory varies most (PCA), and those along which it is slowest (TICA).
//!
//! Both turn features, for example distances between beads, into ξ = c · (f − f̄). Principal component
//! analysis diagonalises the covariance and does not mind the order of frames. Time-lagged independent
//! component analysis maximises the autocorrelation of ξ at a lag τ,
//!
//! C(τ) c = λ C(0) c,
//!
//! with both covariances estimated from the same pairs of frames (f_t, f_{t+τ}) and from the reversed pairs, so
//! that C(τ) is symmetric and |λ| ≤ 1, as detailed balance demands (Pérez-Hernández et al., J. Chem. Phys. 139,
//! 015102, 2013; Schwantes and Pande, J. Chem. Theory Comput. 9, 2000, 2013). A process that relaxes with a
//! single time has λ = exp(−τ/t). Pairs are taken within contiguous pieces of dynamics only: frames of replica
//! exchange or of Monte Carlo moves have an order, but no kinetics, and must not be given to TICA.

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Directions of C(0) with less than this share of the largest variance are rounding noise of redundant
/// features: double-precision covariances are exact to about 1e-13 of the largest.
const SMALLEST_VARIANCE: f64 = 1e-10;

/// A linear map of features: `ξ_k = Σ_i components[k][i] (f_i − mean_i)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// f̄
    pub mean: Vec<f64>,
    /// One row per coordinate.
    pub components: Vec<Vec<f64>>,
}

impl Projection {
    /// How many features go in.
    pub fn n_features(&self) -> usize {
        self.mean.len()
    }

    /// How many coordinates come out.
    pub fn n_components(&self) -> usize {
        self.components.len()
    }

    /// The coordinates of each frame, `[frame][component]`, of `features` as `[frame][feature]`.
    pub fn project(&self, features: &[f64]) -> Result<Vec<f64>> {
        check(features, self.n_features())?;
        let mut projected = Vec::with_capacity(features.len() / self.n_features() * self.n_components());
        for frame in features.chunks_exact(self.n_features()) {
            for component in &self.components {
                let terms = component.iter().zip(frame.iter().zip(&self.mean));
                projected.push(terms.map(|(c, (f, mean))| c * (f - mean)).sum());
            }
        }
        Ok(projected)
    }

    /// The same with the first coordinates only.
    pub fn truncated(mut self, n_components: usize) -> Self {
        self.components.truncate(n_components);
        self
    }
}

/// Principal components: orthonormal directions in the order of their variances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pca {
    /// Variance along each component, in the square of the unit of the features.
    pub variances: Vec<f64>,
    /// Unit vectors.
    pub projection: Projection,
}

impl Pca {
    /// Of frames in any order, `[frame][feature]`.
    pub fn fit(frames: &[f64], n_features: usize) -> Result<Self> {
        check(frames, n_features)?;
        let mut moments = Moments::new(n_features, first_frame(&[frames], n_features));
        frames.chunks_exact(n_features).for_each(|frame| moments.add(frame, frame));
        let (mean, covariance, _) = moments.finish();
        let (variances, axes) = descending(covariance);
        let components = axes.column_iter().map(|axis| signed(axis.into_owned())).collect();
        // Rounding may leave a direction without variance slightly negative.
        let variances = variances.into_iter().map(|variance| variance.max(0.0)).collect();
        Ok(Self { variances, projection: Projection { mean, components } })
    }
}

/// Time-lagged independent components, slowest first, each of variance 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tica {
    /// τ in frames.
    pub lag: usize,
    /// Pairs of frames that were used.
    pub n_pairs: usize,
    /// λ, the autocorrelation of each coordinate at the lag.
    pub eigenvalues: Vec<f64>,
    /// Components scaled to variance 1.
    pub projection: Projection,
}

impl Tica {
    /// Of contiguous pieces of dynamics with equal time steps, each `[frame][feature]`.
    ///
    /// A piece that is not longer than the lag has no pair of frames and is an error rather than ignored.
    pub fn fit(pieces: &[&[f64]], n_features: usize, lag: usize) -> Result<Self> {
        if lag == 0 {
            return Err(Error::invalid("lag of TICA", "at least one frame", "0"));
        }
        if pieces.is_empty() {
            return Err(Error::invalid("trajectory for TICA", "at least one piece", "none"));
        }
        let mut moments = Moments::new(n_features, first_frame(pieces, n_features));
        for (idx, piece) in pieces.iter().enumerate() {
            check(piece, n_features)?;
            let n_frames = piece.len() / n_features;
            if n_frames <= lag {
                return Err(Error::invalid(
                    "trajectory for TICA",
                    format!("contiguous pieces longer than the lag of {lag} frames"),
                    format!("{n_frames} frames in piece {idx}"),
                ));
            }
            let later = piece[lag * n_features..].chunks_exact(n_features);
            piece.chunks_exact(n_features).zip(later).for_each(|(now, then)| moments.add(now, then));
        }
        let n_pairs = moments.n_pairs;
        let (mean, covariance, lagged) = moments.finish();

        let (variances, axes) = descending(covariance);
        let largest = variances.first().copied().unwrap_or(0.0);
        let rank = variances.iter().take_while(|&&variance| variance > SMALLEST_VARIANCE * largest).count();
        if rank == 0 {
            return Err(Error::invalid("features for TICA", "some that vary", "constant values only"));
        }
        let whitening = DMatrix::from_fn(n_features, rank, |i, k| axes[(i, k)] / variances[k].sqrt());
        let (eigenvalues, rotation) = descending(whitening.transpose() * lagged * &whitening);
        let components = (whitening * rotation).column_iter().map(|c| signed(c.into_owned())).collect();
        Ok(Self { lag, n_pairs, eigenvalues, projection: Projection { mean, components } })
    }

    /// t = −τ/ln λ in frames; `None` where the autocorrelation is not between 0 and 1, which is noise.
    pub fn timescales(&self) -> Vec<Option<f64>> {
        let timescale = |&value: &f64| (value > 0.0 && value < 1.0).then(|| -(self.lag as f64) / value.ln());
        self.eigenvalues.iter().map(timescale).collect()
    }
}

/// Distances between particles at least `separation` apart in their order: the pairs, and `[frame][pair]`.
///
/// They do not change under rotation, and tell a conformation up to its mirror image.
pub fn pair_distances(
    positions_nm: &[f64],
    n_particles: usize,
    separation: usize,
) -> (Vec<[usize; 2]>, Vec<f64>) {
    let pairs: Vec<[usize; 2]> =
        (0..n_particles).flat_map(|i| (i + separation.max(1)..n_particles).map(move |j| [i, j])).collect();
    let distances = positions_nm
        .chunks_exact(3 * n_particles)
        .flat_map(|frame| {
            pairs.iter().map(|&[i, j]| {
                (0..3).map(|axis| (frame[3 * i + axis] - frame[3 * j + axis]).powi(2)).sum::<f64>().sqrt()
            })
        })
        .collect();
    (pairs, distances)
}

/// Sums over pairs of frames, taken from an origin near the mean so that nothing cancels.
struct Moments {
    origin: Vec<f64>,
    n_pairs: usize,
    sum: DVector<f64>,
    same: DMatrix<f64>,
    lagged: DMatrix<f64>,
}

impl Moments {
    fn new(n_features: usize, origin: Vec<f64>) -> Self {
        let zero = || DMatrix::zeros(n_features, n_features);
        Self { origin, n_pairs: 0, sum: DVector::zeros(n_features), same: zero(), lagged: zero() }
    }

    /// Adds a pair and its reverse, each with weight ½; only the lower triangles.
    fn add(&mut self, now: &[f64], then: &[f64]) {
        self.n_pairs += 1;
        for (j, origin_j) in self.origin.iter().enumerate() {
            let (now_j, then_j) = (now[j] - origin_j, then[j] - origin_j);
            self.sum[j] += 0.5 * (now_j + then_j);
            for (i, origin_i) in self.origin.iter().enumerate().skip(j) {
                let (now_i, then_i) = (now[i] - origin_i, then[i] - origin_i);
                self.same[(i, j)] += 0.5 * (now_i * now_j + then_i * then_j);
                self.lagged[(i, j)] += 0.5 * (now_i * then_j + then_i * now_j);
            }
        }
    }

    /// Mean, C(0) and C(τ).
    fn finish(self) -> (Vec<f64>, DMatrix<f64>, DMatrix<f64>) {
        let n = self.n_pairs as f64;
        let shift = self.sum / n;
        let centred = |mut matrix: DMatrix<f64>| {
            matrix.fill_upper_triangle_with_lower_triangle();
            matrix / n - &shift * shift.transpose()
        };
        let mean = self.origin.iter().zip(&shift).map(|(origin, shift)| origin + shift).collect();
        (mean, centred(self.same), centred(self.lagged))
    }
}

/// Eigenvalues from the largest down, and their eigenvectors as columns.
fn descending(matrix: DMatrix<f64>) -> (Vec<f64>, DMatrix<f64>) {
    let eigen = matrix.symmetric_eigen();
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|&i, &j| eigen.eigenvalues[j].total_cmp(&eigen.eigenvalues[i]));
    let values = order.iter().map(|&idx| eigen.eigenvalues[idx]).collect();
    (values, eigen.eigenvectors.select_columns(&order))
}

/// A direction has no sign of its own: the largest coefficient is made positive.
fn signed(component: DVector<f64>) -> Vec<f64> {
    let largest = component[component.iamax()];
    component.iter().map(|c| if largest < 0.0 { -c } else { *c }).collect()
}

fn first_frame(pieces: &[&[f64]], n_features: usize) -> Vec<f64> {
    let frame = pieces.iter().find_map(|piece| piece.get(..n_features));
    frame.map_or_else(|| vec![0.0; n_features], <[f64]>::to_vec)
}

fn check(features: &[f64], n_features: usize) -> Result<()> {
    let found = if n_features == 0 {
        "none per frame".to_string()
    } else if features.is_empty() || !features.len().is_multiple_of(n_features) {
        format!("{} numbers", features.len())
    } else if let Some(at) = features.iter().position(|value| !value.is_finite()) {
        format!("{} in frame {}", features[at], at / n_features)
    } else {
        return Ok(());
    };
    Err(Error::invalid("features", format!("frames of {n_features} finite numbers"), found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    /// Three independent Ornstein–Uhlenbeck processes with these autocorrelations per frame.
    const CORRELATIONS: [f64; 3] = [0.98, 0.9, 0.5];
    const DEVIATIONS: [f64; 3] = [0.3, 1.0, 4.0];

    /// A matrix that mixes the processes into four features, the last one redundant.
    fn mixing() -> DMatrix<f64> {
        let (c, s) = (0.6, 0.8);
        let first = DMatrix::from_row_slice(3, 3, &[c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0]);
        let second = DMatrix::from_row_slice(3, 3, &[1.0, 0.0, 0.0, 0.0, c, -s, 0.0, s, c]);
        let rotation = second * first;
        let mut mixing = rotation.clone().insert_row(3, 0.0);
        mixing.row_mut(3).copy_from(&(rotation.row(0) - rotation.row(2)));
        mixing
    }

    fn piece(n_frames: usize, walker: u64) -> Vec<f64> {
        let mut rng = Streams::new(6).stream(Purpose::Walker, walker);
        let (mut y, mut z) = ([0.0; 3], [0.0; 3]);
        fill_normal(&mut rng, &mut y);
        let mixing = mixing();
        let mut features = Vec::new();
        for _ in 0..n_frames {
            fill_normal(&mut rng, &mut z);
            for k in 0..3 {
                y[k] = CORRELATIONS[k] * y[k] + (1.0 - CORRELATIONS[k].powi(2)).sqrt() * z[k];
            }
            let scaled = DVector::from_fn(3, |k, _| DEVIATIONS[k] * y[k]);
            features.extend((&mixing * scaled).iter().zip([5.0, -100.0, 0.0, 1.0]).map(|(f, mean)| f + mean));
        }
        features
    }

    #[test]
    fn tica_finds_the_relaxation_times_of_mixed_ornstein_uhlenbeck_processes() {
        let (n, lag) = (40_000, 5);
        let pieces: Vec<Vec<f64>> = (0..4).map(|walker| piece(n, walker)).collect();
        let pieces: Vec<&[f64]> = pieces.iter().map(Vec::as_slice).collect();
        let tica = Tica::fit(&pieces, 4, lag).unwrap();
        assert_eq!((tica.eigenvalues.len(), tica.n_pairs), (3, 4 * (n - lag)));
        for (k, value) in tica.eigenvalues.iter().enumerate() {
            let exact = CORRELATIONS[k].powi(lag as i32);
            // Bartlett's formula for an autoregressive process of first order.
            let (q, steps) = (CORRELATIONS[k].powi(2), lag as f64);
            let variance = ((1.0 + q) * (1.0 - q.powf(steps)) / (1.0 - q) - 2.0 * steps * q.powf(steps))
                / (4 * n) as f64;
            assert!((value - exact).abs() < 4.0 * variance.sqrt() + 1e-3, "{k}: {value} {exact}");
        }
        let slowest = tica.timescales()[0].unwrap();
        assert!((slowest / (-1.0 / CORRELATIONS[0].ln()) - 1.0).abs() < 0.1, "{slowest}");

        // Coordinates have mean 0 and variance 1 and are the processes themselves, although the slowest has
        // the smallest variance.
        let projected = tica.projection.project(pieces[0]).unwrap();
        let direction = DVector::from_vec(tica.projection.components[0].clone());
        let response =
            direction.transpose() * mixing() * DMatrix::from_diagonal(&DVector::from_row_slice(&DEVIATIONS));
        assert!((response[0].abs() - 1.0).abs() < 0.1 && response[1].abs() < 0.1 && response[2].abs() < 0.1);
        let square = projected.chunks_exact(3).map(|xi| xi[2] * xi[2]).sum::<f64>() / n as f64;
        assert!((square - 1.0).abs() < 0.05, "{square}");
    }

    #[test]
    fn pca_finds_variances_whatever_the_order_and_refuses_nothing_that_is_finite() {
        let frames = piece(20_000, 9);
        let pca = Pca::fit(&frames, 4).unwrap();
        let reversed: Vec<f64> = frames.chunks_exact(4).rev().flatten().copied().collect();
        let again = Pca::fit(&reversed, 4).unwrap();
        assert!(pca.variances.iter().zip(&again.variances).all(|(a, b)| (a - b).abs() < 1e-9));
        // The law of the features is known: its covariance is M diag(σ²) Mᵀ.
        let mixing = mixing();
        let exact = &mixing
            * DMatrix::from_diagonal(&DVector::from_row_slice(&DEVIATIONS.map(|d| d * d)))
            * mixing.transpose();
        let (exact, _) = descending(exact);
        for k in 0..3 {
            assert!((pca.variances[k] / exact[k] - 1.0).abs() < 0.2, "{:?} {exact:?}", pca.variances);
        }
        assert!(pca.variances[3] < 1e-12 * pca.variances[0]);
        assert_eq!(Pca::fit(&[1.0, 2.0], 2).unwrap().variances, [0.0, 0.0]);
    }

    #[test]
    fn short_pieces_and_bad_numbers_are_named() {
        let (long, short) = (piece(50, 0), piece(10, 1));
        let message = |result: Result<Tica>| result.err().unwrap().to_string();
        let text = message(Tica::fit(&[&long, &short], 4, 10));
        assert!(text.contains("longer than the lag of 10 frames") && text.contains("piece 1"), "{text}");
        assert!(message(Tica::fit(&[&long], 4, 0)).contains("at least one frame"));
        let mut broken = long.clone();
        broken[9] = f64::NAN;
        assert!(message(Tica::fit(&[&broken], 4, 3)).contains("NaN in frame 2"));
        assert!(message(Tica::fit(&[&[1.0; 40]], 4, 3)).contains("constant values only"));
    }

    #[test]
    fn the_shipped_slow_coordinates_of_chignolin_are_read_and_written() {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/systems/chignolin_ca/tica.toml"));
        let mut table: toml::Table = text.parse().unwrap();
        let pairs: Vec<[usize; 2]> = table.remove("pairs").unwrap().try_into().unwrap();
        let tica: Tica = table.remove("tica").unwrap().try_into().unwrap();
        let (expected, distances) = pair_distances(&(0..30).map(f64::from).collect::<Vec<_>>(), 10, 2);
        assert_eq!(pairs, expected);
        assert_eq!(tica.projection.project(&distances).unwrap().len(), 2);
        assert_eq!(toml::from_str::<Tica>(&toml::to_string(&tica).unwrap()).unwrap(), tica);
        // Frames 10 ps apart: 4.3 ns and 1.7 ns.
        let slowest = tica.timescales()[0].unwrap() * 0.01;
        assert!((slowest - 4.28).abs() < 0.01, "{slowest}");
    }
}
