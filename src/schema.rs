//! `bitnetc schema`: the JSON Schemas of what `--json` prints.

use clap::ValueEnum;
use miette::IntoDiagnostic as _;
use serde_json::Value;

use crate::document::schema;
use crate::{bench, calibrate, check, diff, explain, input, inspect, levers, matrix, models, plan, render, rules};

/// Print the JSON Schema of what a command prints with --json.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc schema inspect
  bitnetc inspect plan.ron --json > plan.json
  bitnetc schema inspect > schema.json
  check-jsonschema --schemafile schema.json plan.json")]
pub struct Args {
    /// The command
    #[arg(value_enum)]
    command: Kind,
}

/// The commands whose documents have a schema.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Bench,
    Calibrate,
    Check,
    Diff,
    Explain,
    Inspect,
    Levers,
    Matrix,
    Models,
    Plan,
    Rules,
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Kind::Bench => schema::<bench::Document>(),
            Kind::Calibrate => schema::<calibrate::Document>(),
            Kind::Check => schema::<check::Document>(),
            Kind::Diff => schema::<diff::Document>(),
            Kind::Explain => schema::<explain::Document>(),
            Kind::Inspect => schema::<inspect::Document>(),
            Kind::Levers => schema::<levers::Document>(),
            Kind::Matrix => schema::<matrix::Document>(),
            Kind::Models => schema::<models::Document>(),
            Kind::Plan => schema::<plan::Document>(),
            Kind::Rules => schema::<rules::Document>(),
        }
    }
}

/// Prints the schema.
///
/// # Errors
/// A stdout that takes no more.
pub fn run(args: &Args) -> miette::Result<()> {
    let text = serde_json::to_string_pretty(&args.command.schema()).into_diagnostic()?;
    render::print(&(text + "\n")).map_err(input::cannot_print)
}
