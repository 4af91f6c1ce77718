//! What people see while a bench runs: a line on standard error when that is a terminal, and
//! nothing when it is not.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the line moves by itself.
const TICK: Duration = Duration::from_millis(200);
const STYLE: &str = "{spinner} {prefix} {wide_bar} {pos}/{len} {msg}";

/// The line. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// The line of this process. Whether there is a terminal is looked at here.
    pub(crate) fn start() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(STYLE);
        bar.set_style(style.unwrap_or_else(|_invalid| ProgressStyle::default_bar()));
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    /// A line that nobody sees.
    #[cfg(test)]
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Says something that stays above the line.
    pub(crate) fn note(&self, note: &str) {
        self.0.println(note);
    }

    /// What begins now, in so many steps.
    pub(crate) fn begin(&self, what: impl Into<String>, steps: u64) {
        // In this order no line in between says that the new part is done.
        self.0.set_position(0);
        self.0.set_length(steps);
        self.0.set_message("");
        self.0.set_prefix(what.into());
    }

    /// So many steps more are done.
    pub(crate) fn step(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// So many steps are done, and this is to be seen beside them.
    pub(crate) fn at(&self, steps: u64, note: impl Into<String>) {
        self.0.set_position(steps);
        self.0.set_message(note.into());
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
