//! Precision: what each matrix product is asked to be, lowered as far as nothing is lost.
//!
//! The matrix unit multiplies in phases, each taking other bits of its operands (Tensix ISA, MVMUL): of the weight the top 5
//! significant bits (phases 0, 2) or the next 5 (phases 1, 3), of the activation the top 7 (phases 0, 1) or the last 4 (phases 2, 3).
//! A phase whose bits are all zero is idle: its products are zero. It may still change the sum. A zero product keeps the exponent of
//! its operands, and the destination is aligned to it, which rounds away low bits of a destination that has cancelled to something
//! small. So leaving idle phases out keeps every product and rounds the sum less often, and it keeps every bit where the destination
//! has none that an alignment could drop: for integers. [`Theorem::keeps_every_bit`] tells the two kinds apart, and
//! `compiler/tests/theorems.rs` holds both against the host's emulation, with a case in which the bits do differ.
//!
//! Values are followed through the graph as [`Content`]: how many significant bits an activation can have and whether it is an
//! integer of known range.

use std::collections::HashMap;

use bitnetc_plan::{DType, Fidelity};

use crate::graph::{Graph, NodeId, Op, Role, Section, Value};
use crate::policy::{Override, Policy, Precision, asked};

/// What is known of a value's numbers as bf16 activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Most significant bits of a number, 8 for any bf16.
    pub significant_bits: u32,
    /// Largest magnitude, when all numbers are integers.
    pub integer_max: Option<u32>,
}

impl Content {
    /// Any bf16 number.
    pub const BF16: Content = Content { significant_bits: 8, integer_max: None };
    /// The result of quantising by row to int8: `|q| <= 127`, since the scale maps the row's maximum to 127.
    pub const INT8: Content = Content { significant_bits: 7, integer_max: Some(127) };
}

/// Why a lowering loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Theorem {
    /// -1, 0 and 1 are exact in bfp4 (shared exponent 127, magnitudes 0 and 4) and unpack to what bfp8 and bf16 unpack to: the same bits.
    TernaryIsExactInBfp4,
    /// A ternary weight has one significant bit: phases 1 and 3 take its lower bits, which are zero, and are idle. LoFi has the products of
    /// HiFi2, HiFi3 those of HiFi4, for any activation and either destination; the sum is rounded less often.
    TernaryHasNoLowBits,
    /// Integers of at most 127 have at most 7 significant bits, so with a ternary weight phases 1, 2 and 3 are idle; and an idle phase
    /// aligns the destination to no more than 2^(1-10), below the unit of every sum of integers: LoFi has the bits of HiFi4, with either
    /// destination.
    IntegersFitPhaseZero,
    /// Integers of at most 127 times -1, 0, 1 summed in fp32: every partial sum is below 2^23, so LoFi is the exact integer.
    /// Needs fp32 destination and K at most 65,535; spills between K-blocks are fp32 then (TT-NN 0.81).
    IntegerSumsAreExact,
}

impl Theorem {
    /// Whether the result has the same bits; otherwise it has the same products and fewer roundings.
    pub const fn keeps_every_bit(self) -> bool {
        !matches!(self, Theorem::TernaryHasNoLowBits)
    }

    /// In a few words, for a step's note.
    pub const fn statement(self) -> &'static str {
        match self {
            Theorem::TernaryIsExactInBfp4 => "bfp4 holds ternary weights exactly",
            Theorem::TernaryHasNoLowBits => "a ternary weight has no low bits, so phases 1 and 3 multiply zeros",
            Theorem::IntegersFitPhaseZero => "int8 x ternary fits phase 0, so the others multiply zeros",
            Theorem::IntegerSumsAreExact => "int8 x ternary with fp32 sums is exact in LoFi",
        }
    }
}

/// The precision of a node and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What the policy and its overrides asked.
    pub asked: Precision,
    /// What is used.
    pub used: Precision,
    /// What lets `used` stand for `asked`.
    pub theorems: Vec<Theorem>,
    /// What is known of the activation.
    pub activation: Content,
}

impl Decision {
    /// `HiFi2 bfp8 asked, LoFi bfp4 has the same products: ...`, or empty where nothing was proved.
    pub fn note(&self) -> String {
        if self.theorems.is_empty() {
            return String::new();
        }
        let why: Vec<_> = self.theorems.iter().map(|t| t.statement()).collect();
        if self.used == self.asked {
            return why.join("; ");
        }
        format!(
            "{} {} asked, {} {} {}: {}",
            self.asked.fidelity,
            self.asked.weight,
            self.used.fidelity,
            self.used.weight,
            if self.theorems.iter().all(|t| t.keeps_every_bit()) {
                "is bit-identical"
            } else {
                "has the same products"
            },
            why.join("; ")
        )
    }
}

/// Decides every node that has a precision.
pub fn precision(graph: &Graph, policy: Policy, overrides: &[Override], proofs: bool) -> HashMap<NodeId, Decision> {
    let contents = contents(graph);
    let mut decisions = HashMap::new();
    for node in graph.nodes() {
        let (role, ternary, inner) = match &graph.node(node).op {
            Op::Linear(linear) => (graph.node(node).role, linear.is_ternary(), linear.in_width()),
            Op::Attention { .. } => (Role::Sdpa, false, 0),
            _ => continue,
        };
        let asked = asked(policy, overrides, graph.phase, role, ternary);
        let activation = graph.inputs(node).first().and_then(|v| contents.get(v)).copied().unwrap_or(Content::BF16);
        let (used, theorems) = if proofs && ternary { lower(asked, activation, inner) } else { (asked, Vec::new()) };
        decisions.insert(node, Decision { asked, used, theorems, activation });
    }
    decisions
}

/// What is known of every value.
pub fn contents(graph: &Graph) -> HashMap<Value, Content> {
    let mut contents = HashMap::new();
    for section in Section::ALL {
        for node in graph.order(section) {
            for output in 0..graph.node(node).outputs.len() {
                let integers = matches!(graph.node(node).op, Op::Quantize { .. }) && output == 0;
                contents.insert(Value { node, output }, if integers { Content::INT8 } else { Content::BF16 });
            }
        }
    }
    contents
}

/// The cheapest precision that loses nothing of `asked` for a ternary weight of `inner` rows and such an activation.
pub fn lower(asked: Precision, activation: Content, inner: usize) -> (Precision, Vec<Theorem>) {
    let mut used = asked;
    let mut theorems = Vec::new();
    if asked.weight != DType::Bfp4 {
        used.weight = DType::Bfp4;
        theorems.push(Theorem::TernaryIsExactInBfp4);
    }
    let small_integers = activation.integer_max.is_some_and(|max| max <= 127);
    if small_integers && asked.fidelity != Fidelity::LoFi {
        used.fidelity = Fidelity::LoFi;
        theorems.push(Theorem::IntegersFitPhaseZero);
    } else if let Some(lower) = match asked.fidelity {
        Fidelity::HiFi2 => Some(Fidelity::LoFi),
        Fidelity::HiFi4 => Some(Fidelity::HiFi3),
        Fidelity::LoFi | Fidelity::HiFi3 => None,
    } {
        used.fidelity = lower;
        theorems.push(Theorem::TernaryHasNoLowBits);
    }
    let sums_fit = activation.integer_max.is_some_and(|max| u64::from(max) * (inner as u64) < 1 << 23);
    if sums_fit && used.fp32_dest_acc && used.fidelity == Fidelity::LoFi {
        theorems.push(Theorem::IntegerSumsAreExact);
    }
    (used, theorems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(weight: DType, fidelity: Fidelity, fp32_dest_acc: bool) -> Precision {
        Precision { weight, fidelity, fp32_dest_acc }
    }

    #[test]
    fn bf16_times_ternary_drops_the_odd_phases_only() {
        let (used, _) = lower(asks(DType::Bfp8, Fidelity::HiFi2, false), Content::BF16, 2560);
        assert_eq!((used.weight, used.fidelity), (DType::Bfp4, Fidelity::LoFi));
        let (used, _) = lower(asks(DType::Bfp8, Fidelity::HiFi4, false), Content::BF16, 2560);
        assert_eq!(used.fidelity, Fidelity::HiFi3);
        let (used, theorems) = lower(asks(DType::Bfp4, Fidelity::HiFi3, false), Content::BF16, 2560);
        assert_eq!((used.fidelity, theorems), (Fidelity::HiFi3, vec![]));
    }

    #[test]
    fn integer_sums_are_exact_only_with_fp32_and_a_bounded_k() {
        let exact = |fp32, inner| {
            lower(asks(DType::Bfp4, Fidelity::LoFi, fp32), Content::INT8, inner)
                .1
                .contains(&Theorem::IntegerSumsAreExact)
        };
        assert!(exact(true, 6912));
        assert!(!exact(false, 6912));
        assert!(exact(true, 65_535));
        assert!(!exact(true, 70_000));
    }
}
