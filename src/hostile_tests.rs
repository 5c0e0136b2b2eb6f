//! Command lines that nobody would type: every option's value is read in this process.

use clap::Parser as _;

use super::Cli;
use super::hostile::tried;

#[test]
fn options() {
    let seeds = [
        "plan bitnet-2b-4t --target p150 --batch 32 --policy fast -o plan.ron --set down=bfp8/HiFi2 --prefill 128,512",
        "plan m.ron --context 4096 --block 64 --at-position 256 --proofs bits --no-folding --release newest",
        "inspect plan.ron --phase prefill-128 --layer 0 --memory --json",
        "ask p150 --plan plan.ron --phase decode --nearest 3 prefill-128/down",
        "run --prompt ROMEO: --tokens 60 --temperature 0.7 --top-p 0.9 --seed 11 --quiet",
        "ttnn oracle --target p150 --draws 500 --seed 7 --rule linear",
        "calibrate --rows mine.ron --target n150 --refit",
    ];
    tried("options", &seeds.map(|seed| seed.as_bytes().to_vec()), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Err(error) = Cli::try_parse_from(std::iter::once("bitnetc").chain(text.split(' '))) {
            assert!(!error.to_string().is_empty());
        }
    });
}
