//! The free energy along the path by every road, the integrand of one of them, and overlap.

use super::{set_color, set_label};
use crate::Result;
use crate::report::contents::Contents;
use crate::report::figure::Color;
use crate::report::figure::axis::Kind;
use crate::report::figure::heat_map::HeatMap;
use crate::report::figure::lines::{Line, LineChart, rows_of_charts};
use crate::report::page::Section;
use crate::report::table::CsvTable;

/// The section.
pub fn section(contents: &Contents) -> Result<Section> {
    let mut section = Section::new("path", "Free energy along the path");
    if let Some(table) = &contents.path {
        let mut charts = vec![roads_chart(table)?, integrand_chart(table)?];
        charts.retain(|chart| !chart.is_empty());
        if !charts.is_empty() {
            let figure = rows_of_charts("path", "Free energy along the path by several roads", &charts, 2);
            section.figure(
                figure,
                "Free energy relative to the noise end (left), bands are one standard error. The integrand of \
                 thermodynamic integration is multiplied by t, so that equal areas on its axis are equal parts \
                 of the integral.",
            );
        }
    }
    if let Some(table) = contents.overlap.as_ref().filter(|table| table.n_rows() > 0) {
        let values = table.square()?;
        let n = table.header().len();
        let weakest = (0..n.saturating_sub(1)).map(|i| values[i * n + i + 1]).fold(f64::INFINITY, f64::min);
        let map = HeatMap {
            title: "Overlap of levels".into(),
            names: table.header().to_vec(),
            values,
            axis_label: "level".into(),
            value_label: "overlap".into(),
        };
        let weakest = if weakest.is_finite() {
            format!(
                " The weakest link of neighbours is {weakest:.3}; below 0.03 an estimate should not be trusted."
            )
        } else {
            String::new()
        };
        section.figure(
            map.figure("overlap", "Overlap matrix of the levels of the path"),
            format!(
                "Probability that a sample of one level (row) could have come from another (column).{weakest}"
            ),
        );
    }
    Ok(section)
}

fn roads_chart(table: &CsvTable) -> Result<LineChart> {
    let mut chart = LineChart::new("Free energy relative to the noise end", "log-SNR", "free energy / kT");
    chart.y_mark = Some(0.0);
    let log_snr = table.numbers("log_snr")?;
    for (road, dash) in [("smc", None), ("mbar", Some(7.0)), ("ti", Some(2.5))] {
        let Some(values) = table.numbers_if_any(&format!("free_energy_{road}_kT"))? else { continue };
        let errors = table.numbers_if_any(&format!("std_error_{road}_kT"))?.unwrap_or_default();
        let points = log_snr.iter().copied().zip(values).collect();
        let mut line = Line::new(set_label(road), points, set_color(road)).with_band(errors);
        line.dash = dash;
        chart.lines.push(line);
    }
    Ok(chart)
}

fn integrand_chart(table: &CsvTable) -> Result<LineChart> {
    let mut chart =
        LineChart::new("Integrand of thermodynamic integration", "diffusion time t", "t · E[∂u/∂t] / kT");
    let (Some(times), Some(values)) = (table.numbers_if_any("t")?, table.numbers_if_any("du_dt_kT")?) else {
        return Ok(chart);
    };
    let errors = table.numbers_if_any("du_dt_std_error_kT")?.unwrap_or_default();
    let positive = |i: &usize| times[*i] > 0.0;
    let points = (0..times.len()).filter(positive).map(|i| (times[i], times[i] * values[i])).collect();
    let errors = (0..times.len()).filter(positive).filter_map(|i| Some(times[i] * errors.get(i)?)).collect();
    chart.x_kind = Kind::Logarithmic;
    chart.y_mark = Some(0.0);
    chart.lines.push(Line::new("", points, Color::Series(0)).with_band(errors).with_dots());
    Ok(chart)
}
