//! A phase as the CSV of a profile, with predictions in the place of measurements: what tt-perf-report reads, and `calibrate --profile`.
//!
//! The columns are those of `ops_perf_results_*.csv` of tt-metal's Tracy build (`tools/tracy/process_ops_logs.py`) that a plan can fill, and
//! three of its own. A step of several programs is as many rows with equal parts of its time. A row before each phase, a signpost, says
//! that all times are predicted.

use std::collections::HashMap;

use bitnetc_compiler::target::Target;
use bitnetc_lab::profile;
use bitnetc_plan::op::Argument;
use bitnetc_plan::walk::Walk;
use bitnetc_plan::{Arch, MatmulProgram, Op, Phase, PhaseKind, Plan, Ref, Step, TensorSpec};
use bitnetc_ttnn::device_ops;
use bitnetc_ttnn::lower::{Plain, lower};
use miette::IntoDiagnostic as _;

use super::unrolled::{Call, Unrolled};
use super::{argument, dtype, layout, memory, memory_layout, predicted};
use crate::input;

/// Columns before those of the tensors.
const HEAD: [&str; 14] = [
    "OP CODE",
    "OP TYPE",
    "GLOBAL CALL COUNT",
    "DEVICE ID",
    "DEVICE ARCH",
    "ATTRIBUTES",
    "MATH FIDELITY",
    "CORE COUNT",
    "AVAILABLE WORKER CORE COUNT",
    "HOST START TS",
    "HOST END TS",
    "OP TO OP LATENCY [ns]",
    "DEVICE FW DURATION [ns]",
    "DEVICE KERNEL DURATION [ns]",
];
/// Columns of one tensor.
const TENSOR: [&str; 7] =
    ["W_PAD[LOGICAL]", "Z_PAD[LOGICAL]", "Y_PAD[LOGICAL]", "X_PAD[LOGICAL]", "LAYOUT", "DATATYPE", "MEMORY"];
/// Columns after them; the last three are bitnetc's own.
const TAIL: [&str; 5] = ["PM COMPUTE [ns]", "PM BANDWIDTH [ns]", "DURATIONS", "LAYER", "STEP"];
/// Tensors that a row has room for.
const INPUTS: usize = 4;
const OUTPUTS: usize = 3;
/// A `GLOBAL CALL COUNT` is so many times the number of the program, and the chip.
const CHIPS: usize = 1024;

/// The rows of all phases, one phase after another.
///
/// # Errors
/// None that is known: every cell is text.
pub fn text(plan: &Plan, phases: &[(&Phase, &Walk)]) -> miette::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let tensors = |kind: &'static str, count: usize| {
        (0..count).flat_map(move |at| TENSOR.map(|column| format!("{kind}_{at}_{column}")))
    };
    let header = HEAD.iter().map(ToString::to_string).chain(tensors("INPUT", INPUTS)).chain(tensors("OUTPUT", OUTPUTS));
    writer.write_record(header.chain(TAIL.iter().map(ToString::to_string))).into_diagnostic()?;
    let target = input::target_of(plan);
    let mut kernels = HashMap::new();
    if let Some(target) = &target {
        for step in profile::planned(plan, target, plan.options.priced_at).into_diagnostic()? {
            kernels.insert((step.phase, step.step.name.as_str()), step.us);
        }
    }
    let mut rows = Rows { plan, target, kernels, programs: 0, records: Vec::new() };
    for (phase, walk) in phases {
        rows.signpost(phase);
        let specs = plan.specs(phase);
        for call in &Unrolled::of(plan, phase, walk).calls {
            rows.call(phase.kind, call, &specs);
        }
    }
    for record in rows.records {
        writer.write_record(record).into_diagnostic()?;
    }
    let bytes = writer.into_inner().into_diagnostic()?;
    String::from_utf8(bytes).into_diagnostic()
}

struct Rows<'a> {
    plan: &'a Plan,
    target: Option<Target>,
    /// Predicted microseconds of the kernels of each step, where the target is known.
    kernels: HashMap<(PhaseKind, &'a str), f64>,
    /// Rows so far, signposts too: times of the host are told by them, since rows are sorted by those.
    programs: usize,
    records: Vec<Vec<String>>,
}

impl Rows<'_> {
    fn signpost(&mut self, phase: &Phase) {
        let mut record = vec![String::new(); HEAD.len() + TENSOR.len() * (INPUTS + OUTPUTS) + TAIL.len()];
        (record[0], record[1]) = (predicted(self.plan, phase), "signpost".into());
        record[9] = self.programs.to_string();
        self.programs += 1;
        self.records.push(record);
    }

    /// The rows of a call; none of one that launches nothing.
    fn call(&mut self, phase: PhaseKind, call: &Call<'_>, specs: &HashMap<Ref, &TensorSpec>) {
        let step = call.step;
        let operands: Vec<&TensorSpec> = step.op.operands().into_iter().filter_map(|o| specs.get(o).copied()).collect();
        let programs = call.memory.outcome.as_ref().map_or(0, |outcome| outcome.programs);
        let names = device_ops::names(&step.op, &operands, programs);
        let written = step.op.written().into_iter().filter_map(|o| specs.get(o).copied());
        let results: Vec<&TensorSpec> = step.outputs.iter().map(|value| &value.spec).chain(written).collect();
        let time = Time {
            us: step.cost.us,
            kernel_us: self.kernels.get(&(phase, step.name.as_str())).copied(),
            programs: names.len() as f64,
        };
        for name in &names {
            self.program(call, name, time, &operands, &results);
        }
    }

    fn program(&mut self, call: &Call<'_>, name: &str, time: Time, operands: &[&TensorSpec], results: &[&TensorSpec]) {
        let step = call.step;
        let kernel = time.kernel();
        let mut record = vec![
            name.to_owned(),
            "tt_dnn_device".into(),
            (self.programs * CHIPS).to_string(),
            "0".into(),
            arch(self.plan.card.arch).into(),
            attributes(step),
            step.op.compute().map_or_else(String::new, |compute| compute.fidelity.to_string()),
            cores(&step.op, operands, results).map_or_else(String::new, |cores| cores.to_string()),
            self.plan.card.cores().to_string(),
            self.programs.to_string(),
            self.programs.to_string(),
            time.gap(),
            kernel.clone(),
            kernel,
        ];
        self.programs += 1;
        let tensors = |specs: &[&TensorSpec], room: usize| {
            (0..room)
                .flat_map(|at| specs.get(at).map_or_else(Default::default, |spec| tensor(spec)))
                .collect::<Vec<_>>()
        };
        record.extend(tensors(operands, INPUTS));
        record.extend(tensors(results, OUTPUTS));
        let speeds = self.target.as_ref().map(|target| (target.cost.clock_ghz, target.cost.dram_gb_per_s));
        let share = |amount: u64, per_ns: f64| format!("{:.0}", amount as f64 / per_ns / time.programs);
        record.extend([
            speeds.map_or_else(String::new, |(clock, _)| share(step.cost.fpu_cycles, clock)),
            speeds.map_or_else(String::new, |(_, dram)| share(step.cost.dram_bytes, dram)),
            "predicted".into(),
            call.layer.map_or_else(String::new, |layer| layer.to_string()),
            step.name.clone(),
        ]);
        self.records.push(record);
    }
}

/// What is predicted of a call, in microseconds.
#[derive(Clone, Copy)]
struct Time {
    us: f64,
    /// Its kernels' part; `None` where it is not known.
    kernel_us: Option<f64>,
    /// The programs that share it.
    programs: f64,
}

impl Time {
    /// Nanoseconds of one program's kernels: all of its time where their part is not known.
    fn kernel(self) -> String {
        format!("{:.0}", self.kernel_us.unwrap_or(self.us) * 1000.0 / self.programs)
    }

    /// Nanoseconds before one program.
    fn gap(self) -> String {
        let gap = self.kernel_us.map(|kernel| (self.us - kernel) * 1000.0 / self.programs);
        gap.map_or_else(String::new, |gap| format!("{gap:.0}"))
    }
}

const fn arch(arch: Arch) -> &'static str {
    match arch {
        Arch::Wormhole => "wormhole_b0",
        Arch::Blackhole => "blackhole",
    }
}

/// The call's named arguments; as in Tracy's files, semicolons stand for commas.
fn attributes(step: &Step) -> String {
    let statement = lower(step, &Plain);
    let pairs = statement.call.kwargs.iter().map(|(name, value)| format!("'{name}': '{}'", argument(value)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join("; ")).replace(',', ";")
}

/// The cells of one tensor. A dimension is written as it is in memory, and in brackets as it is meant.
fn tensor(spec: &TensorSpec) -> [String; TENSOR.len()] {
    let (padded, shape) = (spec.padded(), &spec.shape);
    let side = |from_end: usize| {
        let of = |shape: &[u32]| shape.len().checked_sub(from_end).and_then(|at| shape.get(at)).copied().unwrap_or(1);
        format!("{}[{}]", of(&padded), of(shape))
    };
    [
        side(4),
        side(3),
        side(2),
        side(1),
        layout(spec.layout).into(),
        dtype(spec.dtype).into(),
        format!("DEV_0_{}_{}", memory(spec.memory.memory()), memory_layout(&spec.memory)),
    ]
}

/// The cores that a call runs on, where its arguments or its shards fix them.
fn cores(op: &Op, operands: &[&TensorSpec], results: &[&TensorSpec]) -> Option<u32> {
    let mut grid = None;
    op.arguments(&mut |_, argument| {
        let of = |(width, height): (u32, u32)| Some(width.saturating_mul(height));
        grid = grid.or(match argument {
            Argument::MatmulProgram(
                MatmulProgram::Multicast1D { grid, .. } | MatmulProgram::Multicast2D { grid, .. },
            ) => of(*grid),
            Argument::NormProgram(program) => of(program.grid),
            Argument::SdpaProgram(program) => of(program.grid),
            Argument::Cores(cores) => Some(cores.len()),
            Argument::MatmulProgram(MatmulProgram::DramSharded { .. }) | Argument::Operand(_) => None,
            Argument::Scalar(_) | Argument::Functions(_) | Argument::Compute(_) | Argument::Memory(_) => None,
            Argument::Count(_) | Argument::Shape(_) | Argument::Dimensions(..) | Argument::Range(..) => None,
            Argument::Choice => None,
        });
    });
    let sharded = || results.iter().chain(operands).find_map(|spec| spec.memory.l1_cores());
    grid.or_else(|| sharded().map(bitnetc_plan::Cores::len))
}
