//! What a plan runs on.
//!
//! A device keeps tensors in numbered [`Slot`]s and executes [`Call`]s, in which every name is resolved to a slot and every constant is a
//! number: nothing is looked up or planned while it runs.

use std::sync::Arc;

use bitnetc_plan::{Op, TensorSpec, Weight};

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

/// One TT-NN call of a phase in one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The step's name, and the layer where it has one: `attn.qkv[3]`.
    pub name: String,
    /// The call. Its scalars are plain numbers; its operand names no longer count.
    pub op: Op,
    /// Operands, in the order of [`Op::operands`].
    pub operands: Vec<Slot>,
    /// Results, in TT-NN's order. What such a slot held before is gone when the call ends.
    pub outputs: Vec<(Slot, Arc<TensorSpec>)>,
    /// Proved for a matmul: integers of 8 bits times -1, 0 and 1, summed in fp32. Its result is the integer sum whatever its fidelity
    /// and blocks.
    pub integer: bool,
}

/// Arguments that a call takes from the host when it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arguments {
    /// The user whose cache [`Op::CacheFill`] writes.
    pub user: u32,
    /// The row at which [`bitnetc_plan::op::Rows::LastTokenTile`] starts, a multiple of 32.
    pub tile_row: u32,
    /// The only row of that tile whose results will be read; a device may leave the others zeros.
    pub live_row: Option<u32>,
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
    /// Some matmul reads it and every one is [`Call::integer`].
    pub integer: bool,
}

/// A captured trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub u32);

/// What executes calls: [`crate::HostDevice`] on any machine, and a card behind TT-NN.
///
/// Errors leave the device usable, except that a slot which a failed call was to write is empty.
pub trait Device {
    /// For people.
    fn name(&self) -> String;

    /// True where [`Device::begin_trace`] works.
    fn can_trace(&self) -> bool;

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

    /// Overwrites an integer tensor; i32 as their bits. Shorter data leave the rest as it is.
    ///
    /// # Errors
    /// Not allowed while a trace is captured; a slot that holds no integers, or fewer.
    fn write(&mut self, slot: Slot, data: &[u32]) -> Result<(), DeviceError>;

    /// Executes calls in order; while a trace is captured, records them.
    ///
    /// # Errors
    /// Which call, and whatever the device refuses of it; those after it are not executed.
    fn execute(&mut self, calls: &[Arc<Call>], arguments: Arguments) -> Result<(), (usize, DeviceError)>;

    /// Ends a tensor; an empty slot is no error.
    ///
    /// # Errors
    /// A device that is gone.
    fn free(&mut self, slot: Slot) -> Result<(), DeviceError>;

    /// Copies an integer tensor to the host; waits for the calls before it. `out` is cleared first.
    ///
    /// # Errors
    /// A slot that holds no integers.
    fn read_integers(&mut self, slot: Slot, out: &mut Vec<u32>) -> Result<(), DeviceError>;

    /// Copies a float tensor to the host, logical rows one after another; waits for the calls before it. `out` is cleared first.
    ///
    /// # Errors
    /// A slot that holds no floats.
    fn read_floats(&mut self, slot: Slot, out: &mut Vec<f32>) -> Result<(), DeviceError>;

    /// Starts capturing calls; they do not run.
    ///
    /// # Errors
    /// A capture already under way.
    fn begin_trace(&mut self) -> Result<(), DeviceError>;

    /// Ends the capture.
    ///
    /// # Errors
    /// No capture under way, or one that did what a trace may not.
    fn end_trace(&mut self) -> Result<TraceId, DeviceError>;

    /// Runs the captured calls. The results of its last replay are gone when it starts.
    ///
    /// # Errors
    /// An unknown trace; whatever a call refuses.
    fn replay_trace(&mut self, trace: TraceId) -> Result<(), DeviceError>;

    /// Forgets a trace.
    ///
    /// # Errors
    /// An unknown trace.
    fn release_trace(&mut self, trace: TraceId) -> Result<(), DeviceError>;
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn can_trace(&self) -> bool {
        (**self).can_trace()
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

    fn execute(&mut self, calls: &[Arc<Call>], arguments: Arguments) -> Result<(), (usize, DeviceError)> {
        (**self).execute(calls, arguments)
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
}
