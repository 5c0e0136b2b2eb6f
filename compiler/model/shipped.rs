//! The models that come with the compiler: `graphs/*.ron`.

use super::{Model, ModelErrors};

/// A model that comes with the compiler.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// Short name, as the command line takes it.
    pub name: &'static str,
    /// Names that checkpoints with its shapes and storage are published under, `owner/name`; the first is the one it was made from.
    pub published: &'static [&'static str],
    /// Licence of the published weights.
    pub licence: &'static str,
    /// Path in the repository.
    pub path: &'static str,
    /// The file's text.
    pub text: &'static str,
}

impl Shipped {
    /// The model itself.
    ///
    /// # Errors
    /// None as shipped: a test reads every file.
    pub fn model(&self) -> Result<Model, ModelErrors> {
        Model::parse(self.path, self.text)
    }
}

macro_rules! shipped {
    ($($name:literal => $file:literal, $licence:literal, [$($published:literal),*];)*) => {
        &[$(Shipped {
            name: $name,
            published: &[$($published),*],
            licence: $licence,
            path: concat!("graphs/", $file, ".ron"),
            text: include_str!(concat!("../graphs/", $file, ".ron")),
        }),*]
    };
}

/// All shipped models.
pub fn shipped() -> &'static [Shipped] {
    shipped![
        "bitnet-2b-4t" => "bitnet-b1.58-2b-4t", "MIT", ["microsoft/bitnet-b1.58-2B-4T", "microsoft/bitnet-b1.58-2B-4T-gguf"];
        "tiny-shakespeare" => "tiny-shakespeare", "MIT OR Apache-2.0", [];
        "bitnet-large" => "bitnet-b1.58-large", "MIT", ["1bitLLM/bitnet_b1_58-large"];
        "bitnet-xl" => "bitnet-b1.58-xl", "MIT", ["1bitLLM/bitnet_b1_58-xl"];
        "bitnet-3b" => "bitnet-b1.58-3b", "MIT", ["1bitLLM/bitnet_b1_58-3B"];
        "llama3-8b-1.58" => "llama3-8b-1.58-100b-tokens", "Llama 3 Community", ["HF1BitLLM/Llama3-8B-1.58-100B-tokens"];
        "falcon3-1b" => "falcon3-1b-instruct-1.58bit", "Falcon LLM", ["tiiuae/Falcon3-1B-Instruct-1.58bit"];
        "falcon3-3b" => "falcon3-3b-instruct-1.58bit", "Falcon LLM",
            ["tiiuae/Falcon3-3B-Instruct-1.58bit", "tiiuae/Falcon3-3B-Base-1.58bit", "tiiuae/Falcon3-3B-1.58bit"];
        "falcon3-7b" => "falcon3-7b-instruct-1.58bit", "Falcon LLM",
            ["tiiuae/Falcon3-7B-Instruct-1.58bit", "tiiuae/Falcon3-7B-Base-1.58bit", "tiiuae/Falcon3-7B-1.58bit"];
        "falcon3-10b" => "falcon3-10b-instruct-1.58bit", "Falcon LLM",
            ["tiiuae/Falcon3-10B-Instruct-1.58bit", "tiiuae/Falcon3-10B-Base-1.58bit", "tiiuae/Falcon3-10B-1.58bit"];
        "falcon-e-1b" => "falcon-e-1b", "Falcon LLM", ["tiiuae/Falcon-E-1B-Instruct", "tiiuae/Falcon-E-1B-Base"];
        "falcon-e-3b" => "falcon-e-3b", "Falcon LLM", ["tiiuae/Falcon-E-3B-Instruct", "tiiuae/Falcon-E-3B-Base"];
        "llama-3.2-1b" => "llama-3.2-1b", "Llama 3.2 Community", ["meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B-Instruct"];
        "llama-3.1-8b" => "llama-3.1-8b", "Llama 3.1 Community", ["meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"];
        "phi-3-mini-128k" => "phi-3-mini-128k", "MIT", ["microsoft/Phi-3-mini-128k-instruct"];
    ]
}

/// The shipped model of this short name, of its file's name without `.ron`, or of a name it is published under, with or without its
/// owner; letters may be of either case.
pub fn find(name: &str) -> Option<&'static Shipped> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    shipped().iter().find(|s| {
        let file = s.path.strip_prefix("graphs/").and_then(|p| p.strip_suffix(".ron"));
        is(s.name)
            || file.is_some_and(is)
            || s.published
                .iter()
                .any(|published| is(published) || published.split_once('/').is_some_and(|(_, own)| is(own)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_one_model_and_its_own() {
        for shipped in shipped() {
            let names = shipped.published.iter().copied().chain([shipped.name]);
            for name in names.flat_map(|name| [name.to_string(), name.to_lowercase()]) {
                assert_eq!(find(&name).map(|found| found.name), Some(shipped.name), "{name}");
            }
        }
        assert_eq!(find("bitnet-b1.58-2B-4T").map(|s| s.name), Some("bitnet-2b-4t"));
        assert!(find("microsoft/bitnet-2b").is_none() && find("").is_none());
    }
}
