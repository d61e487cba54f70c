//! How many samples a set of weights is worth (Kish 1965).

pub use crate::free_energy::weights::{effective_sample_size, effective_sample_size_log};
