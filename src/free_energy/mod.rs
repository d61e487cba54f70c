//! Estimates with errors and diagnostics.
