//! Where the atoms were: trajectories, weighted ensembles, splits, correlation times.
//!
//! [`load`] reads files of any known format into an [`Ensemble`] of beads, frame by frame, so that
//! atoms that are not mapped never fill memory. [`inspect`] reads only what tells whether that will
//! work: existence, headers, numbers of atoms and frames.

mod amber_coordinates;
mod chemfiles;
mod collector;
pub mod columns;
pub mod compressed;
mod dcd;
mod decomposition;
mod ensemble;
#[cfg(feature = "hdf5")]
mod hdf5;
pub mod lines;
mod load;
mod numpy;
pub mod plumed;
mod pytorch;
mod split;
#[cfg(test)]
mod tests;
pub mod timeseries;

pub use amber_coordinates::AmberCoordinates;
pub use chemfiles::{known_extensions, write_trajectory};
pub use collector::FrameRange;
pub use dcd::DcdWriter;
pub use decomposition::{Pca, Projection, Tica, pair_distances};
pub use ensemble::Ensemble;
pub use load::{
    InspectedFile, Inspection, LengthUnit, Loaded, Structure, TrajectoryFiles, inspect, load, read_boxes,
    read_first_frame, read_in_blocks, read_structure,
};
pub use split::{Split, SplitSettings};
pub use timeseries::{BlockAverage, block_average, decorrelated_indices, statistical_inefficiency};
