//! The call that a person wrote as the plan's typed call: the inverse of what `bitnetc emit` prints.
//!
//! Keyword arguments have TT-NN's names. One that is left out takes TT-NN's default where there is one: the placement of the first operand,
//! DRAM for matmuls and attention, the type of the first operand, a compute kernel config of the op's default fidelity.

use bitnetc_plan::op::*;
use bitnetc_plan::program::{FusedActivation, SdpaProgram};
use bitnetc_plan::{
    ComputeKernel, Cores, DType, Fidelity, Fingerprint, Layout, MatmulProgram, MemoryConfig, Op, Ref, Scalar,
    TensorSpec, TernaryProgram, Unary, kernels,
};

use super::arguments::{Arguments, Known};
use super::config::{compute, matmul_program, norm_program};
use super::parse::{Call, Kind, Mistake};

/// A call with the specs of its operands.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The call; its operands are named as they were written.
    pub op: Op,
    /// Their specs, in the order of [`Op::operands`].
    pub operands: Vec<TensorSpec>,
}

/// The names by which the calls go.
pub const CALLS: &[&str] = &[
    "embedding",
    "rms_norm",
    "linear",
    "matmul",
    "ternary_linear",
    "ternary_gated",
    "quantize_rows",
    "add_rows",
    "nlp_create_qkv_heads_decode",
    "nlp_create_qkv_heads",
    "rotary_embedding_llama_fused_qk",
    "rotary_embedding_llama",
    "paged_fused_update_cache",
    "paged_update_cache",
    "paged_fill_cache",
    "paged_scaled_dot_product_attention_decode",
    "chunked_scaled_dot_product_attention",
    "nlp_concat_heads_decode",
    "nlp_concat_heads",
    "to_memory_config",
    "to_layout",
    "typecast",
    "reshape",
    "transpose",
    "slice",
    "concat",
    "add",
    "mul",
    "multiply",
    "abs",
    "max",
    "argmax",
    "copy",
    "topk",
    "manual_seed",
    "sampling",
    "plus_one",
    "deallocate",
];

/// The typed call.
///
/// # Errors
/// The first argument that is missing, unknown, or of another kind than the call takes.
pub fn question(call: &Call, span: std::ops::Range<usize>, known: &dyn Known) -> Result<Question, Mistake> {
    let mut a = Arguments::new(call, span.clone(), known);
    let name = call.name.rsplit('.').next().unwrap_or_default();
    let op = match name {
        "linear" | "matmul" => matmul(&mut a)?,
        "ternary_linear" => ternary_linear(&mut a)?,
        "ternary_gated" => ternary_gated(&mut a)?,
        "quantize_rows" => {
            let kernels = Fingerprint(kernels::QUANTIZE_ROWS.fingerprint());
            QuantizeRows { input: a.tensor("x")?, floor: a.scalar("floor", 1e-5)?, kernels }.into()
        }
        "add_rows" => {
            let (x, y, factors) = (a.tensor("a")?, a.tensor("b")?, a.tensor("factors")?);
            let (floor, scale) = (a.scalar("floor", 1e-5)?, a.scalar("scale", 1.0)?);
            let kernels = Fingerprint(kernels::ADD_ROWS.fingerprint());
            AddRows { a: x, b: y, factors, floor, scale, kernels }.into()
        }
        "rms_norm" => {
            let (input, epsilon, gamma) = (a.tensor("input_tensor")?, a.scalar("epsilon", 1e-12)?, a.tensor("weight")?);
            let (program, memory) = (norm_program(&mut a)?, a.memory_like(&input)?);
            RmsNorm { input, gamma, epsilon, program, compute: compute(&mut a, Fidelity::HiFi4)?, memory }.into()
        }
        "embedding" => {
            let (indices, table) = (a.tensor("input_tensor")?, a.tensor("weight")?);
            let (layout, memory) = (layout(&mut a, Some(Layout::RowMajor))?, a.memory_like(&indices)?);
            match layout {
                Layout::Tile => Embedding { layout, memory, indices, table }.into(),
                Layout::RowMajor => GatherRows { memory, indices, table }.into(),
            }
        }
        "nlp_create_qkv_heads_decode" => {
            let input = a.tensor("input")?;
            let (heads, kv_heads) = heads(&mut a)?;
            let overlap = a.flag("overlap_qk_coregrid", true)?;
            CreateHeadsDecode { input, heads, kv_heads, overlap, memory: a.memory(None)? }.into()
        }
        "nlp_create_qkv_heads" => {
            let input = a.tensor("input")?;
            let (heads, kv_heads) = heads(&mut a)?;
            a.fixed("transpose_k_heads", false)?;
            CreateHeads { heads, kv_heads, memory: a.memory_like(&input)?, input }.into()
        }
        "nlp_concat_heads_decode" => {
            let (input, heads) = (a.tensor("input_tensor")?, a.number("num_heads")?);
            ConcatHeadsDecode { input, heads, cores: cores(&mut a, "sub_core_grids")? }.into()
        }
        "nlp_concat_heads" => {
            let input = a.tensor("input")?;
            ConcatHeads { memory: a.memory_like(&input)?, input }.into()
        }
        "rotary_embedding_llama_fused_qk" => {
            let (q, k) = (a.tensor("q_input_tensor")?, a.tensor("k_input_tensor")?);
            let (cos, sin, trans) = angles(&mut a)?;
            RotaryFused { q, k, cos, sin, trans, compute: compute(&mut a, Fidelity::HiFi4)? }.into()
        }
        "rotary_embedding_llama" => rotary(&mut a)?,
        "paged_fused_update_cache" | "paged_update_cache" | "paged_fill_cache" => cache(name, &mut a)?,
        "paged_scaled_dot_product_attention_decode" | "chunked_scaled_dot_product_attention" => {
            attention(name, &mut a)?
        }
        "add" | "mul" | "multiply" => binary(name, &mut a)?,
        "manual_seed" => {
            a.ignore("device");
            ManualSeed { seeds: a.tensor("seeds")?, generators: a.tensor("user_ids")? }.into()
        }
        "sampling" => Sampling {
            values: a.tensor("input_values_tensor")?,
            tokens: a.tensor("input_indices_tensor")?,
            k: a.tensor("k")?,
            p: a.tensor("p")?,
            inverse_temperature: a.tensor("temp")?,
            output: a.tensor("output_tensor")?,
        }
        .into(),
        _ => movement(name, &mut a)?.ok_or_else(|| unknown(name, span))?,
    };
    a.finish(op)
}

fn unknown(name: &str, span: std::ops::Range<usize>) -> Mistake {
    let meant = crate::input::did_you_mean(name, CALLS);
    let help = if meant.is_empty() { format!("bitnetc has rules for {}", CALLS.join(", ")) } else { meant };
    Mistake::new(span, format!("no rule for `{name}`"), help.trim_end())
}

/// Calls that move data, and the small ones.
fn movement(name: &str, a: &mut Arguments<'_>) -> Result<Option<Op>, Mistake> {
    if name == "concat" {
        let inputs = a.tensors("tensors")?;
        let first = inputs.first().cloned().unwrap_or(Ref::Value(String::new()));
        a.axis("dim")?;
        return Ok(Some(Concat { inputs, memory: a.memory_like(&first)? }.into()));
    }
    if !CALLS.contains(&name) {
        return Ok(None);
    }
    let input = a.tensor("input_tensor")?;
    Ok(Some(match name {
        "to_memory_config" => ToMemoryConfig { input, memory: a.memory(None)? }.into(),
        "to_layout" => {
            let to = layout(a, None)?;
            ToLayout { layout: to, memory: a.memory_like(&input)?, input }.into()
        }
        "typecast" => {
            let dtype = a.dtype(None)?;
            Typecast { dtype, memory: a.memory_like(&input)?, input }.into()
        }
        "reshape" => {
            let shape = a.numbers("shape")?;
            if a.spec(&input).is_some_and(|spec| spec.layout == Layout::RowMajor) {
                return Ok(Some(Reshape { shape, memory: a.memory_like(&input)?, input }.into()));
            }
            a.ignore("padded_shape");
            View { input, shape }.into()
        }
        "copy" => CopyInto { input, output: a.tensor("output_tensor")? }.into(),
        "transpose" => {
            let dims = (a.number("dim1")?, a.number("dim2")?);
            Transpose { dims, memory: a.memory_like(&input)?, input }.into()
        }
        "slice" => {
            // Only the form that starts where tensors say names the number of parts.
            match a.number_or("num_devices", 0)? {
                0 => {
                    let kept = a.kept(&input)?;
                    Slice { kept, memory: a.memory_like(&input)?, input }.into()
                }
                parts => {
                    let (starts, ends) = (a.tensor("starts")?, a.tensor("ends")?);
                    a.ignore("slice_dim");
                    SliceAt { starts, ends, parts, memory: a.memory_like(&input)?, input }.into()
                }
            }
        }
        "abs" => AbsOp { memory: a.memory_like(&input)?, input }.into(),
        "max" => {
            a.axis("dim")?;
            a.fixed("keepdim", true)?;
            RowMax { memory: a.memory_like(&input)?, input }.into()
        }
        "argmax" => {
            a.axis("dim")?;
            a.fixed("keepdim", false)?;
            match a.optional_tensor("output_tensor")? {
                Some(output) => ArgMax { input, output }.into(),
                None => BestColumn { memory: a.memory_like(&input)?, input }.into(),
            }
        }
        "topk" => {
            let k = a.number("k")?;
            a.axis("dim")?;
            a.fixed("largest", true)?;
            a.fixed("sorted", true)?;
            TopK { k, memory: a.memory_like(&input)?, input }.into()
        }
        "plus_one" => {
            let skip_negative = a.flag("skip_negative_entries", false)?;
            PlusOne { buffer: input, skip_negative }.into()
        }
        "deallocate" => Deallocate { input }.into(),
        _ => return Ok(None),
    }))
}

fn matmul(a: &mut Arguments<'_>) -> Result<Op, Mistake> {
    let (x, w) = (a.tensor("input_tensor_a")?, a.tensor("input_tensor_b")?);
    let program = matmul_program(a)?;
    let (compute, dtype) = (compute(a, Fidelity::LoFi)?, a.dtype(Some(&x))?);
    let columns = a.spec(&w).map_or(0, |spec| spec.columns().div_ceil(32));
    let derived = |per_core_n: u32, grid| {
        let cores = Cores::row_major(columns.div_ceil(per_core_n.max(1)).min(1 << 12), grid);
        MemoryConfig::width(cores, [32, per_core_n.saturating_mul(32)])
    };
    // TT-NN derives the shards from the program config, whatever shards are asked for.
    let sharded = match program {
        MatmulProgram::DramSharded { per_core_n, .. } => derived(per_core_n, a.grid()),
        MatmulProgram::Multicast1D { per_core_n, grid, .. } if grid.0 > 0 => derived(per_core_n, grid),
        MatmulProgram::Multicast1D { .. } | MatmulProgram::Multicast2D { .. } => MemoryConfig::L1,
    };
    let memory = a.memory_or_sharded(sharded)?;
    Ok(Matmul { a: x, b: w, program, compute, dtype, memory }.into())
}

fn ternary_linear(a: &mut Arguments<'_>) -> Result<Op, Mistake> {
    let (x, w) = (a.tensor("a")?, a.tensor("b")?);
    let activation = a.flag("relu", false)?.then_some(FusedActivation::Relu);
    let (program, compute) = ternary(a, activation)?;
    Ok(TernaryLinear { dtype: a.dtype(Some(&x))?, memory: a.memory(None)?, a: x, b: w, program, compute }.into())
}

fn ternary_gated(a: &mut Arguments<'_>) -> Result<Op, Mistake> {
    let (x, gate, up) = (a.tensor("a")?, a.tensor("gate")?, a.tensor("up")?);
    let (program, compute) = ternary(a, None)?;
    Ok(TernaryGated { memory: a.memory(None)?, a: x, gate, up, program, compute }.into())
}

/// How a product by two-bit weights is cut and computed.
fn ternary(
    a: &mut Arguments<'_>,
    activation: Option<FusedActivation>,
) -> Result<(TernaryProgram, ComputeKernel), Mistake> {
    let (in0_block_w, readers) = (a.number("block_tiles")?, a.number_or("readers", 1)?);
    let kernels = kernels::TERNARY_LINEAR.fingerprint();
    let (fidelity, fp32_dest_acc) = (a.fidelity()?, a.flag("fp32_dest_acc_en", false)?);
    let compute = ComputeKernel { fidelity, fp32_dest_acc, packer_l1_acc: false };
    Ok((TernaryProgram { in0_block_w, readers, activation, kernels }, compute))
}

fn layout(a: &mut Arguments<'_>, default: Option<Layout>) -> Result<Layout, Mistake> {
    a.one_of("layout", &[("TILE_LAYOUT", Layout::Tile), ("ROW_MAJOR_LAYOUT", Layout::RowMajor)], default)
}

fn heads(a: &mut Arguments<'_>) -> Result<(u32, u32), Mistake> {
    Ok((a.number("num_heads")?, a.number("num_kv_heads")?))
}

fn angles(a: &mut Arguments<'_>) -> Result<(Ref, Ref, Ref), Mistake> {
    Ok((a.tensor("cos_cache")?, a.tensor("sin_cache")?, a.tensor("trans_mat")?))
}

fn rotary(a: &mut Arguments<'_>) -> Result<Op, Mistake> {
    let input = a.tensor("input_tensor")?;
    let (cos, sin, trans) = angles(a)?;
    let compute = compute(a, Fidelity::HiFi4)?;
    if a.flag("is_decode_mode", false)? {
        return Ok(RotaryDecode { input, cos, sin, trans, compute }.into());
    }
    Ok(Rotary { memory: a.memory_like(&input)?, input, cos, sin, trans, compute }.into())
}

fn cache(name: &str, a: &mut Arguments<'_>) -> Result<Op, Mistake> {
    if name == "paged_fused_update_cache" {
        let (k_cache, k) = (a.tensor("cache_tensor1")?, a.tensor("input_tensor1")?);
        let (v_cache, v) = (a.tensor("cache_tensor2")?, a.tensor("input_tensor2")?);
        let (positions, page_table) = (a.tensor("update_idxs_tensor")?, a.tensor("page_table")?);
        return Ok(CacheUpdate { k_cache, k, v_cache, v, positions, page_table }.into());
    }
    let (cache, input) = (a.tensor("cache_tensor")?, a.tensor("input_tensor")?);
    if name == "paged_update_cache" {
        let (positions, page_table) = (a.tensor("update_idxs_tensor")?, a.tensor("page_table")?);
        return Ok(CacheUpdateOne { cache, input, positions, page_table }.into());
    }
    let pages = a.tensor("page_table")?;
    a.ignore("batch_idx");
    Ok(CacheFill { cache, input, pages }.into())
}

fn attention(name: &str, a: &mut Arguments<'_>) -> Result<Op, Mistake> {
    let (q, k_cache, v_cache) = (a.tensor("input_tensor_q")?, a.tensor("input_tensor_k")?, a.tensor("input_tensor_v")?);
    let pages = a.tensor("page_table_tensor")?;
    let decode = name == "paged_scaled_dot_product_attention_decode";
    let columns = a.spec(&q).map_or(1, TensorSpec::columns);
    let scale = a.scalar("scale", f64::from(columns.max(1)).sqrt().recip())?;
    let mut p = a
        .config("program_config")?
        .ok_or_else(|| a.missing("program_config", "SDPAProgramConfig(compute_with_storage_grid_size=(8, 8), ...)"))?;
    p.fixed("exp_approx_mode", false)?;
    let grid = p.pair("compute_with_storage_grid_size")?;
    let program =
        SdpaProgram { grid, q_chunk: p.number_or("q_chunk_size", 0)?, k_chunk: p.number_or("k_chunk_size", 0)? };
    p.done()?;
    let (compute, memory) = (compute(a, Fidelity::HiFi2)?, a.memory(Some(MemoryConfig::DRAM))?);
    if decode {
        let (page_table, positions) = (pages, a.tensor("cur_pos_tensor")?);
        return Ok(SdpaDecode { q, k_cache, v_cache, positions, page_table, scale, program, compute, memory }.into());
    }
    let start = a.tensor("chunk_start_idx_tensor")?;
    Ok(Sdpa { q, k_cache, v_cache, pages, start, scale, program, compute, memory }.into())
}

fn binary(name: &str, a: &mut Arguments<'_>) -> Result<Op, Mistake> {
    let kind = if name == "add" { BinaryKind::Add } else { BinaryKind::Mul };
    let x = a.tensor("input_tensor_a")?;
    let integers = a.spec(&x).is_some_and(|spec| spec.dtype == DType::U32);
    if integers && kind == BinaryKind::Mul {
        return Ok(TimesInteger { factor: a.number("input_tensor_b")?, memory: a.memory_like(&x)?, input: x }.into());
    }
    let y = a.tensor("input_tensor_b")?;
    if integers {
        return Ok(AddIntegers { memory: a.memory_like(&x)?, a: x, b: y }.into());
    }
    let a_activations = a.functions("input_tensor_a_activations")?;
    let b_activations = a.functions("input_tensor_b_activations")?;
    let activations = a.functions("activations")?;
    let dtype = a.dtype(Some(&x))?;
    let into = match a.same_as("output_tensor", &x)? {
        true => Destination::InPlace,
        false => Destination::New(a.memory_like(&x)?),
    };
    Ok(Binary { kind, a: x, b: y, a_activations, b_activations, activations, dtype, into }.into())
}

fn cores(a: &mut Arguments<'_>, name: &str) -> Result<Cores, Mistake> {
    a.cores(name)
}

/// A constant.
pub fn constant(value: f64) -> Scalar {
    Scalar::constant(value)
}

/// The function that `UnaryWithParam(UnaryOpType.NAME, values...)` means.
pub fn unary(name: &str, values: &[f64]) -> Option<Unary> {
    Some(match (name, values) {
        ("RELU", []) => Unary::Relu,
        ("SQUARE", []) => Unary::Square,
        ("SILU", []) => Unary::Silu,
        ("RECIP", []) => Unary::Recip,
        ("ABS", []) => Unary::Abs,
        ("ROUND", [_]) => Unary::Round,
        ("MUL_UNARY_SFPU", [s]) => Unary::MulScalar(constant(*s)),
        ("POWER_ITERATIVE", [power]) => Unary::Power(*power as u32),
        ("MAXIMUM", [s]) => Unary::MaxScalar(constant(*s)),
        ("CLAMP_TSS", [low, high]) => Unary::Clamp(*low as f32, *high as f32),
        _ => return None,
    })
}

/// The data type of a kind of expression.
pub fn dtype_of(kind: &Kind) -> Option<DType> {
    match kind {
        Kind::Name(name) => super::parse::dtype(name),
        Kind::Number(_) | Kind::List(_) | Kind::Memory(_) | Kind::Tensor(..) | Kind::Call(_) => None,
    }
}
