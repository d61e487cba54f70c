//! Tables of PLUMED: collective variables and biases over time (`COLVAR`) and deposited Gaussians (`HILLS`).
//!
//! Energies are in the unit of the file, kJ/mol unless PLUMED was told otherwise.

mod hills;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub use hills::{Hills, read_hills};

use super::columns::{Columns, TableKind, find};
use crate::error::{Error, Result};

/// A table with a header `#! FIELDS`.
#[derive(Debug, Clone)]
pub struct PlumedTable {
    /// The file.
    pub path: PathBuf,
    /// Names of the columns.
    pub fields: Vec<String>,
    /// `[column][row]`.
    pub columns: Vec<Vec<f64>>,
    /// Line of each row.
    pub lines: Vec<u32>,
    /// Lower and upper end of the periodic variables.
    pub domains: HashMap<String, (f64, f64)>,
    /// What was left out or looks strange, with file and line.
    pub warnings: Vec<String>,
}

impl PlumedTable {
    /// A column by its name, or by its number from 1 where no column is called so.
    pub fn column(&self, name: &str) -> Result<&[f64]> {
        Ok(&self.columns[find(&self.path, &self.fields, name)?])
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.lines.len()
    }
}

/// Reads a `COLVAR`: where a restarted run writes times again that stood there before, the later run wins from its
/// first time on.
pub fn read_colvar(path: &Path) -> Result<PlumedTable> {
    colvar(Columns::read(path)?)
}

/// A table of columns as a `COLVAR`.
pub(super) fn colvar(mut table: Columns) -> Result<PlumedTable> {
    require_plumed(&table)?;
    if table.names.iter().any(|name| name == "time") {
        let time = table.column("time")?.to_vec();
        let starts: Vec<usize> = (1..time.len()).filter(|row| time[*row] <= time[row - 1]).collect();
        later_wins(&mut table, &time, &starts);
    }
    let domains = domains(&table)?;
    Ok(PlumedTable {
        path: table.path,
        fields: table.names,
        columns: table.values,
        lines: table.lines,
        domains,
        warnings: table.warnings,
    })
}

fn require_plumed(table: &Columns) -> Result<()> {
    if table.kind == TableKind::Plumed {
        return Ok(());
    }
    Err(Error::file(&table.path, "", "a table of PLUMED with a header `#! FIELDS …`", "no such header"))
}

/// Drops rows whose times a run that begins at one of `starts` writes again.
///
/// A run that begins before everything there was is another simulation, not a restart: it stays beside the first.
fn later_wins(table: &mut Columns, time: &[f64], starts: &[usize]) {
    let mut keep = vec![true; time.len()];
    // The kept rows of the current simulation.
    let mut kept: Vec<usize> = Vec::new();
    let mut next = 0;
    let mut texts = Vec::new();
    for row in 0..time.len() {
        if starts.get(next) == Some(&row) {
            next += 1;
            if kept.first().is_some_and(|first| time[row] <= time[*first]) && kept.len() > 1 {
                texts.push(format!(
                    "`{}`, {}: the time starts anew at {}; what follows was taken as another simulation",
                    table.path.display(),
                    table.place(row),
                    time[row]
                ));
                kept.clear();
            }
            let before = kept.len();
            while kept.last().is_some_and(|last| time[*last] >= time[row]) {
                keep[kept.pop().expect("it has a last")] = false;
            }
            if kept.len() < before {
                texts.push(format!(
                    "`{}`, {}: a run was restarted at time {}; {} rows before it with this time or a later one were \
                     left out",
                    table.path.display(),
                    table.place(row),
                    time[row],
                    before - kept.len()
                ));
            }
        }
        kept.push(row);
    }
    if keep.contains(&false) {
        table.keep(&keep);
    }
    table.warnings.append(&mut texts);
}

/// Ends of the periodic variables, from `SET min_x` and `SET max_x`.
fn domains(table: &Columns) -> Result<HashMap<String, (f64, f64)>> {
    let mut domains = HashMap::new();
    for name in &table.names {
        let end = |which: &str| -> Result<Option<f64>> {
            let key = format!("{which}_{name}");
            let Some(text) = table.setting(&key) else { return Ok(None) };
            let value = expression(text).filter(|value| value.is_finite()).ok_or_else(|| {
                Error::file(
                    &table.path,
                    format!("SET {key}"),
                    "a number such as -pi or 2*pi",
                    format!("`{text}`"),
                )
            })?;
            Ok(Some(value))
        };
        if let (Some(low), Some(high)) = (end("min")?, end("max")?) {
            if low >= high {
                let found = format!("{low} and {high}");
                return Err(Error::file(
                    &table.path,
                    format!("SET min_{name}"),
                    "a lower end below the upper",
                    found,
                ));
            }
            domains.insert(name.clone(), (low, high));
        }
    }
    Ok(domains)
}

/// Sums and products of numbers and π: `-pi`, `2*pi`, `1.5*pi-0.1`, `pi/2`.
fn expression(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut sum = 0.0;
    let mut product: Option<f64> = None;
    let mut operator = b'+';
    let mut sign = 1.0;
    while at < bytes.len() {
        // Signs before a factor, then the factor, then what joins it to the next.
        while let Some(byte @ (b'+' | b'-')) = bytes.get(at) {
            sign = if *byte == b'-' { -sign } else { sign };
            at += 1;
        }
        let rest = &text[at..];
        let is_pi = rest.get(..2).is_some_and(|word| word.eq_ignore_ascii_case("pi"));
        let (value, length) = if is_pi {
            (std::f64::consts::PI, 2)
        } else {
            let numeric = |end: &usize| rest.get(..*end).is_some_and(|start| start.parse::<f64>().is_ok());
            let length = (1..=rest.len().min(40)).rev().find(numeric)?;
            (rest[..length].parse().ok()?, length)
        };
        at += length;
        product = Some(match (operator, product) {
            (b'*', Some(product)) => product * sign * value,
            (b'/', Some(product)) => product / (sign * value),
            (_, Some(product)) => {
                sum += product;
                sign * value
            }
            (_, None) => sign * value,
        });
        sign = 1.0;
        match bytes.get(at) {
            None => return Some(sum + product?),
            Some(byte @ (b'*' | b'/')) => {
                operator = *byte;
                at += 1;
            }
            // The sign of the next term is read above.
            Some(b'+' | b'-') => operator = b'+',
            Some(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests;
