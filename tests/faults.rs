//! What becomes of a run when TT-NN crashes, aborts, hangs, runs out of memory or is told to end. The faults are made by a module that
//! Python loads before TT-NN's functions are called, in an environment of the test's own; everything else is the real TT-NN on a mock card.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bitnetc_plan::TtnnRelease;
use bitnetc_ttnn::{PythonEnv, Wanted};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

/// An interpreter whose `ttnn` was changed by `fault`, Python source that runs after its import.
fn python(folder: &Path, fault: &str) -> PathBuf {
    let env = PythonEnv::find(None, Wanted::Only(TtnnRelease::latest())).unwrap();
    let answer = serde_json::json!({
        "version": env.version, "site_packages": folder, "ttnn": env.ttnn, "has_venv": true,
        "library_directories": [env.libpython.parent().unwrap()], "library_names": [env.libpython.file_name().unwrap().to_str()],
    });
    let path = folder.join("python");
    std::fs::write(&path, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Paths and imports in such a file are taken when Python adds the folder.
    std::fs::write(folder.join("fault.pth"), format!("{}\nimport fault\n", env.site_packages.display())).unwrap();
    let source = format!("import atexit, ctypes, os, signal, sys, time, tty\nimport ttnn\n{fault}\n");
    std::fs::write(folder.join("fault.py"), source).unwrap();
    path
}

/// Source that does `what` in the `nth` call of a function.
fn in_call(function: &str, nth: u32, what: &str) -> String {
    format!(
        "real, calls = ttnn.{function}, 0\ndef faulty(*args, **named):\n    global calls\n    calls += 1\n    \
         if calls == {nth}:\n        {what}\n    return real(*args, **named)\nttnn.{function} = faulty"
    )
}

fn command(folder: &Path, fault: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitnetc"));
    command.args(["run", "--device", "ttnn", "--mock", "--prompt", "ROMEO:", "-n", "3", "--ignore-eos", "--python"]);
    command.arg(python(folder, fault)).args(more).envs([("NO_COLOR", "1"), ("COLUMNS", "500")]);
    command
}

/// The exit code and stderr of a run with a fault.
fn run(fault: &str, more: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let out = command(folder.path(), fault, more).output().unwrap();
    (out.status.code(), in_one_line(&String::from_utf8_lossy(&out.stderr)))
}

/// A message without the breaks of its lines.
fn in_one_line(said: &str) -> String {
    said.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Messages in the form in which the command line prints errors.
fn messages(said: &str) -> usize {
    said.matches('×').count()
}

#[test]
fn a_crash_an_abort_and_a_kill_are_told_with_the_step() {
    // The weights of a mock take no call of these, so every one is of a step; a layer has four calls of linear and more.
    for (what, words) in [
        ("ctypes.string_at(0)", "crashed (segmentation fault) (signal 11)"),
        ("os.abort()", "aborted (signal 6)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed (signal 9)"),
    ] {
        let (code, said) = run(&in_call("linear", 6, what), &[]);
        assert_eq!((code, messages(&said)), (Some(1), 1), "{said}");
        assert!(said.contains(words) && said.contains(", step `") && said.contains("[1]` (ttnn.linear)"), "{said}");
    }
}

#[test]
fn a_hang_ends_after_the_timeout() {
    for (function, nth, place) in [
        ("linear", 1, "(ttnn.linear)"),
        ("open_device", 1, "opening the mock n150 (open_device)"),
        ("execute_trace", 2, "decode, replay 2 of the trace, "),
    ] {
        let start = Instant::now();
        let (code, said) = run(&in_call(function, nth, "time.sleep(1000)"), &["--timeout", "2"]);
        assert_eq!((code, messages(&said)), (Some(1), 1), "{said}");
        assert!(said.contains("no answer from TT-NN") && said.contains(place) && said.contains("tt-smi -r"), "{said}");
        assert!(start.elapsed() < Duration::from_secs(100), "{said}");
    }
}

#[test]
fn ttnns_own_words_are_told_with_the_step() {
    let memory = "raise RuntimeError('Out of Memory: Not enough space to allocate 7 B DRAM buffer across 12 banks')";
    let (code, said) = run(&in_call("allocate_tensor_on_device", 3, memory), &[]);
    assert_eq!((code, messages(&said)), (Some(1), 1), "{said}");
    assert!(said.contains("loading weight `") && said.contains("Not enough space to allocate 7 B"), "{said}");

    // A card that has stopped answering is not closed, which would wait for it, and Python's end may abort.
    let hang = "raise RuntimeError('TIMEOUT: device timeout, potential hang detected, the device is unrecoverable')";
    let ends = "ttnn.close_device = lambda device: time.sleep(1000)\natexit.register(os.abort)";
    let (code, said) = run(&format!("{}\n{ends}", in_call("linear", 6, hang)), &[]);
    assert_eq!((code, messages(&said)), (Some(1), 1), "{said}");
    assert!(said.contains(", step `") && said.contains("TIMEOUT: device timeout"), "{said}");
    assert!(said.contains("reset it with `tt-smi -r`"), "{said}");
}

/// C's exit handlers run after the last word: a crash there changes neither the exit code nor what was said.
#[test]
fn a_crash_on_the_way_out_is_nobodys_business() {
    let crash = "libc = ctypes.CDLL(None)\nabort = ctypes.CFUNCTYPE(None)(('abort', libc))\nlibc.atexit(abort)";
    let (code, said) = run(crash, &[]);
    assert_eq!((code, messages(&said)), (Some(0), 0), "{said}");
    assert!(said.contains("3 written"), "{said}");
}

/// Waits until `file` is there, which a fault makes, and sends Ctrl-C to the supervisor.
fn interrupt(mut child: Child, file: &Path, times: u32) -> (Option<i32>, String, Duration) {
    while !file.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before the fault");
        std::thread::sleep(Duration::from_millis(20));
    }
    let start = Instant::now();
    for _ in 0..times {
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said, start.elapsed())
}

#[test]
fn ctrl_c_ends_between_two_steps() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reached");
    let reached = format!("open({:?}, 'w').close(); time.sleep(1)", file.display().to_string());
    let closed = folder.path().join("closed");
    let close = format!(
        "close = ttnn.close_device\ndef closing(device):\n    open({:?}, 'w').close()\n    close(device)\nttnn.close_device = closing",
        closed.display().to_string()
    );
    let fault = format!("{}\n{close}", in_call("linear", 6, &reached));
    let child = command(folder.path(), &fault, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (code, said, took) = interrupt(child, &file, 1);
    assert_eq!((code, messages(&said)), (Some(130), 0), "{said}");
    assert!(closed.exists() && took < Duration::from_secs(20), "{took:?}: {said}");
}

#[test]
fn ctrl_c_twice_ends_a_call_that_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reached");
    let reached = format!("open({:?}, 'w').close(); time.sleep(1000)", file.display().to_string());
    let child = command(folder.path(), &in_call("linear", 6, &reached), &[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (code, said, took) = interrupt(child, &file, 2);
    assert_eq!((code, messages(&said)), (Some(130), 0), "{said}");
    assert!(said.contains("interrupted in ") && said.contains(", step `") && said.contains("(ttnn.linear)"), "{said}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// A process that changes the terminal and dies leaves it as it was.
#[test]
fn the_terminal_is_given_back() {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let inner = || File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let kept = inner();
    let echo = || tcgetattr(&kept).unwrap().local_modes.contains(LocalModes::ECHO);
    assert!(echo());
    let folder = tempfile::tempdir().unwrap();
    let fault = in_call("linear", 6, "tty.setraw(2); os.abort()");
    let mut child =
        command(folder.path(), &fault, &[]).stdin(Stdio::null()).stdout(inner()).stderr(inner()).spawn().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut text, mut bytes, mut file) = (Vec::new(), [0; 4096], File::from(terminal));
        while let Ok(count @ 1..) = file.read(&mut bytes) {
            text.extend_from_slice(&bytes[..count]);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(echo());
    drop(kept);
    let text = reader.join().unwrap();
    assert!(text.contains("aborted (signal 6)"), "{text}");
}
