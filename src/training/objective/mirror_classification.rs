//! Mirror classification: is this conformation noised data, or its mirror image?
//!
//! L = (1/K) Σ_k log(1 + exp(u(x_k, t_k) − u(−x_k, t_k))), the logistic loss (Gutmann and Hyvärinen 2010) of telling
//! x_t from −x_t, which for centred conformations without orientation is the mirror image. It is least where
//! u(−x, t) − u(x, t) = log p_t(x)/p_t(−x): the law itself is at the minimum, at every t.
//!
//! Score matching sees handedness badly. Data of one hand, noised until both look alike, have a score whose odd part
//! carries at most ln 2 in all, spread over all coordinates and several units of log(a²/g²); a model that knows
//! two thirds of it draws every fifth heavy-atom skeleton of alanine dipeptide as its mirror image, and then forces the
//! small substituents of the centre to the other side. Here the odd part is asked for directly.
//!
//! For data that have both hands the loss stays at ln 2 and does nothing.

use serde::{Deserialize, Serialize};

use super::{Cotangent, Learns, Objective, Point, softplus};
use crate::error::Result;
use crate::registry::Settings;

/// Mirror classification has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MirrorClassification {}

impl Settings<dyn Objective, ()> for MirrorClassification {
    const SUMMARY: &'static str = "classification of noised data against their mirror images: handedness";
    const EXAMPLE: &'static str = "";

    fn build(self, (): &()) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self))
    }
}

impl Objective for MirrorClassification {
    fn name(&self) -> &'static str {
        "mirror_classification"
    }

    fn needs_gradients(&self) -> bool {
        false
    }

    fn needs_cross_energies(&self) -> bool {
        false
    }

    fn needs_mirror_images(&self) -> bool {
        true
    }

    fn learns(&self) -> Learns {
        Learns::Beside
    }

    fn add(&self, point: &Point, weight: f64, cotangent: &mut Cotangent) -> f64 {
        let n_times = point.times.len();
        let mut loss = 0.0;
        for k in 0..point.n_data {
            let own = k * n_times + k;
            let difference = point.energies[own] - point.mirrored[k];
            let (value, slope) = softplus(difference);
            loss += value / point.n_data as f64;
            let slope = weight * slope / point.n_data as f64;
            cotangent.energies[own] += slope;
            cotangent.mirrored[k] -= slope;
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    /// Of x ~ N(m, 1) the odd part of −log p is −m x: it has the least loss, and half of it or twice as much have more.
    #[test]
    fn the_odd_part_of_the_law_has_the_least_loss() {
        let mean = 0.8;
        let mut x = vec![0.0; 20_000];
        fill_normal(&mut Streams::new(1).stream(Purpose::Walker, 0), &mut x);
        let loss = |factor: f64| {
            let energies: Vec<f64> = x.iter().map(|x| -factor * mean * (x + mean)).collect();
            let mirrored: Vec<f64> = energies.iter().map(|u| -u).collect();
            let mut sum = 0.0;
            for (own, mirrored) in energies.iter().zip(&mirrored) {
                let point = Point {
                    drifts: &[-1.0; 16],
                    variances: &[1.0; 16],
                    n_data: 1,
                    positions: &[],
                    degrees_of_freedom: 1,
                    times: &[0.1],
                    deviations: &[1.0],
                    scales: &[1.0],
                    diffusions: &[1.0],
                    noise: &[],
                    scores: &[],
                    displacements: &[],
                    progress: &[],
                    gradients: &[],
                    energies: &[*own],
                    mirrored: &[*mirrored],
                    of_state: &[],
                    offsets: &[0.0],
                };
                let (mut e, mut m, mut f) = ([0.0], [0.0], [0.0]);
                let mut cotangent = Cotangent {
                    gradients: &mut [],
                    energies: &mut e,
                    mirrored: &mut m,
                    of_state: &mut [],
                    offsets: &mut f,
                };
                sum += MirrorClassification {}.add(&point, 1.0, &mut cotangent) / x.len() as f64;
            }
            sum
        };
        let exact = loss(1.0);
        for wrong in [0.0, 0.5, 0.85, 1.2, 2.0] {
            assert!(loss(wrong) > exact, "{wrong}");
        }
        assert!((loss(0.0) - std::f64::consts::LN_2).abs() < 1e-12);
    }
}
