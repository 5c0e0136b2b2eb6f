//! The models that come with the compiler: `graphs/*.ron`.

use super::{Model, ModelErrors};

/// A model that comes with the compiler.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// Short name, as the command line takes it.
    pub name: &'static str,
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
    ($($name:literal => $file:literal),* $(,)?) => {
        &[$(Shipped {
            name: $name,
            path: concat!("graphs/", $file, ".ron"),
            text: include_str!(concat!("../graphs/", $file, ".ron")),
        }),*]
    };
}

/// All shipped models.
pub fn shipped() -> &'static [Shipped] {
    shipped![
        "bitnet-2b-4t" => "bitnet-b1.58-2b-4t",
        "tiny-shakespeare" => "tiny-shakespeare",
        "bitnet-large" => "bitnet-b1.58-large",
        "bitnet-3b" => "bitnet-b1.58-3b",
        "llama3-8b-1.58" => "llama3-8b-1.58-100b-tokens",
        "falcon3-1b" => "falcon3-1b-instruct-1.58bit",
        "falcon3-3b" => "falcon3-3b-instruct-1.58bit",
        "falcon3-7b" => "falcon3-7b-instruct-1.58bit",
        "falcon3-10b" => "falcon3-10b-instruct-1.58bit",
        "falcon-e-1b" => "falcon-e-1b",
        "falcon-e-3b" => "falcon-e-3b",
        "llama-3.2-1b" => "llama-3.2-1b",
        "llama-3.1-8b" => "llama-3.1-8b",
        "phi-3-mini-128k" => "phi-3-mini-128k",
    ]
}

/// The shipped model of this short name, or of its file's name without `.ron`.
pub fn find(name: &str) -> Option<&'static Shipped> {
    shipped()
        .iter()
        .find(|s| s.name == name || s.path.strip_prefix("graphs/").and_then(|p| p.strip_suffix(".ron")) == Some(name))
}
