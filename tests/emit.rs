//! Emitted programs, executed by a module in TT-NN's place that computes with numpy (`tests/emit/ttnn.py`): the tokens that they generate
//! are those of the host device.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use bitnetc_plan::{TtnnRelease, VerifiedPlan, format};
use bitnetc_runtime::host::Numerics;
use bitnetc_runtime::{Flow, GenerateOptions, HostDevice, LoadOptions, Sampling, Session, Weights, generate};
use bitnetc_ttnn::{PythonEnv, Wanted};
use common::stdout;

/// A plan of the small model, its program, and its weights.
struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn new(more: &[&str]) -> Program {
        let program = Program { folder: tempfile::tempdir().unwrap() };
        let [plan, source, weights] = ["plan.ron", "program.py", "weights.bin"].map(|name| program.path(name));
        let base = ["plan", "tiny-shakespeare", "--policy", "exact", "-o", plan.to_str().unwrap()];
        stdout(&[&base[..], more].concat());
        stdout(&["emit", plan.to_str().unwrap(), "--python", "-o", source.to_str().unwrap()]);
        stdout(&["pack", plan.to_str().unwrap(), "-o", weights.to_str().unwrap()]);
        program
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let env = PythonEnv::find(None, Wanted::Only(TtnnRelease::latest())).unwrap();
        let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emit");
        let mut python = Command::new(env.executable);
        python.arg(self.path("program.py")).arg("--packed").arg(self.path("weights.bin")).args(args);
        python.envs([("PYTHONPATH", stand_in.as_os_str()), ("PYTHONDONTWRITEBYTECODE", "1".as_ref())]).output().unwrap()
    }

    /// The tokens of each user.
    fn tokens(&self, args: &[&str]) -> Vec<Vec<u32>> {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).unwrap();
        let line = |(user, line): (usize, &str)| {
            serde_json::from_str(line.strip_prefix(&format!("user {user}: ")).unwrap()).unwrap()
        };
        text.lines().enumerate().map(line).collect()
    }

    fn refusal(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert_ne!(out.status.code(), Some(0), "{args:?}");
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(!said.contains("Traceback"), "{said}");
        said
    }

    /// What the host device generates greedily.
    fn expected(&self, prompts: &[Vec<u32>], tokens: usize) -> Vec<Vec<u32>> {
        let plan = VerifiedPlan::new(format::read(&self.path("plan.ron")).unwrap()).unwrap();
        let weights = Weights::open(&self.path("weights.bin")).unwrap();
        let device = HostDevice::new(plan.card.arch, Numerics::Fast);
        let mut session = Session::load(plan, &weights, device, &LoadOptions::default(), |_, _| {}).unwrap();
        let interrupted = AtomicBool::new(false);
        let sampling = Sampling::GREEDY;
        let options = GenerateOptions { max_tokens: tokens, sampling, stop_tokens: &[], interrupted: &interrupted };
        let texts = generate(&mut session, prompts, &options, |_, _| Flow::Continue).unwrap();
        texts.into_iter().map(|text| text.tokens).collect()
    }
}

const LONG: &str = "834,46,45,448,27,200";
/// What follows it greedily in transformers' BitNetForCausalLM in f32, which numpy's f64 is nearer to than a card's formats.
const CONTINUED: [u32; 8] = [42, 469, 260, 522, 69, 303, 13, 297];
const SHORT: &str = "834,46";

fn ids(prompt: &str) -> Vec<u32> {
    prompt.split(',').map(|id| id.parse().unwrap()).collect()
}

#[test]
fn every_user_has_a_prompt_and_ends_for_itself() {
    let program = Program::new(&["--batch", "3", "--prefill", "128"]);
    let users = ["--prompt", LONG, "--prompt", SHORT, "--steps", "7"];
    let texts = program.tokens(&users);
    let short = program.expected(&[ids(SHORT)], 8).remove(0);
    let expected = [CONTINUED.to_vec(), short, CONTINUED.to_vec()];
    assert_eq!(texts, expected);

    // An end of text ends one text and leaves the others as they are.
    let at = expected[0].iter().position(|token| !expected[1].contains(token)).unwrap();
    let texts = program.tokens(&[&users[..], &["--eos", &expected[0][at].to_string()]].concat());
    assert_eq!((&texts[0][..], &texts[1]), (&expected[0][..at], &expected[1]));
}

/// What no bucket holds is fed by decode steps, and no token of a prompt is among those generated.
#[test]
fn prompts_longer_than_the_buckets_and_plans_without_any() {
    let long: Vec<u32> = (0..40).map(|i| ids(LONG)[i % 6]).collect();
    let text = long.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    for prefill in ["32", "none"] {
        let program = Program::new(&["--batch", "2", "--prefill", prefill]);
        let texts = program.tokens(&["--prompt", &text, "--prompt", SHORT, "--steps", "5"]);
        assert_eq!(texts, program.expected(&[long.clone(), ids(SHORT)], 6), "{prefill}");
    }
}

#[test]
fn tokens_are_drawn_as_asked() {
    let program = Program::new(&["--batch", "2", "--prefill", "32"]);
    let drawn = |more: &[&str]| program.tokens(&[&["--prompt", LONG, "--steps", "9"], more].concat());
    let greedy = drawn(&[]);
    assert_eq!(greedy[0], greedy[1]);
    assert_eq!(drawn(&["--temperature", "2", "--top-k", "1"]), greedy);
    assert_eq!(drawn(&["--temperature", "2", "--top-p", "0.00001"]), greedy);
    let hot = drawn(&["--temperature", "2", "--seed", "1"]);
    assert_eq!(drawn(&["--temperature", "2", "--seed", "1"]), hot);
    assert!(hot[0] != hot[1] && hot != greedy && drawn(&["--temperature", "2", "--seed", "2"]) != hot);
}

#[test]
fn the_card_draws_tokens_where_the_plan_has_it_do_so() {
    let program = Program::new(&["--batch", "2", "--prefill", "32", "--sample"]);
    let drawn = |more: &[&str]| program.tokens(&[&["--prompt", LONG, "--steps", "9"], more].concat());
    let greedy = drawn(&[]);
    assert_eq!(greedy[0][..8], CONTINUED);
    assert_eq!(drawn(&["--temperature", "2", "--top-k", "1"]), greedy);
    let hot = drawn(&["--temperature", "2", "--top-k", "20", "--seed", "1"]);
    assert_eq!(drawn(&["--temperature", "2", "--top-k", "20", "--seed", "1"]), hot);
    assert!(hot[0] != hot[1] && hot != greedy && drawn(&["--temperature", "2", "--top-k", "20", "--seed", "2"]) != hot);
    // More than a card takes is drawn by the host.
    assert_ne!(drawn(&["--temperature", "2", "--top-k", "33", "--seed", "1"]), hot);
}

/// A prompt of several chunks, the last one short, says what it says in one.
#[test]
fn long_prompts_are_prefilled_in_chunks() {
    let long: Vec<u32> = (0..75).map(|i| ids(LONG)[i % 6]).collect();
    let text = long.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let program = Program::new(&["--batch", "1", "--prefill", "32", "--block", "32", "--context", "128"]);
    let texts = program.tokens(&["--prompt", &text, "--steps", "5"]);
    assert_eq!(texts, program.expected(&[long], 6));
}

#[test]
fn what_cannot_be_run_is_told_in_a_line() {
    let program = Program::new(&["--batch", "1", "--prefill", "32"]);
    for (args, words) in [
        (&["--prompt", "1,x"][..], "without --tokenizer a prompt is token ids"),
        (&["--prompt", "1", "--prompt", "2"], "give 1 to 1 prompts"),
        (&["--prompt", "99999"], "token ids are 0 to"),
        (&["--temperature", "-1"], "--temperature is out of range"),
        (&["--top-p", "0"], "--top-p is out of range"),
        (&["--steps", "100000"], "are more than the context"),
        (&["--tokenizer", "/not/there", "--prompt", "a"], "tokenizer"),
    ] {
        let said = program.refusal(args);
        assert!(said.contains(words), "{args:?}: {said}");
    }
    let source = std::fs::read_to_string(program.path("program.py")).unwrap();
    std::fs::write(program.path("program.py"), source.replacen("RELEASE = \"", "RELEASE = \"9", 1)).unwrap();
    let said = program.refusal(&["--prompt", "1"]);
    assert!(said.contains("the plan is for TT-NN 9") && said.contains("but this is"), "{said}");
}
