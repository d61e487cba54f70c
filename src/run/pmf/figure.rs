//! A profile with its error band, or a surface beside its errors.

use std::path::Path;

use super::output::PmfOutcome;
use crate::error::{Error, Result};
use crate::report::figure::axis::Kind;
use crate::report::figure::lines::{Line, LineChart, rows_of_charts};
use crate::report::figure::surface::{Grid, Panel, SurfaceRows};
use crate::report::figure::{Color, Figure, png, svg};

/// `pmf.svg` and `pmf.png`.
pub(super) fn write(outcome: &PmfOutcome, directory: &Path) -> Result<()> {
    let figure = figure(outcome);
    let path = directory.join("pmf.svg");
    std::fs::write(&path, svg::svg(&figure, svg::Destination::File)).map_err(Error::io("write", &path))?;
    png::write_png(&figure, &directory.join("pmf.png"))
}

/// One chart or two surfaces.
pub fn figure(outcome: &PmfOutcome) -> Figure {
    let (values, errors) = (outcome.values(), outcome.std_errors());
    let label = format!("free energy / {}", outcome.unit);
    let description = format!("Potential of mean force along {}", outcome.names.join(" and "));
    match &outcome.pmf.axes[..] {
        [x, y] => {
            let centers = (x.centers(), y.centers());
            let grid = |values: &[f64]| {
                let at = |bin: usize| (centers.0[bin / y.n_bins()], centers.1[bin % y.n_bins()], values[bin]);
                Grid::from_points(&(0..values.len()).map(at).collect::<Vec<_>>())
            };
            let panels = vec![
                Panel { title: "free energy".into(), grid: grid(&values) },
                Panel { title: "standard error".into(), grid: grid(&errors) },
            ];
            SurfaceRows {
                rows: vec![(String::new(), panels)],
                x_label: outcome.names[0].clone(),
                y_label: outcome.names[1].clone(),
                kinds: (Kind::Linear, Kind::Linear),
                value_label: label,
            }
            .figure("pmf", &description)
        }
        axes => {
            let points: Vec<(f64, f64)> = axes[0].centers().into_iter().zip(values).collect();
            let mut chart = LineChart::new(format!("Along {}", outcome.names[0]), &outcome.names[0], label);
            let errors = errors.iter().map(|error| if error.is_finite() { *error } else { 0.0 }).collect();
            chart.lines.push(Line::new("", points, Color::Series(0)).with_band(errors).with_dots());
            rows_of_charts("pmf", &description, &[chart], 1)
        }
    }
}
