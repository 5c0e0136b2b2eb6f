//! The logits of llama.cpp and bitnet.cpp themselves, beside those of the same .gguf on the host device.
//!
//! Their program `llama-perplexity` saves them: `--save-all-logits FILE` writes the tokens of a text, and after them, for the second half of
//! each window, the logarithms of the probabilities in 16 bits, cut off at 16 below the largest. The comparison is made in the same form.
//! The programs are the user's: these tests run where the environment names one, and fail when asked to run without.

use std::path::Path;
use std::process::Command;

use crate::common;
use crate::common::golden::{argmax, correlation};
use crate::conversion::Conversion;
use crate::writer::{BF16, F16, F32, I2_S, Q6_K, Q8_0, TQ1_0, TQ2_0, Writer};
use crate::{BLOCKS_OF_256, Sizes, logits, plan, random_of};
use bitnetc_compiler::model::Model;

/// Tokens of a window. Its second half is compared.
const WINDOW: usize = 32;
/// What the programs cut off below the largest logit.
const RANGE: f32 = 16.0;

/// The file that `llama-perplexity` writes.
struct Saved {
    vocab: usize,
    windows: Vec<Vec<u32>>,
    /// Logarithms of probabilities, one row for each compared position.
    rows: Vec<Vec<f32>>,
}

impl Saved {
    fn by(program: &str, gguf: &Path, text: &str, dir: &Path) -> Saved {
        let (prompt, out) = (dir.join("text.txt"), dir.join("logits.bin"));
        std::fs::write(&prompt, text).unwrap();
        let window = WINDOW.to_string();
        let run = Command::new(program)
            .args(["-m".as_ref(), gguf.as_os_str(), "-f".as_ref(), prompt.as_os_str()])
            .args(["-c", &window, "-b", &window, "-ub", &window, "-t", "2", "--save-all-logits"])
            .arg(&out)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(run.status.success(), "{program}: {}", String::from_utf8_lossy(&run.stderr));
        Saved::read(&std::fs::read(out).unwrap())
    }

    fn read(bytes: &[u8]) -> Saved {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(&bytes[..8], b"_logits_");
        let [window, vocab, windows] = [8, 12, 16].map(|at| word(at) as usize);
        assert_eq!(window, WINDOW);
        let tokens: Vec<u32> = (0..windows * window).map(|n| word(20 + 4 * n)).collect();
        // A row is a scale, the smallest logarithm, and a code for each token; it is a whole number of words.
        let row_bytes = 2 * (vocab.next_multiple_of(2) + 4);
        let rows = bytes[20 + 4 * tokens.len()..].chunks_exact(row_bytes).map(|row| {
            let float = |at: usize| f32::from_le_bytes(row[at..at + 4].try_into().unwrap());
            let code = |n: usize| f32::from(u16::from_le_bytes([row[8 + 2 * n], row[9 + 2 * n]]));
            (0..vocab).map(|n| float(4) + float(0) * code(n)).collect()
        });
        Saved { vocab, windows: tokens.chunks(window).map(<[u32]>::to_vec).collect(), rows: rows.collect() }
    }
}

/// Logarithms of the probabilities of a row of logits, cut off as the programs do.
fn logarithms(row: &[f32]) -> Vec<f32> {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - most).exp()).sum();
    row.iter().map(|&x| (x - most).max(-RANGE) - sum.ln() as f32).collect()
}

/// Runs `program` and the host device on the file and prints how they agree.
///
/// # Panics
/// Where the correlation is below `least`.
fn compare(program: &str, name: &str, gguf: &Path, text: &str, dir: &Path, least: f64) {
    let saved = Saved::by(program, gguf, text, dir);
    let model = common::stdout(&["import", gguf.to_str().unwrap()]);
    let plan = plan(&Model::parse("imported", &model).unwrap());
    let all = logits(&plan, gguf, &saved.windows);
    let ours = all.chunks(saved.vocab).map(logarithms).collect::<Vec<_>>();
    let (mut a, mut b, mut equal, mut rows) = (Vec::new(), Vec::new(), 0, 0);
    for (window, ours) in saved.rows.chunks(WINDOW / 2 - 1).zip(ours.chunks(WINDOW)) {
        for (theirs, ours) in window.iter().zip(&ours[WINDOW / 2..]) {
            equal += usize::from(argmax(theirs) == argmax(ours));
            rows += 1;
            a.extend_from_slice(theirs);
            b.extend_from_slice(ours);
        }
    }
    let pcc = correlation(&a, &b);
    println!("{name:52} PCC {pcc:.6}, top-1 {:6.2} % of {rows} rows", 100.0 * equal as f64 / rows as f64);
    assert!(rows > 0 && pcc >= least, "{name}: {pcc}");
}

fn program(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} must name a `llama-perplexity`"))
}

/// One token for each byte, so that any text has tokens.
fn bytes_as_tokens(file: &mut Writer) {
    let printable = |b: &u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut shifted = (256..).map(|c| char::from_u32(c).unwrap());
    let tokens: Vec<String> = (0..256)
        .map(|b| if printable(&b) { char::from_u32(b).unwrap() } else { shifted.next().unwrap() }.to_string())
        .collect();
    file.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "gpt-2");
    file.texts("tokenizer.ggml.tokens", &tokens.iter().collect::<Vec<_>>());
    file.texts("tokenizer.ggml.merges", &[&"a b".to_string()]);
    file.integers("tokenizer.ggml.token_type", &[1; 256]);
    file.count("tokenizer.ggml.bos_token_id", 0).count("tokenizer.ggml.eos_token_id", 0);
    file.flag("tokenizer.ggml.add_bos_token", false);
}

/// The head of `bitnet` is its embedding in both programs, and they refuse a file with another.
fn without_head(file: &mut Writer) {
    file.tensors.retain(|tensor| tensor.0 != "output.weight");
}

/// A sentence for the random models, whose tokens are its bytes.
fn text() -> String {
    "Now is the winter of our discontent made glorious summer by this sun of York. ".repeat(3)
}

/// Architecture, class of the checkpoint, types of projections and of the tables, the least correlation.
type Row = (&'static str, &'static str, u32, u32, f64);

fn random_models(program: &str, sizes: Sizes, rows: &[Row]) {
    for &(architecture, class, projections, table, least) in rows {
        let checkpoint = tempfile::tempdir().unwrap();
        random_of(checkpoint.path(), class, projections != F32, sizes);
        let dir = tempfile::tempdir().unwrap();
        let conversion = Conversion { checkpoint: checkpoint.path(), architecture, projections, table };
        let gguf = conversion.write(dir.path(), |file| {
            bytes_as_tokens(file);
            if architecture == "bitnet" {
                without_head(file);
            }
        });
        let name = format!("{architecture}, hidden {}, projections {projections}, tables {table}", sizes[0]);
        compare(program, &name, &gguf, &text(), dir.path(), least);
    }
}

#[test]
#[ignore = "needs a llama-perplexity of llama.cpp, named by BITNETC_LLAMA_PERPLEXITY"]
fn llama_cpp_computes_the_same() {
    let program = program("BITNETC_LLAMA_PERPLEXITY");
    random_models(
        &program,
        BLOCKS_OF_256,
        &[
            ("bitnet", "BitNetForCausalLM", TQ1_0, F16, 0.9995),
            ("bitnet", "BitNetForCausalLM", TQ2_0, F16, 0.9995),
            ("bitnet", "BitNetForCausalLM", TQ2_0, Q6_K, 0.9995),
            ("bitnet", "BitNetForCausalLM", Q8_0, Q8_0, 0.9995),
            ("bitnet", "BitNetForCausalLM", F16, F16, 0.9995),
            ("llama", "LlamaForCausalLM", TQ1_0, F16, 0.9995),
            ("llama", "LlamaForCausalLM", TQ2_0, F16, 0.9995),
            ("llama", "LlamaForCausalLM", F16, F16, 0.9995),
            ("llama", "LlamaForCausalLM", F32, BF16, 0.9995),
        ],
    );
}

#[test]
#[ignore = "needs a llama-perplexity of bitnet.cpp, named by BITNETC_BITNET_PERPLEXITY"]
fn bitnet_cpp_computes_the_same() {
    let program = program("BITNETC_BITNET_PERPLEXITY");
    // bitnet.cpp's product of I2_S takes whole blocks of 128 columns only.
    for sizes in [BLOCKS_OF_256, [640, 1792, 20, 5]] {
        random_models(
            &program,
            sizes,
            &[("bitnet", "BitNetForCausalLM", I2_S, F16, 0.9995), ("llama", "LlamaForCausalLM", I2_S, F16, 0.9995)],
        );
    }
}
