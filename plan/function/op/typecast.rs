//! `ttnn.typecast`: the same tensor, but for the rounding to another data type.

use super::{Execution, Meaning};
use crate::function::Unclear;
use crate::function::value::{Best, Content};
use crate::op::Typecast;
use crate::{DType, Step};

pub(super) fn meaning(args: &Typecast, _: &Step, run: &mut Execution<'_>) -> Meaning {
    match args.dtype {
        DType::Bf16 | DType::Bfp8 | DType::Bfp4 | DType::Bfp2 | DType::F32 => Ok(vec![run.value(&args.input)?]),
        DType::U32 | DType::I32 | DType::U16
            if matches!(run.value(&args.input)?.content, Content::Best(Best::Places, _)) =>
        {
            Ok(vec![run.value(&args.input)?])
        }
        DType::U32 | DType::I32 | DType::U16 => {
            Err(Unclear::new("numbers are cut to integers", "a type of numbers").into())
        }
    }
}
