//! Decompressed files.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::trajectory::compressed;

pub use crate::trajectory::lines::{Lines, number, numbers, plain_number, words};

/// A file in memory, decompressed.
#[derive(Debug, Clone)]
pub struct Text {
    /// Where it was.
    pub path: PathBuf,
    /// What stands in it.
    pub bytes: Vec<u8>,
}

impl Text {
    /// Reads a file; gzip and bzip2 are known by their first bytes, whatever the file is called.
    ///
    /// A compressed file that ends too early gives what could be decompressed, as a log of a running simulation
    /// would, and `true`.
    pub fn read(path: &Path) -> Result<(Self, bool)> {
        let (bytes, truncated) = compressed::read(path)?;
        Ok((Self { path: path.to_path_buf(), bytes }, truncated))
    }

    /// Lines with their numbers counted from 1, without line ends (`\n` or `\r\n`), and whether the line is complete:
    /// the last one may not be.
    pub fn lines(&self) -> Lines<'_> {
        Lines::new(&self.bytes)
    }

    /// An error at a line of this file.
    pub fn error(
        &self,
        line: u32,
        expected: impl Into<String>,
        found: impl Into<String>,
        hint: &str,
    ) -> Error {
        Error::File {
            path: self.path.clone(),
            place: format!("line {line}"),
            expected: expected.into(),
            found: found.into(),
            hint: hint.into(),
        }
    }
}

/// The temperature of a file that says `found` (or nothing) when the user said `given` (or nothing).
pub fn temperature(path: &Path, found: Option<f64>, given: Option<f64>) -> Result<f64> {
    let error = |expected: String, found: String, hint: &str| Error::File {
        path: path.to_path_buf(),
        place: String::new(),
        expected,
        found,
        hint: hint.into(),
    };
    match (found, given) {
        (Some(found), _) | (None, Some(found)) if !(found.is_finite() && found > 0.0) => {
            Err(error("a temperature above 0 K".into(), format!("{found} K"), ""))
        }
        (Some(found), Some(given)) if (found - given).abs() > 0.01 => Err(error(
            format!("a simulation at {given} K, the temperature given"),
            format!("one at {found} K"),
            "leave out --temperature, or analyse files of one temperature together",
        )),
        (Some(temperature), _) | (None, Some(temperature)) => Ok(temperature),
        (None, None) => Err(error(
            "a temperature".into(),
            "none in the file".into(),
            "give it with --temperature, for example --temperature 300",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Text {
        Text { path: "a.txt".into(), bytes: bytes.to_vec() }
    }

    #[test]
    fn lines_end_as_they_do_on_any_system_and_the_last_may_be_half() {
        let text = text(b"1 2\r\n3\n4");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines, [(1, &b"1 2"[..], true), (2, b"3", true), (3, b"4", false)]);
    }

    #[test]
    fn a_compressed_file_that_was_cut_gives_what_is_there() {
        use std::io::Write;
        let home = tempfile::tempdir().unwrap();
        let mut long = Vec::new();
        (0..200_000_u64).for_each(|i| writeln!(long, "{}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&long).unwrap();
        let mut bzip = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        bzip.write_all(&long).unwrap();
        for whole in [gzip.finish().unwrap(), bzip.finish().unwrap()] {
            let path = home.path().join("named_as_you_like.txt");
            std::fs::write(&path, &whole).unwrap();
            let (text, truncated) = Text::read(&path).unwrap();
            assert!(text.bytes == long && !truncated);
            std::fs::write(&path, &whole[..whole.len() * 3 / 4]).unwrap();
            let (text, truncated) = Text::read(&path).unwrap();
            assert!(truncated && long.starts_with(&text.bytes) && text.bytes.len() > long.len() / 4);
            // Of a first block that is not whole nothing can be read.
            std::fs::write(&path, &whole[..12]).unwrap();
            let error = Text::read(&path).unwrap_err();
            assert!(
                error.exit_code() == 2 && error.to_string().contains("copy or compress it again"),
                "{error}"
            );
        }
    }

    #[test]
    fn temperatures_must_agree() {
        let path = Path::new("a");
        assert_eq!(temperature(path, Some(300.0), Some(300.005)).unwrap(), 300.0);
        assert_eq!(temperature(path, None, Some(298.0)).unwrap(), 298.0);
        assert!(temperature(path, Some(300.0), Some(298.0)).unwrap_err().to_string().contains("298 K"));
        assert!(temperature(path, None, None).unwrap_err().to_string().contains("--temperature"));
        assert!(temperature(path, Some(-1.0), None).is_err());
    }
}
