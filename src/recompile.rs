//! A plan's record: the plan holds what was chosen, not what was considered, so it is compiled again from its own options.

use bitnetc_compiler::model;
use bitnetc_compiler::model::Model;
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Compiled, Options, compile};
use bitnetc_plan::{PhaseKind, Plan, TtnnRelease};
use miette::{IntoDiagnostic, miette};

use crate::input;

/// A plan compiled again, or for the first time, with what it was compiled for.
pub struct Recompiled {
    /// The plan and its record.
    pub compiled: Compiled,
    /// For this card.
    pub target: Target,
    /// With these options.
    pub options: Options,
    /// The differences from the plan given; empty when they are equal.
    pub differs: Vec<String>,
}

/// Compiles `plan` again: the model named, or the shipped one with the plan's digest; the target named, or the shipped one of the plan's
/// card.
///
/// # Errors
/// When model or target cannot be had, the model is another one, or the options do not compile.
pub fn recompile(plan: &Plan, model: Option<&str>, target: Option<&str>) -> miette::Result<Recompiled> {
    let model = find_model(plan, model)?;
    let release = TtnnRelease::find(&plan.release).map_err(|e| {
        miette!(help = "compile the model again with `bitnetc plan`", "the plan cannot be made again: {e}")
    })?;
    let target = input::target(target.unwrap_or(&plan.card.name), release).map_err(|e| {
        miette!(help = "give the target's RON file with --target", "the plan is for the card `{}`: {e}", plan.card.name)
    })?;
    if target.card.name != plan.card.name {
        return Err(miette!(
            help = "leave --target out, or plan the model for that card and explain the new plan",
            "the plan is for the card `{}`, --target {} is another one",
            plan.card.name,
            target.card.name
        ));
    }
    let options = options(plan, &model)?;
    let compiled = compile(&model, &target, &options).into_diagnostic()?;
    let differs = differences(plan, &compiled.plan);
    Ok(Recompiled { compiled, target, options, differs })
}

/// The model named, or the shipped one with the plan's digest.
///
/// # Errors
/// When it cannot be had, or is not the one the plan was made of.
pub fn find_model(plan: &Plan, named: Option<&str>) -> miette::Result<Model> {
    let digest = &plan.model.digest;
    if let Some(name) = named {
        let model = input::model(name)?;
        let own = model.digest().into_diagnostic()?;
        if own != *digest {
            return Err(miette!(
                help = "the digest covers what the model computes: give the file the plan was made of",
                "`{name}` is not the plan's model: its digest is {own}, the plan's {digest}"
            ));
        }
        return Ok(model);
    }
    for shipped in model::shipped() {
        let model = shipped.model()?;
        if model.digest().is_ok_and(|own| own == *digest) {
            return Ok(model);
        }
    }
    Err(miette!(
        help = "give its file with --model",
        "the plan's model `{}` is no shipped one, or another version of it",
        plan.model.name
    ))
}

/// The options a plan was compiled with.
fn options(plan: &Plan, model: &Model) -> miette::Result<Options> {
    let given = &plan.options;
    let policy: Policy = given.policy.parse().into_diagnostic()?;
    // The plan lists the model's own overrides first; compiling adds them again.
    let own = model.precision.len();
    let overrides = given.overrides.iter().skip(own).map(|o| o.parse().into_diagnostic()).collect::<Result<_, _>>()?;
    let prefill = plan.phases.iter().filter_map(|p| match p.kind {
        PhaseKind::Prefill { tokens } => Some(tokens),
        PhaseKind::Decode { .. } => None,
    });
    Ok(Options {
        policy,
        overrides,
        batch: given.batch,
        context: given.context,
        block: given.block,
        prefill: prefill.collect(),
        position: Some(given.priced_at).filter(|at| *at < given.context),
        proofs: given.proofs,
        folding: given.folding,
        sample: given.sample,
        own_kernels: given.own_kernels,
        everything: false,
    })
}

/// The differences between two plans that ought to be equal, one sentence for each.
fn differences(given: &Plan, again: &Plan) -> Vec<String> {
    let mut differs = Vec::new();
    if given.card != again.card {
        differs.push(format!("the card: the plan's `{}` has other figures than the target", given.card.name));
    }
    for phase in &given.phases {
        match again.phase(phase.kind) {
            Some(other) if other == phase => {}
            Some(other) => {
                let same = |a: &bitnetc_plan::Step, b: &bitnetc_plan::Step| a.op == b.op && a.outputs == b.outputs;
                let calls = phase.steps().count() == other.steps().count()
                    && phase.steps().zip(other.steps()).all(|(a, b)| same(a, b));
                let what = if calls { "predicted costs or notes" } else { "calls" };
                differs.push(format!("{}: {what}", phase.kind));
            }
            None => differs.push(format!("{}: not there", phase.kind)),
        }
    }
    if differs.is_empty() && given != again {
        differs.push("weights or buffers".into());
    }
    differs
}
