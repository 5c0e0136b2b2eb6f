//! Kernels of bitnetc's own as Python: their sources as strings, and the functions that hand them to TT-NN.
//!
//! The same text is executed for `check` and on a device, and stands in the programs that `emit` writes.

use bitnetc_plan::kernels::ALL;

/// A function for each program of kernels, and the constants that it needs. `ttnn` is to be imported before.
pub(crate) fn python() -> String {
    let source = |name: String, text: &str| format!("{name} = r'''\n{text}'''\n\n");
    let functions = ALL.iter().map(|(name, kernels)| {
        let name = name.to_uppercase();
        [
            source(format!("{name}_READER"), kernels.reader),
            source(format!("{name}_WRITER"), kernels.writer),
            source(format!("{name}_COMPUTE"), kernels.compute),
            format!("\n{}", kernels.host),
        ]
        .concat()
    });
    functions.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_what_a_raw_string_can_hold() {
        for text in ALL.iter().flat_map(|(_, kernels)| [kernels.reader, kernels.writer, kernels.compute]) {
            assert!(!text.contains("'''") && text.ends_with("}\n"));
        }
    }
}
