//! Tables.

use super::{Series, Text};
use crate::error::{Error, Result};

pub(super) fn is_table(beginning: &str) -> bool {
    let header = beginning.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    header.is_some_and(|line| line.starts_with("time") && line.contains("lambda"))
}

pub(super) fn read(_files: &[Text], _temperature_k: Option<f64>) -> Result<Vec<Series>> {
    Err(Error::invalid("format", "gromacs or gomc", "table"))
}
