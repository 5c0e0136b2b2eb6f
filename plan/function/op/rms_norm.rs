//! `ttnn.rms_norm` over the last dimension: over all columns of a matrix, or over those of each head.

use super::{Execution, Meaning};
use crate::Step;
use crate::function::algebra::{mul, norm};
use crate::function::heads::each;
use crate::function::value::Layout;
use crate::function::{Columns, Scale};
use crate::op::RmsNorm;

pub(super) fn meaning(args: &RmsNorm, _: &Step, run: &mut Execution<'_>) -> Meaning {
    let (x, gamma) = (run.value(&args.input)?, run.value(&args.gamma)?);
    let parts = match x.layout {
        Layout::Flat => vec![x.columns()?.clone()],
        Layout::ByRow(heads) | Layout::ByHead(heads) => each(x.columns()?, heads)?,
    };
    let (gamma, mut normed) = (gamma.matrix()?, Columns::default());
    for part in parts {
        let one = norm(&mut run.terms, &part, &Scale::from(&args.epsilon))?;
        normed.append(&mul(&mut run.terms, &one, gamma)?);
    }
    Ok(vec![x.with(normed)])
}
