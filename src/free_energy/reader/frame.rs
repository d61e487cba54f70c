//! Tables with named columns, as CSV and Parquet files hold them, and what they say.
//!
//! The columns of a table are the time, what names the state of a row (components of λ such as `coul-lambda`, or a
//! number `state`), reduced energies and derivatives. alchemlyb names energy columns by their λ (`0.25` or
//! `(0.0, 0.25)`) and derivatives by their component (`coul`); kirkwood and others number them (`u_0`, `u_1`, …).
//! Energies are in kT unless the table says otherwise. An energy that is missing in all samples of a state was not
//! computed; one that is missing here and there is not a number.

use std::path::PathBuf;

use super::{Format, Origin, Series, text};
use crate::error::{Error, Result};
use crate::units::GAS_CONSTANT;

/// Two λ that are the same but for the rounding of a text.
const SAME_LAMBDA: f64 = 1e-6;

/// Name of the component where a table has only one and does not name it.
pub(super) const UNNAMED: &str = "fep-lambda";

/// A table in memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    pub path: PathBuf,
    pub names: Vec<String>,
    /// `[row][column]`; NaN where a cell is empty.
    pub values: Vec<f64>,
    /// Line of each row.
    pub lines: Vec<u32>,
    /// K, where the table says it.
    pub temperature_k: Option<f64>,
    /// Unit of energies, where the table says it.
    pub unit: Option<String>,
    pub warnings: Vec<String>,
}

/// What a column is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Role {
    /// Scale to the unit.
    Time(f64, &'static str),
    /// Number of the sampled state.
    State,
    /// A component of the sampled λ.
    Lambda(String),
    /// The energy in a state with this λ, and its unit.
    EnergyAt(Vec<f64>, Option<Unit>),
    /// The energy in a state with this number, and its unit.
    EnergyOf(usize, Option<Unit>),
    /// The derivative by a component, by the only one without a name, and its unit.
    Derivative(Option<String>, Option<Unit>),
    Other,
}

/// Units of energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Kt,
    KjPerMol,
    KcalPerMol,
}

impl Unit {
    fn of(name: &str) -> Option<Self> {
        match name.to_lowercase().replace(['_', ' '], "").as_str() {
            "kt" | "kbt" | "1/kt" => Some(Self::Kt),
            "kj/mol" | "kjpermol" | "kjmol" => Some(Self::KjPerMol),
            "kcal/mol" | "kcalpermol" | "kcalmol" => Some(Self::KcalPerMol),
            _ => None,
        }
    }
}

/// States of a table whose energy columns are numbered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Numbered {
    pub components: Vec<String>,
    pub states: Vec<Vec<f64>>,
    /// Whether the numbers are λ at all, or mere numbers of states.
    pub has_lambda: bool,
    /// K, where it is known.
    pub temperature_k: Option<f64>,
    /// The state of all rows, where the table has no column for it.
    pub own: Option<usize>,
}

/// The columns of a table by their roles.
pub(super) struct Columns {
    pub time: Option<(usize, f64, &'static str)>,
    pub state: Option<usize>,
    pub lambda: Vec<(usize, String)>,
    pub at: Vec<(usize, Vec<f64>, Option<Unit>)>,
    pub of: Vec<(usize, usize, Option<Unit>)>,
    pub derivatives: Vec<(usize, Option<String>, Option<Unit>)>,
}

impl Columns {
    pub fn new(names: &[String]) -> Self {
        let mut columns = Self {
            time: None,
            state: None,
            lambda: Vec::new(),
            at: Vec::new(),
            of: Vec::new(),
            derivatives: Vec::new(),
        };
        for (index, name) in names.iter().enumerate() {
            match role(name, names) {
                Role::Time(scale, unit) if columns.time.is_none() => {
                    columns.time = Some((index, scale, unit))
                }
                Role::State if columns.state.is_none() => columns.state = Some(index),
                Role::Lambda(component) => columns.lambda.push((index, component)),
                Role::EnergyAt(lambda, unit) => columns.at.push((index, lambda, unit)),
                Role::EnergyOf(state, unit) => columns.of.push((index, state, unit)),
                Role::Derivative(component, unit) => columns.derivatives.push((index, component, unit)),
                _ => {}
            }
        }
        columns
    }

    /// Whether these are the columns of samples along λ.
    pub fn hold_samples(&self) -> bool {
        let named = !self.at.is_empty() && !self.lambda.is_empty();
        self.time.is_some() && (named || !self.of.is_empty() || !self.derivatives.is_empty())
    }
}

fn role(name: &str, names: &[String]) -> Role {
    let name = name.trim();
    let lower = name.to_lowercase();
    match lower.as_str() {
        "time" | "time_ps" | "time (ps)" | "time/ps" => return Role::Time(1.0, "ps"),
        "time_ns" | "time (ns)" | "time/ns" => return Role::Time(1000.0, "ps"),
        "step" | "steps" | "frame" => return Role::Time(1.0, "step"),
        "state" | "state_index" | "window" => return Role::State,
        "lambda" => return Role::Lambda(UNNAMED.into()),
        _ => {}
    }
    if lower.ends_with("-lambda") || lower == "lambdas" {
        return Role::Lambda(name.into());
    }
    if names.iter().any(|other| other.trim().strip_suffix("-lambda") == Some(name)) {
        return Role::Derivative(Some(format!("{name}-lambda")), None);
    }
    if let Some(lambda) = vector(name) {
        return Role::EnergyAt(lambda, None);
    }
    let (stem, unit) = split_unit(name);
    let letters: String = stem.to_lowercase().chars().filter(|letter| letter.is_alphanumeric()).collect();
    if matches!(letters.as_str(), "dhdl" | "dudl" | "dvdl" | "dhdlambda" | "dudlambda" | "dvdlambda") {
        return Role::Derivative(None, unit);
    }
    let Some(label) = stem.strip_prefix("u_").or_else(|| stem.strip_prefix('u')) else { return Role::Other };
    if let Ok(number) = label.parse::<usize>() {
        return Role::EnergyOf(number, unit);
    }
    vector(label).map_or(Role::Other, |lambda| Role::EnergyAt(lambda, unit))
}

/// `u_0` and kJ/mol of `u_0_kJ_per_mol`.
fn split_unit(name: &str) -> (&str, Option<Unit>) {
    for ending in ["_kT", "_kJ_per_mol", "_kcal_per_mol", " (kT)", " (kJ/mol)", " (kcal/mol)"] {
        if let Some(stem) = name.strip_suffix(ending) {
            return (stem, Unit::of(ending.trim_matches(['_', ' ', '(', ')'])));
        }
    }
    (name, None)
}

/// λ of `0.25`, `(0.0, 0.25)`, `('0.0', '0.25')` or `(np.float64(0.0), np.float64(0.25))`.
fn vector(name: &str) -> Option<Vec<f64>> {
    let plain = name.replace("np.float64", "").replace(['(', ')', '\'', '"'], " ");
    let number = |word: &str| word.trim().parse().ok().filter(|value: &f64| value.is_finite());
    plain.trim().trim_end_matches(',').split(',').map(number).collect()
}

impl Frame {
    fn n_rows(&self) -> usize {
        self.lines.len()
    }

    fn error(&self, expected: impl Into<String>, found: impl Into<String>, hint: &str) -> Error {
        Error::file(&self.path, "", expected, found).with_hint(hint)
    }

    /// The series of the table: one, or one per stretch of a λ where simulations were joined.
    pub fn series(
        &self,
        format: Format,
        given_k: Option<f64>,
        numbered: Option<&Numbered>,
    ) -> Result<Vec<Series>> {
        let columns = Columns::new(&self.names);
        let (components, mut states) = self.states(&columns, numbered)?;
        let n_listed = states.len();
        let energies: Vec<(usize, Option<Unit>)> = match columns.at.is_empty() {
            false => self.first_of_each(&columns, &states),
            true => {
                let mut of = columns.of.clone();
                of.sort_by_key(|(_, state, _)| *state);
                of.iter().map(|(column, _, unit)| (*column, *unit)).collect()
            }
        };
        let derivatives = self.derivatives(&columns, &components)?;
        let has_lambda = numbered.is_none_or(|numbered| numbered.has_lambda);
        let mut warnings = self.warnings.clone();
        let derivatives = if has_lambda || derivatives.is_empty() {
            derivatives
        } else {
            let path = self.path.display();
            warnings.push(format!("`{path}`: derivatives are left out, λ of the states is not known"));
            Vec::new()
        };
        if energies.is_empty() && derivatives.is_empty() {
            return Err(self.error("columns with energies or derivatives", self.names.join(", "), HINT));
        }

        let state_of = self.sampled(&columns, numbered, components.len(), &mut states)?;
        let found_k = self.temperature_k.or_else(|| numbered.and_then(|numbered| numbered.temperature_k));
        let unit_of = |unit: Option<Unit>| -> Result<Unit> {
            match (unit, &self.unit) {
                (Some(unit), _) => Ok(unit),
                (None, None) => Ok(Unit::Kt),
                (None, Some(name)) => Unit::of(name)
                    .ok_or_else(|| self.error("energies in kT, kJ/mol or kcal/mol", name.clone(), "")),
            }
        };
        let units = energies.iter().map(|(_, unit)| *unit).chain(derivatives.iter().map(|(_, unit)| *unit));
        let units: Vec<Unit> = units.map(unit_of).collect::<Result<_>>()?;
        let in_kt = units.iter().all(|unit| *unit == Unit::Kt);
        let temperature_k = match (in_kt, found_k, given_k) {
            (true, None, None) => f64::NAN,
            _ => text::temperature(&self.path, found_k, given_k)?,
        };
        let scales: Vec<f64> = units
            .iter()
            .map(|unit| match unit {
                Unit::Kt => 1.0,
                Unit::KjPerMol => 1.0 / (GAS_CONSTANT * temperature_k),
                Unit::KcalPerMol => 4.184 / (GAS_CONSTANT * temperature_k),
            })
            .collect();
        let (energy_scales, derivative_scales) = scales.split_at(energies.len());

        let n_columns = self.names.len();
        let time: Vec<f64> = (0..self.n_rows())
            .map(|row| {
                columns
                    .time
                    .map_or(row as f64, |(column, scale, _)| scale * self.values[row * n_columns + column])
            })
            .collect();
        let mut all = Vec::new();
        for rows in stretches(&time, &state_of) {
            let mut series = Series {
                sources: vec![self.path.clone()],
                format,
                temperature_k,
                components: components.clone(),
                states: states.clone(),
                time: time[rows.clone()].to_vec(),
                time_unit: columns.time.map_or("step", |(_, _, unit)| unit),
                state_of: state_of[rows.clone()].to_vec(),
                u_kt: Vec::new(),
                computed: None,
                dudl_kt: Vec::new(),
                origin: self.lines[rows.clone()]
                    .iter()
                    .map(|line| Origin { source: 0, line: *line })
                    .collect(),
                warnings: std::mem::take(&mut warnings),
            };
            for row in rows {
                let cells = &self.values[row * n_columns..(row + 1) * n_columns];
                let cell = |((column, _), scale): (&(usize, Option<Unit>), &f64)| cells[*column] * scale;
                if !energies.is_empty() {
                    series.u_kt.extend(energies.iter().zip(energy_scales).map(cell));
                    series.u_kt.extend((n_listed..states.len()).map(|_| f64::NAN));
                }
                series.dudl_kt.extend(derivatives.iter().zip(derivative_scales).map(cell));
            }
            mark_computed(&mut series);
            all.push(series);
        }
        Ok(all)
    }

    /// Components of λ and the λ of the energy columns.
    fn states(&self, columns: &Columns, numbered: Option<&Numbered>) -> Result<(Vec<String>, Vec<Vec<f64>>)> {
        if !columns.at.is_empty() && !columns.of.is_empty() {
            return Err(self.error("energy columns that are named by λ or numbered", "both kinds", HINT));
        }
        if let Some(numbered) = numbered {
            return Ok((numbered.components.clone(), numbered.states.clone()));
        }
        let mut components: Vec<String> = columns.lambda.iter().map(|(_, name)| name.clone()).collect();
        if components.is_empty() && columns.at.iter().all(|(_, lambda, _)| lambda.len() == 1) {
            components.push(UNNAMED.into());
        }
        let mut states: Vec<Vec<f64>> = Vec::new();
        for (_, lambda, _) in &columns.at {
            if lambda.len() != components.len() {
                let expected = format!("λ with {} components ({})", components.len(), components.join(", "));
                return Err(self.error(expected, format!("the column {lambda:?}"), HINT));
            }
            if position(&states, lambda).is_none() {
                states.push(lambda.clone());
            }
        }
        Ok((components, states))
    }

    /// The first energy column of each λ.
    fn first_of_each(&self, columns: &Columns, states: &[Vec<f64>]) -> Vec<(usize, Option<Unit>)> {
        let first = |state: &Vec<f64>| {
            let same = |lambda: &Vec<f64>| position(std::slice::from_ref(state), lambda).is_some();
            columns.at.iter().find(|(_, lambda, _)| same(lambda)).map(|(column, _, unit)| (*column, *unit))
        };
        states.iter().filter_map(first).collect()
    }

    /// The column with the derivative by each component; empty without any.
    fn derivatives(&self, columns: &Columns, components: &[String]) -> Result<Vec<(usize, Option<Unit>)>> {
        if columns.derivatives.is_empty() {
            return Ok(Vec::new());
        }
        let of = |component: &String| {
            let is_it = |name: &Option<String>| match name {
                Some(name) => name == component,
                None => components.len() == 1,
            };
            let found = columns.derivatives.iter().find(|(_, name, _)| is_it(name));
            found.map(|(column, _, unit)| (*column, *unit)).ok_or_else(|| {
                let name = component.strip_suffix("-lambda").unwrap_or(component);
                self.error(format!("a column `{name}` with the derivative by {component}"), "none", HINT)
            })
        };
        components.iter().map(of).collect()
    }

    /// The state of each row; λ without an energy column are added to the states.
    fn sampled(
        &self,
        columns: &Columns,
        numbered: Option<&Numbered>,
        n_components: usize,
        states: &mut Vec<Vec<f64>>,
    ) -> Result<Vec<usize>> {
        let n_columns = self.names.len();
        let cell = |row: usize, column: usize| self.values[row * n_columns + column];
        let at = |row: usize, expected: &str, found: String| {
            let place = format!("line {}", self.lines[row]);
            Err(Error::file(&self.path, place, expected, found))
        };
        let mut state_of = Vec::with_capacity(self.n_rows());
        if columns.lambda.len() == n_components {
            let mut lambda = vec![0.0; columns.lambda.len()];
            let mut last: Option<usize> = None;
            for row in 0..self.n_rows() {
                for (value, (column, _)) in lambda.iter_mut().zip(&columns.lambda) {
                    *value = cell(row, *column);
                }
                if lambda.iter().any(|value| !value.is_finite()) {
                    return at(row, "the λ of the sampled state", format!("{lambda:?}"));
                }
                let is_last =
                    last.filter(|last| position(std::slice::from_ref(&states[*last]), &lambda).is_some());
                let state = is_last.or_else(|| position(states, &lambda)).unwrap_or_else(|| {
                    states.push(lambda.clone());
                    states.len() - 1
                });
                last = Some(state);
                state_of.push(state);
            }
            return Ok(state_of);
        }
        if let Some(column) = columns.state {
            for row in 0..self.n_rows() {
                let value = cell(row, column);
                if value.fract() != 0.0 || value < 0.0 || value >= states.len() as f64 {
                    let expected = format!("a state from 0 to {}", states.len().saturating_sub(1));
                    return at(row, &expected, value.to_string());
                }
                state_of.push(value as usize);
            }
            return Ok(state_of);
        }
        match numbered.and_then(|numbered| numbered.own).filter(|own| *own < states.len()) {
            Some(own) => Ok(vec![own; self.n_rows()]),
            None => Err(self.error("the state that was sampled", "none", HINT)),
        }
    }
}

/// What a table must have, for messages.
pub(super) const HINT: &str = "a table has a column `time`, the λ of each row in columns such as `fep-lambda` or \
     `lambda` (or a column `state`), energies in columns named by their λ (`0.25`) or numbered `u_0`, `u_1`, …, and \
     derivatives in columns such as `fep` or `dHdl`; the λ of numbered columns stand in `states.csv` beside the file \
     (state,lambda) or in the names of the files (lambda_0.25.csv)";

/// Index of a λ vector.
pub(super) fn position(states: &[Vec<f64>], lambda: &[f64]) -> Option<usize> {
    let same = |state: &[f64]| {
        state.len() == lambda.len() && state.iter().zip(lambda).all(|(a, b)| (a - b).abs() < SAME_LAMBDA)
    };
    states.iter().position(|state| same(state))
}

/// Ranges of rows between which simulations were joined: λ changes and time does not go on.
fn stretches(time: &[f64], state_of: &[usize]) -> Vec<std::ops::Range<usize>> {
    let is_joint = |row: &usize| state_of[row - 1] != state_of[*row] && time[*row] <= time[row - 1];
    let starts: Vec<usize> = std::iter::once(0).chain((1..time.len()).filter(is_joint)).collect();
    let ends = starts[1..].iter().copied().chain(std::iter::once(time.len()));
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Marks energies that are missing in all samples of a state.
fn mark_computed(series: &mut Series) {
    let n = series.states.len();
    if series.u_kt.iter().all(|u| !u.is_nan()) {
        return;
    }
    let mut found = vec![false; n * n];
    for (state, u) in series.state_of.iter().zip(series.u_kt.chunks_exact(n)) {
        for (found, u) in found[state * n..(state + 1) * n].iter_mut().zip(u) {
            *found |= !u.is_nan();
        }
    }
    if series.state_of.iter().all(|state| found[state * n..(state + 1) * n].iter().all(|found| *found)) {
        return;
    }
    let row = |state: &usize| &found[state * n..(state + 1) * n];
    series.computed = Some(series.state_of.iter().flat_map(row).copied().collect());
}
