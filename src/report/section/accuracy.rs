//! How far the samples are from the data, beyond what counting alone would give.

use super::{cell, metric, set_label};
use crate::Result;
use crate::report::contents::{Contents, set_rank};
use crate::report::number;
use crate::report::page::{Block, Section, Table};
use std::collections::BTreeSet;

/// Published (method, [IID JS, Langevin JS, IID PMF error, Langevin PMF error]) for alanine dipeptide
/// in five beads (arXiv 2601.21025, arXiv 2506.17139), against the authors' own training frames.
const ALANINE_DIPEPTIDE: [(&str, [f64; 4]); 3] = [
    ("DiffCLF", [0.0068, 0.0092, 0.070, 0.094]),
    ("DSM", [0.0081, 0.0695, 0.095, 1.047]),
    ("FPE", [0.0082, 0.0090, 0.098, 0.104]),
];

/// The metrics with a floor: prefix, name, number of digits that the literature gives.
const METRICS: [(&str, &str, usize, usize); 2] =
    [("js", "Jensen–Shannon divergence", 4, 0), ("pmf_error", "PMF error / kT²", 3, 2)];

/// The section.
pub fn section(contents: &Contents) -> Result<Section> {
    let mut section = Section::new("accuracy", "Distance from the data");
    let sets = sets(contents)?;
    let published = contents.literature() == Some("alanine_dipeptide");
    for (prefix, title, digits, first) in METRICS {
        section.table(metric_table(contents, &sets, prefix, title, published.then_some((digits, first))));
    }
    if !section.is_empty() {
        let mut text = String::from(
            "Two independent sets of frames of these sizes already differ by the floor; only the excess over \
             it says anything about the model. “Against training” is the published protocol: the same samples \
             against the frames that the model was trained on.",
        );
        if published {
            text.push_str(
                " Published values (DiffCLF, DSM and FPE, arXiv 2601.21025) are means over three seeds on \
                 other data, against their training frames, without a floor taken off.",
            );
        }
        section.blocks.insert(0, Block::Paragraph { text });
    }
    if let Some(table) = other_metrics(contents)? {
        let summary = format!("All {} metrics with their methods", table.rows.len());
        section.blocks.push(Block::ClosedTable { summary, table });
    }
    Ok(section)
}

/// Sets that any metric is known of.
fn sets(contents: &Contents) -> Result<Vec<String>> {
    let mut sets = BTreeSet::new();
    if let Some(table) = &contents.metrics {
        // Columns are read here so that a broken file is an error and not an empty table.
        let (names, metrics) = (table.texts("set")?, table.texts("metric")?);
        table.numbers("value")?;
        table.numbers_if_any("std_error")?;
        sets.extend(
            names
                .into_iter()
                .zip(metrics)
                .filter(|(set, metric)| !set.is_empty() && !metric.ends_with("_floor"))
                .map(|(set, _)| set),
        );
    }
    for (name, _) in &contents.summary {
        for set in ["iid", "langevin", "equilibrium", "smc", "mbar"] {
            if name == &format!("js_{set}") || name == &format!("pmf_error_{set}") {
                sets.insert(set.to_string());
            }
        }
    }
    let mut sets: Vec<String> = sets.into_iter().collect();
    sets.sort_by(|a, b| set_rank(a).cmp(&set_rank(b)));
    Ok(sets)
}

fn metric_table(
    contents: &Contents,
    sets: &[String],
    prefix: &str,
    title: &str,
    published: Option<(usize, usize)>,
) -> Table {
    let mut header = vec!["Set", "Against test", "Floor", "Excess", "Against training"];
    let mut groups = Vec::new();
    if published.is_some() {
        header.extend(ALANINE_DIPEPTIDE.map(|(method, _)| method));
        groups = vec![
            (String::new(), 1),
            ("this run".to_string(), 4),
            ("published".to_string(), ALANINE_DIPEPTIDE.len()),
        ];
    }
    let mut table = Table::new(title, header);
    table.groups = groups;
    for set in sets {
        let value = |suffix: &str| metric(contents, set, &format!("{prefix}{suffix}"));
        let floor = value("_floor").or_else(|| any_floor(contents, prefix));
        let Some(found) = value("") else { continue };
        let mut row = vec![
            set_label(set),
            cell(Some(found)),
            cell(floor),
            cell(value("_excess")),
            cell(value("_train")),
        ];
        if let Some((digits, first)) = published {
            let column = match set.as_str() {
                "iid" => Some(first),
                "langevin" => Some(first + 1),
                _ => None,
            };
            row.extend(ALANINE_DIPEPTIDE.iter().map(|(_, values)| {
                column.map_or_else(|| "–".into(), |column| format!("{:.digits$}", values[column]))
            }));
        }
        table.rows.push(row);
    }
    table.without_empty_columns()
}

/// A floor that the table of metrics lists under the data or under a name of its own.
fn any_floor(contents: &Contents, prefix: &str) -> Option<(f64, Option<f64>)> {
    ["data", "floor", ""].iter().find_map(|set| metric(contents, set, &format!("{prefix}_floor")))
}

fn other_metrics(contents: &Contents) -> Result<Option<Table>> {
    let Some(metrics) = &contents.metrics else { return Ok(None) };
    let (sets, names, values) = (metrics.texts("set")?, metrics.texts("metric")?, metrics.numbers("value")?);
    let errors = metrics.numbers_if_any("std_error")?.unwrap_or_else(|| vec![f64::NAN; values.len()]);
    let methods =
        if metrics.has("method") { metrics.texts("method")? } else { vec![String::new(); values.len()] };
    let mut table = Table::new("", ["Set", "Metric", "Value", "Method"]).with_words(1).with_words(3);
    for i in 0..values.len() {
        table.rows.push(vec![
            set_label(&sets[i]),
            names[i].clone(),
            number::with_error(values[i], Some(errors[i])),
            methods[i].clone(),
        ]);
    }
    Ok((!table.rows.is_empty()).then(|| table.without_empty_columns()))
}
