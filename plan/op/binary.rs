//! Sum or product of two tensors.

use serde::{Deserialize, Serialize};

use super::argument::{Argument, Field, Plain, Visit};
use super::declare::op;
use crate::{DType, MemoryConfig, Ref, Unary};

op! {
    /// `ttnn.add` or `ttnn.mul`, with elementwise functions on operands and result. A `[..,1]` operand is broadcast along columns.
    Binary = kind -> 1 {
        /// Sum or product.
        kind: BinaryKind,
        /// Left operand.
        a: Ref [writes Tensor if in_place],
        /// Right operand.
        b: Ref [reads Tensor],
        /// Applied to `a` first.
        a_activations: Vec<Unary>,
        /// Applied to `b` first.
        b_activations: Vec<Unary>,
        /// Applied to the result.
        activations: Vec<Unary>,
        /// Data type of the result.
        dtype: DType,
        /// Where the result goes.
        into: Destination,
    }
}

impl Binary {
    /// True when the result replaces the left operand.
    pub const fn in_place(&self) -> bool {
        match self.into {
            Destination::InPlace => true,
            Destination::New(_) => false,
        }
    }
}

/// The function of a [`Binary`] call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum BinaryKind {
    /// `ttnn.add`.
    Add,
    /// `ttnn.mul`.
    Mul,
}

impl BinaryKind {
    /// The call's name.
    pub const fn call(self) -> &'static str {
        match self {
            BinaryKind::Add => "add",
            BinaryKind::Mul => "mul",
        }
    }
}

/// Where a [`Binary`] call writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Destination {
    /// A new tensor.
    New(MemoryConfig),
    /// `output_tensor=a`: over the left operand, whose spec the result has. The step has no output of its own.
    InPlace,
}

impl Field for BinaryKind {}

impl Plain for BinaryKind {
    fn visit<'a>(&'a self, name: &'static str, visit: &mut Visit<'_, 'a>) {
        visit(name, Argument::Choice);
    }
}

impl Field for Destination {}

impl Plain for Destination {
    fn visit<'a>(&'a self, name: &'static str, visit: &mut Visit<'_, 'a>) {
        match self {
            Destination::New(memory) => visit(name, Argument::Memory(memory)),
            Destination::InPlace => visit(name, Argument::Choice),
        }
    }
}
