//! Arguments that several subcommands share: a model, a plan, a target.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bitnetc_compiler::model::{self, Model, Shipped};
use bitnetc_compiler::target::{NAMES, Target};
use bitnetc_plan::{Plan, TtnnRelease, format, input as limits};
use miette::{IntoDiagnostic, Report, WrapErr, miette};

use crate::kind::{self, Kind};

/// A shipped model.
///
/// # Errors
/// When there is none of this name: the names there are.
pub fn shipped(name: &str) -> miette::Result<&'static Shipped> {
    model::find(name).ok_or_else(|| {
        let names: Vec<_> = model::shipped().iter().map(|s| s.name).collect();
        miette!(help = format!("shipped models: {}", names.join(", ")), "no shipped model `{name}`")
    })
}

/// A shipped model by name, or a model file by path.
///
/// # Errors
/// When there is neither, or the file has mistakes, each shown in its place.
pub fn model(name: &str) -> miette::Result<Model> {
    let path = Path::new(name);
    // With a slash at its end it is the name of a folder, if there is one.
    if let Some(shipped) = model::find(name).filter(|_| !(name.ends_with('/') && path.exists())) {
        return Ok(shipped.model()?);
    }
    if !is_stdin(path) && !path.exists() && !name.ends_with(".ron") {
        let names: Vec<_> = model::shipped().iter().map(|s| s.name).collect();
        let published = model::shipped().iter().flat_map(|s| s.published).copied();
        let known: Vec<_> = names.iter().copied().chain(published).collect();
        let meant = did_you_mean(name, &known);
        let help = format!("{meant}shipped models: {}\nor give the path of a model's RON file", names.join(", "));
        return Err(match model::told(name) {
            Some(told) => miette!(help = help, "no model `{name}`. {told}"),
            None => miette!(help = help, "no model `{name}`"),
        });
    }
    if !matches!(Kind::of(name), Kind::Model | Kind::Other)
        && let Some(report) = kind::misplaced(name, "a model file")
    {
        return Err(report);
    }
    let bytes = read(path).into_diagnostic().wrap_err_with(|| format!("cannot read model {name}"))?;
    let text = bytes.to_text().into_diagnostic().wrap_err_with(|| format!("cannot read model {name}"))?;
    Ok(Model::parse(name, &text)?)
}

/// A line that names the names most like `name`, up to three; empty when none is.
pub fn did_you_mean(name: &str, names: &[&str]) -> String {
    let alike = |other: &&&str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    let mut near: Vec<_> = names.iter().map(|n| (alike(&n), *n)).filter(|(alike, _)| *alike > 0.8).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<_> = near.iter().take(3).map(|(_, name)| format!("`{name}`")).collect();
    match near.split_last() {
        None => String::new(),
        Some((only, [])) => format!("did you mean {only}?\n"),
        Some((last, before)) => format!("did you mean {} or {last}?\n", before.join(", ")),
    }
}

/// True for `-`, which stands for stdin.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What a file holds.
#[derive(Clone)]
pub struct Contents(Arc<[u8]>);

impl Contents {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as text.
    ///
    /// # Errors
    /// Bytes that are no UTF-8.
    pub fn to_text(&self) -> io::Result<String> {
        limits::utf8(self.0.to_vec())
    }
}

/// The inputs that were read.
static READ: Mutex<BTreeMap<PathBuf, Contents>> = Mutex::new(BTreeMap::new());

/// True when stdin has been read for `-`, as a plan for example: it is nothing else then.
pub fn stdin_is_taken() -> bool {
    READ.lock().unwrap_or_else(PoisonError::into_inner).contains_key(Path::new("-"))
}

/// Reads a file, or stdin for `-`. Each is read once in a run of the program, because a pipe gives what it holds only once; whoever asks
/// for it again is given the same bytes.
///
/// # Errors
/// Whatever the file system says, and a file above the cap of [`bitnetc_plan::input`].
pub fn read(path: &Path) -> io::Result<Contents> {
    let mut known = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(contents) = known.get(path) {
        return Ok(contents.clone());
    }
    let bytes = if is_stdin(path) { limits::read_from(io::stdin().lock()) } else { limits::read(path) }?;
    let contents = Contents(bytes.into());
    known.insert(path.to_path_buf(), contents.clone());
    Ok(contents)
}

/// A text file, or the text that `-`, stdin, gives.
///
/// # Errors
/// When it cannot be read or is no UTF-8.
pub fn text(path: &Path) -> miette::Result<String> {
    let text = read(path).and_then(|contents| contents.to_text()).into_diagnostic();
    text.wrap_err_with(|| format!("cannot read {}", path.display()))
}

/// A target: a shipped one's name, the path of its file, or `-` for stdin.
///
/// # Errors
/// When it cannot be read or is no target.
pub fn target(name: &str, release: &'static TtnnRelease) -> miette::Result<Target> {
    let path = Path::new(name);
    if !is_stdin(path) && !name.contains('/') && !name.ends_with(".ron") {
        return Target::under(name, release).into_diagnostic();
    }
    let text = read(path).and_then(|contents| contents.to_text()).into_diagnostic();
    Target::parse(&text.wrap_err_with(|| format!("cannot read target file {name}"))?, name, release).into_diagnostic()
}

/// The target of a plan's card, which knows its speeds; `None` when no shipped one has that card.
pub fn target_of(plan: &Plan) -> Option<Target> {
    // By a shipped name only: a plan's card does not name files.
    let name = NAMES.into_iter().find(|name| *name == plan.card.name)?;
    let release = TtnnRelease::find(&plan.release).ok()?;
    Target::under(name, release).ok().filter(|target| target.card == plan.card)
}

/// A plan file, or the plan that `-`, stdin, gives.
///
/// # Errors
/// When it cannot be read or is no plan of this format.
pub fn plan(path: &Path) -> miette::Result<Plan> {
    let name = path.to_string_lossy();
    if Kind::of(&name) != Kind::Plan
        && let Some(report) = kind::misplaced(&name, "a plan")
    {
        return Err(report);
    }
    let contents = read(path).into_diagnostic().wrap_err_with(|| format!("cannot read `{name}`"))?;
    let plan = format::read_bytes(contents.bytes()).into_diagnostic();
    plan.wrap_err_with(|| format!("cannot use {name} as a plan"))
}

/// The error of a stdout that takes no more.
pub fn cannot_print(error: std::io::Error) -> Report {
    miette!("cannot write to stdout: {error}")
}
