//! Names that a configuration can use, and how each becomes a thing.
//!
//! A kind of thing (potential, network, objective, …) has one static [`Registry`] in its module. An
//! entry is a settings type: its name, one sentence, an example that works, and how to build from it.
//! Configurations, `kirkwood list` and the contract tests read the same registry.

use crate::error::{Error, Result, did_you_mean};
use serde::de::DeserializeOwned;

/// Settings that build a `T` in a context `C`.
pub trait Settings<T: ?Sized, C: ?Sized>: DeserializeOwned {
    /// One sentence for `kirkwood list`.
    const SUMMARY: &'static str;
    /// A TOML table body that builds as it stands.
    const EXAMPLE: &'static str;

    /// Builds the thing.
    fn build(self, context: &C) -> Result<Box<T>>;
}

/// One name.
pub struct Entry<T: ?Sized, C: ?Sized> {
    /// The value of `kind` in a configuration.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// A TOML table body that builds as it stands.
    pub example: &'static str,
    build: fn(toml::Table, &C) -> std::result::Result<Box<T>, BuildError>,
}

/// Why settings did not build.
enum BuildError {
    Settings(toml::de::Error),
    Thing(Error),
}

/// An entry made from its settings type.
pub const fn entry<S, T: ?Sized, C: ?Sized>(name: &'static str) -> Entry<T, C>
where
    S: Settings<T, C>,
{
    Entry {
        name,
        summary: S::SUMMARY,
        example: S::EXAMPLE,
        build: |table, context| {
            let settings: S = toml::Value::Table(table).try_into().map_err(BuildError::Settings)?;
            settings.build(context).map_err(BuildError::Thing)
        },
    }
}

/// All names of one kind.
pub struct Registry<T: ?Sized + 'static, C: ?Sized + 'static> {
    /// What is named, in the singular: `potential`.
    pub kind: &'static str,
    /// The names, in reading order.
    pub entries: &'static [Entry<T, C>],
}

impl<T: ?Sized, C: ?Sized> Registry<T, C> {
    /// The names of one kind.
    pub const fn new(kind: &'static str, entries: &'static [Entry<T, C>]) -> Self {
        Self { kind, entries }
    }

    /// The entry called `name`, or an error that names the nearest one.
    pub fn get(&self, place: &str, name: &str) -> Result<&Entry<T, C>> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let names = self.entries.iter().map(|entry| entry.name);
            Error::config(
                format!("{place}.kind = \"{name}\""),
                format!("no {} has this name", self.kind),
                did_you_mean(name, names),
            )
        })
    }

    /// Builds from a table with a `kind`; `place` is the key path of the table, for messages.
    pub fn build(&self, place: &str, mut table: toml::Table, context: &C) -> Result<Box<T>> {
        let name = match table.remove("kind") {
            Some(toml::Value::String(name)) => name,
            Some(other) => {
                return Err(Error::config(
                    format!("{place}.kind"),
                    format!("expected a name, found {other}"),
                    String::new(),
                ));
            }
            None => {
                let names: Vec<_> = self.entries.iter().map(|entry| entry.name).collect();
                return Err(Error::config(
                    format!("{place}.kind"),
                    format!("the {} is not named", self.kind),
                    format!("one of: {}", names.join(", ")),
                ));
            }
        };
        (self.get(place, &name)?.build)(table, context).map_err(|error| match error {
            BuildError::Settings(error) => Error::config(place, error.message().to_string(), String::new()),
            BuildError::Thing(error) => error,
        })
    }
}
