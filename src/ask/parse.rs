//! Reading a call as people write it: a Python call of TT-NN, whose operands are given by their specs.
//!
//! An operand is a name and a spec in the notation in which plans print specs, `a[1,1,32,2560] bf16 L1 WS[32,320] on 8x1`; row-major ones
//! have `RM` after the type. Memory configs may be written so too. Keywords take `=` or `:`, and `ttnn.` may be left out everywhere.

use std::ops::Range;

use bitnetc_plan::{CoreRange, Cores, DType, Layout, Memory, MemoryConfig, Strategy, TensorSpec};

/// Something that cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where in the text.
    pub span: Range<usize>,
    /// The mistake.
    pub what: String,
    /// The text that would be right.
    pub help: String,
}

impl Mistake {
    /// A mistake at `span`.
    pub fn new(span: Range<usize>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Mistake { span, what: what.into(), help: help.into() }
    }
}

/// An expression with its place in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// The kind of expression, with its parts.
    pub kind: Kind,
    /// Where it stands.
    pub span: Range<usize>,
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A number.
    Number(f64),
    /// A list or a tuple.
    List(Vec<Expr>),
    /// A name, or an attribute of `ttnn` without that prefix.
    Name(String),
    /// A memory config in plan notation.
    Memory(MemoryConfig),
    /// An operand: its name and its spec.
    Tensor(String, TensorSpec),
    /// A call.
    Call(Call),
}

/// `name(arguments, keyword=argument)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The callee without `ttnn.`.
    pub name: String,
    /// Positional arguments.
    pub args: Vec<Expr>,
    /// Keyword arguments.
    pub kwargs: Vec<(String, Expr)>,
}

/// A line: `targets = call`, of which the targets are of no matter.
///
/// # Errors
/// The first mistake.
pub fn line(text: &str, grid: (u32, u32)) -> Result<Expr, Mistake> {
    let mut reader = Reader { text, at: 0, grid, depth: 0 };
    if let Some(equals) = text.find('=').filter(|at| text.find('(').is_none_or(|open| *at < open)) {
        reader.at = equals + 1;
    }
    let expr = reader.expr()?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.expected("the end of the call"));
    }
    Ok(expr)
}

/// A spec in plan notation, without a name.
pub fn memory(text: &str, grid: (u32, u32)) -> Option<MemoryConfig> {
    let mut reader = Reader { text, at: 0, grid, depth: 0 };
    let found = reader.memory().ok()??;
    (reader.at == text.len()).then_some(found)
}

/// Most expressions inside one another. TT-NN's calls have a handful; the reader takes stack for each.
const MOST_DEPTH: u32 = 32;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    grid: (u32, u32),
    /// Expressions around the one that is read.
    depth: u32,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn takes(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn expected(&self, what: &str) -> Mistake {
        let word = self.rest().find(|c: char| !c.is_alphanumeric()).unwrap_or(self.rest().len());
        let end = self.at + word.max(self.rest().chars().next().map_or(0, char::len_utf8));
        let found = if end > self.at { format!("`{}`", &self.text[self.at..end]) } else { "the end".into() };
        Mistake::new(self.at..end, format!("found {found} where {what} should be"), "")
    }

    fn needs(&mut self, token: &str) -> Result<(), Mistake> {
        if self.takes(token) { Ok(()) } else { Err(self.expected(&format!("`{token}`"))) }
    }

    /// The word that begins here, dots and digits included; empty when none does.
    fn word(&mut self) -> &'a str {
        self.space();
        let rest = self.rest();
        let part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let first = rest.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
        let end = if first { rest.find(|c| !part(c)).unwrap_or(rest.len()) } else { 0 };
        self.at += end;
        &rest[..end]
    }

    /// The word if it is this one.
    fn keyword(&mut self, word: &str) -> bool {
        let before = self.at;
        let found = self.word() == word;
        if !found {
            self.at = before;
        }
        found
    }

    fn integer(&mut self) -> Result<u32, Mistake> {
        self.space();
        let digits = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
        // Far beyond any card, and small enough to calculate with.
        let value = self.rest()[..digits].parse().ok().filter(|n| *n <= 1 << 26);
        let value = value.ok_or_else(|| self.expected("a number up to 2^26"))?;
        self.at += digits;
        Ok(value)
    }

    fn integers(&mut self, close: &str) -> Result<Vec<u32>, Mistake> {
        let mut all = Vec::new();
        while !self.takes(close) {
            all.push(self.integer()?);
            if !self.takes(",") {
                self.needs(close)?;
                break;
            }
        }
        Ok(all)
    }

    fn expr(&mut self) -> Result<Expr, Mistake> {
        self.space();
        let start = self.at;
        if self.depth == MOST_DEPTH {
            let what = format!("more than {MOST_DEPTH} expressions inside one another");
            return Err(Mistake::new(start..start, what, ""));
        }
        self.depth += 1;
        let kind = self.kind();
        self.depth -= 1;
        Ok(Expr { kind: kind?, span: start..self.at })
    }

    fn kind(&mut self) -> Result<Kind, Mistake> {
        let start = self.at;
        match self.rest().chars().next() {
            Some('[') => {
                self.at += 1;
                let items = self.items("]")?;
                let sides: Option<Vec<u32>> = items.iter().map(side).collect();
                let typed = sides.map(|shape| self.spec(shape)).transpose()?.flatten();
                Ok(typed.map_or(Kind::List(items), |spec| Kind::Tensor("x".into(), spec)))
            }
            Some('(') => {
                self.at += 1;
                Ok(Kind::List(self.items(")")?))
            }
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+') => {
                let part = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+');
                let len = self.rest().find(|c| !part(c)).unwrap_or(self.rest().len());
                let value = self.rest()[..len].parse().map_err(|_| self.expected("a number"))?;
                self.at += len;
                Ok(Kind::Number(value))
            }
            _ => {
                if let Some(memory) = self.memory()? {
                    return Ok(Kind::Memory(memory));
                }
                let word = self.word();
                if word.is_empty() {
                    self.at = start;
                    return Err(self.expected("an argument"));
                }
                let name = word.strip_prefix("ttnn.").unwrap_or(word).to_owned();
                self.named(name)
            }
        }
    }

    /// A call, an operand, or a name alone.
    fn named(&mut self, name: String) -> Result<Kind, Mistake> {
        if self.takes("(") {
            return Ok(Kind::Call(self.call(name)?));
        }
        let before = self.at;
        if self.takes("[") {
            let shape = self.integers("]")?;
            let spec = self.spec(shape)?;
            return match spec {
                Some(spec) => Ok(Kind::Tensor(name, spec)),
                None => Err(self.expected("a data type: bf16, bfp8, bfp4, f32, u32 or i32")),
            };
        }
        self.at = before;
        Ok(Kind::Name(name))
    }

    fn items(&mut self, close: &str) -> Result<Vec<Expr>, Mistake> {
        let mut items = Vec::new();
        while !self.takes(close) {
            items.push(self.expr()?);
            if !self.takes(",") {
                self.needs(close)?;
                break;
            }
        }
        Ok(items)
    }

    fn call(&mut self, name: String) -> Result<Call, Mistake> {
        let mut call = Call { name, args: Vec::new(), kwargs: Vec::new() };
        while !self.takes(")") {
            let before = self.at;
            let word = self.word().to_owned();
            if !word.is_empty() && (self.takes("=") || self.takes(":")) {
                let value = self.expr()?;
                call.kwargs.push((word, value));
            } else {
                self.at = before;
                call.args.push(self.expr()?);
            }
            if !self.takes(",") {
                self.needs(")")?;
                break;
            }
        }
        Ok(call)
    }

    /// Reads the rest of a spec after an operand's shape; `None` when no data type follows.
    fn spec(&mut self, shape: Vec<u32>) -> Result<Option<TensorSpec>, Mistake> {
        let before = self.at;
        let Some(dtype) = dtype(self.word()) else {
            self.at = before;
            self.space();
            return Ok(None);
        };
        let layout = if self.keyword("RM") { Layout::RowMajor } else { Layout::Tile };
        let memory = self.memory()?.ok_or_else(|| self.expected("a memory: L1 or DRAM"))?;
        Ok(Some(TensorSpec { shape, dtype, layout, memory }))
    }

    /// `L1`, `DRAM`, `L1 WS[32,64] on 8x5`.
    fn memory(&mut self) -> Result<Option<MemoryConfig>, Mistake> {
        let memory = match () {
            () if self.keyword("L1") => Memory::L1,
            () if self.keyword("DRAM") => Memory::Dram,
            () => return Ok(None),
        };
        let strategy = match () {
            () if self.takes("WS[") => Strategy::Width,
            () if self.takes("HS[") => Strategy::Height,
            () => return Ok(Some(MemoryConfig::Interleaved(memory))),
        };
        let start = self.at;
        let shard = <[u32; 2]>::try_from(self.integers("]")?)
            .map_err(|_| Mistake::new(start..self.at, "a shard has rows and columns", "WS[32,64]"))?;
        if !self.keyword("on") {
            return Err(self.expected("`on` and the cores"));
        }
        let cores = self.cores()?;
        Ok(Some(MemoryConfig::Sharded { memory, strategy, cores, shard }))
    }

    /// `8x5`, `30 cores` (the first of the card), `(0,0)-(7,1)+(0,2)-(3,2)`.
    fn cores(&mut self) -> Result<Cores, Mistake> {
        if !self.takes("(") {
            let start = self.at;
            let width = self.integer()?;
            if self.takes("x") {
                let height = self.integer()?;
                return Ok(Cores::rectangle(0, 0, width, height));
            }
            if self.keyword("cores") && width <= 1 << 12 {
                return Ok(Cores::row_major(width, self.grid));
            }
            return Err(Mistake::new(start..self.at, "these are no cores", "8x5, 30 cores or (0,0)-(7,1)+(0,2)-(3,2)"));
        }
        let mut ranges = Vec::new();
        loop {
            let start = self.corner()?;
            self.needs("-")?;
            self.needs("(")?;
            let end = self.corner()?;
            ranges.push(CoreRange { start, end });
            if !self.takes("+") {
                return Ok(Cores(ranges));
            }
            self.needs("(")?;
        }
    }

    /// `0,0)`.
    fn corner(&mut self) -> Result<(u32, u32), Mistake> {
        let x = self.integer()?;
        self.needs(",")?;
        let y = self.integer()?;
        self.needs(")")?;
        Ok((x, y))
    }
}

/// A side of a shape.
fn side(expr: &Expr) -> Option<u32> {
    match expr.kind {
        Kind::Number(n) if n.fract() == 0.0 && (0.0..=f64::from(1 << 26)).contains(&n) => Some(n as u32),
        _ => None,
    }
}

/// A data type by the plan's name or TT-NN's.
pub fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "bf16" | "bfloat16" => DType::Bf16,
        "bfp8" | "bfloat8_b" => DType::Bfp8,
        "bfp4" | "bfloat4_b" => DType::Bfp4,
        "bfp2" => DType::Bfp2,
        "f32" | "float32" => DType::F32,
        "u32" | "uint32" => DType::U32,
        "i32" | "int32" => DType::I32,
        "u16" | "uint16" => DType::U16,
        _ => return None,
    })
}
