//! The fit of the cost model's constants, done again.

use bitnetc_compiler::target::Target;
use bitnetc_lab::calibration::Shape;
use bitnetc_lab::calibration::refit::{self, Refit, SizedRow};
use bitnetc_lab::rows::{Rows, Scheduled, Use};
use miette::{IntoDiagnostic as _, miette};

use super::{Cards, Errors};
use crate::input;
use crate::render::{Align, Column, Page, Table};

/// The rows of a card that constants are fitted to.
fn fitted(rows: &Rows, card: &str) -> miette::Result<Vec<SizedRow>> {
    let mut fitted = Vec::new();
    for row in &rows.steps {
        let priced = matches!(row.schedule, Scheduled::TtTransformers | Scheduled::QkvSharded);
        if row.used == Use::Fit && row.target == card && priced {
            fitted.push((row.clone(), Shape::of(&input::model(&row.model)?).into_diagnostic()?));
        }
    }
    Ok(fitted)
}

/// Each row of the fit predicted with constants that were fitted to the others.
pub fn left_out(rows: &Rows, cards: &Cards) -> miette::Result<Page> {
    let mut table = Table::new(vec![
        Column::new("card", Align::Left),
        Column::new("model", Align::Left),
        Column::new("setting", Align::Left).wrapped(14),
        Column::new("measured t/s", Align::Right),
        Column::new("error", Align::Right),
    ]);
    let (mut page, mut errors) = (Page::default(), Errors::default());
    for (name, target) in &cards.0 {
        let fitted = fitted(rows, name)?;
        // With fewer rows than constants and one, a row that is left out leaves too little to fit to.
        if fitted.len() <= refit::CONSTANTS.len() {
            continue;
        }
        let found = refit::refit(&fitted, target).into_diagnostic()?;
        for ((row, _), residual) in fitted.iter().zip(&found.residuals) {
            let measured = format!("{:.1}", row.tokens_per_s);
            table.row(vec![name.clone(), row.model.clone(), row.setting(), measured, errors.add(residual.left_out)]);
        }
    }
    errors.tell(&mut page, "decode steps used in the fit, each by the fit to all the others", table, "");
    Ok(page)
}

/// The fit again, card by card.
pub fn page(rows: &Rows, cards: &Cards) -> miette::Result<Page> {
    let mut page = Page::default();
    for (name, target) in &cards.0 {
        let fitted = fitted(rows, name)?;
        if fitted.is_empty() {
            continue;
        }
        let found = refit::refit(&fitted, target).into_diagnostic()?;
        tell(&mut page, &found, &fitted, target);
    }
    if page.is_empty() {
        let help = "only steps of tt_transformers with `used: Fit` are fitted to; the published ones are of n150";
        return Err(miette!(help = help, "no row was used in a fit"));
    }
    Ok(page)
}

fn tell(page: &mut Page, found: &Refit, rows: &[SizedRow], target: &Target) {
    let mut constants = Table::new(vec![
        Column::new("constant", Align::Left),
        Column::new("shipped", Align::Right),
        Column::new("fitted", Align::Right),
        Column::new("10 % more moves rows by", Align::Right).expendable(2),
        Column::new("standard error", Align::Right),
        Column::new("identified", Align::Left),
        Column::new("trades off against", Align::Left).wrapped(24).expendable(1),
    ]);
    for c in &found.constants {
        constants.row(vec![
            c.name.into(),
            format!("{:.3}", c.shipped),
            format!("{:.3}", c.fitted),
            format!("{:.2} %", 100.0 * c.sensitivity),
            c.uncertainty.map_or_else(|| "-".into(), |u| format!("{:.0} %", 100.0 * u)),
            if c.poorly_identified() { "poorly" } else { "well" }.into(),
            c.tied.map_or_else(String::new, |(name, r)| format!("{name}, correlation {r:+.2}")),
        ]);
    }
    let mut table = Table::new(vec![
        Column::new("model", Align::Left),
        Column::new("setting", Align::Left).wrapped(14),
        Column::new("measured t/s", Align::Right),
        Column::new("shipped", Align::Right),
        Column::new("fitted", Align::Right),
        Column::new("left out", Align::Right),
    ]);
    let (mut shipped, mut fitted, mut left_out) = (Errors::default(), Errors::default(), Errors::default());
    for ((row, _), r) in rows.iter().zip(&found.residuals) {
        let cells = [shipped.add(r.shipped), fitted.add(r.fitted), left_out.add(r.left_out)];
        let named = [row.model.clone(), row.setting(), format!("{:.1}", row.tokens_per_s)];
        table.row(named.into_iter().chain(cells).collect());
    }
    let (card, count) = (&target.card.name, rows.len());
    page.prose(format!("{card}: least squares of the relative error in time over {count} rows\n"));
    page.table(constants);
    page.prose(
        "\nerror of each row with the constants as shipped, fitted to all rows, and fitted to all rows but this one\n",
    );
    page.table(table);
    page.prose(format!(
        "shipped: {}\nfitted: {}\nleft out: {}\n\n\
         A constant is poorly identified when its standard error is above {:.0} %: others can make up for it. The shipped ones stay until a \
         row decides between them.\n",
        shipped.summary(),
        fitted.summary(),
        left_out.summary(),
        100.0 * refit::POOR,
    ));
}

#[cfg(test)]
mod tests {
    use bitnetc_lab::calibration::refit::{Fitted, Residual};

    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn a_fit_fits_every_terminal() {
        let (name, tied) = ("dram_sharded.tile_cycles", Some(("dram_sharded.block_us", -0.93)));
        let constant =
            |uncertainty| Fitted { name, shipped: 13.5, fitted: 4760.858, sensitivity: 0.0188, uncertainty, tied };
        let rows = fitted(&Rows::published().unwrap(), "n150").unwrap();
        let residuals = rows.iter().map(|_| Residual { shipped: 0.039, fitted: -0.021, left_out: 0.046 }).collect();
        let found = Refit { constants: vec![constant(Some(0.24)), constant(None)], residuals };
        let mut page = Page::default();
        tell(&mut page, &found, &rows, &Target::find("n150").unwrap());
        fits(&page);
        assert!(page.render(None).contains("left out: 6 rows, 4.6 % off in the mean"));
    }
}
