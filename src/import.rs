//! `bitnetc import`: a model file from a Hugging Face checkpoint directory or a GGUF file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bitnetc_compiler::graph::resolve;
use bitnetc_compiler::model;
use bitnetc_compiler::model::import::{self, Config, ImportError, Imported};
use bitnetc_plan::folder::{self, Stored};
use bitnetc_runtime::weights::Checkpoint;
use bitnetc_runtime::weights::gguf::{self, Described, Gguf};
use miette::{IntoDiagnostic, Report, miette};

use crate::kind::{self, Kind};
use crate::{input, output, render};

/// Write a model file from a Hugging Face checkpoint directory or a GGUF file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bitnetc import bitnet-b1.58-2B-4T -o model.ron
  bitnetc import ggml-model-i2_s.gguf -o model.ron")]
pub struct Args {
    /// Directory with config.json; its safetensors files, if there, tell how weights are stored. Or a .gguf, the first of its shards.
    directory: PathBuf,
    /// Where the model file goes; stdout when absent or `-`.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Imports and writes.
pub fn run(args: Args) -> miette::Result<()> {
    let imported = match gguf::is_gguf(&args.directory) {
        true => from_gguf(&args.directory)?,
        false => {
            let name = args.directory.to_string_lossy();
            if Kind::of(&name) != Kind::Checkpoint {
                if let Some(report) = kind::misplaced(&name, "a checkpoint's folder") {
                    return Err(report);
                }
                if !args.directory.exists() {
                    return Err(nowhere(&name));
                }
            }
            let imported = import::directory(&args.directory).map_err(report)?;
            if folder::find(&args.directory) == Ok(Stored::Nowhere) {
                remark!("note: there are no weights in {name}: how they are stored is what config.json says");
            }
            imported
        }
    };
    match args.output {
        Some(path) => output::write_text(&path, &imported.ron),
        None => render::print(&imported.ron).map_err(input::cannot_print),
    }
}

/// The error of a path at which nothing is.
fn nowhere(name: &str) -> Report {
    let fetch = "bitnetc fetches nothing: give a checkpoint's folder or a .gguf that is on this machine";
    match model::told(name) {
        Some(told) => miette!(help = fetch, "there is no `{name}` here. {told}"),
        None => miette!(help = fetch, "there is no `{name}`"),
    }
}

fn report(error: ImportError) -> Report {
    match error {
        // The mistakes in the model that the config describes, each in its place.
        ImportError::Model(errors) => Report::new(*errors).wrap_err("config.json describes no valid model"),
        error => Report::msg(error),
    }
}

/// Imports the model that the metadata of a GGUF file describes, and checks that the file has its tensors.
fn from_gguf(path: &Path) -> miette::Result<Imported> {
    let Described { name, config, notes } = Gguf::open(path).and_then(|gguf| Described::of(&gguf)).into_diagnostic()?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.unwrap_or_else(|| file.trim_end_matches(".gguf").to_string());
    let config = Config::parse(&config.to_string()).into_diagnostic()?;
    let imported =
        import::import(&config, &name, &format!("metadata of {file}"), None).map_err(|error| match error {
            ImportError::Unsupported(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                miette!("the metadata of {file}, as a config.json would say it: {}", list.join("\n"))
            }
            error => report(error),
        })?;
    let checkpoint = Checkpoint::open(path).into_diagnostic()?;
    let mut read = BTreeSet::new();
    for layer in 0..imported.model.layers {
        for weight in imported.model.statements.iter().flat_map(|statement| statement.op.weights()) {
            let name = resolve(&weight.name, layer);
            let stored = checkpoint.tensor(&name).into_diagnostic()?;
            if weight.rows.is_none() {
                stored.expect_shape(&weight.shape).into_diagnostic()?;
            }
            read.extend([format!("{name}_scale"), name]);
        }
    }
    if let Some(tensor) = checkpoint.names().find(|name| !read.contains(*name)) {
        return Err(report(ImportError::Leftover { tensor: tensor.into() }));
    }
    for note in notes.iter().chain(checkpoint.notes()) {
        remark!("note: {note}");
    }
    Ok(imported)
}
