//! A phase that computes another function than the first.

use bitnetc_plan::walk::settle;
use bitnetc_plan::{Invariant, Op, Phase, Plan, Ref, Scalar, Source, Step, verify};

use crate::spot::plans;

fn steps(phase: &mut Phase) -> impl Iterator<Item = &mut Step> {
    phase.prologue.iter_mut().chain(&mut phase.layer).chain(&mut phase.epilogue)
}

/// Every plan with `change` done to its prefill is caught.
#[track_caller]
fn caught(change: impl Fn(&mut Plan)) {
    for sound in plans() {
        let mut plan = sound.clone();
        change(&mut plan);
        let defects = verify(&plan).map(|_| ()).unwrap_err();
        assert!(defects.iter().any(|d| d.invariant == Invariant::Function), "{defects:#?}");
    }
}

#[test]
fn norms_of_two_phases_are_the_same() {
    let epsilon = |change: fn(&mut Scalar)| {
        caught(|p| {
            let norm =
                steps(&mut p.phases[1]).find_map(|s| if let Op::RmsNorm(n) = &mut s.op { Some(n) } else { None });
            change(&mut norm.unwrap().epsilon);
        });
    };
    epsilon(|e| e.value *= 2.0);
    caught(|p| {
        let scaled = steps(&mut p.phases[1]).flat_map(|s| s.op.scalars_mut()).find(|s| !s.scales.is_empty());
        scaled.unwrap().scales[0].1 += 1;
    });
}

#[test]
fn attention_of_two_phases_is_the_same() {
    caught(|p| {
        let sdpa = steps(&mut p.phases[1]).find_map(|s| if let Op::Sdpa(a) = &mut s.op { Some(a) } else { None });
        sdpa.unwrap().scale.value *= 0.5;
    });
}

#[test]
fn two_phases_rotate_alike() {
    let tables = |change: fn(&mut Vec<f64>, &mut f64)| {
        caught(|p| {
            // Tables of the prefill's own, both of them, so that cosines and sines agree.
            let mut own = Vec::new();
            for step in steps(&mut p.phases[1]) {
                let Op::Embedding(lookup) = &mut step.op else { continue };
                let table = p.weights.iter().find(|w| w.name == lookup.table.name()).unwrap();
                let mut table = table.clone();
                if let Source::RotaryTable { frequencies, amplitude, .. } = &mut table.source {
                    change(frequencies, amplitude);
                    table.name.push_str(".own");
                    lookup.table = Ref::Weight(table.name.clone());
                    own.push(table);
                }
            }
            assert_eq!(own.len(), 2);
            p.weights.extend(own);
            settle(p).unwrap();
        });
    };
    tables(|frequencies, _| frequencies[1] *= 2.0);
    tables(|_, amplitude| *amplitude = 2.0);
}

#[test]
fn two_phases_multiply_by_the_same_matrices() {
    caught(|p| {
        let matmul =
            p.phases[1].layer.iter_mut().find_map(|s| if let Op::Matmul(m) = &mut s.op { Some(m) } else { None });
        let name = matmul.unwrap().b.name().to_owned();
        let mut other = p.weight(&name).unwrap().clone();
        other.name = "another".into();
        if let Source::Columns(matrices) = &mut other.source {
            matrices[0].tensor.push_str(".other");
        }
        p.weights.push(other);
        let matmul =
            p.phases[1].layer.iter_mut().find_map(|s| if let Op::Matmul(m) = &mut s.op { Some(m) } else { None });
        matmul.unwrap().b = Ref::Weight("another".into());
        settle(p).unwrap();
    });
}
