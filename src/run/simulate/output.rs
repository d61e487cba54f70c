//! Files that grow while a simulation runs, and are cut back to its checkpoint when it is resumed.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A table in CSV to which rows are added.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
}

impl Table {
    /// Begins a table with these columns, in place of one that is there.
    pub fn create(path: &Path, columns: &str) -> Result<Self> {
        let file = File::create(path).map_err(Error::io("write", path))?;
        let mut table = Self { path: path.to_path_buf(), file: BufWriter::new(file), length: 0 };
        table.row(columns)?;
        Ok(table)
    }

    /// Opens a table and keeps its first `length` bytes.
    pub fn resume(path: &Path, length: u64) -> Result<Self> {
        let mut file = File::options().write(true).open(path).map_err(Error::io("write", path))?;
        let found = file.metadata().map_err(Error::io("read", path))?.len();
        if found < length {
            let expected = format!("{length} bytes, as the checkpoint says");
            return Err(Error::file(path, "", expected, format!("{found}")));
        }
        file.set_len(length).map_err(Error::io("write", path))?;
        file.seek(SeekFrom::End(0)).map_err(Error::io("write", path))?;
        Ok(Self { path: path.to_path_buf(), file: BufWriter::new(file), length })
    }

    /// Adds a row; the line break is added here.
    pub fn row(&mut self, row: &str) -> Result<()> {
        let mut write = || self.file.write_all(row.as_bytes()).and_then(|()| self.file.write_all(b"\n"));
        write().map_err(Error::io("write", &self.path))?;
        self.length += row.len() as u64 + 1;
        Ok(())
    }

    /// Brings everything to the disk and says how long the file is.
    pub fn sync(&mut self) -> Result<u64> {
        let mut work = || self.file.flush().and_then(|()| self.file.get_ref().sync_data());
        work().map_err(Error::io("write", &self.path))?;
        Ok(self.length)
    }
}

/// A number as tables hold it, with six decimals: what is averaged is what is written, so a resumed run
/// reads back the same bits.
pub fn as_written(value: f64) -> f64 {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded.is_finite() { rounded } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_cut_back_to_its_checkpoint() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.csv");
        let mut table = Table::create(&path, "time_ps,x").unwrap();
        table.row("1,2").unwrap();
        let length = table.sync().unwrap();
        table.row("2,3").unwrap();
        table.sync().unwrap();
        drop(table);
        let mut table = Table::resume(&path, length).unwrap();
        table.row("2,4").unwrap();
        table.sync().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "time_ps,x\n1,2\n2,4\n");
        assert!(Table::resume(&path, 1000).unwrap_err().to_string().contains("checkpoint"));
    }

    #[test]
    fn what_is_written_reads_back_to_the_same_bits() {
        for value in [-98.240_123_456_789, 1e-9, 4096.5, -1e12] {
            let written = as_written(value);
            assert_eq!(written.to_string().parse::<f64>().unwrap(), written);
            assert!((written - value).abs() <= 0.5e-6 + 1e-9 * value.abs());
        }
    }
}
