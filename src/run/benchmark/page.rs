//! The report of a benchmark: a table of each problem, and what happens along the noise.

use std::path::Path;

use super::table::{COLUMNS, Table, words};
use super::{Plan, Trained};
use crate::error::Result;
use crate::report::figure::Color;
use crate::report::figure::lines::{Line, LineChart, rows_of_charts};
use crate::report::page::{self, Page, Section};
use crate::run::directory::write_atomic;

/// Writes `report.html` and its figures.
pub(super) fn write(table: &Table, plan: &Plan, all: &[Trained], directory: &Path) -> Result<()> {
    let mut sections = vec![summary(table, plan)];
    for problem in &plan.problems {
        sections.push(of_problem(table, plan, all, &problem.name, problem.modes.len(), problem.dimension()));
    }
    page::write_figures(&sections, &directory.join("figures"))?;
    let page = Page {
        title: plan.config.name.clone(),
        subtitle: format!(
            "{} trainings · {} problems · {} methods · {} training points · seed {}",
            all.len(),
            plan.problems.len(),
            plan.config.methods.len(),
            plan.config.n_training,
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
