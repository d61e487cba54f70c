//! Tables and figures, read from a run directory.
