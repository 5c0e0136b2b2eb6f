//! The host device: executes any plan with Tensix numerics.
//!
//! | module | does |
//! |---|---|
//! | `tensor` | tensors and the pool their storage comes from |
//! | `run` | a step being executed: its operands and its results |
//! | `ops` | the ops, one file each |
//! | `generators` | the random numbers of a card's cores |
//! | `known` | which steps are known to have the kernels' bits |
//! | `matmul` | the three ways of a matmul, of which `emulated` is one |
//! | `movement`, `heads`, `rotate`, `paged`, `rows` | what several ops share: copies, heads, rotation, the paged KV cache, rounding |
//!
//! The host device forbids the same as a card: while a trace is captured nothing may be placed or written, and its replay takes all its
//! storage from what earlier runs gave back, or fails.

mod emulated;
mod generators;
mod heads;
mod known;
mod matmul;
mod movement;
mod ops;
mod paged;
mod rotate;
mod rows;
mod run;
mod tensor;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitnetc_numerics::{DenseWeights, SignTiles, TernaryWeights, narrow_slice};
use bitnetc_plan::{Arch, Source, TensorSpec};
use half::bf16;

use crate::DeviceError;
use crate::device::{Device, ResolvedStep, Slot, TraceId, Upload};
use crate::weights::Tensor;
use crate::weights::bytes::format_of;
use generators::Generators;
pub use known::{uncompared, uncompared_step};
pub use matmul::Numerics;
use matmul::WeightMatrix;
use run::{Held, Run, Scratch};
use tensor::{Data, HostTensor, Pool};

/// The host as a device.
#[derive(Debug)]
pub struct HostDevice {
    arch: Arch,
    numerics: Numerics,
    slots: Vec<Held>,
    pool: Pool,
    scratch: Scratch,
    /// The random numbers of each user's core.
    generators: Generators,
    capture: Option<Recording>,
    traces: Vec<Option<Recording>>,
    /// Reads under way, the oldest first.
    reads: VecDeque<Vec<u32>>,
    times: Option<BTreeMap<&'static str, CallTime>>,
}

/// Time spent in one kind of call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallTime {
    /// Calls.
    pub calls: u64,
    /// All of them together.
    pub time: Duration,
}

type Recording = Vec<Arc<ResolvedStep>>;

impl HostDevice {
    /// A host that computes like a chip of family `arch`.
    pub fn new(arch: Arch, numerics: Numerics) -> Self {
        HostDevice {
            arch,
            numerics,
            slots: Vec::new(),
            pool: Pool::default(),
            scratch: Scratch::default(),
            generators: Generators::default(),
            capture: None,
            traces: Vec::new(),
            reads: VecDeque::new(),
            times: None,
        }
    }

    /// Threads that calls made from this one run on.
    pub fn threads() -> usize {
        rayon::current_num_threads()
    }

    /// Starts counting the time of calls, from zero; see [`HostDevice::times`].
    pub fn count_times(&mut self) {
        self.times = Some(BTreeMap::new());
    }

    /// Time by TT-NN call since [`HostDevice::count_times`], the most first. Empty when it was not asked for.
    pub fn times(&self) -> Vec<(&'static str, CallTime)> {
        let mut times: Vec<_> = self.times.iter().flatten().map(|(call, time)| (*call, *time)).collect();
        times.sort_by_key(|(_, time)| std::cmp::Reverse(time.time));
        times
    }

    /// Bytes of weights in memory; tables that stay in their files are not counted.
    pub fn weight_bytes(&self) -> usize {
        let bytes = |held: &Held| match held {
            Held::Matrix(matrix) => matrix.bytes(),
            Held::Empty | Held::Tensor(_) | Held::Table(_) => 0,
        };
        self.slots.iter().map(bytes).sum()
    }

    fn matrix(&self, upload: &Upload<'_>, tensor: &Tensor<'_>) -> Result<WeightMatrix, DeviceError> {
        let fast = self.numerics == Numerics::Fast;
        if tensor.is_ternary() && (upload.integer || fast) {
            return Ok(WeightMatrix::Ternary(match tensor {
                Tensor::Matrix(m) => TernaryWeights::from_columns(m.k(), m.n(), &m.ternary_columns())?,
                other => TernaryWeights::from_tiled(other.tiled(upload.weight)?.view())?,
            }));
        }
        if let (Tensor::Matrix(m), Some(format), true) = (tensor, format_of(upload.weight.spec.dtype), fast) {
            let release = || upload.weights.release();
            let dense = DenseWeights::from_fn(format, m.k(), m.n(), |k, n| m.value(k, n), release);
            return Ok(WeightMatrix::Dense(dense));
        }
        if let (Tensor::Matrix(m), true) = (tensor, tensor.is_ternary()) {
            return Ok(WeightMatrix::Signs(SignTiles::from_columns(m.k(), m.n(), &m.ternary_columns())?));
        }
        let tiles = tensor.tiled(upload.weight)?;
        if fast {
            return Ok(WeightMatrix::Dense(DenseWeights::from_tiled(tiles.view())));
        }
        // Ternary with another unit than 1 is as well computed from the tiles.
        let signs = tensor.is_ternary().then(|| SignTiles::from_tiled(tiles.view()).ok()).flatten();
        Ok(signs.map_or(WeightMatrix::Tiles(tiles), WeightMatrix::Signs))
    }

    /// Overwrites a tensor of floats, logical rows one after another, with numbers that its data type holds.
    ///
    /// # Errors
    /// A slot that holds no floats, or another number of them.
    pub fn overwrite(&mut self, slot: Slot, values: &[f32]) -> Result<(), DeviceError> {
        let Some(Held::Tensor(tensor)) = self.slots.get_mut(slot.index()) else {
            return Err(DeviceError::Empty { operand: 0 });
        };
        let want = || format!("{} floats", values.len());
        match &mut tensor.data {
            Data::Bf16(held) if held.len() == values.len() => narrow_slice(values, held),
            Data::F32(held) if held.len() == values.len() => held.copy_from_slice(values),
            Data::Bf16(_) | Data::F32(_) | Data::Integer(_) => return Err(tensor.unexpected(0, want())),
        }
        Ok(())
    }

    /// Executes a step, counting its time when that was asked for.
    fn timed(&mut self, step: &ResolvedStep) -> Result<(), DeviceError> {
        let started = self.times.is_some().then(Instant::now);
        let done = ops::execute(&mut Run { device: self, step });
        if let (Some(times), Some(started)) = (&mut self.times, started) {
            let time = times.entry(step.op.call()).or_default();
            time.calls += 1;
            time.time += started.elapsed();
        }
        done
    }

    fn replay(&mut self, recording: &Recording) -> Result<(), DeviceError> {
        // The results of the last replay go first, as they were not there yet when storage was first taken.
        for (slot, _) in recording.iter().flat_map(|step| &step.outputs) {
            self.hold(*slot, Held::Empty)?;
        }
        self.pool.sealed = true;
        // Inside of the thread pool, as in `execute`.
        let done = rayon::scope(|_| {
            recording.iter().try_for_each(|step| {
                self.timed(step).map_err(|e| DeviceError::Trace(format!("step `{}`: {e}", step.name)))
            })
        });
        self.pool.sealed = false;
        done
    }

    fn hold(&mut self, slot: Slot, held: Held) -> Result<(), DeviceError> {
        let count = self.slots.len();
        let Some(place) = self.slots.get_mut(slot.index()) else {
            return Err(DeviceError::Range { what: "slot", got: i64::from(slot.0), limit: count as u64 });
        };
        if let Held::Tensor(old) = std::mem::replace(place, held) {
            self.pool.give(old);
        }
        Ok(())
    }

    fn tensor(&self, slot: Slot) -> Result<&HostTensor, DeviceError> {
        self.slots.get(slot.index()).ok_or(DeviceError::Empty { operand: 0 })?.tensor(0)
    }

    fn not_while_capturing(&self, what: &str) -> Result<(), DeviceError> {
        match self.capture {
            None => Ok(()),
            Some(_) => Err(DeviceError::Trace(format!("{what} while a trace is captured"))),
        }
    }
}

/// The tensors that are there when the steps have run.
fn left_alive(recording: &Recording) -> BTreeMap<Slot, Arc<TensorSpec>> {
    let mut alive = BTreeMap::new();
    for step in recording {
        if !step.op.launches() {
            step.operands.iter().for_each(|ended| drop(alive.remove(ended)));
        }
        alive.extend(step.outputs.iter().map(|(slot, spec)| (*slot, Arc::clone(spec))));
    }
    alive
}

/// A constant tensor, rounded as TT-NN rounds on the host.
fn constant(upload: &Upload<'_>, tensor: &Tensor<'_>) -> Result<HostTensor, DeviceError> {
    let spec = Arc::new(upload.weight.spec.clone());
    let mut held = Pool::default().take(&spec)?;
    let values = if spec.dtype.is_block() { tensor.tiled(upload.weight)?.to_f32() } else { tensor.values() };
    match &mut held.data {
        Data::Bf16(data) => narrow_slice(&values, data),
        Data::F32(data) => data.copy_from_slice(&values),
        Data::Integer(_) => return Err(held.unexpected(0, "floats")),
    }
    Ok(held)
}

impl Device for HostDevice {
    fn name(&self) -> String {
        format!("host ({:?} numerics of {:?})", self.numerics, self.arch).to_lowercase()
    }

    fn can_trace(&self) -> bool {
        true
    }

    fn runs_ahead(&self) -> bool {
        false
    }

    fn compiles(&self) -> bool {
        false
    }

    fn forbid_new_programs(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reserve(&mut self, slots: usize) -> Result<(), DeviceError> {
        self.slots.resize_with(slots, Held::default);
        Ok(())
    }

    fn upload(&mut self, slot: Slot, upload: &Upload<'_>) -> Result<(), DeviceError> {
        self.not_while_capturing("a weight is placed")?;
        let tensor = upload.weights.tensor(upload.weight, upload.layer)?;
        let held = match (&upload.weight.source, tensor) {
            (Source::Columns(_), tensor) => Held::Matrix(self.matrix(upload, &tensor)?),
            (Source::Rows(_), Tensor::Rows(rows)) => Held::Table(rows),
            (Source::Rows(_) | Source::Vectors(_) | Source::Ones { .. }, tensor)
            | (Source::RotaryTable { .. } | Source::RotaryTransform, tensor) => {
                Held::Tensor(constant(upload, &tensor)?)
            }
        };
        self.hold(slot, held)
    }

    fn allocate(&mut self, slot: Slot, spec: &Arc<TensorSpec>) -> Result<(), DeviceError> {
        self.not_while_capturing("a tensor is allocated")?;
        let tensor = self.pool.zeros(spec)?;
        self.hold(slot, Held::Tensor(tensor))
    }

    fn write(&mut self, slot: Slot, data: &[u32]) -> Result<(), DeviceError> {
        self.not_while_capturing("the host writes")?;
        let Some(Held::Tensor(tensor)) = self.slots.get_mut(slot.index()) else {
            return Err(DeviceError::Empty { operand: 0 });
        };
        match &mut tensor.data {
            Data::Integer(held) if held.len() >= data.len() => held[..data.len()].copy_from_slice(data),
            Data::Bf16(held) if held.len() >= data.len() => {
                held.iter_mut().zip(data).for_each(|(held, bits)| *held = bf16::from_bits(*bits as u16));
            }
            Data::Integer(_) | Data::Bf16(_) | Data::F32(_) => {
                return Err(tensor.unexpected(0, format!("{} integers or bf16, or more", data.len())));
            }
        }
        Ok(())
    }

    fn execute(&mut self, steps: &[Arc<ResolvedStep>]) -> Result<(), (usize, DeviceError)> {
        if let Some(recording) = &mut self.capture {
            recording.extend(steps.iter().map(Arc::clone));
            return Ok(());
        }
        // Inside of the thread pool, or each kernel would wait to be let in.
        rayon::scope(|_| {
            steps.iter().enumerate().try_for_each(|(i, step)| self.timed(step).map_err(|error| (i, error)))
        })
    }

    fn free(&mut self, slot: Slot) -> Result<(), DeviceError> {
        self.not_while_capturing("the host frees")?;
        self.hold(slot, Held::Empty)
    }

    fn read_integers(&mut self, slot: Slot, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        out.clear();
        out.extend_from_slice(self.tensor(slot)?.integers(0)?);
        Ok(())
    }

    fn read_floats(&mut self, slot: Slot, out: &mut Vec<f32>) -> Result<(), DeviceError> {
        let tensor = self.tensor(slot)?;
        if matches!(tensor.data, Data::Integer(_)) {
            return Err(tensor.unexpected(0, "floats"));
        }
        out.clear();
        out.resize(tensor::elements(&tensor.spec), 0.0);
        tensor.read_at(0, out);
        Ok(())
    }

    fn begin_read(&mut self, slot: Slot) -> Result<(), DeviceError> {
        let mut read = Vec::new();
        self.read_integers(slot, &mut read)?;
        self.reads.push_back(read);
        Ok(())
    }

    fn end_read(&mut self, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        *out = self.reads.pop_front().ok_or(DeviceError::NoRead)?;
        Ok(())
    }

    fn begin_trace(&mut self) -> Result<(), DeviceError> {
        self.not_while_capturing("a trace is begun")?;
        self.capture = Some(Vec::new());
        Ok(())
    }

    fn end_trace(&mut self) -> Result<TraceId, DeviceError> {
        let recording = self.capture.take().ok_or_else(|| DeviceError::Trace("none is being captured".into()))?;
        // As on a card, what a trace leaves alive has memory of its own from here on, which the other phases do not count on.
        for (slot, spec) in left_alive(&recording) {
            let result = Pool::default().zeros(&spec)?;
            self.hold(slot, Held::Tensor(result))?;
        }
        self.traces.push(Some(recording));
        Ok(TraceId(self.traces.len() as u32 - 1))
    }

    fn replay_trace(&mut self, trace: TraceId) -> Result<(), DeviceError> {
        self.not_while_capturing("a trace is replayed")?;
        let unknown = || DeviceError::Trace(format!("number {} is not there", trace.0));
        let recording = self.traces.get_mut(trace.0 as usize).and_then(Option::take).ok_or_else(unknown)?;
        let done = self.replay(&recording);
        self.traces[trace.0 as usize] = Some(recording);
        done
    }

    fn release_trace(&mut self, trace: TraceId) -> Result<(), DeviceError> {
        let unknown = || DeviceError::Trace(format!("number {} is not there", trace.0));
        self.traces.get_mut(trace.0 as usize).and_then(Option::take).map(drop).ok_or_else(unknown)
    }

    fn trace_bytes(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitnetc_plan::op::{Op, PlusOne, Ref};

    #[test]
    fn a_trace_outlives_a_replay_that_failed() {
        let mut device = HostDevice::new(Arch::Wormhole, Numerics::Exact);
        device.reserve(1).unwrap();
        let step = ResolvedStep {
            name: "step".into(),
            phase: bitnetc_plan::PhaseKind::Decode { batch: 1 },
            layer: None,
            op: Op::PlusOne(PlusOne { buffer: Ref::Buffer("b".into()), skip_negative: true }),
            operands: vec![Slot(0)],
            outputs: vec![],
            integer: false,
        };
        device.begin_trace().unwrap();
        device.execute(&[Arc::new(step)]).unwrap();
        let trace = device.end_trace().unwrap();
        for _ in 0..2 {
            // Nothing is in the slot that the step counts on.
            let error = device.replay_trace(trace).unwrap_err().to_string();
            assert!(error.contains("step `step`"), "{error}");
        }
    }
}
