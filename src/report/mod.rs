//! Tables and figures, read from a run directory.
//!
//! A report is made from the files of a run alone ([`contents`]), so that a run of last year can be
//! drawn again. Every [`section`] shows what is there; what is missing is left out or named as not
//! run. The page ([`page`]) is one HTML file that needs nothing else, and its figures ([`figure`])
//! lie beside it as SVG and PNG.

pub mod alchemical;
pub mod contents;
pub mod figure;
pub mod number;
pub mod page;
pub mod section;
pub mod table;

#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;

use crate::{Error, Result};
use contents::Contents;
use page::{Page, Section};
use std::path::{Path, PathBuf};

/// What was written.
#[derive(Debug, Clone)]
pub struct ReportSummary {
    /// The page.
    pub html: PathBuf,
    /// Its size in bytes.
    pub n_bytes: usize,
    /// Anchors of the sections that it has.
    pub sections: Vec<&'static str>,
    /// Names of the figures, each of which is an SVG and a PNG in `report/figures`.
    pub figures: Vec<String>,
    /// Stages that the page names as not run.
    pub not_run: Vec<String>,
}

/// Writes `report/report.html` and `report/figures/*` of a run directory, from its files alone.
///
/// The old report, if there is one, is replaced when the new one is complete.
pub fn write_report(run_dir: &Path) -> Result<ReportSummary> {
    let contents = Contents::read(run_dir)?;
    let (page, not_run) = page(&contents)?;
    let html = page.html()?;

    let (partial, done) = (run_dir.join("report.partial"), run_dir.join("report"));
    remove(&partial)?;
    let figures_dir = partial.join("figures");
    std::fs::create_dir_all(&figures_dir).map_err(Error::io("create", &figures_dir))?;
    let figures = page::write_figures(&page.sections, &figures_dir)?;
    let path = partial.join("report.html");
    std::fs::write(&path, &html).map_err(Error::io("write", &path))?;
    remove(&done)?;
    std::fs::rename(&partial, &done).map_err(Error::io("rename", &partial))?;

    let sections = page.sections.iter().map(|section| section.id).collect();
    Ok(ReportSummary { html: done.join("report.html"), n_bytes: html.len(), sections, figures, not_run })
}

fn remove(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

/// The page, and what it names as not run.
fn page(contents: &Contents) -> Result<(Page, Vec<String>)> {
    let (headline, not_run) = section::headline::section(contents);
    let mut sections: Vec<Section> = vec![
        headline,
        section::free_energy::section(contents),
        section::accuracy::section(contents)?,
        section::populations::section(contents)?,
        section::surfaces::section(contents)?,
        section::profiles::section(contents)?,
        section::training::section(contents)?,
        section::sampling::section(contents)?,
        section::path::section(contents)?,
        section::distances::section(contents)?,
        section::variants::section(contents),
        section::provenance::numbers(contents),
        section::provenance::section(contents),
    ];
    sections.retain(|section| !section.is_empty());
    Ok((Page { title: title(contents), subtitle: subtitle(contents), sections }, not_run))
}

/// The title or name that the plan gives, or the name of the directory.
fn title(contents: &Contents) -> String {
    let text = |table: Option<&toml::Value>, key: &str| {
        table.and_then(|table| table.get(key)).and_then(toml::Value::as_str).map(String::from)
    };
    let name = contents.plan.get("name").and_then(toml::Value::as_str).map(String::from);
    text(contents.plan.get("report"), "title")
        .or(name)
        .unwrap_or_else(|| contents.name.clone())
        .replace('_', " ")
}

fn subtitle(contents: &Contents) -> String {
    let Some(provenance) = &contents.provenance else { return "a run of kirkwood".into() };
    let text = |key: &str| match provenance.get(key) {
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(serde_json::Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let version = text("kirkwood_version").map(|version| format!("kirkwood {version}"));
    let commit =
        text("git_commit").map(|commit| format!("commit {}", commit.chars().take(9).collect::<String>()));
    let date = text("finished_utc").map(|time| time.chars().take(10).collect());
    let seed = text("seed").map(|seed| format!("seed {seed}"));
    let device = text("device");
    [version, commit, date, seed, device].into_iter().flatten().collect::<Vec<String>>().join(" · ")
}
