//! Tensix numerics on the host.

mod device_pack;
mod error;
mod format;
mod host_pack;
mod lanes;
mod matmul;
mod mvmul;
mod operands;
mod rounding;
mod spill;
mod ternary;
mod tiled;
mod unpack;

pub use error::NumericsError;
pub use format::{EXPONENTS, Format, GROUP, TILE, TILE_ELEMS, element_index, face_row};
pub use matmul::{MatmulConfig, matmul, matmul_into};
pub use mvmul::{Arch, Fidelity, Src, mvmul};
pub use operands::SrcB;
pub use rounding::*;
pub use spill::Spill;
pub use ternary::{MAX_K, TernaryScratch, TernaryWeights, int8_from_bf16, sums_to_bf16, sums_to_f32};
pub use tiled::{Tiled, TiledView, tiled_bytes};
pub use unpack::block_value;
