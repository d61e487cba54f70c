//! The report of a composition, made from its run directory.

use std::path::Path;

use super::config::{How, Sampler};
use super::examine::Examined;
use super::plan::Plan;
use super::verdict::Found;
use crate::error::{Error, Result};
use crate::report::figure::Color;
use crate::report::figure::axis::Kind;
use crate::report::figure::lines::{Line, LineChart, rows_of_charts};
use crate::report::figure::surface::{Grid, Panel, SurfaceRows};
use crate::report::number;
use crate::report::page::{Block, Card, Page, Section, Table, write_figures};
use crate::report::table::CsvTable;
use crate::run::beads::{Beads, Variable};
use crate::run::directory::write_atomic;

/// Writes `report.html` and its figures into `directory`; `run` holds the sets.
pub(super) fn write(plan: &Plan, found: &Found, run: &Path, directory: &Path) -> Result<()> {
    let mut sections = vec![
        headline(plan, found),
        populations(plan, found),
        surfaces(plan, found, run)?,
        profiles(plan, found, run)?,
        parts(plan, found),
        levels(plan, run)?,
    ];
    sections.retain(|section| !section.is_empty());
    write_figures(&sections, &directory.join("figures"))?;
    let config = &plan.config;
    let page = Page {
        title: config.report.title.clone().unwrap_or_else(|| config.name.clone()),
        subtitle: format!("{} · seed {}", law(plan), config.seed),
        sections,
    };
    write_atomic(&directory.join("report.html"), page.html()?.as_bytes())
}

/// The law in words.
fn law(plan: &Plan) -> String {
    let parts: Vec<String> = (plan.parts.iter())
        .map(|part| match plan.config.how {
            How::Product if part.weight == 1.0 => part.label.clone(),
            How::Product => format!("({})^{}", part.label, number::plain(part.weight)),
            How::Mixture => format!("{} × {}", number::plain(part.weight), part.label),
        })
        .collect();
    let mut words = match plan.config.how {
        How::Product => parts.join(" · "),
        How::Mixture => format!("mixture of {}", parts.join(", ")),
    };
    for guide in &plan.guides {
        let variable = &plan.beads().variables[guide.variable];
        let (scale, unit) = shown(variable);
        let (from, to) = (scale * guide.interval.0, scale * guide.interval.1);
        let place = match from == to {
            true => number::plain(from),
            false => format!("{} to {}", number::plain(from), number::plain(to)),
        };
        words += &format!(" · {} held at {place}{unit}", variable.function.label());
    }
    if plan.config.confinement > 0.0 {
        words += &format!(" · confined by {} kT/nm²", number::plain(plan.config.confinement));
    }
    words
}

/// Factor and unit in which a variable is shown.
fn shown(variable: &Variable) -> (f64, &'static str) {
    match variable.function.unit() {
        "rad" => (180.0 / std::f64::consts::PI, "°"),
        "nm" => (1.0, " nm"),
        _ => (1.0, ""),
    }
}

/// Label and kind of the axis of a variable.
fn axis(variable: &Variable) -> (String, Kind) {
    let label = variable.function.label();
    match variable.function.unit() {
        "rad" => (format!("{label} / °"), Kind::Degrees),
        "" => (label.to_string(), Kind::Linear),
        unit => (format!("{label} / {unit}"), Kind::Linear),
    }
}

fn headline(plan: &Plan, found: &Found) -> Section {
    let mut section = Section::new("result", "");
    let card = |label: &str, value: String, note: &str| Card {
        label: label.into(),
        value,
        unit: String::new(),
        note: note.into(),
    };
    let (value, error) = found.log_z;
    let note = match (plan.config.normalize, plan.config.how) {
        (true, How::Product) => "of the product of normalised laws",
        (true, How::Mixture) => "of the mixture of normalised laws: 0 without restraints",
        (false, _) => "of the energies as they were learned",
    };
    let mut cards = vec![card("log Z", number::with_error(value, Some(error)), note)];
    let numbers = found.composed.as_ref().map(|record| record.numbers.clone()).unwrap_or_default();
    let of = |name: &str| numbers.get(name).and_then(|entry| entry["value"].as_f64());
    if let Some(ess) = of("ess_fraction") {
        cards.push(card("Effective share", number::percent(ess, None), "of the particles at the data end"));
    }
    if let (Some(least), Some(trips)) = (of("least_swap_acceptance"), of("round_trips")) {
        let note = format!("{} round trips", number::plain(trips));
        cards.push(card("Least swap acceptance", number::percent(least, None), &note));
    }
    let composed = found.set("composed").map(|set| set.populations.clone()).unwrap_or_default();
    for (population, state) in composed.iter().zip(&plan.beads().states).take(2) {
        let first = found
            .set("frames_1")
            .and_then(|set| set.populations.iter().find(|other| other.state == population.state));
        let note = first.map_or_else(String::new, |first| {
            format!(
                "{} in the frames of {}",
                number::percent(first.value, first.std_error),
                plan.parts[0].label
            )
        });
        cards.push(card(&state.label, number::percent(population.value, population.std_error), &note));
    }
    section.blocks.push(Block::Cards { cards });
    let (text, trustworthy) = found.verdict();
    section.blocks.push(Block::Verdict { tone: if trustworthy { "good" } else { "bad" }, text });
    section
}

fn populations(plan: &Plan, found: &Found) -> Section {
    let mut section = Section::new("populations", "Populations");
    let states = &plan.beads().states;
    let header = ["Ensemble".to_string()].into_iter();
    let header = header.chain(states.iter().map(|state| format!("{} / %", state.label)));
    let mut table = Table::new("", header.chain(["Effective share".into(), "Conformations".into()]));
    for set in &found.sets {
        let percent = |value: f64, error: Option<f64>| {
            number::with_error(100.0 * value, error.map(|error| 100.0 * error))
        };
        let mut row = vec![set.label.clone()];
        row.extend(set.populations.iter().map(|population| percent(population.value, population.std_error)));
        row.extend([number::percent(set.ess_fraction, None), set.n_frames.to_string()]);
        table.rows.push(row);
    }
    table.note = "Parts are the learned laws, each drawn alone. Their weights in the composed law are a second way to its \
                  populations, as far as the effective share is large."
        .into();
    section.table(table);
    section
}

/// Sets with a surface or a line of their own: frames, the composition, the best second opinion.
fn drawn_sets(found: &Found) -> Vec<&Examined> {
    let opinions = found.sets.iter().filter(|set| set.name == "pooled" || set.name.starts_with("reweighted"));
    let best = opinions.max_by(|a, b| a.ess_fraction.total_cmp(&b.ess_fraction));
    let frames = found.sets.iter().filter(|set| set.name.starts_with("frames"));
    frames.chain(found.set("composed")).chain(best.filter(|set| set.ess_fraction > 0.01)).collect()
}

/// A table of a set, which is there.
fn read(run: &Path, set: &Examined, file: &str) -> Result<CsvTable> {
    let path = run.join(&set.name).join(file);
    CsvTable::read_if_exists(&path)?
        .ok_or_else(|| Error::file(&path, "", "a table of this run", "no such file"))
}

/// Numbers of a column that may have empty cells.
fn column(table: &CsvTable, name: &str) -> Result<Vec<f64>> {
    Ok(table.texts(name)?.iter().map(|cell| cell.parse().unwrap_or(f64::NAN)).collect())
}

fn surfaces(plan: &Plan, found: &Found, run: &Path) -> Result<Section> {
    let mut section = Section::new("surfaces", "Free-energy surfaces");
    let [first, second, ..] = &plan.beads().variables[..] else { return Ok(section) };
    let mut panels = Vec::new();
    for set in drawn_sets(found) {
        let table = read(run, set, "surface.csv")?;
        let (x, y) = (column(&table, &first.column())?, column(&table, &second.column())?);
        let values = column(&table, "pmf_kT")?;
        let scales = (shown(first).0, shown(second).0);
        let points: Vec<(f64, f64, f64)> = x
            .iter()
            .zip(&y)
            .zip(&values)
            .map(|((x, y), value)| (scales.0 * x, scales.1 * y, *value))
            .collect();
        panels.push(Panel { title: set.label.clone(), grid: Grid::from_points(&points) });
    }
    let ((x_label, x_kind), (y_label, y_kind)) = (axis(first), axis(second));
    let columns = if panels.len() == 4 { 2 } else { 3 };
    let rows = panels.chunks(columns).map(|panels| (String::new(), panels.to_vec())).collect();
    let kinds = (x_kind, y_kind);
    let figure = SurfaceRows { rows, x_label, y_label, kinds, value_label: "free energy / kT".into() }
        .figure("surfaces", "Free-energy surfaces of the frames and of the composed law");
    section.figure(figure, "In kT, zero at the minimum of each. Where nothing was seen there is no value.");
    Ok(section)
}

fn profiles(plan: &Plan, found: &Found, run: &Path) -> Result<Section> {
    let mut section = Section::new("profiles", "Profiles");
    let beads: &Beads = plan.beads();
    let mut charts = Vec::new();
    for variable in &beads.variables {
        let (x_label, x_kind) = axis(variable);
        let mut chart = LineChart::new(variable.function.label(), x_label, "free energy / kT");
        chart.x_kind = x_kind;
        for (idx, set) in drawn_sets(found).into_iter().enumerate() {
            let table = read(run, set, &format!("pmf_{}.csv", variable.name))?;
            let (x, values) = (column(&table, &variable.column())?, column(&table, "pmf_kT")?);
            let scale = shown(variable).0;
            let points = x.iter().zip(values).map(|(x, value)| (scale * x, value)).collect();
            let line = |color| Line::new(set.label.clone(), points, color);
            chart.lines.push(match set.name.as_str() {
                "composed" => line(Color::Ink).with_band(column(&table, "std_error_kT")?),
                name if name.starts_with("frames") => line(Color::Series(idx)),
                _ => line(Color::Series(3)).dashed(4.0),
            });
        }
        charts.push(chart);
    }
    charts.retain(|chart| !chart.is_empty());
    if !charts.is_empty() {
        let figure = rows_of_charts("profiles", "Profiles along the collective variables", &charts, 2);
        let caption = "Zero at the minimum of each. The band is one standard error over independent groups; dashed: the \
                       composed law by weights of the parts.";
        section.figure(figure, caption);
    }
    Ok(section)
}

fn parts(plan: &Plan, found: &Found) -> Section {
    let mut section = Section::new("parts", "Parts");
    let weight = if plan.config.how == How::Product { "Power" } else { "Share" };
    let header =
        ["Part", weight, "Reduced length / nm", "Temperature", "Levels tied", "log Z alone", "Run directory"];
    let mut table = Table::new("", header).with_words(6);
    for (idx, (part, settings)) in plan.parts.iter().zip(&plan.config.parts).enumerate() {
        let alone = found.parts.get(idx).and_then(|record| Some((record.log_z?, record.std_error)));
        table.rows.push(vec![
            part.label.clone(),
            number::plain(part.weight),
            format!("{:.4}", part.model.length_scale_nm),
            part.run.config.data.temperature.to_string(),
            if part.ties_levels { "yes".into() } else { "no".into() },
            alone.map_or_else(|| "–".into(), |(value, error)| number::with_error(value, error)),
            settings.run.display().to_string(),
        ]);
    }
    table.note =
        "log Z of a learned energy is 0 where learning gave it the constant of its noise end.".into();
    section.table(table);
    section
}

fn levels(plan: &Plan, run: &Path) -> Result<Section> {
    let mut section = Section::new("levels", "From noise to the composed law");
    let path = run.join("composed").join("levels.csv");
    let Some(table) = CsvTable::read_if_exists(&path)? else { return Ok(section) };
    let x = column(&table, "log_snr")?;
    let line = |name: &str, label: &str, color: usize| -> Result<Line> {
        let points = x.iter().copied().zip(column(&table, name)?).collect();
        Ok(Line::new(label, points, Color::Series(color)))
    };
    let (lines, caption) = match plan.config.sample.sampler {
        Sampler::Smc => (
            vec![line("ess_fraction", "effective share", 0)?, line("acceptance", "accepted moves", 1)?],
            "Effective share of the particles before resampling and acceptance of their moves, level by level. Noise \
             is to the left.",
        ),
        Sampler::ReplicaExchange => (
            vec![
                line("swap_acceptance", "accepted swaps", 0)?.with_dots(),
                line("move_acceptance", "accepted moves", 1)?,
            ],
            "Acceptance of swaps with the next level and of moves. Noise is to the left.",
        ),
    };
    let mut chart = LineChart::new("Levels", "log signal-to-noise ratio", "share");
    chart.y_range = Some((0.0, 1.0));
    chart.lines = lines;
    section.figure(rows_of_charts("levels", "What happened level by level", &[chart], 1), caption);
    Ok(section)
}
