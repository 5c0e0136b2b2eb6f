//! What several subcommands take: a model, a plan, a target.

use std::path::Path;

use bitnetc_compiler::model::{self, Model, Shipped};
use bitnetc_plan::Plan;
use bitnetc_plan::format::{self, FormatError};
use bitnetc_runtime::weights::gguf;
use miette::{IntoDiagnostic, Report, WrapErr, miette};

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
    if let Some(shipped) = model::find(name) {
        return Ok(shipped.model()?);
    }
    let path = Path::new(name);
    if !path.exists() && !name.contains(std::path::MAIN_SEPARATOR) && !name.ends_with(".ron") {
        let names: Vec<_> = model::shipped().iter().map(|s| s.name).collect();
        let meant = did_you_mean(name, &names);
        let help = format!("{meant}shipped models: {}\nor give the path of a model's RON file", names.join(", "));
        return Err(miette!(help = help, "no model `{name}`"));
    }
    if gguf::is_gguf(path) {
        let help = format!("`bitnetc import {name} -o model.ron` makes a model file of it");
        return Err(miette!(help = help, "{name} is a GGUF file, no model file"));
    }
    if path.is_dir() {
        let help = match path.join("config.json").exists() {
            true => format!("`bitnetc import {name} -o model.ron` makes a model file of the checkpoint"),
            false => "give a shipped model's name or the path of a model's RON file".to_string(),
        };
        return Err(miette!(help = help, "{name} is a directory, no model file"));
    }
    let text = std::fs::read_to_string(path).into_diagnostic().wrap_err_with(|| format!("cannot read model {name}"))?;
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

/// A plan file, or the plan that `-`, stdin, gives.
///
/// # Errors
/// When it cannot be read or is no plan of this format.
pub fn plan(path: &Path) -> miette::Result<Plan> {
    let path = if path.as_os_str() == "-" { Path::new("/dev/stdin") } else { path };
    match format::read(path) {
        Err(error @ FormatError::Io { .. }) => Err(error).into_diagnostic(),
        found => found.into_diagnostic().wrap_err_with(|| format!("cannot use {} as a plan", path.display())),
    }
}

/// The error of a stdout that takes no more.
pub fn cannot_print(error: std::io::Error) -> Report {
    miette!("cannot write to stdout: {error}")
}
