//! `ttnn.transpose` of heads and rows, one of which is mostly a single one.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::Unclear;
use crate::function::value::{Content, Layout, Stage, Value};
use crate::op::Transpose;

pub(super) fn meaning(args: &Transpose, step: &Step, run: &mut Execution<'_>) -> Meaning {
    let x = run.value(&args.input)?;
    if let (Content::Grouped(Stage::Maxima, of, width), (2, 3)) = (&x.content, args.dims) {
        return Ok(vec![Value { content: Content::Grouped(Stage::Row, of.clone(), *width), ..x.clone() }]);
    }
    let shape = step.outputs.first().map_or(&[][..], |output| &output.spec.shape);
    let middle = matches!(args.dims, (1, 2) | (2, 1));
    let layout = match (x.layout, shape) {
        (Layout::Flat, [1, a, b, _]) if middle && (*a == 1 || *b == 1) => Layout::Flat,
        (Layout::ByRow(heads), _) if middle => Layout::ByHead(heads),
        (Layout::ByHead(heads), _) if middle => Layout::ByRow(heads),
        (Layout::Flat | Layout::ByRow(_) | Layout::ByHead(_), _) => {
            return Err(Unclear::new("rows and columns are exchanged", "heads and rows").into());
        }
    };
    Ok(vec![Value { layout, ..x }])
}
