//! Profiles along collective variables and populations of states, from weighted samples.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::free_energy::pmf::{Axis, Binned};
use crate::run::beads::Beads;
use crate::run::directory::write_atomic;
use crate::run::stages::Context;
use crate::run::summary::entry;

/// Effective samples (Kish) behind a bin that is shown.
const LEAST_SAMPLES: f64 = 3.0;

/// Profiles along every collective variable, the surface of the first two, and members of every state.
pub struct Profiles<'a> {
    beads: &'a Beads,
    profiles: Vec<Profile>,
    /// For every state whether each sample belongs to it.
    members: Vec<Vec<bool>>,
}

/// Samples binned along one or two collective variables.
struct Profile {
    variables: Vec<usize>,
    binned: Binned,
}

impl<'a> Profiles<'a> {
    /// Bins samples, `[sample][bead][xyz]` in nm.
    pub fn new(context: &Context<'a>, positions_nm: &[f64]) -> Result<Self> {
        let beads = &context.plan.beads;
        let settings = &context.plan.config.estimate;
        let values = beads.values(positions_nm)?;
        let data = beads.values(context.data.frames.positions_nm())?;
        let mut profiles = Vec::new();
        for (variable, series) in values.iter().enumerate() {
            let axis = axis(beads, &data, variable, settings.n_bins)?;
            let binned = Binned::new(&[axis], series)?;
            profiles.push(Profile { variables: vec![variable], binned });
        }
        if beads.variables.len() >= 2 {
            let pairs: Vec<f64> = values[0].iter().zip(&values[1]).flat_map(|(x, y)| [*x, *y]).collect();
            let n = settings.n_bins_2d;
            let axes = [axis(beads, &data, 0, n)?, axis(beads, &data, 1, n)?];
            profiles.push(Profile { variables: vec![0, 1], binned: Binned::new(&axes, &pairs)? });
        }
        let n_samples = values.first().map_or(0, Vec::len);
        let point = |n: usize| values.iter().map(|series| series[n]).collect::<Vec<_>>();
        let points: Vec<Vec<f64>> = (0..n_samples).map(point).collect();
        let members = beads.states.iter();
        let members = members.map(|state| points.iter().map(|point| state.contains(point)).collect());
        Ok(Self { beads, profiles, members: members.collect() })
    }

    /// Weight in every bin of every profile and population of every state, one after the other.
    pub fn numbers(&self, weights: &[f64]) -> Vec<f64> {
        let mut numbers = Vec::new();
        for profile in &self.profiles {
            // Weights of MBAR are finite, not negative, and as many as there are samples.
            numbers.extend(profile.binned.histogram(Some(weights)).unwrap_or_default());
        }
        let sum: f64 = weights.iter().sum();
        for members in &self.members {
            let inside = weights.iter().zip(members).filter(|(_, inside)| **inside);
            numbers.push(inside.map(|(weight, _)| weight).sum::<f64>() / sum);
        }
        numbers
    }

    /// Writes `pmf_NAME.csv` for every profile and notes the populations; `replicates` are
    /// [`Self::numbers`] of resampled weights, whose spread times `inflation` is the error.
    ///
    /// A bin whose weight rests on fewer than `LEAST_SAMPLES` effective samples has no value: single
    /// samples of noisy levels have weights like e^{−500} there, which say nothing.
    pub fn write(
        &self,
        directory: &Path,
        weights: &[f64],
        replicates: &[&[f64]],
        inflation: f64,
        method: &str,
        diagnostics: &mut Map<String, Value>,
    ) -> Result<()> {
        let spread =
            |of: &dyn Fn(&[f64]) -> f64| inflation * deviation(replicates.iter().map(|numbers| of(numbers)));
        let full = &self.numbers(weights)[..];
        let squares: Vec<f64> = weights.iter().map(|weight| weight * weight).collect();
        let squares = self.numbers(&squares);
        let mut offset = 0;
        for profile in &self.profiles {
            let n = profile.binned.n_bins();
            // The zero is where the full sample has it, in every replicate.
            let bins = offset..offset + n;
            let zero = bins.clone().max_by(|&a, &b| full[a].total_cmp(&full[b])).unwrap_or(offset);
            let value = |numbers: &[f64], bin: usize| -(numbers[bin] / numbers[zero]).ln();
            let seen = |bin: usize| full[bin] * full[bin] >= LEAST_SAMPLES * squares[bin] && full[bin] > 0.0;
            let values: Vec<f64> =
                bins.clone().map(|bin| if seen(bin) { value(full, bin) } else { f64::NAN }).collect();
            let errors: Vec<f64> = bins.map(|bin| spread(&|numbers| value(numbers, bin))).collect();
            let names = profile.variables.iter().map(|idx| self.beads.variables[*idx].name.as_str());
            let path = directory.join(format!("pmf_{}.csv", names.collect::<Vec<_>>().join("_")));
            let table = table(self.beads, &profile.variables, profile.binned.axes(), &values, &errors);
            write_atomic(&path, table.as_bytes())?;
            offset += n;
        }
        for (idx, state) in self.beads.states.iter().enumerate() {
            let error = spread(&|numbers| numbers[offset + idx]);
            let how = format!("MBAR weights at the data end, {method}");
            let name = format!("population_{}_mbar", state.name);
            diagnostics.insert(name, entry(full[offset + idx], Some(error), "", &how));
        }
        Ok(())
    }
}

/// Standard deviation of the finite values; NaN for fewer than two.
fn deviation(values: impl Iterator<Item = f64>) -> f64 {
    let finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let n = finite.len() as f64;
    let mean = finite.iter().sum::<f64>() / n;
    (finite.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

/// Bins of a variable: its period, or a little more than the range of the data.
pub fn axis(beads: &Beads, data: &[Vec<f64>], variable: usize, n_bins: usize) -> Result<Axis> {
    if let Some((low, high)) = beads.variables[variable].function.period() {
        return Axis::new(low, high, n_bins, true);
    }
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = data[variable].iter().fold(ends, |(low, high), x| (low.min(*x), high.max(*x)));
    let margin = 1e-9 + 0.02 * (high - low);
    Axis::new(low - margin, high + margin, n_bins, false)
}

/// A profile or surface as a table; a bin that nothing visited has empty cells.
pub fn table(beads: &Beads, variables: &[usize], axes: &[Axis], values: &[f64], errors: &[f64]) -> String {
    let columns: Vec<String> = variables.iter().map(|idx| beads.variables[*idx].column()).collect();
    let mut table = format!("{},pmf_kT,std_error_kT\n", columns.join(","));
    let centers: Vec<Vec<f64>> = axes.iter().map(Axis::centers).collect();
    let cell = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
    for (bin, (value, error)) in values.iter().zip(errors).enumerate() {
        let place = match &centers[..] {
            [x, y] => format!("{},{}", x[bin / y.len()], y[bin % y.len()]),
            _ => centers[0][bin].to_string(),
        };
        let error = if value.is_finite() { *error } else { f64::NAN };
        let _ = writeln!(table, "{place},{},{}", cell(*value), cell(error));
    }
    table
}
