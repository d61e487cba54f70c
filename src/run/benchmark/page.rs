//! The report of a benchmark: a table of each problem, and what happens along the noise.

use std::path::Path;

use super::molecule_table::{self, ENSEMBLES, MoleculeTable};
use super::molecules::Molecule;
use super::ranking::Ranking;
use super::table::{COLUMNS, Table, words};
use super::{Plan, Trained};
use crate::error::Result;
use crate::report::figure::Color;
use crate::report::figure::forest::{self, Forest};
use crate::report::figure::lines::{Line, LineChart, rows_of_charts};
use crate::report::number;
use crate::report::page::{self, Block, Page, Section};
use crate::run::directory::write_atomic;

/// Writes `report.html` and its figures.
pub(super) fn write(
    diverged: &str,
    table: &Table,
    molecules: &MoleculeTable,
    plan: &Plan,
    all: &[Trained],
    directory: &Path,
) -> Result<()> {
    let mut sections = Vec::new();
    if !plan.problems.is_empty() {
        sections.push(summary(table, plan));
    }
    sections.extend(plan.molecules.iter().map(|molecule| of_molecule(molecules, molecule)));
    for problem in &plan.problems {
        sections.push(of_problem(table, plan, all, &problem.name, problem.modes.len(), problem.dimension()));
    }
    if let (Some(first), false) = (sections.first_mut(), diverged.is_empty()) {
        first.blocks.insert(0, Block::Verdict { tone: "bad", text: diverged.to_string() });
    }
    page::write_figures(&sections, &directory.join("figures"))?;
    let page = Page {
        title: plan.config.name.clone(),
        subtitle: format!(
            "{} trainings · {} problems · {} molecules · {} methods · seed {}",
            plan.trainings().count() + plan.runs().count(),
            plan.problems.len(),
            plan.molecules.len(),
            plan.config.methods.len(),
            plan.config.seed
        ),
        sections,
    };
    write_atomic(&directory.join("report.html"), page.html()?.as_bytes())
}

/// The two columns that matter, of all problems.
fn summary(table: &Table, plan: &Plan) -> Section {
    let mut section = Section::new("summary", "");
    for (column, caption) in [
        ("weight_error", "Largest error of the weights of modes, by the energy at the data end"),
        ("joint_variance", "Variance of log p_θ − log p over points and noise levels together / kT²"),
    ] {
        let methods: Vec<&str> = plan.config.methods.iter().map(|method| method.label.as_str()).collect();
        let header = std::iter::once("Problem").chain(methods.iter().copied());
        let mut cells = page::Table::new(caption, header).with_words(0);
        for problem in &plan.problems {
            let of = |label: &&str| {
                let row = table.rows.iter().find(|row| row.problem == problem.name && row.label == **label);
                row.map_or_else(String::new, |row| words(row.get(column)))
            };
            cells.rows.push(std::iter::once(name_of(&problem.name)).chain(methods.iter().map(of)).collect());
        }
        section.table(cells);
    }
    section.paragraph(
        "Mean ± standard deviation over seeds. The weights of modes are what score matching cannot see: at noise that joins no \
         modes, the score of a mixture with other weights is the same.",
    );
    section
}

fn name_of(problem: &str) -> String {
    problem.replace('_', " ")
}

fn of_problem(
    table: &Table,
    plan: &Plan,
    all: &[Trained],
    problem: &str,
    n_modes: usize,
    dimension: usize,
) -> Section {
    let title = format!("{} ({n_modes} modes, {dimension} dimensions)", name_of(problem));
    let mut section = Section::new("problem", title);
    let mut ess = LineChart::new("Effective share of weights p_θ/p", "log(a²/g²)", "ESS");
    let mut constant =
        LineChart::new("Constant along the noise", "log(a²/g²)", "mean of log p_θ − log p, kT");
    for (idx, method) in plan.config.methods.iter().enumerate() {
        let Some(first) = all.iter().find(|row| row.problem == problem && row.method == method.name) else {
            continue;
        };
        let Some(assessment) = &first.assessment else { continue };
        let levels = &assessment.levels;
        let line = |value: &dyn Fn(&super::assess::Level) -> f64| {
            let points = levels.iter().map(|level| (level.log_snr, value(level))).collect();
            Line::new(method.label.as_str(), points, Color::Series(idx)).with_dots()
        };
        ess.lines.push(line(&|level| level.ess));
        constant.lines.push(line(&|level| level.mean_difference));
    }
    let name = format!("levels_{problem}");
    let figure = rows_of_charts(&name, "Effective share and constant along the noise", &[ess, constant], 2);
    section.figure(figure, "Of the first seed. The data end is on the right.");
    super::few_step::show(&mut section, plan, all, problem);
    let headings = COLUMNS.iter().map(|(_, heading, _)| *heading).chain(["training / s"]);
    let header = std::iter::once("Method").chain(headings);
    let mut cells = page::Table::new("", header).with_words(0);
    for row in table.rows.iter().filter(|row| row.problem == problem) {
        cells.rows.push(
            std::iter::once(row.label.clone())
                .chain(row.values.iter().chain([&row.seconds]).map(|v| words(*v)))
                .collect(),
        );
    }
    section.table(cells);
    section
}

/// What the runs of one molecule say.
fn of_molecule(table: &MoleculeTable, molecule: &Molecule) -> Section {
    let mut section = Section::new("molecule", molecule.settings.label.as_str());
    let rows = || table.rows.iter().filter(|row| row.molecule == molecule.settings.name);
    let groups = ["js_excess_iid", "js_excess_langevin", "js_excess_equilibrium"].map(|column| {
        let heading = molecule_table::COLUMNS.iter().find(|(key, ..)| *key == column);
        let row_of = |(idx, row): (usize, &molecule_table::Row)| {
            let value = row.get(column);
            forest::Row {
                label: row.label.clone(),
                value: value.mean,
                std_error: value.deviation,
                text: words(value),
                color: Color::Series(idx),
            }
        };
        let is_there = |row: &forest::Row| row.value.is_finite();
        let rows = rows().enumerate().map(row_of).filter(is_there).collect();
        forest::Group { title: heading.map_or("", |(_, heading, _)| *heading).to_string(), rows }
    });
    if groups.iter().any(|group| !group.rows.is_empty()) {
        let figure = Forest {
            name: format!("excess_{}", molecule.settings.name),
            description: format!("Jensen–Shannon excess of each method, {}", molecule.settings.label),
            x_label: "Jensen–Shannon divergence from held-out frames, above its noise floor / nat".into(),
            groups: groups.into(),
            reference: Some((0.0, 0.0)),
        };
        section.figure(figure.draw(), "Dots with one standard error, or the standard deviation over seeds.");
    }
    let heading = |(_, heading, unit): &(&str, &str, &str)| match unit.is_empty() {
        true => heading.to_string(),
        false => format!("{heading} / {unit}"),
    };
    let header = std::iter::once("Method".to_string()).chain(molecule_table::COLUMNS.iter().map(heading));
    let mut cells = page::Table::new("", header).with_words(0);
    for row in rows() {
        let values = row.values.iter().map(|value| words(*value));
        cells.rows.push(std::iter::once(row.label.clone()).chain(values).collect());
    }
    section.table(cells.without_empty_columns());
    for doubt in rows().flat_map(|row| &row.doubts) {
        section.blocks.push(Block::Verdict { tone: "bad", text: doubt.clone() });
    }
    let is_of = |(name, _): &&(String, Ranking)| *name == molecule.settings.name;
    let rankings: Vec<&Ranking> = table.rankings.iter().filter(is_of).map(|(_, ranking)| ranking).collect();
    if !rankings.is_empty() {
        section.paragraph(
            "Rankings are by differences that are taken block by block of the held-out frames, whose noise all methods \
             share, on bins that depend on these frames alone.",
        );
    }
    for ranking in rankings {
        let header = ["Method", "JS farther than the closest / nat"];
        let mut cells = page::Table::new(format!("Ranking, {}", ranking.title()), header).with_words(0);
        cells.rows.push(vec![ranking.best.clone(), "closest".into()]);
        for (label, difference, error) in &ranking.others {
            cells.rows.push(vec![label.clone(), number::with_error(*difference, Some(*error))]);
        }
        section.table(cells);
    }
    for (idx, [_, state]) in molecule.states.iter().enumerate() {
        let header = std::iter::once("Method").chain(ENSEMBLES.iter().map(|(_, label)| *label));
        let mut cells = page::Table::new(format!("Population of {state}"), header).with_words(0);
        for row in rows() {
            let values = row.populations[idx].iter().map(|value| words(*value));
            cells.rows.push(std::iter::once(row.label.clone()).chain(values).collect());
        }
        section.table(cells);
    }
    section
}
