//! Ensembles drawn from the learned energy, one part after the other.
//!
//! A part leaves its files and then `PART.json`; a part that has it is kept when a run is resumed, and
//! one that was cut off begins again. Every part draws from streams of its own, so a resumed run ends
//! in the same bits as one that was never interrupted.
//!
//! Frames are stored walker by walker (particle by particle, island by island), so that contiguous
//! blocks of a file are independent of each other.

mod dynamics;
mod iid;
pub mod replica_exchange;
pub mod smc;
mod starts;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::random::Streams;
use crate::run::config::Part;
use crate::run::directory::{read_json, write_json};
use crate::run::stages::{Context, train};
use crate::run::summary::entry;
use crate::trajectory::{Ensemble, write_trajectory};

/// What a part leaves for later stages, in `PART.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PartRecord {
    /// Conformations in its files.
    pub n_samples: usize,
    /// Conformations whose energy was evaluated.
    pub n_energy_evaluations: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Independent groups of equal size into which its frames fall in order: walkers or islands.
    pub n_groups: usize,
    /// Numbers for `summary.json`.
    pub diagnostics: Map<String, Value>,
    /// Why its numbers should not be trusted.
    #[serde(default)]
    pub doubts: Vec<String>,
}

/// What every part works with.
struct Draw<'a> {
    context: &'a Context<'a>,
    model: &'a EnergyModel,
    /// Where the files go.
    directory: &'a Path,
    /// Random numbers of this part alone.
    streams: Streams,
}

/// The beads with their names, so that any viewer can open the trajectories.
pub const BEADS: &str = "beads.pdb";

/// Draws every ensemble that the configuration names.
pub fn run(context: &Context) -> Result<()> {
    let model = train::load_model(context)?;
    let directory = context.layout.begin("sample")?;
    let parts = ordered(&context.plan.config.sample.parts);
    let first_frame = context.data.frames.select(&[0]);
    write_trajectory(&directory.join(BEADS), context.plan.beads.mapping.topology(), &first_frame)?;
    for part in &parts {
        let record_path = record_path(&directory, *part);
        if record_path.is_file() {
            continue;
        }
        context.check_stop()?;
        let begin = Instant::now();
        let streams = context.streams().derive(0x5341 + *part as u64);
        let draw = Draw { context, model: &model, directory: &directory, streams };
        let mut record = match part {
            Part::Iid => iid::draw(&draw)?,
            Part::Langevin => dynamics::langevin(&draw)?,
            Part::Equilibrium => dynamics::equilibrium(&draw)?,
            Part::Smc => smc::draw(&draw)?,
            Part::ReplicaExchange => replica_exchange::draw(&draw)?,
        };
        record.seconds = begin.elapsed().as_secs_f64();
        let name = part.name();
        record.note(&format!("{name}_seconds"), record.seconds, "s", "wall clock");
        let evaluations = record.n_energy_evaluations as f64;
        record.note(&format!("{name}_energy_evaluations"), evaluations, "", "conformations evaluated");
        for doubt in &record.doubts {
            context.control.progress().note(doubt);
        }
        write_json(&record_path, &record)?;
    }
    let (mut diagnostics, mut doubts) = (Map::new(), Vec::new());
    for part in &parts {
        let record = read_record(&directory, *part)?.unwrap_or_default();
        diagnostics.extend(record.diagnostics);
        doubts.extend(record.doubts);
    }
    write_json(&directory.join("diagnostics.json"), &diagnostics)?;
    write_json(&directory.join("doubts.json"), &doubts)?;
    context.layout.finish("sample")?;
    Ok(())
}

/// The parts named, each once and in the order of [`Part::ALL`].
pub fn ordered(parts: &[Part]) -> Vec<Part> {
    Part::ALL.into_iter().filter(|part| parts.contains(part)).collect()
}

/// The record of a part; `None` when it did not run.
pub fn read_record(directory: &Path, part: Part) -> Result<Option<PartRecord>> {
    let path = record_path(directory, part);
    if path.is_file() { read_json(&path).map(Some) } else { Ok(None) }
}

fn record_path(directory: &Path, part: Part) -> PathBuf {
    directory.join(format!("{}.json", part.name()))
}

impl PartRecord {
    /// Adds a number for `summary.json`.
    fn note(&mut self, name: &str, value: f64, unit: &str, method: &str) {
        self.diagnostics.insert(name.to_string(), entry(value, None, unit, method));
    }
}

impl Draw<'_> {
    /// λ of the data end.
    fn data_end(&self) -> f64 {
        self.model.noise().time_range().0
    }

    /// Reduced positions as conformations in nm.
    fn ensemble(&self, x: &[f64]) -> Result<Ensemble> {
        let scale = self.model.length_scale_nm;
        Ensemble::new(self.context.plan.beads.n_beads(), x.iter().map(|x| x * scale).collect())
    }

    /// Writes `NAME.dcd`.
    fn write(&self, name: &str, x: &[f64]) -> Result<()> {
        let path = self.directory.join(format!("{name}.dcd"));
        let ensemble = self.ensemble(x)?;
        if let Some(bad) = x.iter().position(|x| !x.is_finite()) {
            let frame = bad / self.context.plan.beads.mapping.n_beads() / 3;
            let expected = "finite positions; the learned energy may have no normaliser: train longer";
            return Err(Error::file(path, format!("frame {frame}"), expected, x[bad].to_string()));
        }
        write_trajectory(&path, self.context.plan.beads.mapping.topology(), &ensemble)
    }
}

/// From `[frame][walker][coordinate]` to `[walker][frame][coordinate]`.
fn by_walker(x: &[f64], n_walkers: usize, size: usize) -> Vec<f64> {
    let n_frames = x.len() / (n_walkers * size);
    let place = |walker: usize, frame: usize| &x[(frame * n_walkers + walker) * size..][..size];
    (0..n_walkers)
        .flat_map(|walker| (0..n_frames).flat_map(move |frame| place(walker, frame)))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_walker_end_up_together() {
        // Two frames of three walkers with one coordinate: walker + 10 × frame.
        assert_eq!(by_walker(&[0.0, 1.0, 2.0, 10.0, 11.0, 12.0], 3, 1), [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]);
    }

    #[test]
    fn parts_run_once_and_in_order() {
        assert_eq!(ordered(&[Part::Smc, Part::Iid, Part::Smc]), [Part::Iid, Part::Smc]);
    }
}
