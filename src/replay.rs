//! A plan against the real TT-NN on a mock card: the table, and what makes it fail.

use std::fmt::Write as _;
use std::path::Path;

use bitnetc_plan::{Card, Plan, TtnnRelease};
use bitnetc_ttnn::{CardKind, CardOptions, MockCard, OpenCard, PhaseReport, PythonEnv, Tally, Wanted, replay};
use miette::{IntoDiagnostic, miette};

use crate::render::units::thousands;
use crate::render::{Align, Column, Page, Progress, Table, Width};

/// Opens the mock of a card under a release of TT-NN.
///
/// # Errors
/// No interpreter with that release, or no mock of such a card.
pub fn open(card: &Card, python: Option<&Path>, release: &'static TtnnRelease) -> miette::Result<OpenCard> {
    let env = PythonEnv::find(python, Wanted::Only(release)).into_diagnostic()?;
    open_in(&env, card)
}

/// Opens the mock of a card in an interpreter that was found.
///
/// # Errors
/// No mock of such a card, or TT-NN does not open it.
pub fn open_in(env: &PythonEnv, card: &Card) -> miette::Result<OpenCard> {
    let mock = MockCard::of(card).into_diagnostic()?;
    let device = OpenCard::open(env, CardKind::Mock(mock), CardOptions::default()).into_diagnostic()?;
    Ok(device)
}

/// Replays a plan on the mock of its card and prints what agrees.
///
/// # Errors
/// When TT-NN cannot be had, and when it disagrees with the plan.
pub fn against_ttnn(plan: &Plan, python: Option<&Path>, width: Width) -> miette::Result<()> {
    let release = TtnnRelease::find(&plan.release).into_diagnostic()?;
    let progress = Progress::waiting("every call asked of TT-NN");
    let device = open(&plan.card, python, release)?;
    let reports = replay(&device, plan).into_diagnostic()?;
    device.close().into_diagnostic()?;
    drop(progress);
    width.print(&page(&reports))?;
    let differing = reports.iter().filter(|r| !r.agrees()).count();
    if differing > 0 {
        return Err(miette!("TT-NN disagrees with {differing} of {} phases", reports.len()));
    }
    Ok(())
}

fn tally(tally: Tally) -> String {
    if tally.complete() {
        thousands(tally.of)
    } else {
        format!("{} of {}", thousands(tally.equal), thousands(tally.of))
    }
}

/// The agreement of each phase, then every difference kept.
fn page(reports: &[PhaseReport]) -> Page {
    let mut table = Table::new(vec![
        Column::new("phase", Align::Left),
        Column::new("calls accepted", Align::Right).wrapped(9),
        Column::new("specs equal", Align::Right).wrapped(9),
        Column::new("addresses equal", Align::Right).wrapped(9),
        Column::new("CB sizes equal", Align::Right).wrapped(9),
        Column::new("operations equal", Align::Right).wrapped(9).expendable(1),
        Column::new("L1 predicted", Align::Right).expendable(4),
        Column::new("L1 real", Align::Right).expendable(3),
        Column::new("DRAM predicted", Align::Right).expendable(6),
        Column::new("DRAM real", Align::Right).expendable(5),
    ]);
    for report in reports {
        table.row(vec![
            report.phase.clone(),
            tally(report.accepted),
            tally(report.specs),
            tally(report.addresses),
            tally(report.buffers),
            tally(report.operations),
            thousands(report.planned_high_water),
            thousands(report.found_high_water),
            thousands(report.planned_dram),
            thousands(report.found_dram),
        ]);
    }
    let mut page = Page::default();
    page.table(table);
    for difference in reports.iter().flat_map(|r| &r.differences) {
        let _ = writeln!(page, "{difference}");
    }
    page
}

#[cfg(test)]
mod tests {
    use bitnetc_ttnn::Difference;

    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn the_table_fits_every_terminal() {
        let differences = vec![Difference {
            phase: "prefill 2048".into(),
            layer: Some(12),
            step: "ffn_sub_norm".into(),
            what: "address",
            planned: "1,344,512".into(),
            found: "1,344,480".into(),
        }];
        let some = Tally { equal: 12_345, of: 12_346 };
        let report = PhaseReport {
            phase: "prefill 2048".into(),
            accepted: some,
            specs: some,
            addresses: some,
            buffers: some,
            operations: some,
            high_waters: some,
            planned_high_water: 1_344_512,
            found_high_water: 1_344_480,
            planned_dram: 1_073_741_824,
            found_dram: 1_073_741_824,
            differences,
        };
        fits(&page(&[report]));
    }
}
