//! Any change at all to the tree of a plan.

use std::sync::OnceLock;

use bitnetc_plan::{Plan, verify};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value as Json;

use crate::spot::plans;

/// Every place of a tree, as the path to it.
fn paths(tree: &Json, path: &mut Vec<String>, found: &mut Vec<String>) {
    match tree {
        Json::Object(fields) => fields.iter().for_each(|(key, value)| {
            path.push(key.clone());
            paths(value, path, found);
            path.pop();
        }),
        Json::Array(items) => items.iter().enumerate().for_each(|(i, value)| {
            path.push(i.to_string());
            paths(value, path, found);
            path.pop();
        }),
        _ => {}
    }
    found.push(path.iter().map(|key| format!("/{key}")).collect());
}

fn trees() -> &'static [(Json, Vec<String>)] {
    static TREES: OnceLock<Vec<(Json, Vec<String>)>> = OnceLock::new();
    TREES.get_or_init(|| {
        let tree = |plan: &Plan| {
            let tree = serde_json::to_value(plan).unwrap();
            let mut found = Vec::new();
            paths(&tree, &mut Vec::new(), &mut found);
            (tree, found)
        };
        plans().iter().map(tree).collect()
    })
}

/// Something else of the same kind.
fn changed(tree: &mut Json, number: u64, swap: (Index, Index), text: &str) {
    match tree {
        Json::Number(n) if n.is_f64() => *tree = Json::from(f64::from_bits(number)),
        Json::Number(_) => *tree = Json::from(number),
        Json::Bool(b) => *b = !*b,
        Json::String(s) => *s = text.to_owned(),
        Json::Null => *tree = Json::from(number),
        Json::Array(items) if !items.is_empty() => {
            let (i, j) = (swap.0.index(items.len()), swap.1.index(items.len()));
            match number % 4 {
                0 => drop(items.remove(i)),
                1 => items.insert(i, items[j].clone()),
                2 => items.clear(),
                _ => items.swap(i, j),
            }
        }
        Json::Array(_) | Json::Object(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_change_is_answered(
        plan in any::<Index>(),
        places in prop::collection::vec((any::<Index>(), any::<Index>(), any::<Index>()), 1..4),
        number in prop_oneof![
            Just(0u64), Just(1), Just(31), Just(33), Just(u64::from(u32::MAX)), Just(1 << 24), Just(1 << 14), Just(255),
            Just(u64::MAX), 0u64..70_000, any::<u64>()
        ],
    ) {
        let (tree, found) = plan.get(trees());
        let mut tree = tree.clone();
        for (place, i, j) in places {
            let text = tree.pointer(i.get(found.as_slice()).as_str()).and_then(Json::as_str).unwrap_or("Bfp8").to_owned();
            if let Some(part) = tree.pointer_mut(place.get(found.as_slice()).as_str()) {
                changed(part, number, (i, j), &text);
            }
        }
        if let Ok(plan) = serde_json::from_value::<Plan>(tree) {
            // Sound or not: there is an answer, and the answer can be told.
            if let Err(defects) = verify(&plan) {
                prop_assert!(!defects.is_empty());
                prop_assert!(defects.iter().all(|d| !d.to_string().is_empty()));
            }
        }
    }
}
