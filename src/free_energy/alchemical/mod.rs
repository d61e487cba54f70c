//! From samples along a path of λ to free energies with errors, diagnostics and verdicts.
//!
//! [`Dataset`] joins what the readers found; `analyse` makes an [`Analysis`] of it.

pub mod analysis;
mod data_checks;
pub mod dataset;
mod decorrelation;
mod diagnostics;
mod estimate_checks;
mod integration;
mod judgement;
mod links;
mod multistate;
mod resampling;
mod subsampling;
#[cfg(test)]
mod tests;
pub mod verdict;
#[cfg(test)]
mod verdict_tests;
mod workflow;

pub use analysis::{
    Analysis, AnalysisSettings, BlockPoint, ConvergencePoint, Decorrelation, Estimator, PathEstimate, TiRule,
    WindowStatistics, analyse,
};
pub use dataset::{Dataset, State, Window};
pub use verdict::{Severity, Verdict};
