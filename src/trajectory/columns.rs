//! Tables of numbers: one row per frame, columns with names.
//!
//! Read are PLUMED's tables (`#! FIELDS …`), CSV with or without a header, xvg of GROMACS with its legends, plain
//! numbers between blanks with names in the comment or line above them, and NumPy arrays of one or two axes; which
//! it is, is found out from the content. Files may be compressed with gzip or bzip2.
//!
//! A damaged line between good ones, and half a last line, are left out and named; two damaged lines in a row, or
//! more than one in a hundred, are an error.

mod plain;

use std::path::{Path, PathBuf};

use super::compressed;
use crate::error::{Error, Result, did_you_mean};

/// How a table was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// `#! FIELDS` of PLUMED.
    Plumed,
    /// Numbers between commas or semicolons.
    Csv,
    /// Grace, as GROMACS writes.
    Xvg,
    /// Numbers between blanks.
    Plain,
    /// `.npy`.
    Numpy,
}

/// Columns of numbers.
#[derive(Debug, Clone)]
pub struct Columns {
    /// The file.
    pub path: PathBuf,
    /// How it was written.
    pub kind: TableKind,
    /// Names of the columns; their numbers from 1 where the file has no names.
    pub names: Vec<String>,
    /// `[column][row]`.
    pub values: Vec<Vec<f64>>,
    /// Line of each row, from 1; the row itself in a NumPy array.
    pub lines: Vec<u32>,
    /// `SET name value` of PLUMED, in order.
    pub settings: Vec<(String, String)>,
    /// Rows before which PLUMED wrote its header again, as after a restart.
    pub restarts: Vec<usize>,
    /// What was left out and what looks strange, one sentence each, with file and line.
    pub warnings: Vec<String>,
}

impl Columns {
    /// Reads a table of any known form.
    pub fn read(path: &Path) -> Result<Self> {
        let (bytes, truncated) = compressed::read(path)?;
        let mut table = Self::from_bytes(path, &bytes)?;
        if truncated {
            let text = format!(
                "`{}` ends too early: the compressed file was cut; {} rows could be read",
                path.display(),
                table.n_rows()
            );
            table.warnings.push(text);
        }
        Ok(table)
    }

    /// Reads a table that is in memory; `path` is for messages.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut table = match bytes {
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => numpy(path, bytes)?,
            _ => plain::read(path, bytes)?,
        };
        if table.n_rows() == 0 {
            return Err(Error::file(path, "", "rows of numbers", "none"));
        }
        table.name_strange_numbers();
        Ok(table)
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.lines.len()
    }

    /// Which column is meant by a name or, where no column has it as its name, by a number from 1.
    pub fn index_of(&self, name: &str) -> Result<usize> {
        find(&self.path, &self.names, name)
    }

    /// A column by its name or number.
    pub fn column(&self, name: &str) -> Result<&[f64]> {
        Ok(&self.values[self.index_of(name)?])
    }

    /// A column in which every number is finite; the first that is not is an error.
    pub fn finite_column(&self, name: &str) -> Result<&[f64]> {
        let index = self.index_of(name)?;
        let column = &self.values[index];
        match column.iter().position(|value| !value.is_finite()) {
            None => Ok(column),
            Some(row) => Err(Error::file(
                &self.path,
                self.place(row),
                format!("a finite number in column `{}`", self.names[index]),
                column[row].to_string(),
            )),
        }
    }

    /// `line n` of a row, for messages.
    pub fn place(&self, row: usize) -> String {
        let what = if self.kind == TableKind::Numpy { "row" } else { "line" };
        format!("{what} {}", self.lines[row])
    }

    /// The last value that PLUMED set for a name.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Keeps some rows, in their order; `restarts` go.
    pub(super) fn keep(&mut self, keep: &[bool]) {
        let mut row = 0;
        self.lines.retain(|_| {
            row += 1;
            keep[row - 1]
        });
        for column in &mut self.values {
            let mut row = 0;
            column.retain(|_| {
                row += 1;
                keep[row - 1]
            });
        }
        self.restarts.clear();
    }

    fn name_strange_numbers(&mut self) {
        for (name, column) in self.names.iter().zip(&self.values) {
            let Some(first) = column.iter().position(|value| !value.is_finite()) else { continue };
            let n = column.iter().filter(|value| !value.is_finite()).count();
            self.warnings.push(format!(
                "`{}`, {}: column `{name}` is {} ({n} of {} numbers in it are not finite)",
                self.path.display(),
                self.place(first),
                column[first],
                column.len()
            ));
        }
    }
}

/// Which of the columns `names` is meant by a name or a number from 1.
pub(super) fn find(path: &Path, names: &[String], name: &str) -> Result<usize> {
    let by_name = || names.iter().position(|known| known == name);
    let by_number = || name.parse::<usize>().ok().filter(|n| (1..=names.len()).contains(n)).map(|n| n - 1);
    by_name().or_else(by_number).ok_or_else(|| {
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        // The names stand in the message already.
        let hint = if hint.starts_with("known") { String::new() } else { hint };
        let found = format!("the columns {}", names.join(", "));
        Error::file(path, "", format!("a column `{name}`"), found).with_hint(hint)
    })
}

/// A NumPy array `[row]` or `[row][column]` of numbers.
fn numpy(path: &Path, bytes: &[u8]) -> Result<Columns> {
    let wrong = |expected: &str, found: String| Error::file(path, "header", expected, found);
    let file = npyz::NpyFile::new(bytes).map_err(|error| wrong("a NumPy array", error.to_string()))?;
    let shape = file.shape().to_vec();
    let (n_rows, n_columns) = match shape.as_slice() {
        [rows] => (*rows, 1),
        [rows, columns] => (*rows, *columns),
        _ => return Err(wrong("an array with one or two axes", format!("the shape {shape:?}"))),
    };
    let promised = n_rows.checked_mul(n_columns).filter(|n| *n <= bytes.len() as u64);
    let Some(n) = promised.map(|n| n as usize) else {
        return Err(wrong("data as the header says", format!("a file too short for the shape {shape:?}"))
            .with_hint("the file is truncated"));
    };
    let fortran = file.order() == npyz::Order::Fortran;
    let kind = file.dtype();
    let mut flat = Vec::with_capacity(n);
    macro_rules! values {
        ($($number:ty),*) => {
            $(if flat.is_empty() && let Ok(reader) = npyz::NpyFile::new(bytes).expect("read above").data::<$number>() {
                for value in reader {
                    let value = value.map_err(|error| {
                        Error::file(path, format!("number {}", flat.len() + 1), "data as the header says", error.to_string())
                    })?;
                    flat.push(value as f64);
                }
            })*
        };
    }
    values!(f64, f32, i64, i32, u64, u32, i16, u16, i8, u8);
    if flat.len() != n || n == 0 {
        return Err(wrong("an array of numbers", format!("{} with the shape {shape:?}", kind.descr())));
    }
    let (n_rows, n_columns) = (n_rows as usize, n_columns as usize);
    let at =
        |row: usize, column: usize| if fortran { column * n_rows + row } else { row * n_columns + column };
    Ok(Columns {
        path: path.to_path_buf(),
        kind: TableKind::Numpy,
        names: (1..=n_columns).map(|column| column.to_string()).collect(),
        values: (0..n_columns).map(|column| (0..n_rows).map(|row| flat[at(row, column)]).collect()).collect(),
        lines: (1..=n_rows as u32).collect(),
        settings: Vec::new(),
        restarts: Vec::new(),
        warnings: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
