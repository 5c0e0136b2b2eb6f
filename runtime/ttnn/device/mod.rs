//! The TT-NN device: executes plans through the real TT-NN, on a card, on Tenstorrent's simulator or on a mock card.
//!
//! It is the same on all three. A call is lowered as `check --ttnn` and `emit` lower it ([`crate::lower`]), with a name for each slot in
//! place of the plan's names, and executed at once. A trace is TT-NN's own: calls between [`begin_trace`](bitnetc_runtime::Device::begin_trace) and
//! [`end_trace`](bitnetc_runtime::Device::end_trace) are recorded by TT-NN and replayed by one command, and their results keep their addresses as long as the trace
//! lives, which is why the slots that a capture fills stay filled.
//!
//! | place | computes | traces |
//! |---|---|---|
//! | card | everything | executed |
//! | simulator | everything, thousands of times slower | executed |
//! | mock | nothing: results are zeros or whatever memory held | made and checked, with a stand-in for the command queue ([`crate::queue`]) |
//!
//! | module | does |
//! |---|---|
//! | `compared` | the host device beside this one, step by step |
//! | `fits` | is the open card the plan's? |
//! | `interface` | the methods of [`Device`](bitnetc_runtime::Device) |
//! | `memory` | host tensors and their bytes |
//! | `queues` | the order of copies and programs |
//! | `selftest` | bitnetc's own kernels, compared bit by bit |
//! | `traces` | captures and replays |
//! | `values` | the numbers in bytes |
//!
//! A greedy step of decoding is three commands: the trace, a copy of its tokens to the host, an event behind the copy. Copies go to host
//! tensors that are kept, for tokens to two in turns, so that one is read while the next step runs.

mod compared;
mod fits;
mod interface;
mod memory;
mod profile;
mod queues;
mod selftest;
mod traces;
mod values;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bitnetc_plan::units::exact_bytes;
use bitnetc_plan::{Cost, Footprint, Memory, Op, Ref, Step, TensorSpec, Value, VerifiedPlan};
use bitnetc_runtime::DeviceError;
use bitnetc_runtime::device::{ResolvedStep, Slot};

use crate::call::Scope;
use crate::card::CardKind;
use crate::environment::PythonEnv;
use crate::error::TtnnError;
use crate::lower::{self, Plain, value_key};
use crate::open_card::{CardOptions, OpenCard};
use crate::python;
use crate::{note, record, spec};
use memory::HostTensor;
use profile::Profiler;
use queues::{Queues, Way};
use traces::Traces;

pub use compared::{ComparedDevice, Comparison};
pub use profile::Sink;
pub use selftest::{Tested, selftest};

/// Most reads under way at once: the step that runs, and the one before.
const READS: usize = 2;

/// TT-NN as a device.
#[derive(Debug)]
pub struct TtnnDevice {
    /// Before the card, which is closed after it.
    profiler: Option<Profiler>,
    card: OpenCard,
    /// Tensors by the key of their slot.
    scope: Scope,
    specs: Vec<Option<Arc<TensorSpec>>>,
    queues: Queues,
    traces: Traces,
    /// The slots that the capture under way has filled.
    filled: Vec<Slot>,
    /// Host tensors of the slots that were written or read.
    kept: HashMap<Slot, HostTensor>,
    /// Host tensors that reads under way copy to, the oldest first.
    reads: VecDeque<HostTensor>,
    /// Host tensors of reads that are over.
    spare: Vec<HostTensor>,
    /// Replays so far.
    replays: u64,
}

impl TtnnDevice {
    /// Opens the card and checks that it is one that `plan` was made for, before anything is uploaded.
    ///
    /// # Errors
    /// No such card; another card than the plan's, or one without room for the plan.
    pub fn open(env: &PythonEnv, kind: CardKind, options: CardOptions, plan: &VerifiedPlan) -> Result<Self, TtnnError> {
        note::doing(format_args!("opening {kind}"));
        let card = OpenCard::open(env, kind, options)?;
        fits::check(&card, plan)?;
        Ok(TtnnDevice {
            profiler: None,
            card,
            scope: Scope::default(),
            specs: Vec::new(),
            queues: Queues::new(options.command_queues),
            traces: Traces::default(),
            filled: Vec::new(),
            kept: HashMap::new(),
            reads: VecDeque::new(),
            spare: Vec::new(),
            replays: 0,
        })
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

    /// The open card, to be asked what no plan asks.
    pub fn card(&self) -> &OpenCard {
        &self.card
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
        let mut host = HostTensor::new(&self.card, spec).map_err(library)?;
        if let Some(bytes) = bytes {
            let memory = host.bytes_mut(&self.card).map_err(library)?;
            if bytes.len() != memory.len() {
                return Err(DeviceError::Operand {
                    operand: 0,
                    got: format!("{} of weights", exact_bytes(bytes.len() as u64)),
                    want: format!("{}, as TT-NN lays out {spec}", exact_bytes(memory.len() as u64)),
                });
            }
            memory.copy_from_slice(bytes);
        }
        self.card.upload(&host, &tensor).map_err(library)?;
        self.scope.set(key(slot), tensor);
        self.hold(slot, Some(Arc::clone(spec)))
    }

    /// The host tensor that is kept for a slot.
    fn take_kept(&mut self, slot: Slot) -> Result<HostTensor, DeviceError> {
        let spec = Arc::clone(self.held(slot)?.1);
        match self.kept.remove(&slot).filter(|host| *host.spec() == spec) {
            Some(host) => Ok(host),
            None => HostTensor::new(&self.card, &spec).map_err(library),
        }
    }

    /// Starts the copy of a tensor on the card to a host tensor, after the programs before it.
    fn copy_to(&mut self, mut host: HostTensor, slot: Slot) -> Result<HostTensor, DeviceError> {
        let tensor = self.held(slot)?.0.clone();
        let over = self.queues.copy(&self.card, Way::ToHost, &tensor, host.object()).map_err(library)?;
        host.copying_until(over);
        Ok(host)
    }

    /// Reads the bytes of a tensor as TT-NN lays them out on the host; waits for the steps before.
    fn read<T>(&mut self, slot: Slot, read: impl FnOnce(&[u8]) -> T) -> Result<T, DeviceError> {
        let host = self.take_kept(slot)?;
        let mut host = self.copy_to(host, slot)?;
        let taken = read(host.bytes(&self.card).map_err(library)?);
        self.kept.insert(slot, host);
        Ok(taken)
    }

    fn run(&mut self, resolved: &ResolvedStep) -> Result<(), DeviceError> {
        go_on()?;
        note::doing(format_args!("{}, step `{}`", resolved.phase, resolved.name));
        let statement = lower::lower(&step(resolved), &Plain);
        let first = self.profiler.as_ref().map(Profiler::next_program).transpose().map_err(library)?;
        statement.execute(self.card.interpreter(), &mut self.scope).map_err(library)?;
        if let (Some(profiler), Some(first)) = (&mut self.profiler, first) {
            let next = profiler.next_program().map_err(library)?;
            profiler.note(resolved, first, next);
        }
        self.record_places(resolved).map_err(library)?;
        if let Op::Deallocate(_) | Op::View(_) = &resolved.op {
            self.forget(resolved.operands[0])?;
        }
        for (slot, spec) in &resolved.outputs {
            self.hold(*slot, Some(Arc::clone(spec)))?;
            if self.traces.is_capturing() {
                self.filled.push(*slot);
            }
        }
        Ok(())
    }

    /// Notes where the results of a step lie in L1, while a record is made.
    fn record_places(&self, resolved: &ResolvedStep) -> Result<(), TtnnError> {
        if record::is_on() {
            for (slot, placed) in &resolved.outputs {
                if placed.memory.memory() == Memory::L1 {
                    let address = spec::address(self.scope.get(&resolved.name, &key(*slot))?)?;
                    record::add(record::Event::Placed(resolved.name.clone(), address));
                }
            }
        }
        Ok(())
    }

    fn not_while_capturing(&self, what: &str) -> Result<(), DeviceError> {
        match self.traces.is_capturing() {
            false => Ok(()),
            true => Err(DeviceError::Trace(format!("{what} while a trace is captured"))),
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
