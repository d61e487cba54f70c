//! `dhdl.xvg` of GROMACS: ∂H/∂λ and ΔH to other λ, in kJ/mol, of one state or of an expanded ensemble.
//!
//! The subtitle holds the temperature and, where it is fixed, the state; the legends say what the columns are:
//! components of ∂H/∂λ, ΔH to λ vectors, potential or total energy, pV, the number of the state in an expanded
//! ensemble. Simulations with replica exchange write neither state nor number; their state stands in the legends of
//! ∂H/∂λ. Two states that are written with the same λ are one; alchemlyb also keeps the first.

use super::rows::{Layout, Own, Rows, each};
use super::{Format, Series, Text, text};
use crate::error::Result;

/// More columns than this are no `dhdl.xvg`.
const MOST_COLUMNS: usize = 100_000;

/// Two λ that the four decimals of GROMACS cannot tell apart.
const SAME_LAMBDA: f64 = 1e-6;

pub(super) fn read(files: &[Text], temperature_k: Option<f64>) -> Result<Vec<Series>> {
    each(files, |file| read_file(file, temperature_k))
}

fn read_file(file: &Text, temperature_k: Option<f64>) -> Result<Vec<Series>> {
    let mut rows = Rows::new(file);
    let mut header: Option<Header> = None;
    for (number, line, complete) in file.lines() {
        let mut rest = Some(line.trim_ascii());
        while let Some(line) = rest.take() {
            match line.first() {
                None | Some(b'#' | b'&') => {}
                Some(b'@') => {
                    if header.is_none() {
                        rows.header();
                    }
                    header.get_or_insert_with(|| Header::new(number)).add(file, number, &line[1..])?;
                }
                Some(_) => {
                    if let Some(header) = header.take() {
                        rows.begin(header.layout(file, temperature_k)?, header.line);
                    }
                    if !rows.has_layout() {
                        let hint =
                            "`mdrun -xvg xmgrace` writes the header lines that say what the columns are";
                        return Err(file.error(number, "header lines that begin with @", "a row", hint));
                    }
                    rest = rows.row(number, line, complete, b"@#")?;
                }
            }
        }
    }
    match header {
        Some(header) if rows.has_layout() => rows.header_without_rows(header.line),
        Some(header) => rows.begin(header.layout(file, temperature_k)?, header.line),
        None if !rows.has_layout() => {
            return Err(file.error(1, "header lines that begin with @", "none", "is the file empty?"));
        }
        None => {}
    }
    rows.finish()
}

/// Lines that begin with `@`.
struct Header {
    line: u32,
    subtitle: Option<(u32, String)>,
    axis: String,
    /// Line and text of the legend of each column after the time.
    legends: Vec<(u32, String)>,
}

/// What the legend of a column says.
enum Column {
    State,
    Energy,
    PressureVolume,
    Derivative { component: String, lambda: f64 },
    Difference(Vec<f64>),
    Other,
}

impl Header {
    fn new(line: u32) -> Self {
        Self { line, subtitle: None, axis: String::new(), legends: Vec::new() }
    }

    fn add(&mut self, file: &Text, number: u32, line: &[u8]) -> Result<()> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        let (key, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if key == "subtitle" {
            self.subtitle = Some((number, plain(rest)));
        } else if key == "xaxis" && rest.trim_start().starts_with("label") {
            self.axis = plain(rest);
        } else if let Some(index) = key.strip_prefix('s').and_then(|index| index.parse::<usize>().ok())
            && rest.trim_start().starts_with("legend")
        {
            if index >= MOST_COLUMNS {
                return Err(file.error(number, format!("fewer than {MOST_COLUMNS} columns"), key, ""));
            }
            if index >= self.legends.len() {
                self.legends.resize(index + 1, (number, String::new()));
            }
            self.legends[index] = (number, plain(rest));
        }
        Ok(())
    }

    fn layout(&self, file: &Text, temperature_k: Option<f64>) -> Result<Layout> {
        let (mut components, mut legend_lambda, mut derivatives) = (Vec::new(), Vec::new(), Vec::new());
        let (mut states, mut differences, mut twins): (Vec<Vec<f64>>, Vec<Option<usize>>, Vec<_>) =
            Default::default();
        // The state of each ΔH column in the order of the file, in which expanded ensembles count.
        let mut numbered = Vec::new();
        let (mut state_column, mut energy, mut pressure_volume) = (None, None, None);
        for (column, (line, legend)) in
            self.legends.iter().enumerate().map(|(index, legend)| (index + 1, legend))
        {
            if legend.is_empty() {
                let found = format!("none for s{}", column - 1);
                return Err(file.error(*line, "a legend for every column", found, ""));
            }
            match Column::of(file, *line, legend)? {
                Column::State => state_column = state_column.or(Some(column)),
                Column::Energy => energy = energy.or(Some(column)),
                Column::PressureVolume => pressure_volume = pressure_volume.or(Some(column)),
                Column::Derivative { component, lambda } => {
                    components.push(component);
                    legend_lambda.push(lambda);
                    derivatives.push(Some(column));
                }
                Column::Difference(lambda) => {
                    let known = states.iter().position(|state| same(state, &lambda));
                    if let Some(first) = known.and_then(|state| differences[state]) {
                        twins.push((first, column));
                    } else {
                        states.push(lambda);
                        differences.push(Some(column));
                    }
                    numbered.push(known.unwrap_or(states.len() - 1));
                }
                Column::Other => {}
            }
        }
        let (line, subtitle) = self.subtitle.as_ref().map_or((self.line, ""), |(line, text)| (*line, text));
        let named = state_in(file, line, subtitle)?;
        if let Some((names, _)) = &named
            && *names != components
        {
            // ∂H/∂λ may be missing altogether; a component of it may not.
            let known = |name: &String| components.iter().position(|component| component == name);
            derivatives = if components.is_empty() {
                Vec::new()
            } else {
                names.iter().map(|name| known(name).and_then(|index| derivatives[index])).collect()
            };
            components.clone_from(names);
        }
        if let (true, Some(state)) = (components.is_empty(), states.first()) {
            // An expanded ensemble without derivatives names no components.
            components = match state.len() {
                1 => vec!["fep-lambda".into()],
                n => (1..=n).map(|idx| format!("component-{idx}-lambda")).collect(),
            };
        }
        if components.is_empty() {
            return Err(file.error(
                line,
                "columns with dH/dλ or ΔH",
                format!("{} columns without them", self.legends.len()),
                "is this the file of `gmx mdrun -dhdl`?",
            ));
        }
        if let Some(state) = states.iter().find(|state| state.len() != components.len()) {
            let expected = format!("λ of {} components ({})", components.len(), components.join(", "));
            return Err(file.error(self.line, expected, state.len().to_string(), "in a legend of ΔH"));
        }
        let own = match (named, state_column) {
            (_, Some(column)) if !numbered.is_empty() => Own::Column { column, states: numbered },
            (_, Some(_)) => {
                let expected = "columns with ΔH, whose λ are those of the numbered states";
                return Err(file.error(self.line, expected, "none", ""));
            }
            (Some((_, lambda)), None) => Own::Fixed(position(&mut states, &mut differences, lambda)),
            (None, None) if !derivatives.is_empty() => {
                Own::Fixed(position(&mut states, &mut differences, legend_lambda))
            }
            (None, None) => {
                return Err(file.error(
                    line,
                    "the state that was sampled: in the subtitle, a column `Thermodynamic state` or legends of dH/dλ",
                    "none of them",
                    "",
                ));
            }
        };
        let temperature_k = text::temperature(&file.path, temperature_in(subtitle), temperature_k)?;
        Ok(Layout {
            format: Format::Gromacs,
            temperature_k,
            components,
            states,
            own,
            n_columns: self.legends.len() + 1,
            time_scale: if self.axis.contains("(ns)") { 1000.0 } else { 1.0 },
            time_unit: "ps",
            common: pressure_volume.into_iter().chain(energy).collect(),
            differences,
            derivatives,
            twins,
        })
    }
}

impl Column {
    fn of(file: &Text, line: u32, legend: &str) -> Result<Self> {
        let bad = |expected: &str| Err(file.error(line, expected, format!("`{legend}`"), ""));
        if legend.starts_with("Thermodynamic state") {
            return Ok(Self::State);
        }
        if legend.starts_with("Total Energy") || legend.starts_with("Potential Energy") {
            return Ok(Self::Energy);
        }
        if legend.starts_with("pV") {
            return Ok(Self::PressureVolume);
        }
        if let Some(rest) = legend.strip_prefix("dH/dl") {
            let words: Vec<&str> = rest.split_whitespace().collect();
            // Without states in its input GROMACS writes `dH/dλ λ 0.5`.
            let (component, value) = match words.as_slice() {
                [name, "=", value] if name.contains("lambda") => (*name, value),
                ["l", value] | ["l", "=", value] => ("fep-lambda", value),
                _ => return bad("dH/dλ with the name and value of a component of λ"),
            };
            let Some(lambda) = value.parse().ok().filter(|value: &f64| value.is_finite()) else {
                return bad("the value of a component of λ");
            };
            return Ok(Self::Derivative { component: component.into(), lambda });
        }
        let Some(rest) = legend.strip_prefix("DH l") else { return Ok(Self::Other) };
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("to").unwrap_or(rest);
        if rest.contains("T =") {
            let hint = "energies at several temperatures need their own analysis";
            return Err(file.error(line, "ΔH to λ at one temperature", "simulated tempering", hint));
        }
        match vector(rest) {
            Some(lambda) => Ok(Self::Difference(lambda)),
            None => bad("ΔH to λ, such as `ΔH λ to (0.5, 1.0)`"),
        }
    }
}

/// Index of a λ vector among the states, added without a column if need be: ΔH to the own state is zero.
fn position(states: &mut Vec<Vec<f64>>, differences: &mut Vec<Option<usize>>, lambda: Vec<f64>) -> usize {
    states.iter().position(|state| same(state, &lambda)).unwrap_or_else(|| {
        if !states.is_empty() {
            differences.push(None);
        }
        states.push(lambda);
        states.len() - 1
    })
}

fn same(one: &[f64], other: &[f64]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| (a - b).abs() < SAME_LAMBDA)
}

/// `0.5` or `(0.5, 1.0)`.
fn vector(text: &str) -> Option<Vec<f64>> {
    let text = text.trim();
    let inner = match text.strip_prefix('(') {
        Some(inner) => inner.strip_suffix(')')?,
        None => text,
    };
    let number = |word: &str| word.trim().parse().ok().filter(|value: &f64| value.is_finite());
    inner.split(',').map(number).collect()
}

/// 300 of `T = 300 (K) …`.
fn temperature_in(subtitle: &str) -> Option<f64> {
    let (_, rest) = subtitle.split_once("T =")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Names and values of `… λ state 1: (coul-lambda, vdw-lambda) = (0.5, 0.0)` or of `… λ = 0.5`.
fn state_in(file: &Text, line: u32, subtitle: &str) -> Result<Option<(Vec<String>, Vec<f64>)>> {
    let bad = || {
        let expected = "the state in the subtitle, such as `(coul-lambda, vdw-lambda) = (0.5, 0.0)`";
        Err(file.error(line, expected, format!("`{subtitle}`"), ""))
    };
    let Some((_, state)) = subtitle.split_once("l state") else {
        let Some((_, value)) = subtitle.rsplit_once("l =") else { return Ok(None) };
        return match vector(value).as_deref() {
            Some(&[lambda]) => Ok(Some((vec!["fep-lambda".into()], vec![lambda]))),
            _ => bad(),
        };
    };
    let Some((names, values)) = state.split_once(':').and_then(|(_, rest)| rest.split_once('=')) else {
        return bad();
    };
    let names: Vec<String> =
        names.trim().trim_matches(['(', ')']).split(',').map(|name| name.trim().to_string()).collect();
    match vector(values) {
        Some(values) if values.len() == names.len() && names.iter().all(|name| name.contains("lambda")) => {
            Ok(Some((names, values)))
        }
        _ => bad(),
    }
}

/// What stands between the quotation marks, without the marks of Grace for fonts: `\xD\f{}H \xl\f{} to 0.5` is
/// `DH l to 0.5`.
fn plain(text: &str) -> String {
    let text = match (text.find('"'), text.rfind('"')) {
        (Some(first), Some(last)) if first < last => &text[first + 1..last],
        (Some(first), _) => &text[first + 1..],
        _ => text,
    };
    let mut characters = text.chars().peekable();
    let mut out = String::new();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                while characters.peek() == Some(&'\\') {
                    characters.next();
                }
                if characters.next() == Some('f') && characters.peek() == Some(&'{') {
                    characters.by_ref().find(|character| *character == '}');
                }
            }
            'Δ' => out.push('D'),
            'λ' => out.push('l'),
            _ => out.push(character),
        }
    }
    out.trim().to_string()
}
