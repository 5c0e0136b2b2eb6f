//! Precision: each matrix product is computed in the cheapest precision that is proved to lose nothing against the one asked for.
//!
//! The matrix unit multiplies in phases, each of which takes other bits of its operands (Tensix ISA, MVMUL). Of the weight it takes the top
//! 5 significant bits (phases 0 and 2) or the next 5 (phases 1 and 3), of the activation the top 7 (phases 0 and 1) or the last 4 (phases 2
//! and 3). A phase whose bits are all zero is idle, since all its products are zero. It may still change the sum: a zero product keeps the
//! exponent of its operands, and the destination is aligned to it, which rounds away low bits of a destination that has cancelled to
//! something small. Leaving idle phases out therefore keeps every product and rounds the sum less often. For integers it keeps every bit,
//! because their destination has no bits that an alignment could drop. [`Proof`] tells the two cases apart, and
//! `compiler/tests/theorems.rs` checks both against the host's emulation, with a case in which the bits do differ.
//!
//! What is proved of the sums in the destination holds for the whole call: spills, the fused function and the packer see nothing but their
//! bits. It is said of two calls that cut K into the same blocks, for a spill to bf16 rounds where a block ends. Only a sum that is exact
//! ([`Theorem::IntegerSumsAreExact`]) does not depend on the cut. `tests/proofs.rs` compares whole models, whose other calls have no part in
//! this: exponentials and norms are what their kernels make them, at any precision asked of a product.
//!
//! The bounds of the operands come from the analysis of [`super::values`].

use std::collections::HashMap;
use std::fmt;

use bitnetc_plan::release::Spills;
use bitnetc_plan::{DType, Fidelity, Proofs, TtnnRelease};

use super::values::{Content, MatrixProduct, Values, weight};
use crate::graph::{Graph, NodeId, Operation, Role};
use crate::policy::{Override, Policy, Precision, asked};

/// The property of a result that a theorem keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proof {
    /// Every bit of the call's result is the same, where K is cut into the same blocks.
    BitIdentical,
    /// Every product is the same. Their sum is rounded less often, so that its last bits can differ.
    SameProducts,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proof::BitIdentical => "bit-identical",
            Proof::SameProducts => "same products, fewer roundings",
        })
    }
}

/// A reason for which a lower precision loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Theorem {
    /// The numbers -1, 0 and 1 are exact in bfp4 (shared exponent 127, magnitudes 0 and 4) and are unpacked to the same bits as from bfp8
    /// and bf16.
    TernaryIsExactInBfp4,
    /// A ternary weight has one significant bit. Phases 1 and 3 take its lower bits, which are zero, so they are idle. For any activation
    /// and either destination LoFi has the products of HiFi2, and HiFi3 has those of HiFi4; the sum is rounded less often.
    TernaryHasNoLowBits,
    /// The same holds for any weight of at most 5 significant bits, such as every number in bfp4.
    WeightHasNoLowBits,
    /// Phases 2 and 3 take the lower bits of the activation. They are zero in an activation of at most 7 significant bits, such as any bfp8
    /// number, so these phases are idle. For any weight and either destination HiFi2 has the products of HiFi4; together with
    /// [`Theorem::WeightHasNoLowBits`] LoFi has them.
    ActivationHasNoLowBits,
    /// Phases 1, 2 and 3 are idle for activations and weights that are integers, each in a unit of its own, of at most 7 and 5 significant
    /// bits. An idle phase aligns the destination to no more than `2^(10-5-10)` units, provided the largest activation times the largest
    /// weight is below `2^11`. That is less than the unit of every sum, so LoFi has the bits of HiFi4 with either destination. It holds for
    /// int8, -128 to 127, with ternary weights.
    IntegersFitPhaseZero,
    /// LoFi gives the exact integer when it has every product and every partial sum is below `2^23` units in fp32. For int8 with ternary
    /// weights this holds up to K = 65,535. It needs an fp32 destination and [spills](spill) that keep fp32.
    IntegerSumsAreExact,
}

impl Theorem {
    /// The property that the result shares with the one asked for.
    pub const fn proof(self) -> Proof {
        match self {
            Theorem::TernaryHasNoLowBits | Theorem::WeightHasNoLowBits | Theorem::ActivationHasNoLowBits => {
                Proof::SameProducts
            }
            Theorem::TernaryIsExactInBfp4 | Theorem::IntegersFitPhaseZero | Theorem::IntegerSumsAreExact => {
                Proof::BitIdentical
            }
        }
    }

    /// The theorem in a few words, for the note of a step.
    pub const fn statement(self) -> &'static str {
        match self {
            Theorem::TernaryIsExactInBfp4 => "bfp4 holds ternary weights exactly",
            Theorem::TernaryHasNoLowBits => "a ternary weight has no low bits, so phases 1 and 3 multiply zeros",
            Theorem::WeightHasNoLowBits => "the weight has no low bits, so phases 1 and 3 multiply zeros",
            Theorem::ActivationHasNoLowBits => "the activation has no low bits, so phases 2 and 3 multiply zeros",
            Theorem::IntegersFitPhaseZero => "int8 x ternary fits phase 0, so the others multiply zeros",
            Theorem::IntegerSumsAreExact => "int8 x ternary with fp32 sums is exact in LoFi",
        }
    }
}

/// The precision that partial sums keep while they are spilled to L1 from one K-block of a matmul to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spill {
    /// All of fp32.
    Fp32,
    /// 11 significant bits.
    Tf32,
    /// 8 significant bits.
    Bf16,
}

/// The spill of a matmul under a release of TT-NN. It is Float32 with an fp32 destination and bf16 otherwise; [`Spills`] tells what the
/// release does with Float32.
pub fn spill(release: Spills, fp32_dest_acc: bool, fused_bias: bool, dram_sharded: bool) -> Spill {
    if !fp32_dest_acc || (dram_sharded && !release.dram_sharded_keeps_fp32) {
        Spill::Bf16
    } else if fused_bias || !release.reloads_fp32 {
        Spill::Tf32
    } else {
        Spill::Fp32
    }
}

/// The precision of a node, and the reasons for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The precision that the policy and its overrides ask for.
    pub asked: Precision,
    /// The precision that is used.
    pub used: Precision,
    /// The theorems by which `used` can stand for `asked`.
    pub theorems: Vec<Theorem>,
    /// The bounds of the activation.
    pub activation: Content,
}

impl Decision {
    /// The property that the results of `used` and `asked` share: the weakest of its theorems. `None` where nothing was proved.
    pub fn proof(&self) -> Option<Proof> {
        self.theorems.iter().map(|theorem| theorem.proof()).max()
    }

    /// `HiFi2 bfp8 asked, LoFi bfp4 has the same products: ...`, or empty where nothing was proved.
    pub fn note(&self) -> String {
        let Some(proof) = self.proof() else { return String::new() };
        let why: Vec<_> = self.theorems.iter().map(|t| t.statement()).collect();
        if self.used == self.asked {
            return why.join("; ");
        }
        let same = match proof {
            Proof::BitIdentical => "is bit-identical",
            Proof::SameProducts => "has the same products",
        };
        let (asked, used) = (self.asked, self.used);
        let why = why.join("; ");
        format!("{} {} asked, {} {} {same}: {why}", asked.fidelity, asked.weight, used.fidelity, used.weight)
    }
}

/// Decides every node that has a precision, for matmuls of `release`.
pub fn precision(
    graph: &Graph,
    policy: Policy,
    overrides: &[Override],
    proofs: Proofs,
    release: &TtnnRelease,
) -> HashMap<NodeId, Decision> {
    let asked = all_asked(graph, policy, overrides);
    let values = Values::of(graph, &asked);
    let decide = |(node, asked): (NodeId, Precision)| {
        let activation = graph.inputs(node).first().map_or(Content::BF16, |value| values.get(*value));
        let (used, theorems) = match &graph.node(node).op {
            Operation::Linear(linear) => {
                let weight = weight(linear, asked.weight);
                lower(asked, MatrixProduct { activation, weight, inner: linear.in_width() }, proofs, release)
            }
            Operation::Tokens
            | Operation::Embedding { .. }
            | Operation::Carry
            | Operation::RmsNorm { .. }
            | Operation::Quantize { .. }
            | Operation::Dequantize { .. }
            | Operation::Scale { .. }
            | Operation::Bias(_)
            | Operation::SplitHeads { .. }
            | Operation::Rope(_)
            | Operation::CacheUpdate { .. }
            | Operation::Attention { .. }
            | Operation::MergeHeads
            | Operation::Activation(_)
            | Operation::Mul { .. }
            | Operation::Add { .. }
            | Operation::LastToken
            | Operation::Argmax => (asked, Vec::new()),
        };
        (node, Decision { asked, used, theorems, activation })
    };
    asked.iter().map(|(node, asked)| decide((*node, *asked))).collect()
}

/// The precision that is asked of every projection and attention.
fn all_asked(graph: &Graph, policy: Policy, overrides: &[Override]) -> HashMap<NodeId, Precision> {
    let of = |node: NodeId| {
        let (role, ternary) = match &graph.node(node).op {
            Operation::Linear(linear) => (graph.node(node).role, linear.is_ternary()),
            Operation::Attention { .. } => (Role::Sdpa, false),
            Operation::Tokens
            | Operation::Embedding { .. }
            | Operation::Carry
            | Operation::RmsNorm { .. }
            | Operation::Quantize { .. }
            | Operation::Dequantize { .. }
            | Operation::Scale { .. }
            | Operation::Bias(_)
            | Operation::SplitHeads { .. }
            | Operation::Rope(_)
            | Operation::CacheUpdate { .. }
            | Operation::MergeHeads
            | Operation::Activation(_)
            | Operation::Mul { .. }
            | Operation::Add { .. }
            | Operation::LastToken
            | Operation::Argmax => return None,
        };
        Some((node, asked(policy, overrides, graph.phase, role, ternary)))
    };
    graph.nodes().filter_map(of).collect()
}

/// The cheapest precision whose result keeps the property of `asked` that `proofs` demands, in a matmul of `release`.
pub fn lower(
    asked: Precision,
    product: MatrixProduct,
    proofs: Proofs,
    release: &TtnnRelease,
) -> (Precision, Vec<Theorem>) {
    let mut used = asked;
    let mut theorems = Vec::new();
    if proofs == Proofs::None {
        return (used, theorems);
    }
    if !matches!(asked.weight, DType::Bfp4 | DType::Bfp2) && product.weight.fits(DType::Bfp4) {
        used.weight = DType::Bfp4;
        theorems.push(Theorem::TernaryIsExactInBfp4);
    }
    let (fidelity, why) = fidelity(asked.fidelity, product);
    if proofs == Proofs::Products || why.iter().all(|theorem| theorem.proof() == Proof::BitIdentical) {
        used.fidelity = fidelity;
        theorems.extend(why);
    }
    // bitnetc fuses no bias. Whether the matmul will be DRAM-sharded is decided later, so both kinds must keep fp32.
    let keeps_fp32 = |dram_sharded| spill(release.spills, used.fp32_dest_acc, false, dram_sharded) == Spill::Fp32;
    let lossless = keeps_fp32(true) && keeps_fp32(false);
    if used.fidelity == Fidelity::LoFi && product.exact_sum().is_some() && lossless {
        theorems.push(Theorem::IntegerSumsAreExact);
    }
    (used, theorems)
}

/// The fidelity without the last phases if they are idle, and the theorems that say so.
fn fidelity(asked: Fidelity, product: MatrixProduct) -> (Fidelity, Vec<Theorem>) {
    const BY_PHASES: [Fidelity; 4] = [Fidelity::LoFi, Fidelity::HiFi2, Fidelity::HiFi3, Fidelity::HiFi4];
    let weight = product.weight.significant_bits <= 5;
    let activation = product.activation.significant_bits <= 7;
    let idle = [false, weight, activation, weight || activation];
    let last = BY_PHASES.iter().position(|f| *f == asked).unwrap_or(0);
    let kept = (0..=last).rev().find(|phase| !idle[*phase]).unwrap_or(0);
    let dropped = kept + 1..=last;
    if dropped.is_empty() {
        return (asked, Vec::new());
    }
    if product.fit_phase_zero() {
        return (BY_PHASES[kept], vec![Theorem::IntegersFitPhaseZero]);
    }
    // Phase 3 is idle if either operand has no low bits. Where both have none, the theorem of the weight is named.
    let by_weight = weight && (dropped.contains(&1) || dropped.contains(&3));
    let by_activation = dropped.contains(&2) || (dropped.contains(&3) && !weight);
    let ternary = product.weight == Content::TERNARY;
    let no_low_bits = if ternary { Theorem::TernaryHasNoLowBits } else { Theorem::WeightHasNoLowBits };
    let why = [(by_weight, no_low_bits), (by_activation, Theorem::ActivationHasNoLowBits)];
    (BY_PHASES[kept], why.into_iter().filter_map(|(holds, theorem)| holds.then_some(theorem)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(weight: DType, fidelity: Fidelity, fp32_dest_acc: bool) -> Precision {
        Precision { weight, fidelity, fp32_dest_acc }
    }

    fn ternary(activation: Content, inner: usize) -> MatrixProduct {
        MatrixProduct { activation, weight: Content::TERNARY, inner }
    }

    fn products(asked: Precision, product: MatrixProduct) -> (Precision, Vec<Theorem>) {
        lower(asked, product, Proofs::Products, TtnnRelease::latest())
    }

    #[test]
    fn bf16_times_ternary_drops_the_odd_phases_only() {
        let (used, _) = products(asks(DType::Bfp8, Fidelity::HiFi2, false), ternary(Content::BF16, 2560));
        assert_eq!((used.weight, used.fidelity), (DType::Bfp4, Fidelity::LoFi));
        let (used, _) = products(asks(DType::Bfp8, Fidelity::HiFi4, false), ternary(Content::BF16, 2560));
        assert_eq!(used.fidelity, Fidelity::HiFi3);
        let (used, theorems) = products(asks(DType::Bfp4, Fidelity::HiFi3, false), ternary(Content::BF16, 2560));
        assert_eq!((used.fidelity, theorems), (Fidelity::HiFi3, vec![]));
    }

    #[test]
    fn bfp8_times_ternary_needs_phase_zero_only() {
        let (used, theorems) = products(asks(DType::Bfp4, Fidelity::HiFi4, true), ternary(Content::BFP8, 2560));
        assert_eq!(used.fidelity, Fidelity::LoFi);
        assert_eq!(theorems, [Theorem::TernaryHasNoLowBits, Theorem::ActivationHasNoLowBits]);
        assert_eq!(theorems.iter().map(|t| t.proof()).max(), Some(Proof::SameProducts));
    }

    #[test]
    fn dense_weights_lower_by_what_their_format_holds() {
        let of = |dtype, activation| {
            let weight = Content::F32.stored(dtype);
            products(asks(dtype, Fidelity::HiFi4, true), MatrixProduct { activation, weight, inner: 2560 }).0
        };
        assert_eq!(of(DType::Bf16, Content::BF16), asks(DType::Bf16, Fidelity::HiFi4, true));
        assert_eq!(of(DType::Bfp8, Content::BF16), asks(DType::Bfp8, Fidelity::HiFi4, true));
        assert_eq!(of(DType::Bfp8, Content::BFP8), asks(DType::Bfp8, Fidelity::HiFi2, true));
        assert_eq!(of(DType::Bfp4, Content::BF16), asks(DType::Bfp4, Fidelity::HiFi3, true));
    }

    #[test]
    fn bits_alone_lower_what_keeps_every_bit() {
        let (asked, release) = (asks(DType::Bfp8, Fidelity::HiFi2, true), TtnnRelease::latest());
        let (used, theorems) = lower(asked, ternary(Content::BF16, 2560), Proofs::Bits, release);
        assert_eq!((used.weight, used.fidelity), (DType::Bfp4, Fidelity::HiFi2));
        assert_eq!(theorems, [Theorem::TernaryIsExactInBfp4]);
        let (used, theorems) = lower(asked, ternary(Content::INT8, 2560), Proofs::Bits, release);
        assert_eq!(used.fidelity, Fidelity::LoFi);
        assert!(theorems.iter().all(|t| t.proof() == Proof::BitIdentical));
        assert_eq!(lower(asked, ternary(Content::INT8, 2560), Proofs::None, release), (asked, vec![]));
    }

    #[test]
    fn fp32_is_kept_in_every_matmul_of_releases_that_reload_it_only() {
        let all = |release| {
            [(false, false), (false, true), (true, true)].map(|(bias, dram)| spill(release, true, bias, dram))
        };
        let latest = TtnnRelease::latest().spills;
        assert_eq!(all(latest), [Spill::Fp32, Spill::Fp32, Spill::Tf32]);
        assert_eq!(spill(latest, false, false, false), Spill::Bf16);
        let before = Spills { reloads_fp32: false, dram_sharded_keeps_fp32: false };
        assert_eq!(all(before), [Spill::Tf32, Spill::Bf16, Spill::Bf16]);
    }

    #[test]
    fn integer_sums_are_exact_only_with_fp32_and_a_bounded_k() {
        let exact = |fp32, inner| {
            products(asks(DType::Bfp4, Fidelity::LoFi, fp32), ternary(Content::INT8, inner))
                .1
                .contains(&Theorem::IntegerSumsAreExact)
        };
        assert!(exact(true, 6912));
        assert!(!exact(false, 6912));
        assert!(exact(true, 65_535));
        assert!(!exact(true, 65_536));
    }
}
