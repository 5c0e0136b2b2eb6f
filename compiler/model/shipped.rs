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

/// Published models of BitNet's family that are none of the shipped ones, and what there is to say of each.
const OTHERS: [(&str, &str); 3] = [
    (
        "microsoft/bitnet-b1.58-2B-4T-bf16",
        "Its weights are the float masters, of which `bitnetc import` makes a model of its own; bitnet-2b-4t has the packed ones",
    ),
    ("microsoft/bitnet-embedding-0.6b", EMBEDDING),
    ("microsoft/bitnet-embedding-270m", EMBEDDING),
];

const EMBEDDING: &str =
    "It is an embedding model: it gives one vector for a text, and bitnetc runs models that write text";

/// Tells why a published model is not shipped, or under which name it is. The name may have any form that [`find`] takes.
pub fn told(name: &str) -> Option<&'static str> {
    let name = published(name);
    let is = |other: &str| {
        name.eq_ignore_ascii_case(other) || other.split_once('/').is_some_and(|(_, own)| name.eq_ignore_ascii_case(own))
    };
    OTHERS.iter().find(|(other, _)| is(other)).map(|(_, told)| *told)
}

/// A name as it is published, `owner/name`, of the forms in which people have it: the address of its page or of a file there, the name of its
/// folder in the cache of downloads, with spaces around it or a slash behind.
fn published(name: &str) -> String {
    let name = name.trim();
    if name.starts_with(['/', '.']) {
        return name.into();
    }
    let name = name.strip_prefix("models--").map_or(name.to_string(), |cached| cached.replace("--", "/"));
    // An address: a host, then owner and name, then what is looked at.
    let path = name.split_once("://").map(|(_, address)| address).unwrap_or(&name);
    let mut parts: Vec<&str> = path.split(['/', '?', '#']).filter(|part| !part.is_empty()).collect();
    if parts.len() > 2 && (name.contains("://") || parts[0].contains('.')) {
        parts.remove(0);
        parts.truncate(2);
    }
    parts.join("/")
}

/// The shipped model of this short name, of its file's name without `.ron`, or of a name it is published under, with or without its
/// owner or an ending `-gguf`; letters may be of either case. An address of its page is a name too.
pub fn find(name: &str) -> Option<&'static Shipped> {
    let name = published(name);
    by_name(&name).or_else(|| {
        let (start, end) = name.split_at_checked(name.len().checked_sub("-gguf".len())?)?;
        end.eq_ignore_ascii_case("-gguf").then(|| by_name(start)).flatten()
    })
}

fn by_name(name: &str) -> Option<&'static Shipped> {
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
        for name in [
            "microsoft/bitnet-b1.58-2B-4T/",
            " microsoft/BitNet-b1.58-2B-4T ",
            "https://models.example/microsoft/bitnet-b1.58-2B-4T",
            "https://models.example/microsoft/bitnet-b1.58-2B-4T/tree/main?x=1",
            "models.example/microsoft/bitnet-b1.58-2B-4T",
            "models--microsoft--bitnet-b1.58-2B-4T",
            "bitnet-b1.58-2B-4T-GGUF",
        ] {
            assert_eq!(find(name).map(|s| s.name), Some("bitnet-2b-4t"), "{name}");
        }
        assert_eq!(find("tiiuae/Falcon-E-1B-Instruct-GGUF").map(|s| s.name), Some("falcon-e-1b"));
        for name in [
            "microsoft/bitnet-2b",
            "",
            "/",
            "-gguf",
            "/bitnet-2b-4t",
            "./microsoft/bitnet-b1.58-2B-4T",
            "other/bitnet-b1.58-2B-4T-bf16",
            "https://models.example",
        ] {
            assert!(find(name).is_none(), "{name}");
        }
        let embedding = told("https://models.example/microsoft/BitNet-embedding-0.6B").unwrap();
        assert!(embedding.contains("an embedding model") && told("bitnet-2b-4t").is_none());
    }
}
