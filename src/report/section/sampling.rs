//! How well sequential Monte Carlo and replica exchange did their work.

use super::quantity_text;
use crate::Result;
use crate::report::contents::Contents;
use crate::report::figure::Color;
use crate::report::figure::lines::{Line, LineChart, rows_of_charts};
use crate::report::page::{Section, Table};
use crate::report::table::CsvTable;

/// The section.
pub fn section(contents: &Contents) -> Result<Section> {
    let mut section = Section::new("sampling", "Sampling along the path");
    let mut charts = Vec::new();
    if let Some(table) = &contents.smc_levels {
        charts.extend(smc_charts(table)?);
    }
    let has_smc = !charts.is_empty();
    if let Some(table) = &contents.replica_exchange {
        let mut chart = LineChart::new("Replica exchange: acceptance", "log-SNR", "acceptance");
        chart.y_range = Some((0.0, 1.0));
        for (column, label, color) in [("swap_acceptance", "swaps", 0), ("move_acceptance", "moves", 1)] {
            chart.lines.extend(line(table, column, label, color)?);
        }
        charts.push(chart);
    }
    charts.retain(|chart| !chart.is_empty());
    if !charts.is_empty() {
        let figure = rows_of_charts("sampling", "Diagnostics of the samplers over the levels", &charts, 2);
        let smc = "Effective sample size of sequential Monte Carlo between resamplings, and of the weights that would have \
            accumulated without any; unique ancestors are the particles of the noise end with descendants at a \
            level. ";
        let levels = "The noise end is at the left (small log-SNR), the data end at the right.";
        section.figure(figure, if has_smc { format!("{smc}{levels}") } else { levels.into() });
    }
    let mut table =
        Table::new("Diagnostics", ["Quantity", "Value", "Unit", "Method"]).with_words(2).with_words(3);
    for (name, quantity) in &contents.diagnostics {
        let (value, unit) = quantity_text(name, quantity);
        let method = quantity.method.clone().unwrap_or_default();
        table.rows.push(vec![super::variants::quantity_label(contents, name), value, unit, method]);
    }
    section.table(table.without_empty_columns());
    Ok(section)
}

fn smc_charts(table: &CsvTable) -> Result<Vec<LineChart>> {
    let mut sizes = LineChart::new("SMC: effective sample size", "log-SNR", "particles");
    let columns = [
        ("ess", "ESS", 0),
        ("ess_without_resampling", "ESS without resampling", 3),
        ("unique_ancestors", "unique ancestors", 2),
    ];
    for (column, label, color) in columns {
        sizes.lines.extend(line(table, column, label, color)?);
    }
    let all_shares = sizes.lines.iter().flat_map(|line| &line.points).all(|p| !p.1.is_finite() || p.1 <= 1.0);
    if all_shares {
        sizes.y_label = "share of particles".into();
    }
    let mut acceptance = LineChart::new("SMC: acceptance of moves", "log-SNR", "acceptance");
    acceptance.y_range = Some((0.0, 1.0));
    acceptance.lines.extend(line(table, "acceptance", "", 0)?);
    let mut step = LineChart::new("SMC: adapted step size", "log-SNR", "step size");
    step.lines.extend(line(table, "step_size", "", 0)?);
    Ok(vec![sizes.logarithmic_if_wide(1.5), acceptance, step.logarithmic_if_wide(1.0)])
}

fn line(table: &CsvTable, column: &str, label: &str, color: usize) -> Result<Option<Line>> {
    let Some(values) = table.numbers_if_any(column)? else { return Ok(None) };
    let points = table.numbers("log_snr")?.into_iter().zip(values).collect();
    Ok(Some(Line::new(label, points, Color::Series(color))))
}
