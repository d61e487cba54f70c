//! Files that may be compressed.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// The content of a file; gzip and bzip2 are known by their first bytes, whatever the file is called.
///
/// A compressed file that ends too early gives what could be decompressed, as a log of a running simulation would,
/// and `true`. bzip2 has blocks of up to 900 kB, of which a part gives nothing: without a whole one there is an error.
pub fn read(path: &Path) -> Result<(Vec<u8>, bool)> {
    let raw = std::fs::read(path).map_err(Error::io("read", path))?;
    let mut bytes = Vec::new();
    let outcome = match raw.as_slice() {
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(raw.as_slice()).read_to_end(&mut bytes),
        [b'B', b'Z', b'h', ..] => bzip2::read::MultiBzDecoder::new(raw.as_slice()).read_to_end(&mut bytes),
        _ => return Ok((raw, false)),
    };
    match outcome {
        Ok(_) => Ok((bytes, false)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && !bytes.is_empty() => {
            Ok((bytes, true))
        }
        Err(error) => {
            let expected = "whole blocks of compressed data";
            Err(Error::file(path, "", expected, format!("damaged data: {error}")).with_hint(
                "the file was cut or changed, as when a copy is interrupted: copy or compress it again",
            ))
        }
    }
}
