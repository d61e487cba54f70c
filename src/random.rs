//! Every random number of a run, addressed by who draws it.
//!
//! A stream is determined by the seed of the run, a [`Purpose`] and an index (walker, step, chunk).
//! So results do not depend on the number of threads, nor on where a run was interrupted, nor on
//! the device: weights, noise and diffusion times are drawn on the host.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// A stream of random numbers; ChaCha with 8 rounds, 2⁶⁴ independent streams per key.
pub type Rng = ChaCha8Rng;

/// Who draws. The numbers are part of what makes a run reproducible: append, never reorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights of a network.
    Weights = 1,
    /// Which frames, times and noise make a training batch; index: step.
    Batch = 2,
    /// A walker of reverse diffusion; index: walker.
    ReverseDiffusion = 3,
    /// A walker of Langevin dynamics.
    Langevin = 4,
    /// A walker of the equilibrium Monte Carlo.
    Equilibrium = 5,
    /// A particle of sequential Monte Carlo or annealed importance sampling.
    Particle = 6,
    /// Resampling of particles; index: level.
    Resampling = 7,
    /// A walker of replica exchange.
    Replica = 8,
    /// Swaps of replica exchange; index: sweep.
    Swap = 9,
    /// A bootstrap resample.
    Bootstrap = 10,
    /// Splits of data, permutations.
    Split = 11,
    /// Random splits for noise floors.
    Floor = 12,
    /// Any other walker.
    Walker = 13,
    /// Noise that whitens features.
    Whitening = 14,
    /// Batches on which a model is scored.
    Validation = 15,
    /// Starting points.
    Start = 16,
    /// Noise of a walker of molecular dynamics; position: step.
    Dynamics = 17,
    /// Torsion pivots of a walker of molecular dynamics; position: attempt.
    DynamicsPivot = 18,
    /// Velocities drawn anew for a walker of molecular dynamics; position: step.
    DynamicsVelocity = 19,
}

/// The root of all streams of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// All streams that belong to `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed they belong to.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The stream of one drawer.
    pub fn stream(&self, purpose: Purpose, index: u64) -> Rng {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(index);
        rng
    }

    /// Streams of a part of a run that must not share numbers with another part, for example of two models.
    pub fn derive(&self, part: u64) -> Self {
        // Finaliser of splitmix64: a bijection that spreads neighbouring parts over all bits.
        let mut z = self.seed ^ part.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self { seed: z ^ (z >> 31) }
    }
}

/// Fills a buffer with independent standard normal numbers.
pub fn fill_normal(rng: &mut Rng, buffer: &mut [f64]) {
    for value in buffer {
        *value = StandardNormal.sample(rng);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    #[test]
    fn streams_differ_by_seed_purpose_and_index_and_repeat() {
        let first = |seed, purpose, index| Streams::new(seed).stream(purpose, index).random::<u64>();
        assert_eq!(first(1, Purpose::Walker, 0), first(1, Purpose::Walker, 0));
        assert_ne!(first(1, Purpose::Walker, 0), first(2, Purpose::Walker, 0));
        assert_ne!(first(1, Purpose::Walker, 0), first(1, Purpose::Batch, 0));
        assert_ne!(first(1, Purpose::Walker, 0), first(1, Purpose::Walker, 1));
    }
}
