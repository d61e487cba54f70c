//! At which diffusion times a data point is looked at.

use rand::Rng as _;
use rand_distr::{Distribution as _, StandardNormal};
use serde::{Deserialize, Serialize};

use super::chains::Chains;
use super::equilibrium_walkers::EquilibriumWalkers;
use crate::error::{Error, Result, positive};
use crate::potential::{Noise, Space};
use crate::random::Rng;

/// How the K times of a data point are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeSettings {
    /// K; diffusive classification needs at least 2.
    pub n_times: usize,
    /// Law of the first time.
    pub law: TimeLaw,
    /// Law of the others, where they are not neighbours.
    pub partner_law: TimeLaw,
    /// Fraction of partners that are neighbours of the time before them in log(a²/g²).
    pub neighbour_fraction: f64,
    /// Standard deviation of the step to a neighbour, in units of log(a²/g²). Two levels tell each other
    /// something while √(2d) |log g_t/g_s| is about 1; longer steps tie distant levels to each other. Tried on
    /// five beads of alanine dipeptide with 4000 steps of the second stage, one seed, another split of the
    /// same trajectory: JS excess 0.0027, 0.0021 and 0.0016 for 0.5, 1 and 2, against 0.0071 where half of
    /// the partners are uniform in t.
    pub neighbour_step: f64,
    /// Draw all times from so many levels, uniform in log(a²/g²), with a free offset for each; 0: continuous.
    /// The offsets are not part of the model: its log Z along the path is then arbitrary, and not 0.
    pub n_levels: usize,
}

impl Default for TimeSettings {
    fn default() -> Self {
        Self {
            n_times: 1,
            law: TimeLaw::default(),
            partner_law: TimeLaw::default(),
            neighbour_fraction: 1.0,
            neighbour_step: 1.5,
            n_levels: 0,
        }
    }
}

/// How the K points of a data point belong together; an objective says what it needs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Coupling {
    /// Noised independently.
    #[default]
    Independent,
    /// Two times, the later point noised further from the earlier one: a step of the process.
    Transition,
    /// The same time: the second point lies beside the first, displaced by a Gaussian of this root of the mean square
    /// in units of the width of x_t. It is not noised data.
    Perturbed(f64),
    /// The same time: the second point is drawn from the Gaussian of the second moment of x_t. It is not noised data.
    Gaussian,
    /// Pairs x ± ε g ξ about one point at one time, from whose gradients a Laplacian comes, and a time that is a step of
    /// [`Coupling::TWIN_STEP`] in log(a²/g²) away.
    Twins {
        /// Along which ξ.
        trace: Trace,
        /// ε
        epsilon: f64,
    },
    /// The same time: the second point is drawn by a chain. It is not noised data.
    Chains(Chains),
    /// The data end alone: a point (1 − l) z + l x₀ of a line from noise to data, paired by optimal transport within
    /// groups, and, with chains, a data point and one that a chain draws.
    Line(Option<Chains>),
    /// The data end alone: a data point, and where a walker at equilibrium is. Only parameters that act within this reach of
    /// the data end in log(a²/g²) are trained.
    Equilibrium {
        /// How walkers move.
        walkers: EquilibriumWalkers,
        /// Reach.
        reach: f64,
    },
}

/// Along which directions twins are apart, by whose second derivatives Δu is known: Σ over all axes, or E ξ·∇∇u·ξ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trace {
    /// Two normal directions: five points, two pairs and one at the other time, all of them noised data.
    #[default]
    Weak,
    /// Two directions of ±1 in every coordinate, about a point at both times: two points of noised data and two pairs.
    Hutchinson,
    /// All coordinate axes, projected onto the space, about a point at both times: two points of noised data and as many pairs
    /// as there are coordinates.
    Exact,
}

impl Trace {
    /// Points that are displaced from the first one, besides K of noised data.
    fn n_displaced(self, space: Space) -> usize {
        match self {
            Self::Weak => 0,
            Self::Hutchinson => 4,
            Self::Exact => 2 * space.dimension(),
        }
    }
}

impl Coupling {
    /// The distance in log(a²/g²) of the time that belongs to twins.
    pub const TWIN_STEP: f64 = 0.05;

    /// K of the configuration, where it is fixed.
    pub fn n_times(self) -> Option<usize> {
        match self {
            Self::Independent => None,
            Self::Transition
            | Self::Perturbed(_)
            | Self::Gaussian
            | Self::Chains(_)
            | Self::Equilibrium { .. } => Some(2),
            Self::Twins { trace: Trace::Weak, .. } => Some(5),
            Self::Twins { .. } => Some(2),
            Self::Line(chains) => Some(if chains.is_some() { 3 } else { 1 }),
        }
    }

    /// How many points a data point becomes, with those that are displaced, where the configuration says K.
    pub fn n_points(self, n_times: usize, space: Space) -> usize {
        match self {
            Self::Twins { trace, .. } => n_times + trace.n_displaced(space),
            _ => n_times,
        }
    }

    /// Whether a point is displaced from one before it and needs no noise of its own.
    pub fn is_displaced(self, k: usize) -> bool {
        k > 1 && matches!(self, Self::Twins { trace: Trace::Hutchinson | Trace::Exact, .. })
    }

    /// How many of so many points are noised data; these come first.
    pub fn n_data(self, n_points: usize) -> usize {
        match self {
            Self::Perturbed(_) | Self::Gaussian | Self::Chains(_) | Self::Equilibrium { .. } => 1,
            Self::Twins { trace: Trace::Hutchinson | Trace::Exact, .. } => 2,
            Self::Line(_) => 0,
            _ => n_points,
        }
    }

    /// The chains that draw the last point of every data point.
    pub fn chains(self) -> Option<Chains> {
        match self {
            Self::Chains(chains) => Some(chains),
            Self::Line(chains) => chains,
            _ => None,
        }
    }

    /// Makes drawn times those of the coupling, for all points of a data point.
    pub fn arrange(self, noise: &Noise, times: &mut [f64]) {
        match self {
            Self::Independent => {}
            Self::Transition => times.sort_by(f64::total_cmp),
            Self::Perturbed(_) | Self::Gaussian | Self::Chains(_) => times.fill(times[0]),
            Self::Line(_) | Self::Equilibrium { .. } => times.fill(noise.time_range().0),
            Self::Twins { trace, .. } => {
                let here = noise.log_snr(times[0]);
                let further = noise.time_at_log_snr(here - Self::TWIN_STEP);
                let is_inside = further < noise.time_range().1;
                let step = if is_inside { -Self::TWIN_STEP } else { Self::TWIN_STEP };
                times.fill(times[0]);
                times[if trace == Trace::Weak { 4 } else { 1 }] = noise.time_at_log_snr(here + step);
            }
        }
    }
}

/// A law of diffusion times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeLaw {
    /// Uniform in t.
    UniformTime,
    /// Uniform in log g: every decade of noise counts the same. For variance preserving noise, few points
    /// see the levels at which the noise outweighs the data.
    LogUniformNoise,
    /// Uniform in log(a²/g²).
    UniformLogSnr,
    /// Four fifths uniform in log g, one fifth uniform in log(a²/g²).
    #[default]
    Mixed,
}

impl TimeLaw {
    /// The time at quantile q of the law.
    pub fn quantile(self, noise: &Noise, q: f64) -> f64 {
        let (first, last) = noise.time_range();
        match self {
            Self::UniformTime => first + q * (last - first),
            Self::UniformLogSnr => {
                noise.time_at_log_snr(noise.log_snr(first) + q * (noise.log_snr(last) - noise.log_snr(first)))
            }
            Self::LogUniformNoise => {
                if let Noise::Interpolant { strength, .. } = *noise {
                    // g rises to the middle and falls again: half of the quantiles on either side.
                    let (low, high) = (noise.deviation(first).ln(), noise.deviation(0.5).ln());
                    let g = (low + (1.0 - (2.0 * q - 1.0).abs()) * (high - low)).exp();
                    // t (1 − t) = g²/γ²; the smaller root without cancellation.
                    let product = (g / strength).powi(2).min(0.25);
                    let t = 2.0 * product / (1.0 + (1.0 - 4.0 * product).sqrt());
                    return if q < 0.5 { t } else { 1.0 - t }.clamp(first, last);
                }
                let (low, high) = (noise.deviation(first).ln(), noise.deviation(last).ln());
                let variance = (2.0 * (low + q * (high - low))).exp();
                // a² + g² is 1 for variance preserving noise and 1 + g² for the others.
                let log_snr = match noise {
                    Noise::VariancePreserving { .. } => ((1.0 - variance).max(1e-12) / variance).ln(),
                    _ => -variance.ln(),
                };
                noise.time_at_log_snr(log_snr)
            }
            Self::Mixed if q < 0.8 => Self::LogUniformNoise.quantile(noise, q / 0.8),
            Self::Mixed => Self::UniformLogSnr.quantile(noise, (q - 0.8) / 0.2),
        }
    }
}

impl TimeSettings {
    /// Checks the settings; `place` is the key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        let fail = |key: &str, message: String| Err(Error::config(format!("{place}.{key}"), message, ""));
        if self.n_times == 0 || self.n_times > 64 {
            return fail("n_times", format!("must be between 1 and 64, found {}", self.n_times));
        }
        if !(0.0..=1.0).contains(&self.neighbour_fraction) {
            return fail(
                "neighbour_fraction",
                format!("must be between 0 and 1, found {}", self.neighbour_fraction),
            );
        }
        positive(format!("{place}.neighbour_step"), self.neighbour_step)?;
        if self.n_levels > 0 && self.n_levels < self.n_times {
            return fail("n_levels", format!("must be 0 or at least n_times = {}", self.n_times));
        }
        Ok(())
    }

    /// Draws the times of one data point; `q` in [0, 1) is where it stands in the batch, so that first
    /// times are stratified. Returns levels where there is a grid.
    pub fn draw(&self, noise: &Noise, q: f64, rng: &mut Rng, times: &mut [f64], levels: &mut [usize]) {
        if self.n_levels > 0 {
            return self.draw_levels(noise, q, rng, times, levels);
        }
        let (first, last) = noise.time_range();
        times[0] = self.law.quantile(noise, q);
        for k in 1..times.len() {
            times[k] = if rng.random::<f64>() < self.neighbour_fraction {
                let (low, high) = (noise.log_snr(last), noise.log_snr(first));
                let step: f64 = StandardNormal.sample(rng);
                let moved = noise.log_snr(times[k - 1]) + self.neighbour_step * step;
                noise.time_at_log_snr(reflect(moved, low, high))
            } else {
                self.partner_law.quantile(noise, rng.random())
            };
            // Equal times carry no information and a spurious gradient of zero; push them apart.
            while times[..k].iter().any(|other| (other - times[k]).abs() < 1e-9) {
                times[k] = self.partner_law.quantile(noise, rng.random());
            }
        }
    }

    fn draw_levels(&self, noise: &Noise, q: f64, rng: &mut Rng, times: &mut [f64], levels: &mut [usize]) {
        let grid = noise.log_snr_grid(self.n_levels - 1);
        levels[0] = ((q * self.n_levels as f64) as usize).min(self.n_levels - 1);
        for k in 1..times.len() {
            loop {
                let neighbour = rng.random::<f64>() < self.neighbour_fraction;
                let step = if rng.random() { 1 } else { self.n_levels - 1 };
                levels[k] = if neighbour {
                    (levels[k - 1] + step) % self.n_levels
                } else {
                    rng.random_range(0..self.n_levels)
                };
                if !levels[..k].contains(&levels[k]) {
                    break;
                }
            }
        }
        times.iter_mut().zip(levels).for_each(|(time, &mut level)| *time = grid[level]);
    }
}

/// Reflects at both ends until the value lies within.
fn reflect(mut value: f64, low: f64, high: f64) -> f64 {
    while value < low || value > high {
        value = if value < low { 2.0 * low - value } else { 2.0 * high - value };
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};

    #[test]
    fn quantiles_rise_over_the_whole_range() {
        for noise in [Noise::default(), Noise::Edm { sigma_min: 1e-3, sigma_max: 20.0 }] {
            let (first, last) = noise.time_range();
            for law in
                [TimeLaw::UniformTime, TimeLaw::LogUniformNoise, TimeLaw::UniformLogSnr, TimeLaw::Mixed]
            {
                assert!((law.quantile(&noise, 0.0) - first).abs() < 1e-8, "{law:?}");
                assert!((law.quantile(&noise, 1.0 - 1e-9) - last).abs() < 1e-2 * last, "{law:?}");
            }
            let g = noise.deviation(TimeLaw::LogUniformNoise.quantile(&noise, 0.5));
            let expected = (noise.deviation(first) * noise.deviation(last)).sqrt();
            assert!((g / expected - 1.0).abs() < 1e-3);
        }
    }

    #[test]
    fn drawn_times_are_distinct_and_within_the_range() {
        let (noise, mut rng) = (Noise::default(), Streams::new(1).stream(Purpose::Batch, 0));
        for n_levels in [0, 6] {
            let settings = TimeSettings { n_times: 4, n_levels, neighbour_step: 8.0, ..Default::default() };
            for k in 0..500 {
                let (mut times, mut levels) = ([0.0; 4], [0; 4]);
                settings.draw(&noise, f64::from(k) / 500.0, &mut rng, &mut times, &mut levels);
                assert!(times.iter().all(|t| (1e-5..=1.0).contains(t)));
                assert!((0..4).all(|i| (0..i).all(|j| times[i] != times[j])));
            }
        }
    }
}
