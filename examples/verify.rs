//! Verifies a plan file: every invariant, without the compiler.
//!
//! ```sh
//! bitnetc plan bitnet-2b-4t -o plan.ron
//! cargo run --example verify -- plan.ron
//! ```

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use bitnetc_plan::{format, verify};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: verify PLAN")?;
    Ok(if sound(Path::new(&path))? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sound(path: &Path) -> Result<bool, Box<dyn Error>> {
    // Reading answers for the form of the file: RON or binary, undamaged, of this format version.
    let plan = format::read(path)?;
    // Verifying answers for the content. All defects are reported, each with its place.
    match verify(&plan) {
        Ok(verified) => {
            for (phase, walk) in plan.phases.iter().zip(verified.walks()) {
                println!("{}: {} steps replayed on the allocator model", phase.kind, walk.steps.len());
            }
            println!("{} of every DRAM bank", bitnetc_plan::units::bytes(verified.dram().total()));
            Ok(true)
        }
        Err(defects) => {
            for defect in defects {
                println!("{defect} ({})", defect.hint);
            }
            Ok(false)
        }
    }
}

#[test]
fn it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.ron");
    let model = bitnetc_compiler::model::find("tiny-shakespeare").unwrap().model().unwrap();
    let target = bitnetc_compiler::target::Target::find("n150").unwrap();
    let options = bitnetc_compiler::Options::for_model(&model);
    let mut plan = bitnetc_compiler::compile(&model, &target, &options).unwrap().plan.into_plan();
    std::fs::write(&path, format::encode(&path, &plan).unwrap()).unwrap();
    assert!(sound(&path).unwrap());
    plan.phases[0].layer.pop();
    std::fs::write(&path, format::encode(&path, &plan).unwrap()).unwrap();
    assert!(!sound(&path).unwrap());
}
