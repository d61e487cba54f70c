//! The report of a profile: the figure, the simulations behind it, and what to know about them.

use std::path::Path;

use super::figure::figure;
use super::output::PmfOutcome;
use crate::error::Result;
use crate::free_energy::alchemical::Severity;
use crate::report::number;
use crate::report::page::{Block, Card, Page, Section, Table};
use crate::run::directory::write_atomic;

/// `report.html`, which needs no other file.
pub(super) fn write(outcome: &PmfOutcome, directory: &Path) -> Result<()> {
    let mut sections = vec![profile(outcome), windows(outcome)];
    sections.retain(|section| !section.is_empty());
    let temperature = outcome.temperature_k.map_or_else(String::new, |t| format!(" · {t} K"));
    let page = Page {
        title: format!("Free energy along {}", outcome.names.join(" and ")),
        subtitle: format!("{} samples{temperature} · {}", outcome.n_samples, outcome.pmf.error_method),
        sections,
    };
    write_atomic(&directory.join("report.html"), page.html()?.as_bytes())
}

fn profile(outcome: &PmfOutcome) -> Section {
    let mut section = Section::new("profile", "");
    let card = |label: &str, value: String, note: String| Card {
        label: label.into(),
        value,
        unit: String::new(),
        note,
    };
    let inside = number::percent(outcome.pmf.coverage, None);
    let cards = vec![
        card(
            "Samples",
            outcome.n_samples.to_string(),
            format!("{} left out at the beginning", outcome.n_discarded),
        ),
        card("Independent samples", number::plain(outcome.n_effective.round()), String::new()),
        card("Weight inside the bins", inside, format!("{} samples outside", outcome.n_outside)),
    ];
    section.blocks.push(Block::Cards { cards });
    for verdict in &outcome.verdicts {
        let tone = if verdict.severity == Severity::Untrustworthy { "bad" } else { "neutral" };
        section.blocks.push(Block::Verdict { tone, text: verdict.message.clone() });
    }
    let caption = format!(
        "In {}, zero at {}; bands are one standard error. Where nothing was seen there is no value.",
        outcome.unit, outcome.reference
    );
    section.figure(figure(outcome), caption);
    section
}

fn windows(outcome: &PmfOutcome) -> Section {
    let mut section = Section::new("simulations", "Simulations");
    let header = ["File", "Samples", "Statistical inefficiency", "Overlap with the next"];
    let mut table = Table::new("", header);
    for window in &outcome.windows {
        let overlap = window.next.map_or_else(|| "–".into(), |(_, overlap)| number::plain(overlap));
        table.rows.push(vec![
            window.name.clone(),
            window.n_samples.to_string(),
            number::plain(window.inefficiency),
            overlap,
        ]);
    }
    section.table(table.without_empty_columns());
    section
}
