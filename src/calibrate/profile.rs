//! Measurements of a plan on a card beside what was predicted of its steps.

use std::path::{Path, PathBuf};

use bitnetc_compiler::target::Target;
use bitnetc_lab::profile::{self, Fit, Measured, Source};
use bitnetc_plan::{Plan, Section, TtnnRelease};
use miette::{IntoDiagnostic as _, miette};

use super::{Args, json, percent};
use crate::render::{self, Align, Column, Page, Table, units};
use crate::{input, output};

/// The measurements to compare with, and of what they are.
#[derive(Debug, clap::Args)]
pub struct Choice {
    /// Measurements of a plan on a card: what `bitnetc run --profile` wrote, an ops_perf_results CSV of tt-metal, or both of one run
    #[arg(long, value_name = "FILE", requires = "plan", conflicts_with_all = ["rows", "calls"])]
    pub profile: Vec<PathBuf>,
    /// With --profile: the plan that was run
    #[arg(long, value_name = "PLAN", requires = "profile")]
    plan: Option<PathBuf>,
    /// With --profile: the position at which decode's attention is priced, the middle of those that were run
    #[arg(long, value_name = "POSITION", default_value_t = 255, requires = "profile")]
    at_position: u32,
    /// With --profile and --refit: where the target with the fitted constants goes, for `bitnetc plan --target`
    #[arg(long, short, value_name = "FILE", requires_all = ["profile", "refit"])]
    output: Option<PathBuf>,
}

/// Joins, and compares or fits.
///
/// # Errors
/// Files that cannot be read or are of another plan; a target that cannot be had or written.
pub fn run(args: &Args) -> miette::Result<()> {
    let choice = &args.measured;
    let Some(path) = &choice.plan else { return Err(miette!("--profile needs --plan")) };
    let plan = input::plan(path)?;
    if let Err(defects) = bitnetc_plan::verify(&plan) {
        let first = defects.first().map_or_else(String::new, ToString::to_string);
        return Err(miette!("the plan does not verify: {first}"));
    }
    let release = TtnnRelease::find(&plan.release).into_diagnostic()?;
    let target = input::target(args.target.as_deref().unwrap_or(&plan.card.name), release)?;
    if target.card != plan.card {
        let help = "give the target that the plan was compiled for with --target";
        return Err(miette!(help = help, "the plan is for another card than {}", target.card.name));
    }
    let sources = choice.profile.iter().map(|path| source(path)).collect::<miette::Result<Vec<_>>>()?;
    let position = choice.at_position.min(plan.options.context.saturating_sub(1));
    let measured = profile::join(&plan, &sources, &target, position).into_diagnostic()?;
    if args.json {
        return render::print(&json::of_profile(&plan, &measured)?).map_err(input::cannot_print);
    }
    if !args.refit {
        return args.width.print(&compared(&plan, &measured));
    }
    let found = profile::fit(&measured, &target);
    args.width.print(&fitted(&found, &measured))?;
    match &choice.output {
        Some(path) => output::write_text(path, &written(&found.target, &plan)?),
        None => Ok(()),
    }
}

fn source(path: &Path) -> miette::Result<(String, Source)> {
    let name = path.display().to_string();
    let source = profile::read(&name, &input::text(path)?).into_diagnostic()?;
    Ok((name, source))
}

/// A table for each phase.
fn compared(plan: &Plan, measured: &[Measured<'_>]) -> Page {
    let mut page = Page::default();
    for phase in &plan.phases {
        let steps: Vec<_> = measured.iter().filter(|step| step.planned.phase == phase.kind).collect();
        if steps.is_empty() {
            continue;
        }
        let mut table = Table::new(vec![
            Column::new("step", Align::Left),
            Column::new("ttnn call", Align::Left).expendable(1),
            Column::new("runs", Align::Right),
            Column::new("measured us", Align::Right),
            Column::new("least-most", Align::Right).expendable(2),
            Column::new("predicted us", Align::Right),
            Column::new("error", Align::Right),
            Column::new("measured, all layers", Align::Right),
        ]);
        let (mut all, mut predicted) = (0.0, 0.0);
        for step in &steps {
            let (planned, mean, (least, most)) = (&step.planned, step.mean(), step.range());
            let times = if planned.section == Section::Layer { f64::from(plan.model.layers) } else { 1.0 };
            all += times * mean;
            predicted += times * planned.us;
            table.row(vec![
                planned.step.name.clone(),
                planned.step.op.call().into(),
                step.runs.len().to_string(),
                format!("{mean:.1}"),
                format!("{least:.1}-{most:.1}"),
                format!("{:.1}", planned.us),
                percent(planned.us / mean - 1.0),
                units::time(times * mean),
            ]);
        }
        let error = percent(predicted / all - 1.0);
        page.prose(format!("{}\n", phase.kind));
        page.table(table);
        let (measured, predicted) = (units::time(all), units::time(predicted));
        page.prose(format!("kernels of all layers: measured {measured}, predicted {predicted}, {error}\n\n"));
    }
    page.prose("Times are of kernels, from the go to done, without the gap to the next program.\n");
    page
}

fn fitted(found: &Fit, measured: &[Measured<'_>]) -> Page {
    let mut table = Table::new(vec![
        Column::new("constant", Align::Left),
        Column::new("before", Align::Right),
        Column::new("fitted", Align::Right),
        Column::new("change", Align::Right),
    ]);
    for (name, before, after) in &found.changed {
        let change = percent(after / before - 1.0);
        table.row(vec![(*name).into(), format!("{before:.3}"), format!("{after:.3}"), change]);
    }
    let mut page = Page::default();
    match table.is_empty() {
        true => page.prose("no constant changes\n"),
        false => page.table(table),
    }
    let (count, before, after) = (measured.len(), 100.0 * found.error.0, 100.0 * found.error.1);
    page.prose(format!("{count} steps, {before:.1} % off in the mean before, {after:.1} % after\n"));
    page
}

/// A target's file that says where its constants are from.
fn written(target: &Target, plan: &Plan) -> miette::Result<String> {
    let model = &plan.model.name;
    Ok(format!(
        "// {}, its constants fitted by `bitnetc calibrate --refit` to the measured kernels of a plan of {}.\n{}\n",
        target.card.name,
        model.escape_debug(),
        target.to_ron().into_diagnostic()?
    ))
}
