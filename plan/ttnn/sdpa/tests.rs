//! Checks against the answers that TT-NN gave on the mock n150 and p150.

use super::*;
use crate::MemoryConfig;
use crate::op::Ref;
use crate::program::{ComputeKernel, Fidelity};
use crate::ttnn::mock::{n150, p150, refusal};

struct Case {
    card: Card,
    heads: (u32, u32),
    head_dim: u32,
    rows: u32,
    chunks: (u32, u32),
    grid: (u32, u32),
    kv: DType,
    fp32: bool,
}

/// BitNet 2B-4T's heads on the whole card, all bf16.
fn bitnet(card: Card, rows: u32, chunks: (u32, u32)) -> Case {
    let grid = card.grid;
    Case { card, heads: (20, 5), head_dim: 128, rows, chunks, grid, kv: DType::Bf16, fp32: false }
}

impl Case {
    fn args(&self) -> Sdpa {
        let [q, k, v] = ["q", "k", "v"].map(|n| Ref::Value(n.into()));
        Sdpa {
            q,
            k,
            v,
            scale: 0.1.into(),
            program: SdpaProgram { grid: self.grid, q_chunk: self.chunks.0, k_chunk: self.chunks.1 },
            compute: ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc: self.fp32, packer_l1_acc: false },
            memory: MemoryConfig::DRAM,
        }
    }

    fn tensors(&self) -> [TensorSpec; 3] {
        let tensor = |heads, dtype| TensorSpec::tile([1, heads, self.rows, self.head_dim], dtype, MemoryConfig::DRAM);
        [tensor(self.heads.0, DType::Bf16), tensor(self.heads.1, self.kv), tensor(self.heads.1, self.kv)]
    }

    fn check(&self) -> Answer {
        check(&self.args(), &self.tensors().each_ref(), &self.card)
    }
}

#[test]
fn wormhole_bytes_are_the_mocks() {
    let b = |rows, chunks| bitnet(n150(), rows, chunks);
    for (case, bytes) in [
        (b(128, (64, 64)), 202_752),
        (b(1024, (32, 32)), 104_448),
        (b(1024, (64, 128)), 276_480),
        (b(1024, (128, 128)), 378_880),
        (b(1024, (256, 512)), 1_173_504),
        (b(1024, (96, 96)), 288_768),
        (b(1024, (160, 32)), 301_056),
        (b(1024, (32, 160)), 243_712),
        (b(32, (32, 32)), 96_256),
        (b(64, (32, 32)), 104_448),
        (b(128, (128, 128)), 346_112),
        (b(256, (128, 128)), 378_880),
        (Case { head_dim: 32, ..b(1024, (64, 64)) }, 79_872),
        (Case { head_dim: 96, ..b(1024, (128, 128)) }, 305_152),
        (Case { head_dim: 160, ..b(1024, (64, 64)) }, 223_232),
        (Case { head_dim: 256, ..b(1024, (64, 64)) }, 366_592),
        (Case { kv: DType::Bfp8, ..b(1024, (128, 128)) }, 317_440),
        (Case { kv: DType::Bfp4, ..b(1024, (128, 128)) }, 284_672),
        (Case { fp32: true, ..b(1024, (128, 128)) }, 425_984),
        (Case { fp32: true, ..b(1024, (32, 256)) }, 358_400),
        (Case { fp32: true, head_dim: 96, ..b(1024, (128, 128)) }, 352_256),
    ] {
        let outcome = case.check().unwrap();
        assert_eq!(outcome.circular_buffers, bytes, "{:?} {} {:?}", case.rows, case.head_dim, case.chunks);
        assert_eq!(outcome.outputs, case.tensors()[..1]);
    }
}

#[test]
fn blackhole_bytes_are_the_mocks() {
    let b = |rows, chunks| bitnet(p150(), rows, chunks);
    for (case, bytes) in [
        (b(128, (64, 64)), 202_848),
        (b(1024, (128, 64)), 329_856),
        (b(1024, (128, 128)), 444_544),
        (b(1024, (256, 128)), 583_680),
        (b(1024, (96, 96)), 288_768),
        (b(1024, (64, 96)), 239_712),
        (b(1024, (32, 160)), 243_712),
        (b(128, (128, 128)), 346_112),
        (b(256, (128, 128)), 444_544),
        (Case { grid: (8, 4), ..b(1024, (128, 128)) }, 444_544),
        (Case { grid: (4, 4), ..b(1024, (128, 128)) }, 378_880),
        (Case { kv: DType::Bfp8, ..b(1024, (128, 128)) }, 352_384),
        (Case { fp32: true, ..b(1024, (128, 128)) }, 491_648),
        (Case { fp32: true, kv: DType::Bfp8, grid: (8, 8), ..b(1000, (128, 128)) }, 364_544),
        (Case { head_dim: 256, ..b(1024, (128, 128)) }, 804_992),
    ] {
        let outcome = case.check().unwrap();
        assert_eq!(outcome.circular_buffers, bytes, "{:?} {} {:?}", case.rows, case.head_dim, case.chunks);
    }
}

#[test]
fn refusals_are_tt_nns() {
    let b = |chunks| bitnet(n150(), 1024, chunks);
    for (case, said) in [
        (b((0, 32)), "q_chunk_size must be a positive multiple of TILE_SIZE"),
        (b((32, 48)), "k_chunk_size must be a positive multiple of TILE_SIZE"),
        (Case { heads: (21, 5), ..b((64, 64)) }, "Got Q: 21, K: 5"),
        (Case { heads: (5, 20), ..b((64, 64)) }, "Got Q: 5, K: 20"),
        (Case { head_dim: 100, ..b((64, 64)) }, "Padding is not supported on the head_dim dimension"),
        (Case { kv: DType::F32, ..b((64, 64)) }, "must be BFLOAT16, BFLOAT8_B, or BFLOAT4_B and is f32"),
        (Case { grid: (9, 8), ..b((64, 64)) }, "must not contain more cores than the device"),
    ] {
        let refused = refusal(case.check());
        assert!(refused.contains(said), "{refused}");
    }
    let case = b((64, 64));
    let [q, mut k, v] = case.tensors();
    k.shape[2] = 2048;
    let answer = check(&case.args(), &[&q, &k, &v], &case.card);
    assert!(refusal(answer).contains("Got Q: 1024, K: 2048"));
    // 512 x 512 takes more L1 than there is; the dispatcher says so.
    let call = crate::Op::Sdpa(b((512, 512)).args());
    let large = b((512, 512)).tensors();
    let refused = refusal(crate::ttnn::check(&call, &large.each_ref(), &n150()));
    assert!(refused.contains("grow to 1885536 B which is beyond max L1 size of 1499136 B"), "{refused}");
}
