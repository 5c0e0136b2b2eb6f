//! Every step of every shipped model's plans, asked back as a plan file and as an emitted program write it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::{Op, Phase, Plan, Scalar, Step};
use bitnetc_ttnn::emit;
use ron::extensions::Extensions;

use super::answer::answer;
use super::call::Question;
use super::scene::Scene;

/// The statements of a phase's function in an emitted program, in the order of its steps.
fn statements<'a>(program: &'a str, phase: &Phase) -> Vec<&'a str> {
    let name = phase.kind.to_string().replace(' ', "_");
    let function = program.split("\ndef ").find(|f| f.starts_with(&format!("{name}("))).unwrap_or_else(|| {
        panic!("{name} in {:?}", program.split("\ndef ").map(|f| f.lines().next()).collect::<Vec<_>>())
    });
    let mut found = Vec::new();
    let (mut start, mut depth, mut at) = (0, 0i32, 0);
    for line in function.split_inclusive('\n') {
        let text = line.trim();
        if depth == 0 {
            start = at;
        }
        let opens = depth == 0 && (text.starts_with("ttnn.") || text.contains(" = ttnn."));
        if depth > 0 || opens && !text.starts_with('#') {
            depth += line.matches('(').count() as i32 - line.matches(')').count() as i32;
            if depth == 0 {
                found.push(function[start..at + line.len()].trim());
            }
        }
        at += line.len();
    }
    found
}

/// The call without the numbers that depend on weights, which an emitted program names.
fn plain(mut op: Op) -> Op {
    op.scalars_mut().into_iter().for_each(|scalar| *scalar = Scalar::constant(1.0));
    op
}

fn agrees(question: &Question, step: &Step, target: &Target) {
    assert_eq!(plain(question.op.clone()), plain(step.op.clone()), "{}", step.name);
    let legal = answer(question, target, 0).unwrap_or_else(|broken| panic!("{}: {broken:?}", step.name));
    let outputs: Vec<_> = step.outputs.iter().map(|value| value.spec.clone()).collect();
    assert_eq!(legal.outcome.outputs, outputs, "{}", step.name);
    if legal.outcome.programs > 0 {
        assert_eq!(legal.outcome.circular_buffers, step.l1.circular_buffers, "{}", step.name);
    }
}

fn asked_back(plan: &Plan, target: &Target) {
    let program = emit::python(plan);
    let options = ron::Options::default()
        .with_default_extension(Extensions::IMPLICIT_SOME)
        .with_default_extension(Extensions::UNWRAP_NEWTYPES)
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    for phase in &plan.phases {
        let kind = phase.kind.to_string().replace(' ', "-");
        let lines = statements(&program, phase);
        assert_eq!(lines.len(), phase.steps().count(), "{kind}");
        for (step, line) in phase.steps().zip(lines) {
            for text in [line, &options.to_string(&step.op).unwrap()] {
                let scene = Scene::new(Some(plan), Some(kind.parse().unwrap()), text, target.card.grid).unwrap();
                let question = scene.question().unwrap_or_else(|mistake| panic!("{mistake:?}\n{text}"));
                agrees(&question, step, target);
                // What an answer proposes can be pasted back.
                let written =
                    super::answer::written(&question, &step.outputs.iter().map(|v| v.spec.clone()).collect::<Vec<_>>());
                let again = Scene::new(None, None, &written, target.card.grid).unwrap().question();
                let again = again.unwrap_or_else(|mistake| panic!("{mistake:?}\n{written}"));
                assert_eq!(again.operands, question.operands, "{written}");
                assert!(answer(&again, target, 0).is_ok(), "{written}");
            }
        }
    }
}

#[test]
fn every_step_of_shipped_models_is_asked_back() {
    for (at, shipped) in model::shipped().iter().enumerate() {
        let model = shipped.model().unwrap();
        let (target, batch) = [("n150", 1), ("p150", 32), ("p100", 8)][at % 3];
        let options = Options { batch, ..Options::for_model(&model) };
        let target = Target::find(target).unwrap();
        asked_back(&compile(&model, &target, &options).unwrap().plan, &target);
    }
}
