//! Free-energy surfaces over two collective variables, all on one colour scale.

use super::{VariableAxis, set_label};
use crate::Result;
use crate::report::contents::Contents;
use crate::report::figure::axis::Kind;
use crate::report::figure::surface::{Grid, Panel, SurfaceRows};
use crate::report::page::Section;
use crate::report::table::CsvTable;

/// Sets that are shown; training frames look like the data.
const SHOWN: [&str; 6] = ["data", "iid", "langevin", "equilibrium", "smc", "mbar"];

/// The section.
pub fn section(contents: &Contents) -> Result<Section> {
    let mut section = Section::new("surfaces", "Free-energy surfaces");
    let variables = contents.variables();
    let Some((_, first)) = contents.histograms.first() else { return Ok(section) };
    let axes = |table: &CsvTable| -> Option<(VariableAxis, VariableAxis)> {
        let header = table.header();
        Some((
            VariableAxis::of_column(header.first()?, &variables),
            VariableAxis::of_column(header.get(1)?, &variables),
        ))
    };
    let Some((x, y)) =
        axes(first).filter(|_| first.header().get(2).is_some_and(|name| name == "probability"))
    else {
        return Ok(section);
    };
    let factors = (x.factor, y.factor);
    let mut rows = vec![(super::variants::name_of_main(contents), panels(contents, factors)?)];
    for variant in &contents.variants {
        let mut of_variant = panels(variant, factors)?;
        of_variant.retain(|panel| panel.title != set_label("data") || rows[0].1.is_empty());
        // Columns of the main row, so that a set stands below itself.
        let titles: Vec<String> = rows[0].1.iter().map(|panel| panel.title.clone()).collect();
        let aligned = titles.iter().enumerate().map(|(i, title)| {
            if i == 0 && *title == set_label("data") {
                return rows[0].1.first().cloned();
            }
            of_variant.iter().find(|panel| panel.title == *title).cloned()
        });
        let blank = |title: &String| Panel {
            title: format!("{title}: not run"),
            grid: Grid { x: vec![-1.0, 1.0], y: vec![-1.0, 1.0], values: vec![f64::NAN; 4] },
        };
        let row: Vec<Panel> = aligned
            .zip(&titles)
            .map(|(panel, title)| panel.unwrap_or_else(|| with_range_of(blank(title), &rows[0].1)))
            .collect();
        if !of_variant.is_empty() {
            rows.push((super::variants::label(&variant.name), row));
        }
    }
    rows.retain(|row| !row.1.is_empty());
    if rows.is_empty() {
        return Ok(section);
    }
    shift_to_zero(&mut rows);
    limit(&mut rows);
    let kinds: (Kind, Kind) = (x.kind, y.kind);
    let (x_label, y_label) = (x.label, y.label);
    let value_label = "−ln p / kT".into();
    let figure = SurfaceRows { rows, x_label, y_label, kinds, value_label }.figure(
        "surfaces",
        "Free-energy surfaces of the data and of every set of samples on one colour scale",
    );
    section.figure(
        figure,
        "−ln p of every bin, relative to the most populated bin of the data, in kT. All panels share one colour \
         scale, which ends 3 kT above the rarest bin of the data; bins without a sample, or rarer than that, are \
         blank.",
    );
    Ok(section)
}

fn with_range_of(mut panel: Panel, others: &[Panel]) -> Panel {
    if let Some(other) = others.first() {
        let values = vec![f64::NAN; other.grid.values.len()];
        panel.grid = Grid { values, ..other.grid.clone() };
    }
    panel
}

fn panels(contents: &Contents, factors: (f64, f64)) -> Result<Vec<Panel>> {
    let mut panels = Vec::new();
    for (set, table) in contents.histograms.iter().filter(|(set, _)| SHOWN.contains(&set.as_str())) {
        let probability = table.numbers("probability")?;
        let free_energy = probability.iter().map(|p| if *p > 0.0 { -p.ln() } else { f64::NAN }).collect();
        panels.push(Panel { title: set_label(set), grid: grid(table, free_energy, factors)? });
    }
    // The surface of MBAR is a profile with its minimum at zero, and joins where no histogram does.
    let estimated = contents
        .estimated_pmf
        .values()
        .find(|table| table.header().get(2).is_some_and(|name| name == "pmf_kT"));
    if let (Some(table), false) = (estimated, panels.is_empty() || panels.len() >= 6) {
        let pmf = table.numbers("pmf_kT")?;
        let total: f64 = pmf.iter().filter(|value| value.is_finite()).map(|value| (-value).exp()).sum();
        let normalised = pmf.iter().map(|value| value + total.ln()).collect();
        panels.push(Panel { title: set_label("mbar"), grid: grid(table, normalised, factors)? });
    }
    Ok(panels)
}

fn grid(table: &CsvTable, values: Vec<f64>, factors: (f64, f64)) -> Result<Grid> {
    let (x, y) = (table.numbers(&table.header()[0])?, table.numbers(&table.header()[1])?);
    let points: Vec<(f64, f64, f64)> =
        x.iter().zip(&y).zip(values).map(|((x, y), value)| (x * factors.0, y * factors.1, value)).collect();
    Ok(Grid::from_points(&points))
}

/// Subtracts the minimum of the first panel (the data) from all.
fn shift_to_zero(rows: &mut [(String, Vec<Panel>)]) {
    let Some(reference) = rows.first().and_then(|row| row.1.first()) else { return };
    let zero = reference.grid.values.iter().copied().filter(|v| v.is_finite()).fold(f64::INFINITY, f64::min);
    if zero.is_finite() {
        let panels = rows.iter_mut().flat_map(|row| &mut row.1);
        panels.for_each(|panel| panel.grid.values.iter_mut().for_each(|value| *value -= zero));
    }
}

/// Leaves out what lies more than 3 kT above the highest value of the first panel (the data): weights can make
/// a bin so rare that it alone would take up the colour scale.
fn limit(rows: &mut [(String, Vec<Panel>)]) {
    let Some(reference) = rows.first().and_then(|row| row.1.first()) else { return };
    let finite = reference.grid.values.iter().copied().filter(|v| v.is_finite());
    let highest = finite.fold(f64::NEG_INFINITY, f64::max) + 3.0;
    if highest.is_finite() {
        for value in rows.iter_mut().flat_map(|row| &mut row.1).flat_map(|panel| &mut panel.grid.values) {
            if *value > highest {
                *value = f64::NAN;
            }
        }
    }
}
