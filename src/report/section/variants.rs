//! The run beside its variants, number by number.

use super::quantity_text;
use crate::report::contents::{Contents, Quantity};
use crate::report::page::{Section, Table};

/// The name of a variant as a reader wants it: short words are abbreviations.
pub fn label(name: &str) -> String {
    let abbreviations = ["dsm", "diffclf", "tsm", "fpe", "smc", "mbar"];
    let words = name.split('_').map(|word| match word {
        "diffclf" => "DiffCLF".into(),
        word if abbreviations.contains(&word) => word.to_uppercase(),
        word => word.to_string(),
    });
    words.collect::<Vec<String>>().join(" ")
}

/// What the run itself is called where it stands beside its variants.
pub fn name_of_main(contents: &Contents) -> String {
    let title = contents.plan.get("report").and_then(|report| report.get("label"));
    title.and_then(toml::Value::as_str).unwrap_or("this run").into()
}

/// The section.
pub fn section(contents: &Contents) -> Section {
    let mut section = Section::new("variants", "Beside the variants");
    if contents.variants.iter().all(|variant| variant.summary.is_empty()) {
        return section;
    }
    let names: Vec<String> = contents.variants.iter().map(|variant| label(&variant.name)).collect();
    let mut header = vec!["Quantity".to_string(), name_of_main(contents)];
    header.extend(names);
    header.push("Unit".into());
    let unit_column = header.len() - 1;
    let mut table = Table::new("", header).with_words(unit_column);
    for (name, quantity) in &contents.summary {
        let others: Vec<Option<&Quantity>> =
            contents.variants.iter().map(|variant| variant.quantity(name)).collect();
        if others.iter().all(Option::is_none) {
            continue;
        }
        let (value, unit) = quantity_text(name, quantity);
        let mut row = vec![quantity_label(contents, name), value];
        row.extend(others.iter().map(|other| other.map_or_else(|| "–".into(), |q| quantity_text(name, q).0)));
        row.push(unit);
        table.rows.push(row);
    }
    section.table(table.without_empty_columns());
    section
}

/// A key of the summary in words.
pub fn quantity_label(contents: &Contents, name: &str) -> String {
    let words = |set: &str| super::set_label(set);
    if let Some((state, set)) = name.strip_prefix("population_").and_then(|rest| rest.rsplit_once('_')) {
        return format!("Population {}, {}", contents.state_label(state), words(set));
    }
    if let Some(road) = name.strip_prefix("path_free_energy_") {
        return format!("Free energy of the path, {}", words(road));
    }
    for (prefix, metric) in [("js", "JS divergence"), ("pmf_error", "PMF error")] {
        let Some(rest) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else { continue };
        let (kind, set) = match rest.split_once('_') {
            None if rest == "floor" => return format!("{metric}, floor"),
            None => ("", rest),
            Some(("excess", set)) => (" above the floor", set),
            Some(("train", set)) => (" against training", set),
            Some(("floor", set)) => (", floor", set),
            Some(_) => continue,
        };
        return format!("{metric}{kind}, {}", words(set));
    }
    let text = name.replace('_', " ").replace(" mib", "").replace(" kT", "").replace("ess ", "ESS ");
    let text = text.replace("ESS smc", "ESS, SMC");
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
