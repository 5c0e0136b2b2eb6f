//! Plan files: written, read again, damaged, misspelt.

mod names;
mod sample;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::op::BinaryKind;
use crate::{Op, Phase, TtnnRelease};
use sample::sample;

#[test]
fn the_sample_has_every_op() {
    let plan = sample(0.1, 1e-5);
    let named: BTreeSet<&str> = plan.phases.iter().flat_map(Phase::steps).map(|step| step.op.name()).collect();
    assert_eq!(named, Op::NAMES.iter().copied().collect());
}

#[test]
fn ron_is_readable_and_stable() {
    let plan = sample(0.1, 1e-5);
    let text = to_ron(&plan).unwrap();
    assert_eq!(text, to_ron(&plan.clone()).unwrap());
    assert!(text.starts_with("#![enable(") && text.ends_with(")\n"), "{text}");
    let step = text.lines().position(|l| l.contains("name: \"step.0\"")).unwrap();
    let lines: Vec<&str> = text.lines().skip(step).take(3).collect();
    assert!(lines[1].trim_start().starts_with("op: Matmul(a: Value("), "{lines:#?}");
    assert!(lines[2].trim_start().starts_with("cost: (us: 0.0, "), "{lines:#?}");
}

#[test]
fn files_round_trip_in_the_form_of_their_extension() {
    let folder = tempfile::tempdir().unwrap();
    let plan = sample(0.1, 1e-5);
    for name in ["a.ron", "b.plan", "c.PLAN", "noextension"] {
        let path = folder.path().join(name);
        std::fs::write(&path, encode(&path, &plan).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), plan);
    }
    for name in ["b.plan", "c.PLAN"] {
        assert!(std::fs::read(folder.path().join(name)).unwrap().starts_with(&MAGIC));
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no/such/folder.ron");
    assert!(matches!(read(&missing), Err(FormatError::Io { .. })));
}

#[test]
fn other_versions_are_told_from_damage() {
    let newer = Plan { format: FORMAT_VERSION + 1, ..sample(0.1, 1e-5) };
    let found = FORMAT_VERSION + 1;
    for bytes in [to_binary(&newer).unwrap(), to_ron(&newer).unwrap().into_bytes()] {
        assert!(matches!(read_bytes(&bytes), Err(FormatError::Version { found: f }) if f == found));
    }
    let error = read_bytes(b"(format: 2, model: (name: \"x\"))").unwrap_err().to_string();
    assert!(error.contains("format version 2") && error.contains("`bitnetc plan`"), "{error}");
    let other_fields = format!("(format: {found}, phase: Fast((1, \"x\")), [bad]");
    assert!(matches!(read_bytes(other_fields.as_bytes()), Err(FormatError::Syntax { line: 1, .. })));
    let other_fields = format!("(format: {found}, speed: Fast((1, \"x\")))");
    assert!(matches!(read_bytes(other_fields.as_bytes()), Err(FormatError::Version { found: f }) if f == found));
}

#[test]
fn damage_is_told() {
    let good = to_binary(&sample(0.1, 1e-5)).unwrap();
    for cut in [8, 9, 23, 24, 100, good.len() - 1] {
        assert!(matches!(read_bytes(&good[..cut]), Err(FormatError::Damaged { .. })), "cut to {cut}");
    }
    for at in [8, 12, 19, 20, 24, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        assert!(matches!(read_bytes(&bytes), Err(FormatError::Damaged { .. })), "bit flipped at {at}");
    }
    let longer = [&good[..], b"\n"].concat();
    assert!(matches!(read_bytes(&longer), Err(FormatError::Damaged { .. })));
}

#[test]
fn what_is_no_plan_is_told() {
    for bytes in [&b""[..], b"\x7fELF\x02\x01\xff", b"(name: \"model\", dims: {})"] {
        assert!(matches!(read_bytes(bytes), Err(FormatError::NotAPlan { .. })), "{:?}", read_bytes(bytes));
    }
    let Err(error) = read_bytes(b"#![enable(implicit_some)]\n// A model.\nModel(name: \"x\", dims: {})") else {
        panic!()
    };
    assert!(error.to_string().starts_with("not a plan: a model;"), "{error}");
    let text = to_ron(&sample(0.1, 1e-5)).unwrap().replacen("batch: 32", "batch: many", 1);
    let line = text.lines().position(|l| l.contains("batch: many")).unwrap() + 1;
    let Err(FormatError::Syntax { line: found, column, what }) = read_bytes(text.as_bytes()) else { panic!() };
    assert_eq!(found, line, "{what}");
    assert!(column > 1);
}

#[test]
fn a_length_that_is_a_lie_allocates_nothing() {
    // An intact file whose payload claims four billion phases, and one with four billion bytes of text.
    for lie in [b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"] {
        let (version, length) = (FORMAT_VERSION.to_le_bytes(), (lie.len() as u64).to_le_bytes());
        let sum = checksum(&[&version, &length, lie]).to_le_bytes();
        let bytes = [&MAGIC[..], &version, &length, &sum, lie].concat();
        assert!(matches!(read_bytes(&bytes), Err(FormatError::Payload { .. })));
    }
}

/// The sample has a step of every op, and one kind of those that have several.
#[test]
fn the_latest_release_has_every_call_and_no_other() {
    let plan = sample(0.1, 1e-5);
    let sampled = plan.phases.iter().flat_map(Phase::steps).map(|s| s.op.call());
    let calls: BTreeSet<&str> = sampled.chain([BinaryKind::Add, BinaryKind::Mul].map(BinaryKind::call)).collect();
    assert_eq!(calls.into_iter().collect::<Vec<_>>(), TtnnRelease::latest().calls);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_forms_round_trip_exactly(number in any::<f64>(), single in any::<f32>()) {
        let plan = sample(number, single);
        let (text, binary) = (to_ron(&plan).unwrap(), to_binary(&plan).unwrap());
        let (from_text, from_binary) = (read_bytes(text.as_bytes()).unwrap(), read_bytes(&binary).unwrap());
        // Bytes are compared because NaN does not equal itself.
        prop_assert_eq!(&to_binary(&from_text).unwrap(), &binary);
        prop_assert_eq!(&to_binary(&from_binary).unwrap(), &binary);
        prop_assert_eq!(to_ron(&from_binary).unwrap(), text);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..256), magic in any::<bool>()) {
        let bytes = if magic { [&MAGIC[..], &bytes].concat() } else { bytes };
        prop_assert!(read_bytes(&bytes).is_err());
    }

    #[test]
    fn any_payload_is_answered(at in 0usize..100_000, byte in any::<u8>()) {
        let mut bytes = to_binary(&sample(0.5, 0.5)).unwrap();
        let at = HEADER_BYTES + at % (bytes.len() - HEADER_BYTES);
        bytes[at] = byte;
        let sum = checksum(&[&bytes[8..20], &bytes[HEADER_BYTES..]]);
        bytes[20..24].copy_from_slice(&sum.to_le_bytes());
        // A change may leave a valid plan. The test is only that reading ends with an answer.
        let _ = read_bytes(&bytes);
    }

    #[test]
    fn any_text_is_answered(cut in 0usize..100_000, insert in "\\PC{0,8}|[(){}\\[\\],:\"#r/*]{0,40}") {
        let text = to_ron(&sample(0.5, 0.5)).unwrap();
        let cut = (0..=cut % text.len()).rev().find(|&i| text.is_char_boundary(i)).unwrap();
        let changed = format!("{}{insert}{}", &text[..cut], &text[cut..]);
        let _ = read_bytes(changed.as_bytes());
        let ended = format!("{}{insert}", &text[..cut]);
        prop_assert!(read_bytes(ended.as_bytes()).is_err() || cut + 2 >= text.len());
    }
}
