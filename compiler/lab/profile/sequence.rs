//! Rows without numbers of programs, joined to a plan by their order.
//!
//! A phase launches its programs in a fixed order: prologue, every layer alike, epilogue. A run of rows is the phase if it is as long and
//! says the same as the plan says wherever the plan says it twice: a step has the same class of op in every layer, and classes of matmuls,
//! of norms and of attention are not those of anything else. So TT-NN's names of classes, which change with its releases, need not be known.

use std::collections::HashMap;

use bitnetc_plan::{Op, PhaseKind, Section};

use super::{PlannedStep, ProfileError, Row};

/// A program of a phase: which step, and which of its programs.
type Place = (usize, u32);

/// Steps and the microseconds of each of their runs.
///
/// # Errors
/// Rows that are of no phase of the plan.
pub(super) fn runs(rows: &[Row], planned: &[PlannedStep<'_>], layers: u32) -> Result<Vec<(usize, f64)>, ProfileError> {
    let mut rows: Vec<&Row> = rows.iter().collect();
    // Programs of a trace have the same numbers in every replay, and files are ordered by numbers.
    rows.sort_by_key(|row| (row.replay.parse::<u64>().ok(), row.replay.clone()));
    let mut phases: Vec<PhaseKind> = planned.iter().map(|step| step.phase).collect();
    phases.dedup();
    let mut phases: Vec<Vec<Place>> = phases.into_iter().map(|phase| places(planned, phase, layers)).collect();
    phases.sort_by_key(|places| std::cmp::Reverse(places.len()));
    let (mut runs, mut at) = (Vec::new(), 0);
    while at < rows.len() {
        match phases.iter().find(|places| is_run(&rows[at..], places, planned)) {
            None => at += 1,
            Some(places) => {
                for (row, (step, program)) in rows[at..].iter().zip(places) {
                    match (program, runs.last_mut()) {
                        (1.., Some((_, us))) => *us += row.us,
                        (0, _) | (1.., None) => runs.push((*step, row.us)),
                    }
                }
                at += places.len();
            }
        }
    }
    if runs.is_empty() {
        let lengths: Vec<String> = phases.iter().map(|places| places.len().to_string()).collect();
        return Err(ProfileError::Join(format!(
            "none of the {} rows are a phase of the plan, which launches {} programs: give the plan that was run, or the profile of \
             `bitnetc run --profile` of the same run beside the CSV",
            rows.len(),
            lengths.join(" or ")
        )));
    }
    Ok(runs)
}

/// The programs of a phase in order.
fn places(planned: &[PlannedStep<'_>], phase: PhaseKind, layers: u32) -> Vec<Place> {
    let of = |section: Section| {
        let steps = planned.iter().enumerate().filter(move |(_, p)| p.phase == phase && p.section == section);
        steps.flat_map(|(at, p)| (0..p.outcome.programs).map(move |program| (at, program)))
    };
    let layer: Vec<Place> = of(Section::Layer).collect();
    let layers = (0..layers).flat_map(|_| layer.iter().copied());
    of(Section::Prologue).chain(layers).chain(of(Section::Epilogue)).collect()
}

/// Kinds of ops whose classes are theirs alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Matmul,
    Own,
    Norm,
    Attention,
    Other,
}

impl Kind {
    fn of(op: &Op) -> Self {
        match () {
            () if matches!(op, Op::Matmul(_)) => Kind::Matmul,
            () if op.has_own_kernels() => Kind::Own,
            () if matches!(op, Op::RmsNorm(_)) => Kind::Norm,
            () if matches!(op, Op::Sdpa(_) | Op::SdpaDecode(_)) => Kind::Attention,
            () => Kind::Other,
        }
    }
}

/// Whether the first rows are a run of the phase.
fn is_run(rows: &[&Row], places: &[Place], planned: &[PlannedStep<'_>]) -> bool {
    let (mut codes, mut kinds): (HashMap<Place, &str>, HashMap<&str, Kind>) = (HashMap::new(), HashMap::new());
    rows.len() >= places.len()
        && rows.iter().zip(places).all(|(row, place)| {
            let (code, kind) = (row.code.as_str(), Kind::of(&planned[place.0].step.op));
            *codes.entry(*place).or_insert(code) == code && *kinds.entry(code).or_insert(kind) == kind
        })
}
