//! Tables as text: CSV of alchemlyb (`to_csv`), kirkwood's `u_kn_*.csv`, plain tables.
//!
//! Cells are separated by commas, semicolons, tabs or blanks; names may stand in quotation marks; lines that begin
//! with `#` are comments, of which `# temperature: 300` and `# energy_unit: kJ/mol` are understood. Two tables of the
//! same samples, one with energies and one with derivatives, become one series.

use super::damage::{Damage, looks_cut, shown};
use super::frame::{Columns, Frame};
use super::windows;
use super::{Format, Series, Text, text};
use crate::error::Result;

/// Whether a text begins as a table of samples.
pub(super) fn is_table(beginning: &str) -> bool {
    let mut lines =
        beginning.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(header) = lines.next() else { return false };
    let separator = separator(header.as_bytes());
    Columns::new(&names(header, separator)).hold_samples()
        && lines.next().is_none_or(|row| cells(row.as_bytes(), separator, &mut Vec::new()).is_ok())
}

pub(super) fn read(files: &[Text], temperature_k: Option<f64>) -> Result<Vec<Series>> {
    let frames: Vec<Frame> = files.iter().map(frame).collect::<Result<_>>()?;
    let numbered = windows::of(&frames)?;
    let series = |(frame, numbered): (&Frame, &Option<_>)| {
        frame.series(Format::Table, temperature_k, numbered.as_ref())
    };
    frames.iter().zip(&numbered).map(series).collect::<Result<Vec<_>>>().map(|all| all.concat())
}

/// Reads a table.
pub(super) fn frame(file: &Text) -> Result<Frame> {
    let mut frame = Frame { path: file.path.clone(), ..Frame::default() };
    let mut header: Option<(&[u8], u8)> = None;
    let mut damage = Damage::new(file);
    let (mut row, mut previous) = (Vec::new(), None);
    for (number, line, complete) in file.lines() {
        let line = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(line).trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            comment(&mut frame, line);
            continue;
        }
        let Some((names_line, separator)) = header else {
            let separator = separator(line);
            frame.names = names(&String::from_utf8_lossy(line), separator);
            header = Some((line, separator));
            continue;
        };
        if line == names_line {
            let path = file.path.display();
            frame
                .warnings
                .push(format!("`{path}`, line {number}: the header is repeated, a table was appended"));
            damage.header();
            continue;
        }
        let expected = || format!("{} cells with numbers", frame.names.len());
        if let Err(word) = cells(line, separator, &mut row) {
            damage.bad(number, expected(), shown(word))?;
        } else if row.len() != frame.names.len() {
            damage.bad(number, expected(), row.len().to_string())?;
        } else if !complete && looks_cut(line, previous, |byte| *byte == separator) {
            damage.bad(number, "a whole line", "one without an end")?;
        } else {
            damage.good();
            if frame.values.is_empty() {
                frame.values.reserve((file.bytes.len() / (line.len() + 1) + 1) * row.len());
            }
            frame.values.extend_from_slice(&row);
            frame.lines.push(number);
            previous = Some(line);
        }
    }
    if frame.lines.is_empty() {
        damage.warnings()?;
        let found = if header.is_none() { "an empty file" } else { "a header alone" };
        return Err(file.error(1, "a table with a header and rows", found, super::frame::HINT));
    }
    frame.warnings.extend(damage.warnings()?);
    Ok(frame)
}

/// `# temperature: 300` and `# energy_unit: kJ/mol`.
fn comment(frame: &mut Frame, line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    let Some((key, value)) = line.trim_start_matches('#').split_once([':', '=']) else { return };
    let value = value.trim();
    match key.trim().to_lowercase().as_str() {
        "temperature" | "temperature_k" | "t" => {
            frame.temperature_k = value.trim_end_matches('K').trim().parse().ok().or(frame.temperature_k);
        }
        "energy_unit" | "unit" => frame.unit = Some(value.to_string()),
        _ => {}
    }
}

/// The separator of a header: of the marks outside of quotation marks and brackets, the most frequent.
fn separator(header: &[u8]) -> u8 {
    let (mut depth, mut quoted) = (0_i32, false);
    let mut counts = [0_usize; 3];
    let marks = [b',', b';', b'\t'];
    for byte in header {
        match byte {
            b'"' => quoted = !quoted,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ if quoted || depth > 0 => {}
            _ => marks
                .iter()
                .zip(&mut counts)
                .filter(|(mark, _)| *mark == byte)
                .for_each(|(_, count)| *count += 1),
        }
    }
    let best = (0..3).max_by_key(|index| (counts[*index], 3 - index)).unwrap_or(0);
    if counts[best] > 0 { marks[best] } else { b' ' }
}

/// Names of columns.
fn names(header: &str, separator: u8) -> Vec<String> {
    let separator = separator as char;
    let (mut depth, mut quoted) = (0_i32, false);
    let mut all = vec![String::new()];
    for letter in header.trim().chars() {
        match letter {
            '"' => {
                quoted = !quoted;
                continue;
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        let is_end = letter == separator || (separator == ' ' && letter == '\t');
        if is_end && !quoted && depth <= 0 {
            all.push(String::new());
        } else if let Some(name) = all.last_mut() {
            name.push(letter);
        }
    }
    if separator == ' ' {
        all.retain(|name| !name.is_empty());
    }
    all.iter().map(|name| name.trim().to_string()).collect()
}

/// The numbers of a row, NaN for an empty cell; the first cell that is none.
fn cells<'a>(line: &'a [u8], separator: u8, row: &mut Vec<f64>) -> std::result::Result<(), &'a [u8]> {
    if separator == b' ' {
        return text::numbers(line, row);
    }
    row.clear();
    for cell in line.split(|byte| *byte == separator) {
        let cell = cell.trim_ascii();
        let cell = cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")).unwrap_or(cell);
        row.push(match cell {
            b"" | b"NA" | b"null" | b"None" => f64::NAN,
            _ => text::number(cell).ok_or(cell)?,
        });
    }
    Ok(())
}
