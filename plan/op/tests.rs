//! The list of ops holds its files, and what is derived from declarations is what the calls do.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::program::SdpaProgram;
use crate::{Cores, DType, Fidelity, MemoryConfig};

fn value(name: &str) -> Ref {
    Ref::Value(name.into())
}

fn sum(into: Destination) -> Op {
    let none = Vec::new;
    Op::Binary(Binary {
        kind: BinaryKind::Add,
        a: value("a"),
        b: value("b"),
        a_activations: vec![Unary::MulScalar(2.0.into()), Unary::Round],
        b_activations: none(),
        activations: vec![Unary::MaxScalar(3.0.into())],
        dtype: DType::Bf16,
        into,
    })
}

fn attention() -> Op {
    Op::SdpaDecode(SdpaDecode {
        q: value("q"),
        k_cache: Ref::Buffer("k".into()),
        v_cache: Ref::Buffer("v".into()),
        positions: Ref::Buffer("positions".into()),
        page_table: Ref::Buffer("pages".into()),
        scale: 0.5.into(),
        program: SdpaProgram { grid: (8, 8), q_chunk: 0, k_chunk: 64 },
        compute: ComputeKernel { fidelity: Fidelity::HiFi2, fp32_dest_acc: false, packer_l1_acc: false },
        memory: MemoryConfig::L1,
    })
}

#[test]
fn each_op_has_one_file_of_its_name() {
    let generic = ["mod", "argument", "declare", "role", "tests"];
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/op")).unwrap();
    let stems: BTreeSet<String> =
        files.map(|f| f.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    let listed = Op::NAMES.iter().chain(&generic).map(|name| (*name).to_owned()).collect();
    assert_eq!(stems, listed);
}

#[test]
fn operands_are_read_and_renamed_in_one_order() {
    let mut op = attention();
    let names: Vec<_> = op.operands().iter().map(|r| r.name().to_owned()).collect();
    assert_eq!(names, ["q", "k", "v", "positions", "pages"]);
    for operand in op.operands_mut() {
        *operand = value(&format!("{operand}'"));
    }
    assert_eq!(op.operands()[3], &value("positions'"));
    assert_eq!(op.operand(Role::PageTable), Some(&value("pages'")));
    assert_eq!(op.operand(Role::Matrix), None);
    let parts = Op::Concat(Concat { inputs: vec![value("x"), value("y")], memory: MemoryConfig::DRAM });
    assert_eq!(parts.operands(), [&value("x"), &value("y")]);
    assert!(parts.uses().iter().all(|part| part.role == Role::Part && part.access == Access::Read));
}

#[test]
fn what_is_written_in_place_is_not_returned() {
    let (new, over) = (sum(Destination::New(MemoryConfig::L1)), sum(Destination::InPlace));
    assert_eq!((new.written(), new.results()), (vec![], 1));
    assert_eq!((over.written(), over.results()), (vec![&value("a")], 0));
    let update = Op::CacheUpdateOne(CacheUpdateOne {
        cache: Ref::Buffer("k".into()),
        input: value("k"),
        positions: Ref::Buffer("positions".into()),
        page_table: Ref::Buffer("pages".into()),
    });
    assert_eq!((update.written(), update.results()), (vec![&Ref::Buffer("k".into())], 0));
}

#[test]
fn scalars_stand_in_functions_too() {
    let values = |op: &Op| op.scalars().iter().map(|s| s.value).collect::<Vec<_>>();
    let mut op = sum(Destination::InPlace);
    assert_eq!((values(&op), values(&attention())), (vec![2.0, 3.0], vec![0.5]));
    for scalar in op.scalars_mut() {
        scalar.value += 1.0;
    }
    assert_eq!(values(&op), [3.0, 4.0]);
}

#[test]
fn a_value_ends_by_its_access() {
    let free = Op::Deallocate(Deallocate { input: value("x") });
    let view = Op::View(View { input: value("x"), shape: vec![1, 1, 32, 32] });
    assert_eq!((free.freed(), free.renamed(), free.launches()), (Some(&value("x")), None, false));
    assert_eq!((view.freed(), view.renamed(), view.launches()), (None, Some(&value("x")), false));
    assert!(attention().launches());
}

#[test]
fn what_only_the_host_knows_is_told() {
    let fill = CacheFill { cache: Ref::Buffer("k".into()), input: value("k"), page_table: Ref::Buffer("pages".into()) };
    let slice = |kept| Op::Slice(Slice { input: value("x"), kept, memory: MemoryConfig::L1 });
    assert!(Op::CacheFill(fill).is_host_dependent() && slice(Kept::LastTokenTile).is_host_dependent());
    assert!(!slice(Kept::Rows(0, 32)).is_host_dependent() && !attention().is_host_dependent());
}

#[test]
fn a_call_is_named_by_its_declaration_or_a_field() {
    let concat =
        Op::ConcatHeadsDecode(ConcatHeadsDecode { input: value("x"), heads: 20, cores: Cores::rectangle(0, 0, 5, 4) });
    assert_eq!(concat.call(), "experimental.nlp_concat_heads_decode");
    assert_eq!(sum(Destination::InPlace).call(), "add");
    assert_eq!((concat.compute(), attention().compute().map(|c| c.fidelity)), (None, Some(Fidelity::HiFi2)));
}
