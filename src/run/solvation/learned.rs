//! Learned thermodynamic integration between two ensembles.
//!
//! The energy u_θ(x, t) of an interpolant leads from close to one end to close to the other, and
//!
//! ```text
//! F₁ − F₀ = [F₁ − F_θ(t_max)] + ∫ E_{p_t}[∂u_θ/∂t] dt + [F_θ(t_min) − F₀]
//! ```
//!
//! (Máté, Fleuret and Bereau 2024). Samples of p_t are pairs of held-out frames with noise: nothing is simulated
//! on the way. The nodes are those of Gauss and Legendre in the clock log(a²/g²). The integral is exact only as far
//! as p_θ = p_t. The brackets are Bennett's ratio between frames and samples of p_θ at the end, which Markov
//! chains from other frames provide.
//!
//! An energy trained with diffusive classification has one constant for all times, log Z_θ(t) = const, and then
//!
//! ```text
//! F₁ − F₀ = E₁[u₁ − u_θ(x, t_max)] − E₀[u₀ − u_θ(x, t_min)]
//! ```
//!
//! up to the difference of two relative entropies: the direct estimate. The integral is then 0 but for the error of
//! the model.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Road;
use super::counted::Counted;
use super::ends::{Ends, N_GROUPS};
use super::grouped::{LearnedRoad, Works, bennett_by_groups, jackknife, overlap_verdict};
use super::learning::LearnedPath;
use super::region::Within;
use crate::error::{Error, Result, at_least};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::nonequilibrium::crooks;
use crate::free_energy::thermodynamic_integration::gauss_legendre;
use crate::model::data::{DataPoints, End, GROUP, Pairing, TrainingData};
use crate::potential::{Noise, PotentialPath, ReducedPotential as _, Route};
use crate::random::{Purpose, Streams};
use crate::sampling::kernel::mean_acceptance;
use crate::sampling::{LocalMove, Progress, StepSizeAdapter, Walkers};

/// Settings of the integral and of the brackets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntegrationSettings {
    /// Nodes of Gauss and Legendre in log(a²/g²).
    pub n_nodes: usize,
    /// Samples at each node, a multiple of 1024.
    pub n_samples: usize,
    /// Frames of each end in its bracket.
    pub n_frames: usize,
    /// Chains that sample the learned energy at each end.
    pub n_walkers: usize,
    /// Moves of a chain before its first sample, during which the step is adapted.
    pub n_burn_in: usize,
    /// Samples of a chain.
    pub n_records: usize,
    /// Moves between samples.
    pub record_every: usize,
    /// The moves.
    pub local_move: LocalMove,
}

impl Default for IntegrationSettings {
    fn default() -> Self {
        Self {
            n_nodes: 64,
            n_samples: 32_768,
            n_frames: 8192,
            n_walkers: 512,
            n_burn_in: 200,
            n_records: 10,
            record_every: 20,
            local_move: LocalMove::Hmc { n_leapfrog: 8, target_acceptance: 0.75 },
        }
    }
}

impl IntegrationSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        let least = [
            ("n_nodes", self.n_nodes, 2),
            ("n_samples", self.n_samples, N_GROUPS * GROUP),
            ("n_frames", self.n_frames, 4 * N_GROUPS),
            ("n_walkers", self.n_walkers, 4 * N_GROUPS),
            ("n_burn_in", self.n_burn_in, 1),
            ("n_records", self.n_records, 2),
            ("record_every", self.record_every, 1),
        ];
        for (key, value, least) in least {
            at_least(format!("{place}.{key}"), value, least)?;
        }
        self.local_move.validate(&format!("{place}.local_move"))
    }
}

/// The learned energy at one end, compared with the physical one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bracket {
    /// F_θ − F of the physical end, kT.
    pub value_kt: f64,
    /// Its standard error.
    pub std_error_kt: f64,
    /// Share of samples that both energies have in common; ½ at best.
    pub overlap: f64,
    /// Mean of u_θ − u over the frames, kT.
    pub mean_difference_kt: f64,
    /// The standard deviation of u_θ − u over the frames, kT: the error of the model, frame by frame.
    pub deviation_kt: f64,
    /// The bracket from the second half of each chain minus that from the first, kT, with its error.
    pub drift_kt: (f64, f64),
    /// Acceptance of the moves.
    pub acceptance: f64,
}

/// One node of the integral.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IntegrandNode {
    /// t.
    pub t: f64,
    /// log(a²/g²), the clock.
    pub log_snr: f64,
    /// E[∂u_θ/∂log(a²/g²)], kT.
    pub mean_kt: f64,
    /// Its standard error.
    pub std_error_kt: f64,
}

/// The road and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedIntegration {
    /// The sum of all three parts: `learned_ti`.
    pub integration: LearnedRoad,
    /// The direct estimate: `direct`. It means something only for an energy with one constant for all times.
    pub direct: LearnedRoad,
    /// ∫ E[∂u_θ/∂t] dt with its error, kT.
    pub integral_kt: (f64, f64),
    /// At t_min and at t_max.
    pub brackets: [Bracket; 2],
    /// From t_max to t_min.
    pub nodes: Vec<IntegrandNode>,
}

/// Integrates and corrects the ends.
pub fn learned_integration(
    ends: &Ends,
    pairing: Pairing,
    learned: LearnedPath,
    settings: &IntegrationSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<LearnedIntegration> {
    settings.validate("learned_integration")?;
    ends.check_pair(&learned.noise, "learned integration")?;
    let begun = Instant::now();
    let counted = Counted::new(learned.path);
    let (groups, nodes) =
        integrand(ends, pairing, learned.noise, &counted, settings, &streams.derive(1), &mut |f| {
            progress(0.5 * f)
        })?;
    let integral_kt = jackknife(N_GROUPS, |left_out| {
        let kept = groups.iter().enumerate().filter(|(group, _)| Some(*group) != left_out);
        let (sum, n) = kept.fold((0.0, 0.0), |(sum, n), (_, value)| (sum + value, n + 1.0));
        sum / n
    });
    let n_for_integral = counted.n_evaluations();
    let seconds_for_integral = begun.elapsed().as_secs_f64();
    let mut n_physical = 0;
    let mut works = Vec::with_capacity(2);
    let mut brackets = Vec::with_capacity(2);
    for end in 0..2 {
        let (bracket, of_frames, n) =
            bracket(ends, end, learned.noise, &counted, settings, streams, &mut |f| {
                progress(0.5 + 0.25 * (end as f64 + f))
            })?;
        n_physical += n;
        works.push(of_frames);
        brackets.push(bracket);
    }
    let brackets: [Bracket; 2] =
        brackets.try_into().map_err(|_| Error::invalid("brackets", "two", "another number"))?;
    let seconds = begun.elapsed().as_secs_f64();

    let value_kt = brackets[0].value_kt + integral_kt.0 - brackets[1].value_kt;
    let std_error_kt =
        (brackets[0].std_error_kt.powi(2) + integral_kt.1.powi(2) + brackets[1].std_error_kt.powi(2)).sqrt();
    let mut verdicts: Vec<Verdict> = Vec::new();
    for (bracket, end) in brackets.iter().zip(&ends.ends) {
        verdicts.extend(overlap_verdict(&format!("end correction at {}", end.name), bracket.overlap));
        let (drift, error) = bracket.drift_kt;
        if drift.abs() > 3.0 * error + 0.02 || !drift.is_finite() {
            let message = format!(
                "the end correction at {} still changed by {drift:.2} ± {error:.2} kT between the halves of the \
                 chains: longer chains are needed",
                end.name
            );
            verdicts.push(Verdict::new(Severity::Warning, "not_converged", message));
        }
    }
    let message = "the integral is as good as the model: its error is not in the standard error".to_string();
    verdicts.push(Verdict::new(Severity::Note, "model_error", message));
    let road =
        |name: &str, method: &str, (value_kt, std_error_kt): (f64, f64), n, wall_seconds, verdicts| Road {
            name: name.into(),
            method: method.into(),
            value_kt,
            std_error_kt,
            n_energy_evaluations: n,
            wall_seconds,
            verdicts,
        };
    let integration = LearnedRoad {
        road: road(
            "learned_ti",
            "thermodynamic integration along an interpolant, ends corrected by Bennett's ratio",
            (value_kt, std_error_kt),
            n_physical,
            seconds,
            verdicts,
        ),
        n_model_evaluations: counted.n_evaluations(),
    };
    // E₁[u₁ − u_θ] − E₀[u₀ − u_θ], from the works u_θ − u of the frames.
    let direct = jackknife(N_GROUPS, |group| works[0].mean(group) - works[1].mean(group));
    let spread = brackets[0].deviation_kt.hypot(brackets[1].deviation_kt);
    let message = format!(
        "u − u_θ varies by {:.2} and {:.2} kT from frame to frame at the two ends: the error of the model, which the \
         standard error does not contain",
        brackets[0].deviation_kt, brackets[1].deviation_kt
    );
    let severity = if spread < 1.0 { Severity::Note } else { Severity::Warning };
    let n_frames = (works[0].kt.len() + works[1].kt.len()) as u64;
    let direct = LearnedRoad {
        road: road(
            "direct",
            "mean difference of physical and learned energy at both ends, one constant for all times",
            direct,
            n_frames,
            (seconds - seconds_for_integral) * n_frames as f64
                / (counted.n_evaluations() - n_for_integral).max(1) as f64,
            vec![Verdict::new(severity, "model_error", message)],
        ),
        n_model_evaluations: n_frames,
    };
    Ok(LearnedIntegration { integration, direct, integral_kt, brackets, nodes })
}

/// ∫ E[∂u_θ/∂t] dt from t_min to t_max of each group of held-out frames, and the nodes.
fn integrand(
    ends: &Ends,
    pairing: Pairing,
    noise: Noise,
    counted: &dyn PotentialPath,
    settings: &IntegrationSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<(Vec<f64>, Vec<IntegrandNode>)> {
    let size = ends.space.dimension();
    let route = Route::LogSnr { noise };
    let (s, weights) = gauss_legendre(settings.n_nodes, 0.0, 1.0);
    let span = noise.log_snr(route.lambda(1.0)) - noise.log_snr(route.lambda(0.0));
    // x₀ and x₁ of a pair come from the same group, so that groups share no frames.
    let frames: Vec<Vec<f32>> =
        ends.ends.iter().map(|end| end.held_out.iter().map(|x| *x as f32).collect()).collect();
    let of_group = |end: usize, group: usize| {
        let ids = &ends.ends[end].groups;
        let (from, to) = (ids.partition_point(|id| *id < group), ids.partition_point(|id| *id <= group));
        End { frames: &frames[end][from * size..to * size], ..End::default() }
    };
    let per_group = settings.n_samples / N_GROUPS / GROUP * GROUP;
    let mut integrals = vec![0.0; N_GROUPS];
    let mut nodes = Vec::with_capacity(s.len());
    let mut points = DataPoints::default();
    for (node, (&s, weight)) in s.iter().zip(&weights).enumerate() {
        let t = route.lambda(s);
        let (a, b, g) = (noise.scale(t), noise.partner_scale(t), noise.deviation(t));
        let mut means = vec![0.0; N_GROUPS];
        for (group, mean) in means.iter_mut().enumerate() {
            let first = of_group(0, group);
            let data = TrainingData { space: ends.space, first, second: Some(of_group(1, group)), pairing };
            let mut rng = streams.stream(Purpose::Walker, (node * N_GROUPS + group) as u64);
            let mut x = vec![0.0; per_group * size];
            for x in x.chunks_exact_mut(GROUP * size) {
                data.draw(GROUP, &mut rng, &mut points);
                x.chunks_exact_mut(size).for_each(|z| ends.space.fill_normal(&mut rng, z));
                for ((x, x0), x1) in x.iter_mut().zip(&points.first).zip(&points.second) {
                    *x = a * x0 + b * x1 + g * *x;
                }
            }
            let mut rates = vec![0.0; per_group];
            counted.lambda_derivatives(&vec![t; per_group], &x, &mut rates)?;
            *mean = route.rate(t) * rates.iter().sum::<f64>() / per_group as f64;
        }
        // The route runs from t_max to t_min.
        integrals.iter_mut().zip(&means).for_each(|(sum, mean)| *sum -= weight * mean);
        let n = N_GROUPS as f64;
        let mean = means.iter().sum::<f64>() / n;
        let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0);
        nodes.push(IntegrandNode {
            t,
            log_snr: noise.log_snr(t),
            mean_kt: mean / span,
            std_error_kt: (variance / n).sqrt() / span,
        });
        progress((node + 1) as f64 / settings.n_nodes as f64)?;
    }
    Ok((integrals, nodes))
}

/// F_θ(t_end) − F of one end, with the works u_θ − u of its frames and the physical evaluations.
fn bracket(
    ends: &Ends,
    end: usize,
    noise: Noise,
    counted: &Counted<dyn PotentialPath + '_>,
    settings: &IntegrationSettings,
    streams: &Streams,
    progress: &mut Progress<'_>,
) -> Result<(Bracket, Works, u64)> {
    let streams = streams.derive(2 + end as u64);
    let times = noise.time_range();
    let t = [times.0, times.1][end];
    let rescaled = ends.physical(end)?;
    let physical = Counted::new(&rescaled);
    let learned = Within { path: counted, region: &ends.region, free: None };
    let difference = |x: &[f64]| -> Result<Vec<f64>> {
        let n = x.len() / ends.space.dimension();
        let (mut u, mut of_model) = (vec![0.0; n], vec![0.0; n]);
        physical.energies(x, &mut u)?;
        learned.energies(&vec![t; n], x, &mut of_model)?;
        Ok(of_model.iter().zip(&u).map(|(of_model, u)| of_model - u).collect())
    };
    let (x, groups) = ends.ends[end].chosen(settings.n_frames);
    let of_frames = Works { kt: difference(&x)?, groups };

    let (x, groups) = ends.ends[end].chosen(settings.n_walkers);
    let n = groups.len();
    let mut walkers = Walkers::new(&learned, x, vec![t; n], &streams, Purpose::Walker)?;
    let mut kernel = settings.local_move.kernel(&walkers);
    let mut adapter = StepSizeAdapter::new(0.02, settings.local_move.target_acceptance());
    let n_moves = settings.n_burn_in + settings.n_records * settings.record_every;
    let (mut acceptance, mut of_chains) = (0.0, vec![Works::default(); 2]);
    for k in 0..n_moves {
        let outcomes = kernel.step(&learned, &mut walkers, &vec![adapter.step_size(); n])?;
        let mean = mean_acceptance(outcomes);
        if k < settings.n_burn_in {
            adapter.update(mean);
        } else {
            acceptance += mean / (n_moves - settings.n_burn_in) as f64;
            let moves = k - settings.n_burn_in + 1;
            if moves.is_multiple_of(settings.record_every) {
                let half = usize::from(2 * (moves / settings.record_every) > settings.n_records);
                of_chains[half].kt.extend(difference(&walkers.x)?.iter().map(|w| -w));
                of_chains[half].groups.extend(&groups);
            }
        }
        progress((k + 1) as f64 / n_moves as f64)?;
    }
    let both = Works {
        kt: [&of_chains[0].kt[..], &of_chains[1].kt].concat(),
        groups: [&of_chains[0].groups[..], &of_chains[1].groups].concat(),
    };
    let (value_kt, std_error_kt) = bennett_by_groups(&of_frames, &both, N_GROUPS);
    let drift_kt = jackknife(N_GROUPS, |group| {
        let half = |k: usize| {
            crooks(&of_frames.without(group), &of_chains[k].without(group))
                .map_or(f64::NAN, |found| found.free_energy.value)
        };
        half(1) - half(0)
    });
    let bracket = Bracket {
        value_kt,
        std_error_kt,
        overlap: crooks(&of_frames.kt, &both.kt)?.overlap,
        mean_difference_kt: of_frames.mean(None),
        deviation_kt: of_frames.deviation(),
        drift_kt,
        acceptance,
    };
    let n_physical = physical.n_evaluations();
    Ok((bracket, of_frames, n_physical))
}
