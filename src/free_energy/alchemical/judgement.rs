//! What must be said about an analysis, in plain words.

use super::data_checks::{has_relative_energies, infinite_energies, outliers};
use super::links::{Link, Step};
use super::workflow::Work;
use super::{Analysis, Decorrelation, Estimator, PathEstimate, Severity, Verdict};
use crate::free_energy::exponential_averaging;
use crate::free_energy::mbar::Reach;

/// Overlap of neighbours below which their difference deserves less trust (Klimovich, Shirts and Mobley 2015).
const LOW_OVERLAP: f64 = 0.03;
/// Overlap of neighbours below which their difference rests on accidents.
const NO_OVERLAP: f64 = 1e-3;
/// Fewer shared independent samples than this: one accident.
const ONE_SHARED: f64 = 1.0;
/// Independent samples of a state below which its errors deserve less trust, and below which they deserve none.
const FEW: f64 = 50.0;
const TOO_FEW: f64 = 5.0;
/// Halves that differ by more combined errors than this have not converged; by more than the second, not at all.
const NOT_CONVERGED: f64 = 3.0;
const FAR_FROM_CONVERGED: f64 = 5.0;
/// Differences between rules of integration below this are of no account, kT.
pub(super) const SMALL_KT: f64 = 0.1;
/// Effective samples below which an exponential average is dominated by single samples.
pub(super) const DOMINATED: f64 = 4.0;

/// Adds all verdicts and sorts them by importance.
pub(super) fn judge(work: &Work, analysis: &mut Analysis) {
    let mut verdicts = std::mem::take(&mut analysis.verdicts);
    let judge = Judge { work, analysis };
    judge.undetermined(&mut verdicts);
    judge.disconnection(&mut verdicts);
    judge.overlap(&mut verdicts);
    judge.samples(&mut verdicts);
    let gaussian = [Estimator::GaussianForward, Estimator::GaussianReverse];
    let raised_counts = gaussian.into_iter().any(|estimator| judge.is_asked_for(estimator));
    outliers(work.data, &work.sampling, raised_counts, &mut verdicts);
    infinite_energies(work.data, &mut verdicts);
    judge.equilibration(&mut verdicts);
    judge.convergence(&mut verdicts);
    judge.noise(&mut verdicts);
    judge.agreement(&mut verdicts);
    judge.curvature(&mut verdicts);
    judge.unsampled(&mut verdicts);
    judge.one_sided(&mut verdicts);
    judge.exponentials(&mut verdicts);
    judge.enthalpies(&mut verdicts);
    // Stable: equal severities remain in the order in which they were found.
    verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.severity));
    analysis.verdicts = verdicts;
}

/// An analysis and what it was made of.
pub(super) struct Judge<'a, 'b> {
    pub work: &'a Work<'b>,
    pub analysis: &'a Analysis,
}

impl Judge<'_, '_> {
    pub(super) fn name(&self, state: usize) -> &str {
        &self.work.data.states[state].name
    }

    pub(super) fn estimate(&self, estimator: Estimator) -> Option<&PathEstimate> {
        self.analysis.estimates.iter().find(|path| path.estimator == estimator)
    }

    /// Whether somebody asked for this estimator, rather than for all.
    pub(super) fn is_asked_for(&self, estimator: Estimator) -> bool {
        self.work.settings.estimators.contains(&estimator)
    }

    fn disconnection(&self, verdicts: &mut Vec<Verdict>) {
        let groups = &self.analysis.groups;
        if groups.len() < 2 {
            return;
        }
        let named: Vec<String> = groups
            .iter()
            .map(|group| {
                let names: Vec<&str> = group.iter().map(|&k| self.name(k)).collect();
                format!("{{{}}}", names.join("; "))
            })
            .collect();
        let (Some(multistate), Some(mbar)) = (self.work.multistate, &self.work.mbar) else { return };
        let missing: Vec<String> = mbar
            .missing_overlaps()
            .iter()
            .map(|gap| {
                let (a, b) = (multistate.rows[gap.states.0], multistate.rows[gap.states.1]);
                format!(
                    "{} and {} (they share {:.1e} samples)",
                    self.name(a.min(b)),
                    self.name(a.max(b)),
                    gap.shared_samples
                )
            })
            .collect();
        let advice = if missing.is_empty() {
            String::new()
        } else {
            format!(": add windows between {}", missing.join(", and between "))
        };
        verdicts.push(Verdict::new(
            Severity::Untrustworthy,
            "disconnected",
            format!(
                "The states fall into {} groups that share no samples, {}; free energies between them are \
                 undetermined{advice}.",
                groups.len(),
                named.join(" and "),
            ),
        ));
    }

    /// Links between sampled states.
    fn neighbours(&self) -> impl Iterator<Item = (&Link, &Step)> {
        let links = self.work.links.links.iter().zip(&self.work.bar);
        links.filter(|(_, step)| step.n_effective.0 > 0.0 && step.n_effective.1 > 0.0)
    }

    fn overlap(&self, verdicts: &mut Vec<Verdict>) {
        for (link, step) in self.neighbours() {
            let overlap = step.shared / step.n_effective.0.min(step.n_effective.1);
            let (from, to) = (self.name(link.from), self.name(link.to));
            let is_far = overlap < LOW_OVERLAP;
            let number = |n: f64| if n < 10.0 { format!("{n:.1}") } else { format!("{n:.0}") };
            let counts = format!(
                "{} independent samples of {from} and {} of {to}",
                number(step.n_effective.0),
                number(step.n_effective.1)
            );
            if is_far {
                let severity = if overlap < NO_OVERLAP || step.shared < ONE_SHARED {
                    Severity::Untrustworthy
                } else {
                    Severity::Warning
                };
                let shown = if overlap < 1e-3 { format!("{overlap:.0e}") } else { format!("{overlap:.3}") };
                verdicts.push(Verdict::new(
                    severity,
                    "low_overlap",
                    format!(
                        "States {} and {} hardly overlap ({shown}, {:.1} shared samples): add a window between {from} \
                         and {to}.",
                        link.from + 1,
                        link.to + 1,
                        step.shared
                    ),
                ));
            } else if step.shared < ONE_SHARED {
                verdicts.push(Verdict::new(
                    Severity::Untrustworthy,
                    "few_shared_samples",
                    format!(
                        "{counts} are too few to tell how much these states overlap; sample both longer."
                    ),
                ));
            }
            if step.variance.is_infinite() && !is_far && self.estimate(Estimator::Bar).is_some() {
                verdicts.push(Verdict::new(
                    Severity::Untrustworthy,
                    "undetermined",
                    format!(
                        "BAR does not determine the difference of {from} and {to}: {counts} are too few."
                    ),
                ));
                continue;
            }
            if step.variance.is_infinite() && self.estimate(Estimator::Bar).is_some() {
                let counts = &self.work.sampling.energy_counts;
                let bound = |direction: &super::links::Direction, sign| {
                    exponential_averaging::average(&direction.work_kt, Some(&direction.counts(counts)), sign)
                        .map_or(f64::NAN, |estimate| estimate.value)
                };
                verdicts.push(Verdict::new(
                    Severity::Untrustworthy,
                    "bar_without_overlap",
                    format!(
                        "BAR has no overlap between {from} and {to}: all that is known is that the difference lies \
                         about between {:.2} kT (EXP reverse) and {:.2} kT (EXP forward).",
                        bound(&link.reverse, -1.0),
                        bound(&link.forward, 1.0)
                    ),
                ));
            }
        }
    }

    fn samples(&self, verdicts: &mut Vec<Verdict>) {
        let data = self.work.data;
        let n_k = data.n_k();
        let single: Vec<&str> = (0..n_k.len()).filter(|&k| n_k[k] == 1).map(|k| self.name(k)).collect();
        if !single.is_empty() {
            verdicts.push(Verdict::new(
                Severity::Untrustworthy,
                "one_sample",
                format!("There is only one sample of {}; one sample has no error.", single.join(", ")),
            ));
        }
        let energies = super::decorrelation::Sampling::per_state(&self.work.sampling.energy_counts, data);
        let slopes = super::decorrelation::Sampling::per_state(&self.work.sampling.slope_counts, data);
        // Where there are only derivatives, or only energies, the others count nothing.
        let fewest = |k: usize| match (energies[k], slopes[k]) {
            (0.0, n) | (n, 0.0) => n,
            (of_energies, of_slopes) => f64::min(of_energies, of_slopes),
        };
        for (severity, low, high) in
            [(Severity::Untrustworthy, 0.0, TOO_FEW), (Severity::Warning, TOO_FEW, FEW)]
        {
            let few: Vec<String> = (0..n_k.len())
                .filter(|&k| n_k[k] > 1 && (low..high).contains(&fewest(k)))
                .map(|k| format!("{} ({:.1} of {})", self.name(k), fewest(k), n_k[k]))
                .collect();
            if !few.is_empty() {
                verdicts.push(Verdict::new(
                    severity,
                    "few_samples",
                    format!("Few independent samples: {}; sample longer.", few.join(", ")),
                ));
            }
        }
        let correlated: Vec<String> = self
            .analysis
            .windows
            .iter()
            .filter(|window| window.inefficiency > 2.0)
            .map(|window| format!("{} (g = {:.1})", self.name(window.state), window.inefficiency))
            .collect();
        if self.work.settings.decorrelation == Decorrelation::None && !correlated.is_empty() {
            let largest = self.analysis.windows.iter().map(|window| window.inefficiency).fold(1.0, f64::max);
            verdicts.push(Verdict::new(
                Severity::Warning,
                "correlated",
                format!(
                    "Samples were taken as independent but are correlated, so errors are too small, by up to a \
                     factor {:.1}: {}.",
                    largest.sqrt(),
                    correlated.join(", ")
                ),
            ));
        }
    }

    fn equilibration(&self, verdicts: &mut Vec<Verdict>) {
        let windows = &self.analysis.windows;
        let late: Vec<String> = windows
            .iter()
            .filter(|window| 2 * window.n_equilibration > window.n_samples)
            .map(|window| {
                let share = 100.0 * window.n_equilibration as f64 / window.n_samples as f64;
                format!("{} ({share:.0} % left out)", self.name(window.state))
            })
            .collect();
        if !late.is_empty() {
            verdicts.push(Verdict::new(
                Severity::Warning,
                "not_equilibrated",
                format!(
                    "More than half of a simulation looks like equilibration: {}; these runs are too short.",
                    late.join(", ")
                ),
            ));
        }
        let drifting: Vec<String> = windows
            .iter()
            .zip(&self.work.sampling.drift)
            .filter_map(|(window, drift)| {
                drift.map(|drift| {
                    format!(
                        "{} ({} by {drift:+.1} standard deviations)",
                        self.name(window.state),
                        window.series
                    )
                })
            })
            .collect();
        if !drifting.is_empty() {
            verdicts.push(Verdict::new(
                Severity::Warning,
                "drift",
                format!("Energies drift to the end: {}; these runs are too short.", drifting.join(", ")),
            ));
        }
    }

    fn convergence(&self, verdicts: &mut Vec<Verdict>) {
        // The first and the last part are independent while they do not meet.
        let Some(point) = self.analysis.convergence.iter().rev().find(|point| point.fraction <= 0.5) else {
            return;
        };
        let difference = point.forward - point.backward;
        let n_sigma = difference.abs() / point.forward_error.hypot(point.backward_error);
        if n_sigma > NOT_CONVERGED {
            let severity =
                if n_sigma > FAR_FROM_CONVERGED { Severity::Untrustworthy } else { Severity::Warning };
            verdicts.push(Verdict::new(
                severity,
                "not_converged",
                format!(
                    "The first {:.0} % of the samples give {:.2} kT and the last {:.0} % give {:.2} kT, {n_sigma:.1} \
                     combined standard errors apart: the runs are too short, or begin far from equilibrium.",
                    100.0 * point.fraction,
                    point.forward,
                    100.0 * point.fraction,
                    point.backward
                ),
            ));
        }
    }

    fn unsampled(&self, verdicts: &mut Vec<Verdict>) {
        let data = self.work.data;
        let n_k = data.n_k();
        let unsampled = (0..n_k.len()).filter(|&k| n_k[k] == 0 && !data.void_states.contains(&k));
        for state in unsampled {
            let name = self.name(state);
            let mut said = Vec::new();
            let mut severity = Severity::Note;
            if let (Some(multistate), Some(mbar)) = (self.work.multistate, &self.work.mbar)
                && let Some(row) = multistate.row(state)
            {
                let n = mbar.n_effective(row);
                said.push(format!("MBAR reaches it with {} of the others", counted(n, "effective sample")));
                severity = severity.max(by_samples(n));
                match mbar.extrapolation(row).map(|extrapolation| extrapolation.reach) {
                    Some(Reach::Hopeless) => {
                        said.push(
                            "their weights fall off so slowly that value and error mean nothing".into(),
                        );
                        severity = Severity::Untrustworthy;
                    }
                    Some(Reach::Doubtful) => {
                        said.push(
                            "their weights fall off slowly, so that the error is likely to be too small"
                                .into(),
                        );
                        severity = severity.max(Severity::Warning);
                    }
                    _ => {}
                }
            }
            let fallback = self
                .work
                .links
                .links
                .iter()
                .zip(&self.work.bar)
                .find(|(link, step)| step.is_fallback && (link.from == state || link.to == state));
            if let (Some((_, step)), Some(_)) = (fallback, self.estimate(Estimator::Bar)) {
                said.push(format!(
                    "BAR has works in one direction only, so that the exponential average of {} stands in",
                    counted(step.shared, "effective sample")
                ));
                severity = severity.max(by_samples(step.shared)).max(Severity::Warning);
            }
            if self.estimate(Estimator::Ti).is_some() {
                let inner = (0..state).any(|k| n_k[k] > 0) && (state..n_k.len()).any(|k| n_k[k] > 0);
                said.push(if inner { "TI passes over it".into() } else { "TI does not reach it".into() });
            }
            verdicts.push(Verdict::new(
                severity,
                "unsampled_state",
                format!("{name} has no samples: {}.", said.join("; ")),
            ));
        }
        if data.has_holes {
            verdicts.push(Verdict::new(
                Severity::Note,
                "no_mbar",
                "Energies were not computed in all states for all samples, which MBAR needs; BAR needs only \
                 neighbours.",
            ));
        }
    }

    fn enthalpies(&self, verdicts: &mut Vec<Verdict>) {
        let given = self.analysis.estimates.iter().any(|path| !path.delta_h.is_empty());
        if given && has_relative_energies(self.work.data) {
            verdicts.push(Verdict::new(
                Severity::Note,
                "relative_energies",
                "ΔH and TΔS rest on energies relative to the own state of each sample, so that they depend on how \
                 many samples there are of each state; they have a meaning only where the files hold total energies.",
            ));
        }
    }

    fn exponentials(&self, verdicts: &mut Vec<Verdict>) {
        for estimator in [Estimator::ExpForward, Estimator::ExpReverse] {
            let Some(path) = self.estimate(estimator) else { continue };
            let Ok(steps) = self.work.links.steps(estimator, &self.work.sampling.energy_counts) else {
                continue;
            };
            let dominated: Vec<String> = self
                .work
                .links
                .links
                .iter()
                .zip(&steps)
                .filter(|(_, step)| step.value.is_finite() && step.shared < DOMINATED)
                .map(|(link, _)| format!("{} to {}", self.name(link.from), self.name(link.to)))
                .collect();
            if dominated.is_empty() {
                continue;
            }
            let severity = if self.is_asked_for(estimator) { Severity::Warning } else { Severity::Note };
            verdicts.push(Verdict::new(
                severity,
                "exp_dominated",
                format!(
                    "{} rests on fewer than {DOMINATED} samples for {}{}.",
                    estimator.name(),
                    dominated.join(", "),
                    if path.total().1.is_finite() {
                        ""
                    } else {
                        ", which is too few for a value with an error"
                    }
                ),
            ));
        }
    }
}

/// How much a number of effective samples is worth saying.
pub(super) fn by_samples(n: f64) -> Severity {
    match n {
        n if n < DOMINATED => Severity::Untrustworthy,
        n if n < FEW => Severity::Warning,
        _ => Severity::Note,
    }
}

/// `1 sample`, `20 samples`.
pub(super) fn counted(n: f64, noun: &str) -> String {
    let n = n.round();
    format!("{n:.0} {noun}{}", if n == 1.0 { "" } else { "s" })
}
