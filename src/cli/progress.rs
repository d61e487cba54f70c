//! Progress bars with time left, on standard error; plain lines where it is not a terminal.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use kirkwood::run::control::Progress;

use super::output;

/// One bar at a time; a finished part leaves one line.
pub struct Bars {
    current: Mutex<Option<(ProgressBar, String, Instant)>>,
}

impl Bars {
    /// No bar yet.
    pub fn new() -> Self {
        Self { current: Mutex::new(None) }
    }
}

impl Progress for Bars {
    fn begin(&self, part: &str, length: u64) {
        let bar = ProgressBar::new(length.max(1));
        let template = "{prefix:<24} {bar:28} {percent:>3} %  {elapsed} gone, {eta} left  {msg}";
        // The template is a constant; a bar without it would still be a bar.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(part.to_string());
        bar.enable_steady_tick(Duration::from_millis(500));
        if let Ok(mut current) = self.current.lock() {
            *current = Some((bar, part.to_string(), Instant::now()));
        }
    }

    fn advance(&self, done: u64, state: &str) {
        if let Ok(current) = self.current.lock()
            && let Some((bar, ..)) = &*current
        {
            bar.set_position(done);
            bar.set_message(state.to_string());
        }
    }

    fn note(&self, sentence: &str) {
        output::remark(format_args!("note: {sentence}"));
    }

    fn end(&self, sentence: &str) {
        if let Ok(mut current) = self.current.lock()
            && let Some((bar, part, began)) = current.take()
        {
            bar.finish_and_clear();
            let seconds = began.elapsed().as_secs_f64();
            output::remark(format_args!("{part:<24} {seconds:>7.1} s  {sentence}"));
        }
    }
}
