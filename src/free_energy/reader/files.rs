//! Which files are meant, and what they are.

use std::cmp::Ordering;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::Format;
use crate::error::{Error, Result};

/// How much of a file is looked at to find its format.
const BEGINNING: usize = 1 << 16;

/// Directories below this depth are not searched.
const DEEPEST: usize = 8;

/// Files as given, with the files of a known format (or of `format`) in place of each directory.
pub(super) fn expand(paths: &[PathBuf], format: Option<Format>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(in_directory(path, format)?);
        } else {
            require(path)?;
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        return Err(Error::invalid("files", "output files of simulations", "none"));
    }
    let mut known: Vec<PathBuf> = Vec::new();
    for file in &files {
        let real = file.canonicalize().unwrap_or_else(|_| file.clone());
        if known.contains(&real) {
            return Err(Error::file(file, "", "every file once", "it twice")
                .with_hint("samples that are counted twice make errors look smaller than they are"));
        }
        known.push(real);
    }
    Ok(files)
}

/// An error that explains a pattern which matched nothing.
fn require(path: &Path) -> Result<()> {
    let text = path.to_string_lossy();
    if !path.exists() && text.contains(['*', '?', '[', '{']) {
        let hint =
            "the shell replaces patterns only where they match something and are not in quotation marks";
        return Err(Error::file(path, "", "a file", "a pattern that matches none").with_hint(hint));
    }
    Ok(())
}

fn in_directory(directory: &Path, format: Option<Format>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    search(directory, 0, &mut files)?;
    files.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    let known = |file: &PathBuf| beginning(file).ok().as_deref().and_then(recognise);
    let known: Vec<Option<Format>> = files.par_iter().map(known).collect();
    let found: Vec<(PathBuf, Format)> = files
        .into_iter()
        .zip(known)
        .filter_map(|(file, known)| Some((file, known?)))
        .filter(|(_, known)| format.is_none_or(|format| format == *known))
        .collect();
    let mut formats: Vec<Format> = found.iter().map(|(_, format)| *format).collect();
    formats.dedup();
    formats.sort_by_key(|format| name(*format));
    formats.dedup();
    if formats.len() > 1 {
        let count = |format: &Format| {
            format!("{} of {}", found.iter().filter(|(_, known)| known == format).count(), name(*format))
        };
        let found = formats.iter().map(count).collect::<Vec<_>>().join(", ");
        return Err(Error::file(directory, "", "a directory with files of one format", found)
            .with_hint("choose with --format, or name the files"));
    }
    if found.is_empty() {
        let what = format.map_or("a known format".to_string(), |format| format!("format {}", name(format)));
        return Err(Error::file(directory, "", format!("a directory with files of {what}"), "none in it")
            .with_hint(LOOKED_FOR));
    }
    Ok(found.into_iter().map(|(file, _)| file).collect())
}

fn search(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory).map_err(Error::io("read", directory))? {
        let path = entry.map_err(Error::io("read", directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_string();
        // Hidden files, and what GROMACS and editors keep of a file that was overwritten.
        let is_backup = name.starts_with(['.', '#']) || name.ends_with('~') || name.ends_with(".bak");
        if is_backup {
            continue;
        }
        if path.is_dir() {
            if depth < DEEPEST {
                search(&path, depth + 1, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The beginning of a file, decompressed.
fn beginning(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic)?;
    let file = std::io::BufReader::new(magic.as_slice().chain(file));
    let mut content: Box<dyn Read> = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        _ => Box::new(file),
    };
    let (mut bytes, mut block) = (Vec::new(), vec![0; BEGINNING]);
    while bytes.len() < BEGINNING {
        match content.read(&mut block) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&block[..n]),
            Err(error) if bytes.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(bytes)
}

/// What [`recognise`] looks for, for messages.
pub(super) const LOOKED_FOR: &str = "looked for legends of dH/dλ and ΔH (gromacs), the banner of sander or pmemd \
     (amber), FepEnergy or NEW FEP WINDOW (namd), `Lambda State` with dU/dL and DelE (gomc), a header with `time` and \
     λ or energy columns (table), PAR1 (parquet); give --format to read it as one of them";

/// The format of a file by what stands in its beginning, never by its name.
pub(super) fn recognise(bytes: &[u8]) -> Option<Format> {
    if bytes.starts_with(b"PAR1") {
        return Some(Format::Parquet);
    }
    let beginning = String::from_utf8_lossy(&bytes[..bytes.len().min(BEGINNING)]);
    let lines = || beginning.lines().map(str::trim).take(400);
    let is_grace = |line: &str| line.starts_with('@') && (line.contains("legend") || line.contains("title"));
    let is_dhdl = |line: &str| {
        is_grace(line)
            && (line.contains("dH/d")
                || line.contains("xD\\f{}H")
                || line.contains("8D\\4H")
                || line.contains("ΔH"))
    };
    if lines().any(is_dhdl) {
        return Some(Format::Gromacs);
    }
    if lines().any(|line| line.starts_with('#') && (line.contains("Lambda State") || line.contains("DelE(")))
    {
        return Some(Format::Gomc);
    }
    if super::namd::is_format(beginning.as_bytes()) {
        return Some(Format::Namd);
    }
    if super::amber::is_format(beginning.as_bytes()) {
        return Some(Format::Amber);
    }
    super::table::is_table(&beginning).then_some(Format::Table)
}

/// Name of a format as the command line has it.
pub(super) fn name(format: Format) -> &'static str {
    match format {
        Format::Gromacs => "gromacs",
        Format::Amber => "amber",
        Format::Namd => "namd",
        Format::Gomc => "gomc",
        Format::Table => "table",
        Format::Parquet => "parquet",
    }
}

/// Order in which `window_9` comes before `window_10`.
pub(super) fn natural(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one, other);
    loop {
        let (Some(first), Some(second)) = (a.chars().next(), b.chars().next()) else {
            return a.len().cmp(&b.len()).then_with(|| one.cmp(other));
        };
        if first.is_ascii_digit() && second.is_ascii_digit() {
            let length = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
            let (digits_a, rest_a) = a.split_at(length(a));
            let (digits_b, rest_b) = b.split_at(length(b));
            let (number_a, number_b) = (digits_a.trim_start_matches('0'), digits_b.trim_start_matches('0'));
            match number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b)) {
                Ordering::Equal => (a, b) = (rest_a, rest_b),
                order => return order,
            }
        } else if first == second {
            (a, b) = (&a[first.len_utf8()..], &b[second.len_utf8()..]);
        } else {
            return first.cmp(&second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_ordered_as_numbers() {
        let mut names = ["w10/a", "w9/a", "w9/A", "w/a", "w09/b", "w10"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["w/a", "w9/A", "w9/a", "w09/b", "w10", "w10/a"]);
    }

    #[test]
    fn formats_are_known_by_content() {
        assert_eq!(recognise(b"PAR1\x15\x00"), Some(Format::Parquet));
        assert_eq!(recognise(b"# hi\n@ s0 legend \"dH/d\\xl\\f{} fep-lambda = 0\"\n"), Some(Format::Gromacs));
        assert_eq!(recognise(b"@ title \"RMSD\"\n0 1\n"), None);
        assert_eq!(
            recognise(b"#T = 298.0(K), Lambda State 8: (lambda Coulomb, lambda VDW) = (0,0.4)\n"),
            Some(Format::Gomc)
        );
        assert_eq!(recognise(b"#NEW FEP WINDOW: LAMBDA SET TO 0 LAMBDA2 0.1\n"), Some(Format::Namd));
        assert_eq!(
            recognise(b"\n     -----\n     Amber 16 PMEMD                2016\n"),
            Some(Format::Amber)
        );
        assert_eq!(recognise(b"time,fep-lambda,0.0,1.0\n0,0,0,2\n"), Some(Format::Table));
        assert_eq!(recognise(b"\x89HDF\r\n"), None);
        assert_eq!(recognise(b""), None);
        assert_eq!(recognise(b"Dear reader, time flies.\n"), None);
    }

    #[test]
    fn directories_are_searched_and_patterns_explained() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        let given = [home.path().to_path_buf()];
        assert!(expand(&given, None).unwrap_err().to_string().contains("none in it"));
        for name in ["w10/a.xvg", "w9/a.xvg", "w9/#a.xvg.1#", "w9/.a.xvg"] {
            write(name, "@ s0 legend \"dH/dl\"\n");
        }
        write("notes.txt", "nothing\n");
        let names = |files: Vec<PathBuf>| -> Vec<String> {
            files.iter().map(|file| file.strip_prefix(home.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(names(expand(&given, None).unwrap()), ["w9/a.xvg", "w10/a.xvg"]);
        write("x.csv", "time,fep-lambda,fep\n0,0,1\n");
        let both = expand(&given, None).unwrap_err().to_string();
        assert!(both.contains("2 of gromacs, 1 of table") && both.contains("--format"), "{both}");
        assert_eq!(names(expand(&given, Some(Format::Table)).unwrap()), ["x.csv"]);
        let twice = [home.path().join("x.csv"), home.path().join("w9/../x.csv")];
        assert!(expand(&twice, None).unwrap_err().to_string().contains("twice"));
        let pattern = expand(&[home.path().join("*.xvg")], None).unwrap_err().to_string();
        assert!(pattern.contains("pattern"), "{pattern}");
        assert!(expand(&[], None).is_err());
    }
}
