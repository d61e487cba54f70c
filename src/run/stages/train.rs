//! From training frames to a model.

use serde_json::Map;

use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::model::checkpoint::{self, ModelCard, bead_types};
use crate::model::compute::Compute;
use crate::model::data::{End, TrainingData};
use crate::model::network::{Architecture, NETWORKS, Network};
use crate::potential::Space;
use crate::run::directory::{write_atomic, write_json};
use crate::run::plan::Plan;
use crate::run::stages::Context;
use crate::run::summary::entry;
use crate::run::training::{Training, mean_loss};
use crate::system::Topology;
use crate::training::{Trainer, validate};
use crate::trajectory::Ensemble;

/// Noise levels of the final held-out loss.
const VALIDATION_LEVELS: usize = 32;

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
    run_with_scores(context, |_| Ok(Vec::new()))
}

/// Writes `train/`, where ∂ log p/∂x of frames in nm is known, in 1/nm; an empty list where it is not.
pub fn run_with_scores(context: &Context, scores: impl Fn(&[f64]) -> Result<Vec<f64>>) -> Result<()> {
    let directory = context.layout.begin("train")?;
    let settings = &context.plan.config.train;
    let scale = length_scale_nm(&context.data.train());
    let [train, selection] = [context.data.train(), context.data.selection()].map(|set| reduced(&set, scale));
    let streams = context.streams();
    let space = Space::Centered { n_particles: context.plan.beads.n_beads() };
    let scores: Vec<f32> =
        scores(context.data.train().positions_nm())?.iter().map(|score| (score * scale) as f32).collect();
    let states = match settings.needs_states() {
        true => {
            let beads = &context.plan.beads;
            beads.basins_of(&beads.values(context.data.train().positions_nm())?)
        }
        false => Vec::new(),
    };
    let first = End { frames: &train, scores: &scores, states: &states };
    let data = TrainingData { first, ..TrainingData::of_frames(space, &train) };
    let held_out = TrainingData::of_frames(space, if selection.is_empty() { &train } else { &selection });
    let trainer = Trainer::new(initial_model(context, scale, &data)?, settings, data, streams)?;
    let part =
        if context.label.is_empty() { "training".into() } else { format!("{}: training", context.label) };
    let training = Training {
        settings,
        held_out: (!selection.is_empty()).then_some(held_out),
        streams,
        directory: &directory,
        run: context.run.path(),
        control: context.control,
        part: &part,
    };
    let model = training.run(trainer)?;
    let by_level = validate(&model, &held_out, &streams, VALIDATION_LEVELS)?;
    let rows: String = by_level.iter().map(|(log_snr, loss)| format!("{log_snr},{loss}\n")).collect();
    write_atomic(&directory.join("validation.csv"), format!("log_snr,dsm_per_dof\n{rows}").as_bytes())?;
    checkpoint::save(&directory, &model, &card(context.plan, scale, &model))?;

    let mut diagnostics = Map::new();
    let frames =
        if selection.is_empty() { "training frames, as none are for selection" } else { "selection frames" };
    let method = format!(
        "denoising score matching per degree of freedom, mean over noise levels uniform in log g, {frames}"
    );
    diagnostics.insert("validation_dsm".into(), entry(mean_loss(&by_level), None, "", &method));
    let n_parameters = model.program.n_parameters() as f64;
    diagnostics.insert("n_parameters".into(), entry(n_parameters, None, "", "weights of the network"));
    write_json(&directory.join("diagnostics.json"), &diagnostics)?;
    context.layout.finish("train")?;
    context.control.progress().end(&format!(
        "{} steps, held-out loss {:.4} per degree of freedom",
        settings.n_steps(),
        mean_loss(&by_level)
    ));
    Ok(())
}

/// The trained model of this configuration.
pub fn load_model(context: &Context) -> Result<EnergyModel> {
    let directory = context.layout.finished("train")?;
    let (model, card) = checkpoint::load(&directory)?;
    let names = bead_names(context.plan.beads.mapping.topology());
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

/// Residue and name of every bead.
pub fn bead_names(beads: &Topology) -> Vec<String> {
    beads.atoms.iter().map(|atom| format!("{} {}", atom.residue_name, atom.name).trim().to_string()).collect()
}

fn architecture(plan: &Plan) -> Architecture {
    let types = bead_types(&bead_names(plan.beads.mapping.topology()));
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
        bead_names: bead_names(plan.beads.mapping.topology()),
        bead_types: model.architecture.bead_types.clone(),
        bonds: model.architecture.bonds.clone(),
        n_time_rows: model.time_table.n_rows(),
        noise: *model.noise(),
        network: plan.config.model.network.clone(),
    }
}

fn initial_model(context: &Context, scale: f64, data: &TrainingData) -> Result<EnergyModel> {
    let (architecture, streams) = (architecture(context.plan), context.streams());
    let model = EnergyModel::initial(&*network(context.plan)?, architecture, scale, data, &streams)?;
    model.on(&Compute::parse(&context.plan.config.device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduced_coordinates_have_unit_variance_per_degree_of_freedom() {
        // Two particles 2 nm apart on an axis: Σx² = 2 over 3 degrees of freedom.
        let frames = Ensemble::new(2, vec![1.0, 0.0, 0.0, -1.0, 0.0, 0.0]).unwrap();
        let scale = length_scale_nm(&frames);
        assert!((2.0 / (scale * scale) / 3.0 - 1.0).abs() < 1e-12);
    }
}
