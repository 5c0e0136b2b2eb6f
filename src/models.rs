//! `bitnetc models`: the models that come with bitnetc.

use std::sync::atomic::{AtomicU64, Ordering};

use bitnetc_compiler::model::{self, Model, Shipped};
use bitnetc_compiler::target::{NAMES, Target};
use bitnetc_compiler::{Options, compile};
use miette::{IntoDiagnostic, miette};
use schemars::JsonSchema;
use serde::Serialize;

use crate::document::{self, Content};
use crate::input;
use crate::render::{self, Align, Column, Page, Progress, Table, Width};

/// List the models that can be planned by name.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc models              # a plan of each for every card: it takes a while
  bitnetc models --quick --json | jq -r '.models[].name'

A model is found by its name here or by the name it is published under, such as microsoft/bitnet-b1.58-2B-4T. Any \
    other checkpoint of its kind becomes a model file with `bitnetc import`.")]
pub struct Args {
    /// Leave out which cards the models fit, which takes a plan for each
    #[arg(long)]
    quick: bool,
    /// JSON for tools
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    width: Width,
}

/// The models that can be planned by name.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Models")]
pub struct Document {
    models: Vec<Listed>,
}

impl Content for Document {
    const KIND: &'static str = "models";
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Model")]
struct Listed {
    name: String,
    /// The names under which it is published; none for the one that comes along.
    published: Vec<String>,
    parameters: u64,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Tokens of the longest context.
    context: usize,
    /// The licence of the weights.
    licence: String,
    /// The cards that a decode plan for one user with default options can be made for; null with --quick.
    fits: Option<Vec<String>>,
}

/// Lists the shipped models.
///
/// # Errors
/// A stdout that takes no more.
pub fn run(args: &Args) -> miette::Result<()> {
    let models = listed(args.quick)?;
    if args.json {
        return render::print(&document::text(&Document { models })?).map_err(input::cannot_print);
    }
    args.width.print(&page(&models))
}

/// Every shipped model. A plan for every card takes a while, unless it is to be quick; models are independent.
fn listed(quick: bool) -> miette::Result<Vec<Listed>> {
    let all = (model::shipped().len() * NAMES.len()) as u64;
    let (progress, done) = (Progress::new("planning every model for every card"), AtomicU64::new(0));
    let another = &|| progress.at(done.fetch_add(1, Ordering::Relaxed) + 1, all);
    std::thread::scope(|scope| {
        let of = |shipped: &'static Shipped| {
            scope.spawn(move || {
                let model = shipped.model()?;
                let fits = if quick { None } else { Some(cards(&model, another)?) };
                Ok(one(shipped, &model, fits))
            })
        };
        let running: Vec<_> = model::shipped().iter().map(of).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(miette!("planning failed")))).collect()
    })
}

fn one(shipped: &Shipped, model: &Model, fits: Option<Vec<String>>) -> Listed {
    let dim = |name: &str| model.dims.get(name).copied().unwrap_or_default();
    Listed {
        name: shipped.name.into(),
        published: shipped.published.iter().map(|name| String::from(*name)).collect(),
        parameters: u64::try_from(model.parameters()).unwrap_or(u64::MAX),
        layers: model.layers,
        heads: dim("heads"),
        kv_heads: dim("kv_heads"),
        head_dim: dim("head_dim"),
        context: model.context,
        licence: shipped.licence.into(),
        fits,
    }
}

fn page(models: &[Listed]) -> Page {
    let mut table = Table::new(vec![
        Column::new("model", Align::Left),
        Column::new("published as", Align::Left).wrapped(20).expendable(2),
        Column::new("parameters", Align::Right),
        Column::new("layers", Align::Right).expendable(4),
        Column::new("heads", Align::Right).expendable(5),
        Column::new("context", Align::Right).expendable(3),
        Column::new("licence of the weights", Align::Left).expendable(6),
        Column::new("fits", Align::Left).expendable(1),
    ]);
    for model in models {
        let parameters = model.parameters as f64;
        let fits = model.fits.as_ref().map(|cards| if cards.is_empty() { "none".into() } else { cards.join(" ") });
        table.row(vec![
            model.name.clone(),
            model.published.first().map_or("comes along", String::as_str).to_owned(),
            if parameters < 1e9 { format!("{:.0} M", parameters / 1e6) } else { format!("{:.1} G", parameters / 1e9) },
            model.layers.to_string(),
            format!("{}/{} of {}", model.heads, model.kv_heads, model.head_dim),
            model.context.to_string(),
            model.licence.clone(),
            fits.unwrap_or_default(),
        ]);
    }
    let mut page = Page::default();
    page.table(table);
    page
}

/// The cards that a decode plan for one user with default options can be made for; `each` is told of every one that was tried.
fn cards(model: &Model, each: &(impl Fn() + Sync)) -> miette::Result<Vec<String>> {
    let options = Options { prefill: Vec::new(), ..Options::for_model(model) };
    let mut fits = Vec::new();
    for name in NAMES {
        let target = Target::find(name).into_diagnostic()?;
        if compile(model, &target, &options).is_ok() {
            fits.push(name.into());
        }
        each();
    }
    Ok(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn the_table_fits_every_terminal() {
        let mut models = listed(true).unwrap();
        fits(&page(&models));
        models.iter_mut().for_each(|model| model.fits = Some(NAMES.map(String::from).to_vec()));
        fits(&page(&models));
        assert!(page(&models).render(Some(80)).contains("n150 n300 p100 p150"));
    }
}
