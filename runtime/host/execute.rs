//! One call on the host.

use bitnetc_plan::Op;
use bitnetc_plan::op::Destination;
use smallvec::SmallVec;

use super::tensor::{Data, HostTensor, elements};
use super::{Held, HostDevice, attention, cache, elementwise, matmul, movement, norm, rotary, wrong_kind};
use crate::DeviceError;
use crate::device::{Arguments, Call, Slot};

impl HostDevice {
    /// Executes `call` now.
    pub(super) fn run(&mut self, call: &Call, arguments: Arguments) -> Result<(), DeviceError> {
        match &call.op {
            Op::Deallocate(_) => self.hold(call.operands[0], Held::Empty),
            Op::View(_) => self.view(call),
            Op::CacheUpdate(_) => self.cache_update(call, &[(0, 1), (2, 3)]),
            Op::CacheUpdateOne(_) => self.cache_update(call, &[(0, 1)]),
            Op::CacheFill(_) => self.cache_fill(call, arguments.user as usize),
            Op::ArgMax(_) => {
                self.in_place(call.operands[1], 1, |device, out| norm::argmax(device.tensor(0, call.operands[0])?, out))
            }
            Op::PlusOne(_) => self.in_place(call.operands[0], 0, |_, buffer| {
                let unexpected = buffer.unexpected(0, "integers");
                let Data::Integer(values) = &mut buffer.data else { return Err(unexpected) };
                values.iter_mut().for_each(|v| *v = v.wrapping_add(1));
                Ok(())
            }),
            Op::Binary(op) if op.into == Destination::InPlace => self.binary_in_place(call),
            _ => self.produce(call, arguments),
        }
    }

    /// A call with results of its own.
    fn produce(&mut self, call: &Call, arguments: Arguments) -> Result<(), DeviceError> {
        let mut outs: SmallVec<[HostTensor; 3]> = SmallVec::new();
        // Rows past the last user stay zeros.
        let partly = matches!(call.op, Op::ConcatHeadsDecode(_));
        for (_, spec) in &call.outputs {
            outs.push(if partly { self.pool.zeros(spec)? } else { self.pool.take(spec)? });
        }
        let done = self.compute(call, arguments, &mut outs);
        for ((slot, _), out) in call.outputs.iter().zip(outs) {
            match done {
                Ok(()) => self.hold(*slot, Held::Tensor(out))?,
                Err(_) => self.pool.give(out),
            }
        }
        done
    }

    fn compute(&mut self, call: &Call, arguments: Arguments, outs: &mut [HostTensor]) -> Result<(), DeviceError> {
        let slots = &call.operands;
        if let Op::CreateHeadsDecode(_) | Op::CreateHeads(_) = call.op {
            let by_user = matches!(call.op, Op::CreateHeadsDecode(_));
            return movement::create_heads(self.tensor(0, slots[0])?, outs, by_user);
        }
        if let (Op::RotaryFused(_), [q, k]) = (&call.op, &mut *outs) {
            let (cos, sin) = (self.tensor(2, slots[2])?, self.tensor(3, slots[3])?);
            let users = q.dim(1);
            rotary::users(self.tensor(0, slots[0])?, 0, cos, sin, q)?;
            return rotary::users(self.tensor(1, slots[1])?, users, cos, sin, k);
        }
        let [out] = outs else { return Err(wrong_kind(0, "a call without result")) };
        match &call.op {
            Op::Embedding(_) => self.embedding(slots, out),
            Op::RmsNorm(op) => {
                norm::rms_norm(self.tensor(0, slots[0])?, self.tensor(1, slots[1])?, op.epsilon.value, out)
            }
            Op::Matmul(op) => {
                // The scratch memory is borrowed beside the operands.
                let mut scratch = std::mem::take(&mut self.matmul);
                let done = match self.slots.get(slots[1].index()) {
                    Some(Held::Matrix(w)) => self
                        .tensor(0, slots[0])
                        .and_then(|a| matmul::matmul(op, call.integer, self.arch, a, w, out, &mut scratch)),
                    Some(Held::Empty) | None => Err(DeviceError::Empty { operand: 1 }),
                    Some(_) => Err(wrong_kind(1, "no weight matrix")),
                };
                self.matmul = scratch;
                done
            }
            Op::RotaryDecode(_) => {
                let (cos, sin) = (self.tensor(1, slots[1])?, self.tensor(2, slots[2])?);
                rotary::one(self.tensor(0, slots[0])?, cos, sin, out)
            }
            Op::Rotary(_) => {
                let (cos, sin) = (self.tensor(1, slots[1])?, self.tensor(2, slots[2])?);
                rotary::prefill(self.tensor(0, slots[0])?, cos, sin, out)
            }
            Op::Sdpa(op) => {
                let (k, v) = (self.tensor(1, slots[1])?, self.tensor(2, slots[2])?);
                attention::prefill(self.tensor(0, slots[0])?, k, v, op.scale.value, out)
            }
            Op::SdpaDecode(op) => {
                let caches = (self.tensor(1, slots[1])?, self.tensor(2, slots[2])?);
                let positions = self.tensor(3, slots[3])?.integers(3)?;
                let pages = self.tensor(4, slots[4])?;
                attention::decode(self.tensor(0, slots[0])?, caches, positions, pages, op.scale.value, out)
            }
            Op::ConcatHeadsDecode(_) => movement::concat_heads(self.tensor(0, slots[0])?, out, true),
            Op::ConcatHeads(_) => movement::concat_heads(self.tensor(0, slots[0])?, out, false),
            Op::ToMemoryConfig(_) | Op::ToLayout(_) => movement::copy(self.tensor(0, slots[0])?, out),
            Op::Typecast(_) => elementwise::typecast(self.tensor(0, slots[0])?, out),
            Op::Abs(_) => elementwise::abs(self.tensor(0, slots[0])?, out),
            Op::RowMax(_) => norm::row_max(self.tensor(0, slots[0])?, out),
            Op::Transpose(op) => movement::transpose(self.tensor(0, slots[0])?, op.dims, out),
            Op::Slice(op) => movement::slice(self.tensor(0, slots[0])?, op.rows, arguments, out),
            Op::Concat(_) => slots
                .iter()
                .enumerate()
                .try_fold(0, |first, (operand, slot)| {
                    movement::concat(operand, self.tensor(operand, *slot)?, first, out)
                })
                .map(drop),
            Op::Binary(op) => {
                let mut scratch = std::mem::take(&mut self.elements);
                let operands = self.tensor(0, slots[0]).and_then(|a| Ok((a, self.tensor(1, slots[1])?)));
                let done = operands.and_then(|(a, b)| elementwise::binary(op, a, b, out, &mut scratch));
                self.elements = scratch;
                done
            }
            _ => Err(wrong_kind(0, "a call without result")),
        }
    }

    fn embedding(&mut self, slots: &[Slot], out: &mut HostTensor) -> Result<(), DeviceError> {
        let mut row = std::mem::take(&mut self.row);
        let done = self.tensor(0, slots[0]).and_then(|t| t.integers(0)).and_then(|indices| {
            match self.slots.get(slots[1].index()) {
                Some(Held::Table(table)) => movement::embedding_from(indices, table, out, &mut row),
                _ => movement::embedding(indices, self.tensor(1, slots[1])?, out),
            }
        });
        self.row = row;
        done
    }

    /// The result over the left operand: computed beside it, then put in its place.
    fn binary_in_place(&mut self, call: &Call) -> Result<(), DeviceError> {
        let slot = call.operands[0];
        let spec = std::sync::Arc::clone(&self.tensor(0, slot)?.spec);
        let mut out = self.pool.take(&spec)?;
        let done = self.compute(call, Arguments::default(), std::slice::from_mut(&mut out));
        match done {
            Ok(()) => self.hold(slot, Held::Tensor(out)),
            Err(error) => {
                self.pool.give(out);
                Err(error)
            }
        }
    }

    /// The input's storage under another shape. Rows past the logical ones, which lie in the same tiles, come and go as zeros.
    fn view(&mut self, call: &Call) -> Result<(), DeviceError> {
        let (slot, spec) = &call.outputs[0];
        let from = self.tensor(0, call.operands[0])?;
        let (len, had) = (elements(spec), elements(&from.spec));
        if len != had && spec.columns() != from.spec.columns() {
            return Err(from.unexpected(0, format!("a tensor of the rows of {:?}", spec.shape)));
        }
        if len > had {
            let mut wider = self.pool.zeros(spec)?;
            let from = self.tensor(0, call.operands[0])?;
            movement::copy_front(from, &mut wider)?;
            self.hold(call.operands[0], Held::Empty)?;
            return self.hold(*slot, Held::Tensor(wider));
        }
        let Held::Tensor(mut tensor) = std::mem::take(&mut self.slots[call.operands[0].index()]) else {
            return Err(DeviceError::Empty { operand: 0 });
        };
        match &mut tensor.data {
            Data::Bf16(v) => v.truncate(len),
            Data::F32(v) => v.truncate(len),
            Data::Integer(v) => v.truncate(len),
        }
        tensor.spec = std::sync::Arc::clone(spec);
        self.hold(*slot, Held::Tensor(tensor))
    }

    /// Takes a tensor out of its slot, changes it, puts it back.
    fn in_place(
        &mut self,
        slot: Slot,
        operand: usize,
        change: impl FnOnce(&Self, &mut HostTensor) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let Some(place) = self.slots.get_mut(slot.index()) else { return Err(DeviceError::Empty { operand }) };
        match std::mem::take(place) {
            Held::Tensor(mut tensor) => {
                let done = change(self, &mut tensor);
                self.slots[slot.index()] = Held::Tensor(tensor);
                done
            }
            other => {
                self.slots[slot.index()] = other;
                Err(DeviceError::Empty { operand })
            }
        }
    }

    /// Pairs of a cache and its rows are the first operands of the call; positions and page table follow.
    fn cache_update(&mut self, call: &Call, pairs: &[(usize, usize)]) -> Result<(), DeviceError> {
        let slots = &call.operands;
        let (at, table) = (2 * pairs.len(), 2 * pairs.len() + 1);
        for &(cache, rows) in pairs {
            self.in_place(slots[cache], cache, |device, tensor| {
                let positions = device.tensor(at, slots[at])?.integers(at)?;
                let pages = device.tensor(table, slots[table])?;
                cache::update(tensor, device.tensor(rows, slots[rows])?, rows, positions, pages)
            })?;
        }
        Ok(())
    }

    fn cache_fill(&mut self, call: &Call, user: usize) -> Result<(), DeviceError> {
        let slots = &call.operands;
        self.in_place(slots[0], 0, |device, tensor| {
            cache::fill(tensor, device.tensor(1, slots[1])?, user, device.tensor(2, slots[2])?)
        })
    }
}
