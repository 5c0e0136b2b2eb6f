//! llama.cpp's `llama-bench` beside our own bench: the same threads, prompt and steps, in turns.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use miette::{IntoDiagnostic as _, WrapErr as _, miette};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The other program.
#[derive(Debug, Clone, clap::Args)]
pub struct Beside {
    /// llama-bench of bitnet.cpp, measured in turns with this
    #[arg(long, value_name = "LLAMA_BENCH", requires = "gguf")]
    beside: Option<PathBuf>,
    /// Its model
    #[arg(long, value_name = "FILE", requires = "beside")]
    gguf: Option<PathBuf>,
}

/// The speeds that a program reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Reached {
    /// Tokens per second of prefill.
    pub prefill: f64,
    /// Tokens per second of decode.
    pub decode: f64,
    /// Most bytes of memory it held.
    pub memory: u64,
}

impl Reached {
    /// The better of each.
    pub fn best(self, other: Reached) -> Reached {
        Reached {
            prefill: self.prefill.max(other.prefill),
            decode: self.decode.max(other.decode),
            memory: self.memory.max(other.memory),
        }
    }
}

/// One line of `llama-bench -o json`.
#[derive(Debug, Deserialize)]
struct Line {
    n_prompt: usize,
    n_gen: usize,
    avg_ts: f64,
}

impl Beside {
    /// True when another program was named.
    pub fn is_there(&self) -> bool {
        self.beside.is_some()
    }

    /// One run of it: nothing when none was named.
    ///
    /// # Errors
    /// A program that cannot be started, fails, or prints something else.
    pub fn run(&self, threads: usize, tokens: usize, steps: usize) -> miette::Result<Option<Reached>> {
        let (Some(program), Some(gguf)) = (&self.beside, &self.gguf) else { return Ok(None) };
        let mut child = Command::new(program)
            .args(["-o", "json", "-r", "1", "-t", &threads.to_string()])
            .args(["-p", &tokens.to_string(), "-n", &steps.to_string(), "-m"])
            .arg(gguf)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .into_diagnostic()
            .wrap_err_with(|| format!("starting {}", program.display()))?;
        let memory = watch(&mut child).into_diagnostic()?;
        let output = child.wait_with_output().into_diagnostic()?;
        if !output.status.success() {
            return Err(miette!("{} with {}: {}", program.display(), gguf.display(), output.status));
        }
        reached(program, &output.stdout, memory).map(Some)
    }
}

fn reached(program: &Path, stdout: &[u8], memory: u64) -> miette::Result<Reached> {
    let lines: Vec<Line> = serde_json::from_slice(stdout)
        .into_diagnostic()
        .wrap_err_with(|| format!("{} printed no JSON of llama-bench", program.display()))?;
    let of = |prompt: bool| lines.iter().find(|l| (l.n_prompt > 0, l.n_gen > 0) == (prompt, !prompt)).map(|l| l.avg_ts);
    match (of(true), of(false)) {
        (Some(prefill), Some(decode)) => Ok(Reached { prefill, decode, memory }),
        _ => Err(miette!("{} did not measure both a prompt and a generation", program.display())),
    }
}

/// Waits for the end of a program whose output fits a pipe; most memory it was seen to hold.
fn watch(child: &mut Child) -> std::io::Result<u64> {
    let mut most = 0;
    while child.try_wait()?.is_none() {
        most = most.max(memory_of(&child.id().to_string()));
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(most)
}

/// Most bytes a process has held so far; `self` is this one, and 0 is told of one that is gone.
pub fn memory_of(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|kb| kb.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).map_or(0, |kb| 1024 * kb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_speeds_are_read_from_its_lines() {
        let line =
            |p: u32, n: u32, ts: f64| format!("{{\"n_prompt\": {p}, \"n_gen\": {n}, \"avg_ts\": {ts}, \"x\": 1}}");
        let text = format!("[{}, {}]", line(128, 0, 50.5), line(0, 32, 12.25));
        let got = reached(Path::new("llama-bench"), text.as_bytes(), 7).unwrap();
        assert_eq!(got, Reached { prefill: 50.5, decode: 12.25, memory: 7 });
        assert_eq!(got.best(Reached { prefill: 60.0, decode: 1.0, memory: 3 }).prefill, 60.0);
        for wrong in ["", "[]", "{}", &format!("[{}]", line(128, 0, 1.0))] {
            assert!(reached(Path::new("llama-bench"), wrong.as_bytes(), 0).is_err(), "{wrong}");
        }
        assert!(memory_of("self") > 0);
    }
}
