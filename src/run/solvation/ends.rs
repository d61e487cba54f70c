//! The ends of a learned road: ensembles of one molecule under one or two energies, in one reduced length.
//!
//! Frames come in nm with the walker that each belongs to. Here they are centred, turned onto the first frame,
//! divided by their common standard deviation per degree of freedom, and divided by walkers: what a model is
//! trained on, and what estimators use, which the model has never seen.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::free_energy::bootstrap::contiguous_ids;
use crate::model::data::{End, Pairing, TrainingData};
use crate::potential::{Noise, ReducedPotential, Rescaled, Space};
use crate::system::{Stereochemistry, aligned_to};

/// Independent groups into which samples are divided for standard errors.
pub const N_GROUPS: usize = 16;

/// What a molecule is, as far as a model needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Molecule {
    /// A name for each atom; atoms of equal name are treated alike by message passing.
    pub atom_names: Vec<String>,
    /// Bonds.
    pub bonds: Vec<[usize; 2]>,
    /// K, of all ensembles.
    pub temperature_kelvin: f64,
}

/// One physical state with its ensemble.
#[derive(Clone, Copy)]
pub struct EndState<'a> {
    /// For rows and messages, for example `vacuum`.
    pub name: &'a str,
    /// u in kT of positions in nm.
    pub potential: &'a dyn ReducedPotential,
    /// Frames at equilibrium, nm, `[frame][atom][xyz]`.
    pub frames_nm: &'a [f64],
    /// The frames of each independent walker, in order.
    pub walkers: &'a [Range<usize>],
}

/// One end, ready for training and for estimates; everything in reduced length.
pub struct PreparedEnd<'a> {
    /// For rows and messages.
    pub name: String,
    /// u in kT of positions in nm.
    pub potential: &'a dyn ReducedPotential,
    /// Frames to train on.
    pub training: Vec<f32>,
    /// ∂ log p/∂x at each of them.
    pub training_scores: Vec<f32>,
    /// Frames for estimates.
    pub held_out: Vec<f64>,
    /// The group of each of these, for errors: walkers stay together.
    pub groups: Vec<usize>,
}

/// The ends of a road.
pub struct Ends<'a> {
    /// Where conformations live.
    pub space: Space,
    /// One unit of reduced length, nm.
    pub length_scale_nm: f64,
    /// The stereoisomer that all frames are.
    pub region: Stereochemistry,
    /// One or two.
    pub ends: Vec<PreparedEnd<'a>>,
    /// Physical energies that the forces of the training frames took.
    pub n_physical_evaluations: u64,
}

impl<'a> Ends<'a> {
    /// Prepares one or two ensembles; `held_out` is the fraction of the walkers that models do not see.
    pub fn prepare(molecule: &Molecule, states: &[EndState<'a>], held_out: f64) -> Result<Self> {
        let n_atoms = molecule.atom_names.len();
        let space = Space::Centered { n_particles: n_atoms };
        let size = space.dimension();
        if states.is_empty() || states.len() > 2 {
            return Err(Error::invalid("ends of a learned road", "one or two", states.len().to_string()));
        }
        for state in states {
            check(state, space)?;
        }
        let reference = states[0].frames_nm[..size].to_vec();
        let centred: Vec<Vec<f64>> = states
            .iter()
            .map(|state| {
                let mut all = Vec::with_capacity(state.frames_nm.len());
                for x in state.frames_nm.chunks_exact(size) {
                    let mut x = aligned_to(x, &reference);
                    space.project(&mut x);
                    all.append(&mut x);
                }
                all
            })
            .collect();
        // Each ensemble counts the same, however many frames it has.
        let variance = centred
            .iter()
            .map(|all| {
                let sum: f64 = all.iter().map(|x| x * x).sum();
                sum / ((all.len() / size) * space.degrees_of_freedom()) as f64 / states.len() as f64
            })
            .sum::<f64>();
        let length_scale_nm = variance.sqrt();
        let region = Stereochemistry::from_frames(n_atoms, &molecule.bonds, &centred.concat())?;
        let mut n_physical_evaluations = 0;
        let mut ends = Vec::with_capacity(states.len());
        for (state, mut all) in states.iter().zip(centred) {
            all.iter_mut().for_each(|x| *x /= length_scale_nm);
            let n_training = training_frames(state.walkers, held_out)? * size;
            let potential = Rescaled::new(state.potential, length_scale_nm)?;
            let (mut u, mut scores) = (vec![0.0; n_training / size], vec![0.0; n_training]);
            potential.energies_and_gradients(&all[..n_training], &mut u, &mut scores)?;
            n_physical_evaluations += u.len() as u64;
            if let Some(bad) = u.iter().position(|u| !u.is_finite()) {
                let found = format!("{} kT at frame {bad} of {}", u[bad], state.name);
                return Err(Error::invalid("frames of an ensemble", "finite energies", found));
            }
            let held_out = all.split_off(n_training);
            ends.push(PreparedEnd {
                name: state.name.to_string(),
                potential: state.potential,
                training: all.iter().map(|x| *x as f32).collect(),
                training_scores: scores.iter().map(|gradient| -gradient as f32).collect(),
                groups: contiguous_ids(held_out.len() / size, N_GROUPS),
                held_out,
            });
        }
        Ok(Self { space, length_scale_nm, region, ends, n_physical_evaluations })
    }

    /// What a model of these ends is trained on.
    pub fn training_data(&self, pairing: Pairing) -> TrainingData<'_> {
        let second = self.ends.get(1).map(PreparedEnd::training);
        TrainingData { space: self.space, first: self.ends[0].training(), second, pairing }
    }

    /// The one ensemble of `what`, along a process that ends in noise.
    pub fn single(&self, noise: &Noise, what: &'static str) -> Result<&PreparedEnd<'a>> {
        match (&self.ends[..], noise.has_two_ends()) {
            ([end], false) => Ok(end),
            _ => Err(self.unfit(noise, what, "one ensemble and a path to noise")),
        }
    }

    /// Checks that `what` has two ensembles and a path between them.
    pub fn check_pair(&self, noise: &Noise, what: &'static str) -> Result<()> {
        if self.ends.len() == 2 && noise.has_two_ends() {
            return Ok(());
        }
        Err(self.unfit(noise, what, "two ensembles and a path between them"))
    }

    fn unfit(&self, noise: &Noise, what: &'static str, expected: &str) -> Error {
        Error::invalid(what, expected, format!("{} ends, {noise:?}", self.ends.len()))
    }

    /// The physical energy of an end in reduced length, with the Jacobian.
    pub fn physical(&self, end: usize) -> Result<Rescaled<'_, dyn ReducedPotential + 'a>> {
        Rescaled::new(self.ends[end].potential, self.length_scale_nm)
    }
}

impl PreparedEnd<'_> {
    /// Frames and scores to train on.
    pub fn training(&self) -> End<'_> {
        End { frames: &self.training, scores: &self.training_scores, ..End::default() }
    }

    /// At most `n` of the frames for estimates, at equal distances, with the group of each.
    pub fn chosen(&self, n: usize) -> (Vec<f64>, Vec<usize>) {
        let n_all = self.groups.len();
        let size = self.held_out.len() / n_all.max(1);
        let n = n.min(n_all);
        let chosen: Vec<usize> = (0..n).map(|k| k * n_all / n).collect();
        let frames = chosen.iter().flat_map(|&idx| &self.held_out[idx * size..][..size]).copied().collect();
        (frames, chosen.iter().map(|&idx| self.groups[idx]).collect())
    }
}

fn check(state: &EndState, space: Space) -> Result<()> {
    let size = space.dimension();
    let what = "frames of an ensemble";
    if state.potential.space() != space {
        let found = format!("{:?}, {}", state.potential.space(), state.name);
        return Err(Error::invalid("energy of an ensemble", format!("{space:?}"), found));
    }
    let n_frames = state.frames_nm.len() / size;
    if n_frames < 4 * N_GROUPS || !state.frames_nm.len().is_multiple_of(size) {
        let expected = format!("at least {} frames of {size} numbers", 4 * N_GROUPS);
        return Err(Error::invalid(
            what,
            expected,
            format!("{} numbers, {}", state.frames_nm.len(), state.name),
        ));
    }
    if state.frames_nm.iter().any(|x| !x.is_finite()) {
        return Err(Error::invalid(
            what,
            "finite positions",
            format!("a number that is not finite, {}", state.name),
        ));
    }
    let ends_where_frames_do = state.walkers.last().is_some_and(|last| last.end == n_frames);
    let starts = std::iter::once(0).chain(state.walkers.iter().map(|walker| walker.end));
    if !ends_where_frames_do || state.walkers.iter().zip(starts).any(|(walker, start)| walker.start != start)
    {
        let expected = format!("walkers that divide {n_frames} frames, in order");
        return Err(Error::invalid(what, expected, format!("{}: {:?} …", state.name, state.walkers.first())));
    }
    Ok(())
}

/// How many frames, from the first, are trained on: those of whole walkers where there are several.
fn training_frames(walkers: &[Range<usize>], held_out: f64) -> Result<usize> {
    if !(held_out > 0.0 && held_out < 1.0) {
        return Err(Error::invalid("fraction of held-out frames", "between 0 and 1", held_out.to_string()));
    }
    let n_frames = walkers.last().map_or(0, |walker| walker.end);
    let wanted = ((1.0 - held_out) * n_frames as f64).round() as usize;
    let at_a_joint = walkers.iter().map(|walker| walker.start).filter(|start| *start > 0);
    let nearest = at_a_joint.min_by_key(|start| start.abs_diff(wanted)).unwrap_or(wanted);
    Ok(nearest.clamp(1, n_frames - N_GROUPS.min(n_frames - 1)))
}
