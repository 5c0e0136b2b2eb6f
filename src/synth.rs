//! `bitnetc synth`: a random checkpoint of a model's real shape.

use std::path::PathBuf;

use bitnetc_plan::folder;
use bitnetc_runtime::weights::synth;
use miette::miette;

use crate::load::{self, Progress};
use crate::plan::Choices;
use crate::render::units::thousands;

/// Write a checkpoint of random ternary weights, in the packed layout, at a model's real shape.
///
/// For speed and memory, not for text. The same seed writes the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc synth bitnet-2b-4t -o random --seed 1
  bitnetc bench bitnet-2b-4t --weights random --policy exact")]
pub struct Args {
    /// A shipped model's name, or a model's RON file
    model: String,
    /// The directory to write `model.safetensors` into
    #[arg(long, short)]
    output: PathBuf,
    /// Decides every number
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write over a checkpoint that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    choices: Choices,
}

/// Plans, to learn which tensors the model has, and writes them.
///
/// # Errors
/// Any error of planning or of the file system.
pub fn run(args: Args) -> miette::Result<()> {
    let there = [folder::SINGLE, folder::INDEX, "pytorch_model.bin"].map(|name| args.output.join(name));
    if let Some(file) = there.iter().find(|file| file.exists()).filter(|_| !args.force) {
        let help = "give another folder with -o, or --force to write over it";
        return Err(miette!(help = help, "{} is there: the folder has a checkpoint", file.display()));
    }
    let plan = args.choices.compile(&args.model)?.plan;
    let (interrupted, progress) = (load::interrupted_soon()?, Progress::bytes("writing"));
    let bytes = synth::write(&plan, &args.output, args.seed, |done, all| {
        progress.at(done, all);
        load::unless(&interrupted)
    });
    progress.end();
    eprintln!("{}: {} bytes", args.output.join("model.safetensors").display(), thousands(load::written(bytes)?));
    Ok(())
}
