//! The report of `bitnetc ttnn info`: the interpreter, and the figures that TT-NN gives for a card.

use std::fmt;
use std::path::PathBuf;

use bitnetc_plan::Memory;
use serde::Serialize;

use crate::card::CardKind;
use crate::environment::PythonEnv;
use crate::error::TtnnError;
use crate::open_card::{CardOptions, MemoryView, OpenCard};

/// The interpreter and one card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Info {
    /// The `python` executable.
    pub python: PathBuf,
    /// Its version.
    pub python_version: (u32, u32),
    /// The library that is loaded.
    pub libpython: PathBuf,
    /// Version of TT-NN.
    pub ttnn: String,
    /// The card that was opened.
    pub card: String,
    /// TT-NN's name of the chip.
    pub arch: String,
    /// Columns and rows of worker cores.
    pub grid: (u32, u32),
    /// DRAM banks.
    pub dram_banks: u32,
    /// One DRAM bank.
    pub dram: MemoryView,
    /// One worker core's L1.
    pub l1: MemoryView,
    /// Address at which circular buffers start.
    pub l1_base: u64,
    /// First address past what tensors may take: TT-NN's "max L1 size".
    pub l1_end: u64,
}

/// Opens `card`, asks and closes.
///
/// # Errors
/// The card does not open; see [`OpenCard::open`].
pub fn info(env: &PythonEnv, card: CardKind) -> Result<Info, TtnnError> {
    let device = OpenCard::open(env, card.clone(), CardOptions::default())?;
    let (l1_base, l1_end) = device.l1_range();
    let info = Info {
        python: env.executable.clone(),
        python_version: env.version,
        libpython: env.libpython.clone(),
        ttnn: env.ttnn.clone(),
        card: card.to_string(),
        arch: device.arch()?,
        grid: device.grid(),
        dram_banks: device.dram_banks(),
        dram: device.memory_view(Memory::Dram)?,
        l1: device.memory_view(Memory::L1)?,
        l1_base,
        l1_end,
    };
    device.close()?;
    Ok(info)
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.python_version;
        writeln!(f, "python       {} (Python {major}.{minor})", self.python.display())?;
        writeln!(f, "libpython    {}", self.libpython.display())?;
        writeln!(f, "ttnn         {}", self.ttnn)?;
        writeln!(f, "card         {} ({})", self.card, self.arch)?;
        writeln!(f, "worker grid  {}x{}", self.grid.0, self.grid.1)?;
        writeln!(f, "DRAM         {} banks of {} bytes", self.dram_banks, grouped(self.dram.size))?;
        writeln!(f, "L1 per core  {} bytes free of {}", grouped(self.l1.free), grouped(self.l1.size))?;
        write!(f, "             circular buffers start at {}, max L1 {}", grouped(self.l1_base), grouped(self.l1_end))
    }
}

/// `1393312` as `1,393,312`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped_from_the_right() {
        assert_eq!(
            ["7", "512", "1,024", "1,393,312"],
            [7, 512, 1024, 1_393_312].map(grouped).each_ref().map(String::as_str)
        );
    }
}
