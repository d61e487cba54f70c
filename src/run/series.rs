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
        if path.is_dir() {
            return Err(Error::file(path, "", "a table", "a directory").with_hint("name the files in it"));
        }
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

    /// Where a row that is used stands in the file.
    pub fn place(&self, row: usize) -> String {
        self.table.place(row + self.n_discarded)
    }

    /// The rows of a column that are used, whatever numbers they are.
    pub fn numbers(&self, name: &str) -> Result<&[f64]> {
        Ok(&self.table.values[self.table.index_of(name)?][self.n_discarded..])
    }

    /// The rows of a column that are used, all finite.
    pub fn column(&self, name: &str) -> Result<&[f64]> {
        let used = self.numbers(name)?;
        match used.iter().position(|value| !value.is_finite()) {
            None => Ok(used),
            Some(row) => Err(Error::file(
                &self.path,
                self.place(row),
                format!("a finite number in column `{}`", self.name_of(name)?),
                used[row].to_string(),
            )
            .with_hint("remove the row, or leave the beginning out with --discard")),
        }
    }

    /// Whether another file has the same rows, more than one of them.
    fn has_rows_of(&self, other: &Self) -> bool {
        let same = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        self.table.n_rows() > 1
            && self.table.n_rows() == other.table.n_rows()
            && self.table.names == other.table.names
            && self.table.values.iter().zip(&other.table.values).all(same)
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

/// Several files, each simulation once.
#[derive(Debug)]
pub struct Distinct {
    /// Their tables.
    pub series: Vec<Series>,
    /// For each file that was given, the place of its table in `series`.
    pub place_of: Vec<usize>,
    /// One sentence for each file that was left out.
    pub warnings: Vec<String>,
}

/// Reads several files with one share to leave out; at least one row must be left in each.
///
/// Files that have the same rows as an earlier one are left out: samples that count twice make errors too small.
pub fn read_all(paths: &[PathBuf], discard: f64) -> Result<Distinct> {
    if !(0.0..1.0).contains(&discard) {
        let message = format!("{discard} is not a share of the samples");
        return Err(Error::config("discard", message, "give a number from 0 to below 1, for example 0.1"));
    }
    if paths.is_empty() {
        return Err(Error::config("FILES", "no file was given", "give one table per simulation"));
    }
    let mut distinct = Distinct { series: Vec::new(), place_of: Vec::new(), warnings: Vec::new() };
    for path in paths {
        let given = distinct.series.iter().position(|earlier: &Series| earlier.path == *path);
        if let Some(place) = given {
            distinct.warnings.push(format!("`{}` is given twice and was used once", path.display()));
            distinct.place_of.push(place);
            continue;
        }
        let series = Series::read(path, discard)?;
        if let Some(place) = distinct.series.iter().position(|earlier| earlier.has_rows_of(&series)) {
            distinct.warnings.push(format!(
                "`{}` has the same rows as `{}` and was left out",
                path.display(),
                distinct.series[place].path.display()
            ));
            distinct.place_of.push(place);
            continue;
        }
        distinct.place_of.push(distinct.series.len());
        distinct.series.push(series);
    }
    Ok(distinct)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_file_are_used_once_and_directories_are_no_tables() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let a = write("a.csv", "t,x\n0,1.0\n1,2.0\n2,4.0\n");
        let copy = write("copy.csv", "t,x\n0,1.00\n1,2\n2,4\n");
        let other = write("other.csv", "t,x\n0,1.0\n1,2.0\n2,4.5\n");
        let read = read_all(&[a.clone(), copy, other, a.clone()], 0.0).unwrap();
        assert_eq!((read.place_of, read.series.len()), (vec![0, 0, 1, 0], 2));
        assert!(read.warnings[0].contains("copy.csv") && read.warnings[1].contains("twice"));
        // A single row says nothing about where it comes from.
        let rows = [write("one.csv", "t,x\n0,1.0\n"), write("two.csv", "t,x\n0,1.0\n")];
        assert_eq!(read_all(&rows, 0.0).unwrap().series.len(), 2);
        let error = read_all(&[home.path().to_path_buf()], 0.0).unwrap_err();
        assert!(error.to_string().contains("a directory") && error.exit_code() == 2, "{error}");
    }
}
