//! What `--json` prints: one shape for every command, of which [`crate::schema`] publishes the JSON Schema.
//!
//! A document is an object with the `format` of all documents, the `kind` of this one, and the fields of that kind. Text and schema are
//! made of the same types, so that neither can say what the other does not.

use miette::IntoDiagnostic as _;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::{Value, json};

/// Version of the documents. It grows with every change by which a program that reads them could break; a new field is none.
pub const FORMAT: u32 = 1;

/// The fields of one kind of document.
pub trait Content: Serialize + JsonSchema {
    /// The kind, which is the command's name.
    const KIND: &'static str;
}

/// What bitnetc prints with --json.
#[derive(Serialize, JsonSchema)]
struct Document<'a, C> {
    /// Version of the format.
    format: u32,
    /// The command.
    kind: &'static str,
    #[serde(flatten)]
    content: &'a C,
}

/// A document as text, with a newline at its end.
///
/// # Errors
/// None that is known: contents are numbers, texts, lists and objects.
pub fn text<C: Content>(content: &C) -> miette::Result<String> {
    let document = Document { format: FORMAT, kind: C::KIND, content };
    serde_json::to_string_pretty(&document).map(|text| text + "\n").into_diagnostic()
}

/// The JSON Schema of a kind of document.
pub fn schema<C: Content>() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Document<'_, C>>().to_value();
    schema["title"] = format!("bitnetc {} --json", C::KIND).into();
    schema["properties"]["format"] = json!({ "description": "Version of the format.", "const": FORMAT });
    schema["properties"]["kind"] = json!({ "description": "The command.", "const": C::KIND });
    schema
}
