//! Loading: places the weights and buffers of a verified plan in their slots of a device.

use std::sync::Arc;

use bitnetc_plan::{BufferRole, Op, PhaseKind, Plan, VerifiedPlan};

use super::chunks::Buckets;
use super::draw::Draw;
use super::pages::Pages;
use super::{Inputs, Session, Traced};
use crate::RuntimeError;
use crate::device::{Device, Upload};
use crate::program::{PhaseProgram, Program, WeightSlot};
use crate::weights::Weights;
use crate::weights::bytes::byte_len;

/// How a plan is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// Capture the phases that the plan says are to be.
    pub trace: bool,
    /// The cache blocks of each user, `[batch, blocks per user]`, a permutation of all blocks; `None` for user after user.
    pub page_table: Option<Vec<u32>>,
    /// Load and execute only the first layers, and what stands before and after the layers; `None` for all.
    pub layers: Option<u32>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { trace: true, page_table: None, layers: None }
    }
}

impl<D: Device> Session<D> {
    /// Checks that `weights` are those of `plan`, then places everything on `device`; `progress` is told how many bytes of weights are
    /// placed and how many there are.
    ///
    /// ```
    /// use bitnetc_compiler::target::Target;
    /// use bitnetc_compiler::{Options, compile, model};
    /// use bitnetc_runtime::host::Numerics;
    /// use bitnetc_runtime::{HostDevice, LoadOptions, Session, Weights};
    ///
    /// let model = model::find("tiny-shakespeare").ok_or("a shipped model")?.model()?;
    /// let options = Options { prefill: vec![32], ..Options::for_model(&model) };
    /// let plan = compile(&model, &Target::find("n150")?, &options)?.plan;
    /// let weights = Weights::open("../graphs/tiny-shakespeare".as_ref())?;
    ///
    /// let device = HostDevice::new(plan.card.arch, Numerics::Fast);
    /// let mut session = Session::load(plan, &weights, device, &LoadOptions::default(), |_done, _all| {})?;
    /// let mut logits = Vec::new();
    /// session.prefill(0, &[5, 6, 7])?;
    /// session.logits(&mut logits)?;
    /// // A prefill leaves the logits of a tile of tokens; the last of the prompt is row 2.
    /// let vocab = session.plan().model.vocab as usize;
    /// assert!(logits[2 * vocab..3 * vocab].iter().all(|logit| logit.is_finite()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Weights that are missing or wrong, a device without memory.
    pub fn load(
        plan: VerifiedPlan,
        weights: &Weights,
        mut device: D,
        options: &LoadOptions,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self, RuntimeError> {
        weights.check(&plan)?;
        let plan = match options.layers {
            Some(layers) => plan.first_layers(layers),
            None => plan,
        };
        let pages = Pages::new(&plan, options.page_table.as_deref())?;
        let program = Program::new(&plan, &weights.scales(&plan)?)?;
        device.reserve(program.slots).map_err(RuntimeError::device("reserving slots"))?;
        let bytes = |slot: &WeightSlot| byte_len(&plan.weights[slot.index].spec).unwrap_or(0);
        let (mut done, all) = (0, program.weights.iter().map(bytes).sum());
        for place in &program.weights {
            let &WeightSlot { index, layer, slot, integer } = place;
            let weight = &plan.weights[index];
            let doing = format!("loading weight `{}` of layer {layer}", weight.name);
            let upload = Upload { weight, layer, weights, integer };
            device.upload(slot, &upload).map_err(RuntimeError::device(doing))?;
            // The device has its own copy now: two of each would double the memory of a large model.
            weights.release();
            done += bytes(place);
            progress(done, all);
        }
        for (index, slot) in &program.buffers {
            let buffer = &plan.buffers[*index];
            let doing = format!("placing buffer `{}`", buffer.name);
            device.allocate(*slot, &Arc::new(buffer.spec.clone())).map_err(RuntimeError::device(doing))?;
        }
        let buffer = |role: BufferRole| program.buffer(&plan, role);
        let need = |role: BufferRole| buffer(role).ok_or_else(|| RuntimeError::Lacks(format!("{role:?} buffer")));
        let inputs = Inputs {
            tokens: need(BufferRole::Tokens)?,
            positions: need(BufferRole::Positions)?,
            rotary: buffer(BufferRole::RotaryPositions),
            pages: need(BufferRole::PageTable)?,
            first: buffer(BufferRole::FirstTokens),
        };
        let draw = Draw::of(buffer);
        let decode = program.phases.iter().position(|p| matches!(p.kind, PhaseKind::Decode { .. }));
        let can_trace = options.trace && device.can_trace();
        let traced =
            |phase: &PhaseProgram| if can_trace && phase.trace.is_some() { Traced::NotYet } else { Traced::Never };
        let traces = program.phases.iter().map(traced).collect();
        let copies =
            plan.buffer_for(BufferRole::RotaryPositions).map_or(0, |b| b.spec.columns() / plan.options.batch.max(1));
        let (rotary_copies, buckets, tile_columns) = (copies as usize, Buckets::of(&plan), tile_columns(&plan));
        let mut session = Session {
            plan,
            program,
            device,
            inputs,
            draw,
            decode,
            traces,
            results: None,
            scratch: Vec::new(),
            rotary_copies,
            pages,
            buckets,
            tile_columns,
        };
        session.write_pages()?;
        let users: Vec<u32> = (0..session.plan.options.batch).collect();
        session.put(BufferRole::Generators, &users)?;
        session.prepare_draw()?;
        Ok(session)
    }
}

/// Columns of the rows of which prefill takes the last token's tile.
fn tile_columns(plan: &Plan) -> u32 {
    let mut slices =
        plan.phases.iter().flat_map(|phase| phase.steps()).filter(|step| matches!(step.op, Op::SliceAt(_)));
    slices.find_map(|step| step.outputs.first()).map_or(0, |tile| tile.spec.columns())
}
