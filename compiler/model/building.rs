//! The state of reading a model file: values, statements and spans, which the steps of reading fill in and check.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use indexmap::IndexMap;

use super::reader::Reader;
use super::{Quantization, Statement};
use crate::graph::{Role, Section, ValueType, WeightRef};

/// The types of a value in decode and in prefill. `None` after a mistake, so that one mistake is not reported twice.
pub(super) type Types = Option<[ValueType; 2]>;

/// The place of an operation in the file.
pub(super) struct Spot {
    /// Its name.
    pub span: Range<usize>,
    /// The names of `from`, in order.
    pub inputs: Vec<Range<usize>>,
}

/// A value after its definition.
pub(super) struct Defined {
    pub types: Types,
    pub span: Range<usize>,
    pub section: Section,
    pub used: bool,
}

/// The values of the file, and the model as far as it has been built.
pub(super) struct Building<'a> {
    pub reader: Reader<'a>,
    pub values: IndexMap<String, Defined>,
    pub statements: Vec<Statement>,
    pub names: HashSet<String>,
    /// Where each statement stands, by its name.
    pub spots: HashMap<String, Spot>,
    /// The parts of each tensor that operations bind, with their roles.
    pub weights: HashMap<String, Vec<(WeightRef, Role)>>,
    /// The blocks that were read.
    pub blocks: HashSet<String>,
    /// `(name inside, name outside)` of the residual stream at a layer's end.
    pub carried: Option<(String, Range<usize>)>,
    pub layers: Option<usize>,
    pub context: Option<usize>,
    pub quantization: Quantization,
    /// The section in which values that are read at this point must have been defined.
    pub section: Section,
    /// The number of mistakes noted that do not affect the graph.
    pub harmless: usize,
    /// Whether part of the file was left unread. Values that seem unused may be used there.
    pub incomplete: bool,
    /// Whether whole blocks were left unread.
    pub incomplete_graph: bool,
}
