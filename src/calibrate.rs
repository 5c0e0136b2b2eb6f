//! `bitnetc calibrate`: the cost model beside published measurements.

use bitnetc_compiler::calibration::{self, ROWS, Row, Setting, Shape, Step};
use bitnetc_compiler::model::Model;
use bitnetc_compiler::policy::Override;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile};
use miette::IntoDiagnostic as _;

use crate::input;
use crate::render::{self, Align, Column, Table, units};

/// Compare the cost model with published decode speeds.
///
/// What was measured is tt_transformers' schedule on an N150 (one user, about 256 tokens of context), so that schedule is priced, by the
/// functions that price plans. Beside it stands what is predicted of our own plan.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc calibrate
  bitnetc calibrate --calls llama-3.1-8b     what the measured schedule is priced of")]
pub struct Args {
    /// Print the priced calls of this model's rows, too
    #[arg(long, value_name = "MODEL")]
    calls: Option<String>,
    /// A target's RON file to judge instead of the shipped n150
    #[arg(long, default_value = "n150")]
    target: String,
}

/// Prices every row and prints it.
///
/// # Errors
/// When the target cannot be had or `--calls` names no row.
pub fn run(args: Args) -> miette::Result<()> {
    if let Some(name) = args.calls.as_deref().filter(|name| ROWS.iter().all(|r| r.model != *name)) {
        let mut names: Vec<_> = ROWS.iter().map(|r| r.model).collect();
        names.dedup();
        miette::bail!(help = format!("there are {}", names.join(", ")), "no calibration row is of `{name}`");
    }
    let target = Target::find(&args.target).into_diagnostic()?;
    let mut table = Table::new(vec![
        Column::new("model", Align::Left),
        Column::new("setting", Align::Left),
        Column::new("measured t/s", Align::Right),
        Column::new("predicted t/s", Align::Right),
        Column::new("error", Align::Right),
        Column::new("in the fit", Align::Left),
        Column::new("our plan, predicted t/s", Align::Right),
        Column::new("note", Align::Left).wrapped(24).expendable(1),
    ]);
    let (mut details, mut worst, mut sum) = (String::new(), 0.0_f64, 0.0);
    for row in &ROWS {
        let model = input::model(row.model)?;
        let shape = Shape::of(&model).into_diagnostic()?;
        let step = calibration::reference(&shape, row.setting, &target).into_diagnostic()?;
        let error = step.tokens_per_s() / row.measured - 1.0;
        worst = worst.max(error.abs());
        sum += error.abs();
        let (ours, note) = match plan(&model, row, &target) {
            Ok(speed) => (format!("{speed:.1}"), String::new()),
            Err(why) => ("-".into(), why),
        };
        table.row(vec![
            row.model.into(),
            row.setting.to_string(),
            format!("{:.1}", row.measured),
            format!("{:.1}", step.tokens_per_s()),
            format!("{:+.1} %", 100.0 * error),
            "yes".into(),
            ours,
            note,
        ]);
        if args.calls.as_deref() == Some(row.model) {
            details.push_str(&calls(row, &step));
        }
    }
    let mut text = table.render(render::width());
    text.push_str(&format!(
        "\nerror: {:.1} % in the mean, {:.1} % at most. All rows were used in the fit of {}'s period, host time and K-block constants,\n\
         so this is how well the model fits, not how well it predicts. Each prediction is for one user at position {}.\n",
        100.0 * sum / ROWS.len() as f64,
        100.0 * worst,
        target.card.name,
        calibration::POSITION,
    ));
    text.push_str(&details);
    render::print(&text).map_err(input::cannot_print)
}

/// Predicted tokens per second of our own plan of a row, whose host samples, or why there is none.
fn plan(model: &Model, row: &Row, target: &Target) -> Result<f64, String> {
    let mut options = Options::for_model(model);
    options.position = Some(calibration::POSITION);
    options.prefill = Vec::new();
    if row.setting == Setting::Accuracy {
        let set = |text: &str| text.parse::<Override>().map_err(|e| e.to_string());
        options.overrides =
            vec![set("gate=bfp8")?, set("decode:gate=/HiFi2")?, set("up=bfp8")?, set("decode:up=/HiFi2")?];
    }
    let compiled = compile(model, target, &options).map_err(|e| e.to_string())?;
    let decode = compiled.plan.decode().ok_or("the plan has no decode phase")?;
    Ok(1e6 / (decode.cost.device_us + target.cost.host_sampling_us))
}

fn calls(row: &Row, step: &Step) -> String {
    let mut table = Table::new(vec![
        Column::new("call", Align::Left),
        Column::new("times", Align::Right),
        Column::new("each", Align::Right),
        Column::new("all", Align::Right),
        Column::new("DRAM", Align::Right),
        Column::new("bound", Align::Left),
    ]);
    for call in &step.calls {
        table.row(vec![
            call.name.into(),
            call.times.to_string(),
            units::time(call.cost.us),
            units::time(call.cost.us * f64::from(call.times)),
            units::bytes(call.cost.dram_bytes * u64::from(call.times)),
            format!("{:?}", call.cost.bound),
        ]);
    }
    format!(
        "\n{} {}: {} on the card and {} on the host, predicted\n{}",
        row.model,
        row.setting,
        units::time(step.device_us()),
        units::time(step.host_us),
        table.render(render::width())
    )
}
