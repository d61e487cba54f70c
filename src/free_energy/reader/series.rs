//! Samples of one simulation, as a reader finds them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The programs and tables that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `dhdl.xvg` of GROMACS.
    Gromacs,
    /// Output (`mdout`) of AMBER's sander and pmemd.
    Amber,
    /// `fepout` of NAMD.
    Namd,
    /// Free-energy output of GOMC.
    Gomc,
    /// CSV: u_nk or dHdl of alchemlyb, u_kn of kirkwood, or a plain table.
    Table,
    /// Parquet: u_nk or dHdl of alchemlyb.
    Parquet,
}

/// Where a sample stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Index into [`Series::sources`].
    pub source: u32,
    /// Line of the (decompressed) text or row of the table, counted from 1.
    pub line: u32,
}

/// Samples of one simulation in the order of its file or files.
///
/// Energies are reduced (kT at `temperature_k`) and may have a constant per sample in common for all
/// states; derivatives are in kT per unit of λ.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The files, more than one where a simulation was continued in another.
    pub sources: Vec<PathBuf>,
    /// Their format.
    pub format: Format,
    /// K; NaN where a table of reduced energies does not say it and nobody else did.
    pub temperature_k: f64,
    /// Names of the components of λ, as alchemlyb names them: `fep-lambda`, `coul-lambda`, ….
    pub components: Vec<String>,
    /// λ vectors that occur, in the order of the file: those of the energy columns first.
    pub states: Vec<Vec<f64>>,
    /// Time of each sample; see `time_unit`.
    pub time: Vec<f64>,
    /// `ps`, or `step` where the file says no more.
    pub time_unit: &'static str,
    /// From which of `states` each sample was drawn.
    pub state_of: Vec<usize>,
    /// `[sample][state]`, over all of `states`; empty when the files hold no energies. A NaN is one that stands in
    /// the file; what was not computed is NaN with `computed` false.
    pub u_kt: Vec<f64>,
    /// `[sample][state]`: whether the energy was computed; `None` when all were.
    pub computed: Option<Vec<bool>>,
    /// `[sample][component]`; empty when the files hold no derivatives.
    pub dudl_kt: Vec<f64>,
    /// Where each sample stands.
    pub origin: Vec<Origin>,
    /// What was repaired or left out, one sentence each, with file and line.
    pub warnings: Vec<String>,
}

impl Series {
    /// Number of samples.
    pub fn n_samples(&self) -> usize {
        self.state_of.len()
    }

    /// `file line n` of a sample, for messages.
    pub fn place(&self, sample: usize) -> (PathBuf, String) {
        let origin = self.origin[sample];
        (self.sources[origin.source as usize].clone(), format!("line {}", origin.line))
    }
}

/// Temperatures closer than this are one temperature, K.
const SAME_TEMPERATURE_K: f64 = 0.01;

/// The temperature of all series, in K; NaN when none knows it, an error when two differ.
pub fn common_temperature(series: &[Series]) -> Result<f64> {
    let mut known = series.iter().filter(|series| series.temperature_k.is_finite());
    let Some(first) = known.next() else { return Ok(f64::NAN) };
    let differs = |other: &&Series| (other.temperature_k - first.temperature_k).abs() > SAME_TEMPERATURE_K;
    let Some(other) = known.find(differs) else { return Ok(first.temperature_k) };
    let file = |series: &Series| series.sources.first().cloned().unwrap_or_default();
    let expected = format!("a simulation at {} K, as in `{}`", first.temperature_k, file(first).display());
    Err(Error::file(file(other), "", expected, format!("one at {} K", other.temperature_k))
        .with_hint("analyse simulations of one temperature together"))
}
