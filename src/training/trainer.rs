//! The loop: batch, gradient, Adam, average; with everything that a resumed run needs.

use super::batch::Batch;
use super::calibration::{calibrate, calibrate_data_end};
use super::equilibrium_walkers::WalkerState;
use super::gradient::{GradientEngine, Losses, Weighted, coupling};
use super::initialiser::{Initialiser, InitialiserState};
use super::optimizer::{self, Adam};
use super::settings::{StageSettings, TrainSettings};
use super::times::Coupling;
use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::model::data::{DataPoints, GROUP, TrainingData};
use crate::potential::PotentialPath as _;
use crate::random::{Purpose, Streams};

/// Random numbers of chains.
const CHAINS: u64 = 0x4348;
/// Random numbers of walkers.
const WALKERS: u64 = 0x574b;

/// A model in training.
pub struct Trainer<'a> {
    /// The model with its current weights.
    pub model: EnergyModel,
    settings: &'a TrainSettings,
    data: TrainingData<'a>,
    streams: Streams,
    state: TrainerState,
    objectives: Vec<Vec<Weighted>>,
    engine: GradientEngine,
    batch: Batch,
    gradient: Vec<f32>,
    /// Where a stage has one; made anew from its state.
    initialiser: Option<Initialiser>,
    /// Which parameters the stage trains, where it does not train all of them; made anew after a resumption.
    trained: Option<Vec<bool>>,
}

/// All that changes during training; a resumed run goes on from it and ends in the same bits.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainerState {
    /// Steps done, over all stages.
    pub step: usize,
    /// Weights.
    pub weights: Vec<f32>,
    /// Their average.
    pub average: Vec<f32>,
    /// State of the optimiser.
    pub adam: Adam,
    /// Free offsets of grid levels of the current stage, the last one zero.
    pub offsets: Vec<f64>,
    /// Optimiser of the offsets.
    pub offset_moments: [Vec<f64>; 2],
    /// Where persistent chains of the current stage are; not a number where one has not begun.
    pub chains: Vec<f32>,
    /// The network that says where chains of the current stage start, where they have one.
    pub initialiser: Option<InitialiserState>,
    /// Walkers at equilibrium with the data end, where the current stage has them.
    pub walkers: Option<WalkerState>,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: usize,
    /// Index of the stage.
    pub stage: usize,
    /// Weighted sum of objectives.
    pub loss: f64,
    /// Each objective with its name.
    pub objectives: Vec<(&'static str, f64)>,
    /// Rate of the step.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
}

impl<'a> Trainer<'a> {
    /// Starts training `model` on `data`.
    pub fn new(
        model: EnergyModel,
        settings: &'a TrainSettings,
        data: TrainingData<'a>,
        streams: Streams,
    ) -> Result<Self> {
        data.validate()?;
        let n = model.program.n_parameters();
        let state = TrainerState {
            step: 0,
            weights: model.weights().values().to_vec(),
            average: model.weights().values().to_vec(),
            adam: Adam::new(n),
            offsets: vec![],
            offset_moments: [vec![], vec![]],
            chains: vec![],
            initialiser: None,
            walkers: None,
        };
        let stages = settings.stages.iter().enumerate();
        let objectives = stages
            .map(|(idx, stage)| stage.objectives(&format!("train.stages[{idx}]")))
            .collect::<Result<Vec<Vec<Weighted>>>>()?;
        if model.noise().has_two_ends() != data.second.is_some() {
            let expected = "a second ensemble, and a path between two: both or neither";
            let found = if data.second.is_some() { "two ensembles" } else { "one ensemble" };
            return Err(Error::invalid("training data", expected, found.to_string()));
        }
        if !data.has_scores()
            && let Some(objective) = objectives.iter().flatten().find(|o| o.objective.needs_scores())
        {
            let message = format!("`{}` needs the forces of the training frames", objective.objective.name());
            let hint = match data.is_coupled() {
                true => "pairs must be independent: pairing = \"independent\"",
                false => "a force field that gives them, or the objective `denoising_score_matching`",
            };
            return Err(Error::config("train.stages", message, hint));
        }
        if data.second.is_some()
            && let Some(objective) = objectives.iter().flatten().find(|o| o.objective.needs_noise_end())
        {
            let message = format!("`{}` is about a path that ends in noise", objective.objective.name());
            let hint = "between two ensembles: score matching and `diffusive_classification`";
            return Err(Error::config("train.stages", message, hint));
        }
        if let Some(objective) = objectives.iter().flatten().find(|o| o.objective.needs_states()) {
            let name = objective.objective.name();
            if data.first.states.is_empty() {
                let message = format!("`{name}` needs the state of every training frame");
                let hint = "it is for `kirkwood run` on beads with named `[[states]]`";
                return Err(Error::config("train.stages", message, hint));
            }
            let n_needed = data.first.states.iter().max().map_or(0, |last| last + 1);
            if model.n_states() < n_needed {
                let message =
                    format!("`{name}` needs a network of {n_needed} states, found {}", model.n_states());
                let hint = format!("states = {n_needed}");
                return Err(Error::config("model.network.states", message, hint));
            }
        }
        if data.second.is_none()
            && let Some(objective) = objectives.iter().flatten().find(|o| o.objective.needs_displacements())
        {
            let message = format!("`{}` needs two ensembles to move between", objective.objective.name());
            return Err(Error::config("train.stages", message, "a path with `kind = \"interpolant\"`"));
        }
        for (idx, objectives) in objectives.iter().enumerate() {
            if let Coupling::Equilibrium { reach, .. } = coupling(objectives)
                && !model.parameters_within(reach).contains(&true)
            {
                let message = format!(
                    "no parameter of the network acts only within {reach} of the data end in log(a²/g²)"
                );
                let hint = "a larger `reach`, or more `time_splines` of the network";
                return Err(Error::config(format!("train.stages[{idx}].objectives"), message, hint));
            }
        }
        Ok(Self {
            model,
            settings,
            data,
            streams,
            state,
            objectives,
            engine: GradientEngine::default(),
            batch: Batch::default(),
            gradient: vec![0.0; n],
            initialiser: None,
            trained: None,
        })
    }

    /// Goes on from a stored state.
    pub fn restore(&mut self, state: TrainerState) -> Result<()> {
        if state.weights.len() != self.gradient.len() || state.adam.first.len() != self.gradient.len() {
            return Err(Error::invalid(
                "checkpoint",
                format!("{} parameters", self.gradient.len()),
                state.weights.len().to_string(),
            ));
        }
        if let Some(initialiser) = &state.initialiser {
            initialiser.check(self.gradient.len())?;
        }
        if let Some(walkers) = &state.walkers {
            let n_numbers = walkers.x.len();
            if n_numbers == 0 || !n_numbers.is_multiple_of(self.data.space.dimension()) {
                let expected = format!("walkers of {} numbers", self.data.space.dimension());
                return Err(Error::invalid("checkpoint", expected, n_numbers.to_string()));
            }
        }
        self.model.set_weights(&state.weights)?;
        (self.initialiser, self.trained) = (None, None);
        self.state = state;
        Ok(())
    }

    /// The state after the last step.
    pub fn state(&self) -> &TrainerState {
        &self.state
    }

    /// The stage that the next step belongs to, with its first step; `None` at the end.
    pub fn stage(&self) -> Option<(usize, &'a StageSettings, usize)> {
        let mut first = 0;
        for (idx, stage) in self.settings.stages.iter().enumerate() {
            if self.state.step < first + stage.n_steps {
                return Some((idx, stage, first));
            }
            first += stage.n_steps;
        }
        None
    }

    /// Does one step; `None` when all stages are done. A loss that is not finite is returned, and the
    /// state stays as it was before the step.
    pub fn step(&mut self) -> Result<Option<StepReport>> {
        let Some((stage_idx, stage, first)) = self.stage() else { return Ok(None) };
        if self.state.step == first {
            self.begin_stage(stage_idx, stage)?;
        }
        let state = &mut self.state;
        if let (Some(initialiser), None) = (&state.initialiser, &self.initialiser) {
            self.initialiser = Some(Initialiser::new(&self.model, initialiser)?);
        }
        let (noise, step) = (*self.model.noise(), state.step as u64);
        let objectives = &self.objectives[stage_idx];
        let coupling = coupling(objectives);
        let points = stage.batch_size;
        self.batch.draw(&self.data, &noise, &stage.times, coupling, points, &self.streams, step);
        // Kept when the step is.
        let mut moved = state.walkers.clone();
        if let (Coupling::Equilibrium { walkers, reach }, Some(of_walkers)) = (coupling, &mut moved) {
            let streams = self.streams.derive(WALKERS);
            walkers.advance(&self.model, of_walkers, &streams, step)?;
            walkers.fill(of_walkers, &mut self.batch, self.data.space.dimension(), &streams, step);
            self.trained.get_or_insert_with(|| self.model.parameters_within(reach));
        }
        let mut kept = state.chains.clone();
        if let Some(chains) = coupling.chains() {
            let streams = self.streams.derive(CHAINS);
            let guide = self.initialiser.as_ref().map(|initialiser| &initialiser.model);
            let lesson = chains.draw(&self.model, guide, &mut self.batch, &mut kept, &streams, step)?;
            if let (Some(initialiser), Some(lesson)) = (&mut self.initialiser, lesson) {
                initialiser.learn(&lesson, self.settings.gradient_clip)?;
            }
        }
        let Losses { by_objective, offset_gradient } =
            self.engine.evaluate(&self.model, &self.batch, objectives, &state.offsets, &mut self.gradient)?;
        let names: Vec<&'static str> = objectives.iter().map(|o| o.objective.name()).collect();
        let loss = by_objective.iter().zip(objectives).map(|(loss, o)| loss * o.weight).sum::<f64>();
        if let Some(trained) = &self.trained {
            let others = self.gradient.iter_mut().zip(trained).filter(|(_, trained)| !**trained);
            others.for_each(|(gradient, _)| *gradient = 0.0);
        }
        let gradient_norm = optimizer::clip(&mut self.gradient, self.settings.gradient_clip);
        let rate = optimizer::learning_rate(
            state.step - first,
            stage.n_steps,
            stage.warmup_steps,
            stage.learning_rate,
            stage.final_learning_rate.unwrap_or(0.01 * stage.learning_rate),
        );
        if loss.is_finite() && gradient_norm.is_finite() {
            state.adam.step(&self.settings.adam, rate, &self.gradient, &mut state.weights);
            if let Some(trained) = &self.trained {
                // Decay of weights is not of the gradient.
                let weights = state.weights.iter_mut().zip(self.model.weights().values()).zip(trained);
                weights.filter(|(_, trained)| !**trained).for_each(|((weight, old), _)| *weight = *old);
            }
            self.model.set_weights(&state.weights)?;
            optimizer::average(&mut state.average, &state.weights, self.settings.ema_decay, state.step);
            step_offsets(state, rate, &offset_gradient);
            if let (Some(initialiser), Some(state)) = (&mut self.initialiser, &mut state.initialiser) {
                initialiser.step(&self.settings.adam, rate, state)?;
            }
            (state.chains, state.walkers) = (kept, moved);
            state.step += 1;
            if let Coupling::Equilibrium { reach, .. } = coupling
                && state.step == first + stage.n_steps
            {
                state.walkers = None;
                self.go_on_from_average(|model, data, streams| {
                    calibrate_data_end(model, reach, data, streams)
                })?;
            }
        }
        Ok(Some(StepReport {
            step: self.state.step,
            stage: stage_idx,
            loss: if gradient_norm.is_finite() { loss } else { f64::NAN },
            objectives: names.into_iter().zip(by_objective).collect(),
            learning_rate: rate,
            gradient_norm,
        }))
    }

    /// What a stage starts with, before its first step.
    fn begin_stage(&mut self, stage_idx: usize, stage: &StageSettings) -> Result<()> {
        let compares_times = |o: &Weighted| o.objective.needs_cross_energies();
        if stage.calibrate || self.objectives[stage_idx].iter().any(compares_times) {
            // What has been learned so far, with one constant for all times, which classification needs.
            self.go_on_from_average(calibrate)?;
        }
        let coupling = coupling(&self.objectives[stage_idx]);
        let mut of_walkers = None;
        if let Coupling::Equilibrium { walkers, .. } = coupling {
            self.go_on_from_average(|_, _, _| Ok(()))?;
            of_walkers = Some(walkers.start(&self.model, &self.data, &self.streams.derive(WALKERS))?);
        }
        let (chains, dimension) = (coupling.chains(), self.data.space.dimension());
        let n_kept = chains.map_or(0, |chains| chains.n_kept(stage.batch_size, dimension));
        let has_network = chains.is_some_and(|chains| chains.needs_network());
        let state = &mut self.state;
        // A new stage has other objectives: moments of the old gradients would only mislead.
        state.adam = Adam::new(self.gradient.len());
        state.offsets = vec![0.0; stage.times.n_levels];
        state.offset_moments = [vec![0.0; stage.times.n_levels], vec![0.0; stage.times.n_levels]];
        state.chains = vec![f32::NAN; n_kept];
        state.initialiser = has_network.then(|| InitialiserState::new(state.average.clone()));
        state.walkers = of_walkers;
        (self.initialiser, self.trained) = (None, None);
        Ok(())
    }

    /// Takes the average of weights, changed so, for the weights.
    fn go_on_from_average(
        &mut self,
        change: impl FnOnce(&mut EnergyModel, &TrainingData, &Streams) -> Result<()>,
    ) -> Result<()> {
        self.model.set_weights(&self.state.average)?;
        change(&mut self.model, &self.data, &self.streams)?;
        self.state.weights.copy_from_slice(self.model.weights().values());
        self.state.average.copy_from_slice(self.model.weights().values());
        Ok(())
    }

    /// Runs `f` on the model with averaged weights.
    pub fn with_average<T>(&mut self, f: impl FnOnce(&EnergyModel) -> Result<T>) -> Result<T> {
        self.model.set_weights(&self.state.average)?;
        let result = f(&self.model);
        self.model.set_weights(&self.state.weights)?;
        result
    }

    /// The model with averaged weights.
    pub fn into_model(mut self) -> Result<EnergyModel> {
        self.model.set_weights(&self.state.average)?;
        Ok(self.model)
    }
}

/// Adam on the offsets of levels, then the gauge: the last offset is zero.
fn step_offsets(state: &mut TrainerState, rate: f64, gradient: &[f64]) {
    let k = state.adam.n_steps as i32;
    let [first, second] = &mut state.offset_moments;
    for (idx, &g) in gradient.iter().enumerate() {
        first[idx] = 0.9 * first[idx] + 0.1 * g;
        second[idx] = 0.999 * second[idx] + 0.001 * g * g;
        let (m, v) = (first[idx] / (1.0 - 0.9_f64.powi(k)), second[idx] / (1.0 - 0.999_f64.powi(k)));
        state.offsets[idx] -= rate * m / (v.sqrt() + 1e-8);
    }
    if let Some(&last) = state.offsets.last() {
        state.offsets.iter_mut().for_each(|offset| *offset -= last);
    }
}

/// Denoising score matching per degree of freedom on held-out data, at `n_levels` noise levels from the
/// data end to the noise end, uniform in log g: pairs of log(a²/g²) and loss. The same noise at every call.
pub fn validate(
    model: &EnergyModel,
    data: &TrainingData,
    streams: &Streams,
    n_levels: usize,
) -> Result<Vec<(f64, f64)>> {
    let space = model.space();
    let (size, noise) = (space.dimension(), model.noise());
    let n_frames = data.n_frames().min(2048);
    let chosen: Vec<usize> = (0..n_frames).map(|k| k * (data.n_frames() / n_frames.max(1))).collect();
    let (mut first, mut second, mut points) = (vec![], vec![], DataPoints::default());
    let mut rng = streams.stream(Purpose::Validation, u64::MAX);
    for group in chosen.chunks(GROUP) {
        data.collect(group, &mut rng, &mut points);
        first.append(&mut points.first);
        second.append(&mut points.second);
    }
    second.resize(first.len(), 0.0);
    let mut result = vec![];
    let (mut u, mut gradient) = (vec![0.0; n_frames], vec![0.0; n_frames * size]);
    for level in 0..n_levels {
        let quantile = (level as f64 + 0.5) / n_levels as f64;
        let t = super::times::TimeLaw::LogUniformNoise.quantile(noise, quantile);
        let (a, b, g) = (noise.scale(t), noise.partner_scale(t), noise.deviation(t));
        let mut rng = streams.stream(Purpose::Validation, level as u64);
        let mut z = vec![0.0; n_frames * size];
        z.chunks_exact_mut(size).for_each(|z| space.fill_normal(&mut rng, z));
        let x: Vec<f64> =
            z.iter().zip(&first).zip(&second).map(|((z, x0), x1)| a * x0 + b * x1 + g * z).collect();
        model.energies_and_gradients(&vec![t; n_frames], &x, &mut u, &mut gradient)?;
        let sum: f64 = z.iter().zip(&gradient).map(|(z, gradient)| (z - g * gradient).powi(2)).sum();
        result.push((noise.log_snr(t), sum / (n_frames * model.degrees_of_freedom()) as f64));
    }
    Ok(result)
}
