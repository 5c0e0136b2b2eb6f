//! One step being executed: where it finds its operands, and what becomes of its results.
//!
//! | an op that | uses |
//! |---|---|
//! | makes tensors | [`Run::produce`] |
//! | changes an operand in its place | [`Run::change`] |
//! | puts its result in an operand's place | [`Run::replace`] |
//! | ends an operand, or hands its storage on | [`Run::end`], [`Run::take`] and [`Run::put`] |

use std::sync::Arc;

use bitnetc_numerics::kernels::Compute;
use bitnetc_plan::{ComputeKernel, TensorSpec};
use smallvec::SmallVec;

use super::matmul::{MatmulScratch, Numerics, WeightMatrix};
use super::ops::binary::BinaryScratch;
use super::tensor::HostTensor;
use super::{HostDevice, tensor};
use crate::DeviceError;
use crate::device::{ResolvedStep, Slot};
use crate::weights::Rows;

/// Content of a slot.
#[derive(Debug, Default)]
pub enum Held {
    /// Nothing: not made yet, or freed.
    #[default]
    Empty,
    /// A tensor.
    Tensor(HostTensor),
    /// A weight of matmuls, in the form that its matmuls read.
    Matrix(WeightMatrix),
    /// An embedding table, whose rows are read from the checkpoint when they are looked up.
    Table(Rows),
}

/// Memory that ops use while they run and keep for the next.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Of matmuls.
    pub matmul: MatmulScratch,
    /// Of sums and products.
    pub binary: BinaryScratch,
    /// One row of numbers.
    pub row: Vec<f32>,
}

/// A step being executed.
pub struct Run<'a> {
    /// The host.
    pub device: &'a mut HostDevice,
    /// The step.
    pub step: &'a ResolvedStep,
}

/// The operands of a step, by their number, and memory to work in.
pub struct Operands<'a> {
    held: &'a [Held],
    slots: &'a [Slot],
    /// Memory to work in.
    pub scratch: &'a mut Scratch,
}

impl Held {
    /// The tensor, which is operand `operand`.
    ///
    /// # Errors
    /// Something else, or nothing.
    pub fn tensor(&self, operand: usize) -> Result<&HostTensor, DeviceError> {
        match self {
            Held::Tensor(tensor) => Ok(tensor),
            Held::Empty => Err(DeviceError::Empty { operand }),
            Held::Matrix(_) => Err(wrong_kind(operand, "a weight matrix of matmuls", "a tensor")),
            Held::Table(_) => Err(wrong_kind(operand, "an embedding table", "a tensor")),
        }
    }
}

/// [`DeviceError::Operand`] of an operand that is of another kind.
pub fn wrong_kind(operand: usize, got: &str, want: &str) -> DeviceError {
    DeviceError::Operand { operand, got: got.into(), want: want.into() }
}

impl<'a> Operands<'a> {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Operand `operand`, whatever it is.
    ///
    /// # Errors
    /// Nothing is there.
    pub fn held(&self, operand: usize) -> Result<&'a Held, DeviceError> {
        match self.slots.get(operand).and_then(|slot| self.held.get(slot.index())) {
            Some(held @ (Held::Tensor(_) | Held::Matrix(_) | Held::Table(_))) => Ok(held),
            Some(Held::Empty) | None => Err(DeviceError::Empty { operand }),
        }
    }

    /// Operand `operand`, a tensor.
    ///
    /// # Errors
    /// As [`Held::tensor`].
    pub fn tensor(&self, operand: usize) -> Result<&'a HostTensor, DeviceError> {
        self.held(operand)?.tensor(operand)
    }

    /// The elements of operand `operand`, integers.
    ///
    /// # Errors
    /// As [`Held::tensor`]; a tensor of floats.
    pub fn integers(&self, operand: usize) -> Result<&'a [u32], DeviceError> {
        self.tensor(operand)?.integers(operand)
    }
}

impl Run<'_> {
    /// Whether results are to have the bits of TT-NN's kernels.
    pub fn exact(&self) -> bool {
        self.device.numerics == Numerics::Exact
    }

    /// How the kernel of a step with this config computes; `None` when the formula is to be computed instead.
    pub fn kernel(&self, compute: ComputeKernel) -> Option<Compute> {
        let ComputeKernel { fidelity, fp32_dest_acc, packer_l1_acc: _ } = compute;
        self.exact().then_some(Compute { arch: self.device.arch, fidelity, fp32_dest: fp32_dest_acc })
    }

    /// The operands.
    pub fn operands(&mut self) -> Operands<'_> {
        Operands { held: &self.device.slots, slots: &self.step.operands, scratch: &mut self.device.scratch }
    }

    fn slot(&self, operand: usize) -> Result<Slot, DeviceError> {
        self.step.operands.get(operand).copied().ok_or(DeviceError::Empty { operand })
    }

    /// Makes the step's N results: `make` writes every element of them. They are in their slots when it succeeds.
    ///
    /// # Errors
    /// Any error of `make`; a step with another number of results.
    pub fn produce<const N: usize>(
        &mut self,
        make: impl FnOnce(&mut Operands<'_>, &mut [HostTensor; N]) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let mut outs: SmallVec<[HostTensor; 3]> = SmallVec::new();
        for (_, spec) in &self.step.outputs {
            outs.push(self.device.pool.take(spec)?);
        }
        let given = outs.len();
        let done = match outs.as_mut_slice().try_into() {
            Ok(outs) => make(&mut self.operands(), outs),
            Err(_) => Err(DeviceError::Results { given, made: N }),
        };
        for ((slot, _), out) in self.step.outputs.iter().zip(outs) {
            match done {
                Ok(()) => self.device.hold(*slot, Held::Tensor(out))?,
                Err(_) => self.device.pool.give(out),
            }
        }
        done
    }

    /// Lets `change` write operand `operand` where it is. Meanwhile it is none of the [`Operands`].
    ///
    /// # Errors
    /// Any error of `change`; an operand that is no tensor.
    pub fn change(
        &mut self,
        operand: usize,
        change: impl FnOnce(&mut Operands<'_>, &mut HostTensor) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let slot = self.slot(operand)?;
        let mut tensor = self.take(operand)?;
        let done = change(&mut self.operands(), &mut tensor);
        self.device.hold(slot, Held::Tensor(tensor))?;
        done
    }

    /// Makes a tensor like operand `operand` beside it, then puts it in its place.
    ///
    /// # Errors
    /// Any error of `make`; an operand that is no tensor.
    pub fn replace(
        &mut self,
        operand: usize,
        make: impl FnOnce(&mut Operands<'_>, &mut HostTensor) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let slot = self.slot(operand)?;
        let spec = Arc::clone(&self.operands().tensor(operand)?.spec);
        let mut out = self.device.pool.take(&spec)?;
        match make(&mut self.operands(), &mut out) {
            Ok(()) => self.device.hold(slot, Held::Tensor(out)),
            Err(error) => {
                self.device.pool.give(out);
                Err(error)
            }
        }
    }

    /// Takes operand `operand` out of its slot, which is empty then.
    ///
    /// # Errors
    /// An operand that is no tensor.
    pub fn take(&mut self, operand: usize) -> Result<HostTensor, DeviceError> {
        let slot = self.slot(operand)?;
        let empty = DeviceError::Empty { operand };
        let Some(place) = self.device.slots.get_mut(slot.index()) else { return Err(empty) };
        place.tensor(operand)?;
        let Held::Tensor(tensor) = std::mem::take(place) else { return Err(empty) };
        Ok(tensor)
    }

    /// Ends operand `operand`; an empty slot is no error.
    ///
    /// # Errors
    /// A slot that the device does not have.
    pub fn end(&mut self, operand: usize) -> Result<(), DeviceError> {
        let slot = self.slot(operand)?;
        self.device.hold(slot, Held::Empty)
    }

    /// The spec of the step's only result.
    ///
    /// # Errors
    /// A step with another number of results.
    pub fn output(&self) -> Result<&Arc<TensorSpec>, DeviceError> {
        match self.step.outputs.as_slice() {
            [(_, spec)] => Ok(spec),
            outputs => Err(DeviceError::Results { given: outputs.len(), made: 1 }),
        }
    }

    /// Makes `tensor`'s storage the step's only result.
    ///
    /// # Errors
    /// A step with another number of results, or a slot that the device does not have.
    pub fn put(&mut self, mut tensor: HostTensor) -> Result<(), DeviceError> {
        let spec = Arc::clone(self.output()?);
        tensor.data.truncate(tensor::elements(&spec));
        tensor.spec = spec;
        self.device.hold(self.step.outputs[0].0, Held::Tensor(tensor))
    }
}
