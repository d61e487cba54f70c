//! The free energy of the path by several roads, and whether they agree.

use super::set_label;
use crate::report::contents::{Contents, FreeEnergy, Road};
use crate::report::number;
use crate::report::page::{Block, Section, Table};

/// The section.
pub fn section(contents: &Contents) -> Section {
    let mut section = Section::new("free-energy", "Free energy of the learned path");
    let Some(free_energy) = &contents.free_energy else { return section };
    section.paragraph(
        "The free energy of the data end of the learned path relative to its noise end. An energy that is \
         normalised alike at all diffusion times gives 0, so the value is a verdict on the model; whether the \
         roads agree is one on the samplers.",
    );
    section.table(roads_table(&free_energy.roads));
    section.table(agreement_table(free_energy));
    if let Some(false) = free_energy.trustworthy {
        let text = "These numbers should not be used without looking at the diagnostics below.".into();
        section.blocks.push(Block::Verdict { tone: "bad", text });
    }
    section
}

fn road_label(road: &Road) -> String {
    match road.label.as_deref().filter(|label| !label.is_empty()) {
        Some(label) => label.into(),
        None => set_label(&road.name),
    }
}

fn roads_table(roads: &[Road]) -> Table {
    let header = ["Road", "Free energy / kT", "Samples", "Energy evaluations", "Wall time", "Method"];
    let mut table = Table::new("", header).with_words(5);
    let count = |n: Option<f64>| n.map_or_else(|| "–".into(), number::plain);
    for road in roads {
        table.rows.push(vec![
            road_label(road),
            number::with_error(road.value_kt.unwrap_or(f64::NAN), road.std_error_kt),
            count(road.n_samples),
            count(road.n_energy_evaluations),
            road.seconds.map_or_else(|| "–".into(), number::duration),
            road.method.clone().unwrap_or_default(),
        ]);
    }
    table.without_empty_columns()
}

fn agreement_table(free_energy: &FreeEnergy) -> Table {
    let header = ["Pair", "Difference / kT", "In combined errors", "Verdict"];
    let mut table = Table::new("Agreement", header).with_words(3);
    let label = |name: &str| {
        let road = free_energy.roads.iter().find(|road| road.name == name);
        road.map_or_else(|| set_label(name), |road| set_label(&road.name))
    };
    for pair in &free_energy.agreement {
        let ratio = pair.difference_kt.zip(pair.combined_std_error_kt).filter(|(_, error)| *error > 0.0);
        table.rows.push(vec![
            format!("{} − {}", label(&pair.a), label(&pair.b)),
            number::with_error(pair.difference_kt.unwrap_or(f64::NAN), pair.combined_std_error_kt),
            ratio.map_or_else(|| "–".into(), |(d, e)| format!("{:.1}", (d / e).abs())),
            if pair.within_2_sigma { "✓ agree within 2" } else { "✗ differ by more than 2" }.into(),
        ]);
    }
    table
}
