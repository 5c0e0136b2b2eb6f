//! Invariant `Padding`: the padding that values declare is the one that follows from the weights, and it never counts.

use crate::defect::Defects;
use crate::padding::{Followed, follow, text};
use crate::walk::Context;
use crate::{Invariant, Padding, Phase, Place, Plan};

pub fn check(plan: &Plan, defects: &mut Defects) {
    let mut caches: Vec<(String, Option<Padding>)> = Vec::new();
    for phase in &plan.phases {
        let Followed { steps, caches: written, problems } = follow(Context::from(plan), phase);
        for (step, (what, hint)) in problems {
            defects.push(Invariant::Padding, Place::Step(phase.kind, step), what, hint);
        }
        declared(phase, &steps, defects);
        for (cache, padding) in written {
            match caches.iter().find(|(known, _)| *known == cache) {
                Some((_, known)) if *known != padding => {
                    let what = format!("rows of `{cache}` are {}", text(padding));
                    let hint = format!("{}, as another call writes them", text(*known));
                    defects.push(Invariant::Padding, Place::Phase(phase.kind), what, hint);
                }
                Some(_) => {}
                None => caches.push((cache, padding)),
            }
        }
    }
}

fn declared(phase: &Phase, found: &[Option<Padding>], defects: &mut Defects) {
    for (step, found) in phase.steps().zip(found) {
        for value in step.outputs.iter().filter(|value| value.padding != *found) {
            let what = format!("`{}` is declared {}", value.name, text(value.padding));
            defects.push(Invariant::Padding, Place::Step(phase.kind, step.name.clone()), what, text(*found));
        }
    }
}
