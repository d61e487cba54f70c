//! Free energies of many bootstrap resamples at once.
//!
//! A resample is the list of how often each sample counts, a byte each: nothing is copied. With the
//! responsibilities p_kn of the full solution, replicate r has at f + Δf_r the denominators
//! D_rn = Σ_k c_rk p_kn, c_rk = exp(Δf_rk) n_rk/N_k, and the gradient c_rk Σ_n m_rn p_kn / D_rn − n_rk:
//! two products of matrices and no exponential, so that one pass over the energies serves a whole batch of
//! replicates. Steps are those of Newton's method with the Hessian of the full solution, from which that of
//! a resample differs by a few per cent: each pass gains between one and two digits. A replicate that does
//! not converge so (it lost a state, or the few samples that link two) is solved by itself.

use super::Certificate;
use super::kernel::{TILE, Vector, add_replicates};
use super::newton::Goal;
use super::objective::{Objective, Position, Rows, Scratch, over_parts};
use crate::error::{Error, Result};
use crate::free_energy::Mbar;
use crate::free_energy::bootstrap::{Blocks, deviation, draw_samples};
use crate::random::{Purpose, Streams};
use rayon::prelude::*;
use std::ops::Range;

/// Length in kT of the step that is the last: the next would be a few per cent of it.
const LAST_STEP_KT: f64 = 1e-6;
/// Largest change of a free energy that the products of the full solution are used for, kT.
const LARGEST_CHANGE_KT: f64 = 15.0;
/// Passes after which a replicate is solved by itself.
const LARGEST_NUMBER_OF_PASSES: usize = 15;
/// Replicates that share a pass.
const LARGEST_BATCH: usize = 256;

/// What is drawn with replacement.
#[derive(Debug, Clone, Copy)]
pub enum Resampling<'a> {
    /// Whole blocks.
    Blocks(&'a Blocks),
    /// Single samples within each state, for independent samples.
    Samples,
}

/// Free energies of the resamples of an MBAR analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct FreeEnergyBootstrap {
    /// `[resample][state]`, relative to the first state, kT; NaN where a resample leaves a state undetermined.
    pub replicates: Vec<Vec<f64>>,
    /// σ(f_k − f_0); NaN for states without a free energy or not linked to state 0.
    pub std_errors: Vec<f64>,
    /// √(B/(B − 1)) with the fewest blocks (or samples) B from which any group was drawn: the factor by which
    /// deviations of the replicates are too small, already in `std_errors`.
    pub inflation: f64,
    /// Resamples that had to be solved by themselves.
    pub n_alone: usize,
    /// What was done, for `error_method`.
    pub method: String,
}

impl FreeEnergyBootstrap {
    /// σ(f_to − f_from).
    pub fn std_error(&self, from: usize, to: usize) -> f64 {
        self.inflation * deviation(self.replicates.iter().map(|f| f[to] - f[from]))
    }
}

/// Resamples of which the free energies are known.
pub(in crate::free_energy) struct Solved {
    pub(super) at: Position,
    /// N_k of the sampled states.
    pub counts: Vec<f64>,
    /// Which these are, when not those of the full solution.
    pub sampled: Option<Vec<usize>>,
    pub certificate: Certificate,
    /// Change of the free energies of the other states relative to the full solution.
    pub others: Vec<f64>,
    pub converged: bool,
}

/// Bootstrap of the free energies of an MBAR solution.
pub fn bootstrap_free_energies(
    mbar: &Mbar<'_>,
    resampling: Resampling<'_>,
    n_resamples: usize,
    streams: &Streams,
) -> Result<FreeEnergyBootstrap> {
    let reference = Reference::new(mbar, resampling);
    let batch = reference.batch(n_resamples);
    let (mut replicates, mut n_alone) = (Vec::with_capacity(n_resamples), 0);
    for first in (0..n_resamples).step_by(batch) {
        let drawn = reference.draw(first..(first + batch).min(n_resamples), streams);
        for (solved, drawn) in reference.solve(&drawn)?.into_iter().zip(&drawn) {
            n_alone += usize::from(solved.sampled.is_some());
            replicates.push(reference.free_energies(&solved, drawn)?);
        }
    }
    let inflation = reference.inflation();
    let std_errors = (0..mbar.energies().n_states())
        .map(|k| inflation * deviation(replicates.iter().map(|f| f[k])))
        .collect();
    let method = match resampling {
        Resampling::Blocks(blocks) => {
            format!("block bootstrap ({n_resamples} resamples of {} blocks)", blocks.n_blocks())
        }
        Resampling::Samples => format!("bootstrap ({n_resamples} resamples of independent samples)"),
    };
    Ok(FreeEnergyBootstrap { replicates, std_errors, inflation, n_alone, method })
}

/// The full solution, as replicates need it.
pub(in crate::free_energy) struct Reference<'m, 'a> {
    mbar: &'m Mbar<'a>,
    resampling: Resampling<'m>,
    /// Sampled states, then others that have a free energy.
    states: Vec<usize>,
    n_sampled: usize,
    base: Vec<f64>,
    offset: Vec<f64>,
    /// N_k; of states that are not sampled as many as were pretended.
    counts: Vec<f64>,
    /// Whether the full solution knows a state's free energy relative to the first.
    linked: Vec<bool>,
    /// Samples of each state, when these are what is drawn.
    runs: Vec<Vec<Range<usize>>>,
}

impl<'m, 'a> Reference<'m, 'a> {
    pub fn new(mbar: &'m Mbar<'a>, resampling: Resampling<'m>) -> Self {
        let (states, counts, base, offset) = mbar.rows();
        let mut runs = vec![Vec::new(); mbar.energies().n_states()];
        if matches!(resampling, Resampling::Samples) {
            mbar.energies().runs().into_iter().for_each(|(state, run)| runs[state].push(run));
        }
        let linked = mbar.linked_to_first();
        Self { linked, mbar, resampling, states, n_sampled: mbar.sampled().len(), base, offset, counts, runs }
    }

    /// How many replicates to solve together: as many as an eighth of the memory of the energies holds; of energies
    /// that are streamed, or hardly any, a fixed amount.
    pub fn batch(&self, n_resamples: usize) -> usize {
        let energies = self.mbar.energies();
        let n_samples = energies.n_samples();
        let bytes =
            if energies.is_streamed() { 64 << 20 } else { (n_samples * energies.n_states()).max(8 << 20) };
        (bytes / n_samples.max(1)).clamp(TILE, LARGEST_BATCH).min(n_resamples.max(1))
    }

    /// How often each sample counts in each resample.
    pub fn draw(&self, resamples: Range<usize>, streams: &Streams) -> Vec<Vec<u8>> {
        resamples
            .into_par_iter()
            .map(|resample| {
                let mut rng = streams.stream(Purpose::Bootstrap, resample as u64);
                match self.resampling {
                    Resampling::Blocks(blocks) => {
                        let count = blocks.draw(&mut rng);
                        // A block is drawn more than 255 times with a probability below 1e-500.
                        blocks.block_of().iter().map(|&block| count[block] as u8).collect()
                    }
                    Resampling::Samples => {
                        let mut count = vec![0; self.mbar.energies().n_samples()];
                        self.runs.iter().for_each(|runs| draw_samples(runs, &mut rng, &mut count));
                        count
                    }
                }
            })
            .collect()
    }

    fn inflation(&self) -> f64 {
        match self.resampling {
            Resampling::Blocks(blocks) => blocks.inflation(),
            Resampling::Samples => {
                // A single sample of a state has nothing to be exchanged with.
                let several = self.mbar.energies().n_k().iter().filter(|n| **n > 1).min();
                several.map_or(f64::NAN, |&n| (n as f64 / (n as f64 - 1.0)).sqrt())
            }
        }
    }

    /// N_k of the sampled states in a resample.
    fn counts_of(&self, drawn: &[u8]) -> Vec<f64> {
        let mut counts = vec![0.0; self.mbar.energies().n_states()];
        let multiplicity = self.mbar.multiplicity();
        for (state, run) in self.mbar.energies().runs() {
            counts[state] += match multiplicity {
                None => drawn[run].iter().map(|&m| u64::from(m)).sum::<u64>() as f64,
                Some(c) => drawn[run.clone()].iter().zip(&c[run]).map(|(&m, c)| f64::from(m) * c).sum(),
            };
        }
        self.mbar.sampled().iter().map(|&k| counts[k]).collect()
    }

    /// Solves a batch of resamples.
    pub fn solve(&self, drawn: &[Vec<u8>]) -> Result<Vec<Solved>> {
        let n_sampled = self.n_sampled;
        let counts: Vec<Vec<f64>> = drawn.par_iter().map(|drawn| self.counts_of(drawn)).collect();
        let mut change = vec![vec![0.0_f64; n_sampled]; drawn.len()];
        let mut others = vec![vec![0.0; self.states.len() - n_sampled]; drawn.len()];
        let mut residual = vec![0.0; drawn.len()];
        let mut last_step = vec![f64::INFINITY; drawn.len()];
        let mut alone: Vec<bool> = counts.iter().map(|counts| counts.contains(&0.0)).collect();
        let mut passes = 0;
        loop {
            let active: Vec<usize> =
                (0..drawn.len()).filter(|&r| !alone[r] && last_step[r] > LAST_STEP_KT).collect();
            if active.is_empty() {
                break;
            }
            if passes == LARGEST_NUMBER_OF_PASSES {
                active.iter().for_each(|&r| alone[r] = true);
                break;
            }
            passes += 1;
            let factors: Vec<Vec<f64>> = active
                .iter()
                .map(|&r| {
                    let ratios = counts[r].iter().zip(&self.counts).zip(&change[r]);
                    ratios.map(|((n, full), change)| change.exp() * n / full).collect()
                })
                .collect();
            let sums = self.pass(drawn, &active, &factors)?;
            for ((&r, sums), factors) in active.iter().zip(sums.chunks_exact(self.states.len())).zip(&factors)
            {
                let gradient: Vec<f64> =
                    factors.iter().zip(sums).zip(&counts[r]).map(|((c, sum), n)| c * sum - n).collect();
                residual[r] = gradient.iter().zip(&counts[r]).map(|(g, n)| (g / n).abs()).fold(0.0, f64::max);
                for ((other, sum), count) in
                    others[r].iter_mut().zip(&sums[n_sampled..]).zip(&self.counts[n_sampled..])
                {
                    *other = -(sum / count).ln();
                }
                let mut step = vec![0.0; n_sampled];
                self.mbar.reference_step(&gradient, &mut step);
                let length = step.iter().fold(0.0, |max: f64, d| max.max(d.abs()));
                change[r].iter_mut().zip(&step).for_each(|(change, step)| *change += step);
                let small = change[r].iter().all(|change| change.abs() < LARGEST_CHANGE_KT);
                // NaN is not small either.
                alone[r] = !(small && length.is_finite() && (passes < 4 || length < 0.5 * last_step[r]));
                last_step[r] = length;
            }
        }
        let solved = (0..drawn.len()).into_par_iter().map(|r| {
            if alone[r] {
                return self.solve_alone(&drawn[r], &change[r]);
            }
            let certificate =
                Certificate { residual: residual[r], last_step_kt: last_step[r], iterations: passes };
            let (at, others) = (self.mbar.position().moved(&change[r], 1.0), others[r].clone());
            Ok(Solved { at, counts: counts[r].clone(), sampled: None, certificate, others, converged: true })
        });
        solved.collect()
    }

    /// Σ_n m_rn p_kn / Σ_j factor_rj p_jn, `[active replicate][row]`.
    fn pass(&self, drawn: &[Vec<u8>], active: &[usize], factors: &[Vec<f64>]) -> Result<Vec<f64>> {
        let rows = Rows {
            states: &self.states,
            n_sampled: self.n_sampled,
            base: &self.base,
            offset: &self.offset,
            multiplicity: None,
        };
        let (n_rows, multiplicity) = (self.states.len(), self.mbar.multiplicity());
        let tiles_of_group = rows.n_padded() / TILE;
        let groups: Vec<&[usize]> = active.chunks(TILE).collect();
        // `[group][row][replicate]`; a state that is not sampled is in no denominator.
        let factors: Vec<Vec<[f64; TILE]>> = factors
            .chunks(TILE)
            .map(|group| {
                let mut by_row = vec![[0.0; TILE]; rows.n_padded()];
                for (i, factors) in group.iter().enumerate() {
                    by_row.iter_mut().zip(factors).for_each(|(row, factor)| row[i] = *factor);
                }
                by_row
            })
            .collect();
        let partial = over_parts(self.mbar.energies(), n_rows, |scratch, part| {
            rows.prepare(scratch, part.block);
            let Scratch { reader, p, sample, tiles } = scratch;
            tiles.clear();
            tiles.resize(groups.len() * tiles_of_group, [[Vector::ZERO; TILE]; TILE]);
            let mut totals = vec![0.0; n_rows];
            let mut share = vec![0.0; TILE * part.block];
            part.for_each(reader, |block| {
                let p = rows.responsibilities(block, p, sample, &mut totals);
                let share = &mut share[..TILE * block.len];
                for ((group, factors), tiles) in
                    groups.iter().zip(&factors).zip(tiles.chunks_exact_mut(tiles_of_group))
                {
                    share.fill(0.0);
                    for (share, &r) in share.chunks_exact_mut(block.len).zip(*group) {
                        let counts = &drawn[r][block.samples.clone()];
                        match multiplicity {
                            None => share.iter_mut().zip(counts).for_each(|(s, &m)| *s = f64::from(m)),
                            Some(c) => {
                                let c = &c[block.samples.clone()];
                                for ((share, &m), c) in share.iter_mut().zip(counts).zip(c) {
                                    *share = f64::from(m) * c;
                                }
                            }
                        }
                    }
                    add_replicates(p, block.len, factors, share, tiles);
                }
            })?;
            let sum = |(i, k): (usize, usize)| {
                tiles[i / TILE * tiles_of_group + k / TILE][i % TILE][k % TILE].sum()
            };
            let places = (0..active.len()).flat_map(|i| (0..n_rows).map(move |k| (i, k)));
            Ok(places.map(sum).collect::<Vec<f64>>())
        })?;
        let mut total = vec![0.0; active.len() * n_rows];
        for part in partial {
            total.iter_mut().zip(&part).for_each(|(total, part)| *total += part);
        }
        Ok(total)
    }

    /// Newton's method on one resample.
    fn solve_alone(&self, drawn: &[u8], change: &[f64]) -> Result<Solved> {
        let multiplicity = self.multiplicity(drawn);
        let objective = Objective::new(self.mbar.energies(), Some(&multiplicity));
        let usable = change.iter().all(|change| change.abs() < LARGEST_CHANGE_KT);
        let place = |k: usize| self.mbar.sampled().iter().position(|&s| s == k);
        let start = self.mbar.position().part(objective.sampled.iter().filter_map(|&k| place(k)));
        let step: Vec<f64> = objective
            .sampled
            .iter()
            .map(|&k| place(k).filter(|_| usable).map_or(0.0, |place| change[place]))
            .collect();
        let goal = Goal { residual: 1e-8, step_kt: LAST_STEP_KT, max_iterations: 200 };
        let minimum = objective.minimize(start.moved(&step, 1.0), &goal)?;
        let certificate = Certificate {
            residual: minimum.residual,
            last_step_kt: minimum.step_kt,
            iterations: minimum.iterations,
        };
        let Objective { sampled, counts, .. } = objective;
        let (at, converged) = (minimum.at, minimum.converged);
        Ok(Solved { at, counts, sampled: Some(sampled), certificate, others: Vec::new(), converged })
    }

    /// How often each sample counts.
    fn multiplicity(&self, drawn: &[u8]) -> Vec<f64> {
        match self.mbar.multiplicity() {
            None => drawn.iter().map(|&m| f64::from(m)).collect(),
            Some(c) => drawn.iter().zip(c).map(|(&m, c)| f64::from(m) * c).collect(),
        }
    }

    /// The resample as an analysis of its own.
    pub fn analysis(&self, solved: &Solved, drawn: &[u8]) -> Result<Mbar<'a>> {
        if !solved.converged {
            let Certificate { residual, iterations, .. } = solved.certificate;
            return Err(Error::mbar_not_converged(iterations, residual, 1e-8));
        }
        let sampled = solved.sampled.clone().unwrap_or_else(|| self.mbar.sampled().to_vec());
        Mbar::at_solution(
            self.mbar.energies(),
            Some(self.multiplicity(drawn)),
            (sampled, solved.counts.clone()),
            solved.at.clone(),
            solved.certificate,
        )
    }

    /// Free energies of all states relative to the first.
    fn free_energies(&self, solved: &Solved, drawn: &[u8]) -> Result<Vec<f64>> {
        if solved.sampled.is_some() {
            let undetermined = vec![f64::NAN; self.mbar.energies().n_states()];
            let Ok(analysis) = self.analysis(solved, drawn) else { return Ok(undetermined) };
            // Nothing is known about states that this resample does not link.
            let linked = analysis.linked_to_first();
            let f = analysis.free_energies_kt().iter().zip(linked);
            let f = f.zip(&self.linked).map(|((f, here), full)| if here && *full { *f } else { f64::NAN });
            return Ok(f.collect());
        }
        let mut f = vec![f64::NAN; self.mbar.energies().n_states()];
        let full = self.mbar.free_energies_kt();
        let gauge = solved.at.base[0] + solved.at.rest[0]
            - self.mbar.position().base[0]
            - self.mbar.position().rest[0];
        let changes =
            solved.at.change_from(self.mbar.position()).into_iter().chain(solved.others.iter().copied());
        for (&k, change) in self.states.iter().zip(changes) {
            f[k] = if self.linked[k] { full[k] + change - gauge } else { f64::NAN };
        }
        let first = if f[0].is_finite() { f[0] } else { 0.0 };
        f.iter_mut().for_each(|f| *f -= first);
        Ok(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free_energy::ReducedEnergies;
    use crate::random::fill_normal;

    /// Harmonic wells, the last of which has no samples; samples of states in turn, not state by state.
    fn wells(n_k: &[usize], spacing: f64) -> ReducedEnergies {
        let mut state_of: Vec<usize> = (0..n_k.len()).flat_map(|k| std::iter::repeat_n(k, n_k[k])).collect();
        let n = state_of.len();
        state_of.sort_by_key(|&k| (k * 7919) % 13);
        let mut x = vec![0.0; n];
        fill_normal(&mut Streams::new(3).stream(Purpose::Walker, 0), &mut x);
        x.iter_mut().zip(&state_of).for_each(|(x, &k)| *x += spacing * k as f64);
        let u = (0..n_k.len())
            .flat_map(|k| x.iter().map(move |x| 0.5 * (x - spacing * k as f64).powi(2) + k as f64));
        let u = u.collect();
        ReducedEnergies::new(n_k.len(), u, state_of).unwrap()
    }

    /// Every replicate, solved by itself from scratch.
    fn brute_force(mbar: &Mbar, resampling: Resampling, n: usize, streams: &Streams) -> Vec<Vec<f64>> {
        let drawn = Reference::new(mbar, resampling).draw(0..n, streams);
        let base = |n: usize| mbar.multiplicity().map_or(1.0, |c| c[n]);
        let solve = |drawn: &Vec<u8>| {
            let c = drawn.iter().enumerate().map(|(n, &m)| f64::from(m) * base(n)).collect();
            Mbar::weighted(mbar.energies(), c).unwrap().free_energies_kt().to_vec()
        };
        drawn.iter().map(solve).collect()
    }

    #[test]
    fn resamples_solved_together_are_those_solved_one_by_one() {
        let (energies, streams) = (wells(&[90, 60, 120, 75, 0], 1.2), Streams::new(8));
        let plain = Mbar::new(&energies).unwrap();
        let halves = (0..345).map(|n| 0.25 + 0.5 * f64::from(n % 2)).collect();
        let weighted = Mbar::weighted(&energies, halves).unwrap();
        let ids: Vec<usize> = (0..345).map(|n| n / 5).collect();
        let blocks = Blocks::of_states(&ids, energies.state_of()).unwrap();
        for mbar in [&plain, &weighted] {
            for resampling in [Resampling::Samples, Resampling::Blocks(&blocks)] {
                let fast = bootstrap_free_energies(mbar, resampling, 30, &streams).unwrap();
                let slow = brute_force(mbar, resampling, 30, &streams);
                for (fast, slow) in fast.replicates.iter().flatten().zip(slow.iter().flatten()) {
                    assert!((fast - slow).abs() < 2e-6, "{fast} {slow}");
                }
                assert!(fast.std_errors[4] > fast.std_errors[1] && fast.std_errors[0] == 0.0);
            }
        }
    }

    #[test]
    fn resamples_that_lose_an_overlap_or_a_state_are_solved_alone() {
        // Five samples a state: many resamples lack what links two states.
        let (energies, streams) = (wells(&[5, 5, 5], 2.4), Streams::new(2));
        let mbar = Mbar::new(&energies).unwrap();
        let fast = bootstrap_free_energies(&mbar, Resampling::Samples, 60, &streams).unwrap();
        let slow = brute_force(&mbar, Resampling::Samples, 60, &streams);
        assert!(mbar.disconnection().is_none() && fast.n_alone > 0, "{:?}", mbar.disconnection());
        let mut n_equal = 0;
        for (fast, slow) in fast.replicates.iter().zip(&slow) {
            for (fast, slow) in fast.iter().zip(slow).filter(|(fast, _)| fast.is_finite()) {
                assert!((fast - slow).abs() < 1e-4, "{fast} {slow}");
                n_equal += 1;
            }
        }
        assert!(n_equal > 60);
    }

    #[test]
    fn samples_are_drawn_evenly_and_within_their_state() {
        let energies = wells(&[40, 1, 7], 1.0);
        let mbar = Mbar::new(&energies).unwrap();
        let n = 4000;
        let drawn = Reference::new(&mbar, Resampling::Samples).draw(0..n, &Streams::new(1));
        for counts in &drawn {
            let mut n_k = [0; 3];
            counts.iter().zip(energies.state_of()).for_each(|(&m, &k)| n_k[k] += usize::from(m));
            assert_eq!(n_k, [40, 1, 7]);
        }
        for (sample, &state) in energies.state_of().iter().enumerate() {
            let mean = drawn.iter().map(|counts| f64::from(counts[sample])).sum::<f64>() / n as f64;
            // The mean of 4000 counts with variance 1 − 1/n_k.
            let deviation = ((1.0 - 1.0 / energies.n_k()[state] as f64) / n as f64).sqrt();
            assert!((mean - 1.0).abs() <= 5.0 * deviation, "{sample} {mean}");
        }
    }
}
