//! `bitnetc completions`: what a shell needs to complete command lines, and what bitnetc answers when a shell asks.
//!
//! The script that is printed makes the shell ask the program itself, so that it knows the models that come along and the phases and steps
//! of the plan that already stands in the line.

use std::ffi::OsStr;
use std::path::Path;

use bitnetc_compiler::model;
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::NAMES;
use bitnetc_plan::{Plan, format};
use clap_complete::Shell;
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::Shells;
use miette::{IntoDiagnostic as _, miette};

use crate::input;
use crate::kind::Kind;

/// Print shell completions.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bitnetc completions bash > ~/.local/share/bash-completion/completions/bitnetc")]
pub struct Args {
    /// The shell.
    shell: Shell,
}

/// Prints the script of a shell.
///
/// # Errors
/// A stdout that takes no more.
pub fn run(args: Args) -> miette::Result<()> {
    let shells = Shells::builtins();
    let name = args.shell.to_string();
    let shell = shells.completer(&name).ok_or_else(|| miette!("no completions for {name}"))?;
    let mut script = Vec::new();
    shell.write_registration("COMPLETE", "bitnetc", "bitnetc", "bitnetc", &mut script).into_diagnostic()?;
    crate::render::print(&String::from_utf8_lossy(&script)).map_err(input::cannot_print)
}

/// The names that begin as what was typed.
fn begun(current: &OsStr, names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    names.into_iter().filter(|name| name.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

/// Names, and the files that a name may stand for.
fn or_files(current: &OsStr, names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    let mut found = begun(current, names);
    found.extend(PathCompleter::any().complete(current));
    found
}

/// Models that come along, and files.
pub fn models(current: &OsStr) -> Vec<CompletionCandidate> {
    or_files(current, model::shipped().iter().map(|shipped| shipped.name.to_string()))
}

/// Cards that come along, and files.
pub fn targets(current: &OsStr) -> Vec<CompletionCandidate> {
    or_files(current, NAMES.map(String::from))
}

/// The policies.
pub fn policies(current: &OsStr) -> Vec<CompletionCandidate> {
    begun(current, Policy::ALL.iter().map(ToString::to_string))
}

/// The data types of a KV cache.
pub fn caches(current: &OsStr) -> Vec<CompletionCandidate> {
    begun(current, crate::plan::CACHES.map(String::from))
}

/// The phases of the plan in the line; without one, those that every plan may have.
pub fn phases(current: &OsStr) -> Vec<CompletionCandidate> {
    let of_plan = |plan: Plan| plan.phases.iter().map(|phase| phase.kind.to_string().replace(' ', "-")).collect();
    begun(current, plan_in_line().map_or_else(|| vec!["decode".into(), "prefill".into()], of_plan))
}

/// The steps of the plan in the line.
pub fn steps(current: &OsStr) -> Vec<CompletionCandidate> {
    let plan = plan_in_line();
    let steps = plan.iter().flat_map(|plan| &plan.phases).flat_map(|phase| phase.steps());
    let mut names: Vec<String> = Vec::new();
    for step in steps.filter(|step| step.op.freed().is_none()) {
        if !names.contains(&step.name) {
            names.push(step.name.clone());
        }
    }
    begun(current, names)
}

/// The first plan among the words of the line.
fn plan_in_line() -> Option<Plan> {
    let words = std::env::args().skip_while(|word| word != "--").skip(1);
    let plan = words.into_iter().find(|word| Path::new(word).is_file() && Kind::of(word) == Kind::Plan)?;
    format::read_bytes(input::read(Path::new(&plan)).ok()?.bytes()).ok()
}
