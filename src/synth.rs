//! `bitnetc synth`: a random checkpoint of a model's real shape.

use std::path::PathBuf;

use bitnetc_plan::folder::{self, Stored};
use bitnetc_runtime::weights::synth;
use miette::miette;

use crate::load;
use crate::plan::Choices;
use crate::render::{Progress, units};

/// Write a checkpoint of random ternary weights, in the packed layout, at a model's real shape.
///
/// For speed and memory, not for text. The same seed writes the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc synth bitnet-2b-4t -o seven --seed 7
  bitnetc bench bitnet-2b-4t --weights seven --policy exact")]
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
    let there = match folder::find(&args.output) {
        Ok(Stored::Nowhere) => None,
        Ok(Stored::Single(file)) => Some((file, "give another folder with -o, or --force to write over it")),
        // Beside weights of another kind model.safetensors would be one model too many.
        Ok(Stored::Sharded(file)) => Some((file, "give another folder with -o")),
        Err(error) => Some((error.path, "give another folder with -o")),
    };
    if let Some((file, help)) = there.filter(|(file, _)| !args.force || !file.ends_with(folder::SINGLE)) {
        return Err(miette!(help = help, "{} is there: the folder has a checkpoint", file.display()));
    }
    let plan = args.choices.compile(&args.model)?.plan;
    let (interrupted, progress) = (load::interrupted_soon()?, Progress::bytes("writing"));
    let bytes = synth::write(&plan, &args.output, args.seed, |done, all| {
        progress.at(done, all);
        load::unless(&interrupted)
    });
    drop(progress);
    remark!("{}: {}", args.output.join("model.safetensors").display(), units::bytes(load::written(bytes)?));
    Ok(())
}
