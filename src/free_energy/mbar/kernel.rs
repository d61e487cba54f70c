//! The inner loops of MBAR: exponentials, and sums of products over blocks of samples.
//!
//! Eight samples make a vector. Every loop is compiled for AVX-512, AVX2 with FMA and the baseline of
//! the target, and chosen at run time. Blocks are `[row][sample]` with a multiple of eight samples.

use crate::simd::{Simd, simd};

/// Samples of a vector.
pub(in crate::free_energy) const LANES: usize = 8;

/// Eight numbers side by side; loops over them become vector instructions.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::free_energy) struct Vector([f64; LANES]);

impl Vector {
    pub const ZERO: Self = Self([0.0; LANES]);

    #[inline(always)]
    fn splat(x: f64) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    fn map2(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.map2(other, |a, b| a * b)
    }

    /// self × b + c, in one instruction where the machine has it.
    #[inline(always)]
    fn times_plus<const FUSED: bool>(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if FUSED { self.0[i].mul_add(b.0[i], c.0[i]) } else { self.0[i] * b.0[i] + c.0[i] }
        }))
    }

    /// Sum over the lanes.
    pub fn sum(self) -> f64 {
        self.0.iter().sum()
    }
}

/// eˣ to 2 units in the last place for x up to 700; 0 below `floor`, which is at least −708.
///
/// x = n ln 2 + r, and on |r| ≤ ½ ln 2 a polynomial of degree 11 with the least relative error, 4e-18.
#[inline(always)]
fn exp<const FUSED: bool>(x: f64, floor: f64) -> f64 {
    const LN2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // Adding and subtracting 1.5 × 2⁵² rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const SERIES: [f64; 11] = [
        2.763_024_837_921_144e-7,
        2.755_758_637_384_016_5e-6,
        2.480_149_309_890_655e-5,
        1.984_126_950_657_868_8e-4,
        1.388_888_894_363_011_4e-3,
        8.333_333_333_494_461e-3,
        4.166_666_666_653_015_5e-2,
        1.666_666_666_666_641_3e-1,
        0.500_000_000_000_001_1,
        1.0,
        1.0,
    ];
    let times_plus = |a: f64, b: f64, c: f64| if FUSED { a.mul_add(b, c) } else { a * b + c };
    let bounded = if x > floor { x } else { floor };
    let bounded = if bounded < 700.0 { bounded } else { 700.0 };
    let shifted = times_plus(bounded, std::f64::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = times_plus(n, -LN2_LOW, times_plus(n, -LN2_HIGH, bounded));
    let mut series = 2.500_006_160_283_566_6e-8;
    for coefficient in SERIES {
        series = times_plus(series, r, coefficient);
    }
    let scale = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023_u64 << 52));
    if x < floor { 0.0 } else { series * scale }
}

/// Below this an exponential counts as zero: 1e-130, whose square is still a normal number.
const FLOOR: f64 = -300.0;

/// A row as vectors.
#[inline(always)]
fn vectors(row: &[f64]) -> &[[f64; LANES]] {
    row.as_chunks().0
}

#[inline(always)]
fn vectors_mut(row: &mut [f64]) -> &mut [[f64; LANES]] {
    row.as_chunks_mut().0
}

/// Defines a function that runs `body` compiled for this machine.
macro_rules! dispatched {
    ($(#[$meta:meta])* fn $name:ident / $body:ident($($argument:ident: $type:ty),* $(,)?)) => {
        $(#[$meta])*
        pub(in crate::free_energy) fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                fn avx512($($argument: $type),*) { $body::<true>($($argument),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) { $body::<true>($($argument),*) }
                match simd() {
                    // SAFETY: `simd` has found these features on this machine.
                    Simd::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    Simd::Avx2 => return unsafe { avx2($($argument),*) },
                    Simd::Baseline => {}
                }
            }
            $body::<false>($($argument),*);
        }
    };
}

/// Rows that the tiles of products take together; `p` has a multiple of it, the last ones zero.
pub(in crate::free_energy) const TILE: usize = 4;

/// Sums of a tile of 4 × 4 products of rows, by lanes.
pub(in crate::free_energy) type Tile = [[Vector; TILE]; TILE];

/// What a block of samples needs besides its energies and responsibilities.
#[derive(Default)]
pub(in crate::free_energy) struct PerSample {
    /// Lowest u_kn − base_k of each sample.
    pub lowest: Vec<f64>,
    /// Σ_k N_k exp(f_k − u_kn) e^lowest.
    pub sum: Vec<f64>,
    /// Square root of how often the sample counts.
    pub root: Vec<f64>,
    inverse: Vec<f64>,
}

impl PerSample {
    pub fn new(block: usize) -> Self {
        let zeros = || vec![0.0; block];
        Self { lowest: zeros(), sum: zeros(), root: vec![1.0; block], inverse: zeros() }
    }
}

/// The energies of a block and where its free energies stand.
pub(in crate::free_energy) struct Terms<'a> {
    /// `[state][sample]`, `stride` from state to state.
    pub energies: &'a [f64],
    pub stride: usize,
    /// Samples, rounded up to whole vectors, and those of them that exist.
    pub len: usize,
    pub live: usize,
    /// Samples after these that will be wanted next.
    pub next: usize,
    /// The states; the first `n_sampled` are in the denominator, the others are potentials without samples.
    pub states: &'a [usize],
    pub n_sampled: usize,
    /// The large part of f_k, subtracted from u_kn first: their difference is exact.
    pub base: &'a [f64],
    /// f_k + ln N_k − base_k.
    pub offset: &'a [f64],
}

dispatched! {
    /// √c_n p_kn with p_kn = exp(offset_k + base_k − u_kn) / Σ of the same, as `[row][sample]`, and adds
    /// Σ_n c_n p_kn to `totals`.
    fn responsibilities / responsibilities_body(
        terms: &Terms<'_>, p: &mut [f64], sample: &mut PerSample, totals: &mut [f64]
    )
}

/// Asks for numbers that will be wanted soon.
#[inline(always)]
fn prefetch(values: &[f64], n: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in values[..n.min(values.len())].chunks(LANES) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: the address is inside a slice; a prefetch changes nothing but the caches.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, n);
}

// Plain loops over samples here: of loops over `Vector` the compiler would vectorise the outer one.
#[inline(always)]
fn responsibilities_body<const FUSED: bool>(
    terms: &Terms<'_>,
    p: &mut [f64],
    sample: &mut PerSample,
    totals: &mut [f64],
) {
    let len = terms.len;
    let lowest = &mut sample.lowest[..len];
    lowest.fill(f64::INFINITY);
    for (k, p) in p.chunks_exact_mut(len).enumerate().take(terms.states.len()) {
        let base = terms.base[k];
        let row = &terms.energies[terms.states[k] * terms.stride..][..len];
        if k < terms.n_sampled {
            for ((u, p), lowest) in row.iter().zip(p).zip(&mut *lowest) {
                *p = u - base;
                *lowest = if *p < *lowest { *p } else { *lowest };
            }
        } else {
            row.iter().zip(p).for_each(|(u, p)| *p = u - base);
        }
    }
    let sum = &mut sample.sum[..len];
    sum.fill(0.0);
    for (k, p) in p.chunks_exact_mut(len).enumerate().take(terms.states.len()) {
        let offset = terms.offset[k];
        // While exponentials keep the processor busy, memory fetches the next block.
        prefetch(&terms.energies[terms.states[k] * terms.stride + len..], terms.next);
        if k < terms.n_sampled {
            for ((p, lowest), sum) in p.iter_mut().zip(&*lowest).zip(&mut *sum) {
                *p = exp::<FUSED>(lowest - *p + offset, FLOOR);
                *sum += *p;
            }
        } else {
            for (p, lowest) in p.iter_mut().zip(&*lowest) {
                *p = exp::<FUSED>(lowest - *p + offset, FLOOR);
            }
        }
    }
    let root = &sample.root[..len];
    let inverse = &mut sample.inverse[..len];
    for ((inverse, sum), root) in inverse.iter_mut().zip(&*sum).zip(root) {
        *inverse = root / sum;
    }
    // Samples that do not exist have no share anywhere.
    inverse[terms.live..].fill(0.0);
    sum[terms.live..].fill(1.0);
    for (p, total) in p.chunks_exact_mut(len).zip(totals) {
        let mut shares = Vector::ZERO;
        for ((p, inverse), root) in vectors_mut(p).iter_mut().zip(vectors(inverse)).zip(vectors(root)) {
            let q = Vector(*p).times(Vector(*inverse));
            *p = q.0;
            shares = q.times_plus::<FUSED>(Vector(*root), shares);
        }
        *total += shares.sum();
    }
}

dispatched! {
    /// Σ c f(x) and Σ c f(x) (1 − f(x)) of x = shift + work, with f(x) = 1/(1 + eˣ) and c how often each counts,
    /// once without `counts`.
    fn add_fermi / add_fermi_body(work: &[f64], counts: Option<&[f64]>, shift: f64, sums: &mut [f64; 2])
}

#[inline(always)]
fn add_fermi_body<const FUSED: bool>(work: &[f64], counts: Option<&[f64]>, shift: f64, sums: &mut [f64; 2]) {
    const BLOCK: usize = 256;
    let (mut share, mut slope) = ([0.0; BLOCK], [0.0; BLOCK]);
    let (mut shares, mut slopes) = (Vector::ZERO, Vector::ZERO);
    for (block, work) in work.chunks(BLOCK).enumerate() {
        let n = work.len();
        for ((share, slope), work) in share.iter_mut().zip(&mut slope).zip(work) {
            let x = shift + work;
            let e = exp::<FUSED>(-x.abs(), -708.0);
            let f = 1.0 / (1.0 + e);
            *share = if x > 0.0 { e * f } else { f };
            *slope = e * f * f;
        }
        if let Some(counts) = counts {
            for ((share, slope), count) in share.iter_mut().zip(&mut slope).zip(&counts[block * BLOCK..]) {
                *share *= count;
                *slope *= count;
            }
        }
        share[n..].fill(0.0);
        slope[n..].fill(0.0);
        for (f, g) in vectors(&share).iter().zip(vectors(&slope)) {
            shares = shares.map2(Vector(*f), |a, b| a + b);
            slopes = slopes.map2(Vector(*g), |a, b| a + b);
        }
    }
    sums[0] += shares.sum();
    sums[1] += slopes.sum();
}

/// How many tiles the upper triangle of a product of `n_rows` rows with themselves has.
pub(in crate::free_energy) fn n_tiles(n_rows: usize) -> usize {
    let n = n_rows.div_ceil(TILE);
    n * (n + 1) / 2
}

/// Adds the products of four rows with four others, over all samples.
#[inline(always)]
fn add_products<const FUSED: bool>(a: &[f64], b: &[f64], len: usize, tile: &mut Tile) {
    let n = len / LANES;
    let (a0, a1, a2, a3) = four(a, len, n);
    let (b0, b1, b2, b3) = four(b, len, n);
    let mut sums = *tile;
    for v in 0..n {
        let left = [Vector(a0[v]), Vector(a1[v]), Vector(a2[v]), Vector(a3[v])];
        let right = [Vector(b0[v]), Vector(b1[v]), Vector(b2[v]), Vector(b3[v])];
        for i in 0..TILE {
            for j in 0..TILE {
                sums[i][j] = left[i].times_plus::<FUSED>(right[j], sums[i][j]);
            }
        }
    }
    *tile = sums;
}

type Row<'a> = &'a [[f64; LANES]];

#[inline(always)]
fn four(rows: &[f64], len: usize, n: usize) -> (Row<'_>, Row<'_>, Row<'_>, Row<'_>) {
    let (first, rest) = rows[..TILE * len].split_at(len);
    let (second, rest) = rest.split_at(len);
    let (third, fourth) = rest.split_at(len);
    (&vectors(first)[..n], &vectors(second)[..n], &vectors(third)[..n], &vectors(fourth)[..n])
}

dispatched! {
    /// Adds Σ_n p_in p_jn for the tiles of the upper triangle, row of tiles by row of tiles.
    fn add_gram / add_gram_body(p: &[f64], len: usize, tiles: &mut [Tile])
}

#[inline(always)]
fn add_gram_body<const FUSED: bool>(p: &[f64], len: usize, tiles: &mut [Tile]) {
    let mut tiles = tiles.iter_mut();
    let four = TILE * len;
    for first in (0..p.len()).step_by(four) {
        for second in (first..p.len()).step_by(four) {
            let tile = tiles.next().expect("one tile for each pair");
            add_products::<FUSED>(&p[first..first + four], &p[second..second + four], len, tile);
        }
    }
}

dispatched! {
    /// Four replicates of a bootstrap at a block of samples.
    ///
    /// Divides `share`, which says how often each sample counts in each of the four (`[replicate][sample]`), by
    /// Σ_k factor_k p_kn and adds the products of the quotients with all rows of `p` to `tiles`, one for every
    /// four rows. `factor` is exp(Δf_k) n_k/N_k as `[row][replicate]`.
    fn add_replicates / add_replicates_body(
        p: &[f64], len: usize, factor: &[[f64; TILE]], share: &mut [f64], tiles: &mut [Tile]
    )
}

#[inline(always)]
fn add_replicates_body<const FUSED: bool>(
    p: &[f64],
    len: usize,
    factor: &[[f64; TILE]],
    share: &mut [f64],
    tiles: &mut [Tile],
) {
    // Two vectors at a time make eight independent chains of additions.
    let pairs = len / (2 * LANES);
    for pair in 0..pairs {
        divide::<2, FUSED>(p, len, factor, share, 2 * pair);
    }
    if len / LANES % 2 == 1 {
        divide::<1, FUSED>(p, len, factor, share, 2 * pairs);
    }
    for (rows, tile) in p.chunks_exact(TILE * len).zip(tiles) {
        add_products::<FUSED>(share, rows, len, tile);
    }
}

/// Divides the shares of `WIDTH` vectors from number `first` on.
#[inline(always)]
fn divide<const WIDTH: usize, const FUSED: bool>(
    p: &[f64],
    len: usize,
    factor: &[[f64; TILE]],
    share: &mut [f64],
    first: usize,
) {
    let mut sums = [[Vector::ZERO; WIDTH]; TILE];
    for (row, factors) in p.chunks_exact(len).zip(factor) {
        let row = &vectors(row)[first..first + WIDTH];
        for (sums, factor) in sums.iter_mut().zip(factors) {
            for (sum, term) in sums.iter_mut().zip(row) {
                *sum = Vector(*term).times_plus::<FUSED>(Vector::splat(*factor), *sum);
            }
        }
    }
    for (share, sums) in share.chunks_exact_mut(len).zip(sums) {
        for (share, sum) in vectors_mut(share)[first..first + WIDTH].iter_mut().zip(sums) {
            // A sample that was not drawn counts for nothing, whatever its sum.
            *share = Vector(*share).map2(sum, |count, sum| if count == 0.0 { 0.0 } else { count / sum }).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_the_exponential() {
        for i in 0..40_000 {
            let x = f64::from(i) * 0.0249 - 299.5;
            let y = exp::<false>(x, FLOOR);
            assert!((y / x.exp() - 1.0).abs() < 5e-16, "{x} {y} {}", x.exp());
        }
        assert_eq!(
            [0.0, -0.0, -301.0, f64::NEG_INFINITY, -1e300].map(|x| exp::<true>(x, FLOOR)),
            [1.0, 1.0, 0.0, 0.0, 0.0]
        );
    }

    /// Numbers without a pattern.
    fn noise(n: usize) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * 12.9898).sin()).collect()
    }

    #[test]
    fn fermi_functions_sum_to_what_the_plain_loop_gives() {
        let mut work: Vec<f64> = noise(1000).iter().map(|x| 40.0 * x).collect();
        work.extend([f64::INFINITY, f64::NEG_INFINITY, 1e5, -1e5]);
        let mut sums = [0.0; 2];
        add_fermi(&work, None, 0.3, &mut sums);
        let f = |w: &f64| 1.0 / (1.0 + (0.3 + w).exp());
        let plain: [f64; 2] = [work.iter().map(f).sum(), work.iter().map(|w| f(w) * (1.0 - f(w))).sum()];
        assert!(
            (sums[0] - plain[0]).abs() < 1e-10 && (sums[1] - plain[1]).abs() < 1e-10,
            "{sums:?} {plain:?}"
        );
    }

    #[test]
    fn products_of_rows_are_what_the_plain_loop_gives() {
        let (n_rows, len) = (12, 40);
        let p = noise(n_rows * len);
        let mut tiles = vec![[[Vector::ZERO; TILE]; TILE]; n_tiles(n_rows)];
        add_gram(&p, len, &mut tiles);
        let mut tile = tiles.iter();
        for first in (0..n_rows).step_by(TILE) {
            for second in (first..n_rows).step_by(TILE) {
                let tile = tile.next().unwrap();
                for (i, j) in (0..TILE).flat_map(|i| (0..TILE).map(move |j| (i, j))) {
                    let (a, b) = (&p[(first + i) * len..][..len], &p[(second + j) * len..][..len]);
                    let plain: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    assert!((tile[i][j].sum() - plain).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn replicates_are_what_the_plain_loop_gives() {
        let (n_rows, len) = (8, 24);
        let p: Vec<f64> = noise(n_rows * len).iter().map(|x| x * x).collect();
        let factor: Vec<[f64; TILE]> =
            (0..n_rows).map(|k| [0, 1, 2, 3].map(|r| 1.0 + 0.1 * (k * 5 + r) as f64)).collect();
        let count: Vec<f64> = (0..TILE * len).map(|i| (i % 3) as f64).collect();
        let mut share = count.clone();
        let mut tiles = vec![[[Vector::ZERO; TILE]; TILE]; n_rows / TILE];
        add_replicates(&p, len, &factor, &mut share, &mut tiles);
        for (replicate, row) in (0..TILE).flat_map(|r| (0..n_rows).map(move |k| (r, k))) {
            let plain: f64 = (0..len)
                .map(|n| {
                    let sum: f64 = (0..n_rows).map(|k| factor[k][replicate] * p[k * len + n]).sum();
                    count[replicate * len + n] / sum * p[row * len + n]
                })
                .sum();
            assert!((tiles[row / TILE][replicate][row % TILE].sum() - plain).abs() < 1e-12);
        }
    }
}
