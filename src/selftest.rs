//! `bitnetc ttnn selftest`: bitnetc's own kernels on a card or a simulator, against integers and against TT-NN's own matmul.

use std::path::PathBuf;

use bitnetc_plan::{Arch, TtnnRelease};
use bitnetc_ttnn::{CardKind, CardOptions, OpenCard, PythonEnv, Simulator, Wanted, selftest};
use miette::{IntoDiagnostic as _, miette};

use crate::render;
use crate::render::units::thousands;

/// Run bitnetc's own kernels and compare every bit of their results.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc ttnn selftest       # the card in this machine
  bitnetc ttnn selftest --simulator path/to/libttsim.so --shapes 2

Products by two-bit weights: of integers they must be the integers, of other numbers they must have the bits
of ttnn.linear by the same weights in bfp4; each once by itself and once from a trace. On a card the time
of a call in a trace is told, too.")]
pub struct Args {
    /// Tenstorrent's simulator instead of the card: its libttsim for Wormhole
    #[arg(long, value_name = "LIB")]
    simulator: Option<PathBuf>,
    /// Only so many of the shapes, the small ones first
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    shapes: usize,
    /// The Python that has TT-NN
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

/// Runs `bitnetc ttnn selftest`.
///
/// # Errors
/// No card or simulator, or a result with another bit than expected.
pub fn run(args: &Args) -> miette::Result<()> {
    let env = PythonEnv::find(args.python.as_deref(), Wanted::Only(TtnnRelease::latest())).into_diagnostic()?;
    let kind = match &args.simulator {
        Some(library) => CardKind::Simulator(Simulator::new(library, Arch::Wormhole).into_diagnostic()?),
        None => CardKind::Real,
    };
    let card = OpenCard::open(&env, kind, CardOptions::default()).into_diagnostic()?;
    let tested = selftest(&card, args.shapes).into_diagnostic()?;
    card.close().into_diagnostic()?;
    let shapes: Vec<String> = tested
        .iter()
        .map(|t| match t.us {
            Some(us) => format!("{} in {us:.1} us", t.name),
            None => t.name.to_owned(),
        })
        .collect();
    let elements: usize = tested.iter().map(|t| t.elements).sum();
    if let Some(wrong) = tested.iter().find(|t| t.different > 0) {
        return Err(miette!(
            help = "plans without bfp2 do not use these kernels",
            "ternary_linear: {} of {} elements of {} differ",
            thousands(wrong.different as u64),
            thousands(wrong.elements as u64),
            wrong.name
        ));
    }
    let text = format!(
        "ternary_linear: {} elements of {} have the right bits\n",
        thousands(elements as u64),
        shapes.join(", ")
    );
    render::print(&text).map_err(crate::input::cannot_print)
}
