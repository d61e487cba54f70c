//! Tables written as text.

use std::path::Path;

use super::super::lines::{Lines, number, numbers, words};
use super::{Columns, TableKind};
use crate::error::{Error, Result};

/// Reads a table that is text.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Columns> {
    let kind = recognise(bytes);
    let mut reader = Reader::new(path, kind, separator(kind, bytes));
    for (number, line, complete) in Lines::new(bytes) {
        if !reader.line(number, line.trim_ascii(), complete)? {
            break;
        }
    }
    reader.finish()
}

/// Lines that are not blank, trimmed; enough of them to see what a file is.
fn beginning(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).take(1000)
}

fn recognise(bytes: &[u8]) -> TableKind {
    if beginning(bytes).any(|line| line.starts_with(b"#! FIELDS")) {
        return TableKind::Plumed;
    }
    if beginning(bytes).any(|line| line.starts_with(b"@")) {
        return TableKind::Xvg;
    }
    match beginning(bytes).find(|line| !line.starts_with(b"#")) {
        Some(line) if line.contains(&b',') || line.contains(&b';') => TableKind::Csv,
        _ => TableKind::Plain,
    }
}

fn separator(kind: TableKind, bytes: &[u8]) -> Option<u8> {
    let first = beginning(bytes).find(|line| !line.starts_with(b"#")).unwrap_or_default();
    (kind == TableKind::Csv).then(|| if first.contains(&b';') { b';' } else { b',' })
}

/// A number in a cell; an empty one is NaN.
fn cell_number(cell: &[u8]) -> Option<f64> {
    let cell = cell.trim_ascii();
    if cell.is_empty() { Some(f64::NAN) } else { number(cell) }
}

/// What stands in quotation marks, without them.
fn unquoted(word: &[u8]) -> String {
    let text = String::from_utf8_lossy(word);
    let text = text.trim();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).replace("\"\"", "\"")
}

/// Decimals of the last number in a line, and digits of its exponent.
fn last_digits(line: &[u8]) -> (usize, usize) {
    let word = line
        .rsplit(|byte| byte.is_ascii_whitespace() || matches!(byte, b',' | b';'))
        .next()
        .unwrap_or_default();
    let mut parts = word.split(|byte| matches!(byte, b'e' | b'E' | b'd' | b'D'));
    let mantissa = parts.next().unwrap_or_default();
    let decimals =
        mantissa.iter().position(|byte| *byte == b'.').map_or(0, |point| mantissa.len() - point - 1);
    (decimals, parts.next().map_or(0, <[u8]>::len))
}

/// The table so far.
struct Reader<'a> {
    /// The row before.
    previous: &'a [u8],
    table: Columns,
    separator: Option<u8>,
    /// Names that stand above the numbers, or the legends and axis of an xvg.
    names: Vec<String>,
    comment: Vec<String>,
    axis: Option<String>,
    legends: Vec<(usize, String)>,
    row: Vec<f64>,
    n_bad: usize,
    last_was_bad: bool,
    first_bad: Option<(u32, String, String)>,
}

impl<'a> Reader<'a> {
    fn new(path: &Path, kind: TableKind, separator: Option<u8>) -> Self {
        Self {
            previous: b"",
            table: Columns {
                path: path.to_path_buf(),
                kind,
                names: Vec::new(),
                values: Vec::new(),
                lines: Vec::new(),
                settings: Vec::new(),
                restarts: Vec::new(),
                warnings: Vec::new(),
            },
            separator,
            names: Vec::new(),
            comment: Vec::new(),
            axis: None,
            legends: Vec::new(),
            row: Vec::new(),
            n_bad: 0,
            last_was_bad: false,
            first_bad: None,
        }
    }

    /// Cells of a line; those of a CSV may be in quotation marks, which then hide separators.
    fn cells<'b>(&self, line: &'b [u8]) -> Vec<&'b [u8]> {
        let Some(separator) = self.separator else {
            return words(line).collect();
        };
        let mut quoted = false;
        line.split(|byte| {
            quoted ^= *byte == b'"';
            *byte == separator && !quoted
        })
        .collect()
    }

    /// Takes a line; `false` where nothing that follows belongs to the table.
    fn line(&mut self, number: u32, line: &'a [u8], complete: bool) -> Result<bool> {
        match (line.first(), self.table.kind) {
            (None, _) => {}
            (Some(b'#'), TableKind::Plumed) => self.plumed(number, line, complete)?,
            (Some(b'#'), _) => {
                if self.table.lines.is_empty() {
                    let start = line.iter().position(|byte| *byte != b'#').unwrap_or(line.len());
                    let cells = self.cells(line[start..].trim_ascii());
                    let names: Vec<String> = cells.into_iter().map(unquoted).collect();
                    if !names.is_empty() {
                        self.comment = names;
                    }
                }
            }
            (Some(b'@'), TableKind::Xvg) => self.grace(line),
            (Some(b'&'), TableKind::Xvg) => {
                let text = format!(
                    "`{}`, line {number}: another data set begins here (`&`); only the first is read",
                    self.table.path.display()
                );
                self.table.warnings.push(text);
                return Ok(false);
            }
            _ => self.row(number, line, complete)?,
        }
        Ok(true)
    }

    /// `#! FIELDS` and `#! SET`; other comments are passed over.
    fn plumed(&mut self, number: u32, line: &[u8], complete: bool) -> Result<()> {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_whitespace();
        if words.next() != Some("#!") || !complete {
            return Ok(());
        }
        match words.next() {
            Some("FIELDS") => {
                let names: Vec<String> = words.map(str::to_owned).collect();
                if self.names.is_empty() {
                    self.names = names;
                } else if self.names == names {
                    self.table.restarts.push(self.table.lines.len());
                    self.last_was_bad = false;
                } else {
                    return Err(Error::file(
                        &self.table.path,
                        format!("line {number}"),
                        format!("the columns of the first header ({})", self.names.join(", ")),
                        format!("the columns {}", names.join(", ")),
                    )
                    .with_hint("runs with different columns were put into one file; split it here"));
                }
            }
            Some("SET") => {
                if let (Some(name), Some(value)) = (words.next(), words.next()) {
                    self.table.settings.push((name.into(), value.into()));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// `@ s0 legend "…"` and the label of the first axis.
    fn grace(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(&line[1..]);
        let mut words = text.split_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let quoted =
            text.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"')).map(|(name, _)| name.to_owned());
        let Some(name) = quoted else { return };
        if first == "xaxis" && second == "label" {
            self.axis = Some(name);
        } else if second == "legend"
            && let Some(set) = first.strip_prefix('s').and_then(|set| set.parse().ok())
        {
            self.legends.push((set, name));
        }
    }

    /// The numbers of a line; the first cell that is not one, which becomes NaN.
    fn parse(&self, line: &[u8], row: &mut Vec<f64>) -> Option<String> {
        if self.separator.is_none() && numbers(line, row).is_ok() {
            return None;
        }
        row.clear();
        let mut bad = None;
        let mut take = |cell: &[u8]| {
            let value = cell_number(cell);
            if value.is_none() {
                bad.get_or_insert_with(|| unquoted(&cell[..cell.len().min(60)]));
            }
            row.push(value.unwrap_or(f64::NAN));
        };
        match self.separator {
            None => words(line).for_each(&mut take),
            Some(_) if line.contains(&b'"') => {
                self.cells(line).into_iter().for_each(|cell| take(unquoted(cell).as_bytes()));
            }
            Some(separator) => line.split(|byte| *byte == separator).for_each(&mut take),
        }
        bad
    }

    /// A row of numbers, or the names above the first.
    fn row(&mut self, number_of_line: u32, line: &'a [u8], complete: bool) -> Result<()> {
        let mut row = std::mem::take(&mut self.row);
        let bad = self.parse(line, &mut row);
        let first = self.table.lines.is_empty();
        if first && bad.is_some() && self.names.is_empty() && self.table.kind != TableKind::Plumed {
            self.names = self.cells(line).into_iter().map(unquoted).collect();
            self.row = row;
            return Ok(());
        }
        let expected = match (first, self.names.len()) {
            (false, _) => self.table.values.len(),
            (true, 0) => row.len(),
            (true, n) => n,
        };
        // The last number of a line without an end lacks digits where the one above it has more.
        let (digits, above) =
            if complete { ((0, 0), (0, 0)) } else { (last_digits(line), last_digits(self.previous)) };
        let cut = digits.0 < above.0 || digits.1 < above.1;
        if bad.is_some() || row.len() != expected || cut {
            let found = match bad {
                Some(word) => format!("`{word}`"),
                None if row.len() != expected => format!("{} columns", row.len()),
                None => "a line that was cut off".into(),
            };
            self.bad(number_of_line, format!("{expected} columns of numbers"), found)?;
        } else {
            if first {
                self.table.values = vec![Vec::new(); expected];
            }
            for (column, value) in self.table.values.iter_mut().zip(&row) {
                column.push(*value);
            }
            self.table.lines.push(number_of_line);
            self.last_was_bad = false;
            self.previous = line;
        }
        self.row = row;
        Ok(())
    }

    fn bad(&mut self, line: u32, expected: String, found: String) -> Result<()> {
        let text = format!(
            "`{}`, line {line}: left out, {found} where {expected} should be",
            self.table.path.display()
        );
        self.table.warnings.push(text);
        self.n_bad += 1;
        let this = (line, expected, found);
        if self.last_was_bad {
            let (line, expected, found) = self.first_bad.clone().unwrap_or(this);
            return Err(Error::file(&self.table.path, format!("line {line}"), expected, found)
                .with_hint("the next line is damaged as well"));
        }
        self.first_bad = Some(this);
        self.last_was_bad = true;
        Ok(())
    }

    /// Gives the columns their names.
    fn finish(mut self) -> Result<Columns> {
        let (n_rows, n_columns) = (self.table.lines.len(), self.table.values.len());
        if let Some((line, expected, found)) = &self.first_bad
            && (n_rows == 0 || self.n_bad > (n_rows / 100).max(3))
        {
            let hint = format!("{} of {} lines are damaged", self.n_bad, self.n_bad + n_rows);
            let place = format!("line {line}");
            return Err(Error::file(&self.table.path, place, expected, found).with_hint(hint));
        }
        let mut names: Vec<String> = (1..=n_columns).map(|column| column.to_string()).collect();
        if self.table.kind == TableKind::Xvg {
            // Legends belong to the columns behind the first; GROMACS has some that are numbers.
            if !self.legends.is_empty() {
                names = (1..=n_columns).map(|column| format!("column {column}")).collect();
            }
            if let (Some(first), Some(axis)) = (names.first_mut(), self.axis) {
                *first = axis;
            }
            for (set, legend) in self.legends {
                if let Some(name) = set.checked_add(1).and_then(|column| names.get_mut(column)) {
                    *name = legend;
                }
            }
        } else if self.names.len() == n_columns {
            names = self.names;
        } else if self.comment.len() == n_columns {
            names = self.comment;
        }
        self.table.names = names;
        Ok(self.table)
    }
}
