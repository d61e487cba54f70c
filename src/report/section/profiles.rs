//! Potentials of mean force along each collective variable.

use super::{VariableAxis, set_color, set_label, symbol};
use crate::Result;
use crate::report::contents::Contents;
use crate::report::figure::lines::{Line, LineChart, rows_of_charts};
use crate::report::page::Section;
use crate::report::table::CsvTable;

/// The section.
pub fn section(contents: &Contents) -> Result<Section> {
    let mut section = Section::new("profiles", "Potentials of mean force");
    let main = charts(contents, None)?;
    if !main.is_empty() {
        let n_columns = main.len().min(2);
        let figure = rows_of_charts("pmf", "Potentials of mean force of data and samples", &main, n_columns);
        section.figure(figure, CAPTION);
    }
    for variant in &contents.variants {
        let charts = charts(variant, Some(contents))?;
        if !charts.is_empty() {
            let name = format!("pmf_{}", variant.name);
            let label = super::variants::label(&variant.name);
            let description = format!("Potentials of mean force of the variant {label}");
            let n_columns = charts.len().min(2);
            let figure = rows_of_charts(&name, &description, &charts, n_columns);
            section.figure(figure, format!("The same for the variant “{label}”."));
        }
    }
    Ok(section)
}

const CAPTION: &str = "−ln of the probability density in kT, minimum at zero; bands are one standard error. \
    Data: test frames. MBAR: all levels of the learned path, reweighted to the data end.";

/// One chart for each variable; data of `reference` where the contents have none.
fn charts(contents: &Contents, reference: Option<&Contents>) -> Result<Vec<LineChart>> {
    let variables = reference.unwrap_or(contents).variables();
    let mut names: Vec<String> = variables.iter().map(|variable| variable.name.to_lowercase()).collect();
    names.extend(contents.pmfs.keys().map(|name| name.to_lowercase()));
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let mut charts = Vec::new();
    for name in names {
        let of = |contents: &Contents| {
            let sets = contents.pmfs.iter().find(|(key, _)| key.to_lowercase() == name).map(|(_, sets)| sets);
            sets.cloned().unwrap_or_default()
        };
        let mut sets = of(contents);
        if sets.iter().all(|(set, _)| set != "data") {
            sets.extend(reference.map(of).unwrap_or_default().into_iter().filter(|(set, _)| set == "data"));
        }
        let estimated = contents.estimated_pmf.get(&name);
        if sets.iter().all(|(set, _)| set != "mbar") {
            sets.extend(estimated.map(|table| ("mbar".to_string(), table.clone())));
        }
        sets.retain(|(set, _)| set != "train");
        let Some(column) = sets.first().and_then(|(_, table)| table.header().first()).cloned() else {
            continue;
        };
        let axis = VariableAxis::of_column(&column, &variables);
        let mut chart = LineChart::new(format!("Along {}", symbol(&name)), axis.label, "free energy / kT");
        chart.x_kind = axis.kind;
        // The data last, so that they lie on top.
        sets.sort_by_key(|(set, _)| set == "data");
        for (set, table) in &sets {
            chart.lines.push(line(set, table, axis.factor)?);
        }
        if let Some(data) = chart.lines.pop_if(|line| line.label == set_label("data")) {
            chart.lines.push(data.dashed(5.0));
        }
        chart.y_range = y_range(&chart.lines);
        if !chart.is_empty() {
            charts.push(chart);
        }
    }
    Ok(charts)
}

/// From the lowest value of all lines to 5 kT above the highest of the data, where another line goes beyond.
fn y_range(lines: &[Line]) -> Option<(f64, f64)> {
    let values = |line: &Line| -> Vec<f64> {
        line.points.iter().map(|point| point.1).filter(|value| value.is_finite()).collect()
    };
    let data = lines.iter().find(|line| line.label == set_label("data"))?;
    let highest = values(data).into_iter().fold(f64::NEG_INFINITY, f64::max) + 5.0;
    let all: Vec<f64> = lines.iter().flat_map(values).collect();
    let lowest = all.iter().copied().fold(f64::INFINITY, f64::min);
    let beyond = all.iter().any(|&value| value > highest);
    (beyond && highest.is_finite() && lowest.is_finite()).then_some((lowest.min(0.0) - 0.5, highest))
}

fn line(set: &str, table: &CsvTable, factor: f64) -> Result<Line> {
    let x = table.numbers(&table.header()[0])?;
    let y = table.numbers("pmf_kT")?;
    let errors = table.numbers_if_any("std_error_kT")?.unwrap_or_default();
    let points = x.into_iter().map(|x| x * factor).zip(y).collect();
    Ok(Line::new(set_label(set), points, set_color(set)).with_band(errors))
}
