//! From the files of `[data]` to beads: read, mapped, centred, drawn by weights where there are such, and split.
//!
//! Reading takes a fraction of a second for 100,000 frames, so every command reads anew and the run
//! directory keeps no copy. What is wrong with the files is found here, before any long work.

use crate::error::{Error, Result};
use crate::random::Streams;
use crate::run::config::DataSettings;
use crate::run::plan::Plan;
use crate::run::stages::frame_weights;
use crate::system::{MappingSettings, Topology};
use crate::trajectory::{Ensemble, Split, TrajectoryFiles, load, read_structure};

/// Fewer training frames than this cannot teach a distribution; fewer test frames say nothing of it.
const LEAST_FRAMES: usize = 100;

/// The frames of a run.
pub struct Data {
    /// Beads, centred, in the order of the files.
    pub frames: Ensemble,
    /// What frames that were drawn by weights are worth, by Kish's number.
    pub n_effective: Option<f64>,
    /// Which frames are for what.
    pub split: Split,
    /// What the readers found odd.
    pub warnings: Vec<String>,
}

/// The atoms of the trajectory.
pub fn atoms(settings: &DataSettings) -> Result<Topology> {
    let path = settings.topology.as_ref().unwrap_or(&settings.trajectory[0]);
    Ok(read_structure(path)?.topology)
}

/// The reader knows its own keys; in a configuration they stand under `data`.
fn within_data(error: Error) -> Error {
    match error {
        Error::Config { path, line, place, message, hint } if !place.starts_with("data") => {
            Error::Config { path, line, place: format!("data.{place}"), message, hint }
        }
        other => other,
    }
}

impl Data {
    /// Reads everything.
    pub fn load(plan: &Plan) -> Result<Self> {
        let settings = &plan.config.data;
        let files = TrajectoryFiles {
            topology: settings.topology.clone(),
            trajectories: settings.trajectory.clone(),
            frames: settings.frames,
            array_unit: settings.array_unit,
        };
        let mapping =
            MappingSettings { selection: settings.selection.clone(), centers: settings.centers.clone() };
        let loaded = load(&files, "data", &mapping).map_err(|error| plan.locate(within_data(error)))?;
        let (mut frames, mut warnings) = (loaded.ensemble.centered(), loaded.warnings);
        let streams = Streams::new(plan.config.seed);
        let mut n_effective = None;
        if let Some(path) = &settings.weights {
            let drawn = frame_weights::draw(path, frames.n_frames(), &streams)?;
            frames = frames.select(&drawn.frames);
            n_effective = Some(drawn.n_effective);
            warnings.extend(drawn.warnings);
        }
        let split = Split::new("data.split", &settings.split, frames.n_frames(), &streams)
            .map_err(|error| plan.locate(error))?;
        for (part, frames) in [("train", &split.train), ("test", &split.test)] {
            if frames.len() < LEAST_FRAMES {
                let message = format!("leaves {} frames, which is too few", frames.len());
                let hint = format!("at least {LEAST_FRAMES}; use a longer trajectory or a smaller stride");
                return Err(plan.locate(Error::config(format!("data.split.{part}"), message, hint)));
            }
        }
        Ok(Self { frames, n_effective, split, warnings })
    }

    /// The frames that the model learns from.
    pub fn train(&self) -> Ensemble {
        self.frames.select(&self.split.train)
    }

    /// The frames on which the loss is watched.
    pub fn selection(&self) -> Ensemble {
        self.frames.select(&self.split.selection)
    }

    /// The frames that nothing sees before the comparison.
    pub fn test(&self) -> Ensemble {
        self.frames.select(&self.split.test)
    }
}
