//! The ensembles against held-out frames: metrics with their noise floor, populations, distances.
//!
//! Every number that counts is taken against the test frames, which nothing has seen before. Metrics
//! of good samples are mostly counting noise, so the floor of the same sizes stands beside them, and the
//! excess over it is what says something.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::f64::consts::PI;
use std::fmt::Write as _;
use std::path::Path;

use rayon::prelude::*;

use crate::comparison::distances::{Frames, all_pairs, compare_distances};
use crate::comparison::noise_floor::{NoiseFloor, noise_floor};
use crate::comparison::populations::population;
use crate::comparison::{Compared, Metric, Sample};
use crate::error::Result;
use crate::free_energy::Estimate;
use crate::free_energy::bootstrap::Blocks;
use crate::free_energy::pmf::{Binned, Pmf, Reference};
use crate::free_energy::weights::effective_sample_size;
use crate::run::beads::Beads;
use crate::run::config::Part;
use crate::run::directory::write_atomic;
use crate::run::stages::Context;
use crate::run::stages::estimate::profiles::{axis, table};
use crate::run::stages::sample;
use crate::run::summary::read_rows;
use crate::system::MappingSettings;
use crate::trajectory::{
    self, Ensemble, FrameRange, LengthUnit, TrajectoryFiles, decorrelated_indices, statistical_inefficiency,
};

/// Metrics with the names that they have in `metrics.csv`.
const METRICS: [(Metric, &str); 4] = [
    (Metric::JensenShannon, "js"),
    (Metric::PmfError, "pmf_error"),
    (Metric::MeanJensenShannon, "mjs"),
    (Metric::JensenShannonPeriodic, "js_periodic"),
];

/// An ensemble with what is compared of it.
struct Set {
    name: &'static str,
    frames: Ensemble,
    /// `[variable][frame]`.
    values: Vec<Vec<f64>>,
    /// The first two variables of each frame, as the metrics take them.
    surface: Vec<f64>,
    weights: Option<Vec<f64>>,
    /// Stretches of frames that are independent of each other.
    blocks: Blocks,
}

/// A row of `smc_weights.csv`.
#[derive(serde::Deserialize)]
struct Weight {
    log_weight: f64,
}

/// Writes `compare/`.
pub fn run(context: &Context) -> Result<()> {
    let samples = context.layout.finished("sample")?;
    let directory = context.layout.begin("compare")?;
    let sets = sets(context, &samples)?;
    context.begin("comparison", sets.len() as u64 + 1);
    write_metrics(context, &directory, &sets)?;
    write_populations(context, &directory, &sets)?;
    write_distances(context, &directory, &sets)?;
    for (idx, set) in sets.iter().enumerate() {
        context.check_stop()?;
        write_histogram(context, &directory, set)?;
        write_profiles(context, &directory, set)?;
        context.control.progress().advance(idx as u64 + 2, set.name);
    }
    context.layout.finish("compare")?;
    context.control.progress().end("metrics, populations, profiles and distances");
    Ok(())
}

/// Test frames, training frames, and every ensemble that was drawn.
fn sets(context: &Context, samples: &Path) -> Result<Vec<Set>> {
    let n_blocks = context.plan.config.compare.n_blocks;
    let scales = Scales::new(&context.plan.beads, context.data.test().positions_nm())?;
    let make = |name, frames: Ensemble, n_groups: usize| -> Result<Set> {
        let values = context.plan.beads.values(frames.positions_nm())?;
        let weights = frames.log_weights().is_some().then(|| frames.weights());
        let blocks = Blocks::contiguous(frames.n_frames(), n_blocks.min(n_groups).min(frames.n_frames()))?;
        Ok(Set { name, surface: scales.surface(&values), frames, values, weights, blocks })
    };
    let mut sets = vec![
        make("data", context.data.test(), usize::MAX)?,
        make("train", context.data.train(), usize::MAX)?,
    ];
    for part in [Part::Iid, Part::Langevin, Part::Equilibrium, Part::Smc] {
        let Some(record) = sample::read_record(samples, part)? else { continue };
        let name = part.name();
        let mut frames = read_beads(&samples.join(format!("{name}.dcd")))?;
        if part == Part::Smc {
            let rows: Vec<Weight> = read_rows(&samples.join("smc_weights.csv"))?;
            frames = frames.with_log_weights(rows.into_iter().map(|row| row.log_weight).collect())?;
        }
        sets.push(make(name, frames, record.n_groups)?);
    }
    Ok(sets)
}

/// Reads a trajectory of beads that the sampling stage wrote; `beads.pdb` beside it names them.
fn read_beads(path: &Path) -> Result<Ensemble> {
    let files = TrajectoryFiles {
        topology: Some(path.with_file_name(sample::BEADS)),
        trajectories: vec![path.to_path_buf()],
        frames: FrameRange::default(),
        array_unit: LengthUnit::default(),
    };
    trajectory::load(&files, "sample", &MappingSettings::default()).map(|loaded| loaded.ensemble)
}

/// How collective variables become the two angles that the published metrics are defined on.
///
/// Angles stay as they are. Any other variable is mapped linearly, so that the range of the test frames
/// fills −π to π; the bins of the metrics are then bins of that range.
pub(in crate::run) struct Scales {
    /// Offset and factor of the first two variables; `None` for angles.
    of: Vec<Option<(f64, f64)>>,
}

impl Scales {
    pub(in crate::run) fn new(beads: &Beads, test_nm: &[f64]) -> Result<Self> {
        let values = beads.values(test_nm)?;
        let of = beads.variables.iter().zip(&values).take(2).map(|(variable, series)| {
            if variable.function.period().is_some() {
                return None;
            }
            let ends = (f64::INFINITY, f64::NEG_INFINITY);
            let (low, high) = series.iter().fold(ends, |(low, high), x| (low.min(*x), high.max(*x)));
            Some((0.5 * (low + high), 2.0 * PI / (high - low).max(f64::MIN_POSITIVE)))
        });
        Ok(Self { of: of.collect() })
    }

    /// `[frame][2]`; the second is 0 where there is only one variable.
    pub(in crate::run) fn surface(&self, values: &[Vec<f64>]) -> Vec<f64> {
        let at = |variable: usize, frame: usize| match self.of.get(variable) {
            None => 0.0,
            Some(None) => values[variable][frame],
            Some(Some((middle, factor))) => (values[variable][frame] - middle) * factor,
        };
        (0..values.first().map_or(0, Vec::len)).flat_map(|frame| [at(0, frame), at(1, frame)]).collect()
    }
}

impl Set {
    fn sample(&self) -> Result<Sample<'_>> {
        weighted(&self.surface, self.weights.as_deref())
    }

    /// How many equally weighted frames the set is worth.
    fn n_effective(&self) -> usize {
        let n = self.frames.n_frames() as f64;
        (self.weights.as_ref().map_or(n, |weights| effective_sample_size(weights)) as usize).max(2)
    }
}

/// The first two variables of some frames, with their weights.
struct Surface {
    values: Vec<f64>,
    weights: Option<Vec<f64>>,
}

impl Surface {
    fn sample(&self) -> Result<Sample<'_>> {
        weighted(&self.values, self.weights.as_deref())
    }
}

fn weighted<'a>(values: &'a [f64], weights: Option<&'a [f64]>) -> Result<Sample<'a>> {
    let sample = Sample::new(values)?;
    match weights {
        Some(weights) => sample.with_weights(weights),
        None => Ok(sample),
    }
}

/// `n` frames of a set, evenly spaced, with at most `n_blocks` blocks; all of them where there are weights.
fn thinned(set: &Set, n: usize, n_blocks: usize) -> Result<(Surface, Blocks)> {
    let all = set.frames.n_frames();
    let n = if set.weights.is_some() { all } else { n.min(all) };
    let chosen: Vec<usize> = (0..n).map(|k| (k as u128 * all as u128 / n as u128) as usize).collect();
    let values = chosen.iter().flat_map(|&frame| set.surface[2 * frame..][..2].to_vec()).collect();
    let had = set.blocks.n_blocks();
    let merge = |block: usize| if had > n_blocks { block * n_blocks / had } else { block };
    let of_block: Vec<usize> = chosen.iter().map(|&frame| merge(set.blocks.block_of()[frame])).collect();
    Ok((Surface { values, weights: set.weights.clone() }, Blocks::new(&of_block)?))
}

/// Where too few frames are independent for a floor, training frames take the place of an equal ensemble: how far they are from
/// held-out ones, and how much farther a set is, with `n` frames of both and no more blocks of the trajectory than it has
/// independent frames; with the set's own comparison.
fn over_training(
    metric: Metric,
    set: &Set,
    train: &Set,
    data: &Set,
    n: usize,
    n_blocks: usize,
) -> Result<(Estimate, Estimate, Compared)> {
    let (of_set, set_blocks) = thinned(set, n, usize::MAX)?;
    let (of_train, train_blocks) = thinned(train, n, n_blocks)?;
    let (of_data, data_blocks) = thinned(data, usize::MAX, n_blocks)?;
    let (of_set, of_train, of_data) = (of_set.sample()?, of_train.sample()?, of_data.sample()?);
    let (mut floor, _) = metric.with_block_errors(&of_train, &train_blocks, &of_data, &data_blocks)?;
    floor.error_method = format!("training frames against held-out ones; {}", floor.error_method);
    let (mut excess, compared) = metric.excess_with_block_errors(
        (&of_set, &set_blocks),
        (&of_train, &train_blocks),
        (&of_data, &data_blocks),
    )?;
    excess.error_method =
        format!("above training frames, by as many of the ensemble; {}", excess.error_method);
    Ok((floor, excess, compared))
}

/// Comparisons of sets with held-out frames, so that another run with the same held-out frames can be compared with this one.
struct Replicates(String);

impl Replicates {
    fn new() -> Self {
        Self("set,metric,value,own_std_error,left_out_block,value_without_block\n".into())
    }

    fn push(&mut self, set: &str, metric: &str, compared: &Compared) {
        for (block, without) in compared.without_block.iter().enumerate() {
            let (value, own) = (compared.value, compared.own_variance.sqrt());
            let _ = writeln!(self.0, "{set},{metric},{value},{own},{block},{without}");
        }
    }
}

fn write_metrics(context: &Context, directory: &Path, sets: &[Set]) -> Result<()> {
    let [data, train, drawn @ ..] = sets else { return Ok(()) };
    let metrics = METRICS.map(|(metric, _)| metric);
    // The floor comes from all frames: what is compared are two independent sets of the same ensemble.
    let all = context.plan.beads.values(context.data.frames.positions_nm())?;
    let pooled = Scales::new(&context.plan.beads, context.data.test().positions_nm())?.surface(&all);
    let decorrelated = decorrelated(&all, &context.plan.beads, context.data.frames.n_frames());
    let mut floors: BTreeMap<usize, Vec<NoiseFloor>> = BTreeMap::new();
    let (mut table, mut replicates) =
        (String::from("set,metric,value,std_error,unit,method\n"), Replicates::new());
    let mut line = |set: &str, metric: &str, estimate: &Estimate| {
        let error =
            if estimate.std_error.is_finite() { estimate.std_error.to_string() } else { String::new() };
        let method = estimate.error_method.replace('"', "'");
        let _ = writeln!(table, "{set},{metric},{},{error},{},\"{method}\"", estimate.value, estimate.unit);
    };
    for set in drawn {
        context.check_stop()?;
        let n = set.n_effective();
        if let Entry::Vacant(place) = floors.entry(n) {
            place.insert(noise_floor(
                &metrics,
                &Sample::new(&pooled)?,
                Some(&decorrelated),
                n,
                data.n_effective(),
                context.plan.config.compare.n_floor_splits,
                &context.streams(),
            )?);
        }
        let against = |reference: &Set| -> Result<Vec<(Estimate, Compared)>> {
            let (a, b) = (set.sample()?, reference.sample()?);
            metrics
                .par_iter()
                .map(|metric| metric.with_block_errors(&a, &set.blocks, &b, &reference.blocks))
                .collect()
        };
        let (of_test, of_train) = (against(data)?, against(train)?);
        for (idx, (metric, name)) in METRICS.iter().enumerate() {
            let floor = &floors[&n][idx];
            let ((against_test, compared), (against_train, _)) = (&of_test[idx], &of_train[idx]);
            line(set.name, name, against_test);
            line(set.name, &format!("{name}_train"), against_train);
            if floor.floor.value.is_finite() {
                line(set.name, &format!("{name}_floor"), &floor.floor);
                line(set.name, &format!("{name}_excess"), &floor.excess(against_test));
                replicates.push(set.name, name, compared);
                continue;
            }
            let n_both = n.min(train.frames.n_frames());
            let (floor, excess, compared) =
                over_training(*metric, set, train, data, n_both, decorrelated.len().max(2))?;
            line(set.name, &format!("{name}_floor"), &floor);
            line(set.name, &format!("{name}_excess"), &excess);
            replicates.push(set.name, name, &compared);
        }
    }
    write_atomic(&directory.join("replicates.csv"), replicates.0.as_bytes())?;
    write_atomic(&directory.join("metrics.csv"), table.as_bytes())
}

/// Frames that are independent of each other, judged by the slowest collective variable.
pub(in crate::run) fn decorrelated(values: &[Vec<f64>], beads: &Beads, n_frames: usize) -> Vec<usize> {
    let series = values.iter().zip(&beads.variables).flat_map(|(series, variable)| {
        if variable.function.period().is_some() {
            vec![series.iter().map(|x| x.cos()).collect(), series.iter().map(|x| x.sin()).collect()]
        } else {
            vec![series.clone()]
        }
    });
    let slowest = series.map(|series: Vec<f64>| statistical_inefficiency(&series)).fold(1.0, f64::max);
    decorrelated_indices(n_frames, slowest)
}

/// Population of each state: a ratio of weights, with the spread over blocks as its error.
fn write_populations(context: &Context, directory: &Path, sets: &[Set]) -> Result<()> {
    let mut table = String::from("state,set,value,std_error\n");
    for state in &context.plan.beads.states {
        for set in sets {
            let mut point = vec![0.0; set.values.len()];
            let inside: Vec<bool> = (0..set.frames.n_frames())
                .map(|frame| {
                    point.iter_mut().zip(&set.values).for_each(|(value, series)| *value = series[frame]);
                    state.contains(&point)
                })
                .collect();
            let (value, error) = population(&inside, set.weights.as_deref(), &set.blocks);
            let _ = writeln!(table, "{},{},{value},{error}", state.name, set.name);
        }
    }
    write_atomic(&directory.join("populations.csv"), table.as_bytes())
}

fn write_distances(context: &Context, directory: &Path, sets: &[Set]) -> Result<()> {
    let topology = context.plan.beads.mapping.topology();
    let Some((data, others)) = sets.split_first() else { return Ok(()) };
    let bonds: Vec<(usize, usize)> = topology.bonds.iter().map(|&[i, j]| (i, j)).collect();
    let pairs = all_pairs(context.plan.beads.n_beads());
    fn frames(set: &Set) -> Frames<'_> {
        Frames {
            n_particles: set.frames.n_particles(),
            positions_nm: set.frames.positions_nm(),
            weights: set.weights.as_deref(),
        }
    }
    let names: Vec<String> = others.iter().map(|set| format!("wasserstein_nm_{}", set.name)).collect();
    let mut table = format!("kind,name,{}\n", names.join(","));
    let columns = others
        .par_iter()
        .map(|set| compare_distances(&frames(set), &frames(data), &pairs))
        .collect::<Result<Vec<_>>>()?;
    for (kind, wanted) in [("bond", &bonds), ("pair", &pairs)] {
        for (idx, &(i, j)) in pairs.iter().enumerate().filter(|(_, pair)| wanted.contains(pair)) {
            let name = |bead: usize| format!("{}{bead}", topology.atoms[bead].name);
            let values: Vec<String> =
                columns.iter().map(|column| column[idx].wasserstein_nm.to_string()).collect();
            let _ = writeln!(table, "{kind},{}-{},{}", name(i), name(j), values.join(","));
        }
    }
    write_atomic(&directory.join("distances.csv"), table.as_bytes())
}

/// Probability on the grid of the first two variables.
fn write_histogram(context: &Context, directory: &Path, set: &Set) -> Result<()> {
    let beads = &context.plan.beads;
    let [first, second, ..] = &beads.variables[..] else { return Ok(()) };
    let data = beads.values(context.data.frames.positions_nm())?;
    let n = context.plan.config.compare.n_bins;
    let axes = [axis(beads, &data, 0, n)?, axis(beads, &data, 1, n)?];
    let pairs: Vec<f64> = set.values[0].iter().zip(&set.values[1]).flat_map(|(x, y)| [*x, *y]).collect();
    let histogram = Binned::new(&axes, &pairs)?.histogram(set.weights.as_deref())?;
    let sum: f64 = histogram.iter().sum();
    let mut table = format!("{},{},probability\n", first.column(), second.column());
    let (x, y) = (axes[0].centers(), axes[1].centers());
    for (bin, weight) in histogram.iter().enumerate() {
        let _ = writeln!(table, "{},{},{}", x[bin / n], y[bin % n], weight / sum);
    }
    write_atomic(&directory.join(format!("histogram_{}.csv", set.name)), table.as_bytes())
}

/// A profile along every collective variable.
fn write_profiles(context: &Context, directory: &Path, set: &Set) -> Result<()> {
    let beads = &context.plan.beads;
    let data = beads.values(context.data.frames.positions_nm())?;
    for (idx, variable) in beads.variables.iter().enumerate() {
        let axes = [axis(beads, &data, idx, context.plan.config.compare.n_bins)?];
        let binned = Binned::new(&axes, &set.values[idx])?;
        let n_resamples = context.plan.config.estimate.n_bootstrap;
        let weights = set.weights.as_deref();
        let pmf =
            Pmf::new(&binned, weights, Reference::Minimum, &set.blocks, n_resamples, &context.streams())?;
        let table = table(beads, &[idx], &axes, &pmf.values_kt, &pmf.std_errors_kt);
        let path = directory.join(format!("pmf_{}_{}.csv", variable.name, set.name));
        write_atomic(&path, table.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_stay_and_other_variables_fill_a_turn() {
        let scales = Scales { of: vec![None, Some((0.3, 2.0 * PI / 0.2))] };
        let surface = scales.surface(&[vec![1.0, 2.0], vec![0.2, 0.4]]);
        assert!((surface[1] + PI).abs() < 1e-12 && (surface[3] - PI).abs() < 1e-12);
        assert_eq!((surface[0], surface[2]), (1.0, 2.0));
    }
}
