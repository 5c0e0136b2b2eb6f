//! `bitnetc ask` and `bitnetc rules`, as a person sees them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use common::{bitnetc, stdout};

const LINEAR: &str = "linear(a[1,1,32,2560] bf16 L1 WS[32,320] on 8x1, w[1,1,2560,3840] bfp4 DRAM WS[2560,320] on 12x1, \
                      program_config=DramSharded(in0_block_w=10, per_core_N=4), \
                      memory_config=L1_WIDTH_SHARDED_MEMORY_CONFIG)";

/// Exit code, and what was said on stdout and stderr.
fn asked(call: &str) -> (Option<i32>, String) {
    let output = bitnetc(&["ask", "n150", call]);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_legal_call_is_priced() {
    let (code, text) = asked(LINEAR);
    assert_eq!(code, Some(0), "{text}");
    insta::assert_snapshot!("legal", text);
}

#[test]
fn a_refused_call_is_told_why_and_what_is_near() {
    let (code, text) = asked(&LINEAR.replace("in0_block_w=10, per_core_N=4", "in0_block_w=12, per_core_N=1"));
    assert_eq!(code, Some(1), "{text}");
    insta::assert_snapshot!("refused", text);
    let plain = LINEAR.replace("DRAM WS[2560,320] on 12x1", "DRAM").replace("in0_block_w=10", "in0_block_w=44");
    let answer = stdout_of_refused(&["ask", "n150", &plain, "--json"]);
    assert_eq!(answer["broken"][0]["constraint"], "matmul.dram_sharded.b_width_sharded");
    let near = answer["nearest"][0]["call"].as_str().unwrap();
    let (code, text) = asked(near);
    assert_eq!(code, Some(0), "what is proposed is legal: {near}\n{text}");
}

fn stdout_of_refused(arguments: &[&str]) -> serde_json::Value {
    let output = bitnetc(arguments);
    assert_eq!(output.status.code(), Some(1));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn mistakes_are_shown_in_their_place() {
    let mut all = String::new();
    for call in [
        "linera(a[1,1,32,64] bf16 L1)",
        "abs(x[1,1,32,64] bf17 L1)",
        "abs(x, memory_config=DRAM)",
        "rms_norm(x[1,1,32,64] bf16 DRAM, weight=g[1,1,2,32] bf16 RM DRAM, bias=3)",
        "linear(a[1,1,32,64] bf16 L1, w[1,1,64,64] bf16 DRAM)",
        "Abs(input: Value(\"x\"), memory: Interleaved(Dran)) where x[1,1,32,64] bf16 L1",
    ] {
        let (code, text) = asked(call);
        assert_eq!(code, Some(2), "{text}");
        all.push_str(&text);
    }
    insta::assert_snapshot!("mistakes", all);
}

#[test]
fn a_call_of_a_plan_file_and_of_hands_is_the_same() {
    let (_, python) = asked("ttnn.abs(x[1,1,32,64] bf16 L1, memory_config=ttnn.DRAM_MEMORY_CONFIG)");
    let (_, ron) = asked("Abs(input: Value(\"x\"), memory: Interleaved(Dram)) where x[1, 1, 32, 64] bf16 L1");
    assert_eq!(python, ron);
    // What is left out is TT-NN's default: the input's placement.
    assert!(asked("abs(x[1,1,32,64] bf16 L1)").1.contains("[1, 1, 32, 64] bf16 L1\n"));
}

#[test]
fn a_step_of_a_plan_is_asked_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("p.plan");
    let plan = plan.to_str().unwrap();
    stdout(&["plan", "tiny-shakespeare", "-o", plan]);
    assert!(stdout(&["ask", "n150", "--plan", plan, "down"]).starts_with("legal on n150: ttnn.linear"));
    assert!(stdout(&["ask", "n150", "--plan", plan, "prefill-128/down"]).starts_with("legal"));
    let absent = bitnetc(&["ask", "n150", "--plan", plan, "dawn"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("did you mean `down`?"));
}

#[test]
fn rules_are_listed_with_their_sources() {
    insta::assert_snapshot!("rules_typecast", stdout(&["rules", "typecast"]));
    let all = stdout(&["rules", "--json"]);
    assert!(all.matches("\"id\": ").count() > 200);
    assert!(all.contains("\"id\": \"rms_norm.gamma_width\""));
    assert_eq!(bitnetc(&["rules", "rms_nrom"]).status.code(), Some(1));
}
