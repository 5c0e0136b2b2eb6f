//! An n150 as TT-NN's mock has it: figures, allocation, capture, refusals.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use bitnetc_plan::{Cores, DType, Layout, Memory, MemoryConfig, TensorSpec};
use bitnetc_ttnn::graph::BufferKind;
use bitnetc_ttnn::{
    CardKind, CardOptions, Expr, MockCard, Node, Object, OpenCard, PyCall, RunMode, Scope, Statement, TtnnError, Value,
    spec, tensor,
};

fn width_sharded() -> TensorSpec {
    TensorSpec::tile([1, 1, 32, 2560], DType::Bf16, MemoryConfig::width(Cores::rectangle(0, 0, 8, 1), [32, 320]))
}

fn scope(device: &OpenCard) -> Scope {
    let mut scope = Scope::default();
    scope.set("device", device.object().clone());
    scope
}

/// The first op of a decode layer, over eight cores.
fn rms_norm() -> Statement {
    let program = PyCall::ttnn("LayerNormShardedMultiCoreProgramConfig")
        .kwarg("compute_with_storage_grid_size", Expr::Tuple(vec![8.into(), 1.into()]))
        .kwarg("subblock_w", 2)
        .kwarg("block_h", 1)
        .kwarg("block_w", 10)
        .kwarg("inplace", false);
    let kernel = PyCall::ttnn("WormholeComputeKernelConfig")
        .kwarg("math_fidelity", Expr::ttnn("MathFidelity.HiFi4"))
        .kwarg("math_approx_mode", false)
        .kwarg("fp32_dest_acc_en", true)
        .kwarg("packer_l1_acc", true);
    let call = PyCall::ttnn("rms_norm")
        .arg(Expr::name("x"))
        .kwarg("epsilon", 1e-5)
        .kwarg("weight", Expr::name("gamma"))
        .kwarg("program_config", program)
        .kwarg("memory_config", tensor::memory_config(&width_sharded().memory))
        .kwarg("compute_kernel_config", kernel);
    Statement::new(["h"], call)
}

fn with_norm_inputs(device: &OpenCard) -> Scope {
    let mut scope = scope(device);
    let gamma = TensorSpec::row_major([1, 1, 80, 32], DType::Bf16, MemoryConfig::DRAM);
    scope.set("x", device.allocate(&width_sharded()).unwrap());
    scope.set("gamma", device.allocate(&gamma).unwrap());
    scope
}

#[test]
fn the_first_tensor_lies_at_the_top_and_its_spec_reads_back() {
    let turn = common::open(MockCard::N150);
    let wanted = width_sharded();
    let x = turn.device.allocate(&wanted).unwrap();
    assert_eq!(spec::of_tensor(&x).unwrap(), wanted);
    assert_eq!(spec::address(&x).unwrap(), turn.device.l1_range().1 - 20_480);
    let view = turn.device.memory_view(Memory::L1).unwrap();
    assert_eq!(view.size - view.free, 20_480);
    for memory in [
        MemoryConfig::L1,
        MemoryConfig::dram_width(12, [2560, 320]),
        MemoryConfig::height(Cores::row_major(30, (8, 8)), [32, 128]),
    ] {
        let shape =
            if memory.is_sharded() && memory.memory() == Memory::L1 { [1, 30, 32, 128] } else { [1, 1, 2560, 3840] };
        let wanted = TensorSpec { shape: shape.to_vec(), dtype: DType::Bfp8, layout: Layout::Tile, memory };
        let t = turn.device.allocate(&wanted).unwrap();
        assert_eq!(spec::of_tensor(&t).unwrap(), wanted);
    }
}

#[test]
fn one_statement_executes_prints_and_is_recorded_in_both_modes() {
    let turn = common::open(MockCard::N150);
    let device = &turn.device;
    let mut scope = with_norm_inputs(device);
    let statement = rms_norm();
    let sizes = device.capture(RunMode::NoDispatch, || statement.execute(device.interpreter(), &mut scope)).unwrap();
    sizes.result.unwrap();
    assert_eq!(sizes.graph.busiest_core(), 159_744);
    assert_eq!(sizes.graph.device_operations().collect::<Vec<_>>(), ["LayerNormDeviceOperation"]);
    let own: u64 = sizes
        .graph
        .nodes
        .iter()
        .map(|node| match node {
            Node::DataflowBuffer(buffer) if !buffer.borrowed => buffer.size,
            _ => 0,
        })
        .sum();
    assert_eq!(own, 159_744);

    let real = device.capture(RunMode::Normal, || statement.execute(device.interpreter(), &mut scope)).unwrap();
    real.result.unwrap();
    let h = scope.get("test", "h").unwrap();
    assert_eq!(spec::of_tensor(h).unwrap(), width_sharded());
    let end = device.l1_range().1;
    assert_eq!(spec::address(h).unwrap(), end - 2 * 20_480);
    let allocated = real.graph.nodes.iter().find_map(|node| match node {
        Node::BufferAllocate(buffer) => Some((buffer.kind, buffer.address, buffer.bytes_per_bank)),
        _ => None,
    });
    assert_eq!(allocated, Some((BufferKind::L1, end - 2 * 20_480, 20_480)));
}

#[test]
fn the_printed_source_does_what_the_execution_did() {
    let turn = common::open(MockCard::N150);
    let python = turn.device.interpreter();
    let mut scope = with_norm_inputs(&turn.device);
    rms_norm().execute(python, &mut scope).unwrap();
    let executed = scope.remove("h").unwrap();
    let facts = |tensor: &Object| (spec::of_tensor(tensor).unwrap(), spec::address(tensor).unwrap());
    let wanted = facts(&executed);
    drop(executed);

    let globals =
        python.import("builtins").unwrap().call_method("dict", &[], &[("ttnn", python.ttnn().into())]).unwrap();
    for name in ["x", "gamma"] {
        let value = scope.get("test", name).unwrap().into();
        globals.call_method("__setitem__", &[Value::Str(name.into()), value], &[]).unwrap();
    }
    let source = Value::Str(rms_norm().to_python(0));
    python.import("builtins").unwrap().call_method("exec", &[source, (&globals).into()], &[]).unwrap();
    let printed = globals.call_method("__getitem__", &[Value::Str("h".into())], &[]).unwrap();
    assert_eq!(facts(&printed), wanted);
}

#[test]
fn legacy_circular_buffers_start_where_the_region_does() {
    let turn = common::open(MockCard::N150);
    let device = &turn.device;
    let mut scope = scope(device);
    let cache = TensorSpec::tile([32, 5, 2048, 128], DType::Bfp8, MemoryConfig::DRAM);
    for name in ["k", "v"] {
        scope.set(name, device.allocate(&cache).unwrap());
    }
    let q =
        TensorSpec::tile([1, 32, 20, 128], DType::Bf16, MemoryConfig::height(Cores::rectangle(0, 0, 8, 4), [32, 128]));
    scope.set("q", device.allocate(&q).unwrap());
    scope.set("pos", device.allocate(&TensorSpec::row_major([32], DType::I32, MemoryConfig::DRAM)).unwrap());
    let program = PyCall::ttnn("SDPAProgramConfig")
        .kwarg("compute_with_storage_grid_size", Expr::Tuple(vec![8.into(), 4.into()]))
        .kwarg("q_chunk_size", 0)
        .kwarg("k_chunk_size", 128)
        .kwarg("exp_approx_mode", false);
    let call = PyCall::ttnn("transformer.scaled_dot_product_attention_decode")
        .arg(Expr::name("q"))
        .arg(Expr::name("k"))
        .arg(Expr::name("v"))
        .kwarg("cur_pos_tensor", Expr::name("pos"))
        .kwarg("scale", 0.088)
        .kwarg("program_config", program)
        .kwarg("memory_config", Expr::ttnn("L1_MEMORY_CONFIG"));
    let run = device.capture(RunMode::Normal, || call.execute(device.interpreter(), &scope)).unwrap();
    run.result.unwrap();
    let own = run.graph.nodes.iter().filter_map(|node| match node {
        Node::CircularBuffer(buffer) if !buffer.borrowed => Some((buffer.address, buffer.address + buffer.size)),
        _ => None,
    });
    let (start, end) = own.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap();
    assert_eq!((start, device.l1_range().0), (105_824, 105_824));
    assert_eq!(end - start, run.graph.busiest_core());
}

#[test]
fn a_refusal_carries_ttnns_words_and_leaves_the_capture_closed() {
    let turn = common::open(MockCard::N150);
    let device = &turn.device;
    let scope = with_norm_inputs(device);
    let bad = MemoryConfig::width(Cores::rectangle(0, 0, 8, 1), [20, 320]);
    let call = PyCall::ttnn("add").arg(Expr::name("x")).arg(Expr::name("x"));
    let call = call.kwarg("memory_config", tensor::memory_config(&bad));
    let run = device.capture(RunMode::Normal, || call.execute(device.interpreter(), &scope)).unwrap();
    let Err(TtnnError::Python(error)) = run.result else { panic!("accepted") };
    assert_eq!(error.message, "Physical shard shape (20, 320) must be tile {32, 32} sized!");
    assert_eq!((error.context.as_str(), error.refusal.as_ref().unwrap().check), ("ttnn.add", "TT_FATAL"));
    assert!(!error.to_string().contains("backtrace"), "{error}");

    let large = TensorSpec::tile([1, 1, 8192, 16384], DType::Bf16, MemoryConfig::L1);
    let full = device.allocate(&large).unwrap_err().to_string();
    assert!(full.contains("Out of Memory") && full.contains("268435456"), "{full}");
    // A capture left open would make this one fail.
    device.capture(RunMode::NoDispatch, || Ok(())).unwrap().result.unwrap();
}

#[test]
fn undefined_names_and_wrong_counts_are_told() {
    let turn = common::open(MockCard::N150);
    let device = &turn.device;
    let mut scope = with_norm_inputs(device);
    let add = PyCall::ttnn("add").arg(Expr::name("x")).arg(Expr::name("y"));
    let error = add.execute(device.interpreter(), &scope).unwrap_err();
    assert_eq!(error.to_string(), "the call of ttnn.add uses \"y\", which is not defined");
    let twice = Statement::new(["a", "b"], PyCall::ttnn("add").arg(Expr::name("x")).arg(Expr::name("x")));
    let error = twice.execute(device.interpreter(), &mut scope).unwrap_err();
    assert_eq!(error.to_string(), "ttnn.add returned 1 results for 2 names");
}

#[test]
fn dropped_tensors_give_their_memory_back() {
    let turn = common::open(MockCard::N150);
    let before = turn.device.memory_view(Memory::L1).unwrap();
    for _ in 0..300 {
        turn.device.allocate(&width_sharded()).unwrap();
        turn.device.allocate(&width_sharded()).unwrap();
    }
    assert_eq!(turn.device.memory_view(Memory::L1).unwrap(), before);
}

#[test]
fn another_card_in_the_same_process_is_refused() {
    drop(common::open(MockCard::N150));
    for card in [CardKind::Mock(MockCard::P150), CardKind::Real] {
        let error = OpenCard::open(common::environment(), card, CardOptions::default()).unwrap_err().to_string();
        assert!(error.contains("already opened the mock n150"), "{error}");
    }
}
