//! From training frames to a model, with checkpoints from which a run goes on to the same bits.
//!
//! The state of the optimiser is stored every `checkpoint_interval` steps, when the user interrupts, and
//! when the loss is no longer a number: then it is the state before that step. Random numbers belong to
//! steps, so a resumed run draws those that the uninterrupted one would have drawn.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Map;

use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::model::checkpoint::{self, ModelCard, bead_types};
use crate::model::compute::Compute;
use crate::model::data::TrainingData;
use crate::model::fused::Weights;
use crate::model::network::{self, Architecture, NETWORKS, Network};
use crate::potential::Space;
use crate::run::beads::Beads;
use crate::run::directory::{write_atomic, write_json};
use crate::run::plan::Plan;
use crate::run::stages::Context;
use crate::run::summary::entry;
use crate::training::{StepReport, Trainer, resume, validate};
use crate::trajectory::Ensemble;

/// Steps whose mean is one row of `loss.csv`.
const STEPS_PER_ROW: usize = 20;
/// Noise levels of the held-out loss during training, and of the final one.
const VALIDATION_LEVELS: [usize; 2] = [8, 32];
/// The objectives that have a column of their own.
const COLUMNS: [&str; 2] = ["denoising_score_matching", "diffusive_classification"];

/// Checks settings and device before any long work.
pub fn check(plan: &Plan) -> Result<()> {
    let locate = |error| plan.locate(error);
    Compute::parse(&plan.config.device).map_err(locate)?;
    let architecture = architecture(plan);
    network(plan)?.program(&architecture).map_err(locate)?;
    Ok(())
}

/// Writes `train/`.
pub fn run(context: &Context) -> Result<()> {
    let directory = context.layout.begin("train")?;
    let checkpoints = directory.join("checkpoints");
    std::fs::create_dir_all(&checkpoints).map_err(Error::io("create", &checkpoints))?;
    let state_path = checkpoints.join("state.safetensors");

    let settings = &context.plan.config.train;
    let scale = length_scale_nm(&context.data.train());
    let [train, selection] = [context.data.train(), context.data.selection()].map(|set| reduced(&set, scale));
    let streams = context.streams();
    let space = Space::Centered { n_particles: context.plan.beads.n_beads() };
    let data = TrainingData::of_frames(space, &train);
    let held_out = TrainingData::of_frames(space, if selection.is_empty() { &train } else { &selection });
    let mut trainer = Trainer::new(initial_model(context, scale, &data)?, settings, data, streams)?;
    if state_path.is_file() {
        let state = resume::load(&state_path)?;
        trainer.restore(state).map_err(|error| {
            Error::file(&state_path, "", "a checkpoint of this plan's network", error.to_string())
        })?;
    }
    let mut table = LossTable::open(&directory.join("loss.csv"), trainer.state().step)?;
    let n_steps = settings.n_steps();
    context.begin("training", n_steps as u64);
    let mut last_loss = f64::NAN;
    while let Some(report) = trainer.step()? {
        if !report.loss.is_finite() {
            resume::save(&state_path, trainer.state())?;
            return Err(Error::Diverged { step: report.step + 1, loss: report.loss, checkpoint: state_path });
        }
        let step = report.step;
        let at_checkpoint = step.is_multiple_of(settings.checkpoint_interval);
        let validated = step.is_multiple_of(settings.validation_interval) || step == n_steps;
        let validation = if validated && !selection.is_empty() {
            Some(mean(
                &trainer.with_average(|model| validate(model, &held_out, &streams, VALIDATION_LEVELS[0]))?,
            ))
        } else {
            None
        };
        // A row ends where a checkpoint is, so that a resumed run writes the same rows.
        let ends_row =
            step.is_multiple_of(STEPS_PER_ROW) || at_checkpoint || validation.is_some() || step == n_steps;
        let name = &settings.stages[report.stage].name;
        if let Some(loss) = table.add(&report, name, validation, ends_row)? {
            last_loss = loss;
        }
        context.control.progress().advance(step as u64, &format!("{name}, loss {last_loss:.4}"));
        if at_checkpoint {
            table.flush()?;
            resume::save(&state_path, trainer.state())?;
        }
        // Not between two rows, whose means would then differ from those of an uninterrupted run.
        if context.control.is_stopping() && ends_row && step < n_steps {
            table.flush()?;
            resume::save(&state_path, trainer.state())?;
            context.check_stop()?;
        }
    }
    table.flush()?;

    let model = trainer.into_model()?;
    let by_level = validate(&model, &held_out, &streams, VALIDATION_LEVELS[1])?;
    let rows: String = by_level.iter().map(|(log_snr, loss)| format!("{log_snr},{loss}\n")).collect();
    write_atomic(&directory.join("validation.csv"), format!("log_snr,dsm_per_dof\n{rows}").as_bytes())?;
    checkpoint::save(&directory, &model, &card(context.plan, scale, &model))?;

    let mut diagnostics = Map::new();
    let frames =
        if selection.is_empty() { "training frames, as none are for selection" } else { "selection frames" };
    let method = format!(
        "denoising score matching per degree of freedom, mean over noise levels uniform in log g, {frames}"
    );
    diagnostics.insert("validation_dsm".into(), entry(mean(&by_level), None, "", &method));
    let n_parameters = model.program.n_parameters() as f64;
    diagnostics.insert("n_parameters".into(), entry(n_parameters, None, "", "weights of the network"));
    write_json(&directory.join("diagnostics.json"), &diagnostics)?;
    context.layout.finish("train")?;
    context
        .control
        .progress()
        .end(&format!("{n_steps} steps, held-out loss {:.4} per degree of freedom", mean(&by_level)));
    Ok(())
}

/// The trained model of this configuration.
pub fn load_model(context: &Context) -> Result<EnergyModel> {
    let directory = context.layout.finished("train")?;
    let (model, card) = checkpoint::load(&directory)?;
    let names = bead_names(&context.plan.beads);
    if card.bead_names != names {
        let found = format!("one of {} beads: {}", card.bead_names.len(), card.bead_names.join(", "));
        let expected = format!("a model of {} beads: {}", names.len(), names.join(", "));
        return Err(Error::file(directory.join("model.toml"), "bead_names", expected, found));
    }
    model.on(&Compute::parse(&context.plan.config.device)?)
}

/// One unit of reduced length: the standard deviation per degree of freedom, 3n − 3 of them.
fn length_scale_nm(frames: &Ensemble) -> f64 {
    let n = frames.n_particles() as f64;
    frames.standard_deviation_nm() * (n / (n - 1.0)).sqrt()
}

fn reduced(frames: &Ensemble, scale: f64) -> Vec<f32> {
    frames.positions_nm().iter().map(|nm| (nm / scale) as f32).collect()
}

fn bead_names(beads: &Beads) -> Vec<String> {
    let atoms = &beads.mapping.topology().atoms;
    atoms.iter().map(|atom| format!("{} {}", atom.residue_name, atom.name).trim().to_string()).collect()
}

fn architecture(plan: &Plan) -> Architecture {
    let types = bead_types(&bead_names(&plan.beads));
    Architecture::new(types, plan.beads.mapping.topology().bonds.clone(), plan.config.model.noise)
}

fn network(plan: &Plan) -> Result<Box<dyn Network>> {
    NETWORKS
        .build("model.network", plan.config.model.network.clone(), &())
        .map_err(|error| plan.locate(error))
}

fn card(plan: &Plan, scale: f64, model: &EnergyModel) -> ModelCard {
    ModelCard {
        length_scale_nm: scale,
        temperature_kelvin: plan.config.data.temperature.as_kelvin(),
        bead_names: bead_names(&plan.beads),
        bead_types: model.architecture.bead_types.clone(),
        bonds: model.architecture.bonds.clone(),
        n_time_rows: model.time_table.n_rows(),
        noise: *model.noise(),
        network: plan.config.model.network.clone(),
    }
}

fn initial_model(context: &Context, scale: f64, data: &TrainingData) -> Result<EnergyModel> {
    let (architecture, streams) = (architecture(context.plan), context.streams());
    let of_data = network::Context { architecture: &architecture, data, streams: &streams };
    let built = network(context.plan)?.build(&of_data)?;
    let weights = Weights::initial(&built.program, &streams);
    let model = EnergyModel::new(architecture, scale, built.program, built.time_table, weights);
    model.on(&Compute::parse(&context.plan.config.device)?)
}

fn mean(by_level: &[(f64, f64)]) -> f64 {
    by_level.iter().map(|(_, loss)| loss).sum::<f64>() / by_level.len().max(1) as f64
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
        let mut text = format!(
            "step,stage,loss,{},validation_dsm,learning_rate,gradient_norm,seconds\n",
            COLUMNS.join(",")
        );
        let mut seconds_before = 0.0;
        // The last line may be cut; rows of steps that will be done again go with it.
        for line in old.split_inclusive('\n').skip(1).filter(|line| line.ends_with('\n')) {
            let of_step = line.split(',').next().and_then(|cell| cell.parse::<usize>().ok());
            if of_step.is_some_and(|of_step| of_step <= step) {
                text += line;
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
        let cells =
            COLUMNS.map(|name| objectives.get(name).map_or_else(String::new, |sum| (sum / n).to_string()));
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
        assert!(rows[0].starts_with("2,score,1.5,0.5,,,0.001,1,"), "{text}");
    }

    #[test]
    fn reduced_coordinates_have_unit_variance_per_degree_of_freedom() {
        // Two particles 2 nm apart on an axis: Σx² = 2 over 3 degrees of freedom.
        let frames = Ensemble::new(2, vec![1.0, 0.0, 0.0, -1.0, 0.0, 0.0]).unwrap();
        let scale = length_scale_nm(&frames);
        assert!((2.0 / (scale * scale) / 3.0 - 1.0).abs() < 1e-12);
    }
}
