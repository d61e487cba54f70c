//! u_kn in a Parquet file: a row for each sample, a column of floating-point numbers for each state.
//!
//! The matrix is wanted several times and by stretches of samples, which compressed pages do not give: the
//! columns are unpacked once, row group by row group, into a temporary file of plain numbers that is read from
//! then on and vanishes with this value.

use super::npy::{read_exact_at, write_all_at};
use super::source::EnergySource;
use crate::error::{Error, Result};
use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows that are unpacked together.
const ROWS: usize = 1 << 14;

/// A matrix of reduced energies that came from a Parquet file.
pub struct ParquetEnergies {
    names: Vec<String>,
    n_samples: usize,
    spool: Spool,
}

impl ParquetEnergies {
    /// Unpacks the columns that hold floating-point numbers and are no index of a pandas table.
    pub fn open(path: &Path) -> Result<Self> {
        let bad =
            |error: parquet::errors::ParquetError| Error::file(path, "", "a Parquet file", error.to_string());
        let file = File::open(path).map_err(Error::io("read", path))?;
        let reader = SerializedFileReader::new(file).map_err(bad)?;
        let metadata = reader.metadata().file_metadata();
        let schema = metadata.schema_descr();
        let index = index_columns(metadata.key_value_metadata());
        let columns: Vec<usize> = (0..schema.num_columns())
            .filter(|&i| matches!(schema.column(i).physical_type(), Type::DOUBLE | Type::FLOAT))
            .filter(|&i| !index.contains(&schema.column(i).name().to_string()))
            .collect();
        let names = columns.iter().map(|&i| schema.column(i).name().to_string()).collect();
        let n_samples = usize::try_from(metadata.num_rows()).unwrap_or(0);
        let spool = Spool::new()?;
        let mut first = 0;
        for group in 0..reader.num_row_groups() {
            let rows = reader.get_row_group(group).map_err(bad)?;
            for (state, &column) in columns.iter().enumerate() {
                let at = state * n_samples + first;
                let maximum = schema.column(column).max_def_level();
                match rows.get_column_reader(column).map_err(bad)? {
                    ColumnReader::DoubleColumnReader(values) => {
                        unpack(values, maximum, |i, values| spool.write(at + i, values)).map_err(bad)??;
                    }
                    ColumnReader::FloatColumnReader(values) => {
                        unpack(values, maximum, |i, values| spool.write(at + i, values)).map_err(bad)??;
                    }
                    _ => {}
                }
            }
            first += usize::try_from(rows.metadata().num_rows()).unwrap_or(0);
        }
        Ok(Self { names, n_samples, spool })
    }

    /// Names of the columns: the states.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// All energies, `[state][sample]`.
    pub fn load(&self) -> Result<Vec<f64>> {
        let mut values = vec![0.0; self.names.len() * self.n_samples];
        self.spool.read(0, &mut values)?;
        Ok(values)
    }
}

impl EnergySource for ParquetEnergies {
    fn n_states(&self) -> usize {
        self.names.len()
    }

    fn n_samples(&self) -> usize {
        self.n_samples
    }

    fn read(&self, samples: Range<usize>, out: &mut [f64]) -> Result<()> {
        for (state, row) in out.chunks_exact_mut(samples.len().max(1)).enumerate() {
            self.spool.read(state * self.n_samples + samples.start, row)?;
        }
        Ok(())
    }
}

/// Passes the numbers of a column on, with the row of the first; a missing one is NaN.
fn unpack<T: DataType>(
    mut column: ColumnReaderImpl<T>,
    present: i16,
    mut pass: impl FnMut(usize, &[f64]) -> Result<()>,
) -> std::result::Result<Result<()>, parquet::errors::ParquetError>
where
    T::T: Into<f64> + Copy,
{
    let (mut values, mut levels, mut numbers, mut row) = (Vec::new(), Vec::new(), Vec::new(), 0);
    loop {
        values.clear();
        levels.clear();
        let (n_rows, _, _) = column.read_records(ROWS, Some(&mut levels), None, &mut values)?;
        if n_rows == 0 {
            return Ok(Ok(()));
        }
        numbers.clear();
        if levels.len() == n_rows {
            let mut found = values.iter();
            let number = |level: &i16| if *level == present { found.next() } else { None };
            numbers.extend(levels.iter().map(number).map(|u| u.map_or(f64::NAN, |&u| u.into())));
        } else {
            numbers.extend(values.iter().map(|&u| -> f64 { u.into() }));
        }
        if let Err(error) = pass(row, &numbers) {
            return Ok(Err(error));
        }
        row += n_rows;
    }
}

/// Columns that a pandas table calls its index.
fn index_columns(metadata: Option<&Vec<parquet::file::metadata::KeyValue>>) -> Vec<String> {
    let pandas = metadata.into_iter().flatten().find(|entry| entry.key == "pandas");
    let text = pandas.and_then(|entry| entry.value.as_deref()).unwrap_or("");
    let description: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let names = description["index_columns"].as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str().map(String::from)).collect()
}

/// A temporary file of numbers.
struct Spool {
    path: PathBuf,
    file: File,
}

impl Spool {
    fn new() -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kirkwood-{}-{number}.u_kn", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        Ok(Self { file: file.map_err(Error::io("write", &path))?, path })
    }

    fn write(&self, first: usize, values: &[f64]) -> Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|u| u.to_le_bytes()).collect();
        write_all_at(&self.file, &bytes, (first * 8) as u64).map_err(Error::io("write", &self.path))
    }

    fn read(&self, first: usize, out: &mut [f64]) -> Result<()> {
        let mut bytes = vec![0; out.len().min(ROWS) * 8];
        for (i, piece) in out.chunks_mut(ROWS).enumerate() {
            let bytes = &mut bytes[..piece.len() * 8];
            let at = ((first + i * ROWS) * 8) as u64;
            read_exact_at(&self.file, bytes, at).map_err(Error::io("read", &self.path))?;
            for (u, bytes) in piece.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *u = f64::from_le_bytes(*bytes);
            }
        }
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Nothing is lost if it stays: the system clears its temporary files.
        let _ = std::fs::remove_file(&self.path);
    }
}
