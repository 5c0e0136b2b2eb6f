//! Generation on a device that runs ahead of the host: which steps are asked for, when their tokens are read, and that texts are the same.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::{TensorSpec, VerifiedPlan};
use bitnetc_runtime::device::{ResolvedStep, Slot, TraceId, Upload};
use bitnetc_runtime::{
    Device, DeviceError, Flow, GenerateOptions, LoadOptions, Sampling, Session, Stop, Text, Weights, generate,
};

const BATCH: u32 = 2;
const CONTEXT: usize = 64;

/// A device that computes nothing: the token of user `u` after step `s` is `10 s + u`.
#[derive(Debug)]
struct Scripted {
    ahead: bool,
    steps: u32,
    reads: VecDeque<Vec<u32>>,
    traces: u32,
    /// `r` for a replay of decode, `p` for one of prefill, `e` for the end of a read, `w` for writes one after another.
    log: String,
}

impl Scripted {
    fn tokens(&self) -> Vec<u32> {
        (0..BATCH).map(|user| 10 * self.steps + user).collect()
    }

    fn note(&mut self, what: char) {
        if what != 'w' || !self.log.ends_with('w') {
            self.log.push(what);
        }
    }
}

impl Device for Scripted {
    fn name(&self) -> String {
        "script".into()
    }

    fn can_trace(&self) -> bool {
        true
    }

    fn runs_ahead(&self) -> bool {
        self.ahead
    }

    fn compiles(&self) -> bool {
        false
    }

    fn forbid_new_programs(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reserve(&mut self, _: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    fn upload(&mut self, _: Slot, _: &Upload<'_>) -> Result<(), DeviceError> {
        Ok(())
    }

    fn allocate(&mut self, _: Slot, _: &Arc<TensorSpec>) -> Result<(), DeviceError> {
        Ok(())
    }

    fn write(&mut self, _: Slot, _: &[u32]) -> Result<(), DeviceError> {
        self.note('w');
        Ok(())
    }

    fn execute(&mut self, _: &[Arc<ResolvedStep>]) -> Result<(), (usize, DeviceError)> {
        Ok(())
    }

    fn free(&mut self, _: Slot) -> Result<(), DeviceError> {
        Ok(())
    }

    fn read_integers(&mut self, _: Slot, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        *out = vec![3; 32];
        Ok(())
    }

    fn read_floats(&mut self, _: Slot, out: &mut Vec<f32>) -> Result<(), DeviceError> {
        out.clear();
        Ok(())
    }

    fn begin_read(&mut self, _: Slot) -> Result<(), DeviceError> {
        assert!(self.reads.len() < 2);
        self.reads.push_back(self.tokens());
        Ok(())
    }

    fn end_read(&mut self, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        self.note('e');
        *out = self.reads.pop_front().unwrap();
        Ok(())
    }

    fn begin_trace(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn end_trace(&mut self) -> Result<TraceId, DeviceError> {
        self.traces += 1;
        Ok(TraceId(self.traces - 1))
    }

    fn replay_trace(&mut self, trace: TraceId) -> Result<(), DeviceError> {
        // Where nothing is compiled, decode is captured first.
        if trace == TraceId(0) {
            self.note('r');
            self.steps += 1;
        } else {
            self.note('p');
        }
        Ok(())
    }

    fn release_trace(&mut self, _: TraceId) -> Result<(), DeviceError> {
        Ok(())
    }

    fn trace_bytes(&self) -> u64 {
        0
    }
}

fn load(ahead: bool) -> Session<Scripted> {
    let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
    let options = Options { batch: BATCH, context: CONTEXT as u32, prefill: vec![32], ..Options::for_model(&model) };
    load_plan(compile(&model, &Target::find("n150").unwrap(), &options).unwrap().plan, ahead)
}

fn load_plan(plan: VerifiedPlan, ahead: bool) -> Session<Scripted> {
    let weights = Weights::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/tiny-shakespeare")).unwrap();
    let device = Scripted { ahead, steps: 0, reads: VecDeque::new(), traces: 0, log: String::new() };
    Session::load(plan, &weights, device, &LoadOptions::default(), |_, _| {}).unwrap()
}

/// The texts of prompts of these lengths, and what the device was asked for after the last write of a prompt.
fn texts(session: &mut Session<Scripted>, prompts: &[usize], max_tokens: usize, stop: &[u32]) -> (Vec<Text>, String) {
    let prompts: Vec<Vec<u32>> = prompts.iter().map(|&length| vec![1; length]).collect();
    let interrupted = AtomicBool::new(false);
    let sampling = Sampling::GREEDY;
    let options = GenerateOptions { max_tokens, sampling, stop_tokens: stop, interrupted: &interrupted };
    session.device_mut().log.clear();
    let texts = generate(session, &prompts, &options, |_, _| Flow::Continue).unwrap();
    assert!(session.device().reads.is_empty(), "a read is left under way");
    let log = session.device().log.trim_start_matches(['w', 'p']).to_owned();
    (texts, log)
}

#[test]
fn tokens_are_read_one_step_behind_and_no_step_is_in_vain() {
    let (ahead, log) = texts(&mut load(true), &[4, 4], 5, &[]);
    assert_eq!(log, "rrerereew", "four steps, of which the last was known to be the last");
    let (behind, log) = texts(&mut load(false), &[4, 4], 5, &[]);
    assert_eq!(log, "rerererew");
    assert_eq!(ahead, behind);
    assert_eq!(ahead[1].tokens, [3, 11, 21, 31, 41]);
}

/// Of 70 tokens alike, the first 64 are two cache blocks of another user's; the chunk after them is the user's own.
#[test]
fn a_prompt_that_begins_like_another_is_prefilled_from_there() {
    let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
    let base = Options { batch: BATCH, context: 128, block: 32, prefill: vec![32], ..Options::for_model(&model) };
    let plan = compile(&model, &Target::find("n150").unwrap(), &base).unwrap().plan;
    let mut session = load_plan(plan, true);
    let prefills = |session: &mut Session<Scripted>, prompts: &[usize]| {
        let prompts: Vec<Vec<u32>> = prompts.iter().map(|&length| vec![1; length]).collect();
        let interrupted = AtomicBool::new(false);
        let sampling = Sampling::GREEDY;
        let options = GenerateOptions { max_tokens: 2, sampling, stop_tokens: &[], interrupted: &interrupted };
        session.device_mut().log.clear();
        generate(session, &prompts, &options, |_, _| Flow::Continue).unwrap();
        session.device().log.matches('p').count()
    };
    // The first chunk of all is not a replay yet.
    assert_eq!(prefills(&mut session, &[70]), 2);
    assert_eq!(prefills(&mut session, &[70]), 3);
    assert_eq!(prefills(&mut session, &[70, 70]), 3 + 1);
    assert_eq!(prefills(&mut session, &[70, 64]), 3 + 1, "the last token is the user's own");
    assert_eq!(prefills(&mut session, &[20, 70]), 1 + 3, "less than a block is not shared");
}

#[test]
fn a_stop_token_costs_the_step_that_ran_ahead() {
    // User 0 stops at the second step; the third runs by then, and counts for user 1.
    let mut session = load(true);
    let (ahead, log) = texts(&mut session, &[4, 4], 6, &[20]);
    assert_eq!(log, "rrereewrreew");
    assert_eq!((ahead[0].tokens.as_slice(), ahead[0].stop), ([3, 10].as_slice(), Stop::Token(20)));
    assert_eq!((ahead[1].tokens.as_slice(), ahead[1].stop), ([3, 11, 21, 31, 41, 51].as_slice(), Stop::Length));
    let (behind, _) = texts(&mut load(false), &[4, 4], 6, &[20]);
    assert_eq!(ahead, behind);
    // What ran ahead for one text is no part of the next.
    let steps = session.device().steps;
    let (next, _) = texts(&mut session, &[4], 3, &[]);
    assert_eq!(next[0].tokens, [3, 10 * (steps + 1), 10 * (steps + 2)]);
}

#[test]
fn no_step_runs_ahead_into_a_full_cache_or_past_a_prompt() {
    let (ahead, _) = texts(&mut load(true), &[30, 4], 1000, &[]);
    let (behind, log) = texts(&mut load(false), &[30, 4], 1000, &[]);
    assert_eq!(ahead, behind);
    assert!(ahead.iter().all(|text| text.stop == Stop::Context) && log.contains('w'));
    // 40 tokens with a bucket of 32: the others are fed by the host, step by step, and only then a step runs ahead.
    let (ahead, log) = texts(&mut load(true), &[40], 4, &[]);
    assert_eq!(log, format!("{}rrerereew", "rew".repeat(7)));
    assert_eq!(ahead, texts(&mut load(false), &[40], 4, &[]).0);
}
