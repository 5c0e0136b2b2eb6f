//! A report of ttnn-visualizer: a folder with `db.sqlite`, in the schema in which TT-NN writes its own reports, and `config.json`.
//!
//! Every call of every layer is an operation, and its predicted time the operation's duration. Tensors have their addresses and lives;
//! `buffers` has what holds memory during each operation, the temporaries of a call too. The plan keeps the circular buffers of a call as
//! the bytes that the busiest core needs, so they are shown as one buffer on all cores, from the bottom of L1.

mod capture;

use std::collections::HashSet;
use std::path::Path;

use bitnetc_plan::walk::Walk;
use bitnetc_plan::{Card, Memory, MemoryConfig, Phase, Plan, TensorSpec};
use bitnetc_ttnn::lower::{Plain, lower};
use miette::{IntoDiagnostic, WrapErr};
use rusqlite::{Connection, Transaction, params};
use serde_json::json;

use super::unrolled::{Call, Tensor, Unrolled};
use super::{argument, dtype, layout, memory_layout, predicted};
use crate::output;

const SCHEMA: &str = include_str!("../schema.sql");
/// The version of TT-NN's schema that [`SCHEMA`] follows.
const SCHEMA_VERSION: &str = "3.5";

/// Writes the report of some phases, one after another, into a folder, which is made where there is none.
///
/// # Errors
/// A folder that cannot be made or written.
pub fn write(folder: &Path, plan: &Plan, phases: &[(&Phase, &Walk)]) -> miette::Result<()> {
    let database = database(plan, phases).into_diagnostic().wrap_err("cannot make the report's database")?;
    std::fs::create_dir_all(folder).into_diagnostic().wrap_err_with(|| format!("cannot make {}", folder.display()))?;
    output::write(&folder.join("db.sqlite"), &database)?;
    let titles: Vec<String> = phases.iter().map(|(phase, _)| predicted(plan, phase)).collect();
    let config = json!({ "report_name": titles.join("; "), "durations": "predicted" });
    output::write_text(&folder.join("config.json"), &format!("{config:#}\n"))
}

/// The bytes of the database.
fn database(plan: &Plan, phases: &[(&Phase, &Walk)]) -> rusqlite::Result<Vec<u8>> {
    let mut connection = Connection::open_in_memory()?;
    connection.execute_batch(SCHEMA)?;
    let transaction = connection.transaction()?;
    let mut report = Report { tables: &transaction, plan, operations: 0, values: 0 };
    report.device(&plan.card)?;
    report.metadata(phases)?;
    for (number, (phase, walk)) in phases.iter().enumerate() {
        report.phase(phase, &Unrolled::of(plan, phase, walk), number == 0)?;
    }
    transaction.commit()?;
    connection.serialize("main").map(|data| data.to_vec())
}

/// A report being filled.
struct Report<'a> {
    tables: &'a Transaction<'a>,
    plan: &'a Plan,
    /// Operations so far.
    operations: usize,
    /// Values of the phases so far: weights and buffers are the same tensors in all.
    values: usize,
}

impl Report<'_> {
    /// The one device, as `ttnn.reports.get_device_info` tells it of a card without cores that only store.
    fn device(&self, card: &Card) -> rusqlite::Result<()> {
        let ((width, height), cores, bank) = (card.grid, u64::from(card.cores()), card.l1_bytes());
        self.tables.execute(
            "INSERT INTO devices VALUES (0, ?1, ?2, ?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?4, 0, ?8, 0, ?9, ?9, ?5, 0)",
            params![
                height,
                width,
                card.l1.end,
                cores,
                bank,
                card.l1.base,
                card.l1.end / bank.max(1),
                cores * card.l1.end,
                cores * bank
            ],
        )?;
        Ok(())
    }

    fn metadata(&self, phases: &[(&Phase, &Walk)]) -> rusqlite::Result<()> {
        let mut insert = self.tables.prepare("INSERT INTO report_metadata VALUES (?, ?)")?;
        let titles: Vec<String> = phases.iter().map(|(phase, _)| predicted(self.plan, phase)).collect();
        for (key, value) in [
            ("schema_version", SCHEMA_VERSION),
            ("ttnn_version", self.plan.release.as_str()),
            ("title", &titles.join("; ")),
            ("durations", "predicted"),
        ] {
            insert.execute([key, value])?;
        }
        Ok(())
    }

    fn phase(&mut self, phase: &Phase, unrolled: &Unrolled, is_first: bool) -> rusqlite::Result<()> {
        let constants = unrolled.tensors.iter().take_while(|tensor| tensor.made.is_none()).count();
        let ids = Ids { operations: self.operations, values: self.values, constants };
        for (at, tensor) in unrolled.tensors.iter().enumerate().filter(|(at, _)| is_first || *at >= constants) {
            self.tensor(&ids, at, tensor)?;
        }
        for (at, call) in unrolled.calls.iter().enumerate() {
            self.call(&ids, phase, at, call, unrolled)?;
            self.buffers(ids.operation(at), at, call, unrolled)?;
        }
        self.operations += unrolled.calls.len();
        self.values += unrolled.tensors.len() - constants;
        Ok(())
    }

    fn tensor(&self, ids: &Ids, at: usize, tensor: &Tensor) -> rusqlite::Result<()> {
        let (id, spec) = (ids.tensor(at), tensor.spec);
        let mut insert =
            self.tables.prepare_cached("INSERT INTO tensors VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, 0, 'DEVICE')")?;
        let kind = buffer_type(spec.memory.memory());
        insert.execute(params![
            id,
            shape(spec),
            format!("DataType.{}", dtype(spec.dtype)),
            format!("Layout.{}", layout(spec.layout)),
            memory_config(&spec.memory),
            tensor.address,
            kind,
            tensor.bytes
        ])?;
        self.tables
            .prepare_cached("INSERT INTO device_tensors VALUES (?, 0, ?, 0)")?
            .execute(params![id, tensor.address])?;
        let operation = |at: Option<usize>| at.map(|at| ids.operation(at));
        let mut insert =
            self.tables.prepare_cached("INSERT INTO tensor_lifetime VALUES (?, ?, ?, ?, NULL, NULL, NULL, NULL, 0)")?;
        insert.execute(params![id, operation(tensor.made), operation(tensor.used), operation(tensor.freed)])?;
        Ok(())
    }

    fn call(&self, ids: &Ids, phase: &Phase, at: usize, call: &Call, unrolled: &Unrolled) -> rusqlite::Result<()> {
        let (id, step) = (ids.operation(at), call.step);
        let name = format!("ttnn.{}", step.op.call());
        let mut insert = self.tables.prepare_cached("INSERT INTO operations VALUES (?, ?, ?, 0)")?;
        insert.execute(params![id, name, step.cost.us / 1e6])?;
        let mut place = phase.kind.to_string();
        if let Some(layer) = call.layer {
            place.push_str(&format!(", layer {layer}"));
        }
        let mut trace = format!("{place}, step `{}`\n", step.name);
        if !step.note.is_empty() {
            trace.push_str(&format!("{}\n", step.note));
        }
        self.tables.prepare_cached("INSERT INTO stack_traces VALUES (?, ?, NULL, 0)")?.execute(params![id, trace])?;
        let mut insert = self.tables.prepare_cached("INSERT INTO operation_arguments VALUES (?, ?, ?, 0)")?;
        for (name, value) in lower(step, &Plain).call.kwargs {
            insert.execute(params![id, name, argument(&value)])?;
        }
        for (name, value) in [("phase", phase.kind.to_string()), ("step", step.name.clone())] {
            insert.execute(params![id, name, value])?;
        }
        if let Some(layer) = call.layer {
            insert.execute(params![id, "layer", layer.to_string()])?;
        }
        let mut insert = self.tables.prepare_cached("INSERT INTO input_tensors VALUES (?, ?, ?, 0)")?;
        for (index, (_, tensor)) in call.inputs.iter().enumerate() {
            insert.execute(params![id, index, ids.tensor(*tensor)])?;
        }
        let mut insert = self.tables.prepare_cached("INSERT INTO output_tensors VALUES (?, ?, ?, 0)")?;
        for (index, tensor) in call.outputs.iter().enumerate() {
            insert.execute(params![id, index, ids.tensor(*tensor)])?;
        }
        let graph = capture::of(&self.plan.card, ids, call, unrolled);
        self.tables.prepare_cached("INSERT INTO captured_graph VALUES (?, ?, 0)")?.execute(params![id, graph])?;
        Ok(())
    }

    /// What holds memory while a call runs, the tensors that it makes for itself and the results of earlier traces included.
    fn buffers(&self, id: usize, at: usize, call: &Call, unrolled: &Unrolled) -> rusqlite::Result<()> {
        let mut insert = self.tables.prepare_cached("INSERT INTO buffers VALUES (?, 0, ?, ?, ?, ?, 0)")?;
        let mut in_l1 = HashSet::new();
        for tensor in unrolled.tensors.iter().filter(|tensor| tensor.is_alive(at)) {
            let memory = tensor.spec.memory.memory();
            if memory == Memory::L1 {
                in_l1.insert(tensor.address);
            }
            insert.execute(params![
                id,
                tensor.address,
                tensor.bytes,
                buffer_type(memory),
                buffer_layout(&tensor.spec.memory)
            ])?;
        }
        for other in call.memory.live.iter().filter(|resident| !in_l1.contains(&resident.address)) {
            insert.execute(params![id, other.address, other.bytes, buffer_type(Memory::L1), 0])?;
        }
        Ok(())
    }
}

/// Numbers in the report, from 1, of what an unrolled phase counts from 0.
struct Ids {
    operations: usize,
    values: usize,
    constants: usize,
}

impl Ids {
    const fn operation(&self, at: usize) -> usize {
        self.operations + at + 1
    }

    const fn tensor(&self, at: usize) -> usize {
        if at < self.constants { at + 1 } else { self.values + at + 1 }
    }
}

/// `BufferType` as a number.
const fn buffer_type(memory: Memory) -> u32 {
    match memory {
        Memory::Dram => 0,
        Memory::L1 => 1,
    }
}

/// `TensorMemoryLayout` as a number.
const fn buffer_layout(config: &MemoryConfig) -> u32 {
    match config.strategy() {
        None => 0,
        Some(bitnetc_plan::Strategy::Height) => 1,
        Some(bitnetc_plan::Strategy::Width) => 2,
    }
}

fn shape(spec: &TensorSpec) -> String {
    format!("Shape({:?})", spec.shape)
}

/// A memory config in the words that ttnn-visualizer reads.
fn memory_config(config: &MemoryConfig) -> String {
    let shards = match config {
        MemoryConfig::Interleaved(_) => "std::nullopt".into(),
        MemoryConfig::Sharded { cores, shard: [rows, columns], .. } => {
            let range = |r: &bitnetc_plan::CoreRange| {
                format!("[(x={},y={}) - (x={},y={})]", r.start.0, r.start.1, r.end.0, r.end.1)
            };
            let grid: Vec<String> = cores.0.iter().map(range).collect();
            format!(
                "ShardSpec(grid={{{}}},shape={{{rows}, {columns}}},orientation=ShardOrientation::ROW_MAJOR,halo=0)",
                grid.join(", ")
            )
        }
    };
    let memory = super::memory(config.memory());
    let layout = memory_layout(config);
    format!(
        "MemoryConfig(memory_layout=TensorMemoryLayout::{layout},buffer_type=BufferType::{memory},shard_spec={shards})"
    )
}

#[cfg(test)]
mod tests;
