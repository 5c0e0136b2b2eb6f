//! The small trained model planned for a card and executed on the host device: what a plan computes must not hang on how it is run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::{TensorSpec, VerifiedPlan};
use bitnetc_runtime::host::Numerics;
use bitnetc_runtime::{
    ABSENT, Device, DeviceError, Flow, GenerateOptions, HostDevice, LoadOptions, ResolvedStep, RuntimeError, Sampling,
    Session, Slot, Stop, Text, TraceId, Upload, Weights, generate,
};
use common::golden::{argmax, correlation, directory, golden};

fn plan(policy: Policy, batch: u32, prefill: &[u32]) -> VerifiedPlan {
    let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
    let mut options = Options::for_model(&model);
    (options.policy, options.batch, options.prefill) = (policy, batch, prefill.to_vec());
    compile(&model, &Target::find("n150").unwrap(), &options).unwrap().plan
}

fn load(plan: &VerifiedPlan, numerics: Numerics, options: &LoadOptions) -> Session<HostDevice> {
    let weights = Weights::open(&directory()).unwrap();
    let device = HostDevice::new(plan.card.arch, numerics);
    Session::load(plan.clone(), &weights, device, options, |_, _| {}).unwrap()
}

fn session(policy: Policy, batch: u32) -> Session<HostDevice> {
    load(&plan(policy, batch, &[128]), Numerics::Fast, &LoadOptions::default())
}

fn all_logits(session: &mut Session<HostDevice>, tokens: &[u32]) -> Vec<f32> {
    let mut all = Vec::new();
    session.prompt_logits(0, tokens, |_, _, logits| all.extend_from_slice(logits)).unwrap();
    all
}

fn write(session: &mut Session<HostDevice>, prompts: &[Vec<u32>], sampling: Sampling, count: usize) -> Vec<Text> {
    let interrupted = AtomicBool::new(false);
    let options = GenerateOptions { max_tokens: count, sampling, stop_tokens: &[1], interrupted: &interrupted };
    generate(session, prompts, &options, |_, _| Flow::Continue).unwrap()
}

/// Different prompts of different lengths, cut from the golden ones.
fn prompts(count: usize) -> Vec<Vec<u32>> {
    let lists: Vec<Vec<u32>> = golden().into_iter().map(|g| g.0).collect();
    let cut = |i: usize| {
        let list = &lists[i % lists.len()];
        list[..list.len() - (i / lists.len()) % list.len()].to_vec()
    };
    (0..count).map(cut).collect()
}

#[test]
fn the_exact_policy_computes_what_hugging_face_does() {
    let mut session = load(&plan(Policy::Exact, 1, &[64]), Numerics::Exact, &LoadOptions::default());
    let (mut rows, mut agree) = (0, 0);
    for (tokens, expected) in golden() {
        let logits = all_logits(&mut session, &tokens);
        let pcc = correlation(&logits, &expected);
        assert!(pcc > 0.9999, "{pcc}");
        let vocab = logits.len() / tokens.len();
        rows += tokens.len();
        agree += logits
            .chunks(vocab)
            .zip(expected.chunks(vocab))
            .filter(|(ours, theirs)| argmax(ours) == argmax(theirs))
            .count();
    }
    // Two of the golden tokens lead by less than 0.01, and the logits differ by 0.03 (root mean square).
    assert!(agree + 2 >= rows, "{agree} of {rows}");
}

#[test]
fn prefill_then_decode_is_prefill_of_the_longer_prompt() {
    let mut session = session(Policy::Exact, 1);
    let (tokens, _) = golden().swap_remove(3);
    let expected = all_logits(&mut session, &tokens);
    let vocab = expected.len() / tokens.len();
    for cut in [1, 31, 32, tokens.len() - 1] {
        session.prefill(0, &tokens[..cut]).unwrap();
        let mut logits = Vec::new();
        for (position, &token) in tokens.iter().enumerate().skip(cut) {
            session.set_users(&[token], &[position as u32]).unwrap();
            session.decode().unwrap();
            session.logits(&mut logits).unwrap();
            let row = &expected[position * vocab..(position + 1) * vocab];
            let differs = logits[..vocab].iter().zip(row).position(|(a, b)| a != b);
            assert_eq!(differs, None, "position {position} after a prefill of {cut}: {:?}", &logits[..4]);
        }
    }
}

#[test]
fn thirty_two_users_write_what_each_writes_alone() {
    for policy in [Policy::Exact, Policy::Balanced] {
        let prompts = prompts(32);
        let together = write(&mut session(policy, 32), &prompts, Sampling::GREEDY, 12);
        let mut alone = session(policy, 1);
        for (prompt, text) in prompts.iter().zip(&together) {
            assert_eq!(&write(&mut alone, std::slice::from_ref(prompt), Sampling::GREEDY, 12)[0], text);
        }
    }
}

#[test]
fn a_trace_replays_what_its_steps_compute() {
    let plan = plan(Policy::Balanced, 2, &[128]);
    let prompts = prompts(2);
    let run = |trace| {
        let mut session = load(&plan, Numerics::Exact, &LoadOptions { trace, ..LoadOptions::default() });
        let texts = write(&mut session, &prompts, Sampling::GREEDY, 8);
        let mut logits = Vec::new();
        session.logits(&mut logits).unwrap();
        (texts, logits)
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn pages_in_any_order_hold_the_same_text() {
    let plan = plan(Policy::Balanced, 3, &[128]);
    let prompts = prompts(3);
    let run = |page_table: Option<Vec<u32>>| {
        let options = LoadOptions { page_table, ..LoadOptions::default() };
        write(&mut load(&plan, Numerics::Fast, &options), &prompts, Sampling::GREEDY, 90)
    };
    let entries = plan.options.batch * plan.options.context / plan.options.block;
    let shuffled = (0..entries).map(|i| (i * 5 + 3) % entries).collect();
    assert_eq!(run(Some(shuffled)), run(None));
    let refuse = |page_table: Vec<u32>| {
        let weights = Weights::open(&directory()).unwrap();
        let device = HostDevice::new(plan.card.arch, Numerics::Fast);
        let options = LoadOptions { page_table: Some(page_table), ..LoadOptions::default() };
        matches!(Session::load(plan.clone(), &weights, device, &options, |_, _| {}), Err(RuntimeError::PageTable(_)))
    };
    assert!(refuse(vec![0; entries as usize]) && refuse(vec![entries; 1]) && refuse((0..entries - 1).collect()));
}

/// Golden texts one after another: `count` tokens.
fn long_prompt(count: usize) -> Vec<u32> {
    golden().into_iter().cycle().flat_map(|g| g.0).take(count).collect()
}

#[test]
fn a_prompt_of_several_chunks_is_the_prompt_at_once() {
    let tokens = long_prompt(200);
    let logits = |prefill: &[u32], numerics| {
        all_logits(&mut load(&plan(Policy::Exact, 1, prefill), numerics, &LoadOptions::default()), &tokens)
    };
    // 64, 64, 64 and 8 tokens; 128 and 72.
    let whole = logits(&[256], Numerics::Fast);
    for prefill in [&[64][..], &[32, 128]] {
        let chunked = logits(prefill, Numerics::Fast);
        assert_eq!(chunked.len(), whole.len());
        assert_eq!(chunked.iter().zip(&whole).position(|(a, b)| a != b), None, "{prefill:?}");
    }
    // The kernels sum a chunk's keys in groups that depend on the phase, so here the bits may differ.
    let pcc = correlation(&logits(&[64], Numerics::Exact), &logits(&[256], Numerics::Exact));
    assert!(pcc > 0.9999, "{pcc}");
}

#[test]
fn a_prompt_longer_than_every_bucket_goes_on_in_chunks_or_by_decoding() {
    let tokens = long_prompt(82);
    let write = |prefill: &[u32], longest: usize| {
        let mut session = load(&plan(Policy::Exact, 1, prefill), Numerics::Fast, &LoadOptions::default());
        assert_eq!(session.prefilled(256), longest);
        write(&mut session, std::slice::from_ref(&tokens), Sampling::GREEDY, 16)
    };
    let expected = write(&[128], 256);
    // A bucket of half a cache block can only be the last.
    for (prefill, longest) in [(&[64][..], 256), (&[32, 64], 256), (&[32], 32), (&[], 0)] {
        assert_eq!(write(prefill, longest), expected, "{prefill:?}");
    }
}

#[test]
fn a_prefix_is_read_from_another_users_blocks() {
    let plan = plan(Policy::Exact, 3, &[64]);
    let mut session = load(&plan, Numerics::Fast, &LoadOptions::default());
    let prefix = long_prompt(150);
    let prompt = |tail: &[u32]| [&prefix[..], tail].concat();
    let prompts = [prompt(&[]), prompt(&[5, 6, 7]), prompt(&[11; 40])];
    let mut logits = Vec::new();
    let mut last = |session: &mut Session<HostDevice>, prompt: &[u32]| {
        session.logits(&mut logits).unwrap();
        let vocab = session.plan().model.vocab as usize;
        let row = (prompt.len() - 1) % 32;
        logits[row * vocab..(row + 1) * vocab].to_vec()
    };
    let alone: Vec<_> = prompts
        .iter()
        .map(|prompt| {
            session.prefill(0, prompt).unwrap();
            last(&mut session, prompt)
        })
        .collect();
    session.prefill(2, &prompts[0]).unwrap();
    for (user, prompt) in [(0, &prompts[1]), (1, &prompts[2])] {
        // Whole blocks of 64 tokens.
        let shared = session.share(user, 2, prefix.len()).unwrap();
        assert_eq!(shared, 128);
        session.prefill_from(user, prompt, shared).unwrap();
        assert_eq!(last(&mut session, prompt), alone[user + 1]);
    }
    // Each goes on in blocks of its own, and the owner's are as they were.
    let (tokens, positions): (Vec<u32>, Vec<u32>) =
        [&prompts[1], &prompts[2], &prompts[0]].map(|p| (p[p.len() - 1], p.len() as u32 - 1)).into_iter().unzip();
    session.set_users(&tokens, &positions).unwrap();
    session.decode().unwrap();
    session.logits(&mut logits).unwrap();
    let vocab = session.plan().model.vocab as usize;
    for (user, row) in [(0, &alone[1]), (1, &alone[2]), (2, &alone[0])] {
        assert_eq!(&logits[user * vocab..(user + 1) * vocab], row.as_slice(), "user {user}");
    }
    assert!(session.prefill_from(1, &prompts[1], 100).unwrap_err().to_string().contains("multiples of 64"));
    assert!(session.prefill_from(1, &prompts[1], 192).unwrap_err().to_string().contains("start at number 192"));
    assert!(session.share(1, 3, 64).is_err() && session.share(1, 2, 257).is_err());
}

#[test]
fn idle_users_stay_where_they_are() {
    let mut session = session(Policy::Exact, 3);
    let prompts = prompts(2);
    let positions: Vec<u32> = prompts.iter().map(|p| p.len() as u32).collect();
    let mut logits = Vec::new();
    let mut decode = |session: &mut Session<HostDevice>, idle: bool| {
        for (user, prompt) in prompts.iter().enumerate() {
            session.prefill(user, prompt).unwrap();
        }
        if idle {
            // The second user waits while the first goes on for longer than a cache block.
            session.set_users(&[9, 9, 9], &[positions[0], ABSENT, ABSENT]).unwrap();
            (0..70).for_each(|_| session.decode().unwrap());
        }
        session.set_users(&[9, 9, 9], &[ABSENT, positions[1], ABSENT]).unwrap();
        session.decode().unwrap();
        session.logits(&mut logits).unwrap();
        let vocab = session.plan().model.vocab as usize;
        logits[vocab..2 * vocab].to_vec()
    };
    assert_eq!(decode(&mut session, true), decode(&mut session, false));
}

#[test]
fn texts_end_where_they_should() {
    let mut session = session(Policy::Exact, 2);
    let prompts = prompts(2);
    let context = session.context();
    let full = write(&mut session, &prompts, Sampling::GREEDY, usize::MAX);
    for (text, prompt) in full.iter().zip(&prompts) {
        assert!(text.stop == Stop::Token(1) || text.tokens.len() == context - prompt.len() + 1, "{:?}", text.stop);
    }
    let short = write(&mut session, &prompts, Sampling::GREEDY, 3);
    assert!(short.iter().all(|t| t.stop == Stop::Length && t.tokens.len() == 3));
    let interrupted = AtomicBool::new(false);
    let stop_tokens = [full[0].tokens[4]];
    let options = GenerateOptions {
        max_tokens: 50,
        sampling: Sampling::GREEDY,
        stop_tokens: &stop_tokens,
        interrupted: &interrupted,
    };
    let texts = generate(&mut session, &prompts[..1], &options, |_, _| Flow::Continue).unwrap();
    assert_eq!(texts[0].stop, Stop::Token(stop_tokens[0]));
    assert!(texts[0].tokens.len() <= 4);
    let options = GenerateOptions { stop_tokens: &[], ..options };
    interrupted.store(false, std::sync::atomic::Ordering::Relaxed);
    let mut seen = 0;
    let asked = generate(&mut session, &prompts, &options, |_, _| {
        seen += 1;
        interrupted.store(seen >= 7, std::sync::atomic::Ordering::Relaxed);
        Flow::Continue
    });
    assert!(asked.unwrap().iter().all(|t| t.stop == Stop::Asked));
    assert!(seen < 10);
}

#[test]
fn a_seed_samples_the_same_text_in_any_company() {
    let sampling = Sampling { temperature: 0.9, top_k: 40, top_p: 0.95, seed: 11 };
    let prompts = prompts(2);
    let together = write(&mut session(Policy::Exact, 4), &prompts, sampling, 20);
    let alone = write(&mut session(Policy::Exact, 1), &prompts[..1], sampling, 20);
    assert_eq!(together[0], alone[0]);
    let other = write(&mut session(Policy::Exact, 1), &prompts[..1], Sampling { seed: 12, ..sampling }, 20);
    assert_ne!(other[0], alone[0]);
}

/// Plans of the model whose decode takes the likeliest token, and draws it.
fn likeliest_and_drawn(policy: Policy, batch: u32) -> [Session<HostDevice>; 2] {
    let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
    [false, true].map(|sample| {
        let options = Options { policy, batch, sample, prefill: vec![128], ..Options::for_model(&model) };
        let plan = compile(&model, &Target::find("n150").unwrap(), &options).unwrap().plan;
        load(&plan, Numerics::Fast, &LoadOptions::default())
    })
}

#[test]
fn a_plan_that_draws_takes_the_likeliest_when_asked() {
    for policy in [Policy::Balanced, Policy::Exact] {
        let [likeliest, drawn] = &mut likeliest_and_drawn(policy, 2);
        let expected = write(likeliest, &prompts(2), Sampling::GREEDY, 20);
        assert_eq!(write(drawn, &prompts(2), Sampling::GREEDY, 20), expected, "{policy}");
        let narrow = Sampling { temperature: 1.5, top_k: 20, top_p: 1e-6, seed: 3 };
        assert_eq!(write(drawn, &prompts(2), narrow, 20), expected, "{policy}");
    }
}

#[test]
fn the_device_draws_among_the_likeliest_by_a_seed() {
    let [_, session] = &mut likeliest_and_drawn(Policy::Balanced, 2);
    let sampling = Sampling { temperature: 1.0, top_k: 3, top_p: 1.0, seed: 11 };
    assert!(session.picks(&sampling) && !session.picks(&Sampling { top_k: 0, ..sampling }));
    let alike = vec![prompts(1).remove(0); 2];
    let first = write(session, &alike, sampling, 30);
    assert_ne!(first[0].tokens, first[1].tokens, "users have random numbers of their own");
    assert_eq!(write(session, &alike, sampling, 30), first);
    assert_ne!(write(session, &alike, Sampling { seed: 12, ..sampling }, 30), first);
    // Every token but the first is one of the three likeliest after those before it.
    for text in &first {
        let tokens = [&alike[0][..], &text.tokens].concat();
        let logits = all_logits(session, &tokens);
        for (at, row) in logits.chunks(1024).enumerate().take(tokens.len() - 1).skip(alike[0].len()) {
            let better = row.iter().filter(|logit| **logit > row[tokens[at + 1] as usize]).count();
            assert!(better <= 4, "token {at} is number {better}");
        }
    }
    // What the device cannot draw, the host draws from the logits.
    let all = write(session, &alike, Sampling { top_k: 0, ..sampling }, 10);
    assert_ne!(all, write(session, &alike, Sampling { top_k: 0, seed: 12, ..sampling }, 10));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let mut session = session(Policy::Exact, 1);
    let interrupted = AtomicBool::new(false);
    let options =
        GenerateOptions { max_tokens: 1, sampling: Sampling::GREEDY, stop_tokens: &[], interrupted: &interrupted };
    let mut refuse = |prompts: &[Vec<u32>]| {
        generate(&mut session, prompts, &options, |_, _| Flow::Continue).unwrap_err().to_string()
    };
    assert!(refuse(&[vec![1], vec![2]]).contains("--batch 2"));
    assert!(refuse(&[vec![]]).contains("no tokens"));
    assert!(refuse(&[vec![2000]]).contains("token 2000"));
    assert!(refuse(&[vec![5; 300]]).contains("300 tokens"));
    let sampling = Sampling { temperature: f32::INFINITY, ..Sampling::GREEDY };
    let options = GenerateOptions { sampling, ..options };
    assert!(matches!(
        generate(&mut session, &[vec![3]], &options, |_, _| Flow::Continue),
        Err(RuntimeError::Sampling { .. })
    ));
}

#[test]
fn a_packed_file_runs_like_its_checkpoint() {
    let plan = plan(Policy::Balanced, 1, &[32]);
    let checkpoint = Weights::open(&directory()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.packed");
    bitnetc_runtime::weights::packed::write(&plan, &checkpoint, &path, |_, _| ControlFlow::Continue(())).unwrap();
    let prompts = prompts(1);
    for numerics in [Numerics::Fast, Numerics::Exact] {
        let device = HostDevice::new(plan.card.arch, numerics);
        let packed = Weights::open(&path).unwrap();
        let mut session = Session::load(plan.clone(), &packed, device, &LoadOptions::default(), |_, _| {}).unwrap();
        let expected = write(&mut load(&plan, numerics, &LoadOptions::default()), &prompts, Sampling::GREEDY, 6);
        assert_eq!(write(&mut session, &prompts, Sampling::GREEDY, 6), expected);
    }
}

/// A device that refuses to record what `refuses` says, as one might that has no room for it.
struct Refusing {
    host: HostDevice,
    refuses: bool,
    capturing: bool,
}

impl Device for Refusing {
    fn name(&self) -> String {
        self.host.name()
    }

    fn can_trace(&self) -> bool {
        self.host.can_trace()
    }

    fn runs_ahead(&self) -> bool {
        self.host.runs_ahead()
    }

    fn compiles(&self) -> bool {
        self.host.compiles()
    }

    fn forbid_new_programs(&mut self) -> Result<(), DeviceError> {
        self.host.forbid_new_programs()
    }

    fn reserve(&mut self, slots: usize) -> Result<(), DeviceError> {
        self.host.reserve(slots)
    }

    fn upload(&mut self, slot: Slot, upload: &Upload<'_>) -> Result<(), DeviceError> {
        self.host.upload(slot, upload)
    }

    fn allocate(&mut self, slot: Slot, spec: &Arc<TensorSpec>) -> Result<(), DeviceError> {
        self.host.allocate(slot, spec)
    }

    fn write(&mut self, slot: Slot, data: &[u32]) -> Result<(), DeviceError> {
        self.host.write(slot, data)
    }

    fn execute(&mut self, steps: &[Arc<ResolvedStep>]) -> Result<(), (usize, DeviceError)> {
        if self.capturing && self.refuses {
            return Err((1, DeviceError::Trace("no room".into())));
        }
        self.host.execute(steps)
    }

    fn free(&mut self, slot: Slot) -> Result<(), DeviceError> {
        self.host.free(slot)
    }

    fn read_integers(&mut self, slot: Slot, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        self.host.read_integers(slot, out)
    }

    fn read_floats(&mut self, slot: Slot, out: &mut Vec<f32>) -> Result<(), DeviceError> {
        self.host.read_floats(slot, out)
    }

    fn begin_read(&mut self, slot: Slot) -> Result<(), DeviceError> {
        self.host.begin_read(slot)
    }

    fn end_read(&mut self, out: &mut Vec<u32>) -> Result<(), DeviceError> {
        self.host.end_read(out)
    }

    fn begin_trace(&mut self) -> Result<(), DeviceError> {
        self.capturing = true;
        self.host.begin_trace()
    }

    fn end_trace(&mut self) -> Result<TraceId, DeviceError> {
        self.capturing = false;
        self.host.end_trace()
    }

    fn replay_trace(&mut self, trace: TraceId) -> Result<(), DeviceError> {
        self.host.replay_trace(trace)
    }

    fn release_trace(&mut self, trace: TraceId) -> Result<(), DeviceError> {
        self.host.release_trace(trace)
    }

    fn trace_bytes(&self) -> u64 {
        self.host.trace_bytes()
    }
}

#[test]
fn a_capture_that_failed_can_be_tried_again() {
    let plan = plan(Policy::Exact, 1, &[32]);
    let weights = Weights::open(&directory()).unwrap();
    let host = HostDevice::new(plan.card.arch, Numerics::Fast);
    let device = Refusing { host, refuses: true, capturing: false };
    let mut session = Session::load(plan, &weights, device, &LoadOptions::default(), |_, _| {}).unwrap();
    for _ in 0..2 {
        let error = session.prefill(0, &[5, 6, 7]).unwrap_err().to_string();
        assert!(error.starts_with("decode") && error.ends_with("no room"), "{error}");
    }
    session.device_mut().refuses = false;
    session.prefill(0, &[5, 6, 7]).unwrap();
    session.decode().unwrap();
}
