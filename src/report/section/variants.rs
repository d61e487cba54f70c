//! The run beside its variants, number by number.

use super::quantity_text;
use crate::report::contents::{Contents, Quantity};
use crate::report::page::{Block, Section, Table};

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
    for variant in &contents.variants {
        if let Some(verdict) = variant.free_energy.as_ref().and_then(|estimate| estimate.verdict.as_deref()) {
            section.paragraph(format!("{}: {verdict}", label(&variant.name)));
        }
    }
    section.table(comparison(contents, |name| is_headline(contents, name)));
    let all = comparison(contents, |_| true);
    if !all.rows.is_empty() {
        let summary = format!("All {} numbers that both have", all.rows.len());
        section.blocks.push(Block::ClosedTable { summary, table: all });
    }
    section
}

/// Whether a number tells a model from another: not those of the data, of machines, or what an
/// excess over the floor says better.
fn is_headline(contents: &Contents, name: &str) -> bool {
    let of_data = name.ends_with("_data") || name.ends_with("_floor") || name.contains("_train_");
    let of_machine = name.ends_with("_mib") || name == "total_seconds";
    let has_excess = ["js", "pmf_error"].into_iter().any(|metric| {
        let set = name.strip_prefix(metric).and_then(|rest| rest.strip_prefix('_'));
        set.is_some_and(|set| contents.quantity(&format!("{metric}_excess_{set}")).is_some())
    });
    !(of_data || of_machine || has_excess)
}

fn comparison(contents: &Contents, is_shown: impl Fn(&str) -> bool) -> Table {
    let names: Vec<String> = contents.variants.iter().map(|variant| label(&variant.name)).collect();
    let mut header = vec!["Quantity".to_string(), name_of_main(contents)];
    header.extend(names);
    header.push("Unit".into());
    let unit_column = header.len() - 1;
    let mut table = Table::new("", header).with_words(unit_column);
    for (name, quantity) in contents.summary.iter().filter(|(name, _)| is_shown(name)) {
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
    table.without_empty_columns()
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
