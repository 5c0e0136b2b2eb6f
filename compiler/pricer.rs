//! Prices of single calls outside any plan. A call written by hand is checked by the same rules and priced by the same cost functions as
//! the steps of a plan; experiments and tests compare schedules with it that the compiler would not choose.

use bitnetc_plan::op::Matmul;
use bitnetc_plan::ttnn::{Outcome, Violation, check};
use bitnetc_plan::{ComputeKernel, Cores, Cost, DType, MatmulProgram, MemoryConfig, Op, Ref, TILE, TensorSpec};

use crate::graph::PhaseKind;
use crate::schedule::Schedule;
use crate::target::Target;
use crate::ttnn::matmul::divisors;
use crate::ttnn::placements::dram_sharded;
use crate::ttnn::{Context, cost};

/// Prices calls for a card.
pub struct Pricer<'a> {
    target: &'a Target,
    schedule: Schedule,
    position: u32,
}

/// A projection of one tile of rows: `[32, 32 * inner] x [32 * inner, 32 * columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projection {
    /// Tiles of K.
    pub inner: u32,
    /// Tiles of N.
    pub columns: u32,
    /// Data type of the weight.
    pub weight: DType,
    /// Fidelity and sums.
    pub compute: ComputeKernel,
}

impl<'a> Pricer<'a> {
    /// Prices calls on `target`, attention at `position`.
    pub fn new(target: &'a Target, position: u32) -> Self {
        Pricer { target, schedule: Schedule::default(), position }
    }

    /// The card.
    pub fn target(&self) -> &'a Target {
        self.target
    }

    /// The position at which it prices attention.
    pub fn position(&self) -> u32 {
        self.position
    }

    fn context(&self) -> Context<'_> {
        let phase = PhaseKind::Decode { batch: 1 };
        Context { target: self.target, schedule: &self.schedule, phase, position: self.position, everything: false }
    }

    /// A call that TT-NN accepts.
    ///
    /// # Errors
    /// The constraints that the call breaks.
    pub fn legal(&self, op: impl Into<Op>, operands: &[&TensorSpec]) -> Result<Cost, Vec<Violation>> {
        let op = op.into();
        let outcome = check(&op, operands, &self.target.card)?;
        Ok(cost::cost(&op, operands, &outcome, &self.context()))
    }

    /// The cost of a call to which TT-NN's answer is known.
    pub fn answered(&self, op: &Op, operands: &[&TensorSpec], outcome: &Outcome) -> Cost {
        cost::cost(op, operands, outcome, &self.context())
    }

    /// The cost of a call of one program, without checking that it is legal.
    pub fn priced(&self, op: impl Into<Op>, operands: &[&TensorSpec], output: TensorSpec) -> Cost {
        let outcome = Outcome { outputs: vec![output], programs: 1, ..Outcome::default() };
        cost::cost(&op.into(), operands, &outcome, &self.context())
    }

    /// A DRAM-sharded matmul from `cores` cores with a K-block of `in0_block_w` tiles and a number of readers per bank.
    ///
    /// # Errors
    /// The constraints that the call breaks.
    pub fn dram_sharded(
        &self,
        p: Projection,
        cores: u32,
        in0_block_w: u32,
        readers: u32,
    ) -> Result<Cost, Vec<Violation>> {
        let card = &self.target.card;
        let per_core_n = p.columns.div_ceil(cores);
        let a = MemoryConfig::width(Cores::row_major(cores, card.grid), [TILE, p.inner / cores.max(1) * TILE]);
        let out = Cores::row_major(p.columns.div_ceil(per_core_n), card.grid);
        let program = MatmulProgram::DramSharded { in0_block_w, per_core_m: 1, per_core_n, activation: None, readers };
        let weight = dram_sharded([p.inner * TILE, p.columns * TILE], p.weight, card.dram.banks);
        let op = matmul(program, p.compute, MemoryConfig::width(out, [TILE, per_core_n * TILE]));
        self.legal(op, &[&row(p.inner, a), &weight])
    }

    /// A 1D multicast matmul over the whole grid with its weight interleaved in DRAM, with the longest K-block up to 8 that fits L1.
    ///
    /// # Errors
    /// The constraints that the call breaks with a K-block of one tile.
    pub fn interleaved(&self, p: Projection) -> Result<Cost, Vec<Violation>> {
        let card = &self.target.card;
        let per_core_n = p.columns.div_ceil(card.cores().max(1));
        let most = if p.compute.fp32_dest_acc { 4 } else { 8 };
        let subblock = divisors(per_core_n).find(|w| *w <= most).unwrap_or(1);
        let weight = TensorSpec::tile(vec![1, 1, p.inner * TILE, p.columns * TILE], p.weight, MemoryConfig::DRAM);
        let mut refused = Vec::new();
        for in0_block_w in divisors(p.inner).filter(|b| *b <= 8) {
            let program = MatmulProgram::Multicast1D {
                grid: card.grid,
                in0_block_w,
                out_subblock: (1, subblock),
                per_core_m: 1,
                per_core_n,
                activation: None,
            };
            match self
                .legal(matmul(program, p.compute, MemoryConfig::DRAM), &[&row(p.inner, MemoryConfig::DRAM), &weight])
            {
                Ok(cost) => return Ok(cost),
                Err(violations) => refused = violations,
            }
        }
        Err(refused)
    }
}

/// The first violation as text.
pub fn first_violation(violations: Vec<Violation>) -> String {
    violations.first().map_or_else(String::new, ToString::to_string)
}

/// `[1, 1, 32, 32 * tiles]` bf16.
pub fn row(tiles: u32, memory: MemoryConfig) -> TensorSpec {
    TensorSpec::tile(vec![1, 1, TILE, tiles * TILE], DType::Bf16, memory)
}

/// A placeholder for an operand whose spec is given beside the call.
pub fn operand() -> Ref {
    Ref::Value(String::new())
}

/// A matmul of two operands whose specs are given beside the call.
pub fn matmul(program: MatmulProgram, compute: ComputeKernel, memory: MemoryConfig) -> Matmul {
    Matmul { a: operand(), b: operand(), program, compute, dtype: DType::Bf16, memory }
}
