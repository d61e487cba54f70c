//! Systems with known laws, for tests and teaching.
