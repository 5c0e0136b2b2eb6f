//! The arguments of a call as what they are, whatever op they belong to.
//!
//! Generic code does not look at ops but at their arguments: [`Op::arguments`](super::Op::arguments) shows each of them, and a check or
//! a printer matches on [`Argument`]. A field's type decides which argument it is; only operands need a role beside it.

use super::role::{Access, Role, Use};
use super::{Ref, Scalar};
use crate::program::{ComputeKernel, Fingerprint, MatmulProgram, NormProgram, SdpaProgram, TernaryProgram, Unary};
use crate::{Cores, DType, Layout, MemoryConfig};

/// One argument of a call.
#[derive(Debug, Clone, Copy)]
pub enum Argument<'a> {
    /// A tensor.
    Operand(Use<'a>),
    /// A number above 0 that may depend on weight scales: an epsilon, a factor of scores.
    Scalar(&'a Scalar),
    /// Elementwise functions, applied in order.
    Functions(&'a [Unary]),
    /// Fidelity and accumulation of the matrix unit.
    Compute(ComputeKernel),
    /// Program config of a matrix product.
    MatmulProgram(&'a MatmulProgram),
    /// Program config of a product by two-bit weights.
    TernaryProgram(TernaryProgram),
    /// Program config of a norm.
    NormProgram(NormProgram),
    /// Program config of attention. A chunk of 0 leaves the choice to TT-NN's kernels.
    SdpaProgram(SdpaProgram),
    /// Placement of the results.
    Memory(&'a MemoryConfig),
    /// Cores to run on.
    Cores(&'a Cores),
    /// A number of heads.
    Count(u32),
    /// Logical shape of the result.
    Shape(&'a [u32]),
    /// Two dimensions of a tensor, from 0.
    Dimensions(u32, u32),
    /// Rows or columns from the first to before the second.
    Range(u32, u32),
    /// One of a few: a data type, a layout, a flag.
    Choice,
}

/// A part of a call that may be changed without making it another call.
#[derive(Debug)]
pub enum Slot<'a> {
    /// The name of an operand.
    Operand(&'a mut Ref),
    /// A number that may depend on weight scales.
    Scalar(&'a mut Scalar),
}

/// Receives the name and the meaning of each argument.
pub type Visit<'v, 'a> = dyn FnMut(&'static str, Argument<'a>) + 'v;

/// The type of any field of a call's arguments.
pub(super) trait Field {
    /// Shows what may be changed: nothing, for most types.
    fn slots<'a>(&'a mut self, _visit: &mut dyn FnMut(Slot<'a>)) {}
}

/// The type of a field that says by itself which argument it is.
pub(super) trait Plain: Field {
    /// Shows the argument, or nothing when it is left out.
    fn visit<'a>(&'a self, name: &'static str, visit: &mut Visit<'_, 'a>);
}

/// One operand, or several with one role.
pub(super) trait Operands: Field {
    /// Shows each operand.
    fn visit<'a>(&'a self, name: &'static str, role: Role, access: Access, visit: &mut Visit<'_, 'a>);
}

impl Field for Ref {
    fn slots<'a>(&'a mut self, visit: &mut dyn FnMut(Slot<'a>)) {
        visit(Slot::Operand(self));
    }
}

impl Operands for Ref {
    fn visit<'a>(&'a self, name: &'static str, role: Role, access: Access, visit: &mut Visit<'_, 'a>) {
        visit(name, Argument::Operand(Use { tensor: self, role, access }));
    }
}

impl Field for Vec<Ref> {
    fn slots<'a>(&'a mut self, visit: &mut dyn FnMut(Slot<'a>)) {
        self.iter_mut().for_each(|operand| operand.slots(visit));
    }
}

impl Operands for Vec<Ref> {
    fn visit<'a>(&'a self, name: &'static str, role: Role, access: Access, visit: &mut Visit<'_, 'a>) {
        self.iter().for_each(|operand| operand.visit(name, role, access, visit));
    }
}

impl Field for Scalar {
    fn slots<'a>(&'a mut self, visit: &mut dyn FnMut(Slot<'a>)) {
        visit(Slot::Scalar(self));
    }
}

impl Field for Vec<Unary> {
    fn slots<'a>(&'a mut self, visit: &mut dyn FnMut(Slot<'a>)) {
        self.iter_mut().filter_map(Unary::scalar_mut).for_each(|scalar| visit(Slot::Scalar(scalar)));
    }
}

/// The types whose arguments hold nothing that may be changed.
macro_rules! plain {
    ($($type:ty: $field:ident => $argument:expr;)*) => {
        $(
            impl Field for $type {}
            plain!(only $type: $field => $argument;);
        )*
    };
    ($(only $type:ty: $field:ident => $argument:expr;)*) => {
        $(impl Plain for $type {
            fn visit<'a>(&'a self, name: &'static str, visit: &mut Visit<'_, 'a>) {
                let $field = self;
                visit(name, $argument);
            }
        })*
    };
}

plain! {
    only Scalar: scalar => Argument::Scalar(scalar);
    only Vec<Unary>: functions => Argument::Functions(functions);
}

plain! {
    ComputeKernel: compute => Argument::Compute(*compute);
    MatmulProgram: program => Argument::MatmulProgram(program);
    TernaryProgram: program => Argument::TernaryProgram(*program);
    SdpaProgram: program => Argument::SdpaProgram(*program);
    MemoryConfig: memory => Argument::Memory(memory);
    Cores: cores => Argument::Cores(cores);
    u32: count => Argument::Count(*count);
    Vec<u32>: shape => Argument::Shape(shape);
    (u32, u32): dims => Argument::Dimensions(dims.0, dims.1);
    DType: _choice => Argument::Choice;
    Layout: _choice => Argument::Choice;
    bool: _choice => Argument::Choice;
    Fingerprint: _choice => Argument::Choice;
}

impl Field for Option<NormProgram> {}

impl Plain for Option<NormProgram> {
    fn visit<'a>(&'a self, name: &'static str, visit: &mut Visit<'_, 'a>) {
        self.iter().for_each(|program| visit(name, Argument::NormProgram(*program)));
    }
}
