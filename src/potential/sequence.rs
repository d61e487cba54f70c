//! Paths put end to end, so that samplers and estimators follow them as one.
//!
//! λ ∈ [0, n] of n pieces: piece k covers [k, k + 1] and is travelled along a [`Route`] of its own, for
//! example noise to learned data end by log(a²/g²), then learned to physical energy by a straight line.
//! The joint λ = k belongs to the piece that ends there. Where one piece ends and the next begins the
//! energies have to agree, up to a constant that the normalisers then contain; [`Sequence::joint_gaps`]
//! measures this on conformations.

use super::{PotentialPath, Route, Space};
use crate::error::{Error, Result};

/// One part of a [`Sequence`].
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    /// Its energies.
    pub path: &'a dyn PotentialPath,
    /// The order of its own λ.
    pub route: Route,
}

/// Paths put end to end.
#[derive(Clone)]
pub struct Sequence<'a> {
    pieces: Vec<Piece<'a>>,
}

impl<'a> Sequence<'a> {
    /// Pieces on one space, in the order of travel; each route must stay within the range of its path.
    pub fn new(pieces: Vec<Piece<'a>>) -> Result<Self> {
        let Some(first) = pieces.first() else {
            return Err(Error::invalid("sequence of paths", "at least one piece", "none"));
        };
        let space = first.path.space();
        for piece in &pieces {
            if piece.path.space() != space {
                let found = format!("{:?}", piece.path.space());
                return Err(Error::invalid("sequence of paths", format!("one space, {space:?}"), found));
            }
            let (low, high) = piece.path.range();
            for lambda in [piece.route.lambda(0.0), piece.route.lambda(1.0)] {
                if !(low..=high).contains(&lambda) {
                    let expected = format!("routes with λ between {low} and {high}");
                    return Err(Error::invalid("sequence of paths", expected, lambda.to_string()));
                }
            }
        }
        Ok(Self { pieces })
    }

    /// How many pieces.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Never: a sequence has at least one piece.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The route along all of it, at equal speed in λ.
    pub fn route(&self) -> Route {
        Route::Linear { from: 0.0, to: self.pieces.len() as f64 }
    }

    /// The piece to which λ belongs, and the λ of that piece.
    pub fn locate(&self, lambda: f64) -> (usize, f64) {
        let last = self.pieces.len() - 1;
        let piece = ((lambda.ceil() - 1.0).max(0.0) as usize).min(last);
        (piece, self.pieces[piece].route.lambda(lambda - piece as f64))
    }

    /// For each joint the spread, largest minus smallest over these conformations, of the difference between
    /// the piece that ends there and the one that begins: 0 where the pieces describe the same law.
    pub fn joint_gaps(&self, x: &[f64]) -> Result<Vec<f64>> {
        let n = x.len() / self.space().dimension();
        let (mut before, mut after) = (vec![0.0; n], vec![0.0; n]);
        self.pieces
            .windows(2)
            .map(|pair| {
                pair[0].path.energies(&vec![pair[0].route.lambda(1.0); n], x, &mut before)?;
                pair[1].path.energies(&vec![pair[1].route.lambda(0.0); n], x, &mut after)?;
                let ends = (f64::INFINITY, f64::NEG_INFINITY);
                let differences = before.iter().zip(&after).map(|(before, after)| after - before);
                let (low, high) = differences.fold(ends, |(low, high), gap| (low.min(gap), high.max(gap)));
                Ok(if n == 0 { 0.0 } else { high - low })
            })
            .collect()
    }

    /// Calls `evaluate` once for each piece that occurs, with the indices of its conformations, their own λ
    /// and their positions; one piece for all needs no copy.
    fn for_pieces(
        &self,
        lambda: &[f64],
        x: &[f64],
        mut evaluate: impl FnMut(&Piece, Part<'_>) -> Result<()>,
    ) -> Result<()> {
        let d = self.space().dimension();
        let located: Vec<(usize, f64)> = lambda.iter().map(|&lambda| self.locate(lambda)).collect();
        for (k, piece) in self.pieces.iter().enumerate() {
            let indices: Vec<usize> = (0..lambda.len()).filter(|&idx| located[idx].0 == k).collect();
            if indices.is_empty() {
                continue;
            }
            let own: Vec<f64> = indices.iter().map(|&idx| located[idx].1).collect();
            if indices.len() == lambda.len() {
                return evaluate(piece, Part { indices: None, lambda: &own, x });
            }
            let gathered: Vec<f64> = indices.iter().flat_map(|&idx| &x[idx * d..][..d]).copied().collect();
            evaluate(piece, Part { indices: Some(&indices), lambda: &own, x: &gathered })?;
        }
        Ok(())
    }
}

/// The conformations of a batch that belong to one piece.
struct Part<'b> {
    /// Where they stand in the batch; `None`: all of them, in order.
    indices: Option<&'b [usize]>,
    /// λ of the piece.
    lambda: &'b [f64],
    /// Positions.
    x: &'b [f64],
}

impl Part<'_> {
    /// Fills `values`, `size` numbers for each conformation of the batch, with what `fill` computes for the part.
    fn scatter(
        &self,
        values: &mut [f64],
        size: usize,
        fill: impl FnOnce(&mut [f64]) -> Result<()>,
    ) -> Result<()> {
        let Some(indices) = self.indices else { return fill(values) };
        let mut own = vec![0.0; indices.len() * size];
        fill(&mut own)?;
        for (&idx, own) in indices.iter().zip(own.chunks_exact(size)) {
            values[idx * size..][..size].copy_from_slice(own);
        }
        Ok(())
    }
}

impl PotentialPath for Sequence<'_> {
    fn space(&self) -> Space {
        self.pieces[0].path.space()
    }

    fn range(&self) -> (f64, f64) {
        (0.0, self.pieces.len() as f64)
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        self.for_pieces(lambda, x, |piece, part| {
            part.scatter(u, 1, |u| piece.path.energies(part.lambda, part.x, u))
        })
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        let d = self.space().dimension();
        self.for_pieces(lambda, x, |piece, part| {
            part.scatter(u, 1, |u| {
                part.scatter(gradient, d, |gradient| {
                    piece.path.energies_and_gradients(part.lambda, part.x, u, gradient)
                })
            })
        })
    }

    /// ∂u/∂λ by the chain rule; at a joint, the derivative from below.
    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        self.for_pieces(lambda, x, |piece, part| {
            part.scatter(du_dlambda, 1, |rates| {
                piece.path.lambda_derivatives(part.lambda, part.x, rates)?;
                for (rate, &own) in rates.iter_mut().zip(part.lambda) {
                    *rate *= piece.route.rate(own);
                }
                Ok(())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::{DiffusedMixture, GaussianMixture, Harmonic, HarmonicPath, Variances};
    use crate::potential::{AtLambda, GeometricPath, Noise};
    use crate::random::{Purpose, Streams};

    const SPACE: Space = Space::Centered { n_particles: 3 };

    fn mixture() -> DiffusedMixture {
        let mut means = vec![0.9, 0.3, -0.5, -0.9, 0.4, 0.1, 0.0, -0.7, 0.4];
        means.extend(vec![-0.5; 9]);
        let variances = Variances::Isotropic(vec![0.3, 0.2]);
        let mixture = GaussianMixture::new(SPACE, &[0.6, 0.4], means, variances).unwrap();
        DiffusedMixture { mixture, noise: Noise::default(), offset_rate_kt: 2.0 }
    }

    /// Calls `test` with noise → data end of a mixture → harmonic well → stiffer well.
    fn with_sequence(test: impl FnOnce(&Sequence)) {
        let path = mixture();
        let data_end = AtLambda { path: &path, lambda: path.range().0 };
        let well = Harmonic::new(SPACE, 4.0, vec![0.0; 9]).unwrap();
        let line = GeometricPath::new(&data_end, &well).unwrap();
        let stiffening = HarmonicPath { space: SPACE, first_stiffness: 4.0, last_stiffness: 50.0 };
        let straight = Route::Linear { from: 0.0, to: 1.0 };
        let pieces = vec![
            Piece { path: &path, route: Route::LogSnr { noise: path.noise } },
            Piece { path: &line, route: straight },
            Piece { path: &stiffening, route: straight },
        ];
        test(&Sequence::new(pieces).unwrap());
    }

    fn conformations(n: usize) -> Vec<f64> {
        let mut x = vec![0.0; 9 * n];
        for (idx, x) in x.chunks_exact_mut(9).enumerate() {
            SPACE.fill_normal(&mut Streams::new(3).stream(Purpose::Start, idx as u64), x);
        }
        x
    }

    #[test]
    fn mixed_batches_equal_single_ones() {
        with_sequence(|sequence| {
            let lambda = [2.5, 0.2, 1.0, 0.0, 1.7, 3.0, 2.0, 0.9, 1.1, 2.2];
            let x = conformations(lambda.len());
            let n = lambda.len();
            let (mut u, mut only_u, mut gradient, mut rates) =
                (vec![0.0; n], vec![0.0; n], vec![0.0; 9 * n], vec![0.0; n]);
            sequence.energies_and_gradients(&lambda, &x, &mut u, &mut gradient).unwrap();
            sequence.energies(&lambda, &x, &mut only_u).unwrap();
            sequence.lambda_derivatives(&lambda, &x, &mut rates).unwrap();
            for idx in 0..n {
                let (mut one, mut one_gradient, mut rate) = ([0.0], [0.0; 9], [0.0]);
                let (lambda, x) = (&lambda[idx..=idx], &x[9 * idx..][..9]);
                sequence.energies_and_gradients(lambda, x, &mut one, &mut one_gradient).unwrap();
                sequence.lambda_derivatives(lambda, x, &mut rate).unwrap();
                assert!((one[0] - u[idx]).abs() < 1e-12 && (one[0] - only_u[idx]).abs() < 1e-12);
                assert!((rate[0] - rates[idx]).abs() < 1e-12 * (1.0 + rate[0].abs()));
                assert!(one_gradient.iter().zip(&gradient[9 * idx..]).all(|(a, b)| (a - b).abs() < 1e-12));
            }
        });
    }

    #[test]
    fn pieces_are_those_that_were_put_in_and_join_without_a_gap() {
        with_sequence(|sequence| {
            let x = conformations(20);
            assert!(sequence.joint_gaps(&x).unwrap().iter().all(|gap| gap.abs() < 1e-9));
            assert_eq!(sequence.range(), (0.0, 3.0));
            let ((first, start), (joint, end)) = (sequence.locate(0.0), sequence.locate(1.0));
            assert_eq!((first, start, joint, end), (0, 1.0, 0, Noise::default().time_range().0));
            assert_eq!((sequence.locate(1.25), sequence.locate(3.0)), ((1, 0.25), (2, 1.0)));
            // At the end of everything: k = 50.
            let mut u = [0.0];
            sequence.energies(&[3.0], &x[..9], &mut u).unwrap();
            let square: f64 = x[..9].iter().map(|x| x * x).sum();
            assert!((u[0] - 25.0 * square).abs() < 1e-9);
        });
        let path = mixture();
        let outside = Piece { path: &path, route: Route::Linear { from: 0.0, to: 1.0 } };
        assert!(Sequence::new(vec![outside]).is_err() && Sequence::new(vec![]).is_err());
        let gap = HarmonicPath { space: SPACE, first_stiffness: 4.0, last_stiffness: 50.0 };
        let piece = Piece { path: &gap, route: Route::Linear { from: 0.0, to: 1.0 } };
        assert!(Sequence::new(vec![piece, piece]).unwrap().joint_gaps(&conformations(9)).unwrap()[0] > 1.0);
    }

    #[test]
    fn rates_are_finite_differences_on_every_piece() {
        with_sequence(|sequence| {
            let x = conformations(1);
            let energy = |lambda: f64| {
                let mut u = [0.0];
                sequence.energies(&[lambda], &x, &mut u).unwrap();
                u[0]
            };
            for lambda in [0.3, 0.8, 1.4, 2.6] {
                let mut rate = [0.0];
                sequence.lambda_derivatives(&[lambda], &x, &mut rate).unwrap();
                let numerical = (energy(lambda + 1e-5) - energy(lambda - 1e-5)) / 2e-5;
                assert!((rate[0] - numerical).abs() < 1e-5 * (1.0 + numerical.abs()), "{lambda}");
            }
        });
    }
}
