//! What the atoms are.
