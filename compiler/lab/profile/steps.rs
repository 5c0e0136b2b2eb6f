//! The steps of a plan that launch programs, each with what its price is computed of.

use bitnetc_compiler::pricer::Pricer;
use bitnetc_compiler::target::Target;
use bitnetc_plan::ttnn::Outcome;
use bitnetc_plan::walk::walk;
use bitnetc_plan::{PhaseKind, Plan, Section, Step, TensorSpec};

use super::ProfileError;

/// A step that launches programs.
#[derive(Debug, Clone)]
pub struct PlannedStep<'a> {
    /// Its phase.
    pub phase: PhaseKind,
    /// Where in the phase it is.
    pub section: Section,
    /// The step.
    pub step: &'a Step,
    /// TT-NN's answer to it.
    pub outcome: Outcome,
    /// Predicted microseconds of its kernels.
    pub us: f64,
    operands: Vec<&'a TensorSpec>,
    position: u32,
}

impl PlannedStep<'_> {
    /// Predicted microseconds of the step's kernels, with the constants of a target.
    pub fn kernel_us(&self, target: &Target) -> f64 {
        // What a launch takes beside the kernels, and the shortest period of a call, are of the dispatch.
        let mut kernels = target.clone();
        (kernels.cost.launch_us, kernels.cost.period_us) = (0.0, 0.0);
        Pricer::new(&kernels, self.position).answered(&self.step.op, &self.operands, &self.outcome).us
    }
}

/// The steps of all phases, in order, priced with the constants of `target`; attention of decode at `position`.
///
/// # Errors
/// A plan with a call that TT-NN refuses.
pub fn of<'a>(plan: &'a Plan, target: &Target, position: u32) -> Result<Vec<PlannedStep<'a>>, ProfileError> {
    let mut steps = Vec::new();
    for phase in &plan.phases {
        let specs = plan.specs(phase);
        let walked = walk(plan.into(), phase);
        for (step, memory) in phase.steps().zip(walked.steps) {
            if step.op.freed().is_some() {
                continue;
            }
            let unsound = || ProfileError::Unsound(step.name.clone());
            let outcome = memory.outcome.ok_or_else(unsound)?;
            if outcome.programs == 0 {
                continue;
            }
            let operands = step.op.operands().into_iter().map(|operand| specs.get(operand).copied());
            let operands: Option<Vec<&TensorSpec>> = operands.collect();
            let (phase, section) = (phase.kind, memory.section);
            let operands = operands.ok_or_else(unsound)?;
            let mut planned = PlannedStep { phase, section, step, outcome, us: 0.0, operands, position };
            planned.us = planned.kernel_us(target);
            steps.push(planned);
        }
    }
    Ok(steps)
}
