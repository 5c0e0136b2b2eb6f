//! `bitnetc compare`: what each precision policy, and folding weight scales into constants, costs in accuracy and buys in time.

use std::collections::BTreeSet;

use bitnetc_compiler::policy::Policy;
use bitnetc_plan::{Phase, PhaseKind, Plan};
use bitnetc_runtime::LoadOptions;
use miette::miette;

use crate::device::DeviceChoice;
use crate::eval::{self, Computed, Expected, Inputs, Measured, Reference, ReferenceWeights};
use crate::load::{self, NumericsChoice, Source};
use crate::plan::Choices;
use crate::render::units::thousands;
use crate::render::{Align, Column, Page, Stages, Table, Width};

/// Tabulate the precision policies of a model, weight scales folded and not: predicted time and bytes of a token, bits per byte,
/// agreement with f32.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc compare --text play.txt
  bitnetc compare bitnet-2b-4t --weights path/to/checkpoint --text book.txt \\
      --windows 4 --target p150")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    pub device: DeviceChoice,
    #[command(flatten)]
    input: Inputs,
    /// How matmuls that are not exact on integers are computed
    #[arg(long, value_enum, default_value_t = NumericsChoice::Exact)]
    numerics: NumericsChoice,
    #[command(flatten)]
    width: Width,
}

/// Logits of the reference that are kept from one row to the next, 512 MB: more are computed again for each.
const MOST_KEPT: usize = 1 << 27;

/// Plans, runs and tabulates.
///
/// # Errors
/// Any error of planning, weights, tokenizer, files or a plan's steps; a plan in place of a model, or choices that the table makes itself.
pub fn run(args: Args) -> miette::Result<()> {
    let name = args.source.name();
    if args.source.planned()?.is_some() {
        return Err(miette!(help = "give the model it was made of", "`{name}` is a plan, which has one policy"));
    }
    if let Some(flag) =
        args.source.choices.given.iter().find(|flag| ["--policy", "--no-folding"].contains(&flag.as_str()))
    {
        return Err(miette!(
            help = format!("leave {flag} out"),
            "the table has every policy, with scales folded and not"
        ));
    }
    let plan = |policy, no_folding| {
        let choices = Choices { policy, no_folding, ..Choices::clone(&args.source.choices) };
        choices.compile(name).map(|compiled| compiled.plan)
    };
    let first = plan(Policy::Balanced, false)?;
    let (path, weights) = (args.source.weights_path(&first)?, args.source.weights(&first)?);
    let reads = ReferenceWeights::new(&weights)?;
    let reference = Reference::new(&args.source.model(&first, None)?, &first, &reads)?.keeping(MOST_KEPT);
    let mut table = table();
    let (mut computed_by, mut numerics) = (String::new(), BTreeSet::new());
    let stages = Stages::new(2 * Policy::ALL.len());
    for policy in Policy::ALL {
        for no_folding in [false, true] {
            let scales = if no_folding { "multiplied" } else { "folded" };
            stages.next(format_args!("{policy} policy, scales {scales}"));
            let plan = plan(policy, no_folding)?;
            let device = args.device.open(&plan, args.numerics.into())?;
            computed_by = device.name();
            numerics.insert(args.device.numerics(args.numerics, &plan));
            let mut session = load::session(device, plan, &weights, &LoadOptions::default())?;
            for phase in [Computed::Decode, Computed::Prefill] {
                let windows = eval::windows(&args.input, session.plan(), phase, &path)?;
                let longest = windows.iter().map(|w| w.tokens.len()).max().unwrap_or(0);
                let Some((kind, [us, bytes])) = predicted(session.plan(), phase, longest) else { continue };
                let measured =
                    eval::measure(&mut session, phase, &windows, Some(&Expected::Reference(&reference)), |_, _| {})?;
                let mut row = vec![
                    policy.to_string(),
                    scales.to_string(),
                    kind.to_string(),
                    format!("{us:.0}"),
                    thousands(bytes as u64),
                ];
                row.extend(accuracy(&measured));
                table.row(row);
            }
        }
    }
    drop(stages);
    let mut page = Page::default();
    page.table(table);
    page.prose(format!(
        "times and bytes are predicted for the card; the rest is measured by {computed_by}, against the f32 reference\n"
    ));
    numerics.iter().for_each(|named| page.prose(format!("{named}\n")));
    args.width.print(&page)
}

/// A row for each policy, its scales folded or not, and each phase.
fn table() -> Table {
    Table::new(vec![
        Column::new("policy", Align::Left),
        Column::new("scales", Align::Left),
        Column::new("phase", Align::Left),
        Column::new("us/token", Align::Right),
        Column::new("bytes/token", Align::Right).expendable(2),
        Column::new("bits/byte", Align::Right),
        Column::new("PCC", Align::Right),
        Column::new("top-1 %", Align::Right),
        Column::new("top-5 %", Align::Right).expendable(1),
    ])
}

/// The phase that computes windows of `tokens`, with its predicted microseconds and bytes of DRAM per token.
fn predicted(plan: &Plan, computed: Computed, tokens: usize) -> Option<(PhaseKind, [f64; 2])> {
    let size = |phase: &&Phase| match (phase.kind, computed) {
        (PhaseKind::Decode { batch }, Computed::Decode) => Some(batch),
        (PhaseKind::Prefill { tokens: bucket }, Computed::Prefill) if bucket as usize >= tokens => Some(bucket),
        _ => None,
    };
    let (phase, size) = plan.phases.iter().filter_map(|p| Some((p, size(&p)?))).min_by_key(|(_, size)| *size)?;
    let per_token = |v: f64| v / f64::from(size.max(1));
    let cost = &phase.cost;
    Some((phase.kind, [per_token(cost.device_us + cost.host_us.unwrap_or(0.0)), per_token(cost.dram_bytes as f64)]))
}

/// Bits per byte, correlation, shares of equal tokens.
fn accuracy(measured: &Measured) -> [String; 4] {
    let agreement = &measured.agreement;
    [
        measured.bits_per_byte().map_or_else(|| "-".into(), |bits| format!("{bits:.4}")),
        format!("{:.5}", agreement.pcc()),
        format!("{:.2}", 100.0 * agreement.top1()),
        format!("{:.2}", 100.0 * agreement.top5()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn the_table_fits_every_terminal() {
        let mut table = table();
        let cells =
            ["balanced", "multiplied", "prefill 2048", "123456", "2,345,678,901", "1.2345", "0.99987", "100.00"];
        table.row(cells.iter().chain(&["100.00"]).map(ToString::to_string).collect());
        let mut page = Page::default();
        page.table(table);
        fits(&page);
    }
}
