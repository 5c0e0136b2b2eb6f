//! The interface between a loaded plan and whatever executes it.
//!
//! A device keeps tensors in numbered [`Slot`]s and executes [`ResolvedStep`]s: steps of a plan in which every name has become a slot and
//! every scalar a number. Nothing is looked up by name or planned while a plan runs.

use std::sync::Arc;

use bitnetc_plan::{Op, PhaseKind, TensorSpec, Weight};

use crate::DeviceError;
use crate::weights::Weights;

/// Where a device keeps one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl Slot {
    /// Its place in a table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// -1, as the bits of an i32: the position of a user that is idle, the cache block of tokens that are not to be written.
pub const ABSENT: u32 = u32::MAX;

/// A step of a plan in one layer, with its names resolved to slots.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedStep {
    /// The step's name, and the layer where it has one: `attn.qkv[3]`.
    pub name: String,
    /// The phase that the step is of.
    pub phase: PhaseKind,
    /// Its layer; `None` outside of the layers.
    pub layer: Option<u32>,
    /// The op with its arguments. Scalars are constants; operands are found by slot, not by the names in here.
    pub op: Op,
    /// Operands, in the order of [`Op::operands`].
    pub operands: Vec<Slot>,
    /// Results, in TT-NN's order. They replace what their slots held before.
    pub outputs: Vec<(Slot, Arc<TensorSpec>)>,
    /// True for a matmul of 8-bit integers by -1, 0 and 1 that sums in fp32 ([`crate::integers`]): at every math fidelity and blocking
    /// its result is the exact integer sum.
    pub integer: bool,
}

/// A weight to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// The weight.
    pub weight: &'a Weight,
    /// Of this layer; 0 for one that all layers share.
    pub layer: u32,
    /// Where its numbers are.
    pub weights: &'a Weights,
    /// At least one matmul reads it, and all that do are [`ResolvedStep::integer`].
    pub integer: bool,
}

/// A captured trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub u32);

/// Executes the steps of a plan. [`crate::HostDevice`] computes them on the host; the crate `bitnetc-ttnn` has the device that drives TT-NN.
///
/// After an error the device can still be used. A slot that the failed step was to write may be empty.
pub trait Device {
    /// A name to show to people.
    fn name(&self) -> String;

    /// True where [`Device::begin_trace`] works.
    fn can_trace(&self) -> bool;

    /// True where steps run while the host does something else, so that one may be asked for before the tokens of the last are read.
    fn runs_ahead(&self) -> bool;

    /// True where a step's first run takes a compiler, and what it makes takes memory: then every phase runs once before a capture.
    fn compiles(&self) -> bool;

    /// From here on a step that would have to be compiled is an error. Nothing changes where nothing is compiled.
    ///
    /// # Errors
    /// A device that is gone.
    fn forbid_new_programs(&mut self) -> Result<(), DeviceError>;

    /// Makes room for this many slots; called once, before anything else.
    ///
    /// # Errors
    /// A device that is gone.
    fn reserve(&mut self, slots: usize) -> Result<(), DeviceError>;

    /// Places a weight.
    ///
    /// # Errors
    /// Weights that cannot be read, no memory.
    fn upload(&mut self, slot: Slot, upload: &Upload<'_>) -> Result<(), DeviceError>;

    /// Places a tensor of zeros.
    ///
    /// # Errors
    /// No memory; not allowed while a trace is captured.
    fn allocate(&mut self, slot: Slot, spec: &Arc<TensorSpec>) -> Result<(), DeviceError>;

    /// Overwrites a row-major tensor of integers or of bf16; i32 and bf16 as their bits. Shorter data leave the rest as it is.
    ///
    /// # Errors
    /// Not allowed while a trace is captured; a slot that holds something else, or less.
    fn write(&mut self, slot: Slot, data: &[u32]) -> Result<(), DeviceError>;

    /// Executes steps in order; while a trace is captured, records them instead.
    ///
    /// # Errors
    /// The index of the step that failed, and why; the steps after it are not executed.
    fn execute(&mut self, steps: &[Arc<ResolvedStep>]) -> Result<(), (usize, DeviceError)>;

    /// Ends a tensor; an empty slot is no error.
    ///
    /// # Errors
    /// A device that is gone.
    fn free(&mut self, slot: Slot) -> Result<(), DeviceError>;

    /// Copies an integer tensor to the host; waits for the steps before it. `out` is cleared first.
    ///
    /// # Errors
    /// A slot that holds no integers.
    fn read_integers(&mut self, slot: Slot, out: &mut Vec<u32>) -> Result<(), DeviceError>;

    /// Copies a float tensor to the host, logical rows one after another; waits for the steps before it. `out` is cleared first.
    ///
    /// # Errors
    /// A slot that holds no floats.
    fn read_floats(&mut self, slot: Slot, out: &mut Vec<f32>) -> Result<(), DeviceError>;

    /// Starts copying an integer tensor to the host, after the steps before it and without waiting for them. At most two reads are under
    /// way at once.
    ///
    /// # Errors
    /// A slot that holds no integers; a third read.
    fn begin_read(&mut self, slot: Slot) -> Result<(), DeviceError>;

    /// Waits for the oldest read under way and gives its integers. `out` is cleared first.
    ///
    /// # Errors
    /// No read under way; whatever the steps before it failed with.
    fn end_read(&mut self, out: &mut Vec<u32>) -> Result<(), DeviceError>;

    /// Starts capturing steps; they do not run.
    ///
    /// # Errors
    /// A capture already under way.
    fn begin_trace(&mut self) -> Result<(), DeviceError>;

    /// Ends the capture.
    ///
    /// # Errors
    /// No capture under way, or one that did what a trace may not.
    fn end_trace(&mut self) -> Result<TraceId, DeviceError>;

    /// Runs the captured steps. The results of the trace's last replay are freed first.
    ///
    /// # Errors
    /// An unknown trace; whatever a step refuses.
    fn replay_trace(&mut self, trace: TraceId) -> Result<(), DeviceError>;

    /// Forgets a trace.
    ///
    /// # Errors
    /// An unknown trace.
    fn release_trace(&mut self, trace: TraceId) -> Result<(), DeviceError>;

    /// Bytes of the device's memory that its traces take.
    fn trace_bytes(&self) -> u64;
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn can_trace(&self) -> bool {
        (**self).can_trace()
    }

    fn runs_ahead(&self) -> bool {
        (**self).runs_ahead()
    }

    fn compiles(&self) -> bool {
        (**self).compiles()
    }

    fn forbid_new_programs(&mut self) -> Result<(), DeviceError> {
        (**self).forbid_new_programs()
    }

    fn reserve(&mut self, slots: usize) -> Result<(), DeviceError> {
        (**self).reserve(slots)
    }

    fn upload(&mut self, slot: Slot, upload: &Upload<'_>) -> Result<(), DeviceError> {
        (**self).upload(slot, upload)
    }

    fn allocate(&mut self, slot: Slot, spec: &Arc<TensorSpec>) -> Result<(), DeviceError> {
        (**self).allocate(slot, spec)
    }

    fn write(&mut self, slot: Slot, data: &[u32]) -> Result<(), DeviceError> {
        (**self).write(slot, data)
    }

    fn execute(&mut self, steps: &[Arc<ResolvedStep>]) -> Result<(), (usize, DeviceError)> {
        (**self).execute(steps)
    }

    fn free(&mut self, slot: Slot) -> Result<(), DeviceError> {
        (**self).free(slot)
    }

    fn read_integers(&mut self, slot: Slot, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        (**self).read_integers(slot, out)
    }

    fn read_floats(&mut self, slot: Slot, out: &mut Vec<f32>) -> Result<(), DeviceError> {
        (**self).read_floats(slot, out)
    }

    fn begin_read(&mut self, slot: Slot) -> Result<(), DeviceError> {
        (**self).begin_read(slot)
    }

    fn end_read(&mut self, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        (**self).end_read(out)
    }

    fn begin_trace(&mut self) -> Result<(), DeviceError> {
        (**self).begin_trace()
    }

    fn end_trace(&mut self) -> Result<TraceId, DeviceError> {
        (**self).end_trace()
    }

    fn replay_trace(&mut self, trace: TraceId) -> Result<(), DeviceError> {
        (**self).replay_trace(trace)
    }

    fn release_trace(&mut self, trace: TraceId) -> Result<(), DeviceError> {
        (**self).release_trace(trace)
    }

    fn trace_bytes(&self) -> u64 {
        (**self).trace_bytes()
    }
}
