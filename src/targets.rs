//! `bitnetc targets`: the cards that ship with the compiler.

use bitnetc_compiler::target::{NAMES, Target};
use bitnetc_plan::TtnnRelease;

use crate::input;
use crate::render::{Align, Column, Page, Table, Width, units};

/// List the cards that can be compiled for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  bitnetc targets

A card of your own is a RON file of the same form: copy one of targets/*.ron and pass its path to --target.")]
pub struct Args {
    #[command(flatten)]
    width: Width,
}

/// Prints a table of the shipped targets.
///
/// # Errors
/// A stdout that takes no more.
pub fn run(args: &Args) -> miette::Result<()> {
    let mut table = Table::new(vec![
        Column::new("target", Align::Left),
        Column::new("arch", Align::Left),
        Column::new("cores", Align::Right),
        Column::new("L1 per core", Align::Right),
        Column::new("DRAM banks", Align::Right),
        Column::new("GB/s", Align::Right),
    ]);
    for name in NAMES {
        let Target { card, cost, bands: _, release: _ } = input::target(name, TtnnRelease::latest())?;
        table.row(vec![
            card.name.clone(),
            format!("{:?}", card.arch),
            format!("{}x{}", card.grid.0, card.grid.1),
            units::thousands(card.l1_bytes()),
            card.dram.banks.to_string(),
            format!("{}", cost.dram_gb_per_s),
        ]);
    }
    let mut page = Page::default();
    page.table(table);
    args.width.print(&page)
}
