//! What must be said about the estimates: undetermined ones, those that are worth little, those that contradict.

use super::judgement::{Judge, SMALL_KT, by_samples, counted};
use super::links::Link;
use super::{Estimator, PathEstimate, Severity, TiRule, Verdict};
use crate::free_energy::Estimate;
use crate::free_energy::agreement::{Road, agreement};

/// Estimators of which each is worth a warning; the others are shown for comparison, unless asked for.
const MAIN: [Estimator; 3] = [Estimator::Mbar, Estimator::Bar, Estimator::Ti];
/// Standard errors above this are of no use to anybody, kT.
const USELESS_KT: f64 = 10.0;
/// An estimator whose error is this many times that of another one lacks something that the other has.
const NOISY: f64 = 20.0;
/// Estimators further apart than this many combined errors, and than this in kT, contradict each other.
const CONTRADICTION: f64 = 5.0;
const CONTRADICTION_KT: f64 = 0.5;
/// Where ∂u/∂λ is curved, TI may be off by this many times what its rules differ by.
const CURVED: f64 = 10.0;

impl Judge<'_, '_> {
    /// The estimates that matter: the main ones and those that somebody asked for.
    fn compared(&self) -> Vec<&PathEstimate> {
        let matters = |of: Estimator| MAIN.contains(&of) || self.is_asked_for(of);
        self.analysis.estimates.iter().filter(|path| matters(path.estimator)).collect()
    }

    /// Estimates without a value, unless another verdict says so: states without overlap have their own.
    pub(super) fn undetermined(&self, verdicts: &mut Vec<Verdict>) {
        let compared = self.compared();
        let is_known = |path: &PathEstimate| path.total().1.is_finite();
        let others = compared.iter().any(|path| is_known(path));
        for path in compared.iter().filter(|path| !is_known(path)) {
            let Some(reason) = self.reason(path.estimator) else { continue };
            let severity = if self.is_asked_for(path.estimator) || !others {
                Severity::Untrustworthy
            } else {
                Severity::Warning
            };
            verdicts.push(Verdict::new(
                severity,
                "undetermined",
                format!("{} does not determine the free energy: {reason}.", path.estimator.name()),
            ));
        }
    }

    /// Why an estimator has no value; `None` where states do not overlap, which is said elsewhere.
    fn reason(&self, estimator: Estimator) -> Option<String> {
        let last = self.work.data.states.len() - 1;
        let void = |state: usize| self.work.data.void_states.contains(&state);
        match estimator {
            Estimator::Mbar if self.analysis.groups.len() > 1 => None,
            Estimator::Mbar => Some(match [0, last].into_iter().find(|&state| void(state)) {
                Some(state) => format!("the energies in {} are not numbers", self.name(state)),
                None => "there are too few samples".into(),
            }),
            Estimator::Ti => Some(self.reason_of_ti()),
            _ => match [0, last].into_iter().find(|&state| void(state)) {
                Some(state) => Some(format!("the energies in {} are not numbers", self.name(state))),
                None => self.reason_of_steps(estimator),
            },
        }
    }

    fn reason_of_ti(&self) -> String {
        let Some(nodes) = &self.work.nodes else { return "there are no derivatives".into() };
        let last = self.work.data.states.len() - 1;
        let missing: Vec<&str> = [0, last]
            .into_iter()
            .filter(|state| !nodes.states.contains(state))
            .map(|state| self.name(state))
            .collect();
        if !missing.is_empty() && !self.work.rule.as_ref().is_some_and(|rule| rule.is_whole) {
            return format!(
                "there are no samples of ∂u/∂λ in {}, {} of the path",
                missing.join(" and "),
                if missing.len() > 1 { "the ends" } else { "an end" }
            );
        }
        let few: Vec<&str> = nodes
            .states
            .iter()
            .zip(&self.work.means)
            .filter(|(_, mean)| mean.n_effective <= 1.0)
            .map(|(&state, _)| self.name(state))
            .collect();
        format!("there is no more than one independent sample of ∂u/∂λ in {}", few.join(", "))
    }

    fn reason_of_steps(&self, estimator: Estimator) -> Option<String> {
        let counts = &self.work.sampling.energy_counts;
        let steps = self.work.links.steps(estimator, counts).ok()?;
        let reasons: Vec<String> = self
            .work
            .links
            .links
            .iter()
            .zip(&steps)
            .filter(|(_, step)| !(step.value.is_finite() && step.variance.is_finite()))
            .filter_map(|(link, step)| {
                let (from, to) = (self.name(link.from), self.name(link.to));
                let is_forward = matches!(estimator, Estimator::ExpForward | Estimator::GaussianForward);
                let (ahead, back) = (!link.forward.samples.is_empty(), !link.reverse.samples.is_empty());
                match estimator {
                    Estimator::Bar if ahead && back => None,
                    Estimator::Bar if !ahead && !back => Some(self.no_energies(link)),
                    Estimator::Bar => Some(format!(
                        "between {from} and {to} it has works in one direction only, and their exponential average \
                         rests on {}",
                        counted(step.shared, "effective sample")
                    )),
                    _ if is_forward && !ahead => Some(format!("there are no samples of {from} with energies in {to}")),
                    _ if !is_forward && !back => Some(format!("there are no samples of {to} with energies in {from}")),
                    _ => Some(format!(
                        "the difference of {from} and {to} rests on {}",
                        counted(step.shared, "effective sample")
                    )),
                }
            })
            .collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn no_energies(&self, link: &Link) -> String {
        let files: Vec<String> = self
            .work
            .data
            .windows
            .iter()
            .filter(|window| window.state == link.from || window.state == link.to)
            .flat_map(|window| &window.sources)
            .map(|path| format!("`{}`", path.display()))
            .collect();
        format!(
            "there are no energies between {} and {} in {}",
            self.name(link.from),
            self.name(link.to),
            if files.is_empty() { "any file".into() } else { files.join(", ") }
        )
    }

    /// Sampled states between which energies were computed in one direction only.
    pub(super) fn one_sided(&self, verdicts: &mut Vec<Verdict>) {
        if self.estimate(Estimator::Bar).is_none() {
            return;
        }
        let n_k = self.work.data.n_k();
        let (mut found, mut severity) = (Vec::new(), Severity::Warning);
        for (link, step) in self.work.links.links.iter().zip(&self.work.bar) {
            if !step.is_fallback || n_k[link.from] == 0 || n_k[link.to] == 0 {
                continue;
            }
            let (of, other) = if link.forward.samples.is_empty() {
                (link.from, link.to)
            } else if link.reverse.samples.is_empty() {
                (link.to, link.from)
            } else {
                continue;
            };
            // A step without a value is said to be undetermined.
            if step.variance.is_finite() {
                severity = severity.max(by_samples(step.shared));
            }
            found.push(format!(
                "of samples of {} in {} ({})",
                self.name(of),
                self.name(other),
                counted(step.shared, "effective sample")
            ));
        }
        if found.is_empty() {
            return;
        }
        let named = found[..found.len().min(3)].join(", ");
        let more = match found.len().saturating_sub(3) {
            0 => String::new(),
            n => format!(" and in {n} more directions"),
        };
        verdicts.push(Verdict::new(
            severity,
            "one_sided",
            format!(
                "Energies were not computed {named}{more}: there BAR is the one-sided exponential average of the \
                 other direction."
            ),
        ));
    }

    /// Errors that leave nothing of the value.
    pub(super) fn noise(&self, verdicts: &mut Vec<Verdict>) {
        let known = self.compared().into_iter().filter(|path| path.total().1.is_finite());
        let known: Vec<(Estimator, f64)> = known.map(|path| (path.estimator, path.total().1)).collect();
        let positive = known.iter().copied().filter(|(_, error)| *error > 0.0);
        let best = positive.min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((least_noisy, smallest)) = best else { return };
        for &(estimator, error) in &known {
            let why = if error > SMALL_KT && error > NOISY * smallest {
                format!("{:.0} times that of {}", error / smallest, least_noisy.name())
            } else if error > USELESS_KT {
                "more than it can tell about any free energy".into()
            } else {
                continue;
            };
            verdicts.push(Verdict::new(
                Severity::Warning,
                "noisy_estimator",
                format!("The error of {} is {error:.2} kT, {why}.", estimator.name()),
            ));
        }
    }

    /// Estimates that differ by more than their errors.
    pub(super) fn agreement(&self, verdicts: &mut Vec<Verdict>) {
        let compared: Vec<&PathEstimate> =
            self.compared().into_iter().filter(|path| path.total().1.is_finite()).collect();
        let roads = |of: &dyn Fn(&PathEstimate) -> (f64, f64)| -> Vec<Road> {
            compared
                .iter()
                .map(|path| {
                    let (value, error) = of(path);
                    let estimate = Estimate::new(value, error, f64::NAN, "kT", "");
                    Road { name: path.estimator.name().into(), estimate }
                })
                .filter(|road| road.estimate.value.is_finite() && road.estimate.std_error.is_finite())
                .collect()
        };
        let whole = agreement(roads(&PathEstimate::total));
        if whole.agrees {
            return;
        }
        let apart = |k: usize| {
            let step = agreement(roads(&|path: &PathEstimate| (path.steps[k], path.step_errors[k])));
            step.pairs.iter().map(|pair| pair.n_sigma).filter(|n| n.is_finite()).fold(0.0, f64::max)
        };
        let worst = (0..self.work.data.states.len() - 1)
            .map(|k| (k, apart(k)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .filter(|(_, n_sigma)| *n_sigma > 2.0);
        let place = worst.map_or_else(String::new, |(k, n_sigma)| {
            let (from, to) = (self.name(k), self.name(k + 1));
            format!(" The steps differ most between {from} and {to} ({n_sigma:.1} combined errors).")
        });
        let severity =
            if self.contradiction(&compared) { Severity::Untrustworthy } else { Severity::Warning };
        verdicts.push(Verdict::new(severity, "estimators_disagree", format!("{}{place}", whole.verdict)));
    }

    /// Whether two main estimators cannot both be right, with what the rule of TI may be off by in its error.
    fn contradiction(&self, compared: &[&PathEstimate]) -> bool {
        let rule = self.rule_difference().map_or(0.0, f64::abs);
        let off = if self.strong_curvature().is_some() { CURVED * rule } else { 0.0 };
        let values: Vec<(Estimator, f64, f64)> = compared
            .iter()
            .filter(|path| MAIN.contains(&path.estimator))
            .map(|path| {
                let (value, error) = path.total();
                let rule = if path.estimator == Estimator::Ti { rule } else { 0.0 };
                (path.estimator, value, error.hypot(rule))
            })
            .collect();
        values.iter().enumerate().any(|(place, a)| {
            values[..place].iter().any(|b| {
                let apart = (a.1 - b.1).abs();
                let explained = apart < off && (a.0 == Estimator::Ti || b.0 == Estimator::Ti);
                apart > CONTRADICTION * a.2.hypot(b.2) && apart > CONTRADICTION_KT && !explained
            })
        })
    }

    /// TI by splines less TI by the trapezoid, kT.
    fn rule_difference(&self) -> Option<f64> {
        let (nodes, data) = (self.work.nodes.as_ref()?, self.work.data);
        self.estimate(Estimator::Ti)?;
        if self.work.settings.ti_rule == TiRule::Gauss {
            return None;
        }
        let trapezoid = nodes.rule(TiRule::Trapezoid, data).ok()?;
        let spline = nodes.rule(TiRule::Spline, data).ok()?;
        Some(nodes.difference(&spline, &trapezoid, &self.work.means).0)
    }

    /// By how much rules of integration differ, and how many standard errors that is, where it is more than two.
    fn strong_curvature(&self) -> Option<(f64, f64)> {
        let difference = self.rule_difference()?;
        let error = self.estimate(Estimator::Ti)?.total().1;
        (error.is_finite() && difference.abs() > 2.0 * error).then(|| (difference, difference.abs() / error))
    }

    pub(super) fn curvature(&self, verdicts: &mut Vec<Verdict>) {
        let Some((difference, n_sigma)) = self.strong_curvature() else { return };
        let severity = if difference.abs() > SMALL_KT { Severity::Warning } else { Severity::Note };
        verdicts.push(Verdict::new(
            severity,
            "strong_curvature",
            format!(
                "∂u/∂λ is curved: TI by splines differs from TI by the trapezoid by {difference:+.3} kT, \
                 {n_sigma:.1} standard errors; the error of TI does not hold this."
            ),
        ));
    }
}
