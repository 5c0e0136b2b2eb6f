//! `bitnetc models`: the models that come with bitnetc.

use bitnetc_compiler::model::{self, Shipped};
use bitnetc_compiler::target::{NAMES, Target};
use bitnetc_compiler::{Options, compile};
use miette::{IntoDiagnostic, miette};

use crate::input;
use crate::render::{self, Align, Column, Table};

/// List the models that can be planned by name.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A model is found by its name here or by the name it is published under, such as microsoft/bitnet-b1.58-2B-4T. Any \
    other checkpoint of its kind becomes a model file with `bitnetc import`."
)]
pub struct Args {
    /// Leave out which cards the models fit, which takes a plan for each
    #[arg(long)]
    quick: bool,
}

/// Prints a table of the shipped models.
///
/// # Errors
/// A stdout that takes no more.
pub fn run(args: Args) -> miette::Result<()> {
    let mut columns = vec![
        Column::new("model", Align::Left),
        Column::new("published as", Align::Left),
        Column::new("parameters", Align::Right),
        Column::new("layers", Align::Right),
        Column::new("heads", Align::Right),
        Column::new("context", Align::Right),
        Column::new("licence of the weights", Align::Left),
    ];
    if !args.quick {
        columns.push(Column::new("fits", Align::Left));
    }
    let mut table = Table::new(columns);
    // A plan for every card takes a while; models are independent.
    let cards: Vec<miette::Result<String>> = std::thread::scope(|scope| {
        let of = |shipped: &'static Shipped| {
            scope.spawn(move || if args.quick { Ok(String::new()) } else { cards(shipped) })
        };
        let running: Vec<_> = model::shipped().iter().map(of).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(miette!("planning failed")))).collect()
    });
    for (shipped, cards) in model::shipped().iter().zip(cards) {
        let model = shipped.model()?;
        let dim = |name: &str| model.dims.get(name).copied().unwrap_or_default();
        let parameters = model.parameters() as f64;
        let mut row = vec![
            shipped.name.to_string(),
            shipped.published.first().unwrap_or(&"comes along").to_string(),
            if parameters < 1e9 { format!("{:.0} M", parameters / 1e6) } else { format!("{:.1} G", parameters / 1e9) },
            model.layers.to_string(),
            format!("{}/{} of {}", dim("heads"), dim("kv_heads"), dim("head_dim")),
            model.context.to_string(),
            shipped.licence.to_string(),
        ];
        if !args.quick {
            row.push(cards?);
        }
        table.row(row);
    }
    render::print(&table.render(render::width())).map_err(input::cannot_print)
}

/// The cards that a decode plan for one user with default options can be made for.
fn cards(shipped: &Shipped) -> miette::Result<String> {
    let model = shipped.model()?;
    let options = Options { prefill: Vec::new(), ..Options::for_model(&model) };
    let mut fits = Vec::new();
    for name in NAMES {
        let target = Target::find(name).into_diagnostic()?;
        if compile(&model, &target, &options).is_ok() {
            fits.push(name);
        }
    }
    Ok(if fits.is_empty() { "none".into() } else { fits.join(" ") })
}
