//! Comma-separated files of a run, with errors that name the line.

use crate::error::did_you_mean;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A file with a header and rows of equal length.
#[derive(Debug, Clone)]
pub struct CsvTable {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    lines: Vec<u64>,
}

impl CsvTable {
    /// Reads a file; `None` if it does not exist.
    pub fn read_if_exists(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
        let header: Vec<String> =
            reader.headers().map_err(|error| broken(path, &error))?.iter().map(String::from).collect();
        if header.iter().all(String::is_empty) {
            return Err(Error::file(path, "line 1", "a header with column names", "nothing"));
        }
        let (mut rows, mut lines) = (Vec::new(), Vec::new());
        for record in reader.records() {
            let record = record.map_err(|error| broken(path, &error))?;
            lines.push(record.position().map_or(0, csv::Position::line));
            rows.push(record.iter().map(String::from).collect());
        }
        Ok(Some(Self { path: path.to_path_buf(), header, rows, lines }))
    }

    /// Names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Number of rows below the header.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is such a column.
    pub fn has(&self, column: &str) -> bool {
        self.header.iter().any(|name| name == column)
    }

    fn place(&self, column: &str) -> Result<usize> {
        self.header.iter().position(|name| name == column).ok_or_else(|| {
            let found = self.header.join(",");
            Error::file(&self.path, "line 1", format!("a column `{column}`"), format!("`{found}`"))
                .with_hint(did_you_mean(column, self.header.iter().map(String::as_str)))
        })
    }

    /// A column of words.
    pub fn texts(&self, column: &str) -> Result<Vec<String>> {
        let place = self.place(column)?;
        Ok(self.rows.iter().map(|row| row[place].clone()).collect())
    }

    /// A column of numbers; an empty cell is not a number.
    pub fn numbers(&self, column: &str) -> Result<Vec<f64>> {
        let place = self.place(column)?;
        self.rows
            .iter()
            .zip(&self.lines)
            .map(|(row, line)| match row[place].as_str() {
                "" => Ok(f64::NAN),
                cell => cell.parse().map_err(|_| {
                    Error::file(
                        &self.path,
                        format!("line {line}"),
                        format!("a number in column `{column}`"),
                        format!("`{cell}`"),
                    )
                }),
            })
            .collect()
    }

    /// A column of numbers where the file has it.
    pub fn numbers_if_any(&self, column: &str) -> Result<Option<Vec<f64>>> {
        if self.has(column) { self.numbers(column).map(Some) } else { Ok(None) }
    }

    /// A square matrix with one row for each column of the header.
    pub fn square(&self) -> Result<Vec<f64>> {
        if self.rows.len() != self.header.len() {
            let (n_columns, n_rows) = (self.header.len(), self.rows.len());
            return Err(Error::file(
                &self.path,
                "",
                format!("{n_columns} rows as there are {n_columns} columns"),
                n_rows.to_string(),
            ));
        }
        let columns: Vec<Vec<f64>> =
            self.header.iter().map(|name| self.numbers(name)).collect::<Result<_>>()?;
        Ok((0..self.rows.len()).flat_map(|row| columns.iter().map(move |column| column[row])).collect())
    }
}

fn broken(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map(|position| format!("line {}", position.line())).unwrap_or_default();
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            Error::file(path, line, format!("{expected_len} cells"), len.to_string())
        }
        _ => Error::file(path, line, "comma-separated text", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<CsvTable> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        std::fs::write(&path, text).unwrap();
        CsvTable::read_if_exists(&path).map(Option::unwrap)
    }

    #[test]
    fn empty_cells_are_missing_values() {
        let table = read("step,loss\n1,0.5\n2,\n").unwrap();
        let loss = table.numbers("loss").unwrap();
        assert_eq!(loss[0], 0.5);
        assert!(loss[1].is_nan());
    }

    #[test]
    fn an_error_names_the_line_and_the_nearest_column() {
        let word = read("step,loss\n1,0.5\n2,abc\n").unwrap().numbers("loss").unwrap_err();
        assert_eq!(word.place(), "line 3");
        let short = read("step,loss\n1,0.5\n2\n").unwrap_err();
        assert_eq!(short.place(), "line 3");
        let name = read("step,loss\n").unwrap().numbers("los").unwrap_err();
        assert!(name.to_string().contains("did you mean `loss`?"), "{name}");
        assert_eq!(read("").unwrap_err().place(), "line 1");
        assert!(read("0,1\n1,0\n").unwrap().square().is_err());
    }
}
