//! DCD files that grow: frames are appended as a simulation goes, and a resumed run cuts off what came
//! after its checkpoint.
//!
//! The format is that of CHARMM without unit cells: 32-bit little-endian records between their lengths,
//! x, y and z of a frame in Å as three records of `f32`. The header counts the frames.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const ANGSTROM_PER_NM: f64 = 10.0;
/// CHARMM's unit of time in ps.
const AKMA_PS: f64 = 4.888_821e-2;
const TITLE: &[u8; 80] = b"Written by kirkwood. Coordinates in angstrom, no cell.                          ";
/// Header record, title record and number of atoms, each between two lengths of four bytes.
const HEADER_BYTES: u64 = (84 + 8) + (4 + 80 + 8) + (4 + 8);
/// Where the header counts frames.
const COUNT_AT: u64 = 8;

/// An open DCD file.
#[derive(Debug)]
pub struct DcdWriter {
    path: PathBuf,
    file: BufWriter<File>,
    n_atoms: usize,
    n_frames: u64,
}

impl DcdWriter {
    /// Begins a file, in place of one that is there.
    pub fn create(path: &Path, n_atoms: usize, frame_interval_ps: f64) -> Result<Self> {
        if n_atoms == 0 || n_atoms > i32::MAX as usize / 4 {
            return Err(Error::invalid("atoms of a DCD file", "at least one", n_atoms.to_string()));
        }
        let file = File::create(path).map_err(Error::io("write", path))?;
        let mut writer = Self { path: path.to_path_buf(), file: BufWriter::new(file), n_atoms, n_frames: 0 };
        let mut control = [0_i32; 20];
        (control[1], control[2], control[19]) = (1, 1, 24);
        control[9] = ((frame_interval_ps / AKMA_PS) as f32).to_bits() as i32;
        let mut header = b"CORD".to_vec();
        header.extend(control.iter().flat_map(|value| value.to_le_bytes()));
        let mut title = 1_i32.to_le_bytes().to_vec();
        title.extend_from_slice(TITLE);
        for content in [header, title, (n_atoms as i32).to_le_bytes().to_vec()] {
            writer.record(&content)?;
        }
        Ok(writer)
    }

    /// Opens a file that [`DcdWriter::create`] began and keeps its first `n_frames` frames.
    pub fn resume(path: &Path, n_atoms: usize, n_frames: u64) -> Result<Self> {
        let mut file = File::options().read(true).write(true).open(path).map_err(Error::io("write", path))?;
        let mut header = vec![0; HEADER_BYTES as usize];
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let needed = HEADER_BYTES + n_frames * bytes_of_frame(n_atoms);
        if length < needed {
            let expected = format!("{n_frames} frames of {n_atoms} atoms, as the checkpoint says");
            return Err(Error::file(path, "", expected, format!("{length} bytes instead of {needed}")));
        }
        file.read_exact(&mut header).map_err(Error::io("read", path))?;
        let at = HEADER_BYTES as usize - 8;
        if &header[4..8] != b"CORD" || header[at..at + 4] != (n_atoms as i32).to_le_bytes() {
            return Err(Error::file(path, "", format!("a DCD file of {n_atoms} atoms"), "something else"));
        }
        file.set_len(needed).map_err(Error::io("write", path))?;
        file.seek(SeekFrom::End(0)).map_err(Error::io("write", path))?;
        Ok(Self { path: path.to_path_buf(), file: BufWriter::new(file), n_atoms, n_frames })
    }

    /// How many frames the file has.
    pub fn n_frames(&self) -> u64 {
        self.n_frames
    }

    /// Adds a frame, `[atom][xyz]` in nm.
    pub fn append(&mut self, positions_nm: &[f64]) -> Result<()> {
        if positions_nm.len() != 3 * self.n_atoms {
            let expected = format!("{} numbers", 3 * self.n_atoms);
            return Err(Error::invalid("frame of a DCD file", expected, positions_nm.len().to_string()));
        }
        let mut content = vec![0; 4 * self.n_atoms];
        for axis in 0..3 {
            let values = positions_nm[axis..].iter().step_by(3);
            for (to, from) in content.chunks_exact_mut(4).zip(values) {
                to.copy_from_slice(&((from * ANGSTROM_PER_NM) as f32).to_le_bytes());
            }
            self.record(&content)?;
        }
        self.n_frames += 1;
        Ok(())
    }

    /// Brings everything to the disk; the header then counts all frames.
    pub fn sync(&mut self) -> Result<()> {
        let mut work = || -> std::io::Result<()> {
            // Counts beyond the format's 32 bits leave the count open, which readers take from the size.
            let count = i32::try_from(self.n_frames).unwrap_or(0);
            self.file.seek(SeekFrom::Start(COUNT_AT))?;
            self.file.write_all(&count.to_le_bytes())?;
            self.file.seek(SeekFrom::End(0))?;
            self.file.get_ref().sync_data()
        };
        work().map_err(Error::io("write", &self.path))
    }

    fn record(&mut self, content: &[u8]) -> Result<()> {
        let length = (content.len() as i32).to_le_bytes();
        let mut write =
            || [&length[..], content, &length[..]].iter().try_for_each(|part| self.file.write_all(part));
        write().map_err(Error::io("write", &self.path))
    }
}

fn bytes_of_frame(n_atoms: usize) -> u64 {
    3 * (4 * n_atoms as u64 + 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::{LengthUnit, read_in_blocks};
    use std::num::NonZeroUsize;

    fn frame(idx: usize) -> Vec<f64> {
        (0..15).map(|i| 0.125 * i as f64 - 0.25 * idx as f64).collect()
    }

    #[test]
    fn what_is_written_in_parts_is_read_by_the_reader_of_all_formats() {
        let home = tempfile::tempdir().unwrap();
        let (cut, whole) = (home.path().join("cut.dcd"), home.path().join("whole.dcd"));
        let mut writer = DcdWriter::create(&cut, 5, 1.0).unwrap();
        (0..4).for_each(|idx| writer.append(&frame(idx)).unwrap());
        writer.sync().unwrap();
        // A run that is killed here leaves two frames and a half behind its checkpoint of two frames.
        (7..9).for_each(|idx| writer.append(&frame(idx)).unwrap());
        writer.sync().unwrap();
        drop(writer);
        let bytes = std::fs::read(&cut).unwrap();
        std::fs::write(&cut, &bytes[..bytes.len() - 50]).unwrap();
        let mut writer = DcdWriter::resume(&cut, 5, 2).unwrap();
        (2..6).for_each(|idx| writer.append(&frame(idx)).unwrap());
        writer.sync().unwrap();
        assert_eq!(writer.n_frames(), 6);

        let mut writer = DcdWriter::create(&whole, 5, 1.0).unwrap();
        (0..6).for_each(|idx| writer.append(&frame(idx)).unwrap());
        writer.sync().unwrap();
        assert_eq!(std::fs::read(&cut).unwrap(), std::fs::read(&whole).unwrap());
        let mut read = Vec::new();
        let mut take = |positions_nm: &[f64]| {
            read.extend_from_slice(positions_nm);
            Ok(())
        };
        read_in_blocks(&cut, 5, LengthUnit::Nm, NonZeroUsize::MIN, &mut take).unwrap();
        let expected: Vec<f64> = (0..6).flat_map(frame).collect();
        assert_eq!(read.len(), expected.len());
        // These coordinates are exact in f32; Å to nm leaves rounding in f64.
        assert!(read.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-14));
    }

    #[test]
    fn a_file_that_is_shorter_than_its_checkpoint_or_of_other_atoms_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.dcd");
        let mut writer = DcdWriter::create(&path, 5, 1.0).unwrap();
        writer.append(&frame(0)).unwrap();
        writer.sync().unwrap();
        assert!(writer.append(&[0.0; 12]).is_err());
        drop(writer);
        assert!(DcdWriter::resume(&path, 5, 2).unwrap_err().to_string().contains("2 frames"));
        assert!(DcdWriter::resume(&path, 4, 1).unwrap_err().to_string().contains("DCD file of 4 atoms"));
        assert!(DcdWriter::resume(&path, 5, 1).is_ok());
    }
}
