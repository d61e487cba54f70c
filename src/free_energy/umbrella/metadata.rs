//! The list of umbrella windows: which file was held where, and how stiffly.
//!
//! Two forms are read. A CSV table with the columns `file`, `center`, `force_constant` and, in two variables, `center2`
//! and `force_constant2`; and the metadata of Grossfield's WHAM, lines `file center k` or `file center center2 k k2`
//! without a header, behind which a correlation time and a temperature may stand. The energy is ½ k (s − center)². A
//! file that is not found from where the program runs is looked for beside the list.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result, did_you_mean};
use crate::free_energy::reader::text::{Text, number, words};

/// One line of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowFile {
    /// Samples of the window.
    pub path: PathBuf,
    /// One per variable.
    pub center: Vec<f64>,
    /// In the energy unit of the list per square of the variable's unit, one per variable.
    pub force_constant: Vec<f64>,
    /// Temperature in K, where the list has one.
    pub temperature_k: Option<f64>,
    /// Line in the list.
    pub line: u32,
}

/// Reads a list of windows in one or two variables; every file in it exists and has one restraint.
pub fn read_window_files(path: &Path, n_variables: usize) -> Result<Vec<WindowFile>> {
    if path.is_dir() {
        return Err(
            Error::file(path, "", "a list of windows", "a directory").with_hint("name the file in it")
        );
    }
    let (text, _) = Text::read(path)?;
    let mut columns: Option<Vec<String>> = None;
    let mut windows: Vec<WindowFile> = Vec::new();
    let mut is_first = true;
    for (line, bytes, _) in text.lines() {
        let content = bytes.split(|byte| *byte == b'#').next().unwrap_or_default();
        if content.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let content = String::from_utf8_lossy(content).into_owned();
        let cells: Vec<String> = if content.contains(',') {
            content.split(',').map(|cell| cell.trim().trim_matches('"').to_string()).collect()
        } else {
            words(content.as_bytes()).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
        };
        let is_header = is_first && cells[1..].iter().all(|cell| number(cell.as_bytes()).is_none());
        is_first = false;
        if is_header {
            columns = Some(header(&text, line, &cells, n_variables)?);
            continue;
        }
        let window = match &columns {
            Some(columns) => of_table(&text, line, columns, &cells, n_variables)?,
            None => of_words(&text, line, &cells, n_variables)?,
        };
        windows.push(window);
    }
    if windows.is_empty() {
        return Err(Error::file(path, "", "a line for every umbrella window", "none").with_hint(EXAMPLE));
    }
    let missing: Vec<&WindowFile> = windows.iter().filter(|window| !window.path.is_file()).collect();
    if let Some(first) = missing.first() {
        let rest =
            if missing.len() > 1 { format!(" ({} files are missing)", missing.len()) } else { String::new() };
        let expected = format!("the file of a window, `{}`", first.path.display());
        return Err(text.error(
            first.line,
            expected,
            format!("no such file{rest}"),
            "paths are relative to where the program runs, or to the list",
        ));
    }
    for (index, window) in windows.iter().enumerate() {
        let same = |earlier: &WindowFile| {
            earlier.center == window.center && earlier.force_constant == window.force_constant
        };
        let earlier = windows[..index].iter().find(|earlier| earlier.path == window.path);
        if let Some(earlier) = earlier.filter(|earlier| !same(earlier)) {
            let found = format!("`{}` with another than in line {}", window.path.display(), earlier.line);
            return Err(text.error(
                window.line,
                "each file with one restraint",
                found,
                "samples that count twice make errors too small",
            ));
        }
    }
    Ok(windows)
}

const EXAMPLE: &str =
    "a CSV table with the columns file,center,force_constant, or lines `file center force_constant`";

/// Names of columns as this reader calls them.
fn header(text: &Text, line: u32, cells: &[String], n_variables: usize) -> Result<Vec<String>> {
    const KNOWN: [&str; 6] =
        ["file", "center", "force_constant", "center2", "force_constant2", "temperature"];
    let mut columns = Vec::new();
    for cell in cells {
        let name = cell.to_lowercase().replace(' ', "_");
        let name = match name.as_str() {
            "centre" | "center1" | "centre1" => "center",
            "centre2" => "center2",
            "k" | "k1" | "force_constant1" | "kappa" => "force_constant",
            "k2" | "kappa2" => "force_constant2",
            "path" | "filename" => "file",
            other => other,
        };
        if !KNOWN.contains(&name) {
            return Err(text.error(
                line,
                "a column of a list of windows",
                format!("`{cell}`"),
                &did_you_mean(name, KNOWN),
            ));
        }
        columns.push(name.to_string());
    }
    let needed = if n_variables == 2 { &KNOWN[..5] } else { &KNOWN[..3] };
    for name in needed {
        if !columns.iter().any(|column| column == name) {
            let found = format!("{} for {n_variables} variable(s)", columns.join(", "));
            return Err(text.error(line, format!("a column `{name}`"), found, EXAMPLE));
        }
    }
    Ok(columns)
}

fn of_table(
    text: &Text,
    line: u32,
    columns: &[String],
    cells: &[String],
    n_variables: usize,
) -> Result<WindowFile> {
    if cells.len() != columns.len() {
        return Err(text.error(line, format!("{} columns", columns.len()), cells.len().to_string(), ""));
    }
    let cell = |name: &str| columns.iter().position(|column| column == name).map(|index| &cells[index]);
    let value = |name: &str| finite(text, line, name, cell(name).map_or("", String::as_str));
    let names = |name: &str| -> Result<Vec<f64>> {
        let mut values = vec![value(name)?];
        if n_variables == 2 {
            values.push(value(&format!("{name}2"))?);
        }
        Ok(values)
    };
    let temperature_k = if cell("temperature").is_some() { Some(value("temperature")?) } else { None };
    let file = cell("file").map_or("", String::as_str);
    window(text, line, file, names("center")?, names("force_constant")?, temperature_k)
}

fn of_words(text: &Text, line: u32, cells: &[String], n_variables: usize) -> Result<WindowFile> {
    let needed = 1 + 2 * n_variables;
    if cells.len() < needed || cells.len() > needed + 2 {
        let expected = if n_variables == 2 { "file center center2 k k2" } else { "file center k" };
        return Err(text.error(line, format!("`{expected}`"), format!("{} words", cells.len()), EXAMPLE));
    }
    let numbers: Result<Vec<f64>> =
        cells[1..].iter().map(|cell| finite(text, line, "a number", cell)).collect();
    let numbers = numbers?;
    let (center, force_constant) =
        (numbers[..n_variables].to_vec(), numbers[n_variables..2 * n_variables].to_vec());
    window(text, line, &cells[0], center, force_constant, numbers.get(2 * n_variables + 1).copied())
}

fn finite(text: &Text, line: u32, name: &str, cell: &str) -> Result<f64> {
    number(cell.as_bytes())
        .filter(|value| value.is_finite())
        .ok_or_else(|| text.error(line, format!("a finite number for {name}"), format!("`{cell}`"), ""))
}

fn window(
    text: &Text,
    line: u32,
    file: &str,
    center: Vec<f64>,
    force_constant: Vec<f64>,
    temperature_k: Option<f64>,
) -> Result<WindowFile> {
    if let Some(k) = force_constant.iter().find(|k| **k < 0.0) {
        return Err(text.error(
            line,
            "force constants of zero or more",
            k.to_string(),
            "the energy is ½ k (s − center)²",
        ));
    }
    let mut path = PathBuf::from(file);
    if !path.is_file() && path.is_relative() {
        let beside = text.path.parent().unwrap_or(Path::new("")).join(&path);
        if beside.is_file() {
            path = beside;
        }
    }
    Ok(WindowFile { path, center, force_constant, temperature_k, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, n_variables: usize) -> Result<Vec<WindowFile>> {
        let home = tempfile::tempdir().unwrap();
        for name in ["a.dat", "b.dat"] {
            std::fs::write(home.path().join(name), "").unwrap();
        }
        std::fs::write(home.path().join("list"), text).unwrap();
        read_window_files(&home.path().join("list"), n_variables)
    }

    #[test]
    fn both_forms_are_read() {
        let table = read("file,center,force_constant\na.dat,0.5,100\r\nb.dat,1.0,2e2", 1).unwrap();
        let plain = read("# metadata\na.dat 0.5 100\n\nb.dat 1.0 200 # stiff\n", 1).unwrap();
        let numbers = |windows: &[WindowFile]| -> Vec<(Vec<f64>, Vec<f64>)> {
            windows.iter().map(|window| (window.center.clone(), window.force_constant.clone())).collect()
        };
        assert_eq!(numbers(&table), numbers(&plain));
        assert_eq!((table[1].line, plain[1].line), (3, 4));
        let two = read("a.dat 0.5 1.5 100 200 0 300\n", 2).unwrap();
        assert_eq!((&two[0].center[..], &two[0].force_constant[..]), (&[0.5, 1.5][..], &[100.0, 200.0][..]));
        assert_eq!(two[0].temperature_k, Some(300.0));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let message = |text: &str, n: usize| read(text, n).unwrap_err().to_string();
        assert!(
            message("a.dat 0 1\nc.dat 0 1\n", 1).contains("line 2")
                && message("c.dat 0 1", 1).contains("no such file")
        );
        assert!(message("a.dat 0 1\na.dat 1 1\n", 1).contains("in line 1"));
        assert!(message("a.dat 0 -1\n", 1).contains("zero or more"));
        assert!(message("a.dat 0 nan\n", 1).contains("finite number"));
        assert!(message("a.dat 0\n", 1).contains("file center k"));
        assert!(message("file,center,force\na.dat,0,1\n", 1).contains("force_constant"));
        assert!(message("file,center,force_constant\na.dat,0,1\n", 2).contains("center2"));
        assert!(message("# nothing\n", 1).contains("a line for every umbrella window"));
    }
}
