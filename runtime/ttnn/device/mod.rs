//! The TT-NN device: executes plans through the real TT-NN, on a card, on Tenstorrent's simulator or on a mock card.
//!
//! It is the same on all three. A call is lowered as `check --ttnn` and `emit` lower it ([`crate::lower`]), with a name for each slot in
//! place of the plan's names, and executed at once. A trace is TT-NN's own: calls between [`Device::begin_trace`] and
//! [`Device::end_trace`] are recorded by TT-NN and replayed by one command, and their results keep their addresses as long as the trace
//! lives, which is why the slots that a capture fills stay filled.
//!
//! | place | computes | traces |
//! |---|---|---|
//! | card | everything | yes |
//! | simulator | everything, thousands of times slower | yes |
//! | mock | nothing: results are zeros or whatever memory held | no: TT-NN crashes when a mock card replays one |

mod fits;
mod memory;
mod profile;

use std::sync::Arc;

use bitnetc_numerics::{Format, TiledView};
use bitnetc_plan::{Cost, DType, Footprint, Layout, Op, Ref, Scalar, Step, TILE, TensorSpec, Value, VerifiedPlan};
use bitnetc_runtime::device::{Arguments, Device, ResolvedStep, Slot, TraceId, Upload};
use bitnetc_runtime::{DeviceError, weights::bytes::format_of};

use crate::call::{Expr, Scope};
use crate::card::CardKind;
use crate::environment::PythonEnv;
use crate::error::TtnnError;
use crate::lower::{self, Open, value_key};
use crate::open_card::{CardOptions, OpenCard};
use crate::{note, python};
use profile::Profiler;

pub use profile::Sink;

/// TT-NN as a device.
#[derive(Debug)]
pub struct TtnnDevice {
    /// Before the card, which is closed after it.
    profiler: Option<Profiler>,
    card: OpenCard,
    /// Tensors by the key of their slot.
    scope: Scope,
    specs: Vec<Option<Arc<TensorSpec>>>,
    capture: Option<python::Object>,
    traces: Vec<Option<python::Object>>,
    /// Replays so far.
    replays: u64,
}

impl TtnnDevice {
    /// Opens the card and checks that it is one that `plan` was made for, before anything is uploaded.
    ///
    /// # Errors
    /// No such card; another card than the plan's, or one without room for the plan.
    pub fn open(env: &PythonEnv, kind: CardKind, plan: &VerifiedPlan) -> Result<Self, TtnnError> {
        note::doing(format_args!("opening {kind}"));
        let card = OpenCard::open(env, kind, CardOptions::default())?;
        fits::check(&card, plan)?;
        let (scope, specs, capture, traces) = Default::default();
        Ok(TtnnDevice { profiler: None, card, scope, specs, capture, traces, replays: 0 })
    }

    /// Notes from here on which program is which step of `plan`, and what TT-NN's real-time profiler sees; all of it is in `sink` once the
    /// device is closed.
    ///
    /// # Errors
    /// TT-NN's own.
    pub fn profile(&mut self, plan: &VerifiedPlan, sink: Sink) -> Result<(), TtnnError> {
        self.profiler = Some(Profiler::start(&self.card, plan, sink)?);
        Ok(())
    }

    /// Closes the card.
    ///
    /// # Errors
    /// TT-NN's own.
    pub fn close(self) -> Result<(), TtnnError> {
        drop(self.profiler);
        drop(self.scope);
        self.card.close()
    }

    fn hold(&mut self, slot: Slot, spec: Option<Arc<TensorSpec>>) -> Result<(), DeviceError> {
        let slots = self.specs.len() as u64;
        let place = self.specs.get_mut(slot.index());
        *place.ok_or(DeviceError::Range { what: "slot", got: i64::from(slot.0), limit: slots })? = spec;
        Ok(())
    }

    /// The tensor in a slot and its spec.
    fn held(&self, slot: Slot) -> Result<(&python::Object, &Arc<TensorSpec>), DeviceError> {
        let spec = self.specs.get(slot.index()).and_then(Option::as_ref).ok_or(DeviceError::Empty { operand: 0 })?;
        let object = self.scope.get("a slot", &key(slot)).map_err(|_| DeviceError::Empty { operand: 0 })?;
        Ok((object, spec))
    }

    /// Forgets what is in a slot without freeing it.
    fn forget(&mut self, slot: Slot) -> Result<(), DeviceError> {
        self.scope.remove(&key(slot));
        self.hold(slot, None)
    }

    fn place(&mut self, slot: Slot, spec: &Arc<TensorSpec>, bytes: Option<&[u8]>) -> Result<(), DeviceError> {
        let tensor = self.card.allocate(spec).map_err(library)?;
        self.card.write_bytes(&tensor, spec, |memory| match bytes {
            None => Ok(()),
            Some(bytes) if bytes.len() == memory.len() => {
                memory.copy_from_slice(bytes);
                Ok(())
            }
            Some(bytes) => Err(Failed(DeviceError::Operand {
                operand: 0,
                got: format!("{} bytes of weights", bytes.len()),
                want: format!("{} bytes, as TT-NN lays out {spec}", memory.len()),
            })),
        })?;
        self.scope.set(key(slot), tensor);
        self.hold(slot, Some(Arc::clone(spec)))
    }

    fn run(&mut self, resolved: &ResolvedStep, arguments: Arguments) -> Result<(), DeviceError> {
        go_on()?;
        note::doing(format_args!("{}, step `{}`", resolved.phase, resolved.name));
        let statement = lower::lower(&step(resolved), &Given(arguments));
        let first = self.profiler.as_ref().map(Profiler::next_program).transpose().map_err(library)?;
        statement.execute(self.card.interpreter(), &mut self.scope).map_err(library)?;
        if let (Some(profiler), Some(first)) = (&mut self.profiler, first) {
            let next = profiler.next_program().map_err(library)?;
            profiler.note(resolved, first, next);
        }
        if let Op::Deallocate(_) | Op::View(_) = &resolved.op {
            self.forget(resolved.operands[0])?;
        }
        for (slot, spec) in &resolved.outputs {
            self.hold(*slot, Some(Arc::clone(spec)))?;
        }
        Ok(())
    }

    fn trace_call(&self, method: &str, trace: Option<&python::Object>) -> Result<python::Object, DeviceError> {
        let mut args = vec![python::Value::from(self.card.object())];
        args.extend(trace.map(python::Value::from));
        let queue = [("cq_id", python::Value::Int(0))];
        let queue = if method == "release_trace" { &queue[..0] } else { &queue[..] };
        self.card.interpreter().ttnn().call_method(method, &args, queue).map_err(|error| library(error.into()))
    }

    fn trace(&self, trace: TraceId) -> Result<&python::Object, DeviceError> {
        let found = self.traces.get(trace.0 as usize).and_then(Option::as_ref);
        found.ok_or_else(|| DeviceError::Trace(format!("number {} is not there", trace.0)))
    }

    fn not_while_capturing(&self, what: &str) -> Result<(), DeviceError> {
        match &self.capture {
            None => Ok(()),
            Some(_) => Err(DeviceError::Trace(format!("{what} while a trace is captured"))),
        }
    }
}

/// Refuses to go on when a person has asked for an end.
fn go_on() -> Result<(), DeviceError> {
    if note::interrupts() > 0 { Err(DeviceError::Interrupted) } else { Ok(()) }
}

/// An error of TT-NN as the runtime knows it.
fn library(error: TtnnError) -> DeviceError {
    DeviceError::Library(Box::new(error))
}

/// Carries an error of the device through functions that fail with one of TT-NN's.
struct Failed(DeviceError);

impl From<TtnnError> for Failed {
    fn from(error: TtnnError) -> Self {
        Failed(library(error))
    }
}

impl From<Failed> for DeviceError {
    fn from(Failed(error): Failed) -> Self {
        error
    }
}

/// The name of a slot in the scope of calls.
fn key(slot: Slot) -> String {
    value_key(&name(slot))
}

fn name(slot: Slot) -> String {
    slot.0.to_string()
}

/// The call as a step whose values are named after their slots, which is the form that lowering takes.
fn step(resolved: &ResolvedStep) -> Step {
    let mut op = resolved.op.clone();
    for (operand, slot) in op.operands_mut().into_iter().zip(&resolved.operands) {
        *operand = Ref::Value(name(*slot));
    }
    let outputs = resolved.outputs.iter().map(|(slot, spec)| Value {
        name: name(*slot),
        spec: TensorSpec::clone(spec),
        padding: None,
        address: None,
    });
    Step {
        name: resolved.name.clone(),
        op,
        outputs: outputs.collect(),
        l1: Footprint::default(),
        cost: Cost::default(),
        note: String::new(),
    }
}

/// The arguments of a call, for lowering. Scalars are plain numbers by now.
struct Given(Arguments);

impl Open for Given {
    fn scalar(&self, _: &Step, _: usize, scalar: &Scalar) -> Expr {
        Expr::Float(scalar.value)
    }

    fn user(&self) -> Expr {
        Expr::Int(i64::from(self.0.user))
    }

    fn last_tile(&self, columns: u32) -> (Expr, Expr) {
        let row = self.0.tile_row;
        (Expr::ints([0, 0, row, 0]), Expr::ints([1, 1, row + TILE, columns]))
    }
}

impl Device for TtnnDevice {
    fn name(&self) -> String {
        format!("TT-NN on {}", self.card.card())
    }

    fn can_trace(&self) -> bool {
        match self.card.card() {
            CardKind::Mock(_) => false,
            CardKind::Simulator(_) | CardKind::Real => true,
        }
    }

    fn reserve(&mut self, slots: usize) -> Result<(), DeviceError> {
        self.specs.resize(slots, None);
        Ok(())
    }

    fn upload(&mut self, slot: Slot, upload: &Upload<'_>) -> Result<(), DeviceError> {
        self.not_while_capturing("a weight is placed")?;
        go_on()?;
        note::doing(format_args!("loading weight `{}` of layer {}", upload.weight.name, upload.layer));
        let bytes = upload.weights.bytes(upload.weight, upload.layer)?;
        self.place(slot, &Arc::new(upload.weight.spec.clone()), Some(&bytes))
    }

    fn allocate(&mut self, slot: Slot, spec: &Arc<TensorSpec>) -> Result<(), DeviceError> {
        self.not_while_capturing("a tensor is allocated")?;
        go_on()?;
        note::doing(format_args!("placing a buffer of {spec}"));
        self.place(slot, spec, None)
    }

    fn write(&mut self, slot: Slot, data: &[u32]) -> Result<(), DeviceError> {
        self.not_while_capturing("the host writes")?;
        let (tensor, spec) = self.held(slot)?;
        integers(spec)?;
        let elements = spec.shape.iter().product::<u32>() as usize;
        if data.len() > elements {
            return Err(DeviceError::Operand {
                operand: 0,
                got: spec.to_string(),
                want: format!("{} integers or more", data.len()),
            });
        }
        // What the data leave out stays as it is on the card.
        let rest = match data.len() < elements {
            true => self.card.read_bytes(tensor, <[u8]>::to_vec).map_err(library)?,
            false => Vec::new(),
        };
        let filled = self.card.write_bytes(tensor, spec, |memory| {
            memory[..rest.len()].copy_from_slice(&rest);
            for (bytes, value) in memory.chunks_exact_mut(4).zip(data) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
            Ok::<_, TtnnError>(())
        });
        filled.map_err(library)
    }

    fn execute(&mut self, steps: &[Arc<ResolvedStep>], arguments: Arguments) -> Result<(), (usize, DeviceError)> {
        steps.iter().enumerate().try_for_each(|(at, step)| self.run(step, arguments).map_err(|error| (at, error)))
    }

    fn free(&mut self, slot: Slot) -> Result<(), DeviceError> {
        self.not_while_capturing("the host frees")?;
        let Some(tensor) = self.scope.remove(&key(slot)) else { return Ok(()) };
        self.hold(slot, None)?;
        let freed = self.card.interpreter().ttnn().call_method("deallocate", &[tensor.into()], &[]);
        freed.map(drop).map_err(|error| library(error.into()))
    }

    fn read_integers(&mut self, slot: Slot, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        let (tensor, spec) = self.held(slot)?;
        integers(spec)?;
        out.clear();
        let read = self.card.read_bytes(tensor, |bytes| {
            let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            out.extend(words);
        });
        read.map_err(library)
    }

    fn read_floats(&mut self, slot: Slot, out: &mut Vec<f32>) -> Result<(), DeviceError> {
        let (tensor, spec) = self.held(slot)?;
        let format = format_of(spec.dtype).ok_or_else(|| DeviceError::Operand {
            operand: 0,
            got: spec.to_string(),
            want: "a tensor of floats".into(),
        })?;
        out.clear();
        let read = self.card.read_bytes(tensor, |bytes| floats(spec, format, bytes, out));
        read.map_err(library)?
    }

    fn begin_trace(&mut self) -> Result<(), DeviceError> {
        self.not_while_capturing("a trace is begun")?;
        if !self.can_trace() {
            return Err(DeviceError::Trace("a mock card replays none; run without a trace".into()));
        }
        self.capture = Some(self.trace_call("begin_trace_capture", None)?);
        Ok(())
    }

    fn end_trace(&mut self) -> Result<TraceId, DeviceError> {
        let capture = self.capture.take().ok_or_else(|| DeviceError::Trace("none is being captured".into()))?;
        self.trace_call("end_trace_capture", Some(&capture))?;
        self.traces.push(Some(capture));
        Ok(TraceId(self.traces.len() as u32 - 1))
    }

    fn replay_trace(&mut self, trace: TraceId) -> Result<(), DeviceError> {
        self.not_while_capturing("a trace is replayed")?;
        self.replays += 1;
        note::doing(format_args!("decode, replay {} of the trace", self.replays));
        let args = [python::Value::from(self.card.object()), self.trace(trace)?.into()];
        let options = [("cq_id", python::Value::Int(0)), ("blocking", python::Value::Bool(false))];
        let replayed = self.card.interpreter().ttnn().call_method("execute_trace", &args, &options);
        replayed.map(drop).map_err(|error| library(error.into()))
    }

    fn release_trace(&mut self, trace: TraceId) -> Result<(), DeviceError> {
        self.trace_call("release_trace", Some(self.trace(trace)?))?;
        self.traces[trace.0 as usize] = None;
        Ok(())
    }
}

/// Refuses a tensor that is not of integers, or not one after another in memory.
fn integers(spec: &TensorSpec) -> Result<(), DeviceError> {
    match (spec.dtype, spec.layout) {
        (DType::U32 | DType::I32, Layout::RowMajor) => Ok(()),
        (DType::U32 | DType::I32, Layout::Tile)
        | (DType::Bf16 | DType::Bfp8 | DType::Bfp4 | DType::F32, Layout::RowMajor | Layout::Tile) => {
            Err(DeviceError::Operand { operand: 0, got: spec.to_string(), want: "integers in row-major layout".into() })
        }
    }
}

/// Logical rows one after another.
fn floats(spec: &TensorSpec, format: Format, bytes: &[u8], out: &mut Vec<f32>) -> Result<(), DeviceError> {
    let columns = spec.columns() as usize;
    match spec.layout {
        Layout::RowMajor => match format {
            Format::Bf16 => {
                out.extend(bytes.chunks_exact(2).map(|b| f32::from_bits(u32::from_le_bytes([0, 0, b[0], b[1]]))))
            }
            _ => out.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        },
        Layout::Tile => {
            let planes = spec.outer() as usize;
            let rows = spec.rows() as usize;
            let padded = rows.next_multiple_of(TILE as usize);
            let view = TiledView::new(format, planes * padded, columns, bytes)?;
            for row in (0..planes).flat_map(|plane| (0..rows).map(move |row| plane * padded + row)) {
                let at = out.len();
                out.resize(at + columns, 0.0);
                view.read_row(row, &mut out[at..]);
            }
        }
    }
    Ok(())
}
