//! Lifetime: every intermediate value is freed right after its last use. [`bitnetc_plan::walk`] then finds the address of each.
//!
//! A value of the prologue lives on into the layers. It is freed in the epilogue after its last use there, or at the epilogue's start if it
//! is not read there. A layer frees every value it makes, and the results of the phase are left alive. A view takes over the buffer of its
//! input, so that input is not freed.

use std::collections::{HashMap, HashSet};

use bitnetc_plan::op::Deallocate;
use bitnetc_plan::{Op, Ref, Step};

use super::place::Placed;

/// Adds the deallocations to a placed phase. `results` stay alive.
pub fn lifetime(placed: &mut Placed, results: &[String]) {
    let outer: HashSet<String> = made(&placed.prologue).collect();
    let read_in_layer: HashSet<String> = placed.layer.iter().flat_map(read).map(str::to_string).collect();
    let kept: HashSet<&str> = results.iter().map(String::as_str).collect();

    let later: HashSet<String> =
        read_in_layer.iter().cloned().chain(placed.epilogue.iter().flat_map(read).map(str::to_string)).collect();
    let prologue = std::mem::take(&mut placed.prologue);
    placed.prologue = with_frees(prologue, &|name| later.contains(name) || kept.contains(name), &[]);

    let layer = std::mem::take(&mut placed.layer);
    placed.layer = with_frees(layer, &|name| outer.contains(name) || kept.contains(name), &[]);

    let read_last: HashSet<String> = placed.epilogue.iter().flat_map(read).map(str::to_string).collect();
    let mut ended: Vec<String> =
        read_in_layer.iter().filter(|n| outer.contains(*n) && !read_last.contains(*n)).cloned().collect();
    ended.sort_unstable();
    let epilogue = std::mem::take(&mut placed.epilogue);
    placed.epilogue = with_frees(epilogue, &|name| kept.contains(name), &ended);
}

fn made(steps: &[Step]) -> impl Iterator<Item = String> + '_ {
    steps.iter().flat_map(|s| s.outputs.iter().map(|v| v.name.clone()))
}

/// Values a step reads.
fn read(step: &Step) -> Vec<&str> {
    step.op
        .operands()
        .into_iter()
        .filter_map(|r| if let Ref::Value(name) = r { Some(name.as_str()) } else { None })
        .collect()
}

fn free(name: &str) -> Step {
    let input = Ref::Value(name.to_string());
    Step {
        name: format!("{name}.free"),
        op: Deallocate { input }.into(),
        outputs: vec![],
        l1: Default::default(),
        cost: Default::default(),
        note: String::new(),
    }
}

/// The steps with a deallocation of each value after the last step that reads it (or that makes it, when no step reads it), unless it
/// `lives` on. The values in `first` are freed before all steps.
fn with_frees(steps: Vec<Step>, lives: &dyn Fn(&str) -> bool, first: &[String]) -> Vec<Step> {
    let mut last: HashMap<String, usize> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        for name in made(std::slice::from_ref(step)).chain(read(step).into_iter().map(str::to_string)) {
            last.insert(name, at);
        }
    }
    let mut out: Vec<Step> = first.iter().map(|name| free(name)).collect();
    for (at, step) in steps.into_iter().enumerate() {
        let taken_over = if let Op::View(view) = &step.op { Some(view.input.name().to_string()) } else { None };
        let mut names: Vec<String> = Vec::new();
        for name in read(&step).into_iter().map(str::to_string).chain(made(std::slice::from_ref(&step))) {
            let ends = last.get(&name) == Some(&at) && !lives(&name) && taken_over.as_ref() != Some(&name);
            if ends && !names.contains(&name) {
                names.push(name);
            }
        }
        out.push(step);
        out.extend(names.iter().map(|n| free(n)));
    }
    out
}
