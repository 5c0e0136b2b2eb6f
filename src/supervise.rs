//! A command that drives TT-NN runs in a process of its own, and this process waits for it.
//!
//! TT-NN can end its process by a segmentation fault or an abort, the system can end it for lack of memory, and a card that has stopped
//! answering keeps it waiting for ever. None of this can be told from inside. So the command line starts itself a second time, with a page
//! of memory in common ([`mod@note`]) in which the second process notes what it is about to do, and turns whatever becomes of it into one
//! message, an exit code, and a terminal as it was before.
//!
//! | the second process | then |
//! |---|---|
//! | ends by itself | its exit code is this one's |
//! | has said all it had to say, and then crashes or hangs on its way out | the exit code it noted |
//! | is ended by a signal | a message with the signal and the step; exit code 1 |
//! | does not come back from a call for too long | it is ended; a message with the step; exit code 1 |
//! | Ctrl-C | it ends between two steps; where it does not, it is ended: at once when it is idle or at a second Ctrl-C, else after [`GRACE`] |

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bitnetc_ttnn::machine::{self, processes};
use bitnetc_ttnn::note::{self, Seen, Shared};
use miette::{IntoDiagnostic as _, Report, WrapErr as _, miette};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

use crate::load::{INTERRUPTED, PATIENCE};

/// How long a call into TT-NN may take; `None` without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(Option<Duration>);

impl Patience {
    /// So many seconds; 0 for no end.
    pub fn of(seconds: u32) -> Self {
        Patience((seconds > 0).then(|| Duration::from_secs(seconds.into())))
    }
}

/// TT-NN's own limit on the time that it waits for the card, in seconds. It tells the failure in its own words, so it comes first.
const OWN_LIMIT: &str = "TT_METAL_OPERATION_TIMEOUT_SECONDS";

/// Time that TT-NN has to tell of a timeout itself.
const AFTER_OWN_LIMIT: Duration = Duration::from_secs(5);

/// Time that a call has to come back after Ctrl-C. A card that is left in the middle of a step may have to be reset.
const GRACE: Duration = Duration::from_secs(10);

/// Time that a process has to end after it has said all it had to say.
const LEAVING: Duration = Duration::from_secs(5);

/// The interval at which a page is looked at.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Ctrl-C so far.
static PRESSED: AtomicU32 = AtomicU32::new(0);

/// Runs this command in a second process and tells what became of it.
pub fn run(patience: Patience) -> ExitCode {
    match watched(patience) {
        Ok(code) => ExitCode::from(code),
        Err(report) => {
            eprintln!("{report:?}");
            ExitCode::FAILURE
        }
    }
}

fn watched(Patience(patience): Patience) -> miette::Result<u8> {
    let terminal = Terminal::as_it_is();
    let page =
        Shared::create().into_diagnostic().wrap_err("cannot make the memory that the process of TT-NN reports in")?;
    ctrlc::set_handler(|| {
        PRESSED.fetch_add(1, Ordering::Relaxed);
    })
    .into_diagnostic()?;
    let mut command = Command::new("/proc/self/exe");
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(note::VARIABLE, page.fd().to_string());
    if let Some(patience) = patience.filter(|_| std::env::var_os(OWN_LIMIT).is_none()) {
        command.env(OWN_LIMIT, patience.as_secs().to_string());
    }
    let child = command.spawn().into_diagnostic().wrap_err("cannot start the process that drives TT-NN")?;
    let ended = Watch::new(page, child, patience.map(|patience| patience + AFTER_OWN_LIMIT)).wait()?;
    match ended {
        Ended::Itself(code) => Ok(code),
        Ended::Told(code) => {
            terminal.restore();
            Ok(code)
        }
        Ended::Interrupted => {
            terminal.restore();
            Ok(INTERRUPTED)
        }
        Ended::Failed(report) => {
            terminal.restore();
            Err(report)
        }
    }
}

/// What became of the second process.
enum Ended {
    /// It ended with this code.
    Itself(u8),
    /// It noted this code, and did not end in order.
    Told(u8),
    /// A person ended it.
    Interrupted,
    /// Neither.
    Failed(Report),
}

/// A process being waited for.
struct Watch {
    page: Shared,
    child: Child,
    patience: Option<Duration>,
    /// What the page last said, since when.
    seen: Seen,
    since: Instant,
    /// Ctrl-C passed on, the first of them when.
    passed_on: u32,
    asked: Option<Instant>,
}

impl Watch {
    fn new(page: Shared, child: Child, patience: Option<Duration>) -> Self {
        let seen = page.read();
        Watch { page, child, patience, seen, since: Instant::now(), passed_on: 0, asked: None }
    }

    fn wait(mut self) -> miette::Result<Ended> {
        let lost = "the process that drives TT-NN is lost";
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| miette!("{lost}"))?;
        let process = pidfd_open(pid, PidfdFlags::empty()).into_diagnostic().wrap_err(lost)?;
        loop {
            let mut ends = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
            // A signal ends the wait early, which is as good as a look.
            let _ = poll(&mut ends, Some(&LOOK));
            if let Some(status) = self.child.try_wait().into_diagnostic().wrap_err(lost)? {
                return Ok(self.ended(status));
            }
            if let Some(ended) = self.look() {
                // It may be stuck in the driver, where no signal reaches it: then it ends when the driver lets it.
                let _ = self.child.kill();
                return Ok(ended);
            }
        }
    }

    /// Looks at the page; how the process is to be ended, if it is.
    fn look(&mut self) -> Option<Ended> {
        let now = self.page.read();
        if now != self.seen {
            (self.seen, self.since) = (now, Instant::now());
        }
        let unchanged = self.since.elapsed();
        if let Some(code) = self.seen.ended {
            return (unchanged > LEAVING).then_some(Ended::Told(code));
        }
        let pressed = PRESSED.load(Ordering::Relaxed);
        for _ in self.passed_on..pressed {
            self.passed_on = self.page.interrupt();
            self.asked.get_or_insert_with(Instant::now);
        }
        if let Some(asked) = self.asked.map(|asked| asked.elapsed()) {
            let idle = !self.seen.in_call() && unchanged > PATIENCE && asked > PATIENCE;
            if pressed > 1 || idle || asked > GRACE {
                if self.seen.in_call() {
                    eprintln!("interrupted in {}; the card was not closed", self.seen.place());
                }
                return Some(Ended::Interrupted);
            }
        }
        let hangs = self.seen.in_call() && self.patience.is_some_and(|patience| unchanged > patience);
        hangs.then(|| Ended::Failed(self.hang(unchanged)))
    }

    fn hang(&self, after: Duration) -> Report {
        let place = self.seen.place();
        let message = format!("no answer from TT-NN for {} s: {place}", after.as_secs());
        let holders = machine::holders_now();
        let holders: Vec<_> = holders.into_iter().filter(|holder| holder.pid != self.child.id()).collect();
        if holders.is_empty() {
            let help = "the card seems to hang: reset it with `tt-smi -r` and run again; where a call needs longer, as when kernels are \
                        compiled on a slow machine, give --timeout SECONDS, or 0 to wait for ever";
            miette!(help = help, "{message}")
        } else {
            miette!(help = format!("the card is in use by {}: end it and run again", processes(&holders)), "{message}")
        }
    }

    fn ended(&self, status: ExitStatus) -> Ended {
        let seen = self.page.read();
        let Some(signal) = status.signal() else {
            return Ended::Itself(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        };
        match seen.ended {
            Some(code) => Ended::Told(code),
            None if self.asked.is_some() => Ended::Interrupted,
            None => Ended::Failed(crash(signal, &seen)),
        }
    }
}

/// The message for a process that a signal ended.
fn crash(signal: i32, seen: &Seen) -> Report {
    let (what, help) = match signal {
        6 => ("aborted", CRASHED),
        7 => {
            ("crashed (bus error)", "a file of weights was cut short while it was read, or memory or /dev/shm is full")
        }
        9 => (
            "was killed",
            "most likely by the system, because memory ran out: `dmesg` says so; if so, pack the weights with `bitnetc pack`",
        ),
        11 => ("crashed (segmentation fault)", CRASHED),
        15 => ("was told to end", "the card was not closed; the next run makes it ready again"),
        _ => ("was ended", CRASHED),
    };
    miette!(help = help, "TT-NN {what} (signal {signal}): {}", seen.place())
}

const CRASHED: &str = "run again; where it crashes in the same step, `bitnetc check PLAN --ttnn` asks TT-NN about each call of the plan; a \
                       card that does not open any more is reset with `tt-smi -r`";

/// The terminal's settings as they were at first.
struct Terminal(Option<Termios>);

impl Terminal {
    fn as_it_is() -> Self {
        let stderr = std::io::stderr();
        Terminal(if isatty(&stderr) { tcgetattr(&stderr).ok() } else { None })
    }

    /// Gives the settings back, takes away a line of progress, and shows the cursor.
    fn restore(&self) {
        let Some(settings) = &self.0 else { return };
        // A terminal that takes no settings takes no harm.
        let _ = tcsetattr(std::io::stderr(), OptionalActions::Now, settings);
        let _ = write!(std::io::stderr(), "\r\x1b[K\x1b[?25h\x1b[0m");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_names_the_signal_and_the_step() {
        let seen = Seen { calls: 3, doing: "decode, step `qkv[3]`".into(), call: "ttnn.linear".into(), ended: None };
        for (signal, words) in [(11, "segmentation fault"), (6, "aborted"), (9, "was killed"), (34, "was ended")] {
            let text = crash(signal, &seen).to_string();
            assert!(text.contains(words) && text.contains(&format!("signal {signal}")), "{text}");
            assert!(text.contains("decode, step `qkv[3]` (ttnn.linear)"), "{text}");
        }
    }
}
