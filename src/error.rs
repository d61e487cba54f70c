//! What can go wrong for the reader of a message, and how it is told.
//!
//! An error names the place, what was expected and what was found, and where possible what to do.
//! Outcomes of physics (a rejected move, low overlap, a small effective sample size) are values of
//! the modules that compute them, never errors.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// The result of anything that a user's input or machine can make fail.
pub type Result<T> = std::result::Result<T, Error>;

/// A count in a configuration that must not be below `least`; `place` is its key path.
pub fn at_least<T: PartialOrd + Display>(place: impl Display, value: T, least: T) -> Result<()> {
    if value >= least {
        return Ok(());
    }
    Err(Error::config(format!("{place} = {value}"), format!("must be at least {least}"), ""))
}

/// A number in a configuration that must be positive, and finite; `place` is its key path.
pub fn positive(place: impl Display, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::config(format!("{place} = {value}"), "must be positive", ""))
}

/// A number in a configuration that may be 0, but neither negative nor infinite; `place` is its key path.
pub fn not_negative(place: impl Display, value: f64) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::config(format!("{place} = {value}"), "must not be negative", ""))
}

/// One variant per thing that a reader can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: the file is missing, unreadable, or the disk is full.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, for example `read`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason of the operating system.
        source: std::io::Error,
    },

    /// A file was read, and what stands in it cannot be used.
    #[error("`{}`{}: expected {expected}, found {found}{}", path.display(), at(place), hinted(hint))]
    File {
        /// The file.
        path: PathBuf,
        /// Where in it: `line 12`, `frame 40`; empty for the file as a whole.
        place: String,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
        /// What to do about it; may be empty.
        hint: String,
    },

    /// A setting of a configuration or command line has no meaning.
    #[error("{}`{place}`: {message}{}", in_file(path, line), hinted(hint))]
    Config {
        /// The configuration file, when there is one.
        path: Option<PathBuf>,
        /// The line of the file, counted from 1, when it is known.
        line: Option<usize>,
        /// Key path, for example `train.n_steps`.
        place: String,
        /// What is wrong with its value.
        message: String,
        /// The nearest valid name, or what to do; may be empty.
        hint: String,
    },

    /// Arguments of a call do not fit together.
    #[error("{what}: expected {expected}, found {found}")]
    Invalid {
        /// The argument.
        what: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },

    /// A run directory is in a state that the request does not fit.
    #[error("run directory `{}`: {message}{}", path.display(), hinted(hint))]
    RunDirectory {
        /// The directory.
        path: PathBuf,
        /// What is the matter.
        message: String,
        /// What to do.
        hint: String,
    },

    /// A device was asked for that this machine or this build does not have.
    #[error("device `{requested}` is not available ({reason}); present: {present}")]
    Device {
        /// What was asked for.
        requested: String,
        /// Why it cannot be had.
        reason: String,
        /// The devices that can be used.
        present: String,
    },

    /// An iteration ended without reaching its tolerance.
    #[error(
        "{method} stopped at residual {residual:.1e} after {iterations} iterations (tolerance {tolerance:.1e}): {hint}"
    )]
    NotConverged {
        /// The method.
        method: &'static str,
        /// Iterations done.
        iterations: usize,
        /// Residual reached.
        residual: f64,
        /// Residual wanted.
        tolerance: f64,
        /// What it probably means, and what to do about it.
        hint: String,
    },

    /// Training met a loss that is not a number.
    #[error("training diverged at step {step}: the loss is {loss}; the last good checkpoint is `{}`. Lower `train` learning rates or clip gradients harder", checkpoint.display())]
    Diverged {
        /// The step.
        step: usize,
        /// The loss.
        loss: f64,
        /// Where the last good state was kept.
        checkpoint: PathBuf,
    },

    /// A step of dynamics left what the energy and the time step can describe.
    #[error(
        "dynamics blew up at step {step} of walker {walker}: {reason}; worst atoms: {atoms}. The last good structure is `{structure}`. Try a shorter time step, or minimise first"
    )]
    BlownUp {
        /// The step.
        step: u64,
        /// The walker.
        walker: usize,
        /// What was noticed.
        reason: String,
        /// The atoms with the largest forces, worst first.
        atoms: String,
        /// The file of the last good structure.
        structure: String,
    },

    /// The user asked to stop; everything up to here is kept.
    #[error("interrupted; continue with `--resume` (state kept in `{}`)", path.display())]
    Interrupted {
        /// The run directory.
        path: PathBuf,
    },

    /// The tensor library failed.
    #[error("tensor computation failed: {0}")]
    Tensor(String),
}

impl Error {
    /// For `map_err` on operations of the file system.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// Equations of MBAR that were not solved.
    pub fn mbar_not_converged(iterations: usize, residual: f64, tolerance: f64) -> Self {
        let hint =
            "samples of the states hardly overlap; use states that are closer to each other, or more samples";
        Self::NotConverged { method: "MBAR", iterations, residual, tolerance, hint: hint.into() }
    }

    /// An unusable file content without a hint.
    pub fn file(
        path: impl AsRef<Path>,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::File {
            path: path.as_ref().to_path_buf(),
            place: place.into(),
            expected: expected.into(),
            found: found.into(),
            hint: String::new(),
        }
    }

    /// A bad setting without a file; the reader of the configuration adds it with [`Error::in_config`].
    pub fn config(place: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Config {
            path: None,
            line: None,
            place: place.into(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// Arguments that do not fit together.
    pub fn invalid(what: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Invalid { what, expected: expected.into(), found: found.into() }
    }

    /// The same error with a hint on what to do, where the variant carries one.
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::File { hint, .. }
        | Self::Config { hint, .. }
        | Self::RunDirectory { hint, .. }
        | Self::NotConverged { hint, .. } = &mut self
        {
            *hint = text.into();
        }
        self
    }

    /// The same error with one more thing in its hint.
    pub fn with_hint_appended(self, text: &str) -> Self {
        let hint = match &self {
            Self::File { hint, .. } | Self::Config { hint, .. } | Self::RunDirectory { hint, .. }
                if !hint.is_empty() =>
            {
                format!("{hint}; {text}")
            }
            _ => text.to_string(),
        };
        self.with_hint(hint)
    }

    /// The same error with the configuration file named, and the line where it is known.
    pub fn in_config(mut self, file: &Path, at_line: Option<usize>) -> Self {
        if let Self::Config { path, line, .. } = &mut self {
            *path = Some(file.to_path_buf());
            *line = at_line;
        }
        self
    }

    /// A stable word for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::File { .. } => "file",
            Self::Config { .. } => "config",
            Self::Invalid { .. } => "invalid",
            Self::RunDirectory { .. } => "run_directory",
            Self::Device { .. } => "device",
            Self::NotConverged { .. } => "not_converged",
            Self::Diverged { .. } => "diverged",
            Self::BlownUp { .. } => "blown_up",
            Self::Interrupted { .. } => "interrupted",
            Self::Tensor(_) => "tensor",
        }
    }

    /// The file that the error is about, if any.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. } | Self::File { path, .. } | Self::RunDirectory { path, .. } => Some(path),
            Self::Interrupted { path } | Self::Diverged { checkpoint: path, .. } => Some(path),
            Self::Config { path, .. } => path.as_deref(),
            _ => None,
        }
    }

    /// The place within the file or configuration; empty when there is none.
    pub fn place(&self) -> &str {
        match self {
            Self::File { place, .. } | Self::Config { place, .. } => place,
            Self::Invalid { what, .. } => what,
            _ => "",
        }
    }

    /// 2 when the request was wrong, 1 when it could not be done.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Config { .. } | Self::File { .. } | Self::Invalid { .. } | Self::RunDirectory { .. } => 2,
            Self::Device { .. } => 2,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 2,
            _ => 1,
        }
    }
}

fn at(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(", {place}") }
}

fn hinted(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(" ({hint})") }
}

fn in_file(path: &Option<PathBuf>, line: &Option<usize>) -> String {
    let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
    path.as_ref().map(|path| format!("`{}`{line}: ", path.display())).unwrap_or_default()
}

/// A hint naming the valid name nearest to `found`, or all of them when none is near.
pub fn did_you_mean<'a>(found: &str, valid: impl IntoIterator<Item = &'a str>) -> String {
    let valid: Vec<&str> = valid.into_iter().collect();
    let nearest = valid
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&found.to_lowercase(), &name.to_lowercase()), name))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, name)) if distance <= 1 + found.chars().count() / 3 => {
            format!("did you mean `{name}`?")
        }
        _ => format!("known: {}", valid.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_strangers_get_the_list() {
        assert_eq!(did_you_mean("n_step", ["n_steps", "seed"]), "did you mean `n_steps`?");
        assert_eq!(did_you_mean("zzzzzz", ["n_steps", "seed"]), "known: n_steps, seed");
    }

    #[test]
    fn mbar_that_fails_says_why() {
        let error = Error::mbar_not_converged(500, 6.3, 1e-10);
        let (numbers, meaning) = ("MBAR stopped at residual 6.3e0 after 500 iterations", "hardly overlap");
        assert!(error.to_string().starts_with(numbers) && error.to_string().contains(meaning), "{error}");
        assert!(error.with_hint("train again").to_string().ends_with("(tolerance 1.0e-10): train again"));
    }

    #[test]
    fn a_file_error_reads_as_a_sentence() {
        let error = Error::file("a.dcd", "frame 3", "22 atoms", "21").with_hint("wrong topology?");
        assert_eq!(error.to_string(), "`a.dcd`, frame 3: expected 22 atoms, found 21 (wrong topology?)");
    }
}
