//! Bytes that cross between the host and TT-NN's tensors, without a copy in Python.
//!
//! TT-NN gives out a host tensor's memory through DLPack; numpy tells its address. Reading and writing there is what makes uploads need no
//! more memory than the one tensor that is on its way, and what takes 32 users' logits in microseconds.

use std::sync::Arc;

use bitnetc_plan::TensorSpec;

use crate::error::TtnnError;
use crate::open_card::OpenCard;
use crate::python::{Object, Value};
use crate::record;

/// A tensor in host memory that is copied to or from tensors on the card.
#[derive(Debug)]
pub(super) struct HostTensor {
    spec: Arc<TensorSpec>,
    tensor: Object,
    /// Keeps the address valid.
    _view: Object,
    address: usize,
    bytes: usize,
    /// Over when the last copy is; until then the memory is the card's.
    copying: Option<Object>,
}

impl HostTensor {
    /// A host tensor for a tensor of `spec` on the card, zeros at first.
    ///
    /// # Errors
    /// TT-NN's own.
    pub(super) fn new(card: &OpenCard, spec: &Arc<TensorSpec>) -> Result<Self, TtnnError> {
        let tensor = card.allocate_on_host(spec)?;
        // A host tensor has one shard.
        let origin = card.interpreter().ttnn().call_method("MeshCoordinate", &[Value::Int(0), Value::Int(0)], &[])?;
        let shard = tensor.call_method("host_buffer", &[], &[])?.call_method("get_shard", &[origin.into()], &[])?;
        let numpy = card.interpreter().import("numpy")?;
        let view = numpy.call_method("from_dlpack", &[shard.into()], &[])?;
        let number = |path: &str| -> Result<usize, TtnnError> {
            let value = view.attribute(path)?.to_int()?;
            usize::try_from(value)
                .map_err(|_| TtnnError::Unexpected { what: path.to_owned(), answer: value.to_string() })
        };
        let (address, bytes) = (number("ctypes.data")?, number("nbytes")?);
        if address == 0 && bytes > 0 {
            return Err(TtnnError::Unexpected { what: "the address of a tensor's memory".into(), answer: "0".into() });
        }
        let mut host = HostTensor { spec: Arc::clone(spec), tensor, _view: view, address, bytes, copying: None };
        host.bytes_mut(card)?.fill(0);
        Ok(host)
    }

    /// The tensor that it is for.
    pub(super) fn spec(&self) -> &Arc<TensorSpec> {
        &self.spec
    }

    /// The tensor, to be copied from or to.
    pub(super) fn object(&self) -> &Object {
        &self.tensor
    }

    /// Says that a copy is under way until `event`.
    pub(super) fn copying_until(&mut self, event: Object) {
        self.copying = Some(event);
    }

    /// Its bytes as TT-NN lays them out, once the copy under way is over.
    ///
    /// # Errors
    /// TT-NN's own.
    pub(super) fn bytes(&mut self, card: &OpenCard) -> Result<&[u8], TtnnError> {
        self.bytes_mut(card).map(|bytes| &*bytes)
    }

    /// The same, to be overwritten.
    ///
    /// # Errors
    /// TT-NN's own.
    pub(super) fn bytes_mut(&mut self, card: &OpenCard) -> Result<&mut [u8], TtnnError> {
        if let Some(event) = self.copying.take() {
            card.interpreter().ttnn().call_method("event_synchronize", &[event.into()], &[])?;
        }
        record::add(record::Event::Touch(self.tensor.identity()));
        if self.bytes == 0 {
            return Ok(&mut []);
        }
        // SAFETY: numpy's view says that this many bytes lie at this address, and both the view and the tensor that owns the memory live
        // as long as `self`. The memory is an ordinary heap allocation of the tensor, which numpy marks read-only only because DLPack of
        // this version cannot say otherwise. The tensor was made here and only this thread knows it; a copy of TT-NN's is over by now.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.address as *mut u8, self.bytes) })
    }
}

impl OpenCard {
    /// Copies a host tensor into a tensor on the card, and waits for it.
    ///
    /// # Errors
    /// TT-NN's own.
    pub(super) fn upload(&self, host: &HostTensor, tensor: &Object) -> Result<(), TtnnError> {
        let copy = [Value::from(host.object()), Value::from(tensor)];
        self.interpreter().ttnn().call_method("copy_host_to_device_tensor", &copy, &[])?;
        self.synchronize()
    }

    /// Waits until the card has done everything asked of it.
    ///
    /// # Errors
    /// TT-NN's own.
    pub(crate) fn synchronize(&self) -> Result<(), TtnnError> {
        self.interpreter().ttnn().call_method("synchronize_device", &[self.object().into()], &[])?;
        Ok(())
    }
}
