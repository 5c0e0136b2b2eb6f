//! The calls that measured schedules are made of, priced one by one.

use bitnetc_plan::op::{
    ArgMax, Binary, BinaryKind, CacheUpdate, CacheUpdateOne, ConcatHeadsDecode, CreateHeadsDecode, Destination,
    Embedding, PlusOne, RmsNorm, RotaryDecode, RotaryFused, SdpaDecode, ToLayout, ToMemoryConfig,
};
use bitnetc_plan::program::{NormProgram, SdpaProgram, Unary};
use bitnetc_plan::ttnn::Violation;
use bitnetc_plan::{ComputeKernel, Cores, Cost, DType, Fidelity, Layout, MemoryConfig, Scalar, TILE, TensorSpec};

use bitnetc_compiler::pricer::{Pricer, operand, row};
use bitnetc_compiler::ttnn::cost::argmax_us;
use bitnetc_compiler::ttnn::matmul::divisors;

/// The grid of cores on which the measured schedules keep heads.
pub const HEADS_GRID: (u32, u32) = (8, 8);

/// The heads of the users of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Users, one to a core.
    pub users: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Columns of a head.
    pub head_dim: u32,
}

impl Heads {
    fn memory(&self) -> MemoryConfig {
        MemoryConfig::height(Cores::row_major(self.users, HEADS_GRID), [TILE, self.head_dim])
    }

    fn spec(&self, count: u32) -> TensorSpec {
        TensorSpec::tile(vec![1, self.users, count, self.head_dim], DType::Bf16, self.memory())
    }

    fn cache(&self, dtype: DType, position: u32) -> TensorSpec {
        let blocks = self.users * (position + 1).div_ceil(TILE);
        TensorSpec::tile(vec![blocks, self.kv_heads, TILE, self.head_dim], dtype, MemoryConfig::DRAM)
    }

    /// Positions or the page table.
    fn ids(&self) -> TensorSpec {
        TensorSpec::row_major(vec![self.users], DType::I32, MemoryConfig::DRAM)
    }
}

/// The fidelity of calls for which no schedule states one. The cost of these calls does not depend on it.
const COMPUTE: ComputeKernel = ComputeKernel { fidelity: Fidelity::HiFi2, fp32_dest_acc: false, packer_l1_acc: false };

/// Single calls, priced one by one.
pub struct Parts<'a> {
    /// Prices them.
    pub pricer: Pricer<'a>,
}

impl Parts<'_> {
    /// A tile of rows in width shards on a number of cores.
    pub fn width(&self, tiles: u32, cores: u32) -> MemoryConfig {
        MemoryConfig::width(
            Cores::row_major(cores, self.pricer.target().card.grid),
            [TILE, tiles / cores.max(1) * TILE],
        )
    }

    /// A norm of `tiles` tiles of columns on a number of cores, or interleaved in DRAM when that is 0.
    ///
    /// # Errors
    /// The constraints that the call breaks.
    pub fn norm(&self, tiles: u32, cores: u32) -> Result<Cost, Vec<Violation>> {
        let block_w = tiles / cores.max(1);
        let program = (cores > 0).then(|| NormProgram {
            grid: Cores::row_major(cores, self.pricer.target().card.grid).extent(),
            subblock_w: divisors(block_w).find(|s| *s <= 4).unwrap_or(1),
            block_h: 1,
            block_w,
        });
        let memory = if cores > 0 { self.width(tiles, cores) } else { MemoryConfig::DRAM };
        let op = RmsNorm {
            input: operand(),
            gamma: operand(),
            epsilon: Scalar::from(1e-5),
            program,
            compute: ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc: true, packer_l1_acc: true },
            memory: memory.clone(),
        };
        let gamma = TensorSpec::tile(vec![1, 1, 1, tiles * TILE], DType::Bf16, MemoryConfig::DRAM);
        self.pricer.legal(op, &[&row(tiles, memory), &gamma])
    }

    /// A reshard, or a change between sharded and interleaved L1.
    pub fn moved(&self, from: MemoryConfig, to: MemoryConfig, tiles: u32) -> Cost {
        let op = ToMemoryConfig { input: operand(), memory: to.clone() };
        self.pricer.priced(op, &[&row(tiles, from)], row(tiles, to))
    }

    /// The head split of a fused projection.
    pub fn create_heads(&self, of: &Heads) -> Cost {
        let fused = row((of.heads + 2 * of.kv_heads) * of.head_dim / TILE, MemoryConfig::L1);
        let split = CreateHeadsDecode {
            input: operand(),
            heads: of.heads,
            kv_heads: of.kv_heads,
            overlap: false,
            memory: of.memory(),
        };
        self.pricer.priced(split, &[&fused], of.spec(of.heads))
    }

    /// Rotation of q or of k.
    pub fn rotate(&self, of: &Heads) -> Cost {
        let op = RotaryDecode { input: operand(), cos: operand(), sin: operand(), trans: operand(), compute: COMPUTE };
        let table = of.spec(1);
        self.pricer.priced(op, &[&of.spec(of.heads), &table, &table, &table], of.spec(of.heads))
    }

    /// Rotation of both.
    pub fn rotate_fused(&self, of: &Heads) -> Cost {
        let op = RotaryFused {
            q: operand(),
            k: operand(),
            cos: operand(),
            sin: operand(),
            trans: operand(),
            compute: COMPUTE,
        };
        let (table, q, k) = (of.spec(1), of.spec(of.heads), of.spec(of.kv_heads));
        self.pricer.priced(op, &[&q, &k, &table, &table, &table], q.clone())
    }

    /// Keys or values into their cache.
    pub fn cache_one(&self, of: &Heads, dtype: DType, position: u32) -> Cost {
        let op = CacheUpdateOne { cache: operand(), input: operand(), positions: operand(), page_table: operand() };
        let (cache, keys, ids) = (of.cache(dtype, position), of.spec(of.kv_heads), of.ids());
        self.pricer.priced(op, &[&cache, &keys, &ids, &ids], keys.clone())
    }

    /// Keys and values into their caches.
    pub fn cache_both(&self, of: &Heads, dtype: DType, position: u32) -> Cost {
        let op = CacheUpdate {
            k_cache: operand(),
            k: operand(),
            v_cache: operand(),
            v: operand(),
            positions: operand(),
            page_table: operand(),
        };
        let (cache, keys, ids) = (of.cache(dtype, position), of.spec(of.kv_heads), of.ids());
        self.pricer.priced(op, &[&cache, &keys, &cache, &keys, &ids, &ids], keys.clone())
    }

    /// Attention at the pricer's position, on a grid, so many keys at a time.
    pub fn attention(&self, of: &Heads, dtype: DType, grid: (u32, u32), k_chunk: u32) -> Cost {
        let op = SdpaDecode {
            q: operand(),
            k_cache: operand(),
            v_cache: operand(),
            positions: operand(),
            page_table: operand(),
            scale: Scalar::from(1.0),
            program: SdpaProgram { grid, q_chunk: 0, k_chunk },
            compute: COMPUTE,
            memory: MemoryConfig::L1,
        };
        let (q, cache, ids) = (of.spec(of.heads), of.cache(dtype, self.pricer.position()), of.ids());
        let out = TensorSpec { memory: MemoryConfig::L1, ..q.clone() };
        self.pricer.priced(op, &[&q, &cache, &cache, &ids, &ids], out)
    }

    /// Attention's result from interleaved memory into a shard per user.
    pub fn attention_to_shards(&self, of: &Heads) -> Cost {
        self.moved(MemoryConfig::L1, of.memory(), of.head_dim / TILE)
    }

    /// A reshard of the result of attention.
    pub fn reshard_heads(&self, of: &Heads) -> Cost {
        self.moved(of.memory(), of.memory(), of.head_dim / TILE)
    }

    /// The heads joined.
    pub fn concat_heads(&self, of: &Heads) -> Cost {
        let cores = Cores::row_major(of.heads, HEADS_GRID);
        let shards = MemoryConfig::width(cores.clone(), [TILE, of.head_dim]);
        let out = row(of.heads * of.head_dim / TILE, shards);
        let op = ConcatHeadsDecode { input: operand(), heads: of.heads, cores };
        self.pricer.priced(op, &[&of.spec(of.heads)], out)
    }

    /// Two tensors, elementwise.
    pub fn binary(&self, kind: BinaryKind, a: Vec<Unary>, tiles: u32, memory: MemoryConfig) -> Cost {
        let op = Binary {
            kind,
            a: operand(),
            b: operand(),
            a_activations: a,
            b_activations: Vec::new(),
            activations: Vec::new(),
            dtype: DType::Bf16,
            into: Destination::New(memory.clone()),
        };
        let spec = row(tiles, memory);
        self.pricer.priced(op, &[&spec, &spec], spec.clone())
    }

    /// Rows of an embedding of so many tiles of columns.
    pub fn embedding(&self, tiles: u32) -> Cost {
        let op = Embedding { indices: operand(), table: operand(), layout: Layout::Tile, memory: MemoryConfig::L1 };
        let ids = TensorSpec::row_major(vec![1, 1, 1, TILE], DType::U32, MemoryConfig::DRAM);
        let table = TensorSpec::row_major(vec![TILE, tiles * TILE], DType::Bf16, MemoryConfig::DRAM);
        self.pricer.priced(op, &[&ids, &table], row(tiles, MemoryConfig::L1))
    }

    /// Tiles to rows.
    pub fn untilize(&self, tiles: u32) -> Cost {
        let op = ToLayout { input: operand(), layout: Layout::RowMajor, memory: MemoryConfig::L1 };
        let out = TensorSpec::row_major(vec![1, 1, TILE, tiles * TILE], DType::Bf16, MemoryConfig::L1);
        self.pricer.priced(op, &[&row(tiles, MemoryConfig::L1)], out)
    }

    /// The choice of the tokens of `rows` users; on all cores that the kernel takes when `cores` is 0.
    pub fn argmax(&self, rows: u32, columns: u32, cores: u32) -> Cost {
        let logits = TensorSpec::row_major(vec![1, 1, rows, columns], DType::Bf16, MemoryConfig::DRAM);
        let token = TensorSpec::row_major(vec![1, 1, rows], DType::U32, MemoryConfig::L1);
        let op = ArgMax { input: operand(), output: operand() };
        let all = self.pricer.priced(op, &[&logits, &token], token.clone());
        if cores == 0 {
            return all;
        }
        let cost = &self.pricer.target().cost;
        Cost { us: argmax_us(&cost.argmax, rows, columns, cores) + cost.gap_us, ..all }
    }

    /// The increment of the positions.
    pub fn plus_one(&self) -> Cost {
        let ids = TensorSpec::row_major(vec![1], DType::I32, MemoryConfig::L1);
        self.pricer.priced(PlusOne { buffer: operand(), skip_negative: true }, &[&ids], ids.clone())
    }
}
