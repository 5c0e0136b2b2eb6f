//! `bitnetc import`: a model file from a Hugging Face checkpoint directory.

use std::path::PathBuf;

use bitnetc_compiler::model::import::{self, ImportError};
use miette::Report;

use crate::{input, kind, output, render};

/// Write a model file from a Hugging Face checkpoint directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bitnetc import bitnet-b1.58-2B-4T -o model.ron")]
pub struct Args {
    /// Directory with config.json; its safetensors files, if there, tell how weights are stored.
    directory: PathBuf,
    /// Where the model file goes; stdout when absent or `-`.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Imports and writes.
pub fn run(args: Args) -> miette::Result<()> {
    let name = args.directory.to_string_lossy();
    if !args.directory.is_dir()
        && let Some(report) = kind::misplaced(&name, "a checkpoint's folder")
    {
        return Err(report);
    }
    let imported = import::directory(&args.directory).map_err(|error| match error {
        // The mistakes in the model that the config describes, each in its place.
        ImportError::Model(errors) => Report::new(*errors).wrap_err("config.json describes no valid model"),
        error => Report::msg(error),
    })?;
    match args.output {
        Some(path) => output::write_text(&path, &imported.ron),
        None => render::print(&imported.ron).map_err(input::cannot_print),
    }
}
