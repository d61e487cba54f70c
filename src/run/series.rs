//! Columns of the frames of one simulation, as analyses want them: finite, and named in messages.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::trajectory::columns::{Columns, TableKind};
use crate::trajectory::plumed::read_colvar;

/// A table with one row per frame.
#[derive(Debug, Clone)]
pub struct Series {
    /// The file.
    pub path: PathBuf,
    /// The columns; numbers from the second on are for those without names.
    table: Columns,
    /// Ends of periodic variables, where the file has them.
    pub domains: HashMap<String, (f64, f64)>,
    /// Rows that are left out at the beginning.
    n_discarded: usize,
}

impl Series {
    /// Reads a file and leaves out a share of its rows at the beginning.
    ///
    /// Rows that a restarted PLUMED wrote again count once.
    pub fn read(path: &Path, discard: f64) -> Result<Self> {
        let mut table = Columns::read(path)?;
        let mut domains = HashMap::new();
        if table.kind == TableKind::Plumed {
            let colvar = read_colvar(path)?;
            (table.names, table.values, table.lines) = (colvar.fields, colvar.columns, colvar.lines);
            table.warnings = colvar.warnings;
            domains = colvar.domains;
        }
        let n_discarded = (discard * table.n_rows() as f64).floor() as usize;
        Ok(Self { path: path.to_path_buf(), table, domains, n_discarded })
    }

    /// Rows that are used.
    pub fn n_rows(&self) -> usize {
        self.table.n_rows() - self.n_discarded
    }

    /// Rows that are left out.
    pub fn n_discarded(&self) -> usize {
        self.n_discarded
    }

    /// Names of the columns.
    pub fn names(&self) -> &[String] {
        &self.table.names
    }

    /// What the reader noticed.
    pub fn warnings(&self) -> &[String] {
        &self.table.warnings
    }

    /// The name of a column that is meant by a name or number.
    pub fn name_of(&self, column: &str) -> Result<&str> {
        Ok(&self.table.names[self.table.index_of(column)?])
    }

    /// The rows of a column that are used, all finite.
    pub fn column(&self, name: &str) -> Result<&[f64]> {
        let index = self.table.index_of(name)?;
        let column = &self.table.values[index];
        let used = &column[self.n_discarded..];
        match used.iter().position(|value| !value.is_finite()) {
            None => Ok(used),
            Some(row) => Err(Error::file(
                &self.path,
                self.table.place(row + self.n_discarded),
                format!("a finite number in column `{}`", self.table.names[index]),
                used[row].to_string(),
            )
            .with_hint("remove the row, or leave the beginning out with --discard")),
        }
    }

    /// The sum of several columns.
    pub fn sum(&self, names: &[String]) -> Result<Vec<f64>> {
        let mut sum = vec![0.0; self.n_rows()];
        for name in names {
            sum.iter_mut().zip(self.column(name)?).for_each(|(sum, value)| *sum += value);
        }
        Ok(sum)
    }
}

/// Reads several files with one share to leave out; at least one row must be left in each.
pub fn read_all(paths: &[PathBuf], discard: f64) -> Result<Vec<Series>> {
    if !(0.0..1.0).contains(&discard) {
        let message = format!("{discard} is not a share of the samples");
        return Err(Error::config("discard", message, "give a number from 0 to below 1, for example 0.1"));
    }
    if paths.is_empty() {
        return Err(Error::config("FILES", "no file was given", "give one table per simulation"));
    }
    paths
        .iter()
        .enumerate()
        .map(|(index, path)| {
            if let Some(earlier) = paths[..index].iter().find(|earlier| *earlier == path) {
                let message = format!("`{}` is given twice", earlier.display());
                return Err(Error::config(
                    "FILES",
                    message,
                    "samples that count twice make errors too small",
                ));
            }
            Series::read(path, discard)
        })
        .collect()
}
