//! `bitnetc pack`: the weights of a plan as a card wants them, in one file or as files of TT-NN.

use std::path::PathBuf;

use bitnetc_runtime::weights::{packed, tensorbin};

use crate::load::{self, Source};
use crate::render::{Progress, units};

/// Write a plan's weights tiled and in TT-NN's formats, with checksums.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc pack plan.ron --weights path/to/checkpoint -o model.packed
  bitnetc run plan.ron --weights model.packed --prompt Hello \\
      --tokenizer path/to/checkpoint
  # for ttnn.load_tensor in any program
  bitnetc pack plan.ron --weights path/to/checkpoint --tensorbin model")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// The file to write, which bitnetc reads
    #[arg(long, short, required_unless_present = "tensorbin")]
    output: Option<PathBuf>,
    /// The folder to make, with a .tensorbin for each weight and layer, which TT-NN reads, and an index of them
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    tensorbin: Option<PathBuf>,
}

/// Packs.
///
/// # Errors
/// Any error of planning, of weights or of the file system.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = args.source.plan()?;
    let weights = args.source.weights(&plan)?;
    let (interrupted, progress) = (load::interrupted_soon()?, Progress::bytes("packing"));
    let told = |done, all| {
        progress.at(done, all);
        load::unless(&interrupted)
    };
    let (path, summary) = match (&args.output, &args.tensorbin) {
        (Some(path), _) => (path, packed::write(&plan, &weights, path, told)),
        (None, Some(folder)) => (folder, tensorbin::write(&plan, &weights, folder, told)),
        (None, None) => miette::bail!("neither --output nor --tensorbin says where to write"),
    };
    drop(progress);
    let summary = load::written(summary)?;
    remark!("{}: {} tensors, {}", path.display(), summary.tensors, units::bytes(summary.bytes));
    Ok(())
}
