//! The contract between compiler and runtime: a plan is a complete schedule of TT-NN calls for one model on one card.
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | the plan: phases, steps, values, buffers, predicted costs |
//! | [`op`] | the calls and their arguments |
//! | [`program`] | program configs, compute kernel config, fused elementwise functions |
//! | [`tensor`], [`cores`] | shapes, data types, layouts, memory configs, core sets |
//! | [`weight`], [`scalar`] | constant tensors and constants that depend on weight scales |
//! | [`card`] | the card a plan is for |
//! | [`ttnn`] | the op rules: what TT-NN accepts, returns and takes of L1 |
//! | [`l1`] | the L1 allocator model: addresses |
//! | [`walk`] | a phase replayed on it: what is where in L1 at each step |
//! | [`mod@verify`] | every invariant of a plan, checked without the compiler |
//! | [`defect`] | what is wrong with a plan, and where |
//! | [`mod@format`] | RON and binary files |
//! | [`mod@file`] | writing to where a person points |

pub mod card;
pub mod cores;
pub mod defect;
pub mod file;
pub mod folder;
pub mod format;
pub mod l1;
pub mod op;
pub mod plan;
pub mod program;
pub mod scalar;
pub mod tensor;
pub mod ttnn;
pub mod verify;
pub mod walk;
pub mod weight;

pub use card::{Arch, Card};
pub use cores::{CoreRange, Cores};
pub use defect::{Defect, Invariant, Place};
pub use op::{Op, Ref};
pub use plan::*;
pub use program::{ComputeKernel, Fidelity, MatmulProgram, Unary};
pub use scalar::Scalar;
pub use tensor::{DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};
pub use verify::{Verified, verify};
pub use weight::{Source, Weight};
