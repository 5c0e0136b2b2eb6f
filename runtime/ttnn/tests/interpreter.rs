//! The embedded interpreter against the real libpython and TT-NN, without a card.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use bitnetc_ttnn::{Interpreter, Object, Value};

fn interpreter() -> &'static Interpreter {
    Interpreter::start(common::environment()).unwrap()
}

fn text(text: &str) -> Value {
    Value::Str(text.to_owned())
}

#[test]
fn values_survive_the_way_to_python_and_back() {
    let python = interpreter();
    let nested = Value::Tuple(vec![
        Value::None,
        Value::Bool(true),
        Value::Int(i64::MIN),
        Value::Float(1e-5),
        text("é \"quoted\"\0"),
        Value::List(vec![Value::Int(-1), Value::List(vec![])]),
    ]);
    let object = Object::from_value(&nested).unwrap();
    let repr = python.import("builtins").unwrap().call_method("repr", &[(&object).into()], &[]).unwrap();
    assert_eq!(repr.to_text().unwrap(), r#"(None, True, -9223372036854775808, 1e-05, 'é "quoted"\x00', [-1, []])"#);
    assert_eq!(format!("{:?}", object.to_value().unwrap()), format!("{nested:?}"));
}

#[test]
fn keyword_arguments_and_dotted_paths() {
    let python = interpreter();
    let decoder = python.import("json").unwrap();
    let float32 = python.import("numpy").unwrap().attribute("float32").unwrap();
    let parsed = decoder.call_method("loads", &[text("[1.5]")], &[("parse_float", float32.into())]).unwrap();
    assert_eq!(parsed.items().unwrap()[0].attribute("dtype.name").unwrap().to_text().unwrap(), "float32");
}

#[test]
fn exceptions_become_typed_errors() {
    let python = interpreter();
    let missing = python.ttnn().attribute("experimental.no_such_op").unwrap_err();
    assert_eq!((missing.context.as_str(), missing.exception.as_str()), ("experimental.no_such_op", "AttributeError"));
    let builtins = python.import("builtins").unwrap();
    let value = builtins.call_method("int", &[text("seven")], &[]).unwrap_err();
    assert_eq!(value.exception, "ValueError");
    assert!(value.message.contains("'seven'"), "{value}");
    let large = builtins.call_method("pow", &[Value::Int(2), Value::Int(64)], &[]).unwrap();
    assert_eq!(large.to_int().unwrap_err().exception, "OverflowError");
    assert_eq!(python.import("no_such_module").unwrap_err().exception, "ModuleNotFoundError");
    let wrong = python.ttnn().call_method("CoreCoord", &[text("x")], &[]).unwrap_err();
    assert_eq!(wrong.exception, "TypeError");
    // The error indicator is clear again: the next call is not blamed for the last.
    assert_eq!(builtins.call_method("abs", &[Value::Int(-3)], &[]).unwrap().to_int().unwrap(), 3);
}

#[test]
fn several_threads_call_at_once() {
    let python = interpreter();
    let builtins = python.import("builtins").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4i64 {
            let builtins = &builtins;
            scope.spawn(move || {
                for i in 0..500 {
                    let sum = builtins.call_method("sum", &[Value::List(vec![Value::Int(thread), Value::Int(i)])], &[]);
                    assert_eq!(sum.unwrap().to_int().unwrap(), thread + i);
                }
            });
        }
    });
}

#[test]
fn another_interpreter_in_the_same_process_is_refused() {
    interpreter();
    let mut other = common::environment().clone();
    other.executable = "/elsewhere/bin/python".into();
    let error = Interpreter::start(&other).unwrap_err().to_string();
    assert!(error.contains("needs another process"), "{error}");
}
