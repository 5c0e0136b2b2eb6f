//! A plan with any number in it is answered and can be printed: `inspect` shows plans that break invariants too.

use std::collections::HashMap;
use std::ops::Range;

use bitnetc_compiler::{Options, compile, model, target::Target};
use bitnetc_plan::format::{read_bytes, to_ron};

use super::*;
use crate::render::fits::fits;

/// Where whole numbers stand in a RON text: of each field of each struct or variant, the first few.
fn integers(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let (mut around, mut last): (Vec<(&str, usize)>, &str) = (Vec::new(), "");
    let (mut seen, mut found) = (HashMap::new(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at += 1 + bytes[at + 1..].iter().position(|&b| b == b'"').unwrap(),
            b'(' | b'[' => around.push((last, 0)),
            b')' | b']' => last = around.pop().map_or("", |(name, _)| name),
            // The two numbers of a pair are two places.
            b',' => around.iter_mut().last().into_iter().for_each(|(_, number)| *number += 1),
            b if is_word(b) => {
                let end = at + bytes[at..].iter().position(|&b| !is_word(b)).unwrap();
                let word = &text[at..end];
                if word.parse::<u64>().is_ok() {
                    let (name, number) = around.last().copied().unwrap_or_default();
                    let times: &mut u32 = seen.entry((name, last, number)).or_default();
                    *times += 1;
                    if *times <= 2 {
                        found.push(at..end);
                    }
                } else if word.parse::<f64>().is_err() {
                    last = word;
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// All that `inspect` prints of a plan.
fn print(plan: &Plan) {
    let verified = verify(plan);
    let view = |phases| View::of(plan, verified.as_ref().ok(), phases);
    tables(&view(Vec::new())).render(Some(100));
    // Of the last phase, the steps of a layer as they are and its memory; the JSON has all phases.
    let last = plan.phases.len() - 1;
    tables(&View { layer: Some(plan.model.layers.saturating_sub(1)), ..view(vec![last]) }).render(None);
    json::document(&View { memory: true, ..view(Vec::new()) }).unwrap();
    report::of_plan(plan, &verified, Err(String::new())).unwrap();
    if verified.is_ok() {
        tables(&View { memory: true, ..view(vec![last]) }).render(Some(100));
    }
}

#[test]
fn any_number_in_a_plan_is_answered_and_printed() {
    let model = model::find("tiny-shakespeare").unwrap().model().unwrap();
    let options = Options { prefill: vec![32], ..Options::for_model(&model) };
    let plan = compile(&model, &Target::find("n150").unwrap(), &options).unwrap().plan;
    let text = to_ron(&plan).unwrap();
    let places = integers(&text);
    assert!(places.len() > 80, "{}", places.len());
    let mut read = 0;
    for place in places {
        for number in [0, 1, u64::from(u32::MAX), u64::MAX - 15] {
            let changed = format!("{}{number}{}", &text[..place.start], &text[place.end..]);
            if let Ok(plan) = read_bytes(changed.as_bytes()) {
                let printed = std::panic::catch_unwind(|| print(&plan));
                let before = text[..place.start].rfind('\n').unwrap();
                assert!(printed.is_ok(), "{number} after {}", &text[before..place.start]);
                read += 1;
            }
        }
    }
    assert!(read > 200, "{read}");
}

#[test]
fn every_page_fits_every_terminal() {
    let model = model::find("bitnet-2b-4t").unwrap().model().unwrap();
    let options = Options { batch: 32, prefill: vec![128], ..Options::for_model(&model) };
    let plan = compile(&model, &Target::find("n150").unwrap(), &options).unwrap().plan;
    let verified = verify(&plan).unwrap();
    let view = |memory, phases, layer| View { memory, layer, ..View::of(&plan, Some(&verified), phases) };
    fits(&overview(&plan));
    for view in [view(false, vec![0, 1], None), view(true, vec![0, 1], None), view(false, vec![0], Some(3))] {
        fits(&tables(&view));
    }
    // The map is what --memory is for, and columns that are not there are not explained.
    let narrow = |view| tables(&view).render(Some(80));
    assert!(narrow(view(true, vec![0], None)).contains("CCCCCC"));
    assert!(!narrow(view(false, vec![0], None)).contains("peak bandwidth"));
    assert!(tables(&view(false, vec![0], None)).render(None).contains("peak bandwidth"));
}
