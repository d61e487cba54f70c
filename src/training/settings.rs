//! What a configuration says about training.

use serde::{Deserialize, Serialize};

use super::gradient::{Weighted, coupling};
use super::objective::{Learns, OBJECTIVES};
use super::optimizer::AdamSettings;
use super::times::{Coupling, TimeSettings};
use crate::error::{Error, Result, at_least, positive};
use crate::model::fused::MIN_LANES;

/// Training as a sequence of stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// Constants of the optimiser.
    pub adam: AdamSettings,
    /// Largest norm of a gradient.
    pub gradient_clip: f64,
    /// Decay of the average of weights; the average is what is used.
    pub ema_decay: f64,
    /// Steps between evaluations on selection frames.
    pub validation_interval: usize,
    /// Steps between checkpoints.
    pub checkpoint_interval: usize,
    /// The stages, one after the other.
    pub stages: Vec<StageSettings>,
}

/// Steps with the same objectives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSettings {
    /// For `loss.csv` and the report.
    pub name: String,
    /// Steps.
    pub n_steps: usize,
    /// Data points per step.
    #[serde(default = "default_batch_size")]
    pub batch_size: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Learning rate at the end; absent: a hundredth of the peak.
    #[serde(default)]
    pub final_learning_rate: Option<f64>,
    /// Steps of linear warm-up.
    #[serde(default)]
    pub warmup_steps: usize,
    /// At which times a data point is looked at.
    #[serde(default)]
    pub times: TimeSettings,
    /// Whether the constant of every time is set by Bennett's ratio before the first step, as it always is where objectives
    /// compare times.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calibrate: bool,
    /// What is minimised: tables with `kind`, `weight` and the settings of the objective.
    pub objectives: Vec<toml::Table>,
}

fn default_batch_size() -> usize {
    1024
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            adam: AdamSettings::default(),
            gradient_clip: 1.0,
            ema_decay: 0.9995,
            validation_interval: 500,
            checkpoint_interval: 1000,
            stages: vec![
                StageSettings {
                    name: "score".into(),
                    n_steps: 8000,
                    batch_size: 1024,
                    learning_rate: 3e-3,
                    final_learning_rate: None,
                    warmup_steps: 500,
                    times: TimeSettings::default(),
                    calibrate: false,
                    objectives: vec![objective("denoising_score_matching", 1.0)],
                },
                StageSettings {
                    name: "classification".into(),
                    n_steps: 24_000,
                    batch_size: 512,
                    learning_rate: 2e-3,
                    final_learning_rate: None,
                    warmup_steps: 200,
                    times: TimeSettings { n_times: 2, ..TimeSettings::default() },
                    calibrate: false,
                    objectives: vec![
                        objective("denoising_score_matching", 1.0),
                        objective("diffusive_classification", 0.6),
                    ],
                },
            ],
        }
    }
}

/// An objective with its default settings.
fn objective(kind: &str, weight: f64) -> toml::Table {
    let mut table = toml::Table::new();
    table.insert("kind".into(), kind.into());
    table.insert("weight".into(), weight.into());
    table
}

impl TrainSettings {
    /// Training with forces on all atoms of a molecule, as for alanine dipeptide with its 63 degrees of freedom:
    /// about 300 core-seconds in the first stage and 100 in the second.
    ///
    /// Mirror classification says which hand noised data have, which scores show badly. Two levels tell each other
    /// something while √(2d) |log g_t/g_s| is about 1, so neighbours are closer than for beads. The constant for all times is set before the second stage, which has only its rest to learn.
    pub fn of_atoms() -> Self {
        let stage = |name: &str, n_steps, batch_size, learning_rate, warmup_steps| StageSettings {
            name: name.into(),
            n_steps,
            batch_size,
            learning_rate,
            final_learning_rate: None,
            warmup_steps,
            times: TimeSettings::default(),
            calibrate: false,
            objectives: vec![
                objective("target_score_matching", 1.0),
                objective("mirror_classification", 0.1),
            ],
        };
        let mut classification = stage("classification", 2000, 512, 1e-3, 100);
        classification.times = TimeSettings { n_times: 2, neighbour_step: 0.5, ..TimeSettings::default() };
        classification.objectives.push(objective("diffusive_classification", 0.05));
        let stages = vec![stage("score", 8000, 1024, 5e-3, 200), classification];
        // The norm of gradients is 0.04 at most times; steps after a rare batch of ten times as much spoil thousands.
        Self { ema_decay: 0.999, gradient_clip: 0.1, stages, ..Self::default() }
    }

    /// Checks every value and builds every objective once, so that nothing can fail later; `place` is their key path. Objectives
    /// that learn no energy at every time are refused.
    pub fn validate(&self, place: &str) -> Result<()> {
        self.validate_any(place)?;
        for (idx, stage) in self.stages.iter().enumerate() {
            let place = format!("{place}.stages[{idx}]");
            let objectives = stage.objectives(&place)?;
            let is_energy = |o: &Weighted| {
                matches!(o.objective.learns(), Learns::Path | Learns::Beside | Learns::Refinement)
            };
            if let Some(other) = objectives.iter().find(|o| !is_energy(o)) {
                let name = other.objective.name();
                let message = match other.objective.learns() {
                    Learns::Generator => {
                        format!("`{name}` makes a generator and no density: it has no free energies")
                    }
                    _ => format!("`{name}` learns no energies between data and noise"),
                };
                let hint = "it can be compared with others by `kirkwood benchmark energies`";
                return Err(Error::config(format!("{place}.objectives"), message, hint));
            }
        }
        Ok(())
    }

    /// What the stages make of u_θ in the end; they must be valid.
    pub fn learns(&self) -> Learns {
        let mut of_stages = self.stages.iter().rev().map(|stage| stage.objectives("").unwrap_or_default());
        let last = of_stages.find(|all| all.iter().all(|o| o.objective.learns() != Learns::Refinement));
        let all = last.iter().flatten().map(|o| o.objective.learns());
        all.filter(|learns| *learns != Learns::Beside)
            .find(|learns| *learns != Learns::Path)
            .unwrap_or_default()
    }

    /// The name of an objective that needs the forces of the training frames; settings must be valid.
    pub fn needs_scores(&self) -> Option<&'static str> {
        let objectives = self.stages.iter().flat_map(|stage| stage.objectives("").unwrap_or_default());
        objectives.map(|o| o.objective).find(|o| o.needs_scores()).map(|o| o.name())
    }

    /// Whether an objective needs the state of every training frame; settings must be valid.
    pub fn needs_states(&self) -> bool {
        let objectives = self.stages.iter().flat_map(|stage| stage.objectives("").unwrap_or_default());
        objectives.into_iter().any(|o| o.objective.needs_states())
    }

    /// The same checks for objectives of every sort.
    pub fn validate_any(&self, place: &str) -> Result<()> {
        let fail = |key: &str, message: String| Err(Error::config(format!("{place}.{key}"), message, ""));
        if self.stages.is_empty() {
            return fail("stages", "needs at least one stage".into());
        }
        if self.gradient_clip.is_nan() || self.gradient_clip <= 0.0 {
            return fail("gradient_clip", format!("must be positive, found {}", self.gradient_clip));
        }
        if !(0.0..1.0).contains(&self.ema_decay) {
            return fail("ema_decay", format!("must be in [0, 1), found {}", self.ema_decay));
        }
        for (key, interval) in [
            ("validation_interval", self.validation_interval),
            ("checkpoint_interval", self.checkpoint_interval),
        ] {
            at_least(format!("{place}.{key}"), interval, 1)?;
        }
        for (idx, stage) in self.stages.iter().enumerate() {
            stage.validate(&format!("{place}.stages[{idx}]"))?;
        }
        let first = self.stages[0].objectives(&format!("{place}.stages[0]"))?;
        if let Some(refinement) = first.iter().find(|o| o.objective.learns() == Learns::Refinement) {
            let message = format!(
                "`{}` refines an energy that earlier stages have trained",
                refinement.objective.name()
            );
            let hint = "begin with a stage of `denoising_score_matching`";
            return Err(Error::config(format!("{place}.stages[0].objectives"), message, hint));
        }
        Ok(())
    }

    /// Steps of all stages.
    pub fn n_steps(&self) -> usize {
        self.stages.iter().map(|stage| stage.n_steps).sum()
    }
}

impl StageSettings {
    fn validate(&self, place: &str) -> Result<()> {
        let fail = |key: &str, message: String| Err(Error::config(format!("{place}.{key}"), message, ""));
        at_least(format!("{place}.n_steps"), self.n_steps, 1)?;
        at_least(format!("{place}.batch_size"), self.batch_size, 1)?;
        positive(format!("{place}.learning_rate"), self.learning_rate)?;
        if self.final_learning_rate.is_some_and(|rate| !(0.0..=self.learning_rate).contains(&rate)) {
            return fail("final_learning_rate", "must lie between 0 and learning_rate".into());
        }
        self.times.validate(&format!("{place}.times"))?;
        // So many energies at other times are held at once.
        if self.times.n_times > MIN_LANES {
            return fail("times.n_times", format!("must be at most {MIN_LANES}"));
        }
        let objectives = self.objectives(place)?;
        if objectives.is_empty() {
            return fail("objectives", "needs at least one objective".into());
        }
        if objectives.iter().all(|o| o.objective.learns() == Learns::Beside) {
            let message = format!("`{}` alone trains no energy", objectives[0].objective.name());
            let hint = "give another beside it, for example `denoising_score_matching`";
            return Err(Error::config(format!("{place}.objectives"), message, hint));
        }
        let coupling = coupling(&objectives);
        if let Some(other) =
            objectives.iter().find(|o| ![Coupling::Independent, coupling].contains(&o.objective.coupling()))
        {
            let message =
                format!("`{}` needs points that another objective does not", other.objective.name());
            return Err(Error::config(
                format!("{place}.objectives"),
                message,
                "give each a stage of its own",
            ));
        }
        if let Some(needed) = coupling.n_times().filter(|needed| *needed != self.times.n_times) {
            let message = format!("must be {needed} for these objectives, found {}", self.times.n_times);
            return fail("times.n_times", message);
        }
        if coupling != Coupling::Independent && self.times.n_levels > 0 {
            return fail("times.n_levels", "must be 0 for these objectives".into());
        }
        // Points of lines are not noised data, and walkers train nothing but the data end.
        if matches!(coupling, Coupling::Line(_) | Coupling::Equilibrium { .. })
            && let Some(other) = objectives.iter().find(|o| o.objective.coupling() != coupling)
        {
            let message =
                format!("`{}` is about noised data, and these points are not", other.objective.name());
            let hint = "give it a stage of its own";
            return Err(Error::config(format!("{place}.objectives"), message, hint));
        }
        // Twins share their time.
        if matches!(coupling, Coupling::Twins { .. }) {
            let compares =
                |o: &&Weighted| o.objective.needs_cross_energies() && o.objective.coupling() != coupling;
            if let Some(other) = objectives.iter().find(compares) {
                let message =
                    format!("`{}` compares times, and these points share one", other.objective.name());
                return Err(Error::config(
                    format!("{place}.objectives"),
                    message,
                    "give it a stage of its own",
                ));
            }
        }
        let compares_times = |o: &Weighted| o.objective.needs_cross_energies();
        if coupling.n_data(2) < 2 && objectives.iter().any(compares_times) {
            let message = "compare times, and these points have one: give them a stage of their own".into();
            return fail("objectives", message);
        }
        if self.times.n_times < 2 && objectives.iter().any(|o| o.objective.needs_cross_energies()) {
            let message = "these objectives compare times: n_times must be at least 2".into();
            return fail("times.n_times", message);
        }
        Ok(())
    }

    /// Builds the objectives.
    pub fn objectives(&self, place: &str) -> Result<Vec<Weighted>> {
        let build = |(idx, table): (usize, &toml::Table)| {
            let place = format!("{place}.objectives[{idx}]");
            let mut table = table.clone();
            let weight = match table.remove("weight") {
                None => 1.0,
                Some(value) => match value.as_float().or_else(|| value.as_integer().map(|w| w as f64)) {
                    Some(weight) if weight > 0.0 && weight.is_finite() => weight,
                    _ => {
                        let message = format!("must be a positive number, found {value}");
                        return Err(Error::config(format!("{place}.weight"), message, ""));
                    }
                },
            };
            Ok(Weighted { objective: OBJECTIVES.build(&place, table, &())?, weight })
        };
        self.objectives.iter().enumerate().map(build).collect()
    }
}
