//! Configuration → plan → stages → run directory.
//!
//! [`run`] does the main job; [`stage`] does one stage of it; [`check`] only looks. All three begin by
//! resolving a [`plan::Plan`] and reading the data, so what is wrong is said before any long work.

pub mod alchemical;
pub mod beads;
pub mod benchmark;
pub mod catalogue;
pub mod composition;
pub mod config;
pub mod control;
pub mod directory;
pub mod energy;
pub mod ensemble;
pub mod frames;
pub mod generator;
pub mod learned_run;
pub mod parts;
pub mod plan;
pub mod pmf;
pub mod provenance;
pub mod reweight;
pub mod score;
mod series;
pub mod simulate;
pub mod solvate;
pub mod solvation;
pub mod source;
pub mod stages;
mod summary;
pub mod training;
pub mod u_kn;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use control::Control;
use directory::{Found, Layout, RunDirectory, STAGES, read_json, write_json};
use parts::Description;
use plan::Plan;
use provenance::{Provenance, peak_memory_mib, utc_now};
use source::{has_table, is_of_another_kind};
use stages::load::Data;
use stages::{Context, compare, estimate, report, sample, train};

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// A configuration file, or a run directory, which holds its own plan.
    pub config: PathBuf,
    /// Where the results go; absent: `runs/NAME`.
    pub out: Option<PathBuf>,
    /// Instead of the device of the configuration.
    pub device: Option<String>,
    /// Instead of the seed of the configuration.
    pub seed: Option<u64>,
    /// `key=value` changes of the configuration.
    pub assignments: Vec<String>,
    /// Whether an unfinished run may be continued.
    pub resume: bool,
    /// Which variants run beside the main configuration.
    pub variants: Variants,
    /// The command as it was typed, for the provenance.
    pub command: String,
}

impl Request {
    /// A configuration, or the plan of a run directory, as it is.
    pub fn of(config: &Path) -> Self {
        Self {
            config: config.to_path_buf(),
            out: None,
            device: None,
            seed: None,
            assignments: Vec::new(),
            resume: false,
            variants: Variants::None,
            command: String::new(),
        }
    }
}

/// Which variants run beside the main configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variants {
    /// All of them.
    All,
    /// The main configuration alone.
    None,
    /// The main configuration and this one.
    One(String),
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The run directory.
    pub directory: PathBuf,
    /// `finished`, `already_finished`, or `stage_finished`.
    pub status: &'static str,
    /// How it went, in a sentence.
    pub sentence: String,
    /// Whether no verdict says otherwise.
    pub trustworthy: bool,
    /// The headline numbers so far.
    pub summary: Value,
}

impl Outcome {
    /// The same as one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "run_directory": self.directory.display().to_string(),
            "status": self.status,
            "verdict": self.sentence,
            "trustworthy": self.trustworthy,
            "summary": self.summary,
        })
    }
}

/// Resolves the plan and reads the data; writes nothing.
pub fn check(request: &Request) -> Result<Plan> {
    let plan = Plan::resolve(request)?;
    chosen_variants(request, &plan)?;
    examine(&plan)?;
    Ok(plan)
}

/// The main job: every stage of the main configuration and its variants, then the report.
pub fn run(request: &Request, control: &Control) -> Result<Outcome> {
    if benchmark::is_benchmark(&request.config) {
        return benchmark::run(request, None, control);
    }
    if solvation::is_solvation(&request.config) {
        return solvation::run(request, control);
    }
    if generator::is_generator(&request.config) {
        return generator::run(request, control);
    }
    if composition::is_composition(&request.config) {
        return composition::run(request, control);
    }
    let plan = Plan::resolve(request)?;
    let variants = chosen_variants(request, &plan)?;
    let of_variant = |name: &str| Layout::at(plan.out.join("variants").join(name));
    let complete = variants.iter().all(|(name, _)| of_variant(name).is_finished("compare"));
    match RunDirectory::inspect(&plan.out, plan.text())? {
        Found::Finished if complete => return outcome(&plan.out, "already_finished"),
        Found::Unfinished | Found::Finished if !request.resume => return Err(unfinished(&plan)),
        Found::Unfinished | Found::Finished | Found::Nothing => {}
    }
    let mut job = Job::begin(request, &plan, control)?;
    for stage in STAGES {
        job.perform(stage)?;
    }
    job.provenance.finished_utc = Some(utc_now());
    job.store_provenance()?;
    outcome(&plan.out, "finished")
}

/// Draws the report of a run directory again, from its files alone: it may be one of an earlier version.
///
/// What is no run of one trajectory draws its report as its last part, from the parts before it.
pub fn redraw(directory: &Path, control: &Control) -> Result<Outcome> {
    if is_of_another_kind(directory) {
        return redo_report(directory, control);
    }
    if !has_table(directory, "data") {
        let expected = "a run directory of `kirkwood run` or `kirkwood benchmark`";
        return Err(Error::file(directory, "", expected, "another, whose report cannot be drawn again"));
    }
    report::run(&Layout::at(directory), control)?;
    outcome(directory, "finished")
}

/// Does the last part of a finished run again; the report that it had stays until the new one stands.
fn redo_report(directory: &Path, control: &Control) -> Result<Outcome> {
    let report = directory.join("report");
    if !(report.is_dir() && directory.join("summary.json").is_file()) {
        return Err(Error::RunDirectory {
            path: directory.to_path_buf(),
            message: "holds an unfinished run, which has nothing to report yet".into(),
            hint: "continue it with `kirkwood run DIR --resume`".into(),
        });
    }
    let before = directory.join("report.before");
    std::fs::rename(&report, &before).map_err(Error::io("rename", &report))?;
    let request = Request { resume: true, command: "kirkwood report".into(), ..Request::of(directory) };
    let outcome = run(&request, control);
    if outcome.is_ok() {
        std::fs::remove_dir_all(&before).map_err(Error::io("remove", &before))?;
    } else {
        std::fs::rename(&before, &report).map_err(Error::io("rename", &before))?;
    }
    outcome
}

/// One stage of the main configuration and its variants; those before it must be finished.
pub fn stage(name: &str, request: &Request, control: &Control) -> Result<Outcome> {
    let plan = Plan::resolve(request)?;
    let main = Layout::at(&plan.out);
    RunDirectory::inspect(&plan.out, plan.text())?;
    if main.is_begun(name) && !request.resume {
        return Err(unfinished(&plan));
    }
    let before = STAGES.iter().take_while(|stage| **stage != name);
    for stage in before {
        main.finished(stage)?;
    }
    let mut job = Job::begin(request, &plan, control)?;
    // A variant that was left out of an earlier stage is left out of this one.
    let previous = STAGES.iter().take_while(|stage| **stage != name).last();
    job.variants.retain(|(variant, _)| {
        let layout = Layout::at(plan.out.join("variants").join(variant));
        previous.is_none_or(|stage| layout.is_finished(stage))
    });
    job.perform(name)?;
    outcome(&plan.out, if name == "report" { "finished" } else { "stage_finished" })
}

/// The variants that a request names.
fn chosen_variants<'a>(request: &Request, plan: &'a Plan) -> Result<Vec<(&'a str, &'a Plan)>> {
    let all = plan.variants.iter().map(|(name, plan)| (name.as_str(), plan));
    match &request.variants {
        Variants::None => Ok(Vec::new()),
        Variants::All => Ok(all.collect()),
        Variants::One(wanted) => {
            let found: Vec<(&str, &Plan)> = all.clone().filter(|(name, _)| name == wanted).collect();
            if found.is_empty() {
                let hint = crate::error::did_you_mean(wanted, all.map(|(name, _)| name));
                return Err(Error::config(format!("--variant {wanted}"), "there is no such variant", hint));
            }
            Ok(found)
        }
    }
}

/// Everything that can be wrong before any long work: the data and the device.
fn examine(plan: &Plan) -> Result<Data> {
    let data = Data::load(plan)?;
    train::check(plan)?;
    for (_, variant) in &plan.variants {
        train::check(variant)?;
    }
    Ok(data)
}

fn unfinished(plan: &Plan) -> Error {
    let layout = Layout::at(&plan.out);
    let done: Vec<&str> = STAGES.into_iter().filter(|stage| layout.is_finished(stage)).collect();
    let done = if done.is_empty() {
        "no stage is finished".into()
    } else {
        format!("finished: {}", done.join(", "))
    };
    Error::RunDirectory {
        path: plan.out.clone(),
        message: format!("holds an unfinished run of this plan ({done})"),
        hint: "continue it with `--resume`".into(),
    }
}

/// A run in progress.
struct Job<'a> {
    plan: &'a Plan,
    control: &'a Control,
    data: Data,
    directory: RunDirectory,
    provenance: Provenance,
    variants: Vec<(&'a str, &'a Plan)>,
}

impl<'a> Job<'a> {
    fn begin(request: &Request, plan: &'a Plan, control: &'a Control) -> Result<Self> {
        let variants = chosen_variants(request, plan)?;
        let data = examine(plan)?;
        let about = Description {
            out: &plan.out,
            plan: plan.text(),
            written: plan.written(),
            inputs: plan.config.data.files().cloned().collect(),
            seed: plan.config.seed,
            device: &plan.config.device,
            system: format!(
                "{} atoms as {} beads, {} frames at {}{}",
                plan.atoms.n_atoms(),
                plan.beads.n_beads(),
                data.frames.n_frames(),
                plan.config.data.temperature,
                data.n_effective.map_or_else(String::new, |n| format!(
                    ", drawn by weights from as many that are worth {n:.0}"
                ))
            ),
        };
        let (directory, provenance) = about.open(request)?;
        let job = Self { plan, control, data, directory, provenance, variants };
        for warning in &job.data.warnings {
            job.directory.log("warning", json!(warning));
            control.progress().note(warning);
        }
        Ok(job)
    }

    /// Does one stage for the main configuration and every variant, unless it is there already.
    fn perform(&mut self, stage: &str) -> Result<()> {
        if stage == "report" {
            summary::write(self.plan, &self.directory.main(), &self.provenance)?;
            return self.timed("report", |job| report::run(&job.directory.main(), job.control));
        }
        self.perform_one(stage, "", self.plan, self.directory.main())?;
        for (name, plan) in self.variants.clone() {
            let layout = self.directory.variant(name, plan.text())?;
            self.perform_one(stage, &format!("variants/{name}/"), plan, layout.clone())?;
            if stage == "compare" {
                summary::write_variant(plan, &layout, &self.provenance, name)?;
            }
        }
        Ok(())
    }

    fn perform_one(&mut self, stage: &str, prefix: &str, plan: &Plan, layout: Layout) -> Result<()> {
        if layout.is_finished(stage) {
            return Ok(());
        }
        self.timed(&format!("{prefix}{stage}"), |job| {
            let label = prefix.trim_start_matches("variants/").trim_end_matches('/');
            let context = Context {
                plan,
                data: &job.data,
                layout: &layout,
                control: job.control,
                run: &job.directory,
                label,
            };
            match stage {
                "train" => train::run(&context),
                "sample" => sample::run(&context),
                "estimate" => estimate::run(&context),
                _ => compare::run(&context),
            }
        })
    }

    /// Runs a part and adds its seconds to the provenance, also when it was interrupted.
    fn timed(&mut self, name: &str, part: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.control.check(self.directory.path())?;
        let begin = Instant::now();
        self.directory.log("stage_begins", json!({ "stage": name }));
        let result = part(self);
        let seconds = begin.elapsed().as_secs_f64();
        *self.provenance.seconds.entry(name.to_string()).or_insert(0.0) += seconds;
        self.provenance.peak_memory_mib = self.provenance.peak_memory_mib.max(peak_memory_mib());
        self.store_provenance()?;
        let outcome = result.as_ref().map_or_else(|error| error.to_string(), |()| "done".into());
        self.directory.log("stage_ends", json!({ "stage": name, "seconds": seconds, "outcome": outcome }));
        result
    }

    fn store_provenance(&self) -> Result<()> {
        write_json(&self.directory.path().join("provenance.json"), &self.provenance)
    }
}

/// What a run directory says so far.
fn outcome(directory: &Path, status: &'static str) -> Result<Outcome> {
    let read = |path: &str| -> Result<Value> {
        let path = directory.join(path);
        if path.is_file() { read_json(&path) } else { Ok(Value::Null) }
    };
    let free_energy = read("estimate/free_energy.json")?;
    let verdict = free_energy["verdict"].as_str().unwrap_or_default();
    let state = match status {
        "already_finished" => "this run was already finished",
        "finished" => "finished",
        _ => "stage finished",
    };
    let report = directory.join("report").join("report.html");
    let report = if report.is_file() { format!("; report: {}", report.display()) } else { String::new() };
    // Doubts about an ensemble are not about the free energy, which alone is judged.
    let doubts: Vec<String> = serde_json::from_value(read("sample/doubts.json")?).unwrap_or_default();
    let sentences = std::iter::once(verdict).chain(doubts.iter().map(String::as_str));
    let said: String = sentences.filter(|text| !text.is_empty()).map(|text| format!(" {text}")).collect();
    Ok(Outcome {
        directory: directory.to_path_buf(),
        status,
        sentence: format!("{state} in {}{report}.{said}", directory.display()),
        trustworthy: free_energy["trustworthy"].as_bool().unwrap_or(true),
        summary: read("summary.json")?,
    })
}
