//! How far bond lengths and distances of pairs are from those of the data.

use super::set_label;
use crate::Result;
use crate::report::contents::{Contents, set_rank};
use crate::report::number;
use crate::report::page::{Block, Section, Table};

const PREFIX: &str = "wasserstein_nm_";

/// Longer tables are closed until asked for.
const N_OPEN_ROWS: usize = 24;

/// The section.
pub fn section(contents: &Contents) -> Result<Section> {
    let mut section = Section::new("distances", "Bond lengths and distances of pairs");
    let Some(distances) = &contents.distances else { return Ok(section) };
    let mut sets: Vec<&str> = distances
        .header()
        .iter()
        .filter_map(|name| name.strip_prefix(PREFIX))
        .filter(|set| !set.ends_with("std_error"))
        .collect();
    sets.sort_by(|a, b| set_rank(a).cmp(&set_rank(b)));
    let (kinds, names) = (distances.texts("kind")?, distances.texts("name")?);
    let mut columns = Vec::new();
    for set in &sets {
        let values = distances.numbers(&format!("{PREFIX}{set}"))?;
        let errors = distances.numbers_if_any(&format!("{PREFIX}{set}_std_error"))?;
        columns.push((values, errors));
    }
    for (kind, caption) in [("bond", "Bonds"), ("pair", "Pairs")] {
        let header: Vec<String> =
            std::iter::once("Atoms".to_string()).chain(sets.iter().map(|set| set_label(set))).collect();
        let mut table = Table::new(format!("{caption}: Wasserstein distance from the data / pm"), header);
        for i in (0..names.len()).filter(|&i| kinds[i] == kind) {
            let mut row = vec![names[i].clone()];
            for (values, errors) in &columns {
                let error = errors.as_ref().map(|errors| 1000.0 * errors[i]);
                row.push(match error {
                    Some(error) => number::with_error(1000.0 * values[i], Some(error)),
                    None if values[i].is_finite() => format!("{:.3}", 1000.0 * values[i]),
                    None => "–".into(),
                });
            }
            table.rows.push(row);
        }
        // A protein has thousands of pairs.
        if table.rows.len() > N_OPEN_ROWS {
            let summary = format!("{} ({} rows)", table.caption, table.rows.len());
            table.caption.clear();
            section.blocks.push(Block::ClosedTable { summary, table });
        } else {
            section.table(table);
        }
    }
    Ok(section)
}
