//! What a reader of a result must know before trusting it.

use serde::{Deserialize, Serialize};

/// How much a verdict matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know: the number stands.
    Note,
    /// The number stands, with less certainty than its error says.
    Warning,
    /// The number is not to be trusted.
    Untrustworthy,
}

/// One statement about a result, in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about, for programs: `low_overlap`, `disconnected`, `not_converged`, ….
    pub kind: String,
    /// For people: which states, what was found, what to do.
    pub message: String,
}

impl Verdict {
    /// A verdict.
    pub fn new(severity: Severity, kind: &str, message: impl Into<String>) -> Self {
        Self { severity, kind: kind.into(), message: message.into() }
    }
}
