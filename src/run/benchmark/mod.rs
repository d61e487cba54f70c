//! `kirkwood benchmark energies`: ways to learn energies, side by side on problems with known answers.
//!
//! ```text
//! runs/NAME/
//!   config.toml  plan.toml  provenance.json  log.jsonl  summary.json  verdict.json
//!   PROBLEM.METHOD.SEED/   loss.csv, assessment.json: one training and what came of it
//!   MOLECULE.METHOD.SEED/run/   a run directory of its own
//!   report/report.html  report/table.csv  report/table.md  report/few_step.csv  report/molecules.csv  report/molecules.md
//! ```
//!
//! Every training is a part of its own: a run that was interrupted goes on with the next, from the checkpoints of the one
//! that it was in.

pub mod assess;
pub mod config;
pub mod few_step;
mod generate;
mod molecule_table;
pub mod molecules;
mod page;
pub mod problem;
mod ranking;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use self::assess::{Assessment, assess};
use self::config::{BenchmarkConfig, Method};
use self::molecules::Molecule;
use self::problem::Problem;
use crate::comparison::Compared;
use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::model::data::{End, TrainingData};
use crate::model::network::{Architecture, NETWORKS};
use crate::random::Streams;
use crate::run::control::Control;
use crate::run::directory::{read_json, write_json};
use crate::run::parts::{self, Description, Parts, fractions};
use crate::run::source::{Source, is_of_kind, run_directory};
use crate::run::training::{Training, seconds_trained};
use crate::run::{Outcome, Request};
use crate::training::Trainer;
use crate::training::objective::Learns;

/// Suites that are built in, by name.
pub const SUITES: [(&str, &str); 4] = [
    ("molecules", include_str!("../../../examples/benchmark/molecules.toml")),
    ("mixtures", include_str!("../../../examples/benchmark/mixtures.toml")),
    ("mixtures_small", include_str!("../../../examples/benchmark/small.toml")),
    ("few_step", include_str!("../../../examples/benchmark/few_step.toml")),
];

/// The configuration of a suite.
pub fn suite(name: &str) -> Result<&'static str> {
    let known = SUITES.map(|(name, _)| name).join(", ");
    SUITES
        .iter()
        .find(|(suite, _)| *suite == name)
        .map(|(_, text)| *text)
        .ok_or_else(|| Error::config(format!("--suite {name}"), "is not a suite", format!("known: {known}")))
}

/// Whether a configuration, or that of a run directory, is a benchmark.
pub fn is_benchmark(config: &Path) -> bool {
    is_of_kind(config, "benchmark")
}

/// A resolved benchmark.
pub struct Plan {
    /// The configuration with every default written out.
    pub config: BenchmarkConfig,
    /// Problems with known answers.
    pub problems: Vec<Problem>,
    /// Molecules.
    pub molecules: Vec<Molecule>,
    /// Where the results go.
    pub out: std::path::PathBuf,
    source: Source,
    text: String,
}

impl Plan {
    /// Reads the configuration of a request, or `suite` in its place, and makes the problems.
    pub fn resolve(request: &Request, suite_name: Option<&str>) -> Result<Self> {
        let source = match suite_name {
            None => Source::of_request(request)?,
            Some(name) => Source::from_text(&request.config, suite(name)?.to_string())?.overlaid(request)?,
        };
        source.refuse_unless_for("benchmark energies")?;
        let mut config: BenchmarkConfig = source.parse()?;
        let problems = config.problems().map_err(|error| source.locate(error))?;
        molecules::resolve(&mut config.molecules, &source, suite_name)?;
        let mut molecules = Vec::new();
        for (idx, settings) in config.molecules.iter().enumerate() {
            let molecule = Molecule::look_up(settings, &format!("molecules[{idx}]"))?;
            let put = config.methods.iter().filter(|method| method.is_put_to(&settings.name));
            put.into_iter().try_for_each(|method| molecule.check(method))?;
            molecules.push(molecule);
        }
        let text = toml::to_string(&config)
            .map_err(|error| Error::config("", format!("the plan cannot be written: {error}"), ""))?;
        let out = run_directory(request, &config.name);
        Ok(Self { config, problems, molecules, out, source, text })
    }

    /// The plan as TOML, a valid configuration.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The plan in one sentence.
    pub fn sentence(&self) -> String {
        format!(
            "{}: {} trainings, {} problems, {} molecules and {} methods; results in {}",
            self.config.name,
            self.trainings().count() + self.runs().count(),
            self.problems.len(),
            self.molecules.len(),
            self.config.methods.len(),
            self.out.display()
        )
    }

    /// The plan as one JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        crate::run::source::plan_json(&self.text, &self.out, &self.sentence())
    }

    /// Methods that are put to a problem or molecule, with each of their seeds.
    fn put_to(&self, name: &str) -> impl Iterator<Item = (&Method, u64)> {
        let methods = self.config.methods.iter().filter(move |method| method.is_put_to(name));
        methods.flat_map(|method| (1..=method.n_seeds).map(move |seed| (method, seed)))
    }

    /// All trainings with a known answer: problem, method and seed.
    fn trainings(&self) -> impl Iterator<Item = (&Problem, &Method, u64)> {
        self.problems
            .iter()
            .flat_map(|problem| self.put_to(&problem.name).map(move |(method, seed)| (problem, method, seed)))
    }

    /// All runs of molecules: molecule, method and seed.
    fn runs(&self) -> impl Iterator<Item = (&Molecule, &Method, u64)> {
        self.molecules.iter().flat_map(|molecule| {
            self.put_to(&molecule.settings.name).map(move |(method, seed)| (molecule, method, seed))
        })
    }
}

/// What became of one training, with what it took.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Trained {
    problem: String,
    method: String,
    seed: u64,
    /// Wall clock.
    training_seconds: f64,
    /// `None`: the training diverged.
    assessment: Option<Assessment>,
}

/// What became of one run of a molecule.
struct Learned<'a> {
    molecule: &'a Molecule,
    method: &'a Method,
    seed: u64,
    /// How far each of its sets is from held-out frames.
    compared: BTreeMap<String, Compared>,
    /// Its summary; without anything where the training diverged.
    summary: serde_json::Value,
    /// Why its samples should not be trusted.
    doubts: Vec<String>,
}

impl<'a> Learned<'a> {
    /// Reads what a run has stored.
    fn read(molecule: &'a Molecule, method: &'a Method, seed: u64, directory: &Path) -> Result<Self> {
        let (summary, compared) = (molecules::stored(directory, "summary.json")?, ranking::read(directory)?);
        let doubts =
            serde_json::from_value(molecules::stored(directory, "sample/doubts.json")?).unwrap_or_default();
        Ok(Self { molecule, method, seed, compared, summary, doubts })
    }
}

/// Which trainings diverged, and what to do; nothing where none did.
fn divergence(trained: &[Trained], learned: &[Learned]) -> String {
    let of_problems = (trained.iter().filter(|row| row.assessment.is_none()))
        .map(|row| (&row.method, &row.problem, row.seed));
    let of_molecules = (learned.iter().filter(|run| run.summary.is_null()))
        .map(|run| (&run.method.name, &run.molecule.settings.name, run.seed));
    let diverged: Vec<String> = of_problems
        .chain(of_molecules)
        .map(|(method, problem, seed)| format!("{method} on {problem} (seed {seed})"))
        .collect();
    if diverged.is_empty() {
        return String::new();
    }
    let advice = "Lower the learning rates, or clip gradients harder.";
    format!("Training diverged and has no numbers: {}. {advice}", diverged.join(", "))
}

/// Does all trainings, or those that are left, and compares.
pub fn run(request: &Request, suite_name: Option<&str>, control: &Control) -> Result<Outcome> {
    let plan = Plan::resolve(request, suite_name)?;
    let about = Description {
        out: &plan.out,
        plan: plan.text(),
        written: plan.source.text(),
        inputs: plan.molecules.iter().map(|molecule| molecule.settings.config.clone()).collect(),
        seed: plan.config.seed,
        device: "cpu",
        system: plan.sentence(),
    };
    let Some(mut parts) = Parts::begin(request, &about, control)? else {
        return parts::outcome(&plan.out, "already_finished");
    };
    let mut all = Vec::new();
    for (problem, method, seed) in plan.trainings() {
        let name = format!("{}.{}.{seed}", problem.name, method.name);
        let run = parts.path().to_path_buf();
        let directory = parts.part(&name, |directory, control| {
            let trained = train(&plan.config, problem, method, seed, directory, &run, control)?;
            write_json(&directory.join(RESULT), &trained)
        })?;
        all.push(read_json::<Trained>(&directory.join(RESULT))?);
    }
    let mut learned = Vec::new();
    for (molecule, method, seed) in plan.runs() {
        let name = format!("{}.{}.{seed}", molecule.settings.name, method.name);
        let directory = parts.part(&name, |directory, control| {
            let directory = directory.join(RUN);
            match molecule.run(method, plan.config.seed + seed - 1, &directory, &request.command, control) {
                // What a method does to a molecule; the others go on.
                Err(Error::Diverged { step, .. }) => {
                    control.progress().end(&format!("diverged at step {step}"));
                    Ok(())
                }
                other => other,
            }
        })?;
        let directory = directory.join(RUN);
        learned.push(Learned::read(molecule, method, seed, &directory)?);
    }
    let diverged = divergence(&all, &learned);
    let table = table::Table::new(&plan, &all);
    let molecule_table = molecule_table::MoleculeTable::new(&plan, &learned);
    parts.part("report", |directory, _| {
        table.write(directory)?;
        molecule_table.write(directory)?;
        few_step::write_csv(&all, directory)?;
        page::write(&diverged, &table, &molecule_table, &plan, &all, directory)
    })?;
    // Methods are compared by numbers, and these have none.
    let trustworthy = diverged.is_empty();
    let sentences = [diverged, table.verdict(), molecule_table.verdict()];
    let mut summary = table.summary();
    summary.extend(molecule_table.summary());
    parts.finish(&summary, sentences.join(" ").trim(), trustworthy)?;
    parts::outcome(&plan.out, "finished")
}

/// The file of each training.
const RESULT: &str = "assessment.json";
/// The run directory in the part of a molecule.
const RUN: &str = "run";

fn train(
    config: &BenchmarkConfig,
    problem: &Problem,
    method: &Method,
    seed: u64,
    directory: &Path,
    run: &Path,
    control: &Control,
) -> Result<Trained> {
    // All methods see the same data, weights and noise; seeds differ in all of them.
    let streams = Streams::new(config.seed).derive(seed);
    let (x, modes) = problem.sample_with_modes(config.n_training, &streams.derive(1));
    let frames: Vec<f32> = x.iter().map(|x| *x as f32).collect();
    let scores = problem.scores(&frames)?;
    let architecture = Architecture::of_vectors(problem.dimension(), config.noise);
    let first = End { frames: &frames, scores: &scores, states: &modes };
    let data = TrainingData { first, ..TrainingData::of_frames(architecture.space, &frames) };
    let settings = method.train(problem.dimension());
    let mut network = config.network.clone();
    if settings.needs_states() {
        // States are the modes.
        network.insert("states".into(), (problem.modes.len() as i64).into());
    }
    let network = NETWORKS.build("network", network, &())?;
    let model = EnergyModel::initial(&*network, architecture, 1.0, &data, &streams)?;
    let trainer = Trainer::new(model, &settings, data, streams)?;
    let part = format!("{}, {}, seed {seed}", problem.name, method.label);
    let training =
        Training { settings: &settings, held_out: None, streams, directory, run, control, part: &part };
    let found = |assessment| Trained {
        problem: problem.name.clone(),
        method: method.name.clone(),
        seed,
        training_seconds: seconds_trained(directory),
        assessment,
    };
    let model = match training.run(trainer) {
        Ok(model) => model,
        // What a method does to a problem; the others go on.
        Err(Error::Diverged { step, .. }) => {
            control.progress().end(&format!("diverged at step {step}"));
            return Ok(found(None));
        }
        Err(error) => return Err(error),
    };
    let mut progress = fractions(control, run, &part);
    let learns = settings.learns();
    let mut assessment = assess(problem, &model, learns, &config.assess, &streams.derive(2), &mut progress)?;
    if assessment.is_diverged(config.assess.n_samples) {
        control.progress().end("diverged, though its loss stayed finite");
        return Ok(found(None));
    }
    if let Some(few_step) = &method.few_step {
        let own = streams.derive(3);
        let n = few_step::POINTS_PER_SAMPLE * config.assess.n_samples;
        assessment.few_step = few_step::compare(problem, model, &frames, few_step, n, &own, &mut progress)?;
    }
    let of_samples = assessment.sample_weight_error;
    control.progress().end(&match learns {
        Learns::Generator => format!("weights off by {of_samples:.3} (samples); no energy"),
        _ => format!(
            "weights off by {:.3} (energy), {of_samples:.3} (samples), variance {:.3}",
            assessment.weight_error, assessment.joint_variance
        ),
    });
    Ok(found(Some(assessment)))
}
