//! The loop around the steps of a trainer: checkpoints from which a run goes on to the same bits, the table of
//! losses, and the wish to stop.
//!
//! The state of the optimiser is stored every `checkpoint_interval` steps, when the user interrupts, and
//! when the loss is no longer a number: then it is the state before that step. Random numbers belong to
//! steps, so a resumed run draws those that the uninterrupted one would have drawn.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::model::data::TrainingData;
use crate::random::Streams;
use crate::run::control::Control;
use crate::run::directory::write_atomic;
use crate::training::objective::OBJECTIVES;
use crate::training::{StepReport, TrainSettings, Trainer, resume, validate};

/// Steps whose mean is one row of `loss.csv`.
const STEPS_PER_ROW: usize = 20;
/// Noise levels of the held-out loss during training.
const VALIDATION_LEVELS: usize = 8;
/// The objectives, each with a column of its own.
fn columns() -> impl Iterator<Item = &'static str> {
    OBJECTIVES.entries.iter().map(|entry| entry.name)
}

/// What a training run needs besides its trainer.
pub struct Training<'a> {
    /// The settings of the trainer.
    pub settings: &'a TrainSettings,
    /// Frames that are not trained on; `None`: no held-out loss.
    pub held_out: Option<TrainingData<'a>>,
    /// Random numbers of the held-out loss.
    pub streams: Streams,
    /// Where `loss.csv` and `checkpoints/state.safetensors` are.
    pub directory: &'a Path,
    /// The run to resume after an interruption.
    pub run: &'a Path,
    /// Progress, and the wish to stop.
    pub control: &'a Control,
    /// What is shown as being done.
    pub part: &'a str,
}

impl Training<'_> {
    /// Does all steps that are left, after those of a checkpoint; the model has averaged weights.
    pub fn run(&self, mut trainer: Trainer) -> Result<EnergyModel> {
        let checkpoints = self.directory.join("checkpoints");
        std::fs::create_dir_all(&checkpoints).map_err(Error::io("create", &checkpoints))?;
        let state_path = checkpoints.join("state.safetensors");
        if state_path.is_file() {
            let state = resume::load(&state_path)?;
            trainer.restore(state).map_err(|error| {
                Error::file(&state_path, "", "a checkpoint of this plan's network", error.to_string())
            })?;
        }
        let mut table = LossTable::open(&self.directory.join("loss.csv"), trainer.state().step)?;
        let n_steps = self.settings.n_steps();
        self.control.progress().begin(self.part, n_steps as u64);
        let mut last_loss = f64::NAN;
        while let Some(report) = trainer.step()? {
            if !report.loss.is_finite() {
                resume::save(&state_path, trainer.state())?;
                return Err(Error::Diverged {
                    step: report.step + 1,
                    loss: report.loss,
                    checkpoint: state_path,
                });
            }
            let step = report.step;
            let at_checkpoint = step.is_multiple_of(self.settings.checkpoint_interval);
            let at_validation = step.is_multiple_of(self.settings.validation_interval) || step == n_steps;
            let validation = match &self.held_out {
                Some(data) if at_validation => Some(mean_loss(
                    &trainer.with_average(|model| validate(model, data, &self.streams, VALIDATION_LEVELS))?,
                )),
                _ => None,
            };
            // A row ends where a checkpoint is, so that a resumed run writes the same rows.
            let ends_row = step.is_multiple_of(STEPS_PER_ROW)
                || at_checkpoint
                || validation.is_some()
                || step == n_steps;
            let name = &self.settings.stages[report.stage].name;
            if let Some(loss) = table.add(&report, name, validation, ends_row)? {
                last_loss = loss;
            }
            self.control.progress().advance(step as u64, &format!("{name}, loss {last_loss:.4}"));
            if at_checkpoint {
                table.flush()?;
                resume::save(&state_path, trainer.state())?;
            }
            // Not between two rows, whose means would then differ from those of an uninterrupted run.
            if self.control.is_stopping() && ends_row && step < n_steps {
                table.flush()?;
                resume::save(&state_path, trainer.state())?;
                self.control.check(self.run)?;
            }
        }
        table.flush()?;
        trainer.into_model()
    }
}

/// The mean over noise levels of a held-out loss.
pub fn mean_loss(by_level: &[(f64, f64)]) -> f64 {
    by_level.iter().map(|(_, loss)| loss).sum::<f64>() / by_level.len().max(1) as f64
}

/// Wall clock of a training so far, from its table; 0 without one.
pub fn seconds_trained(directory: &Path) -> f64 {
    let text = std::fs::read_to_string(directory.join("loss.csv")).unwrap_or_default();
    let last = text.lines().last().and_then(|line| line.rsplit(',').next());
    last.and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0)
}

/// `loss.csv`: means over a few steps, in the order of steps also after a resumption.
struct LossTable {
    file: std::io::BufWriter<File>,
    path: PathBuf,
    begin: Instant,
    seconds_before: f64,
    /// Sums since the last row: loss, gradient norm, and objectives by name.
    n: f64,
    loss: f64,
    gradient_norm: f64,
    objectives: BTreeMap<&'static str, f64>,
}

impl LossTable {
    /// Opens the table and drops rows after `step`, which will be computed again.
    fn open(path: &Path, step: usize) -> Result<Self> {
        let old = if path.is_file() {
            std::fs::read_to_string(path).map_err(Error::io("read", path))?
        } else {
            String::new()
        };
        let header = format!(
            "step,stage,loss,{},validation_dsm,learning_rate,gradient_norm,seconds",
            columns().collect::<Vec<_>>().join(",")
        );
        // There may have been fewer objectives when a row was written: cells go by the names of columns.
        let was: Vec<&str> = old.lines().next().unwrap_or_default().split(',').collect();
        let place_of = |name: &str| was.iter().position(|other| *other == name);
        let places: Vec<Option<usize>> = header.split(',').map(place_of).collect();
        let mut text = format!("{header}\n");
        let mut seconds_before = 0.0;
        // The last line may be cut; rows of steps that will be done again go with it.
        for line in old.split_inclusive('\n').skip(1).filter(|line| line.ends_with('\n')) {
            let of_step = line.split(',').next().and_then(|cell| cell.parse::<usize>().ok());
            if of_step.is_some_and(|of_step| of_step <= step) {
                let cells: Vec<&str> = line.trim_end().split(',').collect();
                let moved =
                    places.iter().map(|place| place.and_then(|k| cells.get(k).copied()).unwrap_or(""));
                text += &(moved.collect::<Vec<_>>().join(",") + "\n");
                seconds_before = line.trim().rsplit(',').next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
            }
        }
        write_atomic(path, text.as_bytes())?;
        let file = File::options().append(true).open(path).map_err(Error::io("write", path))?;
        Ok(Self {
            file: std::io::BufWriter::new(file),
            path: path.to_path_buf(),
            begin: Instant::now(),
            seconds_before,
            n: 0.0,
            loss: 0.0,
            gradient_norm: 0.0,
            objectives: BTreeMap::new(),
        })
    }

    /// Adds a step; writes a row and returns its mean loss where a row ends.
    fn add(
        &mut self,
        report: &StepReport,
        stage: &str,
        validation: Option<f64>,
        ends_row: bool,
    ) -> Result<Option<f64>> {
        self.n += 1.0;
        self.loss += report.loss;
        self.gradient_norm += report.gradient_norm;
        for (name, value) in &report.objectives {
            *self.objectives.entry(name).or_insert(0.0) += value;
        }
        if !ends_row {
            return Ok(None);
        }
        let n = std::mem::take(&mut self.n);
        let objectives = std::mem::take(&mut self.objectives);
        let loss = std::mem::take(&mut self.loss) / n;
        let norm = std::mem::take(&mut self.gradient_norm) / n;
        let cell = |name| objectives.get(name).map_or_else(String::new, |sum| (sum / n).to_string());
        let cells: Vec<String> = columns().map(cell).collect();
        let validation = validation.map_or_else(String::new, |value| value.to_string());
        let seconds = self.seconds_before + self.begin.elapsed().as_secs_f64();
        let (step, rate) = (report.step, report.learning_rate);
        let line =
            format!("{step},{stage},{loss},{},{validation},{rate},{norm},{seconds:.3}\n", cells.join(","));
        self.file.write_all(line.as_bytes()).map_err(Error::io("write", &self.path))?;
        Ok(Some(loss))
    }

    fn flush(&mut self) -> Result<()> {
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .map_err(Error::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: usize) -> StepReport {
        StepReport {
            step,
            stage: 0,
            loss: step as f64,
            objectives: vec![("denoising_score_matching", 0.5)],
            learning_rate: 0.001,
            gradient_norm: 1.0,
        }
    }

    #[test]
    fn rows_after_the_checkpoint_and_half_lines_are_dropped() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("loss.csv");
        let mut table = LossTable::open(&path, 0).unwrap();
        for step in 1..=4 {
            let mean = table.add(&report(step), "score", None, step % 2 == 0).unwrap();
            assert_eq!(mean, (step % 2 == 0).then_some(step as f64 - 0.5));
        }
        table.flush().unwrap();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"6,score,0.").unwrap();
        drop(LossTable::open(&path, 3).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        let rows: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(rows.len(), 1, "{text}");
        // Objectives that the stage does not have, and no validation, are empty cells.
        let cells: Vec<&str> = rows[0].split(',').collect();
        let place = 3 + columns().position(|name| name == "denoising_score_matching").unwrap();
        assert_eq!((&cells[..3], cells[place]), (&["2", "score", "1.5"][..], "0.5"), "{text}");
        assert!(cells[3..3 + columns().count() + 1].iter().filter(|cell| !cell.is_empty()).count() == 1);
        assert_eq!(&cells[4 + columns().count()..][..2], ["0.001", "1"], "{text}");

        // A table of a time with fewer objectives has their cells where they belong now.
        let older = "step,stage,loss,denoising_score_matching,validation_dsm,learning_rate,gradient_norm,seconds\n\
                     2,score,1.5,0.5,,0.001,1,3.5\n";
        std::fs::write(&path, older).unwrap();
        let table = LossTable::open(&path, 3).unwrap();
        assert_eq!(table.seconds_before, 3.5);
        let expected = format!("{},3.5", rows[0].rsplit_once(',').unwrap().0);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().nth(1), Some(expected.as_str()));
    }
}
