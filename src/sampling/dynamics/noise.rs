//! Standard normal numbers for all lanes of a block at once, addressed by walker and step.
//!
//! The bits are those of ChaCha with 8 rounds, as everywhere in a run: one stream per walker, one word
//! of a vector register per lane. The method of Box and Muller (1958) turns two words into two normal
//! numbers, always two, so the position in the stream follows from the number of the step. Computed in
//! f32 by +, ×, / and √ alone, which are the same to the bit on every machine; radii reach 6.66, which a
//! normal number exceeds once in 4 · 10¹⁰.

#![allow(clippy::needless_range_loop, reason = "one index runs over the lanes of several arrays")]

use crate::potential::LANES;
use crate::random::{Purpose, Streams};
use crate::simd::vectorised;

/// Where the noise of a block comes from.
#[derive(Debug, Clone)]
pub(super) struct LaneNoise {
    key: [u32; 8],
    /// Number of each walker in two halves.
    low: [u32; LANES],
    high: [u32; LANES],
}

/// A ChaCha block: 16 words of 32 bits.
const WORDS: usize = 16;

impl LaneNoise {
    pub(super) fn new(streams: &Streams, purpose: Purpose, walkers: [u64; LANES]) -> Self {
        let seed = streams.stream(purpose, 0).get_seed();
        let word =
            |k: usize| u32::from_le_bytes([seed[4 * k], seed[4 * k + 1], seed[4 * k + 2], seed[4 * k + 3]]);
        Self {
            key: std::array::from_fn(word),
            low: walkers.map(|walker| walker as u32),
            high: walkers.map(|walker| (walker >> 32) as u32),
        }
    }

    /// Fills `out`, `[number][lane]`, with the normal numbers of a step: each step has its own.
    pub(super) fn fill(&self, step: u64, out: &mut [f32]) {
        fill(self, step, out);
    }

    /// Block `counter` of the stream of every lane, `[word][lane]`.
    #[inline(always)]
    fn words(&self, counter: u64) -> [[u32; LANES]; WORDS] {
        let mut words = [[0_u32; LANES]; WORDS];
        let [k0, k1, k2, k3, k4, k5, k6, k7] = self.key;
        let (first, second) = (counter as u32, (counter >> 32) as u32);
        // One long loop over lanes, as the compiler turns those into vectors.
        for lane in 0..LANES {
            let start = [
                0x6170_7865,
                0x3320_646e,
                0x7962_2d32,
                0x6b20_6574,
                k0,
                k1,
                k2,
                k3,
                k4,
                k5,
                k6,
                k7,
                first,
                second,
                self.low[lane],
                self.high[lane],
            ];
            let mut state = start;
            double_round(&mut state);
            double_round(&mut state);
            double_round(&mut state);
            double_round(&mut state);
            for word in 0..WORDS {
                words[word][lane] = state[word].wrapping_add(start[word]);
            }
        }
        words
    }
}

vectorised! {
    fn fill(noise: &LaneNoise, step: u64, out: &mut [f32]) {
        let n_blocks = out.len().div_ceil(WORDS * LANES) as u64;
        let mut normal = [0.0_f32; WORDS * LANES];
        for (idx, out) in out.chunks_mut(WORDS * LANES).enumerate() {
            let words = noise.words(step * n_blocks + idx as u64);
            for (words, normal) in words.chunks_exact(2).zip(normal.chunks_exact_mut(2 * LANES)) {
                let (first, second) = normal.split_at_mut(LANES);
                normal_pairs(&words[0], &words[1], first, second);
            }
            out.copy_from_slice(&normal[..out.len()]);
        }
    }
}

#[inline(always)]
fn double_round(state: &mut [u32; WORDS]) {
    quarter(state, 0, 4, 8, 12);
    quarter(state, 1, 5, 9, 13);
    quarter(state, 2, 6, 10, 14);
    quarter(state, 3, 7, 11, 15);
    quarter(state, 0, 5, 10, 15);
    quarter(state, 1, 6, 11, 12);
    quarter(state, 2, 7, 8, 13);
    quarter(state, 3, 4, 9, 14);
}

/// The quarter round of ChaCha (Bernstein 2008).
#[inline(always)]
fn quarter(state: &mut [u32; WORDS], a: usize, b: usize, c: usize, d: usize) {
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(12);
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(7);
}

/// Two normal numbers per lane: radius √(−2 log u) from the first word, direction from the second.
#[inline(always)]
fn normal_pairs(radial: &[u32; LANES], angular: &[u32; LANES], first: &mut [f32], second: &mut [f32]) {
    let (first, second) = (&mut first[..LANES], &mut second[..LANES]);
    for lane in 0..LANES {
        // In (0, 1], with the full precision of f32 where u is small.
        let u = (radial[lane] as f32 + 1.0) * 2.328_306_4e-10;
        let radius = (-2.0 * log(u)).sqrt();
        // 30 bits say where on an arc of a quarter circle, one exchanges the axes, one changes both signs.
        let arc = ((angular[lane] << 2) as i32) as f32 * 3.657_298_6e-10;
        let square = arc * arc;
        let sine = ((-1.951_529_6e-4 * square + 8.332_161e-3) * square - 1.666_665_5e-1) * square * arc + arc;
        let cosine = ((2.443_315_7e-5 * square - 1.388_731_6e-3) * square + 4.166_664_6e-2) * square * square
            - 0.5 * square
            + 1.0;
        let exchange = angular[lane] & 0x4000_0000 != 0;
        let sign = angular[lane] & 0x8000_0000;
        let (x, y) = if exchange { (sine, cosine) } else { (cosine, sine) };
        first[lane] = f32::from_bits((radius * x).to_bits() ^ sign);
        second[lane] = f32::from_bits((radius * y).to_bits() ^ sign);
    }
}

/// log x for normal x > 0 to an ulp or two (Cephes, logf), as loops over it vectorise.
#[inline(always)]
fn log(x: f32) -> f32 {
    // Split so that the mantissa lies in [√½, √2).
    let shifted = x.to_bits() as i32 - 0x3f35_04f3;
    let exponent = (shifted >> 23) as f32;
    let m = f32::from_bits(((shifted & 0x007f_ffff) + 0x3f35_04f3) as u32) - 1.0;
    let mut p = 7.037_684e-2;
    for c in [
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ] {
        p = p * m + c;
    }
    let square = m * m;
    m + (p * m * square - 0.5 * square + exponent * -2.121_944_4e-4) + exponent * 0.693_359_4
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    fn noise() -> LaneNoise {
        LaneNoise::new(&Streams::new(5), Purpose::Dynamics, std::array::from_fn(|lane| 3 * lane as u64))
    }

    #[test]
    fn words_are_those_of_the_stream_of_each_walker() {
        for counter in [0, 1, 7] {
            let words = noise().words(counter);
            for lane in 0..LANES {
                let mut rng = Streams::new(5).stream(Purpose::Dynamics, 3 * lane as u64);
                rng.set_word_pos(u128::from(counter) * 16);
                assert!(words.iter().all(|word| word[lane] == rng.random::<u32>()), "{counter} {lane}");
            }
        }
    }

    #[test]
    fn pairs_are_the_transform_of_box_and_muller() {
        let mut rng = Streams::new(1).stream(Purpose::Walker, 0);
        for round in 0..2000 {
            let mut radial: [u32; LANES] = rng.random();
            if round < 32 {
                radial = std::array::from_fn(|lane| (1_u32 << round).wrapping_sub(lane as u32 % 3));
            }
            let angular: [u32; LANES] = rng.random();
            let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
            normal_pairs(&radial, &angular, &mut x, &mut y);
            for lane in 0..LANES {
                let radius = (-2.0 * (f64::from(radial[lane] as f32 + 1.0) / 4_294_967_296.0).ln()).sqrt();
                let arc =
                    f64::from((angular[lane] << 2) as i32) * std::f64::consts::FRAC_PI_2 / 4_294_967_296.0;
                let (mut sine, mut cosine) = arc.sin_cos();
                if angular[lane] >> 30 & 1 == 1 {
                    (sine, cosine) = (cosine, sine);
                }
                let sign = if angular[lane] >> 31 == 1 { -radius } else { radius };
                let tolerance = 1e-6 * (1.0 + radius);
                assert!(
                    (f64::from(x[lane]) - sign * cosine).abs() < tolerance,
                    "{} {}",
                    x[lane],
                    sign * cosine
                );
                assert!((f64::from(y[lane]) - sign * sine).abs() < tolerance, "{} {}", y[lane], sign * sine);
            }
        }
    }

    #[test]
    fn moments_and_tail_are_those_of_a_normal_law() {
        let noise = noise();
        // A length that is no multiple of a ChaCha block.
        let mut out = vec![0.0; 66 * LANES];
        let (mut moments, mut tail, mut neighbours, mut n) = ([0.0; 4], 0.0, 0.0, 0.0);
        for step in 0..1500 {
            noise.fill(step, &mut out);
            for (idx, &z) in out.iter().enumerate() {
                let z = f64::from(z);
                moments.iter_mut().enumerate().for_each(|(k, sum)| *sum += z.powi(k as i32 + 1));
                tail += f64::from(u8::from(z.abs() > 3.0));
                neighbours += z * f64::from(out[(idx + LANES) % out.len()]);
                n += 1.0;
            }
        }
        let exact: [(f64, f64); 4] = [(0.0, 1.0), (1.0, 2.0), (0.0, 15.0), (3.0, 96.0)];
        for (sum, (mean, variance)) in moments.iter().zip(exact) {
            assert!((sum / n - mean).abs() < 4.0 * (variance / n).sqrt(), "{} {mean}", sum / n);
        }
        assert!((tail / n - 0.002_699_796).abs() < 4.0 * (0.0027 / n).sqrt(), "{}", tail / n);
        assert!((neighbours / n).abs() < 4.0 / n.sqrt());
    }
}
