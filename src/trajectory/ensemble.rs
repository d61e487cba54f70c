//! Conformations with weights.

use crate::error::{Error, Result};

/// Conformations of one molecule, `[frame][particle][xyz]` in nm, each with a log-weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensemble {
    n_particles: usize,
    positions_nm: Vec<f64>,
    log_weights: Option<Vec<f64>>,
}

impl Ensemble {
    /// Equally weighted conformations; errors unless the length is a multiple of 3 n.
    pub fn new(n_particles: usize, positions_nm: Vec<f64>) -> Result<Self> {
        if n_particles == 0 || !positions_nm.len().is_multiple_of(3 * n_particles) {
            return Err(Error::invalid(
                "positions of an ensemble",
                format!("a multiple of 3 × {n_particles} numbers"),
                positions_nm.len().to_string(),
            ));
        }
        Ok(Self { n_particles, positions_nm, log_weights: None })
    }

    /// The same conformations with weights ∝ exp(`log_weights`).
    pub fn with_log_weights(mut self, log_weights: Vec<f64>) -> Result<Self> {
        if log_weights.len() != self.n_frames() {
            return Err(Error::invalid(
                "log-weights of an ensemble",
                self.n_frames().to_string(),
                log_weights.len().to_string(),
            ));
        }
        self.log_weights = Some(log_weights);
        Ok(self)
    }

    /// Particles per conformation.
    pub fn n_particles(&self) -> usize {
        self.n_particles
    }

    /// How many conformations.
    pub fn n_frames(&self) -> usize {
        self.positions_nm.len() / (3 * self.n_particles)
    }

    /// All positions, `[frame][particle][xyz]`, nm.
    pub fn positions_nm(&self) -> &[f64] {
        &self.positions_nm
    }

    /// One conformation, `[particle][xyz]`, nm.
    pub fn frame(&self, frame_idx: usize) -> &[f64] {
        let size = 3 * self.n_particles;
        &self.positions_nm[frame_idx * size..][..size]
    }

    /// The conformations one by one.
    pub fn frames(&self) -> std::slice::ChunksExact<'_, f64> {
        self.positions_nm.chunks_exact(3 * self.n_particles)
    }

    /// Unnormalised log-weights; `None` when all are equal.
    pub fn log_weights(&self) -> Option<&[f64]> {
        self.log_weights.as_deref()
    }

    /// Weights that sum to one.
    pub fn weights(&self) -> Vec<f64> {
        match &self.log_weights {
            None => vec![1.0 / self.n_frames() as f64; self.n_frames()],
            Some(log_weights) => {
                let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = log_weights.iter().map(|w| (w - largest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                weights.into_iter().map(|w| w / sum).collect()
            }
        }
    }

    /// The frames with these indices, with their weights.
    pub fn select(&self, frame_indices: &[usize]) -> Self {
        let positions_nm = frame_indices.iter().flat_map(|&idx| self.frame(idx)).copied().collect();
        let log_weights =
            self.log_weights.as_ref().map(|weights| frame_indices.iter().map(|&idx| weights[idx]).collect());
        Self { n_particles: self.n_particles, positions_nm, log_weights }
    }

    /// The same conformations with the centroid of each at the origin.
    pub fn centered(mut self) -> Self {
        let n = self.n_particles as f64;
        for frame in self.positions_nm.chunks_exact_mut(3 * self.n_particles) {
            for axis in 0..3 {
                let mean = frame[axis..].iter().step_by(3).sum::<f64>() / n;
                frame[axis..].iter_mut().step_by(3).for_each(|value| *value -= mean);
            }
        }
        self
    }

    /// Standard deviation of all coordinates in nm after each centroid is removed, with the weights.
    ///
    /// Per coordinate, not per degree of freedom: the divisor is 3 n, as in the scale by which
    /// networks divide their inputs.
    pub fn standard_deviation_nm(&self) -> f64 {
        let weights = self.weights();
        let mut sum = 0.0;
        for (frame, weight) in self.frames().zip(weights) {
            for axis in 0..3 {
                let values = || frame[axis..].iter().step_by(3);
                let mean = values().sum::<f64>() / self.n_particles as f64;
                sum += weight * values().map(|value| (value - mean).powi(2)).sum::<f64>();
            }
        }
        (sum / (3 * self.n_particles) as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ensemble() -> Ensemble {
        // Two particles 0.2 nm apart on x, then 0.6 nm apart on y; both away from the origin.
        let positions_nm = vec![5.0, 1.0, 1.0, 5.2, 1.0, 1.0, 2.0, 1.0, -1.0, 2.0, 1.6, -1.0];
        Ensemble::new(2, positions_nm).expect("two frames")
    }

    #[test]
    fn centring_removes_the_centroid_of_each_frame() {
        let centered = ensemble().centered();
        let expected = [-0.1, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, -0.3, 0.0, 0.0, 0.3, 0.0];
        assert!(centered.positions_nm().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15));
    }

    #[test]
    fn the_standard_deviation_is_that_of_centred_coordinates_and_minds_weights() {
        let deviation = |first: f64, second: f64| ((0.02 * first + 0.18 * second) / 6.0_f64).sqrt();
        assert!((ensemble().standard_deviation_nm() - deviation(0.5, 0.5)).abs() < 1e-15);
        assert!((ensemble().centered().standard_deviation_nm() - deviation(0.5, 0.5)).abs() < 1e-15);
        let weighted = ensemble().with_log_weights(vec![3_f64.ln(), 0.0]).expect("two weights");
        assert!((weighted.standard_deviation_nm() - deviation(0.75, 0.25)).abs() < 1e-15);
    }
}
