//! What is going on, on stderr, where a person is watching.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A line that says what is being done now. On anything but a terminal it is
/// silent.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn start(stage: &'static str) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        bar.set_message(stage);
        Self(bar)
    }

    pub(crate) fn stage(&self, stage: &'static str) {
        self.0.set_message(stage);
    }

    /// Makes room for what is printed now.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }

    pub(crate) fn say(&self, message: String) {
        self.0.set_message(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
