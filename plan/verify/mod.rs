//! Every invariant of a plan, checked without the compiler.
//!
//! [`verify`] answers for a whole plan: all defects, each with its place and what would be right, never a panic. What it returns for a
//! sound plan, [`Verified`], says where everything lies. A runtime asks for a [`VerifiedPlan`]: executing it needs no further checks.
//!
//! The numbers come first. A plan that breaks one of these invariants is not looked at further:
//!
//! | invariant | holds when |
//! |---|---|
//! | [`Format`](Invariant::Format) | the format version is [`FORMAT_VERSION`] |
//! | [`Release`](Invariant::Release) | the release is one of [`crate::TtnnRelease::ALL`], whose rules these are, and has every call |
//! | [`Card`](Invariant::Card) | the grid has cores, `base < end` in L1, alignments are powers of two from 16, there are banks and readers |
//! | [`Options`](Invariant::Options) | batch 1 to 32; cache blocks of 32, 64 or 128 tokens; a context of at least one block, in which attention was priced; layers and vocabulary not empty; a SHA-256 in hex |
//! | [`Bounds`](Invariant::Bounds) | shapes have 1 to 4 dimensions; dimensions, shards, lengths of sources, core coordinates and program parameters are not 0 and far below overflow; clamps keep numbers of both signs |
//!
//! Then come the tensors that live as long as the plan:
//!
//! | invariant | holds when |
//! |---|---|
//! | [`Names`](Invariant::Names) | names of weights and buffers, of a phase's steps and of its values are unique and not empty; a role has one buffer; phases are decode (of the plan's batch), then prefill by growing bucket (multiples of 32, within the context); at least one |
//! | [`Placement`](Invariant::Placement) | a tensor's shards cover it and lie on existing, distinct cores or banks; block formats are tiled; buffers and per-layer weights are in DRAM |
//! | [`WeightSource`](Invariant::WeightSource) | the spec's shape, data type and layout are those its source makes; row ranges and head paddings divide their matrix; there is one per layer exactly when `{layer}` is in a tensor's name; the table of tokens has the vocabulary's rows, that of rotary positions at least the context's; all factors are finite |
//! | [`BufferRole`](Invariant::BufferRole) | spec and `per_layer` are those its role has at the plan's batch, context and block; the two caches have one shape |
//!
//! Each phase is checked in the order of its steps, prologue, one layer and epilogue, which [`crate::walk`] replays:
//!
//! | invariant | holds when |
//! |---|---|
//! | [`Defined`](Invariant::Defined) | every operand is a value of an earlier step, a weight or a buffer of the plan, per-layer ones in the layer only; weights are not written |
//! | [`Alive`](Invariant::Alive) | no value is used or freed after it was freed, or after a view took over its memory; weights and buffers are never freed |
//! | [`LayerLoop`](Invariant::LayerLoop) | a layer ends every value it makes and none of the prologue's: each layer finds L1 as the first did |
//! | [`Freed`](Invariant::Freed) | after the last step exactly the results are alive, all in DRAM: the next phase or replay finds L1 as this one did |
//! | [`Used`](Invariant::Used) | every value is used after each time it is written; every weight and buffer is used by a phase |
//! | [`Legal`](Invariant::Legal) | [`crate::ttnn::check`] accepts the call with its operands' specs: among others, cores that TT-NN needs equal or disjoint are |
//! | [`Outputs`](Invariant::Outputs) | the declared outputs equal those the rule returns: shape, data type, layout, memory config with its cores and shard |
//! | [`Address`](Invariant::Address) | every address equals the allocator's, in L1 and in DRAM, weights and buffers first, temporaries of calls included |
//! | [`Footprint`](Invariant::Footprint) | circular-buffer bytes equal the rule's; tensor bytes are those from the lowest live address to the end of L1 |
//! | [`L1Capacity`](Invariant::L1Capacity) | every allocation in L1 finds room, and while a step runs `base + circular buffers <= lowest live address` |
//! | [`DramCapacity`](Invariant::DramCapacity) | every allocation in DRAM finds room, fragments considered, below the commands of traces and the kernels at the end of each bank; with the results that traces leave, and without |
//! | [`Scalar`](Invariant::Scalar) | constants are finite; epsilons, factors of scores and maxima are above 0, other factors not 0; scales are those of ternary matrices in the plan; per-layer scales are used in the layer only |
//! | [`Dataflow`](Invariant::Dataflow) | each op reads and writes buffers of the roles it is for; a layer writes each cache once, and reads it after that; decode writes tokens, positions and rotary positions once each, outside the layer and after their last reader; prefill writes the first tokens once; nothing else writes; idle users' positions stay negative; tokens are drawn after the step that seeds random numbers |
//! | [`Padding`](Invariant::Padding) | of every value those columns are declared as padding that [`crate::padding`] finds to be zeros; no call lets them count or fills them, results have none, and all phases pad the rows of a cache alike |
//! | [`Trace`](Invariant::Trace) | a traced phase has a warm-up of 1 to 16 runs; feedback is exactly what the phase writes, caches apart; inputs are at least the other buffers it reads, and none it does not |
//! | [`Cost`](Invariant::Cost) | predicted times are finite and not negative |
//!
//! The last invariant is about the function that the phases compute:
//!
//! | invariant | holds when |
//! |---|---|
//! | [`Function`](Invariant::Function) | each phase, executed on terms of its model ([`crate::function`]), computes the function whose digest the plan records; all of them write the same columns with the same factors into the caches; tokens are picked of the logits, which are as many as the vocabulary has and belong to the last tokens, and results are those |
//!
//! It is checked when all others hold. The model itself is not part of a plan: that the digest is the one of the model is checked where
//! the model is known, by the compiler and by `bitnetc check --model`. Policy, overrides, notes and predicted costs are labels on which
//! nothing depends, and a call that is legal but slow is legal.
//!
//! From these invariants it follows that a traced phase may be captured and replayed: a captured region allocates and frees the same tensors at the same addresses each time (`LayerLoop`, `Freed`,
//! `Address`), its kernels are compiled before (`warm_up`), no call of [`crate::Op`] writes from the host but those with host-dependent
//! arguments, and whatever changes between replays lies in persistent buffers.

mod bounds;
mod buffers;
mod dataflow;
mod dram;
mod function;
mod padding;
mod persistent;
mod phases;
mod release;
mod weights;

pub use dram::DramUse;

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Deref;

use crate::defect::Defects;
use crate::walk::{self, Context, Walk};
use crate::{Defect, FORMAT_VERSION, Invariant, PhaseKind, Place, Plan};

/// A plan that keeps every invariant, together with the results of the checks.
#[derive(Debug, Clone)]
pub struct Verified<'a> {
    plan: &'a Plan,
    walks: Vec<Walk>,
    dram: DramUse,
}

/// A plan that keeps every invariant: what a runtime asks for. It reads as a [`Plan`] and cannot be changed, so that it is verified once.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedPlan {
    plan: Plan,
    dram: DramUse,
}

impl VerifiedPlan {
    /// Checks every invariant of `plan`.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn new(plan: Plan) -> Result<Self, Vec<Defect>> {
        let dram = verify(&plan)?.dram();
        Ok(VerifiedPlan { plan, dram })
    }

    /// A plan that keeps every invariant but perhaps [`Function`](Invariant::Function): it can be executed, whatever it computes. It is for
    /// finding out what a plan computes that verification refuses.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn of_any_function(plan: Plan) -> Result<Self, Vec<Defect>> {
        let dram = all_but_function(&plan)?.dram();
        Ok(VerifiedPlan { plan, dram })
    }

    /// The bytes that the plan takes of every DRAM bank.
    pub const fn dram(&self) -> DramUse {
        self.dram
    }

    /// The plan with only the first `layers` of its layers, and what stands before and after them. Layers are alike, so nothing that was
    /// verified is lost; DRAM is counted as before.
    #[must_use]
    pub fn first_layers(mut self, layers: u32) -> Self {
        self.plan.model.layers = self.plan.model.layers.min(layers);
        self
    }

    /// The plan, to be changed: what was known about it is forgotten.
    pub fn into_plan(self) -> Plan {
        self.plan
    }
}

impl From<Verified<'_>> for VerifiedPlan {
    fn from(verified: Verified<'_>) -> Self {
        VerifiedPlan { plan: verified.plan.clone(), dram: verified.dram }
    }
}

impl Deref for VerifiedPlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

impl<'a> Verified<'a> {
    /// The plan.
    pub const fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// The walk through each phase, in the plan's order.
    pub fn walks(&self) -> &[Walk] {
        &self.walks
    }

    /// What it takes of every DRAM bank.
    pub const fn dram(&self) -> DramUse {
        self.dram
    }
}

/// Checks every invariant.
///
/// ```
/// use bitnetc_plan::{Invariant, format, verify};
///
/// // A plan that would run nothing.
/// let text = r#"
/// (
///     format: FORMAT, release: "RELEASE",
///     model: (name: "m", digest: "DIGEST", function: "DIGEST", layers: 1, vocab: 32),
///     options: (
///         policy: "balanced", overrides: [], batch: 1, context: 64, block: 64, priced_at: 0, proofs: products, folding: true,
///     ),
///     card: (
///         name: "n150", arch: Wormhole, grid: (8, 8), l1: (base: 105824, end: 1499136, alignment: 16),
///         dram: (banks: 12, base: 1048640, bank_bytes: 1072693184, alignment: 32, readers_per_bank: 1),
///     ),
///     weights: [], buffers: [], phases: [],
/// )
/// "#.replace("FORMAT", &bitnetc_plan::FORMAT_VERSION.to_string()).replace("RELEASE", bitnetc_plan::TtnnRelease::latest().version).replace("DIGEST", &"0".repeat(64));
/// let plan = format::read_bytes(text.as_bytes())?;
/// let defects = verify(&plan).expect_err("it has no phases");
/// assert_eq!(defects[0].invariant, Invariant::Names);
/// println!("{}; {}", defects[0], defects[0].hint);
/// # Ok::<(), format::FormatError>(())
/// ```
///
/// # Errors
/// All defects found, in the order of the plan. A plan whose numbers are out of bounds is not looked at further.
pub fn verify(plan: &Plan) -> Result<Verified<'_>, Vec<Defect>> {
    // A function can be told of a plan that holds otherwise.
    let verified = all_but_function(plan)?;
    let mut defects = Defects::default();
    function::check(plan, &mut defects);
    if defects.0.is_empty() { Ok(verified) } else { Err(defects.0) }
}

fn all_but_function(plan: &Plan) -> Result<Verified<'_>, Vec<Defect>> {
    let mut defects = Defects::default();
    release::check(plan, &mut defects);
    bounds::check(plan, &mut defects);
    if !defects.0.is_empty() {
        return Err(defects.0);
    }
    check_names(plan, &mut defects);
    weights::check(plan, &mut defects);
    buffers::check(plan, &mut defects);
    let walks = walk::walks(Context::from(plan), &plan.phases);
    persistent::check(plan, &walks, &mut defects);
    for (phase, walk) in plan.phases.iter().zip(&walks.phases) {
        phases::check(plan, phase, walk, &mut defects);
        dataflow::check(plan, phase, &mut defects);
    }
    padding::check(plan, &mut defects);
    function::check_tables(plan, &mut defects);
    check_used(plan, &mut defects);
    let dram = dram::check(plan, &walks.phases, &mut defects);
    if defects.0.is_empty() { Ok(Verified { plan, walks: walks.phases, dram }) } else { Err(defects.0) }
}

fn check_names(plan: &Plan, defects: &mut Defects) {
    let persistent = plan.weights.iter().map(|w| (w.name.as_str(), Place::Weight(w.name.clone())));
    let persistent = persistent.chain(plan.buffers.iter().map(|b| (b.name.as_str(), Place::Buffer(b.name.clone()))));
    unique(persistent, "weights and buffers", defects);
    for phase in &plan.phases {
        let place = |step: &str| Place::Step(phase.kind, step.to_owned());
        unique(phase.steps().map(|s| (s.name.as_str(), place(&s.name))), "the phase's steps", defects);
        let values = phase.steps().flat_map(|s| s.outputs.iter().map(move |v| (v.name.as_str(), place(&s.name))));
        unique(values, "the phase's values", defects);
        unique(phase.results.iter().map(|r| (r.as_str(), Place::Phase(phase.kind))), "the phase's results", defects);
    }
    check_phase_kinds(plan, defects);
}

fn unique<'a, K: Hash + Eq + Copy + AsRef<str> + 'a>(
    names: impl Iterator<Item = (K, Place)>,
    of: &str,
    defects: &mut Defects,
) {
    let mut seen = HashSet::new();
    for (name, place) in names {
        if name.as_ref().is_empty() {
            defects.push(Invariant::Names, place, format!("one of {of} has no name"), "");
        } else if !seen.insert(name) {
            let what = format!("`{}` is the name of two of {of}", name.as_ref());
            defects.push(Invariant::Names, place, what, "names are unique");
        }
    }
}

fn check_phase_kinds(plan: &Plan, defects: &mut Defects) {
    let mut bad = |place, what: String, hint: &str| defects.push(Invariant::Names, place, what, hint);
    if plan.phases.is_empty() {
        bad(Place::Plan, "there is no phase".into(), "decode, prefill or both");
    }
    for pair in plan.phases.windows(2) {
        // Decode sorts before prefill, prefill by its tokens.
        if pair[0].kind >= pair[1].kind || matches!(pair[1].kind, PhaseKind::Decode { .. }) {
            let what = format!("it comes after {}", pair[0].kind);
            bad(Place::Phase(pair[1].kind), what, "one decode phase first, then prefill by growing bucket");
        }
    }
    for phase in &plan.phases {
        let place = Place::Phase(phase.kind);
        match phase.kind {
            PhaseKind::Decode { batch } if batch != plan.options.batch => {
                bad(place, format!("it is for {batch} users, the plan for {}", plan.options.batch), "");
            }
            PhaseKind::Prefill { tokens } if tokens == 0 || tokens % 32 != 0 || tokens > plan.options.context => {
                let hint = format!("a multiple of 32 up to the context, {}", plan.options.context);
                bad(place, format!("its bucket has {tokens} tokens"), &hint);
            }
            _ => {}
        }
    }
}

fn check_used(plan: &Plan, defects: &mut Defects) {
    let steps = plan.phases.iter().flat_map(|p| p.steps());
    let used: HashSet<_> = steps.flat_map(|s| s.op.operands()).collect();
    for weight in &plan.weights {
        if !used.contains(&crate::Ref::Weight(weight.name.clone())) {
            let place = Place::Weight(weight.name.clone());
            defects.push(
                Invariant::Used,
                place,
                "no phase uses it",
                "leave it out, or the step that uses it is missing",
            );
        }
    }
    for buffer in &plan.buffers {
        if !used.contains(&crate::Ref::Buffer(buffer.name.clone())) {
            let place = Place::Buffer(buffer.name.clone());
            defects.push(
                Invariant::Used,
                place,
                "no phase uses it",
                "leave it out, or the step that uses it is missing",
            );
        }
    }
}

/// The fields of a plan of another version may mean anything, so the version is checked before them.
fn check_format(plan: &Plan, defects: &mut Defects) {
    if plan.format != FORMAT_VERSION {
        let what = format!("format version {}", plan.format);
        defects.push(Invariant::Format, Place::Plan, what, format!("this bitnetc knows version {FORMAT_VERSION}"));
    }
}

#[cfg(test)]
mod tests;
