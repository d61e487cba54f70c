//! From samples along a path of λ to free energies with errors, diagnostics and verdicts.
//!
//! [`Dataset`] joins what the readers found; `analyse` makes an [`Analysis`] of it.

pub mod analysis;
pub mod dataset;
pub mod verdict;

pub use analysis::{Analysis, AnalysisSettings, Decorrelation, Estimator, TiRule};
pub use dataset::{Dataset, State, Window};
pub use verdict::{Severity, Verdict};
