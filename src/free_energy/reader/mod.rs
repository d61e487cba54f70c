//! Output files of simulation programs, as samples with reduced energies and derivatives.
//!
//! Every reader makes [`Series`] of files: GROMACS `dhdl.xvg`, AMBER output, NAMD `fepout`, GOMC
//! free-energy output, tables as alchemlyb writes them (CSV, Parquet) and plain tables. Files may be
//! compressed with gzip or bzip2. What a file says (units, temperature, λ vectors) is taken from it; what
//! it lacks is demanded. Half a last line, a restart in the middle or a second run appended are handled
//! and named in the warnings of the series.

pub mod amber;
pub mod namd;
pub mod series;
pub mod text;

pub use series::{Format, Origin, Series};
pub use text::Text;

use std::path::PathBuf;

/// What to read and what the files do not say.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The format; found out from the beginning of each file without one.
    pub format: Option<Format>,
    /// Temperature in K, for files that do not hold it; where they do it must agree to 0.01 K.
    pub temperature_k: Option<f64>,
    /// Files, in the order given; directories are searched for files of a known format.
    pub files: Vec<PathBuf>,
}
