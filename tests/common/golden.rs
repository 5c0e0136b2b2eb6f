//! Logits that transformers' BitNetForCausalLM computes in float32 for prompts of the trained model in graphs/tiny-shakespeare.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

/// The model's directory, for the workspace's root package and for the crates beside it.
pub fn directory() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = root.join("graphs/tiny-shakespeare");
    if here.is_dir() { here } else { root.join("../graphs/tiny-shakespeare") }
}

/// A file of it.
pub fn read(file: &str) -> Vec<u8> {
    std::fs::read(directory().join(file)).unwrap()
}

/// Tokens of each prompt, and their logits `[tokens, vocabulary]`.
pub fn golden() -> Vec<(Vec<u32>, Vec<f32>)> {
    let file: serde_json::Value = serde_json::from_slice(&read("golden.json")).unwrap();
    let bytes = read("golden.safetensors");
    let logits = SafeTensors::deserialize(&bytes).unwrap();
    let lists: Vec<Vec<u32>> = serde_json::from_value(file["tokens"].clone()).unwrap();
    let values = |n: usize| -> Vec<f32> {
        let tensor = logits.tensor(&format!("logits.{n}")).unwrap();
        tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    lists.into_iter().enumerate().map(|(n, tokens)| (tokens, values(n))).collect()
}

/// The first of the largest.
pub fn argmax(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (at, v)| if *v > row[best] { at } else { best })
}

/// Pearson's.
pub fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mean = |v: &[f32]| v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(&x, &y)| f(f64::from(x) - ma, f64::from(y) - mb)).sum()
    };
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}
