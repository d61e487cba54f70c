//! What a metric says of two independent samples of one ensemble: its floor.
//!
//! All metrics here are dominated by counting noise when two ensembles are close, so a number means
//! nothing without the number that equal ensembles of the same sizes would give. The floor is measured
//! by splitting decorrelated frames of one ensemble at random, without replacement, again and again.

use super::grid::{Grid, Sample};
use super::metric::Metric;
use crate::error::{Error, Result};
use crate::free_energy::Estimate;
use crate::free_energy::bootstrap::deviation;
use crate::random::{Purpose, Rng, Streams};
use nalgebra::{DMatrix, DVector};
use rand::Rng as _;
use rayon::prelude::*;

/// Fewer splits than this do not determine a spread.
pub const MIN_SPLITS: usize = 20;
/// Fewer frames than this in one half say nothing about a surface.
const MIN_FRAMES: usize = 50;
/// Sizes of the halves, as shares of all frames, from which a floor is extrapolated.
const SHARES: [f64; 5] = [0.5, 0.4, 0.3, 0.22, 0.16];

/// The floor of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseFloor {
    /// Which metric.
    pub metric: Metric,
    /// Mean over the splits; `std_error` is the standard deviation of a single split, that is, of one
    /// comparison of two equal ensembles, and not of the mean. `error_method` says how it was obtained.
    pub floor: Estimate,
    /// There were too few frames for these sizes, and the floor was extrapolated from smaller ones.
    pub extrapolated: bool,
}

impl NoiseFloor {
    /// How much a measured value lies above the floor.
    ///
    /// The error of the value and the spread of the floor are added in quadrature. Both contain the
    /// counting noise of the compared samples, so the error is on the large side.
    pub fn excess(&self, value: &Estimate) -> Estimate {
        let mut excess = value.minus(&self.floor);
        excess.error_method = format!("{}; floor: {}", value.error_method, self.floor.error_method);
        excess
    }
}

/// Floors of several metrics for samples of `n` and `m` frames.
///
/// `pooled` holds frames of one ensemble; those of `decorrelated` (all without it) are split. Where they
/// are fewer than n + m, equal halves of several smaller sizes are compared, and ln floor, fitted as a
/// quadratic in ln 1/n, is read at the harmonic mean of n and m. (A straight line in 1/n does worse:
/// bins go on being discovered as n grows. From 20,000 frames of alanine dipeptide it predicts a JS
/// floor of 0.0155 and a PMF error of −0.02 for 50,000 + 50,000, where the truth is 0.0095 and 0.11 and
/// the quadratic gives 0.0092 and 0.10.) Where they are too few even for that, the floor is not a number.
pub fn noise_floor(
    metrics: &[Metric],
    pooled: &Sample,
    decorrelated: Option<&[usize]>,
    n: usize,
    m: usize,
    n_splits: usize,
    streams: &Streams,
) -> Result<Vec<NoiseFloor>> {
    if n_splits < MIN_SPLITS {
        return Err(Error::invalid(
            "splits for a noise floor",
            format!("at least {MIN_SPLITS}"),
            n_splits.to_string(),
        ));
    }
    let all: Vec<usize>;
    let frames = match decorrelated {
        Some(frames) => frames,
        None => {
            all = (0..pooled.n_frames()).collect();
            &all
        }
    };
    if let Some(frame) = frames.iter().find(|frame| **frame >= pooled.n_frames()) {
        return Err(Error::invalid(
            "decorrelated frames",
            format!("indices below {}", pooled.n_frames()),
            frame.to_string(),
        ));
    }
    let smallest = (SHARES[SHARES.len() - 1] * frames.len() as f64) as usize;
    if n == 0 || m == 0 {
        return Err(Error::invalid("sizes for a noise floor", "at least one frame", format!("{n} and {m}")));
    }
    if frames.len() < n + m && smallest < MIN_FRAMES {
        let method = format!(
            "not known: {} decorrelated frames, at least {} are needed to extrapolate from",
            frames.len(),
            (MIN_FRAMES as f64 / SHARES[SHARES.len() - 1]).ceil()
        );
        return Ok(assembled(metrics, n.min(m), &method, false, |_| (f64::NAN, f64::NAN)));
    }
    if frames.len() >= n + m {
        let values = splits(metrics, pooled, frames, n, m, n_splits, streams);
        let method = format!(
            "mean ± standard deviation of {n_splits} random splits of {} decorrelated frames into {n} and {m}",
            frames.len()
        );
        return Ok(assembled(metrics, n.min(m), &method, false, |i| spread(&values, i)));
    }

    let sizes: Vec<usize> = SHARES.iter().map(|share| (share * frames.len() as f64) as usize).collect();
    let by_size: Vec<Vec<Vec<f64>>> = sizes
        .iter()
        .enumerate()
        .map(|(part, &size)| {
            splits(metrics, pooled, frames, size, size, n_splits, &streams.derive(part as u64))
        })
        .collect();
    let harmonic = 2.0 / (1.0 / n as f64 + 1.0 / m as f64);
    let method = format!(
        "extrapolated in 1/n to {n} and {m} frames (ln floor as a quadratic in ln 1/n) from {n_splits} random \
         splits each of {} decorrelated frames into equal halves of {sizes:?}",
        frames.len()
    );
    Ok(assembled(metrics, n.min(m), &method, true, |i| {
        let spreads: Vec<(f64, f64)> = by_size.iter().map(|values| spread(values, i)).collect();
        extrapolate(&sizes, &spreads, harmonic)
    }))
}

/// Floors of several metrics for a sample whose weights vary over the surface.
///
/// Kish's number of effective frames says too little about such a sample: where weights are small there are many frames,
/// and rare regions are counted better than by as many equal ones. So the floor is that of sets that are drawn the same
/// way: the plane is divided into cells with at most 32 frames of `weighted`; each of `n_draws` draws takes one of
/// these frames at random, and in its place a frame of `pool` from the same cell, with the weight of another frame of
/// the cell, scaled so that the cell has the mass that it has in `pool`. All sets are compared with the same
/// `reference`, so that its own noise is in the floor as it is in the value. `pool` and `reference` must be independent
/// samples of one ensemble. The noise of the pool itself is taken off, to first order, by what its two halves show; frames
/// are in the order of time, so that halves are independent.
pub fn noise_floor_of_weights(
    metrics: &[Metric],
    weighted: &Sample,
    n_draws: usize,
    pool: &Sample,
    reference: &Sample,
    n_splits: usize,
    streams: &Streams,
) -> Result<Vec<NoiseFloor>> {
    if n_splits < MIN_SPLITS || n_draws == 0 || pool.n_frames() < 2 * MIN_FRAMES {
        let expected = format!("at least {MIN_SPLITS}, 1 and {}", 2 * MIN_FRAMES);
        let found = format!("{n_splits} splits, {n_draws} draws and a pool of {}", pool.n_frames());
        return Err(Error::invalid("noise floor of weights", expected, found));
    }
    let all: Vec<usize> = (0..weighted.n_frames()).collect();
    let mut cells = Cells::default();
    let root = cells.divide(weighted, all);
    let cell_of = cells.of_each(weighted.n_frames());
    // The bins of the comparison that the floor is for.
    let known: Vec<(Grid, Vec<f64>)> = (metrics.iter())
        .map(|metric| {
            let grid = metric.grid(weighted, reference);
            let histogram = grid.histogram(reference);
            (grid, histogram)
        })
        .collect();
    let drawn_from = |frames: std::ops::Range<usize>| -> Vec<Vec<f64>> {
        let draws = Draws::new(&cells, &root, weighted, pool, frames);
        (0..n_splits)
            .into_par_iter()
            .map(|split| {
                let mut rng = streams.stream(Purpose::Floor, split as u64);
                let drawn = draws.draw(&cell_of, n_draws, &mut rng);
                let of_metric = |(metric, (grid, histogram)): (&Metric, &(Grid, Vec<f64>))| {
                    if drawn.values.is_empty() {
                        return f64::NAN;
                    }
                    metric.of_histograms(&grid.histogram(&drawn.sample()), histogram)
                };
                metrics.iter().zip(&known).map(of_metric).collect()
            })
            .collect()
    };
    let n = pool.n_frames();
    let whole = drawn_from(0..n);
    let halves = [drawn_from(0..n / 2), drawn_from(n / 2..n)];
    let method = format!(
        "mean ± standard deviation of {n_splits} sets of {n_draws} frames that are drawn from {n} others with weights like \
         these, against the same reference; the noise of those others taken off by what halves of them show"
    );
    Ok(assembled(metrics, n_draws.min(reference.n_frames()), &method, false, |i| {
        let (mean, deviation) = spread(&whole, i);
        // The noise of the pool is twice as large in a half of it.
        let of_halves = 0.5 * (spread(&halves[0], i).0 + spread(&halves[1], i).0);
        (2.0 * mean - of_halves, deviation)
    }))
}

/// Frames of a pool by the cell that they are in, and how weights become theirs.
struct Draws<'a> {
    cells: &'a Cells,
    weighted: &'a Sample<'a>,
    pool: &'a Sample<'a>,
    /// Frames in each cell with the running sum of their weights.
    of_cell: Vec<(Vec<usize>, Vec<f64>)>,
    /// What the weights of a cell are multiplied by to give it its mass in the pool.
    scales: Vec<f64>,
}

impl<'a> Draws<'a> {
    fn new(
        cells: &'a Cells,
        root: &Cell,
        weighted: &'a Sample,
        pool: &'a Sample,
        frames: std::ops::Range<usize>,
    ) -> Self {
        let mut of_cell: Vec<(Vec<usize>, Vec<f64>)> = vec![Default::default(); cells.members.len()];
        for frame in frames {
            let (frames, sums) = &mut of_cell[cells.find(root, pool.frame(frame))];
            frames.push(frame);
            sums.push(sums.last().copied().unwrap_or(0.0) + pool.weight(frame));
        }
        let scale = |(members, (_, sums)): (&Vec<usize>, &(Vec<usize>, Vec<f64>))| {
            let own: f64 = members.iter().map(|&frame| weighted.weight(frame)).sum();
            if own > 0.0 { sums.last().copied().unwrap_or(0.0) / own } else { 0.0 }
        };
        let scales = cells.members.iter().zip(&of_cell).map(scale).collect();
        Self { cells, weighted, pool, of_cell, scales }
    }

    fn draw(&self, cell_of: &[usize], n_draws: usize, rng: &mut Rng) -> Part {
        let (mut values, mut weights) = (Vec::with_capacity(2 * n_draws), Vec::with_capacity(n_draws));
        for _ in 0..n_draws {
            let cell = cell_of[rng.random_range(0..cell_of.len())];
            let (members, (frames, sums)) = (&self.cells.members[cell], &self.of_cell[cell]);
            let weight =
                self.scales[cell] * self.weighted.weight(members[rng.random_range(0..members.len())]);
            let mass = sums.last().copied().unwrap_or(0.0);
            if weight > 0.0 && mass > 0.0 {
                let point = rng.random_range(0.0..mass);
                let place = sums.partition_point(|sum| *sum <= point).min(frames.len() - 1);
                values.extend(self.pool.frame(frames[place]));
                weights.push(weight);
            }
        }
        Part { values, weights: Some(weights) }
    }
}

/// Most frames in a cell in which weights are taken to be alike.
const PER_CELL: usize = 32;

/// A division of the plane into cells with about as many frames each: halves of halves, along the longer side.
#[derive(Default)]
struct Cells {
    /// The frames in each.
    members: Vec<Vec<usize>>,
}

enum Cell {
    Whole(usize),
    Halves { variable: usize, at: f64, halves: Box<[Cell; 2]> },
}

impl Cells {
    fn divide(&mut self, sample: &Sample, mut frames: Vec<usize>) -> Cell {
        let range = |variable: usize| {
            let values = frames.iter().map(|&frame| sample.frame(frame)[variable]);
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
        };
        let length = |variable| range(variable).1 - range(variable).0;
        let variable = usize::from(length(1) > length(0));
        if frames.len() <= PER_CELL || length(variable) <= 0.0 {
            self.members.push(frames);
            return Cell::Whole(self.members.len() - 1);
        }
        let value = |frame: usize| sample.frame(frame)[variable];
        frames.sort_by(|a, b| value(*a).total_cmp(&value(*b)).then(a.cmp(b)));
        // Equal values stay together: at the border that is nearest to the middle.
        let borders = (1..frames.len()).filter(|&k| value(frames[k - 1]) < value(frames[k]));
        let middle = borders.min_by_key(|k| k.abs_diff(frames.len() / 2)).unwrap_or(1);
        let at = value(frames[middle]);
        let high = frames.split_off(middle);
        let halves = Box::new([self.divide(sample, frames), self.divide(sample, high)]);
        Cell::Halves { variable, at, halves }
    }

    fn find(&self, mut cell: &Cell, frame: [f64; 2]) -> usize {
        loop {
            match cell {
                Cell::Whole(idx) => return *idx,
                Cell::Halves { variable, at, halves } => {
                    cell = &halves[usize::from(frame[*variable] >= *at)];
                }
            }
        }
    }

    fn of_each(&self, n_frames: usize) -> Vec<usize> {
        let mut of_each = vec![0; n_frames];
        for (cell, members) in self.members.iter().enumerate() {
            members.iter().for_each(|&frame| of_each[frame] = cell);
        }
        of_each
    }
}

fn assembled(
    metrics: &[Metric],
    n_effective: usize,
    method: &str,
    extrapolated: bool,
    floor: impl Fn(usize) -> (f64, f64),
) -> Vec<NoiseFloor> {
    let each = metrics.iter().enumerate().map(|(i, metric)| {
        let (mean, deviation) = floor(i);
        let floor = Estimate::new(mean, deviation, n_effective as f64, metric.unit(), method);
        NoiseFloor { metric: *metric, floor, extrapolated }
    });
    each.collect()
}

/// `[split][metric]`.
fn splits(
    metrics: &[Metric],
    pooled: &Sample,
    frames: &[usize],
    n: usize,
    m: usize,
    n_splits: usize,
    streams: &Streams,
) -> Vec<Vec<f64>> {
    (0..n_splits)
        .into_par_iter()
        .map(|split| {
            let mut rng = streams.stream(Purpose::Floor, split as u64);
            let mut order: Vec<u32> = frames.iter().map(|&frame| frame as u32).collect();
            for i in 0..(n + m).min(order.len() - 1) {
                let other = rng.random_range(i..order.len());
                order.swap(i, other);
            }
            let (first, second) = (part(pooled, &order[..n]), part(pooled, &order[n..n + m]));
            metrics.iter().map(|metric| metric.of_samples(&first.sample(), &second.sample())).collect()
        })
        .collect()
}

/// Copies of some frames.
struct Part {
    values: Vec<f64>,
    weights: Option<Vec<f64>>,
}

impl Part {
    fn sample(&self) -> Sample<'_> {
        let sample = Sample::new(&self.values).expect("frames of a valid sample are valid");
        match &self.weights {
            Some(weights) => sample.with_weights(weights).unwrap_or(sample),
            None => sample,
        }
    }
}

fn part(pooled: &Sample, order: &[u32]) -> Part {
    let values = order.iter().flat_map(|&frame| pooled.frame(frame as usize)).collect();
    let weights =
        pooled.weights().map(|weights| order.iter().map(|&frame| weights[frame as usize]).collect());
    Part { values, weights }
}

/// Mean and standard deviation of one metric over splits.
fn spread(values: &[Vec<f64>], metric: usize) -> (f64, f64) {
    let of_metric = values.iter().map(|split| split[metric]);
    (of_metric.clone().sum::<f64>() / values.len() as f64, deviation(of_metric))
}

/// Reads ln floor, a quadratic in ln n, at another size.
///
/// The spread of a single comparison is taken to stay the same share of the floor; to it is added, in
/// quadrature, how much a straight line in place of the quadratic would change the result.
fn extrapolate(sizes: &[usize], spreads: &[(f64, f64)], size: f64) -> (f64, f64) {
    let read = |degree: i32| {
        let x: Vec<f64> = sizes.iter().map(|n| (*n as f64 / size).ln()).collect();
        let design = DMatrix::from_fn(x.len(), degree as usize + 1, |i, j| x[i].powi(j as i32));
        let values = DVector::from_iterator(x.len(), spreads.iter().map(|(mean, _)| mean.ln()));
        // At the size itself ln n is 0, so that the first coefficient is the answer.
        design.svd(true, true).solve(&values, 1e-12).map_or(f64::NAN, |fit| fit[0].exp())
    };
    let (quadratic, straight) = (read(2), read(1));
    let relative = spreads[0].1 / spreads[0].0;
    (quadratic, (relative * quadratic).hypot(quadratic - straight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::fill_normal;

    fn gaussian(n: usize) -> Vec<f64> {
        let mut values = vec![0.0; 2 * n];
        fill_normal(&mut Streams::new(23).stream(Purpose::Walker, 0), &mut values);
        values.iter().map(|z| 0.5 * z).collect()
    }

    #[test]
    fn a_few_bins_have_the_floor_of_chi_squared() {
        // Sixteen equal cells, at the centres of as many bins: E[JS] = 15/8 (1/n + 1/m).
        let n = 40_000;
        let values: Vec<f64> =
            (0..n).flat_map(|i| [f64::from(i % 4) * 0.5, f64::from(i / 4 % 4) * 0.5]).collect();
        let pooled = Sample::new(&values).unwrap();
        let metrics = [Metric::JensenShannonPeriodic];
        let floor =
            &noise_floor(&metrics, &pooled, None, 3000, 9000, 400, &Streams::new(0)).unwrap()[0].floor;
        // Drawn without replacement from a pool, two parts are still multinomial relative to each other.
        let exact = 15.0 / 8.0 * (1.0 / 3000.0 + 1.0 / 9000.0);
        let exact_deviation = exact * (2.0_f64 / 15.0).sqrt();
        assert!((floor.value - exact).abs() < 4.0 * exact_deviation / 20.0, "{floor}");
        assert!((floor.std_error / exact_deviation - 1.0).abs() < 0.15, "{floor}");
    }

    #[test]
    fn the_extrapolated_floor_is_the_measured_one() {
        let values = gaussian(40_000);
        let pooled = Sample::new(&values).unwrap();
        let few: Vec<usize> = (0..16_000).collect();
        let streams = Streams::new(1);
        let measured = noise_floor(&Metric::ALL, &pooled, None, 20_000, 20_000, 20, &streams).unwrap();
        let guessed = noise_floor(&Metric::ALL, &pooled, Some(&few), 20_000, 20_000, 20, &streams).unwrap();
        for (measured, guessed) in measured.iter().zip(&guessed) {
            assert!(!measured.extrapolated && guessed.extrapolated);
            assert!(guessed.floor.error_method.contains("extrapolated in 1/n"));
            let ratio = guessed.floor.value / measured.floor.value;
            assert!(
                (ratio - 1.0).abs() < 0.08,
                "{:?}: {} {}",
                measured.metric,
                guessed.floor,
                measured.floor
            );
        }
    }

    #[test]
    fn the_excess_of_equal_ensembles_is_nothing() {
        let values = gaussian(12_000);
        let pooled = Sample::new(&values).unwrap();
        let metrics = [Metric::JensenShannon];
        let floor = &noise_floor(&metrics, &pooled, None, 6000, 6000, 20, &Streams::new(2)).unwrap()[0];
        let (a, b) = (Sample::new(&values[..12_000]).unwrap(), Sample::new(&values[12_000..]).unwrap());
        let value = Estimate::new(metrics[0].of_samples(&a, &b), 0.0, 6000.0, "1", "none");
        let excess = floor.excess(&value);
        assert!(excess.value.abs() < 4.0 * excess.std_error, "{excess}");
    }

    /// Draws from a law twice as wide, with weights that have a part of their own besides: the floor is the mean of what
    /// other such sets show against the same reference, and that of Kish's number of equal frames is not.
    #[test]
    fn the_floor_of_a_weighted_set_is_what_other_such_sets_show() {
        let reference = gaussian(20_000);
        let reference = Sample::new(&reference).unwrap();
        let mut values = vec![0.0; 2 * 60_000];
        fill_normal(&mut Streams::new(24).stream(Purpose::Walker, 1), &mut values);
        values.iter_mut().for_each(|x| *x *= 0.5);
        let pool = Sample::new(&values).unwrap();
        let n = 3000;
        let set = |seed: u64| -> (Vec<f64>, Vec<f64>) {
            let mut z = vec![0.0; 3 * n];
            fill_normal(&mut Streams::new(seed).stream(Purpose::Walker, 2), &mut z);
            let (x, own) = z.split_at(2 * n);
            let weights = x.chunks(2).zip(own).map(|(x, own)| {
                // N(0, ½) against N(0, 1).
                (-1.5 * (x[0] * x[0] + x[1] * x[1]) + 0.7 * own).exp()
            });
            (x.to_vec(), weights.collect())
        };
        let value = |seed| {
            let (x, weights) = set(seed);
            let sample = Sample::new(&x).unwrap().with_weights(&weights).unwrap();
            Metric::JensenShannonPeriodic.of_samples(&sample, &reference)
        };
        let shown: Vec<f64> = (100..140).map(value).collect();
        let mean = shown.iter().sum::<f64>() / 40.0;
        let spread = deviation(shown.iter().copied());
        let (x, weights) = set(99);
        let sample = Sample::new(&x).unwrap().with_weights(&weights).unwrap();
        let metrics = [Metric::JensenShannonPeriodic];
        let floor = &noise_floor_of_weights(&metrics, &sample, n, &pool, &reference, 40, &Streams::new(5))
            .unwrap()[0]
            .floor;
        // Both are means of forty.
        assert!((floor.value - mean).abs() < 4.0 * spread * (2.0_f64 / 40.0).sqrt(), "{floor} {mean}");
        assert!((floor.std_error / spread - 1.0).abs() < 0.5, "{floor} {spread}");
        // A pool that is little larger than the set does as well.
        let few = Sample::new(&values[..2 * 8000]).unwrap();
        let floor_of_few =
            &noise_floor_of_weights(&metrics, &sample, n, &few, &reference, 40, &Streams::new(5)).unwrap()[0]
                .floor;
        assert!((floor_of_few.value - mean).abs() < 0.06 * mean, "{floor_of_few} {mean}");
        let kish = crate::free_energy::weights::effective_sample_size(&weights) as usize;
        let equal = noise_floor(&metrics, &pool, None, kish, 20_000, 20, &Streams::new(6)).unwrap();
        assert!(equal[0].floor.value > 1.1 * mean, "{} {mean}", equal[0].floor);
        // A surface that is wrong lies above: one half of it has too little.
        let wrong: Vec<f64> = (weights.iter().zip(x.chunks(2)))
            .map(|(weight, x)| if x[0] > 0.0 { 0.2 * weight } else { *weight })
            .collect();
        let sample = Sample::new(&x).unwrap().with_weights(&wrong).unwrap();
        let excess = metrics[0].of_samples(&sample, &reference) - floor.value;
        assert!(excess > 5.0 * floor.std_error, "{excess} {floor}");
    }

    #[test]
    fn too_little_has_no_floor_and_threads_change_nothing() {
        let values = gaussian(3000);
        let pooled = Sample::new(&values).unwrap();
        let floor = |n, splits| noise_floor(&Metric::ALL, &pooled, None, n, n, splits, &Streams::new(3));
        assert!(floor(1000, 5).is_err() && floor(0, 20).is_err());
        let few: Vec<usize> = (0..100).collect();
        let unknown = noise_floor(&Metric::ALL, &pooled, Some(&few), 90, 90, 20, &Streams::new(3)).unwrap();
        let known = |floor: &NoiseFloor| !floor.floor.value.is_nan();
        assert!(
            !unknown.iter().any(known) && unknown[0].floor.error_method.contains("100 decorrelated frames")
        );
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(alone.install(|| floor(1000, 20).unwrap()), floor(1000, 20).unwrap());
    }
}
