//! The report: all roads in one figure and one table, and what lies behind them.

use std::path::Path;

use serde_json::Value;

use super::plan::Plan;
use super::table::Table;
use crate::error::Result;
use crate::free_energy::alchemical::Severity;
use crate::report::figure::Color;
use crate::report::figure::forest::{self, Forest};
use crate::report::figure::lines::{Line, LineChart, rows_of_charts};
use crate::report::number;
use crate::report::page::{self, Block, Card, Page, Section};
use crate::report::table::CsvTable;
use crate::run::directory::{read_json, write_atomic};
use crate::units::EnergyUnit;

/// Writes `report.html` and its figures into `directory`; `run` holds the other parts.
pub(super) fn write(table: &Table, plan: &Plan, run: &Path, directory: &Path) -> Result<()> {
    let mut sections = vec![roads(table, plan), details(table)];
    sections.extend([works(run)?, integrands(run)?, losses(run)?].into_iter().flatten());
    page::write_figures(&sections, &directory.join("figures"))?;
    let config = &plan.config;
    let page = Page {
        title: format!("Solvation of {}", config.system.topology.rsplit('/').next().unwrap_or_default()),
        subtitle: format!(
            "{} atoms · {} · {} · seed {}",
            plan.parameters.n_atoms(),
            config.temperature,
            config.process.sentence(),
            config.seed
        ),
        sections,
    };
    write_atomic(&directory.join("report.html"), page.html()?.as_bytes())
}

fn roads(table: &Table, plan: &Plan) -> Section {
    let mut section = Section::new("roads", "");
    if let Some(reference) = table.reference() {
        let card = |unit: EnergyUnit, name: &str| {
            let factor = unit.per_kt(plan.config.temperature.as_kelvin());
            Card {
                label: format!("Free energy, {}", reference.name),
                value: number::two_digits(factor * reference.value_kt, factor * reference.std_error_kt)
                    .replace('-', "−"),
                unit: name.into(),
                note: String::new(),
            }
        };
        section.blocks.push(Block::Cards {
            cards: vec![
                card(EnergyUnit::Kt, "kT"),
                card(EnergyUnit::KjPerMol, "kJ/mol"),
                card(EnergyUnit::KcalPerMol, "kcal/mol"),
            ],
        });
    }
    let (sentence, trustworthy) = table.verdict();
    section.blocks.push(Block::Verdict { tone: if trustworthy { "good" } else { "bad" }, text: sentence });
    let groups = table.groups.iter().enumerate().map(|(idx, group)| forest::Group {
        title: group.title.into(),
        rows: (group.rows.iter())
            .map(|row| forest::Row {
                label: row.road.name.replace('_', " "),
                value: row.road.value_kt,
                std_error: row.road.std_error_kt,
                text: row.road.words(),
                color: Color::Series(idx),
            })
            .collect(),
    });
    let figure = Forest {
        name: "roads".into(),
        description: "The free energy by every road, with one standard error".into(),
        x_label: "F(solvent) − F(vacuum) / kT".into(),
        groups: groups.collect(),
        reference: table.reference().map(|road| (road.value_kt, road.std_error_kt)),
    };
    let caption = "Dots with one standard error; the band is twice the error of the reference. A triangle lies outside \
                   of the scale. Classical, corrected, escorted, annealed and absolute roads are exact up to their errors; learned roads \
                   carry the error of their model as well.";
    section.figure(figure.draw(), caption);
    section
}

fn details(table: &Table) -> Section {
    let mut section = Section::new("table", "What each road took");
    let header = [
        "Road",
        "Value / kT",
        "From the reference / errors",
        "Physical energies",
        "Learned energies",
        "Time",
    ];
    let mut numbers = page::Table::new("", header).with_words(0);
    let mut words =
        page::Table::new("", ["Road", "How", "Verdict"]).with_words(0).with_words(1).with_words(2);
    for (_, row) in table.rows() {
        let road = &row.road;
        let name = road.name.replace('_', " ");
        numbers.rows.push(vec![
            name.clone(),
            road.words(),
            table.deviation(road).map_or_else(String::new, |deviation| format!("{deviation:+.1}")),
            count(road.n_energy_evaluations),
            count(row.n_model_evaluations),
            number::duration(road.wall_seconds),
        ]);
        let worst = road.verdicts.iter().filter(|verdict| verdict.severity > Severity::Note);
        let said: Vec<&str> = worst.map(|verdict| verdict.message.as_str()).collect();
        words.rows.push(vec![
            name,
            road.method.clone(),
            if said.is_empty() { "ok".into() } else { said.join("; ") },
        ]);
    }
    section.table(numbers);
    section.paragraph(
        "Energies are counted by conformation, with or without forces, everything that a road needs included; learned \
         energies without those of training. Times include frames and training.",
    );
    section.table(words);
    section
}

fn count(n: u64) -> String {
    if n == 0 { "–".into() } else { number::plain(n as f64) }
}

/// Works in both directions, where roads have them.
fn works(run: &Path) -> Result<Option<Section>> {
    let mut charts = Vec::new();
    for (part, title) in [
        ("classical", "Switching λ"),
        ("escorted", "Escorted by a learned velocity"),
        ("escorted_untrained", "Escorted, without training"),
        ("annealed", "Annealed along the learned path"),
        ("annealed_untrained", "Annealed, without training"),
    ] {
        let path = run.join(part).join("details.json");
        if !path.is_file() {
            continue;
        }
        let details: Value = read_json(&path)?;
        let list = |key: &str| -> Vec<f64> {
            let values = details["works"][key].as_array().cloned().unwrap_or_default();
            values.iter().filter_map(Value::as_f64).filter(|work| work.is_finite()).collect()
        };
        let (forward, reverse) = (list("forward_kt"), list("reverse_kt"));
        if forward.is_empty() || reverse.is_empty() {
            continue;
        }
        let reverse: Vec<f64> = reverse.iter().map(|work| -work).collect();
        let mut chart = LineChart::new(title, "Work / kT", "Density");
        let range = central_range(&[&forward, &reverse]);
        chart
            .lines
            .push(Line::new("into the solvent", histogram(&forward, range), Color::Series(0)).filled());
        chart.lines.push(Line::new("back, negative", histogram(&reverse, range), Color::Series(1)).filled());
        charts.push(chart);
    }
    if charts.is_empty() {
        return Ok(None);
    }
    let mut section = Section::new("works", "Works");
    let figure = rows_of_charts("works", "Histograms of works in both directions", &charts, 2);
    section.figure(
        figure,
        "Where both directions do the same work the process is reversible; the curves cross at the free energy (Crooks).",
    );
    Ok(Some(section))
}

/// From the first to the last percent of all values.
fn central_range(sets: &[&[f64]]) -> (f64, f64) {
    let mut all: Vec<f64> = sets.iter().flat_map(|set| set.iter().copied()).collect();
    all.sort_by(f64::total_cmp);
    let at = |quantile: f64| all[((all.len() - 1) as f64 * quantile) as usize];
    (at(0.01), at(0.99))
}

fn histogram(values: &[f64], (low, high): (f64, f64)) -> Vec<(f64, f64)> {
    const BINS: usize = 60;
    let width = ((high - low) / BINS as f64).max(1e-9);
    let mut counts = [0.0; BINS];
    for value in values {
        let bin = ((value - low) / width).floor();
        if (0.0..BINS as f64).contains(&bin) {
            counts[bin as usize] += 1.0 / (values.len() as f64 * width);
        }
    }
    counts.iter().enumerate().map(|(bin, density)| (low + (bin as f64 + 0.5) * width, *density)).collect()
}

/// Parts of learned roads, by model.
fn models(run: &Path, stem: &str) -> Vec<(String, std::path::PathBuf)> {
    let kinds = [("", "with classification"), ("scores_", "score matching alone")];
    let mut found = Vec::new();
    for (prefix, label) in kinds {
        for model in 1..=100 {
            let path = run.join(format!("{stem}_{prefix}{model}"));
            if !path.is_dir() {
                break;
            }
            found.push((format!("{label}, model {model}"), path));
        }
    }
    found
}

fn integrands(run: &Path) -> Result<Option<Section>> {
    let mut chart = LineChart::new("Integrand", "log(a²/g²), the clock", "∂u/∂(clock) / kT");
    let mut table = page::Table::new(
        "Ends of the learned energies: deviation of u_θ − u over frames of each end",
        ["Model", "Integral / kT", "Vacuum: σ / kT", "F_θ − F", "Solvent: σ / kT", "F_θ − F"],
    )
    .with_words(0);
    for (idx, (label, path)) in models(run, "learned").into_iter().enumerate() {
        let details: super::learned::LearnedIntegration = read_json(&path.join("details.json"))?;
        let points = details.nodes.iter().map(|node| (node.log_snr, node.mean_kt)).collect();
        let errors = details.nodes.iter().map(|node| node.std_error_kt).collect();
        chart.lines.push(Line::new(&label, points, Color::Series(idx)).with_band(errors));
        let [first, second] = &details.brackets;
        table.rows.push(vec![
            label,
            number::two_digits(details.integral_kt.0, details.integral_kt.1),
            number::plain(first.deviation_kt),
            number::two_digits(first.value_kt, first.std_error_kt),
            number::plain(second.deviation_kt),
            number::two_digits(second.value_kt, second.std_error_kt),
        ]);
    }
    if chart.lines.is_empty() {
        return Ok(None);
    }
    let mut section = Section::new("integration", "Integration along learned energies");
    let figure = rows_of_charts("integrands", "Integrands along the clock", &[chart], 1);
    section.figure(
        figure,
        "With one constant for all times the integral vanishes, and the ends hold the free energy.",
    );
    section.table(table);
    Ok(Some(section))
}

fn losses(run: &Path) -> Result<Option<Section>> {
    let mut chart = LineChart::new("Held-out loss", "Step", "Score matching per degree of freedom");
    for (idx, (label, path)) in models(run, "learning").into_iter().enumerate() {
        let Some(table) = CsvTable::read_if_exists(&path.join("loss.csv"))? else { continue };
        if !table.has("validation_dsm") {
            continue;
        }
        let (steps, losses) = (table.numbers("step")?, table.numbers("validation_dsm")?);
        let points = steps.into_iter().zip(losses).filter(|(_, loss)| loss.is_finite()).collect();
        chart.lines.push(Line::new(label, points, Color::Series(idx)));
    }
    if chart.is_empty() {
        return Ok(None);
    }
    let mut section = Section::new("training", "Training");
    section
        .figure(rows_of_charts("losses", "Held-out losses", &[chart], 1), "Frames that no model has seen.");
    Ok(Some(section))
}
