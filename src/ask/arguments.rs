//! The arguments of a call as it was written, taken one by one by the names that TT-NN gives them.

use std::ops::Range;

use bitnetc_plan::op::Kept;
use bitnetc_plan::{Cores, DType, Fidelity, Layout, MemoryConfig, Op, Ref, Scalar, TensorSpec, Unary};

use super::call::{Question, constant, dtype_of, unary};
use super::parse::{Call, Expr, Kind, Mistake};
use super::places::{core_set, sharded_config};

/// Facts that are known besides the call: the card's grid, and the tensors of a plan.
pub trait Known {
    /// Columns and rows of the card's cores.
    fn grid(&self) -> (u32, u32);
    /// The tensor that an emitted program calls so.
    fn tensor(&self, name: &str) -> Option<(Ref, TensorSpec)>;
}

/// Shorter words for some arguments.
fn also(name: &str) -> &str {
    match name {
        "compute_with_storage_grid_size" => "grid",
        "num_workers_per_dram_bank" => "readers",
        "fused_activation" => "activation",
        "compute_kernel_config" => "compute",
        other => other,
    }
}

/// The arguments not taken yet.
pub struct Arguments<'a> {
    call: &'a Call,
    span: Range<usize>,
    known: &'a dyn Known,
    positional: usize,
    taken: Vec<bool>,
    specs: Vec<(Ref, TensorSpec)>,
}

impl<'a> Arguments<'a> {
    /// All arguments of a call that stands at `span`.
    pub fn new(call: &'a Call, span: Range<usize>, known: &'a dyn Known) -> Self {
        Arguments { call, span, known, positional: 0, taken: vec![false; call.kwargs.len()], specs: Vec::new() }
    }

    /// The callee.
    pub fn name(&self) -> &'a str {
        &self.call.name
    }

    /// Columns and rows of the card's cores.
    pub fn grid(&self) -> (u32, u32) {
        self.known.grid()
    }

    /// A mistake in the call as a whole.
    pub fn mistake(&self, what: String, help: &str) -> Mistake {
        Mistake::new(self.span.clone(), what, help)
    }

    /// An argument that has no default.
    pub fn missing(&self, name: &str, help: &str) -> Mistake {
        self.mistake(format!("`{}` needs `{name}`", self.call.name), help)
    }

    fn keyword(&mut self, name: &str) -> Option<&'a Expr> {
        let names = [name, also(name)];
        let at = self.call.kwargs.iter().position(|(key, _)| names.iter().any(|n| key.eq_ignore_ascii_case(n)))?;
        self.taken[at] = true;
        let value = &self.call.kwargs[at].1;
        (value.kind != Kind::Name("None".into())).then_some(value)
    }

    fn take(&mut self, name: &str) -> Option<&'a Expr> {
        self.keyword(name).or_else(|| {
            let value = self.call.args.get(self.positional)?;
            self.positional += 1;
            Some(value)
        })
    }

    /// An argument without a default.
    pub fn need(&mut self, name: &str) -> Result<&'a Expr, Mistake> {
        self.take(name).ok_or_else(|| self.missing(name, ""))
    }

    /// Takes an argument that has no part in the answer.
    pub fn ignore(&mut self, name: &str) {
        self.take(name);
    }

    /// An operand.
    pub fn tensor(&mut self, name: &str) -> Result<Ref, Mistake> {
        let value = self.need(name)?;
        self.operand(value)
    }

    /// An operand that may be left out.
    pub fn optional_tensor(&mut self, name: &str) -> Result<Option<Ref>, Mistake> {
        self.keyword(name).map(|value| self.operand(value)).transpose()
    }

    /// A list of operands.
    pub fn tensors(&mut self, name: &str) -> Result<Vec<Ref>, Mistake> {
        let value = self.need(name)?;
        match &value.kind {
            Kind::List(items) => items.iter().map(|item| self.operand(item)).collect(),
            _ => Err(kind(value, "a list of operands")),
        }
    }

    fn operand(&mut self, value: &Expr) -> Result<Ref, Mistake> {
        let (reference, spec) = match &value.kind {
            Kind::Tensor(name, spec) => {
                let taken = |name: &str| self.specs.iter().any(|(r, s)| r.name() == name && s != spec);
                let mut name = name.clone();
                while taken(&name) {
                    name.push('_');
                }
                (Ref::Value(name), spec.clone())
            }
            Kind::Name(name) => self.known.tensor(name).ok_or_else(|| {
                let help =
                    format!("write its spec, {name}[1,1,32,2560] bf16 DRAM, or give the plan it is in with --plan");
                Mistake::new(value.span.clone(), format!("nothing is known of `{name}`"), help)
            })?,
            _ => return Err(kind(value, "an operand")),
        };
        self.specs.push((reference.clone(), spec));
        Ok(reference)
    }

    /// The spec of an operand taken before.
    pub fn spec(&self, operand: &Ref) -> Option<&TensorSpec> {
        self.specs.iter().find(|(known, _)| known == operand).map(|(_, spec)| spec)
    }

    /// Whether an optional operand is given, which has to be `other`.
    pub fn same_as(&mut self, name: &str, other: &Ref) -> Result<bool, Mistake> {
        let Some(value) = self.keyword(name) else { return Ok(false) };
        let given = match &value.kind {
            Kind::Name(name) if name == other.name() => other.clone(),
            _ => self.operand(value)?,
        };
        match given == *other {
            true => Ok(true),
            false => Err(Mistake::new(value.span.clone(), format!("`{name}` is not the first operand"), "")),
        }
    }

    /// An unsigned number.
    pub fn number(&mut self, name: &str) -> Result<u32, Mistake> {
        self.need(name).and_then(number)
    }

    /// An unsigned number with a default.
    pub fn number_or(&mut self, name: &str, default: u32) -> Result<u32, Mistake> {
        self.keyword(name).map_or(Ok(default), number)
    }

    /// A list of unsigned numbers.
    pub fn numbers(&mut self, name: &str) -> Result<Vec<u32>, Mistake> {
        let value = self.need(name)?;
        match &value.kind {
            Kind::List(items) => items.iter().map(number).collect(),
            Kind::Call(call) if call.name == "Shape" || call.name == "CoreCoord" => match call.args.as_slice() {
                [Expr { kind: Kind::List(items), .. }] => items.iter().map(number).collect(),
                items => items.iter().map(number).collect(),
            },
            _ => Err(kind(value, "numbers")),
        }
    }

    /// Two unsigned numbers, or a `CoreCoord`.
    pub fn pair(&mut self, name: &str) -> Result<(u32, u32), Mistake> {
        match *self.numbers(name)?.as_slice() {
            [x, y] => Ok((x, y)),
            _ => Err(self.mistake(format!("`{name}` is two numbers"), "(8, 8)")),
        }
    }

    /// A number with a fraction; a name of a program's own stands for one that depends on the weights.
    pub fn scalar(&mut self, name: &str, default: f64) -> Result<Scalar, Mistake> {
        match self.keyword(name) {
            None => Ok(constant(default)),
            Some(Expr { kind: Kind::Number(value), .. }) => Ok(constant(*value)),
            Some(Expr { kind: Kind::Name(_), .. }) => Ok(constant(1.0)),
            Some(value) => Err(kind(value, "a number")),
        }
    }

    /// `True` or `False`.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, Mistake> {
        match self.keyword(name) {
            None => Ok(default),
            Some(value) => match &value.kind {
                Kind::Name(word) if word.eq_ignore_ascii_case("true") => Ok(true),
                Kind::Name(word) if word.eq_ignore_ascii_case("false") => Ok(false),
                _ => Err(kind(value, "True or False")),
            },
        }
    }

    /// A flag that plans always have so.
    pub fn fixed(&mut self, name: &str, value: bool) -> Result<(), Mistake> {
        match self.flag(name, value)? == value {
            true => Ok(()),
            false => {
                let right = if value { "True" } else { "False" };
                Err(self.mistake(format!("the rules know only {name}={right}"), ""))
            }
        }
    }

    /// The last dimension.
    pub fn axis(&mut self, name: &str) -> Result<(), Mistake> {
        let Some(value) = self.keyword(name) else { return Ok(()) };
        match value.kind {
            Kind::Number(n) if n == -1.0 || n == 3.0 => Ok(()),
            _ => Err(kind(value, "-1, the last dimension")),
        }
    }

    /// A data type; that of `like` when it is left out.
    pub fn dtype(&mut self, like: Option<&Ref>) -> Result<DType, Mistake> {
        let value = if like.is_some() { self.keyword("dtype") } else { Some(self.need("dtype")?) };
        match (value, like.and_then(|operand| self.spec(operand))) {
            (None, Some(spec)) => Ok(spec.dtype),
            (None, None) => Err(self.missing("dtype", "")),
            (Some(value), _) => dtype_of(&value.kind).ok_or_else(|| kind(value, "a data type")),
        }
    }

    /// One of some names.
    pub fn one_of<T: Copy>(&mut self, name: &str, names: &[(&str, T)], default: Option<T>) -> Result<T, Mistake> {
        let value = if default.is_some() { self.keyword(name) } else { Some(self.need(name)?) };
        let known: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        match (value, default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.missing(name, &known.join(", "))),
            (Some(value), _) => {
                let found = match &value.kind {
                    Kind::Name(word) => names.iter().find(|(name, _)| word == name).map(|(_, found)| *found),
                    _ => None,
                };
                found.ok_or_else(|| kind(value, &known.join(" or ")))
            }
        }
    }

    /// `math_fidelity`.
    pub fn fidelity(&mut self) -> Result<Fidelity, Mistake> {
        let names = [
            ("MathFidelity.LoFi", Fidelity::LoFi),
            ("MathFidelity.HiFi2", Fidelity::HiFi2),
            ("MathFidelity.HiFi3", Fidelity::HiFi3),
            ("MathFidelity.HiFi4", Fidelity::HiFi4),
        ];
        self.one_of("math_fidelity", &names, Some(Fidelity::LoFi))
    }

    /// `memory_config`, without which the result lies where `like` does.
    pub fn memory_like(&mut self, like: &Ref) -> Result<MemoryConfig, Mistake> {
        let default = self.spec(like).map(|spec| spec.memory.clone());
        self.memory(default)
    }

    /// `memory_config`.
    pub fn memory(&mut self, default: Option<MemoryConfig>) -> Result<MemoryConfig, Mistake> {
        let value = if default.is_some() { self.keyword("memory_config") } else { Some(self.need("memory_config")?) };
        match (value, default) {
            (Some(value), _) => self.memory_of(value, None),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.missing("memory_config", "")),
        }
    }

    /// `memory_config`, where a sharded one means `sharded` unless shards are told.
    pub fn memory_or_sharded(&mut self, sharded: MemoryConfig) -> Result<MemoryConfig, Mistake> {
        match self.keyword("memory_config") {
            Some(value) => self.memory_of(value, Some(sharded)),
            None => Ok(MemoryConfig::DRAM),
        }
    }

    fn memory_of(&self, value: &Expr, sharded: Option<MemoryConfig>) -> Result<MemoryConfig, Mistake> {
        match (&value.kind, sharded) {
            (Kind::Memory(memory), _) => Ok(memory.clone()),
            (Kind::Name(name), _) if name == "L1_MEMORY_CONFIG" => Ok(MemoryConfig::L1),
            (Kind::Name(name), _) if name == "DRAM_MEMORY_CONFIG" => Ok(MemoryConfig::DRAM),
            (Kind::Name(name), Some(sharded)) if name == "L1_WIDTH_SHARDED_MEMORY_CONFIG" => Ok(sharded),
            (Kind::Call(call), _) if call.name == "MemoryConfig" => {
                sharded_config(call, value.span.clone(), self.known)
            }
            _ => Err(kind(value, "a memory config: DRAM, L1, L1 WS[32,320] on 8x1, or TT-NN's")),
        }
    }

    /// A set of cores: `ttnn.CoreRangeSet([...])`, or `L1 WS[..] on CORES` without the rest.
    pub fn cores(&mut self, name: &str) -> Result<Cores, Mistake> {
        core_set(self.need(name)?)
    }

    /// A nested call; `None` when it is left out.
    pub fn config(&mut self, name: &str) -> Result<Option<Arguments<'a>>, Mistake> {
        let known = self.known;
        match self.keyword(name) {
            None => Ok(None),
            Some(Expr { kind: Kind::Call(call), span }) => Ok(Some(Arguments::new(call, span.clone(), known))),
            Some(value) => Err(kind(value, "a config")),
        }
    }

    /// A list of elementwise functions.
    pub fn functions(&mut self, name: &str) -> Result<Vec<Unary>, Mistake> {
        let known = self.known;
        let Some(value) = self.keyword(name) else { return Ok(Vec::new()) };
        let Kind::List(items) = &value.kind else { return Err(kind(value, "a list of functions")) };
        let one = |item: &'a Expr| match &item.kind {
            Kind::Call(call) => Arguments::new(call, item.span.clone(), known).function(),
            _ => Err(kind(item, "UnaryWithParam(UnaryOpType.RELU)")),
        };
        items.iter().map(one).collect()
    }

    /// The function that this call of `UnaryWithParam` means.
    pub fn function(&mut self) -> Result<Unary, Mistake> {
        let mut values = Vec::new();
        let mut name = "";
        for value in &self.call.args {
            match &value.kind {
                Kind::Name(word) if name.is_empty() => name = word.strip_prefix("UnaryOpType.").unwrap_or(word),
                Kind::Number(number) => values.push(*number),
                // A number that depends on the weights.
                Kind::Name(_) => values.push(1.0),
                _ => return Err(kind(value, "a function or a number")),
            }
        }
        unary(name, &values).ok_or_else(|| self.mistake(format!("no rule for the function `{name}`"), ""))
    }

    /// The part of `input` that a slice keeps, from its two corners: columns of a row-major tensor, rows of a tiled one.
    pub fn kept(&mut self, input: &Ref) -> Result<Kept, Mistake> {
        let (start, end) = (self.need("slice_start")?, self.need("slice_end")?);
        let at = |corner: &'a Expr, dimension: usize| match &corner.kind {
            Kind::List(items) if items.len() == 4 => Ok(&items[dimension]),
            _ => Err(kind(corner, "[0, 0, row, 0], a corner of four numbers")),
        };
        if self.spec(input).is_some_and(|spec| spec.layout == Layout::RowMajor) {
            return Ok(Kept::Columns(number(at(end, 3)?)?));
        }
        Ok(Kept::Rows(number(at(start, 2)?)?, number(at(end, 2)?)?))
    }

    /// Nothing is left.
    pub fn done(&self) -> Result<(), Mistake> {
        if let Some(at) = self.taken.iter().position(|taken| !taken) {
            let (name, value) = &self.call.kwargs[at];
            let what = format!("the rules know no argument `{name}` of `{}`", self.call.name);
            return Err(Mistake::new(value.span.clone(), what, "leave it out"));
        }
        match self.call.args.get(self.positional) {
            Some(extra) if !self.call.name.ends_with("UnaryWithParam") => {
                Err(Mistake::new(extra.span.clone(), "an argument too many", "leave it out, or name it"))
            }
            _ => Ok(()),
        }
    }

    /// The question about `op`, whose operands were taken from here.
    pub fn finish(&self, op: impl Into<Op>) -> Result<Question, Mistake> {
        self.done()?;
        let op = op.into();
        let spec = |operand: &Ref| self.spec(operand).cloned().ok_or_else(|| self.missing(operand.name(), ""));
        let operands = op.operands().into_iter().map(spec).collect::<Result<_, _>>()?;
        Ok(Question { op, operands })
    }
}

/// A value of another kind than the one wanted.
pub(super) fn kind(value: &Expr, wanted: &str) -> Mistake {
    Mistake::new(value.span.clone(), format!("this should be {wanted}"), "")
}

/// A size.
pub(super) fn number(value: &Expr) -> Result<u32, Mistake> {
    match value.kind {
        Kind::Number(n) if n.fract() == 0.0 && (0.0..=f64::from(1 << 26)).contains(&n) => Ok(n as u32),
        _ => Err(kind(value, "a whole number from 0 to 2^26")),
    }
}
