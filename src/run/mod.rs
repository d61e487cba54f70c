//! Configuration → plan → stages → run directory.
