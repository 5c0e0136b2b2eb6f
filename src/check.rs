//! `bitnetc check`: whether a plan keeps every invariant.

mod numerics;

use std::fmt::Write as _;
use std::path::PathBuf;

use bitnetc_compiler::model::Model;
use bitnetc_compiler::prove;
use bitnetc_plan::ttnn::Violation;
use bitnetc_plan::{Defect, Invariant, Place, Plan, Verified, verify};
use miette::miette;
use owo_colors::OwoColorize as _;
use schemars::JsonSchema;
use serde::Serialize;

use crate::document::{self, Content};
use crate::render::units::{percent, thousands};
use crate::render::{self, Page, Width};
use crate::{input, replay};

/// Verifies a plan: every call against TT-NN's rules, every address and size against the memory model, and that all phases compute one
/// function.
///
/// Exits with 0 only when the plan has no defect.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc check plan.ron
  bitnetc check plan.plan && echo sound
  bitnetc check plan.ron --model bitnet-2b-4t   # does it compute this model?
  bitnetc check plan.ron --ttnn                 # what does TT-NN say to it?
  # do the host's numerics have the bits of TT-NN's kernels?
  bitnetc check plan.ron --numerics --simulator path/to/libttsim.so")]
pub struct Args {
    /// The plan, RON or binary
    pub plan: PathBuf,
    /// Also compare what every phase computes with this model: a shipped one's name, or a RON file
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Also replay every phase in the real TT-NN on a mock card: acceptance, specs, addresses in L1 and DRAM, buffer sizes
    #[arg(long, group = "library")]
    pub ttnn: bool,
    /// The Python that has TT-NN
    #[arg(long, value_name = "PATH", requires = "library")]
    pub python: Option<PathBuf>,
    #[command(flatten)]
    pub compared: numerics::Compared,
    /// The defects as JSON: place, invariant, what was found, what would be right, the constraint broken
    #[arg(long, conflicts_with = "ttnn")]
    pub json: bool,
    #[command(flatten)]
    width: Width,
}

/// Reads and verifies the plan and prints the verdict.
///
/// # Errors
/// When the plan cannot be read, and when it has a defect.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = input::plan(&args.plan)?;
    let model = args.model.as_deref().map(input::model).transpose()?;
    match checked(&plan, model.as_ref()) {
        Ok(verified) => {
            let python = args.python.as_deref();
            if !args.json {
                args.width.print(&sound(&verified, model.as_ref().map(|model| model.name.as_str())))?;
            }
            if args.compared.numerics {
                let runs = numerics::compare(&args.compared, &args.plan, python, verified.into())?;
                match args.json {
                    true => print(&json(&[], Some(numerics::json(&runs)))?)?,
                    false => args.width.print(&numerics::page(&runs))?,
                }
                return numerics::verdict(&runs);
            }
            if args.json {
                print(&json(&[], None)?)?;
            }
            if args.ttnn { replay::against_ttnn(&plan, python, args.width) } else { Ok(()) }
        }
        Err(defects) => {
            match args.json {
                true => print(&json(&defects, None)?)?,
                false => args.width.print(&unsound(&defects))?,
            }
            let help = "the plan was changed after it was compiled, or bitnetc has a defect: compile the model again";
            let noun = if defects.len() == 1 { "defect" } else { "defects" };
            Err(miette!(help = help, "{} has {} {noun}", args.plan.display(), defects.len()))
        }
    }
}

fn print(text: &str) -> miette::Result<()> {
    render::print(text).map_err(input::cannot_print)
}

/// Verifies the plan, and compares it with its model where that is known. The model tells better than the other phases which step is wrong.
fn checked<'p>(plan: &'p Plan, model: Option<&Model>) -> Result<Verified<'p>, Vec<Defect>> {
    let proved = |model: Option<&Model>| model.map_or(Ok(()), |model| prove(plan, model));
    match verify(plan) {
        Ok(verified) => proved(model).map(|()| verified),
        Err(defects) if defects.iter().all(|d| d.invariant == Invariant::Function) => {
            proved(model)?;
            Err(defects)
        }
        Err(defects) => Err(defects),
    }
}

fn sound(verified: &Verified, model: Option<&str>) -> Page {
    let plan = verified.plan();
    let mut text = Page::default();
    for (phase, walk) in plan.phases.iter().zip(verified.walks()) {
        let highest = phase.steps().map(|s| s.l1.high_water()).max().unwrap_or(0);
        let _ = writeln!(
            text,
            "{} {}: {} steps, at most {} bytes of L1 ({}) with circular buffers",
            "ok".green(),
            phase.kind,
            walk.steps.len(),
            thousands(highest),
            percent(highest, plan.card.l1_bytes())
        );
    }
    let full = percent(verified.dram().total(), plan.card.dram.bank_bytes);
    let _ = writeln!(text, "{} DRAM: {full} of each bank", "ok".green());
    if let Some(model) = model {
        let _ = writeln!(text, "{} every phase computes {model}", "ok".green());
    }
    let _ = writeln!(text, "{} is sound on {}", plan.model.name.bold(), plan.card.name.bold());
    text
}

/// A plan's verification.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Checked")]
pub struct Document {
    /// Whether it has no defect.
    sound: bool,
    /// All that is wrong with it.
    defects: Vec<Told>,
    /// With --numerics: every step's results beside those of TT-NN's kernels.
    #[serde(skip_serializing_if = "Option::is_none")]
    numerics: Option<Vec<numerics::Document>>,
}

impl Content for Document {
    const KIND: &'static str = "check";
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Defect")]
struct Told {
    /// The part of the plan.
    place: String,
    /// The invariant that is broken.
    invariant: Invariant,
    /// What was found.
    what: String,
    /// What would be right.
    hint: String,
    /// The constraint of TT-NN that is broken, where one is.
    violation: Option<Violation>,
}

fn json(defects: &[Defect], numerics: Option<Vec<numerics::Document>>) -> miette::Result<String> {
    let told = |d: &Defect| Told {
        place: d.place.to_string(),
        invariant: d.invariant,
        what: d.what.clone(),
        hint: d.hint.clone(),
        violation: d.violation.clone(),
    };
    document::text(&Document { sound: defects.is_empty(), defects: defects.iter().map(told).collect(), numerics })
}

/// Defects under the place they are at.
fn unsound(defects: &[Defect]) -> Page {
    let mut text = Page::default();
    let mut last: Option<&Place> = None;
    for defect in defects {
        if last != Some(&defect.place) {
            let _ = writeln!(text, "{}", defect.place.bold());
            last = Some(&defect.place);
        }
        let constraint = defect.violation.as_ref().map_or_else(String::new, |v| format!(" {}", v.id()));
        let _ = writeln!(text, "  {} [{:?}{constraint}]", defect.what.red(), defect.invariant);
        if !defect.hint.is_empty() {
            let _ = writeln!(text, "    right would be: {}", defect.hint);
        }
    }
    text
}
