//! `bitnetc rules`: what TT-NN asks of each call, and where it says so.

use std::fmt::Write as _;

use bitnetc_plan::ttnn::{Constraint, RULES, Rule, Source};
use miette::{MietteDiagnostic, Report};
use owo_colors::OwoColorize as _;
use schemars::JsonSchema;
use serde::Serialize;

use crate::document::{self, Content};
use crate::input;
use crate::render::{self, Page};

/// List the constraints of TT-NN's calls, each with its source.
///
/// Every constraint has an id that `ask`, `check`, `explain` and `ttnn oracle` refer to. Its source is TT-NN's file or function that refuses
/// other calls, or, where bitnetc is narrower than TT-NN, the reason.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc rules
  bitnetc rules rms_norm
  bitnetc rules matmul --json | jq -r '.constraints[].id'")]
pub struct Args {
    /// The rule, named like the call in a plan: `matmul`, `rms_norm` [default: all]
    op: Option<String>,
    /// JSON for tools
    #[arg(long)]
    json: bool,
}

/// The conditions that TT-NN puts on calls.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Rules")]
pub struct Document {
    constraints: Vec<Told>,
}

impl Content for Document {
    const KIND: &'static str = "rules";
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Constraint")]
struct Told {
    /// The rule it belongs to, named like the call in a plan.
    rule: String,
    /// By which `ask`, `check`, `explain` and `ttnn oracle` refer to it.
    id: String,
    /// What must hold.
    holds: String,
    /// Who asks for it.
    by: By,
    /// TT-NN's file or function, or the reason for which bitnetc is narrower.
    source: String,
    /// What is said of a call that breaks it, with names in place of its numbers.
    text: String,
    /// What would be right, in the same way.
    hint: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum By {
    Ttnn,
    Bitnetc,
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
    let text = if args.json {
        let constraints = rules.iter().flat_map(|rule| rule.constraints().map(|c| told(rule, c))).collect();
        document::text(&Document { constraints })?
    } else {
        page(&rules).render(render::width())
    };
    render::print(&text).map_err(input::cannot_print)
}

fn told(rule: &Rule, constraint: &Constraint) -> Told {
    let (by, source) = match constraint.source {
        Source::Ttnn(file) => (By::Ttnn, file),
        Source::Bitnetc(reason) => (By::Bitnetc, reason),
    };
    Told {
        rule: rule.name.into(),
        id: constraint.id().to_string(),
        holds: constraint.holds.into(),
        by,
        source: source.into(),
        text: constraint.text.into(),
        hint: constraint.hint.into(),
    }
}

fn page(rules: &[&Rule]) -> Page {
    let mut page = Page::default();
    for rule in rules {
        let _ = writeln!(page, "{}", rule.name.bold());
        for constraint in rule.constraints() {
            let (holds, source) = (constraint.holds, constraint.source.dimmed());
            let _ = writeln!(page, "  {}\n    {holds}\n    {source}", constraint.id());
        }
        page.prose("\n");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn constraints_fit_every_terminal() {
        fits(&page(&RULES.iter().collect::<Vec<_>>()));
    }
}
