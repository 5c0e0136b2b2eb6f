//! References are given back. Alone in its process, because it counts all of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use bitnetc_ttnn::{Interpreter, Object, Value, live_objects};

const ROUNDS: usize = 20_000;

/// `sys.getrefcount`, less the references this call itself holds.
fn references(sys: &Object, object: &Object) -> i64 {
    sys.call_method("getrefcount", &[object.into()], &[]).unwrap().to_int().unwrap()
}

/// Blocks of memory that Python holds.
fn blocks(sys: &Object) -> i64 {
    sys.call_method("getallocatedblocks", &[], &[]).unwrap().to_int().unwrap()
}

/// Values of every kind there and back, and calls that fail.
fn round(builtins: &Object, sentinel: &Object, i: i64) {
    // Beyond the small integers that Python keeps.
    let number = Value::Int(1_000_000 + i);
    let nested = Value::List(vec![sentinel.into(), Value::Tuple(vec![sentinel.into(), number, Value::Float(0.5)])]);
    let made = builtins.call_method("dict", &[], &[("a", nested), ("b", sentinel.into())]).unwrap();
    let back = made.call_method("get", &[Value::Str("a".into())], &[]).unwrap();
    let Value::List(items) = back.to_value().unwrap() else { panic!("not a list") };
    assert_eq!(items.len(), 2);
    assert!(builtins.call_method("len", &[sentinel.into()], &[]).is_err());
    assert!(sentinel.attribute("missing").is_err());
    assert!(sentinel.to_int().is_err());
    drop(Object::from_value(&Value::Str("text".repeat(64))).unwrap().clone());
}

#[test]
fn many_calls_leave_no_reference_behind() {
    let python = Interpreter::start(common::environment()).unwrap();
    let sys = python.import("sys").unwrap();
    let builtins = python.import("builtins").unwrap();
    let sentinel = builtins.call_method("object", &[], &[]).unwrap();
    // What Python allocates once and keeps.
    (0..100).for_each(|i| round(&builtins, &sentinel, i));
    let (references_before, live_before) = (references(&sys, &sentinel), live_objects());
    let blocks_before = blocks(&sys);

    (0..ROUNDS).for_each(|i| round(&builtins, &sentinel, i as i64));

    assert_eq!(live_objects(), live_before);
    assert_eq!(references(&sys, &sentinel), references_before);
    // Exceptions, their texts and containers hold no reference to the sentinel: those the shim forgot would be here.
    let grown = blocks(&sys) - blocks_before;
    assert!(grown < ROUNDS as i64 / 20, "{grown} more blocks after {ROUNDS} rounds");

    // The counts would show one that is kept.
    let kept = sentinel.clone();
    assert_eq!((live_objects(), references(&sys, &sentinel)), (live_before + 1, references_before + 1));
    drop(kept);
}
