//! `bitnetc rules`: what TT-NN asks of each call, and where it says so.

use std::fmt::Write as _;

use bitnetc_plan::ttnn::{Constraint, RULES, Rule, Source};
use miette::{MietteDiagnostic, Report};
use owo_colors::OwoColorize as _;
use serde_json::{Value, json};

use crate::input;
use crate::render;

/// List the constraints of TT-NN's calls, each with its source.
///
/// Every constraint has an id that `ask`, `check`, `explain` and `ttnn oracle` refer to. Its source is TT-NN's file or function that refuses
/// other calls, or, where bitnetc is narrower than TT-NN, the reason.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc rules
  bitnetc rules rms_norm
  bitnetc rules matmul --json")]
pub struct Args {
    /// The rule, named like the call in a plan: `matmul`, `rms_norm` [default: all]
    op: Option<String>,
    /// One JSON object per constraint
    #[arg(long)]
    json: bool,
}

/// Prints the constraints.
///
/// # Errors
/// No rule of that name.
pub fn run(args: &Args) -> miette::Result<()> {
    let rules: Vec<&Rule> = RULES.iter().filter(|rule| args.op.as_ref().is_none_or(|op| op == rule.name)).collect();
    if rules.is_empty() {
        let op = args.op.as_deref().unwrap_or_default();
        let names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
        let meant = input::did_you_mean(op, &names);
        let help = if meant.is_empty() { format!("there are {}", names.join(", ")) } else { meant };
        return Err(Report::new(MietteDiagnostic::new(format!("there is no rule `{op}`")).with_help(help.trim_end())));
    }
    let mut text = String::new();
    for rule in rules {
        if args.json {
            rule.constraints().for_each(|c| {
                let _ = writeln!(text, "{}", object(rule, c));
            });
        } else {
            paragraph(&mut text, rule);
        }
    }
    render::print(&text).map_err(input::cannot_print)
}

fn object(rule: &Rule, constraint: &Constraint) -> Value {
    let (by, source) = match constraint.source {
        Source::Ttnn(file) => ("ttnn", file),
        Source::Bitnetc(reason) => ("bitnetc", reason),
    };
    json!({
        "rule": rule.name,
        "id": constraint.id(),
        "holds": constraint.holds,
        "by": by,
        "source": source,
        "text": constraint.text,
        "hint": constraint.hint,
    })
}

fn paragraph(text: &mut String, rule: &Rule) {
    let _ = writeln!(text, "{}", rule.name.bold());
    for constraint in rule.constraints() {
        let _ = writeln!(text, "  {}\n    {}\n    {}", constraint.id(), constraint.holds, constraint.source.dimmed());
    }
    text.push('\n');
}
