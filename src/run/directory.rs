//! A run directory: what is there is complete, and an interrupted run resumes where it stopped.
//!
//! ```text
//! runs/NAME/
//!   config.toml  plan.toml  provenance.json  log.jsonl
//!   train/  sample/  estimate/  compare/  report/  summary.json
//!   variants/VARIANT/   plan.toml and the same stages for a second configuration
//! ```
//!
//! A stage writes into `NAME.partial/` and renames it when it is done. Single files are written
//! beside their name and renamed, so a reader (or a `kill -9`) never meets half a file. A lock keeps
//! a second process out; the operating system drops it when the process ends, however it ends.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::{Error, Result};

/// The stages of a run, in order.
pub const STAGES: [&str; 5] = ["train", "sample", "estimate", "compare", "report"];

/// The only stage of `kirkwood simulate`.
pub const SIMULATION: &str = "simulation";

/// What a run directory held when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing: the directory is new.
    Nothing,
    /// The same plan, not finished.
    Unfinished,
    /// The same plan, finished.
    Finished,
}

/// An opened and locked run directory.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    log: Mutex<File>,
    _lock: File,
}

/// Where the stages of one configuration stand: the run directory itself, or one of its variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl RunDirectory {
    /// What `path` holds, without touching it; errors when it is something else than a run of `plan`.
    pub fn inspect(path: &Path, plan: &str) -> Result<Found> {
        let trouble = |message: String, hint: &str| Error::RunDirectory {
            path: path.to_path_buf(),
            message,
            hint: hint.to_string(),
        };
        if path.is_file() {
            return Err(trouble("is a file".into(), "choose another --out"));
        }
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(Error::io("list", path)(error)),
            // A lock or a half-written file alone means that a first start was cut off.
            Ok(entries) => entries
                .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
                .filter(|name| name != LOCK && !name.ends_with(TEMPORARY) && name != "config.toml")
                .collect::<Vec<_>>(),
        };
        if entries.is_empty() {
            return Ok(Found::Nothing);
        }
        let stored = match fs::read_to_string(path.join("plan.toml")) {
            Ok(stored) => stored,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let message =
                    format!("is not a run directory: it has no plan.toml, but holds `{}`", entries[0]);
                return Err(trouble(message, "choose another --out"));
            }
            Err(error) => return Err(Error::io("read", path.join("plan.toml"))(error)),
        };
        let differing = difference(&stored, plan);
        if !differing.is_empty() {
            let message = format!("holds a run of another plan: {differing}");
            return Err(trouble(message, "choose another --out, or remove the directory"));
        }
        let last_stage = ["report", SIMULATION].iter().any(|stage| path.join(stage).is_dir());
        let finished = path.join("summary.json").is_file() && last_stage;
        Ok(if finished { Found::Finished } else { Found::Unfinished })
    }

    /// Locks the directory for this process and makes it if needed; `plan` must be what it holds.
    pub fn open(path: &Path, plan: &str, config: &str) -> Result<(Self, Found)> {
        Self::inspect(path, plan)?;
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let lock_path = path.join(LOCK);
        let lock = File::create(&lock_path).map_err(Error::io("write", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::RunDirectory {
                    path: path.to_path_buf(),
                    message: "another process is writing this run".into(),
                    hint: "wait for it, or choose another --out".into(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &lock_path)(error)),
        }
        // What another process did between the look and the lock counts.
        let found = Self::inspect(path, plan)?;
        if found == Found::Nothing {
            write_atomic(&path.join("config.toml"), config.as_bytes())?;
            write_atomic(&path.join("plan.toml"), plan.as_bytes())?;
        }
        let log_path = path.join("log.jsonl");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(Error::io("write", &log_path))?;
        Ok((Self { path: path.to_path_buf(), log: Mutex::new(log), _lock: lock }, found))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the stages of the main configuration stand.
    pub fn main(&self) -> Layout {
        Layout { root: self.path.clone() }
    }

    /// Where the stages of a variant stand; its resolved plan is written there.
    pub fn variant(&self, name: &str, plan: &str) -> Result<Layout> {
        let root = self.path.join("variants").join(name);
        fs::create_dir_all(&root).map_err(Error::io("create", &root))?;
        write_atomic(&root.join("plan.toml"), plan.as_bytes())?;
        Ok(Layout { root })
    }

    /// Appends one event to `log.jsonl`. A full disk must not stop a run for the sake of its log.
    pub fn log(&self, event: &str, details: serde_json::Value) {
        let line =
            serde_json::json!({ "utc": super::provenance::utc_now(), "event": event, "details": details });
        if let Ok(mut log) = self.log.lock() {
            let _ = writeln!(log, "{line}");
        }
    }
}

impl Layout {
    /// Stages under any directory, for readers of a run that someone else made.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory that holds the stages.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of a finished stage, or an error that names the command which makes it.
    pub fn finished(&self, stage: &str) -> Result<PathBuf> {
        let path = self.root.join(stage);
        if path.is_dir() {
            return Ok(path);
        }
        Err(Error::RunDirectory {
            path: self.root.clone(),
            message: format!("the stage `{stage}` is not finished"),
            hint: format!("`kirkwood {stage} CONFIG` or `kirkwood run CONFIG --resume` does it"),
        })
    }

    /// Whether a stage is finished.
    pub fn is_finished(&self, stage: &str) -> bool {
        self.root.join(stage).is_dir()
    }

    /// Whether a stage was begun and not finished.
    pub fn is_begun(&self, stage: &str) -> bool {
        self.partial(stage).is_dir()
    }

    /// Where a stage writes until it is finished; made if needed, kept if it is there.
    pub fn begin(&self, stage: &str) -> Result<PathBuf> {
        let path = self.partial(stage);
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        Ok(path)
    }

    /// Declares a stage finished, in place of what stood there before.
    pub fn finish(&self, stage: &str) -> Result<PathBuf> {
        let (partial, path) = (self.partial(stage), self.root.join(stage));
        sync_tree(&partial)?;
        if path.is_dir() {
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
        fs::rename(&partial, &path).map_err(Error::io("rename", &partial))?;
        sync_directory(&self.root)?;
        Ok(path)
    }

    fn partial(&self, stage: &str) -> PathBuf {
        self.root.join(format!("{stage}.partial"))
    }
}

const LOCK: &str = ".lock";
const TEMPORARY: &str = ".tmp";

/// Writes a file so that it is either the old one or the new one, whatever happens meanwhile.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(TEMPORARY);
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(Error::io("write", path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// The same for a value as indented JSON.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::io("write", path)(std::io::Error::other(error)))?;
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

/// Reads a file of [`write_json`].
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|error| {
        Error::file(path, format!("line {}", error.line()), "what kirkwood writes", error.to_string())
    })
}

fn sync_tree(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let path = entry.map_err(Error::io("list", directory))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io("write", &path))?;
        }
    }
    sync_directory(directory)
}

fn sync_directory(directory: &Path) -> Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory).and_then(|file| file.sync_all()).map_err(Error::io("write", directory))
}

/// The first keys in which two plans differ, in words.
fn difference(stored: &str, wanted: &str) -> String {
    if stored == wanted {
        return String::new();
    }
    let parse = |text: &str| text.parse::<toml::Table>().map(toml::Value::Table);
    let (Ok(stored), Ok(wanted)) = (parse(stored), parse(wanted)) else {
        return "its plan.toml cannot be read".into();
    };
    let mut found = Vec::new();
    compare("", Some(&stored), Some(&wanted), &mut found);
    let more = found.len().saturating_sub(3);
    found.truncate(3);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", found.join(", "))
}

fn compare(path: &str, stored: Option<&toml::Value>, wanted: Option<&toml::Value>, found: &mut Vec<String>) {
    use toml::Value::{Array, Table};
    let dot = if path.is_empty() { "" } else { "." };
    match (stored, wanted) {
        (stored, wanted) if stored == wanted => {}
        (Some(Table(stored)), Some(Table(wanted))) => {
            let keys: std::collections::BTreeSet<_> = stored.keys().chain(wanted.keys()).collect();
            for key in keys {
                compare(&format!("{path}{dot}{key}"), stored.get(key), wanted.get(key), found);
            }
        }
        (Some(Array(stored)), Some(Array(wanted))) => {
            for idx in 0..stored.len().max(wanted.len()) {
                compare(&format!("{path}[{idx}]"), stored.get(idx), wanted.get(idx), found);
            }
        }
        (stored, wanted) => {
            let show = |value: Option<&toml::Value>| match value {
                None => "absent".to_string(),
                Some(Table(_)) => "a table".to_string(),
                Some(value) => value.to_string(),
            };
            found.push(format!("`{path}` is {} there and {} here", show(stored), show(wanted)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_new_then_unfinished_then_finished() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("runs/a");
        let (run, found) = RunDirectory::open(&path, "seed = 1\n", "# mine\n").unwrap();
        assert_eq!(found, Found::Nothing);
        assert_eq!(RunDirectory::inspect(&path, "seed = 1\n").unwrap(), Found::Unfinished);
        let layout = run.main();
        let partial = layout.begin("report").unwrap();
        write_atomic(&partial.join("report.html"), b"x").unwrap();
        assert!(layout.is_begun("report") && !layout.is_finished("report"));
        assert!(layout.finished("report").unwrap_err().to_string().contains("kirkwood report CONFIG"));
        layout.finish("report").unwrap();
        assert!(
            !layout.is_begun("report") && layout.finished("report").unwrap().join("report.html").is_file()
        );
        write_json(&path.join("summary.json"), &serde_json::json!({})).unwrap();
        drop(run);
        assert_eq!(RunDirectory::open(&path, "seed = 1\n", "").unwrap().1, Found::Finished);
    }

    #[test]
    fn another_plan_is_an_error_that_says_what_differs() {
        let home = tempfile::tempdir().unwrap();
        let first = "seed = 1\n[train]\nstages = [{ n = 3 }]\n";
        drop(RunDirectory::open(home.path(), first, "").unwrap());
        let second = "[train]\nstages = [{ n = 4 }]\n";
        let message = RunDirectory::open(home.path(), second, "").unwrap_err().to_string();
        assert!(message.contains("`seed` is 1 there and absent here"), "{message}");
        assert!(message.contains("`train.stages[0].n` is 3 there and 4 here"), "{message}");
    }

    #[test]
    fn a_strange_directory_and_a_second_process_are_kept_out() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("thesis.tex"), "").unwrap();
        let message = RunDirectory::open(home.path(), "", "").unwrap_err().to_string();
        assert!(message.contains("holds `thesis.tex`"), "{message}");
        let path = home.path().join("run");
        let _first = RunDirectory::open(&path, "", "").unwrap();
        let message = RunDirectory::open(&path, "", "").unwrap_err().to_string();
        assert!(message.contains("another process"), "{message}");
    }
}
