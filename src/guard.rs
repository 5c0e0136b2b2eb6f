//! Calls of libraries that panic on what a person's files hold.
//!
//! `tokenizers` and `minijinja` execute what a checkpoint's files say, and their authors did not foresee every file. A panic of theirs is
//! an error of the file: it is caught, nothing of it is printed, and it is told as one.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use miette::miette;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static TOLD: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lets the panics of guarded calls be kept instead of printed; all others are printed as ever.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let printed = take_hook();
        set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                printed(info);
                return;
            }
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied().map(str::to_string);
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
            TOLD.set(text.lines().next().unwrap_or_default().to_string());
        }));
    });
}

/// What `call` gives; a panic in it is the error that `what`, a file or a part of one, cannot be used.
///
/// # Errors
/// When `call` fails, or panics.
pub fn guarded<T>(what: &str, call: impl FnOnce() -> miette::Result<T>) -> miette::Result<T> {
    quiet();
    let before = GUARDED.replace(true);
    // What the call has changed is dropped with it or read only: a tokenizer's caches of words are behind locks that a panic poisons,
    // which a later call tells as an error in its turn.
    let done = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    done.unwrap_or_else(|_| {
        let help = "the library that reads it fails on it, so it is damaged or of a kind that is not supported";
        Err(miette!(help = help, "{what} cannot be used: {}", TOLD.take()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_error() {
        let error =
            guarded("x.json", || -> miette::Result<u32> { panic!("not a {}\nbacktrace", "string") }).unwrap_err();
        assert_eq!(error.to_string(), "x.json cannot be used: not a string");
        assert_eq!(guarded("x.json", || Ok(1)).unwrap(), 1);
    }
}
