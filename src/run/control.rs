//! How a long computation tells how far it is, and is asked to stop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Where progress is shown. The library never prints; the command line draws bars.
pub trait Progress: Sync + Send {
    /// A part of known length begins.
    fn begin(&self, part: &str, length: u64);
    /// So much of it is done; `state` is a few words, for example the loss.
    fn advance(&self, done: u64, state: &str);
    /// The part is finished, with one sentence about how it went.
    fn end(&self, sentence: &str);
    /// Something that the user should know but that stops nothing.
    fn note(&self, sentence: &str);
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _part: &str, _length: u64) {}
    fn advance(&self, _done: u64, _state: &str) {}
    fn end(&self, _sentence: &str) {}
    fn note(&self, _sentence: &str) {}
}

/// Progress and the wish to stop, as every stage receives them.
#[derive(Clone)]
pub struct Control {
    progress: Arc<dyn Progress>,
    stop: Arc<AtomicBool>,
}

impl Default for Control {
    fn default() -> Self {
        Self::new(Arc::new(Silent))
    }
}

impl Control {
    /// Reports to `progress` and does not stop until asked.
    pub fn new(progress: Arc<dyn Progress>) -> Self {
        Self { progress, stop: Arc::new(AtomicBool::new(false)) }
    }

    /// The flag that a handler of Ctrl-C raises.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Whether to stop at the next place where nothing is lost.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An error once the user wants to stop; `run` is the directory that keeps the state.
    pub fn check(&self, run: &Path) -> Result<()> {
        if self.is_stopping() { Err(Error::Interrupted { path: run.to_path_buf() }) } else { Ok(()) }
    }

    /// Where progress is shown.
    pub fn progress(&self) -> &dyn Progress {
        &*self.progress
    }
}
