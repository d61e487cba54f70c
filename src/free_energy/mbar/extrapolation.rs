//! Whether the samples reach a state of which there are none.
//!
//! The free energy of such a state is the logarithm of a mean of weights, and so is its error: when the
//! conformations that matter are hardly among the samples, both rest on the few samples that come closest, and
//! neither shows it. Kish's number of effective samples does not either, because the weights that are missing
//! from it are the largest. What shows it is how the weights fall off: above a threshold w_t they follow
//! a power law w^(−1/κ), of which κ = ⟨ln w − ln w_t⟩ (Hill 1975). From κ = ½ on the variance of
//! such weights, and from κ = 1 on their mean, is not settled by any number of samples; weights of a Gaussian
//! work of deviation σ from n samples have κ of about 0.4 σ.

use super::Mbar;

/// κ above which an error is too small more often than it should be.
const DOUBTFUL_TAIL: f64 = 0.8;
/// κ above which weights have no mean.
const HOPELESS_TAIL: f64 = 1.0;
/// κ above which weights have no mean, however many samples there seem to be.
const HEAVIEST_TAIL: f64 = 1.3;
/// κ above which weights have no variance.
const HEAVY_TAIL: f64 = 0.5;
/// Effective samples that are few when weights fall off slowly.
const FEW_OF_A_TAIL: f64 = 50.0;
/// Effective samples that are few in any case.
const FEW: f64 = 10.0;
/// Effective samples with which a single one decides.
const HARDLY_ANY: f64 = 3.0;
/// Samples above the threshold that determine κ well enough.
const SMALLEST_TAIL: usize = 10;

/// How far a free energy without samples of its own can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The samples of other states reach it.
    Good,
    /// They do so barely: the error is likely to be too small.
    Doubtful,
    /// They do not: value and error mean nothing.
    Hopeless,
}

/// How samples of other states reach a state without samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extrapolation {
    /// Kish's effective number of samples.
    pub n_effective: f64,
    /// Weight of the most important sample, of 1.
    pub largest_share: f64,
    /// Hill's index κ of the largest weights; 0 when there are too few of them.
    pub tail: f64,
    /// The verdict.
    pub reach: Reach,
}

impl Extrapolation {
    fn new(n_effective: f64, largest_share: f64, tail: f64) -> Self {
        let hopeless = n_effective < HARDLY_ANY
            || tail > HEAVIEST_TAIL
            || (tail > HOPELESS_TAIL && n_effective < FEW_OF_A_TAIL);
        let doubtful =
            n_effective < FEW || tail > DOUBTFUL_TAIL || (tail > HEAVY_TAIL && n_effective < FEW_OF_A_TAIL);
        let reach = match (hopeless, doubtful) {
            (true, _) => Reach::Hopeless,
            (false, true) => Reach::Doubtful,
            (false, false) => Reach::Good,
        };
        Self { n_effective, largest_share, tail, reach }
    }
}

impl Mbar<'_> {
    /// How samples reach a state that has none; `None` for a state with samples or without a free energy.
    pub fn extrapolation(&self, state: usize) -> Option<Extrapolation> {
        if self.sampled.contains(&state) || !self.f[state].is_finite() {
            return None;
        }
        let mut log_weights = self.log_weights(state);
        log_weights.retain(|w| *w > f64::NEG_INFINITY);
        let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Samples of states that have no part in this one do not make its tail longer.
        let moments = self.moments();
        let shares = moments.c_of_state(state).into_iter().zip(&self.counts);
        let taking_part = 1.0 / shares.map(|(c, count)| c * c / count).sum::<f64>();
        let each = self.counts.iter().sum::<f64>() / log_weights.len().max(1) as f64;
        let n = (taking_part / each).min(log_weights.len() as f64);
        let n_tail = (3.0 * n.sqrt()).min(n / 5.0) as usize;
        let tail = if n_tail < SMALLEST_TAIL { 0.0 } else { hill(&mut log_weights, n_tail) };
        Some(Extrapolation::new(self.n_effective(state), largest.exp(), tail))
    }
}

/// ⟨ln w − ln w_t⟩ of the `n` largest weights, w_t the next one.
fn hill(log_weights: &mut [f64], n: usize) -> f64 {
    let (above, threshold, _) = log_weights.select_nth_unstable_by(n, |a, b| b.total_cmp(a));
    let threshold = *threshold;
    above.iter().map(|w| w - threshold).sum::<f64>() / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free_energy::ReducedEnergies;
    use crate::random::{Purpose, Streams, fill_normal};

    /// Samples of N(center, 1) in wells at `centers`, seen from a well at `target`.
    fn reached(centers: &[f64], n: usize, target: f64, seed: u64) -> (Extrapolation, bool) {
        let mut x = vec![0.0; n * centers.len()];
        fill_normal(&mut Streams::new(seed).stream(Purpose::Walker, 0), &mut x);
        for (x, center) in x.chunks_exact_mut(n).zip(centers) {
            x.iter_mut().for_each(|x| *x += center);
        }
        let wells = centers.iter().copied().chain([target]);
        let u = wells.flat_map(|c| x.iter().map(move |x| 0.5 * (x - c).powi(2)).collect::<Vec<_>>());
        let n_k = [vec![n; centers.len()], vec![0]].concat();
        let energies = ReducedEnergies::ordered(n_k, u.collect()).unwrap();
        let mbar = Mbar::new(&energies).unwrap();
        assert!(mbar.extrapolation(0).is_none());
        let difference = mbar.difference(0, centers.len()).unwrap();
        let covers = difference.value.abs() < 1.96 * difference.std_error;
        (mbar.extrapolation(centers.len()).unwrap(), covers)
    }

    #[test]
    fn intervals_that_miss_the_answer_come_with_a_verdict() {
        let n_seeds = 60;
        for distance in [0.5, 1.0, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0] {
            let found: Vec<_> = (0..n_seeds).map(|seed| reached(&[0.0], 2000, distance, seed)).collect();
            let silent = found.iter().filter(|(e, covers)| !covers && e.reach == Reach::Good).count();
            let alarms = found.iter().filter(|(e, _)| e.reach > Reach::Good).count();
            let hopeless = found.iter().filter(|(e, _)| e.reach == Reach::Hopeless).count();
            // Of 60 intervals of 95 %, 3 miss the answer.
            assert!(silent <= 7, "{distance}: {silent}");
            assert!(distance > 1.5 || alarms <= 3, "{distance}: {alarms} alarms");
            assert!(distance < 2.5 || alarms >= n_seeds as usize - 1, "{distance}: {alarms} alarms");
            assert!(distance < 4.0 || hopeless == n_seeds as usize, "{distance}: {hopeless} hopeless");
        }
    }

    #[test]
    fn a_state_between_others_is_reached() {
        for seed in 0..20 {
            let (between, _) = reached(&[0.0, 1.0, 3.0, 4.0], 500, 2.0, seed);
            assert_eq!(between.reach, Reach::Good, "{between:?}");
            // Next to the end of a chain, most of which takes no part.
            let chain: Vec<f64> = (0..16).map(f64::from).collect();
            let (beyond, _) = reached(&chain, 1000, 16.0, seed);
            assert_eq!(beyond.reach, Reach::Good, "{beyond:?}");
            let (far, _) = reached(&chain, 1000, 19.0, seed);
            assert!(far.reach > Reach::Good, "{far:?}");
        }
    }
}
