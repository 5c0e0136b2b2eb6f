//! `bitnetc pack`: the weights of a plan as a card wants them, in one file.

use std::path::PathBuf;

use bitnetc_runtime::weights::packed;

use crate::load::{self, Progress, Source};
use crate::render::units::thousands;

/// Write a plan's weights tiled and in TT-NN's formats, with checksums.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc pack plan.ron --weights path/to/checkpoint -o model.packed
  bitnetc run plan.ron --weights model.packed --tokenizer path/to/checkpoint --prompt 'Hello'")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// The file to write
    #[arg(long, short)]
    output: PathBuf,
}

/// Packs.
///
/// # Errors
/// Any error of planning, of weights or of the file system.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = args.source.plan()?;
    let weights = args.source.weights(&plan)?;
    let (interrupted, mut progress) = (load::interrupted_soon()?, Progress::new("packing"));
    let summary = packed::write(&plan, &weights, &args.output, |done, all| {
        progress.at(done as u64, all as u64);
        load::unless(&interrupted)
    });
    progress.end();
    let summary = load::written(summary)?;
    eprintln!("{}: {} tensors, {} bytes", args.output.display(), summary.tensors, thousands(summary.bytes));
    Ok(())
}
