//! What a configuration can name, for `kirkwood list`.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Value, json};

use crate::error::{Error, Result, did_you_mean};
use crate::force_field::shipped;
use crate::model::network::NETWORKS;
use crate::registry::Registry;
use crate::system::COLLECTIVE_VARIABLES;
use crate::training::objective::OBJECTIVES;

/// Names by kind.
pub struct Catalogue {
    kinds: Vec<Kind>,
}

/// The names of one kind of thing.
struct Kind {
    name: String,
    /// Where a configuration names it.
    place: &'static str,
    entries: Vec<Entry>,
}

struct Entry {
    name: &'static str,
    summary: Cow<'static, str>,
    /// Settings that work, as TOML; for a system, its names with a solvent.
    example: Cow<'static, str>,
}

/// Everything, or one kind; an unknown kind is an error with the nearest one.
pub fn list(kind: Option<&str>) -> Result<Catalogue> {
    let mut kinds = kinds();
    if let Some(wanted) = kind {
        let plain = |name: &str| name.replace(['-', ' '], "_").trim_end_matches('s').to_string();
        if !kinds.iter().any(|kind| plain(&kind.name) == plain(wanted)) {
            let hint = did_you_mean(wanted, kinds.iter().map(|kind| kind.name.as_str()));
            return Err(Error::config(format!("list {wanted}"), "there is no such kind", hint));
        }
        kinds.retain(|kind| plain(&kind.name) == plain(wanted));
    }
    Ok(Catalogue { kinds })
}

fn kinds() -> Vec<Kind> {
    vec![
        systems(),
        of_registry("collective_variable", "[[collective_variables]]", &COLLECTIVE_VARIABLES),
        of_registry("network", "[model.network]", &NETWORKS),
        of_registry("objective", "[[train.stages]] objectives", &OBJECTIVES),
        of_table(
            "noise",
            "[model.noise]",
            &[
                (
                    "variance_preserving",
                    "Unit-variance data stay at unit variance (Song et al. 2021).",
                    "beta_min = 0.1\nbeta_max = 20.0",
                ),
                (
                    "variance_exploding",
                    "The data keep their scale under growing noise.",
                    "sigma_min = 0.001\nsigma_max = 50.0",
                ),
                (
                    "edm",
                    "Time is the noise level itself (Karras et al. 2022).",
                    "sigma_min = 0.001\nsigma_max = 20.0",
                ),
            ],
        ),
        of_table(
            "sampling_part",
            "sample.parts",
            &[
                ("iid", "Independent samples by reverse diffusion.", ""),
                ("langevin", "Langevin dynamics at the data end, in physical units.", ""),
                (
                    "equilibrium",
                    "Exact equilibrium of the learned energy by Monte Carlo with torsion pivots.",
                    "",
                ),
                ("smc", "Sequential Monte Carlo along the learned path, with its normalising constant.", ""),
                ("replica_exchange", "Replica exchange over the levels of the learned path.", ""),
            ],
        ),
    ]
}

fn of_registry<T: ?Sized, C: ?Sized>(name: &str, place: &'static str, registry: &Registry<T, C>) -> Kind {
    let entries = registry.entries.iter();
    let entries = entries.map(|entry| Entry {
        name: entry.name,
        summary: entry.summary.into(),
        example: entry.example.into(),
    });
    Kind { name: name.to_string(), place, entries: entries.collect() }
}

fn systems() -> Kind {
    let entries = shipped::listings().into_iter().map(|system| Entry {
        name: system.name,
        summary: system.summary.into(),
        example: system.variants.join("\n").into(),
    });
    Kind { name: "system".to_string(), place: "kirkwood energy SYSTEM", entries: entries.collect() }
}

fn of_table(name: &str, place: &'static str, entries: &[(&'static str, &'static str, &'static str)]) -> Kind {
    let entries = entries.iter().map(|&(name, summary, example)| Entry {
        name,
        summary: summary.into(),
        example: example.into(),
    });
    Kind { name: name.to_string(), place, entries: entries.collect() }
}

impl Catalogue {
    /// The same as one JSON object.
    pub fn to_json(&self) -> Value {
        let entry =
            |entry: &Entry| json!({ "name": entry.name, "summary": entry.summary, "example": entry.example });
        let kinds = self.kinds.iter().map(|kind| {
            let entries: Vec<Value> = kind.entries.iter().map(entry).collect();
            (kind.name.clone(), json!({ "place": kind.place, "entries": entries }))
        });
        Value::Object(kinds.collect())
    }
}

impl fmt::Display for Catalogue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in &self.kinds {
            writeln!(formatter, "{} (named in `{}`)", kind.name, kind.place)?;
            for entry in &kind.entries {
                writeln!(formatter, "  {:<24} {}", entry.name, entry.summary)?;
                for line in entry.example.trim().lines() {
                    writeln!(formatter, "  {:<24}   {}", "", line.trim_end())?;
                }
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_in_the_plural_and_strangers_are_told_the_nearest() {
        let text = list(Some("collective-variables")).unwrap().to_string();
        assert!(text.contains("dihedral") && !text.contains("variance_preserving"));
        let message = list(Some("nois_")).err().unwrap().to_string();
        assert!(message.contains("did you mean `noise`?"), "{message}");
    }
}
