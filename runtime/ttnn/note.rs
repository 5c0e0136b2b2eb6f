//! What a process that drives TT-NN is doing, noted where another process can read it.
//!
//! A call into TT-NN can hang for ever or end the process, and neither Python nor this process can tell of it then. So the thread that
//! makes the calls writes what it is about to do into a page of memory before it does it, and a supervising process that shares the page
//! says where the work stopped. Writing is a few stores: no call of the system, no lock, no Python.
//!
//! | the page says | written by |
//! |---|---|
//! | phase, layer and step, or what else is under way | the device, by [`doing`] |
//! | the call into Python, and whether it is still under way | every call, by `call` |
//! | that a person wants it to end (Ctrl-C) | the supervisor, read by [`interrupts`] |
//! | that all is done, and with which exit code | the command line, by [`ended`] |
//!
//! Without a supervisor the page is this process's own. One thread makes all calls; with several, the page tells of the last one.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use memmap2::{MmapMut, MmapOptions};
use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;

/// The variable that tells a supervised process the open file of its page.
pub const VARIABLE: &str = "BITNETC_NOTES";

/// All zeros is an empty page, so it can lie in fresh memory.
#[repr(C)]
struct Page {
    /// Odd while a call is under way.
    calls: AtomicU64,
    interrupts: AtomicU32,
    /// One more than the exit code.
    ended: AtomicU32,
    doing: Text<256>,
    call: Text<96>,
}

/// Text of at most `N` bytes; what is longer is cut.
#[repr(C)]
struct Text<const N: usize> {
    length: AtomicUsize,
    bytes: [AtomicU8; N],
}

impl<const N: usize> Text<N> {
    const fn new() -> Self {
        Text { length: AtomicUsize::new(0), bytes: [const { AtomicU8::new(0) }; N] }
    }

    fn set(&self, text: fmt::Arguments<'_>) {
        let mut writer = Writer { text: self, at: 0 };
        // A writer that cuts its text has no errors.
        let _ = fmt::write(&mut writer, text);
        self.length.store(writer.at, Ordering::Release);
    }

    fn get(&self) -> String {
        let length = self.length.load(Ordering::Acquire).min(N);
        let bytes: Vec<u8> = self.bytes[..length].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        String::from_utf8_lossy(&bytes).trim_end_matches('\u{fffd}').to_owned()
    }
}

struct Writer<'a, const N: usize> {
    text: &'a Text<N>,
    at: usize,
}

impl<const N: usize> fmt::Write for Writer<'_, N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (place, byte) in self.text.bytes[self.at..].iter().zip(text.bytes()) {
            place.store(byte, Ordering::Relaxed);
        }
        self.at = (self.at + text.len()).min(N);
        Ok(())
    }
}

impl Page {
    const fn new() -> Self {
        Page {
            calls: AtomicU64::new(0),
            interrupts: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            doing: Text::new(),
            call: Text::new(),
        }
    }
}

static OWN: Page = Page::new();
static SHARED: OnceLock<&'static Page> = OnceLock::new();

fn page() -> &'static Page {
    SHARED.get().copied().unwrap_or(&OWN)
}

/// Notes what is done next: `decode, step qkv[3]`.
pub fn doing(what: fmt::Arguments<'_>) {
    page().doing.set(what);
}

/// A call into Python; it is over when this is dropped.
#[must_use]
pub(crate) struct Call(());

/// Notes that `name` is called.
pub(crate) fn call(name: &str) -> Call {
    let page = page();
    page.call.set(format_args!("{name}"));
    page.calls.fetch_or(1, Ordering::AcqRel);
    Call(())
}

impl Drop for Call {
    fn drop(&mut self) {
        let calls = &page().calls;
        if calls.load(Ordering::Relaxed) % 2 == 1 {
            calls.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// True in a process that a supervisor watches.
pub fn is_supervised() -> bool {
    SHARED.get().is_some()
}

/// How often a person asked a supervised process to end.
pub fn interrupts() -> u32 {
    page().interrupts.load(Ordering::Relaxed)
}

/// Notes that the process has said all it had to say and ends with this exit code, whatever TT-NN does on the way out.
pub fn ended(code: u8) {
    page().ended.store(u32::from(code) + 1, Ordering::Release);
}

/// Takes the page of the supervisor, if there is one; called once, before the first note. From then on the process ends when its
/// supervisor does.
///
/// # Errors
/// When the page that the environment names cannot be mapped.
pub fn attach() -> io::Result<bool> {
    let Some(value) = std::env::var_os(VARIABLE) else { return Ok(false) };
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{VARIABLE} names no open file"));
    let fd: RawFd = value.to_str().and_then(|value| value.parse().ok()).filter(|fd| *fd > 2).ok_or_else(invalid)?;
    // Only a file that the supervisor made and named is taken: nothing else in this process owns it.
    std::fs::metadata(format!("/proc/self/fd/{fd}")).map_err(|_| invalid())?;
    // SAFETY: the file is open, was passed for this purpose, and is owned by nothing else in this process.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    // Compilers that TT-NN starts have no use for it.
    rustix::io::fcntl_setfd(&file, FdFlags::CLOEXEC)?;
    let page = Shared::map(&file)?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(SHARED.set(page).is_ok())
}

/// The page of a supervised process, as its supervisor has it.
pub struct Shared {
    file: File,
    page: &'static Page,
}

/// What the page says at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Different whenever a call began or ended since; odd while one is under way.
    pub calls: u64,
    /// Phase, layer and step.
    pub doing: String,
    /// The last call into Python.
    pub call: String,
    /// The exit code, once all is done.
    pub ended: Option<u8>,
}

impl Shared {
    /// A new page.
    ///
    /// # Errors
    /// Those of the system.
    pub fn create() -> io::Result<Shared> {
        // Without close-on-exec: the supervised process inherits it.
        let file = File::from(rustix::fs::memfd_create("bitnetc-notes", MemfdFlags::empty())?);
        file.set_len(size_of::<Page>() as u64)?;
        let page = Shared::map(&file)?;
        Ok(Shared { file, page })
    }

    fn map(file: &File) -> io::Result<&'static Page> {
        let length = file.metadata()?.len();
        if length != size_of::<Page>() as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("notes of {length} bytes")));
        }
        // SAFETY: the file is an anonymous one of exactly this size that neither process cuts short.
        let map: MmapMut = unsafe { MmapOptions::new().len(size_of::<Page>()).map_mut(file) }?;
        // For the life of the process: notes may be written until its last moment.
        let map = Box::leak(Box::new(map));
        // SAFETY: mapped memory is aligned to pages and as large as `Page`, every bit pattern of which is valid because it holds atomics
        // only; other processes change it through atomics only, and the mapping is never undone.
        Ok(unsafe { &*map.as_ptr().cast::<Page>() })
    }

    /// The open file, for [`VARIABLE`].
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// What the page says.
    pub fn read(&self) -> Seen {
        let ended = self.page.ended.load(Ordering::Acquire);
        Seen {
            calls: self.page.calls.load(Ordering::Acquire),
            doing: self.page.doing.get(),
            call: self.page.call.get(),
            ended: ended.checked_sub(1).and_then(|code| u8::try_from(code).ok()),
        }
    }

    /// Tells the process that a person wants it to end; returns how often that was said.
    pub fn interrupt(&self) -> u32 {
        self.page.interrupts.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Seen {
    /// True while a call into Python is under way.
    pub fn in_call(&self) -> bool {
        self.calls % 2 == 1
    }

    /// `decode, step qkv[3] (ttnn.linear)`, for a message.
    pub fn place(&self) -> String {
        match (self.doing.is_empty(), self.call.is_empty()) {
            (true, true) => "before TT-NN was called".into(),
            (true, false) => self.call.clone(),
            (false, true) => self.doing.clone(),
            (false, false) if self.in_call() => format!("{} ({})", self.doing, self.call),
            (false, false) => format!("{} (after {})", self.doing, self.call),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_reads_what_was_noted() {
        let shared = Shared::create().unwrap();
        assert_eq!(shared.read(), Seen { calls: 0, doing: String::new(), call: String::new(), ended: None });
        assert_eq!(shared.read().place(), "before TT-NN was called");
        let other = Shared::map(&shared.file).unwrap();
        other.doing.set(format_args!("decode, step {}[{}]", "qkv", 3));
        other.call.set(format_args!("ttnn.linear"));
        other.calls.fetch_add(1, Ordering::AcqRel);
        assert!(shared.read().in_call());
        assert_eq!(shared.read().place(), "decode, step qkv[3] (ttnn.linear)");
        assert_eq!((shared.interrupt(), other.interrupts.load(Ordering::Relaxed)), (1, 1));
        other.ended.store(131, Ordering::Release);
        assert_eq!(shared.read().ended, Some(130));
    }

    #[test]
    fn text_that_is_too_long_is_cut_between_characters() {
        let text = Text::<8>::new();
        text.set(format_args!("{}{}", "abcdefg", "é"));
        assert_eq!(text.get(), "abcdefg");
        text.set(format_args!("short"));
        assert_eq!(text.get(), "short");
    }

    #[test]
    fn a_call_is_under_way_until_it_is_dropped() {
        let under_way = call("ttnn.add");
        assert_eq!((OWN.calls.load(Ordering::Relaxed) % 2, OWN.call.get().as_str()), (1, "ttnn.add"));
        drop(under_way);
        assert_eq!(OWN.calls.load(Ordering::Relaxed) % 2, 0);
    }
}
