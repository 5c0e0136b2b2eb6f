//! The random choices that generators share.

use bitnetc_plan::{Card, ComputeKernel, Cores, DType, Fidelity, Layout, MemoryConfig, TILE, TensorSpec};
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Columns of activations: hidden and feed-forward sizes of models.
pub(super) const WIDTHS: [u32; 14] =
    [640, 768, 1024, 1536, 1728, 2048, 2560, 3072, 3200, 4096, 6912, 8192, 11008, 14336];

/// A seeded source of choices for one card.
pub(in super::super) struct Dice<'a> {
    rng: ChaCha8Rng,
    pub card: &'a Card,
}

impl<'a> Dice<'a> {
    /// The same seed and stream make the same choices.
    pub fn new(seed: u64, stream: u64, card: &'a Card) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Dice { rng, card }
    }

    /// True this often.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        self.rng.random_range(low..=high.max(low))
    }

    /// One of several; `from` is not empty.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from.choose(&mut self.rng).unwrap_or(&from[0]).clone()
    }

    /// A divisor of `n` that is at most `most`.
    pub fn divisor(&mut self, n: u32, most: u32) -> u32 {
        let all: Vec<u32> = (1..=n.min(most).max(1)).filter(|d| n.is_multiple_of(*d)).collect();
        self.pick(&all)
    }

    /// `count` cores: a rectangle anywhere, or the first row by row.
    pub fn cores(&mut self, count: u32) -> Cores {
        let (columns, rows) = self.card.grid;
        let shapes: Vec<(u32, u32)> = (1..=columns.min(count))
            .filter(|w| count.is_multiple_of(*w) && count / w <= rows)
            .map(|w| (w, count / w))
            .collect();
        if shapes.is_empty() || self.chance(0.4) {
            return Cores::row_major(count, self.card.grid);
        }
        let (width, height) = self.pick(&shapes);
        let (x, y) = match self.chance(0.7) {
            true => (0, 0),
            false => (self.between(0, columns - width), self.between(0, rows - height)),
        };
        Cores::rectangle(x, y, width, height)
    }

    /// A width-sharded placement in L1 of `rows` x `columns`; mostly with equal shards.
    pub fn width_shards(&mut self, rows: u32, columns: u32) -> MemoryConfig {
        let tiles = columns.div_ceil(TILE);
        let mut width = tiles / self.divisor(tiles, self.card.cores());
        if self.chance(0.08) {
            width = self.between(tiles.div_ceil(self.card.cores()), tiles);
        }
        let cores = self.cores(tiles.div_ceil(width));
        MemoryConfig::width(cores, [rows.next_multiple_of(TILE), width * TILE])
    }

    /// A height-sharded placement in L1 of a tiled tensor of this shape, mostly with equal shards.
    pub fn height_shards(&mut self, shape: &[u32]) -> MemoryConfig {
        let spec = TensorSpec::tile(shape, DType::Bf16, MemoryConfig::DRAM);
        let tiles = u32::try_from(spec.tile_rows()).unwrap_or(u32::MAX);
        let mut height = tiles / self.divisor(tiles, self.card.cores());
        if self.chance(0.05) {
            height = self.between(tiles.div_ceil(self.card.cores()), tiles);
        }
        let cores = self.cores(tiles.div_ceil(height));
        MemoryConfig::height(cores, [height * TILE, spec.columns().next_multiple_of(TILE)])
    }

    /// `[1, users, heads, head_dim]` bf16, one user per core row by row, after the `first` cores.
    pub fn users(&mut self, first: u32, users: u32, heads: u32, head_dim: u32) -> TensorSpec {
        let cores = Cores::row_major_from(first, users, self.card.grid);
        let shard = [heads.next_multiple_of(TILE), head_dim.next_multiple_of(TILE)];
        TensorSpec::tile([1, users, heads, head_dim], DType::Bf16, MemoryConfig::height(cores, shard))
    }

    /// A placement of any kind for a tiled tensor of this shape.
    pub fn placement(&mut self, shape: &[u32]) -> MemoryConfig {
        let rows = shape.iter().rev().skip(1).product::<u32>();
        match self.between(0, 3) {
            0 => MemoryConfig::DRAM,
            1 => MemoryConfig::L1,
            2 if rows <= 16 * TILE && shape[..shape.len() - 2].iter().all(|&d| d == 1) => {
                self.width_shards(rows, shape[shape.len() - 1])
            }
            _ => self.height_shards(shape),
        }
    }

    /// L1 or DRAM, interleaved.
    pub fn interleaved(&mut self) -> MemoryConfig {
        self.pick(&[MemoryConfig::DRAM, MemoryConfig::DRAM, MemoryConfig::L1])
    }

    /// Mostly bf16, sometimes bfp8 or f32.
    pub fn activations(&mut self) -> DType {
        self.pick(&[DType::Bf16, DType::Bf16, DType::Bf16, DType::Bf16, DType::Bf16, DType::Bfp8, DType::F32])
    }

    /// A format of weights.
    pub fn weights(&mut self) -> DType {
        self.pick(&[DType::Bfp8, DType::Bfp4, DType::Bf16])
    }

    /// Any compute kernel config.
    pub fn compute(&mut self) -> ComputeKernel {
        ComputeKernel {
            fidelity: self.pick(&[Fidelity::LoFi, Fidelity::HiFi2, Fidelity::HiFi4]),
            fp32_dest_acc: self.chance(0.4),
            packer_l1_acc: self.chance(0.6),
        }
    }

    /// Rows of a decode batch.
    pub fn batch_rows(&mut self) -> u32 {
        let any = self.between(1, 32);
        self.pick(&[1, 8, 32, 32, 32, any])
    }

    /// Heads, kv heads and head size of a model, a shipped one or another, sometimes of none.
    pub fn heads(&mut self) -> (u32, u32, u32) {
        const MODELS: [(u32, u32, u32); 18] = [
            (20, 5, 128),
            (16, 2, 128),
            (20, 5, 32),
            (16, 16, 96),
            (32, 32, 128),
            (32, 8, 128),
            (8, 4, 256),
            (12, 4, 256),
            (32, 8, 64),
            (32, 32, 96),
            (8, 2, 128),
            (30, 6, 64),
            (24, 8, 128),
            (40, 10, 128),
            (48, 12, 128),
            (64, 8, 64),
            (71, 1, 64),
            (64, 8, 128),
        ];
        let (mut heads, mut kv_heads, head_dim) = self.pick(&MODELS);
        if self.chance(0.1) {
            heads = self.between(1, 140);
        }
        if self.chance(0.1) {
            kv_heads = self.between(1, 40);
        }
        (heads, kv_heads, head_dim)
    }

    /// One in twelve times, changes one operand: its data type, layout, placement or a side.
    pub fn spoil(&mut self, operands: &mut [TensorSpec]) {
        if operands.is_empty() || !self.chance(1.0 / 12.0) {
            return;
        }
        let at = self.between(0, operands.len() as u32 - 1) as usize;
        let spec = &mut operands[at];
        match self.between(0, 4) {
            0 => spec.dtype = self.pick(&[DType::Bf16, DType::Bfp8, DType::Bfp4, DType::F32, DType::U32, DType::I32]),
            1 => {
                spec.layout = if spec.layout == Layout::Tile { Layout::RowMajor } else { Layout::Tile };
                if spec.memory.is_sharded() {
                    spec.memory = MemoryConfig::DRAM;
                }
            }
            2 => spec.memory = self.pick(&[MemoryConfig::L1, MemoryConfig::DRAM]),
            3 => spec.memory = if spec.shape.len() > 1 { self.placement(&spec.shape) } else { MemoryConfig::L1 },
            _ => {
                let side = self.between(0, spec.shape.len() as u32 - 1) as usize;
                spec.shape[side] = self.pick(&[1, spec.shape[side] + 1, spec.shape[side] + 32, spec.shape[side] * 2]);
            }
        }
    }
}

/// A tensor of decode or of prefill, anywhere.
pub(super) fn tensor(dice: &mut Dice<'_>) -> TensorSpec {
    let shape = match dice.between(0, 9) {
        0 | 1 => {
            let (heads, _, head_dim) = dice.heads();
            vec![1, dice.pick(&[1, 2, 8, 32]), heads, head_dim]
        }
        2 => vec![1, 1, dice.pick(&[64, 128, 512]), dice.pick(&WIDTHS[..6])],
        _ => vec![1, 1, dice.batch_rows(), dice.pick(&WIDTHS)],
    };
    let memory = dice.placement(&shape);
    TensorSpec::tile(shape, dice.activations(), memory)
}
