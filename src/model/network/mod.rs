//! Networks that a model can be made of; each is one file that builds a [`Program`].

pub mod message_passing;
pub mod states;
pub mod vector;
pub mod whitened;

use super::data::TrainingData;
use super::program::Program;
use super::time_table::TimeTable;
use crate::error::{Error, Result};
use crate::potential::{Noise, Space};
use crate::random::Streams;
use crate::registry::{Registry, entry};

/// Every network that a configuration can name.
pub static NETWORKS: Registry<dyn Network, ()> = Registry::new(
    "network",
    &[
        entry::<whitened::Whitened, _, _>("whitened"),
        entry::<message_passing::MessagePassing, _, _>("message_passing"),
        entry::<vector::Vector, _, _>("vector"),
    ],
);

/// What a program depends on besides the settings of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Where conformations live: beads with their centroid at the origin, or vectors.
    pub space: Space,
    /// Beads; none of a vector.
    pub n_beads: usize,
    /// A type for each bead; beads of equal type are treated alike by message passing.
    pub bead_types: Vec<usize>,
    /// Bonds between beads.
    pub bonds: Vec<[usize; 2]>,
    /// Dihedrals along bonds.
    pub dihedrals: Vec<[usize; 4]>,
    /// How data become noise.
    pub noise: Noise,
}

impl Architecture {
    /// Beads with these bonds; dihedrals are all paths of three bonds.
    pub fn new(bead_types: Vec<usize>, bonds: Vec<[usize; 2]>, noise: Noise) -> Self {
        let n_beads = bead_types.len();
        let mut neighbours = vec![vec![]; n_beads];
        for &[i, j] in &bonds {
            neighbours[i].push(j);
            neighbours[j].push(i);
        }
        let mut dihedrals = vec![];
        for &[j, k] in &bonds {
            for &i in &neighbours[j] {
                for &l in &neighbours[k] {
                    if i != k && l != j && i != l {
                        dihedrals.push(if i < l { [i, j, k, l] } else { [l, k, j, i] });
                    }
                }
            }
        }
        dihedrals.sort_unstable();
        let space = Space::Centered { n_particles: n_beads };
        Self { space, n_beads, bead_types, bonds, dihedrals, noise }
    }

    /// Vectors without any symmetry.
    pub fn of_vectors(dimension: usize, noise: Noise) -> Self {
        let space = Space::Euclidean { dimension };
        Self { space, n_beads: 0, bead_types: vec![], bonds: vec![], dihedrals: vec![], noise }
    }

    /// Coordinates of one item and how many items there are: xyz of beads, or one vector.
    pub fn shape(&self) -> (usize, usize) {
        match self.space {
            Space::Centered { n_particles } => (3, n_particles),
            Space::Euclidean { dimension } => (dimension, 1),
        }
    }

    /// Refuses vectors, for networks that are made for molecules.
    fn require_molecule(&self, kind: &str) -> Result<()> {
        if self.n_beads > 0 {
            return Ok(());
        }
        let place = format!("model.network.kind = \"{kind}\"");
        Err(Error::config(place, "is made for molecules, and these are vectors", "use kind = \"vector\""))
    }
}

/// What a network learns from the data before training.
pub struct Context<'a> {
    /// The molecule.
    pub architecture: &'a Architecture,
    /// What it will be trained on.
    pub data: &'a TrainingData<'a>,
    /// Random numbers for statistics of noised data.
    pub streams: &'a Streams,
}

/// A program with the table of its time rows.
pub struct Built {
    /// The operations.
    pub program: Program,
    /// What they know about time.
    pub time_table: TimeTable,
}

/// Settings of a network, ready to build.
pub trait Network: Send + Sync {
    /// The program alone: all that a stored model needs besides its weights and time table.
    fn program(&self, architecture: &Architecture) -> Result<Program>;

    /// The program with statistics of the data.
    fn build(&self, context: &Context) -> Result<Built>;
}
