//! Every number of the summary, and where they came from.

use super::quantity_text;
use super::variants::quantity_label;
use crate::report::contents::Contents;
use crate::report::number;
use crate::report::page::{Block, Section, Table};
use serde_json::Value;

/// All numbers of the summary with their methods.
pub fn numbers(contents: &Contents) -> Section {
    let mut section = Section::new("numbers", "All numbers");
    let header = ["Quantity", "Name in summary.json", "Value", "Unit", "Method"];
    let mut table = Table::new("", header).with_words(1).with_words(3).with_words(4);
    for (name, quantity) in &contents.summary {
        let (value, unit) = quantity_text(name, quantity);
        let method = quantity.method.clone().unwrap_or_default();
        table.rows.push(vec![quantity_label(contents, name), name.clone(), value, unit, method]);
    }
    if !table.rows.is_empty() {
        let summary = format!("{} numbers of summary.json with their methods", table.rows.len());
        section.blocks.push(Block::ClosedTable { summary, table });
    }
    section
}

/// Version, command, machine, times, inputs, plan.
pub fn section(contents: &Contents) -> Section {
    let mut section = Section::new("provenance", "Provenance");
    if let Some(provenance) = &contents.provenance {
        section.table(facts(contents, provenance));
        section.table(times(provenance));
        section.table(inputs(provenance));
    }
    if let Some(text) = &contents.plan_text {
        section.blocks.push(Block::ClosedText { summary: "plan.toml".into(), text: text.clone() });
    }
    section
}

/// A JSON value on one line, for people.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        // A seed is a name: it is not grouped in thousands.
        Value::Number(number) => number.to_string(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Array(values) => {
            values.iter().map(text).collect::<Vec<_>>().join(if values.len() > 6 { " " } else { ", " })
        }
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{}: {}", key.replace('_', " "), text(value)));
            pairs.collect::<Vec<_>>().join("; ")
        }
    }
}

fn facts(contents: &Contents, provenance: &Value) -> Table {
    const NAMES: [(&str, &str); 11] = [
        ("kirkwood_version", "kirkwood"),
        ("git_commit", "Commit"),
        ("command", "Command"),
        ("seed", "Seed"),
        ("threads", "Threads"),
        ("device", "Device"),
        ("host", "Host"),
        ("cpu", "CPU"),
        ("started_utc", "Started (UTC)"),
        ("finished_utc", "Finished (UTC)"),
        ("system", "System"),
    ];
    let mut table = Table::new("", ["Fact", "Value"]).with_words(1);
    let empty = serde_json::Map::new();
    let object = provenance.as_object().unwrap_or(&empty);
    for (key, name) in NAMES {
        let value = object.get(key).map(|value| match value {
            // A command as a list of words reads as it was typed.
            Value::Array(words) if key == "command" => words.iter().map(text).collect::<Vec<_>>().join(" "),
            value => text(value),
        });
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            table.rows.push(vec![name.into(), value]);
        }
    }
    let known =
        |key: &str| NAMES.iter().any(|(name, _)| *name == key) || ["seconds", "inputs"].contains(&key);
    for (key, value) in object.iter().filter(|(key, _)| !known(key)) {
        table.rows.push(vec![key.replace('_', " "), text(value)]);
    }
    if let Some(memory) = contents.quantity("peak_memory_mib").and_then(|quantity| quantity.value) {
        table.rows.push(vec!["Peak memory".into(), number::bytes(memory * 1024.0 * 1024.0)]);
    }
    table
}

fn times(provenance: &Value) -> Table {
    let mut table = Table::new("Wall time", ["Stage", "Time", "Share / %"]);
    let Some(stages) = provenance.get("seconds").and_then(Value::as_object) else { return table };
    let parts: Vec<(&String, f64)> =
        stages.iter().filter_map(|(stage, seconds)| Some((stage, seconds.as_f64()?))).collect();
    let total: f64 = parts.iter().filter(|(stage, _)| *stage != "total").map(|(_, seconds)| seconds).sum();
    for (stage, seconds) in parts {
        let share = if stage == "total" || total <= 0.0 {
            String::new()
        } else {
            format!("{:.1}", 100.0 * seconds / total)
        };
        table.rows.push(vec![stage.replace('_', " "), number::duration(seconds), share]);
    }
    table
}

fn inputs(provenance: &Value) -> Table {
    let mut table = Table::new("Inputs", ["File", "SHA-256", "Size"]).with_words(1);
    let of = |input: &Value, key: &str| input.get(key).map(text).unwrap_or_default();
    for input in provenance.get("inputs").and_then(Value::as_array).into_iter().flatten() {
        let size = input.get("bytes").and_then(Value::as_f64).map(number::bytes).unwrap_or_default();
        table.rows.push(vec![of(input, "path"), of(input, "sha256"), size]);
    }
    table
}
