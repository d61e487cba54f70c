//! Populations and profiles of sets of conformations: frames, parts alone, the composition.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::ReportSettings;
use crate::comparison::populations::population;
use crate::error::Result;
use crate::free_energy::bootstrap::Blocks;
use crate::free_energy::pmf::{Axis, Binned, Pmf, Reference};
use crate::random::Streams;
use crate::run::beads::Beads;
use crate::run::directory::{write_atomic, write_json};
use crate::run::stages::estimate::profiles::{axis, table};

/// Share of the range of the frames by which axes of variables without a period reach beyond it.
const MARGIN: f64 = 0.25;

/// Conformations that stand for a law.
pub struct Set<'a> {
    /// Of its directory and its numbers: `frames_1`, `part_1`, `reweighted_1`, `composed`.
    pub name: &'a str,
    /// As in tables and figures.
    pub label: String,
    /// In nm.
    pub positions_nm: &'a [f64],
    /// One for each; `None`: all count the same.
    pub weights: Option<&'a [f64]>,
    /// Contiguous groups of equal size that are independent of each other.
    pub n_groups: usize,
}

/// The share of a state in a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Population {
    /// Which state.
    pub state: String,
    /// Its share.
    pub value: f64,
    /// Standard error over groups; `None` where it was never seen or never left.
    pub std_error: Option<f64>,
}

/// What is kept of a set besides its tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Examined {
    /// As in [`Set`].
    pub name: String,
    /// As in [`Set`].
    pub label: String,
    /// How many conformations.
    pub n_frames: usize,
    /// Effective share of them (Kish).
    pub ess_fraction: f64,
    /// Of every state.
    pub populations: Vec<Population>,
}

/// What all sets have in common.
pub struct Examination<'a> {
    /// Beads, variables and states.
    pub beads: &'a Beads,
    /// Bins and resamples.
    pub settings: &'a ReportSettings,
    /// Random numbers of the errors.
    pub streams: Streams,
    /// Least and largest value of every variable in the frames of all parts, with a margin.
    ranges: Vec<Vec<f64>>,
}

impl<'a> Examination<'a> {
    /// With axes for conformations like these, `[set][frame][bead][xyz]` in nm.
    pub fn new(
        beads: &'a Beads,
        settings: &'a ReportSettings,
        streams: Streams,
        frames: &[&[f64]],
    ) -> Result<Self> {
        let mut ranges = vec![vec![f64::INFINITY, f64::NEG_INFINITY]; beads.variables.len()];
        for frames in frames {
            for (range, values) in ranges.iter_mut().zip(beads.values(frames)?) {
                range[0] = values.iter().copied().fold(range[0], f64::min);
                range[1] = values.iter().copied().fold(range[1], f64::max);
            }
        }
        for range in &mut ranges {
            let margin = MARGIN * (range[1] - range[0]);
            (range[0], range[1]) = (range[0] - margin, range[1] + margin);
        }
        Ok(Self { beads, settings, streams, ranges })
    }

    /// Writes `pmf_VARIABLE.csv`, the surface of the first two as `surface.csv`, and `examined.json`.
    pub fn examine(&self, set: &Set, directory: &Path) -> Result<Examined> {
        let values = self.beads.values(set.positions_nm)?;
        let n_frames = set.positions_nm.len() / (3 * self.beads.n_beads());
        let blocks = Blocks::contiguous(n_frames, set.n_groups.min(n_frames))?;
        let axis = |variable: usize, n_bins: usize| axis(self.beads, &self.ranges, variable, n_bins);
        let write = |file: String, variables: &[usize], axes: &[Axis], values: &[f64]| -> Result<()> {
            let binned = Binned::new(axes, values)?;
            let n_resamples = self.settings.n_bootstrap;
            let pmf =
                Pmf::new(&binned, set.weights, Reference::Minimum, &blocks, n_resamples, &self.streams)?;
            let table = table(self.beads, variables, axes, &pmf.values_kt, &pmf.std_errors_kt);
            write_atomic(&directory.join(file), table.as_bytes())
        };
        for (idx, variable) in self.beads.variables.iter().enumerate() {
            let file = format!("pmf_{}.csv", variable.name);
            write(file, &[idx], &[axis(idx, self.settings.n_bins)?], &values[idx])?;
        }
        if let [first, second, ..] = &values[..] {
            let pairs: Vec<f64> = first.iter().zip(second).flat_map(|(x, y)| [*x, *y]).collect();
            let n = self.settings.n_bins_2d;
            write("surface.csv".into(), &[0, 1], &[axis(0, n)?, axis(1, n)?], &pairs)?;
        }
        let mut point = vec![0.0; values.len()];
        let populations = (self.beads.states.iter())
            .map(|state| {
                let inside: Vec<bool> = (0..n_frames)
                    .map(|frame| {
                        point.iter_mut().zip(&values).for_each(|(value, series)| *value = series[frame]);
                        state.contains(&point)
                    })
                    .collect();
                let (value, error) = population(&inside, set.weights, &blocks);
                let std_error = Some(error).filter(|error| error.is_finite());
                Population { state: state.name.clone(), value, std_error }
            })
            .collect();
        let ess = set.weights.map_or(n_frames as f64, crate::free_energy::weights::effective_sample_size);
        let ess_fraction = ess / n_frames as f64;
        let (name, label) = (set.name.to_string(), set.label.clone());
        let examined = Examined { name, label, n_frames, ess_fraction, populations };
        write_json(&directory.join("examined.json"), &examined)?;
        Ok(examined)
    }
}
