//! Plans a shipped model from Rust, prints what a layer of decode becomes, and writes the plan to a file.
//!
//! ```sh
//! cargo run --example plan
//! ```

use std::error::Error;
use std::path::Path;

use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::format;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join("bitnetc-example.ron");
    plan("bitnet-2b-4t", "p150", &path)?;
    println!("written to {}", path.display());
    Ok(())
}

fn plan(name: &str, card: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    // A model is one of those that come along, or a RON file of your own by `Model::parse`.
    let model = model::find(name).ok_or("no such model")?.model()?;
    // A target is a shipped card, or the path of a file like those in targets/.
    let target = Target::find(card)?;
    let options = Options { policy: Policy::Exact, batch: 32, prefill: vec![128], ..Options::for_model(&model) };

    // What comes back is verified. `record` holds what else was considered.
    let compiled = compile(&model, &target, &options)?;
    for phase in &compiled.plan.phases {
        println!("{}: predicted {:.2} ms", phase.kind, phase.cost.device_us / 1000.0);
    }
    let decode = compiled.plan.decode().ok_or("a plan has a decode phase")?;
    for step in &decode.layer {
        let outputs: Vec<_> = step.outputs.iter().map(|value| value.spec.to_string()).collect();
        println!("{:16} {:50} {}", step.name, step.op.call(), outputs.join(", "));
    }
    // RON, which a person can read; a name that ends in `.plan` makes the compact binary form.
    std::fs::write(path, format::encode(path, &compiled.plan)?)?;
    Ok(())
}

#[test]
fn it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example.plan");
    plan("tiny-shakespeare", "n150", &path).unwrap();
    assert_eq!(format::read(&path).unwrap().model.name, "tiny-shakespeare");
}
