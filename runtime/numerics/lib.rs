//! Tensix numerics on the host: what a card's tiles, matmuls and vector operations make of numbers.
//!
//! | for | module | exactness |
//! |---|---|---|
//! | tiles, formats | `format`, `tiled` | layout as in DRAM |
//! | packing on the host | `host_pack` | TT-NN's bytes (tested against the wheel) |
//! | packing and unpacking on the device | `device_pack`, `unpack`, `typecast` | the hardware's bits |
//! | MVMUL, one element | `mvmul` | the specification |
//! | matmul, emulated | `matmul` over `lanes`, `operands`, `spill` | bit for bit `mvmul`, any format and fidelity |
//! | matmul, emulated, by ternary weights | `matmul` over `signs` | the same bits |
//! | int8 by ternary matmul | `ternary` | bit for bit the emulated matmul, where it is lossless |
//! | dense matmul in f32 | `dense` | a stated bound around the device's HiFi4 |
//! | attention | `attention` | the formula in f32, rounded once |
//! | norm, rotary, elementwise | `norm`, `rotary`, `elementwise` | the formula in f32, rounded once |
//! | maximum, argmax | `reduce` | exact |
//! | TT-NN's own kernels of these ops | [`kernels`] | the kernels' bits, within the bounds it states |
//!
//! Kernels choose their instruction set at run time (AMX, AVX-512, AVX2, portable) and give the same bits on each.
//! They run on the rayon pool of the calling thread; what a step needs every time is passed in or lives on the
//! stack, so steady-state decode allocates nothing (rayon's own queues aside: call from within its pool).

// Kernels index parallel arrays by lane: the index is the lane's number, not a position in one of them.
#![allow(clippy::needless_range_loop)]

mod attention;
mod dense;
mod device_pack;
mod element;
mod elementwise;
mod error;
mod exp;
mod fixed_point;
mod format;
mod host_pack;
pub mod kernels;
mod lanes;
mod matmul;
mod memory;
mod mvmul;
mod norm;
mod operands;
mod reduce;
mod rotary;
mod rounding;
mod signs;
mod simd;
mod spill;
mod ternary;
mod tiled;
mod typecast;
mod unpack;

pub use attention::{Cache, Chunk, MAX_HEAD_DIM, Pages, decode_attention, prefill_attention};
pub use dense::DenseWeights;
pub use device_pack::through_packer;
pub use element::Element;
pub use elementwise::{Binary, Broadcast, Chains, Function, binary, unary};
pub use error::NumericsError;
pub use fixed_point::{join_fixed_point, split_fixed_point};
pub use format::{EXPONENTS, Format, GROUP, TILE, TILE_ELEMS, element_index, face_row};
pub use matmul::{MatmulConfig, SrcA, matmul, matmul_into};
pub use mvmul::{Arch, Fidelity, Src, mvmul};
pub use norm::rms_norm;
pub use operands::SrcB;
pub use reduce::{argmax_rows, max_rows};
pub use rotary::rotary;
pub use rounding::{
    bf16_cleaned, bf16_host, bf16_packed, bf16_truncated, narrow_slice, pack_slice, widen, widen_slice,
};
pub use signs::SignTiles;
pub use spill::Spill;
pub use ternary::{MAX_K, Sum, TernaryScratch, TernaryWeights, int8_from_bf16, sums_to_f32};
pub use tiled::{Tiled, TiledView, tiled_bytes};
pub use typecast::cast_through;
pub use unpack::block_value;
