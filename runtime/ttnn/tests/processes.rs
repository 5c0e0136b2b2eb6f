//! Tests that need a process of their own, because a process embeds one interpreter and opens one card.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::process::Command;

use bitnetc_plan::{Arch, Memory, TtnnRelease};
use bitnetc_ttnn::{CardKind, CardOptions, Info, Interpreter, MockCard, OpenCard, info, queue};

const CHOICE: &str = "BITNETC_TEST_CARD";

/// Runs one test of this file alone, with `CHOICE` set, and returns what it printed.
fn in_its_own_process(test: &str, choice: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(CHOICE, choice)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{choice}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
#[ignore = "run by the other tests of this file, in a process of its own"]
fn report_one_card() {
    let name = std::env::var(CHOICE).unwrap();
    let info: Info = info(common::environment(), CardKind::Mock(MockCard::named(&name).unwrap())).unwrap();
    println!(
        "\nfigures: {} {}x{} {}x{} {} {} {} {}",
        info.arch,
        info.grid.0,
        info.grid.1,
        info.dram_banks,
        info.dram.size,
        info.l1.free,
        info.l1.size,
        info.l1_base,
        info.l1_end
    );
}

#[test]
fn every_mock_card_reports_the_figures_of_its_board() {
    common::environment();
    let wormhole = "1393312 1393312 105824 1499136";
    let blackhole = "1461120 1461120 111744 1572864";
    let release = TtnnRelease::latest();
    let bank = |arch, banks: u32| format!("{banks}x{}", release.chip(arch).bank_bytes);
    let cases = [
        ("n150", format!("Arch.WORMHOLE_B0 8x8 {} {wormhole}", bank(Arch::Wormhole, 12))),
        ("n300", format!("Arch.WORMHOLE_B0 8x8 {} {wormhole}", bank(Arch::Wormhole, 12))),
        ("p100", format!("Arch.BLACKHOLE 11x10 {} {blackhole}", bank(Arch::Blackhole, 7))),
        ("p150", format!("Arch.BLACKHOLE 11x10 {} {blackhole}", bank(Arch::Blackhole, 8))),
    ];
    for (name, figures) in cases {
        // A user's own settings must not reach a mock card.
        let text = in_its_own_process("report_one_card", name, &[("TT_METAL_SLOW_DISPATCH_MODE", "1")]);
        let found = text.lines().find_map(|line| line.strip_prefix("figures: "));
        assert_eq!(found, Some(figures.as_str()), "{name}");
    }
}

#[test]
#[ignore = "run by the other tests of this file, in a process of its own"]
fn open_the_real_card() {
    let error = OpenCard::open(common::environment(), CardKind::Real, CardOptions::default()).unwrap_err();
    println!("\nrefused: {error}");
}

#[test]
fn a_real_card_is_never_a_mock_one() {
    common::environment();
    let variable = [("TT_METAL_MOCK_CLUSTER_DESC_PATH", "elsewhere.yaml")];
    let text = in_its_own_process("open_the_real_card", "real", &variable);
    assert!(text.contains("refused: a real card was requested, but TT_METAL_MOCK_CLUSTER_DESC_PATH"), "{text}");
}

#[test]
fn a_real_card_is_refused_behind_the_stand_in_for_a_mocks_queue() {
    common::environment();
    let library = queue::library().unwrap();
    let text = in_its_own_process("open_the_real_card", "real", &[("LD_PRELOAD", library.path().to_str().unwrap())]);
    assert!(
        text.contains("refused: the stand-in for a mock card's command queue") && text.contains("LD_PRELOAD"),
        "{text}"
    );
}

/// TT-NN is not even asked where the kernel module shows no card; the other obstacles are tested where they can be made up.
#[test]
fn a_real_card_must_be_there() {
    common::environment();
    let text = in_its_own_process("open_the_real_card", "real", &[]);
    let here = std::path::Path::new("/dev/tenstorrent").exists();
    assert!(here || text.contains("refused: there is no Tenstorrent card in this machine"), "{text}");
}

#[test]
#[ignore = "run by the other tests of this file, in a process of its own"]
fn load_an_absent_library() {
    let mut env = common::environment().clone();
    env.libpython = "/absent/libpython3.10.so.1.0".into();
    println!("\nrefused: {}", Interpreter::start(&env).unwrap_err());
    // A failed start leaves the process free for the right library.
    Interpreter::start(common::environment()).unwrap();
}

#[test]
fn a_library_that_cannot_be_loaded_says_what_to_do() {
    common::environment();
    let text = in_its_own_process("load_an_absent_library", "", &[]);
    assert!(text.contains("refused: /absent/libpython3.10.so.1.0: "), "{text}");
    assert!(text.contains("No such file") && text.contains("bitnetc ttnn setup"), "{text}");
}

#[test]
fn a_trace_region_and_two_queues_can_be_asked_for() {
    in_its_own_process("open_with_options", "n150", &[]);
}

#[test]
#[ignore = "run by the other tests of this file, in a process of its own"]
fn open_with_options() {
    let options = CardOptions { l1_small_size: 8192, trace_region_size: 1 << 20, command_queues: 2 };
    let device = OpenCard::open(common::environment(), CardKind::Mock(MockCard::N150), options).unwrap();
    assert!(device.can_trace());
    // The small region is taken from the top of L1, below which tensors begin.
    assert_eq!(device.l1_range().1, 1_499_136 - 8192);
    assert_eq!(device.memory_view(Memory::L1).unwrap().size, 1_393_312 - 8192);
    device.close().unwrap();
}
