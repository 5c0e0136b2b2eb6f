//! Lines on stderr for a waiting person: how far something is, when stderr is a terminal, and remarks on what was done. `--quiet` leaves out
//! both.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Set by `--quiet`.
static QUIET: AtomicBool = AtomicBool::new(false);

/// The lines that are shown at once: a stage of the work, and how far that is.
static LINES: LazyLock<MultiProgress> = LazyLock::new(|| {
    // A terminal that cannot move its cursor would show each line again and again.
    let moves = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let shown = moves && std::io::stderr().is_terminal() && !QUIET.load(Ordering::Relaxed);
    MultiProgress::with_draw_target(if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() })
});

/// Leaves out progress and remarks from now on.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Writes a remark to stderr, unless that is to be quiet. Errors are told by [`super::tell`].
pub fn remark(text: fmt::Arguments<'_>) {
    if !QUIET.load(Ordering::Relaxed) {
        LINES.suspend(|| super::tell(text));
    }
}

/// A line that tells how far something is. It is taken away when this is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Something measured in parts of it.
    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Progress::styled(what, "{msg} {percent:>3} %")
    }

    /// Something measured in bytes, told with their rate.
    pub fn bytes(what: impl Into<Cow<'static, str>>) -> Self {
        Progress::styled(
            what,
            "{msg} {percent:>3} %, {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}",
        )
    }

    /// Something of which nobody knows how far it is: the seconds go by.
    pub fn waiting(what: impl Into<Cow<'static, str>>) -> Self {
        let waiting = Progress::styled(what, "{msg}, {elapsed}");
        waiting.0.enable_steady_tick(Duration::from_millis(200));
        waiting
    }

    fn styled(what: impl Into<Cow<'static, str>>, template: &str) -> Self {
        let bar = LINES.add(ProgressBar::no_length().with_message(what));
        Progress(match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// The same goes on under another name.
    pub fn say(&self, what: impl Into<Cow<'static, str>>) {
        self.0.set_message(what);
    }

    /// `done` of `all`.
    pub fn at(&self, done: u64, all: u64) {
        self.0.set_length(all);
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        LINES.remove(&self.0);
    }
}

/// A line that tells which of several parts of the work is under way: `2 of 6: exact, scales folded`.
pub struct Stages {
    line: Progress,
    all: usize,
    at: Cell<usize>,
}

impl Stages {
    /// So many parts.
    pub fn new(all: usize) -> Self {
        Stages { line: Progress::styled("", "{msg}"), all, at: Cell::new(0) }
    }

    /// The next one begins.
    pub fn next(&self, what: impl fmt::Display) {
        self.at.set(self.at.get() + 1);
        self.line.0.set_message(format!("{} of {}: {what}", self.at.get(), self.all));
    }
}
