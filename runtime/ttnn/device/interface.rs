//! What a session asks of the device, one method for each.

use std::sync::Arc;

use bitnetc_plan::TensorSpec;
use bitnetc_runtime::device::{Device, ResolvedStep, Slot, TraceId, Upload};
use bitnetc_runtime::{DeviceError, weights::bytes::format_of};

use super::memory::HostTensor;
use super::queues::Way;
use super::values::{floats, integer_bytes, integers, writable_bytes};
use super::{READS, TtnnDevice, go_on, key, library};
use crate::note;
use crate::python::Value as Argument;

impl Device for TtnnDevice {
    fn name(&self) -> String {
        format!("TT-NN on {}", self.card.card())
    }

    fn can_trace(&self) -> bool {
        self.card.can_trace()
    }

    fn runs_ahead(&self) -> bool {
        true
    }

    fn compiles(&self) -> bool {
        true
    }

    fn forbid_new_programs(&mut self) -> Result<(), DeviceError> {
        let allowed = [Argument::Bool(false)];
        let set = self.card.object().call_method("set_program_cache_misses_allowed", &allowed, &[]);
        set.map(drop).map_err(|error| library(error.into()))
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
        let element = writable_bytes(spec)?;
        let (tensor, elements) = (tensor.clone(), spec.shape.iter().product::<u32>() as usize);
        if data.len() > elements {
            return Err(DeviceError::Operand {
                operand: 0,
                got: spec.to_string(),
                want: format!("{} elements or more", data.len()),
            });
        }
        let mut host = self.take_kept(slot)?;
        if data.len() < elements {
            // What the data leave out stays as it is on the card.
            host = self.copy_to(host, slot)?;
        }
        let memory = host.bytes_mut(&self.card).map_err(library)?;
        for (bytes, value) in memory.chunks_exact_mut(element).zip(data) {
            bytes.copy_from_slice(&value.to_le_bytes()[..element]);
        }
        let over = self.queues.copy(&self.card, Way::ToCard, host.object(), &tensor).map_err(library)?;
        host.copying_until(over);
        self.kept.insert(slot, host);
        Ok(())
    }

    fn execute(&mut self, steps: &[Arc<ResolvedStep>]) -> Result<(), (usize, DeviceError)> {
        if !self.traces.is_capturing() {
            self.queues.before_programs(&self.card).map_err(|error| (0, library(error)))?;
        }
        steps.iter().enumerate().try_for_each(|(at, step)| self.run(step).map_err(|error| (at, error)))
    }

    fn free(&mut self, slot: Slot) -> Result<(), DeviceError> {
        self.not_while_capturing("the host frees")?;
        let Some(tensor) = self.scope.remove(&key(slot)) else { return Ok(()) };
        self.hold(slot, None)?;
        let freed = self.card.interpreter().ttnn().call_method("deallocate", &[tensor.into()], &[]);
        freed.map(drop).map_err(|error| library(error.into()))
    }

    fn read_integers(&mut self, slot: Slot, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        self.not_while_capturing("the host reads")?;
        let spec = Arc::clone(self.held(slot)?.1);
        out.clear();
        self.read(slot, |bytes| integers(&spec, bytes, out))?
    }

    fn read_floats(&mut self, slot: Slot, out: &mut Vec<f32>) -> Result<(), DeviceError> {
        self.not_while_capturing("the host reads")?;
        let spec = Arc::clone(self.held(slot)?.1);
        let format = format_of(spec.dtype).ok_or_else(|| DeviceError::Operand {
            operand: 0,
            got: spec.to_string(),
            want: "a tensor of floats".into(),
        })?;
        out.clear();
        self.read(slot, |bytes| floats(&spec, format, bytes, out))?
    }

    fn begin_read(&mut self, slot: Slot) -> Result<(), DeviceError> {
        self.not_while_capturing("the host reads")?;
        if self.reads.len() == READS {
            return Err(DeviceError::Range { what: "reads under way", got: READS as i64, limit: READS as u64 });
        }
        let spec = self.held(slot)?.1;
        integer_bytes(spec)?;
        let host = match self.spare.iter().position(|host| host.spec() == spec) {
            Some(index) => self.spare.swap_remove(index),
            None => HostTensor::new(&self.card, spec).map_err(library)?,
        };
        let host = self.copy_to(host, slot)?;
        self.reads.push_back(host);
        Ok(())
    }

    fn end_read(&mut self, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        let mut host = self.reads.pop_front().ok_or(DeviceError::NoRead)?;
        out.clear();
        let spec = Arc::clone(host.spec());
        integers(&spec, host.bytes(&self.card).map_err(library)?, out)?;
        self.spare.push(host);
        Ok(())
    }

    fn begin_trace(&mut self) -> Result<(), DeviceError> {
        self.not_while_capturing("a trace is begun")?;
        self.queues.before_programs(&self.card).map_err(library)?;
        self.filled.clear();
        self.traces.begin(&self.card)
    }

    fn end_trace(&mut self) -> Result<TraceId, DeviceError> {
        let alive = self.filled.iter().filter_map(|slot| self.held(*slot).ok());
        let results: Vec<_> = alive.map(|(tensor, _)| tensor.clone()).collect();
        self.traces.end(&self.card, &results)
    }

    fn replay_trace(&mut self, trace: TraceId) -> Result<(), DeviceError> {
        self.not_while_capturing("a trace is replayed")?;
        self.replays += 1;
        let reads = self.reads.len();
        note::doing(format_args!("decode, replay {} of the trace, {reads} reads under way", self.replays));
        self.queues.before_programs(&self.card).map_err(library)?;
        self.traces.replay(&self.card, trace)
    }

    fn release_trace(&mut self, trace: TraceId) -> Result<(), DeviceError> {
        self.traces.release(&self.card, trace)
    }

    fn trace_bytes(&self) -> u64 {
        self.traces.bytes()
    }
}
