//! Kernels of bitnetc's own: device code that TT-NN compiles from source and runs by `ttnn.generic_op`.
//!
//! A plan names the kernels it was made for by their fingerprint, so that it is never run with others.

/// One program's kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernels {
    /// The kernel of a core's first data-movement processor.
    pub reader: &'static str,
    /// The kernel of the second.
    pub writer: &'static str,
    /// The kernel of the matrix unit's processors.
    pub compute: &'static str,
    /// The Python function that hands them to TT-NN.
    pub host: &'static str,
}

/// Products by two-bit weights.
pub const TERNARY_LINEAR: Kernels = Kernels {
    reader: include_str!("kernels/ternary_linear/reader.cpp"),
    writer: include_str!("kernels/ternary_linear/writer.cpp"),
    compute: include_str!("kernels/ternary_linear/compute.cpp"),
    host: include_str!("kernels/ternary_linear/host.py"),
};

/// Rows as integers, and the largest magnitude of each.
pub const QUANTIZE_ROWS: Kernels = Kernels {
    reader: include_str!("kernels/quantize_rows/reader.cpp"),
    writer: include_str!("kernels/quantize_rows/writer.cpp"),
    compute: include_str!("kernels/quantize_rows/compute.cpp"),
    host: include_str!("kernels/quantize_rows/host.py"),
};

/// Sums with rows that are multiplied by a number each.
pub const ADD_ROWS: Kernels = Kernels {
    reader: include_str!("kernels/add_rows/reader.cpp"),
    writer: include_str!("kernels/add_rows/writer.cpp"),
    compute: include_str!("kernels/add_rows/compute.cpp"),
    host: include_str!("kernels/add_rows/host.py"),
};

/// All kernels, by the names of the functions that hand them to TT-NN.
pub const ALL: [(&str, Kernels); 3] =
    [("ternary_linear", TERNARY_LINEAR), ("quantize_rows", QUANTIZE_ROWS), ("add_rows", ADD_ROWS)];

impl Kernels {
    /// A number that other sources do not have but by chance: 32-bit FNV-1a of all four.
    pub const fn fingerprint(&self) -> u32 {
        let mut hash = 0x811c_9dc5;
        let sources = [self.reader, self.writer, self.compute, self.host];
        let mut source = 0;
        while source < sources.len() {
            let bytes = sources[source].as_bytes();
            let mut at = 0;
            while at < bytes.len() {
                hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
                at += 1;
            }
            source += 1;
        }
        hash
    }
}
