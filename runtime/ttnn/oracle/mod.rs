//! The oracle: the op rules of [`bitnetc_plan::ttnn`] held against the real TT-NN, question by question.
//!
//! ```text
//!  draw      a seeded generator makes a question of each rule: a call with its operands, legal or not
//!  predict   what the rule and the L1 model say: accepted with these results, sizes and addresses, refused, or no claim
//!  ask       what TT-NN on a mock card says
//!  report    both, compared and counted per rule
//! ```
//! A rule that narrows what TT-NN takes ([`bitnetc_plan::ttnn::Violation::is_narrower`]) makes no claim about the calls it leaves out; they are
//! counted apart. Every other draw is a claim, and a claim agrees when TT-NN accepts and refuses as predicted and, accepting, returns the
//! specs, takes the bytes and launches the programs that were predicted, at the addresses that were predicted.

mod ask;
mod draw;
mod predict;
mod report;

use bitnetc_plan::op::AbsOp;
use bitnetc_plan::{Card, DType, MemoryConfig, Op, Ref, TensorSpec};

use ask::Reply;
use predict::Prediction;
pub use report::{Disagreement, Kind, LeftOut, RuleReport};

use crate::error::TtnnError;
use crate::open_card::OpenCard;

/// A question that is put to the rule and to the library alike.
#[derive(Debug, Clone, PartialEq)]
enum Question {
    /// Can a tensor of this spec be allocated?
    Place(TensorSpec),
    /// What does this call do with operands of these specs, in the order of [`Op::operands`]?
    Call { op: Box<Op>, operands: Vec<TensorSpec> },
}

/// The effects of a call that is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Facts {
    /// Specs of the tensors returned; empty for calls that write in place.
    outputs: Vec<TensorSpec>,
    /// Addresses of the buffers allocated in L1 and DRAM, in order.
    addresses: Vec<u64>,
    /// Circular, dataflow and scratchpad buffers on the busiest core.
    circular_buffers: u64,
    /// Device programs launched.
    programs: u32,
}

/// How much is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// Claims to check, over all rules.
    pub draws: u32,
    /// Seed of the generators.
    pub seed: u64,
    /// Only rules whose name contains this.
    pub rule: Option<String>,
    /// Compare how many programs a call launches. Not every release records them: see [`records_programs`].
    pub programs: bool,
}

/// Draws without a claim for each draw with one, at most.
const PATIENCE: u32 = 12;

/// Names of all rules, in the order they are asked.
pub fn rules() -> Vec<&'static str> {
    draw::rules().map(|(name, _)| *name).collect()
}

/// Whether the TT-NN of an open card records the programs that a call launches, tried on a call that launches one.
///
/// # Errors
/// TT-NN's own.
pub fn records_programs(device: &OpenCard) -> Result<bool, TtnnError> {
    let x = TensorSpec::tile([1, 1, 32, 32], DType::Bf16, MemoryConfig::DRAM);
    let op = Op::from(AbsOp { input: Ref::Value("x0".into()), memory: MemoryConfig::DRAM });
    let reply = ask::ask(device, &Question::Call { op: Box::new(op), operands: vec![x] })?;
    Ok(matches!(reply, Reply::Accepted(facts) if facts.programs > 0))
}

/// Asks an open mock card and the rules of `card`, which it must be a mock of. `heard` is told of each rule's report when it is done.
///
/// # Errors
/// TT-NN fails at anything but the calls in question.
pub fn run(
    device: &OpenCard,
    card: &Card,
    inquiry: &Inquiry,
    heard: &mut dyn FnMut(&RuleReport),
) -> Result<Vec<RuleReport>, TtnnError> {
    let wanted = |name: &str| inquiry.rule.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let rules: Vec<_> = draw::rules().enumerate().filter(|(_, (name, _))| wanted(name)).collect();
    let mut reports = Vec::new();
    for (at, (number, (name, draw))) in rules.iter().enumerate() {
        // The remainder goes to the first rules.
        let share = inquiry.draws / rules.len() as u32 + u32::from((at as u32) < inquiry.draws % rules.len() as u32);
        let mut dice = draw::Dice::new(inquiry.seed, *number as u64, card);
        let mut report = RuleReport::new(name);
        for _ in 0..share.saturating_mul(PATIENCE) {
            if report.claims() == share {
                break;
            }
            let Some(question) = draw(&mut dice).filter(|q| predict::is_askable(q, card)) else { continue };
            report.draws += 1;
            let prediction = predict::predict(&question, card);
            let mut reply = ask::ask(device, &question)?;
            if let (false, Prediction::Accepted(predicted), Reply::Accepted(found)) =
                (inquiry.programs, &prediction, &mut reply)
            {
                found.programs = predicted.programs;
            }
            report.count(&question, prediction, reply);
        }
        heard(&report);
        reports.push(report);
    }
    Ok(reports)
}
