//! How the losses went, and how good the final model is at every noise level.

use crate::Result;
use crate::report::contents::Contents;
use crate::report::figure::Color;
use crate::report::figure::axis::Kind;
use crate::report::figure::lines::{Line, LineChart, rows_of_charts};
use crate::report::page::Section;
use crate::report::table::CsvTable;

/// Points of a drawn curve; more frequent records are averaged.
const N_POINTS: usize = 150;

/// Columns that are no objective.
const OTHERS: [&str; 6] = ["step", "stage", "loss", "learning_rate", "gradient_norm", "seconds"];

/// The section.
pub fn section(contents: &Contents) -> Result<Section> {
    let mut section = Section::new("training", "Training");
    let mut charts = Vec::new();
    if let Some(loss) = &contents.loss {
        charts.extend(loss_charts(loss)?);
    }
    charts.retain(|chart| !chart.is_empty());
    if !charts.is_empty() {
        let figure =
            rows_of_charts("loss", "Losses, learning rate and gradient norm over training", &charts, 2);
        section.figure(
            figure,
            "Training losses are averaged over neighbouring steps; held-out losses are as evaluated. Vertical \
             lines are where a stage of training begins.",
        );
    }
    let levels = validation_chart(contents)?;
    if !levels.is_empty() {
        let figure = rows_of_charts("validation", "Held-out loss by noise level", &[levels], 1);
        section.figure(
            figure,
            "Held-out denoising loss of the final model per degree of freedom, by noise level: the cheap signal \
             of where on the path the model is wrong.",
        );
    }
    Ok(section)
}

fn loss_charts(table: &CsvTable) -> Result<Vec<LineChart>> {
    let steps = table.numbers("step")?;
    let stages = if table.has("stage") { table.texts("stage")? } else { vec![String::new(); steps.len()] };
    let marks = stage_marks(&steps, &stages);
    let column = |name: &str| -> Result<Vec<(f64, f64)>> {
        Ok(steps.iter().copied().zip(table.numbers(name)?).filter(|point| point.1.is_finite()).collect())
    };
    let objectives: Vec<&String> = table
        .header()
        .iter()
        .filter(|name| !OTHERS.contains(&name.as_str()) && !name.starts_with("validation"))
        .collect();
    let mut charts = Vec::new();
    for name in objectives {
        let mut chart = LineChart::new(sentence(name), "step", "loss");
        chart.lines.push(Line::new("training", averaged(&column(name)?), Color::Series(0)));
        let short: String = name.split('_').filter_map(|word| word.chars().next()).collect();
        for validation in [format!("validation_{name}"), format!("validation_{short}")] {
            if table.has(&validation) {
                chart.lines.push(Line::new("held out", column(&validation)?, Color::Series(3)).with_dots());
            }
        }
        charts.push(chart);
    }
    if charts.is_empty() && table.has("loss") {
        let mut chart = LineChart::new("Loss", "step", "loss");
        chart.lines.push(Line::new("training", averaged(&column("loss")?), Color::Series(0)));
        charts.push(chart);
    }
    for chart in &mut charts {
        chart.y_range = without_transient(chart);
    }
    for (name, title) in [("learning_rate", "Learning rate"), ("gradient_norm", "Gradient norm")] {
        if table.has(name) {
            let mut chart = LineChart::new(title, "step", sentence(name).to_lowercase());
            chart.lines.push(Line::new("", averaged(&column(name)?), Color::Series(0)));
            charts.push(chart.logarithmic_if_wide(0.8));
        }
    }
    charts.iter_mut().for_each(|chart| chart.x_marks = marks.clone());
    Ok(charts)
}

fn sentence(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Where a stage begins, if there are several.
fn stage_marks(steps: &[f64], stages: &[String]) -> Vec<(f64, String)> {
    let mut marks: Vec<(f64, String)> = Vec::new();
    for (step, stage) in steps.iter().zip(stages) {
        if marks.last().is_none_or(|(_, last)| last != stage) {
            marks.push((*step, stage.clone()));
        }
    }
    if marks.len() < 2 {
        return Vec::new();
    }
    for mark in &mut marks {
        if mark.1.chars().all(|c| c.is_ascii_digit()) {
            mark.1 = format!("stage {}", mark.1);
        } else {
            mark.1 = mark.1.replace('_', " ");
        }
    }
    marks
}

fn averaged(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(N_POINTS).max(1);
    points
        .chunks(size)
        .map(|chunk| {
            let n = chunk.len() as f64;
            (chunk.iter().map(|p| p.0).sum::<f64>() / n, chunk.iter().map(|p| p.1).sum::<f64>() / n)
        })
        .collect()
}

/// The range of the last nine tenths: the first steps would hide everything that follows.
fn without_transient(chart: &LineChart) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = Vec::new();
    for line in &chart.lines {
        let skipped = line.points.len() / 10;
        values.extend(line.points.iter().skip(skipped).map(|point| point.1).filter(|y| y.is_finite()));
    }
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.get(values.len() * 99 / 100)?);
    (high > low).then_some((low - 0.05 * (high - low), high + 0.15 * (high - low)))
}

fn validation_chart(contents: &Contents) -> Result<LineChart> {
    let mut chart =
        LineChart::new("Held-out denoising loss by noise level", "log-SNR", "loss per degree of freedom");
    let runs = std::iter::once(contents).chain(&contents.variants);
    for (i, run) in runs.enumerate() {
        let Some(table) = &run.validation else { continue };
        let points = table.numbers("log_snr")?.into_iter().zip(table.numbers("dsm_per_dof")?).collect();
        let label =
            if i == 0 { super::variants::name_of_main(contents) } else { super::variants::label(&run.name) };
        let color = if i == 0 { Color::Series(0) } else { Color::Series(2 + i) };
        let errors = table.numbers_if_any("std_error")?.unwrap_or_default();
        chart.lines.push(Line::new(label, points, color).with_dots().with_band(errors));
    }
    chart.x_kind = Kind::Linear;
    Ok(chart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averaging_keeps_the_mean_and_short_curves() {
        let points: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let short = averaged(&points);
        assert_eq!(short.len(), 143);
        assert!((short.iter().map(|p| p.1).sum::<f64>() / 143.0 - 0.5).abs() < 0.11);
        assert_eq!(averaged(&points[..5]), points[..5]);
    }

    #[test]
    fn one_stage_has_no_marks() {
        let stage = |names: [&str; 3]| names.map(String::from);
        assert!(stage_marks(&[1.0, 2.0, 3.0], &stage(["1", "1", "1"])).is_empty());
        let marks = stage_marks(&[1.0, 2.0, 3.0], &stage(["1", "2", "2"]));
        assert_eq!(marks, [(1.0, "stage 1".into()), (2.0, "stage 2".into())]);
    }
}
