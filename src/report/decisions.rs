//! The decisions of the search, as `bitnetc explain` tells them, for every call of a plan.

use bitnetc_compiler::explain::{Alternative, ExplainError, Explanation, Move, explain_all};
use bitnetc_compiler::policy::Precision;
use bitnetc_plan::PhaseKind;
use rayon::prelude::*;
use serde::Serialize;

use crate::explain::{because, reading, verdict, why_not};
use crate::recompile::Recompiled;

/// Alternatives, and constraints that rule ways out, that a page has of each call: enough to see the runners-up, few enough for a small
/// file.
const SHOWN: usize = 5;

/// The decision about one call.
#[derive(Serialize)]
pub struct Decision {
    call: String,
    /// The steps that came of it, the reshards before it included.
    steps: Vec<String>,
    chosen: String,
    /// Predicted microseconds of one run.
    us: f64,
    /// L1 bytes per core at its worst.
    l1_peak: u64,
    /// Predicted microseconds of the phase.
    phase_us: f64,
    reads: Vec<[String; 3]>,
    leaves: Vec<String>,
    moves: Vec<Moved>,
    folds: Vec<String>,
    precision: Option<Proved>,
    /// Legal ways in all.
    legal: usize,
    alternatives: Vec<Other>,
    /// Ways that TT-NN refuses.
    refused: usize,
    refusals: Vec<Refused>,
}

#[derive(Serialize)]
struct Moved {
    step: String,
    what: String,
    because: String,
}

/// Precision asked, used, and the theorems by which the one can stand for the other.
#[derive(Serialize)]
struct Proved {
    asked: String,
    used: String,
    significant_bits: u32,
    theorems: Vec<[String; 2]>,
}

#[derive(Serialize)]
struct Other {
    what: String,
    us: f64,
    /// Microseconds by which the phase would be longer; none where it would not fit.
    phase_longer_us: Option<f64>,
    more_reshards: Option<i64>,
    stands_for: usize,
    why_not: String,
}

#[derive(Serialize)]
struct Refused {
    ways: usize,
    constraint: String,
    what: String,
    hint: String,
    example: String,
}

/// The decisions about every call of every phase.
///
/// # Errors
/// When the search fails where it succeeded before: a defect of bitnetc.
pub fn decisions(again: &Recompiled) -> Result<Vec<(PhaseKind, Vec<Decision>)>, ExplainError> {
    let phase = |kind: PhaseKind| {
        let explained = explain_all(&again.compiled, &again.target, &again.options, kind)?;
        Ok((kind, explained.iter().map(decision).collect()))
    };
    again.compiled.record.par_iter().map(|record| phase(record.kind)).collect()
}

fn decision(found: &Explanation) -> Decision {
    let drafts = found.chosen.drafts.iter().map(|draft| draft.name.clone());
    Decision {
        call: found.call.name.clone(),
        steps: found.moves.iter().map(|moved| moved.step.clone()).chain(drafts).collect(),
        chosen: found.chosen.what.clone(),
        us: found.chosen.price.us(),
        l1_peak: found.chosen.peak,
        phase_us: found.phase.us(),
        reads: found.operands.iter().map(|r| [r.value.clone(), r.wants.to_string(), reading(r)]).collect(),
        leaves: found.chosen.produces.iter().map(|spec| spec.memory.to_string()).collect(),
        moves: found.moves.iter().map(|moved| move_of(moved, &found.call.name)).collect(),
        folds: found.folds.iter().map(|f| format!("{} of {} into {}", f.scale, f.from, f.into.join(", "))).collect(),
        precision: found.precision.as_ref().map(|decision| Proved {
            asked: words(decision.asked),
            used: words(decision.used),
            significant_bits: decision.activation.significant_bits,
            theorems: decision
                .theorems
                .iter()
                .map(|theorem| [theorem.proof().to_string(), theorem.statement().to_owned()])
                .collect(),
        }),
        legal: found.legal,
        alternatives: found.alternatives.iter().take(SHOWN).map(|alternative| other(found, alternative)).collect(),
        refused: found.refused,
        refusals: found
            .refusals
            .iter()
            .take(SHOWN)
            .map(|r| Refused {
                ways: r.ways,
                constraint: r.constraint.clone(),
                what: r.what.clone(),
                hint: r.hint.clone(),
                example: r.example.clone(),
            })
            .collect(),
    }
}

fn words(precision: Precision) -> String {
    let sums = if precision.fp32_dest_acc { "fp32" } else { "bf16" };
    format!("{} {}, {sums} sums", precision.weight, precision.fidelity)
}

fn move_of(moved: &Move, reader: &str) -> Moved {
    let Move { step, value, from, to, .. } = moved;
    Moved { step: step.clone(), what: format!("{value} from {from} to {to}"), because: because(moved, reader) }
}

fn other(found: &Explanation, alternative: &Alternative) -> Other {
    let forced = alternative.verdict.as_ref().ok();
    let more = forced.map(|forced| forced.reshard_count as i64 - found.phase_reshards as i64);
    Other {
        what: alternative.candidate.what.clone(),
        us: alternative.candidate.price.us(),
        phase_longer_us: forced.map(|forced| (forced.price.ns as f64 - found.phase.ns as f64) / 1000.0),
        more_reshards: more,
        stands_for: alternative.dominates + 1,
        why_not: match &alternative.verdict {
            Ok(_) => why_not(found, alternative, more.unwrap_or_default()),
            Err(error) => verdict(error),
        },
    }
}
