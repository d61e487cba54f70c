//! Thermodynamic integration along a path of λ vectors.
//!
//! f(b) − f(a) = ∫ Σ_c ⟨∂u/∂λ_c⟩ dλ_c. Every rule is linear in the means of the nodes, so the errors of the means
//! propagate exactly, and steps that share a node are correlated as they should be. A path may have corners, such as
//! charges first and then van der Waals; splines are drawn through each straight piece by itself.

use super::{Dataset, Estimator, PathEstimate, TiRule};
use crate::error::{Error, Result};
use crate::free_energy::thermodynamic_integration::{gauss_legendre, spline_interval_weights};

/// Directions of the path whose cosine differs from one by less than this are one straight piece.
const STRAIGHT: f64 = 1e-9;
/// Nodes as near as this to those of Gauss and Legendre are taken for them: inputs have three digits.
const NODE_TOLERANCE: f64 = 2e-3;

/// The sampled states with derivatives, in order.
#[derive(Debug, Clone)]
pub(super) struct Nodes {
    /// State of each node.
    pub states: Vec<usize>,
    samples: Vec<Vec<usize>>,
    lambda: Vec<Vec<f64>>,
    n_states: usize,
    n_components: usize,
}

/// Means of the derivatives at a node.
#[derive(Debug, Clone)]
pub(super) struct NodeMean {
    /// One per component.
    pub mean: Vec<f64>,
    /// Covariance of the means, `[component][component]`.
    pub covariance: Vec<f64>,
    /// Effective samples.
    pub n_effective: f64,
}

/// A rule: weights of all means in each interval, `[interval][node][component]`, flattened by node.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// From which node to which the parts go.
    intervals: Vec<(usize, usize)>,
    weights: Vec<Vec<f64>>,
    /// Whether it integrates the whole path at once, also where its ends are no nodes.
    pub is_whole: bool,
    name: &'static str,
}

impl Nodes {
    /// Nodes of a data set; `None` without derivatives at two states.
    pub fn new(data: &Dataset) -> Option<Self> {
        if data.dudl_kt.is_empty() {
            return None;
        }
        let n_components = data.components.len();
        let mut of_state = vec![Vec::new(); data.states.len()];
        for (n, &state) in data.state_of.iter().enumerate() {
            if (0..n_components).all(|c| data.dudl_of_component(c)[n].is_finite()) {
                of_state[state].push(n);
            }
        }
        let states: Vec<usize> = (0..data.states.len()).filter(|&k| !of_state[k].is_empty()).collect();
        if states.len() < 2 {
            return None;
        }
        Some(Self {
            samples: states.iter().map(|&k| std::mem::take(&mut of_state[k])).collect(),
            lambda: states.iter().map(|&k| data.states[k].lambda.clone()).collect(),
            states,
            n_states: data.states.len(),
            n_components,
        })
    }

    /// Means with samples counted as given.
    pub fn means(&self, data: &Dataset, counts: &[f64]) -> Vec<NodeMean> {
        let n_components = self.n_components;
        self.samples
            .iter()
            .map(|samples| {
                let total: f64 = samples.iter().map(|&n| counts[n]).sum();
                let mean: Vec<f64> = (0..n_components)
                    .map(|c| {
                        let column = data.dudl_of_component(c);
                        samples.iter().map(|&n| counts[n] * column[n]).sum::<f64>() / total
                    })
                    .collect();
                let mut covariance = vec![f64::INFINITY; n_components * n_components];
                for a in 0..n_components {
                    for b in 0..=a {
                        let (x, y) = (data.dudl_of_component(a), data.dudl_of_component(b));
                        let sum: f64 =
                            samples.iter().map(|&n| counts[n] * (x[n] - mean[a]) * (y[n] - mean[b])).sum();
                        let value = if total > 1.0 { sum / (total - 1.0) / total } else { f64::INFINITY };
                        covariance[a * n_components + b] = value;
                        covariance[b * n_components + a] = value;
                    }
                }
                NodeMean { mean, covariance, n_effective: total }
            })
            .collect()
    }

    fn n_numbers(&self) -> usize {
        self.states.len() * self.n_components
    }

    /// Straight pieces as ranges of nodes, both ends included.
    fn pieces(&self) -> Vec<(usize, usize)> {
        let unit = |k: usize| {
            let step: Vec<f64> = self.lambda[k + 1].iter().zip(&self.lambda[k]).map(|(b, a)| b - a).collect();
            let length = step.iter().map(|d| d * d).sum::<f64>().sqrt();
            step.into_iter().map(|d| d / length).collect::<Vec<f64>>()
        };
        let mut pieces = vec![(0, 1)];
        for k in 1..self.states.len() - 1 {
            let cosine: f64 = unit(k).iter().zip(unit(k - 1)).map(|(a, b)| a * b).sum();
            if cosine > 1.0 - STRAIGHT {
                pieces.last_mut().expect("there is a first piece").1 = k + 1;
            } else {
                pieces.push((k, k + 1));
            }
        }
        pieces
    }

    /// The rule for these nodes.
    pub fn rule(&self, rule: TiRule, data: &Dataset) -> Result<Rule> {
        match rule {
            TiRule::Trapezoid => Ok(self.trapezoid()),
            TiRule::Spline => self.spline(),
            TiRule::Gauss => self.gauss(data),
        }
    }

    fn trapezoid(&self) -> Rule {
        let m = self.n_components;
        let weights = (0..self.states.len() - 1)
            .map(|k| {
                let mut weights = vec![0.0; self.n_numbers()];
                for c in 0..m {
                    let half = 0.5 * (self.lambda[k + 1][c] - self.lambda[k][c]);
                    weights[k * m + c] = half;
                    weights[(k + 1) * m + c] = half;
                }
                weights
            })
            .collect();
        Rule { intervals: self.neighbours(), weights, is_whole: false, name: "trapezoid" }
    }

    fn neighbours(&self) -> Vec<(usize, usize)> {
        (0..self.states.len() - 1).map(|k| (k, k + 1)).collect()
    }

    fn spline(&self) -> Result<Rule> {
        let m = self.n_components;
        let mut weights = Vec::new();
        for (first, last) in self.pieces() {
            let span: Vec<f64> =
                self.lambda[last].iter().zip(&self.lambda[first]).map(|(b, a)| b - a).collect();
            let length = span.iter().map(|d| d * d).sum::<f64>().sqrt();
            // Place along the piece, and the derivative along it as a combination of the components.
            let place: Vec<f64> = (first..=last)
                .map(|k| {
                    let from: f64 =
                        (0..m).map(|c| (self.lambda[k][c] - self.lambda[first][c]) * span[c]).sum();
                    from / length
                })
                .collect();
            for interval in spline_interval_weights(&place)? {
                let mut row = vec![0.0; self.n_numbers()];
                for (k, weight) in (first..=last).zip(&interval) {
                    for c in 0..m {
                        row[k * m + c] = weight * span[c] / length;
                    }
                }
                weights.push(row);
            }
        }
        Ok(Rule { intervals: self.neighbours(), weights, is_whole: false, name: "natural cubic splines" })
    }

    /// The whole path at once, each component from 0 to 1 or back by the nodes strictly between.
    fn gauss(&self, data: &Dataset) -> Result<Rule> {
        let m = self.n_components;
        let mut row = vec![0.0; self.n_numbers()];
        for c in 0..m {
            let of_component = |k: &usize| self.lambda[*k][c];
            let all: Vec<usize> = (0..self.states.len()).collect();
            let inside: Vec<usize> =
                all.iter().copied().filter(|k| of_component(k) > 0.0 && of_component(k) < 1.0).collect();
            let ends = (data.states[0].lambda[c], data.states[self.n_states - 1].lambda[c]);
            let varies = data.states.iter().any(|state| state.lambda[c] != ends.0);
            if !varies {
                continue;
            }
            let (nodes, weights) = gauss_legendre(inside.len().max(1), 0.0, 1.0);
            let rises = ends.1 > ends.0;
            let mut sorted = inside.clone();
            sorted.sort_by(|a, b| of_component(a).total_cmp(&of_component(b)));
            let near = sorted.len() == nodes.len()
                && sorted.iter().zip(&nodes).all(|(k, node)| (of_component(k) - node).abs() < NODE_TOLERANCE);
            if !near {
                let list =
                    |values: &[f64]| values.iter().map(|x| format!("{x:.5}")).collect::<Vec<_>>().join(", ");
                let found: Vec<f64> = sorted.iter().map(of_component).collect();
                return Err(Error::invalid(
                    "nodes of Gauss and Legendre",
                    format!("{} = {}", data.components[c], list(&nodes)),
                    if found.is_empty() { "none between 0 and 1".into() } else { list(&found) },
                )
                .with_hint("integrate with the trapezoid or the spline, which take any λ"));
            }
            for (k, weight) in sorted.iter().zip(&weights) {
                row[k * m + c] = if rises { *weight } else { -*weight };
            }
        }
        let intervals = vec![(0, self.states.len() - 1)];
        Ok(Rule { intervals, weights: vec![row], is_whole: true, name: "Gauss–Legendre" })
    }

    /// Δf of the whole path and its error.
    pub fn total_with_error(&self, rule: &Rule, means: &[NodeMean]) -> (f64, f64) {
        let row = self.summed(&rule.weights);
        (self.apply(&row, means), self.covariance(&row, &row, means, true).max(0.0).sqrt())
    }

    /// Error of the difference between two rules.
    pub fn difference(&self, a: &Rule, b: &Rule, means: &[NodeMean]) -> (f64, f64) {
        let (a, b) = (self.summed(&a.weights), self.summed(&b.weights));
        let row: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
        (self.apply(&row, means), self.covariance(&row, &row, means, true).max(0.0).sqrt())
    }

    fn summed(&self, weights: &[Vec<f64>]) -> Vec<f64> {
        let mut total = vec![0.0; self.n_numbers()];
        for row in weights {
            total.iter_mut().zip(row).for_each(|(total, weight)| *total += weight);
        }
        total
    }

    fn apply(&self, row: &[f64], means: &[NodeMean]) -> f64 {
        let values = means.iter().flat_map(|node| &node.mean);
        // A component that does not vary has no weight, whatever its mean.
        row.iter()
            .zip(values)
            .filter(|(weight, _)| **weight != 0.0)
            .map(|(weight, value)| weight * value)
            .sum()
    }

    /// aᵀ C b; without `joint` the components of one node are taken as independent.
    fn covariance(&self, a: &[f64], b: &[f64], means: &[NodeMean], joint: bool) -> f64 {
        let m = self.n_components;
        let mut total = 0.0;
        for (k, node) in means.iter().enumerate() {
            for c in 0..m {
                for d in 0..m {
                    let weight = a[k * m + c] * b[k * m + d];
                    if weight != 0.0 && (joint || c == d) {
                        total += weight * node.covariance[c * m + d];
                    }
                }
            }
        }
        total
    }

    /// All states; `joint` as in alchemlyb's TI when false: components of one state as independent.
    pub fn path(&self, rule: &Rule, means: &[NodeMean], joint: bool) -> PathEstimate {
        let n = self.n_states;
        let mut delta_f = vec![f64::NAN; n];
        let mut rows: Vec<Option<Vec<f64>>> = vec![None; n];
        let (mut steps, mut step_errors) = (vec![f64::NAN; n - 1], vec![f64::NAN; n - 1]);
        let mut sum = vec![0.0; self.n_numbers()];
        let whole = rule.is_whole;
        // Rules for the whole path say nothing about its inside; they reach the ends even where these have no samples.
        let (first, last) =
            if whole { (0, n - 1) } else { (self.states[0], self.states[self.states.len() - 1]) };
        if first == 0 {
            delta_f[0] = 0.0;
            rows[0] = Some(sum.clone());
        }
        for (&(from, to), row) in rule.intervals.iter().zip(&rule.weights) {
            sum.iter_mut().zip(row).for_each(|(sum, weight)| *sum += weight);
            let (from, to) = if whole { (first, last) } else { (self.states[from], self.states[to]) };
            if to == from + 1 {
                steps[from] = self.apply(row, means);
                step_errors[from] = self.covariance(row, row, means, joint).sqrt();
            }
            if first == 0 {
                delta_f[to] = self.apply(&sum, means);
                rows[to] = Some(sum.clone());
            }
        }
        let mut covariance = vec![f64::NAN; n * n];
        for i in 0..n {
            for j in 0..n {
                if let (Some(a), Some(b)) = (&rows[i], &rows[j]) {
                    covariance[i * n + j] = self.covariance(a, b, means, joint);
                }
            }
        }
        if n > 0 && delta_f[0].is_nan() {
            delta_f[0] = 0.0;
        }
        let std_error = (0..n)
            .map(|i| {
                let variance: f64 = covariance[i * n + i];
                if i == 0 {
                    0.0
                } else if variance.is_nan() {
                    f64::INFINITY
                } else {
                    variance.max(0.0).sqrt()
                }
            })
            .collect();
        let components =
            if joint || self.n_components < 2 { "" } else { ", components taken as independent" };
        PathEstimate {
            delta_f,
            std_error,
            steps,
            step_errors,
            covariance,
            error_method: format!("standard errors of the means through the {}{components}", rule.name),
            ..PathEstimate::empty(Estimator::Ti)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free_energy::alchemical::{State, Window};

    /// Two samples at each λ vector with derivatives `slope` ± 0.1 in every component.
    fn data(lambda: &[Vec<f64>], slope: impl Fn(&[f64], usize) -> f64) -> Dataset {
        let m = lambda[0].len();
        let n = 2 * lambda.len();
        let mut dudl_kt = vec![0.0; m * n];
        for (k, lambda) in lambda.iter().enumerate() {
            for c in 0..m {
                dudl_kt[c * n + 2 * k] = slope(lambda, c) + 0.1;
                dudl_kt[c * n + 2 * k + 1] = slope(lambda, c) - 0.1;
            }
        }
        let state = |lambda: &Vec<f64>| State { lambda: lambda.clone(), name: format!("λ = {lambda:?}") };
        let window = |state: usize| {
            let samples = 2 * state..2 * state + 2;
            Window { state, parts: vec![samples.clone()], samples, sources: Vec::new() }
        };
        Dataset {
            temperature_k: 300.0,
            components: (0..m).map(|c| format!("λ{c}")).collect(),
            states: lambda.iter().map(state).collect(),
            windows: (0..lambda.len()).map(window).collect(),
            state_of: (0..n).map(|n| n / 2).collect(),
            time: (0..n).map(|n| (n % 2) as f64).collect(),
            time_unit: "ps",
            u_kt: Vec::new(),
            dudl_kt,
            has_holes: false,
            void_states: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    fn path(data: &Dataset, rule: TiRule) -> Result<PathEstimate> {
        let nodes = Nodes::new(data).expect("there are derivatives");
        let rule = nodes.rule(rule, data)?;
        Ok(nodes.path(&rule, &nodes.means(data, &vec![1.0; data.n_samples()]), true))
    }

    #[test]
    fn a_path_with_a_corner_is_integrated_piece_by_piece() {
        // Charges first, then van der Waals; the derivative of the one at rest is large and has no part.
        let lambda: Vec<Vec<f64>> = (0..=8)
            .map(|k| vec![(f64::from(k) / 4.0).min(1.0), (f64::from(k) / 4.0 - 1.0).max(0.0)])
            .collect();
        let slope = |lambda: &[f64], c: usize| if c == 0 { 3.0 - 2.0 * lambda[0] } else { -5.0 * lambda[1] };
        let data = data(&lambda, slope);
        for rule in [TiRule::Trapezoid, TiRule::Spline] {
            let path = path(&data, rule).unwrap();
            assert!(
                (path.delta_f[4] - 2.0).abs() < 1e-12 && (path.delta_f[8] + 0.5).abs() < 1e-12,
                "{path:?}"
            );
            assert!((path.steps.iter().sum::<f64>() - path.delta_f[8]).abs() < 1e-12);
        }
        let nodes = Nodes::new(&data).unwrap();
        assert_eq!(nodes.pieces(), [(0, 4), (4, 8)]);
        // Two samples ± 0.1 have a mean with a standard error of 0.1; the trapezoid has ½, 1, 1, 1, ½ quarters.
        let error = path(&data, TiRule::Trapezoid).unwrap().std_error[4];
        assert!((error - 0.1 * 0.25 * 3.5_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_path_back_has_the_other_sign_and_splines_see_curvature() {
        let forth: Vec<Vec<f64>> = [0.0, 0.1, 0.4, 0.6, 1.0].iter().map(|l| vec![*l]).collect();
        let back: Vec<Vec<f64>> = forth.iter().rev().cloned().collect();
        let slope = |lambda: &[f64], _: usize| (3.0 * lambda[0]).exp();
        let exact = (3.0_f64.exp() - 1.0) / 3.0;
        let value = |lambda: &[Vec<f64>], rule| path(&data(lambda, slope), rule).unwrap().delta_f[4];
        for rule in [TiRule::Trapezoid, TiRule::Spline] {
            assert!((value(&forth, rule) + value(&back, rule)).abs() < 1e-12);
        }
        let off = |rule| (value(&forth, rule) - exact).abs();
        assert!(off(TiRule::Spline) < 0.5 * off(TiRule::Trapezoid));
    }

    #[test]
    fn gauss_and_legendre_need_their_nodes() {
        let slope = |lambda: &[f64], _: usize| 4.0 * lambda[0].powi(3) + 1.0;
        let with = |lambda: &[f64]| {
            let lambda: Vec<Vec<f64>> = lambda.iter().map(|l| vec![*l]).collect();
            path(&data(&lambda, slope), TiRule::Gauss)
        };
        // Three nodes are exact for a polynomial of degree three; rounded to four digits nearly so.
        for lambda in [&[0.1127, 0.5, 0.8873][..], &[0.0, 0.1127, 0.5, 0.8873, 1.0], &[0.21132, 0.78868]] {
            let path = with(lambda).unwrap();
            assert!((path.delta_f.last().unwrap() - 2.0).abs() < 1e-3, "{path:?}");
            assert!(path.std_error.last().unwrap().is_finite() && path.delta_f[0] == 0.0);
        }
        assert!((with(&[1.0, 0.8873, 0.5, 0.1127, 0.0]).unwrap().delta_f[4] + 2.0).abs() < 1e-3);
        let error = with(&[0.0, 0.25, 0.5, 0.75, 1.0]).unwrap_err().to_string();
        assert!(error.contains("0.11270, 0.50000, 0.88730") && error.contains("0.25000"), "{error}");
    }
}
