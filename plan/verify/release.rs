//! Invariant `Release`: the release of TT-NN that the plan was made for.

use crate::defect::Defects;
use crate::release::UnknownRelease;
use crate::{Invariant, Place, Plan, TtnnRelease};

pub fn check(plan: &Plan, defects: &mut Defects) {
    let release = match TtnnRelease::find(&plan.release) {
        Ok(release) => release,
        Err(UnknownRelease(version)) => {
            // Whoever shows no hints shows this all the same: it is the one thing to be done.
            let known = TtnnRelease::known();
            let what = format!(
                "it was made for TT-NN {version}, this bitnetc knows {known}: compile the model again with `bitnetc plan`"
            );
            defects.push(Invariant::Release, Place::Plan, what, "");
            return;
        }
    };
    for phase in &plan.phases {
        for step in phase.steps().filter(|step| !release.has(step.op.call())) {
            let what = format!("TT-NN {release} has no ttnn.{}", step.op.call());
            defects.push(Invariant::Release, Place::Step(phase.kind, step.name.clone()), what, "");
        }
    }
}
