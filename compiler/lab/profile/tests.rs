//! Measurements made up from a target's own predictions.

use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::{Profile, profile};

use super::*;

const POSITION: u32 = 200;

fn plan(batch: u32) -> Plan {
    let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
    let options = Options { batch, prefill: vec![32], ..Options::for_model(&model) };
    compile(&model, &target(), &options).unwrap().plan.into_plan()
}

fn target() -> Target {
    Target::find("n150").unwrap()
}

/// A card on which matmuls read at half the speed and norms start later.
fn slower() -> Target {
    let mut slower = target();
    slower.cost.dram_sharded.block_floor_us *= 2.0;
    slower.cost.norm.start_us *= 3.0;
    slower
}

/// A run of every phase on `card`: the profile, and the CSV of the same run with its decode step replayed twice. Program numbers begin at 7.
fn run(plan: &Plan, card: &Target) -> (Profile, String) {
    let planned = steps::of(plan, card, POSITION).unwrap();
    let (mut profile, mut id, mut now) = (Profile::of(plan), 7, 0.0);
    let mut csv = String::from(
        "OP CODE,OP TYPE,GLOBAL CALL COUNT,DEVICE ID,DEVICE KERNEL DURATION [ns],METAL TRACE REPLAY SESSION ID\n",
    );
    csv += "decode,signpost,,,,\n";
    let mut replays = [String::new(), String::new()];
    for phase in &plan.phases {
        for section in [Section::Prologue, Section::Layer, Section::Epilogue] {
            let layers = if section == Section::Layer { plan.model.layers } else { 1 };
            for layer in 0..layers {
                for step in planned.iter().filter(|p| p.phase == phase.kind && p.section == section) {
                    let programs = u64::from(step.outcome.programs);
                    let layer = (section == Section::Layer).then_some(layer);
                    let name = step.step.name.clone();
                    profile.calls.push(profile::Call { id, programs, phase: phase.kind, layer, step: name });
                    for _ in 0..programs {
                        let us = step.us / programs as f64;
                        profile.records.push(profile::Record { id, chip: 0, start_us: now, end_us: now + us });
                        now += us + 1.0;
                        let class = step.step.op.name();
                        let row = |replay: &str| {
                            format!("{class}DeviceOperation,tt_dnn_device,{},0,{},{replay}\n", id * 1024, us * 1000.0)
                        };
                        match phase.kind {
                            PhaseKind::Decode { .. } => {
                                replays[0] += &row("1");
                                replays[1] += &row("2");
                            }
                            PhaseKind::Prefill { .. } => csv += &row(""),
                        }
                        id += 1;
                    }
                }
            }
        }
    }
    (profile, csv + &replays.concat())
}

fn joined<'a>(plan: &'a Plan, texts: &[String]) -> Result<Vec<Measured<'a>>, ProfileError> {
    let sources: Result<Vec<_>, _> = texts.iter().map(|text| Ok(("x".to_owned(), read("x", text)?))).collect();
    join(plan, &sources?, &target(), POSITION)
}

/// Every step was measured, as often as it ran, with the card's time.
fn assert_measured(plan: &Plan, card: &Target, measured: &[Measured<'_>], replays: usize) {
    let of_card = steps::of(plan, card, POSITION).unwrap();
    assert_eq!(measured.len(), of_card.len());
    for (step, expected) in measured.iter().zip(&of_card) {
        let layers = if expected.section == Section::Layer { plan.model.layers as usize } else { 1 };
        let times = if matches!(expected.phase, PhaseKind::Decode { .. }) { replays } else { 1 };
        assert_eq!(step.runs.len(), layers * times, "{}", expected.step.name);
        assert!((step.mean() - expected.us).abs() < 1e-6, "{}: {} {}", expected.step.name, step.mean(), expected.us);
    }
}

#[test]
fn records_and_rows_find_their_steps() {
    for batch in [1, 32] {
        let (plan, card) = (plan(batch), slower());
        let (profile, csv) = run(&plan, &card);
        let json = serde_json::to_string(&profile).unwrap();
        assert_measured(&plan, &card, &joined(&plan, std::slice::from_ref(&json)).unwrap(), 1);
        // Alone, rows are known by their order, whatever else the file has in front.
        assert_measured(&plan, &card, &joined(&plan, std::slice::from_ref(&csv)).unwrap(), 2);
        let (head, rows) = csv.split_once('\n').unwrap();
        let more = format!(
            "{head}\nmatmulDeviceOperation,tt_dnn_device,0,0,5,\nabsDeviceOperation,tt_dnn_device,0,0,5,\n{rows}"
        );
        assert_measured(&plan, &card, &joined(&plan, &[more]).unwrap(), 2);
        // Beside the profile of the run, by their numbers.
        let bare = serde_json::to_string(&Profile { records: Vec::new(), ..profile }).unwrap();
        assert_measured(&plan, &card, &joined(&plan, &[bare, csv]).unwrap(), 2);
    }
}

#[test]
fn columns_are_found_by_their_names() {
    let text = "DEVICE ID,DEVICE KERNEL DURATION [ns],x,OP NAME,GLOBAL CALL COUNT\n0,1500,,Abs,2049\n1,9,,Abs,2050\n0,,,Abs,3072\n";
    let row = Row { program: Some(2), replay: String::new(), code: "Abs".into(), us: 1.5 };
    assert_eq!(read("x", text).unwrap(), Source::Rows(vec![row]));
    let error = |text: &str| read("f.csv", text).unwrap_err().to_string();
    assert!(error("OP CODE,DURATION\n").contains("f.csv has no column DEVICE KERNEL DURATION [ns]"));
    let wrong = error("OP CODE,DEVICE KERNEL DURATION [ns]\nAbs,1\nAbs,fast\n");
    assert!(wrong.contains("line 3: DEVICE KERNEL DURATION [ns] is \"fast\""), "{wrong}");
    assert!(error("{\"format\": \"bitnetc profile 9\"}").contains("this bitnetc reads \"bitnetc profile 1\""));
}

#[test]
fn measurements_of_something_else_are_refused() {
    let plan = plan(1);
    let (profile, csv) = run(&plan, &target());
    let refusal = |texts: &[String]| joined(&plan, texts).unwrap_err().to_string();
    let json = |profile: Profile| serde_json::to_string(&profile).unwrap();
    let other = refusal(&[json(Profile { digest: "x".into(), ..profile.clone() })]);
    assert!(other.contains("another model") && other.contains("tiny-shakespeare"), "{other}");
    let other = refusal(&[json(Profile { card: "p150".into(), ..profile.clone() })]);
    assert!(other.contains("p150") && other.contains("n150"), "{other}");
    let mut renamed = profile.clone();
    renamed.calls[3].step = "nowhere".into();
    assert!(refusal(&[json(renamed)]).contains("a step `nowhere`"));
    let bare = json(Profile { records: Vec::new(), ..profile.clone() });
    assert!(refusal(std::slice::from_ref(&bare)).contains("real-time profiler is not active"));
    assert!(refusal(&[bare.clone(), bare]).contains("give one profile"));
    // A row too few in the middle of every phase.
    let lines: Vec<&str> = csv.lines().collect();
    let kept: Vec<&str> = lines.iter().enumerate().filter(|(at, _)| *at < 4 || at % 20 != 4).map(|(_, l)| *l).collect();
    assert!(refusal(&[kept.join("\n")]).contains("none of the"));
}

#[test]
fn the_fit_finds_what_is_slower_and_leaves_the_rest() {
    let (plan, card) = (plan(1), slower());
    let (profile, _) = run(&plan, &card);
    let measured = joined(&plan, &[serde_json::to_string(&profile).unwrap()]).unwrap();
    let found = fit(&measured, &target());
    assert!(found.error.0 > 0.1 && found.error.1 < 0.3 * found.error.0, "{:?}", found.error);
    let after = |name: &str| found.changed.iter().find(|(n, ..)| *n == name).map(|(_, before, after)| after / before);
    assert!(after("norm.start_us").is_some_and(|factor| factor > 2.0), "{:?}", found.changed);
    assert!(after("movement.plus_one_us").is_none_or(|factor| (factor - 1.0).abs() < 0.02), "{:?}", found.changed);
    // Measured with its own predictions, a card stays as it is.
    let (profile, _) = run(&plan, &target());
    let measured = joined(&plan, &[serde_json::to_string(&profile).unwrap()]).unwrap();
    assert_eq!(fit(&measured, &target()).changed, []);
}
