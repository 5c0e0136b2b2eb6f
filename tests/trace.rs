//! Traces on mock cards: a whole session of the small model on each family, with TT-NN's own record of buffers and bitnetc's record of calls
//! held against what a card would refuse. A mock computes nothing, so tokens mean nothing here.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::{BufferRole, DType, Memory, MemoryConfig, Phase, TensorSpec, TtnnRelease, VerifiedPlan};
use bitnetc_runtime::{Device as _, Flow, GenerateOptions, LoadOptions, Sampling, Session, Weights, generate};
use bitnetc_ttnn::record::{self, Event};
use bitnetc_ttnn::{CardKind, CardOptions, MockCard, PythonEnv, TtnnDevice, Value, Wanted};

const CARD: &str = "BITNETC_TEST_CARD";
const STEPS: usize = 16;

/// Runs one test of this file by itself on a card: a process opens one kind of card.
fn alone(test: &str, card: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(CARD, card)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{card}: {text}");
}

fn card() -> MockCard {
    MockCard::named(&std::env::var(CARD).unwrap()).unwrap()
}

fn plan(batch: u32) -> VerifiedPlan {
    planned(batch, false)
}

fn planned(batch: u32, sample: bool) -> VerifiedPlan {
    let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
    let options = Options { batch, sample, ..Options::for_model(&model) };
    compile(&model, &Target::find(&card().name()).unwrap(), &options).unwrap().plan
}

fn load(batch: u32, queues: u32) -> Session<TtnnDevice> {
    load_planned(plan(batch), queues)
}

fn load_planned(plan: VerifiedPlan, queues: u32) -> Session<TtnnDevice> {
    let env = PythonEnv::find(None, Wanted::Only(TtnnRelease::latest())).unwrap();
    let options = CardOptions { command_queues: queues, ..CardOptions::default() };
    let device = TtnnDevice::open(&env, CardKind::Mock(card()), options, &plan).unwrap();
    let weights = Weights::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/tiny-shakespeare")).unwrap();
    Session::load(plan, &weights, device, &LoadOptions::default(), |_, _| {}).unwrap()
}

/// Generates for users whose prompts end in different tiles.
fn write(session: &mut Session<TtnnDevice>, temperature: f32) {
    let prompts: Vec<Vec<u32>> = (0..session.batch()).map(|user| vec![5; 3 + 40 * (user % 3)]).collect();
    let sampling = Sampling { temperature, top_k: 20, ..Sampling::GREEDY };
    let interrupted = AtomicBool::new(false);
    let options = GenerateOptions { max_tokens: STEPS + 1, sampling, stop_tokens: &[], interrupted: &interrupted };
    let texts = generate(session, &prompts, &options, |_, _| Flow::Continue).unwrap();
    assert!(texts.iter().all(|text| text.tokens.len() == STEPS + 1));
}

/// The calls of each capture.
fn captures(events: &[Event]) -> Vec<&[Event]> {
    let of = |wanted: Event| events.iter().enumerate().filter(move |(_, e)| **e == wanted).map(|(at, _)| at);
    of(Event::Begin).zip(of(Event::End)).map(|(begin, end)| &events[begin + 1..end]).collect()
}

/// Where a replay is in a record, counted from 0.
fn replay(events: &[Event], number: usize) -> usize {
    events.iter().enumerate().filter(|(_, event)| **event == Event::Replay).nth(number).unwrap().0
}

/// The L1 addresses of a phase's results in the order in which a run makes them.
fn addresses(plan: &VerifiedPlan, phase: &Phase) -> Vec<u64> {
    let layers = (0..plan.model.layers).flat_map(|_| &phase.layer);
    let steps = phase.prologue.iter().chain(layers).chain(&phase.epilogue);
    let in_l1 = steps.flat_map(|step| &step.outputs).filter(|value| value.spec.memory.memory() == Memory::L1);
    in_l1.filter_map(|value| value.address).collect()
}

#[test]
#[ignore = "run by the other tests of this file, in a process of its own"]
fn sessions_on_one_card() {
    for (batch, queues) in [(1, 1), (32, 1), (32, 2)] {
        record::start();
        let mut session = load(batch, queues);
        write(&mut session, 0.0);
        let greedy = record::stop();
        if let Err(broken) = record::check(&greedy) {
            panic!("batch {batch}, {queues} queues: {broken}");
        }
        let plan = plan(batch);
        // The prefill phases, then decode.
        let phases = plan.phases[1..].iter().chain(&plan.phases[..1]);
        let captures = captures(&greedy);
        assert_eq!(captures.len(), plan.phases.len());
        for (phase, captured) in phases.zip(captures) {
            let placed = captured.iter().filter_map(|event| match event {
                Event::Placed(_, address) => Some(*address),
                _ => None,
            });
            assert_eq!(placed.collect::<Vec<_>>(), addresses(&plan, phase), "{}", phase.kind);
        }
        // One of a prefill phase for each user.
        let (users, count) = (batch as usize, greedy.iter().filter(|event| **event == Event::Replay).count());
        assert_eq!(count, users + STEPS);
        let first = replay(&greedy, users);
        // From the second step on, a step is asked for before the tokens of the last one are waited for.
        let order = greedy[first..].iter().filter_map(|event| match event {
            Event::Replay => Some('r'),
            Event::Synchronize(_) => Some('s'),
            _ => None,
        });
        let replays: String = order.collect();
        assert!(replays.starts_with(&format!("rr{}s", "sr".repeat(STEPS - 2))), "{replays}");
        if queues == 1 {
            let steps = &greedy[first..];
            let commands = |event: &&Event| matches!(event, Event::Replay | Event::Read { .. } | Event::Record { .. });
            let last = steps.iter().rposition(|event| *event == Event::Replay).unwrap();
            assert_eq!(steps[..last].iter().filter(commands).count(), 3 * (STEPS - 1), "three commands a step");
            assert!(!steps[..last].iter().any(|event| matches!(event, Event::Write { .. } | Event::Wait { .. })));
        }

        let bytes = session.device().trace_bytes();
        let planned = plan.dram().traces * u64::from(plan.card.dram.banks);
        println!("{} batch {batch}: {bytes} bytes of trace, planned {planned}", plan.card.name);
        assert!(0 < bytes && bytes <= planned, "{bytes} bytes of trace, planned {planned}");

        // Sampling on the host writes tokens and reads logits between replays of the same traces.
        record::start();
        write(&mut session, 0.8);
        let mut sampled = record::stop();
        assert_eq!(sampled.iter().filter(|event| **event == Event::Replay).count(), users + STEPS);
        let mut both = greedy;
        both.append(&mut sampled);
        if let Err(broken) = record::check(&both) {
            panic!("sampling, batch {batch}, {queues} queues: {broken}");
        }

        // A prompt of any length, in one chunk or several, for any user and from any offset is a replay: no program runs by itself.
        record::start();
        for (number, length) in [1, 32, 33, 64, 127, 128, 129, 200, 256].into_iter().enumerate() {
            session.prefill(number % users, &vec![5; length]).unwrap();
        }
        let shared = session.share(users - 1, 0, 200).unwrap();
        session.prefill_from(users - 1, &[7; 210], shared).unwrap();
        let mut prompts = record::stop();
        assert!(shared > 0 && !prompts.iter().any(|event| matches!(event, Event::Program(_))));
        both.append(&mut prompts);
        if let Err(broken) = record::check(&both) {
            panic!("prompts, batch {batch}, {queues} queues: {broken}");
        }
        session.into_device().close().unwrap();
    }
}

#[test]
#[ignore = "run by the other tests of this file, in a process of its own"]
fn draws_on_one_card() {
    for batch in [1, 32] {
        record::start();
        let mut session = load_planned(planned(batch, true), 1);
        write(&mut session, 0.8);
        let events = record::stop();
        if let Err(broken) = record::check(&events) {
            panic!("batch {batch}: {broken}");
        }
        assert_eq!(captures(&events).len(), planned(batch, true).phases.len());
        let (first, last) = (replay(&events, batch as usize), replay(&events, batch as usize + STEPS - 1));
        assert!(!events[last + 1..].contains(&Event::Replay));
        // After the first step random numbers go on from their seeds; from there on it is as with the likeliest token.
        let steps = &events[first..last];
        let writes = steps.iter().filter(|event| matches!(event, Event::Write { .. })).count();
        assert_eq!(writes, 1, "batch {batch}");
        let commands = |event: &&Event| {
            matches!(event, Event::Replay | Event::Read { .. } | Event::Record { .. } | Event::Write { .. })
        };
        let second = replay(&events, batch as usize + 1);
        assert_eq!(events[second..last].iter().filter(commands).count(), 3 * (STEPS - 2), "three commands a step");
        session.into_device().close().unwrap();
    }
}

#[test]
fn a_card_that_draws_tokens_runs_ahead_of_the_host() {
    for card in ["n150", "p150"] {
        alone("draws_on_one_card", card);
    }
}

#[test]
fn a_trace_serves_users_of_unequal_prompts_on_one_queue_and_on_two() {
    for card in ["n150", "p150"] {
        alone("sessions_on_one_card", card);
    }
}

#[test]
#[ignore = "run by the other tests of this file, in a process of its own"]
fn broken_rules_on_one_card() {
    record::start();
    let mut session = load(1, 1);
    session.prepare_decode().unwrap();
    record::check(&record::stop()).unwrap();

    // A write in the middle of a capture: the mock takes it, the record does not.
    record::start();
    let tokens = plan(1).buffer_for(BufferRole::Tokens).unwrap().spec.clone();
    let device = session.device_mut();
    device.forbid_new_programs().unwrap();
    device.begin_trace().unwrap();
    let card = device.card();
    let host = card.allocate_on_host(&tokens).unwrap();
    let on_card = card.allocate(&tokens).unwrap();
    let ttnn = card.interpreter().ttnn();
    ttnn.call_method("copy_host_to_device_tensor", &[(&host).into(), (&on_card).into()], &[]).unwrap();
    let trace = device.end_trace().unwrap();
    let broken = record::check(&record::stop()).unwrap_err();
    assert!(matches!(broken.event, Event::Write { .. }) && broken.rule.contains("while one is captured"), "{broken}");
    device.release_trace(trace).unwrap();

    // A buffer that came after the capture lies where the trace writes: TT-NN tells before the replay.
    let error = session.decode().unwrap_err();
    assert!(error.to_string().contains("still alive before trace replay"), "{error}");
    drop(on_card);
    session.decode().unwrap();

    // A program that never ran would have to be compiled.
    let device = session.device_mut();
    let object = device.card().allocate(&TensorSpec::row_major([96], DType::I32, MemoryConfig::DRAM)).unwrap();
    let plus_one = device.card().interpreter().ttnn().call_method("plus_one", &[Value::from(&object)], &[]);
    let error = plus_one.unwrap_err().to_string();
    assert!(error.contains("cache misses are forbidden"), "{error}");
}

#[test]
fn a_trace_that_breaks_a_rule_is_found_out() {
    alone("broken_rules_on_one_card", "n150");
}
