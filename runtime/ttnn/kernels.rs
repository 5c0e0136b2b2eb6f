//! Kernels of bitnetc's own as Python: their sources as strings, and the functions that hand them to TT-NN.
//!
//! The same text is executed for `check` and on a device, and stands in the programs that `emit` writes.

use bitnetc_plan::kernels::TERNARY_LINEAR;

/// A function for each program of kernels, and the constants that it needs. `ttnn` is to be imported before.
pub(crate) fn python() -> String {
    let source = |name: &str, text: &str| format!("{name} = r'''\n{text}'''\n\n");
    [
        source("TERNARY_LINEAR_READER", TERNARY_LINEAR.reader),
        source("TERNARY_LINEAR_WRITER", TERNARY_LINEAR.writer),
        source("TERNARY_LINEAR_COMPUTE", TERNARY_LINEAR.compute),
        format!("\n{}", TERNARY_LINEAR.host),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_what_a_raw_string_can_hold() {
        for text in [TERNARY_LINEAR.reader, TERNARY_LINEAR.writer, TERNARY_LINEAR.compute] {
            assert!(!text.contains("'''") && text.ends_with("}\n"));
        }
    }
}
