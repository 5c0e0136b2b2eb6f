//! The host device beside TT-NN's kernels: every step of a plan on both, from the same operands.
//!
//! After a step the host's results are replaced by the kernels', so each comparison is of one call, whatever calls before it have done.
//! Persistent buffers of floats begin with random numbers in place of zeros: a cache looks as if a text were in it, and attention at any
//! position has something to attend to.

use std::sync::Arc;

use bitnetc_numerics::{GROUP, Tiled};
use bitnetc_plan::op::Access;
use bitnetc_plan::{DType, Layout, Op, TILE, TensorSpec};
use bitnetc_runtime::device::{Device, ResolvedStep, Slot, TraceId, Upload};
use bitnetc_runtime::{DeviceError, HostDevice, weights::bytes::format_of};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::memory::HostTensor;
use super::{TtnnDevice, library};

/// A TT-NN device and a host device that executes the same steps.
#[derive(Debug)]
pub struct ComparedDevice {
    ttnn: TtnnDevice,
    host: HostDevice,
    random: ChaCha8Rng,
    compared: Vec<Comparison>,
}

/// The results of one step on both devices.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The step's name, and the layer where it has one: `attn.qkv[3]`.
    pub step: String,
    /// Elements of its results.
    pub elements: u64,
    /// Elements with the same bits; zeros of either sign are the same, and so are numbers that are none.
    pub equal: u64,
    /// The largest difference, in units of the last place of the result's data type.
    pub worst_ulp: f64,
}

impl ComparedDevice {
    /// Compares `host` with `ttnn`.
    pub fn new(ttnn: TtnnDevice, host: HostDevice) -> Self {
        ComparedDevice { ttnn, host, random: ChaCha8Rng::seed_from_u64(1), compared: Vec::new() }
    }

    /// The comparisons since this was last asked, in the order of the steps.
    pub fn take(&mut self) -> Vec<Comparison> {
        std::mem::take(&mut self.compared)
    }

    fn step(&mut self, step: &Arc<ResolvedStep>) -> Result<(), DeviceError> {
        let defined = self.defined(step)?;
        let only = std::slice::from_ref(step);
        self.ttnn.execute(only).map_err(|(_, error)| error)?;
        self.host.execute(only).map_err(|(_, error)| error)?;
        let mut comparison = Comparison { step: step.name.clone(), elements: 0, equal: 0, worst_ulp: 0.0 };
        let written =
            step.op.uses().into_iter().zip(&step.operands).filter(|(operand, _)| operand.access == Access::Write);
        for slot in step.outputs.iter().map(|(slot, _)| *slot).chain(written.map(|(_, slot)| *slot)) {
            self.results(slot, defined, &mut comparison)?;
        }
        if comparison.elements > 0 {
            self.compared.push(comparison);
        }
        Ok(())
    }

    /// Elements of the step's result that mean something; those after them are whatever the memory of a tile held.
    fn defined(&self, step: &ResolvedStep) -> Result<usize, DeviceError> {
        let whole_tiles = matches!(step.op, Op::ConcatHeadsDecode(_) | Op::View(_));
        if whole_tiles { Ok(elements(self.ttnn.held(step.operands[0])?.1)) } else { Ok(usize::MAX) }
    }

    /// Compares what both have in a slot and gives the host the kernels'.
    fn results(&mut self, slot: Slot, defined: usize, comparison: &mut Comparison) -> Result<(), DeviceError> {
        let dtype = self.ttnn.held(slot)?.1.dtype;
        if format_of(dtype).is_none() {
            let (mut theirs, mut ours) = (Vec::new(), Vec::new());
            self.ttnn.read_integers(slot, &mut theirs)?;
            self.host.read_integers(slot, &mut ours)?;
            comparison.elements += theirs.len() as u64;
            comparison.equal += theirs.iter().zip(&ours).filter(|(a, b)| a == b).count() as u64;
            return self.host.write(slot, &theirs);
        }
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        self.ttnn.read_floats(slot, &mut theirs)?;
        self.host.read_floats(slot, &mut ours)?;
        let columns = self.ttnn.held(slot)?.1.columns().max(1) as usize;
        let count = theirs.len().min(defined);
        for (theirs, ours) in theirs[..count].chunks(columns).zip(ours.chunks(columns)) {
            comparison.add(dtype, theirs, ours);
        }
        self.host.overwrite(slot, &theirs)
    }

    /// Random numbers, about as large as the keys and values of a trained model.
    fn fill(&mut self, slot: Slot, spec: &TensorSpec) -> Result<(), DeviceError> {
        let values: Vec<f32> =
            (0..elements(spec)).map(|_| (0..4).map(|_| self.random.random_range(-1.0..1.0)).sum()).collect();
        self.ttnn.write_floats(slot, &values)?;
        let mut rounded = Vec::new();
        self.ttnn.read_floats(slot, &mut rounded)?;
        self.host.overwrite(slot, &rounded)
    }
}

impl Comparison {
    /// Counts a row of results.
    fn add(&mut self, dtype: DType, theirs: &[f32], ours: &[f32]) {
        for (theirs, ours) in theirs.chunks(GROUP).zip(ours.chunks(GROUP)) {
            let shared = theirs.iter().chain(ours).fold(0f32, |most, v| most.max(v.abs()));
            for (theirs, ours) in theirs.iter().zip(ours) {
                self.elements += 1;
                if theirs == ours || (theirs.is_nan() && ours.is_nan()) {
                    self.equal += 1;
                    continue;
                }
                let difference = f64::from(*theirs) - f64::from(*ours);
                let ulp = last_place(dtype, theirs.abs().max(ours.abs()), shared);
                self.worst_ulp = self.worst_ulp.max(difference.abs() / ulp);
            }
        }
    }
}

/// The unit of the last place of a value, in a group of 16 whose largest is `shared`.
fn last_place(dtype: DType, value: f32, shared: f32) -> f64 {
    let power = |v: f32, bits: i32| f64::from((v.to_bits() >> 23 & 255) as i32 - 127 - bits).exp2();
    match dtype {
        DType::Bf16 => power(value, 7),
        DType::F32 | DType::U32 | DType::I32 | DType::U16 => power(value, 23),
        DType::Bfp8 => power(shared, 6),
        DType::Bfp4 => power(shared, 2),
        DType::Bfp2 => power(shared, 0),
    }
}

fn elements(spec: &TensorSpec) -> usize {
    spec.shape.iter().map(|&d| d as usize).product()
}

impl TtnnDevice {
    /// Overwrites a tiled tensor of floats with logical rows one after another, rounded as TT-NN rounds on the host.
    fn write_floats(&mut self, slot: Slot, values: &[f32]) -> Result<(), DeviceError> {
        let (tensor, spec) = self.held(slot)?;
        let unexpected = |want: &str| DeviceError::Operand { operand: 0, got: spec.to_string(), want: want.into() };
        let (Some(format), Layout::Tile) = (format_of(spec.dtype), spec.layout) else {
            return Err(unexpected("a tiled tensor of floats"));
        };
        if values.len() != elements(spec) {
            return Err(unexpected(&format!("{} elements", values.len())));
        }
        let (rows, columns) = (spec.rows() as usize, spec.columns() as usize);
        let padded = rows.next_multiple_of(TILE as usize);
        let at = |row: usize, column: usize| match row % padded {
            below if below < rows => values[(row / padded * rows + below) * columns + column],
            _ => 0.0,
        };
        let tiles = Tiled::pack_with(format, spec.outer() as usize * padded, columns, at);
        let mut host = HostTensor::new(&self.card, spec).map_err(library)?;
        let memory = host.bytes_mut(&self.card).map_err(library)?;
        if memory.len() != tiles.bytes().len() {
            return Err(unexpected("a tensor whose tiles lie one after another"));
        }
        memory.copy_from_slice(tiles.bytes());
        self.card.upload(&host, tensor).map_err(library)
    }
}

impl Device for ComparedDevice {
    fn name(&self) -> String {
        format!("{} beside the {}", self.ttnn.name(), self.host.name())
    }

    /// A replayed trace shows its last results only.
    fn can_trace(&self) -> bool {
        false
    }

    /// Each step is read before the next runs.
    fn runs_ahead(&self) -> bool {
        false
    }

    /// Without a trace no phase need run before another.
    fn compiles(&self) -> bool {
        false
    }

    fn forbid_new_programs(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reserve(&mut self, slots: usize) -> Result<(), DeviceError> {
        self.ttnn.reserve(slots)?;
        self.host.reserve(slots)
    }

    fn upload(&mut self, slot: Slot, upload: &Upload<'_>) -> Result<(), DeviceError> {
        self.ttnn.upload(slot, upload)?;
        self.host.upload(slot, upload)
    }

    fn allocate(&mut self, slot: Slot, spec: &Arc<TensorSpec>) -> Result<(), DeviceError> {
        self.ttnn.allocate(slot, spec)?;
        self.host.allocate(slot, spec)?;
        let cache = format_of(spec.dtype).is_some() && spec.layout == Layout::Tile;
        if cache { self.fill(slot, spec) } else { Ok(()) }
    }

    fn write(&mut self, slot: Slot, data: &[u32]) -> Result<(), DeviceError> {
        self.ttnn.write(slot, data)?;
        self.host.write(slot, data)
    }

    fn execute(&mut self, steps: &[Arc<ResolvedStep>]) -> Result<(), (usize, DeviceError)> {
        steps.iter().enumerate().try_for_each(|(at, step)| self.step(step).map_err(|error| (at, error)))
    }

    fn free(&mut self, slot: Slot) -> Result<(), DeviceError> {
        self.ttnn.free(slot)?;
        self.host.free(slot)
    }

    fn read_integers(&mut self, slot: Slot, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        self.ttnn.read_integers(slot, out)
    }

    fn read_floats(&mut self, slot: Slot, out: &mut Vec<f32>) -> Result<(), DeviceError> {
        self.ttnn.read_floats(slot, out)
    }

    fn begin_read(&mut self, slot: Slot) -> Result<(), DeviceError> {
        self.ttnn.begin_read(slot)
    }

    fn end_read(&mut self, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        self.ttnn.end_read(out)
    }

    fn begin_trace(&mut self) -> Result<(), DeviceError> {
        Err(no_trace())
    }

    fn end_trace(&mut self) -> Result<TraceId, DeviceError> {
        Err(no_trace())
    }

    fn replay_trace(&mut self, _: TraceId) -> Result<(), DeviceError> {
        Err(no_trace())
    }

    fn release_trace(&mut self, _: TraceId) -> Result<(), DeviceError> {
        Err(no_trace())
    }

    fn trace_bytes(&self) -> u64 {
        0
    }
}

fn no_trace() -> DeviceError {
    DeviceError::Trace("steps are compared one by one".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_in_units_of_the_last_place() {
        let mut found = Comparison { step: String::new(), elements: 0, equal: 0, worst_ulp: 0.0 };
        found.add(DType::Bf16, &[1.0, 0.0, f32::NAN, 2.0], &[1.0, -0.0, f32::NAN, 2.0 - 1.0 / 64.0]);
        assert_eq!((found.elements, found.equal, found.worst_ulp), (4, 3, 1.0));
        // A block format has one unit for 16 elements: that of the largest.
        let (theirs, mut ours) = ([64.0, 3.0], [64.0, 3.0]);
        ours[1] = 5.0;
        found.add(DType::Bfp8, &theirs, &ours);
        assert_eq!((found.elements, found.equal, found.worst_ulp), (6, 4, 2.0));
        found.add(DType::F32, &[1.0], &[1.0 + 4.0 * f32::EPSILON]);
        assert_eq!(found.worst_ulp, 4.0);
    }
}
