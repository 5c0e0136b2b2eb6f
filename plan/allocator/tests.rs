//! Sequences of allocations whose addresses [TT-NN](crate::release) gave on mock cards, and a naive model.

use super::*;
use crate::card::{Dram, L1};
use crate::{Arch, Cores, DType, Layout, MemoryConfig};

fn card(arch: Arch) -> Card {
    match arch {
        Arch::Wormhole => Card {
            name: "n150".into(),
            arch,
            grid: (8, 8),
            l1: L1 { base: 105_824, end: 1_499_136, alignment: 16 },
            dram: Dram { banks: 12, base: 1_048_640, bank_bytes: 1_072_693_184, alignment: 32, readers_per_bank: 1 },
        },
        Arch::Blackhole => Card {
            name: "p150".into(),
            arch,
            grid: (11, 10),
            l1: L1 { base: 111_744, end: 1_572_864, alignment: 16 },
            dram: Dram { banks: 8, base: 1_048_704, bank_bytes: 4_277_141_376, alignment: 64, readers_per_bank: 3 },
        },
    }
}

/// A line of a recorded sequence: `free ADDRESS`, or `DTYPE LAYOUT KIND SHAPE [CORES SHARD] -> ADDRESS BYTES`, or `... -> oom FREE LARGEST`.
fn parse(line: &str, memory: Memory, card: &Card) -> (TensorSpec, String) {
    let (left, right) = line.split_once(" -> ").unwrap();
    let words: Vec<&str> = left.split(' ').collect();
    let numbers = |text: &str| -> Vec<u32> { text.split('x').map(|n| n.parse().unwrap()).collect() };
    let dtype = match words[0] {
        "bf16" => DType::Bf16,
        "bfp8" => DType::Bfp8,
        "bfp4" => DType::Bfp4,
        "f32" => DType::F32,
        "u32" => DType::U32,
        "i32" => DType::I32,
        other => panic!("{other}"),
    };
    let layout = if words[1] == "tile" { Layout::Tile } else { Layout::RowMajor };
    let memory = match (words[2], memory) {
        ("I", memory) => MemoryConfig::Interleaved(memory),
        (_, Memory::Dram) => {
            let shard = numbers(words[5]);
            MemoryConfig::dram_width(card.dram.banks, [shard[0], shard[1]])
        }
        (kind, Memory::L1) => {
            let cores = Cores::row_major(words[4].parse().unwrap(), card.grid);
            let shard = numbers(words[5]);
            let make = if kind == "W" { MemoryConfig::width } else { MemoryConfig::height };
            make(cores, [shard[0], shard[1]])
        }
    };
    (TensorSpec { shape: numbers(words[3]), dtype, layout, memory }, right.to_owned())
}

fn replay(recorded: &str, memory: Memory, card: &Card) -> (usize, usize) {
    let mut allocator = Allocator::new(memory, card);
    let (mut placed, mut refused) = (0, 0);
    for (number, line) in recorded.lines().enumerate() {
        if let Some(address) = line.strip_prefix("free ") {
            assert!(allocator.free(address.parse().unwrap()), "line {number}: {line}");
            continue;
        }
        let (spec, answer) = parse(line, memory, card);
        let before = allocator.free_bytes();
        match answer.strip_prefix("oom ") {
            Some(figures) => {
                let error = allocator.allocate(&spec).unwrap_err();
                let got = format!("{} {}", error.free, error.largest);
                assert_eq!(got, figures, "line {number}: {line}");
                refused += 1;
            }
            None => {
                let address = allocator.allocate(&spec).unwrap_or_else(|e| panic!("line {number}: {line}: {e}"));
                let took = before - allocator.free_bytes();
                assert_eq!(format!("{address} {took}"), answer, "line {number}: {line}");
                assert_eq!(took, bytes_per_bank(&spec, card));
                placed += 1;
            }
        }
    }
    (placed, refused)
}

#[test]
fn wormhole_addresses_are_tt_nns() {
    for (recorded, memory) in [(include_str!("n150.txt"), Memory::L1), (include_str!("n150-dram.txt"), Memory::Dram)] {
        let (placed, refused) = replay(recorded, memory, &card(Arch::Wormhole));
        assert!(placed > 60 && refused > 3, "{placed} placed, {refused} refused");
    }
}

#[test]
fn blackhole_addresses_are_tt_nns() {
    for (recorded, memory) in [(include_str!("p150.txt"), Memory::L1), (include_str!("p150-dram.txt"), Memory::Dram)] {
        let (placed, refused) = replay(recorded, memory, &card(Arch::Blackhole));
        assert!(placed > 60 && refused > 3, "{placed} placed, {refused} refused");
    }
}

#[test]
fn dram_bytes_per_bank_are_tt_nns() {
    let weight = |card: &Card, k: u32, n: u32, dtype| {
        let shard = n.next_multiple_of(32 * card.dram.banks) / card.dram.banks;
        TensorSpec::tile([1, 1, k, n], dtype, MemoryConfig::dram_width(card.dram.banks, [k, shard]))
    };
    let tile = |shape: [u32; 4], dtype| TensorSpec::tile(shape, dtype, MemoryConfig::DRAM);
    let rows = |shape: &[u32], dtype| TensorSpec::row_major(shape, dtype, MemoryConfig::DRAM);
    let (wh, bh) = (card(Arch::Wormhole), card(Arch::Blackhole));
    for (spec, wormhole, blackhole) in [
        (tile([128, 5, 64, 128], DType::Bfp8), 464_576, 696_320),
        (tile([1, 1, 32, 2560], DType::Bf16), 14_336, 20_480),
        (tile([1, 1, 100, 96], DType::Bfp4), 576, 1152),
        (rows(&[32, 16], DType::I32), 192, 256),
        (rows(&[1, 5], DType::I32), 32, 64),
        (rows(&[1, 1, 131_072, 128], DType::Bf16), 2_796_288, 4_194_304),
        (rows(&[128_256, 2560], DType::Bf16), 54_722_560, 82_083_840),
    ] {
        assert_eq!(bytes_per_bank(&spec, &wh), wormhole, "{spec}");
        assert_eq!(bytes_per_bank(&spec, &bh), blackhole, "{spec}");
    }
    for (k, n, dtype, wormhole, blackhole) in [
        (2560, 3840, DType::Bfp4, 460_800, 691_200),
        (2560, 3840, DType::Bfp8, 870_400, 1_305_600),
        (2560, 6912, DType::Bfp8, 1_566_720, 2_350_080),
        (6912, 2560, DType::Bfp4, 870_912, 1_244_160),
    ] {
        assert_eq!(bytes_per_bank(&weight(&wh, k, n, dtype), &wh), wormhole, "{k}x{n}");
        assert_eq!(bytes_per_bank(&weight(&bh, k, n, dtype), &bh), blackhole, "{k}x{n}");
    }
}

/// An allocator with one flag for each unit of alignment: slow, but simple enough to be right at a glance.
struct Naive {
    memory: Memory,
    taken: Vec<bool>,
    base: u64,
    unit: u64,
}

impl Naive {
    /// The highest place that fits is the top of the highest range that fits, and the lowest the bottom of the lowest.
    fn allocate(&mut self, bytes: u64) -> Option<u64> {
        let need = usize::try_from(bytes.max(1).div_ceil(self.unit)).unwrap();
        let mut places = 0..=self.taken.len().checked_sub(need)?;
        let holds = |s: &usize| !self.taken[*s..s + need].contains(&true);
        let start = match self.memory {
            Memory::L1 => places.rev().find(holds),
            Memory::Dram => places.find(holds),
        }?;
        self.taken[start..start + need].fill(true);
        Some(self.base + start as u64 * self.unit)
    }

    fn free(&mut self, address: u64, bytes: u64) {
        let start = usize::try_from((address - self.base) / self.unit).unwrap();
        let need = usize::try_from(bytes.max(1).div_ceil(self.unit)).unwrap();
        self.taken[start..start + need].fill(false);
    }
}

#[test]
fn agrees_with_a_naive_model() {
    let mut card = card(Arch::Blackhole);
    card.l1.end = card.l1.base + 64 * 300;
    (card.dram.base, card.dram.bank_bytes) = (card.l1.base, 64 * 300);
    for (seed, memory) in (0..40u64).flat_map(|seed| [(seed, Memory::L1), (seed, Memory::Dram)]) {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = move |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let mut model = Allocator::new(memory, &card);
        let mut naive = Naive { memory, taken: vec![false; 300], base: card.l1.base, unit: 64 };
        let mut live: Vec<(u64, u64)> = Vec::new();
        for _ in 0..300 {
            if !live.is_empty() && random(100) < 45 {
                let (address, bytes) = live.swap_remove(usize::try_from(random(live.len() as u64)).unwrap());
                assert!(model.free(address));
                naive.free(address, bytes);
            } else {
                let bytes = random(64 * 40);
                let (got, want) = (model.allocate_bytes(bytes).ok(), naive.allocate(bytes));
                assert_eq!(got, want);
                live.extend(got.map(|address| (address, bytes)));
            }
            let taken = naive.taken.iter().filter(|&&t| t).count() as u64;
            assert_eq!(model.free_bytes(), 64 * (300 - taken));
            assert_eq!(model.lowest(), live.iter().map(|&(address, _)| address).min());
            assert_eq!(model.live(), live.len());
        }
    }
}

#[test]
fn a_full_l1_refuses_and_stays_as_it_was() {
    let card = card(Arch::Wormhole);
    let mut allocator = Allocator::new(Memory::L1, &card);
    assert_eq!(allocator.allocate_bytes(card.l1_bytes()), Ok(card.l1.base));
    let full = allocator.clone();
    assert_eq!(allocator.allocate_bytes(1), Err(OutOfMemory { asked: 32, free: 0, largest: 0 }));
    assert_eq!(allocator, full);
    assert!(!allocator.free(card.l1.base + 32));
    assert!(allocator.free(card.l1.base));
    assert_eq!(allocator, Allocator::new(Memory::L1, &card));
}
