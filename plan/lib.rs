//! The contract between compiler and runtime: a plan is a complete schedule of TT-NN calls for one model on one card.
//!
//! The compiler writes plans, the runtime executes them, and neither knows the other. So everything that both have to agree on is here:
//! the types of a plan and its file formats, the calls TT-NN accepts, the addresses its allocator gives, and a check of all of it.
//! Most readers start at [`Plan`]; [`verify()`] says in full what makes one sound.
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | the plan: phases, steps, values, buffers, predicted costs |
//! | [`op`] | the calls: one declaration for each op, and what follows from it |
//! | [`program`] | program configs, compute kernel config, fused elementwise functions |
//! | [`kernels`] | sources of bitnetc's own kernels |
//! | [`tensor`], [`cores`] | shapes, data types, layouts, memory configs, core sets |
//! | [`padding`] | zeros that make widths whole tiles, and how they pass through a phase |
//! | [`weight`], [`scalar`] | constant tensors and constants that depend on weight scales |
//! | [`card`] | the card a plan is for |
//! | [`release`] | the release of TT-NN a plan is for, and what it fixes |
//! | [`ttnn`] | the op rules: what TT-NN accepts, returns and takes of L1 |
//! | [`allocator`] | a model of TT-NN's allocators of L1 and DRAM, which give the addresses |
//! | [`walk`] | phases replayed on that model: where each tensor lies at each step |
//! | [`mod@verify`] | every invariant of a plan, checked without the compiler |
//! | [`profile`] | which program of a run was which step, and how long it took |
//! | [`defect`] | what is wrong with a plan, and where |
//! | [`function`] | what a phase computes, whatever way it is computed |
//! | [`mod@format`] | RON and binary files |

pub mod allocator;
pub mod card;
mod chunk;
pub mod cores;
pub mod defect;
pub mod folder;
pub mod format;
pub mod function;
pub mod input;
pub mod kernels;
pub mod op;
pub mod padding;
pub mod plan;
pub mod profile;
pub mod program;
pub mod release;
pub mod scalar;
pub mod tensor;
pub mod ttnn;
pub mod units;
pub mod verify;
pub mod walk;
pub mod weight;

pub use card::{Arch, Card};
pub use cores::{CoreRange, Cores};
pub use defect::{Defect, Invariant, Place};
pub use op::{Op, Ref};
pub use padding::Padding;
pub use plan::*;
pub use profile::Profile;
pub use program::{ComputeKernel, Fidelity, Fingerprint, MatmulProgram, TernaryProgram, Unary};
pub use release::TtnnRelease;
pub use scalar::Scalar;
pub use tensor::{DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};
pub use verify::{Verified, VerifiedPlan, verify};
pub use weight::{Source, Weight};
