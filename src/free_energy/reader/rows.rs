//! Rows of numbers whose columns are energy differences from the sampled state and derivatives by λ.
//!
//! GROMACS and GOMC write the same quantities: ΔH from the sampled state to others, ∂H/∂λ, and what all states
//! have in common (potential or total energy, pV). The reduced potential is
//!
//! ```text
//! u_k(x) = (ΔH_k(x) + p V + U(x)) / kT
//! ```
//!
//! with k of the 2019 SI, [`GAS_CONSTANT`], as alchemlyb 0.5 and later have it. (GROMACS itself uses
//! 8.3144621e-3 kJ/(mol K) in some versions: a relative difference of 6e-8.)

use super::damage::{Damage, looks_cut, shown};
use super::{Format, Origin, Series, Text, text};
use crate::error::Result;
use crate::units::GAS_CONSTANT;

/// The series of files that stand alone, one after the other.
pub(super) fn each(files: &[Text], read: impl Fn(&Text) -> Result<Vec<Series>>) -> Result<Vec<Series>> {
    files.iter().map(read).collect::<Result<Vec<_>>>().map(|all| all.concat())
}

/// kJ/mol; ΔH of a sample to the state it was drawn from is zero but for rounding in single precision.
const ROUNDING_KJ_PER_MOL: f64 = 0.1;

/// Which state a row was drawn from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Own {
    /// The same for all rows.
    Fixed(usize),
    /// The number in a column, as an index into `states`.
    Column { column: usize, states: Vec<usize> },
}

/// What the columns of a stretch of rows are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub format: Format,
    pub temperature_k: f64,
    pub components: Vec<String>,
    pub states: Vec<Vec<f64>>,
    pub own: Own,
    pub n_columns: usize,
    /// Units of `Series::time` per unit of the first column.
    pub time_scale: f64,
    pub time_unit: &'static str,
    /// Up to two columns with energies that all states share.
    pub common: Vec<usize>,
    /// Column with ΔH of each state, `None` for the sampled state where it is not written; empty without any.
    pub differences: Vec<Option<usize>>,
    /// Column with ∂H/∂λ of each component; empty without any.
    pub derivatives: Vec<Option<usize>>,
    /// Pairs of columns with ΔH to states that the file writes alike.
    pub twins: Vec<(usize, usize)>,
}

/// Collects the rows of one file into series, one per stretch with a layout of its own.
pub(super) struct Rows<'a> {
    text: &'a Text,
    damage: Damage<'a>,
    layout: Option<Layout>,
    series: Vec<Series>,
    row: Vec<f64>,
    previous: Option<&'a [u8]>,
    /// Rows and first line in which ΔH to the own state is not zero, and in which twins differ.
    strange: [(usize, u32); 2],
}

impl<'a> Rows<'a> {
    pub fn new(text: &'a Text) -> Self {
        Self {
            text,
            damage: Damage::new(text),
            layout: None,
            series: Vec::new(),
            row: Vec::new(),
            previous: None,
            strange: [(0, 0); 2],
        }
    }

    /// Whether a header was met.
    pub fn has_layout(&self) -> bool {
        self.layout.is_some()
    }

    /// A header begins.
    pub fn header(&mut self) {
        self.damage.header();
        self.previous = None;
    }

    /// A header stands at the end of the file.
    pub fn header_without_rows(&mut self, line: u32) {
        let path = self.text.path.display();
        let warning = format!("`{path}`, line {line}: a header without samples at the end is left out");
        self.series.last_mut().expect("a layout has a series").warnings.push(warning);
    }

    /// The rows from here on have this layout; the same as before means that a run was appended.
    pub fn begin(&mut self, layout: Layout, line: u32) {
        if self.layout.as_ref() == Some(&layout) {
            let path = self.text.path.display();
            let warning = format!("`{path}`, line {line}: the header is repeated, a run was appended");
            self.series.last_mut().expect("a layout has a series").warnings.push(warning);
            return;
        }
        self.finish_stretch();
        self.series.push(Series {
            sources: vec![self.text.path.clone()],
            format: layout.format,
            temperature_k: layout.temperature_k,
            components: layout.components.clone(),
            states: layout.states.clone(),
            time: Vec::new(),
            time_unit: layout.time_unit,
            state_of: Vec::new(),
            u_kt: Vec::new(),
            computed: None,
            dudl_kt: Vec::new(),
            origin: Vec::new(),
            warnings: Vec::new(),
        });
        self.layout = Some(layout);
    }

    /// Reads a row; there is a layout.
    ///
    /// Where a row was cut and another file appended, gives what follows it, from the first of `marks` on.
    pub fn row(
        &mut self,
        number: u32,
        line: &'a [u8],
        complete: bool,
        marks: &[u8],
    ) -> Result<Option<&'a [u8]>> {
        let Some(layout) = &self.layout else { return Ok(None) };
        let expected = || format!("{} numbers", layout.n_columns);
        if let Err(word) = text::numbers(line, &mut self.row) {
            self.damage.bad(number, expected(), shown(word))?;
            return Ok(line.iter().position(|byte| marks.contains(byte)).map(|at| &line[at..]));
        }
        if self.row.len() != layout.n_columns {
            self.damage.bad(number, expected(), self.row.len().to_string())?;
        } else if !complete && looks_cut(line, self.previous, u8::is_ascii_whitespace) {
            self.damage.bad(number, "a whole line", "one without an end")?;
        } else if !self.row[0].is_finite() {
            self.damage.bad(number, "a time", self.row[0].to_string())?;
        } else {
            self.damage.good();
            self.sample(number, line)?;
            self.previous = Some(line);
        }
        Ok(None)
    }

    /// Adds the numbers of `self.row` to the series.
    fn sample(&mut self, number: u32, line: &[u8]) -> Result<()> {
        let (Some(layout), Some(series)) = (&self.layout, self.series.last_mut()) else { return Ok(()) };
        let row = &self.row;
        if series.origin.is_empty() {
            let n_rows = self.text.bytes.len() / (line.len() + 1) + 1;
            series.u_kt.reserve(n_rows * layout.differences.len());
            series.dudl_kt.reserve(n_rows * layout.derivatives.len());
        }
        let state = match &layout.own {
            Own::Fixed(state) => *state,
            Own::Column { column, states } => {
                let value = row[*column];
                match states.get(value as usize) {
                    Some(state) if value.fract() == 0.0 && value >= 0.0 => *state,
                    _ => {
                        let expected = format!("a state from 0 to {}", states.len() as i64 - 1);
                        return Err(self.text.error(number, expected, value.to_string(), ""));
                    }
                }
            }
        };
        let beta = 1.0 / (GAS_CONSTANT * layout.temperature_k);
        let difference = |column: &Option<usize>| column.map_or(0.0, |column| beta * row[column]);
        let shared = |place: usize| layout.common.get(place).map_or(0.0, |&column| beta * row[column]);
        // pV before U: alchemlyb adds in this order, and rounding shows where U is 1e5 kJ/mol.
        let (first, second) = (shared(0), shared(1));
        series.u_kt.extend(layout.differences.iter().map(|column| difference(column) + first + second));
        let derivative = |column: &Option<usize>| column.map_or(f64::NAN, |column| beta * row[column]);
        series.dudl_kt.extend(layout.derivatives.iter().map(derivative));
        series.time.push(row[0] * layout.time_scale);
        series.state_of.push(state);
        series.origin.push(Origin { source: 0, line: number });

        // In an expanded ensemble ΔH may be from the state before the move that the row has already counted: all
        // of them alike, so that differences between states stand.
        let own = match &layout.own {
            Own::Fixed(state) => layout.differences.get(*state).copied().flatten(),
            Own::Column { .. } => None,
        };
        let not_zero = own.is_some_and(|column| row[column].abs() > ROUNDING_KJ_PER_MOL);
        let differ = |&(one, other): &(usize, usize)| {
            (row[one] - row[other]).abs() > ROUNDING_KJ_PER_MOL + 1e-4 * row[one].abs()
        };
        for (strange, now) in self.strange.iter_mut().zip([not_zero, layout.twins.iter().any(differ)]) {
            if now {
                strange.1 = if strange.0 == 0 { number } else { strange.1 };
                strange.0 += 1;
            }
        }
        Ok(())
    }

    /// The series of the file.
    pub fn finish(mut self) -> Result<Vec<Series>> {
        self.finish_stretch();
        let warnings = self.damage.warnings()?;
        if let Some(last) = self.series.last_mut() {
            last.warnings.extend(warnings);
        }
        Ok(self.series)
    }

    fn finish_stretch(&mut self) {
        let strange = std::mem::take(&mut self.strange);
        let Some(series) = self.series.last_mut() else { return };
        let path = self.text.path.display();
        let n = series.n_samples();
        let sentences = [
            "ΔH to the state of the sample is not zero: λ changed during the run, or the header does not belong to \
             the rows",
            "two states are written with the same λ but have different energies: the second is left out; write λ \
             with more digits or leave out one of the states",
        ];
        for ((count, line), sentence) in strange.into_iter().zip(sentences) {
            if count > 0 {
                let warning = format!("`{path}`, line {line} and {} of {n} rows more: {sentence}", count - 1);
                series.warnings.push(warning);
            }
        }
        if n == 0 {
            series.warnings.push(format!("`{path}` has a header and no samples"));
        }
    }
}
