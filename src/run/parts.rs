//! A run made of named parts, each done once and kept.
//!
//! Each part writes into `NAME.partial/`, which becomes `NAME/` when it is complete; a run that is resumed
//! skips what is there and does an unfinished part again, from its own checkpoints where it has any. Since
//! every part is a function of the plan and of the parts before it, the result is the same.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::run::control::Control;
use crate::run::directory::{Found, Layout, RunDirectory, read_json, write_json};
use crate::run::provenance::{Input, Provenance, cpu_seconds, peak_memory_mib, utc_now};
use crate::run::{Outcome, Request};

/// What a run directory must know about its run.
#[derive(Debug, Clone)]
pub struct Description<'a> {
    /// The run directory.
    pub out: &'a Path,
    /// The plan as TOML.
    pub plan: &'a str,
    /// The configuration as it was written.
    pub written: &'a str,
    /// Files that are read.
    pub inputs: Vec<PathBuf>,
    /// The seed of all random numbers.
    pub seed: u64,
    /// Where tensors live.
    pub device: &'a str,
    /// What it is about, in words.
    pub system: String,
}

impl Description<'_> {
    /// Opens the directory with its provenance, begun or as it was stored.
    ///
    /// A run that was begun goes on with the input files that it was begun with, and with no others.
    pub fn open(&self, request: &Request) -> Result<(RunDirectory, Provenance)> {
        let inputs = Input::of_all(&self.inputs)?;
        let (directory, _) = RunDirectory::open(self.out, self.plan, self.written)?;
        let path = directory.path().join("provenance.json");
        let mut provenance = match path.is_file() {
            true => read_json::<Provenance>(&path)?,
            false => Provenance::begin(&request.command, self.plan),
        };
        // Nothing was read so far.
        if provenance.inputs.is_empty() {
            provenance.inputs.clone_from(&inputs);
        }
        if let Some(changed) = provenance.changed_input(&inputs) {
            return Err(Error::RunDirectory {
                path: self.out.to_path_buf(),
                message: format!("was begun with other input files: `{}` changed", changed.display()),
                hint: "choose another --out, or restore the file".into(),
            });
        }
        provenance.seed = self.seed;
        provenance.device = self.device.into();
        provenance.threads = rayon::current_num_threads();
        provenance.system = self.system.clone();
        write_json(&path, &provenance)?;
        directory.log("begin", json!({ "command": request.command, "resume": request.resume }));
        Ok((directory, provenance))
    }
}

/// An opened run.
pub struct Parts<'a> {
    directory: RunDirectory,
    provenance: Provenance,
    control: &'a Control,
}

/// The file that says how a finished run went.
const VERDICT: &str = "verdict.json";

/// Opens the directory of a run with its provenance, begun or as it was stored; `None` where the run is finished.
///
/// An unfinished run must be meant to be resumed.
pub fn open(request: &Request, about: &Description) -> Result<Option<(RunDirectory, Provenance)>> {
    match RunDirectory::inspect(about.out, about.plan)? {
        Found::Finished => return Ok(None),
        Found::Unfinished if !request.resume => {
            return Err(Error::RunDirectory {
                path: about.out.to_path_buf(),
                message: "holds an unfinished run of this plan".into(),
                hint: "continue it with `--resume`".into(),
            });
        }
        Found::Unfinished | Found::Nothing => {}
    }
    about.open(request).map(Some)
}

impl<'a> Parts<'a> {
    /// Opens the directory of a run; `None` where the run is finished already.
    pub fn begin(request: &Request, about: &Description, control: &'a Control) -> Result<Option<Self>> {
        let opened = open(request, about)?;
        Ok(opened.map(|(directory, provenance)| Self { directory, provenance, control }))
    }

    /// The run directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The directory of a part that may or may not be there.
    pub fn layout(&self) -> Layout {
        self.directory.main()
    }

    /// Where progress is shown, and whether to stop.
    pub fn control(&self) -> &'a Control {
        self.control
    }

    /// Wall clock of a part in seconds, summed over resumed parts.
    pub fn seconds(&self, part: &str) -> f64 {
        self.provenance.seconds.get(part).copied().unwrap_or(0.0)
    }

    /// Does a part unless it is there, and returns its directory. `work` is given the directory to write into.
    pub fn part(&mut self, name: &str, work: impl FnOnce(&Path, &Control) -> Result<()>) -> Result<PathBuf> {
        let layout = self.directory.main();
        if layout.is_finished(name) {
            return layout.finished(name);
        }
        self.control.check(self.directory.path())?;
        let (begun, cpu) = (Instant::now(), cpu_seconds());
        self.directory.log("part_begins", json!({ "part": name }));
        let directory = layout.begin(name)?;
        let result = work(&directory, self.control);
        let seconds = begun.elapsed().as_secs_f64();
        *self.provenance.seconds.entry(name.to_string()).or_insert(0.0) += seconds;
        self.provenance.peak_memory_mib = self.provenance.peak_memory_mib.max(peak_memory_mib());
        write_json(&self.directory.path().join("provenance.json"), &self.provenance)?;
        let said = result.as_ref().map_or_else(|error| error.to_string(), |()| "done".into());
        let cpu_seconds = cpu_seconds() - cpu;
        self.directory.log(
            "part_ends",
            json!({ "part": name, "seconds": seconds, "cpu_seconds": cpu_seconds, "outcome": said }),
        );
        result.map_err(|error| self.interrupted_here(error))?;
        layout.finish(name)
    }

    /// An interruption says which directory to resume, not which file was being written.
    fn interrupted_here(&self, error: Error) -> Error {
        match error {
            Error::Interrupted { .. } => Error::Interrupted { path: self.directory.path().to_path_buf() },
            other => other,
        }
    }

    /// Stores the headline numbers and the verdict; the run is finished once its report stands.
    pub fn finish(mut self, summary: &Map<String, Value>, verdict: &str, trustworthy: bool) -> Result<()> {
        let path = self.directory.path();
        write_json(&path.join(VERDICT), &json!({ "verdict": verdict, "trustworthy": trustworthy }))?;
        write_json(&path.join("summary.json"), summary)?;
        self.provenance.finished_utc = Some(utc_now());
        write_json(&path.join("provenance.json"), &self.provenance)
    }
}

/// What a finished run says.
pub fn outcome(directory: &Path, status: &'static str) -> Result<Outcome> {
    let verdict: Value = read_json(&directory.join(VERDICT))?;
    let state = if status == "finished" { "finished" } else { "this run was already finished" };
    let report = directory.join("report").join("report.html");
    let report = if report.is_file() { format!("; report: {}", report.display()) } else { String::new() };
    let sentence = verdict["verdict"].as_str().unwrap_or_default();
    Ok(Outcome {
        directory: directory.to_path_buf(),
        status,
        sentence: format!("{state} in {}{report}. {sentence}", directory.display()),
        trustworthy: verdict["trustworthy"].as_bool().unwrap_or(true),
        summary: read_json(&directory.join("summary.json"))?,
    })
}

/// Fractions of a part as progress, and a way out when the user wants to stop.
///
/// The directory is where an interrupted run says that it can be resumed.
pub fn fractions<'a>(
    control: &'a Control,
    directory: &'a Path,
    part: &str,
) -> impl FnMut(f64) -> Result<()> + 'a {
    const STEPS: f64 = 1000.0;
    control.progress().begin(part, STEPS as u64);
    move |fraction: f64| {
        control.progress().advance((STEPS * fraction.clamp(0.0, 1.0)) as u64, "");
        control.check(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Variants;
    use std::sync::atomic::Ordering;

    fn request(resume: bool) -> Request {
        Request {
            config: PathBuf::from("x.toml"),
            out: None,
            device: None,
            seed: None,
            assignments: vec![],
            resume,
            variants: Variants::None,
            command: "kirkwood run x.toml".into(),
        }
    }

    #[test]
    fn a_run_goes_on_with_the_files_that_it_was_begun_with() {
        let home = tempfile::tempdir().unwrap();
        let (out, file) = (home.path().join("run"), home.path().join("frames.dcd"));
        let about = Description {
            out: &out,
            plan: "seed = 1\n",
            written: "",
            inputs: vec![file.clone()],
            seed: 1,
            device: "cpu",
            system: "a molecule".into(),
        };
        std::fs::write(&file, "one").unwrap();
        let control = Control::default();
        drop(Parts::begin(&request(false), &about, &control).unwrap());
        drop(Parts::begin(&request(true), &about, &control).unwrap());
        std::fs::write(&file, "two").unwrap();
        let Err(error) = Parts::begin(&request(true), &about, &control) else { panic!("must refuse") };
        let message = error.to_string();
        assert!(message.contains("frames.dcd` changed") && message.contains("restore the file"), "{message}");
    }

    #[test]
    fn a_part_is_done_once_and_an_unfinished_one_again() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("run");
        let about = Description {
            out: &out,
            plan: "seed = 1\n",
            written: "",
            inputs: vec![],
            seed: 1,
            device: "cpu",
            system: "a molecule".into(),
        };
        let control = Control::default();
        let mut parts = Parts::begin(&request(false), &about, &control).unwrap().unwrap();
        let write = |text: &'static str| {
            move |directory: &Path, _: &Control| {
                std::fs::write(directory.join("a.txt"), text).map_err(Error::io("write", directory))
            }
        };
        parts.part("first", write("one")).unwrap();
        control.stop_flag().store(true, Ordering::Relaxed);
        let error = parts.part("second", write("two")).unwrap_err();
        assert!(matches!(error, Error::Interrupted { path } if path == out));
        drop(parts);

        let Err(error) = Parts::begin(&request(false), &about, &control) else { panic!("must ask") };
        assert!(error.to_string().contains("--resume"));
        let control = Control::default();
        let mut parts = Parts::begin(&request(true), &about, &control).unwrap().unwrap();
        let first = parts.part("first", |_, _| panic!("it is there")).unwrap();
        assert_eq!(std::fs::read_to_string(first.join("a.txt")).unwrap(), "one");
        parts.part("second", write("two")).unwrap();
        parts.part("report", write("page")).unwrap();
        parts.finish(&Map::new(), "All is well.", true).unwrap();
        assert!(Parts::begin(&request(false), &about, &control).unwrap().is_none());
        assert!(outcome(&out, "finished").unwrap().sentence.contains("All is well."));
    }
}
