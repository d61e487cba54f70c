//! The report of `kirkwood estimate FILES`, made from its `estimate.json` alone.

use super::figure::Color;
use super::figure::heat_map::HeatMap;
use super::figure::lines::{Line, LineChart, rows_of_charts};
use super::number;
use super::page::{Block, Card, Page, Section, Table, write_figures};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a report says about samples that were made for a purpose: in place of the general title, and below the result.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct About {
    /// Of the page.
    pub title: String,
    /// Below it.
    pub subtitle: String,
    /// What the numbers mean.
    pub paragraphs: Vec<String>,
    /// The result again: a name and a value with its unit.
    pub values: Vec<[String; 2]>,
}

/// What the report needs of `estimate.json`; numbers that are null there are missing.
#[derive(Debug, Deserialize)]
struct Contents {
    #[serde(rename = "temperature_K")]
    temperature_k: Option<f64>,
    components: Vec<String>,
    state_names: Vec<String>,
    n_samples: Vec<usize>,
    estimates: Vec<Estimate>,
    verdicts: Vec<Verdict>,
    overlap: Vec<Vec<Option<f64>>>,
    windows: Vec<Window>,
    convergence: Convergence,
    blocks: Vec<BlockPoint>,
    provenance: serde_json::Value,
    #[serde(default)]
    about: Option<About>,
}

#[derive(Debug, Deserialize)]
struct Estimate {
    estimator: String,
    delta_f: Option<f64>,
    std_error: Option<f64>,
    unit: String,
    states: Vec<serde_json::Value>,
    delta_f_row0: Vec<Option<f64>>,
    std_error_row0: Vec<Option<f64>>,
    steps: Vec<Option<f64>>,
    step_errors: Vec<Option<f64>>,
    n_samples: Vec<usize>,
    error_method: String,
    bootstrap_error: Option<f64>,
    max_gradient: Option<f64>,
    #[serde(default)]
    delta_h_row0: Vec<Option<f64>>,
    #[serde(default)]
    delta_h_error_row0: Vec<Option<f64>>,
    #[serde(default)]
    delta_ts_row0: Vec<Option<f64>>,
    #[serde(default)]
    delta_ts_error_row0: Vec<Option<f64>>,
}

#[derive(Debug, Deserialize)]
struct Verdict {
    severity: String,
    message: String,
}

#[derive(Debug, Deserialize)]
struct Window {
    state: usize,
    sources: Vec<String>,
    n_samples: usize,
    n_equilibration: usize,
    inefficiency: Option<f64>,
    n_effective: Option<f64>,
    series: String,
    mean_dudl: Vec<Option<f64>>,
    mean_dudl_error: Vec<Option<f64>>,
}

#[derive(Debug, Deserialize)]
struct Convergence {
    estimator: Option<String>,
    points: Vec<ConvergencePoint>,
}

#[derive(Debug, Deserialize)]
struct ConvergencePoint {
    fraction: f64,
    forward: Option<f64>,
    forward_error: Option<f64>,
    backward: Option<f64>,
    backward_error: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct BlockPoint {
    fraction: f64,
    delta_f: Option<f64>,
    std_error: Option<f64>,
}

/// Writes `report.html` and `figures/*` beside the `estimate.json` of a directory.
pub fn write_report(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("estimate.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let contents: Contents = serde_json::from_str(&text)
        .map_err(|error| Error::file(&path, "", "the result of an estimate", error.to_string()))?;
    let page = contents.page();
    write_figures(&page.sections, &directory.join("figures"))?;
    let (partial, path) = (directory.join("report.html.partial"), directory.join("report.html"));
    std::fs::write(&partial, page.html()?).map_err(Error::io("write", &partial))?;
    std::fs::rename(&partial, &path).map_err(Error::io("rename", &partial))?;
    Ok(path)
}

/// How an estimator is called.
fn title(estimator: &str) -> String {
    match estimator {
        "exp_forward" => "EXP forward".into(),
        "exp_reverse" => "EXP reverse".into(),
        "gaussian_forward" => "Gaussian forward".into(),
        "gaussian_reverse" => "Gaussian reverse".into(),
        other => other.to_uppercase(),
    }
}

fn color(estimator: &str) -> Color {
    match estimator {
        "mbar" => Color::Series(0),
        "bar" => Color::Series(1),
        "ti" => Color::Series(2),
        "exp_forward" | "gaussian_forward" => Color::Series(3),
        _ => Color::Series(4),
    }
}

fn shown(value: Option<f64>, error: Option<f64>) -> String {
    number::with_error(value.unwrap_or(f64::NAN), error)
}

fn or_nan(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().map(|value| value.unwrap_or(f64::NAN)).collect()
}

impl Contents {
    fn page(&self) -> Page {
        let mut sections = vec![
            self.headline(),
            self.contributions(),
            self.overlap(),
            self.derivatives(),
            self.convergence(),
            self.series(),
            self.enthalpy(),
            self.provenance(),
        ];
        sections.retain(|section| !section.is_empty());
        let temperature = self.temperature_k.map_or_else(String::new, |t| format!(" · {t} K"));
        let total: usize = self.n_samples.iter().sum();
        let subtitle = format!("{} states · {total} samples{temperature}", self.state_names.len());
        match &self.about {
            Some(about) => Page {
                title: about.title.clone(),
                subtitle: format!("{} · {subtitle}", about.subtitle),
                sections,
            },
            None => Page {
                title: format!("Free energy along {}", self.components.join(", ")),
                subtitle,
                sections,
            },
        }
    }

    fn unit(&self) -> &str {
        self.estimates.first().map_or("kT", |one| &one.unit)
    }

    fn headline(&self) -> Section {
        let mut section = Section::new("result", "");
        let cards = self
            .estimates
            .iter()
            .map(|one| Card {
                label: title(&one.estimator),
                value: match (one.delta_f, one.std_error) {
                    (Some(value), Some(error)) => number::two_digits(value, error),
                    _ => "undetermined".into(),
                },
                unit: one.unit.clone(),
                note: one
                    .bootstrap_error
                    .map_or_else(String::new, |e| format!("bootstrap ± {}", number::short_error(e))),
            })
            .collect();
        section.blocks.push(Block::Cards { cards });
        if let (Some(first), Some(last)) = (self.state_names.first(), self.state_names.last()) {
            section.paragraph(format!("Free energy of {last} relative to {first}, with one standard error."));
        }
        if let Some(about) = &self.about {
            let mut table = Table::new("The result in other units.", ["", "value"]);
            table.rows = about.values.iter().map(|row| row.to_vec()).collect();
            section.table(table);
            about.paragraphs.iter().for_each(|paragraph| section.paragraph(paragraph));
        }
        if self.verdicts.is_empty() {
            let text =
                "Nothing speaks against these numbers: states overlap, estimators agree, and the first and \
                        last parts of the data say the same."
                    .into();
            section.blocks.push(Block::Verdict { tone: "good", text });
        }
        for verdict in &self.verdicts {
            let tone = match verdict.severity.as_str() {
                "untrustworthy" => "bad",
                _ => "neutral",
            };
            section.blocks.push(Block::Verdict { tone, text: verdict.message.clone() });
        }
        section
    }

    fn contributions(&self) -> Section {
        let mut section = Section::new("contributions", "Contribution of each step");
        if self.state_names.len() < 2 || self.estimates.is_empty() {
            return section;
        }
        let unit = self.unit();
        let mut header = vec![format!("Step in {unit}")];
        header.extend(self.estimates.iter().map(|one| title(&one.estimator)));
        header.push("Samples".into());
        let mut table = Table::new("", header);
        for k in 0..self.state_names.len() - 1 {
            let mut row = vec![format!("{} → {}", self.state_names[k], bare(&self.state_names[k + 1]))];
            row.extend(self.estimates.iter().map(|one| {
                let at = |values: &[Option<f64>]| values.get(k).copied().flatten();
                shown(at(&one.steps), at(&one.step_errors))
            }));
            row.push(format!("{}, {}", self.n_samples[k], self.n_samples[k + 1]));
            table.rows.push(row);
        }
        table.note = self
            .estimates
            .iter()
            .map(|one| {
                let gradient = one.max_gradient.map_or_else(String::new, |g| {
                    format!(", largest gradient component that is left {g:.0e}")
                });
                format!(
                    "{}: {}{gradient}, {} samples counted",
                    title(&one.estimator),
                    one.error_method,
                    one.n_samples.iter().sum::<usize>()
                )
            })
            .collect::<Vec<_>>()
            .join(". ");
        section.table(table);

        let mut chart =
            LineChart::new("Free energy along the path", "state", format!("free energy / {unit}"));
        for one in &self.estimates {
            let points = or_nan(&one.delta_f_row0).iter().enumerate().map(|(k, f)| (k as f64, *f)).collect();
            let line = Line::new(title(&one.estimator), points, color(&one.estimator));
            chart.lines.push(line.with_band(or_nan(&one.std_error_row0)).with_dots());
        }
        if !chart.is_empty() {
            let figure =
                rows_of_charts("free_energy", "Free energy of every state by each estimator", &[chart], 1);
            section.figure(
                figure,
                "Free energy of each state relative to the first; bands are one standard error.",
            );
        }
        section
    }

    fn overlap(&self) -> Section {
        let mut section = Section::new("overlap", "Overlap of the states");
        if self.overlap.is_empty() {
            return section;
        }
        let map = HeatMap {
            title: "Overlap matrix".into(),
            names: self.state_names.iter().map(|name| bare(name).to_string()).collect(),
            values: self.overlap.iter().flat_map(|row| or_nan(row)).collect(),
            axis_label: self.components.join(", "),
            value_label: "probability".into(),
        };
        section.figure(
            map.figure("overlap", "Overlap matrix of all states"),
            "Probability that a sample of one state (row) would be found in another (column). Neighbours below 0.03 \
             are too far apart (Klimovich, Shirts and Mobley 2015).",
        );
        section
    }

    /// λ of each state, component by component.
    fn lambdas(&self) -> Vec<Vec<f64>> {
        let Some(one) = self.estimates.first() else { return Vec::new() };
        one.states
            .iter()
            .map(|state| match state {
                serde_json::Value::Array(parts) => {
                    parts.iter().filter_map(serde_json::Value::as_f64).collect()
                }
                other => other.as_f64().into_iter().collect(),
            })
            .collect()
    }

    /// Mean derivative by one component in each state, over its windows, with its error; kT.
    fn mean_derivative(&self, state: usize, component: usize) -> (f64, f64) {
        let (mut sum, mut weight, mut variance) = (0.0, 0.0, 0.0);
        for window in self.windows.iter().filter(|window| window.state == state) {
            let at = |values: &[Option<f64>]| values.get(component).copied().flatten();
            let Some(mean) = at(&window.mean_dudl) else { continue };
            let n = window.n_effective.unwrap_or(1.0).max(1.0);
            sum += n * mean;
            weight += n;
            variance += (n * at(&window.mean_dudl_error).unwrap_or(0.0)).powi(2);
        }
        if weight > 0.0 { (sum / weight, variance.sqrt() / weight) } else { (f64::NAN, f64::NAN) }
    }

    fn derivatives(&self) -> Section {
        let mut section = Section::new("derivatives", "Thermodynamic integration");
        let lambdas = self.lambdas();
        if self.windows.iter().all(|window| window.mean_dudl.is_empty()) || lambdas.len() < 2 {
            return section;
        }
        // The way along the path: λ itself where it has one component.
        let mut way = vec![lambdas[0].iter().sum::<f64>()];
        for pair in lambdas.windows(2) {
            let step: f64 = pair[0].iter().zip(&pair[1]).map(|(a, b)| (b - a).abs()).sum();
            way.push(way[way.len() - 1] + step);
        }
        let single = self.components.len() == 1;
        if single {
            way = lambdas.iter().map(|lambda| lambda[0]).collect();
        }
        let x_label = if single { self.components[0].clone() } else { "length of the path in λ".into() };
        let mut chart = LineChart::new("Mean derivative of the energy", x_label, "mean ∂u/∂λ / kT");
        chart.y_mark = Some(0.0);
        for component in 0..self.components.len() {
            let moves = |k: usize| (lambdas[k][component] - lambdas[k + 1][component]).abs() > 1e-9;
            let used = |k: usize| (k > 0 && moves(k - 1)) || (k + 1 < lambdas.len() && moves(k));
            let values: Vec<(f64, f64)> = (0..lambdas.len())
                .map(|k| if used(k) { self.mean_derivative(k, component) } else { (f64::NAN, f64::NAN) })
                .collect();
            let points = way.iter().zip(&values).map(|(x, value)| (*x, value.0)).collect();
            let line = Line::new(self.components[component].clone(), points, Color::Series(component % 6));
            chart
                .lines
                .push(line.filled().with_band(values.iter().map(|value| value.1).collect()).with_dots());
        }
        if !chart.is_empty() {
            let figure = rows_of_charts("dudl", "Mean derivative of the energy along the path", &[chart], 1);
            section.figure(figure, "The area under the curve is the free energy by the trapezoid rule. Bands: one standard error.");
        }
        section
    }

    fn convergence(&self) -> Section {
        let mut section = Section::new("convergence", "Convergence");
        let unit = self.unit();
        let mut charts = Vec::new();
        let estimator = self.convergence.estimator.clone().unwrap_or_default();
        let points = &self.convergence.points;
        if !points.is_empty() {
            let mut chart = LineChart::new(
                format!("From the first and from the last samples ({})", title(&estimator)),
                "share of the samples",
                format!("free energy / {unit}"),
            );
            let line = |label: &str, values: Vec<Option<f64>>, errors: Vec<Option<f64>>, color| {
                let xy = points.iter().zip(or_nan(&values)).map(|(point, y)| (point.fraction, y)).collect();
                Line::new(label, xy, color).with_band(or_nan(&errors)).with_dots()
            };
            chart.lines.push(line(
                "forward",
                points.iter().map(|point| point.forward).collect(),
                points.iter().map(|point| point.forward_error).collect(),
                Color::Series(0),
            ));
            chart.lines.push(line(
                "backward",
                points.iter().map(|point| point.backward).collect(),
                points.iter().map(|point| point.backward_error).collect(),
                Color::Series(1),
            ));
            chart.y_mark = points.last().and_then(|point| point.forward);
            charts.push(chart);
        }
        if self.blocks.len() > 1 {
            let mut chart =
                LineChart::new("Consecutive blocks", "share of the samples", format!("free energy / {unit}"));
            let xy =
                self.blocks.iter().map(|block| (block.fraction, block.delta_f.unwrap_or(f64::NAN))).collect();
            let errors = self.blocks.iter().map(|block| block.std_error.unwrap_or(f64::NAN)).collect();
            chart.lines.push(Line::new("blocks", xy, Color::Series(2)).with_band(errors).with_dots());
            charts.push(chart);
        }
        charts.retain(|chart| !chart.is_empty());
        if !charts.is_empty() {
            let n = charts.len().min(2);
            let figure = rows_of_charts("convergence", "Free energy from parts of the data", &charts, n);
            section.figure(
                figure,
                "Converged data give the same from their first and their last part, within the bands of one standard error.",
            );
        }
        section
    }

    fn series(&self) -> Section {
        let mut section = Section::new("series", "Time series");
        let header = [
            "State",
            "Samples",
            "Left out at the start",
            "Statistical inefficiency",
            "Effective samples",
            "Judged by",
            "Files",
        ];
        let mut table = Table::new("", header).with_words(5).with_words(6);
        for window in &self.windows {
            let files: Vec<&str> = window.sources.iter().map(|source| short_path(source)).collect();
            table.rows.push(vec![
                self.state_names[window.state].clone(),
                window.n_samples.to_string(),
                window.n_equilibration.to_string(),
                number::plain(window.inefficiency.unwrap_or(f64::NAN)),
                number::plain(window.n_effective.unwrap_or(f64::NAN).round()),
                window.series.clone(),
                files.join(", "),
            ]);
        }
        section.table(table);
        section
    }

    fn enthalpy(&self) -> Section {
        let mut section = Section::new("enthalpy", "Energy and entropy");
        let Some(one) = self.estimates.iter().find(|one| !one.delta_h_row0.is_empty()) else {
            return section;
        };
        let unit = self.unit();
        let mut table = Table::new("", ["State", "ΔF", "ΔU", "T ΔS"]);
        for (k, name) in self.state_names.iter().enumerate() {
            let at = |values: &[Option<f64>]| values.get(k).copied().flatten();
            table.rows.push(vec![
                name.clone(),
                shown(at(&one.delta_f_row0), at(&one.std_error_row0)),
                shown(at(&one.delta_h_row0), at(&one.delta_h_error_row0)),
                shown(at(&one.delta_ts_row0), at(&one.delta_ts_error_row0)),
            ]);
        }
        table.note = format!(
            "In {unit}, relative to the first state. ΔU is the difference of the mean reduced energies, which means \
             something where the files hold total energies."
        );
        let summary = "ΔF = ΔU − T ΔS of each state".into();
        section.blocks.push(Block::ClosedTable { summary, table });
        section
    }

    fn provenance(&self) -> Section {
        let mut section = Section::new("provenance", "How this was made");
        let text =
            |key: &str| self.provenance.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        section.paragraph(format!("kirkwood {}, {}.", text("kirkwood_version"), text("finished_utc")));
        let summary = "The command".into();
        section.blocks.push(Block::ClosedText { summary, text: text("command").into() });
        section
    }
}

/// A name without `λ = `.
fn bare(name: &str) -> &str {
    name.trim_start_matches("λ = ")
}

/// The last two parts of a path: files of many windows are often called alike.
fn short_path(path: &str) -> &str {
    let mut cuts = path.rmatch_indices('/').map(|(at, _)| at + 1);
    cuts.next();
    cuts.next().map_or(path, |at| &path[at..])
}
