//! Frames of trajectories: their energies in a system, and a trajectory of those that were drawn.

use std::num::NonZeroUsize;
use std::path::Path;

use super::{ReweightRequest, Samples};
use crate::error::{Error, Result};
use crate::force_field::molecular_system::{SystemRequest, load};
use crate::free_energy::reweighting::Reweighted;
use crate::potential::Precision;
use crate::random::{Purpose, Streams};
use crate::run::energy::{EnergyRequest, evaluate};
use crate::run::reweight::Energies;
use crate::sampling::systematic_resampling;
use crate::system::Topology;
use crate::trajectory::{Ensemble, LengthUnit, read_in_blocks, read_structure, write_trajectory};

/// Energies of the frames that are used in a system, kJ/mol; +∞ where atoms overlap beyond number.
pub(super) fn energies(
    request: &ReweightRequest,
    system: &SystemRequest,
    samples: &mut Samples,
) -> Result<Vec<f64>> {
    let mut energies = Vec::new();
    for (index, trajectory) in request.trajectories.iter().enumerate() {
        let evaluated = evaluate(&EnergyRequest {
            system: system.clone(),
            trajectory: trajectory.clone(),
            forces: false,
            nonbonded: None,
            precision: Precision::Double,
        })?;
        samples.warnings.extend(evaluated.warnings);
        let first = match_frames(request, samples, index, trajectory, evaluated.frames.len())?;
        for (frame, of_frame) in evaluated.frames.iter().enumerate().skip(first) {
            let total = of_frame.terms.total();
            if total.is_nan() || total == f64::NEG_INFINITY {
                let expected = "an energy that is a number";
                return Err(Error::file(trajectory, format!("frame {frame}"), expected, total.to_string()));
            }
            energies.push(total);
        }
    }
    Ok(energies)
}

/// The first frame of a trajectory that is used. Without tables, trajectories say how many samples there are.
fn match_frames(
    request: &ReweightRequest,
    samples: &mut Samples,
    index: usize,
    trajectory: &Path,
    n_frames: usize,
) -> Result<usize> {
    if samples.lengths.len() == index {
        if !(0.0..1.0).contains(&request.discard) {
            let message = format!("{} is not a share of the samples", request.discard);
            return Err(Error::config("discard", message, "give a number from 0 to below 1"));
        }
        let first = (request.discard * n_frames as f64).floor() as usize;
        samples.lengths.push(n_frames - first);
        samples.discarded.push(first);
    }
    let (used, first) = (samples.lengths[index], samples.discarded[index]);
    if n_frames != used + first {
        let what =
            request.files.get(index).map_or("the other energies".into(), |path| path.display().to_string());
        let expected = format!("{} frames, as `{what}` has rows", used + first);
        return Err(Error::file(trajectory, "", expected, n_frames.to_string())
            .with_hint("tables and trajectories have one row per frame"));
    }
    Ok(first)
}

/// Draws frames by systematic resampling and writes them; returns the sample of each.
pub(super) fn resample(
    request: &ReweightRequest,
    wanted: &super::ResampleRequest,
    samples: &Samples,
    reweighted: &Reweighted,
) -> Result<Vec<usize>> {
    if wanted.n_frames == 0 {
        return Err(Error::config("resample", "no frames are asked for", "give a number of at least 1"));
    }
    let topology = topology(request, wanted)?;
    let n_coordinates = 3 * topology.n_atoms();
    let mut rng = Streams::new(request.seed).stream(Purpose::Resampling, 0);
    let drawn = systematic_resampling(&reweighted.weights(), wanted.n_frames, &mut rng);
    let mut positions_nm = Vec::with_capacity(drawn.len() * n_coordinates);
    let (mut next, mut sample_of_first) = (0, 0);
    let block = NonZeroUsize::new((3 << 20) / n_coordinates).unwrap_or(NonZeroUsize::MIN);
    for (trajectory, (n_used, n_discarded)) in
        request.trajectories.iter().zip(samples.lengths.iter().zip(&samples.discarded))
    {
        let mut frame = 0;
        let mut take = |positions: &[f64]| {
            for x in positions.chunks_exact(n_coordinates) {
                // Samples are drawn in ascending order, some of them several times.
                while drawn.get(next).is_some_and(|drawn| {
                    frame >= *n_discarded && *drawn == sample_of_first + frame - n_discarded
                }) {
                    positions_nm.extend_from_slice(x);
                    next += 1;
                }
                frame += 1;
            }
            Ok(())
        };
        read_in_blocks(trajectory, topology.n_atoms(), LengthUnit::Nm, block, &mut take)?;
        if frame != n_used + n_discarded {
            let expected = format!("{} frames, one for each row of the table", n_used + n_discarded);
            return Err(Error::file(trajectory, "", expected, frame.to_string()));
        }
        sample_of_first += n_used;
    }
    let ensemble = Ensemble::new(topology.n_atoms(), positions_nm)?;
    write_trajectory(&wanted.path, &topology, &ensemble)?;
    Ok(drawn)
}

/// What the atoms of the trajectory are.
fn topology(request: &ReweightRequest, wanted: &super::ResampleRequest) -> Result<Topology> {
    if let Some(path) = &wanted.topology {
        return Ok(read_structure(path)?.topology);
    }
    for energies in [&request.energy, &request.to_energy].into_iter().flatten() {
        if let Energies::System(system) = energies {
            return Ok(load(system)?.parameters.topology);
        }
    }
    let message = "the atoms of the trajectory are not known";
    Err(Error::config("topology", message, "give a file that has them with --topology"))
}
