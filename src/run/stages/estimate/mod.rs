//! Free energy along the learned path by three independent roads, and profiles at the data end.
//!
//! F(t) = −log ∫ exp(−u_θ(x, t)) dx relative to the noise end. Sequential Monte Carlo gives it as a
//! product of mean weights; MBAR and thermodynamic integration use samples of the model's own laws from
//! replica exchange, which know nothing of that run. (Integrating over noised data instead would give
//! 0 whatever the model is.) A perfect energy that was trained by diffusive classification has F = 0 at
//! the data end; one that was trained by denoising score matching alone may have any value.

pub mod profiles;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::free_energy::agreement::{Agreement, Road, agreement};
use crate::free_energy::bootstrap::{bootstrap_mbar, mbar_blocks};
use crate::free_energy::thermodynamic_integration::gauss_legendre;
use crate::free_energy::{Estimate, Mbar, ReducedEnergies};
use crate::model::EnergyModel;
use crate::potential::noise::softplus;
use crate::potential::{Noise, PotentialPath};
use crate::run::config::Part;
use crate::run::directory::{read_json, write_atomic, write_json};
use crate::run::stages::sample::smc::PathNormalizer;
use crate::run::stages::sample::{self, PartRecord, replica_exchange};
use crate::run::stages::{Context, train};
use crate::run::summary::read_rows;
use profiles::Profiles;

/// Fewer ancestors than this behind the particles at the data end, and their weights mean little.
const LEAST_ANCESTORS: usize = 20;

/// A road with what the report shows beside its value.
struct Travelled {
    name: &'static str,
    label: String,
    estimate: Estimate,
    n_samples: usize,
    n_energy_evaluations: u64,
    seconds: f64,
}

/// F along the path, relative to the noise end.
struct Curve {
    values: Vec<f64>,
    std_errors: Vec<f64>,
}

/// A row of `sample/replica_exchange.csv`.
#[derive(serde::Deserialize)]
struct Level {
    t: f64,
}

/// Writes `estimate/`.
pub fn run(context: &Context) -> Result<()> {
    let samples = context.layout.finished("sample")?;
    let model = train::load_model(context)?;
    let directory = context.layout.begin("estimate")?;
    let mut roads = Vec::new();
    let mut doubts = Vec::new();
    let mut diagnostics = Map::new();

    let normalizer = match sample::read_record(&samples, Part::Smc)? {
        Some(record) => Some(smc_road(&samples, &record, &mut roads, &mut doubts)?),
        None => None,
    };
    if let Some(record) = sample::read_record(&samples, Part::ReplicaExchange)? {
        let levels = Levels::read(context, &model, &samples)?;
        context.begin("free energies", 3);
        let ti = ti_road(&levels, &model, &record, &mut roads)?;
        context.control.progress().advance(1, "MBAR");
        let begin = Instant::now();
        let levels = levels.thinned(context.plan.config.estimate.mbar_every);
        let energies =
            ReducedEnergies::new(levels.t.len(), levels.reduced_energies(&model)?, levels.state_of())?;
        let mbar = Mbar::new(&energies).map_err(|error| unsolved(error, context, levels.t.len()))?;
        let blocks = mbar_blocks(&energies, &levels.ladder_of())?;
        let profiles = Profiles::new(context, &levels.positions_nm)?;
        context.control.progress().advance(2, "bootstrap");
        context.check_stop()?;
        let last = levels.t.len() - 1;
        let n_resamples = context.plan.config.estimate.n_bootstrap;
        let bootstrap = bootstrap_mbar(&mbar, &blocks, n_resamples, &context.streams(), |resampled| {
            let f = resampled.free_energies_kt();
            let mut numbers: Vec<f64> = f.iter().map(|f_k| f_k - f[0]).collect();
            numbers.extend(profiles.numbers(&resampled.weights(last)));
            Some(numbers)
        })?;
        let f = mbar.free_energies_kt();
        let curve = Curve {
            values: f.iter().map(|f_k| f_k - f[0]).collect(),
            std_errors: bootstrap.std_errors[..levels.t.len()].to_vec(),
        };
        let method = format!("{}, blocks are ladders", bootstrap.method);
        roads.push(Travelled {
            name: "mbar",
            label: format!("MBAR over {} levels", levels.t.len()),
            estimate: Estimate::new(
                curve.values[last],
                curve.std_errors[last],
                mbar.n_effective(last),
                "kT",
                &method,
            ),
            n_samples: levels.n_samples(),
            n_energy_evaluations: record.n_energy_evaluations + (levels.t.len() * levels.n_samples()) as u64,
            seconds: record.seconds + begin.elapsed().as_secs_f64(),
        });
        if let Some(sentence) = mbar.disconnection() {
            doubts.push(sentence);
        }
        if record.diagnostics.get("replica_exchange_round_trips").is_some_and(|trips| trips["value"] == 0.0) {
            doubts.push(
                "No replica went from the noise end to the data end and back, so samples of the levels are what \
                 local moves make of their starts; use more sweeps or levels."
                    .into(),
            );
        }
        write_overlap(&directory, &mbar.overlap())?;
        write_path(&directory, &levels, normalizer.as_ref(), &curve, &ti)?;
        let replicates: Vec<&[f64]> =
            bootstrap.replicates.iter().map(|numbers| &numbers[levels.t.len()..]).collect();
        let weights = mbar.weights(last);
        profiles.write(&directory, &weights, &replicates, blocks.inflation(), &method, &mut diagnostics)?;
        context.control.progress().end(&format!("{} levels, {} samples", levels.t.len(), record.n_samples));
    }

    let agreement = agreement(
        roads.iter().map(|road| Road { name: road.label.clone(), estimate: road.estimate.clone() }).collect(),
    );
    write_json(&directory.join("diagnostics.json"), &diagnostics)?;
    write_json(&directory.join("free_energy.json"), &verdict(&roads, &agreement, &doubts))?;
    context.layout.finish("estimate")?;
    Ok(())
}

/// What it probably means that MBAR has no solution, and what to do.
fn unsolved(error: Error, context: &Context, n_levels: usize) -> Error {
    let losses = context.layout.root().join("train/loss.csv");
    error.with_hint(format!(
        "in the stage `estimate`, of the samples of {n_levels} levels that replica exchange drew. They hardly overlap, as \
         after a training that diverged: look at the losses in `{}`. If they are huge or grow, train again with lower learning rates \
         (`train.stages`); if not, use more levels (`sample.replica_exchange.n_levels`)",
        losses.display()
    ))
}

/// What `free_energy.json` says.
fn verdict(roads: &[Travelled], agreement: &Agreement, doubts: &[String]) -> Value {
    let number = |value: f64| value.is_finite().then_some(value);
    let described: Vec<Value> = roads
        .iter()
        .map(|road| {
            json!({
                "name": road.name,
                "label": road.label,
                "value_kT": number(road.estimate.value),
                "std_error_kT": number(road.estimate.std_error),
                "n_samples": road.n_samples,
                "n_energy_evaluations": road.n_energy_evaluations,
                "seconds": road.seconds,
                "method": road.estimate.error_method,
            })
        })
        .collect();
    let name = |label: &str| roads.iter().find(|road| road.label == label).map_or("", |road| road.name);
    let pairs: Vec<Value> = agreement
        .pairs
        .iter()
        .map(|pair| {
            json!({
                "a": name(&pair.first),
                "b": name(&pair.second),
                "difference_kT": number(pair.difference.value),
                "combined_std_error_kT": number(pair.difference.std_error),
                "within_2_sigma": pair.agrees,
            })
        })
        .collect();
    let undetermined = roads.iter().any(|road| !road.estimate.value.is_finite());
    let sentences: Vec<&str> =
        std::iter::once(agreement.verdict.as_str()).chain(doubts.iter().map(String::as_str)).collect();
    json!({
        "roads": described,
        "agreement": pairs,
        "verdict": sentences.join(" "),
        "trustworthy": agreement.agrees && doubts.is_empty() && !undetermined,
    })
}

fn smc_road(
    samples: &Path,
    record: &PartRecord,
    roads: &mut Vec<Travelled>,
    doubts: &mut Vec<String>,
) -> Result<PathNormalizer> {
    let normalizer: PathNormalizer = read_json(&samples.join("smc_log_z.json"))?;
    let last = normalizer.log_z.len() - 1;
    // The first level is weighted from the normalised Gaussian that the noise end nearly is.
    let value = normalizer.log_z[0] - normalizer.log_z[last];
    let method = format!("{}; {} levels", normalizer.method, normalizer.t.len());
    let n_effective = normalizer.ess_without_resampling * record.n_samples as f64;
    roads.push(Travelled {
        name: "smc",
        label: "sequential Monte Carlo".into(),
        estimate: Estimate::new(value, normalizer.std_error[last], n_effective, "kT", &method),
        n_samples: record.n_samples,
        n_energy_evaluations: record.n_energy_evaluations,
        seconds: record.seconds,
    });
    if normalizer.unique_ancestors < LEAST_ANCESTORS {
        doubts.push(format!(
            "The particles of sequential Monte Carlo descend from only {} ancestors; use more particles or moves.",
            normalizer.unique_ancestors
        ));
    }
    Ok(normalizer)
}

/// Samples of the model's laws, sorted by level.
struct Levels {
    t: Vec<f64>,
    noise: Noise,
    n_sweeps: usize,
    n_ladders: usize,
    /// Reduced positions, `[level][sweep][ladder][coordinate]`.
    x: Vec<f64>,
    /// The same in nm.
    positions_nm: Vec<f64>,
    /// ∂u/∂t of each sample at the time of its own level.
    du_dt: Vec<f64>,
}

impl Levels {
    fn read(context: &Context, model: &EnergyModel, samples: &Path) -> Result<Self> {
        let rows: Vec<Level> = read_rows(&samples.join("replica_exchange.csv"))?;
        let t: Vec<f64> = rows.iter().map(|row| row.t).collect();
        let ([_, n_sweeps, n_ladders, ..], positions_nm) =
            replica_exchange::read_samples(&samples.join("replica_exchange.npy"))?;
        let x: Vec<f64> = positions_nm.iter().map(|nm| nm / model.length_scale_nm).collect();
        let n = t.len() * n_sweeps * n_ladders;
        let times: Vec<f64> = (0..n).map(|sample| t[sample / (n_sweeps * n_ladders)]).collect();
        let mut du_dt = vec![0.0; n];
        model.lambda_derivatives(&times, &x, &mut du_dt)?;
        context.check_stop()?;
        Ok(Self { t, noise: *model.noise(), n_sweeps, n_ladders, x, positions_nm, du_dt })
    }

    /// Every `stride`-th sweep, for what costs more per sample.
    fn thinned(self, stride: usize) -> Self {
        let kept: Vec<usize> = (stride - 1..self.n_sweeps).step_by(stride).collect();
        let pick = |values: &[f64]| -> Vec<f64> {
            let of_sweep = values.len() / (self.t.len() * self.n_sweeps);
            let sweeps = (0..self.t.len()).flat_map(|level| kept.iter().map(move |sweep| (level, sweep)));
            sweeps
                .flat_map(|(level, sweep)| &values[(level * self.n_sweeps + sweep) * of_sweep..][..of_sweep])
                .copied()
                .collect()
        };
        let (x, positions_nm, du_dt) = (pick(&self.x), pick(&self.positions_nm), pick(&self.du_dt));
        Self { n_sweeps: kept.len(), x, positions_nm, du_dt, ..self }
    }

    fn n_samples(&self) -> usize {
        self.t.len() * self.n_sweeps * self.n_ladders
    }

    fn state_of(&self) -> Vec<usize> {
        (0..self.n_samples()).map(|sample| sample / (self.n_sweeps * self.n_ladders)).collect()
    }

    fn ladder_of(&self) -> Vec<usize> {
        (0..self.n_samples()).map(|sample| sample % self.n_ladders).collect()
    }

    /// u of every sample at every level, `[level][sample]`.
    fn reduced_energies(&self, model: &EnergyModel) -> Result<Vec<f64>> {
        let n = self.n_samples();
        let mut u = vec![0.0; self.t.len() * n];
        for (t, row) in self.t.iter().zip(u.chunks_exact_mut(n)) {
            model.energies(&vec![*t; n], &self.x, row)?;
        }
        Ok(u)
    }

    /// ⟨∂u/∂t⟩ at a time near a level, from the samples of that level, one number for each ladder.
    fn reweighted_rates(&self, model: &EnergyModel, level: usize, t: f64) -> Result<Vec<f64>> {
        let n = self.n_sweeps * self.n_ladders;
        let size = self.x.len() / self.n_samples();
        let x = &self.x[level * n * size..][..n * size];
        let (mut u, mut u_level, mut rates) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        model.energies(&vec![self.t[level]; n], x, &mut u_level)?;
        model.energies(&vec![t; n], x, &mut u)?;
        model.lambda_derivatives(&vec![t; n], x, &mut rates)?;
        let log_weights: Vec<f64> = u_level.iter().zip(&u).map(|(at_level, at_t)| at_level - at_t).collect();
        Ok(ratio_by_ladder(&log_weights, &rates, self.n_ladders))
    }

    /// Mean of ∂u/∂t at a level over the sweeps of one ladder.
    fn mean_rate(&self, level: usize, ladder: usize) -> f64 {
        let of_level = &self.du_dt[level * self.n_sweeps * self.n_ladders..];
        let values = (0..self.n_sweeps).map(|sweep| of_level[sweep * self.n_ladders + ladder]);
        values.sum::<f64>() / self.n_sweeps as f64
    }
}

/// R = Σ w y / Σ w over all samples, `[sweep][ladder]`, and what each ladder contributes to it:
/// R + Σ_ladder w (y − R) / mean over ladders of Σ_ladder w.
///
/// The mean of these numbers is R, and their spread is that of R to first order (the delta method). A
/// ratio of each ladder's own sums would be biased by one over *its* few samples, which no number of
/// ladders averages out.
fn ratio_by_ladder(log_weights: &[f64], values: &[f64], n_ladders: usize) -> Vec<f64> {
    let highest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = log_weights.iter().map(|log_weight| (log_weight - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let ratio = weights.iter().zip(values).map(|(weight, value)| weight * value).sum::<f64>() / total;
    let of_ladder = |ladder: usize| {
        let samples = (ladder..values.len()).step_by(n_ladders);
        let residual: f64 = samples.map(|sample| weights[sample] * (values[sample] - ratio)).sum();
        ratio + residual * n_ladders as f64 / total
    };
    (0..n_ladders).map(of_ladder).collect()
}

/// Mean and standard error over independent ladders.
fn over_ladders(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// What thermodynamic integration found at each level.
struct Integrated {
    curve: Curve,
    rates: Vec<(f64, f64)>,
}

/// Nodes of Gauss and Legendre between two neighbouring levels.
const NODES_BETWEEN_LEVELS: usize = 3;

/// F(t) − F(noise end) = ∫ ⟨∂u/∂t⟩ dt, interval by interval of the levels, in s = ln(1 + a²/g²).
///
/// Levels are where replicas swap well, not where the integrand is smooth: near the noise end one
/// interval may hold most of its change. So each interval has nodes of its own, at which the mean is that
/// of samples of either end, reweighted by exp(u_level − u_t); neighbours overlap well, or they would not
/// swap. The two means count in proportion to the nearness of their level.
///
/// Replicas travel between levels, so the nodes of a ladder are correlated: what each ladder contributes
/// is integrated by itself, and the spread of these integrals is the error.
fn ti_road(
    levels: &Levels,
    model: &EnergyModel,
    record: &PartRecord,
    roads: &mut Vec<Travelled>,
) -> Result<Integrated> {
    let begin = Instant::now();
    let (n_levels, n_ladders) = (levels.t.len(), levels.n_ladders);
    let noise = &levels.noise;
    let s: Vec<f64> = levels.t.iter().map(|t| softplus(noise.log_snr(*t))).collect();
    // dt/ds, from d(log a²/g²)/dt = 2 a'/a − (g²)'/g² and ds/d(log a²/g²) = a²/(a² + g²).
    let dt_ds = |t: f64| {
        let (scale, variance) = (noise.scale(t), noise.deviation(t).powi(2));
        let rate = 2.0 * noise.scale_rate(t) / scale - noise.variance_rate(t) / variance;
        (1.0 + variance / (scale * scale)) / rate
    };
    // Integrals up to each level, `[level][ladder]`.
    let mut sums = vec![vec![0.0; n_ladders]];
    for left in 0..n_levels - 1 {
        let mut sum = sums[left].clone();
        let (nodes, weights) = gauss_legendre(NODES_BETWEEN_LEVELS, s[left], s[left + 1]);
        for (node, weight) in nodes.into_iter().zip(weights) {
            let t = noise.time_at_log_snr(node.exp_m1().ln());
            let nearness = (node - s[left]) / (s[left + 1] - s[left]);
            let of_left = levels.reweighted_rates(model, left, t)?;
            let of_right = levels.reweighted_rates(model, left + 1, t)?;
            for (ladder, sum) in sum.iter_mut().enumerate() {
                let rate = (1.0 - nearness) * of_left[ladder] + nearness * of_right[ladder];
                *sum += weight * dt_ds(t) * rate;
            }
        }
        sums.push(sum);
    }
    let curve: Vec<(f64, f64)> = sums.iter().map(|values| over_ladders(values)).collect();
    let (value, std_error) = curve[n_levels - 1];
    let n_nodes = NODES_BETWEEN_LEVELS * (n_levels - 1);
    let method =
        format!("spread of {n_ladders} ladders; Gauss–Legendre in ln(1 + a²/g²) with {n_nodes} nodes");
    roads.push(Travelled {
        name: "ti",
        label: "thermodynamic integration".into(),
        estimate: Estimate::new(value, std_error, n_ladders as f64, "kT", &method),
        n_samples: record.n_samples,
        n_energy_evaluations: record.n_energy_evaluations
            + (levels.n_samples() / n_levels * (5 * n_nodes + n_levels)) as u64,
        seconds: record.seconds + begin.elapsed().as_secs_f64(),
    });
    let at_level = |level: usize| {
        over_ladders(&(0..n_ladders).map(|ladder| levels.mean_rate(level, ladder)).collect::<Vec<_>>())
    };
    Ok(Integrated {
        curve: Curve {
            values: curve.iter().map(|point| point.0).collect(),
            std_errors: curve.iter().map(|point| point.1).collect(),
        },
        rates: (0..n_levels).map(at_level).collect(),
    })
}

fn write_overlap(directory: &Path, overlap: &[Vec<f64>]) -> Result<()> {
    let row = |cells: &mut dyn Iterator<Item = String>| cells.collect::<Vec<_>>().join(",") + "\n";
    let mut table = row(&mut (0..overlap.len()).map(|level| level.to_string()));
    for line in overlap {
        table += &row(&mut line.iter().map(f64::to_string));
    }
    write_atomic(&directory.join("overlap.csv"), table.as_bytes())
}

fn write_path(
    directory: &Path,
    levels: &Levels,
    normalizer: Option<&PathNormalizer>,
    mbar: &Curve,
    ti: &Integrated,
) -> Result<()> {
    let mut table = String::from(
        "t,log_snr,free_energy_mbar_kT,std_error_mbar_kT,free_energy_smc_kT,std_error_smc_kT,\
         free_energy_ti_kT,std_error_ti_kT,du_dt_kT,du_dt_std_error_kT\n",
    );
    for (level, &t) in levels.t.iter().enumerate() {
        let smc = normalizer.and_then(|normalizer| {
            let snr: Vec<f64> = normalizer.t.iter().map(|t| levels.noise.log_snr(*t)).collect();
            let at = |values: &[f64]| interpolate(&snr, values, levels.noise.log_snr(t));
            Some((normalizer.log_z[0] - at(&normalizer.log_z)?, at(&normalizer.std_error)?))
        });
        let (smc, smc_error) =
            smc.map_or_else(Default::default, |(value, error)| (value.to_string(), error.to_string()));
        let _ = writeln!(
            table,
            "{t},{},{},{},{smc},{smc_error},{},{},{},{}",
            levels.noise.log_snr(t),
            mbar.values[level],
            mbar.std_errors[level],
            ti.curve.values[level],
            ti.curve.std_errors[level],
            ti.rates[level].0,
            ti.rates[level].1
        );
    }
    write_atomic(&directory.join("path.csv"), table.as_bytes())
}

/// Linear interpolation on rising nodes; `None` outside of them.
fn interpolate(nodes: &[f64], values: &[f64], at: f64) -> Option<f64> {
    let slack = 1e-9 * (nodes.last()? - nodes.first()?).abs();
    if at < nodes[0] - slack || at > nodes[nodes.len() - 1] + slack {
        return None;
    }
    let right = nodes.partition_point(|node| *node < at).clamp(1, nodes.len() - 1);
    let fraction = ((at - nodes[right - 1]) / (nodes[right] - nodes[right - 1])).clamp(0.0, 1.0);
    Some(values[right - 1] + fraction * (values[right] - values[right - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    #[test]
    fn thinning_keeps_whole_sweeps_of_every_level() {
        // Two levels, four sweeps, two ladders, one coordinate: 100 level + 10 sweep + ladder.
        let x: Vec<f64> = (0..16).map(|n| f64::from(100 * (n / 8) + 10 * (n / 2 % 4) + n % 2)).collect();
        let levels = Levels {
            t: vec![1.0, 0.5],
            noise: Noise::default(),
            n_sweeps: 4,
            n_ladders: 2,
            positions_nm: x.clone(),
            du_dt: x.clone(),
            x,
        };
        let thinned = levels.thinned(2);
        assert_eq!(thinned.x, [10.0, 11.0, 30.0, 31.0, 110.0, 111.0, 130.0, 131.0]);
        assert_eq!((thinned.n_sweeps, thinned.n_samples()), (2, 8));
    }

    #[test]
    fn interpolation_is_linear_and_ends_at_the_nodes() {
        let (nodes, values) = ([0.0, 1.0, 3.0], [0.0, 2.0, 0.0]);
        assert_eq!(interpolate(&nodes, &values, 2.0), Some(1.0));
        assert_eq!(interpolate(&nodes, &values, 3.0), Some(0.0));
        assert_eq!(interpolate(&nodes, &values, 3.1), None);
    }

    #[test]
    fn a_ratio_over_many_short_ladders_is_not_biased_by_their_shortness() {
        // x from N(0, 1), reweighted by exp(x) to N(1, 1): E x = 1. Ladders of four samples, whose own
        // ratios would have a mean of 0.6.
        let (n_ladders, n) = (4000, 16_000);
        let mut x = vec![0.0; n];
        fill_normal(&mut Streams::new(4).stream(Purpose::Walker, 0), &mut x);
        let by_ladder = ratio_by_ladder(&x, &x, n_ladders);
        let (mean, error) = over_ladders(&by_ladder);
        // Var R = E w² (x − 1)² / n = 2e/n.
        let exact = (2.0 * std::f64::consts::E / n as f64).sqrt();
        assert!((mean - 1.0).abs() < 3.0 * exact, "{mean} ± {exact}");
        assert!((error / exact - 1.0).abs() < 0.25, "{error} {exact}");
        // Without weights each ladder has its own mean.
        assert_eq!(ratio_by_ladder(&[0.0; 4], &[1.0, 2.0, 3.0, 4.0], 2), [2.0, 3.0]);
    }

    #[test]
    fn the_spread_of_ladders_is_the_standard_error_of_their_mean() {
        // Mean 2, variance 1 (n − 1), three ladders.
        let (mean, error) = over_ladders(&[1.0, 2.0, 3.0]);
        assert!((mean - 2.0).abs() < 1e-15 && (error - (1.0_f64 / 3.0).sqrt()).abs() < 1e-15);
    }
}
