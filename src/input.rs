//! What several subcommands take: a model, a plan, a target.

use std::path::Path;

use bitnetc_compiler::model::{self, Model};
use bitnetc_plan::Plan;
use bitnetc_plan::format::{self, FormatError};
use miette::{IntoDiagnostic, Report, WrapErr, miette};

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
        let help = format!("shipped models: {}\nor give the path of a model's RON file", names.join(", "));
        return Err(miette!(help = help, "no model `{name}`"));
    }
    let text = std::fs::read_to_string(path).into_diagnostic().wrap_err_with(|| format!("cannot read model {name}"))?;
    Ok(Model::parse(name, &text)?)
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
