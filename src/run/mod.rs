//! Configuration → plan → stages → run directory.

pub mod control;
pub mod directory;
pub mod provenance;
pub mod source;
