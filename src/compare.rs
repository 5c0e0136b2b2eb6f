//! `bitnetc compare`: what each precision policy costs in accuracy and buys in time.

use bitnetc_compiler::policy::Policy;
use bitnetc_runtime::LoadOptions;

use crate::eval::{self, Inputs, Reference, ReferenceWeights};
use crate::input;
use crate::load::{self, NumericsChoice, Source};
use crate::plan::Choices;
use crate::render::units::thousands;
use crate::render::{self, Align, Column, Table};

/// Tabulate the precision policies of a model: predicted time and bytes of a token, bits per byte, agreement with f32.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc compare --text play.txt
  bitnetc compare bitnet-2b-4t --weights path/to/checkpoint --text book.txt --windows 4 --target p150")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    input: Inputs,
    /// How matmuls that are not exact on integers are computed
    #[arg(long, value_enum, default_value_t = NumericsChoice::Exact)]
    numerics: NumericsChoice,
}

/// Plans, runs and tabulates.
///
/// # Errors
/// Whatever planning, weights, tokenizer, files or a plan's steps refuse.
pub fn run(args: Args) -> miette::Result<()> {
    let mut table = Table::new(vec![
        Column::new("policy", Align::Left),
        Column::new("us/token", Align::Right),
        Column::new("bytes/token", Align::Right),
        Column::new("bits/byte", Align::Right),
        Column::new("PCC", Align::Right),
        Column::new("top-1 %", Align::Right),
        Column::new("top-5 %", Align::Right).expendable(1),
    ]);
    let name = args.source.plan.as_deref().unwrap_or(load::SMALL_MODEL);
    for policy in Policy::ALL {
        let choices = Choices { policy, ..args.source.choices.clone() };
        let plan = choices.compile(name)?.plan;
        let cost = plan.decode().map(|phase| phase.cost).unwrap_or_default();
        let weights = args.source.weights(&plan)?;
        let reads = ReferenceWeights::new(&weights)?;
        let reference = Reference::new(&args.source, &plan, &reads)?;
        let path = args.source.weights_path(&plan)?;
        let users = f64::from(plan.options.batch);
        let mut session = load::session(plan, &weights, args.numerics.into(), &LoadOptions::default())?;
        let windows = eval::windows(&args.input, &session, &path)?;
        let measured = eval::measure(&mut session, &windows, Some(&reference), |_, _| {})?;
        let bits = measured.bits_per_byte().map_or_else(|| "-".into(), |bits| format!("{bits:.4}"));
        let agreement = &measured.agreement;
        table.row(vec![
            policy.to_string(),
            format!("{:.0}", (cost.device_us + cost.host_us.unwrap_or(0.0)) / users),
            thousands((cost.dram_bytes as f64 / users) as u64),
            bits,
            format!("{:.5}", agreement.pcc()),
            format!("{:.2}", 100.0 * agreement.top1()),
            format!("{:.2}", 100.0 * agreement.top5()),
        ]);
    }
    let mut text = table.render(render::width());
    text += "times and bytes are predicted for the card; the rest is measured on the host, against the f32 reference\n";
    render::print(&text).map_err(input::cannot_print)
}
