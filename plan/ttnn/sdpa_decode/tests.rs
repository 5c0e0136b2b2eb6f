//! Checks against the answers that TT-NN gave on the mock n150 and p150.

use super::*;
use crate::op::Ref;
use crate::program::{ComputeKernel, Fidelity, SdpaProgram};
use crate::ttnn::mock::{integers, n150, p150, refusal, users};

struct Case {
    card: Card,
    batch: u32,
    heads: (u32, u32),
    head_dim: u32,
    block: u32,
    per: u32,
    grid: (u32, u32),
    chunk: u32,
    dtype: DType,
    fp32: bool,
}

/// BitNet 2B-4T on the whole card: 16 blocks of 64 rows, chunks of 128, bfp8 caches.
fn bitnet(card: Card, batch: u32) -> Case {
    let grid = card.grid;
    Case {
        card,
        batch,
        heads: (20, 5),
        head_dim: 128,
        block: 64,
        per: 16,
        grid,
        chunk: 128,
        dtype: DType::Bfp8,
        fp32: false,
    }
}

impl Case {
    fn args(&self) -> SdpaDecode {
        let [q, k_cache, v_cache, positions, page_table] =
            ["q", "k", "v", "pos", "table"].map(|n| Ref::Value(n.into()));
        SdpaDecode {
            q,
            k_cache,
            v_cache,
            positions,
            page_table,
            scale: 0.1.into(),
            program: SdpaProgram { grid: self.grid, q_chunk: 0, k_chunk: self.chunk },
            compute: ComputeKernel { fidelity: Fidelity::HiFi2, fp32_dest_acc: self.fp32, packer_l1_acc: false },
            memory: MemoryConfig::L1,
        }
    }

    fn tensors(&self) -> [TensorSpec; 5] {
        let shape = [self.batch * self.per, self.heads.1, self.block, self.head_dim];
        let cache = TensorSpec::tile(shape, self.dtype, MemoryConfig::DRAM);
        let mut q = users(&self.card, 0, self.batch, self.heads.0, self.head_dim);
        q.memory = MemoryConfig::height(Cores::row_major(self.batch, self.grid), [32, self.head_dim]);
        [q, cache.clone(), cache, integers([self.batch]), integers([self.batch, self.per])]
    }

    fn check(&self) -> Answer {
        self.check_with(&self.tensors())
    }

    fn check_with(&self, tensors: &[TensorSpec; 5]) -> Answer {
        check(&self.args(), &tensors.each_ref(), &self.card)
    }
}

#[test]
fn bytes_are_the_mocks() {
    let b = bitnet;
    for (case, bytes) in [
        (b(n150(), 1), 307_328),
        (b(n150(), 2), 233_600),
        (b(n150(), 4), 196_736),
        (b(n150(), 5), 184_448),
        (b(n150(), 8), 172_160),
        (b(n150(), 12), 172_224),
        (Case { grid: (8, 4), ..b(n150(), 32) }, 172_352),
        (Case { grid: (8, 1), ..b(n150(), 8) }, 172_160),
        (Case { chunk: 0, ..b(n150(), 8) }, 258_176),
        (Case { chunk: 0, fp32: true, ..b(n150(), 8) }, 172_160),
        (Case { chunk: 32, ..b(n150(), 8) }, 107_648),
        (Case { chunk: 1024, ..b(n150(), 8) }, 774_272),
        (Case { head_dim: 32, ..b(n150(), 8) }, 76_928),
        (Case { head_dim: 96, ..b(n150(), 8) }, 140_416),
        (Case { head_dim: 256, ..b(n150(), 8) }, 299_136),
        (Case { heads: (16, 16), ..b(n150(), 1) }, 144_512),
        (Case { heads: (16, 16), ..b(n150(), 8) }, 126_080),
        (Case { heads: (32, 8), ..b(n150(), 1) }, 258_176),
        (Case { heads: (32, 32), ..b(n150(), 1) }, 184_448),
        (Case { heads: (12, 4), ..b(n150(), 8) }, 132_224),
        (Case { heads: (17, 1), ..b(n150(), 8) }, 258_176),
        (Case { dtype: DType::Bf16, ..b(n150(), 8) }, 233_600),
        (Case { dtype: DType::Bfp4, ..b(n150(), 8) }, 139_392),
        (Case { block: 32, per: 4096, ..b(n150(), 1) }, 323_648),
        (b(p150(), 1), 356_544),
        (b(p150(), 2), 295_104),
        (b(p150(), 8), 184_512),
        (b(p150(), 16), 172_224),
        (Case { heads: (8, 4), ..b(p150(), 1) }, 218_304),
        (Case { heads: (8, 4), ..b(p150(), 32) }, 126_272),
        (Case { heads: (15, 5), ..b(p150(), 8) }, 132_288),
        (Case { head_dim: 256, ..b(p150(), 8) }, 319_680),
        (Case { block: 32, per: 64, ..b(p150(), 1) }, 356_736),
    ] {
        let got =
            case.check().unwrap_or_else(|e| panic!("B{} {:?} on {}: {e:?}", case.batch, case.heads, case.card.name));
        assert_eq!(
            got.circular_buffers, bytes,
            "B{} {:?} {} on {}",
            case.batch, case.heads, case.head_dim, case.card.name
        );
        let (batch, heads, head_dim) = (case.batch, case.heads.0, case.head_dim);
        assert_eq!(got.outputs, [TensorSpec::tile([1, batch, heads, head_dim], DType::Bf16, MemoryConfig::L1)]);
    }
}

#[test]
fn refusals_are_tt_nns() {
    for (case, said) in [
        (Case { grid: (7, 1), ..bitnet(n150(), 8) }, "Cores available (7) must be >= batch size (8)"),
        (Case { grid: (9, 4), ..bitnet(n150(), 8) }, "outside the worker grid 8x8"),
        (Case { chunk: 96, ..bitnet(n150(), 8) }, "must be power of 2, got: 96"),
        (Case { heads: (21, 5), ..bitnet(n150(), 8) }, "multiple of K heads, but got 21 and 5"),
    ] {
        let refused = refusal(case.check());
        assert!(refused.contains(said), "{refused}");
    }
    let case = bitnet(n150(), 8);
    let change = |at: usize, edit: fn(&mut TensorSpec)| {
        let mut tensors = case.tensors();
        edit(&mut tensors[at]);
        refusal(case.check_with(&tensors))
    };
    assert!(change(0, |q| q.memory = MemoryConfig::L1).contains("must be DRAM when not sharded but got L1"));
    assert!(change(0, |q| q.dtype = DType::Bfp8).contains("GQA expects BFLOAT16"));
    assert!(change(3, |p| p.dtype = DType::U32).contains("INT32"));
    assert!(change(4, |t| t.dtype = DType::U32).contains("INT32"));
    assert!(change(3, |p| p.shape = vec![7]).contains("should match batch size (8)"));
    assert!(change(4, |t| t.shape = vec![7, 16]).contains("must match"));
    let mut sharded = case.args();
    sharded.memory = case.tensors()[0].memory.clone();
    let answer = check(&sharded, &case.tensors().each_ref(), &case.card);
    assert!(refusal(answer).contains("Sharded output not supported for GQA"));
    let mut dram = case.tensors();
    dram[0].memory = MemoryConfig::DRAM;
    assert!(case.check_with(&dram).is_ok());
}

/// TT-NN takes these and gives wrong results.
#[test]
fn silent_mistakes_are_refused() {
    // 4 cores per user and 5 kv heads: two heads on each of two cores.
    let left_out = refusal(Case { ..bitnet(n150(), 16) }.check());
    assert!(left_out.contains("make 2 of 5 kv heads per core"), "{left_out}");
    // q as laid out on the whole 8x8 grid, attention on a 4x4 one.
    let case = Case { grid: (4, 4), ..bitnet(n150(), 8) };
    let mut tensors = case.tensors();
    tensors[0].memory = MemoryConfig::height(Cores::row_major(8, (8, 8)), [32, 128]);
    assert!(refusal(case.check_with(&tensors)).contains("user i is read from core i of the 4x4 grid"));
    // Several users to a shard, which TT-NN takes too.
    tensors[0].memory = MemoryConfig::height(Cores::row_major(2, (4, 4)), [128, 128]);
    let broken = case.check_with(&tensors).unwrap_err();
    assert!(broken.iter().all(|v| v.is_narrower()), "{broken:?}");
    assert!(broken.iter().any(|v| v.what().contains("shards of 128x128")), "{broken:?}");
    let beyond = Case { per: 1, ..bitnet(n150(), 8) };
    assert!(refusal(beyond.check()).contains("must be multiple of chunk size, got: 64 and 128"));
}

#[test]
fn splits() {
    let split = |cores, users, kv_heads| Split::of(cores, users, kv_heads);
    assert_eq!(split(64, 1, 5), Some(Split { cores_per_head: 12, heads_per_core: 1 }));
    assert_eq!(split(110, 1, 5), Some(Split { cores_per_head: 16, heads_per_core: 1 }));
    assert_eq!(split(64, 32, 5), Some(Split { cores_per_head: 1, heads_per_core: 3 }));
    assert_eq!(split(32, 32, 5), Some(Split { cores_per_head: 1, heads_per_core: 5 }));
    assert_eq!(split(64, 16, 8), Some(Split { cores_per_head: 1, heads_per_core: 2 }));
    assert_eq!(split(31, 32, 5), None);
    assert_eq!(split(64, 0, 5), None);
    assert_eq!(split(64, 8, 0), None);
}
