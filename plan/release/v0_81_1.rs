//! TT-NN 0.81.1, as it describes mock cards (`bitnetc ttnn info`).

use super::{Chip, Spills, TtnnRelease};
use crate::card::L1;

/// The bytes of DRAM banks are those of a card that is opened without a region for traces: a trace takes free DRAM. The bytes of a program in
/// a trace are above what mock cards took for any plan that was tried: see `docs/device.md`. The largest
/// kernels, those of `sdpa_decode`, were 45 kB when compiled for the simulator.
pub(super) const RELEASE: TtnnRelease = TtnnRelease {
    version: "0.81.1",
    python: &[(3, 10), (3, 12)],
    wormhole: Chip {
        l1: L1 { base: 105_824, end: 1_499_136, alignment: 16 },
        dram_base: 1_048_640,
        bank_bytes: 1_072_693_184,
        dram_alignment: 32,
        readers_per_bank: 1,
        decode_trace_bytes: 20 << 10,
        prefill_trace_bytes: 6 << 10,
    },
    blackhole: Chip {
        l1: L1 { base: 111_744, end: 1_572_864, alignment: 16 },
        dram_base: 1_048_704,
        bank_bytes: 4_277_141_376,
        dram_alignment: 64,
        readers_per_bank: 3,
        decode_trace_bytes: 28 << 10,
        prefill_trace_bytes: 9 << 10,
    },
    // Releases before this one do neither.
    spills: Spills { reloads_fp32: true, dram_sharded_keeps_fp32: true },
    kernel_bytes: 64 << 10,
    // The first three are replaced, the others called. Tried with this release: its libraries call them through the dynamic linker.
    mock_queue: &[
        "_ZNK2tt8tt_metal6Buffer7addressEv",
        "_ZN2tt8tt_metal19SystemMemoryManager19issue_queue_reserveEjh",
        "_ZN2tt8tt_metal19SystemMemoryManager21issue_queue_push_backEjh",
        "_ZNK2tt8tt_metal19SystemMemoryManager15get_bypass_modeEv",
        "_ZN2tt8tt_metal19SystemMemoryManager15get_bypass_dataEv",
    ],
    calls: &[
        "abs",
        "add",
        "argmax",
        "concat",
        "copy",
        "deallocate",
        "embedding",
        "experimental.nlp_concat_heads",
        "experimental.nlp_concat_heads_decode",
        "experimental.nlp_create_qkv_heads",
        "experimental.nlp_create_qkv_heads_decode",
        "experimental.paged_fill_cache",
        "experimental.paged_fused_update_cache",
        "experimental.paged_update_cache",
        "experimental.rotary_embedding_llama",
        "experimental.rotary_embedding_llama_fused_qk",
        "generic_op",
        "linear",
        "manual_seed",
        "max",
        "mul",
        "multiply",
        "plus_one",
        "reshape",
        "rms_norm",
        "sampling",
        "slice",
        "to_layout",
        "to_memory_config",
        "topk",
        "transformer.chunked_scaled_dot_product_attention",
        "transformer.paged_scaled_dot_product_attention_decode",
        "transpose",
        "typecast",
    ],
};
