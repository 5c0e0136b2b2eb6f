//! The bytes of a GGUF header, read one after the other and never past their end.
//!
//! Lengths that a file claims are believed only as far as the file reaches: nothing is reserved for more than there is.

use std::ops::Range;

/// The longest name of a key or tensor; ggml's own limit for tensors is 64.
const LONGEST_NAME: usize = 4096;
/// Arrays within arrays.
const DEEPEST: u32 = 4;

/// Why a header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    /// It goes on beyond the file's end.
    Short {
        /// Bytes it would take.
        want: u64,
    },
    /// Anything else.
    Wrong(String),
}

/// The type of a metadata value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

/// A metadata value. Arrays are kept as where they lie: a vocabulary is read when it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    Array { kind: Kind, len: usize, bytes: Range<usize> },
}

/// Reads `bytes` from `at` on.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let want = (self.at as u64).saturating_add(count as u64);
        let taken = taken.ok_or(Broken::Short { want })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub fn u32(&mut self) -> Result<u32, Broken> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Broken> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of things that take at least `least` bytes each.
    pub fn count(&mut self, least: usize) -> Result<usize, Broken> {
        let count = self.u64()?;
        let want = count.saturating_mul(least as u64).saturating_add(self.at as u64);
        if want > self.bytes.len() as u64 { Err(Broken::Short { want }) } else { Ok(count as usize) }
    }

    pub fn text(&mut self) -> Result<&'a str, Broken> {
        let start = self.at;
        let length = self.count(1)?;
        std::str::from_utf8(self.take(length)?)
            .map_err(|_| Broken::Wrong(format!("the text at byte {start} is not UTF-8")))
    }

    pub fn name(&mut self) -> Result<String, Broken> {
        let start = self.at;
        match self.text()? {
            name if name.len() <= LONGEST_NAME => Ok(name.to_string()),
            long => Err(Broken::Wrong(format!("the name at byte {start} has {} bytes", long.len()))),
        }
    }

    pub fn kind(&mut self) -> Result<Kind, Broken> {
        let at = self.at;
        Ok(match self.u32()? {
            0 => Kind::U8,
            1 => Kind::I8,
            2 => Kind::U16,
            3 => Kind::I16,
            4 => Kind::U32,
            5 => Kind::I32,
            6 => Kind::F32,
            7 => Kind::Bool,
            8 => Kind::Text,
            9 => Kind::Array,
            10 => Kind::U64,
            11 => Kind::I64,
            12 => Kind::F64,
            other => return Err(Broken::Wrong(format!("{other} at byte {at} is no type of a value"))),
        })
    }

    pub fn value(&mut self, kind: Kind) -> Result<Value, Broken> {
        Ok(match kind {
            Kind::U8 => Value::Unsigned(self.array::<1>()?[0].into()),
            Kind::I8 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            Kind::U16 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            Kind::I16 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            Kind::U32 => Value::Unsigned(self.u32()?.into()),
            Kind::I32 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            Kind::F32 => Value::Float(shortest(f32::from_le_bytes(self.array()?))),
            Kind::Bool => Value::Bool(self.array::<1>()?[0] != 0),
            Kind::Text => Value::Text(self.text()?.to_string()),
            Kind::Array => {
                let (kind, start, len) = (self.kind()?, self.at, self.u64()?);
                let bytes = self.at;
                self.at = start;
                self.skip_array(kind, 1)?;
                Value::Array { kind, len: len as usize, bytes: bytes..self.at }
            }
            Kind::U64 => Value::Unsigned(self.u64()?),
            Kind::I64 => Value::Signed(i64::from_le_bytes(self.array()?)),
            Kind::F64 => Value::Float(f64::from_le_bytes(self.array()?)),
        })
    }

    /// Passes over an array from its length on.
    fn skip_array(&mut self, kind: Kind, depth: u32) -> Result<(), Broken> {
        if depth > DEEPEST {
            return Err(Broken::Wrong(format!("arrays within arrays at byte {}", self.at)));
        }
        let width = match kind {
            Kind::U8 | Kind::I8 | Kind::Bool => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 => 8,
            Kind::Text => {
                for _ in 0..self.count(8)? {
                    let length = self.count(1)?;
                    self.take(length)?;
                }
                return Ok(());
            }
            Kind::Array => {
                for _ in 0..self.count(12)? {
                    let kind = self.kind()?;
                    self.skip_array(kind, depth + 1)?;
                }
                return Ok(());
            }
        };
        let count = self.count(width)?;
        self.take(count * width).map(drop)
    }
}

/// The shortest decimal that is this f32: 1e-5 and not 9.999999747378752e-6.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
