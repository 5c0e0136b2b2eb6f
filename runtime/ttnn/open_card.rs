//! An open card.
//!
//! A process opens one card (see [`crate::card`]); it may close and open it again. Figures that harvesting changes (grid, banks, L1) are
//! asked of TT-NN, never assumed.

use bitnetc_plan::Memory;

use crate::card::{self, CardKind, Files};
use crate::environment::PythonEnv;
use crate::error::TtnnError;
use crate::graph::{self, Graph, RunMode};
use crate::python::{self, Interpreter, Object, Value};
use crate::{queue, spec};

/// How a card is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardOptions {
    /// Bytes per core set apart for convolutions and semaphores; plans need none.
    pub l1_small_size: u32,
    /// Bytes set apart for captured traces, over all DRAM banks; with 0 a trace takes free DRAM when its capture ends.
    pub trace_region_size: u32,
    /// 1, or 2 for copies on a queue of their own.
    pub command_queues: u32,
}

impl Default for CardOptions {
    fn default() -> Self {
        CardOptions { l1_small_size: 0, trace_region_size: 0, command_queues: 1 }
    }
}

/// One of the card's memories as TT-NN's allocator has it. Sizes are of one bank: a worker core's L1, or a DRAM bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct MemoryView {
    /// Number of banks.
    pub banks: u64,
    /// Bytes the allocator hands out.
    pub size: u64,
    /// Of these, bytes not allocated now.
    pub free: u64,
    /// Longest run of free bytes.
    pub largest_free: u64,
}

/// A card, closed when dropped.
#[derive(Debug)]
pub struct OpenCard {
    interpreter: &'static Interpreter,
    object: Object,
    card: CardKind,
    grid: (u32, u32),
    dram_banks: u32,
    l1_range: (u64, u64),
    can_trace: bool,
    closed: bool,
    _files: Option<Files>,
}

/// The outcome of captured work: what it returned and what TT-NN recorded, also when it failed.
#[derive(Debug)]
pub struct Captured<T> {
    /// The work's own result.
    pub result: Result<T, TtnnError>,
    /// The record, up to the failure if there was one.
    pub graph: Graph,
}

impl OpenCard {
    /// Starts the interpreter, readies the environment for `card` and opens it.
    ///
    /// # Errors
    /// The interpreter does not start; another card was opened before; a mock stands in the way of a real card; TT-NN's own words.
    pub fn open(env: &PythonEnv, card: CardKind, options: CardOptions) -> Result<OpenCard, TtnnError> {
        let files = card::prepare(&card, env)?;
        let interpreter = Interpreter::start(env)?;
        let can_trace = match &card {
            CardKind::Mock(mock) => !mock.slow_dispatch() && queue::is_loaded(env)?,
            CardKind::Simulator(_) | CardKind::Real => true,
        };
        let number = |value: u32| Value::Int(i64::from(value));
        let object = interpreter.ttnn().call_method(
            "open_device",
            &[],
            &[
                ("device_id", Value::Int(0)),
                ("l1_small_size", number(options.l1_small_size)),
                ("trace_region_size", number(options.trace_region_size)),
                ("num_command_queues", number(options.command_queues)),
            ],
        )?;
        let mut device = OpenCard {
            interpreter,
            object,
            card,
            grid: (0, 0),
            dram_banks: 0,
            l1_range: (0, 0),
            can_trace,
            closed: false,
            _files: files,
        };
        device.grid = device.extent("compute_with_storage_grid_size")?;
        device.dram_banks = device.extent("dram_grid_size")?.0;
        device.l1_range = device.find_l1_range()?;
        Ok(device)
    }

    fn extent(&self, method: &str) -> Result<(u32, u32), TtnnError> {
        let extent = self.object.call_method(method, &[], &[])?;
        let side = |name: &str| -> Result<u32, TtnnError> {
            let value = unsigned(method, extent.attribute(name)?.to_int()?)?;
            u32::try_from(value).map_err(|_| TtnnError::Unexpected { what: method.into(), answer: value.to_string() })
        };
        Ok((side("x")?, side("y")?))
    }

    /// The interpreter the device lives in.
    pub fn interpreter(&self) -> &'static Interpreter {
        self.interpreter
    }

    /// TT-NN's device object, for calls that take one.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The card that was opened.
    pub fn card(&self) -> &CardKind {
        &self.card
    }

    /// Whether traces can be captured: on every card, and on a mock whose command queue has its stand-in.
    pub fn can_trace(&self) -> bool {
        self.can_trace
    }

    /// Columns and rows of worker cores that programs may use.
    pub fn grid(&self) -> (u32, u32) {
        self.grid
    }

    /// DRAM banks that sharded weights are spread over.
    pub fn dram_banks(&self) -> u32 {
        self.dram_banks
    }

    /// TT-NN's name of the chip, `Arch.WORMHOLE_B0`.
    ///
    /// # Errors
    /// TT-NN's own.
    pub fn arch(&self) -> Result<String, TtnnError> {
        Ok(self.object.call_method("arch", &[], &[])?.to_text()?)
    }

    /// TT-NN's name of the board, `ClusterType.N150`.
    ///
    /// # Errors
    /// TT-NN's own.
    pub fn cluster(&self) -> Result<String, TtnnError> {
        let cluster = self.interpreter.ttnn().call_method("cluster.get_cluster_type", &[], &[])?;
        Ok(cluster.to_text()?)
    }

    /// A memory as it is now.
    ///
    /// # Errors
    /// TT-NN's own.
    pub fn memory_view(&self, memory: Memory) -> Result<MemoryView, TtnnError> {
        let kind = if memory == Memory::L1 { "BufferType.L1" } else { "BufferType.DRAM" };
        let kind = self.interpreter.ttnn().attribute(kind)?;
        let view = self.interpreter.ttnn().call_method("get_memory_view", &[self.object().into(), kind.into()], &[])?;
        let number = |name: &str| -> Result<u64, TtnnError> { unsigned(name, view.attribute(name)?.to_int()?) };
        Ok(MemoryView {
            banks: number("num_banks")?,
            size: number("total_bytes_per_bank")?,
            free: number("total_bytes_free_per_bank")?,
            largest_free: number("largest_contiguous_bytes_free_per_bank")?,
        })
    }

    /// First and last-plus-one address of the L1 that tensors and circular buffers share on every worker core.
    pub fn l1_range(&self) -> (u64, u64) {
        self.l1_range
    }

    /// TT-NN tells the size of the region but not where it lies. Tensors are laid from its end downwards: in an empty L1, the first one ends
    /// where the region ends.
    fn find_l1_range(&self) -> Result<(u64, u64), TtnnError> {
        const PROBE_BYTES: u64 = 2048;
        let size = self.memory_view(Memory::L1)?.size;
        let ttnn = self.interpreter.ttnn();
        let sides = Value::List([1, 1, 32, 32].map(Value::Int).to_vec());
        let shape = ttnn.call_method("Shape", &[sides], &[])?;
        let (dtype, layout) = (ttnn.attribute("bfloat16")?, ttnn.attribute("TILE_LAYOUT")?);
        let memory = ttnn.attribute("L1_MEMORY_CONFIG")?;
        let args = [shape.into(), dtype.into(), layout.into(), self.object().into(), memory.into()];
        let probe = ttnn.call_method("allocate_tensor_on_device", &args, &[])?;
        let end = spec::address(&probe)? + PROBE_BYTES;
        ttnn.call_method("deallocate", &[probe.into()], &[])?;
        let base = end.checked_sub(size).ok_or_else(|| TtnnError::Unexpected {
            what: format!("an L1 of {size} bytes that ends at or above that address"),
            answer: end.to_string(),
        })?;
        Ok((base, end))
    }

    /// Runs `work` under capture. The capture is ended whatever `work` does, so a refused call still leaves its record.
    ///
    /// # Errors
    /// Starting or reading the capture failed; `work`'s own failure is inside [`Captured`].
    pub fn capture<T>(
        &self,
        mode: RunMode,
        work: impl FnOnce() -> Result<T, TtnnError>,
    ) -> Result<Captured<T>, TtnnError> {
        graph::begin(self.interpreter, mode)?;
        let mut guard = EndCapture { interpreter: Some(self.interpreter) };
        let result = work();
        guard.interpreter = None;
        Ok(Captured { result, graph: graph::end(self.interpreter)? })
    }

    /// Closes the card.
    ///
    /// # Errors
    /// TT-NN's own.
    pub fn close(mut self) -> Result<(), TtnnError> {
        self.close_once()
    }

    fn close_once(&mut self) -> Result<(), TtnnError> {
        // Closing first waits for the card, and one that has stopped answering keeps it waiting for ever.
        if !std::mem::replace(&mut self.closed, true) && !python::card_hangs() {
            self.interpreter.ttnn().call_method("close_device", &[(&self.object).into()], &[])?;
        }
        Ok(())
    }
}

impl Drop for OpenCard {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; `close` reports it to those who ask.
        let _ = self.close_once();
    }
}

fn unsigned(what: &str, value: i64) -> Result<u64, TtnnError> {
    u64::try_from(value).map_err(|_| TtnnError::Unexpected { what: what.to_owned(), answer: value.to_string() })
}

/// Ends the capture when the work panics.
struct EndCapture {
    interpreter: Option<&'static Interpreter>,
}

impl Drop for EndCapture {
    fn drop(&mut self) {
        if let Some(interpreter) = self.interpreter {
            let _ = graph::end(interpreter);
        }
    }
}
