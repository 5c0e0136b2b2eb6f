//! Runs bitnetc's own kernels on an open card and compares every bit of what they compute: of integers with the integers, of any numbers with
//! `ttnn.linear` by the same weights in bfp4, and of gate and up with two products and `ttnn.mul`. Each case runs twice, once by itself and once
//! replayed from a trace.

use std::sync::Arc;
use std::time::Instant;

use bitnetc_numerics::{Format, Tiled, TiledView};
use bitnetc_plan::op::{TernaryGated, TernaryLinear};
use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::{
    Cores, Cost, DType, Fidelity, Footprint, MatmulProgram, MemoryConfig, Op, Ref, Step, TILE, TensorSpec,
    TernaryProgram, kernels,
};
use bitnetc_runtime::weights::codes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::memory::HostTensor;
use crate::call::Scope;
use crate::card::CardKind;
use crate::error::TtnnError;
use crate::lower::{self, Plain};
use crate::open_card::OpenCard;
use crate::python::{Object, Value};

/// Calls in the trace by which time is measured, and its replays.
const TIMED: (u32, u32) = (16, 20);

/// One product: its sides, the cores of activations and result, K tiles of a block.
struct Shape(&'static str, [u32; 2], [u32; 2], u32);

/// The projections of the small model that comes along, and of BitNet 2B-4T.
const SHAPES: [Shape; 6] = [
    Shape("640x960", [640, 960], [4, 30], 5),
    Shape("640x640", [640, 640], [20, 5], 10),
    Shape("2560x3840", [2560, 3840], [40, 60], 16),
    Shape("2560x2560", [2560, 2560], [20, 40], 20),
    Shape("2560x6912", [2560, 6912], [40, 54], 16),
    Shape("6912x2560", [6912, 2560], [54, 40], 24),
];

/// The comparison of one product.
#[derive(Debug, Clone, PartialEq)]
pub struct Tested {
    /// Its sides.
    pub name: &'static str,
    /// Elements compared.
    pub elements: usize,
    /// Elements with another bit than expected.
    pub different: usize,
    /// Microseconds of a call in a trace, on a card.
    pub us: Option<f64>,
}

/// Tests the kernels on the first so many shapes, the small ones first.
///
/// # Errors
/// TT-NN's own.
pub fn selftest(card: &OpenCard, shapes: usize) -> Result<Vec<Tested>, TtnnError> {
    SHAPES.iter().take(shapes).map(|shape| test(card, shape)).collect()
}

fn test(card: &OpenCard, shape: &Shape) -> Result<Tested, TtnnError> {
    let Shape(name, [k, n], ..) = *shape;
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(k) << 32 | u64::from(n));
    let (rows, k, n) = (TILE as usize, k as usize, n as usize);
    let weights: Vec<i8> = (0..k * n).map(|_| rng.random_range(-1..=1)).collect();
    let integers: Vec<i16> = (0..rows * k).map(|_| rng.random_range(-128..=127)).collect();
    let numbers: Vec<f32> = (0..rows * k).map(|_| rng.random_range(-4.0f32..4.0)).collect();
    let weight = |row: usize, column: usize| f32::from(weights[row * n + column]);

    let readers = if card.arch()?.ends_with("BLACKHOLE") { 2 } else { 1 };
    let mut bench = Bench { card, scope: Scope::default(), results: 0, readers };
    let sums = bench.product(shape, true, integers.iter().map(|v| f32::from(*v)).collect());
    let expected: Vec<f32> = (0..rows * n)
        .map(|i| {
            let (row, column) = (i / n, i % n);
            let sum: i32 =
                (0..k).map(|at| i32::from(integers[row * k + at]) * i32::from(weights[at * n + column])).sum();
            sum as f32
        })
        .collect();
    let found = bench.run(&sums, &weight)?;
    let mut different = found.iter().map(|found| differing(found, &expected)).sum();
    let mut elements = found.len() * expected.len();

    let rounded = bench.product(shape, false, numbers);
    let expected = bench.linear(&rounded, &weight)?;
    let found = bench.run(&rounded, &weight)?;
    different += found.iter().map(|found| differing(found, &expected)).sum::<usize>();
    elements += found.len() * expected.len();

    // The other matrix is the same one, its columns in the opposite order.
    let other = |row: usize, column: usize| weight(row, n - 1 - column);
    let [together, apart] = bench.gated(&rounded, &weight, &other)?;
    different += differing(&together, &apart);
    elements += apart.len();
    let us = match card.card() {
        CardKind::Real => Some(bench.time(&rounded)?),
        CardKind::Simulator(_) | CardKind::Mock(_) => None,
    };
    Ok(Tested { name, elements, different, us })
}

fn differing(found: &[f32], expected: &[f32]) -> usize {
    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (*a == 0.0 && *b == 0.0);
    expected.len() - found.iter().zip(expected).filter(|pair| same(*pair)).count()
}

/// A product and its activations, row by row.
struct Product {
    call: TernaryLinear,
    specs: [TensorSpec; 2],
    a: Vec<f32>,
}

/// A card and the tensors on it.
struct Bench<'a> {
    card: &'a OpenCard,
    scope: Scope,
    results: u32,
    /// Cores that stream weights from a DRAM bank.
    readers: u32,
}

impl Bench<'_> {
    /// The call of a shape: of integers exactly in fp32, of other numbers in bf16 with the RELU fused.
    fn product(&self, shape: &Shape, exact: bool, values: Vec<f32>) -> Product {
        let Shape(_, [k, n], [from, cores], in0_block_w) = *shape;
        let spread = |cores: u32, width: u32| {
            MemoryConfig::width(Cores::row_major(cores, self.card.grid()), [TILE, width / cores])
        };
        let call = TernaryLinear {
            a: Ref::Value("a".into()),
            b: Ref::Value("b".into()),
            program: TernaryProgram {
                in0_block_w,
                readers: self.readers,
                activation: (!exact).then_some(FusedActivation::Relu),
                kernels: kernels::TERNARY_LINEAR.fingerprint(),
            },
            compute: bitnetc_plan::ComputeKernel {
                fidelity: Fidelity::LoFi,
                fp32_dest_acc: exact,
                packer_l1_acc: false,
            },
            dtype: if exact { DType::F32 } else { DType::Bf16 },
            memory: spread(cores, n),
        };
        let a = TensorSpec::tile([1, 1, TILE, k], DType::Bf16, spread(from, k));
        let b = TensorSpec::tile([1, 1, k, n], DType::Bfp2, MemoryConfig::DRAM);
        Product { call, specs: [a, b], a: values }
    }

    /// Places a tensor on the card.
    fn place(&mut self, name: &str, spec: &TensorSpec, bytes: &[u8]) -> Result<(), TtnnError> {
        let spec = Arc::new(spec.clone());
        let tensor = self.card.allocate(&spec)?;
        let mut host = HostTensor::new(self.card, &spec)?;
        host.bytes_mut(self.card)?.copy_from_slice(bytes);
        self.card.upload(&host, &tensor)?;
        self.scope.set(lower::value_key(name), tensor);
        Ok(())
    }

    /// Places activations and weights, in codes or in bfp4.
    fn operands(
        &mut self,
        [a, b]: &[TensorSpec; 2],
        values: &[f32],
        weight: &(impl Fn(usize, usize) -> f32 + Sync),
    ) -> Result<(), TtnnError> {
        let k = b.rows() as usize;
        let tiles = Tiled::pack_with(Format::Bf16, TILE as usize, k, |row, column| values[row * k + column]);
        self.place("a", a, tiles.bytes())?;
        self.codes("b", b, weight)
    }

    /// Places a weight, in codes or in bfp4.
    fn codes(
        &mut self,
        name: &str,
        b: &TensorSpec,
        weight: &(impl Fn(usize, usize) -> f32 + Sync),
    ) -> Result<(), TtnnError> {
        let (k, n) = (b.rows() as usize, b.columns() as usize);
        let broken = |at| TtnnError::Unexpected { what: "a ternary weight".into(), answer: format!("{at:?}") };
        let bytes = match b.dtype == DType::Bfp2 {
            true => codes::pack(k, n, weight).map_err(broken)?,
            false => Tiled::pack_with(Format::Bfp4, k, n, weight).bytes().to_vec(),
        };
        self.place(name, b, &bytes)
    }

    /// Runs a call and returns its result.
    fn call(&mut self, op: Op) -> Result<Object, TtnnError> {
        self.results += 1;
        let step = Step {
            name: format!("result {}", self.results),
            op,
            outputs: Vec::new(),
            l1: Footprint::default(),
            cost: Cost::default(),
            note: String::new(),
        };
        lower::lower(&step, &Plain).call.execute(self.card.interpreter(), &self.scope)
    }

    /// The rows of a result.
    fn read(&self, tensor: &Object, dtype: DType, columns: usize) -> Result<Vec<f32>, TtnnError> {
        let spec = Arc::new(TensorSpec::tile([1, 1, TILE, columns as u32], dtype, MemoryConfig::DRAM));
        let ttnn = self.card.interpreter().ttnn();
        let interleaved =
            ttnn.call_method("to_memory_config", &[tensor.into(), ttnn.attribute("DRAM_MEMORY_CONFIG")?.into()], &[])?;
        let mut host = HostTensor::new(self.card, &spec)?;
        ttnn.call_method("copy_device_to_host_tensor", &[(&interleaved).into(), host.object().into()], &[])?;
        self.card.synchronize()?;
        let format = if dtype == DType::F32 { Format::F32 } else { Format::Bf16 };
        let view = TiledView::new(format, TILE as usize, columns, host.bytes(self.card)?);
        let unread = |why: bitnetc_numerics::NumericsError| TtnnError::Unexpected {
            what: "the tiles of a result".into(),
            answer: why.to_string(),
        };
        Ok(view.map_err(unread)?.to_f32())
    }

    /// The product run by itself, and replayed from a trace.
    fn run(
        &mut self,
        product: &Product,
        weight: &(impl Fn(usize, usize) -> f32 + Sync),
    ) -> Result<[Vec<f32>; 2], TtnnError> {
        self.operands(&product.specs, &product.a, weight)?;
        let columns = product.specs[1].columns() as usize;
        let alone = self.call(product.call.clone().into())?;
        let first = self.read(&alone, product.call.dtype, columns)?;
        let (trace, results) = self.captured(product, 1)?;
        self.replay(&trace)?;
        let second = match results.last() {
            Some(result) => self.read(result, product.call.dtype, columns)?,
            None => Vec::new(),
        };
        self.release(&trace)?;
        Ok([first, second])
    }

    /// Gate and up with their product in one program, and the same by two products and `ttnn.mul`.
    fn gated(
        &mut self,
        product: &Product,
        gate: &(impl Fn(usize, usize) -> f32 + Sync),
        up: &(impl Fn(usize, usize) -> f32 + Sync),
    ) -> Result<[Vec<f32>; 2], TtnnError> {
        let [_, b] = &product.specs;
        let columns = b.columns() as usize;
        let values = |names: [&str; 2]| names.map(|name| Ref::Value(name.into()));
        self.operands(&product.specs, &product.a, gate)?;
        self.codes("up", b, up)?;
        let call = &product.call;
        let program = TernaryProgram { activation: None, ..call.program };
        let [gate, up] = values(["b", "up"]);
        let (a, compute, memory) = (call.a.clone(), call.compute, call.memory.clone());
        let together = TernaryGated { a, gate, up, program, compute, memory };
        let result = self.call(together.clone().into())?;
        let first = self.read(&result, DType::Bf16, columns)?;
        let (gate, up, mut multiply) = together.apart();
        [multiply.a, multiply.b] = values(["gates", "ups"]);
        for (name, call) in [("gates", gate), ("ups", up)] {
            let result = self.call(call.into())?;
            self.scope.set(lower::value_key(name), result);
        }
        let result = self.call(multiply.into())?;
        Ok([first, self.read(&result, DType::Bf16, columns)?])
    }

    /// What `ttnn.linear` computes of the same numbers, the weights in bfp4.
    fn linear(
        &mut self,
        product: &Product,
        weight: &(impl Fn(usize, usize) -> f32 + Sync),
    ) -> Result<Vec<f32>, TtnnError> {
        let [a, b] = &product.specs;
        let tiles = b.columns() / TILE;
        let mut op = product.call.linear(b.rows() / TILE);
        if let MatmulProgram::Multicast1D { grid, out_subblock, .. } = &mut op.program {
            (*grid, *out_subblock) = (self.card.grid(), (1, 1));
        }
        op.memory = MemoryConfig::DRAM;
        let a = TensorSpec { memory: MemoryConfig::DRAM, ..a.clone() };
        let b = TensorSpec { dtype: DType::Bfp4, ..b.clone() };
        self.operands(&[a, b], &product.a, weight)?;
        let result = self.call(op.into())?;
        self.read(&result, product.call.dtype, (tiles * TILE) as usize)
    }

    /// A trace of so many calls, and their results.
    fn captured(&mut self, product: &Product, calls: u32) -> Result<(Object, Vec<Object>), TtnnError> {
        let ttnn = self.card.interpreter().ttnn();
        let (device, queue) = (Value::from(self.card.object()), ("cq_id", Value::Int(0)));
        let trace =
            ttnn.call_method("begin_trace_capture", std::slice::from_ref(&device), std::slice::from_ref(&queue))?;
        let results = (0..calls).map(|_| self.call(product.call.clone().into())).collect::<Result<Vec<_>, _>>();
        ttnn.call_method("end_trace_capture", &[device, (&trace).into()], &[queue])?;
        Ok((trace, results?))
    }

    fn replay(&self, trace: &Object) -> Result<(), TtnnError> {
        let options = [("cq_id", Value::Int(0)), ("blocking", Value::Bool(true))];
        self.on_trace("execute_trace", trace, &options)
    }

    fn release(&self, trace: &Object) -> Result<(), TtnnError> {
        self.on_trace("release_trace", trace, &[])
    }

    fn on_trace(&self, method: &str, trace: &Object, options: &[(&str, Value)]) -> Result<(), TtnnError> {
        let args = [self.card.object().into(), trace.into()];
        self.card.interpreter().ttnn().call_method(method, &args, options)?;
        Ok(())
    }

    /// Microseconds of a call in a trace of many, launching included.
    fn time(&mut self, product: &Product) -> Result<f64, TtnnError> {
        let (calls, replays) = TIMED;
        let (trace, results) = self.captured(product, calls)?;
        self.replay(&trace)?;
        let started = Instant::now();
        for _ in 0..replays {
            self.replay(&trace)?;
        }
        let us = started.elapsed().as_secs_f64() * 1e6 / f64::from(calls * replays);
        self.release(&trace)?;
        drop(results);
        Ok(us)
    }
}
