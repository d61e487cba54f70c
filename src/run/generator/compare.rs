//! Generated ensembles against direct simulation, before and after reweighting, and what each of them cost.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::plan::State;
use super::work::{Drawn, Energies, Learned, Work, numbers};
use crate::comparison::noise_floor::{MIN_SPLITS, noise_floor, noise_floor_of_weights};
use crate::comparison::populations::population;
use crate::comparison::{Metric, Sample};
use crate::error::Result;
use crate::free_energy::bootstrap::Blocks;
use crate::free_energy::pmf::Binned;
use crate::free_energy::weights::{effective_sample_size, normalized_weights};
use crate::run::beads::Beads;
use crate::run::directory::{write_atomic, write_json};
use crate::run::stages::compare::{Scales, decorrelated};
use crate::run::stages::estimate::profiles::axis;
use crate::run::summary::entry;

/// Metrics with the names that they have in `summary.json`.
const METRICS: [(Metric, &str); 3] =
    [(Metric::JensenShannon, "js"), (Metric::PmfError, "pmf_error"), (Metric::MeanJensenShannon, "mjs")];
/// Bins of energy histograms.
const N_ENERGIES: usize = 80;
/// Bins along each variable of surfaces.
const N_BINS: usize = 64;
/// Free energies above this are those of single conformations with hardly any weight.
const HIGHEST_KT: f64 = 12.0;
/// Weights that are worth fewer samples than this say little.
const LEAST_EFFECTIVE: f64 = 100.0;

/// Fewer effective conformations than this make no surface that a metric could compare.
const LEAST_FOR_METRICS: f64 = 50.0;

/// An ensemble with what is compared of it.
struct Set {
    name: String,
    label: String,
    /// `[variable][frame]`.
    values: Vec<Vec<f64>>,
    /// The first two variables of each frame, as the metrics take them.
    surface: Vec<f64>,
    /// Reduced physical energy of the state of the frames.
    energies: Vec<f64>,
    /// Unnormalised log-weights; `None`: all are equal.
    log_weights: Option<Vec<f64>>,
    blocks: Blocks,
    /// Reduced length, for the energies of other states.
    x: Vec<f64>,
    n_evaluations: [u64; 2],
    seconds: f64,
}

/// A row of `ensembles.csv`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EnsembleRow {
    pub name: String,
    pub label: String,
    pub n_frames: usize,
    /// Kish, as a fraction; 1 without weights.
    pub ess_fraction: f64,
    /// Effective samples of the slowest of sine and cosine of the first two variables, from the spread of blocks.
    pub n_independent: f64,
    pub n_learned_evaluations: u64,
    pub n_physical_evaluations: u64,
    pub seconds: f64,
    pub js: Option<f64>,
    pub js_std_error: Option<f64>,
    pub js_floor: Option<f64>,
    pub js_excess: Option<f64>,
    pub pmf_error: Option<f64>,
    pub pmf_error_floor: Option<f64>,
}

/// A row of `populations.csv`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PopulationRow {
    pub region: String,
    pub label: String,
    pub state: String,
    pub ensemble: String,
    pub value: f64,
    pub std_error: f64,
    /// Difference from direct simulation in combined standard errors.
    pub deviation: Option<f64>,
}

/// Writes `compare/`.
pub fn run(work: &Work) -> Result<()> {
    let directory = work.layout.begin("compare")?;
    let learned = work.learned()?;
    let energies = learned.energies(work)?;
    let sets = sets(work, &learned, &energies)?;
    work.begin("comparison", sets.len() as u64 + 1);
    let Some(reference) = sets.iter().find(|set| set.name == REFERENCE) else { return Ok(()) };
    let mut numbers = Map::new();
    let mut doubts = Vec::new();

    let mut rows = Vec::new();
    for (idx, set) in sets.iter().enumerate() {
        work.control.check(work.run.path())?;
        rows.push(row(work, &learned, set, reference, &sets, &mut numbers)?);
        write_surface(&learned.plan.beads, reference, set, &directory)?;
        work.control.progress().advance(idx as u64 + 1, &set.label);
    }
    for (name, what) in [("reweighted", "annealing"), ("exchange", "replica exchange")] {
        let Some(row) = rows.iter().find(|row| row.name == name) else { continue };
        let effective = row.ess_fraction * row.n_frames as f64;
        if effective < LEAST_EFFECTIVE {
            doubts.push(format!(
                "The weights of {what} are worth {effective:.0} conformations: averages of rare states rest on a few."
            ));
        }
    }
    write_rows(&directory.join("ensembles.csv"), &rows)?;
    let populations = populations(work, &learned.plan.beads, &energies, &sets, &mut numbers)?;
    for row in populations.iter().filter(|row| row.ensemble == "exchange" || row.ensemble == "reweighted") {
        if row.deviation.is_some_and(|deviation| deviation.abs() > 3.0) {
            doubts.push(format!(
                "The population of {} at {} by {} is {:.1} standard errors from direct simulation.",
                row.label,
                row.state,
                row.ensemble,
                row.deviation.unwrap_or_default()
            ));
        }
    }
    write_rows(&directory.join("populations.csv"), &populations)?;
    doubts.extend(missing_mass(work)?);
    // Reduced length has added −d ln ℓ to the energy.
    let d = reference.x.len() / reference.energies.len().max(1);
    let shift = (d as f64 - 3.0) * energies.model.length_scale_nm.ln();
    write_energies(&sets, reference, shift, &directory)?;
    write_json(&directory.join("numbers.json"), &Value::Object(numbers))?;
    let verdict = if doubts.is_empty() {
        "Weights are worth enough conformations, and populations agree with direct simulation within 3 standard \
         errors."
            .to_string()
    } else {
        doubts.join(" ")
    };
    write_json(
        &directory.join("verdict.json"),
        &json!({ "verdict": verdict, "trustworthy": doubts.is_empty() }),
    )?;
    work.layout.finish("compare")?;
    work.control.progress().end(&verdict);
    Ok(())
}

/// Particles that found too little give too small a normaliser, whatever their weights are worth among themselves.
fn missing_mass(work: &Work) -> Result<Option<String>> {
    let number = |stage: &str, name: &str| -> Result<Option<(f64, f64)>> {
        let all = numbers(&work.layout.finished(stage)?)?;
        let found = all.iter().find_map(|numbers| numbers.get(name)).map(|number| {
            (number["value"].as_f64().unwrap_or(f64::NAN), number["std_error"].as_f64().unwrap_or(f64::NAN))
        });
        Ok(found)
    };
    let (particles, mbar) =
        (number("correct", "log_z_physical")?, number("replica_exchange", "log_z_physical_mbar")?);
    let (Some(particles), Some(mbar)) = (particles, mbar) else { return Ok(None) };
    let (missing, error) = (mbar.0 - particles.0, mbar.1.hypot(particles.1));
    Ok((missing > 4.0 * error).then(|| {
        format!(
            "Particles account for {:.1} % of the normaliser that MBAR of replica exchange finds (log Z {:.2} and {:.2}): \
             typical paths from noise lead through conformations that data do not show.",
            100.0 * (-missing).exp(),
            particles.0,
            mbar.0
        )
    }))
}

/// The name of the direct simulation of the state of the frames.
pub(super) const REFERENCE: &str = "reference";
/// The name of the frames that were learned from.
const TRAIN: &str = "train";

/// Everything that was drawn or simulated.
fn sets(work: &Work, learned: &Learned, energies: &Energies) -> Result<Vec<Set>> {
    let beads = &learned.plan.beads;
    let base = &work.plan.base;
    let reference = Drawn::require(work, "reference", &base.name)?;
    let scales = Scales::new(beads, &reference.positions_nm)?;
    let make = |name: &str, label: &str, drawn: Drawn, weighted: bool| -> Result<Set> {
        let values = beads.values(&drawn.positions_nm)?;
        let x = energies.reduced(&drawn.positions_nm);
        let record = &drawn.record;
        let n_frames = drawn.positions_nm.len() / (3 * beads.n_beads());
        let blocks = Blocks::contiguous(n_frames, record.n_groups.clamp(2, n_frames.max(2)))?;
        Ok(Set {
            name: name.into(),
            label: label.into(),
            surface: scales.surface(&values),
            energies: energies.physical(base, &x)?,
            values,
            log_weights: drawn.log_weights.filter(|_| weighted),
            blocks,
            x,
            n_evaluations: [record.n_learned_evaluations, record.n_physical_evaluations],
            seconds: record.seconds,
        })
    };
    let positions_nm = learned.data.train().positions_nm().to_vec();
    let log_weights = match work.biased()? {
        None => None,
        Some(biased) => {
            let x = energies.reduced(&positions_nm);
            let (own, physical) = (energies.physical(&biased, &x)?, energies.physical(base, &x)?);
            Some(own.iter().zip(&physical).map(|(own, physical)| own - physical).collect())
        }
    };
    let data = Drawn {
        positions_nm,
        log_weights,
        learned_log_weights: None,
        record: super::work::Record { n_groups: super::config::N_BLOCKS, ..Default::default() },
    };
    let mut sets = vec![
        make(REFERENCE, "direct simulation", reference, false)?,
        make(TRAIN, "training frames", data, true)?,
    ];
    for (stage, name, label, weighted) in [
        ("generate", "generated", "reverse diffusion", false),
        ("generate", "corrected", "reverse diffusion, corrected steps", false),
        ("generate", "particles", "particle diffusion", true),
        ("generate", "annealed", "diffusion annealing", true),
        ("correct", "reweighted", "annealed to the physical energy", true),
        ("replica_exchange", "exchange", "replica exchange, MBAR", true),
        ("reference", "plain", "dynamics without rotations", false),
        ("reference", "tempering", "parallel tempering", false),
    ] {
        if let Some(drawn) = Drawn::load(work, &work.layout.finished(stage)?, name)? {
            sets.push(make(name, label, drawn, weighted)?);
        }
    }
    Ok(sets)
}

impl Set {
    fn weights(&self) -> Option<Vec<f64>> {
        self.log_weights.as_deref().map(normalized_weights)
    }

    /// Log-weights that take the set to another state: the energy of its own state leaves, that of the other comes.
    fn weights_in(&self, energies: &Energies, state: &State) -> Result<Vec<f64>> {
        let other = energies.physical(state, &self.x)?;
        let log_weights: Vec<f64> = (0..other.len())
            .map(|idx| {
                let own = self.log_weights.as_ref().map_or(0.0, |weights| weights[idx]);
                let weight = own + self.energies[idx] - other[idx];
                if weight.is_nan() { f64::NEG_INFINITY } else { weight }
            })
            .collect();
        Ok(normalized_weights(&log_weights))
    }
}

fn row(
    work: &Work,
    learned: &Learned,
    set: &Set,
    reference: &Set,
    sets: &[Set],
    numbers: &mut Map<String, Value>,
) -> Result<EnsembleRow> {
    let weights = set.weights();
    let n_frames = set.energies.len();
    let n_effective = weights.as_ref().map_or(n_frames as f64, |weights| effective_sample_size(weights));
    // Where a few conformations have all the weight, the spread of blocks says nothing.
    let n_independent = independent(&learned.plan.beads, set, weights.as_deref()).min(n_effective);
    let mut row = EnsembleRow {
        name: set.name.clone(),
        label: set.label.clone(),
        n_frames,
        ess_fraction: n_effective / n_frames as f64,
        n_independent,
        n_learned_evaluations: set.n_evaluations[0],
        n_physical_evaluations: set.n_evaluations[1],
        seconds: set.seconds,
        js: None,
        js_std_error: None,
        js_floor: None,
        js_excess: None,
        pmf_error: None,
        pmf_error_floor: None,
    };
    let total = (set.n_evaluations[0] + set.n_evaluations[1]) as f64;
    let method = "learned and physical evaluations over effective samples of the slowest of sine and cosine of the \
                  first two variables, from the spread of blocks";
    let name = format!("evaluations_per_effective_sample_{}", set.name);
    if total > 0.0 {
        numbers.insert(name, entry(total / n_independent, None, "", method));
    }
    if set.name == REFERENCE || n_effective < LEAST_FOR_METRICS {
        return Ok(row);
    }
    let sample = Sample::new(&set.surface)?;
    let sample = match &weights {
        Some(weights) => sample.with_weights(weights)?,
        None => sample,
    };
    let other = Sample::new(&reference.surface)?;
    let (metrics, streams) = (METRICS.map(|(metric, _)| metric), work.streams(0x50));
    let train = sets.iter().find(|set| set.name == TRAIN);
    let floors = match train.filter(|train| set.log_weights.is_some() && set.name != train.name) {
        Some(train) => {
            let of_train = train.weights();
            let pool = Sample::new(&train.surface)?;
            let pool = match &of_train {
                Some(weights) => pool.with_weights(weights)?,
                None => pool,
            };
            // As if they were independent: the floor of correlated frames is higher, and the excess errs on the safe side.
            noise_floor_of_weights(&metrics, &sample, n_frames, &pool, &other, MIN_SPLITS, &streams)?
        }
        None => {
            // Sets of the ensemble without weights: the direct simulation and, without bias, the frames of training.
            let is_equal =
                |set: &&Set| [REFERENCE, TRAIN].contains(&set.name.as_str()) && set.log_weights.is_none();
            let equal: Vec<&Set> = sets.iter().filter(is_equal).collect();
            let pooled: Vec<f64> = equal.iter().flat_map(|set| &set.surface).copied().collect();
            let values: Vec<Vec<f64>> = (0..set.values.len())
                .map(|variable| equal.iter().flat_map(|set| &set.values[variable]).copied().collect())
                .collect();
            let frames = decorrelated(&values, &learned.plan.beads, pooled.len() / 2);
            let (n, m) = ((n_effective as usize).max(2), reference.energies.len());
            noise_floor(&metrics, &Sample::new(&pooled)?, Some(&frames), n, m, MIN_SPLITS, &streams)?
        }
    };
    for ((metric, name), floor) in METRICS.into_iter().zip(&floors) {
        let (value, _) = metric.with_block_errors(&sample, &set.blocks, &other, &reference.blocks)?;
        let excess = floor.excess(&value);
        let unit = if metric == Metric::PmfError { "kT^2" } else { "nat" };
        for (name, estimate) in [
            (name.to_string(), &value),
            (format!("{name}_floor"), &floor.floor),
            (format!("{name}_excess"), &excess),
        ] {
            let method = format!("against direct simulation; {}", estimate.error_method);
            let entry = entry(estimate.value, Some(estimate.std_error), unit, &method);
            numbers.insert(format!("{name}_{}", set.name), entry);
        }
        let finite = |value: f64| value.is_finite().then_some(value);
        match metric {
            Metric::JensenShannon => {
                (row.js, row.js_std_error) = (finite(value.value), finite(value.std_error));
                (row.js_floor, row.js_excess) = (finite(floor.floor.value), finite(excess.value));
            }
            Metric::PmfError => {
                (row.pmf_error, row.pmf_error_floor) = (finite(value.value), finite(floor.floor.value));
            }
            _ => {}
        }
    }
    Ok(row)
}

/// Effective samples: variance over squared standard error of blocks, of the slowest of sine and cosine of the
/// first two variables.
fn independent(beads: &Beads, set: &Set, weights: Option<&[f64]>) -> f64 {
    let observables = set.values.iter().zip(&beads.variables).take(2).flat_map(|(series, variable)| {
        if variable.function.period().is_some() {
            vec![series.iter().map(|x| x.cos()).collect(), series.iter().map(|x| x.sin()).collect()]
        } else {
            vec![series.clone()]
        }
    });
    observables
        .map(|series: Vec<f64>| effective_samples(&series, weights, &set.blocks))
        .fold(f64::INFINITY, f64::min)
}

/// Variance of an observable over the squared standard error of its weighted mean, from blocks.
fn effective_samples(series: &[f64], weights: Option<&[f64]>, blocks: &Blocks) -> f64 {
    let weight = |idx: usize| weights.map_or(1.0, |weights| weights[idx]);
    let total: f64 = (0..series.len()).map(weight).sum();
    let mean = series.iter().enumerate().map(|(idx, x)| weight(idx) * x).sum::<f64>() / total;
    let variance =
        series.iter().enumerate().map(|(idx, x)| weight(idx) * (x - mean).powi(2)).sum::<f64>() / total;
    let n_blocks = blocks.n_blocks();
    let mut residuals = vec![0.0; n_blocks];
    for (idx, (&block, x)) in blocks.block_of().iter().zip(series).enumerate() {
        residuals[block] += weight(idx) * (x - mean) / total;
    }
    let squared_error =
        residuals.iter().map(|r| r * r).sum::<f64>() * n_blocks as f64 / (n_blocks as f64 - 1.0);
    variance / squared_error
}

/// Populations of all regions in all states, by weights and by direct simulation.
fn populations(
    work: &Work,
    beads: &Beads,
    energies: &Energies,
    sets: &[Set],
    numbers: &mut Map<String, Value>,
) -> Result<Vec<PopulationRow>> {
    let mut rows = Vec::new();
    for (idx, state) in work.plan.states().enumerate() {
        let direct = Drawn::require(work, "reference", &state.name)?;
        let values = beads.values(&direct.positions_nm)?;
        let n_direct = values.first().map_or(0, Vec::len);
        let blocks = Blocks::contiguous(n_direct, direct.record.n_groups)?;
        // By weight to the other states go those sets that have weights in their own.
        let chosen = sets.iter().filter(|set| match idx {
            0 => set.name != REFERENCE,
            _ => ["reweighted", "exchange"].contains(&set.name.as_str()),
        });
        let mut weighted = Vec::new();
        for set in chosen {
            let weights = if idx == 0 { set.weights() } else { Some(set.weights_in(energies, state)?) };
            if let (Some(weights), true) = (&weights, idx > 0) {
                let share = effective_sample_size(weights) / weights.len() as f64;
                let method = format!("Kish of the weights at {}", state.label);
                let name = format!("ess_fraction_{}_{}", set.name, state.name);
                numbers.insert(name, entry(share, None, "", &method));
            }
            weighted.push((set, weights));
        }
        for region in &beads.states {
            let inside = |values: &[Vec<f64>]| -> Vec<bool> {
                let mut point = vec![0.0; values.len()];
                (0..values.first().map_or(0, Vec::len))
                    .map(|frame| {
                        point.iter_mut().zip(values).for_each(|(value, series)| *value = series[frame]);
                        region.contains(&point)
                    })
                    .collect()
            };
            let (expected, expected_error) = population(&inside(&values), None, &blocks);
            let mut note = |ensemble: &str, value: f64, std_error: f64| {
                let of_state = if idx == 0 { String::new() } else { format!("_{}", state.name) };
                let name = format!("population_{}{of_state}_{ensemble}", region.name);
                let method = format!("share of the law at {}; error from blocks", state.label);
                numbers.insert(name, entry(value, Some(std_error), "", &method));
                let deviation = (value - expected) / std_error.hypot(expected_error);
                rows.push(PopulationRow {
                    region: region.name.clone(),
                    label: region.label.clone(),
                    state: state.label.clone(),
                    ensemble: ensemble.into(),
                    value,
                    std_error,
                    deviation: (ensemble != "direct" && deviation.is_finite()).then_some(deviation),
                });
            };
            note("direct", expected, expected_error);
            for (set, weights) in &weighted {
                let (value, error) = population(&inside(&set.values), weights.as_deref(), &set.blocks);
                note(&set.name, value, error);
            }
        }
    }
    Ok(rows)
}

/// Weighted densities of the physical energy; what lies beyond the last bin is not shown.
fn write_energies(sets: &[Set], reference: &Set, shift: f64, directory: &Path) -> Result<()> {
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = reference.energies.iter().fold(ends, |(low, high), u| (low.min(*u), high.max(*u)));
    let (low, width) = (low - 0.1 * (high - low), 1.4 * (high - low) / N_ENERGIES as f64);
    let densities: Vec<Vec<f64>> = sets
        .iter()
        .map(|set| {
            let weights = set.weights();
            let mut density = vec![0.0; N_ENERGIES];
            for (idx, u) in set.energies.iter().enumerate() {
                let bin = (u - low) / width;
                if (0.0..N_ENERGIES as f64).contains(&bin) {
                    let uniform = 1.0 / set.energies.len() as f64;
                    density[bin as usize] += weights.as_ref().map_or(uniform, |weights| weights[idx]) / width;
                }
            }
            density
        })
        .collect();
    let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
    let mut table = format!("energy_kT,{}\n", names.join(","));
    for bin in 0..N_ENERGIES {
        let cells: Vec<String> = densities.iter().map(|density| density[bin].to_string()).collect();
        let _ = writeln!(table, "{},{}", low + shift + (bin as f64 + 0.5) * width, cells.join(","));
    }
    write_atomic(&directory.join("energies.csv"), table.as_bytes())
}

/// −log of the probability on the grid of the first two variables, in kT, smallest value 0.
fn write_surface(beads: &Beads, reference: &Set, set: &Set, directory: &Path) -> Result<()> {
    let [first, second, ..] = &beads.variables[..] else { return Ok(()) };
    let axes = [axis(beads, &reference.values, 0, N_BINS)?, axis(beads, &reference.values, 1, N_BINS)?];
    let pairs: Vec<f64> = set.values[0].iter().zip(&set.values[1]).flat_map(|(x, y)| [*x, *y]).collect();
    let histogram = Binned::new(&axes, &pairs)?.histogram(set.weights().as_deref())?;
    let largest = histogram.iter().copied().fold(0.0, f64::max);
    let mut table = format!("{},{},pmf_kT\n", first.column(), second.column());
    let (x, y) = (axes[0].centers(), axes[1].centers());
    for (bin, weight) in histogram.iter().enumerate() {
        let free_energy = (largest / weight).ln();
        let value = if free_energy < HIGHEST_KT { free_energy.to_string() } else { String::new() };
        let _ = writeln!(table, "{},{},{value}", x[bin / N_BINS], y[bin % N_BINS]);
    }
    write_atomic(&directory.join(format!("surface_{}.csv", set.name)), table.as_bytes())
}

fn write_rows(path: &Path, rows: &[impl Serialize]) -> Result<()> {
    let failed = |error: csv::Error| crate::Error::io("write", path)(std::io::Error::other(error));
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row)).map_err(failed)?;
    let bytes = writer.into_inner().map_err(|error| failed(error.into_error().into()))?;
    write_atomic(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    /// 40 blocks of 50 frames in which every value occurs 5 times in a row: 400 independent ones. With weights of
    /// 1 and 3 in turn each counts as 16/20.
    #[test]
    fn correlated_and_weighted_frames_count_as_fewer() {
        let (mut values, n) = (vec![0.0; 4000], 4000 * 5);
        fill_normal(&mut Streams::new(3).stream(Purpose::Walker, 0), &mut values);
        let series: Vec<f64> = (0..n).map(|idx| values[idx / 5]).collect();
        let blocks = Blocks::contiguous(n, 400).unwrap();
        let counted = effective_samples(&series, None, &blocks);
        // The variance of 400 blocks is known to 7 per cent.
        assert!((counted / 4000.0 - 1.0).abs() < 0.28, "{counted}");
        let weights: Vec<f64> = (0..n).map(|idx| if (idx / 5) % 2 == 0 { 1.0 } else { 3.0 }).collect();
        let counted = effective_samples(&series, Some(&weights), &blocks);
        assert!((counted / 3200.0 - 1.0).abs() < 0.28, "{counted}");
    }
}
