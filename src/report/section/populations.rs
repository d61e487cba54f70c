//! How much of every set lies in each state.

use super::set_label;
use crate::Result;
use crate::report::contents::{Contents, set_rank};
use crate::report::number;
use crate::report::page::{Section, Table};

/// The section.
pub fn section(contents: &Contents) -> Result<Section> {
    let mut section = Section::new("populations", "Populations");
    let entries = entries(contents)?;
    let mut sets: Vec<&str> = entries.iter().map(|entry| entry.set.as_str()).collect();
    sets.sort_by(|a, b| set_rank(a).cmp(&set_rank(b)));
    sets.dedup();
    let mut states: Vec<&str> = Vec::new();
    for entry in &entries {
        if !states.contains(&entry.state.as_str()) {
            states.push(&entry.state);
        }
    }
    let header: Vec<String> = std::iter::once("State".to_string())
        .chain(sets.iter().map(|set| format!("{} / %", set_label(set))))
        .collect();
    let mut table = Table::new("", header);
    for state in states {
        let mut row = vec![contents.state_label(state)];
        for set in &sets {
            let entry = entries.iter().find(|entry| entry.state == state && entry.set == *set);
            row.push(entry.map_or_else(
                || "–".into(),
                |entry| number::with_error(100.0 * entry.value, entry.std_error.map(|error| 100.0 * error)),
            ));
        }
        table.rows.push(row);
    }
    section.table(table);
    Ok(section)
}

struct Entry {
    state: String,
    set: String,
    value: f64,
    std_error: Option<f64>,
}

/// From the table, completed by what only the summary has.
fn entries(contents: &Contents) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    if let Some(table) = &contents.populations {
        let (states, sets, values) = (table.texts("state")?, table.texts("set")?, table.numbers("value")?);
        let errors = table.numbers_if_any("std_error")?;
        for (i, (state, set)) in states.into_iter().zip(sets).enumerate() {
            let std_error = errors.as_ref().map(|errors| errors[i]);
            entries.push(Entry { state, set, value: values[i], std_error });
        }
    }
    for (name, quantity) in &contents.summary {
        let parts = name.strip_prefix("population_").and_then(|rest| rest.rsplit_once('_'));
        let (Some((state, set)), Some(value)) = (parts, quantity.value) else { continue };
        if !entries.iter().any(|entry| entry.state == state && entry.set == set) {
            let (state, set) = (state.to_string(), set.to_string());
            entries.push(Entry { state, set, value, std_error: quantity.std_error });
        }
    }
    Ok(entries)
}
