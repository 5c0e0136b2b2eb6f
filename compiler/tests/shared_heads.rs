//! Models whose heads ask for more cores than Wormhole has: q and k share cores there, and keep cores of their own on Blackhole.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::{BufferRole, Op, Plan};

fn decode(name: &str, card: &str, batch: u32) -> Plan {
    let model = model::find(name).unwrap().model().unwrap();
    let target = Target::find(card).unwrap();
    let context = 256;
    let options = Options { batch, context, prefill: vec![128], ..Options::for_model(&model) };
    compile(&model, &target, &options).unwrap().plan.into_plan()
}

/// Heads split, rotated and cached: how often each call stands in a layer of decode.
fn calls(plan: &Plan) -> [usize; 5] {
    let count = |wanted: fn(&Op) -> bool| plan.phases[0].layer.iter().filter(|s| wanted(&s.op)).count();
    [
        count(|op| matches!(op, Op::CreateHeadsDecode(args) if args.overlap)),
        count(|op| matches!(op, Op::RotaryFused(_))),
        count(|op| matches!(op, Op::RotaryDecode(_))),
        count(|op| matches!(op, Op::CacheUpdate(_))),
        count(|op| matches!(op, Op::CacheUpdateOne(_))),
    ]
}

#[test]
fn wide_attention_shares_cores_on_wormhole() {
    for model in ["bitnet-3b", "phi-3-mini-128k"] {
        for batch in [1, 8, 32] {
            let plan = decode(model, "n150", batch);
            assert_eq!(calls(&plan), [1, 0, 2, 0, 2], "{model} for {batch}");
            assert_eq!(plan.buffer_for(BufferRole::RotaryPositions).unwrap().spec.shape, [1, batch]);
        }
    }
}

#[test]
fn heads_keep_cores_of_their_own_where_they_can() {
    for (model, card) in [("bitnet-3b", "p150"), ("bitnet-2b-4t", "n150")] {
        let plan = decode(model, card, 8);
        assert_eq!(calls(&plan), [0, 1, 0, 1, 0], "{model} on {card}");
        assert_eq!(plan.buffer_for(BufferRole::RotaryPositions).unwrap().spec.shape, [1, 16]);
    }
}
