//! What two ensembles have in common.
//!
//! Ensembles come as two collective variables per frame ([`Sample`]), usually φ and ψ in rad. A
//! [`Metric`] counts them on a [`Grid`] and says how far apart they are; [`noise_floor`] says how far
//! apart two equal ensembles of the same sizes would seem. Only the excess over it means anything.

pub mod distances;
pub mod grid;
pub mod jensen_shannon;
pub mod metric;
pub mod noise_floor;
pub mod pmf_error;
pub mod populations;
pub mod wasserstein;

pub use grid::{Grid, Sample};
pub use metric::{Compared, Metric};
