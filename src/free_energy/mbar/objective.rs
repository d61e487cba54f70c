//! The convex objective whose minimum is the MBAR solution, and its derivatives.
//!
//! L(f) = Σ_n c_n ln Σ_k N_k exp(f_k − u_kn) − Σ_k N_k f_k over the sampled states, where c_n is how
//! often sample n counts (1, or its multiplicity). With the responsibilities
//! p_kn = N_k exp(f_k − u_kn) / Σ_j N_j exp(f_j − u_jn) the gradient is Σ_n c_n p_kn − N_k, and the
//! Hessian is the Laplacian of a graph with edges s_ij = Σ_n c_n p_in p_jn: the number of samples that
//! two states share. Only off-diagonal elements enter, so that small overlaps keep their digits.
//!
//! One sweep over the samples gives value, gradient and shared samples. Energies are taken relative to
//! a base of each state and then to the lowest of each sample before anything is added to them, which is
//! exact where it matters: offsets of 10⁹ kT of states or samples cost no digit of f.

use super::kernel::{LANES, PerSample, TILE, Terms, Tile, Vector, add_gram, n_tiles, responsibilities};
use crate::error::Result;
use crate::free_energy::ReducedEnergies;
use crate::free_energy::reduced_energies::source::stretch_length;
use nalgebra::DMatrix;
use rayon::prelude::*;
use std::ops::Range;

/// Free energies of states, split so that their large part can be subtracted from energies exactly.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Position {
    pub base: Vec<f64>,
    pub rest: Vec<f64>,
}

/// A rest above this goes into the base.
const LARGEST_REST: f64 = 40.0;

impl Position {
    pub fn new(f: Vec<f64>) -> Self {
        let f: Vec<f64> = f.into_iter().map(|f| if f.is_finite() { f } else { 0.0 }).collect();
        // Integers, so that the difference from an energy is exact whichever of the two is larger.
        let base: Vec<f64> = f.iter().map(|f| f.round()).collect();
        Self { rest: f.iter().zip(&base).map(|(f, base)| f - base).collect(), base }
    }

    /// The position a step away.
    pub fn moved(&self, step: &[f64], scale: f64) -> Self {
        let mut moved = self.clone();
        for ((rest, base), step) in moved.rest.iter_mut().zip(&mut moved.base).zip(step) {
            *rest += scale * step;
            if rest.abs() > LARGEST_REST {
                *base += rest.round();
                *rest -= rest.round();
            }
        }
        moved
    }

    /// The position of some of the states.
    pub fn part(&self, places: impl Iterator<Item = usize>) -> Self {
        let (base, rest) = places.map(|place| (self.base[place], self.rest[place])).unzip();
        Self { base, rest }
    }

    /// f_k − f_k of another position.
    pub fn change_from(&self, other: &Self) -> Vec<f64> {
        let bases = self.base.iter().zip(&other.base).map(|(a, b)| a - b);
        bases.zip(self.rest.iter().zip(&other.rest)).map(|(base, (a, b))| base + (a - b)).collect()
    }

    /// f_k − f_0.
    pub fn relative(&self) -> Vec<f64> {
        let (base, rest) = (self.base[0], self.rest[0]);
        self.base.iter().zip(&self.rest).map(|(b, r)| (b - base) + (r - rest)).collect()
    }
}

/// The samples as sums over blocks see them.
pub(super) struct Objective<'a> {
    pub energies: &'a ReducedEnergies,
    /// States with samples, in order.
    pub sampled: Vec<usize>,
    /// N_k of the sampled states, from the multiplicities.
    pub counts: Vec<f64>,
    pub multiplicity: Option<&'a [f64]>,
}

/// What a sweep is to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Value and gradient.
    Gradient,
    /// The shared samples as well.
    Hessian,
}

/// Value and derivatives at one f.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    /// L − `level`.
    pub value: f64,
    /// What the bases alone contribute to L, which may be large.
    pub level: f64,
    /// Σ_n c_n p_kn.
    pub responsibility: Vec<f64>,
    /// s_ij of all rows, with their diagonal; empty without Hessian.
    pub shared: DMatrix<f64>,
}

/// Partial sums, in a number that does not depend on the number of threads, so that results do not.
fn n_parts(n_rows: usize) -> usize {
    ((1 << 22) / (n_rows * n_rows).max(1)).clamp(8, 64)
}

/// Samples treated together: few enough that their responsibilities stay in the first caches.
pub(super) fn block_length(n_rows: usize) -> usize {
    ((1 << 11) / n_rows.max(1)).clamp(128, 1024) & !(LANES - 1)
}

/// Consecutive samples with their energies.
pub(super) struct Block<'a> {
    pub samples: Range<usize>,
    pub energies: &'a [f64],
    pub stride: usize,
    /// Samples rounded up to whole vectors; those that do not exist have energies zero.
    pub len: usize,
    /// Samples after these that come next and whose energies follow in memory.
    pub next: usize,
}

/// Consecutive blocks that are summed by one thread.
pub(super) struct Part<'a> {
    energies: &'a ReducedEnergies,
    pub samples: Range<usize>,
    pub block: usize,
}

/// Buffers of a thread, reused from part to part.
#[derive(Default)]
pub(super) struct Scratch {
    pub reader: Reader,
    pub p: Vec<f64>,
    pub sample: PerSample,
    pub tiles: Vec<Tile>,
}

/// What reading needs.
#[derive(Default)]
pub(super) struct Reader {
    stretch: Vec<f64>,
    last: Vec<f64>,
}

impl Part<'_> {
    /// Visits the blocks in order.
    pub fn for_each(&self, reader: &mut Reader, mut visit: impl FnMut(&Block<'_>)) -> Result<()> {
        let n_states = self.energies.n_states();
        let length = if self.energies.is_direct() {
            self.samples.len()
        } else {
            (stretch_length(n_states) / self.block).max(1) * self.block
        };
        for start in self.samples.clone().step_by(length.max(1)) {
            let samples = start..(start + length).min(self.samples.end);
            let stretch = self.energies.stretch(samples.clone(), &mut reader.stretch)?;
            let end = samples.end;
            for first in samples.clone().step_by(self.block) {
                let samples = first..(first + self.block).min(end);
                let (live, values) = (samples.len(), &stretch.values[first - start..]);
                if live % LANES == 0 {
                    let next = self.block.min(end - samples.end);
                    visit(&Block { samples, energies: values, stride: stretch.stride, len: live, next });
                    continue;
                }
                let len = live.next_multiple_of(LANES);
                reader.last.clear();
                for state in 0..n_states {
                    reader.last.extend_from_slice(&values[state * stretch.stride..][..live]);
                    reader.last.resize((state + 1) * len, 0.0);
                }
                visit(&Block { samples, energies: &reader.last, stride: len, len, next: 0 });
            }
        }
        Ok(())
    }
}

/// Sums over all samples, part by part; the sums come back in order.
pub(super) fn over_parts<R: Send>(
    energies: &ReducedEnergies,
    n_rows: usize,
    sum: impl Fn(&mut Scratch, &Part<'_>) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    let (block, n_samples) = (block_length(n_rows), energies.n_samples());
    let length = n_samples.div_ceil(n_parts(n_rows)).next_multiple_of(block);
    (0..n_samples.div_ceil(length))
        .into_par_iter()
        .map_init(Scratch::default, |scratch, i| {
            let samples = i * length..((i + 1) * length).min(n_samples);
            sum(scratch, &Part { energies, samples, block })
        })
        .collect()
}

/// States whose responsibilities a sweep computes.
pub(super) struct Rows<'a> {
    pub states: &'a [usize],
    pub n_sampled: usize,
    pub base: &'a [f64],
    /// f_k + ln N_k − base_k.
    pub offset: &'a [f64],
    pub multiplicity: Option<&'a [f64]>,
}

impl Rows<'_> {
    /// Rows of `p`, with zeros up to whole tiles.
    pub fn n_padded(&self) -> usize {
        self.states.len().next_multiple_of(TILE)
    }

    /// Makes the buffers fit.
    pub fn prepare(&self, scratch: &mut Scratch, block: usize) {
        scratch.p.clear();
        scratch.p.resize(self.n_padded() * block, 0.0);
        scratch.sample = PerSample::new(block);
    }

    /// √c_n p_kn of a block in `p`; adds Σ_n c_n p_kn to `totals`.
    pub fn responsibilities<'p>(
        &self,
        block: &Block<'_>,
        p: &'p mut [f64],
        sample: &mut PerSample,
        totals: &mut [f64],
    ) -> &'p [f64] {
        let live = block.samples.len();
        if let Some(multiplicity) = self.multiplicity {
            for (root, c) in sample.root.iter_mut().zip(&multiplicity[block.samples.clone()]) {
                *root = c.sqrt();
            }
        }
        let terms = Terms {
            energies: block.energies,
            stride: block.stride,
            len: block.len,
            live,
            next: block.next,
            states: self.states,
            n_sampled: self.n_sampled,
            base: self.base,
            offset: self.offset,
        };
        let (rows, padding) = p[..self.n_padded() * block.len].split_at_mut(self.states.len() * block.len);
        responsibilities(&terms, rows, sample, totals);
        padding.fill(0.0);
        &p[..self.n_padded() * block.len]
    }

    /// Value, Σ_n c_n p_kn and, if asked for, Σ_n c_n p_in p_jn of all rows.
    pub fn pass(&self, energies: &ReducedEnergies, order: Order) -> Result<Pass> {
        let n = self.states.len();
        let n_tiles = if order == Order::Hessian { n_tiles(n) } else { 0 };
        let partial = over_parts(energies, n, |scratch, part| {
            self.prepare(scratch, part.block);
            let Scratch { reader, p, sample, tiles } = scratch;
            tiles.clear();
            tiles.resize(n_tiles, [[Vector::ZERO; TILE]; TILE]);
            let (mut value, mut level, mut totals) = (0.0, 0.0, vec![0.0; n]);
            part.for_each(reader, |block| {
                let p = self.responsibilities(block, p, sample, &mut totals);
                value += self.log_sums(block, sample);
                level -= self.counted(block, &sample.lowest);
                if order == Order::Hessian {
                    add_gram(p, block.len, tiles);
                }
            })?;
            Ok((value, level, totals, symmetric(tiles, n)))
        })?;
        let size = if order == Order::Hessian { n } else { 0 };
        let mut pass =
            Pass { value: 0.0, level: 0.0, responsibility: vec![0.0; n], shared: DMatrix::zeros(size, size) };
        for (value, level, totals, shared) in partial {
            pass.value += value;
            pass.level += level;
            pass.responsibility.iter_mut().zip(&totals).for_each(|(sum, total)| *sum += total);
            pass.shared += shared;
        }
        Ok(pass)
    }

    /// Σ_n c_n x_n.
    fn counted(&self, block: &Block<'_>, x: &[f64]) -> f64 {
        let x = &x[..block.samples.len()];
        match self.multiplicity {
            None => x.iter().sum(),
            Some(c) => c[block.samples.clone()].iter().zip(x).map(|(c, x)| c * x).sum(),
        }
    }

    /// Σ_n c_n ln Σ_k N_k exp(f_k − u_kn), less the lowest energy of each sample.
    fn log_sums(&self, block: &Block<'_>, sample: &PerSample) -> f64 {
        let sums = &sample.sum[..block.samples.len()];
        match self.multiplicity {
            // Each sum lies between e^-60 and e^80, so that eight of them can share a logarithm.
            None => sums.chunks(8).map(|sums| sums.iter().product::<f64>().ln()).sum(),
            Some(c) => {
                let counted = c[block.samples.clone()].iter().zip(sums).filter(|(c, _)| **c > 0.0);
                counted.map(|(c, sum)| c * sum.ln()).sum()
            }
        }
    }
}

/// The symmetric matrix of which the tiles hold the upper triangle.
fn symmetric(tiles: &[Tile], n: usize) -> DMatrix<f64> {
    if tiles.is_empty() {
        return DMatrix::zeros(0, 0);
    }
    let mut matrix = DMatrix::zeros(n, n);
    let mut tiles = tiles.iter();
    for first in (0..n).step_by(TILE) {
        for second in (first..n).step_by(TILE) {
            let tile = tiles.next().expect("one tile for each pair");
            for (i, row) in (first..n).zip(tile) {
                for (j, sum) in (second..n).zip(row) {
                    let sum = sum.sum();
                    matrix[(i, j)] = sum;
                    matrix[(j, i)] = sum;
                }
            }
        }
    }
    matrix
}

impl<'a> Objective<'a> {
    pub fn new(energies: &'a ReducedEnergies, multiplicity: Option<&'a [f64]>) -> Self {
        let counts: Vec<f64> = match multiplicity {
            None => energies.n_k().iter().map(|&n| n as f64).collect(),
            Some(c) => {
                let mut counts = vec![0.0; energies.n_states()];
                for (state, run) in energies.runs() {
                    counts[state] += c[run].iter().sum::<f64>();
                }
                counts
            }
        };
        let sampled: Vec<usize> = (0..counts.len()).filter(|&k| counts[k] > 0.0).collect();
        let counts = sampled.iter().map(|&k| counts[k]).collect();
        Self { energies, sampled, counts, multiplicity }
    }

    /// Offsets of the sampled states.
    fn offsets(&self, at: &Position) -> Vec<f64> {
        at.rest.iter().zip(&self.counts).map(|(rest, count)| rest + count.ln()).collect()
    }

    /// The sampled states at a position, whose offsets the caller holds.
    fn rows<'r>(&'r self, at: &'r Position, offset: &'r [f64], multiplicity: Option<&'r [f64]>) -> Rows<'r> {
        Rows { states: &self.sampled, n_sampled: self.sampled.len(), base: &at.base, offset, multiplicity }
    }

    /// Value, gradient and, if asked for, shared samples.
    pub fn pass(&self, at: &Position, order: Order) -> Result<Pass> {
        let offset = self.offsets(at);
        let rows = self.rows(at, &offset, self.multiplicity);
        let mut pass = rows.pass(self.energies, order)?;
        pass.value -= self.counts.iter().zip(&at.rest).map(|(count, rest)| count * rest).sum::<f64>();
        pass.level -= self.counts.iter().zip(&at.base).map(|(count, base)| count * base).sum::<f64>();
        Ok(pass)
    }

    /// max_k |Σ_n c_n p_kn / N_k − 1|: the gradient, relative to the samples of each state.
    pub fn residual(&self, pass: &Pass) -> f64 {
        let ratios = pass.responsibility.iter().zip(&self.counts);
        ratios.map(|(r, count)| (r / count - 1.0).abs()).fold(0.0, f64::max)
    }

    /// ln Σ_k N_k exp(f_k − u_kn) for each sample, with f as it stands in `at`.
    pub fn log_denominators(&self, at: &Position) -> Result<Vec<f64>> {
        let offset = self.offsets(at);
        let rows = self.rows(at, &offset, None);
        let partial = over_parts(self.energies, self.sampled.len(), |scratch, part| {
            rows.prepare(scratch, part.block);
            let Scratch { reader, p, sample, .. } = scratch;
            let mut values = Vec::with_capacity(part.samples.len());
            let mut totals = vec![0.0; rows.states.len()];
            part.for_each(reader, |block| {
                rows.responsibilities(block, p, sample, &mut totals);
                let samples = sample.sum.iter().zip(&sample.lowest).take(block.samples.len());
                values.extend(samples.map(|(sum, lowest)| sum.ln() - lowest));
            })?;
            Ok(values)
        })?;
        Ok(partial.concat())
    }

    /// −ln Σ_n c_n exp(−u_kn) / Σ_j N_j exp(f_j − u_jn) of any states, in logarithms, so that no start is
    /// too far away.
    pub fn free_energies(&self, at: &Position, states: &[usize]) -> Result<Vec<f64>> {
        let offset = self.offsets(at);
        let rows = self.rows(at, &offset, None);
        let partial = over_parts(self.energies, self.sampled.len(), |scratch, part| {
            rows.prepare(scratch, part.block);
            let Scratch { reader, p, sample, .. } = scratch;
            let mut totals = vec![0.0; rows.states.len()];
            let mut sums = vec![LogSum::default(); states.len()];
            let mut terms = Vec::new();
            part.for_each(reader, |block| {
                rows.responsibilities(block, p, sample, &mut totals);
                for (&state, sum) in states.iter().zip(&mut sums) {
                    let u = &block.energies[state * block.stride..];
                    terms.clear();
                    terms.extend(block.samples.clone().enumerate().map(|(i, n)| {
                        let log_count = self.multiplicity.map_or(0.0, |c| c[n].ln());
                        log_count - (u[i] - sample.lowest[i]) - sample.sum[i].ln()
                    }));
                    sum.add(&terms);
                }
            })?;
            Ok(sums)
        })?;
        let mut total = vec![LogSum::default(); states.len()];
        for sums in &partial {
            total.iter_mut().zip(sums).for_each(|(total, sum)| total.join(sum));
        }
        Ok(total.iter().map(|sum| -sum.value()).collect())
    }
}

/// ln Σ exp, over pieces.
#[derive(Debug, Clone, Copy)]
struct LogSum {
    largest: f64,
    sum: f64,
}

impl Default for LogSum {
    fn default() -> Self {
        Self { largest: f64::NEG_INFINITY, sum: 0.0 }
    }
}

impl LogSum {
    fn add(&mut self, terms: &[f64]) {
        let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest > f64::NEG_INFINITY {
            let sum = terms.iter().map(|term| (term - largest).exp()).sum();
            self.join(&Self { largest, sum });
        }
    }

    fn join(&mut self, other: &Self) {
        let largest = self.largest.max(other.largest);
        if largest > f64::NEG_INFINITY {
            self.sum =
                self.sum * (self.largest - largest).exp() + other.sum * (other.largest - largest).exp();
            self.largest = largest;
        }
    }

    fn value(&self) -> f64 {
        self.largest + self.sum.ln()
    }
}
