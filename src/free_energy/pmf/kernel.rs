//! Kernel densities p(s) = Σ_n w_n K_h(s − s_n) / Σ_n w_n.
//!
//! K is Gaussian of standard deviation h, or von Mises, exp(κ cos φ) with κ = (L/2πh)², on an axis of period L. In
//! two dimensions it is the product. Without a bandwidth given, it is half of Silverman's rule of thumb (1986, eq.
//! 3.31), h = 0.9 min(σ, IQR/1.34) n^(−1/5), or of Scott's σ n^(−1/6) in two dimensions (1992, eq. 6.42), with weighted
//! σ and quartiles and n the effective number of independent samples. The whole rule makes the bias as large as the
//! error, which then does not cover it; half of it has a quarter of the bias. The rule is that of a single peak:
//! several peaks are smoothed too much by up to their distance over their width.
//!
//! Weights are shared linearly between the two nearest nodes of a fine grid (Wand 1994) of at least four nodes per
//! bandwidth, which changes the effective h² by 1 % at most, and the sum runs over nodes.

use super::Axis;
use crate::error::{Error, Result};

/// Nodes per bandwidth.
const NODES: f64 = 4.0;
/// Bandwidths beyond which a Gaussian is zero (3e-8 of its maximum at 5.9).
const REACH: f64 = 6.0;

/// One axis: kernels between its nodes and the middles of its bins.
#[derive(Debug, Clone)]
struct Line {
    low: f64,
    step: f64,
    n_nodes: usize,
    periodic: bool,
    /// `[bin][node]`, normalised over s.
    matrix: Vec<f64>,
    bandwidth: f64,
}

/// Samples shared out to nodes.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    lines: Vec<Line>,
    /// Lower node and share of the upper one, `[sample][axis]`; `u32::MAX` beyond the grid.
    nodes: Vec<(u32, f64)>,
}

impl Kernel {
    pub(super) fn new(
        axes: &[Axis],
        values: &[f64],
        weights: &[f64],
        n_effective: f64,
        bandwidth: &[f64],
        bounds: &[(f64, f64)],
    ) -> Result<Self> {
        let given = bandwidth.is_empty() || bandwidth.len() == axes.len();
        if !given || bandwidth.iter().any(|h| !(h.is_finite() && *h > 0.0)) {
            return Err(Error::invalid(
                "bandwidth of a kernel density",
                "a number above zero for each axis",
                format!("{bandwidth:?}"),
            ));
        }
        let n_axes = axes.len();
        let mut lines = Vec::new();
        for (index, axis) in axes.iter().enumerate() {
            let series: Vec<f64> =
                values.iter().skip(index).step_by(n_axes).map(|x| axis.wrapped(*x)).collect();
            let rule = || rule_of_thumb(axis, &series, weights, n_effective, n_axes);
            let h = bandwidth.get(index).copied().unwrap_or_else(rule);
            let bounds = bounds.get(index).copied().unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
            lines.push(Line::new(axis, h, bounds)?);
        }
        let nodes = values.chunks_exact(n_axes);
        let nodes = nodes.flat_map(|sample| {
            sample.iter().zip(axes).zip(&lines).map(|((x, axis), line)| line.node(axis.wrapped(*x)))
        });
        Ok(Self { nodes: nodes.collect(), lines })
    }

    pub(super) fn description(&self) -> String {
        let widths: Vec<String> = self.lines.iter().map(|line| format!("{:.3e}", line.bandwidth)).collect();
        format!("kernel density (bandwidth {})", widths.join(" and "))
    }

    pub(super) fn evaluate(&self, weights: &[f64]) -> Vec<f64> {
        match &self.lines[..] {
            [x, y] => {
                let mut grid = vec![0.0; x.n_nodes * y.n_nodes];
                for (pair, weight) in self.nodes.chunks_exact(2).zip(weights) {
                    let ((i, a), (j, b)) = (pair[0], pair[1]);
                    if *weight == 0.0 || i == u32::MAX || j == u32::MAX {
                        continue;
                    }
                    let (i, j) = (i as usize, j as usize);
                    let (i2, j2) = (x.after(i), y.after(j));
                    grid[i * y.n_nodes + j] += weight * (1.0 - a) * (1.0 - b);
                    grid[i * y.n_nodes + j2] += weight * (1.0 - a) * b;
                    grid[i2 * y.n_nodes + j] += weight * a * (1.0 - b);
                    grid[i2 * y.n_nodes + j2] += weight * a * b;
                }
                let rows: Vec<Vec<f64>> = grid.chunks_exact(y.n_nodes).map(|row| y.apply(row)).collect();
                let n_y = y.n_bins();
                let columns: Vec<Vec<f64>> = (0..n_y)
                    .map(|bin| x.apply(&rows.iter().map(|row| row[bin]).collect::<Vec<_>>()))
                    .collect();
                (0..x.n_bins()).flat_map(|i| columns.iter().map(move |column| column[i])).collect()
            }
            lines => {
                let line = &lines[0];
                let mut grid = vec![0.0; line.n_nodes];
                for ((node, share), weight) in self.nodes.iter().zip(weights) {
                    if *node != u32::MAX {
                        grid[*node as usize] += weight * (1.0 - share);
                        grid[line.after(*node as usize)] += weight * share;
                    }
                }
                line.apply(&grid)
            }
        }
    }
}

impl Line {
    fn new(axis: &Axis, bandwidth: f64, bounds: (f64, f64)) -> Result<Self> {
        let centers = axis.centers();
        if axis.is_periodic() {
            let span = axis.span();
            let n_nodes = ((span / bandwidth * NODES).ceil() as usize).clamp(64, 4096);
            let step = span / n_nodes as f64;
            let kappa = (span / (std::f64::consts::TAU * bandwidth)).powi(2);
            let kernel = |x: f64| (kappa * ((std::f64::consts::TAU * x / span).cos() - 1.0)).exp();
            let norm: f64 = (0..n_nodes).map(|node| kernel(node as f64 * step)).sum::<f64>() * step;
            let matrix = centers
                .iter()
                .flat_map(|center| (0..n_nodes).map(move |node| (center, node)))
                .map(|(center, node)| kernel(center - axis.low() - node as f64 * step) / norm)
                .collect();
            return Ok(Self { low: axis.low(), step, n_nodes, periodic: true, matrix, bandwidth });
        }
        let (lowest, highest) = bounds;
        if lowest > axis.low() || highest < axis.high() {
            return Err(Error::invalid(
                "ends of a variable",
                format!("the axis from {} to {} between them", axis.low(), axis.high()),
                format!("{lowest} to {highest}"),
            ));
        }
        let low = lowest.max(axis.low() - REACH * bandwidth);
        let high = highest.min(axis.high() + REACH * bandwidth);
        let n_nodes = ((high - low) / bandwidth * NODES).ceil().clamp(64.0, 8192.0) as usize + 1;
        let step = (high - low) / (n_nodes - 1) as f64;
        let norm = 1.0 / (bandwidth * std::f64::consts::TAU.sqrt());
        let kernel = |x: f64| norm * (-0.5 * (x / bandwidth).powi(2)).exp();
        let image = |x: f64, bound: f64, y: f64| {
            if bound.is_finite() { kernel(x - (2.0 * bound - y)) } else { 0.0 }
        };
        let matrix = centers
            .iter()
            .flat_map(|x| (0..n_nodes).map(move |node| (*x, low + node as f64 * step)))
            .map(|(x, y)| kernel(x - y) + image(x, lowest, y) + image(x, highest, y))
            .collect();
        Ok(Self { low, step, n_nodes, periodic: false, matrix, bandwidth })
    }

    fn n_bins(&self) -> usize {
        self.matrix.len() / self.n_nodes
    }

    fn after(&self, node: usize) -> usize {
        if node + 1 < self.n_nodes {
            node + 1
        } else if self.periodic {
            0
        } else {
            node
        }
    }

    fn node(&self, value: f64) -> (u32, f64) {
        let place = (value - self.low) / self.step;
        let last = if self.periodic { self.n_nodes } else { self.n_nodes - 1 } as f64;
        if !(0.0..=last).contains(&place) {
            return (u32::MAX, 0.0);
        }
        let node = (place as usize).min(self.n_nodes - 1);
        (node as u32, (place - node as f64).min(1.0))
    }

    fn apply(&self, grid: &[f64]) -> Vec<f64> {
        let dot = |row: &[f64]| row.iter().zip(grid).map(|(k, weight)| k * weight).sum();
        self.matrix.chunks_exact(self.n_nodes).map(dot).collect()
    }
}

/// Half of Silverman's or Scott's bandwidth; a hundredth of the axis for samples that do not spread.
fn rule_of_thumb(axis: &Axis, series: &[f64], weights: &[f64], n_effective: f64, n_axes: usize) -> f64 {
    let total: f64 = weights.iter().sum();
    // Around a circle, spread is measured from the mean direction.
    let turn = std::f64::consts::TAU / axis.span();
    let origin = if axis.is_periodic() {
        let along =
            |of: fn(f64) -> f64| -> f64 { series.iter().zip(weights).map(|(x, w)| w * of(turn * x)).sum() };
        along(f64::sin).atan2(along(f64::cos)) / turn
    } else {
        series.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>() / total
    };
    let mut deviations: Vec<(f64, f64)> =
        series.iter().zip(weights).map(|(x, w)| (axis.difference(origin, *x), *w)).collect();
    let mean = deviations.iter().map(|(d, w)| d * w).sum::<f64>() / total;
    let sigma = (deviations.iter().map(|(d, w)| w * (d - mean).powi(2)).sum::<f64>() / total).sqrt();
    deviations.sort_by(|a, b| a.0.total_cmp(&b.0));
    let quantile = |share: f64| {
        let mut sum = 0.0;
        let found = deviations.iter().find(|(_, w)| {
            sum += w;
            sum >= share * total
        });
        found.map_or(0.0, |(d, _)| *d)
    };
    let quartiles = (quantile(0.75) - quantile(0.25)) / 1.34;
    let spread = if quartiles > 0.0 { sigma.min(quartiles) } else { sigma };
    let n = n_effective.max(2.0);
    let h = if n_axes == 1 { 0.45 * spread * n.powf(-0.2) } else { 0.5 * spread * n.powf(-1.0 / 6.0) };
    if h.is_finite() && h > 1e-9 * axis.span() { h } else { 0.01 * axis.span() }
}
