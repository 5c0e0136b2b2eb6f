//! Rows that were measured beside what the cost model predicts of them.

use bitnetc_compiler::target::Target;
use bitnetc_lab::priced::PricedStep;
use bitnetc_lab::rows::{CallRow, PrefillRow, Rows, Scheduled, StepRow, Use};

use super::{Cards, Errors, refit};
use crate::input;
use crate::render::{Align, Column, Page, Table, units};

/// Whether rows of a use belong to a group.
type Belongs = fn(&Use) -> bool;

/// Every row; of the model named, also the calls that its steps are priced of.
pub fn page(rows: &Rows, cards: &Cards, detailed: Option<&str>) -> miette::Result<Page> {
    let (mut page, mut details) = (Page::default(), Page::default());
    let groups: [(_, Belongs, _); 3] = [
        (
            "decode steps used in the fit",
            |used| *used == Use::Fit,
            ": how well the model fits, not how well it predicts",
        ),
        ("decode steps that a constant was read off", |used| matches!(used, Use::Sets(_)), ""),
        ("decode steps not used in the fit", |used| *used == Use::None, ": how well it predicts"),
    ];
    for (title, belongs, what) in groups {
        let of = cards.of(&rows.steps, |r| &r.target).filter(|(_, r)| belongs(&r.used));
        let (mut table, mut errors) = (step_table(), Errors::default());
        for (target, row) in of {
            table.row(step_cells(target, row, &mut errors, detailed, &mut details)?);
        }
        errors.tell(&mut page, title, table, what);
    }
    page.append(refit::left_out(rows, cards)?);
    let (mut table, mut errors) = (prefill_table(), Errors::default());
    for (target, row) in cards.of(&rows.prefills, |r| &r.target) {
        table.row(prefill_cells(target, row, &mut errors)?);
    }
    errors.tell(&mut page, "times to the first token, none of them used in the fit", table, "");
    for (title, set) in [("calls not used for any constant", false), ("calls that a constant was read off", true)] {
        let of = cards.of(&rows.calls, |r| &r.target).filter(|(_, r)| (r.used != Use::None) == set);
        let (mut table, mut errors) = (call_table(), Errors::default());
        for (target, row) in of {
            table.row(call_cells(target, row, &mut errors));
        }
        errors.tell(&mut page, title, table, "");
    }
    page.prose("Every step ends in a host loop that samples, our plan's too: its argmax is left out.\n");
    page.legend(ALONE, "\"card alone\" is without that loop.\n");
    page.legend(BAND, "\"band\" is what the bands of the cost model's constants leave possible.\n");
    page.prose(
        "\"kernel\" rows are kernels alone, without the gap to the next program. Every prediction is the cost model's; nothing was run on a card.\n",
    );
    page.append(details);
    Ok(page)
}

/// Columns that are explained below the tables.
const ALONE: &str = "card alone";
const BAND: &str = "band";

fn step_table() -> Table {
    Table::new(vec![
        Column::new("card", Align::Left),
        Column::new("model", Align::Left),
        Column::new("setting", Align::Left).wrapped(14),
        Column::new("measured t/s", Align::Right),
        Column::new("predicted t/s", Align::Right),
        Column::new("error", Align::Right),
        Column::new(BAND, Align::Right).expendable(2),
        Column::new(ALONE, Align::Right).expendable(4),
        Column::new("our plan, predicted t/s", Align::Right).expendable(1),
        Column::new("source", Align::Left).wrapped(16).expendable(5),
        Column::new("note", Align::Left).wrapped(24).expendable(3),
    ])
}

fn step_cells(
    target: &Target,
    row: &StepRow,
    errors: &mut Errors,
    detailed: Option<&str>,
    details: &mut Page,
) -> miette::Result<Vec<String>> {
    let model = input::model(&row.model)?;
    let mut notes = Vec::new();
    let (predicted, error, card) = match row.predict(&model, target) {
        Ok(step) => {
            if detailed == Some(row.model.as_str()) {
                calls(details, row, target, &step);
            }
            let speed = step.tokens_per_s();
            let card = format!("{:.1}", 1e6 / step.device_us());
            (format!("{speed:.1}"), errors.add(speed / row.tokens_per_s - 1.0), card)
        }
        Err(why) => {
            notes.push(why.to_string());
            ("-".into(), "-".into(), "-".into())
        }
    };
    let band = row.band_us(&model, target).map(|(least, most)| format!("{:.1} to {:.1}", 1e6 / most, 1e6 / least));
    let ours = match row.plan(&model, target) {
        Ok(step) => format!("{:.1}", step.tokens_per_s()),
        Err(why) => {
            notes.push(format!("our plan: {why}"));
            "-".into()
        }
    };
    if !row.note.is_empty() {
        notes.push(row.note.clone());
    }
    Ok(vec![
        target.card.name.clone(),
        row.model.clone(),
        row.setting(),
        format!("{:.1}", row.tokens_per_s),
        predicted,
        error,
        band.unwrap_or_else(|| "-".into()),
        card,
        ours,
        row.source.clone(),
        notes.join("; "),
    ])
}

fn prefill_table() -> Table {
    Table::new(vec![
        Column::new("card", Align::Left),
        Column::new("model", Align::Left),
        Column::new("setting", Align::Left).wrapped(14),
        Column::new("tokens", Align::Right),
        Column::new("measured ms", Align::Right),
        Column::new("predicted ms", Align::Right),
        Column::new("error", Align::Right),
        Column::new("source", Align::Left).wrapped(16).expendable(2),
        Column::new("note", Align::Left).wrapped(24).expendable(1),
    ])
}

fn prefill_cells(target: &Target, row: &PrefillRow, errors: &mut Errors) -> miette::Result<Vec<String>> {
    let model = input::model(&row.model)?;
    let (predicted, error, note) = match row.predict(&model, target) {
        Ok(ms) => (format!("{ms:.1}"), errors.add(ms / row.ms - 1.0), row.note.clone()),
        Err(why) => ("-".into(), "-".into(), why.to_string()),
    };
    let (card, tokens, measured) = (target.card.name.clone(), row.tokens.to_string(), format!("{}", row.ms));
    let (model, label, source) = (row.model.clone(), row.label.clone(), row.source.clone());
    Ok(vec![card, model, label, tokens, measured, predicted, error, source, note])
}

fn call_table() -> Table {
    Table::new(vec![
        Column::new("card", Align::Left),
        Column::new("call", Align::Left).wrapped(20),
        Column::new("measured us", Align::Right),
        Column::new("predicted us", Align::Right),
        Column::new("error", Align::Right),
        Column::new(BAND, Align::Right).expendable(1),
        Column::new("constant", Align::Left).expendable(4),
        Column::new("source", Align::Left).wrapped(16).expendable(3),
        Column::new("note", Align::Left).wrapped(24).expendable(2),
    ])
}

fn call_cells(target: &Target, row: &CallRow, errors: &mut Errors) -> Vec<String> {
    let (least, most) = row.us;
    let measured = if least == most { format!("{least}") } else { format!("{least} to {most}") };
    let (predicted, error, note) = match row.predict(target) {
        Ok(us) => (format!("{us:.1}"), errors.add(us / row.middle_us() - 1.0), row.note.clone()),
        Err(why) => ("-".into(), "-".into(), format!("{why}; {}", row.note)),
    };
    let band = row.band_us(target).map_or_else(|| "-".into(), |(least, most)| format!("{least:.1} to {most:.1}"));
    let kernel = if row.kernel { ", kernel" } else { "" };
    let constant = if let Use::Sets(name) = &row.used { name.clone() } else { String::new() };
    let what = format!("{}{kernel}", row.what);
    vec![target.card.name.clone(), what, measured, predicted, error, band, constant, row.source.clone(), note]
}

/// The calls that a step is priced of.
fn calls(page: &mut Page, row: &StepRow, target: &Target, step: &PricedStep) {
    let mut table = Table::new(vec![
        Column::new("call", Align::Left).wrapped(20),
        Column::new("times", Align::Right),
        Column::new("each", Align::Right),
        Column::new("all", Align::Right),
        Column::new("DRAM", Align::Right),
        Column::new("bound", Align::Left),
    ]);
    // The parts of the interleaved schedule are sums over calls of several kinds.
    let parts = row.schedule == Scheduled::Interleaved;
    for call in &step.calls {
        let (dram, bound) = (call.cost.dram_bytes * u64::from(call.times), format!("{:?}", call.cost.bound));
        table.row(vec![
            call.name.clone(),
            call.times.to_string(),
            units::time(call.cost.us),
            units::time(call.cost.us * f64::from(call.times)),
            if parts { "-".into() } else { units::bytes(dram) },
            if parts { "-".into() } else { bound },
        ]);
    }
    page.prose(format!(
        "\n{} on {}, {}: {} on the card and {} on the host, predicted\n",
        row.model,
        target.card.name,
        row.setting(),
        units::time(step.device_us()),
        units::time(step.host_us)
    ));
    page.table(table);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn rows_fit_every_terminal() {
        let mut rows = Rows::published().unwrap();
        rows.steps.retain(|row| row.model == "llama-3.2-1b");
        rows.prefills.truncate(1);
        let cards = Cards::new(&rows, Some("n150")).unwrap();
        let page = page(&rows, &cards, Some("llama-3.2-1b")).unwrap();
        fits(&page);
        let (wide, narrow) = (page.render(None), page.render(Some(80)));
        assert!(wide.contains("\"card alone\" is") && !narrow.contains("\"card alone\" is"), "{narrow}");
    }
}
