//! Vocabularies of GGUF files.

use std::path::Path;

use super::{Message, Text};
use writer::Writer;

#[path = "../tests/common/gguf.rs"]
#[allow(dead_code, reason = "the tests of weights use the rest")]
mod writer;

fn opened(file: &Writer) -> miette::Result<Text> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    Text::open(&path)
}

/// Pieces of SentencePiece's kind: three special ones, every byte, and words.
fn pieces() -> (Vec<String>, Vec<f32>, Vec<i32>) {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    let words = [
        "▁t", "he", "▁the", "in", "▁a", "er", "▁th", "ing", "▁in", "▁their", "th", "ir", "▁", "t", "h", "e", "i", "n",
        "a", "r", "g",
    ];
    tokens.extend(words.map(String::from));
    let scores = (0..tokens.len()).map(|id| if id < 259 { 0.0 } else { 258.0 - id as f32 }).collect();
    let kinds =
        (0..tokens.len()).map(|id| [2, 3, 3].get(id).copied().unwrap_or(if id < 259 { 6 } else { 1 })).collect();
    (tokens, scores, kinds)
}

fn sentence_piece() -> Writer {
    let (tokens, scores, kinds) = pieces();
    let mut file = Writer::default();
    file.text("general.architecture", "llama").text("tokenizer.ggml.model", "llama");
    file.texts("tokenizer.ggml.tokens", &tokens).floats("tokenizer.ggml.scores", &scores);
    file.integers("tokenizer.ggml.token_type", &kinds);
    file
}

/// As llama.cpp does it: of all neighbours that together are a piece, those of the best score are joined, the leftmost first.
fn joined(text: &str) -> Vec<u32> {
    let (tokens, scores, _) = pieces();
    let id = |piece: &str| tokens.iter().position(|token| token == piece);
    let mut symbols: Vec<String> = format!("▁{}", text.replace(' ', "▁")).chars().map(String::from).collect();
    loop {
        let pairs = symbols.windows(2).enumerate().filter_map(|(at, pair)| Some((at, scores[id(&pair.concat())?])));
        let Some((at, _)) = pairs.reduce(|best, next| if next.1 > best.1 { next } else { best }) else { break };
        let right = symbols.remove(at + 1);
        symbols[at] += &right;
    }
    let bytes = |symbol: &String| symbol.bytes().map(|byte| 3 + u32::from(byte)).collect::<Vec<_>>();
    symbols.iter().flat_map(|symbol| id(symbol).map_or_else(|| bytes(symbol), |id| vec![id as u32])).collect()
}

#[test]
fn sentence_piece_joins_the_best_pieces_and_falls_back_to_bytes() {
    let text = opened(&sentence_piece()).unwrap();
    for sample in ["the thing in their hair", "a", " in  the", "étér", "therein the nearing 語"] {
        let tokens = text.tokens(sample).unwrap();
        // A text begins with <s> where the file does not say otherwise.
        assert_eq!(tokens[0], 1);
        assert_eq!(tokens[1..], joined(sample), "{sample}");
        assert_eq!(text.text(&tokens).unwrap(), sample);
    }
    assert_eq!(text.stop_tokens, [2]);
    assert!(!text.has_template());
}

#[test]
fn what_the_metadata_says_of_special_tokens_holds() {
    let mut file = sentence_piece();
    file.flag("tokenizer.ggml.add_bos_token", false).flag("tokenizer.ggml.add_eos_token", true);
    file.count("tokenizer.ggml.eos_token_id", 2).count("tokenizer.ggml.eot_token_id", 1);
    file.text("tokenizer.chat_template", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}");
    let text = opened(&file).unwrap();
    assert_eq!(text.tokens("a").unwrap(), [joined("a"), vec![2]].concat());
    assert_eq!(text.stop_tokens, [1, 2]);
    let conversation = text.conversation(&[Message { role: "user", content: "a".into() }]).unwrap();
    assert_eq!((conversation.first(), conversation.last()), (Some(&1), Some(&2)));
}

/// Byte-level pieces, each byte written as the character that GPT-2 writes for it.
fn byte_level(pre: Option<&str>) -> Writer {
    let tokens = ["1", "2", "3", "4", "12", "34", "1234", "a", "Ġ", "Ġa", "<|end|>"];
    let kinds = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3];
    let mut file = Writer::default();
    file.text("general.architecture", "llama").text("tokenizer.ggml.model", "gpt2");
    file.texts("tokenizer.ggml.tokens", &tokens).integers("tokenizer.ggml.token_type", &kinds);
    file.texts("tokenizer.ggml.merges", &["1 2", "3 4", "12 34", "Ġ a"]);
    pre.into_iter().for_each(|pre| {
        file.text("tokenizer.ggml.pre", pre);
    });
    file
}

#[test]
fn the_way_text_is_split_is_the_files() {
    let tokens = |pre| opened(&byte_level(pre)).unwrap().tokens("a 1234 a<|end|>").unwrap();
    // GPT-2 keeps digits together and joins the blank before them, Llama 3 splits after three, Qwen2 after each.
    assert_eq!(tokens(Some("gpt-2")), [7, 8, 6, 9, 10]);
    assert_eq!(tokens(None), tokens(Some("gpt-2")));
    assert_eq!(tokens(Some("llama-bpe")), [7, 8, 4, 2, 3, 9, 10]);
    assert_eq!(tokens(Some("qwen2")), [7, 8, 0, 1, 2, 3, 9, 10]);
    let error = opened(&byte_level(Some("tekken"))).err().unwrap();
    assert!(
        error.to_string().contains("`tekken`")
            && format!("{:?}", error.help().map(|h| h.to_string())).contains("--tokenizer")
    );
}

#[test]
fn a_tokenizer_of_another_kind_is_named() {
    let mut file = Writer::default();
    file.text("general.architecture", "llama")
        .text("tokenizer.ggml.model", "t5")
        .texts("tokenizer.ggml.tokens", &["a"]);
    let error = opened(&file).err().unwrap().to_string();
    assert!(error.contains("`t5`") && error.contains("gpt2 and llama"), "{error}");
    assert!(Text::beside(Path::new("a/b.packed")) == Path::new("a"));
}
