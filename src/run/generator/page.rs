//! The report of a Boltzmann generator, made from its run directory alone.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::compare::{EnsembleRow, PopulationRow, REFERENCE};
use super::work::Work;
use crate::error::{Error, Result};
use crate::report::figure::Color;
use crate::report::figure::axis::Kind;
use crate::report::figure::lines::{Line, LineChart, rows_of_charts};
use crate::report::figure::surface::{Grid, Panel, SurfaceRows};
use crate::report::number;
use crate::report::page::{Block, Card, Page, Section, Table, write_figures};
use crate::run::directory::{read_json, write_atomic};
use crate::run::summary::read_rows;

/// Ensembles with a surface and an energy histogram of their own, in the order of panels.
const SHOWN: [&str; 4] = [REFERENCE, "generated", "reweighted", "exchange"];

/// Writes `report/`.
pub fn run(work: &Work) -> Result<()> {
    let directory = work.layout.begin("report")?;
    let comparison = work.layout.finished("compare")?;
    work.begin("report", 1);
    let summary: Value = read_json(&work.layout.root().join("summary.json"))?;
    let ensembles: Vec<EnsembleRow> = read_rows(&comparison.join("ensembles.csv"))?;
    let populations: Vec<PopulationRow> = read_rows(&comparison.join("populations.csv"))?;
    let verdict: Value = read_json(&comparison.join("verdict.json"))?;
    let mut sections = vec![
        headline(&summary, &verdict),
        table_of_ensembles(&ensembles),
        surfaces(&comparison, &ensembles)?,
        energies(&comparison, &ensembles)?,
        table_of_populations(&populations),
        costs(&ensembles),
    ];
    sections.retain(|section| !section.is_empty());
    let page = Page {
        title: format!("Boltzmann generator of {}", work.plan.molecule),
        subtitle: work.plan.sentence(),
        sections,
    };
    write_figures(&page.sections, &directory.join("figures"))?;
    write_atomic(&directory.join("report.html"), page.html()?.as_bytes())?;
    work.layout.finish("report")?;
    work.control.progress().end("report.html");
    Ok(())
}

fn headline(summary: &Value, verdict: &Value) -> Section {
    let mut section = Section::new("result", "");
    let number = |name: &str| summary[name]["value"].as_f64();
    let with_error = |name: &str| {
        let error = summary[name]["std_error"].as_f64();
        number(name).map_or_else(|| "–".into(), |value| number::with_error(value, error))
    };
    let percent = |name: &str| number(name).map_or_else(|| "–".into(), |value| number::percent(value, None));
    let per_sample = number("physical_evaluations_per_sample_ais").map_or_else(String::new, |n| {
        format!("{} evaluations of the physical energy per sample", number::plain(n.round()))
    });
    let card = |label: &str, value: String, note: String| Card {
        label: label.into(),
        value,
        unit: String::new(),
        note,
    };
    let learned =
        format!("{} of annealed walkers that are never resampled", percent("ess_fraction_annealed"));
    let before = format!("{} before reweighting", with_error("js_excess_generated"));
    section.blocks.push(Block::Cards {
        cards: vec![
            card("Effective share without physical moves", percent("ess_fraction"), learned),
            card("Effective share after annealing", percent("ess_fraction_ais"), per_sample),
            card("JS above the floor, reweighted", with_error("js_excess_reweighted"), before),
            card(
                "log Z of the molecule",
                with_error("log_z_physical_mbar"),
                format!("{} by annealing alone", with_error("log_z_physical")),
            ),
        ],
    });
    let tone = if verdict["trustworthy"].as_bool().unwrap_or(false) { "good" } else { "bad" };
    let text = verdict["verdict"].as_str().unwrap_or_default().to_string();
    section.blocks.push(Block::Verdict { tone, text });
    section
}

fn optional(value: Option<f64>, error: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |value| number::with_error(value, error))
}

fn table_of_ensembles(ensembles: &[EnsembleRow]) -> Section {
    let mut section = Section::new("ensembles", "Ensembles");
    let header = [
        "Ensemble",
        "Conformations",
        "Effective share",
        "JS",
        "Floor",
        "Excess",
        "PMF error / kT²",
        "Its floor",
    ];
    let mut table = Table::new("", header);
    for row in ensembles {
        table.rows.push(vec![
            row.label.clone(),
            row.n_frames.to_string(),
            number::percent(row.ess_fraction, None),
            optional(row.js, row.js_std_error),
            optional(row.js_floor, None),
            optional(row.js_excess, row.js_std_error),
            optional(row.pmf_error, None),
            optional(row.pmf_error_floor, None),
        ]);
    }
    table.note =
        "Jensen–Shannon divergence of the first two variables against direct simulation, 64 × 64 bins. The \
                  floor is that of two equal ensembles of as many effective conformations."
            .into();
    section.table(table);
    section
}

/// A row of `surface_NAME.csv`, whatever its variables are called.
#[derive(Deserialize)]
struct Point(f64, f64, Option<f64>);

fn surfaces(directory: &Path, ensembles: &[EnsembleRow]) -> Result<Section> {
    let mut section = Section::new("surfaces", "Free-energy surfaces");
    let (mut panels, mut labels) = (Vec::new(), None);
    for name in SHOWN {
        let path = directory.join(format!("surface_{name}.csv"));
        let points: Vec<Point> = read_rows(&path)?;
        let Some(row) = ensembles.iter().find(|row| row.name == name).filter(|_| !points.is_empty()) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let header: Vec<String> =
            text.lines().next().unwrap_or_default().split(',').map(str::to_string).collect();
        labels = Some((header[0].clone(), header[1].clone()));
        let points: Vec<(f64, f64, f64)> =
            points.iter().map(|point| (point.0, point.1, point.2.unwrap_or(f64::NAN))).collect();
        panels.push(Panel { title: row.label.clone(), grid: Grid::from_points(&points) });
    }
    let Some((x_label, y_label)) = labels else { return Ok(section) };
    let rows = panels.chunks(2).map(|panels| (String::new(), panels.to_vec())).collect();
    let figure = SurfaceRows {
        rows,
        x_label,
        y_label,
        kinds: (Kind::Linear, Kind::Linear),
        value_label: "free energy / kT".into(),
    }
    .figure("surfaces", "Free-energy surfaces of the direct simulation and the generated ensembles");
    section.figure(figure, "In kT, zero at the minimum of each. Where nothing was seen there is no value.");
    Ok(section)
}

fn energies(directory: &Path, ensembles: &[EnsembleRow]) -> Result<Section> {
    let mut section = Section::new("energies", "Physical energy");
    let path = directory.join("energies.csv");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let rows: Vec<Vec<f64>> =
        lines.map(|line| line.split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect()).collect();
    let mut chart = LineChart::new("Distribution of the physical energy", "energy / kT", "density · kT");
    for (idx, name) in SHOWN.into_iter().enumerate() {
        let place = header.iter().position(|column| *column == name);
        let row = ensembles.iter().find(|row| row.name == name);
        let (Some(place), Some(row)) = (place, row) else { continue };
        let points = rows.iter().filter_map(|row| Some((*row.first()?, *row.get(place)?))).collect();
        let line = Line::new(row.label.clone(), points, Color::Series(idx));
        chart.lines.push(if name == REFERENCE { line.filled() } else { line });
    }
    if !chart.is_empty() {
        let figure = rows_of_charts("energies", "Distribution of the physical energy", &[chart], 1);
        let caption = "Generated conformations as they come; the others with their weights.";
        section.figure(figure, caption);
    }
    Ok(section)
}

fn table_of_populations(populations: &[PopulationRow]) -> Section {
    let mut section = Section::new("populations", "Populations, and other states by weights alone");
    let header = ["Region", "State", "Ensemble", "Population", "Deviation / σ"];
    let mut table = Table::new("", header).with_words(1).with_words(2);
    for row in populations {
        table.rows.push(vec![
            row.label.clone(),
            row.state.clone(),
            row.ensemble.clone(),
            number::percent(row.value, Some(row.std_error)),
            row.deviation.map_or_else(|| "–".into(), |deviation| format!("{deviation:+.1}")),
        ]);
    }
    table.note =
        "The deviation is from direct simulation of the same state, in combined standard errors.".into();
    section.table(table);
    section
}

fn costs(ensembles: &[EnsembleRow]) -> Section {
    let mut section = Section::new("costs", "Cost");
    let header = [
        "Ensemble",
        "Learned evaluations",
        "Physical evaluations",
        "Effective samples",
        "Evaluations per effective sample",
        "Time",
    ];
    let mut table = Table::new("", header);
    for row in ensembles.iter().filter(|row| row.n_learned_evaluations + row.n_physical_evaluations > 0) {
        let total = (row.n_learned_evaluations + row.n_physical_evaluations) as f64;
        table.rows.push(vec![
            row.label.clone(),
            row.n_learned_evaluations.to_string(),
            row.n_physical_evaluations.to_string(),
            number::plain(row.n_independent.round()),
            number::plain((total / row.n_independent).round()),
            number::duration(row.seconds),
        ]);
    }
    table.note =
        "Effective samples of the slowest of sine and cosine of the first two variables, from the spread of \
                  independent blocks. Learning is not counted; an evaluation with its gradient counts once."
            .into();
    section.table(table);
    section
}
