//! Executes verified plans: on the host with Tensix numerics, or on any other [`Device`].
//!
//! ```text
//! Plan + Weights --Session::load--> Program (names resolved, layers unrolled) + Device (tensors in slots)
//! generate() drives Session: prefill each user, then decode all, a traced phase by replay
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`weights`] | constant tensors from checkpoints and packed files |
//! | [`program`], [`integers`] | a plan resolved to steps on slots, and the matmuls that are exact in integers |
//! | [`device`] | the interface of what executes steps |
//! | [`host`] | the host device |
//! | [`session`] | a plan loaded on a device |
//! | [`mod@file`] | files written whole or not at all |
//! | [`generate`](mod@generate), [`sampler`] | text from prompts |

pub mod device;
mod error;
pub mod file;
pub mod generate;
pub mod host;
pub mod integers;
pub mod program;
pub mod sampler;
pub mod session;
pub mod weights;

pub use device::{ABSENT, Device, ResolvedStep, Slot, TraceId, Upload};
pub use error::{DeviceError, RuntimeError};
pub use generate::{Flow, GenerateOptions, Stop, Text, check_prompts, generate};
pub use host::HostDevice;
pub use sampler::Sampling;
pub use session::{LoadOptions, Session};
pub use weights::{WeightError, Weights};
