//! Checks against the answers that TT-NN gave on the mock n150 and p150.

use super::*;
use crate::op::Ref;
use crate::program::{ComputeKernel, Fidelity};
use crate::ttnn::mock::{integers, n150, p150, refusal};

struct Case {
    card: Card,
    heads: (u32, u32),
    head_dim: u32,
    rows: u32,
    chunks: (u32, u32),
    /// Blocks of the page table.
    pages: u32,
    q: DType,
    kv: DType,
    fp32: bool,
}

/// BitNet 2B-4T's heads on the whole card, caches in blocks of 64.
fn bitnet(card: Card, rows: u32, chunks: (u32, u32)) -> Case {
    Case { card, heads: (20, 5), head_dim: 128, rows, chunks, pages: 64, q: DType::Bf16, kv: DType::Bfp8, fp32: false }
}

impl Case {
    fn args(&self) -> Sdpa {
        let [q, k_cache, v_cache, pages, start] = ["q", "k", "v", "p", "s"].map(|n| Ref::Value(n.into()));
        Sdpa {
            q,
            k_cache,
            v_cache,
            pages,
            start,
            scale: 0.1.into(),
            program: SdpaProgram { grid: self.card.grid, q_chunk: self.chunks.0, k_chunk: self.chunks.1 },
            compute: ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc: self.fp32, packer_l1_acc: false },
            memory: MemoryConfig::DRAM,
        }
    }

    fn tensors(&self) -> [TensorSpec; 5] {
        let q = TensorSpec::tile([1, self.heads.0, self.rows, self.head_dim], self.q, MemoryConfig::DRAM);
        let cache = TensorSpec::tile([256, self.heads.1, 64, self.head_dim], self.kv, MemoryConfig::DRAM);
        [q, cache.clone(), cache, integers([1, self.pages]), integers([1])]
    }

    fn check_with(&self, change: impl FnOnce(&mut [TensorSpec; 5])) -> Answer {
        let mut tensors = self.tensors();
        change(&mut tensors);
        check(&self.args(), &tensors.each_ref(), &self.card)
    }

    fn check(&self) -> Answer {
        self.check_with(|_| {})
    }
}

#[test]
fn bytes_are_the_mocks() {
    for card in [n150(), p150()] {
        let b = |rows, chunks| bitnet(card.clone(), rows, chunks);
        for (case, bytes) in [
            (b(128, (64, 64)), 172_352),
            (Case { fp32: true, ..b(128, (64, 64)) }, 170_304),
            (Case { pages: 8, ..b(128, (64, 64)) }, 172_128),
            (Case { pages: 128, ..b(128, (64, 64)) }, 172_608),
            (Case { pages: 128, ..b(1024, (128, 128)) }, 318_016),
            (Case { pages: 128, fp32: true, ..b(1024, (128, 128)) }, 365_120),
            (b(2048, (256, 512)), 928_064),
            (Case { kv: DType::Bf16, ..b(128, (64, 64)) }, 203_072),
            (Case { pages: 8, head_dim: 32, kv: DType::Bf16, ..b(128, (64, 64)) }, 79_968),
            (b(32, (32, 32)), 81_216),
            (b(96, (32, 96)), 120_128),
            (b(96, (64, 64)), 172_352),
            (b(100, (32, 32)), 89_408),
            (Case { q: DType::Bfp8, ..b(128, (64, 64)) }, 141_632),
        ] {
            let outcome = case.check().unwrap();
            assert_eq!(outcome.circular_buffers, bytes, "{:?} {} {:?}", case.rows, case.head_dim, case.chunks);
            assert_eq!(outcome.outputs, case.tensors()[..1]);
        }
    }
}

#[test]
fn refusals_are_tt_nns() {
    let b = |chunks| bitnet(n150(), 128, chunks);
    for (case, said) in [
        (b((0, 32)), "q_chunk_size must be a positive multiple of TILE_SIZE"),
        (b((32, 48)), "k_chunk_size must be a positive multiple of TILE_SIZE"),
        (Case { heads: (21, 5), ..b((64, 64)) }, "Got Q: 21, K: 5"),
        (Case { heads: (5, 20), ..b((64, 64)) }, "Got Q: 5, K: 20"),
        (Case { head_dim: 100, ..b((64, 64)) }, "Padding is not supported on the head_dim dimension"),
        (Case { q: DType::F32, ..b((64, 64)) }, "must be BFLOAT16, BFLOAT8_B, or BFLOAT4_B and is f32"),
        (Case { pages: 12, ..b((64, 64)) }, "page table stick size must be a multiple of 32"),
        (Case { pages: 8, rows: 1024, ..b((64, 64)) }, "Got K: 512, Q: 1024"),
    ] {
        let refused = refusal(case.check());
        assert!(refused.contains(said), "{refused}");
    }
    let case = b((64, 64));
    let refused = |change: fn(&mut [TensorSpec; 5])| refusal(case.check_with(change));
    assert!(refused(|t| t[2].shape[2] = 32).contains("K page size must match V page size"));
    assert!(refused(|t| t[1..3].iter_mut().for_each(|c| c.shape[3] = 64)).contains("hidden dim must match"));
    assert!(refused(|t| t[3].shape[0] = 2).contains("Batch size between page_table"));
    assert!(refused(|t| t[4].dtype = DType::U32).contains("chunk_start_idx tensor must be int32"));
    assert!(refused(|t| t[4].shape = vec![2]).contains("must have shape [1]"));
}
