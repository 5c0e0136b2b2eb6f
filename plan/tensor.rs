//! Tensors on a card in TT-NN's terms: shape, data type, layout and memory config.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cores::Cores;

/// Side of a tile in elements.
pub const TILE: u32 = 32;

/// TT-NN's data types that a plan may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum DType {
    /// `bfloat16`: 8 significant bits.
    #[serde(rename = "bf16")]
    Bf16,
    /// `bfloat8_b`: 16 elements share an exponent, 7 magnitude bits each.
    #[serde(rename = "bfp8")]
    Bfp8,
    /// `bfloat4_b`: 16 elements share an exponent, 3 magnitude bits each.
    #[serde(rename = "bfp4")]
    Bfp4,
    /// -1, 0 or 1 in two bits each. TT-NN has no such type: its tensor is the one that [`TensorSpec::stored`] tells.
    #[serde(rename = "bfp2")]
    Bfp2,
    /// `float32`.
    #[serde(rename = "f32")]
    F32,
    /// `uint32`.
    #[serde(rename = "u32")]
    U32,
    /// `int32`.
    #[serde(rename = "i32")]
    I32,
    /// `uint16`: the columns that `topk` returns of rows of at most 65,536.
    #[serde(rename = "u16")]
    U16,
}

impl DType {
    /// Bytes of one 32x32 tile.
    pub const fn tile_bytes(self) -> u64 {
        match self {
            DType::Bf16 | DType::U16 => 2048,
            DType::Bfp8 => 1088,
            DType::Bfp4 => 576,
            DType::Bfp2 => 256,
            DType::F32 | DType::U32 | DType::I32 => 4096,
        }
    }

    /// Bytes of one row-major element; `None` for block formats, which exist only as tiles.
    pub const fn element_bytes(self) -> Option<u64> {
        match self {
            DType::Bf16 | DType::U16 => Some(2),
            DType::Bfp8 | DType::Bfp4 | DType::Bfp2 => None,
            DType::F32 | DType::U32 | DType::I32 => Some(4),
        }
    }

    /// True for the formats whose elements share exponents in groups of 16. Those of [`DType::Bfp2`] are all alike and not stored.
    pub const fn is_block(self) -> bool {
        matches!(self, DType::Bfp8 | DType::Bfp4 | DType::Bfp2)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::Bf16 => "bf16",
            DType::Bfp8 => "bfp8",
            DType::Bfp4 => "bfp4",
            DType::Bfp2 => "bfp2",
            DType::F32 => "f32",
            DType::U32 => "u32",
            DType::I32 => "i32",
            DType::U16 => "u16",
        })
    }
}

/// How elements are ordered in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Layout {
    /// 32x32 tiles of four 16x16 faces.
    Tile,
    /// Rows one after another.
    RowMajor,
}

/// The memory a buffer lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Memory {
    /// The SRAM of the worker cores.
    L1,
    /// The card's DRAM banks.
    Dram,
}

/// Along which dimension a tensor is cut into shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Strategy {
    /// `WIDTH_SHARDED`: each core holds all rows of some columns.
    Width,
    /// `HEIGHT_SHARDED`: each core holds all columns of some rows.
    Height,
}

/// TT-NN's `MemoryConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum MemoryConfig {
    /// Pages round-robin over all banks.
    Interleaved(Memory),
    /// One shard of `shard = [rows, columns]` elements per core (L1) or bank (DRAM), row-major over `cores`.
    Sharded {
        /// Where the shards live.
        memory: Memory,
        /// How the tensor is cut.
        strategy: Strategy,
        /// The cores, or for DRAM the banks as a row `(0,0)..(banks-1,0)`.
        cores: Cores,
        /// Rows and columns of one shard, in elements.
        shard: [u32; 2],
    },
}

impl MemoryConfig {
    /// Interleaved in DRAM.
    pub const DRAM: MemoryConfig = MemoryConfig::Interleaved(Memory::Dram);
    /// Interleaved in L1.
    pub const L1: MemoryConfig = MemoryConfig::Interleaved(Memory::L1);

    /// L1, width-sharded.
    pub fn width(cores: Cores, shard: [u32; 2]) -> Self {
        MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Width, cores, shard }
    }

    /// L1, height-sharded.
    pub fn height(cores: Cores, shard: [u32; 2]) -> Self {
        MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Height, cores, shard }
    }

    /// DRAM, width-sharded over `banks` banks: the layout of a DRAM-sharded matmul's weight.
    pub fn dram_width(banks: u32, shard: [u32; 2]) -> Self {
        let cores = Cores::rectangle(0, 0, banks, 1);
        MemoryConfig::Sharded { memory: Memory::Dram, strategy: Strategy::Width, cores, shard }
    }

    /// L1 or DRAM.
    pub const fn memory(&self) -> Memory {
        match self {
            MemoryConfig::Interleaved(memory) | MemoryConfig::Sharded { memory, .. } => *memory,
        }
    }

    /// True for any sharded config.
    pub const fn is_sharded(&self) -> bool {
        matches!(self, MemoryConfig::Sharded { .. })
    }

    /// The cores of an L1 shard spec.
    pub fn l1_cores(&self) -> Option<&Cores> {
        match self {
            MemoryConfig::Sharded { memory: Memory::L1, cores, .. } => Some(cores),
            _ => None,
        }
    }

    /// `[rows, columns]` of a shard.
    pub const fn shard(&self) -> Option<[u32; 2]> {
        match self {
            MemoryConfig::Sharded { shard, .. } => Some(*shard),
            MemoryConfig::Interleaved(_) => None,
        }
    }

    /// The strategy of a sharded config.
    pub const fn strategy(&self) -> Option<Strategy> {
        match self {
            MemoryConfig::Sharded { strategy, .. } => Some(*strategy),
            MemoryConfig::Interleaved(_) => None,
        }
    }
}

impl fmt::Display for MemoryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |m: &Memory| if *m == Memory::L1 { "L1" } else { "DRAM" };
        match self {
            MemoryConfig::Interleaved(m) => write!(f, "{}", place(m)),
            MemoryConfig::Sharded { memory, strategy, cores, shard } => {
                let s = if *strategy == Strategy::Width { "WS" } else { "HS" };
                write!(f, "{} {s}[{},{}] on {cores}", place(memory), shard[0], shard[1])
            }
        }
    }
}

/// Everything TT-NN keeps of a tensor but its data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// Logical shape, outermost dimension first; rank 1 to 4.
    pub shape: Vec<u32>,
    /// Data type.
    pub dtype: DType,
    /// Tile or row-major.
    pub layout: Layout,
    /// Where it lives.
    pub memory: MemoryConfig,
}

impl TensorSpec {
    /// A tiled tensor.
    pub fn tile(shape: impl Into<Vec<u32>>, dtype: DType, memory: MemoryConfig) -> Self {
        TensorSpec { shape: shape.into(), dtype, layout: Layout::Tile, memory }
    }

    /// A row-major tensor.
    pub fn row_major(shape: impl Into<Vec<u32>>, dtype: DType, memory: MemoryConfig) -> Self {
        TensorSpec { shape: shape.into(), dtype, layout: Layout::RowMajor, memory }
    }

    /// Length of the last dimension (1 for a scalar).
    pub fn columns(&self) -> u32 {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Length of the second-to-last dimension (1 below rank 2).
    pub fn rows(&self) -> u32 {
        if self.shape.len() < 2 { 1 } else { self.shape[self.shape.len() - 2] }
    }

    /// Product of all dimensions before the last two.
    pub fn outer(&self) -> u64 {
        let n = self.shape.len().saturating_sub(2);
        self.shape[..n].iter().map(|&d| u64::from(d)).product()
    }

    /// The shape with the last two dimensions rounded up to tiles; the shape itself when row-major.
    pub fn padded(&self) -> Vec<u32> {
        let mut shape = self.shape.clone();
        if self.layout == Layout::Tile {
            let n = shape.len();
            for d in shape.iter_mut().skip(n.saturating_sub(2)) {
                *d = d.next_multiple_of(TILE);
            }
        }
        shape
    }

    /// Padded rows of the tensor seen as a matrix: all dimensions but the last.
    pub fn matrix_rows(&self) -> u64 {
        let rows = if self.layout == Layout::Tile { self.rows().next_multiple_of(TILE) } else { self.rows() };
        self.outer() * u64::from(rows)
    }

    /// Tiles along the rows of the matrix view.
    pub fn tile_rows(&self) -> u64 {
        self.outer() * u64::from(self.rows().div_ceil(TILE))
    }

    /// Tiles along the columns.
    pub fn tile_columns(&self) -> u64 {
        u64::from(self.columns().div_ceil(TILE))
    }
}

impl TensorSpec {
    /// The tensor that TT-NN holds. It is the spec itself but for [`DType::Bfp2`]: the codes of a matrix `[1,1,K,N]` are row-major `u32` words
    /// `[1,1,N/32,K*2]`. A row, which is a page of its own, is one column of tiles, and each tile's 64 words are its faces one after
    /// another, sixteen codes to a word, the first in the low bits: 0 is 0, 1 is 1, 3 is -1. This is how the unpacker reads BFP2_b behind the exponents.
    pub fn stored(&self) -> Cow<'_, TensorSpec> {
        if self.dtype != DType::Bfp2 {
            return Cow::Borrowed(self);
        }
        let words = self.rows().div_ceil(TILE).saturating_mul(TILE * TILE / 16);
        let mut shape = self.shape.clone();
        if let [.., rows, columns] = shape.as_mut_slice() {
            (*rows, *columns) = (columns.div_ceil(TILE), words);
        }
        Cow::Owned(TensorSpec::row_major(shape, DType::U32, self.memory.clone()))
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = if self.layout == Layout::Tile { "" } else { " RM" };
        write!(f, "{:?} {}{layout} {}", self.shape, self.dtype, self.memory)
    }
}
