//! Bytes that cross between the host and TT-NN's tensors, without a copy in Python.
//!
//! TT-NN gives out a host tensor's memory through DLPack; numpy tells its address. Reading and writing there is what makes uploads need no
//! more memory than the one tensor that is on its way.

use bitnetc_plan::TensorSpec;

use crate::call::{Expr, PyCall, Scope};
use crate::error::TtnnError;
use crate::open_card::OpenCard;
use crate::python::{Object, Value};
use crate::tensor::{dtype_path, layout_path, memory_config};

/// The memory of a host tensor of TT-NN.
struct HostMemory {
    /// Keeps the memory alive.
    _tensor: Object,
    /// Keeps the address valid.
    _view: Object,
    address: usize,
    bytes: usize,
}

impl HostMemory {
    /// The only shard of a host tensor.
    fn of(card: &OpenCard, tensor: &Object) -> Result<Self, TtnnError> {
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
        Ok(HostMemory { _tensor: tensor.clone(), _view: view, address, bytes })
    }

    fn bytes(&self) -> &[u8] {
        if self.bytes == 0 {
            return &[];
        }
        // SAFETY: numpy's view says that this many bytes lie at this address, and both the view and the tensor that owns the memory live
        // as long as `self`. Nothing else writes there: the tensor was made for this copy, and only this thread knows it.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        if self.bytes == 0 {
            return &mut [];
        }
        // SAFETY: as in `bytes`; the memory is an ordinary heap allocation of the tensor, which numpy marks read-only only because DLPack
        // of this version cannot say otherwise.
        unsafe { std::slice::from_raw_parts_mut(self.address as *mut u8, self.bytes) }
    }
}

impl OpenCard {
    /// Copies bytes into a tensor on the card. `fill` gets the tensor's bytes as TT-NN lays them out on the host, zeros at first.
    ///
    /// # Errors
    /// Any error of `fill` or of TT-NN.
    pub(crate) fn write_bytes<E: From<TtnnError>>(
        &self,
        tensor: &Object,
        spec: &TensorSpec,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let host = self.host_tensor(spec)?;
        let mut memory = HostMemory::of(self, &host)?;
        let bytes = memory.bytes_mut();
        bytes.fill(0);
        fill(bytes)?;
        let copy = [Value::from(&host), Value::from(tensor)];
        self.interpreter().ttnn().call_method("copy_host_to_device_tensor", &copy, &[]).map_err(TtnnError::from)?;
        // The copy may still read the host tensor's memory, which goes with it.
        self.synchronize()?;
        Ok(())
    }

    /// Reads the bytes of a tensor on the card, as TT-NN lays them out on the host; waits for the calls before it.
    ///
    /// # Errors
    /// TT-NN's own.
    pub(crate) fn read_bytes<T>(&self, tensor: &Object, read: impl FnOnce(&[u8]) -> T) -> Result<T, TtnnError> {
        let host = self.interpreter().ttnn().call_method("from_device", &[tensor.into()], &[])?;
        Ok(read(HostMemory::of(self, &host)?.bytes()))
    }

    /// Waits until the card has done everything asked of it.
    ///
    /// # Errors
    /// TT-NN's own.
    pub(crate) fn synchronize(&self) -> Result<(), TtnnError> {
        self.interpreter().ttnn().call_method("synchronize_device", &[self.object().into()], &[])?;
        Ok(())
    }

    fn host_tensor(&self, spec: &TensorSpec) -> Result<Object, TtnnError> {
        let mut scope = Scope::default();
        scope.set("device", self.object().clone());
        PyCall::ttnn("allocate_tensor_on_host")
            .arg(PyCall::ttnn("Shape").arg(Expr::ints(spec.shape.iter().copied())))
            .arg(Expr::ttnn(dtype_path(spec.dtype)))
            .arg(Expr::ttnn(layout_path(spec.layout)))
            .arg(Expr::name("device"))
            .kwarg("memory_config", memory_config(&spec.memory))
            .execute(self.interpreter(), &scope)
    }
}
