//! `.tensorbin` files against TT-NN: what it loads from ours is what was packed, for every data type and layout.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::ops::ControlFlow;
use std::path::Path;

use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::{DType, Layout, MemoryConfig, TensorSpec};
use bitnetc_runtime::Weights;
use bitnetc_runtime::weights::bytes::byte_len;
use bitnetc_runtime::weights::{packed, tensorbin};
use bitnetc_ttnn::MockCard;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Loads each file of a folder onto the card and back, and writes its spec as a line of JSON and its bytes, as TT-NN lays them out, beside it.
const SCRIPT: &str = "\
import glob, json, sys, numpy, ttnn
device = ttnn.open_device(device_id=0)
for path in sorted(glob.glob(sys.argv[1] + '/*.tensorbin')):
    host = ttnn.load_tensor(path)
    back = ttnn.from_device(ttnn.to_device(host, device, memory_config=ttnn.DRAM_MEMORY_CONFIG))
    for tensor in (host, back):
        memory = tensor.memory_config()
        spec = [list(tensor.shape), str(tensor.dtype), str(tensor.layout), str(memory.memory_layout), str(memory.buffer_type)]
        print('spec', json.dumps([path.rsplit('/', 1)[1], spec]))
    shard = host.host_buffer().get_shard(ttnn.MeshCoordinate(0, 0))
    numpy.from_dlpack(shard).tofile(path + '.bytes')
ttnn.close_device(device)
";

fn load(folder: &Path, mock: MockCard) -> Vec<(String, [serde_json::Value; 5])> {
    let mut python = mock.python(common::environment()).unwrap();
    let run = python.command.args(["-c", SCRIPT]).arg(folder).current_dir(folder).output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "TT-NN failed: {text}{}", String::from_utf8_lossy(&run.stderr));
    let lines = text.lines().filter_map(|line| line.strip_prefix("spec "));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How TT-NN's Python names what a spec says, placed interleaved in DRAM.
fn named(spec: &TensorSpec) -> [serde_json::Value; 5] {
    let dtype = match spec.dtype {
        DType::Bf16 => "DataType.BFLOAT16",
        DType::Bfp8 => "DataType.BFLOAT8_B",
        DType::Bfp4 => "DataType.BFLOAT4_B",
        DType::F32 => "DataType.FLOAT32",
        DType::U32 | DType::Bfp2 => "DataType.UINT32",
        DType::I32 => "DataType.INT32",
        DType::U16 => "DataType.UINT16",
    };
    let layout = if spec.layout == Layout::Tile { "Layout.TILE" } else { "Layout.ROW_MAJOR" };
    let (memory, buffer) = ("TensorMemoryLayout.INTERLEAVED", "BufferType.DRAM");
    [serde_json::json!(spec.shape), dtype.into(), layout.into(), memory.into(), buffer.into()]
}

#[test]
fn ttnn_loads_every_data_type_and_layout() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let folder = tempfile::tempdir().unwrap();
    let mut made = Vec::new();
    for dtype in [DType::Bf16, DType::F32, DType::U32, DType::I32, DType::Bfp8, DType::Bfp4] {
        for (shape, layout) in
            [([1, 1, 64, 96], Layout::Tile), ([2, 1, 33, 40], Layout::Tile), ([1, 1, 5, 64], Layout::RowMajor)]
        {
            if layout == Layout::RowMajor && dtype.element_bytes().is_none() {
                continue;
            }
            let spec = match layout {
                Layout::Tile => TensorSpec::tile(shape, dtype, MemoryConfig::DRAM),
                Layout::RowMajor => TensorSpec::row_major(shape, dtype, MemoryConfig::DRAM),
            };
            let length = byte_len(&spec).unwrap() as usize;
            let bytes: Vec<u8> = (0..length).map(|_| rng.random()).collect();
            let name = format!("{dtype}-{}-{layout:?}.tensorbin", shape[2]);
            let file = [tensorbin::header(&spec, length as u64), bytes.clone()].concat();
            std::fs::write(folder.path().join(&name), file).unwrap();
            made.push((name, spec, bytes));
        }
    }
    assert_eq!(made.len(), 16);
    let loaded = load(folder.path(), MockCard::N150);
    for (name, spec, bytes) in &made {
        let specs: Vec<_> = loaded.iter().filter(|(file, _)| file == name).collect();
        assert_eq!(specs.len(), 2, "{name}");
        assert!(specs.iter().all(|(_, found)| *found == named(spec)), "{name}: {specs:?}");
        assert!(std::fs::read(folder.path().join(format!("{name}.bytes"))).unwrap() == *bytes, "{name}: other bytes");
    }
}

/// The weights of a plan for each family of cards: TT-NN finds in the files what `bitnetc pack` packs.
#[test]
fn ttnn_loads_the_weights_of_plans() {
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../graphs/tiny-shakespeare");
    let weights = Weights::open(&checkpoint).unwrap();
    let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
    for (target, mock) in [("n150", MockCard::N150), ("p150", MockCard::P150)] {
        let options = Options { prefill: vec![32], ..Options::for_model(&model) };
        let plan = compile(&model, &Target::find(target).unwrap(), &options).unwrap().plan;
        let place = tempfile::tempdir().unwrap();
        let (folder, file) = (place.path().join("weights"), place.path().join("weights.packed"));
        tensorbin::write(&plan, &weights, &folder, |_, _| ControlFlow::Continue(())).unwrap();
        packed::write(&plan, &weights, &file, |_, _| ControlFlow::Continue(())).unwrap();
        let packed = Weights::open(&file).unwrap();
        let index = std::fs::read(folder.join(tensorbin::INDEX)).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        assert_eq!(index["digest"], plan.model.digest);
        let loaded = load(&folder, mock);
        let entries = index["tensors"].as_array().unwrap();
        assert_eq!(loaded.len(), 2 * entries.len());
        for entry in entries {
            let (name, layer) = (entry["name"].as_str().unwrap(), entry["layer"].as_u64().unwrap() as u32);
            let weight = plan.weights.iter().find(|weight| weight.name == name).unwrap();
            let file = entry["file"].as_str().unwrap();
            let specs: Vec<_> = loaded.iter().filter(|(found, _)| found == file).collect();
            assert!(specs.len() == 2 && specs.iter().all(|(_, found)| *found == named(&weight.spec)), "{specs:?}");
            let bytes = std::fs::read(folder.join(format!("{file}.bytes"))).unwrap();
            assert!(bytes == *packed.bytes(weight, layer).unwrap(), "{target} {file}: other bytes");
        }
    }
}
