//! The legal calls nearest to one that is refused.
//!
//! The search changes one thing at a time: a number, a flag, a type or a memory config of the call, or the type, layout or placement of an
//! operand; shapes stay, since they are what is to be computed. Numbers are tried from those that the broken constraints name, and their
//! divisors. The calls whose rule
//! gets furthest, and then those that break the fewest constraints, are followed for a few steps, and of those that break none the ones with the fewest
//! changes come first, then the fastest.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use bitnetc_compiler::target::Target;
use bitnetc_plan::ttnn::{Constraint, RULES, Value, Violation, check};
use bitnetc_plan::{Cores, DType, Layout, MemoryConfig, Op, TILE, TensorSpec};

use super::answer::{Legal, answer};
use super::call::Question;
use super::parse;

/// Changes a call may be away.
const MOST_CHANGES: usize = 4;
/// Calls followed after each change.
const FOLLOWED: usize = 16;

/// Up to `count` legal calls, nearest first.
pub fn nearest(
    asked: &Question,
    broken: &[Violation],
    target: &Target,
    position: u32,
    count: usize,
) -> Vec<(Question, Legal)> {
    let order: Vec<&Constraint> =
        RULES.iter().filter(|rule| rule.name == asked.op.name()).flat_map(|rule| rule.constraints()).collect();
    let mut known = HashSet::from([key(asked)]);
    let mut front = vec![(asked.clone(), broken.to_vec())];
    for _ in 0..MOST_CHANGES {
        let (mut legal, mut refused) = (Vec::new(), Vec::new());
        for (question, broken) in &front {
            for next in changed(question, broken, target) {
                if !known.insert(key(&next)) {
                    continue;
                }
                match consequent(next, target) {
                    (next, Ok(())) => legal.extend(answer(&next, target, position).ok().map(|found| (next, found))),
                    (next, Err(violations)) => refused.push((next, violations)),
                }
            }
        }
        if !legal.is_empty() {
            legal.sort_by(|(_, a), (_, b)| a.cost.us.total_cmp(&b.cost.us));
            legal.truncate(count);
            return legal;
        }
        refused.sort_by_key(|(_, violations)| (Reverse(reached(&order, violations)), violations.len()));
        refused.truncate(FOLLOWED);
        front = refused;
    }
    Vec::new()
}

/// The question with the memory config that follows from its program config, where that alone is broken, and the rule's answer.
fn consequent(mut question: Question, target: &Target) -> (Question, Result<(), Vec<Violation>>) {
    let ask = |question: &Question| {
        let specs: Vec<&TensorSpec> = question.operands.iter().collect();
        check(&question.op, &specs, &target.card).map(|_| ())
    };
    let mut answered = ask(&question);
    if let (Err(violations), Op::Matmul(args)) = (&answered, &mut question.op)
        && let [Violation { values, .. }] = violations.as_slice()
        && let Some((_, Value::Text(text))) = values.iter().find(|(name, _)| *name == "computed")
        && let Some(memory) = parse::memory(text, target.card.grid)
    {
        args.memory = memory;
        answered = ask(&question);
    }
    (question, answered)
}

/// How far the rule got: the place in its list of the first constraint that is broken. Constraints are listed in the order in which rules ask
/// them, and a rule may stop at one that it cannot go on without.
fn reached(order: &[&Constraint], violations: &[Violation]) -> Option<usize> {
    order.iter().position(|constraint| violations.iter().any(|v| v.constraint == *constraint))
}

fn key(question: &Question) -> String {
    format!("{:?}", question)
}

/// Every question that differs from one in a single point.
fn changed(question: &Question, broken: &[Violation], target: &Target) -> Vec<Question> {
    let memories = memories(question, broken, target);
    let mut all: Vec<Question> = ops(&question.op, &numbers(broken), &memories)
        .into_iter()
        .map(|op| Question { op, ..question.clone() })
        .collect();
    for at in 0..question.operands.len() {
        let spec = &question.operands[at];
        let types = [DType::Bf16, DType::Bfp8, DType::F32, DType::I32, DType::U32];
        let layouts = [Layout::Tile, Layout::RowMajor];
        let others = types.map(|dtype| TensorSpec { dtype, ..spec.clone() }).into_iter();
        let others = others.chain(layouts.map(|layout| TensorSpec { layout, ..spec.clone() }));
        let others = others.chain(memories.iter().map(|memory| TensorSpec { memory: memory.clone(), ..spec.clone() }));
        all.extend(others.filter(|other| other != spec).map(|other| {
            let mut next = question.clone();
            next.operands[at] = other;
            next
        }));
    }
    all
}

/// The numbers that broken constraints name, and their divisors.
fn numbers(broken: &[Violation]) -> Vec<u32> {
    let named = broken.iter().flat_map(|v| &v.values).filter_map(|(_, value)| match value {
        Value::Number(n) => u32::try_from(*n).ok().filter(|n| (1..=1 << 16).contains(n)),
        Value::Text(_) => None,
    });
    let named: BTreeSet<u32> = named.chain([1, 2, 4, 8, 32, 64, 128]).collect();
    let divisors = named.iter().flat_map(|n| (1..=n.isqrt()).filter(move |d| n % d == 0).flat_map(move |d| [d, n / d]));
    divisors.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Placements worth trying: those named, those of the operands, even shards of each operand's columns, a weight's shards in the banks.
fn memories(question: &Question, broken: &[Violation], target: &Target) -> Vec<MemoryConfig> {
    let (card, mut all) = (&target.card, BTreeSet::from([MemoryConfig::DRAM, MemoryConfig::L1]));
    all.extend(broken.iter().flat_map(|v| &v.values).filter_map(|(_, value)| match value {
        Value::Text(text) => parse::memory(text, card.grid),
        Value::Number(_) => None,
    }));
    all.extend(question.operands.iter().map(|spec| spec.memory.clone()));
    for spec in &question.operands {
        let tiles = spec.columns().div_ceil(TILE);
        let cores = (1..=tiles.min(card.cores())).filter(|cores| tiles % cores == 0);
        all.extend(cores.map(|n| MemoryConfig::width(Cores::row_major(n, card.grid), [TILE, tiles / n * TILE])));
        let columns = tiles.div_ceil(card.dram.banks) * TILE;
        all.insert(MemoryConfig::dram_width(card.dram.banks, [spec.rows().next_multiple_of(TILE), columns]));
        if let [1, users, _, columns] = *spec.shape.as_slice()
            && (1..=TILE).contains(&users)
        {
            all.extend(
                [0, users]
                    .map(|first| MemoryConfig::height(Cores::row_major_from(first, users, card.grid), [TILE, columns])),
            );
        }
    }
    all.into_iter().collect()
}

/// Every call that differs in one argument: the call written as RON, with a word or a number exchanged.
fn ops(op: &Op, numbers: &[u32], memories: &[MemoryConfig]) -> Vec<Op> {
    let Ok(text) = ron::to_string(op) else { return Vec::new() };
    let memories: Vec<String> = memories.iter().filter_map(|memory| ron::to_string(memory).ok()).collect();
    let mut all = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let end = text[at..].find(|c: char| !c.is_alphanumeric()).map_or(text.len(), |len| at + len);
        let word = &text[at..end];
        let (end, others): (usize, Vec<String>) = match word {
            "Interleaved" | "Sharded" => (closing(&text, end), memories.clone()),
            "true" => (end, vec!["false".into()]),
            "false" => (end, vec!["true".into()]),
            "Tile" => (end, vec!["RowMajor".into()]),
            "RowMajor" => (end, vec!["Tile".into()]),
            "bf16" | "bfp8" | "bfp4" | "f32" | "u32" | "i32" => (end, ["bf16", "bfp8", "f32"].map(Into::into).into()),
            // Digits of a fraction are no size.
            _ if word.parse::<u32>().is_ok() && !text[..at].ends_with(['.', '-']) && !text[end..].starts_with('.') => {
                (end, numbers.iter().map(ToString::to_string).collect())
            }
            _ => (end, Vec::new()),
        };
        for other in others {
            all.extend(ron::from_str::<Op>(&format!("{}{other}{}", &text[..at], &text[end..])).ok());
        }
        at = end + text[end..].chars().next().map_or(1, char::len_utf8);
    }
    // A name in which a word was exchanged is the same call.
    all.retain(|other| other != op && other.operands() == op.operands());
    all
}

/// Where the parenthesis that opens at `at` closes.
fn closing(text: &str, at: usize) -> usize {
    let mut depth = 0;
    for (i, c) in text[at..].char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth == 0 && c == ')' {
            return at + i + 1;
        }
    }
    text.len()
}
