//! What ran, what came of it, and the numbers that matter most.

use super::{quantity_text, set_label};
use crate::report::contents::Contents;
use crate::report::number;
use crate::report::page::{Block, Card, Section};

/// Sets that a model makes.
const SAMPLED: [(&str, &str); 4] = [
    ("iid", "reverse diffusion (IID)"),
    ("langevin", "Langevin dynamics"),
    ("equilibrium", "equilibrium Monte Carlo"),
    ("smc", "sequential Monte Carlo"),
];

/// The first section, and the names of stages that did not run.
pub fn section(contents: &Contents) -> (Section, Vec<String>) {
    let mut section = Section::new("headline", "");
    let not_run = not_run(contents);
    section.paragraph(what_ran(contents));
    if let Some(free_energy) = &contents.free_energy
        && let Some(text) = &free_energy.verdict
    {
        let tone = match free_energy.trustworthy {
            Some(true) => "good",
            Some(false) => "bad",
            None => "neutral",
        };
        section.blocks.push(Block::Verdict { tone, text: text.clone() });
    }
    for doubt in &contents.doubts {
        section.blocks.push(Block::Verdict { tone: "bad", text: doubt.clone() });
    }
    let cards = cards(contents);
    if !cards.is_empty() {
        section.blocks.push(Block::Cards { cards });
    }
    if !not_run.is_empty() {
        section.paragraph(format!("Not run: {}.", not_run.join(", ")));
    }
    (section, not_run)
}

fn has_set(contents: &Contents, set: &str) -> bool {
    contents.histograms.iter().any(|(name, _)| name == set)
        || contents.pmfs.values().flatten().any(|(name, _)| name == set)
        || contents.quantity(&format!("js_{set}")).is_some()
}

fn what_ran(contents: &Contents) -> String {
    let mut did = Vec::new();
    if let Some(loss) = &contents.loss {
        let steps = loss.numbers("step").ok().and_then(|steps| steps.last().copied());
        let steps = steps.map_or(String::new(), |n| format!(" in {} steps", number::plain(n)));
        let seconds = contents.quantity("train_seconds").and_then(|q| q.value);
        let time = seconds.map_or(String::new(), |s| format!(" ({})", number::duration(s)));
        did.push(format!("learned an energy{steps}{time}"));
    }
    let samplers: Vec<&str> =
        SAMPLED.iter().filter(|(set, _)| has_set(contents, set)).map(|(_, words)| *words).collect();
    if !samplers.is_empty() {
        did.push(format!("sampled it by {}", joined(&samplers)));
    }
    if let Some(free_energy) = &contents.free_energy {
        let roads: Vec<String> = free_energy.roads.iter().map(|road| set_label(&road.name)).collect();
        let roads: Vec<&str> = roads.iter().map(String::as_str).collect();
        did.push(format!("estimated the free energy along its path by {}", joined(&roads)));
    }
    if contents.metrics.is_some() || contents.quantity("js_iid").is_some() {
        did.push("compared the samples with test frames that training has not seen".into());
    }
    let did: Vec<&str> = did.iter().map(String::as_str).collect();
    if did.is_empty() {
        "No stage of this run is complete.".into()
    } else {
        format!("This run {}.", joined(&did))
    }
}

fn joined(parts: &[&str]) -> String {
    match parts {
        [] => String::new(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn not_run(contents: &Contents) -> Vec<String> {
    let mut missing = Vec::new();
    let mut expect = |present: bool, words: &str| {
        if !present {
            missing.push(words.to_string());
        }
    };
    expect(contents.loss.is_some(), "training");
    for (set, words) in SAMPLED {
        expect(has_set(contents, set), words);
    }
    expect(contents.replica_exchange.is_some(), "replica exchange");
    expect(contents.free_energy.is_some(), "free-energy estimates");
    expect(contents.metrics.is_some() || !contents.histograms.is_empty(), "comparison with data");
    missing
}

fn card(contents: &Contents, name: &str, label: &str, note: String) -> Option<Card> {
    let (value, unit) = quantity_text(name, contents.quantity(name)?);
    Some(Card { label: label.into(), value, unit, note })
}

fn cards(contents: &Contents) -> Vec<Card> {
    let mut cards = Vec::new();
    let text = |name: &str| {
        contents.quantity(name).map(|quantity| {
            let (value, unit) = quantity_text(name, quantity);
            if unit.is_empty() { value } else { format!("{value} {unit}") }
        })
    };
    for set in ["equilibrium", "iid", "langevin", "smc"] {
        if cards.len() == 3 {
            break;
        }
        let name = format!("js_excess_{set}");
        let parts: Vec<String> = [
            text(&format!("js_{set}")).map(|js| format!("JS {js}")),
            text(&format!("js_floor_{set}"))
                .or_else(|| text("js_floor"))
                .map(|floor| format!("floor {floor}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let label = format!("JS divergence above the floor, {}", set_label(set));
        let plain = || {
            card(contents, &format!("js_{set}"), &format!("JS divergence, {}", set_label(set)), String::new())
        };
        cards.extend(card(contents, &name, &label, parts.join(", ")).or_else(plain));
    }
    let roads = ["mbar", "smc", "ti"];
    if let Some(road) =
        roads.into_iter().find(|road| contents.quantity(&format!("path_free_energy_{road}")).is_some())
    {
        let others: Vec<String> = roads
            .into_iter()
            .filter(|other| *other != road)
            .filter_map(|other| {
                Some(format!("{} {}", set_label(other), text(&format!("path_free_energy_{other}"))?))
            })
            .collect();
        let label = format!("Free energy of the path, {}", set_label(road));
        cards.extend(card(contents, &format!("path_free_energy_{road}"), &label, others.join(", ")));
    }
    cards.extend(rarest_state(contents));
    let memory = text("peak_memory_mib").map(|memory| format!("peak memory {memory}")).unwrap_or_default();
    if let Some(seconds) = contents.quantity("total_seconds").and_then(|quantity| quantity.value) {
        let training = contents.quantity("train_seconds").and_then(|quantity| quantity.value);
        let training = training.map(|s| format!("training {}", number::duration(s)));
        let parts: Vec<String> = training.into_iter().chain((!memory.is_empty()).then_some(memory)).collect();
        let (value, unit) = (number::duration(seconds), String::new());
        cards.push(Card { label: "Wall time".into(), value, unit, note: parts.join(", ") });
    }
    cards.truncate(6);
    cards
}

/// The state that the data hold least of: it is what a model gets wrong first.
fn rarest_state(contents: &Contents) -> Option<Card> {
    let state = contents
        .summary
        .iter()
        .filter_map(|(name, quantity)| {
            let state = name.strip_prefix("population_")?.strip_suffix("_data")?;
            Some((state, quantity.value?))
        })
        .min_by(|a, b| a.1.total_cmp(&b.1))?
        .0;
    let set = ["equilibrium", "smc", "mbar", "iid", "langevin"]
        .into_iter()
        .find(|set| contents.quantity(&format!("population_{state}_{set}")).is_some())?;
    let data = format!("population_{state}_data");
    let note = format!("data {}", quantity_text(&data, contents.quantity(&data)?).0);
    let label = format!("Population {}, {}", contents.state_label(state), set_label(set));
    card(contents, &format!("population_{state}_{set}"), &label, note)
}
