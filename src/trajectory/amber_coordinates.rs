//! AMBER coordinate files in ASCII: inpcrd, rst7, restrt.
//!
//! A title, the number of atoms (and the time in ps), then columns of 12 characters, six to a line:
//! positions in Å, velocities in Å per 1/20.455 ps where there are any, and box edges and angles where there are any.
//! Which parts a file has follows from its number of lines.

use super::collector::Collector;
use crate::error::{Error, Result};
use crate::system::box_vectors_nm;
use std::path::Path;

const NM_PER_ANGSTROM: f64 = 0.1;
/// Velocities of the file in Å/ps.
const VELOCITY_UNIT: f64 = 20.455;

/// The extensions of such files, in lower case; some programs give them to NetCDF files as well.
pub(super) const EXTENSIONS: [&str; 5] = ["inpcrd", "rst7", "rst", "restrt", "crd"];

/// What such a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct AmberCoordinates {
    /// The first line.
    pub title: String,
    /// ps
    pub time_ps: Option<f64>,
    /// `[atom][xyz]`, nm.
    pub positions_nm: Vec<f64>,
    /// `[atom][xyz]`, nm/ps.
    pub velocities_nm_per_ps: Option<Vec<f64>>,
    /// Rows a, b, c, nm.
    pub box_vectors_nm: Option<[[f64; 3]; 3]>,
}

impl AmberCoordinates {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::file(path, "", "AMBER coordinates in ASCII", "bytes that are not text"))?;
        Self::parse(path, &text)
    }

    /// Reads a text; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let count_line = lines.get(1).copied().unwrap_or_default();
        let mut words = count_line.split_whitespace();
        let n_atoms = words.next().and_then(|word| word.parse().ok()).filter(|&n: &usize| n > 0);
        let Some(n_atoms) = n_atoms else {
            return Err(Error::file(path, "line 2", "the number of atoms", format!("`{count_line}`")));
        };
        let time_ps = words.next().and_then(|word| word.parse().ok());
        let n_lines = n_atoms.div_ceil(2);
        let (has_velocities, has_box) = parts(path, &lines, n_atoms)?;

        let positions = numbers(path, &lines, 2, 3 * n_atoms)?;
        let positions_nm = positions.into_iter().map(|x| x * NM_PER_ANGSTROM).collect();
        let velocities_nm_per_ps = match has_velocities {
            true => {
                let velocities = numbers(path, &lines, 2 + n_lines, 3 * n_atoms)?;
                Some(velocities.into_iter().map(|v| v * (VELOCITY_UNIT * NM_PER_ANGSTROM)).collect())
            }
            false => None,
        };
        let box_vectors_nm = match has_box {
            true => Some(periodic_box(path, &lines)?),
            false => None,
        };
        let title = lines[0].trim().to_string();
        Ok(Self { title, time_ps, positions_nm, velocities_nm_per_ps, box_vectors_nm })
    }
}

/// Whether there are velocities, and a box.
fn parts(path: &Path, lines: &[&str], n_atoms: usize) -> Result<(bool, bool)> {
    let n_lines = n_atoms.div_ceil(2);
    match lines.len().checked_sub(2 + n_lines) {
        Some(0) => Ok((false, false)),
        // With one or two atoms a line of velocities and a line of a box are both one line.
        Some(1) if n_atoms <= 2 => {
            let last = numbers_of_line(path, lines, lines.len() - 1)?;
            let is_box = last.len() == 6 && (n_atoms == 1 || last[3..].iter().all(|&angle| angle >= 30.0));
            Ok((!is_box, is_box))
        }
        Some(1) => Ok((false, true)),
        Some(extra) if extra == n_lines => Ok((true, false)),
        Some(extra) if extra == n_lines + 1 => Ok((true, true)),
        _ => {
            let expected = format!(
                "{} lines for the positions of {n_atoms} atoms, {} with velocities, one more with a box",
                2 + n_lines,
                2 + 2 * n_lines
            );
            Err(Error::file(
                path,
                format!("line {}", lines.len()),
                expected,
                format!("{} lines", lines.len()),
            )
            .with_hint("the file may be truncated"))
        }
    }
}

fn numbers(path: &Path, lines: &[&str], first_line: usize, count: usize) -> Result<Vec<f64>> {
    let mut numbers = Vec::with_capacity(count);
    for line in first_line..first_line + count.div_ceil(6) {
        let found = numbers_of_line(path, lines, line)?;
        let expected = (count - numbers.len()).min(6);
        if found.len() != expected {
            let place = format!("line {}", line + 1);
            return Err(Error::file(path, place, format!("{expected} numbers"), found.len().to_string()));
        }
        numbers.extend(found);
    }
    Ok(numbers)
}

/// The numbers of a line, counted from 0, in columns of 12 characters.
fn numbers_of_line(path: &Path, lines: &[&str], line: usize) -> Result<Vec<f64>> {
    let bad = |found: &str| {
        let place = format!("line {}", line + 1);
        Error::file(path, place, "finite numbers in columns of 12 characters", format!("`{found}`"))
    };
    let text = lines.get(line).map_or("", |text| text.trim_end());
    if !text.is_ascii() {
        return Err(bad(text));
    }
    (0..text.len())
        .step_by(12)
        .map(|start| {
            let field = text[start..text.len().min(start + 12)].trim();
            field.parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(|| bad(field))
        })
        .collect()
}

/// The last line: three edges in Å and three angles in degrees, 90° where they are left out.
fn periodic_box(path: &Path, lines: &[&str]) -> Result<[[f64; 3]; 3]> {
    let found = numbers_of_line(path, lines, lines.len() - 1)?;
    let edges_and_angles = match found[..] {
        [a, b, c] => Some(([a, b, c], [90.0; 3])),
        [a, b, c, alpha, beta, gamma] => Some(([a, b, c], [alpha, beta, gamma])),
        _ => None,
    };
    edges_and_angles
        .and_then(|(edges, angles)| box_vectors_nm(edges.map(|edge| edge * NM_PER_ANGSTROM), angles))
        .ok_or_else(|| {
            let place = format!("line {}", lines.len());
            Error::file(path, place, "edges and angles of a box", format!("{found:?}"))
        })
}

/// Errors unless the file has `n_atoms` atoms; it has one frame.
pub(super) fn inspect(path: &Path, n_atoms: usize) -> Result<usize> {
    let found = AmberCoordinates::read(path)?;
    super::collector::check_frame(path, 0, n_atoms, &found.positions_nm)?;
    Ok(1)
}

/// Passes the positions to the collector.
pub(super) fn read(path: &Path, collector: &mut Collector<'_>) -> Result<usize> {
    if collector.wants_next() {
        collector.push(path, 0, &AmberCoordinates::read(path)?.positions_nm)?;
    } else {
        collector.skip();
    }
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(n_atoms: usize, n_values: usize, last: &str) -> String {
        let mut text = format!("a title\n{n_atoms:5}  0.5000000E+01\n");
        for start in (0..3 * n_atoms * n_values).step_by(3 * n_atoms) {
            for (idx, value) in (start..start + 3 * n_atoms).enumerate() {
                text += &format!("{:12.7}", -100.5 + value as f64);
                if idx % 6 == 5 || idx + 1 == 3 * n_atoms {
                    text += "\n";
                }
            }
        }
        text + last
    }

    fn parse(text: &str) -> Result<AmberCoordinates> {
        AmberCoordinates::parse(Path::new("a.inpcrd"), text)
    }

    #[test]
    fn positions_velocities_and_box_are_told_apart_by_the_number_of_lines() {
        let lengths = "  30.0000000  40.0000000  50.0000000  90.0000000  90.0000000  90.0000000\n";
        for n_atoms in [1, 2, 3, 4, 7] {
            for (n_values, last) in [(1, ""), (2, ""), (1, lengths), (2, lengths)] {
                let found = parse(&file(n_atoms, n_values, last)).expect("a good file");
                assert_eq!(found.positions_nm.len(), 3 * n_atoms);
                assert!((found.positions_nm[0] + 10.05).abs() < 1e-12);
                let velocities = found.velocities_nm_per_ps;
                assert_eq!(velocities.is_some(), n_values == 2, "{n_atoms} atoms {last}");
                let expected = 2.0455 * (-100.5 + 3.0 * n_atoms as f64);
                assert!(velocities.is_none_or(|velocities| (velocities[0] - expected).abs() < 1e-9));
                assert_eq!(found.box_vectors_nm.map(|rows| rows[1][1]), (!last.is_empty()).then_some(4.0));
                assert_eq!(found.time_ps, Some(5.0));
            }
        }
    }

    #[test]
    fn broken_files_are_located() {
        let good = file(7, 1, "");
        let error = |text: &str| parse(text).expect_err("a broken file").to_string();
        assert!(error(&good[..good.len() - 40]).contains("truncated"));
        assert!(error(&good[..good.len() - 20]).contains("line 6"));
        assert!(error(&good[..60]).contains("truncated"));
        assert!(error(&good.replacen("-98.5000000", "***********", 1)).contains("line 3"));
        assert!(error("title\nmany\n").contains("line 2"));
        assert!(error("").contains("line 2"));
    }
}
