//! Questions that nobody would ask.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::target::Target;

use super::answer::answer;
use super::parse;
use super::scene::Scene;
use super::shown;
use crate::hostile::tried;

#[test]
fn questions() {
    let target = Target::find("n150").unwrap();
    let seeds = [
        "rms_norm(x[1,1,128,2560] bf16 DRAM, weight=g[1,1,80,32] bf16 RM DRAM)",
        "linear(a[1,1,32,2560] bf16 L1 WS[32,320] on 8x1, w[1,1,2560,3840] bfp4 DRAM WS[2560,320] on 12x1, \
         program_config=DramSharded(in0_block_w=10, per_core_N=4), memory_config=L1_WIDTH_SHARDED_MEMORY_CONFIG)",
        "Abs(input: Value(\"x\"), memory: Interleaved(Dram)) where x[1,1,32,64] bf16 L1",
        "ttnn.experimental.nlp_create_qkv_heads_decode(x[1,1,8,7680] bf16 L1, num_heads=40, num_kv_heads=10, \
         overlap_qk_coregrid=True, memory_config=HS[64,128] on 8x8)",
        "mul(a[1,1,32,640] bf16 L1 WS[32,64] on (0,0)-(7,0)+(0,1)-(1,1), b, activations=[relu], dtype=bf16)",
    ];
    tried("ask", &seeds.map(|seed| seed.as_bytes().to_vec()), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Ok(scene) = Scene::new(None, None, text, target.card.grid) else { return };
        match scene.question() {
            Ok(question) => drop(answer(&question, &target, 128)),
            Err(mistake) => assert!(!format!("{:?}", shown(mistake, text)).is_empty()),
        }
    });
}

#[test]
fn expressions_are_inside_one_another_only_so_far() {
    for open in ["[", "(", "f(", "f(a="] {
        let mistake = parse::line(&open.repeat(100_000), (8, 8)).unwrap_err();
        assert!(mistake.what.contains("inside one another"), "{mistake:?}");
    }
}
