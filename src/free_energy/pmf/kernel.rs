//! Kernel densities p(s) = Σ_n w_n K_h(s − s_n) / Σ_n w_n.
//!
//! K is Gaussian of standard deviation h, or von Mises, exp(κ cos φ) with κ = (L/2πh)², on an axis of period L. In
//! two dimensions it is the product. Smoothing changes F by b = h²/2 (F″ − F′²) + O(h⁴), which the difference between
//! bandwidths h and h/2 shows: it is ¾ b. Without a bandwidth given, it is half of Silverman's rule of thumb (1986,
//! eq. 3.31), h = 0.9 min(σ, IQR/1.34) n^(−1/5), or of Scott's σ n^(−1/6) in two dimensions (1992, eq. 6.42), made smaller
//! by √2 until, at √2 times the bandwidth, b² in the mean over bins is a small part of the variance of F. The rule
//! itself is that of a single peak; several, and steep sides that umbrella windows sampled, need less.
//!
//! With weights w and statistical inefficiencies g the relative variance of p is Σ g w² K² / (Σ w K)², and that of
//! the difference follows alike; the square of the difference less that variance estimates (¾ b)² without bias.
//!
//! Weights are shared linearly between the two nearest nodes of a fine grid (Wand 1994) of at least six nodes per
//! bandwidth, which changes the effective h² by 1 % at most, and the sum runs over nodes.

use super::{Axis, Binned};
use crate::error::{Error, Result};

/// Nodes per half a bandwidth.
const NODES: f64 = 3.0;
/// Bandwidths beyond which a Gaussian is zero (3e-8 of its maximum at 5.9).
const REACH: f64 = 6.0;
/// Mean over bins of b² over the variance of F that smoothing may cause.
const SMALL_BIAS: f64 = 0.1;
/// Powers of 1/√2 that are tried, on one axis and on two.
const STEPS: [i32; 2] = [10, 6];
/// Variance of F in kT² beyond which a bin says nothing about bias.
const KNOWN: f64 = 0.05;
/// Numbers between nodes and bins of an axis: 800 MB.
const LARGEST: usize = 50_000_000;

/// One axis: kernels between its nodes and the middles of its bins.
#[derive(Debug, Clone)]
struct Line {
    low: f64,
    step: f64,
    n_nodes: usize,
    periodic: bool,
    /// `[bin][node]`, normalised over s, of h and of h/2.
    matrices: [Vec<f64>; 2],
    /// Nodes within reach of each bin.
    reach: Vec<std::ops::Range<usize>>,
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
        inefficiency_of: &[f64],
        bandwidth: &[f64],
        bounds: &[(f64, f64)],
    ) -> Result<Self> {
        if bandwidth.is_empty() {
            return Self::least_biased(axes, values, weights, inefficiency_of, bounds);
        }
        if bandwidth.len() != axes.len() || bandwidth.iter().any(|h| !(h.is_finite() && *h > 0.0)) {
            return Err(Error::invalid(
                "bandwidth of a kernel density",
                "a number above zero for each axis",
                format!("{bandwidth:?}"),
            ));
        }
        let bounds = |index: usize| bounds.get(index).copied().unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        let lines: Result<Vec<Line>> = axes
            .iter()
            .zip(bandwidth)
            .enumerate()
            .map(|(index, (axis, h))| Line::new(axis, *h, bounds(index)))
            .collect();
        let lines = lines?;
        let nodes = values.chunks_exact(axes.len());
        let nodes = nodes.flat_map(|sample| {
            sample.iter().zip(axes).zip(&lines).map(|((x, axis), line)| line.node(axis.wrapped(*x)))
        });
        Ok(Self { nodes: nodes.collect(), lines })
    }

    /// The largest bandwidth that hardly changes F.
    fn least_biased(
        axes: &[Axis],
        values: &[f64],
        weights: &[f64],
        inefficiency_of: &[f64],
        bounds: &[(f64, f64)],
    ) -> Result<Self> {
        let n_effective = super::effective_samples(weights, inefficiency_of);
        let rule: Vec<f64> = axes
            .iter()
            .enumerate()
            .map(|(index, axis)| {
                let series = values.iter().skip(index).step_by(axes.len());
                let series: Vec<f64> = series.map(|x| axis.wrapped(*x)).collect();
                rule_of_thumb(axis, &series, weights, n_effective, axes.len())
            })
            .collect();
        let visited = Binned::new(axes, values)?.sums(|n| weights[n]);
        let of_power = |power: i32| {
            let bandwidth: Vec<f64> = rule.iter().map(|h| h * 0.5_f64.powf(0.5 * f64::from(power))).collect();
            Self::new(axes, values, weights, inefficiency_of, &bandwidth, bounds)
        };
        let mut power = 1;
        loop {
            let kernel = of_power(power)?;
            if power == STEPS[axes.len() - 1]
                || kernel.relative_bias(weights, inefficiency_of, &visited) < SMALL_BIAS
            {
                return of_power(power + 1);
            }
            power += 1;
        }
    }

    /// Mean over visited bins of the squared bias of F over its variance; zero where no bin is known.
    fn relative_bias(&self, weights: &[f64], inefficiency_of: &[f64], visited: &[f64]) -> f64 {
        let squares: Vec<f64> = weights.iter().zip(inefficiency_of).map(|(w, g)| g * w * w).collect();
        let (grid, squares) = (self.grid(weights), self.grid(&squares));
        let product = |a: usize, b: usize| -> Vec<Vec<f64>> {
            let of =
                |line: &Line| line.matrices[a].iter().zip(&line.matrices[b]).map(|(a, b)| a * b).collect();
            self.lines.iter().map(of).collect()
        };
        let smooth = |grid: &[f64], matrices: &[Vec<f64>]| {
            self.smooth(grid, &matrices.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        let (wide, narrow) = (self.density(&grid, 0), self.density(&grid, 1));
        let both: [Vec<f64>; 3] = [(0, 0), (0, 1), (1, 1)].map(|(a, b)| smooth(&squares, &product(a, b)));
        let (mut sum, mut n) = (0.0, 0.0);
        for bin in (0..wide.len()).filter(|bin| visited[*bin] > 0.0 && wide[*bin] > 0.0 && narrow[*bin] > 0.0)
        {
            // Differences of densities themselves: the logarithm of few samples is biased.
            let relative = (narrow[bin] - wide[bin]) / wide[bin];
            let square = wide[bin] * wide[bin];
            let variance = both[0][bin] / square;
            let of_difference = (both[0][bin] - 2.0 * both[1][bin] + both[2][bin]) / square;
            if variance > 0.0 && variance < KNOWN {
                sum += 16.0 / 9.0 * (relative * relative - of_difference) / variance;
                n += 1.0;
            }
        }
        if n > 0.0 { sum / n } else { 0.0 }
    }

    pub(super) fn description(&self) -> String {
        let widths: Vec<String> = self.lines.iter().map(|line| format!("{:.3e}", line.bandwidth)).collect();
        format!("kernel density (bandwidth {})", widths.join(" and "))
    }

    /// Densities with h and with h/2.
    pub(super) fn evaluate(&self, weights: &[f64]) -> [Vec<f64>; 2] {
        let grid = self.grid(weights);
        [0, 1].map(|which| self.density(&grid, which))
    }

    fn density(&self, grid: &[f64], which: usize) -> Vec<f64> {
        self.smooth(grid, &self.lines.iter().map(|line| line.matrices[which].as_slice()).collect::<Vec<_>>())
    }

    /// Weights on nodes.
    fn grid(&self, weights: &[f64]) -> Vec<f64> {
        let mut grid = vec![0.0; self.lines.iter().map(|line| line.n_nodes).product()];
        match &self.lines[..] {
            [x, y] => {
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
            }
            lines => {
                for ((node, share), weight) in self.nodes.iter().zip(weights) {
                    if *node != u32::MAX {
                        grid[*node as usize] += weight * (1.0 - share);
                        grid[lines[0].after(*node as usize)] += weight * share;
                    }
                }
            }
        }
        grid
    }

    /// From nodes to bins, with a matrix per axis.
    fn smooth(&self, grid: &[f64], matrices: &[&[f64]]) -> Vec<f64> {
        let [x, y] = &self.lines[..] else { return self.lines[0].apply(grid, matrices[0]) };
        let n_y = y.n_bins();
        let rows: Vec<Vec<f64>> = grid
            .chunks_exact(y.n_nodes)
            .map(|row| match row.iter().any(|weight| *weight != 0.0) {
                true => y.apply(row, matrices[1]),
                false => vec![0.0; n_y],
            })
            .collect();
        let columns: Vec<Vec<f64>> = (0..n_y)
            .map(|bin| x.apply(&rows.iter().map(|row| row[bin]).collect::<Vec<_>>(), matrices[0]))
            .collect();
        (0..x.n_bins()).flat_map(|i| columns.iter().map(move |column| column[i])).collect()
    }
}

impl Line {
    fn new(axis: &Axis, bandwidth: f64, bounds: (f64, f64)) -> Result<Self> {
        let centers = axis.centers();
        let too_large = |n_nodes: usize| {
            (centers.len().saturating_mul(n_nodes) > LARGEST).then(|| {
                Error::invalid(
                    "bins of a kernel density",
                    format!("at most {} with this bandwidth", LARGEST / n_nodes),
                    centers.len().to_string(),
                )
            })
        };
        if axis.is_periodic() {
            let span = axis.span();
            let n_nodes = ((2.0 * span / bandwidth * NODES).ceil() as usize).clamp(64, 8192);
            if let Some(error) = too_large(n_nodes) {
                return Err(error);
            }
            let step = span / n_nodes as f64;
            let matrices = [bandwidth, 0.5 * bandwidth].map(|h| {
                let kappa = (span / (std::f64::consts::TAU * h)).powi(2);
                let kernel = |x: f64| (kappa * ((std::f64::consts::TAU * x / span).cos() - 1.0)).exp();
                let norm: f64 = (0..n_nodes).map(|node| kernel(node as f64 * step)).sum::<f64>() * step;
                let pairs = centers.iter().flat_map(|center| (0..n_nodes).map(move |node| (center, node)));
                pairs.map(|(center, node)| kernel(center - axis.low() - node as f64 * step) / norm).collect()
            });
            let reach = vec![0..n_nodes; centers.len()];
            return Ok(Self { low: axis.low(), step, n_nodes, periodic: true, matrices, reach, bandwidth });
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
        let n_nodes = (2.0 * (high - low) / bandwidth * NODES).ceil().clamp(64.0, 16384.0) as usize + 1;
        if let Some(error) = too_large(n_nodes) {
            return Err(error);
        }
        let step = (high - low) / (n_nodes - 1) as f64;
        let matrices = [bandwidth, 0.5 * bandwidth].map(|h| {
            let norm = 1.0 / (h * std::f64::consts::TAU.sqrt());
            let kernel = |x: f64| norm * (-0.5 * (x / h).powi(2)).exp();
            let image = |x: f64, bound: f64, y: f64| {
                if bound.is_finite() { kernel(x - (2.0 * bound - y)) } else { 0.0 }
            };
            let pairs =
                centers.iter().flat_map(|x| (0..n_nodes).map(move |node| (*x, low + node as f64 * step)));
            pairs.map(|(x, y)| kernel(x - y) + image(x, lowest, y) + image(x, highest, y)).collect()
        });
        // Images are farther away than the nodes themselves.
        let node = |x: f64| (((x - low) / step).max(0.0) as usize).min(n_nodes - 1);
        let within = |x: &f64| node(x - REACH * bandwidth)..node(x + REACH * bandwidth) + 1;
        let reach = centers.iter().map(within).collect();
        Ok(Self { low, step, n_nodes, periodic: false, matrices, reach, bandwidth })
    }

    fn n_bins(&self) -> usize {
        self.reach.len()
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

    fn apply(&self, grid: &[f64], matrix: &[f64]) -> Vec<f64> {
        let rows = matrix.chunks_exact(self.n_nodes).zip(&self.reach);
        rows.map(|(row, reach)| {
            row[reach.clone()].iter().zip(&grid[reach.clone()]).map(|(k, weight)| k * weight).sum()
        })
        .collect()
    }
}

/// Silverman's or Scott's bandwidth; a hundredth of the axis for samples that do not spread.
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
    let h = if n_axes == 1 { 0.9 * spread * n.powf(-0.2) } else { spread * n.powf(-1.0 / 6.0) };
    if h.is_finite() && h > 1e-9 * axis.span() { h } else { 0.01 * axis.span() }
}
