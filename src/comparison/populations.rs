//! How much of an ensemble lies in named regions of collective variables.

use crate::error::{Error, Result};
use crate::free_energy::Estimate;
use crate::free_energy::bootstrap::Blocks;
use crate::free_energy::weights::effective_sample_size;
use std::f64::consts::TAU;

/// From `low` upwards to `high`, on a circle; −170° to −160° and 170° to −170° are both fine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arc {
    low_rad: f64,
    length_rad: f64,
}

impl Arc {
    /// Between two angles in rad, from the first upwards to the second; the whole circle if they are
    /// equal or a full turn apart.
    pub fn new(low_rad: f64, high_rad: f64) -> Self {
        let length = (high_rad - low_rad).rem_euclid(TAU);
        Self { low_rad, length_rad: if length == 0.0 { TAU } else { length } }
    }

    /// The same in degrees.
    pub fn degrees(low: f64, high: f64) -> Self {
        Self::new(low.to_radians(), high.to_radians())
    }

    /// Whether an angle in rad lies on it; the upper end does not.
    pub fn contains(&self, angle_rad: f64) -> bool {
        (angle_rad - self.low_rad).rem_euclid(TAU) < self.length_rad
    }
}

/// A named region: every bounded collective variable must lie on its arc.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedState {
    /// For example `alpha_r`.
    pub name: String,
    /// Collective variable and its bounds; a variable that is not listed is free.
    pub bounds: Vec<(usize, Arc)>,
}

impl NamedState {
    /// A region by name.
    pub fn new(name: impl Into<String>, bounds: Vec<(usize, Arc)>) -> Self {
        Self { name: name.into(), bounds }
    }

    /// Whether a frame lies in it.
    pub fn contains(&self, frame: &[f64]) -> bool {
        self.bounds.iter().all(|(variable, arc)| arc.contains(frame[*variable]))
    }
}

/// Population of each state with its standard error over blocks, from `[frame][variable]` in rad.
///
/// The population is a ratio Σ w 1_S / Σ w; its error is that of the block residuals
/// A_b − p W_b, which also accounts for blocks of unequal weight. Seen in no block or in one, a state
/// has an error that says little: with no frame inside, the population is 0 with an error of one frame.
pub fn populations(
    states: &[NamedState],
    values: &[f64],
    n_variables: usize,
    weights: Option<&[f64]>,
    blocks: &Blocks,
) -> Result<Vec<Estimate>> {
    let n_frames = blocks.block_of().len();
    let fits = n_variables > 0
        && values.len() == n_frames * n_variables
        && weights.is_none_or(|weights| weights.len() == n_frames);
    if !fits {
        return Err(Error::invalid(
            "collective variables of an ensemble",
            format!("{n_variables} numbers and one weight for each of {n_frames} frames"),
            format!("{} numbers and {} weights", values.len(), weights.map_or(n_frames, <[f64]>::len)),
        ));
    }
    let unknown = |state: &&NamedState| state.bounds.iter().any(|(variable, _)| *variable >= n_variables);
    if let Some(state) = states.iter().find(unknown) {
        return Err(Error::invalid(
            "bounds of a state",
            format!("variables below {n_variables}"),
            format!("{:?} in `{}`", state.bounds, state.name),
        ));
    }
    let weight = |n: usize| weights.map_or(1.0, |weights| weights[n]);
    let n_effective = weights.map_or(n_frames as f64, effective_sample_size);
    let n_blocks = blocks.n_blocks();
    let mut total = vec![0.0; n_blocks];
    for (n, &block) in blocks.block_of().iter().enumerate() {
        total[block] += weight(n);
    }
    let sum: f64 = total.iter().sum();
    let population = |state: &NamedState| {
        let mut inside = vec![0.0; n_blocks];
        for (n, frame) in values.chunks_exact(n_variables).enumerate() {
            if state.contains(frame) {
                inside[blocks.block_of()[n]] += weight(n);
            }
        }
        let value = inside.iter().sum::<f64>() / sum;
        let squares: f64 = inside.iter().zip(&total).map(|(a, w)| (a - value * w).powi(2)).sum();
        let correction = n_blocks as f64 / (n_blocks as f64 - 1.0);
        let mut std_error = (correction * squares).sqrt() / sum;
        if value == 0.0 || value == 1.0 {
            std_error = 1.0 / n_effective;
        }
        Estimate::new(value, std_error, n_effective, "1", format!("spread over {n_blocks} blocks"))
    };
    Ok(states.iter().map(population).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};
    use rand::Rng as _;

    #[test]
    fn arcs_wrap() {
        let arc = Arc::degrees(150.0, -150.0);
        assert!(arc.contains(180_f64.to_radians()) && arc.contains(-(179_f64.to_radians())));
        assert!(!arc.contains(0.0) && !arc.contains(-(149_f64.to_radians())));
        assert!(Arc::degrees(-180.0, 180.0).contains(3.0) && Arc::degrees(0.0, 0.0).contains(-1.0));
        let positive = Arc::degrees(0.0, 180.0);
        assert!(positive.contains(0.1) && !positive.contains(-0.1));
    }

    #[test]
    fn errors_over_blocks_are_binomial_for_independent_frames() {
        let mut rng = Streams::new(4).stream(Purpose::Walker, 0);
        let n = 40_000;
        let values: Vec<f64> =
            (0..2 * n).map(|_| rng.random_range(-std::f64::consts::PI..std::f64::consts::PI)).collect();
        let state =
            NamedState::new("corner", vec![(0, Arc::degrees(-180.0, -90.0)), (1, Arc::degrees(90.0, 180.0))]);
        let blocks = Blocks::contiguous(n, 200).unwrap();
        let result = &populations(std::slice::from_ref(&state), &values, 2, None, &blocks).unwrap()[0];
        let exact_error = (0.0625 * 0.9375 / n as f64).sqrt();
        assert!((result.value - 0.0625).abs() < 4.0 * exact_error);
        assert!((result.std_error / exact_error - 1.0).abs() < 0.2);

        // Weights that double the corner.
        let weights: Vec<f64> = values.chunks(2).map(|f| if state.contains(f) { 2.0 } else { 1.0 }).collect();
        let weighted = &populations(&[state], &values, 2, Some(&weights), &blocks).unwrap()[0];
        assert!((weighted.value - 2.0 * result.value / (1.0 + result.value)).abs() < 1e-12);
    }

    #[test]
    fn nothing_inside_is_not_certainty() {
        let blocks = Blocks::contiguous(10, 5).unwrap();
        let state = NamedState::new("empty", vec![(0, Arc::new(1.0, 2.0))]);
        let result = &populations(std::slice::from_ref(&state), &[0.0; 10], 1, None, &blocks).unwrap()[0];
        assert_eq!((result.value, result.std_error), (0.0, 0.1));
        assert!(populations(&[state], &[0.0; 9], 1, None, &blocks).is_err());
        let unknown = NamedState::new("unknown", vec![(3, Arc::new(1.0, 2.0))]);
        assert!(populations(&[unknown], &[0.0; 10], 1, None, &blocks).is_err());
    }
}
