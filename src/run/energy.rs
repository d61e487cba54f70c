//! Energies of the frames of a trajectory, term by term.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::force_field::molecular_system::{SystemRequest, load};
use crate::force_field::parameters::{NonbondedMethod, Parameters};
use crate::potential::{MolecularMechanics, Precision, TermEnergies};
use crate::system::Topology;
use crate::trajectory::{LengthUnit, read_boxes, read_in_blocks};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct EnergyRequest {
    /// The system.
    pub system: SystemRequest,
    /// Whose frames are evaluated; arrays are in nm.
    pub trajectory: PathBuf,
    /// Whether forces are wanted as well.
    pub forces: bool,
    /// What happens to pairs at long distance; absent: what the system says.
    pub nonbonded: Option<NonbondedMethod>,
    /// Of the arithmetic. A trajectory with boxes, in a periodic system, is evaluated in double precision.
    pub precision: Precision,
}

/// The energies of all frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Energies {
    /// Name of the system.
    pub system: String,
    /// Whether the system has CMAP terms.
    pub has_cmap: bool,
    /// One entry per frame.
    pub frames: Vec<FrameEnergies>,
    /// What the readers found odd.
    pub warnings: Vec<String>,
}

/// The energies of one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameEnergies {
    /// kJ/mol
    pub terms: TermEnergies,
    /// `[atom][xyz]` in kJ/(mol nm), where they were asked for.
    pub forces: Option<Vec<f64>>,
    /// Which atoms overlap, where the energy is enormous or not a finite number.
    pub verdict: Option<String>,
}

/// Evaluates every frame; a block of frames at a time is in memory, evaluated by all threads.
///
/// Periodic interactions are those of the boxes of the trajectory, where it has any, and else of the box of the system.
pub fn evaluate(request: &EnergyRequest) -> Result<Energies> {
    // Coordinates that are in memory at a time: 24 MB.
    const COORDINATES: usize = 3 << 20;
    // An energy in kJ/mol that only atoms within each other have.
    const OVERLAPPING: f64 = 1e9;
    let mut system = load(&request.system)?;
    let boxes_nm = set_long_range(&mut system.parameters, request)?;
    let topology = &system.parameters.topology;
    let engine = MolecularMechanics::new(&system.parameters)?;
    let n_coordinates = 3 * topology.n_atoms();
    let block = NonZeroUsize::new(COORDINATES / n_coordinates).unwrap_or(NonZeroUsize::MIN);
    let mut frames = Vec::new();
    let mut take = |positions_nm: &[f64]| {
        let mut forces = request.forces.then(|| vec![0.0; positions_nm.len()]);
        let n_frames = positions_nm.len() / n_coordinates;
        let terms = match boxes_nm.as_ref().and_then(|boxes| boxes.get(frames.len()..frames.len() + n_frames))
        {
            Some(boxes_nm) => engine.energies_in_boxes(positions_nm, boxes_nm, forces.as_deref_mut())?,
            None => engine.evaluate(request.precision, &[], positions_nm, forces.as_deref_mut()),
        };
        for (idx, (terms, x)) in terms.into_iter().zip(positions_nm.chunks_exact(n_coordinates)).enumerate() {
            let forces =
                forces.as_ref().map(|forces| forces[idx * n_coordinates..][..n_coordinates].to_vec());
            let is_finite =
                terms.total().is_finite() && forces.iter().flatten().all(|force| force.is_finite());
            let overlapping = !is_finite || terms.total().abs() > OVERLAPPING;
            let verdict = overlapping.then(|| describe_overlap(topology, x));
            frames.push(FrameEnergies { terms, forces, verdict });
        }
        Ok(())
    };
    let (_, warnings) =
        read_in_blocks(&request.trajectory, topology.n_atoms(), LengthUnit::Nm, block, &mut take)?;
    Ok(Energies { system: system.name, has_cmap: !system.parameters.cmaps.is_empty(), frames, warnings })
}

/// Gives a system the interactions that were asked for; the boxes of the trajectory, if they matter.
fn set_long_range(
    parameters: &mut Parameters,
    request: &EnergyRequest,
) -> Result<Option<Vec<[[f64; 3]; 3]>>> {
    let method = &mut parameters.nonbonded.method;
    if let Some(wanted) = request.nonbonded {
        if *method != NonbondedMethod::NoCutoff && *method != wanted {
            let message = "a serialised System has its own non-bonded method";
            return Err(Error::config("nonbonded", message, "leave it out"));
        }
        *method = wanted;
    }
    let is_periodic = matches!(
        method,
        NonbondedMethod::ParticleMeshEwald { .. } | NonbondedMethod::ReactionField { periodic: true, .. }
    );
    let boxes_nm = if is_periodic { read_boxes(&request.trajectory)? } else { None };
    if let (None, Some(boxes_nm)) = (parameters.box_vectors_nm, &boxes_nm) {
        parameters.box_vectors_nm = boxes_nm.first().copied();
    }
    if is_periodic && parameters.box_vectors_nm.is_none() {
        let expected = "a periodic box in each frame, as the topology has none";
        return Err(Error::file(&request.trajectory, "", expected, "a frame without one")
            .with_hint("give a file with boxes (`CRYST1` in a PDB), or leave out --nonbonded"));
    }
    Ok(boxes_nm)
}

/// The closest two atoms, which are why an energy is enormous, unless the molecule is blown up.
fn describe_overlap(topology: &Topology, positions_nm: &[f64]) -> String {
    let position = |atom: usize| &positions_nm[3 * atom..3 * atom + 3];
    let square = |i: usize, j: usize| -> f64 {
        position(i).iter().zip(position(j)).map(|(a, b)| (a - b).powi(2)).sum()
    };
    let n_atoms = topology.n_atoms();
    let closest = (0..n_atoms)
        .flat_map(|i| (i + 1..n_atoms).map(move |j| (i, j)))
        .map(|(i, j)| (square(i, j), i, j))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    match closest {
        Some((square, i, j)) => format!(
            "{}: {} (atom {i}) and {} (atom {j}) are {:.3e} nm apart",
            if square < 0.01 { "atoms overlap" } else { "atoms are far apart, even the closest" },
            topology.atoms[i].describe(),
            topology.atoms[j].describe(),
            square.sqrt()
        ),
        None => "the energy is not finite".into(),
    }
}

impl FrameEnergies {
    fn entries(&self, has_cmap: bool) -> Vec<(&'static str, f64)> {
        let terms = &self.terms;
        let mut entries = vec![
            ("total", terms.total()),
            ("bond", terms.bond),
            ("angle", terms.angle),
            ("torsion", terms.torsion),
        ];
        if has_cmap {
            entries.push(("cmap", terms.cmap));
        }
        entries.extend([("nonbonded", terms.nonbonded), ("implicit_solvent", terms.implicit_solvent)]);
        entries
    }

    /// Terms in kJ/mol, forces in kJ/(mol nm); what is not finite is null, and a verdict says why.
    pub fn to_json(&self, has_cmap: bool) -> Value {
        let mut object = Map::new();
        for (name, energy) in self.entries(has_cmap) {
            object.insert(name.into(), json!(energy));
        }
        if let Some(forces) = &self.forces {
            object.insert("forces".into(), forces.chunks_exact(3).map(|force| json!(force)).collect());
        }
        if let Some(verdict) = &self.verdict {
            object.insert("verdict".into(), json!(verdict));
        }
        Value::Object(object)
    }
}

impl Energies {
    /// Whether every energy and force is a finite number.
    pub fn is_finite(&self) -> bool {
        let is_finite = |frame: &FrameEnergies| {
            frame.terms.total().is_finite() && frame.forces.iter().flatten().all(|force| force.is_finite())
        };
        self.frames.iter().all(is_finite)
    }

    /// One JSON object, a line per frame.
    pub fn json_text(&self) -> String {
        let mut text = String::from("{\"unit\": \"kJ/mol\", \"frames\": [");
        for (idx, frame) in self.frames.iter().enumerate() {
            text += if idx == 0 { "\n" } else { ",\n" };
            text += &frame.to_json(self.has_cmap).to_string();
        }
        text + "\n]}"
    }

    /// A table with a line per frame, and the mean and standard deviation of frames without overlaps at its foot.
    pub fn table(&self, with_terms: bool) -> String {
        let shown = |frame: &FrameEnergies| -> Vec<(&'static str, f64)> {
            let mut entries = frame.entries(self.has_cmap);
            entries.truncate(if with_terms { entries.len() } else { 1 });
            entries
        };
        let Some(first) = self.frames.first() else { return "no frames\n".into() };
        let mut text = format!("energies of {} in kJ/mol\n{:>9}", self.system, "frame");
        for (name, _) in shown(first) {
            let _ = write!(text, " {:>17}", name.replace('_', " "));
        }
        text.push('\n');
        for (idx, frame) in self.frames.iter().enumerate() {
            let _ = write!(text, "{idx:>9}");
            for (_, energy) in shown(frame) {
                let _ = write!(text, " {energy:>17.6}");
            }
            let _ = writeln!(
                text,
                "{}",
                frame.verdict.as_ref().map_or(String::new(), |verdict| format!("  {verdict}"))
            );
        }
        let good: Vec<_> = self.frames.iter().filter(|frame| frame.verdict.is_none()).map(shown).collect();
        for (name, of) in [("mean", mean as fn(&[f64]) -> f64), ("sd", standard_deviation)] {
            let _ = write!(text, "{name:>9}");
            for column in 0..good.first().map_or(0, Vec::len) {
                let values: Vec<f64> = good.iter().map(|row| row[column].1).collect();
                let _ = write!(text, " {:>17.6}", of(&values));
            }
            text.push('\n');
        }
        if good.len() < self.frames.len() {
            let n_left_out = self.frames.len() - good.len();
            let _ = writeln!(text, "mean and sd without {n_left_out} frames whose atoms overlap");
        }
        text
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// With n − 1; zero for one value.
fn standard_deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let sum: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (sum / (values.len().max(2) - 1) as f64).sqrt()
}
