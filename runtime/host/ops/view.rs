//! `ttnn.reshape` where it is a view: the input's storage under another shape.
//!
//! A view may take in or leave out rows that lie in the same tiles as the logical ones. They are not kept on the host: they come as zeros
//! and go without trace.

use bitnetc_plan::op::View;

use crate::DeviceError;
use crate::host::movement::copy_runs;
use crate::host::run::Run;
use crate::host::tensor::elements;

pub fn execute(_: &View, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let spec = run.output()?;
    let (len, columns, shape) = (elements(spec), spec.columns(), spec.shape.clone());
    let from = run.operands().tensor(0)?;
    let had = elements(&from.spec);
    if len != had && columns != from.spec.columns() {
        return Err(from.unexpected(0, format!("a tensor of the rows of {shape:?}")));
    }
    if len > had {
        run.produce(|x, [out]| {
            out.clear();
            copy_runs(0, x.tensor(0)?, out, had, std::iter::once((0, 0)))
        })?;
        return run.end(0);
    }
    let tensor = run.take(0)?;
    run.put(tensor)
}
