//! The step of every policy beside its floor.

use bitnetc_compiler::Options;
use bitnetc_compiler::model::Model;
use bitnetc_compiler::target::NAMES;
use bitnetc_lab::floors::{Cause, Floor, floors};
use bitnetc_plan::TtnnRelease;
use miette::IntoDiagnostic as _;

use crate::input;
use crate::render::{Align, Column, Page, Stages, Table, units};

/// Positions of the table: the one that plans are made for, and the last of the context that they have unless told otherwise.
const POSITIONS: [u32; 2] = [Options::DEFAULT_POSITION, Options::DEFAULT_CONTEXT - 1];

/// Users of the table.
const BATCHES: [u32; 3] = [1, 8, 32];

/// The table of a model, for the cards and batches named or for all.
///
/// # Errors
/// When the target cannot be had, or there is no plan.
pub fn page(model: &Model, target: Option<&str>, batch: Option<u32>) -> miette::Result<Page> {
    let targets = target.map_or_else(|| NAMES.to_vec(), |target| vec![target]);
    let batches = batch.map_or_else(|| BATCHES.to_vec(), |batch| vec![batch]);
    let mut columns = vec![
        Column::new("", Align::Left),
        Column::new("policy", Align::Left),
        Column::new("at", Align::Right),
        Column::new("predicted", Align::Right),
        Column::new("floor", Align::Right),
    ];
    columns.extend(Cause::ALL.map(|cause| Column::new(cause.name(), Align::Right).expendable(1)));
    let (mut table, stages) = (Table::new(columns), Stages::new(targets.len() * batches.len()));
    for name in targets {
        let target = input::target(name, TtnnRelease::latest())?;
        for &batch in &batches {
            stages.next(format_args!("steps of {} on {name}, batch {batch}", model.name));
            let options = Options { batch, ..Options::for_model(model) };
            for floor in floors(model, &target, &options, &POSITIONS).into_diagnostic()? {
                table.row(row(&format!("{} b{batch}", target.card.name), &floor));
            }
        }
    }
    drop(stages);
    let mut page = Page::default();
    page.prose(format!(
        "{}, a decode step. Times are predicted; the floor is what weights and cached keys and values take at the peak of the DRAM.\n\
         Columns after it are the milliseconds above the floor, by what passes them.\n\n",
        model.name
    ));
    page.table(table);
    Ok(page)
}

fn row(title: &str, floor: &Floor) -> Vec<String> {
    let step = [
        title.to_owned(),
        floor.policy.to_string(),
        floor.position.to_string(),
        units::banded(floor.us, floor.band_us),
        units::time(floor.floor_us),
    ];
    step.into_iter().chain(floor.above_us.map(|us| format!("{:.2}", us / 1000.0))).collect()
}
