//! What was measured, for people and as a document.

use schemars::JsonSchema;
use serde::Serialize;

use crate::beside::Reached;
use crate::document::Content;
use crate::render::units::{bytes, time};
use crate::render::{Align, Column, Page, Table};

/// How fast a device runs a plan.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "Measured")]
pub struct Document {
    pub model: String,
    pub policy: String,
    /// The device that ran it.
    pub device: String,
    /// How it computed.
    pub numerics: String,
    /// Threads of the host device; null for another.
    pub threads: Option<usize>,
    /// Seconds of loading.
    pub loaded_s: f64,
    /// Bytes of the matrices that a step of decode reads; null where that is not the host device.
    pub matrix_bytes: Option<u64>,
    /// Most bytes by which the memory of this process grew while TT-NN loaded; null for the host device.
    pub memory_bytes: Option<u64>,
    /// The trace of decode; null for the host device.
    pub trace: Option<Trace>,
    /// Null where the plan has no prefill, or --beside was given.
    pub prefill: Option<Prefill>,
    /// Null where --beside was given.
    pub decode: Option<Decode>,
    /// Beside llama-bench; null without --beside.
    pub in_turns: Option<Turns>,
}

impl Content for Document {
    const KIND: &'static str = "bench";
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CapturedTrace")]
pub struct Trace {
    /// Seconds of warming up and capturing.
    pub captured_s: f64,
    pub bytes: u64,
    /// Bytes that the plan has room for.
    pub planned_bytes: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Prefill {
    /// Of the prompt.
    pub tokens: usize,
    pub tokens_per_s: f64,
    /// Of the fastest run.
    pub seconds: f64,
    /// With --by-call: where the time goes.
    pub calls: Vec<Calls>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Decode {
    /// Users.
    pub batch: usize,
    /// Of all users together.
    pub tokens_per_s: f64,
    /// Seconds of a step in the fastest run.
    pub step_s: f64,
    /// Gigabytes of matrices read per second; null where that is not known.
    pub matrices_gb_per_s: Option<f64>,
    /// With --by-call: where the time of a step goes.
    pub calls: Vec<Calls>,
}

/// All runs of one TT-NN call.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Calls {
    pub call: String,
    pub calls: u64,
    /// Milliseconds of all of them.
    pub ms: f64,
}

/// Ours and another program in turns, the best run of each.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Turns {
    /// Of the prompt.
    pub tokens: usize,
    pub runs: usize,
    pub ours: Reached,
    pub theirs: Reached,
}

impl Document {
    /// For people.
    pub fn page(&self) -> Page {
        let mut page = Page::default();
        let threads = self.threads.map_or_else(String::new, |threads| format!(", {threads} threads"));
        page.prose(format!("{} {} on the {}{threads}\n{}\n", self.model, self.policy, self.device, self.numerics));
        let matrices = self.matrix_bytes.map(|n| format!(", {} of matrices", bytes(n)));
        let grew = self.memory_bytes.map(|n| format!("; the process's memory grew by {} at most", bytes(n)));
        let more = matrices.or(grew).unwrap_or_default();
        page.prose(format!("loaded in {:.2} s{more}\n", self.loaded_s));
        if let Some(Trace { captured_s, bytes: taken, planned_bytes }) = self.trace {
            let (taken, planned) = (bytes(taken), bytes(planned_bytes));
            page.prose(format!(
                "warmed up and captured in {captured_s:.2} s, {taken} of trace, planned for {planned}\n"
            ));
        }
        if let Some(Prefill { tokens, tokens_per_s, seconds, calls }) = &self.prefill {
            page.prose(format!("prefill {tokens}: {tokens_per_s:.1} tokens/s ({})\n", time(1e6 * seconds)));
            by_call(&mut page, calls);
        }
        if let Some(Decode { batch, tokens_per_s, step_s, matrices_gb_per_s, calls }) = &self.decode {
            let matrices = matrices_gb_per_s.map_or_else(String::new, |rate| format!(", matrices at {rate:.1} GB/s"));
            let (steps, step) = (1.0 / step_s, time(1e6 * step_s));
            page.prose(format!("decode {batch}: {tokens_per_s:.2} tokens/s, {steps:.2} steps/s ({step}){matrices}\n"));
            by_call(&mut page, calls);
        }
        if let Some(turns) = &self.in_turns {
            page.prose(format!("best of {} runs in turns\n", turns.runs));
            page.table(turns.table());
        }
        page
    }
}

fn by_call(page: &mut Page, calls: &[Calls]) {
    let mut table = Table::new(vec![
        Column::new("ms", Align::Right),
        Column::new("calls", Align::Right),
        Column::new("ttnn call", Align::Left).wrapped(20),
    ]);
    for Calls { call, calls, ms } in calls {
        table.row(vec![format!("{ms:.2}"), calls.to_string(), call.clone()]);
    }
    if !table.is_empty() {
        page.table(table);
    }
}

impl Turns {
    fn table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::new("", Align::Left),
            Column::new("bitnetc", Align::Right),
            Column::new("llama-bench", Align::Right),
            Column::new("ratio", Align::Right),
        ]);
        let mut row = |what: String, show: &dyn Fn(f64) -> String, ours: f64, theirs: f64| {
            table.row(vec![what, show(ours), show(theirs), format!("{:.2}", ours / theirs)]);
        };
        let rate = |v: f64| format!("{v:.1} tokens/s");
        let (ours, theirs) = (self.ours, self.theirs);
        row(format!("prefill {}", self.tokens), &rate, ours.prefill, theirs.prefill);
        row("decode".into(), &rate, ours.decode, theirs.decode);
        row("memory".into(), &|v| bytes(v as u64), ours.memory as f64, theirs.memory as f64);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn measurements_fit_every_terminal() {
        let calls = || {
            let one = |call: &str| Calls { call: call.into(), calls: 30, ms: 12_345.678 };
            ["linear", "transformer.paged_scaled_dot_product_attention_decode"].map(one).into()
        };
        let reached = Reached { prefill: 123.456, decode: 12.345, memory: 2_345_678_901 };
        let document = Document {
            model: "bitnet-b1.58-2b-4t".into(),
            policy: "balanced".into(),
            device: "host (fast numerics of wormhole)".into(),
            numerics:
                "fast numerics: logits differ from exact ones by 0.06 rms, PCC 0.9999, most likely token the same"
                    .into(),
            threads: Some(16),
            loaded_s: 12.345,
            matrix_bytes: Some(1_234_567_890),
            memory_bytes: None,
            trace: Some(Trace { captured_s: 1.5, bytes: 1_234_567, planned_bytes: 2_345_678 }),
            prefill: Some(Prefill { tokens: 128, tokens_per_s: 51.2, seconds: 2.5, calls: calls() }),
            decode: Some(Decode {
                batch: 32,
                tokens_per_s: 64.0,
                step_s: 0.5,
                matrices_gb_per_s: Some(2.469),
                calls: calls(),
            }),
            in_turns: Some(Turns { tokens: 128, runs: 3, ours: reached, theirs: reached }),
        };
        fits(&document.page());
        let text = document.page().render(None);
        for part in ["1.23 GB of matrices", "decode 32: 64.00 tokens/s, 2.00 steps/s (500.00 ms)", "best of 3 runs"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
